use serde_json::Value;
use trueline_spec::contract::Direction;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{CallBody, Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::{Planner, preferred_media};

/// `input.read-only-ignored`.
pub(super) struct ReadOnlyIgnored;

static META: Meta = Meta {
    id: "input.read-only-ignored",
    level: Level::Must,
    title: "what only the service may set cannot be set by a request",
    rationale: "Mass assignment: a member that the request's schema does not have, or that is read-only, is copied into \
                what is stored. CWE-915; OWASP API3:2023; JSON Schema 2020-12 section 9.4.",
    sends: "each operation that creates or changes: a valid body with members more, named like the ids, counters and times \
            of its answer, with values that nobody else would choose",
    demands: "the answer does not show those values",
    guards: "only where the request's schema allows unknown members; a refusal is as good as ignoring them",
    fault: "an id in the body becomes the agent's id",
};

const ID: &str = "5e1f0000-0000-4000-8000-0000000000ff";
const TIME: &str = "1999-09-09T09:09:09Z";
const COUNT: i64 = 909_090_909;

impl Check for ReadOnlyIgnored {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, operation) in planner.operations() {
            let Some(body) = &operation.body else { continue };
            let media = preferred_media(body);
            if body.media[media].media_type != "application/json" {
                continue;
            }
            let Some(caller) = planner.callers(operation).into_iter().next() else { continue };
            let Some(mut call) = planner.plain_call(index, &caller) else { continue };
            let markers = markers(planner, index);
            let Some(CallBody::Value { value: Value::Object(members), .. }) = &mut call.body else { continue };
            let mut added = false;
            for (name, marker) in markers {
                if !members.contains_key(&name) {
                    members.insert(name, marker);
                    added = true;
                }
            }
            let valid = match (&call.body, planner.subject.body_generator(index, media)) {
                (Some(CallBody::Value { value, .. }), Some(generator)) => generator.is_valid(value),
                _ => false,
            };
            if added && valid {
                cases.push(planner.single(Phase::Boundary, META.id, format!("{}/body/read-only", operation.id), call));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Script::Single(_), true) = (&seen.case.script, seen.is_planned_by(&META)) else { return };
        let (Some(operation), Some(Value::Object(members))) = (seen.operation(), seen.exchange.json()) else { return };
        let Some(clause) = seen.clauses().of_operation(seen.call.operation).input else { return };
        if seen.response.status >= 400 {
            return;
        }
        let taken = members.iter().find(|(_, value)| **value == ID || **value == TIME || **value == COUNT);
        match taken {
            None => verdicts.hold(clause),
            Some((name, value)) => {
                let broken = Break::new(&META, clause, format!("{} lets a request set `{name}`", operation.id))
                    .with_values(format!("a `{name}` of the service's own"), value.to_string())
                    .with_cause(format!("{} {name}", operation.id))
                    .with_offending(Offending::Body(format!("/{}", crate::clause::escape(name))));
                verdicts.broke(broken);
            }
        }
    }
}

/// Members of the answer that a request has no business with, with values to recognize them by.
fn markers(planner: &Planner<'_>, operation: usize) -> Vec<(String, Value)> {
    let contract = &planner.subject.contract;
    let documented = planner.subject.operation(operation);
    let mut request_names = Vec::new();
    for media in documented.body.iter().flat_map(|body| &body.media) {
        if let Some(schema) = &media.schema {
            properties(&contract.standalone(schema, Direction::Request), &mut |name, _| {
                request_names.push(name.to_owned())
            });
        }
    }
    let mut markers = Vec::new();
    let success = documented.responses.iter().filter(|response| response.status.to_string().starts_with('2'));
    for schema in success.flat_map(|response| &response.media).filter_map(|media| media.schema.as_ref()) {
        properties(&contract.standalone(schema, Direction::Response), &mut |name, property| {
            let is = |keyword: &str, wanted: &str| property.get(keyword).and_then(Value::as_str) == Some(wanted);
            let marker = if is("format", "uuid") {
                Value::from(ID)
            } else if is("format", "date-time") {
                Value::from(TIME)
            } else if is("type", "integer") {
                Value::from(COUNT)
            } else {
                return;
            };
            if !request_names.iter().any(|known| known == name) {
                markers.push((name.to_owned(), marker));
            }
        });
    }
    markers
}

/// The top-level properties of an object schema, through references and compositions.
fn properties(schema: &Value, each: &mut dyn FnMut(&str, &Value)) {
    fn walk(root: &Value, at: &Value, depth: usize, each: &mut dyn FnMut(&str, &Value)) {
        if depth > 8 {
            return;
        }
        for (name, property) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
            each(name, property);
        }
        if let Some(target) = at.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'))
            && let Some(target) = root.pointer(target)
        {
            walk(root, target, depth + 1, each);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for branch in at.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                walk(root, branch, depth + 1, each);
            }
        }
    }
    walk(schema, schema, 0, each);
}
