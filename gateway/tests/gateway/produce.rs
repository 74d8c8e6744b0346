//! Produce: what is refused, what an owner may answer, and what the client is told.

use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::{AppendError, Compression, Unavailable};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, ProduceResponse, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::support::{Client, Harness, batch, batch_with_key};

pub(crate) fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// One batch of so many records for one partition, acks=all.
pub(crate) fn produce(topic: &str, partition: i32, records: u32) -> ProduceRequest {
    produce_bytes(topic, partition, Some(batch(records)))
}

pub(crate) fn produce_bytes(topic: &str, partition: i32, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

pub(crate) fn code(response: &ProduceResponse) -> i16 {
    response.responses[0].partition_responses[0].error_code
}

/// Creates a topic; its id.
pub(crate) async fn topic(client: &mut Client, topic: &str, partitions: i32) -> Uuid {
    topic_with(client, topic, partitions, &[]).await
}

pub(crate) async fn topic_with(
    client: &mut Client,
    topic: &str,
    partitions: i32,
    configs: &[(&'static str, &'static str)],
) -> Uuid {
    let config = |(name, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.iter().map(config).collect());
    let response = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    response.topics[0].topic_id
}

#[tokio::test]
async fn every_served_version_appends_and_answers_with_the_offset() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let id = topic(&mut client, "t", 1).await;
    for (appended, version) in (3..=13).enumerate() {
        let mut request = produce("t", 0, 2);
        if version >= 13 {
            request.topic_data[0].topic_id = id;
        }
        let response = client.call(version, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (0, 2 * appended as i64),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_topic_or_partition_that_does_not_exist_is_unknown() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    assert_eq!(code(&client.call(9, &produce("nope", 0, 1)).await), 3);
    assert_eq!(code(&client.call(9, &produce("t", 1, 1)).await), 3);
    assert_eq!(code(&client.call(9, &produce("t", -1, 1)).await), 3);
    let mut by_id = produce("t", 0, 1);
    by_id.topic_data[0].topic_id = Uuid::from_u128(5);
    assert_eq!(code(&client.call(13, &by_id).await), 100);
    assert_eq!(harness.storage.submitted_count(), 0);
}

#[tokio::test]
async fn a_bad_partition_does_not_spoil_a_good_one() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 2).await;
    let mut request = produce("t", 0, 1);
    let mut damaged = batch(1).to_vec();
    damaged[40] ^= 1;
    let bad = PartitionProduceData::default().with_index(1).with_records(Some(damaged.into()));
    request.topic_data[0].partition_data.push(bad);
    let response = client.call(9, &request).await;
    let partitions = &response.responses[0].partition_responses;
    assert_eq!((partitions[0].error_code, partitions[1].error_code), (0, 2));
    assert_eq!(partitions[1].error_message.as_deref(), Some("batch checksum does not match"));
}

#[tokio::test]
async fn acks_other_than_0_1_and_all_are_refused() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (acks, expected) in [(1, 0), (-1, 0), (2, 21), (-2, 21)] {
        assert_eq!(code(&client.call(9, &produce("t", 0, 1).with_acks(acks)).await), expected, "acks {acks}");
    }
}

#[tokio::test]
async fn a_transactional_id_is_an_invalid_request() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let id = TransactionalId(StrBytes::from_static_str("tx"));
    let request = produce("t", 0, 1).with_transactional_id(Some(id.clone()));
    assert_eq!(code(&client.call(9, &request).await), 42);
    let init = client.call(4, &InitProducerIdRequest::default().with_transactional_id(Some(id))).await;
    assert_eq!((init.error_code, init.producer_id.0, init.producer_epoch), (42, -1, -1));
}

#[tokio::test]
async fn a_batch_beyond_max_message_bytes_is_too_large() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic_with(&mut client, "t", 1, &[("max.message.bytes", "70")]).await;
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
    assert_eq!(code(&client.call(9, &produce("t", 0, 2)).await), 10);
}

#[tokio::test]
async fn empty_records_are_corrupt() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    assert_eq!(code(&client.call(9, &produce_bytes("t", 0, None)).await), 2);
    assert_eq!(code(&client.call(9, &produce_bytes("t", 0, Some(Bytes::new()))).await), 2);
}

#[tokio::test]
async fn what_the_owner_answers_reaches_the_client() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (error, expected) in [
        (AppendError::NotOwner, 6),
        (AppendError::ProducerFenced, 47),
        (AppendError::OutOfOrderSequence, 45),
        (AppendError::OldDuplicate, 46),
    ] {
        harness.storage.fail_appends(error);
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), expected, "{error:?}");
    }
}

#[tokio::test]
async fn an_owner_without_room_is_a_retriable_error() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.fail_reservations(Unavailable::Refused);
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 6);
    let init = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).await;
    assert_eq!(init.error_code, 15);
}

#[tokio::test]
async fn a_partition_that_is_not_durable_in_time_times_out_and_the_others_are_answered() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 2).await;
    harness.storage.hold_appends();
    let mut request = produce("t", 0, 1).with_timeout_ms(300);
    let second = PartitionProduceData::default().with_index(1).with_records(Some(batch(1)));
    request.topic_data[0].partition_data.push(second);
    let sent = client.send(9, &request).await;
    harness.storage.submitted(2).await;
    harness.storage.release(0);
    let response = client.receive::<ProduceRequest>(9, sent).await;
    let mut codes: Vec<i16> =
        response.responses[0].partition_responses.iter().map(|entry| entry.error_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 7]);
}

#[tokio::test]
async fn an_owner_that_dies_leaves_the_outcome_unknown() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let sent = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(1).await;
    harness.storage.lose(0);
    assert_eq!(code(&client.receive::<ProduceRequest>(9, sent).await), 7);
}

#[tokio::test]
async fn an_idempotent_producer_gets_an_id() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 0..=5 {
        let init = client.call(version, &InitProducerIdRequest::default().with_transactional_id(None)).await;
        assert_eq!(
            (init.error_code, init.producer_id.0, init.producer_epoch),
            (0, 4711, 0),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn the_owner_learns_who_asks() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(12, &MetadataRequest::default()).await;
    client.call(9, &produce("t", 0, 1)).await;
    let caller = harness.storage.last_caller().expect("a reservation was asked for");
    assert_eq!(caller.cluster, harness.cluster.id);
    assert_eq!(&*caller.principal, "arn:aws:iam::123456789012:user/admin");
    assert_eq!(&*caller.client_id, "test");
    assert!(caller.client_host.is_loopback());
}

#[tokio::test]
async fn a_compacted_topic_takes_records_with_keys_only_under_every_codec() {
    const INVALID_RECORD: i16 = 87;
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic_with(&mut client, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    topic(&mut client, "plain", 1).await;
    for number in 0..=4 {
        let codec = Compression::of_attributes(number).expect("a codec");
        for (topic, key, expected) in
            [("compacted", Some("k"), 0), ("compacted", None, INVALID_RECORD), ("plain", None, 0)]
        {
            let response = client.call(9, &produce_bytes(topic, 0, Some(batch_with_key(key, codec)))).await;
            assert_eq!(code(&response), expected, "{topic} {key:?} {codec:?}");
        }
    }
    let response = client.call(9, &produce("compacted", 0, 3)).await;
    let text = response.responses[0].partition_responses[0].error_message.clone().expect("it says why");
    assert!(text.starts_with("Compacted topic cannot accept message without key"), "{text}");
}

/// Sizes are heard of every few seconds, so it is a matter of time.
#[tokio::test]
async fn a_full_partition_of_a_compacted_topic_takes_no_more_until_its_limit_is_raised() {
    const THROTTLING_QUOTA_EXCEEDED: i16 = 89;
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::CompactedPartitionBytesMax, 1024)]).await;
    let mut client = harness.client().await;
    topic_with(&mut client, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    let request =
        produce_bytes("compacted", 0, Some(batch_with_key(Some(&"k".repeat(600)), Compression::None)));
    let refused = loop {
        let response = client.call(9, &request).await;
        if code(&response) != 0 {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(code(&refused), THROTTLING_QUOTA_EXCEEDED);
    let text = refused.responses[0].partition_responses[0].error_message.clone().expect("it says why");
    assert!(text.ends_with("it would exceed its limit of 1024 (compacted_partition_bytes_max)"), "{text}");
    harness.set_quotas(&[(QuotaKey::CompactedPartitionBytesMax, 1 << 30)]).await;
    while code(&client.call(9, &request).await) != 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
