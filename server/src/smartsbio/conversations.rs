//! Conversations — documentation section "Conversations", and how queries write them.

use contract_smartsbio::server::{
    Conversations, GetConversationError, GetConversationRequest, GetConversationResponse, ListConversationsError,
    ListConversationsRequest, ListConversationsResponse,
};
use contract_smartsbio::types::{Conversation, ConversationList, ConversationSummary, Message, MessageRole};
use sqlx::any::AnyRow;

use super::Service;
use super::access::{Principal, internal, new_id, no_such, word};
use crate::platform::clock::to_datetime;
use crate::platform::model::{Speaker, Turn};
use crate::platform::store::{StoreError, Write, column};

/// Messages of a conversation that the agent is shown: five questions with their answers.
const HISTORY: i64 = 10;

/// Characters of the first prompt that become a conversation's title.
const TITLE_CHARS: usize = 80;

impl Conversations for Service {
    type Principal = Principal;

    async fn list_conversations(
        &self,
        caller: &Principal,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, ListConversationsError> {
        self.enter::<ListConversationsError>(caller.key()?, &request.workspace_id).await?;
        // One snapshot for cursor and page, so that activity in between does not show a conversation twice.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let (before_ms, before_id) = match request.before {
            None => (i64::MAX, String::new()),
            Some(id) => {
                let row = sqlx::query("SELECT updated_ms FROM conversations WHERE id = $1 AND workspace_id = $2")
                    .bind(&id)
                    .bind(&request.workspace_id)
                    .fetch_optional(&mut *snapshot)
                    .await
                    .map_err(internal)?
                    .ok_or_else(|| no_such("conversation", &id))?;
                (column(&row, 0).map_err(internal)?, id)
            }
        };
        let limit = i64::from(request.limit);
        let mut rows = sqlx::query(
            "SELECT id, title, message_count, created_ms, updated_ms FROM conversations WHERE workspace_id = $1 \
             AND (updated_ms < $2 OR (updated_ms = $2 AND id < $3)) ORDER BY updated_ms DESC, id DESC LIMIT $4",
        )
        .bind(&request.workspace_id)
        .bind(before_ms)
        .bind(before_id)
        .bind(limit + 1)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > most;
        rows.truncate(most);
        let conversations = rows.iter().map(summary).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListConversationsResponse::Ok(ConversationList { conversations, has_more }))
    }

    async fn get_conversation(
        &self,
        caller: &Principal,
        request: GetConversationRequest,
    ) -> Result<GetConversationResponse, GetConversationError> {
        self.enter::<GetConversationError>(caller.key()?, &request.workspace_id).await?;
        // One snapshot, so that the messages are as many as the conversation says.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let row = sqlx::query(
            "SELECT id, title, message_count, created_ms, updated_ms FROM conversations WHERE id = $1 AND workspace_id = $2",
        )
        .bind(&request.conversation_id)
        .bind(&request.workspace_id)
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(internal)?
        .ok_or_else(|| no_such("conversation", &request.conversation_id))?;
        let rows = sqlx::query(
            "SELECT id, role, content, created_ms FROM messages WHERE conversation_id = $1 ORDER BY position",
        )
        .bind(&request.conversation_id)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let ConversationSummary { id, title, message_count, created_at, updated_at } =
            summary(&row).map_err(internal)?;
        Ok(GetConversationResponse::Ok(Conversation {
            id,
            title,
            message_count,
            created_at,
            updated_at,
            workspace_id: request.workspace_id,
            messages: rows.iter().map(message).collect::<Result<_, _>>().map_err(internal)?,
        }))
    }
}

impl Service {
    /// The last messages of a workspace's conversation, oldest first; `None` when there is no such conversation.
    pub(super) async fn history(&self, workspace: &str, conversation: &str) -> Result<Option<Vec<Turn>>, StoreError> {
        let mut connection = self.0.store.reader().acquire().await?;
        let there = sqlx::query("SELECT id FROM conversations WHERE id = $1 AND workspace_id = $2")
            .bind(conversation)
            .bind(workspace)
            .fetch_optional(&mut *connection)
            .await?;
        if there.is_none() {
            return Ok(None);
        }
        let rows = sqlx::query(
            "SELECT role, content FROM messages WHERE conversation_id = $1 ORDER BY position DESC LIMIT $2",
        )
        .bind(conversation)
        .bind(HISTORY)
        .fetch_all(&mut *connection)
        .await?;
        let turn = |row: &AnyRow| {
            let speaker = match word(column(row, 0)?)? {
                MessageRole::User => Speaker::User,
                MessageRole::Assistant => Speaker::Assistant,
            };
            Ok(Turn { speaker, text: column(row, 1)? })
        };
        rows.iter().rev().map(turn).collect::<Result<_, StoreError>>().map(Some)
    }
}

/// A question with its answer, to be kept.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) workspace: &'a str,
    pub(super) question: &'a str,
    pub(super) answer: &'a str,
    pub(super) asked_ms: i64,
    pub(super) answered_ms: i64,
}

/// Writes an exchange into its conversation, a new one if none is given. `None` when the given one is not there.
pub(super) async fn keep(
    write: &mut Write,
    conversation: Option<&str>,
    exchange: &Exchange<'_>,
) -> Result<Option<String>, StoreError> {
    let fresh = |prefix: &str| new_id(prefix).map_err(|error| StoreError::Corrupt(error.to_string()));
    let id = match conversation {
        Some(id) => id.to_owned(),
        None => {
            let id = fresh("conv_")?;
            sqlx::query(
                "INSERT INTO conversations (id, workspace_id, title, message_count, created_ms, updated_ms) \
                 VALUES ($1, $2, $3, 0, $4, $5)",
            )
            .bind(&id)
            .bind(exchange.workspace)
            .bind(title(exchange.question))
            .bind(exchange.asked_ms)
            .bind(exchange.asked_ms)
            .execute(write.run())
            .await?;
            id
        }
    };
    let row = sqlx::query("SELECT message_count FROM conversations WHERE id = $1 AND workspace_id = $2")
        .bind(&id)
        .bind(exchange.workspace)
        .fetch_optional(write.run())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let position: i64 = column(&row, 0)?;
    let messages = [
        (position, MessageRole::User, exchange.question, exchange.asked_ms),
        (position + 1, MessageRole::Assistant, exchange.answer, exchange.answered_ms),
    ];
    for (position, role, content, at_ms) in messages {
        sqlx::query(
            "INSERT INTO messages (id, conversation_id, position, role, content, created_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(fresh("msg_")?)
        .bind(&id)
        .bind(position)
        .bind(role.as_str())
        .bind(content)
        .bind(at_ms)
        .execute(write.run())
        .await?;
    }
    sqlx::query("UPDATE conversations SET message_count = $1, updated_ms = $2 WHERE id = $3")
        .bind(position + 2)
        .bind(exchange.answered_ms)
        .bind(&id)
        .execute(write.run())
        .await?;
    Ok(Some(id))
}

fn summary(row: &AnyRow) -> Result<ConversationSummary, StoreError> {
    Ok(ConversationSummary {
        id: column(row, 0)?,
        title: column(row, 1)?,
        message_count: column(row, 2)?,
        created_at: to_datetime(column(row, 3)?),
        updated_at: to_datetime(column(row, 4)?),
    })
}

fn message(row: &AnyRow) -> Result<Message, StoreError> {
    Ok(Message {
        id: column(row, 0)?,
        role: word(column(row, 1)?)?,
        content: column(row, 2)?,
        created_at: to_datetime(column(row, 3)?),
    })
}

/// The first line of a prompt that says anything, cut to a length that fits a list.
fn title(prompt: &str) -> String {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("Untitled");
    if line.chars().count() <= TITLE_CHARS {
        return line.to_owned();
    }
    let cut: String = line.chars().take(TITLE_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}
