//! Sessions and what is said in them, for both surfaces: a message is judged, the character replies, and all that it
//! changes is written in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};

use contract_foilengine::problems::{Forbidden, InternalServerError, NotFound, Unauthorized};
use contract_foilengine::types::{
    ChatResponse, HistoryMessage, HistoryMessageRole, InitSessionRequest, Machine, Outcome, PlayerGender, SessionInit,
};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use super::Service;
use super::access::{PersonaRow, find_persona, id, internal, model_failure, word};
use super::definition::{Completion, Completions, Definition};
use super::engine::{self, Standing, Step};
use super::personas::definition;
use super::pipeline::{Access, Scene, Steps};
use crate::platform::clock::to_datetime;
use crate::platform::model::{Question, Speaker, Turn};
use crate::platform::store::{StoreError, Write, column};

/// Messages that the model is shown as they were said. Older ones stand in the summary.
const SHOWN: i64 = 20;

/// A conversation is summed up when so many messages more than [`SHOWN`] were said since the last time: summing up at each
/// message would double the price of long conversations.
const SUMMARIZE_AFTER: i64 = 20;

/// What a conversation can fail with, whichever operation it is.
pub(super) trait Failure:
    From<Unauthorized> + From<Forbidden> + From<NotFound> + From<InternalServerError> + Send + 'static
{
}
impl<E> Failure for E where
    E: From<Unauthorized> + From<Forbidden> + From<NotFound> + From<InternalServerError> + Send + 'static
{
}

/// Whose conversation it is.
#[derive(Clone, Debug)]
pub(super) enum Surface {
    /// A game with a key of this account.
    Sdk(Uuid),
    /// This user on the web.
    Web(Uuid),
}

impl Surface {
    fn name(&self) -> &'static str {
        match self {
            Self::Sdk(_) => "sdk",
            Self::Web(_) => "web",
        }
    }

    /// Games tell their players apart by name alone.
    fn user(&self) -> String {
        match self {
            Self::Sdk(_) => String::new(),
            Self::Web(user) => user.to_string(),
        }
    }
}

/// One message at a time in each conversation: the second must be judged by what the first has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<StdMutex<HashMap<Uuid, Weak<Mutex<()>>>>>);

impl Turns {
    async fn take(&self, player: Uuid) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for are forgotten now and then, when there are many.
            if turns.len() > 10_000 {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            match turns.get(&player).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::new(Mutex::default());
                    turns.insert(player, Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}

/// A session as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) machine: Uuid,
    version: i64,
    player_name: String,
    player_gender: PlayerGender,
    pub(super) standing: Standing,
    summary: String,
    summarized: i64,
    message_count: i64,
}

macro_rules! select_session {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.machine_id, s.version, s.player_name, s.player_gender, s.state_key, s.score, s.outcome, \
             s.asked_back, s.summary, s.summarized, s.message_count FROM sessions_of_players AS s ",
            $rest
        )
    };
}

fn session_from(row: &AnyRow) -> Result<Session, StoreError> {
    Ok(Session {
        id: id(column(row, 0)?)?,
        machine: id(column(row, 1)?)?,
        version: column(row, 2)?,
        player_name: column(row, 3)?,
        player_gender: word(column(row, 4)?)?,
        standing: Standing {
            state: column(row, 5)?,
            score: column(row, 6)?,
            outcome: column::<Option<&str>>(row, 7)?.map(word).transpose()?,
            asked_back: column::<i64>(row, 8)? != 0,
        },
        summary: column(row, 9)?,
        summarized: column(row, 10)?,
        message_count: column(row, 11)?,
    })
}

/// A persona that the caller may meet.
pub(super) async fn reach<E: Failure>(
    connection: &mut AnyConnection,
    surface: &Surface,
    persona: Uuid,
) -> Result<PersonaRow, E> {
    let found = find_persona::<E>(connection, persona).await?;
    if let Surface::Sdk(account) = surface
        && found.owner != *account
    {
        return Err(Forbidden::because("This persona belongs to another account.").into());
    }
    if !found.persona.is_published || found.published.is_none() {
        return Err(Forbidden::because("This persona is not published.").into());
    }
    Ok(found)
}

/// The definition that players meet now.
pub(super) async fn published(connection: &mut AnyConnection, found: &PersonaRow) -> Result<Definition, StoreError> {
    definition(connection, found.persona.id, found.published.unwrap_or(found.draft)).await
}

/// The player of this name; none before its first session.
pub(super) async fn player(
    connection: &mut AnyConnection,
    surface: &Surface,
    persona: Uuid,
    name: &str,
) -> Result<Option<Uuid>, StoreError> {
    let row = sqlx::query(
        "SELECT id FROM players WHERE persona_id = $1 AND surface = $2 AND user_id = $3 AND user_session_id = $4",
    )
    .bind(persona.to_string())
    .bind(surface.name())
    .bind(surface.user())
    .bind(name)
    .fetch_optional(connection)
    .await?;
    row.map(|row| id(column(&row, 0)?)).transpose()
}

/// The player's session in a machine, or the one that was begun last.
pub(super) async fn session(
    connection: &mut AnyConnection,
    player: Uuid,
    machine: Option<Uuid>,
) -> Result<Option<Session>, StoreError> {
    let row = sqlx::query(select_session!(
        "WHERE s.player_id = $1 AND ($2 = '' OR s.machine_id = $2) ORDER BY s.begun DESC LIMIT 1"
    ))
    .bind(player.to_string())
    .bind(machine.map(|machine| machine.to_string()).unwrap_or_default())
    .fetch_optional(connection)
    .await?;
    row.map(|row| session_from(&row)).transpose()
}

/// What the player has ended.
pub(super) async fn completions(connection: &mut AnyConnection, player: Uuid) -> Result<Completions, StoreError> {
    let rows = sqlx::query("SELECT machine_id, outcome, score FROM completions WHERE player_id = $1")
        .bind(player.to_string())
        .fetch_all(connection)
        .await?;
    let completion = |row: &AnyRow| {
        Ok((id(column(row, 0)?)?, Completion { outcome: word(column(row, 1)?)?, score: column(row, 2)? }))
    };
    rows.iter().map(completion).collect()
}

async fn variables(
    connection: &mut AnyConnection,
    definition: &Definition,
    player: Option<Uuid>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let preset = definition.variables.iter().filter_map(|one| Some((one.key.clone(), one.value.clone().value()?)));
    let mut known: BTreeMap<String, String> = preset.collect();
    if let Some(player) = player {
        let rows = sqlx::query("SELECT key, value FROM variables WHERE player_id = $1")
            .bind(player.to_string())
            .fetch_all(connection)
            .await?;
        for row in &rows {
            known.insert(column(row, 0)?, column(row, 1)?);
        }
    }
    Ok(known)
}

/// Messages of a session from a position on, oldest first.
pub(super) async fn messages(
    connection: &mut AnyConnection,
    session: Uuid,
    from: i64,
) -> Result<Vec<HistoryMessage>, StoreError> {
    let rows = sqlx::query(
        "SELECT role, content, created_ms FROM messages WHERE session_id = $1 AND position >= $2 ORDER BY position",
    )
    .bind(session.to_string())
    .bind(from)
    .fetch_all(connection)
    .await?;
    let message = |row: &AnyRow| {
        Ok(HistoryMessage {
            role: word(column(row, 0)?)?,
            content: column(row, 1)?,
            created_at: to_datetime(column(row, 2)?),
        })
    };
    rows.iter().map(message).collect()
}

fn turns(messages: Vec<HistoryMessage>) -> Vec<Turn> {
    let turn = |message: HistoryMessage| Turn {
        speaker: match message.role {
            HistoryMessageRole::User => Speaker::User,
            HistoryMessageRole::Assistant => Speaker::Assistant,
        },
        text: message.content,
    };
    messages.into_iter().map(turn).collect()
}

/// A machine of a definition; a session may be of one that the definition once had.
fn machine_of<E: Failure>(definition: &Definition, machine: Uuid) -> Result<&Machine, E> {
    definition.machine(machine).ok_or_else(|| NotFound::because("There is no such machine.").into())
}

fn no_session<E: Failure>() -> E {
    NotFound::because("This player has no session.").into()
}

/// A message that was judged, with everything that is needed to finish it.
pub(super) struct Judgement {
    persona: Uuid,
    player: Uuid,
    session: Session,
    definition: Definition,
    variables: BTreeMap<String, String>,
    history: Vec<Turn>,
    message: String,
    steps: Steps,
    step: Step,
    begun_ms: i64,
    /// What the model is to say.
    pub(super) question: Question,
    _turn: OwnedMutexGuard<()>,
}

impl Judgement {
    fn scene<'a>(&'a self, machine: &'a Machine, history: &'a [Turn]) -> Scene<'a> {
        Scene {
            definition: &self.definition,
            machine,
            player_name: &self.session.player_name,
            player_gender: self.session.player_gender,
            variables: &self.variables,
            summary: &self.session.summary,
            history,
        }
    }
}

/// Everything that a message changes.
struct Changes<'a> {
    reply: &'a str,
    summary: Option<(String, i64)>,
    drawn: Vec<(String, String)>,
    /// The machine that the player goes on in, and the opening line there.
    next: Option<(&'a Machine, String)>,
}

impl Service {
    /// Begins a session, in place of the one that the player may have in the machine.
    pub(super) async fn begin<E: Failure>(
        &self,
        surface: Surface,
        persona: Uuid,
        machine: Option<Uuid>,
        request: InitSessionRequest,
        steps: &Steps,
    ) -> Result<SessionInit, E> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let found = reach::<E>(&mut connection, &surface, persona).await?;
        let definition = published(&mut connection, &found).await.map_err(internal)?;
        let machine = match machine {
            Some(machine) => machine_of::<E>(&definition, machine)?,
            None => definition.default_machine().ok_or_else(|| NotFound::because("There is no machine."))?,
        };
        let name = &request.user_session_id;
        let player = player(&mut connection, &surface, persona, name).await.map_err(internal)?;
        let ended = match player {
            Some(player) => completions(&mut connection, player).await.map_err(internal)?,
            None => Completions::new(),
        };
        if !definition.is_open(machine, &ended) {
            return Err(Forbidden::because("This machine is not open to the player yet.").into());
        }
        let variables = variables(&mut connection, &definition, player).await.map_err(internal)?;
        // Nothing is held while the model writes.
        drop(connection);
        let scene = Scene {
            definition: &definition,
            machine,
            player_name: &request.player_name,
            player_gender: request.player_gender,
            variables: &variables,
            summary: "",
            history: &[],
        };
        let opening = self.opening::<E>(&scene, &steps.replying).await?;

        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        // The persona may have been deleted or withdrawn while the model wrote.
        let still = reach::<E>(write.run(), &surface, persona).await?;
        let player = make_player(&mut write, &surface, persona, name).await.map_err(internal)?;
        let new = NewSession {
            persona,
            version: still.published.unwrap_or(still.draft),
            machine,
            player_name: &request.player_name,
            player_gender: request.player_gender,
            opening: &opening,
        };
        let session = insert_session(&mut write, player, &new, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(SessionInit {
            session_id: session,
            user_session_id: request.user_session_id,
            persona_name: definition.name.clone(),
            persona_description: definition.description.clone(),
            player_name: request.player_name,
            player_gender: request.player_gender,
            message: opening,
            machine_id: machine.id,
        })
    }

    async fn opening<E: Failure>(&self, scene: &Scene<'_>, access: &Access) -> Result<String, E> {
        let state = engine::initial(scene.machine).map(|state| state.state_key.as_str()).unwrap_or_default();
        let question = scene.line(access, state, "", false);
        let said = self.0.provider.answer(&question).await;
        Ok(said.map_err(|error| model_failure::<E>(&error))?.text)
    }

    /// Judges a message. The reply is not written yet, and nothing is stored.
    pub(super) async fn judge<E: Failure>(
        &self,
        surface: Surface,
        persona: Uuid,
        machine: Option<Uuid>,
        name: &str,
        message: String,
        steps: Steps,
    ) -> Result<Judgement, E> {
        let begun_ms = self.0.clock.now_ms();
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let found = reach::<E>(&mut connection, &surface, persona).await?;
        if let Some(machine) = machine {
            let definition = published(&mut connection, &found).await.map_err(internal)?;
            machine_of::<E>(&definition, machine)?;
        }
        let player = player(&mut connection, &surface, persona, name).await.map_err(internal)?;
        let player = player.ok_or_else(no_session::<E>)?;
        drop(connection);
        let turn = self.0.turns.take(player).await;
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let session = session(&mut connection, player, machine).await.map_err(internal)?.ok_or_else(no_session::<E>)?;
        let definition = definition(&mut connection, persona, session.version).await.map_err(internal)?;
        let variables = variables(&mut connection, &definition, Some(player)).await.map_err(internal)?;
        let history = messages(&mut connection, session.id, session.summarized).await.map_err(internal)?;
        let history = turns(history);
        // Nothing is held while the model thinks.
        drop(connection);
        let current = machine_of::<E>(&definition, session.machine)?;
        let scene = Scene {
            definition: &definition,
            machine: current,
            player_name: &session.player_name,
            player_gender: session.player_gender,
            variables: &variables,
            summary: &session.summary,
            history: &history,
        };
        let judged = match session.standing.outcome {
            Some(_) => engine::Judged::Nothing,
            None => {
                let candidates = engine::candidates(current, &session.standing.state);
                let judged = scene.judge(&*self.0.provider, &steps.judging, &candidates, &message).await;
                judged.map_err(|error| model_failure::<E>(&error))?
            }
        };
        let step = engine::advance(current, &session.standing, judged);
        let question = scene.line(&steps.replying, &step.to.state, &message, step.to.asked_back);
        Ok(Judgement {
            persona,
            player,
            definition,
            variables,
            history,
            message,
            steps,
            step,
            begun_ms,
            question,
            session,
            _turn: turn,
        })
    }

    /// Writes what a message and its reply change.
    pub(super) async fn conclude<E: Failure>(&self, judged: Judgement, reply: String) -> Result<ChatResponse, E> {
        let machine = machine_of::<E>(&judged.definition, judged.session.machine)?;
        let to = &judged.step.to;
        let mut history = judged.history.clone();
        history.push(Turn { speaker: Speaker::User, text: judged.message.clone() });
        history.push(Turn { speaker: Speaker::Assistant, text: reply.clone() });

        let unsummarized = i64::try_from(history.len()).unwrap_or(i64::MAX);
        let mut changes = Changes { reply: &reply, summary: None, drawn: Vec::new(), next: None };
        if unsummarized > SHOWN + SUMMARIZE_AFTER {
            let old = usize::try_from(unsummarized - SHOWN).unwrap_or(history.len());
            let scene = judged.scene(machine, &history[..old]);
            let summary = scene.sum_up(&*self.0.provider, &judged.steps.summing_up).await;
            let summary = summary.map_err(|error| model_failure::<E>(&error))?;
            changes.summary = Some((summary, judged.session.summarized + unsummarized - SHOWN));
        }
        let end = match (judged.session.standing.outcome, to.outcome) {
            (None, Some(outcome)) => Some(Completion { outcome, score: to.score }),
            _ => None,
        };
        if let Some(end) = end {
            let scene = judged.scene(machine, &history);
            for variable in &machine.output_variables {
                let drawn = scene.draw(&*self.0.provider, &judged.steps.judging, &variable.extraction_prompt).await;
                changes.drawn.push((variable.key.clone(), drawn.map_err(|error| model_failure::<E>(&error))?));
            }
            if let Some(next) = judged.definition.advance(machine, end) {
                let scene = judged.scene(next, &[]);
                changes.next = Some((next, self.opening::<E>(&scene, &judged.steps.replying).await?));
            }
        }
        let next_machine_id = changes.next.as_ref().map(|(next, _)| next.id);
        self.write_turn::<E>(&judged, &changes, end).await?;
        Ok(ChatResponse {
            message: reply,
            current_state: to.state.clone(),
            score: to.score,
            outcome: to.outcome,
            decision: judged.step.decision,
            follow_up: to.asked_back,
            machine_id: machine.id,
            next_machine_id,
        })
    }

    async fn write_turn<E: Failure>(
        &self,
        judged: &Judgement,
        changes: &Changes<'_>,
        end: Option<Completion>,
    ) -> Result<(), E> {
        let (session, to, now) = (&judged.session, &judged.step.to, self.0.clock.now_ms());
        let (summary, summarized) = changes.summary.clone().unwrap_or((session.summary.clone(), session.summarized));
        let mut write = self.0.store.write().await.map_err(internal)?;
        // The count of messages is the session's version: whoever has written meanwhile, on another server, has raised it.
        let updated = sqlx::query(
            "UPDATE sessions_of_players SET state_key = $2, score = $3, outcome = $4, asked_back = $5, summary = $6, \
             summarized = $7, message_count = message_count + 2, updated_ms = $8 WHERE id = $1 AND message_count = $9",
        )
        .bind(session.id.to_string())
        .bind(&to.state)
        .bind(to.score)
        .bind(to.outcome.map(|outcome: Outcome| outcome.as_str()))
        .bind(i64::from(to.asked_back))
        .bind(summary)
        .bind(summarized)
        .bind(now)
        .bind(session.message_count)
        .execute(write.run())
        .await
        .map_err(internal)?;
        if updated.rows_affected() == 0 {
            // Reset or begun anew while the model wrote: what was said belongs to a session that is no more.
            return Err(no_session());
        }
        let position = session.message_count;
        let said = (HistoryMessageRole::User, judged.message.as_str(), judged.begun_ms);
        insert_message(&mut write, session.id, position, said).await.map_err(internal)?;
        let replied = (HistoryMessageRole::Assistant, changes.reply, now);
        insert_message(&mut write, session.id, position + 1, replied).await.map_err(internal)?;
        if let Some(end) = end {
            complete(&mut write, judged.player, session.machine, end, now).await.map_err(internal)?;
        }
        for (key, value) in &changes.drawn {
            sqlx::query(
                "INSERT INTO variables (player_id, key, value) VALUES ($1, $2, $3) \
                 ON CONFLICT (player_id, key) DO UPDATE SET value = excluded.value",
            )
            .bind(judged.player.to_string())
            .bind(key)
            .bind(value)
            .execute(write.run())
            .await
            .map_err(internal)?;
        }
        if let Some((machine, opening)) = &changes.next {
            let new = NewSession {
                persona: judged.persona,
                version: session.version,
                machine,
                player_name: &session.player_name,
                player_gender: session.player_gender,
                opening,
            };
            insert_session(&mut write, judged.player, &new, now).await.map_err(internal)?;
        }
        write.commit().await.map_err(internal)?;
        if let Some(decision) = judged.step.decision {
            tracing::debug!(session = %session.id, decision = decision.as_str(), "a transition fired");
        }
        Ok(())
    }
}

struct NewSession<'a> {
    persona: Uuid,
    version: i64,
    machine: &'a Machine,
    player_name: &'a str,
    player_gender: PlayerGender,
    opening: &'a str,
}

async fn make_player(write: &mut Write, surface: &Surface, persona: Uuid, name: &str) -> Result<Uuid, StoreError> {
    sqlx::query(
        "INSERT INTO players (id, persona_id, surface, user_id, user_session_id) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (persona_id, surface, user_id, user_session_id) DO NOTHING",
    )
    .bind(Uuid::new_v4().to_string())
    .bind(persona.to_string())
    .bind(surface.name())
    .bind(surface.user())
    .bind(name)
    .execute(write.run())
    .await?;
    let made = player(write.run(), surface, persona, name).await?;
    made.ok_or_else(|| StoreError::Corrupt("a player that was made is not there".to_owned()))
}

async fn insert_session(write: &mut Write, player: Uuid, new: &NewSession<'_>, now: i64) -> Result<Uuid, StoreError> {
    let session = Uuid::new_v4();
    let row = sqlx::query("SELECT COALESCE(MAX(begun), 0) + 1 FROM sessions_of_players WHERE player_id = $1")
        .bind(player.to_string())
        .fetch_one(write.run())
        .await?;
    let begun: i64 = column(&row, 0)?;
    drop(row);
    sqlx::query("DELETE FROM sessions_of_players WHERE player_id = $1 AND machine_id = $2")
        .bind(player.to_string())
        .bind(new.machine.id.to_string())
        .execute(write.run())
        .await?;
    let initial = engine::initial(new.machine).map(|state| state.state_key.as_str()).unwrap_or_default();
    sqlx::query(
        "INSERT INTO sessions_of_players (id, player_id, machine_id, persona_id, version, begun, player_name, \
         player_gender, state_key, score, outcome, asked_back, summary, summarized, message_count, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0.0, NULL, 0, '', 0, 1, $10, $10)",
    )
    .bind(session.to_string())
    .bind(player.to_string())
    .bind(new.machine.id.to_string())
    .bind(new.persona.to_string())
    .bind(new.version)
    .bind(begun)
    .bind(new.player_name)
    .bind(new.player_gender.as_str())
    .bind(initial)
    .bind(now)
    .execute(write.run())
    .await?;
    insert_message(write, session, 0, (HistoryMessageRole::Assistant, new.opening, now)).await?;
    Ok(session)
}

async fn insert_message(
    write: &mut Write,
    session: Uuid,
    position: i64,
    (role, content, at_ms): (HistoryMessageRole, &str, i64),
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO messages (session_id, position, role, content, created_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(session.to_string())
        .bind(position)
        .bind(role.as_str())
        .bind(content)
        .bind(at_ms)
        .execute(write.run())
        .await?;
    Ok(())
}

async fn complete(write: &mut Write, player: Uuid, machine: Uuid, end: Completion, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO completions (player_id, machine_id, outcome, score, ended_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (player_id, machine_id) DO UPDATE SET outcome = excluded.outcome, score = excluded.score, \
         ended_ms = excluded.ended_ms",
    )
    .bind(player.to_string())
    .bind(machine.to_string())
    .bind(end.outcome.as_str())
    .bind(end.score)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Deletes a session with its history and with what the player reached in its machine; `false` if there is none.
pub(super) async fn forget(write: &mut Write, player: Uuid, machine: Option<Uuid>) -> Result<bool, StoreError> {
    let Some(session) = session(write.run(), player, machine).await? else { return Ok(false) };
    sqlx::query("DELETE FROM sessions_of_players WHERE id = $1")
        .bind(session.id.to_string())
        .execute(write.run())
        .await?;
    sqlx::query("DELETE FROM completions WHERE player_id = $1 AND machine_id = $2")
        .bind(player.to_string())
        .bind(session.machine.to_string())
        .execute(write.run())
        .await?;
    Ok(true)
}
