//! Reads from disk and from the object store. Every batch's own checksum is verified here, after the read.

use std::sync::Arc;

use bytes::Bytes;
use headgate_log::batch_frame::checksum_holds;
use headgate_log::block_cache::{BlockCache, ReadPattern};
use headgate_log::object::{FlushRun, ObjectError, ObjectName, SPARSE_INDEX_BYTES};
use headgate_log::store::StoreError;
use headgate_log::wal::{WalReadError, WalReader};
use headgate_metadata::id::{Offset, SlotEpoch};
use headgate_storage_client::{BATCH_HEADER_BYTES, PartitionAddress};
use tokio::sync::Semaphore;
use tracing::error;

use crate::batches::Batches;
use crate::decode::{RecordTime, StoredBatch};
use crate::metrics::Metrics;
use crate::partition::{BatchEntry, Budget, Run};
use crate::spawn;

/// What is read beyond a reader's budget from an object: a run is entered at its sparse index, which is this coarse.
const SPARSE_SLACK_BYTES: u64 = SPARSE_INDEX_BYTES;
/// Batches searched for a time at once: each may expand to 128 MiB. Higher: more memory. Lower: such lookups wait longer.
const SEARCHES_MAX: usize = 4;

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
    searches: Arc<Semaphore>,
}

impl Cold {
    pub(crate) fn new(wal: Arc<WalReader>, cache: BlockCache, metrics: Arc<Metrics>) -> Self {
        Self { wal, cache, metrics, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) }
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

    /// Reads the batches of a run from `offset` on, as far as the budget goes; `None` = a compacted run has none there any more.
    pub(crate) async fn read_run(
        &self,
        partition: PartitionAddress,
        run: &Run,
        offset: Offset,
        budget: Budget,
    ) -> Result<Option<Vec<StoredBatch>>, ColdError> {
        let (object, entry) = self.find(partition, run, offset).await?;
        let (first, position) = entry.entry_of_offset(offset);
        let from = run.at + position;
        let end = run.at + run.bytes;
        let mut wanted = budget.bytes + SPARSE_SLACK_BYTES;
        loop {
            let to = end.min(from.saturating_add(wanted));
            let slices = self.cache.read(&object, from..to, run.at..end, ReadPattern::Sequential).await;
            let mut batches = Batches::new(slices.map_err(|error| self.refused_object(&error))?);
            let mut place = Place { next: first, epoch: entry.slot_epoch, may_skip: run.compacted };
            let Some(taken) = take(&mut batches, offset, budget, &mut place) else {
                return Err(self.corrupt(&object, place.next));
            };
            if !taken.is_empty() || !budget.at_least_one {
                let checked = taken.into_iter().map(|batch| self.checked_stored(&object, batch));
                return checked.collect::<Result<_, _>>().map(Some);
            }
            if to == end && run.compacted && batches.left() == 0 {
                return Ok(None);
            }
            if to == end {
                // The run holds the offset, says its index, and still no batch of it is here.
                return Err(self.corrupt(&object, place.next));
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
        let (first, position) = entry.entry_of_timestamp(target);
        let mut place = Place { next: first, epoch: entry.slot_epoch, may_skip: run.compacted };
        let mut at = run.at + position;
        let end = run.at + run.bytes;
        let mut piece = SPARSE_SLACK_BYTES * 4;
        while at < end {
            let to = end.min(at + piece);
            let slices = self.cache.read(&object, at..to, run.at..end, ReadPattern::Random).await;
            let mut batches = Batches::new(slices.map_err(|error| self.refused_object(&error))?);
            while let Some(batch) = batches.next_batch() {
                if !place.admits(&batch) {
                    return Err(self.corrupt(&object, place.next));
                }
                at += batch.bytes().len() as u64;
                let batch = self.checked_stored(&object, batch)?;
                if let Some(found) = self.search_batch(batch, target, from).await {
                    return Ok(Some(found));
                }
            }
            match batches.next_size() {
                Some(size) if to < end => piece = piece.max(size as u64),
                // A batch that does not end with its run, or a length that is none.
                _ if to == end && at < end || batches.left() >= BATCH_HEADER_BYTES => {
                    return Err(self.corrupt(&object, place.next));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The first record of a batch, at or after `from`, whose timestamp is at least `target`. Decompression may take long, so
    /// it runs where blocking is allowed, a few batches at a time. Records that do not decode are found by their batch:
    /// starting there skips nothing.
    pub(crate) async fn search_batch(
        &self,
        batch: StoredBatch,
        target: i64,
        from: Offset,
    ) -> Option<RecordTime> {
        if batch.max_timestamp() < target || batch.last_offset() < from {
            return None;
        }
        let turn = Arc::clone(&self.searches).acquire_owned().await.ok()?;
        let look = move || {
            // Held to the end of the work, also when the caller has gone away.
            let _turn = turn;
            batch.first_at_least(target, from).unwrap_or_else(|_| {
                Some(RecordTime { offset: batch.base_offset().max(from), timestamp: batch.max_timestamp() })
            })
        };
        spawn::blocking(look).await.flatten()
    }

    async fn find(
        &self,
        partition: PartitionAddress,
        run: &Run,
        offset: Offset,
    ) -> Result<(ObjectName, FlushRun), ColdError> {
        let object = run.object_name();
        let index = self.cache.index(&object).await.map_err(|error| self.refused_object(&error))?;
        let offset = offset.max(run.first);
        let entry = index.find_run(partition.slot, &partition.key, offset).ok_or(ColdError::Corrupt)?;
        Ok((object, entry.clone()))
    }

    fn checked_stored(&self, object: &ObjectName, batch: StoredBatch) -> Result<StoredBatch, ColdError> {
        if checksum_holds(batch.bytes(), &[]) {
            return Ok(batch);
        }
        Err(self.corrupt(object, batch.base_offset()))
    }

    fn corrupt(&self, object: &ObjectName, offset: Offset) -> ColdError {
        self.metrics.observe_corruption();
        error!(%object, %offset, "corrupt batch in an object");
        ColdError::Corrupt
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

/// Where in a run its next batch stands: it must say the same in the bytes that its checksum does not cover.
struct Place {
    next: Offset,
    epoch: SlotEpoch,
    /// Whether batches before it may have gone.
    may_skip: bool,
}

impl Place {
    fn admits(&mut self, batch: &StoredBatch) -> bool {
        if self.may_skip {
            self.next = self.next.max(batch.base_offset());
        }
        let right = batch.stands_at(self.next, self.epoch);
        if right {
            self.next = batch.last_offset().plus(1);
        }
        right
    }
}

/// The batches at or after `offset` that the budget admits; what was read before them is passed over. `None` = a batch does
/// not stand where it says.
fn take(
    batches: &mut Batches,
    offset: Offset,
    budget: Budget,
    place: &mut Place,
) -> Option<Vec<StoredBatch>> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = batches.next_batch() {
        if !place.admits(&batch) {
            return None;
        }
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
    Some(taken)
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
