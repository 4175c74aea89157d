//! Documents: the files of a contract, where everything stands in them, and `$ref`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
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
    pub(crate) tree: Tree,
    /// Where the text stops being a document, if it does.
    broken: Option<Mark>,
}

/// The files of a contract; the first is the entry.
#[derive(Debug, Default)]
pub struct Document {
    /// The first is the entry document, changed by the overlays if there are any; then come the overlays, then the files
    /// that it refers to.
    pub files: Vec<SourceFile>,
    /// By name: why a file that something refers to could not be read.
    missing: HashMap<String, Box<Problem>>,
    /// URLs that mean files of this document: an exact URL or a prefix that ends in `/`, and the name it stands for.
    known_as: Vec<(String, String)>,
    /// What overlays left to be said.
    pub(crate) notes: Vec<Problem>,
}

/// Gets what a URL names. It is asked once for each URL; time, size and who may be asked are its own affair.
pub type Fetch<'f> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'f;

/// What a contract is read from.
#[derive(Clone, Copy, Default)]
pub struct Sources<'s> {
    /// A file, a folder or an `http(s)` URL; without one, what the first overlay extends.
    pub document: Option<&'s Path>,
    /// OpenAPI Overlays (files or URLs), applied in this order.
    pub overlays: &'s [PathBuf],
    /// How URLs are read; without it they are refused.
    pub fetch: Option<&'s Fetch<'s>>,
}

/// Where the files of a document come from.
pub(crate) enum Source<'s> {
    /// A folder; nothing outside of it is read.
    Folder(PathBuf),
    /// Files in memory, by name.
    Memory(&'s dyn Fn(&str) -> Option<Vec<u8>>),
    /// A server; nothing of another one is read. Names are paths without their first slash.
    Url { origin: String, entry: (String, String), fetch: &'s Fetch<'s> },
}

/// A path that is a URL.
pub fn as_url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, rest) = text.split_once("://")?;
    (matches!(scheme, "http" | "https") && !rest.is_empty()).then_some(text)
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
    /// Reads a document: a file, or a folder with one; and every file that it refers to.
    pub fn open(path: &Path) -> Result<Arc<Document>, Problems> {
        Document::gather(Sources { document: Some(path), ..Sources::default() })
    }

    /// Reads a document from wherever it is, with its overlays applied.
    pub fn gather(sources: Sources<'_>) -> Result<Arc<Document>, Problems> {
        let overlays = sources
            .overlays
            .iter()
            .map(|path| Ok((path.clone(), outside(path, sources.fetch)?)))
            .collect::<Result<Vec<_>, String>>()
            .map_err(|title| refused(Problem::new(title)))?;
        let extended;
        let path = match (sources.document, overlays.first()) {
            (Some(path), _) => path,
            (None, Some((path, bytes))) => {
                extended = extends(path, bytes)?;
                extended.as_path()
            }
            (None, None) => return Err(refused(Problem::new("no document was named"))),
        };
        if let Some(url) = as_url(path) {
            let Some(fetch) = sources.fetch else {
                return Err(refused(Problem::new(format!("`{url}` is a URL, and URLs are not read here"))));
            };
            let (origin, name) = split_url(url);
            let entry = (name.clone(), url.to_owned());
            return Document::read(&name, path, Source::Url { origin, entry, fetch }, overlays);
        }
        let entry = if path.is_dir() { entry_of(path)? } else { path.to_path_buf() };
        let folder = match entry.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let Some(name) = entry.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Err(refused(Problem::new(format!("`{}` is not a file", path.display()))));
        };
        let root = match folder.canonicalize() {
            Ok(root) => root,
            Err(error) => {
                return Err(refused(Problem::new(format!("`{}` cannot be read: {error}", entry.display()))));
            }
        };
        Document::read(&name, &entry, Source::Folder(root), overlays)
    }

    /// A document of one file in memory; `name` stands in messages.
    pub fn from_text(name: &str, text: &str) -> Result<Arc<Document>, Problems> {
        let source = |wanted: &str| (wanted == name).then(|| text.as_bytes().to_vec());
        Document::read(name, Path::new(name), Source::Memory(&source), Vec::new())
    }

    /// Reads the entry, applies the overlays, and reads breadth first what it refers to.
    pub(crate) fn read(
        entry: &str,
        shown: &Path,
        source: Source<'_>,
        overlays: Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<Arc<Document>, Problems> {
        let mut document = Document::default();
        if let Source::Url { origin, .. } = &source {
            document.known_as.push((format!("{origin}/"), String::new()));
        }
        if let Err(problem) = document.add(entry, shown, &source) {
            return Err(Problems::new(Arc::new(document), vec![*problem]));
        }
        let count = overlays.len();
        for (index, (path, bytes)) in overlays.into_iter().enumerate() {
            // No reference can name it: what it adds stands in the entry.
            let applied = match document.parse(&format!("\0overlay {index}"), &path, bytes) {
                Ok(()) => crate::overlay::apply(&mut document, index as u32 + 1),
                Err(problem) => Err(vec![*problem]),
            };
            if let Err(problems) = applied {
                return Err(Problems::new(Arc::new(document), problems));
            }
        }
        document.name_itself();
        let mut next = 0;
        while let Some(file) = document.files.get(next) {
            let mut wanted = Vec::new();
            references(&file.value, &mut wanted);
            let base = file.name.clone();
            let names: Vec<String> =
                wanted.into_iter().filter_map(|text| document.beside(&base, text).ok().flatten()).collect();
            for name in names {
                let known = document.missing.contains_key(&name) || document.files.iter().any(|file| file.name == name);
                if known || document.files.len() >= MAX_FILES {
                    continue;
                }
                // Something that looks like a reference may be part of an example; only who follows it may complain.
                if let Err(problem) = document.add(&name, &source.shown(&name, shown), &source) {
                    document.missing.insert(name, problem);
                }
            }
            next += if next == 0 { 1 + count } else { 1 };
        }
        Ok(Arc::new(document))
    }

    /// `$self` of OpenAPI 3.2: the URI that the entry is known by, which references may use.
    fn name_itself(&mut self) {
        let Some(entry) = self.files.first() else { return };
        let Some(own) = entry.value.get("$self").and_then(Value::as_str).filter(|own| own.contains("://")) else {
            return;
        };
        let own = own.split('#').next().unwrap_or_default().to_owned();
        let folder = own.rfind('/').map(|end| own[..=end].to_owned()).unwrap_or_default();
        let name = entry.name.clone();
        self.known_as.push((own, name));
        if !folder.ends_with("://") {
            self.known_as.push((folder, String::new()));
        }
    }

    /// Reads one file. A file that is no document becomes part of it all the same, so that the message can show the line.
    fn add(&mut self, name: &str, shown: &Path, source: &Source<'_>) -> Result<(), Box<Problem>> {
        let bytes = source.read(name).map_err(|title| Box::new(Problem::new(title)))?;
        self.parse(name, shown, bytes)
    }

    fn parse(&mut self, name: &str, shown: &Path, bytes: Vec<u8>) -> Result<(), Box<Problem>> {
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
        self.locate(location).1
    }

    /// As [`Document::position`], with the file: what an overlay added stands in the overlay.
    pub fn locate(&self, location: &Location) -> (u32, Position) {
        let (file, mark) = self.mark(location);
        (file, Position { line: mark.line, column: mark.column })
    }

    /// `path:line:column`.
    pub fn describe(&self, location: &Location) -> String {
        let (file, position) = self.locate(location);
        let path = self.files.get(file as usize).map(|file| file.path.display().to_string());
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
        let (_, mark, stands_in) = file.tree.find(&file.value, location.tokens());
        let line = self.line(stands_in.unwrap_or(location.file), mark.line);
        let mut offsets =
            line.char_indices().map(|(offset, _)| offset).chain([line.len()]).skip(mark.column as usize - 1);
        let start = offsets.next()?;
        let end = offsets.nth((mark.length as usize).checked_sub(1)?)?;
        line.get(start..end)
    }

    pub(crate) fn mark(&self, location: &Location) -> (u32, Mark) {
        let Some(file) = self.files.get(location.file as usize) else {
            return (location.file, Mark { line: 1, column: 1, length: 0 });
        };
        if let Some(mark) = file.broken {
            return (location.file, mark);
        }
        let (key, _, stands_in) = file.tree.find(&file.value, location.tokens());
        let mark = Mark { line: key.line.max(1), column: key.column.max(1), length: key.length };
        (stands_in.unwrap_or(location.file), mark)
    }

    /// One hop of a `$ref` that stands in `file`: the place it names. Whether something stands there is another question.
    pub(crate) fn refer(&self, file: u32, reference: &str) -> Result<Location, Box<Problem>> {
        let base = self.files.get(file as usize).map_or("", |file| file.name.as_str());
        let target = match self.beside(base, reference) {
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
    /// How a file that the entry refers to is called in messages.
    fn shown(&self, name: &str, entry: &Path) -> PathBuf {
        match self {
            Source::Url { origin, .. } => PathBuf::from(format!("{origin}/{name}")),
            _ => entry.parent().unwrap_or(Path::new("")).join(name),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        match self {
            Source::Url { origin, entry, fetch } => {
                let url = if entry.0 == name {
                    entry.1.clone()
                } else {
                    format!("{origin}/{}", utf8_percent_encode(name, URL_PATH))
                };
                fetched(&url, *fetch)
            }
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

/// A problem before there is a document.
fn refused(problem: Problem) -> Problems {
    Problems::new(Arc::default(), vec![problem])
}

/// The document in a folder: the one that is called as usual, or the only one.
fn entry_of(folder: &Path) -> Result<PathBuf, Problems> {
    const NAMES: [&str; 6] =
        ["openapi.yaml", "openapi.yml", "openapi.json", "swagger.yaml", "swagger.yml", "swagger.json"];
    if let Some(file) = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file()) {
        return Ok(file);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && says_what_it_is(path))
        .collect();
    found.sort();
    let shown = folder.display();
    match <[PathBuf; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(found) if found.is_empty() => {
            let problem = Problem::new(format!("the folder `{shown}` has no document"));
            Err(refused(problem.help("name the file, or call it openapi.yaml or openapi.json")))
        }
        Err(found) => {
            let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
            let problem = Problem::new(format!("the folder `{shown}` has several documents"));
            Err(refused(problem.found(names.join(", ")).help("name the file that is meant")))
        }
    }
}

/// Whether the top of a file has the key of an OpenAPI document.
fn says_what_it_is(path: &Path) -> bool {
    let named = ["yaml", "yml", "json"].iter().any(|known| path.extension().is_some_and(|own| own == *known));
    let mut start = Vec::new();
    // A document says what it is at its very top, but for comments.
    let read = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    let says = |line: &str| {
        let line = line.trim_start_matches(['{', ' ', '\t']);
        ["openapi", "swagger"].iter().any(|key| {
            let key = line.strip_prefix(key).or_else(|| line.strip_prefix(&format!("\"{key}\"")));
            key.is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    };
    named && read.is_ok() && start.lines().any(says)
}

/// The document that an overlay extends (Overlay 1.0.0, section 4.4.1).
fn extends(overlay: &Path, bytes: &[u8]) -> Result<PathBuf, Problems> {
    let mut alone = Document::default();
    if let Err(problem) = alone.parse("", overlay, bytes.to_vec()) {
        return Err(Problems::new(Arc::new(alone), vec![*problem]));
    }
    let named = alone.files.first().and_then(|file| file.value.get("extends")).and_then(Value::as_str);
    let Some(named) = named.map(str::to_owned) else {
        let problem = Problem::new("this overlay does not say what it extends").at(&Location::root(0));
        let problem = problem.help("name the document beside the overlay, or write its place behind `extends`");
        return Err(Problems::new(Arc::new(alone), vec![problem]));
    };
    Ok(extended(overlay, &named))
}

/// What `extends` means beside the overlay that says it.
pub(crate) fn extended(overlay: &Path, named: &str) -> PathBuf {
    let named = named.split('#').next().unwrap_or_default();
    if as_url(Path::new(named)).is_some() {
        return PathBuf::from(named);
    }
    if let Some(url) = as_url(overlay) {
        let (origin, name) = split_url(url);
        let target = match named.strip_prefix('/') {
            Some(rest) => Some(rest.to_owned()),
            None => beside(&name, named).ok().flatten(),
        };
        return PathBuf::from(format!("{origin}/{}", target.unwrap_or(name)));
    }
    let named = named.strip_prefix("file://").unwrap_or(named);
    let decoded = percent_decode_str(named).decode_utf8_lossy().into_owned();
    overlay.parent().unwrap_or(Path::new("")).join(decoded)
}

/// The bytes of an overlay, which may lie anywhere.
fn outside(path: &Path, fetch: Option<&Fetch<'_>>) -> Result<Vec<u8>, String> {
    match (as_url(path), fetch) {
        (Some(url), Some(fetch)) => fetched(url, fetch),
        (Some(url), None) => Err(format!("`{url}` is a URL, and URLs are not read here")),
        (None, _) => {
            let unreadable =
                |error: std::io::Error| format!("the overlay `{}` cannot be read: {error}", path.display());
            let size = std::fs::metadata(path).map_err(unreadable)?.len();
            if size > MAX_FILE_BYTES {
                return Err(format!(
                    "the overlay `{}` has {size} bytes; the limit is {MAX_FILE_BYTES}",
                    path.display()
                ));
            }
            std::fs::read(path).map_err(unreadable)
        }
    }
}

fn fetched(url: &str, fetch: &Fetch<'_>) -> Result<Vec<u8>, String> {
    let bytes = fetch(url).map_err(|error| format!("`{url}` cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("`{url}` has {} bytes; the limit is {MAX_FILE_BYTES}", bytes.len()));
    }
    Ok(bytes)
}

/// What may stand in a path (RFC 3986 section 3.3), and what separates a query.
const URL_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'?');

/// Scheme and authority, and the path without its first slash.
fn split_url(url: &str) -> (String, String) {
    let url = url.split(['#', '?']).next().unwrap_or_default();
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let path = url[end..].trim_start_matches('/');
    let name = percent_decode_str(path).decode_utf8_lossy().into_owned();
    (url[..end].to_owned(), if name.is_empty() { "openapi".into() } else { name })
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

impl Document {
    /// The name of the file that `reference` means when it stands in the file `base`; `None` for `base` itself.
    fn beside(&self, base: &str, reference: &str) -> Result<Option<String>, Box<Problem>> {
        let path = reference.split('#').next().unwrap_or_default();
        for (url, name) in &self.known_as {
            let rest = if url.ends_with('/') { path.strip_prefix(url.as_str()) } else { (path == url).then_some("") };
            if let Some(rest) = rest {
                return beside("", &format!("{name}{rest}")).map(|name| name.filter(|name| name != base));
            }
        }
        let absolute = path.strip_prefix('/').filter(|rest| !rest.starts_with('/'));
        if let (Some(rest), Some((_, name))) = (absolute, self.known_as.first())
            && name.is_empty()
        {
            return beside("", rest).map(|name| name.filter(|name| name != base));
        }
        beside(base, reference)
    }
}

/// As [`Document::beside`], for references that are relative paths.
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
