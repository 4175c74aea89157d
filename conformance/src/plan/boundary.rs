//! Phase `boundary`: each constraint at, just inside and just outside its bound; each optional part absent and present;
//! each required part removed; ids that nothing has.

use serde_json::Value;
use trueline_spec::contract::ParameterPlace;

use super::{Planner, preferred_media};
use crate::case::{Argument, ArgumentValue, Binding, Call, CallBody, Case, Expect, FaultNote, Part, Phase};
use crate::collection::properties;
use crate::data::{Boundary, Verdict, wire};

pub(super) fn plan(planner: &Planner<'_>, cases: &mut Vec<Case>) {
    for (index, operation) in planner.operations() {
        let Some(caller) = planner.callers(operation).into_iter().next() else { continue };
        let Some(plain) = planner.plain_call(index, &caller) else { continue };
        parameters(planner, &plain, cases);
        body(planner, &plain, cases);
        unknown_ids(planner, &plain, cases);
    }
}

fn parameters(planner: &Planner<'_>, plain: &Call, cases: &mut Vec<Case>) {
    let operation = planner.subject.operation(plain.operation);
    for (index, parameter) in operation.parameters.iter().enumerate() {
        let part = Part::Parameter(index);
        let name = format!("{}/{}/{}", operation.id, parameter.place, parameter.name);
        if parameter.required && parameter.place != ParameterPlace::Path {
            let mut call = plain.clone();
            call.arguments.retain(|argument| argument.parameter != index);
            call.expect = Expect::Invalid(FaultNote {
                part: part.clone(),
                instance: String::new(),
                schema: "/required".to_owned(),
                keyword: "required".to_owned(),
            });
            cases.push(planner.single(Phase::Boundary, "input.rejects-invalid", format!("{name}/absent"), call));
        }
        let Some(generator) = planner.subject.parameter_generator(plain.operation, index) else { continue };
        for boundary in generator.boundaries() {
            let Some(expect) = sendable(parameter, &boundary, generator, part.clone()) else { continue };
            // A path parameter that is valid by its schema names nothing: that is the business of `unknown_ids`.
            let made_up = parameter.place == ParameterPlace::Path || planner.is_opaque(plain.operation, index);
            if made_up && matches!(expect, Expect::Valid { .. }) {
                continue;
            }
            let mut call = plain.clone();
            set_argument(&mut call, index, boundary.value.clone());
            call.expect = expect;
            let check = check_of(&call.expect);
            if matches!(call.expect, Expect::Valid { .. }) {
                planner.bind(&mut call);
            }
            cases.push(planner.single(Phase::Boundary, check, format!("{name}/{}", boundary.label), call));
        }
    }
}

/// What to expect of a parameter's boundary value, if it can stand on the wire and says there what it should.
pub(super) fn sendable(
    parameter: &trueline_spec::contract::Parameter,
    boundary: &Boundary,
    generator: &crate::data::Generator,
    part: Part,
) -> Option<Expect> {
    let encoded = wire::encode_parameter(parameter, &boundary.value).ok()?;
    let valid = wire::decodes_to_valid(parameter, &encoded, generator);
    match (&boundary.verdict, valid) {
        (Verdict::Valid, true) => Some(Expect::Valid { bound: true }),
        // `5` and `"5"` are one text in a query: no server could tell, so this is no fault there.
        (Verdict::Invalid(_), true) | (Verdict::Valid, false) => None,
        (Verdict::Invalid(fault), false) => Some(Expect::Invalid(note(part, fault))),
    }
}

pub(super) fn note(part: Part, fault: &crate::data::Fault) -> FaultNote {
    // `required` is a list in the schema; the clause is that of the one member.
    let schema = match fault.instance.rsplit_once('/') {
        Some((_, member)) if fault.keyword == "required" => format!("{}/{member}", fault.schema),
        _ => fault.schema.clone(),
    };
    FaultNote { part, instance: fault.instance.clone(), schema, keyword: fault.keyword.clone() }
}

pub(super) fn set_argument(call: &mut Call, parameter: usize, value: Value) {
    let value = ArgumentValue::Value(value);
    match call.arguments.iter_mut().find(|argument| argument.parameter == parameter) {
        Some(argument) => argument.value = value,
        None => call.arguments.push(Argument { parameter, value }),
    }
}

pub(super) fn check_of(expect: &Expect) -> &'static str {
    if matches!(expect, Expect::Valid { .. }) { "input.accepts-valid" } else { "input.rejects-invalid" }
}

fn body(planner: &Planner<'_>, plain: &Call, cases: &mut Vec<Case>) {
    let operation = planner.subject.operation(plain.operation);
    let Some(documented) = &operation.body else { return };
    let name = format!("{}/body", operation.id);
    let mut absent = plain.clone();
    absent.body = None;
    absent.expect = if documented.required {
        Expect::Invalid(FaultNote {
            part: Part::Body,
            instance: String::new(),
            schema: "/-required".to_owned(),
            keyword: "required".to_owned(),
        })
    } else {
        Expect::Valid { bound: true }
    };
    let check = check_of(&absent.expect);
    cases.push(planner.single(Phase::Boundary, check, format!("{name}/absent"), absent));

    let media = planner.body_media(plain.operation).unwrap_or_else(|| preferred_media(documented));
    let Some(generator) = planner.subject.body_generator(plain.operation, media) else { return };
    for boundary in generator.boundaries() {
        let documented = &documented.media[media];
        // Forms and texts have no types: a value is on the side where the wire puts it, or it is no case.
        let valid = wire::body_decodes_to_valid(documented, &boundary.value, generator);
        if wire::encode_body(documented, &boundary.value).is_err() || valid != (boundary.verdict == Verdict::Valid) {
            continue;
        }
        let mut call = plain.clone();

        let value = boundary.value.clone();
        call.body = Some(CallBody::Value { media, value, bindings: Vec::new() });
        call.expect = match &boundary.verdict {
            Verdict::Valid => Expect::Valid { bound: false },
            Verdict::Invalid(fault) => Expect::Invalid(note(Part::Body, fault)),
        };
        let check = check_of(&call.expect);
        match call.expect.clone() {
            Expect::Invalid(fault) => planner.bind_around(&mut call, &fault),
            _ => planner.bind(&mut call),
        }
        cases.push(planner.single(Phase::Boundary, check, format!("{name}/{}", boundary.label), call));
    }
}

/// Ids of the right form that nothing has: in the path, and in every bound member of the body.
fn unknown_ids(planner: &Planner<'_>, plain: &Call, cases: &mut Vec<Case>) {
    let operation = planner.subject.operation(plain.operation);
    let refused = Expect::Refused { statuses: vec![404], codes: Vec::new() };
    for argument in &plain.arguments {
        let parameter = &operation.parameters[argument.parameter];
        let named = parameter.place == ParameterPlace::Path && matches!(argument.value, ArgumentValue::Bound(_));
        // What makes what it names is not missing anything.
        let own = planner.subject.collections.named_by(operation, &parameter.name);
        let makes = operation.documents(201)
            && own.is_some_and(|one| [one.create, one.replace].contains(&Some(plain.operation)));
        // Where only certain values may stand, none of them is unknown.
        let schema = planner.subject.contract.resolve(&parameter.schema);
        let listed = ["enum", "const"].iter().any(|keyword| schema.value.get(keyword).is_some());
        if !named || makes || listed || operation.response(404).is_none() {
            continue;
        }
        let Some(nobody) = planner.unknown_id(plain.operation, argument.parameter) else { continue };
        let mut call = plain.clone();
        set_argument(&mut call, argument.parameter, nobody);
        call.expect = refused.clone();
        let id = format!("{}/{}/{}/unknown", operation.id, parameter.place, parameter.name);
        cases.push(planner.single(Phase::Boundary, "input.rejects-invalid", id, call));
    }
    unknown_in_query(planner, plain, cases);
    for (pointer, binding) in nameable(planner, plain) {
        let Some(mut call) = with_member(planner, plain, &pointer) else { continue };
        let Some(CallBody::Value { value, bindings, .. }) = &mut call.body else { continue };
        let Some(place) = value.pointer_mut(&pointer) else { continue };
        let of_session = matches!(binding, Binding::Login { .. });
        let of_resource = matches!(binding, Binding::Resource { .. });
        let mut also = Vec::new();
        // What a session gave is anything, and what a uuid looks like is known.
        if place.as_str().is_some_and(is_uuid) {
            *place = Value::from(super::UNKNOWN_UUID);
        } else if of_resource && place.is_string() && is_given_out(planner, &binding, &pointer) {
            *place = Value::from(NO_SUCH_THING);
            also = OTHER_FORM.to_vec();
        } else if of_session && place.is_string() {
            *place = Value::from("trueline-nobody-was-given-this");
        } else {
            continue;
        }
        bindings.retain(|(bound, _)| *bound != pointer);
        let status = if of_session { 401 } else { 404 };
        if operation.response(status).is_none() || (of_session && operation.is_secured()) {
            continue;
        }
        also.insert(0, status);
        call.expect = Expect::Refused { statuses: also, codes: Vec::new() };
        if !is_valid(planner, &call) {
            continue;
        }
        let id = format!("{}/body{pointer}/unknown", operation.id);
        cases.push(planner.single(Phase::Boundary, "input.rejects-invalid", id, call));
    }
}

impl Planner<'_> {
    /// For each body member that can name a resource: its pointer, the call with a real one, and with one that nothing has.
    pub(crate) fn naming_calls(&self, operation: usize, caller: &crate::case::Caller) -> Vec<(String, Call, Call)> {
        let Some(plain) = self.plain_call(operation, caller) else { return Vec::new() };
        let mut calls = Vec::new();
        for (pointer, binding) in nameable(self, &plain) {
            if !matches!(binding, Binding::Resource { .. }) {
                continue;
            }
            let Some(mut call) = with_member(self, &plain, &pointer) else { continue };
            self.make_own(&mut call);
            let mut unknown = call.clone();
            if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
                bindings.retain(|(bound, _)| *bound != pointer);
                bindings.push((pointer.clone(), binding.clone()));
            }
            let Some(CallBody::Value { value, bindings, .. }) = &mut unknown.body else { continue };
            let Some(place) = value.pointer_mut(&pointer) else { continue };
            *place = match place.as_str() {
                Some(text) if is_uuid(text) => Value::from(super::UNKNOWN_UUID),
                Some(_) if is_given_out(self, &binding, &pointer) => Value::from(NO_SUCH_THING),
                _ => continue,
            };
            bindings.retain(|(bound, _)| *bound != pointer);
            if is_valid(self, &unknown) {
                calls.push((pointer, call, unknown));
            }
        }
        calls
    }
}

/// The same for query parameters that a link fills with what an operation has made, the optional ones too.
fn unknown_in_query(planner: &Planner<'_>, plain: &Call, cases: &mut Vec<Case>) {
    let operation = planner.subject.operation(plain.operation);
    if operation.response(404).is_none() {
        return;
    }
    for (index, parameter) in operation.parameters.iter().enumerate() {
        if parameter.place != ParameterPlace::Query {
            continue;
        }
        let Some(nobody) = planner.unknown_id(plain.operation, index) else { continue };
        let mut call = plain.clone();
        set_argument(&mut call, index, nobody.clone());
        planner.bind(&mut call);
        let bound = call.arguments.iter().any(|argument| {
            argument.parameter == index
                && matches!(&argument.value, ArgumentValue::Bound(binding) if is_given_out(planner, binding, &parameter.name))
        });
        if !bound || !nobody.is_string() {
            continue;
        }
        set_argument(&mut call, index, nobody);
        let statuses = [&[404][..], &OTHER_FORM].concat();
        call.expect = Expect::Refused { statuses, codes: Vec::new() };
        let id = format!("{}/query/{}/unknown", operation.id, parameter.name);
        cases.push(planner.single(Phase::Boundary, "input.rejects-invalid", id, call));
    }
}

/// An id that nobody gives out.
const NO_SUCH_THING: &str = "trueline-knows-no-such-thing";

/// An id without a documented form may have one all the same, and a made-up one may break it.
const OTHER_FORM: [u16; 2] = [400, 422];

/// Whether a value is an id that the service has given out: any other text may be anything. Where what makes the resource
/// needs a value of the same name itself, callers invent it; sessions may be invented where it takes one at all.
fn is_given_out(planner: &Planner<'_>, binding: &Binding, place: &str) -> bool {
    let Binding::Resource { producer, .. } = binding else { return false };
    let name = place.trim_start_matches('/').split('/').next().unwrap_or_default();
    let stem = name.strip_suffix('s').unwrap_or(name);
    let ends = |word: &str| {
        let capital = format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        stem == word || stem.ends_with(&format!("_{word}")) || stem.ends_with(&capital)
    };
    if !(ends("id") || ends("key")) || !producer.expression.starts_with("$response") {
        return false;
    }
    let contract = &planner.subject.contract;
    let operation = planner.subject.operation(producer.operation);
    let schema = operation.body.as_ref().and_then(|body| body.media[super::preferred_media(body)].schema.as_ref());
    let in_body = schema.is_some_and(|schema| properties(contract, schema).iter().any(|(member, _)| member == name));
    // What stands in a path is there already.
    let mut parameters = operation.parameters.iter().filter(|parameter| parameter.place != ParameterPlace::Path);
    let parameter = parameters.find(|parameter| parameter.name == name);
    let needed = parameter.is_some_and(|parameter| parameter.required)
        || schema.is_some_and(|schema| {
            super::resources::required_names(contract, &schema.value).iter().any(|one| one == name)
        });
    let taken = parameter.is_some() || in_body;
    let invented = needed || taken && name.to_ascii_lowercase().contains("session");
    !invented
}

/// Every member of the body that can be bound, the optional ones too, with its binding.
fn nameable(planner: &Planner<'_>, plain: &Call) -> Vec<(String, Binding)> {
    let mut full = plain.clone();
    let Some(CallBody::Value { media, value: Value::Object(members), bindings }) = &mut full.body else {
        return Vec::new();
    };
    bindings.clear();
    if let Some(Value::Object(all)) = planner.subject.body_generator(plain.operation, *media).map(|one| one.maximal()) {
        for (name, value) in all {
            members.entry(name).or_insert(value);
        }
    }
    // Whoever may log in has a body of its own, in which nothing is bound.
    full.expect = Expect::Valid { bound: false };
    planner.bind(&mut full);
    match full.body {
        Some(CallBody::Value { bindings, .. }) => bindings,
        _ => Vec::new(),
    }
}

/// The plain call with one more member of the body, if it is not there yet.
fn with_member(planner: &Planner<'_>, plain: &Call, pointer: &str) -> Option<Call> {
    let mut call = plain.clone();
    let name = pointer.split('/').nth(1)?.replace("~1", "/").replace("~0", "~");
    if let Some(CallBody::Value { media, value: Value::Object(members), .. }) = &mut call.body
        && !members.contains_key(&name)
    {
        let maximal = planner.subject.body_generator(plain.operation, *media)?.maximal();
        let mut value = maximal.get(&name)?.clone();
        if let Value::Array(items) = &mut value {
            items.truncate(1);
        }
        members.insert(name, value);
    }
    Some(call)
}

/// Whether a call's body holds to its schema.
fn is_valid(planner: &Planner<'_>, call: &Call) -> bool {
    let Some(CallBody::Value { media, value, .. }) = &call.body else { return true };
    planner.subject.body_generator(call.operation, *media).is_none_or(|generator| generator.is_valid(value))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
