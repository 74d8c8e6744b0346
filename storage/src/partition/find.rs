//! Finding batches by offset and by time.

use bytes::Bytes;
use headgate_metadata::id::Offset;
use headgate_storage_client::AbortedTransaction;

use super::{BatchEntry, PartitionLog, Run};

/// Where the next batches for a reader lie. Only memory is touched to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// At or above the high watermark: nothing yet.
    Nothing,
    /// In memory: slices to be sent as they are.
    Tail {
        /// Header and records of each batch.
        slices: Vec<Bytes>,
        /// The sum of their lengths.
        bytes: u64,
        /// The offset after the last one.
        next: Offset,
    },
    /// In WAL chunks.
    Wal(Vec<BatchEntry>),
    /// In an object, from this offset on.
    Object(Run),
}

/// How much a reader may be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// The most bytes.
    pub(crate) bytes: u64,
    /// Whether one batch may be given even if it is larger, so that a reader always advances.
    pub(crate) at_least_one: bool,
}

impl Budget {
    /// Whether a batch of `bytes` still fits behind `taken` bytes.
    pub(crate) fn admits(self, taken: u64, bytes: u64) -> bool {
        taken + bytes <= self.bytes || taken == 0 && self.at_least_one
    }
}

impl PartitionLog {
    /// The next batches at or after `offset`, below the high watermark, as far as the budget goes.
    pub(crate) fn find(&self, offset: Offset, budget: Budget) -> Found {
        if offset >= self.high_watermark {
            return Found::Nothing;
        }
        if offset < self.compacted_to || self.batches.front().is_none_or(|first| offset < first.first) {
            let at = self.runs.partition_point(|run| run.next <= offset);
            return self.runs.get(at).map_or(Found::Nothing, |run| Found::Object(run.clone()));
        }
        let at = self.batches.partition_point(|batch| batch.next() <= offset);
        let in_memory = self.batches.len() - self.tail.len();
        if at >= in_memory {
            self.take_tail(at - in_memory, budget)
        } else {
            self.take_wal(at, in_memory, budget)
        }
    }

    fn take_tail(&self, from: usize, budget: Budget) -> Found {
        let mut slices = Vec::new();
        let mut taken = 0;
        for batch in self.tail.range(from..) {
            let bytes = (batch.header.len() + batch.records.len()) as u64;
            if !budget.admits(taken, bytes) {
                break;
            }
            slices.push(batch.header.clone());
            slices.push(batch.records.clone());
            taken += bytes;
        }
        let last = self.batches.len() - self.tail.len() + from + slices.len() / 2;
        let next = self.batches.get(last).map_or(self.high_watermark, |batch| batch.first);
        Found::Tail { slices, bytes: taken, next }
    }

    fn take_wal(&self, from: usize, to: usize, budget: Budget) -> Found {
        let mut taken = 0;
        let fitting = self.batches.range(from..to).take_while(|batch| {
            let fits = budget.admits(taken, u64::from(batch.bytes));
            taken += u64::from(batch.bytes);
            fits
        });
        Found::Wal(fitting.copied().collect())
    }

    /// Bytes readable at or after `offset`; counting stops once `enough` are found.
    pub(crate) fn readable_bytes(&self, offset: Offset, enough: u64) -> u64 {
        let mut bytes = 0;
        let indexed_from = self.batches.front().map_or(self.high_watermark, |batch| batch.first);
        for batch in self.batches.iter().rev().take_while(|batch| batch.next() > offset) {
            bytes += u64::from(batch.bytes);
            if bytes >= enough {
                return bytes;
            }
        }
        for run in
            self.runs.iter().rev().filter(|run| run.first < indexed_from).take_while(|run| run.next > offset)
        {
            bytes += run.bytes;
            if bytes >= enough {
                return bytes;
            }
        }
        bytes
    }

    /// The places that may hold the first record at or after `from` whose timestamp is at least `target`, in offset order:
    /// first runs, then single batches. The caller looks inside until it finds one.
    pub(crate) fn candidates(&self, target: i64, from: Offset) -> (Vec<Run>, Vec<BatchEntry>) {
        let indexed_from = self.batches.front().map_or(self.high_watermark, |batch| batch.first);
        let wanted = |next: Offset, max_timestamp: i64| next > from && max_timestamp >= target;
        let runs =
            self.runs.iter().filter(|run| run.first < indexed_from && wanted(run.next, run.max_timestamp));
        let batches = self.batches.iter().filter(|batch| wanted(batch.next(), batch.max_timestamp));
        (runs.cloned().collect(), batches.copied().collect())
    }

    /// The greatest timestamp at or after the log start; `None` when there is no record or none has a time.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        let runs = self.runs.iter().map(|run| run.max_timestamp);
        // Trimmed batches may still be held for the tail.
        let batches = self.batches.iter().filter(|batch| batch.next() > self.log_start);
        runs.chain(batches.map(|batch| batch.max_timestamp)).max().filter(|timestamp| *timestamp >= 0)
    }

    /// The aborted transactions with records in `[from, to)`. Consulted by every `read_committed` read (§9).
    pub(crate) fn aborted_in(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let overlapping =
            self.aborted.iter().filter(|(aborted, last)| aborted.first_offset < to && *last >= from);
        overlapping.map(|(aborted, _)| *aborted).collect()
    }
}
