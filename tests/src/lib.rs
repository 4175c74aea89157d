//! What the tests across crates share: a reference service in this process, its demonstration as a profile, and seeded
//! faults around it.

pub mod depot;
pub mod faults;
pub mod foilengine;
pub mod smartsbio;
pub mod xentree;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::{Connection, HttpOptions, HttpTarget, InProcessTarget, PeerAddress};
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::serve;
use trueline_server::platform::tokens::PasswordCost;
use trueline_server::ragchats::{Service, demo};
use trueline_spec::Contract;

use crate::faults::{Fault, How, Keys};

/// 2026-01-10T12:00:00Z: in the middle of a month, so that quotas and windows have room on both sides.
pub(crate) const START_MS: i64 = 1_768_046_400_000;

/// A running service and what the harness needs for it.
pub struct Ragchats<T = InProcessTarget> {
    /// The target.
    pub target: T,
    /// Who the harness may act as.
    pub profile: Profile,
}

/// Starts a service in this process, on a clock of its own, with a fault or without.
pub async fn ragchats(fault: Option<Fault>) -> Result<Ragchats, Box<dyn std::error::Error>> {
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
        router = faults::wrap(
            router,
            fault,
            Keys { good: demo.agent_keys.good.clone(), revoked: demo.agent_keys.revoked.clone() },
        );
    }
    let hands = clock.clone();
    let target = InProcessTarget::new(router).with_clock(move || hands.now_ms(), move |by| clock.advance(by));
    Ok(Ragchats { target, profile })
}

/// Starts a service behind a listener of this process, on the machine's clock.
pub async fn ragchats_over_tcp() -> Result<Ragchats<HttpTarget>, Box<dyn std::error::Error>> {
    let service = Service::builder().password_cost(PasswordCost::CHEAPEST).build().await?;
    let demo = demo::seed(&service).await?;
    std::mem::forget(service.start_workers().await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = serve::base_url(listener.local_addr()?, "");
    let profile = Profile::parse(&demo.profile(&base_url))?;
    let router = observe(service.router(), Vec::new());
    tokio::spawn(serve::serve(listener, router, std::future::pending(), Duration::ZERO));
    let options = HttpOptions {
        base_url,
        timeout: Duration::from_secs(30),
        addresses: profile.addresses.clone(),
        connection: Connection::default(),
    };
    Ok(Ragchats { target: HttpTarget::new(options)?, profile })
}

/// The suite for the contract, with a service's profile.
pub fn suite(profile: Profile) -> Result<Suite, Box<dyn std::error::Error>> {
    Ok(Suite::new(Contract::builtin("ragchats")?).profile(profile))
}

/// The harness says where a caller is as [`PeerAddress`]; a listener would say it as [`ConnectInfo`].
pub(crate) async fn peer_address(mut request: Request, next: Next) -> Response {
    if let Some(PeerAddress(address)) = request.extensions().get().copied() {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 0))));
    }
    next.run(request).await
}
