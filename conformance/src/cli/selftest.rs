//! `trueline selftest`.

use std::time::Instant;

use trueline_conformance::profile::nearest;
use trueline_conformance::report::ExitCode;
use trueline_conformance::selftest::{self, Service};

use super::args::SelftestArgs;
use super::error::CliError;
use super::output;

pub(super) async fn run(args: SelftestArgs) -> Result<ExitCode, CliError> {
    let services = Service::all()?;
    let faults = || services.iter().flat_map(|service| service.faults);
    let family = |check: &'static str| check.split('.').next().unwrap_or(check);
    let names: Vec<&str> = faults().map(|fault| fault.name).collect();
    let families: Vec<&str> = faults().flat_map(|fault| [fault.check, family(fault.check)]).collect();
    for name in &args.faults {
        known("fault", name, &names)?;
    }
    for name in &args.families {
        known("family or check with a seeded fault", name, &families)?;
    }
    let all = args.faults.is_empty() && args.families.is_empty();
    // Whoever asks for a part asks for faults, and for the right service only by saying how often.
    let seeds = args.seeds.unwrap_or(if all { SEEDS } else { 0 });
    let jobs = selftest::jobs(&services, seeds, |fault| {
        let asked = |name: &String| *name == fault.check || *name == family(fault.check);
        all || args.faults.iter().any(|name| name == fault.name) || args.families.iter().any(asked)
    });
    let started = Instant::now();
    let outcomes = selftest::run(services, jobs, |outcome| {
        if !args.quiet || !outcome.passed() {
            output::print(&format!("{}\n", outcome.line()));
        }
    });
    let outcomes = outcomes.await?;
    let slowest = outcomes.iter().map(|outcome| outcome.elapsed).max().unwrap_or_default();
    let requests: u64 = outcomes.iter().map(|outcome| outcome.requests).sum();
    output::print(&format!(
        "{}{}{requests} requests in {:.1} s, the longest run {:.1} s\n",
        if args.quiet { "" } else { "\n" },
        selftest::summary(&outcomes),
        started.elapsed().as_secs_f64(),
        slowest.as_secs_f64(),
    ));
    let passed = outcomes.iter().all(selftest::Outcome::passed);
    Ok(if passed { ExitCode::Conforms } else { ExitCode::Findings })
}

/// Seeds for the right services, where nobody says otherwise.
const SEEDS: u64 = 3;

fn known(what: &str, name: &str, names: &[&str]) -> Result<(), CliError> {
    if names.contains(&name) {
        return Ok(());
    }
    let help = match nearest(name, names) {
        Some(hint) => format!("did you mean `{hint}`?"),
        None => "`trueline selftest` without arguments lists all".to_owned(),
    };
    Err(CliError::usage_with(format!("there is no {what} `{name}`"), help))
}
