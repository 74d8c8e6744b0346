//! The quota coordinator of one cluster: a state machine without I/O or clock.
//!
//! It keeps nothing on disk. A coordinator that takes over learns from the first reports where the buckets stood, and counts
//! what every gateway used since its last answer; the connections it counts anew as they are reported.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_metadata::id::Incarnation;
use headgate_storage_client::quota::{
    CONNECTIONS_INTERVAL, Charge, ChargeOutcome, Flow, QuotaGrant, QuotaReport, QuotaTerms,
};

use super::rare::Rare;
use super::true_bucket::TrueBucket;

/// A gateway that has said nothing for this long is gone, and its connections with it.
const GONE_AFTER: Duration = CONNECTIONS_INTERVAL.saturating_mul(3);

#[derive(Debug, Clone)]
struct Gateway {
    heard: Duration,
    sequence: u64,
    /// What its last report was answered, for a repetition of it.
    answer: QuotaGrant,
}

/// See the module. Time is counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct ClusterQuota {
    terms: QuotaTerms,
    flows: [TrueBucket; 3],
    rare: Rare,
    gateways: BTreeMap<Incarnation, Gateway>,
    /// When it was last asked anything.
    asked: Duration,
}

impl ClusterQuota {
    /// The quotas of a cluster that nobody has used yet.
    pub fn new(terms: QuotaTerms, now: Duration) -> Self {
        let full = |flow: Flow| TrueBucket::full(terms.limits.get(flow.quota()) as f64, now);
        Self {
            flows: Flow::ALL.map(full),
            rare: Rare::full(&terms.limits, now),
            gateways: BTreeMap::new(),
            terms,
            asked: now,
        }
    }

    /// Counts a report in, and grants. A repeated or late one changes nothing and is answered as the last one was.
    pub fn exchange(&mut self, report: &QuotaReport, now: Duration) -> QuotaGrant {
        self.learn(&report.terms, now);
        self.forget_gone(now);
        if let Some(known) = self.gateways.get_mut(&report.gateway) {
            known.heard = now;
            if report.sequence <= known.sequence {
                return known.answer.clone();
            }
        }
        self.rare.observe_connections(report.gateway, report.connections);
        let flows =
            std::array::from_fn(|index| self.flows[index].report(report.gateway, &report.flows[index], now));
        let new = !self.gateways.contains_key(&report.gateway);
        let answer = QuotaGrant {
            sequence: report.sequence,
            flows,
            connections: self.rare.connections(),
            gateways: self.gateways.len() as u32 + u32::from(new),
        };
        let gateway = Gateway { heard: now, sequence: report.sequence, answer: answer.clone() };
        self.gateways.insert(report.gateway, gateway);
        answer
    }

    /// Charges an operation, or says what is in its way.
    pub fn charge(&mut self, charge: &Charge, now: Duration) -> ChargeOutcome {
        self.learn(&charge.terms, now);
        self.forget_gone(now);
        self.rare.charge(charge.gateway, &charge.what, charge.wait_max, &self.terms.limits, now)
    }

    /// When it was last asked anything: one that nobody asks need not be kept.
    pub fn asked(&self) -> Duration {
        self.asked
    }

    /// Of two gateways the one that has seen the later change of the limits is right.
    fn learn(&mut self, terms: &QuotaTerms, now: Duration) {
        self.asked = now;
        if terms.revision <= self.terms.revision || terms.limits == self.terms.limits {
            self.terms.revision = self.terms.revision.max(terms.revision);
            return;
        }
        self.terms = *terms;
        for (bucket, flow) in self.flows.iter_mut().zip(Flow::ALL) {
            bucket.set_rate(terms.limits.get(flow.quota()) as f64, now);
        }
        self.rare.set_limits(&terms.limits, now);
    }

    fn forget_gone(&mut self, now: Duration) {
        let Self { gateways, flows, rare, .. } = self;
        gateways.retain(|id, gateway| {
            let present = now.saturating_sub(gateway.heard) < GONE_AFTER;
            if !present {
                rare.forget(*id);
                for bucket in flows.iter_mut() {
                    bucket.forget(*id);
                }
            }
            present
        });
    }
}

#[cfg(test)]
mod tests;
