//! The redb tables: entries (key → modified revision, value), which of them are leased, and counters.
//!
//! An entry's value is stored as 8 bytes of modified revision, little-endian, then the value itself.

use std::ops::Bound;

use bytes::Bytes;
use redb::{Database, ReadableTable, StorageError, TableDefinition};

use crate::id::Revision;
use crate::store::{Compare, Entry, Event, Select, Transaction, Write};

/// All entries by key.
pub(super) const ENTRIES: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("entries");
/// The keys that stand under a lease of the process that has the file open, with its number.
pub(super) const LEASED: TableDefinition<'static, &'static str, i64> = TableDefinition::new("leased");
/// The lease of what stays.
pub(super) const NO_LEASE: i64 = 0;
/// The store's own numbers.
pub(super) const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");

const REVISION: &str = "revision";
const REVISION_BYTES: usize = 8;

/// Makes the tables where they are missing, ends the leases of the process that had the file before, and reads the
/// current revision.
pub(super) fn create(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let revision = {
        let mut tables = Tables::open(&transaction)?;
        let mut revision = stored_revision(&tables.counters)?;
        let leased = tables.leased(|_| true)?;
        if !tables.apply(&leased, Revision::new(revision + 1), NO_LEASE)?.is_empty() {
            revision += 1;
            store_revision(&mut tables.counters, revision)?;
        }
        revision
    };
    transaction.commit()?;
    Ok(revision)
}

/// The tables, open for writing.
pub(super) struct Tables<'a> {
    pub(super) entries: redb::Table<'a, &'static str, &'static [u8]>,
    leased: redb::Table<'a, &'static str, i64>,
    pub(super) counters: redb::Table<'a, &'static str, u64>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a redb::WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            leased: transaction.open_table(LEASED)?,
            counters: transaction.open_table(COUNTERS)?,
        })
    }
}

pub(super) fn stored_revision(counters: &impl ReadableTable<&'static str, u64>) -> Result<u64, StorageError> {
    Ok(counters.get(REVISION)?.map_or(0, |revision| revision.value()))
}

pub(super) fn store_revision(
    counters: &mut redb::Table<'_, &'static str, u64>,
    to: u64,
) -> Result<(), StorageError> {
    counters.insert(REVISION, to).map(drop)
}

/// Runs one select.
pub(super) fn select(
    entries: &impl ReadableTable<&'static str, &'static [u8]>,
    select: &Select,
) -> Result<Vec<Entry>, StorageError> {
    match select {
        Select::Key(key) => Ok(load(entries, key)?.into_iter().collect()),
        Select::Prefix(prefix) => page(entries, prefix, Bound::Included(prefix), usize::MAX),
        Select::Page { prefix, after, limit } => {
            let first = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
            page(entries, prefix, first, *limit)
        }
    }
}

fn page(
    entries: &impl ReadableTable<&'static str, &'static [u8]>,
    prefix: &str,
    first: Bound<&String>,
    limit: usize,
) -> Result<Vec<Entry>, StorageError> {
    let mut found = Vec::new();
    for stored in entries.range::<&str>((first.map(String::as_str), Bound::Unbounded))? {
        let (key, value) = stored?;
        if found.len() == limit || !key.value().starts_with(prefix) {
            break;
        }
        found.push(decode(key.value(), value.value())?);
    }
    Ok(found)
}

fn load(
    entries: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Entry>, StorageError> {
    entries.get(key)?.map(|value| decode(key, value.value())).transpose()
}

fn decode(key: &str, stored: &[u8]) -> Result<Entry, StorageError> {
    let (modified, value) = stored
        .split_first_chunk::<REVISION_BYTES>()
        .ok_or_else(|| StorageError::Corrupted(format!("entry `{key}` is shorter than its revision")))?;
    let modified = Revision::new(u64::from_le_bytes(*modified));
    Ok(Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value), modified })
}

impl Tables<'_> {
    /// The deletions of all keys under leases that are `ended`.
    pub(super) fn leased(&self, ended: impl Fn(i64) -> bool) -> Result<Vec<Write>, StorageError> {
        let mut writes = Vec::new();
        for stored in self.leased.iter()? {
            let (key, lease) = stored?;
            if ended(lease.value()) {
                writes.push(Write::Delete(key.value().to_owned()));
            }
        }
        Ok(writes)
    }

    /// Whether all compares hold in what the write transaction sees.
    pub(super) fn holds(&self, transaction: &Transaction) -> Result<bool, StorageError> {
        let entries = &self.entries;
        for compare in &transaction.compares {
            let holds = match compare {
                Compare::Absent(key) => entries.get(key.as_str())?.is_none(),
                Compare::Present(key) => entries.get(key.as_str())?.is_some(),
                Compare::Unchanged(key, at) => load(entries, key)?.is_some_and(|entry| entry.modified == *at),
                Compare::Value(key, value) => load(entries, key)?.is_some_and(|entry| entry.value == *value),
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does the writes and says what changed: deleting an absent key is no change.
    pub(super) fn apply(
        &mut self,
        writes: &[Write],
        revision: Revision,
        lease: i64,
    ) -> Result<Vec<Event>, StorageError> {
        let mut events = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let mut stored = Vec::with_capacity(REVISION_BYTES + value.len());
                    stored.extend_from_slice(&revision.get().to_le_bytes());
                    stored.extend_from_slice(value);
                    self.entries.insert(key.as_str(), stored.as_slice())?;
                    match lease {
                        NO_LEASE => drop(self.leased.remove(key.as_str())?),
                        lease => drop(self.leased.insert(key.as_str(), lease)?),
                    }
                    events.push(Event { key: key.clone(), value: Some(value.clone()), revision });
                }
                Write::Delete(key) => {
                    self.leased.remove(key.as_str())?;
                    if self.entries.remove(key.as_str())?.is_some() {
                        events.push(Event { key: key.clone(), value: None, revision });
                    }
                }
            }
        }
        Ok(events)
    }
}
