use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{chain, change_call, clause, differs, done, member, open, read_act, same, says_nothing, sent, tagged_by};
use crate::case::{Act, Case};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.update-persists`.
pub(super) struct UpdatePersists;

static META: Meta = Meta {
    id: "state.update-persists",
    level: Level::Must,
    title: "an acknowledged change is there when it is read",
    rationale: "RFC 9110 sections 9.3.4 and 15.3.1; RFC 5789 section 2: success says that the change was applied.",
    sends: "for each kind of resource with PUT or PATCH: create one, change it, read it",
    demands: "a successful reading that shows the members of the change with their new values",
    guards: "202 promises nothing yet; only members that both schemas have, with plain values; a member that the changing \
             answer itself shows with another value was rewritten on purpose",
    fault: "a change is answered but not stored",
};

impl Check for UpdatePersists {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            for write in [handled.collection.replace, handled.collection.patch].into_iter().flatten() {
                let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
                let tagged = tagged_by(planner, &handled);
                let Some((change, fields)) = change_call(planner, &handled, write, "create") else { continue };
                let Some(read) = read_act(planner, &handled, "read") else { continue };
                if fields.is_empty() {
                    continue;
                }
                let mut acts = vec![create];
                let mut change = change;
                if tagged == "before" {
                    acts.extend(read_act(planner, &handled, "before"));
                    super::with_precondition(planner, &mut change, "before");
                }
                acts.extend([Act::new("change", change), read]);
                chain(planner, &META, write, "update-persists", acts, cases);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(change), Some(read)) = (done(sequence, "change"), sequence.act("read")) else { return };
        let Some(clause) = clause(sequence, change.call.operation) else { return };
        if change.exchange.status() == Some(202) || says_nothing(read) {
            open(Some(read), clause, verdicts);
            return;
        }
        let operation = sequence.subject.operation(change.call.operation);
        let status = read.exchange.status().unwrap_or_default();
        if !(200..300).contains(&status) {
            let broken = Break::new(&META, clause, format!("what {} changes cannot be read any more", operation.id))
                .with_values("a successful reading", status.to_string())
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Status)
                .in_act("read");
            verdicts.broke(broken);
            return;
        }
        for name in sequence.subject.settable(change.call.operation, read.call.operation) {
            let Some(written) = sent(change, &name) else { continue };
            let shown = member(read, &name);
            let rewritten = member(change, &name).is_some_and(|answered| !same(answered, written));
            if shown.is_some_and(|shown| same(shown, written)) {
                continue;
            }
            // A change whose answer shows the old value has not been made either; nothing was rewritten.
            let old = done(sequence, "create").and_then(|create| sent(create, &name));
            let unchanged = matches!((shown, old), (Some(shown), Some(old)) if same(shown, old));
            if rewritten && !unchanged {
                continue;
            }
            let what = format!("{} does not keep `{name}`", operation.id);
            verdicts.broke(differs(&META, clause, &operation.id, what, &name, written, shown).in_act("read"));
            return;
        }
        verdicts.hold(clause);
    }
}
