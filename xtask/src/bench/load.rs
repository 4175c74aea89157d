//! A reference server under many clients, writers among readers.

use std::path::Path;

use trueline_spec::Contract;

use super::{example, unlimited};
use crate::deployment::build;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The contract whose reference server is loaded.
    pub contract: String,
    /// What is written, and how it is read back: `CREATE=READ`, by operation id.
    pub writes: Vec<String>,
    /// What is read, by operation id.
    pub reads: Vec<String>,
    /// Clients at once.
    pub clients: usize,
    /// Seconds.
    pub seconds: u64,
}

impl Options {
    pub(super) fn command(&self) -> String {
        let writes = self.writes.iter().map(|write| format!(" --write {write}"));
        let reads = self.reads.iter().map(|read| format!(" --read {read}"));
        format!("load {}{}", self.contract, writes.chain(reads).collect::<String>())
    }
}

/// Measures; the section's text. Fails if an acknowledged write is lost or an answer is a 5xx.
pub(super) fn measure(root: &Path, options: &Options) -> Result<String, String> {
    let contract = Contract::builtin(&options.contract).map_err(|problems| problems.to_string())?;
    let bin = build(root, true)?;
    let (deployment, _) = unlimited(&bin, &contract)?;
    let (profile, clients) = (deployment.profile.display().to_string(), options.clients.to_string());
    let (seconds, process) = (options.seconds.to_string(), deployment.process().to_string());
    let mut arguments = vec![profile.as_str(), "--clients", &clients, "--seconds", &seconds, "--process", &process];
    options.writes.iter().for_each(|write| arguments.extend(["--write", write]));
    options.reads.iter().for_each(|read| arguments.extend(["--read", read]));
    let said = example(root, "trueline-tests", "load", &arguments)?;
    Ok(format!(
        "Release build, SQLite, no rate limits; three requests of ten are writes, all of them read back at the end.\n\n{said}"
    ))
}
