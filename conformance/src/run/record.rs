//! What a report shows of an exchange: cut to size, with every credential replaced by its name.

use trueline_spec::document::Location;

use super::Run;
use super::perform::Attempt;
use crate::case::Case;
use crate::check::{Break, Purpose, Step};
use crate::finding::{Evidence, Offending, Place, RecordedExchange, RecordedRequest, RecordedResponse};
use crate::subject::Subject;

/// More of a body than this helps nobody in a report.
const SHOWN_BODY_BYTES: usize = 8 * 1024;

/// Of a long sequence, its first and last exchanges are shown.
const SHOWN_ENDS: usize = 2;

impl Run {
    pub(super) fn evidence(&self, case: Case, attempt: &Attempt, broken: &Break, shrunk: u32) -> Evidence {
        let steps = &attempt.steps;
        // The counted part of a sequence is long and dull; what comes after it is not.
        let counted = steps.iter().take_while(|step| step.purpose == Purpose::Count).count();
        let dull = if steps.len() > 1 && counted > 2 * SHOWN_ENDS { SHOWN_ENDS..counted - SHOWN_ENDS } else { 0..0 };
        let shown = steps.iter().enumerate().filter(|(index, _)| !dull.contains(index));
        let guilty = match broken.during.filter(|_| broken.act.is_none()) {
            Some(purpose) => steps.iter().rposition(|step| step.purpose == purpose),
            None => None,
        };
        let in_act = broken.act.as_ref().and_then(|act| steps.iter().rposition(|step| step.act == *act));
        let guilty = in_act.or(guilty).unwrap_or(steps.len().saturating_sub(1));
        // Everything is learned before anything is shown: a later answer may repeat what an earlier one made up.
        for step in steps {
            if let Some(response) = step.exchange.response() {
                self.learn_returned(response, step.exchange.json());
            }
        }
        let offending = |index: usize| broken.offending.clone().filter(|_| index == guilty);
        let exchanges = shown.map(|(index, step)| self.record(step, offending(index))).collect();
        Evidence { case: self.redact_case(case), exchanges, left_out: dull.len(), shrunk }
    }

    fn record(&self, step: &Step, offending: Option<Offending>) -> RecordedExchange {
        let request = &step.exchange.request;
        let url = format!("{}{}", self.target.base_url().trim_end_matches('/'), request.path);
        let headers = |headers: &mut dyn Iterator<Item = (&http::HeaderName, &http::HeaderValue)>| {
            headers
                .map(|(name, value)| (name.to_string(), self.redact(&String::from_utf8_lossy(value.as_bytes()))))
                .collect::<Vec<_>>()
        };
        let recorded = RecordedRequest {
            method: request.method.to_string(),
            url: self.redact(&url),
            headers: headers(&mut request.headers.iter().map(|(name, value)| (name, value))),
            body: self.body(&request.body),
            body_bytes: request.body.len(),
        };
        let response = step.exchange.response().map(|response| RecordedResponse {
            status: response.status,
            headers: headers(&mut response.headers.iter()),
            body: self.body(&response.body),
            body_bytes: response.body.len(),
            offending,
            elapsed_us: u64::try_from(response.elapsed.as_micros()).unwrap_or(u64::MAX),
        });
        let failure = step.exchange.outcome.as_ref().err().map(|failure| self.redact(&failure.to_string()));
        RecordedExchange { curl: curl(&recorded), request: recorded, response, failure, sent_ms: step.sent_ms }
    }
}

impl Run {
    /// A body as a report shows it. Secrets are replaced before it is cut, so that no half of one is left at the end.
    fn body(&self, body: &[u8]) -> String {
        match std::str::from_utf8(body) {
            // What is far behind the cut cannot come to stand before it.
            Ok(text) => {
                let end = text.len().min(SHOWN_BODY_BYTES * 4);
                let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
                let redacted = self.redact(&text[..end]);
                let cut = (0..=redacted.len().min(SHOWN_BODY_BYTES)).rfind(|end| redacted.is_char_boundary(*end));
                let cut = &redacted[..cut.unwrap_or(0)];
                if body.len() <= SHOWN_BODY_BYTES { redacted } else { with_rest(cut.to_owned(), body.len()) }
            }
            Err(_) => self.redact(&shown(body)),
        }
    }
}

fn with_rest(mut text: String, whole: usize) -> String {
    text.push_str(&format!("… ({} bytes more)", whole.saturating_sub(SHOWN_BODY_BYTES)));
    text
}

/// A body as text: bytes that are no UTF-8 as `\xNN`.
fn shown(body: &[u8]) -> String {
    let cut = &body[..body.len().min(SHOWN_BODY_BYTES)];
    let mut text = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if body.len() > cut.len() { with_rest(text, body.len()) } else { text }
}

/// A curl command line. Names such as `$ALICE_TOKEN` stay open for the shell to fill in.
fn curl(request: &RecordedRequest) -> String {
    let mut line = String::from("curl -i");
    if request.method != "GET" {
        line.push_str(&format!(" -X {}", request.method));
    }
    line.push_str(&format!(" {}", quoted(&request.url)));
    for (name, value) in &request.headers {
        if !matches!(name.as_str(), "user-agent" | "accept") {
            line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
        }
    }
    if request.body_bytes > SHOWN_BODY_BYTES {
        line.push_str(&format!(" --data-binary @- # {} bytes", request.body_bytes));
    } else if !request.body.is_empty() {
        line.push_str(&format!(" --data-binary {}", quoted(&request.body)));
    }
    line
}

/// Quoted for a POSIX shell; double quotes only where a `$NAME` of ours has to be filled in.
fn quoted(text: &str) -> String {
    let names = regex::Regex::new(r"\$[A-Z][A-Z0-9_]+");
    if names.is_ok_and(|names| names.is_match(text)) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('`', "\\`"))
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A place in the document, with its line.
pub(super) fn place(subject: &Subject, at: &Location) -> Place {
    let document = &subject.contract.document;
    let (stands_in, position) = document.locate(at);
    let file = document.files.get(stands_in as usize).map(|file| file.path.display().to_string()).unwrap_or_default();
    Place {
        file,
        line: position.line,
        column: position.column,
        pointer: at.pointer.to_string(),
        text: document.line(stands_in, position.line).to_owned(),
    }
}
