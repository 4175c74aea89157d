//! Family `error`: every failure speaks the contract's dialect.

mod code_known;
mod code_status;
mod details;
mod envelope;
mod fields;
mod no_internals;

use super::{Check, Seen};

pub(super) const CHECKS: &[&dyn Check] = &[
    &envelope::Envelope,
    &code_known::CodeKnown,
    &code_status::CodeStatus,
    &details::Details,
    &fields::Fields,
    &no_internals::NoInternals,
];

/// The machine code of a failing answer.
pub(super) fn code<'a>(seen: &'a Seen<'_>) -> Option<&'a str> {
    if seen.response.status < 400 {
        return None;
    }
    seen.subject.code_of(seen.exchange.json()?)
}
