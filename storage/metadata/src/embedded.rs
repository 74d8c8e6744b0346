//! The metadata store of one machine: a redb file, one thread that commits, and a bounded history that watches read.
//!
//! ```text
//! read ──────────────► redb snapshot                 inline: microseconds, no lock
//! commit ─► queue ───► writer thread ─► redb ─► fsync ─► history ─► watches
//! ```
//!
//! Invariants:
//! 1. A revision is given to at most one transaction, and revisions have no gaps.
//! 2. `Committed` is answered after the fsync; a refusal that saw a change of the same group is answered after it too.
//! 3. A watch gets every change of its prefix once, in revision order, or an error.
//! 4. After a commit whose outcome is unknown nothing is read or written until the store is opened again: what is in
//!    memory may differ from what is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};
use tokio::sync::watch;

use crate::history::History;
use crate::id::Revision;
use crate::lease;
use crate::limits;
use crate::store::{Lease, MetadataError, MetadataStore, Outcome, Select, Snapshot, Transaction, Watch};

mod leasing;
mod table;
#[cfg(test)]
mod tests;
mod watching;
mod writer;

use leasing::EmbeddedLeasing;
use watching::EmbeddedWatch;
use writer::Writer;

/// redb's page cache. Higher: more resident memory; lower: reads of big prefixes go to the page cache of the system.
const CACHE_BYTES: usize = 16 << 20;

/// Why the embedded store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. Stop that one first.
    #[error("metadata file `{}` is open in another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or is not a metadata file. Look at it.
    #[error("metadata file `{}` cannot be opened: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What came back.
        reason: String,
    },
}

/// A [`MetadataStore`] in one file or in memory. Dropping it waits for the commits under way and closes the file.
#[derive(Debug)]
pub struct EmbeddedStore {
    writer: Writer,
    shared: Arc<Shared>,
    progress: watch::Receiver<u64>,
}

/// What readers, the writer and watches have in common.
#[derive(Debug)]
struct Shared {
    database: Database,
    /// Apart from the database, so that a watch that is still held does not keep the file open.
    history: Arc<History>,
    /// Set for ever by a commit whose outcome is unknown (invariant 4).
    broken: AtomicBool,
    /// The next lease's number.
    leases: AtomicI64,
}

impl Shared {
    fn check_usable(&self) -> Result<(), MetadataError> {
        if self.broken.load(Ordering::Acquire) {
            let reason = "an earlier commit failed; the store must be opened again".to_owned();
            return Err(MetadataError::Unavailable { reason });
        }
        Ok(())
    }

    fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        self.check_usable()?;
        limits::check_selects(selects)?;
        // Reading inline is a decision: a key costs microseconds, a hand-over to another thread costs more.
        let read = || -> Result<Snapshot, redb::Error> {
            let transaction = self.database.begin_read()?;
            let entries = transaction.open_table(table::ENTRIES)?;
            let revision = table::stored_revision(&transaction.open_table(table::COUNTERS)?)?;
            let results =
                selects.iter().map(|select| table::select(&entries, select)).collect::<Result<_, _>>()?;
            Ok(Snapshot { revision: Revision::new(revision), results })
        };
        read().map_err(|error| unavailable("read", &error))
    }
}

impl EmbeddedStore {
    /// Opens or creates the file. Only one process may have it open.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unreadable = |reason: &dyn std::fmt::Display| OpenError::Unreadable {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let database = builder().create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
            other => unreadable(&other),
        })?;
        Self::start(database).map_err(|error| unreadable(&error))
    }

    /// A store that is forgotten when dropped, for tests.
    pub fn in_memory() -> Self {
        Self::with_backend(redb::backends::InMemoryBackend::new())
            .expect("memory has no file that could fail")
    }

    fn with_backend(backend: impl StorageBackend) -> Result<Self, redb::Error> {
        Self::start(builder().create_with_backend(backend)?)
    }

    fn start(database: Database) -> Result<Self, redb::Error> {
        let revision = table::create(&database)?;
        let history = Arc::new(History::starting_at(revision));
        let shared = Arc::new(Shared {
            database,
            history,
            broken: AtomicBool::new(false),
            leases: AtomicI64::new(table::NO_LEASE + 1),
        });
        let (writer, progress) = Writer::start(Arc::clone(&shared), revision)
            .map_err(|error| redb::Error::from(StorageError::Io(error)))?;
        Ok(Self { writer, shared, progress })
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

#[async_trait]
impl MetadataStore for EmbeddedStore {
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        self.shared.read(selects)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        self.shared.check_usable()?;
        limits::check_transaction(&transaction)?;
        self.writer.submit(transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError> {
        self.shared.check_usable()?;
        self.shared.history.check_reaches(after.get()).map_err(|lost| invalid(lost.to_string()))?;
        let history = Arc::clone(&self.shared.history);
        Ok(Box::new(EmbeddedWatch::new(history, self.progress.clone(), prefix.to_owned(), after.get())))
    }

    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError> {
        self.shared.check_usable()?;
        let leasing = EmbeddedLeasing { shared: Arc::downgrade(&self.shared), queue: self.writer.queue() };
        lease::keep(leasing, key, value, ttl).await
    }
}

fn invalid(reason: String) -> MetadataError {
    MetadataError::Invalid { reason }
}

fn unavailable(what: &str, error: &dyn std::fmt::Display) -> MetadataError {
    MetadataError::Unavailable { reason: format!("{what}: {error}") }
}
