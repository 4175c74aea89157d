use trueline_spec::contract::Media;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::{documented, is_envelope};
use crate::clause::source_of;
use crate::data::stream::Stream;
use crate::finding::Offending;

/// `response.schema`.
pub(super) struct Schema;

static META: Meta = Meta {
    id: "response.schema",
    level: Level::Must,
    title: "the body fits its schema",
    rationale: "Typed clients fail on bodies that do not fit. OpenAPI 3.1, \"Media Type Object\", `schema`; JSON Schema \
                2020-12, with formats asserted.",
    sends: "nothing of its own; every JSON answer of every case is looked at, and every event and line of a stream",
    demands: "the body is valid against the documented schema; write-only properties are absent; each event of a stream is \
              valid against the event's schema",
    guards: "an event may be read as itself, as its data and as the JSON in its data; `[DONE]` is no event; errors that the contract's envelope speaks for are left to error.envelope; schemas that do not compile are \
             reported as notes, not as findings; one schema broken behind many operations is one finding",
    fault: "a required property is missing from an agent",
};

impl Check for Schema {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some((index, clauses)) = documented(seen) else { return };
        let (Some(clause), Some(operation)) = (clauses.schema, seen.operation()) else { return };
        if seen.exchange.request.method == http::Method::HEAD {
            return;
        }
        let response = &operation.responses[index];
        let media_type = seen.response.media_type().unwrap_or_default();
        if let Some(stream) = Stream::of(&media_type) {
            let media = response.media.iter().position(|media| media.media_type == media_type);
            if let Some(media) = media {
                super::stream::judge(&META, clause, seen, (index, media), stream, verdicts);
            }
            return;
        }
        let Some(media) = response.media.iter().position(|media| is_json(media) && matches(media, &media_type)) else {
            return;
        };
        let Some(validator) = seen.subject.response_validator(seen.call.operation, index, media) else { return };
        if is_envelope(seen) {
            if seen.exchange.json().is_some_and(|body| validator.is_valid(body)) {
                verdicts.hold(clause);
            }
            return;
        }
        let Some(body) = seen.exchange.json() else {
            let text = String::from_utf8_lossy(&seen.response.body);
            let start: String = text.chars().take(60).collect();
            let broken = Break::new(&META, clause, format!("{} answers a body that is no JSON", operation.id))
                .with_values("a JSON document", if start.is_empty() { "an empty body".to_owned() } else { start })
                .with_offending(Offending::Body(String::new()));
            verdicts.broke(broken);
            return;
        };
        if validator.is_valid(body) {
            verdicts.hold(clause);
            return;
        }
        let schema = response.media[media].schema.as_ref();
        let errors: Vec<_> = validator.iter_errors(body).take(16).collect();
        let mistyped: Vec<String> = errors
            .iter()
            .filter(|error| error.schema_path().to_string().ends_with("/type"))
            .map(|error| error.instance_path().to_string())
            .collect();
        for error in errors {
            let keyword = error.schema_path().to_string();
            let at = schema.map(|schema| source_of(seen.contract(), schema, &keyword));
            let instance = error.instance_path().to_string();
            // A value of the wrong type is no value of an enum or a format either.
            if mistyped.contains(&instance) && !keyword.ends_with("/type") {
                continue;
            }
            let cause = at.as_ref().map_or_else(|| keyword.clone(), |at| format!("{}:{}", at.file, at.pointer));
            let shown = generic(&instance);
            let mut broken = Break::new(
                &META,
                clause,
                format!("the body of {} {} does not fit its schema", operation.id, response.status),
            )
            .with_values(format!("{} as the schema says", place(&shown)), shorten(&error.to_string()))
            // Indices and ids in the instance differ from case to case, and what is around it from operation to operation;
            // the keyword and the member's name do not.
            .with_cause(format!("{cause} {}", member_of(&shown)))
            .with_offending(Offending::Body(instance));
            if let Some(at) = at {
                broken = broken.at(at);
            }
            verdicts.broke(broken);
        }
    }
}

fn is_json(media: &Media) -> bool {
    media.media_type == "application/json" || media.media_type.ends_with("+json") || media.media_type == "*/*"
}

/// A documented `*/*` says that it may be anything; it is judged if it says that it is JSON.
fn matches(media: &Media, media_type: &str) -> bool {
    let json = media_type == "application/json" || media_type.ends_with("+json");
    media.media_type == media_type || (media.media_type == "*/*" && json)
}

pub(super) fn place(instance: &str) -> String {
    if instance.is_empty() { "the body".to_owned() } else { instance.to_owned() }
}

/// Array indices become `*`.
fn generic(instance: &str) -> String {
    let numbered = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    instance.split('/').map(|part| if numbered(part) { "*" } else { part }).collect::<Vec<_>>().join("/")
}

/// The last name in a generic instance path.
fn member_of(shown: &str) -> &str {
    shown.rsplit('/').find(|part| !part.is_empty() && *part != "*").unwrap_or_default()
}

/// Validation messages quote the whole instance.
pub(in crate::check) fn shorten(message: &str) -> String {
    let count = message.chars().count();
    if count <= 240 {
        return message.to_owned();
    }
    let start: String = message.chars().take(120).collect();
    let end: String = message.chars().skip(count - 110).collect();
    format!("{start} … {end}")
}
