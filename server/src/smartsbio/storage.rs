//! Where the bytes of files are, and the presigned URLs by which they come and go without a key.
//!
//! The documented service hands out URLs of an object store; this one is its own. A URL names one file, one use and one
//! moment of expiry, and is signed with HMAC-SHA256, so that nothing in it can be changed.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::routing::get;
use axum::{Router, response::Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use jsonwebtoken::crypto;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trueline_runtime::multipart::Upload;

use super::Service;
use super::viewer;
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::Secret;

/// Seconds that URLs for downloads and uploads are good for: the documented hour.
pub(super) const URL_SECONDS: i64 = 3_600;

/// Read and sent at a time, whatever the file's size.
const PIECE: usize = 64 * 1024;

/// The folder that holds the bytes, each file's under its id.
#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
    temporary: bool,
}

impl Blobs {
    /// The given folder, or one that goes with this value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(folder: Option<PathBuf>) -> io::Result<Self> {
        let temporary = folder.is_none();
        let made = || std::env::temp_dir().join(format!("trueline-files-{}", uuid::Uuid::new_v4().simple()));
        let folder = folder.unwrap_or_else(made);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, temporary })
    }

    /// Where the bytes of a file are. Ids are ours: letters, digits and `_`.
    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Where bytes are that are still coming.
    fn draft(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.{}.part", uuid::Uuid::new_v4().simple()))
    }

    /// Keeps an upload whole or not at all.
    pub(super) async fn keep(&self, id: &str, upload: Upload) -> io::Result<()> {
        let draft = Draft(self.draft(id));
        upload.persist(&draft.0).await?;
        draft.finish(&self.path(id)).await
    }

    /// Keeps bytes whole or not at all.
    pub(super) async fn write(&self, id: &str, content: &[u8]) -> io::Result<()> {
        let draft = Draft(self.draft(id));
        tokio::fs::write(&draft.0, content).await?;
        draft.finish(&self.path(id)).await
    }

    /// Keeps a body of exactly `size` bytes. `false` when it is of another size or breaks off; nothing is kept then.
    async fn receive(&self, id: &str, mut body: Body, size: u64) -> io::Result<bool> {
        let draft = Draft(self.draft(id));
        let mut file = tokio::fs::File::create(&draft.0).await?;
        let mut received = 0_u64;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(false) };
            let Ok(data) = frame.into_data() else { continue };
            received = received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if received > size {
                return Ok(false);
            }
            file.write_all(&data).await?;
        }
        if received != size {
            return Ok(false);
        }
        file.flush().await?;
        drop(file);
        draft.finish(&self.path(id)).await?;
        Ok(true)
    }

    /// Forgets the bytes of a file; that there are none is as good.
    pub(super) async fn remove(&self, id: &str) {
        if let Err(error) = tokio::fs::remove_file(self.path(id)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, id, "the bytes of a file could not be removed");
        }
    }

    /// Removes what belongs to no file: a crash between the bytes and the row leaves such.
    pub(super) async fn sweep(&self, known: impl Fn(&str) -> bool) -> io::Result<u64> {
        let mut removed = 0;
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            if !entry.file_name().to_str().is_some_and(&known) {
                tokio::fs::remove_file(entry.path()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Bytes on their way in. Dropping it removes them: also when the caller hangs up in the middle.
struct Draft(PathBuf);

impl Draft {
    async fn finish(self, target: &Path) -> io::Result<()> {
        // The bytes are on the disk before the name is, so that a file is never shorter than its row says.
        tokio::fs::File::open(&self.0).await?.sync_all().await?;
        tokio::fs::rename(&self.0, target).await
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a URL is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Reading the bytes.
    Download,
    /// Bringing the bytes.
    Upload,
    /// Looking at the file in a browser.
    View,
}

/// Signs and checks URLs.
pub(super) struct Signer {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Signer {
    pub(super) fn new(secret: &Secret) -> Self {
        // Not the tokens' own key: a signature of the one must never be good for the other.
        let key = crate::platform::tokens::derived(secret, "presigned URLs");
        Self { signing: EncodingKey::from_secret(key.as_bytes()), verifying: DecodingKey::from_secret(key.as_bytes()) }
    }

    fn sign(&self, message: &str) -> Result<String, jsonwebtoken::errors::Error> {
        crypto::sign(message.as_bytes(), &self.signing, Algorithm::HS256)
    }

    fn is_signed(&self, message: &str, signature: &str) -> bool {
        crypto::verify(signature, message.as_bytes(), &self.verifying, Algorithm::HS256).unwrap_or(false)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// What a presigned URL says beside the file; nothing of it needs escapes.
#[derive(Debug, Default)]
struct Presigned<'a> {
    expires: i64,
    format: &'a str,
    signature: &'a str,
}

impl<'a> Presigned<'a> {
    fn of(url: &'a Uri) -> Self {
        let mut presigned = Self::default();
        for (name, value) in url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                // What is no number was never signed.
                "expires" => presigned.expires = value.parse().unwrap_or(0),
                "format" => presigned.format = value,
                "signature" => presigned.signature = value,
                _ => {}
            }
        }
        presigned
    }
}

fn message(purpose: Use, id: &str, format: &str, expires: i64) -> String {
    format!("{purpose:?}\n{id}\n{format}\n{expires}")
}

impl Service {
    /// A URL that is good for one use of one file for so many seconds.
    pub(super) fn presign(
        &self,
        purpose: Use,
        id: &str,
        name: &str,
        format: &str,
        seconds: i64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let expires = self.0.clock.now_ms().div_euclid(1000).saturating_add(seconds);
        let signature = self.0.signer.sign(&message(purpose, id, format, expires))?;
        let base = self.base_url();
        // The name is for people and browsers; the id alone counts.
        let name: String = percent_encoding(name);
        Ok(match purpose {
            Use::View => format!("{base}/view/{id}/{name}?format={format}&expires={expires}&signature={signature}"),
            Use::Download | Use::Upload => {
                format!("{base}/storage/{id}/{name}?expires={expires}&signature={signature}")
            }
        })
    }

    fn may(&self, purpose: Use, id: &str, url: &Presigned<'_>) -> Result<(), &'static str> {
        if !self.0.signer.is_signed(&message(purpose, id, url.format, url.expires), url.signature) {
            return Err("The signature is not good for this.");
        }
        if self.0.clock.now_ms() >= url.expires.saturating_mul(1000) {
            return Err("The URL has expired.");
        }
        Ok(())
    }

    /// What presigned URLs lead to. It speaks no dialect: the contract has these URLs as opaque.
    pub(super) fn storage_router(&self) -> Router {
        Router::new()
            .route("/storage/{id}/{name}", get(download).put(upload))
            .route("/view/{id}/{name}", get(view))
            .with_state(self.clone())
    }
}

async fn download(
    State(service): State<Service>,
    UrlPath((id, name)): UrlPath<(String, String)>,
    url: Uri,
) -> Response {
    if let Err(why) = service.may(Use::Download, &id, &Presigned::of(&url)) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    match service.open(&id).await {
        Ok(Some(found)) => {
            let (size, media_type) = (found.size, HeaderValue::from_str(&found.content_type));
            let mut response = Response::new(found.body());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
            headers.insert(
                header::CONTENT_TYPE,
                media_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
            );
            // Somebody else's file must not run in a browser as a page of ours.
            let disposition = format!("attachment; filename*=UTF-8''{}", percent_encoding(&name));
            if let Ok(disposition) = HeaderValue::from_str(&disposition) {
                headers.insert(header::CONTENT_DISPOSITION, disposition);
            }
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }
        Ok(None) => plain(StatusCode::NOT_FOUND, "There is no such file."),
        Err(error) => failed(&error),
    }
}

async fn upload(
    State(service): State<Service>,
    UrlPath((id, _)): UrlPath<(String, String)>,
    url: Uri,
    body: Body,
) -> Response {
    if let Err(why) = service.may(Use::Upload, &id, &Presigned::of(&url)) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    match service.receive(&id, body).await {
        Ok(Received::Kept) => plain(StatusCode::OK, ""),
        Ok(Received::Unwanted) => plain(StatusCode::NOT_FOUND, "No upload is expected here."),
        Ok(Received::OtherSize(size)) => plain(StatusCode::BAD_REQUEST, &format!("The body is not of {size} bytes.")),
        Err(error) => failed(&error),
    }
}

async fn view(State(service): State<Service>, UrlPath((id, name)): UrlPath<(String, String)>, url: Uri) -> Response {
    if let Err(why) = service.may(Use::View, &id, &Presigned::of(&url)) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    match service.open(&id).await {
        Ok(Some(mut found)) => {
            let mut head = Vec::new();
            let most = u64::try_from(viewer::MAX_SHOWN).unwrap_or(u64::MAX);
            match (&mut found.file).take(most).read_to_end(&mut head).await {
                Ok(_) => viewer::page(&name, Presigned::of(&url).format, &head, found.size),
                Err(error) => failed(&StorageError::Disk(error)),
            }
        }
        Ok(None) => plain(StatusCode::NOT_FOUND, "There is no such file."),
        Err(error) => failed(&error),
    }
}

/// Why bytes could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file store failed")]
    Disk(#[from] io::Error),
}

enum Received {
    Kept,
    Unwanted,
    OtherSize(i64),
}

/// A kept file, open.
struct Found {
    file: tokio::fs::File,
    size: u64,
    content_type: String,
}

impl Found {
    fn body(self) -> Body {
        let pieces = futures::stream::unfold(Some(self.file), |file| async move {
            let mut file = file?;
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), Some(file)))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        Body::from_stream(pieces.boxed())
    }
}

impl Service {
    async fn open(&self, id: &str) -> Result<Option<Found>, StorageError> {
        let row = sqlx::query("SELECT content_type FROM files WHERE id = $1 AND state = 'kept'")
            .bind(id)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        let file = tokio::fs::File::open(self.0.blobs.path(id)).await?;
        let size = file.metadata().await?.len();
        Ok(Some(Found { file, size, content_type: column(&row, 0)? }))
    }

    async fn receive(&self, id: &str, body: Body) -> Result<Received, StorageError> {
        let row = sqlx::query("SELECT size FROM files WHERE id = $1 AND state <> 'kept'")
            .bind(id)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(Received::Unwanted) };
        let size: i64 = column(&row, 0)?;
        if !self.0.blobs.receive(id, body, u64::try_from(size).unwrap_or(0)).await? {
            return Ok(Received::OtherSize(size));
        }
        let mut write = self.0.store.write().await?;
        let marked =
            sqlx::query("UPDATE files SET state = 'uploaded', modified_ms = $2 WHERE id = $1 AND state <> 'kept'")
                .bind(id)
                .bind(self.0.clock.now_ms())
                .execute(write.run())
                .await
                .map_err(StoreError::from)?;
        write.commit().await?;
        Ok(if marked.rows_affected() == 1 { Received::Kept } else { Received::Unwanted })
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn failed(error: &StorageError) -> Response {
    tracing::error!(%error, "a presigned URL could not be served");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.")
}

/// A text as one segment of a path (RFC 3986 section 2.1).
fn percent_encoding(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_good_for_what_they_were_made_for_only() {
        let signer = Signer::new(&Secret::new("s".repeat(32)));
        let signed = signer.sign(&message(Use::Download, "f_1", "", 10)).unwrap();
        assert!(signer.is_signed(&message(Use::Download, "f_1", "", 10), &signed));
        for other in [
            message(Use::Upload, "f_1", "", 10),
            message(Use::Download, "f_2", "", 10),
            message(Use::Download, "f_1", "csv", 10),
            message(Use::Download, "f_1", "", 11),
        ] {
            assert!(!signer.is_signed(&other, &signed), "{other}");
        }
        let stranger = Signer::new(&Secret::new("t".repeat(32)));
        assert!(!stranger.is_signed(&message(Use::Download, "f_1", "", 10), &signed));
    }

    #[tokio::test]
    async fn a_body_of_another_size_leaves_nothing() {
        let blobs = Blobs::open(None).unwrap();
        assert!(!blobs.receive("f_1", Body::from("abc"), 4).await.unwrap());
        assert!(!blobs.receive("f_1", Body::from("abcde"), 4).await.unwrap());
        assert_eq!(std::fs::read_dir(&blobs.folder).unwrap().count(), 0);
        assert!(blobs.receive("f_1", Body::from("abcd"), 4).await.unwrap());
        assert_eq!(std::fs::read(blobs.path("f_1")).unwrap(), b"abcd");
        let folder = blobs.folder.clone();
        drop(blobs);
        assert!(!folder.exists());
    }
}
