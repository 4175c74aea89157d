//! Who sends a case, from which address, on which resource: so that no rate class is exhausted before its time. The harness
//! counts what it is about to send against the documented limits, with room left for logins, repetitions and shrinking.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use trueline_spec::contract::Operation;
use trueline_spec::vocabulary::Per;

use super::Planner;
use crate::case::{ArgumentValue, Binding, Call, CallBody, Caller, Case, Chain, Instance, Script};

/// Of a class's limit, this part is planned; the rest is for what cannot be planned.
const PLANNED_PART: f64 = 0.7;

/// At most so many resources are made to spread a class that counts per resource.
const SPREAD: u32 = 32;

/// The running count of what the plan spends.
pub struct Allocator<'a> {
    planner: &'a Planner<'a>,
    spent: HashMap<(String, String), u64>,
    turn: usize,
}

/// What to do before a case can be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Allocation {
    /// Send it.
    Send,
    /// No window of the class has room for it.
    Never {
        /// The class.
        class: String,
    },
    /// Every counter that it could go to is spent: let this much time pass, then ask again.
    Wait {
        /// The window of the class.
        window: Duration,
        /// The class.
        class: String,
    },
}

impl<'a> Allocator<'a> {
    /// Nothing is spent yet.
    pub fn new(planner: &'a Planner<'a>) -> Self {
        Allocator { planner, spent: HashMap::new(), turn: 0 }
    }

    /// All windows have ended.
    pub fn start_again(&mut self) {
        self.spent.clear();
    }

    /// Settles who sends a case. Sequences settle that themselves.
    pub fn allocate(&mut self, case: &mut Case) -> Allocation {
        match &mut case.script {
            Script::Single(call) => self.allocate_call(call),
            Script::Chain(chain) => self.allocate_chain(chain),
            Script::Wire(wire) => self.allocate_call(&mut wire.call),
            Script::Expire(_) | Script::Exhaust(_) | Script::Spend(_) | Script::Quota(_) => Allocation::Send,
        }
    }

    /// All of a chain goes to the counters of the same callers; one that does not fit leaves no trace.
    fn allocate_chain(&mut self, chain: &mut Chain) -> Allocation {
        self.turn = self.turn.wrapping_add(1);
        let mut callers: Vec<String> = Vec::new();
        for act in &chain.acts {
            if let Caller::Principal(name) = &act.call.caller
                && !callers.contains(name)
            {
                callers.push(name.clone());
            }
        }
        let widest = callers.iter().map(|name| self.alternatives_of(name).len()).max().unwrap_or(1);
        let addresses = self.addresses();
        let before = self.spent.clone();
        let mut blocked = None;
        for offset in 0..widest.max(addresses.len()).max(1) {
            let mut candidate = chain.clone();
            let turn = self.turn + offset;
            for act in &mut candidate.acts {
                act.call.from = match &act.call.caller {
                    Caller::Anonymous | Caller::Bad { .. } if !addresses.is_empty() => {
                        Some(addresses[turn % addresses.len()])
                    }
                    _ => addresses.first().copied(),
                };
                // Whose turn it is, is the same throughout the chain: what one made, another need not see.
                if let Caller::Principal(name) = &act.call.caller
                    && !binds_session(&act.call)
                {
                    let members = self.alternatives_of(name);
                    act.call.caller = Caller::Principal(members[turn % members.len()].clone());
                }
            }
            let charged = candidate.acts.iter().find_map(|act| {
                let operation = self.planner.subject.operation(act.call.operation);
                (0..act.times.max(1)).find_map(|_| self.charge(operation, &act.call))
            });
            match charged {
                None => {
                    *chain = candidate;
                    return Allocation::Send;
                }
                Some(class) => {
                    blocked = Some(class);
                    self.spent.clone_from(&before);
                }
            }
        }
        match blocked {
            // Nothing has been spent, and still there is no room.
            Some((class, _)) if before.is_empty() => Allocation::Never { class },
            Some((class, window)) => Allocation::Wait { window, class },
            None => Allocation::Send,
        }
    }

    /// Members of a principal's group with the same rights, itself included.
    fn alternatives_of(&self, name: &str) -> Vec<String> {
        let call = Call {
            operation: 0,
            caller: Caller::Principal(name.to_owned()),
            from: None,
            arguments: Vec::new(),
            body: None,
            twist: None,
            expect: crate::case::Expect::Valid { bound: true },
        };
        self.alternatives(&call).into_iter().flatten().collect()
    }

    fn allocate_call(&mut self, call: &mut Call) -> Allocation {
        let operation = self.planner.subject.operation(call.operation);
        let callers = self.alternatives(call);
        let addresses: Vec<Option<IpAddr>> = match (&call.caller, call.from) {
            (_, Some(fixed)) => vec![Some(fixed)],
            (Caller::Principal(name), None) if !self.counts_by_address(operation, name) => {
                vec![self.addresses().first().copied()]
            }
            _ if self.addresses().is_empty() => vec![None],
            _ => self.addresses().iter().copied().map(Some).collect(),
        };
        let instances = if self.counts_by_resource(operation, call) { SPREAD } else { 1 };
        self.turn = self.turn.wrapping_add(1);
        let mut blocked = None;
        for number in 0..instances {
            for offset in 0..callers.len().max(addresses.len()) {
                let caller = &callers[(self.turn + offset) % callers.len()];
                let address = addresses[(self.turn + offset) % addresses.len()];
                let mut candidate = call.clone();
                if let (Caller::Principal(_), Some(name)) = (&call.caller, caller) {
                    candidate.caller = Caller::Principal(name.clone());
                }
                candidate.from = address;
                renumber(&mut candidate, number);
                match self.charge(operation, &candidate) {
                    None => {
                        *call = candidate;
                        return Allocation::Send;
                    }
                    Some(class) => blocked = Some(class),
                }
            }
        }
        match blocked {
            Some((class, _)) if self.spent.is_empty() => Allocation::Never { class },
            Some((class, window)) => Allocation::Wait { window, class },
            None => Allocation::Send,
        }
    }

    fn counts_by_address(&self, operation: &Operation, name: &str) -> bool {
        let scheme = self.planner.principal(name).map(|one| one.scheme.as_str());
        let classes = self.planner.subject.classes_of(operation, scheme);
        classes.iter().any(|(_, class)| matches!(class.per, Per::Ip))
    }

    fn addresses(&self) -> &'a [IpAddr] {
        self.planner.profile.shared_addresses()
    }

    /// Members of the caller's group with the same scheme, itself included.
    fn alternatives(&self, call: &Call) -> Vec<Option<String>> {
        let Caller::Principal(name) = &call.caller else { return vec![None] };
        let Some(principal) = self.planner.principal(name) else { return vec![Some(name.clone())] };
        if principal.reserved_for.is_some() || binds_session(call) {
            return vec![Some(name.clone())];
        }
        let group = principal.group(name);
        let members = self.planner.free_principals().filter(|(other, one)| {
            one.scheme == principal.scheme
                && one.group(other) == group
                && one.denied == principal.denied
                && principal.credentials.keys().all(|scheme| one.holds(scheme))
                && one.scopes == principal.scopes
                && one.tenant == principal.tenant
        });
        let mut members: Vec<Option<String>> = members.map(|(other, _)| Some(other.to_owned())).collect();
        if members.is_empty() {
            members.push(Some(name.clone()));
        }
        members
    }

    /// Parts of one plan may run at the same time, and then share every counter.
    fn shards(&self) -> f64 {
        self.planner.options.shard.map_or(1.0, |shard| f64::from(shard.of))
    }

    fn counts_by_resource(&self, operation: &Operation, call: &Call) -> bool {
        let by_path = operation
            .rate_limits
            .iter()
            .filter_map(|class| self.planner.subject.contract.rate_class(class))
            .any(|class| matches!(class.per, Per::Path(_)));
        by_path
            && call.arguments.iter().any(|argument| {
                matches!(&argument.value, ArgumentValue::Bound(Binding::Resource { instance: Instance::Shared(_), .. }))
            })
    }

    /// Counts a call against every class that applies to it; the class that has no room, if any has not.
    fn charge(&mut self, operation: &Operation, call: &Call) -> Option<(String, Duration)> {
        let principal = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) => self.planner.principal(name).map(|one| (name, one)),
            _ => None,
        };
        let subject = self.planner.subject;
        let scheme = principal.map(|(_, one)| one.scheme.as_str());
        let mut charges = Vec::new();
        for (name, class) in subject.classes_of(operation, scheme) {
            let counter = match &class.per {
                Per::User | Per::Credential => principal.map_or_else(String::new, |(name, _)| name.clone()),
                Per::Organization => principal.map_or_else(String::new, |(name, one)| one.group(name).to_owned()),
                Per::Ip => format!("{:?}", call.from),
                Per::Path(parameter) => path_counter(operation, call, parameter),
            };
            let limit = self.planner.profile.limits.get(&name).copied().unwrap_or(class.limit);
            // What a case needs beside its own request: a resource or a session of its own.
            let cost = 1 + u64::from(is_costlier(call));
            charges.push((name, counter, limit, class.window.0, cost));
        }
        // A session of its own costs a login, which nobody is logged in for.
        if let (Caller::FreshSession(_), Some((_, one))) = (&call.caller, principal)
            && let Some(login) = &one.login
            && let Some(operation) = subject.contract.operation(&login.operation)
        {
            let counter = format!("{:?}", self.planner.profile.addresses.first().copied());
            for (name, class) in subject.classes_of(operation, None) {
                let limit = self.planner.profile.limits.get(&name).copied().unwrap_or(class.limit);
                charges.push((name, counter.clone(), limit, class.window.0, 1));
            }
        }
        let full = charges.iter().find(|(name, counter, limit, _, cost)| {
            let spent = self.spent.get(&(name.clone(), counter.clone())).copied().unwrap_or(0);
            (spent + cost) as f64 > (*limit as f64 * PLANNED_PART / self.shards()).max(1.0)
        });
        if let Some((name, _, _, window, _)) = full {
            return Some((name.clone(), *window));
        }
        for (name, counter, _, _, cost) in charges {
            *self.spent.entry((name, counter)).or_default() += cost;
        }
        None
    }
}

fn is_costlier(call: &Call) -> bool {
    matches!(call.caller, Caller::FreshSession(_))
        || call
            .arguments
            .iter()
            .any(|argument| matches!(&argument.value, ArgumentValue::Bound(one) if super::is_own(one)))
}

fn binds_session(call: &Call) -> bool {
    matches!(&call.body, Some(CallBody::Value { bindings, .. })
        if bindings.iter().any(|(_, binding)| matches!(binding, Binding::Login { .. })))
}

fn path_counter(operation: &Operation, call: &Call, parameter: &str) -> String {
    let argument = call.arguments.iter().find(|argument| operation.parameters[argument.parameter].name == parameter);
    match argument.map(|argument| &argument.value) {
        Some(ArgumentValue::Value(value)) => value.to_string(),
        Some(ArgumentValue::Bound(Binding::Resource { group, instance, .. })) => format!("{group} {instance:?}"),
        Some(ArgumentValue::Bound(binding)) => format!("{binding:?}"),
        None => String::new(),
    }
}

/// Moves every shared resource of a call to another number; what belongs together stays together.
pub(crate) fn renumber(call: &mut Call, to: u32) {
    let renumber = |binding: &mut Binding| {
        if let Binding::Resource { instance: Instance::Shared(number), .. } = binding {
            *number = to;
        }
    };
    for argument in &mut call.arguments {
        if let ArgumentValue::Bound(binding) = &mut argument.value {
            renumber(binding);
        }
    }
    if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
        bindings.iter_mut().for_each(|(_, binding)| renumber(binding));
    }
}
