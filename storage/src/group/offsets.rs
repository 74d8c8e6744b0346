//! The committed offsets of one group.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_metadata::id::{ClusterId, LeaderEpoch, Offset, PartitionId, TopicId};
use headgate_storage_client::{CommittedOffset, OffsetToCommit};

use super::records;
use crate::state_log::{StateKind, StateRecord};

/// Kafka's `offset.metadata.max.bytes`: a longer text is refused, so that a group's state stays small.
pub(super) const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// What is kept per partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: Offset,
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) metadata: Arc<str>,
}

/// Offsets by partition, in a stable order.
#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<(TopicId, PartitionId), Committed>);

impl Offsets {
    pub(super) fn put(&mut self, commit: &OffsetToCommit) {
        let committed =
            Committed { offset: commit.offset, epoch: commit.epoch, metadata: Arc::clone(&commit.metadata) };
        self.insert((commit.topic, commit.partition), committed);
    }

    pub(super) fn insert(&mut self, partition: (TopicId, PartitionId), committed: Committed) {
        self.0.insert(partition, committed);
    }

    pub(super) fn remove(&mut self, partition: (TopicId, PartitionId)) {
        self.0.remove(&partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (TopicId, PartitionId)> + '_ {
        self.0.keys().copied()
    }

    /// All of them as they stand in the log of `group`.
    pub(super) fn records(&self, cluster: ClusterId, group: &str) -> Vec<StateRecord> {
        let record = |((topic, partition), committed): (&(TopicId, PartitionId), &Committed)| StateRecord {
            cluster,
            kind: StateKind::GroupOffset,
            key: records::offset_key(group, *topic, *partition),
            value: Some(records::encode_offset(committed)),
        };
        self.0.iter().map(record).collect()
    }

    /// The offsets asked for; partitions without one are absent. `None` = all.
    pub(super) fn select(&self, partitions: Option<&[(TopicId, PartitionId)]>) -> Vec<CommittedOffset> {
        match partitions {
            None => self.0.iter().map(|(partition, committed)| answer(*partition, committed)).collect(),
            Some(wanted) => wanted
                .iter()
                .filter_map(|partition| Some(answer(*partition, self.0.get(partition)?)))
                .collect(),
        }
    }
}

fn answer((topic, partition): (TopicId, PartitionId), committed: &Committed) -> CommittedOffset {
    CommittedOffset {
        topic,
        partition,
        offset: committed.offset,
        epoch: committed.epoch,
        metadata: Arc::clone(&committed.metadata),
    }
}
