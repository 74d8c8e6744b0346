//! IncrementalAlterConfigs: sets and removes configs of topics (KIP-339).

use std::collections::{BTreeMap, HashSet};

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::topics::{self, AlterConfigsError};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::describe_configs::{BROKER, TOPIC};
use super::{Call, message};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_config::{self, ConfigRefused, Moment};
use crate::topic_creation::TopicRefused;
use crate::topic_operation;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let begun = topic_operation::begin(session, call, None).await;
    let mut seen = HashSet::new();
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let altered = if seen.insert((resource.resource_type, &resource.resource_name)) {
            alter(session, resource, request.validate_only, &begun).await
        } else {
            Err(TopicRefused::new(Refusal::InvalidRequest, "Each resource must appear at most once."))
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(match altered {
            Ok(()) => response.with_error_message(None),
            Err(refused) => response
                .with_error_code(error_code::of_refusal(refused.refusal))
                .with_error_message(Some(message(refused.text))),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    session: &Session,
    resource: &AlterConfigsResource,
    validate_only: bool,
    begun: &Result<(), TopicRefused>,
) -> Result<(), TopicRefused> {
    let name = &*resource.resource_name;
    let view = topic_operation::view(session, begun).await?;
    may_alter(session, &view, resource)?;
    if view.topic(name).is_none() {
        return Err(unknown(name));
    }
    let changes = parse(&resource.configs)?;
    if validate_only {
        return Ok(());
    }
    let apply = |configs: &mut BTreeMap<String, String>| {
        for (name, value) in &changes {
            match value {
                Change::Set(value) => configs.insert(name.clone(), value.clone()),
                Change::Remove => configs.remove(name),
            };
        }
        Ok::<(), std::convert::Infallible>(())
    };
    let altered = topics::alter_configs(&*session.shared.parts.metadata, session.cluster, name, apply).await;
    let (_, revision) = altered.map_err(|error| match error {
        AlterConfigsError::Unknown => unknown(name),
        AlterConfigsError::Refused(never) => match never {},
        AlterConfigsError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, topic = %name, %error, "topic's configs not altered");
            TopicRefused::new(Refusal::from(&error), "the topic could not be changed now")
        }
    })?;
    // Answered after this gateway has seen it; if it cannot look now, it will see it with the next.
    drop(session.view_at(revision).await);
    Ok(())
}

fn may_alter(
    session: &Session,
    view: &ClusterView,
    resource: &AlterConfigsResource,
) -> Result<(), TopicRefused> {
    match resource.resource_type {
        TOPIC if session.may_on_topic(view, rights::INCREMENTAL_ALTER_CONFIGS, &resource.resource_name) => {
            Ok(())
        }
        TOPIC => Err(TopicRefused::new(Refusal::TopicDenied, "Authorization failed.")),
        BROKER if session.may_on_cluster(view, rights::ALTER_BROKER_CONFIGS) => {
            let text = "configs of brokers cannot be set on this cluster";
            Err(TopicRefused::new(Refusal::InvalidRequest, text))
        }
        BROKER => Err(TopicRefused::new(Refusal::ClusterDenied, "Cluster authorization failed.")),
        _ => Err(TopicRefused::new(Refusal::InvalidRequest, "only configs of topics can be altered")),
    }
}

/// What becomes of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Set(String),
    Remove,
}

fn parse(configs: &[AlterableConfig]) -> Result<BTreeMap<String, Change>, TopicRefused> {
    let mut changes = BTreeMap::new();
    for config in configs {
        if changes.insert(config.name.to_string(), change(config)?).is_some() {
            let text = format!("Error due to duplicate config keys: {}", config.name);
            return Err(TopicRefused::new(Refusal::InvalidRequest, text));
        }
    }
    Ok(changes)
}

fn change(config: &AlterableConfig) -> Result<Change, TopicRefused> {
    let invalid = |refused: ConfigRefused| TopicRefused::new(Refusal::InvalidConfig, refused.to_string());
    topic_config::settable(&config.name, Moment::Later).map_err(invalid)?;
    match (config.config_operation, &config.value) {
        (SET, Some(value)) => {
            topic_config::check(&config.name, value, Moment::Later).map_err(invalid)?;
            Ok(Change::Set(value.trim().to_owned()))
        }
        (DELETE, _) => Ok(Change::Remove),
        // The only list there is, cleanup.policy, cannot be altered.
        (APPEND | SUBTRACT, _) => Err(invalid(ConfigRefused::NotAList(config.name.to_string()))),
        (operation, _) => {
            let text = format!("Unknown or incomplete operation {operation} on {}", config.name);
            Err(TopicRefused::new(Refusal::InvalidRequest, text))
        }
    }
}

fn unknown(name: &str) -> TopicRefused {
    TopicRefused::new(Refusal::UnknownTopic, format!("Topic {name} does not exist."))
}
