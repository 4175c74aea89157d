//! Rate classes and quotas.

use super::*;

pub(super) const FAULTS: &[Fault] = &[
    // limit
    Fault {
        name: "failures-without-limit-headers",
        check: "limit.headers",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status.is_client_error() {
                outgoing.parts.headers.remove(REMAINING);
            }
        }),
    },
    Fault {
        name: "limit-header-doubled",
        check: "limit.value",
        how: How::Response(|_, outgoing, _| {
            if let Some(limit) = outgoing.number(LIMIT) {
                outgoing.set(LIMIT, limit * 2);
            }
        }),
    },
    Fault {
        name: "counts-twice",
        check: "limit.countdown",
        how: How::Response(|_, outgoing, _| {
            if let (Some(limit), Some(remaining)) = (outgoing.number(LIMIT), outgoing.number(REMAINING)) {
                outgoing.set(REMAINING, (limit - 2 * (limit - remaining)).max(0));
            }
        }),
    },
    Fault {
        name: "something-left-on-a-refusal",
        check: "limit.countdown",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                outgoing.set(REMAINING, 1);
            }
        }),
    },
    Fault {
        name: "reset-in-milliseconds",
        check: "limit.reset",
        how: How::Response(|_, outgoing, _| {
            if let Some(reset) = outgoing.number(RESET) {
                outgoing.set(RESET, reset * 1000);
            }
        }),
    },
    Fault {
        name: "reset-as-a-span",
        check: "limit.reset",
        how: How::Response(|_, outgoing, _| outgoing.set(RESET, 1800)),
    },
    Fault { name: "one-query-too-many", check: "limit.enforced", how: How::Limit("agent-query", 61) },
    Fault { name: "refuses-one-early", check: "limit.enforced", how: How::Limit("authenticated", 999) },
    Fault {
        name: "one-operation-not-limited",
        check: "limit.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/analytics/") && outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                outgoing.parts.status = StatusCode::NOT_FOUND;
                outgoing.change(|body| {
                    *body = json!({"error": "agent_not_found", "message": "seeded", "details": {"agent_id": "x"}});
                });
            }
        }),
    },
    Fault {
        name: "no-wait-in-the-body",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                body["details"].as_object_mut().map(|details| details.remove("retry_after"));
            });
        }),
    },
    Fault {
        name: "wait-too-short",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                let wait = body["details"]["retry_after"].as_i64().unwrap_or(2);
                body["details"]["retry_after"] = json!((wait / 2).max(1));
            });
        }),
    },
    Fault {
        name: "users-share-a-counter",
        check: "limit.isolated",
        how: How::Answer(|incoming, memory| {
            let limited = !memory.seen().limited.is_empty()
                && incoming.bearer() == memory.token_of("dora@demo.example.com").as_deref()
                && incoming.bearer().is_some();
            let details = json!({"retry_after": 1800, "limit": 1000, "window": "hour"});
            limited.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", details))
        }),
    },
    Fault {
        name: "window-never-ends",
        check: "limit.recovers",
        how: How::Answer(|incoming, memory| {
            let limited = !memory.seen().limited.is_empty()
                && incoming.bearer().is_some()
                && incoming.bearer() == memory.token_of("dave@demo.example.com").as_deref();
            let details = json!({"retry_after": 1800, "limit": 1000, "window": "hour"});
            limited.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", details))
        }),
    },
    Fault {
        name: "limited-told-as-quota",
        check: "limit.envelope",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                body["error"] = json!("quota_exceeded");
                body["details"] =
                    json!({"limit": 60, "used": 60, "window": "month", "reset_at": "2026-02-01T00:00:00Z"});
            });
        }),
    },
    Fault {
        name: "quota-one-too-many",
        check: "quota.enforced",
        how: How::Promise(|profile| {
            for principal in profile.principals.values_mut() {
                principal.quotas.values_mut().for_each(|limit| *limit -= 1);
            }
        }),
    },
    Fault {
        name: "quota-never-starts-again",
        check: "quota.enforced",
        how: How::Answer(|incoming, memory| {
            let erin = memory.token_of("erin@demo.example.com");
            let over = memory.seen().over_quota && incoming.is_query() && incoming.bearer() == erin.as_deref();
            let details = json!({"limit": 5, "used": 5, "window": "month", "reset_at": "2026-02-01T00:00:00Z"});
            over.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", details))
        }),
    },
];
