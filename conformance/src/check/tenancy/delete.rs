use trueline_spec::vocabulary::Effect;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{attacks, clause, is_makeable, own, says_nothing, status};
use crate::case::{Act, ArgumentValue, Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `tenancy.delete`.
pub(super) struct Delete;

static META: Meta = Meta {
    id: "tenancy.delete",
    level: Level::Must,
    title: "another tenant's resources cannot be deleted",
    rationale: "OWASP API1:2023, broken object level authorization; CWE-639. What is gone cannot be given back.",
    sends: "each destroying operation whose path names a resource, with a resource made for this by one tenant, as another \
            tenant's principal; then the owner reads it; the stranger also deletes an id that nothing has",
    demands: "the owner can still read it; where nobody can read, no success unless unknown ids get the same",
    guards: "only principals whose `tenant` the profile states; a service that answers every deletion with success harms nobody \
             as long as the resource stays",
    fault: "DELETE does not look at the owner",
};

impl Check for Delete {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, _, call) in attacks(planner) {
            let operation = planner.subject.operation(index);
            let attack = own(planner, call);
            if operation.effect != Effect::Destroy || !is_makeable(&attack) {
                continue;
            }
            let mut unknown = attack.clone();
            let last = operation.path_parameters().last().unwrap_or_default().to_owned();
            for argument in &mut unknown.arguments {
                if operation.parameters[argument.parameter].name == last
                    && let Some(nobody) = planner.unknown_id(index, argument.parameter)
                {
                    argument.value = ArgumentValue::Value(nobody);
                }
            }
            let mut acts = Vec::new();
            let reading = planner.owners_reading(index);
            acts.extend(reading.clone().map(|read| Act::optional("before", own(planner, read))));
            acts.extend([Act::new("attack", attack), Act::optional("unknown", unknown)]);
            acts.extend(reading.map(|read| Act::optional("after", own(planner, read))));
            let id = format!("{}/foreign", operation.id);
            cases.push(planner.chain(Phase::Access, META.id, id, index, acts, false));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let Some(clause) = clause(sequence.subject, chain.about) else { return };
        let Some(attack) = status(sequence, "attack") else { return };
        if says_nothing(attack) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let operation = sequence.subject.operation(chain.about);
        let gone = match (status(sequence, "before"), status(sequence, "after")) {
            (Some(200), Some(after)) => matches!(after, 404 | 410),
            _ => attack < 300 && status(sequence, "unknown").is_some_and(|unknown| (400..500).contains(&unknown)),
        };
        verdicts.decide(!gone, clause, || {
            Break::new(&META, clause, format!("{} deletes one tenant's resource for another", operation.id))
                .with_values("403 or 404, and the resource still there", attack.to_string())
                .with_cause(operation.id.clone())
                .with_offending(Offending::Status)
                .in_act("attack")
        });
    }
}
