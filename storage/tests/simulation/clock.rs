//! Virtual clocks: tokio's paused time, and per node a wall clock that is off.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headgate_metadata::id::TimestampMs;
use headgate_storage::clock::Clock;
use tokio::time::Instant;

use crate::support::START_MS;

/// One node's clocks.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    began: Instant,
    skew_ms: AtomicI64,
}

impl SimulatedClock {
    pub(crate) fn new(began: Instant, skew_ms: i64) -> Self {
        Self { began, skew_ms: AtomicI64::new(skew_ms) }
    }

    /// Steps the wall clock, as a bad time server does.
    pub(crate) fn skew(&self, by_ms: i64) {
        self.skew_ms.store(by_ms, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> TimestampMs {
        let at =
            START_MS as i64 + self.began.elapsed().as_millis() as i64 + self.skew_ms.load(Ordering::SeqCst);
        TimestampMs::new(at.max(0) as u64)
    }
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}
