//! Every message that a broken document can bring about, on one page: `snapshots/problems__messages.snap`, read like prose.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use trueline_spec::Contract;

/// Below `openapi: 3.0.3` and `info`, unless the text brings its own.
const BROKEN: &[(&str, &str)] = &[
    ("empty file", ""),
    ("truncated YAML", "openapi: 3.0.3\ninfo: {title: T, version: '1'\n"),
    ("truncated JSON", "{\"openapi\": \"3.0.3\", \"info\": {\"title\":"),
    ("bad indentation", "openapi: 3.0.3\ninfo:\n  title: T\n version: '1'\n"),
    ("duplicate key", "openapi: 3.0.3\npaths:\n  /a: {}\n  /b: {}\n  /a: {}\n"),
    (
        "duplicate key on one long line",
        "{\"openapi\": \"3.0.3\", \"info\": {\"title\": \"A title that takes its room\", \"version\": \"1.0.0\", \"description\": \"And a description that takes even more of it\", \"title\": \"Again\"}}",
    ),
    ("not OpenAPI", "opnapi: 3.0.3\ninfo: {title: T, version: '1'}\n"),
    ("a list", "- openapi\n"),
    ("Swagger 1.2", "swagger: '1.2'\ninfo: {title: T, version: '1'}\npaths: {}\n"),
    ("OpenAPI 4", "openapi: 4.0.0\ninfo: {title: T, version: '1'}\npaths: {}\n"),
    (
        "Swagger 2.0: bodies",
        "swagger: '2.0'\ninfo: {title: T, version: '1'}\npaths:\n  /a:\n    post:\n      parameters:\n        - {name: a, in: body, schema: {}}\n        - {name: b, in: body, schema: {}}\n        - {name: c, in: formData, type: string}\n    put:\n      parameters:\n        - {name: a, in: formData, type: string}\n        - {name: a, in: formData, type: string}\n        - {name: f, in: query, type: file}\n        - {name: g, in: cookie, type: string}\n",
    ),
    (
        "Swagger 2.0: security",
        "swagger: '2.0'\ninfo: {title: T, version: '1'}\npaths: {}\nsecurityDefinitions:\n  a: {type: http, scheme: bearer}\n  b: {type: Oauth2}\n",
    ),
    (
        "OpenAPI 3.2: methods and query strings",
        "openapi: 3.2.0\ninfo: {title: T, version: '1'}\npaths:\n  /a:\n    additionalOperations:\n      not a method: {}\n    query:\n      parameters:\n        - {name: q, in: querystring, required: true, content: {application/json: {schema: {type: object}}}}\n",
    ),
    ("no paths", "openapi: 3.0.3\ninfo: {title: T, version: '1'}\n"),
    (
        "reference to nothing",
        "paths:\n  /a:\n    get:\n      responses:\n        200: {$ref: '#/components/responses/Fine'}\ncomponents:\n  responses:\n    Find: {description: Found.}\n",
    ),
    ("reference to no file", "paths:\n  /a: {$ref: 'paths/a.yaml'}\n"),
    ("reference to a URL", "paths: {}\ncomponents:\n  schemas:\n    A: {$ref: 'https://example.com/a.json'}\n"),
    ("reference out of the folder", "paths: {}\ncomponents:\n  schemas:\n    A: {$ref: '../a.yaml#/A'}\n"),
    (
        "references in a circle",
        "paths: {}\ncomponents:\n  schemas:\n    A: {$ref: '#/components/schemas/B'}\n    B: {$ref: '#/components/schemas/A'}\n",
    ),
    (
        "the same operationId twice",
        "paths:\n  /a: {get: {operationId: list}}\n  /b:\n    get:\n      operationId: list\n",
    ),
    (
        "parameters",
        "paths:\n  /a:\n    get:\n      parameters:\n        - {name: a, in: body, schema: {}}\n        - {name: b, in: qurey, schema: {}}\n        - {in: query}\n        - {name: c, in: query, schema: {}}\n        - {name: c, in: query, schema: {}}\n        - {name: d, in: query, required: perhaps, schema: {}}\n",
    ),
    (
        "statuses",
        "paths:\n  /a:\n    get:\n      responses:\n        20: {description: Too short.}\n        6XX: {description: Too large.}\n        ok: {description: A word.}\n",
    ),
    (
        "wrong types",
        "paths:\n  /a:\n    get: [not, an, operation]\n    put: {tags: Tag, responses: [], parameters: {}, summary: {}}\n",
    ),
    (
        "schemas",
        "paths: {}\ncomponents:\n  schemas:\n    A:\n      type: strnig\n      required: name\n      minLength: long\n      properties: {a: text}\n",
    ),
    (
        "security schemes",
        "paths: {}\ncomponents:\n  securitySchemes:\n    a: {type: apikey, name: X, in: header}\n    b: {type: apiKey, in: header}\n    c: {type: apiKey, name: X, in: body}\n    d: {type: http}\n    e: {}\n",
    ),
    ("x-contract: unknown key", "x-contract:\n  name: test\n  eror-codes: {}\npaths: {}\n"),
    (
        "x-contract: unknown word",
        "x-contract:\n  name: test\n  error-codes:\n    gone: {status: 404, retry: nevr}\npaths: {}\n",
    ),
    ("x-contract: missing key", "x-contract:\n  name: test\n  error-codes:\n    gone:\n      status: 404\npaths: {}\n"),
    (
        "x-contract: wrong type",
        "x-contract:\n  name: test\n  error-codes:\n    gone: {status: many, retry: never}\npaths: {}\n",
    ),
    (
        "x-contract: bad window",
        "x-contract:\n  name: test\n  rate-limits:\n    on: none\n    retry-after: none\n    classes:\n      a: {limit: 1, window: soon, per: user}\npaths: {}\n",
    ),
    (
        "x-contract: bad answer",
        "x-contract:\n  name: test\n  error-envelope:\n    schema: '#/components/schemas/E'\n    unmatched: {path: 200, method: 405}\n    refusals: {}\npaths: {}\n",
    ),
    ("x-contract: bad name", "x-contract: {name: Test API}\npaths: {}\n"),
    (
        "x-contract: no such code",
        "x-contract:\n  name: test\n  error-codes:\n    gone: {status: 404, retry: never, details: '#/components/schemas/Gone'}\n  quotas: {month: {code: gon, per: user, window: month}}\npaths:\n  /a: {get: {x-error-codes: [gome]}}\n",
    ),
    ("x-contract: misspelled", "x-contrakt: {name: test, error-codes: {}}\npaths: {}\n"),
    (
        "x- keys",
        "x-contract: {name: test}\npaths:\n  /a:\n    get:\n      x-required-scope: [a]\n      x-secret: never\n      x-visibility: everybody\n      x-provenance: {status: documented}\n      x-rate-limits: all\n      x-vendor: fine\ncomponents:\n  schemas:\n    A: {x-secert: never, properties: {b: {x-secret: sometimes}}}\n",
    ),
];

#[test]
fn messages() {
    let mut page = String::new();
    for (name, text) in BROKEN {
        let own = text.is_empty()
            || text.starts_with('{')
            || text.contains("openapi")
            || text.starts_with("opnapi")
            || text.starts_with("swagger");
        let text =
            if own { (*text).to_owned() } else { format!("openapi: 3.0.3\ninfo: {{title: T, version: '1'}}\n{text}") };
        let problems = Contract::from_text("doc.yaml", &text).expect_err(name);
        // The problems speak for themselves, whoever else has let go of the document.
        let problems = problems.clone();
        write!(page, "── {name} {}\n\n{problems}\n", "─".repeat(100 - name.chars().count())).unwrap();
    }
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => true}, {
        insta::assert_snapshot!("messages", page);
    });
}

#[test]
fn the_nearest_word_is_near() {
    use trueline_spec::problem::nearest;
    let words = ["error-codes", "error-envelope", "rate-limits", "retry"];
    assert_eq!(nearest("eror-codes", words), Some("error-codes"));
    assert_eq!(nearest("error_codes", words), Some("error-codes"));
    assert_eq!(nearest("RateLimits", words), Some("rate-limits"));
    assert_eq!(nearest("quotas", words), None);
    assert_eq!(nearest("", words), None);
}
