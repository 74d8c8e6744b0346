//! The window of signals a decision reads: recent observations, and the past week in one number per hour.

use std::collections::VecDeque;

use headgate_metadata::id::TimestampMs;

use crate::config::Policy;
use crate::forecast::WeekHistory;
use crate::signal::Observation;

/// The most observations kept. At one per second this is more than the longest useful window of a few hours; beyond it
/// the oldest go, and removal waits because its window is no longer covered.
const OBSERVATIONS_MAX: usize = 20_000;

/// Recent observations in order of time, and the demand of the past week.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    observations: VecDeque<Observation>,
    history: WeekHistory,
}

/// Why a stretch of time cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncovered {
    /// Observations do not reach back that far yet.
    TooShort {
        /// How far they reach.
        seen_ms: u64,
    },
    /// Nobody looked for longer than a signal stays fresh.
    Gap {
        /// For how long.
        gap_ms: u64,
    },
}

impl Window {
    /// A window that starts with a known past.
    pub fn with_history(history: WeekHistory) -> Self {
        Self { observations: VecDeque::new(), history }
    }

    /// Adds an observation, forgets those that no rule of `policy` reads any more, and notes the demand if every member
    /// was heard. An observation older than the newest takes its place in the order; a second one of the same moment
    /// replaces the first, so a repeated report changes nothing.
    pub fn record(&mut self, observation: Observation, policy: &Policy) {
        let evidence = observation.evidence(policy.signal_age_ms_max());
        if let Some(hottest) = evidence.hottest.filter(|_| evidence.is_complete()) {
            self.history.record(observation.at, f64::from(evidence.members) * hottest.demand);
        }
        let place = self.observations.partition_point(|earlier| earlier.at < observation.at);
        match self.observations.get_mut(place) {
            Some(same) if same.at == observation.at => *same = observation,
            _ => self.observations.insert(place, observation),
        }
        self.forget(policy);
    }

    /// The newest observation that is not later than `now`.
    pub fn latest(&self, now: TimestampMs) -> Option<&Observation> {
        self.observations.iter().rev().find(|observation| observation.at <= now)
    }

    /// The past week.
    pub const fn history(&self) -> &WeekHistory {
        &self.history
    }

    /// The observations that together describe the last `seconds` before `now`: those inside, and the one that was
    /// current when the stretch began.
    pub(crate) fn covering(
        &self,
        now: TimestampMs,
        seconds: u64,
        gap_ms_max: u64,
    ) -> Result<Vec<&Observation>, Uncovered> {
        let start = now.get().saturating_sub(seconds.saturating_mul(1_000));
        let mut stretch = Vec::new();
        let mut later = now.get();
        for observation in self.observations.iter().rev().filter(|observation| observation.at <= now) {
            let gap_ms = later - observation.at.get();
            if gap_ms > gap_ms_max {
                return Err(Uncovered::Gap { gap_ms });
            }
            later = observation.at.get();
            stretch.push(observation);
            if observation.at.get() <= start {
                return Ok(stretch);
            }
        }
        Err(Uncovered::TooShort { seen_ms: now.get() - later })
    }

    fn forget(&mut self, policy: &Policy) {
        let Some(newest) = self.observations.back().map(|observation| observation.at.get()) else { return };
        let longest_ms = policy.down_window_seconds.max(policy.up_window_seconds).saturating_mul(1_000);
        let horizon = newest.saturating_sub(longest_ms);
        // The last one at or before the horizon stays: it says what was true when the stretch began.
        while self.observations.get(1).is_some_and(|second| second.at.get() <= horizon)
            || self.observations.len() > OBSERVATIONS_MAX
        {
            self.observations.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn seen_at(second: u64) -> Observation {
        Observation { at: TimestampMs::new(second * 1_000), nodes: BTreeMap::new() }
    }

    fn window(seconds: &[u64]) -> Window {
        let mut window = Window::default();
        for &second in seconds {
            window.record(seen_at(second), &Policy::default());
        }
        window
    }

    fn seconds(window: &Window) -> Vec<u64> {
        window.observations.iter().map(|observation| observation.at.get() / 1_000).collect()
    }

    fn covering(window: &Window, now: u64, length: u64) -> Result<usize, Uncovered> {
        window.covering(TimestampMs::new(now * 1_000), length, 45_000).map(|stretch| stretch.len())
    }

    #[test]
    fn late_observations_take_their_place_and_repeated_ones_change_nothing() {
        let window = window(&[15, 45, 30, 30, 15]);
        assert_eq!(seconds(&window), [15, 30, 45]);
    }

    #[test]
    fn only_what_a_rule_still_reads_is_kept() {
        let every_15: Vec<u64> = (0..100).map(|i| i * 15).collect();
        let kept = seconds(&window(&every_15));
        assert_eq!(kept.first(), Some(&1_185), "the one at the start of the 300 s window stays");
        assert_eq!(kept.len(), 21);
    }

    #[test]
    fn a_stretch_includes_the_observation_that_was_current_when_it_began() {
        let window = window(&[0, 15, 30, 45]);
        assert_eq!(covering(&window, 45, 30), Ok(3));
        assert_eq!(covering(&window, 47, 30), Ok(3));
        assert_eq!(covering(&window, 45, 0), Ok(1));
    }

    #[test]
    fn a_stretch_that_began_before_the_first_observation_is_not_covered() {
        assert_eq!(covering(&window(&[30, 45]), 45, 30), Err(Uncovered::TooShort { seen_ms: 15_000 }));
        assert_eq!(covering(&window(&[]), 45, 0), Err(Uncovered::TooShort { seen_ms: 0 }));
    }

    #[test]
    fn a_stretch_in_which_nobody_looked_is_not_covered() {
        assert_eq!(covering(&window(&[0, 15, 75]), 75, 60), Err(Uncovered::Gap { gap_ms: 60_000 }));
    }

    #[test]
    fn observations_from_the_future_are_not_read() {
        let window = window(&[15, 30]);
        assert_eq!(window.latest(TimestampMs::new(20_000)).map(|seen| seen.at.get()), Some(15_000));
        assert_eq!(window.latest(TimestampMs::new(14_000)), None);
    }
}
