//! A slot as its owner holds it: epoch, time, what waits for its usage mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headgate_log::state_record::Inherited;
use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{ByteCount, ClusterId, PartitionKey, SlotEpoch, SlotId, TimestampMs};

use crate::partition::Partition;
use crate::slot_time::{HOUR_MS, hour_of};
use crate::topics::Tombstone;

/// An owned slot. Costs next to nothing while it is empty.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: SlotId,
    /// The epoch under which this node owns it.
    pub(crate) epoch: SlotEpoch,
    state: Mutex<SlotState>,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The slot time of its last record.
    time: TimestampMs,
    /// Partitions whose counters changed since their last mark.
    unmarked: Vec<Arc<Partition>>,
    /// The usage marks of closed hours, by partition and hour since the Unix epoch.
    marks: BTreeMap<(PartitionKey, u64), UsageCounters>,
    /// What was removed, as the slot's own log remembers it.
    removed: BTreeSet<Tombstone>,
    /// What removed partitions had counted: past hours are still billed.
    ended: BTreeMap<PartitionKey, UsageCounters>,
    /// What the slot's life here follows, as long as the log does not say it.
    inherited: Option<Inherited>,
}

impl Slot {
    pub(crate) fn new(id: SlotId, epoch: SlotEpoch) -> Self {
        Self { id, epoch, state: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        // A panic while it was held stops the process through the sequencer; readers may still look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    /// The slot time of its last record.
    pub(crate) fn time(&self) -> TimestampMs {
        self.time
    }

    /// The time of the next record: it never goes back (`storage/PROTOCOL.md` §13).
    pub(crate) fn advance(&mut self, now: TimestampMs) -> TimestampMs {
        self.time = self.time.max(now);
        self.time
    }

    /// The slot's life here follows this; its first record will say so.
    pub(crate) fn inherits(&mut self, inherited: Inherited) {
        self.inherited = Some(inherited);
    }

    /// What the first record of the slot's life must say, once.
    pub(crate) fn take_inherited(&mut self) -> Option<Inherited> {
        self.inherited.take()
    }

    /// The partition's counters changed.
    pub(crate) fn changed(&mut self, partition: &Arc<Partition>, unmarked: &mut bool) {
        if !std::mem::replace(unmarked, true) {
            self.unmarked.push(Arc::clone(partition));
        }
    }

    /// If `now` lies in a later hour than the last record and counters changed since their marks: the hour to mark, the time
    /// of the mark (the hour's last millisecond) and the partitions.
    pub(crate) fn take_due_marks(
        &mut self,
        now: TimestampMs,
    ) -> Option<(u64, TimestampMs, Vec<Arc<Partition>>)> {
        let hour = hour_of(self.time);
        if hour_of(now) <= hour || self.unmarked.is_empty() {
            return None;
        }
        let at = TimestampMs::new((hour + 1) * HOUR_MS - 1);
        self.time = self.time.max(at);
        Some((hour, at, std::mem::take(&mut self.unmarked)))
    }

    /// A partition's counters as of the end of `hour`.
    pub(crate) fn marked(&mut self, partition: PartitionKey, hour: u64, counters: UsageCounters) {
        self.marks.insert((partition, hour), counters);
    }

    /// The marks of one partition, by hour.
    pub(crate) fn marks_of(
        &self,
        partition: PartitionKey,
    ) -> impl Iterator<Item = (u64, UsageCounters)> + '_ {
        let range = self.marks.range((partition, 0)..=(partition, u64::MAX));
        range.map(|((_, hour), counters)| (*hour, *counters))
    }

    /// A topic or cluster is removed in this slot. Its partitions get no more marks: what they counted stands at their end.
    pub(crate) fn removed(&mut self, tombstone: Tombstone) {
        self.unmarked.retain(|partition| !tombstone.covers(&partition.address.key));
        self.removed.insert(tombstone);
    }

    /// What a removed partition had counted; its stored bytes end at `at`.
    pub(crate) fn ended(&mut self, partition: PartitionKey, counters: UsageCounters, at: TimestampMs) {
        let stored = counters.stored.changed(ByteCount::new(0), at);
        self.ended.insert(partition, UsageCounters { stored, ..counters });
    }

    /// The removed partitions of a cluster with what they had counted.
    pub(crate) fn ended_of(&self, cluster: ClusterId) -> Vec<(PartitionKey, UsageCounters)> {
        let of = self.ended.iter().filter(|(key, _)| key.cluster == cluster);
        of.map(|(key, counters)| (*key, *counters)).collect()
    }

    /// Whether the slot's log remembers the removal.
    pub(crate) fn remembers(&self, tombstone: &Tombstone) -> bool {
        self.removed.contains(tombstone)
    }

    /// Whether the slot's log remembers that the partition was removed.
    pub(crate) fn forgot(&self, partition: &PartitionKey) -> bool {
        let PartitionKey { cluster, topic, .. } = *partition;
        [None, Some(topic)].into_iter().any(|topic| self.removed.contains(&Tombstone { cluster, topic }))
    }

    /// A cluster with a mark that is due at `now`.
    pub(crate) fn mark_due(&self, now: TimestampMs) -> Option<ClusterId> {
        let first = self.unmarked.first().filter(|_| hour_of(now) > hour_of(self.time));
        first.map(|partition| partition.address.key.cluster)
    }
}

#[cfg(test)]
mod tests;
