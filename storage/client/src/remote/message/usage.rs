//! `report_sent` and `partition_sizes`.

use headgate_metadata::id::{ClusterId, Incarnation, SlotId};
use minicbor::{Decode, Encode};

use super::{Body, Operation, kind};
use crate::{PartitionSize, SentBytes, Unavailable};

/// One report of bytes sent to clients.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReportSentCall {
    /// The gateway's incarnation: the figures are cumulative under it.
    #[n(0)]
    pub gateway: Incarnation,
    /// The figures; all partitions live at the owner that is told.
    #[n(1)]
    pub sent: Vec<SentBytes>,
}

impl Body for ReportSentCall {}

impl Operation for ReportSentCall {
    const KIND: u16 = kind::REPORT_SENT;
    type Answer = Result<(), Unavailable>;

    /// A gateway reports for all its clusters at once.
    fn is_of_one_cluster(&self) -> bool {
        true
    }
}

/// One question for sizes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartitionSizesCall {
    /// The tenant.
    #[n(0)]
    pub cluster: ClusterId,
    /// In which slots, all of the owner that is asked.
    #[n(1)]
    pub slots: Vec<SlotId>,
}

impl Body for PartitionSizesCall {}

impl Operation for PartitionSizesCall {
    const KIND: u16 = kind::PARTITION_SIZES;
    type Answer = Result<Vec<PartitionSize>, Unavailable>;

    fn is_of_one_cluster(&self) -> bool {
        true
    }
}
