//! The seasonal forecast: what the same hour needed last week, taken as a floor.
//!
//! Invariant: the forecast can only add. It is combined with the reactive rules by taking the larger number, so a wrong
//! forecast costs idle nodes and never a shortage.

use std::collections::BTreeMap;

use headgate_metadata::id::TimestampMs;
use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;
const WEEK_HOURS: u64 = 7 * 24;

/// How many hours are kept: one week, the hour under way, and the one ahead that a forecast may look into.
const KEPT_HOURS: u64 = WEEK_HOURS + 2;

/// The peak demand of each hour of the past week, in nodes' worth of work (members × demand of the hottest).
///
/// Demand, not nodes: it stays true when the policy's target is changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeekHistory {
    peaks: BTreeMap<u64, f64>,
}

impl WeekHistory {
    /// Notes that the fleet was asked for `demand` nodes' worth of work at `at`, and forgets hours past use.
    pub fn record(&mut self, at: TimestampMs, demand: f64) {
        let hour = at.get() / HOUR_MS;
        let peak = self.peaks.entry(hour).or_insert(0.0);
        *peak = peak.max(demand);
        let oldest = hour.saturating_sub(KEPT_HOURS);
        self.peaks = self.peaks.split_off(&oldest);
    }

    /// The peak demand a week before `now` and a week before `now + lead_seconds`, whichever is higher; `None` when
    /// neither hour is known.
    pub fn last_week(&self, now: TimestampMs, lead_seconds: u64) -> Option<f64> {
        let ahead = now.get().saturating_add(lead_seconds.saturating_mul(1_000));
        let peak_before = |ms: u64| {
            let hour = (ms / HOUR_MS).checked_sub(WEEK_HOURS)?;
            self.peaks.get(&hour).copied()
        };
        match (peak_before(now.get()), peak_before(ahead)) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_hour(hour: u64) -> TimestampMs {
        TimestampMs::new(hour * HOUR_MS)
    }

    #[test]
    fn the_same_hour_of_last_week_is_the_forecast() {
        let mut history = WeekHistory::default();
        history.record(at_hour(1_000), 4.5);
        history.record(at_hour(1_000), 3.0);
        assert_eq!(history.last_week(at_hour(1_000 + WEEK_HOURS), 0), Some(4.5));
        assert_eq!(history.last_week(at_hour(1_001 + WEEK_HOURS), 0), None);
    }

    #[test]
    fn the_lead_looks_into_the_hour_ahead() {
        let mut history = WeekHistory::default();
        history.record(at_hour(1_000), 2.0);
        history.record(at_hour(1_001), 8.0);
        let ten_to = TimestampMs::new((1_001 + WEEK_HOURS) * HOUR_MS - 600_000);
        assert_eq!(history.last_week(ten_to, 0), Some(2.0));
        assert_eq!(history.last_week(ten_to, 600), Some(8.0));
    }

    #[test]
    fn history_holds_little_more_than_a_week() {
        let mut history = WeekHistory::default();
        for hour in 0..2_000 {
            history.record(at_hour(hour), 1.0);
        }
        assert_eq!(history.peaks.len() as u64, KEPT_HOURS + 1);
    }

    #[test]
    fn before_the_first_week_there_is_no_forecast() {
        assert_eq!(WeekHistory::default().last_week(at_hour(3), 600), None);
    }
}
