//! The slots and partitions of the node: one hash lookup from a key to its state.
//!
//! A slot is *published* when everything of it is restored, and taken back before it is given away: what is not published is
//! not owned, whoever asks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{ClusterId, PartitionKey, SlotId, TopicId};
use headgate_storage_client::PartitionAddress;

use crate::partition::Partition;
use crate::slot::Slot;
use crate::topics::Topics;

/// What the node owns.
#[derive(Debug)]
pub(crate) struct Slots {
    /// By slot number; `None` = owned elsewhere.
    owned: Vec<RwLock<Option<Published>>>,
    terms: AtomicU64,
    partitions: DashMap<PartitionKey, Arc<Partition>>,
    topics: Arc<Topics>,
}

/// A slot that is served.
#[derive(Debug, Clone)]
struct Published {
    slot: Arc<Slot>,
    term: Term,
}

/// Which publication of a slot: an operation that was submitted in one is not ordered in the next, because others that were
/// submitted before it may have been refused in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term(u64);

impl Slots {
    /// Owns nothing yet, of `count` slots.
    pub(crate) fn new(count: u16, topics: Arc<Topics>) -> Self {
        let owned = (0..count).map(|_| RwLock::default()).collect();
        Self { owned, terms: AtomicU64::new(0), partitions: DashMap::new(), topics }
    }

    /// How many slots the cell has.
    pub(crate) fn count(&self) -> u16 {
        self.owned.len() as u16
    }

    /// The slot, if this node owns it.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<Arc<Slot>> {
        self.published(slot).map(|published| published.slot)
    }

    /// The present publication of a slot that this node owns.
    pub(crate) fn term(&self, slot: SlotId) -> Option<Term> {
        self.published(slot).map(|published| published.term)
    }

    fn published(&self, slot: SlotId) -> Option<Published> {
        let place = self.owned.get(usize::from(slot.get()))?;
        place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The owned slots, in order.
    pub(crate) fn owned(&self) -> impl Iterator<Item = Arc<Slot>> {
        let published = |place: &RwLock<Option<Published>>| {
            place.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|place| Arc::clone(&place.slot))
        };
        self.owned.iter().filter_map(published)
    }

    /// From now on the slot is served. Everything of it is restored.
    pub(crate) fn publish(&self, slot: Arc<Slot>) {
        if let Some(place) = self.owned.get(usize::from(slot.id.get())) {
            let term = Term(self.terms.fetch_add(1, Ordering::Relaxed));
            *place.write().unwrap_or_else(PoisonError::into_inner) = Some(Published { slot, term });
        }
    }

    /// From now on the slot is not served: nobody finds it. Its state stays until [`Slots::discard`].
    pub(crate) fn withdraw(&self, slot: SlotId) -> Option<Arc<Slot>> {
        let place = self.owned.get(usize::from(slot.get()))?;
        let taken = place.write().unwrap_or_else(PoisonError::into_inner).take();
        taken.map(|published| published.slot)
    }

    /// Drops all state of slots that are not served. One pass over all partitions.
    pub(crate) fn discard(&self, slots: &BTreeSet<SlotId>) {
        self.partitions.retain(|_, partition| {
            let gone = slots.contains(&partition.address.slot);
            if gone {
                let mut log = partition.log();
                log.discarded = true;
                log.waiters.end_all();
            }
            !gone
        });
    }

    /// Ends the waits for partitions of these slots: long polls come back empty and ask again, elsewhere.
    pub(crate) fn end_waits(&self, slots: &BTreeSet<SlotId>) {
        for partition in self.partitions.iter().filter(|entry| slots.contains(&entry.address.slot)) {
            partition.log().waiters.end_all();
        }
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
