//! Where text goes: results to standard output, everything about the command itself to standard error.

use std::io::{self, IsTerminal, Write};

use trueline_conformance::report::ExitCode;
use trueline_conformance::report::terminal::Layout;

use super::error::CliError;

/// Columns where nobody can say how many there are: logs of builds are read in narrow panes.
const UNKNOWN_COLUMNS: usize = 100;

/// Prints a result. A reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    // Nothing is left to do where standard output is closed; the exit code still says what was found.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<ExitCode, CliError> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(ExitCode::Conforms)
}

/// Says something about the command itself.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says why a command failed.
pub(crate) fn complain(error: &CliError) {
    say(&format!("error: {}", error.to_string().trim_end()));
}

/// How standard output wants a report: colours only on a terminal and where nobody minds (<https://no-color.org>), as wide
/// as the terminal within what the eye can follow.
pub(crate) fn layout(no_color: bool, quiet: bool) -> Layout {
    let terminal = io::stdout().is_terminal();
    let minds = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let size = console::Term::stdout().size_checked();
    let columns = match size {
        Some((_, columns)) if terminal => usize::from(columns).clamp(40, 140),
        _ => UNKNOWN_COLUMNS,
    };
    Layout { colour: terminal && !no_color && !minds && !dumb, columns, quiet, files: Vec::new() }
}
