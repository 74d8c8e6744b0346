//! What the node must know of topics: how long they keep, whether they are compacted, whose time they carry, whether they are gone.
//!
//! Kept up to date by a watch of the metadata store. Invariant: a topic counts as removed only on a positive tombstone,
//! never because its key is absent (`storage/PROTOCOL.md` §8).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use headgate_metadata::id::{ClusterId, PartitionKey, Revision, SlotId, TopicId};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, RemovedRecord, TopicRecord};
use headgate_metadata::store::{Changes, MetadataError, MetadataStore, Select, SharedStore};
use tracing::warn;

use crate::bell::Bell;
use crate::partition::Keep;

/// Kafka's default `retention.ms`: seven days.
pub(crate) const RETENTION_MS_DEFAULT: i64 = 7 * 24 * 3_600_000;
/// MSK Serverless's default `retention.bytes`: 250 GiB.
pub(crate) const RETENTION_BYTES_DEFAULT: i64 = 250 << 30;
/// How long a broken watch rests before it is begun anew.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// One topic's settings, changed in place while partitions hold them.
#[derive(Debug)]
pub(crate) struct TopicSettings {
    retention_ms: AtomicI64,
    retention_bytes: AtomicI64,
    log_append_time: AtomicBool,
    deletes: AtomicBool,
    compacts: AtomicBool,
    removed: AtomicBool,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            retention_ms: AtomicI64::new(RETENTION_MS_DEFAULT),
            retention_bytes: AtomicI64::new(RETENTION_BYTES_DEFAULT),
            log_append_time: AtomicBool::new(false),
            deletes: AtomicBool::new(true),
            compacts: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        }
    }
}

impl TopicSettings {
    /// How long and how much it keeps; negative numbers mean without bound, as in Kafka.
    pub(crate) fn keep(&self) -> Keep {
        if !self.deletes.load(Ordering::Relaxed) {
            return Keep { for_ms: None, bytes: None };
        }
        Keep {
            for_ms: u64::try_from(self.retention_ms.load(Ordering::Relaxed)).ok(),
            bytes: u64::try_from(self.retention_bytes.load(Ordering::Relaxed)).ok(),
        }
    }
    /// `message.timestamp.type=LogAppendTime`.
    pub(crate) fn log_append_time(&self) -> bool {
        self.log_append_time.load(Ordering::Relaxed)
    }
    /// `cleanup.policy` with `compact`.
    pub(crate) fn compacts(&self) -> bool {
        self.compacts.load(Ordering::Relaxed)
    }
    /// Whether the topic or its cluster was removed.
    pub(crate) fn removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    fn take_in(&self, topic: &TopicRecord) {
        let number = |name: &str, default| {
            topic.configs.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        self.retention_ms.store(number("retention.ms", RETENTION_MS_DEFAULT), Ordering::Relaxed);
        self.retention_bytes.store(number("retention.bytes", RETENTION_BYTES_DEFAULT), Ordering::Relaxed);
        let policy = topic.configs.get("cleanup.policy").map_or("delete", String::as_str);
        let has = |wanted| policy.split(',').any(|word| word.trim() == wanted);
        self.deletes.store(has("delete"), Ordering::Relaxed);
        self.compacts.store(has("compact"), Ordering::Relaxed);
        let time = topic.configs.get("message.timestamp.type");
        self.log_append_time.store(time.is_some_and(|kind| kind == "LogAppendTime"), Ordering::Relaxed);
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tombstone {
    pub(crate) cluster: ClusterId,
    /// `None` = the whole cluster.
    pub(crate) topic: Option<TopicId>,
}

impl Tombstone {
    /// Whether it takes the partition with it.
    pub(crate) fn covers(&self, partition: &PartitionKey) -> bool {
        partition.cluster == self.cluster && self.topic.is_none_or(|topic| topic == partition.topic)
    }
}

/// All topics the node has heard of.
#[derive(Debug)]
pub(crate) struct Topics {
    known: RwLock<Known>,
    seen: Bell<Revision>,
}

#[derive(Debug, Default)]
struct Known {
    settings: BTreeMap<(ClusterId, TopicId), Arc<TopicSettings>>,
    /// With the slots that must remember it, as long as its key stands in the metadata store.
    tombstones: BTreeMap<Tombstone, Option<Vec<SlotId>>>,
}

impl Topics {
    pub(crate) fn new() -> Self {
        Self { known: RwLock::default(), seen: Bell::new(Revision::new(0)) }
    }

    /// The topic's settings; the defaults until the watch brings others.
    pub(crate) fn settings(&self, cluster: ClusterId, topic: TopicId) -> Arc<TopicSettings> {
        let found = self
            .known
            .read()
            .expect("no panic happens while this lock is held")
            .settings
            .get(&(cluster, topic))
            .cloned();
        if let Some(settings) = found {
            return settings;
        }
        let mut known = self.known.write().expect("no panic happens while this lock is held");
        let gone =
            [None, Some(topic)].map(|topic| known.tombstones.contains_key(&Tombstone { cluster, topic }));
        let settings = known.settings.entry((cluster, topic)).or_default();
        if gone.contains(&true) {
            settings.removed.store(true, Ordering::Release);
        }
        Arc::clone(settings)
    }

    /// The tombstones that stand in the metadata store, each with the slots that must remember it.
    pub(crate) fn standing(&self) -> Vec<(Tombstone, Vec<SlotId>)> {
        let known = self.known.read().expect("no panic happens while this lock is held");
        known.tombstones.iter().filter_map(|(tombstone, slots)| Some((*tombstone, slots.clone()?))).collect()
    }

    /// A removal that the slot's own log remembers: it holds even when the tombstone is gone.
    pub(crate) fn remember_removed(&self, tombstone: Tombstone) {
        let mut known = self.known.write().expect("no panic happens while this lock is held");
        known.tombstones.entry(tombstone).or_default();
        let Tombstone { cluster, topic } = tombstone;
        for ((_, of), settings) in known.settings.iter().filter(|((owner, _), _)| *owner == cluster) {
            if topic.is_none_or(|topic| topic == *of) {
                settings.removed.store(true, Ordering::Release);
            }
        }
    }

    /// Whether the watch has come to `revision`.
    pub(crate) fn has_seen(&self, revision: Revision) -> bool {
        self.seen.get() >= revision
    }

    /// Waits until the watch has come to `revision` (`storage/PROTOCOL.md` §9). Cancel safe.
    pub(crate) async fn caught_up(&self, revision: Revision) {
        self.seen.wait_for(|seen| seen >= revision).await;
    }

    /// Reads everything once; [`Topics::follow`] keeps it up to date from there.
    pub(crate) async fn load(&self, store: &dyn MetadataStore) -> Result<Revision, MetadataError> {
        let selects = [Select::Prefix(keys::TOPICS.to_owned()), Select::Prefix(keys::REMOVED.to_owned())];
        let snapshot = store.read(&selects).await?;
        for entry in snapshot.results.iter().flatten() {
            self.apply(&entry.key, Some(&entry.value));
        }
        self.seen.set(snapshot.revision);
        Ok(snapshot.revision)
    }

    /// Follows the store until it is dropped.
    pub(crate) async fn follow(&self, store: SharedStore, mut from: Revision) {
        loop {
            if let Err(error) = self.follow_once(&*store, from).await {
                warn!(%error, "topic watch broken, reading anew");
            }
            tokio::time::sleep(WATCH_PAUSE).await;
            if let Ok(revision) = self.load(&*store).await {
                from = revision;
            }
        }
    }

    async fn follow_once(&self, store: &dyn MetadataStore, from: Revision) -> Result<(), MetadataError> {
        // One watch of everything: the order between a topic's key and its tombstone is kept, and `through` means both.
        let mut watch = store.watch("", from).await?;
        loop {
            let Changes { events, through } = watch.next().await?;
            for event in events {
                self.apply(&event.key, event.value.as_deref());
            }
            self.seen.set(through);
        }
    }

    fn stands(&self, tombstone: Tombstone, slots: Option<Vec<SlotId>>) {
        self.known
            .write()
            .expect("no panic happens while this lock is held")
            .tombstones
            .insert(tombstone, slots);
    }

    fn apply(&self, key: &str, value: Option<&[u8]>) {
        if let (Some(rest), Some(value)) = (key.strip_prefix(keys::TOPICS), value) {
            let cluster = rest.split_once('/').and_then(|(cluster, _)| cluster.parse().ok());
            match (cluster, TopicRecord::decode(value)) {
                (Some(cluster), Ok(topic)) => self.settings(cluster, topic.id).take_in(&topic),
                (_, Err(error)) => warn!(key, %error, "topic record ignored"),
                (None, Ok(_)) => warn!(key, "topic key ignored"),
            }
        } else if key.starts_with(keys::REMOVED) {
            match (parse_tombstone(key), value) {
                (Some(tombstone), Some(value)) => {
                    self.remember_removed(tombstone);
                    match RemovedRecord::decode(value) {
                        Ok(removed) => self.stands(tombstone, Some(removed.slots)),
                        Err(error) => warn!(key, %error, "tombstone without its slots"),
                    }
                }
                // The key went because all its slots remember; what is removed stays removed.
                (Some(tombstone), None) => self.stands(tombstone, None),
                (None, _) => warn!(key, "tombstone ignored"),
            }
        }
    }
}

/// Reads `removed/topic/<cluster>/<topic>` or `removed/cluster/<cluster>`.
fn parse_tombstone(key: &str) -> Option<Tombstone> {
    match key.strip_prefix(keys::REMOVED)?.split('/').collect::<Vec<_>>()[..] {
        ["cluster", cluster] => Some(Tombstone { cluster: cluster.parse().ok()?, topic: None }),
        ["topic", cluster, topic] => {
            Some(Tombstone { cluster: cluster.parse().ok()?, topic: Some(topic.parse().ok()?) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::TimestampMs;

    use super::*;

    fn topic(configs: &[(&str, &str)]) -> TopicRecord {
        TopicRecord {
            id: TopicId::from_random(7),
            name: "t".into(),
            partitions: 1,
            slots: 8,
            created: TimestampMs::new(0),
            configs: configs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    fn apply(topics: &Topics, topic: &TopicRecord) -> Arc<TopicSettings> {
        let cluster = ClusterId::from_random(1);
        topics.apply(&keys::topic(cluster, &topic.name), Some(&topic.encode()));
        topics.settings(cluster, topic.id)
    }

    #[test]
    fn a_topic_without_configs_keeps_seven_days_and_250_gib() {
        let keep = apply(&Topics::new(), &topic(&[])).keep();
        assert_eq!(keep, Keep { for_ms: Some(604_800_000), bytes: Some(268_435_456_000) });
    }

    #[test]
    fn changed_configs_reach_a_partition_that_holds_the_settings() {
        let topics = Topics::new();
        let held = apply(&topics, &topic(&[]));
        apply(&topics, &topic(&[("retention.ms", "1000"), ("retention.bytes", "-1")]));
        assert_eq!(held.keep(), Keep { for_ms: Some(1000), bytes: None });
        assert!(!held.log_append_time());
        apply(&topics, &topic(&[("message.timestamp.type", "LogAppendTime")]));
        assert!(held.log_append_time());
    }

    #[test]
    fn section_8_a_topic_is_removed_by_its_tombstone_and_not_by_the_absence_of_its_key() {
        let topics = Topics::new();
        let record = topic(&[]);
        let held = apply(&topics, &record);
        let cluster = ClusterId::from_random(1);
        topics.apply(&keys::topic(cluster, "t"), None);
        assert!(!held.removed());
        topics.apply(&keys::removed_topic(cluster, record.id), Some(b"{}"));
        assert!(held.removed());
    }

    #[test]
    fn section_8_a_removed_cluster_takes_its_topics_known_and_unknown_and_no_others() {
        let topics = Topics::new();
        let (gone, other) = (ClusterId::from_random(1), ClusterId::from_random(2));
        let known = topics.settings(gone, TopicId::from_random(1));
        let foreign = topics.settings(other, TopicId::from_random(1));
        topics.apply(&keys::removed_cluster(gone), Some(b"{}"));
        assert!(known.removed() && !foreign.removed());
        assert!(topics.settings(gone, TopicId::from_random(2)).removed());
    }
}
