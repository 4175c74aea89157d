//! Values that no two resources may share (`x-unique`): a fresh one for every request, because whatever the plan holds was
//! sent before, if not in this run then in another.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Schema};

use super::Run;
use crate::case::{Binding, Call, CallBody, Expect, Part};
use crate::subject::lock;

/// Letters and digits that are changed at most: 36^10 values, of which a run sends some thousands.
const CHANGED: usize = 10;

/// Names of the unique properties of an operation's body, with what their values must be.
type Unique = Vec<(String, Option<jsonschema::Validator>)>;

/// What makes values fresh.
pub(crate) struct Fresh {
    /// Another one in each run.
    nonce: u64,
    count: AtomicU64,
    of_operations: Mutex<HashMap<usize, Arc<Unique>>>,
}

impl Default for Fresh {
    fn default() -> Self {
        Fresh {
            nonce: RandomState::new().build_hasher().finish(),
            count: AtomicU64::new(0),
            of_operations: Mutex::default(),
        }
    }
}

impl Run {
    /// Gives the unique properties of a call's body values of their own. What a case wants to be wrong stays as it is.
    pub(crate) fn freshen(&self, call: &mut Call) {
        let unique = self.unique_properties(call.operation);
        let Some(CallBody::Value { value: Value::Object(members), bindings, .. }) = &mut call.body else { return };
        for (name, validator) in unique.iter() {
            let pointer = format!("/{}", crate::clause::escape(name));
            let faulty = matches!(&call.expect, Expect::Invalid(fault)
                if fault.part == Part::Body && fault.instance.starts_with(&pointer));
            let own =
                |(bound, binding): &(String, Binding)| *bound == pointer && matches!(binding, Binding::Unique { .. });
            if faulty || bindings.iter().any(own) {
                continue;
            }
            // The name of something that exists is the one value that cannot be right here.
            bindings.retain(|(bound, _)| *bound != pointer);
            let Some(Value::String(text)) = members.get_mut(name) else { continue };
            let changed = changed(text, &self.fresh.next());
            if validator.as_ref().is_none_or(|validator| validator.is_valid(&Value::from(changed.as_str()))) {
                *text = changed;
            }
        }
    }

    fn unique_properties(&self, operation: usize) -> Arc<Unique> {
        let mut known = lock(&self.fresh.of_operations);
        let unique = known.entry(operation).or_insert_with(|| {
            let contract = &self.subject.contract;
            let mut found = Vec::new();
            for media in self.subject.operation(operation).body.iter().flat_map(|body| &body.media) {
                if let Some(schema) = &media.schema {
                    gather(contract, schema, &mut found, 0);
                }
            }
            Arc::new(found)
        });
        Arc::clone(unique)
    }
}

impl Fresh {
    fn next(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let digest = blake3::hash(&[self.nonce.to_le_bytes(), number.to_le_bytes()].concat());
        let letter = |byte: &u8| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(byte % 36)]);
        digest.as_bytes().iter().take(CHANGED).map(letter).collect()
    }
}

fn gather(contract: &Contract, schema: &Schema, found: &mut Unique, depth: usize) {
    let schema = contract.resolve(schema);
    if depth > 16 {
        return;
    }
    let part = |value: &Value| Schema { value: value.clone().into(), at: schema.at.clone(), origins: None };
    for (name, property) in schema.value.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if property.get("x-unique") == Some(&Value::Bool(true)) {
            found.push((name.clone(), contract.validator(&part(property), Direction::Request).ok()));
        }
    }
    for inner in schema.value.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        gather(contract, &part(inner), found, depth + 1);
    }
}

/// The text with its last letters and digits changed, as long as before: lengths are what many cases are about. Of an e-mail
/// address it is the part before the `@` that counts.
fn changed(text: &str, fresh: &str) -> String {
    let local = text.rfind('@').unwrap_or(text.len());
    let mut characters: Vec<char> = text[..local].chars().collect();
    let mut fresh = fresh.chars();
    for place in characters.iter_mut().rev().filter(|place| place.is_ascii_alphanumeric()) {
        match fresh.next() {
            Some(character) => *place = character,
            None => break,
        }
    }
    characters.into_iter().chain(text[local..].chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_shapes_stay() {
        assert_eq!(changed("ana.wijaya", "0123456789"), "876.543210");
        assert_eq!(changed("a@example.com", "xyz"), "x@example.com");
        assert_eq!(changed("a-b", "12"), "2-1");
        assert_eq!(changed("", "12"), "");
        let fresh = Fresh::default();
        assert_ne!(fresh.next(), fresh.next());
    }
}
