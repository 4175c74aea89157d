//! `llm_error` is a code of this API, but not of `DELETE /agents/{agentId}/`.

use contract_ragchats::problems;
use contract_ragchats::server::DeleteAgentError;

fn main() {
    let _ = || -> Result<(), DeleteAgentError> { Err(problems::LlmError::because("No answer."))? };
}
