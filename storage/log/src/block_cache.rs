//! A byte-weighted cache of object blocks and flush indexes, for cold reads.
//!
//! Blocks are aligned stretches of an object, so that readers of different runs share them. Concurrent misses of one
//! block share one request. A sequential reader's miss fetches several blocks with one request, which is all the
//! read-ahead there is: no task runs when nobody waits for it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

use crate::object::{FlushIndex, ObjectError, ObjectName, ObjectReader};
use crate::store::{Store, StoreError};

/// What an entry weighs beside its bytes: key, bookkeeping.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// What an operator may turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCacheConfig {
    /// The memory for blocks. Higher: fewer requests to the store; lower: less memory.
    pub blocks_bytes_max: u64,
    /// The memory for indexes.
    pub indexes_bytes_max: u64,
    /// The size of a block. Higher: fewer, larger requests; lower: less is read that nobody wants.
    pub block_bytes: u64,
    /// How many blocks a sequential reader's miss fetches with one request.
    pub read_ahead_blocks: u32,
}

impl Default for BlockCacheConfig {
    fn default() -> Self {
        Self {
            blocks_bytes_max: 256 << 20,
            indexes_bytes_max: 32 << 20,
            block_bytes: 1 << 20,
            read_ahead_blocks: 4,
        }
    }
}

/// What the reader will want next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPattern {
    /// The bytes that follow: a miss fetches several blocks at once.
    Sequential,
    /// Nobody knows.
    Random,
}

/// Blocks of objects by name. Names are never reused, so a cached block is always right. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlockCache {
    store: Store,
    config: BlockCacheConfig,
    blocks: Cache<(ObjectName, u64), Bytes>,
    indexes: Cache<ObjectName, Arc<FlushIndex>>,
}

impl BlockCache {
    /// An empty cache before `store`.
    pub fn new(store: Store, config: BlockCacheConfig) -> Self {
        let config = BlockCacheConfig { block_bytes: config.block_bytes.max(1), ..config };
        let blocks = Cache::builder()
            .weigher(|_: &(ObjectName, u64), block: &Bytes| (block.len() + ENTRY_OVERHEAD_BYTES) as u32)
            .max_capacity(config.blocks_bytes_max)
            .build();
        let indexes = Cache::builder()
            .weigher(|_: &ObjectName, index: &Arc<FlushIndex>| index_bytes(index))
            .max_capacity(config.indexes_bytes_max)
            .build();
        Self { store, config, blocks, indexes }
    }

    /// Bytes `range` of an object, as consecutive slices of cached blocks. `within` bounds the read-ahead (the run, or
    /// the whole object). Concurrent misses of a block share one request. Cancel safe.
    pub async fn read(
        &self,
        name: &ObjectName,
        range: Range<u64>,
        within: Range<u64>,
        pattern: ReadPattern,
    ) -> Result<Vec<Bytes>, ObjectError> {
        let mut slices = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let block_bytes = self.config.block_bytes;
            let number = at / block_bytes;
            let block =
                self.block(name, number, self.blocks_to_fetch(number, &range, &within, pattern)).await?;
            let block_start = number * block_bytes;
            let to = range.end.min(block_start + block_bytes);
            if block_start + (block.len() as u64) < to {
                return Err(self.short(name, &range, block_start + block.len() as u64).into());
            }
            slices.push(block.slice((at - block_start) as usize..(to - block_start) as usize));
            at = to;
        }
        Ok(slices)
    }

    /// The verified index of a flush object.
    pub async fn index(&self, name: &ObjectName) -> Result<Arc<FlushIndex>, ObjectError> {
        let reader = ObjectReader::new(self.store.clone(), name.clone());
        let load = async { reader.index().await.map(Arc::new) };
        self.indexes.try_get_with_by_ref(name, load).await.map_err(|error| ObjectError::clone(&error))
    }

    /// Puts an index that is known already, so that a freshly flushed object costs no request.
    pub async fn put_index(&self, name: &ObjectName, index: Arc<FlushIndex>) {
        self.indexes.insert(name.clone(), index).await;
    }

    /// The bytes of the cached blocks, about: bookkeeping lags behind.
    pub fn bytes(&self) -> u64 {
        self.blocks.weighted_size()
    }

    /// How many blocks a miss at `number` is to fetch.
    fn blocks_to_fetch(
        &self,
        number: u64,
        range: &Range<u64>,
        within: &Range<u64>,
        pattern: ReadPattern,
    ) -> u64 {
        let last_of = |end: u64| end.saturating_sub(1) / self.config.block_bytes;
        let ahead = u64::from(self.config.read_ahead_blocks.max(1)) - 1;
        match pattern {
            ReadPattern::Random => 1,
            ReadPattern::Sequential => (number + ahead).min(last_of(within.end.max(range.end))) - number + 1,
        }
    }

    async fn block(&self, name: &ObjectName, number: u64, count: u64) -> Result<Bytes, ObjectError> {
        let key = (name.clone(), number);
        let block = self.blocks.try_get_with_by_ref(&key, self.fetch(name, number, count)).await;
        block.map_err(|error: Arc<ObjectError>| ObjectError::clone(&error))
    }

    /// Fetches blocks with one request, caches those after the first, and returns the first.
    async fn fetch(&self, name: &ObjectName, first: u64, count: u64) -> Result<Bytes, ObjectError> {
        let block_bytes = self.config.block_bytes;
        let from = first * block_bytes;
        let fetched = self.store.get_range_at_most(name, from..from + count * block_bytes).await?;
        if fetched.len() as u64 <= block_bytes {
            return Ok(fetched);
        }
        // Copied apart: slices of one buffer would keep all of it alive as long as one of them is cached.
        let mut blocks = fetched.chunks(block_bytes as usize).map(Bytes::copy_from_slice);
        let wanted = blocks.next().unwrap_or_default();
        for (number, block) in (first + 1..).zip(blocks) {
            self.blocks.insert((name.clone(), number), block).await;
        }
        Ok(wanted)
    }

    fn short(&self, name: &ObjectName, range: &Range<u64>, end: u64) -> StoreError {
        StoreError::Short {
            name: name.to_string(),
            place: self.store.place().to_owned(),
            expected: range.end - range.start,
            found: end.saturating_sub(range.start),
        }
    }
}

/// What an index takes in memory, about.
fn index_bytes(index: &FlushIndex) -> u32 {
    let run = |run: &crate::object::FlushRun| {
        let producers: usize = run.producers.iter().map(|producer| 64 + 24 * producer.batches.len()).sum();
        size_of_val(run) + 24 * run.sparse.len() + producers + 40 * run.aborted.len()
    };
    let runs: usize = index.runs.iter().map(run).sum();
    let states = index.state_runs.len() * size_of::<crate::object::StateRun>();
    u32::try_from(ENTRY_OVERHEAD_BYTES + runs + states).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FaultyObjects, StoreCall};

    const OBJECT_BYTES: usize = 1000;

    fn content() -> Vec<u8> {
        (0..OBJECT_BYTES).map(|index| (index % 251) as u8).collect()
    }

    async fn cached(config: BlockCacheConfig) -> (FaultyObjects, BlockCache, ObjectName) {
        let objects = FaultyObjects::new();
        let store = objects.store();
        let name = ObjectName::parse("flush/x").expect("the name is plain");
        store.put(&name, vec![Bytes::from(content())]).await.expect("no fault is set");
        objects.clear_calls();
        (objects, BlockCache::new(store, config), name)
    }

    fn small() -> BlockCacheConfig {
        BlockCacheConfig { block_bytes: 100, ..BlockCacheConfig::default() }
    }

    #[tokio::test]
    async fn any_range_is_the_objects_bytes_and_is_requested_once() {
        let (objects, cache, name) = cached(small()).await;
        for (from, to) in [(0, 1000), (0, 1), (99, 101), (250, 777), (999, 1000), (5, 5)] {
            let slices =
                cache.read(&name, from..to, 0..1000, ReadPattern::Random).await.expect("no fault is set");
            assert_eq!(slices.concat(), content()[from as usize..to as usize], "{from}..{to}");
        }
        assert_eq!(objects.calls().len(), 10);
    }

    #[tokio::test]
    async fn a_sequential_reader_fetches_blocks_ahead_but_not_past_its_run() {
        let (objects, cache, name) = cached(small()).await;
        for at in 0..45 {
            let range = at * 10..at * 10 + 10;
            cache.read(&name, range, 0..450, ReadPattern::Sequential).await.expect("no fault is set");
        }
        assert_eq!(objects.calls().len(), 2, "blocks 0 to 3, then block 4");
    }

    #[tokio::test]
    async fn concurrent_misses_of_a_block_share_one_request() {
        let (objects, cache, name) = cached(small()).await;
        let read = || cache.read(&name, 10..20, 0..1000, ReadPattern::Random);
        let results = futures_util::future::join_all((0..16).map(|_| read())).await;
        assert!(results.into_iter().all(|result| result.is_ok()));
        assert_eq!(objects.calls(), [(StoreCall::Get, "flush/x".to_owned())]);
    }

    #[tokio::test]
    async fn a_failed_request_is_not_cached_and_a_range_past_the_end_is_an_error() {
        let (objects, cache, name) = cached(small()).await;
        objects.fail_next(StoreCall::Get, crate::store::Fault::Unavailable);
        let read = || cache.read(&name, 0..10, 0..1000, ReadPattern::Random);
        assert!(read().await.is_err());
        assert!(read().await.is_ok());
        let past = cache.read(&name, 990..1010, 0..1010, ReadPattern::Random).await;
        assert!(past.is_err());
    }

    #[tokio::test]
    async fn the_budget_bounds_the_cached_bytes() {
        let config = BlockCacheConfig { blocks_bytes_max: 1_000, ..small() };
        let (_, cache, name) = cached(config).await;
        for _ in 0..3 {
            cache.read(&name, 0..1000, 0..1000, ReadPattern::Random).await.expect("no fault is set");
        }
        cache.blocks.run_pending_tasks().await;
        assert!(cache.bytes() <= 1_000, "{} bytes", cache.bytes());
    }
}
