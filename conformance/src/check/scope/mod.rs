//! Family `scope`: being known is not being allowed.

mod enforced;

use super::Check;

pub(super) const CHECKS: &[&dyn Check] = &[&enforced::Enforced];
