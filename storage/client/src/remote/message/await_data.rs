//! `await_data`: the answer carries no bytes, it only comes.

use headgate_metadata::id::Offset;
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::{Caller, PartitionAddress};

/// One wait.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AwaitDataCall {
    /// Who asks; the owner answers at the end of the patience at the latest.
    #[n(0)]
    pub caller: Caller,
    /// Which partitions, all of this owner, and from where each.
    #[n(1)]
    pub from: Vec<(PartitionAddress, Offset)>,
    /// How many bytes they hold together when the answer comes.
    #[n(2)]
    pub bytes_min: u64,
}

impl Body for AwaitDataCall {}

/// There is enough, or waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DataAwaited {}

impl Body for DataAwaited {}

impl Operation for AwaitDataCall {
    const KIND: u16 = kind::AWAIT_DATA;
    type Answer = DataAwaited;

    fn is_of_one_cluster(&self) -> bool {
        self.from.iter().all(|(partition, _)| partition.key.cluster == self.caller.cluster)
    }
}
