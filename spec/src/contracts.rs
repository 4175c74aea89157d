//! The built-in contracts: the folders under `contracts/`, inside the binary.

use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::contract::Contract;
use crate::document::{Document, Source};
use crate::problem::{Problem, Problems, did_you_mean};

static FOLDER: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/contracts");

/// The first file of every built-in contract.
const ENTRY: &str = "openapi.yaml";

/// Names of the built-in contracts: one for each folder.
pub fn names() -> impl Iterator<Item = &'static str> {
    FOLDER
        .dirs()
        .filter(|folder| folder.get_file(folder.path().join(ENTRY)).is_some())
        .filter_map(|folder| folder.path().to_str())
}

/// Every built-in file: its path under `contracts/`, and what it says.
pub fn files() -> impl Iterator<Item = (&'static Path, &'static [u8])> {
    fn walk(folder: &'static Dir<'static>, found: &mut Vec<(&'static Path, &'static [u8])>) {
        found.extend(folder.files().map(|file| (file.path(), file.contents())));
        folder.dirs().for_each(|folder| walk(folder, found));
    }
    let mut found = Vec::new();
    walk(&FOLDER, &mut found);
    found.into_iter()
}

impl Contract {
    /// A built-in contract by its name.
    pub fn builtin(name: &str) -> Result<Contract, Problems> {
        if !names().any(|known| known == name) {
            let known: Vec<&str> = names().collect();
            let problem = Problem::new(format!("there is no built-in contract `{name}`"));
            let problem = problem.expected(known.join(", ")).maybe_help(did_you_mean(name, names()));
            return Err(Problems::new(Default::default(), vec![problem]));
        }
        let read = |file: &str| FOLDER.get_file(Path::new(name).join(file)).map(|file| file.contents().to_vec());
        // The path in the repository: an installed binary has no other, and a reader finds the line there.
        let shown = Path::new("spec/contracts").join(name).join(ENTRY);
        crate::read::contract(Document::read(ENTRY, &shown, Source::Memory(&read), Vec::new())?)
    }
}
