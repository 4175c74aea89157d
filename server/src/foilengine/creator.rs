//! Creator — content for the editor, written by the language model.

use contract_foilengine::problems::{InternalServerError, Unauthorized};
use contract_foilengine::server::{
    Creator, GenerateIdentityError, GenerateIdentityRequest, GenerateIdentityResponse, GenerateScenarioError,
    GenerateScenarioRequest, GenerateScenarioResponse, PolishTextError, PolishTextRequest, PolishTextResponse,
};
use contract_foilengine::types::{
    DecisionType, Machine, OutputVariable, PersonaWrite, PolishRequestField, PolishResult, ScoringMode, State,
    Transition,
};
use uuid::Uuid;

use super::Service;
use super::access::{Principal, internal, model_failure, own_persona};
use super::personas::definition;
use super::pipeline::DEFAULT_MODEL;
use crate::platform::model::{Purpose, Question};

/// A name is a few words.
const NAME_CHARS: usize = 60;

impl Creator for Service {
    type Principal = Principal;

    async fn generate_identity(
        &self,
        caller: &Principal,
        request: GenerateIdentityRequest,
    ) -> Result<GenerateIdentityResponse, GenerateIdentityError> {
        caller.user()?;
        let prompt = request.body.prompt;
        let ask = |what: &'static str| self.write::<GenerateIdentityError>(what, &prompt, "");
        let description = ask("Describe this character of a game in one sentence.").await?;
        let identity = ask("Write the instructions by which a language model plays this character.").await?;
        let name = ask("Name this character of a game, in three words at most.").await?;
        Ok(GenerateIdentityResponse::Ok(PersonaWrite {
            name: title(&name),
            description: description.into(),
            persona_identity_prompt: identity,
            perplexity_description: trueline_runtime::Patch::Null,
        }))
    }

    async fn generate_scenario(
        &self,
        caller: &Principal,
        request: GenerateScenarioRequest,
    ) -> Result<GenerateScenarioResponse, GenerateScenarioError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let found =
            own_persona::<GenerateScenarioError>(&mut connection, caller.user()?, request.body.persona_id).await?;
        let persona = definition(&mut connection, found.persona.id, found.draft).await.map_err(internal)?;
        drop(connection);
        let wish = request.body.prompt.filter(|prompt| !prompt.trim().is_empty());
        let wish = wish.unwrap_or_else(|| format!("A first meeting with {}.", persona.name));
        let character = &persona.identity_prompt;
        let ask = |what: &'static str| self.write::<GenerateScenarioError>(what, &wish, character);
        let description = ask("Describe this scenario in one sentence.").await?;
        let objective = ask("Say what the player has to reach in this scenario.").await?;
        let win = ask("Say what the player does to win this scenario, as a condition.").await?;
        let lose = ask("Say what the player does to lose this scenario, as a condition.").await?;
        let name = ask("Name this scenario, in four words at most.").await?;
        Ok(GenerateScenarioResponse::Ok(scenario(&name, description, objective, win, lose)))
    }

    async fn polish_text(
        &self,
        caller: &Principal,
        request: PolishTextRequest,
    ) -> Result<PolishTextResponse, PolishTextError> {
        caller.user()?;
        let what = match request.body.field {
            PolishRequestField::IdentityPrompt => "Better this description of a character. Keep its meaning.",
            PolishRequestField::StatePrompt => "Better this stage direction. Keep its meaning.",
            PolishRequestField::TransitionCondition => {
                "Better this condition. Keep its meaning, and make it decidable."
            }
            PolishRequestField::ScenarioDescription => "Better this description of a scenario. Keep its meaning.",
        };
        let text = self.write::<PolishTextError>(what, &request.body.text, "").await?;
        Ok(PolishTextResponse::Ok(PolishResult { text }))
    }
}

impl Service {
    async fn write<E>(&self, what: &str, about: &str, character: &str) -> Result<String, E>
    where
        E: From<Unauthorized> + From<InternalServerError>,
    {
        let mut instructions = format!("{what} Answer with the text and nothing else.");
        if !character.is_empty() {
            instructions.push_str(&format!("\n\nThe character: {character}"));
        }
        let question = Question {
            purpose: Purpose::Write,
            model: DEFAULT_MODEL.to_owned(),
            temperature: 0.7,
            max_tokens: 500,
            instructions,
            message: about.to_owned(),
            general_knowledge: true,
            ..Question::default()
        };
        let answer = self.0.provider.answer(&question).await.map_err(|error| model_failure::<E>(&error))?;
        Ok(answer.text)
    }
}

/// A machine that can be played as it is: an opening, a good end and a bad one.
fn scenario(name: &str, description: String, objective: String, win: String, lose: String) -> Machine {
    let state = |key: &str, label: &str, direction: &str, order: i32| State {
        state_key: key.to_owned(),
        label: label.to_owned(),
        prompt_instruction: direction.to_owned(),
        is_initial_state: order == 1,
        is_terminal_state: order > 1,
        display_order: order,
    };
    let transition = |to: &str, decision_type, condition: &str, score_delta, priority| Transition {
        from_state_key: "opening".to_owned(),
        to_state_key: to.to_owned(),
        decision_type,
        condition: condition.to_owned(),
        score_delta,
        priority,
    };
    Machine {
        id: Uuid::nil(),
        machine_key: key_of(name),
        name: title(name),
        description: Some(description),
        creator_objective: objective.clone(),
        creator_win_condition: win.clone(),
        creator_lose_condition: lose.clone(),
        chat_system_prompt: String::new(),
        system_evaluation_prompt: String::new(),
        system_summarization_prompt: String::new(),
        scoring_mode: ScoringMode::Scoring,
        pass_threshold: 3.0,
        early_fail_bound: -3.0,
        is_entry_machine: true,
        output_variables: Vec::<OutputVariable>::new(),
        states: vec![
            state("opening", "Opening", &objective, 1),
            state("won", "Won", "Let the player have what they came for.", 2),
            state("lost", "Lost", "Send the player away.", 3),
        ],
        transitions: vec![
            transition("lost", DecisionType::KickOut, &lose, -5.0, 1),
            transition("won", DecisionType::Pass, &win, 3.0, 2),
            transition("opening", DecisionType::Redirect, "The player tries something else.", 0.0, 3),
        ],
    }
}

/// The first words, at a length that fits a list.
fn title(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("Untitled");
    let line = line.trim_end_matches(['.', '!', '?']);
    if line.chars().count() <= NAME_CHARS {
        return if line.is_empty() { "Untitled".to_owned() } else { line.to_owned() };
    }
    let cut: String = line.chars().take(NAME_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}

/// A key out of a name: lower case, underscores between words.
fn key_of(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).take(4);
    let key = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_");
    if key.is_empty() { "scenario".to_owned() } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_short_and_never_empty() {
        assert_eq!(title("  A gatekeeper who trusts nobody.\nmore"), "A gatekeeper who trusts nobody");
        assert_eq!((title(" \n"), title("...")), ("Untitled".to_owned(), "Untitled".to_owned()));
        assert_eq!(title(&"é".repeat(200)).chars().count(), NAME_CHARS);
        assert_eq!(key_of("At the North Gate, before dusk"), "at_the_north_gate");
        assert_eq!(key_of("ÄÖ!"), "scenario");
    }
}
