//! `headgate dev`: all roles in one process, on embedded parts, with no configuration.

mod billing;
mod cluster_ports;
mod connection_files;
mod first_start;
mod settings;

pub(crate) use settings::DevFlags;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::Utc;
use headgate_control::{Components, ControlConfig, ControlMetrics, ControlServer};
use headgate_gateway::{
    Gateway, GatewayConfig, GatewayParts, HostNames, ListenError, ListenerSecurity, ListenerSpec,
    SystemRandom, SystemWallClock,
};
use headgate_iam::UnixTime;
use headgate_log::disk::LocalDisk;
use headgate_log::store::{CellIdentity, Store};
use headgate_metadata::audit::{AuditFile, SharedAudit};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::counters;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::principals::Principals;
use headgate_metadata::quotas::Quotas;
use headgate_metadata::record::CellRecord;
use headgate_metadata::store::SharedStore;
use headgate_storage::clock::SystemClock;
use headgate_storage::config::NodeConfig;
use headgate_storage::group::GroupLimits;
use headgate_storage::{Fatal, Metrics, Node, NodeParts, Random, system_free_space};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::billing::LiveBills;
use self::cluster_ports::OwnPorts;
use self::connection_files::DevJson;
use self::first_start::{Cell, DEMO};
use self::settings::{DevSettings, Listen};
use crate::certificates::{self, Certificates};
use crate::data_dir::DataDir;
use crate::random::{random_bytes, random_u64};
use crate::{descriptors, master_key, object_store, telemetry};

/// The audit log is rotated at this size; one older file is kept.
const AUDIT_BYTES_MAX: u64 = 256 << 20;

/// Runs until Ctrl-C or SIGTERM, then stops cleanly.
pub(crate) fn run(flags: Box<DevFlags>) -> Result<()> {
    let settings = flags.decide()?;
    let _telemetry = telemetry::start()?;
    let data = DataDir::hold(&settings.data_dir)?;
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings, data))
}

async fn serve(settings: DevSettings, data: DataDir) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! { biased; _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let mut stop = std::pin::pin!(stop);
    let running = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        running = start(settings, &data) => running?,
    };
    stop.await;
    eprintln!("stopping: requests in progress finish, the write-ahead log is synced");
    running.stop().await;
    Ok(())
}

/// Everything that runs.
struct Running {
    gateway: Arc<Gateway>,
    node: Arc<Node>,
    stop_control: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Clients first, then what they used.
    async fn stop(mut self) {
        self.stop_control.send_replace(true);
        self.gateway.drain().await;
        while self.tasks.join_next().await.is_some() {}
        self.node.shutdown().await;
    }
}

async fn start(settings: DevSettings, data: &DataDir) -> Result<Running> {
    // Bound before anything else, so that a taken port is told before data is touched.
    let api = bind_api(&settings.listen_api).await?;
    let master_key = master_key::load_or_create(data)?;
    let store: SharedStore = Arc::new(EmbeddedStore::open(&data.join("metadata.redb"))?);
    let now = TimestampMs::new(Utc::now().timestamp_millis() as u64);
    let cell = first_start::find_or_create(&store, &master_key, now).await?;
    let objects = open_objects(&settings, data, &cell.record).await?;
    let mut registry = Registry::default();
    let node = start_node(&settings, data, &store, objects, &mut registry).await?;
    let catalog = Catalog::start(Arc::clone(&store)).await?;
    let principals = Principals::start(Arc::clone(&store)).await?;
    let audit: SharedAudit = Arc::new(AuditFile::open(&data.join("audit.log"), AUDIT_BYTES_MAX)?);
    let names = HostNames {
        suffix: format!("c{}.kafka-serverless.{}.headgate.local", cell.record.cell, cell.record.region),
        local: certificate_names(&settings),
    };
    let Certificates { ca_pem_path, server: tls } = certificates::load_or_create(data, &names.local)?;
    let parts = GatewayParts {
        storage: Arc::clone(&node) as _,
        catalog: Arc::clone(&catalog),
        quotas: Quotas::start(Arc::clone(&store)).await?,
        principals: Arc::clone(&principals),
        metadata: Arc::clone(&store),
        audit: Arc::clone(&audit),
        master_key: master_key.clone(),
        clock: Arc::new(SystemWallClock),
        random: Arc::new(SystemRandom),
        incarnation: counters::next_incarnation(&*store).await?,
        region: cell.record.region.clone(),
        zone: None,
        names,
    };
    let config: GatewayConfig =
        settings.gateway.clone().try_into().context("section [gateway] of the configuration")?;
    let gateway = Arc::new(Gateway::new(config, parts, &mut registry)?);
    let metrics = ControlMetrics::register(&mut registry);
    let components = Components {
        store: Arc::clone(&store),
        catalog: Arc::clone(&catalog),
        principals,
        master_key,
        audit,
        bills: Arc::new(LiveBills::new(Arc::clone(&store), Arc::clone(&node))),
        quotas: {
            let gateway = Arc::clone(&gateway);
            Arc::new(move |cluster| gateway.explain_quotas(cluster))
        },
        bootstrap: Arc::new(OwnPorts::new(&settings, Arc::clone(&catalog))?),
        ready: {
            let node = Arc::clone(&node);
            Arc::new(move || node.is_accepting())
        },
        registry: Arc::new(registry),
        metrics,
        clock: Arc::new(|| UnixTime::from(std::time::SystemTime::now())),
        random: Arc::new(random_bytes),
    };
    let mut running =
        Running { gateway, node, stop_control: watch::Sender::new(false), tasks: JoinSet::new() };
    open_listeners(&settings, &cell, tls, &mut running)?;
    serve_api(&settings, &cell.record, components, api, &mut running)?;
    let json = dev_json(&settings, &cell, &ca_pem_path);
    json.write(data.path())?;
    println!("{}", json.greeting(data.path()));
    Ok(running)
}

async fn bind_api(listen: &Listen) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in listen.addresses()? {
        listeners.push(TcpListener::bind(address).await.with_context(|| taken(address, listen.flag))?);
    }
    Ok(listeners)
}

fn taken(address: impl std::fmt::Display, flag: &str) -> String {
    format!(
        "cannot listen on {address}; if another program has the port, choose another with {flag} HOST:PORT"
    )
}

/// The name in the certificate and in signatures: the local ones, and the advertised one.
fn certificate_names(settings: &DevSettings) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !names.contains(&settings.advertised_host) {
        names.push(settings.advertised_host.clone());
    }
    names
}

async fn open_objects(settings: &DevSettings, data: &DataDir, cell: &CellRecord) -> Result<Store> {
    let default = format!("file://{}", data.join("objects").display());
    let url = object_store::absolute(settings.object_store.as_deref().unwrap_or(&default))?;
    let store =
        object_store::open(&url, random_u64()).await.with_context(|| format!("object store {url}"))?;
    let identity = CellIdentity {
        format: CellIdentity::FORMAT,
        cell: cell.cell.clone(),
        slots: cell.slots,
        hash: cell.hash.clone(),
    };
    store.check_cell(&identity).await?;
    // `headgate bill` reads the store of a stopped process from here.
    crate::data_dir::write_private(&data.join("object-store.url"), url.as_bytes())?;
    Ok(store)
}

async fn start_node(
    settings: &DevSettings,
    data: &DataDir,
    store: &SharedStore,
    objects: Store,
    registry: &mut Registry,
) -> Result<Arc<Node>> {
    let mut config: NodeConfig =
        settings.storage.clone().try_into().context("section [storage] of the configuration")?;
    if !settings.storage.contains_key("wal_dir") {
        config.wal_dir = data.join("wal");
    }
    std::fs::create_dir_all(&config.wal_dir)?;
    let metrics = Arc::new(Metrics::default());
    metrics.register(registry);
    let parts = NodeParts {
        store: Arc::clone(store),
        objects,
        disk: Arc::new(LocalDisk),
        free_space: system_free_space(),
        clock: SystemClock::shared(),
        random: Random::from_os(),
        fatal: Fatal::new(|reason| {
            // What the disk holds is unknown: nothing may be acknowledged any more, not even on the way out.
            eprintln!("headgate: storage stopped: {reason}");
            std::process::exit(70);
        }),
        metrics,
        group_limits: GroupLimits::default(),
    };
    Ok(Node::start(config, parts).await?)
}

fn open_listeners(
    settings: &DevSettings,
    cell: &Cell,
    tls: Arc<rustls::ServerConfig>,
    running: &mut Running,
) -> Result<()> {
    let iam = ListenerSpec {
        addresses: settings.listen_iam.addresses()?,
        advertised_host: settings.advertised_host.clone(),
        advertised_port: settings.listen_iam.port,
        bound_cluster: None,
        default_cluster: Some(cell.demo.id),
        security: ListenerSecurity::Iam(tls),
    };
    listen(&running.gateway, iam.clone(), settings.listen_iam.flag)?;
    if let Some(plaintext) = &settings.listen_plaintext {
        let spec = ListenerSpec {
            addresses: plaintext.addresses()?,
            advertised_host: plaintext.host.clone(),
            advertised_port: plaintext.port,
            bound_cluster: Some(cell.demo.id),
            default_cluster: None,
            security: ListenerSecurity::Plaintext {
                account: cell.record.account,
                user: cell.administrator.name.clone(),
            },
        };
        listen(&running.gateway, spec, plaintext.flag)?;
    }
    let gateway = Arc::clone(&running.gateway);
    running.tasks.spawn(async move { gateway.follow_cluster_ports(iam).await });
    Ok(())
}

fn listen(gateway: &Gateway, spec: ListenerSpec, flag: &'static str) -> Result<()> {
    gateway.listen(spec).map(drop).map_err(|error| match error {
        ListenError::Bind { address, source } => anyhow::Error::new(source).context(taken(address, flag)),
        other => other.into(),
    })
}

fn serve_api(
    settings: &DevSettings,
    cell: &CellRecord,
    components: Components,
    listeners: Vec<TcpListener>,
    running: &mut Running,
) -> Result<()> {
    let mut config = ControlConfig::new(cell.region.clone(), cell.slots);
    config.cluster_ports = Some(settings.cluster_ports.clone());
    config.operator_account = Some(cell.account);
    let server = ControlServer::new(config, components, None)?;
    for listener in listeners {
        let server = server.clone();
        let stopped = stopped(running.stop_control.subscribe());
        running.tasks.spawn(async move {
            if let Err(error) = server.serve(listener, stopped).await {
                tracing::error!(%error, "control API ended");
            }
        });
    }
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    drop(stop.wait_for(|stop| *stop).await);
}

fn dev_json(settings: &DevSettings, cell: &Cell, ca_pem_path: &Path) -> DevJson {
    let url_host = if settings.listen_api.host.contains(':') {
        format!("[{}]", settings.listen_api.host)
    } else {
        settings.listen_api.host.clone()
    };
    DevJson {
        bootstrap_iam: format!("{}:{}", settings.advertised_host, settings.listen_iam.port),
        bootstrap_plaintext: settings
            .listen_plaintext
            .as_ref()
            .map(|listen| format!("{}:{}", listen.host, listen.port)),
        api_url: format!("http://{url_host}:{}", settings.listen_api.port),
        cluster_arn: cell.demo.arn(&cell.record.region),
        cluster_name: DEMO.to_owned(),
        region: cell.record.region.clone(),
        account_id: cell.record.account.to_string(),
        access_key_id: cell.access_key_id.clone(),
        secret_access_key: cell.secret.expose().to_owned(),
        ca_pem_path: ca_pem_path.display().to_string(),
        pid: std::process::id(),
    }
}
