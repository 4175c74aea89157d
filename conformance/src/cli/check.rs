//! `trueline check`.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use trueline_conformance::event::Event;
use trueline_conformance::report::{
    self, Collector, EventLog, ExitCode, Progress, Report, WriteError, terminal, write_whole,
};
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::Target;

use super::args::CheckArgs;
use super::error::CliError;
use super::{inputs, output, stop};

/// Events that may wait for the reporters. Enough that a slow terminal does not slow the run, few enough to stay small.
pub(super) const WAITING_EVENTS: usize = 1_024;

pub(super) async fn run(args: CheckArgs) -> Result<ExitCode, CliError> {
    let loaded = inputs::load(&args.inputs)?;
    let options = loaded.plan_options(&args.selection)?;
    let invocation = loaded.invocation(&args.manners.address)?;
    let target: Arc<dyn Target> = Arc::new(loaded.target(&args.manners.address)?);
    let subject = Arc::new(Subject::new(Arc::clone(&loaded.contract)));
    let plan = loaded.plan(&subject, options)?;
    let budget = &loaded.profile.budget;
    let options = RunOptions {
        workers: args.manners.workers,
        max_requests: args.manners.max_requests.or(budget.requests),
        pace: args.manners.pace.or(budget.pace),
        max_time: args.manners.max_seconds.or(budget.seconds).map(std::time::Duration::from_secs),
        max_objects: args.manners.max_objects.or(budget.objects),
        journal: Some(args.manners.journal.clone().unwrap_or_else(|| args.report_dir.join("journal.ndjson"))),
        clean_up: !args.manners.keep,
        stop: stop::on_signal(),
    };
    let progress = if args.quiet { Progress::silent() } else { Progress::on_stderr() };
    let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
    let log = args.events.as_ref().map(|path| EventLog::create(path));
    let log = log.transpose().unwrap_or_else(|error| {
        unwritten(&progress, &error);
        None
    });
    let collector = Collector::new().started_at(chrono::Utc::now()).invoked_by(invocation);
    let profile = Arc::new(loaded.profile);
    // The engine stays on this thread and the reporters get one of their own, so that neither waits for the other's work.
    let reporters = tokio::spawn(consume(receiver, collector, progress, log));
    let ran = run::run(subject, profile, plan, target, options, sender).await;
    let collector = joined(reporters.await)?;
    ran?;

    let report = collector.finish(args.fail_on);
    let mut layout = output::layout(args.no_color, args.quiet);
    layout.files = write_reports(&args, &report);
    output::print(&terminal::render(&report, &layout));
    Ok(report.verdict)
}

/// A panic goes on here instead of passing for a verdict.
pub(super) fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T, CliError> {
    outcome.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => CliError::Runtime(std::io::Error::other(error)),
    })
}

/// Takes events until the run has no more to say.
async fn consume(
    mut events: mpsc::Receiver<Event>,
    mut collector: Collector,
    mut progress: Progress,
    mut log: Option<EventLog>,
) -> Collector {
    while let Some(event) = events.recv().await {
        if let Some(open) = &mut log
            && let Err(error) = open.write(&event)
        {
            unwritten(&progress, &error);
            log = None;
        }
        progress.take(&event, collector.findings());
        collector.take(event);
    }
    progress.finish();
    collector
}

/// Writes every file that was asked for; what cannot be written is said and changes no verdict.
fn write_reports(args: &CheckArgs, report: &Report) -> Vec<PathBuf> {
    let mut written = Vec::new();
    let json = report::to_json(report).map_err(std::io::Error::from);
    for path in [Some(args.report_dir.join("report.json")), args.json.clone()].into_iter().flatten() {
        written.extend(write_one(path, json.as_deref().map_err(|error| error.to_string())));
    }
    if let Some(path) = &args.junit {
        let junit = report::to_junit(report).map_err(|error| error.to_string());
        written.extend(write_one(path.clone(), junit.as_deref().map_err(Clone::clone)));
    }
    written
}

fn write_one(path: PathBuf, content: Result<&[u8], String>) -> Option<PathBuf> {
    let done = match content {
        Ok(bytes) => write_whole(&path, bytes),
        Err(why) => Err(WriteError { path: path.clone(), source: std::io::Error::other(why) }),
    };
    match done {
        Ok(()) => Some(path),
        Err(error) => {
            output::say(&format!("error: {error}"));
            None
        }
    }
}

fn unwritten(progress: &Progress, error: &WriteError) {
    progress.say(&format!("error: {error}; the run goes on without it"));
}
