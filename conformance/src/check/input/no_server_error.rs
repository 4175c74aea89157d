use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::Call;
use crate::check::response::shorten;
use crate::exchange::Failure;
use crate::finding::Offending;
use crate::subject::Subject;

/// `input.no-server-error`.
pub(super) struct NoServerError;

static META: Meta = Meta {
    id: "input.no-server-error",
    level: Level::Must,
    title: "no request breaks the service",
    rationale: "RFC 9110 section 15.6: 5xx means that the server failed. What a client sends may be refused, never crash. \
                OWASP API8:2023.",
    sends: "nothing of its own; every answer of every case is looked at, and every exchange that ended without one",
    demands: "no 500; no connection that ends before the answer does; no answer that never ends",
    guards: "501 is an answer; 502, 503 and 504 are left alone where the operation documents them; so is a 500 whose code \
             the operation itself lists (a failure further on that the contract foresees)",
    fault: "an odd but valid character in a name is answered 500",
};

impl Check for NoServerError {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let status = seen.response.status;
        // What no client sends on purpose is the business of `input.survives`.
        if status < 500 || status == 501 || seen.call.expect == crate::case::Expect::Survives {
            return;
        }
        let operation = &seen.contract().operations[seen.call.operation];
        let Some(clause) = seen.clauses().of_operation(seen.call.operation).input else { return };
        let documented = operation.response(status).is_some();
        if matches!(status, 502..=504) && documented {
            verdicts.inconclusive.push(clause);
            return;
        }
        let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
        let foreseen = code.and_then(|code| seen.contract().error_codes().get(code)).is_some_and(|known| {
            known.on == trueline_spec::vocabulary::CodeReach::Listed
                && known.status == status
                && code.is_some_and(|code| operation.error_codes.iter().any(|listed| listed == code))
        });
        if foreseen {
            verdicts.inconclusive.push(clause);
            return;
        }
        let body = String::from_utf8_lossy(&seen.response.body);
        let broken = Break::new(&META, clause, format!("{} answers {status}", operation.id))
            .with_values("an answer below 500", format!("{status} {}", shorten(&body)))
            .with_cause(format!("{} {status}", operation.id))
            .with_offending(Offending::Status);
        verdicts.broke(broken);
    }
}

/// Judges an exchange that ended without an answer.
pub(crate) fn no_answer(subject: &Subject, call: &Call, failure: &Failure, verdicts: &mut Verdicts) {
    let operation = subject.operation(call.operation);
    let Some(clause) = subject.clauses.of_operation(call.operation).input else { return };
    let what = match failure {
        Failure::Unreachable(_) => return,
        Failure::Cut(_) => "cuts the connection",
        Failure::Timeout(_) => "does not answer in time",
        Failure::TooLarge => "answers without end",
        Failure::Protocol(_) => "answers what is not HTTP",
    };
    let broken = Break::new(&META, clause, format!("{} {what}", operation.id))
        .with_values("a whole answer", failure.to_string())
        .with_cause(format!("{} {what}", operation.id));
    verdicts.broke(broken);
}
