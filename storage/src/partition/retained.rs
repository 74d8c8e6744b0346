//! The beginning of a partition: how far retention may move it, and what moving does.

use headgate_log::usage::StoredBytes;
use headgate_metadata::id::{Offset, TimestampMs};

use super::PartitionLog;

/// How long and how much a topic keeps; Kafka's `retention.ms` and `retention.bytes`. `None` = without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) for_ms: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// A log start that retention asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trim {
    /// The new log start offset.
    pub(crate) to: Offset,
    /// The bytes of batches below it.
    pub(crate) bytes: u64,
}

impl PartitionLog {
    /// How far the log start may move at `now`: over whole runs, then whole batches, as long as each is too old or the
    /// partition too large without it. `None` = not at all.
    pub(crate) fn trim_due(&self, keep: Keep, now: TimestampMs) -> Option<Trim> {
        let mut size = self.size();
        let mut trim = Trim { to: self.log_start, bytes: 0 };
        let oldest = keep.for_ms.map(|ms| now.get().saturating_sub(ms));
        for (next, bytes, time) in self.pieces() {
            // Kafka keeps a segment as long as the partition without it would fall below `retention.bytes`.
            let too_large = keep.bytes.is_some_and(|bytes_max| size.saturating_sub(bytes) >= bytes_max);
            let too_old = oldest.is_some_and(|oldest| time < oldest);
            if !too_large && !too_old {
                break;
            }
            size = size.saturating_sub(bytes);
            trim = Trim { to: next, bytes: trim.bytes + bytes };
        }
        (trim.to > self.log_start).then_some(trim)
    }

    /// Runs, then batches behind them, each as (offset after it, bytes, newest time in it).
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Offset, u64, u64)> + '_ {
        let time =
            |timestamp: i64, slot_time: TimestampMs| u64::try_from(timestamp).unwrap_or(slot_time.get());
        let runs = self
            .runs
            .iter()
            .map(move |run| (run.next, run.counted, time(run.max_timestamp, run.max_slot_time)));
        let covered = self.runs.last().map_or(self.log_start, |run| run.next);
        let batches = self.batches.iter().filter(move |batch| batch.first >= covered);
        runs.chain(batches.map(move |batch| {
            (batch.next(), u64::from(batch.bytes), time(batch.max_timestamp, batch.slot_time))
        }))
    }

    /// What the stored bytes are once everything below the trim is gone.
    pub(crate) fn stored_after(&self, trim: Trim, now: TimestampMs) -> StoredBytes {
        self.counters.stored.shrunk(trim.bytes, now)
    }

    /// Moves the log start. Never back, never beyond the high watermark.
    pub(crate) fn start_at(&mut self, offset: Offset, stored: StoredBytes) {
        self.counters.stored = stored;
        self.drop_below(offset);
    }

    /// Forgets what lies wholly below `offset`; the batch that holds it stays.
    pub(crate) fn drop_below(&mut self, offset: Offset) {
        let offset = offset.min(self.high_watermark);
        if offset <= self.log_start {
            return;
        }
        self.log_start = offset;
        self.runs.retain(|run| run.next > offset);
        while self.batches.front().is_some_and(|batch| batch.next() <= offset) {
            if self.tail.len() == self.batches.len() {
                // The tail's accounting counts this batch until its turn to be evicted comes; see `Tail::evict`.
                break;
            }
            self.batches.pop_front();
        }
        self.epochs.trim(offset);
        self.aborted.retain(|(_, last)| *last >= offset);
    }
}
