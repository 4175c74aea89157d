//! Self-proof: services with seeded faults, shipped with the tool. The right service must be met with silence, and each
//! fault must be found by the check that is there for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use trueline_depot::{DOCUMENT, Depot, FAULTS, FAULTS_IN_WORDS, Fault, PROFILE, WORDS};
use trueline_spec::document::Sources;
use trueline_spec::{Contract, Problems};

use crate::finding::Finding;
use crate::profile::Profile;
use crate::suite::{Suite, SuiteError};
use crate::target::InProcessTarget;

/// A service, with one document or another.
pub struct Service {
    /// What to call it.
    pub name: &'static str,
    /// What can go wrong in it.
    pub faults: &'static [Fault],
    contract: Arc<Contract>,
}

/// Why the self-proof could not be run: a mistake of the tool's own.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// A document that is shipped cannot be read.
    #[error("the document of a service that is shipped cannot be used\n\n{}", .0.render())]
    Document(Box<Problems>),
    /// A profile that is shipped cannot be read.
    #[error("the profile of a service that is shipped cannot be used:\n{0}")]
    Profile(String),
    /// A run could not start.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A run ended in a panic.
    #[error("a run failed: {0}")]
    Run(#[from] tokio::task::JoinError),
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Index of the service.
    pub service: usize,
    /// The fault in it; none in the right service.
    pub fault: Option<&'static Fault>,
    /// The seed.
    pub seed: u64,
}

/// What became of one run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run.
    pub job: Job,
    /// The service's name.
    pub service: &'static str,
    /// Checks with findings.
    pub found: BTreeSet<String>,
    /// Each finding in one line.
    pub said: Vec<String>,
    /// What did not repeat.
    pub flaky: Vec<String>,
    /// Why the run ended early, if it did.
    pub interrupted: Option<String>,
    /// Operations that were never answered with success.
    pub without_success: Vec<String>,
    /// Requests sent.
    pub requests: u64,
    /// How long it took, other runs beside it included.
    pub elapsed: Duration,
}

impl Service {
    /// The depot with its document, in which there is no extension.
    pub fn depot() -> Result<Service, SelftestError> {
        let contract = Contract::from_text("depot.yaml", DOCUMENT).map_err(document)?;
        Ok(Service { name: "depot", faults: FAULTS, contract: Arc::new(contract) })
    }

    /// The depot with an overlay that says more of it in the vocabulary.
    pub fn depot_in_words() -> Result<Service, SelftestError> {
        const PLACE: &str = "https://depot.example.com";
        let fetch = |url: &str| match url.strip_prefix(PLACE) {
            Some("/depot.yaml") => Ok(DOCUMENT.as_bytes().to_vec()),
            Some("/words.yaml") => Ok(WORDS.as_bytes().to_vec()),
            _ => Err("nothing else is shipped".to_owned()),
        };
        let (path, overlays) = (format!("{PLACE}/depot.yaml"), [PathBuf::from(format!("{PLACE}/words.yaml"))]);
        let sources = Sources { document: Some(Path::new(&path)), overlays: &overlays, fetch: Some(&fetch) };
        let contract = Contract::gather(sources).map_err(document)?;
        Ok(Service { name: "depot-in-words", faults: FAULTS_IN_WORDS, contract: Arc::new(contract) })
    }

    /// Every service that is shipped.
    pub fn all() -> Result<Vec<Service>, SelftestError> {
        Ok(vec![Service::depot()?, Service::depot_in_words()?])
    }

    /// The contract.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Who the harness acts as, where the service has this fault.
    pub fn profile(&self, fault: Option<&Fault>) -> Result<Profile, SelftestError> {
        let text = format!("{}\n{PROFILE}", fault.map_or("", |fault| fault.profile));
        Profile::parse(&text).map_err(SelftestError::Profile)
    }

    /// The suite for the contract, and a service that has just started.
    pub fn start(&self, fault: Option<&Fault>) -> Result<(Suite, InProcessTarget), SelftestError> {
        let suite = Suite::new(Arc::clone(&self.contract)).profile(self.profile(fault)?);
        Ok((suite, target(&Depot::new(fault.map_or("", |fault| fault.name)))))
    }
}

/// A depot in this process, with its clock.
pub fn target(depot: &Depot) -> InProcessTarget {
    let (clock, hands) = (depot.clone(), depot.clone());
    InProcessTarget::new(depot.router()).with_clock(move || clock.now_ms(), move |by| hands.advance(by))
}

fn document(problems: Problems) -> SelftestError {
    SelftestError::Document(Box::new(problems))
}

/// Every run that there is to do: the right services with each seed, then each fault.
pub fn jobs(services: &[Service], seeds: u64, picks: impl Fn(&Fault) -> bool) -> Vec<Job> {
    let clean = (0..services.len()).flat_map(|service| (0..seeds).map(move |seed| Job { service, fault: None, seed }));
    let faults = services.iter().enumerate().flat_map(|(service, one)| {
        let seeded = one.faults.iter().filter(|fault| picks(fault));
        seeded.map(move |fault| Job { service, fault: Some(fault), seed: 1 })
    });
    clean.chain(faults.collect::<Vec<_>>()).collect()
}

/// Does the runs, as many at once as there are processors, and tells each as it ends, in their order.
pub async fn run(
    services: Vec<Service>,
    jobs: Vec<Job>,
    mut tell: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>, SelftestError> {
    let services = Arc::new(services);
    let runs = futures::stream::iter(jobs).map(|job| {
        let services = Arc::clone(&services);
        // A run judges in one task, so it gets a task of its own.
        async move { tokio::spawn(async move { one(&services[job.service], job).await }).await? }
    });
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runs = std::pin::pin!(runs.buffered(processors));
    let mut outcomes = Vec::new();
    while let Some(outcome) = runs.next().await {
        let outcome = outcome?;
        tell(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn one(service: &Service, job: Job) -> Result<Outcome, SelftestError> {
    let started = Instant::now();
    let (suite, target) = service.start(job.fault)?;
    let report = suite.seed(job.seed).run(target).await?;
    let said = |finding: &Finding| {
        let Finding { check, title, actual, .. } = finding;
        format!("{check} {title}: {actual} ({})", finding.evidence.case.id)
    };
    let success = |statuses: &BTreeMap<u16, u64>| statuses.keys().any(|status| (200..300).contains(status));
    Ok(Outcome {
        job,
        service: service.name,
        found: report.findings.iter().map(|finding| finding.check.clone()).collect(),
        said: report.findings.iter().map(said).collect(),
        flaky: report.flaky.iter().map(|one| one.what.clone()).collect(),
        interrupted: report.interrupted.clone(),
        without_success: report
            .operations
            .iter()
            .filter(|operation| !success(&operation.statuses))
            .map(|operation| operation.id.clone())
            .collect(),
        requests: report.totals.requests,
        elapsed: started.elapsed(),
    })
}

impl Outcome {
    /// Whether it is as it must be: a fault was found by its check, the right service was met with silence.
    pub fn passed(&self) -> bool {
        match self.job.fault {
            Some(fault) => self.found.contains(fault.check),
            None => self.said.is_empty() && self.flaky.is_empty() && self.interrupted.is_none(),
        }
    }

    /// One line.
    pub fn line(&self) -> String {
        let Some(fault) = self.job.fault else {
            let mark = if self.passed() { "silent" } else { "LOUD  " };
            let mut line = format!("{mark} {:<14} clean, seed {}", self.service, self.job.seed);
            let ended = self.interrupted.iter().map(|why| format!("ended early: {why}"));
            let flaky = self.flaky.iter().map(|what| format!("flaky: {what}"));
            for what in self.said.iter().cloned().chain(flaky).chain(ended) {
                line.push_str("\n         ");
                line.push_str(&what);
            }
            return line;
        };
        let mark = if self.passed() { "found " } else { "MISSED" };
        let others: Vec<&str> = self.found.iter().map(String::as_str).filter(|one| *one != fault.check).collect();
        let also = if others.is_empty() { String::new() } else { format!("  also {}", others.join(", ")) };
        format!("{mark} {:<14} {:<34} {}{also}", self.service, fault.name, fault.check)
    }
}

/// The counts: a line a family, and one for the whole.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut families: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let Some(fault) = outcome.job.fault else { continue };
        let family = fault.check.split('.').next().unwrap_or(fault.check);
        let (found, all) = families.entry(family).or_default();
        *found += usize::from(outcome.passed());
        *all += 1;
    }
    let mut out = String::new();
    for (family, (found, all)) in &families {
        out.push_str(&format!("{family:<10} {found:>3} of {all:>3}\n"));
    }
    let (clean, faulty): (Vec<&Outcome>, Vec<&Outcome>) = outcomes.iter().partition(|one| one.job.fault.is_none());
    let passed = |of: &[&Outcome]| of.iter().filter(|one| one.passed()).count();
    let totals = [
        (!faulty.is_empty()).then(|| format!("{} of {} faults found", passed(&faulty), faulty.len())),
        (!clean.is_empty()).then(|| format!("{} of {} clean runs silent", passed(&clean), clean.len())),
    ];
    out.push_str(&totals.into_iter().flatten().collect::<Vec<_>>().join(", "));
    out.push('\n');
    out
}
