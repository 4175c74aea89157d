//! A small world to try the service on: users with tokens of the local issuer, personas that can be met, keys good and bad.
//! Seeding it again puts it back to its start. Tokens and keys are derived from the signing secret, so they are nobody
//! else's.

use std::collections::BTreeMap;
use std::time::Duration;

use contract_foilengine::types::PersonaSave;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::Service;
use super::access::{self, User};
use super::{api_keys, personas};
use crate::platform::clock::DAY_MS;
use crate::platform::issuer;
use crate::platform::model::LocalKeys;
use crate::platform::store::{StoreError, Write};
use crate::platform::tokens::{CredentialError, Secret, api_key_digest};

/// Long enough for a day of trying things out, and for harnesses whose clock runs ahead.
const TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Why the demonstration could not be set up.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Credentials could not be made.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The demonstration's own persona is not of the contract's form.
    #[error("the demonstration's persona cannot be read")]
    Persona(#[source] serde_json::Error),
    /// Somebody else's tokens are taken here.
    #[error("the demonstration needs the local issuer; remove auth.jwks-url")]
    NoIssuer,
}

/// Everything that a caller needs to know of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Demo {
    /// The users by their first names.
    pub users: BTreeMap<&'static str, DemoUser>,
    /// Keys of games, by their names.
    pub api_keys: BTreeMap<&'static str, DemoKey>,
    /// A key that the embedded model takes.
    pub llm_key: String,
    /// A key that it takes, with which it fails like a provider that is down.
    pub llm_outage_key: String,
    /// A name under which somebody has played on the web without signing in.
    pub visitor: String,
    /// An API key that was revoked.
    pub revoked_api_key: String,
    /// Ines's token of a month ago.
    pub expired_token: String,
}

/// A user.
#[derive(Clone, Debug, Serialize)]
pub struct DemoUser {
    /// The user's id.
    pub id: Uuid,
    /// A token, good for 30 days.
    pub token: String,
    /// A published persona of the user's.
    pub persona: Uuid,
    /// What the user is there for.
    pub purpose: &'static str,
}

/// A key of a game.
#[derive(Clone, Debug, Serialize)]
pub struct DemoKey {
    /// The key.
    pub key: String,
    /// The first name of the user that it belongs to.
    pub owner: &'static str,
    /// What it is there for.
    pub purpose: &'static str,
}

/// First name, family name, purpose.
const USERS: &[(&str, &str, &str)] = &[
    ("ines", "Falk", "principal"),
    ("noor", "Haddad", "a stranger to ines"),
    ("root", "Admin", "administrator"),
    ("rafe", "Lindqvist", "reserved for exhausting rate limits"),
    ("gina", "Moreau", "must be refused what only administrators may"),
];

/// Further keys of Ines with the same rights, so that a harness on a real clock does not wait for their limits.
const MORE_KEYS: [&str; 14] = [
    "ines-game-03",
    "ines-game-04",
    "ines-game-05",
    "ines-game-06",
    "ines-game-07",
    "ines-game-08",
    "ines-game-09",
    "ines-game-10",
    "ines-game-11",
    "ines-game-12",
    "ines-game-13",
    "ines-game-14",
    "ines-game-15",
    "ines-game-16",
];

/// Name, owner, purpose.
const KEYS: &[(&str, &str, &str)] = &[
    ("ines-game", "ines", "principal"),
    ("ines-second-game", "ines", "same rights as ines-game"),
    ("noor-game", "noor", "a stranger to ines"),
    ("rafe-game", "rafe", "reserved for exhausting rate limits"),
    ("rafe-second-game", "rafe", "reserved for exhausting rate limits"),
];

/// Sets the demonstration up, or puts what is there of it back to its start.
///
/// # Errors
/// [`SeedError`] when the store fails or tokens are issued by somebody else.
pub async fn seed(service: &Service) -> Result<Demo, SeedError> {
    let inner = &service.0;
    let issuer = service.issuer().ok_or(SeedError::NoIssuer)?;
    let now = inner.clock.now_ms();
    let llm_keys = LocalKeys::new(inner.secret.clone());
    let mut users = BTreeMap::new();
    let mut write = inner.store.write().await?;
    for (first, last, purpose) in USERS {
        let user = User {
            id: demo_id(&format!("user {first}")),
            email: format!("{first}@demo.example.com"),
            display_name: format!("{} {last}", capital(first)),
            is_admin: *first == "root",
        };
        let id = user.id.to_string();
        let issued =
            issuer::User { id: &id, email: &user.email, display_name: &user.display_name, is_admin: user.is_admin };
        let token = issuer.issue(&issued, now, TOKEN_LIFETIME)?;
        // Somebody may have changed it while trying the service; a fresh start is the point of seeding.
        sqlx::query("DELETE FROM users WHERE id = $1")
            .bind(&id)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        access::know(&mut write, &user, now).await?;
        let persona = demo_id(&format!("persona {first}"));
        let saved: PersonaSave = serde_json::from_value(gatekeeper()).map_err(SeedError::Persona)?;
        personas::save(&mut write, &user, persona, saved, now).await?;
        personas::publish(&mut write, persona, true, now).await?;
        users.insert(*first, DemoUser { id: user.id, token, persona, purpose });
    }
    let owner = |name: &str| users.get(name).map(|user| user.id).unwrap_or_default();
    let mut keys = BTreeMap::new();
    let more = MORE_KEYS.iter().map(|name| (name, &"ines", &"same rights as ines-game"));
    for (name, of, purpose) in KEYS.iter().map(|(name, of, purpose)| (name, of, purpose)).chain(more) {
        let key = seed_key(&mut write, &inner.secret, name, owner(of), now, None).await?;
        keys.insert(*name, DemoKey { key, owner: of, purpose });
    }
    let revoked_api_key = seed_key(&mut write, &inner.secret, "revoked", owner("ines"), now, Some(now)).await?;
    let visitor = "visitor-51f0".to_owned();
    let persona = users.get("noor").map(|user| user.persona).unwrap_or_default();
    seed_visitor(&mut write, persona, &visitor, now).await?;
    write.commit().await?;

    let ines = owner("ines").to_string();
    let ines = issuer::User { id: &ines, email: "ines@demo.example.com", display_name: "Ines Falk", is_admin: false };
    Ok(Demo {
        expired_token: issuer.issue(&ines, now - 60 * DAY_MS, TOKEN_LIFETIME)?,
        llm_key: llm_keys.key("demo").reveal().to_owned(),
        llm_outage_key: llm_keys.key(LocalKeys::OUTAGE).reveal().to_owned(),
        users,
        api_keys: keys,
        visitor,
        revoked_api_key,
    })
}

async fn seed_key(
    write: &mut Write,
    secret: &Secret,
    name: &str,
    owner: Uuid,
    now: i64,
    revoked_ms: Option<i64>,
) -> Result<String, StoreError> {
    let digest = Sha256::new()
        .chain_update(b"demo api key\0")
        .chain_update(secret.reveal().as_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("{}{hex}", api_keys::PREFIX);
    sqlx::query(
        "INSERT INTO api_keys (id, owner_id, name, digest, created_ms, revoked_ms) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, digest = excluded.digest, \
         revoked_ms = excluded.revoked_ms",
    )
    .bind(demo_id(&format!("key {name}")).to_string())
    .bind(owner.to_string())
    .bind(name)
    .bind(api_key_digest(&key))
    .bind(now)
    .bind(revoked_ms)
    .execute(write.run())
    .await?;
    Ok(key)
}

/// A conversation that somebody had before signing in.
async fn seed_visitor(write: &mut Write, persona: Uuid, name: &str, now: i64) -> Result<(), StoreError> {
    let player = demo_id("player of the visitor");
    sqlx::query(
        "INSERT INTO players (id, persona_id, surface, user_id, user_session_id) VALUES ($1, $2, 'web', '', $3) \
         ON CONFLICT (id) DO UPDATE SET user_id = ''",
    )
    .bind(player.to_string())
    .bind(persona.to_string())
    .bind(name)
    .execute(write.run())
    .await?;
    sqlx::query(
        "INSERT INTO sessions_of_players (id, player_id, machine_id, persona_id, version, begun, player_name, \
         player_gender, state_key, score, outcome, asked_back, summary, summarized, message_count, created_ms, updated_ms) \
         SELECT $1, $2, m.id, p.id, p.published, 1, 'Robin', 'female', 'suspicious', 0.0, NULL, 0, '', 0, 1, $3, $3 \
         FROM personas AS p JOIN machines AS m ON m.persona_id = p.id AND m.machine_key = 'north_gate' WHERE p.id = $4 \
         ON CONFLICT (player_id, machine_id) DO NOTHING",
    )
    .bind(demo_id("session of the visitor").to_string())
    .bind(player.to_string())
    .bind(now)
    .bind(persona.to_string())
    .execute(write.run())
    .await?;
    sqlx::query(
        "INSERT INTO messages (session_id, position, role, content, created_ms) \
         SELECT id, 0, 'assistant', 'Halt.', $2 FROM sessions_of_players WHERE id = $1 \
         ON CONFLICT (session_id, position) DO NOTHING",
    )
    .bind(demo_id("session of the visitor").to_string())
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// A persona with two scenarios, the second of which opens by the first.
fn gatekeeper() -> serde_json::Value {
    json!({
        "persona": {
            "name": "Mirela the Gatekeeper",
            "description": "Guards the north gate and trusts nobody.",
            "persona_identity_prompt": "You are Mirela, who has guarded the north gate for twenty years.",
        },
        "machines": [
            {
                "machine_key": "north_gate",
                "name": "At the north gate",
                "description": "Get in before dusk.",
                "creator_objective": "The player has to prove a reason to enter.",
                "creator_win_condition": "The gate is opened.",
                "creator_lose_condition": "The guards come.",
                "is_entry_machine": true,
                "output_variables": [{"key": "reason", "extraction_prompt": "Why does the player want to enter the city?"}],
                "states": [
                    {"state_key": "suspicious", "is_initial_state": true, "display_order": 1,
                     "prompt_instruction": "Halt. What brings you to the north gate so late?"},
                    {"state_key": "convinced", "is_terminal_state": true, "display_order": 2,
                     "prompt_instruction": "Go in, and be quick."},
                    {"state_key": "alarmed", "is_terminal_state": true, "display_order": 3,
                     "prompt_instruction": "Guards! To the gate!"},
                ],
                "transitions": [
                    {"from_state_key": "suspicious", "to_state_key": "alarmed", "decision_type": "kick_out",
                     "condition": "The player threatens to burn the gate down.", "score_delta": -5, "priority": 1},
                    {"from_state_key": "suspicious", "to_state_key": "convinced", "decision_type": "pass",
                     "condition": "The player shows a letter with the seal of the queen.", "score_delta": 3, "priority": 2},
                    {"from_state_key": "suspicious", "to_state_key": "suspicious", "decision_type": "redirect",
                     "condition": "The player tells a story without any proof.", "priority": 3},
                    {"from_state_key": "suspicious", "to_state_key": "suspicious", "decision_type": "reject",
                     "condition": "The player offers a bribe of gold.", "score_delta": -1, "priority": 4},
                ],
            },
            {
                "machine_key": "great_hall",
                "name": "In the great hall",
                "states": [
                    {"state_key": "greeting", "is_initial_state": true,
                     "prompt_instruction": "Welcome to the hall, {{reason}}."},
                    {"state_key": "farewell", "is_terminal_state": true, "prompt_instruction": "Farewell."},
                ],
                "transitions": [
                    {"from_state_key": "greeting", "to_state_key": "farewell", "decision_type": "pass",
                     "condition": "The player bows before the queen.", "score_delta": 3},
                ],
            },
        ],
        "variables": [{"key": "reason", "value": "stranger", "description": "Why the player came."}],
        "machine_links": [
            {"source_machine_key": "north_gate", "target_machine_key": "great_hall", "condition_type": "outcome",
             "condition_value": "ACCEPT", "auto_advance": true},
        ],
    })
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The same id for the same label everywhere, in the form of a random one.
fn demo_id(label: &str) -> Uuid {
    let digest = Sha256::digest(format!("trueline foilengine demo {label}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
