use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::documented;
use crate::data::wire::header_can_be_valid;
use crate::finding::Offending;
use crate::stated::is_number;

/// `response.headers`.
pub(super) struct Headers;

static META: Meta = Meta {
    id: "response.headers",
    level: Level::Must,
    title: "documented headers are there and fit their schemas",
    rationale: "What a client reads from headers is as much a promise as the body. OpenAPI 3.1, \"Header Object\".",
    sends: "nothing of its own; every answer is looked at",
    demands: "headers marked `required` are there; all documented ones fit their schemas",
    guards: "the rate-limit headers that the contract names are left to the family limit; text is read as a number, a \
             truth value or a list where the schema asks for one; undocumented headers are nobody's business",
    fault: "the request id header is no longer a string of the documented form",
};

impl Check for Headers {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some((index, clauses)) = documented(seen) else { return };
        let Some(operation) = seen.operation() else { return };
        let limits = seen.contract().vocabulary.as_ref().and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        let of_limits = limits.map(|limits| [&limits.headers.limit, &limits.headers.remaining, &limits.headers.reset]);
        let is_of_limits = |name: &str| {
            of_limits.is_some_and(|names| names.into_iter().flatten().any(|known| known.eq_ignore_ascii_case(name)))
        };
        let response = &operation.responses[index];
        // Without rate classes, whether a documented one is there and is a number is for the family limit, too.
        let rate = response.rate_headers();
        let stated = seen.clauses().stated_limits.is_some();
        let counts = [rate.limit, rate.remaining, rate.reset].into_iter().flatten();
        let fields = [rate.combined, rate.policy].into_iter().flatten();
        let left: Vec<&str> = counts
            .filter(|one| match seen.response.header(&one.name) {
                Some(text) => is_number(one) && text.trim().parse::<f64>().is_err(),
                None => true,
            })
            .chain(fields.filter(|one| seen.response.header(&one.name).is_none()))
            .map(|one| one.name.as_str())
            .collect();
        let is_of_limits = |name: &str| is_of_limits(name) || stated && left.contains(&name);
        for (number, header) in response.headers.iter().enumerate() {
            let clause = clauses.headers[number];
            let broken = |title: String, actual: String| {
                Break::new(&META, clause, title)
                    .with_values(format!("header {} that fits its schema", header.name), actual)
                    .with_offending(Offending::Header(header.name.to_ascii_lowercase()))
            };
            let Some(text) = seen.response.header(&header.name) else {
                if header.required && !is_of_limits(&header.name) {
                    let title = format!("{} {} lacks header {}", operation.id, response.status, header.name);
                    verdicts.broke(broken(title, "no such header".to_owned()));
                }
                continue;
            };
            let Some(validator) = seen.subject.header_validator(seen.call.operation, index, number) else { continue };
            let fits = header_can_be_valid(text, validator);
            if fits {
                verdicts.hold(clause);
            } else if !is_of_limits(&header.name) {
                let title = format!("header {} of {} {} does not fit", header.name, operation.id, response.status);
                verdicts.broke(broken(title, text.to_owned()));
            }
        }
    }
}
