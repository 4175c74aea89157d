//! The program from outside: its mistakes, its settings, and how it stops.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trueline-server"));
    command.args(arguments).env("TRUELINE_AUTH__PASSWORD__MEMORY_KIB", "8").env("TRUELINE_AUTH__PASSWORD__PASSES", "1");
    command
}

fn output(mut command: Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn mistakes_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    std::fs::write(&file, "[ingest]\nsetle-ms = 5\n").unwrap();
    let base = ["migrate", "--contract", "ragchats", "--database", "sqlite::memory:"];
    for (arguments, expected) in [
        (vec!["--config", text(&file)], "unknown setting `ingest.setle-ms`; did you mean `settle-ms`?"),
        (vec!["--config", "/nonexistent/x.toml"], "cannot use /nonexistent/x.toml\n  because: No such file"),
        (vec!["--log", "a=b=c"], "log.filter \"a=b=c\" is not usable"),
    ] {
        let (ok, _, error) = output(server(&[&base[..], &arguments[..]].concat()));
        assert!(!ok && error.starts_with("error: ") && error.contains(expected), "{arguments:?}: {error}");
    }
    let (ok, _, error) =
        output(server(&["migrate", "--contract", "ragchats", "--database", "postgres://u:hunter2@h/d"]));
    assert!(!ok && error.contains("only sqlite: URLs are supported") && !error.contains("hunter2"), "{error}");
    let (ok, _, error) = output(server(&[
        "serve",
        "--contract",
        "ragchats",
        "--database",
        "sqlite::memory:",
        "--limit",
        "agent-qery=5",
    ]));
    assert!(!ok && error.contains("unknown rate class `agent-qery`; did you mean `agent-query`?"), "{error}");
    let (ok, _, error) = output(server(&["serve", "--contract", "nonsense"]));
    assert!(!ok && error.contains("ragchats"), "{error}");
    let mut command = server(&base);
    command.env("TRUELINE_MODEL__PROVIDER", "openai");
    let (ok, _, error) = output(command);
    assert!(!ok && error.contains("model.base-url is needed"), "{error}");
    let mut command = server(&base);
    command.env("TRUELINE_LOG__FORMT", "json").env("TRUELINE_SEED", "7");
    let (ok, _, error) = output(command);
    assert!(!ok && error.contains("did you mean `format`?") && !error.contains("seed"), "{error}");
}

#[test]
fn demonstration_data_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |format: &str| {
        let arguments = ["demo-data", "--contract", "ragchats", "--data-dir", text(folder.path()), "--format", format];
        let (ok, out, error) = output(server(&arguments));
        assert!(ok, "{error}");
        out
    };
    let first: Value = serde_json::from_str(&demo("json")).unwrap();
    let second: toml::Table = toml::from_str(&demo("toml")).unwrap();
    assert_eq!(first["users"]["victor"]["role"], "viewer");
    assert_eq!(first["users"]["alice"]["password"].as_str(), second["users"]["alice"]["password"].as_str());
    assert_eq!(first["agent_keys"]["good"].as_str().unwrap().len(), 43);
    let variables = demo("env");
    let password = first["users"]["alice"]["password"].as_str().unwrap();
    assert!(variables.contains(&format!("USERS_ALICE_PASSWORD='{password}'\n")), "a line for each text");
    let file = folder.path().join("demo.json");
    let arguments = ["demo-data", "--contract", "ragchats", "--data-dir", text(folder.path()), "--out", text(&file)];
    assert!(output(server(&arguments)).0);
    let third: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(third["agent_keys"], first["agent_keys"]);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[cfg(unix)]
#[test]
fn a_request_to_stop_ends_the_program_well() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut command =
        server(&["serve", "--contract", "ragchats", "--listen", "127.0.0.1:0", "--data-dir", text(folder.path())]);
    let profile = folder.path().join("profile.toml");
    command.args(["--ready-file", text(&ready), "--log-format", "json", "--demo-data", "--profile", text(&profile)]);
    command.stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let started = Instant::now();
    while !ready.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let url = std::fs::read_to_string(&ready).unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with('\n'), "{url}");
    let profile: toml::Table = toml::from_str(&std::fs::read_to_string(&profile).unwrap()).unwrap();
    assert_eq!(profile["base-url"].as_str(), Some(url.trim()));
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(log.lines().last().unwrap().contains("\"stopped\""), "{log}");
    // Folded into the one file.
    assert!(!folder.path().join("ragchats.db-wal").exists());
}

#[cfg(unix)]
#[test]
fn several_contracts_are_served_below_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, profile) = (folder.path().join("ready"), folder.path().join("profile.toml"));
    let both = ["serve", "--contract", "ragchats", "--contract", "foilengine", "--listen", "127.0.0.1:0"];
    let mut refused = server(&both);
    refused.args(["--database", "sqlite::memory:"]);
    let (ok, _, error) = output(refused);
    assert!(!ok && error.contains("--database is for one contract"), "{error}");
    let mut command = server(&both);
    command.args(["--data-dir", text(folder.path()), "--ready-file", text(&ready), "--limit", "sdk-chat=7"]);
    command.args(["--demo-data", "--profile", text(&profile)]).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while !ready.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let root = std::fs::read_to_string(&ready).unwrap().trim().to_owned();
    let status = |path: &str| {
        let url = format!("{root}{path}");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { reqwest::get(url).await.unwrap().status().as_u16() })
    };
    assert_eq!(status("/foilengine/api/v1/personas"), 200);
    assert_eq!(status("/ragchats/agents/"), 401);
    assert_eq!(status("/api/v1/personas"), 404);
    for name in ["foilengine", "ragchats"] {
        let profile = std::fs::read_to_string(folder.path().join(format!("profile-{name}.toml"))).unwrap();
        let profile: toml::Table = toml::from_str(&profile).unwrap();
        assert_eq!(profile["base-url"].as_str(), Some(format!("{root}/{name}").as_str()));
        assert!(folder.path().join(format!("{name}.db")).exists());
    }
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
