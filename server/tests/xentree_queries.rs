//! No list asks the database once for each of its entries: with ten times the entries, every list takes as many queries as
//! before. A program of its own, because statements are counted by a subscriber of the whole process.

#![allow(clippy::unwrap_used)]

mod classroom;

use std::sync::atomic::{AtomicUsize, Ordering};

use classroom::World;
use http::Method;
use serde_json::{Value, json};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            STATEMENTS.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Every list there is.
const LISTS: &[(&str, &str)] = &[
    ("GET", "/api/core/conversations?limit=100"),
    ("GET", "/api/core/conversations/{conversation}/messages?limit=100"),
    ("GET", "/api/core/notes?limit=100"),
    ("GET", "/api/core/search?q=launch&limit=50"),
    ("GET", "/api/core/search/status"),
    ("GET", "/api/rag/documents?limit=100"),
    ("POST", "/api/knowledge/search"),
    ("POST", "/api/rag/query"),
    ("GET", "/api/live/transcripts?limit=100"),
    ("GET", "/api/live/transcripts/{transcript}"),
    ("GET", "/api/learn/english/modules"),
    ("GET", "/api/learn/english/modules/1"),
    ("GET", "/api/learn/english/dashboard"),
    ("GET", "/api/learn/english/xpi"),
    ("GET", "/api/learn/english/xpi/history?limit=365"),
    ("GET", "/api/learn/english/transcripts/{session}?limit=100"),
    ("GET", "/api/xp/profile"),
    ("GET", "/api/xp/weekly-activity"),
    ("GET", "/api/xp/learning-pulse"),
    ("GET", "/api/xp/quests"),
    ("GET", "/api/analytics/learning-time"),
    ("GET", "/api/organizations?limit=100"),
    ("GET", "/api/organizations/{organization}/members?limit=100"),
    ("GET", "/api/api-keys?limit=100"),
    ("GET", "/api/tenants?limit=100"),
    ("GET", "/api/integrations?limit=100"),
    ("GET", "/api/admin/integration-token-revocations?limit=100"),
];

struct Things {
    conversation: String,
    session: String,
    transcript: String,
}

/// Adds entries to every list.
async fn fill(world: &World, things: &mut Things, times: usize) {
    let who = "root";
    let home = world.demo.organizations["r"].clone();
    for n in 0..times {
        world.clock.advance(std::time::Duration::from_secs(61));
        let name = format!("o{}", world.clock.now_ms());
        world.post(who, "/api/organizations", json!({"name": name, "slug": name})).await.good();
        let user = json!({"username": name, "email": format!("{name}@example.com"), "password": "correct horse"});
        let user = world.post("", "/api/auth/register", user).await.good();
        let joins = json!({"user_id": user["id"]});
        world.post(who, &format!("/api/organizations/{home}/members"), joins).await.good();
        let key = json!({"name": name, "tenant_id": home, "scopes": ["api:read"]});
        world.post(who, "/api/api-keys", key).await.good();
        let grant = json!({"mode": "api", "origin": "https://partner.example.com", "scopes": ["profile:read"]});
        let grant = world.post(who, "/api/integration/grant", grant).await.good();
        let revoke = json!({"integrationToken": grant["integrationToken"]});
        world.post(who, "/api/integration/revoke", revoke).await.good();
        world.conversation(who, &format!("launch {n}")).await;
        let ask = json!({"message": "launch?", "conversation_id": things.conversation});
        world.post(who, "/api/ai/generate", ask).await.good();
        world.note(who, &format!("launch {n}"), "launch").await;
        let visibility = [("visibility", if n % 2 == 0 { "shared" } else { "private" })];
        world.upload(who, &format!("{n}.txt"), "text/plain", format!("launch {n}"), &visibility).await.good();
        let turn = json!({"role": "user", "text": "launch", "timestamp": "2024-03-31T22:00:00Z"});
        let saved = json!({"session_started_at": "2024-03-31T22:00:00Z", "session_ended_at": "2024-03-31T23:00:00Z",
                           "transcripts": vec![turn; times]});
        let saved = world.post(who, "/api/live/transcripts", saved).await.good();
        things.transcript = saved["id"].as_str().unwrap().to_owned();
        let skill = ["reading", "listening", "writing", "speaking"][n % 4];
        world.submit(who, "1", skill, &format!("Lisbon three {}", "and name ".repeat(n))).await.good();
        let entry = json!({"session_id": things.session, "role": "user", "text": "launch"});
        world.post(who, "/api/learn/english/transcripts", entry).await.good();
        let session = format!("/api/core/conversations/{}/session", things.conversation);
        world.post(who, &format!("{session}/start"), Value::Null).await.good();
        world.post(who, &format!("{session}/end"), Value::Null).await.good();
    }
}

async fn count(world: &World, things: &Things) -> Vec<(String, usize)> {
    let mut counts = Vec::new();
    for (method, path) in LISTS {
        let path = path
            .replace("{conversation}", &things.conversation)
            .replace("{session}", &things.session)
            .replace("{organization}", &world.demo.organizations["r"])
            .replace("{transcript}", &things.transcript);
        let body = if *method == "POST" { json!({"query": "launch", "top_k": 50}) } else { Value::Null };
        // Whoever asks has a token already: signing in is not part of the list.
        world.token("root").await;
        let before = STATEMENTS.load(Ordering::SeqCst);
        world.call("root", Method::from_bytes(method.as_bytes()).unwrap(), &path, body).await.good();
        counts.push(((*path).split('?').next().unwrap().to_owned(), STATEMENTS.load(Ordering::SeqCst) - before));
    }
    counts
}

#[tokio::test]
async fn lists_take_as_many_queries_however_long_they_are() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Counter)).unwrap();
    let world = World::new().await;
    let conversation = world.conversation("root", "launch").await;
    let session = world.post("root", "/api/learn/english/sessions/start", json!({})).await.good();
    let session = session["session_id"].as_str().unwrap().to_owned();
    let mut things = Things { conversation, session, transcript: String::new() };
    fill(&world, &mut things, 2).await;
    let few = count(&world, &things).await;
    fill(&world, &mut things, 20).await;
    let many = count(&world, &things).await;
    for ((path, few), (_, many)) in few.iter().zip(&many) {
        assert_eq!(few, many, "{path}");
        assert!((1..=16).contains(many), "{path} takes {many} queries");
    }
}
