//! The wall clock, as an argument: signatures, record timestamps and audit lines read it. Waiting goes by tokio's clock.

use std::time::SystemTime;

use headgate_iam::UnixTime;

/// Tells the time of day.
pub trait WallClock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixTime;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> UnixTime {
        UnixTime::from(SystemTime::now())
    }
}
