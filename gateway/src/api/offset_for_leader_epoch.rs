//! OffsetForLeaderEpoch: where an epoch ends, by which consumers notice truncation (KIP-320).

use std::time::Duration;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{LeaderEpoch, Offset};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long owners may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let view = session.view_with(request.topics.iter().map(|topic| &**topic.topic)).await;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let allowed = view.as_ref().map_err(|refusal| *refusal).and_then(|view| {
            let allowed = session.may_on_topic(view, rights::OFFSET_FOR_LEADER_EPOCH, &topic.topic);
            if allowed { Ok(view) } else { Err(Refusal::TopicDenied) }
        });
        for partition in &topic.partitions {
            partitions.push(match &allowed {
                Ok(view) => of_partition(session, call, view, topic, partition).await,
                Err(refusal) => failed(partition, error_code::of_refusal(*refusal)),
            });
        }
        topics.push(
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions),
        );
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn of_partition(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    topic: &OffsetForLeaderTopic,
    partition: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let record = view.topic(&topic.topic);
    let address = record.and_then(|record| Session::partition(view, record, partition.partition));
    let Some(address) = address else {
        return failed(partition, error_code::of_refusal(Refusal::UnknownTopic));
    };
    // No epoch is below 0, so nothing is known of its end.
    let Ok(epoch) = u32::try_from(partition.leader_epoch).map(LeaderEpoch::new) else {
        return EpochEndOffset::default()
            .with_partition(partition.partition)
            .with_leader_epoch(-1)
            .with_end_offset(-1);
    };
    let caller = session.caller(call, PATIENCE, view.revision);
    match session.shared.parts.storage.epoch_end(&caller, address, epoch).await {
        Ok(found) => EpochEndOffset::default()
            .with_partition(partition.partition)
            .with_leader_epoch(found.epoch.map_or(-1, LeaderEpoch::to_wire))
            .with_end_offset(found.end.map_or(-1, Offset::to_wire)),
        Err(error) => failed(partition, error_code::of_read(error)),
    }
}

fn failed(partition: &OffsetForLeaderPartition, code: i16) -> EpochEndOffset {
    EpochEndOffset::default()
        .with_partition(partition.partition)
        .with_error_code(code)
        .with_leader_epoch(-1)
        .with_end_offset(-1)
}
