//! Credentials: passwords, login sessions with their access and refresh tokens, and opaque API keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm as Argon2Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::clock::Clock;
use super::store::{Store, StoreError, Write, column};

/// How long a session that was found alive is believed without asking the store again. A logout on this node takes
/// effect at once; on another node of the same database after this long at most.
const SESSION_CACHE_MS: i64 = 30_000;

/// Sessions remembered at most; beyond it the memory starts anew, which costs one read per live session.
const SESSION_CACHE_SIZE: usize = 100_000;

/// Bytes of randomness in an API key: 30 bytes are 240 bits and exactly 40 characters of base64.
const API_KEY_BYTES: usize = 30;

/// Something that must not be shown: `Debug` and logs get asterisks.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that from here on is not shown.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Every call is a place to check for leaks.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a credential operation could not be carried out at all (not: was refused).
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
    /// A password could not be hashed.
    #[error("cannot hash a password: {0}")]
    Hash(String),
    /// A token could not be signed.
    #[error("cannot sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fills a fresh array from the operating system's random source.
///
/// # Errors
/// [`CredentialError::Randomness`] when the source fails, which no caller can make up for.
pub fn random<const N: usize>() -> Result<[u8; N], CredentialError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| CredentialError::Randomness)?;
    Ok(bytes)
}

// ---------------------------------------------------------------------------------------------------------------------
// Passwords

/// What one password hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
}

impl Default for PasswordCost {
    /// 19 MiB and two passes: the least that OWASP's password storage advice accepts for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

impl PasswordCost {
    /// The cheapest that argon2 accepts. For tests, where the hash protects nothing.
    pub const CHEAPEST: Self = Self { memory_kib: 8, passes: 1 };
}

/// Hashes and checks passwords with argon2id, off the async threads.
#[derive(Clone, Debug)]
pub struct Passwords {
    argon: Argon2<'static>,
    /// One hash takes a whole processor and megabytes; more at once than processors would only cost memory.
    slots: Arc<Semaphore>,
    dummy: Arc<str>,
}

impl Passwords {
    /// A hasher of the given cost.
    ///
    /// # Errors
    /// [`CredentialError::Hash`] when the cost is out of argon2's range.
    pub async fn new(cost: PasswordCost) -> Result<Self, CredentialError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None)
            .map_err(|error| CredentialError::Hash(error.to_string()))?;
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let mut passwords = Self {
            argon: Argon2::new(Argon2Algorithm::Argon2id, Version::V0x13, params),
            slots: Arc::new(Semaphore::new(processors)),
            dummy: Arc::from(""),
        };
        passwords.dummy = passwords.hash(Secret::new(Uuid::new_v4().to_string())).await?.into();
        Ok(passwords)
    }

    /// The hash of a password in PHC notation, with a fresh salt.
    ///
    /// # Errors
    /// [`CredentialError::Hash`] when hashing fails.
    pub async fn hash(&self, password: Secret) -> Result<String, CredentialError> {
        self.blocking(move |argon| {
            let hash = argon.hash_password(password.reveal().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| CredentialError::Hash(error.to_string()))
        })
        .await?
    }

    /// Whether the password belongs to the stored hash. Without a stored hash (nobody has that name) the same work is
    /// done against one that nothing matches, so that the time taken does not tell who exists.
    ///
    /// # Errors
    /// [`CredentialError::Hash`] when a stored hash is unreadable or the work could not be run.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool, CredentialError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.dummy.to_string());
        let matches = self
            .blocking(move |argon| {
                let hash = PasswordHash::new(&stored).map_err(|error| CredentialError::Hash(error.to_string()))?;
                Ok::<_, CredentialError>(argon.verify_password(password.reveal().as_bytes(), &hash).is_ok())
            })
            .await??;
        Ok(matches && known)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Argon2<'static>) -> T + Send + 'static,
    ) -> Result<T, CredentialError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|e| CredentialError::Hash(e.to_string()))?;
        let argon = self.argon.clone();
        tokio::task::spawn_blocking(move || {
            let done = work(argon);
            drop(slot);
            done
        })
        .await
        .map_err(|error| CredentialError::Hash(error.to_string()))
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Sessions and their tokens

/// What a token is for. A refresh token buys access tokens and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Opens the API.
    Access,
    /// Buys access tokens.
    Refresh,
}

/// What a token says, once its signature is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who: the user's id.
    pub sub: String,
    /// The login session.
    pub sid: String,
    /// What the token is for.
    pub kind: TokenKind,
    /// When it was issued, Unix seconds.
    pub iat: i64,
    /// From when on it is void, Unix seconds.
    pub exp: i64,
    /// The token's own id, so that two tokens of one second differ.
    pub jti: String,
}

/// Why a token is refused.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Not a token of ours: wrong shape, wrong signature, wrong algorithm.
    #[error("token is malformed or not signed by this service")]
    Malformed,
    /// Past its lifetime.
    #[error("token has expired")]
    Expired,
    /// Its session has ended or never was.
    #[error("token's session has ended")]
    Revoked,
    /// A refresh token where an access token belongs, or the other way round.
    #[error("token is of the other kind")]
    WrongKind,
    /// It could not be checked.
    #[error(transparent)]
    Unchecked(#[from] StoreError),
    /// It is good, and no new ones could be issued for it.
    #[error(transparent)]
    Unsigned(#[from] CredentialError),
}

/// How long tokens live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: Duration,
    /// Of a refresh token, and with it of the session.
    pub refresh: Duration,
}

/// Issues and checks the tokens of login sessions: JWT, HS256, on the injected clock.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    clock: Clock,
    lifetimes: Lifetimes,
    signing: EncodingKey,
    verifying: DecodingKey,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
}

/// What is remembered of a session.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// Found alive at this time, in milliseconds.
    Alive(i64),
    /// Ended here. Final, so that a check that read the store just before cannot bring the session back.
    Ended,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("lifetimes", &self.lifetimes).finish_non_exhaustive()
    }
}

/// The two tokens of a fresh login.
#[derive(Debug)]
pub struct TokenPair {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl Sessions {
    /// Sessions kept in `store`, tokens signed with `secret`.
    #[must_use]
    pub fn new(store: Store, clock: Clock, secret: &Secret, lifetimes: Lifetimes) -> Self {
        let key = secret.reveal().as_bytes();
        Self {
            store,
            clock,
            lifetimes,
            signing: EncodingKey::from_secret(key),
            verifying: DecodingKey::from_secret(key),
            seen: Arc::default(),
        }
    }

    /// Opens a session for a subject and issues its tokens.
    ///
    /// # Errors
    /// [`CredentialError`] when the session cannot be stored or the tokens not signed.
    pub async fn open(&self, subject: &str) -> Result<TokenPair, CredentialError> {
        let session = Uuid::new_v4().to_string();
        let now = self.clock.now_ms();
        let (pair, _) = self.pair(subject, &session, now)?;
        let mut write = self.store.write().await?;
        self.insert(&mut write, &session, subject, None, now).await?;
        write.commit().await?;
        Ok(pair)
    }

    /// The tokens of a session, and the id of its refresh token.
    fn pair(&self, subject: &str, session: &str, now: i64) -> Result<(TokenPair, String), CredentialError> {
        let (access, _) = self.sign(subject, session, TokenKind::Access, now)?;
        let (refresh, jti) = self.sign(subject, session, TokenKind::Refresh, now)?;
        Ok((TokenPair { access, refresh }, jti))
    }

    async fn insert(
        &self,
        write: &mut Write,
        session: &str,
        subject: &str,
        refresh_jti: Option<&str>,
        now: i64,
    ) -> Result<(), StoreError> {
        // Logging in is a good moment to forget sessions that no token can name any more.
        sqlx::query("DELETE FROM sessions WHERE expires_ms < $1").bind(now).execute(write.run()).await?;
        sqlx::query(
            "INSERT INTO sessions (id, subject, created_ms, expires_ms, refresh_jti) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(session)
        .bind(subject)
        .bind(now)
        .bind(now.saturating_add(millis(self.lifetimes.refresh)))
        .bind(refresh_jti)
        .execute(write.run())
        .await?;
        Ok(())
    }

    /// As [`Sessions::open`], for a session whose refresh token is good for one use; see [`Sessions::rotate`].
    ///
    /// # Errors
    /// [`CredentialError`] when the session cannot be stored or the tokens not signed.
    pub async fn open_rotating(&self, subject: &str) -> Result<TokenPair, CredentialError> {
        let session = Uuid::new_v4().to_string();
        let now = self.clock.now_ms();
        let (pair, refresh_jti) = self.pair(subject, &session, now)?;
        let mut write = self.store.write().await?;
        self.insert(&mut write, &session, subject, Some(&refresh_jti), now).await?;
        write.commit().await?;
        Ok(pair)
    }

    /// Fresh tokens for a refresh token, which is used up with that. One that was used before means that somebody has a
    /// copy, and nobody can tell who: the session ends (RFC 9700 section 4.14.2).
    ///
    /// # Errors
    /// [`TokenError`] when the token is no good; [`TokenError::Unsigned`] when there are no new ones to be had.
    pub async fn rotate(&self, refresh: &str) -> Result<TokenPair, TokenError> {
        let claims = self.verify(refresh, TokenKind::Refresh).await?;
        let now = self.clock.now_ms();
        let (pair, refresh_jti) = self.pair(&claims.sub, &claims.sid, now)?;
        let mut write = self.store.write().await?;
        let row = sqlx::query("SELECT refresh_jti FROM sessions WHERE id = $1 AND subject = $2 AND revoked_ms IS NULL")
            .bind(&claims.sid)
            .bind(&claims.sub)
            .fetch_optional(write.run())
            .await
            .map_err(StoreError::from)?
            .ok_or(TokenError::Revoked)?;
        let current = column::<Option<String>>(&row, 0)?;
        if current.as_deref() != Some(claims.jti.as_str()) {
            end(&mut write, &claims.sid, now).await?;
            write.commit().await?;
            self.remember(&claims.sid, Seen::Ended);
            return Err(TokenError::Revoked);
        }
        sqlx::query("UPDATE sessions SET refresh_jti = $1, expires_ms = $2 WHERE id = $3")
            .bind(refresh_jti)
            .bind(now.saturating_add(millis(self.lifetimes.refresh)))
            .bind(&claims.sid)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        write.commit().await?;
        Ok(pair)
    }

    /// A fresh access token for a session whose refresh token was verified.
    ///
    /// # Errors
    /// [`CredentialError::Sign`] when the token cannot be signed.
    pub fn renew(&self, refresh: &Claims) -> Result<String, CredentialError> {
        Ok(self.sign(&refresh.sub, &refresh.sid, TokenKind::Access, self.clock.now_ms())?.0)
    }

    /// A token as it would have been issued at another time, for a session that need not exist. Demonstrations use it
    /// to hold an expired token without waiting for one.
    ///
    /// # Errors
    /// [`CredentialError::Sign`] when the token cannot be signed.
    pub fn issue_at(
        &self,
        subject: &str,
        session: &str,
        kind: TokenKind,
        at_ms: i64,
    ) -> Result<String, CredentialError> {
        Ok(self.sign(subject, session, kind, at_ms)?.0)
    }

    /// What the token says, if it is ours, of the right kind, in its lifetime, and its session is alive.
    ///
    /// # Errors
    /// [`TokenError`] says which of these it is not, the first in that order.
    pub async fn verify(&self, token: &str, kind: TokenKind) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Expiry is checked below, on the injected clock; the library would use the machine's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)
            .map_err(|_| TokenError::Malformed)?
            .claims;
        if claims.kind != kind {
            return Err(TokenError::WrongKind);
        }
        let now = self.clock.now_ms();
        if now >= claims.exp.saturating_mul(1000) {
            return Err(TokenError::Expired);
        }
        if !self.is_alive(&claims.sid, &claims.sub, now).await? {
            return Err(TokenError::Revoked);
        }
        Ok(claims)
    }

    /// Ends a session: from here on none of its tokens is accepted. Ending an ended session changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when that could not be made durable.
    pub async fn close(&self, session: &str) -> Result<(), StoreError> {
        let mut write = self.store.write().await?;
        end(&mut write, session, self.clock.now_ms()).await?;
        write.commit().await?;
        self.remember(session, Seen::Ended);
        Ok(())
    }

    async fn is_alive(&self, session: &str, subject: &str, now: i64) -> Result<bool, StoreError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(session).copied();
        match seen {
            Some(Seen::Ended) => return Ok(false),
            // The age is taken absolutely so that a clock set back does not keep an entry for longer.
            Some(Seen::Alive(at)) if (now - at).abs() < SESSION_CACHE_MS => return Ok(true),
            Some(Seen::Alive(_)) | None => {}
        }
        let row = sqlx::query("SELECT revoked_ms FROM sessions WHERE id = $1 AND subject = $2")
            .bind(session)
            .bind(subject)
            .fetch_optional(self.store.reader())
            .await?;
        let alive = match row {
            Some(row) => column::<Option<i64>>(&row, 0)?.is_none(),
            None => false,
        };
        if alive {
            self.remember(session, Seen::Alive(now));
        }
        Ok(alive)
    }

    fn remember(&self, session: &str, state: Seen) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SESSION_CACHE_SIZE {
            seen.clear();
        }
        let entry = seen.entry(session.to_owned()).or_insert(state);
        if !matches!(entry, Seen::Ended) {
            *entry = state;
        }
    }

    /// A token, and its id.
    fn sign(
        &self,
        subject: &str,
        session: &str,
        kind: TokenKind,
        at_ms: i64,
    ) -> Result<(String, String), CredentialError> {
        let lifetime = match kind {
            TokenKind::Access => self.lifetimes.access,
            TokenKind::Refresh => self.lifetimes.refresh,
        };
        let iat = at_ms.div_euclid(1000);
        let claims = Claims {
            sub: subject.to_owned(),
            sid: session.to_owned(),
            kind,
            iat,
            exp: iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
            jti: Uuid::new_v4().simple().to_string(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing);
        Ok((token.map_err(CredentialError::Sign)?, claims.jti))
    }
}

async fn end(write: &mut Write, session: &str, now: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE sessions SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL")
        .bind(now)
        .bind(session)
        .execute(write.run())
        .await?;
    Ok(())
}

/// Whether a bearer credential has the shape of a JWT: three parts with dots between them.
#[must_use]
pub fn looks_like_jwt(credential: &str) -> bool {
    credential.split('.').count() == 3
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// ---------------------------------------------------------------------------------------------------------------------
// API keys

/// A fresh API key: the prefix and 40 URL-safe characters from the operating system's random source.
///
/// # Errors
/// [`CredentialError::Randomness`] when there is none.
pub fn new_api_key(prefix: &str) -> Result<Secret, CredentialError> {
    long_api_key::<API_KEY_BYTES>(prefix)
}

/// A fresh API key with so many bytes of randomness, for contracts that state another length.
///
/// # Errors
/// [`CredentialError::Randomness`] when there is none.
pub fn long_api_key<const BYTES: usize>(prefix: &str) -> Result<Secret, CredentialError> {
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<BYTES>()?))))
}

/// What is stored of an API key, and what it is looked up by.
///
/// One pass of SHA-256 is enough here, unlike for passwords: the key has 240 random bits, so there is no dictionary to
/// try and no exhaustive search to slow down. Looking up the digest by equality also gives an attacker nothing to time: how
/// far two digests agree says nothing about the keys.
#[must_use]
pub fn api_key_digest(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_bytes()))
}

/// Thirty bytes that only holders of the secret can compute, the same for the same label, as URL-safe text of 40
/// characters. Demonstrations derive their passwords and keys with it, so that a second run gives the same ones and no two
/// installations share them.
#[must_use]
pub fn derived(secret: &Secret, label: &str) -> String {
    // The digest is cut, so knowing it does not help to extend the message; no HMAC needed.
    let mut hash = Sha256::new();
    hash.update(u64::try_from(secret.reveal().len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(secret.reveal().as_bytes());
    hash.update(label.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..API_KEY_BYTES])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    const LIVES: Lifetimes =
        Lifetimes { access: Duration::from_secs(3_600), refresh: Duration::from_secs(7 * 24 * 3_600) };

    async fn sessions(start_ms: i64) -> (Sessions, ManualClock, Store) {
        let store = Store::open("sqlite::memory:", &[]).await.unwrap();
        let clock = ManualClock::starting_at(start_ms);
        (Sessions::new(store.clone(), clock.clock(), &Secret::new("s"), LIVES), clock, store)
    }

    #[tokio::test]
    async fn tokens_live_to_the_last_millisecond_and_not_beyond() {
        let (sessions, clock, _) = sessions(1_700_000_000_000).await;
        let pair = sessions.open("u").await.unwrap();
        clock.advance(Duration::from_millis(3_599_999));
        assert_eq!(sessions.verify(&pair.access, TokenKind::Access).await.unwrap().sub, "u");
        clock.advance(Duration::from_millis(1));
        assert!(matches!(sessions.verify(&pair.access, TokenKind::Access).await, Err(TokenError::Expired)));
        let refresh = sessions.verify(&pair.refresh, TokenKind::Refresh).await.unwrap();
        let renewed = sessions.renew(&refresh).unwrap();
        assert!(sessions.verify(&renewed, TokenKind::Access).await.is_ok());
        clock.set_ms(1_700_000_000_000 + 7 * 86_400_000 - 1);
        assert!(sessions.verify(&pair.refresh, TokenKind::Refresh).await.is_ok());
        clock.advance(Duration::from_millis(1));
        assert!(matches!(sessions.verify(&pair.refresh, TokenKind::Refresh).await, Err(TokenError::Expired)));
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        let (sessions, _, store) = sessions(1_700_000_000_000).await;
        let pair = sessions.open("u").await.unwrap();
        assert!(matches!(sessions.verify(&pair.refresh, TokenKind::Access).await, Err(TokenError::WrongKind)));
        assert!(matches!(sessions.verify(&pair.access, TokenKind::Refresh).await, Err(TokenError::WrongKind)));
        for bad in ["", "a.b.c", "..", &pair.access[..pair.access.len() - 2], &format!("{}x", pair.access)] {
            assert!(matches!(sessions.verify(bad, TokenKind::Access).await, Err(TokenError::Malformed)), "{bad}");
        }
        // Unsigned, the classic forgery.
        let claims = pair.access.split('.').nth(1).unwrap();
        let none = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
        assert!(matches!(sessions.verify(&none, TokenKind::Access).await, Err(TokenError::Malformed)));
        let stranger = Sessions::new(store, ManualClock::starting_at(0).clock(), &Secret::new("other"), LIVES);
        assert!(matches!(stranger.verify(&pair.access, TokenKind::Access).await, Err(TokenError::Malformed)));
        let unknown = sessions.issue_at("u", "no-session", TokenKind::Access, 1_700_000_000_000).unwrap();
        assert!(matches!(sessions.verify(&unknown, TokenKind::Access).await, Err(TokenError::Revoked)));
    }

    #[tokio::test]
    async fn closing_a_session_ends_both_tokens_and_survives_a_restart() {
        let (sessions, clock, store) = sessions(1_700_000_000_000).await;
        let (ended, other) = (sessions.open("u").await.unwrap(), sessions.open("u").await.unwrap());
        let claims = sessions.verify(&ended.access, TokenKind::Access).await.unwrap();
        sessions.close(&claims.sid).await.unwrap();
        let restarted = Sessions::new(store, clock.clock(), &Secret::new("s"), LIVES);
        for checker in [&sessions, &restarted] {
            assert!(matches!(checker.verify(&ended.access, TokenKind::Access).await, Err(TokenError::Revoked)));
            assert!(matches!(checker.verify(&ended.refresh, TokenKind::Refresh).await, Err(TokenError::Revoked)));
            assert!(checker.verify(&other.access, TokenKind::Access).await.is_ok());
        }
    }

    #[tokio::test]
    async fn passwords_match_only_themselves() {
        let passwords = Passwords::new(PasswordCost::CHEAPEST).await.unwrap();
        let hash = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.verify(Secret::new("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct"), Some(hash)).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct horse"), None).await.unwrap());
        assert!(passwords.verify(Secret::new("x"), Some("not a hash".into())).await.is_err());
    }

    #[tokio::test]
    async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_session() {
        let (sessions, clock, _store) = sessions(0).await;
        let first = sessions.open_rotating("u").await.unwrap();
        let second = sessions.rotate(&first.refresh).await.unwrap();
        clock.advance(Duration::from_secs(1));
        let third = sessions.rotate(&second.refresh).await.unwrap();
        assert!(sessions.verify(&first.access, TokenKind::Access).await.is_ok());
        assert!(matches!(sessions.rotate(&first.refresh).await, Err(TokenError::Revoked)));
        for access in [&first.access, &second.access, &third.access] {
            assert!(matches!(sessions.verify(access, TokenKind::Access).await, Err(TokenError::Revoked)));
        }
        assert!(matches!(sessions.rotate(&third.refresh).await, Err(TokenError::Revoked)));
        let other = sessions.open_rotating("u").await.unwrap();
        assert!(matches!(sessions.rotate(&other.access).await, Err(TokenError::WrongKind)));
        clock.advance(LIVES.refresh);
        assert!(matches!(sessions.rotate(&other.refresh).await, Err(TokenError::Expired)));
    }

    #[test]
    fn keys_are_long_random_and_never_shown() {
        let (one, two) = (new_api_key("rc_").unwrap(), new_api_key("rc_").unwrap());
        assert_eq!(one.reveal().len(), 43);
        assert!(one.reveal()[3..].chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        assert_ne!(one, two);
        assert_eq!(format!("{one:?}"), "***");
        assert_ne!(api_key_digest(one.reveal()), api_key_digest(two.reveal()));
        let secret = Secret::new("s");
        assert_eq!(derived(&secret, "a"), derived(&secret, "a"));
        assert_ne!(derived(&secret, "a"), derived(&Secret::new("t"), "a"));
        assert_eq!(derived(&secret, "a").len(), 40);
    }
}
