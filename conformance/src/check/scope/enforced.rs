use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::{clause, unauthorized};
use crate::case::{Case, Expect, Phase};
use crate::finding::Offending;
use crate::plan::Planner;

/// `scope.enforced`.
pub(super) struct Enforced;

static META: Meta = Meta {
    id: "scope.enforced",
    level: Level::Must,
    title: "a caller without the right to an operation is refused",
    rationale: "OWASP API5:2023, broken function level authorization; RFC 9110 section 15.5.4; RFC 6750 section 3.1. The scopes \
                of the operation's security requirement, `x-required-scopes`, or the profile's `denied`.",
    sends: "each operation, with a valid request that names what exists, as each principal whose `scopes` lack one that the \
            operation asks for or whose `denied` lists it; where credentials can be made with chosen scopes (`mint`), with all \
            scopes but each one that is needed; where several sets of scopes are alternatives, but one of each",
    demands: "no success",
    guards: "a principal without `scopes` in the profile is thought to have all; 401 and 429 say nothing of scopes; what a \
             service does not find for want of a right is left to scope.answer",
    fault: "a viewer may create what only members may",
};

impl Check for Enforced {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (id, call) in unauthorized(planner) {
            cases.push(planner.single(Phase::Access, META.id, id, call));
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Expect::Refused { .. } = &seen.call.expect else { return };
        let (true, Some(operation)) = (seen.is_planned_by(&META), seen.operation()) else { return };
        let Some(clause) = clause(seen) else { return };
        let status = seen.response.status;
        if matches!(status, 401 | 429) || status >= 500 {
            verdicts.inconclusive.push(clause);
            return;
        }
        verdicts.decide(status >= 400, clause, || {
            Break::new(&META, clause, format!("{} answers {status} to a caller without the right to it", operation.id))
                .with_values("403", status.to_string())
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Status)
        });
    }
}
