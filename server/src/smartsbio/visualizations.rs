//! Visualizations — documentation section "Visualizations": links to views of files, and pictures that a worker draws.

use contract_smartsbio::server::{
    CreateRenderError, CreateRenderRequest, CreateRenderResponse, CreateViewerUrlError, CreateViewerUrlRequest,
    CreateViewerUrlResponse, GetRenderError, GetRenderRequest, GetRenderResponse, Visualizations,
};
use contract_smartsbio::types::{
    RenderJob, RenderJobStatus, RenderOptions, RenderRequest, RenderRequestOutputFormat, ViewerFormat, ViewerLink,
};
use std::time::Duration;

use super::Service;
use super::access::{Principal, internal, new_id, no_such, stored_json, word};
use super::files::{self, Entry, KEPT};
use super::plot;
use super::storage::{URL_SECONDS, Use};
use super::tools::Failed;
use crate::platform::jobs::Job;
use crate::platform::store::{StoreError, column};

/// The queue's word for a picture.
pub(super) const RENDER: &str = "render";

/// Where pictures go that nobody chose a folder for.
const FOLDER: &str = "renders/";

impl Visualizations for Service {
    type Principal = Principal;

    async fn create_viewer_url(
        &self,
        caller: &Principal,
        request: CreateViewerUrlRequest,
    ) -> Result<CreateViewerUrlResponse, CreateViewerUrlError> {
        let body = request.body;
        self.enter::<CreateViewerUrlError>(caller.key()?, &body.workspace_id).await?;
        let entry = self.file::<CreateViewerUrlError>(&body.workspace_id, &body.file_path).await?;
        let format = body.format.unwrap_or_else(|| detected(&entry.name));
        let url = self.presign(Use::View, &entry.id, &entry.name, format.as_str(), body.expires_in);
        let viewer_url = url.map_err(internal)?;
        Ok(CreateViewerUrlResponse::Ok(ViewerLink { viewer_url, format, expires_in: body.expires_in }))
    }

    async fn create_render(
        &self,
        caller: &Principal,
        request: CreateRenderRequest,
    ) -> Result<CreateRenderResponse, CreateRenderError> {
        let (key, mut body) = (caller.key()?, request.body);
        self.enter::<CreateRenderError>(key, &body.workspace_id).await?;
        body.file_path = self.file::<CreateRenderError>(&body.workspace_id, &body.file_path).await?.key;
        let id = new_id("job_").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        self.charge::<CreateRenderError>(&mut write, &key.organization).await?;
        sqlx::query(
            "INSERT INTO renders (id, workspace_id, request, status, created_ms) VALUES ($1, $2, $3, 'queued', $4)",
        )
        .bind(&id)
        .bind(&body.workspace_id)
        .bind(serde_json::to_string(&body).map_err(internal)?)
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await
        .map_err(internal)?;
        self.0.queue.add(&mut write, RENDER, &id, Duration::ZERO).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        Ok(CreateRenderResponse::Accepted(RenderJob {
            job_id: id,
            status: RenderJobStatus::Queued,
            output_key: None,
            output_url: None,
            error: None,
        }))
    }

    async fn get_render(
        &self,
        caller: &Principal,
        request: GetRenderRequest,
    ) -> Result<GetRenderResponse, GetRenderError> {
        let key = caller.key()?;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let row = sqlx::query("SELECT workspace_id, status, output_key, error FROM renders WHERE id = $1")
            .bind(&request.job_id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(internal)?
            .ok_or_else(|| no_such("render job", &request.job_id))?;
        let workspace: String = column(&row, 0).map_err(internal)?;
        let output_key: Option<String> = column(&row, 2).map_err(internal)?;
        // A picture that its owner has deleted has no URL any more.
        let output = match &output_key {
            Some(key) => files::find(&mut connection, &workspace, key).await.map_err(internal)?,
            None => None,
        };
        drop(connection);
        if !self.may_enter(key, &workspace).await? {
            return Err(no_such("render job", &request.job_id).into());
        }
        let url = |entry: Entry| self.presign(Use::Download, &entry.id, &entry.name, "", URL_SECONDS);
        Ok(GetRenderResponse::Ok(RenderJob {
            job_id: request.job_id,
            status: word(column(&row, 1).map_err(internal)?).map_err(internal)?,
            output_key,
            output_url: output.map(url).transpose().map_err(internal)?,
            error: column(&row, 3).map_err(internal)?,
        }))
    }
}

impl Service {
    /// Draws a picture. Done again after a crash, it draws another.
    pub(super) async fn do_render(&self, job: &Job) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        sqlx::query("UPDATE renders SET status = 'running' WHERE id = $1")
            .bind(&job.subject)
            .execute(write.run())
            .await?;
        let row = sqlx::query("SELECT request FROM renders WHERE id = $1")
            .bind(&job.subject)
            .fetch_optional(write.run())
            .await?;
        write.commit().await?;
        // Its workspace was deleted.
        let Some(row) = row else { return Ok(()) };
        let request: RenderRequest = stored_json(column(&row, 0)?)?;
        let drawn = match self.text_of(&request.workspace_id, &request.file_path).await {
            Ok(content) => {
                let options = request.options.clone().unwrap_or(RenderOptions {
                    title: None,
                    x: None,
                    y: None,
                    width: RenderOptions::default_width(),
                    height: RenderOptions::default_height(),
                });
                let (kind, format) = (request.r#type, request.output_format);
                let drawn = tokio::task::spawn_blocking(move || plot::draw(kind, &content, &options, format)).await;
                drawn.map_err(|error| StoreError::Corrupt(format!("a picture could not be drawn: {error}")))?
            }
            Err(Failed::Unusable(why)) => Err(why),
            Err(Failed::NoFile(_)) => Err(super::sequence::Unusable("The file is not there any more.".to_owned())),
            // Not now; the queue comes back to it.
            Err(Failed::Internal(_)) => return Err(StoreError::Corrupt("a file could not be read".to_owned())),
        };
        match drawn {
            Ok(content) => {
                let media_type = match request.output_format {
                    RenderRequestOutputFormat::Png => "image/png",
                    RenderRequestOutputFormat::Svg => "image/svg+xml",
                };
                let folder = request.output_path.as_deref().unwrap_or(FOLDER);
                let name = format!("{}.{}", request.r#type, request.output_format);
                let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
                let now = self.0.clock.now_ms();
                let entry = Entry::new(&request.workspace_id, folder, &name, size, media_type, now)
                    .map_err(|_| StoreError::Corrupt("no id could be made".to_owned()))?;
                let kept = self.0.blobs.write(&entry.id, &content).await;
                kept.map_err(|error| StoreError::Corrupt(format!("a picture could not be kept: {error}")))?;
                self.end_render(&job.subject, Ok(entry)).await
            }
            Err(why) => self.end_render(&job.subject, Err(why.to_string())).await,
        }
    }

    pub(super) async fn end_render(&self, id: &str, outcome: Result<Entry, String>) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        let (status, key, error) = match &outcome {
            Ok(entry) => (RenderJobStatus::Completed, Some(entry.key.as_str()), None),
            Err(why) => (RenderJobStatus::Failed, None, Some(why.as_str())),
        };
        let ended = sqlx::query("UPDATE renders SET status = $1, output_key = $2, error = $3 WHERE id = $4")
            .bind(status.as_str())
            .bind(key)
            .bind(error)
            .bind(id)
            .execute(write.run())
            .await?;
        if let (Ok(entry), 1..) = (&outcome, ended.rows_affected()) {
            files::insert(&mut write, entry, KEPT).await?;
        }
        write.commit().await
    }
}

/// The documented table of extensions; what is not in it is shown as a table.
fn detected(name: &str) -> ViewerFormat {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "vcf" | "bcf" => ViewerFormat::Vcf,
        "bam" | "sam" | "cram" => ViewerFormat::Bam,
        "fa" | "fasta" | "fastq" | "fq" => ViewerFormat::Fasta,
        "pdb" | "cif" | "mmcif" => ViewerFormat::Pdb,
        _ => ViewerFormat::Csv,
    }
}
