//! The store that holds a cell's metadata: keys, revisions, transactions and watches, after etcd's v3 API.
//!
//! Two implementations earn this trait: [`crate::embedded::EmbeddedStore`] (one machine) and etcd. Both pass
//! one conformance suite. Keys are UTF-8 paths; values are the records of [`crate::record`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::id::Revision;
pub use crate::lease::Lease;

/// Operations in one transaction at most; etcd's default `--max-txn-ops`.
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;

/// Why the store did not do what was asked, named by what the caller can do next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MetadataError {
    /// Nothing was changed. Retry later; the store cannot be reached or is shutting down.
    #[error("metadata store unavailable: {reason}")]
    Unavailable {
        /// What was tried and what came back.
        reason: String,
    },
    /// The transaction may or may not have been committed. Read the keys before doing anything else.
    #[error("metadata transaction outcome unknown: {reason}")]
    OutcomeUnknown {
        /// What was tried and what came back.
        reason: String,
    },
    /// The request itself is wrong (too many operations, a value that does not decode). A retry cannot succeed.
    #[error("metadata request invalid: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The store was restored from a backup: nothing it says is believed any more, and what became of a transaction is unknown.
    #[error(
        "metadata store stands at revision {found}, {seen} was seen: it was restored from a backup; stop all processes of the cell"
    )]
    WentBack {
        /// The highest revision seen.
        seen: Revision,
        /// Where the store stands.
        found: Revision,
    },
    /// Another writer won more often than the bounded retry allows. Nothing was changed; retry later.
    #[error("metadata key `{key}` changed under every attempt")]
    Contended {
        /// The key that kept moving.
        key: String,
    },
}

/// One key with its value and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// The revision at which this value was put; what [`Compare::Unchanged`] compares.
    pub modified: Revision,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// Exactly this key.
    Key(String),
    /// All keys that start with this text, in key order.
    Prefix(String),
    /// At most `limit` keys that start with `prefix` and are greater than `after`, in key order.
    Page {
        /// The common start of the keys.
        prefix: String,
        /// Only keys greater than this one; empty for the first page.
        after: String,
        /// The most entries to return.
        limit: usize,
    },
}

/// Several reads at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The revision all reads saw.
    pub revision: Revision,
    /// One list of entries per [`Select`], in the order asked.
    pub results: Vec<Vec<Entry>>,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Present(String),
    /// The key exists and was last changed at exactly this revision.
    Unchanged(String, Revision),
    /// The key exists and has exactly this value.
    Value(String, Bytes),
}

/// A change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts a value.
    Put(String, Bytes),
    /// Deletes a key; no error when it is absent.
    Delete(String),
}

/// All compares must hold; then all writes happen at one new revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The changes.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }
    /// Adds a change.
    #[must_use]
    pub fn then(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All compares held; the writes are durable at this revision.
    Committed(Revision),
    /// A compare failed; nothing was changed. The revision is the one the compares saw.
    Refused(Revision),
}

/// One change seen by a watch, in revision order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: String,
    /// Its new value; `None` = deleted.
    pub value: Option<Bytes>,
    /// The revision of the change.
    pub revision: Revision,
}

/// A batch of changes, or news of how far the watch has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The changes, oldest first; may be empty.
    pub events: Vec<Event>,
    /// Everything up to this revision has been delivered on this watch.
    pub through: Revision,
}

/// A running watch. Dropping it ends it.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next changes. `Err` means the watch is broken (fell behind, store gone): read a snapshot and
    /// watch again from its revision. Cancel safe.
    async fn next(&mut self) -> Result<Changes, MetadataError>;

    /// Asks for news although nothing of the prefix may change: without more changes of the prefix, calls of `next` come
    /// to what was the store's revision at this call. Costs the store one read; a store that tells it anyway ignores this.
    fn request_progress(&mut self) {}
}

/// A store of keys with revisions, transactions and watches.
#[async_trait]
pub trait MetadataStore: Send + Sync + 'static {
    /// Reads several keys or ranges at one revision, linearizably.
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError>;

    /// Runs a transaction of at most [`TRANSACTION_OPERATIONS_MAX`] compares and as many writes. Durable when `Committed` returns.
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError>;

    /// Watches all keys that start with `prefix` for changes after `after`.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError>;

    /// Puts a value that lives as long as this process says so: under a lease of this time to live, which is renewed in the
    /// background and made anew when it ran out, unless somebody else has put the key since. Whoever had the key before
    /// loses it. Whole seconds; etcd may lengthen a time that is near its election time.
    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError>;

    /// The store's current revision, linearizably.
    async fn revision(&self) -> Result<Revision, MetadataError> {
        Ok(self.read(&[]).await?.revision)
    }

    /// Reads one key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetadataError> {
        let snapshot = self.read(&[Select::Key(key.to_owned())]).await?;
        Ok(snapshot.results.into_iter().flatten().next())
    }

    /// Reads all keys that start with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, MetadataError> {
        let snapshot = self.read(&[Select::Prefix(prefix.to_owned())]).await?;
        Ok(snapshot.results.into_iter().flatten().collect())
    }
}

/// How the rest of the system holds a store.
pub type SharedStore = Arc<dyn MetadataStore>;
