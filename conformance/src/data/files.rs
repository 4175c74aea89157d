//! Files for multipart bodies.

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileValue {
    /// The media type.
    pub media_type: String,
    /// The file name.
    pub name: String,
    /// The content.
    pub content: Vec<u8>,
}
