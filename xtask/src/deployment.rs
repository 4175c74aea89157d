//! A reference server as a child process: built, started on a free port with a database of its own, stopped again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it listens; a debug build on a busy machine is slow.
const READY: Duration = Duration::from_secs(120);

/// A running server. Dropping it stops the process and removes what it kept.
pub struct Deployment {
    server: Child,
    /// Where it is reached.
    pub base_url: String,
    /// The conformance profile of its demonstration.
    pub profile: PathBuf,
    /// Holds database, profile and log.
    pub folder: TempDir,
}

/// Builds the packages' binaries with cargo.
pub fn build(root: &Path, release: bool) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args([
        "build",
        "--package",
        "trueline-server",
        "--package",
        "trueline-conformance",
        "--bins",
    ]);
    if release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join(if release { "release" } else { "debug" }))
}

/// Runs a command to its end; the error names it.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}

impl Deployment {
    /// The id of the server's process.
    pub fn process(&self) -> u32 {
        self.server.id()
    }

    /// Starts `<bin>/trueline-server` with the demonstration and these further arguments, and waits until it listens.
    pub fn start(bin: &Path, contract: &str, further: &[&str]) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("trueline-")
            .tempdir()
            .map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let (ready, profile, log) =
            (folder.path().join("ready"), folder.path().join("profile.toml"), folder.path().join("server.log"));
        let file = std::fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut command = Command::new(bin.join("trueline-server"));
        command
            .args(["serve", "--contract", contract, "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .arg("--demo-data")
            .arg("--profile")
            .arg(&profile)
            .args(further)
            .stdout(file.try_clone().map_err(|error| error.to_string())?)
            .stderr(file)
            .stdin(Stdio::null());
        let mut server = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let started = Instant::now();
        loop {
            if let Ok(base_url) = std::fs::read_to_string(&ready) {
                return Ok(Deployment { server, base_url: base_url.trim().to_owned(), profile, folder });
            }
            let ended = server.try_wait().ok().flatten();
            if ended.is_some() || started.elapsed() > READY {
                let why = ended.map_or_else(|| "does not listen".to_owned(), |status| format!("ended: {status}"));
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let _ = server.kill();
                return Err(format!("the server {why}\n{said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // SIGTERM, so that what it does at a graceful end is done every time it is used here.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(10) {
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
