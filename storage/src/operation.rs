//! What stands in the order point's queue, and what waits at the gate.

use std::sync::Arc;

use headgate_metadata::id::{ByteCount, ClusterId, Incarnation, SlotId, TimestampMs, TopicId, WalPosition};
use headgate_storage_client::{AppendError, Appended, RecordBatch, Reservation};
use tokio::sync::{oneshot, watch};

use crate::partition::{BatchEntry, Partition, TailBatch, Trim};
use crate::slots::Term;
use crate::state_log::{Progress, StateRecord};

/// Where an append is answered.
pub(crate) type AppendAnswer = oneshot::Sender<Result<Appended, AppendError>>;
/// Told when an operation is committed; dropped when it never will be.
pub(crate) type Done = oneshot::Sender<()>;

/// A state-changing operation that has taken its place (`storage/PROTOCOL.md` §2.1). Its header, size and checksum are
/// already checked.
#[derive(Debug)]
pub(crate) enum Operation {
    /// A batch for a partition.
    Append {
        partition: Arc<Partition>,
        /// The publication of its slot in which it was submitted.
        term: Term,
        batch: RecordBatch,
        /// The time the owner wrote into it, where the topic uses `LogAppendTime`.
        log_append_time: Option<TimestampMs>,
        /// Held until the answer, so that queued *and* unanswered bytes are bounded.
        reservation: Reservation,
        answer: AppendAnswer,
    },
    /// State records of a coordinator, all or none.
    State { slot: SlotId, records: Vec<StateRecord>, settled: watch::Sender<Progress> },
    /// What a gateway has sent of partitions of one slot, cumulative under its incarnation.
    Sent { slot: SlotId, gateway: Incarnation, totals: Vec<(Arc<Partition>, ByteCount)>, done: Done },
    /// Retention moves a partition's log start.
    Trim { partition: Arc<Partition>, trim: Trim, done: Done },
    /// The hour may be over: usage marks that are due are written.
    Mark { slot: SlotId, done: Done },
    /// Changes nothing: answered when everything before it is committed, with the end of what is.
    Barrier { done: oneshot::Sender<WalPosition> },
    /// A topic or a whole cluster was removed.
    Remove { slot: SlotId, cluster: ClusterId, topic: Option<TopicId>, done: Done },
}

impl Operation {
    /// About what it takes in the log.
    pub(crate) fn bytes(&self) -> u64 {
        const RECORD_BYTES: u64 = 192;
        match self {
            Self::Append { batch, .. } => batch.size_bytes() + RECORD_BYTES,
            Self::State { records, .. } => {
                records.iter().map(|record| state_bytes(record) + RECORD_BYTES).sum()
            }
            Self::Sent { totals, .. } => totals.len() as u64 * RECORD_BYTES,
            Self::Trim { .. } | Self::Mark { .. } | Self::Barrier { .. } | Self::Remove { .. } => {
                RECORD_BYTES
            }
        }
    }

    /// Ends an operation that was never ordered: nothing of it is in the log.
    pub(crate) fn refuse(self) {
        match self {
            Self::Append { answer, .. } => {
                let _ = answer.send(Err(AppendError::Refused));
            }
            Self::State { settled, .. } => drop(settled.send(Progress::Lost)),
            // Dropping the sender says that it never will be.
            Self::Sent { .. }
            | Self::Trim { .. }
            | Self::Mark { .. }
            | Self::Barrier { .. }
            | Self::Remove { .. } => {}
        }
    }
}

fn state_bytes(record: &StateRecord) -> u64 {
    (record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len)) as u64
}

/// An ordered operation whose answer waits for the commit.
#[derive(Debug)]
pub(crate) enum Held {
    /// A batch with its place; readers see it on release.
    Append {
        partition: Arc<Partition>,
        entry: BatchEntry,
        tail: TailBatch,
        appended: Appended,
        reservation: Reservation,
        answer: AppendAnswer,
    },
    /// A batch that changed nothing: a duplicate or a refusal. It read appended state, so it waits like the rest.
    Judged { outcome: Result<Appended, AppendError>, answer: AppendAnswer },
    /// State records.
    State(watch::Sender<Progress>),
    /// A moved log start; readers see it on release.
    Trim { partition: Arc<Partition>, trim: Trim, done: Done },
    /// Whoever waits until everything before it is committed.
    Barrier(oneshot::Sender<WalPosition>),
    /// Anything that has nothing more to do.
    Done(Done),
}

impl Held {
    /// Ends an operation that was ordered but will not be committed here: it may or may not last.
    pub(crate) fn lose(self) {
        match self {
            Self::Append { answer, .. } | Self::Judged { answer, .. } => {
                let _ = answer.send(Err(AppendError::Unconfirmed));
            }
            Self::State(settled) => drop(settled.send(Progress::Lost)),
            Self::Trim { .. } | Self::Barrier(_) | Self::Done(_) => {}
        }
    }
}
