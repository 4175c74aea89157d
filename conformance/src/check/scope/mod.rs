//! Family `scope`: being known is not being allowed.

mod answer;
mod enforced;
mod sufficient;

use super::{Check, Seen};
use crate::case::{Call, Caller, Expect};
use crate::clause::ClauseId;
use crate::plan::Planner;

pub(super) const CHECKS: &[&dyn Check] = &[&enforced::Enforced, &sufficient::Sufficient, &answer::Answer];

/// Every call that must be refused for lack of a right: its name, and the call.
fn unauthorized(planner: &Planner<'_>) -> Vec<(String, Call)> {
    let mut calls = Vec::new();
    let expect = |planner: &Planner<'_>, index: usize, own: Option<&str>| {
        let forbidden = planner.subject.contract.envelope.as_ref().map(|one| one.vocabulary.refusals.forbidden.clone());
        let code = own.or(forbidden.as_ref().and_then(|answer| answer.code()));
        let codes = planner.codes(planner.subject.operation(index), &[code]);
        Expect::Refused { statuses: vec![403], codes }
    };
    let purpose = planner.reserved(crate::profile::Purpose::Denial);
    for (name, principal) in purpose.chain(planner.free_principals()) {
        for (index, operation) in planner.operations() {
            // Without a word about scopes, only what the profile says is denied.
            let lacks = principal.scopes.is_some()
                && planner.takes(operation, &principal.scheme)
                && !planner.accepts(operation, principal);
            if !lacks && !principal.denied.contains(&operation.id) {
                continue;
            }
            // Somebody who has the right owns what the call names, so that nothing but the right is missing.
            let owner = planner.callers(operation).into_iter().find(|caller| match caller {
                Caller::Principal(other) => planner.principal(other).is_some_and(|one| {
                    one.scheme == principal.scheme && (one.tenant.is_none() || one.tenant == principal.tenant)
                }),
                _ => false,
            });
            let own = || planner.plain_call(index, &Caller::Principal(name.to_owned()));
            let call = match owner {
                Some(owner) if lacks => planner.plain_call(index, &owner),
                _ => own(),
            };
            let Some(mut call) = call else { continue };
            call.caller = Caller::Principal(name.to_owned());
            // For want of a scope it is the contract's code; the profile's is for what else denies.
            let code = principal.denied_code.as_deref().filter(|_| !lacks);
            call.expect = expect(planner, index, code);
            calls.push((format!("{}/denied/{name}", operation.id), call));
        }
    }
    for (by, _) in planner.minters() {
        let Some(scheme) = planner.minted_scheme(by) else { continue };
        let all = planner.mintable(by);
        for (index, operation) in planner.operations().filter(|(_, one)| planner.takes(one, scheme)) {
            for missing in insufficient(&planner.scope_sets(operation, scheme)) {
                let scopes: Vec<String> = all.iter().filter(|one| !missing.contains(one)).cloned().collect();
                if scopes.len() == all.len() || scopes.is_empty() {
                    continue;
                }
                let Some(mut call) = planner.plain_call(index, &Caller::Principal(by.to_owned())) else { continue };
                call.caller = Caller::Minted { by: by.to_owned(), scopes };
                call.expect = expect(planner, index, None);
                calls.push((format!("{}/without/{}", operation.id, missing.join("+")), call));
            }
        }
    }
    calls
}

/// What a credential may lack so that none of the sets is whole: each scope, and where other sets would do without it, one of
/// theirs.
fn insufficient(sets: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut missing: Vec<Vec<String>> = Vec::new();
    // Where one set is empty, any credential will do.
    if sets.iter().any(Vec::is_empty) {
        return missing;
    }
    for scope in sets.iter().flatten() {
        let mut lacks = vec![scope.clone()];
        for set in sets {
            if !set.iter().any(|one| lacks.contains(one)) {
                lacks.extend(set.first().cloned());
            }
        }
        lacks.sort();
        if !missing.contains(&lacks) {
            missing.push(lacks);
        }
    }
    missing
}

/// The clause of the scheme that a caller's credential belongs to.
fn clause(seen: &Seen<'_>) -> Option<ClauseId> {
    let security = &seen.clauses().of_operation(seen.call.operation).security;
    let of_scheme = seen.scheme.and_then(|scheme| security.get(scheme));
    of_scheme.or_else(|| security.values().next()).copied()
}

#[cfg(test)]
mod tests {
    use super::insufficient;

    #[test]
    fn what_is_missing_is_missing_from_every_set() {
        let sets = |sets: &[&[&str]]| -> Vec<Vec<String>> {
            sets.iter().map(|set| set.iter().map(|scope| (*scope).to_owned()).collect()).collect()
        };
        assert_eq!(insufficient(&sets(&[&["a", "b"]])), sets(&[&["a"], &["b"]]));
        assert_eq!(insufficient(&sets(&[&["a"], &["b", "c"]])), sets(&[&["a", "b"], &["a", "c"]]));
        assert_eq!(insufficient(&sets(&[&["a"], &["a", "b"]])), sets(&[&["a"], &["a", "b"]]));
        assert!(insufficient(&sets(&[&["a"], &[]])).is_empty());
    }
}
