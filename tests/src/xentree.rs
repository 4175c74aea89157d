//! The xentree service in this process, with its demonstration as a profile.

use axum::middleware;
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::tokens::PasswordCost;
use trueline_server::xentree::{Service, demo};
use trueline_spec::Contract;

use crate::{START_MS, peer_address};

/// A running service and what the harness needs for it.
pub struct Xentree {
    /// The target.
    pub target: InProcessTarget,
    /// Who the harness may act as.
    pub profile: Profile,
}

/// Starts a service in this process, on a clock of its own.
pub async fn xentree() -> Result<Xentree, Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(START_MS);
    let service = Service::builder().clock(clock.clock()).password_cost(PasswordCost::CHEAPEST).build().await?;
    let demo = demo::seed(&service).await?;
    let workers = service.start_workers().await?;
    // They live as long as the test's process; nothing of a service in memory is worth stopping for.
    std::mem::forget(workers);
    let profile = Profile::parse(&demo.profile("http://in-process"))?;
    let router = observe(service.router(), Vec::new()).layer(middleware::from_fn(peer_address));
    let hands = clock.clone();
    let target = InProcessTarget::new(router).with_clock(move || hands.now_ms(), move |by| clock.advance(by));
    Ok(Xentree { target, profile })
}

/// The suite for the contract, with a service's profile.
pub fn suite(profile: Profile) -> Result<Suite, Box<dyn std::error::Error>> {
    Ok(Suite::new(Contract::builtin("xentree")?).profile(profile))
}
