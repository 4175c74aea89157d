//! The report for whoever is asked "is it good?": one HTML file without anything outside of it. It answers, in this order:
//! can I trust this run, is the service conformant, what is wrong, how do I see it myself, what was never looked at.
//!
//! The page is written here, so that it says all that matters without scripts too; the script filters, and shows requests and
//! responses. Whatever a document or a service says is escaped, and a content security policy allows the page nothing
//! but its own style and script, by their digests.

mod data;
mod parts;

use std::fmt::Write as _;

use base64::Engine;
use sha2::{Digest, Sha256};

use self::parts::{family, matrix};
use super::text::{self, count, harmless, one_line, thousands};
use super::trust::{self, Trust};
use super::{ExitCode, FailOn, Report, level};
use crate::check::Level;
use crate::clause::State;
use crate::deviation::DeviationState;
use crate::finding::Finding;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The report as one HTML page.
pub fn to_html(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    // Writing to a string cannot fail.
    let _ = write(&mut page, report);
    page
}

/// Text of anybody, as it may stand in an element or a quoted attribute.
fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in harmless(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// As [`esc`], on one line.
fn esc_line(text: &str, limit: usize) -> String {
    esc(&one_line(text, limit))
}

fn digest(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn write(page: &mut String, report: &Report) -> std::fmt::Result {
    let (word, tone) = word(report);
    let title = report.run.as_ref().map_or("trueline", |run| &run.title);
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; \
         script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{word} · {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        esc_line(title, 200)
    )?;
    let (trusted, grounds) = trust::of(report);
    head(page, report, word, tone, trusted)?;
    page.push_str("<main>\n");
    trust_section(page, trusted, &grounds)?;
    conformance(page, report)?;
    causes(page, report)?;
    reproduce(page, report)?;
    parts::never(page, report)?;
    parts::aside(page, report)?;
    page.push_str("</main>\n");
    foot(page, report)?;
    write!(page, "<script type=\"application/json\" id=\"data\">{}</script>\n", data::findings(report))?;
    write!(page, "<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

/// The verdict in two words, and its colour.
fn word(report: &Report) -> (&'static str, &'static str) {
    match report.verdict {
        ExitCode::Conforms => ("Conforms", "good"),
        ExitCode::Findings => ("Does not conform", "bad"),
        ExitCode::NothingTested => ("Nothing was tested", "warn"),
        ExitCode::Interrupted => ("Interrupted", "warn"),
        ExitCode::Unreachable if report.failure.is_none() => ("Broke off", "bad"),
        ExitCode::Usage | ExitCode::Unreachable => ("Did not run", "bad"),
    }
}

fn head(page: &mut String, report: &Report, word: &str, tone: &str, trusted: Trust) -> std::fmt::Result {
    let run = report.run.as_ref();
    writeln!(page, "<header class=\"hero {tone}\">\n<div class=\"bar\">")?;
    let version = run.map_or(env!("CARGO_PKG_VERSION"), |run| &run.version);
    writeln!(page, "<p class=\"brand\"><b>trueline</b> {}</p>", esc(version))?;
    page.push_str(
        "<button type=\"button\" id=\"theme\" hidden aria-label=\"Switch between light and dark\">\
         <span aria-hidden=\"true\">◐</span></button></div>\n",
    );
    let title = run.map_or("A contract that was not run", |run| &run.title);
    writeln!(page, "<p class=\"subject\">{}</p>", esc_line(title, 200))?;
    writeln!(page, "<h1>{word}</h1>")?;
    writeln!(page, "<p class=\"lead\">{}</p>", lead(report))?;
    let mut about = Vec::new();
    if let Some(run) = run {
        about.push(format!("target <code>{}</code>", esc(&run.target)));
        about.push(format!("contract <code>{}</code>", esc(&run.contract)));
    }
    if let Some(time) = report.started_at {
        about.push(format!("<time>{}</time>", time.format("%-d %B %Y, %H:%M UTC")));
    }
    writeln!(page, "<p class=\"about\">{}</p>", about.join("<span class=\"dot\"></span>"))?;
    tiles(page, report, trusted)?;
    page.push_str("</header>\n");
    let open = report.open_findings().count() as u64;
    writeln!(
        page,
        "<nav aria-label=\"Sections\"><a href=\"#trust\">Trust</a><a href=\"#conformance\">Conformance</a>\
         <a href=\"#causes\">Causes <b>{}</b></a><a href=\"#reproduce\">Reproduce</a>\
         <a href=\"#never\">Never exercised <b>{}</b></a></nav>",
        thousands(open),
        thousands(report.clauses(State::NotExercised).count() as u64)
    )
}

/// The sentence that a manager reads.
fn lead(report: &Report) -> String {
    if let Some(why) = &report.failure {
        return format!("{}.", esc_line(why, 400));
    }
    let broken = report.findings_of(Level::Must).count() as u64;
    let weak = report.findings_of(Level::Should).count() as u64;
    let stale = report.deviations.stale().count() as u64;
    let accepted = report.deviations.in_state(DeviationState::Accepted).count() as u64;
    let mut parts = Vec::new();
    if broken > 0 {
        let causes = count(broken, "cause");
        let verb = if broken == 1 { "breaks" } else { "break" };
        let affected = affected(report, Level::Must);
        let total = report.operations.len();
        parts.push(format!(
            "{causes} {verb} what the contract or a standard demands, on {affected} of {total} operations"
        ));
    }
    if weak > 0 {
        let fails = report.fail_on == FailOn::Should;
        let so = if fails { "" } else { ", which does not fail the run" };
        let verb = if weak == 1 { "goes" } else { "go" };
        parts.push(format!("{} {verb} against good practice{so}", count(weak, "cause")));
    }
    if stale > 0 {
        parts.push(format!("{} to be taken out of the list", count(stale, "stale deviation")));
    }
    if parts.is_empty() {
        parts.push(match report.judged() {
            0 => "No answer was judged, so this report says nothing about the service".to_owned(),
            judged => format!("Nothing that breaks the contract was found in {}", count(judged, "case")),
        });
    }
    if accepted > 0 {
        parts.push(format!("{} is accepted by the owner", count(accepted, "deviation")).replace("s is", "s are"));
    }
    format!("{}.", parts.join("; "))
}

/// Operations that fell for an open finding of a level.
fn affected(report: &Report, level: Level) -> usize {
    let operations: std::collections::BTreeSet<&String> =
        report.findings_of(level).flat_map(|finding| &finding.operations).collect();
    operations.len()
}

fn tiles(page: &mut String, report: &Report, trusted: Trust) -> std::fmt::Result {
    let clauses = report.ledger.len();
    let held = report.clauses(State::Held).count();
    let seen = held + report.clauses(State::Broken).count();
    let percent = |part: usize, whole: usize| (part * 100).checked_div(whole).unwrap_or(0);
    let must = report.findings_of(Level::Must).count() as u64;
    let should = report.findings_of(Level::Should).count() as u64;
    let (answer, tone) = trust_word(trusted);
    page.push_str("<dl class=\"tiles\">\n");
    let mut tile = |href: &str, tone: &str, label: &str, value: String, note: String| {
        writeln!(
            page,
            "<div class=\"tile {tone}\"><dt><a href=\"{href}\">{label}</a></dt><dd>{value}</dd><dd class=\"note\">{note}</dd></div>"
        )
    };
    tile("#trust", tone, "Trust in this run", answer.to_owned(), trust_note(trusted).to_owned())?;
    let should_note = match should {
        0 => "what MUST hold and does not".to_owned(),
        should => format!("and {} about good practice", thousands(should)),
    };
    tile("#causes", if must > 0 { "bad" } else { "good" }, "Causes", thousands(must), should_note)?;
    let clauses_note = format!("{} of {} exercised clauses held", thousands(held as u64), thousands(seen as u64));
    let held_value = if seen == 0 { "–".to_owned() } else { format!("{} %", percent(held, seen)) };
    tile("#conformance", "", "Promises kept", held_value, clauses_note)?;
    let looked = if clauses == 0 { "–".to_owned() } else { format!("{} %", percent(seen, clauses)) };
    tile("#never", "", "Looked at", looked, format!("of {} clauses", thousands(clauses as u64)))?;
    let time = text::duration(std::time::Duration::from_millis(report.totals.elapsed_ms));
    tile("#reproduce", "", "Requests", thousands(report.totals.requests), format!("in {time}"))?;
    page.push_str("</dl>\n");
    Ok(())
}

fn trust_word(trusted: Trust) -> (&'static str, &'static str) {
    match trusted {
        Trust::Full => ("Yes", "good"),
        Trust::Limited => ("With limits", "warn"),
        Trust::None => ("No", "bad"),
    }
}

fn trust_note(trusted: Trust) -> &'static str {
    match trusted {
        Trust::Full => "it did what was planned",
        Trust::Limited => "what it found is true; it may have missed more",
        Trust::None => "it says nothing about the service",
    }
}

fn trust_section(page: &mut String, trusted: Trust, grounds: &[trust::Ground]) -> std::fmt::Result {
    let (answer, tone) = trust_word(trusted);
    writeln!(
        page,
        "<section id=\"trust\"><h2>Can I trust this run? <span class=\"pill {tone}\">{answer}</span></h2>\n<ul class=\"grounds\">"
    )?;
    for ground in grounds {
        let (mark, word, tone) = match ground.trust {
            Trust::Full => ("✓", "for it", "good"),
            Trust::Limited => ("!", "limits it", "warn"),
            Trust::None => ("✕", "against it", "bad"),
        };
        writeln!(
            page,
            "<li class=\"{tone}\"><span class=\"mark\" title=\"{word}\" aria-label=\"{word}\">{mark}</span>{}</li>",
            esc(&ground.text)
        )?;
    }
    page.push_str("</ul></section>\n");
    Ok(())
}

fn conformance(page: &mut String, report: &Report) -> std::fmt::Result {
    if report.ledger.is_empty() && report.operations.is_empty() {
        return Ok(());
    }
    page.push_str("<section id=\"conformance\"><h2>Is it conformant?</h2>\n");
    let total = report.ledger.len();
    if total > 0 {
        let states = [
            (State::Held, "held", "kept by every answer"),
            (State::Broken, "broken", "broken by an answer"),
            (State::Inconclusive, "inconclusive", "no answer said yes or no"),
            (State::NotExercised, "not exercised", "nothing that was sent could show it"),
        ];
        let class = |state| match state {
            State::Held => "held",
            State::Broken => "broken",
            State::Inconclusive => "unclear",
            State::NotExercised => "open",
        };
        let numbers = states.map(|(state, ..)| report.clauses(state).count());
        writeln!(page, "<p>The contract makes {} promises.</p>", thousands(total as u64))?;
        page.push_str(
            "<svg class=\"ledger\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        );
        let mut x = 0.0;
        for ((state, ..), number) in states.iter().zip(numbers) {
            let width = number as f64 * 1000.0 / total as f64;
            write!(page, "<rect class=\"{}\" x=\"{x:.2}\" width=\"{width:.2}\" height=\"10\"/>", class(*state))?;
            x += width;
        }
        page.push_str("</svg>\n<ul class=\"legend\">");
        for ((state, label, meaning), number) in states.iter().zip(numbers) {
            let class = class(*state);
            let number = thousands(number as u64);
            write!(page, "<li><i class=\"{class}\"></i><b>{number}</b> {label} <small>{meaning}</small></li>")?;
        }
        page.push_str("</ul>\n");
    }
    matrix(page, report)?;
    page.push_str("</section>\n");
    Ok(())
}

fn causes(page: &mut String, report: &Report) -> std::fmt::Result {
    page.push_str("<section id=\"causes\"><h2>What is wrong?</h2>\n");
    if report.findings.is_empty() {
        page.push_str("<p class=\"none\">No cause was found.</p></section>\n");
        return Ok(());
    }
    let accepted = |finding: &Finding| report.deviations.accepting(&finding.id).is_some();
    let number = |wanted: &str| report.findings.iter().filter(|one| kind(report, one) == wanted).count() as u64;
    page.push_str(
        "<p>Each is a cause, however many cases fell for it, shown with the smallest request that still fails.</p>\n\
         <noscript><p class=\"none\">Scripts are off, so requests and responses are not shown here; report.json and \
         <code>trueline replay</code> have them.</p></noscript>\n\
         <form class=\"filter\" id=\"filter\" hidden role=\"search\"><input type=\"search\" id=\"search\" \
         placeholder=\"Search title, check, operation, clause …\" aria-label=\"Search causes\" autocomplete=\"off\" \
         spellcheck=\"false\">",
    );
    for (kind, label) in [("must", "MUST"), ("should", "SHOULD"), ("accepted", "accepted")] {
        let number = number(kind);
        if number > 0 {
            let number = thousands(number);
            write!(
                page,
                "<button type=\"button\" class=\"chip {kind}\" data-kind=\"{kind}\" aria-pressed=\"true\">{label} {number}</button>"
            )?;
        }
    }
    let mut families: Vec<&str> = report.findings.iter().map(|finding| family(&finding.check)).collect();
    families.sort_unstable();
    families.dedup();
    page.push_str("<select id=\"family\" aria-label=\"Family of checks\"><option value=\"\">every family</option>");
    for family in families {
        write!(page, "<option>{}</option>", esc_line(family, 80))?;
    }
    page.push_str(
        "</select><select id=\"operation\" aria-label=\"Operation\"><option value=\"\">every operation</option>",
    );
    let mut operations: Vec<&String> = report.findings.iter().flat_map(|finding| &finding.operations).collect();
    operations.sort_unstable();
    operations.dedup();
    for operation in operations {
        write!(page, "<option>{}</option>", esc_line(operation, 200))?;
    }
    page.push_str(
        "</select><button type=\"button\" id=\"clear\">clear</button><output id=\"found\"></output></form>\n",
    );
    // No list of HTML's own: browsers count the items of those anew for each one that a filter hides.
    page.push_str("<div class=\"causes\" id=\"list\" role=\"list\">\n");
    for finding in &report.findings {
        cause(page, report, finding, accepted(finding))?;
    }
    page.push_str("</div><p class=\"none\" id=\"nothing\" hidden>No cause fits the filter.</p></section>\n");
    Ok(())
}

/// What a filter calls a finding.
fn kind(report: &Report, finding: &Finding) -> &'static str {
    match finding.level {
        _ if report.deviations.accepting(&finding.id).is_some() => "accepted",
        Level::Must => "must",
        Level::Should => "should",
    }
}

/// One line of the list; what is in it is the script's work.
fn cause(page: &mut String, report: &Report, finding: &Finding, accepted: bool) -> std::fmt::Result {
    let kind = kind(report, finding);
    let operations: Vec<String> = finding.operations.iter().map(|id| one_line(id, 200)).collect();
    let place = match finding.operations.as_slice() {
        [] => String::new(),
        [one] => esc_line(one, 80),
        [one, rest @ ..] => format!("{} and {} more", esc_line(one, 80), rest.len()),
    };
    let badge = if accepted { "accepted" } else { level(finding.level) };
    write!(
        page,
        "<div role=\"listitem\" id=\"{id}\" data-kind=\"{kind}\" data-family=\"{}\" data-operations=\"{}\"><details><summary>\
         <span class=\"badge {kind}\">{badge}</span><span class=\"what\"><b>{}</b><small><code>{}</code> · {place} · \
         <span class=\"clause\">{}</span></small></span><code class=\"id\">{id}</code></summary></details></div>\n",
        esc_line(family(&finding.check), 80),
        esc(&operations.join("\n")),
        esc_line(&finding.title, 300),
        esc_line(&finding.check, 80),
        esc_line(&finding.clause, 300),
        id = esc_line(&finding.id, 40),
    )
}

fn reproduce(page: &mut String, report: &Report) -> std::fmt::Result {
    let Some(run) = &report.run else { return Ok(()) };
    page.push_str("<section id=\"reproduce\"><h2>How do I see it myself?</h2>\n<dl class=\"commands\">");
    let mut command = |label: &str, command: &str| {
        write!(page, "<dt>{label}</dt><dd class=\"command\"><pre>{}</pre></dd>\n", esc(command))
    };
    if let Some(invocation) = &report.invocation {
        command("the whole run", &parts::command_line(invocation, run.seed))?;
    }
    if let Some(first) = report.open_findings().next().or_else(|| report.findings.first()) {
        command("one finding", &format!("trueline replay {}", first.id))?;
        command("why it matters", &format!("trueline explain {}", first.check))?;
    }
    page.push_str("</dl>\n");
    let phases: Vec<String> = run.phases.iter().map(ToString::to_string).collect();
    writeln!(
        page,
        "<p>Same contract, profile and seed give the same plan: {} in the phases {}, plan <code>{}</code>, seed {}, contract \
         digest <code>{}</code>. Credentials are never in a report; they stand as <code>$NAME</code>, and \
         <code>trueline replay</code> takes them from the profile.</p></section>",
        count(run.cases, "case"),
        esc(&text::and(&phases)),
        esc(&run.plan),
        run.seed,
        esc(run.digest.get(..16).unwrap_or(&run.digest)),
    )
}

fn foot(page: &mut String, report: &Report) -> std::fmt::Result {
    let version = report.run.as_ref().map_or(env!("CARGO_PKG_VERSION"), |run| &run.version);
    writeln!(
        page,
        "<footer><p>Made by trueline {} · exit {}: {} · this page loads nothing and sends nothing.</p></footer>",
        esc(version),
        report.verdict.code(),
        report.verdict.meaning()
    )
}
