//! CreatePartitions: more partitions for a topic.

use std::collections::HashSet;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::topics::{self, GrowTopicError};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Call, message};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::{self, TopicRefused};
use crate::topic_operation;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let begun = topic_operation::begin(session, call, Some(request.timeout_ms)).await;
    let mut seen = HashSet::new();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let grown = if seen.insert(&topic.name) {
            grow(session, call, topic, &request, &begun).await
        } else {
            Err(TopicRefused::new(Refusal::InvalidRequest, "Duplicate topic in request."))
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match grown {
            Ok(()) => result.with_error_message(None),
            Err(refused) => result
                .with_error_code(error_code::of_refusal(refused.refusal))
                .with_error_message(Some(message(refused.text))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(
    session: &Session,
    call: &Call,
    topic: &CreatePartitionsTopic,
    request: &CreatePartitionsRequest,
    begun: &Result<(), TopicRefused>,
) -> Result<(), TopicRefused> {
    let view = topic_operation::view(session, begun).await?;
    let (current, count) = check(session, &view, topic)?;
    if request.validate_only {
        return Ok(());
    }
    topic_operation::change_partitions(session, call, Some(request.timeout_ms), count - current).await?;
    let now = TimestampMs::new(session.shared.now_ms().max(0) as u64);
    let store = &*session.shared.parts.metadata;
    let grown = topics::grow(store, session.cluster, &topic.name, count, now).await;
    let (_, revision) = grown.map_err(|error| match error {
        GrowTopicError::Unknown => unknown(),
        GrowTopicError::NotMore { current } => not_more(&topic.name, current, count),
        GrowTopicError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, topic = %&*topic.name, %error, "topic not grown");
            TopicRefused::new(Refusal::from(&error), "the topic could not be changed now")
        }
    })?;
    // Answered after this gateway has seen it; if it cannot look now, it will see it with the next.
    drop(session.view_at(revision).await);
    Ok(())
}

/// How many partitions the topic has, and how many it is to have.
fn check(
    session: &Session,
    view: &ClusterView,
    topic: &CreatePartitionsTopic,
) -> Result<(u32, u32), TopicRefused> {
    if !session.may_on_topic(view, rights::CREATE_PARTITIONS, &topic.name) {
        return Err(TopicRefused::new(Refusal::TopicDenied, "Authorization failed."));
    }
    let record = view.topic(&topic.name).ok_or_else(unknown)?;
    if topic.assignments.as_ref().is_some_and(|assignments| !assignments.is_empty()) {
        let text = "replica assignments cannot be chosen on this cluster";
        return Err(TopicRefused::new(Refusal::InvalidRequest, text));
    }
    let count = u32::try_from(topic.count).unwrap_or(0);
    if count <= record.partitions {
        return Err(not_more(&topic.name, record.partitions, count));
    }
    let max = session.shared.config.topic_partitions_max;
    if count > max {
        let text = format!("{count} partitions are more than the {max} a topic may have");
        return Err(TopicRefused::new(Refusal::InvalidPartitions, text));
    }
    topic_creation::cluster_has_room(session, view, &record.configs, count - record.partitions)
        .map_err(|text| TopicRefused::new(Refusal::InvalidPartitions, text))?;
    Ok((record.partitions, count))
}

fn unknown() -> TopicRefused {
    TopicRefused::new(Refusal::UnknownTopic, "This server does not host this topic-partition.")
}

fn not_more(name: &str, current: u32, wanted: u32) -> TopicRefused {
    let text = if current == wanted {
        format!("Topic already has {current} partition(s).")
    } else {
        format!("The topic {name} currently has {current} partition(s); {wanted} would not be an increase.")
    };
    TopicRefused::new(Refusal::InvalidPartitions, text)
}
