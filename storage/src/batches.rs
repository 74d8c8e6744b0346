//! Walking stored batches that come as consecutive slices of cached blocks.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use headgate_storage_client::BATCH_HEADER_BYTES;

use crate::decode::{StoredBatch, batch_size};

/// Consecutive slices, taken apart batch by batch. A batch inside one slice is not copied; one that crosses slices is.
#[derive(Debug)]
pub(crate) struct Batches {
    slices: VecDeque<Bytes>,
    left: usize,
}

impl Batches {
    pub(crate) fn new(slices: Vec<Bytes>) -> Self {
        let left = slices.iter().map(Bytes::len).sum();
        Self { slices: slices.into(), left }
    }

    /// Bytes not yet taken.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The size of the next batch, if its whole header is here.
    pub(crate) fn next_size(&mut self) -> Option<usize> {
        self.join_front(BATCH_HEADER_BYTES)?;
        batch_size(self.slices.front()?)
    }

    /// The next batch; `None` when it is not here whole.
    pub(crate) fn next_batch(&mut self) -> Option<StoredBatch> {
        let size = self.next_size()?;
        self.join_front(size)?;
        let front = self.slices.front_mut()?;
        let batch = StoredBatch::split_from(front)?;
        self.left -= size;
        Some(batch)
    }

    /// Makes the first slice at least `size` bytes long.
    fn join_front(&mut self, size: usize) -> Option<()> {
        if self.left < size {
            return None;
        }
        while self.slices.front().is_some_and(Bytes::is_empty) {
            self.slices.pop_front();
        }
        if self.slices.front()?.len() >= size {
            return Some(());
        }
        let mut joined = BytesMut::with_capacity(size);
        while joined.len() < size {
            let mut slice = self.slices.pop_front()?;
            let wanted = (size - joined.len()).min(slice.len());
            joined.extend_from_slice(&slice.split_to(wanted));
            if !slice.is_empty() {
                self.slices.push_front(slice);
            }
        }
        self.slices.push_front(joined.freeze());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u8, records: usize) -> Vec<u8> {
        let mut batch = vec![0; BATCH_HEADER_BYTES + records];
        batch[7] = first;
        batch[8..12].copy_from_slice(&((BATCH_HEADER_BYTES + records - 12) as u32).to_be_bytes());
        batch
    }

    #[test]
    fn batches_come_out_whole_however_the_bytes_are_cut() {
        let whole: Bytes = [batch(1, 10), batch(2, 100), batch(3, 0)].concat().into();
        for cut in 1..whole.len() {
            for second in [cut, (cut + 1).min(whole.len()), (cut + 90).min(whole.len())] {
                let slices = vec![whole.slice(..cut), whole.slice(cut..second), whole.slice(second..)];
                let mut batches = Batches::new(slices);
                let found: Vec<u64> = std::iter::from_fn(|| batches.next_batch())
                    .map(|batch| batch.base_offset().get())
                    .collect();
                assert_eq!(found, [1, 2, 3], "cut at {cut} and {second}");
                assert_eq!(batches.left(), 0);
            }
        }
    }

    #[test]
    fn a_batch_that_is_not_here_whole_is_left_and_its_size_is_known() {
        let whole: Bytes = batch(1, 100).into();
        let mut batches = Batches::new(vec![whole.slice(..80)]);
        assert!(batches.next_batch().is_none());
        assert_eq!(batches.next_size(), Some(161));
        assert_eq!(batches.left(), 80);
    }
}
