//! What a gateway holds of a cluster's quotas: a bucket per flow, and when the coordinator is to be told and asked.
//!
//! One report is under way at a time. One that stays unanswered is followed by another, which says as much and more; after
//! [`ANSWER_MAX`] the gateway goes on with its last share (bounded fail-open): never without a limit, never without service.

use std::time::Duration;

use headgate_metadata::id::Incarnation;

use super::{
    ANSWER_MAX, CONNECTIONS_INTERVAL, CONTENDED_INTERVAL, Flow, FlowBucket, QuotaGrant, QuotaReport,
    QuotaTerms, REPORT_INTERVAL,
};

/// After how long without an answer a report is followed by the next.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// Reports about one cluster are at least this far apart, however fast its tokens go.
const REPORT_GAP: Duration = Duration::from_millis(10);
/// The part of the quota that all gateways together may use on top of their last shares while nobody answers, so that one
/// that had no share gets on.
const FAIL_OPEN_PART: f64 = 0.1;

/// See the module. Time is counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct QuotaLease {
    flows: [FlowBucket; 3],
    sequence: u64,
    answered: u64,
    /// When the last report was sent.
    reported: Option<Duration>,
    /// When the oldest report was sent that waits for an answer.
    unanswered: Option<Duration>,
    open: bool,
    /// The last report said that nothing is going on any more.
    quiet: bool,
    /// Other terms hold since the last report: what was leased under the earlier ones goes back.
    renewed: bool,
    gateways: u32,
    connections: u32,
    connections_reported: u32,
}

impl QuotaLease {
    /// Nothing is leased yet.
    pub fn new(now: Duration) -> Self {
        Self {
            flows: std::array::from_fn(|_| FlowBucket::empty(now)),
            sequence: 0,
            answered: 0,
            reported: None,
            unanswered: None,
            open: false,
            quiet: true,
            renewed: false,
            gateways: 1,
            connections: 0,
            connections_reported: 0,
        }
    }

    /// The bucket of a flow.
    pub fn flow(&self, flow: Flow) -> &FlowBucket {
        &self.flows[flow as usize]
    }

    /// The same, to charge.
    pub fn flow_mut(&mut self, flow: Flow) -> &mut FlowBucket {
        &mut self.flows[flow as usize]
    }

    /// When the next report is due; `None` while there is nothing to tell. `connections` = how many are open here.
    pub fn report_due(&self, connections: u32, now: Duration) -> Option<Duration> {
        let Some(reported) = self.reported else {
            let busy = connections > 0 || self.flows.iter().any(FlowBucket::is_busy);
            return busy.then_some(now);
        };
        if self.renewed {
            return Some(now);
        }
        if self.unanswered.is_some() {
            return Some(reported + REPEAT_AFTER);
        }
        if self.flows.iter().any(|flow| flow.is_short(now)) {
            return Some(reported + REPORT_GAP);
        }
        let busy = self.flows.iter().any(FlowBucket::is_busy);
        // What is leased and not needed any more is given back soon.
        let contended = self.flows.iter().any(|flow| flow.is_contended() && flow.is_busy());
        if contended || !busy && !self.quiet {
            return Some(reported + CONTENDED_INTERVAL);
        }
        if busy || connections != self.connections_reported {
            return Some(reported + REPORT_INTERVAL);
        }
        (connections > 0).then_some(reported + CONNECTIONS_INTERVAL)
    }

    /// Other terms hold from now on: they are told at once.
    pub fn renew(&mut self) {
        self.renewed = true;
    }

    /// When the next request that waits may go, if no grant comes before.
    pub fn next_release(&self, now: Duration) -> Option<Duration> {
        self.flows.iter().filter_map(|flow| flow.next_release(now)).min()
    }

    /// The next report.
    pub fn report(
        &mut self,
        gateway: Incarnation,
        terms: QuotaTerms,
        connections: u32,
        now: Duration,
    ) -> QuotaReport {
        self.quiet = !self.flows.iter().any(FlowBucket::is_busy);
        self.renewed = false;
        self.sequence += 1;
        self.connections_reported = connections;
        self.reported = Some(now);
        self.unanswered.get_or_insert(now);
        QuotaReport {
            gateway,
            sequence: self.sequence,
            terms,
            connections,
            flows: std::array::from_fn(|index| self.flows[index].report(now)),
        }
    }

    /// Takes an answer; one that comes after a newer one is passed over.
    pub fn grant(&mut self, grant: &QuotaGrant, now: Duration) {
        if grant.sequence <= self.answered {
            return;
        }
        self.answered = grant.sequence;
        self.open = false;
        (self.gateways, self.connections) = (grant.gateways, grant.connections);
        self.unanswered = (grant.sequence < self.sequence).then_some(now);
        for (flow, grant) in self.flows.iter_mut().zip(&grant.flows) {
            flow.grant(grant, now);
        }
    }

    /// When [`Self::go_on`] is to be called, if no answer comes before.
    pub fn go_on_due(&self) -> Option<Duration> {
        self.unanswered.filter(|_| !self.open).map(|asked| asked + ANSWER_MAX)
    }

    /// Nobody has answered for too long: goes on with the last shares until somebody does.
    pub fn go_on(&mut self, terms: &QuotaTerms, now: Duration) {
        self.open = true;
        for (bucket, flow) in self.flows.iter_mut().zip(Flow::ALL) {
            let quota = terms.limits.get(flow.quota()) as f64;
            bucket.go_on(quota * FAIL_OPEN_PART / f64::from(self.gateways.max(1)), now);
        }
    }

    /// Nothing is leased that could be used without a report: the next request must be seen.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether it goes on without the coordinator.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Connections of the cluster, all gateways together, as last heard.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// How many gateways serve the cluster, as last heard.
    pub fn gateways(&self) -> u32 {
        self.gateways
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::Revision;
    use headgate_metadata::quota::QuotaLimits;

    use super::*;

    const GATEWAY: Incarnation = Incarnation::new(1);
    const TERMS: fn() -> QuotaTerms =
        || QuotaTerms { limits: QuotaLimits::default(), revision: Revision::new(1) };

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What was leased under a larger quota must not be used under a smaller one, however idle the cluster is meanwhile.
    #[test]
    fn other_terms_are_told_at_once_even_by_an_idle_gateway() {
        let mut lease = QuotaLease::new(at(0));
        let told = lease.report(GATEWAY, TERMS(), 0, at(0));
        let flows = std::array::from_fn(|_| crate::quota::FlowGrant::default());
        let grant = QuotaGrant { sequence: told.sequence, flows, connections: 0, gateways: 1 };
        lease.grant(&grant, at(1));
        assert_eq!(lease.report_due(0, at(5_000)), None);
        lease.renew();
        assert_eq!(lease.report_due(0, at(5_000)), Some(at(5_000)));
        lease.report(GATEWAY, TERMS(), 0, at(5_000));
        assert_eq!(lease.report_due(0, at(5_000)), Some(at(5_100)), "and again if nobody answers");
    }
}
