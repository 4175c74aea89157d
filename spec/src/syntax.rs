//! Text to values: YAML 1.2 (core schema) and JSON into one value with one table of positions.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// Deeper documents are refused: everything behind this door recurses over values, and a stack must not be the limit.
pub(crate) const MAX_DEPTH: usize = 200;

/// How many values aliases may add to a document. The largest public documents have fewer than a million values in all;
/// a few lines of nested aliases ("billion laughs") ask for billions.
const MAX_ALIASED: usize = 1_000_000;

/// A stretch of one line: where a key or a value starts, and how many characters of that line it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
    /// In characters, at least 1 for what can be seen.
    pub(crate) length: u32,
}

/// Where every value of a file stands, parallel to the value: members and items in the same order.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    members: Vec<Member>,
    root: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    mark: Mark,
    first: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    key: Mark,
    node: u32,
    /// The file that the key stands in: [`OWN`], or an overlay that put it here.
    file: u32,
}

/// The file that the tree was read from.
const OWN: u32 = u32::MAX;

/// Marks in the shape of the value they belong to, so that both can be changed together.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    key: Mark,
    value: Mark,
    file: u32,
    /// Of members and items, in their order.
    pub(crate) kids: Vec<Marks>,
}

/// A text that is not a document.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) title: String,
    pub(crate) mark: Mark,
    pub(crate) help: Option<String>,
}

impl SyntaxError {
    fn new(title: impl Into<String>, mark: Mark) -> Self {
        SyntaxError { title: title.into(), mark, help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Tree {
    /// Walks to the deepest part of `tokens` that exists: the mark of its key (or item), that of its value, and the file they
    /// stand in unless it is the tree's own.
    pub(crate) fn find<'t>(
        &self,
        root: &Value,
        tokens: impl Iterator<Item = std::borrow::Cow<'t, str>>,
    ) -> (Mark, Mark, Option<u32>) {
        let Some(mut node) = self.nodes.get(self.root as usize).copied() else { return Default::default() };
        let (mut key, mut value, mut file) = (node.mark, root, OWN);
        for token in tokens {
            let step = match value {
                Value::Object(map) => {
                    map.iter().enumerate().find(|(_, (name, _))| **name == token).map(|(i, (_, v))| (i, v))
                }
                Value::Array(items) => token.parse().ok().and_then(|index: usize| Some((index, items.get(index)?))),
                _ => None,
            };
            let Some((index, next)) = step else { break };
            if index >= node.count as usize {
                break;
            }
            let Some(member) = self.members.get(node.first as usize + index) else { break };
            let Some(child) = self.nodes.get(member.node as usize) else { break };
            (key, node, value, file) = (member.key, *child, next, member.file);
        }
        (key, node.mark, Some(file).filter(|file| *file != OWN))
    }

    /// The marks in the shape of `value`; those of the tree's own file are said to stand in `file`.
    pub(crate) fn unfold(&self, file: Option<u32>) -> Marks {
        let own = file.unwrap_or(OWN);
        // Anchors make several members share a node; the depth is bounded by the reader.
        fn unfold(tree: &Tree, key: Mark, file: u32, node: u32, own: u32) -> Marks {
            let Some(place) = tree.nodes.get(node as usize) else {
                return Marks { key, value: key, file, kids: Vec::new() };
            };
            let members = place.first as usize..place.first as usize + place.count as usize;
            let kids = tree.members.get(members).unwrap_or_default().iter().map(|member| {
                let file = if member.file == OWN { own } else { member.file };
                unfold(tree, member.key, file, member.node, own)
            });
            Marks { key, value: place.mark, file, kids: kids.collect() }
        }
        let key = self.nodes.get(self.root as usize).map(|node| node.mark).unwrap_or_default();
        unfold(self, key, own, self.root, own)
    }
}

impl Marks {
    /// The tree again.
    pub(crate) fn fold(&self) -> Tree {
        fn fold(marks: &Marks, tree: &mut Tree) -> u32 {
            let kids: Vec<Member> =
                marks.kids.iter().map(|kid| Member { key: kid.key, node: fold(kid, tree), file: kid.file }).collect();
            let first = tree.members.len() as u32;
            let count = kids.len() as u32;
            tree.members.extend(kids);
            tree.nodes.push(Node { mark: marks.value, first, count });
            (tree.nodes.len() - 1) as u32
        }
        let mut tree = Tree::default();
        tree.root = fold(self, &mut tree);
        tree
    }
}

/// Reads YAML or JSON, whichever the text is.
pub(crate) fn parse(text: &str) -> Result<(Value, Tree), SyntaxError> {
    let looks_like_json = matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'['));
    if !looks_like_json {
        return parse_yaml(text);
    }
    // JSON has its own reader: it is several times faster, and YAML refuses some JSON (escaped surrogate pairs, tabs,
    // keys of more than 1024 characters). A YAML flow mapping also starts with a brace, so YAML gets a try; if both fail, the
    // text was meant to be JSON.
    match parse_json(text) {
        Ok(parsed) => Ok(parsed),
        Err(json) if json.help.is_some() => Err(json),
        Err(json) => parse_yaml(text).map_err(|_| json),
    }
}

/// Collects values and positions from either reader.
#[derive(Default)]
struct Builder {
    tree: Tree,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    root: Option<Value>,
}

struct Anchored {
    value: Value,
    node: u32,
    weight: usize,
}

struct Frame {
    mark: Mark,
    anchor: usize,
    /// Values in it, itself included; what aliases are charged by.
    weight: usize,
    kids: Vec<Member>,
    body: Body,
}

enum Body {
    Sequence(Vec<Value>),
    Mapping { map: Map<String, Value>, key: Option<Key>, merged: Vec<(Value, u32)> },
}

enum Key {
    Named(String, Mark),
    Merge(Mark),
}

impl Builder {
    fn open(&mut self, mark: Mark, anchor: usize, mapping: bool) -> Result<(), SyntaxError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(SyntaxError::new(format!("nested more than {MAX_DEPTH} levels deep"), mark)
                .help("documents this deep are refused; no API needs one"));
        }
        if mapping && self.expects_key() {
            return Err(complex_key(mark));
        }
        let body = if mapping {
            Body::Mapping { map: Map::new(), key: None, merged: Vec::new() }
        } else if self.expects_key() {
            return Err(complex_key(mark));
        } else {
            Body::Sequence(Vec::new())
        };
        self.stack.push(Frame { mark, anchor, weight: 1, kids: Vec::new(), body });
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { body: Body::Mapping { key: None, .. }, .. }))
    }

    fn key(&mut self, name: String, mark: Mark) {
        if let Some(Frame { body: Body::Mapping { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::Named(name, mark));
        }
    }

    fn merge_key(&mut self, mark: Mark) {
        if let Some(Frame { body: Body::Mapping { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::Merge(mark));
        }
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(mut frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.body {
            Body::Sequence(items) => Value::Array(items),
            Body::Mapping { mut map, merged, .. } => {
                // A merge key adds what the mapping does not say itself (https://yaml.org/type/merge.html).
                for (source, node) in merged {
                    self.merge_into(&mut map, &mut frame.kids, source, node);
                }
                Value::Object(map)
            }
        };
        let first = self.tree.members.len() as u32;
        let count = frame.kids.len() as u32;
        self.tree.members.extend(frame.kids);
        let node = self.node(Node { mark: frame.mark, first, count });
        self.finish(value, node, frame.mark, frame.anchor, frame.weight)
    }

    fn merge_into(&self, map: &mut Map<String, Value>, kids: &mut Vec<Member>, source: Value, node: u32) {
        let Some(place) = self.tree.nodes.get(node as usize).copied() else { return };
        match source {
            Value::Object(members) => {
                for (index, (name, value)) in members.into_iter().enumerate() {
                    let Some(member) = self.tree.members.get(place.first as usize + index) else { break };
                    if !map.contains_key(&name) {
                        map.insert(name, value);
                        kids.push(*member);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let Some(member) = self.tree.members.get(place.first as usize + index) else { break };
                    self.merge_into(map, kids, item, member.node);
                }
            }
            _ => {}
        }
    }

    fn node(&mut self, node: Node) -> u32 {
        self.tree.nodes.push(node);
        (self.tree.nodes.len() - 1) as u32
    }

    fn scalar(&mut self, value: Value, mark: Mark, anchor: usize) -> Result<(), SyntaxError> {
        let node = self.node(Node { mark, first: 0, count: 0 });
        self.finish(value, node, mark, anchor, 1)
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), SyntaxError> {
        let Some(Anchored { value, node, weight }) = self.anchors.get(&anchor) else {
            return Err(SyntaxError::new("an alias inside its own anchor has no end", mark));
        };
        self.aliased += weight;
        if self.aliased > MAX_ALIASED {
            return Err(SyntaxError::new(format!("aliases expand to more than {MAX_ALIASED} values"), mark)
                .help("write the repeated part once and use `$ref`"));
        }
        let (value, node, weight) = (value.clone(), *node, *weight);
        if self.expects_key() {
            return match value {
                Value::String(name) => {
                    self.key(name, mark);
                    Ok(())
                }
                _ => Err(complex_key(mark)),
            };
        }
        self.finish(value, node, mark, 0, weight)
    }

    /// A whole value: an item, a member's value, or the root.
    fn finish(&mut self, value: Value, node: u32, mark: Mark, anchor: usize, weight: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            // Anchored values are kept, and nested anchors keep the same value again: they share the budget.
            self.aliased += weight;
            if self.aliased > MAX_ALIASED {
                return Err(SyntaxError::new(format!("anchors hold more than {MAX_ALIASED} values"), mark));
            }
            self.anchors.insert(anchor, Anchored { value: value.clone(), node, weight });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.tree.root = node;
            self.root = Some(value);
            return Ok(());
        };
        frame.weight += weight;
        match &mut frame.body {
            Body::Sequence(items) => {
                items.push(value);
                frame.kids.push(Member { key: mark, node, file: OWN });
            }
            Body::Mapping { map, key, merged } => match key.take() {
                Some(Key::Named(name, key)) => {
                    if map.contains_key(&name) {
                        let index = map.keys().position(|other| *other == name).unwrap_or_default();
                        let first = frame.kids.get(index).map_or(0, |member| member.key.line);
                        return Err(SyntaxError::new(format!("duplicate key `{name}`: first on line {first}"), key)
                            .help("keep one of the two; readers disagree on which one counts"));
                    }
                    map.insert(name, value);
                    frame.kids.push(Member { key, node, file: OWN });
                }
                Some(Key::Merge(at)) => {
                    let fits = match &value {
                        Value::Object(_) => true,
                        Value::Array(items) => items.iter().all(Value::is_object),
                        _ => false,
                    };
                    if !fits {
                        return Err(SyntaxError::new("`<<` merges a mapping or a list of mappings", at));
                    }
                    merged.push((value, node));
                }
                None => return Err(complex_key(mark)),
            },
        }
        Ok(())
    }
}

fn complex_key(mark: Mark) -> SyntaxError {
    SyntaxError::new("a key must be text, not a list or a mapping", mark)
        .help("in YAML, `{` and `[` start a collection: quote the key")
}

// ---------------------------------------------------------------------------------------------------------- YAML

fn parse_yaml(text: &str) -> Result<(Value, Tree), SyntaxError> {
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let mark = Mark { line: marker.line() as u32, column: marker.col() as u32 + 1, length: 1 };
            let end =
                if text.lines().nth(marker.line().saturating_sub(1)).is_none() { ", but the file ends" } else { "" };
            SyntaxError::new(format!("not valid YAML: {}{end}", error.info()), mark)
        })?;
        let mark = mark_of(&span);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(SyntaxError::new("a second YAML document starts here", mark)
                        .help("one file holds one document: remove the `---`"));
                }
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map", mark)?;
                builder.open(mark, anchor, true)?;
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", mark)?;
                builder.open(mark, anchor, false)?;
            }
            Event::MappingEnd | Event::SequenceEnd => builder.close()?,
            Event::Alias(anchor) => builder.alias(anchor, mark)?,
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if builder.expects_key() {
                    if plain && tag.is_none() && text == "<<" {
                        builder.merge_key(mark);
                        continue;
                    }
                    if anchor != 0 {
                        let node = builder.node(Node { mark, first: 0, count: 0 });
                        let value = Value::String(text.clone().into_owned());
                        builder.anchors.insert(anchor, Anchored { value, node, weight: 1 });
                    }
                    // Keys are text whatever they look like: an unquoted `200` is the status "200".
                    builder.key(text.into_owned(), mark);
                } else {
                    let value = scalar(text.into_owned(), plain, tag.as_deref(), mark)?;
                    builder.scalar(value, mark, anchor)?;
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    match builder.root {
        Some(Value::Null) | None => Err(empty()),
        Some(value) => Ok((value, builder.tree)),
    }
}

fn empty() -> SyntaxError {
    SyntaxError::new("the file is empty", Mark { line: 1, column: 1, length: 0 })
}

fn mark_of(span: &Span) -> Mark {
    let (start, end) = (&span.start, &span.end);
    let length = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Mark { line: start.line().max(1) as u32, column: start.col() as u32 + 1, length: length.max(1) as u32 }
}

fn collection_tag(tag: Option<&Tag>, kind: &str, mark: Mark) -> Result<(), SyntaxError> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == kind => Ok(()),
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Ok(()),
        Some(tag) => Err(unknown_tag(tag, mark)),
    }
}

fn unknown_tag(tag: &Tag, mark: Mark) -> SyntaxError {
    let name = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
    SyntaxError::new(format!("the tag `{name}` has no meaning here"), mark)
}

/// A scalar by the core schema (YAML 1.2.2, section 10.3.2) or by its tag.
fn scalar(text: String, plain: bool, tag: Option<&Tag>, mark: Mark) -> Result<Value, SyntaxError> {
    let kind = match tag {
        None => return if plain { plain_scalar(text, mark) } else { Ok(Value::String(text)) },
        Some(tag) if tag.is_yaml_core_schema() => tag.suffix.as_str(),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => "str",
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => "str",
        Some(tag) => return Err(unknown_tag(tag, mark)),
    };
    let value = match kind {
        // What JSON has no type for stays the text it is.
        "str" | "binary" | "timestamp" => return Ok(Value::String(text)),
        "null" | "bool" | "int" | "float" => plain_scalar(text.clone(), mark)?,
        _ => return Err(SyntaxError::new(format!("the tag `!!{kind}` has no meaning here"), mark)),
    };
    let fits = match (kind, &value) {
        ("null", Value::Null) | ("bool", Value::Bool(_)) | ("float", Value::Number(_)) => true,
        ("int", Value::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    if fits { Ok(value) } else { Err(SyntaxError::new(format!("`{text}` is not of the type `!!{kind}`"), mark)) }
}

fn plain_scalar(text: String, mark: Mark) -> Result<Value, SyntaxError> {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Ok(Value::String(text));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(&text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text.as_str(), ".nan" | ".NaN" | ".NAN") {
        return Err(SyntaxError::new(format!("`{text}` is a number that JSON does not have"), mark)
            .help("quote it if it is meant as text"));
    }
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|n| Value::Number(n.into()));
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Ok(radix(digits, 16).unwrap_or(Value::String(text)));
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(radix(digits, 8).unwrap_or(Value::String(text)));
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let negative = text.starts_with('-');
        let whole = match (negative, unsigned.parse::<u64>()) {
            (false, Ok(number)) => Some(Number::from(number)),
            (true, Ok(_)) => text.parse::<i64>().ok().map(Number::from),
            (_, Err(_)) => None,
        };
        if let Some(number) = whole {
            return Ok(Value::Number(number));
        }
        return float(&text, mark);
    }
    if is_core_float(unsigned) { float(&text, mark) } else { Ok(Value::String(text)) }
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_core_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

fn float(text: &str, mark: Mark) -> Result<Value, SyntaxError> {
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(SyntaxError::new(format!("`{text}` is too large a number"), mark)
            .help("numbers reach to 1.8e308; quote it if it is meant as text")),
    }
}

// ---------------------------------------------------------------------------------------------------------- JSON

/// RFC 8259, with the line and column of everything.
struct Json<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    line: u32,
    /// Byte offset of the line's start, moved right by the continuation bytes seen since: columns count characters.
    origin: usize,
}

fn parse_json(text: &str) -> Result<(Value, Tree), SyntaxError> {
    let mut json = Json { text, bytes: text.as_bytes(), at: 0, line: 1, origin: 0 };
    let mut builder = Builder::default();
    json.document(&mut builder)?;
    builder.root.map(|value| (value, builder.tree)).ok_or_else(empty)
}

impl Json<'_> {
    fn document(&mut self, builder: &mut Builder) -> Result<(), SyntaxError> {
        // What may come next: without recursion, so that depth costs no stack.
        loop {
            self.space();
            match builder.stack.last() {
                None if builder.root.is_some() => {
                    return if self.at == self.bytes.len() {
                        Ok(())
                    } else {
                        Err(self.error("text after the end of the document"))
                    };
                }
                None => self.value(builder)?,
                Some(frame) => {
                    let fresh = frame.kids.is_empty();
                    let mapping = matches!(frame.body, Body::Mapping { .. });
                    let end = if mapping { b'}' } else { b']' };
                    if self.peek() == Some(end) {
                        self.at += 1;
                        builder.close()?;
                        continue;
                    }
                    if !fresh {
                        if self.peek() != Some(b',') {
                            let wanted = if mapping { "`,` or `}`" } else { "`,` or `]`" };
                            return Err(self.error(&format!("{wanted} expected")));
                        }
                        self.at += 1;
                        self.space();
                    }
                    if mapping {
                        if self.peek() != Some(b'"') {
                            return Err(self.error("a key in double quotes expected"));
                        }
                        let start = self.mark();
                        let name = self.string()?;
                        builder.key(name, self.length_from(start));
                        self.space();
                        if self.peek() != Some(b':') {
                            return Err(self.error("`:` expected"));
                        }
                        self.at += 1;
                        self.space();
                    }
                    self.value(builder)?;
                }
            }
        }
    }

    fn value(&mut self, builder: &mut Builder) -> Result<(), SyntaxError> {
        let start = self.mark();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                builder.open(start, 0, true)
            }
            Some(b'[') => {
                self.at += 1;
                builder.open(start, 0, false)
            }
            Some(b'"') => {
                let text = self.string()?;
                builder.scalar(Value::String(text), self.length_from(start), 0)
            }
            Some(b'-' | b'0'..=b'9') => {
                let from = self.at;
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                    self.at += 1;
                }
                let mark = self.length_from(start);
                let text = self.text.get(from..self.at).unwrap_or_default();
                let value = match serde_json::from_str::<Number>(text) {
                    Ok(number) => Value::Number(number),
                    Err(_) if text.parse::<f64>().is_ok_and(f64::is_infinite) => float(text, mark)?,
                    Err(_) => return Err(SyntaxError::new(format!("not valid JSON: `{text}` is not a number"), mark)),
                };
                builder.scalar(value, mark, 0)
            }
            _ => {
                for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
                {
                    if self.bytes[self.at..].starts_with(word.as_bytes()) {
                        self.at += word.len();
                        return builder.scalar(value, self.length_from(start), 0);
                    }
                }
                Err(self.error("a value expected"))
            }
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        let mark = self.mark();
        self.at += 1;
        let (mut escaped, mut wide) = (false, 0);
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..=0x1f) => {
                    self.origin += wide;
                    return Err(self.error("a control character inside a string"));
                }
                Some(byte) => {
                    wide += usize::from(byte & 0xC0 == 0x80);
                    self.at += 1;
                }
                None => return Err(SyntaxError::new("not valid JSON: this string has no end", mark)),
            }
        }
        self.at += 1;
        self.origin += wide;
        let raw = self.text.get(start..self.at).unwrap_or_default();
        if !escaped {
            return Ok(raw[1..raw.len() - 1].to_owned());
        }
        serde_json::from_str(raw).map_err(|error| {
            let text = error.to_string();
            let reason = text.split(" at line").next().unwrap_or_default();
            SyntaxError::new(format!("not valid JSON: {reason}"), self.length_from(mark))
        })
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.origin = self.at + 1;
                }
                b' ' | b'\t' | b'\r' => {}
                _ => break,
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn mark(&self) -> Mark {
        Mark { line: self.line, column: self.at.saturating_sub(self.origin) as u32 + 1, length: 1 }
    }

    fn length_from(&self, start: Mark) -> Mark {
        Mark { length: self.mark().column.saturating_sub(start.column).max(1), ..start }
    }

    fn error(&self, what: &str) -> SyntaxError {
        let end = if self.at >= self.bytes.len() { ", but the file ends" } else { "" };
        SyntaxError::new(format!("not valid JSON: {what}{end}"), self.mark())
    }
}
