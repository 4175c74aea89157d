//! The longer parts of the page: the matrix, what was never exercised, and what else there is to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{esc, esc_line, kind};
use crate::check;
use crate::clause::State;
use crate::deviation::DeviationState;
use crate::event::{CheckTallies, CheckTally, LedgerEntry};
use crate::report::terminal::UNCLEAR;
use crate::report::text::{self, count, one_line, thousands};
use crate::report::trust::succeeded;
use crate::report::{Invocation, OperationTally, Report, documented_status};

/// Clauses that are listed for one reason; the JSON report names the rest.
const LISTED: usize = 100;

/// The family of a check: what stands before the dot.
pub(super) fn family(check: &str) -> &str {
    check.split('.').next().unwrap_or(check)
}

/// The families in the order of the catalogue; those of a later version at the end.
fn families(report: &Report) -> Vec<String> {
    let known = check::all().iter().map(|check| check.meta().id);
    let found = report.findings.iter().map(|finding| finding.check.as_str());
    let said = report.operations.iter().flat_map(|tally| tally.checks.keys().map(String::as_str));
    let mut families: Vec<String> = Vec::new();
    for family in known.chain(found).chain(said).map(family) {
        if !families.iter().any(|known| known == family) {
            families.push(family.to_owned());
        }
    }
    families
}

/// What a cell of the matrix says.
#[derive(Default, Clone, Copy)]
struct Cell {
    must: usize,
    should: usize,
    accepted: usize,
    tally: CheckTally,
}

/// Operations by families of checks: where it is broken, where it holds, and where nobody looked.
pub(super) fn matrix(page: &mut String, report: &Report) -> std::fmt::Result {
    if report.operations.is_empty() {
        return Ok(());
    }
    let families = families(report);
    let column = |name: &str| families.iter().position(|known| known == name);
    let mut broken: BTreeMap<(&str, usize), Cell> = BTreeMap::new();
    for finding in &report.findings {
        let Some(column) = column(family(&finding.check)) else { continue };
        for operation in &finding.operations {
            let cell = broken.entry((operation, column)).or_default();
            match kind(report, finding) {
                "must" => cell.must += 1,
                "should" => cell.should += 1,
                _ => cell.accepted += 1,
            }
        }
    }
    page.push_str(
        "<h3>Operations by families of checks</h3>\n<div class=\"tools\" id=\"matrix-tools\" hidden><label>\
         <input type=\"checkbox\" id=\"only-broken\"> only operations with a cause</label></div>\n\
         <div class=\"matrix\" tabindex=\"0\" role=\"region\" aria-label=\"Operations by families of checks\"><table>\n\
         <thead><tr><th scope=\"col\">operation</th>",
    );
    for family in &families {
        write!(page, "<th scope=\"col\"><span>{}</span></th>", esc_line(family, 40))?;
    }
    page.push_str("</tr></thead>\n");
    let sections: BTreeSet<&str> =
        report.operations.iter().filter_map(|tally| Some(tally.route.as_ref()?.section.as_str())).collect();
    let mut open: Option<&str> = None;
    page.push_str("<tbody>\n");
    for tally in &report.operations {
        if let Some(route) = tally.route.as_ref().filter(|_| sections.len() > 1)
            && open != Some(route.section.as_str())
        {
            open = Some(&route.section);
            let columns = families.len();
            let name = esc_line(&route.section, 80);
            write!(
                page,
                "</tbody>\n<tbody><tr class=\"section\"><th scope=\"rowgroup\">{name}</th><td colspan=\"{columns}\"></td></tr>\n"
            )?;
        }
        row(page, tally, &families, &broken)?;
    }
    if !report.unmatched.is_empty() {
        let id = "unknown paths and methods";
        let columns = sum(&report.unmatched, &families);
        page.push_str("</tbody>\n<tbody>");
        if sections.len() > 1 {
            let columns = families.len();
            write!(
                page,
                "<tr class=\"section\"><th scope=\"rowgroup\">Beyond the document</th><td colspan=\"{columns}\"></td></tr>\n"
            )?;
        }
        write!(page, "<tr class=\"clean\"><th scope=\"row\"><span class=\"route\">{id}</span></th>")?;
        for (name, tally) in families.iter().zip(columns) {
            cell(page, "", id, name, Cell { tally, ..Cell::default() })?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str(
        "</tbody></table></div>\n<ul class=\"legend\"><li><i class=\"broken\"></i>causes that break the contract</li>\
         <li><i class=\"weak\"></i>against good practice</li><li><b class=\"held\">✓</b> every answer held</li>\
         <li><b class=\"unclear\">?</b> no answer said yes or no</li><li><b>·</b> nothing to judge came</li></ul>\n",
    );
    Ok(())
}

fn sum(checks: &CheckTallies, families: &[String]) -> Vec<CheckTally> {
    let mut columns = vec![CheckTally::default(); families.len()];
    for (check, tally) in checks {
        if let Some(column) = families.iter().position(|name| name == family(check)) {
            columns[column].add(tally);
        }
    }
    columns
}

fn row(
    page: &mut String,
    tally: &OperationTally,
    families: &[String],
    broken: &BTreeMap<(&str, usize), Cell>,
) -> std::fmt::Result {
    let id = one_line(&tally.id, 200);
    let any = (0..families.len()).any(|column| broken.contains_key(&(tally.id.as_str(), column)));
    let class = if any { "" } else { " class=\"clean\"" };
    write!(page, "<tr{class}><th scope=\"row\">")?;
    match &tally.route {
        Some(route) => write!(
            page,
            "<span class=\"route\"><span class=\"method\">{}</span> {}</span><small>{}</small></th>",
            esc_line(&route.method, 20),
            esc_line(&route.path, 200),
            esc(&id)
        )?,
        None => write!(page, "<span class=\"route\">{}</span></th>", esc(&id))?,
    }
    for (column, tallied) in sum(&tally.checks, families).into_iter().enumerate() {
        let found = broken.get(&(tally.id.as_str(), column)).copied().unwrap_or_default();
        cell(page, &id, &id, &families[column], Cell { tally: tallied, ..found })?;
    }
    page.push_str("</tr>\n");
    Ok(())
}

fn cell(page: &mut String, operation: &str, name: &str, family: &str, cell: Cell) -> std::fmt::Result {
    let Cell { must, should, accepted, tally } = cell;
    let judged = count(tally.held + tally.broken, "verdict");
    let (class, text, said) = match () {
        () if must > 0 => {
            ("broken", (must + should).to_string(), format!("{}, {judged}", count((must + should) as u64, "cause")))
        }
        () if should > 0 => {
            ("weak", should.to_string(), format!("{} about good practice, {judged}", count(should as u64, "cause")))
        }
        () if accepted > 0 => {
            ("accepted", accepted.to_string(), format!("{} accepted, {judged}", count(accepted as u64, "cause")))
        }
        () if tally.held > 0 => ("held", "✓".to_owned(), format!("{} held", thousands(tally.held))),
        // A break that did not repeat is no cause, and no proof of the opposite.
        () if tally.said() > 0 => ("unclear", "?".to_owned(), "no answer said yes or no".to_owned()),
        () => ("open", "·".to_owned(), "nothing to judge came".to_owned()),
    };
    let label = format!("{name}, {family}: {said}");
    let label = esc(&label);
    if must + should + accepted > 0 && !operation.is_empty() {
        let (operation, family) = (esc(operation), esc_line(family, 40));
        write!(
            page,
            "<td class=\"{class}\"><a href=\"#causes\" data-operation=\"{operation}\" data-family=\"{family}\" title=\"{label}\" \
             aria-label=\"{label}\">{text}</a></td>"
        )
    } else {
        write!(page, "<td class=\"{class}\" title=\"{label}\">{text}</td>")
    }
}

/// What no request showed: not green, and worth a reason each.
pub(super) fn never(page: &mut String, report: &Report) -> std::fmt::Result {
    if report.ledger.is_empty() && report.operations.is_empty() {
        return Ok(());
    }
    page.push_str("<section id=\"never\"><h2>What was never exercised?</h2>\n");
    let without: Vec<&OperationTally> = report.operations.iter().filter(|tally| !succeeded(tally)).collect();
    if !without.is_empty() {
        let (some, all) = (without.len(), report.operations.len());
        write!(page, "<h3>Operations without a single success <b>{some} of {all}</b></h3>\n<ul class=\"plain\">")?;
        for tally in without.iter().take(LISTED) {
            let answers: Vec<String> =
                tally.statuses.iter().map(|(status, times)| format!("{} × {status}", thousands(*times))).collect();
            let answers =
                if answers.is_empty() { "never answered".to_owned() } else { format!("only {}", answers.join(", ")) };
            write!(page, "<li><code>{}</code> <small>{answers}</small></li>", esc_line(&tally.id, 200))?;
        }
        more(page, without.len())?;
        page.push_str("</ul>\n");
    }
    let is_open = |entry: &&LedgerEntry| matches!(entry.state, State::NotExercised | State::Inconclusive);
    let open: Vec<&LedgerEntry> = report.ledger.iter().filter(is_open).collect();
    let (statuses, others): (Vec<_>, Vec<_>) =
        open.iter().copied().partition(|entry| documented_status(entry).is_some());
    reasons(page, "Documented answers that nothing provoked", &statuses)?;
    let (unclear, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|entry| entry.state == State::Inconclusive);
    reasons(page, "Other promises that were not exercised", &others)?;
    reasons(page, "Promises without a verdict", &unclear)?;
    if !report.skipped.is_empty() {
        let mut skipped: Vec<(&String, &u64)> = report.skipped.iter().collect();
        skipped.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let total = thousands(report.totals.skipped);
        write!(page, "<h3>Cases that were planned and not sent <b>{total}</b></h3>\n<ul class=\"plain\">")?;
        for (reason, cases) in skipped {
            write!(page, "<li><b>{}</b> {}</li>", thousands(*cases), esc_line(reason, 400))?;
        }
        page.push_str("</ul>\n");
    }
    if open.is_empty() && without.is_empty() && report.skipped.is_empty() {
        page.push_str("<p class=\"none\">Every promise of the contract was exercised.</p>\n");
    }
    page.push_str("</section>\n");
    Ok(())
}

/// Clauses by the reason why there is nothing to say about them, the commonest first.
fn reasons(page: &mut String, title: &str, entries: &[&LedgerEntry]) -> std::fmt::Result {
    if entries.is_empty() {
        return Ok(());
    }
    let mut groups: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in entries {
        let reason = match (&entry.reason, entry.state) {
            (Some(reason), _) => reason.as_str(),
            (None, State::Inconclusive) => UNCLEAR,
            (None, _) => "no reason is known",
        };
        groups.entry(reason).or_default().push(entry);
    }
    let mut groups: Vec<(&str, Vec<&LedgerEntry>)> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(b.0)));
    let total = thousands(entries.len() as u64);
    write!(page, "<h3>{title} <b>{total}</b></h3>\n<div class=\"reasons\">")?;
    for (reason, entries) in groups {
        let number = thousands(entries.len() as u64);
        let reason = esc_line(reason, 400);
        write!(page, "<details><summary><b>{number}</b> <span>{reason}</span></summary><ul class=\"plain\">")?;
        for entry in entries.iter().take(LISTED) {
            write!(
                page,
                "<li><code>{}</code> <small>{} — {}</small></li>",
                esc_line(&entry.clause, 300),
                esc_line(&entry.statement, 200),
                esc_line(&entry.at, 300)
            )?;
        }
        more(page, entries.len())?;
        page.push_str("</ul></details>\n");
    }
    page.push_str("</div>\n");
    Ok(())
}

fn more(page: &mut String, total: usize) -> std::fmt::Result {
    match total.saturating_sub(LISTED) {
        0 => Ok(()),
        more => write!(page, "<li><small>and {} more, in report.json</small></li>", thousands(more as u64)),
    }
}

/// Deviations, flaky cases, notes.
pub(super) fn aside(page: &mut String, report: &Report) -> std::fmt::Result {
    let deviations = &report.deviations;
    let flaky = report.flaky.len() as u64 + report.flaky_unlisted;
    if deviations.outcomes.is_empty() && flaky == 0 && report.notes.is_empty() && report.clock_advanced_s == 0 {
        return Ok(());
    }
    page.push_str("<section id=\"aside\"><h2>What else is there to know?</h2>\n");
    for (state, title, tone) in [
        (DeviationState::Stale, "Stale deviations: accepted, and not there any more", "bad"),
        (DeviationState::Expired, "Deviations past their last day", "bad"),
        (DeviationState::Accepted, "Deviations that the owner has accepted", ""),
        (DeviationState::NotSeen, "Accepted deviations that this run did not look at", ""),
    ] {
        let of_state: Vec<_> = deviations.in_state(state).collect();
        if of_state.is_empty() {
            continue;
        }
        let file = deviations.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let (number, file) = (of_state.len(), esc_line(&file, 300));
        write!(page, "<h3 class=\"{tone}\">{title} <b>{number}</b> <small>{file}</small></h3>\n<ul class=\"plain\">")?;
        for one in of_state {
            let seen = matches!(state, DeviationState::Accepted | DeviationState::Expired);
            let id = esc_line(&one.finding, 40);
            let id =
                if seen { format!("<a href=\"#{id}\"><code>{id}</code></a>") } else { format!("<code>{id}</code>") };
            write!(
                page,
                "<li>{id} <code>{}</code> {} <small>until {}: {}</small></li>",
                esc_line(&one.check, 80),
                esc_line(&one.title, 200),
                one.until,
                esc_line(&one.reason, 400)
            )?;
        }
        page.push_str("</ul>\n");
    }
    if flaky > 0 {
        write!(
            page,
            "<h3>Flaky: failed once and not again, so not a finding <b>{}</b></h3>\n<ul class=\"plain\">",
            thousands(flaky)
        )?;
        for one in report.flaky.iter().take(LISTED) {
            write!(
                page,
                "<li><code>{}</code> <small>{}</small></li>",
                esc_line(&one.case, 300),
                esc_line(&one.what, 400)
            )?;
        }
        page.push_str("</ul>\n");
    }
    if !report.notes.is_empty() || report.clock_advanced_s > 0 {
        page.push_str("<h3>Notes</h3>\n<ul class=\"plain\">");
        if report.clock_advanced_s > 0 {
            let time = text::duration(std::time::Duration::from_secs(report.clock_advanced_s));
            write!(page, "<li>the service's clock was moved by {time} in all</li>")?;
        }
        for note in &report.notes {
            write!(page, "<li>{}</li>", esc(&text::cut(note, 1_000)))?;
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
    Ok(())
}

/// The command line that asks for the same run.
pub(super) fn command_line(invocation: &Invocation, seed: u64) -> String {
    let mut words = vec!["trueline".to_owned(), "check".to_owned()];
    let (flag, contract) = match &invocation.contract {
        crate::report::ContractSource::BuiltIn(name) => ("--contract", name.clone()),
        crate::report::ContractSource::Path(path) => ("--spec", path.display().to_string()),
    };
    words.extend([flag.to_owned(), contract, "--url".to_owned(), invocation.base_url.clone()]);
    if let Some(profile) = &invocation.profile {
        words.extend(["--profile".to_owned(), profile.display().to_string()]);
    }
    words.extend(["--seed".to_owned(), seed.to_string()]);
    words.extend(invocation.selection.iter().cloned());
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
