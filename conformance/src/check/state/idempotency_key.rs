use trueline_spec::contract::{ParameterPlace, StatusPattern};

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{clause, done, made_id, of_act, says_nothing};
use crate::case::{Act, ArgumentValue, Binding, Call, CallBody, Caller, Case, Phase};
use crate::finding::Offending;
use crate::plan::{Handled, Planner};

/// `state.idempotency-key`.
pub(super) struct IdempotencyKey;

static META: Meta = Meta {
    id: "state.idempotency-key",
    level: Level::Must,
    title: "one idempotency key makes one resource",
    rationale: "A client that got no answer sends again with the same key, and must not pay twice. \
                draft-ietf-httpapi-idempotency-key-header sections 2.6 and 2.7; the documented header parameter.",
    sends: "for each creating operation with an `Idempotency-Key` header: a request, the same one again with the same key, \
            another body with the same key; as another tenant, the same request with the same key",
    demands: "the repetition makes nothing new (the same id, or a refusal); another body is refused where the operation \
              documents 409 or 422; another tenant does not get the first one's answer",
    guards: "only where the answer says the id; the key is new in every run",
    fault: "the key is ignored",
};

impl Check for IdempotencyKey {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some((first, again)) = keyed(planner, &handled) else { continue };
            let mut acts = vec![Act::new("create", first), Act::new("again", again.clone())];
            let mut other = again.clone();
            if let Some(read) = handled.collection.read {
                let fields = planner.fields(handled.create, read);
                if let Some(CallBody::Value { bindings, .. }) = &mut other.body {
                    // The texts that were bound to the first request are set anew.
                    bindings.retain(|(_, binding)| !matches!(binding, Binding::Act { .. }));
                }
                if !planner.set_fields(&mut other, &fields, 1).is_empty() {
                    acts.push(Act::new("other-body", other));
                }
            }
            if let Some(stranger) = planner.stranger(&handled.caller, handled.create)
                && let Some(mut foreign) = planner.plain_call(handled.create, &stranger)
            {
                let header = again.arguments.iter().find(|argument| {
                    planner.subject.operation(handled.create).parameters[argument.parameter].place
                        == ParameterPlace::Header
                        && matches!(argument.value, ArgumentValue::Bound(Binding::Act { .. }))
                });
                if let Some(header) = header {
                    planner.set_parameter(&mut foreign, header.parameter, header.value.clone());
                    foreign.body.clone_from(&again.body);
                    acts.push(Act::optional("stranger", foreign));
                }
            }
            let id = format!("{}/idempotency-key", planner.subject.operation(handled.create).id);
            cases.push(planner.chain(Phase::Stateful, META.id, id, handled.create, acts, false));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let Some(collection) = super::collection_of(sequence) else { return };
        let (Some(create), Some(first)) = (done(sequence, "create"), made_id(sequence, collection, "create")) else {
            return;
        };
        let Some(clause) = clause(sequence, create.call.operation) else { return };
        let operation = sequence.subject.operation(create.call.operation);
        let broken = |what: &str, expected: &str, actual: String, act: &str| {
            Break::new(&META, clause, format!("{} {what}", operation.id))
                .with_values(expected, actual)
                .with_cause(format!("{} {what}", operation.id))
                .with_offending(Offending::Status)
                .in_act(act)
        };
        if let Some(again) = sequence.act("again") {
            if says_nothing(again) {
                verdicts.inconclusive.push(clause);
                return;
            }
            let second = done(sequence, "again").and_then(|_| made_id(sequence, collection, "again"));
            verdicts.decide(second.as_ref().is_none_or(|second| *second == first), clause, || {
                let actual = format!("{} and another id", again.exchange.status().unwrap_or_default());
                broken("makes a second resource for one idempotency key", "the first one again", actual, "again")
            });
        }
        let refuses = [409, 422]
            .iter()
            .any(|status| operation.responses.iter().any(|one| one.status == StatusPattern::Exact(*status)));
        if let Some(other) = done(sequence, "other-body").filter(|_| refuses) {
            let status = other.exchange.status().unwrap_or_default();
            verdicts.broke(broken(
                "takes another body under a used idempotency key",
                "409 or 422",
                status.to_string(),
                "other-body",
            ));
        }
        if done(sequence, "stranger").is_some() {
            let theirs = made_id(sequence, collection, "stranger");
            verdicts.decide(theirs.as_ref() != Some(&first), clause, || {
                let actual = "the first tenant's resource".to_owned();
                broken("answers one tenant's idempotency key to another", "a resource of its own", actual, "stranger")
            });
        }
    }
}

/// A creating request with a key of its own, and its repetition.
pub(super) fn keyed(planner: &Planner<'_>, handled: &Handled<'_>) -> Option<(Call, Call)> {
    let documented = planner.subject.operation(handled.create);
    let header = documented.parameters.iter().position(|one| {
        one.place == ParameterPlace::Header && crate::collection::plain(&one.name).ends_with("idempotencykey")
    })?;
    let (act, _) = planner.create_act(handled, "create")?;
    let mut first = act.call;
    let generator = planner.subject.parameter_generator(handled.create, header)?;
    let uuid = documented.parameters[header].schema.value.get("format").is_some();
    if uuid {
        // A key that has to be a UUID: a random one that only this case has.
        first.arguments.retain(|argument| argument.parameter != header);
        let value = generator.sample(planner.options.seed ^ 0x1de9, handled.create as u64);
        planner.set_parameter(&mut first, header, ArgumentValue::Value(value));
    } else {
        let key = Binding::Unique { stem: "trueline".to_owned(), longest: Some(40) };
        planner.set_parameter(&mut first, header, ArgumentValue::Bound(key));
    }
    let mut again = repeat_of(&first, "create");
    let name = &documented.parameters[header].name;
    planner.set_parameter(
        &mut again,
        header,
        ArgumentValue::Bound(of_act("create", &format!("$request.header.{name}"))),
    );
    Some((first, again))
}

/// The same request once more: what only the run knows is taken from the first one.
pub(super) fn repeat_of(call: &Call, act: &str) -> Call {
    let mut again = call.clone();
    if let Some(CallBody::Value { bindings, .. }) = &mut again.body {
        for (pointer, binding) in bindings {
            if matches!(binding, Binding::Unique { .. }) {
                *binding = of_act(act, &format!("$request.body#{pointer}"));
            }
        }
    }
    if let Caller::FreshSession(name) = &again.caller {
        again.caller = Caller::Principal(name.clone());
    }
    again
}
