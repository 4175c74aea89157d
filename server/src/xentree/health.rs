//! Whether the service is up — documentation section "Health".

use std::collections::BTreeMap;
use std::time::Instant;

use contract_xentree::server::{
    DetailedHealthCheckError, DetailedHealthCheckRequest, DetailedHealthCheckResponse, Health, HealthCheckError,
    HealthCheckRequest, HealthCheckResponse,
};
use contract_xentree::types::{
    HealthCheckItem, HealthCheckItemStatus, HealthDetailedResponse, HealthDetailedResponseStatus, HealthResponse,
    HealthResponseStatus,
};
use trueline_runtime::Patch;

use super::Service;
use super::access::{Principal, nullable};
use crate::platform::clock::to_datetime;

impl Health for Service {
    type Principal = Principal;

    /// Asks nothing behind this process, so that a slow database does not get a service restarted that could do nothing
    /// about it.
    async fn health_check(&self, _request: HealthCheckRequest) -> Result<HealthCheckResponse, HealthCheckError> {
        Ok(HealthCheckResponse::Ok(HealthResponse {
            status: HealthResponseStatus::Ok,
            timestamp: Some(to_datetime(self.0.clock.now_ms())),
        }))
    }

    async fn detailed_health_check(
        &self,
        _caller: &Principal,
        _request: DetailedHealthCheckRequest,
    ) -> Result<DetailedHealthCheckResponse, DetailedHealthCheckError> {
        let mut checks = BTreeMap::new();
        let started = Instant::now();
        let store = self.0.store.ping().await.map(|()| None).map_err(|error| error.to_string());
        checks.insert("store".to_owned(), item(started, store));
        let started = Instant::now();
        let sealed = self.0.seal.close("health", b"health").and_then(|sealed| self.0.seal.open("health", &sealed));
        checks.insert("seal".to_owned(), item(started, sealed.map(|_| None).map_err(|error| error.to_string())));
        let started = Instant::now();
        let counters = format!("{} counters", self.0.limiter.keys());
        checks.insert("limiter".to_owned(), item(started, Ok(Some(counters))));
        let all = checks.values().all(|check| check.status == HealthCheckItemStatus::Ok);
        let uptime = self.0.clock.now_ms().saturating_sub(self.0.started_ms).div_euclid(1000);
        Ok(DetailedHealthCheckResponse::Ok(HealthDetailedResponse {
            status: if all { HealthDetailedResponseStatus::Ok } else { HealthDetailedResponseStatus::Degraded },
            version: Patch::Value(env!("CARGO_PKG_VERSION").to_owned()),
            uptime_seconds: Patch::Value(uptime.max(0)),
            checks,
        }))
    }
}

/// A part's state. What is wrong with it is for the log: the caller may be anybody with a key.
fn item(started: Instant, state: Result<Option<String>, String>) -> HealthCheckItem {
    let latency_ms = Patch::Value(started.elapsed().as_secs_f64() * 1000.0);
    match state {
        Ok(note) => HealthCheckItem { status: HealthCheckItemStatus::Ok, latency_ms, detail: nullable(note) },
        Err(error) => {
            tracing::error!(error, "a part of the service has failed");
            let detail = Patch::Value("does not answer".to_owned());
            HealthCheckItem { status: HealthCheckItemStatus::Error, latency_ms, detail }
        }
    }
}
