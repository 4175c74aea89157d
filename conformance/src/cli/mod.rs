//! The command line. What programs parse here (arguments, exit codes, JSON) is public API; text for people is not.

mod args;
mod check;
mod cleanup;
mod deviations;
mod error;
mod explain;
mod init;
mod inputs;
mod login_check;
mod output;
mod plan;
mod replay;
mod reports;
#[cfg(feature = "selftest")]
mod selftest;
mod stop;

use clap::Parser;
use trueline_conformance::report::ExitCode;

use self::args::{Args, Command};
use self::error::CliError;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no mistakes and go to standard output.
            let code = if error.use_stderr() { ExitCode::Usage } else { ExitCode::Conforms };
            // A closed pipe has nobody left to tell.
            let _ = error.print();
            return code;
        }
    };
    let done = match args.command {
        Command::Check(args) => block_on(check::run(*args)),
        Command::Plan(args) => plan::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Replay(args) => block_on(replay::run(args)),
        Command::Init(args) => init::run(&args),
        Command::Accept(args) => deviations::accept(&args),
        Command::Report(args) => reports::again(&args),
        Command::Merge(args) => reports::merge(&args),
        Command::ReportSchema(args) if args.events => output::print_json(&trueline_conformance::event::json_schema()),
        Command::ReportSchema(_) => output::print_json(&trueline_conformance::report::json_schema()),
        Command::Cleanup(args) => block_on(cleanup::run(args)),
        Command::LoginCheck(args) => block_on(login_check::run(args)),
        #[cfg(feature = "selftest")]
        Command::Selftest(args) => block_on(selftest::run(args)),
        Command::ProfileSchema => output::print_json(&trueline_conformance::profile::json_schema()),
    };
    done.unwrap_or_else(|error| {
        output::complain(&error);
        error.exit_code()
    })
}

fn block_on(work: impl Future<Output = Result<ExitCode, CliError>>) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(work)
}
