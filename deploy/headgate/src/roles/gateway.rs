//! `headgate gateway`: one stateless gateway of a cell, with the control API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use headgate_control::Bootstrap;
use headgate_gateway::{BROKER_IDS, HostNames, ListenerSecurity, ListenerSpec, LiveGateways};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::id::BrokerId;
use headgate_metadata::live::LiveRecords;
use headgate_metadata::record::{CellRecord, ClusterRecord, GatewayRecord, Record as _};
use headgate_metadata::slot_owners::SlotOwners;
use headgate_metadata::store::{Lease, SharedStore};
use headgate_metadata::{counters, keys};
use headgate_storage_client::remote::{RemoteConfig, RemoteStorage};
use headgate_storage_client::wire::{Dialer, PeerRole, TlsDialer};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::calls::Calls;
use super::cell::{MASTER_KEY, stem};
use super::metering::MeteredUsage;
use super::settings::{CellFlags, CellSettings};
use super::zone_traffic::ZoneCounting;
use super::{LEASE_TTL, live_gateways};
use crate::billing::LiveBills;
use crate::data_dir::DataDir;
use crate::front::{self, Front, FrontParts, port_opened};
use crate::listen::{Listen, TENANT_METRICS, parse_ports};
use crate::process::{self, Running};
use crate::{certificates, master_key};

/// The domain of clusters' names where none is given: of those for which no port was left.
const DOMAIN_DEFAULT: &str = "headgate.local";
/// Clusters whose topics a gateway reads before it says that it is there; those beyond are read on first use.
const WARM_CLUSTERS_MAX: usize = 256;
/// How long that may take.
const WARM_WAIT: Duration = Duration::from_secs(5);

/// Flags of `headgate gateway`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GatewayFlags {
    /// The gateway's name, unique in the cell.
    #[arg(long, value_name = "NAME", env = "HEADGATE_NAME")]
    name: String,
    /// The zone it runs in, which clients see as the rack of its brokers.
    #[arg(long, value_name = "ZONE", env = "HEADGATE_ZONE")]
    zone: String,
    /// The TLS listener for clients with IAM credentials.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_LISTEN_IAM")]
    listen_iam: String,
    /// The name or address clients reach this gateway by [default: the host of --listen-iam].
    #[arg(long, value_name = "NAME", env = "HEADGATE_ADVERTISED_HOST")]
    advertised_host: Option<String>,
    /// The control API, metrics and health; over TLS unless it is on loopback.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080", env = "HEADGATE_LISTEN_API")]
    listen_api: String,
    /// Metrics that name clusters, over plain HTTP: for the operator's network alone. Nothing is served if it is not given.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_LISTEN_TENANT_METRICS")]
    listen_tenant_metrics: Option<String>,
    /// Ports for clusters, one each and the same on all gateways, unless they are reached by name.
    #[arg(long, value_name = "FROM-TO", default_value = "9100-9199", env = "HEADGATE_CLUSTER_PORTS")]
    cluster_ports: String,
    /// Where the audit log is kept.
    #[arg(long, value_name = "DIR", default_value = "./headgate-gateway", env = "HEADGATE_DATA_DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    cell: CellFlags,
}

struct Settings {
    name: String,
    zone: String,
    iam: Listen,
    advertised_host: String,
    api: Listen,
    tenant_metrics: Option<Listen>,
    cluster_ports: std::ops::RangeInclusive<u16>,
    cell: CellSettings,
}

/// Runs until SIGTERM.
pub(crate) fn run(flags: GatewayFlags) -> Result<()> {
    let iam = Listen::parse(&flags.listen_iam, "--listen-iam")?;
    let advertised_host = match flags.advertised_host {
        Some(host) => host,
        None if iam.host == "0.0.0.0" || iam.host == "::" => {
            bail!("--listen-iam {}: clients need a name to come back to; add --advertised-host", iam.host)
        }
        None => iam.host.clone(),
    };
    let settings = Settings {
        name: flags.name,
        zone: flags.zone,
        iam,
        advertised_host,
        api: Listen::parse(&flags.listen_api, "--listen-api")?,
        tenant_metrics: Listen::parse_optional(flags.listen_tenant_metrics.as_deref(), TENANT_METRICS)?,
        cluster_ports: parse_ports(&flags.cluster_ports)?,
        cell: flags.cell.decide()?,
    };
    process::run(&flags.data_dir, async |data| start(settings, data).await)
}

/// Everything that runs.
struct GatewayProcess {
    front: Front,
    lease: Lease,
    _tasks: JoinSet<()>,
}

impl Running for GatewayProcess {
    /// The others stop telling clients of this gateway before it stops answering them.
    async fn stop(self) {
        self.lease.release().await;
        self.front.stop().await;
    }
}

/// The names by which clients reach a gateway: its own, and those of the clusters.
pub(crate) fn host_names(cell: &CellRecord, settings: &CellSettings, local: Vec<String>) -> HostNames {
    let domain = settings.named_domain.as_deref().unwrap_or(DOMAIN_DEFAULT);
    let suffix = format!("c{}.kafka-serverless.{}.{domain}", cell.cell, cell.region);
    HostNames { suffix, local, zones: settings.named_zones.clone() }
}

async fn start(settings: Settings, data: &DataDir) -> Result<GatewayProcess> {
    let api = front::bind(&settings.api).await?;
    let tenant_metrics = front::bind_tenant_metrics(settings.tenant_metrics.as_ref()).await?;
    let store = super::cell::metadata_store(&settings.cell)?;
    let cell = super::cell::record(&store, &settings.cell).await?;
    let role = PeerRole::Gateway(settings.name.as_str().into());
    let credentials = super::cell::credentials(&settings.cell, &cell, role.clone())?;
    let master_key = master_key::load(&settings.cell.secrets_dir.join(MASTER_KEY))?;
    let tls = certificates::load_server(&settings.cell.secrets_dir, &format!("{}-clients", stem(&role)))?;
    let remote: RemoteConfig =
        settings.cell.remote.clone().try_into().context("section [remote] of the configuration")?;
    let owners = SlotOwners::start(Arc::clone(&store)).await?;
    let dialer: Dialer = Arc::new(TlsDialer::new(&credentials)?);
    let mut registry = Registry::default();
    let counting = ZoneCounting::new(Arc::clone(&dialer), &settings.zone, Arc::clone(&owners), &mut registry);
    let storage = RemoteStorage::new(Arc::clone(&owners), counting, &remote)?;
    let catalog = Catalog::start(Arc::clone(&store)).await?;
    let names = host_names(&cell, &settings.cell, vec![settings.advertised_host.clone()]);
    let record = GatewayRecord {
        name: settings.name.clone(),
        incarnation: counters::next_incarnation(&*store).await?,
        zone: settings.zone.clone(),
        host: settings.advertised_host.clone(),
        port: settings.iam.port,
    };
    let mut tasks = JoinSet::new();
    let gateways = LiveRecords::start(Arc::clone(&store), keys::GATEWAYS).await?;
    let live = live_gateways::follow(record.clone(), gateways, Arc::clone(&owners), &mut tasks);
    let is_named = settings.cell.named_domain.is_some();
    let bootstrap = FleetBootstrap {
        gateways: live.clone(),
        names: names.clone(),
        iam: settings.iam.addresses()?[0],
        is_named,
    };
    let parts = FrontParts {
        cell,
        store: Arc::clone(&store),
        catalog: Arc::clone(&catalog),
        storage,
        bills: bills(&store, &dialer).await?,
        bootstrap: Arc::new(bootstrap),
        // Without any storage node nothing can be served; with some, each slot has its own answer.
        ready: Arc::new(move || !owners.nodes().is_empty()),
        master_key,
        names,
        incarnation: record.incarnation,
        zone: Some(settings.zone.clone()),
        fleet: Some(live),
        cluster_ports: (!is_named).then(|| settings.cluster_ports.clone()),
        gateway: settings.cell.gateway.clone(),
        control: settings.cell.control.clone(),
        api_tls: (!settings.api.is_loopback()?).then(|| TlsAcceptor::from(Arc::clone(&tls))),
        registry,
    };
    let mut front = Front::new(data, parts).await?;
    let iam = ListenerSpec {
        addresses: settings.iam.addresses()?,
        advertised_host: settings.advertised_host.clone(),
        advertised_port: settings.iam.port,
        bound_cluster: None,
        default_cluster: None,
        security: ListenerSecurity::Iam(tls),
    };
    front.listen(iam.clone(), settings.iam.flag)?;
    front.follow_cluster_ports(iam);
    front.serve_api(api);
    front.serve_tenant_metrics(tenant_metrics);
    // From now on clients may come, also while the metadata store is away.
    drop(timeout(WARM_WAIT, catalog.warm(WARM_CLUSTERS_MAX)).await);
    // Told of when it answers, not before.
    let lease = store.keep(&keys::gateway(&settings.name), record.encode(), LEASE_TTL).await;
    let lease = lease.context("this gateway cannot register")?;
    tracing::info!(name = settings.name, zone = settings.zone, "gateway open");
    Ok(GatewayProcess { front, lease, _tasks: tasks })
}

async fn bills(store: &SharedStore, dialer: &Dialer) -> Result<Arc<LiveBills>> {
    let metering = LiveRecords::start(Arc::clone(store), keys::METERING).await?;
    let source = MeteredUsage::new(metering, Calls::new(Arc::clone(dialer)));
    Ok(Arc::new(LiveBills::new(Arc::clone(store), Arc::new(source))))
}

/// Bootstrap strings: all live gateways with the cluster's own port, or the cluster's name.
struct FleetBootstrap {
    gateways: LiveGateways,
    names: HostNames,
    /// Where this gateway listens.
    iam: SocketAddr,
    /// Whether all clusters are reached by name.
    is_named: bool,
}

#[async_trait]
impl Bootstrap for FleetBootstrap {
    fn brokers(&self, cluster: &ClusterRecord) -> String {
        match cluster.port.filter(|_| !self.is_named) {
            None => format!("{}:{}", self.names.bootstrap(cluster.id), self.iam.port()),
            Some(port) => {
                let gateways = self.gateways.now();
                let addresses: Vec<String> =
                    gateways.live.iter().map(|gateway| format!("{}:{port}", gateway.host)).collect();
                addresses.join(",")
            }
        }
    }

    fn broker_ids(&self, cluster: &ClusterRecord) -> Vec<BrokerId> {
        if self.is_named || cluster.port.is_none() {
            return BROKER_IDS.to_vec();
        }
        // Those that clients are told of (`gateway/PROTOCOL.md` §1).
        self.gateways.now().brokers(cluster.id).into_keys().collect()
    }

    async fn reachable(&self, cluster: &ClusterRecord) -> bool {
        match cluster.port.filter(|_| !self.is_named) {
            Some(port) => port_opened(SocketAddr::new(self.iam.ip(), port)).await,
            None => true,
        }
    }
}
