//! One rule per test; whole traces are in `tests/traces.rs`.

use headgate_metadata::id::NodeId;
use proptest::prelude::*;

use super::*;
use crate::forecast::WeekHistory;
use crate::load::Utilisation;
use crate::signal::NodeLoad;

const WEEK_SECONDS: u64 = 7 * 24 * 3_600;
/// Where the tests' clocks start: late enough that a week before is still after the epoch.
const START: u64 = 2 * WEEK_SECONDS;

fn ms(second: u64) -> TimestampMs {
    TimestampMs::new(second * 1_000)
}

/// A fleet whose nodes report `shares` at `second`; `None` is a silent node.
fn fleet(second: u64, shares: &[Option<f64>]) -> Observation {
    let load = |share: f64| {
        let utilisation = Utilisation::checked(share.min(0.99)).expect("a share");
        NodeLoad::checked(ms(second), utilisation, share).expect("a load")
    };
    let nodes =
        shares.iter().enumerate().map(|(i, share)| (NodeId::new(i as u32), share.map(load))).collect();
    Observation { at: ms(second), nodes }
}

/// Ten minutes of the same load, one observation per 15 s, the last at `START`.
fn steady(policy: &Policy, shares: &[Option<f64>]) -> Window {
    let mut window = Window::default();
    for second in (START - 600..=START).step_by(15) {
        window.record(fleet(second, shares), policy);
    }
    window
}

fn decided(window: &Window, state: &ScalerState, policy: &Policy) -> Decision {
    decide(window, state, policy, ms(START))
}

fn check(shares: &[Option<f64>], desired: u32, expected: u32) -> Reason {
    let policy = Policy::default();
    let decision = decided(&steady(&policy, shares), &ScalerState::new(desired), &policy);
    assert_eq!(decision.desired, expected, "{}", decision.reason);
    decision.reason
}

#[test]
fn within_tolerance_nothing_happens() {
    for share in [0.54, 0.6, 0.66] {
        assert!(matches!(check(&[Some(share); 4], 4, 4), Reason::Steady { .. }));
    }
}

#[test]
fn the_need_brings_the_hottest_node_to_the_target() {
    assert!(matches!(check(&[Some(0.8); 3], 3, 4), Reason::Grow { need: 4, .. }));
    assert!(matches!(check(&[Some(0.75); 8], 8, 10), Reason::Grow { need: 10, .. }));
}

#[test]
fn one_hot_node_among_idle_ones_is_enough_to_grow() {
    let reason = check(&[Some(0.05), Some(0.8), Some(0.05)], 3, 4);
    assert!(matches!(reason, Reason::Grow { hottest, .. } if hottest == NodeId::new(1)));
}

#[test]
fn an_emergency_jumps_past_the_step_limit_to_what_was_asked_for() {
    let policy = Policy { nodes_max: 40, ..Policy::default() };
    let decision = decided(&steady(&policy, &[Some(3.0); 4]), &ScalerState::new(4), &policy);
    assert_eq!(decision.desired, 20, "{}", decision.reason);
    assert_eq!(decision.state.emergency_at, Some(ms(START)));
}

#[test]
fn an_emergency_needs_no_window() {
    let policy = Policy::default();
    let mut window = Window::default();
    window.record(fleet(START, &[Some(0.9); 3]), &policy);
    assert_eq!(decided(&window, &ScalerState::new(3), &policy).desired, 5);
}

#[test]
fn an_emergency_stops_at_the_maximum_and_says_what_was_needed() {
    assert!(matches!(check(&[Some(9.0); 4], 4, 12), Reason::Emergency { need: 60, .. }));
    assert!(matches!(check(&[Some(9.0); 12], 12, 12), Reason::Held(Hold::AtMaximum { .. })));
}

#[test]
fn a_second_emergency_waits_for_the_first_to_help() {
    let policy = Policy::default();
    let window = steady(&policy, &[Some(0.95); 4]);
    let state = ScalerState {
        emergency_at: Some(ms(START - 60)),
        grown_at: Some(ms(START - 50)),
        ..ScalerState::new(4)
    };
    let decision = decided(&window, &state, &policy);
    assert_eq!(decision.desired, 4);
    assert!(matches!(decision.reason, Reason::Held(Hold::UpCooldown { remaining_ms: 10_000, .. })));
}

#[test]
fn growth_waits_until_the_need_lasted_the_up_window() {
    let policy = Policy::default();
    let mut window = steady(&policy, &[Some(0.6); 4]);
    window.record(fleet(START, &[Some(0.8); 4]), &policy);
    let decision = decided(&window, &ScalerState::new(4), &policy);
    assert_eq!((decision.desired, decision.reason), (4, Reason::Held(Hold::UpWindow { need: 6 })));
}

#[test]
fn growth_respects_step_limit_cooldown_and_maximum() {
    let policy = Policy { up_step_nodes_max: 1, up_step_ratio_max: 0.0, ..Policy::default() };
    let window = steady(&policy, &[Some(0.8); 6]);
    assert_eq!(decided(&window, &ScalerState::new(6), &policy).desired, 7);

    let just_grown = ScalerState { grown_at: Some(ms(START - 20)), ..ScalerState::new(6) };
    let held = decided(&window, &just_grown, &policy);
    assert_eq!(held.reason, Reason::Held(Hold::UpCooldown { need: 8, remaining_ms: 40_000 }));

    let full = Policy { nodes_max: 6, ..policy };
    let held = decided(&window, &ScalerState::new(6), &full);
    assert_eq!(held.reason, Reason::Held(Hold::AtMaximum { need: 8 }));
}

#[test]
fn nodes_that_are_still_joining_are_not_asked_for_twice() {
    assert!(matches!(check(&[Some(0.8); 3], 4, 4), Reason::Held(Hold::Joining { members: 3 })));
}

#[test]
fn shrinking_goes_one_step_and_remembers_it() {
    let policy = Policy::default();
    let decision = decided(&steady(&policy, &[Some(0.1); 8]), &ScalerState::new(8), &policy);
    assert_eq!((decision.desired, decision.reason), (7, Reason::Shrink { need: 2 }));
    assert_eq!(decision.state.shrunk_at, Some(ms(START)));
}

#[test]
fn shrinking_stops_at_the_minimum() {
    assert!(matches!(check(&[Some(0.1); 3], 3, 3), Reason::Held(Hold::AtMinimum { need: 1 })));
}

#[test]
fn shrinking_waits_for_the_whole_down_window() {
    let policy = Policy::default();
    let mut window = Window::default();
    for second in (START - 600..=START).step_by(15) {
        let share = if second == START - 285 { 0.6 } else { 0.2 };
        window.record(fleet(second, &[Some(share); 6]), &policy);
    }
    let held = decided(&window, &ScalerState::new(6), &policy);
    assert_eq!(held.reason, Reason::Held(Hold::DownWindow { need: 2, needed_before: 6 }));
}

#[test]
fn shrinking_waits_after_any_change() {
    let policy = Policy::default();
    let window = steady(&policy, &[Some(0.2); 6]);
    for state in [
        ScalerState { grown_at: Some(ms(START - 100)), ..ScalerState::new(6) },
        ScalerState { shrunk_at: Some(ms(START - 100)), ..ScalerState::new(6) },
    ] {
        let held = decided(&window, &state, &policy);
        assert_eq!(held.reason, Reason::Held(Hold::DownCooldown { need: 2, remaining_ms: 200_000 }));
    }
}

#[test]
fn one_silent_node_forbids_shrinking_but_not_growing() {
    let idle = check(&[Some(0.1), Some(0.1), Some(0.1), None], 4, 4);
    assert_eq!(idle, Reason::Held(Hold::SomeSilent { need: 1, fresh: 3, members: 4 }));
    assert!(matches!(check(&[Some(0.8), Some(0.8), Some(0.8), None], 4, 6), Reason::Grow { .. }));
}

#[test]
fn too_few_heard_nodes_decide_nothing_not_even_an_emergency() {
    let reason = check(&[Some(0.99), None, None, None], 4, 4);
    assert_eq!(reason, Reason::Held(Hold::TooFewHeard { fresh: 1, members: 4 }));
}

#[test]
fn without_signals_nothing_is_changed_and_the_reason_says_so() {
    let policy = Policy::default();
    let never = decided(&Window::default(), &ScalerState::new(5), &policy);
    assert_eq!((never.desired, never.reason), (5, Reason::Held(Hold::NoSignals { age_ms: None })));

    let window = steady(&policy, &[Some(0.99); 5]);
    let stale = decide(&window, &ScalerState::new(5), &policy, ms(START + 46));
    assert_eq!((stale.desired, stale.reason), (5, Reason::Held(Hold::NoSignals { age_ms: Some(46_000) })));
}

#[test]
fn a_gap_in_the_window_forbids_shrinking() {
    let policy = Policy::default();
    let mut window = Window::default();
    for second in
        (START - 600..=START).step_by(15).filter(|second| !(START - 120..START - 30).contains(second))
    {
        window.record(fleet(second, &[Some(0.1); 6]), &policy);
    }
    let held = decided(&window, &ScalerState::new(6), &policy);
    assert!(matches!(held.reason, Reason::Held(Hold::WindowGap { gap_ms: 105_000 })), "{}", held.reason);
}

#[test]
fn after_a_restart_shrinking_waits_until_the_window_is_filled() {
    let policy = Policy::default();
    let mut window = Window::default();
    for second in [START - 30, START - 15, START] {
        window.record(fleet(second, &[Some(0.1); 6]), &policy);
    }
    let held = decided(&window, &ScalerState::new(6), &policy);
    assert_eq!(held.reason, Reason::Held(Hold::WindowTooShort { seen_ms: 30_000, window_seconds: 300 }));
}

#[test]
fn changed_bounds_hold_even_without_signals() {
    let policy = Policy { nodes_min: 6, ..Policy::default() };
    let decision = decided(&Window::default(), &ScalerState::new(4), &policy);
    assert_eq!((decision.desired, decision.reason), (6, Reason::Bounds { from: 4 }));
}

#[test]
fn the_forecast_adds_before_the_load_comes() {
    let policy = Policy { forecast: true, ..Policy::default() };
    let mut history = WeekHistory::default();
    history.record(ms(START - WEEK_SECONDS), 4.2);
    let mut window = Window::with_history(history);
    for second in (START - 600..=START).step_by(15) {
        window.record(fleet(second, &[Some(0.6); 4]), &policy);
    }
    let decision = decided(&window, &ScalerState::new(4), &policy);
    assert_eq!((decision.desired, decision.reason), (7, Reason::Forecast { need: 7 }));

    let just_grown = ScalerState { grown_at: Some(ms(START - 20)), ..ScalerState::new(4) };
    assert_eq!(decided(&window, &just_grown, &policy).desired, 4, "the cooldown of growth holds here too");

    let off = Policy { forecast: false, ..policy };
    assert_eq!(decided(&window, &ScalerState::new(4), &off).desired, 4);
}

#[test]
fn the_forecast_adds_where_it_sees_more_than_the_signals_do() {
    let policy = Policy { forecast: true, ..Policy::default() };
    let mut history = WeekHistory::default();
    history.record(ms(START - WEEK_SECONDS), 4.2);
    let mut window = Window::with_history(history);
    for second in (START - 600..START).step_by(15) {
        window.record(fleet(second, &[Some(0.6); 4]), &policy);
    }
    // The signals ask for six, but not yet throughout the up window.
    window.record(fleet(START, &[Some(0.8); 4]), &policy);
    let decision = decided(&window, &ScalerState::new(4), &policy);
    assert_eq!((decision.desired, decision.reason), (7, Reason::Forecast { need: 7 }));
}

#[test]
fn the_forecast_is_a_floor_for_shrinking() {
    let policy = Policy { forecast: true, down_step_nodes_max: 5, ..Policy::default() };
    let mut history = WeekHistory::default();
    history.record(ms(START - WEEK_SECONDS), 3.0);
    let mut window = Window::with_history(history);
    for second in (START - 600..=START).step_by(15) {
        window.record(fleet(second, &[Some(0.1); 7]), &policy);
    }
    assert_eq!(decided(&window, &ScalerState::new(7), &policy).desired, 5);
    let held = decided(&window, &ScalerState::new(5), &policy);
    assert_eq!(held.reason, Reason::Held(Hold::ForecastFloor { need: 2, floor: 5 }));
}

prop_compose! {
    fn any_window(heard: f64)(
        rounds in proptest::collection::vec(
            proptest::collection::vec(proptest::option::weighted(heard, 0.0..4.0f64), 0..8), 0..50),
        history in proptest::option::of(0.0..10.0f64),
    ) -> Window {
        let mut past = WeekHistory::default();
        if let Some(demand) = history {
            past.record(ms(START - WEEK_SECONDS), demand);
        }
        let mut window = Window::with_history(past);
        let first = START - 15 * rounds.len() as u64;
        for (i, shares) in rounds.iter().enumerate() {
            window.record(fleet(first + 15 * (i as u64 + 1), shares), &Policy::default());
        }
        window
    }
}

proptest! {
    #[test]
    fn every_decision_is_within_bounds_and_repeatable(
        window in any_window(0.9), desired in 0u32..30, forecast: bool,
    ) {
        let policy = Policy { forecast, ..Policy::default() };
        let state = ScalerState::new(desired);
        let decision = decided(&window, &state, &policy);
        prop_assert!((policy.nodes_min..=policy.nodes_max).contains(&decision.desired));
        prop_assert_eq!(decision.desired, decision.state.desired);
        prop_assert!(!decision.reason.to_string().is_empty());
        prop_assert_eq!(decided(&window, &state, &policy), decision);
    }

    #[test]
    fn the_forecast_never_takes_a_node_away(window in any_window(0.9), desired in 3u32..12) {
        let state = ScalerState::new(desired);
        let with = decided(&window, &state, &Policy { forecast: true, ..Policy::default() });
        let without = decided(&window, &state, &Policy::default());
        prop_assert!(with.desired >= without.desired);
    }

    #[test]
    fn without_enough_evidence_the_number_stands(
        window in any_window(0.25), desired in 3u32..12, forecast: bool,
    ) {
        let policy = Policy { forecast, ..Policy::default() };
        let latest = window.latest(ms(START)).map(|seen| seen.evidence(policy.signal_age_ms_max()));
        prop_assume!(!latest.is_some_and(|evidence| evidence.covers(policy.signal_share_min)));
        prop_assert_eq!(decided(&window, &ScalerState::new(desired), &policy).desired, desired);
    }
}
