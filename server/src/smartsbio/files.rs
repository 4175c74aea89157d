//! Files — documentation section "Files".

use contract_smartsbio::problems::{InternalError, NotFound};
use contract_smartsbio::server::{
    ConfirmUploadError, ConfirmUploadRequest, ConfirmUploadResponse, CreateUploadUrlError, CreateUploadUrlRequest,
    CreateUploadUrlResponse, DeleteFileError, DeleteFileRequest, DeleteFileResponse, Files, GetDownloadUrlError,
    GetDownloadUrlRequest, GetDownloadUrlResponse, ListFilesError, ListFilesRequest, ListFilesResponse,
    UploadFileError, UploadFileRequest, UploadFileResponse,
};
use contract_smartsbio::types::{DeletedFile, DownloadLink, File, FileList, UploadTicket};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use trueline_runtime::problem::FieldError;

use super::Service;
use super::access::{Principal, internal, invalid, new_id, no_such};
use super::storage::{URL_SECONDS, Use};
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};

/// The documented 500 MB of one upload; the form around it may be a megabyte.
const MAX_UPLOAD_BYTES: u64 = 500 * 1024 * 1024;

const OCTETS: &str = "application/octet-stream";

/// A file to be, or one that is.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Under which the bytes are kept.
    pub(super) id: String,
    pub(super) workspace: String,
    pub(super) key: String,
    pub(super) name: String,
    pub(super) size: i64,
    pub(super) content_type: String,
    pub(super) description: Option<String>,
    pub(super) modified_ms: i64,
}

/// The states of a row.
pub(super) const EXPECTED: &str = "expected";
pub(super) const KEPT: &str = "kept";

const COLUMNS: &str = "id, workspace_id, key, name, size, content_type, description, modified_ms";

impl Entry {
    /// A file with a key of its own: two files of one name and folder are two files.
    pub(super) fn new(
        workspace: &str,
        folder: &str,
        name: &str,
        size: i64,
        content_type: &str,
        now_ms: i64,
    ) -> Result<Self, InternalError> {
        let id = new_id("f_").map_err(internal)?;
        Ok(Self {
            key: format!("{workspace}/{folder}{id}/{name}"),
            workspace: workspace.to_owned(),
            name: name.to_owned(),
            size,
            content_type: content_type.to_owned(),
            description: None,
            modified_ms: now_ms,
            id,
        })
    }

    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: column(row, 0)?,
            workspace: column(row, 1)?,
            key: column(row, 2)?,
            name: column(row, 3)?,
            size: column(row, 4)?,
            content_type: column(row, 5)?,
            description: column(row, 6)?,
            modified_ms: column(row, 7)?,
        })
    }

    fn shown(self) -> File {
        File {
            key: self.key,
            name: self.name,
            size: self.size,
            content_type: self.content_type,
            description: self.description,
            last_modified: to_datetime(self.modified_ms),
        }
    }
}

/// Writes a file's row.
pub(super) async fn insert(write: &mut Write, entry: &Entry, state: &str) -> Result<(), StoreError> {
    let path = entry.key.strip_prefix(&format!("{}/", entry.workspace)).unwrap_or(&entry.key);
    sqlx::query(
        "INSERT INTO files (id, workspace_id, key, path, name, size, content_type, description, state, modified_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&entry.id)
    .bind(&entry.workspace)
    .bind(&entry.key)
    .bind(path)
    .bind(&entry.name)
    .bind(entry.size)
    .bind(&entry.content_type)
    .bind(entry.description.as_deref())
    .bind(state)
    .bind(entry.modified_ms)
    .execute(write.run())
    .await?;
    Ok(())
}

/// A kept file of a workspace, by its key, or by its path from the workspace's root with a slash before it or without.
pub(super) async fn find(
    connection: &mut AnyConnection,
    workspace: &str,
    key_or_path: &str,
) -> Result<Option<Entry>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM files WHERE workspace_id = $1 AND state = $2 AND (key = $3 OR path = $4)");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(workspace)
        .bind(KEPT)
        .bind(key_or_path)
        .bind(key_or_path.strip_prefix('/').unwrap_or(key_or_path))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(Entry::from_row).transpose()
}

impl Service {
    /// See [`find`].
    ///
    /// # Errors
    /// [`NotFound`] when there is none.
    pub(super) async fn file<E>(&self, workspace: &str, key_or_path: &str) -> Result<Entry, E>
    where
        E: From<NotFound> + From<InternalError>,
    {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let found = find(&mut connection, workspace, key_or_path).await.map_err(internal)?;
        Ok(found.ok_or_else(|| no_such("file", key_or_path))?)
    }
}

impl Files for Service {
    type Principal = Principal;

    async fn list_files(
        &self,
        caller: &Principal,
        request: ListFilesRequest,
    ) -> Result<ListFilesResponse, ListFilesError> {
        self.enter::<ListFilesError>(caller.key()?, &request.workspace_id).await?;
        let prefix = request.prefix.unwrap_or_default();
        // SUBSTR and not LIKE: `%` and `_` are letters like any other in a path.
        let sql = format!(
            "SELECT {COLUMNS} FROM files WHERE workspace_id = $1 AND state = $2 AND SUBSTR(path, 1, $3) = $4 \
             ORDER BY path LIMIT $5"
        );
        let limit = i64::from(request.limit);
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&request.workspace_id)
            .bind(KEPT)
            .bind(i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX))
            .bind(&prefix)
            .bind(limit + 1)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let mut files = rows.iter().map(Entry::from_row).collect::<Result<Vec<_>, _>>().map_err(internal)?;
        let has_more = files.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        files.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(ListFilesResponse::Ok(FileList { files: files.into_iter().map(Entry::shown).collect(), has_more }))
    }

    async fn delete_file(
        &self,
        caller: &Principal,
        request: DeleteFileRequest,
    ) -> Result<DeleteFileResponse, DeleteFileError> {
        self.enter::<DeleteFileError>(caller.key()?, &request.workspace_id).await?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let found = find(write.run(), &request.workspace_id, &request.key).await.map_err(internal)?;
        let entry = found.filter(|entry| entry.key == request.key).ok_or_else(|| no_such("file", &request.key))?;
        sqlx::query("DELETE FROM files WHERE id = $1").bind(&entry.id).execute(write.run()).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        // After the row: bytes without a row are swept away, a row without bytes is a file that cannot be read.
        self.0.blobs.remove(&entry.id).await;
        Ok(DeleteFileResponse::Ok(DeletedFile { deleted: true, key: entry.key }))
    }

    async fn upload_file(
        &self,
        caller: &Principal,
        request: UploadFileRequest,
    ) -> Result<UploadFileResponse, UploadFileError> {
        let body = request.body;
        let size = body.file.len();
        if size > MAX_UPLOAD_BYTES {
            let field = FieldError {
                field: "file".to_owned(),
                message: format!("must be at most {MAX_UPLOAD_BYTES} bytes"),
                rule: "maxBytes".to_owned(),
            };
            return Err(invalid(vec![field]).into());
        }
        self.enter::<UploadFileError>(caller.key()?, &body.workspace_id).await?;
        let mut entry = Entry::new(
            &body.workspace_id,
            body.path.as_deref().unwrap_or_default(),
            &file_name(body.file.file_name.as_deref()),
            i64::try_from(size).unwrap_or(i64::MAX),
            body.file.content_type.as_deref().unwrap_or(OCTETS),
            self.0.clock.now_ms(),
        )?;
        entry.description = body.description;
        self.0.blobs.keep(&entry.id, body.file).await.map_err(internal)?;
        if let Err(error) = self.keep_row(&entry, KEPT).await {
            self.0.blobs.remove(&entry.id).await;
            return Err(internal(error).into());
        }
        Ok(UploadFileResponse::Created(entry.shown()))
    }

    async fn get_download_url(
        &self,
        caller: &Principal,
        request: GetDownloadUrlRequest,
    ) -> Result<GetDownloadUrlResponse, GetDownloadUrlError> {
        self.enter::<GetDownloadUrlError>(caller.key()?, &request.workspace_id).await?;
        let entry = self.file::<GetDownloadUrlError>(&request.workspace_id, &request.key).await?;
        let url = self.presign(Use::Download, &entry.id, &entry.name, "", URL_SECONDS).map_err(internal)?;
        Ok(GetDownloadUrlResponse::Ok(DownloadLink { url, expires_in: URL_SECONDS }))
    }

    async fn create_upload_url(
        &self,
        caller: &Principal,
        request: CreateUploadUrlRequest,
    ) -> Result<CreateUploadUrlResponse, CreateUploadUrlError> {
        let body = request.body;
        self.enter::<CreateUploadUrlError>(caller.key()?, &body.workspace_id).await?;
        let entry = Entry::new(
            &body.workspace_id,
            body.path.as_deref().unwrap_or_default(),
            &file_name(Some(&body.filename)),
            body.size,
            body.content_type.as_deref().unwrap_or(OCTETS),
            self.0.clock.now_ms(),
        )?;
        self.keep_row(&entry, EXPECTED).await.map_err(internal)?;
        let upload_url = self.presign(Use::Upload, &entry.id, &entry.name, "", URL_SECONDS).map_err(internal)?;
        Ok(CreateUploadUrlResponse::Ok(UploadTicket { upload_url, key: entry.key, expires_in: URL_SECONDS }))
    }

    async fn confirm_upload(
        &self,
        caller: &Principal,
        request: ConfirmUploadRequest,
    ) -> Result<ConfirmUploadResponse, ConfirmUploadError> {
        let body = request.body;
        self.enter::<ConfirmUploadError>(caller.key()?, &body.workspace_id).await?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        sqlx::query("UPDATE files SET state = $1 WHERE workspace_id = $2 AND key = $3 AND state = 'uploaded'")
            .bind(KEPT)
            .bind(&body.workspace_id)
            .bind(&body.key)
            .execute(write.run())
            .await
            .map_err(internal)?;
        let found = find(write.run(), &body.workspace_id, &body.key).await.map_err(internal)?;
        let entry = found.filter(|entry| entry.key == body.key).ok_or_else(|| no_such("file", &body.key))?;
        write.commit().await.map_err(internal)?;
        Ok(ConfirmUploadResponse::Ok(entry.shown()))
    }
}

impl Service {
    async fn keep_row(&self, entry: &Entry, state: &str) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        insert(&mut write, entry, state).await?;
        write.commit().await
    }

    /// Removes the bytes that belong to no row; see [`super::storage::Blobs::sweep`].
    pub(super) async fn sweep_files(&self) -> Result<(), super::storage::StorageError> {
        let rows =
            sqlx::query("SELECT id FROM files").fetch_all(self.0.store.reader()).await.map_err(StoreError::from)?;
        let known = rows.iter().map(|row| column(row, 0)).collect::<Result<std::collections::HashSet<String>, _>>()?;
        let removed = self.0.blobs.sweep(|name| known.contains(name)).await?;
        if removed > 0 {
            tracing::info!(removed, "removed bytes of uploads that a crash had interrupted");
        }
        Ok(())
    }
}

/// The name that a sender gave, without what could be a folder or is no character of a name.
fn file_name(given: Option<&str>) -> String {
    let last = given.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last
        .chars()
        .take(200)
        .map(|c| if c.is_ascii_alphanumeric() || " ._+()-".contains(c) { c } else { '_' })
        .collect();
    let name = name.trim_matches(|c| c == ' ' || c == '.');
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_hold_no_folders() {
        for (given, kept) in [
            (Some("a.csv"), "a.csv"),
            (Some("../../etc/passwd"), "passwd"),
            (Some("C:\\x\\y.fa"), "y.fa"),
            (Some(".."), "file"),
            (Some("é\n.txt"), "__.txt"),
            (None, "file"),
        ] {
            assert_eq!(file_name(given), kept, "{given:?}");
        }
    }
}
