//! A small world to try the service on: users in four organizations, agents that can answer, and credentials good and
//! bad. Seeding it again puts it back to its start. Passwords and keys are derived from the signing secret, so they are
//! the same every time on one installation and nobody else's.

use std::collections::BTreeMap;

use bytes::Bytes;
use contract_ragchats::server::CreateAgentError;
use contract_ragchats::types::{AgentCreate, SourceType};
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::Service;
use super::access::Role;
use super::agents;
use super::data_sources::{self, Document, NewDataSource};
use crate::platform::clock::{DAY_MS, utc_month};
use crate::platform::ingest::Media;
use crate::platform::store::{StoreError, Write};
use crate::platform::tokens::{CredentialError, Secret, TokenKind, api_key_digest, derived};

/// Queries a month of organizations that are not there to run out.
const PLENTY: i64 = 1_000_000_000;

/// Queries a month of organization D.
const FEW: i64 = 5;

const HANDBOOK: &str = "# Product handbook\n\n\
    The warranty on spare parts is two years from the day of delivery. The warranty on batteries is six months.\n\n\
    Refunds are paid within 14 days after the return has arrived. A return is free of charge within 30 days.\n\n\
    ## Delivery\n\n\
    Delivery takes three working days within the country and seven abroad. Parcels above 20 kilograms travel by freight.\n\n\
    ## Support\n\n\
    The support desk is open from Monday to Friday between 9 and 17 o'clock. Outside these hours the agent answers.\n";

/// Why the demonstration could not be set up.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Credentials could not be made.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// An agent could not be connected to its data source.
    #[error("cannot connect the demonstration's agent")]
    Connect(#[source] CreateAgentError),
}

/// Everything that a caller needs to know of the demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Demo {
    /// The users by their first names.
    pub users: BTreeMap<&'static str, DemoUser>,
    /// The organizations by their letters.
    pub organizations: BTreeMap<&'static str, DemoOrganization>,
    /// Keys of agents, good and bad.
    pub agent_keys: DemoKeys,
    /// Access tokens that must be refused.
    pub tokens: DemoTokens,
}

/// A user.
#[derive(Clone, Debug, Serialize)]
pub struct DemoUser {
    /// The user's id.
    pub id: Uuid,
    /// The address to log in with.
    pub email: String,
    /// The password to log in with.
    pub password: String,
    /// The letter of the user's only organization.
    pub organization: &'static str,
    /// The role there.
    pub role: &'static str,
    /// What the user is there for.
    pub purpose: &'static str,
}

/// An organization with an agent that can answer.
#[derive(Clone, Debug, Serialize)]
pub struct DemoOrganization {
    /// The organization's id.
    pub id: Uuid,
    /// Its agent, ready to answer.
    pub agent: Uuid,
    /// The data source that the agent answers from.
    pub data_source: Uuid,
    /// Queries a month.
    pub monthly_queries: i64,
}

/// Keys of agents.
#[derive(Clone, Debug, Serialize)]
pub struct DemoKeys {
    /// Good for the agent of A.
    pub good: String,
    /// Once good for the agent of A, revoked since.
    pub revoked: String,
    /// Good for the agent of B, so of no use on any other.
    pub foreign: String,
    /// Good for the agent of C.
    pub limits: String,
    /// Good for the agent of D.
    pub quota: String,
}

/// Access tokens that must be refused.
#[derive(Clone, Debug, Serialize)]
pub struct DemoTokens {
    /// Alice's, issued a day ago.
    pub expired: String,
    /// Well signed and in its lifetime, of a session that never was.
    pub unknown_session: String,
}

const USERS: &[(&str, &str, &str, Role, &str)] = &[
    ("alice", "Keller", "a", Role::Owner, "principal"),
    ("amy", "Sato", "a", Role::Member, "same rights as alice"),
    ("adam", "Okafor", "a", Role::Member, "same rights as alice, to be logged out"),
    ("victor", "Lind", "a", Role::Viewer, "may read and not write"),
    ("bob", "Marsh", "b", Role::Owner, "a stranger to organization a"),
    ("dave", "Ruiz", "c", Role::Owner, "reserved for exhausting rate limits"),
    ("dora", "Novak", "c", Role::Member, "reserved for exhausting rate limits"),
    ("erin", "Walsh", "d", Role::Owner, "reserved for exhausting the monthly quota"),
];

const ORGANIZATIONS: &[(&str, &str, i64)] = &[
    ("a", "Aurora Parts", PLENTY),
    ("b", "Borealis Tools", PLENTY),
    ("c", "Cirrus Freight", PLENTY),
    ("d", "Drizzle Studio", FEW),
];

/// Sets the demonstration up, or puts what is there of it back to its start.
///
/// # Errors
/// [`SeedError`] when the store fails.
pub async fn seed(service: &Service) -> Result<Demo, SeedError> {
    let inner = &service.0;
    let now = inner.clock.now_ms();
    let mut users = BTreeMap::new();
    let mut hashes = Vec::new();
    for (name, last, organization, role, purpose) in USERS {
        let user = DemoUser {
            id: demo_id(&format!("user {name}")),
            email: format!("{name}@demo.example.com"),
            password: derived(&inner.secret, &format!("demo password of {name}")),
            organization,
            role: role.as_str(),
            purpose,
        };
        hashes.push((user.clone(), *name, *last, inner.passwords.hash(Secret::new(&user.password)).await?));
        users.insert(*name, user);
    }

    let mut write = inner.store.write().await?;
    let mut organizations = BTreeMap::new();
    for (letter, name, monthly_queries) in ORGANIZATIONS {
        let organization = DemoOrganization {
            id: demo_id(&format!("organization {letter}")),
            agent: demo_id(&format!("agent {letter}")),
            data_source: demo_id(&format!("data source {letter}")),
            monthly_queries: *monthly_queries,
        };
        sqlx::query(
            "INSERT INTO organizations (id, name, monthly_queries, created_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO UPDATE SET monthly_queries = excluded.monthly_queries",
        )
        .bind(organization.id.to_string())
        .bind(*name)
        .bind(*monthly_queries)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(StoreError::from)?;
        sqlx::query("DELETE FROM monthly_usage WHERE organization_id = $1 AND month = $2")
            .bind(organization.id.to_string())
            .bind(utc_month(now).0)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        seed_agent(service, &mut write, &organization, name, now).await?;
        organizations.insert(*letter, organization);
    }
    for (user, first, last, hash) in hashes {
        let organization = organizations.get(user.organization).map(|organization| organization.id).unwrap_or_default();
        seed_user(&mut write, &user, first, last, &hash, organization, now).await?;
    }
    let agent_of = |letter: &str| organizations.get(letter).map(|organization| organization.agent).unwrap_or_default();
    let agent_keys = DemoKeys {
        good: seed_key(service, &mut write, "good", agent_of("a"), None).await?,
        revoked: seed_key(service, &mut write, "revoked", agent_of("a"), Some(now)).await?,
        foreign: seed_key(service, &mut write, "foreign", agent_of("b"), None).await?,
        limits: seed_key(service, &mut write, "limits", agent_of("c"), None).await?,
        quota: seed_key(service, &mut write, "quota", agent_of("d"), None).await?,
    };
    write.commit().await?;
    for organization in organizations.values() {
        service.process(organization.data_source).await?;
    }

    let alice = users.get("alice").map(|user| user.id.to_string()).unwrap_or_default();
    let token = |at_ms| inner.sessions.issue_at(&alice, "no such session", TokenKind::Access, at_ms);
    let tokens = DemoTokens { expired: token(now - DAY_MS)?, unknown_session: token(now)? };
    Ok(Demo { users, organizations, agent_keys, tokens })
}

async fn seed_agent(
    service: &Service,
    write: &mut Write,
    organization: &DemoOrganization,
    name: &str,
    now: i64,
) -> Result<(), SeedError> {
    // Somebody may have changed or deleted them while trying the service; a fresh start is the point of seeding.
    for (table, id) in [("agents", organization.agent), ("data_sources", organization.data_source)] {
        let sql = format!("DELETE FROM {table} WHERE id = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_string())
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
    }
    crate::platform::search::remove_scope(write, &organization.data_source.to_string()).await?;
    let source = NewDataSource {
        organization: organization.id,
        name: format!("{name} handbook"),
        source_type: SourceType::Pdf,
        config: "{}".to_owned(),
    };
    data_sources::insert(write, organization.data_source, &source, now).await?;
    let document = Document {
        title: "handbook.md".to_owned(),
        url: None,
        media: Media::Markdown,
        content: Bytes::from_static(HANDBOOK.as_bytes()),
    };
    service.add_document(write, organization.data_source, &document).await?;
    let agent = AgentCreate {
        name: format!("{name} help desk"),
        description: Some("Answers from the product handbook.".to_owned()),
        organization_id: organization.id,
        model: AgentCreate::default_model(),
        temperature: AgentCreate::default_temperature(),
        max_tokens: AgentCreate::default_max_tokens(),
        system_prompt: Some("You are a friendly help desk.".to_owned()),
        data_source_ids: None,
    };
    agents::insert(write, organization.agent, &agent, now).await?;
    agents::connect::<CreateAgentError>(write, organization.agent, organization.id, &[organization.data_source])
        .await
        .map_err(SeedError::Connect)
}

async fn seed_user(
    write: &mut Write,
    user: &DemoUser,
    first: &str,
    last: &str,
    hash: &str,
    organization: Uuid,
    now: i64,
) -> Result<(), StoreError> {
    let mut first_name = first.to_owned();
    if let Some(initial) = first_name.get_mut(..1) {
        initial.make_ascii_uppercase();
    }
    sqlx::query(
        "INSERT INTO users (id, email, first_name, last_name, password_hash, created_ms) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET password_hash = excluded.password_hash",
    )
    .bind(user.id.to_string())
    .bind(&user.email)
    .bind(first_name)
    .bind(last)
    .bind(hash)
    .bind(now)
    .execute(write.run())
    .await?;
    sqlx::query(
        "INSERT INTO memberships (user_id, organization_id, role) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, organization_id) DO UPDATE SET role = excluded.role",
    )
    .bind(user.id.to_string())
    .bind(organization.to_string())
    .bind(user.role)
    .execute(write.run())
    .await?;
    Ok(())
}

async fn seed_key(
    service: &Service,
    write: &mut Write,
    label: &str,
    agent: Uuid,
    revoked_ms: Option<i64>,
) -> Result<String, StoreError> {
    let key = format!("rc_{}", derived(&service.0.secret, &format!("demo key {label}")));
    sqlx::query(
        "INSERT INTO agent_keys (id, agent_id, digest, created_ms, revoked_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET agent_id = excluded.agent_id, digest = excluded.digest, revoked_ms = excluded.revoked_ms",
    )
    .bind(demo_id(&format!("key {label}")).to_string())
    .bind(agent.to_string())
    .bind(api_key_digest(&key))
    .bind(service.0.clock.now_ms())
    .bind(revoked_ms)
    .execute(write.run())
    .await?;
    Ok(key)
}

/// The same id for the same label everywhere, in the form of a random one.
fn demo_id(label: &str) -> Uuid {
    let digest = Sha256::digest(format!("trueline ragchats demo {label}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
