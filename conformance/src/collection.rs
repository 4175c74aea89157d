//! Collections: which operations make, read, list, change and remove one kind of resource. Read from paths, links and
//! schemas; a document without a single link has them too.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use trueline_spec::Contract;
use trueline_spec::contract::{Media, Operation, ParameterPlace, PathPiece, PathTemplate, Schema};

use crate::clause::escape;

/// One kind of resource, as the document lets callers handle it.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The items' path, parameters as `{}`, no slash at the end: `/agents/{}`.
    pub item: String,
    /// The path parameter that names one item.
    pub parameter: String,
    /// Makes an item.
    pub create: Option<usize>,
    /// Where the exchange that makes an item says which: a runtime expression. Empty without `create`.
    pub id: String,
    /// `GET` on the collection.
    pub list: Option<Listing>,
    /// `GET` on an item.
    pub read: Option<usize>,
    /// `PUT` on an item.
    pub replace: Option<usize>,
    /// `PATCH` on an item.
    pub patch: Option<usize>,
    /// `DELETE` on an item.
    pub delete: Option<usize>,
}

/// How a collection is listed.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The operation.
    pub operation: usize,
    /// JSON Pointer to the array of items in its answer; empty for the whole answer.
    pub items: String,
    /// JSON Pointer to the id in an item, if the items' schema says where.
    pub id: Option<String>,
    /// The query parameter that says how many items a page has at most.
    pub limit: Option<usize>,
    /// How to come to the next page; none if there is one page only.
    pub paging: Option<Paging>,
}

/// How to come to the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paging {
    /// A query parameter takes what the answer before gave.
    Cursor {
        /// The parameter.
        parameter: usize,
        /// JSON Pointer in the answer.
        pointer: String,
    },
    /// The answer has the next page's address (a body member).
    Next {
        /// JSON Pointer in the answer.
        pointer: String,
    },
    /// The answer has the next page's address (RFC 8288: `Link` with `rel="next"`).
    Link,
    /// A query parameter counts items to skip.
    Offset {
        /// The parameter.
        parameter: usize,
    },
    /// A query parameter counts pages, from 1.
    Page {
        /// The parameter.
        parameter: usize,
    },
}

/// Every collection of a contract.
#[derive(Debug, Default)]
pub struct Collections {
    all: Vec<Collection>,
    by_item: HashMap<String, usize>,
}

impl Collection {
    /// Whether the caller names an item in the path of the call that makes it.
    pub fn is_named_by_caller(&self) -> bool {
        self.create.is_some() && self.id == of_caller(&self.parameter)
    }

    /// The id in an item as an answer shows it: under the parameter's own name, or as `id`.
    pub fn id_in<'v>(&self, item: &'v Value) -> Option<&'v Value> {
        let members = item.as_object()?;
        let called = |wanted: &str| members.iter().find(|(name, _)| plain(name) == wanted).map(|(_, value)| value);
        called(&plain(&self.parameter)).or_else(|| called("id")).filter(|id| id.is_string() || id.is_number())
    }

    /// Every operation on the collection or one of its items.
    pub fn operations(&self) -> impl Iterator<Item = usize> {
        let list = self.list.as_ref().map(|list| list.operation);
        [self.create, list, self.read, self.replace, self.patch, self.delete].into_iter().flatten()
    }
}

impl Collections {
    /// Reads a contract's collections.
    pub fn of(contract: &Contract) -> Collections {
        let mut items: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut order = Vec::new();
        for (index, operation) in contract.operations.iter().enumerate() {
            let path = normal(&operation.path);
            if path.ends_with("/{}") {
                if !items.contains_key(&path) {
                    order.push(path.clone());
                }
                items.entry(path).or_default().push(index);
            }
        }
        let mut collections = Collections::default();
        for item in order {
            let Some(operations) = items.get(&item) else { continue };
            if let Some(collection) = collection(contract, &item, operations) {
                collections.by_item.insert(item, collections.all.len());
                collections.all.push(collection);
            }
        }
        collections
    }

    /// All, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &Collection> {
        self.all.iter()
    }

    /// The collection that a path parameter of an operation names an item of.
    pub fn named_by(&self, operation: &Operation, parameter: &str) -> Option<&Collection> {
        let mut pieces = Vec::new();
        for piece in &operation.path.pieces {
            pieces.push(piece.clone());
            if matches!(piece, PathPiece::Parameter(name) if name == parameter) {
                let prefix = normal_of(&pieces);
                return self.by_item.get(&prefix).map(|index| &self.all[*index]);
            }
        }
        None
    }

    /// The collection whose items a body member such as `agentId` or `agent_id` names.
    pub fn named_by_member(&self, member: &str) -> Option<&Collection> {
        let stem = ["Id", "_id", "ID"].iter().find_map(|suffix| member.strip_suffix(suffix))?;
        let wanted = plain(stem);
        let mut fitting = self.all.iter().filter(|one| {
            let segment = one.item.rsplit('/').find(|segment| *segment != "{}").unwrap_or_default();
            one.create.is_some() && singulars(&plain(segment)).contains(&wanted)
        });
        let first = fitting.next()?;
        // Two kinds of one name: nobody can say which is meant.
        fitting.next().is_none().then_some(first)
    }
}

/// A path with every parameter as `{}` and without a slash at the end.
pub fn normal(path: &PathTemplate) -> String {
    normal_of(&path.pieces)
}

fn normal_of(pieces: &[PathPiece]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            PathPiece::Literal(literal) => text.push_str(literal),
            PathPiece::Parameter(_) => text.push_str("{}"),
        }
    }
    text.trim_end_matches('/').to_owned()
}

fn collection(contract: &Contract, item: &str, operations: &[usize]) -> Option<Collection> {
    let by_method = |path: &str, method: http::Method| {
        contract.operations.iter().position(|one| one.method == method && normal(&one.path) == path)
    };
    let of_item =
        |method: http::Method| operations.iter().copied().find(|index| contract.operations[*index].method == method);
    let parameter =
        contract.operations[*operations.first()?].path.pieces.iter().rev().find_map(|piece| match piece {
            PathPiece::Parameter(name) => Some(name.clone()),
            PathPiece::Literal(_) => None,
        })?;
    let parent = item.strip_suffix("/{}")?;
    let read = of_item(http::Method::GET);
    let made = linked(contract, operations, &parameter).or_else(|| {
        let create = by_method(parent, http::Method::POST)?;
        Some((create, made_id(contract, create, parent, &parameter, read)?))
    });
    let made = made.or_else(|| Some((named_by_caller(contract, operations, &parameter)?, of_caller(&parameter))));
    let (create, id) = match made {
        Some((create, id)) => (Some(create), id),
        None => (None, String::new()),
    };
    let pointer = id.strip_prefix("$response.body#").map(str::to_owned);
    let list = by_method(parent, http::Method::GET)
        .and_then(|list| listing(contract, list, parent, &parameter, pointer.as_deref()));
    Some(Collection {
        item: item.to_owned(),
        create,
        id,
        list,
        read,
        // What refuses a name that is taken makes and does not replace.
        replace: of_item(http::Method::PUT)
            .filter(|put| create != Some(*put) || !contract.operations[*put].documents(409)),
        patch: of_item(http::Method::PATCH),
        delete: of_item(http::Method::DELETE),
        parameter,
    })
}

/// Makes an item under the name that the caller writes into the path: a PUT (RFC 9110 section 9.3.4) or a POST that answers
/// 201. A name that is no free text is nothing to invent.
fn named_by_caller(contract: &Contract, operations: &[usize], parameter: &str) -> Option<usize> {
    let makes = |index: &usize| {
        let operation = &contract.operations[*index];
        let name = operation.parameters.iter().find(|one| one.place == ParameterPlace::Path && one.name == parameter);
        let free = name.is_some_and(|one| {
            let schema = resolve(contract, &one.schema.value);
            let bound = ["enum", "const", "format", "pattern"].iter().any(|keyword| schema.get(keyword).is_some());
            let room = schema.get("maxLength").and_then(Value::as_u64).is_none_or(|longest| longest >= 16);
            schema.get("type").is_some_and(|kind| *kind == "string") && !bound && room
        });
        free && operation.documents(201)
    };
    let by = |method: http::Method| {
        operations.iter().copied().find(|index| contract.operations[*index].method == method && makes(index))
    };
    by(http::Method::PUT).or_else(|| by(http::Method::POST))
}

/// Where the exchange says what the caller has called an item.
fn of_caller(parameter: &str) -> String {
    format!("$request.path.{parameter}")
}

/// A creating operation that a link of the document ties to one of these operations.
fn linked(contract: &Contract, operations: &[usize], parameter: &str) -> Option<(usize, String)> {
    let ids: Vec<&str> = operations.iter().map(|index| contract.operations[*index].id.as_str()).collect();
    for (index, operation) in contract.operations.iter().enumerate() {
        if operation.method != http::Method::POST || operations.contains(&index) {
            continue;
        }
        for link in operation.responses.iter().flat_map(|response| &response.links) {
            let filled = link.parameters.iter().find(|filled| filled.name == parameter);
            let expression = filled.and_then(|filled| filled.value.as_str());
            if ids.contains(&link.target.as_str())
                && let Some(expression) = expression.filter(|text| text.starts_with("$response."))
            {
                return Some((index, expression.to_owned()));
            }
        }
    }
    None
}

/// Where the answer to a creating operation has the new item's id.
fn made_id(contract: &Contract, create: usize, parent: &str, parameter: &str, read: Option<usize>) -> Option<String> {
    let operation = &contract.operations[create];
    let names = id_names(parent, parameter);
    let success = operation.responses.iter().filter(|response| response.status.to_string().starts_with('2'));
    let mut located = false;
    for response in success {
        located |= response.headers.iter().any(|header| header.name.eq_ignore_ascii_case("location"));
        for schema in response.media.iter().filter(|media| is_json(media)).filter_map(|media| media.schema.as_ref()) {
            if let Some(pointer) = find_id(contract, schema, &names) {
                return Some(format!("$response.body#{pointer}"));
            }
        }
    }
    if located && read.is_some() {
        return Some("$response.header.Location#last".to_owned());
    }
    // A name that the caller chooses: `POST /users` with `name`, then `/users/{name}`.
    let body = operation.body.as_ref()?.media.iter().find(|media| is_json(media))?.schema.as_ref()?;
    let chosen = properties(contract, body).into_iter().find(|(name, _)| plain(name) == plain(parameter))?;
    Some(format!("$request.body#/{}", escape(&chosen.0)))
}

/// What the property with an item's id may be called, the likeliest first, in plain letters.
fn id_names(parent: &str, parameter: &str) -> Vec<String> {
    let segment = parent.rsplit('/').find(|segment| !segment.is_empty() && *segment != "{}").unwrap_or_default();
    let mut names = vec![plain(parameter), "id".to_owned()];
    for singular in singulars(&plain(segment)) {
        // `/pools/{pool_name}` is `name` in a pool.
        let parameter = plain(parameter);
        names.extend(parameter.strip_prefix(&singular).filter(|rest| !rest.is_empty()).map(str::to_owned));
        names.push(format!("{singular}id"));
    }
    names.extend(["uuid".to_owned(), "uid".to_owned()]);
    names
}

fn find_id(contract: &Contract, schema: &Schema, names: &[String]) -> Option<String> {
    let scalar = |property: &Value| {
        let is = |wanted: &str| match property.get("type") {
            Some(Value::String(name)) => name == wanted,
            Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
            _ => false,
        };
        is("string") || is("integer") || is("number") || property.get("format").is_some()
    };
    let all = properties(contract, schema);
    for wanted in names {
        if let Some((name, _)) = all.iter().find(|(name, property)| plain(name) == *wanted && scalar(property)) {
            return Some(format!("/{}", escape(name)));
        }
    }
    // One wrapper deep: `{"data": {"id": …}}`.
    let mut wrapped = all.iter().filter_map(|(name, property)| {
        let inner = properties_of(contract, property);
        let found = names.iter().find_map(|wanted| {
            inner
                .iter()
                .find(|(name, property)| plain(name) == *wanted && scalar(property))
                .map(|(name, _)| name.clone())
        })?;
        Some(format!("/{}/{}", escape(name), escape(&found)))
    });
    let first = wrapped.next()?;
    wrapped.next().is_none().then_some(first)
}

fn listing(contract: &Contract, list: usize, parent: &str, parameter: &str, id: Option<&str>) -> Option<Listing> {
    let operation = &contract.operations[list];
    let response = operation.response(200)?;
    let schema = response.media.iter().find(|media| is_json(media))?.schema.as_ref()?;
    let root = resolve(contract, &schema.value);
    let mut names = id_names(parent, parameter);
    if let Some(name) = id.and_then(|pointer| pointer.rsplit('/').next()) {
        names.insert(0, plain(name));
    }
    let array = |value: &Value| match value.get("type") {
        Some(Value::String(name)) => name == "array",
        Some(Value::Array(names)) => names.iter().any(|name| name == "array"),
        _ => value.get("items").is_some(),
    };
    let members = properties_of(contract, root);
    let (items, item) = if array(root) {
        (String::new(), root.get("items")?)
    } else {
        let segment = plain(parent.rsplit('/').next().unwrap_or_default());
        let mut arrays: Vec<&(String, &Value)> = members.iter().filter(|(_, value)| array(value)).collect();
        let rank = |name: &str| {
            let name = plain(name);
            let known = ["items", "data", "results", "records", "entries", "values", "content"];
            if name == segment { 0 } else { 1 + known.iter().position(|one| **one == name).unwrap_or(known.len()) }
        };
        arrays.sort_by_key(|(name, _)| rank(name));
        let (name, value) = arrays.first()?;
        (format!("/{}", escape(name)), value.get("items")?)
    };
    let item_members = properties_of(contract, item);
    let id = names.iter().find_map(|wanted| {
        item_members.iter().find(|(name, _)| plain(name) == *wanted).map(|(name, _)| format!("/{}", escape(name)))
    });
    let query = |words: &[&str]| {
        operation
            .parameters
            .iter()
            .position(|one| one.place == ParameterPlace::Query && words.contains(&plain(&one.name).as_str()))
    };
    let limit = query(&[
        "limit",
        "perpage",
        "pagesize",
        "size",
        "count",
        "top",
        "maxresults",
        "first",
        "maxitems",
        "pagelimit",
        "take",
    ]);
    let paging = paging(contract, operation, &members, &query);
    Some(Listing { operation: list, items, id, limit, paging })
}

fn paging(
    contract: &Contract,
    operation: &Operation,
    members: &[(String, &Value)],
    query: &dyn Fn(&[&str]) -> Option<usize>,
) -> Option<Paging> {
    let words = [
        "nextcursor",
        "nextpagetoken",
        "nexttoken",
        "nextpagecursor",
        "endcursor",
        "continuationtoken",
        "nextmarker",
        "cursor",
        "next",
        "nexturl",
        "nextlink",
        "nextpage",
    ];
    let mut pointer = None;
    for word in words {
        pointer = pointer.or_else(|| {
            let name = members.iter().find(|(name, _)| plain(name) == word).map(|(name, _)| name)?;
            Some((word, format!("/{}", escape(name))))
        });
    }
    for wrapper in ["pagination", "paging", "meta", "page", "pageinfo", "links", "metadata"] {
        for word in words {
            pointer = pointer.or_else(|| {
                let (outer, value) = members.iter().find(|(name, _)| plain(name) == wrapper)?;
                let inner = properties_of(contract, value);
                let (name, _) = inner.iter().find(|(name, _)| plain(name) == word)?;
                Some((word, format!("/{}/{}", escape(outer), escape(name))))
            });
        }
    }
    let cursor = query(&[
        "cursor",
        "after",
        "pagetoken",
        "nextcursor",
        "nexttoken",
        "continuationtoken",
        "marker",
        "next",
        "pagecursor",
        "token",
    ]);
    if let (Some(parameter), Some((_, pointer))) = (cursor, &pointer) {
        return Some(Paging::Cursor { parameter, pointer: pointer.clone() });
    }
    let links = operation
        .response(200)
        .is_some_and(|response| response.headers.iter().any(|header| header.name.eq_ignore_ascii_case("link")));
    if links {
        return Some(Paging::Link);
    }
    if let Some((word, pointer)) = pointer
        && ["next", "nexturl", "nextlink"].contains(&word)
    {
        return Some(Paging::Next { pointer });
    }
    if let Some(parameter) = query(&["offset", "skip", "startindex"]) {
        return Some(Paging::Offset { parameter });
    }
    Some(Paging::Page { parameter: query(&["page", "pagenumber", "pageno"])? })
}

/// Lower-case letters and digits only: `next_cursor`, `nextCursor` and `Next-Cursor` are one name.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A plural, and what its singular may be.
fn singulars(plural: &str) -> Vec<String> {
    let mut forms = vec![plural.to_owned()];
    for (suffix, singular) in [("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")] {
        if let Some(stem) = plural.strip_suffix(suffix) {
            forms.push(format!("{stem}{singular}"));
        }
    }
    forms
}

fn is_json(media: &Media) -> bool {
    media.media_type == "application/json" || media.media_type.ends_with("+json")
}

/// Follows references.
pub(crate) fn resolve<'a>(contract: &'a Contract, schema: &'a Value) -> &'a Value {
    let mut current = schema;
    for _ in 0..64 {
        let target = current.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
        let named = target.and_then(|name| contract.schemas.get(&name.replace("~1", "/").replace("~0", "~")));
        match named {
            Some(next) => current = &next.value,
            None => break,
        }
    }
    current
}

/// The top-level properties of an object schema, through references and compositions; their own references followed.
pub(crate) fn properties<'a>(contract: &'a Contract, schema: &'a Schema) -> Vec<(String, &'a Value)> {
    properties_of(contract, &schema.value)
}

pub(crate) fn properties_of<'a>(contract: &'a Contract, schema: &'a Value) -> Vec<(String, &'a Value)> {
    fn walk<'a>(contract: &'a Contract, schema: &'a Value, depth: usize, found: &mut Vec<(String, &'a Value)>) {
        if depth > 8 {
            return;
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name.clone(), resolve(contract, property)));
            }
        }
        let target = resolve(contract, schema);
        if !std::ptr::eq(target, schema) {
            walk(contract, target, depth + 1, found);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for branch in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                walk(contract, branch, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(contract, schema, 0, &mut found);
    found
}

/// Members that the request of `write` may set and the answer of `read` shows, and that no service has a reason to rewrite:
/// name and the request's schema of each.
pub(crate) fn settable(contract: &Contract, write: usize, read: usize) -> Vec<(String, &Value)> {
    let Some(body) = contract.operations[write].body.as_ref() else { return Vec::new() };
    let Some(schema) = body.media[crate::plan::preferred_media(body)].schema.as_ref() else { return Vec::new() };
    let success = contract.operations[read].responses.iter().filter(|one| one.status.to_string().starts_with('2'));
    let schemas = success.flat_map(|one| &one.media).filter_map(|media| media.schema.as_ref());
    let mut shown: HashMap<String, &Value> = HashMap::new();
    for schema in schemas {
        let members = properties(contract, schema);
        // One wrapper deep: `{"data": {…}}`.
        if let [(_, inner)] = members.as_slice() {
            shown.extend(properties_of(contract, inner));
        }
        shown.extend(members);
    }
    let flag = |property: &Value, keyword: &str| property.get(keyword) == Some(&Value::Bool(true));
    properties(contract, schema)
        .into_iter()
        .filter(|(name, property)| {
            let word = plain(name);
            let secret = ["password", "secret", "token"].iter().any(|one| word.contains(one));
            let names_one = word == "id" || ["Id", "_id", "Ids", "_ids"].iter().any(|end| name.ends_with(end));
            let readable = shown.get(name).is_some_and(|shown| !flag(shown, "writeOnly"));
            readable
                && !secret
                && !names_one
                && !flag(property, "readOnly")
                && !flag(property, "writeOnly")
                && candidates(property).len() >= 2
        })
        .collect()
}

/// Plain values that hardly any service rewrites: no spaces at the ends, no upper case, few digits after the point.
pub(crate) fn candidates(property: &Value) -> Vec<Value> {
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        return values.iter().filter(|value| !value.is_null()).cloned().collect();
    }
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    // What has a format or a pattern may be stored in another spelling.
    if property.get("format").is_some_and(|format| !is_number_format(format)) || property.get("pattern").is_some() {
        return Vec::new();
    }
    let number = |keyword: &str| property.get(keyword).cloned();
    if types.contains(&"boolean") {
        vec![json!(true), json!(false)]
    } else if types.contains(&"integer") {
        let mut values =
            vec![json!(7), json!(8), json!(3), json!(2), json!(1), json!(0), json!(20), json!(100), json!(1000)];
        values.extend([number("minimum"), number("maximum")].into_iter().flatten());
        values
    } else if types.contains(&"number") {
        let mut values = vec![json!(0.5), json!(0.25), json!(1.5), json!(2), json!(10), json!(100)];
        values.extend([number("minimum"), number("maximum")].into_iter().flatten());
        values
    } else if types.contains(&"string") {
        ["trueline alpha", "trueline beta", "alpha", "beta", "a", "b"].map(Value::from).to_vec()
    } else {
        Vec::new()
    }
}

fn is_number_format(format: &Value) -> bool {
    format.as_str().is_some_and(|format| ["int32", "int64", "float", "double"].contains(&format))
}
