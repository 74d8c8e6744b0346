//! Reads from disk and from the object store. Every batch's own checksum is verified here, after the read.

use std::sync::Arc;

use bytes::Bytes;
use headgate_log::batch_frame::checksum_holds;
use headgate_log::block_cache::{BlockCache, ReadPattern};
use headgate_log::object::{FlushRun, ObjectError, ObjectName, SPARSE_INDEX_BYTES};
use headgate_log::store::StoreError;
use headgate_log::wal::{WalReadError, WalReader};
use headgate_metadata::id::Offset;
use headgate_storage_client::PartitionAddress;
use tracing::error;

use crate::batches::Batches;
use crate::decode::{RecordTime, StoredBatch};
use crate::metrics::Metrics;
use crate::partition::{BatchEntry, Budget, Run};
use crate::spawn;

/// What is read beyond a reader's budget from an object: a run is entered at its sparse index, which is this coarse.
const SPARSE_SLACK_BYTES: u64 = SPARSE_INDEX_BYTES;

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColdError {
    /// They moved from WAL to object, or from one object to another: look the place up again.
    #[error("moved")]
    Moved,
    /// The disk or the store does not answer.
    #[error("unreadable")]
    Unreadable,
    /// A byte is wrong.
    #[error("corrupt")]
    Corrupt,
}

/// The ways down.
#[derive(Debug, Clone)]
pub(crate) struct Cold {
    wal: Arc<WalReader>,
    cache: BlockCache,
    metrics: Arc<Metrics>,
}

impl Cold {
    pub(crate) fn new(wal: Arc<WalReader>, cache: BlockCache, metrics: Arc<Metrics>) -> Self {
        Self { wal, cache, metrics }
    }

    /// Reads batches from WAL chunks, on a thread that may block.
    pub(crate) async fn read_wal(&self, entries: Vec<BatchEntry>) -> Result<Vec<StoredBatch>, ColdError> {
        let (wal, metrics) = (Arc::clone(&self.wal), Arc::clone(&self.metrics));
        let read = move || {
            let batches = entries.iter().map(|entry| {
                let bytes = wal
                    .read(entry.wal, entry.position, entry.bytes as usize)
                    .map_err(|error| refused(&error))?;
                checked(bytes, entry.first)
            });
            let read: Result<Vec<StoredBatch>, ColdError> = batches.collect();
            if read == Err(ColdError::Corrupt) {
                metrics.observe_corruption();
                error!(wal = %entries[0].wal, position = %entries[0].position, "corrupt batch in the WAL");
            }
            read
        };
        spawn::blocking(read).await.unwrap_or(Err(ColdError::Unreadable))
    }

    /// Reads the batches of a run from `offset` on, as far as the budget goes.
    pub(crate) async fn read_run(
        &self,
        partition: PartitionAddress,
        run: &Run,
        offset: Offset,
        budget: Budget,
    ) -> Result<Vec<StoredBatch>, ColdError> {
        let (object, entry) = self.find(partition, run, offset).await?;
        let from = run.at + entry.position_of_offset(offset);
        let end = run.at + run.bytes;
        let mut wanted = budget.bytes + SPARSE_SLACK_BYTES;
        loop {
            let to = end.min(from.saturating_add(wanted));
            let slices = self.cache.read(&object, from..to, run.at..end, ReadPattern::Sequential).await;
            let mut batches = Batches::new(slices.map_err(|error| self.refused_object(&error))?);
            let taken = take(&mut batches, offset, budget);
            let starved = taken.is_empty() && budget.at_least_one && to < end;
            if !starved {
                return taken.into_iter().map(|batch| self.checked_stored(&object, batch)).collect();
            }
            // The first wanted batch is larger than what was read: now its size, or at least its header, is known.
            let missing = batches.next_size().unwrap_or(0).saturating_sub(batches.left()) as u64;
            wanted = (to - from) + missing.max(SPARSE_SLACK_BYTES);
        }
    }

    /// The first record of a run, at or after `from`, whose timestamp is at least `target`. Reads in pieces.
    pub(crate) async fn search_run(
        &self,
        partition: PartitionAddress,
        run: &Run,
        target: i64,
        from: Offset,
    ) -> Result<Option<RecordTime>, ColdError> {
        let (object, entry) = self.find(partition, run, run.first).await?;
        let mut at = run.at + entry.position_of_timestamp(target);
        let end = run.at + run.bytes;
        let mut piece = SPARSE_SLACK_BYTES * 4;
        while at < end {
            let to = end.min(at + piece);
            let slices = self.cache.read(&object, at..to, run.at..end, ReadPattern::Random).await;
            let mut batches = Batches::new(slices.map_err(|error| self.refused_object(&error))?);
            while let Some(batch) = batches.next_batch() {
                at += batch.bytes().len() as u64;
                let batch = self.checked_stored(&object, batch)?;
                if let Some(found) = search_batch(batch, target, from).await {
                    return Ok(Some(found));
                }
            }
            if to == end {
                break;
            }
            piece = batches.next_size().map_or(piece, |size| piece.max(size as u64));
        }
        Ok(None)
    }

    async fn find(
        &self,
        partition: PartitionAddress,
        run: &Run,
        offset: Offset,
    ) -> Result<(ObjectName, FlushRun), ColdError> {
        let object = ObjectName::parse(&run.object).map_err(|_| ColdError::Corrupt)?;
        let index = self.cache.index(&object).await.map_err(|error| self.refused_object(&error))?;
        let offset = offset.max(run.first);
        let entry = index.find_run(partition.slot, &partition.key, offset).ok_or(ColdError::Corrupt)?;
        Ok((object, entry.clone()))
    }

    fn checked_stored(&self, object: &ObjectName, batch: StoredBatch) -> Result<StoredBatch, ColdError> {
        if checksum_holds(batch.bytes(), &[]) {
            return Ok(batch);
        }
        self.metrics.observe_corruption();
        error!(%object, offset = %batch.base_offset(), "corrupt batch in an object");
        Err(ColdError::Corrupt)
    }

    fn refused_object(&self, error: &ObjectError) -> ColdError {
        match error {
            ObjectError::Store(StoreError::NotFound { .. }) => ColdError::Moved,
            ObjectError::Store(StoreError::Short { .. }) | ObjectError::Corrupt { .. } => {
                self.metrics.observe_corruption();
                error!(%error, "corrupt object");
                ColdError::Corrupt
            }
            ObjectError::Store(StoreError::Refused { .. } | StoreError::Unavailable { .. }) => {
                ColdError::Unreadable
            }
        }
    }
}

/// The batches at or after `offset` that the budget admits; what was read before them is passed over.
fn take(batches: &mut Batches, offset: Offset, budget: Budget) -> Vec<StoredBatch> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = batches.next_batch() {
        if batch.last_offset() < offset {
            continue;
        }
        let size = batch.bytes().len() as u64;
        if !budget.admits(bytes, size) {
            break;
        }
        bytes += size;
        taken.push(batch);
    }
    taken
}

/// The first record of a batch, at or after `from`, whose timestamp is at least `target`. Decompression may take long, so
/// it runs where blocking is allowed. Records that do not decode are found by their batch: starting there skips nothing.
pub(crate) async fn search_batch(batch: StoredBatch, target: i64, from: Offset) -> Option<RecordTime> {
    if batch.max_timestamp() < target || batch.last_offset() < from {
        return None;
    }
    let look = move || match batch.first_at_least(target, from) {
        Ok(found) => found,
        Err(_) => {
            Some(RecordTime { offset: batch.base_offset().max(from), timestamp: batch.max_timestamp() })
        }
    };
    spawn::blocking(look).await.flatten()
}

fn checked(mut bytes: Bytes, first: Offset) -> Result<StoredBatch, ColdError> {
    let size = bytes.len();
    let batch = StoredBatch::split_from(&mut bytes).ok_or(ColdError::Corrupt)?;
    let right =
        batch.bytes().len() == size && batch.base_offset() == first && checksum_holds(batch.bytes(), &[]);
    if right { Ok(batch) } else { Err(ColdError::Corrupt) }
}

fn refused(error: &WalReadError) -> ColdError {
    match error {
        WalReadError::Trimmed { .. } => ColdError::Moved,
        WalReadError::Corrupt(_) | WalReadError::Format { .. } => ColdError::Corrupt,
        WalReadError::Disk(_) => ColdError::Unreadable,
    }
}
