//! The flusher: WAL bytes into objects, flush indexes into manifests, and what follows from it (`storage/PROTOCOL.md` §6).
//!
//! ```text
//! committed bytes ─► object (unique name) ─► footer read back ─► one transaction: flushed/{wal}, chain/{wal}/{start}
//!      └► places switch to the object ─► chunks deleted, once flushed/{wal} is *read* past them
//! flush indexes ─► fold ─► manifest (unique name) ─► one transaction on the slot key          (flusher/manifests.rs)
//!      └► chain entries, spans and WALs that nobody needs go                                   (flusher/tidy.rs)
//! objects that nothing names go after a grace period                                           (flusher/garbage.rs)
//! runs of compacted topics ─► object ─► manifest that names it instead                           (flusher/compact.rs)
//! objects that others flushed and chained are followed                                         (flusher/follow.rs)
//! ```
//!
//! One flush is in flight at a time. Every step may be cut off and repeated: what counts is decided by compare-and-swap.
//! When the object store fails everything backs off together, and the local disk absorbs.

mod commit;
mod compact;
mod fault;
mod follow;
mod garbage;
mod manifests;
mod tidy;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headgate_log::backoff::{Backoff, BackoffPolicy};
use headgate_log::disk::Disk;
use headgate_log::object::{FlushIndex, FlushObject, ObjectReader, build_flush};
use headgate_log::wal::{WalReader, list_chunks};
use headgate_metadata::id::{PartitionKey, Revision, SlotId, WalId, WalPosition};
use headgate_metadata::store::SharedStore;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

pub use self::fault::FlushFault;
use self::garbage::Candidates;
use crate::cell_watch::CellWatch;
use crate::clock::{Clock, SharedClock};
use crate::compaction::Pass;
use crate::config::NodeConfig;
use crate::flush_plan::{Left, Stretch, Urge, next_stretch};
use crate::metrics::Metrics;
use crate::node::NodeParts;
use crate::objects::Objects;
use crate::planted::{Bug, is_planted};
use crate::random::Random;
use crate::sequencer::Sequencer;
use crate::slot_time::SteadyTime;
use crate::slots::Slots;
use crate::spawn;

/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often chains, spans and retired WALs are tidied.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// How often objects that nothing names are looked for.
const GARBAGE_EVERY: Duration = Duration::from_mins(30);

/// How often partitions are looked at for compaction: Kafka's default `log.cleaner.backoff.ms`.
const COMPACT_EVERY: Duration = Duration::from_secs(15);

/// The flusher of a node.
#[derive(Debug)]
pub(crate) struct Flusher {
    store: SharedStore,
    objects: Objects,
    disk: Arc<dyn Disk>,
    wal_dir: PathBuf,
    wal_reader: Arc<WalReader>,
    slots: Arc<Slots>,
    sequencer: Arc<Sequencer>,
    cell: Arc<CellWatch>,
    clock: SharedClock,
    random: Random,
    metrics: Arc<Metrics>,
    chunk_age: Duration,
    manifest_flushes_max: u32,
    manifest_age: Duration,
    garbage_grace: Duration,
    progress: Mutex<Progress>,
    /// What was opened since [`Flusher::follow`] last looked.
    opened: std::sync::Mutex<Vec<Opened>>,
}

/// What the flusher must know of slots that were opened: taken in by the next step that follows chains.
#[derive(Debug, Default)]
struct Opened {
    /// Up to where their readers know of each WAL's objects.
    flushed: BTreeMap<WalId, WalPosition>,
    /// The flushes above their manifests.
    flushes: BTreeMap<SlotId, u32>,
}

/// What the flusher remembers. Losing it costs work, never data.
#[derive(Debug)]
struct Progress {
    /// Sealed WALs that are this node's to flush, in the order they were opened.
    sealed: Vec<Left>,
    own: Left,
    /// Since when something committed is unflushed.
    unflushed_since: Option<Duration>,
    /// Slots with flushes above their manifest.
    touched: BTreeMap<SlotId, Touched>,
    /// Up to where readers of the slots here were told that a WAL's bytes are in objects.
    switched: BTreeMap<WalId, WalPosition>,
    /// Since when a sealed WAL waits for whoever has the duty to flush it.
    waiting: BTreeMap<WalId, Duration>,
    candidates: Candidates,
    /// A compaction pass that goes on.
    pass: Option<Pass>,
    /// The partition whose turn to be compacted came last.
    compacted: Option<PartitionKey>,
    compaction_looked: Duration,
    /// What tombstones' days are measured by: a wall clock that jumps must not end them.
    time: SteadyTime,
    tidied: Duration,
    collected: Duration,
}

/// What waits for a slot's next manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Touched {
    flushes: u32,
    since: Duration,
}

impl Flusher {
    /// A flusher of the sequencer's WAL, and of sealed ones.
    pub(crate) fn new(
        config: &NodeConfig,
        parts: &NodeParts,
        slots: &Arc<Slots>,
        sequencer: &Arc<Sequencer>,
        objects: Objects,
        wal_reader: Arc<WalReader>,
        cell: Arc<CellWatch>,
    ) -> Self {
        let progress = Progress::new(sequencer.wal(), &*parts.clock);
        Self {
            store: Arc::clone(&parts.store),
            objects,
            disk: Arc::clone(&parts.disk),
            wal_dir: config.wal_dir.clone(),
            wal_reader,
            slots: Arc::clone(slots),
            sequencer: Arc::clone(sequencer),
            cell,
            clock: Arc::clone(&parts.clock),
            random: parts.random.clone(),
            metrics: Arc::clone(&parts.metrics),
            chunk_age: Duration::from_millis(config.chunk_age_ms),
            manifest_flushes_max: config.manifest_flushes_max,
            manifest_age: Duration::from_millis(config.manifest_age_ms),
            garbage_grace: Duration::from_millis(config.garbage_grace_ms),
            progress: Mutex::new(progress),
            opened: std::sync::Mutex::default(),
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
        self.follow(&mut progress).await?;
        self.look(&mut progress).await?;
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
            if self.cell.with(|cell| self.is_janitor(cell)) {
                self.collect(&mut progress).await?;
            }
        }
        if progress.pass.is_some() || now.saturating_sub(progress.compaction_looked) >= COMPACT_EVERY {
            progress.compaction_looked = now;
            if self.compact(&mut progress).await {
                return Ok(Worked::Something);
            }
        }
        Ok(Worked::Nothing)
    }

    /// Flushes everything that is committed when it is called.
    pub(crate) async fn flush_now(&self) -> Result<(), FlushFault> {
        let mut progress = self.progress.lock().await;
        self.look(&mut progress).await?;
        while self.flush_one(&mut progress, Urge::Everything).await? {}
        Ok(())
    }

    /// Takes note of what is committed, and of what is sealed and this node's to flush.
    async fn look(&self, progress: &mut Progress) -> Result<(), FlushFault> {
        let committed = self.sequencer.committed();
        progress.own.end = committed;
        progress.sealed = self.on_duty(progress).await?;
        let unflushed = committed.get().saturating_sub(progress.own.flushed.get());
        let sealed: u64 = progress.sealed.iter().map(|left| left.end.get() - left.flushed.get()).sum();
        self.metrics.observe_unflushed(unflushed + sealed);
        progress.unflushed_since = match progress.unflushed_since {
            _ if unflushed == 0 => None,
            None => Some(self.clock.monotonic()),
            since => since,
        };
        Ok(())
    }

    /// Flushes the next stretch, if there is one: sealed WALs before the own one, in the order they were opened.
    async fn flush_one(&self, progress: &mut Progress, urge: Urge) -> Result<bool, FlushFault> {
        for left in progress.sealed.iter().copied().chain([progress.own]).collect::<Vec<_>>() {
            // A sealed WAL does not grow, so there is nothing to wait for.
            let urge = if left.wal == progress.own.wal { urge } else { Urge::Everything };
            if let Some(stretch) = self.stretch(left, urge).await? {
                self.flush(progress, stretch).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next stretch of a WAL that may be flushed now.
    async fn stretch(&self, left: Left, urge: Urge) -> Result<Option<Stretch>, FlushFault> {
        if left.flushed >= left.end {
            return Ok(None);
        }
        let left = if is_planted(Bug::FlushOutOfTurn) { left } else { self.in_turn(left).await? };
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let boundaries = move || -> Result<Vec<_>, _> {
            Ok(list_chunks(&*disk, &dir, left.wal)?.iter().map(|chunk| chunk.start).collect())
        };
        let boundaries: Result<Vec<_>, FlushFault> =
            spawn::blocking(boundaries).await.ok_or(FlushFault::Interrupted)?;
        Ok(next_stretch(left, &boundaries?, urge))
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
        if is_planted(Bug::TrimBeforeCommit) {
            self.remove_chunks(stretch.wal, stretch.end).await?;
        }
        let (object, end) = self.commit_flush(stretch, &name).await?;
        let index = if object == name { Arc::new(index) } else { self.objects.cache.index(&object).await? };
        self.objects.cache.put_index(&object, Arc::clone(&index)).await;
        // At once: were a later step to fail first, the chain could go on without this flusher knowing of it.
        self.switch_places(progress, &object, &index);
        progress.passed(Stretch { end, ..stretch });
        progress.told(Stretch { end, ..stretch });
        self.objects.copy_states(&object, &index).await?;
        self.metrics.observe_flush_committed(end.get() - stretch.start.get());
        info!(wal = %stretch.wal, start = %stretch.start, %end, %object, "flushed");
        self.trim_chunks(stretch.wal).await
    }
}

impl Flusher {
    /// Remembers what was read, before something is deleted on the strength of it: without what goes, a metadata store older
    /// than this would be a loss.
    async fn remember(&self, seen: Revision) -> Result<(), FlushFault> {
        let guard = self.cell.guard().clone();
        Ok(spawn::blocking(move || guard.remember(seen)).await.ok_or(FlushFault::Interrupted)??)
    }
}

/// Whether a turn found work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worked {
    Something,
    Nothing,
}

impl Progress {
    fn new(own: WalId, clock: &dyn Clock) -> Self {
        let (now, time) = (clock.monotonic(), SteadyTime::start(clock));
        let start = WalPosition::new(0);
        Self {
            sealed: Vec::new(),
            own: Left { wal: own, flushed: start, end: start },
            unflushed_since: None,
            touched: BTreeMap::new(),
            switched: BTreeMap::new(),
            waiting: BTreeMap::new(),
            candidates: Candidates::default(),
            pass: None,
            compacted: None,
            compaction_looked: now,
            time,
            tidied: now,
            collected: now,
        }
    }

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

    /// Readers were told of the stretch. Where they do not know of what comes before it, because their slot was opened from an older
    /// view than this flusher has by now, all of it is told again by following the chain.
    fn told(&mut self, stretch: Stretch) {
        if let Some(switched) = self.switched.get_mut(&stretch.wal)
            && *switched >= stretch.start
        {
            *switched = stretch.end.max(*switched);
        }
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

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{Incarnation, NodeId, TimestampMs};

    use super::*;
    use crate::clock::ManualClock;

    const fn at(position: u64) -> WalPosition {
        WalPosition::new(position)
    }

    /// A flush commits while a slot is restored from a view without it: the slot's partitions were not there to be told.
    #[test]
    fn section_6_4_what_readers_were_not_told_is_not_passed_over() {
        let wal = |node| WalId { node: NodeId::new(node), incarnation: Incarnation::new(1) };
        let mut progress = Progress::new(wal(2), &*ManualClock::at(TimestampMs::new(0)));
        progress.told(Stretch { wal: wal(1), start: at(0), end: at(50) });
        assert_eq!(progress.switched, BTreeMap::new(), "nobody here reads of that WAL");
        progress.switched.insert(wal(1), at(0));
        progress.told(Stretch { wal: wal(1), start: at(50), end: at(90) });
        assert_eq!(progress.switched, BTreeMap::from([(wal(1), at(0))]), "the first 50 are still to be told");
        progress.switched.insert(wal(1), at(60));
        progress.told(Stretch { wal: wal(1), start: at(50), end: at(90) });
        assert_eq!(progress.switched, BTreeMap::from([(wal(1), at(90))]));
    }
}
