use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::paging::{has_next, pages, walk};
use super::{clause, done, made_id, says_nothing};

use crate::case::{Act, Case, Phase};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.list-contains`.
pub(super) struct ListContains;

static META: Meta = Meta {
    id: "state.list-contains",
    level: Level::Must,
    title: "a list contains what was created, and not what was deleted",
    rationale: "Callers find their resources by listing them; one that is missing there is lost, one that is deleted and still \
                there is a ghost. RFC 9110 sections 9.3.1 and 9.3.5.",
    sends: "for each kind of resource that can be listed: create one, list all pages; delete it, list all pages",
    demands: "its id is in the first list and not in the second",
    guards: "nothing else is sent meanwhile; only where the items' schema has an id; a list that does not end within 40 pages \
             says nothing, nor does one that filters by itself (a query parameter with a default); a service whose list never shows ids says nothing",
    fault: "the list leaves out the newest item",
};

impl Check for ListContains {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let collection = handled.collection;
            let Some(listing) = collection.list.as_ref().filter(|one| one.id.is_some()) else { continue };
            if !planner.can_call(listing.operation, &handled.caller) {
                continue;
            }
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            let Some(list) = pages(planner, &handled, listing, "page", 100, 40) else { continue };
            let mut acts = vec![create];
            acts.extend(list);
            if let Some(delete) = collection.delete.filter(|delete| planner.can_call(*delete, &handled.caller))
                && let Some(mut call) = planner.item_call(delete, &handled.caller, collection, "create")
            {
                acts.extend(super::read_act(planner, &handled, "before"));
                super::with_precondition(planner, &mut call, "before");
                acts.push(Act::new("delete", call));
                acts.extend(pages(planner, &handled, listing, "after", 100, 40).unwrap_or_default());
            }
            let id = format!("{}/list-contains", planner.subject.operation(listing.operation).id);
            cases.push(planner.chain(Phase::Stateful, META.id, id, listing.operation, acts, true));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let Some(collection) = super::collection_of(sequence) else { return };
        let Some(listing) = &collection.list else { return };
        let Some(clause) = clause(sequence, listing.operation) else { return };
        let Some(id) = made_id(sequence, collection, "create") else { return };
        let operation = sequence.subject.operation(listing.operation);
        for (prefix, wanted) in [("page", true), ("after", false)] {
            let steps = walk(sequence, prefix);
            if !wanted && done(sequence, "delete").is_none_or(|step| step.exchange.status() == Some(202)) {
                return;
            }
            let Some(last) = steps.last() else { return };
            if steps.iter().any(|step| says_nothing(step) || step.exchange.status() != Some(200)) {
                verdicts.inconclusive.push(clause);
                return;
            }
            let Some(ids) = steps.iter().map(|step| super::ids(listing, step)).collect::<Option<Vec<_>>>() else {
                verdicts.inconclusive.push(clause);
                return;
            };
            let shown = steps.iter().filter_map(|step| super::items(listing, step)).any(|items| !items.is_empty());
            let mut ids = ids.into_iter().flatten().peekable();
            if shown && ids.peek().is_none() {
                verdicts.inconclusive.push(clause);
                return;
            }
            let found = ids.any(|one| one == id);
            // Only an end that was reached shows that something is missing.
            if wanted && !found && (has_next(listing, last) || filters(sequence, listing) || is_cut(listing, last)) {
                verdicts.inconclusive.push(clause);
                return;
            }
            if found != wanted {
                let what = if wanted { "does not list what was created" } else { "still lists what was deleted" };
                let (expected, actual) = if wanted { ("an item", "none") } else { ("no item", "one") };
                let broken = Break::new(&META, clause, format!("{} {what}", operation.id))
                    .with_values(format!("{expected} with that id"), actual)
                    .with_cause(format!("{} {what}", operation.id))
                    .with_offending(Offending::Body(listing.items.clone()))
                    .in_act(last.act.clone());
                verdicts.broke(broken);
                return;
            }
        }
        verdicts.hold(clause);
    }
}

/// Whether a list leaves items out unless it is told otherwise: some filter has a default.
fn filters(sequence: &Sequence<'_>, listing: &crate::collection::Listing) -> bool {
    let operation = sequence.subject.operation(listing.operation);
    let paging =
        ["limit", "offset", "page", "size", "sort", "order", "direction", "perpage", "cursor", "skip", "count"];
    operation.parameters.iter().any(|one| {
        let word = crate::collection::plain(&one.name);
        let query = one.place == trueline_spec::contract::ParameterPlace::Query;
        let defaults =
            sequence.subject.contract.resolve(&one.schema).value.get("default").is_some_and(|one| !one.is_null());
        query && defaults && !paging.iter().any(|known| word.contains(known))
    })
}

/// Whether a list without pages may go on where it ends: it is as long as it was allowed to be, or as lists are cut.
fn is_cut(listing: &crate::collection::Listing, last: &super::Step) -> bool {
    let count = super::items(listing, last).map_or(0, Vec::len);
    listing.paging.is_none()
        && (listing.limit.is_some() && count >= 100 || [10, 20, 25, 30, 50, 100, 200].contains(&count))
}
