//! `trueline accept`, and the file that it writes.

use std::path::Path;

use trueline_conformance::deviation::{Deviation, DeviationError, Register};
use trueline_conformance::report::{self, ExitCode};

use super::args::AcceptArgs;
use super::error::CliError;
use super::output;
use super::replay::find;

/// Where deviations stand unless somebody says otherwise.
pub(super) const DEFAULT_FILE: &str = "trueline-deviations.toml";

/// What the owner has accepted: the file that was named, or the default one if it is there.
pub(super) fn read(named: Option<&Path>) -> Result<Register, DeviationError> {
    match named {
        Some(path) => Register::read(path),
        None if Path::new(DEFAULT_FILE).exists() => Register::read(Path::new(DEFAULT_FILE)),
        None => Ok(Register::default()),
    }
}

pub(super) fn accept(args: &AcceptArgs) -> Result<ExitCode, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(CliError::usage_with("the reason is empty", "say what a reader wants to know in a year"));
    }
    let today = chrono::Utc::now().date_naive();
    if args.until < today {
        let help = "the day that is named is the last one on which the finding is accepted";
        return Err(CliError::usage_with(format!("{} has passed", args.until), help));
    }
    let recorded = report::read_json(&args.report)?;
    let seed = recorded.run.as_ref().map_or(0, |run| run.seed);
    let mut new: Vec<Deviation> = Vec::new();
    for id in &args.findings {
        let finding = find(&recorded, &args.report, id)?;
        if new.iter().any(|one| one.finding == finding.id) {
            continue;
        }
        new.push(Deviation {
            finding: finding.id.clone(),
            check: finding.check.clone(),
            clause: finding.clause.clone(),
            title: finding.title.clone(),
            reason: reason.to_owned(),
            until: args.until,
            case: finding.evidence.case.id.clone(),
            seed,
        });
    }
    Register::append(&args.deviations, &new)?;
    for one in &new {
        output::print(&format!("{}  {}: {}\n", one.finding, one.check, one.title));
    }
    let file = args.deviations.display();
    let default = args.deviations == Path::new(DEFAULT_FILE);
    let flag = if default { String::new() } else { format!(" --deviations {file}") };
    output::print(&format!("accepted until {} in {file}; `trueline check{flag}` goes by it\n", args.until));
    Ok(ExitCode::Conforms)
}
