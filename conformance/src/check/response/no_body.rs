use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::documented;
use crate::finding::Offending;

/// `response.no-body`.
pub(super) struct NoBody;

static META: Meta = Meta {
    id: "response.no-body",
    level: Level::Must,
    title: "204, 205, 304 and answers to HEAD have no body",
    rationale: "RFC 9110 sections 6.4.1, 9.3.2, 15.3.5, 15.3.6 and 15.4.5: such answers have no content; on a kept \
                connection stray bytes are taken for the next answer.",
    sends: "nothing of its own; every answer with such a status is looked at",
    demands: "no bytes after the header, and no `Content-Length` other than 0 on 204 (RFC 9110 section 8.6)",
    guards: "`Content-Length` on HEAD and 304 tells of the other representation and is fine",
    fault: "a deletion answers 204 with a Content-Length of 2",
};

impl Check for NoBody {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let status = seen.response.status;
        let head = seen.exchange.request.method == http::Method::HEAD;
        if !head && !matches!(status, 204 | 205 | 304) {
            return;
        }
        let Some(clause) = documented(seen).and_then(|(_, clauses)| clauses.media) else { return };
        let length = seen.response.header("content-length").and_then(|text| text.trim().parse::<u64>().ok());
        let body = seen.response.body.len();
        let announced = matches!(status, 204 | 205) && length.is_some_and(|length| length > 0);
        verdicts.decide(body == 0 && !announced, clause, || {
            let actual = match (body, length) {
                (0, Some(length)) => format!("Content-Length: {length}"),
                (body, _) => format!("{body} bytes"),
            };
            Break::new(&META, clause, format!("an answer {status} has a body"))
                .with_values("no body", actual)
                .with_offending(Offending::Body(String::new()))
        });
    }
}
