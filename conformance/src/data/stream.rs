//! Answers of many items: server-sent events, and JSON one line or one record at a time.
//!
//! An item is judged by itself, so that one wrong event among a thousand is named by its number. What came after the last
//! complete item is left alone: streams are read for a while and not to an end that they may not have.

use serde_json::{Map, Value};

/// How a media type separates its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `text/event-stream` (WHATWG HTML, section 9.2.6).
    Events,
    /// One JSON value a line: NDJSON, JSON Lines.
    Lines,
    /// RFC 7464: each JSON text behind a record separator.
    Sequence,
}

/// One item.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A server-sent event.
    Event(Event),
    /// A JSON value.
    Json(Value),
    /// What should have been JSON.
    Broken(String),
}

/// A server-sent event: what a browser would dispatch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `event`, if it was given.
    pub kind: Option<String>,
    /// The lines of `data`, joined by line feeds.
    pub data: String,
    /// `id`, if it was given with this event.
    pub id: Option<String>,
    /// `retry`, in milliseconds.
    pub retry: Option<u64>,
}

impl Stream {
    /// The stream behind a media type without parameters.
    pub fn of(media_type: &str) -> Option<Stream> {
        match media_type {
            "text/event-stream" => Some(Stream::Events),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Some(Stream::Lines)
            }
            "application/json-seq" => Some(Stream::Sequence),
            other if other.ends_with("+json-seq") => Some(Stream::Sequence),
            _ => None,
        }
    }

    /// The items of a body. `whole` tells whether the body came to its end: otherwise the last item may be cut.
    pub fn items(self, body: &[u8], whole: bool) -> Vec<Item> {
        let text = String::from_utf8_lossy(body);
        match self {
            Stream::Events => events(&text).into_iter().map(Item::Event).collect(),
            Stream::Lines => {
                let mut lines: Vec<&str> = text.split('\n').collect();
                let rest = lines.pop().filter(|_| whole);
                lines.into_iter().chain(rest).filter(|line| !line.trim().is_empty()).map(json).collect()
            }
            Stream::Sequence => {
                let mut records: Vec<&str> = text.split('\u{1e}').collect();
                // "Parsers MUST drop a truncated text": a number at the end may have lost digits.
                if !whole && records.last().is_some_and(|last| !last.ends_with('\n')) {
                    records.pop();
                }
                records.into_iter().filter(|record| !record.trim().is_empty()).map(json).collect()
            }
        }
    }
}

fn json(text: &str) -> Item {
    serde_json::from_str(text).map_or_else(|_| Item::Broken(text.trim().to_owned()), Item::Json)
}

/// The events of a text; an event without a blank line behind it is not dispatched.
fn events(text: &str) -> Vec<Event> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut found, mut event, mut data) = (Vec::new(), Event::default(), None::<String>);
    for line in lines(text) {
        if line.is_empty() {
            // "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string and
            // return": no data, no event.
            if let Some(data) = data.take() {
                found.push(Event { data, ..std::mem::take(&mut event) });
            }
            event = Event::default();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            "event" => event.kind = Some(value.to_owned()),
            "id" if !value.contains('\0') => event.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                event.retry = value.parse().ok();
            }
            // Comments (an empty name) and unknown fields are ignored.
            _ => {}
        }
    }
    found
}

/// Complete lines, which end with CRLF, LF or CR.
fn lines(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(end) = rest.find(['\n', '\r']) {
        found.push(&rest[..end]);
        let width = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    found
}

impl Event {
    /// What a schema may mean by the event: the event with `data` as text, with `data` read as JSON, and the JSON alone.
    ///
    /// OpenAPI 3.2 describes the first, with the JSON behind `contentSchema`; documents before it describe whichever their
    /// authors thought of.
    pub fn readings(&self) -> Vec<Value> {
        let object = |data: Value| {
            let mut map = Map::new();
            map.insert("data".into(), data);
            let kind = self.kind.clone().map(Value::from);
            let (id, retry) = (self.id.clone().map(Value::from), self.retry.map(Value::from));
            for (name, value) in [("event", kind), ("id", id), ("retry", retry)] {
                if let Some(value) = value {
                    map.insert(name.into(), value);
                }
            }
            Value::Object(map)
        };
        let mut readings = vec![object(Value::from(self.data.clone()))];
        if let Ok(data) = serde_json::from_str::<Value>(&self.data) {
            readings.push(object(data.clone()));
            readings.push(data);
        }
        readings.push(Value::from(self.data.clone()));
        readings
    }

    /// Whether it only says that the stream is over, as `[DONE]` does: a custom of many services that no schema covers.
    pub fn is_farewell(&self) -> bool {
        self.data.trim() == "[DONE]"
    }
}

/// A schema with what it says of the JSON inside of texts said of the JSON itself: `contentSchema` beside a
/// `contentMediaType` of JSON (JSON Schema 2020-12 validation, section 8.5) asserts nothing until somebody looks inside.
/// None if it says nothing of that kind.
pub fn opened(schema: &Value) -> Option<Value> {
    fn open(schema: &Value, found: &mut bool) -> Value {
        match schema {
            Value::Object(map) => {
                let json = map.get("contentMediaType").and_then(Value::as_str).is_some_and(|kind| {
                    let kind = kind.split(';').next().unwrap_or_default().trim();
                    kind == "application/json" || kind.ends_with("+json")
                });
                if let (true, Some(inner)) = (json, map.get("contentSchema")) {
                    *found = true;
                    return open(inner, found);
                }
                Value::Object(map.iter().map(|(key, value)| (key.clone(), open(value, found))).collect())
            }
            Value::Array(items) => items.iter().map(|item| open(item, found)).collect(),
            other => other.clone(),
        }
    }
    let mut found = false;
    let schema = open(schema, &mut found);
    found.then_some(schema)
}
