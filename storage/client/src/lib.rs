//! The storage interface: what a gateway may ask of the owners of slots, in types of its own.
//!
//! Callers are the gateway, the control API and coordinators that call other slots; below are only the cell's identities.
//! A node in the same process implements the interface directly, [`remote`] implements it over the network on the calls of [`wire`].
//! Not here: Kafka's messages, versions and error codes (the gateway's), files and objects (`headgate-log`).
//! Outcomes are enums named by the caller's next move.
//! Start at [`Storage`]; where a partition, group or id lives is decided in [`routing`].

mod append;
mod batch;
mod caller;
mod cbor;
mod compression;
mod group;
pub mod quota;
mod read;
pub mod records;
pub mod remote;
pub mod routing;
mod spawn;
mod storage;
mod usage;
pub mod wire;

pub use append::{Append, AppendError, Appended, Completion, Reservation, Unavailable};
pub use batch::{BATCH_HEADER_BYTES, BatchDefect, ProducerBatch, RecordBatch};
pub use caller::{Caller, RequestId};
pub use compression::{Compression, DECOMPRESSED_BYTES_MAX};
pub use group::{
    CommitOffsets, CommittedOffset, FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing,
    GroupState, Join, Joined, JoinedMember, Leave, LeaveOutcome, MemberDescription, MemberIdentity,
    OffsetToCommit, Sync, Synced,
};
pub use read::{
    AbortedTransaction, EpochEnd, Isolation, OffsetAt, OffsetQuery, PartitionAddress, PartitionRead,
    ReadError, ReadOutcome, ReadRequest, ReadSuccess,
};
pub use storage::Storage;
pub use usage::{PartitionSize, SentBytes};
