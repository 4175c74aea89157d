//! What the language model is asked: to judge a message, to speak as the character, to sum up, to draw facts out of a
//! conversation. Each step can have a model and a key of its own.

use std::collections::BTreeMap;

use contract_foilengine::types::{Machine, PlayerGender, Transition};

use super::definition::Definition;
use super::engine::{self, Judged};
use crate::platform::model::{ModelError, ModelProvider, Passage, Purpose, Question, Turn};
use crate::platform::tokens::Secret;

/// The model that is asked where the caller names none.
pub(super) const DEFAULT_MODEL: &str = "gpt-4o-mini";

/// Judging wants the same answer every time; speaking wants a little variety.
const JUDGING: f64 = 0.0;
const SPEAKING: f64 = 0.8;

/// Room for a reply of a few sentences, and for a summary of a long conversation.
const REPLY_TOKENS: u32 = 400;
const SUMMARY_TOKENS: u32 = 600;

/// A model and the caller's key for it; without a key the provider's configured one is used.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) model: String,
    pub(super) key: Option<Secret>,
}

/// Who is asked at each step. Lives as long as the call that it came with.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) judging: Access,
    pub(super) replying: Access,
    pub(super) summing_up: Access,
}

impl Steps {
    /// The service's own provider for every step.
    pub(super) fn own() -> Self {
        let access = Access { model: DEFAULT_MODEL.to_owned(), key: None };
        Self { judging: access.clone(), replying: access.clone(), summing_up: access }
    }
}

/// The steps that a request's headers ask for; every request that talks to the model has the same ones.
macro_rules! steps {
    ($caller:expr, $request:expr) => {{
        let key = match $caller {
            $crate::foilengine::access::Principal::Game { llm_key, .. } => llm_key.clone(),
            $crate::foilengine::access::Principal::User(_) => None,
        };
        let model =
            $request.x_llm_model.take().unwrap_or_else(|| $crate::foilengine::pipeline::DEFAULT_MODEL.to_owned());
        let access = |own_model: Option<String>, own_key: Option<String>| $crate::foilengine::pipeline::Access {
            model: own_model.unwrap_or_else(|| model.clone()),
            key: own_key.map($crate::platform::tokens::Secret::new).or_else(|| key.clone()),
        };
        $crate::foilengine::pipeline::Steps {
            judging: access($request.x_llm_eval_model.take(), $request.x_llm_eval_api_key.take()),
            replying: access($request.x_llm_response_model.take(), $request.x_llm_response_api_key.take()),
            summing_up: access($request.x_llm_summarization_model.take(), $request.x_llm_summarization_api_key.take()),
        }
    }};
}
pub(super) use steps;

/// A conversation as the model is told of it.
pub(super) struct Scene<'a> {
    pub(super) definition: &'a Definition,
    pub(super) machine: &'a Machine,
    pub(super) player_name: &'a str,
    pub(super) player_gender: PlayerGender,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// What was said before the history, in short.
    pub(super) summary: &'a str,
    pub(super) history: &'a [Turn],
}

impl Scene<'_> {
    /// `{{key}}` in the texts of a persona stands for what is known of the player.
    fn filled(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    }

    fn setting(&self) -> String {
        let machine = self.machine;
        let mut text = self.filled(&self.definition.identity_prompt);
        for part in [&machine.chat_system_prompt, &machine.creator_objective] {
            if !part.is_empty() {
                text.push_str("\n\n");
                text.push_str(&self.filled(part));
            }
        }
        text.push_str(&format!("\n\nThe player is called {} ({}).", self.player_name, self.player_gender.as_str()));
        if !self.summary.is_empty() {
            text.push_str(&format!("\n\nWhat happened before: {}", self.summary));
        }
        text
    }

    /// Which of the transitions out of a state a message fires.
    pub(super) async fn judge<'m>(
        &self,
        provider: &dyn ModelProvider,
        access: &Access,
        candidates: &[&'m Transition],
        message: &str,
    ) -> Result<Judged<'m>, ModelError> {
        if candidates.is_empty() {
            return Ok(Judged::Nothing);
        }
        let passage = |transition: &&Transition| Passage {
            title: transition.decision_type.as_str().to_owned(),
            text: self.filled(&transition.condition),
        };
        let machine = self.machine;
        let question = Question {
            purpose: Purpose::Choose,
            key: access.key.clone(),
            model: access.model.clone(),
            temperature: JUDGING,
            max_tokens: 8,
            instructions: format!(
                "{}\n\n{}\n\nThe player wins if: {}\nThe player loses if: {}\n\nJudge the player's last message. Answer with \
                 the number of the first condition below that it fulfils and with nothing else; 0 if it fulfils none; ? if \
                 that cannot be told without asking the player back.",
                self.setting(),
                self.filled(&machine.system_evaluation_prompt),
                self.filled(&machine.creator_win_condition),
                self.filled(&machine.creator_lose_condition)
            ),
            history: self.history.to_vec(),
            message: message.to_owned(),
            passages: candidates.iter().map(passage).collect(),
            general_knowledge: true,
        };
        let answer = provider.answer(&question).await?;
        Ok(read_choice(&answer.text, candidates))
    }

    /// The question whose answer is the character's next line. Without a message the character speaks first.
    pub(super) fn line(&self, access: &Access, state: &str, message: &str, asks_back: bool) -> Question {
        let direction = engine::state(self.machine, state).map(|state| self.filled(&state.prompt_instruction));
        let mut instructions = format!("{}\n\nSay the character's next line and nothing else.", self.setting());
        if asks_back {
            instructions.push_str(" The player was not clear: ask back.");
        }
        let passage = |text: String| Passage { title: self.definition.name.clone(), text };
        Question {
            purpose: Purpose::Play,
            key: access.key.clone(),
            model: access.model.clone(),
            temperature: SPEAKING,
            max_tokens: REPLY_TOKENS,
            instructions,
            history: self.history.to_vec(),
            message: message.to_owned(),
            passages: vec![passage(direction.unwrap_or_default())],
            general_knowledge: true,
        }
    }

    /// The history and the summary before it, in short.
    pub(super) async fn sum_up(&self, provider: &dyn ModelProvider, access: &Access) -> Result<String, ModelError> {
        let question = Question {
            purpose: Purpose::Summarize,
            key: access.key.clone(),
            model: access.model.clone(),
            temperature: JUDGING,
            max_tokens: SUMMARY_TOKENS,
            instructions: format!(
                "{}\n\n{}\n\nSum the conversation up in a few sentences, with everything that matters later.",
                self.setting(),
                self.filled(&self.machine.system_summarization_prompt)
            ),
            history: self.history.to_vec(),
            message: String::new(),
            passages: Vec::new(),
            general_knowledge: true,
        };
        Ok(provider.answer(&question).await?.text)
    }

    /// What the conversation tells of a question.
    pub(super) async fn draw(
        &self,
        provider: &dyn ModelProvider,
        access: &Access,
        prompt: &str,
    ) -> Result<String, ModelError> {
        let question = Question {
            purpose: Purpose::Extract,
            key: access.key.clone(),
            model: access.model.clone(),
            temperature: JUDGING,
            max_tokens: 100,
            instructions: format!(
                "{}\n\nAnswer the question from the conversation, in a few words and nothing else.",
                self.setting()
            ),
            history: self.history.to_vec(),
            message: self.filled(prompt),
            passages: Vec::new(),
            general_knowledge: false,
        };
        Ok(provider.answer(&question).await?.text)
    }
}

/// Models like to say more than the number that they were asked for: the first number or question mark counts.
fn read_choice<'m>(text: &str, candidates: &[&'m Transition]) -> Judged<'m> {
    let start = text.find(|c: char| c.is_ascii_digit() || c == '?');
    let rest = start.map_or("", |start| &text[start..]);
    if rest.starts_with('?') {
        return Judged::Unclear;
    }
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let chosen = digits.parse::<usize>().ok().and_then(|number| candidates.get(number.checked_sub(1)?));
    chosen.map_or(Judged::Nothing, |transition| Judged::Fires(transition))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::definition::tests::definition;
    use super::*;
    use serde_json::json;

    #[test]
    fn choices_are_read_whatever_stands_around_them() {
        let definition = definition(json!({"source_machine_key": "gate", "target_machine_key": "hall",
            "condition_type": "always"}));
        let all: Vec<&Transition> = definition.machines.iter().flat_map(|machine| &machine.transitions).collect();
        assert_eq!(all.len(), 2);
        for (text, chosen) in
            [("1", Some(0)), ("Answer: 2.", Some(1)), ("0", None), ("3", None), ("none", None), ("", None)]
        {
            let expected = chosen.map_or(Judged::Nothing, |index: usize| Judged::Fires(all[index]));
            assert_eq!(read_choice(text, &all), expected, "{text}");
        }
        assert_eq!(read_choice(" ?", &all), Judged::Unclear);
    }

    #[test]
    fn what_is_known_of_a_player_stands_in_the_texts() {
        let mut definition = definition(json!({"source_machine_key": "gate", "target_machine_key": "hall",
            "condition_type": "always"}));
        definition.identity_prompt = "You met them because {{reason}}, {{unknown}}.".into();
        let scene = Scene {
            definition: &definition,
            machine: &definition.machines[0],
            player_name: "Robin",
            player_gender: PlayerGender::NonBinary,
            variables: &BTreeMap::from([("reason".to_owned(), "of the storm".to_owned())]),
            summary: "They argued.",
            history: &[],
        };
        let setting = scene.setting();
        assert!(setting.starts_with("You met them because of the storm, {{unknown}}."), "{setting}");
        assert!(setting.contains("Robin (non-binary)") && setting.ends_with("They argued."), "{setting}");
    }
}
