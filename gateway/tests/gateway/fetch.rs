//! Fetch, ListOffsets and OffsetForLeaderEpoch.

use headgate_storage_client::ReadError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use uuid::Uuid;

use crate::produce::{name, produce, topic};
use crate::support::{Harness, batch};

/// One partition, at least one byte, at most so long.
pub(crate) fn fetch(topic: &str, partition: i32, offset: i64, wait_ms: i32) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1024 * 1024);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1024 * 1024)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

#[tokio::test]
async fn every_version_reads_the_batch_at_its_offset() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let id = topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 3)).await;
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0, 0);
        request.topics[0].topic_id = id;
        let response = client.call(version, &request).await;
        let partition = &response.responses[0].partitions[0];
        let records = partition.records.as_ref().expect("records");
        assert_eq!((partition.error_code, partition.high_watermark), (0, 3), "version {version}");
        assert_eq!(records[61..], batch(3)[61..], "version {version}");
    }
}

#[tokio::test]
async fn a_fetch_at_the_end_waits_for_data_and_then_brings_it() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let waiting = client.send(12, &fetch("t", 0, 0, 60_000)).await;
    harness.storage.awaited().await;
    harness.client().await.call(9, &produce("t", 0, 1)).await;
    let response = client.receive::<FetchRequest>(12, waiting).await;
    assert!(response.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
}

#[tokio::test]
async fn a_fetch_that_finds_nothing_in_time_is_empty_and_no_error() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let response = client.call(12, &fetch("t", 0, 0, 20)).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 0));
    assert!(partition.records.as_ref().is_none_or(bytes::Bytes::is_empty));
}

#[tokio::test]
async fn an_error_is_told_at_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let mut request = fetch("t", 0, 0, 60_000);
    request.topics.push(fetch("nope", 0, 0, 0).topics.remove(0));
    let response = client.call(12, &request).await;
    let codes: Vec<i16> = response.responses.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(codes, [0, 3]);
    let response = client.call(12, &fetch("t", 0, 9, 60_000)).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 1, "beyond the end");
    let response = client.call(13, &fetch("t", 0, 0, 60_000)).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 100, "the nil id is nobody's");
}

#[tokio::test]
async fn what_the_owner_answers_reaches_the_client() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (error, code) in [
        (ReadError::NotOwner, 6),
        (ReadError::EpochAhead, 75),
        (ReadError::Unreadable, 56),
        (ReadError::Corrupt, 2),
    ] {
        harness.storage.fail_reads(error);
        let response = client.call(12, &fetch("t", 0, 0, 0)).await;
        assert_eq!(response.responses[0].partitions[0].error_code, code, "{error:?}");
    }
}

#[tokio::test]
async fn only_the_first_batch_may_exceed_max_bytes() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 1)).await;
    client.call(9, &produce("t", 0, 1)).await;
    let response = client.call(12, &fetch("t", 0, 0, 0).with_max_bytes(1)).await;
    let records = response.responses[0].partitions[0].records.clone().expect("records");
    assert_eq!(records.len(), batch(1).len());
}

#[tokio::test]
async fn a_session_names_partitions_once_and_answers_only_news() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 2).await;
    let mut full = fetch("t", 0, 0, 0).with_session_epoch(0);
    let second = full.topics[0].partitions[0].clone().with_partition(1);
    full.topics[0].partitions.push(second);
    let opened = client.call(12, &full).await;
    assert_ne!(opened.session_id, 0);
    assert_eq!(opened.responses[0].partitions.len(), 2, "a full answer names every partition");
    let next = |epoch| {
        FetchRequest::default()
            .with_session_id(opened.session_id)
            .with_session_epoch(epoch)
            .with_max_bytes(1024 * 1024)
    };
    assert!(client.call(12, &next(1)).await.responses.is_empty(), "nothing is news");
    client.call(9, &produce("t", 1, 1)).await;
    let news = client.call(12, &next(2)).await;
    assert_eq!(news.responses[0].partitions.len(), 1);
    assert_eq!(news.responses[0].partitions[0].partition_index, 1);
    assert_eq!(client.call(12, &next(2)).await.error_code, 71, "an epoch is used once");
}

#[tokio::test]
async fn a_session_of_another_connection_is_not_found() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let id = client.call(12, &fetch("t", 0, 0, 0).with_session_epoch(0)).await.session_id;
    let stolen = FetchRequest::default().with_session_id(id).with_session_epoch(1);
    let response = harness.client().await.call(12, &stolen).await;
    assert_eq!((response.error_code, response.session_id), (70, 0));
}

#[tokio::test]
async fn bytes_are_counted_when_they_were_sent_and_reported_to_the_owner() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 1)).await;
    for _ in 0..3 {
        client.call(12, &fetch("t", 0, 0, 0)).await;
    }
    let expected = 3 * batch(1).len() as u64;
    harness.storage.reported(expected).await;
    assert_eq!(harness.storage.sent(), expected);
}

fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![wanted]);
    ListOffsetsRequest::default().with_topics(vec![topic])
}

#[tokio::test]
async fn offsets_are_listed_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 3)).await;
    for version in 1..=10 {
        for (timestamp, expected) in [(-2, 0), (-1, 3), (1_000, -1)] {
            let response = client.call(version, &list_offsets("t", 0, timestamp)).await;
            let partition = &response.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.offset), (0, expected), "version {version}");
        }
    }
}

#[tokio::test]
async fn special_timestamps_are_served_from_the_version_that_has_them() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9)] {
        let before = client.call(since - 1, &list_offsets("t", 0, timestamp)).await;
        assert_eq!(before.topics[0].partitions[0].error_code, 35, "{timestamp}");
        let from = client.call(since, &list_offsets("t", 0, timestamp)).await;
        assert_eq!(from.topics[0].partitions[0].error_code, 0, "{timestamp}");
    }
    assert_eq!(client.call(10, &list_offsets("t", 0, -6)).await.topics[0].partitions[0].error_code, 35);
    assert_eq!(client.call(10, &list_offsets("nope", 0, -1)).await.topics[0].partitions[0].error_code, 3);
}

#[tokio::test]
async fn an_epochs_end_is_found_and_that_of_no_epoch_is_not() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 3)).await;
    for version in 2..=4 {
        for (epoch, expected) in [(1, (0, 1, 3)), (0, (0, -1, -1)), (-1, (0, -1, -1))] {
            let wanted = OffsetForLeaderPartition::default().with_leader_epoch(epoch);
            let topic = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![wanted]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            let response = client.call(version, &request).await;
            let partition = &response.topics[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.leader_epoch, partition.end_offset),
                expected,
                "{epoch}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_topic_id_looks_like_one_that_never_was() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let mut codes = Vec::new();
    let foreign = headgate_metadata::id::TopicId::from_random(77);
    let record = headgate_metadata::record::TopicRecord {
        id: foreign,
        name: "secret".into(),
        partitions: 1,
        slots: 8,
        created: headgate_metadata::id::TimestampMs::new(0),
        configs: std::collections::BTreeMap::new(),
    };
    headgate_metadata::topics::create(&*harness.store, harness.other.id, &record).await.expect("a new topic");
    for id in [foreign.uuid(), Uuid::from_u128(78)] {
        let mut request = fetch("t", 0, 0, 0);
        request.topics[0].topic_id = id;
        codes.push(client.call(13, &request).await.responses[0].partitions[0].error_code);
    }
    assert_eq!(codes, [100, 100]);
}
