//! The English course: what it consists of, and how an answer is scored.
//!
//! The modules are data files under `server/curriculum/xentree/`, one each. Scoring is a function of the task and the
//! answer alone, so that the same answer has the same score today and tomorrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

/// The files, in the order of the course.
const FILES: &[&str] = &[
    include_str!("../../curriculum/xentree/01-meeting-people.toml"),
    include_str!("../../curriculum/xentree/02-my-day.toml"),
    include_str!("../../curriculum/xentree/03-food-and-shopping.toml"),
    include_str!("../../curriculum/xentree/04-travel-and-directions.toml"),
    include_str!("../../curriculum/xentree/05-health-and-sport.toml"),
    include_str!("../../curriculum/xentree/06-stories-from-the-past.toml"),
    include_str!("../../curriculum/xentree/07-work-and-study.toml"),
    include_str!("../../curriculum/xentree/08-technology-in-daily-life.toml"),
    include_str!("../../curriculum/xentree/09-environment.toml"),
    include_str!("../../curriculum/xentree/10-media-and-opinion.toml"),
    include_str!("../../curriculum/xentree/11-science-and-discovery.toml"),
    include_str!("../../curriculum/xentree/12-negotiating.toml"),
];

static COURSE: LazyLock<Vec<Module>> = LazyLock::new(|| {
    // The files are part of the program; a test reads them all.
    FILES.iter().map(|file| toml::from_str(file).expect("a file of the course is well formed")).collect()
});

/// The modules in their order.
pub(super) fn course() -> &'static [Module] {
    &COURSE
}

/// A module and its place in the course, from 0.
pub(super) fn module(id: &str) -> Option<(usize, &'static Module)> {
    course().iter().enumerate().find(|(_, module)| module.id == id)
}

/// A unit of the course.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Module {
    pub(super) id: String,
    pub(super) title: String,
    /// Of the Common European Framework: A1 to C2.
    pub(super) level: String,
    pub(super) description: String,
    pub(super) objectives: Vec<String>,
    pub(super) tasks: Vec<Task>,
}

impl Module {
    /// A task of this module.
    pub(super) fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }
}

/// Something to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) skill: Skill,
    pub(super) title: String,
    pub(super) variants: Vec<Variant>,
}

impl Task {
    /// The variant with this number; any number names one.
    pub(super) fn variant(&self, number: usize) -> &Variant {
        &self.variants[number % self.variants.len()]
    }
}

/// What is practised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Skill {
    Reading,
    Writing,
    Listening,
    Speaking,
}

impl Skill {
    pub(super) const ALL: [Self; 4] = [Self::Reading, Self::Writing, Self::Listening, Self::Speaking];

    /// The word on the wire and in the store.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Writing => "writing",
            Self::Listening => "listening",
            Self::Speaking => "speaking",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|skill| skill.as_str() == text)
    }
}

/// One form of a task.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Variant {
    /// Something to read or hear, and a question with a right answer.
    Question {
        text: String,
        question: String,
        /// Any of them is right.
        answers: Vec<String>,
    },
    /// Something to write or say.
    Production {
        prompt: String,
        /// Words that an answer to the task will have, in one form or another.
        points: Vec<String>,
        /// Length of a full answer.
        words: usize,
    },
}

impl Variant {
    /// What the learner is shown.
    pub(super) fn prompt(&self, skill: Skill) -> String {
        match self {
            Self::Question { text, question, .. } => {
                let verb = if skill == Skill::Listening { "Listen" } else { "Read the text" };
                format!("{verb}, then answer the question.\n\n{text}\n\n{question}")
            }
            Self::Production { prompt, .. } => prompt.clone(),
        }
    }

    /// Scores an answer.
    pub(super) fn score(&self, response: &str) -> Scored {
        match self {
            Self::Question { answers, .. } => score_answer(answers, response),
            Self::Production { points, words, .. } => {
                let judged = judge(points, *words, response);
                Scored { score: judged.score(), correct: None, feedback: judged.feedback() }
            }
        }
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scored {
    /// 0 to 100.
    pub(super) score: f64,
    /// Where there is a right answer, whether this was it.
    pub(super) correct: Option<bool>,
    pub(super) feedback: String,
}

/// Share of a partly right answer's words that counts, in points.
const PARTLY: f64 = 60.0;

/// Words that may stand around an answer. Whoever repeats the whole text has not answered the question.
const AROUND: usize = 25;

fn score_answer(answers: &[String], response: &str) -> Scored {
    let said: Vec<String> = words(response).collect();
    let mut best: f64 = 0.0;
    for answer in answers {
        let wanted: Vec<String> = words(answer).collect();
        let brief = said.len() <= wanted.len() + AROUND;
        if brief && !wanted.is_empty() && said.windows(wanted.len()).any(|part| part == wanted) {
            return Scored { score: 100.0, correct: Some(true), feedback: "That is right.".to_owned() };
        }
        let found = wanted.iter().filter(|word| said.contains(word)).count();
        best = best.max(share(found, wanted.len()));
    }
    let feedback = if best > 0.0 { "Part of it is there. Look again." } else { "That is not it. Look again." };
    Scored { score: round(best * PARTLY), correct: Some(false), feedback: feedback.to_owned() }
}

/// How a text was judged, 0 to 100 for each criterion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    /// Whether it does what was asked, in the length that was asked for.
    pub(super) task: f64,
    /// How many different words.
    pub(super) range: f64,
    /// How free of the mistakes that can be told by rule.
    pub(super) grammar: f64,
    /// How sentences are cut and joined.
    pub(super) coherence: f64,
}

/// The criteria by name, with what each asks for; a model is told the same.
pub(super) const CRITERIA: [(&str, &str); 4] = [
    ("task", "Does the answer do what was asked, in the length that was asked for?"),
    ("range", "Are there many different and fitting words?"),
    ("grammar", "Are forms, agreement, capitals and punctuation right?"),
    ("coherence", "Are sentences of a good length, and joined so that one follows from the other?"),
];

impl Judged {
    /// The criteria in the order of [`CRITERIA`].
    pub(super) fn scores(self) -> [f64; 4] {
        [self.task, self.range, self.grammar, self.coherence]
    }

    /// The mean.
    pub(super) fn score(self) -> f64 {
        round(self.scores().iter().sum::<f64>() / 4.0)
    }

    /// What is good, and what to work on next.
    pub(super) fn feedback(self) -> String {
        let scores = self.scores();
        let best = (0..4).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a))).unwrap_or(0);
        let worst = (0..4).min_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b))).unwrap_or(0);
        if scores[best] < 40.0 { ADVICE[worst].to_owned() } else { format!("{} {}", PRAISE[best], ADVICE[worst]) }
    }
}

/// What to say of a criterion that went well, in the order of [`CRITERIA`].
pub(super) const PRAISE: [&str; 4] = [
    "You have done what was asked.",
    "You use many different words.",
    "Your sentences are correct.",
    "Your thoughts follow one from the other.",
];

/// What to do about a criterion that did not, in the order of [`CRITERIA`].
pub(super) const ADVICE: [&str; 4] = [
    "Say more about each point of the task.",
    "Try to use more words of your own.",
    "Check capitals, full stops and small words such as a and an.",
    "Join your sentences with words such as because, but and then.",
];

const JOINING: &[&str] = &[
    "after",
    "also",
    "although",
    "and",
    "because",
    "before",
    "but",
    "finally",
    "first",
    "however",
    "if",
    "since",
    "so",
    "then",
    "therefore",
    "though",
    "unless",
    "until",
    "when",
    "while",
];

/// Pairs that no English sentence has side by side.
const MISTAKES: &[(&str, &str)] = &[
    ("he", "go"),
    ("he", "have"),
    ("he", "like"),
    ("he", "live"),
    ("she", "go"),
    ("she", "have"),
    ("she", "like"),
    ("she", "live"),
    ("i", "is"),
    ("i", "has"),
    ("i", "are"),
    ("you", "is"),
    ("they", "is"),
    ("we", "is"),
    ("they", "has"),
    ("we", "has"),
    ("more", "better"),
    ("did", "went"),
    ("didn't", "went"),
    ("can", "to"),
    ("must", "to"),
    ("a", "apple"),
    ("a", "hour"),
    ("an", "book"),
    ("people", "is"),
];

/// Judges a text by rule: how much of the task it does, and how it is written.
pub(super) fn judge(points: &[String], full: usize, response: &str) -> Judged {
    let said: Vec<String> = words(response).collect();
    let distinct: BTreeSet<&str> = said.iter().map(String::as_str).collect();
    let length = share(said.len().min(full), full);
    let covered = points.iter().filter(|point| covers(&said, point)).count();
    let points = if points.is_empty() { 1.0 } else { share(covered, points.len()) };
    // A full answer repeats its small words; two in three being different is as good as it gets.
    let variety = (share(distinct.len(), said.len()) / 0.66).min(1.0);

    let sentences: Vec<&str> = response
        .split(['.', '!', '?', '\n'])
        .map(str::trim)
        .filter(|part| part.contains(char::is_alphabetic))
        .collect();
    let starts = sentences.iter().filter(|sentence| starts_well(sentence)).count();
    let closed = response.trim_end().ends_with(['.', '!', '?', '"', '”']);
    let mistakes = said.windows(2).filter(|pair| is_mistake(&pair[0], &pair[1])).count();
    let clean = (1.0 - 4.0 * share(mistakes, said.len())).max(0.0);

    let joined = said.iter().filter(|word| JOINING.contains(&word.as_str())).count();
    let joins = share(joined, sentences.len().max(1)).min(1.0);
    let average = share(said.len(), sentences.len().max(1));
    let cut = if average <= 25.0 { (average / 6.0).min(1.0) } else { (25.0 / average).max(0.2) };

    Judged {
        task: percent(0.6 * points + 0.4 * length),
        range: percent(variety * (0.3 + 0.7 * length)),
        grammar: percent(
            length.sqrt() * (0.3 * share(starts, sentences.len()) + 0.2 * f64::from(u8::from(closed)) + 0.5 * clean),
        ),
        coherence: percent(length.sqrt() * (0.5 * joins + 0.5 * cut)),
    }
}

/// "hobby" is covered by "hobbies", "live" by "lives" and "living".
fn covers(said: &[String], point: &str) -> bool {
    let wanted: Vec<String> = words(point).collect();
    let meets = |word: &String, wanted: &String| {
        let stem = wanted.trim_end_matches(['e', 'y', 's']);
        word == wanted || (stem.chars().count() >= 3 && word.starts_with(stem))
    };
    !wanted.is_empty()
        && said.windows(wanted.len()).any(|part| part.iter().zip(&wanted).all(|(word, wanted)| meets(word, wanted)))
}

fn starts_well(sentence: &str) -> bool {
    sentence.chars().find(|c| c.is_alphanumeric()).is_some_and(|c| !c.is_lowercase())
}

fn is_mistake(first: &str, second: &str) -> bool {
    // "had had" and "that that" are English; other words do not follow themselves.
    (first == second && !matches!(first, "had" | "that" | "very" | "no")) || MISTAKES.contains(&(first, second))
}

/// The words of a text, lower case, without punctuation but with their apostrophes.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
        .map(|word| word.trim_matches(['\'', '’']).replace('’', "'").to_lowercase())
        .filter(|word| !word.is_empty())
}

#[allow(clippy::cast_precision_loss)] // Counts of words in an answer of bounded length.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> f64 {
    round((share * 100.0).clamp(0.0, 100.0))
}

/// To a tenth, which is what people are shown.
pub(super) fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Best scores that make up a skill: the latest so many.
pub(super) const LATEST: usize = 5;

/// The XPI: for each skill the mean of its latest best scores (0 without any), and the mean of the four.
/// `bests` are the best scores of tasks, the task that was worked on last first.
pub(super) fn xpi(bests: &[(Skill, f64)]) -> (f64, BTreeMap<Skill, f64>) {
    let mut by_skill = BTreeMap::new();
    for skill in Skill::ALL {
        let latest: Vec<f64> =
            bests.iter().filter(|(of, _)| *of == skill).take(LATEST).map(|(_, score)| *score).collect();
        let mean = if latest.is_empty() { 0.0 } else { latest.iter().sum::<f64>() * share(1, latest.len()) };
        by_skill.insert(skill, round(mean));
    }
    (round(by_skill.values().sum::<f64>() / 4.0), by_skill)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_course_is_whole() {
        let course = course();
        assert!(course.len() >= 12);
        for (number, module) in (1..).zip(course) {
            assert_eq!(module.id, number.to_string());
            assert!(!module.objectives.is_empty() && ["A1", "A2", "B1", "B2"].contains(&module.level.as_str()));
            let skills: Vec<Skill> = module.tasks.iter().map(|task| task.skill).collect();
            assert_eq!(skills, Skill::ALL, "{}", module.title);
            for task in &module.tasks {
                assert_eq!(task.id, format!("{}-1", task.skill.as_str()));
                assert!(task.variants.len() >= 2, "{} {}", module.title, task.id);
                for variant in &task.variants {
                    let has_answer = matches!(variant, Variant::Question { .. });
                    assert_eq!(has_answer, matches!(task.skill, Skill::Reading | Skill::Listening));
                }
            }
        }
    }

    /// What the text says must be what the answer is: each answer, given as it stands, is right.
    #[test]
    fn every_answer_of_the_course_is_right() {
        for task in course().iter().flat_map(|module| &module.tasks) {
            for variant in &task.variants {
                let Variant::Question { answers, .. } = variant else { continue };
                for answer in answers {
                    let scored = variant.score(&format!("I think it is {}!", answer.to_uppercase()));
                    assert_eq!((scored.score, scored.correct), (100.0, Some(true)), "{answer}");
                }
                assert_eq!(variant.score("xyzzy").correct, Some(false));
            }
        }
    }

    #[test]
    fn a_part_of_an_answer_is_worth_a_part() {
        let answers = ["cheese sandwich".to_owned()];
        assert_eq!(score_answer(&answers, "a sandwich with cheese").score, 60.0);
        assert_eq!(score_answer(&answers, "some cheese").score, 30.0);
        assert_eq!(score_answer(&answers, "").score, 0.0);
        assert_eq!(score_answer(&answers, "cheesecake").correct, Some(false));
        let everything = format!("{} cheese sandwich", "word ".repeat(30));
        assert_eq!(score_answer(&answers, &everything).correct, Some(false));
    }

    #[test]
    fn better_texts_score_better() {
        let points = ["name".to_owned(), "live".to_owned(), "hobby".to_owned()];
        let score = |text: &str| judge(&points, 20, text).score();
        let good = "My name is Ana and I live in Bandung. I have two hobbies: I paint, and I play chess because my \
                    father taught me.";
        let short = "My name is Ana.";
        let sloppy = "my name is ana i is from bandung he go home home";
        assert!(score(good) > 85.0, "{:?}", judge(&points, 20, good));
        assert!(score(good) > score(short) && score(short) > score("name"), "{} {}", score(short), score("name"));
        assert!(judge(&points, 20, sloppy).grammar < judge(&points, 20, good).grammar - 30.0);
        assert!(judge(&points, 20, &"word ".repeat(50)).range < 10.0);
        for odd in ["", " ", "\0", "...", "日本語です。", &"a".repeat(10_000), "’’’"] {
            let judged = judge(&points, 20, odd);
            assert!(judged.scores().iter().all(|score| (0.0..=100.0).contains(score)), "{odd:?}: {judged:?}");
        }
    }

    #[test]
    fn xpi_is_the_mean_of_the_skills_over_their_latest_tasks() {
        assert_eq!(xpi(&[]).0, 0.0);
        let (all, by_skill) = xpi(&[(Skill::Reading, 100.0), (Skill::Reading, 50.0), (Skill::Speaking, 25.0)]);
        assert_eq!((all, by_skill[&Skill::Reading], by_skill[&Skill::Writing]), (25.0, 75.0, 0.0));
        let mut many = vec![(Skill::Writing, 100.0); LATEST];
        many.push((Skill::Writing, 0.0));
        assert_eq!(xpi(&many).1[&Skill::Writing], 100.0, "what is older than the latest does not count");
    }
}
