//! What the autoscaler sees: one observation = who is in the fleet, and what each of them last said about its load.

use std::collections::BTreeMap;

use headgate_metadata::id::{NodeId, TimestampMs};

use crate::load::Utilisation;

/// A node's last word about its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeLoad {
    measured_at: TimestampMs,
    utilisation: Utilisation,
    offered: f64,
}

impl NodeLoad {
    /// Wraps a report; `None` when `offered` is not a finite number of at least 0.
    ///
    /// `offered` is the work that arrived, in units of what this node can do: utilisation ends at 1, but a node that
    /// gets three times what it can do is offered 3. Where it is not measured, pass the utilisation.
    pub fn checked(measured_at: TimestampMs, utilisation: Utilisation, offered: f64) -> Option<Self> {
        let possible = offered.is_finite() && offered >= 0.0;
        possible.then_some(Self { measured_at, utilisation, offered })
    }
    /// The share of the node's capacity in use.
    pub const fn utilisation(&self) -> Utilisation {
        self.utilisation
    }
    /// The load to size the fleet by: what is used or, beyond saturation, what was asked for.
    pub fn demand(&self) -> f64 {
        self.utilisation.get().max(self.offered)
    }
}

/// The fleet at one moment: every node that is a member, with what is known of its load.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When the fleet was looked at.
    pub at: TimestampMs,
    /// Every member that serves or should; `None` where nothing was heard.
    pub nodes: BTreeMap<NodeId, Option<NodeLoad>>,
}

/// The node that decides: the one with the highest utilisation, the lower number among equals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hottest {
    /// Which node.
    pub node: NodeId,
    /// How much of it is in use.
    pub utilisation: Utilisation,
    /// What it is asked for, in units of its capacity (see [`NodeLoad::demand`]).
    pub demand: f64,
}

/// What an observation proves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// How many nodes are members.
    pub members: u32,
    /// How many of them were heard recently enough.
    pub fresh: u32,
    /// The hottest of those that were heard.
    pub hottest: Option<Hottest>,
}

impl Evidence {
    /// Whether every member was heard. Only then is it known that no node is hotter than the hottest.
    pub const fn is_complete(&self) -> bool {
        self.members > 0 && self.fresh == self.members
    }
    /// Whether at least `share` of the members were heard.
    pub fn covers(&self, share: f64) -> bool {
        self.hottest.is_some() && f64::from(self.fresh) >= share * f64::from(self.members)
    }
}

impl Observation {
    /// What this observation proves, when a report older than `signal_age_ms_max` counts as not heard.
    ///
    /// A report from further ahead than that is not heard either: a node whose clock runs away would be fresh for ever.
    pub fn evidence(&self, signal_age_ms_max: u64) -> Evidence {
        let mut evidence = Evidence { members: self.nodes.len() as u32, fresh: 0, hottest: None };
        for (&node, load) in &self.nodes {
            let Some(load) =
                load.filter(|load| self.at.get().abs_diff(load.measured_at.get()) <= signal_age_ms_max)
            else {
                continue;
            };
            evidence.fresh += 1;
            let hotter = evidence.hottest.is_none_or(|hottest| load.utilisation > hottest.utilisation);
            if hotter {
                evidence.hottest =
                    Some(Hottest { node, utilisation: load.utilisation, demand: load.demand() });
            }
        }
        evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(measured_at: u64, share: f64, offered: f64) -> Option<NodeLoad> {
        NodeLoad::checked(TimestampMs::new(measured_at), Utilisation::checked(share)?, offered)
    }

    fn observation(at: u64, loads: &[Option<NodeLoad>]) -> Observation {
        let nodes = loads.iter().enumerate().map(|(i, load)| (NodeId::new(i as u32), *load)).collect();
        Observation { at: TimestampMs::new(at), nodes }
    }

    #[test]
    fn the_hottest_node_decides_not_the_mean() {
        let seen = observation(10, &[load(10, 0.1, 0.1), load(10, 0.9, 0.9), load(10, 0.2, 0.2)]);
        let hottest = seen.evidence(5).hottest.expect("three nodes were heard");
        assert_eq!(hottest.node, NodeId::new(1));
        assert!((hottest.utilisation.get() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn a_silent_or_stale_node_is_not_heard() {
        let seen = observation(100, &[load(100, 0.1, 0.1), None, load(94, 0.9, 0.9)]);
        let evidence = seen.evidence(5);
        assert_eq!((evidence.members, evidence.fresh), (3, 1));
        assert!(!evidence.is_complete());
        assert_eq!(evidence.hottest.map(|hottest| hottest.node), Some(NodeId::new(0)));
    }

    #[test]
    fn a_report_from_the_far_future_is_not_heard() {
        assert_eq!(observation(100, &[load(1_000, 0.9, 0.9)]).evidence(5).fresh, 0);
        assert_eq!(observation(100, &[load(104, 0.9, 0.9)]).evidence(5).fresh, 1);
    }

    #[test]
    fn an_empty_fleet_proves_nothing() {
        let evidence = observation(10, &[]).evidence(5);
        assert!(!evidence.is_complete());
        assert!(!evidence.covers(0.0));
    }

    #[test]
    fn beyond_saturation_the_demand_is_what_was_asked_for() {
        assert!((load(0, 0.99, 3.0).expect("a load").demand() - 3.0).abs() < 1e-9);
        assert!((load(0, 0.99, 0.4).expect("a load").demand() - 0.99).abs() < 1e-9);
    }

    #[test]
    fn work_that_is_no_number_is_no_load() {
        let utilisation = Utilisation::checked(0.5).expect("a share");
        for offered in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(NodeLoad::checked(TimestampMs::new(0), utilisation, offered), None);
        }
    }
}
