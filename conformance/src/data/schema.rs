//! The schema as a graph of merged parts.
//!
//! A JSON Schema says what must hold by adding assertions up; a generator needs the opposite, everything that holds at one
//! place in one record. So every node of the graph is a *conjunction*: a set of subschemas of the source, named by their
//! JSON Pointers, that must hold together. References and `allOf` are merged into it. Where there is a choice (`anyOf`,
//! `oneOf`, a condition, a discriminator) the node becomes a [`Choice`] of nodes that each have one more decision made.
//! Equal conjunctions are one node, so recursive schemas become cycles, and the graph is finite.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};

use crate::data::Unsatisfiable;
use crate::data::number::NumberRule;
use crate::data::regex::Pattern;

/// Index of a node.
pub(crate) type NodeId = usize;

/// JSON types, one bit each; a whole number is [`INTEGER`] and any other number is [`FRACTION`].
pub(crate) const NULL: u8 = 1;
pub(crate) const BOOLEAN: u8 = 2;
pub(crate) const INTEGER: u8 = 4;
pub(crate) const FRACTION: u8 = 8;
pub(crate) const STRING: u8 = 16;
pub(crate) const ARRAY: u8 = 32;
pub(crate) const OBJECT: u8 = 64;
pub(crate) const NUMBER: u8 = INTEGER | FRACTION;
pub(crate) const ANY: u8 = 127;

/// Longest string and longest array that is worth building; a schema that demands more is reported.
pub(crate) const LONGEST_STRING: u64 = 1 << 20;
pub(crate) const LONGEST_ARRAY: u64 = 1 << 14;

/// A schema that makes more parts than this is too large to plan; real documents stay under a tenth of it.
const MOST_NODES: usize = 60_000;

/// Decisions of one place are all tried together up to this many combinations, then only in a covering way.
const MOST_COMBINATIONS: usize = 48;

/// JSON readers stop at 128 levels (serde_json, among others); a value that needs more is no use, and this leaves room.
const DEEPEST: u32 = 100;

/// A value with more parts than this is a load test and not a test of the contract.
const BIGGEST: u64 = 50_000;

/// Without end: no finite value.
pub(crate) const ENDLESS: u32 = u32::MAX;

/// The merged schema.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// How deep the flattest value of each node is; [`ENDLESS`] for nodes without a value.
    pub(crate) heights: Vec<u32>,
    /// How many parts the smallest value of each node has.
    sizes: Vec<u64>,
    pub(crate) root: NodeId,
    /// Subschemas that values of some node must not match.
    pub(crate) negatives: Vec<Negative>,
    /// Nodes that were tried and given up, and why.
    pub(crate) dead: BTreeMap<NodeId, Unsatisfiable>,
}

/// A subschema that must not match.
pub(crate) struct Negative {
    pub(crate) pointer: String,
    /// The subschema as a node of its own, to find out how it can be broken.
    pub(crate) node: NodeId,
}

/// A place's whole meaning.
pub(crate) enum Node {
    /// No value.
    Never(Unsatisfiable),
    /// One of several.
    Choice(Choice),
    /// No choice left.
    Leaf(Box<Leaf>),
}

/// Several ways, of which one is taken.
pub(crate) struct Choice {
    /// The keyword that makes the choice.
    pub(crate) keyword: &'static str,
    pub(crate) branches: Vec<(String, NodeId)>,
}

/// Everything that holds at a place.
pub(crate) struct Leaf {
    /// One of the subschemas that were merged, for messages.
    pub(crate) pointer: String,
    /// Pointers of all subschemas that were merged.
    pub(crate) sources: Vec<String>,
    /// Types that the schema allows.
    pub(crate) types: u8,
    /// Types that values are made of: the allowed ones that the other keywords speak of.
    pub(crate) usual: u8,
    /// `enum` and `const`.
    pub(crate) values: Option<Vec<Value>>,
    /// Values that a negated `enum` or `const` takes away.
    pub(crate) excluded: Vec<Value>,
    /// `default`, `example` and `examples`.
    pub(crate) examples: Vec<Value>,
    pub(crate) number: NumberRule,
    pub(crate) string: StringRule,
    pub(crate) array: ArrayRule,
    pub(crate) object: ObjectRule,
    /// Indices in [`Graph::negatives`].
    pub(crate) negatives: Vec<usize>,
}

/// What a string must be.
#[derive(Default)]
pub(crate) struct StringRule {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) formats: Vec<String>,
}

/// What an array must be.
#[derive(Default)]
pub(crate) struct ArrayRule {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    pub(crate) unique: bool,
    pub(crate) prefix: Vec<NodeId>,
    /// Of every further item; `None` if anything goes.
    pub(crate) items: Option<NodeId>,
    pub(crate) contains: Vec<Contains>,
}

/// Items that must be among the others.
pub(crate) struct Contains {
    pub(crate) node: NodeId,
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
}

/// What an object must be.
#[derive(Default)]
pub(crate) struct ObjectRule {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    /// Every member that the schema names.
    pub(crate) members: Vec<Member>,
    /// Members by pattern of their name.
    pub(crate) patterns: Vec<(Pattern, NodeId)>,
    /// Members that nothing else speaks of; `None` if anything goes.
    pub(crate) additional: Option<NodeId>,
    /// Whether the schema invites further members: it is a map.
    pub(crate) invites: bool,
    /// What a member's name must be.
    pub(crate) names: Option<NodeId>,
    /// If the first is there, the others must be.
    pub(crate) dependent: Vec<(String, Vec<String>)>,
    /// The member that a discriminator reads.
    pub(crate) discriminator: Option<String>,
}

/// A named member.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) required: bool,
}

impl Leaf {
    /// The types that values may be of, all scalars as one.
    fn kinds(&self) -> u8 {
        let scalars = if self.types & !(ARRAY | OBJECT) != 0 { STRING } else { 0 };
        scalars | self.types & (ARRAY | OBJECT)
    }

    /// What an array or an object cannot be without, and how many of it.
    fn needed(&self, kind: u8) -> impl Iterator<Item = (NodeId, u64)> {
        let (array, object) = (kind == ARRAY, kind == OBJECT);
        let least = if array { self.array.min.min(LONGEST_ARRAY) } else { 0 };
        let prefix = self.array.prefix.iter().take(least as usize).map(|id| (*id, 1));
        let rest = least.saturating_sub(self.array.prefix.len() as u64);
        let items = self.array.items.filter(|_| rest > 0).map(|id| (id, rest));
        let contains = self.array.contains.iter().filter(move |contains| array && contains.min > 0);
        let members = self.object.members.iter().filter(move |member| object && member.required);
        prefix
            .chain(items)
            .chain(contains.map(|contains| (contains.node, contains.min)))
            .chain(members.map(|member| (member.node, 1)))
    }
}

impl Graph {
    /// Merges a standalone schema. `broken` are the places of keywords that are not valid JSON Schema.
    pub(crate) fn new(schema: &Value, broken: &HashSet<String>) -> Graph {
        let mut builder = Builder {
            root: schema,
            broken,
            sources: IndexMap::new(),
            ids: HashMap::new(),
            keys: Vec::new(),
            negatives: IndexMap::new(),
            negative_nodes: Vec::new(),
        };
        let start = builder.source(String::new(), schema);
        let root = builder.node(vec![Item::Source(start)]);
        let mut nodes = Vec::new();
        while nodes.len() < builder.keys.len() {
            let key = builder.keys[nodes.len()].clone();
            nodes.push(builder.build(&key));
        }
        let negatives = builder
            .negatives
            .keys()
            .zip(&builder.negative_nodes)
            .map(|(source, &node)| Negative { pointer: builder.pointer(*source), node })
            .collect();
        let mut graph = Graph { heights: Vec::new(), sizes: Vec::new(), nodes, root, negatives, dead: BTreeMap::new() };
        graph.measure_heights();
        graph
    }

    /// Finds out which nodes have values; dead ones have none.
    pub(crate) fn measure_heights(&mut self) {
        loop {
            self.heights = vec![ENDLESS; self.nodes.len()];
            self.settle(|graph, id| {
                let height = graph.height_now(id);
                let lower = height < graph.heights[id];
                if lower {
                    graph.heights[id] = height;
                }
                lower
            });
            self.sizes = vec![u64::MAX; self.nodes.len()];
            self.settle(|graph, id| {
                let size = graph.size_now(id);
                let smaller = size < graph.sizes[id];
                if smaller {
                    graph.sizes[id] = size;
                }
                smaller
            });
            let before = self.dead.len();
            for id in 0..self.nodes.len() {
                let reason = match (self.heights[id], self.sizes[id]) {
                    (ENDLESS, _) => continue,
                    (DEEPEST.., _) => {
                        format!("its flattest value is {} levels deep, {DEEPEST} is the limit", self.heights[id])
                    }
                    (_, BIGGEST..) => format!("its smallest value has more than {BIGGEST} parts"),
                    _ => continue,
                };
                self.dead.insert(id, Unsatisfiable { pointer: self.pointer_of(id), reason });
            }
            if self.dead.len() == before {
                return;
            }
        }
    }

    /// Repeats a step over all nodes until it changes nothing. Each node's figure only falls, and real ones are small.
    fn settle(&mut self, step: impl Fn(&mut Graph, NodeId) -> bool) {
        loop {
            let mut changed = false;
            for id in (0..self.nodes.len()).rev() {
                changed |= step(self, id);
            }
            if !changed {
                return;
            }
        }
    }

    fn height_now(&self, id: NodeId) -> u32 {
        if self.dead.contains_key(&id) {
            return ENDLESS;
        }
        match &self.nodes[id] {
            Node::Never(_) => ENDLESS,
            Node::Choice(choice) => choice.branches.iter().map(|(_, id)| self.heights[*id]).min().unwrap_or(ENDLESS),
            Node::Leaf(leaf) => {
                let kinds = [STRING, ARRAY, OBJECT].into_iter().filter(|kind| leaf.kinds() & kind != 0);
                kinds.map(|kind| self.kind_height(leaf, kind)).min().unwrap_or(ENDLESS)
            }
        }
    }

    /// How deep the flattest value of one type is; every scalar is as flat as a string.
    pub(crate) fn kind_height(&self, leaf: &Leaf, kind: u8) -> u32 {
        if leaf.values.is_some() || kind & (ARRAY | OBJECT) == 0 {
            return 0;
        }
        let (filling, unnamed) = self.filling(leaf, kind);
        let inside = leaf.needed(kind).chain(filling).map(|(id, _)| self.heights[id]);
        inside.chain((unnamed > 0).then_some(0)).max().map_or(0, |height| height.saturating_add(1))
    }

    fn size_now(&self, id: NodeId) -> u64 {
        match &self.nodes[id] {
            _ if !self.lives(id) => u64::MAX,
            Node::Never(_) => u64::MAX,
            Node::Choice(choice) => choice.branches.iter().map(|(_, id)| self.sizes[*id]).min().unwrap_or(u64::MAX),
            Node::Leaf(leaf) if leaf.values.is_some() => 1,
            Node::Leaf(leaf) => {
                let kinds = [STRING, ARRAY, OBJECT].into_iter().filter(|kind| leaf.kinds() & kind != 0);
                let size = |kind: u8| match kind {
                    // A long string is as much work as many short ones.
                    STRING => 1 + leaf.string.min / 64,
                    kind => {
                        let (filling, unnamed) = self.filling(leaf, kind);
                        leaf.needed(kind).chain(filling).fold(1 + unnamed, |size, (id, count)| {
                            size.saturating_add(self.sizes[id].saturating_mul(count))
                        })
                    }
                };
                kinds.map(size).min().unwrap_or(u64::MAX)
            }
        }
    }

    /// What an object without optional members lacks to `minProperties`, made up with the flattest that there are; and how
    /// many members without name and schema come on top.
    fn filling(&self, leaf: &Leaf, kind: u8) -> (Vec<(NodeId, u64)>, u64) {
        let mut found = Vec::new();
        let members = &leaf.object.members;
        let required = members.iter().filter(|member| member.required).count() as u64;
        let mut missing = leaf.object.min.saturating_sub(required);
        if kind != OBJECT || missing == 0 {
            return (found, 0);
        }
        for index in self.flattest_optional(leaf).into_iter().take(missing as usize) {
            missing -= 1;
            found.extend(self.with_dependents(leaf, index).into_iter().map(|index| (members[index].node, 1)));
        }
        match leaf.object.additional {
            Some(id) if missing > 0 => {
                found.push((id, missing));
                (found, 0)
            }
            _ => (found, missing),
        }
    }

    /// Positions of the optional members that have values, the flattest first; those that are deeper than members without
    /// a name, where there may be such, are left out.
    pub(crate) fn flattest_optional(&self, leaf: &Leaf) -> Vec<usize> {
        let members = &leaf.object.members;
        let optional = |index: &usize| !members[*index].required && self.lives(members[*index].node);
        let height = |index: usize| {
            self.with_dependents(leaf, index)
                .into_iter()
                .map(|index| self.heights[members[index].node])
                .max()
                .unwrap_or(0)
        };
        let unnamed = match leaf.object.additional {
            None => 0,
            Some(id) => self.heights[id],
        };
        let mut found: Vec<(u32, usize)> =
            (0..members.len()).filter(optional).map(|index| (height(index), index)).collect();
        found.retain(|(height, _)| *height <= unnamed);
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    }

    /// A member and those that it calls for, and so on.
    fn with_dependents(&self, leaf: &Leaf, index: usize) -> Vec<usize> {
        let members = &leaf.object.members;
        let mut found = vec![index];
        let mut next = 0;
        while next < found.len() {
            let name = &members[found[next]].name;
            for other in
                leaf.object.dependent.iter().filter(|(trigger, _)| trigger == name).flat_map(|(_, others)| others)
            {
                if let Some(place) = members.iter().position(|member| member.name == *other)
                    && !found.contains(&place)
                {
                    found.push(place);
                }
            }
            next += 1;
        }
        found
    }

    /// Takes types off that a leaf allows but has no value of.
    pub(crate) fn drop_dead_types(&mut self) {
        for id in 0..self.nodes.len() {
            let Node::Leaf(leaf) = &self.nodes[id] else { continue };
            let gone = [ARRAY, OBJECT].into_iter().filter(|kind| self.kind_height(leaf, *kind) == ENDLESS).sum::<u8>();
            if let Node::Leaf(leaf) = &mut self.nodes[id]
                && leaf.usual & !gone != 0
            {
                leaf.usual &= !gone;
            }
        }
    }

    /// Whether a node has values.
    pub(crate) fn lives(&self, id: NodeId) -> bool {
        self.heights[id] != ENDLESS
    }

    /// Why a node has no value.
    pub(crate) fn explain(&self, id: NodeId) -> Unsatisfiable {
        let mut seen = HashSet::new();
        self.explain_in(id, &mut seen).unwrap_or_else(|| Unsatisfiable {
            pointer: self.pointer_of(id),
            reason: "it requires itself without end".into(),
        })
    }

    fn pointer_of(&self, id: NodeId) -> String {
        match &self.nodes[id] {
            Node::Never(problem) => problem.pointer.clone(),
            Node::Leaf(leaf) => leaf.pointer.clone(),
            Node::Choice(choice) => choice.branches.first().map(|(_, id)| self.pointer_of(*id)).unwrap_or_default(),
        }
    }

    fn explain_in(&self, id: NodeId, seen: &mut HashSet<NodeId>) -> Option<Unsatisfiable> {
        if self.lives(id) || !seen.insert(id) {
            return None;
        }
        if let Some(problem) = self.dead.get(&id) {
            return Some(problem.clone());
        }
        match &self.nodes[id] {
            Node::Never(problem) => Some(problem.clone()),
            Node::Choice(choice) => choice.branches.iter().find_map(|(_, id)| self.explain_in(*id, seen)),
            Node::Leaf(leaf) => {
                let members = leaf.object.members.iter().filter(|member| member.required).map(|member| member.node);
                let items = leaf.array.prefix.iter().copied().chain(leaf.array.items);
                let contains = leaf.array.contains.iter().map(|contains| contains.node);
                members
                    .chain(items)
                    .chain(contains)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .find_map(|id| self.explain_in(id, seen))
            }
        }
    }

    /// Places that the schema names but that no value has.
    pub(crate) fn dead_parts(&self) -> Vec<Unsatisfiable> {
        let mut found = IndexSet::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if !self.lives(id) {
                continue;
            }
            let mut report = |id: NodeId| {
                // A schema that is plainly `false` says on purpose that the place stays empty.
                if !self.lives(id) && !matches!(&self.nodes[id], Node::Never(problem) if problem.reason == FORBIDDEN) {
                    let problem = self.explain(id);
                    found.insert((problem.pointer, problem.reason));
                }
            };
            match node {
                Node::Never(_) => {}
                // Branches that contradict their surroundings are how documents write conditions.
                Node::Choice(_) => {}
                Node::Leaf(leaf) => {
                    leaf.object.members.iter().for_each(|member| report(member.node));
                    leaf.object.patterns.iter().for_each(|(_, node)| report(*node));
                    leaf.object.additional.into_iter().for_each(&mut report);
                    leaf.array.items.into_iter().for_each(&mut report);
                }
            }
        }
        found.into_iter().map(|(pointer, reason)| Unsatisfiable { pointer, reason }).collect()
    }
}

/// The reason of a `false` schema.
const FORBIDDEN: &str = "the schema is `false`";

/// Part of a conjunction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Item {
    /// This subschema holds.
    Source(usize),
    /// A decision: of the choice that stands in a subschema, this branch.
    Pick(usize, ChoiceKind, usize),
    /// One of these strings, unless the schema says otherwise.
    Prefer(Vec<String>),
    /// A string.
    Text,
}

/// What makes a choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ChoiceKind {
    AnyOf,
    OneOf,
    If,
    Dependent(String),
    Discriminator,
}

impl ChoiceKind {
    fn keyword(&self) -> &'static str {
        match self {
            ChoiceKind::AnyOf => "anyOf",
            ChoiceKind::OneOf => "oneOf",
            ChoiceKind::If => "if",
            ChoiceKind::Dependent(_) => "dependentSchemas",
            ChoiceKind::Discriminator => "discriminator",
        }
    }
}

pub(crate) struct Builder<'a> {
    root: &'a Value,
    pub(crate) broken: &'a HashSet<String>,
    /// Subschemas by pointer.
    sources: IndexMap<String, &'a Value>,
    ids: HashMap<Vec<Item>, NodeId>,
    keys: Vec<Vec<Item>>,
    /// Negated sources, each with its index in the graph's negatives.
    negatives: IndexMap<usize, usize>,
    negative_nodes: Vec<NodeId>,
}

/// A choice that was not made yet: where it stands, and its branches with their labels.
pub(crate) type Open = (usize, ChoiceKind, Vec<(String, usize)>);

/// A conjunction with references and `allOf` followed.
#[derive(Default)]
pub(crate) struct Flat<'a> {
    /// In the order they were met.
    pub(crate) schemas: Vec<(usize, &'a Map<String, Value>)>,
    pub(crate) seen: HashSet<usize>,
    pub(crate) never: Option<Unsatisfiable>,
    pub(crate) negatives: Vec<usize>,
    pub(crate) required: IndexSet<String>,
    pub(crate) forbidden: BTreeSet<String>,
    pub(crate) preferred: Option<Vec<String>>,
    /// Values for discriminator members.
    pub(crate) pins: IndexMap<String, Vec<String>>,
    pub(crate) text: bool,
    pub(crate) open: Option<Open>,
    pub(crate) excluded: Vec<Value>,
    pub(crate) untyped: u8,
}

impl<'a> Builder<'a> {
    pub(crate) fn source(&mut self, pointer: String, value: &'a Value) -> usize {
        let entry = self.sources.entry(pointer);
        let index = entry.index();
        entry.or_insert(value);
        index
    }

    pub(crate) fn child(&mut self, parent: usize, steps: &[&str], value: &'a Value) -> usize {
        let mut pointer = self.pointer(parent);
        for step in steps {
            pointer.push('/');
            pointer.push_str(&escape(step));
        }
        self.source(pointer, value)
    }

    pub(crate) fn pointer(&self, source: usize) -> String {
        self.sources.get_index(source).map(|(pointer, _)| pointer.clone()).unwrap_or_default()
    }

    pub(crate) fn value(&self, source: usize) -> &'a Value {
        self.sources[source]
    }

    pub(crate) fn node(&mut self, mut key: Vec<Item>) -> NodeId {
        key.sort_unstable();
        key.dedup();
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = self.keys.len();
        self.keys.push(key.clone());
        self.ids.insert(key, id);
        id
    }

    fn negative(&mut self, source: usize) -> usize {
        if let Some(index) = self.negatives.get(&source) {
            return *index;
        }
        let index = self.negatives.len();
        self.negatives.insert(source, index);
        let node = self.node(vec![Item::Source(source)]);
        self.negative_nodes.push(node);
        index
    }

    /// What a reference names.
    fn target(&mut self, reference: &str) -> Option<usize> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() {
            return Some(self.source(String::new(), self.root));
        }
        if !fragment.starts_with('/') {
            let (pointer, value) = find_anchor(self.root, fragment, String::new())?;
            return Some(self.source(pointer, value));
        }
        let pointer = percent_encoding::percent_decode_str(fragment).decode_utf8().ok()?.into_owned();
        let value = self.root.pointer(&pointer)?;
        Some(self.source(pointer, value))
    }

    fn build(&mut self, key: &[Item]) -> Node {
        let pointer = key
            .iter()
            .find_map(|item| match item {
                Item::Source(source) => Some(self.pointer(*source)),
                _ => None,
            })
            .unwrap_or_default();
        if self.keys.len() > MOST_NODES {
            let reason = format!("the schema unfolds into more than {MOST_NODES} parts");
            return Node::Never(Unsatisfiable { pointer, reason });
        }
        let flat = self.flatten(key);
        if let Some(never) = flat.never {
            return Node::Never(never);
        }
        if let Some((source, kind, branches)) = flat.open {
            return self.choice(key, source, kind, branches);
        }
        match self.leaf(pointer, flat) {
            Ok(leaf) => Node::Leaf(Box::new(leaf)),
            Err(never) => Node::Never(never),
        }
    }

    fn choice(&mut self, key: &[Item], source: usize, kind: ChoiceKind, branches: Vec<(String, usize)>) -> Node {
        let keyword = kind.keyword();
        let picks: Vec<usize> = key
            .iter()
            .filter_map(|item| match item {
                Item::Pick(_, _, index) => Some(*index),
                _ => None,
            })
            .collect();
        // Earlier decisions multiply; past the limit each combination of them takes only two of the branches, shifted
        // from one combination to the next, so that every branch still comes up.
        let crowded =
            branches.len().saturating_mul(1 << (2 * picks.len()).min(20)) > MOST_COMBINATIONS && !picks.is_empty();
        let start = picks.iter().sum::<usize>();
        let count = branches.len();
        let branches = branches
            .into_iter()
            .enumerate()
            .filter(|(position, _)| !crowded || (position + count - start % count) % count < 2)
            .map(|(_, (label, index))| {
                let mut key = key.to_vec();
                key.push(Item::Pick(source, kind.clone(), index));
                (label, self.node(key))
            })
            .collect();
        Node::Choice(Choice { keyword, branches })
    }

    fn flatten(&mut self, key: &[Item]) -> Flat<'a> {
        let mut flat = Flat { untyped: ANY, ..Flat::default() };
        for item in key {
            match item {
                Item::Source(source) => self.flatten_source(*source, key, &mut flat, 0),
                Item::Pick(..) => {}
                Item::Prefer(names) => flat.preferred = Some(names.clone()),
                Item::Text => flat.text = true,
            }
        }
        if flat.never.is_none() && flat.open.is_none() {
            self.discriminate(key, &mut flat);
        }
        flat
    }

    fn flatten_source(&mut self, source: usize, key: &[Item], flat: &mut Flat<'a>, depth: usize) {
        if flat.never.is_some() || !flat.seen.insert(source) {
            return;
        }
        let map = match self.value(source) {
            Value::Bool(true) => return,
            Value::Object(map) => map,
            Value::Bool(false) => {
                flat.never = Some(Unsatisfiable { pointer: self.pointer(source), reason: FORBIDDEN.into() });
                return;
            }
            _ => {
                let reason = "it is neither an object nor a boolean".into();
                flat.never = Some(Unsatisfiable { pointer: self.pointer(source), reason });
                return;
            }
        };
        // Chains of references as long as this are not written by people; the bound keeps the stack safe.
        if depth > 256 {
            let reason = "references and `allOf` nest too deeply".into();
            flat.never = Some(Unsatisfiable { pointer: self.pointer(source), reason });
            return;
        }
        flat.schemas.push((source, map));
        for keyword in ["$ref", "$dynamicRef"] {
            let Some(reference) = map.get(keyword).and_then(Value::as_str) else { continue };
            match self.target(reference) {
                Some(target) => self.flatten_source(target, key, flat, depth + 1),
                None => {
                    let pointer = format!("{}/{keyword}", self.pointer(source));
                    let reason = format!("the reference `{reference}` leads nowhere");
                    flat.never = Some(Unsatisfiable { pointer, reason });
                }
            }
        }
        for (index, part) in array(map, "allOf").iter().enumerate() {
            let part = self.child(source, &["allOf", &index.to_string()], part);
            self.flatten_source(part, key, flat, depth + 1);
        }
        if let Some(negated) = map.get("not") {
            let negated_source = self.child(source, &["not"], negated);
            self.negate(negated_source, negated, flat);
        }
        self.flatten_alternatives(source, map, key, flat, depth);
        self.flatten_conditions(source, map, key, flat, depth);
    }

    fn flatten_alternatives(
        &mut self,
        source: usize,
        map: &'a Map<String, Value>,
        key: &[Item],
        flat: &mut Flat<'a>,
        depth: usize,
    ) {
        for kind in [ChoiceKind::AnyOf, ChoiceKind::OneOf] {
            let keyword = kind.keyword();
            let branches = array(map, keyword);
            if branches.is_empty() {
                continue;
            }
            match decision(key, source, &kind) {
                Some(index) => {
                    let Some(branch) = branches.get(index) else { continue };
                    let picked = self.child(source, &[keyword, &index.to_string()], branch);
                    if let Some((member, names)) = self.discriminator_names(map, branch) {
                        flat.pins.entry(member).or_insert(names);
                    }
                    self.flatten_source(picked, key, flat, depth + 1);
                    if kind == ChoiceKind::OneOf {
                        for (other, branch) in branches.iter().enumerate().filter(|(other, _)| *other != index) {
                            let other = self.child(source, &[keyword, &other.to_string()], branch);
                            if !self.disjoint(picked, other) {
                                let negative = self.negative(other);
                                flat.negatives.push(negative);
                            }
                        }
                    }
                }
                None => {
                    let labels = (0..branches.len()).map(|index| (format!("{keyword}.{index}"), index)).collect();
                    flat.open.get_or_insert((source, kind, labels));
                }
            }
        }
    }

    fn flatten_conditions(
        &mut self,
        source: usize,
        map: &'a Map<String, Value>,
        key: &[Item],
        flat: &mut Flat<'a>,
        depth: usize,
    ) {
        if let Some(condition) = map.get("if").filter(|_| map.contains_key("then") || map.contains_key("else")) {
            let condition_source = self.child(source, &["if"], condition);
            match decision(key, source, &ChoiceKind::If) {
                Some(index @ (0 | 2)) => {
                    self.flatten_source(condition_source, key, flat, depth + 1);
                    if index == 0 {
                        flat.required.extend(object_members(condition, "properties").map(|(name, _)| name.clone()));
                    }
                    if let Some(then) = map.get("then") {
                        let then = self.child(source, &["then"], then);
                        self.flatten_source(then, key, flat, depth + 1);
                    }
                }
                Some(_) => {
                    self.negate(condition_source, condition, flat);
                    if let Some(otherwise) = map.get("else") {
                        let otherwise = self.child(source, &["else"], otherwise);
                        self.flatten_source(otherwise, key, flat, depth + 1);
                    }
                }
                None => {
                    // A condition on a member holds while the member is absent, but that is not what people mean by it.
                    let mut labels = vec![("then".into(), 0), ("else".into(), 1)];
                    if object_members(condition, "properties").next().is_some() {
                        labels.push(("then without condition".into(), 2));
                    }
                    flat.open.get_or_insert((source, ChoiceKind::If, labels));
                }
            }
        }
        for (name, dependent) in object(map, "dependentSchemas") {
            let kind = ChoiceKind::Dependent(name.clone());
            match decision(key, source, &kind) {
                Some(0) => {
                    flat.required.insert(name.clone());
                    let dependent = self.child(source, &["dependentSchemas", name], dependent);
                    self.flatten_source(dependent, key, flat, depth + 1);
                }
                Some(_) => {
                    flat.forbidden.insert(name.clone());
                }
                None => {
                    let labels = vec![(format!("with {name}"), 0), (format!("without {name}"), 1)];
                    flat.open.get_or_insert((source, kind, labels));
                }
            }
        }
    }

    /// A negated subschema: simple ones become facts of the leaf, others are kept and filtered by.
    fn negate(&mut self, source: usize, value: &'a Value, flat: &mut Flat<'a>) {
        let map = match value {
            Value::Bool(false) => return,
            Value::Object(map) if !map.keys().all(|key| trueline_spec::contract::is_annotation(key)) => map,
            _ => {
                let reason = "it negates a schema that accepts everything".into();
                flat.never = Some(Unsatisfiable { pointer: self.pointer(source), reason });
                return;
            }
        };
        let mut keywords = map.iter().filter(|(key, _)| !trueline_spec::contract::is_annotation(key));
        if let (Some((keyword, value)), None) = (keywords.next(), keywords.next()) {
            match (keyword.as_str(), value) {
                ("enum", Value::Array(values)) => return flat.excluded.extend(values.iter().cloned()),
                ("const", value) => return flat.excluded.push(value.clone()),
                ("type", value) => {
                    // Taking `integer` away leaves the other numbers, taking `number` away leaves none.
                    flat.untyped &= !types(value);
                    return;
                }
                ("required", Value::Array(names)) => {
                    if let [Value::String(name)] = names.as_slice() {
                        flat.forbidden.insert(name.clone());
                        return;
                    }
                }
                ("anyOf", Value::Array(branches)) => {
                    for (index, branch) in branches.iter().enumerate() {
                        let branch_source = self.child(source, &["anyOf", &index.to_string()], branch);
                        self.negate(branch_source, branch, flat);
                    }
                    return;
                }
                ("not", inner) => {
                    let inner = self.child(source, &["not"], inner);
                    return self.flatten_source(inner, &[], flat, 0);
                }
                _ => {}
            }
        }
        let negative = self.negative(source);
        flat.negatives.push(negative);
    }

    /// The member that a discriminator reads and the names that lead to this branch.
    fn discriminator_names(&mut self, map: &Map<String, Value>, branch: &Value) -> Option<(String, Vec<String>)> {
        let discriminator = map.get("discriminator")?.as_object()?;
        let member = discriminator.get("propertyName")?.as_str()?.to_owned();
        let reference = branch.get("$ref")?.as_str()?;
        let mapping = object(discriminator, "mapping");
        let mut names: Vec<String> =
            mapping.filter(|(_, target)| target.as_str() == Some(reference)).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            names.push(unescape(reference.rsplit('/').next()?));
        }
        Some((member, names))
    }

    /// A discriminator without alternatives: the schema is a base that others extend by `allOf`.
    fn discriminate(&mut self, key: &[Item], flat: &mut Flat<'a>) {
        for (source, map) in flat.schemas.clone() {
            if map.contains_key("oneOf") || map.contains_key("anyOf") {
                continue;
            }
            let Some(discriminator) = map.get("discriminator").and_then(Value::as_object) else { continue };
            let Some(member) = discriminator.get("propertyName").and_then(Value::as_str) else { continue };
            let mut targets: IndexMap<usize, Vec<String>> = IndexMap::new();
            for (name, target) in object(discriminator, "mapping") {
                if let Some(target) = target.as_str().and_then(|target| self.target(target)) {
                    targets.entry(target).or_default().push(name.clone());
                }
            }
            let derived = targets.iter().find(|(target, _)| **target != source && flat.seen.contains(*target));
            if let Some((_, names)) = derived {
                flat.pins.entry(member.to_owned()).or_insert_with(|| names.clone());
            } else if targets.is_empty() {
                // The most derived named schema is the one that was met first.
                let name = flat.schemas.iter().find_map(|(source, _)| {
                    let pointer = self.sources.get_index(*source)?.0;
                    let name = pointer.strip_prefix("/$defs/")?;
                    (!name.contains('/')).then(|| unescape(name))
                });
                if let Some(name) = name {
                    flat.pins.entry(member.to_owned()).or_insert_with(|| vec![name]);
                }
            } else {
                match decision(key, source, &ChoiceKind::Discriminator) {
                    Some(index) => {
                        let Some((target, names)) = targets.get_index(index).map(|(t, n)| (*t, n.clone())) else {
                            continue;
                        };
                        flat.pins.entry(member.to_owned()).or_insert(names);
                        self.flatten_source(target, key, flat, 0);
                        if flat.open.is_some() || flat.never.is_some() {
                            return;
                        }
                    }
                    None => {
                        let labels = targets
                            .values()
                            .enumerate()
                            .map(|(index, names)| {
                                (format!("{member}={}", names.first().map_or("", String::as_str)), index)
                            })
                            .collect();
                        flat.open = Some((source, ChoiceKind::Discriminator, labels));
                        return;
                    }
                }
            }
        }
    }

    /// Whether no value can match both, as far as a look at types and fixed members tells.
    fn disjoint(&mut self, one: usize, other: usize) -> bool {
        let one = self.facts(one);
        let other = self.facts(other);
        one.types & other.types == 0
            || one.fixed.iter().any(|(name, values)| {
                other.fixed.get(name).is_some_and(|others| values.iter().all(|value| !others.contains(value)))
            })
    }

    fn facts(&mut self, source: usize) -> Facts {
        let mut facts = Facts { types: ANY, ..Facts::default() };
        let mut seen = HashSet::new();
        let mut waiting = vec![source];
        let mut values = IndexMap::<String, Vec<Value>>::new();
        let mut required = HashSet::new();
        while let Some(source) = waiting.pop() {
            let (true, Value::Object(map)) = (seen.insert(source) && seen.len() < 32, self.value(source)) else {
                continue;
            };
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                waiting.extend(self.target(reference));
            }
            for (index, part) in array(map, "allOf").iter().enumerate() {
                let part = self.child(source, &["allOf", &index.to_string()], part);
                waiting.push(part);
            }
            if let Some(value) = map.get("type") {
                facts.types &= types(value);
            }
            if let Some(values) = listed(map) {
                facts.types &= values.iter().fold(0, |types, value| types | type_of(value));
            }
            required.extend(array(map, "required").iter().filter_map(Value::as_str));
            for (name, schema) in object(map, "properties") {
                let mut schema = schema;
                if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|target| self.target(target))
                {
                    schema = self.value(target);
                }
                if let Some(list) = schema.as_object().and_then(listed) {
                    values.entry(name.clone()).or_insert(list);
                }
            }
        }
        // A member that is only fixed, not required, does not keep objects apart; and required is asked of objects only.
        if facts.types == OBJECT {
            facts.fixed = values.into_iter().filter(|(name, _)| required.contains(name.as_str())).collect();
        }
        facts
    }
}

/// What is plain about a subschema.
#[derive(Default)]
struct Facts {
    types: u8,
    fixed: IndexMap<String, Vec<Value>>,
}

fn decision(key: &[Item], source: usize, kind: &ChoiceKind) -> Option<usize> {
    key.iter().find_map(|item| match item {
        Item::Pick(at, of, index) if *at == source && of == kind => Some(*index),
        _ => None,
    })
}

/// The items of an array keyword.
pub(crate) fn array<'v>(map: &'v Map<String, Value>, keyword: &str) -> &'v [Value] {
    map.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The members of an object keyword.
pub(crate) fn object<'v>(map: &'v Map<String, Value>, keyword: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    map.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// The members of an object keyword of a schema that may be a boolean.
fn object_members<'v>(schema: &'v Value, keyword: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// `enum` and `const`.
pub(crate) fn listed(map: &Map<String, Value>) -> Option<Vec<Value>> {
    match (map.get("const"), map.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

/// The types that a `type` keyword names.
pub(crate) fn types(keyword: &Value) -> u8 {
    let one = |name: &str| match name {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => NUMBER,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => 0,
    };
    match keyword {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).fold(0, |types, name| types | one(name)),
        _ => ANY,
    }
}

/// The type of a value.
pub(crate) fn type_of(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOLEAN,
        Value::Number(number) if number.is_i64() || number.is_u64() => INTEGER,
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => INTEGER,
        Value::Number(_) => FRACTION,
        Value::String(_) => STRING,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

/// A token of a JSON Pointer.
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// A token read back.
pub(crate) fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn find_anchor<'v>(value: &'v Value, anchor: &str, pointer: String) -> Option<(String, &'v Value)> {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            let named = |keyword| map.get(keyword).and_then(Value::as_str) == Some(anchor);
            if named("$anchor") || named("$dynamicAnchor") {
                return Some((pointer, value));
            }
            map.iter().map(|(key, value)| (escape(key), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => return None,
    };
    inside.into_iter().find_map(|(token, value)| find_anchor(value, anchor, format!("{pointer}/{token}")))
}
