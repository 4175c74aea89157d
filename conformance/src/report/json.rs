//! The report for programs: pretty JSON, versioned.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{FORMAT, Report};

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the report {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no report.
    #[error("{} is not a report of trueline: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A later version of trueline wrote it.
    #[error("{} is a report of format {format}; this version of trueline reads format {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// The report as JSON, with a line end at its end.
pub fn to_json(report: &Report) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(report)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a report that [`to_json`] made.
pub fn read(path: &Path) -> Result<Report, ReadError> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let parse = |error: serde_json::Error| ReadError::Parse { path: path.to_owned(), message: error.to_string() };
    let bytes = std::fs::read(path).map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    // The version first: a report of another format would only fail with a missing field.
    let Versioned { format } = serde_json::from_slice(&bytes).map_err(parse)?;
    if format != FORMAT {
        return Err(ReadError::Format { path: path.to_owned(), format });
    }
    serde_json::from_slice(&bytes).map_err(parse)
}

/// The JSON Schema of the report.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Report).to_value()
}
