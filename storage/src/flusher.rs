//! The flusher: WAL bytes into objects, flush indexes into manifests, and what follows from it (`storage/PROTOCOL.md` §6).
//!
//! ```text
//! committed bytes ─► object (unique name) ─► footer read back ─► one transaction: flushed/{wal}, chain/{wal}/{start}
//!      └► places switch to the object ─► chunks deleted, once flushed/{wal} is *read* past them
//! flush indexes ─► fold ─► manifest (unique name) ─► one transaction on the slot key          (flusher/manifests.rs)
//!      └► chain entries, spans and WALs that nobody needs go                                   (flusher/tidy.rs)
//! objects that nothing names go after a grace period                                           (flusher/garbage.rs)
//! ```
//!
//! One flush is in flight at a time. Every step may be cut off and repeated: what counts is decided by compare-and-swap.
//! When the object store fails everything backs off together, and the local disk absorbs.

mod commit;
mod fault;
mod garbage;
mod manifests;
mod tidy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headgate_log::backoff::{Backoff, BackoffPolicy};
use headgate_log::disk::Disk;
use headgate_log::object::{FlushIndex, FlushObject, ObjectName, ObjectReader, build_flush};
use headgate_log::wal::{WalReader, list_chunks};
use headgate_metadata::id::{SlotId, WalPosition};
use headgate_metadata::store::SharedStore;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

pub use self::fault::FlushFault;
use self::garbage::Candidates;
use crate::chain::CellView;
use crate::clock::SharedClock;
use crate::config::NodeConfig;
use crate::flush_plan::{Left, Stretch, Urge, next_stretch, next_wal};
use crate::metrics::Metrics;
use crate::node::NodeParts;
use crate::objects::{Objects, holds};
use crate::partition::Run;
use crate::random::Random;
use crate::revision_guard::RevisionGuard;
use crate::sequencer::Sequencer;
use crate::slots::Slots;
use crate::spawn;
use crate::start_error::StartError;

/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often chains, spans and retired WALs are tidied.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// How often objects that nothing names are looked for.
const GARBAGE_EVERY: Duration = Duration::from_mins(30);

/// The flusher of a node.
#[derive(Debug)]
pub(crate) struct Flusher {
    store: SharedStore,
    objects: Objects,
    disk: Arc<dyn Disk>,
    wal_dir: PathBuf,
    wal_reader: Arc<WalReader>,
    guard: RevisionGuard,
    slots: Arc<Slots>,
    sequencer: Arc<Sequencer>,
    clock: SharedClock,
    random: Random,
    metrics: Arc<Metrics>,
    chunk_age: Duration,
    manifest_flushes_max: u32,
    manifest_age: Duration,
    garbage_grace: Duration,
    progress: Mutex<Progress>,
}

/// What the flusher remembers. Losing it costs work, never data.
#[derive(Debug)]
struct Progress {
    /// Sealed WALs that are not fully flushed, in the order they were opened.
    sealed: Vec<Left>,
    own: Left,
    /// Since when something committed is unflushed.
    unflushed_since: Option<Duration>,
    /// Slots with flushes above their manifest.
    touched: BTreeMap<SlotId, Touched>,
    candidates: Candidates,
    tidied: Duration,
    collected: Duration,
}

/// What earlier starts have left to do.
#[derive(Debug)]
pub(crate) struct Backlog {
    sealed: Vec<Left>,
    touched: BTreeMap<SlotId, Touched>,
}

impl Backlog {
    /// Reads the indexes of the chains, which recovery has cached.
    pub(crate) async fn of(cell: &CellView, objects: &Objects, now: Duration) -> Result<Self, StartError> {
        Ok(Self { sealed: sealed_left(cell), touched: touched_by_chains(cell, objects, now).await? })
    }
}

/// What waits for a slot's next manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Touched {
    flushes: u32,
    since: Duration,
}

impl Flusher {
    /// A flusher that goes on from the backlog.
    pub(crate) fn new(
        config: &NodeConfig,
        parts: &NodeParts,
        slots: &Arc<Slots>,
        sequencer: &Arc<Sequencer>,
        objects: Objects,
        wal_reader: Arc<WalReader>,
        backlog: Backlog,
    ) -> Self {
        let now = parts.clock.monotonic();
        let Backlog { sealed, touched } = backlog;
        let progress = Progress {
            sealed,
            own: Left { wal: sequencer.wal(), flushed: WalPosition::new(0), end: WalPosition::new(0) },
            unflushed_since: None,
            touched,
            candidates: Candidates::default(),
            tidied: now,
            collected: now,
        };
        Self {
            store: Arc::clone(&parts.store),
            objects,
            disk: Arc::clone(&parts.disk),
            wal_dir: config.wal_dir.clone(),
            wal_reader,
            guard: RevisionGuard::new(Arc::clone(&parts.disk), &config.wal_dir),
            slots: Arc::clone(slots),
            sequencer: Arc::clone(sequencer),
            clock: Arc::clone(&parts.clock),
            random: parts.random.clone(),
            metrics: Arc::clone(&parts.metrics),
            chunk_age: Duration::from_millis(config.chunk_age_ms),
            manifest_flushes_max: config.manifest_flushes_max,
            manifest_age: Duration::from_millis(config.manifest_age_ms),
            garbage_grace: Duration::from_millis(config.garbage_grace_ms),
            progress: Mutex::new(progress),
        }
    }

    /// Flushes for ever. Cancel safe in the sense of a crash: whatever is cut off is done again.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        loop {
            let pause = match self.turn().await {
                Ok(Worked::Nothing) => None,
                Ok(Worked::Something) => Some(backoff.succeeded(self.random.fraction())),
                Err(fault) => {
                    self.metrics.observe_flush_failed();
                    let pause = backoff.failed(self.random.fraction());
                    if fault.is_corruption() {
                        error!(%fault, ?pause, "flush stopped by corruption");
                    } else {
                        warn!(%fault, ?pause, "flush failed, backing off");
                    }
                    Some(pause)
                }
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => drop(tokio::time::timeout(TICK, self.sequencer.chunk_became_full()).await),
            }
        }
    }

    /// One piece of work, the most urgent first.
    async fn turn(&self) -> Result<Worked, FlushFault> {
        let mut progress = self.progress.lock().await;
        self.look(&mut progress);
        let now = self.clock.monotonic();
        let old = progress.unflushed_since.is_some_and(|since| now.saturating_sub(since) >= self.chunk_age);
        let urge = if old { Urge::Everything } else { Urge::FullChunks };
        if self.flush_one(&mut progress, urge).await? {
            return Ok(Worked::Something);
        }
        if let Some(slot) = self.manifest_due(&progress, now) {
            self.write_manifest(&mut progress, slot).await?;
            return Ok(Worked::Something);
        }
        if now.saturating_sub(progress.tidied) >= TIDY_EVERY {
            progress.tidied = now;
            self.tidy(&mut progress).await?;
        }
        if now.saturating_sub(progress.collected) >= GARBAGE_EVERY {
            progress.collected = now;
            self.collect(&mut progress).await?;
        }
        Ok(Worked::Nothing)
    }

    /// Flushes everything that is committed when it is called.
    pub(crate) async fn flush_now(&self) -> Result<(), FlushFault> {
        let mut progress = self.progress.lock().await;
        self.look(&mut progress);
        while self.flush_one(&mut progress, Urge::Everything).await? {}
        Ok(())
    }

    /// Takes note of what is committed.
    fn look(&self, progress: &mut Progress) {
        let committed = self.sequencer.committed();
        progress.own.end = committed;
        let unflushed = committed.get().saturating_sub(progress.own.flushed.get());
        let sealed: u64 = progress.sealed.iter().map(|left| left.end.get() - left.flushed.get()).sum();
        self.metrics.observe_unflushed(unflushed + sealed);
        progress.unflushed_since = match progress.unflushed_since {
            _ if unflushed == 0 => None,
            None => Some(self.clock.monotonic()),
            since => since,
        };
    }

    /// Flushes the next stretch, if there is one.
    async fn flush_one(&self, progress: &mut Progress, urge: Urge) -> Result<bool, FlushFault> {
        let left = next_wal(&progress.sealed, progress.own);
        // A sealed WAL does not grow, so there is nothing to wait for.
        let urge = if left.wal == progress.own.wal { urge } else { Urge::Everything };
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let boundaries = move || -> Result<Vec<_>, _> {
            Ok(list_chunks(&*disk, &dir, left.wal)?.iter().map(|chunk| chunk.start).collect())
        };
        if left.flushed >= left.end {
            return Ok(false);
        }
        let boundaries: Result<Vec<_>, FlushFault> =
            spawn::blocking(boundaries).await.ok_or(FlushFault::Interrupted)?;
        let Some(stretch) = next_stretch(left, &boundaries?, urge) else { return Ok(false) };
        self.flush(progress, stretch).await?;
        Ok(true)
    }

    /// Builds, puts, checks and commits one object, then lets readers use it.
    async fn flush(&self, progress: &mut Progress, stretch: Stretch) -> Result<(), FlushFault> {
        let (disk, dir, random) = (Arc::clone(&self.disk), self.wal_dir.clone(), self.random.bits());
        let build = move || build_flush(&disk, &dir, stretch.wal, stretch.start, stretch.end, random);
        let FlushObject { name, parts, index, .. } =
            spawn::blocking(build).await.ok_or(FlushFault::Interrupted)??;
        self.objects.store.put(&name, parts).await?;
        // Never delete local data before the durable object that holds it was seen: its own footer must say the same.
        let read_back = ObjectReader::new(self.objects.store.clone(), name.clone()).stored_index().await?;
        if read_back != index {
            return Err(FlushFault::ReadBack { object: name });
        }
        let (object, end) = self.commit_flush(stretch, &name).await?;
        let index = if object == name { Arc::new(index) } else { self.objects.cache.index(&object).await? };
        self.objects.cache.put_index(&object, Arc::clone(&index)).await;
        // At once: were a later step to fail first, the chain could go on without this flusher knowing of it.
        self.switch_places(progress, &object, &index);
        progress.passed(Stretch { end, ..stretch });
        self.objects.copy_states(&object, &index).await?;
        self.metrics.observe_flush_committed(end.get() - stretch.start.get());
        info!(wal = %stretch.wal, start = %stretch.start, %end, %object, "flushed");
        self.trim_chunks(stretch.wal).await
    }

    /// Readers find the runs in the object from now on.
    fn switch_places(&self, progress: &mut Progress, object: &ObjectName, index: &FlushIndex) {
        let name: Arc<str> = object.as_str().into();
        for run in &index.runs {
            if let Some(partition) = self.slots.known(&run.partition) {
                partition.log().flushed(Run::in_flush(&name, run));
            }
        }
        let now = self.clock.monotonic();
        for slot in slots_in(index) {
            let touched = progress.touched.entry(slot).or_insert(Touched { flushes: 0, since: now });
            touched.flushes += 1;
        }
    }
}

/// Whether a turn found work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worked {
    Something,
    Nothing,
}

impl Progress {
    /// The stretch is flushed.
    fn passed(&mut self, stretch: Stretch) {
        if stretch.wal == self.own.wal {
            self.own.flushed = stretch.end;
            self.unflushed_since = None;
        }
        for left in self.sealed.iter_mut().filter(|left| left.wal == stretch.wal) {
            left.flushed = stretch.end;
        }
        self.sealed.retain(|left| left.flushed < left.end);
    }
}

/// The slots with anything in a flush object, each once.
fn slots_in(index: &FlushIndex) -> Vec<SlotId> {
    let mut slots: Vec<SlotId> =
        index.runs.iter().map(|run| run.slot).chain(index.state_runs.iter().map(|run| run.slot)).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

fn sealed_left(cell: &CellView) -> Vec<Left> {
    let mut sealed: Vec<Left> = cell
        .wals
        .iter()
        .filter_map(|(wal, view)| Some(Left { wal: *wal, flushed: view.flushed, end: view.sealed_end()? }))
        .filter(|left| left.flushed < left.end)
        .collect();
    sealed.sort_unstable_by_key(|left| (left.wal.incarnation, left.wal.node));
    sealed
}

async fn touched_by_chains(
    cell: &CellView,
    objects: &Objects,
    now: Duration,
) -> Result<BTreeMap<SlotId, Touched>, StartError> {
    let mut touched: BTreeMap<SlotId, Touched> = BTreeMap::new();
    for (slot, view) in &cell.slots {
        for span in view.spans() {
            let entries = cell.wals.get(&span.wal).map(|wal| wal.chain.as_slice()).unwrap_or_default();
            for entry in entries.iter().filter(|entry| !view.has_applied(span.epoch, entry.end)) {
                if holds(&*objects.cache.index(&entry.object).await?, *slot, span.epoch) {
                    touched.entry(*slot).or_insert(Touched { flushes: 0, since: now }).flushes += 1;
                }
            }
        }
    }
    Ok(touched)
}
