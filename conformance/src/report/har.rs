//! HAR 1.2: every exchange behind a finding, for the tools that open such archives (browsers, proxies).

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::Report;
use crate::finding::{Finding, Offending, RecordedExchange};

/// The exchanges behind the findings as an HTTP archive. Members that the format does not know start with `_`, as it asks for.
pub fn to_har(report: &Report) -> Result<Vec<u8>, serde_json::Error> {
    let version = report.run.as_ref().map_or(env!("CARGO_PKG_VERSION"), |run| &run.version);
    let start = report.started_at.unwrap_or(DateTime::UNIX_EPOCH);
    let mut entries = Vec::new();
    for finding in &report.findings {
        for (index, exchange) in finding.evidence.exchanges.iter().enumerate() {
            entries.push(entry(finding, index, exchange, start));
        }
    }
    let har = json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "trueline", "version": version },
            "comment": "the exchanges behind the findings; credentials stand as $NAME",
            "entries": entries,
        }
    });
    let mut bytes = serde_json::to_vec_pretty(&har)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn entry(finding: &Finding, index: usize, exchange: &RecordedExchange, start: DateTime<Utc>) -> Value {
    let request = &exchange.request;
    let sent = match exchange.sent_ms {
        0 => start,
        sent => DateTime::from_timestamp_millis(sent).unwrap_or(start),
    };
    let elapsed = exchange.response.as_ref().map_or(0.0, |response| response.elapsed_us as f64 / 1_000.0);
    let mut sent_request = json!({
        "method": request.method,
        "url": request.url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers(&request.headers),
        "queryString": query(&request.url),
        "headersSize": -1,
        "bodySize": request.body_bytes,
    });
    if !request.body.is_empty() {
        let media = header(&request.headers, "content-type").unwrap_or_default();
        sent_request["postData"] = json!({ "mimeType": media, "text": request.body });
    }
    let mut entry = json!({
        "startedDateTime": sent.to_rfc3339_opts(SecondsFormat::Millis, true),
        "time": elapsed,
        "request": sent_request,
        "response": response(exchange),
        "cache": {},
        "timings": { "send": 0, "wait": elapsed, "receive": 0 },
        "comment": format!("{} {}: {} (exchange {} of this finding)", finding.id, finding.check, finding.title, index + 1),
        "_finding": finding.id,
        "_check": finding.check,
        "_clause": finding.clause,
    });
    if let Some(offending) = exchange.response.as_ref().and_then(|response| response.offending.as_ref()) {
        entry["_offending"] = match offending {
            Offending::Status => json!("status"),
            Offending::Header(name) => json!({ "header": name }),
            Offending::Body(pointer) => json!({ "body": pointer }),
        };
    }
    entry
}

fn response(exchange: &RecordedExchange) -> Value {
    let Some(response) = &exchange.response else {
        // What browsers write where no answer came.
        let why = exchange.failure.as_deref().unwrap_or("no answer");
        return json!({
            "status": 0, "statusText": "", "httpVersion": "", "cookies": [], "headers": [],
            "content": { "size": 0, "mimeType": "x-unknown" },
            "redirectURL": "", "headersSize": -1, "bodySize": -1, "_error": why,
        });
    };
    let reason = http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    json!({
        "status": response.status,
        "statusText": reason.unwrap_or_default(),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers(&response.headers),
        "content": {
            "size": response.body_bytes,
            "mimeType": header(&response.headers, "content-type").unwrap_or("x-unknown"),
            "text": response.body,
        },
        "redirectURL": header(&response.headers, "location").unwrap_or_default(),
        "headersSize": -1,
        "bodySize": response.body_bytes,
    })
}

fn headers(headers: &[(String, String)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn query(url: &str) -> Vec<Value> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| json!({ "name": decoded(name), "value": decoded(value) }))
        .collect()
}
