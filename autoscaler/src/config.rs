//! The autoscaler's settings: the policy that turns load into a number of nodes.
//!
//! Every setting has its unit in its name. [`Policy::validate`] refuses combinations that would hang or flap.

use serde::{Deserialize, Serialize};

/// How a fleet is sized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The fewest nodes, default 3 (one per zone). Higher: idle cost. Lower: less left when a node is lost.
    pub nodes_min: u32,
    /// The most nodes, default 12. Higher: a runaway load costs more. Lower: a real one is not served.
    pub nodes_max: u32,
    /// The share of the hottest node that is aimed at, default 0.6. Higher: cheaper, longer waits. Lower: the reverse.
    pub target_utilisation: f64,
    /// How far the hottest node may be from the target, relative to it, before anything happens; default 0.1 as in
    /// Kubernetes' HPA. Higher: calmer, further from the target. Lower: noise becomes changes.
    pub tolerance_ratio: f64,
    /// Nodes are added when the need was there this long, default 30 s. Higher: slower relief. Lower: more false starts.
    pub up_window_seconds: u64,
    /// Nodes are removed when they were not needed this long, default 300 s as in Kubernetes' HPA. Higher: idle nodes
    /// stay. Lower: a pause in the load is paid for with moves there and back.
    pub down_window_seconds: u64,
    /// The least time between two ordinary additions, default 60 s: about what a new node needs before it relieves the
    /// others. Higher: slower growth. Lower: the same need is answered twice.
    pub up_cooldown_seconds: u64,
    /// The least time from any change to a removal, default 300 s. Higher: idle nodes stay. Lower: slots move often.
    pub down_cooldown_seconds: u64,
    /// At most this many nodes are added at once, or [`Policy::up_step_ratio_max`] if that allows more; default 4.
    pub up_step_nodes_max: u32,
    /// At most this share of the desired nodes is added at once, default 1.0 (doubling).
    pub up_step_ratio_max: f64,
    /// At most this many nodes are removed at once, or [`Policy::down_step_ratio_max`] if that allows more; default 1.
    /// Higher: more slots move at the same time.
    pub down_step_nodes_max: u32,
    /// At most this share of the desired nodes is removed at once, default 0.1.
    pub down_step_ratio_max: f64,
    /// From this share of the hottest node on, the fleet jumps straight to the estimated need, past window, step limit
    /// and cooldown; default 0.85. Higher: closer to saturation before help comes. Lower: fewer changes are gradual.
    pub emergency_utilisation: f64,
    /// The least time between two jumps, default 120 s: the nodes of the first must be allowed to help. Higher: an
    /// estimate that was too low is corrected later. Lower: the same emergency is answered twice.
    pub emergency_cooldown_seconds: u64,
    /// A report older than this is not heard, default 45 s (three reports of 15 s). Higher: decisions on old news.
    /// Lower: one lost report makes the fleet blind.
    pub signal_age_seconds_max: u64,
    /// Nothing is added when less than this share of the members was heard, default 0.5. Higher: a few silent nodes
    /// stop growth. Lower: few nodes speak for all. Removal always needs every member.
    pub signal_share_min: f64,
    /// Whether the same hour of last week is a floor, default off. It only ever adds nodes.
    pub forecast: bool,
    /// How far the forecast looks ahead, default 600 s: the time a node needs to be useful. At most one hour.
    pub forecast_lead_seconds: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            nodes_min: 3,
            nodes_max: 12,
            target_utilisation: 0.6,
            tolerance_ratio: 0.1,
            up_window_seconds: 30,
            down_window_seconds: 300,
            up_cooldown_seconds: 60,
            down_cooldown_seconds: 300,
            up_step_nodes_max: 4,
            up_step_ratio_max: 1.0,
            down_step_nodes_max: 1,
            down_step_ratio_max: 0.1,
            emergency_utilisation: 0.85,
            emergency_cooldown_seconds: 120,
            signal_age_seconds_max: 45,
            signal_share_min: 0.5,
            forecast: false,
            forecast_lead_seconds: 600,
        }
    }
}

/// Why a policy is refused. Each says which setting to change.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A fleet of no nodes serves nobody and reports nothing, so it could never grow again.
    #[error("nodes_min must be at least 1")]
    NoNodes,
    /// The bounds leave nothing in between.
    #[error("nodes_min {min} is above nodes_max {max}")]
    Bounds {
        /// `nodes_min`.
        min: u32,
        /// `nodes_max`.
        max: u32,
    },
    /// A number outside the range in which it means something.
    #[error("{setting} is {value}, it must be {range}")]
    Range {
        /// Which setting.
        setting: &'static str,
        /// What it is.
        value: f64,
        /// What it may be, in words.
        range: &'static str,
    },
    /// The emergency begins inside the tolerance band, so every ordinary day would be one.
    #[error("emergency_utilisation {emergency} is not above the tolerance band, which ends at {band_end}")]
    EmergencyInBand {
        /// `emergency_utilisation`.
        emergency: f64,
        /// `target_utilisation × (1 + tolerance_ratio)`.
        band_end: f64,
    },
    /// Removal reacts faster than addition: the fleet would flap.
    #[error("down_window_seconds {down} is shorter than up_window_seconds {up}")]
    DownFasterThanUp {
        /// `down_window_seconds`.
        down: u64,
        /// `up_window_seconds`.
        up: u64,
    },
    /// Neither limit of a step allows a single node: the fleet could never change in that direction.
    #[error("{nodes} and the ratio beside it together allow no step at all")]
    NoStep {
        /// The setting of whole nodes.
        nodes: &'static str,
    },
}

/// The longest window or cooldown, in seconds: one day. Longer ones are a mistake of units.
const SECONDS_MAX: u64 = 86_400;

impl Policy {
    /// Refuses settings that mean nothing alone or hang together; the first defect found is returned.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        if self.nodes_min == 0 {
            return Err(InvalidPolicy::NoNodes);
        }
        if self.nodes_min > self.nodes_max {
            return Err(InvalidPolicy::Bounds { min: self.nodes_min, max: self.nodes_max });
        }
        self.check_shares()?;
        self.check_times()?;
        let band_end = self.target_utilisation * (1.0 + self.tolerance_ratio);
        if self.emergency_utilisation <= band_end {
            return Err(InvalidPolicy::EmergencyInBand { emergency: self.emergency_utilisation, band_end });
        }
        if self.up_step_nodes_max == 0 && self.up_step_ratio_max == 0.0 {
            return Err(InvalidPolicy::NoStep { nodes: "up_step_nodes_max" });
        }
        if self.down_step_nodes_max == 0 && self.down_step_ratio_max == 0.0 {
            return Err(InvalidPolicy::NoStep { nodes: "down_step_nodes_max" });
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), InvalidPolicy> {
        let inside = |setting, value: f64, min: f64, max: f64, range| {
            let fits = value >= min && value <= max;
            if fits { Ok(()) } else { Err(InvalidPolicy::Range { setting, value, range }) }
        };
        inside("target_utilisation", self.target_utilisation, 0.05, 0.95, "between 0.05 and 0.95")?;
        inside("tolerance_ratio", self.tolerance_ratio, 0.0, 0.5, "between 0 and 0.5")?;
        inside("emergency_utilisation", self.emergency_utilisation, 0.05, 1.0, "between 0.05 and 1")?;
        inside("signal_share_min", self.signal_share_min, 0.0, 1.0, "between 0 and 1")?;
        inside("up_step_ratio_max", self.up_step_ratio_max, 0.0, 100.0, "between 0 and 100")?;
        inside("down_step_ratio_max", self.down_step_ratio_max, 0.0, 1.0, "between 0 and 1")
    }

    fn check_times(&self) -> Result<(), InvalidPolicy> {
        let inside = |setting, seconds: u64, min: u64, max: u64, range| {
            let fits = (min..=max).contains(&seconds);
            if fits { Ok(()) } else { Err(InvalidPolicy::Range { setting, value: seconds as f64, range }) }
        };
        let day = "at most one day (86400)";
        inside("up_window_seconds", self.up_window_seconds, 0, SECONDS_MAX, day)?;
        inside("down_window_seconds", self.down_window_seconds, 0, SECONDS_MAX, day)?;
        inside("up_cooldown_seconds", self.up_cooldown_seconds, 0, SECONDS_MAX, day)?;
        inside("down_cooldown_seconds", self.down_cooldown_seconds, 0, SECONDS_MAX, day)?;
        inside("emergency_cooldown_seconds", self.emergency_cooldown_seconds, 0, SECONDS_MAX, day)?;
        inside("signal_age_seconds_max", self.signal_age_seconds_max, 1, 3_600, "between 1 and 3600")?;
        inside("forecast_lead_seconds", self.forecast_lead_seconds, 0, 3_600, "at most 3600")?;
        if self.down_window_seconds < self.up_window_seconds {
            let (down, up) = (self.down_window_seconds, self.up_window_seconds);
            return Err(InvalidPolicy::DownFasterThanUp { down, up });
        }
        Ok(())
    }

    /// The most nodes one ordinary addition may bring `desired` to.
    pub(crate) fn step_up_end(&self, desired: u32) -> u32 {
        let by_ratio = (f64::from(desired) * self.up_step_ratio_max).ceil() as u32;
        desired.saturating_add(self.up_step_nodes_max.max(by_ratio))
    }

    /// The fewest nodes one removal may bring `desired` to.
    pub(crate) fn step_down_end(&self, desired: u32) -> u32 {
        let by_ratio = (f64::from(desired) * self.down_step_ratio_max).floor() as u32;
        // A share that rounds to nothing still allows one node, else a small fleet could never shrink.
        desired.saturating_sub(self.down_step_nodes_max.max(by_ratio).max(1))
    }

    /// [`Policy::signal_age_seconds_max`] in the unit of timestamps.
    pub(crate) const fn signal_age_ms_max(&self) -> u64 {
        self.signal_age_seconds_max.saturating_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Policy)) -> InvalidPolicy {
        let mut policy = Policy::default();
        change(&mut policy);
        policy.validate().expect_err("the policy is not valid")
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Policy::default().validate(), Ok(()));
    }

    #[test]
    fn a_fleet_that_could_never_grow_again_is_refused() {
        assert_eq!(refused(|policy| policy.nodes_min = 0), InvalidPolicy::NoNodes);
    }

    #[test]
    fn bounds_that_leave_nothing_in_between_are_refused() {
        assert_eq!(refused(|policy| policy.nodes_max = 2), InvalidPolicy::Bounds { min: 3, max: 2 });
    }

    #[test]
    fn an_emergency_inside_the_tolerance_band_is_refused() {
        let refusal = refused(|policy| policy.emergency_utilisation = 0.65);
        assert!(matches!(refusal, InvalidPolicy::EmergencyInBand { .. }));
    }

    #[test]
    fn removal_faster_than_addition_is_refused() {
        let refusal = refused(|policy| policy.down_window_seconds = 10);
        assert_eq!(refusal, InvalidPolicy::DownFasterThanUp { down: 10, up: 30 });
    }

    #[test]
    fn a_direction_without_any_step_is_refused() {
        let refusal = refused(|policy| (policy.up_step_nodes_max, policy.up_step_ratio_max) = (0, 0.0));
        assert_eq!(refusal, InvalidPolicy::NoStep { nodes: "up_step_nodes_max" });
        let refusal = refused(|policy| (policy.down_step_nodes_max, policy.down_step_ratio_max) = (0, 0.0));
        assert_eq!(refusal, InvalidPolicy::NoStep { nodes: "down_step_nodes_max" });
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        for (change, setting) in [
            ((|policy| policy.target_utilisation = f64::NAN) as fn(&mut Policy), "target_utilisation"),
            (|policy| policy.target_utilisation = 1.2, "target_utilisation"),
            (|policy| policy.tolerance_ratio = -0.1, "tolerance_ratio"),
            (|policy| policy.signal_share_min = 1.5, "signal_share_min"),
            (|policy| policy.signal_age_seconds_max = 0, "signal_age_seconds_max"),
            (|policy| policy.down_window_seconds = 300_000, "down_window_seconds"),
            (|policy| policy.forecast_lead_seconds = 7_200, "forecast_lead_seconds"),
        ] {
            let refusal = refused(change);
            assert!(
                matches!(refusal, InvalidPolicy::Range { setting: named, .. } if named == setting),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_step_is_the_larger_of_nodes_and_ratio() {
        let policy = Policy::default();
        assert_eq!(policy.step_up_end(3), 7);
        assert_eq!(policy.step_up_end(10), 20);
        assert_eq!(policy.step_down_end(5), 4);
        assert_eq!(policy.step_down_end(30), 27);
    }
}
