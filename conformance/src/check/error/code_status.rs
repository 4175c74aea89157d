use trueline_spec::Contract;
use trueline_spec::contract::ParameterPlace;
use trueline_spec::vocabulary::Answer;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::code;
use crate::case::{Expect, FaultNote, Part, Script};
use crate::finding::Offending;

/// `error.code-status`.
pub(super) struct CodeStatus;

static META: Meta = Meta {
    id: "error.code-status",
    level: Level::Must,
    title: "code, status and operation go together, and the code names what is wrong",
    rationale: "Generic clients go by the status, others by the code; both must come to one conclusion. The contract's \
                `error-codes`, an operation's `x-error-codes`, and `error-envelope.refusals`.",
    sends: "nothing of its own; every failing answer is looked at",
    demands: "the status is the catalogue's for this code; the operation documents the code; a request whose one fault is \
              a missing or a wrong field gets the code for that",
    guards: "unknown codes are left to error.code-known; faults inside compositions and in the path may be told as any \
             refusal; where the operation does not list the code for a fault, any listed one will do",
    fault: "`agent_not_found` comes with status 400",
};

impl Check for CodeStatus {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some(code) = code(seen) else { return };
        let Some(known) = seen.contract().error_codes().get(code) else { return };
        let status = seen.response.status;
        let pointer = seen.contract().envelope.as_ref().and_then(|one| one.vocabulary.code.first().cloned());
        let offending = Offending::Body(pointer.unwrap_or_default());
        let Some(operation) = seen.operation() else { return };
        let clauses = seen.clauses().of_operation(seen.call.operation);
        let Some(&clause) = clauses.codes.get(code) else {
            let Some(clause) = clauses.statuses else { return };
            let broken = Break::new(
                &META,
                clause,
                format!("{} answers code `{code}`, which it does not document", operation.id),
            )
            .with_values(format!("one of {}", operation.error_codes.join(", ")), code)
            .with_cause(format!("{} {code}", operation.id))
            .with_offending(offending);
            verdicts.broke(broken);
            return;
        };
        if known.status != status {
            let broken = Break::new(&META, clause, format!("code `{code}` comes with status {status}"))
                .with_values(format!("status {}", known.status), status.to_string())
                .with_cause(format!("{code} {status}"))
                .with_offending(Offending::Status);
            verdicts.broke(broken);
            return;
        }
        verdicts.hold(clause);
        if let Some(wanted) = wanted(seen)
            && operation.error_codes.iter().any(|listed| listed == wanted)
            && seen.subject.is_validation_refusal(status, seen.exchange.json())
        {
            verdicts.decide(code == wanted, clause, || {
                Break::new(
                    &META,
                    clause,
                    format!("a request with one fault is answered `{code}` instead of `{wanted}`"),
                )
                .with_values(wanted, code)
                .with_cause(format!("{wanted} not {code}"))
                .with_offending(offending)
            });
        }
    }
}

/// The code for the one fault that the request has, where there is no doubt.
fn wanted<'a>(seen: &Seen<'a>) -> Option<&'a str> {
    let Expect::Invalid(fault) = &seen.call.expect else { return None };
    if !matches!(seen.case.script, Script::Single(_)) {
        return None;
    }
    let refusals = &seen.contract().envelope.as_ref()?.vocabulary.refusals;
    let top_level = fault.instance.matches('/').count() == 1 || fault.instance.is_empty();
    if fault.keyword == "required"
        && let Some(code) = code_of_absence(seen, fault)
    {
        return Some(code);
    }
    let answer: &Answer = match fault.keyword.as_str() {
        "required" if top_level && !fault.schema.is_empty() && !fault.instance.is_empty() => &refusals.missing,
        "minLength" | "maxLength" | "minimum" | "maximum" | "pattern" | "enum" | "format" if top_level => {
            // Inside a composition a server sees every branch fail.
            if ["oneOf", "anyOf", "allOf", "not"].iter().any(|word| fault.schema.contains(word)) || in_composition(seen)
            {
                return None;
            }
            &refusals.invalid
        }
        "malformed" => &refusals.malformed,
        "media-type" => &refusals.media_type,
        "too-large" => &refusals.too_large,
        _ => return None,
    };
    answer.code()
}

/// The code of a part's own that its absence has (`x-missing`).
fn code_of_absence<'a>(seen: &Seen<'a>, fault: &FaultNote) -> Option<&'a str> {
    let contract: &'a Contract = seen.contract();
    let operation = contract.operations.get(seen.call.operation)?;
    let absent = |place: Option<ParameterPlace>, name: &str| match &fault.part {
        Part::Parameter(index) => {
            let parameter = &operation.parameters[*index];
            place == Some(parameter.place) && name == parameter.name
        }
        Part::Body => place.is_none() && fault.instance == format!("/{}", crate::clause::escape(name)),
    };
    contract.missing_codes(operation).into_iter().find(|(place, name, _)| absent(*place, name)).map(|(_, _, code)| code)
}

/// Whether the body as a whole is a choice between schemas.
fn in_composition(seen: &Seen<'_>) -> bool {
    let operation = &seen.contract().operations[seen.call.operation];
    operation
        .body
        .iter()
        .flat_map(|body| &body.media)
        .filter_map(|media| media.schema.as_ref())
        .map(|schema| seen.contract().resolve(schema))
        .any(|schema| schema.value.get("oneOf").is_some() || schema.value.get("anyOf").is_some())
}
