use serde_json::Value;

use super::super::{Check, Level, Meta, Sequence, Verdicts};
use super::{chain, clause, differs, done, member, open, read_act, same, says_nothing, sent};
use crate::case::{Act, CallBody, Case};
use crate::plan::Planner;

/// `state.put-replaces`.
pub(super) struct PutReplaces;

static META: Meta = Meta {
    id: "state.put-replaces",
    level: Level::Must,
    title: "PUT replaces the whole resource",
    rationale: "RFC 9110 section 9.3.4: the state becomes that of the enclosed representation. A member that was left out and \
                stays makes two clients disagree on what they have stored.",
    sends: "for each kind of resource with PUT: create one with an optional member, PUT a valid body without that member, \
            read it",
    demands: "the member does not read as it did before the PUT",
    guards: "only members that are optional in the PUT's own schema and have no default there; the value is one that no \
             service has by itself; an absent, null or empty member is right",
    fault: "PUT merges into what is there",
};

impl Check for PutReplaces {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let (Some(put), Some(read)) = (handled.collection.replace, handled.collection.read) else { continue };
            if !planner.can_call(put, &handled.caller) {
                continue;
            }
            let optional = planner.optional_members(put);
            let telling = |value: &Value| value.is_string() || value.as_f64().is_some_and(|number| number > 1.0);
            let fields = planner.fields(put, read);
            let fields = fields
                .into_iter()
                .filter(|field| optional.contains(&field.name) && telling(&field.values[0]) && field.name != "version");
            for field in fields.take(3) {
                let Some((create, set)) = planner.create_act(&handled, "create") else { continue };
                if !set.iter().any(|one| one.name == field.name) {
                    continue;
                }
                let Some(before) = read_act(planner, &handled, "before") else { continue };
                let Some(mut call) = planner.item_call(put, &handled.caller, handled.collection, "create") else {
                    continue;
                };
                let Some(CallBody::Value { media, value, bindings }) = &mut call.body else { continue };
                let Some(members) = value.as_object_mut() else { continue };
                members.remove(&field.name);
                bindings.retain(|(pointer, _)| *pointer != format!("/{}", crate::clause::escape(&field.name)));
                let media = *media;
                let valid =
                    planner.subject.body_generator(put, media).is_some_and(|generator| generator.is_valid(value));
                let Some(after) = read_act(planner, &handled, "after").filter(|_| valid) else { continue };
                super::with_precondition(planner, &mut call, "before");
                let acts = vec![create, before, Act::new("put", call), after];
                chain(planner, &META, put, &format!("put-replaces/{}", field.name), acts, cases);
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let (Some(before), Some(put), Some(after)) =
            (done(sequence, "before"), done(sequence, "put"), sequence.act("after"))
        else {
            return;
        };
        let Some(clause) = clause(sequence, put.call.operation) else { return };
        if after.exchange.status().is_none_or(|status| status >= 300) {
            open(Some(after).filter(|step| says_nothing(step)), clause, verdicts);
            return;
        }
        let operation = sequence.subject.operation(put.call.operation);
        // The one member that the create had and the PUT has not.
        let name = sequence.case.id.rsplit('/').next().unwrap_or_default();
        let (Some(was), None) = (member(before, name), sent(put, name)) else { return };
        let now = member(after, name);
        let kept = now.is_some_and(|now| same(now, was));
        verdicts.decide(!kept || was.is_null(), clause, || {
            let what = format!("{} keeps `{name}` although the new representation has none", operation.id);
            differs(&META, clause, &operation.id, what, name, &Value::Null, now).in_act("after")
        });
    }
}
