//! Files: reading contracts, writing what changed, telling what drifted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use trueline_spec::contract::Contract;

use super::generate;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Options {
    /// Change nothing; fail if anything would change.
    pub check: bool,
    /// This contract only.
    pub only: Option<String>,
}

/// Generates the crates of the contracts under `root/spec/contracts` into `root/generated`. Whether all is well.
///
/// # Errors
///
/// If a file cannot be read or written.
pub fn run(root: &Path, options: &Options) -> io::Result<bool> {
    let contracts = contracts(root)?;
    if let Some(only) = &options.only
        && !contracts.contains(only)
    {
        eprintln!("there is no contract `{only}`; there are: {}", contracts.join(", "));
        return Ok(false);
    }
    let mut good = options.only.is_some() || vocabulary(root, options.check)?;
    for name in contracts.iter().filter(|name| options.only.as_ref().is_none_or(|only| only == *name)) {
        let document = format!("spec/contracts/{name}/openapi.yaml");
        let made = Contract::load(&root.join(&document)).and_then(|contract| generate(&contract, &document));
        let files = match made {
            Ok(files) => files,
            Err(problems) => {
                eprintln!("{problems}\n{document}: {} problems, nothing generated", problems.len());
                good = false;
                continue;
            }
        };
        let folder = root.join("generated").join(name);
        if options.check {
            good &= check(name, &folder, &files)?;
        } else {
            write(name, &folder, &files)?;
        }
    }
    Ok(good)
}

/// The published JSON Schema of the vocabulary, beside the contracts. Whether all is well.
fn vocabulary(root: &Path, check: bool) -> io::Result<bool> {
    let name = "spec/contracts/vocabulary.schema.json";
    let (path, current) = (root.join(name), trueline_spec::vocabulary::json_schema_text());
    if path.is_file() && read(&path)? == current {
        return Ok(true);
    }
    if check {
        println!("{name} is not what the types say; run\n\n    cargo xtask generate\n");
        return Ok(false);
    }
    fs::write(&path, current)?;
    println!("{name}: written");
    Ok(true)
}

/// Every folder under `spec/contracts` with an entry document, sorted.
fn contracts(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("spec/contracts"))? {
        let entry = entry?;
        if entry.path().join("openapi.yaml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Every file under a folder, by path relative to it with `/`. Nothing else may stand there, except `target`.
fn existing(folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                found.insert(parts.join("/"), path);
            }
        }
    }
    Ok(found)
}

/// A checkout may have turned line ends.
fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n"))
}

fn write(name: &str, folder: &Path, files: &BTreeMap<String, String>) -> io::Result<()> {
    let existing = existing(folder)?;
    let (mut written, mut removed) = (0, 0);
    for (path, text) in files {
        let target = folder.join(path);
        if existing.get(path).map(|path| read(path)).transpose()?.as_ref() == Some(text) {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, text)?;
        written += 1;
    }
    for (path, target) in &existing {
        if !files.contains_key(path) {
            fs::remove_file(target)?;
            removed += 1;
            // A folder that is empty now goes too; one that is not stays.
            if let Some(parent) = target.parent() {
                let _ = fs::remove_dir(parent);
            }
        }
    }
    let lines: usize = files.values().map(|text| text.lines().count()).sum();
    println!("generated/{name}: {} files, {lines} lines; {written} written, {removed} removed", files.len());
    Ok(())
}

fn check(name: &str, folder: &Path, files: &BTreeMap<String, String>) -> io::Result<bool> {
    let existing = existing(folder)?;
    let mut drifted = 0;
    let paths: std::collections::BTreeSet<&String> = existing.keys().chain(files.keys()).collect();
    for path in paths {
        let shown = format!("generated/{name}/{path}");
        let old = existing.get(path).map(|path| read(path)).transpose()?;
        let new = files.get(path);
        if old.as_ref() == new {
            continue;
        }
        drifted += 1;
        let (old, new) = (old.unwrap_or_default(), new.cloned().unwrap_or_default());
        let diff = TextDiff::from_lines(&old, &new);
        let from = if existing.contains_key(path) { &shown } else { "/dev/null" };
        let to = if files.contains_key(path) { &shown } else { "/dev/null" };
        print!("{}", diff.unified_diff().context_radius(3).header(from, to));
    }
    if drifted > 0 {
        println!("\ngenerated/{name}: {drifted} files differ from the contract; run\n\n    cargo xtask generate\n");
    }
    Ok(drifted == 0)
}
