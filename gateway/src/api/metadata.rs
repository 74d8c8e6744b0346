//! Metadata: the brokers and the topics a client may see; may create topics where the cluster says so.
//!
//! Brokers are names (`gateway/PROTOCOL.md` §1): leaders are functions of the ids listed, replicas and ISR always read all
//! three, the controller is the broker that was dialled.

mod topic_entry;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::TopicId;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use uuid::Uuid;

use self::topic_entry::{described, refused};
use super::{Call, Malformed, respond, text};
use crate::authorize::rights;
use crate::authorized_operations;
use crate::brokers::{Brokers, ListedBroker};
use crate::connection::Answer;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::{self, NewTopic};
use crate::topic_operation;

/// From this version on the whole answer has an error code.
const WHOLE_ERROR_FROM: i16 = 13;
/// How many partitions a topic gets that is created by asking for it.
const PARTITIONS_DEFAULT: u32 = 1;

/// What a request wants to know about topics beyond their names.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    /// Topics that do not exist are created.
    create: bool,
    /// The operations allowed are told.
    operations: bool,
    /// The brokers of the answer.
    brokers: &'a Brokers,
}

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: MetadataRequest,
) -> Result<Answer, Malformed> {
    let brokers = session.tell_brokers().await;
    let mut response = MetadataResponse::default()
        .with_brokers(brokers.listed().iter().map(|broker| broker_entry(call, broker)).collect())
        .with_controller_id(BrokerId(brokers.controller().get() as i32));
    if call.version >= 2 {
        response.cluster_id = Some(text(session.cluster.to_string()));
    }
    let wish = Wish {
        create: request.allow_auto_topic_creation,
        operations: request.include_topic_authorized_operations,
        brokers: &brokers,
    };
    // Before version 1 an empty list asks for all topics.
    let named = request.topics.filter(|named| call.version > 0 || !named.is_empty());
    match named {
        Some(mut named) => {
            // Described once, however often it is named: the answer to a small request must not grow without bound.
            let mut seen = HashSet::new();
            named.retain(|topic| seen.insert((topic.topic_id, topic.name.clone())));
            response.topics = named_topics(session, call, &named, wish).await;
        }
        None => match all_topics(session, call, wish).await {
            Ok(topics) => response.topics = topics,
            Err(refusal) if call.version >= WHOLE_ERROR_FROM => {
                response.error_code = error_code::of_refusal(refusal);
            }
            // An answer without topics would look like a cluster without topics.
            Err(_) => return Ok(Answer::Close("metadata not available")),
        },
    }
    if request.include_cluster_authorized_operations
        && let Ok(view) = session.view().await
    {
        response.cluster_authorized_operations = authorized_operations::of_cluster(session, &view);
    }
    Ok(Answer::Respond(respond(call, &response)?))
}

fn broker_entry(call: &Call, broker: &ListedBroker) -> MetadataResponseBroker {
    let mut entry = MetadataResponseBroker::default()
        .with_node_id(BrokerId(broker.id.get() as i32))
        .with_host(text(broker.host.to_string()))
        .with_port(i32::from(broker.port));
    if call.version >= 1 {
        entry.rack = broker.rack.as_deref().map(text);
    }
    entry
}

/// All topics the principal may see; the others are left out silently.
async fn all_topics(
    session: &Session,
    call: &Call,
    wish: Wish<'_>,
) -> Result<Vec<MetadataResponseTopic>, Refusal> {
    let view = session.view().await?;
    let mut entries = Vec::new();
    for topic in view.topics.values() {
        if session.sees_topic(&view, rights::METADATA, &topic.name) {
            entries.push(described(session, call, &view, topic, wish).await);
        }
    }
    Ok(entries)
}

async fn named_topics(
    session: &Session,
    call: &Call,
    named: &[MetadataRequestTopic],
    wish: Wish<'_>,
) -> Vec<MetadataResponseTopic> {
    let view = match view_of(session, named).await {
        Ok(view) => view,
        Err(refusal) => {
            let entry = |topic: &MetadataRequestTopic| {
                refused(call, topic.name.as_deref().map(|name| &**name), topic.topic_id, refusal)
            };
            return named.iter().map(entry).collect();
        }
    };
    let mut entries = Vec::with_capacity(named.len());
    for topic in named {
        entries.push(match (TopicId::from_uuid(topic.topic_id), &topic.name) {
            (Some(id), _) => by_id(session, call, &view, id, wish).await,
            (None, Some(name)) => by_name(session, call, &view, name, wish).await,
            (None, None) => refused(call, None, Uuid::nil(), Refusal::UnknownTopic),
        });
    }
    entries
}

/// A view that knows all topics named, or is fresh.
async fn view_of(session: &Session, named: &[MetadataRequestTopic]) -> Result<Arc<ClusterView>, Refusal> {
    let view = session.view().await?;
    let known = |topic: &MetadataRequestTopic| match (TopicId::from_uuid(topic.topic_id), &topic.name) {
        (Some(id), _) => view.topic_by_id(id).is_some(),
        (None, Some(name)) => view.topic(name).is_some(),
        (None, None) => true,
    };
    if named.iter().all(known) { Ok(view) } else { session.fresh_view().await }
}

async fn by_id(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    id: TopicId,
    wish: Wish<'_>,
) -> MetadataResponseTopic {
    // Foreign, deleted and never existing ids look the same.
    let Some(topic) = view.topic_by_id(id) else {
        return refused(call, None, id.uuid(), Refusal::UnknownTopicId);
    };
    if session.may_on_topic(view, rights::METADATA, &topic.name) {
        described(session, call, view, topic, wish).await
    } else {
        // The name is not told to somebody who may not describe it.
        refused(call, None, id.uuid(), Refusal::TopicDenied)
    }
}

async fn by_name(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    name: &str,
    wish: Wish<'_>,
) -> MetadataResponseTopic {
    let refused = |refusal| refused(call, Some(name), Uuid::nil(), refusal);
    if !session.may_on_topic(view, rights::METADATA, name) {
        return refused(Refusal::TopicDenied);
    }
    if let Some(topic) = view.topic(name) {
        return described(session, call, view, topic, wish).await;
    }
    if !topic_creation::name_is_valid(name) {
        return refused(Refusal::InvalidTopicName);
    }
    if !(wish.create && view.cluster.auto_create_topics) {
        return refused(Refusal::UnknownTopic);
    }
    if !session.may_on_topic(view, rights::METADATA_CREATES, name) {
        return refused(Refusal::TopicDenied);
    }
    match create(session, call, name).await {
        Ok(view) => match view.topic(name) {
            Some(topic) => described(session, call, &view, topic, wish).await,
            None => refused(Refusal::UnknownTopic),
        },
        Err(refusal) => refused(refusal),
    }
}

/// Makes the topic; the view that has it.
async fn create(session: &Session, call: &Call, name: &str) -> Result<Arc<ClusterView>, Refusal> {
    // What the same request created before counts.
    let view = session.view().await?;
    let new = NewTopic { name: name.to_owned(), partitions: PARTITIONS_DEFAULT, configs: BTreeMap::new() };
    topic_creation::check(session, &view, &new).map_err(|refused| refused.refusal)?;
    // A client that is told so asks again by itself.
    let charged = topic_operation::change_partitions(session, call, Some(0), new.partitions).await;
    charged.map_err(|_| Refusal::MetadataUnavailable)?;
    match topic_creation::create(session, new).await {
        Ok(_) => session.view().await,
        // Somebody else was faster: it exists now.
        Err(refused) if refused.refusal == Refusal::TopicExists => session.fresh_view().await,
        Err(refused) => Err(refused.refusal),
    }
}
