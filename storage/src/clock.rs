//! The clock seam: what the node knows of time comes in through here.
//!
//! Slot time (`storage/PROTOCOL.md` §13) is made from it in [`crate::slot_time`]; nothing else may order data by it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headgate_metadata::id::TimestampMs;

/// A wall clock, which may step, and a monotonic one, which may not.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, in ms since the Unix epoch.
    fn wall(&self) -> TimestampMs;
    /// Time since some fixed moment in the past; never goes back.
    fn monotonic(&self) -> Duration;
}

/// How the node holds its clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The machine's clocks; monotonic time counts from now.
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> TimestampMs {
        // A clock set before 1970 reads as 0: slot time never goes back, so nothing is harmed.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs::new(since.as_millis() as u64)
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told to; the double for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall`.
    pub fn at(wall: TimestampMs) -> Arc<Self> {
        Arc::new(Self { wall_ms: AtomicU64::new(wall.get()), monotonic_ms: AtomicU64::new(0) })
    }
    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
    /// Steps the wall clock only, as an operator or a bad time server does.
    pub fn step_wall(&self, to: TimestampMs) {
        self.wall_ms.store(to.get(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> TimestampMs {
        TimestampMs::new(self.wall_ms.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}
