//! A slot's manifest: a snapshot, and a pure fold over flush indexes (`storage/PROTOCOL.md` §6.3).

mod codec;
mod fold;
mod list_object;
mod load;
mod producer;
mod replace;
mod run_codec;
mod state_object;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, KeyId, Offset, PartitionKey, ProducerEpoch, ProducerId, SlotEpoch, SlotId, TimestampMs,
};
use headgate_metadata::record::Applied;

pub use fold::{FoldError, FoldInput, fold};
pub use list_object::{RUNS_INLINE_MAX, decode_list, encode_list};
pub use load::{load_list, load_manifest, load_state};
pub use state_object::{decode_state, encode_state};

use crate::codec::FormatError;
use crate::object::{FlushRun, ObjectName, SequencedBatch, StateKey};
use crate::usage::UsageCounters;

/// Everything a slot's log says up to `applied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The slot.
    pub slot: SlotId,
    /// Up to where its log is contained; `None` only before the first fold.
    pub applied: Option<Applied>,
    /// The greatest slot time seen.
    pub slot_time: TimestampMs,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionKey, PartitionManifest>,
    /// The object that holds the state as of some earlier point; `None` = nothing but the delta.
    pub state_object: Option<StateObject>,
    /// State changed since that object was written; `None` = removed since. Without a state object this is all state.
    pub state_delta: BTreeMap<StateKey, Option<Bytes>>,
    /// Objects that were named by an earlier manifest or an edit and are not needed any more (`storage/PROTOCOL.md`
    /// §8).
    pub garbage: Vec<ObjectName>,
}

/// The slot's state, written as an object of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateObject {
    /// Its name.
    pub name: ObjectName,
    /// Its size.
    pub bytes: u64,
}

/// What a manifest says of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionManifest {
    /// The first offset still readable.
    pub log_start: Offset,
    /// The offset after the last folded record.
    pub next_offset: Offset,
    /// Whether its topic or cluster was removed: nothing of it is readable, and nothing will be appended.
    pub removed: bool,
    /// Older runs, kept in list objects; all lie below `runs`.
    pub lists: Vec<ListRef>,
    /// The runs, by offset, without gaps or overlaps.
    pub runs: Vec<RunRef>,
    /// Each slot epoch that appended, with the offset it started at, ascending (KIP-101).
    pub epoch_starts: Vec<(SlotEpoch, Offset)>,
    /// Idempotent producers.
    pub producers: BTreeMap<ProducerId, ProducerState>,
    /// Aborted transactions, by the offset of the marker.
    pub aborted: Vec<AbortedTransaction>,
    /// The counters as of `applied`.
    pub counters: UsageCounters,
}

/// A run, wherever its bytes lie. Its sparse index is in the object's own index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRef {
    /// The object.
    pub object: ObjectName,
    /// Where in the object.
    pub object_range: Range<u64>,
    /// The CRC-32C of those bytes.
    pub checksum: u32,
    /// The key they are encrypted with; 0 = none.
    pub key_id: KeyId,
    /// The first offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// The first batch's base timestamp, ms; -1 if unknown.
    pub base_timestamp: i64,
    /// The greatest timestamp, ms; -1 if unknown.
    pub max_timestamp: i64,
    /// The bytes of its data batches.
    pub billable_bytes: ByteCount,
    /// The slot time of its last batch.
    pub max_slot_time: TimestampMs,
    /// The epoch it was appended under.
    pub slot_epoch: SlotEpoch,
}

impl RunRef {
    /// The run as an object's index has it.
    pub fn of(object: &ObjectName, run: &FlushRun) -> Self {
        Self {
            object: object.clone(),
            object_range: run.object_range.clone(),
            checksum: run.checksum,
            key_id: run.key_id,
            base_offset: run.base_offset,
            next_offset: run.next_offset,
            base_timestamp: run.base_timestamp,
            max_timestamp: run.max_timestamp,
            billable_bytes: run.billable_bytes,
            max_slot_time: run.max_slot_time,
            slot_epoch: run.slot_epoch,
        }
    }
    /// The bytes of the run.
    pub fn bytes(&self) -> u64 {
        self.object_range.end - self.object_range.start
    }
}

/// A list object: many runs of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRef {
    /// The object.
    pub object: ObjectName,
    /// The first offset of its first run.
    pub base_offset: Offset,
    /// The offset after its last run.
    pub next_offset: Offset,
    /// How many runs it holds.
    pub run_count: u32,
    /// The greatest timestamp in it, ms; -1 if unknown.
    pub max_timestamp: i64,
    /// The bytes of its runs.
    pub bytes: u64,
}

/// An idempotent producer as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Its last data batches of that epoch, five at most, oldest first.
    pub batches: Vec<SequencedBatch>,
    /// The slot time of its last batch; it expires 24 h after (`storage/PROTOCOL.md` §13).
    pub last_slot_time: TimestampMs,
    /// The first offset of its open transaction.
    pub open_transaction_start: Option<Offset>,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer: ProducerId,
    /// The first offset of the transaction.
    pub first_offset: Offset,
    /// The offset of the marker.
    pub marker_offset: Offset,
}

impl Manifest {
    /// A slot in which nothing ever happened.
    pub fn empty(slot: SlotId) -> Self {
        Self {
            slot,
            applied: None,
            slot_time: TimestampMs::new(0),
            partitions: BTreeMap::new(),
            state_object: None,
            state_delta: BTreeMap::new(),
            garbage: Vec::new(),
        }
    }
    /// The stored form, self-checking.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }
    /// Reads the stored form; any wrong byte is an error.
    pub fn decode(raw: &[u8]) -> Result<Self, FormatError> {
        codec::decode(raw)
    }
    /// Whether the delta has grown past a quarter of the state object (and 64 KiB), so that it is time for
    /// [`Manifest::replace_state`].
    pub fn state_rewrite_due(&self) -> bool {
        state_object::rewrite_due(self)
    }
    /// Moves the delta into a new state object: returns its content, to be put under `name` *before* this manifest is.
    /// `base` is the content of the present state object, read by [`load_state`]; empty if there is none.
    pub fn replace_state(&mut self, base: BTreeMap<StateKey, Bytes>, name: ObjectName) -> Bytes {
        state_object::replace(self, base, name)
    }
    /// All state as of `applied`: the state object's content (`base`, see [`load_state`]) with the delta over it.
    pub fn state(&self, base: BTreeMap<StateKey, Bytes>) -> BTreeMap<StateKey, Bytes> {
        state_object::merged(base, &self.state_delta)
    }
    /// Moves the oldest runs of partitions with more than [`RUNS_INLINE_MAX`] into list objects: returns their
    /// contents, to be put *before* this manifest is. `next_random` gives the random part of each name.
    pub fn spill_lists(
        &mut self,
        epoch: SlotEpoch,
        next_random: impl FnMut() -> u64,
    ) -> Vec<(ObjectName, Bytes)> {
        list_object::spill(self, epoch, next_random)
    }
    /// Puts compacted runs in the place of those within their bounds. `all` are the partition's runs, those of its list objects
    /// included: they stand in the manifest again, until they are spilled.
    pub fn replace_runs(&mut self, key: &PartitionKey, all: Vec<RunRef>, by: Vec<RunRef>) {
        replace::replace(self, key, all, by);
    }
    /// Forgets idempotent producers without an open transaction whose last append lies more than `after` before `now`
    /// (slot time, §13).
    pub fn expire_producers(&mut self, now: TimestampMs, after: Duration) {
        producer::expire(self, now, after);
    }
    /// Every object the manifest names and needs: runs, lists, state. List objects name more.
    pub fn objects(&self) -> BTreeSet<&ObjectName> {
        let partitions = self.partitions.values();
        let runs = partitions.clone().flat_map(|partition| &partition.runs).map(|run| &run.object);
        let lists = partitions.flat_map(|partition| &partition.lists).map(|list| &list.object);
        runs.chain(lists).chain(self.state_object.iter().map(|state| &state.name)).collect()
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
