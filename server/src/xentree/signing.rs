//! The key pairs that tenants' integration tokens are signed with: made when first needed, replaced by age, kept for as
//! long as something signed with them may have to be verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_xentree::problems::{InternalServerError, NotFound};
use contract_xentree::types::{JsonWebKey, JsonWebKeyAlg, JsonWebKeyKty, JsonWebKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use thiserror::Error;

use super::Service;
use super::access::{internal, new_id, not_found};
use super::seal::SealError;
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::CredentialError;

/// Bits of a key: the least that RFC 7518 section 3.3 allows, and what every library takes.
const BITS: usize = 2048;

/// What private keys are sealed for.
const PURPOSE: &str = "integration key";

/// Why there is no key, or no token.
#[derive(Debug, Error)]
pub(super) enum SigningError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("cannot make or read an RSA key: {0}")]
    Key(String),
    #[error("cannot sign a token")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// What an integration token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
    #[serde(rename = "tenantId")]
    pub(super) tenant_id: String,
    pub(super) origin: String,
    pub(super) mode: String,
    pub(super) scopes: Vec<String>,
}

impl Claims {
    /// The key that a token says it is signed with; nothing if it is no token of this kind at all.
    pub(super) fn key_of(token: &str) -> Option<String> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        header.kid.filter(|_| header.alg == Algorithm::RS256)
    }
}

/// A signed token.
pub(super) struct Signed {
    pub(super) token: String,
    pub(super) kid: String,
}

/// A key that tokens are signed with.
pub(super) struct SigningKey {
    kid: String,
    key: EncodingKey,
}

impl SigningKey {
    pub(super) fn sign(&self, claims: &Claims) -> Result<Signed, SigningError> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        Ok(Signed { token: jsonwebtoken::encode(&header, claims, &self.key)?, kid: self.kid.clone() })
    }
}

/// A key that tokens are verified with.
pub(super) struct PublicKey {
    pub(super) kid: String,
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1).
    pub(super) der: Vec<u8>,
}

impl PublicKey {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(PublicKey { kid: column(row, 0)?, der: column(row, 1)? })
    }

    fn parts(&self) -> Result<(String, String), SigningError> {
        let key = RsaPublicKey::from_public_key_der(&self.der).map_err(|error| SigningError::Key(error.to_string()))?;
        Ok((URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()), URL_SAFE_NO_PAD.encode(key.e().to_bytes_be())))
    }

    pub(super) fn jwk(&self) -> Result<JsonWebKey, SigningError> {
        let (n, e) = self.parts()?;
        Ok(JsonWebKey {
            kty: JsonWebKeyKty::default(),
            r#use: JsonWebKeyUse::default(),
            alg: JsonWebKeyAlg::default(),
            kid: self.kid.clone(),
            n,
            e,
        })
    }
}

impl Service {
    /// The tenant's active key. One that has served its time is replaced first.
    pub(super) async fn signing_key(&self, tenant: &str) -> Result<SigningKey, SigningError> {
        let (kid, sealed) = self.active_key(tenant).await?;
        let private = self.0.seal.open(PURPOSE, &sealed)?;
        Ok(SigningKey { kid, key: EncodingKey::from_rsa_der(&private) })
    }

    /// The keys that the tenant's tokens verify with: the active one, then replaced ones, youngest first, as long as
    /// something that they have signed may be good.
    pub(super) async fn public_keys<E>(&self, tenant: &str) -> Result<Vec<PublicKey>, E>
    where
        E: From<NotFound> + From<InternalServerError>,
    {
        let known = sqlx::query("SELECT id FROM organizations WHERE id = $1")
            .bind(tenant)
            .fetch_optional(self.0.store.reader())
            .await
            .map_err(internal)?;
        if known.is_none() {
            return Err(not_found("Tenant not found").into());
        }
        self.active_key(tenant).await.map_err(internal)?;
        let rows = sqlx::query(
            "SELECT kid, public_der FROM integration_keys WHERE organization_id = $1 \
             AND (retired_ms IS NULL OR last_expiry_ms > $2) \
             ORDER BY CASE WHEN retired_ms IS NULL THEN 0 ELSE 1 END, created_ms DESC, kid",
        )
        .bind(tenant)
        .bind(self.0.clock.now_ms())
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        Ok(rows.iter().map(PublicKey::read).collect::<Result<_, _>>().map_err(internal)?)
    }

    /// What a token says, if this service has signed it with this key, whatever its lifetime.
    pub(super) async fn proved(
        &self,
        connection: &mut AnyConnection,
        token: &str,
        kid: &str,
    ) -> Result<Option<Claims>, SigningError> {
        let row = sqlx::query("SELECT kid, public_der, organization_id FROM integration_keys WHERE kid = $1")
            .bind(kid)
            .fetch_optional(connection)
            .await
            .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        let (n, e) = PublicKey::read(&row)?.parts()?;
        let tenant: String = column(&row, 2)?;
        let mut validation = Validation::new(Algorithm::RS256);
        // Lifetime is judged by the caller on the injected clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_rsa_components(&n, &e)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok().map(|data| data.claims);
        Ok(claims.filter(|claims| claims.tenant_id == tenant))
    }

    /// Id and sealed private part of the active key.
    async fn active_key(&self, tenant: &str) -> Result<(String, Vec<u8>), SigningError> {
        let lifetime = i64::try_from(self.0.key_lifetime.as_millis()).unwrap_or(i64::MAX);
        let young = self.0.clock.now_ms().saturating_sub(lifetime);
        {
            let mut connection = self.0.store.reader().acquire().await.map_err(StoreError::from)?;
            if let Some(found) = stored(&mut connection, tenant, young).await? {
                return Ok(found);
            }
        }
        // Long work, done before the database is held.
        let made = tokio::task::spawn_blocking(make).await.map_err(|error| SigningError::Key(error.to_string()))??;
        let (private, public) = made;
        let kid = new_id("kid")?;
        let sealed = self.0.seal.close(PURPOSE, &private)?;
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await?;
        // Somebody else may have been faster; two active keys would do no harm, but one is promised.
        if let Some(found) = stored(write.run(), tenant, young).await? {
            return Ok(found);
        }
        sqlx::query("UPDATE integration_keys SET retired_ms = $1 WHERE organization_id = $2 AND retired_ms IS NULL")
            .bind(now)
            .bind(tenant)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        sqlx::query(
            "INSERT INTO integration_keys (kid, organization_id, private_sealed, public_der, created_ms, last_expiry_ms) \
             VALUES ($1, $2, $3, $4, $5, 0)",
        )
        .bind(&kid)
        .bind(tenant)
        .bind(&sealed)
        .bind(public)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(StoreError::from)?;
        write.commit().await?;
        Ok((kid, sealed))
    }
}

async fn stored(
    connection: &mut AnyConnection,
    tenant: &str,
    young: i64,
) -> Result<Option<(String, Vec<u8>)>, StoreError> {
    let row = sqlx::query(
        "SELECT kid, private_sealed FROM integration_keys \
         WHERE organization_id = $1 AND retired_ms IS NULL AND created_ms > $2",
    )
    .bind(tenant)
    .bind(young)
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((column(&row, 0)?, column(&row, 1)?))).transpose()
}

/// A fresh key pair: PKCS #1 private, SubjectPublicKeyInfo public.
fn make() -> Result<(Vec<u8>, Vec<u8>), SigningError> {
    let broken = |error: &dyn std::fmt::Display| SigningError::Key(error.to_string());
    let private = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(|error| broken(&error))?;
    let public = RsaPublicKey::from(&private).to_public_key_der().map_err(|error| broken(&error))?;
    let private = private.to_pkcs1_der().map_err(|error| broken(&error))?;
    Ok((private.as_bytes().to_vec(), public.as_bytes().to_vec()))
}
