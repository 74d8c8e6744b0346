//! The store itself: ordered maps, a counter, and what will happen by itself when its time comes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::history::History;
use crate::id::Revision;
use crate::store::{Compare, Entry, Event, Outcome, Select, Snapshot, Transaction, Write};

/// What stands in the store at one moment, to go back to.
#[derive(Debug, Clone, Default)]
pub struct Backup {
    entries: BTreeMap<String, Stored>,
    revision: u64,
    /// Times to live; where a clock runs is not part of a backup.
    leases: BTreeMap<i64, Duration>,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Bytes,
    modified: Revision,
    lease: i64,
}

/// The lease of what stays.
pub(super) const NO_LEASE: i64 = 0;

/// What happens by itself when its time comes.
#[derive(Debug)]
enum Due {
    /// A transaction whose client gave up arrives, with its puts under a lease.
    Commit(Transaction, i64),
    /// A lease runs out, unless it was renewed since.
    Expire(i64),
}

#[derive(Debug)]
pub(super) struct State {
    kept: Backup,
    pub(super) history: History,
    /// By time, and in the order of planning.
    due: BTreeMap<(Instant, u64), Due>,
    planned: u64,
    /// When each lease runs out.
    deadlines: BTreeMap<i64, Instant>,
    granted: i64,
    /// How often the store was restored; watches of an earlier life are broken.
    pub(super) life: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let (kept, history) = (Backup::default(), History::starting_at(0));
        let (due, deadlines) = (BTreeMap::new(), BTreeMap::new());
        Self { kept, history, due, planned: 0, deadlines, granted: NO_LEASE, life: 0 }
    }

    /// Lets happen what has come due by now; whether anything did.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let mut settled = false;
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            match first.remove() {
                // Refused when the lease has run out meanwhile.
                Due::Commit(transaction, lease) => drop(self.commit(&transaction, lease)),
                Due::Expire(lease) if self.deadlines.get(&lease).is_some_and(|at| *at <= now) => {
                    self.revoke(lease);
                }
                Due::Expire(_) => continue,
            }
            settled = true;
        }
        settled
    }

    /// When the next thing happens by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn send_late(&mut self, at: Instant, transaction: Transaction, lease: i64) {
        self.plan(at, Due::Commit(transaction, lease));
    }

    fn plan(&mut self, at: Instant, due: Due) {
        self.planned += 1;
        self.due.insert((at, self.planned), due);
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> i64 {
        self.granted += 1;
        self.kept.leases.insert(self.granted, ttl);
        self.renew(self.granted, now);
        self.granted
    }

    /// Whether there is such a lease.
    pub(super) fn renew(&mut self, lease: i64, now: Instant) -> bool {
        let Some(ttl) = self.kept.leases.get(&lease) else { return false };
        let deadline = now + *ttl;
        self.deadlines.insert(lease, deadline);
        self.plan(deadline, Due::Expire(lease));
        true
    }

    /// Ends a lease, with its keys.
    pub(super) fn revoke(&mut self, lease: i64) {
        self.kept.leases.remove(&lease);
        self.deadlines.remove(&lease);
        let of_lease = self.kept.entries.iter().filter(|(_, stored)| stored.lease == lease);
        let writes = of_lease.map(|(key, _)| Write::Delete(key.clone())).collect();
        self.commit(&Transaction { compares: Vec::new(), writes }, NO_LEASE);
    }

    pub(super) fn revision(&self) -> Revision {
        Revision::new(self.kept.revision)
    }

    pub(super) fn read(&self, selects: &[Select]) -> Snapshot {
        let results = selects.iter().map(|select| self.select(select)).collect();
        Snapshot { revision: self.revision(), results }
    }

    fn select(&self, select: &Select) -> Vec<Entry> {
        match select {
            Select::Key(key) => self.range(key, Bound::Included(key)).take_while(|e| e.key == *key).collect(),
            Select::Prefix(prefix) => self.range(prefix, Bound::Included(prefix)).collect(),
            Select::Page { prefix, after, limit } => {
                let first = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
                self.range(prefix, first).take(*limit).collect()
            }
        }
    }

    fn range<'a>(&'a self, prefix: &'a str, first: Bound<&'a String>) -> impl Iterator<Item = Entry> + 'a {
        self.kept
            .entries
            .range::<String, _>((first, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| Entry {
                key: key.clone(),
                value: stored.value.clone(),
                modified: stored.modified,
            })
    }

    /// Commits with the puts under a lease or [`NO_LEASE`]; `None` = there is no such lease.
    pub(super) fn commit(&mut self, transaction: &Transaction, lease: i64) -> Option<Outcome> {
        if lease != NO_LEASE && !self.kept.leases.contains_key(&lease) {
            return None;
        }
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return Some(Outcome::Refused(self.revision()));
        }
        let revision = Revision::new(self.kept.revision + 1);
        let events: Vec<Event> =
            transaction.writes.iter().filter_map(|write| self.apply(write, revision, lease)).collect();
        if !events.is_empty() {
            self.kept.revision += 1;
            self.history.push(events);
        }
        Some(Outcome::Committed(self.revision()))
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = |key: &String| self.kept.entries.get(key);
        match compare {
            Compare::Absent(key) => found(key).is_none(),
            Compare::Present(key) => found(key).is_some(),
            Compare::Unchanged(key, at) => found(key).is_some_and(|stored| stored.modified == *at),
            Compare::Value(key, value) => found(key).is_some_and(|stored| stored.value == *value),
        }
    }

    /// Deleting an absent key is no change.
    fn apply(&mut self, write: &Write, modified: Revision, lease: i64) -> Option<Event> {
        let entries = &mut self.kept.entries;
        let (key, value) = match write {
            Write::Put(key, value) => {
                entries.insert(key.clone(), Stored { value: value.clone(), modified, lease });
                (key, Some(value.clone()))
            }
            Write::Delete(key) => {
                entries.remove(key)?;
                (key, None)
            }
        };
        Some(Event { key: key.clone(), value, revision: modified })
    }

    pub(super) fn backup(&self) -> Backup {
        self.kept.clone()
    }

    /// Goes back in time. What is under way still arrives, and all leases live anew.
    pub(super) fn restore(&mut self, backup: Backup, now: Instant) {
        self.kept = backup;
        self.life += 1;
        self.deadlines.clear();
        for lease in self.kept.leases.keys().copied().collect::<Vec<_>>() {
            self.renew(lease, now);
        }
        self.compact();
    }

    /// Forgets all changes up to now.
    pub(super) fn compact(&mut self) {
        self.history = History::starting_at(self.kept.revision);
    }
}
