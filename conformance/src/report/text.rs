//! Words and numbers as people read them, and text of strangers made harmless.

use std::time::Duration;

/// Text of a service or a document in which nothing moves the cursor, changes colours or turns the reading direction:
/// what a deployment answers must not be able to rewrite the report about it. Line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() && u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Line and paragraph separators, marks that turn the reading direction, the byte order mark.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`harmless`], on one line and of at most `limit` characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&harmless(&joined), limit)
}

/// The first `limit` characters; an ellipsis says that there were more.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Breaks text at spaces. Words are never broken: ids, URLs and paths stay copyable. Line ends in the text stay.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let wide = width(word);
            if used > 0 && used + 1 + wide > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += wide;
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// `1 case`, `1,204 cases`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = match thing {
        _ if number == 1 => thing.to_owned(),
        _ if thing.ends_with('y') => format!("{}ies", &thing[..thing.len() - 1]),
        _ if thing.ends_with('s') => format!("{thing}es"),
        _ => format!("{thing}s"),
    };
    format!("{} {plural}", thousands(number))
}

/// `1,286`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `850 µs`, `2.1 ms`, `12.3 s`, `3 min 4 s`, `2 h 5 min`.
pub(crate) fn duration(time: Duration) -> String {
    let (micros, seconds) = (time.as_micros(), time.as_secs());
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ if seconds < 60 => format!("{:.1} s", time.as_secs_f64()),
        _ if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn and(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "case"), "1 case");
        assert_eq!(count(0, "reply"), "0 replies");
        assert_eq!(count(2, "status"), "2 statuses");
        assert_eq!(duration(Duration::from_micros(850)), "850 µs");
        assert_eq!(duration(Duration::from_millis(2)), "2.0 ms");
        assert_eq!(duration(Duration::from_millis(59_900)), "59.9 s");
        assert_eq!(duration(Duration::from_secs(184)), "3 min 4 s");
        assert_eq!(duration(Duration::from_secs(7_500)), "2 h 5 min");
    }

    #[test]
    fn text_of_strangers_cannot_touch_the_terminal() {
        assert_eq!(harmless("a\x1b[31mb\r\x07\u{202e}c\n\td"), "a\\x1b[31mb\\x0d\\x07\\u{202e}c\n\td");
        assert_eq!(one_line("  a\n b\t\x1b c ", 80), "a b \\x1b c");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }

    #[test]
    fn wrapping_breaks_at_spaces_only() {
        assert_eq!(wrap("aaa bbb ccc", 7), ["aaa bbb", "ccc"]);
        assert_eq!(wrap("https://example.com/long a", 5), ["https://example.com/long", "a"]);
        assert_eq!(wrap("one\ntwo", 80), ["one", "two"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("日本 語", 4), ["日本", "語"]);
    }
}
