//! What the published bounds say, as measurements of a played run.

use std::time::Duration;

use crate::world::{Played, Run, STEP};

/// The window of the published error bound.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Amounts per step of the clock.
pub(crate) fn per_step(run: &Run, admitted: impl Iterator<Item = (Duration, u64)>) -> Vec<u64> {
    let steps = (run.length.as_millis() / STEP.as_millis()) as usize;
    let mut amounts = vec![0; steps];
    for (at, amount) in admitted {
        let step = (at.as_millis() / STEP.as_millis()) as usize;
        amounts[step.min(steps - 1)] += amount;
    }
    amounts
}

/// The sum over every window of this length that begins from `from` and ends by `to`: (least, greatest).
pub(crate) fn windows(amounts: &[u64], length: Duration, from: Duration, to: Duration) -> (u64, u64) {
    let step = |at: Duration| ((at.as_millis() / STEP.as_millis()) as usize).min(amounts.len());
    let (from, to, length) = (step(from), step(to), step(length));
    let mut sum: u64 = amounts[from..from + length].iter().sum();
    let (mut least, mut greatest) = (sum, sum);
    for end in from + length..to {
        sum = sum + amounts[end] - amounts[end - length];
        (least, greatest) = (least.min(sum), greatest.max(sum));
    }
    (least, greatest)
}

/// How far the windows of ten seconds are from the quota, in hundredths of it; the one largest request that the bound allows
/// is taken off. (below, above)
pub(crate) fn deviation(run: &Run, amounts: &[u64], from: Duration, to: Duration) -> (f64, f64) {
    let (least, greatest) = windows(amounts, WINDOW, from, to);
    let entitled = run.rate as f64 * WINDOW.as_secs_f64();
    let request = run.request as f64;
    let below = (entitled - least as f64 - request).max(0.0) / entitled * 100.0;
    let above = (greatest as f64 - entitled - request).max(0.0) / entitled * 100.0;
    (below, above)
}

#[allow(dead_code, reason = "for the tests, which share this file")]
/// How far below the quota windows of ten seconds are in which something waited all the time, as [`deviation`] counts.
pub(crate) fn below_while_wanted(run: &Run, played: &Played, amounts: &[u64]) -> f64 {
    let arrived = per_step(run, played.arrived.iter().copied());
    let window = (WINDOW.as_millis() / STEP.as_millis()) as usize;
    let (mut waiting, mut wanted_since, mut worst) = (0, 0, 0.0_f64);
    for step in 0..amounts.len() {
        waiting += arrived[step];
        waiting -= amounts[step];
        if waiting == 0 {
            wanted_since = step + 1;
        } else if step + 1 >= wanted_since + window {
            let got: u64 = amounts[step + 1 - window..=step].iter().sum();
            let entitled = run.rate as f64 * WINDOW.as_secs_f64();
            worst = worst.max((entitled - got as f64 - run.request as f64) / entitled * 100.0);
        }
    }
    worst
}
