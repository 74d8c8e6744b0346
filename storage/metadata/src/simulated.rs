//! The metadata store of a simulation: the same answers for the same calls, whatever the machine does.
//!
//! Nothing here starts a thread, or a task but the keeper of a lease; nothing reads a real clock, hashes by chance or draws a number: on a single-threaded
//! runtime with paused time a run depends only on its callers and on the [`Faults`] they chose. Each simulated process
//! has a client of its own ([`SimulatedStore::client`]), so that one of them can be cut off alone.
//!
//! Invariants: a transaction happens at one instant of tokio's time; waiters wake in the order in which they waited.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::id::Revision;
use crate::lease;
use crate::limits;
use crate::store::{
    Changes, Lease, MetadataError, MetadataStore, Outcome, Select, Snapshot, Transaction, Watch,
};

mod faults;
mod leasing;
mod state;
#[cfg(test)]
mod tests;

pub use faults::{Fate, Faults, Operation, Passage};
pub use state::Backup;
use state::{NO_LEASE, State};

/// One client's way to the store that all clients share.
#[derive(Clone)]
pub struct SimulatedStore {
    shared: Arc<Shared>,
    faults: Arc<dyn Faults>,
}

struct Shared {
    state: Mutex<State>,
    /// Rung after every change. Unlike a watch channel it wakes its waiters in the order of their waiting; those of a
    /// watch channel wake in an order drawn by chance.
    changed: Notify,
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedStore at revision {}", self.lock().revision())
    }
}

impl SimulatedStore {
    /// An empty store and its first client.
    pub fn new(faults: impl Faults) -> Self {
        let shared = Shared { state: Mutex::new(State::new()), changed: Notify::new() };
        Self { shared: Arc::new(shared), faults: Arc::new(faults) }
    }

    /// An empty store and a client without faults.
    pub fn without_faults() -> Self {
        Self::new(|_: Operation<'_>| Passage::FREE)
    }

    /// Another client of the same store, with faults of its own.
    #[must_use]
    pub fn client(&self, faults: impl Faults) -> Self {
        Self { shared: Arc::clone(&self.shared), faults: Arc::new(faults) }
    }

    /// What stands in the store now.
    pub fn backup(&self) -> Backup {
        self.lock().backup()
    }

    /// Puts the store back to what it was: revisions are given a second time, and all watches break. Requests that are
    /// under way still arrive.
    pub fn restore(&self, backup: Backup) {
        self.lock().restore(backup, Instant::now());
        self.shared.changed.notify_waiters();
    }

    /// Forgets all changes up to now, so that watches which have not seen them break.
    pub fn compact(&self) {
        self.lock().compact();
        self.shared.changed.notify_waiters();
    }

    /// The state at this instant.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    fn commit_now(&self, transaction: &Transaction, lease: i64) -> Option<Outcome> {
        let outcome = self.lock().commit(transaction, lease);
        self.shared.changed.notify_waiters();
        outcome
    }

    /// Commits with the puts under a lease; `None` = there is no such lease.
    async fn commit_leased(
        &self,
        lease: i64,
        transaction: Transaction,
    ) -> Result<Option<Outcome>, MetadataError> {
        limits::check_transaction(&transaction)?;
        let passage = self.faults.meet(Operation::Commit(&transaction));
        travel(passage.before).await;
        let reason = match passage.fate {
            Fate::NotSent => return Err(unavailable("commit")),
            Fate::Done => {
                let outcome = self.commit_now(&transaction, lease);
                travel(passage.after).await;
                return Ok(outcome);
            }
            Fate::RequestLost => "the request was lost",
            Fate::ReplyLost => {
                self.commit_now(&transaction, lease);
                "the reply was lost"
            }
            Fate::Late(by) => {
                self.lock().send_late(Instant::now() + by, transaction, lease);
                self.shared.changed.notify_waiters();
                "the request is late"
            }
        };
        travel(passage.after).await;
        Err(MetadataError::OutcomeUnknown { reason: reason.to_owned() })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way, so a poisoned one holds whole data.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.settle(Instant::now()) {
            self.changed.notify_waiters();
        }
        state
    }
}

#[async_trait]
impl MetadataStore for SimulatedStore {
    async fn read(&self, selects: &[Select]) -> Result<Snapshot, MetadataError> {
        limits::check_selects(selects)?;
        let passage = self.faults.meet(Operation::Read(selects));
        travel(passage.before).await;
        let snapshot = self.lock().read(selects);
        travel(passage.after).await;
        done(passage.fate, "read").map(|()| snapshot)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, MetadataError> {
        let committed = self.commit_leased(NO_LEASE, transaction).await?;
        Ok(committed.expect("only a lease can be missing"))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, MetadataError> {
        let passage = self.faults.meet(Operation::Watch(prefix));
        travel(passage.before).await;
        let watch = {
            let state = self.lock();
            let reach = state.history.check_reaches(after.get());
            reach.map_err(|lost| MetadataError::Invalid { reason: lost.to_string() })?;
            let (client, prefix) = (self.clone(), prefix.to_owned());
            SimulatedWatch { client, prefix, cursor: after.get(), life: state.life }
        };
        travel(passage.after).await;
        done(passage.fate, "watch").map(|()| Box::new(watch) as Box<dyn Watch>)
    }

    async fn keep(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, MetadataError> {
        lease::keep(self.clone(), key, value, ttl).await
    }
}

struct SimulatedWatch {
    client: SimulatedStore,
    prefix: String,
    /// Everything up to here was delivered.
    cursor: u64,
    life: u64,
}

impl SimulatedWatch {
    /// The changes that stand ready, and when to look again where nothing rings before.
    fn look(&self) -> Result<(Option<Changes>, Option<Instant>), MetadataError> {
        let state = self.client.lock();
        let broken = |reason: String| MetadataError::Unavailable { reason };
        if state.life != self.life {
            return Err(broken(
                "the store was restored; read a snapshot and watch from its revision".to_owned(),
            ));
        }
        let changes = state.history.after(&self.prefix, self.cursor);
        Ok((changes.map_err(|lost| broken(lost.to_string()))?, state.next_due()))
    }
}

#[async_trait]
impl Watch for SimulatedWatch {
    async fn next(&mut self) -> Result<Changes, MetadataError> {
        loop {
            let mut rung = std::pin::pin!(self.client.shared.changed.notified());
            rung.as_mut().enable();
            let (ready, due) = self.look()?;
            if let Some(changes) = ready {
                let passage = self.client.faults.meet(Operation::Deliver(&self.prefix, &changes));
                travel(passage.before + passage.after).await;
                done(passage.fate, "watch")?;
                // The only place where the cursor moves, with no await behind it: a dropped call loses nothing.
                self.cursor = changes.through.get();
                return Ok(changes);
            }
            match due {
                None => rung.await,
                Some(at) => tokio::select! {
                    biased;
                    () = rung.as_mut() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}

/// Waits; no time at all is not even a turn of the runtime.
async fn travel(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// How an operation ends that changes nothing.
fn done(fate: Fate, what: &str) -> Result<(), MetadataError> {
    if fate == Fate::Done { Ok(()) } else { Err(unavailable(what)) }
}

fn unavailable(what: &str) -> MetadataError {
    MetadataError::Unavailable { reason: format!("{what}: the store was not reached") }
}
