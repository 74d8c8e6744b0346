//! The one place that asks the machine for the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time, for deadlines and latencies.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Time passed since an instant.
pub(crate) fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// The wall clock, for signatures.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Microseconds since the Unix epoch, as written into record values.
pub(crate) fn unix_micros() -> i64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// Sleeps until a monotonic instant; returns at once when it has passed.
pub(crate) async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(tokio::time::Instant::from_std(deadline)).await;
}

/// Doubles a pause between two attempts, up to one second, so that a restarting server is found soon
/// but not flooded.
pub(crate) fn next_backoff(previous: Duration) -> Duration {
    (previous * 2).clamp(Duration::from_millis(50), Duration::from_secs(1))
}
