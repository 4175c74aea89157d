use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::finding::Offending;

/// `time.budget`.
pub(super) struct Budget;

static META: Meta = Meta {
    id: "time.budget",
    level: Level::Should,
    title: "answers come within the time allowed",
    rationale: "A request that takes much longer than others, for some small change of its input, is how a service is brought \
                down. CWE-400, CWE-1333; OWASP API4:2023.",
    sends: "nothing of its own; every answer is timed, from the first byte sent to the last byte read",
    demands: "at most the profile's `budget.answer-ms`, ten seconds by default",
    guards: "an answer that is slow once and not again is flaky, as everything is; event streams are as long as they are",
    fault: "one filter value takes seconds",
};

/// Longer than any request of a healthy service takes, and shorter than the default timeout.
const ANSWER_MS: u64 = 10_000;

impl Check for Budget {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let clause = seen.clauses().time;
        let allowed = seen.profile.budget.answer_ms.unwrap_or(ANSWER_MS);
        if seen.response.media_type().is_some_and(|media| media == "text/event-stream") {
            return;
        }
        verdicts.decide(seen.response.elapsed.as_millis() <= u128::from(allowed), clause, || {
            let who = seen.request_line_kind();
            Break::new(&META, clause, format!("{who} takes longer than {allowed} ms"))
                // How long exactly differs every time, and a report should not.
                .with_values(format!("an answer within {allowed} ms"), "a later one")
                .with_cause(who.to_owned())
                .with_offending(Offending::Status)
        });
    }
}
