//! A small world to try the service on: four organizations with workspaces and files, and keys good and bad. Seeding it
//! again puts it back to its start. Keys are derived from the signing secret, so they are the same every time on one
//! installation and nobody else's.

use std::collections::BTreeMap;

use contract_smartsbio::types::Scope;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Service;
use super::access::alphanumeric;
use super::api_keys::{self, NewKey};
use super::files::{self, Entry, KEPT};
use super::gate::KEY_PREFIX;
use crate::platform::clock::DAY_MS;
use crate::platform::store::{StoreError, Write};
use crate::platform::tokens::{CredentialError, Secret, TokenKind, derived};

/// Credits a month of organizations that are not there to run out.
const PLENTY: i64 = 1_000_000_000;

/// Credits a month of organization D.
const FEW: i64 = 5;

/// Keys of organization A with the same rights, in each of the two headers. One key may send so many requests a minute; a
/// thorough run sends thousands.
const BEARERS: usize = 16;
const HEADERS: usize = 8;

const TABLE: &str = "gene,log2_fold_change,p_value\nBRCA1,2.4,0.0004\nTP53,-1.8,0.002\nEGFR,0.3,0.41\nMYC,1.1,0.03\n";

/// Every scope, in the order of the documentation.
const ALL: &[Scope] = &[Scope::Query, Scope::Tools, Scope::Conversations, Scope::Files];

/// Why the demonstration could not be set up.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Credentials could not be made.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// A file could not be kept.
    #[error("cannot keep a demonstration file")]
    Files(#[from] std::io::Error),
}

/// Everything that a caller needs to know of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Demo {
    /// The organizations by their letters.
    pub organizations: BTreeMap<&'static str, DemoOrganization>,
    /// The keys by their names.
    pub keys: BTreeMap<String, DemoKey>,
    /// Sessions of the web pages of organization A, good ones.
    pub sessions: Vec<String>,
    /// The same of organization C, reserved for exhausting rate limits.
    pub limits_sessions: Vec<String>,
    /// A session of A that has expired.
    pub expired_session: String,
    /// Well signed and in its lifetime, but there never was such a session.
    pub unknown_session: String,
}

/// An organization.
#[derive(Clone, Debug, Serialize)]
pub struct DemoOrganization {
    /// The organization's id.
    pub id: &'static str,
    /// Its workspaces, the first one first.
    pub workspaces: &'static [&'static str],
    /// Credits a month.
    pub compute_quota: i64,
    /// The key of a table in the first workspace.
    pub file: String,
}

/// A key.
#[derive(Clone, Debug, Serialize)]
pub struct DemoKey {
    /// The key.
    pub key: String,
    /// The letter of its organization.
    pub organization: &'static str,
    /// What it may do.
    pub scopes: Vec<&'static str>,
    /// The workspaces that it is good for; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<Vec<String>>,
    /// What it is there for.
    pub purpose: &'static str,
}

const ORGANIZATIONS: &[(&str, &str, &str, &[&str], i64)] = &[
    ("a", "org_aurora", "Aurora Genomics", &["ws_aurora", "ws_aurora2"], PLENTY),
    ("b", "org_borealis", "Borealis Bio", &["ws_borealis"], PLENTY),
    ("c", "org_cirrus", "Cirrus Sequencing", &["ws_cirrus"], PLENTY),
    ("d", "org_drizzle", "Drizzle Labs", &["ws_drizzle"], FEW),
];

/// A key to be seeded.
struct Wanted {
    name: String,
    organization: &'static str,
    scopes: &'static [Scope],
    workspaces: Option<&'static [&'static str]>,
    purpose: &'static str,
    expired: bool,
    revoked: bool,
}

fn wanted() -> Vec<Wanted> {
    let key = |name: &str, organization, purpose| Wanted {
        name: name.to_owned(),
        organization,
        scopes: ALL,
        workspaces: None,
        purpose,
        expired: false,
        revoked: false,
    };
    let only = |name: &str, scopes| Wanted { scopes, ..key(name, "a", "has one scope and lacks the others") };
    let mut keys: Vec<Wanted> = Vec::new();
    keys.extend((1..=BEARERS).map(|number| key(&format!("bearer-{number:02}"), "a", "principal, in Authorization")));
    keys.extend((1..=HEADERS).map(|number| key(&format!("header-{number:02}"), "a", "principal, in X-API-Key")));
    keys.extend([
        only("only-query", &[Scope::Query]),
        only("only-tools", &[Scope::Tools]),
        only("only-conversations", &[Scope::Conversations]),
        only("only-files", &[Scope::Files]),
        Wanted { workspaces: Some(&["ws_aurora"]), ..key("restricted", "a", "is good for the first workspace only") },
        key("stranger", "b", "a stranger to organization a"),
        key("limits-1", "c", "reserved for exhausting rate limits"),
        key("limits-2", "c", "reserved for exhausting rate limits"),
        key("quota", "d", "reserved for exhausting the compute quota"),
        Wanted { revoked: true, ..key("revoked", "a", "was revoked") },
        Wanted { expired: true, ..key("expired", "a", "has expired") },
    ]);
    keys
}

/// Sets the demonstration up, or puts what is there of it back to its start.
///
/// # Errors
/// [`SeedError`] when the store fails.
pub async fn seed(service: &Service) -> Result<Demo, SeedError> {
    let inner = &service.0;
    let now = inner.clock.now_ms();
    let mut write = inner.store.write().await?;
    let mut organizations = BTreeMap::new();
    for (letter, id, name, workspaces, compute_quota) in ORGANIZATIONS {
        // With an organization goes all that is its own; a fresh start is the point of seeding.
        sqlx::query("DELETE FROM organizations WHERE id = $1")
            .bind(*id)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        sqlx::query("INSERT INTO organizations (id, name, compute_quota, created_ms) VALUES ($1, $2, $3, $4)")
            .bind(*id)
            .bind(*name)
            .bind(*compute_quota)
            .bind(now)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        for workspace in *workspaces {
            sqlx::query("INSERT INTO workspaces (id, organization_id, name, created_ms) VALUES ($1, $2, $3, $4)")
                .bind(*workspace)
                .bind(*id)
                .bind(format!("{name} {workspace}"))
                .bind(now)
                .execute(write.run())
                .await
                .map_err(StoreError::from)?;
        }
        let file = seed_file(service, &mut write, letter, workspaces, now).await?;
        let organization = DemoOrganization { id, workspaces, compute_quota: *compute_quota, file };
        organizations.insert(*letter, organization);
    }
    let mut keys = BTreeMap::new();
    for wanted in wanted() {
        let organization = organizations.get(wanted.organization).map_or("", |organization| organization.id);
        let key = demo_key(&inner.secret, &wanted.name)?;
        let workspaces: Option<Vec<String>> =
            wanted.workspaces.map(|listed| listed.iter().map(|id| (*id).to_owned()).collect());
        let new = NewKey {
            id: &format!("key_demo{}", wanted.name.replace('-', "")),
            organization,
            name: &wanted.name,
            key: &key,
            scopes: wanted.scopes,
            workspaces: workspaces.as_deref(),
            created_ms: now - DAY_MS,
            expires_ms: wanted.expired.then_some(now - 1),
            revoked_ms: wanted.revoked.then_some(now),
        };
        api_keys::insert(&mut write, &new).await?;
        let shown = DemoKey {
            key,
            organization: wanted.organization,
            scopes: wanted.scopes.iter().map(|scope| scope.as_str()).collect(),
            workspaces,
            purpose: wanted.purpose,
        };
        keys.insert(wanted.name, shown);
    }
    write.commit().await?;
    inner.keys.clear();
    let id_of = |letter: &str| organizations.get(letter).map_or("", |organization| organization.id);
    let owner = id_of("a");
    let (mut sessions, mut limits_sessions) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        sessions.push(inner.sessions.open(owner).await?.access);
    }
    for _ in 0..2 {
        limits_sessions.push(inner.sessions.open(id_of("c")).await?.access);
    }
    let token = |at_ms| inner.sessions.issue_at(owner, "no such session", TokenKind::Access, at_ms);
    let (expired_session, unknown_session) = (token(now - 60 * DAY_MS)?, token(now)?);
    Ok(Demo { organizations, keys, sessions, limits_sessions, expired_session, unknown_session })
}

async fn seed_file(
    service: &Service,
    write: &mut Write,
    letter: &str,
    workspaces: &[&str],
    now: i64,
) -> Result<String, SeedError> {
    let workspace = workspaces.first().copied().unwrap_or_default();
    let id = format!("f_demo{letter}");
    let entry = Entry {
        key: format!("{workspace}/results/{id}/table.csv"),
        workspace: workspace.to_owned(),
        name: "table.csv".to_owned(),
        size: i64::try_from(TABLE.len()).unwrap_or(i64::MAX),
        content_type: "text/csv".to_owned(),
        description: Some("Differential expression.".to_owned()),
        modified_ms: now,
        id,
    };
    service.0.blobs.write(&entry.id, TABLE.as_bytes()).await?;
    files::insert(write, &entry, KEPT).await?;
    Ok(entry.key)
}

/// A key that only holders of the secret can compute, the same for the same name.
fn demo_key(secret: &Secret, name: &str) -> Result<String, CredentialError> {
    let mut round = 0_u32;
    let mut source = || {
        round += 1;
        let label = format!("demo key {name} {round}");
        Ok(Sha256::digest(derived(secret, &label).as_bytes()).into())
    };
    Ok(format!("{KEY_PREFIX}{}", alphanumeric::<32>(&mut source)?))
}
