//! Quotas of a cluster that several gateways serve: what they and the cluster's *quota coordinator* tell each other.
//!
//! ```text
//!   gateway                                   quota coordinator (owner of the slot that the cluster's id hashes to)
//!   FlowBucket per flow ── QuotaReport ─────► the cluster's true bucket per flow
//!                       ◄───── QuotaGrant ──  tokens at once, or a share of the rate
//!   rare operation      ── Charge ──────────► a bucket or count for each kind
//!                       ◄───── Charged ─────
//! ```
//!
//! Every number that a report or grant carries is cumulative over the life of the gateway's process, so that one that is lost,
//! late or repeated changes nothing. Neither side reads the other's clock.

mod debt;
mod explanation;
mod flow_bucket;
mod lease;
mod node_share;

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{Incarnation, Revision};
use headgate_metadata::quota::{QuotaKey, QuotaLimits};
use serde::{Deserialize, Serialize};

use crate::read::PartitionAddress;

pub use debt::DebtBucket;
pub use explanation::{
    FlowExplanation, QuotaExplanation, RefusedOperations, ThrottledPrincipal, milliseconds,
};
pub use flow_bucket::{FlowBucket, Ticket};
pub use lease::QuotaLease;
pub use node_share::{Claim, fair_part};

/// How often a gateway reports a cluster that it has work for: the published report interval.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// How often it reports one whose clients wait for tokens. Shorter, so that demand that moves from one gateway to another is
/// known at both, and answered, within one [`REPORT_INTERVAL`].
pub const CONTENDED_INTERVAL: Duration = Duration::from_millis(50);
/// How long a grant may be drawn on: two reports may be lost without a gap.
pub const LEASE: Duration = Duration::from_millis(600);
/// How long a gateway waits for an answer until it goes on with its last share.
pub const ANSWER_MAX: Duration = Duration::from_millis(300);
/// How often a gateway without work reports the connections it holds.
pub const CONNECTIONS_INTERVAL: Duration = Duration::from_secs(5);

/// What gateways draw in advance, because it is charged too often to ask for each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// Bytes of requests.
    BytesIn,
    /// Bytes of fetched records.
    BytesOut,
    /// Requests.
    Requests,
}

impl Flow {
    /// All of them, in the order in which arrays hold them.
    pub const ALL: [Self; 3] = [Self::BytesIn, Self::BytesOut, Self::Requests];

    /// The quota that limits it.
    pub const fn quota(self) -> QuotaKey {
        match self {
            Self::BytesIn => QuotaKey::BytesInPerSecond,
            Self::BytesOut => QuotaKey::BytesOutPerSecond,
            Self::Requests => QuotaKey::RequestsPerSecond,
        }
    }
}

/// What holds for a cluster, and since which revision of the metadata, so that of two gateways the better informed is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaTerms {
    /// The values.
    pub limits: QuotaLimits,
    /// The revision of their last change.
    pub revision: Revision,
}

/// What one gateway used of a cluster's quotas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaReport {
    /// Whose report it is.
    pub gateway: Incarnation,
    /// Grows with every report of this gateway for this cluster; an answer carries the number of its report.
    pub sequence: u64,
    /// What the gateway knows to hold.
    pub terms: QuotaTerms,
    /// Connections of the cluster's clients that this gateway holds.
    pub connections: u32,
    /// One for each of [`Flow::ALL`].
    pub flows: [FlowReport; 3],
}

/// A flow at one gateway. Amounts are bytes or requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    /// Used since the gateway's start.
    pub used: u64,
    /// How much of `used` was counted in by the last grant that arrived. A coordinator that has just taken over counts the rest.
    pub counted: u64,
    /// Up to where it may use at this moment; below `used` when it is in debt.
    pub allowed: u64,
    /// Its share of the rate at present, a second.
    pub rate: f64,
    /// What waits to be used.
    pub waiting: u64,
    /// The same, each request counted e times over for every [`FlowBucket::AGED`] that it has waited.
    pub aged: u64,
    /// Where the true bucket stood, as last heard; for a coordinator that has just taken over.
    pub heard: Option<Standing>,
}

/// Where a cluster's true bucket stood, some time ago.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its balance; negative when more was used than the quota gave.
    pub balance: i64,
    /// What may be used whatever the balance, because use has been under the lazy threshold.
    pub lazy: i64,
    /// How long ago.
    pub age: Duration,
}

/// What a gateway may use of a cluster's quotas until it hears again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaGrant {
    /// The report it answers.
    pub sequence: u64,
    /// One for each of [`Flow::ALL`].
    pub flows: [FlowGrant; 3],
    /// Connections of the cluster, all gateways together.
    pub connections: u32,
    /// How many gateways serve the cluster at present.
    pub gateways: u32,
}

/// A flow at one gateway, until it hears again. Amounts are bytes or requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowGrant {
    /// Up to where the gateway may use at once, counted from its start.
    pub allowed: u64,
    /// How much more a second, for [`LEASE`].
    pub rate: f64,
    /// The `used` that the coordinator has counted.
    pub counted: u64,
    /// The tokens asked for were not there: clients are slowed down and told so.
    pub contended: bool,
    /// What the cluster uses a second, all gateways together.
    pub cluster_rate: u64,
    /// Where the true bucket stands.
    pub balance: i64,
    /// See [`Standing::lazy`].
    pub lazy: i64,
}

/// An operation that is rare enough to be charged at the coordinator itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Who charges.
    pub gateway: Incarnation,
    /// What the gateway knows to hold.
    pub terms: QuotaTerms,
    /// What is charged.
    pub what: Charged,
    /// How long the operation may be put off; if it would have to wait longer it is not charged.
    pub wait_max: Duration,
}

/// What a [`Charge`] is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Charged {
    /// A client's connection whose login was right.
    Connection,
    /// A request that creates, changes or deletes topics.
    TopicOperation,
    /// Partitions created or deleted.
    PartitionChanges {
        /// How many.
        partitions: u32,
    },
    /// A group that is not there yet.
    Group {
        /// Its id.
        group: Arc<str>,
    },
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Written.
    In,
    /// Read.
    Out,
}

/// Bytes that went into or out of one partition while its cluster had nothing to lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCharge {
    /// Which.
    pub partition: PartitionAddress,
    /// Which way.
    pub direction: Direction,
    /// How many.
    pub bytes: u64,
    /// How many a second the cluster's quota gives a partition.
    pub limit: u64,
}

/// What becomes of a [`Charge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum ChargeOutcome {
    /// It is charged. The operation may be done after `wait`.
    Granted {
        /// At most the charge's `wait_max`.
        wait: Duration,
        /// Groups that were granted lately and may not be listed yet, this one included; empty for other charges.
        groups: Vec<Arc<str>>,
    },
    /// It is not charged, and the operation is not to be done.
    Over {
        /// The quota in the way.
        quota: QuotaKey,
        /// When it could be granted if nothing else is charged meanwhile; `None` where time alone does not help.
        retry_after: Option<Duration>,
    },
}
