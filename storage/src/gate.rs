//! The response gate (`storage/PROTOCOL.md` §2.4): answers wait here until what they depend on is committed.
//!
//! Invariants: committed = the minimum over the ensemble, and never goes back; answers leave in the order they were held,
//! each only when its position is committed; with fewer members than copies are demanded, nothing more is committed. While
//! the ensemble changes the gate holds the members of both, the old and the new one (§3.1).

use std::collections::{BTreeMap, VecDeque};

use headgate_metadata::id::WalPosition;

use crate::fleet::Member;
use crate::planted::{Bug, is_planted};

/// The gate of one WAL.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    /// How far each member of the ensemble holds the WAL as durably as `wal.sync` demands.
    members: BTreeMap<Member, WalPosition>,
    copies_min: usize,
    committed: WalPosition,
    waiting: VecDeque<(WalPosition, T)>,
}

impl<T> Gate<T> {
    /// A gate for an ensemble of the owner alone, which holds the WAL up to `committed`.
    pub(crate) fn new(owner: Member, copies_min: usize, committed: WalPosition) -> Self {
        let members = BTreeMap::from([(owner, committed)]);
        Self { members, copies_min, committed, waiting: VecDeque::new() }
    }

    /// The first position that is not yet committed.
    pub(crate) fn committed(&self) -> WalPosition {
        self.committed
    }

    /// Holds an answer until everything below `depends_on` is committed. Answers are held in the order of the log; one that
    /// depends on something older waits behind those before it, which keeps each connection's order.
    pub(crate) fn hold(&mut self, depends_on: WalPosition, answer: T) {
        self.waiting.push_back((depends_on, answer));
    }

    /// A member holds the WAL up to `position`. Ignored from anybody else.
    pub(crate) fn member_holds(&mut self, member: Member, position: WalPosition) {
        if let Some(held) = self.members.get_mut(&member) {
            *held = position.max(*held);
            self.advance();
        }
    }

    /// From now on nothing is committed without this member. `false`, and nothing changed, if it does not hold all that is
    /// committed already.
    pub(crate) fn admit(&mut self, member: Member, held: WalPosition) -> bool {
        if held < self.committed && !is_planted(Bug::SwapBeforeCatchUp) {
            return false;
        }
        let known = self.members.entry(member).or_insert(held);
        *known = held.max(*known);
        self.advance();
        true
    }

    /// The member does not count any more.
    pub(crate) fn dismiss(&mut self, member: Member) {
        self.members.remove(&member);
        self.advance();
    }

    fn advance(&mut self) {
        if self.members.len() >= self.copies_min
            && let Some(held) = self.members.values().copied().min()
        {
            let ahead = self.members.values().copied().max().unwrap_or(held);
            let held = if is_planted(Bug::AcknowledgeBeforeMirror) { ahead } else { held };
            self.committed = held.max(self.committed);
        }
    }

    /// The next answer that may leave.
    pub(crate) fn release(&mut self) -> Option<T> {
        let (depends_on, _) = self.waiting.front()?;
        if *depends_on > self.committed {
            return None;
        }
        self.waiting.pop_front().map(|(_, answer)| answer)
    }

    /// Everything that still waits, when the WAL has come to its end.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{Incarnation, NodeId};

    use super::*;

    const OWNER: Member = member(1);

    const fn member(node: u32) -> Member {
        (NodeId::new(node), Incarnation::new(7))
    }

    fn position(raw: u64) -> WalPosition {
        WalPosition::new(raw)
    }

    fn of_three() -> Gate<&'static str> {
        let mut gate = Gate::new(OWNER, 2, position(0));
        assert!(gate.admit(member(2), position(0)) && gate.admit(member(3), position(0)));
        gate
    }

    #[test]
    fn section_2_4_an_answer_leaves_only_when_every_member_holds_what_it_depends_on() {
        let mut gate = of_three();
        gate.hold(position(10), "answer");
        gate.member_holds(OWNER, position(10));
        gate.member_holds(member(2), position(10));
        assert_eq!(gate.release(), None);
        gate.member_holds(member(3), position(10));
        assert_eq!(gate.release(), Some("answer"));
    }

    #[test]
    fn answers_leave_in_the_order_they_were_held() {
        let mut gate = Gate::new(OWNER, 1, position(5));
        gate.hold(position(10), 1);
        gate.hold(position(5), 2);
        assert_eq!(gate.release(), None, "the second depends on less and still waits for the first");
        gate.member_holds(OWNER, position(10));
        assert_eq!((gate.release(), gate.release(), gate.release()), (Some(1), Some(2), None));
    }

    #[test]
    fn committed_never_goes_back() {
        let mut gate: Gate<()> = Gate::new(OWNER, 1, position(10));
        gate.member_holds(OWNER, position(3));
        assert_eq!(gate.committed(), position(10));
        assert!(!gate.admit(member(2), position(9)), "a member that would take it back is not admitted");
    }

    #[test]
    fn section_3_1_during_a_change_both_ensembles_must_hold_what_is_committed() {
        let mut gate = of_three();
        assert!(gate.admit(member(4), position(0)));
        for old in [OWNER, member(2), member(3)] {
            gate.member_holds(old, position(10));
        }
        assert_eq!(gate.committed(), position(0));
        gate.member_holds(member(4), position(10));
        gate.dismiss(member(3));
        assert_eq!(gate.committed(), position(10));
    }

    #[test]
    fn section_1_with_fewer_than_two_copies_nothing_is_committed() {
        let mut gate: Gate<()> = Gate::new(OWNER, 2, position(0));
        gate.member_holds(OWNER, position(10));
        assert_eq!(gate.committed(), position(0));
        assert!(gate.admit(member(2), position(10)));
        assert_eq!(gate.committed(), position(10));
        gate.dismiss(member(2));
        gate.member_holds(OWNER, position(20));
        assert_eq!(gate.committed(), position(10));
    }

    #[test]
    fn a_figure_of_a_stranger_changes_nothing() {
        let mut gate = of_three();
        gate.member_holds((NodeId::new(2), Incarnation::new(8)), position(10));
        assert_eq!(gate.committed(), position(0));
    }
}
