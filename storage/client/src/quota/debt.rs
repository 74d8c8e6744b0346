//! A token bucket that keeps debt: what is charged is charged, and whoever comes next waits until it is paid back.

use std::time::Duration;

/// A bucket of one rate. Time is counted from any fixed moment; it may not go back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DebtBucket {
    rate: f64,
    burst: f64,
    balance: f64,
    at: Duration,
}

impl DebtBucket {
    /// A full bucket that gains `rate` a second and holds at most `burst`.
    pub fn full(rate: f64, burst: f64, now: Duration) -> Self {
        Self { rate, burst, balance: burst, at: now }
    }

    /// Goes on with another rate and size from now on; debt stays.
    pub fn resize(&mut self, rate: f64, burst: f64, now: Duration) {
        self.advance(now);
        (self.rate, self.burst) = (rate, burst);
        self.balance = self.balance.min(burst);
    }

    /// What it gains a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Charges, whatever the balance.
    pub fn charge(&mut self, amount: f64, now: Duration) {
        self.advance(now);
        self.balance -= amount;
    }

    /// Gives back what was charged and not used.
    pub fn refund(&mut self, amount: f64, now: Duration) {
        self.advance(now);
        self.balance = (self.balance + amount).min(self.burst);
    }

    /// How long until the debt is paid; zero without debt.
    pub fn debt_time(&self, now: Duration) -> Duration {
        let owed = -self.balance_at(now);
        if owed <= 0.0 { Duration::ZERO } else { seconds(owed / self.rate) }
    }

    /// What may be charged without debt; negative in debt.
    pub fn balance_at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.balance + self.rate * passed).min(self.burst)
    }

    /// Whether it is as full as it gets, and so not worth keeping.
    pub fn is_full(&self, now: Duration) -> bool {
        self.balance_at(now) >= self.burst
    }

    fn advance(&mut self, now: Duration) {
        self.balance = self.balance_at(now);
        self.at = self.at.max(now);
    }
}

/// A time that a `Duration` can hold, whatever came out of a division.
pub(super) fn seconds(seconds: f64) -> Duration {
    const LONG: f64 = 1e6;
    Duration::from_secs_f64(seconds.clamp(0.0, LONG))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_charge_beyond_the_balance_is_paid_back_at_the_rate() {
        let mut bucket = DebtBucket::full(10.0, 5.0, at(0));
        bucket.charge(5.0, at(0));
        assert_eq!(bucket.debt_time(at(0)), Duration::ZERO);
        bucket.charge(20.0, at(0));
        assert_eq!(bucket.debt_time(at(500)), at(1500));
        assert_eq!(bucket.debt_time(at(2000)), Duration::ZERO);
    }

    #[test]
    fn what_is_saved_up_ends_at_the_burst() {
        let mut bucket = DebtBucket::full(10.0, 5.0, at(0));
        bucket.charge(1.0, at(60_000));
        assert!((bucket.balance_at(at(60_000)) - 4.0).abs() < 1e-9);
        assert!(bucket.is_full(at(60_100)));
    }

    #[test]
    fn a_smaller_bucket_forgets_the_surplus_but_no_debt() {
        let mut bucket = DebtBucket::full(10.0, 5.0, at(0));
        bucket.resize(1.0, 2.0, at(0));
        assert!((bucket.balance_at(at(0)) - 2.0).abs() < 1e-9);
        bucket.charge(4.0, at(0));
        bucket.resize(2.0, 2.0, at(0));
        assert_eq!(bucket.debt_time(at(0)), at(1000));
    }
}
