//! What was found of a slot's life: its records under one epoch, in one WAL.

use std::collections::BTreeMap;

use headgate_log::object::{FlushIndex, StateEntry};
use headgate_log::state_record::{INHERITED, Inherited, REMOVED, Removed, SENT_BYTES, SentBytes};
use headgate_log::wal::{BatchMeta, StateMeta};
use headgate_metadata::id::{ClusterId, Offset, PartitionKey, SlotEpoch, SlotId, TopicId, WalPosition};
use serde::{Deserialize, Serialize};

/// A life as far as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) slot: SlotId,
    pub(super) epoch: SlotEpoch,
    /// The header of the last record.
    pub(super) last: WalPosition,
    /// What its first record says, if that was found.
    pub(super) inherited: Option<Inherited>,
    pub(super) partitions: Vec<Offsets>,
}

impl Life {
    /// The same life, found elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
        if self.inherited.is_none() {
            self.inherited.clone_from(&other.inherited);
        }
    }
}

/// What was found of a partition in a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets {
    pub(super) partition: PartitionKey,
    /// The first offset.
    pub(super) base: Offset,
    /// The offset after the last.
    pub(super) next: Offset,
}

/// What was seen of things that are numbered or removed once and for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Above every producer id.
    pub(super) producer_ids: u64,
    /// Above every incarnation of a gateway.
    pub(super) incarnations: u64,
    /// Topics, and whole clusters.
    pub(super) removed: Vec<(ClusterId, Option<TopicId>)>,
}

impl Seen {
    pub(super) fn producer(&mut self, id: u64) {
        self.producer_ids = self.producer_ids.max(id + 1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.producer_ids = self.producer_ids.max(other.producer_ids);
        self.incarnations = self.incarnations.max(other.incarnations);
        self.removed.extend(&other.removed);
    }

    /// Takes in a state record that may name an incarnation or a removal.
    pub(super) fn state(&mut self, kind: u8, cluster: ClusterId, key: &[u8]) {
        // Neither depends on the value; one that does not decode is found by whoever replays it.
        if kind == SENT_BYTES
            && let Ok(sent) = SentBytes::decode(cluster, key, &[0; 16])
        {
            self.incarnations = self.incarnations.max(sent.gateway.get() + 1);
        }
        if kind == REMOVED
            && let Ok(removed) = Removed::decode(cluster, key, &[0; 8])
        {
            self.removed.push((removed.cluster, removed.topic));
        }
    }
}

/// Whether the payload of such a state record must be looked at.
pub(super) fn is_telling(kind: u8) -> bool {
    [INHERITED, REMOVED, SENT_BYTES].contains(&kind)
}

/// Lives being gathered from one WAL or one object.
#[derive(Debug, Default)]
pub(super) struct Lives {
    found: BTreeMap<(SlotId, SlotEpoch), Found>,
    pub(super) seen: Seen,
}

#[derive(Debug, Default)]
struct Found {
    last: WalPosition,
    inherited: Option<Inherited>,
    partitions: BTreeMap<PartitionKey, (Offset, Offset)>,
}

impl Lives {
    /// A record of the slot has its header there.
    pub(super) fn record(&mut self, slot: SlotId, epoch: SlotEpoch, at: WalPosition) {
        let found = self.found(slot, epoch);
        found.last = found.last.max(at);
    }

    pub(super) fn batch(&mut self, slot: SlotId, epoch: SlotEpoch, meta: &BatchMeta) {
        if let Some(producer) = meta.producer {
            self.seen.producer(producer.id.get());
        }
        self.found(slot, epoch).append(meta.partition, meta.base_offset, meta.next_offset());
    }

    pub(super) fn state(&mut self, slot: SlotId, epoch: SlotEpoch, meta: &StateMeta) {
        self.seen.state(meta.kind, meta.cluster, &meta.key);
        if meta.kind == INHERITED {
            self.found(slot, epoch).inherited =
                meta.value.as_ref().and_then(|value| Inherited::decode(value).ok());
        }
    }

    pub(super) fn entry(&mut self, slot: SlotId, epoch: SlotEpoch, entry: &StateEntry) {
        let StateEntry { key, value, .. } = entry;
        let meta =
            StateMeta { cluster: key.cluster, kind: key.kind, key: key.key.clone(), value: value.clone() };
        self.state(slot, epoch, &meta);
    }

    /// Takes in a flush object's index; its state runs come one by one.
    pub(super) fn index(&mut self, index: &FlushIndex) {
        for run in &index.runs {
            self.record(run.slot, run.slot_epoch, run.last_position);
            let found = self.found(run.slot, run.slot_epoch);
            found.append(run.partition, run.base_offset, run.next_offset);
            run.producers.iter().for_each(|producer| self.seen.producer(producer.id.get()));
        }
        for run in &index.state_runs {
            self.record(run.slot, run.slot_epoch, run.last_position);
        }
    }

    pub(super) fn into_lives(self) -> Vec<Life> {
        let lives = self.found.into_iter().map(|((slot, epoch), found)| {
            let offsets = found.partitions.into_iter();
            let partitions = offsets.map(|(partition, (base, next))| Offsets { partition, base, next });
            Life {
                slot,
                epoch,
                last: found.last,
                inherited: found.inherited,
                partitions: partitions.collect(),
            }
        });
        lives.collect()
    }

    fn found(&mut self, slot: SlotId, epoch: SlotEpoch) -> &mut Found {
        self.found.entry((slot, epoch)).or_default()
    }
}

impl Found {
    fn append(&mut self, partition: PartitionKey, base: Offset, next: Offset) {
        let offsets = self.partitions.entry(partition).or_insert((base, next));
        offsets.1 = offsets.1.max(next);
    }
}
