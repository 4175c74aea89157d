//! What a contract of ours must be beyond readable: complete, true to itself, and honest about its sources.
//!
//! Reading is lenient, because other people's documents are as they are. Our own contracts have no such excuse: here
//! every leniency of the reader is an error too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::contract::{
    Contract, Direction, Example, Link, Media, Operation, ParameterPlace, PathPiece, PathTemplate, Response, Schema,
    SecurityKind, StatusPattern,
};
use crate::document::Location;
use crate::expression::{Expression, Part};
use crate::problem::{Bug, Problem, Problems, did_you_mean};
use crate::vocabulary::{Answer, HeaderReach, Per, Provenance, ProvenanceStatus};

/// What lint has to say of a contract.
#[derive(Debug, Clone)]
pub struct Report {
    /// What must be mended.
    pub errors: Problems,
    /// What should be looked at.
    pub warnings: Problems,
    /// How well the contract is known.
    pub counts: Counts,
}

/// How many operations, schemas and error codes are known how well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub operations: Tally,
    pub schemas: Tally,
    pub error_codes: Tally,
}

/// Things by how well they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The public documentation states it.
    pub documented: usize,
    /// The documentation tells of it without a definition.
    pub described: usize,
    /// We proposed it.
    pub inferred: usize,
    /// Nobody said.
    pub unsaid: usize,
}

impl Tally {
    fn add(&mut self, provenance: Option<ProvenanceStatus>) {
        match provenance {
            Some(ProvenanceStatus::Documented) => self.documented += 1,
            Some(ProvenanceStatus::Described) => self.described += 1,
            Some(ProvenanceStatus::Inferred) => self.inferred += 1,
            None => self.unsaid += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.documented + self.described + self.inferred + self.unsaid
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { documented, described, inferred, unsaid } = self;
        write!(f, "{}: {documented} documented, {described} described, {inferred} inferred", self.total())?;
        if *unsaid > 0 { write!(f, ", {unsaid} without provenance") } else { Ok(()) }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operations  {}", self.operations)?;
        writeln!(f, "schemas     {}", self.schemas)?;
        write!(f, "error codes {}", self.error_codes)
    }
}

/// Holds a contract to the rules.
pub fn lint(contract: &Contract) -> Result<Report, Bug> {
    let mut lint = Lint { contract, errors: contract.notes.clone(), warnings: Vec::new(), counts: Counts::default() };
    lint.vocabulary()?;
    for operation in &contract.operations {
        lint.operation(operation);
        lint.statuses(operation);
        lint.names(operation);
        lint.scopes(operation);
        lint.examples(operation);
        for response in &operation.responses {
            lint.promised_headers(response);
            for link in &response.links {
                lint.link(operation, response, link);
            }
        }
    }
    lint.catalogue();
    lint.schemas();
    lint.paths();
    lint.unused();
    let Lint { errors, warnings, counts, .. } = lint;
    let problems = |list: Vec<Problem>| {
        // A shared response is judged at each of its uses; what is wrong with it is said once.
        let mut seen = HashSet::new();
        let mut list: Vec<Problem> =
            list.into_iter().filter(|problem| seen.insert((problem.at.clone(), problem.title.clone()))).collect();
        list.sort_by_cached_key(|problem| {
            (problem.at.as_ref().map(|at| at.file), problem.position(&contract.document))
        });
        Problems::new(contract.document.clone(), list)
    };
    Ok(Report { errors: problems(errors), warnings: problems(warnings), counts })
}

struct Lint<'c> {
    contract: &'c Contract,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    counts: Counts,
}

impl<'c> Lint<'c> {
    fn error(&mut self, at: &Location, title: impl Into<String>) -> &mut Problem {
        self.errors.push(Problem::new(title).at(at));
        let last = self.errors.len() - 1;
        &mut self.errors[last]
    }

    fn warn(&mut self, at: &Location, title: impl Into<String>) {
        self.warnings.push(Problem::new(title).at(at));
    }

    /// `x-contract` against the published JSON Schema: what other people's editors and tools hold it to.
    fn vocabulary(&mut self) -> Result<(), Bug> {
        let at = Location::root(0).join("x-contract");
        let Some(value) = self.contract.document.value(&at) else { return Ok(()) };
        let mut schema = crate::vocabulary::json_schema();
        let definitions = schema.get_mut("$defs").map(Value::take).unwrap_or_default();
        let schema = json!({"$ref": "#/$defs/ContractVocabulary", "$defs": definitions});
        let validator = crate::schema::validator(&schema).map_err(|(message, at)| {
            Bug(format!("the schema of the vocabulary does not compile: {message} at {at}"))
        })?;
        let value = self.inlined(value, 0, 0);
        for error in validator.iter_errors(&value) {
            let place = Location { file: 0, pointer: format!("{}{}", at.pointer, error.instance_path()).into() };
            self.errors
                .push(Problem::new("this breaks the schema of the vocabulary").at(&place).found(shortened(&error)));
        }
        Ok(())
    }

    /// A value with its `$ref`s replaced; those of `x-contract` lead to parts of it in other files.
    fn inlined(&self, value: &Value, file: u32, depth: usize) -> Value {
        let document = &self.contract.document;
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref").filter(|_| depth < 32)
                    && let Ok(place) = document.refer(file, reference)
                    && let Some(target) = document.value(&place)
                {
                    return self.inlined(target, place.file, depth + 1);
                }
                Value::Object(map.iter().map(|(key, value)| (key.clone(), self.inlined(value, file, depth))).collect())
            }
            Value::Array(items) => items.iter().map(|item| self.inlined(item, file, depth)).collect(),
            other => other.clone(),
        }
    }

    // ------------------------------------------------------------------------------------------------ operations

    fn operation(&mut self, operation: &Operation) {
        let at = &operation.at;
        let raw = |key: &str| self.contract.document.value(at).is_some_and(|value| value.get(key).is_some());
        if operation.id_is_made {
            self.error(at, "this operation has no operationId").help =
                Some(format!("write `operationId: {}` or a better one", operation.id));
        }
        if !raw("tags") {
            self.error(at, "this operation has no tag").help =
                Some("the first tag is the section of the documentation that it belongs to".into());
        }
        if operation.provenance.is_none() {
            self.error(at, "this operation has no x-provenance");
        }
        self.counts.operations.add(operation.provenance.as_ref().map(|provenance| provenance.status));
        if operation.summary.is_none() && operation.description.is_none() {
            self.warn(at, "this operation has no description");
        }
        for parameter in &operation.parameters {
            if parameter.description.is_none() {
                self.warn(&parameter.at, format!("the parameter `{}` has no description", parameter.name));
            }
        }
        for response in &operation.responses {
            if response.description.trim().is_empty() {
                self.warn(&response.at, "this response has no description");
            }
        }
    }

    /// The documented statuses are those of success and those of the operation's codes, no more and no less.
    fn statuses(&mut self, operation: &Operation) {
        let success = |response: &Response| match response.status {
            StatusPattern::Exact(status) => status < 400,
            StatusPattern::Range(digit) => digit < 4,
            StatusPattern::Default => false,
        };
        if !operation.responses.iter().any(success) {
            self.error(&operation.at, "this operation documents no success");
        }
        let catalogue = self.contract.error_codes();
        if catalogue.is_empty() {
            return;
        }
        let mut reached = BTreeSet::new();
        for code in &operation.error_codes {
            let Some(status) = catalogue.get(code).map(|code| code.status) else { continue };
            reached.insert(status);
            if operation.response(status).is_none() {
                let problem =
                    self.error(&operation.at.join("responses"), format!("the status {status} is not documented here"));
                problem.expected = Some(format!("a response {status}, because of the code `{code}`"));
            }
        }
        for response in &operation.responses {
            let StatusPattern::Exact(status @ 400..) = response.status else { continue };
            if reached.contains(&status) {
                continue;
            }
            let known: Vec<&str> =
                catalogue.iter().filter(|(_, entry)| entry.status == status).map(|(code, _)| code.as_str()).collect();
            let help = if known.is_empty() {
                format!("no code of the catalogue has the status {status}")
            } else {
                format!("codes with this status: {}", known.join(", "))
            };
            let at = operation.at.join("responses").join(&status.to_string());
            let problem = self.error(&at, format!("no code of this operation has the status {status}"));
            problem.help = Some(format!("list one in x-error-codes, or remove the response; {help}"));
        }
    }

    /// Rate classes, quotas and credentials that an operation names.
    fn names(&mut self, operation: &Operation) {
        let contract = self.contract;
        let limits = contract.vocabulary.as_ref().and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        for (index, name) in operation.rate_limits.iter().enumerate() {
            let at = operation.at.join("x-rate-limits").join(&index.to_string());
            match contract.rate_class(name) {
                None => {
                    let known = limits.into_iter().flat_map(|limits| limits.classes.keys().map(String::as_str));
                    self.error(&at, format!("there is no rate class `{name}`")).help = did_you_mean(name, known);
                }
                Some(class) => {
                    if let Per::Path(parameter) = &class.per
                        && !operation.path_parameters().any(|name| name == parameter)
                    {
                        self.error(&at, format!("`{name}` counts per `{parameter}`, which is not in this path"));
                    }
                }
            }
        }
        let limited = contract.envelope.as_ref().and_then(|envelope| envelope.vocabulary.refusals.limited.as_ref());
        if let (Some(Answer::Code(code)), false) = (limited, operation.rate_limits.is_empty())
            && !operation.error_codes.contains(code)
        {
            let problem = self.error(&operation.at, format!("this operation is limited, but may not answer `{code}`"));
            problem.help = Some("list the code in x-error-codes".into());
        }
        for (index, name) in operation.quotas.iter().enumerate() {
            let at = operation.at.join("x-quotas").join(&index.to_string());
            match contract.quota(name) {
                None => {
                    let known =
                        contract.vocabulary.iter().flat_map(|vocabulary| vocabulary.quotas.keys().map(String::as_str));
                    self.error(&at, format!("there is no quota `{name}`")).help = did_you_mean(name, known);
                }
                Some(quota) if !operation.error_codes.contains(&quota.code) => {
                    let problem =
                        self.error(&at, format!("this operation may not answer the quota's code `{}`", quota.code));
                    problem.help = Some("list the code in x-error-codes".into());
                }
                Some(_) => {}
            }
        }
    }

    /// Scopes must be declared where a scheme declares any.
    fn scopes(&mut self, operation: &Operation) {
        let mut declared: BTreeSet<&str> = BTreeSet::new();
        for (index, alternative) in operation.security.iter().enumerate() {
            for (name, scopes) in &alternative.schemes {
                let Some(scheme) = self.contract.security_schemes.get(name) else { continue };
                let SecurityKind::OAuth2 { scopes: known, .. } = &scheme.kind else { continue };
                declared.extend(known.keys().map(String::as_str));
                for scope in scopes.iter().filter(|scope| !known.contains_key(*scope)) {
                    let help = did_you_mean(scope, known.keys().map(String::as_str));
                    let mut at = operation.at.join("security");
                    at = if self.contract.document.value(&at).is_some() {
                        at.join(&index.to_string()).join(name)
                    } else {
                        scheme.at.clone()
                    };
                    self.error(&at, format!("the scheme `{name}` does not declare the scope `{scope}`")).help = help;
                }
            }
        }
        if declared.is_empty() {
            return;
        }
        for (index, scope) in operation.required_scopes.iter().enumerate() {
            if !declared.contains(scope.as_str()) {
                let help = did_you_mean(scope, declared.iter().copied());
                let at = operation.at.join("x-required-scopes").join(&index.to_string());
                self.error(&at, format!("no scheme of this operation declares the scope `{scope}`")).help = help;
            }
        }
    }

    /// The rate-limit headers that are promised on a response stand in it.
    fn promised_headers(&mut self, response: &Response) {
        let Some(vocabulary) = &self.contract.vocabulary else { return };
        let Some(limits) = &vocabulary.rate_limits else { return };
        let here = match limits.on {
            HeaderReach::EveryResponse => true,
            HeaderReach::LimitedOnly => response.status == StatusPattern::Exact(429),
            HeaderReach::None => false,
        };
        let names = [&limits.headers.limit, &limits.headers.remaining, &limits.headers.reset];
        for name in names.into_iter().flatten().filter(|_| here) {
            if !response.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
                self.error(
                    &response.at,
                    format!("the header `{name}` is promised on this response and not documented"),
                );
            }
        }
    }

    // -------------------------------------------------------------------------------------------------- examples

    fn examples(&mut self, operation: &Operation) {
        for parameter in &operation.parameters {
            self.valid(&parameter.schema, &parameter.examples, &[Direction::Request]);
        }
        if let Some(body) = &operation.body {
            for media in &body.media {
                self.valid_media(media, Direction::Request);
            }
            if body.media.iter().all(|media| shown(media).next().is_none()) {
                self.error(&body.at, "this request body has no example");
            }
        }
        for response in &operation.responses {
            for header in &response.headers {
                let place = header.at.join("example");
                if let Some(value) = self.contract.document.value(&place) {
                    let example = Example { name: "example".into(), value: value.clone(), at: place };
                    self.valid(&header.schema, &[example], &[Direction::Response]);
                }
            }
            let success = matches!(response.status, StatusPattern::Exact(200..=299) | StatusPattern::Range(2));
            for media in &response.media {
                self.valid_media(media, Direction::Response);
                if success && is_json(&media.media_type) && shown(media).next().is_none() {
                    self.error(&media.at, "this response has no example");
                }
                if let StatusPattern::Exact(status @ 400..) = response.status {
                    self.error_examples(media, status);
                }
            }
        }
    }

    fn valid_media(&mut self, media: &Media, direction: Direction) {
        if let Some(schema) = &media.schema {
            self.valid(schema, &media.examples, &[direction]);
        }
    }

    /// Examples that no direction of the schema accepts.
    fn valid(&mut self, schema: &Schema, examples: &[Example], directions: &[Direction]) {
        if examples.is_empty() {
            return;
        }
        let mut validators: Vec<Validator> = Vec::new();
        for direction in directions {
            match self.contract.validator(schema, *direction) {
                Ok(validator) => validators.push(validator),
                Err(problem) => {
                    self.errors.push(problem);
                    return;
                }
            }
        }
        for example in examples {
            if validators.iter().any(|validator| validator.is_valid(&example.value)) {
                continue;
            }
            for error in validators.iter().take(1).flat_map(|validator| validator.iter_errors(&example.value)).take(3) {
                let pointer = format!("{}{}", example.at.pointer, error.instance_path());
                let at = Location { file: example.at.file, pointer: pointer.into() };
                self.errors.push(Problem::new("this example breaks its schema").at(&at).found(shortened(&error)));
            }
        }
    }

    /// The examples of a failure speak the dialect: a known code that belongs to the status, with the details it promises.
    fn error_examples(&mut self, media: &Media, status: u16) {
        let contract = self.contract;
        let Some(envelope) = &contract.envelope else { return };
        for example in shown(media) {
            let find = |pointers: &[String]| {
                pointers.iter().find_map(|pointer| Some((pointer.clone(), example.value.pointer(pointer)?.clone())))
            };
            let Some((pointer, Value::String(code))) = find(&envelope.vocabulary.code) else { continue };
            let at = Location { file: example.at.file, pointer: format!("{}{pointer}", example.at.pointer).into() };
            match contract.error_codes().get(&code) {
                None => {
                    let help = did_you_mean(&code, contract.error_codes().keys().map(String::as_str));
                    self.error(&at, format!("the error code `{code}` is not in the catalogue")).help = help;
                }
                Some(entry) if entry.status != status => {
                    self.error(&at, format!("the code `{code}` belongs to the status {}, not {status}", entry.status));
                }
                Some(_) => {
                    let Some(schema) = envelope.details.get(&code) else { continue };
                    let Some((pointer, value)) = find(&envelope.vocabulary.details) else { continue };
                    let at =
                        Location { file: example.at.file, pointer: format!("{}{pointer}", example.at.pointer).into() };
                    let details = Example { name: code, value, at };
                    self.valid(schema, &[details], &[Direction::Response]);
                }
            }
        }
    }

    // ----------------------------------------------------------------------------------------------------- links

    fn link(&mut self, operation: &Operation, response: &Response, link: &Link) {
        let contract = self.contract;
        let Some(target) = contract.operation(&link.target) else { return };
        for parameter in &link.parameters {
            let key = match parameter.place {
                None => parameter.name.clone(),
                Some(place) => format!("{}.{}", place_word(place), parameter.name),
            };
            let at = link.at.join("parameters").join(&key);
            let fits = |other: &&crate::contract::Parameter| {
                other.name == parameter.name && parameter.place.is_none_or(|place| place == other.place)
            };
            if !target.parameters.iter().any(|other| fits(&other)) {
                let help =
                    did_you_mean(&parameter.name, target.parameters.iter().map(|parameter| parameter.name.as_str()));
                self.error(&at, format!("`{}` has no parameter `{key}`", target.id)).help = help;
            }
            self.expressions(operation, response, &parameter.value, &at);
        }
        for name in target.path_parameters() {
            if !link.parameters.iter().any(|parameter| parameter.name == name) {
                self.warn(&link.at, format!("this link leaves the path parameter `{name}` of `{}` open", target.id));
            }
        }
        if let Some(body) = &link.body {
            if target.body.is_none() {
                self.error(&link.at.join("requestBody"), format!("`{}` takes no body", target.id));
            }
            self.expressions(operation, response, body, &link.at.join("requestBody"));
        }
    }

    fn expressions(&mut self, operation: &Operation, response: &Response, value: &Value, at: &Location) {
        match value {
            Value::String(text) => {
                for text in Expression::texts_in(text) {
                    match Expression::parse(text) {
                        Err(reason) => {
                            let problem = self.error(at, format!("`{text}` is not a runtime expression"));
                            problem.help = Some(reason);
                        }
                        Ok(expression) => {
                            if let Some(reason) = self.unresolved(operation, response, &expression) {
                                self.error(at, format!("`{text}` leads nowhere: {reason}"));
                            }
                        }
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.expressions(operation, response, item, &at.join(&index.to_string()));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.expressions(operation, response, value, &at.join(key));
                }
            }
            _ => {}
        }
    }

    fn unresolved(&self, operation: &Operation, response: &Response, expression: &Expression) -> Option<String> {
        let parameter = |place, name: &str| match operation.parameter(place, name) {
            Some(_) => None,
            None => Some(format!("`{}` has no such parameter", operation.id)),
        };
        let in_body = |media: &[Media], pointer: &str| {
            let reached = media
                .iter()
                .filter_map(|media| media.schema.as_ref())
                .any(|schema| self.reaches(&schema.value, pointer, &mut HashSet::new()));
            (!reached).then(|| "no schema of the body has it".to_owned())
        };
        match expression {
            Expression::Url | Expression::Method | Expression::StatusCode => None,
            Expression::Request(Part::Path(name)) => parameter(ParameterPlace::Path, name),
            Expression::Request(Part::Query(name)) => parameter(ParameterPlace::Query, name),
            Expression::Request(Part::Header(name)) => {
                let known = operation.parameters.iter().any(|parameter| {
                    parameter.place == ParameterPlace::Header && parameter.name.eq_ignore_ascii_case(name)
                });
                (!known).then(|| format!("`{}` has no such parameter", operation.id))
            }
            Expression::Request(Part::Body(pointer)) => match &operation.body {
                Some(body) => in_body(&body.media, pointer),
                None => Some(format!("`{}` takes no body", operation.id)),
            },
            Expression::Response(Part::Header(name)) => {
                let known = response.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
                (!known).then(|| "the response documents no such header".to_owned())
            }
            Expression::Response(Part::Body(pointer)) => in_body(&response.media, pointer),
            Expression::Response(Part::Path(_) | Part::Query(_)) => Some("a response has none".to_owned()),
        }
    }

    /// Whether a schema knows of a value at this JSON Pointer. `seen` are the named schemas that were asked for this very
    /// pointer: schemas that contain themselves would have no end.
    fn reaches<'s>(&'s self, schema: &'s Value, pointer: &str, seen: &mut HashSet<(&'s str, usize)>) -> bool {
        let Some(map) = schema.as_object() else { return schema == &Value::Bool(true) };
        let Some(rest) = pointer.strip_prefix('/') else { return true };
        let (token, rest) = match rest.split_once('/') {
            Some((token, _)) => (token, &rest[token.len()..]),
            None => (rest, ""),
        };
        let token = token.replace("~1", "/").replace("~0", "~");
        if let Some(property) = map.get("properties").and_then(|properties| properties.get(&token)) {
            return self.reaches(property, rest, seen);
        }
        if let Some(items) = map.get("items").filter(|_| token.parse::<usize>().is_ok())
            && self.reaches(items, rest, seen)
        {
            return true;
        }
        if let Some(schema) = map.get("additionalProperties").filter(|schema| schema.is_object())
            && self.reaches(schema, rest, seen)
        {
            return true;
        }
        let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| map.get(key)?.as_array()).flatten();
        for part in parts {
            if self.reaches(part, pointer, seen) {
                return true;
            }
        }
        if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"))
            && let Some(target) = self.contract.schemas.get(name)
        {
            return seen.insert((name, pointer.len())) && self.reaches(&target.value, pointer, seen);
        }
        map.keys().all(|key| crate::contract::is_annotation(key))
    }

    // ------------------------------------------------------------------------------------- catalogue and schemas

    fn catalogue(&mut self) {
        let contract = self.contract;
        let Some(vocabulary) = &contract.vocabulary else { return };
        let root = Location::root(0).join("x-contract");
        for (name, code) in &vocabulary.error_codes {
            let at = root.join("error-codes").join(name);
            self.counts.error_codes.add(code.x_provenance.as_ref().map(|provenance| provenance.status));
            if code.x_provenance.is_none() {
                self.error(&at, format!("the error code `{name}` has no x-provenance"));
            }
            if code.meaning.is_none() {
                self.warn(&at, format!("the error code `{name}` has no meaning"));
            }
        }
        let mut used: HashSet<&str> =
            contract.operations.iter().flat_map(|operation| &operation.error_codes).map(String::as_str).collect();
        let envelope = vocabulary.error_envelope.iter().flat_map(|envelope| envelope.answers());
        used.extend(envelope.filter_map(|(_, _, answer)| answer.code()));
        for scheme in contract.security_schemes.values() {
            let Some(credential) = &scheme.credential else { continue };
            let answers = [
                ("malformed", &credential.malformed),
                ("unknown", &credential.unknown),
                ("expired", &credential.expired),
                ("revoked", &credential.revoked),
            ];
            for (key, answer) in answers {
                let Some(code) = answer.as_ref().and_then(Answer::code) else { continue };
                used.insert(code);
                if !vocabulary.error_codes.contains_key(code) {
                    let help = did_you_mean(code, vocabulary.error_codes.keys().map(String::as_str));
                    let at = scheme.at.join("x-credential").join(key);
                    self.error(&at, format!("the error code `{code}` is not in the catalogue")).help = help;
                }
            }
            if let Some(pattern) = &credential.pattern
                && let Err((message, _)) = crate::schema::validator(&json!({"pattern": pattern}))
            {
                self.error(
                    &scheme.at.join("x-credential").join("pattern"),
                    format!("not a regular expression: {message}"),
                );
            }
        }
        for name in vocabulary.error_codes.keys().filter(|name| !used.contains(name.as_str())) {
            self.warn(&root.join("error-codes").join(name), format!("no operation may answer the code `{name}`"));
        }
        let classes = vocabulary.rate_limits.iter().flat_map(|limits| &limits.classes);
        for (name, class) in classes {
            let at = root.join("rate-limits").join("classes").join(name);
            if !contract.operations.iter().any(|operation| operation.rate_limits.contains(name)) {
                self.warn(&at, format!("no operation counts for the rate class `{name}`"));
            }
            let unknown = |scheme: &&String| *scheme != "none" && !contract.security_schemes.contains_key(*scheme);
            for scheme in class.when.0.iter().filter(unknown) {
                let help = did_you_mean(scheme, contract.security_schemes.keys().map(String::as_str).chain(["none"]));
                self.error(&at.join("when"), format!("there is no security scheme `{scheme}`")).help = help;
            }
        }
        for name in vocabulary.quotas.keys() {
            if !contract.operations.iter().any(|operation| operation.quotas.contains(name)) {
                self.warn(&root.join("quotas").join(name), format!("no operation counts for the quota `{name}`"));
            }
        }
    }

    fn schemas(&mut self) {
        let contract = self.contract;
        for (name, schema) in contract.schemas.iter() {
            if schema.name().is_some() {
                // Another name of a schema that is judged under its own.
                continue;
            }
            let provenance = schema.value.get("x-provenance");
            let provenance = provenance.and_then(|value| serde_json::from_value::<Provenance>(value.clone()).ok());
            self.counts.schemas.add(provenance.as_ref().map(|provenance| provenance.status));
            if provenance.is_none() {
                self.error(&schema.at, format!("the schema `{name}` has no x-provenance"));
            }
            self.schema_examples(&schema.value, &schema.at, true);
        }
    }

    /// Examples and defaults inside a schema hold to the part that they stand in.
    fn schema_examples(&mut self, value: &Value, at: &Location, whole: bool) {
        let Some(map) = value.as_object() else { return };
        let mut examples = Vec::new();
        if let Some(Value::Array(values)) = map.get("examples") {
            // 3.0's `example` became the first of `examples`: say where it is written.
            let single = self.contract.document.value(&at.join("example")).is_some();
            for (index, value) in values.iter().enumerate() {
                let at = if single { at.join("example") } else { at.join("examples").join(&index.to_string()) };
                examples.push(Example { name: "example".into(), value: value.clone(), at });
            }
        }
        if let Some(value) = map.get("default") {
            examples.push(Example { name: "default".into(), value: value.clone(), at: at.join("default") });
        }
        let here = Schema { value: value.clone().into(), at: at.clone(), origins: None };
        if examples.is_empty() && whole {
            // Compiled all the same: a named schema that does not compile holds nothing.
            if let Err(problem) = self.contract.validator(&here, Direction::Response) {
                self.errors.push(problem);
            }
        }
        self.valid(&here, &examples, &[Direction::Request, Direction::Response]);
        for (key, value) in map {
            match (key.as_str(), value) {
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(schemas)) => {
                    for (name, schema) in schemas {
                        self.schema_examples(schema, &at.join(key).join(name), false);
                    }
                }
                ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                    for (index, schema) in schemas.iter().enumerate() {
                        self.schema_examples(schema, &at.join(key).join(&index.to_string()), false);
                    }
                }
                ("items" | "additionalProperties" | "not" | "if" | "then" | "else" | "contains", schema) => {
                    self.schema_examples(schema, &at.join(key), false);
                }
                _ => {}
            }
        }
    }

    // ----------------------------------------------------------------------------------------------------- paths

    /// Two paths that the same request fits equally well.
    fn paths(&mut self) {
        let mut paths: Vec<(&PathTemplate, Location)> = Vec::new();
        let items = Location::root(0).join("paths");
        for operation in &self.contract.operations {
            if !paths.iter().any(|(path, _)| *path == &operation.path) {
                paths.push((&operation.path, items.join(&operation.path.text)));
            }
        }
        let shapes: Vec<Vec<String>> = paths.iter().map(|(path, _)| shape(path)).collect();
        for (index, (path, at)) in paths.iter().enumerate() {
            for (other, (first, _)) in paths.iter().enumerate().take(index) {
                let (a, b) = (&shapes[index], &shapes[other]);
                if a == b {
                    self.errors
                        .push(Problem::new("this path has the shape of another one").at(at).found(first.text.clone()));
                } else if a.len() == b.len() {
                    // A literal segment wins over a parameter; when each path has a literal where the other has none, none wins.
                    let fits = a.iter().zip(b).all(|(a, b)| a == b || a.contains('{') || b.contains('{'));
                    let left = a.iter().zip(b).any(|(a, b)| !a.contains('{') && b.contains('{'));
                    let right = a.iter().zip(b).any(|(a, b)| a.contains('{') && !b.contains('{'));
                    if fits && left && right {
                        let problem = Problem::new("a request may fit this path and another one equally well");
                        self.warnings.push(problem.at(at).found(format!("{} and {}", path.text, first.text)));
                    }
                }
            }
        }
    }

    /// Components and tags that nothing uses.
    fn unused(&mut self) {
        let document = &self.contract.document;
        let mut uses: HashMap<Location, Vec<Location>> = HashMap::new();
        for (index, file) in document.files.iter().enumerate() {
            collect_references(&file.value, &Location::root(index as u32), &mut |site, reference| {
                if let Ok(target) = document.refer(site.file, reference) {
                    uses.entry(target).or_default().push(site.clone());
                }
            });
        }
        let inside = |site: &Location, place: &Location| {
            site.file == place.file
                && site
                    .pointer
                    .strip_prefix(&*place.pointer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let components = Location::root(0).join("components");
        for section in ["schemas", "parameters", "responses", "headers", "requestBodies", "examples", "links"] {
            let at = components.join(section);
            for (name, value) in document.value(&at).and_then(Value::as_object).into_iter().flatten() {
                let at = at.join(name);
                let mut places = vec![at.clone()];
                if let Some(Value::String(reference)) = value.get("$ref")
                    && let Ok(home) = document.refer(0, reference)
                {
                    places.push(home);
                }
                let used = places.iter().flat_map(|place| uses.get(place).into_iter().flatten());
                let used = used.into_iter().any(|site| !places.iter().any(|place| inside(site, place)));
                if !used {
                    self.warn(&at, format!("nothing uses the component `{name}`"));
                }
            }
        }
        for scheme in self.contract.security_schemes.values() {
            let mut alternatives = self.contract.operations.iter().flat_map(|operation| &operation.security);
            if !alternatives.any(|alternative| alternative.schemes.contains_key(&scheme.name)) {
                self.warn(&scheme.at, format!("no operation uses the security scheme `{}`", scheme.name));
            }
        }
        let tags = Location::root(0).join("tags");
        for (index, tag) in self.contract.tags.iter().enumerate() {
            let at = tags.join(&index.to_string());
            let declared = document.value(&at).is_some();
            if !self.contract.operations.iter().any(|operation| operation.tag == tag.name) {
                self.warn(&at, format!("no operation has the tag `{}` first", tag.name));
            }
            if !declared {
                self.warn(&tags, format!("the tag `{}` is not declared", tag.name));
            } else if tag.description.is_none() {
                self.warn(&at, format!("the tag `{}` has no description", tag.name));
            }
        }
    }
}

/// Examples that somebody wrote as such.
fn shown(media: &Media) -> impl Iterator<Item = &Example> {
    media.examples.iter().filter(|example| example.name != "default")
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

fn place_word(place: ParameterPlace) -> &'static str {
    match place {
        ParameterPlace::Path => "path",
        ParameterPlace::Query => "query",
        ParameterPlace::Header => "header",
        ParameterPlace::Cookie => "cookie",
    }
}

/// A validator's message at a length that a terminal bears.
fn shortened(error: &jsonschema::ValidationError<'_>) -> String {
    let text = error.masked().to_string();
    let value = error.instance().to_string();
    let value =
        if value.chars().count() > 60 { format!("{}…", value.chars().take(60).collect::<String>()) } else { value };
    format!("{value}: {text}")
}

/// The segments of a path with every parameter called `{}`.
fn shape(path: &PathTemplate) -> Vec<String> {
    let mut text = String::new();
    for piece in &path.pieces {
        match piece {
            PathPiece::Literal(literal) => text.push_str(literal),
            PathPiece::Parameter(_) => text.push_str("{}"),
        }
    }
    text.split('/').map(str::to_owned).collect()
}

/// Every `$ref`, mapped schema and schema of the vocabulary: who refers, and to what.
fn collect_references(value: &Value, at: &Location, visit: &mut impl FnMut(&Location, &str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    // In `x-contract`, `schema` and `details` are references written as texts.
                    ("$ref" | "operationRef" | "schema" | "details", Value::String(reference)) => visit(at, reference),
                    ("mapping", Value::Object(mapping)) => {
                        for target in mapping.values().filter_map(Value::as_str) {
                            visit(at, target);
                            visit(&Location::root(0), &format!("#/components/schemas/{target}"));
                        }
                    }
                    _ => collect_references(value, &at.join(key), visit),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_references(item, &at.join(&index.to_string()), visit);
            }
        }
        _ => {}
    }
}
