//! The quota algorithm on a virtual clock, held to its published bounds (`gateway/PROTOCOL.md` §9):
//!
//! * over any ten seconds a cluster gets what it is entitled to, within ±5 % and one largest request, if the quota is at least
//!   twenty times the largest request;
//! * nobody is throttled while use stays below 90 % of the quota in every second;
//! * after demand has moved between gateways, throughput is right again within one report interval.
//!
//! `cargo run -p headgate-storage --example quotas -- DIR` draws the same runs beside an ideal bucket.

mod measure;
mod node;
mod runs;
mod world;

use std::time::Duration;

use headgate_storage_client::quota::REPORT_INTERVAL;

use measure::{below_while_wanted, deviation, per_step, windows};
use world::{Played, Run};

/// What the published bound allows, in hundredths of the quota; the one largest request is taken off by the measurement.
const BOUND: f64 = 5.0;
/// How many random runs are played.
const SEEDS: u64 = 12;

fn amounts(run: &Run, played: &Played) -> Vec<u64> {
    per_step(run, played.admitted.iter().map(|(at, _, amount)| (*at, *amount)))
}

/// Plays a run in which the cluster wants more than its quota from `from` on.
fn check_entitled(run: &Run, from: Duration) {
    let played = run.play();
    let amounts = amounts(run, &played);
    let (_, above) = deviation(run, &amounts, Duration::ZERO, run.length);
    let (below, _) = deviation(run, &amounts, from, run.length);
    assert!(above <= BOUND && below <= BOUND, "{}: -{below:.2} +{above:.2} %", run.name);
}

fn check_unthrottled(run: &Run) {
    let played = run.play();
    assert!(!played.admitted.is_empty(), "{}: nothing was used", run.name);
    assert_eq!(played.throttled, [], "{}", run.name);
}

#[test]
fn even_demand_gets_the_quota() {
    check_entitled(&runs::even_demand(), Duration::ZERO);
}

#[test]
fn one_hot_gateway_does_not_cost_the_tenant_its_quota() {
    check_entitled(&runs::one_hot_gateway(), Duration::ZERO);
}

#[test]
fn a_hot_partition_does_not_cost_the_tenant_its_quota() {
    check_entitled(&runs::hot_partition(), Duration::ZERO);
}

#[test]
fn requests_of_a_twentieth_of_the_quota_keep_within_the_bound() {
    check_entitled(&runs::largest_requests(), Duration::ZERO);
    check_entitled(&runs::largest_requests_of_few_clients(), Duration::ZERO);
}

#[test]
fn requests_of_a_whole_second_gain_nothing() {
    check_entitled(&runs::requests_of_a_second(), Duration::from_secs(5));
}

#[test]
fn demand_that_comes_at_once_after_silence_keeps_within_the_bound() {
    check_entitled(&runs::sudden_demand(), runs::SUDDEN);
}

#[test]
fn a_lost_coordinator_leaves_every_gateway_its_last_share() {
    check_entitled(&runs::coordinator_lost(), Duration::ZERO);
}

#[test]
fn a_coordinator_that_takes_over_gives_nothing_twice() {
    check_entitled(&runs::coordinator_moves(), Duration::ZERO);
}

#[test]
fn late_lost_and_repeated_messages_keep_within_the_bound() {
    check_entitled(&runs::bad_network(), Duration::ZERO);
}

#[test]
fn a_gateway_that_comes_or_goes_changes_nothing_for_the_tenant() {
    check_entitled(&runs::gateway_comes_and_goes(), Duration::ZERO);
}

#[test]
fn whatever_demand_does_the_bound_holds() {
    for seed in 0..SEEDS {
        let run = runs::random(seed);
        let played = run.play();
        let amounts = amounts(&run, &played);
        let (_, above) = deviation(&run, &amounts, Duration::ZERO, run.length);
        let below = below_while_wanted(&run, &played, &amounts);
        assert!(above <= BOUND && below <= BOUND, "seed {seed}: -{below:.2} +{above:.2} %");
    }
}

#[test]
fn below_ninety_percent_nobody_is_throttled() {
    check_unthrottled(&runs::below_quota());
    check_unthrottled(&runs::bursts_below_quota());
    check_unthrottled(&runs::split_bursts_below_quota());
}

#[test]
fn whatever_a_tenant_does_below_ninety_percent_it_is_not_throttled() {
    for seed in 0..SEEDS {
        let run = runs::random_below_quota(seed);
        let played = run.play();
        assert!(!played.admitted.is_empty(), "seed {seed}");
        assert_eq!(played.throttled, [], "seed {seed}");
    }
}

#[test]
fn throughput_is_right_within_one_report_interval_after_demand_has_moved() {
    for run in [runs::demand_moves(), runs::open_demand_moves()] {
        let played = run.play();
        for (index, moved) in runs::MOVES.into_iter().enumerate() {
            let to = index + 1;
            let of_new = played.admitted.iter().filter(|(_, gateway, _)| *gateway == to);
            let of_new = per_step(&run, of_new.map(|(at, _, amount)| (*at, *amount)));
            let settled = moved + REPORT_INTERVAL;
            let (least, _) =
                windows(&of_new, Duration::from_secs(1), settled, settled + Duration::from_secs(4));
            let due = run.rate as f64 * 0.95 - run.request as f64;
            assert!(least as f64 >= due, "{} at {moved:?}: {least} of {}", run.name, run.rate);
        }
    }
}

#[test]
fn a_thousand_tenants_share_a_node_in_proportion_to_their_quotas() {
    let run = node::thousand_tenants();
    let used = run.play();
    let greatest = used.node_per_second.iter().skip(1).max().copied().unwrap_or_default();
    assert!(greatest as f64 <= run.capacity * 1.05, "{greatest} of {}", run.capacity);
    let least = used.node_per_second.iter().skip(1).min().copied().unwrap_or_default();
    assert!(least as f64 >= run.capacity * 0.95, "{least} of {}", run.capacity);
    for (tenant, used) in run.tenants.iter().zip(&used.per_tenant) {
        let due = tenant.wanted.min(run.part * tenant.entitled) * run.measured.as_secs_f64();
        let slack = 0.05 * due + run.request as f64;
        assert!((*used as f64 - due).abs() <= slack, "{tenant:?} used {used}, due {due}");
    }
}
