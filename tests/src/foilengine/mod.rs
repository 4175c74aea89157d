//! The foilengine service in this process, with a seeded fault or without.

pub mod faults;

use axum::middleware;
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_server::foilengine::demo::{self, Demo};
use trueline_server::foilengine::{Builder, Service};
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_spec::Contract;

use self::faults::{Fault, How};
use crate::{START_MS, peer_address};

/// A running service and what the harness needs for it.
pub struct Running {
    /// The target.
    pub target: InProcessTarget,
    /// Who the harness may act as.
    pub profile: Profile,
    /// Who lives in the demonstration.
    pub demo: Demo,
    /// The service itself.
    pub service: Service,
}

/// Starts a service in this process, on a clock of its own, with a fault or without.
pub async fn start(fault: Option<Fault>) -> Result<Running, Box<dyn std::error::Error>> {
    start_with(Service::builder(), fault).await
}

/// The same from a builder that was prepared otherwise.
pub async fn start_with(builder: Builder, fault: Option<Fault>) -> Result<Running, Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(START_MS);
    let mut builder = builder.clock(clock.clock());
    if let Some(Fault { how: How::Limit(class, limit), .. }) = fault {
        builder = builder.limits([(class.to_owned(), limit)]);
    }
    let service = builder.build().await?;
    let demo = demo::seed(&service).await?;
    let profile = Profile::parse(&demo.profile("http://in-process"))?;
    let mut router = observe(service.router(), Vec::new()).layer(middleware::from_fn(peer_address));
    if let Some(fault) = fault {
        router = faults::wrap(router, fault, &demo);
    }
    let hands = clock.clone();
    let target = InProcessTarget::new(router).with_clock(move || hands.now_ms(), move |by| clock.advance(by));
    Ok(Running { target, profile, demo, service })
}

/// The suite for the contract, with a service's profile.
pub fn suite(profile: Profile) -> Result<Suite, Box<dyn std::error::Error>> {
    Ok(Suite::new(Contract::builtin("foilengine")?).profile(profile))
}
