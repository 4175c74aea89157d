//! Clauses: every promise of the contract, with a stable id and its place in the document, and the ledger of what became
//! of each.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Operation, Schema, StatusPattern};
use trueline_spec::document::Location;

use crate::case::Part;
use crate::collection::Collections;

/// Index of a clause in [`Clauses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClauseId(pub u32);

/// One promise.
#[derive(Debug, Clone)]
pub struct Clause {
    /// Stable and readable: `createAgent/body/name/maxLength`.
    pub id: String,
    /// What is promised, in a few words.
    pub statement: String,
    /// Where it stands.
    pub at: Location,
    /// The operation it belongs to, if it is not the contract's as a whole.
    pub operation: Option<usize>,
    /// What it is about.
    pub kind: ClauseKind,
}

/// What a clause is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ClauseKind {
    Status(String),
    ResponseSchema,
    MediaType,
    Header,
    NoBody,
    Security,
    Constraint,
    Input,
    Code(String),
    Envelope,
    Unmatched,
    RateHeaders,
    RateClass(String),
    StatedLimit,
    Quota(String),
    Secret,
    State,
    Tenancy,
    Time,
}

/// What became of a clause; only a worse state replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum State {
    /// Nothing that was sent could show it. Never green.
    NotExercised = 0,
    /// It was tried, but what came says neither yes nor no.
    Inconclusive = 1,
    /// Every answer kept it.
    Held = 2,
    /// An answer broke it.
    Broken = 3,
}

/// Every clause of a contract, and where to find each.
#[derive(Debug)]
pub struct Clauses {
    all: Vec<Clause>,
    by_id: HashMap<String, ClauseId>,
    /// By operation.
    operations: Vec<OperationClauses>,
    /// The error envelope.
    pub envelope: Option<ClauseId>,
    /// Answers to unknown paths and methods.
    pub unknown_path: ClauseId,
    /// As above, for methods.
    pub unknown_method: ClauseId,
    /// Rate-limit headers.
    pub rate_headers: Option<ClauseId>,
    /// What the rate-limit headers state is kept, where they are all that is documented.
    pub stated_limits: Option<ClauseId>,
    /// By class name.
    pub classes: BTreeMap<String, ClauseId>,
    /// By quota name.
    pub quotas: BTreeMap<String, ClauseId>,
    /// The catalogue of codes.
    pub catalogue: Option<ClauseId>,
    /// Secrets stay secret.
    pub secrets: ClauseId,
    /// Answers come in time, and the times in them are in order.
    pub time: ClauseId,
}

/// The clauses of one operation.
#[derive(Debug, Default)]
pub struct OperationClauses {
    /// In the order of [`Operation::responses`].
    pub responses: Vec<ResponseClauses>,
    /// Undocumented statuses break this one: the operation's list of statuses as a whole.
    pub statuses: Option<ClauseId>,
    /// By scheme name.
    pub security: BTreeMap<String, ClauseId>,
    /// By code.
    pub codes: BTreeMap<String, ClauseId>,
    /// By part and JSON Pointer of the keyword in the part's standalone schema.
    constraints: HashMap<(Part, String), ClauseId>,
    /// What is valid is taken; what is not is refused.
    pub input: Option<ClauseId>,
    /// What an operation on a collection acknowledges is so.
    pub state: Option<ClauseId>,
    /// Other tenants' resources are out of reach.
    pub tenancy: Option<ClauseId>,
}

/// The clauses of one response object.
#[derive(Debug)]
pub struct ResponseClauses {
    /// The status can be answered.
    pub status: ClauseId,
    /// The body fits its schema.
    pub schema: Option<ClauseId>,
    /// The media type is a documented one, or a status that has no body has none.
    pub media: Option<ClauseId>,
    /// In the order of the response's headers.
    pub headers: Vec<ClauseId>,
}

impl Clauses {
    /// Reads the clauses of a contract, in the order of the document.
    pub fn of(contract: &Contract) -> Clauses {
        Clauses::with(contract, &Collections::of(contract))
    }

    /// As [`Clauses::of`], with collections that are known already.
    pub fn with(contract: &Contract, collections: &Collections) -> Clauses {
        let root = Location { file: 0, pointer: "".into() };
        let under = |pointer: &str| Location { file: 0, pointer: pointer.into() };
        let mut all = Vec::new();
        let mut taken = HashSet::new();
        let mut add = |id: String, statement: String, at: &Location, operation: Option<usize>, kind: ClauseKind| {
            let mut unique = id.clone();
            let mut number = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{id}~{number}");
                number += 1;
            }
            all.push(Clause { id: unique, statement, at: at.clone(), operation, kind });
            ClauseId((all.len() - 1) as u32)
        };

        let mut operations = Vec::new();
        for (index, operation) in contract.operations.iter().enumerate() {
            operations.push(operation_clauses(contract, index, operation, &mut add));
        }
        resource_clauses(contract, collections, &mut operations, &mut add);
        let vocabulary = contract.vocabulary.as_ref();
        let envelope_at = under("/x-contract/error-envelope");
        let envelope = contract.envelope.as_ref().map(|_| {
            let statement = "every failure is dressed in the error envelope".to_owned();
            add("contract/envelope".to_owned(), statement, &envelope_at, None, ClauseKind::Envelope)
        });
        let unmatched_at =
            if envelope.is_some() { under("/x-contract/error-envelope/unmatched") } else { root.clone() };
        let unknown_path = add(
            "contract/unmatched/path".to_owned(),
            "a path that the contract does not have is answered in the dialect".to_owned(),
            &unmatched_at,
            None,
            ClauseKind::Unmatched,
        );
        let unknown_method = add(
            "contract/unmatched/method".to_owned(),
            "a method that a path does not have is answered in the dialect".to_owned(),
            &unmatched_at,
            None,
            ClauseKind::Unmatched,
        );
        let catalogue = (!contract.error_codes().is_empty()).then(|| {
            let statement = "every error code is one of the catalogue's".to_owned();
            add("contract/codes".to_owned(), statement, &under("/x-contract/error-codes"), None, ClauseKind::Envelope)
        });
        let limits = vocabulary.and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        let rate_headers = limits.map(|_| {
            let statement = "the rate-limit headers stand where the contract says".to_owned();
            let at = under("/x-contract/rate-limits/headers");
            add("contract/rate-limits/headers".to_owned(), statement, &at, None, ClauseKind::RateHeaders)
        });
        // Without the vocabulary: by the headers that are documented, at the first of them.
        let documented = contract.operations.iter().flat_map(|operation| &operation.responses).find_map(|response| {
            let headers = response.rate_headers();
            headers.limit.or(headers.remaining).or(headers.reset).or(headers.combined).or(headers.policy)
        });
        let documented = documented.filter(|_| limits.is_none());
        let rate_headers = rate_headers.or_else(|| {
            let statement = "the documented rate-limit headers say where a caller stands".to_owned();
            let at = &documented?.at;
            Some(add("contract/rate-limits/headers".to_owned(), statement, at, None, ClauseKind::RateHeaders))
        });
        let stated_limits = documented.map(|header| {
            let statement = "what the rate-limit headers state is kept".to_owned();
            add("contract/rate-limits/stated".to_owned(), statement, &header.at, None, ClauseKind::StatedLimit)
        });
        let mut classes = BTreeMap::new();
        for (name, class) in limits.into_iter().flat_map(|limits| &limits.classes) {
            let statement = format!("{} requests in {} per {}", class.limit, class.window, class.per);
            let at = under(&format!("/x-contract/rate-limits/classes/{}", escape(name)));
            let kind = ClauseKind::RateClass(name.clone());
            classes.insert(name.clone(), add(format!("contract/rate-limits/{name}"), statement, &at, None, kind));
        }
        let mut quotas = BTreeMap::new();
        for (name, quota) in vocabulary.into_iter().flat_map(|vocabulary| &vocabulary.quotas) {
            let statement = format!("an exhausted quota per {} answers {}", quota.per, quota.code);
            let at = under(&format!("/x-contract/quotas/{}", escape(name)));
            let kind = ClauseKind::Quota(name.clone());
            quotas.insert(name.clone(), add(format!("contract/quotas/{name}"), statement, &at, None, kind));
        }
        let secrets = add(
            "contract/secrets".to_owned(),
            "what is secret is in no answer".to_owned(),
            &root,
            None,
            ClauseKind::Secret,
        );
        let time = add(
            "contract/time".to_owned(),
            "answers come in time, and the times in them are in order".to_owned(),
            &root,
            None,
            ClauseKind::Time,
        );
        let by_id = all.iter().enumerate().map(|(index, clause)| (clause.id.clone(), ClauseId(index as u32))).collect();
        Clauses {
            all,
            by_id,
            operations,
            envelope,
            unknown_path,
            unknown_method,
            rate_headers,
            stated_limits,
            classes,
            quotas,
            catalogue,
            secrets,
            time,
        }
    }

    /// All, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = (ClauseId, &Clause)> {
        self.all.iter().enumerate().map(|(index, clause)| (ClauseId(index as u32), clause))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The clause with this index.
    pub fn get(&self, id: ClauseId) -> &Clause {
        &self.all[id.0 as usize]
    }

    /// The clause with this id.
    pub fn find(&self, id: &str) -> Option<ClauseId> {
        self.by_id.get(id).copied()
    }

    /// The clauses of an operation.
    pub fn of_operation(&self, operation: usize) -> &OperationClauses {
        &self.operations[operation]
    }

    /// The clause of a keyword in a request part's schema; the nearest enclosing one if the keyword has none of its own.
    pub fn constraint(&self, operation: usize, part: &Part, schema_pointer: &str) -> Option<ClauseId> {
        let clauses = &self.operations[operation];
        let mut pointer = schema_pointer;
        loop {
            if let Some(id) = clauses.constraints.get(&(part.clone(), pointer.to_owned())) {
                return Some(*id);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}

type Add<'a> = dyn FnMut(String, String, &Location, Option<usize>, ClauseKind) -> ClauseId + 'a;

fn operation_clauses(contract: &Contract, index: usize, operation: &Operation, add: &mut Add<'_>) -> OperationClauses {
    let id = &operation.id;
    let mut clauses = OperationClauses::default();
    let responses_at = child(&operation.at, "responses");
    let statement = "only documented statuses are answered".to_owned();
    clauses.statuses =
        Some(add(format!("{id}/statuses"), statement, &responses_at, Some(index), ClauseKind::Status(String::new())));
    for response in &operation.responses {
        let status = response.status.to_string();
        let mut of = |suffix: &str, statement: String, at: &Location, kind: ClauseKind| {
            add(format!("{id}/{status}{suffix}"), statement, at, Some(index), kind)
        };
        let status_clause =
            of("", response.description.clone(), &response.at, ClauseKind::Status(response.status.to_string()));
        let (media, schema) = if response.media.is_empty() {
            let bodiless = matches!(response.status, StatusPattern::Exact(204 | 205 | 304));
            let statement = "the answer has no body".to_owned();
            (bodiless.then(|| of("/no-body", statement, &response.at, ClauseKind::NoBody)), None)
        } else {
            let types: Vec<&str> = response.media.iter().map(|media| media.media_type.as_str()).collect();
            let statement = format!("the body is {}", types.join(" or "));
            let media_clause = of("/media-type", statement, &response.media[0].at, ClauseKind::MediaType);
            let first = response.media.iter().find_map(|media| media.schema.as_ref());
            let schema = first.map(|schema| {
                let what = schema.name().map_or_else(|| "its schema".to_owned(), |name| format!("schema {name}"));
                of("/schema", format!("the body fits {what}"), &schema.at, ClauseKind::ResponseSchema)
            });
            (Some(media_clause), schema)
        };
        let headers = response
            .headers
            .iter()
            .map(|header| {
                let must = if header.required { "is there and fits" } else { "fits" };
                let statement = format!("header {} {must} its schema", header.name);
                of(&format!("/header/{}", header.name), statement, &header.at, ClauseKind::Header)
            })
            .collect();
        clauses.responses.push(ResponseClauses { status: status_clause, schema, media, headers });
    }
    for alternative in &operation.security {
        for scheme in alternative.schemes.keys() {
            if let Some(declared) = contract.security_schemes.get(scheme)
                && !clauses.security.contains_key(scheme)
            {
                let at = child(&operation.at, "security");
                let at = if contract.document.value(&at).is_some() { at } else { declared.at.clone() };
                let statement = format!("needs a credential of {scheme}");
                let clause = add(format!("{id}/security/{scheme}"), statement, &at, Some(index), ClauseKind::Security);
                clauses.security.insert(scheme.clone(), clause);
            }
        }
    }
    for code in &operation.error_codes {
        let at = Location { file: 0, pointer: format!("/x-contract/error-codes/{}", escape(code)).into() };
        let statement = contract.error_codes().get(code).and_then(|code| code.meaning.clone()).unwrap_or_default();
        let kind = ClauseKind::Code(code.clone());
        clauses.codes.insert(code.clone(), add(format!("{id}/code/{code}"), statement, &at, Some(index), kind));
    }
    let statement = "valid requests are taken, invalid ones refused".to_owned();
    clauses.input = Some(add(format!("{id}/input"), statement, &operation.at, Some(index), ClauseKind::Input));
    for (number, parameter) in operation.parameters.iter().enumerate() {
        let part = Part::Parameter(number);
        let prefix = format!("{id}/{}/{}", parameter.place, parameter.name);
        // A path without its parameter is another path.
        if parameter.required && parameter.place != trueline_spec::contract::ParameterPlace::Path {
            let at = child(&parameter.at, "required");
            let at = if contract.document.value(&at).is_some() { at } else { parameter.at.clone() };
            let clause =
                add(format!("{prefix}/required"), "must be there".to_owned(), &at, Some(index), ClauseKind::Constraint);
            clauses.constraints.insert((part.clone(), "/required".to_owned()), clause);
        }
        constraint_clauses(contract, &parameter.schema, &part, &prefix, index, &mut clauses, add);
    }
    if let Some(body) = &operation.body {
        if body.required {
            let at = child(&body.at, "required");
            let statement = "a body must be there".to_owned();
            let clause = add(format!("{id}/body/required"), statement, &at, Some(index), ClauseKind::Constraint);
            clauses.constraints.insert((Part::Body, "/-required".to_owned()), clause);
        }
        if let Some(schema) = body.media.iter().find_map(|media| media.schema.as_ref()) {
            constraint_clauses(contract, schema, &Part::Body, &format!("{id}/body"), index, &mut clauses, add);
        }
    }
    clauses
}

/// What operations on collections promise without a word of the document's own: state and tenancy.
fn resource_clauses(
    contract: &Contract,
    collections: &Collections,
    operations: &mut [OperationClauses],
    add: &mut Add<'_>,
) {
    let mut stateful: HashSet<usize> = HashSet::new();
    let mut lists: HashSet<usize> = HashSet::new();
    for collection in collections.iter().filter(|one| one.create.is_some()) {
        // Of what nobody can look at afterwards nobody can say whether it was kept.
        let looked_at = collection.read.is_some() || collection.list.is_some();
        stateful.extend(collection.operations().filter(|one| looked_at || Some(*one) == collection.delete));
        lists.extend(collection.list.as_ref().map(|list| list.operation));
    }
    for (index, operation) in contract.operations.iter().enumerate() {
        if stateful.contains(&index) {
            let statement = "what it acknowledges is so afterwards".to_owned();
            let id = format!("{}/state", operation.id);
            operations[index].state = Some(add(id, statement, &operation.at, Some(index), ClauseKind::State));
        }
        let names_one = operation
            .path_parameters()
            .any(|name| collections.named_by(operation, name).is_some_and(|one| one.create.is_some()));
        let public = operation.visibility == Some(trueline_spec::vocabulary::Visibility::Public);
        let open = public && operation.effect == trueline_spec::vocabulary::Effect::Read;
        if operation.is_secured() && (names_one || lists.contains(&index)) && !open {
            let statement = "another tenant's resources are out of reach".to_owned();
            let id = format!("{}/tenancy", operation.id);
            operations[index].tenancy = Some(add(id, statement, &operation.at, Some(index), ClauseKind::Tenancy));
        }
    }
}

/// Keywords that a request can be made to violate.
const ASSERTIONS: [&str; 22] = [
    "type",
    "enum",
    "const",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "additionalProperties",
    "required",
    "oneOf",
    "anyOf",
    "not",
];

/// Walks a schema along its references; every asserting keyword becomes a clause named by the place in the instance.
fn constraint_clauses(
    contract: &Contract,
    schema: &Schema,
    part: &Part,
    prefix: &str,
    operation: usize,
    clauses: &mut OperationClauses,
    add: &mut Add<'_>,
) {
    let standalone = contract.standalone(schema, Direction::Request);
    // The pointer into the standalone schema, the name of the place in the instance, and how deep we are.
    let mut queue = std::collections::VecDeque::from([(String::new(), prefix.to_owned(), 0)]);
    let mut seen = HashSet::new();
    while let Some((pointer, name, depth)) = queue.pop_front() {
        if depth > 12 || !seen.insert(pointer.clone()) || clauses.constraints.len() > 20_000 {
            continue;
        }
        let Some(Value::Object(object)) = standalone.pointer(&pointer) else { continue };
        for keyword in ASSERTIONS {
            let Some(value) = object.get(keyword) else { continue };
            if keyword == "additionalProperties" && *value != Value::Bool(false) {
                continue;
            }
            let here = format!("{pointer}/{keyword}");
            let at = source_of(contract, schema, &here);
            if keyword == "required" {
                for (number, member) in value.as_array().into_iter().flatten().enumerate() {
                    let Some(member) = member.as_str() else { continue };
                    let at = source_of(contract, schema, &format!("{here}/{number}"));
                    let id = format!("{name}/{member}/required");
                    let clause = add(id, "must be there".to_owned(), &at, Some(operation), ClauseKind::Constraint);
                    clauses.constraints.insert((part.clone(), format!("{here}/{member}")), clause);
                    clauses.constraints.entry((part.clone(), here.clone())).or_insert(clause);
                }
                continue;
            }
            let statement = match value {
                Value::Array(_) | Value::Object(_) => keyword.to_owned(),
                plain => format!("{keyword}: {plain}"),
            };
            let clause = add(format!("{name}/{keyword}"), statement, &at, Some(operation), ClauseKind::Constraint);
            clauses.constraints.insert((part.clone(), here), clause);
        }
        if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
            queue.push_back((target.to_owned(), name.clone(), depth));
        }
        for member in object.get("properties").and_then(Value::as_object).into_iter().flat_map(|members| members.keys())
        {
            queue.push_back((
                format!("{pointer}/properties/{}", escape(member)),
                format!("{name}/{member}"),
                depth + 1,
            ));
        }
        for (keyword, suffix) in [("items", "*"), ("additionalProperties", "*")] {
            if object.get(keyword).is_some_and(Value::is_object) {
                queue.push_back((format!("{pointer}/{keyword}"), format!("{name}/{suffix}"), depth + 1));
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
            for number in 0..object.get(keyword).and_then(Value::as_array).map_or(0, Vec::len) {
                let name = if keyword == "allOf" { name.clone() } else { format!("{name}/{keyword}.{number}") };
                queue.push_back((format!("{pointer}/{keyword}/{number}"), name, depth + 1));
            }
        }
    }
}

/// Where a pointer into a standalone schema stands in the document.
pub(crate) fn source_of(contract: &Contract, schema: &Schema, pointer: &str) -> Location {
    contract.place_in(schema, pointer)
}

fn child(at: &Location, key: &str) -> Location {
    Location { file: at.file, pointer: format!("{}/{}", at.pointer, escape(key)).into() }
}

/// RFC 6901 section 3.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl ResponseClauses {
    /// The clauses for an answer with this status, if the operation documents it.
    pub fn find<'a>(clauses: &'a OperationClauses, operation: &Operation, status: u16) -> Option<(usize, &'a Self)> {
        let position = |pattern| operation.responses.iter().position(|response| response.status == pattern);
        let index = position(StatusPattern::Exact(status))
            .or_else(|| position(StatusPattern::Range((status / 100) as u8)))
            .or_else(|| position(StatusPattern::Default))?;
        Some((index, &clauses.responses[index]))
    }
}

/// What became of every clause; shared by all workers.
#[derive(Debug)]
pub struct Ledger {
    states: Vec<AtomicU8>,
}

impl Ledger {
    /// Nothing is exercised yet.
    pub fn new(clauses: &Clauses) -> Ledger {
        Ledger { states: (0..clauses.len()).map(|_| AtomicU8::new(State::NotExercised as u8)).collect() }
    }

    /// Notes a state; a worse one stays.
    pub fn note(&self, clause: ClauseId, state: State) {
        self.states[clause.0 as usize].fetch_max(state as u8, Ordering::Relaxed);
    }

    /// The state of a clause.
    pub fn state(&self, clause: ClauseId) -> State {
        match self.states[clause.0 as usize].load(Ordering::Relaxed) {
            0 => State::NotExercised,
            1 => State::Inconclusive,
            2 => State::Held,
            _ => State::Broken,
        }
    }
}
