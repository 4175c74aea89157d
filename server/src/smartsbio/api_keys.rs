//! API keys — documentation section "API Keys": what the web pages do with keys.

use contract_smartsbio::server::{
    ApiKeys, CreateApiKeyError, CreateApiKeyRequest, CreateApiKeyResponse, ListApiKeysError, ListApiKeysRequest,
    ListApiKeysResponse, RevokeApiKeyError, RevokeApiKeyRequest, RevokeApiKeyResponse,
};
use contract_smartsbio::types::{ApiKey, ApiKeyCreated, ApiKeyList, Scope};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Service;
use super::access::{Principal, alphanumeric, internal, key_workspaces, new_id, no_entry, no_such, word};
use super::gate::KEY_PREFIX;
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, Write, column};
use crate::platform::tokens::{api_key_digest, random};

/// Characters of a key that are kept in clear, to tell keys apart: the prefix that all share, and four more.
const SHOWN: usize = KEY_PREFIX.len() + 4;

const COLUMNS: &str = "id, name, prefix, scopes, restricted, created_ms, expires_ms, revoked_ms";

/// A key to be.
#[derive(Debug)]
pub(super) struct NewKey<'a> {
    pub(super) id: &'a str,
    pub(super) organization: &'a str,
    pub(super) name: &'a str,
    /// The key itself; only its digest and its first characters are written.
    pub(super) key: &'a str,
    pub(super) scopes: &'a [Scope],
    /// `None` for all.
    pub(super) workspaces: Option<&'a [String]>,
    pub(super) created_ms: i64,
    pub(super) expires_ms: Option<i64>,
    pub(super) revoked_ms: Option<i64>,
}

/// Writes a key's row.
pub(super) async fn insert(write: &mut Write, new: &NewKey<'_>) -> Result<(), StoreError> {
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query(
        "INSERT INTO api_keys (id, organization_id, name, digest, prefix, scopes, restricted, created_ms, expires_ms, revoked_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new.id)
    .bind(new.organization)
    .bind(new.name)
    .bind(api_key_digest(new.key))
    .bind(new.key.get(..SHOWN).unwrap_or_default())
    .bind(scopes.join(" "))
    .bind(i64::from(new.workspaces.is_some()))
    .bind(new.created_ms)
    .bind(new.expires_ms)
    .bind(new.revoked_ms)
    .execute(write.run())
    .await?;
    for workspace in new.workspaces.unwrap_or_default() {
        sqlx::query("INSERT INTO api_key_workspaces (key_id, workspace_id) VALUES ($1, $2)")
            .bind(new.id)
            .bind(workspace)
            .execute(write.run())
            .await?;
    }
    Ok(())
}

impl ApiKeys for Service {
    type Principal = Principal;

    async fn list_api_keys(
        &self,
        caller: &Principal,
        _request: ListApiKeysRequest,
    ) -> Result<ListApiKeysResponse, ListApiKeysError> {
        let organization = caller.signed_in()?;
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let sql = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE organization_id = $1 AND revoked_ms IS NULL ORDER BY created_ms DESC, id DESC"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(organization)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(internal)?;
        let mut api_keys = Vec::with_capacity(rows.len());
        for row in &rows {
            api_keys.push(from_row(&mut snapshot, row).await.map_err(internal)?);
        }
        snapshot.commit().await.map_err(internal)?;
        Ok(ListApiKeysResponse::Ok(ApiKeyList { api_keys }))
    }

    async fn create_api_key(
        &self,
        caller: &Principal,
        request: CreateApiKeyRequest,
    ) -> Result<CreateApiKeyResponse, CreateApiKeyError> {
        let (organization, body) = (caller.signed_in()?, request.body);
        let workspaces = body.workspace_ids.value();
        let key = format!("{KEY_PREFIX}{}", alphanumeric::<32>(&mut random).map_err(internal)?);
        let id = new_id("key_").map_err(internal)?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        for workspace in workspaces.iter().flatten() {
            let known = sqlx::query("SELECT id FROM workspaces WHERE id = $1 AND organization_id = $2")
                .bind(workspace)
                .bind(organization)
                .fetch_optional(write.run())
                .await
                .map_err(internal)?;
            if known.is_none() {
                return Err(no_entry(workspace).into());
            }
        }
        let new = NewKey {
            id: &id,
            organization,
            name: &body.name,
            key: &key,
            scopes: &body.scopes,
            workspaces: workspaces.as_deref(),
            created_ms: self.0.clock.now_ms(),
            expires_ms: body.expires_at.value().map(|at| at.timestamp_millis()),
            revoked_ms: None,
        };
        insert(&mut write, &new).await.map_err(internal)?;
        let made = find(write.run(), organization, &id).await.map_err(internal)?;
        let ApiKey { id, name, prefix, scopes, workspace_ids, created_at, expires_at, revoked_at } =
            made.ok_or_else(|| internal(StoreError::Corrupt("a key that was just made is not there".to_owned())))?;
        write.commit().await.map_err(internal)?;
        Ok(CreateApiKeyResponse::Created(ApiKeyCreated {
            id,
            name,
            prefix,
            scopes,
            workspace_ids,
            created_at,
            expires_at,
            revoked_at,
            api_key: key,
        }))
    }

    async fn revoke_api_key(
        &self,
        caller: &Principal,
        request: RevokeApiKeyRequest,
    ) -> Result<RevokeApiKeyResponse, RevokeApiKeyError> {
        let organization = caller.signed_in()?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let row =
            sqlx::query("SELECT digest FROM api_keys WHERE id = $1 AND organization_id = $2 AND revoked_ms IS NULL")
                .bind(&request.key_id)
                .bind(organization)
                .fetch_optional(write.run())
                .await
                .map_err(internal)?
                .ok_or_else(|| no_such("key", &request.key_id))?;
        let digest: String = column(&row, 0).map_err(internal)?;
        sqlx::query("UPDATE api_keys SET revoked_ms = COALESCE(revoked_ms, $1) WHERE id = $2")
            .bind(self.0.clock.now_ms())
            .bind(&request.key_id)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        // Other nodes of this database learn it when what they remember of the key is half a minute old.
        self.0.keys.forget(&digest);
        Ok(RevokeApiKeyResponse::NoContent)
    }
}

async fn find(connection: &mut AnyConnection, organization: &str, id: &str) -> Result<Option<ApiKey>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE organization_id = $1 AND id = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(organization).bind(id).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => from_row(connection, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn from_row(connection: &mut AnyConnection, row: &AnyRow) -> Result<ApiKey, StoreError> {
    let id: String = column(row, 0)?;
    let workspace_ids = match column::<i64>(row, 4)? {
        0 => None,
        _ => Some(key_workspaces(connection, &id).await?),
    };
    let scopes: &str = column(row, 3)?;
    Ok(ApiKey {
        id,
        name: column(row, 1)?,
        prefix: column(row, 2)?,
        scopes: scopes.split_whitespace().map(word).collect::<Result<_, _>>()?,
        workspace_ids,
        created_at: to_datetime(column(row, 5)?),
        expires_at: column::<Option<i64>>(row, 6)?.map(to_datetime),
        revoked_at: column::<Option<i64>>(row, 7)?.map(to_datetime),
    })
}
