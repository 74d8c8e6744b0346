//! The runs: what demand does, and what happens to the network and the coordinator.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::world::{Demand, Network, Run};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Twice the quota, evenly at three gateways.
pub(crate) fn even_demand() -> Run {
    let mut run = Run::new("even demand, twice the quota", 3, 30);
    let each = run.rate as f64 * 2.0 / 3.0;
    run.demand = Box::new(move |_, _| Demand::Open(each));
    run
}

/// Twice the quota, 80/15/5.
pub(crate) fn one_hot_gateway() -> Run {
    let mut run = Run::new("one hot gateway, twice the quota 80/15/5", 3, 30);
    let all = run.rate as f64 * 2.0;
    run.demand = Box::new(move |gateway, _| Demand::Open(all * [0.8, 0.15, 0.05][gateway]));
    run
}

/// 24 closed clients on one, 4 and 2 on the others.
pub(crate) fn hot_partition() -> Run {
    let mut run = Run::new("hot partition: 24, 4 and 2 clients", 3, 30);
    run.demand = Box::new(|gateway, _| Demand::Closed([24, 4, 2][gateway]));
    run
}

/// The largest requests that the bound speaks of.
pub(crate) fn largest_requests() -> Run {
    let mut run = even_demand();
    run.name = "even demand, largest requests";
    run.request = run.rate / 20;
    run
}

/// The same from few clients.
pub(crate) fn largest_requests_of_few_clients() -> Run {
    let mut run = hot_partition();
    run.name = "hot partition, largest requests";
    run.request = run.rate / 20;
    run
}

/// Requests of a whole second's worth, one after the other: beyond what the bound speaks of, and yet no way around the quota.
pub(crate) fn requests_of_a_second() -> Run {
    let mut run = Run::new("one client, requests of a second's worth", 3, 60);
    run.request = run.rate;
    run.demand = Box::new(|gateway, _| Demand::Closed(u32::from(gateway == 0)));
    run
}

/// When demand comes in [`sudden_demand`].
pub(crate) const SUDDEN: Duration = secs(5);
/// When demand moves in [`demand_moves`]; late enough that what was owed at the start is repaid.
pub(crate) const MOVES: [Duration; 2] = [secs(12), secs(18)];

/// Nothing, then everything at once.
pub(crate) fn sudden_demand() -> Run {
    let mut run = Run::new("sudden demand after silence", 3, 40);
    let rate = run.rate;
    run.request = rate / 20;
    run.demand = Box::new(move |gateway, now| {
        if now == SUDDEN && gateway == 1 {
            return Demand::Burst(rate * 9 / 10);
        }
        Demand::Open(if now >= SUDDEN { rate as f64 } else { 0.0 })
    });
    run
}

/// 85 %, even and smooth.
pub(crate) fn below_quota() -> Run {
    let mut run = Run::new("85 % of the quota, even", 3, 20);
    let each = run.rate as f64 * 0.85 / 3.0;
    run.demand = Box::new(move |_, _| Demand::Open(each));
    run
}

/// 88 % of a second's worth at one instant of every second, at changing gateways.
pub(crate) fn bursts_below_quota() -> Run {
    let mut run = Run::new("88 % in one instant of every second", 3, 20);
    let rate = run.rate;
    run.request = rate / 25;
    run.demand = Box::new(move |gateway, now| {
        let (second, instant) = ((now.as_millis() / 1000) as usize, now.as_millis() % 1000 == 0);
        if instant && second % 3 == gateway { Demand::Burst(rate * 88 / 100) } else { Demand::Open(0.0) }
    });
    run
}

/// Bursts split among the gateways.
pub(crate) fn split_bursts_below_quota() -> Run {
    let mut run = Run::new("88 % split in one instant of every second", 3, 20);
    let rate = run.rate;
    run.request = rate / 25;
    run.demand = Box::new(move |gateway, now| {
        let instant = now.as_millis() % 1000 == 100 * gateway as u128;
        if instant { Demand::Burst(rate * [40, 36, 12][gateway] / 100) } else { Demand::Open(0.0) }
    });
    run
}

/// All demand moves from one gateway to the next, twice.
pub(crate) fn demand_moves() -> Run {
    let mut run = Run::new("demand moves at 12 s and 18 s", 3, 24);
    run.demand = Box::new(|gateway, now| Demand::Closed(if gateway == wanted_at(now) { 16 } else { 0 }));
    run
}

/// The same, of clients that wait for nothing.
pub(crate) fn open_demand_moves() -> Run {
    let mut run = Run::new("open demand moves at 12 s and 18 s", 3, 24);
    let all = run.rate as f64 * 1.5;
    // What queued up at the old gateway goes with its clients.
    run.demand = Box::new(
        move |gateway, now| {
            if gateway == wanted_at(now) { Demand::Open(all) } else { Demand::Gone }
        },
    );
    run
}

fn wanted_at(now: Duration) -> usize {
    MOVES.into_iter().filter(|moved| *moved <= now).count()
}

/// The coordinator does not answer for ten seconds.
pub(crate) fn coordinator_lost() -> Run {
    let mut run = one_hot_gateway();
    run.name = "coordinator lost from 10 s to 20 s";
    run.length = secs(40);
    run.answers = Box::new(|now| !(secs(10)..secs(20)).contains(&now));
    run
}

/// Another node takes the coordinator over, twice, knowing nothing.
pub(crate) fn coordinator_moves() -> Run {
    let mut run = one_hot_gateway();
    run.name = "coordinator moves at 10 s and 20 s";
    run.length = secs(40);
    run.moves = vec![secs(10), secs(20)];
    run
}

/// Late, lost and repeated.
pub(crate) fn bad_network() -> Run {
    let mut run = one_hot_gateway();
    run.name = "late, lost and repeated reports";
    run.network = Network {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(120),
        lost_percent: 10,
        twice_percent: 20,
    };
    run
}

/// The third gateway serves from 10 s to 20 s only.
pub(crate) fn gateway_comes_and_goes() -> Run {
    let mut run = Run::new("gateway added at 10 s, removed at 20 s", 3, 30);
    run.demand = Box::new(|gateway, now| {
        let added = (secs(10)..secs(20)).contains(&now);
        Demand::Closed(match (gateway, added) {
            (_, true) => 10,
            (2, false) => 0,
            (_, false) => 15,
        })
    });
    run
}

/// Demand that changes at random times at random gateways: nothing, a little, a lot.
pub(crate) fn random(seed: u64) -> Run {
    let mut random = StdRng::seed_from_u64(seed);
    let mut run = random_run(&mut random, seed);
    let (rate, gateways) = (run.rate as f64, run.gateways);
    let mut phases: Vec<(Duration, Vec<f64>)> = Vec::new();
    let mut at = Duration::ZERO;
    while at < run.length {
        let total = rate * [0.0, 0.3, 0.8, 1.0, 1.5, 3.0, 10.0][random.random_range(0..7)];
        let weights: Vec<f64> = (0..gateways).map(|_| random.random_range(0.0_f64..1.0).powi(4)).collect();
        let sum: f64 = weights.iter().sum();
        phases.push((at, weights.iter().map(|weight| total * weight / sum).collect()));
        at += Duration::from_millis(random.random_range(50..8_000));
    }
    run.demand = Box::new(move |gateway, now| {
        let index = phases.partition_point(|(from, _)| *from <= now) - 1;
        Demand::Open(phases[index].1[gateway])
    });
    run
}

/// Requests at random moments and gateways, often many at once, of which those are left out that would bring any second to 90 %.
pub(crate) fn random_below_quota(seed: u64) -> Run {
    let mut random = StdRng::seed_from_u64(seed);
    let mut run = random_run(&mut random, seed);
    let (gateways, request, limit) = (run.gateways, run.request, run.rate as f64 * 0.9);
    let mut arrivals = std::collections::HashMap::new();
    let mut last_second = std::collections::VecDeque::new();
    let hot = random.random_range(0..gateways);
    let each = [1, 3, 30][random.random_range(0..3)];
    for step in 0..run.length.as_millis() as u64 {
        while last_second.front().is_some_and(|at| at + 1_000 <= step) {
            last_second.pop_front();
        }
        if random.random_range(0..each * 3) > 0 {
            continue;
        }
        for _ in 0..random.random_range(1..=each) {
            if ((last_second.len() + 1) as u64 * request) as f64 >= limit {
                break;
            }
            last_second.push_back(step);
            let gateway = if random.random_bool(0.5) { hot } else { random.random_range(0..gateways) };
            *arrivals.entry((step, gateway)).or_insert(0) += request;
        }
    }
    run.demand = Box::new(move |gateway, now| {
        Demand::Burst(arrivals.get(&(now.as_millis() as u64, gateway)).copied().unwrap_or(0))
    });
    run
}

fn random_run(random: &mut StdRng, seed: u64) -> Run {
    let mut run = Run::new("random", random.random_range(1..=6), 40);
    run.seed = seed;
    run.request = run.rate / random.random_range(20..=400);
    run.network.delay = Duration::from_millis(random.random_range(1..=5));
    run.network.jitter = Duration::from_millis(random.random_range(0..=10));
    run
}

/// Those that are worth looking at.
#[allow(dead_code, reason = "for the drawings, which share this file")]
pub(crate) fn all() -> Vec<Run> {
    let mut random = random(7);
    random.name = "random demand";
    let mut below = random_below_quota(11);
    below.name = "random demand below 90 %";
    vec![
        even_demand(),
        one_hot_gateway(),
        hot_partition(),
        largest_requests(),
        largest_requests_of_few_clients(),
        requests_of_a_second(),
        sudden_demand(),
        below_quota(),
        bursts_below_quota(),
        split_bursts_below_quota(),
        demand_moves(),
        open_demand_moves(),
        coordinator_lost(),
        coordinator_moves(),
        bad_network(),
        gateway_comes_and_goes(),
        random,
        below,
    ]
}
