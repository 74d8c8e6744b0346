//! The response gate (`storage/PROTOCOL.md` §2.4): answers wait here until what they depend on is committed.
//!
//! Invariants: committed = the minimum over the ensemble, and never goes back; answers leave in the order they were held,
//! each only when its position is committed. With an ensemble of one the owner's own disk decides.

use std::collections::VecDeque;

use headgate_metadata::id::WalPosition;

/// The gate of one WAL.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    /// How far each member of the ensemble holds the WAL as durably as `wal.sync` demands; the owner is the first.
    members: Vec<WalPosition>,
    waiting: VecDeque<(WalPosition, T)>,
}

impl<T> Gate<T> {
    /// A gate for an ensemble of `members`, all of which hold the WAL up to `committed`.
    pub(crate) fn new(members: usize, committed: WalPosition) -> Self {
        Self { members: vec![committed; members], waiting: VecDeque::new() }
    }

    /// The first position that is not yet committed.
    pub(crate) fn committed(&self) -> WalPosition {
        self.members.iter().copied().min().unwrap_or_default()
    }

    /// Holds an answer until everything below `depends_on` is committed. Answers are held in the order of the log; one that
    /// depends on something older waits behind those before it, which keeps each connection's order.
    pub(crate) fn hold(&mut self, depends_on: WalPosition, answer: T) {
        self.waiting.push_back((depends_on, answer));
    }

    /// A member holds the WAL up to `position`.
    pub(crate) fn member_holds(&mut self, member: usize, position: WalPosition) {
        if let Some(held) = self.members.get_mut(member) {
            *held = position.max(*held);
        }
    }

    /// The next answer that may leave.
    pub(crate) fn release(&mut self) -> Option<T> {
        let (depends_on, _) = self.waiting.front()?;
        if *depends_on > self.committed() {
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
    use super::*;

    fn position(raw: u64) -> WalPosition {
        WalPosition::new(raw)
    }

    #[test]
    fn section_2_4_an_answer_leaves_only_when_every_member_holds_what_it_depends_on() {
        let mut gate = Gate::new(3, position(0));
        gate.hold(position(10), "answer");
        gate.member_holds(0, position(10));
        gate.member_holds(1, position(10));
        assert_eq!(gate.release(), None);
        gate.member_holds(2, position(10));
        assert_eq!(gate.release(), Some("answer"));
    }

    #[test]
    fn answers_leave_in_the_order_they_were_held() {
        let mut gate = Gate::new(1, position(5));
        gate.hold(position(10), 1);
        gate.hold(position(5), 2);
        assert_eq!(gate.release(), None, "the second depends on less and still waits for the first");
        gate.member_holds(0, position(10));
        assert_eq!((gate.release(), gate.release(), gate.release()), (Some(1), Some(2), None));
    }

    #[test]
    fn committed_never_goes_back() {
        let mut gate: Gate<()> = Gate::new(1, position(10));
        gate.member_holds(0, position(3));
        assert_eq!(gate.committed(), position(10));
    }
}
