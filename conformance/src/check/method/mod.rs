//! Family `method`: methods mean what HTTP says that they mean.

mod head;
mod not_allowed;

use super::Check;

pub(super) const CHECKS: &[&dyn Check] = &[&not_allowed::NotAllowed, &head::Head];
