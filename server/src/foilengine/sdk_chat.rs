//! SDK Chat — documentation section "SDK Chat": conversations in games, with the game's own key for the language model.

use contract_foilengine::problems::{NotFound, Unauthorized};
use contract_foilengine::server::{
    GetHistoryError, GetHistoryRequest, GetHistoryResponse, GetSessionError, GetSessionRequest, GetSessionResponse,
    InitSessionError, InitSessionRequest, InitSessionResponse, ResetSessionError, ResetSessionRequest,
    ResetSessionResponse, SdkChat, SendMessageError, SendMessageRequest, SendMessageResponse, StreamMessageError,
    StreamMessageRequest, StreamMessageResponse, ValidateLlmKeyError, ValidateLlmKeyRequest, ValidateLlmKeyResponse,
};
use contract_foilengine::types::{
    ChatHistory, DoneEvent, ErrorEvent, ErrorEventError, LlmKeyStatus, MessageEvent, ResetResult, SessionStatus,
    TokenEvent,
};
use futures::StreamExt as _;
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use trueline_runtime::problem::Failures as _;
use trueline_runtime::sse::{Event, Events};
use uuid::Uuid;

use super::Service;
use super::access::{Principal, internal, model_failure};
use super::conversation::{Failure, Judgement, Surface, forget, messages, player, published, reach, session};
use super::pipeline::{DEFAULT_MODEL, steps};
use crate::platform::model::{ModelError, Purpose, Question};

/// Pieces of a reply that wait for a slow reader; beyond it the model has to wait too.
const WAITING_PIECES: usize = 64;

impl SdkChat for Service {
    type Principal = Principal;

    async fn init_session(
        &self,
        caller: &Principal,
        mut request: InitSessionRequest,
    ) -> Result<InitSessionResponse, InitSessionError> {
        let steps = steps!(caller, request);
        let (surface, persona) = (Surface::Sdk(caller.account()?), request.persona_id);
        let begun = self.begin::<InitSessionError>(surface, persona, request.machine_id, request.body, &steps).await?;
        Ok(InitSessionResponse::Ok(begun))
    }

    async fn send_message(
        &self,
        caller: &Principal,
        mut request: SendMessageRequest,
    ) -> Result<SendMessageResponse, SendMessageError> {
        let steps = steps!(caller, request);
        let (surface, persona, body) = (Surface::Sdk(caller.account()?), request.persona_id, request.body);
        let (machine, name) = (request.machine_id, body.user_session_id);
        let judged = self.judge::<SendMessageError>(surface, persona, machine, &name, body.message, steps).await?;
        let reply = self.0.provider.answer(&judged.question).await;
        let reply = reply.map_err(|error| model_failure::<SendMessageError>(&error))?.text;
        Ok(SendMessageResponse::Ok(self.conclude::<SendMessageError>(judged, reply).await?))
    }

    async fn stream_message(
        &self,
        caller: &Principal,
        mut request: StreamMessageRequest,
    ) -> Result<StreamMessageResponse, StreamMessageError> {
        let steps = steps!(caller, request);
        let (surface, persona, body) = (Surface::Sdk(caller.account()?), request.persona_id, request.body);
        let (machine, name) = (request.machine_id, body.user_session_id);
        let judged = self.judge::<StreamMessageError>(surface, persona, machine, &name, body.message, steps).await?;
        let (events, incoming) = mpsc::channel(WAITING_PIECES);
        let (begun, has_begun) = oneshot::channel();
        // On a task of its own: a message that was judged is finished and kept although its reader goes away.
        tokio::spawn(self.clone().speak(judged, begun, events));
        // What fails before the first piece is a plain failure.
        match has_begun.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(gone) => return Err(internal(gone).into()),
        }
        let stream = futures::stream::unfold(incoming, |mut incoming| async move {
            let event = incoming.recv().await?;
            Some((event, incoming))
        });
        Ok(StreamMessageResponse::Ok(Events::new(stream)))
    }

    async fn get_session(
        &self,
        caller: &Principal,
        request: GetSessionRequest,
    ) -> Result<GetSessionResponse, GetSessionError> {
        let surface = Surface::Sdk(caller.account()?);
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let asked = (request.persona_id, request.machine_id, request.user_session_id.as_str());
        let player = asked_player::<GetSessionError>(&mut snapshot, &surface, asked).await?;
        let found = match player {
            Some(player) => session(&mut snapshot, player, request.machine_id).await.map_err(internal)?,
            None => None,
        };
        snapshot.commit().await.map_err(internal)?;
        let standing = found.as_ref().map(|session| &session.standing);
        Ok(GetSessionResponse::Ok(SessionStatus {
            exists: found.is_some(),
            session_id: found.as_ref().map(|session| session.id),
            current_state: standing.map(|standing| standing.state.clone()),
            score: standing.map(|standing| standing.score),
            outcome: standing.and_then(|standing| standing.outcome),
            machine_id: found.as_ref().map(|session| session.machine),
        }))
    }

    async fn reset_session(
        &self,
        caller: &Principal,
        request: ResetSessionRequest,
    ) -> Result<ResetSessionResponse, ResetSessionError> {
        let surface = Surface::Sdk(caller.account()?);
        let mut write = self.0.store.write().await.map_err(internal)?;
        let asked = (request.persona_id, request.machine_id, request.user_session_id.as_str());
        let player = asked_player::<ResetSessionError>(write.run(), &surface, asked).await?;
        let gone = match player {
            Some(player) => forget(&mut write, player, request.machine_id).await.map_err(internal)?,
            None => false,
        };
        if !gone {
            return Err(no_session().into());
        }
        write.commit().await.map_err(internal)?;
        Ok(ResetSessionResponse::Ok(ResetResult { success: true, message: "The session was deleted.".to_owned() }))
    }

    async fn get_history(
        &self,
        caller: &Principal,
        request: GetHistoryRequest,
    ) -> Result<GetHistoryResponse, GetHistoryError> {
        let surface = Surface::Sdk(caller.account()?);
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let asked = (request.persona_id, request.machine_id, request.user_session_id.as_str());
        let player = asked_player::<GetHistoryError>(&mut snapshot, &surface, asked).await?.ok_or_else(no_session)?;
        let found = session(&mut snapshot, player, request.machine_id).await.map_err(internal)?;
        let found = found.ok_or_else(no_session)?;
        let messages = messages(&mut snapshot, found.id, 0).await.map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        Ok(GetHistoryResponse::Ok(ChatHistory { session_id: found.id, messages }))
    }

    async fn validate_llm_key(
        &self,
        caller: &Principal,
        request: ValidateLlmKeyRequest,
    ) -> Result<ValidateLlmKeyResponse, ValidateLlmKeyError> {
        let Principal::Game { llm_key, .. } = caller else {
            return Err(Unauthorized::because("Only an API key may do this.").into());
        };
        let model = request.x_llm_model.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        // The least that a provider can be asked: keys are checked with every question, and there is no other way that all
        // providers share.
        let question = Question {
            purpose: Purpose::Write,
            key: llm_key.clone(),
            model: model.clone(),
            max_tokens: 1,
            instructions: "Answer with one word.".to_owned(),
            message: "Hello".to_owned(),
            ..Question::default()
        };
        self.0.provider.answer(&question).await.map_err(|error| model_failure::<ValidateLlmKeyError>(&error))?;
        Ok(ValidateLlmKeyResponse::Ok(LlmKeyStatus { valid: true, model }))
    }
}

fn no_session() -> NotFound {
    NotFound::because("This player has no session.")
}

/// The player that is asked about, of a persona and a machine that exist.
async fn asked_player<E: Failure>(
    connection: &mut AnyConnection,
    surface: &Surface,
    (persona, machine, name): (Uuid, Option<Uuid>, &str),
) -> Result<Option<Uuid>, E> {
    let found = reach::<E>(connection, surface, persona).await?;
    if let Some(machine) = machine {
        let definition = published(connection, &found).await.map_err(internal)?;
        if definition.machine(machine).is_none() {
            return Err(NotFound::because("There is no such machine.").into());
        }
    }
    Ok(player(connection, surface, persona, name).await.map_err(internal)?)
}

type Begun = oneshot::Sender<Result<(), StreamMessageError>>;

impl Service {
    /// Says the reply piece by piece and finishes the message.
    async fn speak(self, judged: Judgement, begun: Begun, events: mpsc::Sender<Event<MessageEvent>>) {
        let mut begun = Some(begun);
        let mut reply = String::new();
        let mut failed: Option<ModelError> = None;
        {
            let mut pieces = self.0.provider.stream(&judged.question);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(text) => {
                        if let Some(begun) = begun.take() {
                            let _ = begun.send(Ok(()));
                        }
                        reply.push_str(&text);
                        // A reader that has gone away changes nothing.
                        let _ = events.send(named("token", TokenEvent { text })).await;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        let concluded = match failed {
            Some(error) => Err(model_failure::<StreamMessageError>(&error)),
            None => self.conclude::<StreamMessageError>(judged, reply).await,
        };
        match (begun, concluded) {
            (Some(begun), Err(error)) => drop(begun.send(Err(error))),
            (begun, Ok(response)) => {
                if let Some(begun) = begun {
                    let _ = begun.send(Ok(()));
                }
                let _ = events.send(named("done", DoneEvent { response })).await;
            }
            (None, Err(error)) => {
                let message = error.message().to_owned();
                let _ = events.send(named("error", ErrorEvent { error: ErrorEventError { message } })).await;
            }
        }
    }
}

fn named(name: &str, data: impl Into<MessageEvent>) -> Event<MessageEvent> {
    Event { event: Some(name.to_owned()), id: None, retry: None, data: data.into() }
}
