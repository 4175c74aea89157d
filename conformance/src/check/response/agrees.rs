use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::finding::Offending;

/// `response.agrees`.
pub(super) struct Agrees;

static META: Meta = Meta {
    id: "response.agrees",
    level: Level::Must,
    title: "a header and a body field that state one fact agree",
    rationale: "Clients read one or the other; if they differ, one of them is misled. The contract's `rate-limits.body` \
                says which field repeats the header.",
    sends: "nothing of its own; every 429 is looked at",
    demands: "the limit in the body equals the limit header",
    guards: "only where the contract names both places and both are there as integers",
    fault: "the body of a 429 states another limit than the header",
};

impl Check for Agrees {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if seen.response.status != 429 {
            return;
        }
        let Some(limits) = seen.contract().vocabulary.as_ref().and_then(|one| one.rate_limits.as_ref()) else { return };
        let (Some(header), Some(pointer)) = (&limits.headers.limit, &limits.body.limit) else { return };
        let Some(clause) = seen.clauses().rate_headers else { return };
        let header_value = seen.response.header(header).and_then(|text| text.trim().parse::<i64>().ok());
        let body_value =
            seen.exchange.json().and_then(|body| body.pointer(pointer)).and_then(serde_json::Value::as_i64);
        // A quota's answer has a limit of its own in the same place; it is not what the header tells of.
        let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
        let limited =
            seen.contract().envelope.as_ref().and_then(|envelope| envelope.vocabulary.refusals.limited.as_ref());
        if code.is_some() && limited.and_then(|answer| answer.code()) != code {
            return;
        }
        if let (Some(in_header), Some(in_body)) = (header_value, body_value) {
            verdicts.decide(in_header == in_body, clause, || {
                Break::new(&META, clause, format!("{header} and the body's {pointer} differ"))
                    .with_values(format!("{in_header}, as in {header}"), in_body.to_string())
                    .with_cause("limit")
                    .with_offending(Offending::Body(pointer.clone()))
            });
        }
    }
}
