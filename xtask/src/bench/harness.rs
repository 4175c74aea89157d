//! The harness against a plain load generator on one operation, and its memory however long a run is.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use trueline_spec::Contract;
use trueline_spec::contract::Operation;
use trueline_spec::vocabulary::Effect;

use super::{memory, unlimited};
use crate::deployment::{Deployment, build};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The contract whose reference server is loaded.
    pub contract: String,
    /// The operation that is loaded: a GET without path parameters.
    pub operation: String,
    /// Connections of harness and load generator alike.
    pub connections: usize,
    /// Rounds; medians are reported.
    pub rounds: usize,
    /// Seconds of one round of the load generator.
    pub seconds: u64,
    /// Cases of the longest run, whose memory is measured.
    pub most_cases: u64,
}

/// Measures; the section's text.
pub(super) fn measure(root: &Path, options: &Options) -> Result<String, String> {
    let version = Command::new("wrk").arg("-v").output();
    let wrk =
        version.map_err(|_| "the load generator `wrk` is not installed (Debian: apt-get install wrk)".to_owned())?;
    let wrk = String::from_utf8_lossy(&wrk.stdout).lines().next().unwrap_or_default().to_owned();
    let contract = Contract::builtin(&options.contract).map_err(|problems| problems.to_string())?;
    let operation = contract
        .operation(&options.operation)
        .filter(|operation| operation.effect == Effect::Read && operation.path_parameters().next().is_none())
        .ok_or_else(|| format!("`{}` is no reading operation without path parameters", options.operation))?;
    let bin = build(root, true)?;
    let mut text = format!("{wrk}.\n\n");
    harness(&contract, operation, options, &bin, &mut text)?;
    Ok(text)
}

fn harness(
    contract: &Contract,
    operation: &Operation,
    options: &Options,
    bin: &Path,
    text: &mut String,
) -> Result<(), String> {
    let (deployment, profile) = unlimited(bin, contract)?;
    let token = token(contract, &profile, &deployment.base_url)?;

    let connections = options.connections.to_string();
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let (requests, ..) = check(bin, &deployment, operation, &connections, 60_000)?;
        let header = format!("authorization: Bearer {token}");
        let url = format!("{}{}", deployment.base_url, operation.path);
        let plain = load(&url, &connections, options.seconds, &["-H", &header])?;
        rounds.push((requests, plain));
    }
    let ratios: Vec<f64> = rounds.iter().map(|(harness, plain)| harness / plain).collect();
    let _ = writeln!(
        text,
        "`trueline check --phases random --operation {}` with every passive \
         check on, divided by `wrk` on the same operation with a good credential; {connections} connections each, {} \
         rounds in turn, release builds, SQLite.\n\n| | requests/s (median) |\n|---|---|\n| trueline | {:.0} |\n| wrk | {:.0} \
         |\n| ratio, round by round: median (least, greatest) | **{:.2}** ({:.2}, {:.2}) |\n",
        operation.id,
        options.rounds,
        super::median(rounds.iter().map(|round| round.0)),
        super::median(rounds.iter().map(|round| round.1)),
        super::median(ratios.iter().copied()),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    let _ = writeln!(text, "### Memory of a run\n\n| cases | requests/s | peak resident memory |\n|---|---|---|");
    let mut cases = 10_000;
    while cases <= options.most_cases {
        let (requests, peak) = check(bin, &deployment, operation, &connections, cases)?;
        let _ = writeln!(text, "| {cases} | {requests:.0} | {:.1} MiB |", peak as f64 / 1024.0);
        cases *= 10;
    }
    text.push('\n');
    Ok(())
}

/// Runs the harness; requests a second, and its peak resident memory in KiB.
fn check(
    bin: &Path,
    deployment: &Deployment,
    operation: &Operation,
    workers: &str,
    cases: u64,
) -> Result<(f64, u64), String> {
    let folder = deployment.folder.path().join("report");
    let mut child = Command::new(bin.join("trueline"))
        .arg("check")
        .arg("--profile")
        .arg(&deployment.profile)
        .args(["--phases", "random", "--operation", &operation.id, "--workers", workers, "--quiet"])
        .args(["--random-cases", &cases.to_string(), "--report-dir"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run trueline: {error}"))?;
    let mut peak = 0;
    let status = loop {
        peak = peak.max(memory(child.id(), "VmHWM").unwrap_or(0));
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if !status.success() {
        return Err(format!("the benchmarked run failed: {status}; its report is in {}", folder.display()));
    }
    let report = std::fs::read(folder.join("report.json")).map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_slice(&report).map_err(|error| error.to_string())?;
    let total = |name: &str| report["totals"][name].as_f64().unwrap_or(0.0);
    Ok((total("requests") / (total("elapsed_ms") / 1000.0).max(0.001), peak))
}

/// Requests a second that wrk reaches; fails if any answer was an error.
fn load(url: &str, connections: &str, seconds: u64, further: &[&str]) -> Result<f64, String> {
    let output = Command::new("wrk")
        .args(["-t", "2", "-c", connections, "-d", &format!("{seconds}s")])
        .args(further)
        .arg(url)
        .output()
        .map_err(|error| format!("cannot run wrk: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("the load on {url} had errors:\n{said}"));
    }
    let line = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    line.and_then(|figure| figure.trim().parse().ok()).ok_or_else(|| format!("wrk said nothing of use:\n{said}"))
}

/// Logs in as the profile's first principal that can, with a request written by hand: a client would be one more dependency.
fn token(contract: &Contract, profile: &str, base_url: &str) -> Result<String, String> {
    let profile: toml::Value = toml::from_str(profile).map_err(|error| error.to_string())?;
    let principals =
        profile.get("principals").and_then(toml::Value::as_table).ok_or("the profile has no principals")?;
    let login = principals.values().find_map(|one| one.get("login")).ok_or("nobody of the profile logs in")?;
    let text = |key: &str| login.get(key).and_then(toml::Value::as_str).unwrap_or_default();
    let operation = contract.operation(text("operation")).ok_or("the login's operation does not exist")?;
    let body = serde_json::to_string(login.get("body").unwrap_or(&toml::Value::Boolean(false)))
        .map_err(|error| error.to_string())?;
    let address = base_url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).map_err(|error| format!("cannot reach {address}: {error}"))?;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        operation.path,
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))?;
    let token = body.pointer(text("token")).and_then(Value::as_str);
    token.map(str::to_owned).ok_or_else(|| "the login gave no token".to_owned())
}
