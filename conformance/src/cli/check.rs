//! `trueline check`.

use std::sync::Arc;

use tokio::sync::mpsc;
use trueline_conformance::event::{Asked, Event};
use trueline_conformance::report::{Collector, EventLog, ExitCode, Progress, WriteError, terminal};
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::Target;

use super::args::CheckArgs;
use super::error::CliError;
use super::inputs::Loaded;
use super::{deviations, inputs, output, reports, stop};

/// Events that may wait for the reporters. Enough that a slow terminal does not slow the run, few enough to stay small.
pub(super) const WAITING_EVENTS: usize = 1_024;

pub(super) async fn run(args: CheckArgs) -> Result<ExitCode, CliError> {
    let loaded = inputs::load(&args.inputs)?;
    let accepted = deviations::read(args.deviations.as_deref())?;
    let invocation = loaded.invocation(&args.manners.address, &args.selection)?;
    let progress = if args.quiet { Progress::silent() } else { Progress::on_stderr() };
    let log = args.events.as_ref().map(|path| EventLog::create(path));
    let log = log.transpose().unwrap_or_else(|error| {
        unwritten(&progress, &error);
        None
    });
    let mut reporters = Reporters { collector: Collector::new(), progress, log };
    let asked = Asked { at: chrono::Utc::now(), invocation, fail_on: args.fail_on, accepted };
    reporters.take(Event::RunInvoked(Box::new(asked)));
    let (mut reporters, ran) = drive(&args, loaded, reporters).await?;
    let failure = match ran {
        Ok(()) => None,
        // A mistake in the arguments is no run; what an earlier one left behind stays true.
        Err(error) if error.exit_code() == ExitCode::Usage => return Err(error),
        // But nobody must take the report of an earlier run for the one of a run that did not start.
        Err(error) => {
            reporters.take(Event::RunFailed { exit: error.exit_code(), why: error.to_string() });
            Some(error)
        }
    };
    let report = reporters.collector.finish_as_asked();
    let (files, failed) = reports::write(&report, Some(&args.report_dir), &args.outputs);
    for error in failed {
        // It changes no verdict.
        output::say(&format!("error: {error}"));
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let layout = output::layout(args.no_color, args.quiet);
    output::print(&terminal::render(&report, &terminal::Layout { files, ..layout }));
    Ok(report.verdict)
}

/// Runs the plan; what the reporters know is there whether it could start or not.
async fn drive(
    args: &CheckArgs,
    loaded: Loaded,
    reporters: Reporters,
) -> Result<(Reporters, Result<(), CliError>), CliError> {
    let prepared = prepare(args, &loaded);
    let (subject, plan, target) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Ok((reporters, Err(error))),
    };
    let budget = &loaded.profile.budget;
    let options = RunOptions {
        workers: args.manners.workers,
        max_requests: args.manners.max_requests.or(budget.requests),
        pace: args.manners.pace.or(budget.pace),
        stop: stop::on_signal(),
    };
    let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
    // The engine stays on this thread and the reporters get one of their own, so that neither waits for the other's work.
    let reporters = tokio::spawn(consume(receiver, reporters));
    let ran = run::run(subject, Arc::new(loaded.profile), plan, target, options, sender).await;
    Ok((joined(reporters.await)?, ran.map_err(CliError::from)))
}

type Prepared = (Arc<Subject>, trueline_conformance::plan::Plan, Arc<dyn Target>);

fn prepare(args: &CheckArgs, loaded: &Loaded) -> Result<Prepared, CliError> {
    let options = loaded.plan_options(&args.selection)?;
    let target: Arc<dyn Target> = Arc::new(loaded.target(&args.manners.address)?);
    let subject = Arc::new(Subject::new(Arc::clone(&loaded.contract)));
    let plan = loaded.plan(&subject, options)?;
    Ok((subject, plan, target))
}

/// A panic goes on here instead of passing for a verdict.
pub(super) fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T, CliError> {
    outcome.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => CliError::Runtime(std::io::Error::other(error)),
    })
}

/// Whoever takes the events of a run.
struct Reporters {
    collector: Collector,
    progress: Progress,
    log: Option<EventLog>,
}

impl Reporters {
    fn take(&mut self, event: Event) {
        if let Some(open) = &mut self.log
            && let Err(error) = open.write(&event)
        {
            unwritten(&self.progress, &error);
            self.log = None;
        }
        self.progress.take(&event, self.collector.findings());
        self.collector.take(event);
    }
}

/// Takes events until the run has no more to say.
async fn consume(mut events: mpsc::Receiver<Event>, mut reporters: Reporters) -> Reporters {
    while let Some(event) = events.recv().await {
        reporters.take(event);
    }
    reporters.progress.finish();
    reporters
}

fn unwritten(progress: &Progress, error: &WriteError) {
    progress.say(&format!("error: {error}; the run goes on without it"));
}
