//! How coordinators make their changes last: state records in the slot's WAL order.
//!
//! Invariants: records submitted for one slot keep their order; an answer that depends on a record leaves only when its
//! [`Durable`] says so (the response gate, `storage/PROTOCOL.md` §2.4).

use std::sync::Arc;

use bytes::Bytes;
use headgate_metadata::id::{ClusterId, SlotId};
use tokio::sync::watch;

/// What kind of state a record holds. Persisted: numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StateKind {
    /// A committed offset of a group.
    GroupOffset = 1,
    /// A group's completed generation.
    GroupMetadata = 2,
    /// A partition's cumulative usage counters as of an hour mark.
    UsageMark = 3,
    /// A partition's log start offset, where retention or a user moved it.
    LogStart = 4,
    /// A topic or cluster that was removed.
    Removed = 5,
    /// Bytes sent, as last reported by one gateway incarnation for one partition.
    SentBytes = 6,
    /// What a slot's life under its epoch follows.
    Inherited = 7,
}

/// An upsert or tombstone of one key, never a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRecord {
    /// The tenant it belongs to.
    pub cluster: ClusterId,
    /// What it is.
    pub kind: StateKind,
    /// Its key within kind, cluster and slot.
    pub key: Bytes,
    /// Its value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// Becomes true when everything it stands for is committed.
#[derive(Debug, Clone)]
pub struct Durable(Vec<watch::Receiver<Progress>>);

/// How a submitted record fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Submitted, not yet committed.
    Pending,
    /// Committed.
    Committed,
    /// The owner lost the slot or stopped: it may or may not last.
    Lost,
}

impl Durable {
    /// Nothing to wait for.
    pub fn already() -> Self {
        Self(Vec::new())
    }
    /// A pending record and the sender that settles it.
    pub fn pending() -> (watch::Sender<Progress>, Self) {
        let (sender, receiver) = watch::channel(Progress::Pending);
        (sender, Self(vec![receiver]))
    }
    /// Stands for earlier records as well, as far as they are not known to be committed: a later one may last although an
    /// earlier one was refused.
    #[must_use]
    pub fn and(mut self, earlier: &Self) -> Self {
        let open = earlier.0.iter().filter(|receiver| *receiver.borrow() != Progress::Committed);
        self.0.extend(open.cloned());
        self
    }
    /// Whether something of it may not last.
    pub fn is_lost(&self) -> bool {
        self.0.iter().any(|receiver| {
            let progress = *receiver.borrow();
            progress == Progress::Lost || progress == Progress::Pending && receiver.has_changed().is_err()
        })
    }
    /// Waits; `false` = it may not last. Cancel safe.
    pub async fn wait(mut self) -> bool {
        for receiver in &mut self.0 {
            match receiver.wait_for(|progress| *progress != Progress::Pending).await {
                Ok(progress) if *progress == Progress::Committed => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }
}

/// Takes state records into the order of their slot. The sequencer implements it; tests have a double.
pub trait StateLog: Send + Sync + 'static {
    /// Takes the records' places in their cluster's queue now, in this order, as one unit: all or none are in the log.
    fn submit_state(&self, slot: SlotId, records: Vec<StateRecord>) -> Durable;
}

/// How coordinators hold it.
pub type SharedStateLog = Arc<dyn StateLog>;
