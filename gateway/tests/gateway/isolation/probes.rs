//! Every API, asked with identifiers of somebody else. What a probe returns is everything that was answered.

use futures_util::future::BoxFuture;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, ApiKey, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProducerId, SaslHandshakeRequest, SyncGroupRequest, TransactionalId,
};
use kafka_protocol::protocol::Request;

use super::tenants::{GROUP, Ids, TOPIC, group, text};
use crate::groups::join;
use crate::produce::{name, produce, produce_bytes};
use crate::support::{Client, batch_of};

/// A probe and the API it is of.
pub(crate) struct Probe {
    pub(crate) api: ApiKey,
    pub(crate) what: &'static str,
    pub(crate) ask: for<'a> fn(&'a mut Client, &'a Ids) -> BoxFuture<'a, String>,
}

macro_rules! probes {
    ($($api:ident $what:literal $ask:ident;)+) => {
        /// All probes.
        pub(crate) const PROBES: &[Probe] = &[$(Probe {
            api: ApiKey::$api,
            what: $what,
            ask: |client, ids| Box::pin($ask(client, ids)),
        }),+];
    };
}

probes! {
    Produce "by a topic's name and id" produce_to_topic;
    Produce "as a producer" produce_as_producer;
    Fetch "by a topic's name and id" fetch_topic;
    Fetch "in a session" fetch_in_session;
    ListOffsets "of a topic" list_offsets;
    Metadata "of a topic" describe_topic;
    Metadata "of everything" describe_everything;
    OffsetCommit "as a member, and of a topic" commit_offsets;
    OffsetFetch "of a group, a member and a topic" fetch_offsets;
    FindCoordinator "of a group and a transaction" find_coordinator;
    JoinGroup "as a member" join_group;
    Heartbeat "as a member" heartbeat;
    LeaveGroup "for a member" leave_group;
    SyncGroup "as a member" sync_group;
    DescribeGroups "by name" describe_group;
    ListGroups "all" list_groups;
    SaslHandshake "again" handshake;
    SaslAuthenticate "is tried on connections of its own" handshake;
    ApiVersions "again" api_versions;
    CreateTopics "of a name" create_topic;
    DeleteTopics "by name and id" delete_topic;
    InitProducerId "with an id" init_producer_id;
    OffsetForLeaderEpoch "of a topic" epoch_end;
    DescribeConfigs "of a topic" describe_configs;
    CreatePartitions "of a topic" create_partitions;
    DeleteGroups "by name" delete_group;
    IncrementalAlterConfigs "of a topic" alter_configs;
    DescribeCluster "again" describe_cluster;
    AlterClientQuotas "of a name" alter_client_quotas;
    DescribeClientQuotas "of a name" describe_client_quotas;
}

async fn ask<R: Request>(client: &mut Client, version: i16, request: R) -> String
where
    R::Response: std::fmt::Debug,
{
    format!("{:?}; ", client.call(version, &request).await)
}

async fn produce_to_topic(client: &mut Client, ids: &Ids) -> String {
    let mut by_id = produce("", 0, 1);
    by_id.topic_data[0].topic_id = ids.topic_id;
    ask(client, 9, produce(&ids.topic, 0, 1)).await + &ask(client, 13, by_id).await
}

/// The producer is not known to any partition here: whatever its id, it begins anew.
async fn produce_as_producer(client: &mut Client, ids: &Ids) -> String {
    let batch = batch_of(&["forged"], Some((ids.producer_id, 0, ids.sequence)));
    ask(client, 9, produce_bytes(TOPIC, 0, Some(batch))).await
}

fn wanted(topic: FetchTopic) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(1).with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic.with_partitions(vec![partition])])
}

async fn fetch_topic(client: &mut Client, ids: &Ids) -> String {
    let by_name = wanted(FetchTopic::default().with_topic(name(&ids.topic)));
    let by_id = wanted(FetchTopic::default().with_topic_id(ids.topic_id));
    ask(client, 12, by_name).await + &ask(client, 18, by_id).await
}

async fn fetch_in_session(client: &mut Client, ids: &Ids) -> String {
    let request = |epoch| {
        FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_id(ids.fetch_session)
            .with_session_epoch(epoch)
    };
    ask(client, 13, request(1)).await
        + &ask(client, 12, request(1)).await
        + &ask(client, 13, request(-1)).await
}

async fn list_offsets(client: &mut Client, ids: &Ids) -> String {
    let mut answers = String::new();
    for timestamp in [-1, -2, 0] {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name(&ids.topic)).with_partitions(vec![partition]);
        answers += &ask(client, 10, ListOffsetsRequest::default().with_topics(vec![topic])).await;
    }
    answers
}

async fn describe_topic(client: &mut Client, ids: &Ids) -> String {
    let named = |topic: MetadataRequestTopic| {
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
    };
    let by_name = MetadataRequestTopic::default().with_name(Some(name(&ids.topic)));
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(ids.topic_id);
    ask(client, 12, named(by_name)).await + &ask(client, 12, named(by_id)).await
}

async fn describe_everything(client: &mut Client, _: &Ids) -> String {
    ask(client, 12, MetadataRequest::default().with_topics(None)).await
}

fn committing(of: &str, member: &str, generation: i32, topic: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(4);
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(of))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

async fn commit_offsets(client: &mut Client, ids: &Ids) -> String {
    let as_member = committing(GROUP, &ids.member, ids.generation, TOPIC);
    let in_group = committing(&ids.group, &ids.member, ids.generation, TOPIC);
    let of_topic = committing(&ids.group, "", -1, &ids.topic);
    ask(client, 8, as_member).await + &ask(client, 8, in_group).await + &ask(client, 8, of_topic).await
}

async fn fetch_offsets(client: &mut Client, ids: &Ids) -> String {
    let topic =
        OffsetFetchRequestTopics::default().with_name(name(&ids.topic)).with_partition_indexes(vec![0]);
    let of = OffsetFetchRequestGroup::default();
    let groups = vec![
        of.clone().with_group_id(group(&ids.group)).with_topics(None),
        of.with_group_id(group(GROUP))
            .with_member_id(Some(text(&ids.member)))
            .with_member_epoch(ids.generation)
            .with_topics(Some(vec![topic])),
    ];
    ask(client, 9, OffsetFetchRequest::default().with_groups(groups)).await
}

async fn find_coordinator(client: &mut Client, ids: &Ids) -> String {
    let of = |kind, key: &str| {
        FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![text(key)])
    };
    ask(client, 6, of(0, &ids.group)).await + &ask(client, 6, of(1, &ids.group)).await
}

async fn join_group(client: &mut Client, ids: &Ids) -> String {
    let in_shared = join("").with_group_id(group(GROUP)).with_member_id(text(&ids.member));
    let in_own = join("").with_group_id(group(&ids.group)).with_member_id(text(&ids.member));
    ask(client, 9, in_shared).await + &ask(client, 9, in_own).await
}

async fn heartbeat(client: &mut Client, ids: &Ids) -> String {
    let of = |name: &str| {
        HeartbeatRequest::default()
            .with_group_id(group(name))
            .with_generation_id(ids.generation)
            .with_member_id(text(&ids.member))
    };
    ask(client, 4, of(GROUP)).await + &ask(client, 4, of(&ids.group)).await
}

async fn leave_group(client: &mut Client, ids: &Ids) -> String {
    let of = |name: &str| {
        let member = MemberIdentity::default().with_member_id(text(&ids.member));
        LeaveGroupRequest::default().with_group_id(group(name)).with_members(vec![member])
    };
    ask(client, 5, of(GROUP)).await + &ask(client, 5, of(&ids.group)).await
}

async fn sync_group(client: &mut Client, ids: &Ids) -> String {
    let of = |name: &str| {
        SyncGroupRequest::default()
            .with_group_id(group(name))
            .with_generation_id(ids.generation)
            .with_member_id(text(&ids.member))
    };
    ask(client, 5, of(GROUP)).await + &ask(client, 5, of(&ids.group)).await
}

async fn describe_group(client: &mut Client, ids: &Ids) -> String {
    ask(client, 6, DescribeGroupsRequest::default().with_groups(vec![group(&ids.group)])).await
}

async fn list_groups(client: &mut Client, _: &Ids) -> String {
    ask(client, 5, ListGroupsRequest::default()).await
}

async fn handshake(client: &mut Client, _: &Ids) -> String {
    ask(client, 1, SaslHandshakeRequest::default().with_mechanism(text("AWS_MSK_IAM"))).await
}

async fn api_versions(client: &mut Client, _: &Ids) -> String {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1"));
    ask(client, 4, request).await
}

/// The name is free here, whoever else has it; it is made free again.
async fn create_topic(client: &mut Client, ids: &Ids) -> String {
    let topic = CreatableTopic::default()
        .with_name(name(&ids.topic))
        .with_num_partitions(1)
        .with_replication_factor(3);
    let created = ask(client, 7, CreateTopicsRequest::default().with_topics(vec![topic])).await;
    let deleted = DeleteTopicsRequest::default().with_topic_names(vec![name(&ids.topic)]);
    created + &ask(client, 5, deleted).await
}

async fn delete_topic(client: &mut Client, ids: &Ids) -> String {
    let by_name = DeleteTopicState::default().with_name(Some(name(&ids.topic)));
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(ids.topic_id);
    ask(client, 6, DeleteTopicsRequest::default().with_topics(vec![by_name, by_id])).await
}

async fn init_producer_id(client: &mut Client, ids: &Ids) -> String {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(ids.producer_id))
        .with_producer_epoch(0);
    let given = client.call(5, &request).await;
    assert_ne!(given.producer_id.0, ids.producer_id, "nobody's id is given to another");
    let transactional = request.with_transactional_id(Some(TransactionalId(text(&ids.group))));
    format!("{}; ", given.error_code) + &ask(client, 5, transactional).await
}

async fn epoch_end(client: &mut Client, ids: &Ids) -> String {
    let partition = OffsetForLeaderPartition::default().with_leader_epoch(1);
    let topic = OffsetForLeaderTopic::default().with_topic(name(&ids.topic)).with_partitions(vec![partition]);
    ask(client, 4, OffsetForLeaderEpochRequest::default().with_topics(vec![topic])).await
}

async fn describe_configs(client: &mut Client, ids: &Ids) -> String {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&ids.topic))
        .with_configuration_keys(None);
    ask(client, 4, DescribeConfigsRequest::default().with_resources(vec![resource])).await
}

async fn create_partitions(client: &mut Client, ids: &Ids) -> String {
    let topic =
        CreatePartitionsTopic::default().with_name(name(&ids.topic)).with_count(9).with_assignments(None);
    ask(client, 3, CreatePartitionsRequest::default().with_topics(vec![topic])).await
}

async fn delete_group(client: &mut Client, ids: &Ids) -> String {
    ask(client, 2, DeleteGroupsRequest::default().with_groups_names(vec![group(&ids.group)])).await
}

async fn alter_configs(client: &mut Client, ids: &Ids) -> String {
    let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(&ids.topic));
    ask(client, 1, IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await
}

async fn describe_cluster(client: &mut Client, _: &Ids) -> String {
    ask(client, 2, DescribeClusterRequest::default()).await
}

/// A client id of the other's: who sets it here has set his own.
async fn alter_client_quotas(client: &mut Client, ids: &Ids) -> String {
    let entity =
        EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text(&ids.topic)));
    let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1e12);
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
    ask(client, 1, AlterClientQuotasRequest::default().with_entries(vec![entry])).await
}

async fn describe_client_quotas(client: &mut Client, ids: &Ids) -> String {
    let component =
        ComponentData::default().with_entity_type(text("client-id")).with_match(Some(text(&ids.topic)));
    ask(client, 1, DescribeClientQuotasRequest::default().with_components(vec![component])).await
}
