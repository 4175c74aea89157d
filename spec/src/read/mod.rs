//! From a document to the model: one place per subject, one reader that carries what they share.
//!
//! Versions differ in few places and each asks [`Version`]. Swagger 2.0 has its own shapes for parameters, bodies and answers
//! (`swagger.rs`) but the same schemas, security and vocabulary; overlays have changed the document before this module
//! sees it.

mod operations;
mod responses;
mod schemas;
mod security;
mod swagger;
mod vocabulary;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::contract::{Contract, Example, Tag};
use crate::document::{Document, Location};
use crate::problem::{Problem, Problems, did_you_mean};

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V20,
    V30,
    V31,
    V32,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
struct Node<'d> {
    value: &'d Value,
    at: Location,
}

impl<'d> Node<'d> {
    fn get(&self, key: &str) -> Option<Node<'d>> {
        // A member that is null says as much as an absent one; YAML makes them from a key with nothing behind it.
        let value = self.value.as_object()?.get(key).filter(|value| !value.is_null())?;
        Some(Node { value, at: self.at.join(key) })
    }

    fn has(&self, key: &str) -> bool {
        self.value.as_object().is_some_and(|map| map.contains_key(key))
    }
}

/// The places of what several parts of a document share, by version.
struct Shared {
    schemas: &'static [&'static str],
    responses: &'static [&'static str],
    security_schemes: &'static [&'static str],
}

impl Version {
    fn shared(self) -> Shared {
        match self {
            Version::V20 => Shared {
                schemas: &["definitions"],
                responses: &["responses"],
                security_schemes: &["securityDefinitions"],
            },
            _ => Shared {
                schemas: &["components", "schemas"],
                responses: &["components", "responses"],
                security_schemes: &["components", "securitySchemes"],
            },
        }
    }
}

/// What reading a document has found so far.
struct Reader<'d> {
    document: &'d Document,
    version: Version,
    /// Whether the document is written in our vocabulary: then a slip in an `x-` key is a mistake; otherwise it is
    /// somebody else's extension.
    ours: bool,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
    schemas: schemas::Book,
    responses: std::collections::HashMap<Location, String>,
}

/// Reads the contract of a document.
pub(crate) fn contract(document: Arc<Document>) -> Result<Contract, Problems> {
    match read(&document) {
        Ok(contract) => Ok(Contract { document, ..contract }),
        Err(problems) => {
            let problems = unique(&document, problems);
            Err(Problems::new(document, problems))
        }
    }
}

/// In the order of the document. A shared component is read at each of its uses; what is wrong with it is said once.
fn unique(document: &Document, problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = HashSet::new();
    let mut problems: Vec<Problem> =
        problems.into_iter().filter(|problem| seen.insert((problem.at.clone(), problem.title.clone()))).collect();
    problems.sort_by_cached_key(|problem| (problem.at.as_ref().map(|at| at.file), problem.position(document)));
    problems
}

fn read(document: &Document) -> Result<Contract, Vec<Problem>> {
    let Some(entry) = document.files.first() else { return Err(vec![Problem::new("the document has no file")]) };
    let root = Node { value: &entry.value, at: Location::root(0) };
    let version = version(document, &root).map_err(|problem| vec![*problem])?;
    let mut reader = Reader {
        document,
        version,
        ours: root.has("x-contract"),
        problems: Vec::new(),
        notes: Vec::new(),
        schemas: schemas::Book::default(),
        responses: std::collections::HashMap::new(),
    };
    let contract = reader.root(&root);
    if reader.problems.is_empty() {
        let notes = document.notes.iter().cloned().chain(reader.notes).collect();
        Ok(Contract { notes: unique(document, notes), ..contract })
    } else {
        Err(reader.problems)
    }
}

fn version(document: &Document, root: &Node<'_>) -> Result<Version, Box<Problem>> {
    let refuse = |problem: Problem| Err(Box::new(problem));
    if !root.value.is_object() {
        return refuse(Problem::new("an OpenAPI document is an object").at(&root.at).found(kind(root.value)));
    }
    let written = |key: &str| {
        let node = root.get(key)?;
        let text = match node.value {
            Value::String(text) => text.clone(),
            Value::Number(_) => document.written(&node.at)?.to_owned(),
            _ => return None,
        };
        Some((text, node.at))
    };
    if let Some((version, at)) = written("swagger") {
        if version == "2.0" || version == "2" {
            return Ok(Version::V20);
        }
        let problem = Problem::new(format!("Swagger {version} documents are not read")).at(&at);
        return refuse(problem.expected("2.0, or `openapi: 3.0.x` to 3.2.x").found(version));
    }
    let Some((version, at)) = written("openapi") else {
        let problem = Problem::new("this is not an OpenAPI document: the key `openapi` is missing").at(&root.at);
        let keys = root.value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let near = crate::problem::nearest("openapi", keys).map(|key| format!("is `{key}` meant to be `openapi`?"));
        return refuse(problem.expected("a version such as `openapi: 3.1.0`").maybe_help(near));
    };
    match version.split('.').collect::<Vec<_>>()[..] {
        ["3", "0", ..] | ["3"] => Ok(Version::V30),
        ["3", "1", ..] => Ok(Version::V31),
        ["3", "2", ..] => Ok(Version::V32),
        _ => {
            let problem = Problem::new(format!("OpenAPI {version} documents are not read")).at(&at);
            refuse(problem.expected("3.0.x, 3.1.x or 3.2.x, or `swagger: '2.0'`").found(version))
        }
    }
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("{number}"),
        Value::String(text) => format!("\"{text}\""),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

impl<'d> Reader<'d> {
    fn root(&mut self, root: &Node<'d>) -> Contract {
        let shared = self.version.shared();
        self.name_schemas(root, shared.schemas);
        self.name_responses(root, shared.responses);
        let info = root.get("info");
        if info.is_none() {
            self.note(Problem::new("the document has no `info`").at(&root.at));
        }
        let info_text = |reader: &mut Self, key| info.as_ref().and_then(|info| reader.text(info, key));
        let title = info_text(self, "title").unwrap_or_default();
        let version = info_text(self, "version").unwrap_or_default();
        let description = info_text(self, "description");
        let vocabulary = self.contract_vocabulary(root);
        let security_schemes = self.security_schemes(root, shared.security_schemes);
        let default_security = self.security(root).unwrap_or_default();
        let operations = self.operations(root, &default_security, vocabulary.as_ref());
        let tags = self.tags(root, &operations);
        let envelope = self.envelope(root, vocabulary.as_ref());
        if let Some(vocabulary) = &vocabulary {
            self.check_names(root, vocabulary);
        }
        let schemas = Arc::new(self.finish_schemas());
        Contract {
            name: vocabulary.as_ref().map_or_else(|| one_word(&title), |vocabulary| vocabulary.name.clone()),
            title,
            version,
            description,
            servers: if self.version == Version::V20 { self.swagger_servers(root) } else { self.servers(root) },
            tags,
            operations,
            schemas,
            security_schemes,
            vocabulary,
            envelope,
            document: Arc::default(),
            digest: self.document.digest(),
            notes: Vec::new(),
        }
    }

    /// Server URLs with their variables replaced (OpenAPI 3.0.3, "Server Object"); without any, `/`.
    fn servers(&mut self, root: &Node<'d>) -> Vec<String> {
        let mut urls = Vec::new();
        for server in self.items(root, "servers") {
            let Some(mut url) = self.text(&server, "url") else {
                self.note(Problem::new("a server without a `url` is skipped").at(&server.at));
                continue;
            };
            for (name, variable) in self.members(&server, "variables") {
                if let Some(default) = self.text(&variable, "default") {
                    url = url.replace(&format!("{{{name}}}"), &default);
                }
            }
            urls.push(url);
        }
        if urls.is_empty() {
            urls.push("/".into());
        }
        urls
    }

    /// Declared tags, then those that operations use without a declaration.
    fn tags(&mut self, root: &Node<'d>, operations: &[crate::contract::Operation]) -> Vec<Tag> {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in self.items(root, "tags") {
            let Some(name) = self.text(&tag, "name") else { continue };
            let description = self.text(&tag, "description");
            let parent = self.text(&tag, "parent");
            if !tags.iter().any(|tag| tag.name == name) {
                tags.push(Tag { name, description, parent });
            }
        }
        for tag in self.items(root, "tags") {
            let Some(parent) = tag.get("parent") else { continue };
            let Some(name) = parent.value.as_str() else { continue };
            if !tags.iter().any(|tag| tag.name == name) {
                let help = did_you_mean(name, tags.iter().map(|tag| tag.name.as_str()));
                let problem = Problem::new(format!("there is no tag `{name}`")).at(&parent.at);
                self.note(problem.maybe_help(help));
            }
        }
        for operation in operations {
            if !tags.iter().any(|tag| tag.name == operation.tag) {
                tags.push(Tag { name: operation.tag.clone(), description: None, parent: None });
            }
        }
        tags
    }

    // ------------------------------------------------------------------------------------------- typed access

    /// What is shared under this name: the members of the object at the end of a way of keys.
    fn shared(&mut self, root: &Node<'d>, way: &[&str]) -> Vec<(&'d str, Node<'d>)> {
        let Some((last, way)) = way.split_last() else { return Vec::new() };
        let mut node = root.clone();
        for key in way {
            let Some(next) = node.get(key) else { return Vec::new() };
            node = next;
        }
        self.members(&node, last)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Something that is wrong but whose meaning is clear, or that can be left out without changing what is promised elsewhere.
    fn note(&mut self, problem: Problem) {
        self.notes.push(problem);
    }

    fn wrong_type(&mut self, node: &Node<'d>, expected: &str) {
        let name = node.at.tokens().last().unwrap_or_default().into_owned();
        self.problem(Problem::new(format!("`{name}` must be {expected}")).at(&node.at).found(kind(node.value)));
    }

    /// A text; a number or a truth value is taken as it was written.
    fn text(&mut self, node: &Node<'d>, key: &str) -> Option<String> {
        let child = node.get(key)?;
        match child.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => {
                let written = self.document.written(&child.at).map(str::to_owned);
                Some(written.unwrap_or_else(|| child.value.to_string()))
            }
            _ => {
                self.wrong_type(&child, "a text");
                None
            }
        }
    }

    fn flag(&mut self, node: &Node<'d>, key: &str) -> Option<bool> {
        let child = node.get(key)?;
        match child.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text == "true" || text == "false" => {
                self.note(Problem::new(format!("`{key}` is a text, not true or false")).at(&child.at));
                Some(text == "true")
            }
            _ => {
                self.wrong_type(&child, "true or false");
                None
            }
        }
    }

    fn members(&mut self, node: &Node<'d>, key: &str) -> Vec<(&'d str, Node<'d>)> {
        let Some(child) = node.get(key) else { return Vec::new() };
        match child.value {
            Value::Object(map) => {
                map.iter().map(|(name, value)| (name.as_str(), Node { value, at: child.at.join(name) })).collect()
            }
            Value::Array(items) if items.is_empty() => Vec::new(),
            _ => {
                self.wrong_type(&child, "an object");
                Vec::new()
            }
        }
    }

    fn items(&mut self, node: &Node<'d>, key: &str) -> Vec<Node<'d>> {
        let Some(child) = node.get(key) else { return Vec::new() };
        match child.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| Node { value, at: child.at.join(&index.to_string()) })
                .collect(),
            _ => {
                self.wrong_type(&child, "a list");
                Vec::new()
            }
        }
    }

    fn texts(&mut self, node: &Node<'d>, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.items(node, key) {
            match item.value {
                Value::String(text) => texts.push(text.clone()),
                Value::Number(_) | Value::Bool(_) => texts.push(item.value.to_string()),
                _ => self.wrong_type(&item, "a text"),
            }
        }
        texts
    }

    // --------------------------------------------------------------------------------------------- references

    /// Follows `$ref` until something else stands there. The second value is the first hop, if there was one.
    fn follow(&mut self, node: &Node<'d>) -> Option<(Node<'d>, Option<Location>)> {
        let mut node = node.clone();
        let mut first = None;
        let mut seen = vec![node.at.clone()];
        loop {
            let Some(reference) = node.value.get("$ref") else { return Some((node, first)) };
            let Value::String(reference) = reference else {
                let at = node.at.join("$ref");
                self.problem(Problem::new("`$ref` must be a text").at(&at).found(kind(reference)));
                return None;
            };
            let next = self.target(&node.at, reference)?;
            if seen.contains(&next.at) {
                self.circle(&seen, &next.at);
                return None;
            }
            seen.push(next.at.clone());
            first.get_or_insert_with(|| next.at.clone());
            node = next;
        }
    }

    fn circle(&mut self, seen: &[Location], again: &Location) {
        let start = seen.iter().position(|at| at == again).unwrap_or_default();
        let chain: Vec<String> = seen[start..].iter().chain([again]).map(|at| format!("#{}", at.pointer)).collect();
        // The same circle is met from each of its places; it is said where it is first in the document.
        let at = seen[start..].iter().min().unwrap_or(again).clone();
        self.problem(Problem::new("references go round in a circle").at(&at).found(chain.join(" → ")));
    }

    /// The value that a reference at `site` names.
    fn target(&mut self, site: &Location, reference: &str) -> Option<Node<'d>> {
        let at = site.join("$ref");
        let place = match self.document.refer(site.file, reference) {
            Ok(place) => place,
            Err(problem) => {
                self.bad_reference(&at, reference, *problem);
                return None;
            }
        };
        match self.lookup(&place, 0) {
            Ok(node) => Some(node),
            Err(problem) => {
                self.bad_reference(&at, reference, *problem);
                None
            }
        }
    }

    fn bad_reference(&mut self, at: &Location, reference: &str, problem: Problem) {
        if problem.at.is_some() {
            // The file it leads to is broken: that is the thing to mend.
            self.problem(problem);
        } else {
            let problem = Problem { at: Some(at.clone()), found: Some(reference.to_owned()), ..problem };
            self.problem(problem);
        }
    }

    /// What stands at a place; a pointer may lead through a `$ref` on its way.
    fn lookup(&self, place: &Location, hops: usize) -> Result<Node<'d>, Box<Problem>> {
        if let Some(value) = self.document.value(place) {
            return Ok(Node { value, at: place.clone() });
        }
        let nowhere = |problem: Problem| Err(Box::new(problem));
        let Some(file) = self.document.files.get(place.file as usize) else {
            return nowhere(Problem::new("this reference leads nowhere"));
        };
        let mut node = Node { value: &file.value, at: Location::root(place.file) };
        let mut tokens = place.tokens();
        while let Some(token) = tokens.next() {
            let next = match node.value {
                Value::Object(map) => map.get(token.as_ref()),
                Value::Array(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            if let Some(value) = next {
                node = Node { value, at: node.at.join(&token) };
                continue;
            }
            if let Some(Value::String(reference)) = node.value.get("$ref").filter(|_| hops < 32) {
                let mut place = self.document.refer(place.file, reference)?.join(&token);
                for token in tokens {
                    place = place.join(&token);
                }
                return self.lookup(&place, hops + 1);
            }
            let problem = Problem::new(format!("this reference leads nowhere: there is no `{token}`"));
            let known = node.value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
            return nowhere(problem.maybe_help(did_you_mean(&token, known)));
        }
        Ok(node)
    }

    // ----------------------------------------------------------------------------------------------- examples

    /// `example`, then `examples`, of a parameter, header or media type; then those of its schema.
    fn examples(&mut self, node: &Node<'d>, schema: Option<&Node<'d>>) -> Vec<Example> {
        let mut found = Vec::new();
        let mut add = |name: &str, value: &Value, at: Location| {
            if !found.iter().any(|example: &Example| example.value == *value && example.name == name) {
                found.push(Example { name: name.to_owned(), value: value.clone(), at });
            }
        };
        if let Some(value) = node.value.get("example") {
            add("example", value, node.at.join("example"));
        }
        if node.get("examples").is_some_and(|examples| examples.value.is_object()) {
            for (name, example) in self.members(node, "examples") {
                let Some((example, _)) = self.follow(&example) else { continue };
                // 3.2 tells a value (`dataValue`) from the bytes that it becomes (`serializedValue`).
                let key = if example.has("dataValue") { "dataValue" } else { "value" };
                match example.value.get(key) {
                    Some(value) => add(name, value, example.at.join(key)),
                    None if example.has("externalValue") || example.has("serializedValue") => {}
                    // The value itself instead of an Example Object: a common slip with one meaning, unless it looks like the object.
                    None if example.has("summary") || example.has("description") => {}
                    None => {
                        self.note(Problem::new("an example stands here without `value`").at(&example.at));
                        add(name, example.value, example.at);
                    }
                }
            }
        }
        let Some(mut schema) = schema.cloned() else { return found };
        for _ in 0..64 {
            if let Some(value) = schema.value.get("example") {
                add("example", value, schema.at.join("example"));
            }
            match schema.value.get("examples") {
                Some(Value::Array(values)) => {
                    for (index, value) in values.iter().enumerate() {
                        add("example", value, schema.at.join("examples").join(&index.to_string()));
                    }
                }
                Some(Value::Object(values)) => {
                    for (name, value) in values {
                        add(name, value, schema.at.join("examples").join(name));
                    }
                }
                _ => {}
            }
            if let Some(value) = schema.value.get("default") {
                add("default", value, schema.at.join("default"));
            }
            let Some(Value::String(reference)) = schema.value.get("$ref") else { break };
            let Ok(place) = self.document.refer(schema.at.file, reference) else { break };
            let Ok(next) = self.lookup(&place, 0) else { break };
            schema = next;
        }
        found
    }
}

/// A title as one lower-case word.
fn one_word(title: &str) -> String {
    let word: String = title.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) { word } else { format!("api{word}") }
}
