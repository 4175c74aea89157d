//! Family `tenancy`: what belongs to somebody else is out of reach. Only where the profile says who is a stranger to whom.

mod delete;
mod list;
mod no_existence_leak;
mod read;
mod write;

use trueline_spec::vocabulary::Visibility;

use super::{Check, Sequence, Step};
use crate::case::{ArgumentValue, Binding, Call, Caller, Instance};
use crate::clause::ClauseId;
use crate::plan::Planner;
use crate::subject::Subject;

pub(super) const CHECKS: &[&dyn Check] =
    &[&read::Read, &write::Write, &delete::Delete, &list::List, &no_existence_leak::NoExistenceLeak];

/// Every operation on something that somebody owns: its index, who owns it, who is a stranger to them, and the owner's
/// own call.
fn attacks(planner: &Planner<'_>) -> Vec<(usize, Caller, Call)> {
    let mut attacks = Vec::new();
    for (index, operation) in planner.operations().filter(|(_, one)| one.is_secured()) {
        if operation.path_parameters().next().is_none() {
            continue;
        }
        for victim in planner.callers(operation) {
            let Some(stranger) = planner.stranger(&victim, index) else { continue };
            let Some(mut call) = planner.plain_call(index, &victim) else { continue };
            // Everything in the path is the victim's; a made-up id would prove nothing.
            let path = call.arguments.iter().filter(|argument| {
                operation.parameters[argument.parameter].place == trueline_spec::contract::ParameterPlace::Path
            });
            let mut owned = path.map(|argument| &argument.value).peekable();
            let owns = owned.peek().is_some()
                && owned.all(|value| match value {
                    ArgumentValue::Bound(binding @ Binding::Resource { .. }) => !is_everybodys(planner, binding),
                    value => matches!(value, ArgumentValue::Bound(Binding::Profile { .. })),
                });
            if !owns {
                continue;
            }
            call.caller = stranger.clone();
            call.expect = crate::plan::out_of_reach();
            attacks.push((index, stranger, call));
            break;
        }
    }
    attacks
}

/// Whether a resource comes out of an operation that shows everybody the same: such a thing has no owner.
fn is_everybodys(planner: &Planner<'_>, binding: &Binding) -> bool {
    let Binding::Resource { producer, .. } = binding else { return false };
    planner.subject.operation(producer.operation).visibility == Some(Visibility::Public)
}

/// Lets a call name things that are made for this case alone.
fn own(planner: &Planner<'_>, mut call: Call) -> Call {
    planner.make_own(&mut call);
    call
}

/// Whether every path argument of a call names a resource that can be made.
fn is_makeable(call: &Call) -> bool {
    call.arguments.iter().any(|argument| {
        matches!(&argument.value, ArgumentValue::Bound(Binding::Resource { instance: Instance::Own, .. }))
    })
}

fn clause(subject: &Subject, operation: usize) -> Option<ClauseId> {
    let clauses = subject.clauses.of_operation(operation);
    clauses.tenancy.or_else(|| clauses.security.values().next().copied())
}

/// Whether an answer says nothing of whose things they are.
fn says_nothing(status: u16) -> bool {
    matches!(status, 401 | 408 | 425 | 429) || status >= 500
}

fn status(sequence: &Sequence<'_>, act: &str) -> Option<u16> {
    sequence.act(act).and_then(|step: &Step| step.exchange.status())
}
