//! OffsetCommit: offsets of a group, by topic name on the wire and by topic id in storage, so that a topic made anew under
//! an old name has none.

use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{LeaderEpoch, Offset};
use headgate_storage_client::{CommitOffsets, OffsetToCommit};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::Call;
use crate::authorize::rights;
use crate::error_code;
use crate::group_access::{GROUP_PATIENCE, ReachedGroup, identity};
use crate::refusal::Refusal;
use crate::session::Session;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group =
        session.reach_group(call, rights::OFFSET_COMMIT_GROUP, &request.group_id, GROUP_PATIENCE).await;
    let codes = match group {
        Ok(group) => commit(session, group, &request).await,
        Err(code) => request.topics.iter().map(|topic| vec![code; topic.partitions.len()]).collect(),
    };
    let topics = request.topics.iter().zip(codes).map(|(topic, codes)| {
        let partition = |(partition, code): (&OffsetCommitRequestPartition, i16)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        };
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(topic.partitions.iter().zip(codes).map(partition).collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Commits what may be committed, all or none; one wire code per partition.
async fn commit(session: &Session, group: ReachedGroup, request: &OffsetCommitRequest) -> Vec<Vec<i16>> {
    let names = request.topics.iter().map(|topic| &**topic.name);
    let view = session.view_with(names).await.unwrap_or_else(|_| Arc::clone(&group.view));
    let mut offsets = Vec::new();
    let mut codes: Vec<Vec<Option<i16>>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let allowed = session.may_on_topic(&view, rights::OFFSET_COMMIT_TOPIC, &topic.name);
        let of_topic = topic.partitions.iter().map(|partition| {
            let offset = if allowed { offset_of(&view, topic, partition) } else { Err(Refusal::TopicDenied) };
            offset.map(|offset| offsets.push(offset)).err().map(error_code::of_refusal)
        });
        codes.push(of_topic.collect());
    }
    let committed =
        if offsets.is_empty() { error_code::NONE } else { store(session, &group, request, offsets).await };
    codes.into_iter().map(|codes| codes.into_iter().map(|code| code.unwrap_or(committed)).collect()).collect()
}

async fn store(
    session: &Session,
    group: &ReachedGroup,
    request: &OffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> i16 {
    // A consumer without members: its group may come to be by this.
    if request.member_id.is_empty()
        && let Err(code) = group.admit(session).await
    {
        return code;
    }
    let commit = CommitOffsets {
        identity: identity(&request.member_id, request.group_instance_id.as_deref()),
        generation: request.generation_id_or_member_epoch,
        offsets,
    };
    let committed = session.shared.parts.storage.commit_offsets(&group.caller, &group.address, commit).await;
    committed.err().map_or(error_code::NONE, |error| error_code::of_group(&error))
}

fn offset_of(
    view: &ClusterView,
    topic: &OffsetCommitRequestTopic,
    partition: &OffsetCommitRequestPartition,
) -> Result<OffsetToCommit, Refusal> {
    let record = view.topic(&topic.name).ok_or(Refusal::UnknownTopic)?;
    let address = Session::partition(view, record, partition.partition_index).ok_or(Refusal::UnknownTopic)?;
    Ok(OffsetToCommit {
        topic: record.id,
        partition: address.key.partition,
        offset: Offset::from_wire(partition.committed_offset).ok_or(Refusal::InvalidRequest)?,
        epoch: u32::try_from(partition.committed_leader_epoch).ok().map(LeaderEpoch::new),
        metadata: partition.committed_metadata.as_deref().unwrap_or_default().into(),
    })
}
