use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::documented;
use crate::finding::Offending;

/// `response.media-type`.
pub(super) struct MediaType;

static META: Meta = Meta {
    id: "response.media-type",
    level: Level::Must,
    title: "the media type is a documented one",
    rationale: "A client chooses its parser by `Content-Type` (RFC 9110 section 8.3). OpenAPI 3.1, \"Response Object\", \
                `content`.",
    sends: "nothing of its own; every answer with a body is looked at",
    demands: "`Content-Type` is one of the response's media types; ranges such as text/* match",
    guards: "parameters such as charset are ignored; responses without documented content are left to response.no-body",
    fault: "a list is answered as text/html",
};

impl Check for MediaType {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some((index, clauses)) = documented(seen) else { return };
        let Some(operation) = seen.operation() else { return };
        let Some(clause) = clauses.media else { return };
        let response = &operation.responses[index];
        if response.media.is_empty() || seen.exchange.request.method == http::Method::HEAD {
            return;
        }
        let came = seen.response.media_type();
        let fits = came.as_ref().is_some_and(|came| {
            response.media.iter().any(|media| {
                media.media_type == *came
                    || media.media_type == "*/*"
                    || media.media_type.strip_suffix('*').is_some_and(|range| came.starts_with(range))
            })
        });
        verdicts.decide(fits, clause, || {
            let types: Vec<&str> = response.media.iter().map(|media| media.media_type.as_str()).collect();
            let came = came.unwrap_or_else(|| "no Content-Type".to_owned());
            Break::new(&META, clause, format!("{} {} has the wrong media type", operation.id, response.status))
                .with_values(types.join(" or "), came)
                .with_offending(Offending::Header("content-type".to_owned()))
        });
    }
}
