//! Which slot holds what (`PROTOCOL.md` §16): `set[hash(id) mod k]`, XXH3-64 with seed 0 over length-prefixed bytes.
//!
//! Invariant: the functions here never change for a cell; their golden values are pinned by a test.

use headgate_metadata::id::{ClusterId, PartitionId, SlotId, TopicId};
use headgate_metadata::record::{ClusterRecord, TopicRecord};
use xxhash_rust::xxh3::Xxh3;

use crate::group::GroupAddress;
use crate::read::PartitionAddress;

/// How many slots a new cluster uses; a power of two.
pub const SLOT_SET_SIZE: u16 = 8;

/// The slot set of a new cluster: the `size` slots of the cell that rank highest for its id (rendezvous hashing), in that order.
pub fn slot_set(cluster: ClusterId, cell_slots: u16, size: u16) -> Vec<SlotId> {
    let mut ranked: Vec<(u64, u16)> =
        (0..cell_slots).map(|slot| (hash(&[cluster.as_bytes(), &slot.to_le_bytes()]), slot)).collect();
    ranked.sort_unstable_by(|left, right| right.cmp(left));
    ranked.into_iter().take(usize::from(size)).map(|(_, slot)| SlotId::new(slot)).collect()
}

/// Where a partition lives. A topic keeps the number of slots it was created with.
pub fn partition(cluster: &ClusterRecord, topic: &TopicRecord, partition: PartitionId) -> PartitionAddress {
    let index = hash(&[topic.id.as_bytes(), &partition.get().to_le_bytes()]) % u64::from(topic.slots);
    PartitionAddress {
        key: headgate_metadata::id::PartitionKey { cluster: cluster.id, topic: topic.id, partition },
        slot: cluster.slot_set[index as usize],
    }
}

/// Where a group's coordinator lives: among the first [`SLOT_SET_SIZE`] slots of the set, for ever.
pub fn group(cluster: &ClusterRecord, group: &str) -> GroupAddress {
    GroupAddress { cluster: cluster.id, group: group.into(), slot: id_slot(cluster, b"group", group) }
}

fn id_slot(cluster: &ClusterRecord, kind: &[u8], id: &str) -> SlotId {
    let first = cluster.slot_set.len().min(usize::from(SLOT_SET_SIZE)) as u64;
    cluster.slot_set[(hash(&[kind, id.as_bytes()]) % first) as usize]
}

/// The listed broker that leads a partition or coordinates an id: a pure function of the id and the broker ids listed in that
/// answer (`gateway/PROTOCOL.md` §1). `brokers` must not be empty.
pub fn broker_of_partition<B: Copy>(topic: TopicId, partition: PartitionId, brokers: &[B]) -> B {
    // Partitions of a topic go round the brokers from a place that the topic's id decides, so that they spread evenly.
    let start = hash(&[topic.as_bytes()]);
    brokers[(start.wrapping_add(u64::from(partition.get())) % brokers.len() as u64) as usize]
}

/// The listed broker that coordinates a group. `brokers` must not be empty.
pub fn broker_of_group<B: Copy>(cluster: ClusterId, group: &str, brokers: &[B]) -> B {
    brokers[(hash(&[cluster.as_bytes(), b"group", group.as_bytes()]) % brokers.len() as u64) as usize]
}

/// Length-prefixed, so that ("ab","c") and ("a","bc") differ.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut state = Xxh3::new();
    for part in parts {
        state.update(&(part.len() as u32).to_le_bytes());
        state.update(part);
    }
    state.digest()
}
