//! Compacted topics take no record without a key: nothing would ever supersede it. Looking for keys is the one reason to open a
//! compressed batch here.

use headgate_storage_client::{Compression, RecordBatch};
use tokio::sync::Semaphore;

use super::BatchRefused;
use super::record_walk::records_have_keys;
use crate::refusal::Refusal;

/// Batches opened at once: each may expand to 128 MiB. Higher: more memory. Lower: compressed batches of compacted topics wait longer.
static OPENED: Semaphore = Semaphore::const_new(4);

/// Checks that all records of the batch have keys, and that it decodes. One that is compressed is opened where blocking is allowed.
pub(crate) async fn check_keys(batch: &RecordBatch) -> Result<(), BatchRefused> {
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
