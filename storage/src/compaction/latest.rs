//! Which offset holds the newest record of each key, in a stretch of a partition.

use std::collections::HashMap;

use headgate_metadata::id::Offset;
use headgate_storage_client::records::Records;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::decode::StoredBatch;

/// The most keys that are remembered at once, some 64 MiB. Higher: fewer passes over a partition with many keys. Lower: less memory.
const KEYS_MAX: usize = 1 << 20;

/// The newest offset of each key. Keys are known by their hash, as in Kafka's cleaner; the seed is drawn for each pass, so that
/// nobody can choose keys that collide.
#[derive(Debug)]
pub(crate) struct LatestOffsets {
    seed: u64,
    offsets: HashMap<u128, Offset>,
}

impl LatestOffsets {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, offsets: HashMap::new() }
    }

    /// Takes in the keys of a batch; batches come in offset order. One that does not decode has none: it is kept as it is. `false` = not
    /// all of them found room. Walked twice instead of gathered: a small batch may expand to millions of records.
    pub(crate) fn take(&mut self, batch: &StoredBatch) -> bool {
        let Ok(records) = batch.decompressed() else { return true };
        if !Records::new(&records).all(|record| record.is_ok_and(|record| batch.offset_of(&record).is_ok())) {
            return true;
        }
        for record in Records::new(&records).flatten() {
            if let (Some(key), Ok(offset)) = (record.key, batch.offset_of(&record)) {
                if self.is_full() && !self.offsets.contains_key(&self.hash(key)) {
                    return false;
                }
                self.offsets.insert(self.hash(key), offset);
            }
        }
        true
    }

    /// Whether a later record of the key is known.
    pub(crate) fn supersedes(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(&self.hash(key)).is_some_and(|latest| *latest > offset)
    }

    /// Whether no more should be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.offsets.len() >= KEYS_MAX
    }

    fn hash(&self, key: &[u8]) -> u128 {
        xxh3_128_with_seed(key, self.seed)
    }
}
