//! Following up a failure: once more from a clean state, then as small as it goes, then into a finding.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use trueline_spec::vocabulary::Effect;

use super::Run;
use super::group::{self, Entry};
use super::perform::Attempt;
use crate::case::{ArgumentValue, Call, CallBody, Case, Expect, Part, Script};
use crate::check::Break;
use crate::clause::State;
use crate::data::shrink;
use crate::event::Event;
use crate::finding::Finding;

/// Requests that making one case smaller may cost.
const SHRINK_REQUESTS: u32 = 60;

impl Run {
    /// True if the break is real: it happened again, or its cause is a finding already.
    pub(super) async fn follow_up(&self, case: &Case, attempt: &Attempt, broken: Break) -> bool {
        if self.fails_anyway(case, &broken).await || self.is_refused_on_what_is_there(case, attempt, &broken).await {
            self.ledger.note(broken.clause, State::Inconclusive);
            return false;
        }
        let key = group::key(&self.subject, &broken);
        if let Some((check, cause)) = &broken.same_as
            && *check != broken.check.id
            && self.causes.is_found(&group::key_of(check, cause))
        {
            self.ledger.note(broken.clause, State::Broken);
            return true;
        }
        match self.causes.enter(&key, case.operation()) {
            Entry::Known => {
                self.ledger.note(broken.clause, State::Broken);
                return true;
            }
            Entry::Hopeless => {
                self.ledger.note(broken.clause, State::Inconclusive);
                return false;
            }
            Entry::First => {}
        }
        let again = self.again_with_room(case, attempt).await;
        let confirmed = match again {
            // What cannot be sent again (the run is ending, a login fails) is believed the first time.
            None => Some((Arc::new(broken.clone()), None)),
            Some(second) => match self.same(&key, &second).or_else(|| repeats(case, &broken, &second)) {
                Some(same) => Some((Arc::new(same), Some(second))),
                None => {
                    let what = self.what_differed(&broken, attempt, &second);
                    self.say(Event::Flaky { case: case.id.clone(), what }).await;
                    None
                }
            },
        };
        let Some((confirmed, second)) = confirmed else {
            self.causes.dismiss(&key);
            self.ledger.note(broken.clause, State::Inconclusive);
            return false;
        };
        self.ledger.note(confirmed.clause, State::Broken);
        let (smallest, smallest_attempt, smallest_break, shrunk) = self.smallest(case, &key).await;
        // A finding shows the exchanges that its words speak of.
        let repeated = second.as_ref().filter(|second| self.same(&key, second).is_some());
        let attempt = smallest_attempt.as_ref().or(repeated).unwrap_or(attempt);
        let broken = smallest_break.unwrap_or_else(|| (*confirmed).clone());
        let finding = self.finding(&key, smallest, attempt, &broken, shrunk);
        self.causes.confirm(&key, finding.clone());
        self.say(Event::FindingConfirmed(Box::new(finding))).await;
        true
    }

    /// Whether what broke under an odd request breaks under a plain one, too: then the oddness is not to blame.
    async fn fails_anyway(&self, case: &Case, broken: &Break) -> bool {
        let Script::Single(call) = &case.script else { return false };
        if call.expect != Expect::Survives || self.must_stop().is_some() {
            return false;
        }
        let planner = self.planner();
        let Some(plain) = planner.plain_call(call.operation, &call.caller) else { return false };
        let control = planner.single(case.phase, "", format!("{}/control", broken.check.id), plain);
        let attempt = self.attempt_single(&control).await;
        attempt.is_ok_and(|attempt| attempt.last_status().is_some_and(|status| status >= 500))
    }

    /// A bad credential was answered 404, for a name that nothing has: whether it is refused where there is something, or
    /// nobody at all finds anything there.
    async fn is_refused_on_what_is_there(&self, case: &Case, attempt: &Attempt, broken: &Break) -> bool {
        let Script::Single(call) = &case.script else { return false };
        let orderless = self.subject.contract.check_order().is_empty();
        let asked = orderless && broken.check.id.starts_with("auth.") && attempt.last_status() == Some(404);
        if !asked || self.must_stop().is_some() {
            return false;
        }
        let planner = self.planner();
        let documented = self.subject.operation(call.operation);
        for caller in planner.callers(documented) {
            let Some(mut real) = planner.plain_call(call.operation, &caller) else { continue };
            planner.make_own(&mut real);
            let named = real.arguments.iter().any(|one| matches!(one.value, ArgumentValue::Bound(_)));
            if !named {
                // It cannot do more than its caller was let do all along.
                let control = planner.single(case.phase, "", format!("{}/control", broken.check.id), real);
                let attempt = self.attempt_single(&control).await;
                return attempt.is_ok_and(|attempt| attempt.last_status() == Some(404));
            }
            real.caller = call.caller.clone();
            real.expect = call.expect.clone();
            let control = planner.single(case.phase, "", format!("{}/control", broken.check.id), real);
            let attempt = self.attempt_single(&control).await;
            // Where a contract speaks of its own refusals, 403 is said to somebody whose credential was taken.
            let vague = self.subject.contract.envelope.is_none();
            return attempt.is_ok_and(|attempt| match (attempt.last_status(), &call.expect) {
                (Some(403), _) if vague => true,
                (Some(status), Expect::Refused { statuses, .. }) => statuses.contains(&status),
                _ => false,
            });
        }
        false
    }

    /// The same case from a clean state; where it is sent away now for want of room in a rate window, with room.
    async fn again_with_room(&self, case: &Case, first: &Attempt) -> Option<Attempt> {
        let second = self.again(case).await?;
        if second.last_status() != Some(429) || first.last_status() == Some(429) {
            return Some(second);
        }
        let asked = second.steps.last().and_then(|step| self.asked_to_wait(step.exchange.response()?));
        let wait = asked.unwrap_or(Duration::from_secs(60)) + Duration::from_secs(1);
        let patience = Duration::from_secs(self.plan_options.patience_s);
        if !self.target.has_virtual_clock() && wait > patience {
            return Some(second);
        }
        self.pass(wait, "repeating a failure").await;
        self.again(case).await
    }

    /// The same case from a clean state; none if that cannot be had.
    async fn again(&self, case: &Case) -> Option<Attempt> {
        if self.must_stop().is_some() {
            return None;
        }
        match &case.script {
            // What other cases have done to a shared resource may be the reason: this time it has its own.
            Script::Single(call)
                if matches!(call.expect, Expect::Valid { .. })
                    && self.subject.operation(call.operation).effect != Effect::Read =>
            {
                let mut call = call.clone();
                self.planner().make_own(&mut call);
                let own = Case { script: Script::Single(call), ..case.clone() };
                match self.attempt_single(&own).await {
                    Ok(attempt) => Some(attempt),
                    Err(_) => self.attempt_single(case).await.ok(),
                }
            }
            Script::Single(_) => self.attempt_single(case).await.ok(),
            Script::Exhaust(exhaust) if self.target.has_virtual_clock() => {
                let window = Duration::from_millis(exhaust.window_ms) + Duration::from_secs(2);
                self.pass(window, "repeating a failed sequence").await;
                self.attempt_sequence(case).await.ok()
            }
            Script::Spend(_) => {
                if self.target.has_virtual_clock() {
                    self.pass(Duration::from_secs(3_600), "repeating a failed sequence").await;
                }
                self.attempt_sequence(case).await.ok()
            }
            Script::Expire(_) if self.target.has_virtual_clock() => self.attempt_sequence(case).await.ok(),
            Script::Quota(quota) if self.target.has_virtual_clock() && quota.recovery => {
                // Into the next month, whatever the window.
                self.pass(Duration::from_secs(32 * 24 * 3600), "repeating a failed sequence").await;
                self.attempt_sequence(case).await.ok()
            }
            Script::Chain(_) | Script::Wire(_) => self.attempt_sequence(case).await.ok(),
            // A used-up counter cannot be used up again; the sequence itself was the repetition.
            _ => None,
        }
    }

    fn same(&self, key: &str, attempt: &Attempt) -> Option<Break> {
        attempt.verdicts.broken.iter().find(|broken| group::key(&self.subject, broken) == key).cloned()
    }

    fn what_differed(&self, broken: &Break, first: &Attempt, second: &Attempt) -> String {
        let status = |attempt: &Attempt| {
            attempt.last_status().map_or_else(|| "no answer".to_owned(), |status| status.to_string())
        };
        let (before, after) = (status(first), status(second));
        let what = if before == after { "the same status".to_owned() } else { format!("{before}, then {after}") };
        format!("{}: {} ({what})", broken.check.id, broken.title)
    }

    async fn smallest(&self, case: &Case, key: &str) -> (Case, Option<Attempt>, Option<Break>, u32) {
        let mut best = case.clone();
        let mut best_attempt = None;
        let mut best_break = None;
        let mut steps = 0;
        let mut left = SHRINK_REQUESTS;
        if let Script::Chain(_) = &case.script {
            return self.shortest(case, key).await;
        }
        if !matches!(case.script, Script::Single(_)) {
            return (best, None, None, 0);
        }
        'smaller: while let Script::Single(call) = &best.script {
            for candidate in self.smaller(call) {
                if left == 0 || self.must_stop().is_some() {
                    break 'smaller;
                }
                left -= 1;
                let script = Script::Single(Box::new(candidate));
                let candidate = Case { script, ..best.clone() };
                let Ok(attempt) = self.attempt_single(&candidate).await else { continue };
                if let Some(same) = self.same(key, &attempt) {
                    best = candidate;
                    best_attempt = Some(attempt);
                    best_break = Some(same);
                    steps += 1;
                    continue 'smaller;
                }
            }
            break;
        }
        (best, best_attempt, best_break, steps)
    }

    /// A chain without the steps that its failure does not need, the last ones first.
    async fn shortest(&self, case: &Case, key: &str) -> (Case, Option<Attempt>, Option<Break>, u32) {
        let mut best = case.clone();
        let (mut best_attempt, mut best_break, mut steps) = (None, None, 0);
        let mut left = SHRINK_REQUESTS;
        let mut index = match &case.script {
            Script::Chain(chain) => chain.acts.len(),
            _ => 0,
        };
        while index > 0 {
            index -= 1;
            let Script::Chain(chain) = &best.script else { break };
            let Some(shorter) = chain.without(index) else { continue };
            let cost = shorter.acts.iter().filter(|act| !act.optional).map(|act| act.times).sum::<u32>();
            if left < cost || self.must_stop().is_some() {
                break;
            }
            left -= cost;
            let candidate = Case { script: Script::Chain(Box::new(shorter)), ..best.clone() };
            let Ok(attempt) = self.attempt_sequence(&candidate).await else { continue };
            if let Some(same) = self.same(key, &attempt) {
                best = candidate;
                best_attempt = Some(attempt);
                best_break = Some(same);
                steps += 1;
                if let Script::Chain(chain) = &best.script {
                    index = index.min(chain.acts.len());
                }
            }
        }
        (best, best_attempt, best_break, steps)
    }

    /// Calls that are smaller and on the same side of the contract, the boldest first.
    fn smaller(&self, call: &Call) -> Vec<Call> {
        let operation = self.subject.operation(call.operation);
        let mut candidates = Vec::new();
        let faulty = match &call.expect {
            Expect::Invalid(fault) => Some(&fault.part),
            _ => None,
        };
        for (index, argument) in call.arguments.iter().enumerate() {
            let parameter = &operation.parameters[argument.parameter];
            let part = Part::Parameter(argument.parameter);
            if !parameter.required && faulty != Some(&part) {
                let mut smaller = call.clone();
                smaller.arguments.remove(index);
                candidates.push(smaller);
            }
        }
        // What a refusal depends on is a certain id, a certain credential: with other values it would be another case.
        if !matches!(call.expect, Expect::Valid { .. } | Expect::Invalid(_)) {
            return candidates;
        }
        if let Some(CallBody::Value { media, value, bindings }) = &call.body
            && let Some(generator) = self.subject.body_generator(call.operation, *media)
        {
            let valid = faulty != Some(&Part::Body);
            // The fault has to stay, and not to make room for another one.
            let faulty_value = match &call.expect {
                Expect::Invalid(fault) if !valid && !fault.instance.is_empty() => {
                    value.pointer(&fault.instance).map(|value| (&fault.instance, std::mem::discriminant(value)))
                }
                _ => None,
            };
            let fits = |smaller: &Value| {
                let kept = faulty_value.is_none_or(|(instance, kind)| {
                    smaller.pointer(instance).is_some_and(|value| std::mem::discriminant(value) == kind)
                });
                kept && generator.is_valid(smaller) == valid && self.keeps_secrets(value, smaller)
            };
            for smaller in shrink(value).filter(fits).take(40) {
                let bindings = bindings.iter().filter(|(pointer, _)| smaller.pointer(pointer).is_some()).cloned();
                let body = CallBody::Value { media: *media, bindings: bindings.collect(), value: smaller };
                candidates.push(Call { body: Some(body), ..call.clone() });
            }
        }
        for (index, argument) in call.arguments.iter().enumerate() {
            let ArgumentValue::Value(value) = &argument.value else { continue };
            let parameter = &operation.parameters[argument.parameter];
            let Some(generator) = self.subject.parameter_generator(call.operation, argument.parameter) else {
                continue;
            };
            let valid = faulty != Some(&Part::Parameter(argument.parameter));
            let sendable = shrink(value).filter(|value| {
                crate::data::wire::encode_parameter(parameter, value)
                    .is_ok_and(|wire| crate::data::wire::decodes_to_valid(parameter, &wire, generator) == valid)
            });
            for value in sendable.take(20) {
                let mut smaller = call.clone();
                smaller.arguments[index].value = ArgumentValue::Value(value);
                candidates.push(smaller);
            }
        }
        candidates
    }

    fn finding(&self, key: &str, case: Case, attempt: &Attempt, broken: &Break, shrunk: u32) -> Finding {
        let clause = self.subject.clauses.get(broken.clause);
        let at = broken.at.as_ref().unwrap_or(&clause.at);
        let operation = self.subject.operation(case.operation());
        // First, because it learns what the service made up, and the words of the finding may repeat that.
        let evidence = self.evidence(case, attempt, broken, shrunk);
        Finding {
            id: fingerprint(key),
            check: broken.check.id.to_owned(),
            level: broken.check.level,
            clause: clause.id.clone(),
            title: self.redact(&broken.title),
            place: super::record::place(&self.subject, at),
            expected: self.redact(&broken.expected),
            actual: self.redact(&broken.actual),
            help: None,
            operations: vec![operation.id.clone()],
            cases: 1,
            evidence,
        }
    }

    /// Says every finding once more, with all its places.
    pub(super) async fn say_findings(&self) {
        for finding in self.causes.findings(&self.subject) {
            self.say(Event::FindingConfirmed(Box::new(finding))).await;
        }
    }
}

/// A sequence that failed leaves a state behind in which it may fail earlier, for the same check: that is a repetition too.
fn repeats(case: &Case, broken: &Break, second: &Attempt) -> Option<Break> {
    let sequence = !matches!(case.script, Script::Single(_));
    let again = second.verdicts.broken.iter().any(|other| other.check.id == broken.check.id);
    (sequence && again).then(|| broken.clone())
}

/// Stable across runs: it depends on check and cause alone.
fn fingerprint(key: &str) -> String {
    format!("F{}", &blake3::hash(key.as_bytes()).to_hex()[..10])
}
