//! A principal that may do nothing but connect: every API, at every version, answers with the code of the denial and no
//! more. It also shows that every denial encodes.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::authentication::msk_iam;
use crate::fetch::fetch;
use crate::groups::join;
use crate::produce::{code, name, produce, topic};
use crate::support::{Client, Harness};

const TOPIC: i16 = 29;
const GROUP: i16 = 30;
const CLUSTER: i16 = 31;

/// A connection that may do nothing, and the id of the topic `t` it may not see.
async fn stranger(harness: &Harness) -> (Client, Uuid) {
    let id = topic(&mut harness.client().await, "t", 1).await;
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kafka-cluster:Connect","Resource":"*"}]}"#;
    let login = harness.user("stranger", Some(policy)).await;
    let mut client = harness.tls("localhost").await;
    assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);
    (client, id)
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

#[tokio::test]
async fn topics_are_neither_written_nor_read() {
    let harness = Harness::start().await;
    let (mut client, id) = stranger(&harness).await;
    for version in 3..=13 {
        let mut request = produce("t", 0, 1);
        request.topic_data[0].topic_id = id;
        assert_eq!(code(&client.call(version, &request).await), TOPIC, "Produce {version}");
    }
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0, 60_000);
        request.topics[0].topic_id = id;
        let response = client.call(version, &request).await;
        assert_eq!(response.responses[0].partitions[0].error_code, TOPIC, "Fetch {version}");
    }
    for version in 1..=10 {
        let partitions = vec![ListOffsetsPartition::default()];
        let topics = vec![ListOffsetsTopic::default().with_name(name("t")).with_partitions(partitions)];
        let response = client.call(version, &ListOffsetsRequest::default().with_topics(topics)).await;
        assert_eq!(response.topics[0].partitions[0].error_code, TOPIC, "ListOffsets {version}");
    }
    for version in 2..=4 {
        let partitions = vec![OffsetForLeaderPartition::default()];
        let topics = vec![OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(partitions)];
        let response =
            client.call(version, &OffsetForLeaderEpochRequest::default().with_topics(topics)).await;
        assert_eq!(response.topics[0].partitions[0].error_code, TOPIC, "OffsetForLeaderEpoch {version}");
    }
    assert_eq!(harness.storage.submitted_count(), 0);
}

#[tokio::test]
async fn topics_are_not_described_by_name_or_id_and_left_out_of_lists() {
    let harness = Harness::start().await;
    let (mut client, id) = stranger(&harness).await;
    for version in 0..=13 {
        let named = |topic: MetadataRequestTopic| MetadataRequest::default().with_topics(Some(vec![topic]));
        let by_name = named(MetadataRequestTopic::default().with_name(Some(name("t"))));
        let topics = client.call(version, &by_name).await.topics;
        assert_eq!((topics[0].error_code, topics[0].partitions.len()), (TOPIC, 0), "by name {version}");
        if version >= 1 {
            let all = client.call(version, &MetadataRequest::default().with_topics(None)).await;
            assert!(all.topics.is_empty(), "all {version}");
        }
        if version >= 10 {
            let by_id = named(MetadataRequestTopic::default().with_name(None).with_topic_id(id));
            let topics = client.call(version, &by_id).await.topics;
            assert_eq!(topics[0].error_code, TOPIC, "by id {version}");
            assert_ne!(topics[0].name.as_ref().map(|name| name.as_str()), Some("t"), "the name is not told");
        }
    }
}

#[tokio::test]
async fn topics_are_not_created_changed_or_deleted() {
    let harness = Harness::start().await;
    let (mut client, id) = stranger(&harness).await;
    for version in 2..=7 {
        let new =
            CreatableTopic::default().with_name(name("u")).with_num_partitions(1).with_replication_factor(1);
        let response = client.call(version, &CreateTopicsRequest::default().with_topics(vec![new])).await;
        assert_eq!(response.topics[0].error_code, TOPIC, "CreateTopics {version}");
    }
    for version in 1..=5 {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
        assert_eq!(
            client.call(version, &request).await.responses[0].error_code,
            TOPIC,
            "DeleteTopics {version}"
        );
    }
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(id);
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![by_id])).await;
    assert_eq!((response.responses[0].error_code, &response.responses[0].name), (TOPIC, &None));
    for version in 0..=3 {
        let grown =
            CreatePartitionsTopic::default().with_name(name("t")).with_count(9).with_assignments(None);
        let response =
            client.call(version, &CreatePartitionsRequest::default().with_topics(vec![grown])).await;
        assert_eq!(response.results[0].error_code, TOPIC, "CreatePartitions {version}");
    }
    for version in 1..=4 {
        let of = |kind, text| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(text))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default().with_resources(vec![of(2, "t"), of(4, "1")]);
        let codes: Vec<i16> =
            client.call(version, &request).await.results.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [TOPIC, CLUSTER], "DescribeConfigs {version}");
    }
    for version in 0..=1 {
        let of = |kind, text| {
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(text))
        };
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![of(2, "t"), of(4, "1")]);
        let codes: Vec<i16> =
            client.call(version, &request).await.responses.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [TOPIC, CLUSTER], "IncrementalAlterConfigs {version}");
    }
}

#[tokio::test]
async fn groups_are_not_joined_described_or_deleted() {
    let harness = Harness::start().await;
    let (mut client, _) = stranger(&harness).await;
    for version in 0..=9 {
        assert_eq!(client.call(version, &join("m")).await.error_code, GROUP, "JoinGroup {version}");
    }
    for version in 0..=5 {
        let sync = SyncGroupRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &sync).await.error_code, GROUP, "SyncGroup {version}");
        let leave = LeaveGroupRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &leave).await.error_code, GROUP, "LeaveGroup {version}");
        assert!(client.call(version, &ListGroupsRequest::default()).await.groups.is_empty());
    }
    for version in 0..=4 {
        let beat = HeartbeatRequest::default().with_group_id(group());
        assert_eq!(client.call(version, &beat).await.error_code, GROUP, "Heartbeat {version}");
    }
    for version in 0..=6 {
        let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
        assert_eq!(
            client.call(version, &describe).await.groups[0].error_code,
            GROUP,
            "DescribeGroups {version}"
        );
    }
    for version in 0..=2 {
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        assert_eq!(
            client.call(version, &delete).await.results[0].error_code,
            GROUP,
            "DeleteGroups {version}"
        );
    }
    for version in 0..=6 {
        let key = StrBytes::from_static_str("g");
        let code = if version < 4 {
            client.call(version, &FindCoordinatorRequest::default().with_key(key)).await.error_code
        } else {
            let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![key]);
            client.call(version, &request).await.coordinators[0].error_code
        };
        assert_eq!(code, GROUP, "FindCoordinator {version}");
    }
}

#[tokio::test]
async fn offsets_are_neither_committed_nor_fetched() {
    let harness = Harness::start().await;
    let (mut client, _) = stranger(&harness).await;
    for version in 2..=9 {
        let partitions = vec![OffsetCommitRequestPartition::default()];
        let topics =
            vec![OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(partitions)];
        let request = OffsetCommitRequest::default().with_group_id(group()).with_topics(topics);
        let response = client.call(version, &request).await;
        assert_eq!(response.topics[0].partitions[0].error_code, GROUP, "OffsetCommit {version}");
    }
    for version in 2..=7 {
        let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
        assert_eq!(client.call(version, &request).await.error_code, GROUP, "OffsetFetch {version}");
    }
    for version in 8..=9 {
        let of = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
        let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![of])).await;
        assert_eq!(response.groups[0].error_code, GROUP, "OffsetFetch {version}");
    }
}

#[tokio::test]
async fn no_producer_id_is_given_and_no_right_is_shown() {
    let harness = Harness::start().await;
    let (mut client, _) = stranger(&harness).await;
    for version in 0..=5 {
        let init = InitProducerIdRequest::default().with_transactional_id(None);
        assert_eq!(client.call(version, &init).await.error_code, CLUSTER, "InitProducerId {version}");
    }
    for version in 0..=2 {
        let describe = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = client.call(version, &describe).await;
        assert_eq!((response.error_code, response.cluster_authorized_operations), (0, 0));
    }
}

#[tokio::test]
async fn the_administrator_is_shown_every_right_where_it_asks() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for version in 8..=13 {
        let mut request =
            MetadataRequest::default().with_topics(None).with_include_topic_authorized_operations(true);
        request.include_cluster_authorized_operations = version <= 10;
        let response = client.call(version, &request).await;
        assert_eq!(response.topics[0].topic_authorized_operations, 0b1101_1111_1000, "version {version}");
        let cluster = if version <= 10 { 0b1_1101_1000_0000 } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, cluster, "version {version}");
    }
    for version in 3..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group()])
            .with_include_authorized_operations(true);
        let response = client.call(version, &request).await;
        assert_eq!(response.groups[0].authorized_operations, 0b1_0100_1000, "version {version}");
    }
}
