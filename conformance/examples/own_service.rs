//! The suite in a test of your own: `cargo test -p trueline-conformance --example own_service`, or
//! `cargo run -p trueline-conformance --example own_service` to see the report.
//!
//! The service is any tower service; nothing listens anywhere.

use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

const DOCUMENT: &str = "
openapi: 3.1.0
info: {title: Greetings, version: '1'}
paths:
  /greeting:
    get:
      operationId: greet
      parameters:
        - {name: times, in: query, schema: {type: integer, minimum: 1, maximum: 5, default: 1}}
      responses:
        '200':
          description: As many greetings as asked for.
          content: {application/json: {schema: {type: array, minItems: 1, maxItems: 5, items: {type: string}}}}
        '400':
          description: Not a number from 1 to 5.
          content: {application/json: {schema: {type: object, required: [error], properties: {error: {type: string}}}}}
";

fn router() -> Router {
    let greet = async |uri: Uri| {
        let asked = uri.query().and_then(|query| query.strip_prefix("times="));
        match asked.unwrap_or("1").parse() {
            Ok(times @ 1..=5) => (StatusCode::OK, Json(json!(vec!["hello"; times]))),
            _ => (StatusCode::BAD_REQUEST, Json::<Value>(json!({"error": "times is a number from 1 to 5"}))),
        }
    };
    Router::new().route("/greeting", get(greet))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let contract = Contract::from_text("openapi.yaml", DOCUMENT)?;
    print!("{}", Suite::new(contract).run_blocking(InProcessTarget::new(router()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_keeps_its_contract() -> Result<(), Box<dyn std::error::Error>> {
        let contract = Contract::from_text("openapi.yaml", DOCUMENT)?;
        let report = Suite::new(contract).run_blocking(InProcessTarget::new(router()))?;
        assert!(report.conforms(), "{report}");
        Ok(())
    }
}
