//! The dialect: the envelope's layout, the codes as types, and how the platform's own refusals are dressed.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use proc_macro2::TokenStream;
use quote::quote;
use serde_json::{Map, Value};
use trueline_spec::contract::{Contract, Direction, Operation, ParameterPlace, Schema, StatusPattern};
use trueline_spec::document::Location;
use trueline_spec::vocabulary::{Answer, Refusals, RetryAdvice};

use super::names::{self, Names, ident};
use super::sink::{Sink, below};
use super::source::{Source, doc};
use super::types::{Root, Shape, Types, reference};

/// One failing answer of the contract.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) answer: Answer,
    pub(super) status: u16,
    /// Of the type and the variant.
    pub(super) name: String,
    /// Of the static.
    pub(super) constant: String,
    meaning: String,
    retry: RetryAdvice,
    details: Option<Schema>,
}

/// The dialect of a contract.
#[derive(Debug)]
pub(super) struct Dialect<'a> {
    contract: &'a Contract,
    sink: &'a Sink,
    /// By what the document calls it.
    failing: IndexMap<String, Failing>,
    /// Answers that the platform gives, whose details it must be able to fill.
    platform: BTreeSet<String>,
    /// By answer: the path parameter whose bad value it speaks of.
    parameters: IndexMap<String, BTreeSet<String>>,
    /// Whether every failure has a code.
    all_coded: bool,
}

/// The refusals of an operation, as names of statics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Chosen(pub(super) [Option<String>; 12]);

impl<'a> Dialect<'a> {
    /// Reads the dialect; nothing if the contract has none, which is a problem.
    pub(super) fn new(contract: &'a Contract, sink: &'a Sink) -> Option<Self> {
        let root = Location { file: 0, pointer: "".into() };
        let (Some(vocabulary), Some(envelope)) = (&contract.vocabulary, &contract.envelope) else {
            sink.refuse_with_help(
                &root,
                "the document does not say how failures are dressed",
                "a server needs `x-contract.error-envelope`; see spec/contracts/vocabulary.schema.json",
            );
            return None;
        };
        let at = below(&below(&root, "x-contract"), "error-codes");
        let mut dialect = Dialect {
            contract,
            sink,
            failing: IndexMap::new(),
            platform: BTreeSet::new(),
            parameters: IndexMap::new(),
            all_coded: false,
        };
        let mut taken = Names::default();
        for (code, facts) in &vocabulary.error_codes {
            let at = below(&at, code);
            let name = names::type_name(code);
            if let Err((other, _)) = taken.take(&name, code, &at) {
                sink.refuse(&at, format!("the codes `{other}` and `{code}` are both `{name}` in Rust"));
                continue;
            }
            dialect.failing.insert(
                code.clone(),
                Failing {
                    answer: Answer::Code(code.clone()),
                    status: facts.status,
                    constant: names::shouty(code),
                    name,
                    meaning: facts.meaning.clone().unwrap_or_default(),
                    retry: facts.retry,
                    details: envelope.details.get(code).cloned(),
                },
            );
        }
        let refusals = &envelope.vocabulary.refusals;
        let unmatched = &envelope.vocabulary.unmatched;
        let named = all_refusals(refusals).into_iter().flatten().chain([&unmatched.path, &unmatched.method]);
        let answers: Vec<&Answer> = named.collect();
        dialect.all_coded = !vocabulary.error_codes.is_empty() && answers.iter().all(|answer| answer.code().is_some());
        for answer in answers {
            match answer {
                Answer::Status(status) => dialect.bare(*status, &mut taken, &root),
                Answer::Code(code) if !dialect.failing.contains_key(code) => {
                    sink.refuse(
                        &below(&below(&root, "x-contract"), "error-envelope"),
                        format!("there is no code `{code}`"),
                    );
                }
                Answer::Code(_) => {}
            }
        }
        if !dialect.all_coded {
            for operation in &contract.operations {
                for response in &operation.responses {
                    if let StatusPattern::Exact(status @ 400..=599) = response.status {
                        dialect.bare(status, &mut taken, &response.at);
                    }
                }
            }
        }
        // What answers when no operation does.
        for answer in
            [Some(&unmatched.path), Some(&unmatched.method), refusals.limited.as_ref(), Some(&refusals.internal)]
        {
            dialect.platform.extend(answer.map(ToString::to_string));
        }
        Some(dialect)
    }

    /// A status of a dialect without codes.
    fn bare(&mut self, status: u16, taken: &mut Names, at: &Location) {
        let key = status.to_string();
        if self.failing.contains_key(&key) {
            return;
        }
        let mut name = names::status(status);
        if taken.take(&name, &key, at).is_err() {
            // A code of the same name; the number tells them apart.
            name = format!("{name}{status}");
        }
        let retry = match status {
            429 => RetryAdvice::After,
            500.. => RetryAdvice::Backoff,
            _ => RetryAdvice::Never,
        };
        self.failing.insert(
            key,
            Failing {
                answer: Answer::Status(status),
                status,
                constant: format!("STATUS_{status}"),
                meaning: http::StatusCode::from_u16(status)
                    .ok()
                    .and_then(|status| status.canonical_reason())
                    .map(|reason| format!("{reason}."))
                    .unwrap_or_default(),
                name,
                retry,
                details: None,
            },
        );
    }

    fn find(&self, answer: &Answer) -> Option<&Failing> {
        self.failing.get(&answer.to_string())
    }

    /// The static of an answer, as the modules under `operations` see it.
    pub(super) fn constant(&self, answer: &Answer) -> TokenStream {
        let name = ident(self.find(answer).map_or("UNKNOWN", |failing| &failing.constant));
        quote! { answers::#name }
    }

    /// What an operation documents.
    pub(super) fn failures(&self, operation: &Operation) -> Vec<&Failing> {
        let mut found = Vec::new();
        for response in &operation.responses {
            let status = match response.status {
                StatusPattern::Exact(status @ 400..=599) => status,
                StatusPattern::Exact(_) => continue,
                StatusPattern::Range(2 | 3) => continue,
                StatusPattern::Range(_) | StatusPattern::Default => {
                    self.sink.refuse_with_help(
                        &response.at,
                        format!("`{}` promises every status, and a server needs to know which", response.status),
                        "list the statuses",
                    );
                    continue;
                }
            };
            let codes = operation.error_codes.iter().filter_map(|code| self.failing.get(code));
            let before = found.len();
            found.extend(codes.filter(|failing| failing.status == status));
            if !self.all_coded {
                found.extend(self.failing.get(&status.to_string()));
            } else if found.len() == before {
                let at = below(&below(&operation.at, "responses"), &status.to_string());
                self.sink.refuse_with_help(
                    &at,
                    format!("no code of `{}` has the status {status}", operation.id),
                    "list one in x-error-codes, or take the response away",
                );
            }
        }
        for code in &operation.error_codes {
            let Some(failing) = self.failing.get(code) else { continue };
            if !operation.responses.iter().any(|response| response.status == StatusPattern::Exact(failing.status)) {
                self.sink.refuse_with_help(
                    &operation.at,
                    format!("the code `{code}` has the status {}, which this operation does not list", failing.status),
                    "add the response, or take the code away",
                );
            }
        }
        found
    }

    fn documents(&self, operation: &Operation, answer: &Answer) -> bool {
        let Some(failing) = self.find(answer) else { return false };
        let listed = operation.responses.iter().any(|response| response.status == StatusPattern::Exact(failing.status));
        listed && answer.code().is_none_or(|code| operation.error_codes.iter().any(|listed| listed == code))
    }

    /// The documented answer to each refusal that can happen on an operation.
    pub(super) fn refusals(&mut self, operation: &Operation, validates: bool) -> Chosen {
        let Some(envelope) = &self.contract.envelope else { return Chosen(Default::default()) };
        let named = &envelope.vocabulary.refusals;
        let secured = operation.security.iter().any(|alternative| !alternative.schemes.is_empty());
        let scoped = !operation.required_scopes.is_empty();
        let body = operation.body.is_some();
        let has = |answer: &Option<Answer>| answer.iter().cloned().collect::<Vec<Answer>>();
        let list = |answers: &[&Answer]| answers.iter().map(|answer| (*answer).clone()).collect::<Vec<_>>();
        let (missing, invalid, several) = (&named.missing, &named.invalid, &named.several);
        // What may happen, whether it must have an answer, and the answers in order of preference.
        let table: [(&str, bool, Vec<Answer>); 12] = [
            ("may come without a good credential", secured, list(&[&named.unauthenticated])),
            ("", false, [has(&named.wrong_scheme), list(&[&named.forbidden, &named.unauthenticated])].concat()),
            ("may lack a scope", scoped, list(&[&named.forbidden])),
            ("", false, list(&[missing, several, invalid])),
            ("may be invalid", validates, list(&[invalid, several, missing])),
            ("", false, list(&[several, invalid, missing])),
            ("may be malformed", body, list(&[&named.malformed, several, invalid, missing])),
            ("may be of a wrong media type", body, list(&[&named.media_type, &named.malformed, several, invalid])),
            ("may be too large", body, list(&[&named.too_large, &named.malformed, several, invalid])),
            ("may be over the limit", !operation.rate_limits.is_empty(), has(&named.limited)),
            ("may fail inside", true, list(&[&named.internal])),
            ("", false, list(&[&named.unavailable])),
        ];
        let mut chosen: [Option<String>; 12] = Default::default();
        for (slot, (what, needed, answers)) in chosen.iter_mut().zip(table) {
            let found = answers.iter().find(|answer| self.documents(operation, answer));
            if let Some(answer) = found {
                let key = answer.to_string();
                *slot = self.failing.get(&key).map(|failing| failing.constant.clone());
                self.platform.insert(key);
            } else if needed {
                let mut wanted: Vec<String> = answers.iter().map(|answer| format!("`{answer}`")).collect();
                wanted.dedup();
                self.sink.refuse_with_help(
                    &operation.at,
                    format!("a request of `{}` {what}, and it documents no answer to that", operation.id),
                    format!("document {}", wanted.join(" or ")),
                );
            }
        }
        Chosen(chosen)
    }

    /// The 404 of a path parameter whose value names nothing.
    ///
    /// The code that begins with the parameter's stem (`agentId` → `agent_not_found`); else, if the operation has no
    /// answer for an invalid request, its only 404. Nothing: the value is answered as invalid.
    pub(super) fn not_found(&mut self, operation: &Operation, parameter: &str, may_be_invalid: bool) -> Option<Answer> {
        let snake = names::snake(parameter);
        let stem = snake.strip_suffix("_id").unwrap_or(&snake);
        let candidates: Vec<Answer> = self
            .failures_quietly(operation)
            .filter(|failing| failing.status == 404)
            .map(|failing| failing.answer.clone())
            .collect();
        let by_stem =
            candidates.iter().find(|answer| answer.code().is_some_and(|code| code == format!("{stem}_not_found")));
        let invalid = self.contract.envelope.as_ref().map(|envelope| &envelope.vocabulary.refusals.invalid);
        let invalid = invalid.is_some_and(|answer| may_be_invalid && self.documents(operation, answer));
        let chosen = match (by_stem, candidates.as_slice()) {
            (Some(answer), _) => answer.clone(),
            (None, [only]) if !invalid => only.clone(),
            _ => return None,
        };
        let key = chosen.to_string();
        self.platform.insert(key.clone());
        self.parameters.entry(key).or_default().insert(parameter.to_owned());
        Some(chosen)
    }

    fn failures_quietly<'s>(&'s self, operation: &'s Operation) -> impl Iterator<Item = &'s Failing> {
        self.failing.values().filter(|failing| self.documents(operation, &failing.answer))
    }

    /// The failures that a gate may answer: every 401 and 403 of an operation that needs a credential, and outages.
    pub(super) fn of_gate(&self) -> Vec<&Failing> {
        let refusals = self.contract.envelope.as_ref().map(|envelope| &envelope.vocabulary.refusals);
        let outages: Vec<String> = refusals
            .iter()
            .flat_map(|refusals| [refusals.internal.to_string(), refusals.unavailable.to_string()])
            .collect();
        let secured = |failing: &Failing| {
            matches!(failing.status, 401 | 403)
                && self.contract.operations.iter().any(|operation| {
                    operation.security.iter().any(|alternative| !alternative.schemes.is_empty())
                        && self.documents(operation, &failing.answer)
                })
        };
        self.failing
            .iter()
            .filter(|(key, failing)| outages.contains(key) || secured(failing))
            .map(|(_, failing)| failing)
            .collect()
    }

    /// The types of the details, for the types' emitter.
    pub(super) fn roots(&self, types: &mut Types<'_>) -> Vec<Root> {
        let mut roots = Vec::new();
        for failing in self.failing.values() {
            if let Some(schema) = &failing.details {
                let shape = self.details_shape(failing, schema, types);
                roots.push(Root { ty: shape.ty, module: "details".to_owned(), incoming: false });
            }
        }
        roots
    }

    /// The type of some details. Where they stand beside code and message, those two are not theirs to say.
    fn details_shape(&self, failing: &Failing, schema: &Schema, types: &mut Types<'_>) -> Shape {
        let hint = schema.name().map_or_else(|| format!("{}Details", failing.name), names::type_name);
        let words = self.contract.envelope.as_ref().map(|envelope| &envelope.vocabulary);
        let beside: Vec<&str> = words
            .into_iter()
            .flat_map(|words| {
                let inside =
                    |pointer: &'_ String| words.details.first().is_some_and(|details| covers(details, pointer));
                words.code.iter().chain(&words.message).filter(move |pointer| inside(pointer))
            })
            .filter_map(|pointer| pointer.rsplit('/').next())
            .collect();
        let resolved = self.contract.resolve(schema);
        let mut value = resolved.value.as_ref().clone();
        let mut own = false;
        if let Some(properties) = value.get_mut("properties").and_then(Value::as_object_mut) {
            let before = properties.len();
            properties.retain(|name, _| !beside.contains(&name.as_str()));
            own = properties.len() < before;
        }
        match own {
            true => types.once(&value, &resolved.at, &hint),
            false => types.shape(&schema.value, &schema.at, &hint),
        }
    }

    /// `src/problems.rs`.
    pub(super) fn emit(&self, document: &str, types: &mut Types<'_>) -> Source {
        let mut source = Source::new(
            document,
            "How this API fails: its codes as types, and the envelope that dresses them.\n\n\
             An operation's error enum has the codes that the contract lists for it; `?` turns a problem of a listed code\n\
             into it, and any other does not compile.",
        );
        source.items(quote! {
            #[allow(unused_imports)]
            use ::trueline_runtime::{NoDetails, Problem};
        });
        let aliases = self.failing.values().map(|failing| {
            let name = ident(&failing.name);
            let docs = doc(&self.about(failing));
            quote! { #docs pub type #name = Problem<codes::#name>; }
        });
        for alias in aliases {
            source.items(alias);
        }
        let codes = self.failing.values().map(|failing| {
            let (name, constant) = (ident(&failing.name), ident(&failing.constant));
            let details = match &failing.details {
                Some(schema) => {
                    let shape = self.details_shape(failing, schema, types);
                    types.nested(&shape.ty, &quote! { super::super::types:: })
                }
                None => quote! { NoDetails },
            };
            let docs = doc(&self.about(failing));
            quote! {
                #docs
                #[derive(Debug, Clone, Copy, PartialEq, Eq)]
                pub enum #name {}
                impl Code for #name {
                    type Details = #details;
                    const ANSWER: &'static Answer = &super::answers::#constant;
                }
            }
        });
        source.items(quote! {
            /// The codes as types without values.
            pub mod codes {
                #[allow(unused_imports)]
                use ::trueline_runtime::{NoDetails, contract::Answer, problem::Code};
                #(#codes)*
            }
        });
        let statics = self.failing.iter().map(|(key, failing)| {
            let constant = ident(&failing.constant);
            let status = proc_macro2::Literal::u16_unsuffixed(failing.status);
            let code = match failing.answer.code() {
                Some(code) => quote! { Some(#code) },
                None => quote! { None },
            };
            let retry = ident(match failing.retry {
                RetryAdvice::Never => "Never",
                RetryAdvice::After => "After",
                RetryAdvice::Backoff => "Backoff",
                RetryAdvice::Refresh => "Refresh",
            });
            let details = match &failing.details {
                Some(schema) if self.platform.contains(key) => self.details_form(key, failing, schema),
                _ => quote! { DetailsForm::Empty },
            };
            let docs = doc(&self.about(failing));
            quote! {
                #docs
                pub static #constant: Answer = Answer {
                    status: #status,
                    code: #code,
                    retry: RetryAdvice::#retry,
                    envelope: &super::ENVELOPE,
                    details: #details,
                };
            }
        });
        source.items(quote! {
            /// The codes as data.
            pub mod answers {
                #[allow(unused_imports)]
                use ::trueline_runtime::contract::{Answer, DetailsForm, Fact, RetryAdvice};
                #(#statics)*
            }
        });
        let names = self.failing.values().map(|failing| ident(&failing.constant));
        source.items(quote! {
            /// Every failing answer.
            pub static ALL: &[&::trueline_runtime::contract::Answer] = &[#(&answers::#names),*];
        });
        source.items(self.envelope());
        source
    }

    /// `src/dialect_test.rs` and its data: every failure that the platform dresses, held to the contract's schemas.
    pub(super) fn emit_test(&self, document: &str) -> (Source, String) {
        let mut source = Source::new(
            document,
            "Whatever the platform answers by itself is what the contract promises: the envelope, and each code's details.",
        );
        source.items(quote! {
            use super::{operations::CONTRACT, problems};
            use ::serde_json::Value;
            use ::trueline_runtime::{problem, reject, rt};
        });
        source.items(quote! {
            async fn body(answer: &'static ::trueline_runtime::contract::Answer) -> Value {
                let response = reject::specimen(answer, &CONTRACT);
                assert_eq!(response.status().as_u16(), answer.status);
                let bytes = rt::axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
                ::serde_json::from_slice(&bytes).expect("JSON")
            }

            #[test]
            fn refusals_are_dressed_as_the_contract_says() {
                let schemas: Value = ::serde_json::from_str(include_str!("dialect_test.json")).expect("JSON");
                let envelope = ::jsonschema::validator_for(&schemas["envelope"]).expect("a schema");
                for answer in problems::ALL {
                    let body = rt::futures::executor::block_on(body(answer));
                    let named = answer.code.map_or(answer.status.to_string(), str::to_owned);
                    let whole = schemas["details"].get(&named);
                    // A code with details of its own is a handler's to answer, unless the platform can fill them.
                    if whole.is_some() || !schemas["others"].as_array().is_some_and(|others| others.iter().any(|other| *other == named)) {
                        assert!(envelope.is_valid(&body), "{named}: {body}");
                    }
                    let parsed = answer.envelope.parse(&body);
                    assert_eq!(parsed.code.as_deref(), answer.code, "{body}");
                    assert!(parsed.message.is_some_and(|message| !message.is_empty()), "{body}");
                    if let Some(schema) = whole {
                        let details = parsed.details.unwrap_or_default();
                        assert!(::jsonschema::is_valid(schema, &details), "{named}: {details}");
                    }
                }
            }

            #[test]
            fn problems_are_read_as_they_are_written() {
                for answer in problems::ALL {
                    let body = rt::futures::executor::block_on(body(answer));
                    let parsed = answer.envelope.parse(&body);
                    if let Some(failure) = <super::server::GateFailure as problem::Failures>::read(answer.status, &parsed) {
                        let again = problem::Failures::to_body(&failure);
                        assert_eq!(again["message"], body["message"]);
                        assert_eq!(answer.envelope.parse(&again), parsed);
                    }
                }
            }
        });
        let envelope = self.contract.envelope.as_ref();
        let standalone =
            |schema: &Schema| super::schemas::plain(&self.contract.standalone(schema, Direction::Response));
        let (mut details, mut others) = (Map::new(), Vec::new());
        for (key, failing) in &self.failing {
            match &failing.details {
                Some(schema) if self.platform.contains(key) => {
                    details.insert(key.clone(), standalone(schema));
                }
                Some(_) => others.push(Value::from(key.as_str())),
                None => {}
            }
        }
        let data = serde_json::json!({
            "envelope": envelope.map(|envelope| standalone(&envelope.schema)),
            "details": details,
            "others": others,
        });
        let mut text = serde_json::to_string_pretty(&data).unwrap_or_default();
        text.push('\n');
        (source, text)
    }

    /// The documentation of a failure.
    pub(super) fn about(&self, failing: &Failing) -> String {
        let status = failing.status;
        match failing.answer.code() {
            Some(code) if failing.meaning.is_empty() => format!("{status} `{code}`."),
            Some(code) => format!("{status} `{code}`: {}", failing.meaning),
            None => format!("{status} {}", failing.meaning),
        }
    }

    /// How the platform fills the details of an answer that it gives itself.
    fn details_form(&self, key: &str, failing: &Failing, schema: &Schema) -> TokenStream {
        let resolved = self.contract.resolve(schema);
        let standalone = self.contract.standalone(resolved, Direction::Response);
        let Some(map) = standalone.as_object() else { return quote! { DetailsForm::Empty } };
        let Some(properties) = map.get("properties").and_then(Value::as_object) else {
            let lists = map.get("additionalProperties").is_some_and(|inner| {
                inner.get("type").is_some_and(|kind| kind == "array")
                    && inner.get("items").and_then(|items| items.get("type")).is_some_and(|kind| kind == "string")
            });
            return if lists {
                quote! { DetailsForm::Messages }
            } else {
                quote! { DetailsForm::Empty }
            };
        };
        let required: Vec<&str> =
            map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut members = Vec::new();
        for (name, property) in properties {
            match self.fact(key, name, property) {
                Some(fact) => members.push(quote! { (#name, #fact) }),
                None if required.contains(&name.as_str()) => {
                    self.sink.refuse_with_help(
                        &below(&below(&resolved.at, "properties"), name),
                        format!("the platform answers `{}` itself, and does not know what `{name}` is", failing.answer),
                        "make the property optional, or give the refusal another code",
                    );
                }
                None => {}
            }
        }
        quote! { DetailsForm::Object(&[#(#members),*]) }
    }

    /// What a property of some details states, by the contract's own pointers first, then by its name.
    fn fact(&self, key: &str, name: &str, property: &Value) -> Option<TokenStream> {
        let limits = self.contract.vocabulary.as_ref().and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        let pointed = |pointer: &Option<String>| {
            pointer.as_deref().and_then(|pointer| pointer.rsplit('/').next()).is_some_and(|last| last == name)
        };
        if limits.is_some_and(|limits| pointed(&limits.body.wait)) {
            return Some(quote! { Fact::Wait });
        }
        if limits.is_some_and(|limits| pointed(&limits.body.limit)) {
            return Some(quote! { Fact::Limit });
        }
        if let Some(parameters) = self.parameters.get(key) {
            let named = parameters.iter().find(|parameter| names::snake(parameter) == names::snake(name));
            if let Some(parameter) =
                named.or_else(|| (name == "id" && parameters.len() == 1).then(|| parameters.first()).flatten())
            {
                return Some(quote! { Fact::PathParameter(#parameter) });
            }
        }
        let single = match (property.get("const"), property.get("enum").and_then(Value::as_array).map(Vec::as_slice)) {
            (Some(value), _) => Some(value),
            (None, Some([only])) => Some(only),
            _ => None,
        };
        if let Some(value) = single {
            let text = value.to_string();
            return Some(quote! { Fact::Constant(#text) });
        }
        let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
        let format = property.get("format").and_then(Value::as_str).unwrap_or_default();
        Some(match (names::snake(name).as_str(), kind, format) {
            ("field" | "parameter" | "param" | "name" | "property", "string", _) => quote! { Fact::Field },
            ("reason" | "message" | "problem" | "description", "string", _) => quote! { Fact::Reason },
            ("fields" | "errors" | "messages", "object", _) => quote! { Fact::Messages },
            ("retry_after" | "retry_after_seconds" | "wait" | "wait_seconds", "integer" | "number", _) => {
                quote! { Fact::Wait }
            }
            ("limit" | "max_requests", "integer" | "number", _) => quote! { Fact::Limit },
            ("remaining", "integer" | "number", _) => quote! { Fact::Remaining },
            ("reset", "integer" | "number", _) => quote! { Fact::Reset },
            ("reset_at" | "resets_at" | "reset", "string", "date-time") => quote! { Fact::ResetAt },
            ("window", "string", _) if self.windows_are_named(property) => quote! { Fact::Window },
            ("required_scope", "string", _) => quote! { Fact::RequiredScope },
            ("required_scopes", "array", _) => quote! { Fact::RequiredScopes },
            ("granted_scopes" | "key_scopes" | "scopes", "array", _) => quote! { Fact::GrantedScopes },
            ("max_bytes" | "max_size" | "limit_bytes", "integer", _) => quote! { Fact::MaxBytes },
            _ => return None,
        })
    }

    /// Whether a property can name the window of every rate class.
    fn windows_are_named(&self, property: &Value) -> bool {
        let Some(values) = property.get("enum").and_then(Value::as_array) else { return true };
        let limits = self.contract.vocabulary.as_ref().and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        limits.into_iter().flat_map(|limits| limits.classes.values()).all(|class| {
            let name = match class.window.0.as_secs() {
                60 => "minute".to_owned(),
                3_600 => "hour".to_owned(),
                86_400 => "day".to_owned(),
                seconds => format!("{seconds}s"),
            };
            values.iter().any(|value| value == &Value::from(name.as_str()))
        })
    }

    /// The envelope as data.
    fn envelope(&self) -> TokenStream {
        let Some(envelope) = &self.contract.envelope else { return quote!() };
        let words = &envelope.vocabulary;
        let code = words.code.first();
        // With a code the message stands beside it, not in its place.
        let beside = |pointer: &&String| !code.is_some_and(|code| code.starts_with(&format!("{pointer}/")));
        let details = words.details.first();
        let fields = words.fields.first();
        let coded =
            Slots { code, message: words.message.iter().find(beside).or(words.message.first()), details, fields };
        let plain = match self.all_coded {
            true => coded,
            false => {
                let message = words.message.last();
                let inside = |pointer: &&String| !message.is_some_and(|message| covers(message, pointer));
                Slots { code: None, message, details: details.filter(inside), fields: fields.filter(inside) }
            }
        };
        let coded = if words.code.is_empty() { plain } else { coded };
        let (coded, plain) = (self.layout(&envelope.schema, coded), self.layout(&envelope.schema, plain));
        let lists =
            [&words.code, &words.message, &words.details, &words.fields].map(|pointers| quote! { &[#(#pointers),*] });
        let [code, message, details, fields] = lists;
        let field = self.field_form(envelope);
        quote! {
            /// How every failure is dressed.
            pub static ENVELOPE: ::trueline_runtime::envelope::Envelope = {
                #[allow(unused_imports)]
                use ::trueline_runtime::envelope::{Envelope, FieldForm, Member, Node, Presence};
                Envelope {
                    coded: #coded,
                    plain: #plain,
                    code: #code,
                    message: #message,
                    details: #details,
                    fields: #fields,
                    field: #field,
                }
            };
        }
    }

    fn layout(&self, schema: &Schema, slots: Slots<'_>) -> TokenStream {
        self.node(&schema.value, &schema.at, "", slots, 0)
    }

    fn node(&self, schema: &Value, at: &Location, pointer: &str, slots: Slots<'_>, depth: usize) -> TokenStream {
        let is = |slot: Option<&String>| slot.is_some_and(|slot| slot == pointer);
        let holds = |slot: Option<&String>| slot.is_some_and(|slot| slot.starts_with(&format!("{pointer}/")));
        let inner = holds(slots.code) || holds(slots.message) || holds(slots.fields);
        if is(slots.code) {
            return quote! { Node::Code };
        }
        if is(slots.message) {
            return quote! { Node::Message };
        }
        if is(slots.fields) {
            return quote! { Node::Fields };
        }
        if is(slots.details) && !inner {
            return quote! { Node::Details };
        }
        let Some((properties, required, at)) = self.object(schema, at, depth) else {
            self.sink.refuse(at, format!("the envelope has no object at `{pointer}`, where a pointer goes through"));
            return quote! { Node::Message };
        };
        let mut members = Vec::new();
        for (name, property) in &properties {
            let at = below(&below(&at, "properties"), name);
            let child = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            let leads = slots.all().any(|slot| slot == &child || slot.starts_with(&format!("{child}/")));
            let must = required.iter().any(|required| required == name);
            let resolved = self
                .contract
                .resolve(&Schema { value: std::sync::Arc::new(property.clone()), at: at.clone(), origins: None })
                .value
                .clone();
            let single =
                match (resolved.get("const"), resolved.get("enum").and_then(Value::as_array).map(Vec::as_slice)) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some([only])) => Some(only.clone()),
                    _ => None,
                };
            let node = if leads {
                self.node(property, &at, &child, slots, depth + 1)
            } else if let (true, Some(value)) = (must, single) {
                let text = value.to_string();
                quote! { Node::Constant(#text) }
            } else if must
                && resolved.get("type").is_some_and(|kind| kind == "integer")
                && names::snake(name).starts_with("status")
            {
                quote! { Node::Status }
            } else {
                // What is required and unknown may belong to the codes' own details, which stand beside it.
                if must && !is(slots.details) {
                    self.sink
                        .refuse(&at, format!("the envelope requires `{name}`, and no pointer says what stands there"));
                }
                continue;
            };
            let presence = if must {
                quote! { Presence::Always }
            } else {
                quote! { Presence::IfAny }
            };
            members.push(quote! { Member::Named(#name, #node, #presence) });
        }
        if is(slots.details) {
            members.push(quote! { Member::SpreadDetails });
        }
        quote! { Node::Object(&[#(#members),*]) }
    }

    /// The object among the alternatives of a schema: properties, required names, place.
    fn object(
        &self,
        schema: &Value,
        at: &Location,
        depth: usize,
    ) -> Option<(Map<String, Value>, Vec<String>, Location)> {
        let map = schema.as_object()?;
        if depth > 16 {
            return None;
        }
        if let Some(target) = reference(map) {
            let target = self.contract.schemas.get(target)?;
            return self.object(&target.value, &target.at, depth + 1);
        }
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
            let required = required.filter_map(Value::as_str).map(str::to_owned).collect();
            return Some((properties.clone(), required, at.clone()));
        }
        for keyword in ["oneOf", "anyOf", "allOf"] {
            for (index, part) in map.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                let at = below(&below(at, keyword), &index.to_string());
                if let Some(found) = self.object(part, &at, depth + 1) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// How an entry of the list of field errors is spelled.
    fn field_form(&self, envelope: &trueline_spec::contract::Envelope) -> TokenStream {
        let fallback = quote! { FieldForm { field: "field", message: "message", rule: None } };
        let Some(pointer) = envelope.vocabulary.fields.first() else { return fallback };
        let mut schema = envelope.schema.value.as_ref().clone();
        let mut at = envelope.schema.at.clone();
        for token in pointer.split('/').skip(1) {
            let Some((properties, _, place)) = self.object(&schema, &at, 0) else { return fallback };
            let Some(next) = properties.get(token) else { return fallback };
            (schema, at) = (next.clone(), below(&below(&place, "properties"), token));
        }
        let list = self
            .contract
            .resolve(&Schema { value: std::sync::Arc::new(schema), at: at.clone(), origins: None })
            .clone();
        let Some(items) = list.value.get("items") else { return fallback };
        let Some((properties, required, at)) = self.object(items, &below(&list.at, "items"), 0) else {
            return fallback;
        };
        let by_name =
            |names: &[&str]| properties.keys().find(|key| names.contains(&names::snake(key).as_str())).cloned();
        let field = by_name(&["field", "name", "path", "pointer", "param", "parameter", "location", "loc"]);
        let message = by_name(&["message", "msg", "reason", "detail", "error", "description"]);
        let rule = by_name(&["code", "rule", "type", "keyword"]);
        for name in &required {
            if ![&field, &message, &rule].iter().any(|known| known.as_ref() == Some(name)) {
                self.sink.refuse(
                    &below(&below(&at, "properties"), name),
                    format!("the entries of field errors require `{name}`, which nothing fills"),
                );
            }
        }
        let (field, message) = (field.unwrap_or_else(|| "field".into()), message.unwrap_or_else(|| "message".into()));
        let rule = match rule {
            Some(rule) => quote! { Some(#rule) },
            None => quote! { None },
        };
        quote! { FieldForm { field: #field, message: #message, rule: #rule } }
    }
}

#[derive(Clone, Copy)]
struct Slots<'a> {
    code: Option<&'a String>,
    message: Option<&'a String>,
    details: Option<&'a String>,
    fields: Option<&'a String>,
}

impl<'a> Slots<'a> {
    fn all(self) -> impl Iterator<Item = &'a String> {
        [self.code, self.message, self.details, self.fields].into_iter().flatten()
    }
}

/// Whether a pointer is at or inside another.
fn covers(outer: &str, inner: &str) -> bool {
    inner == outer || inner.starts_with(&format!("{outer}/"))
}

fn all_refusals(refusals: &Refusals) -> [Option<&Answer>; 12] {
    [
        Some(&refusals.unauthenticated),
        refusals.wrong_scheme.as_ref(),
        Some(&refusals.forbidden),
        Some(&refusals.missing),
        Some(&refusals.invalid),
        Some(&refusals.several),
        Some(&refusals.malformed),
        Some(&refusals.media_type),
        Some(&refusals.too_large),
        refusals.limited.as_ref(),
        Some(&refusals.internal),
        Some(&refusals.unavailable),
    ]
}

/// Whether a request of an operation can be refused as invalid.
pub(super) fn validates(operation: &Operation) -> bool {
    operation.body.is_some() || operation.parameters.iter().any(|parameter| parameter.place != ParameterPlace::Path)
}
