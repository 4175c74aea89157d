//! Runs the harness against the depot in this process: `cargo run -p trueline-tests --example depot -- [seed] [fault]`. All
//! faults at once are `trueline selftest`.

use trueline_conformance::report::terminal::{Layout, render};
use trueline_tests::depot::depot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed: u64 = arguments.next().map(|seed| seed.parse()).transpose()?.unwrap_or(0);
    let (suite, target) = depot(&arguments.next().unwrap_or_default())?;
    let report = suite.seed(seed).run(target).await?;
    println!("{}", render(&report, &Layout::default()));
    Ok(())
}
