//! What faces clients: the gateway with its listeners and the control API, as `dev` and `headgate gateway` put them together.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use headgate_control::{BillSource, Bootstrap, Components, ControlConfig, ControlMetrics, ControlServer};
use headgate_gateway::{
    Gateway, GatewayConfig, GatewayParts, HostNames, ListenError, ListenerSpec, LiveGateways, SystemRandom,
    SystemWallClock,
};
use headgate_iam::{MasterKey, UnixTime};
use headgate_metadata::audit::{AuditFile, SharedAudit};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::client_quotas::ClientQuotas;
use headgate_metadata::id::Incarnation;
use headgate_metadata::principals::Principals;
use headgate_metadata::quotas::Quotas;
use headgate_metadata::record::CellRecord;
use headgate_metadata::store::SharedStore;
use headgate_storage_client::Storage;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use crate::control_topics::GatewayTopics;
use crate::data_dir::DataDir;
use crate::listen::Listen;
use crate::observe::{self, Observed};
use crate::random::random_bytes;

/// The audit log is rotated at this size; a few older files are kept.
const AUDIT_BYTES_MAX: u64 = 64 << 20;

/// How long whoever creates a cluster waits for its port at most; afterwards its clients retry, as they do anyway.
const REACHABLE_MAX: Duration = Duration::from_secs(2);
/// Between two looks. The port opens within a millisecond or two of the cluster's record being seen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What it is made of.
pub(crate) struct FrontParts {
    pub(crate) cell: CellRecord,
    pub(crate) store: SharedStore,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) bills: Arc<dyn BillSource>,
    pub(crate) bootstrap: Arc<dyn Bootstrap>,
    /// Whether clients can be served.
    pub(crate) ready: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) master_key: MasterKey,
    pub(crate) names: HostNames,
    pub(crate) incarnation: Incarnation,
    pub(crate) zone: Option<String>,
    /// The live gateways; `None` where this is the only one.
    pub(crate) fleet: Option<LiveGateways>,
    /// The ports that clusters are given; `None` where they are reached by name.
    pub(crate) cluster_ports: Option<RangeInclusive<u16>>,
    /// `[gateway]` of the configuration.
    pub(crate) gateway: toml::Table,
    /// `[control]` of the configuration.
    pub(crate) control: toml::Table,
    /// For listeners of the control API that are not on loopback.
    pub(crate) api_tls: Option<TlsAcceptor>,
    /// Metrics so far.
    pub(crate) registry: Registry,
}

/// A running one.
pub(crate) struct Front {
    gateway: Arc<Gateway>,
    control: ControlServer,
    stop_control: watch::Sender<bool>,
    /// Metrics that name clusters, until they are served.
    tenants: Option<Registry>,
    tasks: JoinSet<()>,
}

impl Front {
    /// Makes it; nothing listens yet. The audit log is written into the data directory.
    pub(crate) async fn new(data: &DataDir, mut parts: FrontParts) -> Result<Self> {
        let principals = Principals::start(Arc::clone(&parts.store)).await?;
        let audit: SharedAudit = Arc::new(AuditFile::open(
            &data.join("audit.log"),
            AUDIT_BYTES_MAX,
            parts.cell.region.clone(),
            Box::new(uuid::Uuid::new_v4),
        )?);
        let gateway_parts = GatewayParts {
            storage: parts.storage,
            catalog: Arc::clone(&parts.catalog),
            quotas: Quotas::start(Arc::clone(&parts.store)).await?,
            client_quotas: ClientQuotas::start(Arc::clone(&parts.store)).await?,
            principals: Arc::clone(&principals),
            metadata: Arc::clone(&parts.store),
            audit: Arc::clone(&audit),
            master_key: parts.master_key.clone(),
            clock: Arc::new(SystemWallClock),
            random: Arc::new(SystemRandom),
            incarnation: parts.incarnation,
            region: parts.cell.region.clone(),
            zone: parts.zone,
            names: parts.names,
            fleet: parts.fleet,
        };
        let config: GatewayConfig =
            parts.gateway.try_into().context("section [gateway] of the configuration")?;
        let mut tenants = Registry::default();
        let gateway = Arc::new(Gateway::new(config, gateway_parts, &mut parts.registry, &mut tenants)?);
        let metrics = ControlMetrics::register(&mut parts.registry);
        let topics = GatewayTopics::new(Arc::clone(&gateway), Arc::clone(&parts.store));
        let components = Components {
            store: parts.store,
            catalog: parts.catalog,
            principals,
            master_key: parts.master_key,
            audit,
            bills: parts.bills,
            quotas: {
                let gateway = Arc::clone(&gateway);
                Arc::new(move |cluster| gateway.explain_quotas(cluster))
            },
            bootstrap: parts.bootstrap,
            topics: Arc::new(topics),
            ready: parts.ready,
            registry: Arc::new(parts.registry),
            metrics,
            clock: Arc::new(|| UnixTime::from(std::time::SystemTime::now())),
            random: Arc::new(random_bytes),
        };
        let mut config: ControlConfig =
            parts.control.try_into().context("section [control] of the configuration")?;
        (config.region, config.cell_slots) = (parts.cell.region, parts.cell.slots);
        config.cluster_ports = parts.cluster_ports;
        config.operator_account = Some(parts.cell.account);
        let control = ControlServer::new(config, components, parts.api_tls)?;
        Ok(Self {
            gateway,
            control,
            stop_control: watch::Sender::new(false),
            tenants: Some(tenants),
            tasks: JoinSet::new(),
        })
    }

    /// Opens a listener for clients; `flag` is what to change when its port is taken.
    pub(crate) fn listen(&self, spec: ListenerSpec, flag: &str) -> Result<()> {
        self.gateway.listen(spec).map(drop).map_err(|error| match error {
            ListenError::Bind { address, source } => anyhow::Error::new(source).context(taken(address, flag)),
            other => other.into(),
        })
    }

    /// Opens a listener on each cluster's own port from now on, made after this one.
    pub(crate) fn follow_cluster_ports(&mut self, template: ListenerSpec) {
        let gateway = Arc::clone(&self.gateway);
        self.tasks.spawn(async move { gateway.follow_cluster_ports(template).await });
    }

    /// Serves the control API.
    pub(crate) fn serve_api(&mut self, listeners: Vec<TcpListener>) {
        for listener in listeners {
            let (control, stopped) = (self.control.clone(), stopped(self.stop_control.subscribe()));
            self.tasks.spawn(async move {
                if let Err(error) = control.serve(listener, stopped).await {
                    tracing::error!(%error, "control API ended");
                }
            });
        }
    }

    /// Serves the metrics that name clusters, to the operator's network.
    pub(crate) fn serve_tenant_metrics(&mut self, listeners: Vec<TcpListener>) {
        let Some(registry) = self.tenants.take() else { return };
        let (observed, stopped) =
            (Observed { registry, ready: Box::new(|| true) }, stopped(self.stop_control.subscribe()));
        self.tasks.spawn(async move {
            tokio::select! {
                () = observe::serve(listeners, observed) => {}
                () = stopped => {}
            }
        });
    }

    /// Lets clients finish what they are at, within the drain limit.
    pub(crate) async fn stop(mut self) {
        self.stop_control.send_replace(true);
        self.gateway.drain().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Binds the place of the metrics that name clusters; none where there is none.
pub(crate) async fn bind_tenant_metrics(listen: Option<&Listen>) -> Result<Vec<TcpListener>> {
    match listen {
        Some(listen) => bind(listen).await,
        None => Ok(Vec::new()),
    }
}

/// Binds all addresses of a place.
pub(crate) async fn bind(listen: &Listen) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in listen.addresses()? {
        listeners.push(TcpListener::bind(address).await.with_context(|| taken(address, listen.flag))?);
    }
    Ok(listeners)
}

/// Waits until a cluster's own port accepts, so that whoever was told it can use it at once.
pub(crate) async fn port_opened(address: SocketAddr) -> bool {
    let give_up = Instant::now() + REACHABLE_MAX;
    while Instant::now() < give_up {
        if TcpStream::connect(address).await.is_ok() {
            return true;
        }
        sleep(LOOK_AGAIN).await;
    }
    false
}

fn taken(address: impl std::fmt::Display, flag: &str) -> String {
    format!(
        "cannot listen on {address}; if another program has the port, choose another with {flag} HOST:PORT"
    )
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    drop(stop.wait_for(|stop| *stop).await);
}
