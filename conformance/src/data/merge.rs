//! Keywords of one conjunction, added up into a leaf.

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};

use crate::data::number::{Bound, NumberRule};
use crate::data::random::Rng;
use crate::data::regex::Pattern;
use crate::data::schema::{
    ANY, ARRAY, ArrayRule, BOOLEAN, Builder, Contains, FRACTION, Flat, INTEGER, Item, LONGEST_ARRAY, LONGEST_STRING,
    Leaf, Member, NUMBER, NodeId, OBJECT, ObjectRule, STRING, StringRule, array, listed, object, type_of, types,
};
use crate::data::{Unsatisfiable, formats};

/// The schemas that stand for "anything" and "nothing" where the document has none.
static ANYTHING: Value = Value::Bool(true);
static NOTHING: Value = Value::Bool(false);

impl<'a> Builder<'a> {
    pub(crate) fn leaf(&mut self, pointer: String, flat: Flat<'a>) -> Result<Leaf, Unsatisfiable> {
        let never = |reason: &str| Unsatisfiable { pointer: pointer.clone(), reason: reason.into() };
        let mut allowed = flat.untyped & if flat.text { STRING } else { ANY };
        let mut typed = flat.text;
        let mut spoken = 0;
        let mut values: Option<Vec<Value>> = None;
        let mut number = NumberRule::default();
        let mut examples: Vec<Value> = Vec::new();
        for (source, map) in &flat.schemas {
            if let Some(keyword) = map.get("type") {
                allowed &= types(keyword);
                typed = true;
            }
            if let Some(list) = listed(map) {
                values = Some(match values {
                    None => list,
                    Some(known) => {
                        known.into_iter().filter(|value| list.iter().any(|other| same(value, other))).collect()
                    }
                });
            }
            spoken |= spoken_types(map);
            let unusable = merge_number(&mut number, map);
            if let Some(keyword) = unusable {
                let reason = format!("`{keyword}` is not a number that can be worked with");
                return Err(Unsatisfiable { pointer: format!("{}/{keyword}", self.pointer(*source)), reason });
            }
            examples.extend(map.get("default").or(map.get("example")).cloned());
            examples.extend(array(map, "examples").iter().cloned());
        }
        if allowed == 0 {
            return Err(never("the types that it must have contradict each other"));
        }
        if !number.has_whole() {
            allowed &= !INTEGER;
        }
        if allowed & FRACTION != 0 && number.broken(&mut Rng::new(0, 0, 0)).is_none() {
            allowed &= !FRACTION;
        }
        let (string, no_string) = self.string_rule(&flat);
        if no_string.is_some() {
            allowed &= !STRING;
        }
        let array = self.array_rule(&flat);
        if array.is_none() {
            allowed &= !ARRAY;
        }
        let object = self.object_rule(&flat);
        if object.is_none() {
            allowed &= !OBJECT;
        }
        let texts: Vec<Value> = examples.iter().filter(|example| example.is_string()).cloned().collect();
        if let (Some(problem), true, None) = (&no_string, allowed == 0, &values) {
            // No string can be made, but the document shows some.
            if texts.is_empty() || !problem.reason.contains("pattern") {
                return Err(problem.clone());
            }
            allowed = STRING;
            values = Some(texts);
        }
        if allowed == 0 {
            return Err(never("its limits contradict each other"));
        }
        let mut leaf = Leaf {
            sources: flat.schemas.iter().map(|(source, _)| self.pointer(*source)).collect(),
            usual: usual(allowed, typed, spoken),
            types: allowed,
            values: None,
            excluded: flat.excluded,
            examples: Vec::new(),
            number,
            string: string.unwrap_or_default(),
            array: array.unwrap_or_default(),
            object: object.unwrap_or_default(),
            negatives: flat.negatives,
            pointer: pointer.clone(),
        };
        if let Some(preferred) = flat.preferred {
            let preferred: Vec<Value> = preferred.into_iter().map(Value::String).collect();
            let fitting: Vec<Value> = match &values {
                None => preferred,
                Some(values) => values.iter().filter(|value| preferred.contains(value)).cloned().collect(),
            };
            if fitting.iter().any(|value| leaf.admits(value)) {
                values = Some(fitting);
            }
        }
        if let Some(values) = values {
            let count = values.len();
            let fitting: Vec<Value> = values.into_iter().filter(|value| leaf.admits(value)).collect();
            if fitting.is_empty() {
                return Err(never(if count == 0 {
                    "the lists of allowed values have none in common"
                } else {
                    "no listed value meets the other keywords"
                }));
            }
            leaf.usual = fitting.iter().fold(0, |types, value| types | type_of(value));
            leaf.values = Some(fitting);
        }
        // Objects and arrays among them would need their own proof; those of the whole value come in as seeds.
        examples.retain(|example| type_of(example) & (ARRAY | OBJECT) == 0 && leaf.admits(example));
        examples.dedup();
        leaf.examples = examples;
        Ok(leaf)
    }

    fn string_rule(&self, flat: &Flat<'a>) -> (Option<StringRule>, Option<Unsatisfiable>) {
        let mut rule = StringRule::default();
        let mut at = String::new();
        for (source, map) in &flat.schemas {
            if let Some(min) = count(map, "minLength") {
                rule.min = rule.min.max(min);
                at = format!("{}/minLength", self.pointer(*source));
            }
            if let Some(max) = count(map, "maxLength") {
                rule.max = Some(rule.max.map_or(max, |known| known.min(max)));
            }
            if let Some(format) = map.get("format").and_then(Value::as_str)
                && !rule.formats.iter().any(|known| known == format)
            {
                rule.formats.push(format.to_owned());
            }
            if map.get("contentEncoding").and_then(Value::as_str) == Some("base64") {
                rule.formats.push("byte".into());
            }
            if let Some(pattern) = map.get("pattern").and_then(Value::as_str) {
                let pointer = format!("{}/pattern", self.pointer(*source));
                if self.broken.contains(&pointer) {
                    let reason = format!("the pattern `{pattern}` is not a regular expression");
                    return (None, Some(Unsatisfiable { pointer, reason }));
                }
                if !rule.patterns.iter().any(|known| known.source() == pattern) {
                    rule.patterns.push(Pattern::new(pattern));
                    at = pointer;
                }
            }
        }
        let problem = |reason: String| (None, Some(Unsatisfiable { pointer: at.clone(), reason }));
        if rule.max.is_some_and(|max| max < rule.min) {
            return problem("`minLength` is greater than `maxLength`".into());
        }
        if rule.min > LONGEST_STRING {
            return problem(format!("strings longer than {LONGEST_STRING} characters are not made"));
        }
        // Formats have the lengths that they have; patterns may not go together, with each other or with a length.
        let asserted = rule.formats.iter().any(|format| formats::ASSERTED.contains(&format.as_str()));
        if (!rule.patterns.is_empty() || asserted) && rule.make(&mut Rng::new(1, 1, 1), 400).is_none() {
            let names = rule.patterns.iter().map(|pattern| format!("pattern `{}`", pattern.source()));
            let names = names.chain(rule.formats.iter().map(|format| format!("format `{format}`")));
            let names = names.collect::<Vec<_>>().join(" and ");
            let length = match rule.max {
                Some(max) => format!(" with {} to {max} characters", rule.min),
                None if rule.min > 0 => format!(" with at least {} characters", rule.min),
                None => String::new(),
            };
            return problem(format!("no string was found for {names}{length}"));
        }
        (Some(rule), None)
    }

    fn array_rule(&mut self, flat: &Flat<'a>) -> Option<ArrayRule> {
        let mut rule = ArrayRule::default();
        let mut parts = Vec::new();
        for (source, map) in &flat.schemas {
            rule.min = rule.min.max(count(map, "minItems").unwrap_or(0));
            if let Some(max) = count(map, "maxItems") {
                rule.max = Some(rule.max.map_or(max, |known| known.min(max)));
            }
            rule.unique |= map.get("uniqueItems").and_then(Value::as_bool).unwrap_or(false);
            let prefix: Vec<usize> = array(map, "prefixItems")
                .iter()
                .enumerate()
                .map(|(index, item)| self.child(*source, &["prefixItems", &index.to_string()], item))
                .collect();
            let items = map.get("items").map(|items| self.child(*source, &["items"], items));
            let unevaluated =
                map.get("unevaluatedItems").map(|items| self.child(*source, &["unevaluatedItems"], items));
            if !prefix.is_empty() || items.is_some() || unevaluated.is_some() {
                parts.push((prefix, items, unevaluated));
            }
        }
        let longest = parts.iter().map(|(prefix, ..)| prefix.len()).max().unwrap_or(0);
        let mut nodes = Vec::new();
        for index in 0..=longest {
            let mut key = Vec::new();
            let mut judged = false;
            for (prefix, items, _) in &parts {
                if let Some(source) = prefix.get(index).or(items.as_ref()) {
                    key.push(Item::Source(*source));
                    judged = true;
                }
            }
            if !judged {
                key.extend(parts.iter().filter_map(|(.., unevaluated)| *unevaluated).map(Item::Source));
            }
            nodes.push(key);
        }
        let tail = nodes.pop().unwrap_or_default();
        for (source, map) in &flat.schemas {
            let Some(contains) = map.get("contains") else { continue };
            let contains = self.child(*source, &["contains"], contains);
            let mut key = tail.clone();
            key.push(Item::Source(contains));
            let node = self.node(key);
            let (min, max) = (count(map, "minContains").unwrap_or(1), count(map, "maxContains"));
            rule.min = rule.min.max(min);
            rule.contains.push(Contains { node, min, max });
        }
        rule.prefix =
            nodes.into_iter().map(|key| if key.is_empty() { self.anything() } else { self.node(key) }).collect();
        let closed = tail.iter().any(|item| matches!(item, Item::Source(source) if self.value(*source) == &NOTHING));
        if closed {
            rule.max = Some(rule.max.map_or(longest as u64, |max| max.min(longest as u64)));
        } else if !tail.is_empty() {
            rule.items = Some(self.node(tail));
        }
        let fits = rule.max.is_none_or(|max| rule.min <= max) && rule.min <= LONGEST_ARRAY;
        fits.then_some(rule)
    }

    fn object_rule(&mut self, flat: &Flat<'a>) -> Option<ObjectRule> {
        let mut rule = ObjectRule::default();
        let mut names: IndexSet<String> = IndexSet::new();
        let mut required = flat.required.clone();
        let mut parts = Vec::new();
        let mut name_sources = Vec::new();
        for (source, map) in &flat.schemas {
            rule.min = rule.min.max(count(map, "minProperties").unwrap_or(0));
            if let Some(max) = count(map, "maxProperties") {
                rule.max = Some(rule.max.map_or(max, |known| known.min(max)));
            }
            required.extend(array(map, "required").iter().filter_map(Value::as_str).map(str::to_owned));
            for (name, others) in object(map, "dependentRequired") {
                let others = others.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
                rule.dependent.push((name.clone(), others.collect()));
            }
            if let Some(schema) = map.get("propertyNames") {
                name_sources.push(Item::Source(self.child(*source, &["propertyNames"], schema)));
            }
            if let Some(discriminator) = map.get("discriminator").and_then(|d| d.get("propertyName")) {
                rule.discriminator = discriminator.as_str().map(str::to_owned);
            }
            let part = self.object_part(*source, map);
            names.extend(part.properties.keys().map(|name| (*name).to_owned()));
            if !part.is_silent() {
                parts.push(part);
            }
        }
        required.extend(flat.pins.keys().filter(|name| names.contains(*name)).cloned());
        // What a required member calls for is required as well.
        while let Some(more) = rule
            .dependent
            .iter()
            .filter(|(name, _)| required.contains(name))
            .flat_map(|(_, others)| others)
            .find(|name| !required.contains(*name))
            .cloned()
        {
            required.insert(more);
        }
        names.extend(rule.dependent.iter().flat_map(|(_, others)| others).cloned());
        names.extend(required.iter().cloned());
        let hidden: BTreeSet<&String> = flat.forbidden.iter().collect();
        if required.iter().any(|name| hidden.contains(name)) {
            return None;
        }
        for name in &names {
            let mut key = member_key(&parts, name);
            if hidden.contains(name) {
                key = vec![Item::Source(self.source("!nothing".into(), &NOTHING))];
            } else if let Some(pin) = flat.pins.get(name) {
                key.push(Item::Prefer(pin.clone()));
            }
            let node = if key.is_empty() { self.anything() } else { self.node(key) };
            rule.members.push(Member { name: name.clone(), node, required: required.contains(name) });
        }
        let additional: Vec<Item> =
            parts.iter().filter_map(|part| part.additional.or(part.unevaluated)).map(Item::Source).collect();
        let closed =
            additional.iter().any(|item| matches!(item, Item::Source(source) if self.value(*source) == &NOTHING));
        let invited = parts.iter().filter_map(|part| part.additional).any(|source| {
            self.value(source)
                .as_object()
                .is_some_and(|map| !map.keys().all(|key| trueline_spec::contract::is_annotation(key)))
        });
        let mut patterns: IndexMap<String, Vec<Item>> = IndexMap::new();
        for part in &parts {
            for (pattern, source) in &part.patterns {
                patterns.entry(pattern.source().to_owned()).or_default().push(Item::Source(*source));
            }
        }
        for (pattern, mut key) in patterns {
            let bare = |part: &&ObjectPart<'_>| part.patterns.iter().all(|(known, _)| known.source() != pattern);
            key.extend(parts.iter().filter(bare).filter_map(|part| part.additional).map(Item::Source));
            let node = self.node(key);
            rule.patterns.push((Pattern::new(&pattern), node));
        }
        rule.additional =
            if closed || additional.is_empty() { closed.then(|| self.nothing()) } else { Some(self.node(additional)) };
        rule.invites = !closed && (invited || rule.members.is_empty()) || !rule.patterns.is_empty();
        if !name_sources.is_empty() {
            name_sources.push(Item::Text);
            rule.names = Some(self.node(name_sources));
        }
        let most = rule.max.unwrap_or(u64::MAX);
        let fits = rule.min <= most && required.len() as u64 <= most && rule.min <= LONGEST_ARRAY;
        fits.then_some(rule)
    }

    fn object_part(&mut self, source: usize, map: &'a Map<String, Value>) -> ObjectPart<'a> {
        let mut part = ObjectPart::default();
        for (name, schema) in object(map, "properties") {
            part.properties.insert(name, self.child(source, &["properties", name], schema));
        }
        for (pattern, schema) in object(map, "patternProperties") {
            let child = self.child(source, &["patternProperties", pattern], schema);
            part.patterns.push((Pattern::new(pattern), child));
        }
        part.additional =
            map.get("additionalProperties").map(|schema| self.child(source, &["additionalProperties"], schema));
        part.unevaluated =
            map.get("unevaluatedProperties").map(|schema| self.child(source, &["unevaluatedProperties"], schema));
        part
    }

    fn anything(&mut self) -> NodeId {
        let source = self.source("!anything".into(), &ANYTHING);
        self.node(vec![Item::Source(source)])
    }

    fn nothing(&mut self) -> NodeId {
        let source = self.source("!nothing".into(), &NOTHING);
        self.node(vec![Item::Source(source)])
    }
}

/// The member keywords of one subschema.
#[derive(Default)]
struct ObjectPart<'a> {
    properties: IndexMap<&'a str, usize>,
    patterns: Vec<(Pattern, usize)>,
    additional: Option<usize>,
    unevaluated: Option<usize>,
}

impl ObjectPart<'_> {
    fn is_silent(&self) -> bool {
        self.properties.is_empty()
            && self.patterns.is_empty()
            && self.additional.is_none()
            && self.unevaluated.is_none()
    }
}

/// What the parts together ask of a member.
fn member_key(parts: &[ObjectPart<'_>], name: &str) -> Vec<Item> {
    let mut key = Vec::new();
    let mut judged = false;
    for part in parts {
        let before = key.len();
        key.extend(part.properties.get(name).copied().map(Item::Source));
        key.extend(
            part.patterns.iter().filter(|(pattern, _)| pattern.is_match(name)).map(|(_, source)| Item::Source(*source)),
        );
        if key.len() == before {
            key.extend(part.additional.map(Item::Source));
        }
        judged |= key.len() > before;
    }
    if !judged {
        key.extend(parts.iter().filter_map(|part| part.unevaluated).map(Item::Source));
    }
    key
}

impl Leaf {
    /// Whether a value passes all that is said here about its own level; what is inside of it is not looked at.
    pub(crate) fn admits(&self, value: &Value) -> bool {
        if type_of(value) & self.types == 0 || self.excluded.iter().any(|excluded| same(excluded, value)) {
            return false;
        }
        if self.values.as_ref().is_some_and(|values| !values.iter().any(|known| same(known, value))) {
            return false;
        }
        match value {
            Value::Number(number) => number.as_f64().is_some_and(|number| self.number.admits(number)),
            Value::String(text) => self.string.admits(text),
            _ => true,
        }
    }
}

impl StringRule {
    /// Whether a string is one of these.
    pub(crate) fn admits(&self, text: &str) -> bool {
        let length = text.chars().count() as u64;
        length >= self.min
            && self.max.is_none_or(|max| length <= max)
            && self.patterns.iter().all(|pattern| pattern.is_match(text))
            && self.formats.iter().all(|format| formats::holds(format, text))
    }

    /// A string for patterns and formats that go together, found in at most so many tries.
    pub(crate) fn make(&self, rng: &mut Rng, tries: usize) -> Option<String> {
        self.make_between(rng, self.min, self.max.unwrap_or(u64::MAX), tries)
    }

    /// The same, with a length between `min` and `max`.
    pub(crate) fn make_between(&self, rng: &mut Rng, min: u64, max: u64, tries: usize) -> Option<String> {
        let asserted: Vec<&String> =
            self.formats.iter().filter(|format| formats::ASSERTED.contains(&format.as_str())).collect();
        // An exact pattern alone needs no second look.
        let simple = self.patterns.len() + asserted.len() <= 1;
        for attempt in 0..tries {
            let format = self.formats.iter().find_map(|format| formats::generate(format, rng, min, max));
            let text = match (self.patterns.first(), format) {
                (None, Some(text)) => Some(text),
                (None, None) if asserted.is_empty() => return None,
                (None, None) => None,
                // A format's string may fit the pattern; if not, strings of the pattern may be of the format.
                (Some(_), Some(text)) if attempt % 4 == 0 => Some(text),
                (Some(_), _) => {
                    let shaped: Vec<&Pattern> = self.patterns.iter().filter(|pattern| pattern.has_shape()).collect();
                    rng.pick(&shaped).and_then(|pattern| pattern.generate(rng, min, max))
                }
            };
            let Some(text) = text else { continue };
            if simple && self.formats.len() == asserted.len()
                || self.patterns.iter().all(|pattern| pattern.is_match(&text))
                    && self.formats.iter().all(|format| formats::holds(format, &text))
            {
                return Some(text);
            }
        }
        None
    }
}

/// The types that values are made of.
fn usual(allowed: u8, typed: bool, spoken: u8) -> u8 {
    match (typed, allowed & spoken) {
        (true, _) => allowed,
        (false, 0) => match allowed & (STRING | INTEGER | BOOLEAN | OBJECT) {
            0 => allowed,
            plain => plain,
        },
        (false, spoken) => spoken,
    }
}

/// The types that a schema's keywords speak of.
fn spoken_types(map: &Map<String, Value>) -> u8 {
    map.keys().fold(0, |types, keyword| {
        types
            | match keyword.as_str() {
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => NUMBER,
                "minLength" | "maxLength" | "pattern" | "contentEncoding" | "contentMediaType" => STRING,
                "format" => match map["format"].as_str() {
                    Some("float" | "double") => NUMBER,
                    Some(_) if integer_format(map).is_some() => NUMBER,
                    _ => STRING,
                },
                "items" | "prefixItems" | "contains" | "minItems" | "maxItems" | "uniqueItems" | "unevaluatedItems" => {
                    ARRAY
                }
                "properties"
                | "required"
                | "additionalProperties"
                | "patternProperties"
                | "minProperties"
                | "maxProperties"
                | "propertyNames"
                | "dependentRequired"
                | "dependentSchemas"
                | "unevaluatedProperties"
                | "discriminator" => OBJECT,
                _ => 0,
            }
    })
}

/// Adds the number keywords; names the one that cannot be used.
fn merge_number(rule: &mut NumberRule, map: &Map<String, Value>) -> Option<&'static str> {
    for (keyword, exclusive) in [("minimum", false), ("exclusiveMinimum", true)] {
        if let Some(value) = map.get(keyword) {
            match Bound::new(value, exclusive, keyword) {
                Some(bound) => rule.at_least(bound),
                None => return Some(keyword),
            }
        }
    }
    for (keyword, exclusive) in [("maximum", false), ("exclusiveMaximum", true)] {
        if let Some(value) = map.get(keyword) {
            match Bound::new(value, exclusive, keyword) {
                Some(bound) => rule.at_most(bound),
                None => return Some(keyword),
            }
        }
    }
    if let Some(value) = map.get("multipleOf")
        && !rule.multiple_of(value)
    {
        return Some("multipleOf");
    }
    if let Some((low, high)) = integer_format(map) {
        rule.low.get_or_insert(Bound { number: low as f64, whole: Some(low), exclusive: false, keyword: "format" });
        rule.high.get_or_insert(Bound { number: high as f64, whole: Some(high), exclusive: false, keyword: "format" });
    }
    None
}

/// The range of a number's format (OpenAPI Format Registry).
fn integer_format(map: &Map<String, Value>) -> Option<(i128, i128)> {
    match map.get("format")?.as_str()? {
        "int8" => Some((i8::MIN.into(), i8::MAX.into())),
        "uint8" => Some((u8::MIN.into(), u8::MAX.into())),
        "int16" => Some((i16::MIN.into(), i16::MAX.into())),
        "uint16" => Some((u16::MIN.into(), u16::MAX.into())),
        "int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "uint32" => Some((u32::MIN.into(), u32::MAX.into())),
        "int64" => Some((i64::MIN.into(), i64::MAX.into())),
        "uint64" => Some((u64::MIN.into(), u64::MAX.into())),
        _ => None,
    }
}

fn count(map: &Map<String, Value>, keyword: &str) -> Option<u64> {
    let value = map.get(keyword)?;
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

/// Equality as JSON Schema has it: `1` and `1.0` are the same.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}
