use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, done, made_id, of_act, says_nothing};
use crate::case::{Act, Case, Twist};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.location-resolves`.
pub(super) struct LocationResolves;

static META: Meta = Meta {
    id: "state.location-resolves",
    level: Level::Must,
    title: "the Location of a creating answer leads to what was created",
    rationale: "RFC 9110 section 10.2.2 and 15.3.2: in a 201, Location refers to the primary resource that was created.",
    sends: "for each kind of resource: create one, then GET what its `Location` says, as the same caller",
    demands: "a successful answer; where it shows an id, the id of what was created",
    guards: "only 201 with a `Location`; one that leads to another host is not followed, for credentials stay here",
    fault: "Location misses the path's prefix",
};

impl Check for LocationResolves {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some(read) = handled.collection.read.filter(|read| planner.can_call(*read, &handled.caller)) else {
                continue;
            };
            let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
            let Some(mut follow) = planner.item_call(read, &handled.caller, handled.collection, "create") else {
                continue;
            };
            follow.twist = Some(Twist::Follow(of_act("create", "$response.header.Location")));
            let acts = vec![create, Act::optional("follow", follow)];
            chain(planner, &META, handled.create, "location-resolves", acts, cases);
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let Some(create) = done(sequence, "create").filter(|step| step.exchange.status() == Some(201)) else { return };
        let Some(location) = create.exchange.response().and_then(|response| response.header("location")) else {
            return;
        };
        let Some(clause) = clause(sequence, create.call.operation) else { return };
        let operation = sequence.subject.operation(create.call.operation);
        let Some(follow) = sequence.act("follow") else {
            let absolute = location.contains("://") || location.starts_with("//");
            if absolute && crate::run::path_below(sequence.base_url, "/", location).is_none() {
                verdicts.inconclusive.push(clause);
            } else {
                let broken = Break::new(&META, clause, format!("{}'s Location leads nowhere", operation.id))
                    .with_values(format!("an address below {}", sequence.base_url), location.to_owned())
                    .with_cause(format!("{} outside", operation.id))
                    .with_offending(Offending::Header("location".to_owned()))
                    .in_act("create");
                verdicts.broke(broken);
            }
            return;
        };
        if says_nothing(follow) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let status = follow.exchange.status().unwrap_or_default();
        let collection = super::collection_of(sequence);
        let id = collection.and_then(|one| made_id(sequence, one, "create"));
        let pointer = collection.and_then(|one| one.id.strip_prefix("$response.body#"));
        let shown = pointer.and_then(|pointer| follow.exchange.json()?.pointer(pointer)).map(super::text);
        let other = matches!((&id, &shown), (Some(id), Some(shown)) if id != shown);
        let reached = (200..400).contains(&status);
        verdicts.decide(reached && !other, clause, || {
            let what = if reached { "leads to another resource" } else { "leads nowhere" };
            let actual = if reached { format!("id {}", shown.unwrap_or_default()) } else { status.to_string() };
            Break::new(&META, clause, format!("{}'s Location {what}", operation.id))
                .with_values(format!("GET {location} gives what was created"), actual)
                .with_cause(format!("{} {what}", operation.id))
                .with_offending(Offending::Header("location".to_owned()))
                .in_act("create")
        });
    }
}
