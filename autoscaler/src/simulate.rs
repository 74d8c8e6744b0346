//! The simulator: a trace of demand is played against a modelled fleet, and [`crate::decide::decide`] steers it.
//!
//! It answers "how many nodes, how long overloaded" for a policy before anybody pays for it. The model is deliberately
//! small: demand is spread evenly except for one hotter node, a queue in front of each node waits as Kingman's formula
//! says, a new node serves after `join_seconds`, a removed one until `drain_seconds` later, a lost one at once no more.
//! Whether a real node behaves so is for a load test to show; what is exact here is the policy.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_metadata::id::{NodeId, TimestampMs};

use crate::config::Policy;
use crate::decide::decide;
use crate::load::{QueueMeasurement, Utilisation, kingman_wait, utilisation};
use crate::reason::Reason;
use crate::signal::{NodeLoad, Observation};
use crate::state::ScalerState;
use crate::window::Window;

/// What happens to a fleet, one step per interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The length of a step, which is also the interval of reports and decisions.
    pub interval_seconds: u64,
    /// How long a node that was asked for takes until it serves.
    pub join_seconds: u64,
    /// How long a node that was given up still serves.
    pub drain_seconds: u64,
    /// How many nodes serve at the start.
    pub nodes: u32,
    /// The steps, in order.
    pub steps: Vec<TraceStep>,
}

/// One interval of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceStep {
    /// The work that arrives, in units of what one node can do.
    pub demand: f64,
    /// How much more than the mean the hottest node gets; 1 is even.
    pub skew: f64,
    /// How many nodes die at the start of the step.
    pub lost: u32,
    /// How many nodes report nothing during the step, from the highest number down.
    pub silent: u32,
}

impl TraceStep {
    /// An ordinary step: even demand, everybody alive and heard.
    pub const fn even(demand: f64) -> Self {
        Self { demand, skew: 1.0, lost: 0, silent: 0 }
    }
}

/// What happened, step by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The length of a step.
    pub interval_seconds: u64,
    /// One point per step of the trace.
    pub points: Vec<TimelinePoint>,
}

/// The fleet at the end of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelinePoint {
    /// Seconds since the start of the trace.
    pub second: u64,
    /// The work that arrived.
    pub demand: f64,
    /// How many nodes served.
    pub serving: u32,
    /// How many were asked for after the decision.
    pub desired: u32,
    /// What the hottest node was asked for, in units of its capacity; above 1 it could not keep up.
    pub hottest: f64,
    /// Why `desired` is what it is.
    pub reason: Reason,
}

impl Timeline {
    /// The points at which the desired number differs from the point before.
    pub fn changes(&self) -> impl Iterator<Item = &TimelinePoint> {
        self.points.windows(2).filter(|pair| pair[0].desired != pair[1].desired).map(|pair| &pair[1])
    }

    /// For how many seconds the hottest node was asked for more than it can do.
    pub fn overloaded_seconds(&self) -> u64 {
        self.points.iter().filter(|point| point.hottest > 1.0).count() as u64 * self.interval_seconds
    }

    /// The nodes that served, summed over time: what the fleet costs.
    pub fn node_seconds(&self) -> u64 {
        self.points.iter().map(|point| u64::from(point.serving)).sum::<u64>() * self.interval_seconds
    }
}

/// The timestamp at which every trace begins: far enough from the epoch that a week before it exists.
pub const TRACE_START: TimestampMs = TimestampMs::new(2 * 7 * 24 * 3_600 * 1_000);

/// Plays `trace` under `policy`, which must be valid, beginning with what `window` knows of the time before
/// [`TRACE_START`]. The same arguments give the same timeline.
pub fn simulate(trace: &Trace, policy: &Policy, mut window: Window) -> Timeline {
    let mut fleet = Fleet::new(trace);
    let mut state = ScalerState::new(trace.nodes);
    let mut timeline = Timeline { interval_seconds: trace.interval_seconds, points: Vec::new() };
    for (step, index) in trace.steps.iter().zip(0u64..) {
        let second = index * trace.interval_seconds;
        fleet.advance_to(second);
        fleet.lose(step.lost);
        // What carries decisions out replaces missing nodes at all times, so a lost node needs no decision.
        fleet.aim_at(state.desired, second);

        let load = SpreadLoad::of(step, fleet.serving.len());
        window.record(fleet.observe(step, &load, second), policy);
        let decision = decide(&window, &state, policy, at(second));
        state = decision.state;
        fleet.aim_at(state.desired, second);

        timeline.points.push(TimelinePoint {
            second,
            demand: step.demand,
            serving: fleet.serving.len() as u32,
            desired: decision.desired,
            hottest: load.hottest,
            reason: decision.reason,
        });
    }
    timeline
}

fn at(second: u64) -> TimestampMs {
    TimestampMs::new(TRACE_START.get() + second * 1_000)
}

/// How the work of a step falls on the serving nodes.
struct SpreadLoad {
    /// On the first node.
    hottest: f64,
    /// On each of the others.
    others: f64,
}

impl SpreadLoad {
    fn of(step: &TraceStep, serving: usize) -> Self {
        let mean = step.demand / serving.max(1) as f64;
        let hottest = (mean * step.skew).min(step.demand);
        let others = (step.demand - hottest) / serving.saturating_sub(1).max(1) as f64;
        Self { hottest, others }
    }
}

/// The modelled fleet.
struct Fleet {
    join_seconds: u64,
    drain_seconds: u64,
    next_node: u32,
    /// Members, and when each of them stops if it was given up.
    serving: BTreeMap<NodeId, Option<u64>>,
    /// When each node that was asked for begins to serve.
    joining: Vec<u64>,
}

impl Fleet {
    fn new(trace: &Trace) -> Self {
        let serving = (0..trace.nodes).map(|node| (NodeId::new(node), None)).collect();
        let Trace { join_seconds, drain_seconds, nodes, .. } = *trace;
        Self { join_seconds, drain_seconds, next_node: nodes, serving, joining: Vec::new() }
    }

    fn advance_to(&mut self, second: u64) {
        self.serving.retain(|_, stops| stops.is_none_or(|stops| stops > second));
        let arrived = self.joining.extract_if(.., |ready| *ready <= second).count();
        for _ in 0..arrived {
            self.serving.insert(NodeId::new(self.next_node), None);
            self.next_node += 1;
        }
    }

    fn lose(&mut self, count: u32) {
        for _ in 0..count {
            self.serving.pop_last();
        }
    }

    /// Starts or gives up nodes until those that stay and those that come are `desired`.
    fn aim_at(&mut self, desired: u32, second: u64) {
        let desired = desired as usize;
        let staying = self.serving.values().filter(|stops| stops.is_none()).count();
        let wanted_joining = desired.saturating_sub(staying);
        self.joining.resize(wanted_joining, second + self.join_seconds);
        let surplus = staying.saturating_sub(desired);
        let stops = Some(second + self.drain_seconds);
        self.serving
            .values_mut()
            .rev()
            .filter(|stops| stops.is_none())
            .take(surplus)
            .for_each(|end| *end = stops);
    }

    fn observe(&self, step: &TraceStep, load: &SpreadLoad, second: u64) -> Observation {
        let heard = self.serving.len().saturating_sub(step.silent as usize);
        let report = |index: usize| {
            let offered = if index == 0 { load.hottest } else { load.others };
            (index < heard).then(|| report(offered, second)).flatten()
        };
        let nodes = self.serving.keys().enumerate().map(|(index, &node)| (node, report(index))).collect();
        Observation { at: at(second), nodes }
    }
}

/// The service time of a request in the model. Its size cancels out: only wait ÷ service matters.
const SERVICE: Duration = Duration::from_millis(1);

/// How full a node gets in the model; at 1 the queue would grow without end.
const SATURATION: f64 = 0.99;

/// What a node that is offered this much reports: its queue is measured and read back as a real one would be.
fn report(offered: f64, second: u64) -> Option<NodeLoad> {
    let busy = Utilisation::checked(offered.min(SATURATION))?;
    let queue = QueueMeasurement {
        wait_mean: kingman_wait(busy, SERVICE, 1.0)?,
        service_mean: SERVICE,
        arrival_variation_squared: 1.0,
        service_variation_squared: 1.0,
        busy_share: busy.get(),
    };
    NodeLoad::checked(at(second), utilisation(&queue).ok()?, offered)
}
