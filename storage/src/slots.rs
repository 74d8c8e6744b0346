//! The slots and partitions of the node: one hash lookup from a key to its state.

use std::sync::Arc;

use dashmap::DashMap;
use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{ClusterId, PartitionKey, SlotEpoch, SlotId, TopicId};
use headgate_storage_client::PartitionAddress;

use crate::partition::Partition;
use crate::slot::Slot;
use crate::topics::Topics;

/// What the node owns.
#[derive(Debug)]
pub(crate) struct Slots {
    /// By slot number; `None` = owned elsewhere.
    owned: Vec<Option<Slot>>,
    partitions: DashMap<PartitionKey, Arc<Partition>>,
    topics: Arc<Topics>,
}

impl Slots {
    pub(crate) fn new(
        count: u16,
        owned: impl IntoIterator<Item = (SlotId, SlotEpoch)>,
        topics: Arc<Topics>,
    ) -> Self {
        let mut slots: Vec<Option<Slot>> = (0..count).map(|_| None).collect();
        for (id, epoch) in owned {
            if let Some(place) = slots.get_mut(usize::from(id.get())) {
                *place = Some(Slot::new(id, epoch));
            }
        }
        Self { owned: slots, partitions: DashMap::new(), topics }
    }

    /// The slot, if this node owns it.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<&Slot> {
        self.owned.get(usize::from(slot.get()))?.as_ref()
    }

    /// The owned slots, in order.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &Slot> {
        self.owned.iter().flatten()
    }

    /// The partition, if anything is known of it.
    pub(crate) fn known(&self, key: &PartitionKey) -> Option<Arc<Partition>> {
        self.partitions.get(key).map(|found| Arc::clone(&found))
    }

    /// The partition, made if it is new.
    pub(crate) fn partition(&self, address: PartitionAddress) -> Arc<Partition> {
        if let Some(known) = self.known(&address.key) {
            return known;
        }
        let topic = self.topics.settings(address.key.cluster, address.key.topic);
        let made = || Arc::new(Partition::new(address, topic));
        Arc::clone(&self.partitions.entry(address.key).or_insert_with(made))
    }

    /// The partition for an append; `None` if its topic or cluster was removed. One lookup when it is known.
    pub(crate) fn open_partition(&self, address: PartitionAddress) -> Option<Arc<Partition>> {
        if let Some(known) = self.known(&address.key) {
            return (!known.topic.removed()).then_some(known);
        }
        (!self.is_removed(&address.key)).then(|| self.partition(address))
    }

    /// Whether the topic or cluster of the partition was removed.
    pub(crate) fn is_removed(&self, key: &PartitionKey) -> bool {
        match self.partitions.get(key) {
            Some(partition) => partition.topic.removed(),
            None => self.topics.settings(key.cluster, key.topic).removed(),
        }
    }

    /// All partitions, ordered by key. Costs a pass over everything: for retention and reports, not for requests.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<Arc<Partition>> = self.partitions.iter().map(|entry| Arc::clone(&entry)).collect();
        all.sort_unstable_by_key(|partition| partition.address.key);
        all
    }

    /// Forgets the partitions of a removed topic (or cluster) in one slot, ends who waits for them, and returns what they
    /// counted: past hours are still billed.
    pub(crate) fn forget(
        &self,
        slot: SlotId,
        cluster: ClusterId,
        topic: Option<TopicId>,
    ) -> Vec<(PartitionKey, UsageCounters)> {
        let mut counted = Vec::new();
        self.partitions.retain(|key, partition| {
            let gone = partition.address.slot == slot
                && key.cluster == cluster
                && topic.is_none_or(|topic| topic == key.topic);
            if gone {
                let log = partition.log();
                log.waiters.end_all();
                counted.push((*key, log.counters));
            }
            !gone
        });
        counted
    }
}
