//! What the page shows of a finding when it is opened: laid out here, so that the page's script only has to put text into
//! elements.

use std::time::Duration;

use serde_json::{Value, json};

use crate::finding::{Finding, Offending, RecordedExchange, RecordedRequest, RecordedResponse};
use crate::report::body::{self, Line, Window};
use crate::report::terminal::{caret, gap_at, number_of, outcome, path_of};
use crate::report::text::{self, harmless, one_line};
use crate::report::{Report, offending_exchange};

/// Requests and responses of all findings together: a page of this size still opens at once. What does not fit is in the JSON
/// report.
const ROOM: usize = 20 << 20;

/// The findings as the script reads them, in the order of the page.
pub(super) fn findings(report: &Report) -> String {
    let mut out = String::from("[");
    for (index, finding) in report.findings.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let value = self::finding(report, finding, out.len() < ROOM);
        out.push_str(&value.to_string());
    }
    out.push(']');
    inert(&out)
}

/// JSON that cannot end the element it stands in, whatever a service has answered.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            c => out.push(c),
        }
    }
    out
}

fn finding(report: &Report, finding: &Finding, room: bool) -> Value {
    let place = &finding.place;
    let line = harmless(&place.text).replace('\t', " ");
    let (from, length) = caret(&line, place.column);
    let evidence = &finding.evidence;
    let shown = offending_exchange(finding);
    let mut value = json!({
        "id": finding.id,
        "check": harmless(&finding.check),
        "clause": harmless(&finding.clause),
        "at": harmless(&format!("{}:{}:{}", place.file, place.line, place.column)),
        "line": line,
        "mark": [from, length],
        "pointer": harmless(&place.pointer),
        "expected": harmless(&text::cut(&finding.expected, 4_000)),
        "actual": harmless(&text::cut(&finding.actual, 4_000)),
        "operations": finding.operations.iter().map(|id| harmless(id)).collect::<Vec<_>>(),
        "cases": text::count(finding.cases, "case"),
        "case": harmless(&evidence.case.id),
        "shrunk": evidence.shrunk,
    });
    if let Some(help) = &finding.help {
        value["help"] = json!(harmless(help));
    }
    if let Some(deviation) = report.deviations.accepting(&finding.id) {
        value["accepted"] = json!(format!("Accepted until {}: {}", deviation.until, harmless(&deviation.reason)));
    }
    if let Some(deviation) = report.deviations.expired(&finding.id) {
        let text = format!("Was accepted until {}, which has passed: {}", deviation.until, harmless(&deviation.reason));
        value["accepted"] = json!(text);
    }
    if let Some(exchange) = shown.and_then(|at| evidence.exchanges.get(at)) {
        value["curl"] = json!(harmless(&exchange.curl));
    }
    if room {
        let exchanges = evidence.exchanges.iter().enumerate();
        value["exchanges"] = exchanges.map(|(at, one)| self::exchange(number_of(finding, at), one)).collect();
        value["shown"] = json!(shown);
        if evidence.left_out > 0 {
            value["gap"] = json!({
                "before": gap_at(finding),
                "text": format!("… {} more", text::thousands(evidence.left_out as u64)),
            });
        }
    }
    value
}

fn exchange(number: usize, exchange: &RecordedExchange) -> Value {
    let request = format!("{} {}", exchange.request.method, path_of(&exchange.request.url));
    let mut value = json!({
        "number": number,
        "summary": one_line(&request, 200),
        "outcome": outcome(exchange),
        "request": self::request(&exchange.request),
    });
    match &exchange.response {
        Some(response) => value["response"] = self::response(response),
        None => {
            let why = exchange.failure.as_deref().unwrap_or("the reason is not known");
            value["failure"] = json!(harmless(why));
        }
    }
    value
}

fn request(request: &RecordedRequest) -> Value {
    json!({
        "start": format!("{} {}", one_line(&request.method, 40), one_line(&request.url, 4_000)),
        "headers": headers(&request.headers),
        "body": lines(&body::plain(&request.body, Window::PAGE)),
    })
}

fn response(response: &RecordedResponse) -> Value {
    let reason = http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    let start = format!("{} {}", response.status, reason.unwrap_or_default());
    let mut value = json!({
        "start": start.trim_end(),
        "headers": headers(&response.headers),
        "time": text::duration(Duration::from_micros(response.elapsed_us)),
    });
    value["body"] = match &response.offending {
        Some(Offending::Body(_)) if response.body.is_empty() => json!([["(no body)", 0, 0]]),
        Some(Offending::Body(pointer)) => {
            let (marked, note) = body::marked(&response.body, pointer, Window::PAGE);
            if let Some(note) = note {
                value["note"] = json!(note);
            }
            lines(&marked)
        }
        _ => lines(&body::plain(&response.body, Window::PAGE)),
    };
    match &response.offending {
        Some(Offending::Status) => value["bad"] = json!("status"),
        Some(Offending::Header(name)) => value["bad_header"] = json!(harmless(name)),
        _ => {}
    }
    value
}

fn headers(headers: &[(String, String)]) -> Vec<[String; 2]> {
    headers.iter().map(|(name, value)| [one_line(name, 200), one_line(value, 4_000)]).collect()
}

/// A line as text; a marked one as text, column and length; a gap as a number.
fn lines(lines: &[Line]) -> Value {
    let line = |line: &Line| match line {
        Line::Plain(text) => json!(text),
        Line::Marked(text, from, length) => json!([text, from, length]),
        Line::Gap(lines) => json!(lines),
    };
    lines.iter().map(line).collect()
}
