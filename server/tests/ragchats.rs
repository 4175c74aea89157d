//! The service on the wire, in process: statuses, codes, headers and what a caller may see.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use common::World;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use trueline_server::platform::model::{Completion, Embedded, ModelError, ModelProvider, Question};

#[tokio::test]
async fn a_session_from_login_to_logout() {
    let world = World::new().await;
    let login = world.log_in("alice").await;
    assert_eq!(login.status, 200);
    assert_eq!(login.text("/user/email"), "alice@demo.example.com");
    assert_eq!(login.text("/user/firstName"), "Alice");
    let (access, refresh) = (login.text("/access"), login.text("/refresh"));
    assert_eq!(world.get("/agents/", access).await.status, 200);
    assert_eq!(world.get("/agents/", refresh).await.failure(), (401, "invalid_token"));
    assert_eq!(
        world.post("/auth/token/refresh/", "", json!({"refresh": access})).await.failure(),
        (401, "invalid_token")
    );

    // Issued at .500 of a second; the token counts from the second's beginning.
    world.clock.advance(Duration::from_millis(3_599_499));
    assert_eq!(world.get("/agents/", access).await.status, 200);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.get("/agents/", access).await.failure(), (401, "token_expired"));
    let renewed = world.post("/auth/token/refresh/", "", json!({"refresh": refresh})).await;
    assert_eq!((renewed.status, renewed.body.as_object().unwrap().len()), (200, 1));
    let renewed = renewed.text("/access");
    assert_eq!(world.get("/agents/", renewed).await.status, 200);

    let other = world.log_in("alice").await;
    let bobs = world.log_in("bob").await;
    let foreign = world.post("/auth/logout/", renewed, json!({"refresh": bobs.text("/refresh")})).await;
    assert_eq!(foreign.failure(), (401, "invalid_token"));
    let out = world.post("/auth/logout/", renewed, json!({"refresh": refresh})).await;
    assert_eq!((out.status, &out.body), (204, &Value::Null));
    assert_eq!(world.get("/agents/", renewed).await.failure(), (401, "invalid_token"));
    let again = world.post("/auth/token/refresh/", "", json!({"refresh": refresh})).await;
    assert_eq!(again.failure(), (401, "invalid_token"));
    assert_eq!(world.get("/agents/", other.text("/access")).await.status, 200, "another login is another session");

    world.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    let old = world.post("/auth/token/refresh/", "", json!({"refresh": other.text("/refresh")})).await;
    assert_eq!(old.failure(), (401, "token_expired"));
}

#[tokio::test]
async fn credentials_that_are_no_good_are_told_apart() {
    let world = World::new().await;
    let demo = &world.demo;
    let wrong = json!({"email": demo.users["alice"].email, "password": "wrong"});
    assert_eq!(world.post("/auth/login/", "", wrong).await.failure(), (401, "invalid_credentials"));
    let unknown = json!({"email": "nobody@demo.example.com", "password": "wrong"});
    assert_eq!(world.post("/auth/login/", "", unknown).await.failure(), (401, "invalid_credentials"));
    for bad in ["", "x", "a.b.c", &demo.tokens.unknown_session] {
        assert_eq!(world.get("/agents/", bad).await.failure(), (401, "invalid_token"), "{bad}");
    }
    assert_eq!(world.get("/agents/", &demo.tokens.expired).await.failure(), (401, "token_expired"));
    assert_eq!(world.ask(&world.agent("a"), &demo.tokens.expired, "warranty").await.failure(), (401, "token_expired"));

    assert_eq!(world.ask(&world.agent("a"), &demo.agent_keys.good, "warranty").await.status, 200);
    assert_eq!(
        world.ask(&world.agent("a"), &demo.agent_keys.revoked, "warranty").await.failure(),
        (401, "invalid_api_key")
    );
    assert_eq!(
        world.ask(&world.agent("a"), &demo.agent_keys.good[..42], "warranty").await.failure(),
        (401, "invalid_api_key")
    );
    assert_eq!(world.ask(&world.agent("a"), "", "warranty").await.failure(), (401, "invalid_token"));
    let foreign = world.ask(&world.agent("a"), &demo.agent_keys.foreign, "warranty").await;
    assert_eq!(foreign.failure(), (404, "agent_not_found"));
    assert_eq!(foreign.text("/details/agent_id"), world.agent("a"));
    assert_eq!(world.get("/agents/", &demo.agent_keys.good).await.failure(), (403, "permission_denied"));
    assert_eq!(world.get("/agents/", &demo.agent_keys.revoked).await.failure(), (401, "invalid_token"));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_yours_look_alike() {
    let world = World::new().await;
    let (alice, bob, victor) = (world.token("alice").await, world.token("bob").await, world.token("victor").await);
    let a = &world.demo.organizations["a"];
    let nowhere = "00000000-0000-4000-8000-000000000000";
    for agent in [a.agent.to_string().as_str(), nowhere] {
        for path in ["", "conversations/", &format!("conversations/{nowhere}/")] {
            let answer = world.get(&format!("/agents/{agent}/{path}"), &bob).await;
            assert_eq!(answer.failure(), (404, "agent_not_found"), "{path}");
            assert_eq!(answer.text("/details/agent_id"), agent);
        }
        assert_eq!(world.get(&format!("/analytics/agents/{agent}/"), &bob).await.failure(), (404, "agent_not_found"));
        let asked = world.post(&format!("/agents/{agent}/query/"), &bob, json!({"message": "x"})).await;
        assert_eq!(asked.failure(), (404, "agent_not_found"));
    }
    for source in [a.data_source.to_string().as_str(), nowhere] {
        for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "sync/")] {
            let answer = world.call(method, &format!("/data-sources/{source}/{path}"), &bob, Value::Null).await;
            assert_eq!(answer.failure(), (404, "data_source_not_found"));
        }
    }
    for organization in [a.id.to_string().as_str(), nowhere] {
        let agent = json!({"name": "x", "organizationId": organization});
        assert_eq!(world.post("/agents/", &bob, agent).await.failure(), (404, "not_found"));
        let source = json!({"name": "x", "organizationId": organization, "sourceType": "pdf"});
        assert_eq!(world.post("/data-sources/", &bob, source).await.failure(), (404, "not_found"));
        for list in ["agents", "data-sources"] {
            let answer = world.get(&format!("/{list}/?organization={organization}"), &bob).await;
            assert_eq!(answer.failure(), (403, "permission_denied"));
        }
    }
    let agent = json!({"name": "x", "organizationId": a.id});
    assert_eq!(world.post("/agents/", &victor, agent).await.failure(), (403, "permission_denied"));
    let changed = world.call(Method::PATCH, &format!("/agents/{}/", a.agent), &victor, json!({"topK": 3})).await;
    assert_eq!(changed.failure(), (403, "permission_denied"));
    assert_eq!(world.get(&format!("/agents/{}/", a.agent), &victor).await.status, 200);

    let unknown_source =
        json!({"name": "x", "organizationId": a.id, "dataSourceIds": [world.demo.organizations["b"].data_source]});
    assert_eq!(world.post("/agents/", &alice, unknown_source).await.failure(), (404, "data_source_not_found"));
    let query = |extra: Value| {
        let mut body = json!({"message": "x"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let path = format!("/agents/{}/query/", a.agent);
    let answer = world.post(&path, &alice, query(json!({"conversationId": nowhere}))).await;
    assert_eq!(answer.failure(), (404, "conversation_not_found"));
    let answer = world.post(&path, &alice, query(json!({"dataSourceIds": [nowhere]}))).await;
    assert_eq!(answer.failure(), (404, "data_source_not_found"));
    for (method, path) in
        [(Method::GET, "/agents"), (Method::GET, "/"), (Method::PUT, "/agents/"), (Method::GET, "/nope/")]
    {
        assert_eq!(world.call(method, path, &alice, Value::Null).await.failure(), (404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn an_agent_and_its_source_from_creation_to_deletion() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let organization = world.demo.organizations["a"].id;
    let source = json!({"name": "Manual", "sourceType": "pdf", "organizationId": organization});
    let source = world.post("/data-sources/", &alice, source).await;
    assert_eq!((source.status, source.text("/status")), (201, "pending"));
    assert!(source.body["lastSyncAt"].is_null() && source.body["statusMessage"].is_null());
    let source = source.text("/id").to_owned();
    let agent = json!({"name": "Desk", "organizationId": organization, "dataSourceIds": [source]});
    let agent = world.post("/agents/", &alice, agent).await;
    assert_eq!(agent.status, 201, "{agent:?}");
    assert_eq!(
        (agent.text("/model"), &agent.body["temperature"], &agent.body["maxTokens"]),
        ("gpt-4o", &json!(0.7), &json!(1000))
    );
    assert_eq!((agent.text("/createdAt"), &agent.body["dataSourceCount"]), ("2024-03-31T23:00:00Z", &json!(1)));
    let id = agent.text("/id").to_owned();
    let path = format!("/agents/{id}/query/");
    let not_ready = world.post(&path, &alice, json!({"message": "x"})).await;
    assert_eq!(not_ready.failure(), (503, "agent_not_ready"));
    assert_eq!(
        (not_ready.text("/details/agent_id"), &not_ready.body["details"]["retry_after"]),
        (id.as_str(), &json!(5))
    );

    let uploaded = world.upload(&source, &alice, "oil.md", "text/markdown", "# Oil\n\nChains need oil weekly.").await;
    assert_eq!((uploaded.status, uploaded.text("/status")), (202, "processing"), "{uploaded:?}");
    let image = world.upload(&source, &alice, "oil.png", "image/png", "x").await;
    assert_eq!((image.failure(), image.text("/details/field")), ((400, "invalid_field"), "file"));
    world.service.run_due_jobs().await.unwrap();
    let done = world.get(&format!("/data-sources/{source}/"), &alice).await;
    assert_eq!(
        (done.text("/status"), &done.body["documentCount"], &done.body["agentCount"]),
        ("completed", &json!(1), &json!(1))
    );
    let completed = world.get("/data-sources/?status=completed", &alice).await;
    assert_eq!(completed.body.as_array().unwrap().len(), 2);
    assert_eq!(world.get("/data-sources/?status=failed", &alice).await.body, json!([]));

    let answer =
        world.post(&path, &alice, json!({"message": "When do chains need oil?", "dataSourceIds": [source]})).await;
    assert_eq!(answer.text("/response"), "According to oil.md: Oil Chains need oil weekly.");
    let metadata = &answer.body["metadata"];
    let total = metadata["retrievalTime"].as_i64().unwrap() + metadata["generationTime"].as_i64().unwrap();
    assert_eq!(answer.body["latency"], json!(total));
    assert_eq!((answer.text("/sources/0/displayMode"), &answer.body["sources"][0]["rank"]), ("inline", &json!(1)));
    let conversation = answer.text("/conversationId").to_owned();
    let kept = world.get(&format!("/agents/{id}/conversations/{conversation}/"), &alice).await;
    assert_eq!(kept.text("/messages/1/content"), answer.text("/response"));
    assert_eq!(kept.text("/messages/1/id"), answer.text("/messageId"));
    assert_eq!((kept.text("/messages/0/role"), kept.text("/title")), ("user", "When do chains need oil?"));
    let list = world.get(&format!("/agents/{id}/conversations/"), &alice).await;
    assert_eq!((list.text("/0/id"), &list.body[0]["messageCount"]), (conversation.as_str(), &json!(2)));

    let usage = world.get(&format!("/analytics/agents/{id}/?period=month"), &alice).await;
    assert_eq!((&usage.body["totalQueries"], &usage.body["successRate"]), (&json!(1), &json!(1.0)));
    let days = usage.body["queriesPerDay"].as_array().unwrap();
    assert_eq!((days.len(), &days[29]), (30, &json!({"date": "2024-03-31", "count": 1})));
    let week = world.get(&format!("/analytics/agents/{id}/"), &alice).await;
    assert_eq!(week.body["queriesPerDay"].as_array().unwrap().len(), 7);

    let patched = world.call(Method::PATCH, &format!("/agents/{id}/"), &alice, json!({"name": "New name"})).await;
    assert_eq!((patched.status, patched.text("/name"), patched.text("/model")), (200, "New name", "gpt-4o"));
    let synced = world.call(Method::POST, &format!("/data-sources/{source}/sync/"), &alice, Value::Null).await;
    assert_eq!((synced.status, synced.text("/status")), (202, "pending"));
    for (path, code) in
        [(format!("/data-sources/{source}/"), "data_source_not_found"), (format!("/agents/{id}/"), "agent_not_found")]
    {
        assert_eq!(world.call(Method::DELETE, &path, &alice, Value::Null).await.status, 204);
        assert_eq!(world.call(Method::DELETE, &path, &alice, Value::Null).await.failure(), (404, code));
        assert_eq!(world.get(&path, &alice).await.failure(), (404, code));
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let organization = world.demo.organizations["a"].id;
    for (body, code, field) in [
        (json!({"organizationId": organization}), "missing_field", "name"),
        (json!({"name": "x".repeat(256), "organizationId": organization}), "invalid_field", "name"),
        (json!({"name": "x", "organizationId": organization, "temperature": 3}), "invalid_field", "temperature"),
        (json!({"name": "x", "organizationId": "no"}), "invalid_field", "organizationId"),
    ] {
        let answer = world.post("/agents/", &alice, body).await;
        assert_eq!((answer.failure(), answer.text("/details/field")), ((400, code), field));
    }
    let several = world.post("/agents/", &alice, json!({"temperature": "hot"})).await;
    assert_eq!(several.failure(), (400, "validation_error"));
    assert!(several.body["details"]["name"].is_array(), "{several:?}");
    assert_eq!(world.post("/agents/", &alice, json!([])).await.failure(), (400, "validation_error"));
    let path = format!("/agents/{}/query/", world.agent("a"));
    assert_eq!(world.post(&path, &alice, json!({})).await.failure(), (400, "missing_field"));
    assert_eq!(world.post(&path, &alice, json!({"message": ""})).await.failure(), (400, "invalid_field"));
    assert_eq!(
        world.post(&path, &alice, json!({"message": "x".repeat(10_001)})).await.failure(),
        (400, "invalid_field")
    );
    let odd = world.get("/agents/?organization=nonsense", &alice).await;
    assert_eq!(odd.failure(), (400, "invalid_field"));
    assert_eq!(
        world.get(&format!("/analytics/agents/{}/?period=year", world.agent("a")), &alice).await.failure(),
        (400, "invalid_field")
    );
    let text =
        Request::post("/agents/").header("authorization", format!("Bearer {alice}")).body(Body::from("{")).unwrap();
    assert_eq!(world.send(text).await.failure(), (400, "validation_error"));
}

#[tokio::test]
async fn limits_count_by_class_and_key_and_recover_on_time() {
    let world = World::with(|builder| builder.limits([("authenticated".into(), 5), ("anonymous".into(), 20)])).await;
    let (dave, dora) = (world.token("dave").await, world.token("dora").await);
    for left in (0..5).rev() {
        let answer = world.get("/agents/", &dave).await;
        assert_eq!(
            (answer.status, answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining")),
            (200, 5, left)
        );
        assert_eq!(answer.number("x-ratelimit-reset"), 1_711_926_001 + 3_600);
    }
    world.clock.advance(Duration::from_secs(600));
    let limited = world.get("/agents/", &dave).await;
    assert_eq!(limited.failure(), (429, "rate_limit_exceeded"));
    assert_eq!(limited.body["details"], json!({"retry_after": 3_000, "limit": 5, "window": "hour"}));
    assert_eq!(limited.number("x-ratelimit-remaining"), 0);
    assert!(!limited.headers.contains_key("retry-after"));
    assert_eq!(world.get("/agents/", &dora).await.status, 200, "another user has another window");
    let second_login = world.token("dave").await;
    assert_eq!(world.get("/agents/", &second_login).await.status, 429, "another token of the same user has not");
    world.clock.advance(Duration::from_millis(2_999_999));
    assert_eq!(world.get("/agents/", &second_login).await.status, 429);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.get("/agents/", &second_login).await.status, 200);
}

#[tokio::test]
async fn queries_count_by_agent_whoever_asks() {
    let world = World::new().await;
    let dave = world.token("dave").await;
    let key = &world.demo.agent_keys.limits;
    for n in 0..60 {
        let token = if n % 2 == 0 { &dave } else { key };
        let answer = world.ask(&world.agent("c"), token, "warranty").await;
        assert_eq!(
            (answer.status, answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining")),
            (200, 60, 59 - n)
        );
    }
    let limited = world.ask(&world.agent("c"), key, "warranty").await;
    assert_eq!(limited.failure(), (429, "rate_limit_exceeded"));
    assert_eq!(limited.body["details"], json!({"retry_after": 60, "limit": 60, "window": "minute"}));
    assert_eq!(world.ask(&world.agent("a"), &world.demo.agent_keys.good, "warranty").await.status, 200);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.ask(&world.agent("c"), key, "warranty").await.status, 200);
}

#[tokio::test]
async fn the_quota_ends_with_the_month() {
    let world = World::new().await;
    let erin = world.token("erin").await;
    for _ in 0..5 {
        assert_eq!(world.ask(&world.agent("d"), &erin, "warranty").await.status, 200);
    }
    let over = world.ask(&world.agent("d"), &world.demo.agent_keys.quota, "warranty").await;
    assert_eq!(over.failure(), (429, "quota_exceeded"));
    assert_eq!(
        over.body["details"],
        json!({"limit": 5, "used": 5, "window": "month", "reset_at": "2024-04-01T00:00:00Z"})
    );
    assert_eq!(over.number("x-ratelimit-remaining"), 54);
    world.clock.advance(Duration::from_millis(3_599_499));
    assert_eq!(
        world.ask(&world.agent("d"), &world.demo.agent_keys.quota, "warranty").await.failure(),
        (429, "quota_exceeded")
    );
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.ask(&world.agent("d"), &world.demo.agent_keys.quota, "warranty").await.status, 200);
}

#[tokio::test]
async fn a_harmless_request_id_is_taken_over() {
    let world = World::new().await;
    let request = |id: &str| Request::get("/nowhere/").header("x-request-id", id).body(Body::empty()).unwrap();
    let answer = world.send(request("trace-42")).await;
    assert_eq!(answer.headers["x-request-id"], "trace-42");
    let answer = world.send(request("bad id")).await;
    assert_eq!(answer.headers["x-request-id"].len(), 36);
    assert_eq!(answer.status, StatusCode::NOT_FOUND.as_u16());
}

#[tokio::test]
async fn the_quota_holds_under_concurrency() {
    let world = World::new().await;
    let (erin, agent) = (world.token("erin").await, world.agent("d"));
    let answers = futures::future::join_all((0..20).map(|_| world.ask(&agent, &erin, "warranty"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.failure(), (429, "quota_exceeded"));
    }
}

/// Fails while it is told to.
struct Moody(AtomicBool);

impl ModelProvider for Moody {
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        if self.0.load(Ordering::SeqCst) {
            Box::pin(async { Err(ModelError::Refused(503)) })
        } else {
            Embedded.answer(question)
        }
    }
}

#[tokio::test]
async fn a_failing_provider_costs_no_quota_and_shows_in_the_statistics() {
    let moody = Arc::new(Moody(AtomicBool::new(true)));
    let world = World::with_provider(moody.clone()).await;
    let (erin, agent) = (world.token("erin").await, world.agent("d"));
    for _ in 0..7 {
        assert_eq!(world.ask(&agent, &erin, "warranty").await.failure(), (500, "llm_error"));
    }
    assert_eq!(world.get(&format!("/agents/{agent}/conversations/"), &erin).await.body, json!([]));
    moody.0.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(3_600));
    let erin = world.token("erin").await;
    for message in ["warranty", "warranty", "refunds"] {
        assert_eq!(world.ask(&agent, &erin, message).await.status, 200);
    }
    let usage = world.get(&format!("/analytics/agents/{agent}/"), &erin).await.body;
    assert_eq!((&usage["totalQueries"], &usage["successRate"]), (&json!(10), &json!(0.3)));
    assert_eq!(usage["topQueries"], json!([{"query": "warranty", "count": 9}, {"query": "refunds", "count": 1}]));
    let days = usage["queriesPerDay"].as_array().unwrap();
    assert_eq!((days.len(), &days[0]["date"]), (7, &json!("2024-03-26")));
    assert_eq!(days[5..], [json!({"date": "2024-03-31", "count": 7}), json!({"date": "2024-04-01", "count": 3})]);
    let today = world.get(&format!("/analytics/agents/{agent}/?period=day"), &erin).await.body;
    assert_eq!((&today["totalQueries"], &today["successRate"]), (&json!(3), &json!(1.0)));
    assert_eq!(today["queriesPerDay"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn settings_decide_how_an_agent_answers() {
    let world = World::new().await;
    let (alice, agent) = (world.token("alice").await, world.agent("a"));
    let path = format!("/agents/{agent}/");
    let patch = async |body: Value| world.call(Method::PATCH, &path, &alice, body).await;
    let answer = world.ask(&agent, &alice, "How long is the warranty on spare parts?").await;
    assert!(answer.text("/response").contains("two years from the day of delivery"));
    assert_eq!(answer.body["sources"].as_array().unwrap().len(), 1);

    world.clock.advance(Duration::from_secs(60));
    let hidden = patch(json!({"showSources": false, "sourceDisplayMode": "footer"})).await;
    assert_eq!(
        (hidden.status, hidden.text("/updatedAt"), hidden.text("/createdAt")),
        (200, "2024-03-31T23:01:00Z", "2024-03-31T23:00:00Z")
    );
    assert_eq!(world.ask(&agent, &alice, "warranty").await.body["sources"], json!([]));
    patch(json!({"showSources": true})).await;
    assert_eq!(world.ask(&agent, &alice, "warranty").await.text("/sources/0/displayMode"), "footer");

    patch(json!({"similarityThreshold": 1})).await;
    let strict = world.ask(&agent, &alice, "warranty").await;
    assert_eq!((&strict.body["sources"], &strict.body["retrievedChunks"]), (&json!([]), &json!(1)));
    assert_eq!(strict.text("/response"), "The connected sources say nothing about this.");
    patch(json!({"allowGeneralKnowledge": true})).await;
    assert_ne!(world.ask(&agent, &alice, "warranty").await.text("/response"), strict.text("/response"));
    assert_eq!(patch(json!({"dataSourceIds": []})).await.body["dataSourceCount"], json!(0));
    assert_eq!(world.ask(&agent, &alice, "warranty").await.body["retrievedChunks"], json!(0));

    patch(json!({"isActive": false})).await;
    let off = world.ask(&agent, &alice, "warranty").await;
    assert_eq!((off.failure(), &off.body["details"]), ((503, "agent_not_ready"), &json!({"agent_id": agent})));
    let bobs = world.token("bob").await;
    let conversation = json!({"message": "x", "conversationId": answer.text("/conversationId")});
    let foreign = world.post(&format!("/agents/{}/query/", world.agent("b")), &bobs, conversation).await;
    assert_eq!(foreign.failure(), (404, "conversation_not_found"));
}

/// Panics in the middle of an answer.
struct Panics;

impl ModelProvider for Panics {
    fn answer<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(async { panic!("on purpose") })
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_nothing_is_left_of_it() {
    let world = World::with_provider(Arc::new(Panics)).await;
    let (erin, agent) = (world.token("erin").await, world.agent("d"));
    for _ in 0..6 {
        let answer = world.ask(&agent, &erin, "warranty").await;
        assert_eq!((answer.failure(), &answer.body["details"]), ((500, "internal_error"), &json!({})));
        assert!(!answer.text("/message").contains("purpose"));
    }
    assert_eq!(world.get(&format!("/agents/{agent}/conversations/"), &erin).await.body, json!([]));
}

#[tokio::test]
async fn odd_text_is_kept_as_it_was_sent() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let organization = world.demo.organizations["a"].id;
    for name in ["", " ", "a\u{0}b", "'; DROP TABLE agents; --", "\u{202e}\u{1F600}é\u{feff}", "\n\t\\\""] {
        let created = world.post("/agents/", &alice, json!({"name": name, "organizationId": organization})).await;
        assert_eq!((created.status, created.text("/name")), (201, name));
        let path = format!("/agents/{}/", created.text("/id"));
        assert_eq!(world.get(&path, &alice).await.text("/name"), name);
        let patched = world.call(Method::PATCH, &path, &alice, json!({"description": name})).await;
        assert_eq!((patched.text("/description"), patched.text("/name")), (name, name));
        if !name.is_empty() {
            let answer = world.ask(created.text("/id"), &alice, name).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}
