//! The index block of a flush object: enough to fold a manifest without reading a run (`storage/PROTOCOL.md` §6.2).

use std::ops::Range;

use headgate_metadata::id::{
    ByteCount, KeyId, Offset, PartitionKey, ProducerEpoch, ProducerId, SlotEpoch, SlotId, TimestampMs, WalId,
    WalPosition,
};

/// The bytes of a run between two entries of its sparse index, about.
pub const SPARSE_INDEX_BYTES: u64 = 64 << 10;

/// What a flush object holds: bytes `[start, end)` of one WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushIndex {
    /// The log.
    pub wal: WalId,
    /// The first position.
    pub start: WalPosition,
    /// The position after the last.
    pub end: WalPosition,
    /// Runs of batches, by slot, cluster, topic, partition, then first position.
    pub runs: Vec<FlushRun>,
    /// Runs of state records, by slot, then slot epoch.
    pub state_runs: Vec<StateRun>,
}

/// Contiguous batches of one partition under one slot epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushRun {
    /// The slot.
    pub slot: SlotId,
    /// The owner's epoch: it starts at `base_offset` if it is new to the partition.
    pub slot_epoch: SlotEpoch,
    /// The partition.
    pub partition: PartitionKey,
    /// The WAL position of the first record's header.
    pub first_position: WalPosition,
    /// The WAL position of the last record's header.
    pub last_position: WalPosition,
    /// The first offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// How many batches.
    pub batch_count: u32,
    /// The first batch's base timestamp, ms; -1 if unknown.
    pub base_timestamp: i64,
    /// The greatest timestamp, ms; -1 if unknown.
    pub max_timestamp: i64,
    /// The bytes of the data batches; control batches are free.
    pub billable_bytes: ByteCount,
    /// The billable bytes times the milliseconds they were stored before `max_slot_time`, so that folding a run gives
    /// the same integral as counting batch by batch.
    pub stored_byte_ms: u128,
    /// The slot time of the last batch.
    pub max_slot_time: TimestampMs,
    /// Where in the object the run lies.
    pub object_range: Range<u64>,
    /// The CRC-32C of those bytes.
    pub checksum: u32,
    /// The key they are encrypted with; 0 = none.
    pub key_id: KeyId,
    /// Where to begin reading for an offset or a timestamp; the first entry is the run's start.
    pub sparse: Vec<SparseEntry>,
    /// The idempotent producers in it, by id.
    pub producers: Vec<ProducerInRun>,
    /// The transactions that an abort marker in the run ended, by marker offset.
    pub aborted: Vec<AbortedInRun>,
}

/// A batch boundary inside a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseEntry {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// Where it lies, from the run's start.
    pub run_position: u64,
    /// The greatest timestamp of all batches of the run before it; `i64::MIN` if there are none.
    pub max_timestamp_before: i64,
}

/// What a run says about one idempotent producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerInRun {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch at the end of the run.
    pub epoch: ProducerEpoch,
    /// Its last data batches of that epoch in the run, five at most, oldest first.
    pub batches: Vec<SequencedBatch>,
    /// The slot time of its last batch, markers included.
    pub last_slot_time: TimestampMs,
    /// Whether a marker in the run ends the transaction that was open before the run.
    pub ends_earlier_transaction: bool,
    /// The first offset of the transaction that the run leaves open, as far as the run knows: it may have begun
    /// earlier.
    pub open_transaction_start: Option<Offset>,
}

/// A batch as idempotence remembers it (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencedBatch {
    /// The sequence number of its first record.
    pub base_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// How many records.
    pub record_count: u32,
    /// Its greatest timestamp, ms; the answer to a duplicate carries it where the log appends times.
    pub max_timestamp: i64,
}

/// A transaction that a marker in the run aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedInRun {
    /// The producer.
    pub producer: ProducerId,
    /// The first offset of the transaction in the run; `None` = all of it lies before.
    pub first_offset: Option<Offset>,
    /// Whether the marker is the producer's first in the run, so that the transaction may have begun before it.
    pub may_begin_earlier: bool,
    /// The offset of the marker.
    pub marker_offset: Offset,
}

/// State records of one slot under one epoch, compacted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRun {
    /// The slot.
    pub slot: SlotId,
    /// The owner's epoch.
    pub slot_epoch: SlotEpoch,
    /// The WAL position of the last state record's header, compacted away or not.
    pub last_position: WalPosition,
    /// The slot time of the last state record.
    pub max_slot_time: TimestampMs,
    /// How many entries.
    pub entry_count: u32,
    /// Where in the object they lie.
    pub object_range: Range<u64>,
    /// The CRC-32C of those bytes.
    pub checksum: u32,
    /// The key they are encrypted with; 0 = none.
    pub key_id: KeyId,
}

impl FlushIndex {
    /// The run of a partition that holds an offset. Cost: a binary search.
    pub fn find_run(&self, slot: SlotId, partition: &PartitionKey, offset: Offset) -> Option<&FlushRun> {
        let key = (slot, partition);
        let after =
            self.runs.partition_point(|run| ((run.slot, &run.partition), run.base_offset) <= (key, offset));
        let run = self.runs[..after].last()?;
        let holds = (run.slot, &run.partition) == key && offset < run.next_offset;
        holds.then_some(run)
    }
}

impl FlushRun {
    /// Where in the run to begin reading for `offset`, from the run's start.
    pub fn position_of_offset(&self, offset: Offset) -> u64 {
        self.entry_of_offset(offset).1
    }
    /// Where in the run to begin looking for the first batch whose greatest timestamp is at least `timestamp`.
    pub fn position_of_timestamp(&self, timestamp: i64) -> u64 {
        self.entry_of_timestamp(timestamp).1
    }
    /// As [`FlushRun::position_of_offset`], with the offset of the first record there.
    pub fn entry_of_offset(&self, offset: Offset) -> (Offset, u64) {
        self.last_of(self.sparse.partition_point(|entry| entry.base_offset <= offset))
    }
    /// As [`FlushRun::position_of_timestamp`], with the offset of the first record there.
    pub fn entry_of_timestamp(&self, timestamp: i64) -> (Offset, u64) {
        self.last_of(self.sparse.partition_point(|entry| entry.max_timestamp_before < timestamp))
    }

    fn last_of(&self, entries: usize) -> (Offset, u64) {
        let last = self.sparse[..entries].last();
        last.map_or((self.base_offset, 0), |entry| (entry.base_offset, entry.run_position))
    }
}
