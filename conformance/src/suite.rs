//! The whole suite in one call, for tests written in Rust and for tools that embed the harness.

use std::sync::Arc;

use tokio::sync::mpsc;
use trueline_spec::Contract;

use crate::deviation::Register;
use crate::event::Event;
use crate::plan::{Plan, PlanOptions};
use crate::profile::{Profile, ProfileError};
use crate::report::{Collector, FailOn, Report};
use crate::run::{RunError, RunOptions, run};
use crate::subject::Subject;
use crate::target::Target;

/// A contract, a profile and options, ready to be run against a target: in a test of yours, for instance, in which the
/// service is any tower service in the same process.
///
/// ```
/// # const DOCUMENT: &str = "openapi: 3.1.0
/// # info: {title: Ping, version: '1'}
/// # paths:
/// #   /ping:
/// #     get:
/// #       operationId: ping
/// #       responses: {'200': {description: Pong., content: {application/json: {schema: {type: string}}}}}
/// # ";
/// use trueline_conformance::{suite::Suite, target::InProcessTarget};
/// use trueline_spec::Contract;
///
/// fn the_service_keeps_its_contract() -> Result<(), Box<dyn std::error::Error>> {
///     let router = axum::Router::new().route("/ping", axum::routing::get(async || axum::Json("pong")));
///     let contract = Contract::from_text("openapi.yaml", DOCUMENT)?; // or Contract::load("openapi.yaml".as_ref())?
///     let report = Suite::new(contract).run_blocking(InProcessTarget::new(router))?;
///     assert!(report.conforms(), "{report}");
///     Ok(())
/// }
/// # the_service_keeps_its_contract().unwrap();
/// ```
#[derive(Clone)]
pub struct Suite {
    subject: Arc<Subject>,
    profile: Arc<Profile>,
    plan: PlanOptions,
    run: RunOptions,
    accepted: Register,
}

/// Why a suite could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The profile does not fit the contract.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The run could not start.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No runtime could be started.
    #[error("cannot start a runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Suite {
    /// All phases, seed 0, nobody to act as.
    pub fn new(contract: impl Into<Arc<Contract>>) -> Self {
        Suite {
            subject: Arc::new(Subject::new(contract.into())),
            profile: Arc::default(),
            plan: PlanOptions::default(),
            run: RunOptions::default(),
            accepted: Register::default(),
        }
    }

    /// Who the harness may act as.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Arc::new(profile);
        self
    }

    /// What to plan.
    #[must_use]
    pub fn plan(mut self, plan: PlanOptions) -> Self {
        self.plan = plan;
        self
    }

    /// The seed of everything random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// How to run.
    #[must_use]
    pub fn options(mut self, options: RunOptions) -> Self {
        self.run = options;
        self
    }

    /// Findings that the owner has accepted ([`Register::read`]).
    #[must_use]
    pub fn accepting(mut self, accepted: Register) -> Self {
        self.accepted = accepted;
        self
    }

    /// The contract made ready.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// Runs against a target and reports; `watch` sees every event on its way.
    pub async fn run_watched(
        &self,
        target: impl Target + 'static,
        mut watch: impl FnMut(&Event),
    ) -> Result<Report, SuiteError> {
        self.profile.check(&self.subject.contract)?;
        let mut options = self.plan.clone();
        options.virtual_clock |= target.has_virtual_clock();
        options.wire |= target.has_wire();
        let plan = Plan::new(&self.subject, &self.profile, options);
        let (sender, mut events) = mpsc::channel(1024);
        let run = run(self.subject.clone(), self.profile.clone(), plan, Arc::new(target), self.run.clone(), sender);
        let collect = async {
            let mut collector = Collector::new().started_at(chrono::Utc::now()).accepting(self.accepted.clone());
            while let Some(event) = events.recv().await {
                watch(&event);
                collector.take(event);
            }
            collector.finish(FailOn::Must)
        };
        let (outcome, report) = futures::join!(run, collect);
        outcome?;
        Ok(report)
    }

    /// Runs against a target and reports.
    pub async fn run(&self, target: impl Target + 'static) -> Result<Report, SuiteError> {
        self.run_watched(target, |_| {}).await
    }

    /// As [`Suite::run`], where nothing is asynchronous: a plain `#[test]`. It must not be called within a runtime.
    pub fn run_blocking(&self, target: impl Target + 'static) -> Result<Report, SuiteError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.run(target))
    }
}
