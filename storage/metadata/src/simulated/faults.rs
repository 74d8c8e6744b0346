//! What can go wrong between a client and the store: decided operation by operation, by whoever drives the simulation.

use std::time::Duration;

use crate::store::{Changes, Select, Transaction};

/// What a client is about to do.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// A read.
    Read(&'a [Select]),
    /// A transaction.
    Commit(&'a Transaction),
    /// The start of a watch of this prefix.
    Watch(&'a str),
    /// The grant, renewal or end of a lease; puts under it are commits.
    Lease,
    /// Changes that stand ready for a running watch of this prefix. Asked anew for the same changes when the wait for
    /// them was given up.
    Deliver(&'a str, &'a Changes),
}

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It is not sent: `Unavailable`, and certainly nothing happened. A running watch breaks.
    NotSent,
    /// It is sent and never arrives. A transaction ends in `OutcomeUnknown`, anything else as if not sent.
    RequestLost,
    /// It is done, but its reply is lost. A transaction ends in `OutcomeUnknown`, anything else as if not sent.
    ReplyLost,
    /// A transaction ends in `OutcomeUnknown` and is done only this much later, whatever its client does meanwhile, even
    /// when it is gone. Anything else ends as if not sent.
    Late(Duration),
}

/// How an operation fares. All waiting is in tokio's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The way to the store. A client that gives up within it has sent nothing.
    pub before: Duration,
    /// What happens then.
    pub fate: Fate,
    /// The way back, after it has happened.
    pub after: Duration,
}

impl Passage {
    /// At once and without a fault.
    pub const FREE: Self = Self { before: Duration::ZERO, fate: Fate::Done, after: Duration::ZERO };

    /// At once, with this end.
    pub const fn ending(fate: Fate) -> Self {
        Self { fate, ..Self::FREE }
    }
}

/// Decides how operations fare.
pub trait Faults: Send + Sync + 'static {
    /// Asked once for every operation, in the order in which they begin.
    fn meet(&self, operation: Operation<'_>) -> Passage;
}

impl<F: Fn(Operation<'_>) -> Passage + Send + Sync + 'static> Faults for F {
    fn meet(&self, operation: Operation<'_>) -> Passage {
        self(operation)
    }
}
