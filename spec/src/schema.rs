//! JSON Schema 2020-12 as the model keeps it.

use indexmap::IndexMap;
use serde_json::Value;

use crate::contract::{Direction, Schema};

/// See [`crate::contract::Contract::standalone`].
pub(crate) fn standalone(_schemas: &IndexMap<String, Schema>, schema: &Value, _direction: Direction) -> Value {
    schema.clone()
}
