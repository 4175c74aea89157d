//! The model: one small document per feature.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use trueline_spec::Contract;
use trueline_spec::contract::{Operation, ParameterEncoding, ParameterPlace, SecurityKind, StatusPattern, Style};
use trueline_spec::vocabulary::{Effect, Judged, ProvenanceStatus, Visibility};

/// A contract from what stands below `openapi` and `info`.
fn load_as(version: &str, text: &str) -> Contract {
    let text = format!("openapi: {version}\ninfo: {{title: A Test API, version: 1.10}}\n{text}");
    Contract::from_text("doc.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn load(text: &str) -> Contract {
    load_as("3.0.3", text)
}

/// The only operation of a document whose operation object has these lines.
fn operation(lines: &str) -> Operation {
    let lines: String = lines.lines().map(|line| format!("      {line}\n")).collect();
    let contract = load(&format!("paths:\n  /things/{{id}}:\n    get:\n{lines}"));
    assert_eq!(contract.operations.len(), 1);
    contract.operations.into_iter().next().unwrap()
}

fn titles(contract: &Contract) -> Vec<&str> {
    contract.notes.iter().map(|note| note.title.as_str()).collect()
}

#[test]
fn the_root() {
    let contract = load(
        "servers:
  - url: https://{region}.example.com/{base}
    variables: {region: {default: eu}, base: {default: v1}}
  - url: /
tags: [{name: First, description: The first.}, {name: Unused}]
paths:
  /b: {get: {tags: [Second, First]}}
  /a: {get: {tags: [First]}, put: {}}
",
    );
    assert_eq!(contract.name, "atestapi");
    assert_eq!(contract.version, "1.10", "a version is text as it was written");
    assert_eq!(contract.servers, ["https://eu.example.com/v1", "/"]);
    assert_eq!(
        contract.tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(),
        ["First", "Unused", "Second", "default"]
    );
    assert_eq!(
        contract.operations.iter().map(|o| (o.id.as_str(), o.tag.as_str())).collect::<Vec<_>>(),
        [("get_b", "Second"), ("get_a", "First"), ("put_a", "default")]
    );
    assert_eq!(load("paths: {}").servers, ["/"]);
}

#[test]
fn ids_are_made_and_unique() {
    let contract = load(
        "paths:\n  /a/{b}: {get: {}}\n  /a_b: {get: {}}\n  /a-b: {get: {}}\n  /x: {get: {operationId: get_a_b2}}\n  /: {get: {}}\n",
    );
    let ids: Vec<_> = contract.operations.iter().map(|o| (o.id.as_str(), o.id_is_made)).collect();
    assert_eq!(ids, [("get_a_b", true), ("get_a_b3", true), ("get_a_b4", true), ("get_a_b2", false), ("get", true)]);
}

#[test]
fn parameters_of_path_and_operation() {
    let contract = load(
        "paths:
  /things/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: integer}, description: shared}
      - {$ref: '#/components/parameters/Page'}
    get:
      parameters:
        - {name: id, in: path, required: true, schema: {type: string}}
        - {name: Accept, in: header, schema: {type: string}}
        - {name: X-Thing, in: header, schema: {type: string}, deprecated: true}
        - {name: c, in: cookie, schema: {type: string}, allowReserved: true}
    post: {}
components:
  parameters:
    Page: {name: page, in: query, schema: {$ref: '#/components/schemas/Page'}}
  schemas:
    Page: {type: integer, default: 1, example: 3}
",
    );
    let shape = |operation: &Operation| -> Vec<(String, ParameterPlace)> {
        operation.parameters.iter().map(|p| (p.name.clone(), p.place)).collect()
    };
    use ParameterPlace::{Cookie, Header, Path, Query};
    let (get, post) = (&contract.operations[0], &contract.operations[1]);
    let expected = [("id", Path), ("X-Thing", Header), ("c", Cookie), ("page", Query)];
    assert_eq!(shape(get), expected.map(|(name, place)| (name.to_owned(), place)));
    assert_eq!(*get.parameters[0].schema.value, json!({"type": "string"}), "the operation's own wins");
    assert_eq!(post.parameters[0].description.as_deref(), Some("shared"));
    assert!(get.parameters[1].deprecated && get.parameters[2].allow_reserved);
    let page = &get.parameters[3];
    assert_eq!(page.schema.name(), Some("Page"));
    assert_eq!(page.at.pointer.as_ref(), "/components/parameters/Page");
    let examples: Vec<_> =
        page.examples.iter().map(|e| (e.name.as_str(), e.value.clone(), e.at.pointer.as_ref())).collect();
    assert_eq!(
        examples,
        [
            ("example", json!(3), "/components/schemas/Page/example"),
            ("default", json!(1), "/components/schemas/Page/default"),
        ]
    );
}

#[test]
fn parameter_styles_and_their_defaults() {
    use ParameterEncoding::Content;
    let style = |style, explode| ParameterEncoding::Style { style, explode };
    let table = [
        ("in: path", style(Style::Simple, false)),
        ("in: path, style: label", style(Style::Label, false)),
        ("in: path, style: matrix, explode: true", style(Style::Matrix, true)),
        ("in: query", style(Style::Form, true)),
        ("in: query, explode: false", style(Style::Form, false)),
        ("in: query, style: spaceDelimited", style(Style::SpaceDelimited, false)),
        ("in: query, style: pipeDelimited", style(Style::PipeDelimited, false)),
        ("in: query, style: deepObject, explode: true", style(Style::DeepObject, true)),
        ("in: header", style(Style::Simple, false)),
        ("in: header, explode: true", style(Style::Simple, true)),
        ("in: cookie", style(Style::Form, true)),
        ("in: header, style: form", style(Style::Simple, false)),
    ];
    for (text, expected) in table {
        let operation = operation(&format!("parameters: [{{name: id, required: true, schema: {{}}, {text}}}]"));
        assert_eq!(operation.parameters[0].encoding, expected, "{text}");
    }
    let operation = operation(
        "parameters:
  - name: q
    in: query
    content: {Application/JSON; charset=utf-8: {schema: {type: object}, example: {a: 1}}}",
    );
    assert_eq!(operation.parameters[0].encoding, Content("application/json".into()));
    assert_eq!(*operation.parameters[0].schema.value, json!({"type": "object"}));
    assert_eq!(operation.parameters[0].examples[0].value, json!({"a": 1}));
}

#[test]
fn path_and_parameters_agree() {
    let contract = load(
        "paths:
  /a/{id}/{other}:
    get:
      parameters: [{name: id, in: path, schema: {type: integer}}, {name: gone, in: path, required: true, schema: {}}]
",
    );
    let operation = &contract.operations[0];
    let names: Vec<_> =
        operation.parameters.iter().map(|p| (p.name.as_str(), p.required, p.schema.value.as_ref().clone())).collect();
    assert_eq!(names, [("id", true, json!({"type": "integer"})), ("other", true, json!({"type": "string"}))]);
    assert_eq!(
        titles(&contract),
        [
            "the path parameter `other` is not declared; it is read as a text",
            "this operation promises no response",
            "the path parameter `id` is not marked as required",
            "the path has no `{gone}`; the parameter is left out",
        ]
    );
}

#[test]
fn path_items_may_be_references() {
    let contract = load_as(
        "3.1.0",
        "paths:
  /a: {$ref: '#/components/pathItems/A', put: {operationId: own}}
components:
  pathItems:
    A:
      get: {operationId: shared}
      put: {operationId: hidden}
",
    );
    assert_eq!(contract.operations.iter().map(|o| o.id.as_str()).collect::<Vec<_>>(), ["own", "shared"]);
    assert_eq!(contract.operations[1].at.pointer.as_ref(), "/components/pathItems/A/get");
}

#[test]
fn bodies_and_their_media_types() {
    let contract = load(
        "paths:
  /a:
    post:
      requestBody: {$ref: '#/components/requestBodies/Thing'}
      responses:
        200:
          description: A stream.
          content: {text/event-stream: {schema: {type: object}}}
components:
  examples: {Two: {value: {name: b}}}
  schemas: {Thing: {type: object, example: {name: c}}}
  requestBodies:
    Thing:
      required: true
      description: The thing.
      content:
        Application/JSON; charset=utf-8:
          schema: {$ref: '#/components/schemas/Thing'}
          examples:
            one: {value: {name: a}}
            two: {$ref: '#/components/examples/Two'}
            far: {externalValue: 'https://example.com/x.json'}
        multipart/form-data:
          schema:
            type: object
            properties:
              file: {type: string, format: binary}
              data: {$ref: '#/components/schemas/Thing'}
              note: {type: string}
              list: {type: array, items: {type: integer}}
              png: {type: string, format: binary}
          encoding: {png: {contentType: 'image/png, image/jpeg'}, note: {style: deepObject}}
        application/octet-stream: {}
",
    );
    let body = contract.operations[0].body.as_ref().unwrap();
    assert!(body.required);
    assert_eq!(body.description.as_deref(), Some("The thing."));
    assert_eq!(
        body.media.iter().map(|m| m.media_type.as_str()).collect::<Vec<_>>(),
        ["application/json", "multipart/form-data", "application/octet-stream"]
    );
    let examples: Vec<_> =
        body.media[0].examples.iter().map(|e| (e.name.as_str(), e.value["name"].as_str().unwrap())).collect();
    assert_eq!(examples, [("one", "a"), ("two", "b"), ("example", "c")]);
    let parts: Vec<_> = body.media[1].part_types.iter().map(|(name, types)| (name.as_str(), types.join("|"))).collect();
    assert_eq!(
        parts,
        [
            ("png", "image/png|image/jpeg".to_owned()),
            ("file", "application/octet-stream".to_owned()),
            ("data", "application/json".to_owned()),
            ("note", "text/plain".to_owned()),
            ("list", "text/plain".to_owned()),
        ]
    );
    let styles: Vec<_> = body.media[1].part_styles.iter().collect();
    let deep = ParameterEncoding::Style { style: Style::DeepObject, explode: false };
    assert_eq!(styles, [(&"note".to_owned(), &deep)]);
    assert!(body.media[2].schema.is_none());
    let stream = &contract.operations[0].responses[0].media[0];
    assert_eq!(*stream.item_schema.as_ref().unwrap().value, json!({"type": "object"}));
}

#[test]
fn responses_headers_and_shared_answers() {
    let contract = load(
        "paths:
  /a:
    get:
      responses:
        default: {description: Other.}
        5XX: {description: Ours.}
        503: {description: Later.}
        404: {$ref: '#/components/responses/Missing'}
        200:
          description: Fine.
          headers:
            Content-Type: {schema: {type: string}}
            X-Count: {required: true, description: How many., schema: {type: integer}}
            X-Map: {explode: true, content: {text/plain: {schema: {type: string}}}}
        x-note: {ignored: true}
components:
  responses: {Missing: {description: None., content: {application/json: {schema: {}}}}}
",
    );
    let operation = &contract.operations[0];
    use StatusPattern::{Default, Exact, Range};
    assert_eq!(
        operation.responses.iter().map(|r| r.status).collect::<Vec<_>>(),
        [Exact(200), Exact(404), Exact(503), Range(5), Default]
    );
    assert_eq!(operation.responses[1].component.as_deref(), Some("Missing"));
    assert_eq!(operation.responses[0].component, None);
    let headers: Vec<_> =
        operation.responses[0].headers.iter().map(|h| (h.name.as_str(), h.required, h.explode)).collect();
    assert_eq!(headers, [("X-Count", true, false), ("X-Map", false, true)]);
    assert_eq!(*operation.responses[0].headers[1].schema.value, json!({"type": "string"}));
    let description = |status| operation.response(status).unwrap().description.as_str();
    assert_eq!(
        [description(200), description(503), description(500), description(418)],
        ["Fine.", "Later.", "Ours.", "Other."]
    );
}

#[test]
fn links_bind_by_id_and_by_reference() {
    let contract = load(
        "paths:
  /a:
    post:
      responses:
        201:
          description: Made.
          links:
            byId: {operationId: getA, parameters: {path.id: $response.body#/id, q: 5}, requestBody: {x: $request.body#/y}}
            byRef: {operationRef: '#/paths/~1a~1{id}/get', parameters: {id: $response.body#/id}}
            byShared: {$ref: '#/components/links/Shared'}
            broken: {operationId: getB}
            brokenRef: {operationRef: '#/paths/~1b/get'}
            empty: {}
  /a/{id}:
    get: {operationId: getA, parameters: [{name: id, in: path, required: true, schema: {}}], responses: {200: {description: A.}}}
components: {links: {Shared: {operationId: getA}}}
",
    );
    let links = &contract.operations[0].responses[0].links;
    assert_eq!(
        links.iter().map(|l| (l.name.as_str(), l.target.as_str())).collect::<Vec<_>>(),
        [("byId", "getA"), ("byRef", "getA"), ("byShared", "getA")]
    );
    let parameters: Vec<_> = links[0].parameters.iter().map(|p| (p.name.as_str(), p.place, p.value.clone())).collect();
    assert_eq!(parameters, [("id", Some(ParameterPlace::Path), json!("$response.body#/id")), ("q", None, json!(5))]);
    assert_eq!(links[0].body, Some(json!({"x": "$request.body#/y"})));
    assert_eq!(titles(&contract).len(), 3);
    assert_eq!(contract.notes[0].help.as_deref(), Some("did you mean `getA`?"));
}

#[test]
fn security_of_root_and_operation() {
    let contract = load(
        "security: [{key: [], login: [read]}, {}]
paths:
  /default: {get: {}}
  /open: {get: {security: []}}
  /own: {get: {security: [{login: [write]}]}}
  /unknown: {get: {security: [{kee: []}]}}
components:
  securitySchemes:
    key: {type: apiKey, in: cookie, name: sid}
    http: {type: http, scheme: Bearer, bearerFormat: JWT, x-credential: {format: jwt, lifetime: 1h}}
    login:
      type: oauth2
      flows:
        password: {tokenUrl: /token, scopes: {read: Read., write: Write.}}
        clientCredentials: {tokenUrl: /token2, scopes: {read: Again., admin: All.}}
    oidc: {type: openIdConnect, openIdConnectUrl: 'https://example.com/.well-known'}
    tls: {type: mutualTLS}
",
    );
    let security = |index: usize| -> Vec<String> {
        contract.operations[index].security.iter().map(|a| format!("{:?}", a.schemes)).collect()
    };
    assert_eq!(security(0), [r#"{"key": [], "login": ["read"]}"#, "{}"]);
    assert!(!contract.operations[0].is_secured());
    assert!(security(1).is_empty());
    assert_eq!(security(2), [r#"{"login": ["write"]}"#]);
    assert!(contract.operations[2].is_secured());
    assert_eq!(contract.notes.iter().filter(|n| n.title == "there is no security scheme `kee`").count(), 1);
    let scheme = |name: &str| &contract.security_schemes[name];
    assert_eq!(scheme("key").kind, SecurityKind::ApiKey { place: ParameterPlace::Cookie, name: "sid".into() });
    assert_eq!(scheme("http").kind, SecurityKind::Http { scheme: "bearer".into(), bearer_format: Some("JWT".into()) });
    assert_eq!(scheme("http").credential.as_ref().unwrap().lifetime.unwrap().0.as_secs(), 3600);
    let SecurityKind::OAuth2 { scopes, token_urls } = &scheme("login").kind else { panic!() };
    assert_eq!(scopes.keys().collect::<Vec<_>>(), ["read", "write", "admin"]);
    assert_eq!(token_urls.values().collect::<Vec<_>>(), ["/token", "/token2"]);
    assert_eq!(scheme("oidc").kind, SecurityKind::OpenIdConnect { url: "https://example.com/.well-known".into() });
    assert_eq!(scheme("tls").kind, SecurityKind::MutualTls);
}

const VOCABULARY: &str = "x-contract:
  name: test
  check-order: [authenticate, validate]
  error-envelope:
    schema: '#/components/schemas/Error'
    code: [/code]
    unmatched: {path: not_found, method: 405}
    refusals:
      {unauthenticated: denied, forbidden: denied, missing: bad, invalid: bad, several: bad, malformed: bad, media-type: 415,
       too-large: 413, limited: slow, internal: 500, unavailable: 503}
  error-codes:
    not_found: {status: 404, retry: never}
    slow: {status: 429, retry: after, 'on': every-operation, details: '#/components/schemas/Slow'}
    denied: {status: 401, retry: never, 'on': secured-operations}
    bad: {status: 400, retry: never}
  rate-limits:
    'on': limited-only
    retry-after: delta-seconds
    classes:
      all: {limit: 10, window: 1m, per: path.id, when: key}
      few: {limit: 2, window: 1m, per: ip, when: [none, key]}
      any: {limit: 9, window: 1m, per: ip}
  quotas: {month: {code: slow, per: organization, window: month}}
  client-errors: {429: {name: RateLimit, carries: retry_after}, other: Api}
  max-body-bytes: 1000
security: [{key: []}]
paths:
  /a/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {x-vendor: anything, x-required-scopes: [a], x-rate-limits: [all], x-quotas: [month], x-visibility: organization}
    delete: {x-error-codes: [bad, not_found], x-max-body-bytes: 5, x-provenance: {status: described, source: a page}}
    post: {x-effect: costly, security: []}
components:
  securitySchemes: {key: {type: apiKey, in: header, name: X-Key, x-credential: {judged: on-use}}}
  schemas:
    Error: {type: object}
    Slow: {type: object, x-secret: never, x-anything: 1}
";

#[test]
fn the_vocabulary() {
    let contract = load(VOCABULARY);
    assert_eq!(contract.name, "test");
    let by = |method: &str| contract.operations.iter().find(|o| o.method.as_str() == method).unwrap();
    // In the catalogue's order, however the operation lists them; POST is not secured.
    assert_eq!(by("GET").error_codes, ["slow", "denied"]);
    assert_eq!(by("DELETE").error_codes, ["not_found", "slow", "denied", "bad"]);
    assert_eq!(by("POST").error_codes, ["slow"]);
    assert_eq!(
        (by("GET").effect, by("DELETE").effect, by("POST").effect),
        (Effect::Read, Effect::Destroy, Effect::Costly)
    );
    assert_eq!(by("GET").visibility, Some(Visibility::Organization));
    assert_eq!((by("GET").max_body_bytes, by("DELETE").max_body_bytes), (Some(1000), Some(5)));
    assert_eq!(by("DELETE").provenance.as_ref().unwrap().status, ProvenanceStatus::Described);
    assert_eq!(by("GET").required_scopes, ["a"]);
    let envelope = contract.envelope.as_ref().unwrap();
    assert_eq!(envelope.schema.name(), Some("Error"));
    assert_eq!(envelope.details["slow"].name(), Some("Slow"));
    assert_eq!(contract.status_of(&envelope.vocabulary.unmatched.path), Some(404));
    assert_eq!(contract.rate_class("all").unwrap().limit, 10);
    let counts = |class: &str| {
        [None, Some("key"), Some("other")].map(|scheme| contract.rate_class(class).unwrap().when.counts(scheme))
    };
    assert_eq!((counts("all"), counts("few"), counts("any")), ([false, true, false], [true, true, false], [true; 3]));
    let credential = contract.security_schemes["key"].credential.as_ref().unwrap();
    assert_eq!(credential.judged, Judged::OnUse);
    assert_eq!(contract.quota("month").unwrap().code, "slow");
    assert!(contract.schemas["Slow"].value.get("x-anything").is_some(), "vendor extensions stay");
}

#[test]
fn a_vocabulary_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("openapi.yaml"),
        "openapi: 3.0.3\ninfo: {title: T, version: '1'}\nx-contract: {name: t, error-codes: {$ref: codes.yaml}}\npaths: {}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("codes.yaml"), "gone: {status: 404, retry: never}\n").unwrap();
    assert_eq!(Contract::load(folder.path()).unwrap().error_codes()["gone"].status, 404);
    std::fs::write(folder.path().join("codes.yaml"), "gone:\n  status: 404\n  retri: never\n").unwrap();
    let problems = Contract::load(folder.path()).unwrap_err();
    let problem = &problems.list[0];
    assert_eq!(problem.title, "unknown key `retri`");
    assert!(problems.document.describe(problem.at.as_ref().unwrap()).ends_with("codes.yaml:3:3"), "{problems}");
}

#[test]
fn in_a_document_without_our_vocabulary_x_keys_are_somebody_elses() {
    let contract = load(
        "paths:
  /a:
    get: {x-visibility: internal, x-rate-limit: 5, x-error-code: none, responses: {200: {description: A.}}}
components: {schemas: {A: {x-secret: maybe}}}
",
    );
    assert_eq!(contract.operations[0].visibility, None);
    assert_eq!(contract.notes.len(), 2, "what carries our names and means something else is said");
}

#[test]
fn versions_of_the_document() {
    let refused = |text: &str| Contract::from_text("doc.yaml", text).unwrap_err().list[0].title.clone();
    let info = "info: {title: T, version: '1'}\npaths: {}\n";
    assert_eq!(refused(&format!("swagger: '1.2'\n{info}")), "Swagger 1.2 documents are not read");
    assert_eq!(refused(&format!("openapi: 4\n{info}")), "OpenAPI 4 documents are not read");
    assert_eq!(refused(&format!("openapi: 3.3.0\n{info}")), "OpenAPI 3.3.0 documents are not read");
    for version in ["'2.0'", "2.0", "2"] {
        assert!(Contract::from_text("doc.yaml", &format!("swagger: {version}\n{info}")).is_ok(), "{version}");
    }
    assert_eq!(refused(info), "this is not an OpenAPI document: the key `openapi` is missing");
    for version in ["3.0.0", "3.0.4", "3.1.0", "3.1.1", "3.2.0", "3.0", "'3.1'"] {
        assert!(Contract::from_text("doc.yaml", &format!("openapi: {version}\n{info}")).is_ok(), "{version}");
    }
}
