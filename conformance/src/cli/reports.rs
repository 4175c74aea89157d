//! Reports on disk: written by `check`, made again by `report`, put together by `merge`.

use std::path::{Path, PathBuf};

use trueline_conformance::report::{self, ExitCode, Report, WriteError, terminal, write_whole};

use super::args::{MergeArgs, Outputs, ReportArgs};
use super::error::CliError;
use super::output;

/// Where `check` leaves its report, if nobody says otherwise.
const DEFAULT_REPORT: &str = "trueline-report/report.json";

/// One report in one format.
struct Format {
    path: PathBuf,
    make: fn(&Report) -> Result<Vec<u8>, String>,
}

/// Writes every format that was asked for, and the two that stand in the folder. What is written, and what is not.
pub(super) fn write(report: &Report, folder: Option<&Path>, outputs: &Outputs) -> (Vec<PathBuf>, Vec<WriteError>) {
    let json = |report: &Report| report::to_json(report).map_err(|error| error.to_string());
    let html = |report: &Report| Ok(report::to_html(report).into_bytes());
    let mut formats: Vec<Format> = Vec::new();
    let mut add = |path: Option<PathBuf>, make| formats.extend(path.map(|path| Format { path, make }));
    add(folder.map(|folder| folder.join("report.json")), json);
    add(folder.map(|folder| folder.join("report.html")), html);
    add(outputs.json.clone(), json);
    add(outputs.html.clone(), html);
    add(outputs.junit.clone(), |report| report::to_junit(report).map_err(|error| error.to_string()));
    add(outputs.sarif.clone(), |report| report::to_sarif(report).map_err(|error| error.to_string()));
    add(outputs.har.clone(), |report| report::to_har(report).map_err(|error| error.to_string()));
    let mut written = Vec::new();
    let mut failed = Vec::new();
    for Format { path, make } in formats {
        // One after the other, so that only one of them is in memory.
        let done = match make(report) {
            Ok(bytes) => write_whole(&path, &bytes),
            Err(why) => Err(WriteError { path: path.clone(), source: std::io::Error::other(why) }),
        };
        match done {
            Ok(()) => written.push(path),
            Err(error) => failed.push(error),
        }
    }
    (written, failed)
}

/// `trueline report`.
pub(super) fn again(args: &ReportArgs) -> Result<ExitCode, CliError> {
    let report = match (&args.events, &args.report) {
        (Some(path), _) => report::read_events(path)?.finish_as_asked(),
        (None, Some(path)) => report::read_json(path)?,
        (None, None) => report::read_json(Path::new(DEFAULT_REPORT))?,
    };
    let (files, mut failed) = write(&report, None, &args.outputs);
    if !args.quiet {
        let layout = output::layout(args.no_color, false);
        output::print(&terminal::render(&report, &terminal::Layout { files, ..layout }));
    }
    // Nothing else was asked for, so what could not be written is a failure here.
    if failed.is_empty() { Ok(ExitCode::Conforms) } else { Err(failed.remove(0).into()) }
}

/// `trueline merge`.
pub(super) fn merge(args: &MergeArgs) -> Result<ExitCode, CliError> {
    let mut reports = Vec::new();
    for path in &args.reports {
        reports.push((path.display().to_string(), report::read_json(path)?));
    }
    let report = report::merge(reports)?;
    let (files, failed) = write(&report, Some(&args.report_dir), &args.outputs);
    for error in failed {
        output::say(&format!("error: {error}"));
    }
    let layout = output::layout(args.no_color, args.quiet);
    output::print(&terminal::render(&report, &terminal::Layout { files, ..layout }));
    Ok(report.verdict)
}
