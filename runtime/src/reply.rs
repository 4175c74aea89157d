//! Answers as HTTP responses.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::Serialize;

use crate::contract::Answer;
use crate::problem::Failures;
use crate::value::HeaderText;

/// What a handler's answer becomes.
pub type Response = http::Response<Body>;

/// In the extensions of a failing response: its code, for logs and metrics.
#[derive(Debug, Clone, Copy)]
pub struct FailureCode(pub Option<&'static str>);

/// In the extensions of a response that could not be written; the router puts the internal error in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn with_body(status: u16, content_type: Option<HeaderValue>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// A status and nothing else.
pub fn empty(status: u16) -> Response {
    with_body(status, None, Body::empty())
}

/// A JSON body.
pub fn json<T: Serialize>(status: u16, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => with_body(status, Some(JSON), Body::from(text)),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            let mut response = empty(500);
            response.extensions_mut().insert(Broken);
            response
        }
    }
}

/// A JSON body of another media type.
pub fn json_as<T: Serialize>(status: u16, media_type: &'static str, body: &T) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A text.
pub fn text(status: u16, media_type: &'static str, body: String) -> Response {
    with_body(status, Some(HeaderValue::from_static(media_type)), Body::from(body))
}

/// Bytes.
pub fn bytes(status: u16, media_type: &'static str, body: Bytes) -> Response {
    with_body(status, Some(HeaderValue::from_static(media_type)), Body::from(body))
}

/// A body of any kind.
pub fn body(status: u16, media_type: &'static str, body: Body) -> Response {
    with_body(status, Some(HeaderValue::from_static(media_type)), body)
}

/// Adds a documented header.
pub fn header(response: &mut Response, name: &'static str, value: HeaderText) {
    // Generation has proved that the name is lower-case and valid.
    response.headers_mut().append(HeaderName::from_static(name), value.into_header_value());
}

/// A documented failure, in the dialect.
pub fn failures<F: Failures>(failed: &F) -> Response {
    failure(failed.answer(), &failed.to_body())
}

pub(crate) fn failure(answer: &'static Answer, body: &serde_json::Value) -> Response {
    let mut response = json(answer.status, body);
    response.extensions_mut().insert(FailureCode(answer.code));
    response
}
