//! The stream of events on disk: one JSON object a line.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::file::make_folder;
use crate::event::Event;

/// Writes events as they come, each on a line of its own and on disk before the next one: the file can be followed while
/// the run lasts, and holds what happened until then if the run is killed. So it is the one report that is not written
/// beside its place first.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    /// None after a failure: a full disk ends the log, not the run.
    file: Option<File>,
    line: Vec<u8>,
}

impl EventLog {
    /// Starts a log; what stood in the file before is gone.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        make_folder(path)
            .and_then(|()| File::create(path))
            .map(|file| EventLog { path: path.to_owned(), file: Some(file), line: Vec::new() })
            .map_err(|source| WriteError { path: path.to_owned(), source })
    }

    /// Writes an event. A failure is returned once; after it, nothing more is written.
    pub fn write(&mut self, event: &Event) -> Result<(), WriteError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, event).map_err(std::io::Error::from).and_then(|()| {
            self.line.push(b'\n');
            file.write_all(&self.line)
        });
        written.map_err(|source| {
            self.file = None;
            WriteError { path: self.path.clone(), source }
        })
    }
}
