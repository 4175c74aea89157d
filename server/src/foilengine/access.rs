//! Who calls, and what is told of failures.

use std::str::FromStr;

use contract_foilengine::problems::{Forbidden, InternalServerError, NotFound, Unauthorized};
use contract_foilengine::types;
use sqlx::AnyConnection;
use uuid::Uuid;

use crate::platform::clock::Clock;
use crate::platform::issuer::Claims;
use crate::platform::model::ModelError;
use crate::platform::store::{Store, StoreError, Write, column};
use crate::platform::tokens::{Secret, api_key_digest};

/// How exact `last_used_at` is: a write for every call would cost more than the call.
const USE_NOTED_EVERY_MS: i64 = 60_000;

/// Whoever calls.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A user of the identity provider.
    User(User),
    /// A game, by one of its account's keys.
    Game {
        /// The key's id, not the key.
        key: Uuid,
        /// The account that the key belongs to.
        owner: Uuid,
        /// The key for the language model that came with the call. It lives as long as the call.
        llm_key: Option<Secret>,
    },
}

/// A user, as the token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// The name to show.
    pub display_name: String,
    /// Whether an administrator.
    pub is_admin: bool,
}

impl User {
    /// The user of a token; none if its subject is no UUID.
    pub(super) fn of(claims: &Claims) -> Option<Self> {
        let email = claims.email.clone().unwrap_or_default();
        let name = claims.said("display_name").or_else(|| claims.said("full_name")).or_else(|| claims.said("name"));
        let before_at = || email.split('@').next().unwrap_or_default();
        Some(Self {
            id: Uuid::parse_str(&claims.sub).ok()?,
            display_name: name.unwrap_or_else(before_at).to_owned(),
            is_admin: claims.role() == Some("admin"),
            email,
        })
    }
}

impl Principal {
    /// The user behind a call of an operation that takes users only.
    ///
    /// # Errors
    /// [`Unauthorized`] for a game; the router lets none come this far.
    pub fn user(&self) -> Result<&User, Unauthorized> {
        match self {
            Self::User(user) => Ok(user),
            Self::Game { .. } => Err(Unauthorized::because("Only a signed-in user may do this.")),
        }
    }

    /// The account behind a call of an operation that takes keys only.
    ///
    /// # Errors
    /// [`Unauthorized`] for a user; the router lets none come this far.
    pub fn account(&self) -> Result<Uuid, Unauthorized> {
        match self {
            Self::Game { owner, .. } => Ok(*owner),
            Self::User(_) => Err(Unauthorized::because("Only an API key may do this.")),
        }
    }

    /// Who this is, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::User(user) => format!("user:{}", user.id),
            Self::Game { key, .. } => format!("key:{key}"),
        }
    }
}

/// The id and the account of a key, if it is known and not revoked. Notes that it was used.
pub(super) async fn api_key(store: &Store, clock: &Clock, key: &str) -> Result<Option<(Uuid, Uuid)>, StoreError> {
    let row = sqlx::query("SELECT id, owner_id, last_used_ms FROM api_keys WHERE digest = $1 AND revoked_ms IS NULL")
        .bind(api_key_digest(key))
        .fetch_optional(store.reader())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (key, owner) = (id(column(&row, 0)?)?, id(column(&row, 1)?)?);
    let (used, now) = (column::<Option<i64>>(&row, 2)?, clock.now_ms());
    drop(row);
    if used.is_none_or(|used| (now - used).abs() >= USE_NOTED_EVERY_MS) {
        let mut write = store.write().await?;
        sqlx::query("UPDATE api_keys SET last_used_ms = $1 WHERE id = $2")
            .bind(now)
            .bind(key.to_string())
            .execute(write.run())
            .await?;
        write.commit().await?;
    }
    Ok(Some((key, owner)))
}

/// Makes sure that what a user makes has an owner.
pub(super) async fn know(write: &mut Write, user: &User, now: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO users (id, email, display_name, created_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET email = excluded.email, display_name = excluded.display_name",
    )
    .bind(user.id.to_string())
    .bind(&user.email)
    .bind(&user.display_name)
    .bind(now)
    .execute(write.run())
    .await?;
    Ok(())
}

/// What is told of a persona that somebody wants to change or see.
#[derive(Clone, Debug)]
pub(super) struct PersonaRow {
    pub(super) owner: Uuid,
    pub(super) persona: types::Persona,
    pub(super) draft: i64,
    pub(super) published: Option<i64>,
}

macro_rules! select_persona {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.name, p.description, p.is_published, p.created_ms, p.updated_ms, p.owner_id, p.draft, p.published ",
            $rest
        )
    };
}
pub(super) use select_persona;

/// A row of [`select_persona!`].
pub(super) fn persona_from(row: &sqlx::any::AnyRow) -> Result<PersonaRow, StoreError> {
    use crate::platform::clock::to_datetime;
    Ok(PersonaRow {
        persona: types::Persona {
            id: id(column(row, 0)?)?,
            name: column(row, 1)?,
            description: column(row, 2)?,
            is_published: column::<i64>(row, 3)? != 0,
            created_at: to_datetime(column(row, 4)?),
            updated_at: to_datetime(column(row, 5)?),
        },
        owner: id(column(row, 6)?)?,
        draft: column(row, 7)?,
        published: column(row, 8)?,
    })
}

/// A persona, whoever asks.
pub(super) async fn find_persona<E>(connection: &mut AnyConnection, persona: Uuid) -> Result<PersonaRow, E>
where
    E: From<NotFound> + From<InternalServerError>,
{
    let row = sqlx::query(select_persona!("FROM personas AS p WHERE p.id = $1"))
        .bind(persona.to_string())
        .fetch_optional(connection)
        .await
        .map_err(internal)?
        .ok_or_else(|| NotFound::because("There is no such persona."))?;
    Ok(persona_from(&row).map_err(internal)?)
}

/// A persona that the user owns.
pub(super) async fn own_persona<E>(connection: &mut AnyConnection, user: &User, persona: Uuid) -> Result<PersonaRow, E>
where
    E: From<NotFound> + From<Forbidden> + From<InternalServerError>,
{
    let found = find_persona::<E>(connection, persona).await?;
    match found.owner == user.id {
        true => Ok(found),
        false => Err(Forbidden::because("This persona belongs to somebody else.").into()),
    }
}

/// A stored id.
pub(super) fn id(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|_| StoreError::Corrupt(format!("id {text:?}")))
}

/// A stored word as the contract's type for it.
pub(super) fn word<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("word {text:?}")))
}

/// What a caller is told of a failure of ours: nothing but that it happened. The log is told everything.
pub(super) fn internal(error: impl std::error::Error) -> InternalServerError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!(error = text, "request failed");
    InternalServerError::because("Something went wrong on our side.")
}

/// What a caller is told when the language model failed: whether it was the key.
pub(super) fn model_failure<E: From<Unauthorized> + From<InternalServerError>>(error: &ModelError) -> E {
    if error.is_bad_key() {
        return Unauthorized::because("The provider of the language model does not take the key.").into();
    }
    tracing::warn!(%error, "the language model failed");
    InternalServerError::because("The provider of the language model failed.").into()
}
