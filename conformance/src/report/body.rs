//! A body as a report shows it: JSON laid out, the offending part marked, the rest kept short.

use serde_json::Value;

use super::text;

/// How much of a body is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Longer lines are cut.
    pub(crate) columns: usize,
    /// Lines that are shown around what matters.
    pub(crate) context: usize,
    /// A body of at most so many lines is shown whole.
    pub(crate) short: usize,
    /// JSON on one line of at most so many columns is shown as it was sent.
    pub(crate) inline: usize,
}

impl Window {
    /// For a reader who scrolls through everything that there is.
    pub(crate) fn terminal(columns: usize) -> Self {
        Window { columns, context: 4, short: 16, inline: columns }
    }

    /// For a reader who looks at one finding at a time, and can scroll in it.
    pub(crate) const PAGE: Window = Window { columns: 4_000, context: 40, short: 200, inline: 60 };
}

/// A line of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// As it is.
    Plain(String),
    /// The offending line, with the columns (from 0) and the length of the offending part; a length of 0 is the whole
    /// line.
    Marked(String, usize, usize),
    /// So many lines are left out.
    Gap(usize),
}

/// Lays a body out without marking anything.
pub(crate) fn plain(body: &str, window: Window) -> Vec<Line> {
    let lines = match parsed(body) {
        // What is short is shown as it was sent.
        Some(value) if text::width(body) > window.inline || body.contains('\n') => Layout::of(&value, None).lines,
        _ => raw(body),
    };
    finish(lines, window)
}

/// What is no JSON, as it is.
fn raw(body: &str) -> Marks {
    text::harmless(body).lines().map(|line| (line.replace('\t', "  "), None)).collect()
}

/// Lays a body out and marks what a JSON Pointer points to; also says what the reader has to know about the mark, if it
/// stands elsewhere than the pointer says.
pub(crate) fn marked(body: &str, pointer: &str, window: Window) -> (Vec<Line>, Option<String>) {
    let value = parsed(body);
    if pointer.is_empty() {
        let mut lines = value.map_or_else(|| raw(body), |value| Layout::of(&value, None).lines);
        lines.iter_mut().for_each(|(_, mark)| *mark = Some((0, 0)));
        return (finish(lines, window), None);
    }
    let Some(value) = value else {
        let note = format!("the offending part is at {}", text::one_line(pointer, 200));
        return (finish(raw(body), window), Some(note));
    };
    let mut tokens: Vec<String> =
        pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    let mut absent = None;
    while !tokens.is_empty() && find(&value, &tokens).is_none() {
        absent = tokens.pop();
    }
    let note = absent.map(|name| format!("`{}` is not there", text::one_line(&name, 80)));
    (finish(Layout::of(&value, Some(&tokens)).lines, window), note)
}

fn parsed(body: &str) -> Option<Value> {
    serde_json::from_str(body).ok()
}

fn find<'a>(value: &'a Value, tokens: &[String]) -> Option<&'a Value> {
    tokens.iter().try_fold(value, |value, token| match value {
        Value::Object(members) => members.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Lines with, on the offending one, the column and length of the offending part.
type Marks = Vec<(String, Option<(usize, usize)>)>;

/// JSON with two spaces of indent.
struct Layout {
    lines: Marks,
}

impl Layout {
    fn of(value: &Value, target: Option<&[String]>) -> Layout {
        let mut layout = Layout { lines: vec![(String::new(), None)] };
        layout.value(value, target, 0, 0);
        layout
    }

    fn push(&mut self, text: &str) {
        if let Some((line, _)) = self.lines.last_mut() {
            line.push_str(text);
        }
    }

    fn start_line(&mut self, indent: usize) {
        self.lines.push(("  ".repeat(indent), None));
    }

    fn column(&self) -> usize {
        self.lines.last().map_or(0, |(line, _)| line.chars().count())
    }

    fn mark(&mut self, line: usize, from: usize, length: usize) {
        if let Some((_, mark)) = self.lines.get_mut(line) {
            *mark = Some((from, length));
        }
    }

    /// Writes a value at the end of the current line. `target`: what is left of the way to the offending value, if it is
    /// in here; `key_at`: the column where the member's name stands.
    fn value(&mut self, value: &Value, target: Option<&[String]>, indent: usize, key_at: usize) {
        let here = target.is_some_and(<[String]>::is_empty);
        let (line, from) = (self.lines.len() - 1, self.column());
        match value {
            Value::Object(members) if !members.is_empty() => {
                self.push("{");
                for (index, (name, member)) in members.iter().enumerate() {
                    self.start_line(indent + 1);
                    let key_at = self.column();
                    let name_text = text::harmless(&Value::from(name.as_str()).to_string());
                    self.push(&format!("{name_text}: "));
                    self.value(member, onward(target, name), indent + 1, key_at);
                    if index + 1 < members.len() {
                        self.push(",");
                    }
                }
                self.start_line(indent);
                self.push("}");
            }
            Value::Array(items) if !items.is_empty() => {
                self.push("[");
                for (index, item) in items.iter().enumerate() {
                    self.start_line(indent + 1);
                    let key_at = self.column();
                    self.value(item, onward(target, &index.to_string()), indent + 1, key_at);
                    if index + 1 < items.len() {
                        self.push(",");
                    }
                }
                self.start_line(indent);
                self.push("]");
            }
            scalar => self.push(&text::harmless(&scalar.to_string())),
        }
        if here {
            if self.lines.len() - 1 == line {
                let length = self.column() - from;
                self.mark(line, from, length);
            } else {
                // Of what takes several lines, the first stands for all: `"sources": [`.
                let length = self.lines.get(line).map_or(1, |(text, _)| text.chars().count()) - key_at;
                self.mark(line, key_at, length);
            }
        }
    }
}

fn onward<'a>(target: Option<&'a [String]>, name: &str) -> Option<&'a [String]> {
    match target {
        Some([first, rest @ ..]) if first == name => Some(rest),
        _ => None,
    }
}

/// Leaves out what is far from any mark, and cuts long lines around their marks.
fn finish(lines: Marks, window: Window) -> Vec<Line> {
    let Window { columns, context, short, .. } = window;
    let count = lines.len();
    let marks: Vec<usize> =
        lines.iter().enumerate().filter(|(_, (_, mark))| mark.is_some()).map(|(at, _)| at).collect();
    let shown = |at: usize| {
        if count <= short {
            return true;
        }
        // Without a mark, or with one on everything, the beginning says most.
        if marks.is_empty() || marks.len() == count {
            return at + 2 < short || at + 1 == count;
        }
        at < 2 || at + 1 == count || marks.iter().any(|mark| at.abs_diff(*mark) <= context)
    };
    let mut out = Vec::new();
    let mut gap = 0;
    for (at, (line, mark)) in lines.into_iter().enumerate() {
        if !shown(at) {
            gap += 1;
            continue;
        }
        if gap > 0 {
            out.push(Line::Gap(std::mem::take(&mut gap)));
        }
        out.push(match mark {
            None => Line::Plain(cut_around(&line, 0, 0, columns).0),
            Some((_, 0)) => Line::Marked(cut_around(&line, 0, 0, columns).0, 0, 0),
            Some((from, length)) => {
                let (line, from, length) = cut_around(&line, from, length, columns);
                Line::Marked(line, from, length)
            }
        });
    }
    out
}

/// A line cut to so many characters that the part which matters stays in sight; where it then stands.
pub(crate) fn cut_around(line: &str, from: usize, length: usize, columns: usize) -> (String, usize, usize) {
    let total = line.chars().count();
    if total <= columns {
        return (line.to_owned(), from, length);
    }
    // What comes before the mark is worth a third of the room at most.
    let start =
        if from + length.min(columns / 2) > columns.saturating_sub(2) { from.saturating_sub(columns / 3) } else { 0 };
    let mut out = String::new();
    if start > 0 {
        out.push('…');
    }
    let lead = usize::from(start > 0);
    let room = columns.saturating_sub(lead + 1);
    out.extend(line.chars().skip(start).take(room));
    if start + room < total {
        out.push('…');
    }
    let from = from - start + lead;
    let length = length.min(out.chars().count().saturating_sub(from));
    (out, from, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(body: &str, pointer: &str) -> Vec<Line> {
        marked(body, pointer, Window::terminal(40)).0
    }

    #[test]
    fn a_scalar_is_marked_where_it_stands() {
        let found = lines(r#"{"id":"a1","name":null}"#, "/name");
        assert_eq!(found[2], Line::Marked("  \"name\": null".into(), 10, 4));
    }

    #[test]
    fn a_container_is_marked_at_its_first_line() {
        let found = lines(r#"{"a":{"b":[1,2]}}"#, "/a/b");
        assert_eq!(found[2], Line::Marked("    \"b\": [".into(), 4, 6));
        let found = lines(r#"[{"a":1},{"a":"x"}]"#, "/1/a");
        assert_eq!(found[5], Line::Marked("    \"a\": \"x\"".into(), 9, 3));
    }

    #[test]
    fn what_is_absent_is_said_beside_its_parent() {
        let (found, note) = marked(r#"{"a":{"b":1}}"#, "/a/c", Window::terminal(40));
        assert_eq!(found[1], Line::Marked("  \"a\": {".into(), 2, 6));
        assert_eq!(note.as_deref(), Some("`c` is not there"));
        let (found, note) = marked("{}", "/c", Window::terminal(40));
        assert_eq!(found, [Line::Marked("{}".into(), 0, 2)]);
        assert_eq!(note.as_deref(), Some("`c` is not there"));
    }

    #[test]
    fn a_body_that_is_no_json_is_shown_as_it_is() {
        let (found, note) = marked("<html>\n\x1b[2J", "/a", Window::terminal(40));
        assert_eq!(found, [Line::Plain("<html>".into()), Line::Plain("\\x1b[2J".into())]);
        assert_eq!(note.as_deref(), Some("the offending part is at /a"));
    }

    #[test]
    fn a_whole_body_is_marked_on_every_line() {
        let found = lines("a\nb", "");
        assert_eq!(found, [Line::Marked("a".into(), 0, 0), Line::Marked("b".into(), 0, 0)]);
        let found = lines(&"a\n".repeat(100), "");
        assert!(found.contains(&Line::Gap(85)) && found.len() == 16, "{found:?}");
    }

    #[test]
    fn a_long_body_keeps_what_is_around_the_mark() {
        let body = serde_json::to_string(&(0..100).collect::<Vec<u32>>()).unwrap_or_default();
        let found = lines(&body, "/50");
        assert_eq!(found.iter().filter(|line| matches!(line, Line::Gap(_))).count(), 2);
        assert!(found.contains(&Line::Marked("  50,".into(), 2, 2)), "{found:?}");
        assert!(found.len() < 20);
    }

    #[test]
    fn a_long_line_keeps_its_mark_in_sight() {
        let line = format!("{}MARK{}", "a".repeat(200), "b".repeat(200));
        let (cut, from, length) = cut_around(&line, 200, 4, 60);
        assert_eq!(cut.chars().skip(from).take(length).collect::<String>(), "MARK");
        assert!(cut.chars().count() <= 60, "{cut}");
        let (cut, from, length) = cut_around(&line, 0, 300, 60);
        assert_eq!((cut.chars().count(), from, length), (60, 0, 60));
    }
}
