//! Clusters whose deletion was answered and whose topics are being removed behind it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headgate_metadata::clusters::{self, ClusterError};
use headgate_metadata::id::{ClusterId, TimestampMs};
use headgate_metadata::record::ClusterState;
use headgate_metadata::store::{MetadataError, SharedStore};
use tokio::task::JoinSet;

use crate::components::SharedClock;

/// The first pause after a failed attempt.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The deletions under way. Dropping it, or ending the process, loses nothing: they are resumed at the next start.
pub(crate) struct Deletions {
    store: SharedStore,
    clock: SharedClock,
    tasks: Mutex<JoinSet<()>>,
}

impl Deletions {
    pub(crate) fn new(store: SharedStore, clock: SharedClock) -> Self {
        Self { store, clock, tasks: Mutex::default() }
    }

    /// Takes up the deletions that an earlier process began.
    pub(crate) async fn resume(&self) -> Result<(), MetadataError> {
        for cluster in clusters::list(&*self.store).await? {
            if cluster.state == ClusterState::Deleting {
                self.finish(cluster.id);
            }
        }
        Ok(())
    }

    /// Removes, in the background, a cluster that is marked as being deleted.
    pub(crate) fn finish(&self, cluster: ClusterId) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(finish(self.store.clone(), self.clock.clone(), cluster));
    }

    /// Ends what is under way; it is resumed at the next start.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

async fn finish(store: SharedStore, clock: SharedClock, cluster: ClusterId) {
    let mut pause = PAUSE_MIN;
    loop {
        let now = TimestampMs::new(u64::try_from(clock().as_millis()).unwrap_or(0));
        match clusters::finish_delete(&*store, cluster, now).await {
            Ok(_) => return tracing::info!(%cluster, "cluster removed"),
            // Somebody else finished it.
            Err(ClusterError::Unknown(_)) => return,
            Err(ClusterError::Store(error)) => tracing::warn!(%cluster, %error, "cluster not removed yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
