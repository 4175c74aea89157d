//! Seeded faults in the sections of xentree that are about accounts: sessions, keys, organizations, integration tokens,
//! connections.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::learning::{answer, each, let_in};
use super::{Fault, How, Incoming, Outgoing};

/// Every fault, family by family.
pub const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "keys-without-kid",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/integration/jwks") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| {
                    body["keys"][0].as_object_mut().map(|key| key.remove("kid"));
                });
            }
        }),
    },
    Fault {
        name: "fingerprint-in-capitals",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/integration/fingerprint") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| {
                    let print = body["fingerprints"][0]["fingerprint"].as_str().unwrap_or_default().to_uppercase();
                    body["fingerprints"][0]["fingerprint"] = json!(print);
                });
            }
        }),
    },
    Fault {
        name: "consent-page-without-an-address",
        check: "response.headers",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().ends_with("/authorize") {
                outgoing.parts.headers.remove("location");
            }
        }),
    },
    Fault {
        name: "organization-created-with-200",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/organizations") && outgoing.parts.status == StatusCode::CREATED {
                outgoing.parts.status = StatusCode::OK;
            }
        }),
    },
    // error
    Fault {
        name: "scope-refusal-with-another-code",
        check: "error.code-known",
        how: How::Response(|_, outgoing, _| {
            if lacks_scope(outgoing) {
                outgoing.change(|body| body["detail"]["error"] = json!("MISSING_SCOPE"));
            }
        }),
    },
    Fault {
        name: "scope-refusal-without-what-was-granted",
        check: "error.details",
        how: How::Response(|_, outgoing, _| {
            if lacks_scope(outgoing) {
                outgoing.change(|body| {
                    body["detail"].as_object_mut().map(|detail| detail.remove("granted_scopes"));
                });
            }
        }),
    },
    Fault {
        name: "invalid-organization-as-422",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/organizations") && outgoing.parts.status == StatusCode::BAD_REQUEST {
                outgoing.change(|body| *body = json!({"errors": [{"loc": ["body"], "msg": "field required"}]}));
            }
        }),
    },
    // auth
    Fault {
        name: "no-challenge-on-401",
        check: "auth.challenge",
        how: How::Response(|_, outgoing, _| {
            outgoing.parts.headers.remove("www-authenticate");
        }),
    },
    Fault {
        name: "organizations-for-everybody",
        check: "auth.required",
        how: How::Response(|incoming, outgoing, _| {
            let nobody = incoming.bearer().is_none() && !incoming.parts.headers.contains_key("x-api-key");
            if nobody && incoming.is(&Method::GET, "/api/organizations") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "keys-list-keys",
        check: "auth.token-kind",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/api-keys") && incoming.parts.headers.contains_key("x-api-key") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    // scope
    Fault {
        name: "any-key-lists-organizations",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/organizations") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "any-key-makes-organizations",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/organizations") {
                let made = json!({"id": "org_1", "name": "x", "slug": "x", "created_at": "2026-04-16T10:00:00Z"});
                let_in(outgoing, StatusCode::CREATED, made);
            }
        }),
    },
    Fault {
        name: "any-key-lists-integrations",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/integrations") {
                let_in(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "any-key-asks-for-health",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/health/detailed") {
                let_in(outgoing, StatusCode::OK, json!({"status": "ok", "checks": {}}));
            }
        }),
    },
    Fault {
        name: "members-rename-their-organization",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if is_organization(incoming) && incoming.parts.method == Method::PATCH {
                let changed = json!({"id": "org_1", "name": "x", "slug": "x", "created_at": "2026-04-16T10:00:00Z"});
                if incoming.bearer().is_some() {
                    let_in(outgoing, StatusCode::OK, changed);
                }
            }
        }),
    },
    Fault {
        name: "everybody-sees-revocations",
        check: "scope.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/api/admin/") && outgoing.parts.status == StatusCode::FORBIDDEN {
                *outgoing = answer(outgoing, StatusCode::OK, json!([]));
            }
        }),
    },
    Fault {
        name: "a-missing-scope-is-a-404",
        check: "scope.answer",
        how: How::Response(|_, outgoing, _| {
            if lacks_scope(outgoing) {
                *outgoing = answer(outgoing, StatusCode::NOT_FOUND, json!({"detail": "Not found"}));
            }
        }),
    },
    Fault {
        name: "grants-need-a-second-scope",
        check: "scope.sufficient",
        how: How::Response(|incoming, outgoing, _| {
            let by_key = incoming.parts.headers.contains_key("x-api-key");
            if by_key && incoming.is(&Method::GET, "/api/integrations") && outgoing.parts.status == StatusCode::OK {
                let detail = json!({"error": "INSUFFICIENT_API_KEY_SCOPE", "message": "seeded",
                                    "required_scope": "api:read", "granted_scopes": ["integrations:read"]});
                *outgoing = answer(outgoing, StatusCode::FORBIDDEN, json!({"detail": detail}));
            }
        }),
    },
    // state
    Fault {
        name: "pages-of-keys-lack-their-first",
        check: "state.paging",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/api-keys") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| {
                    if let Some(list) = body.as_array_mut().filter(|list| !list.is_empty()) {
                        list.remove(0);
                    }
                });
            }
        }),
    },
    Fault {
        name: "deleted-organizations-are-still-there",
        check: "state.deleted-is-gone",
        how: How::Answer(|incoming, _| {
            let deletes = is_organization(incoming) && incoming.parts.method == Method::DELETE;
            deletes.then(|| Outgoing::new(StatusCode::OK, &json!({"message": "Organization deleted"})))
        }),
    },
    Fault {
        name: "new-description-is-forgotten",
        check: "state.update-persists",
        how: How::Response(|incoming, outgoing, _| {
            if is_organization(incoming)
                && incoming.parts.method == Method::GET
                && outgoing.parts.status == StatusCode::OK
            {
                outgoing.change(|body| {
                    body["name"] = json!("Unchanged");
                    body["description"] = Value::Null;
                });
            }
        }),
    },
    Fault {
        name: "organizations-are-deleted-twice",
        check: "state.repeat-delete",
        how: How::Response(|incoming, outgoing, _| {
            // An id that never was is still refused: nobody would notice otherwise.
            if is_organization(incoming)
                && incoming.path().contains("/org_")
                && incoming.parts.method == Method::DELETE
                && outgoing.parts.status == StatusCode::NOT_FOUND
            {
                *outgoing = answer(outgoing, StatusCode::OK, json!({"message": "Organization deleted"}));
            }
        }),
    },
    // tenancy
    Fault {
        name: "strangers-see-organizations",
        check: "tenancy.read",
        how: How::Response(|incoming, outgoing, _| {
            if is_organization(incoming)
                && incoming.parts.method == Method::GET
                && outgoing.parts.status == StatusCode::NOT_FOUND
            {
                let id = incoming.path().rsplit('/').next().unwrap_or_default();
                let seen = json!({"id": id, "name": "x", "slug": "x", "created_at": "2026-04-16T10:00:00Z"});
                *outgoing = answer(outgoing, StatusCode::OK, seen);
            }
        }),
    },
    Fault {
        name: "strangers-delete-keys",
        check: "tenancy.delete",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/api/api-keys/key_")
                && incoming.parts.method == Method::DELETE
                && outgoing.parts.status == StatusCode::NOT_FOUND
            {
                *outgoing = answer(outgoing, StatusCode::NO_CONTENT, Value::Null);
                outgoing.body = Default::default();
            }
        }),
    },
    Fault {
        name: "strangers-rename-organizations",
        check: "tenancy.write",
        how: How::Response(|incoming, outgoing, _| {
            if is_organization(incoming)
                && incoming.parts.method == Method::PATCH
                && outgoing.parts.status == StatusCode::NOT_FOUND
            {
                let id = incoming.path().rsplit('/').next().unwrap_or_default();
                let seen = json!({"id": id, "name": "x", "slug": "x", "created_at": "2026-04-16T10:00:00Z"});
                *outgoing = answer(outgoing, StatusCode::OK, seen);
            }
        }),
    },
    // secret
    Fault {
        name: "lists-show-keys",
        check: "secret.shown-once",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/api-keys") {
                each(outgoing, |key| key["key"] = json!(format!("xntr-{}", "k".repeat(86))));
            }
        }),
    },
    Fault {
        name: "profile-repeats-the-password",
        check: "secret.write-only",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/api/auth/register")
                && outgoing.parts.status == StatusCode::CREATED
                && let Some(sent) = incoming.json()
            {
                outgoing.change(|body| body["password"] = sent["password"].clone());
            }
        }),
    },
    // limit
    Fault { name: "more-sessions-than-promised", check: "limit.value", how: How::Limit("session", 3500) },
    Fault {
        name: "no-word-of-how-long-to-wait",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.parts.headers.remove("retry-after");
        }),
    },
];

fn lacks_scope(outgoing: &Outgoing) -> bool {
    outgoing.json().is_some_and(|body| body["detail"]["error"] == "INSUFFICIENT_API_KEY_SCOPE")
}

/// Whether the path is that of one organization.
fn is_organization(incoming: &Incoming) -> bool {
    incoming.path().strip_prefix("/api/organizations/").is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
}

/// The operations that show a fault: a run of all eighty for each fault is a minute that shows nothing more.
pub fn operations(fault: &str) -> &'static [&'static str] {
    match fault {
        "keys-without-kid" => &["create_organization", "get_integration_jwks"],
        "fingerprint-in-capitals" => &["create_organization", "get_integration_fingerprint"],
        "consent-page-without-an-address" => &["start_google_calendar_oauth"],
        "organization-created-with-200" | "invalid-organization-as-422" | "any-key-makes-organizations" => {
            &["create_organization"]
        }
        "scope-refusal-with-another-code"
        | "scope-refusal-without-what-was-granted"
        | "a-missing-scope-is-a-404"
        | "any-key-lists-integrations"
        | "grants-need-a-second-scope" => &["list_integrations"],
        "organizations-for-everybody" | "any-key-lists-organizations" => &["list_organizations"],
        "keys-list-keys" => &["list_api_keys"],
        "lists-show-keys" | "pages-of-keys-lack-their-first" => &["create_api_key", "list_api_keys", "delete_api_key"],
        "any-key-asks-for-health" => &["detailed_health_check"],
        "members-rename-their-organization" | "strangers-rename-organizations" => {
            &["create_organization", "update_organization", "get_organization"]
        }
        "everybody-sees-revocations" => &["list_integration_token_revocations"],
        "deleted-organizations-are-still-there" | "organizations-are-deleted-twice" => {
            &["create_organization", "get_organization", "delete_organization"]
        }
        "new-description-is-forgotten" => &["create_organization", "get_organization", "update_organization"],
        "strangers-see-organizations" => &["create_organization", "get_organization"],
        "strangers-delete-keys" => &["create_api_key", "delete_api_key", "list_api_keys"],
        "profile-repeats-the-password" => &["register_user"],
        _ => &[],
    }
}
