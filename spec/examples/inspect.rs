//! What the reader makes of documents: `cargo run -p trueline-spec --example inspect -- FILE…`
//!
//! One line a document: loaded or refused, operations, schemas, time. With `-v` also every problem, note and schema that
//! does not compile.

use std::path::Path;
use std::time::Instant;

use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Schema};

fn main() {
    let (mut verbose, mut files) = (false, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "-v" => verbose = true,
            _ => files.push(argument),
        }
    }
    for file in files {
        let start = Instant::now();
        match Contract::load(Path::new(&file)) {
            Ok(contract) => report(&file, &contract, start, verbose),
            Err(problems) => {
                let first = problems.list.first().map(|problem| problem.title.as_str()).unwrap_or_default();
                println!("REFUSED {file}: {} problems, first: {first}", problems.len());
                if verbose {
                    println!("{problems}");
                }
            }
        }
    }
}

fn report(file: &str, contract: &Contract, start: Instant, verbose: bool) {
    let loaded = start.elapsed();
    let start = Instant::now();
    let mut compiled = 0;
    let mut refused = Vec::new();
    for (schema, direction) in schemas(contract) {
        match contract.validator(schema, direction) {
            Ok(_) => compiled += 1,
            Err(problem) => refused.push(problem),
        }
    }
    println!(
        "loaded  {file}: {} operations, {} named schemas, {} notes in {loaded:.0?}; {compiled} compiled, {} not, in {:.0?}",
        contract.operations.len(),
        contract.schemas.len(),
        contract.notes.len(),
        refused.len(),
        start.elapsed(),
    );
    if verbose {
        for problem in contract.notes.iter().chain(&refused) {
            println!("{}", problem.render(&contract.document));
        }
        for operation in &contract.operations {
            println!("  {} {} {}", operation.id, operation.method, operation.path.text);
        }
    }
}

fn schemas(contract: &Contract) -> Vec<(&Schema, Direction)> {
    let mut found: Vec<(&Schema, Direction)> =
        contract.schemas.values().map(|schema| (schema, Direction::Response)).collect();
    for operation in &contract.operations {
        found.extend(operation.parameters.iter().map(|parameter| (&parameter.schema, Direction::Request)));
        let bodies = operation.body.iter().flat_map(|body| &body.media);
        found.extend(bodies.filter_map(|media| Some((media.schema.as_ref()?, Direction::Request))));
        for response in &operation.responses {
            found.extend(response.headers.iter().map(|header| (&header.schema, Direction::Response)));
            found.extend(response.media.iter().filter_map(|media| Some((media.schema.as_ref()?, Direction::Response))));
        }
    }
    found
}
