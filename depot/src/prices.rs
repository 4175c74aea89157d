//! Prices, and how often a minute they may be asked for.

use serde_json::json;

use super::handlers::{Caller, Done};
use super::store::Minute;
use super::{Answer, Depot, Incoming};

/// Quotes that one token may ask for in a minute: more than any phase but `limits` needs.
const QUOTES: i64 = 180;
/// As above, for the tariff.
const TARIFFS: i64 = 60;
const MINUTE_MS: i64 = 60_000;

/// Where a caller stands.
struct Standing {
    limit: i64,
    left: i64,
    /// Seconds since 1970.
    reset: i64,
    /// Milliseconds until the minute ends.
    rest_ms: i64,
    refused: bool,
}

impl Depot {
    pub(super) fn quote(&self, incoming: &Incoming) -> Done {
        let caller = self.caller(incoming, "parcels:read")?;
        let standing = self.count("quotes", &caller, QUOTES);
        if standing.refused {
            return Err(self.with_counts(self.too_many(&standing), &standing));
        }
        let query = incoming.query.as_ref();
        let weight = query.and_then(|query| query.iter().find(|(name, _)| name == "weight"));
        let weight = weight.and_then(|(_, text)| text.parse::<f64>().ok());
        let Some(weight) = weight.filter(|weight| *weight > 0.0 && *weight <= 1000.0) else {
            let refusal = Answer::problem(400, "`weight` is a number over 0, up to 1000");
            return Err(match self.fault {
                "bad-quotes-lack-the-counts" => refusal,
                _ => self.with_counts(refusal, &standing),
            });
        };
        let answer = Answer::new(200, json!({"cents": 200 + (weight * 35.0).round() as u64}));
        Ok(self.with_counts(answer, &standing))
    }

    pub(super) fn tariff(&self, incoming: &Incoming) -> Done {
        let caller = self.caller(incoming, "parcels:read")?;
        let standing = self.count("tariff", &caller, TARIFFS);
        let answer = match standing.refused && !self.has("the-tariff-is-for-all") {
            true => self.too_many(&standing),
            false => Answer::new(200, json!({"currency": "EUR", "cents_per_kilo": 35})),
        };
        let policy = match self.fault {
            "policy-in-words" => format!("{TARIFFS} per minute"),
            "policy-below-what-is-left" => format!("\"tariff\";q={};w=60", TARIFFS / 4),
            _ => format!("\"tariff\";q={TARIFFS};w=60"),
        };
        let rest = match self.fault {
            "tariff-counts-an-hour" => 3600,
            _ => (standing.rest_ms + 999) / 1000,
        };
        let left = match self.fault {
            "tariff-left-stands-still" => TARIFFS - 1,
            _ => standing.left,
        };
        let left = format!("\"tariff\";r={left};t={rest}");
        let answer = answer.with("ratelimit-policy", policy).with("ratelimit", left);
        if answer.status == 429 { Err(answer) } else { Ok(answer) }
    }

    fn count(&self, what: &'static str, caller: &Caller, limit: i64) -> Standing {
        let now = self.now_ms();
        let owner = if self.has("everybody-shares-a-minute") { String::new() } else { caller.text.clone() };
        let late = if self.has("minutes-take-three") { 2 * MINUTE_MS } else { 0 };
        let mut kept = self.store.lock();
        let minute =
            kept.minutes.entry((what, owner)).or_insert(Minute { began_ms: now, asked: 0, refused: 0, late_ms: 0 });
        if now >= minute.began_ms + MINUTE_MS + late + minute.late_ms
            && !(self.has("minutes-never-end") && minute.refused > 0)
        {
            *minute = Minute { began_ms: now, asked: 0, refused: 0, late_ms: 0 };
        }
        minute.asked += 1;
        let asked = i64::try_from(minute.asked).unwrap_or(i64::MAX);
        let of_quotes = |fault: &str| what == "quotes" && self.has(fault);
        let spent = if of_quotes("quotes-count-twice") { asked * 2 } else { asked };
        let least = if of_quotes("one-quote-too-many") { -1 } else { 0 };
        let mut refused = limit - spent < least && !of_quotes("quotes-without-end");
        if refused {
            minute.refused += 1;
        }
        if self.has("only-the-first-is-refused") && minute.refused > 1 {
            refused = false;
        }
        if refused && self.has("refusals-put-the-end-off") {
            minute.late_ms += MINUTE_MS / 2;
        }
        let reset_ms = minute.began_ms + MINUTE_MS;
        Standing {
            limit,
            left: (limit - spent).max(0),
            reset: (reset_ms + 999) / 1000,
            rest_ms: (reset_ms - now).max(0),
            refused,
        }
    }

    fn too_many(&self, standing: &Standing) -> Answer {
        let wait = ((standing.rest_ms + 999) / 1000).max(1);
        let answer = Answer::problem(429, "too many questions in a minute");
        match self.fault {
            "429-without-retry-after" => answer,
            "retry-after-in-words" => answer.with("retry-after", "soon"),
            "retry-after-too-short" => answer.with("retry-after", "1"),
            _ => answer.with("retry-after", wait.to_string()),
        }
    }

    /// The three headers of the counts.
    fn with_counts(&self, answer: Answer, standing: &Standing) -> Answer {
        let Standing { limit, left, reset, .. } = standing;
        let limit = match self.fault {
            "limit-shrinks" => left.max(&1),
            "refusals-state-another-limit" if standing.refused => &(limit * 10),
            "limit-doubles-halfway" if *left < limit / 2 => &(limit * 2),
            "twice-the-documented-limit" => &(limit * 2),
            _ => limit,
        };
        let left = match self.fault {
            "more-left-than-allowed" => limit + left,
            "left-never-changes" => limit - 1,
            "left-goes-up" => limit - left,
            _ => *left,
        };
        let reset = match self.fault {
            "reset-in-milliseconds" => reset * 1000,
            "reset-as-a-span" => standing.rest_ms / 1000,
            "reset-in-the-past" => reset - 60 * 60,
            _ => *reset,
        };
        let answer = answer.with("x-ratelimit-limit", limit.to_string()).with("x-ratelimit-reset", reset.to_string());
        match self.fault {
            "counts-without-what-is-left" => answer,
            "left-in-words" => answer.with("x-ratelimit-remaining", if left > 10 { "plenty" } else { "few" }),
            _ => answer.with("x-ratelimit-remaining", left.to_string()),
        }
    }
}
