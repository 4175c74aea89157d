//! When there is another try, and when.

use std::time::Duration;

use crate::client::{Received, TransportError};
use crate::contract::{Backoff, Contract, Operation, Retry};

/// The contract's policy with the user's wishes.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The contract's; `None`: never try again.
    pub retry: Option<Retry>,
    /// Give up rather than wait longer than this. Two minutes by default: an hour's window is for the caller to wait out.
    pub longest_wait: Duration,
}

impl Policy {
    /// The policy of a contract.
    pub fn of(contract: &Contract) -> Self {
        Policy { retry: contract.retry.copied(), longest_wait: Duration::from_secs(120) }
    }

    /// The pause before the next try after `failed` tries, or nothing if there is none.
    fn pause(&self, contract: &Contract, received: &Received, failed: u32) -> Option<Duration> {
        let retry = self.retry?;
        if failed > retry.max || !retry.statuses.contains(&received.status) {
            return None;
        }
        let envelope = contract.unmatched.internal.envelope;
        if let Some(code) = received.parsed(envelope).and_then(|parsed| parsed.code)
            && retry.except_codes.iter().any(|except| *except == code)
        {
            return None;
        }
        let grown = grown(&retry, failed);
        let stated = if retry.honour_retry_after { received.retry_after(contract) } else { None };
        let pause = match (stated, received.status, retry.default_wait_s) {
            (Some(stated), 429, _) => stated,
            (Some(stated), ..) => stated.max(grown),
            (None, 429, Some(seconds)) => Duration::from_secs(seconds),
            (None, ..) => grown,
        };
        (pause <= self.longest_wait).then_some(pause)
    }
}

/// `failed` counts from 1.
fn grown(retry: &Retry, failed: u32) -> Duration {
    let doubled =
        Duration::from_millis(retry.base_ms).saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX));
    match retry.backoff {
        Backoff::Exponential => doubled,
        Backoff::ExponentialJitter => doubled.mul_f64(rand::random::<f64>()),
    }
}

/// Runs calls by a policy.
#[derive(Debug, Clone, Copy)]
pub struct Transport {
    contract: &'static Contract,
    /// The policy.
    pub policy: Policy,
}

impl Transport {
    /// With the contract's own policy.
    pub fn new(contract: &'static Contract) -> Self {
        Transport { contract, policy: Policy::of(contract) }
    }

    /// The contract.
    pub fn contract(&self) -> &'static Contract {
        self.contract
    }

    /// Calls `attempt` until its answer is good or the policy says that it is enough. A failing answer is read to its
    /// end; a good one is, unless it `streams`.
    ///
    /// A call that got no answer is made again if nothing of it has reached the other end, or if its method may be
    /// repeated (RFC 9110 section 9.2.2).
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn run<F, A>(
        &self,
        operation: &Operation,
        streams: bool,
        mut attempt: F,
    ) -> Result<Received, TransportError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<Received, TransportError>>,
    {
        let mut failed = 0;
        loop {
            let received = match attempt().await {
                Ok(received) if received.status < 400 && streams => return Ok(received),
                Ok(received) => received.whole().await,
                Err(error) => Err(error),
            };
            failed += 1;
            let pause = match &received {
                Ok(received) if received.status < 400 => None,
                Ok(received) => self.policy.pause(self.contract, received, failed),
                Err(error) => self.after_silence(operation, error, failed),
            };
            match pause {
                Some(pause) => {
                    tracing::debug!(operation = operation.id, failed, ?pause, "another try");
                    tokio::time::sleep(pause).await;
                }
                None => return received,
            }
        }
    }

    fn after_silence(&self, operation: &Operation, error: &TransportError, failed: u32) -> Option<Duration> {
        let retry = self.policy.retry.filter(|retry| failed <= retry.max)?;
        let idempotent = matches!(operation.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
        let exchange = matches!(error, TransportError::Exchange(_));
        (exchange && (idempotent || error.is_unsent()))
            .then(|| grown(&retry, failed))
            .filter(|pause| *pause <= self.policy.longest_wait)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::fixture::{CONTRACT, GET, POST};

    fn answer(status: u16, retry_after: &str, body: &str) -> Result<Received, TransportError> {
        let mut headers = http::HeaderMap::new();
        if !retry_after.is_empty() {
            headers.insert("retry-after", retry_after.parse().expect("a header"));
        }
        Ok(Received::new(status, headers, body.to_owned()))
    }

    fn silence() -> TransportError {
        let error = reqwest::Client::new().get("http://[").build().expect_err("no address");
        TransportError::Exchange(error)
    }

    /// Plays answers in turn; the pauses between the tries, and the last status (0: none).
    async fn play(
        policy: Policy,
        operation: &Operation,
        script: Vec<Result<Received, TransportError>>,
    ) -> (Vec<Duration>, u16) {
        let script = RefCell::new(script.into_iter());
        let times = RefCell::new(Vec::new());
        let transport = Transport { contract: &CONTRACT, policy };
        let attempt = || async {
            times.borrow_mut().push(Instant::now());
            script.borrow_mut().next().expect("one try too many")
        };
        let last = transport.run(operation, false, attempt).await.map_or(0, |received| received.status);
        let times = times.into_inner();
        (times.windows(2).map(|pair| pair[1] - pair[0]).collect(), last)
    }

    fn seconds(list: &[u64]) -> Vec<Duration> {
        list.iter().copied().map(Duration::from_secs).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_last_try() {
        let policy = Policy::of(&CONTRACT);
        let down = || (0..4).map(|_| answer(503, "", "")).collect();
        assert_eq!(play(policy, &GET, down()).await, (seconds(&[1, 2, 4]), 503));
        assert_eq!(
            play(policy, &POST, down()).await,
            (seconds(&[1, 2, 4]), 503),
            "whatever the method: the answer says so"
        );
        let heals = vec![answer(500, "", ""), answer(200, "", "")];
        assert_eq!(play(policy, &GET, heals).await, (seconds(&[1]), 200));
        for status in [200, 204, 302, 400, 401, 404, 502] {
            assert_eq!(play(policy, &GET, vec![answer(status, "", "")]).await, (vec![], status));
        }
        let never = Policy { retry: None, ..policy };
        assert_eq!(play(never, &GET, vec![answer(503, "", "")]).await, (vec![], 503));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_answer_says_is_honoured() {
        let policy = Policy::of(&CONTRACT);
        let then_good = |first| vec![first, answer(200, "", "")];
        let in_body = r#"{"error":"slow","message":"","details":{"wait":7}}"#;
        let cases = [
            (answer(429, "5", ""), 5),
            (answer(429, "0", ""), 0),
            (answer(429, "", in_body), 7),
            (answer(429, "9", in_body), 9),
            (answer(429, "", "no JSON"), 30),
            (answer(429, "soon", ""), 30),
            (answer(503, "5", ""), 5),
            (answer(503, "0", ""), 1),
        ];
        for (first, wait) in cases {
            let shown = format!("{first:?}");
            assert_eq!(play(policy, &GET, then_good(first)).await, (seconds(&[wait]), 200), "{shown}");
        }
        let date = (chrono::Utc::now() + chrono::Duration::seconds(20)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let (pauses, _) = play(policy, &GET, then_good(answer(429, &date, ""))).await;
        assert!((18..=20).contains(&pauses[0].as_secs()), "{pauses:?}");
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(play(policy, &GET, then_good(answer(429, past, ""))).await.0, seconds(&[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn some_answers_are_final() {
        let policy = Policy::of(&CONTRACT);
        let spent = r#"{"error":"spent","message":""}"#;
        assert_eq!(play(policy, &GET, vec![answer(429, "1", spent)]).await, (vec![], 429), "an excepted code");
        assert_eq!(play(policy, &GET, vec![answer(429, "3600", "")]).await, (vec![], 429), "too long a wait");
        let patient = Policy { longest_wait: Duration::from_secs(7200), ..policy };
        assert_eq!(
            play(patient, &GET, vec![answer(429, "3600", ""), answer(200, "", "")]).await,
            (seconds(&[3600]), 200)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_only_where_nothing_can_happen_twice() {
        let policy = Policy::of(&CONTRACT);
        assert_eq!(play(policy, &GET, vec![Err(silence()), answer(200, "", "")]).await, (seconds(&[1]), 200));
        assert_eq!(play(policy, &POST, vec![Err(silence())]).await, (vec![], 0));
        let ours = TransportError::Request("bad".to_owned());
        assert_eq!(play(policy, &GET, vec![Err(ours)]).await, (vec![], 0), "our own fault stays");
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_a_part_of_the_pause() {
        let mut policy = Policy::of(&CONTRACT);
        policy.retry = policy.retry.map(|retry| Retry { backoff: Backoff::ExponentialJitter, ..retry });
        let mut distinct = std::collections::HashSet::new();
        for _ in 0..20 {
            let (pauses, _) = play(policy, &GET, (0..4).map(|_| answer(500, "", "")).collect()).await;
            for (pause, most) in pauses.iter().zip([1, 2, 4]) {
                // Tokio's clock counts milliseconds and rounds up.
                assert!(*pause <= Duration::from_millis(most * 1000 + 1), "{pause:?}");
                distinct.insert(*pause);
            }
        }
        assert!(distinct.len() > 10, "{distinct:?}");
    }
}
