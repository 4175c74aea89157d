//! OpenAPI 3.1 and 3.2: what they have and 3.0 has not.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use trueline_spec::Contract;
use trueline_spec::contract::{ParameterEncoding, ParameterPlace, SecurityKind, Style};
use trueline_spec::vocabulary::Effect;

fn load_as(version: &str, text: &str) -> Contract {
    let text = format!("openapi: {version}\ninfo: {{title: T, version: '1'}}\n{text}");
    Contract::from_text("doc.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn methods_of_3_2() {
    let text = "paths:
  /a:
    query: {requestBody: {content: {application/json: {schema: {type: object}}}}}
    additionalOperations: {LINK: {operationId: link}, COPY: {}}
";
    let contract = load_as("3.2.0", text);
    let found: Vec<(&str, &str)> =
        contract.operations.iter().map(|one| (one.method.as_str(), one.id.as_str())).collect();
    assert_eq!(found, [("QUERY", "query_a"), ("LINK", "link"), ("COPY", "copy_a")]);
    assert_eq!(contract.operations[0].effect, Effect::Read);
    assert_eq!(contract.operations[1].effect, Effect::Write);
    assert!(contract.operations[0].body.is_some());
    assert!(load_as("3.1.0", text).operations.is_empty(), "3.1 has no such keys");
    let early = "paths: {/a: {x-oai-additionalOperations: {QUERY: {}}}}";
    assert_eq!(load_as("3.1.0", early).operations[0].method.as_str(), "QUERY");
}

#[test]
fn streams_have_items() {
    let text = "paths:
  /a:
    get:
      responses:
        200:
          description: A.
          content:
            text/event-stream: {itemSchema: {type: object, properties: {data: {type: string}}}}
            application/jsonl: {schema: {type: array, items: {type: integer}}}
            application/x-ndjson: {schema: {$ref: '#/components/schemas/List'}}
            application/json-seq: {$ref: '#/components/mediaTypes/Seq'}
components:
  schemas: {List: {type: array, items: {type: boolean}}}
  mediaTypes: {Seq: {itemSchema: {type: 'null'}}}
";
    let items = |version: &str| -> Vec<serde_json::Value> {
        let contract = load_as(version, text);
        let media = contract.operations[0].responses[0].media.clone();
        media
            .iter()
            .map(|media| media.item_schema.as_ref().map_or(json!(null), |schema| (*schema.value).clone()))
            .collect()
    };
    let newest = items("3.2.0");
    assert_eq!(newest[0]["properties"]["data"], json!({"type": "string"}));
    assert_eq!(newest[1..], [json!({"type": "integer"}), json!({"type": "boolean"}), json!({"type": "null"})]);
    // Before 3.2 the schema was the item's by custom.
    assert_eq!(items("3.1.0")[1], json!({"type": "array", "items": {"type": "integer"}}));
}

#[test]
fn a_query_string_becomes_its_parameters() {
    let contract = load_as(
        "3.2.0",
        "paths:
  /a:
    get:
      parameters:
        - name: all
          in: querystring
          content:
            application/x-www-form-urlencoded:
              schema: {$ref: '#/components/schemas/Query'}
              encoding: {tags: {style: pipeDelimited}}
components:
  schemas:
    Query: {type: object, required: [q], properties: {q: {type: string, minLength: 1}, tags: {type: array}}}
",
    );
    let parameters = &contract.operations[0].parameters;
    assert_eq!(parameters.len(), 2);
    assert!(parameters[0].required && parameters[0].place == ParameterPlace::Query);
    assert_eq!(*parameters[0].schema.value, json!({"type": "string", "minLength": 1}));
    let pipes = ParameterEncoding::Style { style: Style::PipeDelimited, explode: false };
    assert_eq!(parameters[1].encoding, pipes);
    assert_eq!(contract.document.describe(&parameters[0].schema.at.join("minLength")), "doc.yaml:15:73");
}

#[test]
fn tags_examples_discriminators_and_flows_of_3_2() {
    let contract = load_as(
        "3.2.0",
        "tags: [{name: all, kind: nav}, {name: a, parent: all}, {name: b, parent: al}]
paths:
  /a:
    get:
      parameters:
        - {name: c, in: cookie, style: cookie, schema: {type: string}}
        - name: q
          in: query
          schema: {type: integer}
          examples: {x: {dataValue: 5, serializedValue: '5'}, y: {serializedValue: '6'}}
components:
  schemas:
    Pet: {type: object, discriminator: {propertyName: kind, defaultMapping: Other, mapping: {cat: Cat}}}
    Cat: {type: object}
    Other: {type: object}
  securitySchemes:
    device:
      type: oauth2
      flows: {deviceAuthorization: {deviceAuthorizationUrl: 'https://a.example/d', tokenUrl: 'https://a.example/t', scopes: {r: R.}}}
",
    );
    assert_eq!(contract.tags[1].parent.as_deref(), Some("all"));
    assert!(contract.notes.iter().any(|note| note.title == "there is no tag `al`"));
    let parameters = &contract.operations[0].parameters;
    assert_eq!(parameters[0].encoding, ParameterEncoding::Style { style: Style::Form, explode: true });
    assert_eq!(parameters[1].examples.iter().map(|one| one.value.clone()).collect::<Vec<_>>(), [json!(5)]);
    let discriminator = &contract.schemas["Pet"].value["discriminator"];
    assert_eq!(discriminator["defaultMapping"], json!("#/$defs/Other"));
    assert_eq!(discriminator["mapping"]["cat"], json!("#/$defs/Cat"));
    let SecurityKind::OAuth2 { token_urls, scopes } = &contract.security_schemes["device"].kind else { panic!() };
    assert_eq!(token_urls["deviceAuthorization"], "https://a.example/t");
    assert!(scopes.contains_key("r"));
}

#[test]
fn scopes_and_roles_are_required_without_a_vocabulary() {
    let contract = load_as(
        "3.1.0",
        "security: [{oauth: [a, b]}]
paths:
  /one: {get: {operationId: one}}
  /either: {get: {operationId: either, security: [{oauth: [a, b]}, {oauth: [c, b]}, {key: []}]}}
  /role: {get: {operationId: role, security: [{bearer: [admin]}]}}
  /both: {get: {operationId: both, security: [{oauth: [a], bearer: [admin]}]}}
  /open: {get: {operationId: open, security: []}}
  /own: {get: {operationId: own, x-required-scopes: [x], security: [{key: []}]}}
  /none: {get: {operationId: none, x-required-scopes: []}}
components:
  securitySchemes:
    oauth: {type: oauth2, flows: {}}
    bearer: {type: http, scheme: bearer}
    key: {type: apiKey, in: header, name: K}
",
    );
    let by = |id: &str| contract.operation(id).unwrap();
    assert_eq!(by("one").required_scopes, ["a", "b"]);
    assert_eq!(by("either").required_scopes, ["b"]);
    assert_eq!(by("either").scope_sets("oauth"), [["a", "b"], ["b", "c"]]);
    assert_eq!(by("either").scope_sets("key"), [Vec::<&str>::new()]);
    assert_eq!(by("role").required_scopes, ["admin"]);
    assert_eq!(by("both").required_scopes, ["a", "admin"]);
    assert_eq!(by("both").scope_sets("bearer"), [["admin"]]);
    assert!(by("open").required_scopes.is_empty() && by("open").scope_sets("oauth").is_empty());
    assert_eq!(by("own").required_scopes, ["x"]);
    assert_eq!(by("own").scope_sets("key"), [["x"]]);
    assert!(by("none").required_scopes.is_empty());
}
