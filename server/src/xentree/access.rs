//! Who calls, what they may do, and the answers that every section gives.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use contract_xentree::problems::{BadRequest, Forbidden, InternalServerError, NotFound};
use contract_xentree::types::MemberRole;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sqlx::AnyConnection;
use trueline_runtime::Patch;

use super::Service;
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::CredentialError;

/// Whoever calls: always a user, in a session or by a key of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's id.
    pub user: String,
    /// What proved it.
    pub credential: Credential,
}

/// What a caller has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(String),
    /// An API key.
    Key {
        /// The key's id, not the key.
        id: String,
        /// The organization that it is tied to.
        organization: String,
        /// Addresses and networks that it is good from; everywhere if empty.
        allowed_ips: Vec<String>,
    },
}

impl Principal {
    /// Who this is, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.credential {
            Credential::Session(_) => format!("user:{}", self.user),
            Credential::Key { id, .. } => format!("key:{id}"),
        }
    }

    /// The key's id; nothing in a session.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.credential {
            Credential::Session(_) => None,
            Credential::Key { id, .. } => Some(id),
        }
    }

    /// The organization that the credential is tied to; nothing in a session, which is tied to none.
    #[must_use]
    pub fn tied_to(&self) -> Option<&str> {
        match &self.credential {
            Credential::Session(_) => None,
            Credential::Key { organization, .. } => Some(organization),
        }
    }
}

impl Service {
    /// The tenant that a call is about where it names none: the organization of the key, or the one that the user of the
    /// session has been a member of for longest. A key outlives its maker's membership only as an empty shell.
    pub(super) async fn tenant(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
    ) -> Result<Option<String>, StoreError> {
        let row = sqlx::query(
            "SELECT organization_id FROM memberships WHERE user_id = $1 AND ($2 = '' OR organization_id = $2) \
             ORDER BY joined_ms, organization_id LIMIT 1",
        )
        .bind(&caller.user)
        .bind(caller.tied_to().unwrap_or_default())
        .fetch_optional(connection)
        .await?;
        row.map(|row| column(&row, 0)).transpose()
    }

    /// The role of the caller in an organization that the caller may see; `None` when the caller is no member, the key is
    /// tied to another organization, or there is no such organization. Answers must not tell these apart.
    pub(super) async fn role(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
        organization: &str,
    ) -> Result<Option<MemberRole>, StoreError> {
        let row = sqlx::query(
            "SELECT m.role FROM memberships AS m JOIN organizations AS o ON o.id = m.organization_id \
             WHERE m.user_id = $1 AND m.organization_id = $2 AND ($3 = '' OR o.id = $3 OR o.created_by_key = $4)",
        )
        .bind(&caller.user)
        .bind(organization)
        .bind(caller.tied_to().unwrap_or_default())
        .bind(caller.key().unwrap_or_default())
        .fetch_optional(connection)
        .await?;
        row.map(|row| word(column(&row, 0)?)).transpose()
    }

    /// Whether the user is an admin of the platform.
    pub(super) async fn is_admin(&self, connection: &mut AnyConnection, user: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT role FROM users WHERE id = $1").bind(user).fetch_optional(connection).await?;
        Ok(row.map(|row| column::<String>(&row, 0)).transpose()?.is_some_and(|role| role == "admin"))
    }

    /// For operations that a session needs the role `admin` for. A key has come this far by its scope, which only those
    /// could give it who may.
    pub(super) async fn require_admin<E>(&self, caller: &Principal) -> Result<(), E>
    where
        E: From<Forbidden> + From<InternalServerError>,
    {
        if caller.key().is_some() {
            return Ok(());
        }
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        match self.is_admin(&mut connection, &caller.user).await.map_err(internal)? {
            true => Ok(()),
            false => Err(forbidden().into()),
        }
    }
}

/// A fresh id: the prefix and 20 letters and digits, 100 random bits.
pub(super) fn new_id(prefix: &str) -> Result<String, CredentialError> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = [0_u8; 20];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| CredentialError::Randomness)?;
    let random = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok(format!("{prefix}_{}", random.iter().collect::<String>()))
}

/// `LIMIT` and `OFFSET` of a page.
pub(super) fn page(page: i32, limit: i32) -> (i64, i64) {
    let (page, limit) = (i64::from(page.max(1)), i64::from(limit.max(1)));
    (limit, (page - 1) * limit)
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
    InternalServerError::because("Internal server error")
}

/// What is not there, or not for the caller to see: "Organization not found".
pub(super) fn not_found(what: &'static str) -> NotFound {
    NotFound::because(what)
}

/// A rule that no schema can state.
pub(super) fn bad_request(why: impl Into<std::borrow::Cow<'static, str>>) -> BadRequest {
    BadRequest::because(why)
}

/// A role that is missing.
pub(super) fn forbidden() -> Forbidden {
    Forbidden::because("Not enough permissions")
}

/// A value that is null on the wire when there is none.
pub(super) fn nullable<T>(value: Option<T>) -> Patch<T> {
    value.map_or(Patch::Null, Patch::Value)
}

/// A stored instant that need not be there.
pub(super) fn moment(ms: Option<i64>) -> Patch<DateTime<Utc>> {
    nullable(ms.map(to_datetime))
}
