//! What answers state of rate limits, where the document knows them by their headers alone: `X-RateLimit-*` and its
//! spellings, `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), `Retry-After` (RFC 9110 section
//! 10.2.3). Nobody says whom a counter counts, so only what holds for any of them can be judged by it.

use serde_json::Value;
use sfv::{BareItem, Dictionary, List, ListEntry, Parameters, Parser};
use trueline_spec::contract::{Header, Operation};
use trueline_spec::limits::RateHeaders;
use trueline_spec::vocabulary::ResetUnit;

use crate::exchange::Response;

/// One counter, as one answer states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The policy's name; empty where it has none.
    pub name: String,
    /// The header that says what is left.
    pub header: String,
    /// Requests in a window.
    pub limit: Option<i64>,
    /// What is left of them.
    pub remaining: Option<i64>,
    /// When the window ends.
    pub reset: Option<Reset>,
    /// How long it is, in seconds.
    pub window_s: Option<i64>,
    /// Whether every request counts as one, as far as anybody says.
    pub by_one: bool,
}

/// When a window ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Reset {
    /// The header.
    pub header: String,
    /// As it was written.
    pub text: String,
    /// What it counts in, where the document says so.
    pub unit: Option<ResetUnit>,
    /// The moment, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A header that cannot be what the document says.
#[derive(Debug, Clone, PartialEq)]
pub struct Unusable {
    /// Its name.
    pub header: String,
    /// What was promised.
    pub expected: &'static str,
    /// What came.
    pub actual: String,
}

/// All counters of one answer, and what cannot be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stated {
    /// The counters.
    pub counters: Vec<Counter>,
    /// What cannot be read.
    pub unusable: Vec<Unusable>,
}

impl Stated {
    /// What an operation's answer states.
    pub fn of(operation: &Operation, response: &Response) -> Stated {
        match operation.response(response.status) {
            Some(documented) => Stated::read(&documented.rate_headers(), response),
            None => Stated::default(),
        }
    }

    fn read(headers: &RateHeaders<'_>, response: &Response) -> Stated {
        let mut stated = Stated::default();
        let mut number = |header: Option<&Header>| {
            let header = header?;
            let text = response.header(&header.name)?.trim();
            // Earlier drafts put the windows of the policy behind the figure.
            let figure = text.split([',', ';']).next().unwrap_or_default().trim();
            let number = figure.parse::<f64>().ok().filter(|number| number.is_finite());
            if number.is_none() && is_number(header) {
                let expected = "a whole number";
                stated.unusable.push(Unusable { header: header.name.clone(), expected, actual: text.to_owned() });
            }
            number.filter(|number| *number >= 0.0)
        };
        let whole = |number: Option<f64>| number.filter(|number| number.fract() == 0.0).map(|number| number as i64);
        let (limit, remaining) = (whole(number(headers.limit)), whole(number(headers.remaining)));
        let reset = number(headers.reset).and_then(|value| {
            let header = headers.reset?;
            let text = response.header(&header.name)?.trim().to_owned();
            let at_ms = moment(value, headers.reset_unit, response.at_ms)?;
            Some(Reset { header: header.name.clone(), text, unit: headers.reset_unit, at_ms })
        });
        if limit.or(remaining).is_some() || reset.is_some() {
            let header = headers.remaining.map(|header| header.name.clone()).unwrap_or_default();
            let by_one = [headers.limit, headers.remaining].into_iter().flatten().all(counts_requests);
            let name = String::new();
            stated.counters.push(Counter { name, header, limit, remaining, reset, window_s: None, by_one });
        }
        // One name alone may be anything; both of them are the draft's.
        if let (Some(combined), Some(policy)) = (headers.combined, headers.policy) {
            stated.structured(combined, policy, response);
        }
        stated
    }

    /// `RateLimit: "default";r=50;t=30` beside `RateLimit-Policy: "default";q=100;w=60`; before version 08 of the draft
    /// `RateLimit: limit=100, remaining=50, reset=30` beside `RateLimit-Policy: 100;w=60`.
    fn structured(&mut self, combined: &Header, policy: &Header, response: &Response) {
        let expected = "a structured field (RFC 9651)";
        let mut parsed = |header: &Header| {
            let text = response.header(&header.name)?.trim();
            let parsed = members(text);
            if parsed.is_none() {
                self.unusable.push(Unusable { header: header.name.clone(), expected, actual: text.to_owned() });
            }
            parsed
        };
        let policies = parsed(policy).unwrap_or_default();
        for left in parsed(combined).unwrap_or_default() {
            let of = policies.iter().find(|one| one.name == left.name);
            // A policy without a name can only be meant where there is one.
            let of = of.or(policies.first().filter(|_| policies.len() == 1 && left.name.is_empty()));
            let figure = |name: &str| of.and_then(|one| one.figure(name));
            let reset = left.figure("t").map(|seconds| Reset {
                header: combined.name.clone(),
                text: seconds.to_string(),
                unit: Some(ResetUnit::DeltaSeconds),
                at_ms: response.at_ms.saturating_add(seconds.saturating_mul(1000)),
            });
            self.counters.push(Counter {
                header: combined.name.clone(),
                limit: figure("q").or(left.figure("q")),
                remaining: left.figure("r"),
                reset,
                window_s: figure("w"),
                by_one: of.is_none_or(|one| one.unit.as_deref().is_none_or(|unit| unit == "requests")),
                name: left.name,
            });
        }
    }

    /// The counter with this name.
    pub fn counter(&self, name: &str) -> Option<&Counter> {
        self.counters.iter().find(|one| one.name == name)
    }

    /// The least that any counter has left.
    pub fn left(&self) -> Option<i64> {
        self.counters.iter().filter_map(|one| one.remaining).min()
    }

    /// When the last of the windows ends that have at most so many requests left.
    pub fn end_ms(&self, left: i64) -> Option<i64> {
        let is_tight = |one: &&Counter| one.by_one && one.remaining.is_some_and(|one| one <= left);
        let tight = self.counters.iter().filter(is_tight);
        tight.filter_map(|one| one.reset.as_ref()).map(|reset| reset.at_ms).max()
    }
}

/// Seconds until a caller may come again: a number, or a date (RFC 9110 section 10.2.3). `Err` is what it is instead.
pub fn retry_after_s(response: &Response) -> Option<Result<i64, String>> {
    let text = response.header("retry-after")?.trim();
    let seconds = text.parse::<u32>().map(i64::from).ok();
    let date = || {
        let at = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
        Some((at - response.at_ms).max(0).div_euclid(1000))
    };
    Some(seconds.or_else(date).ok_or_else(|| text.to_owned()))
}

/// One member of a structured field.
struct Member {
    name: String,
    figures: Vec<(String, i64)>,
    unit: Option<String>,
}

impl Member {
    fn figure(&self, name: &str) -> Option<i64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure)
    }
}

/// The members of `RateLimit` or `RateLimit-Policy`, older figures under their newer names. None: no structured field.
fn members(text: &str) -> Option<Vec<Member>> {
    let figures = |params: &Parameters| -> Vec<(String, i64)> {
        let figure = |value: &BareItem| value.as_integer().map(i64::from);
        params.iter().filter_map(|(key, value)| Some((key.as_str().to_owned(), figure(value)?))).collect()
    };
    // `limit=100, remaining=50` is no list, and `"default";r=50` no dictionary.
    if let Ok(list) = Parser::new(text).parse::<List>() {
        let items = list.iter().filter_map(|entry| match entry {
            ListEntry::Item(item) => Some(item),
            ListEntry::InnerList(_) => None,
        });
        let member = |item: &sfv::Item| {
            let mut figures = figures(&item.params);
            let name = match &item.bare_item {
                BareItem::String(name) => name.as_str().to_owned(),
                BareItem::Token(name) => name.as_str().to_owned(),
                BareItem::Integer(quota) => {
                    figures.push(("q".to_owned(), i64::from(*quota)));
                    String::new()
                }
                _ => return None,
            };
            let unit = item.params.get("qu").and_then(|unit| Some(unit.as_string()?.as_str().to_owned()));
            Some(Member { name, figures, unit })
        };
        return Some(items.filter_map(member).collect());
    }
    let dictionary = Parser::new(text).parse::<Dictionary>().ok()?;
    let figure = |name: &str| match dictionary.get(name)? {
        ListEntry::Item(item) => item.bare_item.as_integer().map(i64::from),
        ListEntry::InnerList(_) => None,
    };
    let named = [("limit", "q"), ("remaining", "r"), ("reset", "t")];
    let figures = named.iter().filter_map(|(older, name)| Some(((*name).to_owned(), figure(older)?))).collect();
    Some(vec![Member { name: String::new(), figures, unit: None }])
}

/// The moment that a reset header means. Where the document does not say what it counts in, only what can be nothing else:
/// milliseconds or seconds since 1970 from this century, or at most a month from now.
fn moment(value: f64, unit: Option<ResetUnit>, now_ms: i64) -> Option<i64> {
    let unix = || Some((value * 1000.0) as i64);
    let span = || Some(now_ms.saturating_add((value * 1000.0) as i64));
    match unit {
        Some(ResetUnit::UnixSeconds) => unix(),
        Some(ResetUnit::DeltaSeconds) => span(),
        None if value >= 1e12 => Some(value as i64),
        None if (1e9..1e11).contains(&value) => unix(),
        None if value <= 31.0 * 86_400.0 => span(),
        None => None,
    }
}

/// Whether a header is documented as a number.
pub(crate) fn is_number(header: &Header) -> bool {
    matches!(header.schema.value.get("type").and_then(Value::as_str), Some("integer" | "number"))
}

/// Whether nothing that is said of a header prices requests differently.
fn counts_requests(header: &Header) -> bool {
    let words = header.description.as_deref().unwrap_or_default().to_lowercase();
    !["cost", "credit", "point", "weight", "unit", "token", "byte", "concurren"].iter().any(|word| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(text: &str) -> Vec<(String, Vec<(String, i64)>)> {
        members(text).unwrap_or_default().into_iter().map(|one| (one.name, one.figures)).collect()
    }

    #[test]
    fn both_forms_of_the_draft_are_read() {
        let figure = |name: &str, figure: i64| (name.to_owned(), figure);
        let newer = figures("\"burst\";r=3;t=1, \"day\";r=900;t=4000");
        assert_eq!(newer[0], ("burst".to_owned(), vec![figure("r", 3), figure("t", 1)]));
        assert_eq!(newer[1], ("day".to_owned(), vec![figure("r", 900), figure("t", 4000)]));
        let older = figures("limit=100, remaining=50, reset=30");
        assert_eq!(older, [(String::new(), vec![figure("q", 100), figure("r", 50), figure("t", 30)])]);
        assert_eq!(figures("100;w=60"), [(String::new(), vec![figure("w", 60), figure("q", 100)])]);
        assert!(members("60 per minute").is_none());
    }

    #[test]
    fn an_undocumented_unit_is_taken_only_where_it_can_be_nothing_else() {
        let now = 1_768_046_400_000;
        assert_eq!(moment(1_768_046_460.0, None, now), Some(now + 60_000));
        assert_eq!(moment(1_768_046_460_000.0, None, now), Some(now + 60_000));
        assert_eq!(moment(60.0, None, now), Some(now + 60_000));
        assert_eq!(moment(60_000_000.0, None, now), None);
    }
}
