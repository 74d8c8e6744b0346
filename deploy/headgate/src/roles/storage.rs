//! `headgate storage`: one storage node of a cell.
//!
//! ```text
//! etcd ─► cell record, incarnation, lease on node/<n>
//! mTLS port ─► ProcessService: peers (copies) and gateways (the node of the present WAL)
//! life: Node::start ─► sealed by peers? halt, start anew with the next WAL
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use headgate_log::disk::LocalDisk;
use headgate_metadata::counters;
use headgate_metadata::id::NodeId;
use headgate_metadata::keys;
use headgate_metadata::record::{NodeRecord, Record as _};
use headgate_metadata::slot_owners::SlotOwners;
use headgate_metadata::store::{Lease, MetadataError};
use headgate_storage::clock::SystemClock;
use headgate_storage::config::NodeConfig;
use headgate_storage::peer::{PeerLinks, PeerService};
use headgate_storage::{
    Clocks, Fleet, MirrorParts, Mirrors, Node, NodeParts, ProcessService, StartError, StorageService,
    system_free_space,
};
use headgate_storage_client::wire::{HangUp, PeerRole, Server, TlsDialer, TlsListener, WireLimits};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::settings::{CellFlags, CellSettings};
use super::zone_traffic::ZoneCounting;
use super::{LEASE_TTL, LEAVE_MAX};
use crate::data_dir::DataDir;
use crate::listen::Listen;
use crate::observe::{self, Observed};
use crate::process::{self, Running};
use crate::{front, node_parts, object_store};

/// Copies of each WAL, the owner's included.
const REPLICATION: usize = 3;
/// The pause before a start is tried again that failed because something did not answer.
const RETRY: Duration = Duration::from_millis(500);
/// How long a node whose WAL others sealed may take to end; its disk hangs if it takes longer.
const HALT_WAIT: Duration = Duration::from_millis(500);
/// How often a draining node looks whether it has given everything away.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// How long a process that was told to stop gives its slots away at most; then others take them, a second later.
const STOP_DRAIN_MAX: Duration = Duration::from_secs(10);
/// Nodes without which nothing that is given away could be written.
const TAKERS_MIN: usize = 2;

/// Flags of `headgate storage`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StorageFlags {
    /// The node's number, for ever: it names its WALs.
    #[arg(long, value_name = "NUMBER", env = "HEADGATE_NODE")]
    node: u32,
    /// The zone it runs in; copies of its WAL are kept in others.
    #[arg(long, value_name = "ZONE", env = "HEADGATE_ZONE")]
    zone: String,
    /// Where gateways and other nodes connect to.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_LISTEN")]
    listen: String,
    /// The address that they are told, where it is another.
    #[arg(long, value_name = "HOST:PORT", env = "HEADGATE_ADVERTISED_ADDRESS")]
    advertised_address: Option<String>,
    /// Metrics and health, over plain HTTP.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9081", env = "HEADGATE_LISTEN_HTTP")]
    listen_http: String,
    /// Where WALs and copies are kept.
    #[arg(long, value_name = "DIR", default_value = "./headgate-storage", env = "HEADGATE_DATA_DIR")]
    data_dir: std::path::PathBuf,
    /// Tell the node that runs on this data directory to give its slots away and to stop; returns when it has.
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    cell: CellFlags,
}

struct Settings {
    node: NodeId,
    zone: String,
    listen: Listen,
    advertised: String,
    http: Listen,
    cell: CellSettings,
}

/// Runs until SIGTERM or until it is drained; or drains another process.
pub(crate) fn run(flags: StorageFlags) -> Result<()> {
    if flags.drain {
        return super::drain::drain(&flags.data_dir);
    }
    let settings = Settings {
        node: NodeId::new(flags.node),
        zone: flags.zone,
        listen: Listen::parse(&flags.listen, "--listen")?,
        advertised: flags.advertised_address.unwrap_or(flags.listen),
        http: Listen::parse(&flags.listen_http, "--listen-http")?,
        cell: flags.cell.decide()?,
    };
    process::run(&flags.data_dir, async |data| start(settings, data).await)
}

/// Everything that runs.
struct StorageProcess {
    server: Server,
    node: watch::Receiver<Option<Arc<Node>>>,
    lease: Option<Lease>,
    record: NodeRecord,
    fleet: Arc<Fleet>,
    nodes: Arc<SlotOwners>,
    drain: tokio::signal::unix::Signal,
    clock_off: watch::Receiver<bool>,
    /// The node's life, and the HTTP server.
    tasks: JoinSet<Result<()>>,
}

impl Running for StorageProcess {
    async fn ended(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                ended = self.tasks.join_next() => return match ended {
                    Some(Ok(ended)) => ended,
                    Some(Err(error)) => Err(error.into()),
                    None => Ok(()),
                },
                _ = self.drain.recv() => {
                    self.give_away().await;
                    return Ok(());
                }
                Ok(()) = self.clock_off.changed() => {
                    let is_off = *self.clock_off.borrow_and_update();
                    self.set_draining(is_off);
                }
            }
        }
    }

    async fn stop(mut self) {
        if self.has_takers() && timeout(STOP_DRAIN_MAX, self.give_away()).await.is_err() {
            tracing::warn!("not everything was given away in time, others will take it");
        }
        if let Some(lease) = self.lease.take() {
            lease.release().await;
        }
        self.server.shutdown(LEAVE_MAX).await;
        self.tasks.shutdown().await;
        let node = self.node.borrow().clone();
        if let Some(node) = node {
            node.shutdown().await;
        }
    }
}

impl StorageProcess {
    /// Whether others could go on with what this node owns.
    fn has_takers(&self) -> bool {
        let others = self.nodes.nodes();
        let able = others.iter().filter(|record| record.node != self.record.node && !record.draining);
        able.count() >= TAKERS_MIN
    }

    /// Tells the cell whether this node gives away what it has, because it leaves or because its clock is off, and lets it do so.
    fn set_draining(&mut self, draining: bool) {
        self.record.draining = draining;
        if let Some(lease) = &self.lease {
            lease.set(self.record.encode());
        }
        self.fleet.draining.send_replace(draining);
    }

    /// Gives everything away, and waits until this node owns nothing.
    async fn give_away(&mut self) {
        self.set_draining(true);
        tracing::info!(node = %self.record.node, "draining: slots are given away");
        loop {
            let slots = self.node.borrow().as_ref().map_or(0, |node| node.open_slots());
            if slots == 0 {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

async fn start(settings: Settings, data: &DataDir) -> Result<StorageProcess> {
    let drain = signal(SignalKind::user_defined1())?;
    let store = super::cell::metadata_store(&settings.cell)?;
    let cell = super::cell::record(&store, &settings.cell).await?;
    let credentials = super::cell::credentials(&settings.cell, &cell, PeerRole::Storage(settings.node))?;
    let http = front::bind(&settings.http).await?;
    let address = settings.listen.addresses()?[0];
    let listener = TlsListener::bind(address, &credentials).await?;
    let url = object_store::absolute(settings.cell.object_store()?)?;
    let objects = object_store::open_known(&cell, &url, data).await?;
    let mut config = node_parts::config(&settings.cell.storage, data.join("wal"))?;
    config.node = settings.node;
    let nodes = SlotOwners::start(Arc::clone(&store)).await?;
    let mut registry = Registry::default();
    let dialer = Arc::new(TlsDialer::new(&credentials)?);
    let dialer = ZoneCounting::new(dialer, &settings.zone, Arc::clone(&nodes), &mut registry);
    let links = PeerLinks::new(Arc::clone(&nodes), dialer);
    let incarnation = counters::next_incarnation(&*store).await?;
    let me = (settings.node, incarnation);
    let mirrors = Mirrors::new(MirrorParts {
        me,
        disk: Arc::new(LocalDisk),
        wal_dir: config.wal_dir.clone(),
        wal_sync: config.wal_sync,
        clock: SystemClock::shared(),
        free_space: system_free_space(),
    });
    let service = ProcessService::new(PeerService::new(Arc::clone(&mirrors), Arc::clone(&links) as _));
    let server = Server::start(listener, Arc::clone(&service) as _, WireLimits::default());
    let record = NodeRecord {
        node: settings.node,
        incarnation,
        address: settings.advertised,
        zone: settings.zone.clone(),
        draining: false,
    };
    let lease = store.keep(&keys::node(settings.node), record.encode(), LEASE_TTL).await;
    let lease = lease.context("this node cannot register")?;
    let clocks = Clocks::new(SystemClock::shared());
    let clock_off = clocks.off();
    let fleet = Arc::new(Fleet {
        me,
        clocks,
        zone: settings.zone.into(),
        network: links,
        mirrors,
        replication: REPLICATION,
        draining: watch::Sender::new(false),
    });
    let parts =
        NodeParts { fleet: Some(Arc::clone(&fleet)), ..node_parts::parts(&store, objects, &mut registry) };
    let (current, node) = watch::channel(None);
    let ready = {
        let node = node.clone();
        Box::new(move || node.borrow().as_ref().is_some_and(|node: &Arc<Node>| node.is_accepting()))
    };
    let mut tasks = JoinSet::new();
    let hang_up = server.hang_up();
    tasks.spawn(async move { live(config, parts, &service, &current, &hang_up).await });
    tasks.spawn(async move {
        observe::serve(http, Observed { registry, ready }).await;
        Ok(())
    });
    Ok(StorageProcess { server, node, lease: Some(lease), record, fleet, nodes, drain, clock_off, tasks })
}

/// Keeps a node running: a WAL that its peers sealed is followed by the next. Ends only with what no further start can mend.
async fn live(
    config: NodeConfig,
    parts: NodeParts,
    service: &ProcessService,
    current: &watch::Sender<Option<Arc<Node>>>,
    hang_up: &HangUp,
) -> Result<()> {
    loop {
        match Node::start(config.clone(), parts.clone()).await {
            Ok(node) => {
                let (clock, metrics) = (Arc::clone(&parts.clock), Arc::clone(&parts.metrics));
                let answering = StorageService::new(Arc::clone(&node) as _, clock, metrics);
                service.serve(Arc::clone(&node), answering);
                current.send_replace(Some(Arc::clone(&node)));
                node.sealed().await;
                tracing::warn!(wal = %node.wal(), "WAL sealed by other nodes, starting the next");
                service.pause();
                current.send_replace(None);
                let mut halted = std::pin::pin!(node.halt());
                if timeout(HALT_WAIT, &mut halted).await.is_err() {
                    // What is still asked of it will not be answered before the disk comes back; elsewhere it would be.
                    tracing::warn!(wal = %node.wal(), "the disk hangs: connections are ended, so that nobody waits for it");
                    hang_up.now();
                    halted.await;
                }
            }
            Err(error) if is_passing(&error) => {
                tracing::warn!(%error, "storage node not started yet");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error).context("the storage node cannot start"),
        }
    }
}

/// Whether the same start may succeed later without anybody's doing.
fn is_passing(error: &StartError) -> bool {
    matches!(
        error,
        StartError::Metadata(
            MetadataError::Unavailable { .. }
                | MetadataError::OutcomeUnknown { .. }
                | MetadataError::Contended { .. }
        ) | StartError::Contended { .. }
            | StartError::Object(_)
    )
}
