//! What the algorithm is compared with.

use std::collections::VecDeque;
use std::time::Duration;

use crate::world::{Played, Run, STEP};

/// The seconds of its rate that it holds.
const BURST: f64 = 0.48;

/// What one bucket, with all gateways' clients before it, admits of the same arrivals: it gains the quota's rate, keeps debt, and
/// lets pass whatever keeps the last second under 90 %. It knows everything at once.
pub(crate) fn ideal(run: &Run, played: &Played) -> Vec<(Duration, u64)> {
    let rate = run.rate as f64;
    let (mut balance, burst) = (rate * BURST, rate * BURST);
    let mut arrived: VecDeque<(Duration, u64)> = VecDeque::new();
    let mut to_come = played.arrived.iter().peekable();
    let (mut last_second, mut used) = (VecDeque::<(Duration, u64)>::new(), 0);
    let (mut admitted, mut now) = (Vec::new(), Duration::ZERO);
    while now < run.length {
        balance = (balance + rate * STEP.as_secs_f64()).min(burst);
        while last_second.front().is_some_and(|(at, _)| *at + Duration::from_secs(1) <= now) {
            used -= last_second.pop_front().map_or(0, |(_, amount)| amount);
        }
        while to_come.peek().is_some_and(|(at, _)| *at <= now) {
            arrived.extend(to_come.next());
        }
        while let Some((_, amount)) = arrived.front().copied()
            && (balance >= 0.0 || (used + amount) as f64 <= rate * 0.9)
        {
            arrived.pop_front();
            balance -= amount as f64;
            used += amount;
            last_second.push_back((now, amount));
            admitted.push((now, amount));
        }
        now += STEP;
    }
    admitted
}
