//! Data from schemas: valid values, values with one fault, boundaries, and how they stand on the wire.
//!
//! A [`Generator`] is made once from a standalone JSON Schema 2020-12 (its own `$defs`) that has already been seen in one
//! direction. Everything it gives is a pure function of the schema and a seed, and is proved by the `jsonschema` crate
//! before it comes out: positive values satisfy the whole schema, negative ones break it at exactly one place.

mod boundary;
mod files;
mod formats;
mod merge;
mod number;
mod random;
mod regex;
mod schema;
mod shrink;
mod strategy;
pub mod stream;
pub mod wire;

use std::fmt;
use std::sync::{Arc, OnceLock};

use proptest::strategy::{BoxedStrategy, Strategy};
use serde_json::Value;

pub use files::FileValue;
pub use shrink::{measure, shrink};

use crate::data::strategy::Engine;

/// Makes values for one schema. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Generator {
    engine: Arc<Engine>,
    /// Values from the document that are valid here; mixed into the random ones.
    seeds: Arc<[Value]>,
    /// The boundaries that are invalid: what [`Generator::invalid`] falls back to.
    faults: Arc<OnceLock<Vec<Boundary>>>,
}

/// Why no value, or not every value, can be made for a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no value can be made for the schema at `{pointer}`: {reason}")]
pub struct Unsatisfiable {
    /// JSON Pointer inside the schema that the generator was made from; empty for the whole schema.
    pub pointer: String,
    /// A lower-case fragment.
    pub reason: String,
}

/// A value at or next to a limit of the schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// The whole value.
    pub value: Value,
    /// Which side of the limit it is on.
    pub verdict: Verdict,
    /// Stable, readable, unique in its list: `name/maxLength/over`.
    pub label: String,
}

/// What the schema says of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The schema accepts it.
    Valid,
    /// The schema refuses it for this one reason.
    Invalid(Fault),
}

/// The one thing that is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON Pointer of the offending place in the value. For a missing or a forbidden member it is the member's own
    /// pointer, not its object's; for a composition it is the value that the composition judges.
    pub instance: String,
    /// JSON Pointer of the violated keyword in the schema, without steps through references:
    /// `/$defs/AgentCreate/properties/name/maxLength`.
    pub schema: String,
    /// The violated keyword.
    pub keyword: String,
    /// The keyword's family.
    pub kind: FaultKind,
}

/// Families of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// A required member is not there (`required`, `dependentRequired`).
    Missing,
    /// The wrong JSON type, `null` included.
    Type,
    /// A number outside its limits, or not a multiple.
    Range,
    /// A string too short or too long.
    Length,
    /// A string that is not what `format` says.
    Format,
    /// A string that the pattern refuses.
    Pattern,
    /// Not one of the allowed values (`enum`, `const`).
    Enum,
    /// A member that is not allowed, or whose name is not.
    Extra,
    /// The array's own limits: number of items, uniqueness, `contains`.
    Items,
    /// Too few or too many members.
    Properties,
    /// `anyOf`, `oneOf`, `not`, a condition, a `false` schema.
    Composition,
    /// A part of a multipart body that has a type which is not allowed there (the encoding's `contentType`).
    MediaType,
}

impl Generator {
    /// Reads a schema.
    ///
    /// Fails where the schema as a whole cannot be met or not be worked with; parts that never appear in values although
    /// the schema names them are listed by [`Generator::problems`].
    pub fn new(schema: &Value) -> Result<Generator, Unsatisfiable> {
        let engine = Engine::new(schema)?;
        Ok(Generator { engine: Arc::new(engine), seeds: Arc::from([]), faults: Arc::default() })
    }

    /// Mixes values of the document into the random ones; those that the schema refuses are left out.
    pub fn with_seeds(self, examples: Vec<Value>) -> Self {
        let mut seeds = self.seeds.to_vec();
        for example in examples {
            if self.is_valid(&example) && !seeds.contains(&example) {
                seeds.push(example);
            }
        }
        Generator { seeds: seeds.into(), ..self }
    }

    /// Parts of the schema that no value of this generator has, and why: an optional property that cannot be met, a
    /// branch that always overlaps with another, a pattern that no generator was found for.
    pub fn problems(&self) -> &[Unsatisfiable] {
        self.engine.problems()
    }

    /// A strategy of valid values. It shrinks by [`shrink`], to valid values only.
    pub fn valid(&self) -> BoxedStrategy<Value> {
        strategy::ValidStrategy { generator: self.clone() }.boxed()
    }

    /// Whether the schema accepts `value`.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.engine.is_valid(value)
    }

    /// The `index`-th valid value for a seed: a pure function of schema, seeds, `seed` and `index`.
    pub fn sample(&self, seed: u64, index: u64) -> Value {
        self.engine.sample(&self.seeds, seed, index)
    }

    /// The plainest valid value: required parts only, first enum value, short strings; the first example when there
    /// is one.
    pub fn minimal(&self) -> Value {
        self.seeds.first().cloned().unwrap_or_else(|| self.engine.minimal())
    }

    /// A valid value with all optional parts present, as far as they go together.
    pub fn maximal(&self) -> Value {
        self.engine.maximal()
    }

    /// Values at each limit of the schema: each constraint at, just inside and just outside, each enum value, each
    /// optional part absent, each required part removed, each wrong type. The same list every time.
    pub fn boundaries(&self) -> Vec<Boundary> {
        boundary::boundaries(&self.engine, self.seeds.first(), boundary::MOST_BOUNDARIES)
    }

    /// A random valid value with one fault put into it; `None` if the schema accepts everything, or nothing that breaks
    /// it at one place only was found.
    pub fn invalid(&self, seed: u64, index: u64) -> Option<Boundary> {
        boundary::invalid(self, seed, index)
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("seeds", &self.seeds.len()).finish_non_exhaustive()
    }
}
