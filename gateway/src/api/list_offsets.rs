//! ListOffsets: an offset by timestamp, or the first or last one (KIP-79, KIP-734, KIP-405).

use std::collections::HashSet;
use std::time::Duration;

use headgate_metadata::catalog::ClusterView;
use headgate_storage_client::{Caller, Isolation, OffsetAt, OffsetQuery};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long owners may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The end of the log.
const LATEST: i64 = -1;
/// The start of the log.
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp, from version 7 on.
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on local disk, from version 8 on: here all data is one log.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in remote storage, from version 9 on: there is none that is remote only.
const LATEST_TIERED: i64 = -5;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let view = session.view_with(request.topics.iter().map(|topic| &**topic.name)).await;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = match &view {
            Ok(view) => {
                let caller = session.caller(call, PATIENCE, view.revision);
                of_topic(session, call, &caller, view, topic, isolation).await
            }
            Err(refusal) => topic.partitions.iter().map(|partition| failed(partition, *refusal)).collect(),
        };
        topics.push(
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn of_topic(
    session: &Session,
    call: &Call,
    caller: &Caller,
    view: &ClusterView,
    topic: &ListOffsetsTopic,
    isolation: Isolation,
) -> Vec<ListOffsetsPartitionResponse> {
    if !session.may_on_topic(view, rights::LIST_OFFSETS, &topic.name) {
        return topic.partitions.iter().map(|partition| failed(partition, Refusal::TopicDenied)).collect();
    }
    let mut seen = HashSet::new();
    let mut answers = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        answers.push(if seen.insert(partition.partition_index) {
            of_partition(session, call, caller, view, topic, partition, isolation).await
        } else {
            failed(partition, Refusal::InvalidRequest)
        });
    }
    answers
}

async fn of_partition(
    session: &Session,
    call: &Call,
    caller: &Caller,
    view: &ClusterView,
    topic: &ListOffsetsTopic,
    partition: &ListOffsetsPartition,
    isolation: Isolation,
) -> ListOffsetsPartitionResponse {
    let record = view.topic(&topic.name);
    let address = record.and_then(|record| Session::partition(view, record, partition.partition_index));
    let Some(address) = address else { return failed(partition, Refusal::UnknownTopic) };
    let query = match partition.timestamp {
        LATEST => OffsetQuery::Latest(isolation),
        EARLIEST => OffsetQuery::Earliest,
        EARLIEST_LOCAL if call.version >= 8 => OffsetQuery::Earliest,
        MAX_TIMESTAMP if call.version >= 7 => OffsetQuery::MaxTimestamp,
        LATEST_TIERED if call.version >= 9 => return entry(call, partition, None),
        timestamp if timestamp >= 0 => OffsetQuery::AtLeast(timestamp),
        _ => return failed(partition, Refusal::UnsupportedVersion),
    };
    match session.shared.parts.storage.offsets_at(caller, address, query).await {
        Ok(found) => entry(call, partition, Some(found)),
        Err(error) => ListOffsetsPartitionResponse::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(error_code::of_read(error))
            .with_timestamp(-1)
            .with_offset(-1),
    }
}

fn entry(
    call: &Call,
    partition: &ListOffsetsPartition,
    found: Option<OffsetAt>,
) -> ListOffsetsPartitionResponse {
    let offset = found.and_then(|found| found.offset);
    let mut entry = ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_timestamp(found.filter(|_| offset.is_some()).map_or(-1, |found| found.timestamp))
        .with_offset(offset.map_or(-1, headgate_metadata::id::Offset::to_wire));
    if call.version >= 4 {
        entry.leader_epoch =
            found.and_then(|found| found.epoch).map_or(-1, headgate_metadata::id::SlotEpoch::to_wire);
    }
    entry
}

fn failed(partition: &ListOffsetsPartition, refusal: Refusal) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(error_code::of_refusal(refusal))
        .with_timestamp(-1)
        .with_offset(-1)
}
