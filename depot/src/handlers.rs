//! What the depot does, operation by operation.

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use super::store::{Kept, Kind, Parcel, Token, number_of, rfc3339};
use super::{Answer, Depot, Incoming, NO_PATH, SCOPES};

/// A refusal is an answer.
pub(super) type Done = Result<Answer, Answer>;

pub(super) struct Caller {
    pub(super) tenant: String,
    pub(super) scopes: Vec<String>,
    /// The credential itself.
    pub(super) text: String,
}

impl Depot {
    pub(super) async fn answer(&self, incoming: &Incoming) -> Answer {
        if let Some(busy) = self.note(incoming) {
            return busy;
        }
        let pieces: Vec<&str> = incoming.path.iter().map(String::as_str).collect();
        let method = incoming.method.as_str();
        let done = match (method, pieces.as_slice()) {
            ("GET", ["parcels"]) => self.list(incoming).await,
            ("POST", ["parcels"]) => self.create(incoming).await,
            ("GET", ["parcels", id]) => self.read(incoming, id),
            ("PUT" | "PATCH", ["parcels", id]) => self.change(incoming, id).await,
            ("DELETE", ["parcels", id]) => self.delete(incoming, id),
            ("GET", ["parcels", id, "events"]) => self.events(incoming, id),
            ("POST", ["parcels", id, "events"]) => self.add_event(incoming, id),
            ("GET" | "DELETE", ["parcels", id, "events", event]) => self.event(incoming, id, event),
            ("GET", ["quotes"]) => self.quote(incoming),
            ("GET", ["tariff"]) => self.tariff(incoming),
            ("GET", ["lockers"]) => self.lockers(incoming),
            ("POST", ["lockers"]) => self.create_locker(incoming),
            ("GET" | "DELETE", ["lockers", id]) => self.locker(incoming, id),
            ("GET", ["site"]) => self.site(incoming),
            ("GET", ["tokens"]) => self.tokens(incoming),
            ("POST", ["tokens"]) => self.create_token(incoming),
            ("DELETE", ["tokens", id]) => self.revoke(incoming, id),
            ("POST", ["login"]) => self.log_in(incoming),
            ("POST", ["logout"]) => self.log_out(incoming),
            (_, ["login" | "logout"]) => Err(self.other_method("POST")),
            ("HEAD", ["parcels"]) if self.has("head-is-refused") => Err(Answer::problem(400, "no HEAD here")),
            ("HEAD", ["parcels"]) if self.has("head-with-another-type") => {
                Ok(Answer::empty(200).with("content-type", "text/plain"))
            }
            (_, ["parcels"]) => Err(self.other_method("GET, POST")),
            (_, ["parcels", _]) => Err(self.other_method("GET, PUT, PATCH, DELETE")),
            (_, ["parcels", _, "events"]) => Err(self.other_method("GET, POST")),
            (_, ["parcels", _, "events", _]) => Err(self.other_method("GET, DELETE")),
            (_, ["quotes" | "tariff" | "site"]) => Err(self.other_method("GET")),
            (_, ["lockers"]) => Err(self.other_method("GET, POST")),
            (_, ["lockers", _]) => Err(self.other_method("GET, DELETE")),
            (_, ["tokens"]) => Err(self.other_method("GET, POST")),
            (_, ["tokens", _]) => Err(self.other_method("DELETE")),
            _ if self.has("unknown-paths-are-200") => Ok(Answer::new(200, json!({}))),
            _ => Err(Answer::problem(404, NO_PATH)),
        };
        done.unwrap_or_else(|refusal| refusal)
    }

    fn other_method(&self, allow: &str) -> Answer {
        let answer = Answer::problem(405, "the path has no such method");
        match self.fault {
            "405-without-allow" => answer,
            "allow-is-not-complete" => answer.with("allow", "GET"),
            "other-methods-are-200" => Answer::new(200, json!({})),
            "other-methods-are-400" => Answer::problem(400, "the path has no such method"),
            _ => answer.with("allow", allow),
        }
    }

    /// Who asks, with this scope.
    pub(super) fn caller(&self, incoming: &Incoming, scope: &str) -> Result<Caller, Answer> {
        let enough = |scopes: &[String]| {
            let has = |wanted: &str| scopes.iter().any(|one| one == wanted);
            let family = scope.split(':').next().unwrap_or_default();
            match self.fault {
                _ if scope.is_empty() => true,
                "readers-may-write" if scope == "parcels:write" => true,
                "delete-without-scope" if scope == "parcels:delete" => true,
                "anybody-makes-tokens" if scope == "tokens:admin" => true,
                "anybody-may-revoke" if scope == "tokens:revoke" => true,
                "any-scope-of-the-family" => scopes.iter().any(|one| one.starts_with(family)),
                "revoking-needs-administration" if scope == "tokens:revoke" => has("tokens:admin"),
                // Either of the two will do.
                _ if scope == "tokens:revoke" => has("tokens:admin") || has(scope),
                "reading-needs-writing" if scope == "parcels:read" => has("parcels:write"),
                "deleting-needs-writing" if scope == "parcels:delete" => has("parcels:write") && has(scope),
                _ => has(scope),
            }
        };
        self.admit(incoming, Kind::Token, enough)
    }

    /// Who asks, with a credential of this kind that is enough.
    pub(super) fn admit(
        &self,
        incoming: &Incoming,
        kind: Kind,
        enough: impl Fn(&[String]) -> bool,
    ) -> Result<Caller, Answer> {
        let unknown = || {
            let answer = Answer::problem(401, "a credential is needed");
            if self.has("401-without-challenge") {
                answer
            } else {
                answer.with("www-authenticate", "Bearer realm=\"depot\"")
            }
        };
        let name = if kind == Kind::Badge { "x-badge" } else { "authorization" };
        let header = incoming.headers.get(name).ok_or_else(unknown)?;
        let Ok(header) = header.to_str() else {
            return Err(if self.has("odd-tokens-crash") { Answer::problem(500, "no text") } else { unknown() });
        };
        let text = match kind {
            Kind::Badge => header,
            Kind::Token | Kind::Staff => header.strip_prefix("Bearer ").ok_or_else(unknown)?,
        };
        let kept = self.store.lock();
        let anybody = Token {
            kind,
            id: String::new(),
            name: String::new(),
            tenant: "north".to_owned(),
            scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            made: false,
            revoked: false,
        };
        let token: &Token = match kept.tokens.get(text) {
            Some(token) => token,
            None if self.has("tokens-by-their-start") && text.len() > 12 => {
                let alike = kept.tokens.iter().find(|(known, _)| known.starts_with(&text[..12]));
                alike.map(|(_, token)| token).ok_or_else(unknown)?
            }
            None if self.has("any-token-will-do") && kind == Kind::Token && !text.is_empty() => &anybody,
            None => return Err(unknown()),
        };
        let other_kind = token.kind != kind && !(self.has("staff-tokens-open-parcels") && token.kind == Kind::Staff);
        if other_kind || token.revoked && !self.has("revoked-token-opens") {
            return Err(unknown());
        }
        if token.kind == kind && !enough(&token.scopes) {
            return Err(match self.fault {
                "missing-scope-is-401" => unknown(),
                "missing-scope-is-404" => Answer::problem(404, "there is no such thing"),
                "token-in-the-problem" => Answer::problem(403, &format!("the token {text} lacks a scope")),
                _ => Answer::problem(403, "the credential lacks a scope"),
            });
        }
        Ok(Caller { tenant: token.tenant.clone(), scopes: token.scopes.clone(), text: text.to_owned() })
    }

    /// The JSON object in a body.
    pub(super) fn object(&self, incoming: &Incoming) -> Result<Map<String, Value>, Answer> {
        let media = incoming.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if media != "application/json" {
            return Err(Answer::problem(415, "only application/json is read"));
        }
        if self.has("nul-crashes") && incoming.body.windows(6).any(|six| six == b"\\u0000") {
            return Err(Answer::problem(500, "the text has a NUL"));
        }
        match serde_json::from_slice(&incoming.body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(Answer::problem(422, "the body must be an object")),
            Err(_) if self.has("deep-bodies-taken") && incoming.body.starts_with(b"[[[[") => {
                let parcel = json!({"label": "deep", "weight": 1.0, "kind": "packed"});
                Ok(parcel.as_object().cloned().unwrap_or_default())
            }
            Err(error) => Err(match self.fault {
                "stack-trace-in-the-problem" => Answer::problem(400, "the body is no JSON").because(
                    "Traceback (most recent call last):\n  File \"depot/body.py\", line 12, in read\nJSONDecodeError",
                ),
                "panic-in-the-problem" => Answer::problem(400, "the body is no JSON")
                    .because(&format!("thread 'worker' panicked at src/body.rs:88:21: {error}")),
                _ => Answer::problem(400, "the body is no JSON"),
            }),
        }
    }

    /// The caller's own parcel.
    fn own<'a>(&self, kept: &'a Kept, caller: &Caller, id: &str, free: &[&str]) -> Result<&'a Parcel, Answer> {
        let missing = || Answer::problem(404, "there is no such parcel");
        let parcel = kept.find(id).ok_or_else(missing)?;
        if parcel.tenant == caller.tenant || free.contains(&self.fault) {
            return Ok(parcel);
        }
        Err(if self.has("foreign-parcels-are-403") { Answer::problem(403, "not yours") } else { missing() })
    }

    async fn list(&self, incoming: &Incoming) -> Done {
        let caller = match self.has("parcels-for-everybody") {
            true => Caller { tenant: "north".to_owned(), scopes: Vec::new(), text: String::new() },
            false => self.caller(incoming, "parcels:read")?,
        };
        let query = incoming.query.as_ref();
        if self.has("odd-query-crashes") && query.is_none() {
            return Err(Answer::problem(500, "the query is no text"));
        }
        let query = query.ok_or_else(|| Answer::problem(400, "the query is no UTF-8"))?;
        let mut limit = number(query, "limit", 1, 100)?.unwrap_or(20);
        let cursor = query.iter().find(|(name, _)| name == "cursor").map(|(_, value)| value.as_str());
        let mut after = match cursor {
            Some(text) => {
                let number = text.strip_prefix('c').and_then(|digits| digits.parse::<u64>().ok());
                number.ok_or_else(|| Answer::problem(400, "the cursor is none of ours"))?
            }
            None => 0,
        };
        if self.has("limit-is-ignored") {
            limit = 1_000;
        }
        if self.has("full-pages-take-seconds") && limit == 100 {
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        if self.has("pages-overlap") {
            after = after.saturating_sub(u64::from(after > 0));
        }
        let kept = self.store.lock();
        let mut parcels: Vec<&Parcel> = kept
            .parcels
            .values()
            .filter(|parcel| parcel.tenant == caller.tenant || self.has("list-of-everybody"))
            .collect();
        if self.has("list-without-the-newest") {
            parcels.pop();
        }
        if self.has("list-with-ghosts") {
            parcels.extend(kept.ghosts.iter().filter(|ghost| ghost.tenant == caller.tenant));
        }
        parcels.sort_by_key(|parcel| parcel.number);
        let mut rest: Vec<&Parcel> = parcels.into_iter().filter(|parcel| parcel.number > after).collect();
        let more = rest.len() > limit;
        rest.truncate(limit);
        let mut next = if more { rest.last().map(|parcel| format!("c{}", parcel.number)) } else { None };
        match self.fault {
            "pages-skip-one" => next = next.and_then(|text| Some(format!("c{}", text[1..].parse::<u64>().ok()? + 1))),
            "pages-never-end" => next = next.or_else(|| Some("c999999999".to_owned())),
            "cursor-cannot-be-used" => next = next.map(|text| format!("x{text}")),
            "small-pages-the-other-way" if limit < 5 => rest.reverse(),
            _ => {}
        }
        let mut items: Vec<Value> = rest.iter().map(|parcel| self.shown(parcel)).collect();
        if self.has("list-with-other-weights") {
            items.iter_mut().for_each(|item| item["weight"] = json!(item["weight"].as_f64().unwrap_or(0.0) * 1000.0));
        }
        Ok(Answer::new(200, json!({"items": items, "next_cursor": next})))
    }

    fn shown(&self, parcel: &Parcel) -> Value {
        let mut shown = parcel.shown();
        match self.fault {
            "changed-before-created" => shown["updated_at"] = json!("2020-01-01T00:00:00.000Z"),
            "created-in-the-future" => shown["created_at"] = json!(rfc3339(self.now_ms() + 3_600_000)),
            // The local time of a place an hour behind, told as if it were UTC.
            "changes-in-local-time" => shown["updated_at"] = json!(rfc3339(self.now_ms() - 3_600_000)),
            "weight-as-text" => shown["weight"] = json!(shown["weight"].to_string()),
            "fragile-is-missing" => {
                shown.as_object_mut().map(|members| members.remove("fragile"));
            }
            _ => {}
        }
        shown
    }

    async fn create(&self, incoming: &Incoming) -> Done {
        let caller = self.caller(incoming, "parcels:write")?;
        let given = self.object(incoming)?;
        let members = self.valid_parcel(&given, true)?;
        let key = incoming.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
        if key.is_some_and(|key| key.is_empty() || key.chars().count() > 64) {
            return Err(Answer::problem(400, "the key has from 1 to 64 characters"));
        }
        let body = Value::Object(members.clone());
        let owner = if self.has("keys-of-everybody") { String::new() } else { caller.tenant.clone() };
        let slot = key.filter(|_| !self.has("key-is-ignored")).map(|key| (owner, key.to_owned()));
        let known = slot.as_ref().and_then(|slot| self.store.lock().keys.get(slot).cloned());
        if self.has("key-is-looked-up-too-early") {
            tokio::task::yield_now().await;
        }
        let mut kept = self.store.lock();
        let known = if self.has("key-is-looked-up-too-early") {
            known
        } else {
            slot.as_ref().and_then(|slot| kept.keys.get(slot).cloned())
        };
        if let Some((before, number)) = known {
            if before != body && !self.has("key-takes-any-body") {
                return Err(Answer::problem(409, "the key was used for another request"));
            }
            if before == body
                && let Some(parcel) = kept.parcels.get(&number).cloned()
            {
                return Ok(self.created(&parcel));
            }
        }
        let number = kept.number();
        let at = match given.get("created_at").and_then(Value::as_str) {
            Some(text) if self.has("creation-time-from-the-request") => text.to_owned(),
            _ => self.now(),
        };
        let mut stored = members;
        if self.has("note-is-not-stored") {
            stored.remove("note");
        }
        if self.has("weight-is-rounded-later")
            && let Some(weight) = stored.get("weight").and_then(Value::as_f64)
        {
            stored.insert("weight".to_owned(), json!(weight.round()));
        }
        let parcel = Parcel {
            number,
            tenant: caller.tenant,
            members: stored,
            version: 1,
            created: at.clone(),
            updated: at,
            events: Vec::new(),
        };
        if let Some(slot) = slot {
            kept.keys.insert(slot, (body.clone(), number));
        }
        let mut answered = parcel.clone();
        if let Value::Object(members) = body {
            answered.members = members;
        }
        if !self.has("made-and-lost") {
            kept.parcels.insert(number, parcel);
        }
        Ok(self.created(&answered))
    }

    fn created(&self, parcel: &Parcel) -> Answer {
        let location = match self.fault {
            "location-without-the-plural" => format!("/parcel/{}", parcel.id()),
            "location-of-another" => "/parcels/p-00000002".to_owned(),
            "location-is-relative-to-nothing" => parcel.id(),
            _ => format!("/parcels/{}", parcel.id()),
        };
        let status = if self.has("created-is-200") { 200 } else { 201 };
        let answer = Answer::new(status, self.shown(parcel)).with("location", location);
        if self.has("created-without-a-tag") { answer } else { answer.with("etag", parcel.tag()) }
    }

    fn read(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "parcels:read")?;
        let kept = self.store.lock();
        let ghost = kept.ghosts.iter().find(|ghost| ghost.id() == id && self.has("deleted-can-be-read"));
        let parcel = match ghost {
            Some(ghost) => ghost,
            None => self.own(&kept, &caller, id, &["anybody-reads"])?,
        };
        let parcel = match kept.parcels.values().find(|one| one.tenant == caller.tenant) {
            Some(first) if self.has("some-parcel-for-another") => first,
            _ => parcel,
        };
        let tag = if self.has("tag-never-changes") { "\"1\"".to_owned() } else { parcel.tag() };
        let condition = incoming.headers.get("if-none-match").and_then(|value| value.to_str().ok());
        if condition.is_some_and(|text| matches(text, &tag)) && !self.has("never-304") {
            return Ok(Answer::empty(304).with("etag", tag));
        }
        Ok(Answer::new(200, self.shown(parcel)).with("etag", tag))
    }

    async fn change(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "parcels:write")?;
        let put = incoming.method == Method::PUT;
        let free: &[&str] = if put { &["anybody-replaces"] } else { &["anybody-patches"] };
        let given = self.object(incoming)?;
        let condition = incoming.headers.get("if-match").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seen = {
            let mut kept = self.store.lock();
            if self.has("deleted-can-be-patched") && kept.find(id).is_none() && kept.deleted.iter().any(|one| one == id)
            {
                let ghost = kept.ghosts.iter().find(|ghost| ghost.id() == id).cloned();
                return ghost
                    .map(|ghost| Answer::new(200, ghost.shown()).with("etag", ghost.tag()))
                    .ok_or_else(|| Answer::problem(404, "gone"));
            }
            let parcel = self.own(&kept, &caller, id, free)?.clone();
            let valid = self.valid_parcel(&given, put);
            if let (Err(refusal), true) =
                (&valid, self.has("refused-put-stores") && put || self.has("refused-patch-stores") && !put)
            {
                if let Some(stored) = kept.parcels.get_mut(&parcel.number)
                    && let Some(label) = given.get("label").filter(|label| label.is_string())
                {
                    stored.members.insert("label".to_owned(), label.clone());
                }
                return Err(Answer { body: refusal.body.clone(), headers: Vec::new(), status: refusal.status });
            }
            valid?;
            parcel
        };
        let ignored = self.has("if-match-is-ignored") && !put || self.has("if-match-is-ignored-by-put") && put;
        let stale =
            |parcel: &Parcel| condition.as_deref().is_some_and(|text| !matches(text, &parcel.tag())) && !ignored;
        let refused = || Answer::problem(412, "the parcel has changed since");
        if self.has("tag-is-compared-too-early") {
            if stale(&seen) {
                return Err(refused());
            }
            tokio::task::yield_now().await;
        }
        if self.has("current-tag-is-refused") && condition.is_some() {
            return Err(refused());
        }
        let mut kept = self.store.lock();
        let number = number_of(id).unwrap_or_default();
        let Some(parcel) = kept.parcels.get_mut(&number) else {
            return Err(Answer::problem(404, "there is no such parcel"));
        };
        if stale(parcel) && !self.has("tag-is-compared-too-early") {
            if self.has("412-and-stored") {
                parcel.members.extend(given);
            }
            return Err(refused());
        }
        let before = parcel.clone();
        if put && !self.has("put-merges") {
            parcel.members.clear();
        }
        if !put && self.has("patch-wipes") {
            parcel.members.retain(|name, _| name == "label" || name == "weight");
        }
        if !put && self.has("patch-resets-the-copies") {
            parcel.members.remove("copies");
        }
        parcel.members.extend(known_members(&given));
        parcel.version += 1;
        parcel.updated = self.now();
        let answered = parcel.clone();
        match self.fault {
            "patch-is-not-stored" if !put => *parcel = before,
            "put-is-not-stored" if put => *parcel = before,
            "note-cannot-be-changed" => {
                parcel.members.remove("note");
                parcel.members.extend(before.members.get("note").map(|note| ("note".to_owned(), note.clone())));
            }
            "tag-skips-a-change" => parcel.version = before.version,
            _ => {}
        }
        let tag = if self.has("tag-never-changes") { "\"1\"".to_owned() } else { answered.tag() };
        Ok(Answer::new(200, self.shown(&answered)).with("etag", tag))
    }

    fn delete(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "parcels:delete")?;
        let mut kept = self.store.lock();
        if kept.find(id).is_none() && kept.deleted.iter().any(|one| one == id) {
            match self.fault {
                "second-delete-succeeds" => return Ok(Answer::empty(204)),
                "second-delete-crashes" => return Err(Answer::problem(500, "it is gone already")),
                _ => {}
            }
        }
        let parcel = self.own(&kept, &caller, id, &["anybody-deletes"])?.clone();
        let condition = incoming.headers.get("if-match").and_then(|value| value.to_str().ok());
        let stale = condition.is_some_and(|text| !matches(text, &parcel.tag()));
        if stale && !self.has("if-match-is-ignored-by-delete") {
            return Err(Answer::problem(412, "the parcel has changed since"));
        }
        kept.deleted.push(id.to_owned());
        if !self.has("delete-does-nothing") {
            kept.parcels.remove(&parcel.number);
            kept.ghosts.push(parcel);
        }
        if self.has("words-after-a-deletion") {
            return Ok(Answer::new(204, json!({"deleted": id})));
        }
        Ok(Answer::empty(204))
    }

    fn events(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "parcels:read")?;
        let kept = self.store.lock();
        let ghost = kept.ghosts.iter().find(|ghost| ghost.id() == id && self.has("events-outlive-their-parcel"));
        let parcel = match ghost {
            Some(ghost) => ghost,
            None => self.own(&kept, &caller, id, &["anybody-reads-events"])?,
        };
        let query = incoming.query.as_ref().ok_or_else(|| Answer::problem(400, "the query is no UTF-8"))?;
        let limit = number(query, "limit", 1, 100)?.unwrap_or(50);
        let mut offset = number(query, "offset", 0, 100_000)?.unwrap_or(0);
        if self.has("offset-is-ignored") {
            offset = 0;
        }
        if self.has("offset-counts-from-one") && offset > 0 {
            offset += 1;
        }
        let items: Vec<Value> = parcel.events.iter().skip(offset).take(limit).cloned().collect();
        Ok(Answer::new(200, json!(items)))
    }

    fn add_event(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "parcels:write")?;
        let members = self.object(incoming)?;
        let mut kept = self.store.lock();
        let number = self.own(&kept, &caller, id, &["anybody-adds-events"])?.number;
        let kind = members.get("kind").and_then(Value::as_str);
        let kind = kind.filter(|kind| ["packed", "moved", "delivered"].contains(kind));
        let place = members.get("place");
        let wrong = place.is_some_and(|place| place.as_str().is_none_or(|place| place.chars().count() > 120));
        let Some(kind) = kind.filter(|_| !wrong) else { return Err(Answer::problem(422, "the event is not valid")) };
        let given = members.get("id").filter(|id| self.has("event-id-from-the-request") && id.is_u64());
        let id = given.cloned().unwrap_or_else(|| json!(kept.number()));
        let event = json!({"id": id, "kind": kind, "place": place, "at": self.now()});
        if let Some(parcel) = kept.parcels.get_mut(&number) {
            let mut stored = event.clone();
            if self.has("place-is-not-stored") {
                stored["place"] = Value::Null;
            }
            parcel.events.push(stored);
        }
        Ok(Answer::new(201, event))
    }

    fn event(&self, incoming: &Incoming, id: &str, event: &str) -> Done {
        let destroys = incoming.method == Method::DELETE;
        let caller = self.caller(incoming, if destroys { "parcels:delete" } else { "parcels:read" })?;
        let mut kept = self.store.lock();
        let free: &[&str] = if destroys { &["anybody-deletes-events"] } else { &["anybody-reads-one-event"] };
        let number = self.own(&kept, &caller, id, free)?.number;
        let missing = || Answer::problem(404, "there is no such event");
        let wanted: u64 = event.parse().map_err(|_| missing())?;
        let parcel = kept.parcels.get_mut(&number).ok_or_else(missing)?;
        let place = parcel.events.iter().position(|one| one["id"] == wanted).ok_or_else(missing)?;
        if destroys {
            if !self.has("events-stay") {
                parcel.events.remove(place);
            }
            return Ok(Answer::empty(204));
        }
        Ok(Answer::new(200, parcel.events[place].clone()))
    }

    fn tokens(&self, incoming: &Incoming) -> Done {
        let caller = self.caller(incoming, "tokens:admin")?;
        let kept = self.store.lock();
        let own = kept.tokens.iter().filter(|(_, token)| token.made && !token.revoked && token.tenant == caller.tenant);
        let mut own: Vec<_> = own.collect();
        own.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
        let items = own.into_iter().map(|(text, token)| {
            let mut shown = json!({"id": token.id, "name": token.name, "scopes": token.scopes});
            if self.has("tokens-in-the-list") {
                shown["token"] = json!(text);
            }
            shown
        });
        Ok(Answer::new(200, items.collect()))
    }

    fn create_token(&self, incoming: &Incoming) -> Done {
        let caller = self.caller(incoming, "tokens:admin")?;
        let members = self.object(incoming)?;
        let name = members.get("name").and_then(Value::as_str).filter(|name| (1..=60).contains(&name.chars().count()));
        let scopes: Option<Vec<String>> = members
            .get("scopes")
            .and_then(Value::as_array)
            .and_then(|scopes| scopes.iter().map(|scope| scope.as_str().map(str::to_owned)).collect());
        let invalid = || Answer::problem(422, "the token is not valid");
        let (Some(name), Some(scopes)) = (name, scopes) else { return Err(invalid()) };
        let mut distinct = scopes.clone();
        distinct.sort();
        distinct.dedup();
        if scopes.is_empty()
            || distinct.len() < scopes.len()
            || !scopes.iter().all(|one| SCOPES.contains(&one.as_str()))
        {
            return Err(invalid());
        }
        if !scopes.iter().all(|scope| caller.scopes.contains(scope)) {
            return Err(Answer::problem(403, "nobody gives what he has not"));
        }
        if self.has("making-a-token-ends-the-session") {
            self.end_session(incoming);
        }
        let mut kept = self.store.lock();
        let number = kept.number();
        let (id, text) =
            (format!("t-{number:08x}"), format!("{:016x}-{number:08x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let token = Token {
            kind: Kind::Token,
            id: id.clone(),
            name: name.to_owned(),
            tenant: caller.tenant,
            scopes: scopes.clone(),
            made: true,
            revoked: false,
        };
        kept.tokens.insert(text.clone(), token);
        Ok(Answer::new(201, json!({"id": id, "name": name, "scopes": scopes, "token": text})))
    }

    fn log_in(&self, incoming: &Incoming) -> Done {
        let members = self.object(incoming)?;
        let text = |name: &str| {
            let text = members.get(name).and_then(Value::as_str);
            text.filter(|text| (1..=60).contains(&text.chars().count())).map(str::to_owned)
        };
        let (Some(user), Some(secret)) = (text("user"), text("secret")) else {
            return Err(Answer::problem(422, "user and secret are needed"));
        };
        if (user.as_str(), secret.as_str()) != ("nora", "nora-knows-this-1") {
            return Err(Answer::problem(401, "nobody has that secret").with("www-authenticate", "Bearer"));
        }
        let mut kept = self.store.lock();
        let number = kept.number();
        let text = format!("session-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scopes = SCOPES.iter().map(|scope| (*scope).to_owned()).collect();
        let token = Token {
            kind: Kind::Token,
            id: format!("s-{number:08x}"),
            name: user.clone(),
            tenant: "north".to_owned(),
            scopes,
            made: false,
            revoked: false,
        };
        kept.tokens.insert(text.clone(), token);
        let answer = Answer::new(200, json!({"token": text}));
        Ok(match self.fault {
            "login-repeats-the-secret" => Answer::new(200, json!({"token": text, "secret": secret})),
            "secret-in-a-header" => answer.with("x-debug", format!("{user}:{secret}")),
            _ => answer,
        })
    }

    fn log_out(&self, incoming: &Incoming) -> Done {
        self.caller(incoming, "")?;
        self.end_session(incoming);
        Ok(Answer::empty(204))
    }

    fn end_session(&self, incoming: &Incoming) {
        let header = incoming.headers.get("authorization").and_then(|value| value.to_str().ok());
        let text = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        if let Some(token) = self.store.lock().tokens.get_mut(text) {
            token.revoked = true;
        }
    }

    fn revoke(&self, incoming: &Incoming, id: &str) -> Done {
        let caller = self.caller(incoming, "tokens:revoke")?;
        let mut kept = self.store.lock();
        let anybody = self.has("anybody-revokes");
        let token = kept
            .tokens
            .values_mut()
            .find(|token| token.id == id && (token.tenant == caller.tenant || anybody) && !token.revoked);
        match token {
            Some(token) => {
                token.revoked = true;
                Ok(Answer::empty(204))
            }
            None => Err(Answer::problem(404, "there is no such token")),
        }
    }
}

/// A whole number in the query.
fn number(query: &[(String, String)], name: &str, least: usize, most: usize) -> Result<Option<usize>, Answer> {
    let Some((_, text)) = query.iter().find(|(given, _)| given == name) else { return Ok(None) };
    let plain = text.parse::<usize>().ok().filter(|number| (least..=most).contains(number));
    // `1.0` and `1e0` are the same number (RFC 8259 section 6), and the schema takes it.
    let number = plain.or_else(|| {
        let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && *number >= least as f64)?;
        (number <= most as f64).then_some(number as usize)
    });
    number.map(Some).ok_or_else(|| Answer::problem(400, &format!("`{name}` is a whole number from {least} to {most}")))
}

/// RFC 9110 section 13.1: a list of tags, or `*`.
fn matches(condition: &str, tag: &str) -> bool {
    condition.trim() == "*" || condition.split(',').any(|one| one.trim() == tag)
}

fn known_members(given: &Map<String, Value>) -> Map<String, Value> {
    let names = ["label", "weight", "note", "priority", "fragile", "copies"];
    given
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl Depot {
    /// The members of a parcel, if all of them are valid.
    fn valid_parcel(&self, given: &Map<String, Value>, whole: bool) -> Result<Map<String, Value>, Answer> {
        let mut errors = Vec::new();
        let mut hold = |name: &str, good: &dyn Fn(&Value) -> bool| match given.get(name) {
            Some(value) if !good(value) => errors.push(name.to_owned()),
            None if whole && (name == "label" && !self.has("label-not-required") || name == "weight") => {
                errors.push(name.to_owned());
            }
            _ => {}
        };
        let text = |value: &Value, least: usize, most: usize| {
            value.as_str().is_some_and(|text| (least..=most).contains(&text.chars().count()))
        };
        let longest = if self.has("long-labels-refused") { 40 } else { 80 };
        let heaviest = if self.has("weight-not-bounded") { f64::INFINITY } else { 1000.0 };
        hold("label", &|value| text(value, 1, longest));
        hold("weight", &|value| value.as_f64().is_some_and(|weight| weight > 0.0 && weight <= heaviest));
        hold("note", &|value| text(value, 0, 500));
        hold("priority", &|value| {
            value.as_str().is_some_and(|one| ["low", "normal", "high"].contains(&one))
                || value.is_string() && self.has("any-priority-taken")
        });
        hold("fragile", &Value::is_boolean);
        hold("copies", &|value| {
            value.as_f64().is_some_and(|copies| copies.fract() == 0.0 && (1.0..=99.0).contains(&copies))
        });
        if errors.is_empty() && !whole && given.is_empty() {
            errors.push("nothing to change".to_owned());
        }
        if errors.is_empty() {
            return Ok(known_members(given));
        }
        let mut answer = Answer::problem(422, "the parcel is not valid");
        if self.has("statement-in-the-problem") {
            answer = answer.because("INSERT INTO parcels (label, weight) VALUES ($1, $2): check constraint failed");
        }
        if let Some(body) = &mut answer.body {
            body["errors"] = json!(errors);
        }
        Err(answer)
    }
}
