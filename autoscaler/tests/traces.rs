//! What the policy does with whole traces: the contract of the autoscaler, read from the outside.

use headgate_autoscaler::config::Policy;
use headgate_autoscaler::forecast::WeekHistory;
use headgate_autoscaler::reason::{Hold, Reason};
use headgate_autoscaler::simulate::{TRACE_START, Timeline, Trace, TraceStep, simulate};
use headgate_autoscaler::window::Window;
use headgate_metadata::id::TimestampMs;

const INTERVAL: u64 = 15;

/// A trace in 15 s steps on four nodes; a new node takes a minute.
fn trace(steps: Vec<TraceStep>) -> Trace {
    Trace { interval_seconds: INTERVAL, join_seconds: 60, drain_seconds: 30, nodes: 4, steps }
}

/// `minutes` of the same demand.
fn flat(demand: f64, minutes: usize) -> Vec<TraceStep> {
    vec![TraceStep::even(demand); minutes * 4]
}

fn play(steps: Vec<TraceStep>) -> Timeline {
    simulate(&trace(steps), &Policy::default(), Window::default())
}

fn desired(timeline: &Timeline) -> Vec<u32> {
    let mut numbers: Vec<u32> = timeline.points.iter().map(|point| point.desired).collect();
    numbers.dedup();
    numbers
}

fn last(timeline: &Timeline) -> &headgate_autoscaler::simulate::TimelinePoint {
    timeline.points.last().expect("the trace has steps")
}

/// Noise between -1 and 1 from a fixed sequence, so that every run is the same run.
fn noise() -> impl Iterator<Item = f64> {
    let mut state: u64 = 7;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

#[test]
fn a_step_up_is_answered_once_and_holds() {
    let timeline = play([flat(2.4, 10), flat(3.2, 20)].concat());
    assert_eq!(desired(&timeline), [4, 6]);
    let answered = timeline.changes().next().expect("one change").second;
    assert_eq!(answered, 10 * 60 + 30, "after the up window, not before");
    assert_eq!(timeline.overloaded_seconds(), 0);
    assert!(matches!(last(&timeline).reason, Reason::Steady { .. }));
}

#[test]
fn a_step_down_is_followed_slowly_one_node_at_a_time() {
    let mut steps = flat(2.4, 10);
    steps.extend(flat(0.3, 30));
    let timeline = simulate(&Trace { nodes: 6, ..trace(steps) }, &Policy::default(), Window::default());
    assert_eq!(desired(&timeline), [6, 5, 4, 3]);
    let changes: Vec<u64> = timeline.changes().map(|point| point.second).collect();
    assert!(
        changes.windows(2).all(|pair| pair[1] - pair[0] >= 300),
        "cooldown between removals: {changes:?}"
    );
    assert!(matches!(last(&timeline).reason, Reason::Held(Hold::AtMinimum { .. })));
}

#[test]
fn a_short_spike_below_the_emergency_changes_nothing() {
    let spike = vec![TraceStep::even(3.2); 2];
    let timeline = play([flat(2.4, 10), spike, flat(2.4, 10)].concat());
    assert_eq!(desired(&timeline), [4]);
    assert!(timeline.points.iter().any(|point| matches!(point.reason, Reason::Held(Hold::UpWindow { .. }))));
}

#[test]
fn noise_inside_the_tolerance_never_moves_the_fleet() {
    let noisy = noise().take(4 * 120).map(|noise| TraceStep::even(2.4 * (1.0 + 0.09 * noise))).collect();
    let timeline = play(noisy);
    assert_eq!(desired(&timeline), [4]);
}

#[test]
fn a_load_that_swings_across_the_band_does_not_flap() {
    // Two minutes above, two minutes below, for two hours: the down window never sees a quiet stretch.
    let swings = (0..30).flat_map(|_| [flat(3.1, 2), flat(1.5, 2)].concat()).collect();
    let timeline = play(swings);
    let numbers = desired(&timeline);
    assert!(numbers.len() <= 2, "{numbers:?}");
    assert!(numbers.is_sorted(), "nothing is removed between two swings: {numbers:?}");
}

#[test]
fn missing_signals_freeze_the_number_and_the_reason_says_so() {
    let blind = vec![TraceStep { silent: 4, ..TraceStep::even(3.9) }; 40];
    let timeline = play([flat(2.4, 10), blind, flat(2.4, 2)].concat());
    assert_eq!(desired(&timeline), [4]);
    let dark = &timeline.points[60];
    assert_eq!(dark.reason, Reason::Held(Hold::TooFewHeard { fresh: 0, members: 4 }));
    assert_eq!(dark.reason.to_string(), "only 0 of 4 nodes were heard; nothing is changed blindly");
}

#[test]
fn one_silent_node_keeps_an_idle_fleet_at_its_size() {
    let partly = vec![TraceStep { silent: 1, ..TraceStep::even(0.4) }; 80];
    let timeline = simulate(&Trace { nodes: 6, ..trace(partly) }, &Policy::default(), Window::default());
    assert_eq!(desired(&timeline), [6]);
    assert!(matches!(last(&timeline).reason, Reason::Held(Hold::SomeSilent { fresh: 5, members: 6, .. })));
}

#[test]
fn a_lost_node_is_replaced_without_asking_for_more() {
    let mut steps = flat(2.4, 20);
    steps[40].lost = 1;
    let timeline = play(steps);
    assert_eq!(desired(&timeline), [4]);
    assert_eq!(timeline.points[40].serving, 3);
    assert_eq!(last(&timeline).serving, 4);
    let between = &timeline.points[42];
    assert!(matches!(between.reason, Reason::Held(Hold::Joining { members: 3 })), "{}", between.reason);
}

#[test]
fn a_surge_past_saturation_is_answered_in_one_jump() {
    let timeline = play([flat(2.4, 10), flat(6.0, 20)].concat());
    assert_eq!(desired(&timeline), [4, 10]);
    let jump = timeline.changes().next().expect("one change");
    assert_eq!(jump.second, 600, "in the very step the surge is seen");
    assert!(matches!(jump.reason, Reason::Emergency { need: 10, .. }));
    assert_eq!(timeline.overloaded_seconds(), 60, "only while the new nodes start");
}

#[test]
fn a_surge_beyond_the_maximum_stops_there_and_says_what_is_needed() {
    let timeline = play([flat(2.4, 10), flat(30.0, 10)].concat());
    assert_eq!(desired(&timeline), [4, 12]);
    assert!(matches!(last(&timeline).reason, Reason::Held(Hold::AtMaximum { need: 20.. })));
}

#[test]
fn a_hot_node_counts_even_if_the_mean_is_low() {
    let skewed = vec![TraceStep { skew: 2.0, ..TraceStep::even(1.6) }; 80];
    let even = play(flat(1.6, 20));
    assert_eq!(desired(&even), [4, 3]);
    let timeline = play(skewed);
    assert!(desired(&timeline)[1] > 4, "{:?}", desired(&timeline));
}

#[test]
fn last_weeks_rush_hour_is_met_by_nodes_that_are_already_there() {
    let mut history = WeekHistory::default();
    let week_ms = 7 * 24 * 3_600_000;
    history.record(TimestampMs::new(TRACE_START.get() + 3_600_000 - week_ms), 6.0);
    let policy = Policy { forecast: true, ..Policy::default() };
    let steps = trace([flat(2.4, 60), flat(6.0, 30)].concat());

    let foreseen = simulate(&steps, &policy, Window::with_history(history));
    assert_eq!(desired(&foreseen), [4, 8, 10]);
    assert_eq!(foreseen.overloaded_seconds(), 0);
    let surprised = simulate(&steps, &Policy::default(), Window::default());
    assert!(surprised.overloaded_seconds() > 0);
    assert!(foreseen.node_seconds() > surprised.node_seconds(), "what the foresight costs is visible");
}

#[test]
fn the_same_trace_gives_the_same_timeline() {
    let steps: Vec<TraceStep> = noise().take(400).map(|noise| TraceStep::even(4.0 + 3.5 * noise)).collect();
    assert_eq!(play(steps.clone()), play(steps));
}
