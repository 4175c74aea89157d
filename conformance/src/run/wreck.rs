//! Wrecks: bytes on a connection that no HTTP client would send, and a healthy request after them.

use std::time::Duration;

use bytes::Bytes;

use super::Run;
use super::bindings::CaseContext;
use crate::case::{Call, Expect, WireScript, Wreck};
use crate::check::{Purpose, Step};
use crate::exchange::{Exchange, Failure, Request, Response};
use crate::target::{Piece, Wire};

impl Run {
    pub(super) async fn wreck(&self, script: &WireScript) -> Result<Vec<Step>, String> {
        let mut context = CaseContext::default();
        let bound = self.bind(&script.call, &mut context).await?;
        let request = self.prepare(&bound, &context).await?;
        let wire =
            Wire { pieces: pieces(self.target.base_url(), &request, script.how), patience: Duration::from_secs(2) };
        let sent_ms = self.target.now_ms();
        let Some(answer) = self.target.wire(wire) else {
            return Err("the target has no connection of its own to send such bytes on".to_owned());
        };
        self.count_request();
        let answer = answer.await;
        let mut steps = Vec::new();
        let step = |outcome: Result<Response, Failure>, act: &str, purpose| Step {
            purpose,
            act: act.to_owned(),
            call: bound.clone(),
            exchange: Exchange::new(request.clone(), outcome),
            sent_ms,
        };
        match answer {
            Ok(bytes) => {
                let statuses = statuses(&bytes);
                if statuses.is_empty() {
                    steps.push(step(Err(Failure::Cut("no answer".to_owned())), "wreck", Purpose::Act));
                }
                for status in statuses {
                    let response = Response {
                        status,
                        headers: http::HeaderMap::new(),
                        body: Bytes::new(),
                        elapsed: Duration::ZERO,
                        at_ms: self.target.now_ms(),
                    };
                    steps.push(step(Ok(response), "wreck", Purpose::Act));
                }
            }
            Err(failure) => steps.push(step(Err(failure), "wreck", Purpose::Act)),
        }
        let health = Call { expect: Expect::Survives, ..script.call.clone() };
        let mut health = self.step(&health, &mut CaseContext::default(), Purpose::Health).await?;
        health.act = "health".to_owned();
        steps.push(health);
        Ok(steps)
    }
}

/// The status lines in what came back: one for each answer.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter_map(|line| {
        // A body without a line end runs into the next status line.
        let start = line.find("HTTP/1.")?;
        let status: u16 = line.get(start + 9..start + 12)?.parse().ok()?;
        (status >= 200).then_some(status)
    });
    lines.collect()
}

fn pieces(base_url: &str, request: &Request, how: Wreck) -> Vec<Piece> {
    let authority = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let (authority, base_path) =
        authority.split_once('/').map_or((authority, String::new()), |(a, p)| (a, format!("/{p}")));
    let path = format!("{}{}", base_path.trim_end_matches('/'), request.path);
    let line = format!("{} {path} HTTP/1.1\r\n", request.method);
    let host = format!("Host: {authority}\r\n");
    let mut fields = String::new();
    for (name, value) in &request.headers {
        fields.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let body = request.body.clone();
    let length = format!("Content-Length: {}\r\n", body.len());
    let end = "Connection: close\r\n\r\n";
    let send = |text: String| Piece { bytes: Bytes::from(text), pause: Duration::ZERO };
    let then = |bytes: Bytes| Piece { bytes, pause: Duration::ZERO };
    match how {
        Wreck::CutHeader => vec![send(format!("{line}{host}X-Cut: in the mid"))],
        Wreck::CutBody => vec![send(format!("{line}{host}{fields}{length}{end}")), then(body.slice(..body.len() / 2))],
        Wreck::SlowBody => {
            let mut pieces = vec![send(format!("{line}{host}{fields}{length}{end}"))];
            let pause = Duration::from_millis(50);
            pieces.extend(body.iter().take(8).map(|byte| Piece { bytes: Bytes::copy_from_slice(&[*byte]), pause }));
            pieces
        }
        Wreck::NotHttp => vec![send("\u{16}\u{3}\u{1} trueline speaks no HTTP\r\n\r\n".to_owned())],
        Wreck::LongLine => {
            let long = "a".repeat(200_000);
            vec![send(format!("{} {path}?{long} HTTP/1.1\r\n{host}{fields}{end}", request.method))]
        }
        Wreck::ManyHeaders => {
            let many: String = (0..2_000).map(|number| format!("X-Trueline-{number}: 1\r\n")).collect();
            vec![send(format!("{line}{host}{fields}{many}{end}"))]
        }
        Wreck::TwoLengths => {
            let other = format!("Content-Length: {}\r\n", body.len() + 1);
            vec![send(format!("{line}{host}{fields}{length}{other}{end}")), then(body)]
        }
        Wreck::LengthAndChunks => {
            let hidden = format!("GET {base_path}/trueline-hidden HTTP/1.1\r\n{host}\r\n");
            let chunks = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5);
            vec![send(format!("{line}{host}{fields}{chunks}Connection: keep-alive\r\n\r\n0\r\n\r\n{hidden}"))]
        }
        Wreck::NulInHeader => vec![send(format!("{line}{host}{fields}X-Nul: a\0b\r\n{end}"))],
        Wreck::NoHost => vec![send(format!("{line}{fields}{end}"))],
        Wreck::BadChunk => {
            vec![send(format!("{line}{host}{fields}Transfer-Encoding: chunked\r\n{end}xyz\r\nnothing\r\n0\r\n\r\n"))]
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_answer_on_a_connection_is_counted() {
        let two = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(super::statuses(two), [400, 404]);
        assert_eq!(super::statuses(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), [200]);
        assert!(super::statuses(b"").is_empty());
    }
}
