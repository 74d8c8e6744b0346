//! The life of clusters behind the calls: what is `CREATING` becomes `ACTIVE` once it can be reached, or `FAILED`; what is
//! `DELETING` is removed after its delay.
//!
//! What is to be done stands in the clusters' records alone: several processes may do it at once, and one that ends loses
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::clusters::{self, ClusterError};
use headgate_metadata::id::{ClusterId, TimestampMs};
use headgate_metadata::record::{ClusterRecord, ClusterState};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::components::Components;
use crate::config::ControlConfig;

/// Clusters that a step is taken for at once.
const STEPS_MAX: usize = 64;
/// How often clusters are looked at without news, for what only time makes due.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The pause after a step that led nowhere.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the uses of access keys are stored.
const STORE_USES_EVERY: Duration = Duration::from_mins(1);

/// Takes the steps, in [`Lifecycle::run`].
pub(crate) struct Lifecycle {
    components: Components,
    creation_max: Duration,
    removal_delay: Duration,
    /// Held while running: several listeners share one life.
    alone: tokio::sync::Mutex<()>,
}

impl Lifecycle {
    pub(crate) fn new(config: &ControlConfig, components: &Components) -> Self {
        Self {
            components: components.clone(),
            creation_max: config.cluster_creation_max,
            removal_delay: config.cluster_removal_delay,
            alone: tokio::sync::Mutex::default(),
        }
    }

    /// Takes steps until it is dropped. A step that is cut short is taken anew by whoever runs next.
    pub(crate) async fn run(&self) {
        let _alone = self.alone.lock().await;
        let mut changes = self.components.catalog.changes();
        let mut steps = JoinSet::new();
        let mut under_way: HashMap<Id, ClusterId> = HashMap::new();
        let mut store_uses_at = Instant::now() + STORE_USES_EVERY;
        loop {
            changes.mark_unchanged();
            for cluster in self.components.catalog.unsettled() {
                if under_way.len() >= STEPS_MAX {
                    break;
                }
                if self.is_due(&cluster) && !under_way.values().any(|other| *other == cluster.id) {
                    let step = Step { components: self.components.clone(), creation_max: self.creation_max };
                    let id = cluster.id;
                    under_way.insert(steps.spawn(step.take(cluster)).id(), id);
                }
            }
            tokio::select! {
                biased;
                Some(ended) = steps.join_next_with_id(), if !steps.is_empty() => {
                    forget(&mut under_way, ended);
                    while let Some(ended) = steps.try_join_next_with_id() {
                        forget(&mut under_way, ended);
                    }
                }
                // An error means that the catalog is gone, and with it this task.
                _ = changes.changed() => {}
                () = sleep(LOOK_AGAIN) => {}
                () = sleep_until(store_uses_at) => {
                    self.store_uses().await;
                    store_uses_at = Instant::now() + STORE_USES_EVERY;
                }
            }
        }
    }

    /// Stores when keys were last used.
    pub(crate) async fn store_uses(&self) {
        if let Err(error) = self.components.principals.uses().store(&*self.components.store).await {
            tracing::warn!(%error, "uses of access keys not stored yet");
        }
    }

    /// Waits until the cluster is no longer `CREATING`, as long as that may take.
    pub(crate) async fn settled(&self, cluster: ClusterId) {
        let settled = async {
            let mut changes = self.components.catalog.changes();
            while self.components.catalog.cluster(cluster).is_none_or(|seen| is_creating(&seen)) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // A cluster that takes longer is told of as it is then.
        drop(timeout(self.creation_max, settled).await);
    }

    fn is_due(&self, cluster: &ClusterRecord) -> bool {
        match cluster.state {
            ClusterState::Creating => true,
            // A record without a time was marked by who knew of no delay.
            ClusterState::Deleting => cluster
                .life
                .deleted
                .is_none_or(|deleted| since(&self.components, deleted) >= self.removal_delay),
            ClusterState::Active | ClusterState::Failed => false,
        }
    }
}

fn forget(under_way: &mut HashMap<Id, ClusterId>, ended: Result<(Id, ()), tokio::task::JoinError>) {
    let id = match ended {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(%error, "a step of a cluster's life broke");
            error.id()
        }
    };
    under_way.remove(&id);
}

fn is_creating(cluster: &ClusterRecord) -> bool {
    cluster.state == ClusterState::Creating
}

fn since(components: &Components, at: TimestampMs) -> Duration {
    Duration::from_millis(now(components).get().saturating_sub(at.get()))
}

fn now(components: &Components) -> TimestampMs {
    TimestampMs::new(u64::try_from((components.clock)().as_millis()).unwrap_or(0))
}

/// One step of one cluster.
struct Step {
    components: Components,
    creation_max: Duration,
}

impl Step {
    async fn take(self, cluster: Arc<ClusterRecord>) {
        let taken = match cluster.state {
            ClusterState::Creating => self.create(&cluster).await,
            ClusterState::Deleting => self.remove(cluster.id).await,
            ClusterState::Active | ClusterState::Failed => return,
        };
        match taken {
            // Somebody else took the last step.
            Ok(()) | Err(ClusterError::Unknown(_)) => {}
            Err(ClusterError::Store(error)) => {
                tracing::warn!(cluster = %cluster.id, %error, "a step of a cluster's life not taken yet");
                sleep(PAUSE).await;
            }
        }
    }

    async fn create(&self, cluster: &ClusterRecord) -> Result<(), ClusterError> {
        if self.components.bootstrap.reachable(cluster).await {
            return self.settle(cluster, ClusterState::Active, None).await;
        }
        if since(&self.components, cluster.created) < self.creation_max {
            sleep(PAUSE).await;
            return Ok(());
        }
        let port = cluster.port.map_or_else(String::new, |port| format!(" on its port {port}"));
        let failure = format!("The cluster could not be reached{port}.");
        tracing::error!(cluster = %cluster.id, failure, "cluster failed");
        self.settle(cluster, ClusterState::Failed, Some(failure)).await
    }

    /// Ends the creation, unless the cluster is being deleted meanwhile.
    async fn settle(
        &self,
        cluster: &ClusterRecord,
        state: ClusterState,
        failure: Option<String>,
    ) -> Result<(), ClusterError> {
        let settled = clusters::update(&*self.components.store, cluster.id, |record| {
            if is_creating(record) {
                record.state = state;
                record.life.failure.clone_from(&failure);
            }
        });
        let (_, revision) = settled.await?;
        // Until this process has seen it, it would take the step again.
        self.seen(revision).await;
        Ok(())
    }

    async fn remove(&self, cluster: ClusterId) -> Result<(), ClusterError> {
        let revision =
            clusters::finish_delete(&*self.components.store, cluster, now(&self.components)).await?;
        tracing::info!(%cluster, "cluster removed");
        self.seen(revision).await;
        Ok(())
    }

    async fn seen(&self, revision: headgate_metadata::id::Revision) {
        if let Err(error) = self.components.catalog.reach(revision).await {
            tracing::warn!(%error, "clusters are behind");
        }
    }
}
