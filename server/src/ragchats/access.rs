//! Who may do what: organizations, roles in them, and the keys of agents.

use std::str::FromStr;

use contract_ragchats::problems::{InternalError, PermissionDenied};
use contract_ragchats::types;
use sqlx::AnyConnection;
use uuid::Uuid;

use crate::platform::store::{Store, StoreError, column};
use crate::platform::tokens::api_key_digest;

/// A user's role in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns the organization.
    Owner,
    /// Works in it, with the same rights over agents and data sources.
    Member,
    /// Reads everything, changes nothing and spends nothing.
    Viewer,
}

impl Role {
    /// Whether the role may create, change, delete and spend.
    #[must_use]
    pub fn may_change(self) -> bool {
        !matches!(self, Self::Viewer)
    }

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    pub(super) fn from_stored(text: &str) -> Result<Self, StoreError> {
        [Self::Owner, Self::Member, Self::Viewer]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("role {text:?}")))
    }
}

/// Whoever calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user with a live session.
    User {
        /// The user's id.
        id: Uuid,
        /// The session of the access token.
        session: String,
    },
    /// A key of one agent.
    AgentKey {
        /// The key's id, not the key.
        id: Uuid,
        /// The agent that it is good for.
        agent: Uuid,
    },
}

impl Principal {
    /// The user behind a call of an operation that takes users only.
    ///
    /// # Errors
    /// [`PermissionDenied`] for whoever is no user; the router lets nobody else come this far.
    pub fn user(&self) -> Result<Uuid, PermissionDenied> {
        match self {
            Self::User { id, .. } => Ok(*id),
            Self::AgentKey { .. } => Err(PermissionDenied::because("Only a user may do this.")),
        }
    }

    /// Who this is, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::User { id, .. } => format!("user:{id}"),
            Self::AgentKey { id, .. } => format!("key:{id}"),
        }
    }
}

/// The role of a user in an organization; `None` when the user is no member or there is no such organization, which
/// callers must not tell apart in their answer.
pub(super) async fn role(
    connection: &mut AnyConnection,
    user: Uuid,
    organization: Uuid,
) -> Result<Option<Role>, StoreError> {
    let row = sqlx::query("SELECT role FROM memberships WHERE user_id = $1 AND organization_id = $2")
        .bind(user.to_string())
        .bind(organization.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Role::from_stored(column(&row, 0)?)).transpose()
}

/// The key behind a credential: its id and its agent, if it is known and not revoked.
pub(super) async fn agent_key(store: &Store, credential: &str) -> Result<Option<Principal>, StoreError> {
    let row = sqlx::query("SELECT id, agent_id FROM agent_keys WHERE digest = $1 AND revoked_ms IS NULL")
        .bind(api_key_digest(credential))
        .fetch_optional(store.reader())
        .await?;
    row.map(|row| Ok(Principal::AgentKey { id: id(column(&row, 0)?)?, agent: id(column(&row, 1)?)? })).transpose()
}

/// A stored id.
pub(super) fn id(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|_| StoreError::Corrupt(format!("id {text:?}")))
}

/// A stored word as the contract's type for it.
pub(super) fn word<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("word {text:?}")))
}

/// A stored number that the contract gives 32 bits.
pub(super) fn small(number: i64) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|_| StoreError::Corrupt(format!("number {number}")))
}

/// What a caller is told of a failure of ours: nothing but that it happened. The log is told everything.
pub(super) fn internal(error: impl std::error::Error) -> InternalError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!(error = text, "request failed");
    InternalError::because("Something went wrong on our side.")
}

/// The refusal of a viewer's attempt to change something.
pub(super) fn viewer() -> PermissionDenied {
    PermissionDenied::because("Your role in this organization allows you to look, not to change.")
}

/// The refusal of a look into an organization that the caller does not belong to, whether or not it exists.
pub(super) fn stranger() -> PermissionDenied {
    PermissionDenied::because("You are not a member of this organization.")
}

/// The answer to an agent that is not there for the caller.
pub(super) fn no_agent(agent: Uuid) -> contract_ragchats::problems::AgentNotFound {
    let details = types::AgentNotFoundDetails { agent_id: agent.to_string() };
    contract_ragchats::problems::AgentNotFound::new("There is no such agent, or you have no access to it.", details)
}
