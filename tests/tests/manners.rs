//! On somebody else's system: what a run makes it removes, what it may not touch it leaves alone, and it waits when told.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use trueline_conformance::case::Phase;
use trueline_conformance::event::Event;
use trueline_conformance::plan::{Filter, PlanOptions};
use trueline_conformance::profile::{Profile, Safety};
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::subject::Subject;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::{Connection, HttpOptions, HttpTarget, InProcessTarget};
use trueline_spec::Contract;
use trueline_tests::depot::{DOCUMENT, Depot, profile, said};

fn suite(profile: Profile) -> Suite {
    Suite::new(Contract::from_text("depot.yaml", DOCUMENT).unwrap()).profile(profile)
}

/// A depot on a port of its own.
async fn served(depot: &Depot) -> HttpTarget {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let router = depot.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let timeout = std::time::Duration::from_secs(30);
    HttpTarget::new(HttpOptions { base_url, timeout, addresses: Vec::new(), connection: Connection::default() })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_makes_is_gone_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.ndjson");
    let depot = Depot::new("");
    let options = RunOptions { journal: Some(journal.clone()), ..RunOptions::default() };
    let target = InProcessTarget::new(depot.router());
    let report = suite(profile().unwrap()).options(options).run(target).await.unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    assert_eq!(depot.left(), 0);
    let text = std::fs::read_to_string(journal).unwrap();
    let count = |what: &str| text.lines().filter(|line| line.starts_with(&format!("{{\"{what}\""))).count();
    assert!(count("made") > 100, "{} made", count("made"));
    assert_eq!(count("made"), count("gone"));
    // Nothing that opens anything stands in the file.
    assert!(!text.contains("session-") && !text.contains("nora-knows"), "a credential is in the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_leaves_is_removed_later_by_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.ndjson");
    let depot = Depot::new("");
    let options = RunOptions { journal: Some(journal.clone()), clean_up: false, ..RunOptions::default() };
    suite(profile().unwrap()).options(options).run(InProcessTarget::new(depot.router())).await.unwrap();
    let left = depot.left();
    assert!(left > 20, "{left} left");
    let subject = Arc::new(Subject::new(Arc::new(Contract::from_text("depot.yaml", DOCUMENT).unwrap())));
    let clean = async || {
        let target = Arc::new(InProcessTarget::new(depot.router()));
        let profile = Arc::new(profile().unwrap());
        run::clean_up(Arc::clone(&subject), profile, target, RunOptions::default(), &journal).await.unwrap()
    };
    let first = clean().await;
    assert!(first.left.is_empty(), "{first:?}");
    assert_eq!(depot.left(), 0);
    // The journal knows by now.
    assert_eq!(clean().await.removed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_cleans_up_too() {
    let depot = Depot::new("");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let options = RunOptions { stop: stopped, ..RunOptions::default() };
    let mut seen = 0;
    let report = suite(profile().unwrap())
        .options(options)
        .run_watched(InProcessTarget::new(depot.router()), |event| {
            seen += u32::from(matches!(event, Event::CaseFinished { .. }));
            if seen == 150 {
                stop.send_replace(true);
            }
        })
        .await
        .unwrap();
    assert!(report.interrupted.is_some());
    assert_eq!(depot.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_sends_nothing_but_looks() {
    let depot = Depot::new("");
    let plan = PlanOptions { safety: Some(Safety::Observe), ..PlanOptions::default() };
    let report = suite(profile().unwrap()).plan(plan).run(InProcessTarget::new(depot.router())).await.unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    let methods = depot.methods();
    let looks = |one: &String| one.starts_with("GET ") || one.starts_with("HEAD ") || one == "POST login";
    assert!(methods.iter().all(looks), "{methods:?}");
    assert_eq!(depot.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_is_not_sent() {
    let contract = Contract::from_text("depot.yaml", DOCUMENT).unwrap();
    let exclude = vec![
        Filter::parse("tag:Tokens", &contract).unwrap(),
        Filter::parse("tag:Lockers", &contract).unwrap(),
        Filter::parse("tag:Prices", &contract).unwrap(),
        Filter::parse("id:getSite", &contract).unwrap(),
        Filter::parse("path:/parcels/*/events*", &contract).unwrap(),
    ];
    let plan = PlanOptions { exclude, ..PlanOptions::default() };
    let report = suite(profile().unwrap()).plan(plan).run(InProcessTarget::new(Depot::new("").router())).await.unwrap();
    let asked: Vec<&str> = report
        .operations
        .iter()
        .filter(|one| one.statuses.values().any(|count| *count > 0))
        .map(|one| one.id.as_str())
        .collect();
    // Whoever logs in does so although it is excluded: the run needs it.
    assert_eq!(asked, ["listParcels", "createParcel", "getParcel", "replaceParcel", "deleteParcel", "changeParcel"]);
}

#[test]
fn a_filter_that_picks_nothing_names_the_nearest() {
    let contract = Contract::from_text("depot.yaml", DOCUMENT).unwrap();
    let refused = |text: &str| Filter::parse(text, &contract).unwrap_err();
    insta::assert_snapshot!(
        ["creatParcel", "tag:Parcel", "method:HEAD", "pth:/parcels", "path:/parcel"].map(refused).join("\n"),
        @r"
    `creatParcel` picks no operation of the contract `depot`; did you mean `createParcel`?
    `tag:Parcel` picks no operation of the contract `depot`; did you mean `Parcels`?
    `method:HEAD` picks no operation of the contract `depot`; there are DELETE, GET, PATCH, POST, PUT
    `pth:` is not one of id, tag, path, method, effect; did you mean `path:`?
    `path:/parcel` picks no operation of the contract `depot`; did you mean `/parcels`?
    "
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_waited_for() {
    let depot = Depot::new("busy");
    let target = served(&depot).await;
    let report = suite(profile().unwrap()).run(target).await.unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    assert!(report.flaky.is_empty(), "{:#?}", report.flaky);
    let limited: u64 = report.operations.iter().filter_map(|one| one.statuses.get(&429)).sum();
    assert_eq!(limited, 0, "a request that was sent away was not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrecked_connections_leave_a_healthy_service_quiet() {
    let depot = Depot::new("");
    let target = served(&depot).await;
    let mut wrecks = 0;
    let report = suite(profile().unwrap())
        .run_watched(target, |event| {
            if let Event::CaseFinished { id, .. } = event {
                wrecks += u32::from(id.contains("/wire/"));
            }
        })
        .await
        .unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    assert!(wrecks >= 11, "{wrecks} wrecks");
    assert_eq!(depot.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_kills_the_credential_is_named_and_harms_nobody() {
    let mut profile = profile().unwrap();
    profile.principals.get_mut("nora").unwrap().mint = None;
    let depot = Depot::new("making-a-token-ends-the-session");
    let report = suite(profile).run(InProcessTarget::new(depot.router())).await.unwrap();
    let killed =
        report.notes.iter().filter(|note| note.contains("died: createToken") && note.contains("logged in again"));
    assert!(killed.count() > 0, "{:#?}", report.notes);
    // Revoking a token needs one, and making it is what kills.
    let tokens = |id: &String| id == "createToken" || id == "revokeToken";
    let blind: Vec<_> = report.findings.iter().filter(|finding| !finding.operations.iter().all(tokens)).collect();
    assert!(blind.is_empty(), "{}", said(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_takes_a_session_of_its_own() {
    let profile = profile().unwrap();
    let report = suite(profile).run(InProcessTarget::new(Depot::new("").router())).await.unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    assert!(!report.notes.iter().any(|note| note.contains("died")), "{:#?}", report.notes);
    let log_out = report.operations.iter().find(|one| one.id == "logOut").unwrap();
    assert!(log_out.statuses.contains_key(&204), "{:?}", log_out.statuses);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_principal_is_proved_before_a_run() {
    let mut profile = profile().unwrap();
    profile.principals.get_mut("sara").unwrap().credential = Some("nobody-has-this-one".to_owned());
    let subject = Arc::new(Subject::new(Arc::new(Contract::from_text("depot.yaml", DOCUMENT).unwrap())));
    let target = Arc::new(InProcessTarget::new(Depot::new("").router()));
    let outcomes = run::login_check(subject, Arc::new(profile), target, RunOptions::default()).await;
    let said: Vec<String> = outcomes.iter().map(|(name, outcome)| format!("{name}: {outcome:?}")).collect();
    let (failed, rest): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.contains("Err"));
    assert_eq!(failed, ["sara: Err(\"listParcels answered 401\")"]);
    for line in [
        "ned: Ok(\"listParcels answered 200\")",
        "nora: Ok(\"listParcels answered 200\")",
        "paul: Ok(\"listLockers answered 200\")",
    ] {
        assert!(rest.iter().any(|one| *one == line), "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_cannot_be_had_again_is_not_logged_out() {
    let mut profile = profile().unwrap();
    profile.principals.shift_remove("nora");
    let report = suite(profile).run(InProcessTarget::new(Depot::new("").router())).await.unwrap();
    assert!(report.findings.is_empty(), "{}", said(&report));
    assert!(!report.notes.iter().any(|note| note.contains("died")), "{:#?}", report.notes);
    let reason = report.ledger.iter().find(|entry| entry.clause == "logOut/204").and_then(|entry| entry.reason.clone());
    assert_eq!(reason.as_deref(), Some("it would end a credential that the profile knows no login for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_counter_is_used_up_whose_end_nobody_waits_for() {
    let plan = PlanOptions { phases: vec![Phase::Limits], ..PlanOptions::default() };
    let depot = Depot::new("quotes-count-twice");
    let report = suite(profile().unwrap()).plan(plan).run(InProcessTarget::new(depot.router())).await.unwrap();
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(found, ["limit.countdown"], "{}", said(&report));
    let quotes = report.operations.iter().find(|one| one.id == "getQuote").unwrap();
    assert!(quotes.statuses.keys().all(|status| *status == 200), "{:?}", quotes.statuses);
}
