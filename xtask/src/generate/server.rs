//! `src/server/`: one trait for each section, and the router that calls them.

use indexmap::IndexMap;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use trueline_spec::contract::Contract;

use super::names::{self, ident};
use super::plan::{Caller, Plan};
use super::problems::Dialect;
use super::source::{Source, doc, doc_text, remark};

pub(super) fn emit(
    contract: &Contract,
    plans: &[Plan<'_>],
    dialect: &Dialect<'_>,
    document: &str,
) -> Vec<(String, Source)> {
    let mut sections: IndexMap<&str, Vec<&Plan<'_>>> = IndexMap::new();
    for plan in plans {
        sections.entry(&plan.module).or_default().push(plan);
    }
    let mut files = vec![("mod".to_owned(), head(&sections, dialect, document))];
    for (module, plans) in &sections {
        let tag = &plans[0].operation.tag;
        let mut source = Source::new(
            document,
            &format!("Section \"{tag}\" of the documentation: the trait that a service implements."),
        );
        source.items(quote! {
            use ::std::sync::Arc;
            use ::trueline_runtime::{exchange::Exchange, router::{Routes, Running}, reply};
            use super::super::{calls::*, operations};
        });
        let described =
            contract.tags.iter().find(|known| known.name == *tag).and_then(|known| known.description.clone());
        source.items(service(tag, described.as_deref(), plans));
        source.items(routes(tag, plans));
        files.push(((*module).to_owned(), source));
    }
    files
}

fn trait_name(tag: &str) -> proc_macro2::Ident {
    ident(&names::type_name(tag))
}

fn service(tag: &str, described: Option<&str>, plans: &[&Plan<'_>]) -> TokenStream {
    let name = trait_name(tag);
    let docs = doc(described.unwrap_or(tag));
    let methods = plans.iter().map(|plan| {
        let function = ident(&plan.function);
        let (request, response, error) = names_of(plan);
        let docs = doc(&method_docs(plan));
        let caller = match plan.caller {
            Caller::Nobody => quote!(),
            Caller::Anybody => quote! { caller: Option<&Self::Principal>, },
            Caller::Somebody => quote! { caller: &Self::Principal, },
        };
        quote! {
            #docs
            fn #function(
                &self,
                #caller
                request: #request,
            ) -> impl Future<Output = Result<#response, #error>> + Send;
        }
    });
    quote! {
        #docs
        pub trait #name: Send + Sync + 'static {
            /// A caller that has proved who it is; the gate's.
            type Principal: Send + Sync + 'static;
            #(#methods)*
        }
    }
}

fn names_of(plan: &Plan<'_>) -> (proc_macro2::Ident, proc_macro2::Ident, proc_macro2::Ident) {
    (format_ident!("{}Request", plan.name), format_ident!("{}Response", plan.name), format_ident!("{}Error", plan.name))
}

/// What the documentation says, and what the platform has judged before the handler is asked.
pub(super) fn method_docs(plan: &Plan<'_>) -> String {
    let operation = plan.operation;
    let mut text = String::new();
    if let Some(summary) = &operation.summary {
        text.push_str(&format!("{summary}.\n\n").replace("..", "."));
    }
    text.push_str(&format!("`{} {}`", operation.method, operation.path));
    let alternatives: Vec<String> = operation
        .security
        .iter()
        .map(|alternative| match alternative.schemes.is_empty() {
            true => "anonymous".to_owned(),
            false => alternative.schemes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and "),
        })
        .collect();
    if plan.caller != Caller::Nobody {
        text.push_str(&format!(" · {}", alternatives.join(" or ")));
    }
    if !plan.scopes.is_empty() {
        let scopes: Vec<String> = plan.scopes.iter().map(|scope| format!("`{scope}`")).collect();
        text.push_str(&format!(" · scope {}", scopes.join(", ")));
    }
    if let Some(description) = &operation.description {
        text.push_str(&format!("\n\n{description}"));
    }
    text
}

fn routes(tag: &str, plans: &[&Plan<'_>]) -> TokenStream {
    let name = trait_name(tag);
    let adds = plans.iter().map(|plan| {
        let (constant, function) = (ident(&plan.constant), ident(&plan.function));
        quote! { routes.add(&operations::#constant, service, #function::<S>); }
    });
    let handlers = plans.iter().map(|plan| {
        let function = ident(&plan.function);
        let (request, ..) = names_of(plan);
        let caller = match plan.caller {
            Caller::Nobody => quote!(),
            Caller::Anybody => quote! { exchange.optional_caller(), },
            Caller::Somebody => quote! { exchange.caller()?, },
        };
        quote! {
            fn #function<'a, S: #name>(service: &'a S, exchange: &'a mut Exchange<S::Principal>) -> Running<'a> {
                Box::pin(async move {
                    let request = #request::read(&mut exchange.incoming).await?;
                    Ok(match service.#function(#caller request).await {
                        Ok(response) => response.into_response(),
                        Err(error) => reply::failures(&error),
                    })
                })
            }
        }
    });
    quote! {
        pub(super) fn add<S: #name>(service: &Arc<S>, routes: &mut Routes<S::Principal>) {
            #(#adds)*
        }
        #(#handlers)*
    }
}

fn head(sections: &IndexMap<&str, Vec<&Plan<'_>>>, dialect: &Dialect<'_>, document: &str) -> Source {
    let mut source = Source::new(
        document,
        "The server: implement the traits, one for each section, and a gate; `router` does the rest.\n\n\
         A request reaches a handler admitted, limited and validated. What a handler may answer is in its types.",
    );
    let modules: Vec<_> = sections.keys().map(|module| ident(module)).collect();
    let traits: Vec<_> = sections.values().map(|plans| trait_name(&plans[0].operation.tag)).collect();
    source.items(quote! {
        #(mod #modules;)*
        #(pub use #modules::#traits;)*
        pub use super::{calls::*, problems, types};
        use ::std::sync::Arc;
        use ::trueline_runtime::{gate::Gate, router::Routes};
        use super::operations::CONTRACT;
    });
    let fields = modules.iter().zip(&traits).map(|(module, name)| {
        let docs = remark(&format!("Implements [`{name}`]."));
        quote! { #docs pub #module: Arc<#name> }
    });
    source.items(quote! {
        /// What answers: one service for each section. Leaving one out does not compile.
        #[derive(Debug)]
        pub struct Services<#(#traits),*> { #(#fields,)* }
    });
    let repeated = modules.iter().map(|_| quote! { S });
    source.items(quote! {
        impl<S> Services<#(#repeated),*> {
            /// One service that answers everything.
            pub fn all(service: Arc<S>) -> Self {
                Self { #(#modules: service.clone(),)* }
            }
        }
    });
    let parameters: Vec<_> = (0..modules.len()).map(|index| format_ident!("S{}", index + 1)).collect();
    let bounds = parameters.iter().zip(&traits).map(|(parameter, name)| {
        quote! { #parameter: #name<Principal = G::Principal> }
    });
    let bounds: Vec<_> = bounds.collect();
    source.items(quote! {
        /// A router for the whole contract: every request gets an answer in its dialect.
        ///
        /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that the gate learns the callers'
        /// addresses.
        pub fn router<G, #(#parameters),*>(gate: Arc<G>, services: Services<#(#parameters),*>) -> ::trueline_runtime::rt::axum::Router
        where
            G: Gate<Failure = GateFailure>,
            #(#bounds,)*
        {
            ::trueline_runtime::router::router(&CONTRACT, gate, routes(&services))
        }

        /// The same as a tower service, for calls in process.
        pub fn service<G, #(#parameters),*>(
            gate: Arc<G>,
            services: Services<#(#parameters),*>,
        ) -> ::trueline_runtime::router::Service<G>
        where
            G: Gate<Failure = GateFailure>,
            #(#bounds,)*
        {
            ::trueline_runtime::router::service(&CONTRACT, gate, routes(&services))
        }

        fn routes<P: Send + Sync + 'static, #(#parameters: #traits<Principal = P>),*>(
            services: &Services<#(#parameters),*>,
        ) -> Routes<P> {
            let mut routes = Routes::default();
            #(#modules::add(&services.#modules, &mut routes);)*
            routes
        }
    });
    let mut text = String::from("::trueline_runtime::failures! {\n");
    text.push_str("    /// What a gate may answer: the documented 401s and 403s, and outages.\n");
    text.push_str("    pub enum GateFailure {\n");
    for failing in dialect.of_gate() {
        text.push_str(&doc_text(&dialect.about(failing), "        "));
        text.push_str(&format!("        {},\n", failing.name));
    }
    text.push_str("    }\n}\n");
    source.text(&text);
    source
}
