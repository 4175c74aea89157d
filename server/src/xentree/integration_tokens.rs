//! Short-lived tokens that let a partner's page act for a tenant — documentation section "Integration Tokens".

use contract_xentree::problems::{InternalServerError, NotFound};
use contract_xentree::server::{
    GetIntegrationFingerprintError, GetIntegrationFingerprintRequest, GetIntegrationFingerprintResponse,
    GetIntegrationJwksError, GetIntegrationJwksRequest, GetIntegrationJwksResponse, IntegrationTokens,
    IssueIntegrationGrantError, IssueIntegrationGrantRequest, IssueIntegrationGrantResponse,
    ListIntegrationTokenRevocationsError, ListIntegrationTokenRevocationsRequest,
    ListIntegrationTokenRevocationsResponse, RevokeIntegrationTokenError, RevokeIntegrationTokenRequest,
    RevokeIntegrationTokenResponse, RotateIntegrationGrantError, RotateIntegrationGrantRequest,
    RotateIntegrationGrantResponse, VerifyIntegrationTokenError, VerifyIntegrationTokenRequest,
    VerifyIntegrationTokenResponse,
};
use contract_xentree::types::{
    IntegrationFingerprintResponse, IntegrationGrantRequest, IntegrationGrantResponse,
    IntegrationGrantResponseTokenType, IntegrationJwksResponse, IntegrationRevokeResponse, IntegrationRotateResponse,
    IntegrationRotateResponseTokenType, IntegrationTokenRevocationItem, IntegrationVerifyResponse,
    IntegrationVerifyResponseReason, KeyFingerprint,
};
use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use trueline_runtime::Patch;

use super::Service;
use super::access::{Principal, forbidden, internal, moment, new_id, not_found, nullable, page};
use super::signing::{Claims, Signed, SigningKey};
use crate::platform::clock::{DAY_MS, to_datetime};
use crate::platform::store::{StoreError, Write, column};

/// How long an expired token is remembered, so that a late question about it gets an exact answer.
const REMEMBERED_MS: i64 = DAY_MS;

impl IntegrationTokens for Service {
    type Principal = Principal;

    async fn issue_integration_grant(
        &self,
        caller: &Principal,
        request: IssueIntegrationGrantRequest,
    ) -> Result<IssueIntegrationGrantResponse, IssueIntegrationGrantError> {
        let tenant = self.own_tenant(caller).await.map_err(internal)?.ok_or_else(forbidden)?;
        let (claims, signed) = self.sign(caller, &tenant, &request.body).await?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        self.store_token(&mut write, &claims, &signed).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(IssueIntegrationGrantResponse::Ok(grant(claims, signed)))
    }

    async fn verify_integration_token(
        &self,
        caller: &Principal,
        request: VerifyIntegrationTokenRequest,
    ) -> Result<VerifyIntegrationTokenResponse, VerifyIntegrationTokenError> {
        let (token, tenant) = (request.body.token, request.body.tenant_id);
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        self.member_of::<VerifyIntegrationTokenError>(&mut connection, caller, &tenant).await?;
        let no = |reason| {
            VerifyIntegrationTokenResponse::Ok(IntegrationVerifyResponse {
                valid: false,
                revoked: false,
                reason: Patch::Value(reason),
                jti: Patch::Null,
                tenant_id: Patch::Null,
                claims: Patch::Null,
            })
        };
        let Some(kid) = Claims::key_of(&token) else { return Ok(no(IntegrationVerifyResponseReason::Malformed)) };
        let claims = self.proved(&mut connection, &token, &kid).await.map_err(internal)?;
        let Some(claims) = claims else { return Ok(no(IntegrationVerifyResponseReason::BadSignature)) };
        if claims.tenant_id != tenant {
            return Ok(no(IntegrationVerifyResponseReason::WrongTenant));
        }
        let revoked = revocation(&mut connection, &claims.jti).await.map_err(internal)?.is_some();
        let reason = if revoked {
            Some(IntegrationVerifyResponseReason::Revoked)
        } else if claims.exp.saturating_mul(1000) <= self.0.clock.now_ms() {
            Some(IntegrationVerifyResponseReason::Expired)
        } else {
            None
        };
        let valid = reason.is_none();
        let serde_json::Value::Object(shown) = serde_json::to_value(&claims).map_err(internal)? else {
            return Ok(no(IntegrationVerifyResponseReason::Malformed));
        };
        Ok(VerifyIntegrationTokenResponse::Ok(IntegrationVerifyResponse {
            valid,
            revoked,
            reason: nullable(reason),
            jti: Patch::Value(claims.jti),
            tenant_id: Patch::Value(claims.tenant_id),
            claims: Patch::Value(shown),
        }))
    }

    async fn revoke_integration_token(
        &self,
        caller: &Principal,
        request: RevokeIntegrationTokenRequest,
    ) -> Result<RevokeIntegrationTokenResponse, RevokeIntegrationTokenError> {
        let body = request.body;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let (tenant, jti) = match (body.integration_token, body.tenant_id, body.jti) {
            (Some(token), named, _) => {
                let found = self.named_by::<RevokeIntegrationTokenError>(write.run(), caller, &token).await?;
                // A tenant that is named beside a token is the token's, or there is no such token.
                if named.is_some_and(|tenant| tenant != found.0) {
                    return Err(no_token().into());
                }
                found
            }
            (None, Some(tenant), Some(jti)) => {
                self.member_of::<RevokeIntegrationTokenError>(write.run(), caller, &tenant).await?;
                (tenant, jti)
            }
            // The schema lets neither of these through.
            _ => return Err(no_token().into()),
        };
        if !issued(write.run(), &tenant, &jti).await.map_err(internal)? {
            return Err(no_token().into());
        }
        let reason = body.reason.value();
        self.revoke(&mut write, caller, &tenant, &jti, reason.as_deref()).await.map_err(internal)?;
        let row = revocation(write.run(), &jti).await.map_err(internal)?;
        let (reason, revoked_ms) = row.ok_or_else(no_token)?;
        write.commit().await.map_err(internal)?;
        Ok(RevokeIntegrationTokenResponse::Ok(IntegrationRevokeResponse {
            revoked: true,
            jti,
            tenant_id: tenant,
            reason: nullable(reason),
            revoked_at: to_datetime(revoked_ms),
        }))
    }

    async fn rotate_integration_grant(
        &self,
        caller: &Principal,
        request: RotateIntegrationGrantRequest,
    ) -> Result<RotateIntegrationGrantResponse, RotateIntegrationGrantError> {
        let body = request.body;
        let tenant = self.own_tenant(caller).await.map_err(internal)?.ok_or_else(forbidden)?;
        let wanted = IntegrationGrantRequest {
            mode: body.mode,
            origin: body.origin,
            scopes: body.scopes,
            ttl_seconds: body.ttl_seconds,
        };
        let (claims, signed) = self.sign(caller, &tenant, &wanted).await?;
        let mut write = self.0.store.write().await.map_err(internal)?;
        let mut previous = None;
        if let Patch::Value(token) = body.previous_token {
            let (of, jti) = self.named_by::<RotateIntegrationGrantError>(write.run(), caller, &token).await?;
            let known = issued(write.run(), &of, &jti).await.map_err(internal)?;
            if !known || revocation(write.run(), &jti).await.map_err(internal)?.is_some() {
                return Err(no_token().into());
            }
            if body.revoke_previous {
                let reason = body.reason.value();
                self.revoke(&mut write, caller, &of, &jti, reason.as_deref()).await.map_err(internal)?;
            }
            previous = Some(jti);
        }
        self.store_token(&mut write, &claims, &signed).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        let new = grant(claims, signed);
        Ok(RotateIntegrationGrantResponse::Ok(IntegrationRotateResponse {
            integration_token: new.integration_token,
            token_type: IntegrationRotateResponseTokenType::Bearer,
            jti: new.jti,
            tenant_id: new.tenant_id,
            kid: new.kid,
            mode: new.mode,
            origin: new.origin,
            scopes: new.scopes,
            expires_in: new.expires_in,
            expires_at: new.expires_at,
            previous_revoked: previous.is_some() && body.revoke_previous,
            previous_jti: nullable(previous),
        }))
    }

    async fn get_integration_jwks(
        &self,
        request: GetIntegrationJwksRequest,
    ) -> Result<GetIntegrationJwksResponse, GetIntegrationJwksError> {
        let keys = self.public_keys::<GetIntegrationJwksError>(&request.tenant_id).await?;
        let keys = keys.iter().map(|key| key.jwk()).collect::<Result<_, _>>().map_err(internal)?;
        Ok(GetIntegrationJwksResponse::Ok(IntegrationJwksResponse { keys }))
    }

    async fn get_integration_fingerprint(
        &self,
        request: GetIntegrationFingerprintRequest,
    ) -> Result<GetIntegrationFingerprintResponse, GetIntegrationFingerprintError> {
        let keys = self.public_keys::<GetIntegrationFingerprintError>(&request.tenant_id).await?;
        let print = |key: &super::signing::PublicKey| KeyFingerprint {
            kid: key.kid.clone(),
            algorithm: contract_xentree::types::KeyFingerprintAlgorithm::default(),
            fingerprint: Sha256::digest(&key.der).iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Ok(GetIntegrationFingerprintResponse::Ok(IntegrationFingerprintResponse {
            tenant_id: request.tenant_id,
            fingerprints: keys.iter().map(print).collect(),
        }))
    }

    async fn list_integration_token_revocations(
        &self,
        caller: &Principal,
        request: ListIntegrationTokenRevocationsRequest,
    ) -> Result<ListIntegrationTokenRevocationsResponse, ListIntegrationTokenRevocationsError> {
        self.require_admin::<ListIntegrationTokenRevocationsError>(caller).await?;
        let (limit, offset) = page(request.page, request.limit);
        let rows = sqlx::query(
            "SELECT r.jti, r.organization_id, r.reason, r.revoked_ms, r.revoked_by, t.expires_ms \
             FROM integration_revocations AS r JOIN integration_tokens AS t ON t.jti = r.jti \
             WHERE ($1 = '' OR r.organization_id = $1) ORDER BY r.revoked_ms DESC, r.jti LIMIT $2 OFFSET $3",
        )
        .bind(request.tenant_id.unwrap_or_default())
        .bind(limit)
        .bind(offset)
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        let item = |row: &AnyRow| {
            Ok::<_, StoreError>(IntegrationTokenRevocationItem {
                jti: column(row, 0)?,
                tenant_id: column(row, 1)?,
                reason: nullable(column(row, 2)?),
                revoked_at: to_datetime(column(row, 3)?),
                revoked_by: nullable(column(row, 4)?),
                expires_at: moment(Some(column(row, 5)?)),
            })
        };
        let items = rows.iter().map(item).collect::<Result<_, _>>().map_err(internal)?;
        Ok(ListIntegrationTokenRevocationsResponse::Ok(items))
    }
}

impl Service {
    async fn own_tenant(&self, caller: &Principal) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.store.reader().acquire().await?;
        self.tenant(&mut connection, caller).await
    }

    /// A token that nobody knows of yet.
    async fn sign(
        &self,
        caller: &Principal,
        tenant: &str,
        wanted: &IntegrationGrantRequest,
    ) -> Result<(Claims, Signed), InternalServerError> {
        let key: SigningKey = self.signing_key(tenant).await.map_err(internal)?;
        let issued = self.0.clock.now_ms().div_euclid(1000);
        let claims = Claims {
            iss: "xentree".to_owned(),
            sub: caller.user.clone(),
            aud: wanted.origin.clone(),
            iat: issued,
            exp: issued + i64::from(wanted.ttl_seconds),
            jti: new_id("jti").map_err(internal)?,
            tenant_id: tenant.to_owned(),
            origin: wanted.origin.clone(),
            mode: wanted.mode.clone(),
            scopes: wanted.scopes.clone(),
        };
        let signed = key.sign(&claims).map_err(internal)?;
        Ok((claims, signed))
    }

    async fn store_token(&self, write: &mut Write, claims: &Claims, signed: &Signed) -> Result<(), StoreError> {
        let expires_ms = claims.exp.saturating_mul(1000);
        sqlx::query(
            "DELETE FROM integration_tokens WHERE expires_ms < $1 \
             AND jti NOT IN (SELECT jti FROM integration_revocations)",
        )
        .bind(self.0.clock.now_ms() - REMEMBERED_MS)
        .execute(write.run())
        .await?;
        sqlx::query(
            "INSERT INTO integration_tokens (jti, organization_id, issued_by, issued_ms, expires_ms) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&claims.jti)
        .bind(&claims.tenant_id)
        .bind(&claims.sub)
        .bind(claims.iat.saturating_mul(1000))
        .bind(expires_ms)
        .execute(write.run())
        .await?;
        sqlx::query("UPDATE integration_keys SET last_expiry_ms = $1 WHERE kid = $2 AND last_expiry_ms < $1")
            .bind(expires_ms)
            .bind(&signed.kid)
            .execute(write.run())
            .await?;
        Ok(())
    }

    /// Revokes; the first revocation of a token stands.
    async fn revoke(
        &self,
        write: &mut Write,
        caller: &Principal,
        tenant: &str,
        jti: &str,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO integration_revocations (jti, organization_id, reason, revoked_by, revoked_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (jti) DO NOTHING",
        )
        .bind(jti)
        .bind(tenant)
        .bind(reason)
        .bind(&caller.user)
        .bind(self.0.clock.now_ms())
        .execute(write.run())
        .await?;
        Ok(())
    }

    /// Tenant and id of a token of a tenant that the caller is a member of.
    async fn named_by<E>(
        &self,
        connection: &mut AnyConnection,
        caller: &Principal,
        token: &str,
    ) -> Result<(String, String), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let kid = Claims::key_of(token).ok_or_else(no_token)?;
        let claims = self.proved(connection, token, &kid).await.map_err(internal)?.ok_or_else(no_token)?;
        match self.role(connection, caller, &claims.tenant_id).await.map_err(internal)? {
            Some(_) => Ok((claims.tenant_id, claims.jti)),
            None => Err(no_token().into()),
        }
    }

    async fn member_of<E>(&self, connection: &mut AnyConnection, caller: &Principal, tenant: &str) -> Result<(), E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        match self.role(connection, caller, tenant).await.map_err(internal)? {
            Some(_) => Ok(()),
            None => Err(not_found("Tenant not found").into()),
        }
    }
}

async fn issued(connection: &mut AnyConnection, tenant: &str, jti: &str) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT jti FROM integration_tokens WHERE jti = $1 AND organization_id = $2")
        .bind(jti)
        .bind(tenant)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Reason and time of a token's revocation.
async fn revocation(connection: &mut AnyConnection, jti: &str) -> Result<Option<(Option<String>, i64)>, StoreError> {
    let row = sqlx::query("SELECT reason, revoked_ms FROM integration_revocations WHERE jti = $1")
        .bind(jti)
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((column(&row, 0)?, column(&row, 1)?))).transpose()
}

fn grant(claims: Claims, signed: Signed) -> IntegrationGrantResponse {
    IntegrationGrantResponse {
        integration_token: signed.token,
        token_type: IntegrationGrantResponseTokenType::Bearer,
        jti: claims.jti,
        tenant_id: claims.tenant_id,
        kid: Patch::Value(signed.kid),
        mode: claims.mode,
        origin: claims.origin,
        scopes: claims.scopes,
        expires_in: i32::try_from(claims.exp - claims.iat).unwrap_or(i32::MAX),
        expires_at: to_datetime(claims.exp.saturating_mul(1000)),
    }
}

fn no_token() -> NotFound {
    not_found("Integration token not found")
}
