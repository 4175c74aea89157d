//! The language model behind a trait. The embedded provider needs no network and gives the same answer to the same
//! question; the other speaks to any endpoint of the OpenAI chat-completions kind.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use trueline_runtime::sse::Decoder;

use super::outbound::{Outbound, OutboundError};
use super::search;
use super::tokens::{Secret, api_key_digest, derived};

/// Answers are text of a few thousand tokens; more than this is not an answer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Sentences that the embedded provider quotes at most.
const MAX_QUOTES: usize = 3;

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Something said earlier in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// By whom.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// A retrieved piece of text that the answer may rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// What it is from.
    pub title: String,
    /// The text.
    pub text: String,
}

/// What an answer is for. A real model learns it from the instructions; the embedded one has only this to go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be read by whoever asked: drawn from the passages.
    #[default]
    Answer,
    /// To pick one of the passages: its number, from 1; `0` for none, `?` where it cannot be told.
    Choose,
    /// To be said by a character: the passages are stage directions.
    Play,
    /// To stand for the history in a few sentences.
    Summarize,
    /// To say in a few words what the history tells of the message.
    Extract,
    /// To stand in an editor: the message, better written.
    Write,
}

/// A question to a model.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// What the answer is for.
    pub purpose: Purpose,
    /// The asker's own key for the provider; none asks with the provider's configured key.
    pub key: Option<Secret>,
    /// The model's name as the caller knows it.
    pub model: String,
    /// Sampling temperature, 0 to 2.
    pub temperature: f64,
    /// Length of the answer in tokens at most.
    pub max_tokens: u32,
    /// Standing instructions; empty for none.
    pub instructions: String,
    /// The conversation so far, oldest first.
    pub history: Vec<Turn>,
    /// What the person asks now.
    pub message: String,
    /// What the answer may rest on, best first.
    pub passages: Vec<Passage>,
    /// Whether the answer may also come from elsewhere.
    pub general_knowledge: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Tokens of question and answer together.
    pub tokens: u64,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ModelError {
    /// No whole answer came.
    #[error("the model provider did not answer")]
    Unreachable(#[from] OutboundError),
    /// The provider answered with an error status. Its text is left out: it may quote the request.
    #[error("the model provider answered with status {0}")]
    Refused(u16),
    /// The provider's answer is not of the form that it documents.
    #[error("the model provider's answer is not usable: {0}")]
    Unusable(&'static str),
}

/// Something that answers questions.
pub trait ModelProvider: Send + Sync + 'static {
    /// Answers one question.
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>>;

    /// Answers one question piece by piece, as the words come. By default the whole answer, cut into words.
    fn stream<'a>(&'a self, question: &'a Question) -> BoxStream<'a, Result<String, ModelError>> {
        let pieces = self.answer(question).map(|answer| match answer {
            Ok(answer) => answer.text.split_inclusive(' ').map(|word| Ok(word.to_owned())).collect(),
            Err(error) => vec![Err(error)],
        });
        Box::pin(pieces.map(futures::stream::iter).into_stream().flatten())
    }
}

impl ModelError {
    /// Whether the provider refused the key that the question came with.
    #[must_use]
    pub fn is_bad_key(&self) -> bool {
        matches!(self, Self::Refused(401 | 403))
    }
}

/// Answers by quoting: the sentences of the passages that share most words with the question, in the order of the
/// passages. Deterministic, so that tests and demonstrations can rely on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

impl ModelProvider for Embedded {
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        let text = match question.purpose {
            Purpose::Answer => extract(question),
            Purpose::Choose => choose(question),
            Purpose::Play => shorten(&play(question), question.max_tokens),
            Purpose::Summarize => shorten(&summarize(question), question.max_tokens),
            Purpose::Extract => shorten(&look_up(question), question.max_tokens),
            Purpose::Write => shorten(&write(question), question.max_tokens),
        };
        let asked: u64 = question.passages.iter().map(|passage| tokens(&passage.text)).sum::<u64>()
            + question.history.iter().map(|turn| tokens(&turn.text)).sum::<u64>()
            + tokens(&question.instructions)
            + tokens(&question.message);
        let total = asked + tokens(&text);
        Box::pin(async move { Ok(Completion { text, tokens: total }) })
    }
}

/// Keys that this installation makes for its embedded model, so that those who bring a key of their own can be tried out
/// without any provider: `sk-local-<name>-<proof>`. The proof is computed, so no key has to be kept anywhere.
#[derive(Clone, Debug)]
pub struct LocalKeys(Secret);

impl LocalKeys {
    /// The name whose key is good, and whose questions fail as if the provider were down.
    pub const OUTAGE: &str = "outage";

    /// Keys that holders of the secret can make and check.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The key of this name, of letters and digits.
    #[must_use]
    pub fn key(&self, name: &str) -> Secret {
        Secret::new(format!("sk-local-{name}-{}", derived(&self.0, &format!("local model key {name}"))))
    }

    /// The name of a key, if it is one of ours.
    fn name<'k>(&self, key: &'k Secret) -> Option<&'k str> {
        let (name, _) = key.reveal().strip_prefix("sk-local-")?.split_once('-')?;
        // Compared by digest, so that the time tells nothing of how much was right.
        (api_key_digest(self.key(name).reveal()) == api_key_digest(key.reveal())).then_some(name)
    }
}

/// The embedded provider for those who bring their own keys: takes [`LocalKeys`] and refuses others as a provider would.
#[derive(Clone, Debug)]
pub struct EmbeddedWithKeys(pub LocalKeys);

impl ModelProvider for EmbeddedWithKeys {
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        match question.key.as_ref().map(|key| self.0.name(key)) {
            None => Embedded.answer(question),
            Some(None) => Box::pin(async { Err(ModelError::Refused(401)) }),
            Some(Some(LocalKeys::OUTAGE)) => Box::pin(async { Err(ModelError::Refused(503)) }),
            Some(Some(_)) => Embedded.answer(question),
        }
    }
}

/// Words of the message that an option must share to be chosen, as a part of all. Half of a third of them is a match by
/// chance; a sentence that says what the option asks for shares more.
const CHOSEN_FROM: f64 = 0.15;

/// A message of so few words that none of the options tells may be asked about.
const TERSE: usize = 2;

fn choose(question: &Question) -> String {
    let score = |passage: &Passage| search::similarity(&question.message, &passage.text);
    let best = question.passages.iter().map(score).enumerate().fold((0, 0.0), |best, (index, score)| {
        // The first of equals wins: options come in the order of their priority.
        if score > best.1 { (index + 1, score) } else { best }
    });
    match best {
        (number, score) if score >= CHOSEN_FROM => number.to_string(),
        _ if question.message.split_whitespace().count() <= TERSE => "?".to_owned(),
        _ => "0".to_owned(),
    }
}

fn play(question: &Question) -> String {
    let line = question.passages.iter().rev().find_map(|passage| sentences(&passage.text).next());
    let line = line.map_or_else(|| "I hear you.".to_owned(), str::to_owned);
    match question.passages.first() {
        Some(character) => format!("{}: {line}", character.title),
        None => line,
    }
}

fn summarize(question: &Question) -> String {
    let told = question.history.iter().filter(|turn| turn.speaker == Speaker::User);
    told.filter_map(|turn| sentences(&turn.text).next()).collect::<Vec<_>>().join(" ")
}

fn look_up(question: &Question) -> String {
    let told = question.history.iter().filter(|turn| turn.speaker == Speaker::User);
    let ranked = told.flat_map(|turn| sentences(&turn.text)).fold(("", 0.0), |best, sentence| {
        let score = search::similarity(&question.message, sentence);
        if score > best.1 { (sentence, score) } else { best }
    });
    ranked.0.to_owned()
}

fn write(question: &Question) -> String {
    let words = question.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentences: Vec<String> = sentences(&words)
        .map(|sentence| {
            let mut letters = sentence.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{first}{}", letters.as_str())
        })
        .collect();
    let text = sentences.join(" ");
    if text.ends_with(['.', '!', '?', ':']) || text.is_empty() { text } else { format!("{text}.") }
}

fn extract(question: &Question) -> String {
    let mut ranked: Vec<(f64, usize, usize, &str)> = Vec::new();
    for (passage_no, passage) in question.passages.iter().enumerate() {
        for (sentence_no, sentence) in sentences(&passage.text).enumerate() {
            let score = search::similarity(&question.message, sentence);
            // Overlapping pieces of one document hold the same sentence twice.
            if score > 0.0 && !ranked.iter().any(|(.., seen)| *seen == sentence) {
                ranked.push((score, passage_no, sentence_no, sentence));
            }
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    ranked.truncate(MAX_QUOTES);
    ranked.sort_by_key(|quote| (quote.1, quote.2));

    let answer = match (ranked.first(), question.passages.first()) {
        (Some(first), _) => {
            let title = question.passages.get(first.1).map_or("the sources", |passage| passage.title.as_str());
            let quotes: Vec<&str> = ranked.iter().map(|quote| quote.3).collect();
            format!("According to {title}: {}", quotes.join(" "))
        }
        (None, Some(passage)) => {
            format!("{} has this: {}", passage.title, sentences(&passage.text).next().unwrap_or_default())
        }
        (None, None) if question.general_knowledge => {
            "The connected sources say nothing about this, and the embedded model knows only what they say. Configure \
             a model provider for answers from general knowledge."
                .to_owned()
        }
        (None, None) => "The connected sources say nothing about this.".to_owned(),
    };
    shorten(&answer, question.max_tokens)
}

/// Sentences, roughly: split after a full stop, question or exclamation mark that a space follows, and at line ends.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| {
            line.split_inclusive(&['.', '!', '?'][..])
                .scan((0, line), |(start, line), part| {
                    let end = *start + part.len();
                    let rest = line.get(end..).unwrap_or_default();
                    // "3.5" and "example.com" are no ends of sentences: such a part is joined to what follows it.
                    let from = *start;
                    *start = end;
                    Some((from, end, rest.is_empty() || rest.starts_with(char::is_whitespace), *line))
                })
                .scan(None::<usize>, |open, (from, end, complete, line)| {
                    let begin = open.take().unwrap_or(from);
                    if complete {
                        Some(line.get(begin..end))
                    } else {
                        *open = Some(begin);
                        Some(None)
                    }
                })
        })
        .flatten()
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
}

/// A count of tokens that needs no model's own table: a token for every four bytes begun, which is what English comes to.
#[must_use]
pub fn tokens(text: &str) -> u64 {
    u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX)
}

fn shorten(text: &str, max_tokens: u32) -> String {
    let room = usize::try_from(max_tokens).unwrap_or(usize::MAX).saturating_mul(4);
    if text.len() <= room {
        return text.to_owned();
    }
    let mut end = room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    // A whole word is more use than a letter more, unless there is only one.
    cut.rsplit_once(' ').map_or(cut, |(whole, _)| whole).to_owned()
}

/// How to reach a provider of the OpenAI chat-completions kind.
#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// Address up to and without `/chat/completions`, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Key for the `Authorization` header; none for a local endpoint that asks for none.
    pub key: Option<Secret>,
    /// Model to ask whatever the caller named; none passes the caller's name on.
    pub model: Option<String>,
    /// Time for one whole answer.
    pub timeout: Duration,
}

/// A provider over HTTP.
#[derive(Clone, Debug)]
pub struct OpenAi {
    settings: OpenAiSettings,
    outbound: Outbound,
}

impl OpenAi {
    /// A provider with these settings.
    #[must_use]
    pub fn new(settings: OpenAiSettings) -> Self {
        Self { settings, outbound: Outbound::default() }
    }

    fn request(&self, question: &Question, stream: bool) -> Result<Request<Full<Bytes>>, OutboundError> {
        let mut body = json!({
            "model": self.settings.model.as_deref().unwrap_or(&question.model),
            "temperature": question.temperature,
            "max_tokens": question.max_tokens,
            "messages": messages(question),
        });
        if stream {
            body["stream"] = Value::Bool(true);
        }
        let url = format!("{}/chat/completions", self.settings.base_url.trim_end_matches('/'));
        let mut request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = question.key.as_ref().or(self.settings.key.as_ref()) {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
                .map_err(|_| OutboundError::Address)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(Bytes::from(body.to_string()))).map_err(|_| OutboundError::Address)
    }

    async fn ask(&self, question: &Question) -> Result<Completion, ModelError> {
        let request = self.request(question, false)?;
        let answer = self.outbound.send(request, self.settings.timeout, MAX_ANSWER_BYTES).await?;
        if !answer.status.is_success() {
            return Err(ModelError::Refused(answer.status.as_u16()));
        }
        let reply: Reply =
            serde_json::from_slice(&answer.body).map_err(|_| ModelError::Unusable("not the documented JSON"))?;
        let text = reply
            .choices
            .into_iter()
            .next()
            .and_then(|choice| choice.message.content)
            .ok_or(ModelError::Unusable("no text"))?;
        let total = reply.usage.map(|usage| usage.total_tokens);
        Ok(Completion { tokens: total.unwrap_or_else(|| tokens(&text) + tokens(&question.message)), text })
    }
}

impl ModelProvider for OpenAi {
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(self.ask(question))
    }

    /// Chat completions with `stream: true`: events whose data are pieces, until one that says `[DONE]`.
    fn stream<'a>(&'a self, question: &'a Question) -> BoxStream<'a, Result<String, ModelError>> {
        let opened = async move {
            let request = self.request(question, true)?;
            let (status, body) = self.outbound.open(request, self.settings.timeout, MAX_ANSWER_BYTES).await?;
            match status.is_success() {
                true => Ok(body),
                false => Err(ModelError::Refused(status.as_u16())),
            }
        };
        let pieces = opened.map_ok(|body| {
            let mut decoder = Decoder::default();
            let mut done = false;
            // The end of the connection without `[DONE]` is not the end of the answer.
            let body = body
                .map_err(ModelError::from)
                .chain(futures::stream::once(async { Err(ModelError::Unusable("the stream broke off")) }));
            body.map_ok(move |bytes| decoder.push(&bytes))
                .map_ok(|events| futures::stream::iter(events.into_iter().map(Ok::<_, ModelError>)))
                .try_flatten()
                .and_then(|event| std::future::ready(piece(&event.data)))
                .take_while(move |piece| {
                    let more = !done;
                    done |= matches!(piece, Ok(None) | Err(_));
                    std::future::ready(more && !matches!(piece, Ok(None)))
                })
                .try_filter_map(|piece| std::future::ready(Ok(piece.filter(|text| !text.is_empty()))))
        });
        Box::pin(pieces.try_flatten_stream())
    }
}

/// The text in the data of one event; none at the end.
fn piece(data: &str) -> Result<Option<String>, ModelError> {
    if data.trim() == "[DONE]" {
        return Ok(None);
    }
    let unusable = || ModelError::Unusable("an event is not the documented JSON");
    let reply: StreamedReply = serde_json::from_str(data).map_err(|_| unusable())?;
    let choice = reply.choices.into_iter().next();
    Ok(Some(choice.and_then(|choice| choice.delta.content).unwrap_or_default()))
}

fn messages(question: &Question) -> Vec<Value> {
    if question.purpose != Purpose::Answer {
        return told(question);
    }
    let mut system = question.instructions.clone();
    if !question.passages.is_empty() {
        system.push_str("\n\nPassages to answer from:\n");
        for (number, passage) in question.passages.iter().enumerate() {
            system.push_str(&format!("\n[{}] {}\n{}\n", number + 1, passage.title, passage.text));
        }
    }
    system.push_str(if question.general_knowledge {
        "\n\nPrefer the passages; where they are silent you may use general knowledge and say so."
    } else {
        "\n\nAnswer only from the passages. Where they are silent, say that the sources do not tell."
    });
    let mut messages = vec![json!({"role": "system", "content": system.trim()})];
    for turn in &question.history {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        messages.push(json!({"role": role, "content": turn.text}));
    }
    messages.push(json!({"role": "user", "content": question.message}));
    messages
}

/// The messages of a question whose instructions say everything; the passages are numbered under them.
fn told(question: &Question) -> Vec<Value> {
    let mut system = question.instructions.clone();
    for (number, passage) in question.passages.iter().enumerate() {
        system.push_str(&format!("\n{}. {}: {}", number + 1, passage.title, passage.text));
    }
    let mut messages = vec![json!({"role": "system", "content": system.trim()})];
    for turn in &question.history {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        messages.push(json!({"role": role, "content": turn.text}));
    }
    if !question.message.is_empty() {
        messages.push(json!({"role": "user", "content": question.message}));
    }
    messages
}

#[derive(Deserialize)]
struct StreamedReply {
    choices: Vec<StreamedChoice>,
}

#[derive(Deserialize)]
struct StreamedChoice {
    delta: ReplyMessage,
}

#[derive(Deserialize)]
struct Reply {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: ReplyMessage,
}

#[derive(Deserialize)]
struct ReplyMessage {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::routing::post;
    use axum::{Json, Router};

    use super::*;

    fn question() -> Question {
        Question {
            model: "m".into(),
            max_tokens: 100,
            message: "How many days until my refund?".into(),
            passages: vec![Passage {
                title: "Handbook".into(),
                text: "Shipping costs 3.50 euros. Refunds take 14 days. Shops are open on Sunday.".into(),
            }],
            ..Question::default()
        }
    }

    #[tokio::test]
    async fn the_embedded_model_quotes_what_was_asked_for_and_repeats_itself() {
        let first = Embedded.answer(&question()).await.unwrap();
        assert_eq!(first.text, "According to Handbook: Refunds take 14 days.");
        assert_eq!(first, Embedded.answer(&question()).await.unwrap());
        let nothing = Embedded.answer(&Question { passages: vec![], ..question() }).await.unwrap();
        assert_eq!(nothing.text, "The connected sources say nothing about this.");
        let short = Embedded.answer(&Question { max_tokens: 5, ..question() }).await.unwrap();
        assert_eq!(short.text, "According to");
        assert_eq!(sentences("A 3.5 b. C! D\nE").collect::<Vec<_>>(), ["A 3.5 b.", "C!", "D", "E"]);
    }

    async fn provider(reply: Router) -> OpenAi {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, reply).await });
        OpenAi::new(OpenAiSettings {
            base_url,
            key: Some(Secret::new("sk-1")),
            model: None,
            timeout: Duration::from_millis(500),
        })
    }

    #[tokio::test]
    async fn an_openai_endpoint_is_asked_in_its_own_words() {
        let reply = Router::new().route(
            "/v1/chat/completions",
            post(|headers: http::HeaderMap, Json(body): Json<Value>| async move {
                let said = format!(
                    "{} {} {}",
                    headers["authorization"].to_str().unwrap(),
                    body["model"],
                    body["messages"][1]["content"]
                );
                Json(json!({"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 7}}))
            }),
        );
        let answer = provider(reply).await.answer(&question()).await.unwrap();
        assert_eq!(answer.text, "Bearer sk-1 \"m\" \"How many days until my refund?\"");
        assert_eq!(answer.tokens, 7);
    }

    #[tokio::test]
    async fn every_failure_of_a_provider_is_an_error() {
        let broken = Router::new().route("/v1/chat/completions", post(|| async { "no json" }));
        assert!(matches!(provider(broken).await.answer(&question()).await, Err(ModelError::Unusable(_))));
        let empty = Router::new().route("/v1/chat/completions", post(|| async { r#"{"choices":[]}"# }));
        assert!(matches!(provider(empty).await.answer(&question()).await, Err(ModelError::Unusable(_))));
        assert!(matches!(provider(Router::new()).await.answer(&question()).await, Err(ModelError::Refused(404))));
        let slow = Router::new()
            .route("/v1/chat/completions", post(|| async { tokio::time::sleep(Duration::from_secs(5)).await }));
        let error = provider(slow).await.answer(&question()).await.unwrap_err();
        assert!(matches!(error, ModelError::Unreachable(OutboundError::Timeout(_))));
        let huge = Router::new().route("/v1/chat/completions", post(|| async { "x".repeat(MAX_ANSWER_BYTES + 1) }));
        let error = provider(huge).await.answer(&question()).await.unwrap_err();
        assert!(matches!(error, ModelError::Unreachable(OutboundError::TooLarge(_))), "{error:?}");
        let nobody = OpenAi::new(OpenAiSettings {
            base_url: "http://127.0.0.1:1".into(),
            key: Some(Secret::new("sk-secret")),
            model: None,
            timeout: Duration::from_secs(5),
        });
        let error = nobody.answer(&question()).await.unwrap_err();
        assert!(!format!("{error:?} {nobody:?}").contains("sk-secret"));
    }
}
