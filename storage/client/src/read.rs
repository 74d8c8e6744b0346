//! Reading: batches, offsets by time, epoch ends.

use bytes::Bytes;
use headgate_metadata::id::{LeaderEpoch, Offset, PartitionKey, ProducerId, SlotId};
use minicbor::{Decode, Encode};

/// A partition and the slot it lives in (see [`crate::routing`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PartitionAddress {
    /// The partition.
    #[n(0)]
    pub key: PartitionKey,
    /// Its slot.
    #[n(1)]
    pub slot: SlotId,
}

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Isolation {
    /// Up to the high watermark.
    #[n(0)]
    ReadUncommitted,
    /// Up to the last stable offset, with the aborted transactions that overlap.
    #[n(1)]
    ReadCommitted,
}

/// A read of several partitions. Never waits for data that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadRequest {
    /// What to read, in the order the client wants it.
    #[n(0)]
    pub partitions: Vec<PartitionRead>,
    /// The most bytes of batches in all; only the very first batch may exceed it, so that a reader always advances.
    #[n(1)]
    pub bytes_max: u64,
    /// What may be seen.
    #[n(2)]
    pub isolation: Isolation,
}

/// One partition of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartitionRead {
    /// Which.
    #[n(0)]
    pub partition: PartitionAddress,
    /// The first offset wanted. The first batch returned may begin below it: clients skip.
    #[n(1)]
    pub offset: Offset,
    /// The most bytes of this partition.
    #[n(2)]
    pub bytes_max: u64,
    /// The epoch the client believes in; older ones are served, newer ones are not known here.
    #[n(3)]
    pub current_epoch: Option<LeaderEpoch>,
}

/// What a read of one partition gave.
pub type ReadOutcome = Result<ReadSuccess, ReadError>;

/// Batches and the partition's bounds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct ReadSuccess {
    /// Whole batches in offset order, as slices to be written one after another.
    #[cbor(skip)]
    pub records: Vec<Bytes>,
    /// The sum of their lengths.
    #[n(0)]
    pub records_bytes: u64,
    /// The first offset not yet safe to show.
    #[n(1)]
    pub high_watermark: Offset,
    /// Below it every transaction is decided.
    #[n(2)]
    pub last_stable_offset: Offset,
    /// The first offset still readable.
    #[n(3)]
    pub log_start: Offset,
    /// Aborted transactions that overlap the records; only for [`Isolation::ReadCommitted`].
    #[n(4)]
    pub aborted: Vec<AbortedTransaction>,
}

/// A transaction whose records a `read_committed` reader must skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AbortedTransaction {
    /// Whose.
    #[n(0)]
    pub producer: ProducerId,
    /// Its first offset in the partition.
    #[n(1)]
    pub first_offset: Offset,
}

/// Why a partition cannot be read, named by what the caller can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum ReadError {
    /// Another node owns the slot. Refresh routing, then retry there.
    #[error("not the owner of the slot")]
    #[n(0)]
    NotOwner,
    /// The cluster or topic was removed.
    #[error("partition removed")]
    #[n(1)]
    Removed,
    /// Below the log start or above the log end; the client resets by its policy.
    #[error("offset out of range")]
    #[n(2)]
    OutOfRange {
        /// The first offset still readable.
        #[n(0)]
        log_start: Offset,
        /// The first offset not yet safe to show.
        #[n(1)]
        high_watermark: Offset,
    },
    /// The caller's epoch is newer than this owner knows. Wait for routing, then retry.
    #[error("leader epoch not known yet")]
    #[n(3)]
    EpochAhead,
    /// The data is there but cannot be had right now (object store slow or down). Retry.
    #[error("data temporarily unreadable")]
    #[n(4)]
    Unreadable,
    /// A stored byte is wrong and could not be healed. A human must look.
    #[error("stored data corrupt")]
    #[n(5)]
    Corrupt,
}

/// Which offset is asked for (KIP-79, KIP-734).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum OffsetQuery {
    /// The log start offset (-2).
    #[n(0)]
    Earliest,
    /// The end a reader of this isolation sees (-1).
    #[n(1)]
    Latest(#[n(0)] Isolation),
    /// The first record with the greatest timestamp (-3).
    #[n(2)]
    MaxTimestamp,
    /// The first record whose timestamp is at least this, in ms since the epoch.
    #[n(3)]
    AtLeast(#[n(0)] i64),
}

/// An offset found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OffsetAt {
    /// The offset; `None` = no record qualifies.
    #[n(0)]
    pub offset: Option<Offset>,
    /// The timestamp of that record in ms; -1 where the query has none.
    #[n(1)]
    pub timestamp: i64,
    /// The epoch that offset was written under.
    #[n(2)]
    pub epoch: Option<LeaderEpoch>,
}

/// Where an epoch ends (KIP-101, KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked; `None` = none.
    #[n(0)]
    pub epoch: Option<LeaderEpoch>,
    /// The first offset of the next epoch, or the high watermark for the current one.
    #[n(1)]
    pub end: Option<Offset>,
}
