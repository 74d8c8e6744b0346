//! Metadata, FindCoordinator and DescribeCluster: brokers are names.

use headgate_metadata::quota::QuotaKey;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::produce::{name, topic};
use crate::support::Harness;

fn ask(names: &[&str]) -> MetadataRequest {
    let topic = |text: &&str| MetadataRequestTopic::default().with_name(Some(name(text)));
    MetadataRequest::default().with_topics(Some(names.iter().map(topic).collect()))
}

fn codes(response: &MetadataResponse) -> Vec<i16> {
    response.topics.iter().map(|topic| topic.error_code).collect()
}

#[tokio::test]
async fn one_gateway_is_one_broker_and_replicas_are_always_three() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let id = topic(&mut client, "t", 4).await;
    for version in 0..=13 {
        let response = client.call(version, &ask(&["t"])).await;
        let broker = &response.brokers[0];
        assert_eq!(response.brokers.len(), 1);
        assert_eq!((broker.node_id.0, &*broker.host), (1, "localhost"));
        assert_eq!(broker.port, i32::from(harness.plaintext_port()));
        if version >= 1 {
            assert_eq!(response.controller_id.0, 1, "the broker that was dialled");
            assert_eq!(broker.rack.as_deref(), Some("zone-a"));
        }
        if version >= 10 {
            assert_eq!(response.topics[0].topic_id, id);
        }
        for partition in &response.topics[0].partitions {
            let ids =
                |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
            assert_eq!(partition.leader_id.0, 1, "a leader is a listed broker");
            assert_eq!(ids(&partition.replica_nodes), [1, 2, 3]);
            assert_eq!(ids(&partition.isr_nodes), [1, 2, 3]);
            assert_eq!(partition.leader_epoch, if version >= 7 { 1 } else { -1 });
        }
        assert_eq!(response.topics[0].partitions.len(), 4);
    }
}

#[tokio::test]
async fn all_topics_are_asked_for_by_null_and_before_version_1_by_an_empty_list() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "a", 1).await;
    topic(&mut client, "b", 1).await;
    assert_eq!(client.call(0, &ask(&[])).await.topics.len(), 2);
    assert_eq!(client.call(1, &MetadataRequest::default().with_topics(None)).await.topics.len(), 2);
    assert_eq!(client.call(1, &ask(&[])).await.topics.len(), 0);
}

#[tokio::test]
async fn a_topic_is_created_by_asking_for_it_where_the_request_and_the_cluster_say_so() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let no = ask(&["t"]).with_allow_auto_topic_creation(false);
    assert_eq!(codes(&client.call(12, &no).await), [3]);
    let created = client.call(12, &ask(&["t", "not a name"])).await;
    assert_eq!(codes(&created), [0, 17]);
    assert_eq!(created.topics[0].partitions.len(), 1);
    assert_eq!(codes(&client.call(12, &no).await), [0]);
}

#[tokio::test]
async fn a_topic_is_found_by_its_id() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let id = topic(&mut client, "t", 1).await;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let found = client.call(12, &by_id(id)).await;
    assert_eq!(found.topics[0].name.as_ref().map(|name| name.as_str()), Some("t"));
    for version in 10..=13 {
        assert_eq!(
            codes(&client.call(version, &by_id(Uuid::from_u128(5))).await),
            [100],
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_group_is_coordinated_by_a_listed_broker_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let group = StrBytes::from_static_str("g");
    for version in 0..=3 {
        let request = FindCoordinatorRequest::default().with_key(group.clone());
        let response = client.call(version, &request).await;
        assert_eq!((response.error_code, response.node_id.0, &*response.host), (0, 1, "localhost"));
    }
    for version in 4..=6 {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.clone()]);
        let response = client.call(version, &request).await;
        let found = &response.coordinators[0];
        assert_eq!((found.error_code, found.node_id.0, &*found.key), (0, 1, "g"));
        let transaction = client.call(version, &request.with_key_type(1)).await;
        assert_eq!(transaction.coordinators[0].error_code, 42, "transactions come later");
    }
}

#[tokio::test]
async fn a_cluster_is_described_and_its_controllers_are_not_reached() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=2 {
        let response = client.call(version, &DescribeClusterRequest::default()).await;
        assert_eq!((response.error_code, response.brokers.len(), response.controller_id.0), (0, 1, 1));
        assert_eq!(&*response.cluster_id, harness.cluster.id.as_str());
    }
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    assert_eq!(client.call(1, &controllers).await.error_code, 114);
}

#[tokio::test]
async fn a_topic_that_is_named_often_is_described_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 4).await;
    for version in 0..=13 {
        let response = client.call(version, &ask(&["t", "u", "t", "t"])).await;
        let names: Vec<_> = response.topics.iter().map(|topic| topic.name.clone()).collect();
        assert_eq!(names, [Some(name("t")), Some(name("u"))], "version {version}");
    }
}

#[tokio::test]
async fn a_client_that_creates_topics_in_a_loop_stops_at_the_limit_of_its_cluster() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::PartitionsMax, 4)]).await;
    let mut client = harness.client().await;
    assert_eq!(codes(&client.call(12, &ask(&["a", "b", "c", "d", "e", "f"])).await), [0, 0, 0, 0, 44, 44]);
    assert_eq!(codes(&client.call(12, &ask(&["a", "g"])).await), [0, 44]);
    let all = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(all.topics.len(), 4);
}
