//! API Keys — documentation section "API Keys".

use contract_foilengine::problems::NotFound;
use contract_foilengine::server::{
    ApiKeys, CreateApiKeyError, CreateApiKeyRequest, CreateApiKeyResponse, ListApiKeysError, ListApiKeysRequest,
    ListApiKeysResponse, RevokeApiKeyError, RevokeApiKeyRequest, RevokeApiKeyResponse,
};
use contract_foilengine::types::{ApiKey, ApiKeyCreated};
use uuid::Uuid;

use super::Service;
use super::access::{Principal, id, internal, know};
use crate::platform::clock::to_datetime;
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::{CredentialError, Secret, api_key_digest, random};

/// What every key begins with.
pub(super) const PREFIX: &str = "pk_live_";

impl ApiKeys for Service {
    type Principal = Principal;

    async fn list_api_keys(
        &self,
        caller: &Principal,
        _: ListApiKeysRequest,
    ) -> Result<ListApiKeysResponse, ListApiKeysError> {
        let rows = sqlx::query(
            "SELECT id, name, created_ms, last_used_ms FROM api_keys WHERE owner_id = $1 AND revoked_ms IS NULL \
             ORDER BY created_ms DESC, id DESC",
        )
        .bind(caller.user()?.id.to_string())
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        let key = |row: &sqlx::any::AnyRow| {
            Ok(ApiKey {
                id: id(column(row, 0)?)?,
                name: column(row, 1)?,
                key_prefix: PREFIX.to_owned(),
                created_at: to_datetime(column(row, 2)?),
                last_used_at: column::<Option<i64>>(row, 3)?.map(to_datetime),
            })
        };
        let keys = rows.iter().map(key).collect::<Result<_, StoreError>>().map_err(internal)?;
        Ok(ListApiKeysResponse::Ok(keys))
    }

    async fn create_api_key(
        &self,
        caller: &Principal,
        request: CreateApiKeyRequest,
    ) -> Result<CreateApiKeyResponse, CreateApiKeyError> {
        let (user, now) = (caller.user()?, self.0.clock.now_ms());
        let (key_id, key) = (Uuid::new_v4(), new_key().map_err(internal)?);
        let mut write = self.0.store.write().await.map_err(internal)?;
        know(&mut write, user, now).await.map_err(internal)?;
        sqlx::query("INSERT INTO api_keys (id, owner_id, name, digest, created_ms) VALUES ($1, $2, $3, $4, $5)")
            .bind(key_id.to_string())
            .bind(user.id.to_string())
            .bind(&request.body.name)
            .bind(api_key_digest(key.reveal()))
            .bind(now)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(CreateApiKeyResponse::Ok(ApiKeyCreated {
            id: key_id,
            name: request.body.name,
            key: key.reveal().to_owned(),
            key_prefix: PREFIX.to_owned(),
            created_at: to_datetime(now),
        }))
    }

    async fn revoke_api_key(
        &self,
        caller: &Principal,
        request: RevokeApiKeyRequest,
    ) -> Result<RevokeApiKeyResponse, RevokeApiKeyError> {
        let mut write = self.0.store.write().await.map_err(internal)?;
        let revoked =
            sqlx::query("UPDATE api_keys SET revoked_ms = $3 WHERE id = $1 AND owner_id = $2 AND revoked_ms IS NULL")
                .bind(request.key_id.to_string())
                .bind(caller.user()?.id.to_string())
                .bind(self.0.clock.now_ms())
                .execute(write.run())
                .await
                .map_err(internal)?;
        if revoked.rows_affected() == 0 {
            return Err(NotFound::because("There is no such API key.").into());
        }
        write.commit().await.map_err(internal)?;
        Ok(RevokeApiKeyResponse::NoContent)
    }
}

/// A fresh key: 128 bits, too many to be guessed and so, like other keys here, stored under a plain digest.
fn new_key() -> Result<Secret, CredentialError> {
    let bytes = random::<16>()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(format!("{PREFIX}{hex}")))
}
