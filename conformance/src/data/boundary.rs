//! Values at the limits of a schema, and values with one fault.
//!
//! A [`Change`] is what to put at one place; the place is found by walking the graph (all limits, in order) or by the trace
//! of a random value (one fault). Whatever comes out was judged as a whole: the validator's errors decide what a value is,
//! the change only says what it was meant to be, and a value that is something else is not used.

use std::collections::{HashMap, HashSet};

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

use crate::data::number::number_value;
use crate::data::random::Rng;
use crate::data::schema::{
    ANY, ARRAY, BOOLEAN, Choice, FRACTION, INTEGER, Leaf, NULL, NUMBER, Node, NodeId, OBJECT, STRING, escape, type_of,
};
use crate::data::strategy::{Engine, Making, Mode, plain_text};
use crate::data::{Boundary, Fault, FaultKind, Generator, Verdict, formats};

/// So many boundaries are enough for any schema that people write; the rest of a machine-made one is left to chance.
pub(crate) const MOST_BOUNDARIES: usize = 4_000;

/// Where no fault was found by chance, one of the first limits will do.
const SOME_BOUNDARIES: usize = 200;

/// Containers deeper than this are not walked into.
const DEPTH: usize = 8;

/// Strings at a limit are made up to this length, and arrays up to this number of items.
const LONGEST_TEXT: u64 = 70_000;
const LONGEST_LIST: u64 = 1_100;

/// So many ways to break a subschema are tried.
const MOST_WAYS: usize = 400;

/// How far inside a value subschemas are broken.
pub(crate) const BREAK_DEPTH: usize = 2;

/// Keeps the choices of faults apart from those of samples.
const FAULT_STREAM: u64 = 0x1000;

/// The name of a member that no contract has.
const STRANGER: &str = "unexpectedMember";

/// What a change is meant to make of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Valid,
    /// A violation of one of these keywords, or of a composition around it.
    Break(&'static [&'static str]),
}

/// A value for one place.
struct Change {
    label: String,
    value: Value,
    intent: Intent,
}

impl Change {
    fn valid(label: impl Into<String>, value: Value) -> Change {
        Change { label: label.into(), value, intent: Intent::Valid }
    }

    fn broken(label: impl Into<String>, keywords: &'static [&'static str], value: Value) -> Change {
        Change { label: label.into(), value, intent: Intent::Break(keywords) }
    }
}

/// Every limit of the schema, up to `most`. `shown` is a valid value of the document; limits are put into it where they fit.
pub(crate) fn boundaries(engine: &Engine, shown: Option<&Value>, most: usize) -> Vec<Boundary> {
    let mut walk = Walk {
        engine,
        shown: shown.is_some(),
        most,
        found: Vec::new(),
        labels: HashSet::new(),
        known: HashSet::new(),
        visits: HashMap::new(),
        stack: Vec::new(),
    };
    walk.explore(engine.graph.root, "", shown, &|value, _| value);
    // Last, so that a limit that happens to be the plainest value keeps its own name.
    walk.offer("", Change::valid("minimal", engine.minimal()), &|value, _| value);
    walk.offer("", Change::valid("maximal", engine.maximal()), &|value, _| value);
    walk.found
}

/// One fault in a random valid value.
pub(crate) fn invalid(generator: &Generator, seed: u64, index: u64) -> Option<Boundary> {
    let engine = &generator.engine;
    let mut rng = Rng::new(seed, index, FAULT_STREAM);
    for attempt in 0..4 {
        let mut making = Making::traced(Rng::new(seed, index, FAULT_STREAM + 1 + attempt), Mode::Random);
        let value = engine.make(engine.graph.root, &mut making);
        let Some(trace) = making.trace.filter(|trace| !trace.is_empty() && engine.is_valid(&value)) else { continue };
        for _ in 0..6 {
            let (path, id) = &trace[rng.below(trace.len())];
            let (Some(current), Node::Leaf(leaf)) = (value.pointer(path), &engine.graph.nodes[*id]) else { continue };
            let mut changes = changes(engine, *id, leaf, current, BREAK_DEPTH);
            changes.retain(|change| change.intent != Intent::Valid);
            let Some(change) = (!changes.is_empty()).then(|| changes.swap_remove(rng.below(changes.len()))) else {
                continue;
            };
            let Some(whole) = replaced(&value, path, change.value) else { continue };
            if let Some(verdict @ Verdict::Invalid(_)) = engine.settle(&whole, change.intent) {
                let place = path.trim_start_matches('/');
                let label = if place.is_empty() { change.label } else { format!("{place}/{}", change.label) };
                return Some(Boundary { value: whole, verdict, label });
            }
        }
    }
    let faults = generator.faults.get_or_init(|| {
        let all = boundaries(engine, generator.seeds.first(), SOME_BOUNDARIES).into_iter();
        all.filter(|boundary| boundary.verdict != Verdict::Valid).collect()
    });
    rng.pick(faults).cloned()
}

/// Values next to `value` that break the schema of a node: to find one that matches one alternative and not another.
pub(crate) fn ways_to_break(engine: &Engine, node: NodeId, value: &Value, depth: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for id in leaves(engine, node, 4) {
        if found.len() > MOST_WAYS {
            break;
        }
        let Node::Leaf(leaf) = &engine.graph.nodes[id] else { continue };
        let own = changes(engine, id, leaf, value, depth).into_iter().filter(|change| change.intent != Intent::Valid);
        found.extend(own.map(|change| change.value));
        if depth == 0 {
            continue;
        }
        if let (Value::Object(map), true) = (value, leaf.types & OBJECT != 0) {
            for member in &leaf.object.members {
                if found.len() > MOST_WAYS {
                    break;
                }
                let current = match map.get(&member.name) {
                    Some(current) => current.clone(),
                    None => engine.make(member.node, &mut Making::new(Rng::new(3, 0, 0), Mode::Minimal)),
                };
                for inner in ways_to_break(engine, member.node, &current, depth - 1) {
                    let mut map = map.clone();
                    map.insert(member.name.clone(), inner);
                    found.push(Value::Object(map));
                }
            }
        }
        if let (Value::Array(items), Some(node)) = (value, leaf.array.items) {
            let current = items.first().cloned().unwrap_or(Value::Null);
            for inner in ways_to_break(engine, node, &current, depth - 1) {
                let mut items = items.clone();
                items.splice(..items.len().min(1), [inner]);
                found.push(Value::Array(items));
            }
        }
    }
    found
}

/// The first leaves behind a node's choices.
fn leaves(engine: &Engine, node: NodeId, most: usize) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut waiting = vec![node];
    let mut seen = HashSet::new();
    while let Some(id) = waiting.pop() {
        if found.len() >= most || !seen.insert(id) {
            continue;
        }
        match &engine.graph.nodes[id] {
            Node::Never(_) => {}
            Node::Leaf(_) => found.push(id),
            Node::Choice(choice) => waiting.extend(choice.branches.iter().rev().map(|(_, id)| *id)),
        }
    }
    found
}

/// `value` with the part at a pointer replaced.
fn replaced(value: &Value, pointer: &str, part: Value) -> Option<Value> {
    let mut value = value.clone();
    *value.pointer_mut(pointer)? = part;
    Some(value)
}

/// What a part is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// The document's example: a server may ask for more than the schema says, and an example has it.
    Shown,
    /// Required parts only.
    Poor,
    /// All parts.
    Rich,
}

/// Puts a part into its surroundings.
type Wrap<'w> = &'w dyn Fn(Value, Around) -> Value;

struct Walk<'e> {
    engine: &'e Engine,
    /// Whether the document shows a value.
    shown: bool,
    most: usize,
    found: Vec<Boundary>,
    labels: HashSet<String>,
    /// Values in the list, as text: sending one twice teaches nothing.
    known: HashSet<String>,
    /// How often a leaf was met; its limits are the same each time.
    visits: HashMap<NodeId, usize>,
    stack: Vec<NodeId>,
}

impl Walk<'_> {
    /// Takes a change into the list if it is what it was meant to be, and tells whether it is.
    fn offer(&mut self, at: &str, change: Change, wrap: Wrap<'_>) -> bool {
        if self.found.len() >= self.most {
            return true;
        }
        let shown = self.shown.then_some(Around::Shown);
        for around in shown.into_iter().chain([Around::Poor, Around::Rich]) {
            let value = wrap(change.value.clone(), around);
            let Some(verdict) = self.engine.settle(&value, change.intent) else { continue };
            if !self.known.insert(value.to_string()) {
                return true;
            }
            let label = if at.is_empty() { change.label } else { format!("{at}/{}", change.label) };
            let mut unique = label.clone();
            let mut number = 1;
            while !self.labels.insert(unique.clone()) {
                number += 1;
                unique = format!("{label} #{number}");
            }
            self.found.push(Boundary { value, verdict, label: unique });
            return true;
        }
        false
    }

    fn explore(&mut self, id: NodeId, at: &str, shown: Option<&Value>, wrap: Wrap<'_>) {
        if self.found.len() >= self.most || !self.engine.graph.lives(id) {
            return;
        }
        match &self.engine.graph.nodes[id] {
            Node::Never(_) => {}
            Node::Choice(choice) => self.explore_choice(choice, at, shown, wrap),
            Node::Leaf(leaf) => {
                let visits = self.visits.entry(id).or_default();
                *visits += 1;
                let first = *visits == 1;
                let value = match shown.filter(|shown| type_of(shown) & leaf.types != 0) {
                    Some(shown) => shown.clone(),
                    None => self.engine.make(id, &mut Making::new(Rng::new(5, 0, 0), Mode::Minimal)),
                };
                let mut changes = changes(self.engine, id, leaf, &value, BREAK_DEPTH);
                if !first {
                    // The limits are known; what is left is whether they are kept at this place too.
                    let mut broken = 0;
                    changes.retain(|change| {
                        broken += usize::from(change.intent != Intent::Valid);
                        change.intent != Intent::Valid && broken <= 3
                    });
                }
                for change in changes {
                    self.offer(at, change, wrap);
                }
                if first && !self.stack.contains(&id) && self.stack.len() < DEPTH {
                    self.stack.push(id);
                    self.explore_members(id, leaf, at, shown, wrap);
                    self.explore_items(id, leaf, at, shown, wrap);
                    self.stack.pop();
                }
            }
        }
    }

    fn explore_choice(&mut self, choice: &Choice, at: &str, shown: Option<&Value>, wrap: Wrap<'_>) {
        let join = |label: &str| if at.is_empty() { label.to_owned() } else { format!("{at}/{label}") };
        let alive = choice.branches.iter().filter(|(_, id)| self.engine.graph.lives(*id)).count();
        for (label, value) in strange_values() {
            self.offer(at, Change::broken(format!("type/{label}"), &["type", "enum", "const"], value), wrap);
        }
        for (label, id) in &choice.branches {
            // With one way left there is nothing to tell apart.
            let at = if alive == 1 { at.to_owned() } else { join(label) };
            self.explore(*id, &at, shown, wrap);
        }
        if choice.keyword == "oneOf" {
            let mut pairs = 0;
            for (index, (one, first)) in choice.branches.iter().enumerate() {
                for (other, second) in &choice.branches[index + 1..] {
                    let plain = |id| self.engine.make(id, &mut Making::new(Rng::new(5, 0, 0), Mode::Minimal));
                    let (true, Value::Object(mut value), Value::Object(more)) =
                        (pairs < 6, plain(*first), plain(*second))
                    else {
                        continue;
                    };
                    pairs += 1;
                    value.extend(more);
                    let label = format!("{one} and {other}");
                    self.offer(at, Change::broken(label, &["oneOf"], Value::Object(value)), wrap);
                }
            }
        }
    }

    fn explore_members(&mut self, id: NodeId, leaf: &Leaf, at: &str, shown: Option<&Value>, wrap: Wrap<'_>) {
        if leaf.usual & OBJECT == 0 || leaf.values.is_some() {
            return;
        }
        let engine = self.engine;
        let object = |mode| match engine.make(id, &mut Making::new(Rng::new(5, 0, 0), mode)) {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let (poor, rich) = (object(Mode::Minimal), object(Mode::Maximal));
        let shown = shown.and_then(Value::as_object);
        let full = match shown {
            Some(shown) => {
                let mut full = rich.clone();
                full.extend(shown.iter().map(|(name, value)| (name.clone(), value.clone())));
                full
            }
            None => rich.clone(),
        };
        let base = |around: Around| match (around, shown) {
            (Around::Shown, Some(shown)) => shown.clone(),
            (Around::Shown | Around::Poor, _) => poor.clone(),
            (Around::Rich, _) => rich.clone(),
        };
        let join = |label: &str| if at.is_empty() { escape(label) } else { format!("{at}/{}", escape(label)) };
        for member in &leaf.object.members {
            let name = &member.name;
            if !member.required && rich.contains_key(name) {
                // With the values that the document shows, or, where those do not go together, without them.
                let _ = [&full, &rich].into_iter().any(|whole| {
                    let mut less = whole.clone();
                    less.shift_remove(name);
                    self.offer(at, Change::valid(format!("{}/absent", escape(name)), Value::Object(less)), wrap)
                });
            }
            let inside = |value: Value, around: Around| {
                let mut map = base(around);
                engine.add_member(leaf, &mut map, name, value);
                wrap(Value::Object(map), around)
            };
            self.explore(member.node, &join(name), shown.and_then(|shown| shown.get(name)), &inside);
        }
        let others = leaf
            .object
            .patterns
            .iter()
            .map(|(pattern, node)| (pattern.generate(&mut Rng::new(5, 0, 0), 1, 32), "patternProperties", *node));
        let additional = leaf.object.additional.map(|node| (Some(STRANGER.to_owned()), "additionalProperties", node));
        for (name, keyword, node) in others.collect::<Vec<_>>().into_iter().chain(additional) {
            let Some(name) = name else { continue };
            let inside = |value: Value, around: Around| {
                let mut map = base(around);
                map.insert(name.clone(), value);
                wrap(Value::Object(map), around)
            };
            self.explore(node, &join(keyword), None, &inside);
        }
        self.pair_members(&poor, &full, at, wrap);
    }

    /// Each pair of optional members both there, both absent and one of each, in few values.
    fn pair_members(&mut self, poor: &Map<String, Value>, rich: &Map<String, Value>, at: &str, wrap: Wrap<'_>) {
        let optional: Vec<&str> = rich.keys().filter(|name| !poor.contains_key(*name)).map(String::as_str).collect();
        // All absent, all present and one absent are in the list already; they cover up to three members.
        if optional.len() < 3 {
            return;
        }
        // Member k is present in the rows where bit j of k is set, and in the opposite rows: any two members differ in
        // some bit, so all four combinations come up in 2 · log2(n) rows and the two extremes.
        let bits = usize::BITS - (optional.len() - 1).leading_zeros();
        for bit in 0..bits {
            for side in [0, 1] {
                let mut map = rich.clone();
                for (index, name) in optional.iter().enumerate() {
                    if (index >> bit) & 1 == side {
                        map.shift_remove(*name);
                    }
                }
                let label = format!("optional/half {}", bit * 2 + side as u32 + 1);
                self.offer(at, Change::valid(label, Value::Object(map)), wrap);
            }
        }
    }

    fn explore_items(&mut self, id: NodeId, leaf: &Leaf, at: &str, shown: Option<&Value>, wrap: Wrap<'_>) {
        if leaf.usual & ARRAY == 0 || leaf.values.is_some() {
            return;
        }
        let engine = self.engine;
        let shown = shown.and_then(Value::as_array);
        let prefix = &leaf.array.prefix;
        let places = prefix.iter().copied().enumerate().chain(leaf.array.items.map(|id| (prefix.len(), id)));
        for (index, node) in places.collect::<Vec<_>>() {
            let size = (index + 1).max(leaf.array.min as usize);
            let Some(Value::Array(plain)) = engine.sized_array(id, leaf, size) else { continue };
            let inside = |value: Value, around: Around| {
                let mut items = match shown.filter(|shown| around == Around::Shown && shown.len() > index) {
                    Some(shown) => shown.clone(),
                    None => plain.clone(),
                };
                if let Some(item) = items.get_mut(index) {
                    *item = value;
                }
                wrap(Value::Array(items), around)
            };
            let at = if at.is_empty() { index.to_string() } else { format!("{at}/{index}") };
            self.explore(node, &at, shown.and_then(|shown| shown.get(index)), &inside);
        }
    }
}

impl Engine {
    /// What a value is, if it is what was meant.
    fn settle(&self, value: &Value, intent: Intent) -> Option<Verdict> {
        if self.is_valid(value) {
            return (intent == Intent::Valid).then_some(Verdict::Valid);
        }
        let Intent::Break(keywords) = intent else { return None };
        let fault = self.only_fault(value, keywords)?;
        Some(Verdict::Invalid(fault))
    }

    /// The fault of a value that is wrong at exactly one place; one of `wanted` if there are several reasons.
    pub(crate) fn only_fault(&self, value: &Value, wanted: &[&str]) -> Option<Fault> {
        let errors: Vec<ValidationError<'_>> = self.validator().iter_errors(value).collect();
        let mut faults: Vec<Fault> = Vec::new();
        let mut first: Option<(String, Option<String>)> = None;
        for error in &errors {
            let base = error.instance_path().to_string();
            let member = match members_of(error).as_slice() {
                [] => None,
                [member] => Some(member.clone()),
                _ => return None,
            };
            let instance = match &member {
                Some(member) => format!("{base}/{}", escape(member)),
                None => base.clone(),
            };
            // A member that is wrong counts as not evaluated on top of that: one fault, told twice.
            if matches!(error.kind(), ValidationErrorKind::UnevaluatedProperties { .. })
                && errors.iter().any(|other| other.instance_path().as_str().starts_with(&instance))
            {
                continue;
            }
            let place = (base, member);
            if first.as_ref().is_some_and(|first| *first != place) {
                return None;
            }
            first = Some(place);
            faults.push(self.fault(instance, error));
        }
        let at = faults.iter().position(|fault| wanted.contains(&fault.keyword.as_str()));
        let at = at.or_else(|| faults.iter().position(|fault| fault.kind == FaultKind::Composition));
        match at {
            Some(index) => Some(faults.swap_remove(index)),
            None if wanted.is_empty() => faults.into_iter().next(),
            None => None,
        }
    }

    fn fault(&self, instance: String, error: &ValidationError<'_>) -> Fault {
        let schema = error.schema_path().to_string();
        let mut keyword = schema.rsplit('/').next().unwrap_or_default().to_owned();
        match error.kind() {
            ValidationErrorKind::PropertyNames { .. } => {
                keyword = "propertyNames".into();
            }
            ValidationErrorKind::FalseSchema => {
                let member = schema.rsplit('/').nth(1) == Some("properties");
                keyword = if member { "properties" } else { keyword.as_str() }.to_owned();
            }
            _ => {}
        }
        let kind = kind_of(&keyword);
        Fault { instance, schema, keyword, kind }
    }

    /// Adds a member, and those that it calls for.
    fn add_member(&self, leaf: &Leaf, map: &mut Map<String, Value>, name: &str, value: Value) {
        map.insert(name.to_owned(), value);
        let mut waiting = vec![name.to_owned()];
        while let Some(name) = waiting.pop() {
            for other in
                leaf.object.dependent.iter().filter(|(trigger, _)| *trigger == name).flat_map(|(_, others)| others)
            {
                let member = leaf.object.members.iter().find(|member| member.name == *other);
                if let (Some(member), false) = (member, map.contains_key(other)) {
                    let value = self.make(member.node, &mut Making::new(Rng::new(5, 0, 0), Mode::Minimal));
                    map.insert(other.clone(), value);
                    waiting.push(other.clone());
                }
            }
        }
    }
}

/// The members that an error at their object speaks of.
fn members_of(error: &ValidationError<'_>) -> Vec<String> {
    match error.kind() {
        ValidationErrorKind::Required { property } => vec![property.as_str().unwrap_or_default().to_owned()],
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected.clone(),
        ValidationErrorKind::PropertyNames { error } => vec![error.instance().as_str().unwrap_or_default().to_owned()],
        _ => Vec::new(),
    }
}

fn kind_of(keyword: &str) -> FaultKind {
    match keyword {
        "required" | "dependentRequired" => FaultKind::Missing,
        "type" => FaultKind::Type,
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => FaultKind::Range,
        "minLength" | "maxLength" => FaultKind::Length,
        "format" => FaultKind::Format,
        "pattern" => FaultKind::Pattern,
        "enum" | "const" => FaultKind::Enum,
        "additionalProperties" | "unevaluatedProperties" | "propertyNames" | "properties" => FaultKind::Extra,
        "minItems" | "maxItems" | "uniqueItems" | "contains" | "minContains" | "maxContains" | "unevaluatedItems"
        | "items" => FaultKind::Items,
        "minProperties" | "maxProperties" => FaultKind::Properties,
        _ => FaultKind::Composition,
    }
}

/// One value of each JSON type.
fn strange_values() -> [(&'static str, Value); 6] {
    [
        ("null", Value::Null),
        ("boolean", json!(true)),
        ("number", json!(7)),
        ("string", json!("text")),
        ("array", json!([])),
        ("object", json!({})),
    ]
}

/// Everything that can be put at a place that means `leaf`, where `value` stands now. `depth` is how far inside items are
/// broken where the array wants them broken.
fn changes(engine: &Engine, id: NodeId, leaf: &Leaf, value: &Value, depth: usize) -> Vec<Change> {
    let mut found = Vec::new();
    if let Some(values) = &leaf.values {
        listed_changes(values, &mut found);
    } else {
        if leaf.usual & BOOLEAN != 0 && leaf.types != ANY {
            found.extend([true, false].map(|value| Change::valid(value.to_string(), json!(value))));
        }
        if leaf.usual & STRING != 0 {
            string_changes(leaf, &mut found);
        }
        if leaf.usual & NUMBER != 0 {
            number_changes(leaf, &mut found);
        }
        if leaf.usual & ARRAY != 0 {
            array_changes(engine, id, leaf, depth, &mut found);
        }
        if let (Value::Object(map), true) = (value, leaf.usual & OBJECT != 0) {
            object_changes(engine, leaf, map, &mut found);
        }
    }
    if leaf.types & NULL != 0 && leaf.types != ANY && leaf.values.is_none() {
        found.push(Change::valid("null", Value::Null));
    }
    if leaf.types != ANY || leaf.values.is_some() {
        let types = if leaf.values.is_some() { leaf.usual } else { leaf.types };
        for (label, value) in strange_values() {
            if type_of(&value) & types == 0 {
                found.push(Change::broken(format!("type/{label}"), &["type", "enum", "const"], value));
            }
        }
    }
    for excluded in leaf.excluded.iter().take(8) {
        found.push(Change::broken("not/listed", &["not"], excluded.clone()));
    }
    found
}

fn listed_changes(values: &[Value], found: &mut Vec<Change>) {
    for (index, value) in values.iter().take(200).enumerate() {
        let label = match value {
            Value::String(text) if !text.is_empty() && text.len() <= 40 && !text.contains('/') => {
                format!("enum/{text}")
            }
            Value::Number(number) => format!("enum/{number}"),
            Value::Bool(value) => format!("enum/{value}"),
            Value::Null => "enum/null".to_owned(),
            _ => format!("enum/item {index}"),
        };
        found.push(Change::valid(label, value.clone()));
    }
    let others = values.iter().find_map(|value| match value {
        Value::String(text) => Some(Value::String(format!("{text}-other"))),
        _ => None,
    });
    let numbers = values
        .iter()
        .filter_map(Value::as_f64)
        .fold(None, |most: Option<f64>, number| Some(most.map_or(number, |m| m.max(number))));
    let others = others.into_iter().chain(numbers.and_then(|most| number_value(most + 1.0)));
    let flipped = match values {
        [Value::Bool(value)] => Some(Value::Bool(!value)),
        _ => None,
    };
    for other in others.chain(flipped) {
        found.push(Change::broken("enum/other", &["enum", "const"], other));
    }
}

fn string_changes(leaf: &Leaf, found: &mut Vec<Change>) {
    let rule = &leaf.string;
    let shaped = !rule.patterns.is_empty() || !rule.formats.is_empty();
    let mut rng = Rng::new(11, 0, 0);
    let mut exact = |length: u64, strict: bool| -> Option<Value> {
        if length > LONGEST_TEXT {
            return None;
        }
        if shaped {
            let made = rule.make_between(&mut rng, length, length, 120);
            if made.is_some() || strict {
                return made.map(Value::String);
            }
        }
        Some(Value::String("text".chars().cycle().take(length as usize).collect()))
    };
    if rule.min > 0 {
        found.extend(exact(rule.min - 1, false).map(|text| Change::broken("minLength/under", &["minLength"], text)));
        found.extend(exact(rule.min, true).map(|text| Change::valid("minLength/at", text)));
        if rule.max != Some(rule.min) {
            found.extend(exact(rule.min + 1, true).map(|text| Change::valid("minLength/inside", text)));
        }
    } else if !shaped {
        found.push(Change::valid("empty", json!("")));
    }
    if let Some(max) = rule.max {
        if max > rule.min + 1 {
            found.extend(exact(max - 1, true).map(|text| Change::valid("maxLength/inside", text)));
        }
        found.extend(exact(max, true).map(|text| Change::valid("maxLength/at", text)));
        found.extend(exact(max + 1, false).map(|text| Change::broken("maxLength/over", &["maxLength"], text)));
        if !shaped && max > 0 && max <= 1_000 {
            // Length counts characters, not bytes and not UTF-16 units.
            let text = "😀".repeat(max as usize);
            found.push(Change::valid("maxLength/at in emoji", Value::String(text)));
        }
    }
    if !shaped && rule.max.is_none_or(|max| max >= 12) && rule.min <= 8 {
        for (label, text) in [
            ("text/combining", "cafe\u{301} nai\u{308}"),
            ("text/right to left", "שלום עולם"),
            ("text/emoji", "hi 👩‍💻 😀 ok"),
            ("text/quotes", "it's \"a\\b\" x"),
            ("text/percent", "100%25+a b&c"),
            ("text/leading zeros", "000123456"),
        ] {
            found.push(Change::valid(label, json!(text)));
        }
    }
    let base = rule.make(&mut Rng::new(11, 1, 0), 40).unwrap_or_else(|| plain_text(rule.min, rule.max));
    for pattern in &rule.patterns {
        for text in spoilt(&base) {
            let length = text.chars().count() as u64;
            let fits = length >= rule.min && rule.max.is_none_or(|max| length <= max);
            if fits && !pattern.is_match(&text) {
                found.push(Change::broken("pattern/mismatch", &["pattern"], Value::String(text)));
                break;
            }
        }
    }
    for format in &rule.formats {
        for text in formats::violations(format) {
            found.push(Change::broken(format!("format/{format}"), &["format"], json!(text)));
        }
    }
}

/// Strings near one that matches, which most patterns refuse.
fn spoilt(text: &str) -> Vec<String> {
    let mut found = vec![
        format!("{text}!"),
        format!("!{text}"),
        format!("{text} "),
        text.replace(|c: char| c.is_ascii_alphanumeric(), "~"),
    ];
    let letters: Vec<char> = text.chars().collect();
    for index in [0, letters.len() / 2, letters.len().saturating_sub(1)] {
        for other in ['~', ' ', '0', 'x', 'X', '-', 'é'] {
            if letters.get(index).is_some_and(|letter| *letter != other) {
                let mut letters = letters.clone();
                letters[index] = other;
                found.push(letters.iter().collect());
            }
        }
    }
    if let Some((_, rest)) = letters.split_first() {
        found.push(rest.iter().collect());
        found.push(letters[..letters.len() - 1].iter().collect());
    }
    found.push("~".repeat(letters.len().max(1)));
    found.push("no match!".into());
    found.push(String::new());
    found.push("\u{7f}".into());
    found
}

fn number_changes(leaf: &Leaf, found: &mut Vec<Change>) {
    let whole_only = leaf.types & FRACTION == 0;
    for (keyword, case, value) in leaf.number.edges(whole_only) {
        let outside = leaf.number.refuses(&value);
        let label = format!("{keyword}/{case}");
        found.push(if outside {
            let keywords: &'static [&'static str] = match keyword {
                "minimum" | "exclusiveMinimum" => &["minimum", "exclusiveMinimum"],
                "maximum" | "exclusiveMaximum" => &["maximum", "exclusiveMaximum"],
                "multipleOf" => &["multipleOf"],
                _ => &["format"],
            };
            Change::broken(label, keywords, value)
        } else {
            Change::valid(label, value)
        });
    }
    if whole_only && leaf.types & INTEGER != 0 {
        let base = leaf.number.plain(true, false).and_then(|value| value.as_f64()).unwrap_or_default();
        let halves = [base + 0.5, base - 0.5].into_iter().filter(|half| leaf.number.admits(*half));
        found.extend(
            halves.take(1).filter_map(number_value).map(|value| Change::broken("type/fraction", &["type"], value)),
        );
    } else if let Some(value) = leaf.number.broken(&mut Rng::new(11, 2, 0)) {
        found.push(Change::valid("fraction", value));
    }
    if leaf.number.admits(0.0) {
        found.push(Change::valid("zero", json!(0)));
    }
}

fn array_changes(engine: &Engine, id: NodeId, leaf: &Leaf, depth: usize, found: &mut Vec<Change>) {
    let rule = &leaf.array;
    let sized = |length: u64| if length > LONGEST_LIST { None } else { engine.sized_array(id, leaf, length as usize) };
    if rule.min > 0 {
        found.extend(
            sized(rule.min - 1)
                .map(|items| Change::broken("minItems/under", &["minItems", "contains", "minContains"], items)),
        );
        found.extend(sized(rule.min).map(|items| Change::valid("minItems/at", items)));
    } else {
        found.push(Change::valid("empty", json!([])));
        found.extend(sized(1).map(|items| Change::valid("one item", items)));
    }
    if let Some(max) = rule.max {
        found.extend(sized(max).map(|items| Change::valid("maxItems/at", items)));
        found.extend(
            sized(max + 1)
                .map(|items| Change::broken("maxItems/over", &["maxItems", "items", "unevaluatedItems"], items)),
        );
    } else if rule.min < 2 {
        found.extend(sized(2).map(|items| Change::valid("two items", items)));
    }
    if rule.unique
        && rule.max != Some(1)
        && let Some(Value::Array(mut items)) = sized(rule.min.max(1))
        && let Some(first) = items.first().cloned()
    {
        if items.len() >= 2 {
            items.pop();
        }
        items.push(first);
        found.push(Change::broken("uniqueItems/repeated", &["uniqueItems"], Value::Array(items)));
    }
    // To break the demanded item may take breaking what is inside of it.
    for contains in rule.contains.iter().filter(|_| depth > 0) {
        let size = rule.min.max(1) as usize;
        if let Some(Value::Array(mut items)) = engine.sized_array(id, leaf, size) {
            // Every demanded item becomes an ordinary one that is not what is asked for.
            for item in &mut items {
                let ways = ways_to_break(engine, contains.node, item, depth - 1);
                if let Some(way) = ways.into_iter().next() {
                    *item = way;
                }
            }
            found.push(Change::broken(
                "contains/none",
                &["contains", "minContains", "maxContains"],
                Value::Array(items),
            ));
        }
        if let Some(max) = contains.max.filter(|max| *max < LONGEST_LIST) {
            let one = |n| engine.make(contains.node, &mut Making::new(Rng::new(5, n, 0), Mode::Random));
            let items = (0..=max).map(one).collect();
            found.push(Change::broken("maxContains/over", &["contains", "maxContains"], Value::Array(items)));
        }
    }
}

fn object_changes(engine: &Engine, leaf: &Leaf, map: &Map<String, Value>, found: &mut Vec<Change>) {
    let rule = &leaf.object;
    let without = |name: &str| {
        let mut map = map.clone();
        map.shift_remove(name);
        Value::Object(map)
    };
    let with = |name: &str, value: Value| {
        let mut map = map.clone();
        map.insert(name.to_owned(), value);
        Value::Object(map)
    };
    for member in &rule.members {
        let name = &member.name;
        if member.required && map.contains_key(name) {
            found.push(Change::broken(format!("{}/missing", escape(name)), &["required"], without(name)));
        }
        if !member.required && !map.contains_key(name) && !engine.graph.lives(member.node) {
            let value = json!("text");
            found.push(Change::broken(
                format!("{}/forbidden", escape(name)),
                &["properties", "not", "additionalProperties"],
                with(name, value),
            ));
        }
    }
    const EXTRA: &[&str] = &["additionalProperties", "unevaluatedProperties", "propertyNames"];
    found.push(Change::broken("additionalProperties/extra", EXTRA, with(STRANGER, json!("text"))));
    for (name, others) in &rule.dependent {
        let member = rule.members.iter().find(|member| member.name == *name);
        for other in others {
            let mut map = map.clone();
            let value = match member {
                Some(member) => engine.make(member.node, &mut Making::new(Rng::new(5, 0, 0), Mode::Minimal)),
                None => json!("text"),
            };
            engine.add_member(leaf, &mut map, name, value);
            map.shift_remove(other);
            let label = format!("{}/missing with {}", escape(other), escape(name));
            found.push(Change::broken(label, &["dependentRequired", "required"], Value::Object(map)));
        }
    }
    if let Some(names) = rule.names
        && let Node::Leaf(names) = &engine.graph.nodes[names]
    {
        let mut strange = Vec::new();
        match &names.values {
            Some(values) => listed_changes(values, &mut strange),
            None => string_changes(names, &mut strange),
        }
        for change in strange.into_iter().filter(|change| change.intent != Intent::Valid) {
            if let Value::String(name) = &change.value {
                let label = format!("propertyNames/{}", change.label);
                found.push(Change::broken(label, &["propertyNames"], with(name, json!("text"))));
                if let Some((_, value)) = map.iter().next() {
                    let label = format!("propertyNames/{}", change.label);
                    found.push(Change::broken(label, &["propertyNames"], with(name, value.clone())));
                }
            }
        }
    }
    size_changes(engine, leaf, map, found);
    if let Some(name) = &rule.discriminator
        && map.contains_key(name)
    {
        let label = format!("{}/unknown kind", escape(name));
        found.push(Change::broken(label, &["enum", "const"], with(name, json!("unknown-kind"))));
    }
}

fn size_changes(engine: &Engine, leaf: &Leaf, map: &Map<String, Value>, found: &mut Vec<Change>) {
    let rule = &leaf.object;
    if rule.min > 0 {
        let mut less = map.clone();
        let optional: Vec<String> = map
            .keys()
            .filter(|name| !rule.members.iter().any(|member| member.required && member.name == **name))
            .cloned()
            .collect();
        for name in optional.iter().rev() {
            if less.len() as u64 == rule.min {
                found.push(Change::valid("minProperties/at", Value::Object(less.clone())));
            }
            if less.len() as u64 >= rule.min {
                less.shift_remove(name);
            }
        }
        if (less.len() as u64) < rule.min {
            found.push(Change::broken("minProperties/under", &["minProperties"], Value::Object(less)));
        }
    }
    if let Some(max) = rule.max.filter(|max| *max < LONGEST_LIST) {
        let mut more = map.clone();
        let spare = rule.members.iter().filter(|member| engine.graph.lives(member.node));
        for member in spare {
            if more.len() as u64 > max {
                break;
            }
            if !more.contains_key(&member.name) {
                more.insert(
                    member.name.clone(),
                    engine.make(member.node, &mut Making::new(Rng::new(5, 0, 0), Mode::Minimal)),
                );
            }
        }
        let mut making = Making::new(Rng::new(5, 9, 0), Mode::Random);
        for _ in 0..4 * max + 16 {
            if more.len() as u64 > max
                || rule.additional.is_some_and(|id| !engine.graph.lives(id)) && rule.patterns.is_empty()
            {
                break;
            }
            engine.add_one(leaf, &mut more, &mut making);
        }
        let mut fewer = more.clone();
        while fewer.len() as u64 > max {
            fewer.pop_last_optional(leaf);
            if fewer.len() == more.len() {
                break;
            }
        }
        if fewer.len() as u64 == max {
            found.push(Change::valid("maxProperties/at", Value::Object(fewer)));
        }
        if more.len() as u64 > max {
            found.push(Change::broken("maxProperties/over", &["maxProperties"], Value::Object(more)));
        }
    }
}

/// Taking the last member off that may go.
trait PopOptional {
    fn pop_last_optional(&mut self, leaf: &Leaf);
}

impl PopOptional for Map<String, Value> {
    fn pop_last_optional(&mut self, leaf: &Leaf) {
        let free = |name: &&String| !leaf.object.members.iter().any(|member| member.required && member.name == **name);
        if let Some(name) = self.keys().rev().find(free).cloned() {
            self.shift_remove(&name);
        }
    }
}
