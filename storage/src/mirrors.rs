//! The copies this process keeps of other nodes' WALs (`storage/PROTOCOL.md` §2.3, §3, §4).
//!
//! Each copy has one worker: what is asked of it is done in the order it was asked. Invariants: an answer of a position is
//! given when everything below is as durable as `wal.sync` demands; a copy that promised a seal takes nothing more; a copy of
//! an earlier process is not a member's, unless everybody restarted; a copy's files have one writer at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headgate_log::disk::Disk;
use headgate_log::wal::{CopiedGroup, CopyError, WalCopy, is_whole, promise};
use headgate_metadata::id::{WalId, WalPosition};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::WalSync;
use crate::fleet::Member;
use crate::peer::PeerReply;
use crate::planted::{Bug, is_planted};
use crate::room::FreeSpace;
use crate::seal::find_end;
use crate::spawn;

/// Groups that are written between two looks at the queue: they share a sync where the format allows it.
const BATCH_MAX: usize = 64;
/// An owner says at least so often to whoever follows it whether it stands still.
const TOLD_EVERY_MAX: Duration = Duration::from_secs(1);

/// What the copies are made of.
#[derive(Clone)]
pub struct MirrorParts {
    /// This process.
    pub me: Member,
    /// The disk they lie on.
    pub disk: Arc<dyn Disk>,
    /// Below it one directory per WAL, the own ones included.
    pub wal_dir: PathBuf,
    /// When a copy counts as held; the same rule on every copy.
    pub wal_sync: WalSync,
    /// The clocks.
    pub clock: SharedClock,
    /// The free space of the disk.
    pub free_space: FreeSpace,
}

/// All copies of this process.
pub struct Mirrors {
    parts: MirrorParts,
    copies: Mutex<BTreeMap<WalId, Arc<Mirror>>>,
    /// WALs whose copies are being opened or fetched.
    busy: Mutex<BTreeSet<WalId>>,
    /// The incarnation of the own WAL that may be written at present: it is nobody's copy.
    own: AtomicU64,
}

/// One copy.
struct Mirror {
    jobs: mpsc::UnboundedSender<Job>,
    seen: Mutex<Seen>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// What others may know of a copy without waiting for its worker.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When its owner was last heard.
    heard: Duration,
    /// Whether it is complete: a member's.
    finished: bool,
    promised: bool,
    still: Still,
}

/// What an owner says of itself.
#[derive(Debug, Clone, Copy)]
struct Still {
    /// For how long it has had work and done none.
    lasted: Duration,
    /// When it said so.
    told: Duration,
}

enum Job {
    Append(CopiedGroup, oneshot::Sender<PeerReply>),
    Finish(oneshot::Sender<PeerReply>),
    Fence(oneshot::Sender<PeerReply>),
    Held(oneshot::Sender<PeerReply>),
}

impl Mirrors {
    /// No copies yet.
    pub fn new(parts: MirrorParts) -> Arc<Self> {
        let own = AtomicU64::new(parts.me.1.get());
        Arc::new(Self { parts, copies: Mutex::default(), busy: Mutex::default(), own })
    }

    /// This process.
    pub fn me(&self) -> Member {
        self.parts.me
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.parts.disk)
    }

    pub(crate) fn wal_dir(&self) -> &Path {
        &self.parts.wal_dir
    }

    /// The node begins this WAL; those of its earlier starts, in this process too, have ended.
    pub(crate) fn begins(&self, own: WalId) {
        self.own.store(own.incarnation.get(), Ordering::Release);
    }

    /// WALs of which this process is a complete, unfenced holder and whose owner was not heard for `silence`.
    pub(crate) fn silent(&self, silence: Duration) -> Vec<WalId> {
        let now = self.parts.clock.monotonic();
        let copies = self.copies();
        let silent = copies.iter().filter(|(_, mirror)| {
            let seen = *mirror.seen();
            seen.finished && !seen.promised && now.saturating_sub(seen.heard) >= silence
        });
        silent.map(|(wal, _)| *wal).collect()
    }

    /// WALs of which this process is a complete, unfenced holder, and whose owner has just said that it stands still for
    /// `patience`. None if that is most of them: then it is not for an owner's own reason.
    pub(crate) fn stuck(&self, patience: Duration) -> Vec<WalId> {
        let now = self.parts.clock.monotonic();
        let copies = self.copies();
        // An owner that says no more is silent, or is followed by others now: it is neither stuck nor well.
        let is_told = |seen: &Seen| now.saturating_sub(seen.still.told) < TOLD_EVERY_MAX;
        let seen = copies.iter().map(|(wal, mirror)| (*wal, *mirror.seen()));
        let followed: Vec<(WalId, Seen)> =
            seen.filter(|(_, seen)| seen.finished && !seen.promised && is_told(seen)).collect();
        let stuck: Vec<WalId> =
            followed.iter().filter(|(_, seen)| seen.still.lasted >= patience).map(|(wal, _)| *wal).collect();
        if stuck.len() * 2 > followed.len() { Vec::new() } else { stuck }
    }

    /// Takes a copy up or begins one; see [`crate::peer::PeerRequest::Join`].
    pub(crate) async fn join(&self, wal: WalId, from: WalPosition) -> PeerReply {
        if wal.node == self.parts.me.0 {
            return PeerReply::NotHere;
        }
        // Somebody else writes to it now: the owner comes again.
        let Some(_alone) = self.alone_with(wal) else { return PeerReply::Failed };
        if let Some(mirror) = self.find(wal) {
            let held = mirror.ask(Job::Held).await;
            // Its worker ends with the last that holds it.
            drop(mirror);
            match held {
                PeerReply::Held { position, .. } if position < from => self.drop_copy(wal).await,
                // Its disk failed. What is sound of it is taken up again.
                PeerReply::NotHere => self.drop_copy(wal).await,
                reply => return reply,
            }
        }
        let (disk, dir) = (self.disk(), self.parts.wal_dir.clone());
        let opened = spawn::blocking(move || WalCopy::open(disk, &dir, wal, from)).await;
        match opened {
            Some(Ok(copy)) => {
                let position = copy.held();
                info!(%wal, %position, catching_up = copy.is_unfinished(), "mirror joined");
                self.keep(wal, copy);
                self.held(position)
            }
            Some(Err(error)) => refused(wal, &error),
            None => PeerReply::Failed,
        }
    }

    /// Takes the group's place behind what was asked before, now.
    pub(crate) fn append(
        &self,
        wal: WalId,
        group: CopiedGroup,
    ) -> impl Future<Output = PeerReply> + Send + use<> {
        let asked = self.find(wal).map(|mirror| mirror.submit(|reply| Job::Append(group, reply)));
        async move {
            match asked {
                Some(answer) => answer.await.unwrap_or(PeerReply::NotHere),
                None => PeerReply::NotHere,
            }
        }
    }

    /// The copy is complete.
    pub(crate) async fn finish(&self, wal: WalId) -> PeerReply {
        match self.find(wal) {
            Some(mirror) => mirror.ask(Job::Finish).await,
            None => PeerReply::NotHere,
        }
    }

    /// Whether the copy still follows its owner, who was heard by this and may say for how long it has stood still.
    pub(crate) fn confirm(&self, wal: WalId, still: Option<Duration>) -> PeerReply {
        let Some(mirror) = self.find(wal) else { return PeerReply::NotHere };
        let mut seen = mirror.seen();
        if seen.promised {
            return PeerReply::Promised;
        }
        let now = self.parts.clock.monotonic();
        seen.heard = now;
        if let Some(still) = still {
            seen.still = Still { lasted: still, told: now };
        }
        PeerReply::Confirmed { wall: Some(self.parts.clock.wall()) }
    }

    /// Fences the copy; see [`crate::peer::PeerRequest::Fence`].
    pub(crate) async fn fence(&self, wal: WalId, restarted: bool) -> PeerReply {
        match self.find(wal) {
            Some(mirror) if mirror.seen().finished => mirror.ask(Job::Fence).await,
            None if restarted => self.fence_restarted(wal).await,
            Some(_) | None => PeerReply::NotHere,
        }
    }

    /// A copy, or the own log, that an earlier process left: what is read must be what the disk holds.
    async fn fence_restarted(&self, wal: WalId) -> PeerReply {
        if wal.node == self.parts.me.0 && wal.incarnation.get() >= self.own.load(Ordering::Acquire) {
            return PeerReply::NotHere;
        }
        let (disk, dir) = (self.disk(), self.parts.wal_dir.clone());
        let found = spawn::blocking(move || {
            // A node that lost its disk has nothing to say, not "nothing": what it held may have been acknowledged.
            if !is_whole(&*disk, &dir, wal).unwrap_or(false) {
                return None;
            }
            match find_end(&disk, &dir, wal) {
                Ok(found) => promise(&*disk, &dir, wal).ok().map(|()| found.end),
                Err(error) => {
                    warn!(%wal, %error, "the copy on this disk does not count");
                    None
                }
            }
        });
        found.await.flatten().map_or(PeerReply::NotHere, |end| self.held(end))
    }

    /// Nobody else opens or replaces the copy of this WAL until the guard is dropped; `None` while somebody does.
    pub(crate) fn alone_with(&self, wal: WalId) -> Option<Alone<'_>> {
        self.busy().insert(wal).then(|| Alone { mirrors: self, wal })
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<WalId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the copy's files, so that they can be replaced.
    pub(crate) async fn drop_copy(&self, wal: WalId) {
        let dropped = self.copies().remove(&wal);
        if let Some(mirror) = dropped {
            let worker = mirror.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(mirror);
            if let Some(worker) = worker {
                // It ends when the last sender of jobs is gone.
                drop(worker.await);
            }
        }
    }

    fn keep(&self, wal: WalId, copy: WalCopy) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let heard = self.parts.clock.monotonic();
        let finished = !copy.is_unfinished();
        let seen =
            Seen { heard, finished, promised: false, still: Still { lasted: Duration::ZERO, told: heard } };
        let mirror = Arc::new(Mirror { jobs, seen: Mutex::new(seen), worker: Mutex::default() });
        let weak = Arc::downgrade(&mirror);
        let worker = Worker { wal, copy: Some(copy), queue, parts: self.parts.clone() };
        let task = spawn::task(worker.run(move |change| {
            if let Some(mirror) = weak.upgrade() {
                change(&mut mirror.seen());
            }
        }));
        *mirror.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        self.copies().insert(wal, mirror);
    }

    fn held(&self, position: WalPosition) -> PeerReply {
        PeerReply::Held { position, free_bytes: self.parts.free_bytes() }
    }

    fn find(&self, wal: WalId) -> Option<Arc<Mirror>> {
        self.copies().get(&wal).cloned()
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<WalId, Arc<Mirror>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to open or replace the copy of one WAL.
pub(crate) struct Alone<'a> {
    mirrors: &'a Mirrors,
    wal: WalId,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.mirrors.busy().remove(&self.wal);
    }
}

impl MirrorParts {
    fn free_bytes(&self) -> u64 {
        (self.free_space)(&self.wal_dir).unwrap_or(u64::MAX)
    }
}

impl Mirror {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: impl FnOnce(oneshot::Sender<PeerReply>) -> Job) -> oneshot::Receiver<PeerReply> {
        let (reply, answer) = oneshot::channel();
        // Without a worker the sender is dropped with the job, which tells the asker.
        drop(self.jobs.send(job(reply)));
        answer
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<PeerReply>) -> Job) -> PeerReply {
        self.submit(job).await.unwrap_or(PeerReply::NotHere)
    }
}

/// Does what is asked of one copy.
struct Worker {
    wal: WalId,
    /// `None` after a failure of the disk: the copy is not to be trusted any more.
    copy: Option<WalCopy>,
    queue: mpsc::UnboundedReceiver<Job>,
    parts: MirrorParts,
}

impl Worker {
    async fn run(mut self, tell: impl Fn(&mut dyn FnMut(&mut Seen)) + Send) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while self.queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
            let heard = self.parts.clock.monotonic();
            let Some(mut copy) = self.copy.take() else {
                jobs.clear();
                continue;
            };
            let taken = std::mem::replace(&mut jobs, Vec::with_capacity(BATCH_MAX));
            let (sync, wal) = (self.parts.wal_sync, self.wal);
            let done = spawn::blocking(move || {
                let outcome = work(&mut copy, taken, sync);
                (copy, outcome)
            });
            let Some((copy, done)) = done.await else { return };
            tell(&mut |seen| {
                seen.heard = if done.appended { heard.max(seen.heard) } else { seen.heard };
                seen.finished = !copy.is_unfinished();
                seen.promised |= done.promised;
            });
            let free_bytes = self.parts.free_bytes();
            for (answer, reply) in done.answers {
                let reply = match reply {
                    Ok(position) => PeerReply::Held { position, free_bytes },
                    Err(error) => refused(wal, &error),
                };
                drop(answer.send(reply));
            }
            if done.is_sound {
                self.copy = Some(copy);
            } else {
                tell(&mut |seen| seen.finished = false);
            }
        }
    }
}

type Answer = (oneshot::Sender<PeerReply>, Result<WalPosition, CopyError>);

/// What came of a batch of jobs.
struct Done {
    answers: Vec<Answer>,
    appended: bool,
    promised: bool,
    is_sound: bool,
}

/// Blocks.
fn work(copy: &mut WalCopy, jobs: Vec<Job>, sync: WalSync) -> Done {
    let mut done =
        Done { answers: Vec::with_capacity(jobs.len()), appended: false, promised: false, is_sound: true };
    for job in jobs {
        let (answer, outcome) = match job {
            Job::Append(group, answer) => {
                done.appended = true;
                (answer, copy.append(&group).map(|()| group.end))
            }
            Job::Finish(answer) => (answer, copy.finish().map(|()| copy.held())),
            Job::Held(answer) => (answer, Ok(copy.held())),
            Job::Fence(answer) => {
                let promised = if is_planted(Bug::PromiseNotKept) { copy.sync() } else { copy.promise() };
                done.promised |= promised.is_ok() && !is_planted(Bug::PromiseNotKept);
                (answer, promised)
            }
        };
        done.is_sound &= !matches!(outcome, Err(CopyError::Disk(_)));
        done.answers.push((answer, outcome));
    }
    if sync == WalSync::Fsync
        && !is_planted(Bug::MirrorAnswersBeforeDurable)
        && let Err(error) = copy.sync()
    {
        done.is_sound = false;
        for (_, outcome) in &mut done.answers {
            *outcome = Err(error.clone());
        }
    }
    done
}

fn refused(wal: WalId, error: &CopyError) -> PeerReply {
    match error {
        CopyError::Promised(_) => PeerReply::Promised,
        CopyError::Gap { .. } => PeerReply::Gap,
        CopyError::Malformed(_) | CopyError::Disk(_) => {
            warn!(%wal, %error, "copy not kept");
            PeerReply::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use headgate_log::disk::ForgetfulDisk;
    use headgate_metadata::id::{Incarnation, NodeId};

    use super::*;
    use crate::clock::SystemClock;

    /// An heir may fetch a copy while its owner, who has not been lost after all, joins.
    #[tokio::test]
    async fn section_2_3_a_copy_has_one_writer_at_a_time() {
        let (mirrors, wal) = mirrors();
        let alone = mirrors.alone_with(wal).expect("nobody writes");
        assert!(mirrors.alone_with(wal).is_none());
        assert_eq!(mirrors.join(wal, WalPosition::new(0)).await, PeerReply::Failed);
        drop(alone);
        assert_eq!(mirrors.join(wal, WalPosition::new(0)).await, held(0));
        assert!(mirrors.alone_with(wal).is_some(), "the join has ended");
    }

    /// The owner has flushed what it lacks, and trimmed it: there is nothing to catch up with.
    #[tokio::test]
    async fn section_3_2_a_copy_that_ends_below_what_is_flushed_is_begun_anew() {
        let (mirrors, wal) = mirrors();
        assert_eq!(mirrors.join(wal, WalPosition::new(0)).await, held(0));
        for _ in 0..2 {
            let again = mirrors.join(wal, WalPosition::new(4096));
            let joined = tokio::time::timeout(Duration::from_secs(10), again).await;
            assert_eq!(joined.expect("it answers"), held(4096));
        }
        assert!(mirrors.alone_with(wal).is_some(), "the join has ended");
    }

    fn mirrors() -> (Arc<Mirrors>, WalId) {
        let mirrors = Mirrors::new(MirrorParts {
            me: (NodeId::new(2), Incarnation::new(1)),
            disk: Arc::new(ForgetfulDisk::new()),
            wal_dir: "/wal".into(),
            wal_sync: WalSync::Fsync,
            clock: SystemClock::shared(),
            free_space: Arc::new(|_| Some(1 << 30)),
        });
        (mirrors, WalId { node: NodeId::new(1), incarnation: Incarnation::new(7) })
    }

    fn held(position: u64) -> PeerReply {
        PeerReply::Held { position: WalPosition::new(position), free_bytes: 1 << 30 }
    }
}
