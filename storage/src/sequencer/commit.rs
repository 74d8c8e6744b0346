//! Committing: what was ordered and is committed becomes visible, then its answer leaves, in order.

use super::Worker;
use crate::operation::Held;
use crate::state_log::Progress;

impl Worker {
    /// Lets everything leave whose position is committed.
    pub(super) fn release(&mut self) {
        while let Some(held) = self.gate.release() {
            self.commit(held);
        }
        self.metrics.observe_tail(self.tail.bytes());
    }

    /// Readers see the change first, so that whoever gets the answer finds it. A receiver that is gone does not matter.
    pub(super) fn commit(&mut self, held: Held) {
        match held {
            Held::Append { partition, entry, tail, appended, reservation, answer } => {
                partition.log().commit(entry, Some(tail));
                self.tail.added(&partition, u64::from(entry.bytes));
                self.tail.evict();
                self.metrics.observe_append_acknowledged(u64::from(entry.bytes), u64::from(entry.count));
                drop(reservation);
                let _ = answer.send(Ok(appended));
            }
            Held::Judged { outcome, answer } => {
                let _ = answer.send(outcome);
            }
            Held::State(settled) => drop(settled.send(Progress::Committed)),
            Held::Trim { partition, trim, done } => {
                partition.log().drop_below(trim.to);
                let _ = done.send(());
            }
            Held::Barrier(done) => {
                // The end of a group, which the barrier's own place in it need not be.
                let _ = done.send(self.gate.committed());
            }
            Held::Done(done) => {
                let _ = done.send(());
            }
        }
    }
}
