//! The contract made ready for work: its clauses, a validator for every answer, a generator for every input. Made lazily,
//! so that a document of a thousand operations costs only what a run touches.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use serde_json::Value;
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Media, Operation, Schema};
use trueline_spec::vocabulary::{Answer, RateClass};

use crate::case::Part;
use crate::clause::Clauses;
use crate::collection::Collections;
use crate::data::stream::opened;
use crate::data::{Generator, wire};

/// A contract made ready for work.
pub struct Subject {
    /// The contract.
    pub contract: Arc<Contract>,
    /// Its clauses.
    pub clauses: Clauses,
    /// Its collections of resources.
    pub collections: Collections,
    operations: Vec<OperationTools>,
    envelope: Option<Validator>,
    details: HashMap<String, Validator>,
    refusals: Vec<Answer>,
    secret_names: OnceLock<BTreeSet<String>>,
    shown_once_names: OnceLock<BTreeSet<String>>,
    /// What could not be made ready, and why; reported once, at the start.
    pub problems: std::sync::Mutex<Vec<String>>,
}

/// What judges one item of a stream.
pub struct ItemValidators {
    /// The item's schema.
    pub plain: Validator,
    /// The same, where it says something of JSON inside of texts.
    pub opened: Option<Validator>,
}

#[derive(Default)]
struct OperationTools {
    /// Response × media type.
    responses: Vec<Vec<OnceLock<Option<Validator>>>>,
    headers: Vec<Vec<OnceLock<Option<Validator>>>>,
    /// As `responses`, for the items of streams.
    items: Vec<Vec<OnceLock<Option<ItemValidators>>>>,
    parameters: Vec<OnceLock<Option<Generator>>>,
    bodies: Vec<OnceLock<Option<Generator>>>,
    /// By response.
    readable: Vec<OnceLock<BTreeSet<String>>>,
}

impl Subject {
    /// Makes a contract ready.
    pub fn new(contract: Arc<Contract>) -> Subject {
        let collections = Collections::of(&contract);
        let clauses = Clauses::with(&contract, &collections);
        let problems = std::sync::Mutex::new(Vec::new());
        let compile = |schema: &Schema| match contract.validator(schema, Direction::Response) {
            Ok(validator) => Some(validator),
            Err(problem) => {
                lock(&problems).push(said(&contract, &problem));
                None
            }
        };
        let envelope = contract.envelope.as_ref().and_then(|envelope| compile(&envelope.schema));
        let details = contract
            .envelope
            .iter()
            .flat_map(|envelope| &envelope.details)
            .filter_map(|(code, schema)| Some((code.clone(), compile(schema)?)))
            .collect();
        let operations = contract
            .operations
            .iter()
            .map(|operation| OperationTools {
                responses: operation.responses.iter().map(|response| cells(response.media.len())).collect(),
                headers: operation.responses.iter().map(|response| cells(response.headers.len())).collect(),
                items: operation.responses.iter().map(|response| cells(response.media.len())).collect(),
                parameters: cells(operation.parameters.len()),
                bodies: cells(operation.body.as_ref().map_or(0, |body| body.media.len())),
                readable: cells(operation.responses.len()),
            })
            .collect();
        let refusals = contract
            .envelope
            .iter()
            .flat_map(|envelope| {
                let refusals = &envelope.vocabulary.refusals;
                [&refusals.missing, &refusals.invalid, &refusals.several, &refusals.malformed, &refusals.media_type]
                    .map(Clone::clone)
            })
            .collect();
        Subject {
            clauses,
            collections,
            operations,
            envelope,
            details,
            refusals,
            secret_names: OnceLock::new(),
            shown_once_names: OnceLock::new(),
            problems,
            contract,
        }
    }

    /// The operation with this index.
    pub fn operation(&self, index: usize) -> &Operation {
        &self.contract.operations[index]
    }

    /// The validator of a response body, if the response has a schema for this media type.
    pub fn response_validator(&self, operation: usize, response: usize, media: usize) -> Option<&Validator> {
        self.operations[operation].responses[response][media]
            .get_or_init(|| {
                let documented = &self.operation(operation).responses[response].media[media];
                self.compile(documented.schema.as_ref()?, Direction::Response)
            })
            .as_ref()
    }

    /// The validator of a response header.
    pub fn header_validator(&self, operation: usize, response: usize, header: usize) -> Option<&Validator> {
        self.operations[operation].headers[response][header]
            .get_or_init(|| {
                let documented = &self.operation(operation).responses[response].headers[header];
                self.compile(&documented.schema, Direction::Response)
            })
            .as_ref()
    }

    /// The generator of a parameter; none if no value can be made.
    pub fn parameter_generator(&self, operation: usize, parameter: usize) -> Option<&Generator> {
        self.operations[operation].parameters[parameter]
            .get_or_init(|| {
                let documented = &self.operation(operation).parameters[parameter];
                let examples = documented.examples.iter().map(|example| example.value.clone()).collect();
                self.generator(&documented.schema, examples)
            })
            .as_ref()
    }

    /// The generator of a request body; none if no value can be made, or none can be written in the media type.
    pub fn body_generator(&self, operation: usize, media: usize) -> Option<&Generator> {
        self.operations[operation].bodies[media]
            .get_or_init(|| {
                let documented = self.media(operation, media)?;
                let schema = wire::request_schema(documented)?;
                let examples = documented.examples.iter().map(|example| example.value.clone()).collect();
                let generator = self.generator(&schema, examples)?;
                // Objects in XML, and whatever else has no writer here.
                let candidates = [generator.minimal(), generator.maximal()];
                let written = candidates.iter().map(|value| wire::encode_body(documented, value));
                match written.reduce(|one, other| if one.is_ok() { one } else { other })? {
                    Ok(_) => Some(generator),
                    Err(error) => {
                        let place = self.contract.document.describe(&documented.at);
                        lock(&self.problems).push(format!("{error} ({place})"));
                        None
                    }
                }
            })
            .as_ref()
    }

    /// The media types of an operation's request body that bodies can be made in.
    pub fn writable_media(&self, operation: usize) -> Vec<usize> {
        let count = self.operation(operation).body.as_ref().map_or(0, |body| body.media.len());
        (0..count).filter(|media| self.body_generator(operation, *media).is_some()).collect()
    }

    /// What judges the items of a stream: the item's own schema, and the same with the JSON inside of its texts opened.
    pub fn item_validators(&self, operation: usize, response: usize, media: usize) -> Option<&ItemValidators> {
        self.operations[operation].items[response][media]
            .get_or_init(|| {
                let documented = &self.operation(operation).responses[response].media[media];
                let schema = documented.item_schema.as_ref()?;
                let plain = self.compile(schema, Direction::Response)?;
                let whole = self.contract.standalone(schema, Direction::Response);
                let opened = opened(&whole).and_then(|schema| trueline_spec::schema::validator(&schema).ok());
                Some(ItemValidators { plain, opened })
            })
            .as_ref()
    }

    /// Names of properties that no answer may show: `writeOnly`, `x-secret: never`, `format: password`.
    pub fn secret_names(&self) -> &BTreeSet<String> {
        self.secret_names.get_or_init(|| {
            let mut names = BTreeSet::new();
            for schema in self.contract.schemas.values() {
                property_names(&schema.value, &is_secret, &mut names);
            }
            names
        })
    }

    /// Whether some operation has a parameter of this name that must not be shown (`format: password`).
    pub fn is_secret_parameter(&self, name: &str) -> bool {
        let mut parameters = self.contract.operations.iter().flat_map(|operation| &operation.parameters);
        parameters.any(|one| one.name == name && is_secret(&self.contract.resolve(&one.schema).value))
    }

    /// Names of properties that only the answer which creates them may show (`x-secret: shown-once`).
    pub fn shown_once_names(&self) -> &BTreeSet<String> {
        self.shown_once_names.get_or_init(|| {
            let mut names = BTreeSet::new();
            let shown_once = |property: &Value| property.get("x-secret") == Some(&"shown-once".into());
            for schema in self.contract.schemas.values() {
                property_names(&schema.value, &shown_once, &mut names);
            }
            names
        })
    }

    /// Names of the properties that a documented answer lets everybody read.
    pub fn readable_names(&self, operation: usize, response: usize) -> &BTreeSet<String> {
        self.operations[operation].readable[response].get_or_init(|| {
            let mut names = BTreeSet::new();
            let readable = |property: &Value| *property != Value::Bool(false) && !is_secret(property);
            let media = &self.operation(operation).responses[response].media;
            for schema in media.iter().filter_map(|media| media.schema.as_ref()) {
                property_names(&self.contract.standalone(schema, Direction::Response), &readable, &mut names);
            }
            names
        })
    }

    /// Whether a documented answer has a property of this name that is nobody's secret: names are short, and what is a key in
    /// one place is a word in another.
    pub fn is_plain_name(&self, operation: usize, response: usize, name: &str) -> bool {
        let mut names = BTreeSet::new();
        let plain =
            |property: &Value| property.is_object() && property.get("x-secret").is_none() && !is_secret(property);
        let media = &self.operation(operation).responses[response].media;
        for schema in media.iter().filter_map(|media| media.schema.as_ref()) {
            property_names(&self.contract.standalone(schema, Direction::Response), &plain, &mut names);
        }
        names.contains(name)
    }

    /// Names of the members that a caller can set by one operation and read back by another.
    pub fn settable(&self, write: usize, read: usize) -> Vec<String> {
        crate::collection::settable(&self.contract, write, read).into_iter().map(|(name, _)| name).collect()
    }

    /// The generator of a part of a request.
    pub fn part_generator(&self, operation: usize, part: &Part, media: usize) -> Option<&Generator> {
        match part {
            Part::Body => self.body_generator(operation, media),
            Part::Parameter(index) => self.parameter_generator(operation, *index),
        }
    }

    /// A media type of an operation's request body.
    pub fn media(&self, operation: usize, media: usize) -> Option<&Media> {
        self.operation(operation).body.as_ref()?.media.get(media)
    }

    /// The validator of the error envelope.
    pub fn envelope_validator(&self) -> Option<&Validator> {
        self.envelope.as_ref()
    }

    /// The validator of a code's details.
    pub fn details_validator(&self, code: &str) -> Option<&Validator> {
        self.details.get(code)
    }

    /// The machine code in an error body.
    pub fn code_of<'a>(&self, body: &'a Value) -> Option<&'a str> {
        let envelope = self.contract.envelope.as_ref()?;
        envelope.vocabulary.code.iter().find_map(|pointer| body.pointer(pointer)).and_then(Value::as_str)
    }

    /// The details in an error body.
    pub fn details_of<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        let envelope = self.contract.envelope.as_ref()?;
        envelope.vocabulary.details.iter().find_map(|pointer| body.pointer(pointer))
    }

    /// Whether an answer says "your request is not valid", as opposed to "not now", "not you" or "no such thing".
    pub fn is_validation_refusal(&self, status: u16, body: Option<&Value>) -> bool {
        if self.refusals.is_empty() {
            return matches!(status, 400 | 415 | 422);
        }
        let code = body.and_then(|body| self.code_of(body));
        self.refusals.iter().any(|refusal| match refusal {
            Answer::Code(name) => code == Some(name.as_str()) && self.contract.status_of(refusal) == Some(status),
            Answer::Status(refused) => *refused == status,
        })
    }

    /// The name and the rate class of the classes of an operation that count a request with a good credential of `scheme`
    /// (none: no good credential).
    pub fn classes_of(&self, operation: &Operation, scheme: Option<&str>) -> Vec<(String, &RateClass)> {
        operation
            .rate_limits
            .iter()
            .filter_map(|name| Some((name.clone(), self.contract.rate_class(name)?)))
            .filter(|(_, class)| class.when.counts(scheme))
            .collect()
    }

    fn compile(&self, schema: &Schema, direction: Direction) -> Option<Validator> {
        match self.contract.validator(schema, direction) {
            Ok(validator) => Some(validator),
            Err(problem) => {
                lock(&self.problems).push(said(&self.contract, &problem));
                None
            }
        }
    }

    fn generator(&self, schema: &Schema, examples: Vec<Value>) -> Option<Generator> {
        match Generator::new(&self.contract.standalone(schema, Direction::Request)) {
            Ok(generator) => {
                // Parts that no value ever has are said, so that nobody takes them for tried.
                let dead = generator.problems().iter().map(|problem| {
                    let at = self.contract.place_in(schema, &problem.pointer);
                    format!("{}: never in a request: {}", self.contract.document.describe(&at), problem.reason)
                });
                let mut problems = lock(&self.problems);
                for said in dead {
                    if !problems.contains(&said) {
                        problems.push(said);
                    }
                }
                Some(generator.with_seeds(examples))
            }
            Err(unsatisfiable) => {
                let place = self.contract.document.describe(&schema.at);
                lock(&self.problems).push(format!("{unsatisfiable} (schema at {place})"));
                None
            }
        }
    }
}

/// A problem in one line.
fn said(contract: &Contract, problem: &trueline_spec::problem::Problem) -> String {
    let place = problem.at.as_ref().map(|at| format!("{}: ", contract.document.describe(at))).unwrap_or_default();
    let found = problem.found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default();
    format!("{place}{}{found}", problem.title)
}

fn is_secret(property: &Value) -> bool {
    let is = |keyword: &str, wanted: Value| property.get(keyword) == Some(&wanted);
    is("writeOnly", true.into()) || is("x-secret", "never".into()) || is("format", "password".into())
}

/// Names of the properties anywhere in a schema that `wanted` likes.
fn property_names(schema: &Value, wanted: &dyn Fn(&Value) -> bool, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (name, property) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if wanted(property) {
                    names.insert(name.clone());
                }
            }
            members.values().for_each(|member| property_names(member, wanted, names));
        }
        Value::Array(items) => items.iter().for_each(|item| property_names(item, wanted, names)),
        _ => {}
    }
}

fn cells<T>(count: usize) -> Vec<OnceLock<T>> {
    (0..count).map(|_| OnceLock::new()).collect()
}

/// A poisoned lock means that another thread panicked while holding it; what these locks guard stays usable.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
