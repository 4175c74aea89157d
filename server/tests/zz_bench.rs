mod common;
use common::World;
fn cpu() -> u64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.split(' ').collect(); (f[13].parse::<u64>().unwrap() + f[14].parse::<u64>().unwrap()) * 10 }
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zz_bench() {
    let folder = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
    for url in [format!("sqlite://{}/x.db", folder.path().display()), "sqlite::memory:".into()] {
    let world = std::sync::Arc::new(World::with(|b| b.database(url.clone()).limits([("authenticated".to_owned(), 1_000_000_000), ("agent-query".to_owned(), 1_000_000_000)])).await);
    let alice = world.token("alice").await;
    world.source(&alice, "pdf", serde_json::json!({})).await;
    for (what, n) in [("list agents", 8000u64), ("get agent", 8000), ("create source", 2000), ("ask", 1000)] {
        for tasks in [1u64, 32] {
            let (t, c) = (std::time::Instant::now(), cpu());
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..tasks { let (world, alice) = (world.clone(), alice.clone()); let agent = world.agent("a"); set.spawn(async move { for _ in 0..n / tasks { 
                match what {
                  "list agents" => assert_eq!(world.get("/agents/", &alice).await.status, 200),
                  "get agent" => assert_eq!(world.get(&format!("/agents/{agent}/"), &alice).await.status, 200),
                  "create source" => { world.source(&alice, "pdf", serde_json::json!({})).await; }
                  _ => assert_eq!(world.ask(&agent, &alice, "How long is the warranty?").await.status, 200),
                }
            } }); }
            while let Some(r) = set.join_next().await { r.unwrap(); }
            eprintln!("{} {what} x{tasks}: {:.1} us wall/op, {} us cpu/op", &url[..12], t.elapsed().as_secs_f64() * 1e6 / n as f64, (cpu() - c) * 1000 / n);
        }
    }
    }
}
