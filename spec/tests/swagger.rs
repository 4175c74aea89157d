//! Swagger 2.0 in the model: what other versions spell otherwise, and where it stands.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trueline_spec::Contract;
use trueline_spec::contract::{
    Body, Direction, Operation, ParameterEncoding, ParameterPlace, SecurityKind, StatusPattern, Style,
};

/// A contract from what stands below `swagger` and `info`.
fn load(text: &str) -> Contract {
    let text = format!("swagger: '2.0'\ninfo: {{title: T, version: '1'}}\n{text}");
    Contract::from_text("doc.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn only(contract: &Contract) -> &Operation {
    assert_eq!(contract.operations.len(), 1);
    &contract.operations[0]
}

fn titles(contract: &Contract) -> Vec<&str> {
    contract.notes.iter().map(|note| note.title.as_str()).collect()
}

#[test]
fn servers_come_from_schemes_host_and_base_path() {
    let servers = |text: &str| load(&format!("{text}\npaths: {{}}")).servers;
    let all = "host: api.example.com\nbasePath: /v1/\nschemes: [https, http, wss]";
    assert_eq!(servers(all), ["https://api.example.com/v1", "http://api.example.com/v1"]);
    assert_eq!(servers("host: api.example.com"), ["https://api.example.com"]);
    assert_eq!(servers("basePath: v2"), ["/v2"]);
    assert_eq!(servers(""), ["/"]);
}

#[test]
fn parameters_are_their_own_schema() {
    let contract = load(
        "paths:
  /a/{id}:
    parameters:
      - {name: id, in: path, required: true, type: integer, format: int64}
    get:
      parameters:
        - {name: plain, in: query, type: array, items: {type: string, maxLength: 3}, minItems: 1}
        - {name: many, in: query, type: array, items: {type: string}, collectionFormat: multi}
        - {name: blanks, in: query, type: array, items: {type: string}, collectionFormat: ssv}
        - {name: tabs, in: query, type: array, items: {type: string}, collectionFormat: tsv}
        - {name: X-Pipes, in: header, type: array, items: {type: string}, collectionFormat: pipes}
        - {name: odd, in: header, type: array, items: {type: string}, collectionFormat: multi}
        - {name: limit, in: query, type: integer, maximum: 10, exclusiveMaximum: true, default: 5, required: false}
        - {name: none, in: query, type: string, x-nullable: true, allowEmptyValue: true}
      responses: {200: {description: Fine.}}
",
    );
    let operation = only(&contract);
    let encoding = |name: &str| {
        let parameter = operation.parameters.iter().find(|one| one.name == name).unwrap();
        match parameter.encoding {
            ParameterEncoding::Style { style, explode } => (style, explode),
            ParameterEncoding::Content(_) => panic!("{name} has a media type"),
        }
    };
    assert_eq!(encoding("id"), (Style::Simple, false));
    assert_eq!(encoding("plain"), (Style::Form, false));
    assert_eq!(encoding("many"), (Style::Form, true));
    assert_eq!(encoding("blanks"), (Style::SpaceDelimited, false));
    assert_eq!(encoding("tabs"), (Style::TabDelimited, false));
    assert_eq!(encoding("X-Pipes"), (Style::PipeDelimited, false));
    assert_eq!(encoding("odd"), (Style::Simple, false));
    assert_eq!(titles(&contract), ["the collectionFormat `multi` is not possible here; `csv` is taken"]);
    let schema = |name: &str| {
        let parameter = operation.parameters.iter().find(|one| one.name == name).unwrap();
        (*parameter.schema.value).clone()
    };
    assert_eq!(schema("id"), json!({"type": "integer", "format": "int64"}));
    assert_eq!(schema("plain"), json!({"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1}));
    assert_eq!(schema("limit"), json!({"type": "integer", "exclusiveMaximum": 10, "default": 5}));
    assert_eq!(schema("none"), json!({"type": ["string", "null"]}));
    let limit = operation.parameter(ParameterPlace::Query, "limit").unwrap();
    assert_eq!(limit.examples[0].value, json!(5));
    assert!(!limit.required);
    // A clause points to the keyword where its author wrote it.
    let place = contract.place_in(&operation.parameters[0].schema, "/items/maxLength");
    assert_eq!(contract.document.describe(&place), "doc.yaml:9:71");
}

#[test]
fn a_body_parameter_is_a_body_in_what_is_consumed() {
    let contract = load(
        "consumes: [application/xml]
paths:
  /a:
    parameters:
      - {name: shared, in: body, schema: {type: string}}
    post:
      consumes: [application/json, 'text/json; charset=utf-8', multipart/form-data]
      parameters:
        - {$ref: '#/parameters/Thing'}
    put: {}
    patch:
      consumes: []
parameters:
  Thing: {name: thing, in: body, required: true, description: It., schema: {$ref: '#/definitions/Thing'}}
definitions:
  Thing: {type: object, required: [a], properties: {a: {$ref: '#/definitions/A', x-nullable: true}}}
  A: {type: string}
",
    );
    let body = |method: &str| -> &Body {
        contract.operations.iter().find(|one| one.method.as_str() == method).unwrap().body.as_ref().unwrap()
    };
    let types = |body: &Body| body.media.iter().map(|media| media.media_type.clone()).collect::<Vec<_>>();
    assert_eq!(types(body("POST")), ["application/json", "text/json"]);
    assert_eq!(types(body("PUT")), ["application/xml"]);
    assert_eq!(types(body("PATCH")), ["application/json"]);
    assert!(body("POST").required && !body("PUT").required);
    assert_eq!(body("POST").description.as_deref(), Some("It."));
    assert_eq!(body("POST").media[0].schema.as_ref().unwrap().name(), Some("Thing"));
    let whole = contract.standalone(body("POST").media[0].schema.as_ref().unwrap(), Direction::Request);
    assert_eq!(whole["$defs"]["Thing"]["properties"]["a"], json!({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}));
}

#[test]
fn form_fields_are_one_object_that_knows_where_its_parts_stand() {
    let contract = load(
        "paths:
  /a:
    parameters:
      - {name: shared, in: formData, type: integer}
    post:
      consumes: [multipart/form-data, application/x-www-form-urlencoded]
      parameters:
        - {name: name, in: formData, type: string, maxLength: 5, required: true}
        - {name: tags, in: formData, type: array, items: {type: string}, collectionFormat: pipes}
        - {name: page, in: query, type: integer}
    put:
      parameters:
        - {name: photo, in: formData, type: file, required: true}
",
    );
    let body = |index: usize| contract.operations.iter().filter_map(|one| one.body.as_ref()).nth(index).unwrap();
    let post = contract.operations.iter().find(|one| one.method == "POST").unwrap();
    assert_eq!(post.parameters.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["page"]);
    let form = post.body.as_ref().unwrap();
    assert!(form.required);
    let types: Vec<&str> = form.media.iter().map(|media| media.media_type.as_str()).collect();
    assert_eq!(types, ["multipart/form-data", "application/x-www-form-urlencoded"]);
    let schema = form.media[0].schema.as_ref().unwrap();
    assert_eq!(
        *schema.value,
        json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 5},
            "tags": {"type": "array", "items": {"type": "string"}},
            "shared": {"type": "integer"},
        }})
    );
    let pipes = ParameterEncoding::Style { style: Style::PipeDelimited, explode: false };
    assert_eq!(form.media[1].part_styles["tags"], pipes);
    let place = |pointer: &str| contract.document.describe(&contract.place_in(schema, pointer));
    assert_eq!(place("/properties/name/maxLength"), "doc.yaml:10:52");
    assert_eq!(place("/required/0"), "doc.yaml:10:66");
    assert_eq!(place("/properties/shared/type"), "doc.yaml:6:38");
    assert_eq!(place("/properties/tags/items/type"), "doc.yaml:11:59");
    let file = body(0);
    assert_eq!(file.media[0].media_type, "multipart/form-data", "files need it, whatever is consumed");
    let schema = file.media[0].schema.as_ref().unwrap();
    assert_eq!(schema.value["properties"]["photo"], json!({"type": "string", "format": "binary"}));
    assert_eq!(file.media[0].part_types["photo"], ["application/octet-stream"]);
}

#[test]
fn answers_are_in_what_is_produced() {
    let contract = load(
        "produces: [application/json]
paths:
  /a:
    get:
      produces: [application/json, application/xml]
      responses:
        200:
          description: Fine.
          schema: {type: array, items: {$ref: '#/definitions/A'}}
          examples: {application/json: [{a: 1}], application/xml: <a/>}
          headers:
            X-Rate-Limit: {type: integer, description: Calls.}
            X-List: {type: array, items: {type: integer}, collectionFormat: csv}
        201: {$ref: '#/responses/Made'}
        204: {description: Nothing.}
        default: {description: Wrong., schema: {$ref: '#/definitions/Error'}}
    put:
      produces: [application/pdf]
      responses: {200: {description: A file., schema: {type: file}}}
responses: {Made: {description: Made.}}
definitions:
  A: {type: object, properties: {a: {type: integer}}, discriminator: kind}
  Error: {type: object}
",
    );
    let get = contract.operations.iter().find(|one| one.method == "GET").unwrap();
    let answer = |status: u16| get.response(status).unwrap();
    assert_eq!(answer(200).media.len(), 2);
    assert_eq!(answer(200).media[0].examples[0].value, json!([{"a": 1}]));
    assert_eq!(answer(200).media[1].examples[0].value, json!("<a/>"));
    assert_eq!(answer(200).headers[0].name, "X-Rate-Limit");
    assert_eq!(*answer(200).headers[0].schema.value, json!({"type": "integer"}));
    assert_eq!(*answer(200).headers[1].schema.value, json!({"type": "array", "items": {"type": "integer"}}));
    assert_eq!(answer(201).component.as_deref(), Some("Made"));
    assert!(answer(204).media.is_empty());
    assert_eq!(answer(500).status, StatusPattern::Default);
    assert_eq!(answer(500).media[0].schema.as_ref().unwrap().name(), Some("Error"));
    assert_eq!(contract.schemas["A"].value["discriminator"], json!({"propertyName": "kind"}));
    let put = contract.operations.iter().find(|one| one.method == "PUT").unwrap();
    let file = &put.responses[0].media[0];
    assert_eq!(file.media_type, "application/pdf");
    assert_eq!(*file.schema.as_ref().unwrap().value, json!({"type": "string", "format": "binary"}));
}

#[test]
fn without_produces_any_media_type_may_come() {
    let contract = load("paths: {/a: {get: {responses: {200: {description: A., schema: {type: object}}}}}}");
    assert_eq!(only(&contract).responses[0].media[0].media_type, "*/*");
}

#[test]
fn security_definitions() {
    let contract = load(
        "securityDefinitions:
  basic: {type: basic}
  key: {type: apiKey, in: query, name: k}
  oauth: {type: oauth2, flow: accessCode, tokenUrl: 'https://a.example/t', scopes: {read: Reads., write: Writes., x-a: b}}
security: [{oauth: [read]}, {basic: []}]
paths:
  /a:
    get: {}
    put: {security: [{oauth: [write, read]}]}
    post: {security: [{nobody: []}]}
",
    );
    let kind = |name: &str| contract.security_schemes[name].kind.clone();
    assert_eq!(kind("basic"), SecurityKind::Http { scheme: "basic".into(), bearer_format: None });
    assert_eq!(kind("key"), SecurityKind::ApiKey { place: ParameterPlace::Query, name: "k".into() });
    let SecurityKind::OAuth2 { scopes, token_urls } = kind("oauth") else { panic!("not oauth2") };
    assert_eq!(scopes.keys().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(token_urls["accessCode"], "https://a.example/t");
    let by = |method: &str| contract.operations.iter().find(|one| one.method.as_str() == method).unwrap();
    assert_eq!(by("GET").required_scopes, ["read"]);
    assert_eq!(by("GET").scope_sets("oauth"), [["read"]]);
    assert_eq!(by("GET").scope_sets("basic"), [Vec::<&str>::new()]);
    assert_eq!(by("PUT").scope_sets("oauth"), [["read", "write"]]);
    assert!(by("PUT").scope_sets("basic").is_empty());
    assert_eq!(
        titles(&contract),
        ["this operation promises no response"; 3]
            .into_iter()
            .chain(["there is no security scheme `nobody`"])
            .collect::<Vec<_>>()
    );
}

#[test]
fn slips_with_one_meaning_are_notes() {
    let contract = load(
        "paths:
  /a:
    post:
      consumes: [application/x-www-form-urlencoded]
      parameters:
        - {name: f, in: formData, type: file}
        - {name: q, in: query, schema: {type: integer}}
        - {name: r, in: query}
      responses: {200: {description: A.}}
",
    );
    assert_eq!(
        titles(&contract),
        [
            "files need `consumes: [multipart/form-data]`; that is taken",
            "a parameter outside of the body has no `schema` in Swagger 2.0; it is read all the same",
            "a parameter without a type takes anything",
        ]
    );
    assert_eq!(*only(&contract).parameters[0].schema.value, json!({"type": "integer"}));
    assert_eq!(*only(&contract).parameters[1].schema.value, Value::Object(Default::default()));
}
