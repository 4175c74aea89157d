//! The contract vocabulary in a document: typed strictly where the document is written in it.

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::{Node, Reader};
use crate::contract::{Envelope, Schema};
use crate::document::Location;
use crate::problem::{Problem, did_you_mean, nearest};
use crate::vocabulary::{ContractVocabulary, Credential, OperationVocabulary, Provenance, Secret};

const ROOT: &[&str] = &["x-contract"];
const OPERATION: &[&str] = &[
    "x-required-scopes",
    "x-rate-limits",
    "x-quotas",
    "x-error-codes",
    "x-visibility",
    "x-effect",
    "x-max-body-bytes",
    "x-provenance",
];
const SECURITY_SCHEME: &[&str] = &["x-credential", "x-provenance"];
const SCHEMA: &[&str] = &["x-secret", "x-provenance"];

/// The keys by which a misspelled `x-contract` gives itself away.
const TELLING: &[&str] =
    &["check-order", "error-envelope", "error-codes", "rate-limits", "quotas", "client-errors", "retry"];

impl<'d> Reader<'d> {
    pub(super) fn contract_vocabulary(&mut self, root: &Node<'d>) -> Option<ContractVocabulary> {
        let Some(node) = root.get("x-contract") else {
            self.misspelled_contract(root);
            return None;
        };
        let (value, origins) = self.inlined(&node)?;
        let vocabulary: ContractVocabulary = match serde_path_to_error::deserialize(&value) {
            Ok(vocabulary) => vocabulary,
            Err(error) => {
                self.vocabulary_problem(&node, &origins, &error);
                return None;
            }
        };
        let plain = vocabulary.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !plain || !vocabulary.name.starts_with(|c: char| c.is_ascii_lowercase()) {
            let problem = Problem::new("a contract's name is one lower-case word").at(&node.at.join("name"));
            self.problem(problem.expected("letters a to z and digits").found(format!("\"{}\"", vocabulary.name)));
        }
        Some(vocabulary)
    }

    fn misspelled_contract(&mut self, root: &Node<'d>) {
        let Some(map) = root.value.as_object() else { return };
        for (key, value) in map {
            let near = key.starts_with("x-") && nearest(key, ROOT.iter().copied()).is_some();
            if near && value.as_object().is_some_and(|map| TELLING.iter().any(|key| map.contains_key(*key))) {
                let problem = Problem::new(format!("`{key}` is not a key of the contract vocabulary"));
                self.problem(problem.at(&root.at.join(key)).help("did you mean `x-contract`?"));
            }
        }
    }

    /// The value with every `$ref` in it replaced by what it names, and where each replacement stands.
    fn inlined(&mut self, node: &Node<'d>) -> Option<(Value, Vec<(Location, Location)>)> {
        let mut origins = Vec::new();
        let value = self.inline(node, &node.at.clone(), &mut origins, 0)?;
        Some((value, origins))
    }

    fn inline(
        &mut self,
        node: &Node<'d>,
        shown: &Location,
        origins: &mut Vec<(Location, Location)>,
        depth: usize,
    ) -> Option<Value> {
        // Deeper than any vocabulary: references that contain each other.
        if depth > 32 {
            self.problem(Problem::new("these references contain each other").at(&node.at));
            return None;
        }
        let (node, first) = self.follow(node)?;
        if first.is_some() {
            origins.push((shown.clone(), node.at.clone()));
        }
        match node.value {
            Value::Object(map) => {
                let mut out = Map::new();
                for (key, value) in map {
                    let child = Node { value, at: node.at.join(key) };
                    out.insert(key.clone(), self.inline(&child, &shown.join(key), origins, depth + 1)?);
                }
                Some(Value::Object(out))
            }
            other => Some(other.clone()),
        }
    }

    /// An error of serde, said where it happened.
    fn vocabulary_problem(
        &mut self,
        node: &Node<'d>,
        origins: &[(Location, Location)],
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) {
        let (mut shown, mut real) = (node.at.clone(), node.at.clone());
        let redirect = |shown: &Location, real: Location| {
            origins.iter().find(|(from, _)| from == shown).map_or(real, |(_, to)| to.clone())
        };
        real = redirect(&shown, real);
        for segment in error.path().iter() {
            let token = match segment {
                Segment::Map { key } => key.clone(),
                Segment::Seq { index } => index.to_string(),
                Segment::Enum { .. } | Segment::Unknown => continue,
            };
            shown = shown.join(&token);
            real = redirect(&shown, real.join(&token));
        }
        self.problem(said(&error.inner().to_string(), &real, self.document.value(&real)));
    }

    /// One typed value behind an `x-` key. In somebody else's document the key may be somebody else's too.
    fn typed<T: DeserializeOwned>(&mut self, node: &Node<'d>) -> Option<T> {
        match serde_path_to_error::deserialize(node.value) {
            Ok(value) => Some(value),
            Err(error) => {
                let before = self.problems.len();
                self.vocabulary_problem(node, &[], &error);
                if !self.ours {
                    let foreign = self.problems.split_off(before);
                    self.notes.extend(foreign);
                }
                None
            }
        }
    }

    pub(super) fn operation_vocabulary(&mut self, node: &Node<'d>) -> OperationVocabulary {
        self.extensions(node.value, &node.at, OPERATION, "an operation");
        let mut good = Map::new();
        for key in OPERATION {
            let Some(child) = node.get(key) else { continue };
            let alone = Value::Object(Map::from_iter([((*key).to_owned(), child.value.clone())]));
            match serde_path_to_error::deserialize::<_, OperationVocabulary>(&alone) {
                Ok(_) => {
                    good.insert((*key).to_owned(), child.value.clone());
                }
                Err(error) => {
                    let before = self.problems.len();
                    self.vocabulary_problem(node, &[], &error);
                    if !self.ours {
                        let foreign = self.problems.split_off(before);
                        self.notes.extend(foreign);
                    }
                }
            }
        }
        serde_json::from_value(Value::Object(good)).unwrap_or_default()
    }

    pub(super) fn credential(&mut self, node: &Node<'d>) -> Option<Credential> {
        self.extensions(node.value, &node.at, SECURITY_SCHEME, "a security scheme");
        let child = node.get("x-credential")?;
        self.typed(&child)
    }

    pub(super) fn schema_extensions(&mut self, schema: &'d Map<String, Value>, at: &Location) {
        if !schema.keys().any(|key| key.starts_with("x-")) {
            return;
        }
        self.extensions_of(schema, at, SCHEMA, "a schema");
        if let Some(value) = schema.get("x-secret") {
            self.typed::<Secret>(&Node { value, at: at.join("x-secret") });
        }
        if let Some(value) = schema.get("x-provenance") {
            self.typed::<Provenance>(&Node { value, at: at.join("x-provenance") });
        }
    }

    fn extensions(&mut self, value: &'d Value, at: &Location, known: &[&str], place: &str) {
        if let Some(map) = value.as_object() {
            self.extensions_of(map, at, known, place);
        }
    }

    /// A misspelled promise must not turn into silence: a key that is nearly one of ours, or ours in another place, is a
    /// mistake. Anybody else's `x-` keys pass.
    fn extensions_of(&mut self, map: &Map<String, Value>, at: &Location, known: &[&str], place: &str) {
        if !self.ours {
            return;
        }
        for key in map.keys().filter(|key| key.starts_with("x-") && !known.contains(&key.as_str())) {
            let all = [ROOT, OPERATION, SECURITY_SCHEME, SCHEMA];
            let problem = if all.iter().any(|names| names.contains(&key.as_str())) {
                Problem::new(format!("`{key}` says nothing on {place}"))
                    .help(format!("here stand {}", known.join(", ")))
            } else if let Some(near) = nearest(key, known.iter().copied()) {
                Problem::new(format!("`{key}` is not a key of the contract vocabulary"))
                    .help(format!("did you mean `{near}`?"))
            } else {
                continue;
            };
            self.problem(problem.at(&at.join(key)));
        }
    }

    // ---------------------------------------------------------------------------------------- resolved parts

    pub(super) fn envelope(&mut self, root: &Node<'d>, vocabulary: Option<&ContractVocabulary>) -> Option<Envelope> {
        let vocabulary = vocabulary?;
        let at = root.at.join("x-contract");
        let mut details = IndexMap::new();
        for (code, entry) in &vocabulary.error_codes {
            if let Some(reference) = &entry.details {
                let at = at.join("error-codes").join(code).join("details");
                if let Some(schema) = self.named_schema(&at, reference) {
                    details.insert(code.clone(), schema);
                }
            }
        }
        let envelope = vocabulary.error_envelope.clone()?;
        let schema = self.named_schema(&at.join("error-envelope").join("schema"), &envelope.schema)?;
        Some(Envelope { vocabulary: envelope, schema, details })
    }

    /// The schema that a reference in the vocabulary names; references there are relative to the entry document.
    fn named_schema(&mut self, at: &Location, reference: &str) -> Option<Schema> {
        let before = self.problems.len();
        let name = self.schema_name(&Location::root(0), &Location::root(0), reference);
        for problem in self.problems.iter_mut().skip(before) {
            if problem.at.as_ref().is_some_and(|at| &*at.pointer == "/$ref") {
                problem.at = Some(at.clone());
            }
        }
        let value = serde_json::json!({"$ref": format!("#/$defs/{}", name?)});
        Some(Schema { value: value.into(), at: at.clone(), origins: None })
    }

    /// Every name that the vocabulary gives to one of its own things must exist.
    pub(super) fn check_names(&mut self, root: &Node<'d>, vocabulary: &ContractVocabulary) {
        let at = root.at.join("x-contract");
        let codes = || vocabulary.error_codes.keys().map(String::as_str);
        let mut check = |code: &str, at: Location| {
            if !vocabulary.error_codes.contains_key(code) {
                let problem = Problem::new(format!("the error code `{code}` is not in the catalogue")).at(&at);
                self.problems
                    .push(problem.expected("a key of x-contract.error-codes").maybe_help(did_you_mean(code, codes())));
            }
        };
        if let Some(envelope) = &vocabulary.error_envelope {
            let at = at.join("error-envelope");
            for (section, name, answer) in envelope.answers() {
                if let Some(code) = answer.code() {
                    check(code, at.join(section).join(name));
                }
            }
        }
        for (name, quota) in &vocabulary.quotas {
            check(&quota.code, at.join("quotas").join(name).join("code"));
        }
        for (index, code) in vocabulary.retry.iter().flat_map(|retry| retry.except_codes.iter().enumerate()) {
            check(code, at.join("retry").join("except-codes").join(&index.to_string()));
        }
    }
}

/// serde's message in our words: the first of its quoted names is what was found, the others are what is known.
fn said(message: &str, at: &Location, value: Option<&Value>) -> Problem {
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let found = value.map(super::kind);
    match (message.split('`').next().unwrap_or_default(), quoted.split_first()) {
        ("unknown field ", Some((key, known))) => {
            // The path may end at the object or at the key itself.
            let here = at.tokens().last().is_some_and(|token| token == *key);
            let at = if here { at.clone() } else { at.join(key) };
            Problem::new(format!("unknown key `{key}`"))
                .at(&at)
                .expected(known.join(", "))
                .maybe_help(did_you_mean(key, known.iter().copied()))
        }
        ("unknown variant ", Some((word, known))) => Problem::new(format!("`{word}` is not a known word here"))
            .at(at)
            .expected(known.join(", "))
            .maybe_help(did_you_mean(word, known.iter().copied())),
        ("missing field ", Some((key, _))) => Problem::new(format!("the key `{key}` is missing")).at(at),
        _ => match message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: ")) {
            Some(rest) => {
                let (_, expected) = rest.rsplit_once(", expected ").unwrap_or(("", rest));
                let problem = Problem::new("this is not what belongs here").at(at).expected(in_words(expected));
                Problem { found, ..problem }
            }
            None => Problem { found, ..Problem::new(message).at(at) },
        },
    }
}

/// What serde expects, in the words of people who write documents.
fn in_words(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        text if text.starts_with("struct ") => "an object",
        text => text,
    }
}
