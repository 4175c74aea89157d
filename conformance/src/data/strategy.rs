//! Values from the graph, and the proof that they are valid.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use jsonschema::Validator;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::data::random::Rng;
use crate::data::regex::Pattern;
use crate::data::schema::{
    ARRAY, BOOLEAN, FRACTION, Graph, INTEGER, LONGEST_ARRAY, Leaf, NULL, Negative, Node, NodeId, OBJECT, STRING,
};
use crate::data::{Generator, Unsatisfiable, boundary, formats, merge, shrink};

/// Containers nest at most this deep before values take the shortest way out.
const DEPTH: usize = 6;

/// A random value has about this many parts before it takes the shortest way out.
const PARTS: usize = 120;

/// The same for the value with all optional parts.
const MOST_PARTS: usize = 2_000;

/// Attempts at one value before one that is known to be valid stands in.
const ATTEMPTS: u64 = 12;

/// The name under which subschemas refer to the whole schema.
const ROOT: &str = "urn:trueline:schema";

/// A schema compiled for generation and for validation.
pub(crate) struct Engine {
    pub(crate) graph: Graph,
    validator: Validator,
    /// The schema as given.
    pub(crate) schema: Value,
    /// Validators of [`Graph::negatives`].
    negatives: Vec<Option<Validator>>,
    /// For leaves with negatives: everything else that must hold.
    positives: Vec<Option<Validator>>,
    /// Values that are known to be valid; the first is the minimal one.
    pool: Vec<Value>,
    problems: Vec<Unsatisfiable>,
}

/// How the choices fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Minimal,
    Maximal,
    Random,
}

/// One value in the making.
pub(crate) struct Making {
    pub(crate) rng: Rng,
    pub(crate) mode: Mode,
    parts: usize,
    depth: usize,
    /// Nodes that the current place is inside of.
    stack: Vec<NodeId>,
    /// Where the value came from: instance pointer and leaf, if asked for.
    pub(crate) trace: Option<Vec<(String, NodeId)>>,
    path: String,
}

impl Making {
    pub(crate) fn new(rng: Rng, mode: Mode) -> Making {
        Making { rng, mode, parts: 0, depth: 0, stack: Vec::new(), trace: None, path: String::new() }
    }

    pub(crate) fn traced(rng: Rng, mode: Mode) -> Making {
        Making { trace: Some(Vec::new()), ..Making::new(rng, mode) }
    }

    /// Whether only the shortest way out is left.
    fn spent(&self) -> bool {
        match self.mode {
            Mode::Minimal => true,
            Mode::Random => self.depth >= DEPTH || self.parts >= PARTS,
            Mode::Maximal => self.depth >= 2 * DEPTH || self.parts >= MOST_PARTS,
        }
    }

    fn step(&mut self, token: &dyn fmt::Display) -> usize {
        let before = self.path.len();
        if self.trace.is_some() {
            self.path.push('/');
            self.path.push_str(&crate::data::schema::escape(&token.to_string()));
        }
        before
    }
}

impl Engine {
    pub(crate) fn new(schema: &Value) -> Result<Engine, Unsatisfiable> {
        let (validator, broken) = compile(schema)?;
        let mut problems = broken;
        let places: HashSet<String> = problems.iter().map(|problem| problem.pointer.clone()).collect();
        let graph = Graph::new(schema, &places);
        let mut engine = Engine {
            negatives: Vec::new(),
            positives: Vec::new(),
            pool: Vec::new(),
            problems: problems.clone(),
            schema: schema.clone(),
            validator,
            graph,
        };
        engine.check_root()?;
        if !engine.graph.negatives.is_empty() {
            engine.prove_branches()?;
            engine.check_root()?;
        }
        engine.graph.drop_dead_types();
        problems.extend(engine.graph.dead_parts());
        engine.problems = problems;
        engine.fill_pool()?;
        Ok(engine)
    }

    fn check_root(&self) -> Result<(), Unsatisfiable> {
        if self.graph.lives(self.graph.root) { Ok(()) } else { Err(self.graph.explain(self.graph.root)) }
    }

    /// Compiles what negated subschemas need, and takes branches out that never get past them.
    fn prove_branches(&mut self) -> Result<(), Unsatisfiable> {
        let unreadable = |error: &dyn fmt::Display| Unsatisfiable { pointer: String::new(), reason: error.to_string() };
        let broken = self.problems.iter().map(|problem| problem.pointer.clone()).collect();
        let prepared = without(&self.schema, &broken);
        let registry = jsonschema::Registry::new().add(ROOT, &*prepared).map_err(|error| unreadable(&error))?;
        let registry = registry.prepare().map_err(|error| unreadable(&error))?;
        let build = |schema: Value| formats::options().with_registry(&registry).build(&schema).ok();
        let reference = |pointer: &str| json!({ "$ref": format!("{ROOT}#{}", encode_fragment(pointer)) });
        self.negatives =
            self.graph.negatives.iter().map(|Negative { pointer, .. }| build(reference(pointer))).collect();
        self.positives = self
            .graph
            .nodes
            .iter()
            .map(|node| match node {
                Node::Leaf(leaf) if !leaf.negatives.is_empty() => {
                    // The subschema that makes the choice holds the negatives too; asking it as well costs nothing more.
                    let all: Vec<Value> =
                        leaf.sources.iter().filter(|pointer| !pointer.starts_with('!')).map(|p| reference(p)).collect();
                    build(json!({ "allOf": all }))
                }
                _ => None,
            })
            .collect();
        // A branch may die only because of another inside of it; each round can only find more, and few are needed.
        for _ in 0..4 {
            let mut found = Vec::new();
            for (id, node) in self.graph.nodes.iter().enumerate() {
                let Node::Leaf(leaf) = node else { continue };
                if leaf.negatives.is_empty() || !self.graph.lives(id) || self.can_avoid(id) {
                    continue;
                }
                let mut others: Vec<&str> =
                    leaf.negatives.iter().map(|index| self.graph.negatives[*index].pointer.as_str()).collect();
                others.dedup();
                let pointer = leaf.sources.last().unwrap_or(&leaf.pointer).clone();
                let reason = format!("no value was found that does not also match `{}`", others.join("` or `"));
                found.push((id, Unsatisfiable { pointer, reason }));
            }
            if found.is_empty() {
                break;
            }
            self.graph.dead.extend(found);
            self.graph.measure_heights();
        }
        Ok(())
    }

    fn can_avoid(&self, id: NodeId) -> bool {
        (0..24).any(|attempt| {
            let mode = if attempt == 0 { Mode::Minimal } else { Mode::Random };
            let value = self.make(id, &mut Making::new(Rng::new(4, id as u64, attempt), mode));
            self.avoids(id, &value)
        })
    }

    fn avoids(&self, id: NodeId, value: &Value) -> bool {
        let Node::Leaf(leaf) = &self.graph.nodes[id] else { return true };
        let clear =
            |index: &usize| self.negatives.get(*index).and_then(Option::as_ref).is_none_or(|v| !v.is_valid(value));
        leaf.negatives.iter().all(clear)
            && self.positives.get(id).and_then(Option::as_ref).is_none_or(|validator| validator.is_valid(value))
    }

    fn fill_pool(&mut self) -> Result<(), Unsatisfiable> {
        let mut last = None;
        for attempt in 0..96 {
            let mode = if attempt < 2 { Mode::Minimal } else { Mode::Random };
            let value = self.make(self.graph.root, &mut Making::new(Rng::new(3, attempt, 0), mode));
            if self.is_valid(&value) {
                if !self.pool.contains(&value) {
                    self.pool.push(value);
                }
                if self.pool.len() >= 6 || attempt >= 16 {
                    return Ok(());
                }
            } else {
                last = Some(value);
            }
        }
        if !self.pool.is_empty() {
            return Ok(());
        }
        let error =
            last.as_ref().and_then(|value| self.validator.iter_errors(value).next().map(|error| error.to_owned()));
        Err(match error {
            Some(error) => Unsatisfiable {
                pointer: error.schema_path().to_string(),
                reason: format!("no value was found that meets it: {}", shorten(&error.to_string())),
            },
            None => Unsatisfiable { pointer: String::new(), reason: "no value was found".into() },
        })
    }

    pub(crate) fn problems(&self) -> &[Unsatisfiable] {
        &self.problems
    }

    pub(crate) fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    pub(crate) fn validator(&self) -> &Validator {
        &self.validator
    }

    pub(crate) fn minimal(&self) -> Value {
        self.pool.first().cloned().unwrap_or(Value::Null)
    }

    pub(crate) fn maximal(&self) -> Value {
        for attempt in 0..ATTEMPTS {
            let value = self.make(self.graph.root, &mut Making::new(Rng::new(2, 0, attempt), Mode::Maximal));
            if self.is_valid(&value) {
                return value;
            }
        }
        self.pool.iter().max_by_key(|value| shrink::measure(value)).cloned().unwrap_or(Value::Null)
    }

    pub(crate) fn sample(&self, seeds: &[Value], seed: u64, index: u64) -> Value {
        // One in eight: enough that each seed comes up early, few enough that the rest of the space does.
        let mut first = Rng::new(seed, index, u64::MAX);
        if !seeds.is_empty() && first.chance(12) {
            return seeds[first.below(seeds.len())].clone();
        }
        for attempt in 0..ATTEMPTS {
            let value = self.make(self.graph.root, &mut Making::new(Rng::new(seed, index, attempt), Mode::Random));
            if self.is_valid(&value) {
                return value;
            }
        }
        self.pool[first.below(self.pool.len())].clone()
    }

    /// A value of a node: valid as far as the node tells, not yet proved.
    pub(crate) fn make(&self, id: NodeId, making: &mut Making) -> Value {
        making.parts += 1;
        // Asked for at the limits of arrays and by negated subschemas; a value that nothing is would have no end.
        if !self.graph.lives(id) {
            return Value::Null;
        }
        let (id, leaf) = match &self.graph.nodes[id] {
            Node::Never(_) => return Value::Null,
            Node::Leaf(leaf) => (id, &**leaf),
            Node::Choice(_) => match self.decide(id, making) {
                Some(decided) => decided,
                None => return Value::Null,
            },
        };
        if let Some(trace) = &mut making.trace {
            trace.push((making.path.clone(), id));
        }
        if leaf.negatives.is_empty() {
            return self.plain(id, leaf, making);
        }
        let mut value = Value::Null;
        for _ in 0..6 {
            value = self.plain(id, leaf, making);
            if self.avoids(id, &value) {
                return value;
            }
        }
        self.break_negatives(id, leaf, value, making)
    }

    /// Walks down choices to a leaf.
    fn decide(&self, mut id: NodeId, making: &mut Making) -> Option<(NodeId, &Leaf)> {
        loop {
            let choice = match &self.graph.nodes[id] {
                Node::Never(_) => return None,
                Node::Leaf(leaf) => return Some((id, leaf)),
                Node::Choice(choice) => choice,
            };
            let alive = choice.branches.iter().map(|(_, id)| *id).filter(|id| self.graph.lives(*id));
            id = if making.spent() || making.mode == Mode::Maximal && making.stack.contains(&id) {
                alive.min_by_key(|id| self.graph.heights[*id])?
            } else if making.mode == Mode::Maximal {
                alive.max_by_key(|id| self.wealth(*id))?
            } else {
                let alive: Vec<NodeId> = alive.collect();
                *making.rng.pick(&alive)?
            };
        }
    }

    /// How much there is to show of a node, for the maximal value.
    fn wealth(&self, id: NodeId) -> usize {
        match &self.graph.nodes[id] {
            Node::Leaf(leaf) if leaf.usual & OBJECT != 0 => 2 + leaf.object.members.len(),
            Node::Leaf(leaf) if leaf.usual & ARRAY != 0 => 2,
            Node::Leaf(leaf) => usize::from(leaf.usual != NULL),
            Node::Choice(choice) => choice
                .branches
                .iter()
                .map(|(_, id)| match &self.graph.nodes[*id] {
                    // One level is enough; choices may lead back here.
                    Node::Choice(_) => 2,
                    _ => self.wealth(*id),
                })
                .max()
                .unwrap_or(0),
            Node::Never(_) => 0,
        }
    }

    /// A value that is valid but for matching what it must not: tries the ways in which that can be broken.
    fn break_negatives(&self, id: NodeId, leaf: &Leaf, value: Value, making: &mut Making) -> Value {
        thread_local! {
            // Ways to break a subschema are made of values, which may have something to break themselves, and so on
            // without end; one level finds what there is to find.
            static BUSY: Cell<bool> = const { Cell::new(false) };
        }
        if BUSY.replace(true) {
            return value;
        }
        let found = leaf.negatives.iter().find_map(|index| {
            let mut ways =
                boundary::ways_to_break(self, self.graph.negatives[*index].node, &value, boundary::BREAK_DEPTH);
            let start = making.rng.below(ways.len().max(1));
            ways.rotate_left(start);
            ways.into_iter().find(|way| self.avoids(id, way))
        });
        BUSY.set(false);
        found.unwrap_or(value)
    }

    fn plain(&self, id: NodeId, leaf: &Leaf, making: &mut Making) -> Value {
        if let Some(values) = &leaf.values {
            return match making.mode {
                Mode::Random => making.rng.pick(values).cloned(),
                _ => values.first().cloned(),
            }
            .unwrap_or(Value::Null);
        }
        let share = match making.mode {
            Mode::Random => 8,
            _ => 100,
        };
        if !leaf.examples.is_empty() && making.rng.chance(share) {
            let example = match making.mode {
                Mode::Random => making.rng.pick(&leaf.examples),
                _ => leaf.examples.first(),
            };
            if let Some(example) = example {
                return example.clone();
            }
        }
        let kind = self.pick_type(leaf, making);
        for _ in 0..8 {
            let value = self.of_type(id, leaf, kind, making);
            if !leaf.excluded.iter().any(|excluded| merge::same(excluded, &value)) {
                return value;
            }
            making.mode = if making.mode == Mode::Minimal { Mode::Random } else { making.mode };
        }
        self.of_type(id, leaf, kind, making)
    }

    fn pick_type(&self, leaf: &Leaf, making: &mut Making) -> u8 {
        let types = leaf.usual;
        if types.count_ones() == 1 {
            return types;
        }
        let some = types & !NULL;
        if types & NULL != 0 && making.mode == Mode::Random && making.rng.chance(10) {
            return NULL;
        }
        let order = match making.mode {
            Mode::Maximal => [OBJECT, ARRAY, STRING, INTEGER, FRACTION, BOOLEAN, NULL],
            _ => [STRING, INTEGER, FRACTION, BOOLEAN, OBJECT, ARRAY, NULL],
        };
        let mut kinds = order.into_iter().filter(|kind| kind & types != 0);
        if making.spent() {
            return kinds.min_by_key(|kind| self.graph.kind_height(leaf, *kind)).unwrap_or(NULL);
        }
        if making.mode != Mode::Random {
            return kinds.next().unwrap_or(NULL);
        }
        let mut kinds = [0u8; 7];
        let mut count = 0;
        for bit in [BOOLEAN, INTEGER, FRACTION, STRING, ARRAY, OBJECT] {
            if some & bit != 0 {
                kinds[count] = bit;
                count += 1;
            }
        }
        making.rng.pick(&kinds[..count]).copied().unwrap_or(types)
    }

    fn of_type(&self, id: NodeId, leaf: &Leaf, kind: u8, making: &mut Making) -> Value {
        let random = making.mode == Mode::Random;
        match kind {
            NULL => Value::Null,
            BOOLEAN => Value::Bool(if random { making.rng.chance(50) } else { true }),
            INTEGER => if random { leaf.number.whole(&mut making.rng) } else { leaf.number.plain(true, false) }
                .unwrap_or(Value::Null),
            FRACTION => if random { leaf.number.broken(&mut making.rng) } else { leaf.number.plain(false, true) }
                .unwrap_or(Value::Null),
            STRING => Value::String(self.string(leaf, making)),
            ARRAY => self.array(id, leaf, making),
            _ => self.object(id, leaf, making),
        }
    }

    fn string(&self, leaf: &Leaf, making: &mut Making) -> String {
        let rule = &leaf.string;
        if !rule.patterns.is_empty() || !rule.formats.is_empty() {
            let mut fixed = Rng::new(1, 1, 1);
            let rng = if making.mode == Mode::Random { &mut making.rng } else { &mut fixed };
            if let Some(text) = rule.make(rng, if making.mode == Mode::Random { 40 } else { 400 }) {
                return text;
            }
        }
        match making.mode {
            Mode::Random => text(&mut making.rng, rule.min, rule.max),
            _ => plain_text(rule.min, rule.max),
        }
    }

    /// An array of exactly so many items, outside of the array's own limits too; `None` if there are no such items.
    pub(crate) fn sized_array(&self, id: NodeId, leaf: &Leaf, length: usize) -> Option<Value> {
        let mut making = Making::new(Rng::new(5, length as u64, 0), Mode::Minimal);
        let value = self.array_of(id, leaf, length, &mut making);
        value.as_array().is_some_and(|items| items.len() == length).then_some(value)
    }

    fn array(&self, id: NodeId, leaf: &Leaf, making: &mut Making) -> Value {
        let wanted = self.array_length(id, leaf, making);
        self.array_of(id, leaf, wanted, making)
    }

    fn array_length(&self, id: NodeId, leaf: &Leaf, making: &mut Making) -> usize {
        let rule = &leaf.array;
        let most = rule.max.unwrap_or(LONGEST_ARRAY).min(LONGEST_ARRAY);
        let needed = rule.min.max(rule.contains.iter().map(|contains| contains.min).sum());
        let recursive = making.stack.contains(&id);
        let wanted = match making.mode {
            _ if making.spent() || recursive && making.mode == Mode::Maximal => needed,
            Mode::Minimal => needed,
            Mode::Maximal => needed.max(rule.prefix.len().max(1) as u64),
            Mode::Random => {
                let more = [0, 1, 1, 1, 2, 2, 3, 5][making.rng.below(8)];
                if rule.min == 0 && making.rng.chance(10) { 0 } else { (needed + more).max(1) }
            }
        };
        let wanted = wanted.min(most).max(rule.min.min(LONGEST_ARRAY)) as usize;
        match (rule.prefix.get(wanted.saturating_sub(1)), rule.items) {
            // Optional items that have no value end the array in front of them.
            _ if wanted == 0 => 0,
            (Some(_), _) => {
                let alive = rule.prefix.iter().take(wanted).take_while(|id| self.graph.lives(**id)).count();
                alive.max(rule.min as usize).min(wanted)
            }
            (None, Some(items)) if !self.graph.lives(items) => rule.prefix.len().min(wanted),
            _ => wanted,
        }
    }

    fn array_of(&self, id: NodeId, leaf: &Leaf, wanted: usize, making: &mut Making) -> Value {
        let rule = &leaf.array;
        let mut from = Vec::with_capacity(wanted);
        for index in 0..wanted {
            from.push(rule.prefix.get(index).copied().or(rule.items));
        }
        // Demanded items take the last places, where the other rules leave most freedom.
        let mut place = wanted;
        for contains in &rule.contains {
            for _ in 0..contains.min {
                place = place.saturating_sub(1);
                if let Some(slot) = from.get_mut(place) {
                    *slot = Some(contains.node);
                }
            }
        }
        let mut items: Vec<Value> = Vec::with_capacity(wanted);
        making.stack.push(id);
        making.depth += 1;
        for (index, node) in from.iter().enumerate() {
            let mut item = Value::Null;
            for attempt in 0..if rule.unique { 24 } else { 1 } {
                let before = making.step(&index);
                let mode = making.mode;
                // Equal plain items are told apart by chance.
                if attempt > 0 {
                    making.mode = Mode::Random;
                }
                let mark = making.trace.as_ref().map_or(0, Vec::len);
                item = match node {
                    Some(node) => self.make(*node, making),
                    None => Value::String(text(&mut making.rng, 1, Some(12))),
                };
                making.mode = mode;
                making.path.truncate(before);
                if !rule.unique || !items.iter().any(|known| merge::same(known, &item)) {
                    break;
                }
                if let Some(trace) = &mut making.trace {
                    trace.truncate(mark);
                }
            }
            if rule.unique && index >= rule.min as usize && items.iter().any(|known| merge::same(known, &item)) {
                break;
            }
            items.push(item);
        }
        making.depth -= 1;
        making.stack.pop();
        Value::Array(items)
    }

    fn object(&self, id: NodeId, leaf: &Leaf, making: &mut Making) -> Value {
        let rule = &leaf.object;
        let members = &rule.members;
        let recursive = making.stack.contains(&id);
        // How many optional members: often half, sometimes none or all.
        let share = match making.mode {
            Mode::Minimal => 0,
            Mode::Maximal if making.spent() || recursive => 0,
            Mode::Maximal => 100,
            Mode::Random => [0, 30, 50, 50, 50, 70, 90, 100][making.rng.below(8)],
        };
        let mut present: Vec<bool> = members
            .iter()
            .map(|member| {
                member.required || self.graph.lives(member.node) && making.rng.chance(share) && !making.spent()
            })
            .collect();
        let mut count = present.iter().filter(|present| **present).count();
        if (count as u64) < rule.min {
            let mut order = self.graph.flattest_optional(leaf);
            order.retain(|index| !present[*index]);
            if !making.spent() && !order.is_empty() {
                let start = making.rng.below(order.len());
                order.rotate_left(start);
            }
            for index in order.into_iter().take((rule.min - count as u64) as usize) {
                present[index] = true;
            }
        }
        if !rule.dependent.is_empty() {
            self.follow_dependents(leaf, &mut present);
        }
        count = present.iter().filter(|present| **present).count();
        if let Some(max) = rule.max
            && count as u64 > max
        {
            for index in (0..members.len()).rev() {
                if count as u64 > max && present[index] && !members[index].required {
                    present[index] = false;
                    count -= 1;
                }
            }
            self.drop_dependents(leaf, &mut present);
        }
        let mut map = Map::with_capacity(count + 1);
        making.stack.push(id);
        making.depth += 1;
        for (member, _) in members.iter().zip(&present).filter(|(_, present)| **present) {
            let before = making.step(&member.name);
            let value = self.make(member.node, making);
            making.path.truncate(before);
            map.insert(member.name.clone(), value);
        }
        self.add_others(leaf, &mut map, making);
        making.depth -= 1;
        making.stack.pop();
        Value::Object(map)
    }

    /// Adds what members call for; a member that calls for something without a value goes.
    fn follow_dependents(&self, leaf: &Leaf, present: &mut [bool]) {
        let members = &leaf.object.members;
        let place = |name: &str| members.iter().position(|member| member.name == name);
        loop {
            let mut changed = false;
            for (name, others) in &leaf.object.dependent {
                let Some(index) = place(name).filter(|index| present[*index]) else { continue };
                let others: Vec<usize> = others.iter().filter_map(|name| place(name)).collect();
                if others.iter().any(|other| !self.graph.lives(members[*other].node)) && !members[index].required {
                    present[index] = false;
                    // Whatever it had called for may stay: nothing forbids it.
                    continue;
                }
                for other in others {
                    changed |= !std::mem::replace(&mut present[other], true);
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn drop_dependents(&self, leaf: &Leaf, present: &mut [bool]) {
        let place = |name: &str| leaf.object.members.iter().position(|member| member.name == name);
        for _ in 0..leaf.object.dependent.len() + 1 {
            for (name, others) in &leaf.object.dependent {
                let Some(index) = place(name) else { continue };
                let missing = others.iter().any(|other| place(other).is_none_or(|other| !present[other]));
                if present[index] && missing && !leaf.object.members[index].required {
                    present[index] = false;
                }
            }
        }
    }

    /// Members that no name in the schema stands for.
    fn add_others(&self, leaf: &Leaf, map: &mut Map<String, Value>, making: &mut Making) {
        let rule = &leaf.object;
        let missing = (rule.min as usize).saturating_sub(map.len());
        let room = rule.max.map_or(usize::MAX, |max| (max as usize).saturating_sub(map.len()));
        let free = rule.additional.is_none_or(|id| self.graph.lives(id));
        if !free && !rule.patterns.iter().any(|(_, node)| self.graph.lives(*node)) {
            return;
        }
        let wanted = match making.mode {
            _ if !rule.invites => missing,
            Mode::Minimal => missing,
            Mode::Maximal => missing.max(usize::from(!making.spent())),
            Mode::Random if making.spent() => missing,
            Mode::Random => missing.max([0, 1, 1, 2][making.rng.below(4)]),
        }
        .min(room);
        let start = map.len();
        for _ in 0..8 * wanted + 8 {
            if map.len() - start >= wanted {
                return;
            }
            self.add_one(leaf, map, making);
        }
    }

    /// Tries to add one member that no name in the schema stands for.
    pub(crate) fn add_one(&self, leaf: &Leaf, map: &mut Map<String, Value>, making: &mut Making) {
        let rule = &leaf.object;
        let free = rule.additional.is_none_or(|id| self.graph.lives(id));
        let alive = |(_, node): &&(Pattern, NodeId)| self.graph.lives(*node);
        let count = rule.patterns.iter().filter(alive).count();
        let by_pattern = count > 0 && (!free || making.rng.chance(50));
        let (name, node) = if by_pattern {
            let Some((pattern, node)) = rule.patterns.iter().filter(alive).nth(making.rng.below(count)) else { return };
            let name = pattern.generate(&mut making.rng, 1, 24).or_else(|| pattern.generate(&mut making.rng, 0, 64));
            let Some(name) = name else { return };
            (name, Some(*node))
        } else {
            let name = match rule.names {
                Some(names) => match self.make(names, making) {
                    Value::String(name) => name,
                    _ => return,
                },
                None => format!("{}{}", formats::word(&mut making.rng), making.rng.below(100)),
            };
            if rule.patterns.iter().any(|(pattern, _)| pattern.is_match(&name)) {
                return;
            }
            (name, rule.additional)
        };
        if map.contains_key(&name) || rule.members.iter().any(|member| member.name == name) {
            return;
        }
        let before = making.step(&name);
        let value = match node {
            Some(node) => self.make(node, making),
            None => Value::String(text(&mut making.rng, 1, Some(12))),
        };
        making.path.truncate(before);
        map.insert(name, value);
    }
}

/// A short string that nobody minds.
pub(crate) fn plain_text(min: u64, max: Option<u64>) -> String {
    let length = min.max(1).min(max.unwrap_or(u64::MAX));
    "text".chars().cycle().take(length.max(if min <= 4 { max.unwrap_or(4).min(4) } else { min }) as usize).collect()
}

/// A string with a length in the limits: mostly readable, sometimes foreign, sometimes tricky to quote.
pub(crate) fn text(rng: &mut Rng, min: u64, max: Option<u64>) -> String {
    const FOREIGN: [&str; 14] =
        ["é", "ß", "Ж", "ن", "שלום", "漢字", "한글", "e\u{301}", "😀", "👩‍💻", "Ω", "—", "ñ", "\u{1d11e}"];
    const TRICKY: [&str; 20] = [
        "\"", "'", "\\", "%", "+", " ", "00", "&", "<b>", "%20", "=", "?", "#", "/", ",", ";", "null", "{}", "-1", "..",
    ];
    let most = max.unwrap_or(u64::MAX);
    let length = match rng.below(100) {
        0..3 => min,
        3..6 => most.min(min + 64),
        6..10 => most.min(min + rng.below(200) as u64),
        _ => most.min(min.max(1) + rng.below(14) as u64),
    };
    let length = length.max(min) as usize;
    let style = rng.below(100);
    let mut out = String::with_capacity(length + 8);
    let mut count = 0;
    while count < length {
        let piece = match style {
            0..62 => {
                if !out.is_empty() && !out.ends_with(' ') {
                    " "
                } else {
                    formats::word(rng)
                }
            }
            62..78 => {
                const ALPHANUMERIC: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
                for _ in count..length {
                    out.push(char::from(ALPHANUMERIC[rng.below(ALPHANUMERIC.len())]));
                }
                break;
            }
            78..90 if rng.chance(40) => FOREIGN[rng.below(FOREIGN.len())],
            90.. if rng.chance(40) => TRICKY[rng.below(TRICKY.len())],
            _ => formats::word(rng),
        };
        for letter in piece.chars().take(length - count) {
            out.push(letter);
            count += 1;
        }
    }
    // Surrounding blanks are taken away by many readers, which is a case of its own and not for every string.
    if out.ends_with(' ') && length > 0 {
        out.pop();
        out.push('x');
    }
    if out.starts_with(' ') && length > 0 {
        out.replace_range(..1, "x");
    }
    out
}

/// Compiles the validator; keywords that are not JSON Schema are left out and reported.
fn compile(schema: &Value) -> Result<(Validator, Vec<Unsatisfiable>), Unsatisfiable> {
    let mut broken: Vec<Unsatisfiable> = Vec::new();
    // Each round takes one keyword out; documents with more than this many mistakes are refused.
    for _ in 0..64 {
        let places = broken.iter().map(|problem| problem.pointer.clone()).collect();
        match trueline_spec::schema::validator(&without(schema, &places)) {
            Ok(validator) => return Ok((validator, broken)),
            Err((message, pointer)) => {
                let problem =
                    Unsatisfiable { reason: format!("not valid JSON Schema: {}", shorten(&message)), pointer };
                let keyword = problem.pointer.rsplit('/').next().unwrap_or_default();
                if keyword != "pattern" || places.contains(&problem.pointer) {
                    return Err(problem);
                }
                broken.push(problem);
            }
        }
    }
    Err(broken.swap_remove(0))
}

/// The schema without keywords that are broken.
fn without<'s>(schema: &'s Value, broken: &HashSet<String>) -> Cow<'s, Value> {
    if broken.is_empty() {
        return Cow::Borrowed(schema);
    }
    let mut schema = schema.clone();
    for pointer in broken {
        if let Some((parent, keyword)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = schema.pointer_mut(parent)
        {
            parent.shift_remove(keyword);
        }
    }
    Cow::Owned(schema)
}

/// A JSON Pointer as a URI fragment.
fn encode_fragment(pointer: &str) -> String {
    percent_encoding::utf8_percent_encode(pointer, FRAGMENT).to_string()
}

const FRAGMENT: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'%')
    .add(b'#')
    .add(b'^')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'[')
    .add(b']');

/// The beginning of a message; validators print whole values.
fn shorten(message: &str) -> String {
    match message.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// See [`Generator::valid`].
#[derive(Debug)]
pub(crate) struct ValidStrategy {
    pub(crate) generator: Generator,
}

impl Strategy for ValidStrategy {
    type Tree = ValidTree;
    type Value = Value;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        use proptest::prelude::Rng as _;
        let (seed, index) = (runner.rng().next_u64(), runner.rng().next_u64());
        Ok(ValidTree {
            best: self.generator.sample(seed, index),
            generator: self.generator.clone(),
            tried: 0,
            trial: None,
        })
    }
}

/// A valid value and the smaller valid ones.
pub(crate) struct ValidTree {
    generator: Generator,
    /// The smallest value that is known to fail.
    best: Value,
    /// How many of its candidates were tried.
    tried: usize,
    trial: Option<Value>,
}

impl ValidTree {
    fn next_trial(&mut self) -> bool {
        let generator = &self.generator;
        let found = shrink::shrink(&self.best)
            .enumerate()
            .skip(self.tried)
            .find(|(_, candidate)| generator.is_valid(candidate));
        match found {
            Some((index, candidate)) => {
                self.tried = index + 1;
                self.trial = Some(candidate);
                true
            }
            None => {
                self.trial = None;
                false
            }
        }
    }
}

impl ValueTree for ValidTree {
    type Value = Value;

    fn current(&self) -> Value {
        self.trial.as_ref().unwrap_or(&self.best).clone()
    }

    fn simplify(&mut self) -> bool {
        if let Some(trial) = self.trial.take() {
            self.best = trial;
            self.tried = 0;
        }
        self.next_trial()
    }

    fn complicate(&mut self) -> bool {
        self.next_trial()
    }
}

impl fmt::Debug for ValidTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidTree").field("best", &self.best).field("tried", &self.tried).finish_non_exhaustive()
    }
}
