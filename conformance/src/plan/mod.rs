//! The plan: every case, in order, before the first request. It is a pure function of contract, profile, seed and options;
//! random cases are made when they are due, so that a plan of a million cases is as small as one of a thousand.

pub mod allocation;
mod bind;
mod boundary;
mod examples;
mod filter;
mod limits;
mod random;
mod resources;
mod shard;

use std::collections::BTreeMap;

use serde_json::Value;
use trueline_spec::contract::{Operation, ParameterPlace, SecurityKind};

pub use self::bind::smells_of_an_end;
pub use self::filter::Filter;
pub use self::random::Polarity;
pub use self::resources::{Field, Handled, out_of_reach};
pub use self::shard::ELSEWHERE;
use crate::case::{
    Argument, ArgumentValue, Binding, Call, CallBody, Caller, Case, Expect, Instance, PHASES, Phase, Script,
};
use crate::event::Shard;
use crate::profile::{Principal, Profile, Purpose, Safety};
use crate::subject::Subject;

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The seed of everything random.
    pub seed: u64,
    /// The phases to run.
    pub phases: Vec<Phase>,
    /// Operations (by id) to leave out or to keep; empty: all.
    pub operations: Vec<String>,
    /// What to keep, beside `operations`; empty: all.
    pub include: Vec<Filter>,
    /// What to leave out; wins over `include`.
    pub exclude: Vec<Filter>,
    /// What may be touched; none for what the profile says.
    pub safety: Option<Safety>,
    /// Random cases per operation: half of them valid, half with one fault.
    pub random_cases: u64,
    /// Only the case with this id.
    pub case: Option<String>,
    /// Whether the target's clock can be moved.
    pub virtual_clock: bool,
    /// Whether bytes can be put on a connection of their own.
    pub wire: bool,
    /// Seconds that the run may wait for a window to end.
    pub patience_s: u64,
    /// Which part of the plan is run, where several runs share it.
    pub shard: Option<Shard>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        PlanOptions {
            seed: 0,
            phases: PHASES.to_vec(),
            operations: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            safety: None,
            random_cases: 60,
            case: None,
            virtual_clock: false,
            wire: false,
            patience_s: 0,
            shard: None,
        }
    }
}

/// Every case, in order.
pub struct Plan {
    /// The options it was made with.
    pub options: PlanOptions,
    /// In the order in which they are due.
    pub entries: Vec<Entry>,
    /// Hash of all that decides what is sent.
    pub hash: String,
    /// What the plan leaves out, and why: operation index and reason.
    pub left_out: Vec<(usize, String)>,
    /// The part of the plan that this is, if it is not the whole.
    pub shard: Option<Shard>,
}

/// One or many cases.
#[derive(Debug, Clone)]
pub enum Entry {
    /// One case.
    Case(Box<Case>),
    /// Random cases of one operation.
    Random {
        /// Index of the operation.
        operation: usize,
        /// Valid, or with one fault.
        polarity: Polarity,
        /// How many.
        count: u64,
        /// Callers that take turns: groups, by their first principal.
        callers: Vec<Caller>,
    },
}

/// Makes calls. Checks and phases build their cases with it.
pub struct Planner<'a> {
    /// The contract made ready.
    pub subject: &'a Subject,
    /// The profile.
    pub profile: &'a Profile,
    /// What to plan.
    pub options: &'a PlanOptions,
}

impl Plan {
    /// Makes the plan.
    pub fn new(subject: &Subject, profile: &Profile, options: PlanOptions) -> Plan {
        let planner = Planner { subject, profile, options: &options };
        let mut entries = Vec::new();
        let mut left_out = Vec::new();
        let mut held_back = BTreeMap::new();
        for phase in PHASES.into_iter().filter(|phase| options.phases.contains(phase)) {
            let mut cases = Vec::new();
            match phase {
                Phase::Examples => examples::plan(&planner, &mut cases, &mut left_out),
                Phase::Boundary => boundary::plan(&planner, &mut cases),
                Phase::Random => entries.extend(random::entries(&planner)),
                Phase::Stateful | Phase::Access | Phase::Hostile | Phase::Race | Phase::Limits => {}
            }
            if phase == Phase::Limits {
                limits::plan(&planner, &mut cases);
            }
            for check in crate::check::all() {
                check.plan(&planner, &mut cases);
            }
            // A check plans for its own phase each time it is asked; only this phase's cases count now.
            cases.retain(|case| case.phase == phase && planner.wants(case.operation()));
            cases.retain(|case| match planner.forbids(case) {
                None => true,
                Some(why) => {
                    held_back.entry(case.operation()).or_insert(why);
                    false
                }
            });
            // Those that need the service to themselves come last, so that the others need not wait for them.
            cases.sort_by_key(|case| phase != Phase::Limits && case.is_alone());
            entries.extend(cases.into_iter().map(|case| Entry::Case(Box::new(case))));
        }
        entries.retain(|entry| match entry {
            Entry::Random { operation, callers, .. } => {
                let call = callers.first().and_then(|caller| planner.plain_call(*operation, caller));
                let case = call.map(|call| planner.single(Phase::Random, "input.accepts-valid", String::new(), call));
                match case.and_then(|case| planner.forbids(&case)) {
                    None => true,
                    Some(why) => {
                        held_back.entry(*operation).or_insert(why);
                        false
                    }
                }
            }
            Entry::Case(_) => true,
        });
        for (operation, why) in held_back {
            // Refusals that it is still held to show nothing of what it does.
            let sent = entries.iter().any(|entry| match entry {
                Entry::Case(case) => {
                    let valid =
                        |call: &&Call| matches!(call.expect, Expect::Valid { .. }) && call.operation == operation;
                    case.operation() == operation && case.calls().iter().any(valid)
                }
                Entry::Random { operation: other, .. } => *other == operation,
            });
            if !sent && !left_out.iter().any(|(known, _)| *known == operation) {
                left_out.push((operation, why.to_owned()));
            }
        }
        if let Some(id) = &options.case {
            entries = entries.into_iter().filter_map(|entry| entry.only(&planner, id)).collect();
        }
        let hash = hash(subject, profile, &options, &entries);
        // The hash is that of the whole plan: by it the parts know that they belong together.
        let shard = options.shard;
        let mut plan = Plan { options, entries, hash, left_out, shard };
        if let Some(shard) = shard {
            plan.keep(shard, subject.contract.operations.len());
        }
        plan
    }

    /// How many cases.
    pub fn len(&self) -> u64 {
        self.entries.iter().map(Entry::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cases by phase.
    pub fn by_phase(&self) -> BTreeMap<Phase, u64> {
        let mut phases = BTreeMap::new();
        for entry in &self.entries {
            *phases.entry(entry.phase()).or_default() += entry.len();
        }
        phases
    }
}

impl Entry {
    /// How many cases.
    pub fn len(&self) -> u64 {
        match self {
            Entry::Case(_) => 1,
            Entry::Random { count, .. } => *count,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The phase of its cases.
    pub fn phase(&self) -> Phase {
        match self {
            Entry::Case(case) => case.phase,
            Entry::Random { .. } => Phase::Random,
        }
    }

    /// The case with this index; none where no such case can be made (a schema that nothing violates).
    pub fn case(&self, planner: &Planner<'_>, index: u64) -> Option<Case> {
        match self {
            Entry::Case(case) => Some((**case).clone()),
            Entry::Random { operation, polarity, callers, .. } => {
                random::case(planner, *operation, *polarity, callers, index)
            }
        }
    }

    fn only(self, planner: &Planner<'_>, id: &str) -> Option<Entry> {
        match &self {
            Entry::Case(case) => (case.id == id).then_some(self),
            Entry::Random { operation, polarity, count, .. } => {
                let prefix = random::id_prefix(planner.subject.operation(*operation), *polarity);
                let index: u64 = id.strip_prefix(&prefix)?.parse().ok()?;
                (index < *count).then(|| self.case(planner, index))?.map(|case| Entry::Case(Box::new(case)))
            }
        }
    }
}

impl<'a> Planner<'a> {
    /// Whether the options ask for this operation.
    pub fn wants(&self, operation: usize) -> bool {
        let documented = self.subject.operation(operation);
        let named = self.options.operations.is_empty() && self.options.include.is_empty()
            || self.options.operations.contains(&documented.id)
            || self.options.include.iter().any(|filter| filter.picks(documented));
        named && !self.excludes(operation)
    }

    /// Whether the options forbid this operation.
    pub fn excludes(&self, operation: usize) -> bool {
        let documented = self.subject.operation(operation);
        self.options.exclude.iter().any(|filter| filter.picks(documented))
    }

    /// Operations that the options ask for.
    pub fn operations(&self) -> impl Iterator<Item = (usize, &'a Operation)> + use<'a, '_> {
        self.subject.contract.operations.iter().enumerate().filter(|(index, _)| self.wants(*index))
    }

    /// A principal of the profile.
    pub fn principal(&self, name: &str) -> Option<&'a Principal> {
        self.profile.principals.get(name)
    }

    /// Principals that are kept for nothing special.
    pub fn free_principals(&self) -> impl Iterator<Item = (&'a str, &'a Principal)> + use<'a> {
        let principals = self.profile.principals.iter();
        principals.filter(|(_, one)| one.reserved_for.is_none()).map(|(name, one)| (name.as_str(), one))
    }

    /// Principals that are kept for a purpose.
    pub fn reserved(&self, purpose: Purpose) -> impl Iterator<Item = (&'a str, &'a Principal)> + use<'a> {
        let principals = self.profile.principals.iter();
        principals.filter(move |(_, one)| one.reserved_for == Some(purpose)).map(|(name, one)| (name.as_str(), one))
    }

    /// Whether a principal's credentials satisfy an operation, the scopes that they have included.
    pub fn accepts(&self, operation: &Operation, principal: &Principal) -> bool {
        let enough = |asked: &[&str]| match &principal.scopes {
            Some(scopes) => asked.iter().all(|scope| scopes.iter().any(|one| one == scope)),
            None => true,
        };
        operation.security.iter().any(|alternative| {
            let scopes = operation.scopes_for(alternative, &principal.scheme);
            scopes.is_some_and(|scopes| enough(&scopes)) && alternative.schemes.keys().all(|one| principal.holds(one))
        })
    }

    /// Those who may call an operation with success: the first principal of the first group of each accepted scheme, and
    /// nobody in particular if no credential is needed.
    pub fn callers(&self, operation: &Operation) -> Vec<Caller> {
        let mut callers: Vec<(&str, Caller)> = Vec::new();
        if !operation.is_secured() {
            callers.push(("", Caller::Anonymous));
        }
        // Whoever logs out should be able to log in again.
        let ends = bind::ends_a_session(operation);
        let (renewable, lasting): (Vec<_>, Vec<_>) =
            self.free_principals().partition(|(_, one)| !ends || one.login.is_some());
        for (name, principal) in renewable.into_iter().chain(lasting) {
            let usable = self.accepts(operation, principal)
                && !principal.denied.contains(&operation.id)
                && self.can_bind(operation, name);
            if usable && !callers.iter().any(|(scheme, _)| *scheme == principal.scheme) {
                callers.push((&principal.scheme, Caller::Principal(name.to_owned())));
            }
        }
        callers.into_iter().map(|(_, caller)| caller).collect()
    }

    /// A call with the operation's first example, required parts only, everything it names bound to what is real.
    /// Destroying calls get resources and sessions of their own. None if a part cannot be made.
    pub fn plain_call(&self, operation: usize, caller: &Caller) -> Option<Call> {
        let documented = self.subject.operation(operation);
        let mut call = Call {
            operation,
            caller: caller.clone(),
            from: None,
            arguments: Vec::new(),
            body: None,
            twist: None,
            expect: Expect::Valid { bound: true },
        };
        for (index, parameter) in documented.parameters.iter().enumerate() {
            if parameter.required {
                let value = match parameter.examples.first() {
                    Some(example) => example.value.clone(),
                    None => self.subject.parameter_generator(operation, index)?.minimal(),
                };
                call.arguments.push(Argument { parameter: index, value: ArgumentValue::Value(value) });
            }
        }
        if let Some(body) = &documented.body {
            let media = self.body_media(operation).unwrap_or_else(|| preferred_media(body));
            let value = match body.media[media].examples.first() {
                Some(example) => Some(example.value.clone()),
                None => self.subject.body_generator(operation, media).map(|generator| generator.minimal()),
            };
            match value {
                Some(value) => call.body = Some(CallBody::Value { media, value, bindings: Vec::new() }),
                None if body.required => return None,
                None => {}
            }
        }
        self.bind(&mut call);
        self.make_unique(&mut call);
        Some(call)
    }

    /// The media type that bodies of an operation are written in where one is as good as another: JSON, else the first that
    /// can be written at all.
    pub fn body_media(&self, operation: usize) -> Option<usize> {
        let body = self.subject.operation(operation).body.as_ref()?;
        let preferred = preferred_media(body);
        let writable = |media: &usize| self.subject.body_generator(operation, *media).is_some();
        Some(preferred).filter(writable).or_else(|| (0..body.media.len()).find(writable))
    }

    /// As [`Planner::plain_call`], but nothing that the call names exists: for calls that must be refused before anybody
    /// looks, so that they do no harm where they are not.
    pub fn harmless_call(&self, operation: usize, caller: &Caller) -> Option<Call> {
        let mut call = self.plain_call(operation, &Caller::Anonymous)?;
        call.caller = caller.clone();
        let documented = self.subject.operation(operation);
        for argument in &mut call.arguments {
            let parameter = &documented.parameters[argument.parameter];
            if parameter.place == ParameterPlace::Path {
                let nobody = self.unknown_id(operation, argument.parameter)?;
                argument.value = ArgumentValue::Value(nobody);
            }
        }
        // The caller is not let in, so there is nothing to look up for it.
        if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
            bindings.clear();
        }
        Some(call)
    }

    /// A valid value for a path parameter that no resource has.
    pub fn unknown_id(&self, operation: usize, parameter: usize) -> Option<Value> {
        let generator = self.subject.parameter_generator(operation, parameter)?;
        let schema = &self.subject.operation(operation).parameters[parameter].schema;
        let resolved = self.subject.contract.resolve(schema);
        // A version 4 UUID, a number and a word that no service gives out; a random value only where none of them fits.
        if resolved.value.get("format").and_then(Value::as_str) == Some("uuid") {
            return Some(Value::from(UNKNOWN_UUID));
        }
        let numbers = [987_654_321_987_i64, 2_147_483_629, 32_749].map(Value::from);
        let words = ["trueline-knows-no-such-thing", "nosuchthing"].map(Value::from);
        let fixed = numbers.into_iter().chain(words).find(|value| generator.is_valid(value));
        Some(fixed.unwrap_or_else(|| generator.sample(self.options.seed ^ 0xdead, 0)))
    }

    /// Codes that an operation may answer, out of these.
    pub fn codes(&self, operation: &Operation, wanted: &[Option<&str>]) -> Vec<String> {
        let mut codes: Vec<String> = wanted
            .iter()
            .flatten()
            .filter(|code| operation.error_codes.iter().any(|known| known == *code))
            .map(|code| (*code).to_owned())
            .collect();
        codes.sort();
        codes.dedup();
        codes
    }

    /// A case of one request.
    pub fn single(&self, phase: Phase, check: &'static str, id: String, call: Call) -> Case {
        Case { id: format!("{phase}/{id}"), phase, check: check.into(), script: Script::Single(Box::new(call)) }
    }
}

/// A version 4 UUID that no generator of random ones will ever hit.
pub(crate) const UNKNOWN_UUID: &str = "00000000-0000-4000-8000-00000000dead";

/// JSON first: every check understands it best.
pub(crate) fn preferred_media(body: &trueline_spec::contract::Body) -> usize {
    let json = |media: &trueline_spec::contract::Media| {
        media.media_type == "application/json" || media.media_type.ends_with("+json")
    };
    body.media.iter().position(json).unwrap_or(0)
}

/// Where a scheme's credential stands in a request, for the schemes that a header, query or cookie carries.
pub(crate) fn is_sendable(kind: &SecurityKind) -> bool {
    !matches!(kind, SecurityKind::MutualTls)
}

/// Whether a binding needs a resource that only this case uses.
pub(crate) fn is_own(binding: &Binding) -> bool {
    matches!(binding, Binding::Resource { instance: Instance::Own, .. })
}

/// Everything that decides what is sent goes in: two plans with one hash send the same.
fn hash(subject: &Subject, profile: &Profile, options: &PlanOptions, entries: &[Entry]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.update(subject.contract.digest.as_bytes());
    hasher.update(&options.seed.to_le_bytes());
    // Principals by name, scheme and values: a credential decides nothing, and must not leave a trace here.
    for (name, principal) in &profile.principals {
        let rights = (&principal.tenant, &principal.scopes);
        hasher.update(format!("{name}\0{}\0{:?}\0{rights:?}", principal.scheme, principal.values).as_bytes());
    }
    for entry in entries {
        match entry {
            Entry::Case(case) => hasher.update(&serde_json::to_vec(case).unwrap_or_default()),
            Entry::Random { operation, polarity, count, callers } => {
                hasher.update(format!("{operation} {polarity:?} {count} {callers:?}").as_bytes())
            }
        };
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
