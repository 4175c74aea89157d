//! `cargo xtask corpus <dir>`: what the harness makes of documents that nobody wrote for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deployment;

/// What to do with each document.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder, searched to its bottom.
    pub folder: PathBuf,
    /// Valid cases for each operation, and as many with one fault.
    pub cases: u64,
    /// Seconds for one document, from the first byte to the last case.
    pub seconds: u64,
    /// Where a sample of the cases is written.
    pub dump: Option<PathBuf>,
}

/// What became of one document.
enum Outcome {
    Loaded(Value),
    Refused(Vec<String>),
    /// It panicked, hung or was killed: how.
    Broken(String),
}

/// Runs every document under `folder` in a process of its own. True if none panicked or hung and no case was wrong.
pub fn run(root: &Path, options: &Options) -> Result<bool, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--release", "--package", "trueline-conformance", "--example", "corpus"]);
    deployment::run(&mut cargo)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("release").join("examples").join("corpus");
    let mut files = Vec::new();
    documents(&options.folder, &mut files)
        .map_err(|error| format!("cannot read {}: {error}", options.folder.display()))?;
    files.sort();
    if files.is_empty() {
        return Err(format!("{} has no .yaml, .yml or .json file", options.folder.display()));
    }
    if let Some(dump) = &options.dump {
        fs::write(dump, "").map_err(|error| format!("cannot write {}: {error}", dump.display()))?;
    }
    let outcomes = all(&program, &files, options);
    let mut total = Total::default();
    for (file, (outcome, spent)) in files.iter().zip(&outcomes) {
        let name = file.strip_prefix(&options.folder).unwrap_or(file).display().to_string();
        total.add(&name, outcome, *spent);
    }
    Ok(total.finish(files.len()))
}

fn documents(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            documents(&entry?.path(), found)?;
        }
    } else if path.extension().is_some_and(|own| ["json", "yaml", "yml"].iter().any(|known| own == *known)) {
        found.push(path.to_owned());
    }
    Ok(())
}

/// One process a core.
fn all(program: &Path, files: &[PathBuf], options: &Options) -> Vec<(Outcome, Duration)> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<usize, (Outcome, Duration)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, file)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    files.get(index).map(|file| (index, file))
                } {
                    let start = Instant::now();
                    let outcome = one(program, file, options);
                    let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    outcomes.insert(index, (outcome, start.elapsed()));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.into_values().collect()
}

fn one(program: &Path, file: &Path, options: &Options) -> Outcome {
    let mut command = Command::new(program);
    command.arg(file).args(["--cases", &options.cases.to_string()]);
    if let Some(dump) = &options.dump {
        command.arg("--dump").arg(dump);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Broken(format!("cannot be started: {error}")),
    };
    // Both pipes are emptied while the process runs: a full one would stop it.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Outcome::Broken(format!("not done after {} s", options.seconds));
            }
            Err(error) => return Outcome::Broken(format!("cannot be waited for: {error}")),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !status.success() {
        let first = err.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Outcome::Broken(format!("{status}: {first}"));
    }
    match serde_json::from_str::<Value>(&out) {
        Ok(value) => match value.get("refused").and_then(Value::as_array) {
            Some(why) => Outcome::Refused(why.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            None => Outcome::Loaded(value),
        },
        Err(error) => Outcome::Broken(format!("what it prints is no JSON: {error}")),
    }
}

/// All documents together.
#[derive(Default)]
struct Total {
    loaded: usize,
    refused: usize,
    broken: usize,
    operations: u64,
    schemas: u64,
    uncompiled: usize,
    planned: u64,
    positive: u64,
    negative: u64,
    unmet: usize,
    wrong: usize,
    short: BTreeMap<String, usize>,
    slowest: (u64, String),
}

impl Total {
    fn add(&mut self, name: &str, outcome: &Outcome, spent: Duration) {
        match outcome {
            Outcome::Refused(why) => {
                self.refused += 1;
                let more = if why.len() > 1 { format!(" (and {} more)", why.len() - 1) } else { String::new() };
                println!("refused {name}: {}{more}", why.first().map_or("", String::as_str));
            }
            Outcome::Broken(how) => {
                self.broken += 1;
                println!("BROKEN  {name}: {how}");
            }
            Outcome::Loaded(value) => self.loaded(name, value, spent),
        }
    }

    fn loaded(&mut self, name: &str, value: &Value, spent: Duration) {
        let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
        let list = |key: &str| value.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let planned_after = number("load-ms") + number("plan-ms");
        println!(
            "loaded  {name}: {} operations, {} schemas, {} planned, {} positive, {} negative, {} wrong; load {} ms, plan {} ms, \
             schemas {} ms, cases {} ms, {:.1} s in all",
            number("operations"),
            number("schemas"),
            number("planned"),
            number("positive"),
            number("negative"),
            list("wrong").len(),
            number("load-ms"),
            number("plan-ms"),
            number("compile-ms"),
            number("data-ms"),
            spent.as_secs_f64(),
        );
        for (title, key) in [("does not compile", "uncompiled"), ("cannot be met", "unmet"), ("WRONG", "wrong")] {
            for said in list(key).iter().filter_map(Value::as_str).take(5) {
                println!("        {title}: {said}");
            }
            if list(key).len() > 5 {
                println!("        … and {} more", list(key).len() - 5);
            }
        }
        for (reason, operations) in value.get("short").and_then(Value::as_object).into_iter().flatten() {
            *self.short.entry(reason.clone()).or_default() += operations.as_array().map_or(0, Vec::len);
        }
        self.loaded += 1;
        self.operations += number("operations");
        self.schemas += number("schemas");
        self.planned += number("planned");
        self.positive += number("positive");
        self.negative += number("negative");
        self.uncompiled += list("uncompiled").len();
        self.unmet += list("unmet").len();
        self.wrong += list("wrong").len();
        if planned_after > self.slowest.0 {
            self.slowest = (planned_after, name.to_owned());
        }
    }

    fn finish(&self, documents: usize) -> bool {
        println!(
            "\n{documents} documents: {} loaded, {} refused, {} broken; {} operations, {} schemas ({} not compiled, {} not met), \
             {} planned, {} positive, {} negative, {} wrong",
            self.loaded,
            self.refused,
            self.broken,
            self.operations,
            self.schemas,
            self.uncompiled,
            self.unmet,
            self.planned,
            self.positive,
            self.negative,
            self.wrong,
        );
        for (reason, operations) in &self.short {
            println!("{operations} operations with fewer cases: {reason}");
        }
        println!("slowest from the first byte to the plan: {} ms, {}", self.slowest.0, self.slowest.1);
        self.broken == 0 && self.wrong == 0
    }
}
