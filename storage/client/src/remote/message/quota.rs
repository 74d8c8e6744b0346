//! `exchange_quota`, `charge_quota` and `charge_partitions`.

use std::time::Duration;

use headgate_metadata::id::SlotId;
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::quota::{Charge, ChargeOutcome, PartitionCharge, QuotaGrant, QuotaReport};
use crate::{Caller, Unavailable};

/// One report to a cluster's quota coordinator.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ExchangeQuotaCall {
    /// Whose quotas.
    #[n(0)]
    pub caller: Caller,
    /// The coordinator's slot.
    #[n(1)]
    pub slot: SlotId,
    /// What was used.
    #[n(2)]
    pub report: QuotaReport,
}

impl Body for ExchangeQuotaCall {}

impl Operation for ExchangeQuotaCall {
    const KIND: u16 = kind::EXCHANGE_QUOTA;
    type Answer = Result<QuotaGrant, Unavailable>;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}

/// One rare operation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ChargeQuotaCall {
    /// Whose quotas.
    #[n(0)]
    pub caller: Caller,
    /// The coordinator's slot.
    #[n(1)]
    pub slot: SlotId,
    /// What is charged.
    #[n(2)]
    pub charge: Charge,
}

impl Body for ChargeQuotaCall {}

impl Operation for ChargeQuotaCall {
    const KIND: u16 = kind::CHARGE_QUOTA;
    type Answer = Result<ChargeOutcome, Unavailable>;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}

/// Bytes of partitions of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ChargePartitionsCall {
    /// Whose partitions.
    #[n(0)]
    pub caller: Caller,
    /// Where they live.
    #[n(1)]
    pub slot: SlotId,
    /// What went in or out.
    #[n(2)]
    pub charges: Vec<PartitionCharge>,
}

impl Body for ChargePartitionsCall {}

impl Operation for ChargePartitionsCall {
    const KIND: u16 = kind::CHARGE_PARTITIONS;
    type Answer = Result<Vec<Duration>, Unavailable>;

    fn is_of_one_cluster(&self) -> bool {
        self.charges.iter().all(|charge| charge.partition.key.cluster == self.caller.cluster)
    }
}
