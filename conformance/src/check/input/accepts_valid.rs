use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{Caller, Expect, Script};
use crate::check::response::shorten;
use crate::finding::Offending;

/// `input.accepts-valid`.
pub(super) struct AcceptsValid;

static META: Meta = Meta {
    id: "input.accepts-valid",
    level: Level::Must,
    title: "a valid request is not refused as invalid",
    rationale: "Whoever keeps to the document must be let through. The schemas of the operation's parameters and body.",
    sends: "the document's examples, values at and just inside each bound, random valid values; what they name is bound to \
            what exists",
    demands: "no refusal that means \"not valid\" (the contract's `refusals`; 400, 415 and 422 without one), and no 401 for \
              a credential that works elsewhere",
    guards: "every value is proved valid on the whole schema before it is sent; \"no such thing\", \"not now\" and \"not you\" \
             are other matters; an operation with rules that no schema states (`x-beyond-schema`) may have refused for \
             their sake; only single requests",
    fault: "names of the documented greatest length are refused",
};

impl Check for AcceptsValid {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Expect::Valid { .. } = seen.call.expect else { return };
        let (Script::Single(_), Some(operation)) = (&seen.case.script, seen.operation()) else { return };
        let Some(clause) = seen.clauses().of_operation(seen.call.operation).input else { return };
        let status = seen.response.status;
        let refused = seen.subject.is_validation_refusal(status, seen.exchange.json());
        // Rules that no schema can state may be the reason.
        if refused && !operation.beyond_schema.is_empty() {
            verdicts.inconclusive.push(clause);
            return;
        }
        let shut_out = status == 401 && operation.is_secured() && matches!(seen.call.caller, Caller::Principal(_));
        if refused || shut_out {
            let body = String::from_utf8_lossy(&seen.response.body);
            let title = if shut_out {
                format!("{} refuses a good credential", operation.id)
            } else {
                format!("{} refuses a valid request", operation.id)
            };
            let broken = Break::new(&META, clause, title)
                .with_values("the request is valid by the document", format!("{status} {}", shorten(&body)))
                .with_cause(format!("{} {status}", operation.id))
                .with_offending(Offending::Body(String::new()));
            verdicts.broke(broken);
        } else if status < 400 {
            verdicts.hold(clause);
        }
    }
}
