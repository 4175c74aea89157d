use trueline_spec::vocabulary::HeaderReach;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::stated::{offending, told};
use super::{limits, number};
use crate::finding::Offending;

/// `limit.headers`.
pub(super) struct Headers;

static META: Meta = Meta {
    id: "limit.headers",
    level: Level::Must,
    title: "the rate-limit headers are where the contract says",
    rationale: "A polite client slows down by these headers; where they are missing it runs into the wall. The contract's \
                `rate-limits.headers` and `on`; without them the response's documented headers, and \
                draft-ietf-httpapi-ratelimit-headers.",
    sends: "nothing of its own; every answer is looked at, failures and the router's own answers included",
    demands: "each named header is there, as a whole number that is not negative, and remaining is not more than limit",
    guards: "with `on: limited-only` only 429 is looked at; with `on: none` nothing is; without rate classes only headers that \
             are marked `required` must be there, and only numbers must be numbers",
    fault: "failing answers lack the headers",
};

impl Check for Headers {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        by_documented_headers(seen, verdicts);
        let (Some(limits), Some(clause)) = (limits(seen), seen.clauses().rate_headers) else { return };
        match limits.on {
            HeaderReach::EveryResponse => {}
            HeaderReach::LimitedOnly if seen.response.status == 429 => {}
            HeaderReach::LimitedOnly | HeaderReach::None => return,
        }
        let names = [&limits.headers.limit, &limits.headers.remaining, &limits.headers.reset];
        let kind =
            if seen.is_unmatched() { "unmatched".to_owned() } else { format!("{}xx", seen.response.status / 100) };
        for name in names.into_iter().flatten() {
            let text = seen.response.header(name);
            let good = number(seen.response, Some(name)).is_some_and(|number| number >= 0);
            if !good {
                let actual = text.map_or_else(|| "no such header".to_owned(), str::to_owned);
                let broken = Break::new(
                    &META,
                    clause,
                    format!("{} {} lacks a usable {name}", seen.request_line_kind(), seen.response.status),
                )
                .with_values(format!("{name} as a whole number"), actual)
                .with_cause(format!("{name} {kind}"))
                .with_offending(Offending::Header(name.to_ascii_lowercase()));
                verdicts.broke(broken);
                return;
            }
        }
        let limit = number(seen.response, limits.headers.limit.as_ref());
        let remaining = number(seen.response, limits.headers.remaining.as_ref());
        if let (Some(limit), Some(remaining)) = (limit, remaining)
            && remaining > limit
        {
            let broken = Break::new(&META, clause, "more is left than was allowed")
                .with_values(format!("at most {limit}"), remaining.to_string())
                .with_cause("remaining over limit");
            verdicts.broke(broken);
            return;
        }
        verdicts.hold(clause);
    }
}

/// Where no class is documented, what each response documents.
fn by_documented_headers(seen: &Seen<'_>, verdicts: &mut Verdicts) {
    let (Some((stated, clause)), Some(operation)) = (told(seen), seen.operation()) else { return };
    let Some(response) = operation.response(seen.response.status) else { return };
    let headers = response.rate_headers();
    let all = [headers.limit, headers.remaining, headers.reset, headers.combined, headers.policy];
    let documented: Vec<_> = all.into_iter().flatten().collect();
    let missing = documented.iter().find(|header| header.required && seen.response.header(&header.name).is_none());
    let broken = |header: &str, expected: String, actual: String, cause: &str| {
        let title = format!("{} {} lacks a usable {header}", operation.id, seen.response.status);
        Break::new(&META, clause, title)
            .with_values(expected, actual)
            .with_cause(format!("{header} {cause}"))
            .with_offending(offending(header))
    };
    if let Some(header) = missing {
        let cause = format!("{}xx", seen.response.status / 100);
        let expected = format!("{}, which is required", header.name);
        verdicts.broke(broken(&header.name, expected, "no such header".to_owned(), &cause));
    } else if let Some(unusable) = stated.unusable.first() {
        let expected = unusable.expected.to_owned();
        verdicts.broke(broken(&unusable.header, expected, unusable.actual.clone(), "form"));
    } else if let Some((counter, limit, left)) = stated.counters.iter().find_map(|one| {
        let (limit, left) = one.limit.zip(one.remaining)?;
        (left > limit).then_some((one, limit, left))
    }) {
        let broken = Break::new(&META, clause, "more is left than was allowed")
            .with_values(format!("at most {limit}"), left.to_string())
            .with_cause(format!("{} over limit", counter.header))
            .with_offending(offending(&counter.header));
        verdicts.broke(broken);
    } else if documented.iter().any(|header| seen.response.header(&header.name).is_some()) {
        verdicts.hold(clause);
    }
}
