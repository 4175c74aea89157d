//! Answers that are not what the contract says, or say too much.

use super::*;

pub(super) const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "undocumented-status",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/agents/") && outgoing.parts.status == StatusCode::CREATED {
                outgoing.parts.status = StatusCode::ACCEPTED;
            }
        }),
    },
    Fault {
        name: "list-item-without-name",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/agents/") {
                outgoing.change(|body| {
                    for agent in body.as_array_mut().into_iter().flatten() {
                        agent.as_object_mut().map(|agent| agent.remove("name"));
                    }
                });
            }
        }),
    },
    Fault {
        name: "timestamp-as-number",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is_agent() && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| body["createdAt"] = json!(1_700_000_000));
            }
        }),
    },
    Fault {
        name: "null-where-a-number-belongs",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/data-sources/") {
                outgoing.change(|body| {
                    if let Some(progress) = body.get_mut("progressPercentage") {
                        *progress = Value::Null;
                    }
                });
            }
        }),
    },
    Fault {
        name: "score-out-of-range",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/analytics/") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| body["successRate"] = json!(140));
            }
        }),
    },
    Fault {
        name: "html-for-json",
        check: "response.media-type",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/data-sources/") && outgoing.parts.status == StatusCode::OK {
                outgoing.set("content-type", "text/html");
            }
        }),
    },
    Fault {
        name: "empty-request-id",
        check: "response.headers",
        how: How::Response(|_, outgoing, _| outgoing.set("x-request-id", "")),
    },
    Fault {
        name: "length-on-no-content",
        check: "response.no-body",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::NO_CONTENT {
                outgoing.set("content-length", 2);
                outgoing.body = "{}".into();
            }
        }),
    },
    Fault {
        name: "body-states-another-limit",
        check: "response.agrees",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| body["details"]["limit"] = json!(7));
        }),
    },
    // error
    Fault {
        name: "plain-text-404-of-the-router",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().contains("no-such-path") {
                outgoing.body = "Not Found".into();
                outgoing.set("content-type", "text/plain");
            }
        }),
    },
    Fault {
        name: "envelope-without-details",
        check: "error.envelope",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::UNAUTHORIZED {
                outgoing.change(|body| {
                    body.as_object_mut().map(|body| body.remove("details"));
                });
            }
        }),
    },
    Fault {
        name: "wrong-method-is-405",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if matches!(incoming.parts.method, Method::PUT) && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::METHOD_NOT_ALLOWED;
            }
        }),
    },
    Fault {
        name: "unknown-code",
        check: "error.code-known",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("agent_not_found", |body| body["error"] = json!("agent_missing"));
        }),
    },
    Fault {
        name: "code-with-another-status",
        check: "error.code-status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.parts.method == Method::PATCH && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::BAD_REQUEST;
            }
        }),
    },
    Fault {
        name: "code-of-another-operation",
        check: "error.code-status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/data-sources/") {
                outgoing.change_error("data_source_not_found", |body| body["error"] = json!("conversation_not_found"));
            }
        }),
    },
    Fault {
        name: "missing-told-as-invalid",
        check: "error.code-status",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("missing_field", |body| {
                body["error"] = json!("invalid_field");
                body["details"]["reason"] = json!("is missing");
            });
        }),
    },
    Fault {
        name: "details-of-another-shape",
        check: "error.details",
        how: How::Response(|_, outgoing, _| {
            outgoing
                .change_error("missing_field", |body| body["details"] = json!({"fields": body["details"]["field"]}));
        }),
    },
    Fault {
        name: "another-field-named",
        check: "error.fields",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("invalid_field", |body| {
                body["details"]["field"] = json!("something");
                body["details"]["reason"] = json!("is wrong");
            });
        }),
    },
    Fault {
        name: "sql-in-the-message",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("agent_not_found", |body| {
                body["message"] = json!("no row: SELECT id, name FROM agents WHERE id = $1");
            });
        }),
    },
    Fault {
        name: "stack-trace-in-the-details",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("validation_error", |body| {
                body["details"]["trace"] = json!(["at validate (/srv/app/src/body.js:12:7)"]);
            });
        }),
    },
    // secret
    Fault {
        name: "password-in-the-answer",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/auth/login/") && outgoing.parts.status == StatusCode::OK {
                let password = incoming.json().map(|body| body["password"].clone()).unwrap_or_default();
                outgoing.change(|body| body["user"]["hint"] = password);
            }
        }),
    },
    Fault {
        name: "key-in-a-header",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if let Some(key) = incoming.bearer().filter(|key| key.starts_with("rc_")) {
                outgoing.set("x-debug-key", key);
            }
        }),
    },
    Fault {
        name: "configuration-with-its-password",
        check: "secret.write-only",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/data-sources/") && outgoing.parts.status == StatusCode::CREATED {
                let config = incoming.json().map(|body| body["config"].clone()).unwrap_or_default();
                outgoing.change(|body| body["config"] = config);
            }
        }),
    },
];
