//! Family `secret`: what is secret is in no answer.

mod never;
mod shown_once;
mod write_only;

use super::{Check, Seen};

pub(super) const CHECKS: &[&dyn Check] = &[&never::Never, &write_only::WriteOnly, &shown_once::ShownOnce];

/// Every member name in a JSON answer with its pointer.
fn members(seen: &Seen<'_>, mut each: impl FnMut(&str, &str)) {
    fn walk(value: &serde_json::Value, pointer: &mut String, each: &mut dyn FnMut(&str, &str)) {
        let length = pointer.len();
        match value {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    pointer.push('/');
                    pointer.push_str(&crate::clause::escape(name));
                    each(name, pointer);
                    walk(member, pointer, each);
                    pointer.truncate(length);
                }
            }
            serde_json::Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{index}"));
                    walk(item, pointer, each);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }
    if let Some(body) = seen.exchange.json() {
        walk(body, &mut String::new(), &mut each);
    }
}
