//! A small world to try the service on: users in a few organizations, an admin, and credentials good and bad. Seeding it
//! again puts it back to its start. Passwords and keys are derived from the signing secret, so they are the same every time
//! on one installation and nobody else's.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_xentree::operations::CONTRACT;
use contract_xentree::types::Scope;
use serde::Serialize;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

use super::Service;
use super::access::word;
use super::{api_keys, authentication, organizations};
use crate::platform::clock::DAY_MS;
use crate::platform::store::{StoreError, Write};
use crate::platform::tokens::{CredentialError, Secret, TokenKind, derived};

/// Why the demonstration could not be set up.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Credentials could not be made.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

/// Everything that a caller needs to know of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Demo {
    /// The users by name.
    pub users: BTreeMap<&'static str, DemoUser>,
    /// The ids of the organizations by their letters.
    pub organizations: BTreeMap<&'static str, String>,
    /// API keys by what they are for.
    pub keys: BTreeMap<String, DemoKey>,
    /// Access tokens that must be refused.
    pub tokens: DemoTokens,
}

/// A user.
#[derive(Clone, Debug, Serialize)]
pub struct DemoUser {
    /// The user's id.
    pub id: String,
    /// The name to sign in with.
    pub username: String,
    /// The password to sign in with.
    pub password: String,
    /// The letter of the user's organization.
    pub organization: &'static str,
    /// The role there.
    pub role: &'static str,
    /// What the user is there for.
    pub purpose: &'static str,
}

/// An API key.
#[derive(Clone, Debug, Serialize)]
pub struct DemoKey {
    /// The key itself.
    pub key: String,
    /// The scopes that it has.
    pub scopes: Vec<String>,
    /// Operations that must be refused to it for want of a scope.
    pub denied: Vec<&'static str>,
}

/// Access tokens that must be refused.
#[derive(Clone, Debug, Serialize)]
pub struct DemoTokens {
    /// Ana's, issued a day ago.
    pub expired: String,
    /// Well signed and in its lifetime, of a session that never was.
    pub unknown_session: String,
}

/// Name, organization, role there, role on the platform, purpose.
const USERS: &[(&str, &str, &str, &str, &str)] = &[
    ("ana", "a", "owner", "user", "principal"),
    ("mia", "a", "member", "user", "may look at organization a and not change it"),
    ("ben", "b", "owner", "user", "a stranger to organization a"),
    ("root", "r", "owner", "admin", "looks after the platform"),
    ("kim", "k", "owner", "user", "makes the API keys"),
    ("gus", "g", "owner", "user", "joins organizations that others make"),
    ("nora", "n", "owner", "user", "has no Live allowance"),
    ("lena", "l", "owner", "user", "reserved for exhausting rate limits"),
    ("lars", "l", "owner", "user", "reserved for exhausting rate limits"),
];

const ORGANIZATIONS: &[(&str, &str)] = &[
    ("a", "Aurora Academy"),
    ("b", "Borealis College"),
    ("g", "Guild of Guests"),
    ("k", "Keystone Institute"),
    ("l", "Lumen School"),
    ("n", "Nimbus Club"),
    ("r", "Root Office"),
];

/// Sets the demonstration up, or puts what is there of it back to its start.
///
/// # Errors
/// [`SeedError`] when the store fails.
pub async fn seed(service: &Service) -> Result<Demo, SeedError> {
    let inner = &service.0;
    let now = inner.clock.now_ms();
    let mut users = BTreeMap::new();
    let mut hashes = BTreeMap::new();
    for (name, organization, role, _, purpose) in USERS {
        let user = DemoUser {
            id: demo_id("usr", name),
            username: format!("{name}.demo"),
            password: derived(&inner.secret, &format!("demo password of {name}")),
            organization,
            role,
            purpose,
        };
        hashes.insert(*name, inner.passwords.hash(Secret::new(&user.password)).await?);
        users.insert(*name, user);
    }
    let organizations: BTreeMap<&str, String> =
        ORGANIZATIONS.iter().map(|(letter, _)| (*letter, demo_id("org", letter))).collect();

    let mut write = inner.store.write().await?;
    clear(&mut write, &users, &organizations).await?;
    for (letter, name) in ORGANIZATIONS {
        let slug = name.to_lowercase().replace(' ', "-") + "-demo";
        organizations::insert(&mut write, &organizations[letter], name, &slug, None, None, now).await?;
    }
    for (name, organization, role, platform, _) in USERS {
        let user = &users[name];
        let new = authentication::NewUser {
            id: &user.id,
            username: &user.username,
            email: &format!("{name}@demo.example.com"),
            full_name: None,
            role: platform,
            plan: if *name == "nora" { "none" } else { "pro" },
            password_hash: &hashes[name],
        };
        authentication::insert(&mut write, &new, now).await?;
        organizations::join(&mut write, &user.id, &organizations[organization], word(role)?, None, now).await?;
    }
    let keys = seed_keys(service, &mut write, &users, &organizations, now).await?;
    write.commit().await?;

    let ana = &users["ana"].id;
    let token = |at_ms| inner.sessions.issue_at(ana, "no such session", TokenKind::Access, at_ms);
    let tokens = DemoTokens { expired: token(now - DAY_MS)?, unknown_session: token(now)? };
    Ok(Demo { users, organizations, keys, tokens })
}

/// Somebody may have changed or deleted anything while trying the service; a fresh start is the point of seeding.
async fn clear(
    write: &mut Write,
    users: &BTreeMap<&'static str, DemoUser>,
    organizations: &BTreeMap<&str, String>,
) -> Result<(), StoreError> {
    for id in organizations.values() {
        sqlx::query("DELETE FROM organizations WHERE id = $1").bind(id).execute(write.run()).await?;
    }
    for user in users.values() {
        sqlx::query("DELETE FROM users WHERE id = $1").bind(&user.id).execute(write.run()).await?;
    }
    Ok(())
}

/// Keys of kim's: one with every scope, one with each scope missing, one of no use, one that has expired. Those of lena's are
/// for exhausting limits.
async fn seed_keys(
    service: &Service,
    write: &mut Write,
    users: &BTreeMap<&'static str, DemoUser>,
    organizations: &BTreeMap<&'static str, String>,
    now: i64,
) -> Result<BTreeMap<String, DemoKey>, StoreError> {
    let every: Vec<Scope> = Scope::ALL.iter().copied().filter(|scope| *scope != Scope::ApiAdmin).collect();
    let mut wanted = vec![
        ("all".to_owned(), "kim", every.clone(), None),
        ("idle".to_owned(), "kim", vec![Scope::QuizRead], None),
        ("expired".to_owned(), "kim", every.clone(), Some(now - 1)),
        ("limits".to_owned(), "lena", every.clone(), None),
        ("limits-2".to_owned(), "lars", every.clone(), None),
    ];
    let needed: BTreeSet<&str> = CONTRACT.operations.iter().flat_map(|operation| operation.scopes).copied().collect();
    for missing in needed {
        let rest = every.iter().copied().filter(|scope| scope.as_str() != missing).collect();
        wanted.push((format!("without-{}", missing.replace(':', "-")), "kim", rest, None));
    }
    let mut keys = BTreeMap::new();
    for (label, maker, scopes, expires_ms) in wanted {
        let key = demo_key(&service.0.secret, &label);
        let user = &users[maker];
        let new = api_keys::NewKey {
            id: &demo_id("key", &label),
            organization: &organizations[user.organization],
            created_by: &user.id,
            name: &label,
            key: &key,
            scopes: &scopes,
            allowed_ips: &[],
            expires_ms,
        };
        api_keys::insert(write, &new, now).await?;
        let scopes: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        let lacks = |scope: &&str| !scopes.iter().any(|has| has == scope);
        let denied = CONTRACT.operations.iter().filter(|operation| operation.scopes.iter().any(lacks));
        let denied = denied.map(|operation| operation.id).collect();
        keys.insert(label, DemoKey { key, scopes, denied });
    }
    Ok(keys)
}

/// A key with the form of a random one.
pub(super) fn demo_key(secret: &Secret, label: &str) -> String {
    let digest = Sha512::digest(format!("{} demo key {label}", secret.reveal()).as_bytes());
    format!("{}{}", api_keys::PREFIX, URL_SAFE_NO_PAD.encode(digest))
}

/// The same id for the same label everywhere, in the form of a random one.
pub(super) fn demo_id(prefix: &str, label: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest = Sha256::digest(format!("trueline xentree demo {prefix} {label}").as_bytes());
    let text: String = digest.iter().take(20).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    format!("{prefix}_{text}")
}
