//! The one thread that writes: it takes all waiting transactions, runs them in order in one redb transaction, syncs once,
//! and answers all. While it syncs, the next group gathers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use redb::Durability;
use tokio::sync::{mpsc, oneshot, watch};

use super::table::{NO_LEASE, Tables};
use super::{Shared, table, unavailable};
use crate::id::Revision;
use crate::store::{Event, MetadataError, Outcome, Transaction};

/// Transactions that wait for the writer at most; further callers wait for a place.
const QUEUE_TRANSACTIONS_MAX: usize = 1_024;
/// Transactions per group at most, which bounds how long the first of a group waits.
const GROUP_TRANSACTIONS_MAX: usize = 256;

/// What the writer is asked to do.
pub(super) enum Work {
    /// A transaction, with its puts under a lease or [`NO_LEASE`].
    Commit(Transaction, i64),
    /// The end of a lease.
    Revoke(i64),
}

pub(super) struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Outcome, MetadataError>>,
}

/// The handle of the writer thread. Dropping it lets the thread finish what is queued and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; the receiver tells the newest revision.
    pub(super) fn start(shared: Arc<Shared>, revision: u64) -> std::io::Result<(Self, watch::Receiver<u64>)> {
        let (queue, jobs) = mpsc::channel(QUEUE_TRANSACTIONS_MAX);
        let (progress, newest) = watch::channel(revision);
        let thread = std::thread::Builder::new()
            .name("metadata-commit".to_owned())
            .spawn(move || run(&shared, jobs, &progress, revision))?;
        Ok((Self { queue: Some(queue), thread: Some(thread) }, newest))
    }

    /// Queues a transaction and waits for its outcome. A caller that goes away after queueing does not undo it.
    pub(super) async fn submit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        let (job, outcome) = job(Work::Commit(transaction, NO_LEASE));
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        answer(outcome).await
    }

    /// The queue for a caller that does not keep the writer running.
    pub(super) fn queue(&self) -> mpsc::WeakSender<Job> {
        self.queue.as_ref().expect("only dropping takes it").downgrade()
    }
}

/// Queues work unless the queue is full, and waits for its outcome. The sender is not held while it waits: dropping the
/// store waits for all senders, on a thread that the waiting task may need.
pub(super) async fn submit_now(queue: &mpsc::WeakSender<Job>, work: Work) -> Result<Outcome, MetadataError> {
    let (job, outcome) = job(work);
    let queued = queue.upgrade().ok_or_else(stopped)?.try_send(job);
    queued.map_err(|error| unavailable("commit", &error))?;
    answer(outcome).await
}

type Answer = oneshot::Receiver<Result<Outcome, MetadataError>>;

fn job(work: Work) -> (Job, Answer) {
    let (reply, outcome) = oneshot::channel();
    (Job { work, reply }, outcome)
}

async fn answer(outcome: Answer) -> Result<Outcome, MetadataError> {
    let reason = "the writer stopped without an answer";
    outcome.await.unwrap_or_else(|_| Err(MetadataError::OutcomeUnknown { reason: reason.to_owned() }))
}

fn stopped() -> MetadataError {
    unavailable("commit", &"the writer has stopped")
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed where it happened; there is nobody left to tell.
            drop(thread.join());
        }
    }
}

fn run(shared: &Shared, mut jobs: mpsc::Receiver<Job>, progress: &watch::Sender<u64>, mut revision: u64) {
    let mut group = Vec::with_capacity(GROUP_TRANSACTIONS_MAX);
    while jobs.blocking_recv_many(&mut group, GROUP_TRANSACTIONS_MAX) > 0 {
        let answers = match commit(shared, &group, revision) {
            Ok(committed) => {
                revision += committed.changes.len() as u64;
                committed.changes.into_iter().for_each(|events| shared.history.push(events));
                progress.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
                committed.outcomes.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error); group.len()],
        };
        for (job, answer) in group.drain(..).zip(answers) {
            // The caller may have gone away; the transaction stands all the same.
            drop(job.reply.send(answer));
        }
        if shared.check_usable().is_err() {
            // Leaving closes the queue and all watches: nobody waits for what will not come.
            return;
        }
    }
}

struct Committed {
    outcomes: Vec<Outcome>,
    /// The events of each new revision, in order.
    changes: Vec<Vec<Event>>,
}

fn commit(shared: &Shared, group: &[Job], revision: u64) -> Result<Committed, MetadataError> {
    let (write, committed) = stage(shared, group, revision).map_err(|error| unavailable("commit", &error))?;
    if committed.changes.is_empty() {
        // Nobody changed anything: there is nothing to sync.
        return Ok(committed);
    }
    write.commit().map_err(|error| {
        shared.broken.store(true, Ordering::Release);
        tracing::error!(%error, "metadata commit failed, the store is closed to reads and writes");
        MetadataError::OutcomeUnknown { reason: format!("commit: {error}") }
    })?;
    Ok(committed)
}

/// Runs the group's transactions in order; each sees the changes of those before it.
fn stage(
    shared: &Shared,
    group: &[Job],
    mut revision: u64,
) -> Result<(redb::WriteTransaction, Committed), redb::Error> {
    let mut write = shared.database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    let mut committed = Committed { outcomes: Vec::with_capacity(group.len()), changes: Vec::new() };
    {
        let mut tables = Tables::open(&write)?;
        for job in group {
            let next = Revision::new(revision + 1);
            let events = match &job.work {
                Work::Commit(transaction, lease) => {
                    if !tables.holds(transaction)? {
                        committed.outcomes.push(Outcome::Refused(Revision::new(revision)));
                        continue;
                    }
                    tables.apply(&transaction.writes, next, *lease)?
                }
                Work::Revoke(lease) => tables.apply(&tables.leased(|of| of == *lease)?, next, NO_LEASE)?,
            };
            if !events.is_empty() {
                revision += 1;
                committed.changes.push(events);
            }
            committed.outcomes.push(Outcome::Committed(Revision::new(revision)));
        }
        table::store_revision(&mut tables.counters, revision)?;
    }
    Ok((write, committed))
}
