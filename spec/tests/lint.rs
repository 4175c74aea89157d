//! Lint: a contract without a fault, and the same with one fault each.
#![allow(clippy::unwrap_used)]

use trueline_spec::Contract;
use trueline_spec::lint::{Report, Tally, lint};
use trueline_spec::vocabulary::QuotaUnit;

const GOOD: &str = "openapi: 3.0.3
info: {title: Test, version: '1'}
tags: [{name: Things, description: All about things.}]
x-contract:
  name: test
  error-envelope:
    schema: '#/components/schemas/Error'
    code: [/code]
    details: [/details]
    unmatched: {path: not_found, method: not_found}
    refusals:
      {unauthenticated: denied, forbidden: denied, missing: bad, invalid: bad, several: bad, malformed: bad,
       media-type: bad, too-large: bad, limited: slow, internal: bad, unavailable: bad}
  error-codes:
    not_found: {status: 404, retry: never, meaning: None., x-provenance: {status: documented, source: a page}}
    denied: {status: 401, retry: never, 'on': secured-operations, meaning: No., x-provenance: {status: described, source: a page}}
    slow: {status: 429, retry: after, 'on': every-operation, meaning: Wait., details: '#/components/schemas/Slow', x-provenance: {status: inferred, source: a page}}
    bad: {status: 400, retry: never, meaning: Bad., x-provenance: {status: documented, source: a page}}
  rate-limits:
    headers: {limit: X-Limit}
    'on': limited-only
    retry-after: none
    classes: {all: {limit: 10, window: 1m, per: user, when: login}}
  quotas: {month: {code: slow, per: user, window: month}}
security: [{login: [read]}]
paths:
  /things:
    post:
      tags: [Things]
      operationId: makeThing
      summary: Make a thing.
      x-error-codes: [bad]
      x-rate-limits: [all]
      x-quotas: [month]
      x-required-scopes: [read]
      x-provenance: {status: documented, source: a page}
      requestBody:
        content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {name: a}}}
      responses:
        201:
          description: Made.
          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: 5, name: a}}}
          links:
            get: {operationId: getThing, parameters: {path.id: $response.body#/id}}
        400: {$ref: '#/components/responses/Bad'}
        401: {$ref: '#/components/responses/Bad401'}
        429: {$ref: '#/components/responses/Slow'}
  /things/{id}:
    get:
      tags: [Things]
      operationId: getThing
      summary: Read a thing.
      security: []
      x-error-codes: [not_found]
      x-provenance: {status: inferred, source: makeThing}
      parameters: [{name: id, in: path, required: true, description: Which., schema: {type: integer}, example: 5}]
      responses:
        200: {description: It., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: 5, name: a}}}}
        404: {description: None.}
        429: {$ref: '#/components/responses/Slow'}
components:
  securitySchemes:
    login:
      type: oauth2
      flows: {password: {tokenUrl: /t, scopes: {read: Read.}}}
      x-credential: {pattern: '^[a-z]+$', unknown: denied}
  responses:
    Bad: {description: Bad., content: {application/json: {schema: {$ref: '#/components/schemas/Error'}, example: {code: bad}}}}
    Bad401: {description: No.}
    Slow:
      description: Slow.
      headers: {X-Limit: {required: true, schema: {type: integer}, example: 10}}
      content: {application/json: {schema: {$ref: '#/components/schemas/Error'}, example: {code: slow, details: {wait: 5}}}}
  schemas:
    Thing:
      type: object
      required: [id, name]
      properties: {id: {type: integer, readOnly: true}, name: {type: string, default: a}}
      x-provenance: {status: documented, source: a page}
    Error: {type: object, required: [code], properties: {code: {type: string}}, x-provenance: {status: documented, source: a page}}
    Slow: {type: object, required: [wait], properties: {wait: {type: integer, example: 3}}, x-provenance: {status: inferred, source: a page}}
";

fn report(text: &str) -> Report {
    let contract = Contract::from_text("doc.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    lint(&contract).unwrap()
}

#[test]
fn a_contract_without_a_fault() {
    let report = report(GOOD);
    assert!(report.errors.is_empty(), "{}", report.errors);
    assert!(report.warnings.is_empty(), "{}", report.warnings);
    assert_eq!(report.counts.operations, Tally { documented: 1, described: 0, inferred: 1, unsaid: 0 });
    assert_eq!(report.counts.schemas, Tally { documented: 2, described: 0, inferred: 1, unsaid: 0 });
    assert_eq!(report.counts.error_codes, Tally { documented: 2, described: 1, inferred: 1, unsaid: 0 });
    assert_eq!(report.counts.error_codes.to_string(), "4: 2 documented, 1 described, 1 inferred");
}

/// Replaces `from` by `to` in the good contract; the first error must have this title and stand at this pointer.
fn fault(from: &str, to: &str) -> Report {
    assert_eq!(GOOD.matches(from).count(), 1, "`{from}` must stand exactly once in the good contract");
    report(&GOOD.replace(from, to))
}

#[test]
fn a_dialect_that_answers_some_failures_bare_needs_no_code_for_a_status() {
    let undocumented = "        404: {description: None.}\n        418: {description: Tea.}\n";
    let text = GOOD.replace("        404: {description: None.}\n", undocumented);
    assert!(!report(&text).errors.is_empty());
    let report = report(&text.replace("{path: not_found, method: not_found}", "{path: 404, method: 404}"));
    assert!(report.errors.is_empty(), "{}", report.errors);
}

#[test]
fn words_about_what_schemas_cannot_say() {
    let unique = GOOD.replace("name: {type: string, default: a}", "name: {type: string, default: a, x-unique: true}");
    let beyond =
        unique.replace("operationId: makeThing", "operationId: makeThing\n      x-beyond-schema: [The name is taken.]");
    let timed = beyond
        .replace("{code: slow, per: user, window: month}", "{code: slow, per: user, window: month, unit: seconds}");
    let contract = Contract::from_text("doc.yaml", &timed).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(contract.operation("makeThing").unwrap().beyond_schema, ["The name is taken."]);
    assert_eq!(contract.quota("month").unwrap().unit, QuotaUnit::Seconds);
    let report = lint(&contract).unwrap();
    assert!(report.errors.is_empty(), "{}", report.errors);
    let wrong = GOOD.replace("name: {type: string, default: a}", "name: {type: string, default: a, x-unique: often}");
    let problems = Contract::from_text("doc.yaml", &wrong).unwrap_err().to_string();
    assert!(problems.contains("true or false"), "{problems}");
}

#[test]
fn each_fault_is_an_error_at_its_place() {
    let table = [
        ("      operationId: makeThing\n", "", "this operation has no operationId", "/paths/~1things/post"),
        (
            "      tags: [Things]\n      operationId: getThing\n",
            "      operationId: getThing\n",
            "this operation has no tag",
            "/paths/~1things~1{id}/get",
        ),
        (
            "      x-provenance: {status: inferred, source: makeThing}\n",
            "",
            "this operation has no x-provenance",
            "/paths/~1things~1{id}/get",
        ),
        (
            ", meaning: None., x-provenance: {status: documented, source: a page}",
            ", meaning: None.",
            "the error code `not_found` has no x-provenance",
            "/x-contract/error-codes/not_found",
        ),
        (
            "wait: {type: integer, example: 3}}, x-provenance: {status: inferred, source: a page}}",
            "wait: {type: integer}}}",
            "the schema `Slow` has no x-provenance",
            "/components/schemas/Slow",
        ),
        // statuses and codes
        (
            "        404: {description: None.}\n",
            "",
            "the status 404 is not documented here",
            "/paths/~1things~1{id}/get/responses",
        ),
        (
            "        404: {description: None.}\n",
            "        404: {description: None.}\n        400: {description: Bad.}\n",
            "no code of this operation has the status 400",
            "/paths/~1things~1{id}/get/responses/400",
        ),
        (
            "        404: {description: None.}\n",
            "        404: {description: None.}\n        418: {description: Tea.}\n",
            "no code of this operation has the status 418",
            "/paths/~1things~1{id}/get/responses/418",
        ),
        (
            "        200: {description: It., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: 5, name: a}}}}\n",
            "",
            "this operation documents no success",
            "/paths/~1things~1{id}/get",
        ),
        // examples
        ("example: {name: a}", "x-none: 1", "this request body has no example", "/paths/~1things/post/requestBody"),
        (
            "example: {name: a}",
            "example: {nam: a}",
            "this example breaks its schema",
            "/paths/~1things/post/requestBody/content/application~1json/example",
        ),
        (
            "200: {description: It., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: 5, name: a}}}}",
            "200: {description: It., content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}",
            "this response has no example",
            "/paths/~1things~1{id}/get/responses/200/content/application~1json",
        ),
        (
            "201:\n          description: Made.\n          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: 5, name: a}}}",
            "201:\n          description: Made.\n          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}, example: {id: x, name: a}}}",
            "this example breaks its schema",
            "/paths/~1things/post/responses/201/content/application~1json/example/id",
        ),
        (
            "schema: {type: integer}, example: 5}]",
            "schema: {type: integer}, example: five}]",
            "this example breaks its schema",
            "/paths/~1things~1{id}/get/parameters/0/example",
        ),
        (
            "schema: {type: integer}, example: 10}",
            "schema: {type: integer}, example: ten}",
            "this example breaks its schema",
            "/components/responses/Slow/headers/X-Limit/example",
        ),
        (
            "wait: {type: integer, example: 3}",
            "wait: {type: integer, example: three}",
            "this example breaks its schema",
            "/components/schemas/Slow/properties/wait/example",
        ),
        (
            "name: {type: string, default: a}",
            "name: {type: string, default: 5}",
            "this example breaks its schema",
            "/components/schemas/Thing/properties/name/default",
        ),
        (
            "example: {code: bad}",
            "example: {code: worse}",
            "the error code `worse` is not in the catalogue",
            "/components/responses/Bad/content/application~1json/example/code",
        ),
        (
            "example: {code: bad}",
            "example: {code: denied}",
            "the code `denied` belongs to the status 401, not 400",
            "/components/responses/Bad/content/application~1json/example/code",
        ),
        (
            "details: {wait: 5}",
            "details: {wait: long}",
            "this example breaks its schema",
            "/components/responses/Slow/content/application~1json/example/details/wait",
        ),
        // links
        (
            "get: {operationId: getThing, parameters",
            "get: {operationId: getThin, parameters",
            "this link leads to no operation; it is left out",
            "/paths/~1things/post/responses/201/links/get/operationId",
        ),
        (
            "{path.id: $response.body#/id}",
            "{path.id: $response.body#/id, page: 1}",
            "`getThing` has no parameter `page`",
            "/paths/~1things/post/responses/201/links/get/parameters/page",
        ),
        (
            "{path.id: $response.body#/id}",
            "{query.id: $response.body#/id}",
            "`getThing` has no parameter `query.id`",
            "/paths/~1things/post/responses/201/links/get/parameters/query.id",
        ),
        (
            "{path.id: $response.body#/id}",
            "{path.id: $respons.body#/id}",
            "`$respons.body#/id` is not a runtime expression",
            "/paths/~1things/post/responses/201/links/get/parameters/path.id",
        ),
        (
            "{path.id: $response.body#/id}",
            "{path.id: $response.body#/ident}",
            "`$response.body#/ident` leads nowhere: no schema of the body has it",
            "/paths/~1things/post/responses/201/links/get/parameters/path.id",
        ),
        (
            "{path.id: $response.body#/id}",
            "{path.id: $response.header.Location}",
            "`$response.header.Location` leads nowhere: the response documents no such header",
            "/paths/~1things/post/responses/201/links/get/parameters/path.id",
        ),
        (
            "{path.id: $response.body#/id}",
            "{path.id: 'x-{$request.path.id}'}",
            "`$request.path.id` leads nowhere: `makeThing` has no such parameter",
            "/paths/~1things/post/responses/201/links/get/parameters/path.id",
        ),
        (
            "parameters: {path.id: $response.body#/id}}",
            "parameters: {path.id: 5}, requestBody: 5}",
            "`getThing` takes no body",
            "/paths/~1things/post/responses/201/links/get/requestBody",
        ),
        // names
        (
            "x-rate-limits: [all]",
            "x-rate-limits: [al]",
            "there is no rate class `al`",
            "/paths/~1things/post/x-rate-limits/0",
        ),
        ("x-quotas: [month]", "x-quotas: [moth]", "there is no quota `moth`", "/paths/~1things/post/x-quotas/0"),
        (
            "quotas: {month: {code: slow,",
            "quotas: {month: {code: not_found,",
            "this operation may not answer the quota's code `not_found`",
            "/paths/~1things/post/x-quotas/0",
        ),
        (
            "per: user, when: login}",
            "per: path.id}",
            "`all` counts per `id`, which is not in this path",
            "/paths/~1things/post/x-rate-limits/0",
        ),
        (
            "when: login}",
            "when: logon}",
            "there is no security scheme `logon`",
            "/x-contract/rate-limits/classes/all/when",
        ),
        (
            "security: [{login: [read]}]",
            "security: [{login: [write]}]",
            "the scheme `login` does not declare the scope `write`",
            "/components/securitySchemes/login",
        ),
        (
            "x-required-scopes: [read]",
            "x-required-scopes: [reed]",
            "no scheme of this operation declares the scope `reed`",
            "/paths/~1things/post/x-required-scopes/0",
        ),
        (
            "unknown: denied}",
            "unknown: deny}",
            "the error code `deny` is not in the catalogue",
            "/components/securitySchemes/login/x-credential/unknown",
        ),
        (
            "pattern: '^[a-z]+$'",
            "pattern: '(['",
            "not a regular expression: \"([\" is not a \"regex\"",
            "/components/securitySchemes/login/x-credential/pattern",
        ),
        (
            "headers: {X-Limit: {required: true, schema: {type: integer}, example: 10}}",
            "headers: {}",
            "the header `X-Limit` is promised on this response and not documented",
            "/components/responses/Slow",
        ),
        (
            "'on': every-operation, meaning: Wait.",
            "meaning: Wait.",
            "this operation is limited, but may not answer `slow`",
            "/paths/~1things/post",
        ),
        // the published schema is stricter than the types
        ("per: user, when: login}", "per: user, when: login, limit2: 5}", "", ""),
        // schemas and paths
        (
            "name: {type: string, default: a}",
            "name: {type: string, default: a, pattern: '(['}",
            "this schema cannot be compiled: \"([\" is not a \"regex\"",
            "/components/schemas/Thing",
        ),
        (
            "components:\n  securitySchemes",
            "  /things/{other}: {get: {tags: [Things], operationId: x, summary: X., security: [], parameters: [{name: other, in: path, required: true, description: X., schema: {}}], responses: {204: {description: X.}, 429: {$ref: '#/components/responses/Slow'}}, x-provenance: {status: inferred, source: x}}}\ncomponents:\n  securitySchemes",
            "this path has the shape of another one",
            "/paths/~1things~1{other}",
        ),
        // a part's own code must be known, and listed where the part is needed
        (
            "name: {type: string, default: a}",
            "name: {type: string, default: a, x-missing: not_found}",
            "this operation needs `name`, but may not answer `not_found` where it is missing",
            "/paths/~1things/post",
        ),
        (
            "wait: {type: integer, example: 3}}, x-provenance: {status: inferred, source: a page}}",
            "wait: {type: integer, example: 3}}, x-missing: slo, x-provenance: {status: inferred, source: a page}}",
            "the error code `slo` is not in the catalogue",
            "/components/schemas/Slow/x-missing",
        ),
        // what the reader forgives is no excuse here
        (
            "required: true, description: Which.",
            "description: Which.",
            "the path parameter `id` is not marked as required",
            "/paths/~1things~1{id}/get/parameters/0",
        ),
    ];
    for (from, to, title, pointer) in table {
        if title.is_empty() {
            let text = GOOD.replace(from, to);
            assert!(Contract::from_text("doc.yaml", &text).is_err(), "the reader refuses `{to}`");
            continue;
        }
        let report = fault(from, to);
        let found: Vec<String> = report
            .errors
            .list
            .iter()
            .map(|problem| format!("{} at {}", problem.title, problem.at.as_ref().map_or("", |at| &at.pointer)))
            .collect();
        assert!(found.contains(&format!("{title} at {pointer}")), "{from} -> {to}: {title}\nfound: {found:#?}");
    }
}

#[test]
fn what_should_be_looked_at_is_a_warning() {
    let table = [
        ("      summary: Read a thing.\n", "", "this operation has no description"),
        ("description: Which., ", "", "the parameter `id` has no description"),
        ("404: {description: None.}", "404: {description: ''}", "this response has no description"),
        (", meaning: None.", "", "the error code `not_found` has no meaning"),
        ("[{name: Things, description: All about things.}]", "[{name: Things}]", "the tag `Things` has no description"),
        ("[{name: Things, description: All about things.}]", "[]", "the tag `Things` is not declared"),
        (
            "[{name: Things, description: All about things.}]",
            "[{name: Things, description: T.}, {name: Other, description: O.}]",
            "no operation has the tag `Other` first",
        ),
        (
            "  schemas:\n",
            "  schemas:\n    Lost: {type: object, properties: {a: {$ref: '#/components/schemas/Lost'}}, x-provenance: {status: inferred, source: a}}\n",
            "nothing uses the component `Lost`",
        ),
        (
            "  securitySchemes:\n",
            "  securitySchemes:\n    lost: {type: http, scheme: basic}\n",
            "no operation uses the security scheme `lost`",
        ),
        (
            "    bad: {status",
            "    lost: {status: 400, retry: never, meaning: L., x-provenance: {status: inferred, source: a}}\n    bad: {status",
            "no operation may answer the code `lost`",
        ),
        ("      x-rate-limits: [all]\n", "", "no operation counts for the rate class `all`"),
        ("      x-quotas: [month]\n", "", "no operation counts for the quota `month`"),
        ("{path.id: $response.body#/id}", "{}", "this link leaves the path parameter `id` of `getThing` open"),
    ];
    for (from, to, title) in table {
        let report = fault(from, to);
        let found: Vec<&str> = report.warnings.list.iter().map(|problem| problem.title.as_str()).collect();
        assert!(found.contains(&title), "{from} -> {to}: {title}\nfound: {found:?}");
    }
}

#[test]
fn paths_that_fit_the_same_request() {
    let warnings = |paths: [&str; 2]| {
        let text = format!(
            "openapi: 3.0.3\ninfo: {{title: T, version: '1'}}\npaths: {{'{}': {{get: {{}}}}, '{}': {{get: {{}}}}}}\n",
            paths[0], paths[1]
        );
        let report = report(&text);
        report.warnings.list.iter().filter(|problem| problem.title.contains("equally well")).count()
    };
    assert_eq!(warnings(["/a/{x}/c", "/a/b/{y}"]), 1);
    assert_eq!(warnings(["/a/{x}", "/a/b"]), 0, "the literal wins");
    assert_eq!(warnings(["/{x}/c", "/a/d"]), 0);
    assert_eq!(warnings(["/a/{x}", "/a/{x}/b"]), 0);
}
