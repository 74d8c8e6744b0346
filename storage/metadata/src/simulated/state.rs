//! The store itself: ordered maps, a counter, and what will happen by itself when its time comes.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tokio::time::Instant;

use crate::history::History;
use crate::id::Revision;
use crate::store::{Compare, Entry, Event, Outcome, Select, Snapshot, Transaction, Write};

/// What stands in the store at one moment, to go back to.
#[derive(Debug, Clone, Default)]
pub struct Backup {
    entries: BTreeMap<String, (Bytes, Revision)>,
    revision: u64,
}

#[derive(Debug)]
pub(super) struct State {
    kept: Backup,
    pub(super) history: History,
    /// Transactions whose clients gave up and which arrive later, by the time of their arrival and the order of sending.
    under_way: BTreeMap<(Instant, u64), Transaction>,
    sent: u64,
    /// How often the store was restored; watches of an earlier life are broken.
    pub(super) life: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let (kept, history) = (Backup::default(), History::starting_at(0));
        Self { kept, history, under_way: BTreeMap::new(), sent: 0, life: 0 }
    }

    /// Lets arrive what has arrived by now; whether anything did.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let mut settled = false;
        while let Some(first) = self.under_way.first_entry().filter(|first| first.key().0 <= now) {
            let late = first.remove();
            self.commit(&late);
            settled = true;
        }
        settled
    }

    /// When the next thing happens by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn send_late(&mut self, at: Instant, transaction: Transaction) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), transaction);
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
            .map(|(key, (value, modified))| Entry {
                key: key.clone(),
                value: value.clone(),
                modified: *modified,
            })
    }

    pub(super) fn commit(&mut self, transaction: &Transaction) -> Outcome {
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return Outcome::Refused(self.revision());
        }
        let revision = Revision::new(self.kept.revision + 1);
        let events: Vec<Event> =
            transaction.writes.iter().filter_map(|write| self.apply(write, revision)).collect();
        if !events.is_empty() {
            self.kept.revision += 1;
            self.history.push(events);
        }
        Outcome::Committed(self.revision())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = |key: &String| self.kept.entries.get(key);
        match compare {
            Compare::Absent(key) => found(key).is_none(),
            Compare::Present(key) => found(key).is_some(),
            Compare::Unchanged(key, at) => found(key).is_some_and(|(_, modified)| modified == at),
            Compare::Value(key, value) => found(key).is_some_and(|(held, _)| held == value),
        }
    }

    /// Deleting an absent key is no change.
    fn apply(&mut self, write: &Write, revision: Revision) -> Option<Event> {
        let entries = &mut self.kept.entries;
        let (key, value) = match write {
            Write::Put(key, value) => {
                entries.insert(key.clone(), (value.clone(), revision));
                (key, Some(value.clone()))
            }
            Write::Delete(key) => {
                entries.remove(key)?;
                (key, None)
            }
        };
        Some(Event { key: key.clone(), value, revision })
    }

    pub(super) fn backup(&self) -> Backup {
        self.kept.clone()
    }

    /// Goes back in time. What is under way still arrives.
    pub(super) fn restore(&mut self, backup: Backup) {
        self.kept = backup;
        self.life += 1;
        self.compact();
    }

    /// Forgets all changes up to now.
    pub(super) fn compact(&mut self) {
        self.history = History::starting_at(self.kept.revision);
    }
}
