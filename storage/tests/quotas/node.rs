//! A thousand tenants that together want more than their node can do.

use std::time::Duration;

use headgate_storage_client::quota::{Claim, FlowBucket, FlowGrant, LEASE, REPORT_INTERVAL, fair_part};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::world::STEP;

/// The steps here, coarser than for one cluster.
const NODE_STEP: Duration = STEP.saturating_mul(10);

/// A run of one node.
pub(crate) struct NodeRun {
    pub(crate) capacity: f64,
    pub(crate) request: u64,
    pub(crate) tenants: Vec<Claim>,
    /// The part of its quota that every tenant may have.
    pub(crate) part: f64,
    warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was used after the warm-up.
pub(crate) struct NodeUsed {
    pub(crate) node_per_second: Vec<u64>,
    pub(crate) per_tenant: Vec<u64>,
}

/// Quotas from one to sixty-four, wishes from a twentieth of the quota to all of it; the node can do two fifths of what is wanted.
pub(crate) fn thousand_tenants() -> NodeRun {
    let mut random = StdRng::seed_from_u64(1);
    let tenant = |_| {
        let entitled = f64::from(1_u32 << random.random_range(0..7)) * 100_000.0;
        Claim { entitled, wanted: entitled * random.random_range(0.05..1.0) }
    };
    let tenants: Vec<Claim> = (0..1_000).map(tenant).collect();
    let capacity = tenants.iter().map(|tenant| tenant.wanted).sum::<f64>() * 0.4;
    let part = fair_part(capacity, &mut tenants.clone()).expect("more is wanted than there is");
    let (warm_up, measured) = (Duration::from_secs(2), Duration::from_secs(10));
    NodeRun { capacity, request: 1_000, tenants, part, warm_up, measured }
}

impl NodeRun {
    /// Plays it from beginning to end.
    pub(crate) fn play(&self) -> NodeUsed {
        let mut buckets = vec![FlowBucket::empty(Duration::ZERO); self.tenants.len()];
        let mut pending = vec![0.0; buckets.len()];
        let mut used_before = vec![0; buckets.len()];
        let mut used_at_start = vec![0; buckets.len()];
        let mut node_per_second = Vec::new();
        let mut now = Duration::ZERO;
        while now < self.warm_up + self.measured {
            if now == self.warm_up {
                used_at_start = buckets.iter().map(FlowBucket::used).collect();
            }
            if is_multiple(now, LEASE / 2) {
                let plenty = FlowGrant { allowed: u64::MAX >> 16, ..FlowGrant::default() };
                for bucket in &mut buckets {
                    bucket.grant(&plenty, now);
                }
            }
            if is_multiple(now, REPORT_INTERVAL) {
                self.share(&mut buckets, &mut used_before, now);
            }
            if now >= self.warm_up && is_multiple(now, Duration::from_secs(1)) {
                node_per_second.push(0);
            }
            for (index, bucket) in buckets.iter_mut().enumerate() {
                let before = bucket.used();
                while bucket.release(now).is_some() {}
                pending[index] += self.tenants[index].wanted * NODE_STEP.as_secs_f64();
                while pending[index] >= self.request as f64 {
                    pending[index] -= self.request as f64;
                    bucket.charge(self.request, now);
                }
                if let Some(second) = node_per_second.last_mut() {
                    *second += bucket.used() - before;
                }
            }
            now += NODE_STEP;
        }
        let per_tenant = buckets.iter().zip(used_at_start).map(|(bucket, start)| bucket.used() - start);
        NodeUsed { node_per_second, per_tenant: per_tenant.collect() }
    }

    /// What a node does every interval.
    fn share(&self, buckets: &mut [FlowBucket], used_before: &mut [u64], now: Duration) {
        let seconds = REPORT_INTERVAL.as_secs_f64();
        let claims =
            buckets.iter().zip(used_before.iter()).zip(&self.tenants).map(|((bucket, before), tenant)| {
                let wanted = (bucket.used() - before + bucket.waiting()) as f64 / seconds;
                Claim { entitled: tenant.entitled, wanted }
            });
        let part = fair_part(self.capacity, &mut claims.collect::<Vec<_>>());
        for ((bucket, before), tenant) in buckets.iter_mut().zip(used_before).zip(&self.tenants) {
            bucket.limit_to(part.map(|part| part * tenant.entitled), now);
            *before = bucket.used();
        }
    }
}

fn is_multiple(now: Duration, of: Duration) -> bool {
    now.as_millis().is_multiple_of(of.as_millis())
}
