//! The journal: every resource that a run makes is written down before its answer is used, and removed again at the end,
//! the newest first.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trueline_spec::contract::{Operation, ParameterPlace, PathPiece};

use super::Run;
use super::bindings::{CaseContext, Made};
use crate::case::{Argument, ArgumentValue, Call, Caller, Expect, Twist};
use crate::collection::Collection;
use crate::event::Event;
use crate::exchange::Exchange;
use crate::subject::lock;

/// So long a clean-up waits for a service that has had enough of it, before it gives up: a usual window, and once more.
const CLEAN_UP: Duration = Duration::from_secs(130);

/// A resource that a run has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Counts up in the order of making.
    pub number: u64,
    /// Id of the operation that made it.
    pub made_by: String,
    /// The principal that made it; empty: nobody in particular.
    pub principal: String,
    /// Id of the operation that removes it; none if the document has none.
    pub removed_by: Option<String>,
    /// The path below the base URL that removes it; empty if nothing does.
    pub path: String,
    /// Whether a journal file has the path with a secret's name in it, so that only the run itself can remove it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    /// The path of the call that made it: what goes with a parent is gone, too.
    #[serde(default)]
    pub made_at: String,
}

/// A line of a journal file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// Where it was made.
    Run {
        /// The contract's digest.
        contract: String,
        /// The base URL.
        target: String,
    },
    /// It is there now.
    Made(Resource),
    /// It is not there any more.
    Gone(u64),
}

/// What a run has made and not removed yet.
#[derive(Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    made: u64,
    live: BTreeMap<u64, Resource>,
    by_path: HashMap<String, u64>,
    /// Paths of what is gone, with a slash at their ends.
    removed: std::collections::HashSet<String>,
    file: Option<File>,
    /// The first thing that went wrong with the file.
    trouble: Option<String>,
}

/// What became of a run's resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanUp {
    /// Removed, or gone already.
    pub removed: u64,
    /// What is left: the operation that made them, and why they are still there; how many.
    pub left: BTreeMap<(String, String), u64>,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("cannot use the journal {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not one of a journal's.
    #[error("{}:{line} is not a line of a journal: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        why: String,
    },
}

impl Kept {
    fn gone(&mut self, number: u64) {
        if let Some(resource) = self.live.remove(&number) {
            self.by_path.remove(&resource.path);
            if !resource.path.is_empty() {
                self.removed.insert(format!("{}/", resource.path));
            }
            self.write(&Line::Gone(number));
        }
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        let text = serde_json::to_string(line).unwrap_or_default();
        // A line is there before the resource is used; a machine that fails in between loses no more than this one.
        if let Err(error) = writeln!(file, "{text}").and_then(|()| file.flush()) {
            self.trouble.get_or_insert(format!("the journal cannot be written: {error}"));
            self.file = None;
        }
    }
}

impl Kept {
    /// A file holds no secret: a path with one in it is written with the secret's name.
    fn write_made(&mut self, resource: &Resource, redact: impl Fn(&str) -> String) {
        let (path, made_at) = (redact(&resource.path), redact(&resource.made_at));
        let withheld = path != resource.path;
        self.write(&Line::Made(Resource { path, made_at, withheld, ..resource.clone() }));
    }
}

impl Journal {
    /// Starts a journal file; what was in it goes.
    pub(super) fn open(&self, path: &Path, contract: &str, target: &str) -> Result<(), JournalError> {
        let file = |source| JournalError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(file)?;
        }
        let mut kept = lock(&self.kept);
        kept.file = Some(File::create(path).map_err(file)?);
        kept.write(&Line::Run { contract: contract.to_owned(), target: target.to_owned() });
        Ok(())
    }

    /// Resources made so far, removed ones included.
    pub(super) fn made(&self) -> u64 {
        lock(&self.kept).made
    }

    fn add(&self, mut resource: Resource, redact: impl Fn(&str) -> String) {
        let mut kept = lock(&self.kept);
        kept.made += 1;
        resource.number = kept.made;
        kept.write_made(&resource, redact);
        if !resource.path.is_empty() {
            kept.by_path.insert(resource.path.clone(), resource.number);
        }
        kept.live.insert(resource.number, resource);
    }

    fn gone(&self, number: u64) {
        lock(&self.kept).gone(number);
    }

    /// What was there is there under another name, with all that is below it.
    fn moved(&self, from: &str, to: &str, redact: impl Fn(&str) -> String) {
        let mut kept = lock(&self.kept);
        if let Some(number) = kept.by_path.get(from).copied() {
            kept.gone(number);
        }
        let below = format!("{from}/");
        let children: Vec<Resource> = kept
            .live
            .values()
            .filter(|one| one.path.starts_with(&below) || one.made_at.starts_with(&below))
            .cloned()
            .collect();
        for mut child in children {
            let number = child.number;
            for path in [&mut child.path, &mut child.made_at] {
                if let Some(rest) = path.strip_prefix(&below) {
                    *path = format!("{to}/{rest}");
                }
            }
            kept.gone(number);
            kept.write_made(&child, &redact);
            if !child.path.is_empty() {
                kept.by_path.insert(child.path.clone(), number);
            }
            kept.live.insert(number, child);
        }
    }

    fn gone_by_path(&self, path: &str) {
        let number = lock(&self.kept).by_path.get(path).copied();
        if let Some(number) = number {
            self.gone(number);
        }
    }

    /// Paths of what cases have removed themselves, with a slash at their ends.
    fn removed_paths(&self) -> Vec<String> {
        lock(&self.kept).removed.iter().cloned().collect()
    }

    /// What is left, the newest first.
    fn live(&self) -> Vec<Resource> {
        lock(&self.kept).live.values().rev().cloned().collect()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.kept).trouble.clone()
    }

    /// Reads what a journal file leaves to be removed.
    pub(super) fn read(&self, path: &Path) -> Result<(), JournalError> {
        let trouble = |source| JournalError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(trouble)?;
        let mut kept = lock(&self.kept);
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(trouble)?;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |why: serde_json::Error| JournalError::Line {
                path: path.to_owned(),
                line: number + 1,
                why: why.to_string(),
            };
            match serde_json::from_str(&line).map_err(wrong)? {
                Line::Run { .. } => {}
                Line::Made(resource) => {
                    kept.made = kept.made.max(resource.number);
                    kept.live.insert(resource.number, resource);
                }
                Line::Gone(number) => {
                    kept.live.remove(&number);
                }
            }
        }
        // From here on the same file learns what is gone.
        kept.file = Some(File::options().append(true).open(path).map_err(trouble)?);
        Ok(())
    }
}

impl Run {
    /// Writes down what an exchange has made or removed. Comes before anybody sees the answer.
    pub(super) fn note_resource(&self, call: &Call, exchange: &Exchange) {
        let Some(status) = exchange.status().filter(|status| (200..300).contains(status)) else { return };
        if matches!(call.twist, Some(Twist::Method(_) | Twist::Path(_))) {
            return;
        }
        let principal = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) | Caller::Minted { by: name, .. } => name.clone(),
            Caller::Anonymous | Caller::Bad { .. } => String::new(),
        };
        let documented = self.subject.operation(call.operation);
        let made = Made::of(documented, call, exchange);
        let mut known = false;
        for collection in self.subject.collections.iter() {
            if collection.delete == Some(call.operation) {
                known = true;
                self.journal.gone_by_path(bare(&exchange.request.path));
                continue;
            }
            // Figures of a thing are asked for by its id as well; only one of the two paths removes it.
            let elsewhere = collection.delete.is_none()
                && self
                    .subject
                    .collections
                    .iter()
                    .any(|other| other.create == collection.create && other.delete.is_some());
            if collection.create == Some(call.operation) && elsewhere {
                continue;
            }
            if collection.create == Some(call.operation) {
                known = true;
                // An answer that was asked for some members only may leave the id out that the caller had chosen.
                let id = made.evaluate(&collection.id).filter(|id| !id.is_null());
                let id = id.or_else(|| made.evaluate(&collection.id.replacen("$response.body", "$request.body", 1)));
                self.add(documented, &principal, self.removal(collection, &made, id, &principal), exchange);
            } else if collection.replace == Some(call.operation) && status == 201 {
                // A PUT that makes what it names (RFC 9110 section 9.3.4).
                known = true;
                self.add(
                    documented,
                    &principal,
                    collection.delete.map(|delete| (delete, bare(&exchange.request.path).to_owned())),
                    exchange,
                );
            } else if collection.patch == Some(call.operation) || collection.replace == Some(call.operation) {
                // What answers under another name than it was asked for has moved.
                let named = made.evaluate(&format!("$request.path.{}", collection.parameter));
                let named_now = exchange.json().and_then(|body| body.get(&collection.parameter)).cloned();
                if named_now.as_ref().is_some_and(Value::is_string) && named_now != named {
                    if let (Some(create), Some(name)) = (collection.create, &named) {
                        self.resources.forget(create, &collection.id, name);
                    }
                    let removal = self.removal(collection, &made, named_now, &principal);
                    if let Some((_, path)) = &removal {
                        self.journal.moved(bare(&exchange.request.path), path, |text| self.redact(text));
                    }
                    self.add(documented, &principal, removal, exchange);
                }
            } else if documented.method == http::Method::POST
                && collection.item.strip_suffix("/{}") == Some(crate::collection::normal(&documented.path).as_str())
                && let Some(Value::Array(items)) = exchange.json()
            {
                // Several at once: the answer lists them.
                for id in items.iter().filter_map(|item| collection.id_in(item)) {
                    known = true;
                    self.add(
                        documented,
                        &principal,
                        self.removal(collection, &made, Some(id.clone()), &principal),
                        exchange,
                    );
                }
            }
        }
        // Something is there that was not there before. If anything removes it, it is the DELETE of the same path.
        if status == 201 && !known && !self.planner().is_session(call.operation) {
            let delete = self.subject.contract.operations.iter().position(|one| {
                one.method == http::Method::DELETE
                    && crate::collection::normal(&one.path) == crate::collection::normal(&documented.path)
            });
            let removal = delete.map(|delete| (delete, bare(&exchange.request.path).to_owned()));
            self.add(documented, &principal, removal, exchange);
        }
    }

    fn add(&self, documented: &Operation, principal: &str, removal: Option<(usize, String)>, exchange: &Exchange) {
        // What the answer holds of secrets is known from here on, so that no line of the journal holds it.
        if let Some(response) = exchange.response() {
            self.learn_returned(response, exchange.json());
        }
        let resource = Resource {
            number: 0,
            made_by: documented.id.clone(),
            principal: principal.to_owned(),
            removed_by: removal.as_ref().map(|(delete, _)| self.subject.operation(*delete).id.clone()),
            path: removal.map(|(_, path)| path).unwrap_or_default(),
            made_at: bare(&exchange.request.path).to_owned(),
            withheld: false,
        };
        self.journal.add(resource, |path| self.redact(path));
    }

    /// What removes the item with this id, next to the exchange that made it.
    fn removal(
        &self,
        collection: &Collection,
        made: &Made,
        id: Option<Value>,
        principal: &str,
    ) -> Option<(usize, String)> {
        let delete = collection.delete?;
        let operation = self.subject.operation(delete);
        let mut arguments = Vec::new();
        for (parameter, one) in operation.parameters.iter().enumerate() {
            if one.place == ParameterPlace::Path {
                let value = match one.name == collection.parameter {
                    true => id.clone()?,
                    false => made.evaluate(&format!("$request.path.{}", one.name))?,
                };
                arguments.push(Argument { parameter, value: ArgumentValue::Value(value) });
            }
        }
        let call = self.removing(delete, arguments, principal);
        let path = match self.encode(&call) {
            Ok(request) => request.path,
            // A name that no caller should choose is to be removed all the same.
            Err(_) => raw_path(operation, &call),
        };
        Some((delete, path))
    }

    fn removing(&self, operation: usize, arguments: Vec<Argument>, principal: &str) -> Call {
        let caller = if principal.is_empty() { Caller::Anonymous } else { Caller::Principal(principal.to_owned()) };
        Call {
            operation,
            caller,
            from: self.next_address(),
            arguments,
            body: None,
            twist: None,
            expect: Expect::Valid { bound: true },
        }
    }

    /// Removes all that is left, the newest first. What cannot be removed is counted.
    pub(super) async fn clean_up(&self) -> CleanUp {
        let mut outcome = CleanUp::default();
        let mut left: Vec<(Resource, String)> = Vec::new();
        let mut removed_paths: Vec<String> = Vec::new();
        let live = self.journal.live();
        let mut rest = live.as_slice();
        let until = std::time::Instant::now() + CLEAN_UP;
        while let Some(first) = rest.first() {
            // What one operation has made does not hang on each other, so it may go at once.
            let alike =
                rest.iter().take_while(|one| one.made_by == first.made_by).count().min(self.options.workers.max(1));
            let (batch, later) = rest.split_at(alike);
            rest = later;
            let removed = futures::future::join_all(batch.iter().map(|one| self.remove(one, until))).await;
            for (resource, result) in batch.iter().zip(removed) {
                match result {
                    Ok(()) => {
                        self.journal.gone(resource.number);
                        outcome.removed += 1;
                        removed_paths.push(format!("{}/", resource.path));
                    }
                    Err(why) => left.push((resource.clone(), why)),
                }
            }
        }
        removed_paths.extend(self.journal.removed_paths());
        for (resource, why) in left {
            // What stands below something that is gone went with it.
            let went = removed_paths.iter().any(|path| resource.made_at.starts_with(path.as_str()));
            // What would not go while others were there may go now.
            if went || (!resource.path.is_empty() && self.remove(&resource, until).await.is_ok()) {
                self.journal.gone(resource.number);
                outcome.removed += 1;
            } else {
                *outcome.left.entry((resource.made_by, why)).or_default() += 1;
            }
        }
        outcome
    }

    async fn remove(&self, resource: &Resource, until: std::time::Instant) -> Result<(), String> {
        let Some(id) = &resource.removed_by else {
            return Err("the document has no operation that removes it".to_owned());
        };
        if resource.withheld {
            return Err("its path holds a secret, which the journal does not".to_owned());
        }
        let operation = self.subject.contract.operations.iter().position(|one| one.id == *id);
        let operation = operation.ok_or_else(|| format!("the contract has no operation `{id}`"))?;
        let documented = self.subject.operation(operation);
        let mut principal = self.remover(operation, &resource.principal);
        // It is the run's own, so whoever of the profile may remove it does.
        let planner = self.planner();
        let mut others: Vec<&String> = self
            .profile
            .principals
            .iter()
            .filter(|(name, one)| **name != principal && planner.accepts(documented, one))
            .map(|(name, _)| name)
            .collect();
        let mut call = self.removing(operation, Vec::new(), &principal);
        call.twist = Some(Twist::Path(resource.path.clone()));
        let mut tag = None;
        for attempt in 0..4 + others.len() {
            // The path is whole; what it was made from is not known any more.
            let mut request = self.bare_request(&call, &resource.path)?;
            self.authenticate(&call, &CaseContext::default(), &mut request).await?;
            self.add_headers(&call, &mut request)?;
            if let Some(tag) = &tag {
                request.headers.push((http::header::IF_MATCH, http::HeaderValue::clone(tag)));
            }
            let exchange = self.exchange(request.clone()).await;
            let response = exchange.outcome.as_ref().map_err(ToString::to_string)?;
            match response.status {
                200..300 | 404 | 410 => return Ok(()),
                412 | 428 if tag.is_none() => {
                    let mut reading = request;
                    reading.method = http::Method::GET;
                    let read = self.exchange(reading).await;
                    tag = read.response().and_then(|response| response.headers.get("etag").cloned());
                    if tag.is_none() {
                        return Err(format!("{} {} answered {}", documented.method, documented.path, response.status));
                    }
                }
                429 | 503 if attempt < 3 => {
                    let wait = self.asked_to_wait(response).unwrap_or(Duration::from_secs(1 << attempt));
                    let left = until.saturating_duration_since(std::time::Instant::now());
                    if !self.target.has_virtual_clock() && wait > left {
                        return Err(format!("{id} answered {}", response.status));
                    }
                    self.pass(wait + Duration::from_secs(1), "removing what the run has made").await;
                }
                401 | 403 if !others.is_empty() => {
                    principal = others.remove(0).clone();
                    call.caller = Caller::Principal(principal.clone());
                }
                status => return Err(format!("{id} answered {status}")),
            }
        }
        Err(format!("{id} was limited time and again"))
    }

    /// The one who made it, or another of the same group who may remove it.
    fn remover(&self, operation: usize, maker: &str) -> String {
        let documented = self.subject.operation(operation);
        let planner = self.planner();
        let may =
            |one: &crate::profile::Principal| planner.accepts(documented, one) && !one.denied.contains(&documented.id);
        let Some(principal) = planner.principal(maker) else { return maker.to_owned() };
        if may(principal) {
            return maker.to_owned();
        }
        let group = principal.group(maker);
        let other = self.profile.principals.iter().find(|(name, one)| one.group(name) == group && may(one));
        other.map_or_else(|| maker.to_owned(), |(name, _)| name.clone())
    }

    /// Removes what is left and says what came of it.
    pub(super) async fn clean_up_and_say(&self) {
        let made = self.journal.made();
        if made == 0 {
            return;
        }
        let before = self.journal.live().len() as u64;
        let outcome = self.clean_up().await;
        let removed = made - before + outcome.removed;
        if !outcome.left.is_empty() {
            let left: u64 = outcome.left.values().sum();
            let reasons: Vec<String> =
                outcome.left.iter().map(|((made_by, why), count)| format!("{count} of {made_by} ({why})")).collect();
            let text = format!(
                "{removed} of {made} resources that the run made are gone; {left} are left: {}",
                reasons.join("; ")
            );
            self.say(Event::Note { text }).await;
        }
        if let Some(text) = self.journal.trouble() {
            self.say(Event::Note { text }).await;
        }
    }
}

/// A path without its query.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// The path of a call, whatever its parameters say.
fn raw_path(operation: &Operation, call: &Call) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let value = |name: &str| {
        let given = call.arguments.iter().find(|one| operation.parameters[one.parameter].name == name);
        match given.map(|one| &one.value) {
            Some(ArgumentValue::Value(Value::String(text))) => text.clone(),
            Some(ArgumentValue::Value(value)) => value.to_string(),
            _ => String::new(),
        }
    };
    let mut path = String::new();
    for piece in &operation.path.pieces {
        match piece {
            PathPiece::Literal(text) => path.push_str(text),
            PathPiece::Parameter(name) => path.extend(utf8_percent_encode(&value(name), NON_ALPHANUMERIC)),
        }
    }
    path
}
