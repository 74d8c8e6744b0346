//! Records: written, read, and where they are.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, TransactionalId,
};

use super::super::row::{Asked, Seen};
use super::{seen, text, topic_name};
use crate::support::{Client, batch};

pub(crate) async fn produce(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    produce_with(client, version, asked, None).await
}

pub(crate) async fn produce_in_transaction(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    produce_with(client, version, asked, Some(TransactionalId(text("tx")))).await
}

async fn produce_with(
    client: &mut Client,
    version: i16,
    asked: &Asked,
    transactional_id: Option<TransactionalId>,
) -> Vec<Seen> {
    let data = |(name, id): (&String, &uuid::Uuid)| {
        let data = PartitionProduceData::default().with_records(Some(batch(1)));
        let topic = TopicProduceData::default().with_partition_data(vec![data]);
        if version >= 13 { topic.with_topic_id(*id) } else { topic.with_name(topic_name(name)) }
    };
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_transactional_id(transactional_id)
        .with_topic_data(asked.names.iter().zip(&asked.ids).map(data).collect());
    let response = client.call(version, &request).await;
    response.responses.iter().map(|topic| seen(topic.partition_responses[0].error_code)).collect()
}

pub(crate) async fn fetch(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |(name, id): (&String, &uuid::Uuid)| {
        let partition = FetchPartition::default().with_partition_max_bytes(1024);
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        if version >= 13 { topic.with_topic_id(*id) } else { topic.with_topic(topic_name(name)) }
    };
    let request = FetchRequest::default()
        .with_max_bytes(1024)
        .with_session_epoch(-1)
        .with_topics(asked.names.iter().zip(&asked.ids).map(topic).collect());
    let response = client.call(version, &request).await;
    response.responses.iter().map(|topic| seen(topic.partitions[0].error_code)).collect()
}

pub(crate) async fn list_offsets(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |name| {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        ListOffsetsTopic::default().with_name(name).with_partitions(vec![partition])
    };
    let request = ListOffsetsRequest::default().with_topics(asked.topics().into_iter().map(topic).collect());
    let response = client.call(version, &request).await;
    response.topics.iter().map(|topic| seen(topic.partitions[0].error_code)).collect()
}

pub(crate) async fn offset_for_leader_epoch(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |name| {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(1);
        OffsetForLeaderTopic::default().with_topic(name).with_partitions(vec![partition])
    };
    let topics = asked.topics().into_iter().map(topic).collect();
    let response = client.call(version, &OffsetForLeaderEpochRequest::default().with_topics(topics)).await;
    response.topics.iter().map(|topic| seen(topic.partitions[0].error_code)).collect()
}
