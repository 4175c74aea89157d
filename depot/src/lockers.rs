//! Lockers, for those who wear a badge; what opens one is never shown. The site, for the staff.

use http::Method;
use serde_json::{Value, json};

use super::handlers::{Caller, Done};
use super::store::{Kind, Locker};
use super::{Answer, Depot, Incoming};

impl Depot {
    /// Who wears the badge, with one of these roles.
    fn wearer(&self, incoming: &Incoming, roles: &[&str]) -> Result<Caller, Answer> {
        let free = match self.fault {
            "visitors-see-lockers" => roles.contains(&"clerk"),
            "clerks-make-lockers" => roles == ["porter"] && incoming.method == Method::POST,
            _ => false,
        };
        self.admit(incoming, Kind::Badge, |held| free || held.iter().any(|role| roles.contains(&role.as_str())))
    }

    /// The badge in a header of every answer, for the fault that does so.
    fn noted(&self, answer: Answer, caller: &Caller) -> Answer {
        if self.has("badge-in-a-header") { answer.with("x-caller", caller.text.clone()) } else { answer }
    }

    fn shown_locker(&self, locker: &Locker, whole: &str) -> Value {
        let mut shown = locker.shown();
        if self.has(whole) {
            shown["code"] = json!(locker.code);
        }
        shown
    }

    pub(super) fn site(&self, incoming: &Incoming) -> Done {
        let free = self.has("trainees-see-the-site");
        self.admit(incoming, Kind::Staff, |held| free || held.iter().any(|scope| scope == "site:read"))?;
        Ok(Answer::new(200, json!({"city": "Lisbon", "ramps": 4})))
    }

    pub(super) fn lockers(&self, incoming: &Incoming) -> Done {
        let caller = self.wearer(incoming, &["clerk", "porter"])?;
        let kept = self.store.lock();
        let own = kept.lockers.values().filter(|one| one.tenant == caller.tenant || self.has("lockers-of-everybody"));
        let items: Vec<Value> = own.map(|one| self.shown_locker(one, "codes-in-the-list")).collect();
        Ok(self.noted(Answer::new(200, json!(items)), &caller))
    }

    pub(super) fn create_locker(&self, incoming: &Incoming) -> Done {
        let caller = self.wearer(incoming, &["porter"])?;
        let members = self.object(incoming)?;
        let text = |name: &str, least: usize, most: usize| {
            let text = members.get(name).and_then(Value::as_str);
            text.filter(|text| (least..=most).contains(&text.chars().count())).map(str::to_owned)
        };
        let (Some(corner), Some(code)) = (text("corner", 1, 60), text("code", 8, 20)) else {
            return Err(Answer::problem(422, "the locker is not valid"));
        };
        let mut kept = self.store.lock();
        let number = kept.number();
        let locker = Locker { number, tenant: caller.tenant.clone(), corner, code, created: self.now() };
        let shown = self.shown_locker(&locker, "code-in-the-new-locker");
        kept.lockers.insert(number, locker);
        Ok(self.noted(Answer::new(201, shown), &caller))
    }

    pub(super) fn locker(&self, incoming: &Incoming, id: &str) -> Done {
        let destroys = incoming.method == Method::DELETE;
        let caller = self.wearer(incoming, if destroys { &["porter"] } else { &["clerk", "porter"] })?;
        let mut kept = self.store.lock();
        let locker = kept.lockers.values().find(|one| one.id() == id).cloned();
        let free = self.has(if destroys { "anybody-empties-lockers" } else { "anybody-sees-a-locker" });
        let locker = locker.filter(|one| one.tenant == caller.tenant || free);
        let locker = locker.ok_or_else(|| Answer::problem(404, "there is no such locker"))?;
        if destroys {
            kept.lockers.remove(&locker.number);
            return Ok(Answer::empty(204));
        }
        Ok(self.noted(Answer::new(200, self.shown_locker(&locker, "code-in-the-locker")), &caller))
    }
}
