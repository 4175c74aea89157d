//! `trueline plan`.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde::Serialize;
use trueline_conformance::case::{Case, Expect, FaultNote, Part, Phase, Script};
use trueline_conformance::plan::{Entry, Plan, Planner};
use trueline_conformance::report::ExitCode;
use trueline_conformance::subject::Subject;

use super::args::PlanArgs;
use super::error::CliError;
use super::{inputs, output};

/// The plan for programs.
#[derive(Debug, Serialize)]
struct Overview {
    format: u32,
    contract: String,
    digest: String,
    seed: u64,
    hash: String,
    cases: u64,
    /// At least so many: logins, resources made on the way, repetitions and shrinking come on top.
    requests: u64,
    phases: Vec<PhaseOverview>,
    left_out: Vec<LeftOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listing: Option<Vec<Listed>>,
}

#[derive(Debug, Serialize)]
struct PhaseOverview {
    phase: Phase,
    cases: u64,
    requests: u64,
    operations: Vec<OperationOverview>,
}

#[derive(Debug, Serialize)]
struct OperationOverview {
    operation: String,
    cases: u64,
    requests: u64,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    operation: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    check: String,
    expect: String,
    requests: u64,
}

pub(super) fn run(args: &PlanArgs) -> Result<ExitCode, CliError> {
    let loaded = inputs::load(&args.inputs)?;
    let options = loaded.plan_options(&args.selection)?;
    let subject = Subject::new(std::sync::Arc::clone(&loaded.contract));
    let plan = loaded.plan(&subject, options)?;
    let planner = Planner { subject: &subject, profile: &loaded.profile, options: &plan.options };
    let overview = overview(&plan, &planner, args.cases);
    if args.format == "json" {
        return output::print_json(&overview);
    }
    output::print(&text(&overview));
    Ok(ExitCode::Conforms)
}

fn overview(plan: &Plan, planner: &Planner<'_>, list: bool) -> Overview {
    let subject = planner.subject;
    let mut phases: IndexMap<Phase, IndexMap<usize, (u64, u64)>> = IndexMap::new();
    for entry in &plan.entries {
        let (operation, cases, requests) = match entry {
            Entry::Case(case) => (case.operation(), 1, requests(&case.script)),
            Entry::Random { operation, count, .. } => (*operation, *count, *count),
        };
        let tally = phases.entry(entry.phase()).or_default().entry(operation).or_default();
        tally.0 += cases;
        tally.1 += requests;
    }
    let id = |operation: usize| subject.operation(operation).id.clone();
    let phases: Vec<PhaseOverview> = phases
        .into_iter()
        .map(|(phase, mut operations)| {
            operations.sort_unstable_keys();
            PhaseOverview {
                phase,
                cases: operations.values().map(|(cases, _)| cases).sum(),
                requests: operations.values().map(|(_, requests)| requests).sum(),
                operations: operations
                    .into_iter()
                    .map(|(operation, (cases, requests))| OperationOverview {
                        operation: id(operation),
                        cases,
                        requests,
                    })
                    .collect(),
            }
        })
        .collect();
    Overview {
        format: 1,
        contract: subject.contract.name.clone(),
        digest: subject.contract.digest.clone(),
        seed: plan.options.seed,
        hash: plan.hash.clone(),
        cases: plan.len(),
        requests: phases.iter().map(|phase| phase.requests).sum(),
        left_out: plan
            .left_out
            .iter()
            .map(|(operation, reason)| LeftOut { operation: id(*operation), reason: reason.clone() })
            .collect(),
        listing: list.then(|| {
            let cases = plan.entries.iter().flat_map(|entry| (0..entry.len()).filter_map(|at| entry.case(planner, at)));
            cases.map(|case| listed(subject, &case)).collect()
        }),
        phases,
    }
}

fn listed(subject: &Subject, case: &Case) -> Listed {
    let expect = match &case.script {
        Script::Single(call) => expectation(subject, call.operation, &call.expect),
        Script::Exhaust(exhaust) => {
            format!("exactly {} requests pass in a window, then 429", exhaust.limit)
        }
        Script::Spend(spend) if spend.to_the_end => {
            "what the headers state goes down to nothing, then 429 until the window ends".to_owned()
        }
        Script::Spend(_) => "what the headers state goes down".to_owned(),
        Script::Quota(quota) => format!("exactly {} requests pass, then the quota's refusal", quota.limit),
        Script::Chain(chain) => {
            let names: Vec<&str> = chain.acts.iter().filter(|act| !act.optional).map(|act| act.name.as_str()).collect();
            format!("a sequence that holds together: {}", names.join(", "))
        }
        Script::Wire(wire) => format!("the service is healthy after {:?}", wire.how),
        Script::Expire(_) => "passes until the credential's lifetime ends, then is refused".to_owned(),
    };
    Listed { id: case.id.clone(), check: case.check.to_string(), expect, requests: requests(&case.script) }
}

fn expectation(subject: &Subject, operation: usize, expect: &Expect) -> String {
    match expect {
        Expect::Valid { bound: true } => {
            "a documented success: the request is valid and all that it names exists".to_owned()
        }
        Expect::Valid { bound: false } => "not refused as invalid".to_owned(),
        Expect::Invalid(fault) => format!("refused as invalid: {}", fault_text(subject, operation, fault)),
        Expect::Refused { statuses, codes } => {
            let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
            let codes = if codes.is_empty() { String::new() } else { format!(" with {}", codes.join(" or ")) };
            format!("{}{codes}", statuses.join(" or "))
        }
        Expect::Survives => "any answer below 500".to_owned(),
        Expect::UnknownPath => "what the contract says of unknown paths".to_owned(),
        Expect::UnknownMethod => "what the contract says of unknown methods".to_owned(),
    }
}

fn fault_text(subject: &Subject, operation: usize, fault: &FaultNote) -> String {
    let part = match &fault.part {
        Part::Body => "body".to_owned(),
        Part::Parameter(index) => match subject.operation(operation).parameters.get(*index) {
            Some(parameter) => format!("{} {}", parameter.place, parameter.name),
            None => format!("parameter {index}"),
        },
    };
    let place = if fault.instance.is_empty() { String::new() } else { format!(" {}", fault.instance) };
    format!("{part}{place} breaks {}", fault.keyword)
}

/// What a case costs at least.
fn requests(script: &Script) -> u64 {
    match script {
        Script::Single(_) => 1,
        // The limit and one more; the end of the window takes one just before it and one after it.
        Script::Exhaust(exhaust) => {
            let others = (exhaust.isolated.len() + exhaust.also_limited.len()) as u64;
            exhaust.limit + 1 + others + if exhaust.recovery { 2 } else { 0 }
        }
        // How much is left nobody knows before it is asked for.
        Script::Spend(_) => trueline_conformance::case::Spend::FEW,
        Script::Quota(quota) => quota.limit + 1 + if quota.recovery { 2 } else { 0 },
        // What is sent only if there is something to send it about is not counted.
        Script::Chain(chain) => chain.acts.iter().filter(|act| !act.optional).map(|act| u64::from(act.times)).sum(),
        Script::Wire(_) => 2,
        // Alive, almost expired, expired.
        Script::Expire(_) => 3,
    }
}

fn text(overview: &Overview) -> String {
    let mut out = String::new();
    let _ = write(&mut out, overview);
    out
}

/// Writing to a string cannot fail.
fn write(out: &mut String, overview: &Overview) -> std::fmt::Result {
    writeln!(out, "plan {}: contract {}, seed {}", overview.hash, overview.contract, overview.seed)?;
    let names = overview.phases.iter().flat_map(|phase| &phase.operations).map(|one| one.operation.chars().count());
    let wide = names.max().unwrap_or(0).max("operation".len());
    for phase in &overview.phases {
        writeln!(out, "\n{:<wide$}  {:>7}  {:>8}", phase.phase.to_string(), "cases", "requests", wide = wide + 2)?;
        for one in &phase.operations {
            writeln!(out, "  {:<wide$}  {:>7}  {:>8}", one.operation, one.cases, one.requests)?;
        }
        writeln!(out, "  {:<wide$}  {:>7}  {:>8}", "", phase.cases, phase.requests)?;
    }
    if !overview.left_out.is_empty() {
        writeln!(out, "\nleft out")?;
        for one in &overview.left_out {
            writeln!(out, "  {:<wide$}  {}", one.operation, one.reason)?;
        }
    }
    for (index, case) in overview.listing.iter().flatten().enumerate() {
        if index == 0 {
            writeln!(out, "\ncases")?;
        }
        writeln!(out, "  {}\n      {}: {}", case.id, case.check, case.expect)?;
    }
    writeln!(
        out,
        "\n{} cases, at least {} requests; logins, resources made on the way, repetitions and shrinking come on top",
        overview.cases, overview.requests
    )
}
