use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::finding::Offending;

/// `secret.never`.
pub(super) struct Never;

static META: Meta = Meta {
    id: "secret.never",
    level: Level::Must,
    title: "no answer repeats a secret",
    rationale: "Answers end up in logs, caches and browsers. CWE-200, CWE-201; OWASP API3:2023. The contract's `x-secret` \
                and `writeOnly`.",
    sends: "nothing of its own; every answer is searched for passwords, static keys and the secret values of its own request",
    demands: "none of them stands in the body or in a header",
    guards: "values of fewer than eight characters are left out, they turn up by accident; so are values that stand in \
             another place of their own request, too; tokens that an operation has \
             just issued are no leak",
    fault: "an answer repeats the API key that it was called with",
};

impl Check for Never {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let clause = seen.clauses().secrets;
        for secret in seen.secrets {
            let in_body = find(&seen.response.body, secret.as_bytes());
            let header = seen.response.headers.iter().find(|(_, value)| find(value.as_bytes(), secret.as_bytes()));
            if !in_body && header.is_none() {
                continue;
            }
            let (what, offending) = match header {
                Some((name, _)) => (format!("header {name}"), Offending::Header(name.to_string())),
                None => ("the body".to_owned(), Offending::Body(String::new())),
            };
            let who = seen.operation().map_or("an unknown path", |operation| operation.id.as_str());
            let broken = Break::new(&META, clause, format!("an answer of {who} repeats a secret"))
                .with_values("no secret in any answer", format!("{what} has it"))
                .with_cause(format!("{who} {what}"))
                .with_offending(offending);
            verdicts.broke(broken);
            return;
        }
        if !seen.secrets.is_empty() {
            verdicts.hold(clause);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    // Most bytes are not the first of the secret: skip to those that are.
    let Some(&first) = needle.first() else { return false };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
