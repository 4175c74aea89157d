//! The xentree service in this process, with its demonstration as a profile.

use axum::middleware;
use trueline_conformance::case::Phase;
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::tokens::PasswordCost;
use trueline_server::xentree::{Service, demo};
use trueline_spec::Contract;

use crate::faults::{self as seeded, Fault, How, Keys, accounts, learning};
use crate::{START_MS, peer_address};

/// A running service and what the harness needs for it.
pub struct Xentree {
    /// The target.
    pub target: InProcessTarget,
    /// Who the harness may act as.
    pub profile: Profile,
}

/// Every fault that can be seeded into it, section by section.
pub fn faults() -> Vec<Fault> {
    [accounts::FAULTS, learning::FAULTS].concat()
}

/// Starts a service in this process, on a clock of its own, with a fault or without.
pub async fn xentree(fault: Option<Fault>) -> Result<Xentree, Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(START_MS);
    let mut builder = Service::builder().clock(clock.clock()).password_cost(PasswordCost::CHEAPEST);
    if let Some(Fault { how: How::Limit(class, limit), .. }) = fault {
        builder = builder.limits([(class.to_owned(), limit)]);
    }
    let service = builder.build().await?;
    let demo = demo::seed(&service).await?;
    let workers = service.start_workers().await?;
    // They live as long as the test's process; nothing of a service in memory is worth stopping for.
    std::mem::forget(workers);
    let mut profile = Profile::parse(&demo.profile("http://in-process"))?;
    let mut router = observe(service.router(), Vec::new()).layer(middleware::from_fn(peer_address));
    if let Some(fault) = fault {
        if let How::Promise(change) = fault.how {
            change(&mut profile);
        }
        let key = |label: &str| demo.keys.get(label).map(|key| key.key.clone()).unwrap_or_default();
        router = seeded::wrap(router, fault, Keys { good: key("all"), revoked: key("expired") });
    }
    let hands = clock.clone();
    let target = InProcessTarget::new(router).with_clock(move || hands.now_ms(), move |by| clock.advance(by));
    Ok(Xentree { target, profile })
}

/// The suite for the contract, with a service's profile.
pub fn suite(profile: Profile) -> Result<Suite, Box<dyn std::error::Error>> {
    Ok(Suite::new(Contract::builtin("xentree")?).profile(profile))
}

/// The same with no more phases and operations than a fault needs to show itself: sixty faults take a while.
pub fn suite_for(profile: Profile, fault: &Fault) -> Result<Suite, Box<dyn std::error::Error>> {
    let phases = match fault.check.split('.').next().unwrap_or_default() {
        "auth" | "scope" | "tenancy" => vec![Phase::Access],
        "limit" | "quota" => vec![Phase::Limits],
        "state" | "secret" | "time" => vec![Phase::Examples, Phase::Stateful],
        "error" => vec![Phase::Examples, Phase::Boundary, Phase::Access],
        "method" => vec![Phase::Hostile],
        _ => vec![Phase::Examples, Phase::Boundary],
    };
    let operations = accounts::operations(fault.name).iter().chain(learning::operations(fault.name));
    let operations = operations.map(|id| (*id).to_owned()).collect();
    let plan = PlanOptions { phases, operations, ..PlanOptions::default() };
    Ok(Suite::new(Contract::builtin("xentree")?).plan(plan).profile(profile))
}
