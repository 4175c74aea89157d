use trueline_spec::contract::StatusPattern;
use trueline_spec::vocabulary::Effect;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{attacks, clause, is_makeable, own, says_nothing, status};
use crate::case::{Act, Call, Caller, Case, Expect, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `tenancy.write`.
pub(super) struct Write;

static META: Meta = Meta {
    id: "tenancy.write",
    level: Level::Must,
    title: "another tenant's resources cannot be changed",
    rationale: "OWASP API1:2023, broken object level authorization; CWE-639. Checks on reading are often forgotten on writing.",
    sends: "each writing operation whose path names a resource, with a resource made for this by one tenant, as another \
            tenant's principal; before and after, the owner reads it",
    demands: "no success, and the resource reads as before",
    guards: "only principals whose `tenant` the profile states; a PUT that documents 201 may make a resource of the stranger's \
             own, so only the owner's reading counts there; what a call without a body could have \
             changed may have changed by itself; conditional writes carry the owner's current tag",
    fault: "PATCH does not look at the owner",
};

impl Check for Write {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, _, call) in attacks(planner) {
            let operation = planner.subject.operation(index);
            if !matches!(operation.effect, Effect::Write | Effect::Costly) {
                continue;
            }
            let mut attack = own(planner, call);
            if !is_makeable(&attack) {
                continue;
            }
            let mut acts = Vec::new();
            let reading = planner.owners_reading(index);
            if let Some(read) = &reading {
                acts.push(Act::optional("before", own(planner, read.clone())));
                acts.push(Act::optional("settled", own(planner, read.clone())));
            }
            let required =
                |one: &trueline_spec::contract::Parameter| one.required && one.name.eq_ignore_ascii_case("if-match");
            let asks = operation.parameters.iter().any(required)
                || operation.responses.iter().any(|one| one.status == StatusPattern::Exact(428));
            if asks && reading.is_some() {
                tagged(planner, &mut attack);
            }
            acts.push(Act::new("attack", attack));
            acts.extend(reading.map(|read| Act::optional("after", own(planner, read))));
            let id = format!("{}/foreign", operation.id);
            cases.push(planner.chain(Phase::Access, META.id, id, index, acts, false));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let Some(clause) = clause(sequence.subject, chain.about) else { return };
        let Some(attack) = status(sequence, "attack") else { return };
        let operation = sequence.subject.operation(chain.about);
        if says_nothing(attack) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let makes = operation.method == http::Method::PUT
            && operation.responses.iter().any(|one| one.status == StatusPattern::Exact(201));
        let read = |act: &str| sequence.act(act).filter(|step| step.exchange.status() == Some(200));
        let changed = match (read("before"), read("settled"), read("after")) {
            (Some(before), Some(settled), Some(after)) => {
                let steady = before.exchange.json() == settled.exchange.json();
                steady && before.exchange.json() != after.exchange.json()
            }
            _ => false,
        };
        // What cannot put anything there cannot have changed it: a resource changes by itself while it is worked on.
        let settable =
            |step: &crate::check::Step| !sequence.subject.settable(chain.about, step.call.operation).is_empty();
        let changed = changed && read("after").is_some_and(settable);
        let let_in = attack < 300 && !makes;
        verdicts.decide(!let_in && !changed, clause, || {
            let actual =
                if let_in { attack.to_string() } else { format!("{attack}, and the owner reads something else") };
            Break::new(&META, clause, format!("{} changes one tenant's resource for another", operation.id))
                .with_values("403 or 404, and the resource as it was", actual)
                .with_cause(operation.id.clone())
                .with_offending(Offending::Status)
                .in_act("attack")
        });
    }
}

fn tagged(planner: &Planner<'_>, attack: &mut Call) {
    let operation = planner.subject.operation(attack.operation);
    attack.arguments.retain(|one| !operation.parameters[one.parameter].name.eq_ignore_ascii_case("if-match"));
    let tag = crate::case::Binding::Act { name: "settled".to_owned(), expression: "$response.header.ETag".to_owned() };
    attack.twist = Some(crate::case::Twist::BoundHeader("if-match".to_owned(), tag));
}

impl Planner<'_> {
    /// The owner's reading of what an operation's path names: `GET` on the same path, or on the item that it starts with.
    pub(crate) fn owners_reading(&self, operation: usize) -> Option<Call> {
        let documented = self.subject.operation(operation);
        let parameter = documented.path_parameters().last()?;
        let collection = self.subject.collections.named_by(documented, parameter)?;
        let read = collection.read?;
        let owner = self.callers(self.subject.operation(read)).into_iter().next()?;
        let Caller::Principal(_) = &owner else { return None };
        let mut call = self.plain_call(read, &owner)?;
        call.expect = Expect::Valid { bound: true };
        Some(call)
    }
}
