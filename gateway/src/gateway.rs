//! A gateway: built from parts, opened on listeners, drained.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headgate_metadata::id::ClusterId;
use headgate_metadata::record::ClusterState;
use headgate_storage_client::quota::QuotaExplanation;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::config::{ConfigInvalid, GatewayConfig};
use crate::listener::{BoundListener, ListenError, ListenerSpec};
use crate::metrics::GatewayMetrics;
use crate::shared::{GatewayParts, Phase, Shared};
use crate::{quota, usage};

/// How often sources that have been quiet are forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// How often connections look whether they may go on, at most: whoever changes principals or clusters all the time must not
/// keep the others' connections busy.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);

/// A running gateway. Dropping it ends all connections at once; [`Gateway::drain`] ends them in order.
pub struct Gateway {
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    tasks: Mutex<JoinSet<()>>,
    background: Mutex<JoinSet<()>>,
}

impl Gateway {
    /// Builds a gateway and starts what runs beside its connections. Must be called in a tokio runtime. Its metrics are
    /// added to `registry`, those that name clusters to `tenants`.
    pub fn new(
        config: GatewayConfig,
        parts: GatewayParts,
        registry: &mut Registry,
        tenants: &mut Registry,
    ) -> Result<Self, ConfigInvalid> {
        config.validate()?;
        let admission = Arc::new(Admission::new(&config));
        let shared = Arc::new(Shared::new(parts, config, GatewayMetrics::registered(registry, tenants)));
        let mut background = JoinSet::new();
        background.spawn(usage::report_for_ever(Arc::clone(&shared)));
        background.spawn(forget_for_ever(Arc::clone(&admission)));
        let changes = [shared.parts.principals.changes(), shared.parts.catalog.changes()];
        background.spawn(announce_changes(Arc::clone(&shared), changes));
        background.spawn(quota::fly(Arc::clone(&shared)));
        Ok(Self { shared, admission, tasks: Mutex::default(), background: Mutex::new(background) })
    }

    /// Opens a listener and serves it from now on. Returns the port it is bound to.
    pub fn listen(&self, spec: ListenerSpec) -> Result<u16, ListenError> {
        // Never told to close by itself: the sender is dropped, and the listener waits for draining alone.
        let (_, close) = watch::channel(false);
        self.open(spec, close)
    }

    /// What all connections share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn open(&self, spec: ListenerSpec, close: watch::Receiver<bool>) -> Result<u16, ListenError> {
        let listener = BoundListener::bind(spec)?;
        let port = listener.port();
        let running = listener.run(Arc::clone(&self.shared), Arc::clone(&self.admission), close);
        self.tasks.lock().expect("nobody panics while holding the tasks").spawn(running);
        Ok(port)
    }

    /// Opens a listener on each cluster's own port, and keeps doing so as clusters come and go; ends when the process
    /// drains. `template` gives everything but port and cluster; its addresses' ports are replaced.
    pub async fn follow_cluster_ports(&self, template: ListenerSpec) {
        let mut open: HashMap<ClusterId, watch::Sender<bool>> = HashMap::new();
        let mut changes = self.shared.parts.catalog.changes();
        let mut phase = self.shared.phase.subscribe();
        loop {
            changes.mark_unchanged();
            self.open_cluster_ports(&template, &mut open);
            tokio::select! {
                biased;
                _ = phase.changed() => if matches!(*phase.borrow(), Phase::Draining(_)) { return },
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    fn open_cluster_ports(
        &self,
        template: &ListenerSpec,
        open: &mut HashMap<ClusterId, watch::Sender<bool>>,
    ) {
        let clusters = self.shared.parts.catalog.with_port();
        let wanted: HashMap<ClusterId, u16> = clusters
            .iter()
            // A new cluster becomes active when its port can be reached.
            .filter(|cluster| matches!(cluster.state, ClusterState::Creating | ClusterState::Active))
            .filter_map(|cluster| Some((cluster.id, cluster.port?)))
            .collect();
        open.retain(|cluster, close| {
            let keep = wanted.contains_key(cluster);
            if !keep {
                close.send_replace(true);
            }
            keep
        });
        for (cluster, port) in wanted {
            if open.contains_key(&cluster) {
                continue;
            }
            let mut spec = template.clone();
            (spec.bound_cluster, spec.default_cluster, spec.advertised_port) = (Some(cluster), None, port);
            let with_port = |address: &SocketAddr| SocketAddr::new(address.ip(), port);
            spec.addresses = template.addresses.iter().map(with_port).collect();
            let (close, closed) = watch::channel(false);
            match self.open(spec, closed) {
                Ok(_) => drop(open.insert(cluster, close)),
                Err(error) => tracing::error!(%cluster, %error, "cluster's own port not opened"),
            }
        }
    }

    /// Why a cluster is slowed down here; `None` if no client of it is connected.
    pub fn explain_quotas(&self, cluster: ClusterId) -> Option<QuotaExplanation> {
        self.shared.quotas.get(cluster).map(|tenant| tenant.explain())
    }

    /// Stops accepting, ends long waits, closes each connection at its first idle moment and all at the deadline, and
    /// reports what was sent. Returns when all have ended (`gateway/PROTOCOL.md` §10).
    pub async fn drain(&self) {
        let deadline = Instant::now() + self.shared.config.drain_max();
        self.shared.phase.send_replace(Phase::Draining(deadline));
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().expect("nobody panics while holding the tasks"));
        while tasks.join_next().await.is_some() {}
        self.background.lock().expect("nobody panics while holding the tasks").abort_all();
        self.shared.sent.report(&*self.shared.parts.storage).await;
    }
}

/// Tells connections of changes of principals, of clusters and of their policies.
async fn announce_changes(shared: Arc<Shared>, changes: [watch::Receiver<u64>; 2]) {
    let [mut principals, mut clusters] = changes;
    loop {
        let changed = tokio::select! {
            biased;
            changed = principals.changed() => changed,
            changed = clusters.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        shared.standing.send_modify(|changes| *changes += 1);
        tokio::time::sleep(LOOK_AGAIN_EVERY).await;
    }
}

async fn forget_for_ever(admission: Arc<Admission>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        admission.forget_quiet();
    }
}
