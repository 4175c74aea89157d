//! Strings by `pattern`.
//!
//! The pattern is parsed by `regex-syntax`; every part knows the lengths that it can have, so a string of a wanted length
//! is made top-down, without trial and error. Assertions that have no shape (lookaround) are taken out of the pattern,
//! what they look for is put back in by hand, and the result is tried against the whole pattern.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, Hir, HirKind, Look};
use serde_json::{Value, json};

use crate::data::formats;
use crate::data::random::Rng;

/// Lengths are not told apart past this.
const FAR: u64 = 1 << 40;

/// A set of lengths stays this small; further members are forgotten, which costs variety and nothing else.
const MOST_SPANS: usize = 48;

/// A `pattern` keyword.
pub(crate) struct Pattern {
    source: String,
    translated: String,
    matcher: OnceLock<Matcher>,
    shape: Option<Shape>,
    /// The same with filling on the sides where the pattern is not anchored.
    filled: Option<Shape>,
    /// What lookaheads ask for, to be put into strings of the shape.
    wishes: Vec<Shape>,
    /// The shape makes nothing but matches.
    exact: bool,
}

enum Matcher {
    Plain(regex::Regex),
    /// With lookaround or back-references.
    Full(Box<jsonschema::Validator>),
    /// Neither engine takes it.
    Broken,
}

impl Pattern {
    /// Reads a pattern as ECMA-262 has it; [`Pattern::has_shape`] tells whether strings can be made.
    pub(crate) fn new(source: &str) -> Pattern {
        let translated = translate(source);
        let mut pattern = Pattern {
            source: source.to_owned(),
            translated,
            matcher: OnceLock::new(),
            shape: None,
            filled: None,
            wishes: Vec::new(),
            exact: false,
        };
        match parse(&pattern.translated) {
            Some(hir) => {
                pattern.exact = only_outer_looks(&hir);
                pattern.shape = shape(&hir);
                pattern.filled = filled_shape(&hir);
            }
            None => {
                let (rest, wishes) = without_lookaround(&pattern.translated);
                let hir = parse(&rest);
                pattern.shape = hir.as_ref().and_then(shape);
                pattern.filled = hir.as_ref().and_then(filled_shape);
                pattern.wishes = wishes.iter().filter_map(|wish| shape(&parse(wish)?)).collect();
            }
        }
        pattern
    }

    /// As written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether strings can be made at all.
    pub(crate) fn has_shape(&self) -> bool {
        self.shape.is_some()
    }

    /// Whether the pattern is found in a text.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let matcher = self.matcher.get_or_init(|| match regex::Regex::new(&self.translated) {
            Ok(regex) => Matcher::Plain(regex),
            Err(_) => match formats::options().build(&json!({ "pattern": self.source })) {
                Ok(validator) => Matcher::Full(Box::new(validator)),
                Err(_) => Matcher::Broken,
            },
        });
        match matcher {
            Matcher::Plain(regex) => regex.is_match(text),
            Matcher::Full(validator) => validator.is_valid(&Value::String(text.to_owned())),
            Matcher::Broken => false,
        }
    }

    /// A matching string with a length between `min` and `max` characters.
    pub(crate) fn generate(&self, rng: &mut Rng, min: u64, max: u64) -> Option<String> {
        let bare = self.shape.as_ref()?;
        let mut spread = if rng.chance(85) { 12 } else { 80 };
        if rng.chance(4) {
            spread = FAR;
        }
        let fill = rng.chance(12);
        for attempt in 0..if self.exact { 1 } else { 80 } {
            let low = if attempt < 40 { min } else { min + rng.below(8) as u64 };
            // What people mean by an unanchored pattern is mostly the whole string; what it says is a part of it.
            let fits = |shape: &&Shape| !shape.lengths.within(low, max).0.is_empty();
            let shape = match &self.filled {
                Some(filled) if fill && attempt < 10 || !fits(&bare) => Some(filled).filter(fits).unwrap_or(bare),
                _ => bare,
            };
            let length = shape.lengths.choose(rng, low, max, spread)?;
            let mut text = String::new();
            shape.write(length, rng, &mut text);
            for wish in &self.wishes {
                text = grant(text, wish, rng);
            }
            if self.exact || self.is_match(&text) {
                return Some(text);
            }
        }
        None
    }
}

/// Puts a piece that a lookahead asks for over some characters of a text.
fn grant(text: String, wish: &Shape, rng: &mut Rng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let Some(length) = wish.lengths.choose(rng, 1, chars.len() as u64, 2) else { return text };
    let mut piece = String::new();
    wish.write(length, rng, &mut piece);
    let at = rng.below(chars.len() + 1 - length as usize);
    chars.splice(at..at + length as usize, piece.chars());
    chars.into_iter().collect()
}

/// A part of a pattern.
struct Shape {
    lengths: Lengths,
    kind: Kind,
}

enum Kind {
    Text(String),
    Class(Letters),
    /// The parts, and for each the lengths of everything behind it.
    Row(Vec<Shape>, Vec<Lengths>),
    Either(Vec<Shape>),
    /// The part, and by count the lengths that so many of them have together.
    Repeat(Box<Shape>, u64, u64, Vec<Lengths>),
}

impl Shape {
    fn text(text: String) -> Shape {
        Shape { lengths: Lengths::one(text.chars().count() as u64), kind: Kind::Text(text) }
    }

    fn row(parts: Vec<Shape>) -> Shape {
        let mut behind = vec![Lengths::one(0)];
        for part in parts.iter().rev() {
            let next = part.lengths.plus(&behind[behind.len() - 1]);
            behind.push(next);
        }
        let lengths = behind.pop().unwrap_or_else(|| Lengths::one(0));
        behind.reverse();
        Shape { lengths, kind: Kind::Row(parts, behind) }
    }

    fn repeat(part: Shape, min: u64, max: u64) -> Shape {
        // By count, as far as counts make a difference that anybody looks at.
        let mut sums = vec![Lengths::one(0)];
        let single = matches!(part.lengths.0.as_slice(), [_]);
        let mut lengths = Lengths(Vec::new());
        if let (true, Some(&(low, high))) = (single, part.lengths.0.first()) {
            let mut count = min;
            while count <= max && lengths.0.len() < MOST_SPANS {
                // From here on neighbouring counts overlap.
                if high > low && (count + 1).saturating_mul(low) <= count.saturating_mul(high) + 1 && count > 0 {
                    lengths.add(count.saturating_mul(low), max.saturating_mul(high));
                    break;
                }
                lengths.add(count.saturating_mul(low), count.saturating_mul(high));
                if low == 1 && high == 1 {
                    lengths.add(count, max);
                    break;
                }
                if high == 0 {
                    break;
                }
                count += 1;
            }
            sums.clear();
        } else {
            for count in 1..=max.min(min.max(16) + 8) {
                let next = part.lengths.plus(&sums[count as usize - 1]);
                sums.push(next);
            }
            for sum in sums.iter().skip(min as usize) {
                sum.0.iter().for_each(|&(low, high)| lengths.add(low, high));
            }
        }
        lengths.tidy();
        Shape { lengths, kind: Kind::Repeat(Box::new(part), min, max, sums) }
    }

    /// Appends a string of exactly this length, which is one of [`Shape::lengths`].
    fn write(&self, length: u64, rng: &mut Rng, out: &mut String) {
        match &self.kind {
            Kind::Text(text) => out.push_str(text),
            Kind::Class(letters) => out.push(letters.pick(rng)),
            Kind::Row(parts, behind) => {
                let mut rest = length;
                for (part, behind) in parts.iter().zip(behind) {
                    let Some(mine) = part.lengths.and(&behind.from(rest)).choose(rng, 0, FAR, FAR) else { return };
                    part.write(mine, rng, out);
                    rest -= mine;
                }
            }
            Kind::Either(parts) => {
                let fitting: Vec<&Shape> = parts.iter().filter(|part| part.lengths.has(length)).collect();
                if let Some(part) = rng.pick(&fitting) {
                    part.write(length, rng, out);
                }
            }
            Kind::Repeat(part, min, max, sums) => {
                if let [(low, high)] = part.lengths.0[..] {
                    if high == 0 {
                        return;
                    }
                    let fewest = length.div_ceil(high).max(*min);
                    let most = length.checked_div(low).unwrap_or(fewest + 4).min(*max).max(fewest);
                    let count = rng.between(i128::from(fewest), i128::from(most)) as u64;
                    let mut spare = length - (low * count).min(length);
                    for index in 0..count {
                        let left = count - index - 1;
                        let least = spare.saturating_sub(left.saturating_mul(high - low));
                        let extra = rng.between(i128::from(least), i128::from(spare.min(high - low))) as u64;
                        spare -= extra;
                        part.write(low + extra, rng, out);
                    }
                } else {
                    let counts: Vec<usize> =
                        (*min as usize..sums.len()).filter(|&count| sums[count].has(length)).collect();
                    let Some(&count) = rng.pick(&counts) else { return };
                    let mut rest = length;
                    for left in (0..count).rev() {
                        let Some(mine) = part.lengths.and(&sums[left].from(rest)).choose(rng, 0, FAR, FAR) else {
                            return;
                        };
                        part.write(mine, rng, out);
                        rest -= mine;
                    }
                }
            }
        }
    }
}

/// The characters of a class, readable ones first.
struct Letters {
    plain: Vec<char>,
    ranges: Vec<(char, char)>,
    /// The class takes nearly everything: `.` or `[^…]`.
    broad: bool,
}

impl Letters {
    fn new(ranges: Vec<(char, char)>) -> Option<Letters> {
        let mut plain: Vec<char> = Vec::new();
        for &(first, last) in &ranges {
            plain.extend((first.max(' ')..=last.min('~')).take(128));
        }
        let size: u64 = ranges.iter().map(|&(first, last)| last as u64 - first as u64 + 1).sum();
        let broad = size > 200_000;
        if broad {
            // Text that people write, not punctuation soup.
            let words: Vec<char> = plain.iter().copied().filter(|c| c.is_ascii_alphanumeric()).collect();
            if words.len() > 10 {
                plain = words;
            }
        }
        (!ranges.is_empty()).then_some(Letters { plain, ranges, broad })
    }

    fn pick(&self, rng: &mut Rng) -> char {
        const FOREIGN: [char; 12] = ['é', 'ß', 'Ж', 'ن', 'ש', '漢', '字', '한', 'ñ', 'Ω', '😀', '—'];
        if self.broad && rng.chance(2) {
            let foreign = FOREIGN[rng.below(FOREIGN.len())];
            if self.ranges.iter().any(|&(first, last)| first <= foreign && foreign <= last) {
                return foreign;
            }
        }
        if let Some(&letter) = rng.pick(&self.plain) {
            return letter;
        }
        let (first, last) = self.ranges[rng.below(self.ranges.len())];
        let code = rng.between(i128::from(first as u32), i128::from(last as u32)) as u32;
        // A range may span the surrogates, which are no characters.
        char::from_u32(code).unwrap_or(first)
    }
}

/// Disjoint ascending spans of lengths.
#[derive(Debug, Clone, PartialEq)]
struct Lengths(Vec<(u64, u64)>);

impl Lengths {
    fn one(length: u64) -> Lengths {
        Lengths(vec![(length, length)])
    }

    fn add(&mut self, low: u64, high: u64) {
        self.0.push((low.min(FAR), high.min(FAR)));
    }

    fn tidy(&mut self) {
        self.0.sort_unstable();
        let mut tidy: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for &(low, high) in &self.0 {
            match tidy.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => tidy.push((low, high)),
            }
        }
        tidy.truncate(MOST_SPANS);
        self.0 = tidy;
    }

    fn plus(&self, other: &Lengths) -> Lengths {
        let mut sum = Lengths(Vec::new());
        for &(low, high) in &self.0 {
            for &(other_low, other_high) in &other.0 {
                sum.add(low + other_low, high + other_high);
            }
        }
        sum.tidy();
        sum
    }

    /// `total` minus each of these lengths.
    fn from(&self, total: u64) -> Lengths {
        let mut spans: Vec<(u64, u64)> = self
            .0
            .iter()
            .filter(|&&(low, _)| low <= total)
            .map(|&(low, high)| (total.saturating_sub(high), total - low))
            .collect();
        spans.reverse();
        Lengths(spans)
    }

    fn and(&self, other: &Lengths) -> Lengths {
        let mut both = Lengths(Vec::new());
        for &(low, high) in &self.0 {
            for &(other_low, other_high) in &other.0 {
                let (low, high) = (low.max(other_low), high.min(other_high));
                if low <= high {
                    both.add(low, high);
                }
            }
        }
        both.tidy();
        both
    }

    fn within(&self, min: u64, max: u64) -> Lengths {
        self.and(&Lengths(vec![(min, max)]))
    }

    fn has(&self, length: u64) -> bool {
        self.0.iter().any(|&(low, high)| low <= length && length <= high)
    }

    /// One of the lengths in `min..=max`, at most `spread` above the smallest.
    fn choose(&self, rng: &mut Rng, min: u64, max: u64, spread: u64) -> Option<u64> {
        let fitting = self.within(min, max);
        let &(first, _) = fitting.0.first()?;
        // Unbounded shapes stop here even when length does not matter.
        let limit = first.saturating_add(spread.min(256));
        let fitting = fitting.within(first, limit);
        let &(low, high) = rng.pick(&fitting.0)?;
        Some(rng.between(i128::from(low), i128::from(high)) as u64)
    }
}

fn parse(pattern: &str) -> Option<Hir> {
    regex_syntax::ParserBuilder::new().nest_limit(100).build().parse(pattern).ok()
}

/// The shape with filling where the pattern is not anchored; `None` if it is on both sides.
fn filled_shape(hir: &Hir) -> Option<Shape> {
    let fill = || {
        let letters = Letters::new(vec![('a', 'z')])?;
        Some(Shape::repeat(Shape { lengths: Lengths::one(1), kind: Kind::Class(letters) }, 0, FAR))
    };
    let mut parts = vec![shape(hir)?];
    let looks = hir.properties().look_set();
    if !looks.contains(Look::Start) {
        parts.insert(0, fill()?);
    }
    if !looks.contains(Look::End) {
        parts.push(fill()?);
    }
    (parts.len() > 1).then(|| Shape::row(parts))
}

fn shape(hir: &Hir) -> Option<Shape> {
    Some(match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Shape::text(String::new()),
        HirKind::Literal(literal) => Shape::text(String::from_utf8(literal.0.to_vec()).ok()?),
        HirKind::Class(class) => {
            let ranges = match class {
                Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
                Class::Bytes(class) => {
                    class.ranges().iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
                }
            };
            Shape { lengths: Lengths::one(1), kind: Kind::Class(Letters::new(ranges)?) }
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max.map_or(FAR, u64::from);
            Shape::repeat(shape(&repetition.sub)?, u64::from(repetition.min), max)
        }
        HirKind::Capture(capture) => shape(&capture.sub)?,
        HirKind::Concat(parts) => Shape::row(parts.iter().map(shape).collect::<Option<_>>()?),
        HirKind::Alternation(parts) => {
            let parts: Vec<Shape> = parts.iter().filter_map(shape).collect();
            let mut lengths = Lengths(parts.iter().flat_map(|part| part.lengths.0.iter().copied()).collect());
            lengths.tidy();
            (!parts.is_empty()).then_some(Shape { lengths, kind: Kind::Either(parts) })?
        }
    })
}

/// Whether every assertion stands at the very start or end, where it holds by construction.
fn only_outer_looks(hir: &Hir) -> bool {
    let looks = hir.properties().look_set();
    if looks.is_empty() {
        return true;
    }
    let plain = [Look::Start, Look::End];
    if !looks.iter().all(|look| plain.contains(&look)) {
        return false;
    }
    fn inner(hir: &Hir, first: bool, last: bool) -> bool {
        match hir.kind() {
            HirKind::Look(Look::Start) => first,
            HirKind::Look(Look::End) => last,
            HirKind::Look(_) => false,
            HirKind::Capture(capture) => inner(&capture.sub, first, last),
            HirKind::Concat(parts) => parts
                .iter()
                .enumerate()
                .all(|(index, part)| inner(part, first && index == 0, last && index + 1 == parts.len())),
            // An alternative without the anchor would get no filling, so all must have it or none.
            HirKind::Alternation(parts) => {
                let anchored = |part: &Hir, look| part.properties().look_set().contains(look);
                [Look::Start, Look::End].into_iter().all(|look| {
                    parts.iter().all(|part| anchored(part, look)) || parts.iter().all(|part| !anchored(part, look))
                }) && parts.iter().all(|part| inner(part, first, last))
            }
            HirKind::Repetition(repetition) => repetition.sub.properties().look_set().is_empty(),
            HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => true,
        }
    }
    inner(hir, true, true)
}

/// ECMA-262 to the syntax of the `regex` crate: class escapes are ASCII, superfluous escapes go, nested brackets are text.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    let mut class_start = false;
    while let Some(c) = chars.next() {
        let at_start = std::mem::take(&mut class_start);
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "A-Za-z0-9_" } else { "[A-Za-z0-9_]" }),
                Some('W') => out.push_str("[^A-Za-z0-9_]"),
                Some('s') => out.push_str(if in_class { r"\s\x{feff}" } else { r"[\s\x{feff}]" }),
                Some('S') => out.push_str(r"[^\s\x{feff}]"),
                Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
                Some('B') if !in_class => out.push_str(r"(?-u:\B)"),
                Some('b') => out.push_str(r"\x08"),
                Some('0') => out.push_str(r"\x00"),
                Some('Z') => out.push('$'),
                Some('<') => out.push('<'),
                Some('>') => out.push('>'),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                class_start = true;
                out.push('[');
            }
            '^' if in_class && at_start => {
                class_start = true;
                out.push('^');
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.peek() == Some(&'-') => out.push_str(r"\-"),
            _ => out.push(c),
        }
    }
    out
}

/// A pattern without its lookaround groups, and what the positive lookaheads look for.
fn without_lookaround(pattern: &str) -> (String, Vec<String>) {
    let chars: Vec<char> = pattern.chars().collect();
    let mut rest = String::new();
    let mut wishes = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        let ahead: String = chars[index..].iter().take(4).collect();
        let Some(intro) = ["(?=", "(?!", "(?<=", "(?<!"].into_iter().find(|intro| ahead.starts_with(intro)) else {
            rest.push(chars[index]);
            if chars[index] == '\\' && index + 1 < chars.len() {
                index += 1;
                rest.push(chars[index]);
            }
            index += 1;
            continue;
        };
        let start = index + intro.len();
        let end = closing(&chars, start);
        if intro == "(?=" {
            let body: String = chars[start..end].iter().collect();
            let body = body.trim_start_matches(".*?").trim_start_matches(".*").trim_end_matches(".*").to_owned();
            wishes.push(body.trim_end_matches('$').to_owned());
        }
        index = end + 1;
    }
    (rest, wishes)
}

/// Where the group ends whose inside starts at `start`.
fn closing(chars: &[char], start: usize) -> usize {
    let (mut depth, mut in_class, mut index) = (0, false, start);
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 1,
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class && depth == 0 => return index,
            ')' if !in_class => depth -= 1,
            _ => {}
        }
        index += 1;
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_strings_for_real_patterns() {
        let patterns = [
            "^[a-z]{2,8}$",
            r"^\d{4}-\d{2}-\d{2}$",
            r"^[\w.+-]+@[\w-]+\.[\w.]{2,}$",
            r"^arn:aws(-[\w]+)*:[a-z0-9]+:.*$",
            r"foo|^ba[rz]$",
            r"^(?=.*[A-Z])(?=.*\d)(?=.*[^\w]).{8,20}$",
            r"^(?!admin)[a-z]{3,9}$",
            r"\b[0-9]{3}\b",
            r"^([a-f0-9]{2}:){5}[a-f0-9]{2}$",
            r"^[^\s/]+(\/[^\s/]+)*$",
            r"[\u0009\u000A\u000D\u0020-\u00FF]+",
            r"^[A-Za-z0-9\-_~&[\]]+$",
            r"^(https?|ftp)://[^\s/$.?#].[^\s]*$",
            r"^(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\.){3}([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$",
            r"^\p{L}+$",
            r"^$|^[A-Z]{3}$",
        ];
        for source in patterns {
            let pattern = Pattern::new(source);
            let validator = formats::options().build(&json!({ "pattern": source })).expect("a pattern");
            for index in 0..200 {
                let text = pattern.generate(&mut Rng::new(7, index, 0), 0, 200);
                let text = text.unwrap_or_else(|| panic!("nothing for {source}"));
                assert!(validator.is_valid(&Value::String(text.clone())), "{source}: {text:?}");
                assert!(pattern.is_match(&text), "{source}: {text:?}");
            }
        }
    }

    #[test]
    fn meets_lengths_exactly() {
        for (source, min, max) in
            [("^[a-z]+$", 40, 40), ("^([a-z]{3}-)+[0-9]{2,5}$", 30, 30), ("ab", 17, 18), ("^(aa|bbb)+$", 25, 25)]
        {
            let pattern = Pattern::new(source);
            for index in 0..50 {
                let text = pattern.generate(&mut Rng::new(1, index, 0), min, max).expect("a string");
                assert!(
                    (min..=max).contains(&(text.chars().count() as u64)) && pattern.is_match(&text),
                    "{source} {text}"
                );
            }
        }
        assert_eq!(Pattern::new("^[0-9]{4}$").generate(&mut Rng::new(1, 1, 1), 5, 9), None);
    }
}
