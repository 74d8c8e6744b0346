//! The journal of a cluster: what its cluster-hours and partition-hours are computed from.
//!
//! Invariants: an entry stands in the transaction that makes its change; it is never changed or removed. A cluster's
//! end is the end of all its topics, which get no entries of their own.

use crate::attempt;
use crate::id::{ClusterId, Revision, TimestampMs};
use crate::keys;
use crate::record::{JournalChange, JournalRecord, Record};
use crate::store::{Compare, Entry, MetadataError, MetadataStore, Transaction, Write};

/// One change with its place in the true order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The cluster.
    pub cluster: ClusterId,
    /// The revision of the transaction that made the change; entries of one cluster are in this order.
    pub revision: Revision,
    /// The change.
    pub record: JournalRecord,
}

/// A cluster's journal in the order of its changes; still there after the cluster is gone.
pub async fn read(store: &dyn MetadataStore, cluster: ClusterId) -> Result<Vec<JournalEntry>, MetadataError> {
    decode(&store.list(&keys::journal(cluster)).await?)
}

/// The journals of all clusters that ever were, in the order of the changes.
pub async fn read_all(store: &dyn MetadataStore) -> Result<Vec<JournalEntry>, MetadataError> {
    decode(&store.list(keys::JOURNALS).await?)
}

fn decode(entries: &[Entry]) -> Result<Vec<JournalEntry>, MetadataError> {
    let mut journal: Vec<_> = entries.iter().map(decode_entry).collect::<Result<_, _>>()?;
    // Keys are in order of time, and the clocks of writers differ; revisions are the true order.
    journal.sort_by_key(|entry| entry.revision);
    Ok(journal)
}

fn decode_entry(entry: &Entry) -> Result<JournalEntry, MetadataError> {
    let rest = entry.key.strip_prefix(keys::JOURNALS).unwrap_or_default();
    let cluster = rest.split('/').next().unwrap_or_default().parse();
    let cluster =
        cluster.map_err(|error| MetadataError::Invalid { reason: format!("`{}`: {error}", entry.key) })?;
    Ok(JournalEntry { cluster, revision: entry.modified, record: attempt::decode(entry)? })
}

/// Adds an entry to the transaction that makes the change. `sequence` is the number of the attempt: an entry of the same
/// subject and millisecond then only costs one more attempt.
pub(crate) fn enter(
    transaction: Transaction,
    cluster: ClusterId,
    at: TimestampMs,
    sequence: u32,
    change: JournalChange,
) -> Transaction {
    let subject = match &change {
        JournalChange::ClusterCreated { .. } | JournalChange::ClusterDeleted => "cluster".to_owned(),
        JournalChange::TopicPartitions { topic, .. } | JournalChange::TopicDeleted { topic } => {
            topic.to_string()
        }
    };
    let key = keys::journal_entry(cluster, at, sequence, &subject);
    let value = JournalRecord { at, change }.encode();
    transaction.when(Compare::Absent(key.clone())).then(Write::Put(key, value))
}
