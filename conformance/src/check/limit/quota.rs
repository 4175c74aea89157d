use super::super::{Break, Check, Level, Meta, Purpose, Sequence, Verdicts};
use super::steps_for;
use crate::case::Script;
use crate::finding::Offending;

/// `quota.enforced`.
pub(super) struct Enforced;

static META: Meta = Meta {
    id: "quota.enforced",
    level: Level::Must,
    title: "a quota ends exactly where it should, and starts again with its window",
    rationale: "What a plan pays for is what it gets. The contract's `quotas`, with the figure from the profile.",
    sends: "as a principal that nobody else uses: the request that the quota counts, as often as it allows; once more; \
            where the clock can be moved, just before and just after the window starts again",
    demands: "all pass; the next one gets the quota's code with its status; before the new window still so; after it, not",
    guards: "only with a figure from the profile; an answer that fails for another reason leaves the quota inconclusive",
    fault: "the quota allows one query too many",
};

impl Check for Enforced {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let Script::Quota(script) = &sequence.case.script else { return };
        let contract = &sequence.subject.contract;
        let (Some(&clause), Some(quota)) =
            (sequence.subject.clauses.quotas.get(&script.quota), contract.quota(&script.quota))
        else {
            return;
        };
        let status = contract.error_codes().get(&quota.code).map_or(429, |code| code.status);
        let is_over = |step: &super::super::Step| {
            let code = step.exchange.json().and_then(|body| sequence.subject.code_of(body));
            step.exchange.status() == Some(status) && code.is_none_or(|code| code == quota.code)
        };
        let broken = |title: &str, expected: String, step: &super::super::Step, cause: &str| {
            let code = step.exchange.json().and_then(|body| sequence.subject.code_of(body)).unwrap_or_default();
            let actual =
                step.exchange.status().map_or_else(|| "no answer".to_owned(), |status| format!("{status} {code}"));
            Break::new(&META, clause, format!("quota `{}` {title}", script.quota))
                .with_values(expected, actual)
                .with_cause(format!("{} {cause}", script.quota))
                .with_offending(Offending::Status)
                .during(step.purpose)
        };
        for (index, step) in steps_for(sequence.steps, Purpose::Count).enumerate() {
            if is_over(step) {
                let expected = format!("{} requests in a window", script.limit);
                verdicts.broke(broken(&format!("ends after {index}"), expected, step, "early"));
                return;
            }
            if step.exchange.status().is_none_or(|status| status >= 400) {
                verdicts.inconclusive.push(clause);
                return;
            }
        }
        let refusal = format!("{status} {}", quota.code);
        for step in steps_for(sequence.steps, Purpose::Over) {
            verdicts.decide(is_over(step), clause, || broken("does not end", refusal.clone(), step, "over"));
        }
        for step in steps_for(sequence.steps, Purpose::AlsoLimited) {
            let id = &sequence.subject.operation(step.call.operation).id;
            let title = format!("does not bind {id}");
            verdicts.decide(is_over(step), clause, || broken(&title, refusal.clone(), step, id));
        }
        for step in steps_for(sequence.steps, Purpose::BeforeReset) {
            verdicts
                .decide(is_over(step), clause, || broken("starts again too early", refusal.clone(), step, "before"));
        }
        for step in steps_for(sequence.steps, Purpose::AfterReset) {
            verdicts.decide(!is_over(step), clause, || {
                broken("does not start again with its window", "a new window".to_owned(), step, "after")
            });
        }
    }
}
