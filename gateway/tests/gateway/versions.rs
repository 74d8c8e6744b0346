//! Every API answers at every version it advertises, also with errors: a field set at a version that lacks it would end the
//! connection instead.

use headgate_storage_client::{AppendError, GroupError, ReadError};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, SyncGroupRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::fetch::fetch;
use crate::groups::{commit, join};
use crate::produce::{code, name, produce, topic};
use crate::support::Harness;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn group() -> GroupId {
    GroupId(text("g"))
}

#[tokio::test]
async fn group_errors_are_answered_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.fail_groups(GroupError::MemberIdRequired { member: "m".into() });
    for version in 0..=9 {
        assert_eq!(client.call(version, &join("")).await.error_code, 79, "JoinGroup {version}");
    }
    for version in 0..=5 {
        let sync = SyncGroupRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &sync).await.error_code, 79, "SyncGroup {version}");
        let leave = LeaveGroupRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &leave).await.error_code, 79, "LeaveGroup {version}");
        let list = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!(list.error_code, 79, "ListGroups {version}");
    }
    for version in 0..=4 {
        let beat = HeartbeatRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &beat).await.error_code, 79, "Heartbeat {version}");
    }
    for version in 0..=6 {
        let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
        assert_eq!(
            client.call(version, &describe).await.groups[0].error_code,
            79,
            "DescribeGroups {version}"
        );
    }
    for version in 0..=2 {
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        assert_eq!(client.call(version, &delete).await.results[0].error_code, 79, "DeleteGroups {version}");
    }
    for version in 2..=9 {
        let commits: OffsetCommitRequest = commit("t", 0, 5);
        let committed = client.call(version, &commits).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 79, "OffsetCommit {version}");
    }
    let asked = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0]);
    for version in 1..=7 {
        let fetch =
            OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![asked.clone()]));
        let fetched = client.call(version, &fetch).await;
        let code = if version == 1 { fetched.topics[0].partitions[0].error_code } else { fetched.error_code };
        assert_eq!(code, 79, "OffsetFetch {version}");
    }
    let asked = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0]);
    for version in 8..=9 {
        let of =
            OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![asked.clone()]));
        let fetched = client.call(version, &OffsetFetchRequest::default().with_groups(vec![of])).await;
        assert_eq!(fetched.groups[0].error_code, 79, "OffsetFetch {version}");
    }
}

#[tokio::test]
async fn a_group_with_a_static_member_is_described_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(8, &commit("t", 0, 5)).await;
    for version in 0..=6 {
        let mut request = DescribeGroupsRequest::default().with_groups(vec![group()]);
        request.include_authorized_operations = version >= 3;
        let described = client.call(version, &request).await.groups.remove(0);
        let instance = described.members[0].group_instance_id.as_deref();
        assert_eq!(instance, (version >= 4).then_some("instance"), "version {version}");
        assert_eq!(described.authorized_operations, if version >= 3 { 0b1_0100_1000 } else { i32::MIN });
    }
}

#[tokio::test]
async fn errors_of_topics_and_partitions_are_answered_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let id = topic(&mut client, "t", 1).await;
    harness.storage.fail_reads(ReadError::NotOwner);
    harness.storage.fail_appends(AppendError::Unconfirmed);
    for version in 3..=13 {
        let mut request = produce("t", 0, 1);
        request.topic_data[0].topic_id = id;
        if version >= 13 {
            request.topic_data[0].name = name("");
        } else {
            request.topic_data[0].topic_id = Uuid::nil();
        }
        assert_ne!(code(&client.call(version, &request).await), 0, "Produce {version}");
    }
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0, 0);
        if version >= 13 {
            (request.topics[0].topic, request.topics[0].topic_id) = (name(""), id);
        }
        let fetched = client.call(version, &request).await;
        assert_ne!(fetched.responses[0].partitions[0].error_code, 0, "Fetch {version}");
    }
    for version in 1..=10 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let asked = ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![partition]);
        let listed = client.call(version, &ListOffsetsRequest::default().with_topics(vec![asked])).await;
        assert_ne!(listed.topics[0].partitions[0].error_code, 0, "ListOffsets {version}");
    }
    for version in 2..=4 {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(1);
        let asked = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![partition]);
        let found =
            client.call(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![asked])).await;
        assert_ne!(found.topics[0].partitions[0].error_code, 0, "OffsetForLeaderEpoch {version}");
    }
}

#[tokio::test]
async fn refusals_of_the_gateway_are_answered_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=13 {
        let named = MetadataRequestTopic::default().with_name(Some(name("not a name")));
        let mut request = MetadataRequest::default().with_topics(Some(vec![named]));
        request.include_topic_authorized_operations = version >= 8;
        request.include_cluster_authorized_operations = (8..=10).contains(&version);
        assert_eq!(client.call(version, &request).await.topics[0].error_code, 17, "Metadata {version}");
    }
    for version in 2..=7 {
        let new = CreatableTopic::default().with_name(name("not a name"));
        let created = client.call(version, &CreateTopicsRequest::default().with_topics(vec![new])).await;
        assert_ne!(created.topics[0].error_code, 0, "CreateTopics {version}");
    }
    for version in 1..=6 {
        let request = if version >= 6 {
            let by_id = DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(5));
            DeleteTopicsRequest::default().with_topics(vec![by_id])
        } else {
            DeleteTopicsRequest::default().with_topic_names(vec![name("nope")])
        };
        assert_ne!(client.call(version, &request).await.responses[0].error_code, 0, "DeleteTopics {version}");
    }
    for version in 0..=3 {
        let grown = CreatePartitionsTopic::default().with_name(name("nope")).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![grown]);
        assert_eq!(
            client.call(version, &request).await.results[0].error_code,
            3,
            "CreatePartitions {version}"
        );
    }
    for version in 1..=4 {
        let asked = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text("nope"));
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        assert_eq!(
            client.call(version, &request).await.results[0].error_code,
            3,
            "DescribeConfigs {version}"
        );
    }
    for version in 0..=1 {
        let altered = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("nope"));
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 3, "alter {version}");
    }
    for version in 0..=5 {
        let transactional =
            InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("x"))));
        assert_eq!(client.call(version, &transactional).await.error_code, 42, "InitProducerId {version}");
        let idempotent = InitProducerIdRequest::default().with_transactional_id(None);
        assert_eq!(client.call(version, &idempotent).await.error_code, 0, "InitProducerId {version}");
    }
    for version in 1..=6 {
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("x")])
        } else {
            FindCoordinatorRequest::default().with_key(text("x"))
        };
        let found = client.call(version, &request.with_key_type(1)).await;
        let code = if version >= 4 { found.coordinators[0].error_code } else { found.error_code };
        assert_eq!(code, 42, "FindCoordinator {version}");
    }
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        assert_eq!(client.call(version, &request).await.error_code, 0, "DescribeCluster {version}");
    }
}
