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
    let expect = |planner: &Planner<'_>, index: usize| {
        let forbidden = planner.subject.contract.envelope.as_ref().map(|one| one.vocabulary.refusals.forbidden.clone());
        let code = forbidden.as_ref().and_then(|answer| answer.code());
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
            call.expect = expect(planner, index);
            calls.push((format!("{}/denied/{name}", operation.id), call));
        }
    }
    for (by, _) in planner.minters() {
        let Some(scheme) = planner.minted_scheme(by) else { continue };
        let all = planner.mintable(by);
        for (index, operation) in planner.operations().filter(|(_, one)| planner.takes(one, scheme)) {
            for scope in planner.required_scopes(operation, scheme) {
                let scopes: Vec<String> = all.iter().filter(|one| **one != scope).cloned().collect();
                if scopes.len() == all.len() || scopes.is_empty() {
                    continue;
                }
                let Some(mut call) = planner.plain_call(index, &Caller::Principal(by.to_owned())) else { continue };
                call.caller = Caller::Minted { by: by.to_owned(), scopes };
                call.expect = expect(planner, index);
                calls.push((format!("{}/without/{scope}", operation.id), call));
            }
        }
    }
    calls
}

/// The clause of the scheme that a caller's credential belongs to.
fn clause(seen: &Seen<'_>) -> Option<ClauseId> {
    let security = &seen.clauses().of_operation(seen.call.operation).security;
    let of_scheme = seen.scheme.and_then(|scheme| security.get(scheme));
    of_scheme.or_else(|| security.values().next()).copied()
}
