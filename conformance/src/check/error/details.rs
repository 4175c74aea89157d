use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::code;
use crate::check::response::shorten;
use crate::finding::Offending;

/// `error.details`.
pub(super) struct Details;

static META: Meta = Meta {
    id: "error.details",
    level: Level::Must,
    title: "the details fit the schema of their code",
    rationale: "Details are what a program reads to react: how long to wait, which field is wrong. The contract's \
                `error-codes.<code>.details`.",
    sends: "nothing of its own; every failing answer whose code has a schema for its details is looked at",
    demands: "the details are valid against that schema",
    guards: "codes without such a schema are free in their details",
    fault: "a 429 has no retry_after in its details",
};

impl Check for Details {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some(code) = code(seen) else { return };
        let Some(validator) = seen.subject.details_validator(code) else { return };
        let clauses = seen.operation().map(|_| seen.clauses().of_operation(seen.call.operation));
        let Some(&clause) = clauses.and_then(|clauses| clauses.codes.get(code)) else { return };
        let Some(details) = seen.exchange.json().and_then(|body| seen.subject.details_of(body)) else { return };
        if validator.is_valid(details) {
            verdicts.hold(clause);
            return;
        }
        let pointer = seen.contract().envelope.as_ref().and_then(|one| one.vocabulary.details.first().cloned());
        let message = validator.iter_errors(details).next().map(|error| error.to_string()).unwrap_or_default();
        let broken = Break::new(&META, clause, format!("the details of `{code}` do not fit their schema"))
            .with_values(format!("details as documented for `{code}`"), shorten(&message))
            .with_cause(code)
            .with_offending(Offending::Body(pointer.unwrap_or_default()));
        verdicts.broke(broken);
    }
}
