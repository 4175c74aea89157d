use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, done, open, read_act, says_nothing};
use crate::case::{Act, Case};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.deleted-is-gone`.
pub(super) struct DeletedIsGone;

static META: Meta = Meta {
    id: "state.deleted-is-gone",
    level: Level::Must,
    title: "what was deleted is gone",
    rationale: "RFC 9110 section 9.3.5: DELETE removes the association between the resource and its functionality. Use after \
                deletion is how data that people wanted gone comes back.",
    sends: "for each kind of resource with DELETE: create one, delete it, then call every other reading operation on it, and \
            change it where it can be changed",
    demands: "404 or 410 for each",
    guards: "202 promises nothing yet; only operations that document 404 or 410 (what is archived instead of deleted can be \
             read on); an answer that itself says `deleted` or `archived` says nothing; a DELETE with an \
             optional body is left out: the body may say whether to delete",
    fault: "a deleted parcel can still be read",
};

impl Check for DeletedIsGone {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some(delete) = handled.collection.delete.filter(|delete| planner.can_call(*delete, &handled.caller))
            else {
                continue;
            };
            // What is removed, and whether, an optional body may say.
            if planner.subject.operation(delete).body.as_ref().is_some_and(|body| !body.required) {
                continue;
            }
            let exact = |operation: usize, status: u16| {
                let documented = planner.subject.operation(operation);
                documented
                    .responses
                    .iter()
                    .any(|one| one.status == trueline_spec::contract::StatusPattern::Exact(status))
            };
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            let Some(mut call) = planner.item_call(delete, &handled.caller, handled.collection, "create") else {
                continue;
            };
            let mut acts = vec![create];
            acts.extend(read_act(planner, &handled, "before"));
            let tag = if acts.len() > 1 { "before" } else { "create" };
            super::with_precondition(planner, &mut call, tag);
            acts.push(Act::new("delete", call));
            let length = acts.len();
            // Everything else that hangs on the item: `GET /agents/{agentId}/conversations` of an agent that is gone.
            for (index, operation) in planner.subject.contract.operations.iter().enumerate() {
                let on_item = operation.path_parameters().any(|name| {
                    planner
                        .subject
                        .collections
                        .named_by(operation, name)
                        .is_some_and(|one| one.item == handled.collection.item)
                });
                let looks = operation.effect == trueline_spec::vocabulary::Effect::Read;
                let changes = Some(index) == handled.collection.patch || Some(index) == handled.collection.replace;
                if !on_item
                    || !(looks || changes)
                    || !(exact(index, 404) || exact(index, 410))
                    || !planner.can_call(index, &handled.caller)
                {
                    continue;
                }
                // Deeper items need ids of their own, which went with their parent.
                let deeper = operation.path_parameters().any(|name| {
                    planner.subject.collections.named_by(operation, name).is_some_and(|one| {
                        one.item.len() > handled.collection.item.len() && one.item.starts_with(&handled.collection.item)
                    })
                });
                if deeper {
                    continue;
                }
                if let Some(mut call) = planner.item_call(index, &handled.caller, handled.collection, "create") {
                    if changes {
                        super::with_precondition(planner, &mut call, tag);
                    }
                    acts.push(Act::optional(format!("gone-{}", operation.id), call));
                }
            }
            if acts.len() > length {
                chain(planner, &META, delete, "deleted-is-gone", acts, cases);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let Some(delete) = done(sequence, "delete").filter(|step| step.exchange.status() != Some(202)) else { return };
        let Some(clause) = clause(sequence, delete.call.operation) else { return };
        for step in sequence.steps.iter().filter(|step| step.act.starts_with("gone-")) {
            if says_nothing(step) {
                open(Some(step), clause, verdicts);
                continue;
            }
            let status = step.exchange.status().unwrap_or_default();
            if status < 300 && says_it_is_gone(step) {
                verdicts.inconclusive.push(clause);
                continue;
            }
            // A change of nothing may be refused for other reasons too: 409, 412.
            verdicts.decide((400..500).contains(&status), clause, || {
                let operation = sequence.subject.operation(step.call.operation);
                let deleter = &sequence.subject.operation(delete.call.operation).id;
                Break::new(&META, clause, format!("{} answers {status} for what {deleter} has deleted", operation.id))
                    .with_values("404 or 410", status.to_string())
                    .with_cause(format!("{} {deleter}", operation.id))
                    .with_offending(Offending::Status)
                    .in_act(step.act.clone())
            });
        }
    }
}

/// Whether an answer shows the thing as deleted: a flag or a state of that name.
fn says_it_is_gone(step: &super::Step) -> bool {
    let words = ["deleted", "archived", "removed", "trashed", "deactivated"];
    let members = step.exchange.json().and_then(serde_json::Value::as_object);
    members.into_iter().flatten().any(|(name, value)| {
        let named = words.iter().any(|word| crate::collection::plain(name).contains(word));
        let told = !value.is_null() && *value != serde_json::Value::Bool(false);
        let state = value.as_str().is_some_and(|text| words.contains(&text.to_lowercase().as_str()));
        (named && told) || state
    })
}
