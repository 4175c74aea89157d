//! Families `limit` and `quota`: what a caller is told about its limits is true.

mod countdown;
mod enforced;
mod envelope;
mod headers;
mod isolated;
mod quota;
mod recovers;
mod reset;
mod retry_after;
mod stated;
mod value;

use trueline_spec::vocabulary::RateLimits;

use super::{Check, Purpose, Seen, Sequence, Step};
use crate::case::{Caller, Exhaust, Script};
use crate::clause::ClauseId;
use crate::exchange::Response;

pub(super) const CHECKS: &[&dyn Check] = &[
    &headers::Headers,
    &value::Value,
    &countdown::Countdown,
    &reset::Reset,
    &enforced::Enforced,
    &retry_after::RetryAfter,
    &isolated::Isolated,
    &recovers::Recovers,
    &envelope::Envelope,
    &quota::Enforced,
];

fn limits<'a>(seen: &Seen<'a>) -> Option<&'a RateLimits> {
    seen.contract().vocabulary.as_ref()?.rate_limits.as_ref()
}

/// A header as a whole number.
fn number(response: &Response, name: Option<&String>) -> Option<i64> {
    response.header(name?)?.trim().parse().ok()
}

/// The scheme of a call's good credential.
fn scheme<'a>(seen: &Seen<'a>) -> Option<&'a str> {
    match &seen.call.caller {
        Caller::Principal(_) | Caller::FreshSession(_) | Caller::Minted { .. } => seen.scheme,
        _ => None,
    }
}

/// An exhausted class: the script, its clause, and the documented limits.
fn exhausted<'a>(sequence: &Sequence<'a>) -> Option<(&'a Exhaust, ClauseId, &'a RateLimits)> {
    let Script::Exhaust(exhaust) = &sequence.case.script else { return None };
    let limits = sequence.subject.contract.vocabulary.as_ref()?.rate_limits.as_ref()?;
    let clause = *sequence.subject.clauses.classes.get(&exhaust.class)?;
    Some((exhaust, clause, limits))
}

fn steps_for(steps: &[Step], purpose: Purpose) -> impl Iterator<Item = &Step> {
    steps.iter().filter(move |step| step.purpose == purpose)
}
