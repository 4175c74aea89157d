use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
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
            is reached; one more; then every other operation of the class once",
    demands: "none is refused before the limit, the next one gets 429, and so do the others",
    guards: "the counter is untouched before, or the headers say what is left; the others only where the contract judges \
             the limit first, so that they do nothing",
    fault: "the class allows one request too many",
};

impl Check for Enforced {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
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
