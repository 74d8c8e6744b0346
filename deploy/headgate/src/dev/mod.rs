//! `headgate dev`: all roles in one process, on embedded parts, with no configuration.

mod bootstrap;
mod connection_files;
mod settings;

pub(crate) use settings::DevFlags;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use chrono::Utc;
use headgate_gateway::{HostNames, ListenerSecurity, ListenerSpec};
use headgate_metadata::catalog::Catalog;
use headgate_metadata::counters;
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::{CellRecord, ClusterRecord};
use headgate_metadata::store::SharedStore;
use headgate_storage::Node;
use prometheus_client::registry::Registry;

use self::bootstrap::DevBootstrap;
use self::connection_files::DevJson;
use self::settings::DevSettings;
use crate::billing::LiveBills;
use crate::certificates::{self, Certificates};
use crate::data_dir::{DataDir, write_private};
use crate::first_start::{self, Cell, CellSpec, DEMO, REGION};
use crate::front::{self, Front, FrontParts};
use crate::process::{self, Running};
use crate::{master_key, node_parts, object_store};

/// A cell in `dev`: few slots, since one node owns them all.
const SLOTS: u16 = 64;

/// Runs until Ctrl-C or SIGTERM, then stops cleanly.
pub(crate) fn run(flags: Box<DevFlags>) -> Result<()> {
    let settings = flags.decide()?;
    process::run(&settings.data_dir.clone(), async |data| start(settings, data).await)
}

/// Everything that runs.
struct Dev {
    front: Front,
    node: Arc<Node>,
}

impl Running for Dev {
    /// Clients first, then what they used.
    async fn stop(self) {
        self.front.stop().await;
        self.node.shutdown().await;
    }
}

async fn start(settings: DevSettings, data: &DataDir) -> Result<Dev> {
    // Bound before anything else, so that a taken port is told before data is touched.
    let api = front::bind(&settings.listen_api).await?;
    let tenant_metrics = front::bind_tenant_metrics(settings.listen_tenant_metrics.as_ref()).await?;
    let master_key = master_key::load_or_create(&data.join("master.key"))?;
    let store: SharedStore = Arc::new(EmbeddedStore::open(&data.join("metadata.redb"))?);
    let now = TimestampMs::new(Utc::now().timestamp_millis() as u64);
    let spec = CellSpec { slots: SLOTS, region: REGION.to_owned() };
    let cell = first_start::find_or_create(&store, &spec, &master_key, now).await?;
    let demo = first_start::demo(&store, &cell.record, now).await?;
    let mut registry = Registry::default();
    let node = start_node(&settings, data, &store, &cell.record, &mut registry).await?;
    let catalog = Catalog::start(Arc::clone(&store)).await?;
    let names = HostNames {
        suffix: format!(
            "c{}.kafka-serverless.{}.{}",
            cell.record.cell,
            cell.record.region,
            settings.domain()
        ),
        local: local_names(&settings),
        zones: None,
    };
    let in_certificate = [names.local.clone(), vec![names.wildcard()]].concat();
    let Certificates { ca_pem_path, server: tls } = certificates::load_or_create(data, &in_certificate)?;
    let bootstrap = DevBootstrap::new(&settings, demo.id, names.clone())?;
    let parts = FrontParts {
        cell: cell.record.clone(),
        store: Arc::clone(&store),
        catalog,
        storage: Arc::clone(&node) as _,
        bills: Arc::new(LiveBills::new(Arc::clone(&store), Arc::clone(&node) as _)),
        bootstrap: Arc::new(bootstrap),
        ready: {
            let node = Arc::clone(&node);
            Arc::new(move || node.is_accepting())
        },
        master_key,
        names,
        incarnation: counters::next_incarnation(&*store).await?,
        zone: None,
        fleet: None,
        cluster_ports: settings.named_domain.is_none().then(|| settings.cluster_ports.clone()),
        gateway: settings.gateway.clone(),
        control: settings.control.clone(),
        api_tls: None,
        registry,
    };
    let mut front = Front::new(data, parts).await?;
    open_listeners(&settings, &cell, &demo, tls, &mut front)?;
    front.serve_api(api);
    front.serve_tenant_metrics(tenant_metrics);
    let json = dev_json(&settings, &cell, &demo, &ca_pem_path);
    json.write(data.path())?;
    println!("{}", json.greeting(data.path()));
    Ok(Dev { front, node })
}

/// The names of this process, in the certificate and in signatures: the local ones, and the advertised one.
fn local_names(settings: &DevSettings) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !names.contains(&settings.advertised_host) {
        names.push(settings.advertised_host.clone());
    }
    names
}

async fn start_node(
    settings: &DevSettings,
    data: &DataDir,
    store: &SharedStore,
    cell: &CellRecord,
    registry: &mut Registry,
) -> Result<Arc<Node>> {
    let default = format!("file://{}", data.join("objects").display());
    let url = object_store::absolute(settings.object_store.as_deref().unwrap_or(&default))?;
    let objects = object_store::open_known(cell, &url, data).await?;
    // `headgate bill` reads the store of a stopped process from here.
    write_private(&data.join("object-store.url"), url.as_bytes())?;
    let config = node_parts::config(&settings.storage, data.join("wal"))?;
    Ok(Node::start(config, node_parts::parts(store, objects, registry)).await?)
}

fn open_listeners(
    settings: &DevSettings,
    cell: &Cell,
    demo: &ClusterRecord,
    tls: Arc<rustls::ServerConfig>,
    front: &mut Front,
) -> Result<()> {
    let iam = ListenerSpec {
        addresses: settings.listen_iam.addresses()?,
        advertised_host: settings.advertised_host.clone(),
        advertised_port: settings.listen_iam.port,
        bound_cluster: None,
        default_cluster: Some(demo.id),
        security: ListenerSecurity::Iam(tls),
    };
    front.listen(iam.clone(), settings.listen_iam.flag)?;
    if let Some(plaintext) = &settings.listen_plaintext {
        let spec = ListenerSpec {
            addresses: plaintext.addresses()?,
            advertised_host: plaintext.host.clone(),
            advertised_port: plaintext.port,
            bound_cluster: Some(demo.id),
            default_cluster: None,
            security: ListenerSecurity::Plaintext {
                account: cell.record.account,
                user: cell.administrator.name.clone(),
            },
        };
        front.listen(spec, plaintext.flag)?;
    }
    front.follow_cluster_ports(iam);
    Ok(())
}

fn dev_json(settings: &DevSettings, cell: &Cell, demo: &ClusterRecord, ca_pem_path: &Path) -> DevJson {
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
        cluster_arn: demo.arn(&cell.record.region),
        cluster_name: DEMO.to_owned(),
        region: cell.record.region.clone(),
        account_id: cell.record.account.to_string(),
        access_key_id: cell.access_key_id.clone(),
        secret_access_key: cell.secret.expose().to_owned(),
        ca_pem_path: ca_pem_path.display().to_string(),
        pid: std::process::id(),
    }
}
