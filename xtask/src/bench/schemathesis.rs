//! The harness beside Schemathesis: the same faulty services, one fault after the other, each tool with its recommended
//! settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::median;
use crate::deployment::run;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program, such as `schemathesis` from a virtual environment.
    pub program: PathBuf,
    /// Every how manieth fault of the catalogue; 1 for all.
    pub every: usize,
}

impl Options {
    pub(super) fn command(&self) -> String {
        if self.every > 1 { format!("schemathesis --every {}", self.every) } else { "schemathesis".to_owned() }
    }
}

/// One run of one tool.
struct Outcome {
    cases: f64,
    seconds: f64,
    /// What was found, each with the seconds that had passed.
    found: BTreeMap<String, f64>,
}

/// The service behind a listener. Dropping it ends it.
struct Service {
    process: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Service {
    fn start(program: &Path, fault: &str) -> Result<Service, String> {
        let mut command = Command::new(program);
        command.arg(fault).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut url = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut url).map_err(|error| error.to_string())?;
        }
        Ok(Service { process, url: url.trim().to_owned() })
    }
}

/// Measures; the section's text.
pub(super) fn measure(root: &Path, options: &Options) -> Result<String, String> {
    let version = Command::new(&options.program).arg("--version").output();
    let version = version.map_err(|error| {
        format!("cannot run {}: {error} (pip install schemathesis; --program names it)", options.program.display())
    })?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo().current_dir(root).args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "trueline-depot",
        "--example",
        "serve",
    ]))?;
    run(cargo().current_dir(root).args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "trueline-conformance",
        "--bins",
    ]))?;
    let release =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("release");
    let (server, trueline) = (release.join("examples/serve"), release.join("trueline"));
    let documents = root.join("depot").join("documents");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;

    let catalogue = Command::new(&server).arg("list").output().map_err(|error| error.to_string())?;
    let catalogue: Vec<String> = String::from_utf8_lossy(&catalogue.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .step_by(options.every.max(1))
        .collect();
    let ours = |fault: &str| {
        let profile = Command::new(&server).args(["profile", fault]).output().map_err(|error| error.to_string())?;
        std::fs::write(folder.path().join("profile.toml"), profile.stdout).map_err(|error| error.to_string())?;
        let service = Service::start(&server, fault)?;
        by_trueline(&trueline, &documents, &service.url, folder.path())
    };
    let theirs = |fault: &str| {
        let service = Service::start(&server, fault)?;
        by_schemathesis(&options.program, &documents, &service.url, folder.path())
    };
    // What is said of the service without a fault is no find.
    let clean = (ours("none")?, theirs("none")?);
    let mut rows = Vec::new();
    for fault in &catalogue {
        let pair = (ours(fault)?, theirs(fault)?);
        let first = |outcome: &Outcome, clean: &Outcome| {
            let new = outcome.found.iter().filter(|(what, _)| !clean.found.contains_key(*what));
            new.map(|(_, seconds)| *seconds).min_by(f64::total_cmp)
        };
        let (a, b) = (first(&pair.0, &clean.0), first(&pair.1, &clean.1));
        eprintln!("{fault}: {} | {}", shown(a), shown(b));
        rows.push((fault.clone(), pair, a, b));
    }
    Ok(text(&version, &clean, &rows))
}

type Row = (String, (Outcome, Outcome), Option<f64>, Option<f64>);

fn text(version: &str, clean: &(Outcome, Outcome), rows: &[Row]) -> String {
    let mut text = format!(
        "{version}. The depot (14 operations, oauth2, no `x-` words) with each of {} seeded faults, one tool after the other on a \
         service of its own; release builds. Schemathesis: `--checks all`, a token with every scope in `-H`, and without the \
         logout that would end it. Trueline: its profile, defaults. What a tool says of the clean service as well is not \
         counted as a find.\n\n",
        rows.len()
    );
    let speed = |outcome: &Outcome| outcome.cases / outcome.seconds.max(0.001);
    let ratio = |of: &dyn Fn(&Row) -> Option<f64>| median(rows.iter().filter_map(of));
    let both: Vec<&Row> = rows.iter().filter(|row| row.2.is_some() && row.3.is_some()).collect();
    let _ = writeln!(text, "| | Trueline | Schemathesis | ratio |\n|---|---|---|---|");
    let ours = ratio(&|row| Some(speed(&row.1.0)));
    let theirs = ratio(&|row| Some(speed(&row.1.1)));
    let by_run = ratio(&|row| Some(speed(&row.1.0) / speed(&row.1.1)));
    let _ = writeln!(text, "| cases a second, median | {ours:.0} | {theirs:.0} | **{by_run:.1}** |");
    let (a, b) = (ratio(&|row| Some(row.1.0.seconds)), ratio(&|row| Some(row.1.1.seconds)));
    let _ = writeln!(text, "| a whole run, median | {a:.1} s | {b:.1} s | {:.3} |", a / b);
    let (a, b) = (ratio(&|row| row.2), ratio(&|row| row.3));
    let _ = writeln!(text, "| first find of those it finds, median | {a:.2} s | {b:.2} s | **{:.3}** |", a / b);
    let paired = median(both.iter().map(|row| row.2.unwrap_or(0.0) / row.3.unwrap_or(1.0)));
    let _ = writeln!(text, "| first find where both find, median of ratios | | | {paired:.3} |");
    let found = |count: usize| format!("{count} of {}", rows.len());
    let (a, b) = (rows.iter().filter(|row| row.2.is_some()).count(), rows.iter().filter(|row| row.3.is_some()).count());
    let _ = writeln!(text, "| faults found | {} | {} | |", found(a), found(b));
    let only = |ours: bool| -> BTreeSet<&str> {
        let wanted = rows.iter().filter(|row| (row.2.is_some() == ours) && (row.3.is_some() != ours));
        wanted.map(|row| row.0.as_str()).collect()
    };
    let list = |names: BTreeSet<&str>| {
        if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
    };
    let _ = writeln!(text, "| said of the clean service | {} | {} | |", clean.0.found.len(), clean.1.found.len());
    let _ = writeln!(text, "\nFound by Schemathesis and not by Trueline: {}.", list(only(false)));
    let _ = writeln!(text, "\nFound by Trueline and not by Schemathesis: {}.", list(only(true)));
    text
}

fn shown(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "not found".to_owned(), |seconds| format!("{seconds:.2} s"))
}

fn by_trueline(program: &Path, documents: &Path, url: &str, folder: &Path) -> Result<Outcome, String> {
    let mut command = Command::new(program);
    command
        .arg("check")
        .arg("--spec")
        .arg(documents.join("depot.yaml"))
        .arg("--profile")
        .arg(documents.join("profile.toml"));
    command.args(["--url", url, "--quiet", "--seed", "1", "--events", "/dev/stdout", "--report-dir"]);
    command.arg(folder.join("trueline")).stdout(Stdio::piped()).stderr(Stdio::null());
    let started = Instant::now();
    let mut process = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let mut outcome = Outcome { cases: 0.0, seconds: 0.0, found: BTreeMap::new() };
    for line in process.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|error| error.to_string())?;
        // Events carry no time; they are read as they come. What is no event is the report for people.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        match event["event"].as_str() {
            Some("case-finished") => outcome.cases += 1.0,
            Some("finding-confirmed") => {
                let finding = &event["data"];
                let what = format!("{} {}", finding["check"], finding["clause"]);
                outcome.found.entry(what).or_insert(started.elapsed().as_secs_f64());
            }
            _ => {}
        }
    }
    process.wait().map_err(|error| error.to_string())?;
    outcome.seconds = started.elapsed().as_secs_f64();
    Ok(outcome)
}

fn by_schemathesis(program: &Path, documents: &Path, url: &str, folder: &Path) -> Result<Outcome, String> {
    let events = folder.join("schemathesis.ndjson");
    let mut command = Command::new(program);
    command.arg("run").arg(documents.join("depot.yaml")).args(["--url", url, "--checks", "all", "--seed", "1"]);
    command.args(["-H", "Authorization: Bearer south-all-98e3f6ab21", "--exclude-operation-id", "logOut"]);
    command.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&events);
    let started = Instant::now();
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let seconds = started.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(&events).map_err(|error| format!("{}: {error}", events.display()))?;
    let mut outcome = Outcome { cases: 0.0, seconds, found: BTreeMap::new() };
    let mut began = None;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some((name, event)) = event.as_object().and_then(|event| event.iter().next()) else { continue };
        let at = event["timestamp"].as_f64();
        began = began.or(at);
        if name != "ScenarioFinished" {
            continue;
        }
        let after = at.zip(began).map_or(seconds, |(at, began)| at - began);
        let recorder = &event["recorder"];
        outcome.cases += recorder["cases"].as_object().map_or(0, serde_json::Map::len) as f64;
        for check in recorder["checks"].as_object().into_iter().flat_map(|cases| cases.values()) {
            for check in check.as_array().into_iter().flatten().filter(|check| check["status"] == "failure") {
                let failure = &check["failure_info"]["failure"];
                let what = format!("{} {} {}", check["name"], failure["operation"], failure["title"]);
                outcome.found.entry(what).or_insert(after);
            }
        }
    }
    Ok(outcome)
}
