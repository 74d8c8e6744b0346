//! From signals to a number of nodes: one pure function, the same in a live fleet and in the simulator.
//!
//! Rules, the first that applies decides:
//! 1. The policy's bounds hold always.
//! 2. Nothing changes without evidence: the newest observation must be fresh and cover enough members.
//! 3. Emergency: the hottest node is near saturation, the number jumps to the estimated need.
//! 4. Growth: the need exceeded the number throughout the up window, within step limit and cooldown.
//! 5. Forecast: last week's same hour needed more than the other rules give. It can only add.
//! 6. Shrinking: less sufficed throughout the down window, every member was heard throughout, cooldown over,
//!    in small steps, never below the forecast.
//!
//! The hottest node stands for the fleet, not the mean: a client whose partition is on it cannot use the others. A silent
//! node can only be hotter than those heard, so growth needs some members and shrinking needs all.

use std::cmp::Ordering;

use headgate_metadata::id::TimestampMs;

use crate::config::Policy;
use crate::reason::{Hold, Reason};
use crate::signal::{Evidence, Hottest, Observation};
use crate::state::ScalerState;
use crate::window::{Uncovered, Window};

/// Rounding noise of divisions by the target: 3 × 0.8 ÷ 0.6 is a little over 4 in floating point, and is 4.
const ROUNDING: f64 = 1e-6;

/// How many nodes there should be, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The number of nodes to ask for, within the policy's bounds.
    pub desired: u32,
    /// Why; its `Display` is a sentence.
    pub reason: Reason,
    /// The node that decided; `None` where nothing was heard.
    pub hottest: Option<Hottest>,
    /// What to pass as `state` next time, once `desired` has been asked for.
    pub state: ScalerState,
}

/// Decides how many nodes the fleet should have at `now`.
///
/// `state` is [`Decision::state`] of the last decision that was carried out, `policy` is valid (see
/// [`Policy::validate`]). Pure: the same arguments give the same decision. Cost: linear in the observations of the down
/// window.
pub fn decide(window: &Window, state: &ScalerState, policy: &Policy, now: TimestampMs) -> Decision {
    let inputs = Inputs { window, state, policy, now };
    let latest = window.latest(now);
    let evidence = latest.map(|observation| observation.evidence(policy.signal_age_ms_max()));
    let hottest = evidence.and_then(|evidence| evidence.hottest);

    let (desired, reason) = inputs.outcome(latest, evidence);
    Decision { desired, hottest, state: inputs.next_state(desired, &reason), reason }
}

struct Inputs<'a> {
    window: &'a Window,
    state: &'a ScalerState,
    policy: &'a Policy,
    now: TimestampMs,
}

impl Inputs<'_> {
    fn outcome(&self, latest: Option<&Observation>, evidence: Option<Evidence>) -> (u32, Reason) {
        let desired = self.state.desired;
        let bounded = self.within_bounds(desired);
        if bounded != desired {
            return (bounded, Reason::Bounds { from: desired });
        }
        let seen = match self.require_evidence(latest, evidence) {
            Ok(seen) => seen,
            Err(hold) => return (desired, Reason::Held(hold)),
        };
        if let Some(jump) = self.emergency(&seen) {
            return jump;
        }
        let floor = self.forecast_need();
        let reactive = self.react(&seen, floor);
        match floor.and_then(|floor| self.grow_by_forecast(floor)) {
            Some(foreseen) if foreseen.0 > reactive.0 => foreseen,
            _ => reactive,
        }
    }

    /// What the signals alone ask for, never below `floor`.
    fn react(&self, seen: &Seen, floor: Option<u32>) -> (u32, Reason) {
        let desired = self.state.desired;
        let need = self.need(seen);
        match need.cmp(&desired) {
            Ordering::Greater => self.grow(seen, need),
            Ordering::Less => self.shrink(need, floor),
            Ordering::Equal if seen.members < desired => {
                (desired, Reason::Held(Hold::Joining { members: seen.members }))
            }
            Ordering::Equal => {
                let (hottest, utilisation) = (seen.hottest.node, seen.hottest.utilisation.get());
                (desired, Reason::Steady { hottest, utilisation })
            }
        }
    }

    fn require_evidence(
        &self,
        latest: Option<&Observation>,
        evidence: Option<Evidence>,
    ) -> Result<Seen, Hold> {
        let age_ms = latest.map(|observation| self.now.get() - observation.at.get());
        let Some(evidence) =
            evidence.filter(|_| age_ms.is_some_and(|age| age <= self.policy.signal_age_ms_max()))
        else {
            return Err(Hold::NoSignals { age_ms });
        };
        let Evidence { members, fresh, .. } = evidence;
        let heard = evidence.hottest.filter(|_| evidence.covers(self.policy.signal_share_min));
        let hottest = heard.ok_or(Hold::TooFewHeard { fresh, members })?;
        Ok(Seen { members, hottest })
    }

    /// Jumps to what the hottest node's demand implies, past window, step limit and cooldown of growth.
    fn emergency(&self, seen: &Seen) -> Option<(u32, Reason)> {
        let utilisation = seen.hottest.utilisation.get();
        let since = self.state.emergency_at;
        let due = self.remaining_ms(since, self.policy.emergency_cooldown_seconds) == 0;
        if utilisation < self.policy.emergency_utilisation || !due {
            return None;
        }
        let need = self.nodes_for(f64::from(seen.members) * seen.hottest.demand);
        let desired = self.within_bounds(need);
        let grows = desired > self.state.desired;
        grows.then_some((desired, Reason::Emergency { hottest: seen.hottest.node, utilisation, need }))
    }

    fn grow(&self, seen: &Seen, need_now: u32) -> (u32, Reason) {
        let desired = self.state.desired;
        let held = |hold| (desired, Reason::Held(hold));
        if desired >= self.policy.nodes_max {
            return held(Hold::AtMaximum { need: need_now });
        }
        let need = match self.least_need_of_up_window() {
            Ok(need) => need,
            Err(hold) => return held(hold),
        };
        if need <= desired {
            return held(Hold::UpWindow { need: need_now });
        }
        let remaining_ms = self.remaining_ms(self.state.grown_at, self.policy.up_cooldown_seconds);
        if remaining_ms > 0 {
            return held(Hold::UpCooldown { need, remaining_ms });
        }
        let end = self.within_bounds(need.min(self.policy.step_up_end(desired)));
        let utilisation = seen.hottest.utilisation.get();
        (end, Reason::Grow { hottest: seen.hottest.node, utilisation, need })
    }

    fn grow_by_forecast(&self, need: u32) -> Option<(u32, Reason)> {
        let desired = self.state.desired;
        let end = self.within_bounds(need.min(self.policy.step_up_end(desired)));
        let due = self.remaining_ms(self.state.grown_at, self.policy.up_cooldown_seconds) == 0;
        (end > desired && due).then_some((end, Reason::Forecast { need }))
    }

    fn shrink(&self, need_now: u32, floor: Option<u32>) -> (u32, Reason) {
        let desired = self.state.desired;
        let held = |hold| (desired, Reason::Held(hold));
        if desired <= self.policy.nodes_min {
            return held(Hold::AtMinimum { need: need_now });
        }
        let need = match self.greatest_need_of_down_window(need_now) {
            Ok(need) => need,
            Err(hold) => return held(hold),
        };
        if need >= desired {
            return held(Hold::DownWindow { need: need_now, needed_before: need });
        }
        if let Some(floor) = floor.filter(|&floor| floor >= desired) {
            return held(Hold::ForecastFloor { need, floor });
        }
        let remaining_ms = self.remaining_ms(self.state.changed_at(), self.policy.down_cooldown_seconds);
        if remaining_ms > 0 {
            return held(Hold::DownCooldown { need, remaining_ms });
        }
        let lowest = need.max(floor.unwrap_or(0)).max(self.policy.step_down_end(desired));
        (self.within_bounds(lowest), Reason::Shrink { need })
    }

    /// The need that was there throughout the up window: a shorter one is noise.
    fn least_need_of_up_window(&self) -> Result<u32, Hold> {
        let mut least = u32::MAX;
        for observation in self.stretch(self.policy.up_window_seconds)? {
            let evidence = observation.evidence(self.policy.signal_age_ms_max());
            let Evidence { members, fresh, .. } = evidence;
            let heard = evidence.hottest.filter(|_| evidence.covers(self.policy.signal_share_min));
            let hottest = heard.ok_or(Hold::TooFewHeard { fresh, members })?;
            least = least.min(self.need(&Seen { members, hottest }));
        }
        Ok(least)
    }

    /// The largest need within the down window: removing more than that would have hurt a moment ago.
    fn greatest_need_of_down_window(&self, need_now: u32) -> Result<u32, Hold> {
        let mut greatest = 0;
        for observation in self.stretch(self.policy.down_window_seconds)? {
            let evidence = observation.evidence(self.policy.signal_age_ms_max());
            let Evidence { members, fresh, .. } = evidence;
            let complete = evidence.hottest.filter(|_| evidence.is_complete());
            let hottest = complete.ok_or(Hold::SomeSilent { need: need_now, fresh, members })?;
            greatest = greatest.max(self.need(&Seen { members, hottest }));
        }
        Ok(greatest)
    }

    fn stretch(&self, window_seconds: u64) -> Result<Vec<&Observation>, Hold> {
        let covered = self.window.covering(self.now, window_seconds, self.policy.signal_age_ms_max());
        covered.map_err(|uncovered| match uncovered {
            Uncovered::TooShort { seen_ms } => Hold::WindowTooShort { seen_ms, window_seconds },
            Uncovered::Gap { gap_ms } => Hold::WindowGap { gap_ms },
        })
    }

    /// Target tracking: the number at which the hottest node would be at the target; its members within tolerance.
    ///
    /// Members, not the desired number, are the base: the measured load is spread over those that are there, so nodes
    /// that are still joining are not counted twice.
    fn need(&self, seen: &Seen) -> u32 {
        let utilisation = seen.hottest.utilisation.get();
        let deviation = utilisation / self.policy.target_utilisation - 1.0;
        if deviation.abs() <= self.policy.tolerance_ratio + ROUNDING {
            return seen.members;
        }
        self.nodes_for(f64::from(seen.members) * utilisation)
    }

    fn forecast_need(&self) -> Option<u32> {
        if !self.policy.forecast {
            return None;
        }
        let demand = self.window.history().last_week(self.now, self.policy.forecast_lead_seconds)?;
        Some(self.nodes_for(demand))
    }

    /// The nodes that do `work` nodes' worth of work at the target; saturates instead of overflowing.
    fn nodes_for(&self, work: f64) -> u32 {
        (work / self.policy.target_utilisation - ROUNDING).ceil().max(1.0) as u32
    }

    fn within_bounds(&self, nodes: u32) -> u32 {
        nodes.clamp(self.policy.nodes_min, self.policy.nodes_max)
    }

    /// What is left of a cooldown; a clock that went back prolongs it.
    fn remaining_ms(&self, since: Option<TimestampMs>, cooldown_seconds: u64) -> u64 {
        let cooldown_ms = cooldown_seconds.saturating_mul(1_000);
        since.map_or(0, |since| cooldown_ms.saturating_sub(self.now.get().saturating_sub(since.get())))
    }

    fn next_state(&self, desired: u32, reason: &Reason) -> ScalerState {
        let mut next = ScalerState { desired, ..*self.state };
        if desired > self.state.desired {
            next.grown_at = Some(self.now);
        }
        if desired < self.state.desired {
            next.shrunk_at = Some(self.now);
        }
        if matches!(reason, Reason::Emergency { .. }) {
            next.emergency_at = Some(self.now);
        }
        next
    }
}

/// The part of an observation that counts as evidence.
struct Seen {
    members: u32,
    hottest: Hottest,
}

#[cfg(test)]
mod tests;
