//! Phase `limits`: every rate class and every quota to its end and beyond, each on a counter that nothing else touches.

use std::time::Duration;

use trueline_spec::contract::{Operation, Response};
use trueline_spec::vocabulary::{CheckStep, Effect, Per, QuotaUnit, RateClass};

use super::Planner;
use crate::case::{
    ArgumentValue, Binding, Call, CallBody, Caller, Case, Exhaust, Expect, Instance, Phase, QuotaScript, Script, Spend,
};
use crate::profile::{Principal, Purpose};

/// Resources made for exhausting a class stand apart from all others.
const RESERVED: u32 = 1_000_000;

pub(super) fn plan(planner: &Planner<'_>, cases: &mut Vec<Case>) {
    let Some(limits) = planner.subject.contract.vocabulary.as_ref().and_then(|one| one.rate_limits.as_ref()) else {
        stated(planner, cases);
        return quotas(planner, cases);
    };
    // Those that count per resource first: they need resources made, by the principals whose own limits come after.
    let mut classes: Vec<_> = limits.classes.iter().collect();
    classes.sort_by_key(|(_, class)| !matches!(class.per, Per::Path(_)));
    for (name, class) in classes {
        for (number, scheme) in schemes(planner, class).into_iter().enumerate() {
            let Some(exhaust) = exhaust(planner, name, class, scheme) else { continue };
            let id = match scheme {
                Some(scheme) if number > 0 => format!("limits/{name}/{scheme}"),
                _ => format!("limits/{name}"),
            };
            cases.push(Case {
                id,
                phase: Phase::Limits,
                check: "limit.enforced".into(),
                script: Script::Exhaust(Box::new(exhaust)),
            });
        }
    }
    quotas(planner, cases);
}

/// Without rate classes: what reads, and documents by a header what is left. A few of them to the end.
fn stated(planner: &Planner<'_>, cases: &mut Vec<Case>) {
    /// Where each operation has a counter of its own, each costs a window's time.
    const TO_THE_END: usize = 3;
    let says = |operation: &Operation| {
        let success = operation.responses.iter().filter(|response| response.status.to_string().starts_with('2'));
        success.map(Response::rate_headers).any(|headers| headers.remaining.or(headers.combined).is_some())
    };
    let reads = |operation: &Operation| operation.effect == Effect::Read && says(operation);
    let mut operations: Vec<(usize, &Operation)> =
        planner.operations().filter(|(_, operation)| reads(operation)).collect();
    operations.sort_by_key(|(_, operation)| operation.path_parameters().count());
    for (number, (index, operation)) in operations.into_iter().enumerate() {
        let mut reserved = planner.reserved(Purpose::Limits);
        let reserved = reserved.find(|(who, one)| {
            planner.accepts(operation, one) && !one.denied.contains(&operation.id) && planner.can_bind(operation, who)
        });
        let caller = match reserved {
            Some((who, _)) => Some(Caller::Principal(who.to_owned())),
            None => planner.callers(operation).into_iter().next(),
        };
        let Some(probe) = caller.and_then(|caller| planner.plain_call(index, &caller)) else { continue };
        // Without a documented 429 nobody promises that there is an end.
        let to_the_end =
            number < TO_THE_END && operation.response(429).is_some_and(|one| one.status.to_string() == "429");
        let alone = reserved.is_some() || planner.options.virtual_clock;
        cases.push(Case {
            id: format!("limits/stated/{}", operation.id),
            phase: Phase::Limits,
            check: "limit.countdown".into(),
            script: Script::Spend(Box::new(Spend { probe, to_the_end, patience_s: planner.options.patience_s, alone })),
        });
    }
}

/// The schemes with which a class is to be used up, each apart: one, unless each credential has a counter of its own and
/// the class does not say of which scheme.
fn schemes<'a>(planner: &Planner<'a>, class: &RateClass) -> Vec<Option<&'a str>> {
    let mut schemes: Vec<Option<&str>> = Vec::new();
    if class.when.counts_all() && matches!(class.per, Per::User | Per::Credential) {
        for (_, principal) in planner.reserved(Purpose::Limits) {
            if !schemes.contains(&Some(&principal.scheme)) {
                schemes.push(Some(&principal.scheme));
            }
        }
    }
    if schemes.is_empty() { vec![None] } else { schemes }
}

fn exhaust(planner: &Planner<'_>, name: &str, class: &RateClass, scheme: Option<&str>) -> Option<Exhaust> {
    let counted = |operation: &Operation| operation.rate_limits.iter().any(|counted| counted == name);
    let limit = planner.profile.limits.get(name).copied().unwrap_or(class.limit);
    let window = class.window.0;
    let wait = planner.options.virtual_clock || window <= Duration::from_secs(planner.options.patience_s);
    // The cheapest way to count: reading, without a path if possible.
    let rank = |operation: &Operation| {
        let effect = match operation.effect {
            Effect::Read => 0,
            Effect::Costly => 1,
            Effect::Write => 2,
            Effect::Destroy => 3,
        };
        (effect, operation.path_parameters().count(), operation.body.is_some())
    };
    let mut operations: Vec<(usize, &Operation)> =
        planner.operations().filter(|(_, operation)| counted(operation)).collect();
    operations.sort_by_key(|(_, operation)| rank(operation));

    if class.when.names_nobody() {
        return anonymous(planner, name, limit, window, wait, &operations);
    }
    // Whose address is used up, cannot be anybody's that has more to do.
    let address = match class.per {
        Per::Ip => Some(planner.profile.exhausted_address()?),
        _ => None,
    };
    let reserved: Vec<(&str, &Principal)> = planner
        .reserved(Purpose::Limits)
        .filter(|(_, one)| class.when.counts(Some(&one.scheme)))
        .filter(|(_, one)| scheme.is_none_or(|scheme| *scheme == one.scheme))
        .filter(|(_, one)| operations.iter().any(|(_, operation)| planner.accepts(operation, one)))
        .collect();
    let may = |who: &str, one: &Principal, operation: &Operation| {
        planner.accepts(operation, one) && planner.can_bind(operation, who)
    };
    let cheapest = |(who, one): (&str, &Principal)| {
        let repeatable = |operation: &Operation| operation.effect != Effect::Destroy && may(who, one, operation);
        let (index, _) = operations.iter().copied().find(|(_, operation)| repeatable(operation))?;
        Some((index, planner.plain_call(index, &Caller::Principal(who.to_owned()))?))
    };
    // Making resources leaves marks on the caller's own counters: a class that needs some is another caller's part.
    let first = *reserved.first()?;
    let makes = |call: &Call| matches!(class.per, Per::Path(_)) || binds_resources(call);
    let (who, principal) = match cheapest(first) {
        Some((_, probe)) if !makes(&probe) => first,
        _ => *reserved.last()?,
    };
    let caller = Caller::Principal(who.to_owned());
    let callable = |operation: &Operation| may(who, principal, operation);
    let (index, mut probe) = cheapest((who, principal))?;
    reserve(&mut probe, RESERVED);
    probe.from = address;
    let mut isolated = Vec::new();
    // Those that nobody else uses first: their counters are sure to have room.
    let others = || {
        let candidates = planner.reserved(Purpose::Limits).chain(planner.free_principals());
        candidates.filter(|(other, one)| *other != who && one.scheme == principal.scheme)
    };
    match &class.per {
        Per::Path(_) => {
            let mut other = probe.clone();
            reserve(&mut other, RESERVED + 1);
            isolated.push(other);
        }
        Per::Ip => {
            isolated
                .extend(planner.profile.untouched_address().map(|other| Call { from: Some(other), ..probe.clone() }));
        }
        Per::User | Per::Credential | Per::Organization => {
            for (other, one) in others() {
                let separate = match &class.per {
                    Per::Organization => one.group(other) != principal.group(who),
                    _ => true,
                };
                if separate && let Some(mut call) = planner.plain_call(index, &Caller::Principal(other.to_owned())) {
                    // Who sees the same resources needs none of its own.
                    let same = one.group(other) == principal.group(who);
                    reserve(&mut call, if same { RESERVED } else { RESERVED + 2 });
                    isolated.push(call);
                    break;
                }
            }
        }
    }
    // With the limit judged first, or right after the caller, whose credential is good, a call that must be limited does
    // nothing else, so any operation may show it.
    let mut order = planner.subject.contract.check_order().iter();
    let limit_first = order.find(|step| **step != CheckStep::Authenticate) == Some(&CheckStep::Limit);
    let also_limited = operations
        .iter()
        .filter(|(other, operation)| *other != index && callable(operation))
        .filter(|(_, operation)| limit_first || operation.effect == Effect::Read)
        .filter_map(|(other, _)| {
            // Per path parameter, only the very same resource is under the same counter.
            let mut call = if matches!(class.per, Per::Path(_)) {
                planner.plain_call(*other, &caller)?
            } else {
                planner.harmless_call(*other, &caller)?
            };
            reserve(&mut call, RESERVED);
            call.from = address;
            call.expect = Expect::Refused { statuses: vec![429], codes: Vec::new() };
            if let Caller::FreshSession(name) = &call.caller {
                call.caller = Caller::Principal(name.clone());
            }
            Some(call)
        })
        .collect();
    Some(Exhaust {
        class: name.to_owned(),
        limit,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        probe,
        untouched: true,
        isolated,
        also_limited,
        recovery: wait,
    })
}

fn anonymous(
    planner: &Planner<'_>,
    name: &str,
    limit: u64,
    window: Duration,
    wait: bool,
    operations: &[(usize, &Operation)],
) -> Option<Exhaust> {
    // A call that needs a credential and has none is refused without any work; logging in would cost a password hash.
    let (index, _) = operations
        .iter()
        .copied()
        .find(|(_, operation)| operation.is_secured())
        .or_else(|| operations.first().copied())?;
    // Without addresses of our own the exhausted counter would be the one that every login needs.
    let address = planner.profile.exhausted_address();
    if address.is_none() && !planner.options.virtual_clock {
        return None;
    }
    let mut probe = planner.harmless_call(index, &Caller::Anonymous)?;
    probe.from = address;
    let other = planner.profile.untouched_address();
    let isolated = other.map(|other| Call { from: Some(other), ..probe.clone() }).into_iter().collect();
    let also_limited = operations
        .iter()
        .filter(|(other, _)| *other != index)
        .filter_map(|(other, _)| {
            let mut call = planner.harmless_call(*other, &Caller::Anonymous)?;
            call.from = address;
            call.expect = Expect::Refused { statuses: vec![429], codes: Vec::new() };
            Some(call)
        })
        .collect();
    Some(Exhaust {
        class: name.to_owned(),
        limit,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        untouched: address.is_some(),
        probe,
        isolated,
        also_limited,
        recovery: wait,
    })
}

/// Whether something has to be made before a call can be sent.
fn binds_resources(call: &Call) -> bool {
    let is_made = |binding: &Binding| matches!(binding, Binding::Resource { .. });
    let in_body = matches!(&call.body, Some(CallBody::Value { bindings, .. })
        if bindings.iter().any(|(_, binding)| is_made(binding)));
    in_body || call.arguments.iter().any(|one| matches!(&one.value, ArgumentValue::Bound(binding) if is_made(binding)))
}

/// Lets a call use resources of its own number.
fn reserve(call: &mut Call, number: u32) {
    super::allocation::renumber(call, number);
    // What a principal's key is bound to cannot be chosen.
    for argument in &mut call.arguments {
        if let ArgumentValue::Bound(Binding::Resource { instance, .. }) = &mut argument.value {
            *instance = Instance::Shared(number);
        }
    }
    if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
        for (_, binding) in bindings {
            if let Binding::Resource { instance, .. } = binding {
                *instance = Instance::Shared(number);
            }
        }
    }
}

fn quotas(planner: &Planner<'_>, cases: &mut Vec<Case>) {
    let Some(vocabulary) = &planner.subject.contract.vocabulary else { return };
    // How many calls a budget of time allows nobody can say.
    for (name, _) in vocabulary.quotas.iter().filter(|(_, quota)| quota.unit == QuotaUnit::Calls) {
        let script = planner.reserved(Purpose::Quotas).find_map(|(who, principal)| {
            let limit = *principal.quotas.get(name)?;
            let caller = Caller::Principal(who.to_owned());
            let counted =
                |operation: &Operation| operation.quotas.contains(name) && planner.accepts(operation, principal);
            let (index, _) = planner.operations().find(|(_, operation)| counted(operation))?;
            let probe = planner.plain_call(index, &caller)?;
            let status = planner
                .subject
                .contract
                .quota(name)
                .and_then(|quota| Some(planner.subject.contract.error_codes().get(&quota.code)?.status));
            let others = planner
                .operations()
                .filter(|(other, operation)| *other != index && counted(operation) && planner.can_bind(operation, who));
            let also_refused = others
                .filter_map(|(other, _)| {
                    let mut call = planner.plain_call(other, &caller)?;
                    call.expect = Expect::Refused { statuses: vec![status.unwrap_or(429)], codes: Vec::new() };
                    Some(call)
                })
                .collect();
            let recovery = planner.options.virtual_clock;
            Some(QuotaScript { quota: name.clone(), limit, probe, also_refused, recovery })
        });
        if let Some(script) = script {
            cases.push(Case {
                id: format!("limits/quota/{name}"),
                phase: Phase::Limits,
                check: "quota.enforced".into(),
                script: Script::Quota(Box::new(script)),
            });
        }
    }
}
