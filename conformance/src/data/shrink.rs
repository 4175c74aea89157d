//! Smaller values.

use serde_json::{Map, Number, Value};

/// How big a value is: number of parts, then length of its text, then how far its scalars are from plain ones. Compared
/// in this order; every candidate of [`shrink`] has a smaller measure than its origin, so shrinking ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measure {
    /// Scalars, arrays, objects and members.
    pub parts: u64,
    /// Characters in strings, and digits in numbers.
    pub length: u64,
    /// Sum over characters and numbers of how unusual they are.
    pub oddness: u128,
}

/// The measure of a value.
pub fn measure(value: &Value) -> Measure {
    let mut total = Measure { parts: 0, length: 0, oddness: 0 };
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        total.parts += 1;
        match value {
            Value::Null => {}
            Value::Bool(value) => total.oddness += u128::from(*value),
            Value::Number(number) => {
                total.length += number.to_string().chars().filter(char::is_ascii_digit).count() as u64;
                total.oddness += number_oddness(number);
            }
            Value::String(text) => {
                for letter in text.chars() {
                    total.length += 1;
                    total.oddness += u128::from(letter_oddness(letter));
                }
            }
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => {
                total.parts += members.len() as u64;
                waiting.extend(members.values());
            }
        }
    }
    total
}

fn letter_oddness(letter: char) -> u32 {
    match letter {
        'a' => 0,
        'b'..='z' => letter as u32 - 'a' as u32,
        'A'..='Z' => 30 + letter as u32 - 'A' as u32,
        '0'..='9' => 60 + letter as u32 - '0' as u32,
        ' '..='~' => 200 + letter as u32,
        _ => 1000 + letter as u32,
    }
}

fn number_oddness(number: &Number) -> u128 {
    if let Some(whole) = number.as_i64() {
        return 2 * u128::from(whole.unsigned_abs()) + u128::from(whole < 0);
    }
    if let Some(whole) = number.as_u64() {
        return 2 * u128::from(whole);
    }
    let float = number.as_f64().unwrap_or(f64::MAX);
    // Fractions are odder than the whole numbers next to them.
    2 * (float.abs().min(1e30) as u128) + u128::from(float < 0.0) + 3
}

/// Smaller values next to this one, the boldest first, always in the same order. Each has a smaller [`measure`].
///
/// Members and items are dropped, arrays and strings shortened, numbers drawn towards 0, characters made plainer; then
/// the same inside. Whether a candidate is valid, and whether it still shows what is looked for, is for the caller.
/// Candidates are made one by one as they are asked for.
pub fn shrink(value: &Value) -> impl Iterator<Item = Value> + use<> {
    let size = measure(value);
    candidates(value, 0).filter(move |candidate| measure(candidate) < size)
}

/// Values nest at most this deep before their inside is left alone.
const DEPTH: usize = 64;

fn candidates(value: &Value, depth: usize) -> Box<dyn Iterator<Item = Value>> {
    match value {
        Value::Null => Box::new(std::iter::empty()),
        Value::Bool(value) => Box::new(value.then_some(Value::Bool(false)).into_iter()),
        Value::Number(number) => Box::new(smaller_numbers(number).into_iter()),
        Value::String(text) => Box::new(smaller_texts(text).into_iter().map(Value::String)),
        Value::Array(items) => {
            let shorter = smaller_arrays(items).into_iter().map(Value::Array);
            if depth >= DEPTH {
                return Box::new(shorter);
            }
            let items = items.clone();
            let inside = (0..items.len()).flat_map(move |index| {
                let items = items.clone();
                candidates(&items[index], depth + 1).map(move |candidate| {
                    let mut items = items.clone();
                    items[index] = candidate;
                    Value::Array(items)
                })
            });
            Box::new(shorter.chain(inside))
        }
        Value::Object(members) => {
            let fewer = smaller_objects(members).into_iter().map(Value::Object);
            if depth >= DEPTH {
                return Box::new(fewer);
            }
            let members = members.clone();
            let names: Vec<String> = members.keys().cloned().collect();
            let inside = names.into_iter().flat_map(move |name| {
                let members = members.clone();
                candidates(&members[&name], depth + 1).map(move |candidate| {
                    let mut members = members.clone();
                    members.insert(name.clone(), candidate);
                    Value::Object(members)
                })
            });
            Box::new(fewer.chain(inside))
        }
    }
}

fn smaller_numbers(number: &Number) -> Vec<Value> {
    let mut found = Vec::new();
    if let Some(whole) = number.as_i64() {
        let mut push = |candidate: i64| found.push(Value::from(candidate));
        push(0);
        push(1);
        if whole < 0 && whole != i64::MIN {
            push(-whole);
        }
        // Halves first, then the neighbour: about 64 steps to any limit.
        let mut gap = whole / 2;
        while gap != 0 {
            push(whole - gap);
            gap /= 2;
        }
        push(whole - whole.signum());
    } else if let Some(whole) = number.as_u64() {
        found.extend([0, 1, whole / 2, whole - whole / 4, whole - 1].map(Value::from));
    } else if let Some(float) = number.as_f64() {
        found.extend([0, 1].map(Value::from));
        let short = (float * 10.0).round() / 10.0;
        for candidate in [float.trunc(), float.abs(), float / 2.0, short, (float / 2.0).trunc()] {
            if candidate.fract() == 0.0 && candidate.abs() < 9e15 {
                found.push(Value::from(candidate as i64));
            } else {
                found.extend(Number::from_f64(candidate).map(Value::Number));
            }
        }
    }
    found
}

fn smaller_texts(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let count = letters.len();
    let mut found = Vec::new();
    let keep = |letters: &[char]| letters.iter().collect::<String>();
    // Shorter: nothing, halves, then pieces left out from either end and from the middle.
    if count > 0 {
        found.push(String::new());
    }
    let mut piece = count / 2;
    while piece > 0 {
        found.push(keep(&letters[..count - piece]));
        found.push(keep(&letters[piece..]));
        if count <= 64 {
            let mut start = piece;
            while start + piece < count {
                found.push(letters[..start].iter().chain(&letters[start + piece..]).collect());
                start += piece;
            }
        }
        piece /= 2;
    }
    // Plainer: all at once, then one by one.
    if letters.iter().any(|letter| *letter != 'a') {
        found.push("a".repeat(count));
        found.push(letters.iter().map(|letter| if letter.is_ascii() { *letter } else { 'a' }).collect());
        found.push(letters.iter().map(|letter| if letter.is_ascii_alphanumeric() { *letter } else { 'a' }).collect());
    }
    for index in 0..count.min(64) {
        for plain in ['a', 'A', '0'] {
            if letter_oddness(plain) < letter_oddness(letters[index]) {
                let mut letters = letters.clone();
                letters[index] = plain;
                found.push(keep(&letters));
            }
        }
    }
    found
}

fn smaller_arrays(items: &[Value]) -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    let count = items.len();
    let mut piece = count;
    while piece > 0 {
        for start in (0..count).step_by(piece) {
            let end = (start + piece).min(count);
            found.push(items[..start].iter().chain(&items[end..]).cloned().collect());
        }
        piece /= 2;
    }
    found
}

fn smaller_objects(members: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let count = members.len();
    let mut found = Vec::new();
    let without = |start: usize, end: usize| -> Map<String, Value> {
        let kept = members.iter().enumerate().filter(|(index, _)| *index < start || *index >= end);
        kept.map(|(_, (name, value))| (name.clone(), value.clone())).collect()
    };
    let mut piece = count;
    while piece > 0 {
        for start in (0..count).step_by(piece) {
            found.push(without(start, (start + piece).min(count)));
        }
        piece /= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Shrinks greedily while `keep` holds.
    fn smallest(mut value: Value, keep: impl Fn(&Value) -> bool) -> Value {
        while let Some(smaller) = shrink(&value).find(&keep) {
            value = smaller;
        }
        value
    }

    #[test]
    fn reaches_the_smallest_failing_value() {
        let value = json!({"a": [1, 2, {"b": "hello world", "c": 77}], "d": null, "e": -3.75});
        assert_eq!(smallest(value.clone(), |_| true), json!({}));
        assert_eq!(
            smallest(value, |v| v.pointer("/a/2/c").and_then(Value::as_i64).is_some_and(|n| n > 13)),
            json!({"a": [0, 0, {"c": 14}]})
        );
        assert_eq!(smallest(json!("xx%yy"), |v| v.as_str().is_some_and(|t| t.contains('%'))), json!("%"));
        assert_eq!(smallest(json!(-1234), |v| v.as_i64().is_some_and(|n| n < -100)), json!(-101));
    }
}
