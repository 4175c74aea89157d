use trueline_spec::vocabulary::Visibility;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{clause, says_nothing};
use crate::case::{Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `tenancy.list`.
pub(super) struct List;

static META: Meta = Meta {
    id: "tenancy.list",
    level: Level::Must,
    title: "a list has nothing of another tenant",
    rationale: "OWASP API1:2023 and API3:2023: a filter that is forgotten shows everybody everything at once.",
    sends: "for each kind of resource that can be listed: one tenant creates one, another tenant's principal lists all pages",
    demands: "its id is in none of them",
    guards: "only principals whose `tenant` the profile states; not where `x-visibility: public`; only where the items' schema \
             has an id",
    fault: "the list is not filtered by tenant",
};

impl Check for List {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for mut handled in planner.handled() {
            let Some(listing) = handled.collection.list.as_ref().filter(|one| one.id.is_some()) else { continue };
            let operation = planner.subject.operation(listing.operation);
            if operation.visibility == Some(Visibility::Public) || !operation.is_secured() {
                continue;
            }
            // What hangs on another resource is listed by that one's owner; tenancy.read looks at that.
            if operation.path_parameters().next().is_some() {
                continue;
            }
            let Some(stranger) = planner.stranger(&handled.caller, listing.operation) else { continue };
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            handled.caller = stranger;
            let Some(list) = super::super::state::pages(planner, &handled, listing, "page", 100, 40) else { continue };
            let mut acts = vec![create];
            acts.extend(list);
            let id = format!("{}/foreign", operation.id);
            cases.push(planner.chain(Phase::Access, META.id, id, listing.operation, acts, false));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let Some(clause) = clause(sequence.subject, chain.about) else { return };
        let Some((collection, listing)) = sequence
            .subject
            .collections
            .iter()
            .find_map(|one| one.list.as_ref().filter(|list| list.operation == chain.about).map(|list| (one, list)))
        else {
            return;
        };
        let Some(id) = super::super::state::made_id(sequence, collection, "create") else { return };
        let operation = sequence.subject.operation(chain.about);
        for step in sequence.steps.iter().filter(|step| step.act.starts_with("page-")) {
            if step.exchange.status().is_none_or(says_nothing) {
                verdicts.inconclusive.push(clause);
                return;
            }
            if super::super::state::ids(listing, step).is_some_and(|ids| ids.contains(&id)) {
                let broken =
                    Break::new(&META, clause, format!("{} lists one tenant's resource to another", operation.id))
                        .with_values("no item with that id", "one")
                        .with_cause(operation.id.clone())
                        .with_offending(Offending::Body(listing.items.clone()))
                        .in_act(step.act.clone());
                verdicts.broke(broken);
                return;
            }
        }
        verdicts.hold(clause);
    }
}
