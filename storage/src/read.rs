//! Reading batches: from memory, else from WAL chunks, else from objects (`storage/PROTOCOL.md` §9).
//!
//! Invariant: nothing at or above the high watermark (for `read_committed`: the last stable offset) is given out.

use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::Offset;
use headgate_storage_client::{
    Isolation, PartitionAddress, PartitionRead, ReadError, ReadOutcome, ReadRequest, ReadSuccess,
};

use crate::cold::{Cold, ColdError};
use crate::decode::StoredBatch;
use crate::metrics::{Metrics, Source};
use crate::partition::{Budget, Found, PartitionLog};
use crate::slots::Slots;

/// How often a place that moved under a reader is looked up again: a flush moves it once, a regrouping once more.
pub(crate) const LOOKUPS_MAX: usize = 4;

/// Serves reads.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    slots: Arc<Slots>,
    cold: Cold,
    metrics: Arc<Metrics>,
}

impl Reader {
    pub(crate) fn new(slots: Arc<Slots>, cold: Cold, metrics: Arc<Metrics>) -> Self {
        Self { slots, cold, metrics }
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn cold(&self) -> &Cold {
        &self.cold
    }

    /// Reads the partitions in the order asked; one outcome each.
    pub(crate) async fn read(&self, request: &ReadRequest) -> Vec<ReadOutcome> {
        let mut outcomes = Vec::with_capacity(request.partitions.len());
        let mut taken = 0;
        for partition in &request.partitions {
            let left = request.bytes_max.saturating_sub(taken);
            let budget = Budget { bytes: partition.bytes_max.min(left), at_least_one: taken == 0 };
            let outcome = self.read_partition(partition, budget, request.isolation).await;
            taken += outcome.as_ref().map_or(0, |success| success.records_bytes);
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn read_partition(
        &self,
        read: &PartitionRead,
        budget: Budget,
        isolation: Isolation,
    ) -> ReadOutcome {
        self.check(read)?;
        let Some(partition) = self.slots.known(&read.partition.key) else {
            return read_nothing(read.offset);
        };
        let mut last = ColdError::Unreadable;
        let mut lookups = 0;
        // Where the next batch is looked for: compaction leaves holes, also at the end of a run.
        let mut at = read.offset;
        while lookups < LOOKUPS_MAX {
            let (mut success, found) = {
                let log = partition.log();
                (bounds(&log, read.offset)?, log.find(at, budget))
            };
            let bytes = match found {
                Found::Nothing => Ok(None),
                Found::Tail { slices, bytes, next } => {
                    self.metrics.observe_read(Source::Tail, bytes);
                    Ok(Some((slices, next)))
                }
                Found::Wal(entries) if entries.is_empty() => Ok(None),
                Found::Wal(entries) => {
                    self.cold.read_wal(entries).await.map(|batches| self.took(Source::Wal, batches))
                }
                Found::Object(run) => match self.cold.read_run(read.partition, &run, at, budget).await {
                    Ok(None) => {
                        at = run.next;
                        continue;
                    }
                    Ok(Some(batches)) => Ok(self.took(Source::Object, batches)),
                    Err(error) => Err(error),
                },
            };
            match bytes {
                Ok(None) => return Ok(success),
                Ok(Some((slices, next))) => {
                    success.records_bytes = slices.iter().map(|slice| slice.len() as u64).sum();
                    success.records = slices;
                    if isolation == Isolation::ReadCommitted {
                        success.aborted = partition.log().aborted_in(read.offset, next);
                    }
                    return Ok(success);
                }
                Err(error) => last = error,
            }
            lookups += 1;
            if last != ColdError::Moved {
                break;
            }
        }
        Err(read_error(last))
    }

    fn took(&self, source: Source, batches: Vec<StoredBatch>) -> Option<(Vec<Bytes>, Offset)> {
        let next = batches.last()?.last_offset().plus(1);
        let slices: Vec<Bytes> = batches.into_iter().map(StoredBatch::into_bytes).collect();
        self.metrics.observe_read(source, slices.iter().map(|slice| slice.len() as u64).sum());
        Some((slices, next))
    }

    fn check(&self, read: &PartitionRead) -> Result<(), ReadError> {
        let epoch = self.check_owned(read.partition)?;
        // An older epoch is served: nothing below the high watermark is ever truncated.
        if read.current_epoch.is_some_and(|believed| believed > epoch) {
            return Err(ReadError::EpochAhead);
        }
        Ok(())
    }

    /// The slot is owned here and the topic is not removed; returns the slot's epoch.
    pub(crate) fn check_owned(
        &self,
        partition: PartitionAddress,
    ) -> Result<headgate_metadata::id::LeaderEpoch, ReadError> {
        let slot = self.slots.slot(partition.slot).ok_or(ReadError::NotOwner)?;
        if self.slots.is_removed(&partition.key) {
            return Err(ReadError::Removed);
        }
        Ok(slot.epoch)
    }
}

/// The partition's bounds; out of range below the log start or above the log end. Between high watermark and log end there
/// is nothing yet, which is no error.
pub(crate) fn bounds(log: &PartitionLog, offset: Offset) -> ReadOutcome {
    let success = ReadSuccess {
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable(),
        log_start: log.log_start(),
        ..ReadSuccess::default()
    };
    if offset < log.log_start() || offset > log.end() {
        return Err(ReadError::OutOfRange {
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
        });
    }
    Ok(success)
}

/// A partition nothing was ever written to: it has no state.
fn read_nothing(offset: Offset) -> ReadOutcome {
    let start = Offset::new(0);
    if offset == start {
        return Ok(ReadSuccess::default());
    }
    Err(ReadError::OutOfRange { log_start: start, high_watermark: start })
}

pub(crate) fn read_error(error: ColdError) -> ReadError {
    match error {
        ColdError::Moved | ColdError::Unreadable => ReadError::Unreadable,
        ColdError::Corrupt => ReadError::Corrupt,
    }
}
