//! The node: all parts put together, started and stopped.
//!
//! ```text
//! Storage (node/storage.rs) ─► room, sequencer (appends) · reader (reads, waits, offsets) · coordinator (groups)
//! beside them: flusher (WAL → objects → manifests), housekeeping (retention, removals, marks, disk), topic watch
//! ```

mod storage;

use std::sync::{Arc, Mutex, PoisonError};

use headgate_log::disk::Disk;
use headgate_log::store::Store;
use headgate_metadata::id::{ClusterId, Revision, WalId, WalPosition};
use headgate_metadata::store::SharedStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::cell_watch::CellWatch;
use crate::clock::SharedClock;
use crate::config::NodeConfig;
use crate::ensemble::{Ensemble, EnsembleParts, Standing};
use crate::fatal::Fatal;
use crate::fleet::Fleet;
use crate::flusher::{FlushFault, Flusher};
use crate::group::{Coordinator, GroupLimits};
use crate::housekeeping::Housekeeping;
use crate::metrics::Metrics;
use crate::moving::Mover;
use crate::open::Opened;
use crate::opener::Opener;
use crate::producer_ids::ProducerIds;
use crate::quota::{PartitionQuotas, QuotaService};
use crate::random::Random;
use crate::read::Reader;
use crate::readiness::Readiness;
use crate::recoverer::Recoverer;
use crate::room::{DiskRoom, FreeSpace, Room};
use crate::sequencer::{Parts, Running, Sequencer};
use crate::slots::Slots;
use crate::spawn;
use crate::start_error::StartError;
use crate::steward::Steward;
use crate::usage::{self, ClusterUsage};

/// What a node is made of; the seams come in here.
#[derive(Clone)]
pub struct NodeParts {
    /// The cell's metadata.
    pub store: SharedStore,
    /// The object store.
    pub objects: Store,
    /// The disk the WALs lie on.
    pub disk: Arc<dyn Disk>,
    /// The free space of that disk.
    pub free_space: FreeSpace,
    /// The clocks.
    pub clock: SharedClock,
    /// Random numbers.
    pub random: Random,
    /// How the process is stopped when the node must not go on.
    pub fatal: Fatal,
    /// Where the node's numbers go.
    pub metrics: Arc<Metrics>,
    /// Bounds on groups.
    pub group_limits: GroupLimits,
    /// The other nodes of the cell; `None` = this one is alone, and keeps the only copy.
    pub fleet: Option<Arc<Fleet>>,
}

/// Copies without which nothing is committed in a fleet.
const COPIES_MIN: usize = 2;

/// A running storage node. It implements [`headgate_storage_client::Storage`].
pub struct Node {
    wal: WalId,
    clock: SharedClock,
    slots: Arc<Slots>,
    topics: Arc<crate::topics::Topics>,
    reader: Reader,
    room: Arc<Room>,
    sequencer: Arc<Sequencer>,
    running: Mutex<Option<Running>>,
    groups: Arc<Coordinator>,
    producer_ids: ProducerIds,
    quotas: QuotaService,
    partition_quotas: PartitionQuotas,
    flusher: Arc<Flusher>,
    housekeeping: Arc<Housekeeping>,
    /// `None` = alone: there is nobody to confirm anything.
    standing: Option<Arc<Standing>>,
    cell: Arc<CellWatch>,
    sealed: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Starts a node: a new WAL, and the slots. A node without a fleet seals its earlier WALs, takes every slot of the cell, and
    /// has restored them on return; in a fleet the steward takes slots once there are mirrors (`storage/PROTOCOL.md` §5). A start
    /// that fails or is cancelled may be repeated; nothing is lost.
    pub async fn start(config: NodeConfig, parts: NodeParts) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let guard = crate::open::check_store(&config, &parts).await?;
        let parts = NodeParts { store: crate::open::guarded(&parts, &guard), ..parts };
        let opened = crate::open::open(&config, &parts, &guard).await?;
        let Opened { wal, writer, slots, topics, topics_seen, objects, wal_reader, cell } = opened;
        let cold = crate::cold::Cold::new(
            Arc::clone(&wal_reader),
            objects.cache.clone(),
            Arc::clone(&parts.metrics),
        );
        let reader = Reader::new(Arc::clone(&slots), cold, Arc::clone(&parts.metrics));
        let (sequencer, running) = Sequencer::start(Parts {
            writer,
            slots: Arc::clone(&slots),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
            fatal: parts.fatal.clone(),
            sync: config.wal_sync,
            tail_bytes_max: config.tail_bytes_max,
            disk_room: DiskRoom {
                free_space: Arc::clone(&parts.free_space),
                dir: config.wal_dir.clone(),
                chunk_bytes: config.chunk_bytes,
            },
            copies_min: parts.fleet.as_ref().map_or(1, |_| COPIES_MIN),
        })
        .map_err(StartError::Thread)?;
        let groups = Arc::new(Coordinator::new(Arc::clone(&sequencer) as _, parts.group_limits));
        let room = Arc::new(Room::new(
            config.queued_bytes_per_cluster_max,
            config.disk_free_slow_bytes,
            config.disk_free_refuse_bytes,
        ));
        let flusher = Arc::new(Flusher::new(
            &config,
            &parts,
            &slots,
            &sequencer,
            objects.clone(),
            Arc::clone(&wal_reader),
            Arc::clone(&cell),
        ));
        let standing = parts.fleet.as_ref().map(|fleet| {
            let network = Arc::clone(&fleet.network);
            Arc::new(Standing::new(wal, Arc::clone(&parts.clock), network))
        });
        let housekeeping =
            Housekeeping::new(&config, &parts, &slots, &topics, &sequencer, &room, &groups, standing.clone());
        let opener = Arc::new(Opener {
            slots: Arc::clone(&slots),
            topics: Arc::clone(&topics),
            objects,
            disk: Arc::clone(&parts.disk),
            wal_dir: config.wal_dir.clone(),
            wal_reader,
            groups: Arc::clone(&groups),
            flusher: Arc::clone(&flusher),
            guard,
        });
        let node = Arc::new(Self {
            wal,
            clock: Arc::clone(&parts.clock),
            slots,
            topics,
            reader,
            room,
            sequencer,
            running: Mutex::new(Some(running)),
            groups,
            producer_ids: ProducerIds::new(Arc::clone(&parts.store)),
            quotas: QuotaService::default(),
            partition_quotas: PartitionQuotas::default(),
            flusher,
            housekeeping: Arc::new(housekeeping),
            standing,
            cell: Arc::clone(&cell),
            sealed: watch::Sender::new(false),
            tasks: Mutex::default(),
        });
        if parts.fleet.is_none() {
            crate::alone::take_all(&config, &parts, &cell, wal, &opener).await?;
        }
        node.run_tasks(&parts, topics_seen, &cell);
        if let (Some(fleet), Some(standing)) = (&parts.fleet, &node.standing) {
            node.join_fleet(&config, &parts, fleet, standing, &cell, &opener);
        }
        info!(%wal, "storage node open");
        Ok(node)
    }

    fn run_tasks(&self, parts: &NodeParts, topics_seen: Revision, cell: &Arc<CellWatch>) {
        let (topics, store) = (Arc::clone(&self.topics), Arc::clone(&parts.store));
        self.own(spawn::task(async move { topics.follow(store, topics_seen).await }));
        let (cell, store) = (Arc::clone(cell), Arc::clone(&parts.store));
        self.own(spawn::task(async move { cell.follow(store).await }));
        let groups = Arc::clone(&self.groups);
        self.own(spawn::task(async move { groups.run().await }));
        let flusher = Arc::clone(&self.flusher);
        self.own(spawn::task(async move { flusher.run().await }));
        let housekeeping = Arc::clone(&self.housekeeping);
        self.own(spawn::task(async move { housekeeping.run().await }));
    }

    /// What only a node of a fleet does: mirrors for its own log, recovery of others', and slots as their keys say.
    fn join_fleet(
        &self,
        config: &NodeConfig,
        parts: &NodeParts,
        fleet: &Arc<Fleet>,
        standing: &Arc<Standing>,
        cell: &Arc<CellWatch>,
        opener: &Arc<Opener>,
    ) {
        let ensemble = Ensemble::new(EnsembleParts {
            fleet: Arc::clone(fleet),
            wal_dir: config.wal_dir.clone(),
            store: Arc::clone(&parts.store),
            cell: Arc::clone(cell),
            sequencer: Arc::clone(&self.sequencer),
            clock: Arc::clone(&parts.clock),
            standing: Arc::clone(standing),
            copies_min: COPIES_MIN,
        });
        let recoverer = Recoverer {
            fleet: Arc::clone(fleet),
            store: Arc::clone(&parts.store),
            cell: Arc::clone(cell),
            clock: Arc::clone(&parts.clock),
            own: self.wal,
            copies_min: COPIES_MIN,
        };
        let mover = Mover {
            fleet: Arc::clone(fleet),
            store: Arc::clone(&parts.store),
            cell: Arc::clone(cell),
            clock: Arc::clone(&parts.clock),
            sequencer: Arc::clone(&self.sequencer),
            flusher: Arc::clone(&self.flusher),
            opener: Arc::clone(opener),
            settled: None,
            rests_until: None,
            store_is_away: false,
        };
        let steward = Steward {
            fleet: Arc::clone(fleet),
            store: Arc::clone(&parts.store),
            cell: Arc::clone(cell),
            clock: Arc::clone(&parts.clock),
            standing: Arc::clone(standing),
            opener: Arc::clone(opener),
            mover,
            own: self.wal,
            copies_min: COPIES_MIN,
        };
        let readiness = Readiness { me: fleet.me.0, cell: Arc::clone(cell), objects: opener.objects.clone() };
        let (sealed, rounds) = (self.sealed.clone(), Arc::clone(standing));
        self.own(spawn::task(async move { ensemble.run(sealed).await }));
        self.own(spawn::task(async move { rounds.run().await }));
        self.own(spawn::task(async move { recoverer.run().await }));
        self.own(spawn::task(async move { steward.run().await }));
        self.own(spawn::task(readiness.run()));
    }

    /// Returns when others have sealed this node's WAL: it cannot commit any more. The process halts the node and starts it
    /// anew, with a new WAL; it never argues (`storage/PROTOCOL.md` §4).
    pub async fn sealed(&self) {
        // The sender lives as long as `self`.
        drop(self.sealed.subscribe().wait_for(|sealed| *sealed).await);
    }

    /// How many slots are open here.
    pub fn open_slots(&self) -> usize {
        self.slots.owned().count()
    }

    /// Stops cleanly: takes no more appends, ends waits, finishes what is queued, and closes the WAL synced. Flushes nothing:
    /// the next start goes on from the WAL.
    pub async fn shutdown(&self) {
        self.end_tasks().await;
        self.reader.end_waits();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop(&self.sequencer).await;
        }
        info!(wal = %self.wal, "storage node stopped");
    }

    /// Stops at once, as a crash would: nothing is synced or closed, unanswered appends stay unanswered. For tests, and for a
    /// process that is about to end.
    pub async fn halt(&self) {
        self.end_tasks().await;
        self.reader.end_waits();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.halt(&self.sequencer).await;
        }
    }

    /// The WAL of this start.
    pub fn wal(&self) -> WalId {
        self.wal
    }

    /// The end of the last committed write group.
    pub fn committed(&self) -> WalPosition {
        self.sequencer.committed()
    }

    /// Whether appends are taken at present: not after a failed sync, and not while the disk is full. For readiness checks.
    pub fn is_accepting(&self) -> bool {
        self.sequencer.is_open() && !self.room.refuses()
    }

    /// Flushes everything committed up to now to the object store, sealed WALs first. For operators' tools and tests.
    pub async fn flush_now(&self) -> Result<(), FlushFault> {
        let flusher = Arc::clone(&self.flusher);
        uncut(async move { flusher.flush_now().await }).await
    }

    /// Writes the manifests of all slots with something to apply, then tidies chains, spans, WALs and chunks.
    pub async fn write_manifests_now(&self) -> Result<(), FlushFault> {
        let flusher = Arc::clone(&self.flusher);
        uncut(async move { flusher.write_manifests_now().await }).await
    }

    /// Compacts every partition that is due for it, as far as it lies in objects.
    pub async fn compact_now(&self) -> Result<(), FlushFault> {
        let flusher = Arc::clone(&self.flusher);
        uncut(async move { flusher.compact_now().await }).await
    }

    /// One pass of retention, removals and due usage marks, at the present time of the clock.
    pub async fn keep_house_now(&self) {
        self.housekeeping.pass().await;
    }

    /// Looks for objects that nothing names and deletes those that were already found a grace period ago. Returns how many
    /// were deleted.
    pub async fn collect_garbage_now(&self) -> Result<usize, FlushFault> {
        let flusher = Arc::clone(&self.flusher);
        uncut(async move { flusher.collect_garbage().await }).await
    }

    /// The usage counters of a cluster's partitions in the slots of this node, with the marks of closed hours.
    pub fn usage_snapshot(&self, cluster: ClusterId) -> ClusterUsage {
        usage::snapshot(&self.slots, &*self.clock, cluster)
    }

    fn own(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Ends the background tasks. Each may be cut off anywhere: what they do is committed by one compare-and-swap or not at all.
    async fn end_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
            drop(task.await);
        }
    }
}

/// Runs a step of the flusher to its end even if the caller goes away, so that what it remembers stays true.
async fn uncut<T: Send + 'static>(
    step: impl Future<Output = Result<T, FlushFault>> + Send + 'static,
) -> Result<T, FlushFault> {
    spawn::task(step).await.unwrap_or(Err(FlushFault::Interrupted))
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
        // Without a shutdown this is a crash; the thread is ended but not waited for.
        if self.running.get_mut().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.sequencer.halt();
        }
    }
}
