//! The recent changes, which watches read: bounded, so that a watch which sleeps too long is told instead of fed.
//!
//! Invariants: groups are one per revision, in order, without gaps; everything above `floor` is there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::Revision;
use crate::store::{Changes, Event};

/// Events kept at most. Higher: a slower watch survives, more memory.
const EVENTS_MAX: usize = 16_384;
/// Bytes of keys and values kept at most; it bounds memory where values are large.
const BYTES_MAX: usize = 16 << 20;
/// A watch gets at most about this many events at once, so that the lock is held shortly.
const BATCH_EVENTS: usize = 1_024;

/// The changes after the asked revision are no longer all there.
#[derive(Debug, thiserror::Error)]
#[error(
    "changes after revision {after} are forgotten up to {floor}; read a snapshot and watch from its revision"
)]
pub(crate) struct Forgotten {
    after: u64,
    floor: u64,
}

#[derive(Debug)]
pub(crate) struct History(Mutex<Recent>);

#[derive(Debug)]
struct Recent {
    /// The revision of the newest forgotten change.
    floor: u64,
    /// The newest revision.
    through: u64,
    groups: VecDeque<Vec<Event>>,
    events: usize,
    bytes: usize,
}

impl History {
    /// An empty history: nothing up to `revision` is known.
    pub(crate) fn starting_at(revision: u64) -> Self {
        let (groups, events, bytes) = (VecDeque::new(), 0, 0);
        Self(Mutex::new(Recent { floor: revision, through: revision, groups, events, bytes }))
    }

    /// Adds the changes of the next revision.
    pub(crate) fn push(&self, group: Vec<Event>) {
        let mut recent = self.lock();
        recent.through += 1;
        debug_assert!(
            group.iter().all(|event| event.revision.get() == recent.through),
            "revisions have no gaps"
        );
        recent.events += group.len();
        recent.bytes += bytes(&group);
        recent.groups.push_back(group);
        while recent.events > EVENTS_MAX || recent.bytes > BYTES_MAX {
            let Some(oldest) = recent.groups.pop_front() else { break };
            recent.events -= oldest.len();
            recent.bytes -= bytes(&oldest);
            recent.floor += 1;
        }
    }

    pub(crate) fn check_reaches(&self, after: u64) -> Result<(), Forgotten> {
        let floor = self.lock().floor;
        if after < floor { Err(Forgotten { after, floor }) } else { Ok(()) }
    }

    /// The changes of keys with this prefix after a revision; `None` when the revision is the newest.
    pub(crate) fn after(&self, prefix: &str, after: u64) -> Result<Option<Changes>, Forgotten> {
        let recent = self.lock();
        if after < recent.floor {
            return Err(Forgotten { after, floor: recent.floor });
        }
        if after >= recent.through {
            return Ok(None);
        }
        let mut events = Vec::new();
        let mut through = after;
        for group in recent.groups.range((after - recent.floor) as usize..) {
            events.extend(group.iter().filter(|event| event.key.starts_with(prefix)).cloned());
            through += 1;
            if events.len() >= BATCH_EVENTS {
                break;
            }
        }
        Ok(Some(Changes { events, through: Revision::new(through) }))
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // Nothing under the lock can panic half-way, so a poisoned one holds whole data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(group: &[Event]) -> usize {
    group.iter().map(|event| event.key.len() + event.value.as_ref().map_or(0, bytes::Bytes::len)).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn event(key: &str, revision: u64, size: usize) -> Event {
        Event {
            key: key.to_owned(),
            value: Some(Bytes::from(vec![0; size])),
            revision: Revision::new(revision),
        }
    }

    #[test]
    fn a_reader_gets_only_its_prefix_but_learns_how_far_it_has_come() {
        let history = History::starting_at(7);
        history.push(vec![event("a/1", 8, 1)]);
        history.push(vec![event("b/1", 9, 1)]);
        let changes = history.after("a/", 7).expect("nothing is forgotten").expect("there is news");
        assert_eq!(changes.events, vec![event("a/1", 8, 1)]);
        assert_eq!(changes.through, Revision::new(9));
        assert_eq!(history.after("a/", 9).expect("nothing is forgotten"), None);
    }

    #[test]
    fn a_reader_below_the_floor_is_told_that_it_fell_behind() {
        let history = History::starting_at(0);
        for revision in 1..=3 {
            history.push(vec![event("k", revision, BYTES_MAX / 2 - 1)]);
        }
        assert!(history.after("", 0).is_err());
        let kept = history.after("", 1).expect("the last two fit").expect("there is news");
        assert_eq!(kept.events.len(), 2);
    }

    #[test]
    fn a_long_list_of_changes_comes_in_batches_of_whole_revisions() {
        let history = History::starting_at(0);
        for revision in 1..=20 {
            history.push((0..100).map(|_| event("k", revision, 0)).collect());
        }
        let first = history.after("", 0).expect("kept").expect("news");
        assert_eq!((first.events.len(), first.through), (1_100, Revision::new(11)));
        let second = history.after("", 11).expect("kept").expect("news");
        assert_eq!((second.events.len(), second.through), (900, Revision::new(20)));
    }
}
