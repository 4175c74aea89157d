//! `cargo xtask verify <contract>`: the reference server against the harness, over TCP, from nothing to a report.

use std::path::Path;
use std::process::Command;

use crate::deployment::{Deployment, build};

/// Builds server and harness, starts the one on a free port with a temporary database, runs the other against it, stops
/// what it started. True if the service conforms.
pub fn run(root: &Path, contract: &str, further: &[String]) -> Result<bool, String> {
    let bin = build(root, false)?;
    let deployment = Deployment::start(&bin, contract, &[])?;
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
