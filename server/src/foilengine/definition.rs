//! A persona's definition: what is saved of it, what is demanded of it before players meet it, and what its links open.

use std::collections::{BTreeMap, BTreeSet};

use contract_foilengine::types::{
    LinkCondition, Machine, MachineLink, MachineWrite, Outcome, PersonaSave, PersonaVariable, ScoringMode, State,
    Transition,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One version of a persona, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) identity_prompt: String,
    pub(super) perplexity_description: Option<String>,
    pub(super) machines: Vec<Machine>,
    pub(super) variables: Vec<PersonaVariable>,
    pub(super) links: Vec<MachineLink>,
}

/// How a player has ended a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Completion {
    pub(super) outcome: Outcome,
    pub(super) score: f64,
}

/// By machine id.
pub(super) type Completions = BTreeMap<Uuid, Completion>;

impl Definition {
    /// What was sent, with the ids of its machines by their keys.
    pub(super) fn new(saved: PersonaSave, ids: &BTreeMap<String, Uuid>) -> Self {
        let machine = |machine: MachineWrite| {
            let id = ids.get(&machine.machine_key).copied().unwrap_or_default();
            Machine {
                id,
                machine_key: machine.machine_key,
                name: machine.name,
                description: machine.description.value(),
                creator_objective: machine.creator_objective,
                creator_win_condition: machine.creator_win_condition,
                creator_lose_condition: machine.creator_lose_condition,
                chat_system_prompt: machine.chat_system_prompt,
                system_evaluation_prompt: machine.system_evaluation_prompt,
                system_summarization_prompt: machine.system_summarization_prompt,
                scoring_mode: machine.scoring_mode.unwrap_or(ScoringMode::Scoring),
                pass_threshold: machine.pass_threshold,
                early_fail_bound: machine.early_fail_bound,
                is_entry_machine: machine.is_entry_machine,
                output_variables: machine.output_variables.unwrap_or_default(),
                states: machine.states.unwrap_or_default(),
                transitions: machine.transitions.unwrap_or_default(),
            }
        };
        Self {
            name: saved.persona.name,
            description: saved.persona.description.value(),
            identity_prompt: saved.persona.persona_identity_prompt,
            perplexity_description: saved.persona.perplexity_description.value(),
            machines: saved.machines.unwrap_or_default().into_iter().map(machine).collect(),
            variables: saved.variables.unwrap_or_default(),
            links: saved.machine_links.unwrap_or_default(),
        }
    }

    /// What keeps players from meeting it, if anything does; a text for people.
    pub(super) fn flaw(&self) -> Option<String> {
        if !self.machines.iter().any(|machine| machine.is_entry_machine) {
            return Some("A persona needs at least one entry machine before it can be published.".to_owned());
        }
        if let Some(key) = repeated(self.machines.iter().map(|machine| machine.machine_key.as_str())) {
            return Some(format!("Two machines have the key \"{key}\"."));
        }
        self.machines.iter().find_map(machine_flaw).or_else(|| self.links.iter().find_map(|link| self.link_flaw(link)))
    }

    fn link_flaw(&self, link: &MachineLink) -> Option<String> {
        let absent = |key: &str| !self.machines.iter().any(|machine| machine.machine_key == key);
        for key in [&link.source_machine_key, &link.target_machine_key] {
            if absent(key) {
                return Some(format!("A link names the machine \"{key}\", which does not exist."));
            }
        }
        let wanted = match link.condition_type {
            LinkCondition::Always => return None,
            LinkCondition::Outcome if outcome_of(link).is_some() => return None,
            LinkCondition::ScoreGte | LinkCondition::ScoreLte if score_of(link).is_some() => return None,
            LinkCondition::Outcome => "an outcome",
            LinkCondition::ScoreGte | LinkCondition::ScoreLte => "a number",
        };
        Some(format!(
            "The link from \"{}\" to \"{}\" needs {wanted} as its condition_value.",
            link.source_machine_key, link.target_machine_key
        ))
    }

    pub(super) fn machine(&self, id: Uuid) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id == id)
    }

    fn by_key(&self, key: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.machine_key == key)
    }

    /// Where players begin who do not say where.
    pub(super) fn default_machine(&self) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.is_entry_machine)
    }

    /// Whether a machine is open to a player who has ended these.
    pub(super) fn is_open(&self, machine: &Machine, ended: &Completions) -> bool {
        let mut incoming = self.links.iter().filter(|link| link.target_machine_key == machine.machine_key).peekable();
        machine.is_entry_machine || incoming.peek().is_none() || incoming.any(|link| self.opens(link, ended))
    }

    fn opens(&self, link: &MachineLink, ended: &Completions) -> bool {
        let source = self.by_key(&link.source_machine_key);
        source.and_then(|source| ended.get(&source.id)).is_some_and(|end| holds(link, *end))
    }

    /// The machine that a player goes on in at once after ending this one.
    pub(super) fn advance(&self, from: &Machine, end: Completion) -> Option<&Machine> {
        let mut links =
            self.links.iter().filter(|link| link.source_machine_key == from.machine_key && link.auto_advance);
        links.find(|link| holds(link, end)).and_then(|link| self.by_key(&link.target_machine_key))
    }
}

/// Whether an end fulfils a link's condition.
fn holds(link: &MachineLink, end: Completion) -> bool {
    match link.condition_type {
        LinkCondition::Always => true,
        LinkCondition::Outcome => outcome_of(link) == Some(end.outcome),
        LinkCondition::ScoreGte => score_of(link).is_some_and(|score| end.score >= score),
        LinkCondition::ScoreLte => score_of(link).is_some_and(|score| end.score <= score),
    }
}

fn outcome_of(link: &MachineLink) -> Option<Outcome> {
    link.condition_value.clone().value()?.parse().ok()
}

fn score_of(link: &MachineLink) -> Option<f64> {
    link.condition_value.clone().value()?.trim().parse().ok().filter(|score: &f64| score.is_finite())
}

fn machine_flaw(machine: &Machine) -> Option<String> {
    let key = &machine.machine_key;
    if let Some(state) = repeated(machine.states.iter().map(|state| state.state_key.as_str())) {
        return Some(format!("The machine \"{key}\" has two states with the key \"{state}\"."));
    }
    let initial = machine.states.iter().filter(|state| state.is_initial_state).count();
    if initial != 1 {
        return Some(format!("The machine \"{key}\" needs exactly one initial state and has {initial}."));
    }
    if !machine.states.iter().any(|state| state.is_terminal_state) {
        return Some(format!("The machine \"{key}\" needs at least one terminal state."));
    }
    let known = |wanted: &String| machine.states.iter().any(|state: &State| state.state_key == *wanted);
    let unknown = |transition: &Transition| {
        [&transition.from_state_key, &transition.to_state_key].into_iter().find(|state| !known(state)).cloned()
    };
    let state = machine.transitions.iter().find_map(unknown)?;
    Some(format!("A transition of the machine \"{key}\" names the state \"{state}\", which does not exist."))
}

fn repeated<'a>(keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    keys.into_iter().find(|key| !seen.insert(*key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Two machines: `gate` is where players begin, `hall` opens by the link.
    pub(in super::super) fn definition(link: Value) -> Definition {
        let machine = |key: &str, entry: bool| {
            json!({"machine_key": key, "name": key, "is_entry_machine": entry,
                "states": [{"state_key": "start", "is_initial_state": true}, {"state_key": "end", "is_terminal_state": true}],
                "transitions": [{"from_state_key": "start", "to_state_key": "end", "decision_type": "pass"}]})
        };
        let saved = json!({"persona": {"name": "n", "persona_identity_prompt": "p"},
            "machines": [machine("gate", true), machine("hall", false)], "machine_links": [link]});
        let ids = ["gate", "hall"].into_iter().zip(1..).map(|(key, n)| (key.to_owned(), Uuid::from_u128(n)));
        Definition::new(serde_json::from_value(saved).unwrap(), &ids.collect())
    }

    fn link(condition: &str, value: Value, advance: bool) -> Definition {
        definition(json!({"source_machine_key": "gate", "target_machine_key": "hall", "condition_type": condition,
            "condition_value": value, "auto_advance": advance}))
    }

    #[test]
    fn links_open_what_they_say() {
        let end = |outcome, score| Completion { outcome, score };
        let won = end(Outcome::Accept, 4.0);
        let lost = end(Outcome::Reject, -4.0);
        for (condition, value, opens_won, opens_lost) in [
            ("outcome", json!("ACCEPT"), true, false),
            ("outcome", json!("REJECT"), false, true),
            ("score_gte", json!("4"), true, false),
            ("score_gte", json!("4.5"), false, false),
            ("score_lte", json!("-4"), false, true),
            ("always", Value::Null, true, true),
        ] {
            let definition = link(condition, value, true);
            assert_eq!(definition.flaw(), None);
            let hall = &definition.machines[1];
            assert!(!definition.is_open(hall, &Completions::new()));
            assert!(definition.is_open(&definition.machines[0], &Completions::new()));
            for (ended, opens) in [(won, opens_won), (lost, opens_lost)] {
                let completions = Completions::from([(definition.machines[0].id, ended)]);
                assert_eq!(definition.is_open(hall, &completions), opens, "{condition}");
                assert_eq!(definition.advance(&definition.machines[0], ended).is_some(), opens, "{condition}");
            }
        }
        assert!(link("always", Value::Null, false).advance(&definition(json!(null_link())).machines[0], won).is_none());
    }

    fn null_link() -> Value {
        json!({"source_machine_key": "gate", "target_machine_key": "hall", "condition_type": "always"})
    }

    #[test]
    fn machines_without_links_to_them_are_open() {
        let mut definition = definition(null_link());
        assert!(!definition.is_open(&definition.machines[1], &Completions::new()));
        definition.links.clear();
        assert!(definition.is_open(&definition.machines[1], &Completions::new()));
    }

    #[test]
    fn what_is_not_whole_cannot_be_published() {
        let flaw = |change: &dyn Fn(&mut Definition)| {
            let mut definition = definition(null_link());
            change(&mut definition);
            definition.flaw().unwrap_or_default()
        };
        assert_eq!(flaw(&|_| ()), "");
        assert!(flaw(&|d| d.machines[0].is_entry_machine = false).contains("entry machine"));
        assert!(flaw(&|d| d.machines.clear()).contains("entry machine"));
        assert!(flaw(&|d| d.machines[1].machine_key = "gate".into()).contains("Two machines"));
        assert!(flaw(&|d| d.machines[0].states[1].is_initial_state = true).contains("has 2"));
        assert!(flaw(&|d| d.machines[0].states[0].is_initial_state = false).contains("has 0"));
        assert!(flaw(&|d| d.machines[1].states[1].is_terminal_state = false).contains("terminal"));
        assert!(flaw(&|d| d.machines[1].states[1].state_key = "start".into()).contains("two states"));
        assert!(flaw(&|d| d.machines[1].transitions[0].to_state_key = "x".into()).contains("\"x\""));
        assert!(flaw(&|d| d.links[0].target_machine_key = "x".into()).contains("\"x\""));
        assert!(flaw(&|d| d.links[0].condition_type = LinkCondition::Outcome).contains("an outcome"));
        assert!(flaw(&|d| d.links[0].condition_type = LinkCondition::ScoreLte).contains("a number"));
    }
}
