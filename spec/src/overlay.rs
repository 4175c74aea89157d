//! OpenAPI Overlays (Overlay Specification 1.0.0): changes to a document that somebody else owns.
//!
//! An overlay changes the entry document before anything reads it. Values and marks change together, so that what an
//! overlay added is shown where it stands: in the overlay.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::document::{Document, Location, as_url, extended};
use crate::problem::{Problem, did_you_mean, nearest};
use crate::syntax::Marks;

/// The keys of an action (section 4.4.3).
const ACTION: [&str; 4] = ["target", "description", "update", "remove"];

/// One change, proved to be well formed.
struct Action {
    at: Location,
    index: usize,
    target: JsonPath,
    change: Change,
}

enum Change {
    Remove,
    Update(Value, Marks),
}

/// Applies the overlay in `document.files[overlay]` to the entry.
pub(crate) fn apply(document: &mut Document, overlay: u32) -> Result<(), Vec<Problem>> {
    let actions = read(document, overlay)?;
    let Some(entry) = document.files.first_mut() else { return Ok(()) };
    let mut value = std::mem::take(&mut entry.value);
    let mut marks = entry.tree.unfold(None);
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for action in &actions {
        let mut places: Vec<String> =
            action.target.query_located(&value).locations().map(|place| place.to_json_pointer()).collect();
        if places.is_empty() {
            // "If the JSONPath expression selects zero nodes, the action is a no-op": no error, but hardly what was meant.
            let problem = Problem::new(format!("action {} changes nothing: its target is not there", action.index + 1));
            notes.push(problem.at(&action.at.join("target")).found(action.target.to_string()));
        }
        if matches!(action.change, Change::Remove) {
            // From the back, so that what is still to go keeps its place.
            places.sort_by_cached_key(|place| std::cmp::Reverse(in_order(&value, place)));
            places.dedup();
        }
        for place in &places {
            if let Err(problem) = change(&mut value, &mut marks, place, action) {
                problems.push(problem);
            }
        }
    }
    entry.tree = marks.fold();
    entry.value = value;
    document.notes.extend(notes);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The way to a place as positions, which sort as the document does.
fn in_order(root: &Value, pointer: &str) -> Vec<usize> {
    let (mut value, mut way) = (root, Vec::new());
    for token in tokens(pointer) {
        let Some((index, next)) = step(value, &token) else { break };
        way.push(index);
        value = next;
    }
    way
}

fn tokens(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
}

/// The position and value of a member or item.
fn step<'v>(value: &'v Value, token: &str) -> Option<(usize, &'v Value)> {
    match value {
        Value::Object(map) => map.iter().enumerate().find(|(_, (name, _))| *name == token).map(|(i, (_, v))| (i, v)),
        Value::Array(items) => token.parse().ok().and_then(|index: usize| Some((index, items.get(index)?))),
        _ => None,
    }
}

fn change(value: &mut Value, marks: &mut Marks, pointer: &str, action: &Action) -> Result<(), Problem> {
    let way: Vec<String> = tokens(pointer).collect();
    let depth = match action.change {
        Change::Remove => way.len().saturating_sub(1),
        Change::Update(..) => way.len(),
    };
    let (mut here, mut marked) = (value, marks);
    for token in &way[..depth] {
        let Some((index, _)) = step(here, token) else { return Ok(()) };
        let next = match here {
            Value::Object(map) => map.get_mut(token),
            Value::Array(items) => items.get_mut(index),
            _ => None,
        };
        let (Some(next), Some(kid)) = (next, marked.kids.get_mut(index)) else { return Ok(()) };
        (here, marked) = (next, kid);
    }
    match &action.change {
        Change::Remove => {
            let Some(last) = way.last() else {
                let at = action.at.join("target");
                return Err(Problem::new("the whole document cannot be removed").at(&at));
            };
            let Some((index, _)) = step(here, last) else { return Ok(()) };
            match here {
                Value::Object(map) => {
                    map.shift_remove(last);
                }
                Value::Array(items) => {
                    items.remove(index);
                }
                _ => return Ok(()),
            }
            if index < marked.kids.len() {
                marked.kids.remove(index);
            }
            Ok(())
        }
        Change::Update(update, update_marks) => {
            let problem = match (&*here, update) {
                (Value::Object(_), Value::Object(_)) | (Value::Array(_), _) => None,
                (Value::Object(_), other) => Some(("an object", other)),
                (_, Value::Object(_) | Value::Array(_)) if way.is_empty() => Some(("an object", update)),
                _ => None,
            };
            if let Some((expected, found)) = problem {
                let problem = Problem::new(format!("action {} does not fit its target", action.index + 1));
                let problem = problem.at(&action.at.join("update")).expected(expected);
                return Err(problem.found(crate::read::kind(found)).help(format!("the target is #{pointer}")));
            }
            match (&mut *here, update) {
                // "If the target selects an array, the value must be an entry to append"; a list of entries is meant as such.
                (Value::Array(items), Value::Array(more)) => {
                    items.extend(more.iter().cloned());
                    marked.kids.extend(update_marks.kids.iter().cloned());
                }
                (Value::Array(items), entry) => {
                    items.push(entry.clone());
                    marked.kids.push(update_marks.clone());
                }
                _ => merge(here, marked, update, update_marks),
            }
            Ok(())
        }
    }
}

/// Objects are merged, arrays are joined, everything else is replaced.
fn merge(value: &mut Value, marks: &mut Marks, update: &Value, update_marks: &Marks) {
    match (value, update) {
        (Value::Object(map), Value::Object(more)) => {
            for (index, (name, new)) in more.iter().enumerate() {
                let Some(new_marks) = update_marks.kids.get(index) else { break };
                match map.keys().position(|key| key == name) {
                    Some(place) => {
                        if let (Some(old), Some(kid)) = (map.get_mut(name), marks.kids.get_mut(place)) {
                            merge(old, kid, new, new_marks);
                        }
                    }
                    None => {
                        map.insert(name.clone(), new.clone());
                        marks.kids.push(new_marks.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(more)) => {
            items.extend(more.iter().cloned());
            marks.kids.extend(update_marks.kids.iter().cloned());
        }
        (value, update) => {
            *value = update.clone();
            *marks = update_marks.clone();
        }
    }
}

/// The actions, or everything that is wrong with the overlay.
fn read(document: &mut Document, overlay: u32) -> Result<Vec<Action>, Vec<Problem>> {
    let root = Location::root(overlay);
    let mut problems = Vec::new();
    let entry = document.files.first().map(|file| file.path.clone()).unwrap_or_default();
    let Some(file) = document.files.get(overlay as usize) else { return Ok(Vec::new()) };
    let Value::Object(map) = &file.value else {
        let problem = Problem::new("an overlay is an object").at(&root).found(crate::read::kind(&file.value));
        return Err(vec![problem]);
    };
    match map.get("overlay") {
        None => {
            let near = nearest("overlay", map.keys().map(String::as_str));
            let help = match (near, map.contains_key("openapi") || map.contains_key("swagger")) {
                (_, true) => Some("this is the document itself; overlays change it".to_owned()),
                (near, _) => near.map(|near| format!("is `{near}` meant to be `overlay`?")),
            };
            let problem = Problem::new("this is not an overlay: the key `overlay` is missing").at(&root);
            return Err(vec![problem.expected("a version such as `overlay: 1.0.0`").maybe_help(help)]);
        }
        Some(version) => {
            let at = root.join("overlay");
            let text = match version {
                Value::String(text) => text.clone(),
                _ => document.written(&at).unwrap_or_default().to_owned(),
            };
            if !text.starts_with("1.") && text != "1" {
                let problem = Problem::new(format!("overlays of version {text} are not read")).at(&at);
                problems.push(problem.expected("1.0.x").found(text));
            }
        }
    }
    let mut notes = Vec::new();
    if let Some(named) = map.get("extends").and_then(Value::as_str) {
        let meant = extended(&file.path, named);
        let same = match (as_url(&meant), as_url(&entry)) {
            (None, None) => meant.canonicalize().ok() == entry.canonicalize().ok(),
            (meant, entry) => meant == entry,
        };
        if !same {
            let problem = Problem::new("this overlay was written for another document").at(&root.join("extends"));
            notes.push(problem.expected(entry.display().to_string()).found(named));
        }
    }
    let marks = file.tree.unfold(Some(overlay));
    let position = |name: &str| map.keys().position(|key| key == name);
    let listed = match map.get("actions") {
        Some(Value::Array(actions)) => actions.as_slice(),
        Some(other) => {
            let problem = Problem::new("`actions` must be a list").at(&root.join("actions"));
            problems.push(problem.found(crate::read::kind(other)));
            &[]
        }
        None => {
            problems.push(Problem::new("this overlay has no `actions`").at(&root));
            &[]
        }
    };
    let of_actions = position("actions").and_then(|index| marks.kids.get(index));
    let mut actions = Vec::new();
    for (index, action) in listed.iter().enumerate() {
        let at = root.join("actions").join(&index.to_string());
        let action_marks = of_actions.and_then(|marks| marks.kids.get(index));
        match read_action(index, action, action_marks, &at) {
            Ok(action) => actions.push(action),
            Err(mut found) => problems.append(&mut found),
        }
    }
    document.notes.extend(notes);
    if problems.is_empty() { Ok(actions) } else { Err(problems) }
}

fn read_action(index: usize, action: &Value, marks: Option<&Marks>, at: &Location) -> Result<Action, Vec<Problem>> {
    let Value::Object(map) = action else {
        return Err(vec![Problem::new("an action is an object").at(at).found(crate::read::kind(action))]);
    };
    let mut problems = Vec::new();
    for key in map.keys().filter(|key| !ACTION.contains(&key.as_str()) && !key.starts_with("x-")) {
        let problem = Problem::new(format!("`{key}` is not a key of an action")).at(&at.join(key));
        problems.push(problem.expected(ACTION.join(", ")).maybe_help(did_you_mean(key, ACTION)));
    }
    let target = match map.get("target") {
        Some(Value::String(text)) => match JsonPath::parse(text) {
            Ok(path) => Some(path),
            Err(error) => {
                let problem = Problem::new(format!("the target of action {} is not a JSONPath: {}", index + 1, error));
                let problem = problem.at(&at.join("target")).expected("RFC 9535, such as $.paths['/pets'].get");
                problems.push(problem.found(text.clone()));
                None
            }
        },
        Some(other) => {
            let problem = Problem::new("`target` must be a text").at(&at.join("target"));
            problems.push(problem.found(crate::read::kind(other)));
            None
        }
        None => {
            problems.push(Problem::new(format!("action {} has no `target`", index + 1)).at(at));
            None
        }
    };
    let remove = match map.get("remove") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(other) => {
            let problem = Problem::new("`remove` must be true or false").at(&at.join("remove"));
            problems.push(problem.found(crate::read::kind(other)));
            false
        }
    };
    let place = map.keys().position(|key| key == "update");
    let change = match (remove, map.get("update"), place.and_then(|place| marks?.kids.get(place))) {
        // "This property has no impact if the remove property contains true."
        (true, ..) => Some(Change::Remove),
        (false, Some(update), Some(marks)) => Some(Change::Update(update.clone(), marks.clone())),
        _ => {
            if problems.is_empty() {
                let problem = Problem::new(format!("action {} says neither `update` nor `remove: true`", index + 1));
                problems.push(problem.at(at));
            }
            None
        }
    };
    match (target, change) {
        (Some(target), Some(change)) if problems.is_empty() => Ok(Action { at: at.clone(), index, target, change }),
        _ => Err(problems),
    }
}
