//! How large a write group may be: what the disk syncs in about 5 ms, measured while running (`storage/PROTOCOL.md` §2.2).

use std::time::Duration;

/// What a group should take. Longer: one group's wait is everybody's latency. Shorter: more syncs for the same bytes.
const GROUP_TARGET: Duration = Duration::from_millis(5);
/// Below this the fixed cost of a sync dominates, and a smaller group only costs throughput.
const GROUP_BYTES_MIN: u64 = 512 * 1024;
/// Above this memory held by one group, not the disk, is the bound.
const GROUP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The current bound of a write group.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: u64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { limit: 1024 * 1024 }
    }

    /// The bytes the next group may hold.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Learns from a group that was written and synced. Small groups say nothing about the disk's rate: only one that
    /// filled at least half its bound moves it, by at most a factor of two, so that a single slow sync is no verdict.
    pub(crate) fn observe(&mut self, bytes: u64, took: Duration) {
        if bytes * 2 < self.limit {
            return;
        }
        let fitting = bytes as f64 * GROUP_TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let bounded = (fitting as u64).clamp(self.limit / 2, self.limit * 2);
        self.limit = bounded.clamp(GROUP_BYTES_MIN, GROUP_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_disk_gets_larger_groups_up_to_the_bound() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.observe(pace.limit(), Duration::from_micros(500));
        }
        assert_eq!(pace.limit(), GROUP_BYTES_MAX);
    }

    #[test]
    fn a_slow_disk_gets_smaller_groups_down_to_the_bound() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.observe(pace.limit(), Duration::from_millis(100));
        }
        assert_eq!(pace.limit(), GROUP_BYTES_MIN);
    }

    #[test]
    fn a_small_group_says_nothing_about_the_disk() {
        let mut pace = Pace::new();
        pace.observe(1000, Duration::from_millis(50));
        assert_eq!(pace.limit(), 1024 * 1024);
    }

    #[test]
    fn a_disk_of_two_hundred_megabytes_a_second_settles_near_its_five_milliseconds() {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.observe(pace.limit(), Duration::from_secs_f64(pace.limit() as f64 / 200e6));
        }
        assert_eq!(pace.limit(), 1_000_000);
    }
}
