//! Slot time (`storage/PROTOCOL.md` §13): max(last record's slot time, the owner's wall clock), with forward steps clamped.
//!
//! Invariants: a slot's time never goes back; a wall clock that jumps ahead moves it at no more than twice real speed.

use std::time::Duration;

use headgate_metadata::id::TimestampMs;

use crate::clock::Clock;

/// A forward step of the wall clock beyond monotonic time plus this is not believed at once.
const STEP_MS_MAX: u64 = 1_000;
/// How fast the difference is caught up.
const CATCH_UP_SPEED: u64 = 2;

/// One hour of slot time.
pub const HOUR_MS: u64 = 3_600_000;

/// The hour a time lies in, counted from the Unix epoch.
pub fn hour_of(time: TimestampMs) -> u64 {
    time.get() / HOUR_MS
}

/// The owner's wall clock with its forward steps smoothed.
#[derive(Debug, Clone, Copy)]
pub struct SteadyTime {
    last: TimestampMs,
    last_monotonic: Duration,
    catching_up: bool,
}

impl SteadyTime {
    /// Begins at the clock's present reading.
    pub fn start(clock: &dyn Clock) -> Self {
        Self { last: clock.wall(), last_monotonic: clock.monotonic(), catching_up: false }
    }

    /// The time to write into records now. The flag says that a step was *just* clamped and should be warned about.
    pub fn read(&mut self, clock: &dyn Clock) -> (TimestampMs, bool) {
        let (wall, monotonic) = (clock.wall().get(), clock.monotonic());
        let passed = monotonic.saturating_sub(self.last_monotonic).as_millis() as u64;
        let believable = self.last.get() + passed + STEP_MS_MAX;
        let clamped = wall > believable;
        let newly_clamped = clamped && !self.catching_up;
        let time = if clamped { self.last.get() + passed * CATCH_UP_SPEED } else { wall };
        self.catching_up = clamped;
        self.last = TimestampMs::new(time);
        self.last_monotonic = monotonic;
        (self.last, newly_clamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_forward_step_is_clamped_and_caught_up_at_twice_real_speed() {
        let clock = ManualClock::at(TimestampMs::new(1_000_000));
        let mut time = SteadyTime::start(&*clock);
        clock.step_wall(TimestampMs::new(1_060_000));
        assert_eq!(time.read(&*clock), (TimestampMs::new(1_000_000), true));
        clock.advance(Duration::from_secs(10));
        assert_eq!(time.read(&*clock), (TimestampMs::new(1_020_000), false));
        clock.advance(Duration::from_secs(49));
        assert_eq!(time.read(&*clock).0, TimestampMs::new(1_118_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.read(&*clock).0, TimestampMs::new(1_120_000));
    }

    #[test]
    fn a_step_of_less_than_a_second_is_believed() {
        let clock = ManualClock::at(TimestampMs::new(1_000_000));
        let mut time = SteadyTime::start(&*clock);
        clock.step_wall(TimestampMs::new(1_000_900));
        assert_eq!(time.read(&*clock), (TimestampMs::new(1_000_900), false));
    }

    #[test]
    fn a_wall_clock_that_steps_back_is_followed_and_slots_keep_their_maximum() {
        let clock = ManualClock::at(TimestampMs::new(1_000_000));
        let mut time = SteadyTime::start(&*clock);
        clock.step_wall(TimestampMs::new(900_000));
        assert_eq!(time.read(&*clock), (TimestampMs::new(900_000), false));
    }

    #[test]
    fn hours_count_from_the_epoch() {
        assert_eq!(hour_of(TimestampMs::new(HOUR_MS - 1)), 0);
        assert_eq!(hour_of(TimestampMs::new(HOUR_MS)), 1);
    }
}
