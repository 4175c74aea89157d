//! `cargo xtask lint`: the contracts keep the house's rules.

use std::path::Path;

use trueline_spec::{Contract, contracts, lint};

/// Lints all built-in contracts or one, given by its name or the path of its file or folder; prints what is wrong and how
/// well the facts are known. True if nothing is wrong.
pub fn run(root: &Path, only: Option<&str>) -> Result<bool, String> {
    let names: Vec<&str> = match only {
        Some(name) => vec![name],
        None => contracts::names().collect(),
    };
    let mut clean = true;
    for name in names {
        let path = match Path::new(name) {
            path if path.components().count() > 1 => path.to_owned(),
            _ => root.join("spec").join("contracts").join(name),
        };
        let contract = match Contract::load(&path) {
            Ok(contract) => contract,
            Err(problems) => {
                eprintln!("{problems}");
                clean = false;
                continue;
            }
        };
        let found = lint::lint(&contract).map_err(|bug| bug.to_string())?;
        for problems in [&found.errors, &found.warnings].into_iter().filter(|problems| !problems.list.is_empty()) {
            eprintln!("{problems}");
        }
        println!("{name}\n{}", found.counts);
        clean &= found.errors.list.is_empty();
    }
    Ok(clean)
}
