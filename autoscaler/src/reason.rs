//! Why a decision is what it is: a closed list for programs, and its words for people.

use std::fmt;

use headgate_metadata::id::NodeId;

/// What stood behind a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The bounds of the policy were changed past the desired number; they hold whatever the signals say.
    Bounds {
        /// The number before.
        from: u32,
    },
    /// The hottest node is so close to saturation that the fleet jumps to the estimated need.
    Emergency {
        /// The node that decided.
        hottest: NodeId,
        /// Its utilisation.
        utilisation: f64,
        /// The estimated need, before bounds.
        need: u32,
    },
    /// The hottest node was above the target throughout the up window.
    Grow {
        /// The node that decided.
        hottest: NodeId,
        /// Its utilisation.
        utilisation: f64,
        /// The least need of the up window, before step limit and bounds.
        need: u32,
    },
    /// The same hour of last week needed more than is there.
    Forecast {
        /// What it needed, in nodes at today's target, before step limit and bounds.
        need: u32,
    },
    /// Fewer nodes sufficed throughout the down window.
    Shrink {
        /// The greatest need of the down window, before step limit and floor.
        need: u32,
    },
    /// The desired number is what the signals ask for.
    Steady {
        /// The node that decided.
        hottest: NodeId,
        /// Its utilisation.
        utilisation: f64,
    },
    /// The signals ask for more or less, or are not there to ask, and a rule says wait.
    Held(Hold),
}

/// Which rule says wait.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// Nothing was observed recently.
    NoSignals {
        /// How old the newest observation is; `None` when there never was one.
        age_ms: Option<u64>,
    },
    /// Too few members were heard to conclude anything.
    TooFewHeard {
        /// How many were heard.
        fresh: u32,
        /// Of how many.
        members: u32,
    },
    /// More nodes are needed, but not yet for the whole up window.
    UpWindow {
        /// What is needed now.
        need: u32,
    },
    /// More nodes are needed, but some were added a moment ago.
    UpCooldown {
        /// What is needed.
        need: u32,
        /// When the rule ends.
        remaining_ms: u64,
    },
    /// More nodes are needed than the policy allows.
    AtMaximum {
        /// What is needed.
        need: u32,
    },
    /// What is needed was asked for already; nodes are still joining.
    Joining {
        /// How many are members.
        members: u32,
    },
    /// Fewer nodes suffice now, but did not throughout the down window.
    DownWindow {
        /// What suffices now.
        need: u32,
        /// What was needed within the window.
        needed_before: u32,
    },
    /// Fewer nodes suffice, but the number changed a moment ago.
    DownCooldown {
        /// What suffices.
        need: u32,
        /// When the rule ends.
        remaining_ms: u64,
    },
    /// Fewer nodes seem to suffice, but not every member was heard throughout the window; a silent one may be the hot one.
    SomeSilent {
        /// What seems to suffice.
        need: u32,
        /// How many were heard at the worst moment.
        fresh: u32,
        /// Of how many.
        members: u32,
    },
    /// The observations do not reach back over the whole window.
    WindowTooShort {
        /// How far they reach.
        seen_ms: u64,
        /// How far the rule looks.
        window_seconds: u64,
    },
    /// Nobody looked for a while within the window.
    WindowGap {
        /// For how long.
        gap_ms: u64,
    },
    /// Fewer nodes suffice now, but the same hour of last week needed these.
    ForecastFloor {
        /// What suffices now.
        need: u32,
        /// What last week needed.
        floor: u32,
    },
    /// Fewer nodes would suffice than the policy allows.
    AtMinimum {
        /// What would suffice.
        need: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds { from } => write!(f, "the policy's bounds no longer admit {from}"),
            Self::Emergency { hottest, utilisation, need } => {
                write!(
                    f,
                    "emergency: node {hottest} is at {}, the estimated need is {need}",
                    percent(*utilisation)
                )
            }
            Self::Grow { hottest, utilisation, need } => {
                write!(
                    f,
                    "node {hottest} is at {}, above the target; the need is {need}",
                    percent(*utilisation)
                )
            }
            Self::Forecast { need } => write!(f, "the same hour of last week needed {need}"),
            Self::Shrink { need } => write!(f, "{need} sufficed throughout the down window"),
            Self::Steady { hottest, utilisation } => {
                write!(f, "node {hottest} is at {}, which the present number serves", percent(*utilisation))
            }
            Self::Held(hold) => hold.fmt(f),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignals { age_ms: None } => {
                f.write_str("no signals were ever seen; nothing is changed blindly")
            }
            Self::NoSignals { age_ms: Some(age) } => {
                write!(f, "the newest signals are {} old; nothing is changed blindly", seconds(*age))
            }
            Self::TooFewHeard { fresh, members } => {
                write!(f, "only {fresh} of {members} nodes were heard; nothing is changed blindly")
            }
            Self::UpWindow { need } => write!(f, "{need} are needed, but not yet throughout the up window"),
            Self::UpCooldown { need, remaining_ms } => {
                write!(
                    f,
                    "{need} are needed, but nodes were just added; waiting {} more",
                    seconds(*remaining_ms)
                )
            }
            Self::AtMaximum { need } => write!(f, "{need} are needed, but nodes_max is reached"),
            Self::Joining { members } => {
                write!(f, "enough nodes were asked for; {members} have joined so far")
            }
            Self::DownWindow { need, needed_before } => {
                write!(f, "{need} suffice now, but {needed_before} were needed within the down window")
            }
            Self::DownCooldown { need, remaining_ms } => {
                write!(
                    f,
                    "{need} suffice, but the number just changed; waiting {} more",
                    seconds(*remaining_ms)
                )
            }
            Self::SomeSilent { need, fresh, members } => write!(
                f,
                "{need} seem to suffice, but only {fresh} of {members} nodes were heard within the down window"
            ),
            Self::WindowTooShort { seen_ms, window_seconds } => {
                write!(
                    f,
                    "signals reach back {} of the {window_seconds} s the rule looks at",
                    seconds(*seen_ms)
                )
            }
            Self::WindowGap { gap_ms } => {
                write!(f, "signals were missing for {} within the window", seconds(*gap_ms))
            }
            Self::ForecastFloor { need, floor } => {
                write!(f, "{need} suffice now, but the same hour of last week needed {floor}")
            }
            Self::AtMinimum { need } => write!(f, "{need} would suffice, but nodes_min is reached"),
        }
    }
}

/// Nearest whole percent; a decimal would pretend to more than the signal knows.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences_a_person_can_act_on() {
        for (reason, words) in [
            (
                Reason::Emergency { hottest: NodeId::new(3), utilisation: 0.934, need: 9 },
                "emergency: node 3 is at 93 %, the estimated need is 9",
            ),
            (
                Reason::Held(Hold::NoSignals { age_ms: Some(61_200) }),
                "the newest signals are 62 s old; nothing is changed blindly",
            ),
            (
                Reason::Held(Hold::TooFewHeard { fresh: 1, members: 4 }),
                "only 1 of 4 nodes were heard; nothing is changed blindly",
            ),
            (
                Reason::Held(Hold::DownCooldown { need: 3, remaining_ms: 45_000 }),
                "3 suffice, but the number just changed; waiting 45 s more",
            ),
        ] {
            assert_eq!(reason.to_string(), words);
        }
    }
}
