//! The report for people: on a terminal, and in the log of a build where there are neither colours nor a known width.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::body::{self, Line, Window};
use super::text::{self, count, one_line, thousands};
use super::{ExitCode, FailOn, INTERRUPTED, OperationTally, Report, documented_status, level, offending_exchange};
use crate::check::{Level, Meta};
use crate::clause::State;
use crate::deviation::DeviationState;
use crate::event::LedgerEntry;
use crate::finding::{Finding, Offending, Place, RecordedExchange, RecordedRequest, RecordedResponse};

/// Findings that are shown in full; of the others there is a line each. The JSON report holds all of them.
const IN_FULL: usize = 25;

/// Names listed for one reason before the rest is only counted.
const NAMED: usize = 12;

/// What there is to say of a clause that is neither held nor broken although something was sent.
pub(super) const UNCLEAR: &str = "tried, but no answer says yes or no";

/// How a report is laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Whether ANSI colours are wanted.
    pub colour: bool,
    /// Columns.
    pub columns: usize,
    /// Findings and verdict only.
    pub quiet: bool,
    /// Files that hold the report in other formats, named before the verdict.
    pub files: Vec<PathBuf>,
}

impl Default for Layout {
    fn default() -> Self {
        // Logs of builds are read in narrow panes; 100 columns fit most.
        Layout { colour: false, columns: 100, quiet: false, files: Vec::new() }
    }
}

/// The whole report.
pub fn render(report: &Report, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    if !layout.quiet {
        page.header(report);
    }
    let open: Vec<&Finding> = report.open_findings().collect();
    for finding in open.iter().take(IN_FULL) {
        page.blank();
        page.finding(report, finding);
    }
    page.short_findings(open.get(IN_FULL..).unwrap_or_default());
    page.deviations(report);
    page.flaky(report);
    if !layout.quiet {
        page.notes(report);
        page.coverage(report);
    }
    page.files(&layout.files);
    page.verdict(report);
    page.out
}

/// One finding, as in the whole report.
pub fn finding(report: &Report, finding: &Finding, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    page.finding(report, finding);
    page.out
}

/// What there is to know about a check.
pub fn explain(meta: &Meta, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let title = page.paint(Paint::Bold, &format!("{}  {}", meta.id, meta.title));
    page.line(&title);
    let binding = match meta.level {
        Level::Must => "MUST: the contract or a standard demands it; a finding fails the run",
        Level::Should => "SHOULD: good practice; a finding fails the run with --fail-on should only",
    };
    page.line(binding);
    for (label, text) in [
        ("Why", meta.rationale),
        ("What is sent", meta.sends),
        ("What must happen", meta.demands),
        ("What keeps it from false alarms", meta.guards),
        ("The seeded fault that proves it", meta.fault),
    ] {
        if !text.trim().is_empty() {
            page.blank();
            let label = page.paint(Paint::Bold, label);
            page.line(&label);
            page.wrapped("  ", "  ", text);
        }
    }
    page.out
}

#[derive(Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Blue,
}

struct Page<'a> {
    layout: &'a Layout,
    out: String,
}

impl<'a> Page<'a> {
    fn new(layout: &'a Layout) -> Self {
        Page { layout, out: String::new() }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.layout.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "1;31",
            Paint::Yellow => "1;33",
            Paint::Green => "1;32",
            Paint::Blue => "34",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// One empty line, never two.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn title(&mut self, text: &str) {
        self.blank();
        let text = self.paint(Paint::Bold, text);
        self.line(&text);
    }

    /// Text broken at spaces; `first` stands before the first line, `rest` before the others.
    fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let columns = self.layout.columns.saturating_sub(text::width(rest)).max(20);
        for (index, line) in text::wrap(text, columns).iter().enumerate() {
            let lead = if index == 0 { first } else { rest };
            self.line(&format!("{lead}{line}"));
        }
    }

    /// `label   text`, the text in one column.
    fn field(&mut self, label: &str, text: &str) {
        let first = format!("  {}", self.paint(Paint::Dim, &format!("{label:<11} ")));
        self.wrapped(&first, &" ".repeat(14), text);
    }

    fn header(&mut self, report: &Report) {
        let Some(run) = &report.run else { return };
        let title = format!("trueline {}  {}", run.version, one_line(&run.title, 200));
        let title = self.paint(Paint::Bold, &title);
        self.line(&title);
        let source =
            report.invocation.as_ref().map(|one| one.contract.to_string()).filter(|from| *from != run.contract);
        let source = source.map(|from| format!(" from {from}")).unwrap_or_default();
        self.field("contract", &format!("{}{source}, digest {}", run.contract, text::cut(&run.digest, 12)));
        self.field("target", &text::harmless(&run.target));
        self.field("seed", &run.seed.to_string());
        if let Some(shard) = run.shard {
            self.field("shard", &format!("{shard} of the plan; `trueline merge` puts all of them together"));
        }
        let phases: Vec<String> = run.phases.iter().map(ToString::to_string).collect();
        let plan = format!("{}: {} in {}", run.plan, count(run.cases, "case"), text::and(&phases));
        self.field("plan", &plan);
    }

    fn finding(&mut self, report: &Report, finding: &Finding) {
        let kind = match finding.level {
            Level::Must => Paint::Red,
            Level::Should => Paint::Yellow,
        };
        let label = self.paint(kind, &format!("{} {}", level(finding.level), finding.check));
        let title = self.paint(Paint::Bold, &one_line(&finding.title, 300));
        self.line(&format!("{label}  {title}"));
        self.place(&finding.place, finding);
        self.blank();
        self.evidence(finding);
        self.blank();
        // Not wrapped: it is there to be copied.
        if let Some(exchange) = offending_exchange(finding) {
            let curl = text::harmless(&finding.evidence.exchanges[exchange].curl);
            self.line(&format!("  {}", self.paint(Paint::Blue, &curl)));
        }
        self.line(&format!("  replay:  trueline replay {}", finding.id));
        self.line(&format!("  explain: trueline explain {}", finding.check));
        let cases = count(finding.cases, "case");
        let first = operation_of(report, finding);
        let others: Vec<&String> = finding.operations.iter().filter(|id| Some(id.as_str()) != first).collect();
        match (first, others.len()) {
            (Some(first), 0) => self.line(&format!("  seen in {first}, {cases}")),
            (Some(first), more) => {
                let more = count(more as u64, "operation").replacen(' ', " more ", 1);
                let text = format!("seen in {first}, {cases}, and {more}: {}", named(others));
                self.wrapped("  ", "    ", &text);
            }
            (None, _) => self.wrapped("  ", "    ", &format!("seen in {}, {cases}", named(others))),
        }
    }

    /// Where the clause stands, then what was promised and what came: the shape of every message about a document.
    fn place(&mut self, place: &Place, finding: &Finding) {
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let bar = self.paint(Paint::Blue, "|");
        let arrow = self.paint(Paint::Blue, "-->");
        self.line(&format!("{margin}{arrow} {}:{}:{}", text::harmless(&place.file), place.line, place.column));
        if !place.text.trim().is_empty() {
            let source = text::harmless(&place.text).replace('\t', " ");
            let (from, length) = caret(&source, place.column);
            let columns = self.layout.columns.saturating_sub(number.len() + 3).max(20);
            let (source, from, length) = body::cut_around(&source, from, length, columns);
            self.line(&format!("{margin} {bar}"));
            self.line(&format!("{} {bar} {source}", self.paint(Paint::Blue, &number)));
            let carets = self.paint(Paint::Red, &underline(&source, from, length));
            self.line(&format!("{margin} {bar} {carets}"));
        }
        if !place.pointer.is_empty() {
            self.line(&format!("{margin} {bar} {}", text::harmless(&place.pointer)));
        }
        let equals = self.paint(Paint::Blue, "=");
        let help = finding.help.as_deref().unwrap_or_default();
        for (label, text) in [("expected", finding.expected.as_str()), ("actual", &finding.actual), ("help", help)] {
            if !text.is_empty() {
                let text = text::harmless(&text::cut(text, 600));
                let first = format!("{margin} {equals} {label:>8}: ");
                self.wrapped(&first, &" ".repeat(margin.len() + 13), &text);
            }
        }
    }

    fn evidence(&mut self, finding: &Finding) {
        let evidence = &finding.evidence;
        let shrunk = match evidence.shrunk {
            0 => String::new(),
            times => format!(", made smaller {}", count(times.into(), "time")),
        };
        let Some(shown) = offending_exchange(finding) else {
            self.line(&format!("  {}", self.paint(Paint::Bold, "no exchange was recorded")));
            return;
        };
        if evidence.exchanges.len() > 1 {
            self.sequence(finding, shown);
            self.blank();
        }
        let exchange = &evidence.exchanges[shown];
        let what = if evidence.exchanges.len() > 1 {
            format!("request {}", number_of(finding, shown))
        } else {
            "smallest request".to_owned()
        };
        self.line(&format!("  {}{}", self.paint(Paint::Bold, &what), self.paint(Paint::Dim, &shrunk)));
        self.request(&exchange.request);
        self.blank();
        match (&exchange.response, &exchange.failure) {
            (Some(response), _) => {
                let time = text::duration(Duration::from_micros(response.elapsed_us));
                self.line(&format!(
                    "  {}{}",
                    self.paint(Paint::Bold, "response"),
                    self.paint(Paint::Dim, &format!(" after {time}"))
                ));
                self.response(response);
            }
            (None, failure) => {
                let why = failure.as_deref().unwrap_or("the reason is not known");
                self.line(&format!("  {}", self.paint(Paint::Bold, "no response")));
                self.gutter(&text::harmless(why));
            }
        }
    }

    /// A line a request: what happened on the way to the one that matters.
    fn sequence(&mut self, finding: &Finding, shown: usize) {
        let evidence = &finding.evidence;
        let total = evidence.exchanges.len() + evidence.left_out;
        self.line(&format!(
            "  {}",
            self.paint(Paint::Bold, &format!("sequence of {}", count(total as u64, "request")))
        ));
        for (index, exchange) in evidence.exchanges.iter().enumerate() {
            if index == gap_at(finding) && evidence.left_out > 0 {
                let gap = format!("         … {} more", thousands(evidence.left_out as u64));
                self.line(&self.paint(Paint::Dim, &gap));
            }
            let mark = if index == shown { self.paint(Paint::Red, ">") } else { " ".to_owned() };
            let answer = outcome(exchange);
            let request = format!("{} {}", exchange.request.method, path_of(&exchange.request.url));
            let number = number_of(finding, index);
            self.line(&format!("  {mark} {number:>4}  {}  {answer}", one_line(&request, 160)));
        }
    }

    fn request(&mut self, request: &RecordedRequest) {
        self.gutter(&format!("{} {}", one_line(&request.method, 40), one_line(&request.url, 2_000)));
        for (name, value) in &request.headers {
            self.gutter(&format!("{}: {}", one_line(name, 100), one_line(value, 400)));
        }
        if !request.body.is_empty() {
            self.gutter("");
            self.body(&body::plain(&request.body, self.window()));
        }
    }

    fn response(&mut self, response: &RecordedResponse) {
        let reason = http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
        let status = format!("HTTP {} {}", response.status, reason.unwrap_or_default());
        let status = status.trim_end();
        match &response.offending {
            Some(Offending::Status) => self.marked(status, 5, status.chars().count() - 5),
            _ => self.gutter(status),
        }
        let mut absent = match &response.offending {
            Some(Offending::Header(name)) => Some(name),
            _ => None,
        };
        for (name, value) in &response.headers {
            let line = format!("{}: {}", one_line(name, 100), one_line(value, 400));
            match &response.offending {
                Some(Offending::Header(wanted)) if wanted.eq_ignore_ascii_case(name) => {
                    absent = None;
                    self.marked(&line, 0, line.chars().count());
                }
                _ => self.gutter(&line),
            }
        }
        if let Some(name) = absent {
            let line = format!("({} is not there)", one_line(name, 100));
            self.marked(&line, 0, 0);
        }
        match &response.offending {
            Some(Offending::Body(_)) if response.body.is_empty() => {
                self.gutter("");
                self.marked("(no body)", 0, 0);
            }
            _ if response.body.is_empty() => {}
            Some(Offending::Body(pointer)) => {
                self.gutter("");
                let (lines, note) = body::marked(&response.body, pointer, self.window());
                let marked = lines.iter().any(|line| matches!(line, Line::Marked(..)));
                match note {
                    Some(note) if marked => self.body_with_note(&lines, &note),
                    note => {
                        self.body(&lines);
                        if let Some(note) = note {
                            self.marked(&format!("({note})"), 0, 0);
                        }
                    }
                }
            }
            _ => {
                self.gutter("");
                self.body(&body::plain(&response.body, self.window()));
            }
        }
    }

    fn window(&self) -> Window {
        Window::terminal(self.layout.columns.saturating_sub(6).max(20))
    }

    fn body(&mut self, lines: &[Line]) {
        self.body_with_note(lines, "");
    }

    /// The note stands behind the carets.
    fn body_with_note(&mut self, lines: &[Line], note: &str) {
        for line in lines {
            match line {
                Line::Plain(text) => self.gutter(text),
                Line::Marked(text, from, length) => self.marked_with(text, *from, *length, note),
                Line::Gap(lines) => {
                    let gap = self.paint(Paint::Dim, &format!("… {}", count(*lines as u64, "line")));
                    self.gutter(&gap);
                }
            }
        }
    }

    /// Everything that a service or a request says stands behind a bar: no line of it can pass for one of ours, nor for a
    /// command to the build system that reads the log.
    fn gutter(&mut self, text: &str) {
        let bar = self.paint(Paint::Dim, "|");
        self.line(&format!("    {bar} {text}"));
    }

    fn marked(&mut self, text: &str, from: usize, length: usize) {
        self.marked_with(text, from, length, "");
    }

    fn marked_with(&mut self, text: &str, from: usize, length: usize, note: &str) {
        let bar = self.paint(Paint::Dim, "|");
        let arrow = self.paint(Paint::Red, ">");
        self.line(&format!("  {arrow} {bar} {text}"));
        let below = underline(text, from, length);
        let below = if note.is_empty() { below } else { format!("{below} {note}") };
        if !below.trim().is_empty() {
            self.line(&format!("    {bar} {}", self.paint(Paint::Red, &below)));
        }
    }

    fn short_findings(&mut self, findings: &[&Finding]) {
        if findings.is_empty() {
            return;
        }
        self.title(&format!("{}, of which the JSON report has the rest", more(findings.len(), "finding")));
        for one in findings {
            let line = format!("{:<6} {}  {}  {}", level(one.level), one.check, one_line(&one.title, 120), one.id);
            self.wrapped("  ", "         ", &line);
        }
    }

    /// What the owner has accepted, and what has become of it.
    fn deviations(&mut self, report: &Report) {
        let file = report.deviations.file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
        for (state, title) in [
            (DeviationState::Stale, "Stale: accepted, and not there any more; take them out of the file"),
            (DeviationState::Expired, "Accepted once, and past the last day"),
            (DeviationState::Accepted, "Accepted, so no reason to fail"),
            (DeviationState::NotSeen, "Accepted, and not looked at in this run"),
        ] {
            let mut of_state = report.deviations.in_state(state).peekable();
            if of_state.peek().is_none() {
                continue;
            }
            self.title(&format!("{title}{file}"));
            for one in of_state {
                self.line(&format!("  {}  {}  {}", one.finding, one.check, one_line(&one.title, 120)));
                let until = one.until;
                self.wrapped("    ", "    ", &format!("until {until}: {}", one_line(&one.reason, 400)));
            }
        }
    }

    fn flaky(&mut self, report: &Report) {
        if report.flaky.is_empty() {
            return;
        }
        self.title("Flaky: failed once and not again, so not a finding");
        for flaky in report.flaky.iter().take(NAMED) {
            self.line(&format!("  {}", one_line(&flaky.case, 300)));
            self.wrapped("    ", "    ", &one_line(&flaky.what, 400));
        }
        let unlisted = report.flaky.len().saturating_sub(NAMED) + usize::try_from(report.flaky_unlisted).unwrap_or(0);
        if unlisted > 0 {
            self.line(&format!("  and {}", more(unlisted, "flaky case")));
        }
    }

    fn notes(&mut self, report: &Report) {
        if report.notes.is_empty() && report.clock_advanced_s == 0 {
            return;
        }
        self.title("Notes");
        if report.clock_advanced_s > 0 {
            let time = text::duration(Duration::from_secs(report.clock_advanced_s));
            self.line(&format!("  - the service's clock was moved by {time} in all"));
        }
        for note in report.notes.iter().take(NAMED) {
            self.wrapped("  - ", "    ", &text::harmless(&text::cut(note, 1_000)));
        }
        let unlisted = report.notes.len().saturating_sub(NAMED) + usize::try_from(report.notes_unlisted).unwrap_or(0);
        if unlisted > 0 {
            self.line(&format!("  - and {}", more(unlisted, "note")));
        }
    }

    fn coverage(&mut self, report: &Report) {
        if report.ledger.is_empty() {
            return;
        }
        self.title("Coverage");
        let number = |state| report.clauses(state).count() as u64;
        let mut parts = Vec::new();
        for (state, word, paint) in [
            (State::Held, "held", Paint::Green),
            (State::Broken, "broken", Paint::Red),
            (State::Inconclusive, "inconclusive", Paint::Yellow),
            (State::NotExercised, "not exercised", Paint::Yellow),
        ] {
            let found = number(state);
            let part = format!("{} {word}", thousands(found));
            parts.push(if found > 0 { self.paint(paint, &part) } else { part });
        }
        self.field("clauses", &format!("{} of {}", parts.join(", "), thousands(report.ledger.len() as u64)));
        self.operations(&report.operations);
        let documented: Vec<(&LedgerEntry, &str)> =
            report.ledger.iter().filter_map(|entry| Some((entry, documented_status(entry)?.1))).collect();
        let seen = documented.iter().filter(|(entry, _)| is_exercised(entry.state)).count();
        self.field("statuses", &format!("{seen} of {} documented ones came", documented.len()));
        let totals = &report.totals;
        let cases = format!(
            "{} passed, {} failed, {} inconclusive, {} skipped of {}",
            thousands(totals.passed),
            thousands(totals.failed),
            thousands(totals.inconclusive),
            thousands(totals.skipped),
            thousands(totals.planned)
        );
        self.field("cases", &cases);
        let time = text::duration(Duration::from_millis(totals.elapsed_ms));
        let rate = totals.requests.saturating_mul(1_000) / totals.elapsed_ms.max(1);
        self.field("requests", &format!("{} in {time}, {} a second", thousands(totals.requests), thousands(rate)));

        let missing = documented.iter().filter(|(entry, _)| !is_exercised(entry.state)).map(|(entry, _)| *entry);
        self.reasons("Documented statuses that nothing provoked", missing, true);
        let other = report.clauses(State::NotExercised).filter(|entry| documented_status(entry).is_none());
        self.reasons("Other clauses that were not exercised", other, false);
        let unclear = report.clauses(State::Inconclusive).filter(|entry| documented_status(entry).is_none());
        self.reasons("Clauses without a verdict", unclear, false);
        if !report.skipped.is_empty() {
            self.title("Cases that were planned and not sent");
            let mut skipped: Vec<(&String, &u64)> = report.skipped.iter().collect();
            skipped.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            for (reason, cases) in skipped {
                let lead = format!("  {:>6}  ", thousands(*cases));
                self.wrapped(&lead, &" ".repeat(10), &one_line(reason, 400));
            }
        }
    }

    fn operations(&mut self, operations: &[OperationTally]) {
        let succeeded = |tally: &OperationTally| tally.statuses.keys().any(|status| (200..300).contains(status));
        let good = operations.iter().filter(|tally| succeeded(tally)).count();
        let text = format!("{good} of {} answered with a 2xx", operations.len());
        let paint = if good == operations.len() { Paint::Green } else { Paint::Yellow };
        let text = self.paint(paint, &text);
        self.field("operations", &text);
        let (uncalled, refused): (Vec<_>, Vec<_>) =
            operations.iter().filter(|tally| !succeeded(tally)).partition(|tally| tally.statuses.is_empty());
        for tally in refused {
            let statuses: Vec<String> =
                tally.statuses.iter().map(|(status, times)| format!("{times} × {status}")).collect();
            self.field("", &format!("{}: only {}", tally.id, statuses.join(", ")));
        }
        if !uncalled.is_empty() {
            let ids = named(uncalled.iter().map(|tally| &tally.id).collect());
            self.field("", &format!("never answered: {ids}"));
        }
    }

    /// Clauses grouped by the reason why there is nothing to say about them.
    fn reasons<'e>(&mut self, title: &str, entries: impl Iterator<Item = &'e LedgerEntry>, by_name: bool) {
        let mut groups: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for entry in entries {
            let reason = match (&entry.reason, entry.state) {
                (Some(reason), _) => one_line(reason, 400),
                (None, State::Inconclusive) => UNCLEAR.to_owned(),
                (None, _) => "no reason is known".to_owned(),
            };
            groups.entry(reason).or_default().push(&entry.clause);
        }
        if groups.is_empty() {
            return;
        }
        let total: usize = groups.values().map(Vec::len).sum();
        self.title(&format!("{title}: {}", thousands(total as u64)));
        let mut groups: Vec<(String, Vec<&String>)> = groups.into_iter().collect();
        groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
        for (reason, clauses) in groups {
            let lead = format!("  {:>6}  ", thousands(clauses.len() as u64));
            self.wrapped(&lead, &" ".repeat(10), &reason);
            // What a manager asks is "which?"; of the small promises the number is enough, and the JSON report names all.
            let limit = if by_name { usize::MAX } else { 3 };
            self.wrapped(&" ".repeat(10), &" ".repeat(10), &named_up_to(clauses, limit));
        }
    }

    fn files(&mut self, files: &[PathBuf]) {
        if files.is_empty() {
            return;
        }
        self.blank();
        for (index, file) in files.iter().enumerate() {
            let label = if index == 0 { "written" } else { "" };
            self.field(label, &file.display().to_string());
        }
    }

    fn verdict(&mut self, report: &Report) {
        self.blank();
        let (word, paint, text) = verdict(report);
        let word = self.paint(paint, word);
        // One line, however long: it is the one that people search for.
        self.line(&format!("{word}  {text} (exit {}: {})", report.verdict.code(), report.verdict.meaning()));
    }
}

/// The one line that many will read only.
pub(super) fn verdict(report: &Report) -> (&'static str, Paint, String) {
    let must = report.findings_of(Level::Must).count() as u64;
    let should = report.findings_of(Level::Should).count() as u64;
    let time = text::duration(Duration::from_millis(report.totals.elapsed_ms));
    let judged = count(report.judged(), "case");
    let stale = report.deviations.stale().count() as u64;
    let accepted = report.deviations.in_state(DeviationState::Accepted).count() as u64;
    let found = match (must, should) {
        (0, 0) if stale > 0 => count(stale, "stale deviation"),
        (0, 0) => "no finding".to_owned(),
        (must, 0) => count(must, "MUST finding"),
        (0, should) => count(should, "SHOULD finding"),
        (must, should) => format!("{} and {}", count(must, "MUST finding"), count(should, "SHOULD finding")),
    };
    let found = match accepted {
        0 => found,
        accepted => format!("{found} ({accepted} accepted)"),
    };
    let partial = match &report.interrupted {
        Some(why) if why != INTERRUPTED => format!("; the run ended before its plan: {}", one_line(why, 200)),
        _ if !report.complete => "; the run broke off, this is what was known until then".to_owned(),
        _ => String::new(),
    };
    match report.verdict {
        ExitCode::Conforms => {
            let open = report.clauses(State::NotExercised).count() as u64;
            let open = match open {
                0 => String::new(),
                open => format!("; {} not exercised", count(open, "clause")),
            };
            let lenient = if should > 0 { "; --fail-on should would fail it" } else { "" };
            ("CONFORMS", Paint::Green, format!("{found} in {judged}, {time}{lenient}{open}{partial}"))
        }
        ExitCode::Findings => {
            let strict = match report.fail_on {
                FailOn::Should if must == 0 && should > 0 => "; --fail-on should fails it",
                _ => "",
            };
            ("DOES NOT CONFORM", Paint::Red, format!("{found} in {judged}, {time}{strict}{partial}"))
        }
        ExitCode::NothingTested => {
            let why = if report.totals.planned == 0 {
                "the plan has no case"
            } else if report.totals.inconclusive > 0 {
                "no answer could be judged"
            } else {
                "no case was sent"
            };
            ("NOTHING TESTED", Paint::Yellow, format!("{why}, {time}{partial}"))
        }
        ExitCode::Interrupted => {
            let done = report.judged() + report.totals.inconclusive + report.totals.skipped;
            let of = count(report.totals.planned, "case");
            ("INTERRUPTED", Paint::Yellow, format!("after {} of {of}, {time}; {found} until then", thousands(done)))
        }
        ExitCode::Unreachable if report.failure.is_none() => {
            ("BROKE OFF", Paint::Red, format!("{found} in {judged}, {time}{partial}"))
        }
        ExitCode::Usage | ExitCode::Unreachable => {
            let why = report.failure.as_deref().map(|why| one_line(why, 400));
            ("NOT RUN", Paint::Red, why.unwrap_or_else(|| "the reason is not known".to_owned()))
        }
    }
}

/// `3 more findings`.
fn more(number: usize, thing: &str) -> String {
    count(number as u64, thing).replacen(' ', " more ", 1)
}

fn named(names: Vec<&String>) -> String {
    named_up_to(names, NAMED)
}

fn named_up_to(names: Vec<&String>, limit: usize) -> String {
    let listed: Vec<String> = names.iter().take(limit).map(|name| one_line(name, 200)).collect();
    let hidden = names.len().saturating_sub(limit);
    match hidden {
        0 => listed.join(", "),
        hidden => format!("{} and {} more", listed.join(", "), thousands(hidden as u64)),
    }
}

fn is_exercised(state: State) -> bool {
    matches!(state, State::Held | State::Broken)
}

/// The operation that the finding's case is about.
pub(super) fn operation_of<'a>(report: &'a Report, finding: &Finding) -> Option<&'a str> {
    let index = finding.evidence.case.operation();
    report.run.as_ref()?.operations.get(index).map(String::as_str)
}

/// Where in the recorded exchanges others are left out: of a long count, its first two and everything after it are kept.
pub(super) fn gap_at(finding: &Finding) -> usize {
    (finding.evidence.exchanges.len() / 2).min(2)
}

/// The number of a recorded exchange in its whole sequence.
pub(super) fn number_of(finding: &Finding, index: usize) -> usize {
    let left_out = if index >= gap_at(finding) { finding.evidence.left_out } else { 0 };
    index + 1 + left_out
}

pub(super) fn outcome(exchange: &RecordedExchange) -> String {
    match (&exchange.response, &exchange.failure) {
        (Some(response), _) => response.status.to_string(),
        (None, Some(failure)) => one_line(failure, 120),
        (None, None) => "no answer".to_owned(),
    }
}

/// Path and query of a URL; the host is in the report's header.
pub(super) fn path_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return url };
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// Which part of a line of the document a place means: from its column to the end of what stands there.
pub(super) fn caret(line: &str, column: u32) -> (usize, usize) {
    let from = (column.saturating_sub(1) as usize).min(line.chars().count());
    let rest: String = line.chars().skip(from).collect();
    // A comment is no part of the promise, nor is the colon of a key whose value stands below.
    let rest = rest.split(" #").next().unwrap_or_default().trim_end();
    let rest = rest.strip_suffix(':').unwrap_or(rest);
    (from, rest.chars().count().max(1))
}

/// Carets under a part of a line, by the columns that its characters take.
fn underline(line: &str, from: usize, length: usize) -> String {
    let before: String = line.chars().take(from).collect();
    let part: String = line.chars().skip(from).take(length).collect();
    let wide = if length == 0 { 0 } else { text::width(&part).max(1) };
    format!("{}{}", " ".repeat(text::width(&before)), "^".repeat(wide))
}
