//! The smartsbio service in this process, its demonstration as a profile, and seeded faults around it.

use axum::middleware;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::smartsbio::{Service, demo};
use trueline_spec::Contract;

use crate::faults::{Fault, How, Incoming, Keys, Outgoing, wrap};
use crate::{START_MS, peer_address};

/// A running service and what the harness needs for it.
pub struct Smartsbio {
    /// The target.
    pub target: InProcessTarget,
    /// Who the harness may act as.
    pub profile: Profile,
}

/// Starts a service in this process, on a clock of its own, with a fault or without.
pub async fn smartsbio(fault: Option<Fault>) -> Result<Smartsbio, Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(START_MS);
    let mut builder = Service::builder().clock(clock.clock());
    if let Some(Fault { how: How::Limit(class, limit), .. }) = fault {
        builder = builder.limits([(class.to_owned(), limit)]);
    }
    let service = builder.build().await?;
    service.reached_at("http://in-process");
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
        let key = |name: &str| demo.keys.get(name).map(|key| key.key.clone()).unwrap_or_default();
        router = wrap(router, fault, Keys { good: key("bearer-01"), revoked: key("revoked") });
    }
    let hands = clock.clone();
    let target = InProcessTarget::new(router).with_clock(move || hands.now_ms(), move |by| clock.advance(by));
    Ok(Smartsbio { target, profile })
}

/// The suite for the contract, with a service's profile.
pub fn suite(profile: Profile) -> Result<Suite, Box<dyn std::error::Error>> {
    Ok(Suite::new(Contract::builtin("smartsbio")?).profile(profile))
}

/// An answer in the dialect.
fn answer(status: StatusCode, body: &Value) -> Outgoing {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Outgoing { parts, body: body.to_string().into() }
}

fn failure(status: StatusCode, code: &str) -> Outgoing {
    answer(status, &json!({"status": "error", "error": code, "message": "seeded", "details": {}}))
}

fn limited() -> Outgoing {
    let mut outgoing = failure(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
    outgoing.set("retry-after", 30);
    outgoing
}

fn says(outgoing: &Outgoing, code: &str) -> bool {
    outgoing.json().is_some_and(|body| body["error"] == code)
}

fn posts(incoming: &Incoming, path: &str) -> bool {
    incoming.is(&Method::POST, path)
}

/// Every fault, family by family.
pub const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "upload-answers-200",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if posts(incoming, "/v1/files/upload") && outgoing.parts.status == StatusCode::CREATED {
                outgoing.parts.status = StatusCode::OK;
            }
        }),
    },
    Fault {
        name: "file-without-size",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/v1/files") {
                outgoing.change(|body| {
                    for file in body["files"].as_array_mut().into_iter().flatten() {
                        file.as_object_mut().map(|file| file.remove("size"));
                    }
                });
            }
        }),
    },
    Fault {
        name: "run-in-an-unknown-state",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if posts(incoming, "/v1/pipelines") && outgoing.parts.status == StatusCode::ACCEPTED {
                outgoing.change(|body| body["status"] = json!("waiting"));
            }
        }),
    },
    Fault {
        name: "tools-as-plain-text",
        check: "response.media-type",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/v1/tools") && outgoing.parts.status == StatusCode::OK {
                outgoing.set("content-type", "text/plain");
            }
        }),
    },
    Fault {
        name: "words-after-a-revocation",
        check: "response.no-body",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.parts.method == Method::DELETE && outgoing.parts.status == StatusCode::NO_CONTENT {
                outgoing.body = "{\"revoked\":true}".into();
            }
        }),
    },
    Fault {
        name: "limited-without-retry-after",
        check: "response.headers",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                outgoing.parts.headers.remove("retry-after");
            }
        }),
    },
    // error
    Fault {
        name: "code-of-another-dialect",
        check: "error.code-known",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/v1/conversations/") {
                outgoing.change_error("not_found", |body| body["error"] = json!("conversation_not_found"));
            }
        }),
    },
    Fault {
        name: "missing-workspace-told-as-invalid",
        check: "error.code-status",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("workspace_required", |body| {
                body["error"] = json!("validation_error");
                body["errors"] = json!([{"field": "workspace_id", "message": "is required", "code": "required"}]);
            });
        }),
    },
    Fault {
        name: "payment-required-as-forbidden",
        check: "error.code-status",
        how: How::Response(|_, outgoing, _| {
            if says(outgoing, "quota_exceeded") {
                outgoing.parts.status = StatusCode::FORBIDDEN;
            }
        }),
    },
    Fault {
        name: "scopes-not-told",
        check: "error.details",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("insufficient_scope", |body| body["details"] = json!({}));
        }),
    },
    Fault {
        name: "bare-text-for-unknown-paths",
        check: "error.envelope",
        how: How::Response(|_, outgoing, _| {
            if says(outgoing, "not_found") && outgoing.json().is_some_and(|body| body["details"] == json!({})) {
                outgoing.body = "Not Found".into();
                outgoing.set("content-type", "text/plain");
            }
        }),
    },
    Fault {
        name: "errors-name-another-field",
        check: "error.fields",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("validation_error", |body| {
                for entry in body["errors"].as_array_mut().into_iter().flatten() {
                    entry["field"] = json!("something");
                }
            });
        }),
    },
    Fault {
        name: "statement-in-the-message",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("not_found", |body| {
                body["message"] = json!("no rows: SELECT id FROM conversations WHERE id = $1");
            });
        }),
    },
    // auth
    Fault {
        name: "usage-for-everybody",
        check: "auth.required",
        how: How::Answer(|incoming, _| {
            let anonymous = incoming.is(&Method::GET, "/v1/usage")
                && incoming.bearer().is_none()
                && !incoming.parts.headers.contains_key("x-api-key");
            let usage = json!({
                "organization_id": "org_x", "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-02-01T00:00:00Z",
                "compute_used": 0, "compute_quota": 0, "resets_at": "2026-02-01T00:00:00Z"
            });
            anonymous.then(|| answer(StatusCode::OK, &usage))
        }),
    },
    Fault {
        name: "revoked-key-works",
        check: "auth.rejects-revoked",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/v1/workspaces") && says(outgoing, "key_revoked") {
                *outgoing = answer(StatusCode::OK, &json!({"workspaces": []}));
            }
        }),
    },
    Fault {
        name: "expired-told-as-unknown",
        check: "auth.rejects-expired",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("key_expired", |body| body["error"] = json!("auth_required"));
        }),
    },
    Fault {
        name: "any-well-formed-key-works",
        check: "auth.rejects-invalid",
        how: How::Response(|incoming, outgoing, _| {
            let formed = incoming.bearer().is_some_and(|key| key.len() == 40 && key.starts_with("sk_live_"));
            if incoming.is(&Method::GET, "/v1/workspaces") && formed && says(outgoing, "auth_required") {
                *outgoing = answer(StatusCode::OK, &json!({"workspaces": []}));
            }
        }),
    },
    Fault {
        name: "the-beginning-of-a-key-is-enough",
        check: "auth.whole-credential",
        how: How::Request(|incoming, memory| {
            let good = memory.seen().good_key.clone().unwrap_or_default();
            let begins = incoming.bearer().is_some_and(|key| key.get(..30) == good.get(..30) && key != good);
            if begins {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "no-challenge",
        check: "auth.challenge",
        how: How::Response(|_, outgoing, _| {
            outgoing.parts.headers.remove(WWW_AUTHENTICATE);
        }),
    },
    Fault {
        name: "odd-credentials-crash",
        check: "auth.malformed",
        how: How::Response(|incoming, outgoing, _| {
            let odd = incoming.bearer().is_some_and(|key| key.contains(['.', ' ', '\t']));
            if odd && outgoing.parts.status == StatusCode::UNAUTHORIZED {
                *outgoing = failure(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
            }
        }),
    },
    // scope
    Fault {
        name: "files-for-every-key",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/v1/files") && says(outgoing, "insufficient_scope") {
                *outgoing = answer(StatusCode::OK, &json!({"files": [], "has_more": false}));
            }
        }),
    },
    Fault {
        name: "every-workspace-of-the-organization",
        check: "scope.enforced",
        how: How::Request(|incoming, memory| {
            let there = incoming.parts.uri.query().unwrap_or_default().contains("ws_aurora2")
                || String::from_utf8_lossy(&incoming.body).contains("ws_aurora2");
            let good = memory.seen().good_key.clone();
            if let (true, Some(good)) = (there, good) {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "denied-told-as-scope",
        check: "scope.answer",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("workspace_access_denied", |body| {
                body["error"] = json!("insufficient_scope");
                body["details"] = json!({"required_scope": "query", "key_scopes": []});
            });
        }),
    },
    // limit
    Fault { name: "one-request-too-many", check: "limit.enforced", how: How::Limit("per-key", 601) },
    Fault {
        name: "usage-not-limited",
        check: "limit.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path() == "/v1/usage" && outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                let usage = json!({
                    "organization_id": "org_x", "period_start": "2026-01-01T00:00:00Z",
                    "period_end": "2026-02-01T00:00:00Z", "compute_used": 0, "compute_quota": 0,
                    "resets_at": "2026-02-01T00:00:00Z"
                });
                *outgoing = answer(StatusCode::OK, &usage);
            }
        }),
    },
    Fault {
        name: "wait-too-short",
        check: "limit.recovers",
        how: How::Response(|_, outgoing, _| {
            if let Some(wait) = outgoing.number("retry-after") {
                outgoing.set("retry-after", (wait / 2).max(1));
            }
        }),
    },
    Fault {
        name: "keys-share-a-counter",
        check: "limit.isolated",
        how: How::Answer(|incoming, memory| {
            let key = incoming.bearer()?;
            let seen = memory.seen();
            (!seen.limited.is_empty() && !seen.limited.contains(key)).then(limited)
        }),
    },
    Fault {
        name: "window-never-ends",
        check: "limit.recovers",
        how: How::Answer(|incoming, memory| {
            let key = incoming.bearer()?;
            memory.seen().limited.contains(key).then(limited)
        }),
    },
    Fault {
        name: "limited-told-as-quota",
        check: "limit.envelope",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                body["error"] = json!("quota_exceeded");
                body["details"] = json!({"quota": 1, "used": 1, "resets_at": "2026-02-01T00:00:00Z"});
            });
        }),
    },
    Fault {
        name: "renders-without-quota",
        check: "quota.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if posts(incoming, "/v1/visualizations/render") && says(outgoing, "quota_exceeded") {
                let job = json!({
                    "job_id": "job_x", "status": "queued", "output_key": null, "output_url": null, "error": null
                });
                *outgoing = answer(StatusCode::ACCEPTED, &job);
            }
        }),
    },
    Fault {
        name: "one-credit-too-many",
        check: "quota.enforced",
        how: How::Promise(|profile| {
            for principal in profile.principals.values_mut() {
                principal.quotas.values_mut().for_each(|limit| *limit -= 1);
            }
        }),
    },
    // input
    Fault {
        name: "long-prompts-refused",
        check: "input.accepts-valid",
        how: How::Answer(|incoming, _| {
            let long = posts(incoming, "/v1/query")
                && incoming
                    .json()
                    .is_some_and(|body| body["prompt"].as_str().is_some_and(|prompt| prompt.chars().count() == 32_000));
            long.then(|| {
                let errors = json!([{"field": "prompt", "message": "is too long", "code": "maxLength"}]);
                let body = json!({
                    "status": "error", "error": "validation_error", "message": "seeded", "details": {}, "errors": errors
                });
                answer(StatusCode::BAD_REQUEST, &body)
            })
        }),
    },
    Fault {
        name: "links-for-ever",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if posts(incoming, "/v1/visualizations/viewer-url") {
                incoming.change_body(|body| {
                    if body["expires_in"].as_i64().is_some_and(|seconds| seconds > 86_400) {
                        body["expires_in"] = json!(86_400);
                    }
                });
            }
        }),
    },
    Fault {
        name: "bad-limit-ignored",
        check: "input.rejects-invalid",
        how: How::Response(|incoming, outgoing, _| {
            let asked = incoming.parts.uri.query().is_some_and(|query| query.contains("limit="));
            if incoming.is(&Method::GET, "/v1/conversations") && asked && says(outgoing, "validation_error") {
                *outgoing = answer(StatusCode::OK, &json!({"conversations": [], "has_more": false}));
            }
        }),
    },
    Fault {
        name: "odd-characters-crash",
        check: "input.no-server-error",
        how: How::Answer(|incoming, _| {
            let odd =
                posts(incoming, "/v1/query") && std::str::from_utf8(&incoming.body).is_ok_and(|text| !text.is_ascii());
            odd.then(|| failure(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"))
        }),
    },
    Fault {
        name: "deep-bodies-taken",
        check: "input.bounded",
        how: How::Answer(|incoming, _| {
            let deep = incoming.body.starts_with(b"[[[[[[[[");
            deep.then(|| answer(StatusCode::OK, &json!({})))
        }),
    },
    // secret
    Fault {
        name: "keys-in-the-list",
        check: "secret.shown-once",
        how: How::Response(|incoming, outgoing, memory| {
            if incoming.is(&Method::GET, "/v1/api-keys") && outgoing.parts.status == StatusCode::OK {
                let good = memory.seen().good_key.clone();
                outgoing.change(|body| {
                    for key in body["api_keys"].as_array_mut().into_iter().flatten() {
                        key["api_key"] = json!(good);
                    }
                });
            }
        }),
    },
    Fault {
        name: "key-in-a-header",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if let Some(key) = incoming.bearer().filter(|key| key.starts_with("sk_live_")) {
                outgoing.set("x-debug-key", key);
            }
        }),
    },
];
