//! Family `response`: an answer is one that the contract foresees.

mod agrees;
mod headers;
mod media_type;
mod no_body;
mod schema;
pub(in crate::check) use self::schema::shorten;
mod status;
mod stream;

use super::{Check, Seen};
use crate::clause::ResponseClauses;

pub(super) const CHECKS: &[&dyn Check] =
    &[&status::Status, &schema::Schema, &media_type::MediaType, &headers::Headers, &no_body::NoBody, &agrees::Agrees];

/// The documented response that speaks for an answer: its index, and its clauses.
pub(in crate::check) fn documented<'a>(seen: &Seen<'a>) -> Option<(usize, &'a ResponseClauses)> {
    let operation = seen.operation()?;
    ResponseClauses::find(seen.clauses().of_operation(seen.call.operation), operation, seen.response.status)
}

/// Whether the error envelope, rather than the operation's own schema, speaks for this answer.
pub(super) fn is_envelope(seen: &Seen<'_>) -> bool {
    seen.response.status >= 400 && seen.subject.envelope_validator().is_some()
}
