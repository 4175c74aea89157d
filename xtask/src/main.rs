//! The workspace's own commands: `cargo xtask <command>`, from any folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::bench::{Benchmark, HarnessOptions, LoadOptions, SchemathesisOptions};
use xtask::{bench, corpus, generate, lint, verify};

/// The workspace's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the crates under `generated/` from the contracts under `spec/contracts/`.
    Generate {
        /// Change nothing; print the difference and fail if there is one.
        #[arg(long)]
        check: bool,
        /// Only this contract.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Hold the contracts to the house's rules, and count how well their facts are known.
    Lint {
        /// Only this built-in contract, or the one at this path.
        #[arg(value_name = "NAME|PATH")]
        only: Option<String>,
    },
    /// Read, compile and plan every OpenAPI document under a folder, and make cases for each of its operations.
    Corpus {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Valid cases for each operation, and as many with one fault.
        #[arg(long, default_value_t = 50)]
        cases: u64,
        /// Seconds after which a document counts as hanging.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Write a sample of schemas, values and verdicts (NDJSON), for a check by another implementation.
        #[arg(long, value_name = "FILE")]
        dump: Option<PathBuf>,
    },
    /// Measure what BENCHMARKS.md states, and write it again.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Start a contract's reference server with a temporary database and run the harness against it.
    Verify {
        /// The contract.
        #[arg(value_name = "NAME", required_unless_present = "all")]
        contract: Option<String>,
        /// Every contract, one after the other.
        #[arg(long, conflicts_with = "contract")]
        all: bool,
        /// Further arguments for `trueline check`.
        #[arg(last = true)]
        check: Vec<String>,
    },
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Bench {
    /// The harness against the load generator wrk, and its memory up to a million cases.
    Harness {
        /// The contract whose reference server is loaded.
        #[arg(value_name = "NAME")]
        contract: String,
        /// A reading operation without path parameters.
        #[arg(long, value_name = "ID")]
        operation: String,
        /// Connections of harness and load generator alike.
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// Rounds; medians are reported.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of one round of the load generator.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Cases of the longest run, whose memory is measured.
        #[arg(long, default_value_t = 1_000_000)]
        most_cases: u64,
    },
    /// The generated route against one by hand.
    Route,
    /// The harness beside Schemathesis on the faulty services that `trueline selftest` runs too.
    Schemathesis {
        /// Schemathesis itself (`pip install schemathesis`).
        #[arg(long, value_name = "PATH", default_value = "schemathesis")]
        program: PathBuf,
        /// Every how manieth fault of the catalogue.
        #[arg(long, value_name = "N", default_value_t = 1)]
        every: usize,
    },
    /// A reference server under many clients; acknowledged writes are read back.
    Load {
        /// The contract whose reference server is loaded.
        #[arg(value_name = "NAME")]
        contract: String,
        /// What is written, and how it is read back, by operation id.
        #[arg(long = "write", value_name = "CREATE=READ", required = true)]
        writes: Vec<String>,
        /// What is read, by operation id.
        #[arg(long = "read", value_name = "ID", required = true)]
        reads: Vec<String>,
        /// Clients at once.
        #[arg(long, default_value_t = 200)]
        clients: usize,
        /// Seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = root();
    let done = match arguments.command {
        Command::Generate { check, only } => {
            generate::run(&root, &generate::Options { check, only }).map_err(|error| error.to_string())
        }
        Command::Bench { what } => bench::run(&root, &what.benchmark()),
        Command::Corpus { folder, cases, seconds, dump } => {
            corpus::run(&root, &corpus::Options { folder, cases, seconds, dump })
        }
        Command::Lint { only } => lint::run(&root, only.as_deref()),
        Command::Verify { contract, all: _, check } => verify::run(&root, contract.as_deref(), &check),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    fn benchmark(self) -> Benchmark {
        match self {
            Bench::Harness { contract, operation, connections, rounds, seconds, most_cases } => {
                Benchmark::Harness(HarnessOptions { contract, operation, connections, rounds, seconds, most_cases })
            }
            Bench::Route => Benchmark::Route,
            Bench::Schemathesis { program, every } => Benchmark::Schemathesis(SchemathesisOptions { program, every }),
            Bench::Load { contract, writes, reads, clients, seconds } => {
                Benchmark::Load(LoadOptions { contract, writes, reads, clients, seconds })
            }
        }
    }
}

/// The workspace's folder: the one above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
