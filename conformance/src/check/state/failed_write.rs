use super::super::{Check, Level, Meta, Sequence, Verdicts};
use super::{chain, change_call, clause, differs, done, member, open, read_act, same, says_nothing};
use crate::case::{Act, CallBody, Case, Expect, FaultNote, Part};
use crate::data::Verdict;
use crate::plan::Planner;

/// `state.failed-write-changes-nothing`.
pub(super) struct FailedWriteChangesNothing;

static META: Meta = Meta {
    id: "state.failed-write-changes-nothing",
    level: Level::Must,
    title: "a refused change changes nothing",
    rationale: "RFC 5789 section 2: the server must apply the entire set of changes atomically and never provide a partially \
                modified representation. Whoever is told 400 does not look for what was stored all the same.",
    sends: "for each kind of resource with PUT or PATCH: create one, read it, send a change with new values and exactly one \
            fault, read it again",
    demands: "every member that callers can set reads as before",
    guards: "only where the change was refused with 400 to 499; the fault is in another member than those that would change",
    fault: "PATCH stores the good members before it finds the bad one",
};

impl Check for FailedWriteChangesNothing {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            for write in [handled.collection.replace, handled.collection.patch].into_iter().flatten() {
                let Some((mut call, fields)) = change_call(planner, &handled, write, "create") else { continue };
                let Some(CallBody::Value { media, value, .. }) = &call.body else { continue };
                let Some(generator) = planner.subject.body_generator(write, *media) else { continue };
                // A fault in the last member, so that a service which stores as it reads has stored the others by then.
                let faults = generator.boundaries().into_iter().filter_map(|boundary| {
                    let Verdict::Invalid(fault) = &boundary.verdict else { return None };
                    let mut pieces = fault.instance.split('/').skip(1);
                    let (name, None) = (pieces.next()?.to_owned(), pieces.next()) else { return None };
                    let bad = boundary.value.get(&name)?.clone();
                    let others = fields.iter().any(|field| field.name != name);
                    let mut body = value.clone();
                    body[name.as_str()] = bad;
                    (others && !generator.is_valid(&body)).then(|| (fault.clone(), name, body))
                });
                let faults: Vec<_> = faults.collect();
                // The wrong type is what every service notices.
                let Some((fault, _, body)) =
                    faults.iter().rev().find(|(fault, _, _)| fault.keyword == "type").or(faults.last()).cloned()
                else {
                    continue;
                };
                if let Some(CallBody::Value { value, bindings, .. }) = &mut call.body {
                    *value = body;
                    bindings.retain(|(pointer, _)| *pointer != fault.instance);
                }
                call.expect = Expect::Invalid(FaultNote {
                    part: Part::Body,
                    instance: fault.instance.clone(),
                    schema: fault.schema.clone(),
                    keyword: fault.keyword.clone(),
                });
                super::with_precondition(planner, &mut call, "before");
                let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
                let (Some(before), Some(after)) =
                    (read_act(planner, &handled, "before"), read_act(planner, &handled, "after"))
                else {
                    continue;
                };
                let acts = vec![create, before, Act::new("change", call), after];
                chain(planner, &META, write, "failed-write-changes-nothing", acts, cases);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(before), Some(change), Some(after)) =
            (done(sequence, "before"), sequence.act("change"), sequence.act("after"))
        else {
            return;
        };
        let Some(clause) = clause(sequence, change.call.operation) else { return };
        let refused = change.exchange.status().is_some_and(|status| (400..500).contains(&status));
        if says_nothing(change) || !refused || after.exchange.status().is_none_or(|status| status >= 300) {
            open(Some(change), clause, verdicts);
            return;
        }
        let operation = sequence.subject.operation(change.call.operation);
        for name in sequence.subject.settable(change.call.operation, after.call.operation) {
            let (Some(was), now) = (member(before, &name), member(after, &name)) else { continue };
            if now.is_some_and(|now| same(now, was)) {
                continue;
            }
            let what = format!("{} refuses a change and stores `{name}` all the same", operation.id);
            verdicts.broke(differs(&META, clause, &operation.id, what, &name, was, now).in_act("after"));
            return;
        }
        verdicts.hold(clause);
    }
}
