//! The schemas that the server holds requests to: one list, each once, without what only people read.

use serde_json::{Map, Value, json};
use trueline_spec::contract::is_annotation;
use trueline_spec::document::Location;

use super::sink::Sink;

/// The list in the making.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    texts: Vec<String>,
}

impl Schemas {
    /// The index of a self-contained schema.
    pub(super) fn add(&mut self, schema: &Value, at: &Location, sink: &Sink) -> usize {
        let plain = plain(schema);
        if let Err((message, _)) = trueline_spec::schema::validator(&plain) {
            sink.refuse(at, format!("this schema cannot be compiled: {message}"));
        }
        let text = plain.to_string();
        match self.texts.iter().position(|other| *other == text) {
            Some(index) => index,
            None => {
                self.texts.push(text);
                self.texts.len() - 1
            }
        }
    }

    /// A JSON array, one schema a line.
    pub(super) fn finish(self) -> String {
        format!("[\n{}\n]\n", self.texts.join(",\n"))
    }
}

/// A schema without descriptions, examples and extensions, and with discriminators spelled out: `oneOf` can only say
/// that no branch fits, while `if` and `then` say what is wrong with the one that was meant.
pub(super) fn plain(schema: &Value) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        if is_annotation(key) || key == "discriminator" {
            continue;
        }
        let value = match (key.as_str(), value) {
            ("properties" | "patternProperties" | "dependentSchemas" | "$defs", Value::Object(schemas)) => {
                Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), plain(schema))).collect())
            }
            ("enum" | "const" | "required" | "type" | "dependentRequired", value) => value.clone(),
            (_, Value::Array(schemas)) => schemas.iter().map(plain).collect(),
            (_, value) => plain(value),
        };
        out.insert(key.clone(), value);
    }
    if let Some((tag, branches)) = branches(map) {
        let values: Vec<&String> = branches.iter().map(|(value, _)| value).collect();
        let mut parts = vec![json!({"type": "object", "required": [tag], "properties": {tag: {"enum": values}}})];
        parts.extend(branches.iter().map(|(value, target)| {
            json!({
                "if": {"type": "object", "required": [tag], "properties": {tag: {"const": value}}},
                "then": {"$ref": target},
            })
        }));
        out.remove("oneOf");
        out.remove("anyOf");
        match out.get_mut("allOf").and_then(Value::as_array_mut) {
            Some(all) => all.extend(parts),
            None => {
                out.insert("allOf".into(), Value::Array(parts));
            }
        }
    }
    if out.get("type").is_some_and(|kind| kind == "integer") {
        // No type of ours holds more; a contract that says nothing gets a clear answer all the same.
        for (key, own, bound) in [("minimum", "exclusiveMinimum", i64::MIN), ("maximum", "exclusiveMaximum", i64::MAX)]
        {
            if !out.contains_key(key) && !out.contains_key(own) {
                out.insert(key.into(), bound.into());
            }
        }
    }
    Value::Object(out)
}

/// The tag of a discriminated union, and where each of its values leads; nothing if a branch has no name.
fn branches(map: &Map<String, Value>) -> Option<(&str, Vec<(String, String)>)> {
    let discriminator = map.get("discriminator")?;
    let tag = discriminator.get("propertyName")?.as_str()?;
    let mapping = discriminator.get("mapping").and_then(Value::as_object);
    let mut branches = Vec::new();
    for variant in map.get("oneOf").or_else(|| map.get("anyOf"))?.as_array()? {
        let target = variant.get("$ref")?.as_str()?;
        let name = target.strip_prefix("#/$defs/")?;
        let before = branches.len();
        for (value, to) in mapping.into_iter().flatten() {
            if to.as_str().is_some_and(|to| to == target || to == name) {
                branches.push((value.clone(), target.to_owned()));
            }
        }
        if branches.len() == before {
            branches.push((name.to_owned(), target.to_owned()));
        }
    }
    Some((tag, branches))
}
