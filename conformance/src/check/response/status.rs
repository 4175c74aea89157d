use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::documented;
use crate::finding::Offending;

/// `response.status`.
pub(super) struct Status;

static META: Meta = Meta {
    id: "response.status",
    level: Level::Must,
    title: "every status is a documented one",
    rationale: "A client can only handle the statuses that it knows of. OpenAPI 3.1, \"Responses Object\": the object is \
                expected to cover a successful operation and any known errors.",
    sends: "nothing of its own; every answer of every case is looked at",
    demands: "the operation documents the status, as itself, as a range such as 4XX, or by `default`",
    guards: "requests that were meant to match no operation are left to error.envelope; 1xx never arrives here",
    fault: "an operation answers 202 where the contract has 201",
};

impl Check for Status {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some(operation) = seen.operation() else { return };
        let clauses = seen.clauses().of_operation(seen.call.operation);
        if let Some((_, response)) = documented(seen) {
            verdicts.hold(response.status);
            verdicts.held.extend(clauses.statuses);
            return;
        }
        let Some(clause) = clauses.statuses else { return };
        let known: Vec<String> = operation.responses.iter().map(|response| response.status.to_string()).collect();
        let status = seen.response.status;
        let broken = Break::new(&META, clause, format!("{} answers undocumented status {status}", operation.id))
            .with_values(format!("one of {}", known.join(", ")), status.to_string())
            // A refusal that many operations share is left out of all of them for one reason; a success of the wrong kind is
            // each operation's own.
            .with_cause(if status < 400 { format!("{} {status}", operation.id) } else { status.to_string() })
            .with_offending(Offending::Status);
        verdicts.broke(broken);
    }
}
