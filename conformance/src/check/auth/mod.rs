//! Family `auth`: who one is has to be proved, wholly and on every operation.

mod challenge;
mod expired;
mod invalid;
mod malformed;
mod required;
mod revoked;
mod token_kind;
mod whole_credential;

use trueline_spec::contract::{Operation, SecurityRequirement};
use trueline_spec::vocabulary::{Answer, Credential, Judged};

use super::{Break, Check, Meta, Seen, Verdicts};
use crate::case::{BadCredentialSource, Caller, Case, Expect, Phase};
use crate::finding::Offending;
use crate::plan::Planner;

pub(super) const CHECKS: &[&dyn Check] = &[
    &required::Required,
    &invalid::RejectsInvalid,
    &expired::RejectsExpired,
    &revoked::RejectsRevoked,
    &whole_credential::WholeCredential,
    &token_kind::TokenKind,
    &challenge::Challenge,
    &malformed::Malformed,
];

/// Every secured operation with every scheme that opens it, alone or with others that a principal has.
fn doors<'a>(planner: &Planner<'a>) -> Vec<(usize, &'a Operation, &'a str)> {
    let mut doors = Vec::new();
    for (index, operation) in planner.operations().filter(|(_, operation)| operation.is_secured()) {
        let complete = |one: &SecurityRequirement| {
            one.schemes.len() == 1
                || planner.free_principals().any(|(_, holder)| one.schemes.keys().all(|scheme| holder.holds(scheme)))
        };
        for alternative in operation.security.iter().filter(|alternative| complete(alternative)) {
            for scheme in alternative.schemes.keys() {
                let sendable = |one: &trueline_spec::contract::SecurityScheme| crate::plan::is_sendable(&one.kind);
                if planner.subject.contract.security_schemes.get(scheme).is_some_and(sendable) {
                    doors.push((index, operation, scheme.as_str()));
                }
            }
        }
    }
    doors
}

/// What the contract says of a scheme's credentials.
fn vocabulary<'a>(planner: &Planner<'a>, scheme: &str) -> Option<&'a Credential> {
    planner.subject.contract.security_schemes.get(scheme)?.credential.as_ref()
}

/// The refusal of a credential: 401 (where the document says nothing of 401, 403 refuses as well), with one of the codes that the contract names for it, where the operation lists any.
fn refused(planner: &Planner<'_>, operation: &Operation, answers: &[Option<&Answer>]) -> Expect {
    let unauthenticated =
        planner.subject.contract.envelope.as_ref().map(|one| &one.vocabulary.refusals.unauthenticated);
    let mut wanted: Vec<Option<&str>> = answers.iter().map(|answer| answer.and_then(|answer| answer.code())).collect();
    let mut codes = planner.codes(operation, &wanted);
    if codes.is_empty() {
        wanted = vec![unauthenticated.and_then(|answer| answer.code())];
        codes = planner.codes(operation, &wanted);
    }
    let silent = planner.subject.contract.envelope.is_none() && !operation.documents(401);
    Expect::Refused { statuses: if silent { vec![401, 403] } else { vec![401] }, codes }
}

/// A call of a secured operation with a bad credential of one of its schemes.
fn bad_call(
    planner: &Planner<'_>,
    meta: &'static Meta,
    door: (usize, &Operation, &str),
    name: &str,
    credential: BadCredentialSource,
    expect: Expect,
) -> Option<Case> {
    let (index, operation, scheme) = door;
    let caller = Caller::Bad { scheme: scheme.to_owned(), credential };
    let mut call = match vocabulary(planner, scheme).map(|one| one.judged) {
        // Only a call that is right in everything else comes to the point where the credential is used.
        Some(Judged::OnUse) => {
            let holds = |one: &crate::profile::Principal| one.holds(scheme) && planner.accepts(operation, one);
            let (name, _) =
                planner.free_principals().find(|(name, one)| holds(one) && planner.can_bind(operation, name))?;
            planner.plain_call(index, &Caller::Principal(name.to_owned()))?
        }
        _ => planner.harmless_call(index, &caller)?,
    };
    call.caller = caller;
    call.expect = expect;
    Some(planner.single(Phase::Access, meta.id, format!("{}/{scheme}/{name}", operation.id), call))
}

/// Holds an answer to the refusal that its case expects.
fn judge_refusal(meta: &'static Meta, seen: &Seen<'_>, verdicts: &mut Verdicts, what: &str) {
    let Expect::Refused { statuses, codes } = &seen.call.expect else { return };
    if !seen.is_planned_by(meta) {
        return;
    }
    let Some(operation) = seen.operation() else { return };
    let clauses = seen.clauses().of_operation(seen.call.operation);
    let scheme = match &seen.call.caller {
        Caller::Bad { scheme, .. } => Some(scheme.as_str()),
        _ => None,
    };
    let clause = scheme.and_then(|scheme| clauses.security.get(scheme)).or_else(|| clauses.security.values().next());
    let Some(&clause) = clause else { return };
    let status = seen.response.status;
    if status == 429 {
        // A service that limits bad logins may stop answering them; that says nothing of this credential.
        verdicts.inconclusive.push(clause);
        return;
    }
    // Who is sent elsewhere, to a login page as a rule, is not let in.
    let elsewhere = (300..400).contains(&status) && status != 304 && !operation.documents(status);
    if elsewhere {
        verdicts.inconclusive.push(clause);
        return;
    }
    let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
    let right_status = statuses.contains(&status);
    let right_code = codes.is_empty() || code.is_none_or(|code| codes.iter().any(|wanted| wanted == code));
    verdicts.decide(right_status && right_code, clause, || {
        let wanted: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let codes = if codes.is_empty() { String::new() } else { format!(" {}", codes.join(" or ")) };
        let offending = if right_status { Offending::Body(String::new()) } else { Offending::Status };
        // One fault in the gate shows on every operation behind it; a hole in one operation shows there alone.
        let cause = if status < 400 { operation.id.clone() } else { format!("{status} {code:?}") };
        Break::new(meta, clause, format!("{} answers {status} to {what}", operation.id))
            .with_values(format!("{}{codes}", wanted.join(" or ")), format!("{status} {}", code.unwrap_or_default()))
            .with_cause(format!("{what} {cause}"))
            // Where nobody is asked for a credential, every bad one is as good.
            .same_as("auth.required", format!("{} {cause}", required::WITHOUT))
            .with_offending(offending)
    });
}
