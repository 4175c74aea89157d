use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::case::{CallBody, Case, Expect, FaultNote, Part, Phase, RawBytes};
use crate::finding::Offending;
use crate::plan::Planner;

/// `input.bounded`.
pub(super) struct Bounded;

static META: Meta = Meta {
    id: "input.bounded",
    level: Level::Must,
    title: "depth and size of a body are bounded",
    rationale: "One request must not take the memory or the stack of all. CWE-674, CWE-770; OWASP API4:2023; RFC 8259 \
                section 9 lets parsers set limits.",
    sends: "each operation that reads JSON: 100,000 nested arrays",
    demands: "a status from 400 to 499, in time",
    guards: "nested arrays fit no object schema, so a refusal is right for two reasons; operations whose schema allows any \
             value are left out",
    fault: "a deeply nested body is answered 200",
};

/// Deep enough to overflow a recursive parser's stack, small enough for every size limit.
const DEPTH: usize = 100_000;

impl Check for Bounded {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, operation) in planner.operations() {
            let Some(body) = &operation.body else { continue };
            let Some(media) = body.media.iter().position(|media| media.media_type == "application/json") else {
                continue;
            };
            let takes_arrays = planner
                .subject
                .body_generator(index, media)
                .is_none_or(|generator| generator.is_valid(&serde_json::json!([[]])));
            let Some(caller) = planner.callers(operation).into_iter().next().filter(|_| !takes_arrays) else {
                continue;
            };
            let Some(mut call) = planner.plain_call(index, &caller) else { continue };
            let nested = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
            let bytes = RawBytes::Text(nested);
            call.body = Some(CallBody::Raw { content_type: Some("application/json".to_owned()), bytes });
            call.expect = Expect::Invalid(FaultNote {
                part: Part::Body,
                instance: String::new(),
                schema: String::new(),
                keyword: "depth".to_owned(),
            });
            cases.push(planner.single(Phase::Boundary, META.id, format!("{}/body/deep", operation.id), call));
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if !seen.is_planned_by(&META) {
            return;
        }
        let Some(operation) = seen.operation() else { return };
        let Some(clause) = seen.clauses().of_operation(seen.call.operation).input else { return };
        let status = seen.response.status;
        if matches!(status, 401 | 403 | 429) || status >= 500 {
            verdicts.inconclusive.push(clause);
            return;
        }
        verdicts.decide((400..500).contains(&status), clause, || {
            Break::new(&META, clause, format!("{} takes a body that is nested {DEPTH} deep", operation.id))
                .with_values("a status from 400 to 499", status.to_string())
                .with_cause(operation.id.clone())
                .with_offending(Offending::Status)
        });
    }
}
