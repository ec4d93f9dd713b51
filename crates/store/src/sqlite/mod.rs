//! The SQLite backends: one file each for [`SqliteControl`] and [`SqliteEvents`].
//!
//! Both stand on [`Lite`]: one connection that writes and a few that read, in WAL mode, so
//! that readers and the writer don't wait for each other. Several processes of one machine may
//! share a file (the gateway reads the inbox that storage writes); writers take turns.
//!
//! `synchronous=FULL`: what a method returned `Ok` for survives even a loss of power, because
//! the consumer's offsets, which are committed elsewhere, may have moved past it. Batches make
//! it cheap, and so do statements that are prepared once for each of them ([`prepared`]).

mod control;
mod dead_letters;
mod events;
mod expiry;
mod prepared;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libsql::{Builder, Connection, Database};
use tokio::sync::Semaphore;

use crate::StoreError;
use crate::control::endpoint::Unreadable;
use crate::control::seal::{Locked, SecretKeys};

pub use control::SqliteControl;
pub use events::SqliteEvents;

/// One SQLite file.
struct Lite {
    database: Arc<Database>,
    writer: Arc<Mutex<Connection>>,
    /// Idle readers; as many as have ever been needed at once.
    readers: Arc<Mutex<Vec<Connection>>>,
    /// Bounds them: each is two open files.
    reading: Semaphore,
}

const READERS: usize = 16;

/// It goes all over the indexes, of which a cache of 64 MB (not 2) holds what is new; and copies its
/// log into the file after 16 MB (not 4), by when more of it is about the same pages.
const OF_THE_WRITER: [&str; 2] = ["cache_size = -65536", "wal_autocheckpoint = 4096"];

/// What can go wrong inside a statement.
#[derive(Debug)]
enum Fault {
    Sql(libsql::Error),
    /// A row that this version can't read.
    Row {
        table: &'static str,
        what: String,
    },
    /// A secret that can't be opened.
    Locked(Locked),
}

impl Fault {
    /// Whether it says something about all rows: the keys are not those of before.
    fn concerns_all(&self, keys: &SecretKeys) -> bool {
        matches!(self, Self::Locked(locked) if !keys.blame_the_row(locked))
    }
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Row(what) => Self::Row { table: "subscriptions", what },
            Unreadable::Locked(locked) => Self::Locked(locked),
        }
    }
}

impl From<libsql::Error> for Fault {
    fn from(error: libsql::Error) -> Self {
        Self::Sql(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Row { table, what } => write!(f, "{table} holds {what}"),
            Self::Locked(locked) => locked.fmt(f),
        }
    }
}

impl Fault {
    fn row(table: &'static str, what: impl std::fmt::Display) -> Self {
        Self::Row { table, what: what.to_string() }
    }

    fn into_store_error(self, operation: &'static str) -> StoreError {
        // The primary result codes (sqlite.org/rescode.html) that what was asked for is to blame
        // for: TOOBIG, CONSTRAINT, MISMATCH, RANGE. All others are the file's or its set-up's,
        // and may be mended: a missing table must not cost anyone's record.
        const OURS: [i32; 4] = [18, 19, 20, 25];
        match self {
            Self::Row { table, what } => StoreError::Unreadable { operation, table, what },
            Self::Locked(locked) => StoreError::Locked { operation, source: locked },
            Self::Sql(error @ libsql::Error::SqliteFailure(code, _))
                if OURS.contains(&(code & 0xff)) =>
            {
                StoreError::Failed { operation, source: error.into() }
            }
            Self::Sql(error) => StoreError::Unavailable { operation, source: error.into() },
        }
    }
}

impl Lite {
    async fn open(path: &Path) -> Result<Self, StoreError> {
        const OPEN: &str = "open the SQLite file";
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| StoreError::Unavailable {
                    operation: OPEN,
                    source: error.into(),
                })?;
            }
            futures::executor::block_on(async {
                let database = Builder::new_local(&path).build().await?;
                let writer = connect(&database).await?;
                for pragma in OF_THE_WRITER {
                    set(&writer, pragma).await?;
                }
                Ok((database, writer))
            })
            .map_err(|fault: Fault| fault.into_store_error(OPEN))
        });
        let (database, writer) = opened.await.map_err(|error| panicked(OPEN, error))??;
        Ok(Self {
            database: Arc::new(database),
            writer: Arc::new(Mutex::new(writer)),
            readers: Arc::default(),
            reading: Semaphore::new(READERS),
        })
    }

    /// Applies the migrations that the file hasn't seen, counted by `PRAGMA user_version`.
    async fn migrate(&self, migrations: &'static [&'static str]) -> Result<(), StoreError> {
        self.write("migrate the SQLite file", async move |connection: &Connection| {
            // Asked inside the transaction: another process may be doing the same.
            let mut rows = connection.query("PRAGMA user_version", ()).await?;
            let row = rows.next().await?.ok_or_else(|| Fault::row("user_version", "nothing"))?;
            let done = usize::try_from(row.get::<i64>(0)?).unwrap_or_default();
            // Until it has been stepped to its end, it keeps a migration from dropping anything.
            while rows.next().await?.is_some() {}
            for (index, migration) in migrations.iter().enumerate().skip(done) {
                connection.execute_batch(migration).await?;
                connection.execute_batch(&format!("PRAGMA user_version = {}", index + 1)).await?;
            }
            Ok(())
        })
        .await
    }

    /// Does `work` in a transaction that writes, off the runtime's threads (SQLite blocks).
    async fn write<R: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, StoreError> {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || {
            let connection = lock(&writer);
            futures::executor::block_on(async {
                if !connection.is_autocommit() {
                    // What was under way when the last user panicked.
                    connection.execute("ROLLBACK", ()).await?;
                }
                // Immediate: a transaction that reads first and writes later could find that
                // another process wrote in between.
                connection.execute("BEGIN IMMEDIATE", ()).await?;
                let committed = async {
                    let result = work(&connection).await?;
                    connection.execute("COMMIT", ()).await?;
                    Ok(result)
                };
                let committed = committed.await;
                if committed.is_err() {
                    // SQLite may have rolled back by itself; then this one fails, to no harm.
                    let _ = connection.execute("ROLLBACK", ()).await;
                }
                committed
            })
            .map_err(|fault: Fault| fault.into_store_error(operation))
        });
        done.await.map_err(|error| panicked(operation, error))?
    }

    /// Does `work` that only reads, off the runtime's threads.
    async fn read<R: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, StoreError> {
        let _reading = self.reading.acquire().await;
        let (database, readers) = (Arc::clone(&self.database), Arc::clone(&self.readers));
        let done = tokio::task::spawn_blocking(move || {
            let idle = lock(&readers).pop();
            futures::executor::block_on(async {
                let connection = match idle {
                    Some(connection) => connection,
                    None => connect(&database).await?,
                };
                // One snapshot for all statements of `work`.
                connection.execute("BEGIN", ()).await?;
                let result = work(&connection).await;
                connection.execute("COMMIT", ()).await?;
                lock(&readers).push(connection);
                result
            })
            .map_err(|fault: Fault| fault.into_store_error(operation))
        });
        done.await.map_err(|error| panicked(operation, error))?
    }
}

async fn connect(database: &Database) -> Result<Connection, Fault> {
    // Foreign keys aren't checked unless one asks; PostgreSQL does.
    const PRAGMAS: [&str; 4] =
        ["busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"];
    let connection = database.connect()?;
    for pragma in PRAGMAS {
        set(&connection, pragma).await?;
    }
    Ok(connection)
}

async fn set(connection: &Connection, pragma: &str) -> Result<(), Fault> {
    // Some of them answer a row, which `execute` would call an error.
    let mut rows = connection.query(&format!("PRAGMA {pragma}"), ()).await?;
    while rows.next().await?.is_some() {}
    Ok(())
}

fn panicked(operation: &'static str, error: tokio::task::JoinError) -> StoreError {
    StoreError::Failed { operation, source: error.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A transaction that panicked was never committed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reading columns back into types.
mod column {
    use libsql::Row;
    use time::OffsetDateTime;
    use triggerline_types::from_millis;
    use uuid::Uuid;

    use super::Fault;

    pub(super) fn id(row: &Row, table: &'static str, at: i32) -> Result<Uuid, Fault> {
        Uuid::from_slice(&row.get::<Vec<u8>>(at)?).map_err(|error| Fault::row(table, error))
    }

    pub(super) fn instant(
        row: &Row,
        table: &'static str,
        at: i32,
    ) -> Result<OffsetDateTime, Fault> {
        let ms = row.get::<i64>(at)?;
        from_millis(ms).ok_or_else(|| Fault::row(table, format!("the instant {ms}")))
    }

    pub(super) fn instant_or_none(
        row: &Row,
        table: &'static str,
        at: i32,
    ) -> Result<Option<OffsetDateTime>, Fault> {
        match row.get::<Option<i64>>(at)? {
            Some(_) => instant(row, table, at).map(Some),
            None => Ok(None),
        }
    }
}
