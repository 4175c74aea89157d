//! What is taken that should not be, and the other way round.

use super::*;

pub(super) const FAULTS: &[Fault] = &[
    // input
    Fault {
        name: "long-names-refused",
        check: "input.accepts-valid",
        how: How::Answer(|incoming, _| {
            let long = incoming.is(&Method::POST, "/agents/")
                && incoming
                    .json()
                    .is_some_and(|body| body["name"].as_str().is_some_and(|name| name.chars().count() == 255));
            let details = json!({"field": "name", "reason": "too long"});
            long.then(|| Outgoing::error(StatusCode::BAD_REQUEST, "invalid_field", details))
        }),
    },
    Fault {
        name: "temperature-not-bounded",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.path().starts_with("/agents/") {
                incoming.change_body(|body| {
                    if body["temperature"].as_f64().is_some_and(|temperature| temperature > 2.0) {
                        body["temperature"] = json!(2);
                    }
                });
            }
        }),
    },
    Fault {
        name: "name-not-required",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/agents/") {
                incoming.change_body(|body| {
                    if body.get("name").is_none() {
                        body["name"] = json!("unnamed");
                    }
                });
            }
        }),
    },
    Fault {
        name: "numbers-taken-for-text",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is_query() {
                incoming.change_body(|body| {
                    if body["message"].is_number() || body["message"].is_boolean() {
                        body["message"] = json!(body["message"].to_string());
                    }
                });
            }
        }),
    },
    Fault {
        name: "bad-filter-ignored",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::GET, "/agents/") && incoming.parts.uri.query().is_some_and(|query| query.len() < 40)
            {
                incoming.parts.uri = http::Uri::from_static("/agents/");
            }
        }),
    },
    Fault {
        name: "any-media-type-read",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/agents/") {
                incoming.parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }),
    },
    Fault {
        name: "unknown-agent-is-some-agent",
        check: "input.rejects-invalid",
        how: How::Response(|incoming, outgoing, memory| {
            let missing = outgoing.parts.status == StatusCode::NOT_FOUND && incoming.parts.method == Method::GET;
            if missing
                && incoming.is_agent()
                && let Some(agent) = memory.seen().agent.clone()
            {
                outgoing.parts.status = StatusCode::OK;
                outgoing.body = agent.to_string().into();
            }
        }),
    },
    Fault {
        name: "odd-characters-crash",
        check: "input.no-server-error",
        how: How::Answer(|incoming, _| {
            let odd = incoming.is_query() && std::str::from_utf8(&incoming.body).is_ok_and(|text| !text.is_ascii());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", json!({})))
        }),
    },
    Fault {
        name: "deep-bodies-taken",
        check: "input.bounded",
        how: How::Answer(|incoming, _| {
            let deep = incoming.body.starts_with(b"[[[[[[[[");
            deep.then(|| Outgoing::new(StatusCode::OK, &json!({"access": "x"})))
        }),
    },
    Fault {
        name: "id-from-the-request",
        check: "input.read-only-ignored",
        how: How::Response(|incoming, outgoing, _| {
            let wanted = incoming.json().and_then(|body| body.get("id").cloned());
            if incoming.is(&Method::POST, "/agents/")
                && outgoing.parts.status == StatusCode::CREATED
                && let Some(id) = wanted
            {
                outgoing.change(|body| body["id"] = id);
            }
        }),
    },
];
