//! Topics: described, created, changed and deleted, with their configs.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, MetadataResponse,
};

use super::super::row::{Asked, Seen};
use super::{listed, seen, text, topic_name};
use crate::support::Client;

/// `resource_type` of a topic and of a broker.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn codes(response: &MetadataResponse) -> Vec<Seen> {
    response.topics.iter().map(|topic| seen(topic.error_code)).collect()
}

fn by_name(asked: &Asked) -> MetadataRequest {
    let topic = |name| MetadataRequestTopic::default().with_name(Some(name));
    MetadataRequest::default().with_topics(Some(asked.topics().into_iter().map(topic).collect()))
}

pub(crate) async fn topics_by_name(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let mut request = by_name(asked);
    request.allow_auto_topic_creation = version < 4;
    codes(&client.call(version, &request).await)
}

pub(crate) async fn create_by_asking(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    codes(&client.call(version, &by_name(asked)).await)
}

/// Whoever may not see a topic is not told its name either.
pub(crate) async fn topics_by_id(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |id: &uuid::Uuid| MetadataRequestTopic::default().with_name(None).with_topic_id(*id);
    let topics = asked.ids.iter().map(topic).collect();
    let response = client.call(version, &MetadataRequest::default().with_topics(Some(topics))).await;
    for (topic, name) in response.topics.iter().zip(&asked.names) {
        let told = topic.name.as_ref().is_some_and(|told| told.as_str() == name);
        assert_eq!(told, topic.error_code == 0, "{topic:?}");
    }
    codes(&response)
}

pub(crate) async fn all_topics(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    // Before version 1 an empty list asks for all.
    let topics = (version == 0).then(Vec::new);
    let response = client.call(version, &MetadataRequest::default().with_topics(topics)).await;
    let found: Vec<String> =
        response.topics.iter().filter_map(|topic| Some(topic.name.as_ref()?.to_string())).collect();
    listed(asked, &found)
}

async fn create(client: &mut Client, version: i16, asked: &Asked) -> Vec<CreatableTopicResult> {
    let topic =
        |name| CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(3);
    let topics = asked.topics().into_iter().map(topic).collect();
    client.call(version, &CreateTopicsRequest::default().with_topics(topics)).await.topics
}

pub(crate) async fn create_topics(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    create(client, version, asked).await.iter().map(|topic| seen(topic.error_code)).collect()
}

/// From version 5 on the answer describes the topic, to whoever may see its configs.
pub(crate) async fn create_and_describe_topics(
    client: &mut Client,
    version: i16,
    asked: &Asked,
) -> Vec<Seen> {
    let of_topic = |topic: CreatableTopicResult| match (topic.error_code, topic.topic_config_error_code) {
        (0, 29) => {
            assert_eq!((topic.num_partitions, topic.replication_factor, topic.configs), (-1, -1, None));
            Seen::LeftOut
        }
        (code, 0) => {
            assert_eq!(topic.configs.is_some_and(|configs| !configs.is_empty()), code == 0);
            seen(code)
        }
        other => panic!("codes {other:?}"),
    };
    create(client, version, asked).await.into_iter().map(of_topic).collect()
}

pub(crate) async fn delete_topics(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let request = if version < 6 {
        DeleteTopicsRequest::default().with_topic_names(asked.topics())
    } else {
        let state = |name| DeleteTopicState::default().with_name(Some(name));
        DeleteTopicsRequest::default().with_topics(asked.topics().into_iter().map(state).collect())
    };
    let response = client.call(version, &request).await;
    response.responses.iter().map(|topic| seen(topic.error_code)).collect()
}

pub(crate) async fn delete_topics_by_id(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let state = |id: &uuid::Uuid| DeleteTopicState::default().with_name(None).with_topic_id(*id);
    let topics = asked.ids.iter().map(state).collect();
    let response = client.call(version, &DeleteTopicsRequest::default().with_topics(topics)).await;
    response.responses.iter().map(|topic| seen(topic.error_code)).collect()
}

pub(crate) async fn create_partitions(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    let topic = |name| CreatePartitionsTopic::default().with_name(name).with_count(2).with_assignments(None);
    let topics = asked.topics().into_iter().map(topic).collect();
    let response = client.call(version, &CreatePartitionsRequest::default().with_topics(topics)).await;
    response.results.iter().map(|topic| seen(topic.error_code)).collect()
}

async fn describe(client: &mut Client, version: i16, kind: i8, names: &[String]) -> Vec<Seen> {
    let resource = |name: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let resources = names.iter().map(resource).collect();
    let response = client.call(version, &DescribeConfigsRequest::default().with_resources(resources)).await;
    let of = |result: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResult| {
        assert_eq!(result.configs.is_empty(), result.error_code != 0);
        seen(result.error_code)
    };
    response.results.iter().map(of).collect()
}

pub(crate) async fn describe_configs(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    describe(client, version, TOPIC, &asked.names).await
}

pub(crate) async fn describe_broker_configs(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    describe(client, version, BROKER, &["1".to_owned()]).await
}

async fn alter(client: &mut Client, version: i16, kind: i8, names: &[String]) -> Vec<Seen> {
    let resource = |name: &String| {
        let config =
            AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000")));
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(topic_name(name).0)
            .with_configs(vec![config])
    };
    let resources = names.iter().map(resource).collect();
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let response = client.call(version, &request).await;
    response.responses.iter().map(|result| seen(result.error_code)).collect()
}

pub(crate) async fn alter_configs(client: &mut Client, version: i16, asked: &Asked) -> Vec<Seen> {
    alter(client, version, TOPIC, &asked.names).await
}

pub(crate) async fn alter_broker_configs(client: &mut Client, version: i16, _: &Asked) -> Vec<Seen> {
    alter(client, version, BROKER, &["1".to_owned()]).await
}
