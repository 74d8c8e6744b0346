//! Two tenants on one gateway and one storage node, with the same names for different things.

use bytes::Bytes;
use headgate_gateway::GatewayConfig;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::quota::QuotaKey;
use headgate_metadata::store::SharedStore;
use headgate_storage::Node;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FetchRequest, GroupId, InitProducerIdRequest, JoinGroupRequest, ListGroupsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use uuid::Uuid;

use crate::produce::{name, topic_with};
use crate::support::{Client, Harness, batch_of, node};

/// A topic and a group that both tenants have.
pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "billing";
/// What everything begins with that the second tenant keeps to itself.
pub(crate) const SECRET: &str = "b-secret";

/// Everything a tenant may be known by.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// A topic that the other tenant has none of.
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    /// A group that the other tenant has none of.
    pub(crate) group: String,
    /// A member of the group that both have, and its generation.
    pub(crate) member: String,
    pub(crate) generation: i32,
    pub(crate) producer_id: i64,
    /// The sequence its producer's next batch has.
    pub(crate) sequence: i32,
    pub(crate) fetch_session: i32,
}

/// The two, each as administrator of its own account.
pub(crate) struct Tenants {
    pub(crate) harness: Harness<Node>,
    pub(crate) a: Client,
    pub(crate) b: Client,
    /// Another connection of the second, which looks at what it has.
    pub(crate) b_looks: Client,
    pub(crate) of_a: Ids,
    pub(crate) of_b: Ids,
}

impl Tenants {
    pub(crate) async fn start() -> Self {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let node = node::start(&store).await;
        let harness = Harness::over(GatewayConfig::default(), store, node).await;
        // The probes ask faster than two topic operations a second.
        harness.set_quotas(&[(QuotaKey::TopicOperationsPerSecond, 1_000)]).await;
        let mut a = harness.logged_in(&harness.login()).await;
        let mut b = harness.logged_in(&harness.neighbours_login()).await;
        let of_a = populate(&mut a, "a-own", 1).await;
        let of_b = populate(&mut b, SECRET, 5).await;
        let b_looks = harness.logged_in(&harness.neighbours_login()).await;
        Self { harness, a, b, b_looks, of_a, of_b }
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Makes a tenant's world; everything in it that is not a name or an id begins with `marker`.
async fn populate(client: &mut Client, marker: &str, records: usize) -> Ids {
    let own = format!("topic-of-{}", &marker[..1]);
    topic_with(client, TOPIC, 2, &[("retention.ms", "-1")]).await;
    let topic_id = topic_with(client, &own, 1, &[("retention.ms", "-1")]).await;
    let init = InitProducerIdRequest::default().with_transactional_id(None);
    let producer_id = client.call(4, &init).await.producer_id.0;
    let values: Vec<String> = (0..records).map(|number| format!("{marker}-record-{number}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for topic in [TOPIC, &own] {
        let batch = batch_of(&values, Some((producer_id, 0, 0)));
        assert_eq!(append(client, topic, batch).await, (0, 0));
    }
    let (member, generation) = join(client, marker).await;
    assert_eq!(commit(client, GROUP, &member, generation, TOPIC, marker).await, 0);
    let own_group = format!("group-of-{}", &marker[..1]);
    assert_eq!(commit(client, &own_group, "", -1, TOPIC, marker).await, 0);
    let fetch_session = begin_session(client, topic_id).await;
    Ids {
        topic: own,
        topic_id,
        group: own_group,
        member,
        generation,
        producer_id,
        sequence: records as i32,
        fetch_session,
    }
}

/// Appends to partition 0: the error code and the offset.
pub(crate) async fn append(client: &mut Client, topic: &str, batch: Bytes) -> (i16, i64) {
    let request: ProduceRequest = crate::produce::produce_bytes(topic, 0, Some(batch));
    let response = client.call(9, &request).await;
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Becomes the only member of the group that both tenants have.
async fn join(client: &mut Client, marker: &str) -> (String, i32) {
    let request = |member: StrBytes| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from(format!("{marker}-metadata")));
        JoinGroupRequest::default()
            .with_group_id(group(GROUP))
            .with_member_id(member)
            .with_session_timeout_ms(300_000)
            .with_rebalance_timeout_ms(300_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    let told = client.call(9, &request(text(""))).await;
    let joined = client.call(9, &request(told.member_id)).await;
    assert_eq!(joined.error_code, 0);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from(format!("{marker}-assignment")));
    let sync = SyncGroupRequest::default()
        .with_group_id(group(GROUP))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    assert_eq!(client.call(5, &sync).await.error_code, 0);
    (joined.member_id.to_string(), joined.generation_id)
}

/// Commits offset 1 of partition 0; the error code.
pub(crate) async fn commit(
    client: &mut Client,
    of: &str,
    member: &str,
    generation: i32,
    topic: &str,
    marker: &str,
) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(1)
        .with_committed_metadata(Some(text(&format!("{marker}-note"))));
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(of))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic]);
    client.call(8, &request).await.topics[0].partitions[0].error_code
}

async fn begin_session(client: &mut Client, topic: Uuid) -> i32 {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(topic).with_partitions(vec![partition]);
    let request =
        FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(0).with_topics(vec![topic]);
    let response = client.call(13, &request).await;
    assert_ne!(response.session_id, 0);
    response.session_id
}

/// Everything a tenant can see of its own, as text.
pub(crate) async fn world_of(client: &mut Client) -> String {
    let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    let mut shown = vec![format!("{metadata:?}")];
    for topic in &metadata.topics {
        let topic_name = topic.name.clone().expect("a name");
        for partition in 0..topic.partitions.len() as i32 {
            shown.push(format!(
                "{:?}",
                client.call(12, &crate::fetch::fetch(&topic_name, partition, 0, 0)).await
            ));
        }
    }
    let mut listed = client.call(5, &ListGroupsRequest::default()).await.groups;
    listed.sort_by(|left, right| left.group_id.cmp(&right.group_id));
    shown.push(format!("{listed:?}"));
    for of in listed {
        let describe = DescribeGroupsRequest::default().with_groups(vec![of.group_id.clone()]);
        shown.push(format!("{:?}", client.call(6, &describe).await));
        let offsets = OffsetFetchRequestGroup::default().with_group_id(of.group_id).with_topics(None);
        let fetch = OffsetFetchRequest::default().with_groups(vec![offsets]);
        shown.push(format!("{:?}", client.call(8, &fetch).await));
    }
    shown.join("\n")
}
