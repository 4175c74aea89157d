//! Who may do what, and where: keys with their scopes and workspaces, sessions of the web pages, and the compute quota.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use contract_smartsbio::problems::{
    InternalError, NotFound, QuotaExceeded, ValidationError, WorkspaceAccessDenied, WorkspaceRequired,
};
use contract_smartsbio::types::{
    NotFoundDetails, ParameterDetails, ParameterDetailsParameter, QuotaDetails, WorkspaceDetails,
};
use sqlx::AnyConnection;
use trueline_runtime::problem::FieldError;

use super::Service;
use crate::platform::clock::{to_datetime, utc_month};
use crate::platform::store::{StoreError, Write, column};
use crate::platform::tokens::{CredentialError, api_key_digest, random};

/// How long a key that was looked up is believed without asking the store again. The documented time in which a
/// revocation takes effect is as long. On this node it takes effect at once, on another node of the same database after
/// this long at most.
const KEY_CACHE_MS: i64 = 30_000;

/// Keys remembered at most; beyond it the memory starts anew, which costs one read per live key.
const KEY_CACHE_SIZE: usize = 100_000;

/// Whoever calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// An organization's API key.
    Key(Arc<Key>),
    /// Somebody who is signed in to the web pages.
    Session {
        /// The session's id.
        id: String,
        /// Of which organization.
        organization: String,
    },
}

/// An API key, as far as a call needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key's id, not the key.
    pub id: String,
    /// Whose it is.
    pub organization: String,
    /// What it may do.
    pub scopes: Arc<[String]>,
    /// The workspaces that it is good for; `None` for all of the organization.
    pub workspaces: Option<Vec<String>>,
    /// From when on it is void.
    pub expires_ms: Option<i64>,
    /// Since when it is revoked.
    pub revoked_ms: Option<i64>,
}

impl Principal {
    /// The key behind a call of an operation that takes keys only.
    ///
    /// # Errors
    /// [`InternalError`] for a session; the router lets none come this far.
    pub(super) fn key(&self) -> Result<&Key, InternalError> {
        match self {
            Self::Key(key) => Ok(key),
            Self::Session { .. } => Err(InternalError::because("Something went wrong on our side.")),
        }
    }

    /// The organization behind a call of an operation that takes sessions only.
    ///
    /// # Errors
    /// [`InternalError`] for a key; the router lets none come this far.
    pub(super) fn signed_in(&self) -> Result<&str, InternalError> {
        match self {
            Self::Session { organization, .. } => Ok(organization),
            Self::Key(_) => Err(InternalError::because("Something went wrong on our side.")),
        }
    }

    /// Who this is, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Key(key) => format!("key:{}", key.id),
            Self::Session { id, .. } => format!("session:{id}"),
        }
    }
}

impl Key {
    /// Whether the key's own list allows a workspace; whether the organization has it is another question.
    pub(super) fn lists(&self, workspace: &str) -> bool {
        self.workspaces.as_ref().is_none_or(|listed| listed.iter().any(|id| id == workspace))
    }
}

/// Keys that were looked up, by digest, with the time of the look.
#[derive(Debug, Default)]
pub(super) struct KeyCache(Mutex<HashMap<String, (Arc<Key>, i64)>>);

impl KeyCache {
    fn get(&self, digest: &str, now: i64) -> Option<Arc<Key>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, at) = seen.get(digest)?;
        // The age is taken absolutely so that a clock set back does not keep an entry for longer.
        ((now - at).abs() < KEY_CACHE_MS).then(|| Arc::clone(key))
    }

    fn put(&self, digest: &str, key: &Arc<Key>, now: i64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= KEY_CACHE_SIZE {
            seen.clear();
        }
        seen.insert(digest.to_owned(), (Arc::clone(key), now));
    }

    /// Forgets a key that has changed.
    pub(super) fn forget(&self, digest: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Service {
    /// The key behind a credential, revoked and expired ones included; `None` when it is nobody's.
    pub(super) async fn find_key(&self, credential: &str) -> Result<Option<Arc<Key>>, StoreError> {
        let (digest, now) = (api_key_digest(credential), self.0.clock.now_ms());
        if let Some(key) = self.0.keys.get(&digest, now) {
            return Ok(Some(key));
        }
        let mut connection = self.0.store.reader().acquire().await?;
        let row = sqlx::query(
            "SELECT id, organization_id, scopes, restricted, expires_ms, revoked_ms FROM api_keys WHERE digest = $1",
        )
        .bind(&digest)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id: String = column(&row, 0)?;
        let scopes: &str = column(&row, 2)?;
        let workspaces = match column::<i64>(&row, 3)? {
            0 => None,
            _ => Some(key_workspaces(&mut connection, &id).await?),
        };
        let key = Arc::new(Key {
            organization: column(&row, 1)?,
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            workspaces,
            expires_ms: column(&row, 4)?,
            revoked_ms: column(&row, 5)?,
            id,
        });
        self.0.keys.put(&digest, &key, now);
        Ok(Some(key))
    }

    /// Proves that a key is good for a workspace.
    ///
    /// # Errors
    /// [`WorkspaceAccessDenied`] for one that is not on the key's list, another organization's, or nobody's; which of these
    /// it is the caller does not learn.
    pub(super) async fn enter<E>(&self, key: &Key, workspace: &str) -> Result<(), E>
    where
        E: From<WorkspaceAccessDenied> + From<InternalError>,
    {
        let row = sqlx::query("SELECT id FROM workspaces WHERE id = $1 AND organization_id = $2")
            .bind(workspace)
            .bind(&key.organization)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(internal)?;
        if row.is_some() && key.lists(workspace) { Ok(()) } else { Err(no_entry(workspace).into()) }
    }

    /// The workspace that a call names, or the organization's first one if it names none.
    ///
    /// # Errors
    /// [`WorkspaceRequired`] when it names none and the key is restricted; see [`Service::enter`] for the others.
    pub(super) async fn workspace<E>(&self, key: &Key, named: Option<String>) -> Result<String, E>
    where
        E: From<WorkspaceAccessDenied> + From<WorkspaceRequired> + From<InternalError>,
    {
        if let Some(workspace) = named {
            self.enter::<E>(key, &workspace).await?;
            return Ok(workspace);
        }
        if key.workspaces.is_some() {
            return Err(workspace_required().into());
        }
        let row = sqlx::query("SELECT id FROM workspaces WHERE organization_id = $1 ORDER BY created_ms, id LIMIT 1")
            .bind(&key.organization)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(internal)?
            .ok_or_else(workspace_required)?;
        Ok(column(&row, 0).map_err(internal)?)
    }

    /// Takes one compute credit within the write operation in progress.
    ///
    /// # Errors
    /// [`QuotaExceeded`] when none is left.
    pub(super) async fn charge<E>(&self, write: &mut Write, organization: &str) -> Result<(), E>
    where
        E: From<QuotaExceeded> + From<InternalError>,
    {
        let (month, resets_ms) = utc_month(self.0.clock.now_ms());
        let row = sqlx::query(
            "SELECT o.compute_quota, COALESCE(u.used, 0) FROM organizations AS o \
             LEFT JOIN compute_usage AS u ON u.organization_id = o.id AND u.month = $1 WHERE o.id = $2",
        )
        .bind(&month)
        .bind(organization)
        .fetch_one(write.run())
        .await
        .map_err(internal)?;
        let quota: i64 = column(&row, 0).map_err(internal)?;
        let used: i64 = column(&row, 1).map_err(internal)?;
        if used >= quota {
            let details = QuotaDetails { quota, used, resets_at: to_datetime(resets_ms) };
            let text =
                "The organization's compute quota of this month is used up. Upgrade the plan, or wait for the reset.";
            return Err(QuotaExceeded::new(text, details).into());
        }
        sqlx::query(
            "INSERT INTO compute_usage (organization_id, month, used) VALUES ($1, $2, 1) \
             ON CONFLICT (organization_id, month) DO UPDATE SET used = compute_usage.used + 1",
        )
        .bind(organization)
        .bind(&month)
        .execute(write.run())
        .await
        .map_err(internal)?;
        Ok(())
    }

    /// Takes one compute credit, durably, before work that may take long.
    pub(super) async fn charge_now<E>(&self, organization: &str) -> Result<(), E>
    where
        E: From<QuotaExceeded> + From<InternalError>,
    {
        let mut write = self.0.store.write().await.map_err(internal)?;
        self.charge::<E>(&mut write, organization).await?;
        write.commit().await.map_err(internal)?;
        Ok(())
    }

    /// Gives the credit of failed work back. That this fails too is logged and no more: the caller has an answer already.
    pub(super) async fn refund(&self, organization: &str) {
        let refunded = async {
            let mut write = self.0.store.write().await?;
            sqlx::query(
                "UPDATE compute_usage SET used = used - 1 WHERE organization_id = $1 AND month = $2 AND used > 0",
            )
            .bind(organization)
            .bind(utc_month(self.0.clock.now_ms()).0)
            .execute(write.run())
            .await?;
            write.commit().await
        };
        if let Err(error) = refunded.await {
            tracing::error!(%error, organization, "a compute credit could not be given back");
        }
    }
}

pub(super) async fn key_workspaces(connection: &mut AnyConnection, key: &str) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query("SELECT workspace_id FROM api_key_workspaces WHERE key_id = $1 ORDER BY workspace_id")
        .bind(key)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// A fresh id: the prefix and 16 letters or digits from the operating system's random source, which is 95 bits.
pub(super) fn new_id(prefix: &str) -> Result<String, CredentialError> {
    Ok(format!("{prefix}{}", alphanumeric::<16>(&mut random)?))
}

/// A text of `N` letters and digits, each as likely as any other.
pub(super) fn alphanumeric<const N: usize>(
    source: &mut dyn FnMut() -> Result<[u8; N], CredentialError>,
) -> Result<String, CredentialError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(N);
    while text.len() < N {
        // 248 is the largest multiple of 62 in a byte; what is above would make the first letters likelier.
        let fair = source()?.into_iter().filter(|byte| *byte < 248);
        text.extend(fair.take(N - text.len()).map(|byte| char::from(ALPHABET[usize::from(byte) % 62])));
    }
    Ok(text)
}

/// A stored word as the contract's type for it.
pub(super) fn word<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("word {text:?}")))
}

/// A stored JSON text.
pub(super) fn stored_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("JSON: {error}")))
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

/// The answer to something that is not there for the caller.
pub(super) fn no_such(resource: &str, id: &str) -> NotFound {
    let details = NotFoundDetails { resource: Some(resource.to_owned()), id: Some(id.to_owned()) };
    NotFound::new(format!("There is no such {resource} in this workspace."), details)
}

/// The answer to a workspace that the key is not good for.
pub(super) fn no_entry(workspace: &str) -> WorkspaceAccessDenied {
    let details = WorkspaceDetails { workspace_id: workspace.to_owned() };
    WorkspaceAccessDenied::new("This API key is not good for the workspace.", details)
}

/// The answer to a call that has to name a workspace and does not.
pub(super) fn workspace_required() -> WorkspaceRequired {
    let details = ParameterDetails { parameter: ParameterDetailsParameter::WorkspaceId };
    WorkspaceRequired::new("This call needs a workspace_id.", details)
}

/// The answer to fields that the schema allows and the service does not.
pub(super) fn invalid(fields: Vec<FieldError>) -> ValidationError {
    let message = match fields.as_slice() {
        [one] => format!("The field \"{}\" {}.", one.field, one.message),
        several => format!("The request is not valid: {} things are wrong.", several.len()),
    };
    ValidationError::because(message).with_fields(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_letters_and_digits_and_every_byte_is_judged_fairly() {
        let id = new_id("pipe_").unwrap();
        assert_eq!(id.len(), 21);
        assert!(id[5..].chars().all(|c| c.is_ascii_alphanumeric()));
        let mut rounds = [[250, 255, 0, 61], [62, 247, 248, 1]].into_iter();
        let text = alphanumeric::<4>(&mut || Ok(rounds.next().unwrap())).unwrap();
        assert_eq!(text, "A9A9", "bytes from 248 on are left out");
    }

    #[test]
    fn a_cached_key_is_believed_for_less_than_half_a_minute() {
        let cache = KeyCache::default();
        let key = Arc::new(Key {
            id: "k".into(),
            organization: "o".into(),
            scopes: Arc::new([]),
            workspaces: None,
            expires_ms: None,
            revoked_ms: None,
        });
        cache.put("d", &key, 1_000);
        assert!(cache.get("d", 30_999).is_some());
        assert!(cache.get("d", 31_000).is_none());
        assert!(cache.get("d", -29_000).is_none(), "a clock that was set back");
        cache.forget("d");
        assert!(cache.get("d", 1_000).is_none());
    }
}
