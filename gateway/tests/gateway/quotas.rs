//! Quotas as clients meet them (`gateway/PROTOCOL.md` §9).

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use headgate_gateway::GatewayConfig;
use headgate_metadata::audit::AuditResult;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::{Charged, Direction, Flow};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, GroupId, HeartbeatRequest,
    MetadataRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::authentication::{begin_msk_iam, msk_iam};
use crate::fetch::fetch;
use crate::groups::{commit, join};
use crate::produce::{code, name, produce, produce_bytes, topic};
use crate::support::{Client, Harness, batch, batch_of_bytes};

/// So little that a client is told to hold back as long as it may be told.
const HARDLY: f64 = 0.01;
/// The longest that is.
const MUTE_MAX_MS: i32 = 10_000;

/// A gateway whose cluster has hardly anything of this flow, and a topic.
async fn with_scarce(flow: Flow, rate: f64) -> Harness {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    harness.storage.make_scarce(flow, rate);
    harness
}

/// Produces until the gateway has heard that there is nothing left.
async fn produce_until_throttled(client: &mut Client) -> ProduceResponse {
    loop {
        let answer = client.call(9, &produce("t", 0, 1)).await;
        assert_eq!(code(&answer), 0, "to be slowed down is no error");
        if answer.throttle_time_ms > 0 {
            return answer;
        }
    }
}

/// Requires that the connection is left unread: what it sent is not answered while another cluster's client is served.
async fn expect_left_unread(harness: &Harness, client: &mut Client) {
    client.send(12, &MetadataRequest::default()).await;
    let mut other = harness.tls_bound("127.0.0.1").await;
    assert_eq!(msk_iam(&mut other, &harness.login()).await.error_code, 0);
    for _ in 0..20 {
        other.call(12, &MetadataRequest::default()).await;
    }
    assert!(client.receive_frame().now_or_never().is_none(), "an answer came");
}

#[tokio::test]
async fn requests_over_the_quota_are_answered_with_a_throttle_time_and_then_left_unread() {
    let harness = Harness::start().await;
    harness.storage.make_scarce(Flow::Requests, HARDLY);
    let mut client = harness.client().await;
    let mut told = 0;
    while told == 0 {
        told = client.call(12, &MetadataRequest::default()).await.throttle_time_ms;
    }
    assert_eq!(told, MUTE_MAX_MS);
    expect_left_unread(&harness, &mut client).await;
}

#[tokio::test]
async fn bytes_in_over_the_quota_slow_producers_and_nobody_else() {
    let harness = with_scarce(Flow::BytesIn, HARDLY).await;
    let (mut producer, mut other) = (harness.client().await, harness.client().await);
    assert_eq!(produce_until_throttled(&mut producer).await.throttle_time_ms, MUTE_MAX_MS);
    assert_eq!(other.call(12, &MetadataRequest::default()).await.throttle_time_ms, 0);
    let fetched = other.call(12, &fetch("t", 0, 0, 0)).await;
    assert_eq!((fetched.throttle_time_ms, fetched.responses.len()), (0, 1));
    expect_left_unread(&harness, &mut producer).await;
}

#[tokio::test]
async fn another_connection_of_a_cluster_over_its_quota_waits_its_turn() {
    let harness = with_scarce(Flow::BytesIn, HARDLY).await;
    produce_until_throttled(&mut harness.client().await).await;
    let submitted = harness.storage.submitted_count();
    let mut second = harness.client().await;
    second.send(9, &produce("t", 0, 1).with_acks(0)).await;
    expect_left_unread(&harness, &mut second).await;
    assert_eq!(harness.storage.submitted_count(), submitted, "a new connection has no tokens of its own");
}

#[tokio::test]
async fn a_full_fetch_over_the_quota_names_no_partition_and_begins_no_session() {
    let harness = with_scarce(Flow::BytesOut, HARDLY).await;
    let mut client = harness.client().await;
    client.call(9, &produce("t", 0, 1)).await;
    let answer = loop {
        let answer = client.call(12, &fetch("t", 0, 0, 0).with_session_epoch(0)).await;
        if answer.throttle_time_ms > 0 {
            break answer;
        }
        assert_eq!(answer.responses.len(), 1);
    };
    assert_eq!((answer.error_code, answer.session_id, answer.responses.len()), (0, 0, 0));
    expect_left_unread(&harness, &mut client).await;
}

#[tokio::test]
async fn an_incremental_fetch_over_the_quota_is_empty_and_its_session_goes_on() {
    let harness = with_scarce(Flow::BytesOut, HARDLY).await;
    let mut client = harness.client().await;
    client.call(9, &produce("t", 0, 1)).await;
    let begun = client.call(12, &fetch("t", 0, 0, 0).with_session_epoch(0)).await;
    assert!(begun.session_id != 0);
    let mut epoch = 0;
    let answer = loop {
        epoch += 1;
        let next = fetch("t", 0, 0, 0).with_session_id(begun.session_id).with_session_epoch(epoch);
        let answer = client.call(12, &next).await;
        if answer.throttle_time_ms > 0 {
            break answer;
        }
    };
    assert_eq!((answer.error_code, answer.session_id, answer.responses.len()), (0, begun.session_id, 0));
}

#[tokio::test]
async fn a_silent_coordinator_stops_nobody() {
    let harness = Harness::start().await;
    harness.storage.silence_quotas();
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for _ in 0..5 {
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
        assert_eq!(client.call(12, &fetch("t", 0, 0, 0)).await.error_code, 0);
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_no_answer_and_an_orderly_end() {
    let harness = Harness::start().await;
    let quota = QuotaKey::ConnectionsMax;
    harness.storage.refuse_charges(quota, None);
    let mut client = harness.tls("localhost").await;
    begin_msk_iam(&mut client, &harness.login()).await;
    client.expect_end().await;
    let audit = harness.audit();
    assert!(
        audit.iter().all(|record| record.result == AuditResult::Allowed),
        "a limit is no failed login: {audit:?}"
    );
    harness.storage.grant_charges();
    let mut client = harness.tls("localhost").await;
    assert_eq!(msk_iam(&mut client, &harness.login()).await.error_code, 0);
}

#[tokio::test]
async fn connections_are_charged_and_reported_as_they_come_and_go() {
    let harness = Harness::start().await;
    let first = harness.client().await;
    let mut second = harness.client().await;
    second.call(12, &MetadataRequest::default()).await;
    harness.storage.reported_connections(2).await;
    drop(first);
    harness.storage.reported_connections(1).await;
    let connections = harness.storage.charges().iter().filter(|what| **what == Charged::Connection).count();
    assert_eq!(connections, 2);
}

fn new(text: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(name(text)).with_num_partitions(2).with_replication_factor(-1)
}

#[tokio::test]
async fn topic_operations_over_the_quota_are_told_when_to_come_again() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let quota = QuotaKey::TopicOperationsPerSecond;
    harness.storage.refuse_charges(quota, Some(Duration::from_millis(2_500)));
    // The last: the time limit of versions that have no code for it is used up before they are answered.
    let create = |version: i16| {
        let limit = if version >= 6 { 30_000 } else { 2 };
        CreateTopicsRequest::default().with_topics(vec![new("u")]).with_timeout_ms(limit)
    };
    for (version, expected) in [(7, 89), (6, 89), (5, 7)] {
        let mut client = harness.client().await;
        let answer = client.call(version, &create(version)).await;
        assert_eq!(
            (answer.topics[0].error_code, answer.throttle_time_ms),
            (expected, 2_500),
            "version {version}"
        );
    }
    let mut client = harness.client().await;
    let grow = CreatePartitionsTopic::default().with_name(name("t")).with_count(2);
    let grown = client.call(3, &CreatePartitionsRequest::default().with_topics(vec![grow])).await;
    assert_eq!((grown.results[0].error_code, grown.throttle_time_ms), (89, 2_500));
    let mut client = harness.client().await;
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    let deleted = client.call(5, &delete).await;
    assert_eq!((deleted.responses[0].error_code, deleted.throttle_time_ms), (89, 2_500));
    let text = "The quota of 2 topic operations a second (topic_operations_per_second) is used up; try again in 2.5 s.";
    assert_eq!(deleted.responses[0].error_message.as_deref(), Some(text));
}

#[tokio::test]
async fn partitions_are_charged_as_they_are_created_and_deleted() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 3).await;
    let grow = CreatePartitionsTopic::default().with_name(name("t")).with_count(5);
    client.call(3, &CreatePartitionsRequest::default().with_topics(vec![grow])).await;
    client.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![name("t")])).await;
    let changes: Vec<u32> = harness
        .storage
        .charges()
        .iter()
        .filter_map(|what| match what {
            Charged::PartitionChanges { partitions } => Some(*partitions),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [3, 2, 5]);
    let operations =
        harness.storage.charges().iter().filter(|what| **what == Charged::TopicOperation).count();
    assert_eq!(operations, 3);
}

#[tokio::test]
async fn a_new_group_over_the_limit_is_refused_and_the_old_ones_go_on() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::GroupsMax, 1)]).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    assert_eq!(client.call(8, &commit("t", 0, 5)).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(client.call(3, &join("")).await.error_code, 0, "the group is there");
    let other = GroupId(StrBytes::from_static_str("h"));
    assert_eq!(client.call(3, &join("").with_group_id(other.clone())).await.error_code, 81);
    let simple = commit("t", 0, 5).with_group_id(other);
    assert_eq!(client.call(8, &simple).await.topics[0].partitions[0].error_code, 81);
}

#[tokio::test]
async fn a_batch_over_the_clusters_limit_is_too_large() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::MessageBytesMax, 1024)]).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let answer = client.call(9, &produce_bytes("t", 0, Some(batch_of_bytes(2_000)))).await;
    assert_eq!(code(&answer), 10);
    let text = answer.responses[0].partition_responses[0].error_message.as_deref().unwrap_or_default();
    assert!(text.contains("message_bytes_max of 1024"), "{text}");
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
}

#[tokio::test]
async fn a_fetch_is_clamped_to_the_clusters_limit() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::FetchBytesMax, 1024)]).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for _ in 0..3 {
        client.call(9, &produce_bytes("t", 0, Some(batch_of_bytes(600)))).await;
    }
    let answer = client.call(12, &fetch("t", 0, 0, 0)).await;
    let records = answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len);
    assert!((600..1024).contains(&records), "{records}");
}

#[tokio::test]
async fn a_partition_borrows_until_its_cluster_has_nothing_to_lend() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.overload_partitions(Duration::from_secs(3));
    assert_eq!(client.call(9, &produce("t", 0, 1)).await.throttle_time_ms, 0);
    assert_eq!(harness.storage.partition_charges(), []);
    harness.storage.make_scarce(Flow::BytesIn, 1e9);
    assert_eq!(produce_until_throttled(&mut client).await.throttle_time_ms, 3_000);
    let charges = harness.storage.partition_charges();
    let charged = (charges[0].direction, charges[0].bytes, charges[0].limit);
    assert_eq!(charged, (Direction::In, batch(1).len() as u64, 5 << 20));
}

#[tokio::test]
async fn an_overloaded_node_slows_a_cluster_that_has_tokens() {
    let node = std::num::NonZeroU64::new(1);
    let config = GatewayConfig { node_requests_per_second: node, ..GatewayConfig::default() };
    let harness = Harness::with(config).await;
    let mut client = harness.client().await;
    while client.call(12, &MetadataRequest::default()).await.throttle_time_ms == 0 {}
}

#[tokio::test]
async fn a_member_is_never_held_longer_than_a_third_of_its_session() {
    let harness = Harness::start().await;
    harness.storage.make_scarce(Flow::Requests, HARDLY);
    let mut client = harness.client().await;
    let joined = client.call(3, &join("").with_session_timeout_ms(6_000)).await;
    assert_eq!(joined.error_code, 0);
    let beat = HeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_member_id(StrBytes::from_static_str("member-1"))
        .with_generation_id(1);
    let mut told = joined.throttle_time_ms;
    while told == 0 {
        told = client.call(3, &beat).await.throttle_time_ms;
    }
    assert_eq!(told, 2_000);
    assert_eq!(client.call(3, &beat).await.error_code, 0, "it is read after that time, whatever is owed");
}
