//! The agent: reads a prompt, runs the tools that it asks for, and lets the language model put the answer into words.

use std::sync::Arc;

use contract_smartsbio::types::ToolCall;
use serde_json::{Map, Value, json};

use super::Service;
use super::tools::{self, Failed};
use crate::platform::model::{ModelError, ModelProvider, Passage, Purpose, Question, Turn};

/// Letters that make a word a sequence: shorter ones are words, or names of genes.
const LEAST_LETTERS: usize = 6;

/// Tools that one prompt may start.
const MOST_CALLS: usize = 4;

/// Tokens of an answer at most.
const MAX_TOKENS: u32 = 1_000;

const INSTRUCTIONS: &str = "You are a bioinformatics assistant. Answer from the results of the tools that were run.";

/// Why the agent has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentFailed {
    /// The language model gave none.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tool failed that should not.
    #[error("a tool failed")]
    Tool,
}

/// What a prompt asks for: the tools to run, in this order.
pub(super) fn plan(prompt: &str) -> Vec<ToolCall> {
    let lower = prompt.to_lowercase();
    let asks = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let found: Vec<String> = prompt
        .split(|c: char| !c.is_ascii_alphabetic())
        .map(str::to_ascii_uppercase)
        .filter(|word| word.len() >= LEAST_LETTERS && word.bytes().all(|letter| b"ACGTUN".contains(&letter)))
        .collect();
    let call = |tool_id: &str, input: Value| ToolCall {
        tool_id: tool_id.to_owned(),
        input: input.as_object().cloned().unwrap_or_default(),
    };
    let mut calls = Vec::new();
    match found.as_slice() {
        [first, second, ..] if asks(&["align", "compare", "identity"]) => {
            calls.push(call("pairwise_alignment", json!({"first": first, "second": second})));
        }
        sequences => {
            for sequence in sequences {
                let input = json!({"sequence": sequence});
                if asks(&["translat", "protein", "amino"]) {
                    calls.push(call("translate_sequence", input));
                } else if asks(&["orf", "reading frame"]) {
                    calls.push(call("find_orfs", json!({"sequence": sequence, "min_length": 1})));
                } else {
                    calls.push(call("sequence_statistics", input));
                }
            }
        }
    }
    if asks(&["pipeline"]) {
        calls.push(call("list_pipelines", json!({})));
    }
    calls.truncate(MOST_CALLS);
    calls
}

impl Service {
    /// Runs one planned tool and tells what came out, as a text that an answer can quote. A tool that an odd sequence is of
    /// no use to says so in its text.
    pub(super) async fn consult(&self, call: &ToolCall, workspace: &str) -> Result<Passage, AgentFailed> {
        let (_, tool) = tools::find(&call.tool_id).ok_or(AgentFailed::Tool)?;
        let text = match self.work(tool, &call.input, workspace).await {
            Ok(output) => told(&call.tool_id, &call.input, &output),
            Err(Failed::Unusable(why)) => why.to_string(),
            Err(Failed::NoFile(_) | Failed::Internal(_)) => return Err(AgentFailed::Tool),
        };
        Ok(Passage { title: format!("the tool {}", call.tool_id), text })
    }

    /// The answer to a prompt, from what the tools gave.
    pub(super) async fn answer(
        &self,
        prompt: &str,
        history: Vec<Turn>,
        passages: Vec<Passage>,
    ) -> Result<String, AgentFailed> {
        let provider: Arc<dyn ModelProvider> = Arc::clone(&self.0.provider);
        let question = Question {
            purpose: Purpose::Answer,
            key: None,
            model: String::new(),
            temperature: 0.0,
            max_tokens: MAX_TOKENS,
            instructions: INSTRUCTIONS.to_owned(),
            history,
            message: prompt.to_owned(),
            passages,
            general_knowledge: true,
        };
        Ok(provider.answer(&question).await?.text)
    }
}

/// A tool's output in sentences.
fn told(tool: &str, input: &Map<String, Value>, output: &Map<String, Value>) -> String {
    let text = |name: &str| output.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| output.get(name).and_then(Value::as_f64).unwrap_or_default();
    let sequence = input.get("sequence").and_then(Value::as_str).unwrap_or_default();
    match tool {
        "sequence_statistics" => format!(
            "The sequence {sequence} has a length of {} bases. The GC content of {sequence} is {:.1} %. The reverse \
             complement of {sequence} is {}.",
            number("length"),
            number("gc_content") * 100.0,
            text("reverse_complement"),
        ),
        "translate_sequence" => format!("The protein that the sequence {sequence} codes for is {}.", text("protein")),
        "find_orfs" => {
            let frames = output.get("orfs").and_then(Value::as_array).map_or(0, Vec::len);
            format!("The sequence {sequence} has {frames} open reading frames (ORF).")
        }
        "pairwise_alignment" => format!(
            "The best alignment of the sequences has a score of {} and an identity of {:.1} %. It reads {} over {}.",
            number("score"),
            number("identity") * 100.0,
            text("first"),
            text("second"),
        ),
        "list_pipelines" => {
            let pipelines = output.get("pipelines").and_then(Value::as_array).into_iter().flatten();
            let ids: Vec<&str> = pipelines.filter_map(|one| one.get("id")?.as_str()).collect();
            format!("The predefined pipelines are {}.", ids.join(", "))
        }
        _ => Value::Object(output.clone()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_start_the_tools_that_they_ask_for() {
        let tools = |prompt: &str| plan(prompt).into_iter().map(|call| call.tool_id).collect::<Vec<_>>();
        assert_eq!(tools("What is the GC content of ATGCGC?"), ["sequence_statistics"]);
        assert_eq!(tools("Translate ATGGCC into a protein"), ["translate_sequence"]);
        assert_eq!(tools("Align GATTACA with GCATGCT"), ["pairwise_alignment"]);
        assert_eq!(tools("Which pipelines are there?"), ["list_pipelines"]);
        assert!(tools("What is a gene?").is_empty());
        assert_eq!(tools(&"ACGTACGT ".repeat(9)).len(), MOST_CALLS);
    }
}
