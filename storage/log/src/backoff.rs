//! How uploads wait when the object store is slow or refuses: bounded exponential delays with jitter, and a recovery
//! that is paced instead of a stampede.

use std::time::Duration;

/// What an operator may turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The delay after the first failure. Higher: a hiccup costs more; lower: more requests to a store in trouble.
    pub first: Duration,
    /// The longest delay. Higher: recovery is noticed later; lower: more requests during an outage.
    pub max: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

/// The delay of one caller. A failure doubles it; a success halves it, so that a store that just came back is met with
/// growing, not with full, load.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: BackoffPolicy,
    delay: Duration,
}

impl Backoff {
    /// A caller that has seen no failure.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, delay: Duration::ZERO }
    }

    /// After a failure: how long to wait before the next attempt. `random` is uniform in `0.0..1.0`; the delay lies
    /// between half and all of the current bound, so that callers that failed together come back apart.
    pub fn failed(&mut self, random: f64) -> Duration {
        self.delay = (self.delay * 2).clamp(self.policy.first, self.policy.max);
        self.delay.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// After a success: how long to wait before the next piece of work; zero once recovery is complete.
    pub fn succeeded(&mut self, random: f64) -> Duration {
        self.delay /= 2;
        if self.delay < self.policy.first {
            self.delay = Duration::ZERO;
        }
        self.delay.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Whether the last attempts failed or recovery is still paced.
    pub fn is_troubled(&self) -> bool {
        !self.delay.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_carry_jitter() {
        let mut backoff =
            Backoff::new(BackoffPolicy { first: Duration::from_millis(100), max: Duration::from_secs(1) });
        let bounds: Vec<_> = (0..6).map(|_| backoff.failed(1.0).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.failed(0.0), Duration::from_millis(500));
    }

    #[test]
    fn recovery_is_paced_and_ends() {
        let mut backoff =
            Backoff::new(BackoffPolicy { first: Duration::from_millis(100), max: Duration::from_secs(1) });
        for _ in 0..5 {
            backoff.failed(0.5);
        }
        let pauses: Vec<_> = (0..4).map(|_| backoff.succeeded(1.0).as_millis()).collect();
        assert_eq!(pauses, [500, 250, 125, 0]);
        assert!(!backoff.is_troubled());
    }
}
