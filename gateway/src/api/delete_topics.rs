//! DeleteTopics: by name, from version 6 on also by id.

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
    let found = find_and_delete(session, call, &topic, timeout_ms, begun, &mut result).await;
    let Err(refused) = found else {
        return result;
    };
    result.error_code = error_code::of_refusal(refused.refusal);
    if call.version >= TEXT_FROM {
        result.error_message = Some(message(refused.text));
    }
    result
}

/// What the client may know of the topic is put into `result` on the way.
async fn find_and_delete(
    session: &Session,
    call: &Call,
    topic: &DeleteTopicState,
    timeout_ms: i32,
    begun: &Result<(), TopicRefused>,
    result: &mut DeletableTopicResult,
) -> Result<(), TopicRefused> {
    let view = topic_operation::view(session, begun).await?;
    let name = name_of(session, &view, topic)?;
    result.name = Some(TopicName(text(name.clone())));
    if !session.may_on_topic(&view, rights::DELETE_TOPICS, &name) {
        return Err(denied());
    }
    let record = view.topic(&name).ok_or_else(unknown)?;
    if call.version >= STATES_FROM {
        result.topic_id = record.id.uuid();
    }
    delete(session, call, timeout_ms, record).await
}

/// Whoever names a topic by its id is told its name only if it may describe the topic.
fn name_of(session: &Session, view: &ClusterView, topic: &DeleteTopicState) -> Result<String, TopicRefused> {
    match (&topic.name, TopicId::from_uuid(topic.topic_id)) {
        (Some(name), None) => Ok(name.to_string()),
        (None, Some(id)) => {
            // Foreign, deleted and never existing ids look the same.
            let record = view.topic_by_id(id).ok_or_else(|| {
                TopicRefused::new(Refusal::UnknownTopicId, "This server has no topic of this id.")
            })?;
            if !session.may_on_topic(view, rights::DELETE_TOPICS_BY_ID, &record.name) {
                return Err(denied());
            }
            Ok(record.name.clone())
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(TopicRefused::new(Refusal::InvalidRequest, "Name the topic by its name or by its id."))
        }
    }
}

fn denied() -> TopicRefused {
    TopicRefused::new(Refusal::TopicDenied, "Authorization failed.")
}

fn unknown() -> TopicRefused {
    TopicRefused::new(Refusal::UnknownTopic, "This server does not host this topic.")
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
        TopicError::Unknown => unknown(),
        TopicError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, topic = %record.name, %error, "topic not deleted");
            TopicRefused::new(Refusal::from(&error), "the topic could not be deleted now")
        }
    })?;
    // Answered after this gateway has seen it; if it cannot look now, it will see it with the next.
    drop(session.view_at(revision).await);
    Ok(())
}
