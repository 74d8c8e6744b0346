//! The load signal of a node: its utilisation, inferred from how long requests wait for a worker.
//!
//! Why not a counter: CPU, IOPS and network each miss some workload, while every shortage shows up as waiting. Why not
//! the wait itself: near saturation it explodes, so a rule on it either sleeps or panics. Kingman's heavy-traffic
//! approximation of a G/G/1 queue (J. F. C. Kingman, "The single server queue in heavy traffic", 1961) links the two,
//!
//! ```text
//! E[W] ≈ ρ/(1−ρ) · (ca² + cs²)/2 · τ        ρ utilisation, τ mean service time,
//!                                           ca², cs² squared coefficients of variation of arrivals and services
//! ```
//!
//! and inverted it gives a number that is linear in load: `ρ = W / (W + (ca² + cs²)/2 · τ)`. The approximation holds
//! in heavy traffic only; below [`HEAVY_TRAFFIC_MIN`] the busy share of the workers is the signal, which is right there
//! because nothing else is scarce. This is what Confluent's Kora does (PVLDB 16(12), 2023).

use std::time::Duration;

/// Below this inferred utilisation the wait says nothing: a few unlucky requests look like load. The busy share counts.
pub const HEAVY_TRAFFIC_MIN: f64 = 0.5;

/// The least variability assumed. Perfectly regular traffic never waits, so a measured wait proves there is some; an
/// estimate near zero from a short sample would otherwise turn every microsecond of waiting into full load.
pub const VARIABILITY_MIN: f64 = 0.05;

/// A share of a node's capacity in use, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Utilisation(f64);

impl Utilisation {
    /// Wraps a share; `None` unless it is a number between 0 and 1.
    pub fn checked(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
    /// The share.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// What a node measured of its request queue since its last report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueMeasurement {
    /// Mean time from arrival to the moment a worker takes the request. Waiting for mirrors or for a slow client's
    /// socket is not part of it: more nodes would not shorten that.
    pub wait_mean: Duration,
    /// Mean time a worker spends on a request.
    pub service_mean: Duration,
    /// Squared coefficient of variation of the times between arrivals (1 for Poisson arrivals).
    pub arrival_variation_squared: f64,
    /// Squared coefficient of variation of the service times (1 for exponential ones).
    pub service_variation_squared: f64,
    /// Busy time of all workers over their wall time, between 0 and 1.
    pub busy_share: f64,
}

/// A measurement that cannot be one. The node's report is to be treated as missing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{quantity} is {value}, which no queue can show")]
pub struct InvalidMeasurement {
    /// Which figure.
    pub quantity: &'static str,
    /// What it said.
    pub value: f64,
}

/// Infers the utilisation of the node that measured `queue`.
///
/// The larger of the busy share and, in heavy traffic, the share inferred from waiting: a disk that hangs leaves the
/// workers idle on paper while requests pile up, and a node that is busy without queueing is busy all the same.
pub fn utilisation(queue: &QueueMeasurement) -> Result<Utilisation, InvalidMeasurement> {
    let busy = checked("busy share", queue.busy_share, 1.0)?;
    let arrivals = checked("arrival variation", queue.arrival_variation_squared, f64::MAX)?;
    let services = checked("service variation", queue.service_variation_squared, f64::MAX)?;
    let variability = f64::midpoint(arrivals, services).max(VARIABILITY_MIN);
    let inferred = invert(queue.wait_mean.as_secs_f64(), queue.service_mean.as_secs_f64(), variability);
    let share = if inferred < HEAVY_TRAFFIC_MIN { busy } else { busy.max(inferred) };
    Ok(Utilisation(share))
}

/// The mean wait that Kingman's approximation predicts at `utilisation`; `None` at 1, where the queue grows for ever.
///
/// `variability` is `(ca² + cs²)/2`.
pub fn kingman_wait(utilisation: Utilisation, service_mean: Duration, variability: f64) -> Option<Duration> {
    let share = utilisation.get();
    let factor = share / (1.0 - share) * variability.max(VARIABILITY_MIN);
    Duration::try_from_secs_f64(service_mean.as_secs_f64() * factor).ok()
}

fn invert(wait_seconds: f64, service_seconds: f64, variability: f64) -> f64 {
    if wait_seconds == 0.0 {
        return 0.0;
    }
    // With a service time of zero (requests wait and none is served) this is 1: the node is stuck, which is full.
    wait_seconds / (wait_seconds + variability * service_seconds)
}

fn checked(quantity: &'static str, value: f64, max: f64) -> Result<f64, InvalidMeasurement> {
    if (0.0..=max).contains(&value) { Ok(value) } else { Err(InvalidMeasurement { quantity, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(wait_ms: f64, busy_share: f64) -> QueueMeasurement {
        QueueMeasurement {
            wait_mean: Duration::from_secs_f64(wait_ms / 1000.0),
            service_mean: Duration::from_millis(1),
            arrival_variation_squared: 1.0,
            service_variation_squared: 1.0,
            busy_share,
        }
    }

    fn share(queue: &QueueMeasurement) -> f64 {
        utilisation(queue).expect("the measurement is possible").get()
    }

    /// A uniform number in (0, 1) from a fixed sequence (Knuth's MMIX generator), so that every run is the same run.
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Mean wait of a single-server queue by Lindley's recursion, at mean service time 1.
    fn mean_wait(load: f64, customers: u32, draw_service: impl Fn(f64) -> f64) -> f64 {
        let mut state = 42;
        let (mut wait, mut sum) = (0.0_f64, 0.0);
        for _ in 0..customers {
            let service = draw_service(uniform(&mut state));
            let gap = -uniform(&mut state).ln() / load;
            wait = (wait + service - gap).max(0.0);
            sum += wait;
        }
        sum / f64::from(customers)
    }

    #[test]
    fn in_heavy_traffic_the_share_follows_the_wait() {
        assert!((share(&queue(1.0, 0.2)) - 0.5).abs() < 1e-9);
        assert!((share(&queue(4.0, 0.2)) - 0.8).abs() < 1e-9);
        assert!((share(&queue(99.0, 0.2)) - 0.99).abs() < 1e-9);
    }

    #[test]
    fn at_low_load_the_busy_share_is_the_signal() {
        assert!((share(&queue(0.3, 0.17)) - 0.17).abs() < 1e-9);
        assert!((share(&queue(0.0, 0.0))).abs() < 1e-9);
    }

    #[test]
    fn a_node_that_is_busy_without_queueing_is_busy_all_the_same() {
        assert!((share(&queue(1.5, 0.9)) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn requests_that_wait_while_none_is_served_mean_full() {
        let stuck = QueueMeasurement { service_mean: Duration::ZERO, ..queue(50.0, 0.0) };
        assert!((share(&stuck) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn regular_traffic_does_not_turn_a_short_wait_into_full_load() {
        let regular = QueueMeasurement {
            arrival_variation_squared: 0.0,
            service_variation_squared: 0.0,
            ..queue(0.01, 0.1)
        };
        assert!((share(&regular) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_simulated_queue_is_read_back_within_three_points_in_heavy_traffic() {
        for load in [0.6, 0.7, 0.8, 0.9] {
            let exponential = mean_wait(load, 400_000, |u| -u.ln());
            let inferred = invert(exponential, 1.0, 1.0);
            assert!((inferred - load).abs() < 0.03, "exponential services at {load}: {inferred}");
            // Constant services: cs² = 0, so (1 + 0)/2.
            let constant = mean_wait(load, 400_000, |_| 1.0);
            let inferred = invert(constant, 1.0, 0.5);
            assert!((inferred - load).abs() < 0.03, "constant services at {load}: {inferred}");
        }
    }

    #[test]
    fn the_predicted_wait_reads_back_as_the_same_utilisation() {
        for share in [0.5, 0.75, 0.9, 0.99] {
            let wait =
                kingman_wait(Utilisation(share), Duration::from_millis(10), 1.5).expect("below saturation");
            assert!((invert(wait.as_secs_f64(), 0.01, 1.5) - share).abs() < 1e-4);
        }
        assert_eq!(kingman_wait(Utilisation(1.0), Duration::from_millis(10), 1.0), None);
    }

    #[test]
    fn a_figure_no_queue_can_show_is_refused_by_name() {
        for (bad, quantity) in [
            (QueueMeasurement { busy_share: f64::NAN, ..queue(1.0, 0.0) }, "busy share"),
            (QueueMeasurement { busy_share: 1.01, ..queue(1.0, 0.0) }, "busy share"),
            (QueueMeasurement { arrival_variation_squared: -0.1, ..queue(1.0, 0.5) }, "arrival variation"),
            (
                QueueMeasurement { service_variation_squared: f64::INFINITY, ..queue(1.0, 0.5) },
                "service variation",
            ),
        ] {
            assert_eq!(utilisation(&bad).expect_err("impossible").quantity, quantity);
        }
    }

    #[test]
    fn a_share_outside_zero_to_one_is_no_utilisation() {
        assert!(Utilisation::checked(-0.1).is_none());
        assert!(Utilisation::checked(1.1).is_none());
        assert!(Utilisation::checked(f64::NAN).is_none());
        assert!(Utilisation::checked(1.0).is_some());
    }
}
