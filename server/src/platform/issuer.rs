//! Tokens of an identity provider: JWTs that somebody else has signed, held to the provider's published keys (JWKS, RFC
//! 7517), and a provider of our own for development, which signs what it is asked to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Mutex;

use super::clock::Clock;
use super::outbound::{Outbound, OutboundError};
use super::tokens::{CredentialError, Secret};

/// Signatures that are taken. Those with a shared secret are not among them: a published key is no secret, and a token signed
/// with it as one would pass (RFC 8725 section 2.1).
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// How long fetched keys are good without asking again: so long can a key that was withdrawn still be used.
const KEYS_FRESH_MS: i64 = 10 * 60 * 1000;

/// Pause between two fetches that an unknown key id asks for. Anybody can invent key ids; the provider must not feel it.
const REFETCH_PAUSE_MS: i64 = 30 * 1000;

/// A set of keys is a few kilobytes.
const MAX_JWKS_BYTES: usize = 512 * 1024;

/// Time for one fetch; requests wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the provider's clock may be behind ours or before it, in seconds.
const LEEWAY_S: i64 = 5;

/// Who a token speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Claims {
    /// The user's id at the provider.
    pub sub: String,
    /// From when on it is void, Unix seconds.
    pub exp: i64,
    /// From when on it is good, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When it was issued, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Who issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The user's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What the provider says of the user and the user cannot change, such as `{"role": "admin"}`.
    #[serde(default)]
    pub app_metadata: Value,
    /// What users say of themselves, such as `{"display_name": "…"}`.
    #[serde(default)]
    pub user_metadata: Value,
}

impl Claims {
    /// A text of [`Claims::user_metadata`].
    #[must_use]
    pub fn said(&self, name: &str) -> Option<&str> {
        self.user_metadata.get(name).and_then(Value::as_str)
    }

    /// The role that the provider gave.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.app_metadata.get("role").and_then(Value::as_str)
    }
}

/// Why a token is not taken.
#[derive(Debug, Error)]
pub enum IssuedTokenError {
    /// Not a token, not signed by the provider, or not for us.
    #[error("the token is malformed or not signed by the identity provider")]
    Invalid,
    /// Past its lifetime, or before it.
    #[error("the token is outside its lifetime")]
    Expired,
    /// The provider's keys cannot be had, so nothing can be said of the token.
    #[error("the identity provider's keys cannot be fetched")]
    Unchecked(#[source] FetchError),
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No answer.
    #[error("the identity provider did not answer")]
    Outbound(#[from] OutboundError),
    /// Another answer than 200.
    #[error("the identity provider answered with status {0}")]
    Status(u16),
    /// Not a set of keys.
    #[error("the identity provider's answer is not a JSON Web Key Set")]
    NotKeys(#[source] serde_json::Error),
}

/// Where the provider's keys come from.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Its published set.
    Published {
        /// Address of the JWKS.
        url: String,
    },
    /// Ourselves.
    Local(Box<LocalIssuer>),
}

/// What a deployment demands of tokens besides the signature.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// `aud` must hold this.
    pub audience: Option<String>,
}

/// Checks tokens. Clones share the keys.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    provider: Provider,
    demands: Demands,
    clock: Clock,
    outbound: Outbound,
    known: RwLock<Known>,
    /// One fetch at a time; the others wait for it and use what it brought.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<Key>>,
    fetched_ms: Option<i64>,
    tried_ms: Option<i64>,
}

struct Key {
    decoding: DecodingKey,
    algorithm: Option<Algorithm>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("provider", &self.0.provider).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier without any keys yet.
    #[must_use]
    pub fn new(provider: Provider, demands: Demands, clock: Clock) -> Self {
        let known = match &provider {
            Provider::Published { .. } => Known::default(),
            Provider::Local(issuer) => Known { keys: usable(issuer.keys()), ..Known::default() },
        };
        Self(Arc::new(Inner {
            provider,
            demands,
            clock,
            outbound: Outbound::default(),
            known: RwLock::new(known),
            fetching: Mutex::default(),
        }))
    }

    /// The provider of our own, if that is who issues tokens here.
    #[must_use]
    pub fn local(&self) -> Option<&LocalIssuer> {
        match &self.0.provider {
            Provider::Local(issuer) => Some(issuer),
            Provider::Published { .. } => None,
        }
    }

    /// What the token says, if the provider has signed it, it is for us, and it is in its lifetime.
    ///
    /// # Errors
    /// [`IssuedTokenError`] says which of these it is not.
    pub async fn verify(&self, token: &str) -> Result<Claims, IssuedTokenError> {
        let head = jsonwebtoken::decode_header(token).map_err(|_| IssuedTokenError::Invalid)?;
        if !ALGORITHMS.contains(&head.alg) {
            return Err(IssuedTokenError::Invalid);
        }
        let key = self.key(head.kid.as_deref()).await?;
        if key.algorithm.is_some_and(|algorithm| algorithm != head.alg) || key.decoding.family() != head.alg.family() {
            return Err(IssuedTokenError::Invalid);
        }
        let mut validation = Validation::new(head.alg);
        // The lifetime is judged below, on the injected clock; the library would use the machine's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims::<&str>(&[]);
        match &self.0.demands.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &self.0.demands.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation)
            .map_err(|_| IssuedTokenError::Invalid)?
            .claims;
        let now_ms = self.0.clock.now_ms();
        let early = claims.nbf.is_some_and(|nbf| now_ms < nbf.saturating_sub(LEEWAY_S).saturating_mul(1000));
        if early || now_ms >= claims.exp.saturating_mul(1000) {
            return Err(IssuedTokenError::Expired);
        }
        Ok(claims)
    }

    /// The key of this id. A set of one key needs no ids (RFC 7515 section 4.1.4 makes them optional).
    async fn key(&self, id: Option<&str>) -> Result<Arc<Key>, IssuedTokenError> {
        let Provider::Published { url } = &self.0.provider else {
            return self.known(id).ok_or(IssuedTokenError::Invalid);
        };
        let now = self.0.clock.now_ms();
        if !self.is_stale(now)
            && let Some(key) = self.known(id)
        {
            return Ok(key);
        }
        let fetching = self.0.fetching.lock().await;
        // Whoever held the lock may have brought the key meanwhile.
        let (stale, known) = (self.is_stale(now), self.known(id));
        if (stale || known.is_none()) && self.may_fetch(now) {
            let fetched = self.fetch(url).await;
            let mut state = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            state.tried_ms = Some(now);
            match fetched {
                Ok(keys) => {
                    state.keys = usable(keys);
                    state.fetched_ms = Some(now);
                }
                // Keys that were good are better than no sign-in at all while the provider is down.
                Err(error) if state.fetched_ms.is_some() => {
                    tracing::warn!(%error, "keeping the identity provider's keys of before");
                }
                Err(error) => return Err(IssuedTokenError::Unchecked(error)),
            }
        }
        drop(fetching);
        self.known(id).ok_or(IssuedTokenError::Invalid)
    }

    fn known(&self, id: Option<&str>) -> Option<Arc<Key>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => known.keys.get(id).cloned(),
            None => known.keys.values().next().filter(|_| known.keys.len() == 1).cloned(),
        }
    }

    fn is_stale(&self, now: i64) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.fetched_ms.is_none_or(|at| (now - at).abs() >= KEYS_FRESH_MS)
    }

    fn may_fetch(&self, now: i64) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.tried_ms.is_none_or(|at| (now - at).abs() >= REFETCH_PAUSE_MS)
    }

    async fn fetch(&self, url: &str) -> Result<JwkSet, FetchError> {
        let request = Request::get(url).header(header::ACCEPT, "application/json").body(Full::<Bytes>::default());
        let request = request.map_err(|_| OutboundError::Address)?;
        let answer = self.0.outbound.send(request, FETCH_TIMEOUT, MAX_JWKS_BYTES).await?;
        if !answer.status.is_success() {
            return Err(FetchError::Status(answer.status.as_u16()));
        }
        // One by one: a key of a kind that is not known here must not hide the others.
        let set: Value = serde_json::from_slice(&answer.body).map_err(FetchError::NotKeys)?;
        let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(JwkSet { keys: keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect() })
    }
}

/// The keys that can check a signature, by id.
fn usable(set: JwkSet) -> HashMap<String, Arc<Key>> {
    let key = |jwk: &Jwk| {
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        let algorithm = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse().ok());
        let id = jwk.common.key_id.clone().unwrap_or_default();
        Some((id, Arc::new(Key { decoding, algorithm })))
    };
    set.keys.iter().filter_map(key).collect()
}

/// An identity provider for development: signs with a key that is computed from a secret (Ed25519), so that a restart changes
/// nothing and no two installations trust each other's tokens.
#[derive(Clone)]
pub struct LocalIssuer {
    signing: EncodingKey,
    public: Jwk,
    id: String,
}

impl fmt::Debug for LocalIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIssuer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the local provider writes into `iss`.
pub const LOCAL_ISSUER: &str = "urn:trueline:local-issuer";

impl LocalIssuer {
    /// The provider of holders of this secret.
    ///
    /// # Errors
    /// [`CredentialError::Sign`] when no key can be made of it.
    pub fn new(secret: &Secret) -> Result<Self, CredentialError> {
        let seed =
            Sha256::new().chain_update(b"trueline local issuer\0").chain_update(secret.reveal().as_bytes()).finalize();
        // A private key as PKCS #8 has it (RFC 8410 section 7): sixteen constant bytes and the seed.
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend_from_slice(&seed);
        let signing = EncodingKey::from_ed_der(&der);
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(CredentialError::Sign)?;
        let encoded = serde_json::to_vec(&public).unwrap_or_default();
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(encoded)[..9]);
        public.common.key_id = Some(id.clone());
        Ok(Self { signing, public, id })
    }

    /// The keys that it publishes.
    #[must_use]
    pub fn keys(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }

    /// A token for a user from `at_ms` on, for `lifetime`.
    ///
    /// # Errors
    /// [`CredentialError::Sign`] when it cannot be signed.
    pub fn issue(&self, user: &User<'_>, at_ms: i64, lifetime: Duration) -> Result<String, CredentialError> {
        let iat = at_ms.div_euclid(1000);
        let claims = Claims {
            sub: user.id.to_owned(),
            exp: iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
            nbf: None,
            iat: Some(iat),
            iss: Some(LOCAL_ISSUER.to_owned()),
            email: Some(user.email.to_owned()),
            app_metadata: if user.is_admin { json!({"role": "admin"}) } else { json!({}) },
            user_metadata: json!({"display_name": user.display_name}),
        };
        let head = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&head, &claims, &self.signing).map_err(CredentialError::Sign)
    }
}

/// Somebody for whom the local provider issues a token.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The id.
    pub id: &'a str,
    /// The address.
    pub email: &'a str,
    /// The name to show.
    pub display_name: &'a str,
    /// Whether an administrator.
    pub is_admin: bool,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;

    use super::super::clock::ManualClock;
    use super::*;

    const START: i64 = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);
    const INES: User<'_> = User { id: "u-1", email: "ines@example.com", display_name: "Ines", is_admin: false };

    fn issuer(secret: &str) -> LocalIssuer {
        LocalIssuer::new(&Secret::new(secret)).unwrap()
    }

    fn local(secret: &str) -> (Verifier, ManualClock) {
        let clock = ManualClock::starting_at(START);
        (Verifier::new(Provider::Local(Box::new(issuer(secret))), Demands::default(), clock.clock()), clock)
    }

    /// A provider whose keys can be exchanged, and how often they were fetched.
    async fn provider(keys: Arc<RwLock<Value>>) -> (String, Arc<AtomicUsize>) {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        let router = Router::new().route(
            "/keys",
            get(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                let keys = keys.read().unwrap().clone();
                async move {
                    match keys.is_null() {
                        true => Err(http::StatusCode::SERVICE_UNAVAILABLE),
                        false => Ok(axum::Json(keys)),
                    }
                }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, fetches)
    }

    #[tokio::test]
    async fn tokens_of_the_local_issuer_live_as_long_as_they_say() {
        let (verifier, clock) = local("s");
        let token = verifier.local().unwrap().issue(&User { is_admin: true, ..INES }, START, HOUR).unwrap();
        let claims = verifier.verify(&token).await.unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.said("display_name"), claims.role()),
            ("u-1", Some("Ines"), Some("admin"))
        );
        clock.advance(HOUR - Duration::from_millis(1));
        assert!(verifier.verify(&token).await.is_ok());
        clock.advance(Duration::from_millis(1));
        assert!(matches!(verifier.verify(&token).await, Err(IssuedTokenError::Expired)));
    }

    #[tokio::test]
    async fn forgeries_are_refused() {
        let (verifier, _) = local("s");
        let token = verifier.local().unwrap().issue(&INES, START, HOUR).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let public = serde_json::to_value(verifier.local().unwrap().keys()).unwrap()["keys"][0].clone();
        // The published key taken for a shared secret, the classic confusion of algorithms.
        let head = Header { kid: public["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::HS256) };
        let secret = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
        let everything = json!({"sub": "u-1", "exp": 9_999_999_999_i64});
        let confused = jsonwebtoken::encode(&head, &everything, &EncodingKey::from_secret(&secret)).unwrap();
        let unsigned = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
        let foreign = issuer("other").issue(&INES, START, HOUR).unwrap();
        for bad in [
            "",
            "a.b.c",
            &confused,
            &unsigned,
            &foreign,
            &format!("{signed}.{}", signature.chars().rev().collect::<String>()),
            &token[..token.len() - 4],
            &format!("{token}AAAA"),
        ] {
            assert!(matches!(verifier.verify(bad).await, Err(IssuedTokenError::Invalid)), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_rotated_key_is_fetched_once_and_a_withdrawn_one_is_forgotten() {
        let (old, new) = (issuer("old"), issuer("new"));
        let keys = Arc::new(RwLock::new(serde_json::to_value(old.keys()).unwrap()));
        let (url, fetches) = provider(Arc::clone(&keys)).await;
        let clock = ManualClock::starting_at(START);
        let verifier = Verifier::new(Provider::Published { url }, Demands::default(), clock.clock());
        let day = Duration::from_secs(86_400);
        let (old_token, new_token) = (old.issue(&INES, START, day).unwrap(), new.issue(&INES, START, day).unwrap());
        assert!(verifier.verify(&old_token).await.is_ok());
        assert!(verifier.verify(&old_token).await.is_ok());
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        // A key nobody has published: asked for once, and then not again for a while.
        *keys.write().unwrap() =
            json!({"keys": [{"kty": "strange"}, serde_json::to_value(&new.keys().keys[0]).unwrap()]});
        clock.advance(Duration::from_millis(u64::try_from(REFETCH_PAUSE_MS).unwrap()));
        assert!(verifier.verify(&new_token).await.is_ok());
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
        assert!(matches!(verifier.verify(&old_token).await, Err(IssuedTokenError::Invalid)));
        for _ in 0..5 {
            let invented = issuer("nobody").issue(&INES, START, day).unwrap();
            assert!(matches!(verifier.verify(&invented).await, Err(IssuedTokenError::Invalid)));
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_outage_of_the_provider_locks_out_nobody_who_was_known() {
        let good = issuer("good");
        let keys = Arc::new(RwLock::new(Value::Null));
        let (url, _) = provider(Arc::clone(&keys)).await;
        let clock = ManualClock::starting_at(START);
        let verifier = Verifier::new(Provider::Published { url }, Demands::default(), clock.clock());
        let token = good.issue(&INES, START, Duration::from_secs(86_400)).unwrap();
        assert!(matches!(verifier.verify(&token).await, Err(IssuedTokenError::Unchecked(FetchError::Status(503)))));
        *keys.write().unwrap() = serde_json::to_value(good.keys()).unwrap();
        clock.advance(Duration::from_secs(60));
        assert!(verifier.verify(&token).await.is_ok());
        *keys.write().unwrap() = Value::Null;
        clock.advance(Duration::from_secs(3_600));
        assert!(verifier.verify(&token).await.is_ok());
    }

    #[tokio::test]
    async fn issuer_and_audience_are_demanded_where_they_are_set() {
        let verifier = |demands| {
            let clock = ManualClock::starting_at(START);
            Verifier::new(Provider::Local(Box::new(issuer("s"))), demands, clock.clock())
        };
        let token = issuer("s").issue(&INES, START, HOUR).unwrap();
        let of = |issuer: &str| Demands { issuer: Some(issuer.to_owned()), audience: None };
        assert!(verifier(of(LOCAL_ISSUER)).verify(&token).await.is_ok());
        assert!(verifier(of("https://elsewhere.test")).verify(&token).await.is_err());
        let audience = Demands { issuer: None, audience: Some("authenticated".to_owned()) };
        assert!(verifier(audience).verify(&token).await.is_err());
    }

    /// What other providers sign with: the keys of RFC 7515 appendix A.2 and A.3 are checked by the same code.
    #[tokio::test]
    async fn rsa_and_elliptic_curve_keys_are_known() {
        let rsa = json!({"kty": "RSA", "kid": "r", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
        let ec = json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
        let set = JwkSet { keys: [rsa, ec].into_iter().map(|key| serde_json::from_value(key).unwrap()).collect() };
        let keys = usable(set);
        assert_eq!(keys["r"].decoding.family(), Algorithm::RS256.family());
        assert_eq!(keys["e"].decoding.family(), Algorithm::ES256.family());
    }
}
