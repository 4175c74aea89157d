//! What can go wrong before or beside a run. Whatever names a way out names it here.

use std::path::PathBuf;

use trueline_conformance::deviation::DeviationError;
use trueline_conformance::profile::ProfileError;
use trueline_conformance::report::{ExitCode, MergeError, ReadError, WriteError};
use trueline_conformance::run::{JournalError, RunError};
use trueline_spec::Problems;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The arguments contradict each other or the contract.
    #[error("{what}{}", help_line(help.as_deref()))]
    Usage { what: String, help: Option<String> },
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("the contract {source_name} cannot be used\n\n{}", problems.render())]
    Contract { source_name: String, problems: Box<Problems> },
    #[error(transparent)]
    Report(#[from] ReadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot plan anything{}", help_line(Some(why)))]
    NothingToTest { why: String },
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("{} has no finding `{id}`{}", path.display(), help_line(Some(help)))]
    UnknownFinding { path: PathBuf, id: String, help: String },
    #[error(transparent)]
    Deviations(#[from] DeviationError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[cfg(feature = "selftest")]
    #[error(transparent)]
    Selftest(#[from] trueline_conformance::selftest::SelftestError),
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn help_line(help: Option<&str>) -> String {
    help.map(|help| format!("\nhelp: {help}")).unwrap_or_default()
}

impl CliError {
    /// A mistake in the arguments.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        CliError::Usage { what: what.into(), help: None }
    }

    /// A mistake in the arguments, with a way out.
    pub(crate) fn usage_with(what: impl Into<String>, help: impl Into<String>) -> Self {
        CliError::Usage { what: what.into(), help: Some(help.into()) }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Run(RunError::Unreachable { .. } | RunError::CredentialDead { .. }) => ExitCode::Unreachable,
            #[cfg(feature = "selftest")]
            CliError::Selftest(_) => ExitCode::Usage,
            CliError::NothingToTest { .. } => ExitCode::NothingTested,
            CliError::Usage { .. }
            | CliError::Journal(_)
            | CliError::Profile(_)
            | CliError::Contract { .. }
            | CliError::Report(_)
            | CliError::Runtime(_)
            | CliError::UnknownFinding { .. }
            | CliError::Deviations(_)
            | CliError::Merge(_)
            | CliError::Write(_)
            | CliError::Json(_) => ExitCode::Usage,
        }
    }
}
