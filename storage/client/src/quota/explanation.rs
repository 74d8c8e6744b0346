//! Why a cluster is slowed down, in figures and words: what one gateway knows of it.

use std::time::Duration;

use serde::Serialize;

use headgate_metadata::quota::QuotaKey;

/// A cluster's quotas as one gateway sees them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaExplanation {
    /// How many gateways serve the cluster.
    pub gateways: u32,
    /// Whether the quota coordinator has not answered for too long, so that this gateway goes on with its last share.
    pub without_coordinator: bool,
    /// Connections of the cluster, all gateways together.
    pub connections: u32,
    /// One for each flow.
    pub flows: Vec<FlowExplanation>,
    /// Who was told to hold back at this gateway lately, by how much.
    pub throttled: Vec<ThrottledPrincipal>,
    /// What was refused at this gateway lately.
    pub refused: Vec<RefusedOperations>,
}

/// One flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowExplanation {
    /// The quota.
    pub quota: QuotaKey,
    /// What it gives a second.
    pub limit: u64,
    /// What the cluster uses a second, all gateways together, as last heard.
    pub used: u64,
    /// This gateway's share a second, while tokens are scarce.
    pub share: Option<u64>,
    /// What this node has left for the cluster a second, while the node itself is asked for more than it can do.
    pub node: Option<u64>,
    /// What waits here.
    pub waiting: u64,
    /// How long the next request is held back, in milliseconds.
    pub throttle_ms: u64,
    /// What would lift it, or that nothing is to be lifted.
    pub advice: String,
}

/// A principal that was told to hold back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThrottledPrincipal {
    /// Its ARN.
    pub principal: String,
    /// The limit it met last, by name.
    pub limit: String,
    /// How often.
    pub throttles: u64,
    /// How long in all, in milliseconds.
    pub throttled_ms: u64,
    /// How long ago the last time was, in milliseconds.
    pub ago_ms: u64,
}

/// Operations that a quota refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedOperations {
    /// The quota.
    pub quota: QuotaKey,
    /// How many.
    pub refused: u64,
    /// How long ago the last one was, in milliseconds.
    pub ago_ms: u64,
}

/// A time for a [`QuotaExplanation`].
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
