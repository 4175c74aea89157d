//! Runs the harness against the depot in this process: `cargo run -p trueline-tests --example depot -- [seed] [fault]`; with
//! `all` for the fault, one line for each.

use trueline_conformance::report::terminal::{Layout, render};
use trueline_tests::depot::{FAULTS, depot};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed: u64 = arguments.next().map(|seed| seed.parse()).transpose()?.unwrap_or(0);
    let name = arguments.next().unwrap_or_default();
    if name == "all" {
        for (fault, check) in FAULTS {
            let (suite, target) = depot(fault)?;
            let report = suite.seed(seed).run(target).await?;
            let found: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
            let mark = if found.contains(check) { "found " } else { "MISSED" };
            println!("{mark} {fault:<34} {check:<36} {}", found.join(" "));
        }
        return Ok(());
    }
    let fault = FAULTS.iter().map(|(fault, _)| *fault).find(|fault| *fault == name).unwrap_or_default();
    let (suite, target) = depot(fault)?;
    let report = suite.seed(seed).run(target).await?;
    println!("{}", render(&report, &Layout::default()));
    Ok(())
}
