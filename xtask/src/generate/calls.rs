//! `src/calls/`: what each operation takes and answers, shared by server and client.

use indexmap::IndexMap;
use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::names::ident;
use super::plan::{BodyForm, Payload, Plan, PlannedHeader, Success};
use super::source::{Source, doc, doc_text};
use super::types::{Shape, Type, Types};

pub(super) fn emit(plans: &[Plan<'_>], types: &Types<'_>, document: &str) -> Vec<(String, Source)> {
    let mut sections: IndexMap<&str, Vec<&Plan<'_>>> = IndexMap::new();
    for plan in plans {
        sections.entry(&plan.module).or_default().push(plan);
    }
    let mut head = Source::new(
        document,
        "What each operation takes, answers and fails with, one file for each section of the documentation.",
    );
    let modules: Vec<_> = sections.keys().map(|module| ident(module)).collect();
    head.items(quote! { #(mod #modules;)* #(pub use #modules::*;)* });
    let mut files = vec![("mod".to_owned(), head)];
    for (module, plans) in sections {
        let mut source = Source::new(document, &format!("Calls of the section \"{}\".", plans[0].operation.tag));
        source.items(quote! {
            #[cfg(feature = "server")]
            #[allow(unused_imports)]
            use ::trueline_runtime::{
                exchange::{Incoming, proven},
                reject::Rejection,
                reply::{self, Response},
            };
            #[allow(unused_imports)]
            use super::super::{problems, types};
        });
        for plan in plans {
            let call = Call { plan, types };
            source.items(call.request());
            source.items(call.response());
            source.text(&call.error());
        }
        files.push((module.to_owned(), source));
    }
    files
}

struct Call<'a> {
    plan: &'a Plan<'a>,
    types: &'a Types<'a>,
}

impl Call<'_> {
    fn title(&self) -> String {
        format!("`{} {}`", self.plan.operation.method, self.plan.operation.path)
    }

    fn ty(&self, shape: &Shape) -> TokenStream {
        field_type(self.types, shape)
    }

    fn request(&self) -> TokenStream {
        let plan = self.plan;
        let name = ident(&format!("{}Request", plan.name));
        let title = doc(&format!("What {} takes, already validated.", self.title()));
        let mut fields = Vec::new();
        let mut reads = Vec::new();
        let mut makes = Vec::new();
        for (index, planned) in plan.parameters.iter().enumerate() {
            let (field, ty) = (ident(&planned.rust), self.ty(&planned.shape));
            let docs = doc(&match &planned.parameter.description {
                Some(text) => text.clone(),
                None => format!("The {} parameter `{}`.", planned.parameter.place, planned.parameter.name),
            });
            let index = Literal::usize_unsuffixed(index);
            reads.push(quote! { let #field = reader.parameter(#index); });
            if planned.parameter.required {
                fields.push(quote! { #docs pub #field: #ty });
                makes.push(quote! { #field: proven(#field)? });
            } else if let Some(default) = &planned.default {
                fields.push(quote! { #docs pub #field: #ty });
                makes.push(quote! { #field: #field.unwrap_or_else(|| #default) });
            } else {
                fields.push(quote! { #docs pub #field: Option<#ty> });
                makes.push(quote! { #field });
            }
        }
        let mut parts = quote!();
        let mut comparable = true;
        if let Some(planned) = &plan.body {
            let (ty, read) = match &planned.form {
                BodyForm::Json(shape) => (self.ty(shape), quote! { reader.json().await? }),
                BodyForm::Form(shape, _) => (self.ty(shape), quote! { reader.form().await? }),
                BodyForm::Text => (quote! { String }, quote! { reader.text().await? }),
                BodyForm::Bytes => (quote! { ::bytes::Bytes }, quote! { reader.octets().await? }),
                BodyForm::Multipart(_) => {
                    comparable = false;
                    let body = ident(&format!("{}Body", plan.name));
                    parts = self.multipart();
                    (quote! { #body }, quote! { reader.multipart().await? })
                }
            };
            let docs = doc(planned.body.description.as_deref().unwrap_or("The body."));
            reads.push(quote! { let body = #read; });
            let (ty, make) = match (&planned.form, planned.body.required) {
                (BodyForm::Multipart(_), true) => {
                    let body = ident(&format!("{}Body", plan.name));
                    (ty, quote! { #body::read(proven(body)?)? })
                }
                (BodyForm::Multipart(_), false) => {
                    let body = ident(&format!("{}Body", plan.name));
                    (quote! { Option<#ty> }, quote! { body.map(#body::read).transpose()? })
                }
                (_, true) => (ty, quote! { proven(body)? }),
                (_, false) => (quote! { Option<#ty> }, quote! { body }),
            };
            fields.push(quote! { #docs pub body: #ty });
            makes.push(quote! { body: #make });
        }
        let derive_eq = comparable.then(|| quote! { , PartialEq });
        let empty = fields.is_empty().then(|| quote! { , Default });
        let reading = match fields.is_empty() {
            true => quote! {
                pub(crate) async fn read(_: &mut Incoming) -> Result<Self, Rejection> {
                    Ok(Self {})
                }
            },
            false => {
                let awaits = plan.body.is_some();
                let unused = (!awaits).then(|| quote! { #[allow(clippy::unused_async)] });
                quote! {
                    #unused
                    pub(crate) async fn read(incoming: &mut Incoming) -> Result<Self, Rejection> {
                        let mut reader = incoming.reader();
                        #(#reads)*
                        reader.finish()?;
                        Ok(Self { #(#makes,)* })
                    }
                }
            }
        };
        quote! {
            #title
            #[derive(Debug, Clone #derive_eq #empty)]
            pub struct #name { #(#fields,)* }
            #[cfg(feature = "server")]
            impl #name { #reading }
            #parts
        }
    }

    fn multipart(&self) -> TokenStream {
        let Some(BodyForm::Multipart(parts)) = self.plan.body.as_ref().map(|body| &body.form) else { return quote!() };
        let name = ident(&format!("{}Body", self.plan.name));
        let title = doc(&format!("The form that {} takes.", self.title()));
        let mut fields = Vec::new();
        let mut makes = Vec::new();
        for part in parts {
            let (field, wire) = (ident(&part.rust), &part.name);
            let docs = match part.doc.is_empty() {
                true => doc(&format!("The part `{wire}`.")),
                false => doc(&part.doc),
            };
            let upload = quote! { ::trueline_runtime::multipart::Upload };
            let (ty, make) = match (&part.field, part.repeated, part.required) {
                (None, true, _) => (quote! { Vec<#upload> }, quote! { form.files(#wire) }),
                (None, false, true) => (upload, quote! { proven(form.file(#wire))? }),
                (None, false, false) => (quote! { Option<#upload> }, quote! { form.file(#wire) }),
                (Some((shape, _)), _, true) => (self.ty(shape), quote! { proven(form.field(#wire))? }),
                (Some((shape, _)), _, false) => {
                    let ty = self.ty(shape);
                    (quote! { Option<#ty> }, quote! { form.field(#wire) })
                }
            };
            fields.push(quote! { #docs pub #field: #ty });
            makes.push(quote! { #field: #make });
        }
        quote! {
            #title
            #[derive(Debug, Clone)]
            pub struct #name { #(#fields,)* }
            #[cfg(feature = "server")]
            impl #name {
                fn read(mut form: ::trueline_runtime::multipart::Form) -> Result<Self, Rejection> {
                    Ok(Self { #(#makes,)* })
                }
            }
        }
    }

    fn response(&self) -> TokenStream {
        let plan = self.plan;
        let name = ident(&format!("{}Response", plan.name));
        let title = doc(&format!("How {} answers when all is well.", self.title()));
        let streams = plan.successes.iter().any(|success| matches!(success.payload, Payload::Events(_)));
        let derives = match streams {
            true => quote! { #[derive(Debug)] },
            false => quote! { #[derive(Debug, Clone, PartialEq)] },
        };
        let mut variants = Vec::new();
        let mut structs = Vec::new();
        let mut arms = Vec::new();
        for success in &plan.successes {
            let variant = ident(&success.variant);
            let docs = doc(&format!("{}: {}", success.status, success.response.description));
            let payload = self.payload(success);
            if success.headers.is_empty() {
                match payload {
                    None => {
                        variants.push(quote! { #docs #variant });
                        let write = self.write(success, &quote!());
                        arms.push(quote! { Self::#variant => #write });
                    }
                    Some(ty) => {
                        variants.push(quote! { #docs #variant(#ty) });
                        let write = self.write(success, &quote! { body });
                        arms.push(quote! { Self::#variant(body) => #write });
                    }
                }
                continue;
            }
            let inner = ident(&format!("{}{}", plan.name, success.variant));
            variants.push(quote! { #docs #variant(#inner) });
            let body = payload.as_ref().map(|ty| quote! { /** The body. */ pub body: #ty, });
            let fields = success.headers.iter().map(|header| {
                let (field, ty) = (ident(&header.rust), header_type(header));
                let text = match header.doc.is_empty() {
                    true => format!("The header `{}`.", header.wire),
                    false => format!("The header `{}`: {}", header.wire, header.doc),
                };
                let docs = doc(&text);
                quote! { #docs pub #field: #ty }
            });
            let text = doc(&format!("{} of {}, with its headers.", success.status, self.title()));
            structs.push(quote! {
                #text
                #derives
                pub struct #inner { #body #(#fields,)* }
            });
            let receive = receive(&inner, success);
            structs.push(receive);
            let writes = success.headers.iter().map(|header| {
                let (field, wire) = (ident(&header.rust), &header.wire);
                match header.required {
                    true => quote! { reply::header(&mut response, #wire, answer.#field.into()); },
                    false => quote! {
                        if let Some(value) = answer.#field {
                            reply::header(&mut response, #wire, value.into());
                        }
                    },
                }
            });
            let write = self.write(success, &quote! { answer.body });
            arms.push(quote! {
                Self::#variant(answer) => {
                    let mut response = #write;
                    #(#writes)*
                    response
                }
            });
        }
        let statuses = plan.successes.iter().map(|success| Literal::u16_unsuffixed(success.status));
        quote! {
            #title
            #derives
            #[must_use]
            pub enum #name { #(#variants,)* }
            impl #name {
                /// The statuses that it can have.
                pub const STATUSES: &'static [u16] = &[#(#statuses),*];
            }
            #[cfg(feature = "server")]
            impl #name {
                pub(crate) fn into_response(self) -> Response {
                    match self { #(#arms,)* }
                }
            }
            #(#structs)*
        }
    }

    fn payload(&self, success: &Success<'_>) -> Option<TokenStream> {
        Some(match &success.payload {
            Payload::Empty => return None,
            Payload::Json(shape) => self.ty(shape),
            Payload::Text => quote! { String },
            Payload::Bytes => quote! { ::bytes::Bytes },
            Payload::Events(shape) => {
                let ty = self.ty(shape);
                quote! { ::trueline_runtime::sse::Events<#ty> }
            }
        })
    }

    fn write(&self, success: &Success<'_>, body: &TokenStream) -> TokenStream {
        let status = Literal::u16_unsuffixed(success.status);
        let media_type = success.media_type.as_deref().unwrap_or_default();
        match &success.payload {
            Payload::Empty => quote! { reply::empty(#status) },
            Payload::Json(_) if media_type == "application/json" => quote! { reply::json(#status, &#body) },
            Payload::Json(_) => quote! { reply::json_as(#status, #media_type, &#body) },
            Payload::Text => quote! { reply::text(#status, #media_type, #body) },
            Payload::Bytes => quote! { reply::bytes(#status, #media_type, #body) },
            Payload::Events(_) => quote! { ::trueline_runtime::sse::response(#status, #body) },
        }
    }

    /// The failures, as a call of the runtime's macro: prettyplease does not format what is inside of one.
    fn error(&self) -> String {
        let plan = self.plan;
        let mut text = String::from("::trueline_runtime::failures! {\n");
        text.push_str(&doc_text(&format!("How {} fails: only what the contract lists for it.", self.title()), "    "));
        text.push_str(&format!("    pub enum {}Error {{\n", plan.name));
        for (variant, about) in &plan.failures {
            text.push_str(&doc_text(about, "        "));
            text.push_str(&format!("        {variant},\n"));
        }
        text.push_str("    }\n}\n");
        text
    }
}

/// How a client reads an answer with headers.
fn receive(name: &proc_macro2::Ident, success: &Success<'_>) -> TokenStream {
    let body = match &success.payload {
        Payload::Empty => quote!(),
        Payload::Json(_) => quote! { body: received.json()?, },
        Payload::Text => quote! { body: received.text()?, },
        Payload::Bytes => quote! { body: received.bytes(), },
        Payload::Events(_) => quote! { body: received.events(), },
    };
    let headers = success.headers.iter().map(|header| {
        let (field, wire) = (ident(&header.rust), &header.wire);
        match header.required {
            true => quote! { #field: received.header(#wire)? },
            false => quote! { #field: received.optional_header(#wire)? },
        }
    });
    quote! {
        #[cfg(feature = "client")]
        impl #name {
            pub(crate) fn receive(received: &mut ::trueline_runtime::client::Received) -> Result<Self, String> {
                Ok(Self { #body #(#headers,)* })
            }
        }
    }
}

/// A value's type outside of the types' own modules.
pub(super) fn field_type(types: &Types<'_>, shape: &Shape) -> TokenStream {
    let ty = match shape.ty {
        Type::Moment => quote! { ::trueline_runtime::Timestamp },
        _ => types.nested(&shape.ty, &quote! { types:: }),
    };
    if shape.nullable {
        quote! { Option<#ty> }
    } else {
        ty
    }
}

fn header_type(header: &PlannedHeader) -> TokenStream {
    let ty = match header.ty {
        Type::I64 => quote! { i64 },
        Type::Boolean => quote! { bool },
        _ => quote! { ::trueline_runtime::HeaderText },
    };
    if header.required {
        ty
    } else {
        quote! { Option<#ty> }
    }
}
