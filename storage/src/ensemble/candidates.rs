//! Which node mirrors next (`storage/PROTOCOL.md` §3.2): another zone first, then by rendezvous hash.

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_metadata::id::{NodeId, WalId};

use crate::chain::CellView;
use crate::fleet::Member;
use crate::rendezvous::rank;

/// How long a node that was replaced stays away while another can be had.
const GOOD_CONDUCT: Duration = Duration::from_mins(1);
/// How long it stays away in any case, so that a node that does not answer is not asked without a pause.
const BREATH: Duration = Duration::from_secs(1);

/// When nodes left the ensemble because they did not answer.
#[derive(Debug, Default)]
pub(super) struct Conduct(BTreeMap<NodeId, Duration>);

impl Conduct {
    pub(super) fn left(&mut self, node: NodeId, now: Duration) {
        self.0.insert(node, now);
    }

    fn stayed_away(&self, node: NodeId, now: Duration) -> Duration {
        self.0.get(&node).map_or(Duration::MAX, |left| now.saturating_sub(*left))
    }
}

/// The live node that shall mirror `wal`, whose owner's zone is `zone`, beside `members`. A node that has restarted since may come
/// again, as another member: the process that was one is gone.
pub(super) fn choose(
    cell: &CellView,
    wal: WalId,
    zone: &str,
    members: &[Member],
    conduct: &Conduct,
    now: Duration,
) -> Option<Member> {
    let is_gone = |(node, incarnation): &Member| {
        cell.nodes.get(node).is_some_and(|record| record.incarnation != *incarnation)
    };
    let taken: Vec<NodeId> =
        members.iter().filter(|member| !is_gone(member)).map(|(node, _)| *node).collect();
    let zone_of = |node: &NodeId| cell.nodes.get(node).map(|record| record.zone.as_str());
    let candidates = cell.nodes.values().filter(|record| {
        record.node != wal.node
            && !record.draining
            && !taken.contains(&record.node)
            && conduct.stayed_away(record.node, now) >= BREATH
    });
    let preference = |record: &&headgate_metadata::record::NodeRecord| {
        let is_new_zone =
            record.zone != zone && !taken.iter().any(|node| zone_of(node) == Some(record.zone.as_str()));
        let is_well = conduct.stayed_away(record.node, now) >= GOOD_CONDUCT;
        (is_well, is_new_zone, rank(&wal.to_string(), record.node))
    };
    candidates.max_by_key(preference).map(|record| (record.node, record.incarnation))
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::Incarnation;
    use headgate_metadata::record::NodeRecord;

    use super::*;

    const LIVE: Incarnation = Incarnation::new(9);

    fn cell(nodes: &[(u32, &str)]) -> CellView {
        let mut cell = CellView::default();
        for (node, zone) in nodes {
            let node = NodeId::new(*node);
            let record = NodeRecord {
                node,
                incarnation: LIVE,
                address: String::new(),
                zone: (*zone).into(),
                draining: false,
            };
            cell.nodes.insert(node, record);
        }
        cell
    }

    fn chosen(cell: &CellView, taken: &[u32], conduct: &Conduct, now: u64) -> Option<u32> {
        let members: Vec<Member> = taken.iter().map(|node| (NodeId::new(*node), LIVE)).collect();
        chosen_beside(cell, &members, conduct, now)
    }

    fn chosen_beside(cell: &CellView, members: &[Member], conduct: &Conduct, now: u64) -> Option<u32> {
        let wal = WalId { node: NodeId::new(1), incarnation: Incarnation::new(1) };
        choose(cell, wal, "a", members, conduct, Duration::from_secs(now)).map(|(node, _)| node.get())
    }

    /// With no third node, the WAL of an owner whose mirror has restarted would otherwise never have a second copy again.
    #[test]
    fn section_3_2_a_node_that_has_restarted_may_come_again_beside_the_member_it_was() {
        let cell = cell(&[(1, "a"), (2, "b")]);
        let earlier = (NodeId::new(2), Incarnation::new(8));
        assert_eq!(chosen_beside(&cell, &[earlier], &Conduct::default(), 0), Some(2));
        assert_eq!(chosen_beside(&cell, &[earlier, (NodeId::new(2), LIVE)], &Conduct::default(), 0), None);
    }

    #[test]
    fn section_3_2_mirrors_are_chosen_in_other_zones_first() {
        let cell = cell(&[(1, "a"), (2, "a"), (3, "b"), (4, "b")]);
        let first = chosen(&cell, &[], &Conduct::default(), 0).expect("there are nodes");
        assert!(first == 3 || first == 4);
        let second = chosen(&cell, &[first], &Conduct::default(), 0);
        assert!(second.is_some_and(|second| second != first && second != 1));
    }

    #[test]
    fn section_3_2_a_replaced_mirror_stays_away_for_a_minute_if_there_is_a_spare_and_a_breath_if_not() {
        let mut conduct = Conduct::default();
        conduct.left(NodeId::new(3), Duration::from_secs(10));
        let spare = cell(&[(1, "a"), (2, "a"), (3, "b")]);
        assert_eq!(chosen(&spare, &[], &conduct, 20), Some(2));
        assert_eq!(chosen(&spare, &[], &conduct, 70), Some(3));
        let none = cell(&[(1, "a"), (3, "b")]);
        assert_eq!(chosen(&none, &[], &conduct, 10), None);
        assert_eq!(chosen(&none, &[], &conduct, 11), Some(3));
    }
}
