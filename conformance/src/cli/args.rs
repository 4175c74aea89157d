//! Arguments, and the words that `--help` says about them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as Arguments, Parser, Subcommand};
use trueline_conformance::case::Phase;
use trueline_conformance::event::Shard;
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
    Check(Box<CheckArgs>),
    Plan(PlanArgs),
    Explain(ExplainArgs),
    Replay(ReplayArgs),
    Init(InitArgs),
    Accept(AcceptArgs),
    Report(ReportArgs),
    Merge(MergeArgs),
    Cleanup(CleanupArgs),
    LoginCheck(LoginCheckArgs),
    /// Print the JSON Schema of profile files; editors check and complete a profile with it.
    #[command(name = "profile-schema", after_help = "Example:\n  trueline profile-schema > profile.schema.json")]
    ProfileSchema,
    ReportSchema(ReportSchemaArgs),
    #[cfg(feature = "selftest")]
    Selftest(SelftestArgs),
}

const ABOUT_EXITS: &str = "\
Examples:
  trueline check --spec openapi.yaml --url http://localhost:8080 --profile staging.toml
  trueline plan --spec openapi.yaml
  trueline init --spec openapi.yaml --url http://localhost:8080
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
  The second of four jobs that share one run:
    trueline check --profile staging.toml --shard 2/4 --report-dir shard-2

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
    /// Folder for report.json, which `replay` reads, and report.html, which people read
    #[arg(long, value_name = "DIR", default_value = "trueline-report", help_heading = "Report")]
    pub(crate) report_dir: PathBuf,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Write every event as it happens, one JSON object a line
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) events: Option<PathBuf>,
    /// Which findings fail the run
    #[arg(long, value_name = "LEVEL", default_value = "must", value_parser = fail_on(), help_heading = "Report")]
    pub(crate) fail_on: FailOn,
    /// Findings that the owner has accepted (see accept) [default: trueline-deviations.toml, if it is there]
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) deviations: Option<PathBuf>,
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
  trueline plan --spec openapi.yaml --profile staging.toml
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

/// Write a first profile for a deployment: what the document tells, and what only you can fill in.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Nothing is sent. The draft names the document, the URL, a principal for each security scheme
with a login where the document has one, and says what is left for you to fill in.

Examples:
  trueline init --spec openapi.yaml --url http://localhost:8080
  trueline init --spec openapi.yaml --url http://localhost:8080 --out staging.toml")]
pub(crate) struct InitArgs {
    /// An OpenAPI document, or a folder with one
    #[arg(long, value_name = "PATH", conflicts_with = "contract", required_unless_present = "contract")]
    pub(crate) spec: Option<PathBuf>,
    /// A built-in contract, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) contract: Option<String>,
    /// The base URL that the contract's paths stand below
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "trueline.toml")]
    pub(crate) out: PathBuf,
    /// Write it although it is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Accept findings until a day: they fail no run before it has passed.
#[derive(Debug, Arguments)]
#[command(after_help = "\
What is accepted stands in a file of its own, to be reviewed like code, and `check` reads it.
A finding fails again after its last day. One that is not there any more although its clause
was exercised fails as stale, so that the file never outlives what it excuses.

Example:
  trueline accept F0123456789 --reason \"clients rely on it; gone with version 3\" --until 2026-03-31")]
pub(crate) struct AcceptArgs {
    /// The findings, as the report names them
    #[arg(value_name = "FINDING", required = true)]
    pub(crate) findings: Vec<String>,
    /// Why it is accepted: what a reader wants to know in a year
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// The last day on which it is, such as 2026-03-31
    #[arg(long, value_name = "DATE")]
    pub(crate) until: chrono::NaiveDate,
    /// The JSON report with the findings
    #[arg(long, value_name = "FILE", default_value = "trueline-report/report.json")]
    pub(crate) report: PathBuf,
    /// The file that the deviation is written to
    #[arg(long, value_name = "FILE", default_value = super::deviations::DEFAULT_FILE)]
    pub(crate) deviations: PathBuf,
}

/// Make reports of a run again, from its events or its JSON report; nothing is sent.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  trueline report --events events.ndjson --html report.html --sarif trueline.sarif
  trueline report --report trueline-report/report.json --junit junit.xml

Exit codes:
  0 the reports are written, 2 there is nothing to make them of or they cannot be written")]
pub(crate) struct ReportArgs {
    /// The events of a run, one JSON object a line (`check --events`)
    #[arg(long, value_name = "FILE", conflicts_with = "report")]
    pub(crate) events: Option<PathBuf>,
    /// The JSON report of a run [default: trueline-report/report.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Do not print the report
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Put the reports of all shards of a plan together.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Example:
  trueline merge shard-1/report.json shard-2/report.json --junit junit.xml

Exit codes: those of `check`, as if one run had sent the whole plan")]
pub(crate) struct MergeArgs {
    /// The JSON reports of `check --shard`, all of them
    #[arg(value_name = "REPORT", required = true)]
    pub(crate) reports: Vec<PathBuf>,
    /// Folder for report.json, which `replay` reads, and report.html, which people read
    #[arg(long, value_name = "DIR", default_value = "trueline-report")]
    pub(crate) report_dir: PathBuf,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Print findings and verdict only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub(crate) no_color: bool,
}

/// Print the JSON Schema of report.json, for those who read it with a program.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  trueline report-schema > report.schema.json
  trueline report-schema --events > event.schema.json")]
pub(crate) struct ReportSchemaArgs {
    /// Of one line of the log of events instead
    #[arg(long)]
    pub(crate) events: bool,
}

/// Formats beside the one on the terminal.
#[derive(Debug, Clone, Default, Arguments)]
pub(crate) struct Outputs {
    /// Also write one HTML page with everything in it, to open in a browser
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) html: Option<PathBuf>,
    /// Also write JUnit XML: a suite for each operation, a case for each clause
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) junit: Option<PathBuf>,
    /// Also write SARIF 2.1.0: findings with their places in the document, for editors and code scanning
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) sarif: Option<PathBuf>,
    /// Also write HAR 1.2: the exchanges behind the findings
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) har: Option<PathBuf>,
    /// Also write the JSON report here
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) json: Option<PathBuf>,
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

/// Prove the tool on itself: services with seeded faults, each found by its check, and silence where there is none.
#[cfg(feature = "selftest")]
#[derive(Debug, Arguments)]
#[command(after_help = "\
The services run inside of this process; nothing is sent anywhere.

Examples:
  trueline selftest                          everything
  trueline selftest --family limit           the faults of one family
  trueline selftest --fault patch-wipes      one fault
  trueline selftest --seeds 50 --quiet       everything, the right services fifty times

Exit codes:
  0 every fault was found by its check and the right services were met with silence, 1 not so,
  2 wrong usage")]
pub(crate) struct SelftestArgs {
    /// How many seeds the right services are run with [default: 3, or 0 where only a part is asked for]
    #[arg(long, value_name = "N")]
    pub(crate) seeds: Option<u64>,
    /// Only faults of this family or check
    #[arg(long = "family", value_name = "FAMILY")]
    pub(crate) families: Vec<String>,
    /// Only this fault
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<String>,
    /// Print what went wrong and the counts only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What is held to what.
#[derive(Debug, Clone, Default, Arguments)]
pub(crate) struct Inputs {
    /// How to reach and log in to one deployment (TOML; see profile-schema)
    #[arg(long, value_name = "FILE", help_heading = "Contract and deployment")]
    pub(crate) profile: Option<PathBuf>,
    /// An OpenAPI or Swagger document: a file, a folder with one, or a URL
    #[arg(long, value_name = "PATH", conflicts_with = "contract", help_heading = "Contract and deployment")]
    pub(crate) spec: Option<PathBuf>,
    /// An OpenAPI Overlay (file or URL) to change the document with; several are applied in their order
    #[arg(
        long = "overlay",
        value_name = "PATH",
        conflicts_with = "contract",
        help_heading = "Contract and deployment"
    )]
    pub(crate) overlays: Vec<PathBuf>,
    /// Users to act as, in an authentication file of Web Fuzzing Commons
    #[arg(long, value_name = "FILE", help_heading = "Contract and deployment")]
    pub(crate) auth: Option<PathBuf>,
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
    /// Only one of several equal parts of the plan, such as 1/4; `merge` puts their reports together
    #[arg(long, value_name = "I/N", help_heading = "What is sent")]
    pub(crate) shard: Option<Shard>,
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
