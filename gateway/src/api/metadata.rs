//! Metadata: the brokers and the topics a client may see; may create topics where the cluster says so.
//!
//! Brokers are names (`gateway/PROTOCOL.md` §1): leaders are functions of the ids listed, replicas and ISR always read all
//! three, the controller is the broker that was dialled.

use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{PartitionId, TopicId};
use headgate_metadata::record::TopicRecord;
use headgate_storage_client::routing;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Call, text};
use crate::authorize::rights;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::{BROKER_IDS, Session};
use crate::topic_creation::{self, NewTopic};

pub(super) async fn handle(session: &Session, call: &Call, request: MetadataRequest) -> MetadataResponse {
    let mut response = MetadataResponse::default()
        .with_brokers(brokers(session, call.version))
        .with_controller_id(BrokerId(session.brokers[0].id.get() as i32));
    if call.version >= 2 {
        response.cluster_id = Some(text(session.cluster.to_string()));
    }
    response.topics = topics(session, call, request).await;
    response
}

fn brokers(session: &Session, version: i16) -> Vec<MetadataResponseBroker> {
    let listed = |broker: &crate::session::ListedBroker| {
        let mut entry = MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id.get() as i32))
            .with_host(text(broker.host.to_string()))
            .with_port(i32::from(broker.port));
        if version >= 1 {
            entry.rack = session.shared.parts.zone.as_deref().map(text);
        }
        entry
    };
    session.brokers.iter().map(listed).collect()
}

async fn topics(session: &Session, call: &Call, request: MetadataRequest) -> Vec<MetadataResponseTopic> {
    let Some(wanted) = request.topics.filter(|wanted| call.version > 0 || !wanted.is_empty()) else {
        return all_topics(session, call).await;
    };
    let names = wanted.iter().filter(|topic| topic.topic_id.is_nil()).filter_map(|topic| topic.name.as_deref());
    let view = match session.view_with(names.map(|name| &**name)).await {
        Ok(view) => view,
        Err(refusal) => {
            let refused = |topic: &kafka_protocol::messages::metadata_request::MetadataRequestTopic| {
                entry(call, topic.name.as_deref().map(|name| &**name), topic.topic_id, refusal)
            };
            return wanted.iter().map(refused).collect();
        }
    };
    let view = with_ids(session, view, wanted.iter().map(|topic| topic.topic_id)).await;
    let mut entries = Vec::with_capacity(wanted.len());
    for topic in &wanted {
        let name = topic.name.as_deref().map(|name| &**name);
        entries.push(match (TopicId::from_uuid(topic.topic_id), name) {
            (Some(id), _) => by_id(session, call, &view, id).await,
            (None, Some(name)) => by_name(session, call, &view, name, request.allow_auto_topic_creation).await,
            (None, None) => entry(call, None, Uuid::nil(), Refusal::UnknownTopic),
        });
    }
    entries
}

async fn with_ids(session: &Session, view: Arc<ClusterView>, ids: impl Iterator<Item = Uuid>) -> Arc<ClusterView> {
    let missing = ids.filter_map(TopicId::from_uuid).any(|id| view.topic_by_id(id).is_none());
    if missing { session.fresh_view().await.unwrap_or(view) } else { view }
}

/// All topics the principal may see; the others are left out silently.
async fn all_topics(session: &Session, call: &Call) -> Vec<MetadataResponseTopic> {
    let Ok(view) = session.view().await else { return Vec::new() };
    let mut entries = Vec::new();
    for topic in view.topics.values() {
        if session.sees_topic(&view, rights::METADATA, &topic.name) {
            entries.push(described(session, call, &view, topic).await);
        }
    }
    entries
}

async fn by_id(session: &Session, call: &Call, view: &ClusterView, id: TopicId) -> MetadataResponseTopic {
    // Foreign, deleted and never existing ids look the same.
    let Some(topic) = view.topic_by_id(id) else {
        return entry(call, None, id.uuid(), Refusal::UnknownTopicId);
    };
    if session.may_on_topic(view, rights::METADATA, &topic.name) {
        described(session, call, view, topic).await
    } else {
        // The name is not told to somebody who may not describe it.
        entry(call, None, id.uuid(), Refusal::TopicDenied)
    }
}

async fn by_name(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    name: &str,
    may_create: bool,
) -> MetadataResponseTopic {
    if !session.may_on_topic(view, rights::METADATA, name) {
        return entry(call, Some(name), Uuid::nil(), Refusal::TopicDenied);
    }
    if let Some(topic) = view.topic(name) {
        return described(session, call, view, topic).await;
    }
    if !topic_creation::name_is_valid(name) {
        return entry(call, Some(name), Uuid::nil(), Refusal::InvalidTopicName);
    }
    if !(may_create && view.cluster.auto_create_topics) {
        return entry(call, Some(name), Uuid::nil(), Refusal::UnknownTopic);
    }
    if !session.may_on_topic(view, rights::METADATA_CREATES, name) {
        return entry(call, Some(name), Uuid::nil(), Refusal::TopicDenied);
    }
    let new = NewTopic { name: name.to_owned(), partitions: 1, configs: std::collections::BTreeMap::new() };
    if let Err(refused) = topic_creation::check(session, view, &new) {
        return entry(call, Some(name), Uuid::nil(), refused.refusal);
    }
    match topic_creation::create(session, new).await {
        Ok(topic) => described(session, call, view, &topic).await,
        // Somebody else was faster: it exists now, and the client's next look will see it.
        Err(refused) if refused.refusal == Refusal::TopicExists => match session.fresh_view().await {
            Ok(view) if view.topic(name).is_some() => described(session, call, &view, &view.topics[name]).await,
            _ => entry(call, Some(name), Uuid::nil(), Refusal::UnknownTopic),
        },
        Err(refused) => entry(call, Some(name), Uuid::nil(), refused.refusal),
    }
}

async fn described(session: &Session, call: &Call, view: &ClusterView, topic: &TopicRecord) -> MetadataResponseTopic {
    let mut entry = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_authorized_operations(i32::MIN);
    if call.version >= 10 {
        entry.topic_id = topic.id.uuid();
    }
    let mut partitions = Vec::with_capacity(topic.partitions as usize);
    let mut epochs = std::collections::HashMap::new();
    for partition in (0..topic.partitions).map(PartitionId::new) {
        let slot = routing::partition(&view.cluster, topic, partition).slot;
        if let std::collections::hash_map::Entry::Vacant(vacant) = epochs.entry(slot) {
            let epoch = session.shared.parts.storage.leader_epoch(slot).await;
            vacant.insert(epoch.map_or(-1, headgate_metadata::id::SlotEpoch::to_wire));
        }
        partitions.push(partition_entry(session, call.version, topic, partition, epochs[&slot]));
    }
    entry.partitions = partitions;
    entry
}

fn partition_entry(
    session: &Session,
    version: i16,
    topic: &TopicRecord,
    partition: PartitionId,
    epoch: i32,
) -> MetadataResponsePartition {
    let leader = routing::broker_of_partition(topic.id, partition, &session.brokers.iter().map(|b| b.id).collect::<Vec<_>>());
    let replicas: Vec<BrokerId> = BROKER_IDS.iter().map(|id| BrokerId(id.get() as i32)).collect();
    let mut entry = MetadataResponsePartition::default()
        .with_partition_index(partition.get() as i32)
        .with_leader_id(BrokerId(leader.get() as i32))
        .with_replica_nodes(replicas.clone())
        .with_isr_nodes(replicas);
    if version >= 7 {
        entry.leader_epoch = epoch;
    }
    entry
}

/// A topic that is not described, and why. Versions before 12 cannot leave out the name.
fn entry(call: &Call, name: Option<&str>, id: Uuid, refusal: Refusal) -> MetadataResponseTopic {
    let name = match name {
        Some(name) => Some(TopicName(text(name))),
        None if call.version >= 12 => None,
        None => Some(TopicName(StrBytes::new())),
    };
    let mut entry = MetadataResponseTopic::default()
        .with_error_code(error_code::of_refusal(refusal))
        .with_name(name)
        .with_topic_authorized_operations(i32::MIN);
    if call.version >= 10 {
        entry.topic_id = id;
    }
    entry
}
