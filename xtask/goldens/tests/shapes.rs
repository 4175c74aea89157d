//! Types hold what their schemas say: what is read is written again as it was.

use serde_json::{Value, json};
use trueline_goldens::shapes::types::*;
use trueline_runtime::Patch;

fn least() -> Value {
    json!({"requiredPlain": 1, "requiredNullable": null, "type": "shapes"})
}

fn with(key: &str, value: Value) -> Value {
    let mut whole = least();
    whole[key] = value;
    whole
}

#[test]
fn what_is_read_is_written_again() {
    let cases = [
        least(),
        with("requiredNullable", json!(2)),
        with("optionalPlain", json!(false)),
        with("optionalNullable", json!(null)),
        with("optionalNullable", json!("2024-01-15T10:30:00Z")),
        with("nullableReference", json!(null)),
        with("nullableReference", json!({"ok": true})),
        with("match", json!("+1")),
        with("match", json!("")),
        with("level", json!(3)),
        with("moments", json!(["2024-01-15T10:30:00Z"])),
        with("sparse", json!([1.5, null])),
        with("anything", json!({"a": [1]})),
        with("anyObject", json!({"a": {"b": 1}})),
        with("counts", json!({"a": 1})),
        with(
            "tree",
            json!({"name": "a", "left": {"name": "b"}, "children": [{"name": "c", "other": "kept"}], "more": "kept"}),
        ),
        with("alias", json!(["a"])),
        with("mixed", json!("text")),
        with("mixed", json!(["a", "b"])),
        with("mixed", json!({"ok": false})),
        with("textOrNumber", json!("1")),
        with("textOrNumber", json!(1)),
        with("pet", json!({"kind": "kitten", "lives": 9})),
        with("pet", json!({"kind": "dog", "friend": {"kind": "cat", "lives": 1}})),
        with("implied", json!({"side": "left", "n": 1})),
        with("implied", json!({"side": "right", "n": "1"})),
        with("whole", json!({"ok": true, "extra": "e"})),
    ];
    for case in cases {
        let read: Shapes = serde_json::from_value(case.clone()).unwrap_or_else(|error| panic!("{error}: {case}"));
        assert_eq!(serde_json::to_value(&read).expect("written"), case);
        let text = case.to_string();
        assert_eq!(serde_json::from_str::<Shapes>(&text).expect("the same from text"), read);
    }
}

#[test]
fn what_no_type_holds_is_refused() {
    let cases = [
        json!({"requiredNullable": null, "type": "shapes"}),
        with("type", json!("other")),
        with("requiredPlain", json!(3_000_000_000_u32)),
        with("match", json!("0")),
        with("pet", json!({"kind": "cow"})),
        with("pet", json!({"lives": 9})),
        with("pet", json!({"kind": "dog", "unknown": 1})),
        with("implied", json!({"side": "left", "n": "1"})),
        with("textOrNumber", json!(true)),
        with("moments", json!(["yesterday"])),
    ];
    for case in cases {
        assert!(serde_json::from_value::<Shapes>(case.clone()).is_err(), "{case}");
    }
}

#[test]
fn unknown_properties_are_ignored_and_defaults_stand_in() {
    let read: Shapes = serde_json::from_value(with("new", json!(1))).expect("ignored");
    assert_eq!(read.optional_nullable, Patch::Absent);
    let inline: ShapesInline = serde_json::from_value(json!({"deep": {}})).expect("a default");
    assert_eq!(inline.deep.value, "d");
}

#[test]
fn moments_are_written_in_utc_with_seconds() {
    let case = with("optionalNullable", json!("2024-01-15T12:30:00.75+02:00"));
    let read: Shapes = serde_json::from_value(case).expect("read");
    assert_eq!(serde_json::to_value(&read).expect("written")["optionalNullable"], "2024-01-15T10:30:00Z");
}

#[test]
fn texts_are_read_and_printed() {
    assert_eq!("+1".parse(), Ok(ShapesMatch::Plus1));
    assert!("+2".parse::<ShapesMatch>().is_err());
    assert_eq!(
        ShapesMatch::ALL.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["+1", "-1", "1d", "", "self", "asc"]
    );
}
