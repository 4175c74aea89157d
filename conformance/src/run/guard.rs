//! The credential guard: a known-good call shows now and then that each credential still works; when one dies, the report
//! says what killed it, and what ran blind is run again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trueline_spec::vocabulary::Effect;

use super::Run;
use super::bindings::CaseContext;
use crate::case::{Call, Caller, Case, Expect};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::subject::lock;

/// After so many requests of one principal its credential is looked at again.
const EVERY: u64 = 250;

/// As [`EVERY`], where a call was forbidden that its caller had every right to.
const FORBIDDEN: u64 = 20;

/// So many operations are named where nobody knows which of them killed a credential.
const NAMED: usize = 8;

/// What is known of the principals' credentials.
#[derive(Default)]
pub(crate) struct Guard {
    known: Mutex<HashMap<String, Watched>>,
    /// Operations that have killed a credential.
    killers: Mutex<BTreeSet<usize>>,
    /// Counts credentials that died.
    deaths: AtomicU64,
    /// What has changed something, in the order in which it was answered.
    writes: Mutex<Vec<usize>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default, Clone)]
struct Watched {
    /// Requests since the last look.
    since: u64,
    /// The last request that smelled of an end, by operation.
    suspect: Option<usize>,
    /// How much of what changed something it has outlived.
    outlived: usize,
    /// Nothing brings it back.
    dead: bool,
}

impl Run {
    /// How many credentials have died so far: a case that saw another number before may have run blind.
    pub(super) fn deaths(&self) -> u64 {
        self.guard.deaths.load(Ordering::Relaxed)
    }

    /// Whether an operation has killed a credential before.
    pub(super) fn is_killer(&self, operation: usize) -> bool {
        lock(&self.guard.killers).contains(&operation)
    }

    /// Whether a case calls an operation that has killed a credential, with a credential that others need too.
    pub(super) fn may_kill(&self, case: &Case) -> bool {
        case.calls().iter().any(|call| matches!(call.caller, Caller::Principal(_)) && self.is_killer(call.operation))
    }

    /// Looks at the credentials that a case has used, where one was refused, where the case smells of an end, and now and
    /// then. True: one of them had died and lives again.
    pub(super) async fn watch_over(&self, case: &Case, steps: &[crate::check::Step]) -> bool {
        let mut renewed = false;
        for step in steps {
            let operation = self.subject.operation(step.call.operation);
            let Some(status) = step.exchange.status() else { continue };
            let outlived = {
                let mut writes = lock(&self.guard.writes);
                if operation.effect != Effect::Read && status < 400 && writes.last() != Some(&step.call.operation) {
                    writes.push(step.call.operation);
                }
                writes.len()
            };
            let Caller::Principal(name) = &step.call.caller else { continue };
            let refused = self.renews_on(name).contains(&status) && operation.is_secured();
            // Some services say 403 where the credential is at fault, so that many of them are looked into.
            let forbidden = status == 403 && operation.is_secured() && matches!(step.call.expect, Expect::Valid { .. });
            let smells = status < 400 && crate::plan::smells_of_an_end(operation);
            let due = {
                let mut known = lock(&self.guard.known);
                let watched = known.entry(name.clone()).or_default();
                watched.since += 1;
                if status < 400 && operation.is_secured() && operation.effect == Effect::Read {
                    watched.outlived = outlived;
                }
                if smells {
                    watched.suspect = Some(step.call.operation);
                }
                refused || smells || watched.since >= if forbidden { FORBIDDEN } else { EVERY }
            };
            // A refusal that was asked for says nothing of the credential.
            let asked_for = refused && matches!(step.call.expect, Expect::Refused { .. });
            if due && !asked_for {
                renewed |= self.look_at(name, case).await;
            }
        }
        renewed
    }

    /// Statuses by which the service says that a session has ended.
    fn renews_on(&self, name: &str) -> Vec<u16> {
        let login = self.profile.principals.get(name).and_then(|one| one.login.as_ref());
        login.and_then(|login| login.renew_on.clone()).unwrap_or_else(|| vec![401])
    }

    /// A call that works as long as the credential does.
    fn good_call(&self, name: &str) -> Option<Call> {
        let planner = self.planner();
        let principal = planner.principal(name)?;
        let mut readings = self.subject.contract.operations.iter().enumerate().filter(|(_, one)| {
            one.effect == Effect::Read
                && one.method == http::Method::GET
                && one.is_secured()
                && one.path_parameters().next().is_none()
                && planner.accepts(one, principal)
                && !principal.denied.contains(&one.id)
        });
        readings.find_map(|(index, _)| {
            let call = planner.plain_call(index, &Caller::Principal(name.to_owned()))?;
            super::bindings_of(&call).is_empty().then_some(call)
        })
    }

    /// Makes the known-good call once; says what was asked and answered.
    pub(super) async fn known_good(&self, name: &str) -> Result<String, String> {
        let Some(call) = self.good_call(name) else {
            return Ok("has a credential; the document has no plain reading to try it on".to_owned());
        };
        let id = &self.subject.operation(call.operation).id;
        let exchange = self.send(&call, &mut CaseContext::default()).await?;
        let response = exchange.outcome.as_ref().map_err(ToString::to_string)?;
        match response.status {
            status @ (401 | 403) => Err(format!("{id} answered {status}")),
            status => Ok(format!("{id} answered {status}")),
        }
    }

    /// Makes the known-good call; logs in again where it is refused.
    async fn look_at(&self, name: &str, case: &Case) -> bool {
        let _one = self.guard.looking.lock().await;
        let written = lock(&self.guard.writes).len();
        let (suspect, outlived) = {
            let mut known = lock(&self.guard.known);
            let watched = known.entry(name.to_owned()).or_default();
            watched.since = 0;
            if watched.dead {
                return false;
            }
            (watched.suspect.take(), watched.outlived)
        };
        let Some(mut call) = self.good_call(name) else { return false };
        call.from = self.profile.addresses.first().copied();
        if !self.is_refused(name, &call).await {
            lock(&self.guard.known).entry(name.to_owned()).or_default().outlived = written;
            return false;
        }
        self.guard.deaths.fetch_add(1, Ordering::Relaxed);
        let culprits = suspect.map_or_else(|| self.culprits(outlived), |suspect| vec![suspect]);
        self.forget_session(name).await;
        let lives = !self.is_refused(name, &call).await;
        if let [sure] = culprits.as_slice() {
            lock(&self.guard.killers).insert(*sure);
        }
        let after = if lives { "logged in again" } else { "nothing brings it back" };
        let ids: Vec<&str> =
            culprits.iter().take(NAMED).map(|index| self.subject.operation(*index).id.as_str()).collect();
        let culprit = match ids.as_slice() {
            [] => "nobody knows what".to_owned(),
            [one] => (*one).to_owned(),
            several => format!("one of {}", several.join(", ")),
        };
        let text =
            format!("the credential of `{name}` died: {culprit} ended it (noticed in case {}); {after}", case.id);
        self.say(Event::Note { text }).await;
        if !lives {
            lock(&self.guard.known).entry(name.to_owned()).or_default().dead = true;
        }
        lives
    }

    /// What has changed something since so much of it was outlived, the last one first.
    fn culprits(&self, outlived: usize) -> Vec<usize> {
        let writes = lock(&self.guard.writes);
        let mut culprits: Vec<usize> = Vec::new();
        for operation in writes.iter().skip(outlived).rev() {
            if !culprits.contains(operation) {
                culprits.push(*operation);
            }
        }
        culprits
    }

    /// Whether a case acts as somebody whose credential is dead for good.
    pub(super) fn acts_as_dead(&self, case: &Case) -> Option<String> {
        let known = lock(&self.guard.known);
        case.calls().into_iter().find_map(|call| match &call.caller {
            Caller::Principal(name) | Caller::Minted { by: name, .. } => {
                known.get(name).is_some_and(|watched| watched.dead).then(|| name.clone())
            }
            _ => None,
        })
    }

    async fn is_refused(&self, name: &str, call: &Call) -> bool {
        match Box::pin(self.send(call, &mut CaseContext::default())).await {
            // It has worked before, so that 403 says no less than 401.
            Ok(exchange) => {
                exchange.status().is_some_and(|status| status == 403 || self.renews_on(name).contains(&status))
            }
            // A login that fails is no proof of life.
            Err(_) => true,
        }
    }

    /// Why the run cannot go on: nobody is left to act as.
    pub(super) fn nobody_left(&self) -> Option<String> {
        if self.deaths() == 0 {
            return None;
        }
        let known = lock(&self.guard.known);
        let dead: Vec<&String> = known.iter().filter(|(_, watched)| watched.dead).map(|(name, _)| name).collect();
        let free = self.planner().free_principals().count();
        let dead_free = self.planner().free_principals().filter(|(name, _)| dead.iter().any(|one| one == name)).count();
        (free > 0 && dead_free == free).then(|| crate::report::DEAD.to_owned())
    }

    /// How long an answer asks to wait: `Retry-After` (RFC 9110 section 10.2.3) in seconds or as a date.
    pub(super) fn asked_to_wait(&self, response: &crate::exchange::Response) -> Option<std::time::Duration> {
        let text = response.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(std::time::Duration::from_secs(seconds));
        }
        let until = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
        Some(std::time::Duration::from_millis(u64::try_from(until - self.target.now_ms()).unwrap_or(0)))
    }

    /// How long to wait before the same request is sent again, where the service says that it has had enough. Only outside
    /// the phase that makes it say so, and not without end.
    pub(super) fn backs_off(&self, call: &Call, exchange: &Exchange, attempt: u32) -> Option<std::time::Duration> {
        const LONGEST: std::time::Duration = std::time::Duration::from_secs(30);
        /// After so many refusals in a row nobody waits any more: there is no room at all.
        const STRIKES: u64 = 60;
        let response = exchange.response()?;
        let limited =
            response.status == 429 || (response.status == 503 && response.headers.contains_key("retry-after"));
        if !limited {
            self.throttled.store(0, Ordering::Relaxed);
            return None;
        }
        let wanted = matches!(&call.expect, Expect::Refused { statuses, .. } if statuses.contains(&response.status));
        let strikes = self.throttled.fetch_add(1, Ordering::Relaxed);
        // Where classes are documented, the plan keeps within them, and no clock is moved but at its barriers.
        let planned = self.subject.contract.vocabulary.as_ref().is_some_and(|one| one.rate_limits.is_some());
        if self.target.has_virtual_clock() && planned
            || self.in_limits.load(Ordering::Relaxed)
            || wanted
            || attempt >= 3
            || strikes > STRIKES
        {
            return None;
        }
        let wait = self.asked_to_wait(response).unwrap_or(std::time::Duration::from_secs(1 << attempt));
        let longest = LONGEST.max(std::time::Duration::from_secs(self.plan_options.patience_s));
        (wait <= longest).then_some(wait)
    }
}
