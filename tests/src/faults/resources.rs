//! State and tenancy: what was acknowledged and is not so, and things that are shown to strangers.

use super::*;

pub(super) const FAULTS: &[Fault] = &[
    // state
    Fault {
        name: "patch-is-acknowledged-only",
        check: "state.update-persists",
        how: How::Response(|incoming, outgoing, memory| {
            let mut seen = memory.seen();
            if incoming.parts.method == Method::PATCH && incoming.is_agent() && outgoing.parts.status == StatusCode::OK
            {
                // Whatever is read of it from now on has the old name.
                seen.stale.insert(incoming.path().to_owned());
            }
            if incoming.parts.method == Method::GET && seen.stale.contains(incoming.path()) {
                drop(seen);
                outgoing.change(|body| {
                    if body["name"].is_string() {
                        body["name"] = json!("as it was");
                    }
                });
            }
        }),
    },
    Fault {
        name: "patch-turns-a-switch",
        check: "state.patch-is-partial",
        how: How::Request(|incoming, _| {
            if incoming.parts.method == Method::PATCH && incoming.is_agent() {
                incoming.change_body(|body| {
                    if body.get("temperature").is_none() && body["name"] != json!("") {
                        body["temperature"] = json!(1.75);
                    }
                });
            }
        }),
    },
    Fault {
        name: "deleted-agents-linger",
        check: "state.deleted-is-gone",
        how: How::Response(|incoming, outgoing, memory| {
            let missing = outgoing.parts.status == StatusCode::NOT_FOUND && incoming.parts.method == Method::GET;
            let mut seen = memory.seen();
            if incoming.parts.method == Method::DELETE && outgoing.parts.status == StatusCode::NO_CONTENT {
                seen.stale.insert(incoming.path().to_owned());
            }
            if missing
                && incoming.is_agent()
                && seen.stale.contains(incoming.path())
                && let Some(agent) = seen.agent.clone()
            {
                outgoing.parts.status = StatusCode::OK;
                outgoing.body = agent.to_string().into();
            }
        }),
    },
    Fault {
        name: "list-without-the-newest-agent",
        check: "state.list-contains",
        how: How::Response(|incoming, outgoing, memory| {
            if incoming.is(&Method::GET, "/agents/") && outgoing.parts.status == StatusCode::OK {
                let newest = memory.seen().agent.as_ref().map(|agent| agent["id"].clone());
                outgoing.change(|body| {
                    if let Some(agents) = body.as_array_mut() {
                        agents.retain(|agent| Some(&agent["id"]) != newest.as_ref());
                    }
                });
            }
        }),
    },
    // tenancy
    Fault {
        name: "strangers-read-agents",
        check: "tenancy.read",
        how: How::Request(|incoming, memory| {
            if incoming.parts.method == Method::GET && incoming.is_agent() {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "strangers-read-analytics",
        check: "tenancy.read",
        how: How::Request(|incoming, memory| {
            if incoming.path().starts_with("/analytics/") {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "strangers-change-agents",
        check: "tenancy.write",
        how: How::Request(|incoming, memory| {
            if incoming.parts.method == Method::PATCH {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "strangers-sync-data-sources",
        check: "tenancy.write",
        how: How::Request(|incoming, memory| {
            if incoming.path().ends_with("/sync/") {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "strangers-delete-data-sources",
        check: "tenancy.delete",
        how: How::Request(|incoming, memory| {
            if incoming.parts.method == Method::DELETE && incoming.path().starts_with("/data-sources/") {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "strangers-list-agents",
        check: "tenancy.list",
        how: How::Request(|incoming, memory| {
            if incoming.is(&Method::GET, "/agents/") {
                as_alice(incoming, memory);
            }
        }),
    },
    Fault {
        name: "foreign-agents-have-another-code",
        check: "tenancy.no-existence-leak",
        how: How::Response(|incoming, outgoing, memory| {
            let bob = memory.token_of("bob@demo.example.com");
            let unknown = incoming.path().contains("00000000-0000-4000-8000-00000000dead");
            if bob.is_some() && incoming.bearer() == bob.as_deref() && incoming.is_agent() && !unknown {
                outgoing.change_error("agent_not_found", |body| {
                    *body = json!({"error": "permission_denied", "message": "seeded", "details": {}});
                });
                if outgoing.json().is_some_and(|body| body["error"] == "permission_denied") {
                    outgoing.parts.status = StatusCode::FORBIDDEN;
                }
            }
        }),
    },
    // time
    Fault {
        name: "agents-from-the-future",
        check: "time.order",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is_agent() {
                outgoing.change(|body| {
                    if body["createdAt"].is_string() {
                        body["createdAt"] = json!("2031-01-01T00:00:00Z");
                        body["updatedAt"] = json!("2031-01-01T00:00:00Z");
                    }
                });
            }
        }),
    },
];

/// Bob belongs to another organization; with alice's token he reaches hers.
fn as_alice(incoming: &mut Incoming, memory: &Memory) {
    let bob = memory.token_of("bob@demo.example.com");
    if bob.is_some()
        && incoming.bearer() == bob.as_deref()
        && let Some(token) = memory.token_of("alice@demo.example.com")
    {
        incoming.set_bearer(&token);
    }
}
