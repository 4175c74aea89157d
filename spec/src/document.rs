//! Documents: the files of a contract, where everything stands in them, and `$ref`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::problem::{Problem, Problems};
use crate::syntax::{self, Mark, SyntaxError, Tree};

/// Larger files are refused: the largest public documents have 12 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A contract of more files than this is not one that somebody wrote; it is a folder that refers to itself in new ways.
const MAX_FILES: usize = 4096;

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
    /// The entry as the caller gave it, the others beside it.
    pub path: PathBuf,
    /// The text.
    pub text: Arc<str>,
    /// What it says.
    pub value: Value,
    /// Relative to the entry's folder, with `/`; how the files know each other.
    name: String,
    tree: Tree,
    /// Where the text stops being a document, if it does.
    broken: Option<Mark>,
}

/// The files of a contract; the first is the entry.
#[derive(Debug, Default)]
pub struct Document {
    /// The first is the entry document.
    pub files: Vec<SourceFile>,
    /// By name: why a file that something refers to could not be read.
    missing: HashMap<String, Box<Problem>>,
}

/// Where the files of a document come from.
pub(crate) enum Source<'s> {
    /// A folder; nothing outside of it is read.
    Folder(PathBuf),
    /// Files in memory, by name.
    Memory(&'s dyn Fn(&str) -> Option<Vec<u8>>),
}

impl Location {
    /// The whole of a file.
    pub fn root(file: u32) -> Self {
        Location { file, pointer: Arc::from("") }
    }

    /// The member or item of this place.
    #[must_use]
    pub fn join(&self, token: &str) -> Self {
        let mut pointer = String::with_capacity(self.pointer.len() + token.len() + 1);
        pointer.push_str(&self.pointer);
        push_token(&mut pointer, token);
        Location { file: self.file, pointer: pointer.into() }
    }

    /// The tokens of the pointer, unescaped.
    pub fn tokens(&self) -> impl Iterator<Item = Cow<'_, str>> {
        tokens(&self.pointer)
    }
}

/// Appends a token to a JSON Pointer (RFC 6901 section 3).
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

fn tokens(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|token| {
        if token.contains('~') { Cow::Owned(token.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(token) }
    })
}

impl Document {
    /// Reads a document: a file, or a folder with an `openapi.yaml`, `openapi.yml` or `openapi.json` in it; and every
    /// file that it refers to.
    pub fn open(path: &Path) -> Result<Arc<Document>, Problems> {
        let fail = |title: String, help: Option<&str>| {
            let problem = Problem::new(title).maybe_help(help.map(str::to_owned));
            Problems::new(Arc::default(), vec![problem])
        };
        let mut entry = path.to_path_buf();
        if path.is_dir() {
            const NAMES: [&str; 3] = ["openapi.yaml", "openapi.yml", "openapi.json"];
            entry = match NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file()) {
                Some(file) => file,
                None => {
                    let title = format!("the folder `{}` has no document", path.display());
                    return Err(fail(title, Some("name the file, or call it openapi.yaml or openapi.json")));
                }
            };
        }
        let folder = match entry.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let Some(name) = entry.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Err(fail(format!("`{}` is not a file", path.display()), None));
        };
        let root = match folder.canonicalize() {
            Ok(root) => root,
            Err(error) => return Err(fail(format!("`{}` cannot be read: {error}", entry.display()), None)),
        };
        Document::read(&name, &entry, Source::Folder(root))
    }

    /// A document of one file in memory; `name` stands in messages.
    pub fn from_text(name: &str, text: &str) -> Result<Arc<Document>, Problems> {
        let source = |wanted: &str| (wanted == name).then(|| text.as_bytes().to_vec());
        Document::read(name, Path::new(name), Source::Memory(&source))
    }

    /// Reads the entry and, breadth first, what it refers to.
    pub(crate) fn read(entry: &str, shown: &Path, source: Source<'_>) -> Result<Arc<Document>, Problems> {
        let mut document = Document::default();
        if let Err(problem) = document.add(entry, shown, &source) {
            return Err(Problems::new(Arc::new(document), vec![*problem]));
        }
        let folder = shown.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut next = 0;
        while let Some(file) = document.files.get(next) {
            let mut wanted = Vec::new();
            references(&file.value, &mut wanted);
            let base = file.name.clone();
            let names: Vec<String> = wanted.into_iter().filter_map(|text| beside(&base, text).ok().flatten()).collect();
            for name in names {
                let known = document.missing.contains_key(&name) || document.files.iter().any(|file| file.name == name);
                if known || document.files.len() >= MAX_FILES {
                    continue;
                }
                // Something that looks like a reference may be part of an example; only who follows it may complain.
                if let Err(problem) = document.add(&name, &folder.join(&name), &source) {
                    document.missing.insert(name, problem);
                }
            }
            next += 1;
        }
        Ok(Arc::new(document))
    }

    /// Reads one file. A file that is no document becomes part of it all the same, so that the message can show the line.
    fn add(&mut self, name: &str, shown: &Path, source: &Source<'_>) -> Result<(), Box<Problem>> {
        let bytes = source.read(name).map_err(|title| Box::new(Problem::new(title)))?;
        let index = self.files.len() as u32;
        let (text, bad) = match decode(bytes) {
            Ok(text) => (text, None),
            Err(broken) => (broken.0, Some(broken.1)),
        };
        // A byte order mark says nothing in UTF-8 and stands in nobody's editor.
        let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(&text).into();
        let parsed = match bad {
            Some(error) => Err(error),
            None => syntax::parse(&text),
        };
        let (value, tree, error) = match parsed {
            Ok((value, tree)) => (value, tree, None),
            Err(error) => (Value::Null, Tree::default(), Some(error)),
        };
        let broken = error.as_ref().map(|error| error.mark);
        // The digest and the references between files go by name; where the folder lies does not matter.
        self.files.push(SourceFile { path: shown.to_path_buf(), text, value, name: name.to_owned(), tree, broken });
        match error {
            Some(error) => Err(Box::new(Problem::new(error.title).at(&Location::root(index)).maybe_help(error.help))),
            None => Ok(()),
        }
    }

    /// What stands at a location.
    pub fn value(&self, location: &Location) -> Option<&Value> {
        let mut value = &self.files.get(location.file as usize)?.value;
        for token in location.tokens() {
            value = match value {
                Value::Object(map) => map.get(token.as_ref())?,
                Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Where a location stands: of the key of an object's member, or of an array's item. If nothing stands there, the
    /// position of the deepest part of the way that exists.
    pub fn position(&self, location: &Location) -> Position {
        let mark = self.mark(location);
        Position { line: mark.line, column: mark.column }
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

    /// The scalar at a location as its author wrote it: `1.10` is a number to YAML and a version to people.
    pub(crate) fn written(&self, location: &Location) -> Option<&str> {
        let file = self.files.get(location.file as usize)?;
        let (_, mark) = file.tree.find(&file.value, location.tokens());
        let line = self.line(location.file, mark.line);
        let mut offsets =
            line.char_indices().map(|(offset, _)| offset).chain([line.len()]).skip(mark.column as usize - 1);
        let start = offsets.next()?;
        let end = offsets.nth((mark.length as usize).checked_sub(1)?)?;
        line.get(start..end)
    }

    pub(crate) fn mark(&self, location: &Location) -> Mark {
        let Some(file) = self.files.get(location.file as usize) else { return Mark { line: 1, column: 1, length: 0 } };
        if let Some(mark) = file.broken {
            return mark;
        }
        let (key, _) = file.tree.find(&file.value, location.tokens());
        Mark { line: key.line.max(1), column: key.column.max(1), length: key.length }
    }

    /// One hop of a `$ref` that stands in `file`: the place it names. Whether something stands there is another question.
    pub(crate) fn refer(&self, file: u32, reference: &str) -> Result<Location, Box<Problem>> {
        let base = self.files.get(file as usize).map_or("", |file| file.name.as_str());
        let target = match beside(base, reference) {
            Ok(None) => file,
            Ok(Some(name)) => {
                if let Some(problem) = self.missing.get(&name) {
                    return Err(problem.clone());
                }
                match self.files.iter().position(|file| file.name == name) {
                    Some(index) => index as u32,
                    None => {
                        return Err(Box::new(Problem::new(format!("the file `{name}` was not read: too many files"))));
                    }
                }
            }
            Err(problem) => return Err(problem),
        };
        let fragment = reference.split_once('#').map_or("", |(_, fragment)| fragment);
        let fragment = percent_decode_str(fragment).decode_utf8_lossy();
        let pointer = match fragment.as_ref() {
            "" => String::new(),
            text if text.starts_with('/') => text.to_owned(),
            text => match self.anchor(target, text) {
                Some(pointer) => pointer,
                None => {
                    let problem = Problem::new(format!("no schema has the anchor `{text}`"));
                    return Err(Box::new(problem.help("a JSON Pointer starts with `#/`")));
                }
            },
        };
        Ok(Location { file: target, pointer: pointer.into() })
    }

    /// The place of `$anchor: name` in a file (JSON Schema 2020-12 core, section 8.2.2).
    fn anchor(&self, file: u32, name: &str) -> Option<String> {
        fn search(value: &Value, name: &str, pointer: &mut String) -> bool {
            let length = pointer.len();
            match value {
                Value::Object(map) => {
                    if map.get("$anchor").and_then(Value::as_str) == Some(name) {
                        return true;
                    }
                    for (key, value) in map {
                        push_token(pointer, key);
                        if search(value, name, pointer) {
                            return true;
                        }
                        pointer.truncate(length);
                    }
                }
                Value::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        push_token(pointer, &index.to_string());
                        if search(value, name, pointer) {
                            return true;
                        }
                        pointer.truncate(length);
                    }
                }
                _ => {}
            }
            false
        }
        let mut pointer = String::new();
        search(&self.files.get(file as usize)?.value, name, &mut pointer).then_some(pointer)
    }

    /// Content hash of all files, independent of where they lie.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        // The entry comes first whatever it is called; the others in the order of their names.
        let mut others: Vec<&SourceFile> = self.files.iter().skip(1).collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        for (index, file) in self.files.iter().take(1).chain(others).enumerate() {
            let name = if index == 0 { "" } else { file.name.as_str() };
            for part in [name, &file.text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Source<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        match self {
            Source::Memory(files) => {
                files(name).ok_or_else(|| format!("there is no file `{name}`: this document was given as text"))
            }
            Source::Folder(root) => {
                let unreadable = |error: std::io::Error| format!("`{name}` cannot be read: {error}");
                let path = root.join(name).canonicalize().map_err(unreadable)?;
                // A symbolic link may lead out even when the name does not.
                if !path.starts_with(root) {
                    return Err(format!("`{name}` leads out of the contract's folder"));
                }
                let size = std::fs::metadata(&path).map_err(unreadable)?;
                if !size.is_file() {
                    return Err(format!("`{name}` is not a file"));
                }
                if size.len() > MAX_FILE_BYTES {
                    return Err(format!("`{name}` has {} bytes; the limit is {MAX_FILE_BYTES}", size.len()));
                }
                std::fs::read(&path).map_err(unreadable)
            }
        }
    }
}

/// The text of a file, or what could be decoded of it and what is wrong.
fn decode(bytes: Vec<u8>) -> Result<String, (String, SyntaxError)> {
    let broken = |title: String, mark| SyntaxError { title, mark, help: Some("save it as UTF-8".into()) };
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        let start = Mark { line: 1, column: 1, length: 0 };
        return Err((String::new(), broken("the file is UTF-16, not UTF-8".into(), start)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let byte = bytes.get(offset).copied().unwrap_or_default();
        let valid = String::from_utf8_lossy(&bytes[..offset]).into_owned();
        let line = valid.matches('\n').count() as u32 + 1;
        let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        let title = format!("not valid UTF-8: byte {offset} is 0x{byte:02X}");
        (valid, broken(title, Mark { line, column, length: 1 }))
    })
}

/// Everything in a value that may name another file: `$ref`, `operationRef`, and a discriminator's `mapping`.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref" | "operationRef", Value::String(text)) if !text.starts_with('#') => found.push(text),
                    ("mapping", Value::Object(mapping)) => {
                        let files = mapping.values().filter_map(Value::as_str).filter(|text| is_file_reference(text));
                        found.extend(files);
                        references(value, found);
                    }
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Whether a discriminator's mapping value is a reference to another file rather than a schema's name.
fn is_file_reference(text: &str) -> bool {
    !text.starts_with('#')
        && (text.contains('/') || text.contains('#') || text.contains(".yaml") || text.contains(".json"))
}

/// The name of the file that `reference` means when it stands in the file `base`; `None` for `base` itself.
fn beside(base: &str, reference: &str) -> Result<Option<String>, Box<Problem>> {
    let path = reference.split('#').next().unwrap_or_default();
    if path.is_empty() {
        return Ok(None);
    }
    let refuse = |title: String, help: &str| Err(Box::new(Problem::new(title).help(help)));
    let scheme = path.split_once(':').map(|(scheme, _)| scheme);
    if path.starts_with("//")
        || scheme.is_some_and(|s| s.len() > 1 && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)))
    {
        return refuse(
            format!("`{reference}` is a URL: references to other places are not fetched"),
            "save the file beside the document and refer to it by a relative path",
        );
    }
    let path = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    if path.starts_with('/') {
        return refuse(format!("`{reference}` is an absolute path"), "refer to files by a relative path");
    }
    for component in Path::new(path.as_str()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if parts.pop().is_none() {
                    return refuse(
                        format!("`{reference}` leads out of the contract's folder"),
                        "keep every file of a contract under the folder of its first file",
                    );
                }
            }
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::RootDir | Component::Prefix(_) => {
                return refuse(format!("`{reference}` is an absolute path"), "refer to files by a relative path");
            }
        }
    }
    Ok(Some(parts.join("/")).filter(|name| name != base))
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
