use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::{exhausted, steps_for};
use crate::finding::Offending;

/// `limit.envelope`.
pub(super) struct Envelope;

static META: Meta = Meta {
    id: "limit.envelope",
    level: Level::Must,
    title: "a limited caller is told so by the documented code",
    rationale: "A limit and a used-up quota share a status; only the code tells a client whether waiting helps. The \
                contract's `refusals.limited`.",
    sends: "the requests of limit.enforced",
    demands: "the 429 of a rate class has the code that the contract names for it",
    guards: "only dialects with codes; the shape of the answer is left to error.envelope",
    fault: "a limited caller gets `quota_exceeded`",
};

impl Check for Envelope {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let Some((exhaust, clause, _)) = exhausted(sequence) else { return };
        let envelope = sequence.subject.contract.envelope.as_ref();
        let limited = envelope.and_then(|one| one.vocabulary.refusals.limited.as_ref()).and_then(|one| one.code());
        let Some(limited) = limited else { return };
        for step in steps_for(sequence.steps, Purpose::Over).filter(|step| step.exchange.status() == Some(429)) {
            let code = step.exchange.json().and_then(|body| sequence.subject.code_of(body));
            let Some(code) = code else { continue };
            verdicts.decide(code == limited, clause, || {
                Break::new(&META, clause, format!("class `{}` is refused as `{code}`", exhaust.class))
                    .with_values(limited, code)
                    .with_cause(code)
                    .with_offending(Offending::Body(String::new()))
                    .during(Purpose::Over)
            });
        }
    }
}
