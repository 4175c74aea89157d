//! A durable queue of background work. A job is written in the same transaction as the change that needs it, so
//! neither can exist without the other, and it is deleted when it is done; a crash in between repeats it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::clock::Clock;
use super::store::{Store, StoreError, Write, column};

/// Starts of one job at most. A job that takes the process down with it three times would do so for ever.
const MAX_ATTEMPTS: i64 = 3;

/// Wait before a job that failed for a passing reason is started again, times the attempts made.
const RETRY_MS: i64 = 2_000;

/// How long an idle worker trusts its wake-up call. Another process can add work without being able to call.
const IDLE_POLL: Duration = Duration::from_secs(10);

/// Jobs in progress at once. Two, so that one slow document does not hold up everybody's.
const WORKERS: usize = 2;

/// How long a stopping worker waits for a job in progress. What it leaves is repeated at the next start.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// One piece of work.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// To what. Two jobs for one subject never run at the same time.
    pub subject: String,
    /// Starts so far, this one included.
    pub attempts: i64,
}

/// Does the work. Every method may be called again for a job that a crash interrupted, so it must bear repetition.
pub trait Handler: Send + Sync + 'static {
    /// Does one job. An error means "not now": the job is started again later, three times in all.
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Told that a job will not be started again, to record that it failed.
    fn abandon<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
}

impl Queue {
    /// The queue kept in `store`.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, wake: Arc::default() }
    }

    /// Adds a job to the write operation in progress, to be started `delay` from now at the earliest. When the same
    /// work for the same subject already waits, that one will do. Call [`Queue::wake`] after the commit.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when a statement fails.
    pub async fn add(&self, write: &mut Write, kind: &str, subject: &str, delay: Duration) -> Result<(), StoreError> {
        let now = self.clock.now_ms();
        let waiting = sqlx::query("SELECT id FROM jobs WHERE kind = $1 AND subject = $2 AND state = 'queued'")
            .bind(kind)
            .bind(subject)
            .fetch_optional(write.run())
            .await?;
        if waiting.is_none() {
            sqlx::query(
                "INSERT INTO jobs (id, kind, subject, state, attempts, not_before_ms, created_ms) \
                 VALUES ($1, $2, $3, 'queued', 0, $4, $5)",
            )
            .bind(Uuid::new_v4().to_string())
            .bind(kind)
            .bind(subject)
            .bind(now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)))
            .bind(now)
            .execute(write.run())
            .await?;
        }
        Ok(())
    }

    /// Forgets a subject's jobs within the write operation in progress. A job that is running is not interrupted.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when the statement fails.
    pub async fn forget(&self, write: &mut Write, subject: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE subject = $1").bind(subject).execute(write.run()).await?;
        Ok(())
    }

    /// Tells idle workers to look again.
    pub fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Does, here and now, whatever is due, one job after the other.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read or written.
    pub async fn run_due(&self, handler: &dyn Handler) -> Result<(), StoreError> {
        while let Some(job) = self.claim().await? {
            self.work(&job, handler).await?;
        }
        Ok(())
    }

    /// Takes up what a crash interrupted and starts workers that run until [`Workers::stop`].
    ///
    /// One server per database: this takes every job that is marked as running for an interrupted one.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be written.
    pub async fn start(&self, handler: Arc<dyn Handler>) -> Result<Workers, StoreError> {
        let mut write = self.store.write().await?;
        let interrupted = sqlx::query("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
            .execute(write.run())
            .await?
            .rows_affected();
        write.commit().await?;
        if interrupted > 0 {
            tracing::info!(interrupted, "taking up background jobs that were interrupted");
        }
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            tasks.spawn(self.clone().serve(Arc::clone(&handler), stopping.clone()));
        }
        Ok(Workers { tasks, stop })
    }

    async fn serve(self, handler: Arc<dyn Handler>, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            // Registered before looking, so that a wake-up between looking and waiting is not lost.
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            match self.claim().await {
                Ok(Some(job)) => {
                    if let Err(error) = self.work(&job, handler.as_ref()).await {
                        tracing::error!(%error, job = job.id, kind = job.kind, "background job could not be recorded");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                Ok(None) => {
                    let next = self.next_due().await.ok().flatten();
                    tokio::select! {
                        () = woken => {}
                        () = self.clock.sleep_until(next.unwrap_or(i64::MAX)), if next.is_some() => {}
                        () = tokio::time::sleep(IDLE_POLL) => {}
                        _ = stopping.changed() => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot look for background jobs");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn work(&self, job: &Job, handler: &dyn Handler) -> Result<(), StoreError> {
        if job.attempts > MAX_ATTEMPTS {
            tracing::warn!(job = job.id, kind = job.kind, subject = job.subject, "background job is given up");
            handler.abandon(job).await?;
        } else if let Err(error) = handler.run(job).await {
            tracing::warn!(%error, job = job.id, kind = job.kind, attempts = job.attempts, "background job will be repeated");
            let mut write = self.store.write().await?;
            sqlx::query("UPDATE jobs SET state = 'queued', not_before_ms = $1 WHERE id = $2")
                .bind(self.clock.now_ms().saturating_add(RETRY_MS.saturating_mul(job.attempts)))
                .bind(&job.id)
                .execute(write.run())
                .await?;
            return write.commit().await;
        }
        let mut write = self.store.write().await?;
        sqlx::query("DELETE FROM jobs WHERE id = $1").bind(&job.id).execute(write.run()).await?;
        write.commit().await?;
        // Another job for this subject may have waited for this one.
        self.wake();
        Ok(())
    }

    /// Takes the job that has waited longest. The start is counted before it happens, so that one which kills the
    /// process is counted too.
    async fn claim(&self) -> Result<Option<Job>, StoreError> {
        const DUE: &str = "SELECT id, kind, subject, attempts FROM jobs AS waiting \
             WHERE state = 'queued' AND not_before_ms <= $1 AND NOT EXISTS \
               (SELECT 1 FROM jobs AS busy WHERE busy.subject = waiting.subject AND busy.state = 'running') \
             ORDER BY not_before_ms, created_ms, id LIMIT 1";
        let now = self.clock.now_ms();
        if sqlx::query(DUE).bind(now).fetch_optional(self.store.reader()).await?.is_none() {
            return Ok(None);
        }
        let mut write = self.store.write().await?;
        let Some(row) = sqlx::query(DUE).bind(now).fetch_optional(write.run()).await? else {
            return Ok(None);
        };
        let job = Job {
            id: column(&row, 0)?,
            kind: column(&row, 1)?,
            subject: column(&row, 2)?,
            attempts: column::<i64>(&row, 3)? + 1,
        };
        sqlx::query("UPDATE jobs SET state = 'running', attempts = $1 WHERE id = $2")
            .bind(job.attempts)
            .bind(&job.id)
            .execute(write.run())
            .await?;
        write.commit().await?;
        Ok(Some(job))
    }

    async fn next_due(&self) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query(
            "SELECT MIN(not_before_ms) FROM jobs AS waiting WHERE state = 'queued' AND NOT EXISTS \
               (SELECT 1 FROM jobs AS busy WHERE busy.subject = waiting.subject AND busy.state = 'running')",
        )
        .fetch_one(self.store.reader())
        .await?;
        column(&row, 0)
    }
}

/// Running workers. Dropping this stops them where they stand.
#[derive(Debug)]
pub struct Workers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Lets jobs in progress finish for a few seconds, then stops. What is left is taken up at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::warn!("background job interrupted by shutdown; it is repeated at the next start");
            self.tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::super::clock::ManualClock;
    use super::*;

    #[derive(Default)]
    struct Recorder {
        ran: Mutex<Vec<String>>,
        abandoned: Mutex<Vec<String>>,
        fails: bool,
    }

    impl Handler for Recorder {
        fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async move {
                self.ran.lock().unwrap().push(job.subject.clone());
                if self.fails { Err(StoreError::Corrupt("on purpose".into())) } else { Ok(()) }
            })
        }

        fn abandon<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(async move {
                self.abandoned.lock().unwrap().push(job.subject.clone());
                Ok(())
            })
        }
    }

    async fn queue() -> (Queue, ManualClock) {
        let clock = ManualClock::starting_at(0);
        (Queue::new(Store::open("sqlite::memory:", &[]).await.unwrap(), clock.clock()), clock)
    }

    async fn add(queue: &Queue, subject: &str, delay: Duration) {
        let mut write = queue.store.write().await.unwrap();
        queue.add(&mut write, "k", subject, delay).await.unwrap();
        write.commit().await.unwrap();
        queue.wake();
    }

    #[tokio::test]
    async fn due_jobs_run_once_and_equal_ones_are_one() {
        let (queue, clock) = queue().await;
        let recorder = Recorder::default();
        for subject in ["a", "a", "b"] {
            add(&queue, subject, Duration::ZERO).await;
        }
        add(&queue, "late", Duration::from_secs(1)).await;
        queue.run_due(&recorder).await.unwrap();
        queue.run_due(&recorder).await.unwrap();
        let mut ran = recorder.ran.lock().unwrap().clone();
        ran.sort();
        assert_eq!(ran, ["a", "b"]);
        clock.advance(Duration::from_secs(1));
        queue.run_due(&recorder).await.unwrap();
        assert_eq!(recorder.ran.lock().unwrap().last().map(String::as_str), Some("late"));
    }

    #[tokio::test]
    async fn a_failing_job_is_repeated_three_times_and_then_given_up() {
        let (queue, clock) = queue().await;
        let recorder = Recorder { fails: true, ..Recorder::default() };
        add(&queue, "a", Duration::ZERO).await;
        for _ in 0..6 {
            queue.run_due(&recorder).await.unwrap();
            clock.advance(Duration::from_secs(60));
        }
        assert_eq!(recorder.ran.lock().unwrap().len(), 3);
        assert_eq!(recorder.abandoned.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_interrupted_job_is_taken_up_at_the_next_start() {
        let (queue, _) = queue().await;
        add(&queue, "a", Duration::ZERO).await;
        // Claimed and never finished: what a crash leaves behind.
        assert!(queue.claim().await.unwrap().is_some());
        assert!(queue.claim().await.unwrap().is_none());
        let recorder = Arc::new(Recorder::default());
        let workers = queue.start(recorder.clone()).await.unwrap();
        for _ in 0..500 {
            if !recorder.ran.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        workers.stop().await;
        assert_eq!(*recorder.ran.lock().unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn workers_follow_the_injected_clock() {
        let (queue, clock) = queue().await;
        let recorder = Arc::new(Recorder::default());
        let workers = queue.start(recorder.clone()).await.unwrap();
        add(&queue, "a", Duration::from_secs(3_600)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(recorder.ran.lock().unwrap().is_empty());
        clock.advance(Duration::from_secs(3_600));
        for _ in 0..500 {
            if !recorder.ran.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(*recorder.ran.lock().unwrap(), ["a"]);
        workers.stop().await;
    }
}
