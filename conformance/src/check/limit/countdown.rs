use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::stated::{self, Told};
use super::{exhausted, number, steps_for};
use crate::finding::Offending;

/// `limit.countdown`.
pub(super) struct Countdown;

static META: Meta = Meta {
    id: "limit.countdown",
    level: Level::Must,
    title: "what is left goes down by one with each request",
    rationale: "A counter that jumps or stands still cannot be planned by. The contract's `rate-limits.headers.remaining`.",
    sends: "the requests of limit.enforced, one after the other, as a principal that nobody else uses; without rate classes, \
            each of the reading operations that document what is left, a few times",
    demands: "remaining is one less than in the answer before, until it is 0; on an untouched counter the first answer has \
              limit less one; on a refusal it is 0",
    guards: "a new window in between (another reset) starts the count again; only while nobody else spends; without rate \
             classes the whole way counts and not each step, what may have come back in the time between is granted, and \
             where requests have a price (cost, credits, points) it may be any",
    fault: "remaining goes down by two",
};

impl Check for Countdown {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(sequence, verdicts);
        let Some((exhaust, clause, limits)) = exhausted(sequence) else { return };
        let read = |step: &super::super::Step| {
            let response = step.exchange.response()?;
            let remaining = number(response, limits.headers.remaining.as_ref())?;
            Some((remaining, number(response, limits.headers.reset.as_ref())))
        };
        let mut before: Option<(i64, Option<i64>)> = None;
        let counted = steps_for(sequence.steps, Purpose::Count).filter(|step| step.exchange.status() != Some(429));
        for (index, step) in counted.enumerate() {
            let Some((remaining, reset)) = read(step) else { return };
            let expected = match before {
                Some((last, last_reset)) if last_reset == reset => Some(last - 1),
                None if exhaust.untouched => i64::try_from(exhaust.limit).ok().map(|limit| limit - 1),
                _ => None,
            };
            if let Some(expected) = expected.filter(|expected| *expected != remaining) {
                let title = format!("class `{}`: what is left does not go down by one", exhaust.class);
                let broken = Break::new(&META, clause, title)
                    .with_values(format!("{expected} after request {}", index + 1), remaining.to_string())
                    .with_cause(format!("countdown {}", exhaust.class))
                    .during(Purpose::Count)
                    .with_offending(offending(limits.headers.remaining.as_ref()));
                verdicts.broke(broken);
                return;
            }
            before = Some((remaining, reset));
        }
        for step in steps_for(sequence.steps, Purpose::Over).filter(|step| step.exchange.status() == Some(429)) {
            if let Some((remaining, _)) = read(step).filter(|(remaining, _)| *remaining != 0) {
                let title = format!("class `{}`: a refusal says that something is left", exhaust.class);
                let broken = Break::new(&META, clause, title)
                    .with_values("0", remaining.to_string())
                    .with_cause(format!("left {}", exhaust.class))
                    .during(Purpose::Over)
                    .with_offending(offending(limits.headers.remaining.as_ref()));
                verdicts.broke(broken);
                return;
            }
        }
        if before.is_some() {
            verdicts.hold(clause);
        }
    }
}

fn offending(name: Option<&String>) -> Offending {
    Offending::Header(name.map(|name| name.to_ascii_lowercase()).unwrap_or_default())
}

/// Where no class is documented: over all of a window's answers, what is left goes down, and by no more than was sent.
fn by_documented_headers(sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
    let Some(told) = Told::of(sequence) else { return };
    for run in told.runs() {
        let (Some(first), Some(last)) = (run.first.remaining, run.rest.last().and_then(|one| one.remaining)) else {
            continue;
        };
        let (sent, spent) = (run.rest.len() as i64, first - last);
        // A counter that several machines share may be late; on a clock that can be moved there is only one.
        let slack = if told.virtual_clock { 0 } else { 1 + sent / 10 };
        let patient = told.virtual_clock || run.elapsed_ms >= 1_000 || sent >= 50;
        let too_fast = told.spend.alone && run.first.by_one && spent > sent + slack;
        let rises = -spent > run.refilled();
        // At nothing left there is nothing to go down.
        let stands = run.first.by_one && last > 0 && sent >= 3 && patient && spent + run.refilled() < sent - slack;
        verdicts.decide(!(too_fast || rises || stands), told.clause, || {
            let how = match (too_fast, rises) {
                (true, _) => "too fast",
                (_, true) => "up instead of down",
                _ => "too slowly",
            };
            Break::new(&META, told.clause, format!("{}: what is left goes {how}", told.who))
                .with_values(format!("{} after {sent} more requests", (first - sent).max(0)), last.to_string())
                .with_cause(format!("{} {}", told.who, run.first.name))
                .with_offending(stated::offending(&run.first.header))
                .during(Purpose::Count)
        });
    }
}
