//! Learning on the wire, in process: conversations, knowledge, Live, the course, and what it all adds up to, on a clock that
//! the test moves across midnights, month ends, leap days and time zones.

#![allow(clippy::unwrap_used)]

mod classroom;
#[path = "common/pdf.rs"]
mod pdf;

use std::time::Duration;

use classroom::{Scripted, World, each};
use http::Method;
use serde_json::{Value, json};
use trueline_server::platform::model::Speaker;

const MINUTE: Duration = Duration::from_secs(60);

// ------------------------------------------------------------------------------------------------------ conversations

#[tokio::test]
async fn a_conversation_keeps_what_was_said_and_the_model_hears_it() {
    let model = Scripted::saying(&["A word for doing.", "To run.", "Correr."]);
    let world = World::with(|builder| builder.provider(model.clone())).await;
    let conversation = world.post("ana", "/api/core/conversations", json!({})).await.good();
    let id = conversation["id"].as_str().unwrap();
    let ask = |message: &str, more: Value| {
        let mut body = json!({"message": message, "conversation_id": id});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let first = world.post("ana", "/api/ai/generate", ask("What is a verb?\nPlease.", json!({}))).await.good();
    assert_eq!((first["content"].as_str(), first["model"].as_str()), (Some("A word for doing."), Some("gpt-5-mini")));
    assert_eq!((first["provider"].as_str(), first["usage"]["total_tokens"].as_i64()), (Some("auto"), Some(100)));
    world.clock.advance(MINUTE);
    world.post("ana", "/api/ai/generate", ask("Name one.", json!({"provider": "gpt-5"}))).await.good();
    let history = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hola."}]);
    let spanish = ask("In Spanish?", json!({"user_language": "es", "conversation_history": history}));
    world.post("ana", "/api/ai/generate", spanish).await.good();

    let heard = model.last();
    let turns: Vec<(Speaker, &str)> = heard.history.iter().map(|turn| (turn.speaker, turn.text.as_str())).collect();
    assert_eq!(
        turns,
        [
            (Speaker::User, "What is a verb?\nPlease."),
            (Speaker::Assistant, "A word for doing."),
            (Speaker::User, "Name one."),
            (Speaker::Assistant, "To run."),
            (Speaker::User, "Hola."),
        ]
    );
    assert!(heard.instructions.contains("tag es.") && heard.instructions.contains("Be brief."), "{heard:?}");

    let messages = world.get("ana", &format!("/api/core/conversations/{id}/messages")).await.good();
    let said = ["What is a verb?\nPlease.", "A word for doing.", "Name one.", "To run.", "In Spanish?", "Correr."];
    assert_eq!(each(&messages, "content"), said);
    assert_eq!((&messages[2]["model"], &messages[3]["model"]), (&Value::Null, &json!("gpt-5")));
    let page = world.get("ana", &format!("/api/core/conversations/{id}/messages?page=2&limit=4")).await.good();
    assert_eq!(each(&page, "content"), said[4..]);

    let listed = world.get("ana", "/api/core/conversations").await.good();
    assert_eq!((&listed[0]["title"], &listed[0]["message_count"]), (&json!("What is a verb?"), &json!(6)));
    assert_eq!(listed[0]["updated_at"], "2024-03-31T23:01:00Z");
    assert_eq!(world.get("ben", "/api/core/conversations").await.good(), json!([]));
}

#[tokio::test]
async fn what_the_model_does_not_answer_is_not_kept() {
    let world = World::with(|builder| builder.provider(Scripted::broken())).await;
    let id = world.conversation("ana", "Verbs").await;
    let failed = world.post("ana", "/api/ai/generate", json!({"message": "x", "conversation_id": id})).await;
    assert_eq!((failed.refused(), failed.body["detail"].as_str()), (500, Some("Internal server error")));
    assert_eq!(world.get("ana", &format!("/api/core/conversations/{id}/messages")).await.good(), json!([]));
    assert_eq!(world.get("ana", "/api/xp/profile").await.good()["total_xp"], 0);
    let foreign = world.post("ben", "/api/ai/generate", json!({"message": "x", "conversation_id": id})).await;
    assert_eq!(foreign.refused(), 404);
    let unknown = world.post("ana", "/api/ai/generate", json!({"message": "x", "provider": "gpt-4"})).await;
    assert_eq!(unknown.refused(), 400);
}

#[tokio::test]
async fn conversations_of_others_are_as_if_they_were_not() {
    let world = World::new().await;
    let id = world.conversation("ana", "Verbs").await;
    for id in [id.as_str(), "cnv_none", "%00", &"x".repeat(100)] {
        for (method, path) in [
            (Method::GET, "/messages"),
            (Method::POST, "/session/start"),
            (Method::POST, "/session/activity"),
            (Method::POST, "/session/end"),
            (Method::GET, "/session/status"),
            (Method::DELETE, ""),
        ] {
            let path = format!("/api/core/conversations/{id}{path}");
            let answer = world.call("ben", method, &path, Value::Null).await;
            assert!(matches!(answer.refused(), 400 | 404), "{path}: {answer:?}");
            assert!(answer.refused() == 404 || path.ends_with("messages"), "{path}: {answer:?}");
        }
    }
    let note = json!({"title": "x", "content": "", "conversation_id": id});
    assert_eq!(world.post("ben", "/api/core/notes", note).await.refused(), 404);
    assert_eq!(world.get("ana", "/api/core/conversations").await.good().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_lasts_as_long_as_there_is_activity() {
    let world = World::new().await;
    let id = world.conversation("ana", "Verbs").await;
    let session = |what: &str| format!("/api/core/conversations/{id}/session/{what}");
    assert_eq!(world.get("ana", &session("status")).await.good()["is_active"], false);
    assert_eq!(world.post("ana", &session("activity"), Value::Null).await.refused(), 404);

    let started = world.post("ana", &session("start"), Value::Null).await.good();
    world.clock.advance(MINUTE * 14);
    let again = world.post("ana", &session("start"), Value::Null).await.good();
    assert_eq!((&again["session_id"], &again["started_at"]), (&started["session_id"], &json!("2024-03-31T23:00:00Z")));
    let active = world.post("ana", &session("activity"), Value::Null).await.good();
    assert_eq!(active["duration_seconds"], 14 * 60);
    world.clock.advance(MINUTE * 15 - Duration::from_millis(1));
    let status = world.get("ana", &session("status")).await.good();
    assert_eq!((&status["is_active"], &status["duration_seconds"]), (&json!(true), &json!(14 * 60)));
    let ended = world.post("ana", &session("end"), Value::Null).await.good();
    assert_eq!((&ended["duration_seconds"], &ended["xp_earned"]), (&json!(29 * 60 - 1), &json!(28)));
    assert_eq!(world.post("ana", &session("end"), Value::Null).await.refused(), 404);

    // What falls idle has ended with its last activity, and earns until then, once somebody looks.
    let second = world.post("ana", &session("start"), Value::Null).await.good();
    world.clock.advance(MINUTE * 5);
    world.post("ana", &session("activity"), Value::Null).await.good();
    world.clock.advance(MINUTE * 15);
    assert_eq!(world.get("ana", &session("status")).await.good()["session_id"], Value::Null);
    assert_eq!(world.post("ana", &session("activity"), Value::Null).await.refused(), 404);
    let third = world.post("ana", &session("start"), Value::Null).await.good();
    assert_ne!(third["session_id"], second["session_id"]);
    let time = world.get("ana", "/api/analytics/learning-time").await.good();
    assert_eq!((&time["total_seconds"], &time["session_count"]), (&json!(29 * 60 - 1 + 5 * 60), &json!(3)));
}

#[tokio::test]
async fn notes_change_in_the_parts_that_are_named() {
    let world = World::new().await;
    let conversation = world.conversation("ana", "Verbs").await;
    let body = json!({"title": "Verbs", "content": "go, went", "conversation_id": conversation, "tags": ["a", "b"]});
    let note = world.post("ana", "/api/core/notes", body).await.good();
    let path = format!("/api/core/notes/{}", note["id"].as_str().unwrap());
    world.clock.advance(MINUTE);
    let change = |body: Value| world.call("ana", Method::PUT, &path, body);
    let changed = change(json!({"content": "see, saw"})).await.good();
    assert_eq!((&changed["title"], &changed["content"]), (&json!("Verbs"), &json!("see, saw")));
    assert_eq!((&changed["tags"], &changed["conversation_id"]), (&json!(["a", "b"]), &json!(conversation)));
    assert_eq!((&changed["created_at"], &changed["updated_at"]), (&note["created_at"], &json!("2024-03-31T23:01:00Z")));
    assert_eq!(change(json!({"conversation_id": null})).await.good()["conversation_id"], Value::Null);
    assert_eq!(change(json!({})).await.refused(), 400);
    assert_eq!(change(json!({"conversation_id": "cnv_none"})).await.refused(), 404);
    assert_eq!(world.call("ben", Method::PUT, &path, json!({"title": "x"})).await.refused(), 404);
    assert_eq!(world.delete("ben", &path).await.refused(), 404);
    assert_eq!(world.delete("ana", &path).await.good(), json!({"detail": "Note deleted"}));
    assert_eq!(world.delete("ana", &path).await.refused(), 404);

    for n in 0..5 {
        world.clock.advance(MINUTE);
        world.note("ana", &format!("Note {n}"), "").await;
    }
    let mut titles = Vec::new();
    for page in 1..=3 {
        let notes = world.get("ana", &format!("/api/core/notes?page={page}&limit=2")).await.good();
        titles.extend(each(&notes, "title").into_iter().map(|title| title.as_str().unwrap().to_owned()));
    }
    assert_eq!(titles, ["Note 4", "Note 3", "Note 2", "Note 1", "Note 0"]);
    assert_eq!(world.get("ana", "/api/core/notes?page=4&limit=2").await.good(), json!([]));
    for bad in ["page=0", "limit=0", "limit=101", "page=x"] {
        assert_eq!(world.get("ana", &format!("/api/core/notes?{bad}")).await.refused(), 400, "{bad}");
    }
}

#[tokio::test]
async fn a_search_finds_the_callers_content_and_nobody_elses() {
    let world = World::with(|builder| builder.provider(Scripted::saying(&["The launch is in May.", "x"]))).await;
    let id = world.conversation("ana", "The launch plan").await;
    world.post("ana", "/api/ai/generate", json!({"message": "When is it?", "conversation_id": id})).await.good();
    let note = world.note("ana", "Reminder", "Buy bread.\nPrepare the launch.").await;
    world.note("ben", "Launch", "Ben's launch.").await;

    let found = world.get("ana", "/api/core/search?q=launch").await.good();
    assert_eq!((&found["total"], &found["query"]), (&json!(3), &json!("launch")));
    assert_eq!(found["conversations"][0]["id"], json!(id));
    assert_eq!(found["messages"][0]["snippet"], "The launch is in May.");
    assert_eq!(found["messages"][0]["conversation_title"], "The launch plan");
    assert_eq!(found["notes"][0]["snippet"], "Prepare the launch.");
    assert_eq!(world.get("ana", "/api/core/search?q=ben").await.good()["total"], 0);
    assert_eq!(world.get("mia", "/api/core/search?q=launch").await.good()["total"], 0);
    assert_eq!(world.get("ana", "/api/core/search").await.refused(), 400);

    let path = format!("/api/core/notes/{note}");
    world.call("ana", Method::PUT, &path, json!({"content": "Nothing."})).await.good();
    world.delete("ana", &format!("/api/core/conversations/{id}")).await.good();
    assert_eq!(world.get("ana", "/api/core/search?q=launch").await.good()["total"], 0);
}

#[tokio::test]
async fn an_admin_has_the_index_made_anew() {
    let world = World::new().await;
    let note = world.note("ana", "Launch", "In May.").await;
    world.conversation("ana", "Launch").await;
    for path in ["/api/core/search/status", "/api/core/search/reindex"] {
        let method = if path.ends_with("status") { Method::GET } else { Method::POST };
        let body = if path.ends_with("status") { Value::Null } else { json!({}) };
        assert_eq!(world.call("ana", method.clone(), path, body.clone()).await.refused(), 403);
        world.call("key:all", method.clone(), path, body.clone()).await.good();
        world.call("root", method, path, body).await.good();
    }
    let status = world.get("root", "/api/core/search/status").await.good();
    assert_eq!((&status["healthy"], &status["last_indexed_at"]), (&json!(true), &Value::Null));
    assert_eq!(each(&status["collections"], "num_documents"), [1, 0, 1]);

    // Entries that were lost come back; those of nothing go.
    let mut write = world.service.store().write().await.unwrap();
    for sql in [
        "DELETE FROM search_index",
        "DELETE FROM search_items WHERE item LIKE 'note%'",
        "INSERT INTO search_items (item, scope, row_id) VALUES ('note_gone', 'content/notes/usr_x', 99)",
    ] {
        sqlx::query(sql).execute(write.run()).await.unwrap();
    }
    write.commit().await.unwrap();
    assert_eq!(world.get("ana", "/api/core/search?q=launch").await.good()["total"], 0);
    world.post("root", "/api/core/search/reindex", json!({"collections": ["notes"]})).await.good();
    world.service.run_due_jobs().await.unwrap();
    let found = world.get("ana", "/api/core/search?q=launch").await.good();
    assert_eq!((&found["total"], &found["notes"][0]["id"]), (&json!(2), &json!(note)));
    let status = world.get("root", "/api/core/search/status").await.good();
    assert_eq!(each(&status["collections"], "num_documents"), [1, 0, 1]);
    assert_eq!(status["last_indexed_at"], "2024-03-31T23:00:00Z");
    let unknown = world.post("root", "/api/core/search/reindex", json!({"collections": ["users"]})).await;
    assert_eq!(unknown.refused(), 400);
}

// ----------------------------------------------------------------------------------------------------- knowledge base

#[tokio::test]
async fn documents_of_every_kind_are_found_by_their_words() {
    let world = World::new().await;
    let pdf = pdf::pdf("The harbour closes at nine.");
    let html =
        "<html><head><script>harbour()</script></head><body><p>The tower opens at &quot;ten&quot;.</p></body></html>";
    for (name, media_type, content, chunks) in [
        ("plain.txt", "text/plain", "The library opens at eight.".as_bytes(), 1),
        ("mark.md", "text/markdown", "# Museum\n\nThe museum is closed on Mondays.".as_bytes(), 1),
        ("page.html", "text/html", html.as_bytes(), 1),
        ("sheet.pdf", "application/pdf", &pdf, 1),
    ] {
        let made = world.upload("ana", name, media_type, content, &[]).await.good();
        assert_eq!(
            (&made["status"], &made["chunks_indexed"], &made["message"]),
            (&json!("ready"), &json!(chunks), &Value::Null)
        );
        world.clock.advance(MINUTE);
    }
    let listed = world.get("ana", "/api/rag/documents").await.good();
    assert_eq!(each(&listed, "filename"), ["sheet.pdf", "page.html", "mark.md", "plain.txt"]);
    assert_eq!(each(&listed, "visibility"), ["private"; 4]);
    for (query, source) in
        [("library", "plain.txt"), ("museum", "mark.md"), ("tower", "page.html"), ("harbour", "sheet.pdf")]
    {
        let found = world.post("ana", "/api/knowledge/search", json!({"query": query})).await.good();
        assert_eq!(each(&found["results"], "source"), [source], "{query}");
        assert!(found["results"][0]["score"].as_f64().unwrap() > 0.5);
    }
    let ranked = world.post("ana", "/api/knowledge/search", json!({"query": "opens at ten", "top_k": 1})).await.good();
    assert_eq!((&ranked["total"], &ranked["results"][0]["source"]), (&json!(1), &json!("page.html")));

    let answer = world.post("ana", "/api/rag/query", json!({"query": "When is the museum closed?"})).await.good();
    assert!(answer["answer"].as_str().unwrap().contains("closed on Mondays"), "{answer}");
    assert_eq!(answer["sources"][0]["title"], "mark.md");
    let none = world.post("ana", "/api/rag/query", json!({"query": "zebra"})).await.good();
    assert_eq!((&none["sources"], none["answer"].as_str().unwrap().is_empty()), (&json!([]), false));
}

#[tokio::test]
async fn files_that_cannot_be_read_are_refused_or_say_why() {
    let world = World::new().await;
    for (name, media_type, content) in [
        ("a.txt", "text/plain", &b""[..]),
        ("a.png", "image/png", b"\x89PNG"),
        ("a.txt", "text/plain", b"\xff\xfe\x00"),
        ("a.json", "application/json", b"{}"),
        ("a.bin", "application/octet-stream", b"abc"),
    ] {
        let answer = world.upload("ana", name, media_type, content, &[]).await;
        assert_eq!(answer.refused(), 400, "{name} {media_type}");
        assert!(answer.body["detail"].as_str().unwrap().contains("file"), "{answer:?}");
    }
    let huge = vec![b'a'; 10 * 1024 * 1024 + 1];
    assert_eq!(world.upload("ana", "a.txt", "text/plain", huge, &[]).await.refused(), 400);
    let broken = world.upload("ana", "a.pdf", "application/pdf", b"%PDF-1.4 nothing", &[]).await.good();
    assert_eq!((&broken["status"], &broken["chunks_indexed"]), (&json!("failed"), &json!(0)));
    assert!(broken["message"].as_str().unwrap().contains("PDF"));
    let blank = world.upload("ana", "a.txt", "text/plain", " \n ", &[]).await.good();
    assert_eq!(blank["message"], "the file holds no text");
    let documents = world.get("ana", "/api/rag/documents").await.good();
    assert_eq!(each(&documents, "status"), ["failed", "failed"]);
}

#[tokio::test]
async fn long_documents_are_cut_and_every_part_is_found() {
    let world = World::new().await;
    let text: String = (0..300).map(|n| format!("Paragraph number {n} speaks of topic{n} at length.\n\n")).collect();
    let made = world.upload("ana", "long.txt", "text/plain", text, &[("title", "Long")]).await.good();
    assert!(made["chunks_indexed"].as_i64().unwrap() > 5, "{made}");
    for n in [0, 150, 299] {
        let found = world.post("ana", "/api/knowledge/search", json!({"query": format!("topic{n}")})).await.good();
        assert!(found["results"][0]["content"].as_str().unwrap().contains(&format!("topic{n} ")), "{n}");
        assert_eq!(found["results"][0]["title"], "Long");
    }
}

#[tokio::test]
async fn a_document_is_seen_by_whom_it_is_for() {
    let world = World::new().await;
    let conversation = world.conversation("ana", "Trip").await;
    world.upload("ana", "own.txt", "text/plain", "A zebra alone.", &[]).await.good();
    let shared = [("visibility", "shared"), ("title", "Everybody's")];
    world.upload("ana", "all.txt", "text/plain", "A zebra for all.", &shared).await.good();
    let bound = [("conversation_id", conversation.as_str())];
    world.upload("ana", "trip.txt", "text/plain", "A zebra on a trip.", &bound).await.good();
    assert_eq!(world.upload("ben", "x.txt", "text/plain", "x", &bound).await.refused(), 404);

    let sources = async |who: &str, more: Value| {
        let mut body = json!({"query": "zebra"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = world.post(who, "/api/knowledge/search", body).await.good();
        let mut names: Vec<String> =
            each(&found["results"], "source").iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(sources("ana", json!({})).await, ["all.txt", "own.txt", "trip.txt"]);
    assert_eq!(sources("ana", json!({"conversation_id": conversation})).await, ["trip.txt"]);
    assert_eq!(sources("mia", json!({})).await, ["all.txt"], "a member of the same organization");
    assert!(sources("mia", json!({"include_shared": false})).await.is_empty());
    assert!(sources("mia", json!({"conversation_id": conversation})).await.is_empty());
    assert!(sources("ben", json!({})).await.is_empty(), "of another organization");
    assert!(sources("key:all", json!({})).await.is_empty());
    assert_eq!(world.get("mia", "/api/rag/documents").await.good().as_array().unwrap().len(), 1);
    assert_eq!(world.get("ben", "/api/rag/documents").await.good(), json!([]));
    let answer = world.post("ben", "/api/rag/query", json!({"query": "zebra"})).await.good();
    assert_eq!(answer["sources"], json!([]));

    // A key sees what its maker put into the key's organization, and the maker sees what the key did.
    world.upload("key:all", "key.txt", "text/plain", "A zebra by key.", &[]).await.good();
    assert_eq!(sources("kim", json!({})).await, ["key.txt"]);
    assert_eq!(sources("key:all", json!({})).await, ["key.txt"]);
}

// --------------------------------------------------------------------------------------------------------------- live

#[tokio::test]
async fn live_time_is_counted_until_nothing_is_left() {
    let world = World::with(|builder| builder.live_allowances([("pro".to_owned(), 60)])).await;
    let quota = async || world.get("ana", "/api/live/quota").await.good();
    assert_eq!(
        quota().await,
        json!({"plan": "pro", "limit_seconds": 60, "used_seconds": 0, "remaining_seconds": 60, "is_exceeded": false,
               "period_start": "2024-03-01T00:00:00Z", "period_end": "2024-04-01T00:00:00Z"})
    );
    let session = world.post("ana", "/api/live/session/start", json!({"session_type": "voice"})).await.good();
    assert_eq!((&session["status"], &session["remaining_seconds"]), (&json!("active"), &json!(60)));
    let id = json!({"session_id": session["session_id"]});
    let beat = async || world.post("ana", "/api/live/session/heartbeat", id.clone()).await;
    world.clock.advance(Duration::from_millis(15_400));
    let first = beat().await.good();
    assert_eq!((&first["used_seconds"], &first["remaining_seconds"]), (&json!(15), &json!(45)));
    world.clock.advance(Duration::from_millis(44_600));
    let last = beat().await.good();
    assert_eq!((&last["remaining_seconds"], &last["should_end"]), (&json!(0), &json!(true)));
    world.clock.advance(Duration::from_secs(5));
    let over = beat().await;
    assert_eq!(
        (over.refused(), &over.body),
        (429, &json!({"detail": {"error": "live_quota_exceeded", "message": "Monthly Live session quota exceeded"}}))
    );
    assert_eq!((&quota().await["used_seconds"], &quota().await["is_exceeded"]), (&json!(60), &json!(true)));
    let another = world.post("ana", "/api/live/session/start", json!({"session_type": "avatar"})).await;
    assert_eq!(another.body["detail"]["error"], "live_quota_exceeded");
    let ended = world.post("ana", "/api/live/session/end", id.clone()).await.good();
    assert_eq!((&ended["duration_seconds"], &ended["remaining_seconds"]), (&json!(65), &json!(0)));
    assert_eq!(world.post("ana", "/api/live/session/end", id.clone()).await.refused(), 404);
    assert_eq!(beat().await.refused(), 404);
    assert_eq!(world.get("ben", "/api/live/quota").await.good()["used_seconds"], 0, "everybody has their own");

    // A new month, a new allowance.
    world.at("2024-03-31T23:59:59Z");
    assert_eq!(quota().await["remaining_seconds"], 0);
    world.at("2024-04-01T00:00:00Z");
    assert_eq!(
        (&quota().await["remaining_seconds"], &quota().await["period_end"]),
        (&json!(60), &json!("2024-05-01T00:00:00Z"))
    );
}

#[tokio::test]
async fn a_beat_in_the_middle_of_a_session_can_run_dry() {
    let world = World::with(|builder| builder.live_allowances([("pro".to_owned(), 20)])).await;
    let session = world.post("ana", "/api/live/session/start", json!({"session_type": "voice"})).await.good();
    let id = json!({"session_id": session["session_id"]});
    world.clock.advance(Duration::from_secs(30));
    let over = world.post("ana", "/api/live/session/heartbeat", id.clone()).await;
    assert_eq!(over.body["detail"]["error"], "live_quota_exceeded");
    assert_eq!(world.get("ana", "/api/live/quota").await.good()["used_seconds"], 20, "what there was is counted");
    world.post("ana", "/api/live/session/end", id).await.good();
}

#[tokio::test]
async fn time_over_a_months_end_counts_in_both_months() {
    let world = World::with(|builder| builder.live_allowances([("pro".to_owned(), 100)])).await;
    world.at("2024-02-29T23:59:50Z");
    let session = world.post("ana", "/api/live/session/start", json!({"session_type": "voice"})).await.good();
    let id = json!({"session_id": session["session_id"]});
    world.clock.advance(Duration::from_secs(40));
    let beat = world.post("ana", "/api/live/session/heartbeat", id).await.good();
    assert_eq!((&beat["used_seconds"], &beat["remaining_seconds"]), (&json!(30), &json!(70)));
    world.at("2024-02-29T23:59:59Z");
    assert_eq!(world.get("ana", "/api/live/quota").await.good()["used_seconds"], 10);
}

#[tokio::test]
async fn a_silent_session_has_ended_with_its_last_beat() {
    let world = World::new().await;
    let session = world.post("ana", "/api/live/session/start", json!({"session_type": "voice"})).await.good();
    let id = json!({"session_id": session["session_id"]});
    world.clock.advance(Duration::from_secs(10));
    world.post("ana", "/api/live/session/heartbeat", id.clone()).await.good();
    assert_eq!(world.post("ben", "/api/live/session/heartbeat", id.clone()).await.refused(), 404);
    assert_eq!(world.post("ben", "/api/live/session/end", id.clone()).await.refused(), 404);
    world.clock.advance(MINUTE * 5);
    assert_eq!(world.post("ana", "/api/live/session/heartbeat", id.clone()).await.refused(), 404);
    assert_eq!(world.post("ana", "/api/live/session/end", id).await.refused(), 404);
    assert_eq!(world.get("ana", "/api/live/quota").await.good()["used_seconds"], 10, "silence costs nothing");
    let none = world.post("nora", "/api/live/session/start", json!({"session_type": "voice"})).await;
    assert_eq!((none.refused(), none.body["detail"]["error"].as_str()), (429, Some("live_quota_exceeded")));
    assert_eq!(world.post("ana", "/api/live/session/start", json!({"session_type": "video"})).await.refused(), 400);
}

#[tokio::test]
async fn transcripts_are_for_who_saved_them() {
    let world = World::new().await;
    let turns: Vec<Value> = (0..250)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "ai" }, "text": format!("turn {n}"), "timestamp": "2024-03-31T22:00:00Z"}))
        .collect();
    let body = json!({"session_started_at": "2024-03-31T22:00:00Z", "session_ended_at": "2024-03-31T23:30:00+01:00", "transcripts": turns});
    let saved = world.post("ana", "/api/live/transcripts", body.clone()).await.good();
    assert_eq!((&saved["turn_count"], &saved["duration_seconds"]), (&json!(250), &json!(1800)));
    let path = format!("/api/live/transcripts/{}", saved["id"].as_str().unwrap());
    let read = world.get("ana", &path).await.good();
    assert_eq!((&read["transcripts"], &read["session_ended_at"]), (&json!(turns), &json!("2024-03-31T22:30:00Z")));
    assert_eq!(world.get("ben", &path).await.refused(), 404);
    assert_eq!(world.post("key:all", "/api/live/transcripts", body.clone()).await.refused(), 401);
    let backwards = json!({"session_started_at": "2024-03-31T22:00:00Z", "session_ended_at": "2024-03-31T21:00:00Z", "transcripts": turns[..1]});
    world.clock.advance(MINUTE);
    assert_eq!(world.post("ana", "/api/live/transcripts", backwards).await.good()["duration_seconds"], 0);
    let list = world.get("ana", "/api/live/transcripts?limit=1").await.good();
    assert_eq!((&list["total"], &list["page"], &list["limit"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(list["transcripts"][0]["turn_count"], 1, "the latest first");
    assert_eq!(world.get("ben", "/api/live/transcripts").await.good()["total"], 0);

    let named = world.call("ana", Method::PATCH, "/api/live/nickname", json!({"nickname": "Añita"})).await.good();
    assert_eq!(named["nickname"], "Añita");
    assert_eq!(world.get("ana", "/api/auth/me").await.good()["nickname"], "Añita");
    let long = json!({"nickname": "x".repeat(51)});
    assert_eq!(world.call("ana", Method::PATCH, "/api/live/nickname", long).await.refused(), 400);
}

// --------------------------------------------------------------------------------------------------------- the course

#[tokio::test]
async fn a_module_is_started_worked_through_and_completed() {
    let world = World::new().await;
    let modules = world.get("ana", "/api/learn/english/modules").await.good();
    assert_eq!(modules.as_array().unwrap().len(), 12);
    assert_eq!(each(&modules, "status")[..3], ["available", "locked", "locked"]);
    let module = |id: &str, what: &str| format!("/api/learn/english/modules/{id}{what}");
    assert_eq!(world.post("ana", &module("2", "/start"), Value::Null).await.refused(), 403);
    assert_eq!(world.post("ana", &module("1", "/complete"), Value::Null).await.refused(), 400);
    assert_eq!(world.post("ana", &module("99", "/start"), Value::Null).await.refused(), 404);
    let started = world.post("ana", &module("1", "/start"), Value::Null).await.good();
    world.clock.advance(MINUTE);
    assert_eq!(world.post("ana", &module("1", "/start"), Value::Null).await.good(), started);

    let wrong = world.submit("ana", "1", "reading", "from Paris").await.good();
    assert_eq!((&wrong["is_correct"], &wrong["score"], &wrong["xp_earned"]), (&json!(false), &json!(0.0), &json!(0)));
    let right = world.submit("ana", "1", "reading", "She comes from Lisbon.").await.good();
    assert_eq!((&right["is_correct"], &right["score"], &right["xp_earned"]), (&json!(true), &json!(100.0), &json!(20)));
    assert_eq!(world.submit("ana", "1", "reading", "Lisbon").await.good()["xp_earned"], 0, "only what is better earns");
    let text = "My name is Ana and I live in Bandung. I like long walks because I can think while I walk, and I also \
                like old films.";
    let written = world.submit("ana", "1", "writing", text).await.good();
    assert!(written["score"].as_f64().unwrap() > 80.0 && written["is_correct"].is_null(), "{written}");
    assert_eq!(world.submit("ana", "2", "reading", "six").await.refused(), 403);
    let other = json!({"module_id": "1", "task_id": "reading-1", "skill": "writing", "response": "x"});
    assert_eq!(world.post("ana", "/api/learn/english/tasks/submit", other).await.refused(), 404);

    let detail = world.get("ana", &module("1", "")).await.good();
    assert_eq!((&detail["status"], &detail["progress_percent"]), (&json!("in_progress"), &json!(50.0)));
    assert_eq!(each(&detail["tasks"], "status"), ["submitted", "submitted", "pending", "pending"]);
    assert_eq!(world.get("ben", &module("1", "")).await.good()["tasks_completed"], 0);

    let done = world.post("ana", &module("1", "/complete"), Value::Null).await.good();
    let earned = done["xp_earned"].as_i64().unwrap();
    assert!((45..=50).contains(&earned), "half of the tasks were done: {done}");
    assert_eq!(done["next_module_id"], "2");
    world.clock.advance(MINUTE);
    let again = world.post("ana", &module("1", "/complete"), Value::Null).await.good();
    assert_eq!((&again["xp_earned"], &again["completed_at"]), (&json!(0), &done["completed_at"]));
    // Open for revision, the next one stays open.
    world.post("ana", &module("1", "/start"), Value::Null).await.good();
    let statuses = world.get("ana", "/api/learn/english/modules").await.good();
    assert_eq!(each(&statuses, "status")[..3], ["in_progress", "available", "locked"]);
    let dashboard = world.get("ana", "/api/learn/english/dashboard").await.good();
    assert_eq!((&dashboard["modules_in_progress"], &dashboard["current_module"]["id"]), (&json!(1), &json!("1")));
}

#[tokio::test]
async fn a_task_has_variants_and_their_scores_count_for_the_task() {
    let world = World::new().await;
    let task = json!({"module_id": "1", "task_id": "reading-1"});
    let next = async || world.post("ana", "/api/learn/english/tasks/regenerate", task.clone()).await.good();
    let second = next().await;
    assert_eq!(second["variant"], 2);
    assert!(second["task"]["prompt"].as_str().unwrap().contains("Tomas"));
    assert_eq!(world.submit("ana", "1", "reading", "Lisbon").await.good()["score"], 0.0);
    assert_eq!(world.submit("ana", "1", "reading", "history").await.good()["score"], 100.0);
    assert_eq!(next().await["variant"], 3);
    let first = next().await;
    assert_eq!((&first["variant"], &first["task"]["score"]), (&json!(1), &json!(100.0)));
    let unknown = json!({"module_id": "1", "task_id": "reading-9"});
    assert_eq!(world.post("ana", "/api/learn/english/tasks/regenerate", unknown).await.refused(), 404);
    let locked = json!({"module_id": "2", "task_id": "reading-1"});
    assert_eq!(world.post("ana", "/api/learn/english/tasks/regenerate", locked).await.refused(), 403);
}

#[tokio::test]
async fn the_xpi_moves_with_the_scores_and_remembers_how() {
    let world = World::new().await;
    let xpi = async || world.get("ana", "/api/learn/english/xpi").await.good();
    assert_eq!((&xpi().await["xpi"], &xpi().await["updated_at"]), (&json!(0.0), &Value::Null));
    assert_eq!(world.get("ana", "/api/learn/english/xpi/history").await.good(), json!([]));
    world.submit("ana", "1", "reading", "Lisbon").await.good();
    world.clock.advance(MINUTE);
    world.submit("ana", "1", "listening", "three").await.good();
    world.submit("ana", "1", "listening", "three").await.good();
    let now = xpi().await;
    assert_eq!((&now["xpi"], &now["reading"], &now["listening"]), (&json!(50.0), &json!(100.0), &json!(100.0)));
    let history = world.get("ana", "/api/learn/english/xpi/history").await.good();
    assert_eq!(
        history,
        json!([{"recorded_at": "2024-03-31T23:01:00Z", "xpi": 50.0, "change": 25.0},
               {"recorded_at": "2024-03-31T23:00:00Z", "xpi": 25.0, "change": null}])
    );
    assert_eq!(world.get("ana", "/api/learn/english/xpi/history?limit=1").await.good().as_array().unwrap().len(), 1);
    assert_eq!(world.get("ana", "/api/learn/english/xpi/history?limit=366").await.refused(), 400);
}

#[tokio::test]
async fn an_evaluation_asks_the_model_by_the_criteria() {
    let reply = "{\"criteria\":[{\"name\":\"task\",\"score\":80},{\"name\":\"range\",\"score\":60},{\"name\":\"grammar\",\
                 \"score\":70},{\"name\":\"coherence\",\"score\":50}],\"feedback\":\"Fine.\",\"strengths\":[\"clear\"]}";
    let model = Scripted::saying(&[reply, "Not JSON."]);
    let world = World::with(|builder| builder.provider(model.clone())).await;
    let evaluate = async |body: Value| world.post("ana", "/api/learn/english/evaluate", body).await;
    let task = json!({"module_id": "1", "task_id": "writing-1", "skill": "writing", "response": "My name is Ana."});
    let judged = evaluate(task.clone()).await.good();
    assert_eq!((&judged["score"], &judged["feedback"]), (&json!(65.0), &json!("Fine.")));
    assert_eq!(each(&judged["criteria"], "name"), ["task", "range", "grammar", "coherence"]);
    let asked = model.last();
    assert!(
        asked.message.contains("Write three or four sentences about yourself")
            && asked.message.contains("My name is Ana.")
    );
    assert!(asked.instructions.contains("grammar: "), "{asked:?}");
    let by_rule = evaluate(json!({"skill": "speaking", "response": "I like trains."})).await.good();
    assert_eq!((&by_rule["feedback"], &by_rule["corrected_text"]), (&json!("Not JSON."), &Value::Null));
    assert_eq!(evaluate(json!({"skill": "speaking", "response": "x"})).await.refused(), 500, "the model has failed");
    for (change, status) in [
        (json!({"skill": "reading"}), 400),
        (json!({"skill": "speaking"}), 404),
        (json!({"task_id": "writing-9"}), 404),
        (json!({"module_id": "99"}), 404),
        (json!({"module_id": null}), 404),
        (json!({"response": ""}), 400),
    ] {
        let mut body = task.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(evaluate(body).await.refused(), status, "{change}");
    }
}

#[tokio::test]
async fn a_learning_session_has_a_transcript_and_an_end() {
    let world = World::new().await;
    let session =
        world.post("ana", "/api/learn/english/sessions/start", json!({"module_id": "1", "skill": null})).await.good();
    let id = session["session_id"].as_str().unwrap();
    let say = async |who: &str, text: &str, timestamp: Value| {
        let body = json!({"session_id": id, "role": "user", "text": text, "timestamp": timestamp});
        world.post(who, "/api/learn/english/transcripts", body).await
    };
    say("ana", "second", Value::Null).await.good();
    say("ana", "third", Value::Null).await.good();
    say("ana", "first", json!("2024-03-31T22:59:00Z")).await.good();
    assert_eq!(say("ben", "x", Value::Null).await.refused(), 404);
    let path = format!("/api/learn/english/transcripts/{id}");
    let entries = world.get("ana", &path).await.good();
    assert_eq!(each(&entries, "text"), ["first", "second", "third"]);
    assert_eq!(each(&world.get("ana", &format!("{path}?page=2&limit=2")).await.good(), "text"), ["third"]);
    assert_eq!(world.get("ben", &path).await.refused(), 404);

    let end = async |who: &str| world.post(who, "/api/learn/english/sessions/end", json!({"session_id": id})).await;
    assert_eq!(end("ben").await.refused(), 404);
    world.clock.advance(MINUTE * 60 * 5);
    let ended = end("ana").await.good();
    assert_eq!((&ended["duration_seconds"], &ended["xp_earned"]), (&json!(4 * 3600), &json!(60)), "four hours at most");
    assert_eq!(ended["ended_at"], "2024-04-01T03:00:00Z");
    assert_eq!(end("ana").await.refused(), 404);
    say("ana", "afterwards", Value::Null).await.good();
    let nowhere = world.post("ana", "/api/learn/english/sessions/start", json!({"module_id": "99"})).await;
    assert_eq!(nowhere.refused(), 404);
    assert_eq!(world.get("ana", "/api/learn/english/dashboard").await.good()["total_time_spent_seconds"], 4 * 3600);
    // The session passed midnight: each day has its part.
    let time = world.get("ana", "/api/analytics/learning-time").await.good();
    assert_eq!(each(&time["daily"], "seconds"), [3_599, 10_800]);
    assert_eq!(each(&time["daily"], "sessions"), [1, 0]);
    let april = world.get("ana", "/api/analytics/learning-time?start_date=2024-04-01").await.good();
    assert_eq!((&april["total_seconds"], &april["start_date"]), (&json!(10_800), &json!("2024-04-01")));
    let none = world.get("ana", "/api/analytics/learning-time?start_date=2024-05-01&end_date=2024-04-01").await.good();
    assert_eq!((&none["daily"], &none["average_session_seconds"]), (&json!([]), &json!(0.0)));
    assert_eq!(world.get("ana", "/api/analytics/learning-time?start_date=2024-02-30").await.refused(), 400);
}

// ------------------------------------------------------------------------------------------------ profile and analytics

#[tokio::test]
async fn a_day_is_the_users_own() {
    let world = World::new().await;
    world.zone("ana", "Asia/Jakarta").await;
    world.zone("ben", "America/Los_Angeles").await;
    // 06:30 on Monday in Jakarta, 16:30 on Sunday in Los Angeles.
    world.at("2024-03-31T23:30:00Z");
    for who in ["ana", "ben"] {
        world.note(who, "x", "").await;
    }
    let week = async |who: &str| world.get(who, "/api/xp/weekly-activity").await.good();
    let xp = |week: &Value| each(&week["days"], "xp").iter().map(|xp| xp.as_i64().unwrap()).collect::<Vec<_>>();
    let (ana, ben) = (week("ana").await, week("ben").await);
    assert_eq!((&ana["week_start"], &ana["timezone"]), (&json!("2024-03-31"), &json!("Asia/Jakarta")));
    assert_eq!((&ben["week_start"], &ben["week_end"]), (&json!("2024-03-31"), &json!("2024-04-06")));
    // The note is worth 2, and where it is among the day's quests, 5 more.
    assert_eq!((xp(&ana)[0], xp(&ben)[1]), (0, 0));
    assert!(xp(&ana)[1] >= 2 && xp(&ben)[0] >= 2);
    assert_eq!(world.get("ana", "/api/xp/quests").await.good()["date"], "2024-04-01");
    assert_eq!(world.get("ben", "/api/xp/quests").await.good()["date"], "2024-03-31");

    // Just before midnight in Los Angeles it is still Sunday, and then it is not.
    world.at("2024-04-01T06:59:59Z");
    assert!(world.get("ben", "/api/xp/profile").await.good()["today_xp"].as_i64().unwrap() >= 2);
    world.at("2024-04-01T07:00:00Z");
    assert_eq!(world.get("ben", "/api/xp/profile").await.good()["today_xp"], 0);
    let quests = world.get("ben", "/api/xp/quests").await.good();
    assert_eq!((&quests["date"], &quests["completed_count"]), (&json!("2024-04-01"), &json!(0)));
    assert_eq!(each(&quests["quests"], "progress"), [0, 0, 0]);
}

#[tokio::test]
async fn a_streak_goes_over_a_leap_day_and_survives_with_a_saver() {
    let world = World::new().await;
    world.zone("ana", "Pacific/Auckland").await;
    let streak = async || world.get("ana", "/api/xp/streak-status").await.good();
    assert_eq!(
        streak().await,
        json!({"current_streak": 0, "longest_streak": 0, "freezes_available": 0, "freezes_used": 0,
               "last_activity": null, "streak_at_risk": false})
    );
    // Noon UTC is past midnight in Auckland in February: these are the days from the 24th to the 1st there.
    for day in ["02-23", "02-24", "02-25", "02-26", "02-27", "02-28", "02-29"] {
        world.at(&format!("2024-{day}T12:00:00Z"));
        world.note("ana", day, "").await;
    }
    let seven = streak().await;
    assert_eq!((&seven["current_streak"], &seven["last_activity"]), (&json!(7), &json!("2024-03-01")));
    assert_eq!((&seven["freezes_available"], &seven["streak_at_risk"]), (&json!(1), &json!(false)));
    world.at("2024-03-02T12:00:00Z");
    let missed = streak().await;
    assert_eq!((&missed["current_streak"], &missed["freezes_used"]), (&json!(7), &json!(1)));
    assert_eq!((&missed["freezes_available"], &missed["streak_at_risk"]), (&json!(0), &json!(true)));
    let week = world.get("ana", "/api/xp/weekly-activity").await.good();
    assert_eq!((&week["week_start"], &week["freeze_covered_dates"]), (&json!("2024-03-03"), &json!([])));
    world.at("2024-03-02T10:00:00Z");
    let week = world.get("ana", "/api/xp/weekly-activity").await.good();
    assert_eq!(week["week_start"], "2024-02-25", "it is still Saturday in Auckland");
    world.at("2024-03-03T12:00:00Z");
    let broken = streak().await;
    assert_eq!((&broken["current_streak"], &broken["longest_streak"]), (&json!(0), &json!(7)));
}

#[tokio::test]
async fn the_pulse_has_every_day_of_a_year() {
    let world = World::new().await;
    world.at("2024-02-29T12:00:00Z");
    world.submit("ana", "1", "reading", "Lisbon").await.good();
    world.at("2025-02-27T12:00:00Z");
    let pulse = async || world.get("ana", "/api/xp/learning-pulse").await.good();
    let year = pulse().await;
    let dates = each(&year["days"], "date");
    assert_eq!((dates.len(), dates[0], dates[364]), (365, &json!("2024-02-29"), &json!("2025-02-27")));
    assert_eq!((&year["active_days"], &year["total_xp"]), (&json!(1), &json!(20)));
    assert_eq!((&year["days"][0]["intensity"], &year["days"][1]["intensity"]), (&json!(2), &json!(0)));
    world.at("2025-02-28T12:00:00Z");
    assert_eq!((&pulse().await["active_days"], &pulse().await["days"][0]["date"]), (&json!(0), &json!("2024-03-01")));
}

#[tokio::test]
async fn quests_pay_once_and_all_of_them_bring_a_booster() {
    let world = World::with(|builder| builder.provider(Scripted::saying(&["a"; 20]))).await;
    // A day whose quests are questions, minutes and 30 XP in some order would do as well: each is worked off by its kind.
    world.at("2024-05-06T08:00:00Z");
    let id = world.conversation("ana", "x").await;
    let quests = async || world.get("ana", "/api/xp/quests").await.good();
    let total = async || world.get("ana", "/api/xp/profile").await.good();
    let before: Vec<Value> = each(&quests().await["quests"], "id").into_iter().cloned().collect();
    assert_eq!(before.len(), 3);
    // Everything that any quest asks for.
    for _ in 0..3 {
        world.post("ana", "/api/ai/generate", json!({"message": "?", "conversation_id": id})).await.good();
    }
    world.note("ana", "n", "").await;
    world.submit("ana", "1", "reading", "Lisbon").await.good();
    world.submit("ana", "1", "listening", "three").await.good();
    let session = format!("/api/core/conversations/{id}/session");
    world.post("ana", &format!("{session}/start"), Value::Null).await.good();
    world.clock.advance(MINUTE * 10);
    world.post("ana", &format!("{session}/end"), Value::Null).await.good();

    let done = quests().await;
    assert_eq!((&done["completed_count"], &done["total_count"]), (&json!(3), &json!(3)), "{done}");
    let rewards: i64 = each(&done["quests"], "xp_reward").iter().map(|xp| xp.as_i64().unwrap()).sum();
    let profile = total().await;
    // 3 messages, a note, two tasks at 20, ten minutes.
    assert_eq!(profile["total_xp"].as_i64().unwrap(), 3 + 2 + 40 + 10 + rewards);
    assert_eq!((&profile["token_balance"], &profile["booster_multiplier"]), (&json!(15), &json!(1.5)));
    assert_eq!(profile["booster_ends_at"], "2024-05-06T09:10:00Z");
    let boosted = world.submit("ana", "1", "speaking", "name").await.good();
    let plain = (boosted["score"].as_f64().unwrap() / 5.0).round();
    assert_eq!(boosted["xp_earned"].as_f64().unwrap(), (plain * 1.5).floor());
    world.at("2024-05-06T09:10:00Z");
    assert_eq!(total().await["booster_multiplier"], Value::Null);
    assert_eq!(total().await["token_balance"], 15, "a quest pays once");
}

#[tokio::test]
async fn the_public_profile_shows_nothing_private() {
    let world = World::new().await;
    world.submit("ana", "1", "reading", "Lisbon").await.good();
    let path = format!("/api/xp/public-profile/{}", world.demo.users["ana"].username);
    let shown = world.get("", &path).await.good();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["username", "display_name", "avatar_url", "level", "total_xp", "current_streak", "longest_streak"]
    );
    assert_eq!((&shown["display_name"], &shown["total_xp"], &shown["level"]), (&Value::Null, &json!(20), &json!(1)));
    world.call("ana", Method::PATCH, "/api/live/nickname", json!({"nickname": "Ana"})).await.good();
    assert_eq!(world.get("", &path).await.good()["display_name"], "Ana");
    assert_eq!(world.get("", "/api/xp/public-profile/nobody").await.refused(), 404);
}

#[tokio::test]
async fn what_is_worth_little_is_not_worth_repeating() {
    let world = World::new().await;
    for n in 0..8 {
        world.note("ana", &n.to_string(), "").await;
    }
    let quests = world.get("ana", "/api/xp/quests").await.good();
    let rewards: i64 = quests["quests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|quest| quest["is_completed"] == true)
        .map(|quest| quest["xp_reward"].as_i64().unwrap())
        .sum();
    let profile = world.get("ana", "/api/xp/profile").await.good();
    assert_eq!(profile["total_xp"].as_i64().unwrap(), 5 * 2 + rewards, "five notes a day earn");
}
