//! The foilengine service behind its router: conversations by their rules, streams event by event, keys that leave no trace,
//! and the generated client against a server that fails on purpose.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use contract_foilengine::client::{Client, Error, Policy};
use contract_foilengine::operations::CONTRACT;
use contract_foilengine::server::{GetCurrentUserRequest, ListSdkPersonasRequest, StreamMessageRequest};
use contract_foilengine::server::{SendMessageRequest, ValidateLlmKeyRequest};
use contract_foilengine::types::{MessageEvent, MessageRequest};
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trueline_runtime::contract::Backoff;
use trueline_runtime::sse::Decoder;
use trueline_server::foilengine::demo::{self, Demo};
use trueline_server::foilengine::{Builder, Service};
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::issuer::{Demands, LocalIssuer, User};
use trueline_server::platform::model::{OpenAi, OpenAiSettings};
use trueline_server::platform::tokens::Secret;

const START_MS: i64 = 1_768_046_400_500;

struct World {
    service: Service,
    router: Router,
    demo: Demo,
    clock: ManualClock,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    fn message(&self) -> &str {
        assert_eq!(self.body.as_object().unwrap().len(), 1, "{self:?}");
        self.body["error"]["message"].as_str().unwrap()
    }
}

impl World {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::starting_at(START_MS);
        let builder = Service::builder().clock(clock.clock()).secret(Secret::new("s".repeat(32)));
        let service = change(builder).build().await.unwrap();
        let demo = demo::seed(&service).await.unwrap();
        let router = observe(service.router(), Vec::new());
        Self { service, router, demo, clock }
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), headers: head.headers, body, text }
    }

    /// As a user on the web.
    async fn web(&self, method: Method, path: &str, user: &str, body: Value) -> Answer {
        let token = format!("Bearer {}", self.demo.users[user].token);
        self.call(method, path, &[("authorization", &token)], body).await
    }

    /// As a game with its own key for the model.
    async fn sdk(&self, method: Method, path: &str, key: &str, body: Value) -> Answer {
        let key = &self.demo.api_keys[key].key;
        self.call(method, path, &[("x-api-key", key), ("x-llm-api-key", &self.demo.llm_key)], body).await
    }

    fn chat(&self, rest: &str) -> String {
        format!("/sdk/chat/{}/{rest}", self.demo.users["ines"].persona)
    }

    async fn begin(&self, name: &str) -> Answer {
        let body = json!({"user_session_id": name, "player_name": "Robin", "player_gender": "non-binary"});
        self.sdk(Method::POST, &self.chat("init-session"), "ines-game", body).await
    }

    async fn say(&self, name: &str, message: &str) -> Answer {
        let body = json!({"user_session_id": name, "message": message});
        self.sdk(Method::POST, &self.chat("message"), "ines-game", body).await
    }

    async fn machines(&self, name: &str) -> Value {
        let path = format!("/sdk/personas/{}/machines?user_session_id={name}", self.demo.users["ines"].persona);
        self.sdk(Method::GET, &path, "ines-game", Value::Null).await.body
    }
}

const LETTER: &str = "I show you a letter with the seal of the queen.";

#[tokio::test]
async fn a_conversation_is_won_and_opens_the_next_machine() {
    let world = World::new().await;
    assert_eq!(world.say("p", "hello there, gatekeeper").await.message(), "This player has no session.");
    let begun = world.begin("p").await;
    assert_eq!(begun.status, 200, "{begun:?}");
    assert_eq!(begun.body["message"], "Mirela the Gatekeeper: Halt.");
    assert_eq!(world.machines("p").await[1]["is_available"], false);

    let story = world.say("p", "I tell you a long story without proof").await;
    assert_eq!((&story.body["decision"], &story.body["current_state"]), (&json!("redirect"), &json!("suspicious")));
    let bribe = world.say("p", "Take this bribe of gold").await;
    assert_eq!((&bribe.body["decision"], &bribe.body["score"]), (&json!("reject"), &json!(-1.0)));
    // A reject moves along the pass transition, into a terminal state, with too few points.
    assert_eq!((&bribe.body["current_state"], &bribe.body["outcome"]), (&json!("convinced"), &json!("REJECT")));

    world.begin("p").await;
    let won = world.say("p", LETTER).await;
    assert_eq!((&won.body["decision"], &won.body["score"]), (&json!("pass"), &json!(3.0)));
    assert_eq!((&won.body["outcome"], &won.body["follow_up"]), (&json!("ACCEPT"), &json!(false)));
    let machines = world.machines("p").await;
    let gate = json!({"machine_id": won.body["machine_id"], "machine_key": "north_gate", "name": "At the north gate",
        "description": "Get in before dusk.", "is_available": true, "is_completed": true, "outcome": "ACCEPT", "score": 3.0});
    assert_eq!(machines[0], gate);
    // The link advances at once: the next message is said in the hall.
    assert_eq!((&machines[1]["is_available"], &machines[1]["score"]), (&json!(true), &json!(0.0)));
    assert_eq!(won.body["next_machine_id"], machines[1]["machine_id"]);
    let status = world.sdk(Method::GET, &world.chat("session?user_session_id=p"), "ines-game", Value::Null).await.body;
    assert_eq!((&status["machine_id"], &status["current_state"]), (&machines[1]["machine_id"], &json!("greeting")));
    let bowed = world.say("p", "I bow before the queen").await;
    assert_eq!((&bowed.body["machine_id"], &bowed.body["outcome"]), (&machines[1]["machine_id"], &json!("ACCEPT")));
    // What has ended stays ended.
    let after = world.say("p", "I bow before the queen").await;
    assert_eq!(
        (&after.body["decision"], &after.body["outcome"], &after.body["score"]),
        (&Value::Null, &json!("ACCEPT"), &json!(3.0))
    );
}

#[tokio::test]
async fn a_threat_ends_it_and_a_terse_word_is_asked_about_once() {
    let world = World::new().await;
    world.begin("p").await;
    let unclear = world.say("p", "Hm").await;
    assert_eq!((&unclear.body["follow_up"], &unclear.body["decision"]), (&json!(true), &Value::Null));
    assert_eq!(world.say("p", "Hm").await.body["follow_up"], false);
    let threat = world.say("p", "I threaten to burn the gate down").await;
    assert_eq!((&threat.body["decision"], &threat.body["outcome"]), (&json!("kick_out"), &json!("KICK_OUT")));
    assert_eq!(threat.body["current_state"], "alarmed");
    assert_eq!(threat.body["next_machine_id"], Value::Null);
}

#[tokio::test]
async fn history_is_whole_and_a_reset_leaves_nothing() {
    let world = World::new().await;
    world.begin("p").await;
    world.clock.advance(Duration::from_secs(2));
    world.say("p", "a story without proof").await;
    let path = world.chat("history?user_session_id=p");
    let history = world.sdk(Method::GET, &path, "ines-game", Value::Null).await.body;
    let roles: Vec<&str> =
        history["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["assistant", "user", "assistant"]);
    assert_eq!(history["messages"][1]["content"], "a story without proof");
    assert_eq!(history["messages"][0]["created_at"], "2026-01-10T12:00:00Z");
    assert_eq!(history["messages"][1]["created_at"], "2026-01-10T12:00:02Z");

    // Beginning again is beginning anew.
    let again = world.begin("p").await;
    assert_ne!(again.body["session_id"], history["session_id"]);
    let history = world.sdk(Method::GET, &path, "ines-game", Value::Null).await.body;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);

    let session = world.chat("session?user_session_id=p");
    let reset = world.sdk(Method::DELETE, &session, "ines-game", Value::Null).await;
    assert_eq!((reset.status, &reset.body["success"]), (200, &json!(true)));
    assert_eq!(world.sdk(Method::DELETE, &session, "ines-game", Value::Null).await.status, 404);
    assert_eq!(world.sdk(Method::GET, &path, "ines-game", Value::Null).await.status, 404);
    let gone = world.sdk(Method::GET, &session, "ines-game", Value::Null).await;
    assert_eq!((gone.status, &gone.body["exists"], &gone.body["session_id"]), (200, &json!(false), &Value::Null));
}

#[tokio::test]
async fn personas_are_drafts_until_they_are_published() {
    let world = World::new().await;
    let saved = world
        .web(
            Method::POST,
            "/creator/save",
            "ines",
            json!({"persona": {"name": "Smith", "persona_identity_prompt": ""}}),
        )
        .await;
    let id = saved.body["persona_id"].as_str().unwrap().to_owned();
    assert_eq!(saved.body["persona"]["is_published"], false);
    let (one, full, publish) =
        (format!("/personas/{id}"), format!("/personas/{id}/full"), format!("/personas/{id}/publish"));
    assert_eq!(world.web(Method::GET, &one, "ines", Value::Null).await.status, 200);
    for path in [&one, &full] {
        assert_eq!(world.web(Method::GET, path, "noor", Value::Null).await.status, 403);
        assert_eq!(world.call(Method::GET, path, &[], Value::Null).await.status, 403);
    }
    let refused = world.web(Method::POST, &publish, "ines", json!({"is_published": true})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().contains("entry machine"), "{refused:?}");
    assert_eq!(world.web(Method::POST, &publish, "noor", json!({"is_published": true})).await.status, 403);
    let update = format!("/creator/save?persona_id={id}");
    let machine = |state: &str| {
        json!({"machine_key": "m", "name": "m", "is_entry_machine": true, "states": [
        {"state_key": state, "is_initial_state": true}, {"state_key": "end", "is_terminal_state": true}]})
    };
    let whole = |name: &str, state: &str| json!({"persona": {"name": name, "persona_identity_prompt": "x"}, "machines": [machine(state)]});
    assert_eq!(world.web(Method::POST, &update, "noor", whole("Thief", "a")).await.status, 403);
    assert_eq!(world.web(Method::POST, &update, "ines", whole("Smith", "a")).await.status, 200);
    let published = world.web(Method::POST, &publish, "ines", json!({"is_published": true})).await;
    assert_eq!((published.status, &published.body["is_published"]), (200, &json!(true)));
    // The owner goes on writing; everybody else sees what was published, and machines keep their ids.
    world.web(Method::POST, &update, "ines", whole("Smith", "b")).await;
    let mine = world.web(Method::GET, &full, "ines", Value::Null).await.body;
    let theirs = world.call(Method::GET, &full, &[], Value::Null).await.body;
    assert_eq!(
        (&mine["machines"][0]["states"][0]["state_key"], &theirs["machines"][0]["states"][0]["state_key"]),
        (&json!("b"), &json!("a"))
    );
    assert_eq!(mine["machines"][0]["id"], theirs["machines"][0]["id"]);
    // A session goes on with the version that it began with.
    let chat = format!("/chat/{id}/init-session");
    let begin = json!({"user_session_id": "w", "player_name": "Robin", "player_gender": "male"});
    assert_eq!(world.web(Method::POST, &chat, "noor", begin.clone()).await.status, 200);
    world.web(Method::POST, &publish, "ines", json!({"is_published": true})).await;
    let said = world
        .web(
            Method::POST,
            &format!("/chat/{id}/message"),
            "noor",
            json!({"user_session_id": "w", "message": "good day to you"}),
        )
        .await;
    assert_eq!(said.body["current_state"], "a");
    world.web(Method::POST, &publish, "ines", json!({"is_published": false})).await;
    assert_eq!(world.web(Method::POST, &chat, "noor", begin).await.status, 403);
    assert_eq!(world.web(Method::DELETE, &one, "noor", Value::Null).await.status, 403);
    assert_eq!(world.web(Method::DELETE, &one, "ines", Value::Null).await.status, 204);
    assert_eq!(world.web(Method::DELETE, &one, "ines", Value::Null).await.status, 404);
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let world = World::new().await;
    let draft = json!({"persona": {"name": "Draft", "persona_identity_prompt": ""}});
    world.clock.advance(Duration::from_secs(1));
    world.web(Method::POST, "/creator/save", "ines", draft).await;
    let names = |answer: Answer| -> Vec<String> {
        answer.body.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let published = world.demo.users.len();
    assert_eq!(names(world.call(Method::GET, "/personas", &[], Value::Null).await).len(), published);
    assert_eq!(
        names(world.web(Method::GET, "/personas?public_only=false", "noor", Value::Null).await).len(),
        published
    );
    assert_eq!(names(world.web(Method::GET, "/personas?public_only=false", "ines", Value::Null).await)[0], "Draft");
    let mine = names(world.web(Method::GET, "/personas?my_personas=true", "ines", Value::Null).await);
    assert_eq!(mine, ["Draft", "Mirela the Gatekeeper"]);
    assert_eq!(
        names(world.web(Method::GET, "/personas?my_personas=true&limit=1", "ines", Value::Null).await),
        ["Draft"]
    );
    let nobody = world.call(Method::GET, "/personas?my_personas=true", &[], Value::Null).await;
    assert_eq!((nobody.status, nobody.message()), (401, "Your own personas need a token."));
    assert_eq!(
        names(world.sdk(Method::GET, "/sdk/personas", "ines-game", Value::Null).await),
        ["Mirela the Gatekeeper"]
    );
    assert_eq!(
        names(world.web(Method::GET, "/admin/personas?limit=100", "root", Value::Null).await).len(),
        published + 1
    );
    let refused = world.web(Method::GET, "/admin/personas", "ines", Value::Null).await;
    assert_eq!((refused.status, refused.message()), (403, "Only administrators may do this."));
}

#[tokio::test]
async fn games_reach_only_what_is_theirs_and_published() {
    let world = World::new().await;
    let body = json!({"user_session_id": "p", "player_name": "Robin", "player_gender": "female"});
    let foreign = world.sdk(Method::POST, &world.chat("init-session"), "noor-game", body.clone()).await;
    assert_eq!((foreign.status, foreign.message()), (403, "This persona belongs to another account."));
    let closed = world.machines("p").await[1]["machine_id"].as_str().unwrap().to_owned();
    let path = format!("{}?machine_id={closed}", world.chat("init-session"));
    let early = world.sdk(Method::POST, &path, "ines-game", body.clone()).await;
    assert_eq!((early.status, early.message()), (403, "This machine is not open to the player yet."));
    let path = format!("{}?machine_id=00000000-0000-4000-8000-000000000000", world.chat("init-session"));
    assert_eq!(world.sdk(Method::POST, &path, "ines-game", body.clone()).await.message(), "There is no such machine.");
    let path = format!("{}?machine_id=abc", world.chat("init-session"));
    assert_eq!(world.sdk(Method::POST, &path, "ines-game", body).await.status, 400);
    assert_eq!(world.call(Method::GET, "/personas/abc", &[], Value::Null).await.status, 400);
}

#[tokio::test]
async fn keys_are_shown_once_and_end_at_once() {
    let world = World::new().await;
    let made = world.web(Method::POST, "/sdk/api-keys", "ines", json!({"name": "castle"})).await;
    let key = made.body["key"].as_str().unwrap();
    assert!(made.status == 200 && key.starts_with("pk_live_") && key.len() == 40, "{made:?}");
    assert_eq!(world.call(Method::GET, "/sdk/personas", &[("x-api-key", key)], Value::Null).await.status, 200);
    let listed = world.web(Method::GET, "/sdk/api-keys", "ines", Value::Null).await;
    assert!(!listed.text.contains(key), "{listed:?}");
    let entry = listed.body.as_array().unwrap().iter().find(|one| one["id"] == made.body["id"]).unwrap();
    assert_eq!(entry["last_used_at"], "2026-01-10T12:00:00Z");
    let path = format!("/sdk/api-keys/{}", made.body["id"].as_str().unwrap());
    assert_eq!(world.web(Method::DELETE, &path, "noor", Value::Null).await.status, 404);
    assert_eq!(world.web(Method::DELETE, &path, "ines", Value::Null).await.status, 204);
    assert_eq!(world.web(Method::DELETE, &path, "ines", Value::Null).await.status, 404);
    let ended = world.call(Method::GET, "/sdk/personas", &[("x-api-key", key)], Value::Null).await;
    assert_eq!((ended.status, ended.message()), (401, "The API key is unknown or has been revoked."));
}

#[tokio::test]
async fn credentials_of_both_kinds_are_needed_and_told_apart() {
    let world = World::new().await;
    let key = &world.demo.api_keys["ines-game"].key;
    let (path, body) = (world.chat("message"), json!({"user_session_id": "p", "message": "hello"}));
    let call = async |headers: &[(&str, &str)]| world.call(Method::POST, &path, headers, body.clone()).await;
    assert_eq!(call(&[]).await.message(), "Authentication is required.");
    assert_eq!(call(&[("x-llm-api-key", "k")]).await.status, 401);
    let alone = call(&[("x-api-key", key)]).await;
    assert_eq!((alone.status, alone.message()), (401, "Another credential is needed beside this one."));
    world.begin("p").await;
    let refused = call(&[("x-api-key", key), ("x-llm-api-key", "sk-nobody")]).await;
    assert_eq!((refused.status, refused.message()), (401, "The provider of the language model does not take the key."));
    let outage = call(&[("x-api-key", key), ("x-llm-api-key", &world.demo.llm_outage_key)]).await;
    assert_eq!((outage.status, outage.message()), (500, "The provider of the language model failed."));
    let step =
        call(&[("x-api-key", key), ("x-llm-api-key", &world.demo.llm_key), ("x-llm-eval-api-key", "sk-nobody")]).await;
    assert_eq!(step.status, 401);
    // What failed has changed nothing.
    let history = world.sdk(Method::GET, &world.chat("history?user_session_id=p"), "ines-game", Value::Null).await;
    assert_eq!(history.body["messages"].as_array().unwrap().len(), 1);
    let good = world.sdk(Method::POST, "/sdk/validate-llm-key", "ines-game", Value::Null).await;
    assert_eq!((good.status, &good.body), (200, &json!({"valid": true, "model": "gpt-4o-mini"})));
    let bad = [("x-api-key", key.as_str()), ("x-llm-api-key", "sk-nobody")];
    assert_eq!(world.call(Method::POST, "/sdk/validate-llm-key", &bad, Value::Null).await.status, 401);
}

#[tokio::test]
async fn progress_of_a_visitor_becomes_the_users_own_once() {
    let world = World::new().await;
    let body = json!({"old_session_id": world.demo.visitor});
    let taken = world.web(Method::POST, "/auth/migrate-progress", "ines", body.clone()).await;
    assert_eq!((taken.status, &taken.body), (200, &json!({"migrated_sessions": 1})));
    let path = format!("/chat/{}/message", world.demo.users["noor"].persona);
    let said = json!({"user_session_id": world.demo.visitor, "message": LETTER});
    assert_eq!(world.web(Method::POST, &path, "ines", said.clone()).await.body["outcome"], "ACCEPT");
    assert_eq!(world.web(Method::POST, &path, "noor", said).await.status, 404);
    let again = world.web(Method::POST, "/auth/migrate-progress", "noor", body).await;
    assert_eq!(again.body, json!({"migrated_sessions": 0}));
    let me = world.web(Method::GET, "/auth/me", "ines", Value::Null).await.body;
    assert_eq!((&me["email"], &me["display_name"]), (&json!("ines@demo.example.com"), &json!("Ines Falk")));
}

#[tokio::test]
async fn drafts_are_written_and_can_be_published_as_they_are() {
    let world = World::new().await;
    let identity = world
        .web(Method::POST, "/creator/generate-identity", "ines", json!({"prompt": "a smith who hates iron"}))
        .await;
    assert_eq!((identity.status, &identity.body["name"]), (200, &json!("A smith who hates iron")));
    let saved = world.web(Method::POST, "/creator/save", "ines", json!({"persona": identity.body})).await;
    let id = saved.body["persona_id"].as_str().unwrap().to_owned();
    let wish = json!({"persona_id": id, "prompt": "the player buys a sword"});
    let machine = world.web(Method::POST, "/creator/generate-scenario", "ines", wish.clone()).await;
    assert_eq!((machine.status, &machine.body["machine_key"]), (200, &json!("the_player_buys_a")));
    assert_eq!(world.web(Method::POST, "/creator/generate-scenario", "noor", wish).await.status, 403);
    let whole = json!({"persona": identity.body, "machines": [machine.body]});
    world.web(Method::POST, &format!("/creator/save?persona_id={id}"), "ines", whole).await;
    let published =
        world.web(Method::POST, &format!("/personas/{id}/publish"), "ines", json!({"is_published": true})).await;
    assert_eq!(published.status, 200, "{published:?}");
    let polish = json!({"text": "ask for  reason. be short", "field": "state_prompt"});
    let polished = world.web(Method::POST, "/creator/polish", "ines", polish).await;
    assert_eq!(polished.body, json!({"text": "Ask for reason. Be short."}));
}

#[tokio::test]
async fn message_and_stream_share_a_counter_and_only_retry_after_tells() {
    let world = World::with(|builder| builder.limits([("sdk-chat".to_owned(), 3)])).await;
    world.begin("p").await;
    let body = json!({"user_session_id": "p", "message": "a story without proof"});
    for path in ["message", "message/stream", "message"] {
        let said = world.sdk(Method::POST, &world.chat(path), "ines-game", body.clone()).await;
        assert_eq!(said.status, 200);
        assert!(said.headers.keys().all(|name| !name.as_str().contains("ratelimit")), "{said:?}");
    }
    world.clock.advance(Duration::from_millis(17_500));
    for path in ["message", "message/stream"] {
        let refused = world.sdk(Method::POST, &world.chat(path), "ines-game", body.clone()).await;
        assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "43"));
        assert_eq!(refused.message(), "Too many requests. Try again in 43 seconds.");
    }
    // Another key of the same account has its own counter, and so has everything else under this one.
    assert_eq!(world.sdk(Method::POST, &world.chat("message"), "ines-second-game", body.clone()).await.status, 200);
    assert_eq!(world.sdk(Method::GET, "/sdk/personas", "ines-game", Value::Null).await.status, 200);
    world.clock.advance(Duration::from_millis(42_500));
    assert_eq!(world.sdk(Method::POST, &world.chat("message"), "ines-game", body).await.status, 200);
}

#[tokio::test]
async fn a_streamed_reply_comes_event_by_event() {
    let world = World::new().await;
    world.begin("p").await;
    let body = json!({"user_session_id": "p", "message": LETTER});
    let answer = world.sdk(Method::POST, &world.chat("message/stream"), "ines-game", body).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let events = Decoder::default().push(answer.text.as_bytes());
    let named: Vec<(&str, Value)> = events
        .iter()
        .map(|event| (event.event.as_deref().unwrap(), serde_json::from_str(&event.data).unwrap()))
        .collect();
    let words = ["Mirela ", "the ", "Gatekeeper: ", "Go ", "in, ", "and ", "be ", "quick."];
    assert_eq!(named.len(), words.len() + 1, "{named:?}");
    for (word, (name, data)) in words.iter().zip(&named) {
        assert_eq!((*name, data), ("token", &json!({"type": "token", "text": word})));
    }
    let (name, done) = named.last().unwrap();
    assert_eq!((*name, &done["type"]), ("done", &json!("done")));
    assert_eq!(done["response"]["message"], words.concat());
    assert_eq!((&done["response"]["outcome"], &done["response"]["decision"]), (&json!("ACCEPT"), &json!("pass")));
    let history = world.sdk(Method::GET, &world.chat("history?user_session_id=p"), "ines-game", Value::Null).await;
    // The player is in the hall by now; the gate's history is asked for by its machine.
    assert_eq!(history.body["messages"].as_array().unwrap().len(), 1);
    let gate = done["response"]["machine_id"].as_str().unwrap();
    let path = world.chat(&format!("history?user_session_id=p&machine_id={gate}"));
    let history = world.sdk(Method::GET, &path, "ines-game", Value::Null).await.body;
    assert_eq!(history["messages"][2]["content"], words.concat());
}

// ------------------------------------------------------------------------------------------ a provider with its own mind

/// What a provider of the OpenAI kind was asked, and what it does on a stream.
#[derive(Default)]
struct Asked {
    calls: Mutex<Vec<(String, String, bool)>>,
    breaks_off: bool,
}

async fn complete(State(asked): State<Arc<Asked>>, headers: HeaderMap, body: String) -> http::Response<Body> {
    let body: Value = serde_json::from_str(&body).unwrap();
    let key = headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    let stream = body["stream"] == true;
    asked.calls.lock().unwrap().push((key.clone(), body["model"].as_str().unwrap().to_owned(), stream));
    if key.contains("refused") {
        return http::Response::builder().status(401).body(Body::from(format!("who is {key}?"))).unwrap();
    }
    let judging = body["max_tokens"] == 8;
    if !stream {
        let said = if judging { "2" } else { "Well met." };
        let reply = json!({"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 3}});
        return http::Response::new(Body::from(reply.to_string()));
    }
    let mut text = String::from("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
    for word in ["Well ", "met."] {
        text.push_str(&format!("data: {}\n\n", json!({"choices": [{"delta": {"content": word}}]})));
    }
    if !asked.breaks_off {
        text.push_str("data: [DONE]\n\n");
    }
    http::Response::builder().header("content-type", "text/event-stream").body(Body::from(text)).unwrap()
}

async fn with_provider(asked: Arc<Asked>, change: impl FnOnce(Builder) -> Builder) -> World {
    let router = Router::new().route("/v1/chat/completions", axum::routing::post(complete)).with_state(asked);
    let base_url = format!("{}/v1", listen(router).await);
    let settings = OpenAiSettings {
        base_url,
        key: Some(Secret::new("the-services-own-key")),
        model: None,
        timeout: Duration::from_secs(5),
    };
    World::with(|builder| change(builder.provider(Arc::new(OpenAi::new(settings))))).await
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const STEP_KEYS: [&str; 4] = ["llm-default-8d1f", "llm-judging-77aa", "llm-replying-refused-x1", "llm-summing-3c3c"];

#[tokio::test]
async fn each_step_has_its_own_key_and_model_and_no_key_leaves_a_trace() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // For every thread: what one thread alone listens to, another may have switched off before (tracing's cache of interest).
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(Asked::default());
    let database = format!("sqlite://{}/x.db", folder.path().display());
    let world = with_provider(Arc::clone(&asked), |builder| builder.database(database)).await;
    let key = world.demo.api_keys["ines-game"].key.clone();
    let begin = json!({"user_session_id": "p", "player_name": "Robin", "player_gender": "male"});
    let say = json!({"user_session_id": "p", "message": "Let me in, I have a letter."});
    let plain = [("x-api-key", key.as_str()), ("x-llm-api-key", STEP_KEYS[0])];
    assert_eq!(world.call(Method::POST, &world.chat("init-session"), &plain, begin).await.status, 200);
    let steps = [
        ("x-api-key", key.as_str()),
        ("x-llm-api-key", STEP_KEYS[0]),
        ("x-llm-model", "model-default"),
        ("x-llm-eval-model", "model-judging"),
        ("x-llm-eval-api-key", STEP_KEYS[1]),
        ("x-llm-summarization-api-key", STEP_KEYS[3]),
    ];
    assert_eq!(world.call(Method::POST, &world.chat("message"), &steps, say.clone()).await.body["decision"], "pass");
    let refused =
        [&steps[..], &[("x-llm-response-api-key", STEP_KEYS[2]), ("x-llm-response-model", "model-replying")]].concat();
    for path in ["message", "message/stream"] {
        let answer = world.call(Method::POST, &world.chat(path), &refused, say.clone()).await;
        assert_eq!(
            (answer.status, answer.message()),
            (401, "The provider of the language model does not take the key.")
        );
        assert!(STEP_KEYS.iter().all(|key| !answer.text.contains(key)), "{answer:?}");
    }
    let path = format!("/chat/{}/init-session", world.demo.users["ines"].persona);
    let web = json!({"user_session_id": "w", "player_name": "Robin", "player_gender": "male"});
    assert_eq!(world.web(Method::POST, &path, "noor", web).await.status, 200);

    let calls = asked.calls.lock().unwrap().clone();
    let has = |key: &str, model: &str, stream: bool| {
        calls.iter().any(|call| *call == (key.to_owned(), model.to_owned(), stream))
    };
    assert!(has(STEP_KEYS[0], "gpt-4o-mini", false), "the opening line: {calls:?}");
    assert!(has(STEP_KEYS[1], "model-judging", false), "judging: {calls:?}");
    assert!(has(STEP_KEYS[0], "model-default", false), "replying: {calls:?}");
    assert!(has(STEP_KEYS[2], "model-replying", false) && has(STEP_KEYS[2], "model-replying", true), "{calls:?}");
    assert_eq!(calls.last().unwrap().0, "the-services-own-key");

    world.service.store().close().await;
    let token = world.demo.users["ines"].token.as_str();
    let secrets = [&STEP_KEYS[..], &[key.as_str(), token, "the-services-own-key"]].concat();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("operation=\"sendMessage\"") && log.contains("status=401"), "{log}");
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        files += 1;
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in the database");
        }
    }
    assert!(files > 0);
}

#[tokio::test]
async fn a_stream_of_the_provider_is_passed_on_and_a_broken_one_changes_nothing() {
    for breaks_off in [false, true] {
        let asked = Arc::new(Asked { breaks_off, ..Asked::default() });
        let world = with_provider(asked, |builder| builder).await;
        world.begin("p").await;
        let body = json!({"user_session_id": "p", "message": "Let me in, I have a letter."});
        let answer = world.sdk(Method::POST, &world.chat("message/stream"), "ines-game", body).await;
        let events = Decoder::default().push(answer.text.as_bytes());
        let names: Vec<&str> = events.iter().map(|event| event.event.as_deref().unwrap()).collect();
        let gate = world.machines("p").await[0]["machine_id"].as_str().unwrap().to_owned();
        let path = world.chat(&format!("history?user_session_id=p&machine_id={gate}"));
        let said =
            world.sdk(Method::GET, &path, "ines-game", Value::Null).await.body["messages"].as_array().unwrap().len();
        if breaks_off {
            assert_eq!((names, said), (vec!["token", "token", "error"], 1));
            let error: Value = serde_json::from_str(&events[2].data).unwrap();
            assert_eq!(
                error,
                json!({"type": "error", "error": {"message": "The provider of the language model failed."}})
            );
        } else {
            assert_eq!((names, said), (vec!["token", "token", "done"], 3));
        }
    }
}

#[tokio::test]
async fn tokens_of_an_outside_provider_are_held_to_its_published_keys() {
    let issuer = LocalIssuer::new(&Secret::new("the provider's")).unwrap();
    let keys = serde_json::to_value(issuer.keys()).unwrap();
    let url = listen(Router::new().route("/jwks.json", axum::routing::get(async move || axum::Json(keys)))).await;
    let clock = ManualClock::starting_at(START_MS);
    let builder = Service::builder().clock(clock.clock()).identity(format!("{url}/jwks.json"), Demands::default());
    let service = builder.build().await.unwrap();
    assert!(matches!(demo::seed(&service).await, Err(demo::SeedError::NoIssuer)));
    let router = observe(service.router(), Vec::new());
    let me = async |token: &str| {
        let request = Request::get("/api/v1/auth/me").header("authorization", format!("Bearer {token}"));
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    let id = uuid::Uuid::new_v4().to_string();
    let user = User { id: &id, email: "a@b.test", display_name: "A", is_admin: false };
    let hour = Duration::from_secs(3_600);
    assert_eq!(me(&issuer.issue(&user, START_MS, hour).unwrap()).await, StatusCode::OK);
    let foreign = LocalIssuer::new(&Secret::new("somebody's")).unwrap();
    assert_eq!(me(&foreign.issue(&user, START_MS, hour).unwrap()).await, StatusCode::UNAUTHORIZED);
    let no_uuid = User { id: "7", ..user };
    assert_eq!(me(&issuer.issue(&no_uuid, START_MS, hour).unwrap()).await, StatusCode::UNAUTHORIZED);
    let nowhere =
        Service::builder().identity("http://127.0.0.1:1/jwks.json", Demands::default()).build().await.unwrap();
    let request = Request::get("/api/v1/auth/me")
        .header("authorization", format!("Bearer {}", issuer.issue(&user, START_MS, hour).unwrap()));
    let answer = observe(nowhere.router(), Vec::new()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

// ------------------------------------------------------------------------------------- the client, and a server that fails

/// Answers in turn, the last one for ever; counts the calls.
type Script = Arc<Mutex<(Vec<(u16, Option<&'static str>, Value)>, u32)>>;

async fn act(State(script): State<Script>) -> http::Response<Body> {
    let mut script = script.lock().unwrap();
    script.1 += 1;
    let (status, wait, body) = if script.0.len() > 1 { script.0.remove(0) } else { script.0[0].clone() };
    let mut response = http::Response::builder().status(status).header("content-type", "application/json");
    if let Some(wait) = wait {
        response = response.header("retry-after", wait);
    }
    response.body(Body::from(body.to_string())).unwrap()
}

async fn scene(answers: Vec<(u16, Option<&'static str>, Value)>) -> (Client, Script) {
    let script = Arc::new(Mutex::new((answers, 0)));
    let url = listen(Router::new().fallback(act).with_state(Arc::clone(&script))).await;
    let client = Client::new(&url).unwrap().api_key_auth("pk_live_x").unwrap().llm_key_auth("sk").unwrap();
    // The documented policy, but for the length of its pauses.
    let mut policy = Policy::of(&CONTRACT);
    if let Some(retry) = &mut policy.retry {
        retry.base_ms = 1;
    }
    (client.with_policy(policy), script)
}

fn failure(text: &str) -> Value {
    json!({"error": {"message": text}})
}

#[tokio::test]
async fn each_status_is_the_documented_exception_and_only_some_are_tried_again() {
    type Fits = fn(&Error<contract_foilengine::server::SendMessageError>) -> bool;
    let table: [(u16, u32, Fits); 7] = [
        (400, 1, |error| matches!(error, Error::BadRequest(_))),
        (401, 1, |error| matches!(error, Error::Authentication(_))),
        (403, 1, |error| matches!(error, Error::Forbidden(_))),
        (404, 1, |error| matches!(error, Error::NotFound(_))),
        (429, 4, |error| matches!(error, Error::RateLimit { .. })),
        (500, 4, |error| matches!(error, Error::Server(_))),
        (503, 4, |error| matches!(error, Error::Server(_))),
    ];
    for (status, calls, fits) in table {
        let (client, script) = scene(vec![(status, Some("0"), failure("on purpose"))]).await;
        let body = MessageRequest { message: "m".into(), user_session_id: "p".into() };
        let request = SendMessageRequest {
            persona_id: uuid::Uuid::nil(),
            machine_id: None,
            x_llm_model: None,
            x_llm_eval_model: None,
            x_llm_response_model: None,
            x_llm_summarization_model: None,
            x_llm_eval_api_key: None,
            x_llm_response_api_key: None,
            x_llm_summarization_api_key: None,
            body,
        };
        let error = client.send_message(&request).await.unwrap_err();
        assert!(fits(&error), "{status}: {error:?}");
        assert!(error.to_string().contains("on purpose"), "{error}");
        assert_eq!(script.lock().unwrap().1, calls, "{status}");
    }
}

#[tokio::test]
async fn the_wait_is_what_the_answer_asks_for_and_tries_can_be_turned_off() {
    let (client, script) = scene(vec![
        (429, Some("1"), failure("slow down")),
        (503, None, failure("soon")),
        (500, None, failure("oops")),
        (200, None, json!([])),
    ])
    .await;
    let begun = std::time::Instant::now();
    assert!(client.list_sdk_personas(&ListSdkPersonasRequest {}).await.unwrap().value.is_empty());
    assert_eq!(script.lock().unwrap().1, 4);
    // The second that was asked for; a slow machine only makes it longer.
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let documented = CONTRACT.retry.unwrap();
    assert_eq!(
        (documented.max, documented.backoff, documented.honour_retry_after),
        (3, Backoff::ExponentialJitter, true)
    );

    let (client, script) = scene(vec![(503, None, failure("down"))]).await;
    let client = client.max_retries(0);
    assert!(matches!(client.list_sdk_personas(&ListSdkPersonasRequest {}).await, Err(Error::Server(_))));
    assert_eq!(script.lock().unwrap().1, 1);

    let (client, _) = scene(vec![(429, Some("7"), failure("slow down"))]).await;
    let error = client.max_retries(0).validate_llm_key(&ValidateLlmKeyRequest { x_llm_model: None }).await.unwrap_err();
    assert!(
        matches!(error, Error::RateLimit { retry_after: Some(wait), .. } if wait == Duration::from_secs(7)),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_client_reads_a_stream_of_the_real_service() {
    let world = World::new().await;
    world.begin("p").await;
    let url = listen(world.router.clone()).await;
    let client = Client::new(&url).unwrap().api_key_auth(&world.demo.api_keys["ines-game"].key).unwrap();
    let client = client.llm_key_auth(&world.demo.llm_key).unwrap();
    let request = StreamMessageRequest {
        persona_id: world.demo.users["ines"].persona,
        machine_id: None,
        x_llm_model: None,
        x_llm_eval_model: None,
        x_llm_response_model: None,
        x_llm_summarization_model: None,
        x_llm_eval_api_key: None,
        x_llm_response_api_key: None,
        x_llm_summarization_api_key: None,
        body: MessageRequest { message: LETTER.into(), user_session_id: "p".into() },
    };
    let contract_foilengine::client::Answer { value, .. } = client.stream_message(&request).await.unwrap();
    let events: Vec<MessageEvent> = value.0.map(|event| event.data).collect().await;
    let (last, tokens) = events.split_last().unwrap();
    let said: String = tokens
        .iter()
        .map(|event| match event {
            MessageEvent::Token(token) => token.text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let MessageEvent::Done(done) = last else { panic!("{last:?}") };
    assert_eq!(done.response.message, said);
    let client = client.jwt_auth(&world.demo.users["ines"].token).unwrap();
    let me = client.get_current_user(&GetCurrentUserRequest {}).await.unwrap();
    assert_eq!(me.status, 200);
}
