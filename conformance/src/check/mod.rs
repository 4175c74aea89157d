//! Checks: named rules that responses are held to. One file a check, one folder a family; the engine knows no check.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use trueline_spec::Contract;
use trueline_spec::contract::Operation;

use crate::case::{Call, Case};
use crate::clause::{ClauseId, Clauses};
use crate::exchange::{Exchange, Response};
use crate::finding::Offending;
use crate::plan::Planner;
use crate::profile::Profile;
use crate::subject::Subject;

/// How binding a promise is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Good practice; a finding does not fail a run unless asked to.
    Should,
    /// The contract or a standard demands it.
    Must,
}

/// What there is to know about a check; `trueline explain` prints it.
#[derive(Debug)]
pub struct Meta {
    /// `family.name`.
    pub id: &'static str,
    /// How binding.
    pub level: Level,
    /// The rule, in one line.
    pub title: &'static str,
    /// Why it matters, and the section of the RFC or the part of the contract that says so.
    pub rationale: &'static str,
    /// What is sent.
    pub sends: &'static str,
    /// What must happen.
    pub demands: &'static str,
    /// What keeps it from false alarms.
    pub guards: &'static str,
    /// The seeded fault that proves it.
    pub fault: &'static str,
}

/// A named rule.
pub trait Check: Sync + Send {
    /// What there is to know about it.
    fn meta(&self) -> &'static Meta;

    /// The cases that it needs sent, beyond those of the phases.
    fn plan(&self, _planner: &Planner<'_>, _cases: &mut Vec<Case>) {}

    /// Judges one exchange of any case.
    fn judge(&self, _seen: &Seen<'_>, _verdicts: &mut Verdicts) {}

    /// Judges a whole sequence, after its last exchange.
    fn judge_sequence(&self, _sequence: &Sequence<'_>, _verdicts: &mut Verdicts) {}
}

/// One exchange in the light of the contract.
pub struct Seen<'a> {
    /// Contract, clauses, validators.
    pub subject: &'a Subject,
    /// The case.
    pub case: &'a Case,
    /// The call behind the exchange.
    pub call: &'a Call,
    /// What went over the wire.
    pub exchange: &'a Exchange,
    /// The response.
    pub response: &'a Response,
    /// What the caller knows that no answer may repeat.
    pub secrets: &'a [String],
    /// The profile.
    pub profile: &'a Profile,
    /// The security scheme of the caller's good credential.
    pub scheme: Option<&'a str>,
    /// Whether the service goes by a clock that only the harness moves.
    pub virtual_clock: bool,
}

/// A sequence of exchanges with what each was for.
pub struct Sequence<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// The base URL.
    pub base_url: &'a str,
    /// Contract, clauses, validators.
    pub subject: &'a Subject,
    /// The case.
    pub case: &'a Case,
    /// In the order in which they were sent.
    pub steps: &'a [Step],
    /// Of an exhausted class: how many requests may have been counted in its window before the first step.
    pub earlier: u64,
    /// Whether the service goes by a clock that only the harness moves.
    pub virtual_clock: bool,
}

/// One exchange of a sequence.
#[derive(Debug)]
pub struct Step {
    /// What it was for.
    pub purpose: Purpose,
    /// The act's name, in a chain; empty elsewhere.
    pub act: String,
    /// The call.
    pub call: Call,
    /// What went over the wire.
    pub exchange: Exchange,
    /// The target's clock just before it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
}

/// What an exchange of a sequence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Must pass: there is still something left.
    Count,
    /// Must be refused: nothing is left.
    Over,
    /// Another counter: must pass.
    Isolated,
    /// The same counter through another operation: must be refused.
    AlsoLimited,
    /// One second before the promised end: must be refused.
    BeforeReset,
    /// After the promised end: must pass.
    AfterReset,
    /// After the wait that a refusal asked for: must pass.
    AfterWait,
    /// While the session lives: must pass.
    Alive,
    /// Just before the session's lifetime ends: must pass.
    AlmostExpired,
    /// After the session's lifetime: must be refused.
    Expired,
    /// A step of a chain; its name says which.
    Act,
    /// Is the service still there, after something hostile.
    Health,
}

/// What the checks say of an exchange.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Clauses that the exchange kept.
    pub held: Vec<ClauseId>,
    /// Clauses that the exchange can say nothing about.
    pub inconclusive: Vec<ClauseId>,
    /// Clauses that the exchange broke.
    pub broken: Vec<Break>,
    /// What each check said, in the order in which they were asked.
    pub said: Vec<Said>,
}

/// What one check said of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// The id of the check.
    pub check: &'static str,
    /// The operation that the exchange was with; none if it was meant to match none.
    pub operation: Option<usize>,
    /// How often it said what.
    pub tally: crate::event::CheckTally,
}

/// A broken clause.
#[derive(Debug, Clone)]
pub struct Break {
    /// The check that says so.
    pub check: &'static Meta,
    /// The clause.
    pub clause: ClauseId,
    /// What is the same for every case with the same cause, beside check and clause: empty, or the place in a shared
    /// schema, a code, a status. No volatile values.
    pub cause: String,
    /// A place in the document that says more than the clause's own (a keyword deep in a shared schema).
    pub at: Option<trueline_spec::document::Location>,
    /// What is wrong, in a few words.
    pub title: String,
    /// What was promised.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// The offending part of the answer.
    pub offending: Option<Offending>,
    /// Of a sequence, what the guilty exchange was for; the last such one is meant. The very last one if absent.
    pub during: Option<Purpose>,
    /// Of a chain, the guilty act.
    pub act: Option<String>,
    /// The cause, of another check, that this is the same hole as, if that one shows itself too.
    pub same_as: Option<(&'static str, String)>,
}

impl Break {
    /// A break with the least to say; see the `with_` methods.
    pub fn new(check: &'static Meta, clause: ClauseId, title: impl Into<String>) -> Self {
        Break {
            check,
            clause,
            cause: String::new(),
            at: None,
            title: title.into(),
            expected: String::new(),
            actual: String::new(),
            offending: None,
            during: None,
            act: None,
            same_as: None,
        }
    }

    /// What was promised and what came.
    pub fn with_values(mut self, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.actual = actual.into();
        self
    }

    /// Tells causes apart; see [`Break::cause`].
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// The offending part.
    pub fn with_offending(mut self, offending: Offending) -> Self {
        self.offending = Some(offending);
        self
    }

    /// What the guilty exchange of a sequence was for.
    pub fn during(mut self, purpose: Purpose) -> Self {
        self.during = Some(purpose);
        self
    }

    /// The guilty act of a chain.
    pub fn in_act(mut self, act: impl Into<String>) -> Self {
        self.act = Some(act.into());
        self
    }

    /// Not worth a word of its own where another check found this cause.
    pub fn same_as(mut self, check: &'static str, cause: impl Into<String>) -> Self {
        self.same_as = Some((check, cause.into()));
        self
    }

    /// A more telling place.
    pub fn at(mut self, at: trueline_spec::document::Location) -> Self {
        self.at = Some(at);
        self
    }
}

impl Verdicts {
    /// Asks a check and notes how much it had to say about an operation; the matrix of a report is made of that.
    pub fn asking(&mut self, check: &dyn Check, operation: Option<usize>, ask: impl FnOnce(&mut Verdicts)) {
        let before = (self.held.len(), self.broken.len(), self.inconclusive.len());
        ask(self);
        let tally = crate::event::CheckTally {
            held: (self.held.len() - before.0) as u64,
            broken: (self.broken.len() - before.1) as u64,
            inconclusive: (self.inconclusive.len() - before.2) as u64,
        };
        if tally.said() > 0 {
            self.said.push(Said { check: check.meta().id, operation, tally });
        }
    }

    /// The exchange kept this clause.
    pub fn hold(&mut self, clause: ClauseId) {
        self.held.push(clause);
    }

    /// The exchange broke a clause.
    pub fn broke(&mut self, broken: Break) {
        self.broken.push(broken);
    }

    /// `hold` or `broke`.
    pub fn decide(&mut self, held: bool, clause: ClauseId, broken: impl FnOnce() -> Break) {
        if held {
            self.hold(clause);
        } else {
            self.broke(broken());
        }
    }
}

impl<'a> Sequence<'a> {
    /// Whether this check planned the case.
    pub fn is_planned_by(&self, meta: &Meta) -> bool {
        self.case.check == meta.id
    }

    /// The last exchange of an act.
    pub fn act(&self, name: &str) -> Option<&'a Step> {
        self.steps.iter().rfind(|step| step.act == name)
    }

    /// Every exchange of an act.
    pub fn acts(&self, name: &str) -> impl Iterator<Item = &'a Step> {
        self.steps.iter().filter(move |step| step.act == name)
    }
}

impl<'a> Seen<'a> {
    /// The contract.
    pub fn contract(&self) -> &'a Contract {
        &self.subject.contract
    }

    /// The clauses.
    pub fn clauses(&self) -> &'a Clauses {
        &self.subject.clauses
    }

    /// The operation that was asked for; none if the path or method was made up.
    pub fn operation(&self) -> Option<&'a Operation> {
        let wreck = matches!(self.call.expect, crate::case::Expect::Survives);
        if wreck || self.is_unmatched() { None } else { self.contract().operations.get(self.call.operation) }
    }

    /// Whether the request was meant to match no operation.
    pub fn is_unmatched(&self) -> bool {
        matches!(self.call.expect, crate::case::Expect::UnknownPath | crate::case::Expect::UnknownMethod)
    }

    /// The operation's id, or what was asked for instead of an operation.
    pub fn request_line_kind(&self) -> &'a str {
        self.operation().map_or("an unknown path or method", |operation| operation.id.as_str())
    }

    /// Whether this exchange answers a case that this check planned.
    pub fn is_planned_by(&self, meta: &Meta) -> bool {
        self.case.check == meta.id
    }
}

/// Every check, family by family.
pub fn all() -> &'static [&'static dyn Check] {
    static ALL: LazyLock<Vec<&'static dyn Check>> = LazyLock::new(|| {
        let families: [&[&'static dyn Check]; 11] = [
            response::CHECKS,
            error::CHECKS,
            auth::CHECKS,
            scope::CHECKS,
            limit::CHECKS,
            input::CHECKS,
            state::CHECKS,
            tenancy::CHECKS,
            secret::CHECKS,
            method::CHECKS,
            time::CHECKS,
        ];
        families.concat()
    });
    &ALL
}

/// The check with this id.
pub fn find(id: &str) -> Option<&'static dyn Check> {
    all().iter().copied().find(|check| check.meta().id == id)
}

pub mod auth;
pub mod error;
pub mod input;
pub mod limit;
pub mod method;
pub mod response;
pub mod scope;
pub mod secret;
pub mod state;
pub mod tenancy;
pub mod time;
