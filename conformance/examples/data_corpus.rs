//! Makes data for every schema of a folder of OpenAPI documents and checks it with validators built independently.
//!
//! ```text
//! cargo run --release -p trueline-conformance --example data_corpus -- <folder or file> [--dump FILE] [--cases N]
//! ```
//!
//! For each request and response schema, N values that must be valid and N that must have exactly one fault (50 by default),
//! and all boundaries. Prints one line a document and every schema that nothing could be made for; exits 1 if any value was
//! wrong. `--dump` writes a sample of schema, value and verdict as NDJSON, for a check by another implementation.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trueline_conformance::data::{Generator, Verdict};
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Schema};

/// What was seen in one document, or in all of them.
#[derive(Default)]
struct Tally {
    schemas: usize,
    unsatisfiable: usize,
    without_negatives: usize,
    problems: usize,
    positive: usize,
    negative: usize,
    boundaries: usize,
    wrong: Vec<String>,
    refused: BTreeMap<String, usize>,
    slowest: (Duration, String),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut folder = None;
    let mut dump = None;
    let mut cases = 50;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--dump" => dump = Some(BufWriter::new(fs::File::create(arguments.next().ok_or("--dump needs a file")?)?)),
            "--cases" => cases = arguments.next().ok_or("--cases needs a number")?.parse()?,
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let mut files = Vec::new();
    documents(&folder.ok_or("which folder?")?, &mut files)?;
    files.sort();
    let mut total = Tally::default();
    for file in &files {
        let start = Instant::now();
        let contract = match Contract::load(file) {
            Ok(contract) => contract,
            Err(problems) => {
                let text = problems.to_string();
                println!("{:60} refused: {}", name(file), text.lines().next().unwrap_or_default());
                continue;
            }
        };
        let loaded = start.elapsed();
        let mut tally = Tally::default();
        for (at, schema, direction) in schemas(&contract) {
            let whole = contract.standalone(&schema, direction);
            tally.check(&at, &whole, cases, dump.as_mut())?;
        }
        println!(
            "{:60} load {:>5} ms, data {:>6} ms: {:>4} schemas, {:>3} unsatisfiable, {:>3} never invalid, {:>3} dead parts, {:>6} positive, \
             {:>6} negative, {:>6} boundaries, {} wrong; slowest {} ms {}",
            name(file),
            loaded.as_millis(),
            (start.elapsed() - loaded).as_millis(),
            tally.schemas,
            tally.unsatisfiable,
            tally.without_negatives,
            tally.problems,
            tally.positive,
            tally.negative,
            tally.boundaries,
            tally.wrong.len(),
            tally.slowest.0.as_millis(),
            tally.slowest.1,
        );
        for wrong in tally.wrong.iter().take(5) {
            println!("    WRONG {wrong}");
        }
        for (reason, count) in &tally.refused {
            println!("    {count} × {reason}");
        }
        total.add(tally);
    }
    println!(
        "{} schemas, {} unsatisfiable, {} positive, {} negative, {} boundaries, {} wrong",
        total.schemas,
        total.unsatisfiable,
        total.positive,
        total.negative,
        total.boundaries,
        total.wrong.len()
    );
    Ok(if total.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn documents(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            documents(&entry?.path(), found)?;
        }
    } else if path.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
    {
        found.push(path.to_owned());
    }
    Ok(())
}

/// Every schema that something is sent or answered by, once.
fn schemas(contract: &Contract) -> Vec<(String, Schema, Direction)> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |at: String, schema: &Schema, direction: Direction| {
        if seen.insert((schema.value.to_string(), direction == Direction::Request)) {
            found.push((at, schema.clone(), direction));
        }
    };
    for operation in &contract.operations {
        for parameter in &operation.parameters {
            add(
                format!("{} {} {}", operation.id, parameter.place, parameter.name),
                &parameter.schema,
                Direction::Request,
            );
        }
        for media in operation.body.iter().flat_map(|body| &body.media) {
            if let Some(schema) = &media.schema {
                add(format!("{} body {}", operation.id, media.media_type), schema, Direction::Request);
            }
        }
        for response in &operation.responses {
            for media in &response.media {
                if let Some(schema) = &media.schema {
                    add(
                        format!("{} {} {}", operation.id, response.status, media.media_type),
                        schema,
                        Direction::Response,
                    );
                }
            }
        }
    }
    found
}

impl Tally {
    fn check(
        &mut self,
        at: &str,
        schema: &Value,
        cases: u64,
        dump: Option<&mut BufWriter<fs::File>>,
    ) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        self.schemas += 1;
        let generator = match Generator::new(schema) {
            Ok(generator) => generator,
            Err(error) => {
                self.unsatisfiable += 1;
                *self.refused.entry(error.to_string()).or_default() += 1;
                return Ok(());
            }
        };
        self.problems += generator.problems().len();
        for problem in generator.problems() {
            *self.refused.entry(format!("dead part: {problem}")).or_default() += 1;
        }
        let Ok(validator) = trueline_spec::schema::validator(schema) else { return Ok(()) };
        let mut sample = Vec::new();
        for index in 0..cases {
            let value = generator.sample(1, index);
            self.positive += 1;
            if !validator.is_valid(&value) {
                self.wrong.push(format!("{at}: positive {index} is invalid: {value}"));
            }
            sample.push((value, true));
        }
        let mut some = false;
        for index in 0..cases {
            let Some(boundary) = generator.invalid(1, index) else { continue };
            some = true;
            self.negative += 1;
            let places: HashSet<String> =
                validator.iter_errors(&boundary.value).map(|error| error.instance_path().to_string()).collect();
            // A missing member and a wrong one in the same object are told apart by the generator itself.
            if places.len() != 1 || boundary.verdict == Verdict::Valid {
                self.wrong.push(format!(
                    "{at}: negative {index} `{}` has faults at {places:?}: {}",
                    boundary.label, boundary.value
                ));
            }
            sample.push((boundary.value, false));
        }
        self.without_negatives += usize::from(!some);
        let boundaries = generator.boundaries();
        self.boundaries += boundaries.len();
        let labels: HashSet<&str> = boundaries.iter().map(|boundary| boundary.label.as_str()).collect();
        if labels.len() != boundaries.len() {
            self.wrong.push(format!("{at}: labels repeat"));
        }
        for boundary in boundaries {
            if validator.is_valid(&boundary.value) != (boundary.verdict == Verdict::Valid) {
                self.wrong.push(format!("{at}: boundary `{}` is not {:?}", boundary.label, boundary.verdict));
            }
        }
        if let Some(dump) = dump {
            for (value, valid) in sample.into_iter().step_by(10) {
                let line = json!({"at": at, "schema": schema, "value": value, "valid": valid});
                let text = line.to_string();
                // Enough for a check by a slower implementation.
                if text.len() < 60_000 {
                    writeln!(dump, "{text}")?;
                }
            }
        }
        let spent = start.elapsed();
        if spent > self.slowest.0 {
            self.slowest = (spent, at.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, other: Tally) {
        self.schemas += other.schemas;
        self.unsatisfiable += other.unsatisfiable;
        self.positive += other.positive;
        self.negative += other.negative;
        self.boundaries += other.boundaries;
        self.wrong.extend(other.wrong);
    }
}
