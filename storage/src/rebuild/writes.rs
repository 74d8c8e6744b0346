//! Writing a rebuild: what differs from what stands, key by key, each compared with what was read.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_metadata::id::Incarnation;
use headgate_metadata::id::WalPosition;
use headgate_metadata::keys;
use headgate_metadata::record::{
    ChainRecord, CounterRecord, FlushedRecord, Fragment, Record, RetiredRecord, WalRecord, WalState,
};
use headgate_metadata::store::{
    Compare, MetadataStore, Outcome, TRANSACTION_OPERATIONS_MAX, Transaction, Write,
};

use super::{Rebuild, RebuildError, empty_wal};

/// Returns how many keys were changed.
pub(super) async fn write(rebuild: &Rebuild, store: &dyn MetadataStore) -> Result<usize, RebuildError> {
    let wanted = wanted(rebuild);
    let mut changes: Vec<(String, Option<Bytes>)> = Vec::new();
    for (key, entry) in &rebuild.known.entries {
        match wanted.get(key) {
            // What is retired stays so, and its time with it.
            _ if key.starts_with(keys::RETIRED) => {}
            Some(value) if *value == entry.value => {}
            Some(value) => changes.push((key.clone(), Some(value.clone()))),
            None => changes.push((key.clone(), None)),
        }
    }
    let new = wanted.iter().filter(|(key, _)| !rebuild.known.entries.contains_key(*key));
    changes.extend(new.map(|(key, value)| (key.clone(), Some(value.clone()))));
    // The life last: as long as it is not there, no node goes on with what is written in part.
    changes.sort_by_key(|(key, _)| key == keys::CELL_LIFE);
    for some in changes.chunks(TRANSACTION_OPERATIONS_MAX) {
        let mut transaction = Transaction::new();
        for (key, value) in some {
            let compare = match rebuild.known.entries.get(key) {
                Some(entry) => Compare::Unchanged(key.clone(), entry.modified),
                None => Compare::Absent(key.clone()),
            };
            let write = match value {
                Some(value) => Write::Put(key.clone(), value.clone()),
                None => Write::Delete(key.clone()),
            };
            transaction = transaction.when(compare).then(write);
        }
        if let Outcome::Refused(_) = store.commit(transaction).await? {
            return Err(RebuildError::NotAlone);
        }
    }
    Ok(changes.len())
}

/// Every key that a rebuild decides, as it shall stand.
fn wanted(rebuild: &Rebuild) -> BTreeMap<String, Bytes> {
    let mut wanted = BTreeMap::new();
    for (wal, chain) in &rebuild.chains {
        let Some(log) = rebuild.logs.get(wal) else { continue };
        // Whoever looks for holders goes by their nodes: which start of them it is, only their records tell.
        let ensemble = log.holders.iter().map(|node| (*node, Incarnation::new(0))).collect();
        let record = WalRecord {
            wal: *wal,
            state: WalState::Sealed { end: log.end },
            fragments: vec![Fragment { start: log.end, ensemble }],
        };
        wanted.insert(keys::wal(*wal), record.encode());
        if log.flushed > WalPosition::new(0) {
            wanted.insert(keys::flushed(*wal), FlushedRecord { position: log.flushed }.encode());
        }
        for entry in chain {
            let record = ChainRecord { end: entry.end, object: entry.object.to_string() };
            wanted.insert(keys::chain(*wal, entry.start), record.encode());
        }
    }
    for wal in &rebuild.gone {
        wanted.insert(keys::retired(*wal), RetiredRecord { at: rebuild.now }.encode());
    }
    wanted.insert(keys::wal(rebuild.owner), empty_wal(rebuild.owner).encode());
    for (slot, record) in &rebuild.slots {
        wanted.insert(keys::slot(*slot), record.encode());
    }
    let counter = |next| CounterRecord { next }.encode();
    wanted.insert(keys::COUNTER_INCARNATION.to_owned(), counter(rebuild.incarnations));
    wanted.insert(keys::COUNTER_PRODUCER_ID.to_owned(), counter(rebuild.producer_ids));
    wanted.insert(keys::CELL_LIFE.to_owned(), rebuild.life.encode());
    wanted
}
