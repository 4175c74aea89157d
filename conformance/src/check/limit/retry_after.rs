use trueline_spec::vocabulary::{ResetUnit, RetryAfterForm};

use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::stated::{Told, offending};
use super::{exhausted, number, steps_for};
use crate::finding::Offending;

/// `limit.retry-after`.
pub(super) struct RetryAfter;

static META: Meta = Meta {
    id: "limit.retry-after",
    level: Level::Must,
    title: "a refusal says how long to wait, and is right to the second",
    rationale: "RFC 9110 section 10.2.3; RFC 6585 section 4. The contract's `rate-limits.retry-after` and \
                `rate-limits.body.wait`.",
    sends: "the requests of limit.enforced; where time can be moved or waited for, one request a second before the \
            promised moment and one after it",
    demands: "the wait is there where the contract puts it, as a whole number of seconds from 1; it ends when the reset \
              header says, give or take a second; a second before that moment the caller is still refused",
    guards: "without a reset header the wait may not exceed the window; one second for rounding; without rate classes only a \
             documented and required `Retry-After` must be there, a date will do, and who has waited must be let in",
    fault: "the wait is missing from the body of a 429",
};

impl Check for RetryAfter {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(sequence, verdicts);
        let Some((exhaust, clause, limits)) = exhausted(sequence) else { return };
        let window = i64::try_from(exhaust.window_ms / 1000).unwrap_or(i64::MAX);
        for step in steps_for(sequence.steps, Purpose::Over).filter(|step| step.exchange.status() == Some(429)) {
            let Some(response) = step.exchange.response() else { continue };
            let mut places: Vec<(String, Option<i64>, Offending)> = Vec::new();
            if limits.retry_after == RetryAfterForm::DeltaSeconds {
                let name = "retry-after".to_owned();
                places.push(("Retry-After".to_owned(), number(response, Some(&name)), Offending::Header(name)));
            }
            if let Some(pointer) = &limits.body.wait {
                let wait =
                    step.exchange.json().and_then(|body| body.pointer(pointer)).and_then(serde_json::Value::as_i64);
                places.push((format!("the body's {pointer}"), wait, Offending::Body(pointer.clone())));
            }
            for (place, wait, offending) in places {
                let reset = number(response, limits.headers.reset.as_ref());
                let until = reset.map(|reset| match limits.reset {
                    ResetUnit::UnixSeconds => (reset * 1000 - step.sent_ms).max(0) / 1000,
                    ResetUnit::DeltaSeconds => reset,
                });
                let good = wait.is_some_and(|wait| {
                    wait >= 1
                        && wait <= window + 1
                        && until.is_none_or(|until| (until - 1..=until + 1).contains(&wait) || (until > window + 1))
                });
                verdicts.decide(good, clause, || {
                    let expected = match until {
                        Some(until) => format!("{} s, give or take one, as the reset header says", until.max(1)),
                        None => format!("1 to {window} s"),
                    };
                    let actual = wait.map_or_else(|| "nothing".to_owned(), |wait| format!("{wait} s"));
                    Break::new(&META, clause, format!("{place} does not say how long to wait"))
                        .with_values(expected, actual)
                        .with_cause(place.clone())
                        .with_offending(offending)
                        .during(Purpose::Over)
                });
            }
        }
        for step in steps_for(sequence.steps, Purpose::BeforeReset) {
            if let Some(status) = step.exchange.status() {
                verdicts.decide(status == 429, clause, || early(clause, status, &exhaust.class));
            }
        }
    }
}

fn early(clause: crate::clause::ClauseId, status: u16, class: &str) -> Break {
    Break::new(&META, clause, format!("class `{class}` lets callers in before the moment that it promised"))
        .with_values("429 a second before the promised moment", status.to_string())
        .with_cause(format!("{class} early"))
        .with_offending(Offending::Status)
        .during(Purpose::BeforeReset)
}

/// Where no class is documented: the header is there where it must be, can be read, and is right.
fn by_documented_headers(sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
    let Some(told) = Told::of(sequence) else { return };
    let operation = sequence.subject.operation(told.spend.probe.operation);
    let broken = |title: String, expected: &str, actual: String, cause: &str, during: Purpose| {
        Break::new(&META, told.clause, title)
            .with_values(expected, actual)
            .with_cause(format!("{} {cause}", told.who))
            .with_offending(offending("Retry-After"))
            .during(during)
    };
    let refused = sequence.steps.iter().filter(|step| step.exchange.status() == Some(429));
    for (step, response) in refused.filter_map(|step| Some((step, step.exchange.response()?))) {
        let documented = operation.response(429).and_then(|one| one.rate_headers().retry_after.map(|one| one.required));
        match crate::stated::retry_after_s(response) {
            Some(Ok(_)) => verdicts.hold(told.clause),
            Some(Err(text)) => {
                let title = format!("{}: Retry-After says nothing", told.who);
                verdicts.broke(broken(title, "seconds, or a date", text, "form", step.purpose));
                return;
            }
            None if documented == Some(true) => {
                let title = format!("{}: a refusal does not say how long to wait", told.who);
                let actual = "no such header".to_owned();
                verdicts.broke(broken(title, "Retry-After, which is required", actual, "missing", step.purpose));
                return;
            }
            None => {}
        }
    }
    for (step, _) in told.for_purpose(Purpose::AfterWait) {
        let Some(status) = step.exchange.status() else { continue };
        verdicts.decide(status != 429, told.clause, || {
            let title = format!("{} refuses whom it told to come again", told.who);
            broken(title, "no 429 after the wait", status.to_string(), "early", Purpose::AfterWait)
        });
    }
}
