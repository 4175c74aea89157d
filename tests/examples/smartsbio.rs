//! Runs the harness against the reference service for smartsbio in this process and prints the report:
//! `cargo run -p trueline-tests --example smartsbio -- [seed] [fault]`.

use trueline_conformance::report::terminal::{Layout, render};
use trueline_tests::smartsbio::{FAULTS, smartsbio, suite};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map(|seed| seed.parse()).transpose()?.unwrap_or(0);
    let fault = match arguments.next() {
        Some(name) => Some(*FAULTS.iter().find(|fault| fault.name == name).ok_or("there is no such fault")?),
        None => None,
    };
    let service = smartsbio(fault).await?;
    let report = suite(service.profile)?.seed(seed).run(service.target).await?;
    println!("{}", render(&report, &Layout::default()));
    Ok(())
}
