//! A gateway's bucket of one flow of one cluster: tokens leased from the quota coordinator, debt, and whoever waits.
//!
//! ```text
//!   0 ────────────── used ─────────── allowed ─ ─ ─ ─ ─►  grows by `rate` while the lease lasts
//!                     └── room: may be used at once
//!   0 ────────── allowed ───── used      in debt: the next request waits until `allowed` has come up
//! ```
//!
//! A request may go when the bucket is not in debt, whatever its size (when tokens are scarce, when half of it is there): its own
//! size may put the bucket in debt, which the next one waits out. So no request is too large to pass. Requests go in the order
//! in which they came.
//!
//! Invariant: `used` never falls.

use std::collections::VecDeque;
use std::time::Duration;

use super::debt::seconds;
use super::{CONTENDED_INTERVAL, DebtBucket, FlowGrant, FlowReport, LEASE, Standing, TOLD_OVER};

/// Names a request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Debug, Clone, Copy)]
struct Waiter {
    ticket: Ticket,
    amount: u64,
    since: Duration,
}

/// See the module. Amounts are bytes or requests; time is counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct FlowBucket {
    used: u64,
    /// Promised to requests under way whose size is not known yet.
    reserved: u64,
    waiters: VecDeque<Waiter>,
    tickets: u64,
    /// `allowed` at the time `since`.
    base: f64,
    rate: f64,
    since: Duration,
    lease_end: Option<Duration>,
    contended: bool,
    counted: u64,
    heard: Option<(Standing, Duration)>,
    /// What the last grant that gave anything gave a second: the share to go on with when nobody answers.
    share: f64,
    cluster_rate: u64,
    low_water: f64,
    reported: (u64, u64),
    /// The largest request since the last report, of those that were seen one by one.
    largest: u64,
    /// What was refused since the last report, and is wanted still.
    refused: u64,
    /// Up to when the rate is promised to those that were refused.
    promised: Duration,
    /// What this node has left for the cluster, while it is asked for more than it can do.
    node: Option<DebtBucket>,
}

/// For how many seconds a cluster may save up what an overloaded node has left for it.
const NODE_BURST: f64 = 0.1;

impl FlowBucket {
    /// How long a request waits until it counts e times over in its gateway's share.
    pub const AGED: Duration = Duration::from_secs(1);
    /// A request does not count more than e to this times over: clients give up before.
    const AGED_EXPONENT_MAX: f64 = 5.0;

    /// A bucket without tokens: the first request goes, the next waits for a grant.
    pub fn empty(now: Duration) -> Self {
        Self {
            used: 0,
            reserved: 0,
            waiters: VecDeque::new(),
            tickets: 0,
            base: 0.0,
            rate: 0.0,
            since: now,
            lease_end: None,
            contended: false,
            counted: 0,
            heard: None,
            share: 0.0,
            cluster_rate: 0,
            low_water: 0.0,
            reported: (0, 0),
            largest: 0,
            refused: 0,
            promised: now,
            node: None,
        }
    }

    /// Charges a request that may go now; gives one that must wait a ticket.
    pub fn charge(&mut self, amount: u64, now: Duration) -> Option<Ticket> {
        if self.waiters.is_empty() && self.may_go(amount, now) {
            self.count(amount, now);
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiters.push_back(Waiter { ticket, amount, since: now });
        Some(ticket)
    }

    /// Charges any number of requests together, whatever the balance: it is used already.
    pub fn spend(&mut self, amount: u64, now: Duration) {
        self.used += amount;
        if let Some(node) = &mut self.node {
            node.charge(amount as f64, now);
        }
    }

    /// Charges one request.
    fn count(&mut self, amount: u64, now: Duration) {
        self.largest = self.largest.max(amount);
        self.spend(amount, now);
    }

    fn may_go(&self, amount: u64, now: Duration) -> bool {
        self.room(now) >= self.needed(amount) && self.node_debt(now) == Duration::ZERO
    }

    fn node_debt(&self, now: Duration) -> Duration {
        self.node.map_or(Duration::ZERO, |node| node.debt_time(now))
    }

    /// Limits the cluster to a rate of its own at this node; `None` lifts it.
    pub fn limit_to(&mut self, rate: Option<f64>, now: Duration) {
        match (rate, &mut self.node) {
            (Some(rate), Some(node)) => node.resize(rate, rate * NODE_BURST, now),
            (Some(rate), none) => *none = Some(DebtBucket::full(rate, rate * NODE_BURST, now)),
            (None, node) => *node = None,
        }
    }

    /// Sets aside up to `amount` of what may be used at once, and at least `least`; `None` when nothing may.
    /// [`Self::settle`] ends it.
    pub fn reserve(&mut self, amount: u64, least: u64, now: Duration) -> Option<u64> {
        let room = self.room(now);
        if !self.waiters.is_empty() || !self.may_go(0, now) {
            self.refused += amount.min(least);
            return None;
        }
        let amount = amount.min((room as u64).max(least));
        self.reserved += amount;
        Some(amount)
    }

    /// When whoever was refused a reservation of about `amount` should come again: each is told another time, so that the first
    /// to come is the first to be served.
    pub fn promise(&mut self, amount: u64, now: Duration) -> Duration {
        let slot = self.promised.max(now + self.throttle(now));
        // Without a share there is none to divide: it comes with the next answer.
        let length = if self.rate > 0.0 { seconds(amount as f64 / self.rate) } else { CONTENDED_INTERVAL };
        self.promised = slot + length;
        slot.saturating_sub(now)
    }

    /// Ends a reservation: `used` of it, or more than it, was used.
    pub fn settle(&mut self, reserved: u64, used: u64, now: Duration) {
        self.reserved -= reserved;
        self.count(used, now);
    }

    /// Forgets a request that waits no longer.
    pub fn forget(&mut self, ticket: Ticket) {
        if let Ok(index) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            self.waiters.remove(index);
        }
    }

    /// Lets one request go whose longest wait is over, out of turn and into debt.
    pub fn force(&mut self, ticket: Ticket, now: Duration) {
        if let Ok(index) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket)
            && let Some(waiter) = self.waiters.remove(index)
        {
            self.count(waiter.amount, now);
        }
    }

    /// The next request that may go now; it is charged. To be called until it gives none.
    pub fn release(&mut self, now: Duration) -> Option<Ticket> {
        let next = *self.waiters.front()?;
        if !self.may_go(next.amount, now) {
            return None;
        }
        self.waiters.pop_front();
        self.count(next.amount, now);
        Some(next.ticket)
    }

    /// When [`Self::release`] will give the next one, if no grant comes before. `None`: not without a grant.
    pub fn next_release(&self, now: Duration) -> Option<Duration> {
        let next = self.waiters.front()?;
        let owed = self.needed(next.amount) - self.room(now);
        let wait = match owed {
            ..=0.0 => Duration::ZERO,
            // A millisecond more: half a token short is a release that finds nothing.
            owed if self.rate > 0.0 => seconds(owed / self.rate) + Duration::from_millis(1),
            _ => return None,
        };
        Some(now + wait.max(self.node_debt(now)))
    }

    /// The tokens that must be there for a request to go. Half of it when tokens are scarce: then what gateways owe and what
    /// they have left cancel out on average, however many they are.
    fn needed(&self, amount: u64) -> f64 {
        if self.contended { amount as f64 / 2.0 } else { 0.0 }
    }

    /// How long the next request would wait, which clients are told: for the quota or for the node, whichever is longer.
    pub fn throttle(&self, now: Duration) -> Duration {
        self.quota_throttle(now).max(self.node_throttle(now))
    }

    /// How long it would wait for the quota. Zero unless the coordinator has said that there is not enough: until then nobody
    /// is throttled (lazy enforcement), a request at most waits for the answer.
    pub fn quota_throttle(&self, now: Duration) -> Duration {
        match self.waiting() as f64 - self.room(now) {
            owed if self.contended && owed > 0.0 && self.rate > 0.0 => seconds(owed / self.rate),
            // Nothing is shared out to this gateway, because nothing was wanted here: it will be once it has reported.
            owed if self.contended && owed > 0.0 => CONTENDED_INTERVAL,
            _ => Duration::ZERO,
        }
    }

    /// How long it would wait for the node.
    pub fn node_throttle(&self, now: Duration) -> Duration {
        self.node.map_or(Duration::ZERO, |mut node| {
            node.charge(self.waiting() as f64, now);
            node.debt_time(now)
        })
    }

    /// What the node has left for the cluster a second, while it is overloaded.
    pub fn node_rate(&self) -> Option<f64> {
        self.node.map(|node| node.rate())
    }

    /// What may be used at once; negative in debt.
    pub fn room(&self, now: Duration) -> f64 {
        self.allowed(now) - (self.used + self.reserved) as f64
    }

    /// What waits.
    pub fn waiting(&self) -> u64 {
        self.waiters.iter().map(|waiter| waiter.amount).sum()
    }

    /// What was used since the start.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether a client may have to be told a throttle time.
    pub fn may_throttle(&self) -> bool {
        self.contended || self.node.is_some()
    }

    /// Whether what is there may be used in any order: nobody waits, and nothing is scarce.
    pub fn is_free(&self) -> bool {
        self.waiters.is_empty() && !self.may_throttle()
    }

    /// Whether the coordinator has last said that there is not enough for all.
    pub fn is_contended(&self) -> bool {
        self.contended
    }

    /// What the cluster uses a second, all gateways together, averaged over [`TOLD_OVER`], as last heard.
    pub fn cluster_rate(&self, now: Duration) -> u64 {
        let silence = self.heard.map_or(Duration::ZERO, |(_, heard)| now.saturating_sub(heard));
        (self.cluster_rate as f64 * (-silence.as_secs_f64() / TOLD_OVER.as_secs_f64()).exp()) as u64
    }

    /// What the coordinator has counted of this gateway's use, since its start.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// This gateway's share of the rate at present, a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    fn allowed(&self, now: Duration) -> f64 {
        let until = self.lease_end.map_or(now, |end| end.min(now));
        self.base + self.rate * until.saturating_sub(self.since).as_secs_f64()
    }

    /// Takes a grant. Its rate runs from now on: from a little later than at the coordinator, never from earlier.
    pub fn grant(&mut self, grant: &FlowGrant, now: Duration) {
        (self.base, self.rate, self.since) = (grant.allowed as f64, grant.rate, now);
        self.lease_end = Some(now + LEASE);
        self.contended = grant.contended;
        self.counted = grant.counted;
        self.cluster_rate = grant.cluster_rate;
        if grant.rate > 0.0 {
            self.share = grant.rate;
        }
        let standing = Standing { balance: grant.balance, lazy: grant.lazy, age: Duration::ZERO };
        self.heard = Some((standing, now));
        self.low_water = self.room(now) / 2.0;
    }

    /// Goes on without the coordinator: with the last share, and at least `floor` a second.
    pub fn go_on(&mut self, floor: f64, now: Duration) {
        let allowed = self.allowed(now);
        (self.base, self.rate, self.since) = (allowed, self.share.max(floor), now);
        self.lease_end = None;
        self.contended = true;
    }

    /// What the coordinator is told.
    pub fn report(&mut self, now: Duration) -> FlowReport {
        let refused = std::mem::take(&mut self.refused);
        self.reported = (self.used, self.waiting() + refused);
        FlowReport {
            used: self.used,
            counted: self.counted,
            allowed: self.allowed(now).max(0.0) as u64,
            rate: self.rate,
            waiting: self.reported.1,
            aged: self.aged(now) + refused,
            heard: self.heard.map(|(standing, at)| Standing { age: now.saturating_sub(at), ..standing }),
            largest: std::mem::take(&mut self.largest),
        }
    }

    fn aged(&self, now: Duration) -> u64 {
        let aged = |waiter: &Waiter| {
            let exponent = now.saturating_sub(waiter.since).as_secs_f64() / Self::AGED.as_secs_f64();
            waiter.amount as f64 * exponent.min(Self::AGED_EXPONENT_MAX).exp()
        };
        self.waiters.iter().map(aged).sum::<f64>() as u64
    }

    /// Something must be asked for at once: the tokens are short, and the coordinator has not said that there are no more.
    pub(super) fn is_short(&self, now: Duration) -> bool {
        let room = self.room(now);
        !self.contended && self.used > self.reported.0 && (room < 0.0 || room < self.low_water)
            || !self.contended && (!self.waiters.is_empty() || self.refused > 0)
    }

    /// There is something to tell: use since the last report, or a last report that was not "nothing any more".
    pub(super) fn is_busy(&self) -> bool {
        self.used > self.reported.0 || !self.waiters.is_empty() || self.refused + self.reported.1 > 0
    }
}

#[cfg(test)]
mod tests;
