//! The database behind one URL. SQLite, in a file or in memory; the queries are written so that PostgreSQL can stand
//! behind the same text later: `$1` placeholders, ids as TEXT, times as BIGINT milliseconds, flags as BIGINT 0 or 1
//! (the driver that hides the dialect knows no SQLite boolean), sums cast to BIGINT.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{
    Any, AnyConnection, AnyPool, ConnectOptions, Connection, Decode, Executor, Row, SqlSafeStr, Transaction, Type,
};
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// How long a connection waits for another process that holds the database, in milliseconds. Within one process
/// writers queue for the one write connection and never meet this.
const BUSY_TIMEOUT_MS: u32 = 10_000;

/// How long a request queues for a connection. Two hundred writers at a slow disk's 10 ms a commit need two seconds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that only read. Each is an operating-system thread in the SQLite driver, so a few are enough.
const READERS: u32 = 4;

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database URL names no database that this build can open.
    #[error("cannot use database URL {url:?}: {reason}")]
    Url {
        /// The URL as given, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A migration could not be applied.
    #[error("cannot migrate the database")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("database statement failed")]
    Sql(#[from] sqlx::Error),
    /// The transaction that the operation was part of could not be made durable; nothing of it was changed.
    #[error("database transaction failed: {0}")]
    Commit(String),
    /// A stored value is not what the code that reads it takes for granted.
    #[error("stored value is not usable: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether a uniqueness rule refused the statement, which is how concurrent creation of one thing shows.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// One schema step: a version that orders it, a name for people, and portable SQL.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Position among all steps of a database; unique over the platform and the service on top of it.
    pub version: i64,
    /// What the step does, in words.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// Schema of what the platform itself keeps: sessions, the job queue and the search index.
const PLATFORM_STEPS: &[Step] = &[
    Step {
        version: 1,
        name: "sessions and jobs",
        sql: include_str!("../../migrations/platform/0001_sessions_jobs.sql"),
    },
    Step { version: 2, name: "search index", sql: include_str!("../../migrations/platform/0002_search.sqlite.sql") },
    Step {
        version: 3,
        name: "rotation of refresh tokens",
        sql: include_str!("../../migrations/platform/0003_session_rotation.sql"),
    },
];

/// An open database. Reads go to several connections, writes to exactly one.
///
/// One write connection means that writers queue in this process, in order, instead of colliding in SQLite, so no
/// number of concurrent clients produces `SQLITE_BUSY`. Those that queue at the same time share one commit, because
/// waiting for the disk is what a commit costs: one wait then serves them all, and each is told only when it is over.
///
/// Rows come from `sqlx::Any`; see the module text for what that asks of a query.
#[derive(Clone, Debug)]
pub struct Store {
    reader: AnyPool,
    writer: AnyPool,
    batch: Arc<Mutex<Batch>>,
    in_memory: bool,
}

/// The write operations that will be committed together. Each is a savepoint, so that it can be undone alone.
#[derive(Debug, Default)]
struct Batch {
    transaction: Option<Transaction<'static, Any>>,
    /// Those that are done and wait for the commit.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
    /// An operation has begun and did not come to its end (yet).
    unfinished: bool,
}

impl Batch {
    /// Undoes the operation that was dropped in the middle, if one was.
    async fn settle(&mut self) {
        if let (true, Some(transaction)) = (self.unfinished, &mut self.transaction)
            && let Err(error) = transaction.execute("ROLLBACK TO operation; RELEASE operation").await
        {
            self.fail(&error);
        }
        // Only now: whoever is dropped while it waits for the database above leaves the work to the next one.
        self.unfinished = false;
    }

    /// Gives the whole transaction up. Some errors, such as a full disk, make SQLite undo all of it; the savepoint is
    /// gone then, and whatever was part of the transaction must not be reported as done.
    fn fail(&mut self, error: &sqlx::Error) {
        tracing::error!(%error, "database transaction lost");
        self.transaction = None;
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(error.to_string()));
        }
    }
}

impl Store {
    /// Opens (and creates where needed) the database at `url` and brings its schema up to date: the platform's steps
    /// and then the service's `steps`.
    ///
    /// `sqlite://path/to.db` is a file, `sqlite::memory:` lives as long as this value.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL or the file behind it is not usable, [`StoreError::Migrate`] when a step fails
    /// or an already applied step was changed.
    pub async fn open(url: &str, steps: &[Step]) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        if !url.starts_with("sqlite:") {
            return Err(StoreError::Url {
                url: url.split_once("://").map_or("…", |(scheme, _)| scheme).to_owned() + "://…",
                reason: "only sqlite: URLs are supported, such as sqlite://data/service.db or sqlite::memory:"
                    .to_owned(),
            });
        }
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let url = if in_memory || url.contains("mode=") {
            url.to_owned()
        } else {
            format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' })
        };
        // By default sqlx writes every statement to the log; they are ours, constant, and say nothing to an operator. At
        // trace level tests count them.
        let options = AnyConnectOptions::from_str(&url)
            .map_err(|error| StoreError::Url { url: url.clone(), reason: error.to_string() })?
            .log_statements(log::LevelFilter::Trace)
            .log_slow_statements(log::LevelFilter::Off, Duration::MAX);

        let cannot_open = |error: sqlx::Error| StoreError::Url { url: url.clone(), reason: error.to_string() };
        let writer = pool(1, in_memory).connect_with(options.clone()).await.map_err(cannot_open)?;
        // A private in-memory database exists once per connection, so there readers share the writer's. A caller
        // that reads while it holds a write would wait for itself; tests run in memory and would show it.
        let reader = if in_memory {
            writer.clone()
        } else {
            pool(READERS, in_memory).connect_with(options).await.map_err(cannot_open)?
        };

        let store = Self { reader, writer, batch: Arc::default(), in_memory };
        store.migrate(steps).await?;
        Ok(store)
    }

    async fn migrate(&self, steps: &[Step]) -> Result<(), StoreError> {
        let migrations = PLATFORM_STEPS
            .iter()
            .chain(steps)
            .map(|step| {
                Migration::new(step.version, step.name.into(), MigrationType::Simple, step.sql.into_sql_str(), false)
            })
            .collect();
        let mut connection = self.writer.acquire().await?;
        Migrator::with_migrations(migrations).run_direct(None, &mut *connection, false).await?;
        Ok(())
    }

    /// Where to run a query that changes nothing.
    #[must_use]
    pub fn reader(&self) -> &AnyPool {
        &self.reader
    }

    /// Begins a write operation, which happens whole or not at all. It is undone unless [`Write::commit`] is called.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when it is not this operation's turn within 30 s, or another process holds the database.
    pub async fn write(&self) -> Result<Write, StoreError> {
        let turn = tokio::time::timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.batch).lock_owned());
        let mut batch = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        batch.settle().await;
        if batch.transaction.is_none() {
            // IMMEDIATE takes the write lock at once. A deferred transaction that reads first and writes later can be
            // refused in the middle when another process wrote in between, and no timeout helps against that.
            batch.transaction = Some(self.writer.begin_with("BEGIN IMMEDIATE").await?);
        }
        let mut write = Write { batch, store: self.clone(), finished: false };
        write.batch.unfinished = true;
        write.run().execute("SAVEPOINT operation").await?;
        Ok(write)
    }

    /// Commits what has been collected, once every operation that is in the queue before this one has had its turn.
    async fn finish_batch(self) {
        let mut batch = self.batch.lock().await;
        batch.settle().await;
        let Some(transaction) = batch.transaction.take() else { return };
        let ended = if batch.waiting.is_empty() { transaction.rollback().await } else { transaction.commit().await };
        let ended = ended.map_err(|error| error.to_string());
        for waiting in batch.waiting.drain(..) {
            let _ = waiting.send(ended.clone());
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").fetch_one(&self.reader).await?;
        Ok(())
    }

    /// Folds the write-ahead log into the database file and closes every connection. Nothing acknowledged depends on
    /// this; it leaves one file instead of three.
    pub async fn close(&self) {
        self.reader.close().await;
        if !self.in_memory
            && let Ok(mut connection) = self.writer.acquire().await
            && let Err(error) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!(%error, "could not fold the write-ahead log into the database file");
        }
        self.writer.close().await;
    }
}

/// A write operation in progress. Dropping it undoes it.
#[derive(Debug)]
pub struct Write {
    batch: OwnedMutexGuard<Batch>,
    store: Store,
    finished: bool,
}

impl Write {
    /// Makes the operation durable. When this returns `Ok`, the change survives `kill -9` and loss of power.
    ///
    /// # Errors
    /// [`StoreError::Commit`] when the database could not commit; nothing was changed then.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let released = self.run().execute("RELEASE operation").await;
        self.finished = true;
        self.batch.unfinished = false;
        if let Err(error) = released {
            self.batch.fail(&error);
            return Err(error.into());
        }
        let (tell, told) = oneshot::channel();
        self.batch.waiting.push(tell);
        if self.batch.waiting.len() == 1 {
            // The lock is fair: this task's turn comes after those of all writers that queue already.
            tokio::spawn(self.store.clone().finish_batch());
        }
        drop(self);
        told.await.unwrap_or_else(|_| Err("the server is stopping".to_owned())).map_err(StoreError::Commit)
    }

    /// Where to run the operation's statements.
    ///
    /// # Panics
    /// Never: an operation has a transaction from its beginning to its end.
    pub fn run(&mut self) -> &mut AnyConnection {
        self.batch.transaction.as_mut().expect("a write operation is part of a transaction")
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        // With nobody waiting there is no task yet that would end the transaction, and left open it would keep other
        // processes from writing.
        if !self.finished
            && self.batch.waiting.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.store.clone().finish_batch());
        }
    }
}

fn pool(connections: u32, in_memory: bool) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // An embedded database has no peer that could have hung up, so connections neither age nor need a test.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                debug_assert_eq!(connection.backend_name(), "SQLite");
                let journal = if in_memory { "MEMORY" } else { "WAL" };
                // FULL: in WAL mode anything less acknowledges commits that a power cut takes back.
                let pragmas = format!(
                    "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = {journal}; \
                     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
                     PRAGMA cache_size = -16000;"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas)).execute(&mut *connection).await?;
                connection.ping().await
            })
        })
}

/// Reads a column by position, with the error type of the store.
///
/// # Errors
/// [`StoreError::Sql`] when the column is missing or of another type.
pub fn column<'r, T>(row: &'r AnyRow, index: usize) -> Result<T, StoreError>
where
    T: Decode<'r, Any> + Type<Any>,
{
    Ok(row.try_get::<T, usize>(index)?)
}

/// `$first, $first+1, …` for an `IN` list of `count` values.
#[must_use]
pub fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STEPS: &[Step] =
        &[Step { version: 1_001, name: "t", sql: "CREATE TABLE t (k TEXT PRIMARY KEY, v BYTEA, f DOUBLE PRECISION)" }];

    async fn file() -> (tempfile::TempDir, String, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/with space/x.db", folder.path().display());
        std::fs::create_dir(folder.path().join("with space")).unwrap();
        let store = Store::open(&url, STEPS).await.unwrap();
        (folder, url, store)
    }

    /// Without these an acknowledged write can be lost, or a second process gets errors instead of a wait.
    #[tokio::test]
    async fn every_connection_is_durable_and_patient() {
        let (_folder, _, store) = file().await;
        for pool in [&store.writer, &store.reader] {
            for (pragma, expected) in
                [("synchronous", "2"), ("foreign_keys", "1"), ("busy_timeout", "10000"), ("journal_mode", "wal")]
            {
                let sql = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}()")
                    .replace("busy_timeout AS", "timeout AS");
                let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
                assert_eq!(column::<String>(&row, 0).unwrap(), expected, "{pragma}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_committed_never_was() {
        let (_folder, url, store) = file().await;
        let insert = "INSERT INTO t (k, v, f) VALUES ($1, $2, $3)";
        let mut kept = store.write().await.unwrap();
        sqlx::query(insert).bind("a").bind(vec![0_u8, 255]).bind(0.1).execute(kept.run()).await.unwrap();
        kept.commit().await.unwrap();
        let mut dropped = store.write().await.unwrap();
        sqlx::query(insert).bind("b").bind(vec![1_u8]).bind(0.2).execute(dropped.run()).await.unwrap();
        drop(dropped);
        let mut again = store.write().await.unwrap();
        let refused = sqlx::query(insert).bind("a").bind(vec![1_u8]).bind(0.2).execute(again.run()).await;
        assert!(StoreError::from(refused.unwrap_err()).is_unique_violation());
        drop(again);
        store.close().await;
        let store = Store::open(&url, STEPS).await.unwrap();
        let rows = sqlx::query("SELECT k, v, f FROM t").fetch_all(store.reader()).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(column::<Vec<u8>>(&rows[0], 1).unwrap(), [0, 255]);
        assert_eq!(column::<f64>(&rows[0], 2).unwrap().to_bits(), 0.1_f64.to_bits());
    }

    #[tokio::test]
    async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
        let (_folder, url, store) = file().await;
        store.close().await;
        let changed = [Step { sql: "CREATE TABLE other (k TEXT)", ..STEPS[0] }];
        assert!(matches!(Store::open(&url, &changed).await, Err(StoreError::Migrate(_))));
        assert!(matches!(Store::open(&url, &[]).await, Err(StoreError::Migrate(_))));
    }

    #[tokio::test]
    async fn unusable_urls_are_refused_without_their_passwords() {
        let error = Store::open("postgres://u:hunter2@h/d", &[]).await.unwrap_err().to_string();
        assert!(error.contains("postgres") && !error.contains("hunter2"), "{error}");
        assert!(Store::open("sqlite:///nonexistent/x.db", &[]).await.is_err());
    }

    async fn keys(store: &Store) -> Vec<String> {
        let rows = sqlx::query("SELECT k FROM t ORDER BY k").fetch_all(store.reader()).await.unwrap();
        rows.iter().map(|row| column(row, 0).unwrap()).collect()
    }

    /// A third of the operations fail, a third are dropped at some point, a third succeed: whatever shares a commit.
    #[tokio::test(flavor = "multi_thread")]
    async fn operations_that_share_a_commit_do_not_share_their_fate() {
        let (_folder, _, store) = file().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..300 {
            let store = store.clone();
            tasks.spawn(async move {
                let operation = async {
                    let mut write = store.write().await.unwrap();
                    let insert = "INSERT INTO t (k) VALUES ($1)";
                    sqlx::query(insert).bind(format!("{n:03}")).execute(write.run()).await.unwrap();
                    match n % 3 {
                        0 => write.commit().await.unwrap(),
                        1 => assert!(sqlx::query(insert).bind(format!("{n:03}")).execute(write.run()).await.is_err()),
                        _ => tokio::time::sleep(Duration::from_secs(60)).await,
                    }
                };
                if n % 3 == 2 {
                    // Cut off wherever it is: in the queue, before, in or after its statement.
                    let _ = tokio::time::timeout(Duration::from_micros(n * 20), operation).await;
                } else {
                    operation.await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let expected: Vec<String> = (0..300).step_by(3).map(|n| format!("{n:03}")).collect();
        assert_eq!(keys(&store).await, expected);
        store.write().await.unwrap().commit().await.unwrap();
    }

    /// An operation that is never committed must not hold the database against other processes.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_operation_lets_go_of_the_file() {
        let (_folder, url, one) = file().await;
        let two = Store::open(&url, STEPS).await.unwrap();
        drop(one.write().await.unwrap());
        let started = std::time::Instant::now();
        two.write().await.unwrap().commit().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// Two processes on one file: here two stores, whose write connections know nothing of each other.
    #[tokio::test(flavor = "multi_thread")]
    async fn two_servers_on_one_file_wait_for_each_other() {
        let (_folder, url, one) = file().await;
        let two = Store::open(&url, STEPS).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..40 {
            let store = if n % 2 == 0 { one.clone() } else { two.clone() };
            writers.spawn(async move {
                let mut write = store.write().await?;
                sqlx::query("SELECT COUNT(*) FROM t").fetch_one(write.run()).await?;
                sqlx::query("INSERT INTO t (k) VALUES ($1)").bind(n.to_string()).execute(write.run()).await?;
                write.commit().await
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap().unwrap();
        }
        let row = sqlx::query("SELECT COUNT(*) FROM t").fetch_one(one.reader()).await.unwrap();
        assert_eq!(column::<i64>(&row, 0).unwrap(), 40);
    }
}
