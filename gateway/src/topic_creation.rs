//! Making a topic: what CreateTopics and a Metadata request that may create have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::id::{TimestampMs, TopicId};
use headgate_metadata::quota::QuotaKey;
use headgate_metadata::record::TopicRecord;
use headgate_metadata::topics::{self, CreateTopicError};

use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_config::{self, Moment};

/// The longest topic name, as in Kafka.
const NAME_CHARACTERS_MAX: usize = 249;

/// A topic to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) configs: BTreeMap<String, String>,
}

/// Why a topic was not made or changed: the refusal, and words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRefused {
    pub(crate) refusal: Refusal,
    pub(crate) text: String,
}

impl TopicRefused {
    pub(crate) fn new(refusal: Refusal, text: impl Into<String>) -> Self {
        Self { refusal, text: text.into() }
    }
}

/// Whether Kafka allows the name.
pub(crate) fn name_is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(allowed)
}

/// Checks everything that can be told without making the topic.
pub(crate) fn check(session: &Session, view: &ClusterView, topic: &NewTopic) -> Result<(), TopicRefused> {
    let name = &topic.name;
    if !name_is_valid(name) {
        let text = format!(
            "Topic name is invalid: '{name}' must be 1 to {NAME_CHARACTERS_MAX} characters of [a-zA-Z0-9._-], and not . or .."
        );
        return Err(TopicRefused::new(Refusal::InvalidTopicName, text));
    }
    if view.topic(name).is_some() {
        return Err(exists(name));
    }
    if topic.partitions == 0 {
        return Err(TopicRefused::new(
            Refusal::InvalidPartitions,
            "Number of partitions must be larger than 0.",
        ));
    }
    let max = session.shared.config.topic_partitions_max;
    if topic.partitions > max {
        let text = format!("{} partitions are more than the {max} a topic may have", topic.partitions);
        return Err(TopicRefused::new(Refusal::PolicyViolation, text));
    }
    cluster_has_room(session, view, &topic.configs, topic.partitions)
        .map_err(|text| TopicRefused::new(Refusal::PolicyViolation, text))?;
    if let Some(other) = collision(view, name) {
        let text = format!("Topic '{name}' collides with existing topics: {other}");
        return Err(TopicRefused::new(Refusal::InvalidTopicName, text));
    }
    for (key, value) in &topic.configs {
        topic_config::check(key, value, Moment::Creation)
            .map_err(|refused| TopicRefused::new(Refusal::InvalidConfig, refused.to_string()))?;
    }
    Ok(())
}

/// Whether the cluster may have so many partitions more in a topic with these configs; the error says what stands against it.
pub(crate) fn cluster_has_room(
    session: &Session,
    view: &ClusterView,
    configs: &BTreeMap<String, String>,
    more: u32,
) -> Result<(), String> {
    let compacted = topic_config::is_compacted(configs);
    let (quota, which) = if compacted {
        (QuotaKey::CompactedPartitionsMax, "partitions of compacted topics")
    } else {
        (QuotaKey::PartitionsMax, "partitions")
    };
    let max = session.quota().limit(quota);
    let alike = view.topics.values().filter(|topic| topic_config::is_compacted(&topic.configs) == compacted);
    let used: u64 = alike.map(|topic| u64::from(topic.partitions)).sum();
    if used + u64::from(more) > max {
        return Err(format!(
            "the cluster has {used} {which}; with {more} more it would have more than its limit of {max} ({quota})"
        ));
    }
    Ok(())
}

/// Makes the topic and returns it once this gateway has seen it.
pub(crate) async fn create(session: &Session, topic: NewTopic) -> Result<Arc<TopicRecord>, TopicRefused> {
    let record = TopicRecord {
        id: TopicId::from_random(session.shared.random_uuid().as_u128()),
        partitions: topic.partitions,
        slots: slots_of(session).await?,
        created: TimestampMs::new(session.shared.now_ms().max(0) as u64),
        configs: topic.configs,
        name: topic.name,
    };
    let created = topics::create(&*session.shared.parts.metadata, session.cluster, &record).await;
    let revision = created.map_err(|error| match error {
        CreateTopicError::Exists { .. } => exists(&record.name),
        CreateTopicError::ClusterUnknown(_) => {
            TopicRefused::new(Refusal::ChangeUnavailable, "the cluster is being deleted")
        }
        CreateTopicError::Store(error) => {
            tracing::warn!(cluster = %session.cluster, topic = %record.name, %error, "topic not created");
            TopicRefused::new(Refusal::from(&error), "the topic could not be created now")
        }
    })?;
    // The topic exists; a gateway that cannot look at it yet will see it with its next metadata.
    let seen = session.view_at(revision).await.ok().and_then(|view| view.topic(&record.name).cloned());
    Ok(seen.unwrap_or_else(|| Arc::new(record)))
}

/// A topic is spread over all slots its cluster has at its creation.
async fn slots_of(session: &Session) -> Result<u16, TopicRefused> {
    let view = session.view().await;
    let view =
        view.map_err(|refusal| TopicRefused::new(refusal, "the cluster's metadata is not available"))?;
    Ok(view.cluster.slot_set.len() as u16)
}

fn exists(name: &str) -> TopicRefused {
    TopicRefused::new(Refusal::TopicExists, format!("Topic '{name}' already exists."))
}

/// Kafka's metric names write `.` as `_`, so it refuses names that differ in nothing else.
fn collision<'v>(view: &'v ClusterView, name: &str) -> Option<&'v str> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let flat = |byte: u8| if byte == b'.' { b'_' } else { byte };
    let same = |other: &str| {
        other.len() == name.len() && other.bytes().zip(name.bytes()).all(|(a, b)| flat(a) == flat(b))
    };
    view.topics.keys().map(String::as_str).find(|other| same(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_those_of_kafka() {
        for name in ["a", "A.b_c-9", "__consumer", &"x".repeat(249)] {
            assert!(name_is_valid(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(!name_is_valid(name), "{name}");
        }
    }
}
