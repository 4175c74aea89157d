//! `cargo xtask verify <contract>`: the reference server against the harness, over TCP, from nothing to a report.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use trueline_spec::contracts;

use crate::deployment::{Deployment, build};

/// Builds server and harness, starts the one on a free port with a temporary database, runs the other against it, stops
/// what it started; for every contract, where none is named. True if the service conforms.
pub fn run(root: &Path, contract: Option<&str>, further: &[String]) -> Result<bool, String> {
    let bin = build(root, false)?;
    if let Some(contract) = contract {
        return verify(root, &bin, contract, further);
    }
    let started = Instant::now();
    let mut verdicts: Vec<(&str, bool, Duration)> = Vec::new();
    for contract in contracts::names() {
        let began = Instant::now();
        let conforms = verify(root, &bin, contract, further)?;
        verdicts.push((contract, conforms, began.elapsed()));
    }
    println!();
    for (contract, conforms, took) in &verdicts {
        let verdict = if *conforms { "conforms" } else { "DOES NOT CONFORM" };
        println!("  {contract:<12} {verdict:<18} {:.1} s", took.as_secs_f64());
    }
    println!("  {:<12} {:<18} {:.1} s", "all", "", started.elapsed().as_secs_f64());
    Ok(verdicts.iter().all(|(_, conforms, _)| *conforms))
}

fn verify(root: &Path, bin: &Path, contract: &str, further: &[String]) -> Result<bool, String> {
    let deployment = Deployment::start(bin, contract, &[])?;
    eprintln!("{contract} is served at {} with a temporary database", deployment.base_url);
    let report = root.join("target").join("verify").join(contract);
    let mut trueline = Command::new(bin.join("trueline"));
    trueline
        .arg("check")
        .arg("--profile")
        .arg(&deployment.profile)
        .args(["--url", &deployment.base_url, "--report-dir"])
        .arg(&report)
        .args(further);
    let status = trueline.status().map_err(|error| format!("cannot run {trueline:?}: {error}"))?;
    drop(deployment);
    eprintln!("the report is also in {}", report.display());
    Ok(status.success())
}
