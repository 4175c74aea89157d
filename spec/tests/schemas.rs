//! Schemas: how 3.0 and 3.1 become JSON Schema 2020-12, how they get their names, and what they accept.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trueline_spec::contract::{Direction, Schema};
use trueline_spec::{Contract, Problems};

fn contract(version: &str, schemas: Value) -> Result<Contract, Problems> {
    let document = json!({
        "openapi": version, "info": {"title": "T", "version": "1"}, "paths": {}, "components": {"schemas": schemas}
    });
    Contract::from_text("doc.json", &document.to_string())
}

fn loaded(version: &str, schemas: Value) -> Contract {
    contract(version, schemas).unwrap_or_else(|problems| panic!("{problems}"))
}

/// How one schema reads; `Other` is there to refer to.
fn normal(version: &str, schema: Value) -> Value {
    let contract = loaded(version, json!({"S": schema, "Other": {"type": "string"}}));
    contract.schemas["S"].value.as_ref().clone()
}

#[test]
fn the_dialect_of_3_0_becomes_2020_12() {
    let other = || json!({"$ref": "#/components/schemas/Other"});
    let table = [
        // nullable, wherever its author meant it
        (json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]})),
        (json!({"type": "string", "nullable": false}), json!({"type": "string"})),
        (json!({"nullable": true}), json!({})),
        (
            json!({"type": "string", "nullable": true, "enum": ["a"]}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
        ),
        (json!({"nullable": true, "enum": ["a", null]}), json!({"enum": ["a", null]})),
        (
            json!({"$ref": "#/components/schemas/Other", "nullable": true}),
            json!({"anyOf": [{"$ref": "#/$defs/Other"}, {"type": "null"}]}),
        ),
        (
            json!({"nullable": true, "description": "d", "allOf": [other()]}),
            json!({"description": "d", "anyOf": [{"allOf": [{"$ref": "#/$defs/Other"}]}, {"type": "null"}]}),
        ),
        (
            json!({"type": "object", "nullable": true, "oneOf": [other()], "x-a": 1}),
            json!({"x-a": 1, "anyOf": [{"type": "object", "oneOf": [{"$ref": "#/$defs/Other"}]}, {"type": "null"}]}),
        ),
        // siblings of $ref say nothing in 3.0
        (
            json!({"$ref": "#/components/schemas/Other", "minLength": 3, "description": "d"}),
            json!({"$ref": "#/$defs/Other"}),
        ),
        // exclusive bounds
        (json!({"minimum": 1, "exclusiveMinimum": true}), json!({"exclusiveMinimum": 1})),
        (json!({"minimum": 1, "exclusiveMinimum": false}), json!({"minimum": 1})),
        (json!({"maximum": 2.5, "exclusiveMaximum": true}), json!({"exclusiveMaximum": 2.5})),
        (json!({"exclusiveMaximum": true}), json!({})),
        // example
        (json!({"example": 5}), json!({"examples": [5]})),
        (json!({"example": null}), json!({"examples": [null]})),
        // contents
        (
            json!({"type": "string", "format": "byte"}),
            json!({"type": "string", "format": "byte", "contentEncoding": "base64"}),
        ),
        (json!({"type": "string", "format": "binary"}), json!({"type": "string", "format": "binary"})),
        // whatever else stands in between is reached too
        (
            json!({"type": "object", "properties": {"nullable": {"type": "integer", "nullable": true}},
                   "additionalProperties": {"type": "array", "items": other()}}),
            json!({"type": "object", "properties": {"nullable": {"type": ["integer", "null"]}},
                   "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/Other"}}}),
        ),
        // values are nobody's schemas
        (
            json!({"enum": [{"nullable": true}], "default": {"$ref": "#/nowhere"}}),
            json!({"enum": [{"nullable": true}], "default": {"$ref": "#/nowhere"}}),
        ),
    ];
    for (schema, expected) in table {
        assert_eq!(normal("3.0.3", schema.clone()), expected, "{schema}");
    }
}

#[test]
fn schemas_of_3_1_stay_what_they_are() {
    let table = [
        (
            json!({"$ref": "#/components/schemas/Other", "minLength": 3, "description": "d"}),
            json!({"$ref": "#/$defs/Other", "minLength": 3, "description": "d"}),
        ),
        (json!({"type": ["string", "null"]}), json!({"type": ["string", "null"]})),
        (json!({"exclusiveMinimum": 1}), json!({"exclusiveMinimum": 1})),
        (json!({"examples": [1, 2]}), json!({"examples": [1, 2]})),
        (json!(true), json!(true)),
        (
            json!({"not": false, "if": {"const": null}, "then": true}),
            json!({"not": false, "if": {"const": null}, "then": true}),
        ),
        (
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://x/y", "$anchor": "a",
                   "prefixItems": [{"$ref": "#a"}]}),
            json!({"prefixItems": [{"$ref": "#/$defs/S"}]}),
        ),
        // 3.0 habits in 3.1 documents
        (json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]})),
        (json!({"minimum": 0, "exclusiveMinimum": true}), json!({"exclusiveMinimum": 0})),
    ];
    for (schema, expected) in table {
        assert_eq!(normal("3.1.0", schema.clone()), expected, "{schema}");
    }
}

#[test]
fn slips_with_one_meaning_are_forgiven() {
    let table = [
        (json!({"type": ["string", null]}), json!({"type": ["string", "null"]})),
        (json!({"type": null, "properties": null, "items": null, "description": null}), json!({})),
        (
            json!({"minLength": "3", "maxLength": 5.0, "minItems": -1, "maxItems": 1e300}),
            json!({"minLength": 3, "maxLength": 5}),
        ),
        (json!({"minimum": "1.5", "multipleOf": 0}), json!({"minimum": 1.5})),
        (json!({"required": true}), json!({})),
        (json!({"required": ["a", "a", 200]}), json!({"required": ["a", "200"]})),
        (json!({"readOnly": "true"}), json!({"readOnly": true})),
        (json!({"items": [{"type": "string"}]}), json!({"prefixItems": [{"type": "string"}]})),
        (json!({"allOf": []}), json!({})),
        (json!({"examples": {"a": {"value": 1}, "b": 2}}), json!({"examples": [1, 2]})),
        (
            json!({"dependencies": {"a": ["b"], "c": {"type": "object"}}}),
            json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"type": "object"}}}),
        ),
        (json!({"discriminator": "kind"}), json!({"discriminator": {"propertyName": "kind"}})),
        (json!({"title": 5}), json!({"title": "5"})),
    ];
    for (schema, expected) in table {
        assert_eq!(normal("3.1.0", schema.clone()), expected, "{schema}");
    }
    let notes = loaded("3.0.3", json!({"S": {"required": true, "minItems": -1}})).notes;
    assert_eq!(notes.len(), 2, "what was forgiven is said");
}

#[test]
fn wrong_schemas_are_problems_with_a_pointer() {
    let table = [
        (json!({"type": "strng"}), "`strng` is not a type", "/type"),
        (json!({"type": 5}), "`5` is not a type", "/type"),
        (json!({"properties": {"a": [1]}}), "a schema must be an object", "/properties/a"),
        (json!({"properties": ["a"]}), "`properties` must be an object of schemas", "/properties"),
        (json!({"allOf": {"type": "string"}}), "`allOf` must be a list of schemas", "/allOf"),
        (json!({"enum": "a"}), "`enum` must be a list", "/enum"),
        (json!({"minLength": "many"}), "`minLength` must be a whole number", "/minLength"),
        (json!({"maximum": {}}), "`maximum` must be a number", "/maximum"),
        (json!({"pattern": ["a"]}), "`pattern` must be a text", "/pattern"),
        (json!({"$ref": 5}), "`$ref` must be a text", "/$ref"),
        (json!({"$ref": "#/components/schemas/Othr"}), "this reference leads nowhere: there is no `Othr`", "/$ref"),
        (json!({"$ref": "#anchor"}), "no schema has the anchor `anchor`", "/$ref"),
        (json!({"$dynamicRef": "#x"}), "`$dynamicRef` is not supported", "/$dynamicRef"),
        (json!({"$ref": "#/components/schemas/S"}), "references go round in a circle", ""),
        (json!({"$ref": "#/components/schemas/S", "title": "t"}), "references go round in a circle", ""),
    ];
    for (schema, title, pointer) in table {
        let problems = contract("3.1.0", json!({"S": schema, "Other": {}})).expect_err(&schema.to_string());
        assert_eq!(problems.list[0].title, title, "{schema}");
        let found = problems.list[0].at.as_ref().unwrap().pointer.to_string();
        assert_eq!(found, format!("/components/schemas/S{pointer}"), "{schema}");
    }
}

#[test]
fn every_referenced_schema_has_one_stable_name() {
    let contract = loaded(
        "3.0.3",
        json!({
            "A": {"type": "object", "properties": {
                "b": {"type": "object", "properties": {"c": {"type": "integer"}}},
                "again": {"$ref": "#/components/schemas/A/properties/b"},
                "deeper": {"$ref": "#/components/schemas/A/properties/b/properties/c"},
                "through": {"$ref": "#/components/schemas/Alias/properties/b"},
                "self": {"$ref": "#/components/schemas/A"},
            }},
            "Alias": {"$ref": "#/components/schemas/A"},
            "Alias2": {"$ref": "#/components/schemas/Alias"},
            "With Space«s»": {"type": "string"},
            "User": {"properties": {"x": {"$ref": "#/components/schemas/With%20Space%C2%ABs%C2%BB"}}},
            "A_b": {"description": "the name is taken"},
        }),
    );
    let names: Vec<&str> = contract.schemas.keys().map(String::as_str).collect();
    assert_eq!(names, ["A", "Alias", "Alias2", "With_Space_s_", "User", "A_b", "A_b2", "A_b_c"]);
    let a = &contract.schemas["A"].value["properties"];
    assert_eq!(a["again"], json!({"$ref": "#/$defs/A_b2"}));
    assert_eq!(a["through"], json!({"$ref": "#/$defs/A_b2"}), "another way to the same place");
    assert_eq!(a["deeper"], json!({"$ref": "#/$defs/A_b_c"}));
    assert_eq!(contract.schemas["Alias2"].name(), Some("Alias"));
    assert_eq!(contract.schemas["User"].value["properties"]["x"], json!({"$ref": "#/$defs/With_Space_s_"}));
    assert_eq!(contract.resolve(&contract.schemas["Alias2"]).at.pointer.as_ref(), "/components/schemas/A");
}

#[test]
fn local_definitions_are_lifted() {
    let contract = loaded(
        "3.1.0",
        json!({"S": {"type": "object", "$defs": {"in": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/components/schemas/S/$defs/in"}, "b": {"$ref": "#/$defs/in"}}}}),
    );
    let value = &contract.schemas["S"].value;
    assert_eq!(value["properties"], json!({"a": {"$ref": "#/$defs/S_in"}, "b": {"$ref": "#/$defs/S_in"}}));
    assert_eq!(value.get("$defs"), None);
}

#[test]
fn hyphens_beside_class_escapes_are_themselves() {
    let normal = |pattern: &str| normal("3.1.0", json!({"pattern": pattern}))["pattern"].clone();
    assert_eq!(normal(r"^[\w-\.]*$"), json!(r"^[\w\-\.]*$"));
    assert_eq!(normal(r"[a-\d]x-y"), json!(r"[a\-\d]x-y"));
    for plain in [r"[\w-]", r"[a-z\w]", r"[+\-.]", r"\d-\d", r"[^-\d]", r"[\x20-\x7e]", r"[\[-\]]", r"\", "[", "[\\"] {
        let kept = plain == r"[^-\d]" || normal(plain) == json!(plain);
        assert!(kept, "{plain} became {}", normal(plain));
    }
    let contract = loaded("3.0.3", json!({"S": {"type": "string", "pattern": r"^[\w-\.]{2}$"}}));
    assert!(accepts(&contract, &contract.schemas["S"], Direction::Request, &json!("-.")));
}

#[test]
fn discriminators_map_to_names() {
    let contract = loaded(
        "3.0.3",
        json!({
            "Pet": {"oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
                "discriminator": {"propertyName": "kind", "mapping": {
                    "cat": "Cat", "dog": "#/components/schemas/Dog", "fish": "Fish", "nothing": null}}},
            "Cat": {"type": "object"}, "Dog": {"type": "object"},
        }),
    );
    let discriminator = &contract.schemas["Pet"].value["discriminator"];
    assert_eq!(
        *discriminator,
        json!({"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}})
    );
    assert_eq!(contract.notes.len(), 2, "fish and nothing are said to be ignored");
}

fn accepts(contract: &Contract, schema: &Schema, direction: Direction, value: &Value) -> bool {
    contract.validator(schema, direction).unwrap_or_else(|problem| panic!("{}", problem.title)).is_valid(value)
}

#[test]
fn a_standalone_schema_has_what_it_reaches_and_no_more() {
    let contract = loaded(
        "3.0.3",
        json!({
            "A": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/B"}}},
            "B": {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}, "x": {"enum": [{"$ref": "#/$defs/C"}]}}},
            "C": {"type": "string"},
        }),
    );
    let whole = contract.standalone(&contract.schemas["A"], Direction::Request);
    assert_eq!(whole["$defs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["A", "B"]);
    assert!(accepts(&contract, &contract.schemas["A"], Direction::Request, &json!({"b": {"a": {"b": {}}}})));
    assert!(!accepts(&contract, &contract.schemas["A"], Direction::Request, &json!({"b": {"a": {"b": 5}}})));
}

#[test]
fn each_side_of_the_wire_has_its_own_view() {
    let contract = loaded(
        "3.0.3",
        json!({
            "Id": {"type": "string", "readOnly": true},
            "Base": {"type": "object", "required": ["id", "name"], "properties": {
                "id": {"$ref": "#/components/schemas/Id"}, "name": {"type": "string"}}},
            "User": {"allOf": [{"$ref": "#/components/schemas/Base"}, {
                "type": "object", "required": ["id", "password", "made"], "properties": {
                    "password": {"type": "string", "writeOnly": true},
                    "made": {"allOf": [{"$ref": "#/components/schemas/Id"}]}}}]},
        }),
    );
    let user = &contract.schemas["User"];
    let request = json!({"name": "x", "password": "y"});
    let response = json!({"id": "1", "name": "x", "made": "z"});
    assert!(accepts(&contract, user, Direction::Request, &request));
    assert!(!accepts(&contract, user, Direction::Request, &json!({"name": "x"})), "the password is needed");
    assert!(accepts(&contract, user, Direction::Response, &response));
    assert!(
        !accepts(&contract, user, Direction::Response, &request),
        "id and made are needed, the password may not be there"
    );
    assert!(!accepts(
        &contract,
        user,
        Direction::Response,
        &json!({"id": "1", "name": "x", "made": "z", "password": "y"})
    ));
}

#[test]
fn formats_are_asserted() {
    let table = [
        (json!({"type": "integer", "format": "int32"}), json!(2147483647), json!(2147483648i64)),
        (json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 5}), json!(5), json!(6)),
        (json!({"type": "integer", "format": "int32", "minimum": -9e99}), json!(-2147483648i64), json!(-2147483649i64)),
        (json!({"type": "integer", "format": "int64"}), json!(9223372036854775807i64), json!(9223372036854775808u64)),
        (json!({"type": "integer", "format": "uint8"}), json!(255), json!(-1)),
        (json!({"type": "string", "format": "int64"}), json!("9"), json!(9)),
        (json!({"type": "number", "format": "double"}), json!(1.5), json!("1.5")),
        (json!({"type": "string", "format": "byte"}), json!("aGVsbG8="), json!("a*b")),
        (json!({"type": "string", "format": "byte"}), json!("aGVsbG8"), json!("a_b-")),
        (json!({"type": "string", "format": "base64url"}), json!("a_b-"), json!("a/b+")),
        (json!({"type": "string", "format": "uuid"}), json!("6f1c9a52-3a0e-4f57-9a44-2f0d5d1a7c10"), json!("6f1c9a52")),
        (json!({"type": "string", "format": "date-time"}), json!("2024-03-04T09:15:00Z"), json!("2024-03-04 09:15")),
        (json!({"type": "string", "format": "date"}), json!("2024-02-29"), json!("2023-02-29")),
        (json!({"type": "string", "format": "time"}), json!("09:15:00Z"), json!("25:00:00Z")),
        (json!({"type": "string", "format": "duration"}), json!("P1D"), json!("1d")),
        (json!({"type": "string", "format": "email"}), json!("a@example.com"), json!("a.example.com")),
        (json!({"type": "string", "format": "hostname"}), json!("example.com"), json!("-a-.b")),
        (json!({"type": "string", "format": "ipv4"}), json!("127.0.0.1"), json!("127.0.0.256")),
        (json!({"type": "string", "format": "ipv6"}), json!("::1"), json!(":::1")),
        (json!({"type": "string", "format": "uri"}), json!("https://example.com/a"), json!("/a")),
        (json!({"type": "string", "format": "regex"}), json!("^a+$"), json!("(")),
        (json!({"type": "string", "format": "char"}), json!("é"), json!("ab")),
        (json!({"type": "string", "format": "http-date"}), json!("Sun, 06 Nov 1994 08:49:37 GMT"), json!("1994-11-06")),
        // ECMA-262: look-ahead, and \d is ASCII.
        (json!({"type": "string", "pattern": "^(?=.*[0-9])\\d{2}$"}), json!("42"), json!("٤٢")),
        (json!({"type": "string", "pattern": "^\\p{Lu}$"}), json!("É"), json!("é")),
    ];
    for (schema, good, bad) in table {
        let contract = loaded("3.1.0", json!({"S": schema}));
        assert!(accepts(&contract, &contract.schemas["S"], Direction::Response, &good), "{schema} takes {good}");
        assert!(!accepts(&contract, &contract.schemas["S"], Direction::Response, &bad), "{schema} refuses {bad}");
    }
    // A format that nobody knows asserts nothing.
    let contract = loaded("3.1.0", json!({"S": {"format": "vendor-thing"}}));
    assert!(accepts(&contract, &contract.schemas["S"], Direction::Response, &json!("anything")));
}

#[test]
fn a_schema_that_does_not_compile_is_a_problem_of_the_document() {
    let contract = loaded("3.1.0", json!({"S": {"type": "object", "properties": {"a": {"pattern": "(unclosed"}}}}));
    let problem = contract.validator(&contract.schemas["S"], Direction::Request).unwrap_err();
    assert!(problem.title.starts_with("this schema cannot be compiled: "), "{}", problem.title);
    assert_eq!(problem.at.unwrap().pointer.as_ref(), "/components/schemas/S");
}
