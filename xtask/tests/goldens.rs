//! The goldens under `xtask/goldens/src` are what the generator makes of the documents under `xtask/goldens/probes`.
//!
//! They are members of the workspace, so that one that does not compile fails every build. After a change of the
//! generator, write them anew with `UPDATE_GOLDENS=1 cargo test -p xtask --test goldens` and review the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trueline_spec::Contract;
use xtask::generate::generate;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The documents by name; `shared.yaml` is what they share.
fn probes() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder().join("probes")).expect("probes");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let named = paths.map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path));
    named.filter(|(name, _)| name != "shared").collect()
}

/// The files of a probe as a module: `src/lib.rs` becomes its root, and there is no manifest.
fn module(name: &str, path: &Path) -> BTreeMap<String, String> {
    let document = format!("probes/{name}.yaml");
    let contract = Contract::load(path).unwrap_or_else(|problems| panic!("{document}\n{problems}"));
    let files = generate(&contract, &document).unwrap_or_else(|problems| panic!("{document}\n{problems}"));
    let inside = files.into_iter().filter_map(|(path, text)| {
        let path = path.strip_prefix("src/")?.to_owned();
        Some((if path == "lib.rs" { "mod.rs".to_owned() } else { path }, text))
    });
    inside.map(|(path, text)| (format!("{name}/{path}"), text)).collect()
}

fn expected() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut root = String::from(
        "//! Goldens: each module is what the generator makes of the document of its name under `probes/`.\n\n\
         #![allow(clippy::all)]\n\n",
    );
    for (name, path) in probes() {
        root.push_str(&format!("#[rustfmt::skip]\npub mod {name};\n"));
        files.extend(module(&name, &path));
    }
    files.insert("lib.rs".to_owned(), root);
    files
}

fn existing(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("inside").to_string_lossy().replace('\\', "/");
                found.insert(name, std::fs::read_to_string(&path).expect("text").replace("\r\n", "\n"));
            }
        }
    }
    found
}

#[test]
fn goldens_are_what_the_generator_makes() {
    let folder = folder().join("src");
    let (expected, existing) = (expected(), existing(&folder));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        for (name, text) in &expected {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            if existing.get(name) != Some(text) {
                std::fs::write(path, text).expect("written");
            }
        }
        for name in existing.keys().filter(|name| !expected.contains_key(*name)) {
            std::fs::remove_file(folder.join(name)).expect("removed");
        }
        return;
    }
    let names: BTreeSet<&String> = expected.keys().chain(existing.keys()).collect();
    let mut report = String::new();
    for name in names {
        let (old, new) = (existing.get(name).map_or("", String::as_str), expected.get(name).map_or("", String::as_str));
        if old != new {
            let diff = similar::TextDiff::from_lines(old, new);
            report.push_str(&diff.unified_diff().context_radius(3).header(name, name).to_string());
        }
    }
    assert!(report.is_empty(), "{report}\nreview, then: UPDATE_GOLDENS=1 cargo test -p xtask --test goldens");
}

#[test]
fn generation_is_a_function_of_the_document() {
    for (name, path) in probes() {
        assert_eq!(module(&name, &path), module(&name, &path), "{name}");
    }
}

#[test]
fn the_order_of_named_schemas_does_not_matter() {
    for (name, path) in probes() {
        let document = format!("probes/{name}.yaml");
        let contract = Contract::load(&path).unwrap_or_else(|problems| panic!("{document}\n{problems}"));
        let mut turned = contract.clone();
        turned.schemas =
            Arc::new(contract.schemas.iter().rev().map(|(name, schema)| (name.clone(), schema.clone())).collect());
        let made = |contract| generate(contract, &document).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(made(&contract), made(&turned), "{name}");
    }
}

#[test]
fn no_file_is_long_and_each_says_where_it_is_from() {
    for (name, text) in expected() {
        assert!(text.lines().count() <= 2_000, "{name} has {} lines", text.lines().count());
        let generated = name.ends_with(".rs") && name != "lib.rs";
        assert!(!generated || text.starts_with("// Generated by `cargo xtask generate` from probes/"), "{name}");
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{name} knows where it was made");
    }
}
