//! The quota coordinators of a node: one for each cluster that was asked for lately.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use headgate_metadata::id::ClusterId;
use headgate_storage_client::quota::{Charge, ChargeOutcome, QuotaGrant, QuotaReport, QuotaTerms};

use super::ClusterQuota;

/// After this long without a question a cluster's buckets are as good as full: five minutes is the longest any takes.
const IDLE_MAX: Duration = Duration::from_mins(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct QuotaService {
    clusters: DashMap<ClusterId, Mutex<ClusterQuota>>,
}

impl QuotaService {
    pub(crate) fn exchange(&self, cluster: ClusterId, report: &QuotaReport, now: Duration) -> QuotaGrant {
        self.with(cluster, &report.terms, now, |quota| quota.exchange(report, now))
    }

    pub(crate) fn charge(&self, cluster: ClusterId, charge: &Charge, now: Duration) -> ChargeOutcome {
        self.with(cluster, &charge.terms, now, |quota| quota.charge(charge, now))
    }

    fn with<T>(
        &self,
        cluster: ClusterId,
        terms: &QuotaTerms,
        now: Duration,
        act: impl FnOnce(&mut ClusterQuota) -> T,
    ) -> T {
        if let Some(quota) = self.clusters.get(&cluster) {
            return act(&mut lock(&quota));
        }
        // Those nobody asks for are looked for when there is one more, so that there are never many.
        self.clusters.retain(|_, quota| now.saturating_sub(lock(quota).asked()) < IDLE_MAX);
        let quota =
            self.clusters.entry(cluster).or_insert_with(|| Mutex::new(ClusterQuota::new(*terms, now)));
        act(&mut lock(&quota))
    }
}

fn lock(quota: &Mutex<ClusterQuota>) -> MutexGuard<'_, ClusterQuota> {
    quota.lock().unwrap_or_else(PoisonError::into_inner)
}
