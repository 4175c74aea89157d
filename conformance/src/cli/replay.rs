//! `trueline replay`.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use trueline_conformance::finding::Finding;
use trueline_conformance::profile::nearest;
use trueline_conformance::report::{self, Collector, ContractSource, ExitCode, FailOn, Report, terminal};
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::Target;

use super::args::{Address, Inputs, ReplayArgs};
use super::check::{WAITING_EVENTS, joined};
use super::error::CliError;
use super::inputs::Loaded;
use super::{inputs, output, stop};

pub(super) async fn run(args: ReplayArgs) -> Result<ExitCode, CliError> {
    let recorded = report::read_json(&args.report)?;
    let finding = find(&recorded, &args.report, &args.finding)?.clone();
    let loaded = inputs::load(&inputs_of(&recorded, &args.inputs))?;
    same_contract(&recorded, &loaded)?;
    let target: Arc<dyn Target> = Arc::new(loaded.target(&address_of(&recorded, &args.address))?);
    let subject = Arc::new(Subject::new(Arc::clone(&loaded.contract)));
    let options = RunOptions { workers: 1, stop: stop::on_signal(), ..RunOptions::default() };
    let (sender, mut events) = mpsc::channel(WAITING_EVENTS);
    let case = finding.evidence.case.clone();
    let reporters = tokio::spawn(async move {
        let mut collector = Collector::new();
        while let Some(event) = events.recv().await {
            collector.take(event);
        }
        collector
    });
    let ran = run::replay(subject, Arc::new(loaded.profile), case, target, options, sender).await;
    let collector = joined(reporters.await)?;
    ran?;
    // Whatever its level, the question is whether it still happens.
    let again = collector.finish(FailOn::Should);
    let layout = output::layout(args.no_color, false);
    let (text, code) = answer(&finding, &again, &layout);
    output::print(&text);
    Ok(code)
}

/// A finding of a report, by its id.
pub(super) fn find<'a>(recorded: &'a Report, path: &Path, id: &str) -> Result<&'a Finding, CliError> {
    let found = recorded.findings.iter().find(|finding| finding.id.eq_ignore_ascii_case(id));
    found.ok_or_else(|| {
        let ids: Vec<&str> = recorded.findings.iter().map(|finding| finding.id.as_str()).collect();
        let help = match nearest(id, &ids) {
            Some(hint) => format!("did you mean `{hint}`?"),
            None if ids.is_empty() => "the report has no finding at all; --report names another one".to_owned(),
            None => format!("its findings are {}", ids.join(", ")),
        };
        CliError::UnknownFinding { path: path.to_owned(), id: id.to_owned(), help }
    })
}

/// Flags first, then what the report recorded.
fn inputs_of(recorded: &Report, flags: &Inputs) -> Inputs {
    let mut inputs = flags.clone();
    let Some(invocation) = &recorded.invocation else { return inputs };
    if inputs.profile.is_none() {
        inputs.profile.clone_from(&invocation.profile);
    }
    if inputs.auth.is_none() {
        inputs.auth.clone_from(&invocation.auth);
    }
    if inputs.spec.is_none() && inputs.contract.is_none() {
        match &invocation.contract {
            ContractSource::BuiltIn(name) => inputs.contract = Some(name.clone()),
            ContractSource::Path(path) => inputs.spec = Some(path.clone()),
        }
        if inputs.overlays.is_empty() {
            inputs.overlays.clone_from(&invocation.overlays);
        }
    }
    inputs
}

fn address_of(recorded: &Report, flags: &Address) -> Address {
    let mut address = flags.clone();
    if let Some(invocation) = &recorded.invocation {
        address.url = address.url.or_else(|| Some(invocation.base_url.clone()));
        address.timeout_ms = address.timeout_ms.or(Some(invocation.timeout_ms));
    }
    address
}

/// A recorded case names operations by their number, so it means something only under the contract that it was made from.
fn same_contract(recorded: &Report, loaded: &Loaded) -> Result<(), CliError> {
    let Some(header) = &recorded.run else { return Ok(()) };
    if header.digest == loaded.contract.digest {
        return Ok(());
    }
    let operations: Vec<&String> = loaded.contract.operations.iter().map(|operation| &operation.id).collect();
    if !operations.into_iter().eq(&header.operations) {
        return Err(CliError::usage_with(
            "the contract has other operations than the one that the report was made with",
            "run `trueline check` again, or name the old contract with --spec",
        ));
    }
    output::say("warning: the contract has changed since the report was made; the case may mean something else now");
    Ok(())
}

fn answer(finding: &Finding, again: &Report, layout: &terminal::Layout) -> (String, ExitCode) {
    let id = &finding.id;
    let same = |one: &&Finding| one.id == *id || (one.check == finding.check && one.clause == finding.clause);
    if let Some(still) = again.findings.iter().find(same) {
        let text = terminal::finding(again, still, layout);
        return (format!("{text}\n{id} is still broken (exit 1)\n"), ExitCode::Findings);
    }
    if let Some(other) = again.findings.first() {
        let text = terminal::finding(again, other, layout);
        let verdict = format!("{id} does not happen any more, but its case fails for another cause (exit 1)");
        return (format!("{text}\n{verdict}\n"), ExitCode::Findings);
    }
    if let Some(flaky) = again.flaky.first() {
        return (format!("{}\n\n{id} happens, but not every time (exit 1)\n", flaky.what), ExitCode::Findings);
    }
    if again.verdict == ExitCode::Interrupted {
        return (format!("{id}: interrupted before the case was judged (exit 130)\n"), ExitCode::Interrupted);
    }
    if again.judged() == 0 {
        let why = again.skipped.keys().next().cloned().or_else(|| again.notes.first().cloned());
        let why = why.unwrap_or_else(|| "no answer says yes or no".to_owned());
        return (format!("{id}: the case could not be judged: {why} (exit 4)\n"), ExitCode::NothingTested);
    }
    let expected = &finding.expected;
    let text = format!("{} {}\n  expected: {expected}\n", finding.check, finding.title);
    (format!("{text}\n{id} does not happen any more (exit 0)\n"), ExitCode::Conforms)
}
