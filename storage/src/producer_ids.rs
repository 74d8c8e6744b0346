//! Producer ids, drawn from the metadata store in blocks (`storage/PROTOCOL.md` §10).

use std::ops::Range;

use headgate_metadata::counters;
use headgate_metadata::id::ProducerId;
use headgate_metadata::store::{MetadataError, SharedStore};
use tokio::sync::Mutex;

/// Ids per block. Higher: more ids unused after a restart. Lower: more transactions.
const BLOCK_IDS: u64 = 1000;
/// Blocks held ahead, so that ids can be had for a while without the metadata store.
const BLOCKS_AHEAD: u64 = 2;

/// The ids a node holds.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    store: SharedStore,
    held: Mutex<Vec<Range<u64>>>,
}

impl ProducerIds {
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, held: Mutex::new(Vec::new()) }
    }

    /// An id never handed out before. Asks the store once per block; fails only when no id is left and the store is away.
    pub(crate) async fn next(&self) -> Result<ProducerId, MetadataError> {
        let mut held = self.held.lock().await;
        let left: u64 = held.iter().map(|range| range.end - range.start).sum();
        if left <= BLOCK_IDS * (BLOCKS_AHEAD - 1) {
            match counters::producer_ids(&*self.store, BLOCK_IDS).await {
                Ok(block) => held.push(block.first.get()..block.first.get() + block.count),
                Err(error) if left == 0 => return Err(error),
                // There are ids left; the next call tries again.
                Err(_) => {}
            }
        }
        held.retain(|range| !range.is_empty());
        let Some(id) = held.first_mut().and_then(Iterator::next) else {
            return Err(MetadataError::Unavailable { reason: "no producer id is left".to_owned() });
        };
        Ok(ProducerId::new(id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use headgate_metadata::embedded::EmbeddedStore;

    use super::*;

    #[tokio::test]
    async fn ids_are_never_handed_out_twice_even_across_nodes() {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let nodes = [ProducerIds::new(Arc::clone(&store)), ProducerIds::new(store)];
        let mut seen = BTreeSet::new();
        for index in 0..2500 {
            let id = nodes[index % 2].next().await.expect("the store is there");
            assert!(seen.insert(id), "{id} came twice");
        }
    }
}
