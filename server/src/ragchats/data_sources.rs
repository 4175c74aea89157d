//! Data sources — documentation section "Data Sources": what agents answer from, and the work that makes it searchable.
//!
//! A source is `pending` until a worker takes it up, `processing` while it does, then `completed` or `failed`. A source
//! with nothing to process completes with no documents, so that it never blocks its agents for good.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use contract_ragchats::problems::{DataSourceNotFound, InternalError, InvalidField, NotFound, PermissionDenied};
use contract_ragchats::server::{
    CreateDataSourceError, CreateDataSourceRequest, CreateDataSourceResponse, DataSources, DeleteDataSourceError,
    DeleteDataSourceRequest, DeleteDataSourceResponse, GetDataSourceError, GetDataSourceRequest, GetDataSourceResponse,
    ListDataSourcesError, ListDataSourcesRequest, ListDataSourcesResponse, SyncDataSourceError, SyncDataSourceRequest,
    SyncDataSourceResponse, UploadDocumentError, UploadDocumentRequest, UploadDocumentResponse,
};
use contract_ragchats::types::{
    ApiSourceConfig, ApiSourceConfigMethod, DataSource, DataSourceCreate, DataSourceStatus, InvalidFieldDetails,
    SourceType, WebSourceConfig,
};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::Service;
use super::access::{self, Principal, Role, id, internal, small, stranger, viewer, word};
use crate::platform::clock::to_datetime;
use crate::platform::ingest::{self, Media};
use crate::platform::jobs::{Handler, Job};
use crate::platform::outbound::{OutboundError, resolve};
use crate::platform::search;
use crate::platform::store::{Store, StoreError, Write, column};

/// The kind of job that processes a source; its subject is the source's id.
const PROCESS: &str = "ragchats.process-source";

/// Pieces indexed in one transaction, so that a long document does not hold up other writers for long.
const PIECES_PER_WRITE: usize = 100;

/// Pages of one `web` source when its config does not say, and at most whatever it says.
const DEFAULT_PAGES: usize = 20;
const MAX_PAGES: usize = 200;

/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

macro_rules! select_source {
    ($more:literal) => {
        concat!(
            "SELECT s.id, s.name, s.source_type, s.status, s.status_message, s.progress, \
             s.document_count, (SELECT COUNT(*) FROM agent_data_sources AS l WHERE l.data_source_id = s.id), \
             s.last_sync_ms, s.created_ms",
            $more
        )
    };
}

/// Columns that `select_source!` selects; what a query adds begins here.
const SOURCE_COLUMNS: usize = 10;

fn from_row(row: &AnyRow) -> Result<DataSource, StoreError> {
    Ok(DataSource {
        id: id(column(row, 0)?)?,
        name: column(row, 1)?,
        source_type: word(column(row, 2)?)?,
        status: word(column(row, 3)?)?,
        status_message: column(row, 4)?,
        progress_percentage: small(column(row, 5)?)?,
        document_count: column(row, 6)?,
        agent_count: column(row, 7)?,
        last_sync_at: column::<Option<i64>>(row, 8)?.map(to_datetime),
        created_at: to_datetime(column(row, 9)?),
    })
}

impl DataSources for Service {
    type Principal = Principal;

    async fn list_data_sources(
        &self,
        caller: &Principal,
        request: ListDataSourcesRequest,
    ) -> Result<ListDataSourcesResponse, ListDataSourcesError> {
        let user = caller.user()?;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        if let Some(organization) = request.organization
            && access::role(&mut connection, user, organization).await.map_err(internal)?.is_none()
        {
            return Err(stranger().into());
        }
        let rows = sqlx::query(select_source!(
            " FROM memberships AS m JOIN data_sources AS s ON s.organization_id = m.organization_id \
             WHERE m.user_id = $1 AND ($2 = '' OR m.organization_id = $2) AND ($3 = '' OR s.status = $3) \
             ORDER BY s.created_ms, s.id"
        ))
        .bind(user.to_string())
        .bind(request.organization.map(|id| id.to_string()).unwrap_or_default())
        .bind(request.status.map_or("", DataSourceStatus::as_str))
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let sources = rows.iter().map(from_row).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListDataSourcesResponse::Ok(sources))
    }

    async fn create_data_source(
        &self,
        caller: &Principal,
        request: CreateDataSourceRequest,
    ) -> Result<CreateDataSourceResponse, CreateDataSourceError> {
        let (user, new) = (caller.user()?, NewDataSource::from(request.body));
        let mut write = self.0.store.write().await.map_err(internal)?;
        match access::role(write.run(), user, new.organization).await.map_err(internal)? {
            None => return Err(NotFound::because("There is no such organization.").into()),
            Some(role) if !role.may_change() => return Err(viewer().into()),
            Some(_) => {}
        }
        let source = Uuid::new_v4();
        insert(&mut write, source, &new, self.0.clock.now_ms()).await.map_err(internal)?;
        self.process_later(&mut write, source).await.map_err(internal)?;
        let created = read(&mut write, source).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        Ok(CreateDataSourceResponse::Created(created))
    }

    async fn get_data_source(
        &self,
        caller: &Principal,
        request: GetDataSourceRequest,
    ) -> Result<GetDataSourceResponse, GetDataSourceError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (source, _) = find::<GetDataSourceError>(&mut connection, caller.user()?, request.data_source_id).await?;
        Ok(GetDataSourceResponse::Ok(source))
    }

    async fn upload_document(
        &self,
        caller: &Principal,
        request: UploadDocumentRequest,
    ) -> Result<UploadDocumentResponse, UploadDocumentError> {
        let (user, source, file) = (caller.user()?, request.data_source_id, request.body.file);
        // Before the write begins: a spooled file is read from disk, and nobody else should wait for that.
        let content = file.bytes().await.map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let before = changeable::<UploadDocumentError>(&mut write, user, source).await?;
        if before.source_type != SourceType::Pdf {
            return Err(bad_file("only data sources of type pdf take files").into());
        }
        if content.len() > ingest::MAX_FILE_BYTES {
            return Err(bad_file("must be at most 20 MiB").into());
        }
        let media = match Media::detect(file.content_type.as_deref(), file.file_name.as_deref(), &content) {
            Some(media @ (Media::Pdf | Media::Text | Media::Markdown)) => media,
            _ => return Err(bad_file("must be a PDF, plain text or Markdown").into()),
        };
        let title = file.file_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let document = Document { title: title.unwrap_or("Untitled document").to_owned(), url: None, media, content };
        self.add_document(&mut write, source, &document).await.map_err(internal)?;
        set_status(&mut write, source, DataSourceStatus::Processing, None, 0).await.map_err(internal)?;
        self.process_later(&mut write, source).await.map_err(internal)?;
        let after = read(&mut write, source).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        Ok(UploadDocumentResponse::Accepted(after))
    }

    /// With the source go its documents, from every agent's connections and from the search too.
    async fn delete_data_source(
        &self,
        caller: &Principal,
        request: DeleteDataSourceRequest,
    ) -> Result<DeleteDataSourceResponse, DeleteDataSourceError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let source = changeable::<DeleteDataSourceError>(&mut write, caller.user()?, request.data_source_id).await?.id;
        search::remove_scope(&mut write, &source.to_string()).await.map_err(internal)?;
        self.0.queue.forget(&mut write, &source.to_string()).await.map_err(internal)?;
        sqlx::query("DELETE FROM data_sources WHERE id = $1")
            .bind(source.to_string())
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeleteDataSourceResponse::NoContent)
    }

    async fn sync_data_source(
        &self,
        caller: &Principal,
        request: SyncDataSourceRequest,
    ) -> Result<SyncDataSourceResponse, SyncDataSourceError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let before = changeable::<SyncDataSourceError>(&mut write, caller.user()?, request.data_source_id).await?;
        // A source that is being processed stays so; the sync follows when that is done.
        if before.status != DataSourceStatus::Processing {
            set_status(&mut write, before.id, DataSourceStatus::Pending, None, 0).await.map_err(internal)?;
        }
        self.process_later(&mut write, before.id).await.map_err(internal)?;
        let after = read(&mut write, before.id).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        Ok(SyncDataSourceResponse::Accepted(after))
    }
}

/// A new data source as it is stored.
#[derive(Clone, Debug)]
pub(super) struct NewDataSource {
    pub(super) organization: Uuid,
    pub(super) name: String,
    pub(super) source_type: SourceType,
    /// JSON, without any secret. The credentials of databases and services are dropped here: this server has no
    /// connector that could use them, and what is not kept cannot leak. So are the headers of an `api` source,
    /// because keys travel there.
    pub(super) config: String,
}

impl From<DataSourceCreate> for NewDataSource {
    fn from(new: DataSourceCreate) -> Self {
        let json = |config: Result<String, serde_json::Error>| config.unwrap_or_else(|_| "{}".to_owned());
        let nothing = || "{}".to_owned();
        let (organization, name, source_type, config) = match new {
            DataSourceCreate::Pdf(new) => (new.organization_id, new.name, SourceType::Pdf, nothing()),
            DataSourceCreate::Web(new) => {
                (new.organization_id, new.name, SourceType::Web, json(serde_json::to_string(&new.config)))
            }
            DataSourceCreate::Api(new) => {
                let config = new.config.map(|config| ApiSourceConfig { headers: None, ..config });
                (new.organization_id, new.name, SourceType::Api, json(serde_json::to_string(&config)))
            }
            DataSourceCreate::Notion(new) => (new.organization_id, new.name, SourceType::Notion, nothing()),
            DataSourceCreate::GoogleDrive(new) => (new.organization_id, new.name, SourceType::GoogleDrive, nothing()),
            DataSourceCreate::Postgres(new) => (new.organization_id, new.name, SourceType::Postgres, nothing()),
            DataSourceCreate::Mysql(new) => (new.organization_id, new.name, SourceType::Mysql, nothing()),
            DataSourceCreate::Mongodb(new) => (new.organization_id, new.name, SourceType::Mongodb, nothing()),
        };
        Self { organization, name, source_type, config }
    }
}

impl Service {
    async fn process_later(&self, write: &mut Write, source: Uuid) -> Result<(), StoreError> {
        self.0.queue.add(write, PROCESS, &source.to_string(), self.0.settle).await
    }

    /// Stores a document within the write operation in progress. The same content again replaces itself.
    pub(super) async fn add_document(
        &self,
        write: &mut Write,
        source: Uuid,
        document: &Document,
    ) -> Result<String, StoreError> {
        let document_id = document.id(source);
        sqlx::query(
            "INSERT INTO documents (id, data_source_id, title, url, media_type, content, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET title = excluded.title, media_type = excluded.media_type, content = excluded.content",
        )
        .bind(&document_id)
        .bind(source.to_string())
        .bind(&document.title)
        .bind(&document.url)
        .bind(document.media.as_str())
        .bind(document.content.to_vec())
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await?;
        Ok(document_id)
    }
}

/// A file of a source.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) url: Option<String>,
    pub(super) media: Media,
    pub(super) content: Bytes,
}

impl Document {
    /// A page is the same document whatever it says today; an uploaded file is its content.
    fn id(&self, source: Uuid) -> String {
        let mut hash = Sha256::new();
        hash.update(source.as_bytes());
        match &self.url {
            Some(url) => hash.update(url.as_bytes()),
            None => hash.update(&self.content),
        }
        let digest = hash.finalize();
        format!("doc_{}", digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

fn bad_file(reason: &str) -> InvalidField {
    let details = InvalidFieldDetails { field: "file".to_owned(), reason: reason.to_owned() };
    InvalidField::new(format!("The field \"file\" is not valid: {reason}."), details)
}

/// A data source and the user's role over it.
async fn find<E>(connection: &mut AnyConnection, user: Uuid, source: Uuid) -> Result<(DataSource, Role), E>
where
    E: From<DataSourceNotFound> + From<InternalError>,
{
    let row = sqlx::query(select_source!(
        ", m.role FROM data_sources AS s \
         JOIN memberships AS m ON m.organization_id = s.organization_id AND m.user_id = $1 WHERE s.id = $2"
    ))
    .bind(user.to_string())
    .bind(source.to_string())
    .fetch_optional(connection)
    .await
    .map_err(internal)?
    .ok_or_else(|| DataSourceNotFound::because("There is no such data source, or you have no access to it."))?;
    let role = column(&row, SOURCE_COLUMNS).and_then(Role::from_stored).map_err(internal)?;
    Ok((from_row(&row).map_err(internal)?, role))
}

/// A data source that the user may change.
async fn changeable<E>(write: &mut Write, user: Uuid, source: Uuid) -> Result<DataSource, E>
where
    E: From<DataSourceNotFound> + From<PermissionDenied> + From<InternalError>,
{
    let (found, role) = find::<E>(write.run(), user, source).await?;
    if role.may_change() { Ok(found) } else { Err(viewer().into()) }
}

/// A data source that is known to be there.
async fn read(write: &mut Write, source: Uuid) -> Result<DataSource, StoreError> {
    let row = sqlx::query(select_source!(" FROM data_sources AS s WHERE s.id = $1"))
        .bind(source.to_string())
        .fetch_one(write.run())
        .await?;
    from_row(&row)
}

/// Writes a new source's row, for the API and for demonstrations alike.
pub(super) async fn insert(write: &mut Write, source: Uuid, new: &NewDataSource, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO data_sources (id, organization_id, name, source_type, config, status, status_message, progress, \
         document_count, last_sync_ms, created_ms) VALUES ($1, $2, $3, $4, $5, 'pending', NULL, 0, 0, NULL, $6)",
    )
    .bind(source.to_string())
    .bind(new.organization.to_string())
    .bind(&new.name)
    .bind(new.source_type.as_str())
    .bind(&new.config)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

async fn set_status(
    write: &mut Write,
    source: Uuid,
    status: DataSourceStatus,
    message: Option<&str>,
    progress: i64,
) -> Result<bool, StoreError> {
    let changed = sqlx::query("UPDATE data_sources SET status = $1, status_message = $2, progress = $3 WHERE id = $4")
        .bind(status.as_str())
        .bind(message)
        .bind(progress)
        .bind(source.to_string())
        .execute(write.run())
        .await?;
    Ok(changed.rows_affected() > 0)
}

// ---------------------------------------------------------------------------------------------------------------------
// The work in the background

/// Processes sources for the job queue.
pub(super) struct Processor(pub(super) Service);

impl Handler for Processor {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if job.kind == PROCESS {
                self.0.process(id(&job.subject)?).await
            } else {
                Err(StoreError::Corrupt(format!("job of unknown kind {:?}", job.kind)))
            }
        })
    }

    fn abandon<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut write = self.0.0.store.write().await?;
            let message =
                "Processing was interrupted several times and is not tried again; sync the source to try anew.";
            set_status(&mut write, id(&job.subject)?, DataSourceStatus::Failed, Some(message), 0).await?;
            write.commit().await
        })
    }
}

/// How the processing of a source ended, for its owner.
struct Outcome {
    failed: Option<String>,
    note: Option<String>,
}

/// The source is gone; there is nobody left to tell.
struct Gone;

impl Service {
    /// Makes a source searchable. Every step may be repeated, and each notices when the source was deleted meanwhile.
    pub(super) async fn process(&self, source: Uuid) -> Result<(), StoreError> {
        let Some((source_type, config)) = self.begin(source).await? else { return Ok(()) };
        let gathered = match source_type {
            SourceType::Pdf => Ok(Vec::new()),
            SourceType::Web => self.crawl(&config).await,
            SourceType::Api => self.call(&config).await,
            other => Err(format!("This server has no connector for {other} sources.")),
        };
        let outcome = match gathered {
            Err(reason) => Outcome { failed: Some(reason), note: None },
            Ok(fetched) => {
                if source_type != SourceType::Pdf {
                    self.replace_documents(source, &fetched).await?;
                }
                match self.index(source).await? {
                    Ok(outcome) => outcome,
                    Err(Gone) => return Ok(()),
                }
            }
        };
        self.finish(source, outcome).await
    }

    async fn begin(&self, source: Uuid) -> Result<Option<(SourceType, String)>, StoreError> {
        let mut write = self.0.store.write().await?;
        let row = sqlx::query("SELECT source_type, config FROM data_sources WHERE id = $1")
            .bind(source.to_string())
            .fetch_optional(write.run())
            .await?;
        let Some(row) = row else { return Ok(None) };
        set_status(&mut write, source, DataSourceStatus::Processing, None, 0).await?;
        write.commit().await?;
        Ok(Some((word(column(&row, 0)?)?, column(&row, 1)?)))
    }

    /// Extracts, cuts and indexes every document of a source.
    async fn index(&self, source: Uuid) -> Result<Result<Outcome, Gone>, StoreError> {
        let store = &self.0.store;
        let documents: Vec<(String, String)> =
            sqlx::query("SELECT id, title FROM documents WHERE data_source_id = $1 ORDER BY created_ms, id")
                .bind(source.to_string())
                .fetch_all(store.reader())
                .await?
                .iter()
                .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
                .collect::<Result<_, StoreError>>()?;
        let mut problems = Vec::new();
        for (done, (document, title)) in documents.iter().enumerate() {
            match self.text_of(store, document).await? {
                Err(problem) => {
                    problems.push(format!("{title}: {problem}"));
                    let mut write = store.write().await?;
                    forget_pieces(&mut write, document).await?;
                    write.commit().await?;
                }
                Ok(text) => {
                    if !self.index_document(source, document, &ingest::pieces(&text)).await? {
                        return Ok(Err(Gone));
                    }
                }
            }
            let percent = (done + 1) * 100 / documents.len();
            let mut write = store.write().await?;
            // 100 is said with the status that goes with it.
            let progress = i64::try_from(percent).unwrap_or(0).min(99);
            if !set_status(&mut write, source, DataSourceStatus::Processing, None, progress).await? {
                return Ok(Err(Gone));
            }
            write.commit().await?;
        }
        let all_failed = !documents.is_empty() && problems.len() == documents.len();
        let text = (!problems.is_empty()).then(|| problems.join("; "));
        Ok(Ok(if all_failed { Outcome { failed: text, note: None } } else { Outcome { failed: None, note: text } }))
    }

    async fn text_of(&self, store: &Store, document: &str) -> Result<Result<String, String>, StoreError> {
        let row = sqlx::query("SELECT media_type, content FROM documents WHERE id = $1")
            .bind(document)
            .fetch_optional(store.reader())
            .await?;
        let Some(row) = row else { return Ok(Err("the document is gone".to_owned())) };
        let Some(media) = Media::from_stored(column(&row, 0)?) else {
            return Ok(Err("the document is of a kind that cannot be read".to_owned()));
        };
        let content: Vec<u8> = column(&row, 1)?;
        Ok(self.0.extractor.extract(media, Bytes::from(content)).await.map_err(|error| error.to_string()))
    }

    /// Replaces a document's pieces; `false` when the document is gone.
    async fn index_document(&self, source: Uuid, document: &str, pieces: &[String]) -> Result<bool, StoreError> {
        let store = &self.0.store;
        let scope = source.to_string();
        let mut write = store.write().await?;
        forget_pieces(&mut write, document).await?;
        write.commit().await?;
        for (batch_no, batch) in pieces.chunks(PIECES_PER_WRITE).enumerate() {
            let mut write = store.write().await?;
            let there = sqlx::query("SELECT id FROM documents WHERE id = $1")
                .bind(document)
                .fetch_optional(write.run())
                .await?;
            if there.is_none() {
                return Ok(false);
            }
            let ids: Vec<String> = (0..batch.len())
                .map(|n| format!("{}_{}", document.replacen("doc_", "chunk_", 1), batch_no * PIECES_PER_WRITE + n))
                .collect();
            for (n, (piece, id)) in batch.iter().zip(&ids).enumerate() {
                sqlx::query("INSERT INTO chunks (id, document_id, data_source_id, ordinal, content) VALUES ($1, $2, $3, $4, $5)")
                    .bind(id)
                    .bind(document)
                    .bind(&scope)
                    .bind(i64::try_from(batch_no * PIECES_PER_WRITE + n).unwrap_or(i64::MAX))
                    .bind(piece)
                    .execute(write.run())
                    .await?;
            }
            let entries: Vec<search::Entry<'_>> = batch
                .iter()
                .zip(&ids)
                .map(|(piece, id)| search::Entry { item: id, scope: &scope, text: piece })
                .collect();
            search::put(&mut write, &entries).await?;
            write.commit().await?;
        }
        Ok(true)
    }

    /// Puts what was fetched in the place of what was fetched before.
    async fn replace_documents(&self, source: Uuid, fetched: &[Document]) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        let kept: HashSet<String> = fetched.iter().map(|document| document.id(source)).collect();
        let old = sqlx::query("SELECT id FROM documents WHERE data_source_id = $1")
            .bind(source.to_string())
            .fetch_all(write.run())
            .await?;
        for row in &old {
            let document: String = column(row, 0)?;
            if !kept.contains(&document) {
                forget_pieces(&mut write, &document).await?;
                sqlx::query("DELETE FROM documents WHERE id = $1").bind(document).execute(write.run()).await?;
            }
        }
        let there = sqlx::query("SELECT id FROM data_sources WHERE id = $1")
            .bind(source.to_string())
            .fetch_optional(write.run())
            .await?;
        if there.is_some() {
            for document in fetched {
                self.add_document(&mut write, source, document).await?;
            }
        }
        write.commit().await
    }

    async fn finish(&self, source: Uuid, outcome: Outcome) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        // With more work waiting the source is not done, and its agents must not answer as if it were.
        let waiting = sqlx::query("SELECT id FROM jobs WHERE subject = $1 AND kind = $2 AND state = 'queued'")
            .bind(source.to_string())
            .bind(PROCESS)
            .fetch_optional(write.run())
            .await?;
        let (status, message, progress) = match (&outcome.failed, waiting) {
            (_, Some(_)) => (DataSourceStatus::Processing, None, 99),
            (Some(reason), None) => (DataSourceStatus::Failed, Some(reason), 0),
            (None, None) => (DataSourceStatus::Completed, outcome.note.as_ref(), 100),
        };
        sqlx::query(
            "UPDATE data_sources SET status = $1, status_message = $2, progress = $3, last_sync_ms = $4, \
             document_count = (SELECT COUNT(DISTINCT c.document_id) FROM chunks AS c WHERE c.data_source_id = data_sources.id) \
             WHERE id = $5",
        )
        .bind(status.as_str())
        .bind(message.map(String::as_str))
        .bind(progress)
        .bind(self.0.clock.now_ms())
        .bind(source.to_string())
        .execute(write.run())
        .await?;
        write.commit().await
    }

    /// Fetches the pages of a `web` source, breadth first, on the host where it starts.
    async fn crawl(&self, config: &str) -> Result<Vec<Document>, String> {
        let config: Option<WebSourceConfig> = serde_json::from_str(config).ok();
        let config = config.ok_or("The data source's config has no url.")?;
        let start = config.url.as_str();
        let (include, exclude) =
            (config.include_patterns.unwrap_or_default(), config.exclude_patterns.unwrap_or_default());
        let max_pages = config.max_pages.and_then(|n| usize::try_from(n).ok()).unwrap_or(DEFAULT_PAGES).min(MAX_PAGES);
        let depth = config.crawl_depth.unwrap_or(1);

        let origin = |url: &str| url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned());
        let home = origin(start);
        let mut waiting = VecDeque::from([(start.to_owned(), 0)]);
        let mut seen = HashSet::from([start.to_owned()]);
        let mut pages = Vec::new();
        while let Some((url, level)) = waiting.pop_front() {
            if pages.len() == max_pages {
                break;
            }
            let document = match self.fetch(&url).await {
                Ok(document) => document,
                // A missing page further in is the site's affair; a start that cannot be had is the source's.
                Err(_) if level > 0 => continue,
                Err(reason) => return Err(reason),
            };
            if level < depth
                && document.media == Media::Html
                && let (Ok(html), Ok(base)) = (std::str::from_utf8(&document.content), url.parse::<http::Uri>())
            {
                for link in ingest::html_links(html) {
                    let target = resolve(&base, link);
                    let path = target.parse::<http::Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
                    let wanted = (include.is_empty() || include.iter().any(|glob| matches_glob(glob, &path)))
                        && !exclude.iter().any(|glob| matches_glob(glob, &path));
                    if wanted && origin(&target) == home && seen.insert(target.clone()) {
                        waiting.push_back((target, level + 1));
                    }
                }
            }
            pages.push(document);
        }
        Ok(pages)
    }

    /// Fetches the one answer of an `api` source.
    async fn call(&self, config: &str) -> Result<Vec<Document>, String> {
        let config: ApiSourceConfig = serde_json::from_str(config).unwrap_or_default();
        let url = config.url.ok_or("The data source's config has no url.")?;
        match config.method {
            None | Some(ApiSourceConfigMethod::Get) => Ok(vec![self.fetch(&url).await?]),
            Some(method) => Err(format!("This server fetches api sources with GET only, not with {method}.")),
        }
    }

    async fn fetch(&self, url: &str) -> Result<Document, String> {
        let answer =
            self.0.outbound.fetch(url, &self.0.allowed_hosts, FETCH_TIMEOUT, ingest::MAX_FILE_BYTES).await.map_err(
                |error| match error {
                    OutboundError::NotAllowed(_) => format!("Not fetched: {error}."),
                    other => format!("{url} could not be fetched: {other}."),
                },
            )?;
        if !answer.status.is_success() {
            return Err(format!("{url} could not be fetched: it answered with status {}.", answer.status.as_u16()));
        }
        let path = url.parse::<http::Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
        let media =
            Media::detect(Some(answer.media_type.as_str()).filter(|t| !t.is_empty()), Some(&path), &answer.body)
                .ok_or_else(|| format!("{url} is of a kind that cannot be read ({}).", answer.media_type))?;
        Ok(Document { title: url.to_owned(), url: Some(url.to_owned()), media, content: answer.body })
    }
}

async fn forget_pieces(write: &mut Write, document: &str) -> Result<(), StoreError> {
    let rows =
        sqlx::query("SELECT id FROM chunks WHERE document_id = $1").bind(document).fetch_all(write.run()).await?;
    for row in &rows {
        search::remove_item(write, column(row, 0)?).await?;
    }
    sqlx::query("DELETE FROM chunks WHERE document_id = $1").bind(document).execute(write.run()).await?;
    Ok(())
}

/// Whether a path matches a glob in which `*` stands for any run of characters.
fn matches_glob(glob: &str, path: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn globs() {
        for (glob, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a*", "/ab", true),
            ("/*/c", "/a/b/c", true),
            ("*", "", true),
            ("/a*b*c", "/axxbxc", true),
            ("/a*b*c", "/axxbx", false),
            ("*x", "y", false),
        ] {
            assert_eq!(matches_glob(glob, path), expected, "{glob} {path}");
        }
    }
}
