//! Conversations — documentation section "Conversations": the tutor, what was said, learning sessions, notes and search.

use std::time::Duration;

use contract_xentree::problems::{InternalServerError, NotFound};
use contract_xentree::server::{
    Conversations, CreateConversationError, CreateConversationRequest, CreateConversationResponse, CreateNoteError,
    CreateNoteRequest, CreateNoteResponse, DeleteConversationError, DeleteConversationRequest,
    DeleteConversationResponse, DeleteNoteError, DeleteNoteRequest, DeleteNoteResponse, EndConversationSessionError,
    EndConversationSessionRequest, EndConversationSessionResponse, GenerateAiResponseError, GenerateAiResponseRequest,
    GenerateAiResponseResponse, GetConversationMessagesError, GetConversationMessagesRequest,
    GetConversationMessagesResponse, GetSearchStatusError, GetSearchStatusRequest, GetSearchStatusResponse,
    GetSessionStatusError, GetSessionStatusRequest, GetSessionStatusResponse, ListAiProvidersError,
    ListAiProvidersRequest, ListAiProvidersResponse, ListConversationsError, ListConversationsRequest,
    ListConversationsResponse, ListNotesError, ListNotesRequest, ListNotesResponse, RebuildSearchIndexError,
    RebuildSearchIndexRequest, RebuildSearchIndexResponse, SearchUserContentError, SearchUserContentRequest,
    SearchUserContentResponse, StartConversationSessionError, StartConversationSessionRequest,
    StartConversationSessionResponse, UpdateNoteError, UpdateNoteRequest, UpdateNoteResponse,
    UpdateSessionActivityError, UpdateSessionActivityRequest, UpdateSessionActivityResponse,
};
use contract_xentree::types::{
    AiProvider, AiProviderId, ChatRequest, ChatResponse, ChatUsage, ConversationMessage, ConversationResponse,
    ConversationRole, CoreConversationSessionActivityResponse, CoreConversationSessionActivityResponseStatus,
    CoreConversationSessionEndResponse, CoreConversationSessionEndResponseStatus, CoreConversationSessionStartResponse,
    CoreConversationSessionStartResponseStatus, CoreConversationSessionStatusResponse, NoteResponse, SearchCollection,
    SimpleDetailResponse, SimpleMessageResponse,
};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use trueline_runtime::Patch;

use super::Service;
use super::access::{Principal, internal, new_id, not_found, page, word};
use super::content_index::{self, COLLECTIONS, REINDEX};
use super::progress::{self, Deed, Kind, MESSAGE_XP, NOTE_XP};
use super::wire::{nullable, seconds_between, shorten};
use crate::platform::clock::to_datetime;
use crate::platform::model::{Purpose, Question, Speaker, Turn, tokens};
use crate::platform::search;
use crate::platform::store::{StoreError, Write, column};

/// The models that `auto` chooses from, the first of which it takes.
const MODELS: [AiProviderId; 2] = [AiProviderId::Gpt5Mini, AiProviderId::Gpt5];

/// Turns of a conversation that a question comes with, the latest ones.
const HISTORY: i64 = 40;

/// Length of an answer in tokens at most.
const ANSWER_TOKENS: u32 = 2_048;

const INSTRUCTIONS: &str =
    "You are a patient tutor. Explain simply, give an example, and end with one small thing to try.";

/// The title of a conversation that got none; its first question replaces it.
const UNTITLED: &str = "New conversation";

/// Characters of a title that is made of a question.
const TITLE: usize = 80;

/// A session without any activity for so long has ended with its last activity.
const IDLE_MS: i64 = 15 * 60 * 1000;

const CONVERSATION: &str = "id, title, provider, message_count, created_ms, updated_ms";
const NOTE: &str = "id, title, content, conversation_id, tags, created_ms, updated_ms";

impl Conversations for Service {
    type Principal = Principal;

    async fn list_ai_providers(
        &self,
        _: &Principal,
        _: ListAiProvidersRequest,
    ) -> Result<ListAiProvidersResponse, ListAiProvidersError> {
        let models: Vec<String> = MODELS.iter().map(|model| model.as_str().to_owned()).collect();
        let auto = AiProvider {
            id: AiProviderId::Auto.as_str().to_owned(),
            name: "Automatic".to_owned(),
            models: models.clone(),
            is_available: true,
            is_default: true,
        };
        let others = models.into_iter().map(|model| AiProvider {
            name: model.replace("gpt-", "GPT-").replace("-mini", " mini"),
            models: vec![model.clone()],
            id: model,
            is_available: true,
            is_default: false,
        });
        Ok(ListAiProvidersResponse::Ok(std::iter::once(auto).chain(others).collect()))
    }

    async fn generate_ai_response(
        &self,
        caller: &Principal,
        request: GenerateAiResponseRequest,
    ) -> Result<GenerateAiResponseResponse, GenerateAiResponseError> {
        let user = &caller.user;
        let asked_ms = self.0.clock.now_ms();
        let conversation = request.body.conversation_id.clone().value();
        let (mut history, usual) = match &conversation {
            Some(conversation) => self.history::<GenerateAiResponseError>(user, conversation).await?,
            None => (Vec::new(), AiProviderId::Auto),
        };
        let provider = request.body.provider.unwrap_or(usual);
        let model = match provider {
            AiProviderId::Auto => MODELS[0],
            named => named,
        };
        let question = question(&request.body, model, &mut history);
        let completion = self.0.provider.answer(&question).await.map_err(internal)?;
        if let Some(conversation) = &conversation {
            let exchange = Exchange {
                question: &request.body.message,
                answer: &completion.text,
                provider,
                model,
                asked_ms,
                answered_ms: self.0.clock.now_ms(),
            };
            self.keep::<GenerateAiResponseError>(user, conversation, &exchange).await?;
        }
        let total = i64::try_from(completion.tokens).unwrap_or(i64::MAX);
        let answer = i64::try_from(tokens(&completion.text)).unwrap_or(i64::MAX).min(total);
        Ok(GenerateAiResponseResponse::Ok(ChatResponse {
            content: completion.text,
            provider: provider.as_str().to_owned(),
            model: model.as_str().to_owned(),
            usage: Some(ChatUsage { prompt_tokens: total - answer, completion_tokens: answer, total_tokens: total }),
        }))
    }

    async fn list_conversations(
        &self,
        caller: &Principal,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, ListConversationsError> {
        let (limit, offset) = page(request.page, request.limit);
        let sql = format!(
            "SELECT {CONVERSATION} FROM conversations WHERE user_id = $1 ORDER BY updated_ms DESC, id LIMIT $2 OFFSET $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(limit)
            .bind(offset)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let conversations = rows.iter().map(conversation_from_row).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListConversationsResponse::Ok(conversations))
    }

    async fn create_conversation(
        &self,
        caller: &Principal,
        request: CreateConversationRequest,
    ) -> Result<CreateConversationResponse, CreateConversationError> {
        let id = new_id("cnv").map_err(internal)?;
        let title = request.body.title.value().unwrap_or_else(|| UNTITLED.to_owned());
        let provider = request.body.provider.value().map_or(AiProviderId::Auto.as_str(), |provider| provider.as_str());
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        sqlx::query(
            "INSERT INTO conversations (id, user_id, title, provider, message_count, created_ms, updated_ms) \
             VALUES ($1, $2, $3, $4, 0, $5, $6)",
        )
        .bind(&id)
        .bind(&caller.user)
        .bind(&title)
        .bind(provider)
        .bind(now)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        content_index::put(&mut write, SearchCollection::Conversations, &caller.user, &id, &title)
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CreateConversationResponse::Created(ConversationResponse {
            id,
            title,
            provider: nullable(Some(provider.to_owned())),
            message_count: 0,
            created_at: to_datetime(now),
            updated_at: to_datetime(now),
        }))
    }

    async fn delete_conversation(
        &self,
        caller: &Principal,
        request: DeleteConversationRequest,
    ) -> Result<DeleteConversationResponse, DeleteConversationError> {
        let id = &request.conversation_id;
        let mut write = self.0.store.write().await.map_err(internal)?;
        own::<DeleteConversationError>(write.run(), &caller.user, id).await?;
        let rows = sqlx::query("SELECT id FROM messages WHERE conversation_id = $1")
            .bind(id)
            .fetch_all(write.run())
            .await
            .map_err(internal)?;
        let mut entries =
            rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<String>, _>>().map_err(internal)?;
        entries.push(id.clone());
        search::remove_items(&mut write, &entries).await.map_err(internal)?;
        sqlx::query("DELETE FROM conversations WHERE id = $1").bind(id).execute(write.run()).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeleteConversationResponse::Ok(SimpleDetailResponse { detail: "Conversation deleted".to_owned() }))
    }

    async fn get_conversation_messages(
        &self,
        caller: &Principal,
        request: GetConversationMessagesRequest,
    ) -> Result<GetConversationMessagesResponse, GetConversationMessagesError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        own::<GetConversationMessagesError>(&mut connection, &caller.user, &request.conversation_id).await?;
        let (limit, offset) = page(request.page, request.limit);
        let rows = sqlx::query(
            "SELECT id, conversation_id, role, content, provider, model, created_ms FROM messages \
             WHERE conversation_id = $1 ORDER BY position LIMIT $2 OFFSET $3",
        )
        .bind(&request.conversation_id)
        .bind(limit)
        .bind(offset)
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let messages = rows.iter().map(message_from_row).collect::<Result<_, _>>().map_err(internal)?;
        Ok(GetConversationMessagesResponse::Ok(messages))
    }

    async fn start_conversation_session(
        &self,
        caller: &Principal,
        request: StartConversationSessionRequest,
    ) -> Result<StartConversationSessionResponse, StartConversationSessionError> {
        let (user, conversation, now) = (&caller.user, request.conversation_id, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        own::<StartConversationSessionError>(write.run(), user, &conversation).await?;
        let session = match active(&mut write, user, &conversation, now).await.map_err(internal)? {
            Some(session) => session,
            None => {
                let id = new_id("ses").map_err(internal)?;
                start(&mut write, user, &conversation, id, now).await.map_err(internal)?
            }
        };
        write.commit().await.map_err(internal)?;
        Ok(StartConversationSessionResponse::Ok(CoreConversationSessionStartResponse {
            session_id: session.id,
            conversation_id: conversation,
            status: CoreConversationSessionStartResponseStatus::Active,
            started_at: to_datetime(session.started_ms),
        }))
    }

    async fn update_session_activity(
        &self,
        caller: &Principal,
        request: UpdateSessionActivityRequest,
    ) -> Result<UpdateSessionActivityResponse, UpdateSessionActivityError> {
        let (user, conversation, now) = (&caller.user, request.conversation_id, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        own::<UpdateSessionActivityError>(write.run(), user, &conversation).await?;
        let session = active(&mut write, user, &conversation, now).await.map_err(internal)?;
        let Some(session) = session else {
            // What has ended by itself was closed just now, and stays closed.
            write.commit().await.map_err(internal)?;
            return Err(no_session().into());
        };
        sqlx::query("UPDATE conversation_sessions SET last_activity_ms = $1 WHERE id = $2")
            .bind(now)
            .bind(&session.id)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateSessionActivityResponse::Ok(CoreConversationSessionActivityResponse {
            session_id: session.id,
            conversation_id: conversation,
            status: CoreConversationSessionActivityResponseStatus::Active,
            last_activity_at: to_datetime(now),
            duration_seconds: seconds_between(session.started_ms, now),
        }))
    }

    async fn end_conversation_session(
        &self,
        caller: &Principal,
        request: EndConversationSessionRequest,
    ) -> Result<EndConversationSessionResponse, EndConversationSessionError> {
        let (user, conversation, now) = (&caller.user, request.conversation_id, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        own::<EndConversationSessionError>(write.run(), user, &conversation).await?;
        let session = active(&mut write, user, &conversation, now).await.map_err(internal)?;
        let Some(session) = session else {
            write.commit().await.map_err(internal)?;
            return Err(no_session().into());
        };
        let xp = close(&mut write, user, &session, now, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(EndConversationSessionResponse::Ok(CoreConversationSessionEndResponse {
            session_id: session.id,
            conversation_id: conversation,
            status: CoreConversationSessionEndResponseStatus::Ended,
            started_at: to_datetime(session.started_ms),
            ended_at: to_datetime(now),
            duration_seconds: seconds_between(session.started_ms, now),
            xp_earned: Some(xp),
        }))
    }

    async fn get_session_status(
        &self,
        caller: &Principal,
        request: GetSessionStatusRequest,
    ) -> Result<GetSessionStatusResponse, GetSessionStatusError> {
        let conversation = request.conversation_id;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        own::<GetSessionStatusError>(&mut connection, &caller.user, &conversation).await?;
        let session = open(&mut connection, &conversation).await.map_err(internal)?;
        let session = session.filter(|session| !session.is_idle(self.0.clock.now_ms()));
        let last = session.as_ref().map(|session| session.last_activity_ms);
        Ok(GetSessionStatusResponse::Ok(CoreConversationSessionStatusResponse {
            conversation_id: conversation,
            is_active: session.is_some(),
            started_at: nullable(session.as_ref().map(|session| to_datetime(session.started_ms))),
            last_activity_at: nullable(last.map(to_datetime)),
            duration_seconds: session
                .as_ref()
                .map_or(0, |session| seconds_between(session.started_ms, session.last_activity_ms)),
            session_id: nullable(session.map(|session| session.id)),
        }))
    }

    async fn search_user_content(
        &self,
        caller: &Principal,
        request: SearchUserContentRequest,
    ) -> Result<SearchUserContentResponse, SearchUserContentError> {
        let limit = usize::try_from(request.limit).unwrap_or(1);
        Ok(SearchUserContentResponse::Ok(self.search_content(&caller.user, &request.q, limit).await.map_err(internal)?))
    }

    async fn get_search_status(
        &self,
        caller: &Principal,
        _: GetSearchStatusRequest,
    ) -> Result<GetSearchStatusResponse, GetSearchStatusError> {
        self.require_admin::<GetSearchStatusError>(caller).await?;
        Ok(GetSearchStatusResponse::Ok(self.index_status().await.map_err(internal)?))
    }

    async fn rebuild_search_index(
        &self,
        caller: &Principal,
        request: RebuildSearchIndexRequest,
    ) -> Result<RebuildSearchIndexResponse, RebuildSearchIndexError> {
        self.require_admin::<RebuildSearchIndexError>(caller).await?;
        let collections = request.body.collections.value().unwrap_or_default();
        let chosen = |collection: &SearchCollection| collections.is_empty() || collections.contains(collection);
        let mut write = self.0.store.write().await.map_err(internal)?;
        for collection in COLLECTIONS.iter().filter(|collection| chosen(collection)) {
            self.0.queue.add(&mut write, REINDEX, collection.as_str(), Duration::ZERO).await.map_err(internal)?;
        }
        write.commit().await.map_err(internal)?;
        self.0.queue.wake();
        let message = "Search index rebuild started".to_owned();
        Ok(RebuildSearchIndexResponse::Ok(SimpleMessageResponse { message }))
    }

    async fn list_notes(
        &self,
        caller: &Principal,
        request: ListNotesRequest,
    ) -> Result<ListNotesResponse, ListNotesError> {
        let (limit, offset) = page(request.page, request.limit);
        let sql =
            format!("SELECT {NOTE} FROM notes WHERE user_id = $1 ORDER BY updated_ms DESC, id LIMIT $2 OFFSET $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(limit)
            .bind(offset)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        Ok(ListNotesResponse::Ok(rows.iter().map(note_from_row).collect::<Result<_, _>>().map_err(internal)?))
    }

    async fn create_note(
        &self,
        caller: &Principal,
        request: CreateNoteRequest,
    ) -> Result<CreateNoteResponse, CreateNoteError> {
        let (user, now) = (&caller.user, self.0.clock.now_ms());
        let note = NoteResponse {
            id: new_id("note").map_err(internal)?,
            title: request.body.title,
            content: request.body.content,
            conversation_id: nullable(request.body.conversation_id.value()),
            tags: request.body.tags.unwrap_or_default(),
            created_at: to_datetime(now),
            updated_at: to_datetime(now),
        };
        let mut write = self.0.store.write().await.map_err(internal)?;
        if let Patch::Value(conversation) = &note.conversation_id {
            own::<CreateNoteError>(write.run(), user, conversation).await?;
        }
        sqlx::query(
            "INSERT INTO notes (id, user_id, title, content, conversation_id, tags, created_ms, updated_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&note.id)
        .bind(user)
        .bind(&note.title)
        .bind(&note.content)
        .bind(note.conversation_id.clone().value())
        .bind(serde_json::to_string(&note.tags).map_err(internal)?)
        .bind(now)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        index_note(&mut write, user, &note).await.map_err(internal)?;
        let deed = Deed { kind: Kind::Note, reference: &note.id, xp: NOTE_XP, quantity: 1 };
        progress::earn(&mut write, user, deed, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CreateNoteResponse::Created(note))
    }

    async fn update_note(
        &self,
        caller: &Principal,
        request: UpdateNoteRequest,
    ) -> Result<UpdateNoteResponse, UpdateNoteError> {
        let (user, now, change) = (&caller.user, self.0.clock.now_ms(), request.body);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let mut note = find_note::<UpdateNoteError>(write.run(), user, &request.note_id).await?;
        if let Patch::Value(conversation) = &change.conversation_id {
            own::<UpdateNoteError>(write.run(), user, conversation).await?;
        }
        note.title = change.title.unwrap_or(note.title);
        note.content = change.content.unwrap_or(note.content);
        note.tags = change.tags.unwrap_or(note.tags);
        if let Some(conversation) = change.conversation_id.into_option() {
            note.conversation_id = nullable(conversation);
        }
        note.updated_at = to_datetime(now);
        sqlx::query(
            "UPDATE notes SET title = $1, content = $2, conversation_id = $3, tags = $4, updated_ms = $5 WHERE id = $6",
        )
        .bind(&note.title)
        .bind(&note.content)
        .bind(note.conversation_id.clone().value())
        .bind(serde_json::to_string(&note.tags).map_err(internal)?)
        .bind(now)
        .bind(&note.id)
        .execute(write.run())
        .await
        .map_err(internal)?;
        index_note(&mut write, user, &note).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(UpdateNoteResponse::Ok(note))
    }

    async fn delete_note(
        &self,
        caller: &Principal,
        request: DeleteNoteRequest,
    ) -> Result<DeleteNoteResponse, DeleteNoteError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let note = find_note::<DeleteNoteError>(write.run(), &caller.user, &request.note_id).await?;
        search::remove_item(&mut write, &note.id).await.map_err(internal)?;
        sqlx::query("DELETE FROM notes WHERE id = $1").bind(&note.id).execute(write.run()).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(DeleteNoteResponse::Ok(SimpleDetailResponse { detail: "Note deleted".to_owned() }))
    }
}

fn no_session() -> NotFound {
    not_found("Active session not found")
}

/// Makes sure that a conversation is the user's own; of others' it does not even say that they exist.
pub(super) async fn own<E>(connection: &mut AnyConnection, user: &str, conversation: &str) -> Result<(), E>
where
    E: From<NotFound> + From<InternalServerError>,
{
    sqlx::query("SELECT id FROM conversations WHERE id = $1 AND user_id = $2")
        .bind(conversation)
        .bind(user)
        .fetch_optional(connection)
        .await
        .map_err(internal)?
        .ok_or_else(|| not_found("Conversation not found"))?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------- the tutor

/// A question with its answer, to be kept.
struct Exchange<'a> {
    question: &'a str,
    answer: &'a str,
    provider: AiProviderId,
    model: AiProviderId,
    asked_ms: i64,
    answered_ms: i64,
}

/// What the model is asked: the turns of the conversation, those of the request, and the message.
fn question(request: &ChatRequest, model: AiProviderId, history: &mut Vec<Turn>) -> Question {
    let mut instructions = INSTRUCTIONS.to_owned();
    for turn in request.conversation_history.iter().flatten() {
        let speaker = match turn.role {
            ConversationRole::User => Speaker::User,
            ConversationRole::Assistant => Speaker::Assistant,
            // A model is given its standing instructions in one piece.
            ConversationRole::System => {
                instructions.push('\n');
                instructions.push_str(&turn.content);
                continue;
            }
        };
        history.push(Turn { speaker, text: turn.content.clone() });
    }
    if let Patch::Value(language) = &request.user_language
        && is_language(language)
    {
        instructions.push_str(&format!("\nAnswer in the language with the BCP 47 tag {language}."));
    }
    Question {
        purpose: Purpose::Answer,
        key: None,
        model: model.as_str().to_owned(),
        temperature: 0.7,
        max_tokens: ANSWER_TOKENS,
        instructions,
        history: std::mem::take(history),
        message: request.message.clone(),
        passages: Vec::new(),
        general_knowledge: true,
    }
}

/// Whether a text has the form of a language tag (RFC 5646, section 2.1), so that it may stand in an instruction.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let subtag = |part: &str, shortest: usize| {
        (shortest..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    parts.next().is_some_and(|first| subtag(first, 2) && first.chars().all(|c| c.is_ascii_alphabetic()))
        && parts.all(|part| subtag(part, 1))
}

impl Service {
    /// The latest turns of a conversation of the user, oldest first, and who usually answers in it.
    async fn history<E>(&self, user: &str, conversation: &str) -> Result<(Vec<Turn>, AiProviderId), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let row = sqlx::query("SELECT provider FROM conversations WHERE id = $1 AND user_id = $2")
            .bind(conversation)
            .bind(user)
            .fetch_optional(&mut *connection)
            .await
            .map_err(internal)?
            .ok_or_else(|| not_found("Conversation not found"))?;
        let provider = column(&row, 0).and_then(word).map_err(internal)?;
        let rows = sqlx::query(
            "SELECT role, content FROM messages WHERE conversation_id = $1 ORDER BY position DESC LIMIT $2",
        )
        .bind(conversation)
        .bind(HISTORY)
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let turn = |row: &AnyRow| {
            let speaker = match word(column(row, 0)?)? {
                ConversationRole::Assistant => Speaker::Assistant,
                ConversationRole::User | ConversationRole::System => Speaker::User,
            };
            Ok::<_, StoreError>(Turn { speaker, text: column(row, 1)? })
        };
        Ok((rows.iter().rev().map(turn).collect::<Result<_, _>>().map_err(internal)?, provider))
    }

    /// Writes an exchange into its conversation and into the index.
    async fn keep<E>(&self, user: &str, conversation: &str, exchange: &Exchange<'_>) -> Result<(), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let mut write = self.0.store.write().await.map_err(internal)?;
        // It may have been deleted while the model answered.
        let row = sqlx::query("SELECT message_count, title FROM conversations WHERE id = $1 AND user_id = $2")
            .bind(conversation)
            .bind(user)
            .fetch_optional(write.run())
            .await
            .map_err(internal)?
            .ok_or_else(|| not_found("Conversation not found"))?;
        let (position, title): (i64, String) = (column(&row, 0).map_err(internal)?, column(&row, 1).map_err(internal)?);
        let (asked, answered) = (new_id("msg").map_err(internal)?, new_id("msg").map_err(internal)?);
        let provider = Some((exchange.provider.as_str(), exchange.model.as_str()));
        let messages = [
            (&asked, position, ConversationRole::User, exchange.question, None, exchange.asked_ms),
            (&answered, position + 1, ConversationRole::Assistant, exchange.answer, provider, exchange.answered_ms),
        ];
        for (id, position, role, content, provider, at_ms) in messages {
            sqlx::query(
                "INSERT INTO messages (id, conversation_id, position, role, content, provider, model, created_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(id)
            .bind(conversation)
            .bind(position)
            .bind(role.as_str())
            .bind(content)
            .bind(provider.map(|(provider, _)| provider))
            .bind(provider.map(|(_, model)| model))
            .bind(at_ms)
            .execute(write.run())
            .await
            .map_err(internal)?;
            content_index::put(&mut write, SearchCollection::Messages, user, id, content).await.map_err(internal)?;
        }
        let retitled = retitled(&title, position, exchange.question);
        if let Some(title) = &retitled {
            content_index::put(&mut write, SearchCollection::Conversations, user, conversation, title)
                .await
                .map_err(internal)?;
        }
        sqlx::query("UPDATE conversations SET message_count = $1, updated_ms = $2, title = $3 WHERE id = $4")
            .bind(position + 2)
            .bind(exchange.answered_ms)
            .bind(retitled.as_ref().unwrap_or(&title))
            .bind(conversation)
            .execute(write.run())
            .await
            .map_err(internal)?;
        let deed = Deed { kind: Kind::Message, reference: &asked, xp: MESSAGE_XP, quantity: 1 };
        progress::earn(&mut write, user, deed, exchange.answered_ms).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(())
    }
}

/// The title that a conversation without one gets from its first question.
fn retitled(title: &str, position: i64, question: &str) -> Option<String> {
    let line = question.lines().map(str::trim).find(|line| !line.is_empty())?;
    (position == 0 && title == UNTITLED).then(|| shorten(line, TITLE))
}

// ----------------------------------------------------------------------------------------------------------- sessions

/// A session that nobody has ended.
#[derive(Clone, Debug)]
struct Session {
    id: String,
    started_ms: i64,
    last_activity_ms: i64,
}

impl Session {
    /// Whether it has ended by itself.
    fn is_idle(&self, now: i64) -> bool {
        now - self.last_activity_ms >= IDLE_MS
    }
}

/// The session of a conversation that nobody has ended.
async fn open(connection: &mut AnyConnection, conversation: &str) -> Result<Option<Session>, StoreError> {
    let row = sqlx::query(
        "SELECT id, started_ms, last_activity_ms FROM conversation_sessions \
         WHERE conversation_id = $1 AND ended_ms IS NULL",
    )
    .bind(conversation)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Session { id: column(&row, 0)?, started_ms: column(&row, 1)?, last_activity_ms: column(&row, 2)? })
    })
    .transpose()
}

/// The session that is active; one that has ended by itself is closed on the way.
async fn active(write: &mut Write, user: &str, conversation: &str, now: i64) -> Result<Option<Session>, StoreError> {
    let Some(session) = open(write.run(), conversation).await? else { return Ok(None) };
    if !session.is_idle(now) {
        return Ok(Some(session));
    }
    close(write, user, &session, session.last_activity_ms, now).await?;
    Ok(None)
}

async fn start(write: &mut Write, user: &str, conversation: &str, id: String, now: i64) -> Result<Session, StoreError> {
    let session = Session { id, started_ms: now, last_activity_ms: now };
    sqlx::query(
        "INSERT INTO conversation_sessions (id, conversation_id, user_id, started_ms, last_activity_ms, ended_ms) \
         VALUES ($1, $2, $3, $4, $5, NULL)",
    )
    .bind(&session.id)
    .bind(conversation)
    .bind(user)
    .bind(now)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(session)
}

/// Ends a session at `ended_ms` and gives the XP that it earned.
async fn close(write: &mut Write, user: &str, session: &Session, ended_ms: i64, now: i64) -> Result<i64, StoreError> {
    sqlx::query("UPDATE conversation_sessions SET ended_ms = $1, last_activity_ms = $2 WHERE id = $3")
        .bind(ended_ms)
        .bind(ended_ms)
        .bind(&session.id)
        .execute(write.run())
        .await?;
    let minutes = progress::minutes(ended_ms - session.started_ms);
    let deed = Deed { kind: Kind::Minutes, reference: &session.id, xp: minutes, quantity: minutes };
    progress::earn(write, user, deed, now).await
}

// -------------------------------------------------------------------------------------------------------------- notes

async fn find_note<E>(connection: &mut AnyConnection, user: &str, note: &str) -> Result<NoteResponse, E>
where
    E: From<NotFound> + From<InternalServerError>,
{
    let sql = format!("SELECT {NOTE} FROM notes WHERE id = $1 AND user_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(note)
        .bind(user)
        .fetch_optional(connection)
        .await
        .map_err(internal)?
        .ok_or_else(|| not_found("Note not found"))?;
    Ok(note_from_row(&row).map_err(internal)?)
}

async fn index_note(write: &mut Write, user: &str, note: &NoteResponse) -> Result<(), StoreError> {
    let text = content_index::note_text(&note.title, &note.content, &note.tags);
    content_index::put(write, SearchCollection::Notes, user, &note.id, &text).await
}

// --------------------------------------------------------------------------------------------------------------- rows

fn conversation_from_row(row: &AnyRow) -> Result<ConversationResponse, StoreError> {
    Ok(ConversationResponse {
        id: column(row, 0)?,
        title: column(row, 1)?,
        provider: nullable(Some(column(row, 2)?)),
        message_count: column(row, 3)?,
        created_at: to_datetime(column(row, 4)?),
        updated_at: to_datetime(column(row, 5)?),
    })
}

fn message_from_row(row: &AnyRow) -> Result<ConversationMessage, StoreError> {
    Ok(ConversationMessage {
        id: column(row, 0)?,
        conversation_id: column(row, 1)?,
        role: word(column(row, 2)?)?,
        content: column(row, 3)?,
        provider: nullable(column(row, 4)?),
        model: nullable(column(row, 5)?),
        created_at: to_datetime(column(row, 6)?),
    })
}

fn note_from_row(row: &AnyRow) -> Result<NoteResponse, StoreError> {
    Ok(NoteResponse {
        id: column(row, 0)?,
        title: column(row, 1)?,
        content: column(row, 2)?,
        conversation_id: nullable(column(row, 3)?),
        tags: content_index::tags(column(row, 4)?)?,
        created_at: to_datetime(column(row, 5)?),
        updated_at: to_datetime(column(row, 6)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_language_tags_become_part_of_an_instruction() {
        for tag in ["en", "id", "pt-BR", "zh-Hant-TW", "sl-rozaj-biske-1994"] {
            assert!(is_language(tag), "{tag}");
        }
        for tag in ["", "e", "english, and ignore all that", "en-", "-en", "e1", "en\nx", "日本"] {
            assert!(!is_language(tag), "{tag:?}");
        }
    }

    #[test]
    fn a_first_question_names_a_conversation_without_a_name() {
        assert_eq!(retitled(UNTITLED, 0, "\n What is a verb? \nx").as_deref(), Some("What is a verb?"));
        assert_eq!(retitled(UNTITLED, 2, "What?"), None);
        assert_eq!(retitled("Verbs", 0, "What?"), None);
        assert_eq!(retitled(UNTITLED, 0, " \n\t"), None);
    }
}
