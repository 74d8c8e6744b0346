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
use minicbor::{Decode, Encode};

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
/// Over which time the use that people are told is averaged: clients that are held back come in bursts.
pub const TOLD_OVER: Duration = Duration::from_secs(5);
/// How long a gateway waits for an answer until it goes on with its last share.
pub const ANSWER_MAX: Duration = Duration::from_millis(300);
/// How often a gateway without work reports the connections it holds.
pub const CONNECTIONS_INTERVAL: Duration = Duration::from_secs(5);

/// What gateways draw in advance, because it is charged too often to ask for each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Flow {
    /// Bytes of requests.
    #[n(0)]
    BytesIn,
    /// Bytes of fetched records.
    #[n(1)]
    BytesOut,
    /// Requests.
    #[n(2)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct QuotaTerms {
    /// The values.
    #[n(0)]
    pub limits: QuotaLimits,
    /// The revision of their last change.
    #[n(1)]
    pub revision: Revision,
}

/// What one gateway used of a cluster's quotas.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct QuotaReport {
    /// Whose report it is.
    #[n(0)]
    pub gateway: Incarnation,
    /// Grows with every report of this gateway for this cluster; an answer carries the number of its report.
    #[n(1)]
    pub sequence: u64,
    /// What the gateway knows to hold.
    #[n(2)]
    pub terms: QuotaTerms,
    /// Connections of the cluster's clients that this gateway holds.
    #[n(3)]
    pub connections: u32,
    /// One for each of [`Flow::ALL`].
    #[n(4)]
    pub flows: [FlowReport; 3],
}

/// A flow at one gateway. Amounts are bytes or requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct FlowReport {
    /// Used since the gateway's start.
    #[n(0)]
    pub used: u64,
    /// How much of `used` was counted in by the last grant that arrived. A coordinator that has just taken over counts the rest.
    #[n(1)]
    pub counted: u64,
    /// Up to where it may use at this moment; below `used` when it is in debt.
    #[n(2)]
    pub allowed: u64,
    /// Its share of the rate at present, a second.
    #[n(3)]
    pub rate: f64,
    /// What waits to be used.
    #[n(4)]
    pub waiting: u64,
    /// The same, each request counted e times over for every [`FlowBucket::AGED`] that it has waited.
    #[n(5)]
    pub aged: u64,
    /// Where the true bucket stood, as last heard; for a coordinator that has just taken over.
    #[n(6)]
    pub heard: Option<Standing>,
    /// The largest request of those used since the last report.
    #[n(7)]
    pub largest: u64,
}

/// Where a cluster's true bucket stood, some time ago.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub struct Standing {
    /// Its balance; negative when more was used than the quota gave.
    #[n(0)]
    pub balance: i64,
    /// What may be used whatever the balance, because use has been under the lazy threshold.
    #[n(1)]
    pub lazy: i64,
    /// How long ago.
    #[n(2)]
    pub age: Duration,
}

/// What a gateway may use of a cluster's quotas until it hears again.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct QuotaGrant {
    /// The report it answers.
    #[n(0)]
    pub sequence: u64,
    /// One for each of [`Flow::ALL`].
    #[n(1)]
    pub flows: [FlowGrant; 3],
    /// Connections of the cluster, all gateways together.
    #[n(2)]
    pub connections: u32,
    /// How many gateways serve the cluster at present.
    #[n(3)]
    pub gateways: u32,
}

/// A flow at one gateway, until it hears again. Amounts are bytes or requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct FlowGrant {
    /// Up to where the gateway may use at once, counted from its start.
    #[n(0)]
    pub allowed: u64,
    /// How much more a second, for [`LEASE`].
    #[n(1)]
    pub rate: f64,
    /// The `used` that the coordinator has counted.
    #[n(2)]
    pub counted: u64,
    /// The tokens asked for were not there: clients are slowed down and told so.
    #[n(3)]
    pub contended: bool,
    /// What the cluster uses a second, all gateways together, averaged over some seconds: for people, not for shares.
    #[n(4)]
    pub cluster_rate: u64,
    /// Where the true bucket stands.
    #[n(5)]
    pub balance: i64,
    /// See [`Standing::lazy`].
    #[n(6)]
    pub lazy: i64,
}

/// An operation that is rare enough to be charged at the coordinator itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Charge {
    /// Who charges.
    #[n(0)]
    pub gateway: Incarnation,
    /// What the gateway knows to hold.
    #[n(1)]
    pub terms: QuotaTerms,
    /// What is charged.
    #[n(2)]
    pub what: Charged,
    /// How long the operation may be put off; if it would have to wait longer it is not charged.
    #[n(3)]
    pub wait_max: Duration,
}

/// What a [`Charge`] is for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Charged {
    /// A client's connection whose login was right.
    #[n(0)]
    Connection,
    /// A request that creates, changes or deletes topics.
    #[n(1)]
    TopicOperation,
    /// Partitions created or deleted.
    #[n(2)]
    PartitionChanges {
        /// How many.
        #[n(0)]
        partitions: u32,
    },
    /// A group that is not there yet.
    #[n(3)]
    Group {
        /// Its id.
        #[cbor(n(0), with = "crate::cbor::text")]
        group: Arc<str>,
    },
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Direction {
    /// Written.
    #[n(0)]
    In,
    /// Read.
    #[n(1)]
    Out,
}

/// Bytes that went into or out of one partition while its cluster had nothing to lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartitionCharge {
    /// Which.
    #[n(0)]
    pub partition: PartitionAddress,
    /// Which way.
    #[n(1)]
    pub direction: Direction,
    /// How many.
    #[n(2)]
    pub bytes: u64,
    /// How many a second the cluster's quota gives a partition.
    #[n(3)]
    pub limit: u64,
}

/// What becomes of a [`Charge`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ChargeOutcome {
    /// It is charged. The operation may be done after `wait`.
    #[n(0)]
    Granted {
        /// At most the charge's `wait_max`.
        #[n(0)]
        wait: Duration,
        /// Groups that were granted lately and may not be listed yet, this one included; empty for other charges.
        #[cbor(n(1), with = "crate::cbor::texts")]
        groups: Vec<Arc<str>>,
    },
    /// It is not charged, and the operation is not to be done.
    #[n(1)]
    Over {
        /// The quota in the way.
        #[n(0)]
        quota: QuotaKey,
        /// When it could be granted if nothing else is charged meanwhile; `None` where time alone does not help.
        #[n(1)]
        retry_after: Option<Duration>,
    },
}
