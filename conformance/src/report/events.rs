//! The stream of events on disk: one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::file::make_folder;
use super::{Collector, ReadError, WriteError};
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

/// Adds up a log of events, line by line, so that its length does not matter. A last line that was cut short, as a run that
/// was killed leaves it, is left out.
pub fn read(path: &Path) -> Result<Collector, ReadError> {
    let broken = |source| ReadError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(broken)?);
    let mut collector = Collector::new();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(broken)? == 0 {
            break;
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => collector.take(event),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                // serde_json counts lines within what it was given.
                let message = format!("line {number}: {error}").replace(" at line 1 column ", ", column ");
                return Err(ReadError::Parse { path: path.to_owned(), message });
            }
        }
    }
    Ok(collector)
}
