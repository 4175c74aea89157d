//! JSON Schema 2020-12 as the model keeps it: made self-contained, seen in one direction, compiled.

use std::collections::HashSet;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use indexmap::IndexMap;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Number, Value};

use crate::contract::{Contract, Direction, Schema};
use crate::problem::Problem;

/// See [`crate::contract::Contract::standalone`].
pub(crate) fn standalone(schemas: &IndexMap<String, Schema>, schema: &Value, direction: Direction) -> Value {
    let view = View { schemas, direction };
    let mut whole = view.seen(schema, &HashSet::new());
    let mut needed = Vec::new();
    names(&whole, &mut needed);
    let mut definitions = Map::new();
    while let Some(name) = needed.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let Some(schema) = schemas.get(&name) else { continue };
        let value = view.seen(&schema.value, &HashSet::new());
        names(&value, &mut needed);
        definitions.insert(name, value);
    }
    if !definitions.is_empty() {
        definitions.sort_keys();
        if !whole.is_object() {
            return whole;
        }
        if let Value::Object(map) = &mut whole {
            map.insert("$defs".into(), Value::Object(definitions));
        }
    }
    whole
}

/// Names of the schemas that a value refers to.
fn names(value: &Value, found: &mut Vec<String>) {
    each_reference(value, &mut |name| {
        if !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    });
}

/// Calls `visit` with the name behind each `#/$defs/<name>` of a schema; values that only look like schemas are left out.
pub(crate) fn each_reference(schema: &Value, visit: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(text)) => {
                        if let Some(name) = text.strip_prefix("#/$defs/") {
                            visit(name);
                        }
                    }
                    ("properties" | "patternProperties" | "dependentSchemas", Value::Object(map)) => {
                        map.values().for_each(|value| each_reference(value, visit));
                    }
                    _ if is_applicator(key) => each_reference(value, visit),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_reference(item, visit)),
        _ => {}
    }
}

/// Keywords whose value is a schema or a list of schemas (2020-12 core, section 10).
fn is_applicator(key: &str) -> bool {
    matches!(
        key,
        "allOf"
            | "anyOf"
            | "oneOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "prefixItems"
            | "items"
            | "contains"
            | "additionalProperties"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "contentSchema"
    )
}

/// Keywords that apply to the same value as the schema they stand in.
fn is_in_place(key: &str) -> bool {
    matches!(key, "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else")
}

/// Schemas as one side of the wire sees them.
struct View<'s> {
    schemas: &'s IndexMap<String, Schema>,
    direction: Direction,
}

impl View<'_> {
    /// The schema with the properties of the other side let go. `above` are such properties that enclosing schemas of the same
    /// value declare: `required` often stands in another part of an `allOf` than the property.
    fn seen(&self, schema: &Value, above: &HashSet<String>) -> Value {
        let Value::Object(map) = schema else { return schema.clone() };
        let mut hidden = above.clone();
        self.hidden(map, &mut hidden, &mut HashSet::new());
        let nothing = HashSet::new();
        let mut out = Map::new();
        for (key, value) in map {
            let value = match (key.as_str(), value) {
                ("required", Value::Array(names)) if !hidden.is_empty() => {
                    let kept = names.iter().filter(|name| !name.as_str().is_some_and(|name| hidden.contains(name)));
                    Value::Array(kept.cloned().collect())
                }
                ("properties", Value::Object(properties)) => {
                    let one = |(name, schema): (&String, &Value)| {
                        let absent = self.direction == Direction::Response && hidden.contains(name);
                        (name.clone(), if absent { Value::Bool(false) } else { self.seen(schema, &nothing) })
                    };
                    Value::Object(properties.iter().map(one).collect())
                }
                ("patternProperties" | "dependentSchemas", Value::Object(schemas)) => Value::Object(
                    schemas.iter().map(|(name, schema)| (name.clone(), self.seen(schema, &nothing))).collect(),
                ),
                (key, Value::Array(schemas)) if is_applicator(key) => {
                    let above = if is_in_place(key) { &hidden } else { &nothing };
                    schemas.iter().map(|schema| self.seen(schema, above)).collect()
                }
                (key, schema) if is_applicator(key) => {
                    self.seen(schema, if is_in_place(key) { &hidden } else { &nothing })
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        bounds(&mut out);
        Value::Object(out)
    }

    /// Properties of this schema, and of what it is composed of, that belong to the other side. `seen` are the named schemas
    /// on the way: schemas that contain themselves would have no end.
    fn hidden<'v>(&'v self, map: &'v Map<String, Value>, hidden: &mut HashSet<String>, seen: &mut HashSet<&'v str>) {
        if let Some(Value::Object(properties)) = map.get("properties") {
            for (name, schema) in properties {
                if self.belongs_to_the_other(schema, &mut HashSet::new()) {
                    hidden.insert(name.clone());
                }
            }
        }
        if let Some(Value::Array(parts)) = map.get("allOf") {
            for part in parts.iter().filter_map(Value::as_object) {
                self.hidden(part, hidden, seen);
            }
        }
        if let Some((name, target)) = self.target(map)
            && seen.insert(name)
        {
            self.hidden(target, hidden, seen);
        }
    }

    /// `readOnly` is the server's, `writeOnly` the client's; said by the property itself or by what it is made of.
    fn belongs_to_the_other<'v>(&'v self, schema: &'v Value, seen: &mut HashSet<&'v str>) -> bool {
        let keyword = match self.direction {
            Direction::Request => "readOnly",
            Direction::Response => "writeOnly",
        };
        let Some(map) = schema.as_object() else { return false };
        if let Some(flag) = map.get(keyword) {
            return flag == &Value::Bool(true);
        }
        if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"))
            && let Some(target) = self.schemas.get(name)
            && seen.insert(name)
            && self.belongs_to_the_other(&target.value, seen)
        {
            return true;
        }
        match map.get("allOf") {
            Some(Value::Array(parts)) => parts.iter().any(|part| self.belongs_to_the_other(part, seen)),
            _ => false,
        }
    }

    /// The named schema that a schema refers to, if it is an object.
    fn target<'v>(&'v self, map: &'v Map<String, Value>) -> Option<(&'v str, &'v Map<String, Value>)> {
        let name = map.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        Some((name, self.schemas.get(name)?.value.as_object()?))
    }
}

/// The range of a number's `format` (OpenAPI Format Registry) as bounds: validators look at `format` for texts only.
fn bounds(map: &mut Map<String, Value>) {
    let (low, high): (Number, Number) = match map.get("format").and_then(Value::as_str) {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("uint8") => (u8::MIN.into(), u8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("uint16") => (u16::MIN.into(), u16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("uint32") => (u32::MIN.into(), u32::MAX.into()),
        Some("int64") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint64") => (u64::MIN.into(), u64::MAX.into()),
        _ => return,
    };
    // A narrower bound of the document stays.
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    let keep_low = number("minimum").or(number("exclusiveMinimum")).is_some_and(|own| Some(own) >= low.as_f64());
    let keep_high = number("maximum").or(number("exclusiveMaximum")).is_some_and(|own| Some(own) <= high.as_f64());
    if !keep_low {
        map.insert("minimum".into(), Value::Number(low));
    }
    if !keep_high {
        map.insert("maximum".into(), Value::Number(high));
    }
}

impl Contract {
    /// A validator for a schema seen in one direction, `format` asserted. Compiling costs; keep what it returns.
    ///
    /// A schema that cannot be compiled (a pattern that no engine reads, most often) is a problem of the document.
    pub fn validator(&self, schema: &Schema, direction: Direction) -> Result<Validator, Problem> {
        let whole = self.standalone(schema, direction);
        let refuse = |title: String| Problem::new(title).at(&schema.at);
        validator(&whole).map_err(|(message, path)| {
            let problem = refuse(format!("this schema cannot be compiled: {message}"));
            if path.is_empty() { problem } else { problem.help(format!("in the schema at {path}")) }
        })
    }
}

/// Compiles a self-contained schema the way every part of trueline does; the error is a message and a pointer into the schema.
pub fn validator(schema: &Value) -> Result<Validator, (String, String)> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .offline()
        // ECMA-262 patterns have look-around, which linear engines lack; the limit keeps hostile ones from running away.
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(100_000))
        .with_format("byte", is_base64)
        .with_format("base64url", is_base64url)
        .with_format("char", |text: &str| text.chars().count() == 1)
        .with_format("http-date", is_http_date)
        .build(schema)
        .map_err(|error| (error.to_string(), error.instance_path().to_string()))
}

/// RFC 4648 section 4; padding may be left out, as many encoders do.
fn is_base64(text: &str) -> bool {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ENGINE.decode(text).is_ok()
}

/// RFC 4648 section 5.
fn is_base64url(text: &str) -> bool {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ENGINE.decode(text).is_ok()
}

/// RFC 9110 section 5.6.7, the form that senders must use: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_http_date(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    match shape.split(' ').collect::<Vec<_>>()[..] {
        [day, "99", month, "9999", "99:99:99", "GMT"] => {
            day.strip_suffix(',').is_some_and(|day| DAYS.contains(&day)) && MONTHS.contains(&month)
        }
        _ => false,
    }
}
