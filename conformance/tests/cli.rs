//! The command line as a stranger meets it: help, messages, exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Two operations, one of which needs a name of at most five characters.
const SPEC: &str = r##"openapi: 3.0.3
info: { title: Notes, version: 1.0.0 }
servers: [{ url: https://notes.example.com }]
paths:
  /notes:
    get:
      operationId: listNotes
      responses:
        '200':
          description: All notes.
          content:
            application/json:
              schema: { type: array, items: { type: string } }
    post:
      operationId: createNote
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [name]
              properties: { name: { type: string, maxLength: 5 } }
            example: { name: first }
      responses:
        '201': { description: Made. }
        '400': { description: Refused. }
"##;

/// A login, a key, an id that no operation makes, and an operation that a client certificate opens.
const SHOP: &str = r##"openapi: 3.0.3
info: { title: "Shop \"North\"", version: 1.0.0 }
paths:
  /register:
    post:
      operationId: register
      requestBody: { required: true, content: { application/json: { schema: { $ref: '#/components/schemas/Account' } } } }
      responses: { '201': { description: In., content: { application/json: { schema: { $ref: '#/components/schemas/Session' } } } } }
  /session:
    post:
      operationId: logIn
      requestBody: { required: true, content: { application/json: { schema: { $ref: '#/components/schemas/Account' } } } }
      responses: { '200': { description: In., content: { application/json: { schema: { $ref: '#/components/schemas/Session' } } } } }
  /orders:
    get: { operationId: listOrders, security: [{ token: [] }], responses: { '200': { description: All. } } }
  /stores/{storeId}:
    get:
      operationId: readStore
      security: [{ apiKey: [] }]
      parameters: [{ name: storeId, in: path, required: true, schema: { type: string } }]
      responses: { '200': { description: A store. } }
  /vault:
    get: { operationId: openVault, security: [{ certificate: [] }], responses: { '200': { description: Open. } } }
components:
  securitySchemes:
    token: { type: http, scheme: bearer }
    apiKey: { type: apiKey, in: header, name: X-Shop-Key }
    certificate: { type: mutualTLS }
  schemas:
    Account: { type: object, required: [email, password], properties: { email: { type: string }, password: { type: string }, name: { type: string } } }
    Session: { type: object, properties: { user: { type: object, properties: { id: { type: string } } }, tokens: { type: object, properties: { access_token: { type: string } } } } }
"##;

fn trueline(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trueline"))
        .args(args)
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .output()
        .expect("trueline starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.yaml"), SPEC).expect("it is written");
    folder
}

/// The answers of a service, by request line, media type and body.
type Answers = fn(&str, &str, &str) -> (u16, &'static str);

/// A service that answers until the test ends; its address.
fn serve(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, answers));
        }
    });
    url
}

/// As much HTTP as it takes; a connection that ends is no failure.
fn answer(stream: TcpStream, answers: Answers) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut length = 0;
        let mut media_type = String::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-type:") {
                value.trim().clone_into(&mut media_type);
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, text) = answers(&line, &media_type, &String::from_utf8_lossy(&body));
        let media = if text.is_empty() { "" } else { "content-type: application/json\r\n" };
        let size = text.len();
        // RFC 9110 section 15.5.6.
        let allow = if status == 405 { "allow: GET, POST\r\n" } else { "" };
        write!(writer, "HTTP/1.1 {status} X\r\n{media}{allow}content-length: {size}\r\n\r\n{text}").ok()?;
    }
}

fn good(line: &str, media_type: &str, body: &str) -> (u16, &'static str) {
    let path = line.split(' ').nth(1).unwrap_or_default();
    if path.split('?').next() != Some("/notes") {
        return (404, "");
    }
    match line.split(' ').next() {
        Some("GET") => (200, "[]"),
        Some("POST") => {
            let note = serde_json::from_str::<serde_json::Value>(body).ok();
            let name = note.as_ref().and_then(|note| note.as_object()?.get("name")?.as_str());
            let fits = media_type == "application/json" && name.is_some_and(|name| name.chars().count() <= 5);
            if fits { (201, "") } else { (400, "") }
        }
        _ => (405, ""),
    }
}

fn bad(line: &str, media_type: &str, body: &str) -> (u16, &'static str) {
    match good(line, media_type, body) {
        (200, _) => (200, "{\"notes\":[]}"),
        other => other,
    }
}

#[test]
fn every_help_reads_well() {
    let folder = folder();
    for command in [
        "",
        "check",
        "plan",
        "explain",
        "replay",
        "init",
        "accept",
        "report",
        "merge",
        "profile-schema",
        "report-schema",
        "selftest",
    ] {
        let args: Vec<&str> = [command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let output = trueline(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let name = format!("help_{}", if command.is_empty() { "trueline" } else { command });
        insta::assert_snapshot!(name, out(&output));
    }
}

/// One page with every message about wrong usage.
#[test]
fn every_mistake_has_a_clear_message() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    write("typo.toml", "contract = \"notes.yaml\"\nbase-urll = \"http://localhost\"\n");
    write(
        "misfit.toml",
        "contract = \"notes.yaml\"\n[principals.alice]\nscheme = \"bearer\"\ncredential = \"secret\"\n",
    );
    write("lost.toml", "contract = \"ragchat\"\n");
    write("broken.yaml", "openapi: 3.0.3\ninfo: { title: [\n");
    write("report.json", "{\"format\": 2}");
    let url = "http://127.0.0.1:1";
    let mistakes: &[&[&str]] = &[
        &["check"],
        &["check", "--spec", "notes.yaml"],
        &["check", "--spec", "notes.yaml", "--url", "localhost:8080"],
        &["check", "--spec", "notes.yaml", "--url", "http://bob:hunter2@localhost"],
        &["check", "--spec", "notes.yaml", "--contract", "ragchats"],
        &["check", "--contract", "ragchat", "--url", url],
        &["check", "--spec", "absent.yaml", "--url", url],
        &["check", "--spec", "broken.yaml", "--url", url],
        &["check", "--profile", "absent.toml"],
        &["check", "--profile", "typo.toml"],
        &["check", "--profile", "misfit.toml"],
        &["check", "--profile", "lost.toml"],
        &["check", "--spec", "notes.yaml", "--url", url, "--operation", "createNotes"],
        &["check", "--spec", "notes.yaml", "--url", url, "--phases", "examples,boundry"],
        &["check", "--spec", "notes.yaml", "--url", url, "--workers", "0", "--pace", "-1"],
        &["plan", "--spec", "notes.yaml", "--case", "examples/createNote/bodi"],
        &["explain", "response.scheme"],
        &["replay", "F0123456789", "--report", "report.json"],
        &["check", "--spec", "notes.yaml", "--url", url, "--shard", "3/2"],
        &["check", "--spec", "notes.yaml", "--url", url, "--deviations", "typo.toml"],
        &["accept", "F0123456789", "--reason", " ", "--until", "2999-12-31"],
        &["accept", "F0123456789", "--reason", "r", "--until", "2020-01-01"],
        &["accept", "F0123456789", "--reason", "r", "--until", "tomorrow"],
        &["report", "--events", "absent.ndjson"],
        &["report", "--events", "notes.yaml"],
        &["merge", "report.json"],
        &["init", "--spec", "notes.yaml", "--out", "typo.toml"],
    ];
    let mut page = String::new();
    for &args in mistakes {
        let output = trueline(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{args:?}");
        page.push_str(&format!("$ trueline {}\n{}\n", args.join(" "), err(&output).trim_end()));
        page.push('\n');
    }
    assert!(
        !page.contains("hunter2@localhost\n") || page.matches("hunter2").count() == 1,
        "only the command repeats it"
    );
    insta::assert_snapshot!("mistakes", page);
}

#[test]
fn nobody_there_is_exit_3() {
    let folder = folder();
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let url = format!("http://127.0.0.1:{port}");
    let output = trueline(folder.path(), &["check", "--spec", "notes.yaml", "--url", &url]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(err(&output).contains(&format!("error: {url} cannot be reached: ")), "{}", err(&output));
}

#[test]
fn a_run_that_did_not_start_leaves_no_report_of_an_earlier_one() {
    let folder = folder();
    let verdict = || {
        let json = std::fs::read(folder.path().join("trueline-report/report.json")).expect("it reads");
        serde_json::from_slice::<serde_json::Value>(&json).expect("it is JSON")["verdict"].clone()
    };
    let url = serve(good);
    let args = ["check", "--spec", "notes.yaml", "--phases", "examples", "--url"];
    assert_eq!(trueline(folder.path(), &[&args[..], &[&url]].concat()).status.code(), Some(0));
    assert_eq!(verdict(), "conforms");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let gone = format!("http://127.0.0.1:{port}");
    let output = trueline(folder.path(), &[&args[..], &[&gone, "--junit", "junit.xml", "--events", "events"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert_eq!(verdict(), "unreachable");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it reads");
    assert!(read("trueline-report/report.html").contains("<h1>Did not run</h1>"));
    assert!(read("junit.xml").contains("<error message=\"http://127.0.0.1:"), "{}", read("junit.xml"));
    let again = trueline(folder.path(), &["report", "--events", "events"]);
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(out(&again).trim_end().ends_with("(exit 3: deployment unreachable or credential dead)"), "{}", out(&again));
}

#[test]
fn an_accepted_finding_passes_until_it_is_mended() {
    let folder = folder();
    let check = |url: &str| {
        trueline(folder.path(), &["check", "--spec", "notes.yaml", "--url", url, "--phases", "examples", "-q"])
    };
    let url = serve(bad);
    let output = check(&url);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let text = out(&output);
    let id = text.split("trueline replay ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an id");
    let accept = ["accept", id, "--reason", "a list in an object; gone with version 2", "--until", "2999-12-31"];
    let accepted = trueline(folder.path(), &accept);
    assert_eq!(accepted.status.code(), Some(0), "{}", err(&accepted));
    assert!(
        out(&accepted)
            .ends_with("accepted until 2999-12-31 in trueline-deviations.toml; `trueline check` goes by it\n")
    );
    let twice = trueline(folder.path(), &accept);
    assert_eq!(twice.status.code(), Some(2), "{}", err(&twice));
    assert!(err(&twice).contains(&format!("has accepted {id} already, until 2999-12-31")), "{}", err(&twice));

    let output = check(&url);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    assert!(out(&output).contains("no finding (1 accepted)"), "{}", out(&output));

    let output = check(&serve(good));
    assert_eq!(output.status.code(), Some(1), "{}\n{}", out(&output), err(&output));
    assert!(out(&output).contains("DOES NOT CONFORM  1 stale deviation"), "{}", out(&output));

    // A run that sends other cases cannot know.
    let other = ["check", "--spec", "notes.yaml", "--url", &serve(good), "--phases", "boundary", "-q"];
    let output = trueline(folder.path(), &other);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
}

#[test]
fn shards_are_merged_into_the_report_of_the_whole_run() {
    let folder = folder();
    let url = serve(bad);
    let args = ["check", "--spec", "notes.yaml", "--url", &url, "-q", "--phases", "examples,boundary,access"];
    let whole = trueline(folder.path(), &[&args[..], &["--report-dir", "whole"]].concat());
    assert_eq!(whole.status.code(), Some(1), "{}", err(&whole));
    for shard in ["1", "2"] {
        let one = trueline(
            folder.path(),
            &[&args[..], &["--shard", &format!("{shard}/2"), "--report-dir", &format!("shard-{shard}")]].concat(),
        );
        assert!(matches!(one.status.code(), Some(0 | 1)), "{}", err(&one));
    }
    let merge = ["merge", "shard-1/report.json", "shard-2/report.json", "--junit", "junit.xml"];
    let merged = trueline(folder.path(), &merge);
    assert_eq!(merged.status.code(), Some(1), "{}", err(&merged));
    let read = |name: &str| {
        let json = std::fs::read(folder.path().join(name)).expect("it reads");
        serde_json::from_slice::<serde_json::Value>(&json).expect("it is JSON")
    };
    let (whole, merged) = (read("whole/report.json"), read("trueline-report/report.json"));
    for pointer in ["/verdict", "/run/plan", "/run/cases", "/totals/planned", "/ledger", "/findings/0/id"] {
        assert!(whole.pointer(pointer).is_some_and(|value| Some(value) == merged.pointer(pointer)), "{pointer}");
    }
    assert!(folder.path().join("junit.xml").is_file() && folder.path().join("trueline-report/report.html").is_file());
    let half = trueline(folder.path(), &["merge", "shard-2/report.json"]);
    assert_eq!(half.status.code(), Some(2));
    assert_eq!(err(&half), "error: these shards are missing: 1/2\n");
}

#[test]
fn a_first_profile_is_drafted_from_the_document() {
    let folder = folder();
    std::fs::write(folder.path().join("shop.yaml"), SHOP).expect("it is written");
    let args = ["init", "--spec", "shop.yaml", "--url", "http://localhost:8080"];
    let output = trueline(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let written = std::fs::read_to_string(folder.path().join("trueline.toml")).expect("it reads");
    insta::assert_snapshot!(
        "init",
        format!("$ trueline {}\n{}\n--- trueline.toml\n{written}", args.join(" "), out(&output))
    );
    let plan = trueline(folder.path(), &["plan", "--profile", "trueline.toml"]);
    assert_eq!(plan.status.code(), Some(0), "{}", err(&plan));
    // What is there is not written over unless somebody says so, and the draft may stand elsewhere.
    assert_eq!(trueline(folder.path(), &args).status.code(), Some(2));
    assert_eq!(trueline(folder.path(), &[&args[..], &["--force"]].concat()).status.code(), Some(0));
    let elsewhere = trueline(folder.path(), &[&args[..], &["--out", "profiles/shop.toml"]].concat());
    assert_eq!(elsewhere.status.code(), Some(0), "{}", err(&elsewhere));
    let plan = trueline(folder.path(), &["plan", "--profile", "profiles/shop.toml"]);
    assert_eq!(plan.status.code(), Some(0), "{}", err(&plan));
}

#[test]
fn every_format_is_made_again_from_the_events() {
    let folder = folder();
    let url = serve(bad);
    let check = ["check", "--spec", "notes.yaml", "--url", &url, "--phases", "examples", "-q", "--events", "events"];
    let first = ["--html", "1.html", "--sarif", "1.sarif", "--har", "1.har", "--junit", "1.xml", "--json", "1.json"];
    let output = trueline(folder.path(), &[&check[..], &first].concat());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let again = ["--html", "2.html", "--sarif", "2.sarif", "--har", "2.har", "--junit", "2.xml", "--json", "2.json"];
    let output = trueline(folder.path(), &[&["report", "--events", "events", "-q"][..], &again].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for format in ["html", "sarif", "har", "xml", "json"] {
        let read =
            |number| std::fs::read_to_string(folder.path().join(format!("{number}.{format}"))).expect("it reads");
        // quick-junit gives each report an id of its own; everything else is the same byte for byte.
        let plain = |text: String| match text.split_once(" uuid=\"") {
            Some((before, after)) => format!("{before}{}", after.split_once('"').map_or("", |(_, rest)| rest)),
            None => text,
        };
        assert_eq!(plain(read(1)), plain(read(2)), "{format}");
    }
}

#[test]
fn a_clean_service_conforms() {
    let folder = folder();
    let url = serve(good);
    let args =
        ["check", "--spec", "notes.yaml", "--url", &url, "--phases", "examples,boundary", "--junit", "out/junit.xml"];
    let output = trueline(folder.path(), &[&args[..], &["--json", "out/copy.json", "--events", "out/events"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    assert!(out(&output).trim_end().ends_with("(exit 0: conforms)"), "{}", out(&output));
    assert!(!out(&output).contains('\x1b') && !err(&output).contains(['\x1b', '\r']), "no control characters in a log");
    assert!(err(&output).contains("phase examples (1 of 2): "), "{}", err(&output));
    for file in ["trueline-report/report.json", "out/junit.xml", "out/copy.json"] {
        assert!(out(&output).contains(file), "{}", out(&output));
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    let events = std::fs::read_to_string(folder.path().join("out/events")).expect("it reads");
    assert!(events.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(events.lines().last().is_some_and(|line| line.contains("\"event\":\"run-finished\"")));
}

#[test]
fn a_finding_can_be_replayed_until_it_is_gone() {
    let folder = folder();
    let url = serve(bad);
    let output =
        trueline(folder.path(), &["check", "--spec", "notes.yaml", "--url", &url, "--phases", "examples", "-q"]);
    assert_eq!(output.status.code(), Some(1), "{}\n{}", out(&output), err(&output));
    let text = out(&output);
    assert!(text.starts_with("MUST response.schema"), "quiet starts with the finding: {text}");
    let id =
        text.split("trueline replay ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a replay line");

    let again = trueline(folder.path(), &["replay", id]);
    assert_eq!(again.status.code(), Some(1), "{}\n{}", out(&again), err(&again));
    assert!(out(&again).trim_end().ends_with(&format!("{id} is still broken (exit 1)")), "{}", out(&again));

    let mended = serve(good);
    let again = trueline(folder.path(), &["replay", &id.to_lowercase(), "--url", &mended]);
    assert_eq!(again.status.code(), Some(0), "{}\n{}", out(&again), err(&again));
    assert!(out(&again).trim_end().ends_with(&format!("{id} does not happen any more (exit 0)")), "{}", out(&again));

    let unknown = trueline(folder.path(), &["replay", "F0000000000"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", err(&unknown));
    assert!(err(&unknown).contains("has no finding `F0000000000`"), "{}", err(&unknown));
}

#[test]
fn a_report_that_cannot_be_written_changes_no_verdict() {
    let folder = folder();
    let url = serve(good);
    std::fs::write(folder.path().join("file"), "").expect("it is written");
    let args = ["check", "--spec", "notes.yaml", "--url", &url, "--phases", "examples", "--report-dir", "file/report"];
    let output = trueline(folder.path(), &[&args[..], &["--events", "file/events"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    assert!(err(&output).contains("error: cannot write file/report/report.json: "), "{}", err(&output));
    assert!(err(&output).contains("error: cannot write file/events: "), "{}", err(&output));
    assert!(out(&output).trim_end().ends_with("(exit 0: conforms)"), "{}", out(&output));
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_report() {
    let folder = folder();
    let url = serve(good);
    // Slow enough to be interrupted in the middle.
    let child = Command::new(env!("CARGO_BIN_EXE_trueline"))
        .args(["check", "--spec", "notes.yaml", "--url", &url, "--pace", "2"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("trueline starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}\n{}", out(&output), err(&output));
    assert!(out(&output).trim_end().ends_with("(exit 130: interrupted)"), "{}", out(&output));
    assert!(folder.path().join("trueline-report/report.json").is_file());
}

#[test]
fn a_plan_is_shown_without_traffic() {
    let folder = folder();
    let args = ["plan", "--spec", "notes.yaml", "--phases", "boundary", "--operation", "createNote"];
    let output = trueline(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("createNote") && !out(&output).contains("listNotes"), "{}", out(&output));
    assert_eq!(out(&output), out(&trueline(folder.path(), &args)), "same inputs, same plan");

    let listed = out(&trueline(folder.path(), &[&args[..], &["--cases"]].concat()));
    assert!(listed.contains("refused as invalid: body /name breaks maxLength"), "{listed}");

    let json = out(&trueline(folder.path(), &[&args[..], &["--cases", "--format", "json"]].concat()));
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["phases"][0]["operations"][0]["operation"], "createNote");
    assert_eq!(json["cases"].as_u64(), json["listing"].as_array().map(|cases| cases.len() as u64));
}

#[test]
fn documents_come_from_urls_and_overlays_change_them() {
    let folder = folder();
    let served = serve(|line, _, _| match line.split(' ').nth(1).unwrap_or_default() {
        "/notes.yaml" => (200, SPEC),
        "/moved.yaml" => (
            200,
            "overlay: 1.0.0\ninfo: {title: O, version: '1'}\nextends: notes.yaml\nactions: [{target: '$.paths[*].get', remove: true}]\n",
        ),
        _ => (404, ""),
    });
    let plan = |args: &[&str]| trueline(folder.path(), &[&["plan", "--phases", "boundary"], args].concat());
    let url = format!("{served}/notes.yaml");
    let far = plan(&["--spec", &url]);
    assert_eq!(far.status.code(), Some(0), "{}", err(&far));
    assert_eq!(out(&far), out(&plan(&["--spec", "notes.yaml"])), "it does not matter where a document lies");

    let overlay = format!("{served}/moved.yaml");
    let laid = plan(&["--overlay", &overlay]);
    assert_eq!(laid.status.code(), Some(0), "{}", err(&laid));
    assert!(out(&laid).contains("createNote") && !out(&laid).contains("listNotes"), "{}", out(&laid));
    std::fs::write(
        folder.path().join("staging.toml"),
        format!("contract = \"notes.yaml\"\noverlays = [\"{overlay}\"]\n"),
    )
    .expect("it is written");
    assert_eq!(out(&laid), out(&plan(&["--profile", "staging.toml"])));

    let nothing = plan(&["--spec", &format!("{served}/none.yaml")]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(err(&nothing).contains("the server answers 404"), "{}", err(&nothing));
    let builtin = plan(&["--contract", "ragchats", "--overlay", &overlay]);
    assert_eq!(builtin.status.code(), Some(2), "{}", err(&builtin));
}

#[test]
fn checks_are_explained() {
    let folder = folder();
    let all = out(&trueline(folder.path(), &["explain"]));
    assert!(all.lines().any(|line| line.starts_with("response.status ")), "{all}");
    let family = out(&trueline(folder.path(), &["explain", "response"]));
    assert!(family.lines().count() > 1 && family.lines().all(|line| line.starts_with("response.")), "{family}");
    let one = out(&trueline(folder.path(), &["explain", "response.status"]));
    assert!(one.starts_with("response.status  ") && one.contains("\nWhat must happen\n"), "{one}");
}

#[test]
fn the_schema_of_profiles_is_a_schema() {
    let folder = folder();
    let output = trueline(folder.path(), &["profile-schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert!(schema["properties"]["base-url"].is_object(), "{schema}");
}

#[test]
fn the_selftest_says_what_found_each_fault() {
    let folder = folder();
    let output = trueline(folder.path(), &["selftest", "--fault", "patch-wipes", "--family", "time.budget"]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    let said = out(&output);
    // How long it took and how much was sent is no matter of the words.
    let (said, figures) = said.trim_end().rsplit_once('\n').expect("the last line has figures");
    assert!(figures.contains(" requests in "), "{figures}");
    insta::assert_snapshot!(said, @r"
    found  depot          patch-wipes                        state.patch-is-partial
    found  depot          full-pages-take-seconds            time.budget

    state        1 of   1
    time         1 of   1
    2 of 2 faults found
    ");
    let output = trueline(folder.path(), &["selftest", "--fault", "patch-wipe"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    insta::assert_snapshot!(said, @r"
    error: there is no fault `patch-wipe`
    help: did you mean `patch-wipes`?
    ");
}
