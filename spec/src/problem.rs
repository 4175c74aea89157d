//! What is wrong with a document, said so that its author can mend it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::document::{Document, Location, Position};
use crate::syntax::Mark;

/// One mistake in a document.
#[derive(Debug, Clone)]
pub struct Problem {
    /// A lower-case fragment: what is wrong.
    pub title: String,
    /// Where, if it stands in a file that could be read.
    pub at: Option<Location>,
    /// What should stand there.
    pub expected: Option<String>,
    /// What stands there.
    pub found: Option<String>,
    /// The way out.
    pub help: Option<String>,
}

/// Everything that is wrong with a document, with the document it speaks of.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The files that [`Problem::at`] points into.
    pub document: Arc<Document>,
    /// In the order of the document where it has one.
    pub list: Vec<Problem>,
}

/// A mistake of ours, never of the document: please report it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("internal error: {0}; this is a bug in trueline, please report it")]
pub struct Bug(pub String);

impl Problem {
    /// A problem with this title.
    pub fn new(title: impl Into<String>) -> Self {
        Problem { title: title.into(), at: None, expected: None, found: None, help: None }
    }

    /// Stands here.
    #[must_use]
    pub fn at(mut self, at: &Location) -> Self {
        self.at = Some(at.clone());
        self
    }

    /// What should stand there.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// What stands there.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// The way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The way out, if there is one.
    #[must_use]
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Line and column, if it stands in a file.
    pub fn position(&self, document: &Document) -> Option<Position> {
        self.at.as_ref().map(|at| document.position(at))
    }

    /// The problem as people read it: title, place, the line with carets, the JSON Pointer, what was expected, the way out.
    pub fn render(&self, document: &Document) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, document);
        out
    }

    fn write(&self, out: &mut String, document: &Document) -> fmt::Result {
        writeln!(out, "{}", one_line(&self.title, usize::MAX))?;
        let mut width = 1;
        if let Some(at) = &self.at {
            let (file, mark) = document.mark(at);
            let path = document.files.get(file as usize).map(|file| file.path.display().to_string());
            let line = document.line(file, mark.line);
            width = mark.line.to_string().len();
            writeln!(out, "{:width$}--> {}:{}:{}", "", path.unwrap_or_default(), mark.line, mark.column)?;
            if !line.trim().is_empty() {
                let excerpt = Excerpt::cut(line, mark);
                writeln!(out, "{:width$} |", "")?;
                writeln!(out, "{} | {}", mark.line, excerpt.text)?;
                writeln!(out, "{:width$} | {:indent$}{}", "", "", "^".repeat(excerpt.length), indent = excerpt.indent)?;
            }
            if !at.pointer.is_empty() {
                writeln!(out, "{:width$} | {}", "", at.pointer)?;
            }
        }
        for (label, text) in [("expected", &self.expected), ("  actual", &self.found), ("    help", &self.help)] {
            if let Some(text) = text {
                writeln!(out, "{:width$} = {label}: {}", "", one_line(text, 400))?;
            }
        }
        Ok(())
    }
}

/// The part of a line that a reader can take in; minified documents have lines of megabytes.
struct Excerpt {
    text: String,
    indent: usize,
    length: usize,
}

impl Excerpt {
    fn cut(line: &str, mark: Mark) -> Self {
        const WIDTH: usize = 120;
        let column = mark.column.saturating_sub(1) as usize;
        let start = if column > WIDTH - 20 { column - 40 } else { 0 };
        let mut text: String = if start > 0 { "… ".into() } else { String::new() };
        let lead = text.chars().count();
        let mut chars = line.chars().skip(start);
        // Control characters would move the carets away from what they mark.
        text.extend(chars.by_ref().take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }));
        let shown = text.chars().count();
        if chars.next().is_some() {
            text.push_str(" …");
        }
        let indent = (column - start + lead).min(shown);
        let length = (mark.length.max(1) as usize).min(shown.saturating_sub(indent).max(1));
        Excerpt { text: text.trim_end().to_owned(), indent, length }
    }
}

/// Text of the document's author in one line of ours.
fn one_line(text: &str, limit: usize) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    out
}

impl Problems {
    /// These problems of this document.
    pub fn new(document: Arc<Document>, list: Vec<Problem>) -> Self {
        Problems { document, list }
    }

    /// All of them, one after the other.
    pub fn render(&self) -> String {
        self.list.iter().map(|problem| problem.render(&self.document)).collect::<Vec<_>>().join("\n")
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for Problems {}

/// The known word that a misspelled one most likely means.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let wanted = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        // A third of the letters may differ: more is another word.
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(word.chars().count()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `help` text that names the nearest known word.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|nearest| format!("did you mean `{nearest}`?"))
}
