use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Caller, Case, Expect, Phase};
use crate::finding::Offending;
use crate::plan::Planner;
use crate::profile::Purpose;

/// `scope.enforced`.
pub(super) struct Enforced;

static META: Meta = Meta {
    id: "scope.enforced",
    level: Level::Must,
    title: "a caller without the right to an operation is refused",
    rationale: "OWASP API5:2023, broken function level authorization; RFC 9110 section 15.5.4. The contract's code for \
                `refusals.forbidden`.",
    sends: "each operation in a principal's `denied` list, as that principal, with a valid request",
    demands: "403, with the code that the contract names, or the profile's `denied-code`",
    guards: "only what the profile says is denied",
    fault: "a viewer may create what only members may",
};

impl Check for Enforced {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        let denied = planner.reserved(Purpose::Denial).chain(planner.free_principals());
        for (name, principal) in denied {
            for (index, operation) in planner.operations().filter(|(_, one)| principal.denied.contains(&one.id)) {
                let Some(mut call) = planner.plain_call(index, &Caller::Principal(name.to_owned())) else { continue };
                let forbidden =
                    planner.subject.contract.envelope.as_ref().map(|one| one.vocabulary.refusals.forbidden.clone());
                let code = principal.denied_code.as_deref().or(forbidden.as_ref().and_then(|answer| answer.code()));
                call.expect = Expect::Refused { statuses: vec![403], codes: planner.codes(operation, &[code]) };
                cases.push(planner.single(Phase::Access, META.id, format!("{}/denied/{name}", operation.id), call));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Expect::Refused { statuses, codes } = &seen.call.expect else { return };
        let (true, Some(operation)) = (seen.is_planned_by(&META), seen.operation()) else { return };
        let clauses = seen.clauses().of_operation(seen.call.operation);
        let Some(&clause) = clauses.security.values().next() else { return };
        let status = seen.response.status;
        let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
        let right_code = codes.is_empty() || code.is_none_or(|code| codes.iter().any(|wanted| wanted == code));
        verdicts.decide(statuses.contains(&status) && right_code, clause, || {
            Break::new(&META, clause, format!("{} answers {status} to a caller without the right to it", operation.id))
                .with_values(format!("403 {}", codes.join(" or ")), format!("{status} {}", code.unwrap_or_default()))
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Status)
        });
    }
}
