//! Family `time`: answers come in time, and the times in them make sense.

mod budget;
mod order;

use super::Check;

pub(super) const CHECKS: &[&dyn Check] = &[&budget::Budget, &order::Order];
