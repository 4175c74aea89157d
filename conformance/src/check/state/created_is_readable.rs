use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, differs, done, member, open, read_act, same, says_nothing, sent};
use crate::case::Case;
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.created-is-readable`.
pub(super) struct CreatedIsReadable;

static META: Meta = Meta {
    id: "state.created-is-readable",
    level: Level::Must,
    title: "what was created can be read, and reads as it was written",
    rationale: "RFC 9110 section 15.3.2: 201 says that the resource exists. A client that cannot read back what it has just \
                made cannot rely on anything that comes after.",
    sends: "for each kind of resource: create one with plain values, then read it",
    demands: "a successful reading, which shows the members of the request with their values",
    guards: "202 promises nothing yet; only members that both schemas have, with plain values that no service has a reason to \
             rewrite; a member that the creating answer itself shows with another value was rewritten on purpose",
    fault: "a parcel's note is not stored",
};

impl Check for CreatedIsReadable {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            let Some(read) = read_act(planner, &handled, "read") else { continue };
            chain(planner, &META, handled.create, "created-is-readable", vec![create, read], cases);
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(create), Some(read)) = (done(sequence, "create"), sequence.act("read")) else { return };
        let Some(clause) = clause(sequence, create.call.operation) else { return };
        if create.exchange.status() == Some(202) || says_nothing(read) {
            open(Some(read), clause, verdicts);
            return;
        }
        let operation = sequence.subject.operation(create.call.operation);
        let status = read.exchange.status().unwrap_or_default();
        if !(200..300).contains(&status) {
            let broken = Break::new(&META, clause, format!("what {} creates cannot be read", operation.id))
                .with_values("a successful reading", status.to_string())
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Status)
                .in_act("read");
            verdicts.broke(broken);
            return;
        }
        let Some(crate::case::CallBody::Value { value: serde_json::Value::Object(members), .. }) = &create.call.body
        else {
            verdicts.hold(clause);
            return;
        };
        let fields = sequence.subject.settable(create.call.operation, read.call.operation);
        for name in members.keys().filter(|name| fields.contains(name)) {
            let (Some(written), shown) = (sent(create, name), member(read, name)) else { continue };
            let answered = member(create, name);
            let rewritten = answered.is_some_and(|answered| !same(answered, written));
            if rewritten || shown.is_some_and(|shown| same(shown, written)) {
                continue;
            }
            let what = format!("{} does not keep `{name}`", operation.id);
            verdicts.broke(differs(&META, clause, &operation.id, what, name, written, shown).in_act("read"));
            return;
        }
        verdicts.hold(clause);
        verdicts.held.extend(super::clause(sequence, read.call.operation));
    }
}
