//! What the depot keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// Everything, behind one lock, and the clock that it goes by: the machine's, and what it was put forward.
pub(super) struct Store {
    kept: Mutex<Kept>,
    ahead_ms: AtomicI64,
}

/// Everything.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) next: u64,
    /// In the order in which they were made.
    pub(super) parcels: BTreeMap<u64, Parcel>,
    pub(super) tokens: HashMap<String, Token>,
    pub(super) lockers: BTreeMap<u64, Locker>,
    /// By what is asked for, and the token.
    pub(super) minutes: HashMap<(&'static str, String), Minute>,
    /// By tenant and key: the request's body, and what was made.
    pub(super) keys: HashMap<(String, String), (Value, u64)>,
    /// Requests so far, and their methods with the first piece of the path.
    pub(super) asked: u64,
    pub(super) methods: std::collections::BTreeSet<String>,
    /// Ids that were deleted.
    pub(super) deleted: Vec<String>,
    /// What they were, for the fault that brings them back.
    pub(super) ghosts: Vec<Parcel>,
}

#[derive(Clone)]
pub(super) struct Parcel {
    pub(super) number: u64,
    pub(super) tenant: String,
    pub(super) members: Map<String, Value>,
    pub(super) version: u64,
    pub(super) created: String,
    pub(super) updated: String,
    pub(super) events: Vec<Value>,
}

#[derive(Clone)]
pub(super) struct Locker {
    pub(super) number: u64,
    pub(super) tenant: String,
    pub(super) corner: String,
    pub(super) code: String,
    pub(super) created: String,
}

/// What was asked in a minute that began with the first question.
#[derive(Clone, Copy)]
pub(super) struct Minute {
    pub(super) began_ms: i64,
    pub(super) asked: u64,
    pub(super) refused: u64,
    /// What the fault that puts the end off has added.
    pub(super) late_ms: i64,
}

/// How somebody says who he is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `oauth`.
    Token,
    /// `badge`.
    Badge,
    /// `staff`.
    Staff,
}

#[derive(Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tenant: String,
    pub(super) scopes: Vec<String>,
    /// By `POST /tokens`.
    pub(super) made: bool,
    pub(super) revoked: bool,
}

impl Store {
    pub(super) fn new() -> Self {
        let mut kept = Kept { next: 1, ..Kept::default() };
        for (kind, text, tenant, scopes) in [
            (Kind::Token, "north-read-c07d2a4418", "north", &super::SCOPES[..1]),
            (Kind::Token, "north-asks-1b77e0c2d9", "north", &super::SCOPES[..1]),
            (Kind::Token, "north-asks-64fa58310e", "north", &super::SCOPES[..1]),
            (Kind::Token, "south-all-98e3f6ab21", "south", &super::SCOPES[..]),
            (Kind::Badge, "badge-porter-51f0c2", "north", &["porter"]),
            (Kind::Badge, "badge-clerk-8a61d7", "north", &["clerk"]),
            (Kind::Badge, "badge-visitor-e204b9", "north", &["visitor"]),
            (Kind::Badge, "badge-southern-77c3a5", "south", &["porter"]),
            (Kind::Staff, "staff-manager-4be90c13", "north", &["site:read"]),
            (Kind::Staff, "staff-trainee-d3570a86", "north", &["site:tidy"]),
        ] {
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let (id, name) = (format!("t-{text}"), text.to_owned());
            let token = Token { kind, id, name, tenant: tenant.to_owned(), scopes, made: false, revoked: false };
            kept.tokens.insert(text.to_owned(), token);
        }
        Store { kept: Mutex::new(kept), ahead_ms: AtomicI64::new(0) }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) + self.ahead_ms.load(Ordering::SeqCst)
    }

    pub(super) fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn find(&self, id: &str) -> Option<&Parcel> {
        self.parcels.get(&number_of(id)?)
    }
}

impl Parcel {
    pub(super) fn id(&self) -> String {
        format!("p-{:08x}", self.number)
    }

    pub(super) fn tag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    pub(super) fn shown(&self) -> Value {
        let of = |name: &str, default: Value| self.members.get(name).cloned().unwrap_or(default);
        json!({
            "id": self.id(),
            "label": of("label", Value::Null),
            "weight": of("weight", Value::Null),
            "note": of("note", Value::Null),
            "priority": of("priority", Value::Null),
            "fragile": of("fragile", json!(false)),
            "copies": of("copies", json!(1)),
            "created_at": self.created,
            "updated_at": self.updated,
        })
    }
}

impl Locker {
    pub(super) fn id(&self) -> String {
        format!("l-{:08x}", self.number)
    }

    pub(super) fn shown(&self) -> Value {
        json!({"id": self.id(), "corner": self.corner, "created_at": self.created})
    }
}

/// The number in an id such as `p-0000002a`.
pub(super) fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("p-").filter(|digits| digits.len() == 8)?;
    u64::from_str_radix(digits, 16).ok()
}

/// A moment as RFC 3339 in UTC with milliseconds (days to a date after Howard Hinnant's `civil_from_days`).
pub(super) fn rfc3339(at_ms: i64) -> String {
    let (at, millis) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    let (days, rest) = (at.div_euclid(86_400), at.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}
