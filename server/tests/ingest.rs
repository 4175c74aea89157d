//! Data sources through their states: uploads, bad files, fetched pages, and work that a crash interrupted.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use common::{World, pdf};
use http::Method;
use serde_json::{Value, json};
use trueline_server::platform::ingest::PdfReader;
use trueline_server::platform::store::column;

#[tokio::test]
async fn an_uploaded_pdf_goes_through_its_states_and_is_found() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    let agent = world.agent_on(&alice, &[&source, &source]).await;
    assert_eq!(world.ask(&agent, &alice, "gears").await.failure(), (503, "agent_not_ready"));

    // Nothing to process: done at once, so that the agent is not blocked for ever.
    world.service.run_due_jobs().await.unwrap();
    let empty = world.read_source(&alice, &source).await;
    assert_eq!(
        (empty.text("/status"), &empty.body["progressPercentage"], &empty.body["documentCount"]),
        ("completed", &json!(100), &json!(0))
    );
    assert_eq!((&empty.body["agentCount"], empty.text("/lastSyncAt")), (&json!(1), "2024-03-31T23:00:00Z"));
    assert_eq!(world.ask(&agent, &alice, "gears").await.status, 200);

    let file = pdf("Planetary gears need oil every 500 hours.");
    let uploaded = world.upload(&source, &alice, "gears.pdf", "application/pdf", &file).await;
    assert_eq!((uploaded.status, uploaded.text("/status")), (202, "processing"));
    assert_eq!(world.ask(&agent, &alice, "gears").await.failure(), (503, "agent_not_ready"));
    world.service.run_due_jobs().await.unwrap();
    let done = world.read_source(&alice, &source).await;
    assert_eq!(
        (done.text("/status"), &done.body["documentCount"], &done.body["statusMessage"]),
        ("completed", &json!(1), &Value::Null)
    );
    let answer = world.ask(&agent, &alice, "How often do gears need oil?").await;
    assert_eq!(answer.text("/response"), "According to gears.pdf: Planetary gears need oil every 500 hours.");

    // The same file again is the same document, and a sync gives the same pieces.
    world.upload(&source, &alice, "gears.pdf", "application/octet-stream", &file).await;
    world.service.run_due_jobs().await.unwrap();
    let synced = world.call(Method::POST, &format!("/data-sources/{source}/sync/"), &alice, Value::Null).await;
    assert_eq!((synced.status, synced.text("/status")), (202, "pending"));
    world.service.run_due_jobs().await.unwrap();
    let again = world.ask(&agent, &alice, "How often do gears need oil?").await;
    assert_eq!(again.body["sources"], answer.body["sources"]);
    assert_eq!(world.read_source(&alice, &source).await.body["documentCount"], json!(1));

    let gone = world.call(Method::DELETE, &format!("/data-sources/{source}/"), &alice, Value::Null).await;
    assert_eq!(gone.status, 204);
    assert_eq!(world.get(&format!("/agents/{agent}/"), &alice).await.body["dataSourceCount"], json!(0));
    assert_eq!(world.ask(&agent, &alice, "How often do gears need oil?").await.body["retrievedChunks"], json!(0));
}

#[tokio::test]
async fn bad_files_are_refused_or_fail_with_a_reason_and_block_nobody() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    for (name, media_type, content) in [
        ("a.png", "image/png", &b"\x89PNG"[..]),
        ("a.pdf", "application/pdf", b"no pdf"),
        ("a", "application/octet-stream", b"text of no kind"),
        ("a.txt", "text/plain", b"\xff\xff"),
        ("a.html", "text/html", b"<p>"),
    ] {
        let refused = world.upload(&source, &alice, name, media_type, content).await;
        assert_eq!((refused.failure(), refused.text("/details/field")), ((400, "invalid_field"), "file"), "{name}");
    }
    let huge = vec![b'a'; 20 * 1024 * 1024 + 1];
    assert_eq!(world.upload(&source, &alice, "a.txt", "text/plain", huge).await.status, 400);
    let web = world.source(&alice, "web", json!({"url": "http://127.0.0.1:1/"})).await;
    let refused = world.upload(&web, &alice, "a.txt", "text/plain", "x").await;
    assert_eq!((refused.failure(), refused.text("/details/field")), ((400, "invalid_field"), "file"));

    let broken = "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 1 0 R>>endobj\ntrailer<</Root 1 0 R>>";
    assert_eq!(world.upload(&source, &alice, "bad.pdf", "application/pdf", broken).await.status, 202);
    let agent = world.agent_on(&alice, &[&source]).await;
    world.service.run_due_jobs().await.unwrap();
    let failed = world.read_source(&alice, &source).await;
    assert_eq!(
        (failed.text("/status"), failed.text("/statusMessage")),
        ("failed", "bad.pdf: the file could not be read as PDF")
    );
    assert_eq!(world.ask(&agent, &alice, "x").await.status, 200);

    assert_eq!(world.upload(&source, &alice, "good.txt", "text/plain", "Good text.").await.status, 202);
    world.service.run_due_jobs().await.unwrap();
    let partly = world.read_source(&alice, &source).await;
    assert_eq!((partly.text("/status"), &partly.body["documentCount"]), ("completed", &json!(1)));
    assert!(partly.text("/statusMessage").starts_with("bad.pdf"));
}

#[tokio::test]
async fn sources_without_a_connector_fail_and_their_secrets_are_not_kept() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    for (source_type, config, reason) in [
        (
            "postgres",
            json!({"host": "db", "password": "hunter2"}),
            "This server has no connector for postgres sources.",
        ),
        ("notion", json!({"accessToken": "hunter2"}), "This server has no connector for notion sources."),
        (
            "web",
            json!({"url": "http://127.0.0.1:1/"}),
            "Not fetched: fetching from 127.0.0.1 is not allowed by this server's configuration.",
        ),
        (
            "api",
            json!({"url": "http://127.0.0.1:1/", "headers": {"X-Key": "hunter2"}}),
            "Not fetched: fetching from 127.0.0.1 is not allowed by this server's configuration.",
        ),
        ("api", json!({}), "The data source's config has no url."),
    ] {
        let source = world.source(&alice, source_type, config).await;
        world.service.run_due_jobs().await.unwrap();
        let failed = world.read_source(&alice, &source).await;
        assert_eq!((failed.text("/status"), failed.text("/statusMessage")), ("failed", reason));
    }
    let row = sqlx::query("SELECT COUNT(*) FROM data_sources WHERE config LIKE '%hunter2%'")
        .fetch_one(world.service.store().reader())
        .await
        .unwrap();
    assert_eq!(column::<i64>(&row, 0).unwrap(), 0);
}

#[tokio::test]
async fn sources_are_fetched_where_the_operator_allows_it() {
    let start = "<p>Start. <a href='/guides/oil'>oil</a> <a href='/news/x'>x</a> <a href='http://other.test/'>o</a>";
    let site = Router::new()
        .route("/", get(async move || Html(start)))
        .route("/guides/oil", get(async || Html("<script>x</script><p>Chains need oil weekly. <a href='/deep'>d</a>")))
        .route("/deep", get(async || Html("<p>Too deep.")))
        .route("/news/x", get(async || Html("<p>Excluded.")))
        .route("/api", get(async || axum::Json(json!({"part": {"name": "Sprocket"}}))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, site).await });

    let world = World::with(|builder| builder.allowed_hosts(vec![host.clone()])).await;
    let alice = world.token("alice").await;
    let config = json!({"url": format!("http://{host}/"), "crawlDepth": 1, "excludePatterns": ["/news/*"]});
    let web = world.source(&alice, "web", config).await;
    let api = world.source(&alice, "api", json!({"url": format!("http://{host}/api")})).await;
    let missing = world.source(&alice, "web", json!({"url": format!("http://{host}/missing")})).await;
    world.service.run_due_jobs().await.unwrap();
    let crawled = world.read_source(&alice, &web).await;
    assert_eq!((crawled.text("/status"), &crawled.body["documentCount"]), ("completed", &json!(2)), "{crawled:?}");
    assert_eq!(world.read_source(&alice, &api).await.text("/status"), "completed");
    assert!(world.read_source(&alice, &missing).await.text("/statusMessage").contains("404"));
    let agent = world.agent_on(&alice, &[&web, &api]).await;
    let answer = world.ask(&agent, &alice, "When do chains need oil?").await;
    assert_eq!(answer.text("/sources/0/sourceUrl"), format!("http://{host}/guides/oil"));
    let answer = world.ask(&agent, &alice, "sprocket").await;
    assert!(answer.text("/response").contains("part name: Sprocket"), "{answer:?}");
}

#[tokio::test]
async fn processing_that_a_crash_interrupted_is_taken_up_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/x.db", folder.path().display());
    let world = World::with(|builder| builder.database(&url)).await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    world.upload(&source, &alice, "a.md", "text/markdown", "# Springs\n\nSprings last.").await;
    // What a server leaves behind that dies in the middle of the job.
    sqlx::query("UPDATE jobs SET state = 'running', attempts = 1")
        .execute(world.service.store().reader())
        .await
        .unwrap();
    drop(world);

    let world = World::with(|builder| builder.database(&url)).await;
    world.service.run_due_jobs().await.unwrap();
    assert_eq!(world.read_source(&alice, &source).await.text("/status"), "processing");
    let workers = world.service.start_workers().await.unwrap();
    for _ in 0..1_000 {
        if world.read_source(&alice, &source).await.body["status"] != "processing" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let done = world.read_source(&alice, &source).await;
    assert_eq!((done.text("/status"), &done.body["documentCount"]), ("completed", &json!(1)));
    workers.stop().await;
    world.service.store().close().await;
}

#[tokio::test]
async fn a_job_that_keeps_killing_the_server_is_given_up() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    // Three starts that never came to an end.
    sqlx::query("UPDATE jobs SET attempts = 3").execute(world.service.store().reader()).await.unwrap();
    world.service.run_due_jobs().await.unwrap();
    let failed = world.read_source(&alice, &source).await;
    assert_eq!(failed.text("/status"), "failed");
    assert!(failed.text("/statusMessage").contains("interrupted several times"));
    world.call(Method::POST, &format!("/data-sources/{source}/sync/"), &alice, Value::Null).await;
    world.service.run_due_jobs().await.unwrap();
    assert_eq!(world.read_source(&alice, &source).await.text("/status"), "completed");
}

/// PDFs are read by the server program itself in a child process, which a hostile file may kill.
#[tokio::test]
async fn pdfs_are_read_in_a_process_of_their_own() {
    let reader = |arguments: &[&str]| PdfReader::Child {
        program: env!("CARGO_BIN_EXE_trueline-server").into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
    };
    let world = World::with(|builder| builder.pdf_reader(reader(&["read-pdf"]))).await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    world.upload(&source, &alice, "a.pdf", "application/pdf", pdf("Gears need oil.")).await;
    // Thousands of open brackets: a recursive reader runs out of stack on them.
    let deep = format!("%PDF-1.4\n1 0 obj\n{}\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF", "[".repeat(500_000));
    world.upload(&source, &alice, "deep.pdf", "application/pdf", deep).await;
    world.service.run_due_jobs().await.unwrap();
    let partly = world.read_source(&alice, &source).await;
    assert_eq!(
        (partly.text("/status"), partly.text("/statusMessage")),
        ("completed", "deep.pdf: the file could not be read as PDF")
    );

    let world = World::with(|builder| builder.pdf_reader(reader(&["no-such-command"]))).await;
    let alice = world.token("alice").await;
    let source = world.source(&alice, "pdf", json!({})).await;
    world.upload(&source, &alice, "a.pdf", "application/pdf", pdf("Gears need oil.")).await;
    world.service.run_due_jobs().await.unwrap();
    assert_eq!(world.read_source(&alice, &source).await.text("/status"), "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_writers_on_a_file_meet_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/x.db", folder.path().display());
    let world = World::with(|builder| {
        builder.database(url).limits([("authenticated".to_owned(), 1_000_000), ("anonymous".to_owned(), 1_000_000)])
    })
    .await;
    let alice = world.token("alice").await;
    let world = std::sync::Arc::new(world);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (world, alice) = (world.clone(), alice.clone());
        writers.spawn(async move {
            for _ in 0..3 {
                world.agent_on(&alice, &[]).await;
                assert_eq!(world.get("/data-sources/", &alice).await.status, 200);
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(world.get("/agents/", &alice).await.body.as_array().unwrap().len(), 601);
}

#[tokio::test]
async fn seeding_again_restores_the_start_and_changes_no_credential() {
    let world = World::new().await;
    let alice = world.token("alice").await;
    let a = &world.demo.organizations["a"];
    for path in [format!("/agents/{}/", a.agent), format!("/data-sources/{}/", a.data_source)] {
        assert_eq!(world.call(Method::DELETE, &path, &alice, Value::Null).await.status, 204);
    }
    let again = trueline_server::ragchats::demo::seed(&world.service).await.unwrap();
    let credentials = |demo: &trueline_server::ragchats::demo::Demo| {
        (demo.users["alice"].password.clone(), demo.agent_keys.good.clone(), demo.agent_keys.revoked.clone())
    };
    assert_eq!(credentials(&again), credentials(&world.demo));
    assert_eq!(world.ask(&world.agent("a"), &again.agent_keys.good, "warranty").await.status, 200);
    assert_eq!(world.log_in("alice").await.status, 200);
}
