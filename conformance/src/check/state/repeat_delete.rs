use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, done};
use crate::case::{Act, Argument, ArgumentValue, Case};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.repeat-delete`.
pub(super) struct RepeatDelete;

static META: Meta = Meta {
    id: "state.repeat-delete",
    level: Level::Must,
    title: "deleting twice is answered like deleting what never was",
    rationale: "RFC 9110 section 9.2.2: DELETE is idempotent, so a client whose connection broke sends it again. The second \
                answer must be one that the contract knows, and must not tell a deleted thing from one that never was as a \
                success.",
    sends: "for each kind of resource with DELETE: create one, delete it, delete it again; delete one that never was",
    demands: "the second answer is below 500; where an unknown id gets 404, the second answer is no success",
    guards: "a service that answers every deletion with success is as good; 410 for the deleted one is fine",
    fault: "the second deletion is answered 204 although unknown ids get 404",
};

impl Check for RepeatDelete {
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
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            let Some(mut call) = planner.item_call(delete, &handled.caller, handled.collection, "create") else {
                continue;
            };
            let mut acts = vec![create];
            acts.extend(super::read_act(planner, &handled, "before"));
            super::with_precondition(planner, &mut call, if acts.len() > 1 { "before" } else { "create" });
            let mut never = call.clone();
            let documented = planner.subject.operation(delete);
            let last = documented.parameters.iter().position(|one| one.name == handled.collection.parameter);
            let nobody = last.and_then(|parameter| Some((parameter, planner.unknown_id(delete, parameter)?)));
            acts.extend([Act::new("delete", call.clone()), Act::new("again", call)]);
            if let Some((parameter, nobody)) = nobody {
                never.arguments.retain(|argument| argument.parameter != parameter);
                never.arguments.push(Argument { parameter, value: ArgumentValue::Value(nobody) });
                acts.push(Act::optional("never-was", never));
            }
            chain(planner, &META, delete, "repeat-delete", acts, cases);
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(delete), Some(again)) = (done(sequence, "delete"), sequence.act("again")) else { return };
        let Some(clause) = clause(sequence, delete.call.operation) else { return };
        let (Some(status), false) = (again.exchange.status(), delete.exchange.status() == Some(202)) else { return };
        if matches!(status, 401 | 403 | 429 | 503) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let never = sequence.act("never-was").and_then(|step| step.exchange.status());
        let lies = status < 300 && matches!(never, Some(404 | 410));
        let operation = sequence.subject.operation(delete.call.operation);
        verdicts.decide(status < 500 && !lies, clause, || {
            let expected = match never {
                Some(never) if lies => format!("{never} or 410, as for what never was"),
                _ => "an answer below 500".to_owned(),
            };
            Break::new(&META, clause, format!("{} answers {status} when it is repeated", operation.id))
                .with_values(expected, status.to_string())
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Status)
                .in_act("again")
        });
    }
}
