//! Which slot holds what (`PROTOCOL.md` §16): `set[hash(id) mod k]`, XXH3-64 with seed 0 over length-prefixed bytes.
//!
//! Invariant: the functions here never change for a cell; their golden values are pinned by a test.

use headgate_metadata::id::{BrokerId, ClusterId, PartitionId, SlotId, TopicId};
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

/// Where a cluster's quota coordinator lives.
pub fn quota(cluster: &ClusterRecord) -> SlotId {
    id_slot(cluster, b"quota", "")
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

/// Which of the gateways of a zone serves a broker that is dialled by address: the one that ranks highest (rendezvous hashing),
/// so that a gateway that comes or goes changes only what is its own. `gateways` must not be empty.
pub fn gateway_of_broker<'g>(cluster: ClusterId, broker: BrokerId, gateways: &[&'g str]) -> &'g str {
    let rank = |gateway: &&str| hash(&[cluster.as_bytes(), &broker.get().to_le_bytes(), gateway.as_bytes()]);
    let first = gateways.iter().max_by_key(|gateway| (rank(gateway), **gateway));
    first.expect("there is a gateway")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headgate_metadata::id::{AccountId, TimestampMs};
    use headgate_metadata::record::{ClusterLife, ClusterState};

    use super::*;

    fn cluster() -> ClusterRecord {
        let id: ClusterId = "abcd1234".parse().expect("a cluster id");
        ClusterRecord {
            id,
            name: "c".into(),
            arn_uuid: "u".into(),
            account: AccountId::checked(1).expect("an account"),
            created: TimestampMs::new(0),
            state: ClusterState::Active,
            slot_set: slot_set(id, 64, SLOT_SET_SIZE),
            auto_create_topics: false,
            port: None,
            tags: BTreeMap::new(),
            life: ClusterLife::default(),
        }
    }

    fn topic() -> TopicRecord {
        TopicRecord {
            id: TopicId::from_bytes([7; 16]).expect("sevens are not nil"),
            name: "t".into(),
            partitions: 8,
            slots: SLOT_SET_SIZE,
            created: TimestampMs::new(0),
            configs: BTreeMap::new(),
        }
    }

    /// Data lies where these functions said when it was written: a change of any value loses it.
    #[test]
    fn the_places_of_a_cell_never_change() {
        let cluster = cluster();
        let set: Vec<u16> = cluster.slot_set.iter().map(|slot| slot.get()).collect();
        assert_eq!(set, GOLDEN_SET);
        let place = |index| partition(&cluster, &topic(), PartitionId::new(index)).slot.get();
        assert_eq!((0..8).map(place).collect::<Vec<_>>(), GOLDEN_PARTITIONS);
        assert_eq!(quota(&cluster).get(), GOLDEN_QUOTA);
        assert_eq!(["", "g", "orders"].map(|id| group(&cluster, id).slot.get()), GOLDEN_GROUPS);
    }

    const GOLDEN_SET: [u16; 8] = [27, 6, 8, 22, 7, 16, 42, 11];
    const GOLDEN_PARTITIONS: [u16; 8] = [27, 16, 42, 42, 22, 6, 11, 22];
    const GOLDEN_QUOTA: u16 = 16;
    const GOLDEN_GROUPS: [u16; 3] = [11, 7, 22];

    #[test]
    fn partitions_of_a_topic_go_round_the_listed_brokers() {
        let brokers = [1, 2, 3];
        let led = |index| broker_of_partition(topic().id, PartitionId::new(index), &brokers);
        let mut first: Vec<i32> = (0..3).map(led).collect();
        assert_eq!(led(0), led(3));
        first.sort_unstable();
        assert_eq!(first, brokers);
    }
}
