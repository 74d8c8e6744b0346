//! What the ensemble tells the sequencer: who counts, and how far each member holds the log (`storage/PROTOCOL.md` §3).

use headgate_metadata::id::WalPosition;
use tokio::sync::oneshot;

use super::{Sequencer, Worker};
use crate::fleet::Member;

/// A change at the gate.
#[derive(Debug)]
pub(super) enum Signal {
    Holds(Member, WalPosition),
    Admit(Member, WalPosition, oneshot::Sender<bool>),
    Dismiss(Member),
}

impl Sequencer {
    /// A member holds the log up to `position` as durably as `wal.sync` demands.
    pub(crate) fn member_holds(&self, member: Member, position: WalPosition) {
        self.signal(Signal::Holds(member, position));
    }

    /// Lets nothing be committed any more without this member. `false` = it lacks something that is committed already, or
    /// the sequencer has ended.
    pub(crate) async fn admit(&self, member: Member, held: WalPosition) -> bool {
        let (answer, admitted) = oneshot::channel();
        self.signal(Signal::Admit(member, held, answer));
        admitted.await.unwrap_or(false)
    }

    /// The member does not count any more. Only after the metadata store has said so.
    pub(crate) fn dismiss(&self, member: Member) {
        self.signal(Signal::Dismiss(member));
    }

    fn signal(&self, signal: Signal) {
        let mut inbox = self.inbox();
        inbox.signals.push(signal);
        self.wake(inbox);
    }
}

impl Worker {
    pub(super) fn take_in(&mut self, signal: Signal) {
        match signal {
            Signal::Holds(member, position) => self.gate.member_holds(member, position),
            Signal::Admit(member, held, answer) => {
                let admitted = self.gate.admit(member, held);
                let _ = answer.send(admitted);
            }
            Signal::Dismiss(member) => self.gate.dismiss(member),
        }
    }
}
