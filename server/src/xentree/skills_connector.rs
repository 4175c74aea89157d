//! Other services that users connect — documentation section "Skills Connector". OAuth 2.0 authorization code flow with
//! state and PKCE (RFC 6749 section 4.1, RFC 7636) against whatever issuer the operator names.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use contract_xentree::server::{
    ListIntegrationsError, ListIntegrationsRequest, ListIntegrationsResponse, SkillsConnector,
    StartGoogleCalendarOauthError, StartGoogleCalendarOauthRequest, StartGoogleCalendarOauthResponse,
    StartGoogleCalendarOauthTemporaryRedirect,
};
use contract_xentree::types::{IntegrationOut, IntegrationOutStatus};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use thiserror::Error;

use super::Service;
use super::access::{Principal, internal, moment, new_id, nullable, page};
use super::seal::SealError;
use crate::platform::clock::to_datetime;
use crate::platform::config::Config;
use crate::platform::outbound::OutboundError;
use crate::platform::store::{StoreError, column};
use crate::platform::tokens::{CredentialError, Secret, random};

/// The one service that can be connected.
const GOOGLE_CALENDAR: &str = "google_calendar";

/// Where the issuer sends browsers back to, unless the caller wants them elsewhere.
pub(super) const CALLBACK: &str = "/api/integrations/google-calendar/callback";

/// How long somebody may take to give consent.
const CONSENT_MS: i64 = 10 * 60 * 1000;

/// An issuer that takes longer is down, as far as the person in front of the browser is concerned.
const ISSUER_TIMEOUT: Duration = Duration::from_secs(10);

/// A token answer is a few kilobytes at most.
const ISSUER_BYTES: usize = 64 * 1024;

/// What sealed values are for.
const VERIFIER: &str = "pkce verifier";
const ACCESS: &str = "access token of a connection";
const REFRESH: &str = "refresh token of a connection";

/// How a service is known to an OAuth 2 issuer.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// Where browsers are sent for consent.
    pub authorization_endpoint: String,
    /// Where codes are exchanged for tokens.
    pub token_endpoint: String,
    /// The client id.
    pub client_id: String,
    /// The client secret; public clients have none.
    pub client_secret: Option<Secret>,
    /// Where the issuer sends browsers back to; it must be registered there.
    pub redirect_uri: String,
    /// What consent is asked for.
    pub scopes: Vec<String>,
}

/// Why a connection did not come about.
#[derive(Debug, Error)]
enum ConnectError {
    #[error("no issuer is configured")]
    NotConfigured,
    #[error("the state is unknown, used or too old")]
    State,
    #[error("consent was not given: {0}")]
    Denied(String),
    #[error("the issuer's address is not usable")]
    Address,
    #[error("the issuer could not be asked")]
    Issuer(#[from] OutboundError),
    #[error("the issuer refused the code with status {0}")]
    Refused(StatusCode),
    #[error("the issuer's answer is not that of a token endpoint")]
    Answer(#[source] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What the issuer sends the browser back with.
#[derive(Debug, Deserialize)]
struct Returned {
    state: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// A token answer (RFC 6749 section 5.1).
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    id_token: Option<String>,
}

/// What is read of an id token. It comes from the issuer itself over a connection of ours, so that its signature proves
/// nothing more (OpenID Connect Core section 3.1.3.7, point 6).
#[derive(Deserialize)]
struct IdToken {
    #[serde(default)]
    email: Option<String>,
}

/// A consent that was asked for.
struct Pending {
    user: String,
    verifier: Vec<u8>,
    redirect_uri: String,
}

/// The client that the settings describe: Google's unless they name another issuer. Without a client id of the operator's
/// own, the issuer's page says that it does not know the client.
pub(super) fn google_calendar(config: &Config) -> OAuthClient {
    let set = config.oauth.get("google-calendar").cloned().unwrap_or_default();
    let or = |setting: Option<String>, usual: &str| setting.unwrap_or_else(|| usual.to_owned());
    OAuthClient {
        authorization_endpoint: or(set.authorization_endpoint, "https://accounts.google.com/o/oauth2/v2/auth"),
        token_endpoint: or(set.token_endpoint, "https://oauth2.googleapis.com/token"),
        client_id: or(set.client_id, "trueline-reference"),
        client_secret: set.client_secret,
        redirect_uri: set.redirect_uri.unwrap_or_else(|| format!("http://{}{CALLBACK}", config.listen)),
        scopes: ["openid", "email", "https://www.googleapis.com/auth/calendar.readonly"].map(str::to_owned).to_vec(),
    }
}

impl SkillsConnector for Service {
    type Principal = Principal;

    async fn list_integrations(
        &self,
        caller: &Principal,
        request: ListIntegrationsRequest,
    ) -> Result<ListIntegrationsResponse, ListIntegrationsError> {
        let (limit, offset) = page(request.page, request.limit);
        // What can be renewed is active, however old its access token.
        let rows = sqlx::query(
            "SELECT id, provider, account_email, scopes, connected_ms, expires_ms FROM connections \
             WHERE user_id = $1 AND revoked_ms IS NULL \
             AND (expires_ms IS NULL OR expires_ms > $2 OR refresh_sealed IS NOT NULL) \
             ORDER BY connected_ms DESC, id LIMIT $3 OFFSET $4",
        )
        .bind(&caller.user)
        .bind(self.0.clock.now_ms())
        .bind(limit)
        .bind(offset)
        .fetch_all(self.0.store.reader())
        .await
        .map_err(internal)?;
        let connection = |row: &AnyRow| {
            let scopes: String = column(row, 3)?;
            Ok::<_, StoreError>(IntegrationOut {
                id: column(row, 0)?,
                provider: column(row, 1)?,
                status: IntegrationOutStatus::Active,
                account_email: nullable(column(row, 2)?),
                scopes: Some(scopes.split_ascii_whitespace().map(str::to_owned).collect()),
                connected_at: to_datetime(column(row, 4)?),
                expires_at: moment(column(row, 5)?),
            })
        };
        Ok(ListIntegrationsResponse::Ok(rows.iter().map(connection).collect::<Result<_, _>>().map_err(internal)?))
    }

    async fn start_google_calendar_oauth(
        &self,
        caller: &Principal,
        request: StartGoogleCalendarOauthRequest,
    ) -> Result<StartGoogleCalendarOauthResponse, StartGoogleCalendarOauthError> {
        let location = self.start(caller, request.redirect_uri).await.map_err(internal)?;
        let location = location.parse().map_err(|_| internal(ConnectError::Address))?;
        Ok(StartGoogleCalendarOauthResponse::TemporaryRedirect(StartGoogleCalendarOauthTemporaryRedirect { location }))
    }
}

impl Service {
    /// The address of the consent page for one attempt.
    async fn start(&self, caller: &Principal, redirect_uri: Option<String>) -> Result<String, ConnectError> {
        let client = self.0.google_calendar.as_ref().ok_or(ConnectError::NotConfigured)?;
        let redirect_uri = redirect_uri.unwrap_or_else(|| client.redirect_uri.clone());
        let state = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let verifier = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await?;
        sqlx::query("DELETE FROM pending_consents WHERE expires_ms <= $1")
            .bind(now)
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        sqlx::query(
            "INSERT INTO pending_consents (state_digest, user_id, provider, verifier_sealed, redirect_uri, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(digest(&state))
        .bind(&caller.user)
        .bind(GOOGLE_CALENDAR)
        .bind(self.0.seal.close(VERIFIER, verifier.as_bytes())?)
        .bind(&redirect_uri)
        .bind(now + CONSENT_MS)
        .execute(write.run())
        .await
        .map_err(StoreError::from)?;
        write.commit().await?;
        let scope = client.scopes.join(" ");
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &client.client_id),
            ("redirect_uri", &redirect_uri),
            ("scope", &scope),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            // Without these two Google gives no refresh token.
            ("access_type", "offline"),
            ("prompt", "consent"),
        ]);
        let joint = if client.authorization_endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{}{joint}{query}", client.authorization_endpoint))
    }

    /// Adds the page that the issuer sends browsers back to. It is not part of the contract: nobody but an issuer names it.
    pub(super) fn with_callback(&self, router: axum::Router) -> axum::Router {
        axum::Router::new().route(CALLBACK, get(callback)).with_state(self.clone()).fallback_service(router)
    }

    async fn finish(&self, returned: Returned) -> Result<(), ConnectError> {
        let client = self.0.google_calendar.as_ref().ok_or(ConnectError::NotConfigured)?;
        let pending = self.take_pending(&returned.state).await?;
        let code = match (returned.code, returned.error) {
            (Some(code), None) => code,
            (_, error) => return Err(ConnectError::Denied(error.unwrap_or_else(|| "no code".to_owned()))),
        };
        let verifier = String::from_utf8_lossy(&pending.verifier).into_owned();
        let tokens = self.exchange(client, &code, &verifier, &pending.redirect_uri).await?;
        let email = tokens.id_token.as_deref().and_then(email_of);
        let now = self.0.clock.now_ms();
        let refresh = tokens.refresh_token.as_deref().map(|token| self.0.seal.close(REFRESH, token.as_bytes()));
        let mut write = self.0.store.write().await?;
        sqlx::query(
            "INSERT INTO connections (id, user_id, provider, account_email, scopes, access_sealed, refresh_sealed, \
             connected_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (user_id, provider) DO UPDATE SET account_email = excluded.account_email, \
             scopes = excluded.scopes, access_sealed = excluded.access_sealed, \
             refresh_sealed = COALESCE(excluded.refresh_sealed, connections.refresh_sealed), \
             connected_ms = excluded.connected_ms, expires_ms = excluded.expires_ms, revoked_ms = NULL",
        )
        .bind(new_id("int")?)
        .bind(&pending.user)
        .bind(GOOGLE_CALENDAR)
        .bind(email)
        .bind(tokens.scope.unwrap_or_else(|| client.scopes.join(" ")))
        .bind(self.0.seal.close(ACCESS, tokens.access_token.as_bytes())?)
        .bind(refresh.transpose()?)
        .bind(now)
        .bind(tokens.expires_in.map(|seconds| now.saturating_add(seconds.saturating_mul(1000))))
        .execute(write.run())
        .await
        .map_err(StoreError::from)?;
        write.commit().await?;
        Ok(())
    }

    /// A state is good once, whatever comes of it.
    async fn take_pending(&self, state: &str) -> Result<Pending, ConnectError> {
        let mut write = self.0.store.write().await?;
        let row = sqlx::query(
            "SELECT user_id, verifier_sealed, redirect_uri FROM pending_consents \
             WHERE state_digest = $1 AND expires_ms > $2",
        )
        .bind(digest(state))
        .bind(self.0.clock.now_ms())
        .fetch_optional(write.run())
        .await
        .map_err(StoreError::from)?
        .ok_or(ConnectError::State)?;
        let sealed: Vec<u8> = column(&row, 1)?;
        let pending = Pending {
            user: column(&row, 0)?,
            verifier: self.0.seal.open(VERIFIER, &sealed)?,
            redirect_uri: column(&row, 2)?,
        };
        sqlx::query("DELETE FROM pending_consents WHERE state_digest = $1")
            .bind(digest(state))
            .execute(write.run())
            .await
            .map_err(StoreError::from)?;
        write.commit().await?;
        Ok(pending)
    }

    async fn exchange(
        &self,
        client: &OAuthClient,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, ConnectError> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("client_id", &client.client_id),
            ("code_verifier", verifier),
        ];
        if let Some(secret) = &client.client_secret {
            fields.push(("client_secret", secret.reveal()));
        }
        let request = Request::post(&client.token_endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(form(&fields))))
            .map_err(|_| ConnectError::Address)?;
        let answer = self.0.outbound.send(request, ISSUER_TIMEOUT, ISSUER_BYTES).await?;
        if !answer.status.is_success() {
            return Err(ConnectError::Refused(answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(ConnectError::Answer)
    }
}

/// For the person in front of the browser.
async fn callback(
    State(service): State<Service>,
    returned: Result<Query<Returned>, QueryRejection>,
) -> (StatusCode, Html<&'static str>) {
    let outcome = match returned {
        Ok(Query(returned)) => service.finish(returned).await,
        Err(_) => Err(ConnectError::State),
    };
    match outcome {
        Ok(()) => (StatusCode::OK, Html("<p>The calendar is connected. You may close this window.</p>")),
        Err(error @ (ConnectError::State | ConnectError::Denied(_))) => {
            tracing::info!(%error, "a connection did not come about");
            (StatusCode::BAD_REQUEST, Html("<p>The calendar was not connected. Please begin again.</p>"))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a connection failed");
            (StatusCode::BAD_GATEWAY, Html("<p>The calendar could not be connected. Please try again later.</p>"))
        }
    }
}

fn digest(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(state.as_bytes()))
}

/// The address in an id token.
fn email_of(id_token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<IdToken>(&payload).ok()?.email
}

/// `application/x-www-form-urlencoded` text, which is a query string too.
fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}
