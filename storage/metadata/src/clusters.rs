//! Clusters: created with a unique name and port, found, changed and deleted, with the journal entry that bills follow.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::attempt::{self, ATTEMPTS_MAX, Found};
use crate::id::{AccountId, ClusterId, Revision, TimestampMs};
use crate::journal;
use crate::keys;
use crate::record::{
    ClusterNetworkRecord, ClusterRecord, ClusterState, JournalChange, NameRecord, Record, RemovedRecord,
    TopicRecord,
};
use crate::store::{
    Compare, Entry, MetadataError, MetadataStore, Select, TRANSACTION_OPERATIONS_MAX, Transaction, Write,
};
use crate::topics;

#[cfg(test)]
mod tests;

/// Topics removed in one transaction: each takes two writes.
const TOPICS_PER_TRANSACTION: usize = TRANSACTION_OPERATIONS_MAX / 2;

/// Why a cluster was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateClusterError {
    /// The account has a cluster of that name. Choose another or use that one.
    #[error("cluster name taken by {holder}")]
    NameTaken {
        /// The cluster that holds it.
        holder: ClusterId,
    },
    /// The id is, or was, another cluster's. Draw a new one.
    #[error("cluster id {0} is in use")]
    IdTaken(ClusterId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Why a cluster was not changed or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    Unknown(ClusterId),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Creates the cluster as given; where a range is given, its `port` is the lowest free one of `ports`, or none where all
/// are held: such a cluster is reached by its names alone (`gateway/PROTOCOL.md` §2).
pub async fn create(
    store: &dyn MetadataStore,
    cluster: ClusterRecord,
    ports: Option<RangeInclusive<u16>>,
) -> Result<(ClusterRecord, Revision), CreateClusterError> {
    create_in_network(store, cluster, ports, None).await
}

/// [`create`], and keeps what was told of the network in the same transaction.
pub async fn create_in_network(
    store: &dyn MetadataStore,
    mut cluster: ClusterRecord,
    ports: Option<RangeInclusive<u16>>,
    network: Option<&ClusterNetworkRecord>,
) -> Result<(ClusterRecord, Revision), CreateClusterError> {
    let name_key = keys::cluster_name(cluster.account, &cluster.name);
    let (key, removed_key) = (keys::cluster(cluster.id), keys::removed_cluster(cluster.id));
    for sequence in 0..ATTEMPTS_MAX {
        let selects = [
            Select::Key(name_key.clone()),
            Select::Key(key.clone()),
            Select::Key(removed_key.clone()),
            Select::Prefix(keys::PORTS.to_owned()),
        ];
        let snapshot = store.read(&selects).await?;
        if let Some(holder) = attempt::found::<NameRecord>(&snapshot.results[0])? {
            return Err(CreateClusterError::NameTaken { holder: holder.record.cluster });
        }
        if !snapshot.results[1].is_empty() || !snapshot.results[2].is_empty() {
            return Err(CreateClusterError::IdTaken(cluster.id));
        }
        if let Some(range) = ports.clone() {
            cluster.port = free_port(range, &snapshot.results[3]);
        }
        let name = NameRecord { cluster: cluster.id }.encode();
        let mut transaction = Transaction::new()
            .when(Compare::Absent(name_key.clone()))
            .when(Compare::Absent(key.clone()))
            .when(Compare::Absent(removed_key.clone()))
            .then(Write::Put(name_key.clone(), name.clone()))
            .then(Write::Put(key.clone(), cluster.encode()));
        if let Some(port) = cluster.port {
            let port = keys::port(port);
            transaction = transaction.when(Compare::Absent(port.clone())).then(Write::Put(port, name));
        }
        if let Some(network) = network {
            let put = Write::Put(keys::cluster_network(cluster.id), network.encode());
            transaction = transaction.then(put);
        }
        let created = JournalChange::ClusterCreated { name: cluster.name.clone() };
        let transaction = journal::enter(transaction, cluster.id, cluster.created, sequence, created);
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok((cluster, revision));
        }
    }
    Err(attempt::contended(name_key).into())
}

fn free_port(mut range: RangeInclusive<u16>, held: &[Entry]) -> Option<u16> {
    let held: BTreeSet<&str> = held.iter().map(|entry| entry.key.as_str()).collect();
    range.find(|port| !held.contains(keys::port(*port).as_str()))
}

/// Deletes the cluster: [`begin_delete`], then [`finish_delete`].
pub async fn delete(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    now: TimestampMs,
) -> Result<Revision, ClusterError> {
    begin_delete(store, cluster, now).await?;
    finish_delete(store, cluster, now).await
}

/// Marks the cluster as `DELETING`, which ends its billing and refuses new topics. No error when it is marked already.
pub async fn begin_delete(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    now: TimestampMs,
) -> Result<(ClusterRecord, Revision), ClusterError> {
    let key = keys::cluster(cluster);
    for sequence in 0..ATTEMPTS_MAX {
        let Found { mut record, modified } =
            found(store, &key).await?.ok_or(ClusterError::Unknown(cluster))?;
        if record.state == ClusterState::Deleting {
            return Ok((record, modified));
        }
        record.state = ClusterState::Deleting;
        record.life.deleted = Some(now);
        let transaction = put(&key, modified, &record);
        let transaction = journal::enter(transaction, cluster, now, sequence, JournalChange::ClusterDeleted);
        if let Some(revision) = attempt::commit(store, transaction).await? {
            return Ok((record, revision));
        }
    }
    Err(attempt::contended(key).into())
}

/// Removes the topics of a cluster that is `DELETING`, each with its tombstone, and last the cluster with its name and
/// port, leaving its own tombstone. Interrupted, it is simply run again; a cluster that is not `DELETING` is left alone
/// and reported as contended.
pub async fn finish_delete(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    now: TimestampMs,
) -> Result<Revision, ClusterError> {
    let key = keys::cluster(cluster);
    let mut refused = 0;
    while refused < ATTEMPTS_MAX {
        let prefix = keys::topics(cluster);
        let page = Select::Page { prefix, after: String::new(), limit: TOPICS_PER_TRANSACTION };
        let snapshot = store.read(&[Select::Key(key.clone()), page]).await?;
        let found =
            attempt::found::<ClusterRecord>(&snapshot.results[0])?.ok_or(ClusterError::Unknown(cluster))?;
        if found.record.state != ClusterState::Deleting {
            break;
        }
        let topics = &snapshot.results[1];
        let transaction =
            if topics.is_empty() { remove(&found, now) } else { remove_topics(&found.record, topics, now)? };
        match attempt::commit(store, transaction).await? {
            Some(revision) if topics.is_empty() => return Ok(revision),
            Some(_) => refused = 0,
            None => refused += 1,
        }
    }
    Err(attempt::contended(key).into())
}

fn remove_topics(
    cluster: &ClusterRecord,
    topics: &[Entry],
    now: TimestampMs,
) -> Result<Transaction, MetadataError> {
    let mut transaction = Transaction::new();
    for entry in topics {
        let topic = Found { record: attempt::decode::<TopicRecord>(entry)?, modified: entry.modified };
        transaction = topics::remove(transaction, cluster, &topic, now);
    }
    Ok(transaction)
}

fn remove(cluster: &Found<ClusterRecord>, now: TimestampMs) -> Transaction {
    let Found { record, modified } = cluster;
    let key = keys::cluster(record.id);
    let tombstone = RemovedRecord { at: now, slots: record.slot_set.clone() };
    let transaction = Transaction::new()
        .when(Compare::Unchanged(key.clone(), *modified))
        .then(Write::Delete(key))
        .then(Write::Delete(keys::cluster_name(record.account, &record.name)))
        .then(Write::Delete(keys::cluster_network(record.id)))
        .then(Write::Delete(keys::cluster_policy(record.id)))
        .then(Write::Delete(keys::quota(record.id)))
        .then(Write::Delete(keys::client_quota(record.id)))
        .then(Write::Put(keys::removed_cluster(record.id), tombstone.encode()));
    match record.port {
        Some(port) => transaction.then(Write::Delete(keys::port(port))),
        None => transaction,
    }
}

/// Changes a record in place; `change` may run several times and must leave id, account, name and port alone: other keys
/// name them. A change to the same values is no change.
pub async fn update(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    mut change: impl FnMut(&mut ClusterRecord) + Send,
) -> Result<(ClusterRecord, Revision), ClusterError> {
    let key = keys::cluster(cluster);
    for _ in 0..ATTEMPTS_MAX {
        let Found { record: before, modified } =
            found(store, &key).await?.ok_or(ClusterError::Unknown(cluster))?;
        let mut record = before.clone();
        change(&mut record);
        debug_assert!(
            (record.id, record.account, &record.name, record.port)
                == (before.id, before.account, &before.name, before.port),
            "other keys name these"
        );
        if record == before {
            return Ok((record, modified));
        }
        if let Some(revision) = attempt::commit(store, put(&key, modified, &record)).await? {
            return Ok((record, revision));
        }
    }
    Err(attempt::contended(key).into())
}

fn put(key: &str, modified: Revision, cluster: &ClusterRecord) -> Transaction {
    Transaction::new()
        .when(Compare::Unchanged(key.to_owned(), modified))
        .then(Write::Put(key.to_owned(), cluster.encode()))
}

async fn found(store: &dyn MetadataStore, key: &str) -> Result<Option<Found<ClusterRecord>>, MetadataError> {
    let entry = store.get(key).await?;
    attempt::found(entry.as_slice())
}

/// One cluster.
pub async fn load(
    store: &dyn MetadataStore,
    cluster: ClusterId,
) -> Result<Option<ClusterRecord>, MetadataError> {
    Ok(found(store, &keys::cluster(cluster)).await?.map(|found| found.record))
}

/// What was told of a cluster's network.
pub async fn load_network(
    store: &dyn MetadataStore,
    cluster: ClusterId,
) -> Result<Option<ClusterNetworkRecord>, MetadataError> {
    let entry = store.get(&keys::cluster_network(cluster)).await?;
    Ok(attempt::found(entry.as_slice())?.map(|found| found.record))
}

/// All clusters of the cell, by id.
pub async fn list(store: &dyn MetadataStore) -> Result<Vec<ClusterRecord>, MetadataError> {
    store.list(keys::CLUSTERS).await?.iter().map(attempt::decode).collect()
}

/// The account's cluster of this name.
pub async fn by_name(
    store: &dyn MetadataStore,
    account: AccountId,
    name: &str,
) -> Result<Option<ClusterRecord>, MetadataError> {
    let entry = store.get(&keys::cluster_name(account, name)).await?;
    match attempt::found::<NameRecord>(entry.as_slice())? {
        Some(holder) => load(store, holder.record.cluster).await,
        None => Ok(None),
    }
}
