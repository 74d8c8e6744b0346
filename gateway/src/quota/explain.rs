//! The explanation of a cluster's quotas: which limit, current use, share, how long, and what would lift it.

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::{Flow, FlowBucket, FlowExplanation, QuotaExplanation, milliseconds};

use super::tenant::{State, TenantQuota};
use super::{Limit, Throttle};

impl TenantQuota {
    /// What this gateway knows.
    pub(crate) fn explain(&self) -> QuotaExplanation {
        let (mut state, now) = (self.lock(), self.now());
        self.collect_all(&mut state, now);
        let explanation = QuotaExplanation {
            gateways: state.lease.gateways(),
            without_coordinator: state.lease.is_open(),
            connections: state.lease.connections(),
            flows: Flow::ALL.into_iter().map(|flow| explain_flow(&state, flow, now)).collect(),
            throttled: state.history.throttled_lately(now),
            refused: state.history.refused_lately(now),
        };
        self.hand_out_all(&mut state, now);
        explanation
    }

    /// A client was told to hold back.
    pub(crate) fn note_throttle(&self, principal: &Arc<str>, throttle: Throttle) {
        let (mut state, now) = (self.lock(), self.now());
        state.history.throttled(principal, throttle.limit, throttle.time, now);
    }

    /// An operation was refused.
    pub(crate) fn note_refusal(&self, quota: QuotaKey) {
        let (mut state, now) = (self.lock(), self.now());
        state.history.refused(quota, now);
    }
}

fn explain_flow(state: &State, flow: Flow, now: Duration) -> FlowExplanation {
    let bucket = state.lease.flow(flow);
    let limit = state.terms.limits.get(flow.quota());
    FlowExplanation {
        quota: flow.quota(),
        limit,
        used: bucket.cluster_rate(now),
        share: bucket.is_contended().then(|| bucket.rate() as u64),
        node: bucket.node_rate().map(|rate| rate as u64),
        waiting: bucket.waiting(),
        throttle_ms: milliseconds(bucket.throttle(now)),
        advice: advice(state, bucket, flow, limit, now),
    }
}

fn advice(state: &State, bucket: &FlowBucket, flow: Flow, limit: u64, now: Duration) -> String {
    let quota = flow.quota();
    if bucket.node_throttle(now) > bucket.quota_throttle(now) {
        let node = Limit::Node(flow).name();
        return format!(
            "this gateway is asked for more than its {node}; every cluster is slowed down in proportion to its quota, until less is asked for, another gateway is added or {node} is raised"
        );
    }
    if state.lease.is_open() && bucket.is_contended() {
        return "the quota coordinator does not answer; the last share holds until it does".to_owned();
    }
    if bucket.is_contended() {
        return format!(
            "the quota is used up; less than nine tenths of {limit} a second, or a greater {quota}, lifts it"
        );
    }
    "below the quota; nobody is slowed down".to_owned()
}
