//! One cluster's quotas at this gateway: leased tokens, handed out in pools that requests draw on with one atomic operation.
//!
//! Invariants: what is in a pool is set aside from the lease until the pool is drawn back under the lock; a pool is empty while
//! anybody waits, while tokens are scarce, and while nothing is leased, so that every request is then seen under the lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use headgate_metadata::client_quotas::ClusterClientQuotas;
use headgate_metadata::id::{ClusterId, SlotId};
use headgate_metadata::quota::{QuotaKey, QuotaLimits};
use headgate_metadata::record::ClusterRecord;
use headgate_storage_client::quota::{ANSWER_MAX, Flow, QuotaLease, QuotaTerms, Ticket};
use headgate_storage_client::routing;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::clients::ClientBuckets;
use super::history::History;
use super::{Limit, Throttle};

/// The least that a Fetch may set aside, as a part of a second's quota, so that it is not answered with crumbs.
const FETCH_PART: u64 = 20;

/// How long after tokens were scarce partitions may not borrow yet.
const SCARCE_FOR: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct TenantQuota {
    pub(super) cluster: ClusterId,
    pub(super) slot: SlotId,
    began: Instant,
    pools: [AtomicI64; 3],
    /// Whether any answer may have to carry a throttle time: looked at without the lock.
    throttles: AtomicBool,
    /// Until when each flow counts as scarce for partitions, in ms of [`TenantQuota::now`]; 0 = it never was.
    scarce_until_ms: [AtomicU64; 3],
    live: Vec<AtomicU64>,
    /// Connections that are counted.
    pub(super) connections: AtomicU32,
    /// Connections that may come to be counted: while there is one, the cluster is not forgotten.
    pub(super) guards: AtomicU32,
    pub(super) state: Mutex<State>,
    /// What holds for single users and client ids.
    pub(crate) clients: ClientBuckets,
    /// Something is to be told or asked sooner than was thought.
    pub(super) wake: Notify,
    /// A grant has come, or the time for one has passed.
    pub(super) news: Notify,
}

/// What is under the lock.
pub(super) struct State {
    pub(super) lease: QuotaLease,
    pub(super) terms: QuotaTerms,
    pub(super) history: History,
    handed: [i64; 3],
    waiters: HashMap<(Flow, Ticket), oneshot::Sender<()>>,
}

/// A request that waits for its turn in one flow. Dropping it before takes it out of the queue, uncharged.
pub(super) struct Waiting {
    tenant: Arc<TenantQuota>,
    flow: Flow,
    ticket: Ticket,
    released: oneshot::Receiver<()>,
    done: bool,
}

/// Bytes that a Fetch may read. Dropping it counts nothing as used.
pub(crate) struct BytesOut {
    tenant: Arc<TenantQuota>,
    reserved: u64,
}

impl TenantQuota {
    pub(super) fn new(
        cluster: &ClusterRecord,
        terms: QuotaTerms,
        clients: Option<Arc<ClusterClientQuotas>>,
    ) -> Self {
        let quota = Self {
            cluster: cluster.id,
            slot: routing::quota(cluster),
            began: Instant::now(),
            pools: Default::default(),
            throttles: AtomicBool::new(false),
            scarce_until_ms: Default::default(),
            live: QuotaKey::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            connections: AtomicU32::new(0),
            guards: AtomicU32::new(0),
            state: Mutex::new(State {
                lease: QuotaLease::new(Duration::ZERO),
                terms,
                history: History::default(),
                handed: [0; 3],
                waiters: HashMap::new(),
            }),
            clients: ClientBuckets::new(clients),
            wake: Notify::new(),
            news: Notify::new(),
        };
        quota.show(&terms.limits);
        quota
    }

    /// How many connections of the cluster are open here.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// What holds now for one quota.
    pub(crate) fn limit(&self, key: QuotaKey) -> u64 {
        self.live[key as usize].load(Ordering::Relaxed)
    }

    fn show(&self, limits: &QuotaLimits) {
        for (shown, key) in self.live.iter().zip(QuotaKey::ALL) {
            shown.store(limits.get(*key), Ordering::Relaxed);
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the quotas of a cluster")
    }

    /// Charges a request that may go at once; gives one that may not its place in the queue.
    pub(super) fn charge(self: &Arc<Self>, flow: Flow, amount: u64) -> Option<Waiting> {
        if self.draw(flow, amount) {
            return None;
        }
        let mut state = self.lock();
        let now = self.now();
        self.collect(&mut state, flow, now);
        let ticket = state.lease.flow_mut(flow).charge(amount, now);
        let waiting = ticket.map(|ticket| {
            let (sender, released) = oneshot::channel();
            state.waiters.insert((flow, ticket), sender);
            Waiting { tenant: Arc::clone(self), flow, ticket, released, done: false }
        });
        self.hand_out(&mut state, flow, now);
        self.hurry(&state, now);
        waiting
    }

    /// From the pool, without a lock.
    fn draw(&self, flow: Flow, amount: u64) -> bool {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        let draw = |left: i64| (left > 0).then(|| left.saturating_sub(amount));
        self.pools[flow as usize].fetch_update(Ordering::AcqRel, Ordering::Relaxed, draw).is_ok()
    }

    /// Takes back what is left in the pool, and counts the rest as used.
    fn collect(&self, state: &mut State, flow: Flow, now: Duration) {
        let left = self.pools[flow as usize].swap(0, Ordering::AcqRel);
        let handed = std::mem::take(&mut state.handed[flow as usize]);
        let used = u64::try_from(handed.saturating_sub(left)).unwrap_or(0);
        if used > 0 {
            state.lease.flow_mut(flow).spend(used, now);
        }
    }

    pub(super) fn collect_all(&self, state: &mut State, now: Duration) {
        for flow in Flow::ALL {
            self.collect(state, flow, now);
        }
    }

    /// Half of what is there, so that more is asked for before all of it is used.
    fn hand_out(&self, state: &mut State, flow: Flow, now: Duration) {
        let bucket = state.lease.flow(flow);
        let free = !state.lease.is_quiet() && bucket.is_free();
        let share = if free { (bucket.room(now) / 2.0) as i64 } else { 0 };
        if share > 0 {
            state.handed[flow as usize] = share;
            self.pools[flow as usize].store(share, Ordering::Release);
        }
    }

    pub(super) fn hand_out_all(&self, state: &mut State, now: Duration) {
        let mut throttles = false;
        for flow in Flow::ALL {
            self.hand_out(state, flow, now);
            throttles |= state.lease.flow(flow).may_throttle();
        }
        self.throttles.store(throttles, Ordering::Release);
    }

    /// The pilot looks again if a report is due already, or somebody waits.
    fn hurry(&self, state: &State, now: Duration) {
        let due = state.lease.report_due(self.connections.load(Ordering::Relaxed), now);
        if due.is_some_and(|due| due <= now) || state.lease.is_quiet() || !state.waiters.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Lets go of everybody whose turn it is.
    pub(super) fn release(state: &mut State, now: Duration) {
        for flow in Flow::ALL {
            while let Some(ticket) = state.lease.flow_mut(flow).release(now) {
                if let Some(waiter) = state.waiters.remove(&(flow, ticket)) {
                    // Whoever has gone this moment was charged for one request.
                    waiter.send(()).ok();
                }
            }
        }
    }

    /// What holds from now on.
    pub(super) fn renew(&self, terms: QuotaTerms) {
        let mut state = self.lock();
        if state.terms != terms {
            state.terms = terms;
            state.lease.renew();
            self.show(&terms.limits);
        }
    }

    /// How long a client should hold back that has used these flows.
    pub(crate) fn throttle(&self, flows: &[Flow]) -> Option<Throttle> {
        if !self.throttles.load(Ordering::Acquire) {
            return None;
        }
        let (state, now) = (self.lock(), self.now());
        let of_flow = |flow: &Flow| {
            let bucket = state.lease.flow(*flow);
            let (quota, node) = (bucket.quota_throttle(now), bucket.node_throttle(now));
            let limit = if node > quota { Limit::Node(*flow) } else { Limit::Quota(flow.quota()) };
            Some(Throttle { limit, time: quota.max(node) }).filter(|throttle| !throttle.time.is_zero())
        };
        flows.iter().map(of_flow).fold(None, Throttle::longer)
    }

    /// Whether the cluster has nothing of this flow to lend, or had nothing a moment ago: demand that is held back for a while
    /// wants it still.
    pub(crate) fn has_nothing_to_lend(&self, flow: Flow) -> bool {
        match self.scarce_until_ms[flow as usize].load(Ordering::Relaxed) {
            0 => false,
            until => (self.now().as_millis() as u64) < until,
        }
    }

    /// What the coordinator has said of a flow.
    pub(super) fn note_scarce(&self, flow: Flow, now: Duration) {
        let until = (now + SCARCE_FOR).as_millis() as u64;
        self.scarce_until_ms[flow as usize].store(until, Ordering::Relaxed);
    }

    /// Sets bytes aside for a Fetch that may read up to `bytes`; the error says when it should come again. While the coordinator
    /// has not said that there are none, its answer is waited for.
    pub(crate) async fn reserve_out(self: &Arc<Self>, bytes: u64) -> Result<BytesOut, Duration> {
        let second = self.limit(QuotaKey::BytesOutPerSecond);
        let least = (second / FETCH_PART).min(bytes).max(1);
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let news = self.news.notified();
            {
                let (mut state, now) = (self.lock(), self.now());
                let bucket = state.lease.flow_mut(Flow::BytesOut);
                if let Some(reserved) = bucket.reserve(bytes.min(second), least, now) {
                    self.hurry(&state, now);
                    return Ok(BytesOut { tenant: Arc::clone(self), reserved });
                }
                if bucket.may_throttle() || Instant::now() >= deadline {
                    let again = bucket.promise(least, now);
                    self.hurry(&state, now);
                    return Err(again);
                }
                self.hurry(&state, now);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            drop(timeout(left, news).await);
        }
    }
}

impl Waiting {
    /// Returns when it is its turn. Cancel safe.
    pub(super) async fn released(&mut self) {
        // The tenant, which has the other end, lives as long as this.
        drop((&mut self.released).await);
        self.done = true;
    }

    /// Goes out of turn.
    pub(super) fn force(&mut self) {
        let (mut state, now) = (self.tenant.lock(), self.tenant.now());
        if state.waiters.remove(&(self.flow, self.ticket)).is_some() {
            state.lease.flow_mut(self.flow).force(self.ticket, now);
        }
        self.done = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.tenant.lock();
            if state.waiters.remove(&(self.flow, self.ticket)).is_some() {
                state.lease.flow_mut(self.flow).forget(self.ticket);
            }
        }
    }
}

impl BytesOut {
    /// How many may be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.reserved
    }

    /// So many were read.
    pub(crate) fn settle(mut self, used: u64) {
        self.end(used);
    }

    fn end(&mut self, used: u64) {
        let reserved = std::mem::take(&mut self.reserved);
        if reserved > 0 {
            let (mut state, now) = (self.tenant.lock(), self.tenant.now());
            state.lease.flow_mut(Flow::BytesOut).settle(reserved, used, now);
        }
    }
}

impl Drop for BytesOut {
    fn drop(&mut self) {
        self.end(0);
    }
}
