//! Accounts on the wire, in process: sessions, keys, organizations, integration tokens and connections, on a clock that the
//! test moves.

#![allow(clippy::unwrap_used)]

mod classroom;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use classroom::{World, each};
use http::{Method, Request, StatusCode};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;
use trueline_server::platform::tokens::Secret;
use trueline_server::xentree::OAuthClient;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The 17 scopes but the one that stands for all.
const SCOPES: [&str; 16] = [
    "conversations:read",
    "conversations:write",
    "rag:read",
    "rag:write",
    "quiz:read",
    "quiz:write",
    "live:read",
    "live:write",
    "organizations:read",
    "organizations:write",
    "integrations:read",
    "integrations:write",
    "xel:read",
    "xel:write",
    "api:read",
    "api:write",
];

impl World {
    async fn with_token(&self, token: &str, method: Method, path: &str) -> classroom::Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn with_key(&self, key: &str, method: Method, path: &str, body: Value) -> classroom::Answer {
        let mut request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn log_in(&self, name: &str) -> (String, String) {
        let user = &self.demo.users[name];
        let form = format!("username={}&password={}", user.username, user.password);
        let request = Request::post("/api/auth/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let tokens = self.send(request).await.good();
        (text(&tokens["access_token"]), text(&tokens["refresh_token"]))
    }

    async fn refresh(&self, token: &str) -> classroom::Answer {
        self.post("", "/api/auth/refresh", json!({"refresh_token": token})).await
    }

    async fn organization(&self, who: &str, slug: &str) -> String {
        let made = self.post(who, "/api/organizations", json!({"name": slug, "slug": slug})).await.good();
        text(&made["id"])
    }

    async fn member(&self, organization: &str, by: &str, user: &str, role: &str) -> String {
        let id = self.demo.users[user].id.clone();
        let body = json!({"user_id": id, "role": role});
        // Members are listed by the time at which they have joined.
        self.clock.advance(Duration::from_secs(1));
        self.post(by, &format!("/api/organizations/{organization}/members"), body).await.good();
        format!("/api/organizations/{organization}/members/{id}")
    }

    async fn key(&self, who: &str, more: Value) -> (String, String) {
        let tenant = &self.demo.organizations[self.demo.users[who].organization];
        let mut body = json!({"name": "k", "tenant_id": tenant, "scopes": ["organizations:read"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post(who, "/api/api-keys", body).await.good();
        (text(&made["id"]), text(&made["key"]))
    }

    async fn grant(&self, who: &str) -> Value {
        let body = json!({"mode": "api", "origin": "https://partner.example.com", "scopes": ["profile:read"], "ttlSeconds": 90});
        self.post(who, "/api/integration/grant", body).await.good()
    }

    async fn verify(&self, who: &str, token: &Value, tenant: &Value) -> Value {
        self.post(who, "/api/integration/verify", json!({"token": token, "tenantId": tenant})).await.good()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

// --------------------------------------------------------------------------------------------------- accounts, sessions

#[tokio::test]
async fn whoever_registers_can_sign_in_and_change_their_profile() {
    let world = World::new().await;
    let new = json!({"username": "nils", "email": "Nils@Example.com", "password": "correct horse"});
    let made = world.post("", "/api/auth/register", new.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(
        (&made.body["email"], &made.body["plan"], &made.body["role"]),
        (&json!("nils@example.com"), &json!("free"), &json!("user"))
    );
    assert!(made.body.get("password").is_none());
    assert_eq!(world.post("", "/api/auth/register", new).await.refused(), 400);
    let same_email = json!({"username": "nils2", "email": "nils@example.COM", "password": "correct horse"});
    assert_eq!(world.post("", "/api/auth/register", same_email).await.refused(), 400);

    let me = world.get("ana", "/api/auth/me").await.good();
    assert_eq!(me["organization_id"], json!(world.demo.organizations["a"]));
    let changed = world
        .call("ana", Method::PATCH, "/api/auth/me", json!({"full_name": "Ana Wijaya", "timezone": "Asia/Jakarta"}))
        .await
        .good();
    assert_eq!((&changed["full_name"], &changed["timezone"]), (&json!("Ana Wijaya"), &json!("Asia/Jakarta")));
    let cleared = world.call("ana", Method::PATCH, "/api/auth/me", json!({"full_name": null})).await.good();
    assert_eq!((&cleared["full_name"], &cleared["timezone"]), (&Value::Null, &json!("Asia/Jakarta")));
    assert_eq!(world.get("ana", "/api/auth/me").await.good(), cleared);
    for bad in
        [json!({}), json!({"timezone": "Mars/Olympus"}), json!({"language": "e"}), json!({"avatar_url": "ftp://x"})]
    {
        assert_eq!(world.call("ana", Method::PATCH, "/api/auth/me", bad).await.refused(), 400);
    }
}

#[tokio::test]
async fn a_used_refresh_token_ends_its_session_and_no_other() {
    let world = World::new().await;
    let (access, refresh) = world.log_in("ana").await;
    let (other, _) = world.log_in("ana").await;
    let renewed = world.refresh(&refresh).await.good();
    let newer = text(&renewed["access_token"]);
    for token in [&access, &newer, &other] {
        world.with_token(token, Method::GET, "/api/auth/me").await.good();
    }
    assert_eq!(world.refresh(&refresh).await.refused(), 401);
    for token in [&access, &newer] {
        assert_eq!(world.with_token(token, Method::GET, "/api/auth/me").await.refused(), 401);
    }
    assert_eq!(world.refresh(renewed["refresh_token"].as_str().unwrap()).await.refused(), 401);
    world.with_token(&other, Method::GET, "/api/auth/me").await.good();
    for bad in ["", "x", access.as_str(), other.as_str()] {
        assert!(matches!(world.refresh(bad).await.refused(), 400 | 401), "{bad}");
    }
}

#[tokio::test]
async fn logging_out_ends_both_tokens_and_time_ends_the_rest() {
    let world = World::new().await;
    let (access, refresh) = world.log_in("ana").await;
    let done = world.with_token(&access, Method::POST, "/api/auth/logout").await.good();
    assert_eq!(done["success"], true);
    assert_eq!(world.with_token(&access, Method::GET, "/api/auth/me").await.refused(), 401);
    assert_eq!(world.with_token(&access, Method::POST, "/api/auth/logout").await.refused(), 401);
    assert_eq!(world.refresh(&refresh).await.refused(), 401);

    let (access, refresh) = world.log_in("ana").await;
    world.clock.advance(HOUR - Duration::from_millis(501));
    world.with_token(&access, Method::GET, "/api/auth/me").await.good();
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.with_token(&access, Method::GET, "/api/auth/me").await.refused(), 401);
    world.clock.advance(DAY * 29);
    let renewed = world.refresh(&refresh).await.good();
    // A refresh starts the thirty days anew.
    world.clock.advance(DAY * 29);
    let renewed = world.refresh(renewed["refresh_token"].as_str().unwrap()).await.good();
    world.clock.advance(DAY * 30);
    assert_eq!(world.refresh(renewed["refresh_token"].as_str().unwrap()).await.refused(), 401);
}

// ------------------------------------------------------------------------------------------------------------- API keys

#[tokio::test]
async fn a_key_is_shown_once_kept_as_a_digest_and_gone_when_deleted() {
    let world = World::new().await;
    let (id, key) = world.key("ana", json!({})).await;
    assert!(key.starts_with("xntr-") && key.len() == 91, "{key}");
    let listed = world.get("ana", "/api/api-keys").await.good();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["key"], &listed[0]["is_active"]),
        (&json!(id), &Value::Null, &json!(true))
    );
    assert!(key.starts_with(listed[0]["key_prefix"].as_str().unwrap()));
    assert_eq!(listed[0]["last_used_at"], Value::Null);
    let rows =
        sqlx::query("SELECT digest, prefix FROM api_keys").fetch_all(world.service.store().reader()).await.unwrap();
    for row in rows {
        let digest: String = sqlx::Row::try_get(&row, 0usize).unwrap();
        assert!(!key.contains(&digest) && digest.len() == 43);
    }
    let mine = world.with_key(&key, Method::GET, "/api/organizations", Value::Null).await.good();
    assert_eq!(each(&mine, "id"), [&json!(world.demo.organizations["a"])]);
    assert_ne!(world.get("ana", "/api/api-keys").await.good()[0]["last_used_at"], Value::Null);
    assert_eq!(world.delete("ben", &format!("/api/api-keys/{id}")).await.refused(), 404);
    assert_eq!(world.delete("ana", &format!("/api/api-keys/{id}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.with_key(&key, Method::GET, "/api/organizations", Value::Null).await.refused(), 401);
    assert_eq!(world.delete("ana", &format!("/api/api-keys/{id}")).await.refused(), 404);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_name_and_nothing_else() {
    let world = World::new().await;
    let (_, key) = world.key("ana", json!({"scopes": ["organizations:read"]})).await;
    let refused = world.with_key(&key, Method::POST, "/api/organizations", json!({"name": "x", "slug": "x"})).await;
    assert_eq!(refused.refused(), 403);
    assert_eq!(
        refused.body,
        json!({"detail": {
            "error": "INSUFFICIENT_API_KEY_SCOPE",
            "message": refused.body["detail"]["message"],
            "required_scope": "organizations:write",
            "granted_scopes": ["organizations:read"],
        }})
    );
    // The scope is judged before the body.
    assert_eq!(world.with_key(&key, Method::POST, "/api/organizations", json!({})).await.refused(), 403);
    for scope in SCOPES {
        let rest: Vec<&str> = SCOPES.into_iter().filter(|other| *other != scope).collect();
        let (_, without) = world.key("ana", json!({"scopes": rest})).await;
        let (_, with) = world.key("ana", json!({"scopes": [scope]})).await;
        for operation in contract_xentree::operations::CONTRACT.operations {
            if operation.scopes != [scope] || operation.method != Method::GET || operation.path.contains('{') {
                continue;
            }
            let path = match operation.id {
                "search_user_content" => "/api/core/search?q=x".to_owned(),
                _ => operation.path.to_owned(),
            };
            let answer = world.with_key(&without, Method::GET, &path, Value::Null).await;
            assert_eq!(answer.refused(), 403, "{path} without {scope}");
            assert_eq!(answer.body["detail"]["required_scope"], scope);
            let answer = world.with_key(&with, Method::GET, &path, Value::Null).await;
            assert!(answer.status.as_u16() < 400, "{path} with {scope}: {answer:?}");
        }
    }
    let (_, everything) = world.key("ana", json!({"scopes": ["api:admin"]})).await;
    world.with_key(&everything, Method::GET, "/api/health/detailed", Value::Null).await.good();
    // Keys are not for operations that are a session's own.
    assert_eq!(world.with_key(&everything, Method::GET, "/api/api-keys", Value::Null).await.refused(), 401);
    assert_eq!(world.with_key("xntr-nobody", Method::GET, "/api/organizations", Value::Null).await.refused(), 401);
}

#[tokio::test]
async fn keys_are_bound_to_addresses_and_time() {
    let world = World::new().await;
    let (_, local) = world.key("ana", json!({"allowed_ips": ["203.0.113.7", "127.0.0.0/8"]})).await;
    world.with_key(&local, Method::GET, "/api/organizations", Value::Null).await.good();
    let (_, remote) = world.key("ana", json!({"allowed_ips": ["203.0.113.7", "2001:db8::/32"]})).await;
    assert_eq!(world.with_key(&remote, Method::GET, "/api/organizations", Value::Null).await.refused(), 403);
    let (_, brief) = world.key("ana", json!({"expires_at": "2024-04-01T00:00:00Z"})).await;
    world.with_key(&brief, Method::GET, "/api/organizations", Value::Null).await.good();
    world.at("2024-04-01T00:00:00Z");
    assert_eq!(world.with_key(&brief, Method::GET, "/api/organizations", Value::Null).await.refused(), 401);
    let listed = world.get("ana", "/api/api-keys").await.good();
    assert_eq!(each(&listed, "is_active").iter().filter(|active| **active == &json!(false)).count(), 1);
    let tenant = &world.demo.organizations["a"];
    for bad in [
        json!({"name": "k", "tenant_id": tenant, "scopes": ["organizations:read"], "expires_at": "2024-04-01T00:00:00Z"}),
        json!({"name": "k", "tenant_id": tenant, "scopes": ["organizations:read"], "allowed_ips": ["10.0.0.0/99"]}),
        json!({"name": "k", "tenant_id": tenant, "scopes": ["everything"]}),
        json!({"name": "k", "tenant_id": tenant, "scopes": []}),
    ] {
        assert_eq!(world.post("ana", "/api/api-keys", bad).await.refused(), 400);
    }
}

#[tokio::test]
async fn who_sees_and_who_gives_which_key() {
    let world = World::new().await;
    let tenant = world.demo.organizations["a"].clone();
    let (_, of_mia) = world.key("mia", json!({"name": "mine"})).await;
    world.key("ana", json!({"name": "hers"})).await;
    assert_eq!(each(&world.get("mia", "/api/api-keys").await.good(), "name"), ["mine"]);
    assert_eq!(each(&world.get("ana", "/api/api-keys").await.good(), "name").len(), 2);
    assert_eq!(world.get("ben", "/api/api-keys").await.good(), json!([]));
    let powerful = json!({"name": "k", "tenant_id": tenant, "scopes": ["api:write"]});
    assert_eq!(world.post("mia", "/api/api-keys", powerful.clone()).await.refused(), 403);
    assert_eq!(world.post("ben", "/api/api-keys", powerful.clone()).await.refused(), 404);
    world.post("ana", "/api/api-keys", powerful).await.good();
    let tenants = world.get("mia", "/api/tenants").await.good();
    assert_eq!(each(&tenants, "id"), [&json!(tenant)]);
    // Whoever leaves takes no key along.
    world.with_key(&of_mia, Method::GET, "/api/organizations", Value::Null).await.good();
    let mia = &world.demo.users["mia"].id;
    world.delete("mia", &format!("/api/organizations/{tenant}/members/{mia}")).await.good();
    assert_eq!(world.with_key(&of_mia, Method::GET, "/api/organizations", Value::Null).await.refused(), 401);
}

#[tokio::test]
async fn a_key_sees_its_organization_and_what_it_has_made() {
    let world = World::new().await;
    let other = world.organization("ana", "other").await;
    let (_, key) = world.key("ana", json!({"scopes": ["organizations:read", "organizations:write"]})).await;
    let path = format!("/api/organizations/{other}");
    for (method, body) in
        [(Method::GET, Value::Null), (Method::PATCH, json!({"name": "x"})), (Method::DELETE, Value::Null)]
    {
        assert_eq!(world.with_key(&key, method, &path, body).await.refused(), 404);
    }
    let made =
        world.with_key(&key, Method::POST, "/api/organizations", json!({"name": "Made", "slug": "made"})).await.good();
    let seen = world.with_key(&key, Method::GET, "/api/organizations", Value::Null).await.good();
    assert_eq!(each(&seen, "id"), [&json!(world.demo.organizations["a"]), &made["id"]]);
    assert_eq!(world.get("ana", "/api/organizations").await.good().as_array().unwrap().len(), 3);
}

// --------------------------------------------------------------------------------------------------------- organizations

#[tokio::test]
async fn outsiders_cannot_tell_an_organization_from_none() {
    let world = World::new().await;
    let id = world.organization("ana", "school").await;
    let user = world.demo.users["ana"].id.clone();
    for (id, member) in [(id.as_str(), user.as_str()), ("org_none", "usr_none"), (id.as_str(), "usr_none")] {
        for (method, path, body) in [
            (Method::GET, "", Value::Null),
            (Method::PATCH, "", json!({"name": "x"})),
            (Method::DELETE, "", Value::Null),
            (Method::GET, "/members", Value::Null),
            (Method::POST, "/members", json!({"user_id": user})),
            (Method::PATCH, &format!("/members/{member}"), json!({"role": "owner"})),
            (Method::PUT, &format!("/members/{member}"), json!({"team_id": "t"})),
            (Method::DELETE, &format!("/members/{member}"), Value::Null),
        ] {
            let answer = world.call("ben", method.clone(), &format!("/api/organizations/{id}{path}"), body).await;
            assert_eq!(answer.refused(), 404, "{method} {path}");
            assert_eq!(answer.body["detail"], "Organization not found");
        }
    }
}

#[tokio::test]
async fn roles_say_who_may_change_what() {
    let world = World::new().await;
    let id = world.organization("ana", "school").await;
    let path = format!("/api/organizations/{id}");
    world.member(&id, "ana", "ben", "admin").await;
    let mia = world.member(&id, "ana", "mia", "member").await;
    let kim = world.member(&id, "ana", "kim", "manager").await;
    let ana = format!("{path}/members/{}", world.demo.users["ana"].id);
    let root = json!({"user_id": world.demo.users["root"].id});
    let owner = json!({"role": "owner"});
    // Each of these is refused, and changes nothing.
    let before = world.get("ana", &format!("{path}/members")).await.good();
    for (who, method, path, body) in [
        ("mia", Method::PATCH, path.as_str(), json!({"name": "x"})),
        ("kim", Method::PATCH, &path, json!({"name": "x"})),
        ("ben", Method::DELETE, &path, Value::Null),
        ("mia", Method::DELETE, &path, Value::Null),
        ("kim", Method::POST, &format!("{path}/members"), root.clone()),
        ("mia", Method::POST, &format!("{path}/members"), root.clone()),
        (
            "ben",
            Method::POST,
            &format!("{path}/members"),
            json!({"user_id": world.demo.users["root"].id, "role": "owner"}),
        ),
        ("ben", Method::PATCH, &mia, owner.clone()),
        ("ben", Method::PATCH, &ana, json!({"role": "member"})),
        ("kim", Method::PATCH, &mia, json!({"role": "manager"})),
        ("kim", Method::PUT, &mia, json!({"role": "manager", "team_id": "t"})),
        ("kim", Method::PUT, &ana, json!({"team_id": "t"})),
        ("mia", Method::PUT, &mia, json!({"team_id": "t"})),
        ("ben", Method::PUT, &ana, json!({"role": "member"})),
        ("ben", Method::DELETE, &ana, Value::Null),
        ("kim", Method::DELETE, &mia, Value::Null),
    ] {
        assert_eq!(world.call(who, method.clone(), path, body).await.refused(), 403, "{who} {method} {path}");
    }
    assert_eq!(world.get("ana", &format!("{path}/members")).await.good(), before);
    // A manager looks after teams of plain members.
    let moved = world.call("kim", Method::PUT, &mia, json!({"team_id": "evening"})).await.good();
    assert_eq!((&moved["team_id"], &moved["role"]), (&json!("evening"), &json!("member")));
    let out = world.call("kim", Method::PUT, &mia, json!({"team_id": null})).await.good();
    assert_eq!(out["team_id"], Value::Null);
    assert_eq!(world.call("ben", Method::PATCH, &kim, json!({"role": "member"})).await.good()["role"], "member");
    world.call("ben", Method::PATCH, &path, json!({"name": "School", "description": null})).await.good();
    world.delete("mia", &mia).await.good();
    let members = world.get("ana", &format!("{path}/members")).await.good();
    assert_eq!(each(&members, "role"), ["owner", "admin", "member"]);
    let page = world.get("ana", &format!("{path}/members?page=2&limit=2")).await.good();
    assert_eq!(page.as_array().unwrap()[..], members.as_array().unwrap()[2..]);
}

#[tokio::test]
async fn an_organization_always_has_an_owner() {
    let world = World::new().await;
    let id = world.organization("ana", "school").await;
    let other = world.organization("ana", "annex").await;
    let ana = format!("/api/organizations/{id}/members/{}", world.demo.users["ana"].id);
    assert_eq!(world.delete("ana", &ana).await.refused(), 400);
    for body in [json!({"role": "admin"}), json!({"role": "member"})] {
        assert_eq!(world.call("ana", Method::PATCH, &ana, body.clone()).await.refused(), 400);
        assert_eq!(world.call("ana", Method::PUT, &ana, body).await.refused(), 400);
    }
    // Moving oneself to where one is already, and away as the last owner.
    assert_eq!(world.call("ana", Method::PUT, &ana, json!({"organization_id": other})).await.refused(), 400);
    world.member(&id, "ana", "ben", "owner").await;
    world.delete("ana", &ana).await.good();
    assert_eq!(world.get("ana", &format!("/api/organizations/{id}")).await.refused(), 404);
    assert_eq!(world.get("ben", &format!("/api/organizations/{id}")).await.good()["role"], "owner");
}

#[tokio::test]
async fn members_move_between_organizations() {
    let world = World::new().await;
    let (from, to) = (world.organization("ana", "from").await, world.organization("ana", "to").await);
    let foreign = world.organization("ben", "foreign").await;
    let mia = world.member(&from, "ana", "mia", "manager").await;
    world.call("ana", Method::PUT, &mia, json!({"team_id": "evening"})).await.good();
    assert_eq!(world.call("ana", Method::PUT, &mia, json!({"organization_id": foreign})).await.refused(), 404);
    assert_eq!(world.call("ana", Method::PUT, &mia, json!({})).await.refused(), 400);
    let moved = world.call("ana", Method::PUT, &mia, json!({"organization_id": to})).await.good();
    assert_eq!(
        (&moved["organization_id"], &moved["role"], &moved["team_id"]),
        (&json!(to), &json!("member"), &Value::Null)
    );
    assert_eq!(world.call("ana", Method::PUT, &mia, json!({"team_id": "x"})).await.refused(), 404);
    assert_eq!(world.get("mia", &format!("/api/organizations/{from}")).await.refused(), 404);
    assert_eq!(world.get("mia", &format!("/api/organizations/{to}")).await.good()["member_count"], 2);
    let there = format!("/api/organizations/{to}/members/{}", world.demo.users["mia"].id);
    let back = json!({"organization_id": from, "role": "owner", "team_id": "morning"});
    let moved = world.call("ana", Method::PUT, &there, back).await.good();
    assert_eq!((&moved["role"], &moved["team_id"]), (&json!("owner"), &json!("morning")));
    assert_eq!(world.post("ana", "/api/organizations", json!({"name": "x", "slug": "to"})).await.refused(), 400);
    world.delete("ana", &format!("/api/organizations/{to}")).await.good();
    assert_eq!(world.delete("ana", &format!("/api/organizations/{to}")).await.refused(), 404);
    world.post("ana", "/api/organizations", json!({"name": "x", "slug": "to"})).await.good();
}

// ---------------------------------------------------------------------------------------------------- integration tokens

#[tokio::test]
async fn a_third_party_verifies_a_grant_with_the_published_keys() {
    let world = World::new().await;
    let grant = world.grant("ana").await;
    assert_eq!((&grant["expiresIn"], &grant["expiresAt"]), (&json!(90), &json!("2024-03-31T23:01:30Z")));
    let tenant = text(&grant["tenantId"]);
    let keys = world.get("", &format!("/api/integration/jwks?tenantId={tenant}")).await.good();
    let set: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let token = text(&grant["integrationToken"]);
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    // The test's clock is not the library's.
    validation.validate_exp = false;
    validation.set_audience(&["https://partner.example.com"]);
    validation.set_issuer(&["xentree"]);
    let claims =
        jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims;
    assert_eq!(
        (&claims["jti"], &claims["scopes"], &claims["sub"]),
        (&grant["jti"], &json!(["profile:read"]), &json!(world.demo.users["ana"].id))
    );
    assert_eq!(
        (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), &claims["tenantId"]),
        (90, &grant["tenantId"])
    );

    let prints = world.get("", &format!("/api/integration/fingerprint?tenantId={tenant}")).await.good();
    assert_eq!(prints["fingerprints"][0]["kid"], keys["keys"][0]["kid"]);
    assert_eq!(prints["fingerprints"][0]["fingerprint"], json!(fingerprint(&keys["keys"][0])));
    let of_ben =
        world.get("", &format!("/api/integration/jwks?tenantId={}", world.demo.organizations["b"])).await.good();
    assert_ne!(of_ben["keys"][0]["n"], keys["keys"][0]["n"]);
    assert_eq!(world.get("", "/api/integration/jwks?tenantId=org_none").await.refused(), 404);
    assert_eq!(world.get("", "/api/integration/jwks").await.refused(), 400);
}

/// SHA-256 of the SubjectPublicKeyInfo, made from the JWK alone: an RSA key of 2048 bits has always the same DER around it.
fn fingerprint(key: &Value) -> String {
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (n, e) = (bytes("n"), bytes("e"));
    assert_eq!((n.len(), e.as_slice()), (256, [1, 0, 1].as_slice()));
    let mut der =
        vec![0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    der.extend([0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00]);
    der.extend(n);
    der.extend([0x02, 0x03]);
    der.extend(e);
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn verification_says_what_is_wrong_with_a_token() {
    let world = World::new().await;
    let (grant, foreign) = (world.grant("ana").await, world.grant("ben").await);
    let (token, tenant) = (&grant["integrationToken"], &grant["tenantId"]);
    let good = world.verify("mia", token, tenant).await;
    assert_eq!(
        (&good["valid"], &good["jti"], &good["claims"]["origin"]),
        (&json!(true), &grant["jti"], &json!("https://partner.example.com"))
    );
    assert_eq!(world.verify("ana", &json!("nonsense"), tenant).await["reason"], "malformed");
    assert_eq!(world.verify("ana", &json!(world.token("ana").await), tenant).await["reason"], "malformed");
    let other = world.verify("ana", &foreign["integrationToken"], tenant).await;
    assert_eq!(
        (&other["reason"], &other["claims"], &other["jti"]),
        (&json!("wrong_tenant"), &Value::Null, &Value::Null)
    );
    // The claims of one token under the signature of another.
    let (ours, theirs) = (text(token), text(&foreign["integrationToken"]));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (parts(&ours), parts(&theirs));
    let mixed = format!("{}.{}.{}", ours[0], theirs[1], ours[2]);
    assert_eq!(world.verify("ana", &json!(mixed), tenant).await["reason"], "bad_signature");
    // An unsigned one, and one that is signed with the public key as if it were a secret.
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": grant["kid"]}).to_string());
    assert_eq!(world.verify("ana", &json!(format!("{none}.{}.", ours[1])), tenant).await["valid"], false);
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.kid = Some(text(&grant["kid"]));
    let key = jsonwebtoken::EncodingKey::from_secret(b"public");
    let confused = jsonwebtoken::encode(&header, &json!({"jti": "x"}), &key).unwrap();
    assert_eq!(world.verify("ana", &json!(confused), tenant).await["reason"], "malformed");

    let body = json!({"token": token, "tenantId": tenant});
    assert_eq!(world.post("ben", "/api/integration/verify", body).await.refused(), 404);
    world.clock.advance(Duration::from_millis(89_499));
    assert_eq!(world.verify("ana", token, tenant).await["valid"], true);
    world.clock.advance(Duration::from_millis(1));
    let late = world.verify("ana", token, tenant).await;
    assert_eq!((&late["valid"], &late["revoked"], &late["reason"]), (&json!(false), &json!(false), &json!("expired")));
}

#[tokio::test]
async fn tokens_are_revoked_at_once_by_either_name() {
    let world = World::new().await;
    let (one, two) = (world.grant("ana").await, world.grant("ana").await);
    let by_token = json!({"integrationToken": one["integrationToken"], "reason": "security-incident"});
    let by_jti = json!({"tenantId": two["tenantId"], "jti": two["jti"]});
    for body in [&by_token, &by_jti, &json!({"tenantId": two["tenantId"], "jti": "jti_none"})] {
        assert_eq!(world.post("ben", "/api/integration/revoke", body.clone()).await.refused(), 404);
    }
    let revoked = world.post("mia", "/api/integration/revoke", by_token).await.good();
    assert_eq!((&revoked["jti"], &revoked["reason"]), (&one["jti"], &json!("security-incident")));
    let state = world.verify("ana", &one["integrationToken"], &one["tenantId"]).await;
    assert_eq!(
        (&state["valid"], &state["revoked"], &state["reason"]),
        (&json!(false), &json!(true), &json!("revoked"))
    );
    assert_eq!(world.verify("ana", &two["integrationToken"], &two["tenantId"]).await["valid"], true);
    world.clock.advance(Duration::from_secs(5));
    let again = json!({"integrationToken": one["integrationToken"], "reason": "other"});
    assert_eq!(world.post("ana", "/api/integration/revoke", again).await.good(), revoked);
    world.post("ana", "/api/integration/revoke", by_jti).await.good();

    let seen = world.get("root", "/api/admin/integration-token-revocations").await.good();
    assert_eq!(each(&seen, "jti"), [&two["jti"], &one["jti"]]);
    assert_eq!(
        (&seen[1]["revokedBy"], &seen[1]["expiresAt"]),
        (&json!(world.demo.users["mia"].id), &json!("2024-03-31T23:01:30Z"))
    );
    let second = world.get("root", "/api/admin/integration-token-revocations?page=2&limit=1").await.good();
    assert_eq!(each(&second, "jti"), [&one["jti"]]);
    let none = format!("/api/admin/integration-token-revocations?tenantId={}", world.demo.organizations["b"]);
    assert_eq!(world.get("root", &none).await.good(), json!([]));
    assert_eq!(world.get("ana", "/api/admin/integration-token-revocations").await.refused(), 403);
    assert_eq!(world.get("key:all", "/api/admin/integration-token-revocations").await.refused(), 401);
    for bad in [json!({}), json!({"jti": "x"}), json!({"integrationToken": "x", "tenantId": "x", "jti": "x"})] {
        assert_eq!(world.post("ana", "/api/integration/revoke", bad).await.refused(), 400);
    }
}

#[tokio::test]
async fn rotation_gives_a_new_token_for_the_old_one_or_changes_nothing() {
    let world = World::new().await;
    let old = world.grant("ana").await;
    let rotate = |previous: &Value, more: Value| {
        let mut body = json!({"mode": "api", "origin": "https://partner.example.com", "scopes": ["quota:read"], "previousToken": previous});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let kept = world
        .post("ana", "/api/integration/rotate", rotate(&old["integrationToken"], json!({"revokePrevious": false})))
        .await
        .good();
    assert_eq!((&kept["previousRevoked"], &kept["previousJti"]), (&json!(false), &old["jti"]));
    assert_eq!(world.verify("ana", &old["integrationToken"], &old["tenantId"]).await["valid"], true);
    let new = world.post("ana", "/api/integration/rotate", rotate(&old["integrationToken"], json!({}))).await.good();
    assert_eq!((&new["previousRevoked"], &new["expiresIn"]), (&json!(true), &json!(120)));
    assert_eq!(world.verify("ana", &old["integrationToken"], &old["tenantId"]).await["reason"], "revoked");
    assert_eq!(world.verify("ana", &new["integrationToken"], &new["tenantId"]).await["valid"], true);

    let tokens = "SELECT jti FROM integration_tokens";
    let before = sqlx::query(tokens).fetch_all(world.service.store().reader()).await.unwrap().len();
    let foreign = world.grant("ben").await;
    for previous in [&old["integrationToken"], &foreign["integrationToken"], &json!("nonsense")] {
        assert_eq!(world.post("ana", "/api/integration/rotate", rotate(previous, json!({}))).await.refused(), 404);
    }
    let after = sqlx::query(tokens).fetch_all(world.service.store().reader()).await.unwrap().len();
    assert_eq!(after, before + 1);
    assert_eq!(world.verify("ben", &foreign["integrationToken"], &foreign["tenantId"]).await["valid"], true);
    // Of two that rotate the same token at once, one is refused.
    let both = rotate(&new["integrationToken"], json!({}));
    let (one, two) = tokio::join!(
        world.post("ana", "/api/integration/rotate", both.clone()),
        world.post("ana", "/api/integration/rotate", both),
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404]);
}

#[tokio::test]
async fn a_replaced_key_verifies_until_its_tokens_expire() {
    let world = World::with(|builder| builder.key_lifetime(Duration::from_secs(60))).await;
    let old = world.grant("ana").await;
    let jwks = format!("/api/integration/jwks?tenantId={}", text(&old["tenantId"]));
    let kids = |keys: &Value| each(&keys["keys"], "kid").into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(kids(&world.get("", &jwks).await.good()), [old["kid"].clone()]);
    world.clock.advance(Duration::from_secs(60));
    let new = world.grant("ana").await;
    assert_ne!(new["kid"], old["kid"]);
    assert_eq!(kids(&world.get("", &jwks).await.good()), [new["kid"].clone(), old["kid"].clone()]);
    assert_eq!(world.verify("ana", &old["integrationToken"], &old["tenantId"]).await["valid"], true);
    // The old token ends after ninety seconds, and its key is not shown any longer.
    world.clock.advance(Duration::from_millis(29_500));
    assert_eq!(kids(&world.get("", &jwks).await.good()), [new["kid"].clone()]);
    assert_eq!(world.verify("ana", &old["integrationToken"], &old["tenantId"]).await["reason"], "expired");
    let sealed = sqlx::query("SELECT private_sealed, public_der FROM integration_keys")
        .fetch_all(world.service.store().reader())
        .await
        .unwrap();
    for row in sealed {
        let private: Vec<u8> = sqlx::Row::try_get(&row, 0usize).unwrap();
        let public: Vec<u8> = sqlx::Row::try_get(&row, 1usize).unwrap();
        // The modulus stands in a PKCS #1 private key as it does in the public one.
        assert!(!private.windows(64).any(|window| public.windows(64).any(|other| window == other)));
    }
}

#[tokio::test]
async fn a_user_without_an_organization_has_no_tenant() {
    let world = World::new().await;
    let mia = &world.demo.users["mia"].id;
    world.delete("mia", &format!("/api/organizations/{}/members/{mia}", world.demo.organizations["a"])).await.good();
    let body = json!({"mode": "api", "origin": "https://partner.example.com", "scopes": ["profile:read"]});
    assert_eq!(world.post("mia", "/api/integration/grant", body).await.refused(), 403);
}

// ------------------------------------------------------------------------------------------------------------ connections

/// What an issuer was asked, and what it says.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<Vec<Form>>>);

/// The pairs of a form.
type Form = Vec<(String, String)>;

async fn token(State(issuer): State<Issuer>, body: String) -> (StatusCode, String) {
    let fields = pairs(&body);
    let code = fields.iter().find(|(name, _)| name == "code").map(|(_, code)| code.clone()).unwrap_or_default();
    issuer.0.lock().unwrap().push(fields);
    if code != "good" {
        return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}).to_string());
    }
    let claims = URL_SAFE_NO_PAD.encode(json!({"email": "ana@calendar.example.com"}).to_string());
    let answer = json!({"access_token": "opaque-access", "refresh_token": "opaque-refresh", "token_type": "Bearer",
                        "expires_in": 3600, "scope": "openid calendar", "id_token": format!("h.{claims}.s")});
    (StatusCode::OK, answer.to_string())
}

async fn issuer() -> (Issuer, OAuthClient) {
    let issuer = Issuer::default();
    let router = Router::new().route("/token", post(token)).with_state(issuer.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = OAuthClient {
        authorization_endpoint: format!("http://{address}/authorize"),
        token_endpoint: format!("http://{address}/token"),
        client_id: "trueline".to_owned(),
        client_secret: Some(Secret::new("s3cret")),
        redirect_uri: "https://learn.example.com/back".to_owned(),
        scopes: vec!["openid".to_owned(), "calendar".to_owned()],
    };
    (issuer, client)
}

/// The parameters of the consent page's address.
async fn begin(world: &World, query: &str) -> std::collections::HashMap<String, String> {
    let request = Request::get(format!("/api/integrations/google-calendar/authorize{query}"))
        .header("authorization", format!("Bearer {}", world.token("ana").await))
        .body(Body::empty())
        .unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    pairs(location.split_once('?').unwrap().1).into_iter().collect()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

async fn come_back(world: &World, state: &str, rest: &str) -> StatusCode {
    let path = format!("/api/integrations/google-calendar/callback?state={state}&{rest}");
    let request = Request::get(path).body(Body::empty()).unwrap();
    world.router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_calendar_is_connected_with_state_and_pkce_and_its_tokens_are_sealed() {
    let (issuer, client) = issuer().await;
    let world = World::with(|builder| builder.google_calendar(client)).await;
    let asked = begin(&world, "").await;
    assert_eq!(
        (asked["response_type"].as_str(), asked["client_id"].as_str(), asked["code_challenge_method"].as_str()),
        ("code", "trueline", "S256")
    );
    assert_eq!(
        (asked["redirect_uri"].as_str(), asked["scope"].as_str()),
        ("https://learn.example.com/back", "openid calendar")
    );
    assert_eq!(world.get("ana", "/api/integrations").await.good(), json!([]));
    assert_eq!(come_back(&world, &asked["state"], "code=good").await, StatusCode::OK);

    let sent = issuer.0.lock().unwrap()[0].clone();
    let field = |name: &str| sent.iter().find(|(field, _)| field == name).unwrap().1.clone();
    assert_eq!(
        (field("grant_type"), field("code"), field("client_secret")),
        ("authorization_code".into(), "good".into(), "s3cret".into())
    );
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))), asked["code_challenge"]);
    assert_eq!(field("redirect_uri"), asked["redirect_uri"]);

    let listed = world.get("ana", "/api/integrations").await.good();
    assert_eq!(
        (&listed[0]["provider"], &listed[0]["status"], &listed[0]["account_email"]),
        (&json!("google_calendar"), &json!("active"), &json!("ana@calendar.example.com"))
    );
    assert_eq!(
        (&listed[0]["scopes"], &listed[0]["expires_at"]),
        (&json!(["openid", "calendar"]), &json!("2024-04-01T00:00:00Z"))
    );
    assert_eq!(world.get("ben", "/api/integrations").await.good(), json!([]));
    let row = sqlx::query("SELECT access_sealed, refresh_sealed FROM connections")
        .fetch_one(world.service.store().reader())
        .await
        .unwrap();
    for index in [0usize, 1] {
        let sealed: Vec<u8> = sqlx::Row::try_get(&row, index).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"opaque"));
    }
    // A state is good once; another consent renews the one connection.
    assert_eq!(come_back(&world, &asked["state"], "code=good").await, StatusCode::BAD_REQUEST);
    world.clock.advance(Duration::from_secs(60));
    let again = begin(&world, "?redirect_uri=https://app.example.com/done").await;
    assert_eq!(again["redirect_uri"], "https://app.example.com/done");
    assert_ne!((&again["state"], &again["code_challenge"]), (&asked["state"], &asked["code_challenge"]));
    assert_eq!(come_back(&world, &again["state"], "code=good").await, StatusCode::OK);
    let renewed = world.get("ana", "/api/integrations").await.good();
    assert_eq!((renewed.as_array().unwrap().len(), &renewed[0]["id"]), (1, &listed[0]["id"]));
    // It can be renewed, so that it does not end with its access token.
    world.clock.advance(DAY);
    assert_eq!(world.get("ana", "/api/integrations").await.good().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn consent_that_is_late_refused_or_invented_connects_nothing() {
    let (issuer, client) = issuer().await;
    let world = World::with(|builder| builder.google_calendar(client)).await;
    assert_eq!(come_back(&world, "invented", "code=good").await, StatusCode::BAD_REQUEST);
    let denied = begin(&world, "").await;
    assert_eq!(come_back(&world, &denied["state"], "error=access_denied").await, StatusCode::BAD_REQUEST);
    let late = begin(&world, "").await;
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(come_back(&world, &late["state"], "code=good").await, StatusCode::BAD_REQUEST);
    assert!(issuer.0.lock().unwrap().is_empty());
    let bad = begin(&world, "").await;
    assert_eq!(come_back(&world, &bad["state"], "code=bad").await, StatusCode::BAD_GATEWAY);
    assert_eq!(world.get("ana", "/api/integrations").await.good(), json!([]));
    assert_eq!(
        world.get("ana", "/api/integrations/google-calendar/authorize?redirect_uri=javascript:x").await.refused(),
        400
    );
    assert_eq!(
        world.get("key:without-integrations-write", "/api/integrations/google-calendar/authorize").await.refused(),
        403
    );
}

// ----------------------------------------------------------------------------------------------------------------- health

#[tokio::test]
async fn health_needs_no_store_and_detail_tells_what_is_broken() {
    let world = World::new().await;
    let whole = world.get("ana", "/api/health/detailed").await.good();
    assert_eq!((&whole["status"], &whole["checks"]["store"]["status"]), (&json!("ok"), &json!("ok")));
    world.clock.advance(Duration::from_secs(90));
    assert_eq!(world.get("ana", "/api/health/detailed").await.good()["uptime_seconds"], 90);
    // The session is remembered for half a minute, which is long enough to ask after the store is gone.
    world.get("ana", "/api/auth/me").await.good();
    world.service.store().close().await;
    let alive = world.get("", "/api/health").await.good();
    assert_eq!((&alive["status"], &alive["timestamp"]), (&json!("ok"), &json!("2024-03-31T23:01:30Z")));
    let broken = world.get("ana", "/api/health/detailed").await.good();
    assert_eq!((&broken["status"], &broken["checks"]["store"]["status"]), (&json!("degraded"), &json!("error")));
    assert!(!broken.to_string().contains("sql"), "{broken}");
}
