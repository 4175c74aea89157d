use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::stated::{self, Told};
use super::{exhausted, number, steps_for};
use crate::finding::Offending;

/// `limit.enforced`.
pub(super) struct Enforced;

static META: Meta = Meta {
    id: "limit.enforced",
    level: Level::Must,
    title: "as many requests pass as the class allows, and the next one is refused",
    rationale: "RFC 6585 section 4; OWASP API4:2023. The contract's `rate-limits.classes`.",
    sends: "the cheapest request of the class, one after the other, as a principal that nobody else uses, until the limit \
            is reached; one more; then every other operation of the class once; without rate classes, a reading operation \
            until its headers state that nothing is left, and two more",
    demands: "none is refused before the limit, the next one gets 429, and so do the others",
    guards: "the counter is untouched before, or the headers say what is left; the others only where the contract judges \
             the limit first, so that they do nothing; without rate classes only operations that document 429, only up to \
             200 requests, only where the stated end of the window comes within the run's patience, and only what is let in \
             before that end: who is refused earlier may have met another limit",
    fault: "the class allows one request too many",
};

impl Check for Enforced {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(sequence, verdicts);
        let Some((exhaust, clause, limits)) = exhausted(sequence) else { return };
        let class = &exhaust.class;
        let broken = |title: String, expected: String, actual: String, cause: &str, during: Purpose| {
            Break::new(&META, clause, title)
                .with_values(expected, actual)
                .with_cause(format!("{class} {cause}"))
                .with_offending(Offending::Status)
                .during(during)
        };
        let counted: Vec<_> = steps_for(sequence.steps, Purpose::Count).collect();
        if counted.iter().any(|step| step.exchange.response().is_none()) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let passed = counted.iter().filter(|step| step.exchange.status() != Some(429)).count();
        let refused_early = passed < counted.len();
        if refused_early {
            let last = counted.iter().rev().find(|step| step.exchange.status() != Some(429));
            let left = last.and_then(|step| number(step.exchange.response()?, limits.headers.remaining.as_ref()));
            let early = if exhaust.untouched {
                (passed as u64) + sequence.earlier < exhaust.limit
            } else {
                left.is_some_and(|left| left > 0)
            };
            if early {
                let title = format!("class `{class}` refuses before its limit");
                let expected = format!("{} requests in a window", exhaust.limit);
                verdicts.broke(broken(title, expected, format!("429 after {passed}"), "early", Purpose::Count));
                return;
            }
        }
        for step in steps_for(sequence.steps, Purpose::Over) {
            let Some(status) = step.exchange.status() else { continue };
            verdicts.decide(status == 429, clause, || {
                let title = format!("class `{class}` does not refuse what is over its limit");
                broken(title, "429".to_owned(), format!("{status} for request {}", passed + 1), "over", Purpose::Over)
            });
        }
        for step in steps_for(sequence.steps, Purpose::AlsoLimited) {
            let operation = sequence.subject.operation(step.call.operation);
            let Some(status) = step.exchange.status() else { continue };
            verdicts.decide(status == 429, clause, || {
                let title = format!("{} is not limited by class `{class}`", operation.id);
                broken(
                    title,
                    "429, as the class is used up".to_owned(),
                    status.to_string(),
                    &operation.id,
                    Purpose::AlsoLimited,
                )
            });
        }
    }
}

/// Where no class is documented: whoever has nothing left is refused until the window ends.
fn by_documented_headers(sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
    let Some(told) = Told::of(sequence) else { return };
    let Some((_, last)) = told.last_counted() else { return };
    // What counts something else than requests (their cost, how many run at once) may have room for the next one.
    let Some(end_ms) = last.end_ms(0) else { return };
    for (step, _) in told.for_purpose(Purpose::Over).filter(|(step, _)| step.sent_ms + 1_000 < end_ms) {
        let Some(status) = step.exchange.status() else { continue };
        if status >= 400 && status != 429 {
            verdicts.inconclusive.push(told.clause);
            continue;
        }
        verdicts.decide(status == 429, told.clause, || {
            Break::new(&META, told.clause, format!("{} lets in whom it tells that nothing is left", told.who))
                .with_values("429 until the window ends", status.to_string())
                .with_cause(told.who.to_owned())
                .with_offending(stated::offending(
                    &last.counters.first().map(|one| one.header.clone()).unwrap_or_default(),
                ))
                .during(Purpose::Over)
        });
    }
}
