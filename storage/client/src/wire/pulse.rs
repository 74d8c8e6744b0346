//! Telling a peer that is stopped or cut off from one that is busy or that we do not read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// How often a side that has nothing to say sends a heartbeat.
pub(super) const HEARTBEAT_PERIOD: Duration = Duration::from_millis(500);
/// So many periods without a byte, while one was waited for, mean that the peer is gone: two seconds.
const SILENT_PERIODS_MAX: u32 = 4;

/// What the reader tells about its progress.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    reads: AtomicU64,
    waiting: AtomicBool,
}

impl Pulse {
    /// The reader waits for bytes from now on.
    pub(super) fn begin_wait(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }
    /// Bytes came.
    pub(super) fn end_wait(&self) {
        self.waiting.store(false, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when the peer has been silent for too long. Periods are counted, not time: a process that was itself stopped
    /// sees one long period when it goes on, and first listens.
    pub(super) async fn lost(&self) {
        let mut ticks = interval(HEARTBEAT_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut silent) = (0, 0);
        // The first tick comes at once.
        ticks.tick().await;
        while silent < SILENT_PERIODS_MAX {
            ticks.tick().await;
            let reads = self.reads.load(Ordering::Relaxed);
            if reads != seen || !self.waiting.load(Ordering::Relaxed) {
                (seen, silent) = (reads, 0);
            } else {
                silent += 1;
            }
        }
    }
}
