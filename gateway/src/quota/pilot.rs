//! What goes on beside the requests: one task per cluster in use tells the coordinator, takes its grants and lets go of those
//! whose turn it is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use headgate_metadata::id::Revision;
use headgate_storage_client::Caller;
use headgate_storage_client::quota::{
    ANSWER_MAX, Flow, QuotaGrant, QuotaLease, QuotaReport, REPORT_INTERVAL,
};
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::tenant::TenantQuota;
use crate::shared::Shared;

/// How long a cluster without connections is remembered: longer than the coordinator remembers this gateway, which would take
/// a bucket that begins anew for a late report.
const FORGET_AFTER: Duration = Duration::from_mins(1);
/// Reports of one cluster that wait for an answer, at most.
const UNANSWERED_MAX: usize = 8;

/// Flies all clusters in use, for ever; ends with its owner.
pub(crate) async fn fly(shared: Arc<Shared>) {
    let mut tenants = JoinSet::new();
    let mut changes = shared.parts.quotas.changes();
    let mut client_changes = shared.parts.client_quotas.changes();
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            biased;
            newcomers = shared.quotas.newcomers() => {
                for tenant in newcomers {
                    tenants.spawn(fly_one(Arc::clone(&shared), tenant));
                }
            }
            // An error means that the metadata is gone, and soon this task.
            Ok(()) = changes.changed() => shared.quotas.renew(&shared.parts.quotas),
            Ok(()) = client_changes.changed() => shared.quotas.renew_clients(&shared.parts.client_quotas),
            Some(_) = tenants.join_next(), if !tenants.is_empty() => {}
            _ = ticks.tick() => shared.quotas.share_node(&shared.config),
        }
    }
}

/// What one look at a cluster says is to be done.
struct Look {
    report: Option<QuotaReport>,
    again: Option<Duration>,
}

async fn fly_one(shared: Arc<Shared>, tenant: Arc<TenantQuota>) {
    let mut answers = FuturesUnordered::new();
    let mut used = Instant::now();
    loop {
        let look = look(&shared, &tenant, answers.len() < UNANSWERED_MAX);
        if let Some(report) = look.report {
            answers.push(exchange(&shared, &tenant, report));
        }
        if look.again.is_some() || tenant.guards.load(Ordering::Acquire) > 0 {
            used = Instant::now();
        }
        let again = look.again.map_or(used + FORGET_AFTER, |again| tenant.instant(again));
        select! {
            biased;
            Some(answer) = answers.next(), if !answers.is_empty() => {
                if let Some(grant) = answer {
                    take(&shared, &tenant, &grant);
                }
            }
            () = tenant.wake.notified() => {}
            () = sleep_until(again) => {
                if look.again.is_none() && shared.quotas.forget(&tenant) {
                    shared.metrics.forget_quotas(tenant.cluster);
                    return;
                }
            }
        }
    }
}

/// Lets go of whom it can, and finds out what is due.
fn look(shared: &Shared, tenant: &TenantQuota, may_report: bool) -> Look {
    let (mut state, now) = (tenant.lock(), tenant.now());
    let connections = tenant.connections.load(Ordering::Acquire);
    tenant.collect_all(&mut state, now);
    if state.lease.go_on_due().is_some_and(|due| due <= now) {
        tracing::warn!(cluster = %tenant.cluster, "quota coordinator does not answer, going on with the last share");
        shared.metrics.observe_quota_unanswered();
        let terms = state.terms;
        state.lease.go_on(&terms, now);
        tenant.news.notify_waiters();
    }
    TenantQuota::release(&mut state, now);
    let due = state.lease.report_due(connections, now).filter(|_| may_report);
    let report = due.filter(|due| *due <= now).map(|_| {
        let terms = state.terms;
        state.lease.report(shared.parts.incarnation, terms, connections, now)
    });
    let due = if report.is_some() { state.lease.report_due(connections, now) } else { due };
    let again = [due, state.lease.go_on_due(), state.lease.next_release(now)];
    tenant.hand_out_all(&mut state, now);
    Look { report, again: again.into_iter().flatten().min() }
}

fn take(shared: &Shared, tenant: &TenantQuota, grant: &QuotaGrant) {
    let (mut state, now) = (tenant.lock(), tenant.now());
    tenant.collect_all(&mut state, now);
    let counted = |lease: &QuotaLease| Flow::ALL.map(|flow| lease.flow(flow).counted());
    let before = counted(&state.lease);
    state.lease.grant(grant, now);
    let after = counted(&state.lease);
    for flow in Flow::ALL {
        if state.lease.flow(flow).is_contended() {
            tenant.note_scarce(flow, now);
        }
    }
    TenantQuota::release(&mut state, now);
    tenant.hand_out_all(&mut state, now);
    tenant.news.notify_waiters();
    let limits = state.terms.limits;
    drop(state);
    for (flow, (before, after)) in Flow::ALL.into_iter().zip(before.into_iter().zip(after)) {
        let used = after.saturating_sub(before);
        shared.metrics.observe_quota(tenant.cluster, flow.quota(), used, limits.get(flow.quota()));
    }
}

/// `None`: no answer, which the next report makes up for.
async fn exchange(shared: &Shared, tenant: &TenantQuota, report: QuotaReport) -> Option<QuotaGrant> {
    let caller = own_call(shared, tenant, ANSWER_MAX);
    let asked = shared.parts.storage.exchange_quota(&caller, tenant.slot, report);
    match timeout(ANSWER_MAX * 2, asked).await {
        Ok(Ok(grant)) => Some(grant),
        Ok(Err(error)) => {
            tracing::debug!(cluster = %tenant.cluster, %error, "quota report not taken");
            None
        }
        Err(_) => None,
    }
}

/// A call of the gateway's own, for no client's request.
pub(super) fn own_call(shared: &Shared, tenant: &TenantQuota, patience: Duration) -> Caller {
    Caller {
        cluster: tenant.cluster,
        principal: "gateway".into(),
        client_id: "".into(),
        client_host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        patience,
        request: shared.next_request(),
        revision_seen: Revision::default(),
        connection: 0,
    }
}
