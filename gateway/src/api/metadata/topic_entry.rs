//! One topic of a Metadata answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{LeaderEpoch, PartitionId};
use headgate_metadata::record::TopicRecord;
use headgate_storage_client::routing;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Wish;
use crate::api::{Call, text};
use crate::authorized_operations;
use crate::brokers::BROKER_IDS;
use crate::error_code;
use crate::refusal::Refusal;
use crate::session::Session;

/// From this version on topics have ids.
const TOPIC_IDS_FROM: i16 = 10;
/// From this version on partitions have leader epochs.
const LEADER_EPOCHS_FROM: i16 = 7;
/// From this version on the name may be null.
const NULL_NAME_FROM: i16 = 12;

/// A topic with all its partitions.
pub(super) async fn described(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    topic: &TopicRecord,
    wish: Wish<'_>,
) -> MetadataResponseTopic {
    let mut entry = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_partitions(partitions(session, call, view, topic, wish).await);
    if call.version >= TOPIC_IDS_FROM {
        entry.topic_id = topic.id.uuid();
    }
    if wish.operations {
        entry.topic_authorized_operations = authorized_operations::of_topic(session, view, &topic.name);
    }
    entry
}

async fn partitions(
    session: &Session,
    call: &Call,
    view: &ClusterView,
    topic: &TopicRecord,
    wish: Wish<'_>,
) -> Vec<MetadataResponsePartition> {
    let brokers: Vec<BrokerId> =
        wish.brokers.present().map(|broker| BrokerId(broker.id.get() as i32)).collect();
    let replicas: Vec<BrokerId> = BROKER_IDS.iter().map(|id| BrokerId(id.get() as i32)).collect();
    let mut epochs = HashMap::new();
    let mut entries = Vec::with_capacity(topic.partitions as usize);
    for partition in (0..topic.partitions).map(PartitionId::new) {
        let mut entry = MetadataResponsePartition::default()
            .with_partition_index(partition.get() as i32)
            .with_leader_id(routing::broker_of_partition(topic.id, partition, &brokers))
            .with_replica_nodes(replicas.clone())
            .with_isr_nodes(replicas.clone());
        if call.version >= LEADER_EPOCHS_FROM {
            let slot = routing::partition(&view.cluster, topic, partition).slot;
            entry.leader_epoch = match epochs.entry(slot) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    let epoch = session.shared.parts.storage.leader_epoch(slot).await;
                    *unknown.insert(epoch.map_or(-1, LeaderEpoch::to_wire))
                }
            };
        }
        entries.push(entry);
    }
    entries
}

/// A topic that is not described, and why.
pub(super) fn refused(call: &Call, name: Option<&str>, id: Uuid, refusal: Refusal) -> MetadataResponseTopic {
    let name = match name {
        Some(name) => Some(TopicName(text(name))),
        None if call.version >= NULL_NAME_FROM => None,
        None => Some(TopicName(StrBytes::new())),
    };
    let mut entry =
        MetadataResponseTopic::default().with_error_code(error_code::of_refusal(refusal)).with_name(name);
    if call.version >= TOPIC_IDS_FROM {
        entry.topic_id = id;
    }
    entry
}
