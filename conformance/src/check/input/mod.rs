//! Family `input`: what is valid is taken, what is not is refused, and nothing breaks the service.

mod accepts_valid;
mod bounded;
mod no_server_error;
mod read_only_ignored;
mod rejects_invalid;
mod survives;

use super::Check;
pub(crate) use no_server_error::no_answer;

pub(super) const CHECKS: &[&dyn Check] = &[
    &accepts_valid::AcceptsValid,
    &rejects_invalid::RejectsInvalid,
    &no_server_error::NoServerError,
    &bounded::Bounded,
    &read_only_ignored::ReadOnlyIgnored,
    &survives::Survives,
];
