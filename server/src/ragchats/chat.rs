//! Chat — documentation section "Chat": questions to agents, and the conversations that they make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract_ragchats::problems::{AgentNotReady, ConversationNotFound, DataSourceNotFound, LlmError, QuotaExceeded};
use contract_ragchats::server::{
    Chat, GetConversationError, GetConversationRequest, GetConversationResponse, ListConversationsError,
    ListConversationsRequest, ListConversationsResponse, QueryAgentError, QueryAgentRequest, QueryAgentResponse,
};
use contract_ragchats::types::{
    Agent, AgentNotReadyDetails, Conversation, ConversationSummary, Message, MessageRole, QueryMetadata, QueryRequest,
    QueryResponse, QuotaDetails, QuotaDetailsWindow, Source, SourceDisplayMode,
};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::Service;
use super::access::{Principal, Role, id, internal, no_agent, viewer, word};
use super::agents::{self, AGENT_COLUMNS, select_agent};
use crate::platform::clock::{to_datetime, utc_month};
use crate::platform::model::{Passage, Question, Speaker, Turn};
use crate::platform::search::{self, Hit};
use crate::platform::store::{StoreError, Write, column, placeholders};

/// Messages of a conversation that the model is shown: five questions with their answers.
const HISTORY: i64 = 10;

/// Characters of the first message that become a conversation's title.
const TITLE_CHARS: usize = 80;

/// Seconds after which asking an agent again that is being prepared is worth while. Most documents take less.
const NOT_READY_RETRY_S: i64 = 5;

/// Pieces retrieved at most, whatever `topK` asks for: more would not fit into any model's context.
const MAX_TOP_K: usize = 100;

/// Queries in progress by organization. They are not counted as used before they succeed, but they may succeed, so the
/// quota must leave room for them.
#[derive(Clone, Debug, Default)]
pub(super) struct InProgress(Arc<Mutex<HashMap<Uuid, i64>>>);

/// Room in a quota, held until dropped: also when the caller hangs up in the middle.
struct Reservation {
    in_progress: InProgress,
    organization: Uuid,
}

impl InProgress {
    /// Takes room for one query if `used` and what is in progress leave any.
    fn reserve(&self, organization: Uuid, used: i64, limit: i64) -> Option<Reservation> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(organization).or_default();
        if used.saturating_add(*count) < limit {
            *count += 1;
            Some(Reservation { in_progress: self.clone(), organization })
        } else {
            None
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut counts = self.in_progress.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.organization) {
            *count -= 1;
            if *count <= 0 {
                counts.remove(&self.organization);
            }
        }
    }
}

/// An agent and what decides whether it may answer.
struct Asked {
    agent: Agent,
    unready_sources: i64,
    quota: i64,
    used: i64,
}

impl Chat for Service {
    type Principal = Principal;

    async fn query_agent(
        &self,
        caller: &Principal,
        request: QueryAgentRequest,
    ) -> Result<QueryAgentResponse, QueryAgentError> {
        let query = request.body;
        let now = self.0.clock.now_ms();
        let (month, reset_ms) = utc_month(now);
        let Asked { agent, unready_sources, quota, used } = self.asked(caller, request.agent_id, &month).await?;
        if !agent.is_active || unready_sources > 0 {
            return Err(not_ready(&agent).into());
        }
        // Held to the end of this call: until the query is counted, or has failed.
        let _room = self
            .0
            .in_progress
            .reserve(agent.organization_id, used, quota)
            .ok_or_else(|| quota_exceeded(quota, used, reset_ms))?;
        let history = self.history(agent.id, query.conversation_id).await?;
        let scopes = self.searched(agent.id, query.data_source_ids.as_deref()).await?;

        let started = Instant::now();
        let top_k = usize::try_from(agent.top_k).unwrap_or(1).clamp(1, MAX_TOP_K);
        let hits = search::find(&self.0.store, &scopes, &query.message, top_k).await.map_err(internal)?;
        let retrieved = hits.len();
        let good: Vec<Hit> = hits.into_iter().filter(|hit| hit.score >= agent.similarity_threshold).collect();
        let sources = self.sources(&good, agent.source_display_mode).await.map_err(internal)?;
        let retrieval_time = millis(started.elapsed());

        let started = Instant::now();
        let completion = self.0.provider.answer(&question(&agent, &query, history, &sources)).await;
        let generation_time = millis(started.elapsed());

        let latency = retrieval_time + generation_time;
        let mut write = self.0.store.write().await.map_err(internal)?;
        log_query(&mut write, agent.id, &query.message, completion.is_ok(), latency, now).await.map_err(internal)?;
        let completion = match completion {
            Ok(completion) => completion,
            Err(error) => {
                // What failed is counted in the statistics and nowhere else: no conversation, no quota.
                write.commit().await.map_err(internal)?;
                tracing::warn!(%error, agent = %agent.id, "the model provider failed");
                return Err(LlmError::because("The provider of the AI model failed. Try again later.").into());
            }
        };
        if !count_query(&mut write, agent.organization_id, &month, quota).await.map_err(internal)? {
            return Err(quota_exceeded(quota, quota, reset_ms).into());
        }
        let shown = if agent.show_sources { sources } else { Vec::new() };
        let exchange = Exchange {
            question: &query.message,
            answer: &completion.text,
            sources: &shown,
            asked_ms: now,
            answered_ms: self.0.clock.now_ms(),
        };
        let (conversation_id, message_id) =
            keep_exchange(&mut write, agent.id, query.conversation_id, &exchange).await?;
        write.commit().await.map_err(internal)?;
        Ok(QueryAgentResponse::Ok(QueryResponse {
            response: completion.text,
            conversation_id,
            message_id,
            sources: shown,
            latency,
            model: agent.model,
            retrieved_chunks: i64::try_from(retrieved).unwrap_or(i64::MAX),
            metadata: QueryMetadata {
                tokens_used: i64::try_from(completion.tokens).unwrap_or(i64::MAX),
                retrieval_time,
                generation_time,
            },
        }))
    }

    /// The conversation that went on last comes first.
    async fn list_conversations(
        &self,
        caller: &Principal,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, ListConversationsError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        agents::find::<ListConversationsError>(&mut connection, caller.user()?, request.agent_id).await?;
        let rows = sqlx::query(
            "SELECT id, agent_id, title, message_count, created_ms, updated_ms FROM conversations \
             WHERE agent_id = $1 ORDER BY updated_ms DESC, id",
        )
        .bind(request.agent_id.to_string())
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let conversations = rows.iter().map(summary_from_row).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListConversationsResponse::Ok(conversations))
    }

    async fn get_conversation(
        &self,
        caller: &Principal,
        request: GetConversationRequest,
    ) -> Result<GetConversationResponse, GetConversationError> {
        // One snapshot for all reads, or a message that comes in between would make the count wrong.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        agents::find::<GetConversationError>(&mut snapshot, caller.user()?, request.agent_id).await?;
        let row = sqlx::query(
            "SELECT id, agent_id, title, message_count, created_ms, updated_ms FROM conversations \
             WHERE id = $1 AND agent_id = $2",
        )
        .bind(request.conversation_id.to_string())
        .bind(request.agent_id.to_string())
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(internal)?
        .ok_or_else(no_conversation)?;
        let rows = sqlx::query(
            "SELECT id, role, content, sources, created_ms FROM messages WHERE conversation_id = $1 ORDER BY position",
        )
        .bind(request.conversation_id.to_string())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let summary = summary_from_row(&row).map_err(internal)?;
        Ok(GetConversationResponse::Ok(Conversation {
            id: summary.id,
            agent_id: summary.agent_id,
            title: summary.title,
            message_count: summary.message_count,
            created_at: summary.created_at,
            updated_at: summary.updated_at,
            messages: rows.iter().map(message_from_row).collect::<Result<_, _>>().map_err(internal)?,
        }))
    }
}

fn no_conversation() -> ConversationNotFound {
    ConversationNotFound::because("This agent has no such conversation.")
}

/// While sources are processed the wait can be told; that of an agent that is switched off cannot.
fn not_ready(agent: &Agent) -> AgentNotReady {
    let (message, retry_after) = match agent.is_active {
        true => {
            ("The agent is still processing its data sources. Try again in a few moments.", Some(NOT_READY_RETRY_S))
        }
        false => ("The agent is switched off.", None),
    };
    AgentNotReady::new(message, AgentNotReadyDetails { agent_id: agent.id, retry_after })
}

fn quota_exceeded(limit: i64, used: i64, reset_ms: i64) -> QuotaExceeded {
    let details = QuotaDetails {
        limit,
        used: used.min(limit),
        window: QuotaDetailsWindow::Month,
        reset_at: to_datetime(reset_ms),
    };
    QuotaExceeded::new("The month's queries are used up. Upgrade the plan, or wait for the next month.", details)
}

fn question(agent: &Agent, query: &QueryRequest, history: Vec<Turn>, sources: &[Source]) -> Question {
    Question {
        model: agent.model.clone(),
        temperature: agent.temperature,
        max_tokens: u32::try_from(agent.max_tokens).unwrap_or(u32::MAX),
        instructions: agent.system_prompt.clone(),
        history,
        message: query.message.clone(),
        passages: sources.iter().map(|s| Passage { title: s.title.clone(), text: s.content.clone() }).collect(),
        general_knowledge: agent.allow_general_knowledge,
        ..Question::default()
    }
}

impl Service {
    async fn asked(&self, caller: &Principal, agent: Uuid, month: &str) -> Result<Asked, QueryAgentError> {
        let user = match caller {
            Principal::User { id, .. } => Some(*id),
            // A key opens its own agent only; of the others it does not even learn that they exist.
            Principal::AgentKey { agent: own, .. } if *own == agent => None,
            Principal::AgentKey { .. } => return Err(no_agent(agent).into()),
        };
        let row = sqlx::query(select_agent!(
            ", (SELECT COUNT(*) FROM agent_data_sources AS l JOIN data_sources AS s ON s.id = l.data_source_id \
                WHERE l.agent_id = a.id AND s.status IN ('pending', 'processing')), \
             o.monthly_queries, COALESCE(u.used, 0), m.role \
             FROM agents AS a JOIN organizations AS o ON o.id = a.organization_id \
             LEFT JOIN monthly_usage AS u ON u.organization_id = o.id AND u.month = $1 \
             LEFT JOIN memberships AS m ON m.organization_id = o.id AND m.user_id = $2 WHERE a.id = $3"
        ))
        .bind(month)
        .bind(user.map(|user| user.to_string()).unwrap_or_default())
        .bind(agent.to_string())
        .fetch_optional(self.0.store.reader())
        .await
        .map_err(internal)?
        .ok_or_else(|| no_agent(agent))?;
        if user.is_some() {
            let role: Option<&str> = column(&row, AGENT_COLUMNS + 3).map_err(internal)?;
            let role = role.map(Role::from_stored).transpose().map_err(internal)?.ok_or_else(|| no_agent(agent))?;
            // A question makes a conversation and spends the organization's quota.
            if !role.may_change() {
                return Err(viewer().into());
            }
        }
        let asked = || {
            Ok::<_, StoreError>(Asked {
                agent: agents::from_row(&row)?,
                unready_sources: column(&row, AGENT_COLUMNS)?,
                quota: column(&row, AGENT_COLUMNS + 1)?,
                used: column(&row, AGENT_COLUMNS + 2)?,
            })
        };
        Ok(asked().map_err(internal)?)
    }

    /// The last messages of the conversation that goes on, oldest first.
    async fn history(&self, agent: Uuid, conversation: Option<Uuid>) -> Result<Vec<Turn>, QueryAgentError> {
        let Some(conversation) = conversation else { return Ok(Vec::new()) };
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        sqlx::query("SELECT id FROM conversations WHERE id = $1 AND agent_id = $2")
            .bind(conversation.to_string())
            .bind(agent.to_string())
            .fetch_optional(&mut *connection)
            .await
            .map_err(internal)?
            .ok_or_else(no_conversation)?;
        let rows = sqlx::query(
            "SELECT role, content FROM messages WHERE conversation_id = $1 ORDER BY position DESC LIMIT $2",
        )
        .bind(conversation.to_string())
        .bind(HISTORY)
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let turn = |row: &AnyRow| {
            let speaker = match word(column(row, 0)?)? {
                MessageRole::User => Speaker::User,
                MessageRole::Assistant => Speaker::Assistant,
            };
            Ok::<_, StoreError>(Turn { speaker, text: column(row, 1)? })
        };
        Ok(rows.iter().rev().map(turn).collect::<Result<_, _>>().map_err(internal)?)
    }

    /// The sources to search: the named ones, all of which must be connected to the agent, or every connected one.
    async fn searched(&self, agent: Uuid, named: Option<&[Uuid]>) -> Result<Vec<String>, QueryAgentError> {
        let rows =
            sqlx::query("SELECT data_source_id FROM agent_data_sources WHERE agent_id = $1 ORDER BY data_source_id")
                .bind(agent.to_string())
                .fetch_all(self.0.store.reader())
                .await
                .map_err(internal)?;
        let connected = rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<String>, _>>().map_err(internal)?;
        let Some(named) = named else { return Ok(connected) };
        let named: Vec<String> = named.iter().map(Uuid::to_string).collect();
        match named.iter().find(|source| !connected.contains(source)) {
            None => Ok(named),
            Some(source) => Err(DataSourceNotFound::because(format!("The agent has no data source {source}.")).into()),
        }
    }

    /// What is shown of the pieces that were found, in their order.
    async fn sources(&self, hits: &[Hit], display_mode: SourceDisplayMode) -> Result<Vec<Source>, StoreError> {
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT c.id, c.document_id, c.content, d.title, d.url, s.name, s.source_type FROM chunks AS c \
             JOIN documents AS d ON d.id = c.document_id JOIN data_sources AS s ON s.id = c.data_source_id \
             WHERE c.id IN ({})",
            placeholders(1, hits.len())
        );
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql));
        for hit in hits {
            statement = statement.bind(hit.item.as_str());
        }
        let rows = statement.fetch_all(self.0.store.reader()).await?;
        let by_id =
            rows.iter().map(|row| Ok((column::<&str>(row, 0)?, row))).collect::<Result<HashMap<_, _>, StoreError>>()?;
        // A piece that was deleted since it was found is no source any more.
        let found = hits.iter().filter_map(|hit| by_id.get(hit.item.as_str()).map(|row| (hit, row)));
        found
            .zip(1..)
            .map(|((hit, row), rank)| {
                Ok(Source {
                    rank,
                    document_id: column(row, 1)?,
                    chunk_id: hit.item.clone(),
                    title: column(row, 3)?,
                    data_source_name: column(row, 5)?,
                    data_source_type: word(column(row, 6)?)?,
                    source_url: column(row, 4)?,
                    content: column(row, 2)?,
                    score: (hit.score * 10_000.0).round() / 10_000.0,
                    display_mode,
                })
            })
            .collect()
    }
}

fn summary_from_row(row: &AnyRow) -> Result<ConversationSummary, StoreError> {
    Ok(ConversationSummary {
        id: id(column(row, 0)?)?,
        agent_id: id(column(row, 1)?)?,
        title: column(row, 2)?,
        message_count: column(row, 3)?,
        created_at: to_datetime(column(row, 4)?),
        updated_at: to_datetime(column(row, 5)?),
    })
}

fn message_from_row(row: &AnyRow) -> Result<Message, StoreError> {
    let sources: Option<&str> = column(row, 3)?;
    Ok(Message {
        id: id(column(row, 0)?)?,
        role: word(column(row, 1)?)?,
        content: column(row, 2)?,
        sources: sources
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| StoreError::Corrupt(format!("sources of a message: {error}")))?,
        created_at: to_datetime(column(row, 4)?),
    })
}

async fn log_query(
    write: &mut Write,
    agent: Uuid,
    message: &str,
    succeeded: bool,
    latency_ms: i64,
    now: i64,
) -> Result<(), StoreError> {
    // An agent that was deleted while it answered has no statistics.
    sqlx::query(
        "INSERT INTO queries (id, agent_id, message, succeeded, latency_ms, created_ms) \
         SELECT $1, a.id, $3, $4, $5, $6 FROM agents AS a WHERE a.id = $2",
    )
    .bind(Uuid::new_v4().to_string())
    .bind(agent.to_string())
    .bind(message.trim())
    .bind(i64::from(succeeded))
    .bind(latency_ms)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Counts a query that was answered; `false` when another server has used up the quota meanwhile.
async fn count_query(write: &mut Write, organization: Uuid, month: &str, quota: i64) -> Result<bool, StoreError> {
    let counted = sqlx::query(
        "INSERT INTO monthly_usage (organization_id, month, used) VALUES ($1, $2, 1) \
         ON CONFLICT (organization_id, month) DO UPDATE SET used = monthly_usage.used + 1 WHERE monthly_usage.used < $3",
    )
    .bind(organization.to_string())
    .bind(month)
    .bind(quota)
    .execute(write.run())
    .await?;
    Ok(counted.rows_affected() > 0)
}

/// A question with its answer, to be kept.
struct Exchange<'a> {
    question: &'a str,
    answer: &'a str,
    sources: &'a [Source],
    asked_ms: i64,
    answered_ms: i64,
}

/// Writes an exchange into its conversation, a new one if there is none yet. Gives the conversation's id and the answer's.
async fn keep_exchange(
    write: &mut Write,
    agent: Uuid,
    conversation: Option<Uuid>,
    exchange: &Exchange<'_>,
) -> Result<(Uuid, Uuid), QueryAgentError> {
    let conversation = match conversation {
        Some(conversation) => conversation,
        None => {
            let conversation = Uuid::new_v4();
            let inserted = sqlx::query(
                "INSERT INTO conversations (id, agent_id, title, message_count, created_ms, updated_ms) \
                 SELECT $1, a.id, $3, 0, $4, $5 FROM agents AS a WHERE a.id = $2",
            )
            .bind(conversation.to_string())
            .bind(agent.to_string())
            .bind(title(exchange.question))
            .bind(exchange.asked_ms)
            .bind(exchange.asked_ms)
            .execute(write.run())
            .await
            .map_err(internal)?;
            // The agent may have been deleted while it answered.
            if inserted.rows_affected() == 0 {
                return Err(no_agent(agent).into());
            }
            conversation
        }
    };
    let row = sqlx::query("SELECT message_count FROM conversations WHERE id = $1")
        .bind(conversation.to_string())
        .fetch_optional(write.run())
        .await
        .map_err(internal)?
        .ok_or_else(no_conversation)?;
    let position: i64 = column(&row, 0).map_err(internal)?;
    let sources = serde_json::to_string(exchange.sources).map_err(internal)?;
    let answer_id = Uuid::new_v4();
    let messages = [
        (Uuid::new_v4(), position, MessageRole::User, exchange.question, None, exchange.asked_ms),
        (answer_id, position + 1, MessageRole::Assistant, exchange.answer, Some(sources), exchange.answered_ms),
    ];
    for (message, position, role, content, sources, at_ms) in messages {
        sqlx::query(
            "INSERT INTO messages (id, conversation_id, position, role, content, sources, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(message.to_string())
        .bind(conversation.to_string())
        .bind(position)
        .bind(role.as_str())
        .bind(content)
        .bind(sources)
        .bind(at_ms)
        .execute(write.run())
        .await
        .map_err(internal)?;
    }
    sqlx::query("UPDATE conversations SET message_count = $1, updated_ms = $2 WHERE id = $3")
        .bind(position + 2)
        .bind(exchange.answered_ms)
        .bind(conversation.to_string())
        .execute(write.run())
        .await
        .map_err(internal)?;
    Ok((conversation, answer_id))
}

/// The first line of a message, cut to a length that fits a list.
fn title(message: &str) -> Option<String> {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty())?;
    if line.chars().count() <= TITLE_CHARS {
        return Some(line.to_owned());
    }
    let cut: String = line.chars().take(TITLE_CHARS - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

/// Whole milliseconds, as the wire has them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_leaves_room_for_queries_in_progress_and_gets_it_back() {
        let in_progress = InProgress::default();
        let organization = Uuid::new_v4();
        let first = in_progress.reserve(organization, 3, 5);
        let second = in_progress.reserve(organization, 3, 5);
        assert!(first.is_some() && second.is_some());
        assert!(in_progress.reserve(organization, 3, 5).is_none());
        assert!(in_progress.reserve(Uuid::new_v4(), 3, 5).is_some());
        drop(first);
        assert!(in_progress.reserve(organization, 3, 5).is_some());
        assert!(in_progress.reserve(organization, 0, 0).is_none());
    }

    #[test]
    fn titles_are_short_and_never_empty() {
        assert_eq!(title("\n  What is it?  \nmore").as_deref(), Some("What is it?"));
        assert_eq!(title(" \n\t"), None);
        let long = title(&"é".repeat(200));
        assert_eq!(long.map(|title| title.chars().count()), Some(TITLE_CHARS));
    }
}
