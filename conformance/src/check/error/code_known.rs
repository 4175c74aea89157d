use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::code;
use crate::finding::Offending;

/// `error.code-known`.
pub(super) struct CodeKnown;

static META: Meta = Meta {
    id: "error.code-known",
    level: Level::Must,
    title: "every error code is one of the catalogue's",
    rationale: "Clients branch on the code; one that nobody documented falls through every branch. The contract's \
                `error-codes`.",
    sends: "nothing of its own; every failing answer is looked at",
    demands: "the code is a key of the catalogue",
    guards: "only dialects with codes; an answer without a code is left to error.envelope",
    fault: "a missing agent is reported as `agent_missing`",
};

impl Check for CodeKnown {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Some(code), Some(clause)) = (code(seen), seen.clauses().catalogue) else { return };
        let codes = seen.contract().error_codes();
        verdicts.decide(codes.contains_key(code), clause, || {
            let names: Vec<&str> = codes.keys().map(String::as_str).collect();
            let hint = crate::profile::nearest(code, &names).map(|name| format!(" (is `{name}` meant?)"));
            let pointer = seen.contract().envelope.as_ref().and_then(|one| one.vocabulary.code.first().cloned());
            Break::new(&META, clause, format!("code `{code}` is not in the catalogue"))
                .with_values(
                    format!("one of the {} documented codes", codes.len()),
                    format!("{code}{}", hint.unwrap_or_default()),
                )
                .with_cause(code)
                .with_offending(Offending::Body(pointer.unwrap_or_default()))
        });
    }
}
