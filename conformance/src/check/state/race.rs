use std::collections::HashSet;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::conditional::{documents, has_tag, with_tag};
use super::idempotency_key::{keyed, repeat_of};
use super::{change_call, clause, done, read_act};
use crate::case::{Act, Binding, CallBody, Case, Phase};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.race`.
pub(super) struct Race;

static META: Meta = Meta {
    id: "state.race",
    level: Level::Must,
    title: "what is promised to one caller at a time holds for several at once",
    rationale: "CWE-362, CWE-367: between looking and writing there is room for another. RFC 9110 section 13.1.1 (lost updates); \
                draft-ietf-httpapi-idempotency-key-header section 2.6.",
    sends: "at once, six times each: a change under one and the same current tag; a creation under one and the same \
            idempotency key; a creation of one and the same name, where the second one alone is refused with 409",
    demands: "one change succeeds; one resource is made",
    guards: "only where the operations document the condition, the key or the conflict; a refusal of all is as good",
    fault: "the tag is compared before the lock is taken",
};

const TIMES: u32 = 6;

impl Check for Race {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let collection = handled.collection;
            let mut add = |about: usize, name: &str, acts: Vec<Act>| {
                let id = format!("{}/{name}", planner.subject.operation(about).id);
                cases.push(planner.chain(Phase::Race, META.id, id, about, acts, false));
            };
            for write in [collection.replace, collection.patch].into_iter().flatten() {
                let conditional = documents(planner.subject.operation(write), 412, "if-match");
                if !conditional || !collection.read.is_some_and(|read| has_tag(planner, read)) {
                    continue;
                }
                let (Some((create, _)), Some(before), Some((mut call, _))) = (
                    planner.create_act(&handled, "create"),
                    read_act(planner, &handled, "before"),
                    change_call(planner, &handled, write, "create"),
                ) else {
                    continue;
                };
                with_tag(planner, &mut call, "if-match", "before");
                let race = Act { times: TIMES, ..Act::new("race", call) };
                add(write, "lost-update", vec![create, before, race]);
            }
            if let Some((first, _)) = keyed(planner, &handled) {
                add(handled.create, "one-key", vec![Act { times: TIMES, ..Act::new("race", first) }]);
            }
            if let Some((create, _)) = planner.create_act(&handled, "create")
                && let Some(CallBody::Value { bindings, .. }) = &create.call.body
                && bindings.iter().any(|(_, binding)| matches!(binding, Binding::Unique { .. }))
            {
                let again = Act::new("again", repeat_of(&create.call, "race"));
                let race = Act { times: TIMES, name: "race".to_owned(), ..create };
                add(handled.create, "one-name", vec![race, again]);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let crate::case::Script::Chain(chain) = &sequence.case.script else { return };
        let Some(clause) = clause(sequence, chain.about) else { return };
        let id = &sequence.subject.operation(chain.about).id;
        let won: Vec<_> =
            sequence.acts("race").filter(|step| step.exchange.status().is_some_and(|status| status < 300)).collect();
        if won.is_empty() {
            verdicts.inconclusive.push(clause);
            return;
        }
        let broken = |what: &str, expected: &str, actual: String| {
            Break::new(&META, clause, format!("{id} {what}"))
                .with_values(expected, actual)
                .with_cause(format!("{id} {what}"))
                .with_offending(Offending::Status)
                .in_act("race")
        };
        let kind = sequence.case.id.rsplit('/').next().unwrap_or_default();
        match kind {
            "lost-update" => {
                // The same change twice is no change the second time: a service may see that and be content.
                let tags: HashSet<_> = won.iter().filter_map(|step| step.exchange.response()?.header("etag")).collect();
                let same = tags.len() == 1
                    && won
                        .iter()
                        .all(|step| step.exchange.response().is_some_and(|one| one.headers.contains_key("etag")));
                verdicts.decide(won.len() == 1 || same, clause, || {
                    broken("loses updates", "one success under one tag", format!("{} successes", won.len()))
                });
            }
            "one-key" => {
                let Some(collection) = super::super::state::collection_of(sequence) else { return };
                let ids: HashSet<String> = won
                    .iter()
                    .filter_map(|step| {
                        let documented = sequence.subject.operation(step.call.operation);
                        let made = crate::run::Made::of(documented, &step.call, &step.exchange);
                        Some(super::text(&made.evaluate(&collection.id)?))
                    })
                    .collect();
                verdicts.decide(ids.len() <= 1, clause, || {
                    broken("makes several resources for one idempotency key", "one id", format!("{} ids", ids.len()))
                });
            }
            _ => {
                let conflict = sequence.act("again").and_then(|step| step.exchange.status()) == Some(409);
                if !conflict || done(sequence, "race").is_none() && won.is_empty() {
                    return;
                }
                verdicts.decide(won.len() == 1, clause, || {
                    broken("makes several resources of one name", "one success", format!("{} successes", won.len()))
                });
            }
        }
    }
}
