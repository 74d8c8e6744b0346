//! Usage: what gateways report, and what metering reads (`storage/PROTOCOL.md` §13).

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{ByteCount, ClusterId, Incarnation, SlotId, TimestampMs};
use headgate_storage_client::{PartitionAddress, SentBytes, Unavailable};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::operation::Operation;
use crate::partition::Partition;
use crate::sequencer::Sequencer;
use crate::slot_time::hour_of;
use crate::slots::Slots;

pub use wire::{USAGE, answered_usage, asked_cluster, usage_answer, usage_question};

/// The usage of one cluster on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterUsage {
    /// The wall clock when it was read; extrapolate stored bytes up to here at most.
    pub at: TimestampMs,
    /// Its partitions, those of removed topics last.
    pub partitions: Vec<PartitionUsage>,
}

/// One partition's cumulative counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionUsage {
    /// The partition.
    pub partition: PartitionAddress,
    /// The counters now. Stored bytes since `counters.stored.since` are extrapolated by whoever meters.
    pub counters: UsageCounters,
    /// The slot time of its slot's last record: what was counted since the last mark belongs to that hour.
    pub slot_time: TimestampMs,
    /// The counters as of the end of each closed hour in which they changed, by hour since the Unix epoch. An hour without a
    /// mark changed nothing.
    pub marks: Vec<(u64, UsageCounters)>,
}

/// Reads the counters of a cluster. They count what is ordered, of which at most one write group is not yet committed.
pub(crate) fn snapshot(slots: &Slots, clock: &dyn Clock, cluster: ClusterId) -> ClusterUsage {
    let mut partitions = Vec::new();
    for partition in
        slots.partitions().into_iter().filter(|partition| partition.address.key.cluster == cluster)
    {
        let Some(slot) = slots.slot(partition.address.slot) else { continue };
        // Held while the counters are read, as the sequencer holds it while it changes them: a mark and the counters after
        // it are seen together.
        let state = slot.state();
        if state.forgot(&partition.address.key) {
            // Removed since the list was made: it stands among the ended ones.
            continue;
        }
        let marks = state.marks_of(partition.address.key).collect();
        let counters = partition.log().counters;
        partitions.push(PartitionUsage {
            partition: partition.address,
            counters,
            slot_time: state.time(),
            marks,
        });
    }
    for slot in slots.owned() {
        let state = slot.state();
        partitions.extend(state.ended_of(cluster).into_iter().map(|(key, counters)| {
            let mut marks: Vec<_> = state.marks_of(key).collect();
            // Nothing is counted after a removal, so its hour needs no later mark than this.
            let removed_in = hour_of(counters.stored.since);
            if marks.last().is_none_or(|(hour, _)| *hour < removed_in) {
                marks.push((removed_in, counters));
            }
            let partition = PartitionAddress { key, slot: slot.id };
            PartitionUsage { partition, counters, slot_time: state.time(), marks }
        }));
    }
    ClusterUsage { at: clock.wall(), partitions }
}

/// Cumulative figures of some partitions.
type Totals = Vec<(Arc<Partition>, ByteCount)>;

/// Stores a gateway's report; returns when it is committed. A repeated report changes nothing.
pub(crate) async fn report_sent(
    slots: &Slots,
    sequencer: &Sequencer,
    gateway: Incarnation,
    sent: &[SentBytes],
) -> Result<(), Unavailable> {
    let mut by_queue: BTreeMap<(ClusterId, SlotId), Totals> = BTreeMap::new();
    for SentBytes { partition, total } in sent {
        slots.slot(partition.slot).ok_or(Unavailable::NotOwner)?;
        let queue = by_queue.entry((partition.key.cluster, partition.slot)).or_default();
        queue.push((slots.partition(*partition), *total));
    }
    let mut waiting = Vec::with_capacity(by_queue.len());
    for ((cluster, slot), totals) in by_queue {
        let (done, committed) = oneshot::channel();
        sequencer.submit(cluster, Operation::Sent { slot, gateway, totals, done });
        waiting.push(committed);
    }
    for committed in waiting {
        committed.await.map_err(|_| Unavailable::Refused)?;
    }
    Ok(())
}
