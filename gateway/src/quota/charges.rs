//! Rare operations, charged at the coordinator: connections, topic operations, partition changes, groups.
//!
//! Without an answer an operation is let pass: each of them needs the metadata store or storage as well, and those have limits
//! of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headgate_metadata::quota::QuotaKey;
use headgate_metadata::record::ClusterRecord;
use headgate_storage_client::quota::{ANSWER_MAX, Charge, ChargeOutcome, Charged};
use tokio::time::timeout;

use super::pilot::own_call;
use super::tenant::TenantQuota;
use crate::shared::Shared;

/// An operation is over a quota and must not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) quota: QuotaKey,
    /// When it could be done; `None` where time alone does not help.
    pub(crate) retry_after: Option<Duration>,
}

/// A charge that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Granted {
    /// When the operation may be done.
    pub(crate) wait: Duration,
    /// See [`ChargeOutcome::Granted`].
    pub(crate) groups: Vec<Arc<str>>,
}

/// The quotas of a cluster for as long as somebody uses them: a connection, which is counted until this is dropped, or nobody's
/// request.
pub(crate) struct ConnectionLease {
    tenant: Arc<TenantQuota>,
    counted: bool,
}

impl ConnectionLease {
    /// Counts a client's connection whose login was right.
    pub(crate) async fn take(shared: &Shared, cluster: &ClusterRecord) -> Result<Self, Over> {
        let tenant = shared.quotas.enter(cluster, &shared.parts);
        let mut lease = Self { tenant, counted: false };
        lease.tenant.charge_at_coordinator(shared, Charged::Connection, Duration::ZERO).await?;
        // From now on it is in the reports; until the next one the coordinator counts what it granted.
        lease.counted = true;
        lease.tenant.connections.fetch_add(1, Ordering::AcqRel);
        lease.tenant.wake.notify_one();
        Ok(lease)
    }

    /// Of a request that no connection stands behind.
    pub(crate) fn of_nobody(shared: &Shared, cluster: &ClusterRecord) -> Self {
        Self { tenant: shared.quotas.enter(cluster, &shared.parts), counted: false }
    }

    /// The quotas of the cluster it reached.
    pub(crate) fn quota(&self) -> &Arc<TenantQuota> {
        &self.tenant
    }
}

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        if self.counted {
            self.tenant.connections.fetch_sub(1, Ordering::AcqRel);
        }
        self.tenant.guards.fetch_sub(1, Ordering::AcqRel);
        self.tenant.wake.notify_one();
    }
}

impl TenantQuota {
    /// Charges; the operation may have to wait for at most `wait_max`.
    pub(crate) async fn charge_at_coordinator(
        &self,
        shared: &Shared,
        what: Charged,
        wait_max: Duration,
    ) -> Result<Granted, Over> {
        let terms = self.lock().terms;
        let charge = Charge { gateway: shared.parts.incarnation, terms, what, wait_max };
        let caller = own_call(shared, self, ANSWER_MAX);
        let charged = shared.parts.storage.charge_quota(&caller, self.slot, charge);
        match timeout(ANSWER_MAX, charged).await {
            Ok(Ok(ChargeOutcome::Granted { wait, groups })) => Ok(Granted { wait, groups }),
            Ok(Ok(ChargeOutcome::Over { quota, retry_after })) => {
                shared.metrics.observe_quota_refused(quota);
                self.note_refusal(quota);
                Err(Over { quota, retry_after })
            }
            Ok(Err(error)) => {
                tracing::debug!(cluster = %self.cluster, %error, "quota not charged");
                Ok(Granted::default())
            }
            Err(_) => Ok(Granted::default()),
        }
    }
}
