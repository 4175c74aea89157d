//! Every refusal of the generator, on one page: `snapshots/rejects__messages.snap` is reviewed like prose.

use trueline_spec::Contract;
use xtask::generate::generate;

/// A contract without operations; each case adds what is wrong with it.
const HEAD: &str = "\
openapi: 3.1.0
info: {title: T, version: '1'}
x-contract:
  name: t
  error-envelope:
    schema: '#/components/schemas/Error'
    message: [/message]
    unmatched: {path: 404, method: 405}
    refusals: {unauthenticated: 401, forbidden: 403, missing: 400, invalid: 400, several: 400, malformed: 400, media-type: 415, too-large: 413, internal: 500, unavailable: 503}
";

/// The rest of a contract: paths, then components beside those that every case has.
fn document(paths: &str, components: &str) -> String {
    let indented: String = paths.lines().map(|line| format!("  {line}\n")).collect();
    let components: String = components.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "{HEAD}paths:\n{indented}components:\n  responses:\n    Failure: {{description: It failed., content: {{application/json: {{schema: {{$ref: '#/components/schemas/Error'}}}}}}}}\n  securitySchemes:\n    key: {{type: apiKey, in: header, name: X-Key}}\n  schemas:\n    Error: {{type: object, required: [message], properties: {{message: {{type: string}}}}}}\n{components}"
    )
}

const FAILURES: &str = "'400': {$ref: '#/components/responses/Failure'}, '401': {$ref: '#/components/responses/Failure'}, '403': {$ref: '#/components/responses/Failure'}, '404': {$ref: '#/components/responses/Failure'}, '413': {$ref: '#/components/responses/Failure'}, '415': {$ref: '#/components/responses/Failure'}, '500': {$ref: '#/components/responses/Failure'}";

/// An operation that answers 204, with these members besides.
fn operation(id: &str, members: &str) -> String {
    format!("{{operationId: {id}, tags: [all], {members} responses: {{'204': {{description: Done.}}, {FAILURES}}}}}")
}

/// An operation whose body has this schema.
fn taking(schema: &str) -> String {
    operation("take", &format!("requestBody: {{required: true, content: {{application/json: {{schema: {schema}}}}}}},"))
}

fn cases() -> Vec<(&'static str, String)> {
    let one = |operation: String| document(&format!("/a:\n  post: {operation}"), "");
    let with = |schema: &str, components: &str| document(&format!("/a:\n  post: {}", taking(schema)), components);
    let parameter = |parameter: &str| one(operation("read", &format!("parameters: [{parameter}],")));
    let body =
        |content: &str| one(operation("send", &format!("requestBody: {{required: true, content: {{{content}}}}},")));
    let answer =
        |responses: &str| one(format!("{{operationId: ask, tags: [all], responses: {{{responses}, {FAILURES}}}}}"));
    let path = |path: &str, parameters: &str| {
        document(&format!("{path}:\n  get: {}", operation("find", &format!("parameters: [{parameters}],"))), "")
    };
    let id = "{name: id, in: path, required: true, schema: {type: string}}";
    vec![
        ("no dialect", "openapi: 3.0.3\ninfo: {title: T, version: '1'}\npaths: {}\n".to_owned()),
        ("path: a parameter with a suffix", path("/things/{id}.json", id)),
        ("path: a verb behind a colon", path("/things/{id}:cancel", id)),
        ("path: two parameters in one segment", path("/things/{id}-{id2}", &format!("{id}, {{name: id2, in: path, required: true, schema: {{type: string}}}}"))),
        (
            "path: the same shape twice",
            document(
                &format!(
                    "/a/{{x}}:\n  get: {}\n/a/{{y}}:\n  get: {}",
                    operation("one", "parameters: [{name: x, in: path, required: true, schema: {type: string}}],"),
                    operation("two", "parameters: [{name: y, in: path, required: true, schema: {type: string}}],")
                ),
                "",
            ),
        ),
        ("parameter: a style that cannot be read", path("/things/{id}", "{name: id, in: path, required: true, style: matrix, schema: {type: string}}")),
        ("parameter: a media type that cannot be read", parameter("{name: p, in: query, content: {application/xml: {schema: {type: string}}}}")),
        ("parameter: not a header name", parameter("{name: 'a b', in: header, schema: {type: string}}")),
        ("parameter: null", parameter("{name: p, in: query, schema: {type: [string, 'null']}}")),
        ("parameter: a default that is no value", parameter("{name: p, in: query, schema: {type: integer, default: ten}}")),
        ("body: several forms", body("application/json: {schema: {type: string}}, text/plain: {schema: {type: string}}")),
        ("body: a media type that cannot be read", body("application/xml: {schema: {type: object}}")),
        ("body: no schema", body("application/json: {}")),
        ("answer: a range", answer("2XX: {description: Any.}")),
        ("answer: any other", answer("'204': {description: Done.}, default: {description: Any.}")),
        ("answer: no success", answer("'409': {$ref: '#/components/responses/Failure'}")),
        ("answer: several forms", answer("'200': {description: It., content: {application/json: {schema: {type: string}}, text/plain: {schema: {type: string}}}}")),
        ("answer: no schema", answer("'200': {description: It., content: {application/json: {}}}")),
        ("answer: a body where there is none", answer("'204': {description: It., content: {application/json: {schema: {type: string}}}}")),
        ("answer: not a header name", answer("'204': {description: It., headers: {'a b': {schema: {type: string}}}}")),
        ("answer: a header that cannot be written", answer("'204': {description: It., headers: {X-A: {schema: {type: object}}}}")),
        ("answer: a header on a failure", answer("'204': {description: It.}, '409': {description: No., headers: {X-A: {schema: {type: string}}}, content: {application/json: {schema: {$ref: '#/components/schemas/Error'}}}}")),
        ("refusal: no answer for a bad request", one("{operationId: ask, tags: [all], parameters: [{name: p, in: query, schema: {type: integer}}], responses: {'204': {description: Done.}, '500': {$ref: '#/components/responses/Failure'}}}".to_owned())),
        ("refusal: no answer for a failure inside", one("{operationId: ask, tags: [all], responses: {'204': {description: Done.}, '404': {$ref: '#/components/responses/Failure'}}}".to_owned())),
        ("refusal: no answer without a credential", one("{operationId: ask, tags: [all], security: [{key: []}], responses: {'204': {description: Done.}, '500': {$ref: '#/components/responses/Failure'}}}".to_owned())),
        ("order: validation before the caller is known", one(operation("ask", "")).replace("  name: t\n", "  name: t\n  check-order: [validate, authenticate]\n")),
        ("dialect: a member that nothing fills", one(operation("ask", "")).replace("required: [message], properties: {message", "required: [message, place], properties: {place: {type: string}, message")),
        (
            "dialect: details that the platform does not know",
            one(operation("ask", "parameters: [{name: p, in: query, schema: {type: integer}}],"))
                .replace("    message: [/message]\n", "    code: [/code]\n    message: [/message]\n    details: [/details]\n")
                .replace("invalid: 400", "invalid: bad")
                .replace("  name: t\n", "  name: t\n  error-codes: {bad: {status: 400, 'on': every-operation, retry: never, details: '#/components/schemas/Bad'}}\n")
                .replace("properties: {message: {type: string}}}\n", "properties: {message: {type: string}, code: {type: string}, details: {type: object}}}\n    Bad: {type: object, required: [mood], properties: {mood: {type: string}}}\n"),
        ),
        ("client: an error that carries something else", one(operation("ask", "")).replace("  name: t\n", "  name: t\n  client-errors: {'404': {name: NotFound, carries: mood}}\n")),
        ("scope: nobody could have it", one(operation("ask", "x-required-scopes: [a],"))),
        ("names: two operations", document(&format!("/a:\n  get: {}\n/b:\n  get: {}", operation("read-it", ""), operation("readIt", "")), "")),
        ("names: two schemas", with("{type: object, properties: {a: {$ref: '#/components/schemas/foo_bar'}, b: {$ref: '#/components/schemas/FooBar'}}}", "foo_bar: {type: object, properties: {x: {type: string}}}\nFooBar: {type: object, properties: {y: {type: string}}}")),
        ("names: two properties", with("{type: object, properties: {foo-bar: {type: string}, foo_bar: {type: string}}}", "")),
        ("names: two values", with("{type: string, enum: [ASC, asc]}", "")),
        ("names: made and given", with("{type: object, properties: {kind: {type: string, enum: [a]}, other: {$ref: '#/components/schemas/TakeBodyKind'}}}", "TakeBodyKind: {type: object, properties: {x: {type: string}}}")),
        ("schema: allOf that disagrees", with("{allOf: [{type: object, properties: {a: {type: string}}}, {type: object, properties: {a: {type: integer}}}]}", "")),
        ("schema: allOf of different types", with("{allOf: [{type: object, properties: {a: {type: string}}}, {type: string}]}", "")),
        ("schema: alternatives that cannot be told apart", with("{oneOf: [{$ref: '#/components/schemas/A'}, {$ref: '#/components/schemas/B'}]}", "A: {type: object, properties: {x: {type: string}}}\nB: {type: object, properties: {y: {type: string}}}")),
        ("schema: alternatives beside properties", with("{type: object, properties: {a: {type: string}}, oneOf: [{type: object, properties: {b: {type: string}}}]}", "")),
        ("schema: patterns beside properties", with("{type: object, properties: {a: {type: string}}, patternProperties: {'^x': {type: string}}}", "")),
        ("schema: a tuple", with("{type: array, prefixItems: [{type: string}, {type: integer}]}", "")),
        ("schema: an enum of different types", with("{enum: [1, a]}", "")),
        ("schema: made of itself", with("{$ref: '#/components/schemas/Deep'}", "Deep: {type: array, items: {$ref: '#/components/schemas/Deep'}}")),
        ("schema: a pattern that cannot be compiled", with("{type: string, pattern: '('}", "")),
        ("schema: a default that is no value", with("{type: object, properties: {a: {type: string, enum: [x], default: y}}}", "")),
        ("schema: no value at all", with("{type: object, properties: {a: false}}", "")),
    ]
}

/// What is wrong, or the names of the files.
fn outcome(text: &str) -> String {
    let contract = match Contract::from_text("t.yaml", text) {
        Ok(contract) => contract,
        Err(problems) => return format!("(by the reader)\n{problems}"),
    };
    match generate(&contract, "t.yaml") {
        Ok(files) => format!("accepted: {} files\n", files.len()),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn messages() {
    let mut page = String::new();
    for (name, text) in cases() {
        page.push_str(&format!("## {name}\n\n{}\n", outcome(&text)));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn everything_is_told_at_once() {
    let paths = format!("/a:\n  post: {}\n/{{b}}c:\n  get: {}", taking("{enum: [1, a]}"), operation("two", ""));
    let told = outcome(&document(&paths, ""));
    assert!(told.contains("different types") && told.contains("does not fill its segment"), "{told}");
}

#[test]
fn nothing_accepted_here_is_wrong() {
    let text = document(&format!("/a:\n  post: {}", taking("{type: object, properties: {a: {type: string}}}")), "");
    assert!(outcome(&text).starts_with("accepted"), "{}", outcome(&text));
}
