//! The clusters in use at this gateway.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use headgate_metadata::client_quotas::ClientQuotas;
use headgate_metadata::id::ClusterId;
use headgate_metadata::quotas::Quotas;
use headgate_metadata::record::ClusterRecord;
use headgate_storage_client::quota::{Claim, Flow, QuotaTerms, REPORT_INTERVAL, fair_part};
use tokio::sync::Notify;

use super::tenant::TenantQuota;
use crate::config::GatewayConfig;
use crate::shared::GatewayParts;

/// See the module.
#[derive(Default)]
pub(crate) struct TenantQuotas {
    tenants: DashMap<ClusterId, Arc<TenantQuota>>,
    /// Those that no task flies yet.
    new: Mutex<Vec<Arc<TenantQuota>>>,
    arrived: Notify,
    /// What each had used when the node was last shared.
    used: DashMap<ClusterId, [u64; 3]>,
}

impl TenantQuotas {
    /// The quotas of a cluster that a client has reached; kept until the guard that is counted here is given back.
    pub(super) fn enter(&self, cluster: &ClusterRecord, parts: &GatewayParts) -> Arc<TenantQuota> {
        let entry = self.tenants.entry(cluster.id).or_insert_with(|| {
            let (terms, clients) = (terms_of(&parts.quotas, cluster.id), parts.client_quotas.of(cluster.id));
            let tenant = Arc::new(TenantQuota::new(cluster, terms, clients));
            self.new.lock().expect("nobody panics while holding the newcomers").push(Arc::clone(&tenant));
            self.arrived.notify_one();
            tenant
        });
        entry.guards.fetch_add(1, Ordering::AcqRel);
        Arc::clone(&entry)
    }

    /// The quotas of a cluster in use.
    pub(crate) fn get(&self, cluster: ClusterId) -> Option<Arc<TenantQuota>> {
        self.tenants.get(&cluster).map(|tenant| Arc::clone(&tenant))
    }

    /// Waits for clusters that no task flies yet. Cancel safe.
    pub(super) async fn newcomers(&self) -> Vec<Arc<TenantQuota>> {
        loop {
            let new =
                std::mem::take(&mut *self.new.lock().expect("nobody panics while holding the newcomers"));
            if !new.is_empty() {
                return new;
            }
            self.arrived.notified().await;
        }
    }

    /// Forgets a cluster if it has no connection.
    pub(super) fn forget(&self, tenant: &TenantQuota) -> bool {
        let unused = |_: &ClusterId, known: &Arc<TenantQuota>| known.guards.load(Ordering::Acquire) == 0;
        let forgotten = self.tenants.remove_if(&tenant.cluster, unused).is_some();
        if forgotten {
            self.used.remove(&tenant.cluster);
        }
        forgotten
    }

    /// An operator has set quotas.
    pub(super) fn renew(&self, quotas: &Quotas) {
        for tenant in &self.tenants {
            tenant.renew(terms_of(quotas, tenant.cluster));
            tenant.wake.notify_one();
        }
    }

    /// An administrator has set quotas of clients.
    pub(super) fn renew_clients(&self, quotas: &ClientQuotas) {
        for tenant in &self.tenants {
            tenant.clients.renew(quotas.of(tenant.cluster));
        }
    }

    /// Divides what this node can do among the clusters that want more, in proportion to their quotas.
    pub(super) fn share_node(&self, config: &GatewayConfig) {
        let capacities = [
            config.node_bytes_in_per_second,
            config.node_bytes_out_per_second,
            config.node_requests_per_second,
        ];
        for (flow, capacity) in Flow::ALL.into_iter().zip(capacities) {
            if let Some(capacity) = capacity {
                self.share_flow(flow, capacity.get() as f64);
            }
        }
    }

    fn share_flow(&self, flow: Flow, capacity: f64) {
        let seconds = REPORT_INTERVAL.as_secs_f64();
        let mut claims = Vec::with_capacity(self.tenants.len());
        for tenant in &self.tenants {
            let (mut state, now) = (tenant.lock(), tenant.now());
            tenant.collect_all(&mut state, now);
            let bucket = state.lease.flow(flow);
            let mut before = self.used.entry(tenant.cluster).or_default();
            let used = bucket.used() - before[flow as usize];
            before[flow as usize] = bucket.used();
            let wanted = (used + bucket.waiting()) as f64 / seconds;
            claims.push(Claim { entitled: state.terms.limits.get(flow.quota()) as f64, wanted });
            tenant.hand_out_all(&mut state, now);
        }
        let part = fair_part(capacity, &mut claims);
        for tenant in &self.tenants {
            let (mut state, now) = (tenant.lock(), tenant.now());
            tenant.collect_all(&mut state, now);
            let entitled = state.terms.limits.get(flow.quota()) as f64;
            state.lease.flow_mut(flow).limit_to(part.map(|part| part * entitled), now);
            tenant.hand_out_all(&mut state, now);
            drop(state);
            tenant.wake.notify_one();
        }
    }
}

fn terms_of(quotas: &Quotas, cluster: ClusterId) -> QuotaTerms {
    let (limits, revision) = quotas.limits(cluster);
    QuotaTerms { limits, revision }
}
