//! One partition: where its batches lie, its bounds, its producers, its counters, who waits for it.
//!
//! Two sides share it. The sequencer alone *appends* ([`PartitionLog::assign`]) and *commits* ([`PartitionLog::commit`]);
//! readers see committed state only, because a batch enters the index when it is committed and not before.
//!
//! Invariants:
//! - log start ≤ high watermark ≤ log end; each only grows.
//! - runs, then batches, cover `[log start, high watermark)` without a hole (inside a compacted run there are some); a batch is found by one binary search.
//! - the tail holds the last batches of the index, as many as the node's budget allows.
//! - nothing above the high watermark is in the index, so nothing above it can be served (design invariant 4).

mod compacted;
pub(crate) mod epochs;
mod find;
mod retained;
pub(crate) mod waiters;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use headgate_log::manifest::RunRef;
use headgate_log::object::{FlushRun, ObjectName};
use headgate_log::usage::UsageCounters;
use headgate_log::wal::{BatchMeta, RecordPlace};
use headgate_metadata::id::{
    ByteCount, Incarnation, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, WalId, WalPosition,
};
use headgate_storage_client::{AbortedTransaction, AppendError, PartitionAddress, RecordBatch};

use self::epochs::Epochs;
pub(crate) use self::find::{Budget, Found};
pub(crate) use self::retained::{Keep, Trim};
use self::waiters::Waiters;
use crate::producer_state::{Producers, RememberedBatch, Verdict};
use crate::topics::TopicSettings;

/// A run: contiguous batches of the partition inside one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The object.
    pub(crate) object: Arc<str>,
    /// Where in the object its batches lie.
    pub(crate) at: u64,
    /// How many bytes they take.
    pub(crate) bytes: u64,
    /// How many of them count as stored: those of batches that were trimmed before the run was made do not.
    pub(crate) counted: u64,
    /// The offset of its first record.
    pub(crate) first: Offset,
    /// The offset after its last record.
    pub(crate) next: Offset,
    /// The greatest timestamp in it, ms; -1 if unknown.
    pub(crate) max_timestamp: i64,
    /// The slot time of its last record.
    pub(crate) max_slot_time: TimestampMs,
    /// Whether it was compacted: batches in it need not follow each other, nor reach its bounds.
    pub(crate) compacted: bool,
}

impl Run {
    /// The object as the store knows it.
    pub(crate) fn object_name(&self) -> ObjectName {
        ObjectName::parse(&self.object).expect("it came from a name")
    }

    /// The run as a manifest names it.
    pub(crate) fn of(run: &RunRef) -> Self {
        Self {
            object: run.object.as_str().into(),
            at: run.object_range.start,
            bytes: run.bytes(),
            counted: run.bytes(),
            first: run.base_offset,
            next: run.next_offset,
            max_timestamp: run.max_timestamp,
            max_slot_time: run.max_slot_time,
            compacted: run.object.is_compacted(),
        }
    }

    /// The run as a flush index names it.
    pub(crate) fn in_flush(object: &Arc<str>, run: &FlushRun) -> Self {
        Self {
            object: Arc::clone(object),
            at: run.object_range.start,
            bytes: run.object_range.end - run.object_range.start,
            counted: run.object_range.end - run.object_range.start,
            first: run.base_offset,
            next: run.next_offset,
            max_timestamp: run.max_timestamp,
            max_slot_time: run.max_slot_time,
            compacted: false,
        }
    }
}

/// A partition as its slot's manifest has it.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) runs: Vec<Run>,
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    /// Producer, first offset, offset of the marker.
    pub(crate) aborted: Vec<(ProducerId, Offset, Offset)>,
    pub(crate) producers: Vec<(ProducerId, ProducerEpoch, Vec<RememberedBatch>, TimestampMs)>,
    pub(crate) counters: UsageCounters,
}

/// Where one batch lies in a WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchEntry {
    pub(crate) first: Offset,
    pub(crate) count: u32,
    pub(crate) bytes: u32,
    pub(crate) max_timestamp: i64,
    pub(crate) slot_time: TimestampMs,
    pub(crate) wal: WalId,
    /// Where the batch itself begins, behind its record header.
    pub(crate) position: WalPosition,
}

impl BatchEntry {
    /// The entry of a batch record.
    pub(crate) fn at(wal: WalId, place: RecordPlace, meta: &BatchMeta, slot_time: TimestampMs) -> Self {
        Self {
            first: meta.base_offset,
            count: meta.record_count,
            bytes: place.payload_bytes,
            max_timestamp: meta.max_timestamp,
            slot_time,
            wal,
            position: place.payload_position,
        }
    }
    pub(crate) fn next(&self) -> Offset {
        self.first.plus(u64::from(self.count))
    }
}

/// A batch still in memory from its produce: the placed header, then the records as they came.
#[derive(Debug, Clone)]
pub(crate) struct TailBatch {
    pub(crate) header: Bytes,
    pub(crate) records: Bytes,
}

/// A partition as the node holds it.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) address: PartitionAddress,
    pub(crate) topic: Arc<TopicSettings>,
    log: Mutex<PartitionLog>,
}

impl Partition {
    pub(crate) fn new(address: PartitionAddress, topic: Arc<TopicSettings>) -> Self {
        Self { address, topic, log: Mutex::new(PartitionLog::default()) }
    }

    /// The partition's state. The lock is held for a few lines, never across a call that may wait.
    pub(crate) fn log(&self) -> MutexGuard<'_, PartitionLog> {
        // A panic while it was held stops the process through the sequencer; readers may still look.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    log_start: Offset,
    /// The offset the next record gets: appended state, seen by the sequencer only.
    end: Offset,
    high_watermark: Offset,
    runs: Vec<Run>,
    /// Below it runs are compacted, and serve readers even where batches are still in memory.
    compacted_to: Offset,
    /// What compaction took away of the bytes that count as stored, until the counter says so.
    freed: u64,
    /// Up to where retention was asked to move the log start.
    trim_asked: Offset,
    batches: VecDeque<BatchEntry>,
    /// The last `tail.len()` of `batches`.
    tail: VecDeque<TailBatch>,
    /// Batches below are in `runs`.
    flushed: Offset,
    /// Runs beyond a stretch that is not known to be flushed yet: logs of several nodes are flushed by several nodes.
    ahead: Vec<Run>,
    epochs: Epochs,
    aborted: Vec<(AbortedTransaction, Offset)>,
    pub(crate) producers: Producers,
    pub(crate) counters: UsageCounters,
    /// What the partition's newest answer depends on: the end of the last record that changed it, in the owner's WAL.
    pub(crate) last_change: WalPosition,
    /// Whether its counters changed since its last usage mark.
    pub(crate) unmarked: bool,
    /// What each gateway incarnation last reported as sent, with the slot time of the report.
    pub(crate) sent: BTreeMap<Incarnation, (ByteCount, TimestampMs)>,
    pub(crate) waiters: Waiters,
    /// The slot was given away: whoever still holds this state holds the past, and nothing may be ordered on it.
    pub(crate) discarded: bool,
}

/// A batch's assigned place in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) base_offset: Offset,
    pub(crate) log_start: Offset,
}

impl PartitionLog {
    pub(crate) fn log_start(&self) -> Offset {
        self.log_start
    }
    pub(crate) fn end(&self) -> Offset {
        self.end
    }
    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }
    /// Below it every transaction is decided. Without transactions that is the high watermark.
    pub(crate) fn last_stable(&self) -> Offset {
        self.high_watermark
    }
    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Begins where a manifest ends.
    pub(crate) fn restore(&mut self, restored: Restored) {
        let Restored { log_start, end, runs, epochs, aborted, producers, counters } = restored;
        for (epoch, start) in epochs {
            self.epochs.observe(epoch, start);
        }
        for (id, epoch, batches, last_append) in producers {
            self.producers.replay(id, epoch, &batches, last_append);
        }
        let entry =
            |(producer, first_offset, marker)| (AbortedTransaction { producer, first_offset }, marker);
        self.aborted = aborted.into_iter().map(entry).collect();
        self.runs = runs;
        (self.log_start, self.end, self.high_watermark, self.flushed) = (log_start, end, end, end);
        self.counters = counters;
        self.note_compacted();
        self.count_first_run();
    }

    /// The first run may have lost batches to retention before it was made; what the counters hold beyond the other runs is
    /// what is left of it.
    fn count_first_run(&mut self) {
        let log_start = self.log_start;
        let Some((first, others)) = self.runs.split_first_mut() else { return };
        if first.first < log_start {
            let others: u64 = others.iter().map(|run| run.bytes).sum();
            first.counted = self.counters.stored.current.get().saturating_sub(others).min(first.bytes);
        }
    }

    /// Judges a batch against appended state; changes nothing.
    pub(crate) fn judge(&self, batch: &RecordBatch, now: TimestampMs) -> Result<Verdict, AppendError> {
        batch
            .producer()
            .map_or(Ok(Verdict::Append), |producer| self.producers.judge(producer, batch.record_count(), now))
    }

    /// Gives the batch the next offsets and lets it count, in one step (`storage/PROTOCOL.md` §2.1).
    pub(crate) fn assign(&mut self, batch: &RecordBatch, epoch: LeaderEpoch, now: TimestampMs) -> Assigned {
        let base_offset = self.end;
        if let Some(producer) = batch.producer() {
            self.producers.append(producer, batch.record_count(), base_offset, now);
        }
        self.count(base_offset, batch.record_count(), batch.size_bytes(), epoch, now);
        Assigned { base_offset, log_start: self.log_start }
    }

    /// The part of an append that replay repeats from a record header.
    pub(crate) fn count(
        &mut self,
        base: Offset,
        records: u32,
        bytes: u64,
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) {
        debug_assert_eq!(base, self.end, "offsets are assigned without gaps");
        self.end = base.plus(u64::from(records));
        self.epochs.observe(epoch, base);
        let bytes_in = self.counters.bytes_in.get() + bytes;
        self.counters.bytes_in = ByteCount::new(bytes_in);
        self.counters.stored = self.counters.stored.grown(bytes, now);
    }

    /// The batch is committed: readers may see it, waiters are told.
    pub(crate) fn commit(&mut self, entry: BatchEntry, tail: Option<TailBatch>) {
        debug_assert_eq!(entry.first, self.high_watermark, "batches are committed in offset order");
        debug_assert!(tail.is_some() || self.tail.is_empty(), "the tail is a suffix of the index");
        self.high_watermark = entry.next();
        self.batches.push_back(entry);
        self.tail.extend(tail);
        if entry.next() <= self.flushed {
            // Replayed, and flushed by another node meanwhile: its run was told first, and the chunk it lies in may go.
            self.forget_flushed();
        }
        self.waiters.add(u64::from(entry.bytes));
    }

    /// Lets go of the oldest batch held in memory; it stays readable where it lies on disk.
    pub(crate) fn evict_oldest(&mut self) {
        self.tail.pop_front();
        self.forget_flushed();
    }

    /// A flush object counts from now on: its run takes over from the batches it covers.
    pub(crate) fn flushed(&mut self, run: Run) {
        if run.first > self.flushed {
            if !self.ahead.contains(&run) {
                self.ahead.push(run);
            }
            return;
        }
        self.take_over(run);
        while let Some(at) = self.ahead.iter().position(|run| run.first <= self.flushed) {
            let run = self.ahead.swap_remove(at);
            self.take_over(run);
        }
    }

    fn take_over(&mut self, mut run: Run) {
        if run.next <= self.flushed || run.first < self.flushed {
            return;
        }
        self.flushed = run.next;
        if run.first < self.log_start {
            let held = self.batches.iter().filter(|batch| batch.first >= self.log_start);
            let left = held.take_while(|batch| batch.next() <= run.next);
            run.counted = left.map(|batch| u64::from(batch.bytes)).sum();
        }
        if run.next > self.log_start {
            self.runs.push(run);
        }
        self.forget_flushed();
    }

    /// Batches that are in an object (or trimmed) and no longer in memory need no entry.
    fn forget_flushed(&mut self) {
        while self.batches.len() > self.tail.len()
            && self.batches.front().is_some_and(|batch| batch.next() <= self.flushed.max(self.log_start))
        {
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            // An idle partition keeps no buffer.
            self.batches = VecDeque::new();
            self.tail = VecDeque::new();
        }
    }

    /// Bytes of batches between log start and log end.
    pub(crate) fn size(&self) -> u64 {
        self.counters.stored.current.get()
    }
}

#[cfg(test)]
mod tests;
