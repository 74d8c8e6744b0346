//! DescribeConfigs: the configs of topics. Brokers have none to show, as on MSK Serverless.

use std::collections::HashSet;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::record::TopicRecord;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{Call, message, text};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_config::{self, ConfigKey};
use crate::topic_creation::TopicRefused;

/// `resource_type` of a topic.
pub(super) const TOPIC: i8 = 2;
/// `resource_type` of a broker.
pub(super) const BROKER: i8 = 4;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let names = request.resources.iter().filter(|resource| resource.resource_type == TOPIC);
    let view = session.view_with(names.map(|resource| &*resource.resource_name)).await;
    let mut results = Vec::with_capacity(request.resources.len());
    // Described once, however often it is named: the answer to a small request must not grow without bound.
    let mut seen = HashSet::new();
    for resource in &request.resources {
        if !seen.insert((resource.resource_type, &resource.resource_name)) {
            continue;
        }
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let view = view
            .as_deref()
            .map_err(|refusal| TopicRefused::new(*refusal, "the cluster's metadata is not available"));
        results.push(match view.and_then(|view| describe(session, view, resource)) {
            Ok(topic) => {
                result.with_error_message(None).with_configs(entries(call, &request, resource, &topic))
            }
            Err(refused) => result
                .with_error_code(error_code::of_refusal(refused.refusal))
                .with_error_message(Some(message(refused.text))),
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

fn describe(
    session: &Session,
    view: &ClusterView,
    resource: &DescribeConfigsResource,
) -> Result<std::sync::Arc<TopicRecord>, TopicRefused> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC if !session.may_on_topic(view, rights::DESCRIBE_CONFIGS, name) => {
            Err(TopicRefused::new(Refusal::TopicDenied, "Authorization failed."))
        }
        TOPIC => view
            .topic(name)
            .cloned()
            .ok_or_else(|| TopicRefused::new(Refusal::UnknownTopic, format!("Topic {name} does not exist."))),
        BROKER if !session.may_on_cluster(view, rights::DESCRIBE_BROKER_CONFIGS) => {
            Err(TopicRefused::new(Refusal::ClusterDenied, "Cluster authorization failed."))
        }
        BROKER => {
            let text = "the brokers of this cluster have no configs of their own";
            Err(TopicRefused::new(Refusal::InvalidRequest, text))
        }
        _ => Err(TopicRefused::new(Refusal::InvalidRequest, "only configs of topics can be described")),
    }
}

fn entries(
    call: &Call,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    topic: &TopicRecord,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |key: &&'static ConfigKey| match &resource.configuration_keys {
        Some(keys) => keys.iter().any(|wanted| &**wanted == key.name),
        None => true,
    };
    topic_config::CONFIG_KEYS.iter().filter(wanted).map(|key| entry(call, request, topic, key)).collect()
}

fn entry(
    call: &Call,
    request: &DescribeConfigsRequest,
    topic: &TopicRecord,
    key: &'static ConfigKey,
) -> DescribeConfigsResourceResult {
    let shown = topic_config::shown(&topic.configs, key);
    let mut entry = DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(Some(text(shown.value)))
        .with_read_only(shown.read_only)
        .with_config_source(shown.source);
    if request.include_synonyms {
        let synonym = |(value, source): (&str, i8)| {
            DescribeConfigsSynonym::default()
                .with_name(text(key.name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        entry.synonyms = topic_config::values(&topic.configs, key).into_iter().map(synonym).collect();
    }
    if call.version >= 3 {
        entry.config_type = key.kind.wire();
        entry.documentation = request.include_documentation.then(|| text(key.documentation));
    }
    entry
}
