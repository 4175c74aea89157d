//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Writes a file: to a temporary one in the same folder, which then takes its name. Whoever reads it sees the old one or the
/// new one, never half of one. Missing folders are made.
///
/// What is no regular file (`/dev/stdout`, a pipe) is written to as it is.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    // A link keeps pointing where it points.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write(&target, content).map_err(|source| WriteError { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|existing| !existing.is_file() && !existing.is_dir()) {
        return File::options().write(true).open(path)?.write_all(content);
    }
    let Some(name) = path.file_name() else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")) };
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    make_folder(path)?;
    // The process id keeps two runs that write one report apart; the last one wins, whole.
    let temporary = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        // A full disk may not show before this.
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // There may be nothing to remove; the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Makes the folder that a file is to stand in.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::create_dir_all(folder),
        _ => Ok(()),
    }
}
