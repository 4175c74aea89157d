//! The rules of a conversation: what a judged message does to state, score and outcome. Pure, so that every rule of the
//! documentation can be tested on its own.

use contract_foilengine::types::{DecisionType, Machine, Outcome, ScoringMode, State, Transition};

/// How the message was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judged<'m> {
    /// This transition fires.
    Fires(&'m Transition),
    /// It cannot be told without asking back.
    Unclear,
    /// None fires.
    Nothing,
}

/// Where a conversation stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    pub(super) state: String,
    pub(super) score: f64,
    pub(super) outcome: Option<Outcome>,
    /// The character has asked back, and the next message must be decided: the engine's own state between two states.
    pub(super) asked_back: bool,
}

/// What a message did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) to: Standing,
    pub(super) decision: Option<DecisionType>,
}

/// The initial state; the first where a definition has none.
pub(super) fn initial(machine: &Machine) -> Option<&State> {
    machine.states.iter().find(|state| state.is_initial_state).or(machine.states.first())
}

/// The state with this key.
pub(super) fn state<'m>(machine: &'m Machine, key: &str) -> Option<&'m State> {
    machine.states.iter().find(|state| state.state_key == key)
}

/// The transitions out of a state, in the order in which they are judged: lower priority first, then as they are written.
pub(super) fn candidates<'m>(machine: &'m Machine, state: &str) -> Vec<&'m Transition> {
    let mut out: Vec<&Transition> = machine.transitions.iter().filter(|one| one.from_state_key == state).collect();
    out.sort_by_key(|transition| transition.priority);
    out
}

/// Applies the judgement of one message.
pub(super) fn advance(machine: &Machine, from: &Standing, judged: Judged<'_>) -> Step {
    let stay = |asked_back| Step { to: Standing { asked_back, ..from.clone() }, decision: None };
    if from.outcome.is_some() {
        return stay(false);
    }
    let transition = match judged {
        Judged::Fires(transition) => transition,
        // One question at a time: the answer to a question that was asked back is decided, as well as it goes.
        Judged::Unclear => return stay(!from.asked_back),
        Judged::Nothing => return stay(false),
    };
    let scoring = machine.scoring_mode == ScoringMode::Scoring;
    let score = if scoring { from.score + transition.score_delta } else { from.score };
    let (state, ended) = match transition.decision_type {
        DecisionType::Pass => (&transition.to_state_key, None),
        DecisionType::Redirect => (&from.state, None),
        DecisionType::Reject if scoring => {
            let passes = |one: &&Transition| one.decision_type == DecisionType::Pass;
            let onward = candidates(machine, &from.state).into_iter().find(passes).unwrap_or(transition);
            (&onward.to_state_key, None)
        }
        DecisionType::Reject => (&transition.to_state_key, Some(Outcome::Reject)),
        DecisionType::KickOut => (&transition.to_state_key, Some(Outcome::KickOut)),
    };
    let terminal = self::state(machine, state).is_some_and(|state| state.is_terminal_state);
    let outcome = match ended {
        Some(outcome) => Some(outcome),
        None if scoring && score <= machine.early_fail_bound => Some(Outcome::Reject),
        None if terminal && scoring && score < machine.pass_threshold => Some(Outcome::Reject),
        None if terminal => Some(Outcome::Accept),
        None => None,
    };
    Step {
        to: Standing { state: state.clone(), score, outcome, asked_back: false },
        decision: Some(transition.decision_type),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// States a → b → c (terminal) and x (terminal); every decision out of a and b.
    fn machine(mode: &str) -> Machine {
        let state = |key: &str, initial: bool, terminal: bool| json!({"state_key": key, "is_initial_state": initial, "is_terminal_state": terminal});
        let transition = |from: &str, to: &str, decision: &str, delta: f64, priority: i32| {
            json!({"from_state_key": from, "to_state_key": to, "decision_type": decision, "score_delta": delta,
                "priority": priority})
        };
        serde_json::from_value(json!({
            "id": uuid::Uuid::nil(), "machine_key": "m", "name": "m", "description": null, "creator_objective": "",
            "creator_win_condition": "", "creator_lose_condition": "", "chat_system_prompt": "",
            "system_evaluation_prompt": "", "system_summarization_prompt": "", "scoring_mode": mode,
            "pass_threshold": 3, "early_fail_bound": -3, "is_entry_machine": true, "output_variables": [],
            "states": [state("a", true, false), state("b", false, false), state("c", false, true), state("x", false, true)],
            "transitions": [
                transition("a", "b", "pass", 2.0, 5),
                transition("a", "a", "redirect", -0.5, 1),
                transition("a", "x", "reject", -1.0, 2),
                transition("a", "x", "kick_out", -5.0, 3),
                transition("b", "c", "pass", 1.0, 1),
                transition("b", "x", "reject", -2.0, 2),
            ]
        }))
        .unwrap()
    }

    fn at(state: &str, score: f64) -> Standing {
        Standing { state: state.into(), score, outcome: None, asked_back: false }
    }

    fn fire(machine: &Machine, from: &Standing, decision: DecisionType) -> Step {
        let transition =
            candidates(machine, &from.state).into_iter().find(|one| one.decision_type == decision).unwrap();
        advance(machine, from, Judged::Fires(transition))
    }

    #[test]
    fn candidates_come_in_the_order_of_their_priority() {
        let machine = machine("scoring");
        let priorities: Vec<i32> = candidates(&machine, "a").iter().map(|one| one.priority).collect();
        assert_eq!(priorities, [1, 2, 3, 5]);
        assert_eq!(initial(&machine).unwrap().state_key, "a");
        assert!(candidates(&machine, "c").is_empty());
    }

    #[test]
    fn points_decide_at_a_terminal_state() {
        let machine = machine("scoring");
        let step = fire(&machine, &at("a", 0.0), DecisionType::Pass);
        assert_eq!((step.to.state.as_str(), step.to.score, step.to.outcome), ("b", 2.0, None));
        assert_eq!(fire(&machine, &step.to, DecisionType::Pass).to.outcome, Some(Outcome::Accept));
        let short = fire(&machine, &at("b", 1.9), DecisionType::Pass);
        assert_eq!((short.to.score, short.to.outcome), (2.9, Some(Outcome::Reject)));
    }

    #[test]
    fn a_redirect_stays_and_counts() {
        let machine = machine("scoring");
        let step = fire(&machine, &at("a", 0.0), DecisionType::Redirect);
        assert_eq!((step.to.state.as_str(), step.to.score, step.decision), ("a", -0.5, Some(DecisionType::Redirect)));
        assert_eq!(step.to.outcome, None);
    }

    #[test]
    fn a_reject_costs_points_and_moves_on_or_ends() {
        let scoring = machine("scoring");
        let step = fire(&scoring, &at("a", 0.0), DecisionType::Reject);
        assert_eq!((step.to.state.as_str(), step.to.score, step.to.outcome), ("b", -1.0, None));
        let pass_fail = machine("pass_fail");
        let step = fire(&pass_fail, &at("a", 0.0), DecisionType::Reject);
        assert_eq!((step.to.state.as_str(), step.to.score, step.to.outcome), ("x", 0.0, Some(Outcome::Reject)));
    }

    #[test]
    fn the_bound_ends_a_conversation_early() {
        let machine = machine("scoring");
        let step = fire(&machine, &at("a", -2.0), DecisionType::Reject);
        assert_eq!((step.to.score, step.to.outcome), (-3.0, Some(Outcome::Reject)));
        assert_eq!(fire(&machine, &at("a", -2.0), DecisionType::Redirect).to.outcome, None);
        assert_eq!(fire(&machine, &at("a", -2.5), DecisionType::Redirect).to.outcome, Some(Outcome::Reject));
    }

    #[test]
    fn a_kick_out_ends_at_once_whatever_the_score() {
        for mode in ["scoring", "pass_fail"] {
            let machine = machine(mode);
            let step = fire(&machine, &at("a", 100.0), DecisionType::KickOut);
            assert_eq!((step.to.state.as_str(), step.to.outcome), ("x", Some(Outcome::KickOut)));
        }
    }

    #[test]
    fn without_points_the_way_decides() {
        let machine = machine("pass_fail");
        let step = fire(&machine, &at("b", 0.0), DecisionType::Pass);
        assert_eq!((step.to.score, step.to.outcome), (0.0, Some(Outcome::Accept)));
    }

    #[test]
    fn it_is_asked_back_once() {
        let machine = machine("scoring");
        let first = advance(&machine, &at("a", 1.0), Judged::Unclear);
        assert_eq!((first.to.asked_back, first.to.state.as_str(), first.decision), (true, "a", None));
        assert!(!advance(&machine, &first.to, Judged::Unclear).to.asked_back);
        assert!(!advance(&machine, &first.to, Judged::Nothing).to.asked_back);
        assert!(!fire(&machine, &first.to, DecisionType::Pass).to.asked_back);
    }

    #[test]
    fn what_has_ended_stays_ended() {
        let machine = machine("scoring");
        let ended = Standing { outcome: Some(Outcome::Accept), ..at("a", 3.0) };
        let step = fire(&machine, &ended, DecisionType::KickOut);
        assert_eq!((step.to, step.decision), (ended, None));
    }
}
