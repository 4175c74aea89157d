//! Pipelines — documentation section "Pipelines": long jobs, run by a worker after the call that submits them.

use contract_smartsbio::problems::{InternalError, NotFound, WorkspaceAccessDenied};
use contract_smartsbio::server::{
    CreatePipelineRunError, CreatePipelineRunRequest, CreatePipelineRunResponse, GetPipelineRunError,
    GetPipelineRunRequest, GetPipelineRunResponse, ListPipelineRunsError, ListPipelineRunsRequest,
    ListPipelineRunsResponse, Pipelines,
};
use contract_smartsbio::types::{PipelineOutput, PipelineRun, PipelineRunList, PipelineRunStatus};
use serde_json::{Map, Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};
use trueline_runtime::problem::FieldError;

use super::Service;
use super::access::{Key, Principal, internal, invalid, new_id, no_such, stored_json, word};
use super::files::{self, Entry, KEPT};
use super::sequence;
use super::tools::{self, Failed};
use crate::platform::clock::to_datetime;
use crate::platform::jobs::Job;
use crate::platform::store::{StoreError, column, placeholders};

/// The queue's word for a run.
pub(super) const RUN: &str = "run";

/// A predefined pipeline.
struct Definition {
    id: &'static str,
    name: &'static str,
    runtime: &'static str,
    inputs: &'static [Input],
    /// Whether this server has what it takes; the others need aligners and variant callers of gigabytes.
    available: bool,
}

struct Input {
    name: &'static str,
    description: &'static str,
    required: bool,
    /// The values, where it is a choice; else it is a file, given by its key.
    choices: &'static [&'static str],
}

const fn file(name: &'static str, description: &'static str) -> Input {
    Input { name, description, required: true, choices: &[] }
}

const fn choice(name: &'static str, description: &'static str, choices: &'static [&'static str]) -> Input {
    Input { name, description, required: true, choices }
}

const GENOMES: &[&str] = &["GRCh38", "GRCh37"];
const BROWSER_GENOMES: &[&str] = &["hg38", "mm10"];
const R1: Input = file("fastq_r1", "Forward reads");
const R2: Input = file("fastq_r2", "Reverse reads");
const REFERENCE: Input = choice("reference", "Reference genome", GENOMES);
const GENOME: Input = choice("genome", "Genome of the peaks", BROWSER_GENOMES);

/// The documented ones, and one of ours that needs nothing but this server.
const DEFINITIONS: &[Definition] = &[
    Definition {
        id: "alignment-wes",
        name: "Exome alignment",
        runtime: "2–4 h",
        inputs: &[R1, R2, REFERENCE],
        available: false,
    },
    Definition {
        id: "atac-seq",
        name: "ATAC-seq",
        runtime: "1–2 h",
        inputs: &[R1, R2, REFERENCE, GENOME],
        available: false,
    },
    Definition {
        id: "chip-seq",
        name: "ChIP-seq",
        runtime: "1–3 h",
        inputs: &[
            file("fastq_chip", "Reads of the ChIP"),
            file("fastq_input", "Reads of the input control"),
            REFERENCE,
            GENOME,
        ],
        available: false,
    },
    Definition {
        id: "fastq-quality-control",
        name: "Quality control of reads",
        runtime: "seconds",
        inputs: &[file("fastq", "Reads")],
        available: true,
    },
    Definition {
        id: "gatk-variant-calling",
        name: "Variant calling (GATK)",
        runtime: "1–4 h",
        inputs: &[file("bam", "Alignments"), file("bai", "Their index"), REFERENCE],
        available: false,
    },
    Definition {
        id: "rna-seq-analysis",
        name: "RNA-seq analysis",
        runtime: "1–3 h",
        inputs: &[
            R1,
            Input { name: "fastq_r2", description: "Reverse reads", required: false, choices: &[] },
            file("gtf", "Gene annotation"),
            REFERENCE,
        ],
        available: false,
    },
    Definition {
        id: "somatic-variant-calling",
        name: "Somatic variant calling",
        runtime: "2–6 h",
        inputs: &[
            file("tumor_bam", "Alignments of the tumour"),
            file("tumor_bai", "Their index"),
            file("normal_bam", "Alignments of normal tissue"),
            file("normal_bai", "Their index"),
            REFERENCE,
        ],
        available: false,
    },
    Definition {
        id: "whole-genome-sequencing",
        name: "Whole genome sequencing",
        runtime: "4–8 h",
        inputs: &[R1, R2, REFERENCE],
        available: false,
    },
];

/// The output of the tool `list_pipelines`.
pub(super) fn listed() -> Map<String, Value> {
    let inputs = |definition: &Definition| -> Vec<Value> {
        let required = definition.inputs.iter().filter(|input| input.required);
        required.map(|input| json!({"name": input.name, "description": input.description})).collect()
    };
    let pipelines: Vec<Value> = DEFINITIONS
        .iter()
        .map(|definition| {
            json!({
                "id": definition.id,
                "name": definition.name,
                "estimated_runtime": definition.runtime,
                "required_inputs": inputs(definition),
                "available": definition.available,
            })
        })
        .collect();
    Map::from_iter([("pipelines".to_owned(), Value::Array(pipelines))])
}

impl Definition {
    /// What is wrong with an input.
    fn violations(&self, input: &Map<String, Value>) -> Vec<FieldError> {
        let wrong = |name: &str, message: String, rule: &str| FieldError {
            field: format!("input.{name}"),
            message,
            rule: rule.to_owned(),
        };
        let mut found = Vec::new();
        for expected in self.inputs {
            match input.get(expected.name) {
                None if expected.required => found.push(wrong(expected.name, "is required".to_owned(), "required")),
                Some(Value::String(given))
                    if !expected.choices.is_empty() && !expected.choices.contains(&given.as_str()) =>
                {
                    found.push(wrong(expected.name, format!("must be one of {}", expected.choices.join(", ")), "enum"));
                }
                Some(given) if !given.is_string() => {
                    found.push(wrong(expected.name, "must be a string".to_owned(), "type"));
                }
                _ => {}
            }
        }
        let known = |name: &String| self.inputs.iter().any(|expected| expected.name == name);
        let unknown = input.keys().filter(|name| !known(name));
        found.extend(unknown.map(|name| wrong(name, "is not allowed".to_owned(), "additionalProperties")));
        found
    }

    /// The names of the files in an input.
    fn files<'a>(&'a self, input: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        self.inputs.iter().filter(|one| one.choices.is_empty()).filter_map(|one| input.get(one.name)?.as_str())
    }
}

const COLUMNS: &str = "r.id, r.workspace_id, r.name, r.pipeline_id, r.tool_id, r.input, r.status, r.error, r.created_ms, r.started_ms, r.completed_ms";

impl Pipelines for Service {
    type Principal = Principal;

    async fn list_pipeline_runs(
        &self,
        caller: &Principal,
        request: ListPipelineRunsRequest,
    ) -> Result<ListPipelineRunsResponse, ListPipelineRunsError> {
        let key = caller.key()?;
        let workspaces = match request.workspace_id {
            Some(workspace) => {
                self.enter::<ListPipelineRunsError>(key, &workspace).await?;
                vec![workspace]
            }
            None => self.workspaces_of(key).await.map_err(internal)?,
        };
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let (before_ms, before_id) = match &request.before {
            None => (i64::MAX, String::new()),
            Some(id) => {
                let row = sqlx::query("SELECT created_ms, workspace_id FROM runs WHERE id = $1")
                    .bind(id)
                    .fetch_optional(&mut *connection)
                    .await
                    .map_err(internal)?
                    .ok_or_else(|| no_such("run", id))?;
                let home: String = column(&row, 1).map_err(internal)?;
                if !workspaces.contains(&home) {
                    return Err(no_such("run", id).into());
                }
                (column(&row, 0).map_err(internal)?, id.clone())
            }
        };
        let limit = i64::from(request.limit);
        let sql = format!(
            "SELECT {COLUMNS} FROM runs AS r WHERE (r.created_ms < $1 OR (r.created_ms = $1 AND r.id < $2)) \
             AND ($3 = '' OR r.status = $3) AND r.workspace_id IN ({}) ORDER BY r.created_ms DESC, r.id DESC LIMIT $4",
            placeholders(5, workspaces.len().max(1))
        );
        let mut statement = sqlx::query(AssertSqlSafe(sql))
            .bind(before_ms)
            .bind(before_id)
            .bind(request.status.map(|status| status.as_str()).unwrap_or_default())
            .bind(limit + 1);
        for workspace in &workspaces {
            statement = statement.bind(workspace);
        }
        if workspaces.is_empty() {
            statement = statement.bind("");
        }
        let mut rows = statement.fetch_all(&mut *connection).await.map_err(internal)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > most;
        rows.truncate(most);
        let mut pipelines = Vec::with_capacity(rows.len());
        for row in &rows {
            pipelines.push(from_row(&mut connection, row).await.map_err(internal)?);
        }
        Ok(ListPipelineRunsResponse::Ok(PipelineRunList { pipelines, has_more }))
    }

    async fn create_pipeline_run(
        &self,
        caller: &Principal,
        request: CreatePipelineRunRequest,
    ) -> Result<CreatePipelineRunResponse, CreatePipelineRunError> {
        let (key, new) = (caller.key()?, request.body);
        self.enter::<CreatePipelineRunError>(key, &new.workspace_id).await?;
        let (wrong, files) = match (&new.tool_id, &new.pipeline_id) {
            (Some(id), _) => {
                let (place, tool) = tools::find(id).ok_or_else(|| tools::no_tool(id))?;
                let key = new.input.get("file_key").and_then(Value::as_str).filter(|_| tool.reads_files());
                (tools::violations(place, &new.input)?, key.into_iter().map(str::to_owned).collect())
            }
            (None, id) => {
                let id = id.as_deref().unwrap_or_default();
                let definition = definition(id).ok_or_else(|| no_pipeline(id))?;
                let files: Vec<String> = definition.files(&new.input).map(str::to_owned).collect();
                (definition.violations(&new.input), files)
            }
        };
        if !wrong.is_empty() {
            return Err(invalid(wrong).into());
        }
        for file in &files {
            self.file::<CreatePipelineRunError>(&new.workspace_id, file).await?;
        }
        let id = new_id("pipe_").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        self.charge::<CreatePipelineRunError>(&mut write, &key.organization).await?;
        sqlx::query(
            "INSERT INTO runs (id, workspace_id, name, pipeline_id, tool_id, input, status, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, 'queued', $7)",
        )
        .bind(&id)
        .bind(&new.workspace_id)
        .bind(new.name)
        .bind(new.pipeline_id)
        .bind(new.tool_id)
        .bind(serde_json::to_string(&new.input).map_err(internal)?)
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await
        .map_err(internal)?;
        self.0.queue.add(&mut write, RUN, &id, std::time::Duration::ZERO).await.map_err(internal)?;
        let run = find(write.run(), &id).await.map_err(internal)?.ok_or_else(|| no_such("run", &id))?;
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        Ok(CreatePipelineRunResponse::Accepted(run))
    }

    async fn get_pipeline_run(
        &self,
        caller: &Principal,
        request: GetPipelineRunRequest,
    ) -> Result<GetPipelineRunResponse, GetPipelineRunError> {
        let key = caller.key()?;
        if let Some(workspace) = &request.workspace_id {
            self.enter::<GetPipelineRunError>(key, workspace).await?;
        }
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let found = find(&mut connection, &request.run_id).await.map_err(internal)?;
        drop(connection);
        let run = found.ok_or_else(|| no_such("run", &request.run_id))?;
        let here = request.workspace_id.as_ref().is_none_or(|workspace| *workspace == run.workspace_id);
        if !here || !self.may_enter(key, &run.workspace_id).await? {
            return Err(no_such("run", &request.run_id).into());
        }
        Ok(GetPipelineRunResponse::Ok(run))
    }
}

/// What [`Service::enter`] says, as a truth value.
enum Entrance {
    Denied,
    Failed(InternalError),
}

impl From<WorkspaceAccessDenied> for Entrance {
    fn from(_: WorkspaceAccessDenied) -> Self {
        Self::Denied
    }
}

impl From<InternalError> for Entrance {
    fn from(problem: InternalError) -> Self {
        Self::Failed(problem)
    }
}

impl Service {
    /// Whether a key is good for a workspace.
    pub(super) async fn may_enter(&self, key: &Key, workspace: &str) -> Result<bool, InternalError> {
        match self.enter::<Entrance>(key, workspace).await {
            Ok(()) => Ok(true),
            Err(Entrance::Denied) => Ok(false),
            Err(Entrance::Failed(problem)) => Err(problem),
        }
    }

    /// Does a run to its end. Done again after a crash, it writes its outputs anew.
    pub(super) async fn do_run(&self, job: &Job) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        sqlx::query("UPDATE runs SET status = 'running', started_ms = COALESCE(started_ms, $1) WHERE id = $2")
            .bind(self.0.clock.now_ms())
            .bind(&job.subject)
            .execute(write.run())
            .await?;
        let run = find(write.run(), &job.subject).await?;
        write.commit().await?;
        // Its workspace was deleted.
        let Some(run) = run else { return Ok(()) };
        let made = match self.outputs_of(&run).await {
            Ok(made) => made,
            Err(Failed::Unusable(why)) => {
                return self.end_run(&run.id, PipelineRunStatus::Failed, Some(why.to_string()), Vec::new()).await;
            }
            Err(Failed::NoFile(_)) => {
                let why = "An input file is not there any more.".to_owned();
                return self.end_run(&run.id, PipelineRunStatus::Failed, Some(why), Vec::new()).await;
            }
            // Not now; the queue comes back to it.
            Err(Failed::Internal(_)) => return Err(StoreError::Corrupt("a run could not be worked on".to_owned())),
        };
        let mut outputs = Vec::new();
        for (name, media_type, content) in made {
            let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
            let folder = format!("runs/{}/", run.id);
            let entry = Entry::new(&run.workspace_id, &folder, &name, size, media_type, self.0.clock.now_ms())
                .map_err(|_| StoreError::Corrupt("no id could be made".to_owned()))?;
            let kept = self.0.blobs.write(&entry.id, content.as_bytes()).await;
            kept.map_err(|error| StoreError::Corrupt(format!("an output could not be kept: {error}")))?;
            outputs.push(entry);
        }
        self.end_run(&run.id, PipelineRunStatus::Completed, None, outputs).await
    }

    /// The files that a run makes: name, media type, content.
    async fn outputs_of(&self, run: &PipelineRun) -> Result<Vec<(String, &'static str, String)>, Failed> {
        const JSON: &str = "application/json";
        if let Some(id) = &run.tool_id {
            let Some((_, tool)) = tools::find(id) else {
                return Err(Failed::Unusable(sequence::Unusable("The tool is not there any more.".to_owned())));
            };
            let output = self.work(tool, &run.input, &run.workspace_id).await?;
            return Ok(vec![("result.json".to_owned(), JSON, format!("{:#}\n", Value::Object(output)))]);
        }
        let definition = run.pipeline_id.as_deref().and_then(definition);
        let Some(definition) = definition.filter(|definition| definition.available) else {
            let why = "This pipeline needs aligners and variant callers that this installation does not have.";
            return Err(Failed::Unusable(sequence::Unusable(why.to_owned())));
        };
        let key = definition.files(&run.input).next().unwrap_or_default();
        let content = self.text_of(&run.workspace_id, key).await?;
        let quality = sequence::quality(&content).map_err(Failed::Unusable)?;
        Ok(vec![
            ("qc_summary.json".to_owned(), JSON, format!("{:#}\n", Value::Object(quality.summary()))),
            ("base_quality.csv".to_owned(), "text/csv", quality.by_place()),
        ])
    }

    pub(super) async fn end_run(
        &self,
        id: &str,
        status: PipelineRunStatus,
        error: Option<String>,
        outputs: Vec<Entry>,
    ) -> Result<(), StoreError> {
        let mut write = self.0.store.write().await?;
        let ended = sqlx::query("UPDATE runs SET status = $1, error = $2, completed_ms = $3 WHERE id = $4")
            .bind(status.as_str())
            .bind(error)
            .bind(self.0.clock.now_ms())
            .bind(id)
            .execute(write.run())
            .await?;
        if ended.rows_affected() == 0 {
            return Ok(());
        }
        for (position, entry) in (0_i64..).zip(&outputs) {
            files::insert(&mut write, entry, KEPT).await?;
            sqlx::query("INSERT INTO run_outputs (run_id, position, name, key, size) VALUES ($1, $2, $3, $4, $5)")
                .bind(id)
                .bind(position)
                .bind(&entry.name)
                .bind(&entry.key)
                .bind(entry.size)
                .execute(write.run())
                .await?;
        }
        write.commit().await
    }
}

fn definition(id: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.id == id)
}

fn no_pipeline(id: &str) -> NotFound {
    let mut problem = no_such("pipeline", id);
    problem.message = "There is no such pipeline.".into();
    problem
}

async fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<PipelineRun>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM runs AS r WHERE r.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => from_row(connection, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn from_row(connection: &mut AnyConnection, row: &AnyRow) -> Result<PipelineRun, StoreError> {
    let id: String = column(row, 0)?;
    let outputs = sqlx::query("SELECT name, key, size FROM run_outputs WHERE run_id = $1 ORDER BY position")
        .bind(&id)
        .fetch_all(connection)
        .await?;
    let output =
        |row: &AnyRow| Ok(PipelineOutput { name: column(row, 0)?, key: column(row, 1)?, size: column(row, 2)? });
    Ok(PipelineRun {
        workspace_id: column(row, 1)?,
        name: column(row, 2)?,
        pipeline_id: column(row, 3)?,
        tool_id: column(row, 4)?,
        input: stored_json(column(row, 5)?)?,
        status: word(column(row, 6)?)?,
        error: column(row, 7)?,
        created_at: to_datetime(column(row, 8)?),
        started_at: column::<Option<i64>>(row, 9)?.map(to_datetime),
        completed_at: column::<Option<i64>>(row, 10)?.map(to_datetime),
        outputs: outputs.iter().map(output).collect::<Result<_, StoreError>>()?,
        id,
    })
}
