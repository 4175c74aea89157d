//! `src/client/`: progenitor's client, wrapped.
//!
//! progenitor 0.15.1 asserts one success type and one error type for each operation, reads OpenAPI 3.0 only, panics on
//! some schemas, and drops status and headers of a body that it cannot read. So it gets a lowered document: every
//! schema is a reference to a type of ours ([`progenitor::GenerationSettings::with_replacement`]), and every answer is
//! any status with any bytes. It makes the requests; what came is read by status in the wrapper, from the same plan as
//! the server's answers. What it cannot send (cookies, delimited lists, optional bodies, forms, files) the wrapper
//! sends itself, from the table of operations.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use indexmap::IndexMap;
use proc_macro2::{Literal, TokenStream};
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use quote::{format_ident, quote};
use serde_json::{Map, Value, json};
use syn::{FnArg, ImplItem, Item};
use trueline_spec::contract::{Contract, ParameterPlace};
use trueline_spec::document::Location;
use trueline_spec::vocabulary::StatusKey;

use super::calls::field_type;
use super::names::{self, ident};
use super::plan::{BodyForm, Payload, Plan, PlannedParameter, Success};
use super::server::method_docs;
use super::sink::{Sink, below};
use super::source::{Source, doc, remark};
use super::types::{Type, Types};

pub(super) fn emit(
    contract: &Contract,
    plans: &[Plan<'_>],
    types: &Types<'_>,
    document: &str,
    sink: &Sink,
) -> Vec<(String, Source)> {
    let mut sections: IndexMap<&str, Vec<&Plan<'_>>> = IndexMap::new();
    for plan in plans {
        sections.entry(&plan.module).or_default().push(plan);
    }
    let raw = Raw::new(contract, plans, types, sink);
    let mut files = vec![("mod".to_owned(), head(contract, &sections, document, sink))];
    for (module, plans) in &sections {
        let mut source = Source::new(document, &format!("Calls of the section \"{}\".", plans[0].operation.tag));
        let methods = plans.iter().map(|plan| method(plan, types, raw.signatures.get(&plan.function)));
        source.items(quote! {
            #[allow(unused_imports)]
            use ::trueline_runtime::client::{Answer, Direct, Received};
            #[allow(unused_imports)]
            use super::{Client, Error, good};
            #[allow(unused_imports)]
            use super::super::{calls::*, operations, types};
            impl Client { #(#methods)* }
        });
        files.push(((*module).to_owned(), source));
    }
    files.extend(raw.files(&sections, document));
    files
}

/// The wrapper itself: credentials, policy, errors by the documented names.
fn head(contract: &Contract, sections: &IndexMap<&str, Vec<&Plan<'_>>>, document: &str, sink: &Sink) -> Source {
    let mut source = Source::new(
        document,
        "The client: one method for each operation, with typed answers, typed failures and the documented retry policy.\n\n\
         `raw` is progenitor's; it makes the requests. Its operations are lowered to answers of any kind, because it would\n\
         lose status and headers of what it cannot read.",
    );
    let modules: Vec<_> = sections.keys().map(|module| ident(module)).collect();
    source.items(quote! {
        #(mod #modules;)*
        #[allow(dead_code, missing_docs, unreachable_pub, unused_imports)]
        mod raw;
        pub use ::trueline_runtime::client::{
            Answer, Failed, Policy, RateLimit, Reset, Transport, TransportError, Unexpected,
        };
        use ::progenitor_client::{ClientHooks, OperationInfo};
        use ::std::{fmt, time::Duration};
        use ::trueline_runtime::{
            client::{Credentials, Received},
            problem::Failures,
        };
        use super::operations::CONTRACT;
    });
    let servers = &contract.servers;
    let schemes = contract.security_schemes.values().enumerate().map(|(index, scheme)| {
        let function = ident(&names::snake(&scheme.name));
        let docs = doc(scheme.description.as_deref().unwrap_or("Proves who calls."));
        let index = Literal::usize_unsuffixed(index);
        quote! {
            #docs
            ///
            /// # Errors
            ///
            /// If the secret has control characters.
            pub fn #function(mut self, secret: &str) -> Result<Self, TransportError> {
                self.raw.inner.set(CONTRACT.schemes[#index].kind, secret)?;
                Ok(self)
            }
        }
    });
    let redirected = sections.values().flatten().flat_map(|plan| &plan.successes).any(|success| success.status >= 300);
    // A documented redirect is an answer; whoever asked decides where to go.
    let redirects = redirected.then(|| quote! { .redirect(::reqwest::redirect::Policy::none()) });
    source.items(quote! {
        /// Calls the API. Cheap to clone; clones share their connections.
        #[derive(Debug, Clone)]
        pub struct Client {
            raw: raw::Client,
            transport: Transport,
        }

        impl Client {
            /// The addresses that the contract names.
            pub const SERVERS: &'static [&'static str] = &[#(#servers),*];

            /// A client without credentials. Connecting may take ten seconds; an answer may take as long as it takes:
            /// bring your own [`reqwest::Client`](::reqwest::Client) for a limit, or for TLS settings.
            ///
            /// # Errors
            ///
            /// If the address cannot be one, or the system's TLS cannot be set up.
            pub fn new(base_url: &str) -> Result<Self, TransportError> {
                let http = ::reqwest::Client::builder().connect_timeout(Duration::from_secs(10)) #redirects .build();
                Self::with_http(base_url, http.map_err(TransportError::Exchange)?)
            }

            /// A client over these connections.
            ///
            /// # Errors
            ///
            /// If the address cannot be one.
            pub fn with_http(base_url: &str, http: ::reqwest::Client) -> Result<Self, TransportError> {
                let base_url = base_url.trim_end_matches('/');
                ::reqwest::Url::parse(base_url).map_err(|error| TransportError::Request(error.to_string()))?;
                Ok(Self {
                    raw: raw::Client::new_with_client(base_url, http, Credentials::default()),
                    transport: Transport::new(&CONTRACT),
                })
            }

            /// Tries again at most this often; 0 never.
            #[must_use]
            pub fn max_retries(mut self, max: u32) -> Self {
                if let Some(retry) = &mut self.transport.policy.retry {
                    retry.max = max;
                }
                self
            }

            /// Tries again by this policy.
            #[must_use]
            pub fn with_policy(mut self, policy: Policy) -> Self {
                self.transport.policy = policy;
                self
            }

            #(#schemes)*
        }

        impl ClientHooks<Credentials> for raw::Client {
            async fn pre<E>(
                &self,
                request: &mut ::reqwest::Request,
                _: &OperationInfo,
            ) -> Result<(), ::progenitor_client::Error<E>> {
                self.inner.apply(request);
                Ok(())
            }
        }
    });
    source.items(errors(contract, sink));
    source
}

/// The error enum, by `client-errors`.
fn errors(contract: &Contract, sink: &Sink) -> TokenStream {
    let named = contract.vocabulary.as_ref().map(|vocabulary| vocabulary.client_errors.clone()).unwrap_or_default();
    let mut by_name: IndexMap<String, (Vec<StatusKey>, bool)> = IndexMap::new();
    for (status, error) in &named {
        let at = Location { file: 0, pointer: format!("/x-contract/client-errors/{status}").into() };
        if let Some(carried) = &error.carries
            && names::snake(carried) != "retry_after"
        {
            sink.refuse(&at, format!("a client's error cannot carry `{carried}`: `retry_after` is all that it knows"));
        }
        let name = names::pascal(&error.name);
        if ["Unexpected", "Transport"].contains(&name.as_str()) {
            sink.refuse(&at, format!("`{name}` is what a client calls its own failures"));
        }
        let entry = by_name.entry(name).or_default();
        entry.0.push(*status);
        entry.1 |= error.carries.is_some();
    }
    // Whatever has no name of its own has this one.
    if !named.contains_key(&StatusKey::Other) {
        by_name.entry("Api".to_owned()).or_default().0.push(StatusKey::Other);
    }
    let variants: Vec<_> = by_name
        .iter()
        .map(|(name, (statuses, carries))| {
            let name = ident(name);
            let statuses: Vec<String> = statuses
                .iter()
                .map(|status| match status {
                    StatusKey::Status(status) => status.to_string(),
                    StatusKey::Other => "Every other documented failure".to_owned(),
                })
                .collect();
            let docs = remark(&format!("{}.", statuses.join(", ")));
            match carries {
                true => quote! {
                    #docs
                    #name {
                        /// How long the answer asks to wait.
                        retry_after: Option<Duration>,
                        /// What it says.
                        failed: Box<Failed<E>>,
                    }
                },
                false => quote! { #docs #name(Box<Failed<E>>) },
            }
        })
        .collect();
    let mut arms = Vec::new();
    let mut rest = quote!();
    for (name, (statuses, carries)) in &by_name {
        let name = ident(name);
        let make = match carries {
            true => quote! { Self::#name { retry_after: failed.retry_after, failed } },
            false => quote! { Self::#name(failed) },
        };
        for status in statuses {
            match status {
                StatusKey::Status(status) => {
                    let status = Literal::u16_unsuffixed(*status);
                    arms.push(quote! { #status => #make });
                }
                StatusKey::Other => rest = quote! { _ => #make },
            }
        }
    }
    let failed_arms = by_name.iter().map(|(name, (_, carries))| {
        let name = ident(name);
        match carries {
            true => quote! { Self::#name { failed, .. } => Some(failed) },
            false => quote! { Self::#name(failed) => Some(failed) },
        }
    });
    quote! {
        /// What a call fails with; `E` is what the operation documents.
        #[derive(Debug)]
        pub enum Error<E> {
            #(#variants,)*
            /// An answer that the contract does not know, whole.
            Unexpected(Box<Unexpected>),
            /// There is no answer.
            Transport(TransportError),
        }

        impl<E: Failures> Error<E> {
            /// What a failing answer means.
            fn read(received: &Received) -> Self {
                let failed: Box<Failed<E>> = match received.failed(&CONTRACT) {
                    Ok(failed) => failed,
                    Err(unexpected) => return Self::Unexpected(unexpected),
                };
                match failed.status {
                    #(#arms,)*
                    #rest,
                }
            }

            /// The documented failure, if it is one.
            pub fn failed(&self) -> Option<&Failed<E>> {
                match self {
                    #(#failed_arms,)*
                    Self::Unexpected(_) | Self::Transport(_) => None,
                }
            }

            /// The status, if there was an answer.
            pub fn status(&self) -> Option<u16> {
                match self {
                    Self::Unexpected(unexpected) => Some(unexpected.status),
                    other => other.failed().map(|failed| failed.status),
                }
            }

            /// The request's id, for support.
            pub fn request_id(&self) -> Option<&str> {
                self.failed()?.request_id.as_deref()
            }

            /// Where the caller stands, as far as the answer says.
            pub fn rate_limit(&self) -> Option<RateLimit> {
                Some(self.failed()?.rate_limit)
            }
        }

        impl<E> From<TransportError> for Error<E> {
            fn from(error: TransportError) -> Self {
                Self::Transport(error)
            }
        }

        impl<E: Failures> fmt::Display for Error<E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Unexpected(unexpected) => fmt::Display::fmt(unexpected, f),
                    Self::Transport(error) => fmt::Display::fmt(error, f),
                    other => other.failed().map_or(Ok(()), |failed| fmt::Display::fmt(&failed.error, f)),
                }
            }
        }

        impl<E: Failures> ::std::error::Error for Error<E> {
            fn source(&self) -> Option<&(dyn ::std::error::Error + 'static)> {
                match self {
                    Self::Transport(error) => Some(error),
                    _ => None,
                }
            }
        }

        /// A good answer, if it is what the contract says.
        fn good<T, E>(received: &Received, value: Result<T, String>) -> Result<Answer<T>, Error<E>> {
            match value {
                Ok(value) => Ok(received.answer(value, &CONTRACT)),
                Err(reason) => Err(Error::Unexpected(Box::new(received.unexpected(reason)))),
            }
        }
    }
}

fn method(plan: &Plan<'_>, types: &Types<'_>, signature: Option<&Vec<Argument>>) -> TokenStream {
    let docs = doc(&method_docs(plan));
    let function = ident(&plan.function);
    let constant = ident(&plan.constant);
    let (request, error) = (format_ident!("{}Request", plan.name), format_ident!("{}Error", plan.name));
    let value = match plan.successes.as_slice() {
        [only] => success_type(plan, only, types),
        _ => {
            let response = format_ident!("{}Response", plan.name);
            quote! { #response }
        }
    };
    let attempt = match signature {
        Some(arguments) => {
            let values = arguments.iter().map(|argument| argument_value(plan, argument));
            quote! { Received::from_progenitor(self.raw.#function(#(#values),*).await) }
        }
        None => direct(plan, &constant),
    };
    let streams = plan.successes.iter().any(|success| matches!(success.payload, Payload::Events(_)));
    let taken = plan
        .successes
        .iter()
        .any(|success| !success.headers.is_empty() || matches!(success.payload, Payload::Events(_)));
    let mutable = taken.then(|| quote! { mut });
    let arms = plan.successes.iter().map(|success| {
        let status = Literal::u16_unsuffixed(success.status);
        let read = read_success(plan, success);
        let read = match plan.successes.len() {
            1 => read,
            _ => {
                let (response, variant) = (format_ident!("{}Response", plan.name), ident(&success.variant));
                match (&success.payload, success.headers.is_empty()) {
                    (Payload::Empty, true) => quote! { Ok(#response::#variant) },
                    _ => quote! { #read.map(#response::#variant) },
                }
            }
        };
        quote! {
            #status => {
                let value = #read;
                good(&received, value)
            }
        }
    });
    let unused = (plan.parameters.is_empty() && plan.body.is_none()).then(|| quote! { _ });
    let argument = match unused {
        Some(_) => quote! { _: &#request },
        None => quote! { request: &#request },
    };
    quote! {
        #docs
        ///
        /// # Errors
        ///
        /// What the contract lists, by status; an answer that it does not know; or no answer.
        pub async fn #function(&self, #argument) -> Result<Answer<#value>, Error<#error>> {
            let #mutable received = self
                .transport
                .run(&operations::#constant, #streams, || async { #attempt })
                .await?;
            match received.status {
                #(#arms)*
                _ => Err(Error::read(&received)),
            }
        }
    }
}

fn payload_type(success: &Success<'_>, types: &Types<'_>) -> TokenStream {
    match &success.payload {
        Payload::Empty => quote! { () },
        Payload::Json(shape) => field_type(types, shape),
        Payload::Text => quote! { String },
        Payload::Bytes => quote! { ::bytes::Bytes },
        Payload::Events(shape) => {
            let ty = field_type(types, shape);
            quote! { ::trueline_runtime::sse::Events<#ty> }
        }
    }
}

fn success_type(plan: &Plan<'_>, success: &Success<'_>, types: &Types<'_>) -> TokenStream {
    match success.headers.is_empty() {
        true => payload_type(success, types),
        false => {
            let name = format_ident!("{}{}", plan.name, success.variant);
            quote! { #name }
        }
    }
}

/// The value of a good answer, as a `Result<_, String>`.
fn read_success(plan: &Plan<'_>, success: &Success<'_>) -> TokenStream {
    let body = match &success.payload {
        Payload::Empty => quote! { Ok(()) },
        Payload::Json(_) => quote! { received.json() },
        Payload::Text => quote! { received.text() },
        Payload::Bytes => quote! { Ok(received.bytes()) },
        Payload::Events(_) => quote! { Ok(received.events()) },
    };
    if success.headers.is_empty() {
        return body;
    }
    let name = format_ident!("{}{}", plan.name, success.variant);
    quote! { #name::receive(&mut received) }
}

/// A call that progenitor cannot make.
fn direct(plan: &Plan<'_>, constant: &proc_macro2::Ident) -> TokenStream {
    let parameters = plan.parameters.iter().enumerate().map(|(index, planned)| {
        let (index, field) = (Literal::usize_unsuffixed(index), ident(&planned.rust));
        let value = match planned.parameter.required || planned.default.is_some() {
            true => quote! { Some(&request.#field) },
            false => quote! { request.#field.as_ref() },
        };
        quote! { .parameter(#index, #value)? }
    });
    let body = plan.body.as_ref().map(|planned| {
        let media_type = planned.body.media.first().map(|media| media.media_type.clone()).unwrap_or_default();
        let media_type = if media_type.contains('*') { "application/octet-stream".to_owned() } else { media_type };
        let value = match planned.body.required {
            true => quote! { Some(&request.body) },
            false => quote! { request.body.as_ref() },
        };
        match &planned.form {
            BodyForm::Json(_) => quote! { .json(#media_type, #value)? },
            BodyForm::Form(..) => quote! { .form(#value)? },
            BodyForm::Text => match planned.body.required {
                true => quote! { .bytes(#media_type, Some(request.body.as_bytes())) },
                false => quote! { .bytes(#media_type, request.body.as_ref().map(String::as_bytes)) },
            },
            BodyForm::Bytes => match planned.body.required {
                true => quote! { .bytes(#media_type, Some(&request.body)) },
                false => quote! { .bytes(#media_type, request.body.as_deref()) },
            },
            BodyForm::Multipart(_) => quote!(),
        }
    });
    // A form is made step by step: some parts need an open file, and an optional form may not be there at all.
    let parts = plan.body.as_ref().and_then(|planned| match &planned.form {
        BodyForm::Multipart(parts) => Some((planned.body.required, parts)),
        _ => None,
    });
    let parts = parts.map(|(required, parts)| {
        let steps = parts.iter().map(|part| {
            let (wire, field) = (&part.name, ident(&part.rust));
            match (&part.field, part.repeated, part.required) {
                (None, true, _) => quote! {
                    for upload in &body.#field {
                        call = call.file(#wire, upload).await?;
                    }
                },
                (None, false, true) => quote! { call = call.file(#wire, &body.#field).await?; },
                (None, false, false) => quote! {
                    if let Some(upload) = &body.#field {
                        call = call.file(#wire, upload).await?;
                    }
                },
                (Some(_), _, true) => quote! { call = call.part(#wire, Some(&body.#field))?; },
                (Some(_), _, false) => quote! { call = call.part(#wire, body.#field.as_ref())?; },
            }
        });
        match required {
            true => quote! { let body = &request.body; #(#steps)* },
            false => quote! { if let Some(body) = &request.body { #(#steps)* } },
        }
    });
    let mutable = parts.is_some().then(|| quote! { mut });
    quote! {
        let #mutable call = Direct::new(&operations::#constant) #(#parameters)* #body;
        #parts
        call.send(&self.raw.baseurl, &self.raw.client, &self.raw.inner).await
    }
}

/// An argument of one of progenitor's methods.
#[derive(Debug)]
struct Argument {
    name: String,
    /// Wrapped in `Option`.
    optional: bool,
    /// By reference; `str` is told apart because `&String` becomes it by itself only outside of `Option`.
    reference: bool,
    text: bool,
}

fn argument_value(plan: &Plan<'_>, argument: &Argument) -> TokenStream {
    let same = |rust: &str| plain(rust) == plain(&argument.name);
    let planned = plan.parameters.iter().find(|planned| same(&planned.rust) || same(&planned.parameter.name));
    let (field, ours_is_optional) = match planned {
        Some(planned) => (ident(&planned.rust), !planned.parameter.required && planned.default.is_none()),
        None => (ident("body"), false),
    };
    match (argument.optional, ours_is_optional, argument.reference, argument.text) {
        (true, true, true, true) => quote! { request.#field.as_deref() },
        (true, true, true, false) => quote! { request.#field.as_ref() },
        (true, true, false, _) => quote! { request.#field },
        (true, false, true, _) => quote! { Some(&request.#field) },
        (true, false, false, _) => quote! { Some(request.#field) },
        (false, _, true, _) => quote! { &request.#field },
        (false, _, false, _) => quote! { request.#field },
    }
}

/// Names that differ in case and underscores only are the same word.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// What progenitor makes of the lowered document.
struct Raw {
    /// Everything but the operations.
    rest: Vec<Item>,
    /// The operations by name.
    methods: BTreeMap<String, ImplItem>,
    signatures: BTreeMap<String, Vec<Argument>>,
}

impl Raw {
    fn new(contract: &Contract, plans: &[Plan<'_>], types: &Types<'_>, sink: &Sink) -> Self {
        let mut lowered = Lowered { types, components: IndexMap::new(), paths: Map::new() };
        for plan in plans.iter().filter(|plan| is_carried(plan)) {
            lowered.add(plan);
        }
        let mut raw = Raw { rest: Vec::new(), methods: BTreeMap::new(), signatures: BTreeMap::new() };
        let file = match lowered.generate(contract) {
            Ok(file) => file,
            Err(reason) => {
                // Which operation is it? Each on its own tells.
                let mut told = false;
                for plan in plans.iter().filter(|plan| is_carried(plan)) {
                    let mut alone = Lowered { types, components: IndexMap::new(), paths: Map::new() };
                    alone.add(plan);
                    if let Err(reason) = alone.generate(contract) {
                        told = true;
                        sink.refuse(&plan.operation.at, format!("progenitor refuses this operation: {reason}"));
                    }
                }
                if !told {
                    let at = below(&Location { file: 0, pointer: "".into() }, "paths");
                    sink.refuse(&at, format!("progenitor refuses the lowered document: {reason}"));
                }
                return raw;
            }
        };
        for item in file.items {
            match item {
                Item::Impl(block)
                    if block.trait_.is_none() && block.items.iter().all(is_async) && !block.items.is_empty() =>
                {
                    for mut item in block.items {
                        if let ImplItem::Fn(function) = &mut item {
                            tidy(&mut function.attrs);
                            let name = function.sig.ident.to_string();
                            let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
                            raw.signatures.insert(name.clone(), arguments(&function.sig));
                            raw.methods.insert(name, item);
                        }
                    }
                }
                // Nobody imports it.
                Item::Mod(module) if module.ident == "prelude" => {}
                // `new` has a limit of 15 seconds for everything, and panics.
                Item::Impl(mut block) if block.trait_.is_none() => {
                    block.items.retain(|item| !matches!(item, ImplItem::Fn(function) if function.sig.ident == "new"));
                    raw.rest.push(Item::Impl(block));
                }
                Item::Struct(mut item) => {
                    tidy(&mut item.attrs);
                    raw.rest.push(Item::Struct(item));
                }
                item => raw.rest.push(item),
            }
        }
        for plan in plans.iter().filter(|plan| is_carried(plan)) {
            if !raw.methods.contains_key(&plan.function) {
                sink.refuse(&plan.operation.at, "progenitor has made no method of this operation's name");
            }
        }
        raw
    }

    /// `src/client/raw/`, one file for each section, so that none is long.
    fn files(mut self, sections: &IndexMap<&str, Vec<&Plan<'_>>>, document: &str) -> Vec<(String, Source)> {
        let mut files = Vec::new();
        let mut used = Vec::new();
        for (module, plans) in sections {
            let methods: Vec<ImplItem> = plans.iter().filter_map(|plan| self.methods.remove(&plan.function)).collect();
            if methods.is_empty() {
                continue;
            }
            let mut source = Source::new(
                document,
                &format!("Requests of the section \"{}\", by progenitor.", plans[0].operation.tag),
            );
            source.items(quote! {
                use ::progenitor_client::{
                    ByteStream, ClientHooks, ClientInfo, Error, OperationInfo, RequestBuilderExt, ResponseValue, encode_path,
                };
                use super::{Client, shared};
                impl Client { #(#methods)* }
            });
            files.push((format!("raw/{module}"), source));
            used.push(ident(module));
        }
        let mut head = Source::new(document, "Requests, by progenitor 0.15.1 from the lowered document.");
        head.items(quote! {
            #(mod #used;)*
            use super::super::types as shared;
        });
        let rest = self.rest;
        head.items(quote! { #(#rest)* });
        files.insert(0, ("raw/mod".to_owned(), head));
        files
    }
}

/// Documentation of several lines as several attributes, which print as `///`.
fn tidy(attributes: &mut Vec<syn::Attribute>) {
    let mut tidied = Vec::new();
    for attribute in std::mem::take(attributes) {
        let text = match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        };
        match text {
            Some(text) => {
                for line in text.trim().lines() {
                    let line = if line.is_empty() { String::new() } else { format!(" {line}") };
                    tidied.push(syn::parse_quote! { #[doc = #line] });
                }
            }
            None => tidied.push(attribute),
        }
    }
    *attributes = tidied;
}

fn is_async(item: &ImplItem) -> bool {
    matches!(item, ImplItem::Fn(function) if function.sig.asyncness.is_some())
}

fn arguments(signature: &syn::Signature) -> Vec<Argument> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    typed
        .map(|argument| {
            let pattern = &argument.pat;
            let name = quote!(#pattern).to_string();
            let ty = &argument.ty;
            let text = quote!(#ty).to_string();
            let inner = text.strip_prefix("Option <").map(str::trim);
            let reference = inner.unwrap_or(&text).starts_with('&');
            Argument {
                name: name.trim_start_matches("r#").to_owned(),
                optional: inner.is_some(),
                reference,
                text: reference && inner.unwrap_or(&text).trim_end_matches('>').trim().ends_with("str"),
            }
        })
        .collect()
}

/// Whether progenitor can make the request.
fn is_carried(plan: &Plan<'_>) -> bool {
    let known_method =
        ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"].contains(&plan.operation.method.as_str());
    let body = plan.body.as_ref().is_none_or(|planned| {
        let single = planned.body.media.len() == 1 && planned.body.media[0].media_type == "application/json";
        planned.body.required && single && matches!(&planned.form, BodyForm::Json(shape) if !shape.nullable)
    });
    // Two parameters of one name in two places are one to progenitor.
    let mut words: Vec<String> = plan.parameters.iter().map(|planned| plain(&planned.parameter.name)).collect();
    words.push("body".to_owned());
    let count = words.len();
    words.sort_unstable();
    words.dedup();
    let distinct = words.len() == count;
    known_method && body && distinct && plan.parameters.iter().all(is_plain)
}

fn is_plain(planned: &PlannedParameter<'_>) -> bool {
    let scalar = matches!(
        planned.shape.ty,
        Type::String
            | Type::Uuid
            | Type::Moment
            | Type::Date
            | Type::Boolean
            | Type::I32
            | Type::I64
            | Type::F64
            | Type::Named(_)
    ) && planned.kind.to_string() != "Kind :: Json"
        && !planned.kind.to_string().contains("Kind :: Object")
        && !planned.kind.to_string().contains("Kind :: Array");
    let list = matches!(&planned.shape.ty, Type::Array(_))
        && planned.explode
        && planned.parameter.place == ParameterPlace::Query;
    let list = list && planned.style == "Form" && !planned.kind.to_string().contains("Kind :: Object");
    match planned.parameter.place {
        ParameterPlace::Path => scalar && planned.style == "Simple",
        ParameterPlace::Query => (scalar || list) && planned.style == "Form",
        // A header's text is made by `Display`, which a number and a text have, and an enum of ours too.
        ParameterPlace::Header => scalar && planned.style == "Simple",
        ParameterPlace::Cookie => false,
    }
}

/// The lowered document in the making.
struct Lowered<'a> {
    types: &'a Types<'a>,
    /// Name to the Rust type that replaces it.
    components: IndexMap<String, String>,
    paths: Map<String, Value>,
}

impl Lowered<'_> {
    fn schema(&mut self, ty: &Type) -> Value {
        let named = |name: String| json!({"$ref": format!("#/components/schemas/{name}")});
        match ty {
            Type::String => json!({"type": "string"}),
            Type::Uuid => json!({"type": "string", "format": "uuid"}),
            Type::Boolean => json!({"type": "boolean"}),
            Type::I32 => json!({"type": "integer", "format": "int32"}),
            Type::I64 => json!({"type": "integer", "format": "int64"}),
            Type::F64 => json!({"type": "number", "format": "double"}),
            Type::Named(name) => {
                self.components.insert(name.clone(), format!("shared::{}", ident(name)));
                named(name.clone())
            }
            other => {
                let rust = self.types.nested(other, &quote! { shared:: }).to_string();
                let known =
                    self.components.iter().find(|(_, replaced)| **replaced == rust).map(|(name, _)| name.clone());
                let name = known.unwrap_or_else(|| format!("Lowered{}", self.components.len() + 1));
                self.components.insert(name.clone(), rust);
                named(name)
            }
        }
    }

    fn add(&mut self, plan: &Plan<'_>) {
        let parameters: Vec<Value> = plan
            .parameters
            .iter()
            .map(|planned| {
                json!({
                    "name": planned.parameter.name,
                    "in": planned.parameter.place.to_string(),
                    "required": planned.parameter.required,
                    "schema": self.schema(&planned.shape.ty),
                })
            })
            .collect();
        let mut operation = json!({
            "operationId": plan.function,
            "parameters": parameters,
            // Any status, any bytes: the wrapper reads.
            "responses": {"default": {"description": "", "content": {"*/*": {}}}},
        });
        if let Some(BodyForm::Json(shape)) = plan.body.as_ref().map(|planned| &planned.form) {
            let schema = self.schema(&shape.ty);
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        let item = self.paths.entry(plan.operation.path.text.clone()).or_insert_with(|| json!({}));
        item[plan.operation.method.as_str().to_lowercase()] = operation;
    }

    fn generate(&self, contract: &Contract) -> Result<syn::File, String> {
        let schemas: Map<String, Value> =
            self.components.keys().map(|name| (name.clone(), json!({"type": "object"}))).collect();
        let lowered = json!({
            "openapi": "3.0.3",
            "info": {"title": contract.title, "version": "1"},
            "paths": self.paths,
            "components": {"schemas": schemas},
        });
        let document: openapiv3::OpenAPI = serde_json::from_value(lowered).map_err(|error| error.to_string())?;
        let mut settings = GenerationSettings::new();
        settings
            .with_interface(InterfaceStyle::Positional)
            .with_hooks(HooksMode::Expected)
            .with_inner_type(quote! { ::trueline_runtime::client::Credentials });
        for (name, rust) in &self.components {
            settings.with_replacement(name, rust, [TypeImpl::Display, TypeImpl::FromStr].into_iter());
        }
        // progenitor asserts and unwraps what it does not expect.
        let made = catch_unwind(AssertUnwindSafe(|| Generator::new(&settings).generate_tokens(&document)));
        let tokens = match made {
            Ok(made) => made.map_err(|error| error.to_string())?,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                return Err(text
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "it panics".to_owned()));
            }
        };
        syn::parse2(tokens).map_err(|error| error.to_string())
    }
}
