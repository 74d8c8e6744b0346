//! What a batch must satisfy before its owner is asked (`gateway/PROTOCOL.md` §6).

mod compacted;
mod record_walk;

use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::TopicId;
use headgate_metadata::quota::QuotaKey;
use headgate_metadata::record::TopicRecord;
use headgate_storage_client::{BatchDefect, Compression, PartitionAddress, RecordBatch, Unavailable};
use uuid::Uuid;

use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_config::ProduceRules;

pub(crate) use self::compacted::{PartitionSizes, check_compacted};

/// From this version on topics are named by id.
pub(crate) const TOPIC_IDS_FROM: i16 = 13;
/// From this version on clients may send zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// A producer's "no timestamp".
const NO_TIMESTAMP: i64 = -1;

/// A topic that may be written to.
#[derive(Debug, Clone)]
pub(crate) struct ProduceTopic {
    view: Arc<ClusterView>,
    record: Arc<TopicRecord>,
    rules: ProduceRules,
}

/// A batch that may be appended, and where.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) partition: PartitionAddress,
    pub(crate) batch: RecordBatch,
    /// Whether its topic is compacted, and asks more of it.
    pub(crate) compacted: bool,
}

/// Why a batch is not appended: the wire code, and words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchRefused {
    pub(crate) code: i16,
    pub(crate) text: String,
}

impl BatchRefused {
    pub(crate) fn new(refusal: Refusal, text: impl Into<String>) -> Self {
        Self { code: error_code::of_refusal(refusal), text: text.into() }
    }

    /// The owner cannot take it now.
    pub(crate) fn unavailable(unavailable: Unavailable) -> Self {
        Self { code: error_code::of_unavailable(unavailable), text: unavailable.to_string() }
    }
}

impl From<BatchDefect> for BatchRefused {
    fn from(defect: BatchDefect) -> Self {
        Self { code: error_code::of_defect(defect), text: defect.to_string() }
    }
}

/// The topic a request names, if its principal may write to it. `view` knows all topics the request names, or is fresh.
pub(crate) fn topic_of(
    session: &Session,
    view: &Result<Arc<ClusterView>, Refusal>,
    version: i16,
    name: &str,
    id: Uuid,
) -> Result<ProduceTopic, BatchRefused> {
    let plain = |refusal: Refusal| BatchRefused::new(refusal, "");
    let view = view.as_ref().map_err(|refusal| plain(*refusal))?;
    let record = if version >= TOPIC_IDS_FROM {
        let record = TopicId::from_uuid(id).and_then(|id| view.topic_by_id(id));
        Ok(record.cloned().ok_or_else(|| plain(Refusal::UnknownTopicId))?)
    } else {
        view.topic(name).cloned().ok_or(name)
    };
    let name = record.as_ref().map_or_else(|name| *name, |record| record.name.as_str());
    if !session.may_on_topic(view, rights::PRODUCE, name) {
        return Err(BatchRefused::new(Refusal::TopicDenied, "not authorized to write to the topic"));
    }
    let record = record.map_err(|_| plain(Refusal::UnknownTopic))?;
    let rules = ProduceRules::of(&record.configs);
    Ok(ProduceTopic { view: Arc::clone(view), record, rules })
}

/// Checks one partition's batch.
pub(crate) fn accept(
    session: &Session,
    version: i16,
    topic: &ProduceTopic,
    index: i32,
    records: Option<Bytes>,
) -> Result<Accepted, BatchRefused> {
    let partition = Session::partition(&topic.view, &topic.record, index)
        .ok_or_else(|| BatchRefused::new(Refusal::UnknownTopic, ""))?;
    let records = records.unwrap_or_default();
    let (size, max) = (records.len() as u64, session.quota().limit(QuotaKey::MessageBytesMax));
    if size > max {
        let quota = QuotaKey::MessageBytesMax;
        let text =
            format!("The record batch size is {size} bytes, which exceeds the cluster's {quota} of {max}");
        return Err(BatchRefused::new(Refusal::BatchTooLarge, text));
    }
    let batch = check_batch(version, &topic.rules, &records, session.shared.now_ms())?;
    Ok(Accepted { partition, batch, compacted: topic.rules.compacted })
}

fn check_batch(
    version: i16,
    rules: &ProduceRules,
    bytes: &Bytes,
    now_ms: i64,
) -> Result<RecordBatch, BatchRefused> {
    if bytes.len() as u64 > rules.batch_bytes_max {
        let (size, max) = (bytes.len(), rules.batch_bytes_max);
        let text = format!("The record batch size is {size} bytes, which exceeds max.message.bytes of {max}");
        return Err(BatchRefused::new(Refusal::BatchTooLarge, text));
    }
    let batch = RecordBatch::parse(bytes)?;
    if batch.is_control() {
        return Err(BatchDefect::Control.into());
    }
    if batch.is_transactional() {
        return Err(BatchRefused::new(
            Refusal::InvalidRequest,
            "transactions are not served by this cluster yet",
        ));
    }
    match batch.compression() {
        // The compressed ones are opened only where the server must look inside anyway.
        Compression::None if !record_walk::records_are_sound(batch.records(), batch.record_count()) => {
            return Err(BatchRefused::new(
                Refusal::InvalidRecord,
                "a record's fields disagree with its length or order",
            ));
        }
        Compression::Zstd if version < ZSTD_FROM => return Err(BatchDefect::Codec(4).into()),
        _ => {}
    }
    if rules.log_append_time {
        return Ok(batch.with_log_append_time(now_ms));
    }
    check_timestamps(rules, &batch, now_ms)?;
    Ok(batch)
}

fn check_timestamps(rules: &ProduceRules, batch: &RecordBatch, now_ms: i64) -> Result<(), BatchRefused> {
    for timestamp in [batch.base_timestamp(), batch.max_timestamp()] {
        let off = timestamp.abs_diff(now_ms);
        if timestamp != NO_TIMESTAMP && off > rules.timestamp_difference_ms_max.unsigned_abs() {
            let max = rules.timestamp_difference_ms_max;
            let text = format!(
                "Timestamp {timestamp} is {off} ms from the server's time, more than {max} ms allowed"
            );
            return Err(BatchRefused::new(Refusal::InvalidTimestamp, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
