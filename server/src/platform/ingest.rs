//! From an uploaded or fetched file to pieces of text: what kind of file it is, its text, and its pieces.
//!
//! PDF is the dangerous one. The reader may panic, run for ever, eat memory or overflow its stack on a file made for
//! that, so a server reads PDFs in a child process of its own program, which can be killed and has a memory limit.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

/// Largest file that is taken, in bytes.
pub const MAX_FILE_BYTES: usize = 20 * 1024 * 1024;

/// Text kept of one file, in bytes. The longest novels have three million characters.
const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;

/// Size a piece grows to, in bytes: about 200 words, enough to hold an answer with its context.
const PIECE_BYTES: usize = 1_200;

/// What a piece repeats of the one before it, in bytes, so that a sentence cut at the seam is whole in one of them.
const OVERLAP_BYTES: usize = 160;

/// Kinds of file that text is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `text/plain`
    Text,
    /// `text/markdown`
    Markdown,
    /// `text/html`
    Html,
    /// `application/json`
    Json,
    /// `application/pdf`
    Pdf,
}

impl Media {
    /// The kind of a file, by its content first, then by the declared media type, then by its name. A file that begins
    /// like a PDF is one; a file that claims to be one and does not begin so is not (`None`), and neither is
    /// text that is not UTF-8.
    #[must_use]
    pub fn detect(declared: Option<&str>, name: Option<&str>, content: &[u8]) -> Option<Self> {
        let declared = declared.and_then(|t| t.split(';').next()).map(|t| t.trim().to_ascii_lowercase());
        let extension = name.and_then(|n| n.rsplit_once('.')).map(|(_, extension)| extension.to_ascii_lowercase());
        // The header may stand anywhere in the first kilobyte; readers have always accepted that.
        let head = content.get(..content.len().min(1024)).unwrap_or_default();
        if head.windows(5).any(|window| window == b"%PDF-") {
            return Some(Self::Pdf);
        }
        let by_name = match extension.as_deref() {
            Some("md" | "markdown") => Some(Self::Markdown),
            Some("txt" | "text") => Some(Self::Text),
            Some("html" | "htm") => Some(Self::Html),
            Some("json") => Some(Self::Json),
            _ => None,
        };
        let media = match declared.as_deref() {
            Some("text/markdown" | "text/x-markdown") => Some(Self::Markdown),
            Some("text/html" | "application/xhtml+xml") => Some(Self::Html),
            Some("application/json") => Some(Self::Json),
            // Many clients call every text plain, and what they do not know an octet stream.
            Some("text/plain") => by_name.or(Some(Self::Text)),
            Some("application/octet-stream") | None => by_name,
            Some(_) => None,
        }?;
        std::str::from_utf8(content).is_ok().then_some(media)
    }

    /// The media type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Json => "application/json",
            Self::Pdf => "application/pdf",
        }
    }

    /// The kind behind a media type that [`Media::as_str`] gave.
    #[must_use]
    pub fn from_stored(media_type: &str) -> Option<Self> {
        [Self::Text, Self::Markdown, Self::Html, Self::Json, Self::Pdf].into_iter().find(|m| m.as_str() == media_type)
    }
}

/// Why a file gave no text. The texts are for the file's owner.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExtractError {
    /// The file is larger than is taken.
    #[error("the file is larger than 20 MiB")]
    TooLarge,
    /// It is not what it claims to be.
    #[error("the file could not be read as {0}")]
    Unreadable(&'static str),
    /// Reading it took too long.
    #[error("the file took longer than {} s to read", .0.as_secs())]
    Timeout(Duration),
    /// It was read and holds no text, as scanned pages do.
    #[error("the file holds no text")]
    Empty,
    /// The reader could not be run; nothing is wrong with the file.
    #[error("the reader could not be run")]
    NotRun,
}

/// Where PDFs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PdfReader {
    /// On a thread of this process: panics are caught, but a reader that does not end holds its thread, and one that
    /// overflows its stack ends the process. For tests and for programs that cannot start themselves.
    Thread,
    /// In a child process: this program, which must answer the arguments by calling [`serve_pdf_child`].
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// Takes text out of files.
#[derive(Clone, Debug)]
pub struct Extractor {
    pdf: PdfReader,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

impl Extractor {
    /// An extractor that gives up on a PDF after `timeout`.
    #[must_use]
    pub fn new(pdf: PdfReader, timeout: Duration) -> Self {
        Self { pdf, timeout, slots: Arc::new(Semaphore::new(2)) }
    }

    /// The text of a file, NUL-free and with at most 8 MiB kept.
    ///
    /// # Errors
    /// [`ExtractError`] says for the file's owner why there is none.
    pub async fn extract(&self, media: Media, content: Bytes) -> Result<String, ExtractError> {
        if content.len() > MAX_FILE_BYTES {
            return Err(ExtractError::TooLarge);
        }
        let text = match media {
            Media::Pdf => self.pdf(content).await?,
            Media::Html => html_text(utf8(&content, "HTML")?),
            Media::Json => {
                let value: serde_json::Value =
                    serde_json::from_slice(&content).map_err(|_| ExtractError::Unreadable("JSON"))?;
                json_text(&value)
            }
            Media::Text => utf8(&content, "text")?.to_owned(),
            // A heading's marks are no part of its text; the other marks do no harm in a quotation.
            Media::Markdown => {
                let lines = utf8(&content, "text")?.lines().map(|line| line.trim_start_matches('#'));
                lines.collect::<Vec<_>>().join("\n")
            }
        };
        let text = tidy(&text);
        if text.is_empty() { Err(ExtractError::Empty) } else { Ok(text) }
    }

    async fn pdf(&self, content: Bytes) -> Result<String, ExtractError> {
        let _slot = self.slots.acquire().await.map_err(|_| ExtractError::NotRun)?;
        let reading = async {
            match &self.pdf {
                PdfReader::Thread => tokio::task::spawn_blocking(move || pdf_text(&content))
                    .await
                    .unwrap_or(Err(ExtractError::Unreadable("PDF"))),
                PdfReader::Child { program, arguments } => read_in_child(program, arguments, &content).await,
            }
        };
        tokio::time::timeout(self.timeout, reading).await.unwrap_or(Err(ExtractError::Timeout(self.timeout)))
    }
}

fn utf8<'a>(content: &'a [u8], what: &'static str) -> Result<&'a str, ExtractError> {
    std::str::from_utf8(content).map_err(|_| ExtractError::Unreadable(what))
}

/// Reads a PDF on this thread; a panic of the reader is an unreadable file.
fn pdf_text(content: &[u8]) -> Result<String, ExtractError> {
    std::panic::catch_unwind(|| pdf_extract::extract_text_from_mem(content))
        .unwrap_or(Err(pdf_extract::OutputError::FormatError(std::fmt::Error)))
        .map_err(|_| ExtractError::Unreadable("PDF"))
}

async fn read_in_child(program: &PathBuf, arguments: &[String], content: &[u8]) -> Result<String, ExtractError> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        // The child reads a stranger's file; it has no business with this server's secrets.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            tracing::error!(%error, "cannot start the PDF reader");
            ExtractError::NotRun
        })?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(ExtractError::NotRun);
    };
    let feed = async {
        // A reader that gives up early closes the pipe; its exit status says so better than this error.
        let _ = input.write_all(content).await;
        drop(input);
    };
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_TEXT_BYTES).unwrap_or(u64::MAX);
    let drain = async {
        let mut output = output.take(limit);
        output.read_to_end(&mut text).await
    };
    let ((), read) = tokio::join!(feed, drain);
    read.map_err(|_| ExtractError::Unreadable("PDF"))?;
    if text.len() < MAX_TEXT_BYTES {
        let status = child.wait().await.map_err(|_| ExtractError::NotRun)?;
        if !status.success() {
            return Err(ExtractError::Unreadable("PDF"));
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The child's side of [`PdfReader::Child`]: a PDF on standard input, its text on standard output, success as exit status.
#[must_use]
pub fn serve_pdf_child() -> std::process::ExitCode {
    use std::io::{Read as _, Write as _};

    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        // Address space, so that a small file that unpacks to gigabytes ends here and not in the machine's memory.
        let limit = Some(1024 * 1024 * 1024);
        let _ = setrlimit(Resource::As, Rlimit { current: limit, maximum: limit });
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
    // Reading nests deeply on some honest files; the default two megabytes of a thread are too few for them.
    let work = std::thread::Builder::new().stack_size(64 * 1024 * 1024).spawn(|| {
        let mut content = Vec::new();
        let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
        std::io::stdin().lock().take(limit).read_to_end(&mut content).ok()?;
        let text = pdf_text(&content).ok()?;
        std::io::stdout().lock().write_all(text.as_bytes()).ok()
    });
    match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(Some(()))) => std::process::ExitCode::SUCCESS,
        _ => std::process::ExitCode::FAILURE,
    }
}

/// One space between words, at most one empty line between paragraphs, no control characters, bounded.
fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    let mut gap = false;
    for line in text.lines() {
        let mut words =
            line.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            gap = !tidied.is_empty();
            continue;
        }
        if !tidied.is_empty() {
            tidied.push_str(if gap { "\n\n" } else { "\n" });
        }
        gap = false;
        let mut first = true;
        for word in words {
            if tidied.len() + word.len() + 1 > MAX_TEXT_BYTES {
                return tidied;
            }
            if !first {
                tidied.push(' ');
            }
            first = false;
            tidied.push_str(word);
        }
    }
    tidied
}

/// The readable text of a page: no scripts, no styles, block elements as line breaks, the common entities resolved.
#[must_use]
pub fn html_text(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        push_decoded(&mut text, &rest[..open]);
        rest = &rest[open..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let Some(close) = rest.find('>') else { break };
        let tag = rest[1..close].trim_start_matches('/');
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let opening = !rest.starts_with("</");
        rest = &rest[close + 1..];
        match name.as_str() {
            "script" | "style" | "noscript" | "template" | "svg" if opening => {
                let end = format!("</{name}");
                rest = find_ignoring_case(rest, &end).map_or("", |at| &rest[at..]);
            }
            "p" | "div" | "section" | "article" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table"
            | "title" | "header" | "footer" | "main" | "blockquote" | "pre" => text.push_str("\n\n"),
            "br" | "li" | "tr" | "dt" | "dd" | "option" => text.push('\n'),
            "td" | "th" => text.push(' '),
            _ => {}
        }
    }
    push_decoded(&mut text, rest);
    text
}

/// The addresses that a page links to, as they stand there.
#[must_use]
pub fn html_links(html: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut rest = html;
    while let Some(at) = find_ignoring_case(rest, "<a ") {
        rest = &rest[at + 3..];
        let tag = &rest[..rest.find('>').unwrap_or(rest.len())];
        if let Some(at) = find_ignoring_case(tag, "href=") {
            let value = &tag[at + 5..];
            let quoted = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let link = match quoted {
                Some(quote) => value[1..].split(quote).next(),
                None => value.split(char::is_whitespace).next(),
            };
            links.extend(link);
        }
    }
    links
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    let needle = needle.as_bytes();
    text.as_bytes().windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

fn push_decoded(text: &mut String, raw: &str) {
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        // Entities are short; an ampersand without a semicolon near it is an ampersand.
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        let decoded = end.and_then(|end| {
            let c = match &rest[1..end] {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => ' ',
                "mdash" => '—',
                "ndash" => '–',
                "hellip" => '…',
                number => {
                    let number = number.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, end + 1))
        });
        let (c, length) = decoded.unwrap_or(('&', 1));
        text.push(c);
        rest = &rest[length..];
    }
    text.push_str(rest);
}

/// Every leaf of a JSON value on its own line after the names that lead to it.
fn json_text(value: &serde_json::Value) -> String {
    fn walk(value: &serde_json::Value, path: &str, text: &mut String) {
        use serde_json::Value;
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
                    walk(value, &path, text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, text)),
            Value::Null => {}
            Value::String(string) => text.push_str(&format!("{path}: {string}\n")),
            other => text.push_str(&format!("{path}: {other}\n")),
        }
    }
    let mut text = String::new();
    walk(value, "", &mut text);
    text
}

/// Cuts a text into pieces: whole paragraphs while they fit, long ones at ends of sentences or words, each piece
/// repeating the end of the one before. The same text always gives the same pieces.
#[must_use]
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut piece = String::new();
    let mut fresh = false;
    for (paragraph_no, paragraph) in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()).enumerate() {
        for (part_no, part) in parts(paragraph).enumerate() {
            if fresh && piece.len() + part.len() + 2 > PIECE_BYTES {
                let tail = paragraph_tail(&piece).to_owned();
                pieces.push(std::mem::replace(&mut piece, tail));
            }
            if !piece.is_empty() {
                piece.push_str(if part_no == 0 && paragraph_no > 0 { "\n\n" } else { " " });
            }
            piece.push_str(part);
            fresh = true;
        }
    }
    if fresh {
        pieces.push(piece);
    }
    pieces
}

/// The parts of a paragraph, each small enough for a piece beside the overlap.
fn parts(paragraph: &str) -> impl Iterator<Item = &str> {
    let mut rest = paragraph;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let room = PIECE_BYTES - OVERLAP_BYTES - 2;
        if rest.len() <= room {
            return Some(std::mem::take(&mut rest));
        }
        let window = floor(rest, room);
        // At the last end of a sentence in the second half, else between words, else wherever a character ends.
        let half = window / 2;
        let cut = last_sentence_end(rest, half..window)
            .or_else(|| rest.get(..window).and_then(|head| head.rfind(char::is_whitespace)).filter(|at| *at > half))
            .unwrap_or(window);
        let (part, after) = rest.split_at(cut);
        rest = after;
        Some(part.trim_end())
    })
}

fn last_sentence_end(text: &str, within: Range<usize>) -> Option<usize> {
    let bytes = text.as_bytes();
    within.rev().find(|at| {
        matches!(bytes.get(at.wrapping_sub(1)), Some(b'.' | b'!' | b'?'))
            && bytes.get(*at).is_some_and(u8::is_ascii_whitespace)
    })
}

/// The end of a piece that the next one repeats: from the start of a word.
fn paragraph_tail(piece: &str) -> &str {
    let mut from = piece.len().saturating_sub(OVERLAP_BYTES);
    while !piece.is_char_boundary(from) {
        from += 1;
    }
    let tail = piece.get(from..).unwrap_or_default();
    // Text without spaces has no start of a word; half a word more is then better than no overlap.
    tail.find(char::is_whitespace).map_or(tail, |at| tail[at..].trim_start())
}

/// The largest boundary of a character that is not beyond `at`, and not zero.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_paragraphs_overlap_and_lose_nothing() {
        let paragraph = |n: usize| format!("Paragraph {n} says something. It has two sentences about topic{n}.");
        let text = (0..60).map(paragraph).collect::<Vec<_>>().join("\n\n");
        let cut = pieces(&text);
        assert!(cut.len() > 2);
        assert!(
            cut.iter().all(|piece| piece.len() <= PIECE_BYTES),
            "{:?}",
            cut.iter().map(String::len).collect::<Vec<_>>()
        );
        for n in 0..60 {
            let needle = paragraph(n);
            assert!(cut.iter().any(|piece| piece.contains(&needle)), "{n} was cut apart");
        }
        for pair in cut.windows(2) {
            let start: String = pair[1].chars().take(20).collect();
            assert!(pair[0].ends_with(pair[1].split("\n\n").next().unwrap()) || pair[0].contains(&start));
        }
        assert_eq!(cut, pieces(&text));
    }

    #[test]
    fn any_text_can_be_cut() {
        for text in
            ["", "x", &"é".repeat(5_000), &"漢".repeat(5_000), &"a b. ".repeat(3_000), &"\n\n".repeat(100), " \n"]
        {
            let cut = pieces(text);
            assert!(cut.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE_BYTES), "{}", text.len());
        }
        assert!(pieces("").is_empty());
    }

    #[test]
    fn content_decides_what_a_file_is() {
        assert_eq!(Media::detect(Some("text/plain"), Some("a.txt"), b"%PDF-1.7"), Some(Media::Pdf));
        assert_eq!(Media::detect(Some("application/pdf"), Some("a.pdf"), b"hello"), None);
        assert_eq!(Media::detect(Some("text/plain; charset=utf-8"), None, b"hello"), Some(Media::Text));
        assert_eq!(Media::detect(None, Some("README.MD"), b"# hi"), Some(Media::Markdown));
        assert_eq!(Media::detect(Some("text/plain"), None, b"\xff\xfe"), None);
        assert_eq!(Media::detect(Some("image/png"), Some("a.txt"), b"hello"), None);
        assert_eq!(Media::detect(None, None, b"hello"), None);
        assert_eq!(Media::from_stored(Media::Html.as_str()), Some(Media::Html));
    }

    #[test]
    fn pages_become_text_without_scripts() {
        let html = "<html><head><title>T &amp; U</title><STYLE>p{}</STYLE><script>if (a<b) {}</script></head>\
                    <body><!-- <p>no</p> --><p>One&nbsp;&#50;&#x33;</p><a href='/x'>link</a><A HREF=\"y z\">b</A> &bogus; a < b";
        let text = tidy(&html_text(html));
        assert_eq!(text, "T & U\n\nOne 23\n\nlinkb &bogus; a < b");
        assert_eq!(html_links(html), ["/x", "y z"]);
        for broken in ["<", "<script", "<!--", "&", "&#;", "&#xFFFFFFFF;", "<a href=", "<a href='", "é<é&é;"] {
            let _ = (html_text(broken), html_links(broken));
        }
    }

    #[tokio::test]
    async fn text_is_tidied_and_json_is_flattened() {
        let extractor = Extractor::new(PdfReader::Thread, Duration::from_secs(5));
        let text = extractor.extract(Media::Text, Bytes::from_static(b"\0a  b\r\n\r\n\r\nc\x07d")).await;
        assert_eq!(text.as_deref(), Ok("a b\n\nc d"));
        let json = extractor.extract(Media::Json, Bytes::from_static(br#"{"a":{"b":[1,"x"]}}"#)).await;
        assert_eq!(json.as_deref(), Ok("a b: 1\na b: x"));
        assert_eq!(extractor.extract(Media::Text, Bytes::from_static(b" \n ")).await, Err(ExtractError::Empty));
        let large = Bytes::from(vec![b'a'; MAX_FILE_BYTES + 1]);
        assert_eq!(extractor.extract(Media::Text, large).await, Err(ExtractError::TooLarge));
    }

    #[tokio::test]
    async fn hostile_pdfs_are_errors() {
        let extractor = Extractor::new(PdfReader::Thread, Duration::from_secs(20));
        let hostile: [&[u8]; 6] = [
            b"%PDF-1.7",
            b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 1 0 R>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF",
            b"%PDF-1.4\nxref\n0 99999999\ntrailer<</Size 99999999/Root 9 0 R/Prev 9>>\nstartxref\n9\n%%EOF",
            b"%PDF-1.4\n1 0 obj<</Type/Pages/Kids[1 0 R 1 0 R]/Count 2>>endobj\n2 0 obj<</Type/Catalog/Pages 1 0 R>>endobj\n\
              xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000066 00000 n \ntrailer<</Size 3/Root 2 0 R>>\nstartxref\n115\n%%EOF",
            &[b'%', b'P', b'D', b'F', b'-', 0xff, 0x00, 0xfe, 0x80],
            b"%PDF-1.7\n\x00\x00<<<<<<<<<<<<<<<<[[[[[[[[[[[[[[((((((((",
        ];
        for content in hostile {
            let result = extractor.extract(Media::Pdf, Bytes::copy_from_slice(content)).await;
            assert!(result.is_err(), "{result:?}");
        }
    }
}
