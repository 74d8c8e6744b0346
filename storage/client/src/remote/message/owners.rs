//! `owners`: any node tells what it has seen.

use headgate_metadata::id::{SlotEpoch, SlotId, WalId};
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};

/// The question: who owns the slots of the cell? It concerns no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OwnersCall {}

/// The owner of one slot, as the node has seen it in the metadata store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OwnerTold {
    /// The slot.
    #[n(0)]
    pub slot: SlotId,
    /// The owner's WAL.
    #[n(1)]
    pub wal: WalId,
    /// The epoch: of two answers the one with the greater is newer.
    #[n(2)]
    pub epoch: SlotEpoch,
}

/// All that the node knows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OwnersTold {
    /// In no particular order.
    #[n(0)]
    pub owners: Vec<OwnerTold>,
}

impl Body for OwnersCall {}

impl Body for OwnersTold {}

impl Operation for OwnersCall {
    const KIND: u16 = kind::OWNERS;
    type Answer = OwnersTold;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}
