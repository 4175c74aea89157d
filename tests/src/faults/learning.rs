//! Seeded faults in the sections of xentree that are about learning: conversations, knowledge base, Live, the English course,
//! profile and analytics.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fault, How, Outgoing};

/// Every fault, family by family.
pub const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "module-of-an-unknown-status",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/learn/english/modules") {
                each(outgoing, |module| module["status"] = json!("open"));
            }
        }),
    },
    Fault {
        name: "pulse-of-364-days",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/xp/learning-pulse") {
                outgoing.change(|body| {
                    body["days"].as_array_mut().and_then(Vec::pop);
                });
            }
        }),
    },
    Fault {
        name: "public-profile-shows-the-address",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/api/xp/public-profile/") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| body["email"] = json!("ana@example.com"));
            }
        }),
    },
    Fault {
        name: "conversation-created-with-200",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/core/conversations") && outgoing.parts.status == StatusCode::CREATED {
                outgoing.parts.status = StatusCode::OK;
            }
        }),
    },
    // error
    Fault {
        name: "refused-search-quotes-its-statement",
        check: "error.no-internals",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/core/search") && outgoing.parts.status == StatusCode::BAD_REQUEST {
                let text = "SQLITE_ERROR: near \"MATCH\": SELECT item FROM search_index WHERE search_index MATCH $1";
                outgoing.change(|body| body["detail"] = json!(text));
            }
        }),
    },
    Fault {
        name: "unknown-conversation-in-plain-text",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/api/core/conversations/") && outgoing.parts.status == StatusCode::NOT_FOUND
            {
                outgoing.body = "Not Found".into();
                outgoing.set("content-type", "text/plain");
            }
        }),
    },
    // scope
    Fault {
        name: "any-key-reads-notes",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/core/notes") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "reading-includes-writing-notes",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/core/notes") {
                let note = json!({"id": "note_1", "title": "x", "content": "x", "conversation_id": null, "tags": [],
                                  "created_at": "2026-04-16T10:00:00Z", "updated_at": "2026-04-16T10:00:00Z"});
                let_in(outgoing, StatusCode::CREATED, note);
            }
        }),
    },
    Fault {
        name: "any-key-starts-live-sessions",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/live/session/start") {
                let session = json!({"session_id": "ses_1", "session_type": "voice", "status": "active",
                                     "started_at": "2026-04-16T10:00:00Z", "remaining_seconds": 60});
                let_in(outgoing, StatusCode::OK, session);
            }
        }),
    },
    Fault {
        name: "any-key-searches-the-knowledge-base",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/knowledge/search") {
                let_in(outgoing, StatusCode::OK, json!({"query": "x", "results": [], "total": 0}));
            }
        }),
    },
    Fault {
        name: "any-key-sees-the-course",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/learn/english/modules") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "any-key-sees-learning-time",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/analytics/learning-time") {
                let time = json!({"total_seconds": 0, "session_count": 0, "average_session_seconds": 0, "daily": []});
                let_in(outgoing, StatusCode::OK, time);
            }
        }),
    },
    Fault {
        name: "everybody-rebuilds-the-index",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/core/search/reindex") && incoming.bearer().is_some() {
                let_in(outgoing, StatusCode::OK, json!({"message": "Search index rebuild started"}));
            }
        }),
    },
    // auth
    Fault {
        name: "keys-save-live-transcripts",
        check: "auth.token-kind",
        how: How::Response(|incoming, outgoing, _| {
            let by_key = incoming.parts.headers.contains_key("x-api-key");
            if by_key && incoming.is(&Method::POST, "/api/live/transcripts") {
                let saved = json!({"id": "trn_1", "turn_count": 1, "duration_seconds": 0,
                                   "created_at": "2026-04-16T10:00:00Z"});
                let_in(outgoing, StatusCode::CREATED, saved);
            }
        }),
    },
    Fault {
        name: "quests-for-everybody",
        check: "auth.required",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/xp/quests") {
                let quests = json!({"date": "2026-04-16", "quests": [], "completed_count": 0, "total_count": 0});
                let_in(outgoing, StatusCode::OK, quests);
            }
        }),
    },
    // input
    Fault {
        name: "note-title-of-any-length",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/api/core/notes") {
                incoming.change_body(|body| shorten(body, "title", 255));
            }
        }),
    },
    Fault {
        name: "passages-without-number",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/api/rag/query") {
                incoming.change_body(|body| {
                    if let Some(most) = body["top_k"].as_i64() {
                        body["top_k"] = json!(most.clamp(1, 50));
                    }
                });
            }
        }),
    },
    Fault {
        name: "unknown-modules-are-shown",
        check: "input.rejects-invalid",
        how: How::Response(|incoming, outgoing, _| {
            let is_module = incoming.path().starts_with("/api/learn/english/modules/");
            if is_module && incoming.parts.method == Method::GET && outgoing.parts.status == StatusCode::NOT_FOUND {
                let module = json!({"id": "0", "title": "x", "order": 1, "status": "locked", "progress_percent": 0,
                                    "tasks_total": 0, "tasks_completed": 0, "objectives": [], "tasks": []});
                *outgoing = answer(outgoing, StatusCode::OK, module);
            }
        }),
    },
    Fault {
        name: "longest-nickname-refused",
        check: "input.accepts-valid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::PATCH, "/api/live/nickname") {
                incoming.change_body(|body| {
                    if body["nickname"].as_str().is_some_and(|name| name.chars().count() == 50) {
                        body["nickname"] = json!("x".repeat(51));
                    }
                });
            }
        }),
    },
    Fault {
        name: "longest-search-breaks",
        check: "input.no-server-error",
        how: How::Response(|incoming, outgoing, _| {
            let long = incoming.parts.uri.query().is_some_and(|query| query.len() > 190);
            if long && incoming.is(&Method::GET, "/api/core/search") && outgoing.parts.status == StatusCode::OK {
                *outgoing =
                    answer(outgoing, StatusCode::INTERNAL_SERVER_ERROR, json!({"detail": "Internal server error"}));
            }
        }),
    },
    // state
    Fault {
        name: "every-page-of-notes-is-the-first",
        check: "state.paging",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::GET, "/api/core/notes") {
                let query = incoming.parts.uri.query().unwrap_or_default();
                let kept: Vec<&str> = query.split('&').filter(|part| !part.starts_with("page=")).collect();
                if let Ok(uri) = format!("{}?{}", incoming.path(), kept.join("&")).parse() {
                    incoming.parts.uri = uri;
                }
            }
        }),
    },
    Fault {
        name: "deleting-a-conversation-twice-works",
        check: "state.repeat-delete",
        how: How::Response(|incoming, outgoing, _| {
            // An id that never was is still refused: nobody would notice otherwise.
            let is_item = incoming.path().starts_with("/api/core/conversations/cnv_");
            if is_item && incoming.parts.method == Method::DELETE && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::OK;
                outgoing.change(|body| *body = json!({"detail": "Conversation deleted"}));
            }
        }),
    },
    Fault {
        name: "messages-of-a-deleted-conversation",
        check: "state.deleted-is-gone",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().ends_with("/messages") && outgoing.parts.status == StatusCode::NOT_FOUND {
                *outgoing = answer(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    // tenancy
    Fault {
        name: "strangers-change-notes",
        check: "tenancy.write",
        how: How::Response(|incoming, outgoing, _| {
            let is_note = incoming.path().starts_with("/api/core/notes/");
            if is_note && incoming.parts.method == Method::PUT && outgoing.parts.status == StatusCode::NOT_FOUND {
                let note = json!({"id": "note_1", "title": "x", "content": "x", "conversation_id": null, "tags": [],
                                  "created_at": "2026-04-16T10:00:00Z", "updated_at": "2026-04-16T10:00:00Z"});
                *outgoing = answer(outgoing, StatusCode::OK, note);
            }
        }),
    },
];

/// The operations that show a fault: a run of all eighty for each fault is a minute that shows nothing more.
pub fn operations(fault: &str) -> &'static [&'static str] {
    match fault {
        "any-key-reads-notes" => &["list_notes"],
        "module-of-an-unknown-status" | "any-key-sees-the-course" => &["list_xel_modules"],
        "pulse-of-364-days" => &["get_learning_pulse"],
        "public-profile-shows-the-address" => &["get_public_xp_profile"],
        "conversation-created-with-200" => &["create_conversation"],
        "any-key-starts-live-sessions" => &["start_live_session"],
        "refused-search-quotes-its-statement" | "longest-search-breaks" => &["search_user_content"],
        "unknown-conversation-in-plain-text" => &["get_conversation_messages", "get_session_status"],
        "reading-includes-writing-notes" | "note-title-of-any-length" => &["create_note"],
        "any-key-searches-the-knowledge-base" => &["search_knowledge_base"],
        "any-key-sees-learning-time" => &["get_learning_time_analytics"],
        "everybody-rebuilds-the-index" => &["rebuild_search_index"],
        "keys-save-live-transcripts" => &["save_live_transcripts"],
        "quests-for-everybody" => &["get_daily_quests"],
        "passages-without-number" => &["query_knowledge"],
        "unknown-modules-are-shown" => &["get_xel_module"],
        "longest-nickname-refused" => &["update_live_nickname"],
        "every-page-of-notes-is-the-first" => &["create_note", "list_notes"],
        "deleting-a-conversation-twice-works" => &["create_conversation", "delete_conversation"],
        "messages-of-a-deleted-conversation" => {
            &["create_conversation", "delete_conversation", "get_conversation_messages"]
        }
        "strangers-change-notes" => &["create_note", "update_note"],
        _ => &[],
    }
}

/// Changes every element of a list.
pub(super) fn each(outgoing: &mut Outgoing, change: impl Fn(&mut Value)) {
    if outgoing.parts.status == StatusCode::OK {
        outgoing.change(|body| body.as_array_mut().into_iter().flatten().for_each(change));
    }
}

/// Another answer with the headers of the one that there was.
pub(super) fn answer(outgoing: &Outgoing, status: StatusCode, body: Value) -> Outgoing {
    let mut parts = outgoing.parts.clone();
    parts.status = status;
    Outgoing { parts, body: body.to_string().into() }
}

/// Lets in whoever was turned away.
pub(super) fn let_in(outgoing: &mut Outgoing, status: StatusCode, body: Value) {
    if matches!(outgoing.parts.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        *outgoing = answer(outgoing, status, body);
    }
}

fn shorten(body: &mut Value, name: &str, most: usize) {
    if let Some(text) = body[name].as_str()
        && text.chars().count() > most
    {
        body[name] = text.chars().take(most).collect::<String>().into();
    }
}
