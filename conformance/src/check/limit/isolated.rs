use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::{exhausted, steps_for};
use crate::finding::Offending;

/// `limit.isolated`.
pub(super) struct Isolated;

static META: Meta = Meta {
    id: "limit.isolated",
    level: Level::Must,
    title: "one caller's exhausted limit is nobody else's",
    rationale: "A shared counter lets one caller shut out all others. The contract's `rate-limits.classes.<class>.per`.",
    sends: "after limit.enforced: the same request under another counter of the class (another user, key, address or \
            path parameter)",
    demands: "not 429",
    guards: "only where the profile has another principal or address that is kept from everything else that counts",
    fault: "all users share one counter",
};

impl Check for Isolated {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let Some((exhaust, clause, _)) = exhausted(sequence) else { return };
        let exhausted = steps_for(sequence.steps, Purpose::Over).any(|step| step.exchange.status() == Some(429));
        for step in steps_for(sequence.steps, Purpose::Isolated).filter(|_| exhausted) {
            let Some(status) = step.exchange.status() else { continue };
            verdicts.decide(status != 429, clause, || {
                Break::new(&META, clause, format!("class `{}` counts different callers together", exhaust.class))
                    .with_values("another counter, with room left", status.to_string())
                    .with_cause(exhaust.class.clone())
                    .with_offending(Offending::Status)
                    .during(Purpose::Isolated)
            });
        }
    }
}
