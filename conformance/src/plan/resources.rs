//! Calls on collections: making an item with values to recognize it by, and everything that can be done to it afterwards.

use serde_json::Value;
use trueline_spec::contract::{Operation, ParameterPlace, SecurityKind};

use super::{Planner, preferred_media};
use crate::case::{Act, Argument, ArgumentValue, Binding, Call, CallBody, Caller, Case, Chain, Expect, Phase, Script};
use crate::clause::escape;
use crate::collection::{Collection, candidates, plain, properties, properties_of, resolve, settable};
use crate::profile::Principal;

/// A member that a caller may set and read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in the request, and in the answer.
    pub name: String,
    /// Two different values that the request's schema takes.
    pub values: [Value; 2],
}

/// A collection as one caller can handle it.
pub struct Handled<'a> {
    /// The collection.
    pub collection: &'a Collection,
    /// Who may do all of it.
    pub caller: Caller,
    /// Index of the creating operation.
    pub create: usize,
}

impl<'a> Planner<'a> {
    /// Somebody who may call an operation and must not see what a caller owns: of another tenant; where the contract shows
    /// the resource to its owner only, of another group.
    pub fn stranger(&self, caller: &Caller, operation: usize) -> Option<Caller> {
        let Caller::Principal(name) = caller else { return None };
        let own = self.principal(name)?;
        let tenant = own.tenant.as_ref()?;
        let documented = self.subject.operation(operation);
        let private = documented.visibility == Some(trueline_spec::vocabulary::Visibility::Owner);
        let stranger = self.free_principals().find(|(other, one)| {
            let foreign = match &one.tenant {
                Some(theirs) => theirs != tenant || (private && one.group(other) != own.group(name)),
                None => false,
            };
            foreign && self.accepts(documented, one) && !one.denied.contains(&documented.id)
        });
        stranger.map(|(other, _)| Caller::Principal(other.to_owned()))
    }

    /// Every collection that some principal can make items of, with that principal.
    pub fn handled(&self) -> Vec<Handled<'a>> {
        let mut handled = Vec::new();
        for collection in self.subject.collections.iter() {
            let Some(create) = collection.create else { continue };
            if !collection.operations().any(|operation| self.wants(operation))
                || self.is_session(create)
                || self.excludes(create)
            {
                continue;
            }
            let callers = self.callers(self.subject.operation(create));
            // Who can do most with what it has made.
            let able = |caller: &Caller| {
                let others = collection.operations().filter(|other| *other != create);
                others.filter(|other| self.callers(self.subject.operation(*other)).contains(caller)).count()
            };
            let best = callers.iter().enumerate().max_by_key(|(index, caller)| (able(caller), usize::MAX - index));
            let Some((_, caller)) = best else { continue };
            handled.push(Handled { collection, caller: caller.clone(), create });
        }
        handled
    }

    /// Whether an operation logs somebody in: what it makes is no resource.
    pub(crate) fn is_session(&self, operation: usize) -> bool {
        let id = &self.subject.operation(operation).id;
        self.profile.principals.values().any(|one| one.login.as_ref().is_some_and(|login| login.operation == *id))
    }

    /// Whether a caller may call an operation with success.
    pub fn can_call(&self, operation: usize, caller: &Caller) -> bool {
        let documented = self.subject.operation(operation);
        if self.excludes(operation) {
            return false;
        }
        match caller {
            Caller::Principal(name) | Caller::FreshSession(name) => {
                !documented.is_secured()
                    || self
                        .principal(name)
                        .is_some_and(|one| self.accepts(documented, one) && !one.denied.contains(&documented.id))
            }
            _ => !documented.is_secured(),
        }
    }

    /// Makes an item, its settable members at their first values.
    pub fn create_act(&self, handled: &Handled<'_>, name: &str) -> Option<(Act, Vec<Field>)> {
        let mut call = self.plain_call(handled.create, &handled.caller)?;
        let reads = handled.collection.read.or(Some(handled.create));
        let fields = reads.map(|read| self.fields(handled.create, read)).unwrap_or_default();
        let set = self.set_fields(&mut call, &fields, 0);
        self.make_own(&mut call);
        self.make_unique(&mut call);
        let unique = unique_members(&call);
        let set = set.into_iter().filter(|field| !unique.contains(&field.name)).collect();
        Some((Act::new(name, call), set))
    }

    /// A call on the item that an act has made.
    pub fn item_call(&self, operation: usize, caller: &Caller, collection: &Collection, made_by: &str) -> Option<Call> {
        let mut call = self.plain_call(operation, caller)?;
        self.point_at(&mut call, collection, made_by);
        Some(call)
    }

    /// Lets a call's path name the item that an act has made, and its parents.
    pub fn point_at(&self, call: &mut Call, collection: &Collection, made_by: &str) {
        let documented = self.subject.operation(call.operation);
        let create = collection.create.map(|create| self.subject.operation(create));
        for argument in &mut call.arguments {
            let parameter = &documented.parameters[argument.parameter];
            if parameter.place != ParameterPlace::Path {
                continue;
            }
            let of_item = self.subject.collections.named_by(documented, &parameter.name);
            let expression = if of_item.is_some_and(|one| one.item == collection.item) {
                collection.id.clone()
            } else if create.is_some_and(|create| create.path_parameters().any(|name| name == parameter.name)) {
                format!("$request.path.{}", parameter.name)
            } else {
                continue;
            };
            let binding = Binding::Act { name: made_by.to_owned(), expression };
            argument.value = ArgumentValue::Bound(binding);
        }
        if let Caller::FreshSession(name) = &call.caller {
            call.caller = Caller::Principal(name.clone());
        }
    }

    /// Members that the request of `write` may set and the answer of `read` shows, with two values each.
    pub fn fields(&self, write: usize, read: usize) -> Vec<Field> {
        let Some(documented) = self.subject.operation(write).body.as_ref() else { return Vec::new() };
        let Some(generator) = self.subject.body_generator(write, preferred_media(documented)) else {
            return Vec::new();
        };
        let base = generator.minimal();
        let mut fields = Vec::new();
        // What the path names an item by is no field of it: changing it is moving the item.
        let names: Vec<String> = self.subject.operation(write).path_parameters().map(plain).collect();
        for (name, property) in settable(&self.subject.contract, write, read) {
            if names.contains(&plain(&name)) {
                continue;
            }
            let mut values = Vec::new();
            for value in candidates(property) {
                let mut body = base.clone();
                if !body.is_object() {
                    break;
                }
                body[name.as_str()] = value.clone();
                if values.len() < 2 && !values.contains(&value) && generator.is_valid(&body) {
                    values.push(value);
                }
            }
            if let [first, second] = values.as_slice() {
                fields.push(Field { name, values: [first.clone(), second.clone()] });
            }
        }
        fields
    }

    /// Sets as many fields as go together to their first (0) or second (1) value; gives those that were set.
    pub fn set_fields(&self, call: &mut Call, fields: &[Field], which: usize) -> Vec<Field> {
        let operation = call.operation;
        let Some(CallBody::Value { media, value, bindings }) = &mut call.body else { return Vec::new() };
        let Some(generator) = self.subject.body_generator(operation, *media) else { return Vec::new() };
        let mut set = Vec::new();
        for field in fields {
            let pointer = format!("/{}", escape(&field.name));
            if !value.is_object() || bindings.iter().any(|(bound, _)| bound.starts_with(&pointer)) {
                continue;
            }
            let mut body = value.clone();
            body[field.name.as_str()] = field.values[which].clone();
            if generator.is_valid(&body) {
                *value = body;
                set.push(field.clone());
            }
        }
        set
    }

    /// Everything that a call names belongs to this case alone.
    pub fn make_own(&self, call: &mut Call) {
        use crate::case::Instance;
        let own = |binding: &mut Binding| {
            if let Binding::Resource { instance, .. } = binding {
                *instance = Instance::Own;
            }
        };
        for argument in &mut call.arguments {
            if let ArgumentValue::Bound(binding) = &mut argument.value {
                own(binding);
            }
        }
        if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
            bindings.iter_mut().for_each(|(_, binding)| own(binding));
        }
    }

    /// Where a creating operation documents a conflict, its texts must differ from all others: what conflicts is not said.
    pub fn make_unique(&self, call: &mut Call) {
        let operation = self.subject.operation(call.operation);
        let creates = operation.method == http::Method::POST || operation.method == http::Method::PUT;
        let conflicts = operation
            .responses
            .iter()
            .any(|response| response.status == trueline_spec::contract::StatusPattern::Exact(409));
        let contract = &self.subject.contract;
        let Some(CallBody::Value { media, value: Value::Object(members), bindings }) = &mut call.body else { return };
        if !creates || !conflicts {
            return;
        }
        let Some(schema) = self.subject.media(call.operation, *media).and_then(|media| media.schema.as_ref()) else {
            return;
        };
        for (name, property) in properties(contract, schema) {
            let pointer = format!("/{}", escape(&name));
            let free = ["enum", "const", "pattern"].iter().all(|keyword| property.get(keyword).is_none())
                && matches!(property.get("format").and_then(Value::as_str), None | Some("email"));
            let names =
                ["name", "title", "slug", "email", "username", "login", "key", "code", "label", "handle", "reference"];
            let word = plain(&name);
            let likely = names.iter().any(|one| word.ends_with(one));
            if let Some(Value::String(stem)) = members.get(&name)
                && free
                && likely
                && property.get("type").is_some_and(|kind| *kind == "string")
                && !bindings.iter().any(|(bound, _)| *bound == pointer)
            {
                let longest =
                    property.get("maxLength").and_then(Value::as_u64).and_then(|most| u32::try_from(most).ok());
                bindings.push((pointer, Binding::Unique { stem: stem.clone(), longest }));
            }
        }
    }

    /// Whether only the service knows what a parameter may say: a cursor that an earlier answer gave.
    pub fn is_opaque(&self, operation: usize, parameter: usize) -> bool {
        const OPAQUE: [&str; 8] = [
            "token",
            "pagetoken",
            "nexttoken",
            "nextpagetoken",
            "cursor",
            "pagecursor",
            "continuation",
            "continuationtoken",
        ];
        let documented = &self.subject.operation(operation).parameters[parameter];
        let named = OPAQUE.contains(&plain(&documented.name).as_str());
        if named && documented.place == ParameterPlace::Query && documented.examples.is_empty() {
            return true;
        }
        self.subject.collections.iter().filter_map(|one| one.list.as_ref()).any(|list| {
            list.operation == operation
                && matches!(&list.paging, Some(crate::collection::Paging::Cursor { parameter: one, .. }) if *one == parameter)
        })
    }

    /// Sets a query or header parameter.
    pub fn set_parameter(&self, call: &mut Call, parameter: usize, value: ArgumentValue) {
        match call.arguments.iter_mut().find(|argument| argument.parameter == parameter) {
            Some(argument) => argument.value = value,
            None => call.arguments.push(Argument { parameter, value }),
        }
    }

    /// A case of several requests.
    pub fn chain(
        &self,
        phase: Phase,
        check: &'static str,
        id: String,
        about: usize,
        acts: Vec<Act>,
        alone: bool,
    ) -> Case {
        Case {
            id: format!("{phase}/{id}"),
            phase,
            check: check.into(),
            script: Script::Chain(Box::new(Chain { about, acts, alone })),
        }
    }

    /// The scopes that an operation asks of a credential of this scheme alone: sets, of which one is enough.
    pub fn scope_sets(&self, operation: &Operation, scheme: &str) -> Vec<Vec<String>> {
        let mut sets: Vec<Vec<String>> = Vec::new();
        for alternative in operation.security.iter().filter(|one| one.schemes.len() == 1) {
            let Some(asked) = operation.scopes_for(alternative, scheme) else { continue };
            let mut set: Vec<String> = asked.into_iter().map(str::to_owned).collect();
            set.sort();
            set.dedup();
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets
    }

    /// Whether a scheme alone opens an operation, scopes aside.
    pub fn takes(&self, operation: &Operation, scheme: &str) -> bool {
        operation.security.iter().any(|one| one.schemes.len() == 1 && one.schemes.contains_key(scheme))
    }

    /// Every scope that the document names for a scheme.
    pub fn known_scopes(&self, scheme: &str) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        if let Some(SecurityKind::OAuth2 { scopes: declared, .. }) =
            self.subject.contract.security_schemes.get(scheme).map(|one| &one.kind)
        {
            scopes.extend(declared.keys().cloned());
        }
        for operation in &self.subject.contract.operations {
            if self.takes(operation, scheme) {
                scopes.extend(self.scope_sets(operation, scheme).into_iter().flatten());
            }
        }
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// Principals that make credentials with a chosen set of scopes.
    pub fn minters(&self) -> impl Iterator<Item = (&'a str, &'a Principal)> + use<'a> {
        self.free_principals().filter(|(_, one)| one.mint.is_some())
    }

    /// The scheme of what a principal makes.
    pub fn minted_scheme(&self, by: &str) -> Option<&'a str> {
        let principal = self.principal(by)?;
        let mint = principal.mint.as_ref()?;
        Some(mint.scheme.as_deref().unwrap_or(&principal.scheme))
    }

    /// The scopes that a principal can put into what it makes.
    pub fn mintable(&self, by: &str) -> Vec<String> {
        let Some(mint) = self.principal(by).and_then(|one| one.mint.as_ref()) else { return Vec::new() };
        match (&mint.available, self.minted_scheme(by)) {
            (Some(available), _) => available.clone(),
            (None, Some(scheme)) => self.known_scopes(scheme),
            (None, None) => Vec::new(),
        }
    }

    /// How a credential that a principal has made is taken back.
    pub(crate) fn revocation(&self, by: &str, made: &crate::run::Made) -> Option<(usize, Vec<Argument>)> {
        let (delete, id) = self.revocable(by)?;
        let documented = self.subject.operation(delete);
        let mut arguments = Vec::new();
        let last = documented.path_parameters().last()?.to_owned();
        for (parameter, one) in documented.parameters.iter().enumerate() {
            if one.place == ParameterPlace::Path {
                let expression = if one.name == last { id.clone() } else { format!("$request.path.{}", one.name) };
                arguments.push(Argument { parameter, value: ArgumentValue::Value(made.evaluate(&expression)?) });
            }
        }
        Some((delete, arguments))
    }

    /// The operation that takes back what a principal makes, and where its id stands.
    pub fn revocable(&self, by: &str) -> Option<(usize, String)> {
        let mint = self.principal(by)?.mint.as_ref()?;
        let contract = &self.subject.contract;
        let create = contract.operations.iter().position(|one| one.id == mint.operation)?;
        let collection = self.subject.collections.iter().find(|one| one.create == Some(create))?;
        let delete = match &mint.revoke {
            Some(id) => contract.operations.iter().position(|one| one.id == *id)?,
            None => collection.delete?,
        };
        Some((delete, collection.id.clone()))
    }

    /// Whether a schema of an operation's request lets a member be null or absent.
    pub fn optional_members(&self, operation: usize) -> Vec<String> {
        let contract = &self.subject.contract;
        let Some(body) = &self.subject.operation(operation).body else { return Vec::new() };
        let Some(schema) = body.media[preferred_media(body)].schema.as_ref() else { return Vec::new() };
        let required = required_names(contract, &schema.value);
        properties_of(contract, &schema.value)
            .into_iter()
            .filter(|(name, property)| !required.contains(name) && property.get("default").is_none())
            .map(|(name, _)| name)
            .collect()
    }
}

pub(super) fn required_names(contract: &trueline_spec::Contract, schema: &Value) -> Vec<String> {
    let schema = resolve(contract, schema);
    let mut names: Vec<String> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    for branch in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        names.extend(required_names(contract, branch));
    }
    names
}

/// Members whose values only the run knows.
fn unique_members(call: &Call) -> Vec<String> {
    let Some(CallBody::Value { bindings, .. }) = &call.body else { return Vec::new() };
    bindings.iter().filter_map(|(pointer, _)| pointer.split('/').nth(1)).map(str::to_owned).collect()
}

/// What an answer must be refused with, that is about somebody else's things.
pub fn out_of_reach() -> Expect {
    Expect::Refused { statuses: vec![403, 404], codes: Vec::new() }
}
