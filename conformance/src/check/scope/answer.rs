use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::clause;
use crate::case::Expect;
use crate::finding::Offending;

/// `scope.answer`.
pub(super) struct Answer;

static META: Meta = Meta {
    id: "scope.answer",
    level: Level::Must,
    title: "a missing right is told as 403, in the contract's words",
    rationale: "RFC 9110 sections 15.5.2 and 15.5.4; RFC 6750 section 3.1: 401 makes a client log in again, 404 makes it create \
                what is there already. The contract's code for `refusals.forbidden`.",
    sends: "nothing of its own; the refusals of scope.enforced are looked at",
    demands: "403, with the code that the contract names",
    guards: "what is let in is left to scope.enforced; 429 comes first where it comes; where the document has no 403 for the \
             operation, any refusal is right",
    fault: "a missing scope is answered 401",
};

impl Check for Answer {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Expect::Refused { codes, .. } = &seen.call.expect else { return };
        let (true, Some(operation)) = (seen.case.check == "scope.enforced", seen.operation()) else { return };
        let Some(clause) = clause(seen) else { return };
        let status = seen.response.status;
        if status < 400 || status == 429 || status >= 500 || operation.response(403).is_none() {
            return;
        }
        // Where nothing is named, 404 means that the operation itself is not there; a contract that speaks of its refusals
        // means what it says.
        let vague = seen.subject.contract.envelope.is_none();
        if vague && status == 404 && operation.path_parameters().next().is_none() {
            verdicts.inconclusive.push(clause);
            return;
        }
        let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
        let right_code = codes.is_empty() || code.is_none_or(|code| codes.iter().any(|wanted| wanted == code));
        verdicts.decide(status == 403 && right_code, clause, || {
            Break::new(&META, clause, format!("{} answers {status} where a right is missing", operation.id))
                .with_values(format!("403 {}", codes.join(" or ")), format!("{status} {}", code.unwrap_or_default()))
                // One gate answers for all operations.
                .with_cause(format!("{status} {}", code.unwrap_or_default()))
                .with_offending(Offending::Status)
        });
    }
}
