//! Types: from JSON Schema to Rust, once for server and client.
//!
//! A schema says what a value must be; a Rust type says how it is held. Constraints (`minLength`, `pattern`, …) stay
//! with the validator; what is made here is the shape. A shape that has no faithful Rust form is a problem, never an
//! approximation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use indexmap::IndexMap;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::{Map, Value};
use trueline_spec::contract::{Contract, is_annotation};
use trueline_spec::document::Location;

use super::names::{self, Names, ident};
use super::sink::{Sink, below};
use super::source::{Source, doc, doc_text, remark};

/// How a value is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// Any text.
    String,
    /// `format: uuid`.
    Uuid,
    /// `format: date-time`.
    Moment,
    /// `format: date`.
    Date,
    /// True or false.
    Boolean,
    /// `format: int32`.
    I32,
    /// Any other integer.
    I64,
    /// Any number.
    F64,
    /// Any value at all.
    Json,
    /// Any object.
    Object,
    /// A list.
    Array(Box<Type>),
    /// A list that may hold null.
    Sparse(Box<Type>),
    /// Names to values.
    Map(Box<Type>),
    /// A type of the contract.
    Named(String),
}

/// A type and whether null stands beside its values.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) ty: Type,
    pub(super) nullable: bool,
}

impl Shape {
    fn of(ty: Type) -> Self {
        Shape { ty, nullable: false }
    }
}

#[derive(Debug)]
enum Item {
    Struct(Struct),
    Enum(Enum),
    Union(Union),
    Alias { doc: String, shape: Shape },
}

#[derive(Debug)]
struct Struct {
    doc: String,
    fields: Vec<Field>,
    /// A property of one value, which the type writes by itself.
    tag: Option<(String, String)>,
    /// `additionalProperties: false`.
    closed: bool,
    /// What the other properties are.
    additional: Option<Type>,
}

#[derive(Debug)]
struct Field {
    wire: String,
    rust: String,
    doc: String,
    shape: Shape,
    required: bool,
    read_only: bool,
    write_only: bool,
    secret: bool,
    default: Option<Value>,
}

#[derive(Debug)]
struct Enum {
    doc: String,
    /// Rust name and wire text.
    variants: Vec<(String, String)>,
}

#[derive(Debug)]
struct Union {
    doc: String,
    /// The property that tells the variants apart; absent when their JSON types do.
    tag: Option<String>,
    variants: Vec<Variant>,
}

#[derive(Debug)]
struct Variant {
    rust: String,
    values: Vec<String>,
    ty: Type,
}

/// All types of a contract.
#[derive(Debug)]
pub(super) struct Types<'a> {
    contract: &'a Contract,
    sink: &'a Sink,
    names: Names,
    /// By Rust name.
    items: IndexMap<String, Item>,
    /// What a named schema has become.
    components: HashMap<String, Shape>,
    /// Named schemas that are being made.
    open: Vec<String>,
    /// Named schemas whose tag property is written by the type: property and value.
    tags: HashMap<String, (String, String)>,
}

/// An object's properties, those of `allOf` included.
#[derive(Default)]
struct Properties {
    list: IndexMap<String, (Value, Location)>,
    required: BTreeSet<String>,
    additional: Option<(Value, Location)>,
    doc: Option<String>,
}

impl<'a> Types<'a> {
    pub(super) fn new(contract: &'a Contract, sink: &'a Sink) -> Self {
        let mut types = Types {
            contract,
            sink,
            names: Names::default(),
            items: IndexMap::new(),
            components: HashMap::new(),
            open: Vec::new(),
            tags: HashMap::new(),
        };
        types.tags = types.find_tags();
        types
    }

    /// The type of a schema; `hint` names it if it needs a name and has none.
    pub(super) fn shape(&mut self, schema: &Value, at: &Location, hint: &str) -> Shape {
        let Value::Object(map) = schema else {
            if schema == &Value::Bool(false) {
                self.sink.refuse(at, "no value is valid here, so there is no type for it");
            }
            return Shape::of(Type::Json);
        };
        for keyword in ["$dynamicRef", "$recursiveRef", "prefixItems"] {
            if map.contains_key(keyword) {
                self.sink.refuse(at, format!("`{keyword}` has no Rust form here"));
                return Shape::of(Type::Json);
            }
        }
        if let Some(target) = reference(map) {
            if !map.keys().any(|key| shapes(key)) {
                return self.component(target, at);
            }
            // A reference beside other shapes is one part of an `allOf` (JSON Schema 2020-12 section 8.2.3.1).
            let mut rest = map.clone();
            let target = rest.remove("$ref").unwrap_or_default();
            let parts = serde_json::json!({"allOf": [{"$ref": target}, rest]});
            return self.shape(&parts, at, hint);
        }
        if let Some((inner, nullable)) = without_null(map) {
            let mut shape = self.shape(&inner, at, hint);
            shape.nullable |= nullable;
            return shape;
        }
        if let Some(parts) = map.get("allOf").and_then(Value::as_array) {
            return self.all_of(map, parts, at, hint);
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(variants) = map.get(keyword).and_then(Value::as_array)
                && variants.iter().any(|variant| {
                    // Alternatives that only say what is required are the validator's business, not the type's.
                    let telling = |key: &String| shapes(key) && key != "required" || key == "$ref";
                    variant.as_object().is_some_and(|variant| variant.keys().any(telling))
                })
            {
                return self.union(map, keyword, variants, at, hint);
            }
        }
        if let Some(values) = single_or_many(map) {
            return self.values(map, &values, at, hint);
        }
        self.plain(map, at, hint)
    }

    /// The same, made once for a name however often it is asked for.
    pub(super) fn once(&mut self, schema: &Value, at: &Location, name: &str) -> Shape {
        match self.items.contains_key(name) {
            true => Shape::of(Type::Named(name.to_owned())),
            false => self.shape(schema, at, name),
        }
    }

    fn plain(&mut self, map: &Map<String, Value>, at: &Location, hint: &str) -> Shape {
        let format = map.get("format").and_then(Value::as_str);
        let kind = match map.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => {
                let variants: Vec<Value> = kinds
                    .iter()
                    .map(|kind| {
                        let mut variant = map.clone();
                        variant.insert("type".into(), kind.clone());
                        Value::Object(variant)
                    })
                    .collect();
                return self.union(map, "type", &variants, at, hint);
            }
            // Without a type, the keywords tell what is meant.
            _ if map.contains_key("properties") || map.contains_key("additionalProperties") => "object",
            _ if map.contains_key("items") => "array",
            _ => return Shape::of(Type::Json),
        };
        Shape::of(match (kind, format) {
            ("string", Some("uuid")) => Type::Uuid,
            ("string", Some("date-time")) => Type::Moment,
            ("string", Some("date")) => Type::Date,
            ("string", _) => Type::String,
            ("integer", Some("int32" | "int16" | "int8" | "uint8" | "uint16")) => Type::I32,
            ("integer", Some("uint64")) => {
                self.sink.refuse_with_help(
                    at,
                    "64 bits without a sign have no JSON form that all parties share",
                    "use int64, or a string",
                );
                Type::I64
            }
            ("integer", _) => Type::I64,
            ("number", _) => Type::F64,
            ("boolean", _) => Type::Boolean,
            ("array", _) => {
                let any = Value::Bool(true);
                let inner = self.shape(map.get("items").unwrap_or(&any), &below(at, "items"), &format!("{hint}Item"));
                match inner.nullable {
                    true => Type::Sparse(Box::new(inner.ty)),
                    false => Type::Array(Box::new(inner.ty)),
                }
            }
            ("object", _) => return self.object(&Value::Object(map.clone()), at, hint),
            (other, _) => {
                self.sink.refuse(at, format!("the type `{other}` has no Rust form"));
                Type::Json
            }
        })
    }

    fn component(&mut self, key: &str, from: &Location) -> Shape {
        if let Some(shape) = self.components.get(key) {
            return shape.clone();
        }
        let Some(schema) = self.contract.schemas.get(key) else {
            self.sink.refuse(from, format!("there is no schema `{key}`"));
            return Shape::of(Type::Json);
        };
        let name = names::type_name(key);
        if self.open.iter().any(|open| open == key) {
            return Shape::of(Type::Named(name));
        }
        if let Err((other, _)) = self.names.take(&name, key, &schema.at) {
            let title = match other == key {
                true => format!("the type made for another schema is `{name}` already"),
                false => format!("the schemas `{other}` and `{key}` are both `{name}` in Rust"),
            };
            self.sink.refuse(&schema.at, title);
            return Shape::of(Type::Json);
        }
        self.open.push(key.to_owned());
        let shape = self.shape(&schema.value, &schema.at, &name);
        self.open.pop();
        let shape = match &shape.ty {
            Type::Named(own) if *own == name => shape,
            _ => {
                if mentions(&shape.ty, &name) {
                    self.sink.refuse_with_help(
                        &schema.at,
                        format!("`{key}` is made of itself without an object between"),
                        "give it an object with properties",
                    );
                }
                let alias = Shape { ty: shape.ty, nullable: false };
                let doc = description(&schema.value);
                self.items.insert(name.clone(), Item::Alias { doc, shape: alias });
                Shape { ty: Type::Named(name), nullable: shape.nullable }
            }
        };
        self.components.insert(key.to_owned(), shape.clone());
        shape
    }

    /// Takes a name for a type that has none in the document.
    fn take(&mut self, hint: &str, at: &Location) -> String {
        // A named schema has taken its name before its shape was asked for.
        if self.open.last().is_some_and(|key| names::type_name(key) == hint) && !self.items.contains_key(hint) {
            return hint.to_owned();
        }
        if let Err((other, _)) = self.names.take(hint, hint, at) {
            self.sink.refuse_with_help(
                at,
                format!("the type made for this schema would be `{hint}`, which `{other}` is already"),
                "name one of them in components",
            );
        }
        hint.to_owned()
    }

    fn all_of(&mut self, map: &Map<String, Value>, parts: &[Value], at: &Location, hint: &str) -> Shape {
        let telling: Vec<(usize, &Value)> = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| {
                part.as_object().is_some_and(|part| part.keys().any(|key| shapes(key) || key == "$ref"))
            })
            .collect();
        let own = map.keys().any(|key| key != "allOf" && shapes(key));
        match telling.as_slice() {
            [] if !own => Shape::of(Type::Json),
            [(index, only)] if !own => self.shape(only, &below(&below(at, "allOf"), &index.to_string()), hint),
            _ => self.object(&Value::Object(map.clone()), at, hint),
        }
    }

    fn object(&mut self, schema: &Value, at: &Location, hint: &str) -> Shape {
        let mut properties = Properties::default();
        if !self.gather(schema, at, &mut properties, 0) {
            return Shape::of(Type::Json);
        }
        if properties.list.is_empty() {
            match &properties.additional {
                None | Some((Value::Bool(true), _)) => return Shape::of(Type::Object),
                Some((Value::Bool(false), _)) => {}
                Some((others, at)) => {
                    let (others, at) = (others.clone(), at.clone());
                    let inner = self.shape(&others, &at, &format!("{hint}Value"));
                    let ty = if inner.nullable { Type::Json } else { inner.ty };
                    return Shape::of(Type::Map(Box::new(ty)));
                }
            }
        }
        let name = self.take(hint, at);
        let closed = matches!(&properties.additional, Some((Value::Bool(false), _)));
        let key = self.open.last().cloned();
        let tag = key
            .filter(|key| names::type_name(key) == name)
            .and_then(|key| self.tags.get(&key).cloned())
            .filter(|(property, _)| !closed && properties.list.contains_key(property));
        let additional = match properties.additional.clone() {
            Some((others @ Value::Object(_), at)) => Some(self.shape(&others, &at, &format!("{name}Value")).ty),
            _ => None,
        };
        let mut taken = Names::default();
        let mut fields = Vec::new();
        for (wire, (schema, at)) in &properties.list {
            if tag.as_ref().is_some_and(|(property, _)| property == wire) {
                continue;
            }
            let rust = names::snake(wire);
            if let Err((other, _)) = taken.take(&rust, wire, at) {
                self.sink.refuse(at, format!("the properties `{other}` and `{wire}` are both `{rust}` in Rust"));
                continue;
            }
            let shape = self.shape(schema, at, &format!("{name}{}", names::pascal(wire)));
            let default = self.default(schema, &shape, at);
            fields.push(Field {
                wire: wire.clone(),
                rust,
                doc: description(schema),
                required: properties.required.contains(wire),
                read_only: self.says(schema, "readOnly"),
                write_only: self.says(schema, "writeOnly"),
                secret: self.is_secret(schema),
                default,
                shape,
            });
        }
        let item = Struct { doc: properties.doc.unwrap_or_default(), fields, tag, closed, additional };
        self.items.insert(name.clone(), Item::Struct(item));
        Shape::of(Type::Named(name))
    }

    /// Adds the properties of an object schema and of everything it is composed of.
    fn gather(&self, schema: &Value, at: &Location, out: &mut Properties, depth: usize) -> bool {
        let Value::Object(map) = schema else {
            self.sink.refuse(at, "a boolean schema cannot be part of an object");
            return false;
        };
        if depth > 32 {
            self.sink.refuse(at, "an `allOf` that contains itself has no Rust form");
            return false;
        }
        if depth == 0 {
            out.doc = map.get("description").and_then(Value::as_str).map(str::to_owned);
        }
        if let Some(target) = reference(map) {
            let Some(target) = self.contract.schemas.get(target) else {
                self.sink.refuse(at, format!("there is no schema `{target}`"));
                return false;
            };
            if !self.gather(&target.value, &target.at, out, depth + 1) {
                return false;
            }
        }
        let kind = map.get("type").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != "object") {
            self.sink.refuse(at, "an `allOf` of different types has no Rust form");
            return false;
        }
        for keyword in ["oneOf", "anyOf", "patternProperties"] {
            let telling = |value: &Value| match value {
                Value::Array(parts) => parts.iter().any(|part| {
                    part.as_object()
                        .is_some_and(|part| part.keys().any(|key| shapes(key) && key != "required" || key == "$ref"))
                }),
                _ => true,
            };
            if map.get(keyword).is_some_and(telling) {
                self.sink.refuse(&below(at, keyword), format!("`{keyword}` beside properties has no Rust form"));
                return false;
            }
        }
        if let Some(parts) = map.get("allOf").and_then(Value::as_array) {
            for (index, part) in parts.iter().enumerate() {
                if !self.gather(part, &below(&below(at, "allOf"), &index.to_string()), out, depth + 1) {
                    return false;
                }
            }
        }
        if let Some(required) = map.get("required").and_then(Value::as_array) {
            out.required.extend(required.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        if let Some(additional) = map.get("additionalProperties") {
            out.additional = Some((additional.clone(), below(at, "additionalProperties")));
        }
        for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let at = below(&below(at, "properties"), name);
            match out.list.get_mut(name) {
                Some((other, place)) if told(other) != told(schema) => {
                    // One part may say only what it adds to the other's words.
                    if says_nothing(other) {
                        (*other, *place) = (schema.clone(), at);
                    } else if !says_nothing(schema) {
                        self.sink.refuse(&at, format!("the parts of this `allOf` disagree about `{name}`"));
                        return false;
                    }
                }
                Some(_) => {}
                None => {
                    out.list.insert(name.clone(), (schema.clone(), at));
                }
            }
        }
        true
    }

    fn values(&mut self, map: &Map<String, Value>, values: &[Value], at: &Location, hint: &str) -> Shape {
        let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
        let Some(texts) = texts else {
            let ty = match () {
                () if values.iter().all(Value::is_i64) => Type::I64,
                () if values.iter().all(Value::is_number) => Type::F64,
                () if values.iter().all(Value::is_boolean) => Type::Boolean,
                () => {
                    self.sink.refuse(at, "an `enum` of different types has no Rust form");
                    Type::Json
                }
            };
            return Shape::of(ty);
        };
        let name = self.take(hint, at);
        let mut taken = Names::default();
        let mut variants = Vec::new();
        for text in texts {
            let rust = names::pascal(text);
            match taken.take(&rust, text, at) {
                Ok(()) => variants.push((rust, text.to_owned())),
                Err((other, _)) => {
                    self.sink.refuse(at, format!("the values `{other}` and `{text}` are both `{rust}` in Rust"));
                }
            }
        }
        let doc = map.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.items.insert(name.clone(), Item::Enum(Enum { doc, variants }));
        Shape::of(Type::Named(name))
    }

    fn union(
        &mut self,
        map: &Map<String, Value>,
        keyword: &str,
        variants: &[Value],
        at: &Location,
        hint: &str,
    ) -> Shape {
        let place = |index: usize| match keyword {
            "type" => at.clone(),
            keyword => below(&below(at, keyword), &index.to_string()),
        };
        if keyword != "type" && map.keys().any(|key| shapes(key) && key != keyword && key != "type") {
            self.sink.refuse(at, format!("`{keyword}` beside other shapes has no Rust form"));
            return Shape::of(Type::Json);
        }
        let tag = self.tag_of(map, variants);
        let name = self.take(hint, at);
        let mut taken = Names::default();
        let mut made = Vec::new();
        let mut kinds: Vec<&'static str> = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            let at = place(index);
            let target = variant.as_object().and_then(reference).map(str::to_owned);
            let values = match &tag {
                Some((property, explicit)) => {
                    match self.tag_values(map, variant, target.as_deref(), property, *explicit) {
                        values if values.is_empty() => {
                            self.sink.refuse(&at, format!("no value of the discriminator `{property}` leads here"));
                            continue;
                        }
                        values => values,
                    }
                }
                None => Vec::new(),
            };
            let rust = match (values.first(), &target) {
                (Some(value), _) => names::pascal(value),
                (None, Some(target)) => names::pascal(target),
                (None, None) => {
                    let kind = variant.get("type").and_then(Value::as_str).unwrap_or("value");
                    names::pascal(variant.get("title").and_then(Value::as_str).unwrap_or(kind))
                }
            };
            if let Err((other, _)) = taken.take(&rust, &rust, &at) {
                self.sink.refuse(&at, format!("two variants would both be `{other}` in Rust"));
                continue;
            }
            let shape = self.shape(variant, &at, &format!("{name}{rust}"));
            if shape.nullable {
                self.sink.refuse(&at, "a variant that may be null has no Rust form; let the whole be null");
            }
            if tag.is_none() {
                let kind = self.json_kind(&shape.ty);
                if kind == "any" || kinds.iter().any(|other| *other == kind || is_numeric(other) && is_numeric(kind)) {
                    self.sink.refuse_with_help(
                        &at,
                        "the alternatives cannot be told apart",
                        "give them a discriminator, or a required property with one value each",
                    );
                    return Shape::of(Type::Json);
                }
                kinds.push(kind);
            }
            made.push(Variant { rust, values, ty: shape.ty });
        }
        let doc = map.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let tag = tag.map(|(property, _)| property);
        self.items.insert(name.clone(), Item::Union(Union { doc, tag, variants: made }));
        Shape::of(Type::Named(name))
    }

    /// The property that tells variants apart, and whether the document says so itself.
    fn tag_of(&self, map: &Map<String, Value>, variants: &[Value]) -> Option<(String, bool)> {
        if let Some(property) = map.get("discriminator").and_then(|value| value.get("propertyName")?.as_str()) {
            return Some((property.to_owned(), true));
        }
        let first = self.single_values(variants.first()?);
        first.into_keys().find_map(|property| {
            let values: Option<Vec<String>> =
                variants.iter().map(|variant| self.single_values(variant).remove(&property)).collect();
            let values = values?;
            let distinct: HashSet<&String> = values.iter().collect();
            (distinct.len() == values.len()).then_some((property, false))
        })
    }

    /// The required properties of an object schema that have one text as their only value.
    fn single_values(&self, schema: &Value) -> BTreeMap<String, String> {
        let quiet = Sink::default();
        let mut properties = Properties::default();
        let looker = Types {
            contract: self.contract,
            sink: &quiet,
            names: Names::default(),
            items: IndexMap::new(),
            components: HashMap::new(),
            open: Vec::new(),
            tags: HashMap::new(),
        };
        let nowhere = Location { file: 0, pointer: "".into() };
        let is_object = schema
            .as_object()
            .is_some_and(|map| map.contains_key("$ref") || map.contains_key("allOf") || map.contains_key("properties"));
        if !is_object || !looker.gather(schema, &nowhere, &mut properties, 0) {
            return BTreeMap::new();
        }
        let required = &properties.required;
        let one = |(name, (schema, _)): (&String, &(Value, Location))| {
            let values = single_or_many(looker.follow(schema)?)?;
            match values.as_slice() {
                [Value::String(value)] if required.contains(name) => Some((name.clone(), value.clone())),
                _ => None,
            }
        };
        properties.list.iter().filter_map(one).collect()
    }

    fn follow<'s>(&'s self, schema: &'s Value) -> Option<&'s Map<String, Value>> {
        let mut map = schema.as_object()?;
        for _ in 0..16 {
            match reference(map) {
                Some(target) => map = self.contract.schemas.get(target)?.value.as_object()?,
                None => return Some(map),
            }
        }
        None
    }

    /// The values of the tag that lead to a variant.
    fn tag_values(
        &self,
        map: &Map<String, Value>,
        variant: &Value,
        target: Option<&str>,
        tag: &str,
        explicit: bool,
    ) -> Vec<String> {
        if !explicit {
            return self.single_values(variant).remove(tag).into_iter().collect();
        }
        let mapping = map.get("discriminator").and_then(|value| value.get("mapping")?.as_object());
        let mapped: Vec<String> = mapping
            .into_iter()
            .flatten()
            .filter(|(_, to)| {
                let to = to.as_str().map(|to| to.strip_prefix("#/$defs/").unwrap_or(to));
                target.is_some() && to == target
            })
            .map(|(value, _)| value.clone())
            .collect();
        match (mapped.is_empty(), self.single_values(variant).remove(tag), target) {
            (false, ..) => mapped,
            (true, Some(value), _) => vec![value],
            // OpenAPI 3.1, "Discriminator Object": without a mapping the schema's name is the value.
            (true, None, Some(target)) => vec![target.to_owned()],
            (true, None, None) => Vec::new(),
        }
    }

    /// Finds the named schemas that are variants of a tagged union and say their tag themselves.
    fn find_tags(&self) -> HashMap<String, (String, String)> {
        let mut tags: HashMap<String, (String, String)> = HashMap::new();
        let mut torn = HashSet::new();
        let mut visit = |map: &Map<String, Value>| {
            for keyword in ["oneOf", "anyOf"] {
                let Some(variants) = map.get(keyword).and_then(Value::as_array) else { continue };
                let Some((property, _)) = self.tag_of(map, variants) else { continue };
                for variant in variants {
                    let Some(target) = variant.as_object().and_then(reference) else { continue };
                    let Some(value) = self.single_values(variant).remove(&property) else { continue };
                    let tag = (property.clone(), value);
                    if tags.get(target).is_some_and(|other| *other != tag) {
                        torn.insert(target.to_owned());
                    }
                    tags.insert(target.to_owned(), tag);
                }
            }
        };
        for schema in self.contract.schemas.values() {
            walk(&schema.value, &mut visit);
        }
        for operation in &self.contract.operations {
            let bodies = operation.body.iter().flat_map(|body| &body.media);
            let answers = operation.responses.iter().flat_map(|response| &response.media);
            for media in bodies.chain(answers) {
                for schema in media.schema.iter().chain(&media.item_schema) {
                    walk(&schema.value, &mut visit);
                }
            }
        }
        tags.retain(|key, _| !torn.contains(key));
        tags
    }

    fn says(&self, schema: &Value, keyword: &str) -> bool {
        schema.get(keyword) == Some(&Value::Bool(true))
            || self.follow(schema).is_some_and(|map| map.get(keyword) == Some(&Value::Bool(true)))
    }

    /// Whether a property must never be printed.
    fn is_secret(&self, schema: &Value) -> bool {
        let map = self.follow(schema);
        let has = |key: &str| schema.get(key).is_some() || map.is_some_and(|map| map.contains_key(key));
        let text = map.and_then(|map| map.get("type")).is_some_and(|kind| kind == "string");
        let password = map.and_then(|map| map.get("format")).is_some_and(|format| format == "password");
        has("x-secret") || password || (text && self.says(schema, "writeOnly"))
    }

    fn default(&self, schema: &Value, shape: &Shape, at: &Location) -> Option<Value> {
        let default = schema.get("default").or_else(|| self.follow(schema)?.get("default"))?;
        if default.is_null() {
            return None;
        }
        let fits = match self.plain_type(&shape.ty) {
            Type::String => default.is_string(),
            Type::Boolean => default.is_boolean(),
            Type::I32 => default.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Type::I64 => default.is_i64(),
            Type::F64 => default.is_number(),
            Type::Named(name) => match self.items.get(name) {
                Some(Item::Enum(item)) => {
                    default.as_str().is_some_and(|text| item.variants.iter().any(|(_, wire)| wire == text))
                }
                _ => return None,
            },
            // A list or an object stays absent, and whoever reads it knows what that means.
            _ => return None,
        };
        if !fits {
            self.sink.refuse(&below(at, "default"), "this default is not a value of its schema");
            return None;
        }
        Some(default.clone())
    }

    /// The type behind aliases.
    pub(super) fn plain_type<'s>(&'s self, ty: &'s Type) -> &'s Type {
        let mut ty = ty;
        for _ in 0..16 {
            match ty {
                Type::Named(name) => match self.items.get(name) {
                    Some(Item::Alias { shape, .. }) => ty = &shape.ty,
                    _ => return ty,
                },
                _ => return ty,
            }
        }
        ty
    }

    fn json_kind(&self, ty: &Type) -> &'static str {
        match self.plain_type(ty) {
            Type::String | Type::Uuid | Type::Moment | Type::Date => "string",
            Type::Boolean => "boolean",
            Type::I32 | Type::I64 => "integer",
            Type::F64 => "number",
            Type::Json => "any",
            Type::Object | Type::Map(_) => "object",
            Type::Array(_) | Type::Sparse(_) => "array",
            Type::Named(name) => match self.items.get(name) {
                Some(Item::Enum(_)) => "string",
                Some(Item::Struct(_)) => "object",
                Some(Item::Union(union)) if union.tag.is_some() => "object",
                // Not made yet: it is an object that contains itself.
                None => "object",
                Some(Item::Union(_) | Item::Alias { .. }) => "any",
            },
        }
    }

    /// Every name that a type leads to.
    fn reach(&self, ty: &Type, found: &mut BTreeSet<String>) {
        match ty {
            Type::Array(inner) | Type::Sparse(inner) | Type::Map(inner) => self.reach(inner, found),
            Type::Named(name) => {
                if !found.insert(name.clone()) {
                    return;
                }
                match self.items.get(name) {
                    Some(Item::Struct(item)) => {
                        for field in &item.fields {
                            self.reach(&field.shape.ty, found);
                        }
                        if let Some(additional) = &item.additional {
                            self.reach(additional, found);
                        }
                    }
                    Some(Item::Union(union)) => {
                        for variant in &union.variants {
                            self.reach(&variant.ty, found);
                        }
                    }
                    Some(Item::Alias { shape, .. }) => self.reach(&shape.ty, found),
                    Some(Item::Enum(_)) | None => {}
                }
            }
            _ => {}
        }
    }

    /// Whether a value of `from` holds a value of `to` without a list or map between.
    fn holds(&self, from: &Type, to: &str, seen: &mut HashSet<String>) -> bool {
        let Type::Named(name) = from else { return false };
        if name == to {
            return true;
        }
        if !seen.insert(name.clone()) {
            return false;
        }
        match self.items.get(name) {
            Some(Item::Struct(item)) => item.fields.iter().any(|field| self.holds(&field.shape.ty, to, seen)),
            Some(Item::Union(union)) => union.variants.iter().any(|variant| self.holds(&variant.ty, to, seen)),
            Some(Item::Alias { shape, .. }) => self.holds(&shape.ty, to, seen),
            Some(Item::Enum(_)) | None => false,
        }
    }

    /// The files of the types: `roots` are the types that requests and answers begin with, by the module they belong to.
    pub(super) fn emit(&self, document: &str, roots: &[Root]) -> Vec<(String, Source)> {
        let mut module_of: IndexMap<String, String> = IndexMap::new();
        let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
        for root in roots {
            let mut reached = BTreeSet::new();
            self.reach(&root.ty, &mut reached);
            match root.incoming {
                true => received.extend(reached.iter().cloned()),
                false => sent.extend(reached.iter().cloned()),
            }
            for name in reached {
                module_of.entry(name).or_insert_with(|| root.module.clone());
            }
        }
        let mut modules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, module) in &module_of {
            modules.entry(module).or_default().push(name);
        }
        let mut files = Vec::new();
        let mut head = Source::new(
            document,
            "The values that requests and answers carry, one file for each section of the documentation\nthat uses them first.",
        );
        let idents: Vec<_> = modules.keys().map(|module| ident(module)).collect();
        head.items(quote! { #(mod #idents;)* #(pub use #idents::*;)* });
        files.push(("mod".to_owned(), head));
        for (module, mut names) in modules {
            names.sort_unstable();
            let mut source = Source::new(document, &format!("Types of the section `{module}`."));
            source.items(quote! {
                #[allow(unused_imports)]
                use ::serde::{Deserialize, Serialize};
                #[allow(unused_imports)]
                use super::*;
            });
            for name in names {
                if let Some(item) = self.items.get(name) {
                    self.item(name, item, received.contains(name), sent.contains(name), &mut source);
                }
            }
            files.push((module.to_owned(), source));
        }
        files
    }

    fn item(&self, name: &str, item: &Item, received: bool, sent: bool, source: &mut Source) {
        let tokens = match item {
            Item::Alias { doc: text, shape } => {
                let (name, docs) = (ident(name), doc_or(text, "A value of its own name."));
                let ty = self.nested(&shape.ty, &quote!());
                quote! { #docs pub type #name = #ty; }
            }
            Item::Enum(item) => return emit_enum(name, item, source),
            Item::Union(item) => self.emit_union(name, item),
            Item::Struct(item) => self.emit_struct(name, item, received, sent),
        };
        source.items(tokens);
    }

    fn emit_struct(&self, name: &str, item: &Struct, received: bool, sent: bool) -> TokenStream {
        let rust = ident(name);
        let docs = doc_or(&item.doc, &format!("The schema `{name}`."));
        let tag = item.tag.as_ref().map(|(property, value)| quote! { #[serde(tag = #property, rename = #value)] });
        let closed = item.closed.then(|| quote! { #[serde(deny_unknown_fields)] });
        let rule = Rule::of(item.fields.iter().map(|field| (field.rust.as_str(), field.wire.as_str())), &Rule::FIELDS);
        let rename_all = rule.map(|rule| {
            let name = rule.name;
            quote! { #[serde(rename_all = #name)] }
        });
        let mut fields = Vec::new();
        let mut defaults = Vec::new();
        let mut all_optional = item.additional.is_none();
        for field in &item.fields {
            let field_name = ident(&field.rust);
            let docs = doc_or(&field.doc, &format!("`{}`.", field.wire));
            // What one side never sends cannot be required of a type that both sides use.
            let required = field.required && !(field.read_only && received) && !(field.write_only && sent);
            let boxed = self.holds(&field.shape.ty, name, &mut HashSet::new());
            let inner = self.nested_or_moment(&field.shape.ty);
            let inner = if boxed {
                quote! { Box<#inner> }
            } else {
                inner
            };
            let mut attributes = Vec::new();
            if rule.is_none() && field.rust != field.wire {
                let wire = &field.wire;
                attributes.push(quote! { rename = #wire });
            }
            let moment = matches!(field.shape.ty, Type::Moment);
            let with = |path: &str| {
                let path = format!("::trueline_runtime::value::moment{path}");
                moment.then(|| quote! { with = #path })
            };
            let ty = match (required, field.shape.nullable, &field.default) {
                (true, false, _) => {
                    attributes.extend(with(""));
                    all_optional = false;
                    inner
                }
                (true, true, _) => {
                    attributes.extend(with("::option"));
                    if moment {
                        attributes.push(quote! { default });
                    }
                    quote! { Option<#inner> }
                }
                (false, false, Some(default)) => {
                    let function = format_ident!("default_{}", field.rust);
                    let path = format!("{name}::{function}");
                    attributes.push(quote! { default = #path });
                    let value = self.default_value(&field.shape.ty, default);
                    let docs = remark(&format!("What `{}` is when it is absent.", field.wire));
                    defaults.push(quote! {
                        #docs
                        pub fn #function() -> #inner { #value }
                    });
                    all_optional = false;
                    inner
                }
                (false, false, None) => {
                    attributes.extend(with("::option"));
                    attributes.push(quote! { default });
                    attributes.push(quote! { skip_serializing_if = "Option::is_none" });
                    quote! { Option<#inner> }
                }
                (false, true, _) => {
                    attributes.extend(with("::patch"));
                    attributes.push(quote! { default });
                    attributes.push(quote! { skip_serializing_if = "::trueline_runtime::Patch::is_absent" });
                    quote! { ::trueline_runtime::Patch<#inner> }
                }
            };
            let attributes = (!attributes.is_empty()).then(|| quote! { #[serde(#(#attributes),*)] });
            fields.push(quote! { #docs #attributes pub #field_name: #ty });
        }
        if let Some(additional) = &item.additional {
            let ty = self.nested(additional, &quote!());
            fields.push(quote! {
                /// Every other property.
                #[serde(flatten)]
                pub additional: ::std::collections::BTreeMap<String, #ty>
            });
        }
        let secret = item.fields.iter().any(|field| field.secret);
        let derive_debug = (!secret).then(|| quote! { Debug, });
        let derive_default = all_optional.then(|| quote! { Default, });
        let debug = secret.then(|| {
            let lines = item.fields.iter().map(|field| {
                let (name, text) = (ident(&field.rust), &field.rust);
                match field.secret {
                    true => quote! { .field(#text, &"[secret]") },
                    false => quote! { .field(#text, &self.#name) },
                }
            });
            let open = item.additional.is_some();
            let finish = if open {
                quote! { .finish_non_exhaustive() }
            } else {
                quote! { .finish() }
            };
            quote! {
                impl ::std::fmt::Debug for #rust {
                    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.debug_struct(#name) #(#lines)* #finish
                    }
                }
            }
        });
        let defaults = (!defaults.is_empty()).then(|| quote! { impl #rust { #(#defaults)* } });
        quote! {
            #docs
            #[derive(#derive_debug Clone, #derive_default PartialEq, Serialize, Deserialize)]
            #rename_all
            #tag
            #closed
            pub struct #rust { #(#fields,)* }
            #defaults
            #debug
        }
    }

    /// A default as an expression.
    pub(super) fn default_value(&self, ty: &Type, default: &Value) -> TokenStream {
        match (self.plain_type(ty), default) {
            (Type::String, Value::String(text)) => quote! { #text.to_owned() },
            (Type::Boolean, Value::Bool(truth)) => quote! { #truth },
            (Type::I32, number) => {
                let number = proc_macro2::Literal::i64_unsuffixed(number.as_i64().unwrap_or_default());
                quote! { #number }
            }
            (Type::I64, number) => {
                let number = proc_macro2::Literal::i64_unsuffixed(number.as_i64().unwrap_or_default());
                quote! { #number }
            }
            (Type::F64, number) => {
                let number = proc_macro2::Literal::f64_unsuffixed(number.as_f64().unwrap_or_default());
                quote! { #number }
            }
            (Type::Named(name), Value::String(text)) => {
                let variant = match self.items.get(name) {
                    Some(Item::Enum(item)) => item.variants.iter().find(|(_, wire)| wire == text),
                    _ => None,
                };
                let (name, variant) = (ident(name), ident(variant.map_or("Unknown", |(rust, _)| rust)));
                quote! { #name::#variant }
            }
            _ => quote! { ::std::default::Default::default() },
        }
    }

    /// The same for a parameter, outside the types' own modules.
    pub(super) fn default_for_parameter(&self, schema: &Value, shape: &Shape, at: &Location) -> Option<TokenStream> {
        let default = self.default(schema, shape, at)?;
        let value = self.default_value(&shape.ty, &default);
        Some(match self.plain_type(&shape.ty) {
            Type::Named(_) => quote! { types::#value },
            _ => value,
        })
    }

    fn emit_union(&self, name: &str, item: &Union) -> TokenStream {
        let rust = ident(name);
        let docs = doc_or(&item.doc, &format!("The schema `{name}`: one of several."));
        let variants: Vec<_> = item
            .variants
            .iter()
            .map(|variant| {
                let boxed = self.holds(&variant.ty, name, &mut HashSet::new());
                let inner = self.nested(&variant.ty, &quote!());
                let ty = if boxed {
                    quote! { Box<#inner> }
                } else {
                    inner
                };
                let variant_name = ident(&variant.rust);
                let text = match (&item.tag, variant.values.as_slice()) {
                    (Some(tag), values) => format!(
                        "`{tag}` is {}.",
                        values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
                    ),
                    (None, _) => format!("A JSON {}.", self.json_kind(&variant.ty)),
                };
                let docs = remark(&text);
                quote! { #docs #variant_name(#ty) }
            })
            .collect();
        let froms = item.variants.iter().filter_map(|variant| {
            let Type::Named(inner) = &variant.ty else { return None };
            // Two variants of one type have no conversion of their own.
            let alone = item.variants.iter().filter(|other| other.ty == variant.ty).count() == 1;
            let is_alias = matches!(self.items.get(inner), Some(Item::Alias { .. }));
            let boxed = self.holds(&variant.ty, name, &mut HashSet::new());
            (alone && !is_alias && !boxed).then(|| {
                let (inner, variant) = (ident(inner), ident(&variant.rust));
                quote! {
                    impl From<#inner> for #rust {
                        fn from(value: #inner) -> Self { Self::#variant(value) }
                    }
                }
            })
        });
        let Some(tag) = &item.tag else {
            return quote! {
                #docs
                #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
                #[serde(untagged)]
                pub enum #rust { #(#variants,)* }
                #(#froms)*
            };
        };
        let arms = item.variants.iter().map(|variant| {
            let (values, name) = (&variant.values, ident(&variant.rust));
            quote! { Some(#(#values)|*) => value.read().map(Self::#name) }
        });
        // A variant whose struct does not write the tag itself has it as a field.
        let writes = item.variants.iter().map(|variant| {
            let name = ident(&variant.rust);
            quote! { Self::#name(value) => value.serialize(serializer) }
        });
        quote! {
            #docs
            #[derive(Debug, Clone, PartialEq)]
            pub enum #rust { #(#variants,)* }
            #(#froms)*
            impl Serialize for #rust {
                fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    match self { #(#writes,)* }
                }
            }
            impl<'de> Deserialize<'de> for #rust {
                fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let value = ::trueline_runtime::value::Tagged::read_from(deserializer, #tag)?;
                    match value.tag() {
                        #(#arms,)*
                        _ => Err(value.unknown()),
                    }
                }
            }
        }
    }

    /// A type where a moment can be a bare `DateTime<Utc>`, because its field says how it is written.
    fn nested_or_moment(&self, ty: &Type) -> TokenStream {
        match ty {
            Type::Moment => quote! { ::chrono::DateTime<::chrono::Utc> },
            other => self.nested(other, &quote!()),
        }
    }

    /// A type in any other place; `prefix` stands before the contract's own names.
    pub(super) fn nested(&self, ty: &Type, prefix: &TokenStream) -> TokenStream {
        match ty {
            Type::String => quote! { String },
            Type::Uuid => quote! { ::uuid::Uuid },
            Type::Moment => quote! { ::trueline_runtime::Timestamp },
            Type::Date => quote! { ::chrono::NaiveDate },
            Type::Boolean => quote! { bool },
            Type::I32 => quote! { i32 },
            Type::I64 => quote! { i64 },
            Type::F64 => quote! { f64 },
            Type::Json => quote! { ::serde_json::Value },
            Type::Object => quote! { ::serde_json::Map<String, ::serde_json::Value> },
            Type::Array(inner) => {
                let inner = self.nested(inner, prefix);
                quote! { Vec<#inner> }
            }
            Type::Sparse(inner) => {
                let inner = self.nested(inner, prefix);
                quote! { Vec<Option<#inner>> }
            }
            Type::Map(inner) => {
                let inner = self.nested(inner, prefix);
                quote! { ::std::collections::BTreeMap<String, #inner> }
            }
            Type::Named(name) => {
                let name = ident(name);
                quote! { #prefix #name }
            }
        }
    }
}

/// A type that a request or an answer begins with.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) ty: Type,
    pub(super) module: String,
    /// Towards the server.
    pub(super) incoming: bool,
}

/// A text enum, as a call of the runtime's macro.
fn emit_enum(name: &str, item: &Enum, source: &mut Source) {
    let about = match item.doc.trim() {
        "" => format!("    /// The values of `{name}`.\n"),
        about => doc_text(about, "    "),
    };
    let mut text = format!("::trueline_runtime::texts! {{\n{about}    pub enum {name} {{\n");
    for (rust, wire) in &item.variants {
        text.push_str(&format!("        {rust} = {},\n", Value::from(wire.as_str())));
    }
    text.push_str("    }\n}\n");
    source.text(&text);
    if let [(only, _)] = item.variants.as_slice() {
        let (rust, only) = (ident(name), ident(only));
        source.items(quote! {
            impl Default for #rust {
                fn default() -> Self { Self::#only }
            }
        });
    }
}

/// A rule of serde that turns every Rust name into the wire's.
struct Rule {
    name: &'static str,
    apply: fn(&str) -> String,
}

impl Rule {
    const FIELDS: [Rule; 4] = [
        Rule { name: "camelCase", apply: serde_camel },
        Rule { name: "PascalCase", apply: serde_pascal },
        Rule { name: "kebab-case", apply: |rust| rust.replace('_', "-") },
        Rule { name: "SCREAMING_SNAKE_CASE", apply: |rust| rust.to_ascii_uppercase() },
    ];
    /// The rule that holds for all; none if no name needs one.
    fn of<'r, 'n>(names: impl Iterator<Item = (&'n str, &'n str)> + Clone, rules: &'r [Rule]) -> Option<&'r Rule> {
        if names.clone().all(|(rust, wire)| rust == wire) {
            return None;
        }
        rules.iter().find(|rule| names.clone().all(|(rust, wire)| (rule.apply)(rust) == wire))
    }
}

// As serde_derive does it, which is not always as heck does it.

fn serde_pascal(field: &str) -> String {
    let word = |word: &str| word.get(..1).unwrap_or_default().to_ascii_uppercase() + word.get(1..).unwrap_or_default();
    field.split('_').map(word).collect()
}

fn serde_camel(field: &str) -> String {
    let pascal = serde_pascal(field);
    pascal.get(..1).unwrap_or_default().to_ascii_lowercase() + pascal.get(1..).unwrap_or_default()
}

fn doc_or(text: &str, fallback: &str) -> TokenStream {
    if text.trim().is_empty() { remark(fallback) } else { doc(text) }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The name in `contract.schemas` that a schema refers to.
pub(super) fn reference(map: &Map<String, Value>) -> Option<&str> {
    map.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// Keywords that make a shape; the others narrow it or describe it.
fn shapes(keyword: &str) -> bool {
    matches!(
        keyword,
        "type"
            | "properties"
            | "additionalProperties"
            | "patternProperties"
            | "items"
            | "prefixItems"
            | "enum"
            | "const"
            | "allOf"
            | "oneOf"
            | "anyOf"
            | "required"
    )
}

/// A schema without its descriptions, for comparison.
fn told(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            map.iter().filter(|(key, _)| !is_annotation(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        other => other.clone(),
    }
}

fn says_nothing(schema: &Value) -> bool {
    !schema.as_object().is_some_and(|map| map.keys().any(|key| shapes(key) || key == "$ref" || key == "format"))
}

/// A schema that allows null, without the null.
fn without_null(map: &Map<String, Value>) -> Option<(Value, bool)> {
    let mut inner = map.clone();
    if let Some(Value::Array(kinds)) = map.get("type")
        && kinds.iter().any(|kind| kind == "null")
    {
        let mut rest: Vec<Value> = kinds.iter().filter(|kind| *kind != "null").cloned().collect();
        inner.insert("type".into(), if rest.len() == 1 { rest.remove(0) } else { Value::Array(rest) });
        if let Some(Value::Array(values)) = inner.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        return Some((Value::Object(inner), true));
    }
    if let Some(Value::Array(values)) = map.get("enum")
        && values.len() > 1
        && values.iter().any(Value::is_null)
    {
        let rest: Vec<Value> = values.iter().filter(|value| !value.is_null()).cloned().collect();
        inner.insert("enum".into(), Value::Array(rest));
        return Some((Value::Object(inner), true));
    }
    for keyword in ["oneOf", "anyOf"] {
        let Some(Value::Array(variants)) = map.get(keyword) else { continue };
        let is_null = |variant: &Value| variant.get("type").is_some_and(|kind| kind == "null");
        if !variants.iter().any(is_null) {
            continue;
        }
        let rest: Vec<Value> = variants.iter().filter(|variant| !is_null(variant)).cloned().collect();
        if let [only] = rest.as_slice() {
            return Some((only.clone(), true));
        }
        inner.insert(keyword.into(), Value::Array(rest));
        return Some((Value::Object(inner), true));
    }
    None
}

/// The values of `enum` or `const`.
fn single_or_many(map: &Map<String, Value>) -> Option<Vec<Value>> {
    match (map.get("const"), map.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

fn is_numeric(kind: &str) -> bool {
    kind == "integer" || kind == "number"
}

fn mentions(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Array(inner) | Type::Sparse(inner) | Type::Map(inner) => mentions(inner, name),
        Type::Named(other) => other == name,
        _ => false,
    }
}

fn walk(schema: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
    match schema {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}
