//! When which group must be looked at again.
//!
//! One entry per group with something to wait for, and none for the rest: an idle group costs nothing. Entries are not
//! taken back when a deadline moves later (each heartbeat moves one); the group is looked at too early, once, and put back.

use std::collections::BTreeSet;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::coordinator::GroupKey;

/// The queue of all groups of a node.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: Mutex<BTreeSet<(Instant, GroupKey)>>,
    earlier: Notify,
}

impl Deadlines {
    /// Asks for the group to be looked at.
    pub(super) fn put(&self, at: Instant, group: GroupKey) {
        let mut queue = self.queue.lock().expect("no panic happens while this lock is held");
        let first = queue.first().map(|(first, _)| *first);
        queue.insert((at, group));
        drop(queue);
        if first.is_none_or(|first| at < first) {
            self.earlier.notify_one();
        }
    }

    /// Waits for the next group that is due. Cancel safe: an entry is taken only on return.
    pub(super) async fn next(&self) -> GroupKey {
        loop {
            let earlier = self.earlier.notified();
            let first = self.queue.lock().expect("no panic happens while this lock is held").first().cloned();
            match first {
                None => earlier.await,
                Some(entry) if entry.0 <= Instant::now() => {
                    self.queue.lock().expect("no panic happens while this lock is held").remove(&entry);
                    return entry.1;
                }
                Some((at, _)) => {
                    // Whichever comes first; both only lead back to the top of the loop.
                    drop(tokio::time::timeout_at(at, earlier).await);
                }
            }
        }
    }
}
