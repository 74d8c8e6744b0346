//! Where bills come from: the composition root knows who reads the usage counters.

use async_trait::async_trait;
use headgate_metadata::id::{AccountId, ClusterId};
use headgate_metering::bill::Bill;
use headgate_metering::period::Period;

/// What to bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillQuery {
    /// Only clusters of this account.
    pub account: AccountId,
    /// Only this cluster of the account.
    pub cluster: Option<ClusterId>,
    /// The hours.
    pub period: Period,
}

/// Why there is no bill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillSourceError {
    /// The counters cannot be read now. Retry later.
    #[error("usage counters not readable: {reason}")]
    Unavailable {
        /// What was tried and what came back; for the log, not for the caller.
        reason: String,
    },
    /// The counters were read but contradict each other. A human must look.
    #[error("no bill can be made: {reason}")]
    Broken {
        /// What is wrong; for the log, not for the caller.
        reason: String,
    },
}

/// Makes bills.
#[async_trait]
pub trait BillSource: Send + Sync + 'static {
    /// Computes the bill. May take as long as reading the usage of the cell takes.
    async fn bill(&self, query: BillQuery) -> Result<Bill, BillSourceError>;
}
