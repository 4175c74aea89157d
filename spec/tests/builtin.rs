//! The built-in contracts and the published schema of the vocabulary.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use trueline_spec::{Contract, contracts, lint, vocabulary};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

fn files_under(folder: &Path, base: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, base, found);
        } else {
            found.insert(path.strip_prefix(base).unwrap().to_path_buf(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_published_schema_is_current() {
    let path = folder().join("vocabulary.schema.json");
    let published = fs::read_to_string(&path).unwrap_or_default();
    let current = vocabulary::json_schema_text();
    // Not assert_eq: two schemas side by side help nobody.
    assert!(published == current, "{} is not what the types say: run `cargo xtask generate`", path.display());
}

#[test]
fn the_binary_has_every_file_of_the_folder() {
    let mut on_disk = BTreeMap::new();
    files_under(&folder(), &folder(), &mut on_disk);
    let embedded: BTreeMap<PathBuf, Vec<u8>> =
        contracts::files().map(|(path, bytes)| (path.to_path_buf(), bytes.to_vec())).collect();
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    // The compiler notices a changed file, but not a new one beside it.
    assert_eq!(names(&embedded), names(&on_disk), "run `touch spec/src/contracts.rs` and build again");
    assert!(embedded == on_disk);
}

#[test]
fn every_contract_loads_under_its_name_and_has_no_lint_error() {
    assert!(contracts::names().count() > 0);
    for name in contracts::names() {
        let contract = Contract::builtin(name).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(contract.name, name, "the folder and x-contract.name are one word");
        let from_disk = Contract::load(&folder().join(name)).unwrap();
        assert_eq!(contract.digest, from_disk.digest);
        let entry = contract.document.files[0].path.clone();
        assert_eq!(entry, Path::new("spec/contracts").join(name).join("openapi.yaml"));
        let report = lint::lint(&contract).unwrap();
        assert!(report.errors.is_empty(), "{}", report.errors);
    }
}

#[test]
fn an_unknown_name_is_told_the_nearest() {
    let name = contracts::names().next().unwrap();
    let problems = Contract::builtin(&format!("{name}x")).unwrap_err();
    assert_eq!(problems.list[0].help.as_deref(), Some(format!("did you mean `{name}`?").as_str()));
}

#[test]
fn no_contracts_name_in_the_source() {
    let mut sources = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files_under(&src, &src, &mut sources);
    for (path, bytes) in sources {
        let text = String::from_utf8(bytes).unwrap().to_lowercase();
        for name in contracts::names() {
            assert!(!text.contains(name), "{} names the contract {name}", path.display());
        }
    }
}
