//! Topics: created, grown, configured and deleted, each with its journal entry in the same transaction.
//!
//! Whether a name is valid is the caller's concern.

use std::collections::BTreeMap;

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{ClusterId, Revision, TimestampMs, TopicId};
use crate::journal;
use crate::keys;
use crate::record::{ClusterRecord, ClusterState, JournalChange, Record, RemovedRecord, TopicRecord};
use crate::store::{Compare, MetadataError, MetadataStore, Select, Transaction, Write};

#[cfg(test)]
mod tests;

/// Why a topic was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateTopicError {
    /// The cluster has a topic of that name.
    #[error("topic exists as {existing}")]
    Exists {
        /// The topic that holds the name.
        existing: TopicId,
    },
    /// There is no such cluster, or it is being deleted.
    #[error("cluster {0} does not exist")]
    ClusterUnknown(ClusterId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Why a topic was not changed or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopicError {
    /// The cluster has no such topic (or has another one under that name).
    #[error("topic does not exist")]
    Unknown,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Why a topic was not given more partitions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GrowTopicError {
    /// The cluster has no such topic (or has another one under that name).
    #[error("topic does not exist")]
    Unknown,
    /// Partitions are only ever added.
    #[error("topic has {current} partitions already")]
    NotMore {
        /// How many it has.
        current: u32,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Why a topic's configs were not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AlterConfigsError<E> {
    /// The cluster has no such topic.
    #[error("topic does not exist")]
    Unknown,
    /// The caller's own rule refused the change.
    #[error("config change refused")]
    Refused(E),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Creates the topic as given and journals its partitions.
pub async fn create(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    topic: &TopicRecord,
) -> Result<Revision, CreateTopicError> {
    let (cluster_key, topic_key) = (keys::cluster(cluster), keys::topic(cluster, &topic.name));
    for sequence in 0..ATTEMPTS_MAX {
        let selects = [Select::Key(cluster_key.clone()), Select::Key(topic_key.clone())];
        let snapshot = store.read(&selects).await?;
        let owner = attempt::found::<ClusterRecord>(&snapshot.results[0])?
            .filter(|found| found.record.state == ClusterState::Active)
            .ok_or(CreateTopicError::ClusterUnknown(cluster))?;
        if let Some(existing) = attempt::found::<TopicRecord>(&snapshot.results[1])? {
            return Err(CreateTopicError::Exists { existing: existing.record.id });
        }
        // The cluster is compared so that no topic is left over when its removal begins at the same moment.
        let transaction = Transaction::new()
            .when(Compare::Unchanged(cluster_key.clone(), owner.modified))
            .when(Compare::Absent(topic_key.clone()))
            .then(Write::Put(topic_key.clone(), topic.encode()));
        let transaction = journal::enter(transaction, cluster, topic.created, sequence, partitions_of(topic));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(topic_key).into())
}

fn partitions_of(topic: &TopicRecord) -> JournalChange {
    JournalChange::TopicPartitions { topic: topic.id, name: topic.name.clone(), partitions: topic.partitions }
}

/// Deletes the topic, leaves its tombstone and journals the end of its partitions. The id guards against deleting a
/// new topic that took the name meanwhile.
pub async fn delete(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    name: &str,
    id: TopicId,
    now: TimestampMs,
) -> Result<Revision, TopicError> {
    let (cluster_key, topic_key) = (keys::cluster(cluster), keys::topic(cluster, name));
    for sequence in 0..ATTEMPTS_MAX {
        let selects = [Select::Key(cluster_key.clone()), Select::Key(topic_key.clone())];
        let snapshot = store.read(&selects).await?;
        let owner = attempt::found::<ClusterRecord>(&snapshot.results[0])?.ok_or(TopicError::Unknown)?;
        let topic = attempt::found::<TopicRecord>(&snapshot.results[1])?
            .filter(|found| found.record.id == id)
            .ok_or(TopicError::Unknown)?;
        let transaction = remove(Transaction::new(), &owner.record, &topic, now);
        let ended = JournalChange::TopicDeleted { topic: id };
        let transaction = journal::enter(transaction, cluster, now, sequence, ended);
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok(revision);
        }
    }
    Err(attempt::contended(topic_key).into())
}

/// Adds a topic's removal to a transaction: one compare, and two writes of which one is the tombstone
/// (`storage/PROTOCOL.md` §8).
pub(crate) fn remove(
    transaction: Transaction,
    cluster: &ClusterRecord,
    topic: &Found<TopicRecord>,
    now: TimestampMs,
) -> Transaction {
    let key = keys::topic(cluster.id, &topic.record.name);
    let slots = cluster.slot_set.iter().take(usize::from(topic.record.slots)).copied().collect();
    let tombstone = keys::removed_topic(cluster.id, topic.record.id);
    transaction
        .when(Compare::Unchanged(key.clone(), topic.modified))
        .then(Write::Delete(key))
        .then(Write::Put(tombstone, RemovedRecord { at: now, slots }.encode()))
}

/// Raises the number of partitions to `partitions` and journals it.
pub async fn grow(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    name: &str,
    partitions: u32,
    now: TimestampMs,
) -> Result<(TopicRecord, Revision), GrowTopicError> {
    let key = keys::topic(cluster, name);
    for sequence in 0..ATTEMPTS_MAX {
        let Found { record: mut topic, modified } =
            found(store, &key).await?.ok_or(GrowTopicError::Unknown)?;
        if partitions <= topic.partitions {
            return Err(GrowTopicError::NotMore { current: topic.partitions });
        }
        topic.partitions = partitions;
        let transaction =
            journal::enter(put(&key, modified, &topic), cluster, now, sequence, partitions_of(&topic));
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok((topic, revision));
        }
    }
    Err(attempt::contended(key).into())
}

/// Changes the explicitly set configs; `alter` sees the current ones and may run several times. A change to the same
/// values is no change, and answers the revision of the last one.
pub async fn alter_configs<E: Send>(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    name: &str,
    mut alter: impl FnMut(&mut BTreeMap<String, String>) -> Result<(), E> + Send,
) -> Result<(TopicRecord, Revision), AlterConfigsError<E>> {
    let key = keys::topic(cluster, name);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: mut topic, modified } =
            found(store, &key).await?.ok_or(AlterConfigsError::Unknown)?;
        let before = topic.configs.clone();
        alter(&mut topic.configs).map_err(AlterConfigsError::Refused)?;
        if topic.configs == before {
            return Ok((topic, modified));
        }
        if let Some(revision) = attempt::commit(store, put(&key, modified, &topic)).await? {
            return Ok((topic, revision));
        }
    }
    Err(attempt::contended(key).into())
}

fn put(key: &str, modified: Revision, topic: &TopicRecord) -> Transaction {
    Transaction::new()
        .when(Compare::Unchanged(key.to_owned(), modified))
        .then(Write::Put(key.to_owned(), topic.encode()))
}

async fn found(store: &dyn MetadataStore, key: &str) -> Result<Option<Found<TopicRecord>>, MetadataError> {
    let entry = store.get(key).await?;
    attempt::found(entry.as_slice())
}

/// One topic.
pub async fn load(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    name: &str,
) -> Result<Option<TopicRecord>, MetadataError> {
    Ok(found(store, &keys::topic(cluster, name)).await?.map(|found| found.record))
}

/// All topics of a cluster, by name.
pub async fn list(store: &dyn MetadataStore, cluster: ClusterId) -> Result<Vec<TopicRecord>, MetadataError> {
    store.list(&keys::topics(cluster)).await?.iter().map(attempt::decode).collect()
}
