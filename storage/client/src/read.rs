//! Reading: batches, offsets by time, epoch ends.

use bytes::Bytes;
use headgate_metadata::id::{LeaderEpoch, Offset, PartitionKey, ProducerId, SlotId};

/// A partition and the slot it lives in (see [`crate::routing`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionAddress {
    /// The partition.
    pub key: PartitionKey,
    /// Its slot.
    pub slot: SlotId,
}

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, with the aborted transactions that overlap.
    ReadCommitted,
}

/// A read of several partitions. Never waits for data that is not there.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// What to read, in the order the client wants it.
    pub partitions: Vec<PartitionRead>,
    /// The most bytes of batches in all; only the very first batch may exceed it, so that a reader always advances.
    pub bytes_max: u64,
    /// What may be seen.
    pub isolation: Isolation,
}

/// One partition of a read.
#[derive(Debug, Clone, Copy)]
pub struct PartitionRead {
    /// Which.
    pub partition: PartitionAddress,
    /// The first offset wanted. The first batch returned may begin below it: clients skip.
    pub offset: Offset,
    /// The most bytes of this partition.
    pub bytes_max: u64,
    /// The epoch the client believes in; older ones are served, newer ones are not known here.
    pub current_epoch: Option<LeaderEpoch>,
}

/// What a read of one partition gave.
pub type ReadOutcome = Result<ReadSuccess, ReadError>;

/// Batches and the partition's bounds at one moment.
#[derive(Debug, Clone, Default)]
pub struct ReadSuccess {
    /// Whole batches in offset order, as slices to be written one after another.
    pub records: Vec<Bytes>,
    /// The sum of their lengths.
    pub records_bytes: u64,
    /// The first offset not yet safe to show.
    pub high_watermark: Offset,
    /// Below it every transaction is decided.
    pub last_stable_offset: Offset,
    /// The first offset still readable.
    pub log_start: Offset,
    /// Aborted transactions that overlap the records; only for [`Isolation::ReadCommitted`].
    pub aborted: Vec<AbortedTransaction>,
}

/// A transaction whose records a `read_committed` reader must skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer: ProducerId,
    /// Its first offset in the partition.
    pub first_offset: Offset,
}

/// Why a partition cannot be read, named by what the caller can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another node owns the slot. Refresh routing, then retry there.
    #[error("not the owner of the slot")]
    NotOwner,
    /// The cluster or topic was removed.
    #[error("partition removed")]
    Removed,
    /// Below the log start or above the log end; the client resets by its policy.
    #[error("offset out of range")]
    OutOfRange {
        /// The first offset still readable.
        log_start: Offset,
        /// The first offset not yet safe to show.
        high_watermark: Offset,
    },
    /// The caller's epoch is newer than this owner knows. Wait for routing, then retry.
    #[error("leader epoch not known yet")]
    EpochAhead,
    /// The data is there but cannot be had right now (object store slow or down). Retry.
    #[error("data temporarily unreadable")]
    Unreadable,
    /// A stored byte is wrong and could not be healed. A human must look.
    #[error("stored data corrupt")]
    Corrupt,
}

/// Which offset is asked for (KIP-79, KIP-734).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The log start offset (-2).
    Earliest,
    /// The end a reader of this isolation sees (-1).
    Latest(Isolation),
    /// The first record with the greatest timestamp (-3).
    MaxTimestamp,
    /// The first record whose timestamp is at least this, in ms since the epoch.
    AtLeast(i64),
}

/// An offset found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAt {
    /// The offset; `None` = no record qualifies.
    pub offset: Option<Offset>,
    /// The timestamp of that record in ms; -1 where the query has none.
    pub timestamp: i64,
    /// The epoch that offset was written under.
    pub epoch: Option<LeaderEpoch>,
}

/// Where an epoch ends (KIP-101, KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked; `None` = none.
    pub epoch: Option<LeaderEpoch>,
    /// The first offset of the next epoch, or the high watermark for the current one.
    pub end: Option<Offset>,
}
