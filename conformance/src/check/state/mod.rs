//! Family `state`: what the service acknowledges is so, and stays so.

mod conditional;
mod created_is_readable;
mod deleted_is_gone;
mod failed_write;
mod idempotency_key;
mod list_contains;
mod location_resolves;
mod paging;
mod patch_is_partial;
mod put_replaces;
mod race;
mod repeat_delete;
mod update_persists;

use serde_json::Value;

pub(super) use self::paging::pages;

use super::{Break, Check, Meta, Sequence, Step, Verdicts};
use crate::case::{Act, Binding, Call, CallBody, Case, Phase, Twist};
use crate::clause::ClauseId;
use crate::collection::Listing;
use crate::plan::{Field, Handled, Planner};

pub(super) const CHECKS: &[&dyn Check] = &[
    &created_is_readable::CreatedIsReadable,
    &location_resolves::LocationResolves,
    &update_persists::UpdatePersists,
    &patch_is_partial::PatchIsPartial,
    &put_replaces::PutReplaces,
    &failed_write::FailedWriteChangesNothing,
    &deleted_is_gone::DeletedIsGone,
    &repeat_delete::RepeatDelete,
    &list_contains::ListContains,
    &paging::Paging,
    &idempotency_key::IdempotencyKey,
    &conditional::Conditional,
    &race::Race,
];

/// The clause of what an operation acknowledges.
fn clause(sequence: &Sequence<'_>, operation: usize) -> Option<ClauseId> {
    sequence.subject.clauses.of_operation(operation).state
}

/// An act that was answered with success.
fn done<'a>(sequence: &Sequence<'a>, act: &str) -> Option<&'a Step> {
    sequence.act(act).filter(|step| step.exchange.status().is_some_and(|status| (200..300).contains(&status)))
}

/// Whether an answer says nothing of the state: not now, not you, or a failure that is another check's business.
fn says_nothing(step: &Step) -> bool {
    step.exchange.status().is_none_or(|status| matches!(status, 401 | 403 | 408 | 425 | 429) || status >= 500)
}

/// A member of a JSON answer, one wrapper deep if it does not stand at the top: `{"data": {…}}`.
fn member<'a>(step: &'a Step, name: &str) -> Option<&'a Value> {
    let body = step.exchange.json()?.as_object()?;
    body.get(name).or_else(|| match body.values().collect::<Vec<_>>().as_slice() {
        [Value::Object(inner)] => inner.get(name),
        _ => None,
    })
}

/// What the request of a step said of a member.
fn sent<'a>(step: &'a Step, name: &str) -> Option<&'a Value> {
    match &step.call.body {
        Some(CallBody::Value { value, .. }) => value.get(name),
        _ => None,
    }
}

/// Equal as values: `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()),
        _ => a == b,
    }
}

/// The id that the exchange which made an item gave it, as text.
pub(super) fn made_id(
    sequence: &Sequence<'_>,
    collection: &crate::collection::Collection,
    act: &str,
) -> Option<String> {
    let step = done(sequence, act)?;
    let documented = sequence.subject.operation(step.call.operation);
    let id = crate::run::Made::of(documented, &step.call, &step.exchange).evaluate(&collection.id)?;
    Some(text(&id))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The items of a listing's answer.
fn items<'a>(listing: &Listing, step: &'a Step) -> Option<&'a Vec<Value>> {
    step.exchange.json()?.pointer(&listing.items)?.as_array()
}

/// The ids of the items of a listing's answer, as texts.
pub(super) fn ids(listing: &Listing, step: &Step) -> Option<Vec<String>> {
    let pointer = listing.id.as_ref()?;
    Some(items(listing, step)?.iter().filter_map(|item| item.pointer(pointer)).map(text).collect())
}

/// The collection that a chain is about: the one whose creating operation its first act calls.
fn collection_of<'a>(sequence: &Sequence<'a>) -> Option<&'a crate::collection::Collection> {
    let crate::case::Script::Chain(chain) = &sequence.case.script else { return None };
    sequence.subject.collections.iter().find(|one| {
        chain.acts.iter().any(|act| one.create == Some(act.call.operation))
            && one.operations().any(|operation| operation == chain.about)
    })
}

/// A chain of this family.
fn chain(planner: &Planner<'_>, meta: &'static Meta, about: usize, name: &str, acts: Vec<Act>, cases: &mut Vec<Case>) {
    let id = format!("{}/{name}", planner.subject.operation(about).id);
    cases.push(planner.chain(Phase::Stateful, meta.id, id, about, acts, false));
}

/// A value of an earlier act.
fn of_act(name: &str, expression: &str) -> Binding {
    Binding::Act { name: name.to_owned(), expression: expression.to_owned() }
}

/// Reading the item that act `create` has made.
fn read_act(planner: &Planner<'_>, handled: &Handled<'_>, name: &str) -> Option<Act> {
    let read = handled.collection.read.filter(|read| planner.can_call(*read, &handled.caller))?;
    Some(Act::new(name, planner.item_call(read, &handled.caller, handled.collection, "create")?))
}

/// The way in which a write must say what it was made from, where the document asks for it: `If-Match` with the tag that
/// reading or making the item gave.
fn with_precondition(planner: &Planner<'_>, call: &mut Call, act: &str) {
    let operation = planner.subject.operation(call.operation);
    let asks =
        operation.parameters.iter().any(|one| {
            one.place == trueline_spec::contract::ParameterPlace::Header && one.name.eq_ignore_ascii_case("if-match")
        }) || operation.responses.iter().any(|one| one.status == trueline_spec::contract::StatusPattern::Exact(428));
    if asks {
        drop_header(planner, call, "if-match");
        call.twist = Some(Twist::BoundHeader("if-match".to_owned(), of_act(act, "$response.header.ETag")));
    }
}

/// Leaves a header parameter out, because the chain sets that header itself.
fn drop_header(planner: &Planner<'_>, call: &mut Call, name: &str) {
    let operation = planner.subject.operation(call.operation);
    call.arguments.retain(|argument| !operation.parameters[argument.parameter].name.eq_ignore_ascii_case(name));
}

/// A change of the item that act `create` has made: every field at its second value. Gives the fields that it sets.
fn change_call(planner: &Planner<'_>, handled: &Handled<'_>, write: usize, act: &str) -> Option<(Call, Vec<Field>)> {
    if !planner.can_call(write, &handled.caller) {
        return None;
    }
    let read = handled.collection.read?;
    let mut call = planner.item_call(write, &handled.caller, handled.collection, act)?;
    let fields = planner.fields(write, read);
    let set = planner.set_fields(&mut call, &fields, 1);
    with_precondition(planner, &mut call, act);
    let unique = match &call.body {
        Some(CallBody::Value { bindings, .. }) => bindings.iter().map(|(pointer, _)| pointer.clone()).collect(),
        _ => Vec::new(),
    };
    let set = set.into_iter().filter(|field| !unique.contains(&format!("/{}", crate::clause::escape(&field.name))));
    Some((call, set.collect()))
}

/// Whether the act that reads is the exchange whose tag a precondition needs: the answer that made the item has none.
fn tagged_by(planner: &Planner<'_>, handled: &Handled<'_>) -> &'static str {
    let has = |operation: usize| {
        let documented = planner.subject.operation(operation);
        let success = documented.responses.iter().filter(|response| response.status.to_string().starts_with('2'));
        success.flat_map(|response| &response.headers).any(|header| header.name.eq_ignore_ascii_case("etag"))
    };
    if has(handled.create) { "create" } else { "before" }
}

/// The difference that breaks an expectation on one member.
fn differs(
    meta: &'static Meta,
    clause: ClauseId,
    who: &str,
    what: String,
    name: &str,
    expected: &Value,
    actual: Option<&Value>,
) -> Break {
    let actual =
        actual.map_or_else(|| "no such member".to_owned(), |value| crate::check::response::shorten(&value.to_string()));
    Break::new(meta, clause, what)
        .with_values(format!("`{name}` is {}", crate::check::response::shorten(&expected.to_string())), actual)
        // One handler forgets one member, or all of them: either is one cause.
        .with_cause(who.to_owned())
        .with_offending(crate::finding::Offending::Body(format!("/{}", crate::clause::escape(name))))
}

/// Holds a clause, or leaves it open where an answer says nothing.
fn open(step: Option<&Step>, clause: ClauseId, verdicts: &mut Verdicts) {
    if step.is_some_and(says_nothing) {
        verdicts.inconclusive.push(clause);
    }
}
