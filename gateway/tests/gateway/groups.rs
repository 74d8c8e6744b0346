//! Groups: a thin mapping, both ways, at every version.

use bytes::Bytes;
use headgate_storage_client::GroupError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::produce::{name, topic};
use crate::support::Harness;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

pub(crate) fn join(member: &'static str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_member_id(StrBytes::from_static_str(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}

#[tokio::test]
async fn a_first_join_is_told_its_member_id_from_version_4_on() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=9 {
        let response = client.call(version, &join("")).await;
        let expected = if version >= 4 { (79, -1) } else { (0, 1) };
        assert_eq!((response.error_code, response.generation_id), expected, "version {version}");
        assert_eq!(&*response.member_id, "member-1");
    }
}

#[tokio::test]
async fn the_leader_gets_the_members_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=9 {
        let response = client.call(version, &join("member-1")).await;
        assert_eq!((response.error_code, &*response.leader), (0, "member-1"), "version {version}");
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        assert_eq!(&response.members[0].metadata[..], b"meta");
    }
}

#[tokio::test]
async fn an_assignment_comes_back_through_sync() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(StrBytes::from_static_str("member-1"))
        .with_assignment(Bytes::from_static(b"mine"));
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(1)
        .with_member_id(StrBytes::from_static_str("member-1"))
        .with_assignments(vec![assignment]);
    for version in 0..=5 {
        let response = client.call(version, &request).await;
        assert_eq!((response.error_code, &response.assignment[..]), (0, &b"mine"[..]), "version {version}");
    }
}

#[tokio::test]
async fn heartbeats_are_answered_by_the_coordinator() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=4 {
        let beat = HeartbeatRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &beat.clone().with_generation_id(1)).await.error_code, 0);
        assert_eq!(client.call(version, &beat.with_generation_id(2)).await.error_code, 22);
    }
}

#[tokio::test]
async fn members_leave_alone_or_together() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let text = StrBytes::from_static_str;
    for version in 0..=2 {
        let leave = LeaveGroupRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &leave.clone().with_member_id(text("member-1"))).await.error_code, 0);
        assert_eq!(client.call(version, &leave.with_member_id(text("who"))).await.error_code, 25);
    }
    for version in 3..=5 {
        let members =
            ["member-1", "who"].map(|member| MemberIdentity::default().with_member_id(text(member)));
        let leave = LeaveGroupRequest::default().with_group_id(group()).with_members(members.to_vec());
        let response = client.call(version, &leave).await;
        let codes: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![0, 25]), "version {version}");
    }
}

pub(crate) fn commit(topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_static_str("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic])
}

#[tokio::test]
async fn committed_offsets_are_fetched_back_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 2).await;
    for version in 2..=9 {
        let response = client.call(version, &commit("t", 1, i64::from(version))).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
    }
    let asked = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
    for version in 1..=7 {
        let request =
            OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![asked.clone()]));
        let response = client.call(version, &request).await;
        let offsets: Vec<i64> =
            response.topics[0].partitions.iter().map(|entry| entry.committed_offset).collect();
        assert_eq!(offsets, [-1, 9], "version {version}");
        assert_eq!(response.topics[0].partitions[1].metadata.as_deref(), Some("note"));
    }
    let asked = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
    for version in 8..=9 {
        let of = |topics| {
            let group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(topics);
            OffsetFetchRequest::default().with_groups(vec![group])
        };
        let named = client.call(version, &of(Some(vec![asked.clone()]))).await;
        assert_eq!(named.groups[0].topics[0].partitions[1].committed_offset, 9);
        let all = client.call(version, &of(None)).await;
        assert_eq!(all.groups[0].topics[0].partitions.len(), 1, "only what was committed");
    }
}

#[tokio::test]
async fn offsets_of_unknown_partitions_are_not_committed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (request, code) in [(commit("nope", 0, 5), 3), (commit("t", 7, 5), 3), (commit("t", 0, -1), 42)] {
        assert_eq!(client.call(8, &request).await.topics[0].partitions[0].error_code, code);
    }
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(8, &commit("t", 0, 5)).await;
    for version in 0..=5 {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!((listed.error_code, listed.groups.len(), &*listed.groups[0].group_id.0), (0, 1, "g"));
        if version >= 4 {
            let filter = vec![StrBytes::from_static_str("Stable")];
            let none = client.call(version, &ListGroupsRequest::default().with_states_filter(filter)).await;
            assert!(none.groups.is_empty());
        }
    }
    for version in 0..=6 {
        let unknown = GroupId(StrBytes::from_static_str("unknown"));
        let request = DescribeGroupsRequest::default().with_groups(vec![group(), unknown]);
        let described = client.call(version, &request).await;
        assert_eq!(&*described.groups[0].group_state, "Empty");
        assert_eq!(&*described.groups[1].group_state, "Dead");
        assert_eq!(described.groups[1].error_code, if version >= 6 { 69 } else { 0 });
    }
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 0);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 69);
}

#[tokio::test]
async fn a_coordinator_that_moved_is_looked_for_again_at_every_group_api() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.fail_groups(GroupError::NotOwner);
    assert_eq!(client.call(9, &join("member-1")).await.error_code, 16);
    assert_eq!(client.call(5, &SyncGroupRequest::default().with_group_id(group())).await.error_code, 16);
    assert_eq!(client.call(4, &HeartbeatRequest::default().with_group_id(group())).await.error_code, 16);
    assert_eq!(client.call(5, &LeaveGroupRequest::default().with_group_id(group())).await.error_code, 16);
    assert_eq!(client.call(8, &commit("t", 0, 1)).await.topics[0].partitions[0].error_code, 16);
    let fetch = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
    assert_eq!(client.call(7, &fetch).await.error_code, 16);
    let asked = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0]);
    let old = client.call(1, &fetch.with_topics(Some(vec![asked]))).await;
    assert_eq!(old.topics[0].partitions[0].error_code, 16);
    assert_eq!(client.call(5, &ListGroupsRequest::default()).await.error_code, 16);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
    assert_eq!(client.call(5, &describe).await.groups[0].error_code, 16);
}

#[tokio::test]
async fn a_group_that_is_named_often_is_answered_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let describe = DescribeGroupsRequest::default().with_groups(vec![group(); 3]);
    assert_eq!(client.call(5, &describe).await.groups.len(), 1);
    let of = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let fetch = OffsetFetchRequest::default().with_groups(vec![of; 3]);
    assert_eq!(client.call(9, &fetch).await.groups.len(), 1);
}

#[tokio::test]
async fn a_member_or_group_that_would_take_more_memory_than_any_honest_one_is_refused() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let long: &'static str = "x".repeat(40_000).leak();
    let mut named = join("member-1");
    named.group_id = GroupId(StrBytes::from_static_str(long));
    assert_eq!(client.call(9, &named).await.error_code, 24);
    let mut instance = join("member-1");
    instance.group_instance_id = Some(StrBytes::from_static_str(long));
    assert_eq!(client.call(9, &instance).await.error_code, 42);
    let mut metadata = join("member-1");
    metadata.protocols[0].metadata = Bytes::from(vec![0; 1024 * 1024]);
    assert_eq!(client.call(9, &metadata).await.error_code, 42);
    metadata.protocols[0].metadata = Bytes::from(vec![0; 512 * 1024]);
    assert_eq!(client.call(9, &metadata).await.error_code, 0);
}
