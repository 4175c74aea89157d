use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::clause;
use crate::case::{Caller, Case, Expect, Phase};
use crate::finding::Offending;
use crate::plan::Planner;

/// `scope.sufficient`.
pub(super) struct Sufficient;

static META: Meta = Meta {
    id: "scope.sufficient",
    level: Level::Must,
    title: "the documented scopes are enough",
    rationale: "Whoever asks for the scopes that the document names must be let in; if more is needed, callers ask for \
                everything (the least privilege of RFC 9700 section 2.3 is lost). The scopes of the operation's security \
                requirement, or `x-required-scopes`.",
    sends: "each operation with exactly its documented scopes (each set of them, where there are alternatives), where credentials can be made with chosen scopes (`mint`); \
            every valid request of a principal whose `scopes` the profile states",
    demands: "neither 401 nor 403",
    guards: "only principals whose scopes are known; only requests that name what the caller's own group has made",
    fault: "an operation asks for a scope that the document does not name",
};

impl Check for Sufficient {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (by, principal) in planner.minters() {
            let Some(scheme) = planner.minted_scheme(by) else { continue };
            let all = planner.mintable(by);
            for (index, operation) in planner.operations().filter(|(_, one)| planner.takes(one, scheme)) {
                let sets = planner.scope_sets(operation, scheme);
                let makeable = |set: &&Vec<String>| !set.is_empty() && set.iter().all(|scope| all.contains(scope));
                // Whoever makes credentials cannot give scopes that he has not.
                let makes = planner
                    .minters()
                    .any(|(_, one)| one.mint.as_ref().is_some_and(|mint| mint.operation == operation.id));
                if makes || principal.denied.contains(&operation.id) || !planner.can_bind(operation, by) {
                    continue;
                }
                let Some(call) = planner.plain_call(index, &Caller::Principal(by.to_owned())) else { continue };
                if !matches!(call.caller, Caller::Principal(_)) {
                    continue;
                }
                for set in sets.iter().filter(makeable) {
                    let mut call = call.clone();
                    call.caller = Caller::Minted { by: by.to_owned(), scopes: set.clone() };
                    let which = if sets.len() > 1 { format!("/{}", set.join("+")) } else { String::new() };
                    cases.push(planner.single(
                        Phase::Access,
                        META.id,
                        format!("{}/exactly{which}", operation.id),
                        call,
                    ));
                }
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Expect::Valid { bound: true }, Some(operation)) = (&seen.call.expect, seen.operation()) else { return };
        let known = match &seen.call.caller {
            Caller::Minted { .. } => seen.is_planned_by(&META),
            Caller::Principal(name) => {
                let principal = seen.profile.principals.get(name);
                // Where nobody states what a path names, the caller may have no right to that one thing.
                principal.is_some_and(|one| one.scopes.is_some() && !one.denied.contains(&operation.id))
                    && matches!(seen.case.script, crate::case::Script::Single(_))
            }
            _ => false,
        };
        let Some(clause) = clause(seen).filter(|_| known && operation.is_secured()) else { return };
        let status = seen.response.status;
        if status == 429 || status >= 500 {
            return;
        }
        verdicts.decide(!matches!(status, 401 | 403), clause, || {
            Break::new(
                &META,
                clause,
                format!("{} answers {status} to a caller with its documented scopes", operation.id),
            )
            .with_values("neither 401 nor 403", status.to_string())
            .with_cause(format!("{} {status}", operation.id))
            .with_offending(Offending::Status)
        });
    }
}
