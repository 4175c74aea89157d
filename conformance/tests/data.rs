//! Laws and tables for data from schemas and for what it looks like on the wire.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use serde_json::{Map, Value, json};
use trueline_conformance::data::wire::{
    WireParameter, body_decodes_to_valid, decodes_to_valid, encode_body, encode_parameter, wrong_part_types,
};
use trueline_conformance::data::{FaultKind, FileValue, Generator, Verdict, measure, shrink};
use trueline_spec::contract::{Media, Parameter, ParameterEncoding, ParameterPlace, Schema, Style};
use trueline_spec::document::Location;

fn generator(schema: &Value) -> Generator {
    Generator::new(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// Built here and not by the generator, so that they do not agree by sharing a mistake.
fn validator(schema: &Value) -> jsonschema::Validator {
    trueline_spec::schema::validator(schema).unwrap_or_else(|error| panic!("{schema}: {error:?}"))
}

/// Every law that holds for every schema that values can be made for.
fn laws(schema: &Value, cases: u64) {
    let generator = generator(schema);
    let validator = validator(schema);
    let twin = Generator::new(schema).expect("once more");
    for value in [generator.minimal(), generator.maximal()] {
        assert!(validator.is_valid(&value), "{schema}\n  minimal or maximal: {value}");
    }
    for index in 0..cases {
        let value = generator.sample(7, index);
        assert!(validator.is_valid(&value), "{schema}\n  sample {index}: {value}");
        assert_eq!(value, twin.sample(7, index), "{schema}: samples differ");
        let fault = generator.invalid(7, index);
        assert_eq!(fault, twin.invalid(7, index), "{schema}: faults differ");
        if let Some(boundary) = fault {
            one_fault(schema, &validator, &boundary.value, &boundary.verdict, &boundary.label);
        }
    }
    let boundaries = generator.boundaries();
    assert_eq!(boundaries, twin.boundaries(), "{schema}: boundaries differ");
    let mut labels = HashSet::new();
    for boundary in &boundaries {
        assert!(labels.insert(&boundary.label), "{schema}: `{}` twice", boundary.label);
        match boundary.verdict {
            Verdict::Valid => {
                assert!(validator.is_valid(&boundary.value), "{schema}\n  {}: {}", boundary.label, boundary.value)
            }
            Verdict::Invalid(_) => one_fault(schema, &validator, &boundary.value, &boundary.verdict, &boundary.label),
        }
    }
}

fn one_fault(schema: &Value, validator: &jsonschema::Validator, value: &Value, verdict: &Verdict, label: &str) {
    let Verdict::Invalid(fault) = verdict else { panic!("{schema}: {label} is no fault") };
    let mut errors: Vec<_> = validator.iter_errors(value).collect();
    // A member that is wrong counts as not evaluated on top of that, all the way up.
    let deepest = errors.iter().map(|error| error.instance_path().as_str().len()).max().unwrap_or_default();
    let told_below = |error: &jsonschema::ValidationError<'_>| {
        error.schema_path().as_str().ends_with("/unevaluatedProperties")
            && error.instance_path().as_str().len() < deepest
    };
    errors.retain(|error| !told_below(error));
    let places: HashSet<String> = errors.iter().map(|error| error.instance_path().to_string()).collect();
    assert_eq!(places.len(), 1, "{schema}\n  {label}: {value} is wrong at {places:?}");
    let paths: Vec<String> = errors.iter().map(|error| error.schema_path().to_string()).collect();
    assert!(paths.contains(&fault.schema), "{schema}\n  {label}: {fault:?} is none of {paths:?}");
    let place = places.into_iter().next().unwrap_or_default();
    assert!(fault.instance.starts_with(&place), "{label}: {} is not inside {place}", fault.instance);
}

// --- Random schemas -------------------------------------------------------------------------------------------------

fn scalar_schema() -> BoxedStrategy<Value> {
    let with = |mut base: Value, more: Vec<(&'static str, Option<Value>)>| {
        for (key, value) in more {
            if let Some(value) = value {
                base[key] = value;
            }
        }
        base
    };
    let string = (prop::option::of(0u64..6), prop::option::of(6u64..20), prop::option::of(0usize..5)).prop_map(
        move |(min, max, pattern)| {
            const PATTERNS: [&str; 5] = ["^[a-z]*$", "[0-9]{2}", "^(ab|c)+$", "^[A-Z][a-z ]{1,30}$", r"^\S+$"];
            let pattern = pattern.map(|index| json!(PATTERNS[index]));
            with(
                json!({"type": "string"}),
                vec![("minLength", min.map(Value::from)), ("maxLength", max.map(Value::from)), ("pattern", pattern)],
            )
        },
    );
    let integer = (prop::option::of(-50i64..50), prop::option::of(50i64..5000), prop::option::of(1u64..9)).prop_map(
        move |(min, max, multiple)| {
            with(
                json!({"type": "integer"}),
                vec![
                    ("minimum", min.map(Value::from)),
                    ("maximum", max.map(Value::from)),
                    ("multipleOf", multiple.map(Value::from)),
                ],
            )
        },
    );
    let number = (prop::option::of(-20i32..20), prop::option::of(21i32..400), any::<bool>()).prop_map(
        move |(min, max, exclusive)| {
            let bound = |value: Option<i32>| value.map(|value| json!(f64::from(value) / 4.0));
            let (low, high) = if exclusive { ("exclusiveMinimum", "exclusiveMaximum") } else { ("minimum", "maximum") };
            with(json!({"type": "number"}), vec![(low, bound(min)), (high, bound(max))])
        },
    );
    let formats = prop::sample::select(vec![
        "date-time",
        "date",
        "time",
        "uuid",
        "email",
        "uri",
        "hostname",
        "ipv4",
        "ipv6",
        "duration",
        "byte",
    ])
    .prop_map(|format| json!({"type": "string", "format": format}));
    let listed = prop::collection::vec(
        prop_oneof![Just(json!("red")), Just(json!("green")), Just(json!(3)), Just(json!(null)), Just(json!({"k": 1}))],
        1..4,
    )
    .prop_map(|values| json!({"enum": values.iter().fold(Vec::new(), |mut all: Vec<Value>, value| { if !all.contains(value) { all.push(value.clone()) } all })}));
    prop_oneof![
        4 => string,
        3 => integer,
        2 => number,
        2 => formats,
        2 => listed,
        1 => Just(json!({"type": "boolean"})),
        1 => Just(json!({"type": ["string", "null"], "maxLength": 8})),
        1 => Just(json!({"const": "fixed"})),
        1 => Just(json!({"not": {"type": ["object", "array"]}})),
        1 => Just(json!({"type": "number", "multipleOf": 0.25, "minimum": -3})),
        2 => Just(json!({"$ref": "#/$defs/A"})),
        1 => Just(json!({"$ref": "#/$defs/B"})),
        1 => Just(json!({})),
    ]
    .boxed()
}

fn any_schema() -> BoxedStrategy<Value> {
    scalar_schema()
        .prop_recursive(3, 24, 5, |inner| {
            let members = prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "d", "e", "kind"]), inner.clone(), any::<bool>()), 0..5);
            let object = (members, prop::option::of(any::<bool>()), prop::option::of(0u64..3), any::<bool>()).prop_map(
                |(members, additional, min, dependent)| {
                    let mut properties = Map::new();
                    let mut required = Vec::new();
                    for (name, schema, needed) in members {
                        if properties.insert(name.to_owned(), schema).is_none() && needed {
                            required.push(json!(name));
                        }
                    }
                    let mut schema = json!({"type": "object", "required": required});
                    if dependent && properties.len() >= 2 {
                        let names: Vec<&String> = properties.keys().collect();
                        schema["dependentRequired"] = json!({names[0]: [names[1]]});
                    }
                    if let Some(additional) = additional {
                        schema["additionalProperties"] = json!(additional);
                    }
                    if let Some(min) = min {
                        schema["minProperties"] = json!(min.min(properties.len() as u64));
                    }
                    schema["properties"] = Value::Object(properties);
                    schema
                },
            );
            let map = (inner.clone(), prop::option::of(1u64..4)).prop_map(|(schema, max)| {
                let mut map = json!({"type": "object", "additionalProperties": schema, "propertyNames": {"pattern": "^[a-z]{2,12}[0-9]*$"}});
                if let Some(max) = max {
                    map["maxProperties"] = json!(max);
                }
                map
            });
            let array = (inner.clone(), prop::option::of(0u64..3), prop::option::of(3u64..6), any::<bool>()).prop_map(|(items, min, max, unique)| {
                let mut schema = json!({"type": "array", "items": items});
                if let Some(min) = min {
                    schema["minItems"] = json!(min);
                }
                if let Some(max) = max {
                    schema["maxItems"] = json!(max);
                }
                if unique {
                    schema["uniqueItems"] = json!(true);
                }
                schema
            });
            let tuple = prop::collection::vec(inner.clone(), 1..4).prop_map(|items| json!({"type": "array", "prefixItems": items, "items": false, "minItems": 1}));
            let several = prop::collection::vec(inner.clone(), 1..4);
            let patterned = (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(one, other, closed)| {
                json!({"type": "object", "patternProperties": {"^x-[a-z]+$": one}, "additionalProperties": if closed { json!(false) } else { other }})
            });
            let containing = (inner.clone(), 1u64..3).prop_map(|(item, max)| json!({"type": "array", "contains": item, "maxContains": max, "maxItems": 6}));
            let unevaluated = (inner.clone(), inner.clone()).prop_map(|(one, other)| {
                json!({"type": "object", "allOf": [{"properties": {"a": one}}], "properties": {"b": other}, "unevaluatedProperties": false})
            });
            let dependent = (inner.clone(), inner.clone()).prop_map(|(one, other)| {
                json!({"type": "object", "properties": {"a": one}, "dependentSchemas": {"a": {"required": ["b"], "properties": {"b": other}}}})
            });
            prop_oneof![
                1 => patterned,
                1 => containing,
                1 => unevaluated,
                1 => dependent,
                6 => object,
                2 => map,
                3 => array,
                1 => tuple,
                2 => several.clone().prop_map(|branches| json!({"anyOf": branches})),
                2 => several.clone().prop_map(|branches| json!({"oneOf": branches})),
                1 => several.prop_map(|branches| json!({"allOf": branches})),
                1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(one, two, three)| json!({"if": one, "then": two, "else": three})),
                1 => (inner.clone(), inner).prop_map(|(yes, no)| json!({"allOf": [yes, {"not": no}]})),
            ]
        })
        .boxed()
}

/// A schema with two named ones that it, and they, may refer to.
fn whole_schema() -> BoxedStrategy<Value> {
    (any_schema(), any_schema(), any_schema())
        .prop_map(|(root, a, b)| json!({"allOf": [root], "$defs": {"A": a, "B": b}}))
        .boxed()
}

proptest! {
    #![proptest_config(Config { cases: 150, max_shrink_iters: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(4711), ..Config::default() })]

    #[test]
    fn laws_hold_for_random_schemas(schema in whole_schema()) {
        // A schema without values is refused with a reason; all others obey.
        match Generator::new(&schema) {
            Ok(_) => laws(&schema, 12),
            Err(error) => prop_assert!(!error.reason.is_empty()),
        }
    }

    /// Documents have mistakes anywhere; the answer is an error or a generator, and never a panic.
    #[test]
    fn malformed_schemas_never_panic(schema in whole_schema(), junk in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)) {
        let mut schema = schema;
        for (place, value) in junk {
            let mut pointers = Vec::new();
            pointers_of(&schema, String::new(), &mut pointers);
            let pointer = place.get(&pointers).clone();
            if let Some(place) = schema.pointer_mut(&pointer) {
                *place = value;
            }
        }
        if let Ok(generator) = Generator::new(&schema) {
            for index in 0..5 {
                prop_assert!(generator.is_valid(&generator.sample(1, index)));
                generator.invalid(1, index);
            }
            generator.boundaries();
        }
    }

    #[test]
    fn shrinking_never_grows(value in any_json()) {
        let size = measure(&value);
        let first: Vec<Value> = shrink(&value).collect();
        for candidate in &first {
            prop_assert!(measure(candidate) < size, "{} is not smaller than {}", candidate, value);
        }
        let second: Vec<Value> = shrink(&value).collect();
        prop_assert_eq!(first, second);
    }

    #[test]
    fn shrinking_ends(value in any_json()) {
        let mut value = value;
        let mut steps = 0;
        while let Some(smaller) = shrink(&value).nth(steps % 2).or_else(|| shrink(&value).next()) {
            value = smaller;
            steps += 1;
            prop_assert!(steps < 10_000);
        }
    }
}

fn pointers_of(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| pointers_of(value, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| pointers_of(value, format!("{at}/{index}"), found));
        }
        _ => {}
    }
    found.push(at);
}

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|members: BTreeMap<String, Value>| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

// --- Keywords and formats -------------------------------------------------------------------------------------------

#[test]
fn every_keyword_has_its_boundaries() {
    // Schema, then labels that must be in the list.
    let table: [(Value, &[&str]); 24] = [
        (
            json!({"type": "string", "minLength": 2, "maxLength": 9}),
            &[
                "minLength/at",
                "minLength/under",
                "minLength/inside",
                "maxLength/at",
                "maxLength/over",
                "maxLength/inside",
                "maxLength/at in emoji",
                "type/null",
                "type/number",
            ],
        ),
        (json!({"type": "string", "pattern": "^[a-z]{3}$"}), &["pattern/mismatch"]),
        (json!({"type": "string", "format": "date-time"}), &["format/date-time"]),
        (
            json!({"type": "integer", "minimum": 1, "maximum": 10}),
            &[
                "minimum/at",
                "minimum/under",
                "minimum/inside",
                "maximum/at",
                "maximum/over",
                "maximum/inside",
                "type/fraction",
                "type/string",
            ],
        ),
        (
            json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}),
            &["exclusiveMinimum/under", "exclusiveMinimum/inside", "exclusiveMaximum/over", "exclusiveMaximum/inside"],
        ),
        (
            json!({"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}),
            &["minimum/at", "minimum/under", "exclusiveMaximum/over", "exclusiveMaximum/inside", "fraction"],
        ),
        (json!({"type": "number", "multipleOf": 0.01}), &["multipleOf/between"]),
        (json!({"type": "integer", "multipleOf": 7}), &["multipleOf/between"]),
        (
            json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
            &["minimum/at", "maximum/at", "maximum/over"],
        ),
        (
            json!({"enum": ["a", "b", 3, null, true]}),
            &["enum/a", "enum/b", "enum/3", "enum/null", "enum/true", "enum/other", "type/object"],
        ),
        (json!({"const": "x"}), &["enum/other"]),
        (json!({"type": "boolean"}), &["true", "false", "type/string"]),
        (json!({"type": ["string", "null"]}), &["null", "type/number"]),
        (
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4}),
            &["minItems/at", "minItems/under", "maxItems/at", "maxItems/over", "0/type/string"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            &["uniqueItems/repeated", "empty", "one item"],
        ),
        (json!({"type": "array", "contains": {"const": 1}, "maxContains": 2}), &["contains/none", "maxContains/over"]),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}),
            &["0/type/number", "1/type/string", "maxItems/over"],
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "additionalProperties": false}),
            &["a/missing", "b/absent", "additionalProperties/extra", "b/type/string", "a/type/null"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 3}),
            &[
                "minProperties/under",
                "minProperties/at",
                "maxProperties/at",
                "maxProperties/over",
                "additionalProperties/type/string",
            ],
        ),
        (json!({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}), &["propertyNames/pattern/mismatch"]),
        (
            json!({"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": false}),
            &["patternProperties/type/string", "additionalProperties/extra"],
        ),
        (
            json!({"type": "object", "properties": {"card": {"type": "string"}, "address": {"type": "string"}}, "dependentRequired": {"card": ["address"]}}),
            &["address/missing with card"],
        ),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {}, "c": {}, "d": {}}}),
            &["optional/half 1", "optional/half 4"],
        ),
        (
            json!({"oneOf": [{"type": "object", "required": ["a", "c"], "properties": {"a": {"type": "string"}, "c": {}}}, {"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}}]}),
            &["oneOf.0 and oneOf.1", "oneOf.0/a/missing", "type/null"],
        ),
    ];
    for (schema, expected) in table {
        let boundaries = generator(&schema).boundaries();
        let labels: HashSet<&str> = boundaries.iter().map(|boundary| boundary.label.as_str()).collect();
        for label in expected {
            assert!(labels.contains(label), "{schema}: no `{label}` in {labels:#?}");
        }
        laws(&schema, 30);
    }
}

#[test]
fn labels_and_faults_say_where() {
    let schema = json!({
        "$ref": "#/$defs/AgentCreate",
        "$defs": {
            "AgentCreate": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": false,
                "properties": {"name": {"$ref": "#/$defs/Name"}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}}}
            },
            "Name": {"type": "string", "maxLength": 10}
        }
    });
    let boundaries = generator(&schema).boundaries();
    let fault = |label: &str| {
        let found = boundaries.iter().find(|boundary| boundary.label == label).unwrap_or_else(|| panic!("no {label}"));
        match &found.verdict {
            Verdict::Invalid(fault) => {
                (fault.instance.clone(), fault.schema.clone(), fault.keyword.clone(), fault.kind)
            }
            Verdict::Valid => panic!("{label} is valid"),
        }
    };
    let expected =
        |instance: &str, schema: &str, keyword: &str, kind| (instance.into(), schema.into(), keyword.into(), kind);
    assert_eq!(fault("name/missing"), expected("/name", "/$defs/AgentCreate/required", "required", FaultKind::Missing));
    assert_eq!(
        fault("name/maxLength/over"),
        expected("/name", "/$defs/Name/maxLength", "maxLength", FaultKind::Length)
    );
    assert_eq!(
        fault("tags/0/maxLength/over"),
        expected("/tags/0", "/$defs/AgentCreate/properties/tags/items/maxLength", "maxLength", FaultKind::Length)
    );
    assert_eq!(
        fault("additionalProperties/extra"),
        expected(
            "/unexpectedMember",
            "/$defs/AgentCreate/additionalProperties",
            "additionalProperties",
            FaultKind::Extra
        )
    );
}

#[test]
fn formats_are_met_and_broken() {
    let formats = [
        "date-time",
        "date",
        "time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "regex",
        "uuid",
        "byte",
        "base64url",
        "char",
        "http-date",
    ];
    for format in formats {
        let schema = json!({"type": "string", "format": format});
        let (generator, validator) = (generator(&schema), validator(&schema));
        let mut seen = HashSet::new();
        for index in 0..300 {
            let value = generator.sample(3, index);
            assert!(validator.is_valid(&value), "{format}: {value}");
            seen.insert(value.to_string());
        }
        assert!(seen.len() > 4, "{format}: only {seen:?}");
        let broken =
            generator.boundaries().into_iter().filter(|boundary| boundary.label.starts_with("format/")).count();
        assert!(broken >= 1, "{format} is never broken");
    }
    for format in ["password", "binary", "float", "phone", "made-up"] {
        laws(&json!({"type": "string", "format": format}), 20);
    }
    for (schema, low, high) in [
        (json!({"type": "integer", "format": "int32"}), f64::from(i32::MIN), f64::from(i32::MAX)),
        (json!({"type": "integer", "format": "int64"}), -9.3e18, 9.3e18),
    ] {
        let generator = generator(&schema);
        for index in 0..500 {
            let value = generator.sample(1, index);
            assert!(value.as_f64().is_some_and(|number| (low..=high).contains(&number)), "{schema}: {value}");
        }
    }
}

#[test]
fn formats_keep_to_lengths() {
    for (format, min, max) in [
        ("email", 6, 6),
        ("email", 64, 64),
        ("email", 200, 254),
        ("uri", 0, 12),
        ("uri", 500, 600),
        ("hostname", 250, 253),
        ("hostname", 1, 3),
        ("byte", 8, 8),
        ("byte", 1000, 1003),
    ] {
        let schema = json!({"type": "string", "format": format, "minLength": min, "maxLength": max});
        laws(&schema, 40);
    }
}

#[test]
fn patterns_go_with_lengths_and_formats() {
    laws(&json!({"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$", "minLength": 10, "maxLength": 12}), 60);
    laws(&json!({"type": "string", "format": "date", "pattern": "^20[0-9]{2}-"}), 60);
    laws(&json!({"type": "string", "format": "email", "pattern": "@example\\.com$"}), 60);
    laws(
        &json!({"allOf": [{"type": "string", "pattern": "^[a-z0-9]+$"}, {"pattern": "[0-9]$"}, {"maxLength": 9}]}),
        60,
    );
    laws(&json!({"type": "string", "pattern": "^(?=.*[A-Z])(?=.*[0-9]).{8,64}$"}), 60);
}

#[test]
fn positive_values_are_polite() {
    let anything = generator(&json!({"type": "object", "additionalProperties": true}));
    let text = generator(&json!({"type": "string"}));
    let number = generator(&json!({"type": "number"}));
    let mut kinds = HashSet::new();
    for index in 0..3_000 {
        let Value::String(text) = text.sample(5, index) else { panic!("not a string") };
        assert!(!text.contains(|letter: char| letter.is_control()), "{text:?}");
        assert_eq!(text.trim(), text);
        kinds.insert((text.is_ascii(), text.contains(['"', '%', '\\']), text.is_empty()));
        // `1.0` is a whole number to JSON Schema and a float to many readers.
        let number = number.sample(5, index).to_string();
        assert!(!number.ends_with(".0") && !number.contains('e'), "{number}");
        assert!(anything.sample(5, index).is_object());
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
}

// --- Compositions ---------------------------------------------------------------------------------------------------

#[test]
fn compositions_are_met_as_a_whole() {
    let schemas = [
        json!({"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, {"required": ["b"], "properties": {"b": {"type": "integer", "minimum": 3}, "a": {"maxLength": 4}}}]}),
        json!({"allOf": [{"$ref": "#/$defs/Base"}, {"type": "object", "properties": {"more": {"type": "integer"}}}], "$defs": {"Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "format": "uuid"}}}}}),
        json!({"oneOf": [{"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 5}]}),
        json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}),
        json!({"oneOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {"b": {"type": "integer"}}}]}),
        json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}),
        json!({"type": "string", "not": {"enum": ["text", "admin"]}}),
        json!({"type": "string", "not": {"pattern": "^a"}}),
        json!({"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a", "b"]}}),
        json!({"type": ["string", "integer"], "not": {"type": "string"}}),
        json!({"type": "object", "properties": {"kind": {"enum": ["card", "cash"]}, "number": {"type": "string"}}, "required": ["kind"], "if": {"properties": {"kind": {"const": "card"}}}, "then": {"required": ["number"]}, "else": {"properties": {"number": false}}}),
        json!({"type": "object", "properties": {"card": {"type": "string"}}, "dependentSchemas": {"card": {"required": ["address"], "properties": {"address": {"type": "string", "minLength": 4}}}}}),
        json!({"type": "object", "allOf": [{"properties": {"a": {"type": "string"}}}], "properties": {"b": {"type": "integer"}}, "unevaluatedProperties": false}),
        json!({"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "string"}, "contains": {"const": "needle"}, "minItems": 3}),
        json!({"type": "object", "patternProperties": {"^[a-z]{3}$": {"type": "integer"}}, "additionalProperties": {"type": "string"}, "minProperties": 3}),
        json!({"anyOf": [{"type": "object", "oneOf": [{"required": ["x"], "properties": {"x": {"const": 1}}}, {"required": ["y"], "properties": {"y": {"const": 2}}}]}, {"type": "null"}]}),
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 2}),
        json!({"minimum": 5}),
        json!({"type": "object", "maxProperties": 2, "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c"]}),
        json!({"type": "object", "minProperties": 2, "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}}, "additionalProperties": false}),
    ];
    for schema in schemas {
        laws(&schema, 60);
    }
}

#[test]
fn choices_all_come_up() {
    let schema = json!({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "array"}, {"type": "object"}, {"type": "null"}]});
    let generator = generator(&schema);
    let kinds: HashSet<_> = (0..200).map(|index| std::mem::discriminant(&generator.sample(1, index))).collect();
    assert_eq!(kinds.len(), 5);
}

#[test]
fn discriminators_name_their_branch() {
    let schema = json!({
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "discriminator": {"propertyName": "petType", "mapping": {"kitty": "#/$defs/Cat"}},
        "$defs": {
            "Cat": {"type": "object", "required": ["petType", "claws"], "properties": {"petType": {"type": "string"}, "claws": {"type": "integer"}}},
            "Dog": {"type": "object", "required": ["petType", "bark"], "properties": {"petType": {"type": "string"}, "bark": {"type": "string"}}}
        }
    });
    laws(&schema, 40);
    let pets = generator(&schema);
    let mut seen = HashSet::new();
    for index in 0..100 {
        let pet = pets.sample(1, index);
        let name = pet["petType"].as_str().unwrap_or_default().to_owned();
        assert_eq!(pet.get("claws").is_some(), name == "kitty", "{pet}");
        assert_eq!(pet.get("bark").is_some(), name == "Dog", "{pet}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), 2);
    // A base that others extend: values are of one of those.
    let schema = json!({
        "$ref": "#/$defs/Pet",
        "$defs": {
            "Pet": {"type": "object", "required": ["petType"], "properties": {"petType": {"type": "string"}}, "discriminator": {"propertyName": "petType", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}}},
            "Cat": {"allOf": [{"$ref": "#/$defs/Pet"}, {"type": "object", "required": ["claws"], "properties": {"claws": {"type": "integer"}}}]},
            "Dog": {"allOf": [{"$ref": "#/$defs/Pet"}, {"type": "object", "required": ["bark"], "properties": {"bark": {"type": "string"}}}]}
        }
    });
    laws(&schema, 40);
    let pets = generator(&schema);
    for index in 0..100 {
        let pet = pets.sample(1, index);
        assert_eq!(pet["petType"] == "cat", pet["claws"].is_i64(), "{pet}");
        assert_eq!(pet["petType"] == "dog", pet["bark"].is_string(), "{pet}");
    }
}

#[test]
fn recursion_ends() {
    let schemas = [
        json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "required": ["value", "children"], "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}}}),
        json!({"$ref": "#/$defs/List", "$defs": {"List": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/List"}, {"type": "null"}]}}, "required": ["next"]}}}),
        json!({"$ref": "#/$defs/Json", "$defs": {"Json": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/Json"}}, {"type": "object", "additionalProperties": {"$ref": "#/$defs/Json"}}]}}}),
        json!({"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "v": {"type": "integer"}}}),
        json!({"$ref": "#/$defs/A", "$defs": {"A": {"oneOf": [{"$ref": "#/$defs/B"}, {"type": "integer"}]}, "B": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/A"}}}}}),
    ];
    for schema in schemas {
        let start = Instant::now();
        laws(&schema, 60);
        let generator = generator(&schema);
        for index in 0..200 {
            assert!(measure(&generator.sample(2, index)).parts < 2_000);
        }
        assert!(measure(&generator.maximal()).parts < 20_000);
        assert!(start.elapsed() < Duration::from_secs(20), "{schema} took {:?}", start.elapsed());
    }
}

#[test]
fn values_without_measure_are_refused() {
    let chain: Map<String, Value> = (0..400)
        .map(|n| (format!("D{n}"), json!({"type": "object", "required": ["d"], "properties": {"d": {"$ref": format!("#/$defs/D{}", n + 1)}}})))
        .chain([("D400".to_owned(), json!({"type": "integer"}))])
        .collect();
    for schema in [
        json!({"$ref": "#/$defs/D0", "$defs": chain}),
        json!({"type": "array", "minItems": 10_000, "items": {"type": "array", "minItems": 10_000, "items": {"type": "integer"}}}),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "string", "minLength": 4_000_000_000u64}),
        json!({"type": "object", "minProperties": 1_000_000_000}),
        json!({"type": "string", "pattern": "^(a{1000}){1000}{1000}$"}),
    ] {
        let start = Instant::now();
        let error = Generator::new(&schema).map(|generator| generator.minimal().to_string().len());
        assert!(error.is_err(), "{}: {error:?}", schema.to_string().chars().take(100).collect::<String>());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    // The same inside of an optional part only costs that part.
    let schema = json!({"type": "object", "properties": {"big": {"type": "array", "minItems": 1_000_000_000}, "n": {"type": "integer"}}});
    assert_eq!(generator(&schema).problems().len(), 1);
    laws(&schema, 20);
    // Wide, but within measure.
    let wide: Map<String, Value> = (0..300).map(|n| (format!("m{n}"), json!({"type": "string"}))).collect();
    let start = Instant::now();
    laws(&json!({"type": "object", "properties": wide, "minProperties": 200}), 5);
    laws(&json!({"type": "array", "minItems": 1000, "items": {"type": "integer"}, "uniqueItems": true}), 3);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn types_without_values_are_not_chosen() {
    laws(
        &json!({"type": ["object", "array"], "required": ["self"], "properties": {"self": {"$ref": "#"}}, "items": {"$ref": "#"}}),
        60,
    );
    laws(&json!({"type": ["object", "string"], "required": ["never"], "properties": {"never": false}}), 60);
    laws(&json!({"type": ["array", "null"], "items": {"$ref": "#"}, "minItems": 1}), 60);
}

#[test]
fn what_cannot_be_met_is_reported() {
    let table = [
        (json!(false), ""),
        (json!({"type": "string", "minLength": 5, "maxLength": 2}), "/minLength"),
        (json!({"type": "string", "pattern": "^a$", "minLength": 3}), "/pattern"),
        (json!({"type": "integer", "minimum": 3, "maximum": 4, "multipleOf": 5}), ""),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), ""),
        (json!({"type": "object", "required": ["a"], "properties": {"a": false}}), "/properties/a"),
        (json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}), ""),
        (
            json!({"type": "object", "required": ["p"], "properties": {"p": {"type": "string", "pattern": "(?<!x"}}}),
            "/properties/p/pattern",
        ),
        (json!({"enum": ["abc"], "maxLength": 2}), ""),
        (json!({"allOf": [{"enum": [1, 2]}, {"enum": [3]}]}), ""),
        (json!({"oneOf": [{"type": "integer"}, {"type": "integer"}]}), "/oneOf/0"),
        (json!({"not": {}}), "/not"),
        (json!({"type": "array", "items": false, "minItems": 1}), ""),
        (json!({"type": "array", "items": {"type": "boolean"}, "uniqueItems": true, "minItems": 3}), "/uniqueItems"),
        (json!({"properties": {"x": {"type": "strin"}}}), "/properties/x/type"),
        (json!({"$ref": "#/$defs/Nowhere"}), ""),
    ];
    for (schema, pointer) in table {
        match Generator::new(&schema) {
            Ok(generator) => panic!("{schema} gave {}", generator.sample(1, 1)),
            Err(error) => assert_eq!(error.pointer, pointer, "{schema}: {error}"),
        }
    }
    // An optional part without values does not stop the rest, and is named.
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 3, "maxLength": 1}, "b": {"type": "string"}}});
    let generator = generator(&schema);
    assert_eq!(generator.problems().len(), 1, "{:?}", generator.problems());
    assert_eq!(generator.problems()[0].pointer, "/properties/a/minLength");
    laws(&schema, 30);
    // A pattern that nothing can be made for is met by the document's own example.
    let schema = json!({"type": "string", "pattern": "(?<!x", "examples": ["shown"]});
    assert!(
        Generator::new(&schema).is_err()
            || Generator::new(&schema).is_ok_and(|generator| generator.sample(1, 1) == json!("shown"))
    );
}

#[test]
fn schemas_that_accept_everything_have_no_faults() {
    for schema in [json!(true), json!({}), json!({"description": "anything"})] {
        let generator = generator(&schema);
        assert_eq!(generator.invalid(1, 1), None);
        assert!(generator.boundaries().iter().all(|boundary| boundary.verdict == Verdict::Valid));
    }
}

#[test]
fn seeds_are_mixed_in() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "s": {"type": "string", "examples": ["from the schema"]}}});
    let example = json!({"n": 4711, "s": "from the document"});
    let generator = generator(&schema).with_seeds(vec![example.clone(), json!({"n": "invalid"})]);
    let samples: Vec<Value> = (0..200).map(|index| generator.sample(1, index)).collect();
    assert!(samples.contains(&example));
    assert!(samples.iter().any(|sample| sample["s"] == "from the schema"));
    assert!(samples.iter().all(|sample| generator.is_valid(sample)));
    assert_eq!(generator.minimal(), example);
}

#[test]
fn limits_are_put_into_what_the_document_shows() {
    let schema = json!({"type": "object", "required": ["model", "limit"], "properties": {"model": {"type": "string"}, "limit": {"type": "integer", "maximum": 9}, "deep": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "maxLength": 5}}}}});
    let example = json!({"model": "known-model", "limit": 3, "deep": {"a": "shown"}});
    let boundaries = generator(&schema).with_seeds(vec![example]).boundaries();
    let of =
        |label: &str| boundaries.iter().find(|boundary| boundary.label == label).map(|boundary| boundary.value.clone());
    assert_eq!(of("limit/maximum/over"), Some(json!({"model": "known-model", "limit": 10, "deep": {"a": "shown"}})));
    assert_eq!(
        of("deep/b/maxLength/at"),
        Some(json!({"model": "known-model", "limit": 3, "deep": {"a": "shown", "b": "textt"}}))
    );
    assert_eq!(of("model/missing"), Some(json!({"limit": 3, "deep": {"a": "shown"}})));
    assert_eq!(of("deep/absent"), Some(json!({"model": "known-model", "limit": 3})));
}

#[test]
fn generators_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&generator(&json!({"type": "string", "pattern": "^a+$"})));
}

#[test]
fn the_strategy_shrinks_to_valid_values() {
    let schema = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 2}, "limit": {"type": "integer", "minimum": 1, "maximum": 1000}}});
    let generator = generator(&schema);
    let mut runner = TestRunner::new(Config {
        cases: 500,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4711),
        ..Config::default()
    });
    let result = runner.run(&generator.valid(), |value| {
        prop_assert!(generator.is_valid(&value));
        prop_assert!(value.get("limit").and_then(Value::as_i64).is_none_or(|limit| limit < 40));
        Ok(())
    });
    match result {
        Err(TestError::Fail(_, smallest)) => assert_eq!(smallest, json!({"name": "aa", "limit": 40})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thousand_samples_of_a_flat_object_are_quick() {
    let properties: Map<String, Value> =
        (0..8).map(|index| (format!("member{index}"), json!({"type": "string", "maxLength": 40}))).collect();
    let generator = generator(&json!({"type": "object", "properties": properties}));
    let start = Instant::now();
    for index in 0..1_000 {
        generator.sample(1, index);
    }
    // A release build takes 4 ms; this is about orders of magnitude only.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

// --- Parameters on the wire -----------------------------------------------------------------------------------------

fn location() -> Location {
    Location { file: 0, pointer: "".into() }
}

fn parameter(place: ParameterPlace, style: Style, explode: bool, schema: &Value) -> Parameter {
    Parameter {
        name: "p".into(),
        place,
        required: place == ParameterPlace::Path,
        encoding: ParameterEncoding::Style { style, explode },
        allow_reserved: false,
        schema: Schema { value: schema.clone().into(), at: location(), origins: None },
        description: None,
        examples: Vec::new(),
        deprecated: false,
        at: location(),
    }
}

/// A reader that follows the style to the letter (RFC 6570 and the OpenAPI table), written apart from the encoder.
fn read_strictly(parameter: &Parameter, wire: &WireParameter, schema: &Value) -> Value {
    let ParameterEncoding::Style { style, explode } = parameter.encoding else { panic!("no style") };
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    let kind = schema["type"].as_str().unwrap_or_default();
    let scalar = |text: &str, schema: &Value| -> Value {
        match schema["type"].as_str().unwrap_or("string") {
            "integer" | "number" => serde_json::from_str(text).unwrap_or_else(|_| panic!("{text} is no number")),
            "boolean" => json!(text == "true"),
            _ => json!(text),
        }
    };
    let list = |items: Vec<String>| -> Value {
        match kind {
            "array" => items.iter().map(|item| scalar(item, &schema["items"])).collect(),
            "object" => Value::Object(
                items
                    .chunks(2)
                    .map(|pair| (pair[0].clone(), scalar(&pair[1], &schema["properties"][&pair[0]])))
                    .collect(),
            ),
            _ => scalar(&items.join(","), schema),
        }
    };
    let record = |pairs: Vec<(String, String)>| {
        Value::Object(
            pairs
                .into_iter()
                .map(|(key, value)| {
                    let value = scalar(&value, &schema["properties"][&key]);
                    (key, value)
                })
                .collect(),
        )
    };
    let split = |text: &str, delimiter: &str| -> Vec<String> { text.split(delimiter).map(decode).collect() };
    let named = |text: &str, delimiter: &str| -> Vec<(String, String)> {
        text.split(delimiter)
            .filter_map(|piece| piece.split_once('='))
            .map(|(key, value)| (decode(key), decode(value)))
            .collect()
    };
    match wire {
        WireParameter::Path(text) | WireParameter::Header(text) => {
            let raw = matches!(wire, WireParameter::Header(_));
            let (rest, delimiter) = match (style, explode) {
                (Style::Label, true) => (text.strip_prefix('.').expect("a label"), "."),
                (Style::Label, false) => (text.strip_prefix('.').expect("a label"), ","),
                (Style::Matrix, true) if kind == "object" => (text.strip_prefix(';').expect("a matrix"), ";"),
                (Style::Matrix, true) if kind == "array" => {
                    let items = named(text.strip_prefix(';').expect("a matrix"), ";").into_iter();
                    return list(
                        items
                            .map(|(key, value)| {
                                assert_eq!(key, "p");
                                value
                            })
                            .collect(),
                    );
                }
                (Style::Matrix, _) => (text.strip_prefix(";p=").expect("a matrix"), ","),
                _ => (text.as_str(), ","),
            };
            let decode_all = |items: Vec<&str>| -> Vec<String> {
                items.iter().map(|item| if raw { (*item).to_owned() } else { decode(item) }).collect()
            };
            match (kind, explode) {
                ("object", true) => record(
                    rest.split(delimiter)
                        .filter_map(|piece| piece.split_once('='))
                        .map(|(key, value)| {
                            let pair = decode_all(vec![key, value]);
                            (pair[0].clone(), pair[1].clone())
                        })
                        .collect(),
                ),
                ("array" | "object", _) => list(decode_all(rest.split(delimiter).collect())),
                _ => scalar(&decode_all(vec![rest])[0], schema),
            }
        }
        WireParameter::Query(pairs) | WireParameter::Cookie(pairs) => {
            let delimiter = match style {
                Style::SpaceDelimited => "%20",
                Style::PipeDelimited => "%7C",
                Style::TabDelimited => "%09",
                _ => ",",
            };
            match (kind, style, explode) {
                ("object", Style::DeepObject, _) => record(
                    pairs
                        .iter()
                        .map(|(key, value)| {
                            let key = decode(key);
                            (
                                key.strip_prefix("p[")
                                    .and_then(|key| key.strip_suffix(']'))
                                    .expect("brackets")
                                    .to_owned(),
                                decode(value),
                            )
                        })
                        .collect(),
                ),
                ("object", _, true) => record(pairs.iter().map(|(key, value)| (decode(key), decode(value))).collect()),
                ("array", _, true) => list(
                    pairs
                        .iter()
                        .map(|(key, value)| {
                            assert_eq!(decode(key), "p");
                            decode(value)
                        })
                        .collect(),
                ),
                ("array", Style::DeepObject, _) => list(pairs.iter().map(|(_, value)| decode(value)).collect()),
                ("array" | "object", ..) => list(split(&pairs[0].1, delimiter)),
                _ => scalar(&decode(&pairs[0].1), schema),
            }
        }
    }
}

#[test]
fn every_style_reads_back() {
    use ParameterPlace::{Cookie, Header, Path, Query};
    use Style::{DeepObject, Form, Label, Matrix, PipeDelimited, Simple, SpaceDelimited, TabDelimited};
    let places = [
        (Path, Simple),
        (Path, Label),
        (Path, Matrix),
        (Query, Form),
        (Query, SpaceDelimited),
        (Query, PipeDelimited),
        (Query, TabDelimited),
        (Query, DeepObject),
        (Header, Simple),
        (Cookie, Form),
    ];
    let scalars = [
        json!({"type": "string"}),
        json!({"type": "integer"}),
        json!({"type": "number"}),
        json!({"type": "boolean"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "enum": ["a b", "c,d", "e&f=g", "ü"]}),
    ];
    let mut schemas = scalars.to_vec();
    schemas.extend(scalars.iter().map(|items| json!({"type": "array", "items": items})));
    schemas.push(json!({"type": "object", "additionalProperties": false, "minProperties": 1, "properties": {"R": {"type": "integer"}, "name": {"type": "string"}, "on": {"type": "boolean"}}}));
    for (place, style) in places {
        for explode in [false, true] {
            for schema in &schemas {
                let scalar = !["array", "object"].contains(&schema["type"].as_str().unwrap_or_default());
                if style == DeepObject && scalar {
                    continue;
                }
                let parameter = parameter(place, style, explode, schema);
                let generator = generator(schema);
                let mut written = 0;
                for index in 0..150 {
                    let value = generator.sample(9, index);
                    let Ok(wire) = encode_parameter(&parameter, &value) else { continue };
                    written += 1;
                    if matches!(&wire, WireParameter::Query(pairs) if pairs.is_empty()) {
                        continue;
                    }
                    let at = format!("{place} {style:?} explode={explode} {schema}: {value} as `{wire}`");
                    assert_eq!(read_strictly(&parameter, &wire, schema), value, "{at}");
                    assert!(decodes_to_valid(&parameter, &wire, &generator), "{at} is not valid when read back");
                    assert!(wire.to_string().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{at}");
                }
                assert!(written > 0, "{place} {style:?} explode={explode} {schema}: nothing could be written");
            }
        }
    }
}

#[test]
fn the_table_of_styles_of_the_specification() {
    use ParameterPlace::{Path, Query};
    let array = json!(["blue", "black", "brown"]);
    let object = json!({"R": 100, "G": 200, "B": 150});
    let table = [
        (Path, Style::Matrix, false, json!("blue"), ";p=blue"),
        (Path, Style::Matrix, false, array.clone(), ";p=blue,black,brown"),
        (Path, Style::Matrix, true, array.clone(), ";p=blue;p=black;p=brown"),
        (Path, Style::Matrix, false, object.clone(), ";p=R,100,G,200,B,150"),
        (Path, Style::Matrix, true, object.clone(), ";R=100;G=200;B=150"),
        (Path, Style::Label, false, json!("blue"), ".blue"),
        (Path, Style::Label, false, array.clone(), ".blue,black,brown"),
        (Path, Style::Label, true, array.clone(), ".blue.black.brown"),
        (Path, Style::Label, true, object.clone(), ".R=100.G=200.B=150"),
        (Path, Style::Simple, false, array.clone(), "blue,black,brown"),
        (Path, Style::Simple, false, object.clone(), "R,100,G,200,B,150"),
        (Path, Style::Simple, true, object.clone(), "R=100,G=200,B=150"),
        (Query, Style::Form, false, array.clone(), "p=blue,black,brown"),
        (Query, Style::Form, true, array.clone(), "p=blue&p=black&p=brown"),
        (Query, Style::Form, false, object.clone(), "p=R,100,G,200,B,150"),
        (Query, Style::Form, true, object.clone(), "R=100&G=200&B=150"),
        (Query, Style::SpaceDelimited, false, array.clone(), "p=blue%20black%20brown"),
        (Query, Style::PipeDelimited, false, array, "p=blue%7Cblack%7Cbrown"),
        (Query, Style::DeepObject, true, object, "p%5BR%5D=100&p%5BG%5D=200&p%5BB%5D=150"),
    ];
    for (place, style, explode, value, expected) in table {
        let wire = encode_parameter(&parameter(place, style, explode, &json!({})), &value).expect("a form");
        assert_eq!(wire.to_string(), expected, "{place} {style:?} explode={explode}");
    }
}

#[test]
fn values_that_would_not_arrive_are_refused() {
    use ParameterPlace::{Cookie, Header, Path, Query};
    let table = [
        (Path, Style::Simple, json!("")),
        (Path, Style::Simple, json!(".")),
        (Path, Style::Simple, json!("..")),
        (Path, Style::Simple, json!("a/b")),
        (Path, Style::Simple, json!("a\u{0}b")),
        (Path, Style::Simple, json!([])),
        (Path, Style::Simple, json!(["a,b"])),
        (Path, Style::Simple, json!(null)),
        (Query, Style::Form, json!(null)),
        (Query, Style::Form, json!([["nested"]])),
        (Query, Style::Form, json!(["a,b", "c"])),
        (Header, Style::Simple, json!("")),
        (Header, Style::Simple, json!("ü")),
        (Header, Style::Simple, json!(" padded ")),
        (Header, Style::Simple, json!("line\nbreak")),
        (Cookie, Style::Form, json!("a;b")),
        (Cookie, Style::Form, json!("a b")),
    ];
    for (place, style, value) in table {
        let result = encode_parameter(&parameter(place, style, false, &json!({})), &value);
        assert!(result.is_err(), "{place} {value} became {result:?}");
    }
    let required = Parameter { required: true, ..parameter(Query, Style::Form, true, &json!({})) };
    assert!(encode_parameter(&required, &json!([])).is_err());
}

#[test]
fn a_wire_text_is_wrong_only_if_every_reading_is() {
    use ParameterPlace::{Header, Path, Query};
    // Schema, wire text, can it be read as valid?
    let table = [
        (json!({"type": "integer"}), "5", true),
        (json!({"type": "integer"}), "05", true),
        (json!({"type": "integer"}), "5.0", true),
        (json!({"type": "integer"}), "five", false),
        (json!({"type": "integer"}), "1.5", false),
        (json!({"type": "integer", "maximum": 10}), "11", false),
        (json!({"type": "string", "maxLength": 2}), "55", true),
        (json!({"type": "string", "maxLength": 2}), "555", false),
        (json!({"type": "boolean"}), "true", true),
        (json!({"type": "boolean"}), "1", true),
        (json!({"type": "boolean"}), "maybe", false),
        (json!({"type": ["integer", "null"]}), "null", true),
        (json!({"type": "array", "items": {"type": "integer"}}), "5", true),
        (json!({"type": "array", "items": {"type": "integer"}}), "5,6", true),
        (json!({"type": "array", "items": {"type": "integer"}}), "5,x", false),
        (json!({"type": "array", "items": {"type": "integer"}, "maxItems": 2}), "1,2,3", false),
        (json!({"enum": ["a", "b"]}), "c", false),
        (json!({"enum": [1, 2]}), "2", true),
        (
            json!({"type": "object", "properties": {"R": {"type": "integer"}}, "required": ["R"], "additionalProperties": false}),
            "R,5",
            true,
        ),
        (
            json!({"type": "object", "properties": {"R": {"type": "integer"}}, "required": ["R"], "additionalProperties": false}),
            "R=5",
            true,
        ),
        (
            json!({"type": "object", "properties": {"R": {"type": "integer"}}, "required": ["R"], "additionalProperties": false}),
            "R,x",
            false,
        ),
        (json!({"anyOf": [{"type": "integer", "minimum": 100}, {"type": "boolean"}]}), "true", true),
        (json!({"anyOf": [{"type": "integer", "minimum": 100}, {"type": "boolean"}]}), "50", false),
        (json!({"type": "string", "format": "uuid"}), "not-a-uuid", false),
    ];
    for (schema, text, valid) in table {
        let generator = generator(&schema);
        let wires = [
            (Path, Style::Simple, WireParameter::Path(text.into())),
            (Query, Style::Form, WireParameter::Query(vec![("p".into(), text.into())])),
            (Header, Style::Simple, WireParameter::Header(text.into())),
        ];
        for (place, style, wire) in wires {
            let parameter = Parameter { required: true, ..parameter(place, style, false, &schema) };
            assert_eq!(decodes_to_valid(&parameter, &wire, &generator), valid, "{schema} {place} `{text}`");
        }
    }
    // Nothing at all is fine for an optional parameter, an empty value is as good as nothing.
    let schema = json!({"type": "integer"});
    let optional = parameter(Query, Style::Form, true, &schema);
    for pairs in [vec![], vec![("p".to_owned(), String::new())]] {
        assert!(decodes_to_valid(&optional, &WireParameter::Query(pairs.clone()), &generator(&schema)));
        let required = Parameter { required: true, ..optional.clone() };
        assert!(!decodes_to_valid(&required, &WireParameter::Query(pairs), &generator(&schema)));
    }
}

#[test]
fn content_parameters_are_json() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    for place in [ParameterPlace::Query, ParameterPlace::Header, ParameterPlace::Path] {
        let parameter = Parameter {
            encoding: ParameterEncoding::Content("application/json".into()),
            ..parameter(place, Style::Form, true, &schema)
        };
        let generator = generator(&schema);
        let wire = encode_parameter(&parameter, &json!({"a": "grün & 100%"})).expect("JSON");
        assert!(wire.to_string().is_ascii());
        assert!(decodes_to_valid(&parameter, &wire, &generator), "{wire}");
        let wire = encode_parameter(&parameter, &json!({"b": 1})).expect("JSON");
        assert!(!decodes_to_valid(&parameter, &wire, &generator), "{wire}");
    }
}

// --- Bodies ---------------------------------------------------------------------------------------------------------

fn media(media_type: &str, schema: Value, part_types: &[(&str, &[&str])]) -> Media {
    let part_types: IndexMap<String, Vec<String>> = part_types
        .iter()
        .map(|(name, types)| ((*name).to_owned(), types.iter().map(|kind| (*kind).to_owned()).collect()))
        .collect();
    Media {
        media_type: media_type.into(),
        schema: Some(Schema { value: schema.into(), at: location(), origins: None }),
        examples: Vec::new(),
        part_types,
        part_styles: IndexMap::new(),
        item_schema: None,
        at: location(),
    }
}

#[test]
fn bodies_are_written_in_their_media_type() {
    let value = json!({"a": "x y&z=ü", "n": 5, "list": ["p", "q"], "deep": {"k": 1}});
    let json_body = encode_body(&media("application/merge-patch+json", json!({}), &[]), &value).expect("JSON");
    assert_eq!(
        (json_body.content_type.as_str(), serde_json::from_slice::<Value>(&json_body.bytes).expect("JSON")),
        ("application/merge-patch+json", value.clone())
    );
    let form = encode_body(&media("application/x-www-form-urlencoded", json!({}), &[]), &value).expect("a form");
    assert_eq!(form.bytes, "a=x+y%26z%3D%C3%BC&n=5&list=p&list=q&deep=%7B%22k%22%3A1%7D".as_bytes());
    let text = encode_body(&media("text/plain", json!({}), &[]), &json!("hello")).expect("text");
    assert_eq!((text.content_type.as_str(), &text.bytes[..]), ("text/plain; charset=utf-8", b"hello".as_slice()));
    let lines = encode_body(&media("application/x-ndjson", json!({}), &[]), &json!([{"a": 1}, 2])).expect("lines");
    assert_eq!(&lines.bytes[..], b"{\"a\":1}\n2\n");
    let octets = encode_body(&media("application/octet-stream", json!({}), &[]), &json!("raw")).expect("octets");
    assert_eq!(&octets.bytes[..], b"raw");
    let pdf = encode_body(&media("application/pdf", json!({}), &[]), &json!("raw")).expect("a file");
    assert!(pdf.bytes.starts_with(b"%PDF"));
    for (kind, value) in [
        ("application/x-www-form-urlencoded", json!([1])),
        ("multipart/form-data", json!("x")),
        ("text/plain", json!({})),
        ("application/octet-stream", json!(5)),
        ("multipart/form-data", json!({"a": null})),
    ] {
        assert!(encode_body(&media(kind, json!({}), &[]), &value).is_err(), "{kind} {value}");
    }
}

/// Parts as (headers, content).
fn read_multipart(content_type: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let boundary = content_type.split("boundary=").nth(1).expect("a boundary");
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|window| window == needle);
    let mut parts = Vec::new();
    let mut rest = bytes.strip_prefix(format!("--{boundary}\r\n").as_bytes()).expect("starts with the boundary");
    loop {
        let end = find(rest, format!("\r\n--{boundary}").as_bytes()).expect("a part ends");
        let part = &rest[..end];
        let head = find(part, b"\r\n\r\n").expect("headers end");
        parts.push((String::from_utf8(part[..head].to_vec()).expect("ASCII"), part[head + 4..].to_vec()));
        rest = &rest[end + 4 + boundary.len()..];
        match rest.strip_prefix(b"\r\n") {
            Some(next) => rest = next,
            None => {
                assert_eq!(rest, b"--\r\n");
                return parts;
            }
        }
    }
}

#[test]
fn multipart_bodies_have_real_files() {
    let schema = json!({"type": "object", "required": ["file"], "properties": {
        "file": {"type": "string", "format": "binary"}, "title": {"type": "string"}, "meta": {"type": "object"}, "tags": {"type": "array", "items": {"type": "string"}}
    }});
    let media = media(
        "multipart/form-data",
        schema.clone(),
        &[
            ("file", &["application/pdf", "text/markdown"]),
            ("title", &["text/plain"]),
            ("meta", &["application/json"]),
            ("tags", &["text/plain"]),
        ],
    );
    let value = json!({"file": "some words", "title": "T\u{e4}st", "meta": {"k": [1]}, "tags": ["a", "b"]});
    let body = encode_body(&media, &value).expect("a body");
    let parts = read_multipart(&body.content_type, &body.bytes);
    assert_eq!(parts.len(), 5);
    assert_eq!(
        parts[0].0,
        "Content-Disposition: form-data; name=\"file\"; filename=\"sample.pdf\"\r\nContent-Type: application/pdf"
    );
    assert!(parts[0].1.starts_with(b"%PDF"));
    assert_eq!(parts[1], ("Content-Disposition: form-data; name=\"title\"".into(), "T\u{e4}st".as_bytes().to_vec()));
    assert_eq!(parts[2].1, b"{\"k\":[1]}");
    assert_eq!((parts[3].1.as_slice(), parts[4].1.as_slice()), (b"a".as_slice(), b"b".as_slice()));
    assert_eq!(encode_body(&media, &value), Ok(body));
    // A file that says what it is comes through as it is.
    let file =
        FileValue { media_type: "text/markdown".into(), name: "note \"1\".md".into(), content: b"# hi".to_vec() };
    let body = encode_body(&media, &json!({"file": file.to_text()})).expect("a body");
    let parts = read_multipart(&body.content_type, &body.bytes);
    assert_eq!(
        parts[0].0,
        "Content-Disposition: form-data; name=\"file\"; filename=\"note %221%22.md\"\r\nContent-Type: text/markdown"
    );
    assert_eq!(parts[0].1, b"# hi");
    // Wrong types of parts.
    let wrong = wrong_part_types(&media, &value);
    assert_eq!(wrong.len(), 2);
    for boundary in wrong {
        assert!(
            matches!(&boundary.verdict, Verdict::Invalid(fault) if fault.kind == FaultKind::MediaType && fault.instance == "/file")
        );
        let body = encode_body(&media, &boundary.value).expect("a body");
        assert!(!read_multipart(&body.content_type, &body.bytes)[0].0.contains("application/pdf"));
    }
    // A missing part is a fault that the schema sees.
    let generator = generator(&schema);
    assert!(generator.boundaries().iter().any(|boundary| boundary.label == "file/missing"));
}

#[test]
fn parts_have_no_types_either() {
    let file = json!({"type": "string", "format": "binary"});
    let schema = json!({"type": "object", "required": ["file"], "properties": {
        "file": file, "note": {"type": "string"}, "path": {"type": "string", "pattern": "^[a-z]*$"}, "n": {"type": "integer"}
    }});
    let generator = generator(&schema);
    let form = media("multipart/form-data", schema, &[("file", &["application/octet-stream"])]);
    let table = [
        // No part at all, bytes all the same, text all the same.
        (json!({"file": "x", "note": []}), true),
        (json!({"file": {"a": 1}}), true),
        (json!({"file": 5, "note": {"a": 1}}), true),
        (json!({"file": "x", "note": 5}), true),
        // What no reading makes right.
        (json!({"file": []}), false),
        (json!({"note": "x"}), false),
        (json!({"file": "x", "path": {"a": 1}}), false),
        (json!({"file": "x", "path": 5}), false),
        (json!({"file": "x", "n": {"a": 1}}), false),
    ];
    for (value, valid) in table {
        assert_eq!(body_decodes_to_valid(&form, &value, &generator), valid, "{value}");
    }
}

#[test]
fn forms_have_no_types() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 9}, "s": {"type": "string", "minLength": 1}, "l": {"type": "array", "items": {"type": "integer"}}}});
    let generator = generator(&schema);
    let form = media("application/x-www-form-urlencoded", schema.clone(), &[]);
    let json = media("application/json", schema, &[]);
    let table = [
        (json!({"n": "5"}), true),
        (json!({"n": 5, "s": 7}), true),
        (json!({"n": 10}), false),
        (json!({"n": "x"}), false),
        (json!({"s": "x"}), false),
        (json!({"n": 1, "l": 4}), true),
        (json!({"n": 1, "l": ["4", 5]}), true),
        (json!({"n": 1, "l": ["x"]}), false),
        (json!({"n": [3]}), true),
    ];
    for (value, valid) in table {
        assert_eq!(body_decodes_to_valid(&form, &value, &generator), valid, "{value}");
        assert_eq!(body_decodes_to_valid(&json, &value, &generator), generator.is_valid(&value), "{value}");
    }
    let parts = media("multipart/form-data", json!({}), &[]);
    for (value, valid) in [(json!({"n": 1, "s": {}}), true), (json!({"n": {}}), false)] {
        assert_eq!(body_decodes_to_valid(&parts, &value, &generator), valid, "{value}");
    }
}

#[test]
fn streams_are_read_item_by_item() {
    use trueline_conformance::data::stream::{Event, Item, Stream};
    let event = |kind: Option<&str>, data: &str| {
        Item::Event(Event { kind: kind.map(str::to_owned), data: data.to_owned(), ..Event::default() })
    };
    // WHATWG HTML, section 9.2.6: comments, all line ends, joined data, no data no event, an unfinished event at the end.
    let text = b"\xef\xbb\xbf: comment\n\nevent: a\r\ndata: one\r\ndata:two\r\n\r\ndata\n\nevent: lost\n\nid: 7\rdata: {\"n\": 1}\r\rretry: 10\ndata: x\n\ndata: cut";
    let items = Stream::Events.items(text, true);
    assert_eq!(items[0], event(Some("a"), "one\ntwo"));
    assert_eq!(items[1], event(None, ""));
    let Item::Event(third) = &items[2] else { panic!("no event") };
    assert_eq!((third.id.as_deref(), third.data.as_str()), (Some("7"), "{\"n\": 1}"));
    assert_eq!(third.readings()[2], json!({"n": 1}));
    assert_eq!(third.readings()[1], json!({"data": {"n": 1}, "id": "7"}));
    assert_eq!(items.len(), 4);

    let lines = |whole| Stream::Lines.items(b"{\"n\":1}\r\n\n[2]\nbroken\n{\"n\":", whole);
    assert_eq!(lines(false), [Item::Json(json!({"n": 1})), Item::Json(json!([2])), Item::Broken("broken".into())]);
    assert_eq!(lines(true).len(), 4, "a whole body ends with its last line");
    let sequence = Stream::Sequence.items(b"\x1e{}\n\x1e12", false);
    assert_eq!(sequence, [Item::Json(json!({}))], "a number at the end may have lost digits");
    assert_eq!(Stream::of("application/geo+json-seq"), Some(Stream::Sequence));
    assert_eq!(Stream::of("application/json"), None);
}

#[test]
fn json_inside_of_texts_is_judged_too() {
    use trueline_conformance::data::stream::opened;
    let schema =
        json!({"properties": {"data": {"contentMediaType": "application/json", "contentSchema": {"type": "integer"}}}});
    assert_eq!(opened(&schema), Some(json!({"properties": {"data": {"type": "integer"}}})));
    assert_eq!(opened(&json!({"properties": {"data": {"contentMediaType": "image/png"}}})), None);
}

#[test]
fn headers_are_read_as_lists_and_members() {
    use trueline_conformance::data::wire::header_can_be_valid;
    let fits = |text: &str, schema: Value| header_can_be_valid(text, &validator(&schema));
    assert!(fits("1, 2,3", json!({"type": "array", "items": {"type": "integer"}})));
    assert!(!fits("1, a", json!({"type": "array", "items": {"type": "integer"}})));
    assert!(fits("a,1", json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})));
    assert!(fits("a=1", json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})));
    assert!(fits("17", json!({"type": "integer"})) && !fits("17.5", json!({"type": "integer"})));
}

#[test]
fn bodies_of_lines_are_lists_of_their_items() {
    use trueline_conformance::data::wire::request_schema;
    let mut media = media("application/x-ndjson", json!({"type": "object", "required": ["n"]}), &[]);
    media.item_schema.clone_from(&media.schema);
    let schema = request_schema(&media).expect("lines can be written");
    assert_eq!(schema.value["items"], json!({"type": "object", "required": ["n"]}));
    let generator = generator(&schema.value);
    // A value alone is one line; no lines are no body, which may or may not be a list of none.
    assert!(body_decodes_to_valid(&media, &json!({"n": 1}), &generator));
    assert!(!body_decodes_to_valid(&media, &json!([{"n": 1}, {}]), &generator));
    assert!(body_decodes_to_valid(&media, &json!([]), &generator));
    let text = encode_body(&media, &json!([{"n": 1}, {"n": 2}])).expect("it is written").bytes;
    assert_eq!(text, "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn a_form_field_of_json_is_a_text_to_who_expects_one() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}, "more": {"type": "object"}}});
    let media = media("application/x-www-form-urlencoded", schema.clone(), &[]);
    assert!(body_decodes_to_valid(&media, &json!({"name": {}}), &generator(&schema)));
    assert!(body_decodes_to_valid(&media, &json!({"more": {"a": 1}}), &generator(&schema)));
    assert!(!body_decodes_to_valid(&media, &json!({"more": "text"}), &generator(&schema)));
}
