//! `trueline login-check`.

use std::sync::Arc;

use trueline_conformance::report::ExitCode;
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::Target;

use super::args::LoginCheckArgs;
use super::error::CliError;
use super::{inputs, output};

pub(super) async fn run(args: LoginCheckArgs) -> Result<ExitCode, CliError> {
    let loaded = inputs::load(&args.inputs)?;
    let target: Arc<dyn Target> = Arc::new(loaded.target(&args.address)?);
    if loaded.profile.principals.is_empty() {
        let help = "add `[principals.NAME]` with a scheme and a credential or login";
        return Err(CliError::usage_with("the profile names nobody to log in as", help));
    }
    let subject = Arc::new(Subject::new(Arc::clone(&loaded.contract)));
    let outcomes = run::login_check(subject, Arc::new(loaded.profile), target, RunOptions::default()).await;
    let wide = outcomes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, outcome) in &outcomes {
        let (mark, said) = match outcome {
            Ok(said) => ("ok    ", said),
            Err(why) => ("FAILED", why),
        };
        text.push_str(&format!("{mark}  {name:<wide$}  {said}\n"));
    }
    output::print(&text);
    let all = outcomes.iter().all(|(_, outcome)| outcome.is_ok());
    Ok(if all { ExitCode::Conforms } else { ExitCode::Unreachable })
}
