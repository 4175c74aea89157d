//! 201 answers `POST /agents/`, not `GET /agents/{agentId}/`; 402 is no answer of this API at all.

use contract_ragchats::server::{GetAgentError, GetAgentResponse};

fn main() {
    let _ = |agent| GetAgentResponse::Created(agent);
    let _ = GetAgentError::PaymentRequired;
}
