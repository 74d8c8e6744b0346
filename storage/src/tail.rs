//! The tail: the newest batches of all partitions, still in the memory they were received in, within one budget.
//!
//! Belongs to the sequencer, which alone adds to it and evicts from it, oldest first; readers find the slices through their
//! partitions. Invariant: only appends move it, so a reader that catches up evicts nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::partition::Partition;

/// What a held batch costs beside its bytes: the two handles, the index entry, and the part of its frame (request header,
/// topic names) that the batch keeps alive, because a slice keeps the whole frame.
const BATCH_OVERHEAD_BYTES: u64 = 512;

/// The order in which batches leave memory.
#[derive(Debug)]
pub(crate) struct Tail {
    oldest_first: VecDeque<(Arc<Partition>, u64)>,
    bytes: u64,
    bytes_max: u64,
}

impl Tail {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { oldest_first: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A batch of `bytes` was added to the partition's tail.
    pub(crate) fn added(&mut self, partition: &Arc<Partition>, bytes: u64) {
        let cost = bytes + BATCH_OVERHEAD_BYTES;
        self.oldest_first.push_back((Arc::clone(partition), cost));
        self.bytes += cost;
    }

    /// Lets go of the oldest batches until the budget holds.
    pub(crate) fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((partition, cost)) = self.oldest_first.pop_front() else { return };
            partition.log().evict_oldest();
            self.bytes -= cost;
        }
    }
}
