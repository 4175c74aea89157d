//! Server-sent events (WHATWG HTML, "Server-sent events"): typed data on both ends.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event<T> {
    /// The `event:` line; absent means `message`.
    pub event: Option<String>,
    /// The `id:` line.
    pub id: Option<String>,
    /// The `retry:` line.
    pub retry: Option<Duration>,
    /// The `data:` lines.
    pub data: T,
}

impl<T> Event<T> {
    /// An event that is nothing but data.
    pub fn data(data: T) -> Self {
        Event { event: None, id: None, retry: None, data }
    }
}

/// Events to be sent, until the stream ends or the caller goes away.
pub struct Events<T>(pub Pin<Box<dyn Stream<Item = Event<T>> + Send>>);

impl<T> Events<T> {
    /// From any stream.
    pub fn new(events: impl Stream<Item = Event<T>> + Send + 'static) -> Self {
        Events(Box::pin(events))
    }
}

impl<T> std::fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events(..)")
    }
}

/// An event as text. Line breaks in `event` and `id` are dropped, because they would end the line.
pub fn encode<T: serde::Serialize>(event: &Event<T>) -> Result<String, serde_json::Error> {
    let one_line = |text: &str| text.replace(['\r', '\n', '\0'], "");
    let mut text = String::new();
    if let Some(name) = &event.event {
        text.push_str(&format!("event: {}\n", one_line(name)));
    }
    if let Some(id) = &event.id {
        text.push_str(&format!("id: {}\n", one_line(id)));
    }
    if let Some(retry) = event.retry {
        text.push_str(&format!("retry: {}\n", retry.as_millis()));
    }
    // JSON has no raw line breaks, so one line is enough.
    text.push_str(&format!("data: {}\n\n", serde_json::to_string(&event.data)?));
    Ok(text)
}

/// Reads events from pieces of text as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    data: Option<String>,
}

impl Decoder {
    /// Takes a piece and gives the events that it completes, with their data as text.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event<String>> {
        self.buffer.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let crlf = self.buffer[end] == b'\r';
            if crlf && end + 1 == self.buffer.len() {
                // Its line feed may be in the next piece.
                break;
            }
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let skip = if crlf && self.buffer[end + 1] == b'\n' { end + 2 } else { end + 1 };
            self.buffer.drain(..skip);
            events.extend(self.line(&line));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event<String>> {
        if line.is_empty() {
            let (event, retry) = (self.event.take(), self.retry.take());
            let data = self.data.take()?;
            return Some(Event { event, id: self.id.clone(), retry, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = Some(value.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

/// A streamed response of these events; a comment every 15 seconds keeps proxies from closing an idle connection.
#[cfg(feature = "server")]
pub fn response<T: serde::Serialize + 'static>(status: u16, events: Events<T>) -> crate::reply::Response {
    use futures::StreamExt;

    let lines = events.0.map(|event| encode(&event).map_err(std::io::Error::other));
    let beat = tokio::time::interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    let stream = futures::stream::unfold((lines, beat), |(mut lines, mut beat)| async move {
        let item = tokio::select! {
            biased;
            line = lines.next() => line?,
            _ = beat.tick() => Ok(":\n\n".to_owned()),
        };
        beat.reset();
        Some((item, (lines, beat)))
    });
    let mut response = crate::reply::body(status, "text/event-stream", axum::body::Body::from_stream(stream));
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
    response
}

/// Common proxies cut a connection after 30 to 60 idle seconds.
#[cfg(feature = "server")]
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_however_it_is_cut() {
        let event = Event { event: Some("token".into()), id: Some("7".into()), retry: None, data: "a\nb" };
        let text = encode(&event).expect("encode") + ": comment\r\ndata: x\r\ndata: y\r\n\r\n";
        for cut in 0..text.len() {
            let mut decoder = Decoder::default();
            let mut events = decoder.push(&text.as_bytes()[..cut]);
            events.extend(decoder.push(&text.as_bytes()[cut..]));
            events.extend(decoder.push(b"\n"));
            assert_eq!(events.len(), 2, "cut at {cut}");
            assert_eq!(events[0].event.as_deref(), Some("token"));
            assert_eq!(events[0].data, r#""a\nb""#);
            assert_eq!(events[1].data, "x\ny");
        }
    }
}
