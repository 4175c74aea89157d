//! Phase `examples`: the document's own examples, with everything that they name bound to what is real.

use super::Planner;
use crate::case::{Call, CallBody, Caller, Case, Expect, Phase};

pub(super) fn plan(planner: &Planner<'_>, cases: &mut Vec<Case>, left_out: &mut Vec<(usize, String)>) {
    for (index, operation) in planner.operations() {
        let callers = planner.callers(operation);
        if callers.is_empty() {
            let schemes: Vec<&str> = operation
                .security
                .iter()
                .flat_map(|alternative| alternative.schemes.keys().map(String::as_str))
                .collect();
            left_out
                .push((index, format!("no principal of the profile can call it (it takes {})", schemes.join(" or "))));
        }
        for caller in callers {
            let who = match &caller {
                Caller::Principal(name) => name.clone(),
                _ => "anonymous".to_owned(),
            };
            let Some(plain) = planner.plain_call(index, &caller) else {
                left_out.push((index, "no valid request can be made for it".to_owned()));
                continue;
            };
            for (name, call) in variants(planner, plain) {
                let id = format!("{}/{who}/{name}", operation.id);
                cases.push(planner.single(Phase::Examples, "input.accepts-valid", id, call));
            }
        }
    }
}

/// One call per example of the body; one call if there is none.
fn variants(planner: &Planner<'_>, plain: Call) -> Vec<(String, Call)> {
    let mut calls = Vec::new();
    let documented = planner.subject.operation(plain.operation);
    for (media, examples) in
        documented.body.iter().flat_map(|body| &body.media).map(|media| &media.examples).enumerate()
    {
        for (number, example) in examples.iter().enumerate() {
            let mut call = plain.clone();
            if number > 0 || media > 0 {
                call.body = Some(CallBody::Value { media, value: example.value.clone(), bindings: Vec::new() });
                call.expect = Expect::Valid { bound: true };
                planner.bind(&mut call);
            }
            calls.push((example.name.clone(), call));
        }
    }
    if calls.is_empty() {
        calls.push(("plain".to_owned(), plain));
    }
    calls
}
