//! Keys for server-to-server calls — documentation section "API Keys".

use std::sync::Arc;

use contract_xentree::server::{
    ApiKeys, CreateApiKeyError, CreateApiKeyRequest, CreateApiKeyResponse, DeleteApiKeyError, DeleteApiKeyRequest,
    DeleteApiKeyResponse, ListApiKeysError, ListApiKeysRequest, ListApiKeysResponse, ListTenantsError,
    ListTenantsRequest, ListTenantsResponse,
};
use contract_xentree::types::{ApiKeyResponse, MemberRole, Scope, TenantResponse};
use ipnet::IpNet;
use sqlx::any::AnyRow;
use trueline_runtime::Patch;

use super::access::{
    Credential, Principal, bad_request, forbidden, internal, moment, new_id, not_found, nullable, page, word,
};
use super::{Inner, Service};
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};
use crate::platform::tokens::{api_key_digest, long_api_key};

/// What every key begins with.
pub(super) const PREFIX: &str = "xntr-";

/// Bytes of randomness in a key: exactly 86 characters of base64.
const RANDOM_BYTES: usize = 64;

/// Characters of a key that lists show: the prefix and four more, which leaves 492 bits to guess.
const SHOWN: usize = 9;

/// How often the last use of a key is written down. Every call would be a write; a minute is as exact as anybody needs it.
const LAST_USE_MS: i64 = 60_000;

/// A key that is good, as the gate needs it.
pub(super) struct Found {
    pub(super) principal: Principal,
    /// What it may do; `None` is everything.
    pub(super) scopes: Option<Arc<[String]>>,
}

/// A key as it is written first.
pub(super) struct NewKey<'a> {
    pub(super) id: &'a str,
    pub(super) organization: &'a str,
    pub(super) created_by: &'a str,
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    pub(super) scopes: &'a [Scope],
    pub(super) allowed_ips: &'a [String],
    pub(super) expires_ms: Option<i64>,
}

const COLUMNS: &str = "k.id, k.name, k.prefix, k.organization_id, k.scopes, k.allowed_ips, k.created_by, k.last_used_ms, \
                       k.expires_ms, k.created_ms";

/// Keys that the caller may see: their own while they are a member, and everybody's where they are owner or admin.
const VISIBLE: &str = "FROM api_keys AS k JOIN memberships AS m ON m.organization_id = k.organization_id \
                       AND m.user_id = $1 WHERE (k.created_by = $1 OR m.role IN ('owner', 'admin'))";

impl ApiKeys for Service {
    type Principal = Principal;

    async fn list_api_keys(
        &self,
        caller: &Principal,
        request: ListApiKeysRequest,
    ) -> Result<ListApiKeysResponse, ListApiKeysError> {
        let (limit, offset) = page(request.page, request.limit);
        let sql = format!("SELECT {COLUMNS} {VISIBLE} ORDER BY k.created_ms DESC, k.id LIMIT $2 OFFSET $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(limit)
            .bind(offset)
            .fetch_all(self.0.store.reader())
            .await
            .map_err(internal)?;
        let now = self.0.clock.now_ms();
        let keys = rows.iter().map(|row| from_row(row, now)).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListApiKeysResponse::Ok(keys))
    }

    async fn create_api_key(
        &self,
        caller: &Principal,
        request: CreateApiKeyRequest,
    ) -> Result<CreateApiKeyResponse, CreateApiKeyError> {
        let new = request.body;
        let now = self.0.clock.now_ms();
        let allowed_ips = new.allowed_ips.unwrap_or_default();
        if let Some(bad) = allowed_ips.iter().find(|text| network(text).is_none()) {
            return Err(bad_request(format!("{bad:?} in the field \"allowed_ips\" is no address or network.")).into());
        }
        let expires_ms = new.expires_at.value().map(|at| at.timestamp_millis());
        if expires_ms.is_some_and(|at| at <= now) {
            return Err(bad_request("The field \"expires_at\" is not in the future.").into());
        }
        let key = long_api_key::<RANDOM_BYTES>(PREFIX).map_err(internal)?;
        let id = new_id("key").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let role = self.role(write.run(), caller, &new.tenant_id).await.map_err(internal)?;
        let role = role.ok_or_else(|| not_found("Tenant not found"))?;
        let powerful = new.scopes.iter().any(|scope| matches!(scope, Scope::ApiWrite | Scope::ApiAdmin));
        if powerful && !matches!(role, MemberRole::Owner | MemberRole::Admin) {
            return Err(forbidden().into());
        }
        let stored = NewKey {
            id: &id,
            organization: &new.tenant_id,
            created_by: &caller.user,
            name: &new.name,
            key: key.reveal(),
            scopes: &new.scopes,
            allowed_ips: &allowed_ips,
            expires_ms,
        };
        insert(&mut write, &stored, now).await.map_err(internal)?;
        let sql = format!("SELECT {COLUMNS} FROM api_keys AS k WHERE k.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&id).fetch_one(write.run()).await.map_err(internal)?;
        let mut created = from_row(&row, now).map_err(internal)?;
        write.commit().await.map_err(internal)?;
        created.key = Patch::Value(key.reveal().to_owned());
        Ok(CreateApiKeyResponse::Created(created))
    }

    async fn delete_api_key(
        &self,
        caller: &Principal,
        request: DeleteApiKeyRequest,
    ) -> Result<DeleteApiKeyResponse, DeleteApiKeyError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let sql = format!("DELETE FROM api_keys WHERE id IN (SELECT k.id {VISIBLE} AND k.id = $2)");
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&caller.user)
            .bind(&request.key_id)
            .execute(write.run())
            .await
            .map_err(internal)?;
        if done.rows_affected() == 0 {
            return Err(not_found("API key not found").into());
        }
        write.commit().await.map_err(internal)?;
        Ok(DeleteApiKeyResponse::NoContent)
    }

    async fn list_tenants(
        &self,
        caller: &Principal,
        request: ListTenantsRequest,
    ) -> Result<ListTenantsResponse, ListTenantsError> {
        let (limit, offset) = page(request.page, request.limit);
        let rows = sqlx::query(
            "SELECT o.id, o.name, o.slug FROM memberships AS m JOIN organizations AS o ON o.id = m.organization_id \
             WHERE m.user_id = $1 ORDER BY o.name, o.id LIMIT $2 OFFSET $3",
        )
        .bind(&caller.user)
        .bind(limit)
        .bind(offset)
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        let tenant = |row: &AnyRow| {
            Ok::<_, StoreError>(TenantResponse {
                id: column(row, 0)?,
                name: column(row, 1)?,
                slug: Patch::Value(column(row, 2)?),
            })
        };
        Ok(ListTenantsResponse::Ok(rows.iter().map(tenant).collect::<Result<_, _>>().map_err(internal)?))
    }
}

/// The key behind a credential, if it is known and has not expired. Asked of the store every time, so that a key is good for
/// nothing from the moment that it is deleted.
pub(super) async fn find(inner: &Inner, credential: &str) -> Result<Option<Found>, StoreError> {
    let now = inner.clock.now_ms();
    let row = sqlx::query(
        "SELECT id, organization_id, created_by, scopes, allowed_ips, last_used_ms FROM api_keys \
         WHERE digest = $1 AND (expires_ms IS NULL OR expires_ms > $2)",
    )
    .bind(api_key_digest(credential))
    .bind(now)
    .fetch_optional(inner.store.reader())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: String = column(&row, 0)?;
    let last_used: Option<i64> = column(&row, 5)?;
    if last_used.is_none_or(|at| (now - at).abs() >= LAST_USE_MS) {
        let mut write = inner.store.write().await?;
        sqlx::query("UPDATE api_keys SET last_used_ms = $1 WHERE id = $2")
            .bind(now)
            .bind(&id)
            .execute(write.run())
            .await?;
        write.commit().await?;
    }
    let scopes: Vec<String> = words(column(&row, 3)?);
    let everything = scopes.iter().any(|scope| scope == Scope::ApiAdmin.as_str());
    let credential = Credential::Key { id, organization: column(&row, 1)?, allowed_ips: words(column(&row, 4)?) };
    Ok(Some(Found {
        principal: Principal { user: column(&row, 2)?, credential },
        scopes: (!everything).then(|| scopes.into()),
    }))
}

/// Writes a new key's row, for the API and for demonstrations alike.
pub(super) async fn insert(write: &mut Write, key: &NewKey<'_>, now: i64) -> Result<(), StoreError> {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO api_keys (id, organization_id, created_by, name, digest, prefix, scopes, allowed_ips, created_ms, \
         expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(key.id)
    .bind(key.organization)
    .bind(key.created_by)
    .bind(key.name)
    .bind(api_key_digest(key.key))
    .bind(key.key.get(..SHOWN).unwrap_or(PREFIX))
    .bind(scopes.join(" "))
    .bind(key.allowed_ips.join(" "))
    .bind(now)
    .bind(key.expires_ms)
    .execute(write.run())
    .await?;
    Ok(())
}

/// Takes back the keys that a user has made for an organization, because the user has left it.
pub(super) async fn revoke_of(write: &mut Write, user: &str, organization: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM api_keys WHERE created_by = $1 AND organization_id = $2")
        .bind(user)
        .bind(organization)
        .execute(write.run())
        .await?;
    Ok(())
}

fn from_row(row: &AnyRow, now: i64) -> Result<ApiKeyResponse, StoreError> {
    let expires: Option<i64> = column(row, 8)?;
    Ok(ApiKeyResponse {
        id: column(row, 0)?,
        name: column(row, 1)?,
        key: Patch::Null,
        key_prefix: column(row, 2)?,
        tenant_id: column(row, 3)?,
        scopes: words(column(row, 4)?).iter().map(|scope| word(scope)).collect::<Result<_, _>>()?,
        allowed_ips: words(column(row, 5)?),
        created_by: nullable(column(row, 6)?),
        is_active: expires.is_none_or(|at| at > now),
        last_used_at: moment(column(row, 7)?),
        expires_at: moment(expires),
        created_at: to_datetime(column(row, 9)?),
    })
}

fn words(stored: String) -> Vec<String> {
    stored.split_ascii_whitespace().map(str::to_owned).collect()
}

/// An address or a network; an address is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok()
}
