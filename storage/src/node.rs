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
use headgate_metadata::id::{ClusterId, WalId, WalPosition};
use headgate_metadata::store::SharedStore;
use tokio::task::JoinHandle;
use tracing::info;

use crate::clock::SharedClock;
use crate::config::NodeConfig;
use crate::fatal::Fatal;
use crate::flusher::{FlushFault, Flusher};
use crate::group::{Coordinator, GroupLimits};
use crate::housekeeping::Housekeeping;
use crate::metrics::Metrics;
use crate::open::Opened;
use crate::producer_ids::ProducerIds;
use crate::quota::{PartitionQuotas, QuotaService};
use crate::random::Random;
use crate::read::Reader;
use crate::room::{DiskRoom, FreeSpace, Room};
use crate::sequencer::{Parts, Running, Sequencer};
use crate::slots::Slots;
use crate::spawn;
use crate::start_error::StartError;
use crate::topics::Tombstone;
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
}

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
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Starts a node: a new WAL, its earlier ones sealed, every slot of the cell taken, state restored, then open
    /// (`storage/PROTOCOL.md` §5). A start that fails or is cancelled may be repeated; nothing is lost.
    pub async fn start(config: NodeConfig, parts: NodeParts) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let opened = crate::open::open(&config, &parts).await?;
        let Opened { wal, writer, slots, topics, topics_seen, objects, wal_reader, coordinators, backlog } =
            opened;
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
        })
        .map_err(StartError::Thread)?;
        let groups = Arc::new(Coordinator::new(Arc::clone(&sequencer) as _, parts.group_limits));
        for (slot, record) in &coordinators {
            let gone = Tombstone { cluster: record.cluster, topic: None };
            if slots.slot(*slot).is_some_and(|slot| slot.state().remembers(&gone)) {
                continue;
            }
            groups.replay(*slot, record).map_err(|_| StartError::ManifestState(*slot))?;
        }
        let room = Arc::new(Room::new(
            config.queued_bytes_per_cluster_max,
            config.disk_free_slow_bytes,
            config.disk_free_refuse_bytes,
        ));
        let flusher =
            Arc::new(Flusher::new(&config, &parts, &slots, &sequencer, objects, wal_reader, backlog));
        let housekeeping = Housekeeping::new(&config, &parts, &slots, &topics, &sequencer, &room, &groups);
        let node = Arc::new(Self {
            wal,
            clock: Arc::clone(&parts.clock),
            slots,
            topics: Arc::clone(&topics),
            reader,
            room,
            sequencer,
            running: Mutex::new(Some(running)),
            groups: Arc::clone(&groups),
            producer_ids: ProducerIds::new(Arc::clone(&parts.store)),
            quotas: QuotaService::default(),
            partition_quotas: PartitionQuotas::default(),
            flusher: Arc::clone(&flusher),
            housekeeping: Arc::new(housekeeping),
            tasks: Mutex::default(),
        });
        let housekeeping = Arc::clone(&node.housekeeping);
        let store = Arc::clone(&parts.store);
        node.own(spawn::task(async move { topics.follow(store, topics_seen).await }));
        node.own(spawn::task(async move { groups.run().await }));
        node.own(spawn::task(async move { flusher.run().await }));
        node.own(spawn::task(async move { housekeeping.run().await }));
        info!(%wal, "storage node open");
        Ok(node)
    }

    /// Stops cleanly: takes no more appends, ends waits, finishes what is queued, and closes the WAL synced. Flushes nothing:
    /// the next start goes on from the WAL.
    pub async fn shutdown(&self) {
        self.end_tasks().await;
        self.reader.end_waits();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            let sequencer = Arc::clone(&self.sequencer);
            spawn::blocking(move || running.stop(&sequencer)).await;
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
            let sequencer = Arc::clone(&self.sequencer);
            spawn::blocking(move || running.halt(&sequencer)).await;
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
