//! `src/operations/`: the contract as one constant table, one file for each section.

use indexmap::IndexMap;
use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use trueline_spec::contract::{Contract, ParameterPlace, SecurityKind};
use trueline_spec::vocabulary::{self, CheckStep, Effect, Per};

use super::names::{self, ident};
use super::plan::{BodyForm, Plan, PlannedBody, PlannedParameter};
use super::problems::{Chosen, Dialect};
use super::sink::Sink;
use super::source::{Source, doc};

/// The order where the contract promises none: a limit protects what comes after it.
const ORDER: [CheckStep; 5] =
    [CheckStep::Limit, CheckStep::Authenticate, CheckStep::Authorize, CheckStep::Validate, CheckStep::Find];

pub(super) fn emit(
    contract: &Contract,
    plans: &[Plan<'_>],
    dialect: &Dialect<'_>,
    document: &str,
    sink: &Sink,
) -> Vec<(String, Source)> {
    let mut files = Vec::new();
    let mut sections: IndexMap<&str, Vec<&Plan<'_>>> = IndexMap::new();
    for plan in plans {
        sections.entry(&plan.module).or_default().push(plan);
    }
    let mut refusals: Vec<&Chosen> = Vec::new();
    for plan in plans {
        if !refusals.contains(&&plan.refusals) {
            refusals.push(&plan.refusals);
        }
    }
    files.push(("mod".to_owned(), head(contract, plans, &sections, &refusals, dialect, document, sink)));
    for (module, plans) in sections {
        let mut source =
            Source::new(document, &format!("Operations of the section `{}` as data.", plans[0].operation.tag));
        source.items(quote! {
            #[allow(unused_imports)]
            use ::trueline_runtime::contract::{
                Body, BodyForm, Effect, Kind, Missing, Operation, Parameter, Part, Place, Schemes, Style,
            };
            #[allow(unused_imports)]
            use super::{classes, refusals, schemes};
            #[allow(unused_imports)]
            use super::super::problems::answers;
        });
        for plan in plans {
            let set = refusals.iter().position(|set| **set == plan.refusals).unwrap_or_default();
            source.items(operation(plan, set, dialect));
        }
        files.push((module.to_owned(), source));
    }
    files
}

fn head(
    contract: &Contract,
    plans: &[Plan<'_>],
    sections: &IndexMap<&str, Vec<&Plan<'_>>>,
    refusals: &[&Chosen],
    dialect: &Dialect<'_>,
    document: &str,
    sink: &Sink,
) -> Source {
    let mut source = Source::new(
        document,
        "The contract as constant data: what the router, the gate, the docs page and the tests read.",
    );
    let modules: Vec<_> = sections.keys().map(|module| ident(module)).collect();
    source.items(quote! { #(mod #modules;)* #(pub use #modules::*;)* });
    source.items(quote! {
        #[allow(unused_imports)]
        use ::trueline_runtime::contract::{
            Backoff, CheckStep, Contract, HeaderReach, Per, Quota, QuotaWindow, RateClass, RateLimits, Refusals, ResetUnit,
            Retry, RetryAfterForm, SchemeKind, Schemes, SecurityScheme, Unmatched, When,
        };
        use super::problems::answers;
    });
    let vocabulary = contract.vocabulary.clone().unwrap_or_default();
    let (name, title, version) = (&contract.name, &contract.title, &contract.version);
    let constants = plans.iter().map(|plan| ident(&plan.constant));
    let promised = contract.check_order();
    let mut order: Vec<CheckStep> = promised.to_vec();
    for (index, step) in ORDER.iter().enumerate() {
        if !order.contains(step) {
            // Behind the nearest step that usually comes before it.
            let after = ORDER[..index].iter().rev().find_map(|before| order.iter().position(|other| other == before));
            order.insert(after.map_or(0, |at| at + 1), *step);
        }
    }
    let order = order.iter().map(|step| format_ident!("{}", format!("{step:?}")));
    let schemes = contract.security_schemes.values().map(|scheme| {
        let name = &scheme.name;
        let kind = match &scheme.kind {
            SecurityKind::ApiKey { place, name } => match place {
                ParameterPlace::Header | ParameterPlace::Path => quote! { Header(#name) },
                ParameterPlace::Query => quote! { Query(#name) },
                ParameterPlace::Cookie => quote! { Cookie(#name) },
            },
            SecurityKind::Http { scheme, .. } if scheme == "bearer" => quote! { Bearer },
            SecurityKind::Http { scheme, .. } if scheme == "basic" => quote! { Basic },
            SecurityKind::Http { scheme, .. } => quote! { OtherHttp(#scheme) },
            SecurityKind::OAuth2 { .. } | SecurityKind::OpenIdConnect { .. } => quote! { Bearer },
            SecurityKind::MutualTls => quote! { MutualTls },
        };
        quote! { SecurityScheme { name: #name, kind: SchemeKind::#kind } }
    });
    let scheme_names = contract.security_schemes.values().enumerate().map(|(bit, scheme)| {
        if bit > 31 {
            sink.refuse(&scheme.at, "more than 32 security schemes do not fit");
        }
        let (constant, bit) = (ident(&names::shouty(&scheme.name)), Literal::u32_unsuffixed(1 << bit.min(31)));
        let docs = doc(scheme.description.as_deref().unwrap_or(&scheme.name));
        quote! { #docs pub const #constant: Schemes = Schemes(#bit); }
    });
    source.items(quote! {
        /// The security schemes as sets of one.
        pub mod schemes {
            #[allow(unused_imports)]
            use ::trueline_runtime::contract::Schemes;
            #(#scheme_names)*
        }
    });
    let limits = vocabulary.rate_limits.as_ref().map(|limits| limits_of(contract, limits, sink));
    let (limits_value, classes) = limits.unwrap_or_else(|| (quote! { None }, quote!()));
    source.items(quote! {
        /// The rate classes.
        pub mod classes {
            #[allow(unused_imports)]
            use super::{Per, RateClass, Schemes, When, schemes};
            #classes
        }
    });
    let quotas = vocabulary.quotas.iter().map(|(name, quota)| {
        let (code, per) = (&quota.code, per(&quota.per));
        let window = match quota.window {
            vocabulary::QuotaWindow::Day => quote! { Day },
            vocabulary::QuotaWindow::Month => quote! { Month },
        };
        let limit = match quota.limit {
            Some(limit) => {
                let limit = Literal::u64_unsuffixed(limit);
                quote! { Some(#limit) }
            }
            None => quote! { None },
        };
        quote! { Quota { name: #name, code: #code, per: #per, window: QuotaWindow::#window, limit: #limit } }
    });
    let unmatched = contract.envelope.as_ref().map(|envelope| {
        let words = &envelope.vocabulary;
        let path = dialect.constant(&words.unmatched.path);
        let method = dialect.constant(&words.unmatched.method);
        let internal = dialect.constant(&words.refusals.internal);
        let limited = match &words.refusals.limited {
            Some(answer) => {
                let answer = dialect.constant(answer);
                quote! { Some(&#answer) }
            }
            None => quote! { None },
        };
        quote! { Unmatched { path: &#path, method: &#method, limited: #limited, internal: &#internal } }
    });
    // Without a name of its own the request id travels under the name that most services use.
    let request_id = vocabulary.request_id_header.as_deref().unwrap_or("x-request-id").to_lowercase();
    let challenge = match contract.security_schemes.values().find_map(|scheme| match &scheme.kind {
        SecurityKind::Http { scheme, .. } if scheme == "basic" => Some(format!("Basic realm=\"{}\"", contract.name)),
        SecurityKind::Http { .. } | SecurityKind::OAuth2 { .. } | SecurityKind::OpenIdConnect { .. } => {
            Some("Bearer".to_owned())
        }
        _ => None,
    }) {
        Some(text) => quote! { Some(#text) },
        None => quote! { None },
    };
    let retry = match &vocabulary.retry {
        Some(retry) => {
            let (statuses, codes, honour) = (
                retry.statuses.iter().map(|status| Literal::u16_unsuffixed(*status)),
                &retry.except_codes,
                retry.honour_retry_after,
            );
            let (max, base) = (Literal::u32_unsuffixed(retry.max), Literal::u64_unsuffixed(retry.base_ms));
            let backoff = match retry.backoff {
                vocabulary::Backoff::Exponential => quote! { Exponential },
                vocabulary::Backoff::ExponentialJitter => quote! { ExponentialJitter },
            };
            let wait = match retry.default_wait_s {
                Some(seconds) => {
                    let seconds = Literal::u64_unsuffixed(seconds);
                    quote! { Some(#seconds) }
                }
                None => quote! { None },
            };
            quote! {
                Some(&Retry {
                    statuses: &[#(#statuses),*],
                    max: #max,
                    backoff: Backoff::#backoff,
                    base_ms: #base,
                    honour_retry_after: #honour,
                    default_wait_s: #wait,
                    except_codes: &[#(#codes),*],
                })
            }
        }
        None => quote! { None },
    };
    source.items(quote! {
        /// The whole contract.
        pub static CONTRACT: Contract = Contract {
            name: #name,
            title: #title,
            version: #version,
            operations: &[#(&#constants),*],
            check_order: &[#(CheckStep::#order),*],
            schemes: &[#(#schemes),*],
            rate_limits: #limits_value,
            quotas: &[#(#quotas),*],
            unmatched: #unmatched,
            request_id_header: #request_id,
            challenge: #challenge,
            retry: #retry,
            schemas: include_str!("../schemas.json"),
        };
    });
    let sets = refusals.iter().enumerate().map(|(index, set)| {
        let constant = format_ident!("SET_{}", index + 1);
        let optional = |slot: &Option<String>| match slot {
            Some(name) => {
                let name = ident(name);
                quote! { Some(&answers::#name) }
            }
            None => quote! { None },
        };
        let [
            unauthenticated,
            wrong_scheme,
            forbidden,
            missing,
            invalid,
            several,
            malformed,
            media_type,
            too_large,
            limited,
            _,
            unavailable,
        ] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|slot: usize| optional(&set.0[slot]));
        let internal = match &set.0[10] {
            Some(name) => {
                let name = ident(name);
                quote! { &answers::#name }
            }
            None => quote! { compile_error!("no internal error") },
        };
        quote! {
            pub(super) static #constant: Refusals = Refusals {
                unauthenticated: #unauthenticated,
                wrong_scheme: #wrong_scheme,
                forbidden: #forbidden,
                missing: #missing,
                invalid: #invalid,
                several: #several,
                malformed: #malformed,
                media_type: #media_type,
                too_large: #too_large,
                limited: #limited,
                internal: #internal,
                unavailable: #unavailable,
            };
        }
    });
    source.items(quote! {
        /// What refusals turn into; operations that document the same answers share a set.
        mod refusals {
            use super::{Refusals, answers};
            #(#sets)*
        }
    });
    source
}

fn limits_of(contract: &Contract, limits: &vocabulary::RateLimits, sink: &Sink) -> (TokenStream, TokenStream) {
    let header = |name: &Option<String>| match name {
        Some(name) => {
            let name = name.to_lowercase();
            if name.parse::<http::HeaderName>().is_err() {
                let at =
                    trueline_spec::document::Location { file: 0, pointer: "/x-contract/rate-limits/headers".into() };
                sink.refuse(&at, format!("`{name}` is not a header name"));
            }
            quote! { Some(#name) }
        }
        None => quote! { None },
    };
    let (limit, remaining, reset_header) =
        (header(&limits.headers.limit), header(&limits.headers.remaining), header(&limits.headers.reset));
    let reset = match limits.reset {
        vocabulary::ResetUnit::UnixSeconds => quote! { UnixSeconds },
        vocabulary::ResetUnit::DeltaSeconds => quote! { DeltaSeconds },
    };
    let on = match limits.on {
        vocabulary::HeaderReach::EveryResponse => quote! { EveryResponse },
        vocabulary::HeaderReach::LimitedOnly => quote! { LimitedOnly },
        vocabulary::HeaderReach::None => quote! { None },
    };
    let retry_after = match limits.retry_after {
        vocabulary::RetryAfterForm::DeltaSeconds => quote! { DeltaSeconds },
        vocabulary::RetryAfterForm::HttpDate => quote! { HttpDate },
        vocabulary::RetryAfterForm::None => quote! { None },
    };
    let wait = match &limits.body.wait {
        Some(pointer) => quote! { Some(#pointer) },
        None => quote! { None },
    };
    let names: Vec<_> = limits.classes.keys().map(|name| ident(&names::shouty(name))).collect();
    let classes = limits.classes.iter().map(|(name, class)| {
        let (constant, per) = (ident(&names::shouty(name)), per(&class.per));
        let (limit, window) = (Literal::u64_unsuffixed(class.limit), Literal::u64_unsuffixed(class.window.0.as_secs()));
        let mut named = Vec::new();
        for scheme in class.when.0.iter().filter(|scheme| *scheme != "none") {
            if !contract.security_schemes.contains_key(scheme) {
                let at = trueline_spec::document::Location {
                    file: 0,
                    pointer: format!("/x-contract/rate-limits/classes/{name}").into(),
                };
                sink.refuse(&at, format!("there is no security scheme `{scheme}`"));
            }
            named.push(ident(&names::shouty(scheme)));
        }
        let set = match named.as_slice() {
            [first, rest @ ..] => quote! { schemes::#first #(.and(schemes::#rest))* },
            [] => quote! { Schemes::NONE },
        };
        let when = match (class.when.names_nobody(), named.is_empty()) {
            (false, true) => quote! { Always },
            (true, true) => quote! { Anonymous },
            (false, false) => quote! { Scheme(#set) },
            (true, false) => quote! { AnonymousOr(#set) },
        };
        let docs = doc(&format!("{} requests in {}, one counter per {}.", class.limit, class.window, class.per));
        quote! {
            #docs
            pub static #constant: RateClass =
                RateClass { name: #name, limit: #limit, window_seconds: #window, per: #per, when: When::#when };
        }
    });
    let classes = quote! { #(#classes)* };
    let value = quote! {
        Some(&RateLimits {
            limit_header: #limit,
            remaining_header: #remaining,
            reset_header: #reset_header,
            reset: ResetUnit::#reset,
            on: HeaderReach::#on,
            retry_after: RetryAfterForm::#retry_after,
            body_wait: #wait,
            classes: &[#(&classes::#names),*],
        })
    };
    (value, classes)
}

fn per(per: &Per) -> TokenStream {
    match per {
        Per::User => quote! { Per::User },
        Per::Credential => quote! { Per::Credential },
        Per::Ip => quote! { Per::Ip },
        Per::Organization => quote! { Per::Organization },
        Per::Path(name) => quote! { Per::Path(#name) },
    }
}

fn operation(plan: &Plan<'_>, set: usize, dialect: &Dialect<'_>) -> TokenStream {
    let operation = plan.operation;
    let (constant, id, tag) = (ident(&plan.constant), &operation.id, &operation.tag);
    let (method, path) = (operation.method.as_str(), &operation.path.text);
    let summary = operation.summary.clone().unwrap_or_default();
    let security = operation.security.iter().map(|alternative| {
        let mut schemes = alternative.schemes.keys().map(|name| ident(&names::shouty(name)));
        match schemes.next() {
            None => quote! { Schemes::NONE },
            Some(first) => quote! { schemes::#first #(.and(schemes::#schemes))* },
        }
    });
    let anonymous_only = operation.security.iter().all(|alternative| alternative.schemes.is_empty());
    let security = if anonymous_only {
        quote! { &[] }
    } else {
        quote! { &[#(#security),*] }
    };
    let scopes = &plan.scopes;
    let classes = operation.rate_limits.iter().map(|name| ident(&names::shouty(name)));
    let quotas = &operation.quotas;
    let effect = match operation.effect {
        Effect::Read => quote! { Read },
        Effect::Write => quote! { Write },
        Effect::Costly => quote! { Costly },
        Effect::Destroy => quote! { Destroy },
    };
    let statuses = operation.responses.iter().filter_map(|response| match response.status {
        trueline_spec::contract::StatusPattern::Exact(status) => Some(Literal::u16_unsuffixed(status)),
        _ => None,
    });
    let codes = &operation.error_codes;
    let parameters = plan.parameters.iter().map(|planned| parameter(planned, dialect));
    let body = match &plan.body {
        Some(planned) => {
            let body = body(planned);
            quote! { Some(&#body) }
        }
        None => quote! { None },
    };
    let missing = plan.missing.iter().map(|(place, name, answer)| {
        let answer = dialect.constant(answer);
        let place = match place {
            Some(place) => place_word(*place),
            None => quote! { Body },
        };
        quote! { Missing { place: Place::#place, name: #name, answer: &#answer } }
    });
    let set = format_ident!("SET_{}", set + 1);
    let docs = doc(&format!("`{method} {path}`"));
    quote! {
        #docs
        pub static #constant: Operation = Operation {
            id: #id,
            method: #method,
            path: #path,
            tag: #tag,
            summary: #summary,
            security: #security,
            scopes: &[#(#scopes),*],
            rate_classes: &[#(&classes::#classes),*],
            quotas: &[#(#quotas),*],
            effect: Effect::#effect,
            statuses: &[#(#statuses),*],
            codes: &[#(#codes),*],
            parameters: &[#(#parameters),*],
            body: #body,
            refusals: &refusals::#set,
            missing: &[#(#missing),*],
        };
    }
}

fn place_word(place: ParameterPlace) -> TokenStream {
    match place {
        ParameterPlace::Path => quote! { Path },
        ParameterPlace::Query => quote! { Query },
        ParameterPlace::Header => quote! { Header },
        ParameterPlace::Cookie => quote! { Cookie },
    }
}

fn parameter(planned: &PlannedParameter<'_>, dialect: &Dialect<'_>) -> TokenStream {
    let parameter = planned.parameter;
    let place = place_word(parameter.place);
    let name = match parameter.place {
        ParameterPlace::Header => parameter.name.to_lowercase(),
        _ => parameter.name.clone(),
    };
    let (required, explode, kind) = (parameter.required, planned.explode, &planned.kind);
    let style = ident(planned.style);
    let schema = Literal::usize_unsuffixed(planned.schema);
    let not_found = match &planned.not_found {
        Some(answer) => {
            let answer = dialect.constant(answer);
            quote! { Some(&#answer) }
        }
        None => quote! { None },
    };
    quote! {
        Parameter {
            name: #name,
            place: Place::#place,
            required: #required,
            style: Style::#style,
            explode: #explode,
            kind: #kind,
            schema: #schema,
            not_found: #not_found,
        }
    }
}

fn body(planned: &PlannedBody<'_>) -> TokenStream {
    let required = planned.body.required;
    let media_types = planned.body.media.iter().map(|media| media.media_type.clone());
    let schema = match planned.schema {
        Some(index) => {
            let index = Literal::usize_unsuffixed(index);
            quote! { Some(#index) }
        }
        None => quote! { None },
    };
    let max_bytes = Literal::u64_unsuffixed(planned.max_bytes);
    let form = match &planned.form {
        BodyForm::Json(_) => quote! { Json },
        BodyForm::Form(_, members) => {
            let members = members.iter().map(|(name, kind)| quote! { (#name, #kind) });
            quote! { Form(&[#(#members),*]) }
        }
        BodyForm::Multipart(parts) => {
            let parts = parts.iter().map(|part| {
                let (name, media_types, repeated) = (&part.name, &part.media_types, part.repeated);
                let kind = match &part.field {
                    Some((_, kind)) => kind.clone(),
                    None => quote! { Kind::File },
                };
                quote! { Part { name: #name, kind: #kind, media_types: &[#(#media_types),*], repeated: #repeated } }
            });
            quote! { Multipart(&[#(#parts),*]) }
        }
        BodyForm::Text => quote! { Text },
        BodyForm::Bytes => quote! { Bytes },
    };
    quote! {
        Body {
            required: #required,
            media_types: &[#(#media_types),*],
            form: BodyForm::#form,
            schema: #schema,
            max_bytes: #max_bytes,
        }
    }
}
