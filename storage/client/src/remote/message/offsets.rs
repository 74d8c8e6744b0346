//! `offsets_at` and `epoch_end`.

use headgate_metadata::id::LeaderEpoch;
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::{Caller, EpochEnd, OffsetAt, OffsetQuery, PartitionAddress, ReadError};

/// One search for an offset.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OffsetsAtCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
    /// Where.
    #[n(1)]
    pub partition: PartitionAddress,
    /// Which offset.
    #[n(2)]
    pub query: OffsetQuery,
}

impl Body for OffsetsAtCall {}

impl Operation for OffsetsAtCall {
    const KIND: u16 = kind::OFFSETS_AT;
    type Answer = Result<OffsetAt, ReadError>;

    fn is_of_one_cluster(&self) -> bool {
        self.partition.key.cluster == self.caller.cluster
    }
}

/// One search for the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochEndCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
    /// Where.
    #[n(1)]
    pub partition: PartitionAddress,
    /// Which epoch.
    #[n(2)]
    pub epoch: LeaderEpoch,
}

impl Body for EpochEndCall {}

impl Operation for EpochEndCall {
    const KIND: u16 = kind::EPOCH_END;
    type Answer = Result<EpochEnd, ReadError>;

    fn is_of_one_cluster(&self) -> bool {
        self.partition.key.cluster == self.caller.cluster
    }
}
