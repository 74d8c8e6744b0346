//! Usage that only the gateway can see.

use headgate_metadata::id::ByteCount;
use minicbor::{Decode, Encode};

use crate::read::PartitionAddress;

/// Bytes of batches handed whole to the kernel for one partition since the gateway's start: cumulative, so that a lost,
/// late or repeated report changes nothing (`PROTOCOL.md` §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SentBytes {
    /// The partition.
    #[n(0)]
    pub partition: PartitionAddress,
    /// The cumulative count under the gateway's incarnation.
    #[n(1)]
    pub total: ByteCount,
}

/// How much a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartitionSize {
    /// The partition.
    #[n(0)]
    pub partition: PartitionAddress,
    /// Bytes of batches between log start and log end.
    #[n(1)]
    pub size: ByteCount,
}
