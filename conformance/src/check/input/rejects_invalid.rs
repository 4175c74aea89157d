use trueline_spec::contract::Operation;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Expect, FaultNote, Part, Script};
use crate::finding::Offending;

/// `input.rejects-invalid`.
pub(super) struct RejectsInvalid;

static META: Meta = Meta {
    id: "input.rejects-invalid",
    level: Level::Must,
    title: "a request with one fault is refused",
    rationale: "A constraint that is not held is no constraint: bad data gets in, and the document lies. The violated \
                keyword; OWASP API8:2023. For ids that nothing has: the documented 404.",
    sends: "each constraint just outside its bound, each required part removed, wrong types, unreadable bodies, random \
            values with exactly one fault; ids of the right form that nothing has",
    demands: "a status from 400 to 499; for unknown ids 404",
    guards: "every value is proved invalid after it has been written and read again as the wire would (`5` and \"5\" are one \
             text in a query); 401, 403, 429 and redirections say nothing of the fault and leave it inconclusive; \
             for an unknown id so does another documented refusal where no order of checks is documented",
    fault: "the greatest length of a name is not held",
};

impl Check for RejectsInvalid {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Script::Single(_), Some(operation)) = (&seen.case.script, seen.operation()) else { return };
        let status = seen.response.status;
        let clauses = seen.clauses();
        match &seen.call.expect {
            Expect::Invalid(fault) => {
                let clause = clauses
                    .constraint(seen.call.operation, &fault.part, &fault.schema)
                    .or(clauses.of_operation(seen.call.operation).input);
                let Some(clause) = clause else { return };
                // Who is sent elsewhere is neither let in nor refused.
                if matches!(status, 300..=399 | 401 | 403 | 429) || status >= 500 {
                    verdicts.inconclusive.push(clause);
                    return;
                }
                verdicts.decide((400..500).contains(&status), clause, || {
                    let place = match &fault.part {
                        Part::Body if fault.instance.is_empty() => "the body".to_owned(),
                        Part::Body => format!("the body's {}", fault.instance),
                        Part::Parameter(index) => {
                            let parameter = &operation.parameters[*index];
                            format!("{} parameter {}", parameter.place, parameter.name)
                        }
                    };
                    let title = format!("{} accepts {place} although it breaks `{}`", operation.id, fault.keyword);
                    Break::new(&META, clause, title)
                        .with_values("a status from 400 to 499", status.to_string())
                        .with_cause(format!("{} {}", part_of_many(seen, operation, fault), fault.keyword))
                        .with_offending(Offending::Status)
                });
            }
            Expect::Refused { statuses, .. } if seen.is_planned_by(&META) => {
                let Some(clause) = clauses.of_operation(seen.call.operation).input else { return };
                // Where no order of checks is documented, something else may have been looked at first.
                let unsure = !statuses.contains(&status)
                    && (400..500).contains(&status)
                    && operation.documents(status)
                    && seen.contract().check_order().is_empty();
                if matches!(status, 300..=399 | 401 | 403 | 429) || status >= 500 || unsure {
                    verdicts.inconclusive.push(clause);
                    return;
                }
                verdicts.decide(statuses.contains(&status), clause, || {
                    let wanted: Vec<String> = statuses.iter().map(u16::to_string).collect();
                    Break::new(&META, clause, format!("{} answers {status} for an id that nothing has", operation.id))
                        .with_values(wanted.join(" or "), status.to_string())
                        .with_cause(format!("{} unknown {status}", operation.id))
                        .with_offending(Offending::Status)
                });
            }
            _ => {}
        }
    }
}

/// What many operations share and nobody holds requests to is one cause, whether the document writes it once or many times:
/// a parameter by its name and schema, a member of a body by the schema's place or by its name and schema, the form of a body.
fn part_of_many(seen: &Seen<'_>, operation: &Operation, fault: &FaultNote) -> String {
    let contract = seen.contract();
    match &fault.part {
        Part::Parameter(index) => {
            let parameter = &operation.parameters[*index];
            let schema = contract.resolve(&parameter.schema);
            format!("{} {} {} {}", parameter.place, parameter.name, schema.value, fault.instance)
        }
        Part::Body => {
            let media = operation.body.as_ref().map(|body| &body.media[crate::plan::preferred_media(body)]);
            let schema = media.and_then(|media| media.schema.as_ref());
            let (parent, _) = fault.schema.rsplit_once('/').unwrap_or_default();
            match schema.and_then(|schema| crate::collection::resolve(contract, &schema.value).pointer(parent)) {
                Some(keywords) if !fault.instance.is_empty() => format!("body {} {keywords}", fault.instance),
                _ => "body".to_owned(),
            }
        }
    }
}
