//! The true bucket of one flow of a cluster, and how its tokens are shared among the gateways.
//!
//! Two balances, both in tokens, decide what there is:
//!
//! * `balance` gains the quota's rate, holds at most [`BURST`] seconds of it and keeps debt, at most [`DEBT`] seconds of it or one
//!   request that is larger than that;
//! * `lazy` gains [`LAZY`] of the rate and holds a second of that: whoever stays below it in every second is never short, however
//!   deep the debt. It is what "no throttle below 90 %" rests on.
//!
//! The greater one is there to be granted, less what other gateways hold of it and may have used since they last reported. A
//! gateway whose need it covers gets its tokens at once. If it does not cover it, the gateway is *contended* and gets its
//! share of the rate as a trickle, by what it used lately and by what waits, the longer the more. While the balance is in
//! debt the rate is a tenth less at most, until the debt is paid.
//!
//! After CockroachDB's distributed token bucket (RFC "Distributed token bucket for tenant cost control", 2021) and Kora's lazy
//! throttling (Povzner et al., VLDB 2023).
//!
//! Invariants: what a gateway used is counted once, whatever reports are lost, late or repeated; `balance` ≤ burst.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_metadata::id::Incarnation;
use headgate_storage_client::quota::{CONTENDED_INTERVAL, FlowGrant, FlowReport, LEASE, TOLD_OVER};

/// How many seconds of the rate are saved up while little is used. Bounds what a window of ten seconds may hold above the
/// quota: 4.8 %.
pub(super) const BURST: f64 = 0.48;
/// How many seconds of the rate are owed at most; what is owed beyond is forgiven.
pub(super) const DEBT: f64 = 1.0;
/// The part of the rate below which nobody is throttled: the published 90 %, and a little for what gateways hold at the moment.
pub(super) const LAZY: f64 = 0.91;
/// The part of the rate that is shared out while the balance is in debt, at the least.
const REPAYING: f64 = 0.9;
/// From which debt on, in seconds of the rate, the whole tenth goes into repaying it.
const REPAY_FULL: f64 = 0.02;
/// How far below zero `lazy` goes, in seconds of the rate. Requests come in pieces of up to a twentieth of a second's worth:
/// were it less deep, a piece that is late would look like use below the threshold.
const LAZY_DEBT: f64 = 0.2;
/// What gateways may hold beyond their need, all together, in seconds of the rate. It is granted twice if need be: a gateway
/// that does not use it would otherwise keep it from one that needs it.
const AHEAD: f64 = 0.03;
/// Over which time a gateway's use is averaged to tell its share.
const LOAD_OVER: f64 = 0.1;
/// Within which time what waits should be served: what it weighs beside the load.
const SERVE_WITHIN: f64 = 0.05;

/// What is known of one gateway.
#[derive(Debug, Clone, Copy)]
struct Share {
    used: f64,
    /// Up to where it may use, at the time `since`.
    allowed: f64,
    rate: f64,
    since: Duration,
    /// Of `allowed`, what was granted beyond need.
    ahead: f64,
    /// What [`TrueBucket::unheard`] was by then.
    unheard: Duration,
    load: f64,
    /// What it uses a second, as people are told, at the time `since`.
    told: f64,
    aged: f64,
}

/// See the module. Time is counted from any fixed moment.
#[derive(Debug, Clone)]
pub(super) struct TrueBucket {
    rate: f64,
    balance: Level,
    lazy: Level,
    at: Duration,
    began: Duration,
    /// How long in all no gateway could be heard although some had work. For that time refill and use are taken to have
    /// been equal: each gateway had its share of the one, and may have used as much of the other.
    unheard: Duration,
    shares: BTreeMap<Incarnation, Share>,
}

/// A balance between a floor and a cap, in tokens.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    floor: f64,
    cap: f64,
}

impl Level {
    fn full(cap: f64, floor: f64) -> Self {
        Self { tokens: cap, floor, cap }
    }

    fn scale(&mut self, by: f64) {
        (self.tokens, self.floor, self.cap) = (self.tokens * by, self.floor * by, self.cap * by);
    }

    fn gain(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.cap);
    }

    /// A request that is larger than the floor is deep is owed whole: it would be forgiven in part each time otherwise.
    fn charge(&mut self, tokens: f64, largest: f64) {
        let floor = self.floor.min(-largest).min(self.tokens);
        self.tokens = (self.tokens - tokens).max(floor);
    }
}

/// What is left of an average over [`TOLD_OVER`] after so many seconds.
fn left_after(seconds: f64) -> f64 {
    (-seconds / TOLD_OVER.as_secs_f64()).exp()
}

impl Share {
    /// What it may use, as it stands now. Counted a little longer than the gateway does, which counts from when it hears.
    fn allowed_at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.since).min(LEASE + LEASE / 2);
        self.allowed + self.rate * passed.as_secs_f64()
    }

    /// What it may have used since its last report, what is counted twice left out.
    fn outstanding(&self, now: Duration) -> f64 {
        let lapsed = now.saturating_sub(self.since) > LEASE + LEASE / 2;
        if lapsed { 0.0 } else { (self.allowed_at(now) - self.used - self.ahead).max(0.0) }
    }

    fn told_at(&self, now: Duration) -> f64 {
        self.told * left_after(now.saturating_sub(self.since).as_secs_f64())
    }

    fn weight(&self, now: Duration) -> f64 {
        let lapsed = now.saturating_sub(self.since) > LEASE;
        if lapsed { 0.0 } else { self.load + self.aged / SERVE_WITHIN }
    }
}

impl TrueBucket {
    /// A bucket nobody has drawn on yet: full.
    pub(super) fn full(rate: f64, now: Duration) -> Self {
        Self {
            rate,
            balance: Level::full(rate * BURST, -rate * DEBT),
            lazy: Level::full(rate * LAZY, -rate * LAZY_DEBT),
            at: now,
            began: now,
            unheard: Duration::ZERO,
            shares: BTreeMap::new(),
        }
    }

    /// Another rate holds from now on.
    pub(super) fn set_rate(&mut self, rate: f64, now: Duration) {
        self.advance(now);
        // Debt and credit keep their length in time: an hour's debt under a small quota is a moment's under a large one.
        self.balance.scale(rate / self.rate);
        self.lazy.scale(rate / self.rate);
        self.rate = rate;
    }

    /// Counts a gateway's report in, and grants.
    pub(super) fn report(&mut self, gateway: Incarnation, report: &FlowReport, now: Duration) -> FlowGrant {
        self.advance_heard(now);
        if !self.shares.contains_key(&gateway) {
            self.welcome(gateway, report, now);
        }
        let share = self.shares.get_mut(&gateway).expect("put there just now");
        let used = report.used as f64;
        let more = (used - share.used).max(0.0);
        let passed = now.saturating_sub(share.since).as_secs_f64().max(0.001);
        share.load = if more == 0.0 && report.waiting == 0 {
            0.0
        } else {
            let new = 1.0 - (-passed / LOAD_OVER).exp();
            share.load + (more / passed - share.load) * new
        };
        share.told += (more / passed - share.told) * (1.0 - left_after(passed));
        share.used = share.used.max(used);
        share.aged = report.aged as f64;
        let unheard = self.unheard.saturating_sub(share.unheard).as_secs_f64();
        let charged = (more - share.rate * unheard).max(0.0);
        share.unheard = self.unheard;
        let largest = (report.largest as f64).min(charged);
        self.balance.charge(charged, largest);
        self.lazy.charge(charged, largest);
        self.grant(gateway, report, now)
    }

    /// The first report of a gateway. One that has heard of another coordinator knows where the bucket stands, if this one is
    /// new; and what it used since, it had been granted.
    fn welcome(&mut self, gateway: Incarnation, report: &FlowReport, now: Duration) {
        if let (true, Some(heard)) = (self.shares.is_empty(), report.heard) {
            self.balance.tokens = (heard.balance as f64).clamp(self.balance.floor, self.balance.cap);
            self.lazy.tokens = (heard.lazy as f64).clamp(self.lazy.floor, self.lazy.cap);
        }
        let counted = if report.heard.is_some() { report.used } else { report.counted };
        let share = Share {
            used: counted as f64,
            allowed: report.allowed as f64,
            rate: 0.0,
            since: now,
            ahead: 0.0,
            unheard: self.unheard,
            load: 0.0,
            told: 0.0,
            aged: 0.0,
        };
        self.shares.insert(gateway, share);
    }

    fn grant(&mut self, gateway: Incarnation, report: &FlowReport, now: Duration) -> FlowGrant {
        let waiting = report.waiting as f64;
        let others = self.shares.iter().filter(|(id, _)| **id != gateway);
        let outstanding: f64 = others.map(|(_, share)| share.outstanding(now)).sum();
        let there = self.balance.tokens.max(self.lazy.tokens);
        let credit = there - outstanding;
        let weights: f64 = self.shares.values().map(|share| share.weight(now)).sum();
        let repaying = (1.0 + self.balance.tokens / (self.rate * REPAY_FULL)).clamp(REPAYING, 1.0);
        let ahead_max = AHEAD * self.rate / self.shares.len() as f64;
        let cluster_rate = self.shares.values().map(|share| share.told_at(now)).sum::<f64>();

        let share = self.shares.get_mut(&gateway).expect("a gateway that reported is known");
        // What it holds and needs not is taken back. What it owes is counted in the balance already: it is forgiven here as far
        // as the balance covers it.
        let held = share.allowed_at(now) - share.used;
        let kept = if waiting > 0.0 { held } else { held.min(0.0) };
        let need = (waiting - kept).max(0.0);
        let given = (credit - kept).clamp(0.0, need);
        share.ahead = ((credit - waiting) / 2.0).clamp(0.0, ahead_max);
        share.allowed = share.used + kept + given + share.ahead;
        share.rate = if weights > 0.0 { self.rate * repaying * share.weight_in(weights) } else { 0.0 };
        // While a new coordinator has not heard all gateways, nobody gets more than before.
        if report.heard.is_some() && now.saturating_sub(self.began) < CONTENDED_INTERVAL * 2 {
            share.rate = share.rate.min(report.rate);
        }
        share.since = now;
        FlowGrant {
            allowed: share.allowed.max(0.0) as u64,
            rate: share.rate,
            counted: share.used as u64,
            // What others only may have used is no reason to throttle: they will have said so when this one asks again.
            contended: given < need && there < waiting,
            cluster_rate: cluster_rate as u64,
            balance: self.balance.tokens as i64,
            lazy: self.lazy.tokens as i64,
        }
    }

    /// A gateway is gone; what it held is free.
    pub(super) fn forget(&mut self, gateway: Incarnation) {
        self.shares.remove(&gateway);
    }

    /// Time passes up to a report.
    fn advance_heard(&mut self, now: Duration) {
        let last = self.shares.values().map(|share| share.since).max().unwrap_or(now);
        let busy = self.shares.values().any(|share| share.weight(last) > 0.0);
        let silence = now.saturating_sub(last);
        if busy && silence > LEASE {
            self.unheard += silence;
            self.at = self.at.max(now);
        }
        self.advance(now);
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.balance.gain(self.rate * passed);
        self.lazy.gain(self.rate * LAZY * passed);
    }
}

impl Share {
    fn weight_in(&self, all: f64) -> f64 {
        (self.load + self.aged / SERVE_WITHIN) / all
    }
}
