use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::Expect;
use crate::finding::Offending;

/// `method.not-allowed`.
pub(super) struct NotAllowed;

static META: Meta = Meta {
    id: "method.not-allowed",
    level: Level::Must,
    title: "a method that a path does not have is refused, and a 405 says which it has",
    rationale: "RFC 9110 section 15.5.6: the origin server must generate an `Allow` field in a 405 response. Where the contract \
                names another answer for unknown methods, that one counts.",
    sends: "nothing of its own; the cases of error.envelope with a method that the path does not have",
    demands: "405 (404 and 501 are as good), or what the contract says; with 405, `Allow` lists every documented method of the \
              path and not the refused one",
    guards: "401, 403 and 429 come first where they come; paths that another path's template matches too are left out",
    fault: "405 comes without Allow",
};

impl Check for NotAllowed {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if seen.call.expect != Expect::UnknownMethod {
            return;
        }
        let clause = seen.clauses().unknown_method;
        let status = seen.response.status;
        let contract = seen.contract();
        let operation = &contract.operations[seen.call.operation];
        if matches!(status, 401 | 403 | 429) || status >= 500 && status != 501 {
            verdicts.inconclusive.push(clause);
            return;
        }
        let tried = &seen.exchange.request.method;
        if contract.envelope.is_none() && !matches!(status, 404 | 405 | 501) {
            // What is answered with success is the business of error.envelope.
            if status >= 400 {
                let broken = Break::new(&META, clause, format!("{tried} on a path without it is answered {status}"))
                    .with_values("405", status.to_string())
                    .with_cause(format!("status {status}"))
                    .with_offending(Offending::Status);
                verdicts.broke(broken);
            }
            return;
        }
        if status != 405 {
            verdicts.hold(clause);
            return;
        }
        let allow = seen.response.headers.get_all("allow").iter().filter_map(|value| value.to_str().ok());
        let allowed: Vec<String> =
            allow.flat_map(|text| text.split(',')).map(|one| one.trim().to_ascii_uppercase()).collect();
        let there = seen.response.headers.contains_key("allow");
        let normal = crate::collection::normal(&operation.path);
        let documented: Vec<&str> = contract
            .operations
            .iter()
            .filter(|one| crate::collection::normal(&one.path) == normal)
            .map(|one| one.method.as_str())
            .collect();
        let missing = documented.iter().find(|method| !allowed.iter().any(|one| one == *method));
        let listed = allowed.iter().any(|one| one == tried.as_str());
        verdicts.decide(there && missing.is_none() && !listed, clause, || {
            let (cause, actual) = if !there {
                ("no Allow", "no such header".to_owned())
            } else if listed {
                ("Allow lists the refused method", allowed.join(", "))
            } else {
                ("Allow is not complete", allowed.join(", "))
            };
            Break::new(&META, clause, format!("a 405 of {}: {cause}", operation.path))
                .with_values(format!("Allow: {}", documented.join(", ")), actual)
                .with_cause(cause)
                .with_offending(Offending::Header("allow".to_owned()))
        });
    }
}
