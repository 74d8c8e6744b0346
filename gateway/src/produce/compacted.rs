//! What compacted topics ask of a batch beyond the others.
//!
//! They take no record without a key: nothing would ever supersede it. Looking for keys is the one reason to open a compressed batch
//! here. And their partitions are bounded (`compacted_partition_bytes_max`): retention does not bound them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{ClusterId, PartitionKey, SlotId};
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::{Compression, PartitionAddress, RecordBatch, Storage, Unavailable};
use moka::future::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::record_walk::records_have_keys;
use super::{Accepted, BatchRefused};
use crate::refusal::Refusal;
use crate::session::Session;

/// Batches opened at once: each may expand to 128 MiB. Higher: more memory. Lower: compressed batches of compacted topics wait longer.
static OPENED: Semaphore = Semaphore::const_new(4);

/// How long a size that an owner told is gone by. Higher: a partition may grow further beyond its limit. Lower: owners are asked more.
const SIZES_KEPT: Duration = Duration::from_secs(5);
/// How long an owner may take to tell; a batch is not refused because it is slow.
const SIZES_MAX: Duration = Duration::from_secs(1);
const SLOTS_MAX: u64 = 10_000;

/// Checks a batch for a compacted topic.
pub(crate) async fn check_compacted(session: &Session, accepted: &Accepted) -> Result<(), BatchRefused> {
    check_keys(&accepted.batch).await?;
    let (quota, bytes) = (QuotaKey::CompactedPartitionBytesMax, accepted.batch.size_bytes());
    let held = session.shared.partition_sizes.of(&*session.shared.parts.storage, accepted.partition).await;
    let max = session.quota().limit(quota);
    if held + bytes > max {
        let text = format!(
            "the partition holds {held} bytes; with {bytes} more it would exceed its limit of {max} ({quota})"
        );
        return Err(BatchRefused::new(Refusal::QuotaExceeded, text));
    }
    Ok(())
}

/// Checks that all records of the batch have keys, and that it decodes. One that is compressed is opened where blocking is allowed.
async fn check_keys(batch: &RecordBatch) -> Result<(), BatchRefused> {
    let has_keys = match batch.compression() {
        Compression::None => records_have_keys(batch.records(), batch.record_count()),
        codec => {
            let turn = OPENED.acquire().await;
            let (records, count) = (batch.records().clone(), batch.record_count());
            let look = move || {
                // Held to the end of the work, also when the caller has gone away.
                let _turn = turn;
                codec.decompress(&records).is_ok_and(|records| records_have_keys(&records, count))
            };
            tokio::task::spawn_blocking(look).await.unwrap_or(false)
        }
    };
    // Kafka's words, but for the partition, which the answer names anyway.
    let text = "Compacted topic cannot accept message without key, or records that do not decode";
    if has_keys { Ok(()) } else { Err(BatchRefused::new(Refusal::InvalidRecord, text)) }
}

/// What the partitions of a cluster in one slot hold, in bytes.
type Sizes = Arc<BTreeMap<PartitionKey, u64>>;

/// How much partitions hold, as their owners told lately.
#[derive(Debug)]
pub(crate) struct PartitionSizes(Cache<(ClusterId, SlotId), Sizes>);

impl Default for PartitionSizes {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(SLOTS_MAX).time_to_live(SIZES_KEPT).build())
    }
}

impl PartitionSizes {
    /// What the partition holds; 0 where its owner does not tell.
    async fn of(&self, storage: &dyn Storage, partition: PartitionAddress) -> u64 {
        let (cluster, slot) = (partition.key.cluster, partition.slot);
        let ask = async {
            let told = timeout(SIZES_MAX, storage.partition_sizes(cluster, &[slot])).await;
            let told = told.unwrap_or(Err(Unavailable::Refused))?;
            let sizes = told.into_iter().map(|told| (told.partition.key, told.size.get()));
            Ok::<Sizes, Unavailable>(Arc::new(sizes.collect()))
        };
        let sizes = self.0.try_get_with((cluster, slot), ask).await;
        sizes.ok().and_then(|sizes| sizes.get(&partition.key).copied()).unwrap_or(0)
    }
}
