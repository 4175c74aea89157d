use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::stated::{Told, offending};
use super::{exhausted, number, steps_for};
use crate::finding::Offending;

/// `limit.recovers`.
pub(super) struct Recovers;

static META: Meta = Meta {
    id: "limit.recovers",
    level: Level::Must,
    title: "after the promised moment the caller may come again",
    rationale: "A client that waits as it is told must not be refused again. RFC 9110 section 10.2.3; the contract's \
                `rate-limits.classes.<class>.window`.",
    sends: "after limit.enforced: the same request once the promised moment has passed; needs a clock that can be moved, \
            or a window within the profile's patience",
    demands: "not 429, and the counter starts again at the limit",
    guards: "one second on a clock that is not ours; without rate classes only where somebody was refused and the refusal \
             states the end, and only that nobody is refused then",
    fault: "the window never ends",
};

impl Check for Recovers {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(sequence, verdicts);
        let Some((exhaust, clause, limits)) = exhausted(sequence) else { return };
        for step in steps_for(sequence.steps, Purpose::AfterReset) {
            let Some(response) = step.exchange.response() else { continue };
            verdicts.decide(response.status != 429, clause, || {
                Break::new(&META, clause, format!("class `{}` still refuses after the promised moment", exhaust.class))
                    .with_values("room for a whole window of requests", response.status.to_string())
                    .with_cause(exhaust.class.clone())
                    .during(Purpose::AfterReset)
                    .with_offending(Offending::Status)
            });
            let remaining = number(response, limits.headers.remaining.as_ref());
            if let Some(remaining) = remaining.filter(|_| response.status != 429) {
                let all_but_one = i64::try_from(exhaust.limit).unwrap_or(i64::MAX) - 1;
                verdicts.decide(remaining == all_but_one, clause, || {
                    let title = format!("class `{}` does not start again at its limit", exhaust.class);
                    Break::new(&META, clause, title)
                        .with_values(all_but_one.to_string(), remaining.to_string())
                        .with_cause(format!("{} restart", exhaust.class))
                });
            }
        }
    }
}

/// Where no class is documented: after the stated end whoever was refused is let in.
fn by_documented_headers(sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
    let Some(told) = Told::of(sequence) else { return };
    let refused = told.for_purpose(Purpose::Over).filter(|(step, _)| step.exchange.status() == Some(429)).last();
    let Some(counter) = refused.and_then(|(_, stated)| stated.counters.first()) else { return };
    for (step, _) in told.for_purpose(Purpose::AfterReset) {
        let Some(status) = step.exchange.status() else { continue };
        verdicts.decide(status != 429, told.clause, || {
            Break::new(&META, told.clause, format!("{} still refuses after the stated end of the window", told.who))
                .with_values("room for a new window of requests", status.to_string())
                .with_cause(told.who.to_owned())
                .with_offending(offending(&counter.header))
                .during(Purpose::AfterReset)
        });
    }
}
