use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::finding::Offending;

/// `error.no-internals`.
pub(super) struct NoInternals;

static META: Meta = Meta {
    id: "error.no-internals",
    level: Level::Must,
    title: "no failure shows the service's insides",
    rationale: "Stack traces, SQL and file paths help an attacker and nobody else. CWE-209; OWASP API8:2023.",
    sends: "nothing of its own; every failing answer is looked at",
    demands: "no stack trace, SQL statement or error, absolute source path or panic message in the body",
    guards: "patterns that need a file with a line number, a driver's own wording or a frame layout, so that words such as \
             \"select\" in prose do not count; text that the request itself carried is not held against the answer",
    fault: "an internal error carries the text of an SQL error",
};

static PATTERNS: [(&str, &str); 9] = [
    ("a Python stack trace", r"Traceback \(most recent call last\)|\bFile \x22[^\x22]+\.py\x22, line \d+"),
    ("a Java stack trace", r"\bat [\w.$]+\([\w]+\.java:\d+\)"),
    ("a JavaScript stack trace", r"\bat .{1,120}\(?(?:/|file://)[^\s)]+\.(?:js|ts|mjs):\d+:\d+"),
    ("a Go stack trace", r"goroutine \d+ \[running\]|\.go:\d+ \+0x"),
    ("a Rust panic or backtrace", r"panicked at|\bsrc/[\w/]+\.rs:\d+(?::\d+)?|called `(?:Option|Result)::unwrap\(\)`"),
    ("a .NET stack trace", r"\bat [\w.]+\(.*\) in .+\.cs:line \d+"),
    (
        "an SQL statement or error",
        r"(?i)\bSELECT\s.{1,200}\sFROM\s.{1,100}(?:\sWHERE\s|;|\$\d)|\bINSERT INTO\s+\w+\s*\(|\bSQLSTATE\b|\bsqlite3?(?:_|\s+)error\b|UNIQUE constraint failed|no such (?:table|column):|syntax error at or near|ORA-\d{5}|duplicate key value violates",
    ),
    ("a file path", r"(?:^|[\s\x22'(=])/(?:usr|home|var|opt|root|app|srv|etc|tmp|Users)/[\w.-]+/[\w./-]+"),
    ("a file path", r"\b[A-Z]:\\\\?[\w .-]+\\\\?[\w .\\-]+"),
];

impl Check for NoInternals {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        static SET: LazyLock<Option<(RegexSet, Vec<Regex>)>> = LazyLock::new(|| {
            let set = RegexSet::new(PATTERNS.map(|(_, pattern)| pattern)).ok()?;
            let each = PATTERNS.iter().map(|(_, pattern)| Regex::new(pattern)).collect::<Result<_, _>>().ok()?;
            Some((set, each))
        });
        if seen.response.status < 400 {
            return;
        }
        let clauses = seen.clauses();
        let clause = clauses.envelope.unwrap_or(clauses.secrets);
        let Some((set, each)) = &*SET else { return };
        let body = &seen.response.body;
        for index in set.matches(body) {
            let Some(found) = each[index].find(body) else { continue };
            let (what, _) = PATTERNS[index];
            let echoed = contains(&seen.exchange.request.body, found.as_bytes().trim_ascii())
                || seen.exchange.request.path.contains(&*String::from_utf8_lossy(found.as_bytes().trim_ascii()));
            if !echoed {
                let text: String = String::from_utf8_lossy(found.as_bytes()).chars().take(120).collect();
                let broken = Break::new(&META, clause, format!("a failing answer shows {what}"))
                    .with_values("a message that says nothing of the service's insides", text)
                    .with_cause(what)
                    .with_offending(Offending::Body(String::new()));
                verdicts.broke(broken);
                return;
            }
        }
        verdicts.hold(clause);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}
