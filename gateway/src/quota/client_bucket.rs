//! The bucket of one quota of a cluster's clients at this gateway (`gateway/PROTOCOL.md` §9): all that one user, one client id
//! or both together do here draws on it.
//!
//! Invariant: what was used is never forgiven but by time, so that a client that is held back for less than it owes, or comes
//! again on another connection, gains nothing.

use std::sync::Mutex;
use std::time::Duration;

use headgate_metadata::client_quota::ClientQuotaKey;

/// See the module. Time is counted from any fixed moment.
#[derive(Debug)]
pub(super) struct ClientBucket {
    /// How long it saves up what is not used.
    saves: Duration,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    /// A second, in the unit of the quota.
    rate: f64,
    /// Below zero: owed.
    tokens: f64,
    at: Duration,
}

impl Level {
    fn refill(&mut self, saves: Duration, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate * saves.as_secs_f64());
        self.at = self.at.max(now);
    }

    fn debt(&self) -> Duration {
        Duration::try_from_secs_f64((-self.tokens).max(0.0) / self.rate).unwrap_or(Duration::MAX)
    }
}

impl ClientBucket {
    /// A full one.
    pub(super) fn new(key: ClientQuotaKey, rate: f64, now: Duration) -> Self {
        // Kafka's defaults: what is done in bursts, as topics are created, is looked at over 11 samples of a second.
        let saves = match key {
            ClientQuotaKey::ControllerMutationRate => Duration::from_secs(11),
            ClientQuotaKey::ProducerByteRate
            | ClientQuotaKey::ConsumerByteRate
            | ClientQuotaKey::RequestPercentage => Duration::from_secs(1),
        };
        let level = Level { rate, tokens: rate * saves.as_secs_f64(), at: now };
        Self { saves, level: Mutex::new(level) }
    }

    fn with<T>(&self, now: Duration, look: impl FnOnce(&mut Level) -> T) -> T {
        let mut level = self.level.lock().expect("nobody panics while holding a bucket");
        level.refill(self.saves, now);
        look(&mut level)
    }

    /// So much a second from now on; what is owed stays owed.
    pub(super) fn set_rate(&self, rate: f64, now: Duration) {
        self.with(now, |level| level.rate = rate);
    }

    /// What may be used a second.
    pub(super) fn rate(&self, now: Duration) -> f64 {
        self.with(now, |level| level.rate)
    }

    /// So much was used.
    pub(super) fn charge(&self, amount: f64, now: Duration) {
        self.with(now, |level| level.tokens -= amount);
    }

    /// How long it takes until nothing is owed.
    pub(super) fn debt(&self, now: Duration) -> Duration {
        self.with(now, |level| level.debt())
    }

    /// Charges unless something is owed; the error says for how long.
    pub(super) fn charge_unless_owing(&self, amount: f64, now: Duration) -> Result<(), Duration> {
        self.with(now, |level| {
            let debt = level.debt();
            if !debt.is_zero() {
                return Err(debt);
            }
            level.tokens -= amount;
            Ok(())
        })
    }

    /// Whether it is as a new one would be.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.with(now, |level| level.tokens >= level.rate * self.saves.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(rate: f64) -> ClientBucket {
        ClientBucket::new(ClientQuotaKey::ProducerByteRate, rate, Duration::ZERO)
    }

    #[test]
    fn what_is_owed_is_paid_back_at_the_quotas_rate() {
        let bucket = bucket(100.0);
        bucket.charge(100.0, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), Duration::ZERO, "a second is saved up");
        bucket.charge(300.0, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 3);
        assert_eq!(bucket.debt(SECOND), SECOND * 2);
        assert_eq!(bucket.debt(SECOND * 3), Duration::ZERO);
    }

    #[test]
    fn no_more_than_a_second_is_saved_up() {
        let bucket = bucket(100.0);
        bucket.charge(200.0, SECOND * 60);
        assert_eq!(bucket.debt(SECOND * 60), SECOND);
    }

    #[test]
    fn another_rate_holds_at_once_and_forgives_nothing() {
        let bucket = bucket(100.0);
        bucket.charge(500.0, Duration::ZERO);
        bucket.set_rate(200.0, Duration::ZERO);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND * 2);
        bucket.set_rate(10.0, SECOND * 60);
        bucket.charge(20.0, SECOND * 60);
        assert_eq!(bucket.debt(SECOND * 60), SECOND, "no more is saved up than the new rate allows");
    }

    #[test]
    fn whoever_owes_is_refused_and_not_charged() {
        let bucket = ClientBucket::new(ClientQuotaKey::ControllerMutationRate, 1.0, Duration::ZERO);
        assert_eq!(bucket.charge_unless_owing(15.0, Duration::ZERO), Ok(()));
        assert_eq!(bucket.charge_unless_owing(1.0, Duration::ZERO), Err(SECOND * 4));
        assert_eq!(bucket.charge_unless_owing(1.0, SECOND * 4), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let bucket = bucket(100.0);
        bucket.charge(200.0, SECOND);
        assert_eq!(bucket.debt(Duration::ZERO), SECOND);
        assert_eq!(bucket.debt(SECOND), SECOND);
        assert!(!bucket.is_full(SECOND * 2) && bucket.is_full(SECOND * 3));
    }
}
