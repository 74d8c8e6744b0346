//! The sequencer: the one order point of a WAL (`storage/PROTOCOL.md` §2).
//!
//! ```text
//! submit ─► fair queue ─► order: validate against appended state, assign     (order.rs)
//!                           └► one vectored write ─► one sync ─► gate ─► commit: readers, answers  (commit.rs)
//! ```
//!
//! While a group is written and synced, the next one gathers in the queue: the disk's speed sets the group, there is no
//! timer. Mirrors stream the same bytes beside (outbox.rs) and say how far they are; the gate waits for all. Invariants: WAL order is state order; an answer leaves only through the gate; after a failed write or sync
//! nothing is acknowledged any more and the process is told to stop (§14).

mod commit;
mod order;
mod signal;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headgate_log::wal::{GROUP_HEADER_BYTES, GroupBuilder, WalWriteError, WalWriter, WrittenGroup};
use headgate_metadata::id::{ClusterId, SlotId, TimestampMs, WalId, WalPosition};
use tokio::sync::Notify;
use tracing::{error, warn};

use self::order::Pending;
use self::signal::Signal;
use crate::clock::SharedClock;
use crate::config::WalSync;
use crate::fatal::Fatal;
use crate::fleet::Member;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::operation::{Held, Operation};
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::planted::{Bug, is_planted};
use crate::queue::FairQueue;
use crate::room::DiskRoom;
use crate::slot_time::SteadyTime;
use crate::slots::Slots;
use crate::spawn;
use crate::state_log::{Durable, StateLog, StateRecord};
use crate::tail::Tail;

/// What a group takes beside its operations: its header, and usage marks that fall due in it.
const GROUP_OVERHEAD_BYTES: u64 = 1 << 20;
/// What may be written and not yet committed: mirrors that lag make the owner wait here. Higher: more memory while they do.
/// Lower: a short pause of a mirror is felt sooner.
const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;
/// How long a clean stop waits for mirrors.
const CLOSING_WAIT: Duration = Duration::from_secs(5);

/// Everybody's side of the sequencer.
#[derive(Debug)]
pub(crate) struct Sequencer {
    wal: WalId,
    inbox: Mutex<Inbox>,
    work: Condvar,
    /// The same for a sequencer that runs as a task.
    task_work: Notify,
    committed: AtomicU64,
    /// How many groups were taken.
    rounds: AtomicU64,
    still: Mutex<Still>,
    chunk_full: Notify,
    outbox: Outbox,
}

#[derive(Debug)]
struct Inbox {
    queue: FairQueue<Operation>,
    signals: Vec<Signal>,
    life: Life,
    /// Whether the sequencer sleeps and must be woken.
    idle: bool,
}

/// How far it was when it was last seen to get on, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Still {
    committed: WalPosition,
    rounds: u64,
    since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Takes operations.
    Open,
    /// Takes no more, finishes what it has.
    Closing,
    /// Stops at once.
    Halted,
    /// Finished or failed.
    Closed,
}

/// What the thread is made of.
pub(crate) struct Parts {
    pub(crate) writer: WalWriter,
    pub(crate) slots: Arc<Slots>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) fatal: Fatal,
    pub(crate) sync: WalSync,
    pub(crate) tail_bytes_max: u64,
    pub(crate) disk_room: DiskRoom,
    /// Copies without which nothing is committed, the owner's included.
    pub(crate) copies_min: usize,
}

/// The running sequencer. Joined by [`Running::stop`].
#[derive(Debug)]
pub(crate) struct Running(spawn::Worker);

struct Worker {
    shared: Arc<Sequencer>,
    writer: Option<WalWriter>,
    slots: Arc<Slots>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    fatal: Fatal,
    sync: WalSync,
    time: SteadyTime,
    pace: Pace,
    gate: Gate<Held>,
    tail: Tail,
    disk_room: DiskRoom,
    owner: Member,
    /// When it was first found closing.
    closing_since: Option<Duration>,
}

/// What a look into the inbox found.
enum Gathered {
    /// A group.
    Group,
    /// Nothing to do yet.
    Nothing,
    /// The end.
    End,
}

impl Sequencer {
    /// Starts the thread, or on a runtime with one thread a task.
    pub(crate) fn start(parts: Parts) -> std::io::Result<(Arc<Self>, Running)> {
        let position = parts.writer.position();
        let wal = parts.writer.wal();
        let owner = (wal.node, wal.incarnation);
        let inbox = Inbox { queue: FairQueue::default(), signals: Vec::new(), life: Life::Open, idle: false };
        let shared = Arc::new(Self {
            wal,
            inbox: Mutex::new(inbox),
            work: Condvar::new(),
            task_work: Notify::new(),
            committed: AtomicU64::new(position.get()),
            rounds: AtomicU64::new(0),
            still: Mutex::new(Still { committed: position, rounds: 0, since: parts.clock.monotonic() }),
            chunk_full: Notify::new(),
            outbox: Outbox::new(position),
        });
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            writer: Some(parts.writer),
            time: SteadyTime::start(&*parts.clock),
            slots: parts.slots,
            clock: parts.clock,
            metrics: parts.metrics,
            fatal: parts.fatal,
            sync: parts.sync,
            pace: Pace::new(),
            gate: Gate::new(owner, parts.copies_min, position),
            tail: Tail::new(parts.tail_bytes_max),
            disk_room: parts.disk_room,
            owner,
            closing_since: None,
        };
        let running = if spawn::is_single_threaded() {
            spawn::Worker::Task(spawn::task(async move { worker.run_as_task().await }))
        } else {
            spawn::Worker::Thread(spawn::thread("sequencer", move || worker.run())?)
        };
        Ok((shared, Running(running)))
    }

    /// The WAL it writes.
    pub(crate) fn wal(&self) -> WalId {
        self.wal
    }

    /// The end of the last committed write group.
    pub(crate) fn committed(&self) -> WalPosition {
        WalPosition::new(self.committed.load(Ordering::Acquire))
    }

    /// For how long it has had work and done none of it, as far as those saw who asked now and then: its disk hangs, or a mirror
    /// that cannot be left behind does (`storage/PROTOCOL.md` §10).
    pub(crate) fn stands_still(&self, now: Duration) -> Duration {
        let (committed, rounds) = (self.committed(), self.rounds.load(Ordering::Acquire));
        let waits_for_copies = self.outbox.written() > committed;
        let has_work = waits_for_copies || !self.inbox().queue.is_empty();
        let mut still = self.still.lock().unwrap_or_else(PoisonError::into_inner);
        // Groups that write nothing are work as well.
        let got_on = committed > still.committed || !waits_for_copies && rounds > still.rounds;
        if got_on || !has_work {
            *still = Still { committed, rounds, since: now };
        }
        now.saturating_sub(still.since)
    }

    /// What mirrors stream.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns when a chunk became full since the last call. Cancel safe.
    pub(crate) async fn chunk_became_full(&self) {
        self.chunk_full.notified().await;
    }

    /// Takes the operation's place in its cluster's queue, now. Does not block; an operation that comes too late is refused.
    pub(crate) fn submit(&self, cluster: ClusterId, operation: Operation) {
        let mut inbox = self.inbox();
        if inbox.life != Life::Open {
            drop(inbox);
            operation.refuse();
            return;
        }
        inbox.queue.push(cluster, operation.bytes(), operation);
        self.wake(inbox);
    }

    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>) {
        let idle = std::mem::replace(&mut inbox.idle, false);
        drop(inbox);
        if idle {
            self.work.notify_one();
            self.task_work.notify_one();
        }
    }

    /// Tells the thread to end at once, as a crash would.
    pub(crate) fn halt(&self) {
        self.close(Life::Halted);
    }

    /// Whether operations are still taken.
    pub(crate) fn is_open(&self) -> bool {
        self.inbox().life == Life::Open
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // What is guarded stays consistent at every step, so a panic elsewhere does not spoil it.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, life: Life) {
        let mut inbox = self.inbox();
        if inbox.life != Life::Closed {
            inbox.life = life;
        }
        drop(inbox);
        self.work.notify_one();
        self.task_work.notify_one();
    }
}

impl StateLog for Sequencer {
    fn submit_state(&self, slot: SlotId, records: Vec<StateRecord>) -> Durable {
        let Some(cluster) = records.first().map(|record| record.cluster) else { return Durable::already() };
        let (settled, durable) = Durable::pending();
        self.submit(cluster, Operation::State { slot, records, settled });
        durable
    }
}

impl Running {
    /// Ends it at once, as a crash would: nothing is synced or closed, what is queued is refused.
    pub(crate) async fn halt(self, sequencer: &Sequencer) {
        sequencer.halt();
        self.join().await;
    }

    /// Lets queued operations finish, writes the closing group, and returns when it has ended.
    pub(crate) async fn stop(self, sequencer: &Sequencer) {
        if sequencer.is_open() {
            sequencer.close(Life::Closing);
        }
        self.join().await;
    }

    async fn join(self) {
        if !self.0.join().await {
            error!("sequencer ended by a panic");
        }
    }
}

/// Stops the process if the sequencer ends by a panic: nobody else could order anything.
struct PanicStop {
    shared: Arc<Sequencer>,
    fatal: Fatal,
}

impl Drop for PanicStop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.close(Life::Closed);
            self.fatal.stop("the sequencer panicked");
        }
    }
}

impl Worker {
    fn run(&mut self) {
        let _stop = PanicStop { shared: Arc::clone(&self.shared), fatal: self.fatal.clone() };
        let mut group = Vec::new();
        while self.gather(&mut group) {
            if let Err(error) = self.process(&mut group) {
                self.fail(&error);
                return;
            }
        }
        self.close_clean();
    }

    /// The same loop where there is no other thread.
    async fn run_as_task(&mut self) {
        let _stop = PanicStop { shared: Arc::clone(&self.shared), fatal: self.fatal.clone() };
        let shared = Arc::clone(&self.shared);
        let mut group = Vec::new();
        loop {
            let gathered = self.look(&mut shared.inbox(), &mut group);
            match gathered {
                Gathered::End => break,
                Gathered::Nothing => {
                    drop(tokio::time::timeout(CLOSING_WAIT / 10, shared.task_work.notified()).await);
                    continue;
                }
                Gathered::Group => {}
            }
            if let Err(error) = self.process(&mut group) {
                self.fail(&error);
                return;
            }
            tokio::task::yield_now().await;
        }
        self.close_clean();
    }

    /// Waits for work and takes the next group. `false` at the end.
    fn gather(&mut self, group: &mut Vec<Operation>) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.inbox();
        loop {
            match self.look(&mut inbox, group) {
                Gathered::Group => return true,
                Gathered::End => return false,
                Gathered::Nothing if inbox.life == Life::Open => {
                    inbox = shared.work.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                }
                Gathered::Nothing => {
                    let waited = shared.work.wait_timeout(inbox, CLOSING_WAIT / 10);
                    inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            inbox.idle = false;
        }
    }

    /// Takes in what mirrors said, then the next group if it may be written now.
    fn look(&mut self, inbox: &mut Inbox, group: &mut Vec<Operation>) -> Gathered {
        if inbox.life == Life::Halted {
            return Gathered::End;
        }
        if !inbox.signals.is_empty() {
            for signal in std::mem::take(&mut inbox.signals) {
                self.take_in(signal);
            }
            self.publish_committed();
            self.release();
        }
        let written = self.writer.as_ref().map_or(WalPosition::new(0), WalWriter::position);
        let uncommitted = written.get() - self.gate.committed().get();
        if inbox.life != Life::Open && (inbox.queue.is_empty() || self.has_waited()) {
            if uncommitted == 0 || self.has_waited() {
                return Gathered::End;
            }
        } else if !inbox.queue.is_empty() && uncommitted < UNCOMMITTED_BYTES_MAX {
            inbox.queue.drain(self.pace.limit(), group);
            self.shared.rounds.fetch_add(1, Ordering::AcqRel);
            return Gathered::Group;
        }
        inbox.idle = true;
        Gathered::Nothing
    }

    /// Whether a closing sequencer has waited long enough for its mirrors.
    fn has_waited(&mut self) -> bool {
        let now = self.clock.monotonic();
        now.saturating_sub(*self.closing_since.get_or_insert(now)) >= CLOSING_WAIT
    }

    fn process(&mut self, group: &mut Vec<Operation>) -> Result<(), WalWriteError> {
        let (now, stepped) = self.time.read(&*self.clock);
        if stepped {
            warn!(now = now.get(), "wall clock stepped ahead, slot time follows at twice real speed");
        }
        let began = self.clock.monotonic();
        if !self.finds_room(group, now)? {
            // Nothing of the group is ordered yet, so it is refused whole, and the node goes on when there is room again.
            warn!(operations = group.len(), "disk full, operations refused");
            group.drain(..).for_each(Operation::refuse);
            return Ok(());
        }
        let Some(writer) = self.writer.as_mut() else { return Ok(()) };
        let mut builder = writer.begin_group(now);
        let pending = self.order(group, &mut builder, now);
        let (bytes, records) = (builder.bytes(), builder.record_count());
        if records == 0 {
            // Nothing to write: what these answers depend on is behind an earlier position.
            self.hold(pending, None);
        } else {
            let written = match self.write(builder) {
                Ok(written) => written,
                Err(error) => {
                    pending.into_iter().for_each(Pending::lose);
                    return Err(error);
                }
            };
            self.hold(pending, Some(written));
            let took = self.clock.monotonic().saturating_sub(began);
            self.pace.observe(bytes, took);
            self.metrics.observe_group_committed(bytes, took);
        }
        self.release();
        Ok(())
    }

    /// Whether the group finds room on the disk; asked, and the next chunk allocated, before anything is ordered.
    fn finds_room(&mut self, group: &[Operation], now: TimestampMs) -> Result<bool, WalWriteError> {
        let Some(writer) = self.writer.as_mut() else { return Ok(true) };
        let bytes: u64 = group.iter().map(Operation::bytes).sum();
        if !self.disk_room.admits(writer, bytes + GROUP_OVERHEAD_BYTES) {
            return Ok(false);
        }
        let chunk = writer.chunk_start();
        let prepared = writer.prepare(GROUP_HEADER_BYTES as u64 + bytes, now);
        if chunk.is_some() && writer.chunk_start() != chunk {
            self.shared.chunk_full.notify_one();
        }
        match prepared {
            Ok(()) => Ok(true),
            Err(WalWriteError::Full(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, builder: GroupBuilder) -> Result<WrittenGroup, WalWriteError> {
        let Some(writer) = self.writer.as_mut() else {
            unreachable!("the writer leaves only when the thread ends");
        };
        let chunk = writer.chunk_start();
        let written = writer.write(builder)?;
        // Mirrors write and sync it while this disk does.
        self.shared.outbox.wrote(&written);
        if self.sync == WalSync::Fsync {
            writer.sync()?;
        }
        if chunk.is_some() && writer.chunk_start() != chunk {
            self.shared.chunk_full.notify_one();
        }
        Ok(written)
    }

    /// Puts the group's answers behind the gate and tells it how far the owner's own copy is.
    fn hold(&mut self, pending: Vec<Pending>, written: Option<WrittenGroup>) {
        let end = written.as_ref().map(|group| group.end);
        let mut batches = written.map(|group| group.batches).unwrap_or_default().into_iter();
        for Pending { depends_on, held } in pending {
            let held = held.with_bytes(&mut batches);
            let is_early = match held {
                Held::Append { .. } => is_planted(Bug::ServeAboveHighWatermark),
                Held::State(_) => is_planted(Bug::StateAnsweredBeforeCommit),
                _ => false,
            };
            if is_early {
                self.commit(held);
            } else {
                self.gate.hold(depends_on, held);
            }
        }
        if let Some(end) = end {
            self.gate.member_holds(self.owner, end);
            self.publish_committed();
        }
    }

    fn publish_committed(&self) {
        let committed = self.gate.committed();
        self.shared.committed.store(committed.get(), Ordering::Release);
        self.shared.outbox.committed(committed);
    }

    /// Stops for ever: what the disk holds is unknown (§14).
    fn fail(&mut self, error: &WalWriteError) {
        error!(%error, "write-ahead log failed, stopping");
        self.shared.close(Life::Closed);
        self.gate.abandon().for_each(Held::lose);
        self.refuse_queued();
        self.fatal.stop(&error.to_string());
    }

    fn refuse_queued(&mut self) {
        let mut left = Vec::new();
        self.shared.inbox().queue.drain(u64::MAX, &mut left);
        left.into_iter().for_each(Operation::refuse);
    }

    fn close_clean(&mut self) {
        let halted = self.shared.inbox().life == Life::Halted;
        self.shared.close(Life::Closed);
        self.refuse_queued();
        self.gate.abandon().for_each(Held::lose);
        if halted {
            return;
        }
        let Some(writer) = self.writer.take() else { return };
        match writer.close_clean(self.wall()) {
            // A closing group changes nothing, so it needs no mirror.
            Ok(end) if self.shared.committed() == self.shared.outbox.written() => {
                self.shared.committed.store(end.get(), Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => error!(%error, "write-ahead log not closed cleanly"),
        }
    }

    fn wall(&self) -> TimestampMs {
        self.clock.wall()
    }
}

#[cfg(test)]
mod tests;
