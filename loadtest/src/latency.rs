//! Latencies in a high dynamic range histogram, microseconds inside, milliseconds in reports.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency told apart, one hour; longer ones count as this.
const LATENCY_MICROS_MAX: u64 = 3_600_000_000;

/// Collects latencies; three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LatencySummary {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds are constants that fit");
        Self { histogram }
    }
}

impl Latencies {
    /// Adds one latency.
    pub(crate) fn observe(&mut self, latency: Duration) {
        self.histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MICROS_MAX));
    }

    /// Adds all of another collection.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so adding cannot fail.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The percentiles so far.
    pub(crate) fn summary(&self) -> LatencySummary {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        LatencySummary {
            count: self.histogram.len(),
            mean_ms: self.histogram.mean() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.histogram.max() as f64 / 1000.0,
        }
    }
}

impl std::fmt::Display for LatencySummary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p999 {:.2} ms, max {:.2} ms ({} samples)",
            self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms, self.count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = Latencies::default();
        for millis in 1..=1000 {
            latencies.observe(Duration::from_millis(millis));
        }
        let mut both = Latencies::default();
        both.merge(&latencies);
        let summary = both.summary();
        assert_eq!(summary.count, 1000);
        for (found, expected) in [(summary.p50_ms, 500.0), (summary.p99_ms, 990.0), (summary.max_ms, 1000.0)]
        {
            assert!((found - expected).abs() <= expected * 0.002, "{found} {expected}");
        }
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.observe(Duration::from_secs(100_000));
        assert_eq!(latencies.summary().count, 1);
    }
}
