//! The topics of one cluster that is in use, with the watch that keeps them fresh.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{ClusterView, decode_topic};
use crate::follow::{Following, News};
use crate::id::{Revision, TopicId};
use crate::keys;
use crate::record::{ClusterRecord, TopicRecord};
use crate::store::{MetadataError, SharedStore};

/// A loaded cluster. Dropping it ends its watch.
#[derive(Debug)]
pub(super) struct Loaded {
    view: Arc<RwLock<Arc<ClusterView>>>,
    /// The watch of its topics.
    pub(super) topics: Following,
    /// Since when `used_ms` counts.
    since: Instant,
    /// The last question, in milliseconds after `since`.
    used_ms: AtomicU64,
}

impl Loaded {
    pub(super) async fn start(
        store: &SharedStore,
        cluster: Arc<ClusterRecord>,
    ) -> Result<Self, MetadataError> {
        let prefix = keys::topics(cluster.id);
        let empty = ClusterView {
            cluster,
            topics: Arc::default(),
            topics_by_id: Arc::default(),
            revision: Revision::default(),
        };
        let view = Arc::new(RwLock::new(Arc::new(empty)));
        let shown = Arc::clone(&view);
        let sink = move |news| replace(&shown, |view| with_news(view, news));
        let topics = Following::start(Arc::clone(store), prefix, sink).await?;
        Ok(Self { view, topics, since: Instant::now(), used_ms: AtomicU64::new(0) })
    }

    pub(super) fn view(&self) -> Arc<ClusterView> {
        self.used_ms.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long nobody has asked for it.
    pub(super) fn idle(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)))
    }

    /// Puts the cluster's newest record into the view.
    pub(super) fn renew(&self, newest: impl FnOnce() -> Option<Arc<ClusterRecord>>) {
        replace(&self.view, |view| {
            let cluster = newest().unwrap_or_else(|| Arc::clone(&view.cluster));
            if Arc::ptr_eq(&cluster, &view.cluster) {
                return Arc::clone(view);
            }
            Arc::new(ClusterView { cluster, ..ClusterView::clone(view) })
        });
    }
}

/// Replaces the shown view by one made from it. The lock is held while it is made, so that no writer works from an old one.
fn replace(shown: &RwLock<Arc<ClusterView>>, make: impl FnOnce(&Arc<ClusterView>) -> Arc<ClusterView>) {
    let mut shown = shown.write().unwrap_or_else(PoisonError::into_inner);
    let next = make(&shown);
    *shown = next;
}

fn with_news(view: &Arc<ClusterView>, news: News) -> Arc<ClusterView> {
    let mut next = ClusterView::clone(view);
    match news {
        News::All(entries, revision) => {
            let topics =
                entries.into_iter().filter_map(|entry| decode_topic(&entry.key, entry.value, entry.modified));
            let topics: BTreeMap<String, Arc<TopicRecord>> =
                topics.map(|topic| (topic.name.clone(), topic)).collect();
            let by_id: HashMap<TopicId, _> =
                topics.values().map(|topic| (topic.id, Arc::clone(topic))).collect();
            next.topics = Arc::new(topics);
            next.topics_by_id = Arc::new(by_id);
            next.revision = revision;
        }
        News::Some(changes) => {
            next.revision = changes.through;
            for event in changes.events {
                let name = event.key.rsplit('/').next().unwrap_or_default();
                let topic = event.value.and_then(|value| decode_topic(&event.key, value, event.revision));
                change(&mut next, name, topic);
            }
        }
    }
    Arc::new(next)
}

/// Puts or removes one topic; a name that is taken anew drops the old id.
fn change(view: &mut ClusterView, name: &str, topic: Option<Arc<TopicRecord>>) {
    let topics = Arc::make_mut(&mut view.topics);
    let by_id = Arc::make_mut(&mut view.topics_by_id);
    if let Some(before) = topics.remove(name) {
        by_id.remove(&before.id);
    }
    if let Some(topic) = topic {
        by_id.insert(topic.id, Arc::clone(&topic));
        topics.insert(name.to_owned(), topic);
    }
}
