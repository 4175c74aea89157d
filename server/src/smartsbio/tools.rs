//! Tools — documentation section "Tools": what can be run, with the JSON Schema of each input.

use std::sync::LazyLock;

use contract_smartsbio::problems::{AgentError, InternalError, NotFound};
use contract_smartsbio::server::{
    GetToolError, GetToolRequest, GetToolResponse, ListToolsError, ListToolsRequest, ListToolsResponse, RunToolError,
    RunToolRequest, RunToolResponse, Tools,
};
use contract_smartsbio::types::{Tool, ToolList};
use serde_json::{Map, Value, json};
use trueline_runtime::contract::Place;
use trueline_runtime::problem::FieldError;
use trueline_runtime::schemas::{SchemaError, Schemas};

use super::Service;
use super::access::{Key, Principal, internal, invalid, no_such, workspace_required};
use super::pipelines;
use super::sequence::{self, Scores, Unusable};

/// Bytes of a file that a tool reads at most. It is held in memory, so this bounds what one call costs.
pub(super) const MAX_READ: i64 = 32 * 1024 * 1024;

/// A tool: what is shown of it, and what it does with an input that its schema allows.
pub(super) struct Entry {
    pub(super) id: &'static str,
    name: &'static str,
    description: &'static str,
    category: &'static str,
    input: Value,
    work: Work,
}

/// What a tool gives.
type Output = Result<Map<String, Value>, Unusable>;

/// What a tool works on.
#[derive(Clone, Copy)]
enum Work {
    /// The input alone.
    Input(fn(&Map<String, Value>) -> Output),
    /// The text of the file whose key is in the input under `file_key`.
    File(fn(&str) -> Output),
}

/// Every tool, by id.
static TOOLS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    // A sequence of a request's size; files are for longer ones.
    let sequence =
        |description: &str| json!({"type": "string", "minLength": 1, "maxLength": 500_000, "description": description});
    let input = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false});
    vec![
        Entry {
            id: "fasta_statistics",
            name: "FASTA statistics",
            description: "Number, lengths and GC content of the sequences of a FASTA file.",
            category: "sequence-analysis",
            input: input(
                &["file_key"],
                json!({"file_key": {"type": "string", "minLength": 1, "description": "The file."}}),
            ),
            work: Work::File(sequence::fasta_statistics),
        },
        Entry {
            id: "find_orfs",
            name: "Find open reading frames",
            description: "Open reading frames of both strands, the longest first.",
            category: "genome-annotation",
            input: input(
                &["sequence"],
                json!({
                    "sequence": sequence("Nucleotides."),
                    "min_length": {"type": "integer", "minimum": 1, "maximum": 100_000, "description": "Amino acids at least."}
                }),
            ),
            work: Work::Input(|input| {
                let least = input.get("min_length").and_then(Value::as_u64).unwrap_or(10);
                let frames =
                    sequence::open_frames(&letters(input, "sequence")?, usize::try_from(least).unwrap_or(usize::MAX));
                Ok(Map::from_iter([("orfs".to_owned(), Value::Array(frames))]))
            }),
        },
        Entry {
            id: "list_pipelines",
            name: "List pipelines",
            description: "The predefined pipelines, and what they need.",
            category: "pipelines",
            input: input(&[], json!({})),
            work: Work::Input(|_| Ok(pipelines::listed())),
        },
        Entry {
            id: "pairwise_alignment",
            name: "Pairwise alignment",
            description: "The best global alignment of two sequences (Needleman–Wunsch).",
            category: "alignment",
            input: input(
                &["first", "second"],
                json!({
                    // The table has one cell for each pair of letters: 4 million at most.
                    "first": {"type": "string", "minLength": 1, "maxLength": 2_000},
                    "second": {"type": "string", "minLength": 1, "maxLength": 2_000},
                    "match": {"type": "integer", "minimum": 0, "maximum": 100},
                    "mismatch": {"type": "integer", "minimum": -100, "maximum": 0},
                    "gap": {"type": "integer", "minimum": -100, "maximum": 0}
                }),
            ),
            work: Work::Input(|input| {
                let number = |name: &str, default| input.get(name).and_then(Value::as_i64).unwrap_or(default);
                let scores =
                    Scores { matching: number("match", 1), mismatch: number("mismatch", -1), gap: number("gap", -2) };
                Ok(sequence::align(&letters(input, "first")?, &letters(input, "second")?, scores))
            }),
        },
        Entry {
            id: "sequence_statistics",
            name: "Sequence statistics",
            description: "Length, composition, GC content and reverse complement of a nucleotide sequence.",
            category: "sequence-analysis",
            input: input(&["sequence"], json!({"sequence": sequence("Nucleotides.")})),
            work: Work::Input(|input| Ok(sequence::statistics(&letters(input, "sequence")?))),
        },
        Entry {
            id: "translate_sequence",
            name: "Translate",
            description: "The protein that a nucleotide sequence codes for, by the standard genetic code.",
            category: "sequence-analysis",
            input: input(
                &["sequence"],
                json!({"sequence": sequence("Nucleotides."), "frame": {"type": "integer", "minimum": 1, "maximum": 3}}),
            ),
            work: Work::Input(|input| {
                let frame =
                    input.get("frame").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
                let protein = sequence::translate(&letters(input, "sequence")?, frame);
                Ok(Map::from_iter([("protein".to_owned(), protein.into())]))
            }),
        },
    ]
});

/// The inputs' schemas, in the order of [`TOOLS`].
static INPUTS: LazyLock<Result<Schemas, SchemaError>> = LazyLock::new(|| {
    let schemas: Vec<&Value> = TOOLS.iter().map(|tool| &tool.input).collect();
    Schemas::compile(&serde_json::to_string(&schemas)?)
});

fn letters(input: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unusable> {
    sequence::letters(input.get(name).and_then(Value::as_str).unwrap_or_default())
}

/// The tool with this id, and its place.
pub(super) fn find(id: &str) -> Option<(usize, &'static Entry)> {
    TOOLS.iter().enumerate().find(|(_, tool)| tool.id == id)
}

/// What is wrong with an input by a tool's schema.
pub(super) fn violations(place: usize, input: &Map<String, Value>) -> Result<Vec<FieldError>, InternalError> {
    let schemas = INPUTS.as_ref().map_err(internal)?;
    let mut found = Vec::new();
    schemas.check(place, &Value::Object(input.clone()), Place::Body, "/input", &mut found);
    Ok(found
        .into_iter()
        .map(|violation| FieldError {
            field: violation.field(),
            message: violation.message.clone().into_owned(),
            rule: violation.rule.into_owned(),
        })
        .collect())
}

impl Entry {
    /// Whether it reads a file, for which it needs a workspace.
    pub(super) fn reads_files(&self) -> bool {
        matches!(self.work, Work::File(_))
    }

    fn shown(&self) -> Tool {
        Tool {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            category: self.category.to_owned(),
            input_schema: self.input.as_object().cloned().unwrap_or_default(),
        }
    }
}

/// Why a tool has no output.
#[derive(Debug)]
pub(super) enum Failed {
    /// It names a file that is not there.
    NoFile(NotFound),
    /// What it was given is of no use to it, in words for the caller.
    Unusable(Unusable),
    /// Our own fault.
    Internal(InternalError),
}

impl Service {
    /// Runs a tool on an input that its schema allows, off the async threads.
    pub(super) async fn work(
        &self,
        tool: &'static Entry,
        input: &Map<String, Value>,
        workspace: &str,
    ) -> Result<Map<String, Value>, Failed> {
        match tool.work {
            Work::Input(work) => {
                let input = input.clone();
                blocking(move || work(&input)).await
            }
            Work::File(work) => {
                let key = input.get("file_key").and_then(Value::as_str).unwrap_or_default();
                let content = self.text_of(workspace, key).await?;
                blocking(move || work(&content)).await
            }
        }
    }

    /// The text of a file, of a size that fits into memory.
    pub(super) async fn text_of(&self, workspace: &str, key: &str) -> Result<String, Failed> {
        let entry = self.file::<Failed>(workspace, key).await?;
        if entry.size > MAX_READ {
            return Err(Failed::Unusable(Unusable(format!("The file is larger than {MAX_READ} bytes."))));
        }
        let content =
            tokio::fs::read(self.0.blobs.path(&entry.id)).await.map_err(|error| Failed::Internal(internal(error)))?;
        String::from_utf8(content).map_err(|_| Failed::Unusable(Unusable("The file is not text.".to_owned())))
    }
}

impl From<NotFound> for Failed {
    fn from(problem: NotFound) -> Self {
        Self::NoFile(problem)
    }
}

impl From<InternalError> for Failed {
    fn from(problem: InternalError) -> Self {
        Self::Internal(problem)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Unusable> + Send + 'static) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failed::Unusable),
        Err(error) => Err(Failed::Internal(internal(error))),
    }
}

impl Tools for Service {
    type Principal = Principal;

    async fn list_tools(
        &self,
        _caller: &Principal,
        request: ListToolsRequest,
    ) -> Result<ListToolsResponse, ListToolsError> {
        let wanted = |tool: &&Entry| request.category.as_ref().is_none_or(|category| category == tool.category);
        let tools = TOOLS.iter().filter(wanted).map(Entry::shown).collect();
        Ok(ListToolsResponse::Ok(ToolList { tools }))
    }

    async fn get_tool(&self, _caller: &Principal, request: GetToolRequest) -> Result<GetToolResponse, GetToolError> {
        let (_, tool) = find(&request.tool_id).ok_or_else(|| no_tool(&request.tool_id))?;
        Ok(GetToolResponse::Ok(tool.shown()))
    }

    async fn run_tool(&self, caller: &Principal, request: RunToolRequest) -> Result<RunToolResponse, RunToolError> {
        let key: &Key = caller.key()?;
        let body = request.body;
        // In the documented order: the workspace before the tool, the tool before its input.
        let workspace = match body.workspace_id {
            None if key.workspaces.is_none() => None,
            named => Some(self.workspace::<RunToolError>(key, named).await?),
        };
        let (place, tool) = find(&request.tool_id).ok_or_else(|| no_tool(&request.tool_id))?;
        let wrong = violations(place, &body.input)?;
        if !wrong.is_empty() {
            return Err(invalid(wrong).into());
        }
        if workspace.is_none() && tool.reads_files() {
            return Err(workspace_required().into());
        }
        self.charge_now::<RunToolError>(&key.organization).await?;
        match self.work(tool, &body.input, &workspace.unwrap_or_default()).await {
            Ok(output) => Ok(RunToolResponse::Ok(output)),
            Err(failed) => {
                self.refund(&key.organization).await;
                Err(match failed {
                    Failed::NoFile(problem) => problem.into(),
                    Failed::Internal(problem) => problem.into(),
                    Failed::Unusable(why) => AgentError::because(format!("The tool failed. {why}")).into(),
                })
            }
        }
    }
}

pub(super) fn no_tool(id: &str) -> NotFound {
    let mut problem = no_such("tool", id);
    problem.message = "There is no such tool.".into();
    problem
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_ids_are_in_order() {
        assert!(INPUTS.is_ok());
        let ids: Vec<&str> = TOOLS.iter().map(|tool| tool.id).collect();
        assert!(ids.is_sorted());
        let (place, _) = find("translate_sequence").unwrap();
        let wrong = violations(place, &Map::from_iter([("frame".to_owned(), json!(4))])).unwrap();
        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!(fields, ["input.frame", "input.sequence"]);
    }
}
