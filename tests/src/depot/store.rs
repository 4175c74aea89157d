//! What the depot keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// Everything, behind one lock.
pub(super) struct Store(Mutex<Kept>);

/// Everything.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) next: u64,
    /// In the order in which they were made.
    pub(super) parcels: BTreeMap<u64, Parcel>,
    pub(super) tokens: HashMap<String, Token>,
    /// By tenant and key: the request's body, and what was made.
    pub(super) keys: HashMap<(String, String), (Value, u64)>,
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
pub(super) struct Token {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) scopes: Vec<String>,
    pub(super) revoked: bool,
}

impl Store {
    pub(super) fn new() -> Self {
        let mut kept = Kept { next: 1, ..Kept::default() };
        for (text, tenant, scopes) in [
            ("north-all-5d1f0b7c9e", "north", &super::SCOPES[..]),
            ("north-read-c07d2a4418", "north", &super::SCOPES[..1]),
            ("south-all-98e3f6ab21", "south", &super::SCOPES[..]),
        ] {
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let token = Token { id: format!("t-{text}"), tenant: tenant.to_owned(), scopes, revoked: false };
            kept.tokens.insert(text.to_owned(), token);
        }
        Store(Mutex::new(kept))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The number in an id such as `p-0000002a`.
pub(super) fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("p-").filter(|digits| digits.len() == 8)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Now, as RFC 3339 in UTC with milliseconds (days to a date after Howard Hinnant's `civil_from_days`).
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days as i64 + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since.subsec_millis()
    )
}
