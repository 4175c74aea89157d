//! One OpenAPI document from end to end without a deployment: read, compiled, planned, and cases made and proved.
//!
//! ```text
//! cargo run --release -p trueline-conformance --example corpus -- <document> [--cases N] [--dump FILE]
//! ```
//!
//! Prints one JSON object. For each operation N random cases that must be valid and N that must have exactly one fault (50 by
//! default) are made, and judged once more by validators of their own. `--dump` appends a sample of schema, value and verdict
//! as NDJSON, for a check by another implementation. `cargo xtask corpus <dir>` runs it for a whole folder.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use trueline_conformance::case::{ArgumentValue, Call, CallBody, Caller, Expect, Part, Script};
use trueline_conformance::data::wire;
use trueline_conformance::plan::{Entry, Plan, PlanOptions, Planner, Polarity};
use trueline_conformance::profile::{Principal, Profile};
use trueline_conformance::subject::Subject;
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Schema};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let (mut document, mut cases, mut dump) = (None, 50, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--cases" => cases = arguments.next().ok_or("--cases needs a number")?.parse()?,
            "--dump" => {
                let path = arguments.next().ok_or("--dump needs a file")?;
                dump = Some(BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?));
            }
            _ => document = Some(PathBuf::from(argument)),
        }
    }
    let document = document.ok_or("which document?")?;
    println!("{}", run(&document, cases, dump)?);
    Ok(())
}

fn run(document: &Path, cases: u64, dump: Option<BufWriter<std::fs::File>>) -> Result<Value, Failure> {
    let start = Instant::now();
    let contract = match Contract::load(document) {
        Ok(contract) => Arc::new(contract),
        Err(problems) => {
            let said: Vec<String> = problems.list.iter().map(|problem| problem.title.clone()).collect();
            return Ok(json!({"refused": said, "message": problems.to_string()}));
        }
    };
    let load_ms = millis(start);
    let start = Instant::now();
    let profile = everybody(&contract);
    let subject = Subject::new(Arc::clone(&contract));
    let options = PlanOptions { random_cases: 2 * cases, ..PlanOptions::default() };
    let plan = Plan::new(&subject, &profile, options.clone());
    let plan_ms = millis(start);

    let start = Instant::now();
    let (compiled, uncompiled) = compile(&contract);
    let compile_ms = millis(start);

    let start = Instant::now();
    let planner = Planner { subject: &subject, profile: &profile, options: &options };
    let mut judge = Judge { contract: &contract, validators: HashMap::new(), dump, tally: Tally::default() };
    for operation in 0..contract.operations.len() {
        judge.operation(&planner, operation, cases)?;
    }
    let Judge { tally, .. } = judge;
    let unmet: Vec<String> = subject.problems.lock().map(|problems| problems.clone()).unwrap_or_default();
    Ok(json!({
        "operations": contract.operations.len(),
        "schemas": compiled,
        "uncompiled": uncompiled,
        "notes": contract.notes.len(),
        "planned": plan.len(),
        "left-out": plan.left_out.len(),
        "positive": tally.positive,
        "negative": tally.negative,
        "short": tally.short,
        "unmet": unmet,
        "wrong": tally.wrong,
        "load-ms": load_ms,
        "plan-ms": plan_ms,
        "compile-ms": compile_ms,
        "data-ms": millis(start),
    }))
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

/// Somebody for each scheme, so that everything is planned.
fn everybody(contract: &Contract) -> Profile {
    let principals = contract.security_schemes.keys().map(|scheme| {
        let principal = Principal { scheme: scheme.clone(), credential: Some("corpus".into()), ..Principal::default() };
        (scheme.clone(), principal)
    });
    Profile { principals: principals.collect(), ..Profile::default() }
}

/// Compiles every schema that something is sent or answered by: how many, and which could not be.
fn compile(contract: &Contract) -> (usize, Vec<String>) {
    let mut found: Vec<(&Schema, Direction)> = Vec::new();
    for operation in &contract.operations {
        found.extend(operation.parameters.iter().map(|parameter| (&parameter.schema, Direction::Request)));
        let bodies = operation.body.iter().flat_map(|body| &body.media);
        found.extend(bodies.filter_map(|media| Some((media.schema.as_ref()?, Direction::Request))));
        for response in &operation.responses {
            found.extend(response.headers.iter().map(|header| (&header.schema, Direction::Response)));
            let of = |media: &'_ trueline_spec::contract::Media| media.schema.is_some();
            let media = response.media.iter().filter(|media| of(media));
            found.extend(media.filter_map(|media| Some((media.schema.as_ref()?, Direction::Response))));
        }
    }
    let (mut compiled, mut refused) = (0, Vec::new());
    let mut seen = HashMap::new();
    for (schema, direction) in found {
        let key = (schema.value.to_string(), direction);
        let good = *seen.entry(key).or_insert_with(|| match contract.validator(schema, direction) {
            Ok(_) => true,
            Err(problem) => {
                let place = contract.document.describe(&schema.at);
                refused.push(format!("{place}: {}", problem.title));
                false
            }
        });
        compiled += usize::from(good);
    }
    (compiled, refused)
}

#[derive(Default)]
struct Tally {
    positive: u64,
    negative: u64,
    /// Operations with fewer cases than asked for, by the reason.
    short: BTreeMap<&'static str, Vec<String>>,
    wrong: Vec<String>,
}

/// Judges cases by validators of its own.
struct Judge<'c> {
    contract: &'c Contract,
    validators: HashMap<String, Option<(Value, jsonschema::Validator)>>,
    dump: Option<BufWriter<std::fs::File>>,
    tally: Tally,
}

impl Judge<'_> {
    fn operation(&mut self, planner: &Planner<'_>, operation: usize, cases: u64) -> Result<(), Failure> {
        let documented = &self.contract.operations[operation];
        for polarity in [Polarity::Valid, Polarity::Invalid] {
            let entry = Entry::Random { operation, polarity, count: cases, callers: vec![Caller::Anonymous] };
            let mut made = 0;
            for index in 0..cases {
                let Some(case) = entry.case(planner, index) else { continue };
                let Script::Single(call) = &case.script else { continue };
                made += 1;
                self.call(&case.id, call, index.is_multiple_of(10))?;
            }
            match polarity {
                Polarity::Valid => self.tally.positive += made,
                Polarity::Invalid => self.tally.negative += made,
            }
            if made < cases {
                let reason = match polarity {
                    Polarity::Valid => "no valid request was found",
                    Polarity::Invalid if documented.parameters.is_empty() && documented.body.is_none() => {
                        "it has no input, so nothing can be wrong with it"
                    }
                    Polarity::Invalid if made == 0 => "whatever is sent is valid",
                    Polarity::Invalid => "few faults survive the wire",
                };
                self.tally.short.entry(reason).or_default().push(format!("{} ({made})", documented.id));
            }
        }
        Ok(())
    }

    fn call(&mut self, id: &str, call: &Call, sampled: bool) -> Result<(), Failure> {
        let contract = self.contract;
        let documented = &contract.operations[call.operation];
        let fault = match &call.expect {
            Expect::Invalid(note) => Some(&note.part),
            _ => None,
        };
        let mut refused = 0;
        for argument in &call.arguments {
            let ArgumentValue::Value(value) = &argument.value else { continue };
            let parameter = &documented.parameters[argument.parameter];
            let wrong = fault == Some(&Part::Parameter(argument.parameter));
            if wire::encode_parameter(parameter, value).is_err() {
                self.tally.wrong.push(format!("{id}: {} {} cannot be sent", parameter.place, parameter.name));
            }
            refused += u32::from(!self.judge(id, &parameter.schema, value, !wrong, sampled)?);
        }
        if let Some(CallBody::Value { media, value, .. }) = &call.body
            && let Some(media) = documented.body.as_ref().and_then(|body| body.media.get(*media))
        {
            if wire::encode_body(media, value).is_err() {
                self.tally.wrong.push(format!("{id}: the body cannot be sent"));
            }
            let wrong = fault == Some(&Part::Body);
            if let Some(schema) = &media.schema {
                // A part of the wrong media type is nothing that a schema sees.
                refused += u32::from(!self.judge(id, schema, value, !wrong, sampled)?);
            }
        }
        if fault.is_some() && refused == 0 {
            self.tally.wrong.push(format!("{id}: nothing is wrong with it"));
        }
        Ok(())
    }

    /// Whether the value is valid; a verdict other than the expected one is written down.
    fn judge(
        &mut self,
        id: &str,
        schema: &Schema,
        value: &Value,
        expected: bool,
        sampled: bool,
    ) -> Result<bool, Failure> {
        let key = format!("{}{}", schema.at.pointer, schema.value);
        let contract = self.contract;
        let compiled = self.validators.entry(key).or_insert_with(|| {
            let whole = contract.standalone(schema, Direction::Request);
            let validator = trueline_spec::schema::validator(&whole).ok()?;
            Some((whole, validator))
        });
        let Some((whole, validator)) = compiled else { return Ok(true) };
        let valid = validator.is_valid(value);
        if valid != expected {
            let said = if valid { "valid" } else { "invalid" };
            let at = contract.document.describe(&schema.at);
            let text: String = value.to_string().chars().take(200).collect();
            self.tally.wrong.push(format!("{id}: {at} is {said}: {text}"));
        }
        if let Some(dump) = self.dump.as_mut().filter(|_| sampled) {
            let line = json!({"at": id, "schema": whole, "value": value, "valid": expected}).to_string();
            // Enough for a check by a slower implementation.
            if line.len() < 60_000 {
                writeln!(dump, "{line}")?;
            }
        }
        Ok(valid)
    }
}
