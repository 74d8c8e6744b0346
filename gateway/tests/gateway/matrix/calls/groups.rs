//! Groups, their members and their offsets.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use super::super::row::{Asked, Seen};
use super::{listed, seen, text};
use crate::support::Client;

/// The member that the storage double knows.
const MEMBER: &str = "member-1";
/// `key_type` of a transactional id.
const TRANSACTION: i8 = 1;

pub(crate) async fn commit(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |name| {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
        OffsetCommitRequestTopic::default().with_name(name).with_partitions(vec![partition])
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(asked.group())
        .with_topics(asked.topics().into_iter().map(topic).collect());
    let response = client.call(version, &request).await;
    response.topics.iter().map(|topic| seen(topic.partitions[0].error_code)).collect()
}

pub(crate) async fn fetch_offsets(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    if version < 8 {
        let topic = |name| OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(asked.group())
            .with_topics(Some(asked.topics().into_iter().map(topic).collect()));
        let response = client.call(version, &request).await;
        if response.error_code != 0 {
            return vec![seen(response.error_code); asked.names.len()];
        }
        return response.topics.iter().map(|topic| seen(topic.partitions[0].error_code)).collect();
    }
    let topic = |name| OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(asked.group())
        .with_topics(Some(asked.topics().into_iter().map(topic).collect()));
    let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![group])).await;
    let group = &response.groups[0];
    if group.error_code != 0 {
        return vec![seen(group.error_code); asked.names.len()];
    }
    group.topics.iter().map(|topic| seen(topic.partitions[0].error_code)).collect()
}

pub(crate) async fn fetch_all_offsets(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let (code, found): (i16, Vec<String>) = if version < 8 {
        let request = OffsetFetchRequest::default().with_group_id(asked.group()).with_topics(None);
        let response = client.call(version, &request).await;
        (response.error_code, response.topics.iter().map(|topic| topic.name.to_string()).collect())
    } else {
        let group = OffsetFetchRequestGroup::default().with_group_id(asked.group()).with_topics(None);
        let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![group])).await;
        let group = &response.groups[0];
        (group.error_code, group.topics.iter().map(|topic| topic.name.to_string()).collect())
    };
    if code == 0 { listed(asked, &found) } else { vec![seen(code); asked.names.len()] }
}

pub(crate) async fn find_coordinator(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    if version < 4 {
        let request = FindCoordinatorRequest::default().with_key(text(&asked.names[0]));
        return vec![seen(client.call(version, &request).await.error_code)];
    }
    let keys = asked.names.iter().map(|name| text(name)).collect();
    let response = client.call(version, &FindCoordinatorRequest::default().with_coordinator_keys(keys)).await;
    response.coordinators.iter().map(|coordinator| seen(coordinator.error_code)).collect()
}

pub(crate) async fn find_transaction_coordinator(
    client: &mut Client,
    version: i16,
    asked: &Asked,
) -> Vec<Seen> {
    let request = FindCoordinatorRequest::default().with_key_type(TRANSACTION);
    let key = text(&asked.names[0]);
    let code = if version < 4 {
        client.call(version, &request.with_key(key)).await.error_code
    } else {
        client.call(version, &request.with_coordinator_keys(vec![key])).await.coordinators[0].error_code
    };
    vec![seen(code)]
}

pub(crate) async fn join(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"meta"));
    let request = JoinGroupRequest::default()
        .with_group_id(asked.group())
        .with_member_id(text(MEMBER))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn sync(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let request = SyncGroupRequest::default()
        .with_group_id(asked.group())
        .with_generation_id(1)
        .with_member_id(text(MEMBER));
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn heartbeat(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let request = HeartbeatRequest::default()
        .with_group_id(asked.group())
        .with_generation_id(1)
        .with_member_id(text(MEMBER));
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn leave(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let request = LeaveGroupRequest::default().with_group_id(asked.group());
    let request = if version < 3 {
        request.with_member_id(text(MEMBER))
    } else {
        request.with_members(vec![MemberIdentity::default().with_member_id(text(MEMBER))])
    };
    vec![seen(client.call(version, &request).await.error_code)]
}

pub(crate) async fn describe_groups(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let response = client.call(version, &DescribeGroupsRequest::default().with_groups(asked.groups())).await;
    let of = |group: &kafka_protocol::messages::describe_groups_response::DescribedGroup| {
        assert_eq!(group.members.is_empty(), group.error_code != 0, "members are shown to whoever may see");
        seen(group.error_code)
    };
    response.groups.iter().map(of).collect()
}

pub(crate) async fn list_groups(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let response = client.call(version, &ListGroupsRequest::default()).await;
    assert_eq!(response.error_code, 0, "a list is filtered, never refused");
    let found: Vec<String> = response.groups.iter().map(|group| group.group_id.to_string()).collect();
    listed(asked, &found)
}

pub(crate) async fn delete_groups(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let request = DeleteGroupsRequest::default().with_groups_names(asked.groups());
    let response = client.call(version, &request).await;
    response.results.iter().map(|group| seen(group.error_code)).collect()
}
