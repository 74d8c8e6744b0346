//! A cluster's gateways and its quota coordinator on a virtual clock: the real buckets on both sides, a network that delays,
//! loses and repeats, and clients of two kinds. One flow (bytes in) is used; the others rest.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headgate_metadata::id::{Incarnation, Revision};
use headgate_metadata::quota::QuotaLimits;
use headgate_storage::quota::ClusterQuota;
use headgate_storage_client::quota::{Flow, QuotaGrant, QuotaLease, QuotaReport, QuotaTerms, Ticket};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The step of the clock.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// How messages travel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// The shortest way.
    pub(crate) delay: Duration,
    /// What comes on top, at random.
    pub(crate) jitter: Duration,
    /// How many of a hundred are lost.
    pub(crate) lost_percent: u32,
    /// How many of a hundred arrive twice.
    pub(crate) twice_percent: u32,
}

impl Network {
    /// One rack: a round trip of two milliseconds.
    pub(crate) const NEAR: Self =
        Self { delay: Duration::from_millis(1), jitter: Duration::ZERO, lost_percent: 0, twice_percent: 0 };
}

/// What the clients of one gateway want at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Demand {
    /// Requests that come at this rate (amounts a second), whatever becomes of them.
    Open(f64),
    /// So many clients that each send the next request when the last is answered and their throttle time is over.
    Closed(u32),
    /// Amounts that come at once, at this step only.
    Burst(u64),
    /// The clients have left, and what they waited for is not wanted any more.
    Gone,
}

/// A run to be played.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    /// The quota, in amounts a second.
    pub(crate) rate: u64,
    /// The size of a request.
    pub(crate) request: u64,
    pub(crate) gateways: usize,
    pub(crate) length: Duration,
    pub(crate) network: Network,
    pub(crate) seed: u64,
    /// What the clients of a gateway want.
    pub(crate) demand: Box<dyn Fn(usize, Duration) -> Demand>,
    /// Whether the coordinator answers.
    pub(crate) answers: Box<dyn Fn(Duration) -> bool>,
    /// When another node takes the coordinator over, knowing nothing.
    pub(crate) moves: Vec<Duration>,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// When, at which gateway, how much.
    pub(crate) admitted: Vec<(Duration, usize, u64)>,
    /// When, at which gateway, how long a client was told to hold back.
    pub(crate) throttled: Vec<(Duration, usize, Duration)>,
    /// What arrived, for the ideal bucket: when, how much.
    pub(crate) arrived: Vec<(Duration, u64)>,
    /// How many reports were sent.
    pub(crate) reports: usize,
}

#[derive(Clone)]
enum Message {
    Report(usize, Box<QuotaReport>),
    Grant(usize, QuotaGrant),
}

struct Gateway {
    lease: QuotaLease,
    /// Open arrivals not yet a whole request.
    pending: f64,
    /// Closed clients: when each sends next; busy ones are not in here.
    idle: Vec<Duration>,
    clients: u32,
    /// Whether each is of a closed client.
    waiting: BTreeMap<Ticket, bool>,
    /// Requests being served: when they are answered, and whether each is of a closed client.
    served: VecDeque<(Duration, bool)>,
}

/// How long a request takes that nobody holds back.
const SERVICE: Duration = Duration::from_millis(2);

impl Run {
    /// A run with the usual network, a coordinator that stays, and clients that want nothing.
    pub(crate) fn new(name: &'static str, gateways: usize, seconds: u64) -> Self {
        Self {
            name,
            rate: 20_000_000,
            request: 100_000,
            gateways,
            length: Duration::from_secs(seconds),
            network: Network::NEAR,
            seed: 1,
            demand: Box::new(|_, _| Demand::Open(0.0)),
            answers: Box::new(|_| true),
            moves: Vec::new(),
        }
    }

    fn terms(&self) -> QuotaTerms {
        let set = BTreeMap::from([(Flow::BytesIn.quota().name().to_owned(), self.rate)]);
        QuotaTerms { limits: QuotaLimits::with(&set), revision: Revision::new(1) }
    }

    /// Plays it from beginning to end.
    pub(crate) fn play(&self) -> Played {
        let mut world = World::new(self);
        let mut now = Duration::ZERO;
        while now < self.length {
            world.step(now);
            now += STEP;
        }
        world.played
    }
}

struct World<'r> {
    run: &'r Run,
    terms: QuotaTerms,
    gateways: Vec<Gateway>,
    coordinator: ClusterQuota,
    moves: VecDeque<Duration>,
    /// By arrival and then by order of sending.
    network: BTreeMap<(Duration, u64), Message>,
    sent: u64,
    random: StdRng,
    played: Played,
}

impl<'r> World<'r> {
    fn new(run: &'r Run) -> Self {
        let gateway = |_| Gateway {
            lease: QuotaLease::new(Duration::ZERO),
            pending: 0.0,
            idle: Vec::new(),
            clients: 0,
            waiting: BTreeMap::new(),
            served: VecDeque::new(),
        };
        Self {
            run,
            terms: run.terms(),
            gateways: (0..run.gateways).map(gateway).collect(),
            coordinator: ClusterQuota::new(run.terms(), Duration::ZERO),
            moves: run.moves.iter().copied().collect(),
            network: BTreeMap::new(),
            sent: 0,
            random: StdRng::seed_from_u64(run.seed),
            played: Played::default(),
        }
    }

    fn step(&mut self, now: Duration) {
        if self.moves.front().is_some_and(|at| *at <= now) {
            self.moves.pop_front();
            self.coordinator = ClusterQuota::new(self.terms, now);
        }
        while let Some(message) = self.arrival(now) {
            match message {
                Message::Report(from, report) if (self.run.answers)(now) => {
                    let grant = self.coordinator.exchange(&report, now);
                    self.send(&Message::Grant(from, grant), now);
                }
                Message::Report(..) => {}
                Message::Grant(to, grant) => self.gateways[to].lease.grant(&grant, now),
            }
        }
        for index in 0..self.gateways.len() {
            self.gateway(index, now);
        }
    }

    fn arrival(&mut self, now: Duration) -> Option<Message> {
        let first = self.network.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn send(&mut self, message: &Message, now: Duration) {
        let network = self.run.network;
        if self.random.random_range(0..100) < network.lost_percent {
            return;
        }
        let copies = 1 + u32::from(self.random.random_range(0..100) < network.twice_percent);
        for _ in 0..copies {
            let jitter = self.random.random_range(0..=network.jitter.as_millis() as u64);
            let at = now + network.delay + Duration::from_millis(jitter);
            self.sent += 1;
            self.network.insert((at, self.sent), message.clone());
        }
    }

    fn gateway(&mut self, index: usize, now: Duration) {
        self.release(index, now);
        self.arrive(index, now);
        self.answer(index, now);
        let gateway = &mut self.gateways[index];
        if gateway.lease.go_on_due().is_some_and(|due| due <= now) {
            gateway.lease.go_on(&self.terms, now);
        }
        if gateway.lease.report_due(0, now).is_some_and(|due| due <= now) {
            let report = gateway.lease.report(Incarnation::new(index as u64), self.terms, 0, now);
            self.played.reports += 1;
            self.send(&Message::Report(index, Box::new(report)), now);
        }
    }

    fn release(&mut self, index: usize, now: Duration) {
        let gateway = &mut self.gateways[index];
        while let Some(ticket) = gateway.lease.flow_mut(Flow::BytesIn).release(now) {
            let closed = gateway.waiting.remove(&ticket).expect("a ticket that was given");
            self.played.admitted.push((now, index, self.run.request));
            gateway.served.push_back((now + SERVICE, closed));
        }
    }

    fn arrive(&mut self, index: usize, now: Duration) {
        let (request, demand) = (self.run.request, (self.run.demand)(index, now));
        let gateway = &mut self.gateways[index];
        let mut requests = 0;
        let mut closed = false;
        match demand {
            Demand::Open(rate) => {
                gateway.pending += rate * STEP.as_secs_f64();
                requests = (gateway.pending / request as f64) as u64;
                gateway.pending -= (requests * request) as f64;
            }
            Demand::Burst(amount) => requests = amount / request,
            Demand::Gone => {
                for ticket in std::mem::take(&mut gateway.waiting).into_keys() {
                    gateway.lease.flow_mut(Flow::BytesIn).forget(ticket);
                }
            }
            Demand::Closed(clients) => {
                closed = true;
                while gateway.clients < clients {
                    gateway.clients += 1;
                    gateway.idle.push(now);
                }
                let before = gateway.idle.len();
                gateway.idle.retain(|at| *at > now);
                requests = (before - gateway.idle.len()) as u64;
                let surplus = u64::from(gateway.clients.saturating_sub(clients)).min(requests);
                gateway.clients -= surplus as u32;
                requests -= surplus;
            }
        }
        for _ in 0..requests {
            self.played.arrived.push((now, request));
            let ticket = gateway.lease.flow_mut(Flow::BytesIn).charge(request, now);
            if let Some(ticket) = ticket {
                gateway.waiting.insert(ticket, closed);
            } else {
                self.played.admitted.push((now, index, request));
                gateway.served.push_back((now + SERVICE, closed));
            }
        }
    }

    fn answer(&mut self, index: usize, now: Duration) {
        let gateway = &mut self.gateways[index];
        while gateway.served.front().is_some_and(|(at, _)| *at <= now) {
            let (_, closed) = gateway.served.pop_front().expect("looked at just now");
            let throttle = gateway.lease.flow(Flow::BytesIn).throttle(now);
            if throttle > Duration::ZERO {
                self.played.throttled.push((now, index, throttle));
            }
            if closed {
                gateway.idle.push(now + throttle);
            }
        }
    }
}
