//! Schemas: 3.0's dialect and 3.1's sloppiness become JSON Schema 2020-12, references become `#/$defs/<name>`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Number, Value, json};

use super::{Node, Reader, Version, kind};
use crate::contract::{Schema, is_annotation};
use crate::document::{Location, push_token};
use crate::problem::{Problem, did_you_mean};

/// Names of schemas, given out once per place.
#[derive(Default)]
pub(super) struct Book {
    names: HashMap<Location, String>,
    taken: HashSet<String>,
    /// Named, in this order, and not read yet; the place is where the schema's text stands.
    queue: VecDeque<(String, Location)>,
    finished: IndexMap<String, Schema>,
}

/// Where the reader is inside a schema: cheap to step in and out of.
struct Place {
    file: u32,
    pointer: String,
    /// The named schema or the use that this is part of.
    root: Location,
}

impl Place {
    fn new(at: &Location) -> Self {
        Place { file: at.file, pointer: at.pointer.to_string(), root: at.clone() }
    }

    fn here(&self) -> Location {
        Location { file: self.file, pointer: self.pointer.as_str().into() }
    }
}

const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "object", "array", "null"];

impl<'d> Reader<'d> {
    /// Gives every shared schema its name before anything refers to it.
    pub(super) fn name_schemas(&mut self, root: &Node<'d>, way: &[&str]) {
        let entries = self.shared(root, way);
        let mut moved = Vec::new();
        for (key, node) in entries {
            let name = self.free_name(key);
            self.schemas.names.insert(node.at.clone(), name.clone());
            // An entry that only refers to a file is that file's schema under this name.
            match self.home(&node.at) {
                Some(home) if home == node.at => self.schemas.queue.push_back((name, home)),
                Some(home) => {
                    self.schemas.queue.push_back((name.clone(), node.at.clone()));
                    moved.push((name, node.at, home));
                }
                None => {}
            }
        }
        // The entry that is called as the file calls it comes first; any other is an alias of it.
        moved.sort_by_key(|(name, _, home)| home.tokens().last().is_none_or(|last| last != name.as_str()));
        for (name, at, home) in moved {
            if !self.schemas.names.contains_key(&home) {
                self.schemas.names.insert(home.clone(), name);
                if let Some(entry) = self.schemas.queue.iter_mut().find(|(_, place)| *place == at) {
                    entry.1 = home;
                }
            }
        }
    }

    /// Follows references that are nothing but references to where a schema's text stands.
    fn home(&mut self, at: &Location) -> Option<Location> {
        let mut here = at.clone();
        let mut seen = vec![here.clone()];
        while let Some(reference) = self.document.value(&here).and_then(|value| self.bare_reference(value)) {
            let next = self.schema_target(&here, &here, reference)?;
            if seen.contains(&next) {
                self.circle(&seen, &next);
                return None;
            }
            seen.push(next.clone());
            here = next;
        }
        Some(here)
    }

    /// The reference, if the schema says nothing else. In 3.0 whatever stands beside a `$ref` is ignored (3.0.3, "Reference
    /// Object"), but for `nullable`: see [`Reader::normalise`].
    fn bare_reference<'v>(&self, value: &'v Value) -> Option<&'v str> {
        let map = value.as_object()?;
        let reference = map.get("$ref")?.as_str()?;
        let bare = match self.version {
            Version::V20 => map.get("x-nullable") != Some(&Value::Bool(true)),
            Version::V30 => map.get("nullable") != Some(&Value::Bool(true)),
            Version::V31 | Version::V32 => map.len() == 1,
        };
        bare.then_some(reference)
    }

    /// The place that a schema's reference means. `root` is the schema that it is part of.
    fn schema_target(&mut self, site: &Location, root: &Location, reference: &str) -> Option<Location> {
        let place = match self.document.refer(site.file, reference) {
            Ok(place) => place,
            Err(problem) => {
                self.bad_reference(&site.join("$ref"), reference, *problem);
                return None;
            }
        };
        match self.lookup(&place, 0) {
            Ok(node) => Some(node.at),
            Err(problem) => {
                // `#/$defs/x` inside a component means the component's own definitions to every generator that writes it.
                if reference.starts_with("#/$defs/") || reference.starts_with("#/definitions/") {
                    let inner =
                        Location { file: root.file, pointer: format!("{}{}", root.pointer, place.pointer).into() };
                    if self.document.value(&inner).is_some() {
                        return Some(inner);
                    }
                }
                self.bad_reference(&site.join("$ref"), reference, *problem);
                None
            }
        }
    }

    /// The name of the schema that a reference means; a place without a name gets one.
    pub(super) fn schema_name(&mut self, site: &Location, root: &Location, reference: &str) -> Option<String> {
        let target = self.schema_target(site, root, reference)?;
        if let Some(name) = self.schemas.names.get(&target) {
            return Some(name.clone());
        }
        let home = self.home(&target)?;
        if let Some(name) = self.schemas.names.get(&home) {
            return Some(name.clone());
        }
        let name = self.free_name(&made_name(self.document, &home));
        self.schemas.names.insert(home.clone(), name.clone());
        self.schemas.queue.push_back((name.clone(), home));
        Some(name)
    }

    /// A name that fits into `#/$defs/<name>` without escapes and is not taken.
    fn free_name(&mut self, wanted: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let clean: String = wanted.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        let clean = if clean.is_empty() { "Schema".to_owned() } else { clean };
        let name = super::operations::unique_name(&clean, |name| self.schemas.taken.contains(name));
        self.schemas.taken.insert(name.clone());
        name
    }

    /// Reads every named schema, those included that only other schemas name.
    pub(super) fn finish_schemas(&mut self) -> IndexMap<String, Schema> {
        while let Some((name, at)) = self.schemas.queue.pop_front() {
            if let Some(value) = self.document.value(&at) {
                let schema = self.schema(&Node { value, at });
                self.schemas.finished.insert(name, schema);
            }
        }
        self.check_circles();
        std::mem::take(&mut self.schemas.finished)
    }

    /// A chain of schemas that are references and annotations and nothing else would never say anything. In 3.0 it is met on
    /// the way; in 3.1 a `$ref` may have siblings and is met here.
    fn check_circles(&mut self) {
        let mut circles = Vec::new();
        for start in self.schemas.finished.values() {
            let mut seen = Vec::new();
            let mut current = Some(start);
            while let Some(schema) = current {
                if seen.contains(&schema.at) {
                    if schema.at == start.at {
                        circles.push((seen, schema.at.clone()));
                    }
                    break;
                }
                seen.push(schema.at.clone());
                current = schema.name().and_then(|name| self.schemas.finished.get(name));
            }
        }
        for (seen, again) in circles {
            self.circle(&seen, &again);
        }
    }

    /// The schema at a node.
    pub(super) fn schema(&mut self, node: &Node<'d>) -> Schema {
        let mut place = Place::new(&node.at);
        let value = self.normalise(node.value, &mut place);
        Schema { value: Arc::new(value), at: node.at.clone(), origins: None }
    }

    /// The keyword by which null is let in. In 2.0 it is an extension that everybody reads.
    fn nullable(&self) -> &'static str {
        if self.version == Version::V20 { "x-nullable" } else { "nullable" }
    }

    fn step(&mut self, value: &'d Value, place: &mut Place, token: &str) -> Value {
        let length = place.pointer.len();
        push_token(&mut place.pointer, token);
        let value = self.normalise(value, place);
        place.pointer.truncate(length);
        value
    }

    /// One schema object as JSON Schema 2020-12.
    fn normalise(&mut self, value: &'d Value, place: &mut Place) -> Value {
        self.normalise_but(value, place, &[])
    }

    /// The schema keywords of a Swagger 2.0 parameter or header, which stand among its own.
    pub(super) fn inline_schema(&mut self, node: &Node<'d>) -> Schema {
        const OWN: [&str; 9] = [
            "name",
            "in",
            "description",
            "required",
            "collectionFormat",
            "allowEmptyValue",
            "schema",
            "$ref",
            "example",
        ];
        let mut place = Place::new(&node.at);
        let value = self.normalise_but(node.value, &mut place, &OWN);
        Schema { value: Arc::new(value), at: node.at.clone(), origins: None }
    }

    fn normalise_but(&mut self, value: &'d Value, place: &mut Place, skipped: &[&str]) -> Value {
        let map = match value {
            Value::Bool(flag) => return Value::Bool(*flag),
            Value::Object(map) => map,
            Value::Null => return Value::Bool(true),
            other => {
                let problem = Problem::new("a schema must be an object").at(&place.here()).found(kind(other));
                self.problem(problem);
                return Value::Bool(true);
            }
        };
        let mut out = Map::new();
        if let Some(reference) = map.get("$ref").filter(|_| !skipped.contains(&"$ref")) {
            let Value::String(reference) = reference else {
                let at = place.here().join("$ref");
                self.problem(Problem::new("`$ref` must be a text").at(&at).found(kind(reference)));
                return Value::Bool(true);
            };
            let root = place.root.clone();
            let Some(name) = self.schema_name(&place.here(), &root, reference) else { return Value::Bool(true) };
            out.insert("$ref".into(), format!("#/$defs/{name}").into());
            if self.version <= Version::V30 {
                // Siblings of `$ref` are ignored in 3.0, but `nullable` there has one meaning and its authors rely on it.
                if map.get(self.nullable()) == Some(&Value::Bool(true)) {
                    return json!({"anyOf": [out, {"type": "null"}]});
                }
                return Value::Object(out);
            }
        }
        let mut nullable = false;
        let mut example = None;
        for (key, value) in map.iter().filter(|(key, _)| !skipped.contains(&key.as_str())) {
            let length = place.pointer.len();
            push_token(&mut place.pointer, key);
            match key.as_str() {
                "$ref" => {}
                "collectionFormat" | "allowEmptyValue" if self.version == Version::V20 => {}
                "type" if self.version == Version::V20 && value == "file" => {
                    out.insert("type".into(), "string".into());
                    out.insert("format".into(), "binary".into());
                }
                key if key == self.nullable() => {
                    nullable = value == &Value::Bool(true) || value.as_str() == Some("true")
                }
                "example" => example = Some(value),
                _ => self.keyword(key, value, place, &mut out),
            }
            place.pointer.truncate(length);
        }
        exclusive(&mut out, "exclusiveMinimum", "minimum");
        exclusive(&mut out, "exclusiveMaximum", "maximum");
        if let Some(example) = example {
            let examples = out.entry("examples").or_insert_with(|| json!([]));
            if let Value::Array(examples) = examples
                && !examples.contains(example)
            {
                examples.insert(0, example.clone());
            }
        }
        if out.get("format").and_then(Value::as_str) == Some("byte") && !out.contains_key("contentEncoding") {
            out.insert("contentEncoding".into(), "base64".into());
        }
        self.schema_extensions(map, &place.here());
        if nullable { allow_null(out) } else { Value::Object(out) }
    }

    /// One keyword; the place is the keyword's.
    fn keyword(&mut self, key: &str, value: &'d Value, place: &mut Place, out: &mut Map<String, Value>) {
        // Null is never a keyword's value; YAML makes it from a key with nothing behind it.
        if value.is_null() && !matches!(key, "default" | "const") && !key.starts_with("x-") {
            return;
        }
        let new = match key {
            // Every reference was made to point to a named schema: identifiers and local definitions have done their work.
            "$schema" | "$id" | "$anchor" | "$dynamicAnchor" | "$recursiveAnchor" | "$vocabulary" | "$defs"
            | "definitions" => None,
            "$dynamicRef" | "$recursiveRef" => {
                let problem = Problem::new(format!("`{key}` is not supported")).at(&place.here());
                self.problem(problem.help("use `$ref`"));
                None
            }
            "type" => self.types(value, place),
            "not"
            | "additionalProperties"
            | "propertyNames"
            | "contains"
            | "if"
            | "then"
            | "else"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "contentSchema" => Some(self.normalise(value, place)),
            "items" => match value {
                // A list of schemas is a tuple in older drafts.
                Value::Array(_) => {
                    if let Some(items) = self.schema_list(value, place) {
                        out.insert("prefixItems".into(), items);
                    }
                    None
                }
                _ => Some(self.normalise(value, place)),
            },
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.schema_list(value, place),
            "properties" | "patternProperties" | "dependentSchemas" => self.schema_map(value, place),
            "required" => self.required(value, place),
            "enum" => match value {
                Value::Array(_) => Some(value.clone()),
                _ => self.wrong_keyword(value, place, "a list"),
            },
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
            | "maxContains" => self.count(value, place),
            "minimum" | "maximum" | "multipleOf" => self.number(key, value, place),
            "exclusiveMinimum" | "exclusiveMaximum" => match value {
                Value::Bool(_) => Some(value.clone()),
                _ => self.number(key, value, place),
            },
            "pattern" => match value {
                Value::String(text) => Some(Value::String(plain_hyphens(text))),
                _ => self.wrong_keyword(value, place, "a text"),
            },
            "title" | "description" | "format" | "contentMediaType" | "contentEncoding" | "$comment" => match value {
                Value::String(_) => Some(value.clone()),
                Value::Number(_) | Value::Bool(_) => Some(Value::String(value.to_string())),
                _ => self.wrong_keyword(value, place, "a text"),
            },
            "readOnly" | "writeOnly" | "deprecated" | "uniqueItems" => match value {
                Value::Bool(_) => Some(value.clone()),
                Value::String(text) if text == "true" || text == "false" => Some(Value::Bool(text == "true")),
                _ => self.wrong_keyword(value, place, "true or false"),
            },
            "examples" => Some(match value {
                Value::Array(_) => value.clone(),
                // The map of Example Objects that stands beside a schema, written inside of it.
                Value::Object(examples) => {
                    examples.values().map(|example| example.get("value").unwrap_or(example).clone()).collect()
                }
                other => json!([other]),
            }),
            "dependencies" => {
                self.dependencies(value, place, out);
                None
            }
            "discriminator" => self.discriminator(value, place),
            _ => Some(value.clone()),
        };
        if let Some(new) = new {
            out.insert(key.to_owned(), new);
        }
    }

    fn wrong_keyword(&mut self, value: &Value, place: &Place, expected: &str) -> Option<Value> {
        let at = place.here();
        let name = at.tokens().last().unwrap_or_default().into_owned();
        self.problem(Problem::new(format!("`{name}` must be {expected}")).at(&at).found(kind(value)));
        None
    }

    fn types(&mut self, value: &Value, place: &Place) -> Option<Value> {
        let one = |reader: &mut Self, value: &Value| match value {
            // `[string, null]` is unquoted in YAML more often than not.
            Value::Null => Some(Value::from("null")),
            Value::String(name) if TYPES.contains(&name.as_str()) => Some(value.clone()),
            other => {
                let text = other.as_str().map_or_else(|| kind(other), str::to_owned);
                let problem = Problem::new(format!("`{text}` is not a type")).at(&place.here());
                let problem = problem.expected(format!("one of {}", TYPES.join(", ")));
                reader.problem(problem.maybe_help(did_you_mean(&text, TYPES)));
                None
            }
        };
        match value {
            Value::Array(values) => {
                let mut types: Vec<Value> = Vec::new();
                for value in values {
                    if let Some(value) = one(self, value)
                        && !types.contains(&value)
                    {
                        types.push(value);
                    }
                }
                (!types.is_empty()).then_some(Value::Array(types))
            }
            value => one(self, value),
        }
    }

    fn schema_list(&mut self, value: &'d Value, place: &mut Place) -> Option<Value> {
        match value {
            Value::Array(items) => {
                let items: Vec<Value> =
                    items.iter().enumerate().map(|(index, item)| self.step(item, place, &index.to_string())).collect();
                // 2020-12 wants at least one; none says nothing.
                (!items.is_empty()).then_some(Value::Array(items))
            }
            _ => self.wrong_keyword(value, place, "a list of schemas"),
        }
    }

    fn schema_map(&mut self, value: &'d Value, place: &mut Place) -> Option<Value> {
        match value {
            Value::Object(map) => Some(Value::Object(
                map.iter().map(|(name, schema)| (name.clone(), self.step(schema, place, name))).collect(),
            )),
            Value::Array(items) if items.is_empty() => None,
            _ => self.wrong_keyword(value, place, "an object of schemas"),
        }
    }

    fn required(&mut self, value: &Value, place: &Place) -> Option<Value> {
        match value {
            Value::Array(names) => {
                let mut unique: Vec<Value> = Vec::new();
                for name in names {
                    match name {
                        Value::String(_) if !unique.contains(name) => unique.push(name.clone()),
                        Value::String(_) => {}
                        // An unquoted `200` or `true` is a name all the same.
                        Value::Number(_) | Value::Bool(_) => unique.push(Value::String(name.to_string())),
                        _ => return self.wrong_keyword(value, place, "a list of names"),
                    }
                }
                Some(Value::Array(unique))
            }
            Value::Bool(_) => {
                let problem =
                    Problem::new("`required` on a property is ignored: it belongs on the object, as a list of names");
                self.note(problem.at(&place.here()));
                None
            }
            _ => self.wrong_keyword(value, place, "a list of names"),
        }
    }

    fn count(&mut self, value: &Value, place: &Place) -> Option<Value> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 9.0e15 => Some(json!(number as u64)),
            // Larger than anything that can be counted: no limit.
            Some(number) if number >= 9.0e15 => None,
            Some(number) if number < 0.0 => {
                let problem = Problem::new("a count cannot be negative; this limit is ignored").at(&place.here());
                self.note(problem.found(kind(value)));
                None
            }
            _ => self.wrong_keyword(value, place, "a whole number"),
        }
    }

    fn number(&mut self, key: &str, value: &Value, place: &Place) -> Option<Value> {
        let number = match value {
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => match text.trim().parse::<i64>() {
                Ok(number) => Some(number.into()),
                Err(_) => text.trim().parse().ok().and_then(Number::from_f64),
            },
            _ => None,
        };
        match number {
            Some(number) if key == "multipleOf" && number.as_f64().is_some_and(|number| number <= 0.0) => {
                let problem = Problem::new("`multipleOf` must be greater than 0; it is ignored").at(&place.here());
                self.note(problem.found(kind(value)));
                None
            }
            Some(number) => Some(Value::Number(number)),
            None => self.wrong_keyword(value, place, "a number"),
        }
    }

    /// `dependencies` of draft 7: names became `dependentRequired`, schemas `dependentSchemas`.
    fn dependencies(&mut self, value: &'d Value, place: &mut Place, out: &mut Map<String, Value>) {
        let Value::Object(map) = value else {
            self.wrong_keyword(value, place, "an object");
            return;
        };
        for (name, dependency) in map {
            let (keyword, dependency) = match dependency {
                Value::Array(_) => ("dependentRequired", dependency.clone()),
                schema => ("dependentSchemas", self.step(schema, place, name)),
            };
            if let Value::Object(map) = out.entry(keyword).or_insert_with(|| json!({})) {
                map.insert(name.clone(), dependency);
            }
        }
    }

    /// The mapping's values become `#/$defs/<name>` (OpenAPI 3.0.3, "Discriminator Object": each is a schema's name or a
    /// reference).
    fn discriminator(&mut self, value: &Value, place: &Place) -> Option<Value> {
        let mut object = match value {
            Value::Object(object) => object.clone(),
            // Swagger 2.0's form.
            Value::String(name) => return Some(json!({"propertyName": name})),
            _ => return self.wrong_keyword(value, place, "an object with a `propertyName`"),
        };
        if !object.get("propertyName").is_some_and(Value::is_string) {
            self.note(Problem::new("a discriminator without `propertyName` is ignored").at(&place.here()));
            return None;
        }
        if let Some(Value::String(text)) = object.get("defaultMapping").cloned() {
            let site = place.here();
            let component = Location::root(0).join("components").join("schemas").join(&text);
            let name = match self.schemas.names.get(&component) {
                Some(name) => Some(name.clone()),
                None => self.mapped(&site, &place.root, &text),
            };
            match name {
                Some(name) => object.insert("defaultMapping".into(), format!("#/$defs/{name}").into()),
                None => {
                    let problem = Problem::new("this is mapped to no schema; it is ignored");
                    self.note(problem.at(&site.join("defaultMapping")).found(text));
                    object.shift_remove("defaultMapping")
                }
            };
        }
        if let Some(Value::Object(mapping)) = object.get_mut("mapping") {
            let site = place.here().join("mapping");
            let mut unknown = Vec::new();
            for (key, target) in mapping.iter_mut() {
                let Some(text) = target.as_str() else {
                    unknown.push(key.clone());
                    continue;
                };
                let component = Location::root(0).join("components").join("schemas").join(text);
                let name = match self.schemas.names.get(&component) {
                    Some(name) => Some(name.clone()),
                    None => self.mapped(&site, &place.root, text),
                };
                match name {
                    Some(name) => *target = format!("#/$defs/{name}").into(),
                    None => unknown.push(key.clone()),
                }
            }
            for key in unknown {
                let found = mapping.shift_remove(&key).map(|target| kind(&target)).unwrap_or_default();
                let problem = Problem::new("this value is mapped to no schema; it is ignored").at(&site.join(&key));
                self.note(problem.expected("a schema's name or a reference").found(found));
            }
        }
        Some(Value::Object(object))
    }

    /// The name of the schema that a mapping value refers to, quietly: a wrong one is a note.
    fn mapped(&mut self, site: &Location, root: &Location, text: &str) -> Option<String> {
        let before = self.problems.len();
        let name = self.schema_name(site, root, text);
        self.problems.truncate(before);
        name
    }
}

/// `exclusiveMinimum: true` of 3.0 (JSON Schema draft 5) turns the bound beside it into an exclusive one.
fn exclusive(out: &mut Map<String, Value>, exclusive: &str, bound: &str) {
    if let Some(Value::Bool(flag)) = out.get(exclusive) {
        let flag = *flag;
        out.shift_remove(exclusive);
        if flag && let Some(number) = out.shift_remove(bound) {
            out.insert(exclusive.to_owned(), number);
        }
    }
}

/// What `nullable: true` means: null too.
///
/// By the letter of 3.0.3 it adds null to `type` and nothing else, so that `enum`, `allOf` and the like would refuse null
/// again; nobody who writes it means that, and a harness that took it literally would call honest answers wrong.
fn allow_null(mut out: Map<String, Value>) -> Value {
    const COMPOSED: [&str; 7] = ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "const"];
    if COMPOSED.iter().any(|key| out.contains_key(*key)) {
        let mut asserted = Map::new();
        let keys: Vec<String> = out.keys().filter(|key| !is_annotation(key)).cloned().collect();
        for key in keys {
            if let Some(value) = out.shift_remove(&key) {
                asserted.insert(key, value);
            }
        }
        out.insert("anyOf".into(), json!([asserted, {"type": "null"}]));
        return Value::Object(out);
    }
    if let Some(types) = out.get_mut("type") {
        match types {
            Value::Array(types) if !types.contains(&json!("null")) => types.push("null".into()),
            Value::String(one) if one != "null" => *types = json!([one, "null"]),
            _ => {}
        }
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    Value::Object(out)
}

/// A hyphen beside a class escape, as in `[\w-.]`, is itself (ECMA-262, annex B.1.2) and an unfinished range to other engines.
fn plain_hyphens(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let (mut in_class, mut after_escape) = (false, false);
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let class_escape = |next: Option<char>| matches!(next, Some('w' | 'W' | 'd' | 'D' | 's' | 'S'));
        match letter {
            '\\' => {
                out.push(letter);
                let escaped = letters.next();
                out.extend(escaped);
                after_escape = in_class && class_escape(escaped);
                continue;
            }
            '-' if in_class && after_escape && letters.peek() != Some(&']') => out.push_str("\\-"),
            '-' if in_class && letters.peek() == Some(&'\\') => {
                let mut ahead = letters.clone();
                ahead.next();
                if class_escape(ahead.next()) {
                    out.push('\\');
                }
                out.push('-');
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                // What follows is no range, whatever it is.
                if letters.peek() == Some(&'^') {
                    out.extend(letters.next());
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            letter => out.push(letter),
        }
        after_escape = false;
    }
    out
}

/// A name for a schema that the document gives none: the telling parts of the way to it.
fn made_name(document: &crate::document::Document, at: &Location) -> String {
    const NOISE: [&str; 14] = [
        "components",
        "schemas",
        "schema",
        "paths",
        "content",
        "properties",
        "responses",
        "parameters",
        "requestBody",
        "requestBodies",
        "definitions",
        "$defs",
        "headers",
        "application/json",
    ];
    let telling: Vec<String> = at
        .tokens()
        .filter(|token| !NOISE.contains(&token.as_ref()))
        .map(|token| token.trim_matches('/').replace(['{', '}'], ""))
        .filter(|token| !token.is_empty())
        .collect();
    if telling.is_empty() {
        let path = document.files.get(at.file as usize).map(|file| file.path.as_path());
        return path
            .and_then(|path| path.file_stem())
            .map_or("Schema".into(), |stem| stem.to_string_lossy().into_owned());
    }
    telling.join("_")
}
