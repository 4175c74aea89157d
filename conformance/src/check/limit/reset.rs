use trueline_spec::vocabulary::ResetUnit;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::stated::{offending, told};
use super::{limits, number, scheme};
use crate::finding::Offending;

/// `limit.reset`.
pub(super) struct Reset;

static META: Meta = Meta {
    id: "limit.reset",
    level: Level::Must,
    title: "the reset header states a moment within the window, in the documented unit",
    rationale: "A client that reads seconds where milliseconds stand, or a span where a moment stands, waits for years or \
                not at all. The contract's `rate-limits.reset` and the window of the class.",
    sends: "nothing of its own; every answer is looked at",
    demands: "not in the past, and not later than a whole window from now",
    guards: "without rate classes a year from now, or the policy's window where `RateLimit-Policy` says it; there the answer's \
             `Date` is now; two seconds for rounding; five more on a clock that is not ours; the longest window of the operation's classes \
             where it is not certain which one speaks",
    fault: "the reset is stated in milliseconds",
};

impl Check for Reset {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(seen, verdicts);
        let (Some(limits), Some(clause)) = (limits(seen), seen.clauses().rate_headers) else { return };
        let Some(stated) = number(seen.response, limits.headers.reset.as_ref()) else { return };
        let windows: Vec<u64> = match seen.operation() {
            Some(operation) if !matches!(seen.call.caller, crate::case::Caller::Bad { .. }) => {
                let applying = seen.subject.classes_of(operation, scheme(seen));
                applying.iter().map(|(_, class)| class.window.0.as_secs()).collect()
            }
            _ => limits.classes.values().map(|class| class.window.0.as_secs()).collect(),
        };
        let Some(window) = windows.into_iter().max().and_then(|window| i64::try_from(window).ok()) else { return };
        let now = seen.response.at_ms.div_euclid(1000);
        let slack = if seen.virtual_clock { 2 } else { 7 };
        let (from, to) = match limits.reset {
            ResetUnit::UnixSeconds => (now - slack, now + window + slack),
            ResetUnit::DeltaSeconds => (0, window + slack),
        };
        verdicts.decide((from..=to).contains(&stated), clause, || {
            let unit = match limits.reset {
                ResetUnit::UnixSeconds => "seconds since 1970",
                ResetUnit::DeltaSeconds => "seconds from now",
            };
            let header = limits.headers.reset.clone().unwrap_or_default();
            let what = if stated > to { "too late" } else { "in the past" };
            Break::new(&META, clause, format!("{header} is {what}"))
                .with_values(format!("between {from} and {to} ({unit}, window of {window} s)"), stated.to_string())
                .with_cause(what)
                .with_offending(Offending::Header(header.to_ascii_lowercase()))
        });
    }
}

/// Where no class is documented: not in the past, and not further away than any window is long.
fn by_documented_headers(seen: &Seen<'_>, verdicts: &mut Verdicts) {
    const YEAR_S: i64 = 366 * 86_400;
    let Some((stated, clause)) = told(seen) else { return };
    // The service's own clock, if it says what that shows.
    let date = seen.response.header("date").filter(|_| !seen.virtual_clock);
    let date = date.and_then(|text| Some(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis()));
    let slack_ms = match (seen.virtual_clock, date) {
        (true, _) => 2_000,
        (false, Some(_)) => 7_000,
        (false, None) => 300_000,
    };
    for (counter, reset) in stated.counters.iter().filter_map(|one| Some((one, one.reset.as_ref()?))) {
        // A span starts when the answer comes, whatever any clock shows.
        let now_ms = match reset.unit {
            Some(ResetUnit::DeltaSeconds) => seen.response.at_ms,
            _ => date.unwrap_or(seen.response.at_ms),
        };
        let longest_s = counter.window_s.filter(|window| *window > 0).unwrap_or(YEAR_S);
        let away_ms = reset.at_ms.saturating_sub(now_ms);
        let past = away_ms < -slack_ms;
        let late = away_ms > longest_s.saturating_mul(1000).saturating_add(slack_ms);
        verdicts.decide(!past && !late, clause, || {
            let what = if past { "in the past" } else { "too late" };
            let unit = match reset.unit {
                Some(ResetUnit::UnixSeconds) => "seconds since 1970",
                Some(ResetUnit::DeltaSeconds) => "seconds from now",
                None => "a moment or a span",
            };
            Break::new(&META, clause, format!("{} is {what}", reset.header))
                .with_values(format!("within {longest_s} s from now ({unit})"), reset.text.clone())
                .with_cause(format!("{} {what}", reset.header))
                .with_offending(offending(&reset.header))
        });
    }
}
