//! Malformed profiles and contracts, dead and hostile deployments: a clear word each time, never a panic, never a hang.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use trueline_conformance::exchange::{Failure, MAX_BODY_BYTES, Request};
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::Profile;
use trueline_conformance::report::Report;
use trueline_conformance::run::RunError;
use trueline_conformance::suite::{Suite, SuiteError};
use trueline_conformance::target::{Connection, HttpOptions, HttpTarget, Target};
use trueline_spec::Contract;

const DOCUMENT: &str = "
openapi: 3.0.3
info: {title: One, version: '1'}
paths:
  /one:
    get:
      operationId: readOne
      responses:
        '200':
          description: One.
          content: {application/json: {schema: {type: object, required: [one], properties: {one: {type: integer}}}}}
        '404': {description: No.}
";

/// Serves every connection with this function; the address it listens on.
async fn serve<F, T>(answer: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// Reads the head of a request: who answers before it was asked breaks the protocol in another way than was meant.
async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
}

/// Reads the head of a request, then sends these bytes and closes.
async fn reply(mut stream: TcpStream, bytes: Vec<u8>) {
    read_head(&mut stream).await;
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

fn target(address: SocketAddr, timeout_ms: u64) -> HttpTarget {
    let base_url = format!("http://{address}");
    HttpTarget::new(HttpOptions {
        base_url,
        timeout: Duration::from_millis(timeout_ms),
        addresses: Vec::new(),
        connection: Connection::default(),
    })
    .unwrap()
}

async fn ask(address: SocketAddr, timeout_ms: u64) -> Result<u16, Failure> {
    let request = Request {
        method: http::Method::GET,
        path: "/one".to_owned(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        from: None,
    };
    target(address, timeout_ms).send(request).await.map(|response| response.status)
}

async fn check(address: SocketAddr, timeout_ms: u64) -> Result<Report, SuiteError> {
    Suite::new(Contract::from_text("one.yaml", DOCUMENT).unwrap()).run(target(address, timeout_ms)).await
}

fn checks(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.check.as_str()).collect()
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(ask(address, 2000).await, Err(Failure::Unreachable(_))));
    let error = check(address, 2000).await.unwrap_err();
    assert!(matches!(error, SuiteError::Run(RunError::Unreachable { .. })), "{error}");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout() {
    let address = serve(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    assert!(matches!(ask(address, 200).await, Err(Failure::Timeout(_))));
}

#[tokio::test]
async fn an_answer_that_never_ends_is_a_timeout() {
    let address = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(matches!(ask(address, 300).await, Err(Failure::Timeout(_))));
}

#[tokio::test]
async fn fifty_megabytes_are_not_read_to_the_end() {
    const SIZE: usize = 50 * 1024 * 1024;
    const { assert!(SIZE > MAX_BODY_BYTES) };
    let address = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {SIZE}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let chunk = vec![b' '; 1024 * 1024];
        for _ in 0..50 {
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert_eq!(ask(address, 20_000).await, Err(Failure::TooLarge));
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_body_is_a_finding() {
    let address = serve(|stream| {
        reply(
            stream,
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"one\":".to_vec(),
        )
    })
    .await;
    assert!(matches!(ask(address, 2000).await, Err(Failure::Cut(_))));
    let report = check(address, 2000).await.unwrap();
    assert!(checks(&report).contains(&"input.no-server-error"), "{:?}", checks(&report));
}

#[tokio::test]
async fn a_reset_connection_is_told_as_one() {
    let address = serve(|stream| async move {
        let _ = stream.set_zero_linger();
        drop(stream);
    })
    .await;
    assert!(matches!(ask(address, 2000).await, Err(Failure::Cut(_) | Failure::Unreachable(_))));
}

#[tokio::test]
async fn what_is_not_http_is_told_as_such() {
    let address = serve(|stream| reply(stream, b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec())).await;
    assert!(matches!(ask(address, 2000).await, Err(Failure::Protocol(_) | Failure::Cut(_))));
}

#[tokio::test]
async fn bodies_that_are_no_text_no_json_or_endlessly_deep_are_findings() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for body in [b"{\"one\": \"\xff\xfe\"}".to_vec(), b"<html>".to_vec(), deep.into_bytes(), b"{\"one\":1".to_vec()] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        let address = serve(move |stream| reply(stream, bytes.clone())).await;
        let report = check(address, 5000).await.unwrap();
        assert!(checks(&report).contains(&"response.schema"), "{:?}", checks(&report));
    }
}

#[tokio::test]
async fn a_deployment_that_goes_away_ends_the_run_with_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // The first is the harness asking whether anybody is there at all.
        for _ in 0..3 {
            let (stream, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 10";
            reply(stream, format!("{head}\r\n\r\n{{\"one\": 1}}").into_bytes()).await;
        }
    });
    let many = PlanOptions { random_cases: 400, ..PlanOptions::default() };
    let document = DOCUMENT.replace(
        "      responses:",
        "      parameters: [{name: n, in: query, schema: {type: integer}}]\n      responses:",
    );
    let suite = Suite::new(Contract::from_text("one.yaml", &document).unwrap()).plan(many);
    let report = suite.run(target(address, 2000)).await.unwrap();
    assert!(report.complete);
    assert!(report.interrupted.is_some_and(|why| why.contains("does not answer any more")));
}

#[test]
fn malformed_profiles_are_refused_with_place_and_reason() {
    let messages: Vec<String> = [
        "base-url = ",
        "base-urls = 'http://localhost'",
        "[principals.alice]\nschema = 'key'",
        "[principals.alice]\nscheme = 7",
        "[principals.alice]\nscheme = 'key'\nreserved-for = 'limit'",
        "addresses = ['localhost']",
        "[budget]\nrequests = -1",
        "[[bad-credentials]]\nscheme = 'key'\nkind = 'old'\ncredential = 'x'",
        "[principals.alice.login]\noperation = 'logIn'",
        "\u{feff}[",
    ]
    .iter()
    .map(|text| format!("{text}\n---\n{}\n", Profile::parse(text).unwrap_err()))
    .collect();
    insta::assert_snapshot!(messages.join("\n==========\n\n"));
}

#[test]
fn profiles_that_do_not_fit_the_contract_are_refused_all_at_once() {
    let profile = Profile::parse(
        "[principals.alice]\nscheme = 'key'\n[principals.alice.login]\noperation = 'readOnes'\nbody = {}\ntoken = 'access'\n\
         [principals.bob]\nscheme = 'key'\ncredential = 'x'\ncredential-env = 'X'\ndenied = ['readTwo']\n[limits]\nfast = 3\n",
    )
    .unwrap();
    let contract = Contract::from_text("one.yaml", DOCUMENT).unwrap();
    insta::assert_snapshot!(profile.check(&contract).unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_profile_reader_panic(text in "\\PC{0,200}") {
        let _ = Profile::parse(&text);
    }

    #[test]
    fn no_damage_makes_the_profile_reader_panic(at in 0usize..220, byte in any::<u8>()) {
        let mut bytes = b"contract = 'x'\nbase-url = 'http://h'\n[principals.a]\nscheme = 's'\nvalues = { id = 1 }\n\
            [principals.a.login]\noperation = 'o'\nbody = { a = 'b' }\ntoken = '/t'\n[budget]\npace = 1.5\n".to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Profile::parse(text);
        }
        if let Ok(text) = std::str::from_utf8(&bytes[..at]) {
            let _ = Profile::parse(text);
        }
    }

    #[test]
    fn no_damage_makes_the_contract_reader_panic(at in 0usize..600, byte in any::<u8>()) {
        let mut bytes = DOCUMENT.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Contract::from_text("damaged.yaml", text);
        }
        if let Ok(text) = std::str::from_utf8(&bytes[..at]) {
            let _ = Contract::from_text("truncated.yaml", text);
        }
    }

    /// Any bytes as an answer: the run ends, with a report.
    #[test]
    fn no_answer_makes_the_harness_panic(body in proptest::collection::vec(any::<u8>(), 0..400), status in 100u16..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let router = tower::service_fn(move |_: http::Request<http_body_util::Full<bytes::Bytes>>| {
                let body = http_body_util::Full::new(bytes::Bytes::from(body.clone()));
                let response = http::Response::builder().status(status).header("content-type", "application/json").body(body);
                async move { response }
            });
            let target = trueline_conformance::target::InProcessTarget::new(router);
            let suite = Suite::new(Contract::from_text("one.yaml", DOCUMENT).unwrap());
            assert!(suite.run(target).await.unwrap().complete);
        });
    }
}
