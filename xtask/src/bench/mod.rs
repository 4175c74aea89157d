//! `cargo xtask bench …`: the figures of BENCHMARKS.md, measured again; each benchmark has a section of its own there.
//! Everything is compared side by side in one run, because machines are noisy: the ratios count, the absolute figures only
//! show the order of magnitude.

mod harness;
mod load;
mod schemathesis;

use std::path::Path;
use std::process::{Command, Stdio};

use trueline_spec::Contract;

pub use self::harness::Options as HarnessOptions;
pub use self::load::Options as LoadOptions;
pub use self::schemathesis::Options as SchemathesisOptions;
use crate::deployment::Deployment;

const FILE: &str = "BENCHMARKS.md";

const PREFACE: &str = "# Benchmarks\n\nWritten by `cargo xtask bench`, each section by its own command. Ratios were measured \
                       side by side in one run; compare absolute figures with nothing.\n";

/// No request of a benchmark is ever limited.
const NO_LIMIT: u64 = 1_000_000_000;

/// What to measure.
#[derive(Debug)]
pub enum Benchmark {
    /// The harness against a plain load generator.
    Harness(HarnessOptions),
    /// The generated route against one by hand.
    Route,
    /// A reference server under many clients.
    Load(LoadOptions),
    /// The harness beside Schemathesis.
    Schemathesis(SchemathesisOptions),
}

/// Measures, and puts the section into BENCHMARKS.md.
pub fn run(root: &Path, benchmark: &Benchmark) -> Result<bool, String> {
    let (title, command, text) = match benchmark {
        Benchmark::Harness(options) => {
            let command = format!("harness {} --operation {}", options.contract, options.operation);
            ("The harness against a plain load generator".to_owned(), command, harness::measure(root, options)?)
        }
        Benchmark::Route => ("The generated route against one by hand".to_owned(), "route".to_owned(), route(root)?),
        Benchmark::Load(options) => {
            (format!("Load: {}", options.contract), options.command(), load::measure(root, options)?)
        }
        Benchmark::Schemathesis(options) => {
            ("The harness beside Schemathesis".to_owned(), options.command(), schemathesis::measure(root, options)?)
        }
    };
    let section =
        format!("## {title}\n\n`cargo xtask bench {command}` on {}, {}.\n\n{}\n", machine(), rustc(), text.trim());
    let path = root.join(FILE);
    let before = std::fs::read_to_string(&path).unwrap_or_else(|_| PREFACE.to_owned());
    std::fs::write(&path, with_section(&before, &format!("## {title}\n"), &section))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    print!("{section}");
    Ok(true)
}

/// The text with a section put in the place of the one that begins alike, or at the end.
fn with_section(text: &str, heading: &str, section: &str) -> String {
    let Some(start) = text.find(heading) else { return format!("{}\n\n{section}", text.trim_end()) };
    let after = &text[start + heading.len()..];
    match after.find("\n## ") {
        Some(end) => format!("{}{section}{}", &text[..start], &after[end..]),
        None => format!("{}{section}", &text[..start]),
    }
}

fn route(root: &Path) -> Result<String, String> {
    let output = example(root, "trueline-goldens", "route", &[])?;
    Ok(format!(
        "The same steps on plain axum: parse, validate, authenticate, limit, answer; in process and over TCP, in turn.\n\n\
         ```\n{output}```\n"
    ))
}

/// Runs an example of a package in release; what it prints. Fails if it fails.
fn example(root: &Path, package: &str, name: &str, arguments: &[&str]) -> Result<String, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["run", "--release", "--quiet", "--package", package, "--example", name, "--"]);
    cargo.args(arguments).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|error| format!("cannot run {cargo:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{cargo:?} failed: {}\n{said}", output.status)) }
}

/// A reference server whose rate classes are never used up, and its profile, which says so too.
fn unlimited(bin: &Path, contract: &Contract) -> Result<(Deployment, String), String> {
    let limits = contract.vocabulary.iter().filter_map(|vocabulary| vocabulary.rate_limits.as_ref());
    let classes: Vec<&str> = limits.flat_map(|limits| limits.classes.keys().map(String::as_str)).collect();
    let limits: Vec<String> = classes.iter().map(|class| format!("{class}={NO_LIMIT}")).collect();
    let mut further = vec!["--log", "error"];
    limits.iter().for_each(|limit| further.extend(["--limit", limit]));
    let deployment = Deployment::start(bin, &contract.name, &further)?;
    let profile = std::fs::read_to_string(&deployment.profile).map_err(|error| error.to_string())?;
    let own: Vec<String> = classes.iter().map(|class| format!("{class} = {NO_LIMIT}\n")).collect();
    std::fs::write(&deployment.profile, format!("{profile}\n[limits]\n{}", own.concat())).map_err(|e| e.to_string())?;
    Ok((deployment, profile))
}

/// A figure of `/proc/PID/status` in KiB, while the process lives.
fn memory(process: u32, figure: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_matches([' ', '\t', ':']));
    format!("{cores} cores, {}", model.unwrap_or("unknown processor"))
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_older_self() {
        let first = with_section("# B\n", "## One\n", "## One\n\n1\n");
        let both = with_section(&first, "## Two\n", "## Two\n\n2\n");
        assert_eq!(both, "# B\n\n## One\n\n1\n\n## Two\n\n2\n");
        assert_eq!(with_section(&both, "## One\n", "## One\n\nnew\n"), "# B\n\n## One\n\nnew\n\n## Two\n\n2\n");
        assert_eq!(with_section(&both, "## Two\n", "## Two\n\nnew\n"), "# B\n\n## One\n\n1\n\n## Two\n\nnew\n");
    }
}
