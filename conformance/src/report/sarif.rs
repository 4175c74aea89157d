//! SARIF 2.1.0: findings with their places in the OpenAPI document, for editors and code scanning.

use std::path::Path;

use chrono::SecondsFormat;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{ExitCode, Report};
use crate::check::{self, Level, Meta};
use crate::finding::{Finding, RecordedExchange};

/// RFC 3986 section 3.3: what may not stand in a path as it is.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%')
    .add(b'|')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'\\');

/// The rule that a stale deviation breaks.
const STALE: &str = "deviation.stale";

/// The findings as a SARIF log (OASIS, version 2.1.0). An accepted finding is there too, suppressed with its reason.
pub fn to_sarif(report: &Report) -> Result<Vec<u8>, serde_json::Error> {
    // Rules that nothing broke are listed too: a reader sees what was looked for. Those of other versions only by name.
    let mut rules: Vec<(&str, Option<&Meta>)> =
        check::all().iter().map(|check| (check.meta().id, Some(check.meta()))).collect();
    for finding in &report.findings {
        if !rules.iter().any(|(id, _)| *id == finding.check) {
            rules.push((&finding.check, None));
        }
    }
    rules.push((STALE, None));
    let index = |id: &str| rules.iter().position(|(known, _)| *known == id).unwrap_or(0);
    let mut results: Vec<Value> =
        report.findings.iter().map(|finding| result(report, finding, index(&finding.check))).collect();
    for stale in report.deviations.stale() {
        let text = format!(
            "{} was accepted ({}) and is not there any more: take it out of the file",
            stale.finding, stale.reason
        );
        let mut result = json!({
            "ruleId": STALE,
            "ruleIndex": index(STALE),
            "level": "error",
            "message": { "text": text },
            "partialFingerprints": { "trueline/v1": format!("stale/{}", stale.finding) },
        });
        if let Some(file) = &report.deviations.file {
            let uri = uri(&file.display().to_string());
            result["locations"] = json!([{ "physicalLocation": { "artifactLocation": { "uri": uri } } }]);
        }
        results.push(result);
    }
    let version = report.run.as_ref().map_or(env!("CARGO_PKG_VERSION"), |run| &run.version);
    let mut run = json!({
        "tool": {
            "driver": {
                "name": "trueline",
                "semanticVersion": version,
                "rules": rules.iter().map(|(id, meta)| rule(id, *meta)).collect::<Vec<_>>(),
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation(report)],
        "results": results,
    });
    if let Some(header) = &report.run {
        run["automationDetails"] = json!({ "id": format!("trueline/{}/", header.contract) });
        run["properties"] = json!({
            "contract": header.contract,
            "digest": header.digest,
            "target": header.target,
            "seed": header.seed,
            "plan": header.plan,
        });
    }
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    let mut bytes = serde_json::to_vec_pretty(&log)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn rule(id: &str, meta: Option<&Meta>) -> Value {
    let Some(meta) = meta else {
        let text = match id {
            STALE => "an accepted deviation is still there, or it is taken out of the list",
            _ => "a check that this version of trueline does not know",
        };
        return json!({ "id": id, "shortDescription": { "text": text } });
    };
    let text = format!("{}\n\nWhat is sent: {}\nWhat must happen: {}", meta.rationale, meta.sends, meta.demands);
    json!({
        "id": id,
        "name": id,
        "shortDescription": { "text": meta.title },
        "fullDescription": { "text": meta.rationale },
        "help": { "text": text },
        "defaultConfiguration": { "level": level(meta.level) },
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Must => "error",
        Level::Should => "warning",
    }
}

fn invocation(report: &Report) -> Value {
    let ran = !matches!(report.verdict, ExitCode::Usage | ExitCode::Unreachable);
    let mut invocation = json!({
        "executionSuccessful": ran && report.complete,
        "exitCode": report.verdict.code(),
        "exitCodeDescription": report.verdict.meaning(),
    });
    if let Some(start) = report.started_at {
        invocation["startTimeUtc"] = json!(start.to_rfc3339_opts(SecondsFormat::Millis, true));
    }
    if let Some(why) = report.failure.as_ref().or(report.interrupted.as_ref()) {
        invocation["toolExecutionNotifications"] = json!([{ "level": "error", "message": { "text": why } }]);
    }
    invocation
}

fn result(report: &Report, finding: &Finding, rule: usize) -> Value {
    let place = &finding.place;
    let mut text = finding.title.clone();
    for (label, value) in [("expected", &finding.expected), ("actual", &finding.actual)] {
        if !value.is_empty() {
            text.push_str(&format!("\n{label}: {value}"));
        }
    }
    let mut region = json!({ "startLine": place.line.max(1), "startColumn": place.column.max(1) });
    if !place.text.is_empty() {
        region["snippet"] = json!({ "text": place.text });
    }
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&place.file) },
            "region": region,
        },
        "logicalLocations": [{ "fullyQualifiedName": finding.clause, "kind": "member" }],
    });
    if place.file.is_empty() {
        location = json!({ "logicalLocations": [{ "fullyQualifiedName": finding.clause, "kind": "member" }] });
    }
    let mut result = json!({
        "ruleId": finding.check,
        "ruleIndex": rule,
        "level": level(finding.level),
        "message": { "text": text },
        "locations": [location],
        "partialFingerprints": { "trueline/v1": finding.id },
        "occurrenceCount": finding.cases.max(1),
        "properties": {
            "finding": finding.id,
            "clause": finding.clause,
            "pointer": place.pointer,
            "operations": finding.operations,
            "replay": format!("trueline replay {}", finding.id),
        },
    });
    if let Some(exchange) = super::offending_exchange(finding).and_then(|at| finding.evidence.exchanges.get(at)) {
        result["webRequest"] = request(exchange);
        result["webResponse"] = response(exchange);
        result["properties"]["curl"] = json!(exchange.curl);
    }
    if let Some(deviation) = report.deviations.accepting(&finding.id) {
        let until = deviation.until;
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": format!("{} (until {until})", deviation.reason),
        }]);
    }
    result
}

fn request(exchange: &RecordedExchange) -> Value {
    let request = &exchange.request;
    json!({
        "protocol": "HTTP",
        "version": "1.1",
        "target": request.url,
        "method": request.method,
        "headers": headers(&request.headers),
        "body": { "text": request.body },
    })
}

fn response(exchange: &RecordedExchange) -> Value {
    let Some(response) = &exchange.response else { return json!({ "noResponseReceived": true }) };
    let reason = http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    json!({
        "protocol": "HTTP",
        "version": "1.1",
        "statusCode": response.status,
        "reasonPhrase": reason.unwrap_or_default(),
        "headers": headers(&response.headers),
        "body": { "text": response.body },
    })
}

/// SARIF has one value a name; several go together as RFC 9110 section 5.3 says.
fn headers(headers: &[(String, String)]) -> Map<String, Value> {
    let mut map: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let joined = match map.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        map.insert(name.clone(), Value::from(joined));
    }
    map
}

/// A path as a URI reference (RFC 3986 section 4.1): relative ones stay relative, so that a reader finds them in its own
/// copy of the sources.
fn uri(path: &str) -> String {
    let absolute = Path::new(path).is_absolute();
    let encoded = utf8_percent_encode(&path.replace('\\', "/"), NOT_IN_PATH).to_string();
    let relative = encoded.strip_prefix("./").unwrap_or(&encoded);
    match absolute {
        true => format!("file://{}{encoded}", if encoded.starts_with('/') { "" } else { "/" }),
        // A colon in the first part would make a scheme of it.
        false if relative.split('/').next().is_some_and(|first| first.contains(':')) => format!("./{relative}"),
        false => relative.to_owned(),
    }
}
