//! `trueline explain`.

use trueline_conformance::check::{self, Level, Meta};
use trueline_conformance::profile::nearest;
use trueline_conformance::report::{ExitCode, terminal};

use super::args::ExplainArgs;
use super::error::CliError;
use super::output;

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode, CliError> {
    let layout = output::layout(args.no_color, false);
    let metas: Vec<&'static Meta> = check::all().iter().map(|check| check.meta()).collect();
    let Some(wanted) = &args.check else {
        output::print(&list(&metas));
        return Ok(ExitCode::Conforms);
    };
    if let Some(meta) = metas.iter().find(|meta| meta.id == wanted) {
        output::print(&terminal::explain(meta, &layout));
        return Ok(ExitCode::Conforms);
    }
    let of_family: Vec<&Meta> = metas.iter().copied().filter(|meta| family(meta) == wanted).collect();
    if !of_family.is_empty() {
        output::print(&list(&of_family));
        return Ok(ExitCode::Conforms);
    }
    let mut names: Vec<&str> = metas.iter().flat_map(|meta| [meta.id, family(meta)]).collect();
    names.dedup();
    let help = match nearest(wanted, &names) {
        Some(hint) => format!("did you mean `{hint}`?"),
        None => "`trueline explain` lists all checks".to_owned(),
    };
    Err(CliError::usage_with(format!("there is no check `{wanted}`"), help))
}

fn family(meta: &Meta) -> &'static str {
    meta.id.split('.').next().unwrap_or(meta.id)
}

/// A line a check, a paragraph a family.
fn list(metas: &[&Meta]) -> String {
    let wide = metas.iter().map(|meta| meta.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut last = None;
    for meta in metas {
        if last.is_some_and(|last| last != family(meta)) {
            out.push('\n');
        }
        last = Some(family(meta));
        let level = if meta.level == Level::Must { "MUST" } else { "SHOULD" };
        out.push_str(&format!("{:<wide$}  {level:<6}  {}\n", meta.id, meta.title));
    }
    out
}
