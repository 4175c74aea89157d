//! Files of a `multipart/form-data` body (RFC 7578): small ones in memory, larger ones in a temporary file, so that
//! memory stays flat however much is uploaded and a handler sees a whole, checked request.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Files up to this size stay in memory: one is cheaper to hold than to write and read again, and a thousand
/// simultaneous uploads of this size still fit into a small machine.
pub const IN_MEMORY: u64 = 256 * 1024;

/// A file, whole. A temporary file behind it is removed when the last clone is dropped.
#[derive(Clone)]
pub struct Upload {
    /// The name that the sender gave it; never a path on this machine.
    pub file_name: Option<String>,
    /// The media type that the sender gave it.
    pub content_type: Option<String>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Memory(Bytes),
    #[cfg(feature = "server")]
    Spooled {
        path: Arc<tempfile::TempPath>,
        length: u64,
    },
    Path {
        path: Arc<Path>,
        length: u64,
    },
}

impl Upload {
    /// A file from memory.
    pub fn from_bytes(content: impl Into<Bytes>) -> Self {
        Upload { file_name: None, content_type: None, content: Content::Memory(content.into()) }
    }

    /// A file on disk, which stays where it is.
    ///
    /// # Errors
    ///
    /// If the file's length cannot be read.
    pub fn from_path(path: impl Into<std::path::PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let length = std::fs::metadata(&path)?.len();
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Upload { file_name, content_type: None, content: Content::Path { path: path.into(), length } })
    }

    /// The same under this name.
    pub fn named(mut self, file_name: impl Into<String>) -> Self {
        self.file_name = Some(file_name.into());
        self
    }

    /// The same with this media type.
    pub fn of_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            #[cfg(feature = "server")]
            Content::Spooled { length, .. } => *length,
            Content::Path { length, .. } => *length,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content; see [`Upload::len`] before.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub async fn bytes(&self) -> io::Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            #[cfg(feature = "server")]
            Content::Spooled { path, .. } => Ok(tokio::fs::read(&**path).await?.into()),
            Content::Path { path, .. } => Ok(tokio::fs::read(&**path).await?.into()),
        }
    }

    /// A reader over the content.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub async fn reader(&self) -> io::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        Ok(match &self.content {
            Content::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            #[cfg(feature = "server")]
            Content::Spooled { path, .. } => Box::new(tokio::fs::File::open(&**path).await?),
            Content::Path { path, .. } => Box::new(tokio::fs::File::open(&**path).await?),
        })
    }

    /// Keeps the content at `target`: by a rename where it is a temporary file of the same file system.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub async fn persist(self, target: &Path) -> io::Result<()> {
        match self.content {
            Content::Memory(bytes) => tokio::fs::write(target, &bytes).await,
            Content::Path { path, .. } => tokio::fs::copy(&*path, target).await.map(drop),
            #[cfg(feature = "server")]
            Content::Spooled { path, .. } => match tokio::fs::rename(&**path, target).await {
                Ok(()) => Ok(()),
                Err(_) => tokio::fs::copy(&**path, target).await.map(drop),
            },
        }
    }
}

/// The content may be secret, and is long.
impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("file_name", &self.file_name)
            .field("content_type", &self.content_type)
            .field("length", &self.len())
            .finish()
    }
}

#[cfg(feature = "server")]
pub use read::Form;
#[cfg(feature = "server")]
pub(crate) use read::read;

#[cfg(feature = "server")]
mod read {
    use axum::body::Body;
    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::contract::{Kind, Part, Place};
    use crate::decode::scalar;
    use crate::reject::{Rejection, RejectionKind, Violation};

    /// A text part larger than this is not a field.
    const LARGEST_TEXT: u64 = 1024 * 1024;

    /// The parts of a body.
    #[derive(Debug, Default)]
    pub struct Form {
        /// What the schema judges: fields as they are read, files as empty strings.
        pub(crate) values: Map<String, Value>,
        files: Vec<(&'static str, Upload)>,
    }

    impl Form {
        /// The only file of this name.
        pub fn file(&mut self, name: &str) -> Option<Upload> {
            let at = self.files.iter().position(|(candidate, _)| *candidate == name)?;
            Some(self.files.remove(at).1)
        }

        /// All files of this name, in order.
        pub fn files(&mut self, name: &str) -> Vec<Upload> {
            let (mine, others) =
                std::mem::take(&mut self.files).into_iter().partition(|(candidate, _)| *candidate == name);
            self.files = others;
            let mine: Vec<(&str, Upload)> = mine;
            mine.into_iter().map(|(_, upload)| upload).collect()
        }

        /// A field; `None` if it is absent. The schema has been held to it already.
        pub fn field<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
            serde_json::from_value(self.values.remove(name)?).ok()
        }
    }

    /// Reads a body of at most `max_bytes`.
    pub(crate) async fn read(
        body: Body,
        content_type: &str,
        parts: &'static [Part],
        max_bytes: u64,
        found: &mut Vec<Violation>,
    ) -> Result<Form, Rejection> {
        let malformed = |message: &'static str| Rejection::body(RejectionKind::Malformed, "syntax", message);
        let boundary = multer::parse_boundary(content_type).map_err(|_| malformed("has no multipart boundary"))?;
        let constraints = multer::Constraints::new().size_limit(multer::SizeLimit::new().whole_stream(max_bytes));
        let mut stream = multer::Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
        let failed = |error: multer::Error| match error {
            multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
                Rejection::body(RejectionKind::TooLarge, "maxBytes", "is too large")
            }
            _ => malformed("is not a whole multipart form"),
        };
        let mut form = Form::default();
        while let Some(mut field) = stream.next_field().await.map_err(failed)? {
            let known = field.name().and_then(|name| parts.iter().find(|part| part.name == name));
            let Some(part) = known else {
                while field.chunk().await.map_err(failed)?.is_some() {}
                continue;
            };
            let mut wrong = |rule: &'static str, message: String| {
                found.push(Violation {
                    place: Place::Body,
                    pointer: format!("/{}", crate::reject::escape(part.name)),
                    rule: rule.into(),
                    message: message.into(),
                });
            };
            if !part.repeated && form.values.contains_key(part.name) {
                wrong("maxItems", "must not be repeated".to_owned());
                continue;
            }
            let value = if matches!(part.kind, Kind::File) {
                let essence = field.content_type().map(|media_type| media_type.essence_str().to_owned());
                let accepted = part.media_types.is_empty()
                    || part
                        .media_types
                        .iter()
                        .any(|range| super::super::exchange::accepts(range, essence.as_deref().unwrap_or_default()));
                if !accepted {
                    wrong("contentMediaType", format!("must be {}", part.media_types.join(" or ")));
                }
                let upload = Upload {
                    file_name: field.file_name().map(str::to_owned),
                    content_type: field.content_type().map(ToString::to_string),
                    content: spool(&mut field).await.map_err(|error| match error {
                        Spool::Field(error) => failed(error),
                        Spool::Disk(error) => {
                            tracing::error!(%error, "an upload cannot be spooled");
                            Rejection::internal("an upload cannot be spooled")
                        }
                    })?,
                };
                form.files.push((part.name, upload));
                Value::String(String::new())
            } else {
                let mut text = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(failed)? {
                    text.extend_from_slice(&chunk);
                    if text.len() as u64 > LARGEST_TEXT {
                        return Err(Rejection::body(
                            RejectionKind::TooLarge,
                            "maxBytes",
                            "has a field that is too large",
                        ));
                    }
                }
                match std::str::from_utf8(&text) {
                    Ok(text) => match part.kind {
                        Kind::Array(item) => scalar(item, text),
                        kind => scalar(&kind, text),
                    },
                    Err(_) => {
                        wrong("type", "must be UTF-8".to_owned());
                        continue;
                    }
                }
            };
            if part.repeated {
                match form.values.entry(part.name).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(items) => items.push(value),
                    _ => return Err(Rejection::internal("a repeated part is not an array")),
                }
            } else {
                form.values.insert(part.name.to_owned(), value);
            }
        }
        Ok(form)
    }

    enum Spool {
        Field(multer::Error),
        Disk(io::Error),
    }

    async fn spool(field: &mut multer::Field<'_>) -> Result<Content, Spool> {
        let mut memory = Vec::new();
        loop {
            match field.chunk().await.map_err(Spool::Field)? {
                None => return Ok(Content::Memory(memory.into())),
                Some(chunk) => memory.extend_from_slice(&chunk),
            }
            if memory.len() as u64 > IN_MEMORY {
                break;
            }
        }
        let made = tokio::task::spawn_blocking(tempfile::NamedTempFile::new).await;
        let (file, path) = made.map_err(io::Error::other).and_then(|file| file).map_err(Spool::Disk)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut length = memory.len() as u64;
        file.write_all(&memory).await.map_err(Spool::Disk)?;
        while let Some(chunk) = field.chunk().await.map_err(Spool::Field)? {
            length += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(Spool::Disk)?;
        }
        file.flush().await.map_err(Spool::Disk)?;
        Ok(Content::Spooled { path: Arc::new(path), length })
    }
}
