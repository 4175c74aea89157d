use serde_json::Value;

use super::super::{Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, differs, done, member, open, read_act, same, says_nothing, sent};
use crate::case::{Act, CallBody, Case};
use crate::plan::{Planner, preferred_media};

/// `state.patch-is-partial`.
pub(super) struct PatchIsPartial;

static META: Meta = Meta {
    id: "state.patch-is-partial",
    level: Level::Must,
    title: "PATCH changes what it names and nothing else",
    rationale: "RFC 5789 section 2: PATCH is a set of changes, not a new representation; RFC 7396 section 1: what a merge patch \
                does not name stays. A form that saves one field must not wipe the others.",
    sends: "for each kind of resource with PATCH: create one with as many members as go together, read it, patch one member, \
            read it again; once for each of the first three members that can be patched alone",
    demands: "every other member that callers can set reads as before",
    guards: "only members of the request schemas (times, versions and counters may change); JSON Patch bodies are left out; \
             members that the contract ties together are not sent apart, because each body is valid by the whole schema",
    fault: "PATCH resets what it does not name",
};

impl Check for PatchIsPartial {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let (Some(patch), Some(read)) = (handled.collection.patch, handled.collection.read) else { continue };
            let documented = planner.subject.operation(patch);
            let Some(body) = &documented.body else { continue };
            let media = preferred_media(body);
            if body.media[media].media_type.contains("json-patch") || !planner.can_call(patch, &handled.caller) {
                continue;
            }
            let Some(generator) = planner.subject.body_generator(patch, media) else { continue };
            let fields = planner.fields(patch, read);
            let alone = fields.iter().filter_map(|field| {
                let body = serde_json::json!({field.name.as_str(): field.values[1]});
                generator.is_valid(&body).then_some((field, body))
            });
            for (field, body) in alone.take(3) {
                let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
                let Some(before) = read_act(planner, &handled, "before") else { continue };
                let Some(mut call) = planner.item_call(patch, &handled.caller, handled.collection, "create") else {
                    continue;
                };
                call.body = Some(CallBody::Value { media, value: body, bindings: Vec::new() });
                super::with_precondition(planner, &mut call, "before");
                let Some(after) = read_act(planner, &handled, "after") else { continue };
                let acts = vec![create, before, Act::new("patch", call), after];
                chain(planner, &META, patch, &format!("patch-is-partial/{}", field.name), acts, cases);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(before), Some(patch), Some(after)) =
            (done(sequence, "before"), done(sequence, "patch"), sequence.act("after"))
        else {
            return;
        };
        let Some(clause) = clause(sequence, patch.call.operation) else { return };
        let Some(after) = Some(after).filter(|step| step.exchange.status().is_some_and(|status| status < 300)) else {
            open(Some(after).filter(|step| says_nothing(step)), clause, verdicts);
            return;
        };
        let operation = sequence.subject.operation(patch.call.operation);
        let create = collection_create(sequence);
        let mut settable = sequence.subject.settable(patch.call.operation, after.call.operation);
        if let Some(create) = create {
            settable.extend(sequence.subject.settable(create, after.call.operation));
        }
        for name in settable {
            if sent(patch, &name).is_some() {
                continue;
            }
            let Some(was) = member(before, &name) else { continue };
            let now = member(after, &name);
            if now.is_some_and(|now| same(now, was)) || (was.is_null() && now.is_none()) {
                continue;
            }
            let what = format!("{} changes `{name}` although it does not name it", operation.id);
            let lost = now.is_none_or(Value::is_null);
            let who = format!("{} {}", operation.id, if lost { "lost" } else { "changed" });
            verdicts.broke(differs(&META, clause, &who, what, &name, was, now).in_act("after"));
            return;
        }
        verdicts.hold(clause);
    }
}

fn collection_create(sequence: &Sequence<'_>) -> Option<usize> {
    super::collection_of(sequence)?.create
}
