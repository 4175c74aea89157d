//! The workspace's own commands: `cargo xtask <command>`, from any folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::{generate, lint, verify};

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
        /// Only this contract.
        #[arg(value_name = "NAME")]
        only: Option<String>,
    },
    /// Start a contract's reference server with a temporary database and run the harness against it.
    Verify {
        /// The contract.
        #[arg(value_name = "NAME")]
        contract: String,
        /// Further arguments for `trueline check`.
        #[arg(last = true)]
        check: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = root();
    let done = match arguments.command {
        Command::Generate { check, only } => {
            generate::run(&root, &generate::Options { check, only }).map_err(|error| error.to_string())
        }
        Command::Lint { only } => lint::run(&root, only.as_deref()),
        Command::Verify { contract, check } => verify::run(&root, &contract, &check),
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

/// The workspace's folder: the one above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
