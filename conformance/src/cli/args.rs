//! Arguments, and the words that `--help` says about them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as Arguments, Parser, Subcommand};
use trueline_conformance::case::Phase;
use trueline_conformance::profile::Safety;
use trueline_conformance::report::FailOn;

/// Hold an HTTP service to its OpenAPI contract.
///
/// Trueline plans every request before it sends the first one, judges every answer by the
/// contract, repeats each failure before it reports it, and shows the smallest request that
/// still fails.
#[derive(Debug, Parser)]
#[command(name = "trueline", version, after_help = ABOUT_EXITS, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(CheckArgs),
    Plan(PlanArgs),
    Explain(ExplainArgs),
    Replay(ReplayArgs),
    Cleanup(CleanupArgs),
    LoginCheck(LoginCheckArgs),
    /// Print the JSON Schema of profile files; editors check and complete a profile with it.
    #[command(name = "profile-schema", after_help = "Example:\n  trueline profile-schema > profile.schema.json")]
    ProfileSchema,
}

const ABOUT_EXITS: &str = "\
Examples:
  trueline check --contract ragchats --url http://localhost:8080 --profile staging.toml
  trueline plan --spec openapi.yaml
  trueline explain response.schema
  trueline replay F0123456789

Exit codes:
    0  conforms
    1  findings
    2  usage, profile or contract wrong
    3  deployment unreachable or credential dead
    4  nothing was tested
  130  interrupted";

/// Send the plan to a deployment and report what does not hold.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  Everything, by a profile that names contract, URL and credentials:
    trueline check --profile staging.toml
  A document of your own, without credentials:
    trueline check --spec openapi.yaml --url http://localhost:8080
  In CI, gently, with a report that the build system reads:
    trueline check --profile staging.toml --pace 20 --max-requests 5000 --junit junit.xml
  One case again:
    trueline check --profile staging.toml --case boundary/createAgent/body/name/maxLength/over

Exit codes:
  0 conforms, 1 findings, 2 usage, profile or contract wrong, 3 deployment unreachable or
  credential dead, 4 nothing was tested, 130 interrupted (Ctrl-C; the report is still written)")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) manners: Manners,
    /// Folder for report.json, which `replay` reads
    #[arg(long, value_name = "DIR", default_value = "trueline-report", help_heading = "Report")]
    pub(crate) report_dir: PathBuf,
    /// Also write JUnit XML: a suite for each operation, a case for each clause
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) junit: Option<PathBuf>,
    /// Also write the JSON report here
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) json: Option<PathBuf>,
    /// Write every event as it happens, one JSON object a line
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) events: Option<PathBuf>,
    /// Which findings fail the run
    #[arg(long, value_name = "LEVEL", default_value = "must", value_parser = fail_on(), help_heading = "Report")]
    pub(crate) fail_on: FailOn,
    /// Print findings and verdict only
    #[arg(long, short, help_heading = "Report")]
    pub(crate) quiet: bool,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long, help_heading = "Report")]
    pub(crate) no_color: bool,
}

/// Show what `check` would send, without sending anything; the same hash means the same requests.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  trueline plan --contract ragchats --profile staging.toml
  trueline plan --spec openapi.yaml --phases boundary --operation createAgent --cases
  trueline plan --profile staging.toml --format json")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// List every case with what is expected of its answer
    #[arg(long)]
    pub(crate) cases: bool,
    /// How to print the plan
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub(crate) format: String,
}

/// Say what a check demands, why, and what keeps it from false alarms.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  trueline explain                     every check, family by family
  trueline explain limit               the checks of one family
  trueline explain response.schema     one check")]
pub(crate) struct ExplainArgs {
    /// A check such as response.schema, or a family such as limit; all checks if absent
    #[arg(value_name = "CHECK")]
    pub(crate) check: Option<String>,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Run the case of a finding again and say whether it still fails.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Contract, profile and URL are those of the run that found it, unless a flag says otherwise.

Examples:
  trueline replay F0123456789
  trueline replay F0123456789 --url http://localhost:8080 --report build/trueline/report.json

Exit codes:
  0 it does not happen any more, 1 still broken, 2 usage, report, profile or contract wrong,
  3 deployment unreachable or credential dead, 4 the case could not be judged")]
pub(crate) struct ReplayArgs {
    /// The finding, as the report names it
    #[arg(value_name = "FINDING")]
    pub(crate) finding: String,
    /// The JSON report with the finding
    #[arg(long, value_name = "FILE", default_value = "trueline-report/report.json")]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) address: Address,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Remove what an earlier run has left behind, by its journal.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  trueline cleanup --profile staging.toml
  trueline cleanup --profile staging.toml --journal build/trueline/journal.ndjson

Exit codes:
  0 nothing is left, 1 something could not be removed, 2 usage, journal, profile or contract wrong")]
pub(crate) struct CleanupArgs {
    /// The journal of the run
    #[arg(long, value_name = "FILE", default_value = "trueline-report/journal.ndjson")]
    pub(crate) journal: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) address: Address,
}

/// Log every principal of the profile in, and let each read something.
#[derive(Debug, Arguments)]
#[command(
    name = "login-check",
    after_help = "\
Examples:
  trueline login-check --profile staging.toml

Exit codes:
  0 every principal can act, 2 usage, profile or contract wrong, 3 at least one cannot"
)]
pub(crate) struct LoginCheckArgs {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) address: Address,
}

/// What is held to what.
#[derive(Debug, Clone, Default, Arguments)]
pub(crate) struct Inputs {
    /// How to reach and log in to one deployment (TOML; see profile-schema)
    #[arg(long, value_name = "FILE", help_heading = "Contract and deployment")]
    pub(crate) profile: Option<PathBuf>,
    /// An OpenAPI document, or a folder with one
    #[arg(long, value_name = "PATH", conflicts_with = "contract", help_heading = "Contract and deployment")]
    pub(crate) spec: Option<PathBuf>,
    /// A built-in contract, by name
    #[arg(long, value_name = "NAME", help_heading = "Contract and deployment")]
    pub(crate) contract: Option<String>,
}

/// Where requests go.
#[derive(Debug, Clone, Default, Arguments)]
pub(crate) struct Address {
    /// The base URL that the contract's paths stand below
    #[arg(long, value_name = "URL", help_heading = "Contract and deployment")]
    pub(crate) url: Option<String>,
    /// Milliseconds for one exchange [default: the profile's, or 30000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Manners")]
    pub(crate) timeout_ms: Option<u64>,
}

/// Which cases are sent.
#[derive(Debug, Clone, Arguments)]
pub(crate) struct Selection {
    /// The seed of everything random; the same seed gives the same cases
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "What is sent")]
    pub(crate) seed: u64,
    /// Of examples,boundary,random,stateful,access,hostile,race,limits [default: all]
    #[arg(long, value_name = "PHASES", value_delimiter = ',', help_heading = "What is sent")]
    pub(crate) phases: Vec<Phase>,
    /// Only this operation, by its operationId; may be given several times
    #[arg(long = "operation", value_name = "ID", help_heading = "What is sent")]
    pub(crate) operations: Vec<String>,
    /// Only these: createAgent, tag:Agents, path:/agents/*, method:GET, effect:read; may be given several times
    #[arg(long, value_name = "FILTER", help_heading = "What is sent")]
    pub(crate) include: Vec<String>,
    /// Not these, written likewise; the profile's `exclude` comes on top
    #[arg(long, value_name = "FILTER", help_heading = "What is sent")]
    pub(crate) exclude: Vec<String>,
    /// What may be touched: observe, own or full [default: the profile's, or own]
    #[arg(long, value_name = "LEVEL", help_heading = "What is sent")]
    pub(crate) safety: Option<Safety>,
    /// Random cases for each operation, half with one fault [default: 60]
    #[arg(long, value_name = "N", help_heading = "What is sent")]
    pub(crate) random_cases: Option<u64>,
    /// Only the case with this id
    #[arg(long, value_name = "ID", help_heading = "What is sent")]
    pub(crate) case: Option<String>,
    /// Seconds to wait for a rate window to end [default: the profile's, or 0]
    #[arg(long, value_name = "S", help_heading = "What is sent")]
    pub(crate) patience: Option<u64>,
}

/// How requests are sent.
#[derive(Debug, Clone, Arguments)]
pub(crate) struct Manners {
    #[command(flatten)]
    pub(crate) address: Address,
    /// Requests under way at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = workers, help_heading = "Manners")]
    pub(crate) workers: usize,
    /// Requests in all, logins included [default: the profile's, or no limit]
    #[arg(long, value_name = "N", help_heading = "Manners")]
    pub(crate) max_requests: Option<u64>,
    /// Requests a second at most [default: the profile's, or no limit]
    #[arg(long, value_name = "R", value_parser = pace, help_heading = "Manners")]
    pub(crate) pace: Option<f64>,
    /// Seconds in all [default: the profile's, or no limit]
    #[arg(long, value_name = "S", help_heading = "Manners")]
    pub(crate) max_seconds: Option<u64>,
    /// Resources to make in all [default: the profile's, or no limit]
    #[arg(long, value_name = "N", help_heading = "Manners")]
    pub(crate) max_objects: Option<u64>,
    /// Where to write down what the run makes [default: journal.ndjson in the report's folder]
    #[arg(long, value_name = "FILE", help_heading = "Manners")]
    pub(crate) journal: Option<PathBuf>,
    /// Leave what the run makes where it is; `cleanup` removes it later
    #[arg(long, help_heading = "Manners")]
    pub(crate) keep: bool,
}

fn fail_on() -> impl TypedValueParser<Value = FailOn> {
    PossibleValuesParser::new(["must", "should"])
        .map(|level| if level == "should" { FailOn::Should } else { FailOn::Must })
}

fn workers(text: &str) -> Result<usize, String> {
    // More connections than this from one machine test its socket table, not the service.
    match text.parse() {
        Ok(workers @ 1..=1_000) => Ok(workers),
        _ => Err("expected a number from 1 to 1000".to_owned()),
    }
}

pub(crate) fn pace(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(pace) if pace.is_finite() && pace > 0.0 => Ok(pace),
        _ => Err("expected a number above 0, such as 20 or 0.5".to_owned()),
    }
}
