//! Who one is, what one may, and whose things they are.

use super::*;

pub(super) const FAULTS: &[Fault] = &[
    // auth
    Fault {
        name: "open-operation",
        check: "auth.required",
        how: How::Answer(|incoming, _| {
            let open =
                incoming.is(&Method::GET, "/data-sources/") && !incoming.parts.headers.contains_key(AUTHORIZATION);
            open.then(|| Outgoing::new(StatusCode::OK, &json!([])))
        }),
    },
    Fault {
        name: "signature-not-checked",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            let known = incoming.bearer().and_then(|token| {
                let signed = token.rsplit_once('.')?.0;
                memory.seen().access.get(signed).cloned()
            });
            if let Some(known) = known {
                incoming.set_bearer(&known);
            }
        }),
    },
    Fault {
        name: "unsigned-tokens-accepted",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            let known = incoming.bearer().and_then(|token| {
                let payload = token.strip_suffix('.')?.split('.').nth(1)?;
                memory.seen().access.get(payload).cloned()
            });
            if let Some(known) = known {
                incoming.set_bearer(&known);
            }
        }),
    },
    Fault {
        name: "expired-token-accepted",
        check: "auth.rejects-expired",
        // What it takes stands in `Layer::renew_expired`, because it has to ask the service.
        how: How::Request(|_, _| {}),
    },
    Fault {
        name: "expired-token-with-the-wrong-code",
        check: "auth.rejects-expired",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("token_expired", |body| body["error"] = json!("invalid_token"));
        }),
    },
    Fault {
        name: "revoked-key-accepted",
        check: "auth.rejects-revoked",
        how: How::Request(|incoming, memory| {
            let seen = memory.seen();
            if incoming.bearer().is_some()
                && incoming.bearer() == seen.revoked_key.as_deref()
                && let Some(good) = seen.good_key.clone()
            {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "key-compared-by-its-start",
        check: "auth.whole-credential",
        how: How::Request(|incoming, memory| {
            let good = memory.seen().good_key.clone().unwrap_or_default();
            if incoming.bearer().is_some_and(|key| good.len() > 16 && key.starts_with(&good[..16])) {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "refresh-token-opens",
        check: "auth.token-kind",
        how: How::Request(|incoming, memory| {
            let access = incoming.bearer().and_then(|token| memory.seen().access.get(token).cloned());
            if let Some(access) = access {
                incoming.set_bearer(&access);
            }
        }),
    },
    Fault {
        name: "agent-key-opens-management",
        check: "auth.token-kind",
        how: How::Request(|incoming, memory| {
            let is_key = incoming.bearer().is_some_and(|key| Some(key) == memory.seen().good_key.as_deref());
            if is_key
                && !incoming.is_query()
                && let Some(token) = memory.token_of("alice@demo.example.com")
            {
                incoming.set_bearer(&token);
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
        name: "odd-bytes-in-a-token-crash",
        check: "auth.malformed",
        how: How::Answer(|incoming, _| {
            let odd = incoming.parts.headers.get(AUTHORIZATION).is_some_and(|value| value.to_str().is_err());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", json!({})))
        }),
    },
    // scope
    Fault {
        name: "viewer-may-write",
        check: "scope.enforced",
        how: How::Request(|incoming, memory| {
            let victor = memory.token_of("victor@demo.example.com");
            if victor.is_some()
                && incoming.bearer() == victor.as_deref()
                && let Some(token) = memory.token_of("alice@demo.example.com")
            {
                incoming.set_bearer(&token);
            }
        }),
    },
];
