//! CreateTopics. The replication factor asked for is ignored, as on MSK Serverless: three copies are what there is.

use std::collections::{BTreeMap, HashMap};

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::record::TopicRecord;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{Call, message, text};
use crate::authorize::rights;
use crate::brokers::BROKER_IDS;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_config;
use crate::topic_creation::{self, NewTopic, TopicRefused};
use crate::topic_operation;

/// "As many as the broker likes."
const DEFAULT: i32 = -1;
/// How many partitions that is.
const PARTITIONS_DEFAULT: u32 = 1;
/// From this version on the answer describes the topic.
const DESCRIBED_FROM: i16 = 5;

/// A topic that was made, or would have been.
enum Created {
    Made(std::sync::Arc<TopicRecord>),
    Valid(NewTopic),
}

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let begun = topic_operation::begin(session, call, Some(request.timeout_ms)).await;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    let mut results = Vec::with_capacity(counts.len());
    for topic in &request.topics {
        match counts.get(&**topic.name) {
            // Named once.
            Some(1) => results.push(of_topic(session, call, topic, &request, &begun).await),
            // Named more than once: refused once.
            Some(_) => {
                counts.remove(&**topic.name);
                let text = "The request contains several topics of this name.";
                results.push(refused(topic, &TopicRefused::new(Refusal::InvalidRequest, text)));
            }
            None => {}
        }
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn of_topic(
    session: &Session,
    call: &Call,
    topic: &CreatableTopic,
    request: &CreateTopicsRequest,
    begun: &Result<(), TopicRefused>,
) -> CreatableTopicResult {
    let view = match topic_operation::view(session, begun).await {
        Ok(view) => view,
        Err(failure) => return refused(topic, &failure),
    };
    match create(session, call, &view, topic, request).await {
        Ok(created) => accepted(session, call, &view, topic, &created),
        Err(failure) => refused(topic, &failure),
    }
}

async fn create(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    topic: &CreatableTopic,
    request: &CreateTopicsRequest,
) -> Result<Created, TopicRefused> {
    if !session.may_on_topic(view, rights::CREATE_TOPICS, &topic.name) {
        return Err(TopicRefused::new(Refusal::TopicDenied, "Authorization failed."));
    }
    let new = parse(topic)?;
    topic_creation::check(session, view, &new)?;
    if request.validate_only {
        return Ok(Created::Valid(new));
    }
    topic_operation::change_partitions(session, call, Some(request.timeout_ms), new.partitions).await?;
    topic_creation::create(session, new).await.map(Created::Made)
}

fn parse(topic: &CreatableTopic) -> Result<NewTopic, TopicRefused> {
    if !topic.assignments.is_empty() {
        let text = "replica assignments cannot be chosen on this cluster";
        return Err(TopicRefused::new(Refusal::InvalidRequest, text));
    }
    if topic.replication_factor != DEFAULT as i16 && topic.replication_factor < 1 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(TopicRefused::new(Refusal::InvalidReplicationFactor, text));
    }
    let partitions = match topic.num_partitions {
        DEFAULT => PARTITIONS_DEFAULT,
        count => u32::try_from(count).unwrap_or(0),
    };
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let text = format!("Null value not supported for topic configs: {}", config.name);
            return Err(TopicRefused::new(Refusal::InvalidConfig, text));
        };
        configs.insert(config.name.to_string(), value.trim().to_owned());
    }
    Ok(NewTopic { name: topic.name.to_string(), partitions, configs })
}

fn accepted(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    topic: &CreatableTopic,
    created: &Created,
) -> CreatableTopicResult {
    let (partitions, configs) = match created {
        Created::Made(record) => (record.partitions, &record.configs),
        Created::Valid(new) => (new.partitions, &new.configs),
    };
    let mut result = CreatableTopicResult::default().with_name(topic.name.clone()).with_error_message(None);
    if let (Created::Made(record), 7..) = (created, call.version) {
        result.topic_id = record.id.uuid();
    }
    if call.version < DESCRIBED_FROM {
        return result;
    }
    if session.sees_topic(view, rights::DESCRIBE_CONFIGS, &topic.name) {
        result
            .with_num_partitions(partitions as i32)
            .with_replication_factor(BROKER_IDS.len() as i16)
            .with_configs(Some(config_entries(configs)))
    } else {
        result
            .with_topic_config_error_code(error_code::of_refusal(Refusal::TopicDenied))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(None)
    }
}

fn config_entries(configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let entry = |key: &'static topic_config::ConfigKey| {
        let shown = topic_config::shown(configs, key);
        CreatableTopicConfigs::default()
            .with_name(text(key.name))
            .with_value(Some(text(shown.value)))
            .with_read_only(shown.read_only)
            .with_config_source(shown.source)
    };
    topic_config::CONFIG_KEYS.iter().map(entry).collect()
}

fn refused(topic: &CreatableTopic, refused: &TopicRefused) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(error_code::of_refusal(refused.refusal))
        .with_error_message(Some(message(refused.text.clone())))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(None)
}
