use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Expect, Part, Script};
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
             text in a query); 401, 403 and 429 say nothing of the fault and leave it inconclusive",
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
                if matches!(status, 401 | 403 | 429) || status >= 500 {
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
                    // One shared schema that nobody holds requests to is one cause, whatever the operation.
                    let at = &clauses.get(clause).at;
                    Break::new(&META, clause, title)
                        .with_values("a status from 400 to 499", status.to_string())
                        .with_cause(format!("{}:{} {}", at.file, at.pointer, fault.keyword))
                        .with_offending(Offending::Status)
                });
            }
            Expect::Refused { statuses, .. } if seen.is_planned_by(&META) => {
                let Some(clause) = clauses.of_operation(seen.call.operation).input else { return };
                if matches!(status, 401 | 403 | 429) || status >= 500 {
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
