//! Offsets by time, and ends of epochs.
//!
//! By time the answer is exact: the index leads to the first run or batch that can hold the record, its batches are decoded
//! until the record is found. Sources: KIP-79, KIP-734, KIP-101, KIP-320.

use headgate_metadata::id::LeaderEpoch;
use headgate_storage_client::{EpochEnd, OffsetAt, OffsetQuery, PartitionAddress, ReadError};

use crate::cold::ColdError;
use crate::decode::RecordTime;
use crate::partition::Partition;
use crate::read::{LOOKUPS_MAX, Reader, read_error};

const NO_TIMESTAMP: i64 = -1;
const NONE: OffsetAt = OffsetAt { offset: None, timestamp: NO_TIMESTAMP, epoch: None };

impl Reader {
    /// Finds an offset.
    pub(crate) async fn offsets_at(
        &self,
        address: PartitionAddress,
        query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError> {
        let current = self.check_owned(address)?;
        let partition = self.slots().partition(address);
        match query {
            OffsetQuery::Earliest => {
                let log = partition.log();
                let offset = log.log_start();
                Ok(OffsetAt { offset: Some(offset), timestamp: NO_TIMESTAMP, epoch: log.epochs().at(offset) })
            }
            OffsetQuery::Latest(_) => {
                // Every transaction is decided, so both isolations end at the high watermark.
                let offset = partition.log().last_stable();
                Ok(OffsetAt { offset: Some(offset), timestamp: NO_TIMESTAMP, epoch: Some(current) })
            }
            OffsetQuery::MaxTimestamp => {
                let max = partition.log().max_timestamp();
                match max {
                    None => Ok(NONE),
                    Some(max) => self.first_at_least(&partition, max).await,
                }
            }
            OffsetQuery::AtLeast(target) => self.first_at_least(&partition, target).await,
        }
    }

    async fn first_at_least(&self, partition: &Partition, target: i64) -> Result<OffsetAt, ReadError> {
        let mut last = ColdError::Unreadable;
        for _ in 0..LOOKUPS_MAX {
            match self.search(partition, target).await {
                Ok(None) => return Ok(NONE),
                Ok(Some(found)) => {
                    let epoch = partition.log().epochs().at(found.offset);
                    return Ok(OffsetAt { offset: Some(found.offset), timestamp: found.timestamp, epoch });
                }
                Err(error) => last = error,
            }
            if last != ColdError::Moved {
                break;
            }
        }
        Err(read_error(last))
    }

    async fn search(&self, partition: &Partition, target: i64) -> Result<Option<RecordTime>, ColdError> {
        let (from, runs, batches) = {
            let log = partition.log();
            let (runs, batches) = log.candidates(target, log.log_start());
            (log.log_start(), runs, batches)
        };
        for run in runs {
            if let Some(found) = self.cold().search_run(partition.address, &run, target, from).await? {
                return Ok(Some(found));
            }
        }
        for entry in batches {
            for batch in self.cold().read_wal(vec![entry]).await? {
                if let Some(found) = self.cold().search_batch(batch, target, from).await {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Finds the end of an epoch.
    pub(crate) fn epoch_end(
        &self,
        address: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        let current = self.check_owned(address)?;
        let partition = self.slots().partition(address);
        let log = partition.log();
        Ok(log.epochs().end_of(epoch, current, log.high_watermark()))
    }
}
