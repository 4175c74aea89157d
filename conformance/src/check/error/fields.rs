use serde_json::Value;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Expect, Part};
use crate::finding::Offending;

/// `error.fields`.
pub(super) struct Fields;

static META: Meta = Meta {
    id: "error.fields",
    level: Level::Must,
    title: "a refusal of an invalid request names the field that is wrong",
    rationale: "A form can only show an error beside its field if the answer says which. The contract's schemas for the \
                details of its validation codes, or `error-envelope.fields`.",
    sends: "nothing of its own; answers to requests with exactly one fault in one top-level field are looked at",
    demands: "the field's name stands in the details or in the list of field errors",
    guards: "only where the contract has a place for field names, and only for faults in a named top-level member of the \
             body or in a query parameter; compositions are left out",
    fault: "the details name another field than the wrong one",
};

impl Check for Fields {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Expect::Invalid(fault) = &seen.call.expect else { return };
        let (Some(envelope), Some(operation)) = (&seen.contract().envelope, seen.operation()) else { return };
        let Some(body) = seen.exchange.json() else { return };
        if !seen.subject.is_validation_refusal(seen.response.status, Some(body)) {
            return;
        }
        let field = match &fault.part {
            Part::Body => fault.instance.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~"),
            Part::Parameter(index) => operation.parameters[*index].name.clone(),
        };
        let composed = ["oneOf", "anyOf", "not", "if"].iter().any(|word| fault.keyword == *word);
        if field.is_empty() || composed {
            return;
        }
        let Some(code) = seen.subject.code_of(body) else { return };
        let places: Vec<&Value> = match envelope.vocabulary.fields.as_slice() {
            [] if envelope.details.contains_key(code) => seen.subject.details_of(body).into_iter().collect(),
            pointers => pointers.iter().filter_map(|pointer| body.pointer(pointer)).collect(),
        };
        if places.is_empty() {
            return;
        }
        let Some(&clause) = seen.clauses().of_operation(seen.call.operation).codes.get(code) else { return };
        verdicts.decide(places.iter().any(|place| names(place, &field)), clause, || {
            let shown = places.iter().map(|place| place.to_string()).collect::<Vec<_>>().join(" ");
            let pointer = envelope.vocabulary.details.first().cloned().unwrap_or_default();
            Break::new(&META, clause, "a refusal does not name the wrong field")
                .with_values(format!("`{field}` in the details"), shown)
                .with_cause(code)
                .with_offending(Offending::Body(pointer))
        });
    }
}

/// Whether a field's name stands anywhere in a value: as a key, or in a text as a whole word.
fn names(value: &Value, field: &str) -> bool {
    match value {
        Value::String(text) => {
            text.split(|c: char| !(c.is_alphanumeric() || "_-$@".contains(c))).any(|word| word == field)
                || text.contains(field) && !field.chars().all(char::is_alphanumeric)
        }
        Value::Array(items) => items.iter().any(|item| names(item, field)),
        Value::Object(members) => {
            members.iter().any(|(key, member)| names(&Value::from(key.as_str()), field) || names(member, field))
        }
        _ => false,
    }
}
