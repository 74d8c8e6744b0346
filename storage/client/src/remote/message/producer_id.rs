//! `allocate_producer_id`: any node draws.

use headgate_metadata::id::ProducerId;
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::{Caller, Unavailable};

/// One draw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AllocateProducerIdCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
}

impl Body for AllocateProducerIdCall {}

impl Operation for AllocateProducerIdCall {
    const KIND: u16 = kind::ALLOCATE_PRODUCER_ID;
    type Answer = Result<ProducerId, Unavailable>;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}
