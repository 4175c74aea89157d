//! Rate limits as documents promise them without our vocabulary: by the names of documented response headers.

use crate::contract::{Contract, Header, Operation, Response};
use crate::vocabulary::ResetUnit;

/// The headers by which a response speaks of rate limits, as documented; found by their names.
#[derive(Debug, Clone, Default)]
pub struct RateHeaders<'c> {
    /// How many requests a window allows: `X-RateLimit-Limit`, `RateLimit-Limit` and their spellings.
    pub limit: Option<&'c Header>,
    /// How many are left.
    pub remaining: Option<&'c Header>,
    /// When the window ends.
    pub reset: Option<&'c Header>,
    /// What the reset header counts in, where its name or description tells.
    pub reset_unit: Option<ResetUnit>,
    /// `RateLimit`, the structured field of draft-ietf-httpapi-ratelimit-headers since version 08.
    pub combined: Option<&'c Header>,
    /// `RateLimit-Policy`, of the same draft.
    pub policy: Option<&'c Header>,
    /// `Retry-After` (RFC 9110, section 10.2.3).
    pub retry_after: Option<&'c Header>,
}

impl RateHeaders<'_> {
    /// Whether none of them is documented.
    pub fn is_empty(&self) -> bool {
        let all = [self.limit, self.remaining, self.reset, self.combined, self.policy, self.retry_after];
        all.iter().all(Option::is_none)
    }
}

impl Response {
    /// The documented headers that speak of rate limits.
    pub fn rate_headers(&self) -> RateHeaders<'_> {
        let mut found = RateHeaders::default();
        for header in &self.headers {
            let name = header.name.to_ascii_lowercase();
            // `X-Rate-Limit-Limit`, `X-RateLimit-Limit-Requests`, `RateLimit-Limit`: one word, with or without its hyphen.
            let plain = name.strip_prefix("x-").unwrap_or(&name).replace("rate-limit", "ratelimit");
            let slot = match plain.as_str() {
                "ratelimit" if name == "ratelimit" => &mut found.combined,
                "ratelimit-policy" => &mut found.policy,
                "retry-after" if name == "retry-after" => &mut found.retry_after,
                "ratelimit" | "ratelimit-limit" => &mut found.limit,
                "ratelimit-remaining" => &mut found.remaining,
                "ratelimit-reset" => &mut found.reset,
                "ratelimit-reset-after" => &mut found.reset,
                _ => continue,
            };
            slot.get_or_insert(header);
        }
        found.reset_unit = found.reset.and_then(reset_unit);
        found
    }
}

/// What a reset header counts in. The draft's own name counts seconds from now; others say it in words or not at all.
fn reset_unit(header: &Header) -> Option<ResetUnit> {
    let name = header.name.to_ascii_lowercase();
    let words = header.description.as_deref().unwrap_or_default().to_lowercase();
    let says = |all: &[&str]| all.iter().any(|word| words.contains(word));
    if says(&["epoch", "unix", "timestamp", "since 1970"]) {
        Some(ResetUnit::UnixSeconds)
    } else if name == "ratelimit-reset"
        || name.ends_with("-after")
        || says(&[
            "seconds until",
            "seconds left",
            "seconds remaining",
            "seconds to wait",
            "seconds before",
            "number of seconds",
        ])
    {
        Some(ResetUnit::DeltaSeconds)
    } else {
        None
    }
}

impl Operation {
    /// The rate-limit headers of the first answer that documents any, in the order of the statuses.
    pub fn rate_headers(&self) -> RateHeaders<'_> {
        self.responses.iter().map(Response::rate_headers).find(|headers| !headers.is_empty()).unwrap_or_default()
    }
}

impl Contract {
    /// Whether anything documented speaks of rate limits: the vocabulary, a header, or an answer 429.
    pub fn speaks_of_limits(&self) -> bool {
        let by_vocabulary = self.vocabulary.as_ref().is_some_and(|vocabulary| vocabulary.rate_limits.is_some());
        by_vocabulary
            || self.operations.iter().any(|operation| {
                let exact = |response: &Response| response.status == crate::contract::StatusPattern::Exact(429);
                operation.responses.iter().any(|response| exact(response) || !response.rate_headers().is_empty())
            })
    }
}
