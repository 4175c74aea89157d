//! `trueline cleanup`.

use std::sync::Arc;

use trueline_conformance::report::ExitCode;
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::Target;

use super::args::CleanupArgs;
use super::error::CliError;
use super::{inputs, output, stop};

pub(super) async fn run(args: CleanupArgs) -> Result<ExitCode, CliError> {
    let loaded = inputs::load(&args.inputs)?;
    let target: Arc<dyn Target> = Arc::new(loaded.target(&args.address)?);
    let subject = Arc::new(Subject::new(Arc::clone(&loaded.contract)));
    let options = RunOptions { stop: stop::on_signal(), ..RunOptions::default() };
    let done = run::clean_up(subject, Arc::new(loaded.profile), target, options, &args.journal).await?;
    let left: u64 = done.left.values().sum();
    let mut text = format!("{} removed, {left} left\n", done.removed);
    for ((made_by, why), count) in &done.left {
        text.push_str(&format!("  {count} of {made_by}: {why}\n"));
    }
    output::print(&text);
    Ok(if left == 0 { ExitCode::Conforms } else { ExitCode::Findings })
}
