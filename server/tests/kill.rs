//! `kill -9` in the middle of writes: whatever was acknowledged is there after a restart.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

const ROUNDS: usize = 20;
const WRITES: usize = 1_000;
const CLIENTS: usize = 32;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let ready = folder.join("ready");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(env!("CARGO_BIN_EXE_trueline-server"))
            .args(["serve", "--contract", "ragchats", "--listen", "127.0.0.1:0", "--log", "warn", "--demo-data"])
            .args(["--limit", "authenticated=1000000000", "--limit", "anonymous=1000000000"])
            .arg("--data-dir")
            .arg(folder)
            .arg("--ready-file")
            .arg(&ready)
            .arg("--demo-file")
            .arg(folder.join("demo.json"))
            .env("TRUELINE_AUTH__PASSWORD__MEMORY_KIB", "8")
            .env("TRUELINE_AUTH__PASSWORD__PASSES", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = Instant::now();
        loop {
            if let Ok(url) = std::fs::read_to_string(&ready) {
                return Self { child, url: url.trim().to_owned() };
            }
            assert!(started.elapsed() < Duration::from_secs(60), "the server did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn log_in(&self, client: &reqwest::Client, demo: &Value) -> String {
        let alice = &demo["users"]["alice"];
        let body = json!({"email": alice["email"], "password": alice["password"]});
        let answer = client.post(format!("{}/auth/login/", self.url)).json(&body).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        answer["access"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashSet<String> = HashSet::new();
    let mut server = Server::start(folder.path()).await;
    let mut cut = 0;
    for round in 0..2 * ROUNDS {
        if cut == ROUNDS {
            break;
        }
        let demo: Value = serde_json::from_slice(&std::fs::read(folder.path().join("demo.json")).unwrap()).unwrap();
        let client = reqwest::Client::new();
        let token = server.log_in(&client, &demo).await;
        let organization = demo["organizations"]["a"]["id"].as_str().unwrap().to_owned();
        let next = Arc::new(AtomicUsize::new(0));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let (client, token, organization) = (client.clone(), token.clone(), organization.clone());
            let (next, answered) = (Arc::clone(&next), Arc::clone(&answered));
            let url = format!("{}/agents/", server.url);
            clients.spawn(async move {
                let mut kept = Vec::new();
                while next.fetch_add(1, Ordering::SeqCst) < WRITES {
                    let body = json!({"name": "written", "organizationId": organization});
                    // The server's death is the point; what was answered before it counts.
                    let Ok(answer) = client.post(&url).bearer_auth(&token).json(&body).send().await else { break };
                    assert_eq!(answer.status(), 201);
                    let Ok(agent) = answer.json::<Value>().await else { break };
                    answered.fetch_add(1, Ordering::SeqCst);
                    kept.push(agent["id"].as_str().unwrap().to_owned());
                }
                kept
            });
        }
        // Another moment each round, always with most of the writes still to come or under way.
        let moment = 50 + (round % ROUNDS) * 40;
        while answered.load(Ordering::SeqCst) < moment {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // SIGKILL: no handler runs, no buffer is flushed.
        server.child.kill().await.unwrap();
        let before = acknowledged.len();
        while let Some(kept) = clients.join_next().await {
            acknowledged.extend(kept.unwrap());
        }
        let written = acknowledged.len() - before;
        assert!(written >= moment);
        // On a busy machine the last write may have been answered before the signal was sent.
        cut += usize::from(written < WRITES);

        server = Server::start(folder.path()).await;
        let token = server.log_in(&client, &demo).await;
        let list = client.get(format!("{}/agents/", server.url)).bearer_auth(&token).send().await.unwrap();
        let list: Vec<Value> = list.error_for_status().unwrap().json().await.unwrap();
        let there: HashSet<&str> = list.iter().filter_map(|agent| agent["id"].as_str()).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|id| !there.contains(id.as_str())).collect();
        assert!(lost.is_empty(), "round {round}: {} acknowledged writes are lost", lost.len());
    }
    assert_eq!(cut, ROUNDS, "too few rounds were cut in the middle");
}
