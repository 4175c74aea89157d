//! Bindings: which parts of a call name things that exist, and where those come from. First the profile's own values, then
//! the document's links, then producers found by name.

use std::collections::BTreeMap;

use serde_json::Value;
use trueline_spec::contract::{Operation, ParameterPlace};
use trueline_spec::vocabulary::Effect;

use super::Planner;
use crate::case::{
    Argument, ArgumentValue, Binding, Call, CallBody, Caller, Expect, FaultNote, Instance, Part, Producer, link_fills,
};

impl Planner<'_> {
    /// Replaces what a call names by bindings, as far as the call's values leave room: a parameter that was left out stays
    /// out. Notes in [`Expect::Valid`] whether everything that could be bound was bound.
    pub fn bind(&self, call: &mut Call) {
        let operation = self.subject.operation(call.operation);
        let destroys = operation.effect == Effect::Destroy;
        let principal = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) | Caller::Minted { by: name, .. } => {
                Some(name.clone())
            }
            // Somebody's session is needed even where no credential is: to refresh a token one must have logged in.
            Caller::Anonymous => {
                self.free_principals().find(|(_, one)| one.login.is_some()).map(|(name, _)| name.to_owned())
            }
            Caller::Bad { .. } => return,
        };
        let Some(principal) = principal else { return };
        let instance = match operation.effect {
            Effect::Destroy => Instance::Own,
            Effect::Read => Instance::Shared(0),
            Effect::Write | Effect::Costly if operation.path_parameters().next().is_none() => Instance::Shared(0),
            Effect::Costly => Instance::Shared(0),
            Effect::Write => Instance::Mutable(0),
        };
        let from_link = self.link_bindings(call.operation, &principal, &instance);
        for Argument { parameter, value } in &mut call.arguments {
            let documented = &operation.parameters[*parameter];
            let known = self
                .profile_value(&principal, &documented.name)
                .or_else(|| from_link.parameters.get(&(documented.place, documented.name.clone())).cloned());
            let known = known.or_else(|| match documented.place {
                ParameterPlace::Path => self
                    .named_producer(&documented.name, &principal, &instance)
                    .or_else(|| self.inferred_producer(operation, &documented.name, &principal, &instance)),
                _ => None,
            });
            let own = self.subject.collections.named_by(operation, &documented.name);
            let invents = own.is_some_and(|one| one.create == Some(call.operation) && one.is_named_by_caller());
            if let Some(binding) = known.filter(|binding| !binding.is_produced_by(call.operation)) {
                *value = ArgumentValue::Bound(binding);
            } else if invents && documented.place == ParameterPlace::Path {
                *value = ArgumentValue::Bound(Binding::Unique { stem: "t".to_owned(), longest: None });
            }
        }
        let own = call.operation;
        let mut from_login = false;
        if let Some(CallBody::Value { value: Value::Object(members), bindings, .. }) = &mut call.body {
            let mut bind = |pointer: String, binding: Binding| {
                from_login |= matches!(binding, Binding::Login { .. });
                if !bindings.iter().any(|(bound, _)| *bound == pointer) {
                    bindings.push((pointer, binding));
                }
            };
            for (name, value) in members.iter() {
                let pointer = format!("/{}", crate::clause::escape(name));
                let singular = name.strip_suffix('s');
                let producer_of = |name: &str| {
                    self.profile_value(&principal, name)
                        .or_else(|| from_link.body.get(name).cloned())
                        .or_else(|| self.named_producer(name, &principal, &instance))
                        .or_else(|| self.member_producer(call.operation, name, &principal, &instance))
                        // What an operation itself brings into the world, such as a name of the caller's choice that its
                        // answer repeats, does not come from an earlier call of it.
                        .filter(|binding| !binding.is_produced_by(own))
                };
                match value {
                    Value::String(_) => {
                        if let Some(binding) = producer_of(name) {
                            bind(pointer, binding);
                        }
                    }
                    Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
                        if let Some(binding) = singular.and_then(producer_of) {
                            bind(format!("{pointer}/0"), binding);
                        }
                    }
                    _ => {}
                }
            }
            // One bound id is enough, and a second, made-up one would name nothing.
            for (pointer, _) in bindings.iter() {
                if let Some(name) = pointer.strip_suffix("/0").and_then(|pointer| pointer.strip_prefix('/'))
                    && let Some(Value::Array(items)) = members.get_mut(name)
                {
                    items.truncate(1);
                }
            }
        }
        // A login's own example names nobody; the profile knows who can log in.
        if let Some(login) = self.principal(&principal).and_then(|one| one.login.as_ref())
            && login.operation == operation.id
            && matches!(call.expect, Expect::Valid { bound: true })
            && let Some(CallBody::Value { value, bindings, .. }) = &mut call.body
        {
            *value = login.body.clone();
            bindings.clear();
        }
        let ends = destroys && from_login || ends_a_session(operation) && operation.is_secured();
        let renewable = self.principal(&principal).is_some_and(|one| one.login.is_some());
        if ends && renewable && matches!(call.caller, Caller::Principal(_)) {
            call.caller = Caller::FreshSession(principal);
        }
        let all_bound = call.arguments.iter().all(|argument| {
            operation.parameters[argument.parameter].place != ParameterPlace::Path
                || matches!(argument.value, ArgumentValue::Bound(_))
        });
        if let Expect::Valid { bound } = &mut call.expect {
            *bound &= all_bound;
        }
    }

    /// As [`Planner::bind`], for a body with one fault: the fault stays as it is, everything else names what exists, so
    /// that nothing but the fault can be the reason of a refusal.
    pub(super) fn bind_around(&self, call: &mut Call, fault: &FaultNote) {
        let expect = std::mem::replace(&mut call.expect, Expect::Valid { bound: false });
        let faulty = call.body.clone();
        self.bind(call);
        call.expect = expect;
        let (Some(CallBody::Value { value, bindings, .. }), Some(CallBody::Value { value: faulty, .. })) =
            (&mut call.body, faulty)
        else {
            return;
        };
        if fault.part != Part::Body {
            return;
        }
        let apart = |pointer: &str| {
            let member = pointer.split('/').nth(1);
            member != fault.instance.split('/').nth(1)
        };
        bindings.retain(|(pointer, _)| !fault.instance.is_empty() && apart(pointer));
        // The one list that the fault may be in is put back as it was.
        if let (Some(now), Some(before)) = (value.as_object_mut(), faulty.as_object()) {
            for (name, member) in before {
                if !apart(&format!("/{}", crate::clause::escape(name))) || fault.instance.is_empty() {
                    now.insert(name.clone(), member.clone());
                }
            }
        }
    }

    /// Whether every path parameter of an operation can be bound for a principal.
    pub fn can_bind(&self, operation: &Operation, principal: &str) -> bool {
        let Some(index) = self.subject.contract.operations.iter().position(|one| one.id == operation.id) else {
            return false;
        };
        let from_link = self.link_bindings(index, principal, &Instance::Shared(0));
        operation.path_parameters().all(|name| {
            let linked = from_link.parameters.contains_key(&(ParameterPlace::Path, name.to_owned()));
            let producible = linked
                || self.named_producer(name, principal, &Instance::Shared(0)).is_some()
                || self.inferred_producer(operation, name, principal, &Instance::Shared(0)).is_some();
            // Nothing in the document makes such a thing: a made-up value is all that anybody can send.
            let hopeless = !producible && !self.has_producer(index, name);
            self.profile_value(principal, name).is_some() || producible || hopeless
        })
    }

    fn has_producer(&self, target: usize, parameter: &str) -> bool {
        let operation = self.subject.operation(target);
        if self.subject.collections.named_by(operation, parameter).is_some_and(|one| one.create.is_some()) {
            return true;
        }
        let id = &operation.id;
        self.links()
            .any(|(_, link)| link.target == *id && link.parameters.iter().any(|filled| filled.name == parameter))
    }

    fn profile_value(&self, principal: &str, name: &str) -> Option<Binding> {
        self.principal(principal)?.values.get(name)?;
        Some(Binding::Profile { principal: principal.to_owned(), name: name.to_owned() })
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (usize, &trueline_spec::contract::Link)> {
        self.subject.contract.operations.iter().enumerate().flat_map(|(index, operation)| {
            let responses = operation.responses.iter().flat_map(|response| &response.links);
            responses.map(move |link| (index, link))
        })
    }

    /// The bindings of the one link that fills most of an operation's parameters, so that they all come out of one exchange.
    fn link_bindings(&self, target: usize, principal: &str, instance: &Instance) -> LinkBindings {
        let operation = self.subject.operation(target);
        let mut best = LinkBindings::default();
        for (source, link) in self.links().filter(|(_, link)| link.target == operation.id) {
            let mut found = LinkBindings::default();
            for parameter in &operation.parameters {
                if let Some(expression) = link_fills(link, parameter).and_then(Value::as_str)
                    && let Some(binding) = self.out_of_source(source, expression, principal, instance)
                {
                    found.parameters.insert((parameter.place, parameter.name.clone()), binding);
                }
            }
            for (name, value) in link.body.iter().filter_map(Value::as_object).flatten() {
                let (name, expression) = match value {
                    Value::String(text) => (name.as_str(), text.as_str()),
                    Value::Array(items) => match items.first().and_then(Value::as_str) {
                        Some(text) => (name.strip_suffix('s').unwrap_or(name), text),
                        None => continue,
                    },
                    _ => continue,
                };
                if let Some(binding) = self.out_of_source(source, expression, principal, instance) {
                    found.body.insert(name.to_owned(), binding);
                }
            }
            if found.parameters.len() > best.parameters.len() {
                let body = std::mem::take(&mut best.body);
                best.parameters = found.parameters;
                best.body = found.body;
                best.body.extend(body);
            } else {
                for (name, binding) in found.body {
                    best.body.entry(name).or_insert(binding);
                }
            }
        }
        best
    }

    /// A producer found by name: some link fills a parameter of this name from a creating operation's answer.
    fn named_producer(&self, name: &str, principal: &str, instance: &Instance) -> Option<Binding> {
        self.links().find_map(|(source, link)| {
            let filled = link.parameters.iter().find(|filled| filled.name == name)?;
            let expression = filled.value.as_str().filter(|text| text.starts_with("$response."))?;
            self.out_of_source(source, expression, principal, instance)
        })
    }

    /// The producer of what a path parameter names, by the paths alone: `POST /agents` for `/agents/{agentId}/…`.
    fn inferred_producer(
        &self,
        operation: &Operation,
        parameter: &str,
        principal: &str,
        instance: &Instance,
    ) -> Option<Binding> {
        let collection = self.subject.collections.named_by(operation, parameter)?;
        self.out_of_source(collection.create?, &collection.id, principal, instance)
    }

    /// The producer of what a body member such as `agentId` names.
    fn member_producer(&self, operation: usize, member: &str, principal: &str, instance: &Instance) -> Option<Binding> {
        let collection = self.subject.collections.named_by_member(member)?;
        // An item does not name itself before it is there.
        let create = collection.create.filter(|create| *create != operation)?;
        self.out_of_source(create, &collection.id, principal, instance)
    }

    fn out_of_source(&self, source: usize, expression: &str, principal: &str, instance: &Instance) -> Option<Binding> {
        if !expression.starts_with('$') {
            return None;
        }
        let operation = self.subject.operation(source);
        let caller = self.principal(principal)?;
        if let Some(login) = &caller.login
            && login.operation == operation.id
        {
            let pointer = expression.strip_prefix("$response.body#")?.to_owned();
            return Some(Binding::Login { principal: principal.to_owned(), pointer });
        }
        if self.excludes(source) {
            return None;
        }
        // Whoever of the group has the right to make it: the one who asks may be the one who must not.
        let group = caller.group(principal);
        let mut members = self.profile.principals.iter().filter(|(name, one)| one.group(name) == group);
        if !members.any(|(_, one)| self.accepts(operation, one) && !one.denied.contains(&operation.id)) {
            return None;
        }
        Some(Binding::Resource {
            producer: Producer { operation: source, expression: expression.to_owned() },
            group: group.to_owned(),
            instance: instance.clone(),
        })
    }
}

#[derive(Default)]
struct LinkBindings {
    parameters: BTreeMap<(ParameterPlace, String), Binding>,
    body: BTreeMap<String, Binding>,
}

/// Whether an operation logs its caller out.
pub(crate) fn ends_a_session(operation: &Operation) -> bool {
    let words = words_of(operation);
    // Some services log out by GET.
    ["logout", "logoff", "signout", "endsession"].iter().any(|one| words.contains(one))
}

/// Whether a call may end a credential: whatever has to do with logging out, tokens, keys, sessions and passwords.
pub fn smells_of_an_end(operation: &Operation) -> bool {
    let words = words_of(operation);
    let smells = [
        "logout",
        "logoff",
        "signout",
        "session",
        "token",
        "key",
        "revoke",
        "password",
        "credential",
        "account",
        "rotate",
    ];
    // Some services log out by GET.
    (operation.effect != Effect::Read && smells.iter().any(|one| words.contains(one)))
        || smells[..3].iter().any(|one| words.contains(one))
}

/// Whether an operation ends or empties the whole service: its last path segment says so, and names nothing in particular.
pub(crate) fn ends_everything(operation: &Operation) -> bool {
    const ENDS: [&str; 15] = [
        "shutdown",
        "restart",
        "reboot",
        "halt",
        "poweroff",
        "terminate",
        "flush",
        "flushall",
        "purge",
        "wipe",
        "truncate",
        "factoryreset",
        "reset",
        "deleteall",
        "quit",
    ];
    let last = operation.path.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let word: String = last.chars().filter(char::is_ascii_alphanumeric).collect();
    operation.effect != Effect::Read
        && operation.path_parameters().next().is_none()
        && operation.body.as_ref().is_none_or(|body| !body.required)
        && ENDS.contains(&word.as_str())
}

/// Whether an operation changes the account of whoever calls it.
pub(crate) fn changes_the_account(operation: &Operation) -> bool {
    let words = words_of(operation);
    let changes = ["password", "passwd", "deactivate", "closeaccount", "deleteaccount", "changeemail", "mfa", "2fa"];
    operation.effect != Effect::Read && changes.iter().any(|one| words.contains(one))
}

fn words_of(operation: &Operation) -> String {
    format!("{} {}", operation.id, operation.path.text).to_lowercase().replace(['-', '_'], "")
}
