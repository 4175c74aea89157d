//! Query — documentation section "Query": ask the agent, and wait for its answer or follow it as it is made.

use contract_smartsbio::problems::{
    AgentError, InternalError, NotFound, QuotaExceeded, WorkspaceAccessDenied, WorkspaceRequired,
};
use contract_smartsbio::server::{
    Query, RunQueryError, RunQueryRequest, RunQueryResponse, StreamQueryError, StreamQueryRequest, StreamQueryResponse,
};
use contract_smartsbio::types::{
    ContentEvent, DoneEvent, ErrorEvent, ErrorEventError, QueryRequest, QueryResponse, StatusEvent, StreamEvent,
    ToolCallEvent,
};
use futures::StreamExt as _;
use futures::channel::mpsc;
use trueline_runtime::sse::{Event, Events};

use super::Service;
use super::access::{Key, Principal, internal, no_such};
use super::agent::{self, AgentFailed};
use super::conversations;
use crate::platform::clock::to_datetime;
use crate::platform::model::{Passage, Turn};
use crate::platform::store::StoreError;

/// Events that wait for a slow reader. With these full the agent waits too.
const PENDING: usize = 16;

/// A question that may be asked: the caller has access, the conversation is there, the credit is taken.
struct Admitted {
    organization: String,
    workspace: String,
    conversation: Option<String>,
    prompt: String,
    history: Vec<Turn>,
    asked_ms: i64,
}

impl Query for Service {
    type Principal = Principal;

    async fn run_query(&self, caller: &Principal, request: RunQueryRequest) -> Result<RunQueryResponse, RunQueryError> {
        let asked = self.admit::<RunQueryError>(caller.key()?, request.body).await?;
        let answered = async {
            let tool_calls = agent::plan(&asked.prompt);
            let mut passages: Vec<Passage> = Vec::new();
            for call in &tool_calls {
                passages.push(self.consult(call, &asked.workspace).await?);
            }
            let answer = self.answer(&asked.prompt, asked.history.clone(), passages).await?;
            Ok::<_, AgentFailed>((tool_calls, answer))
        };
        let (tool_calls, answer) = match answered.await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::warn!(%error, "the agent failed");
                self.refund(&asked.organization).await;
                return Err(AgentError::because("The agent failed on this request. Try again later.").into());
            }
        };
        let now = self.0.clock.now_ms();
        let conversation_id = self.keep(&asked, &answer, now).await.map_err(internal)?;
        let conversation_id = conversation_id.ok_or_else(|| gone(&asked))?;
        Ok(RunQueryResponse::Ok(QueryResponse {
            answer,
            conversation_id,
            workspace_id: asked.workspace,
            tool_calls,
            created_at: to_datetime(now),
        }))
    }

    async fn stream_query(
        &self,
        caller: &Principal,
        request: StreamQueryRequest,
    ) -> Result<StreamQueryResponse, StreamQueryError> {
        let asked = self.admit::<StreamQueryError>(caller.key()?, request.body).await?;
        let (sender, receiver) = mpsc::channel(PENDING);
        // A task of its own: the answer is kept, as it was paid for, also when the reader goes away.
        tokio::spawn(self.clone().follow(asked, sender));
        Ok(StreamQueryResponse::Ok(Events::new(receiver.map(Event::data))))
    }
}

impl Service {
    async fn admit<E>(&self, key: &Key, query: QueryRequest) -> Result<Admitted, E>
    where
        E: From<WorkspaceAccessDenied>
            + From<WorkspaceRequired>
            + From<NotFound>
            + From<QuotaExceeded>
            + From<InternalError>,
    {
        let workspace = self.workspace::<E>(key, query.workspace_id).await?;
        let history = match &query.conversation_id {
            None => Vec::new(),
            Some(id) => {
                self.history(&workspace, id).await.map_err(internal)?.ok_or_else(|| no_such("conversation", id))?
            }
        };
        self.charge_now::<E>(&key.organization).await?;
        Ok(Admitted {
            organization: key.organization.clone(),
            workspace,
            conversation: query.conversation_id,
            prompt: query.prompt,
            history,
            asked_ms: self.0.clock.now_ms(),
        })
    }

    /// Writes question and answer into their conversation; `None` when it was deleted meanwhile.
    async fn keep(&self, asked: &Admitted, answer: &str, now_ms: i64) -> Result<Option<String>, StoreError> {
        let exchange = conversations::Exchange {
            workspace: &asked.workspace,
            question: &asked.prompt,
            answer,
            asked_ms: asked.asked_ms,
            answered_ms: now_ms,
        };
        let mut write = self.0.store.write().await?;
        let conversation = conversations::keep(&mut write, asked.conversation.as_deref(), &exchange).await?;
        write.commit().await?;
        Ok(conversation)
    }

    /// Works on a question and tells how it goes. What cannot be told, because nobody reads any more, is left untold.
    async fn follow(self, asked: Admitted, mut events: mpsc::Sender<StreamEvent>) {
        use futures::SinkExt as _;
        let status = |text: &str| StreamEvent::from(StatusEvent { status: text.to_owned() });
        let told = async {
            let _ = events.send(status("Reading the prompt")).await;
            let mut passages: Vec<Passage> = Vec::new();
            for call in agent::plan(&asked.prompt) {
                passages.push(self.consult(&call, &asked.workspace).await?);
                let event = ToolCallEvent { tool_id: call.tool_id, input: call.input };
                let _ = events.send(event.into()).await;
            }
            let _ = events.send(status("Writing the answer")).await;
            self.answer(&asked.prompt, asked.history.clone(), passages).await
        };
        let answer: Result<String, AgentFailed> = told.await;
        let last = match answer {
            Ok(answer) => {
                for piece in pieces(&answer) {
                    let _ = events.send(ContentEvent { content: piece.to_owned() }.into()).await;
                }
                match self.keep(&asked, &answer, self.0.clock.now_ms()).await {
                    Ok(Some(conversation_id)) => DoneEvent { conversation_id }.into(),
                    Ok(None) => failure(ErrorEventError::InternalError, "The conversation is gone."),
                    Err(error) => {
                        internal(error);
                        failure(ErrorEventError::InternalError, "Something went wrong on our side.")
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the agent failed");
                self.refund(&asked.organization).await;
                failure(ErrorEventError::AgentError, "The agent failed on this request. Try again later.")
            }
        };
        let _ = events.send(last).await;
    }
}

fn gone(asked: &Admitted) -> NotFound {
    no_such("conversation", asked.conversation.as_deref().unwrap_or_default())
}

fn failure(error: ErrorEventError, message: &str) -> StreamEvent {
    ErrorEvent { error, message: message.to_owned() }.into()
}

/// An answer in pieces that end with a space, so that every piece is whole words.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const WORDS: usize = 8;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.match_indices(' ').nth(WORDS - 1).map_or(rest.len(), |(at, _)| at + 1);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_are_the_answer_again() {
        for text in ["", "one", "a b c d e f g h i j k l m n o p q", " double  spaces  and é ü ", "a b c d e f g h "]
        {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
        assert_eq!(pieces("a b c d e f g h i").count(), 2);
    }
}
