//! The run: drives a plan against a target, phase by phase, with as many workers as allowed, and lets every check judge
//! every exchange. What it finds out it says in events.

mod bindings;
mod chain;
mod fresh;
mod group;
mod guard;
mod journal;
mod perform;
mod reasons;
mod record;
mod redact;
mod sequence;
mod sessions;
mod shrink;
mod wreck;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use self::bindings::Resources;
pub(crate) use self::bindings::{Made, path_below};
pub(crate) use self::chain::bindings_of;
use self::group::Causes;
use self::guard::Guard;
use self::journal::Journal;
pub use self::journal::{CleanUp, JournalError, Resource};
use self::redact::Secrets;
use self::sessions::Sessions;
use crate::case::{Case, Phase, Script};
use crate::check::Verdicts;
use crate::clause::{Ledger, State};
use crate::event::{CaseOutcome, CheckTallies, CheckTally, Event, LedgerEntry, Route, RunHeader, RunSummary};
use crate::plan::allocation::{Allocation, Allocator};
use crate::plan::{Plan, PlanOptions, Planner};
use crate::profile::Profile;
use crate::subject::{Subject, lock};
use crate::target::Target;

/// So many connections in a row that reach nobody are no accident.
const LOST: u64 = 20;

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Requests under way at once.
    pub workers: usize,
    /// Requests in all; the run ends when they are spent.
    pub max_requests: Option<u64>,
    /// Requests a second at most.
    pub pace: Option<f64>,
    /// Wall time in all; the run ends when it is spent.
    pub max_time: Option<Duration>,
    /// Resources that may be made in all.
    pub max_objects: Option<u64>,
    /// Where to write down what the run makes.
    pub journal: Option<std::path::PathBuf>,
    /// Whether to remove at the end what the run has made.
    pub clean_up: bool,
    /// Becomes true when the run is to end early; the report is still finished.
    pub stop: watch::Receiver<bool>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            workers: 8,
            max_requests: None,
            pace: None,
            max_time: None,
            max_objects: None,
            journal: None,
            clean_up: true,
            stop: watch::channel(false).1,
        }
    }
}

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No answer at all.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The base URL.
        url: String,
        /// Why.
        why: String,
    },
    /// A principal has no credential, or the service does not take it.
    #[error("principal `{principal}` cannot act: {why}")]
    CredentialDead {
        /// Its name in the profile.
        principal: String,
        /// Why.
        why: String,
    },
}

/// Everything that the workers of a run share.
pub(crate) struct Run {
    pub(crate) subject: Arc<Subject>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) plan_options: PlanOptions,
    pub(crate) target: Arc<dyn Target>,
    options: RunOptions,
    events: Sender<Event>,
    ledger: Ledger,
    causes: Causes,
    sessions: Sessions,
    secrets: Secrets,
    resources: Resources,
    fresh: fresh::Fresh,
    journal: Journal,
    guard: Guard,
    /// Refusals in a row for too many requests.
    throttled: AtomicU64,
    /// The phase that exhausts limits is running.
    in_limits: std::sync::atomic::AtomicBool,
    /// Different in every run, in letters and digits.
    pub(crate) nonce: String,
    /// Unique texts given out.
    uniques: AtomicU64,
    /// When the callers and addresses that are kept for exhausting limits were used, in milliseconds since 1970.
    uses: Mutex<std::collections::HashMap<String, Vec<i64>>>,
    /// Turns of the addresses for requests that no case plans.
    turns: std::sync::atomic::AtomicUsize,
    requests: AtomicU64,
    /// Exchanges in a row that reached nobody.
    lost: AtomicU64,
    started: Instant,
    next_slot: Mutex<Instant>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<CaseOutcome, u64>,
    skipped: BTreeMap<String, u64>,
    statuses: Vec<BTreeMap<u16, u64>>,
    /// By operation (none: requests that match none) and check: what was said.
    checks: BTreeMap<(Option<usize>, &'static str), CheckTally>,
    /// Statuses and codes that nothing was sent for, and why, by operation.
    reasons: BTreeMap<usize, String>,
}

/// Drives a plan. Everything that happens goes to `events`; the last one is [`Event::RunFinished`].
pub async fn run(
    subject: Arc<Subject>,
    profile: Arc<Profile>,
    plan: Plan,
    target: Arc<dyn Target>,
    options: RunOptions,
    events: Sender<Event>,
) -> Result<(), RunError> {
    let run = Run::new(subject, profile, plan.options.clone(), target, options, events);
    let journal = run.options.journal.as_ref();
    let opened = journal.map(|path| run.journal.open(path, &run.subject.contract.digest, run.target.base_url()));
    run.prove_principals().await?;
    run.start(&plan).await;
    if let Some(Err(error)) = opened {
        // What the run makes it remembers all the same; only a run that is killed cannot be cleaned up after.
        run.say(Event::Note { text: format!("{error}; the run goes on without it") }).await;
    }
    let interrupted = run.drive(&plan).await;
    if run.options.clean_up {
        run.clean_up_and_say().await;
    }
    run.finish(interrupted).await;
    Ok(())
}

/// Removes what an earlier run has left behind, by its journal. The journal learns what is gone.
pub async fn clean_up(
    subject: Arc<Subject>,
    profile: Arc<Profile>,
    target: Arc<dyn Target>,
    options: RunOptions,
    journal: &std::path::Path,
) -> Result<CleanUp, JournalError> {
    let (events, _) = tokio::sync::mpsc::channel(1);
    let run = Run::new(subject, profile, PlanOptions::default(), target, options, events);
    run.journal.read(journal)?;
    Ok(run.clean_up().await)
}

/// Logs every principal in and lets it make one plain reading. Name and outcome of each, in the profile's order.
pub async fn login_check(
    subject: Arc<Subject>,
    profile: Arc<Profile>,
    target: Arc<dyn Target>,
    options: RunOptions,
) -> Vec<(String, Result<String, String>)> {
    let (events, _) = tokio::sync::mpsc::channel(1);
    Run::new(subject, profile, PlanOptions::default(), target, options, events).prove_each().await
}

/// Runs one case again, as a finding recorded it. The events are those of a run of one case.
pub async fn replay(
    subject: Arc<Subject>,
    profile: Arc<Profile>,
    case: Case,
    target: Arc<dyn Target>,
    options: RunOptions,
    events: Sender<Event>,
) -> Result<(), RunError> {
    let plan_options = PlanOptions { virtual_clock: target.has_virtual_clock(), ..PlanOptions::default() };
    let case = redact::restored(case, &profile);
    let plan = Plan {
        hash: format!("replay of {}", case.id),
        entries: vec![crate::plan::Entry::Case(Box::new(case))],
        options: plan_options,
        left_out: Vec::new(),
        shard: None,
    };
    run(subject, profile, plan, target, options, events).await
}

/// What becomes due next.
enum Due {
    Case(Box<Case>),
    Skip {
        id: String,
        operation: usize,
        reason: String,
    },
    /// Everything before has to be done first.
    Barrier(Barrier),
}

enum Barrier {
    Phase(Phase, u64),
    /// From here on one case at a time, or not any more.
    Alone(bool),
    Wait {
        window: Duration,
        class: String,
    },
}

/// Walks a plan in order.
struct Feed<'a> {
    plan: &'a Plan,
    planner: &'a Planner<'a>,
    allocator: Allocator<'a>,
    entry: usize,
    index: u64,
    phase: Option<Phase>,
    alone: bool,
    waiting: Option<Box<Case>>,
    /// Cases of operations that have killed a credential: last of all.
    deferred: Vec<Case>,
    patience: Duration,
    virtual_clock: bool,
}

impl Feed<'_> {
    fn next(&mut self, is_killer: &dyn Fn(&Case) -> bool) -> Option<Due> {
        let mut case = match self.waiting.take() {
            Some(case) => case,
            None => loop {
                let Some(entry) = self.plan.entries.get(self.entry) else {
                    break Box::new(self.deferred.pop()?);
                };
                let phase = entry.phase();
                if self.phase != Some(phase) {
                    self.phase = Some(phase);
                    let count = self.plan.by_phase().get(&phase).copied().unwrap_or(0);
                    return Some(Due::Barrier(Barrier::Phase(phase, count)));
                }
                if self.index >= entry.len() {
                    self.entry += 1;
                    self.index = 0;
                    continue;
                }
                let index = self.index;
                self.index += 1;
                if let Some(case) = entry.case(self.planner, index) {
                    if is_killer(&case) {
                        self.deferred.insert(0, case);
                        continue;
                    }
                    break Box::new(case);
                }
            },
        };
        if case.is_alone() != self.alone {
            self.alone = case.is_alone();
            self.waiting = Some(case);
            return Some(Due::Barrier(Barrier::Alone(self.alone)));
        }
        match self.allocator.allocate(&mut case) {
            Allocation::Never { class } => {
                let reason = format!("rate class `{class}` allows fewer requests than the case has");
                Some(Due::Skip { id: case.id.clone(), operation: case.operation(), reason })
            }
            Allocation::Send => Some(Due::Case(case)),
            Allocation::Wait { window, class } => {
                if self.virtual_clock || window <= self.patience {
                    self.allocator.start_again();
                    self.waiting = Some(case);
                    Some(Due::Barrier(Barrier::Wait { window, class }))
                } else {
                    let patience = window.as_secs();
                    let reason = format!(
                        "rate class `{class}` is spent for every principal of the profile; --patience {patience} waits for \
                         its window to end"
                    );
                    Some(Due::Skip { id: case.id.clone(), operation: case.operation(), reason })
                }
            }
        }
    }
}

impl Run {
    fn new(
        subject: Arc<Subject>,
        profile: Arc<Profile>,
        plan_options: PlanOptions,
        target: Arc<dyn Target>,
        options: RunOptions,
        events: Sender<Event>,
    ) -> Run {
        let tally = Tally { statuses: vec![BTreeMap::new(); subject.contract.operations.len()], ..Tally::default() };
        Run {
            ledger: Ledger::new(&subject.clauses),
            causes: Causes::default(),
            sessions: Sessions::default(),
            secrets: Secrets::of(&profile),
            resources: Resources::default(),
            fresh: fresh::Fresh::default(),
            journal: Journal::default(),
            guard: Guard::default(),
            throttled: AtomicU64::new(0),
            in_limits: std::sync::atomic::AtomicBool::new(false),
            nonce: nonce(),
            uniques: AtomicU64::new(0),
            uses: Mutex::default(),
            turns: std::sync::atomic::AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            started: Instant::now(),
            next_slot: Mutex::new(Instant::now()),
            tally: Mutex::new(tally),
            subject,
            profile,
            plan_options,
            target,
            options,
            events,
        }
    }

    pub(crate) fn planner(&self) -> Planner<'_> {
        Planner { subject: &self.subject, profile: &self.profile, options: &self.plan_options }
    }

    /// The receiver may be gone (a reporter that failed); the run goes on.
    async fn say(&self, mut event: Event) {
        match &mut event {
            Event::CaseSkipped { reason: text, .. } | Event::Flaky { what: text, .. } | Event::Note { text } => {
                *text = self.redact(text);
            }
            _ => {}
        }
        let _ = self.events.send(event).await;
    }

    async fn start(&self, plan: &Plan) {
        let contract = &self.subject.contract;
        self.say(Event::RunStarted(RunHeader {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            contract: contract.name.clone(),
            title: contract.title.clone(),
            digest: contract.digest.clone(),
            target: self.target.base_url().to_owned(),
            seed: plan.options.seed,
            plan: plan.hash.clone(),
            cases: plan.len(),
            operations: contract.operations.iter().map(|operation| operation.id.clone()).collect(),
            routes: contract
                .operations
                .iter()
                .map(|operation| Route {
                    method: operation.method.to_string(),
                    path: operation.path.to_string(),
                    section: operation.tag.clone(),
                })
                .collect(),
            phases: plan.options.phases.clone(),
            shard: plan.shard,
        }))
        .await;
        for (operation, reason) in &plan.left_out {
            lock(&self.tally).reasons.insert(*operation, reason.clone());
        }
    }

    /// Why the run has to end before its plan, if it has to.
    fn must_stop(&self) -> Option<String> {
        if *self.options.stop.borrow() {
            return Some(crate::report::INTERRUPTED.to_owned());
        }
        if self.lost.load(Ordering::Relaxed) >= LOST {
            return Some(format!("the deployment does not answer any more ({LOST} connections in a row failed)"));
        }
        if let Some(budget) = self.options.max_time.filter(|budget| self.started.elapsed() >= *budget) {
            return Some(format!("the budget of {} s is spent", budget.as_secs()));
        }
        if let Some(budget) = self.options.max_objects.filter(|budget| self.journal.made() >= *budget) {
            return Some(format!("the budget of {budget} resources is spent"));
        }
        if let Some(reason) = self.nobody_left() {
            return Some(reason);
        }
        let spent = self.requests.load(Ordering::Relaxed);
        match self.options.max_requests {
            Some(budget) if spent >= budget => Some(format!("the budget of {budget} requests is spent")),
            _ => None,
        }
    }

    async fn drive(&self, plan: &Plan) -> Option<String> {
        let planner = self.planner();
        let feed = Mutex::new(Feed {
            plan,
            planner: &planner,
            allocator: Allocator::new(&planner),
            entry: 0,
            index: 0,
            phase: None,
            alone: false,
            waiting: None,
            deferred: Vec::new(),
            patience: Duration::from_secs(plan.options.patience_s),
            virtual_clock: plan.options.virtual_clock && self.target.has_virtual_clock(),
        });
        let mut sequential = false;
        loop {
            let barrier = Mutex::new(None);
            let workers = if sequential { 1 } else { self.options.workers.max(1) };
            let work = (0..workers).map(|_| self.work(&feed, &barrier));
            futures::future::join_all(work).await;
            if let Some(reason) = self.must_stop() {
                return Some(reason);
            }
            let reached = lock(&barrier).take();
            match reached {
                None => return None,
                Some(Barrier::Phase(phase, cases)) => {
                    self.in_limits.store(phase == Phase::Limits, Ordering::Relaxed);
                    self.say(Event::PhaseStarted { phase, cases }).await;
                }
                // Exhausting a class moves the clock under everybody's feet; a list is everybody's.
                Some(Barrier::Alone(alone)) => sequential = alone,
                Some(Barrier::Wait { window, class }) => {
                    self.pass(window + Duration::from_secs(1), &format!("rate class `{class}` is spent")).await;
                }
            }
        }
    }

    async fn work(&self, feed: &Mutex<Feed<'_>>, barrier: &Mutex<Option<Barrier>>) {
        loop {
            if self.must_stop().is_some() {
                return;
            }
            let due = {
                let mut feed = lock(feed);
                if lock(barrier).is_some() {
                    return;
                }
                match feed.next(&|case: &Case| self.may_kill(case)) {
                    None => return,
                    Some(Due::Barrier(reached)) => {
                        *lock(barrier) = Some(reached);
                        return;
                    }
                    Some(due) => due,
                }
            };
            match due {
                Due::Case(case) => self.perform_case(*case).await,
                Due::Skip { id, operation, reason } => self.skip(id, operation, reason).await,
                Due::Barrier(_) => {}
            }
        }
    }

    async fn skip(&self, id: String, operation: usize, reason: String) {
        *lock(&self.tally).skipped.entry(reason.clone()).or_default() += 1;
        self.say(Event::CaseSkipped { id, operation, reason }).await;
    }

    /// Lets time pass: moves the clock if it can be moved, waits otherwise.
    async fn pass(&self, by: Duration, why: &str) {
        if self.target.advance(by) {
            self.say(Event::ClockAdvanced { seconds: by.as_secs(), why: why.to_owned() }).await;
        } else {
            self.say(Event::Note { text: format!("waiting {} s: {why}", by.as_secs()) }).await;
            self.pass_quietly(by).await;
        }
    }

    /// Until somebody stops the run; for ever where nobody can.
    async fn stopped(&self) {
        let mut stop = self.options.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// As [`Run::pass`], for pauses that are not worth a word.
    async fn pass_quietly(&self, by: Duration) {
        tokio::select! {
            () = tokio::time::sleep(by) => {}
            () = self.stopped() => {}
        }
    }

    async fn attempt(&self, case: &Case) -> Result<perform::Attempt, String> {
        match &case.script {
            Script::Single(_) => self.attempt_single(case).await,
            _ => self.attempt_sequence(case).await,
        }
    }

    async fn perform_case(&self, case: Case) {
        let started = Instant::now();
        let deaths = self.deaths();
        if let Some(name) = self.acts_as_dead(&case) {
            return self.skip(case.id.clone(), case.operation(), format!("the credential of `{name}` is dead")).await;
        }
        let mut attempt = self.attempt(&case).await;
        if let Ok(first) = &attempt
            && case.phase != Phase::Limits
        {
            let renewed = self.watch_over(&case, &first.steps).await;
            let refused = first.steps.iter().any(|step| {
                matches!(step.call.caller, crate::case::Caller::Principal(_))
                    && matches!(step.exchange.status(), Some(401 | 403))
                    && !matches!(step.call.expect, crate::case::Expect::Refused { .. })
            });
            // Whoever was refused while the credential was dead has run blind.
            if refused && (renewed || self.deaths() != deaths) && self.must_stop().is_none() {
                attempt = self.attempt(&case).await;
            }
            if refused && let Some(name) = self.acts_as_dead(&case) {
                let reason = format!("the credential of `{name}` is dead");
                return self.skip(case.id.clone(), case.operation(), reason).await;
            }
        }
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(reason) => return self.skip(case.id.clone(), case.operation(), reason).await,
        };
        let status = attempt.last_status();
        self.note_statuses(&attempt);
        let outcome = self.settle(&case, attempt).await;
        *lock(&self.tally).outcomes.entry(outcome).or_default() += 1;
        self.say(Event::CaseFinished {
            operation: case.operation(),
            phase: case.phase,
            id: case.id,
            status,
            outcome,
            elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
        .await;
    }

    fn note_statuses(&self, attempt: &perform::Attempt) {
        let mut tally = lock(&self.tally);
        for step in attempt.steps.iter().filter(|step| {
            step.act != "wreck"
                && !matches!(step.call.expect, crate::case::Expect::UnknownPath | crate::case::Expect::UnknownMethod)
        }) {
            if let Some(status) = step.exchange.status() {
                *tally.statuses[step.call.operation].entry(status).or_default() += 1;
            }
        }
    }

    /// Notes what held, and follows up what broke: once more from a clean state, then as small as it goes.
    async fn settle(&self, case: &Case, attempt: perform::Attempt) -> CaseOutcome {
        {
            let mut tally = lock(&self.tally);
            for said in &attempt.verdicts.said {
                tally.checks.entry((said.operation, said.check)).or_default().add(&said.tally);
            }
        }
        for clause in &attempt.verdicts.held {
            self.ledger.note(*clause, State::Held);
        }
        for clause in &attempt.verdicts.inconclusive {
            self.ledger.note(*clause, State::Inconclusive);
        }
        if attempt.verdicts.broken.is_empty() {
            let answered = attempt.steps.iter().any(|step| step.exchange.response().is_some());
            return if answered && attempt.verdicts.says_something() {
                CaseOutcome::Passed
            } else {
                CaseOutcome::Inconclusive
            };
        }
        let mut failed = false;
        for broken in attempt.verdicts.broken.clone() {
            failed |= self.follow_up(case, &attempt, broken).await;
        }
        if failed { CaseOutcome::Failed } else { CaseOutcome::Inconclusive }
    }

    async fn finish(&self, interrupted: Option<String>) {
        self.say_findings().await;
        let contract = &self.subject.contract;
        let reasons = reasons::Reasons::new(self, interrupted.as_deref());
        let ledger = self
            .subject
            .clauses
            .iter()
            .map(|(id, clause)| {
                let state = self.ledger.state(id);
                LedgerEntry {
                    clause: clause.id.clone(),
                    statement: clause.statement.clone(),
                    at: contract.document.describe(&clause.at),
                    pointer: clause.at.pointer.to_string(),
                    operation: clause.operation.map(|index| contract.operations[index].id.clone()),
                    state,
                    reason: (state == State::NotExercised).then(|| reasons.of(clause)),
                }
            })
            .collect();
        let problems = lock(&self.subject.problems).clone();
        for text in problems {
            self.say(Event::Note { text }).await;
        }
        let summary = {
            let tally = lock(&self.tally);
            RunSummary {
                requests: self.requests.load(Ordering::Relaxed),
                elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                outcomes: tally.outcomes.clone(),
                skipped: tally.skipped.clone(),
                ledger,
                statuses: contract
                    .operations
                    .iter()
                    .zip(&tally.statuses)
                    .map(|(operation, statuses)| (operation.id.clone(), statuses.clone()))
                    .collect(),
                checks: checks_by_operation(contract, &tally.checks),
                lost: interrupted.is_some() && self.lost.load(Ordering::Relaxed) >= LOST,
                interrupted,
            }
        };
        self.say(Event::RunFinished(Box::new(summary))).await;
    }
}

fn checks_by_operation(
    contract: &trueline_spec::Contract,
    checks: &BTreeMap<(Option<usize>, &'static str), CheckTally>,
) -> BTreeMap<String, CheckTallies> {
    let mut by_operation: BTreeMap<String, CheckTallies> = BTreeMap::new();
    for ((operation, check), tally) in checks {
        let id = operation.map_or_else(String::new, |index| contract.operations[index].id.clone());
        by_operation.entry(id).or_default().insert((*check).to_owned(), *tally);
    }
    by_operation
}

/// Seconds since 1970 in base 36: seven letters and digits.
fn nonce() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut rest = since.as_secs();
    let mut digits = Vec::new();
    while rest > 0 {
        digits.push(char::from_digit((rest % 36) as u32, 36).unwrap_or('0'));
        rest /= 36;
    }
    digits.iter().rev().collect()
}

impl Run {
    /// Where to send from what no case plans: in turn, so that no address is counted for all of it.
    pub(crate) fn next_address(&self) -> Option<std::net::IpAddr> {
        let shared = self.profile.shared_addresses();
        let turn = self.turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        shared.get(turn.checked_rem(shared.len())?).copied()
    }
}

impl Verdicts {
    fn says_something(&self) -> bool {
        !self.held.is_empty() || !self.broken.is_empty()
    }
}
