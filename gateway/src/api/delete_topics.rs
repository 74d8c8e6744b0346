//! DeleteTopics: by name, from version 6 on also by id.

use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{TimestampMs, TopicId};
use headgate_metadata::record::TopicRecord;
use headgate_metadata::topics::{self, TopicError};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::{Call, message, text};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::TopicRefused;
use crate::topic_operation;

/// From this version on topics are named by name or id.
const STATES_FROM: i16 = 6;
/// From this version on an error has a text.
const TEXT_FROM: i16 = 5;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let begun = topic_operation::begin(session, call, Some(request.timeout_ms)).await;
    let wanted = if call.version >= STATES_FROM {
        request.topics
    } else {
        let state = |name| DeleteTopicState::default().with_name(Some(name));
        request.topic_names.into_iter().map(state).collect()
    };
    let mut results = Vec::with_capacity(wanted.len());
    for topic in wanted {
        results.push(of_topic(session, call, topic, request.timeout_ms, &begun).await);
    }
    DeleteTopicsResponse::default().with_responses(results)
}

async fn of_topic(
    session: &Session,
    call: &Call,
    topic: DeleteTopicState,
    timeout_ms: i32,
    begun: &Result<(), TopicRefused>,
) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default().with_name(topic.name.clone());
    if call.version >= STATES_FROM {
        result.topic_id = topic.topic_id;
    }
    let refused = match topic_operation::view(session, begun).await {
        Ok(view) => match find(session, &view, &topic) {
            Ok(record) => {
                // Named by id: whoever may delete it is told its name.
                result.name = Some(TopicName(text(record.name.clone())));
                if call.version >= STATES_FROM {
                    result.topic_id = record.id.uuid();
                }
                delete(session, call, timeout_ms, &record).await.err()
            }
            Err(refused) => Some(refused),
        },
        Err(refused) => Some(refused),
    };
    let Some(refused) = refused else { return result };
    result.error_code = error_code::of_refusal(refused.refusal);
    if call.version >= TEXT_FROM {
        result.error_message = Some(message(refused.text));
    }
    result
}

fn find(
    session: &Session,
    view: &ClusterView,
    topic: &DeleteTopicState,
) -> Result<Arc<TopicRecord>, TopicRefused> {
    let denied = || TopicRefused::new(Refusal::TopicDenied, "Authorization failed.");
    match (&topic.name, TopicId::from_uuid(topic.topic_id)) {
        (Some(name), None) => {
            if !session.may_on_topic(view, rights::DELETE_TOPICS, name) {
                return Err(denied());
            }
            let record = view.topic(name).cloned();
            record.ok_or_else(|| {
                TopicRefused::new(Refusal::UnknownTopic, "This server does not host this topic.")
            })
        }
        (None, Some(id)) => {
            // Foreign, deleted and never existing ids look the same.
            let record = view.topic_by_id(id).cloned();
            let record = record.ok_or_else(|| {
                TopicRefused::new(Refusal::UnknownTopicId, "This server has no topic of this id.")
            })?;
            if session.may_on_topic(view, rights::DELETE_TOPICS, &record.name) {
                Ok(record)
            } else {
                Err(denied())
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(TopicRefused::new(Refusal::InvalidRequest, "Name the topic by its name or by its id."))
        }
    }
}

async fn delete(
    session: &Session,
    call: &Call,
    timeout_ms: i32,
    record: &TopicRecord,
) -> Result<(), TopicRefused> {
    topic_operation::change_partitions(session, call, Some(timeout_ms), record.partitions).await?;
    let now = TimestampMs::new(session.shared.now_ms().max(0) as u64);
    let store = &*session.shared.parts.metadata;
    let deleted = topics::delete(store, session.cluster, &record.name, record.id, now).await;
    let revision = deleted.map_err(|error| match error {
        TopicError::Unknown => {
            TopicRefused::new(Refusal::UnknownTopic, "This server does not host this topic.")
        }
        TopicError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, topic = %record.name, %error, "topic not deleted");
            TopicRefused::new(Refusal::from(&error), "the topic could not be deleted now")
        }
    })?;
    // Answered after this gateway has seen it; if it cannot look now, it will see it with the next.
    drop(session.view_at(revision).await);
    Ok(())
}
