//! `trueline`: holds a deployment to its contract.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main().into()
}
