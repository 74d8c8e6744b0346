//! The batches of one producer for one partition that are not settled yet, and the order they must be sent in.
//!
//! Invariants:
//! 1. Batches are sent in the order they were queued, first time and again.
//! 2. Nothing is sent while a batch *behind* it is still on its way: an idempotent broker would refuse both, and a
//!    broker without idempotence would reorder them.
//! 3. A batch keeps its sequence for ever; a retry is the same bytes (KIP-98).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::journal::SequenceRange;

/// A finished batch, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct PendingBatch {
    pub(crate) records: SequenceRange,
    pub(crate) bytes: Bytes,
    /// When each record was due, in order.
    pub(crate) due: Vec<Instant>,
    pub(crate) queued_at: Instant,
    /// Whether an earlier attempt was left without an answer, so that the broker may have accepted it.
    pub(crate) maybe_accepted: bool,
}

impl PendingBatch {
    /// What tells the batch from all others of its partition.
    pub(crate) fn id(&self) -> u64 {
        self.records.first_sequence
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
}

/// The unsettled batches of one partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionQueue {
    batches: VecDeque<(State, PendingBatch)>,
}

impl PartitionQueue {
    /// Adds a batch behind all others.
    pub(crate) fn push(&mut self, batch: PendingBatch) {
        self.batches.push_back((State::Waiting, batch));
    }

    /// Batches that are not settled.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// The next batch that may be sent now. It counts as on its way from here on.
    pub(crate) fn next_to_send(&mut self) -> Option<&PendingBatch> {
        let first_waiting = self.batches.iter().position(|(state, _)| *state == State::Waiting)?;
        let behind_in_flight =
            self.batches.iter().skip(first_waiting).any(|(state, _)| *state == State::InFlight);
        if behind_in_flight {
            return None;
        }
        let (state, batch) = self.batches.get_mut(first_waiting)?;
        *state = State::InFlight;
        Some(batch)
    }

    /// Removes a batch that was acknowledged or refused for good.
    pub(crate) fn settle(&mut self, id: u64) -> Option<PendingBatch> {
        let index = self.batches.iter().position(|(_, batch)| batch.id() == id)?;
        self.batches.remove(index).map(|(_, batch)| batch)
    }

    /// Marks a batch to be sent again; `maybe_accepted` when nobody knows whether the broker took it.
    pub(crate) fn retry(&mut self, id: u64, maybe_accepted: bool) {
        if let Some((state, batch)) = self.batches.iter_mut().find(|(_, batch)| batch.id() == id) {
            *state = State::Waiting;
            batch.maybe_accepted |= maybe_accepted;
        }
    }

    /// Whether every earlier batch is settled.
    pub(crate) fn is_first(&self, id: u64) -> bool {
        self.batches.front().is_some_and(|(_, batch)| batch.id() == id)
    }

    /// When the oldest unsettled batch was queued.
    pub(crate) fn oldest_queued_at(&self) -> Option<Instant> {
        self.batches.front().map(|(_, batch)| batch.queued_at)
    }

    /// Records that are not settled.
    pub(crate) fn unsettled_records(&self) -> u64 {
        self.batches.iter().map(|(_, batch)| batch.records.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::value::Series;

    fn queue_of(count: u64) -> PartitionQueue {
        let mut queue = PartitionQueue::default();
        for index in 0..count {
            let records = SequenceRange {
                series: Series { run: 1, producer: 0, partition: 0 },
                first_sequence: index * 10,
                count: 10,
            };
            queue.push(PendingBatch {
                records,
                bytes: Bytes::new(),
                due: Vec::new(),
                queued_at: clock::now(),
                maybe_accepted: false,
            });
        }
        queue
    }

    fn sent(queue: &mut PartitionQueue) -> Vec<u64> {
        std::iter::from_fn(|| queue.next_to_send().map(PendingBatch::id)).collect()
    }

    #[test]
    fn batches_are_sent_in_order_once() {
        let mut queue = queue_of(3);
        assert_eq!(sent(&mut queue), [0, 10, 20]);
        assert!(sent(&mut queue).is_empty());
    }

    #[test]
    fn a_retry_waits_until_nothing_behind_it_is_on_its_way() {
        let mut queue = queue_of(3);
        sent(&mut queue);
        queue.retry(0, false);
        assert!(sent(&mut queue).is_empty());
        queue.retry(10, false);
        assert!(sent(&mut queue).is_empty());
        queue.settle(20);
        assert_eq!(sent(&mut queue), [0, 10]);
    }

    #[test]
    fn new_batches_wait_behind_a_retry() {
        let mut queue = queue_of(2);
        sent(&mut queue);
        queue.retry(10, false);
        queue.push(queue_of(3).settle(20).expect("the third"));
        assert_eq!(sent(&mut queue), [10, 20]);
    }

    #[test]
    fn a_lost_connection_sends_everything_again_in_order() {
        let mut queue = queue_of(3);
        sent(&mut queue);
        for id in [20, 0, 10] {
            queue.retry(id, true);
        }
        assert_eq!(sent(&mut queue), [0, 10, 20]);
    }

    #[test]
    fn doubt_about_an_attempt_stays_with_the_batch() {
        let mut queue = queue_of(1);
        queue.retry(0, true);
        queue.retry(0, false);
        assert!(queue.settle(0).expect("there").maybe_accepted);
    }

    #[test]
    fn settling_is_by_batch_and_only_once() {
        let mut queue = queue_of(2);
        assert!(queue.is_first(0) && !queue.is_first(10));
        assert_eq!(queue.settle(0).expect("there").id(), 0);
        assert!(queue.settle(0).is_none());
        assert!(queue.is_first(10));
        assert_eq!((queue.len(), queue.unsettled_records()), (1, 10));
    }
}
