//! Turns due records into batches, one open batch at a time, partition after partition.
//!
//! Like Kafka's sticky partitioner: a batch is closed when it is full or has lingered, then the next partition's turn
//! comes. Memory is bounded by [`UNSETTLED_BYTES_MAX`]; at the bound nothing is taken from the schedule, and in an
//! open loop the records taken later keep the moment they were due.

use std::time::{Duration, Instant};

use super::ProducerSettings;
use crate::batch::BatchBuilder;
use crate::client::cluster::ProducerIdentity;
use crate::client::partition_queue::{PartitionQueue, PendingBatch};
use crate::clock;
use crate::journal::SequenceRange;
use crate::pacing::{Due, Schedule};
use crate::value::{Series, Value};

/// Bytes of unsettled batches of one producer, as Kafka's `buffer.memory`.
const UNSETTLED_BYTES_MAX: usize = 32 << 20;

/// Builds the batches of one producer.
pub(super) struct Accumulator {
    run: u64,
    producer: u32,
    record_bytes: usize,
    batch_bytes: usize,
    linger: Duration,
    identity: Option<ProducerIdentity>,
    next_sequences: Vec<u64>,
    next_partition: usize,
    open: Option<OpenBatch>,
    unsettled_bytes: usize,
    finished: bool,
}

struct OpenBatch {
    partition: usize,
    first_sequence: u64,
    builder: BatchBuilder,
    due: Vec<Instant>,
    opened_at: Instant,
}

impl Accumulator {
    pub(super) fn new(
        settings: &ProducerSettings,
        identity: Option<ProducerIdentity>,
        partitions: i32,
    ) -> Self {
        let partitions = usize::try_from(partitions).unwrap_or(0);
        Self {
            run: settings.run,
            producer: settings.producer,
            record_bytes: settings.record_bytes,
            batch_bytes: settings.batch_bytes,
            linger: settings.linger,
            identity,
            next_sequences: vec![0; partitions],
            // Producers begin at different partitions, so that a few producers do not crowd the first ones.
            next_partition: settings.producer as usize % partitions.max(1),
            open: None,
            unsettled_bytes: 0,
            finished: false,
        }
    }

    /// Takes what is due and queues finished batches. Returns when to come again; `None` means not before a batch is
    /// settled.
    pub(super) fn fill(
        &mut self,
        schedule: &mut Schedule,
        queues: &mut [PartitionQueue],
        in_flight_max: usize,
    ) -> Option<Instant> {
        while !self.finished {
            if self.unsettled_bytes + self.batch_bytes > UNSETTLED_BYTES_MAX {
                return None;
            }
            // As fast as possible means: one batch in hand behind those on their way, in every partition.
            if schedule.is_unpaced()
                && self.open.is_none()
                && !self.choose_partition_below(queues, in_flight_max + 1)
            {
                return None;
            }
            let now = clock::now();
            match schedule.next(now) {
                Due::Record(due) => self.push(due, now, queues),
                Due::At(due) => return Some(self.linger_or(due, now, queues)),
                Due::Finished => {
                    self.close(queues);
                    self.finished = true;
                }
            }
        }
        None
    }

    /// Whether the schedule is exhausted and every batch is queued.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Records in the batch that is still open.
    pub(super) fn open_records(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.due.len() as u64)
    }

    /// Frees the memory of a settled batch.
    pub(super) fn release(&mut self, batch: &PendingBatch) {
        self.unsettled_bytes = self.unsettled_bytes.saturating_sub(batch.bytes.len());
    }

    fn choose_partition_below(&mut self, queues: &[PartitionQueue], batches_max: usize) -> bool {
        let count = queues.len();
        let free = (0..count)
            .map(|step| (self.next_partition + step) % count)
            .find(|partition| queues[*partition].len() < batches_max);
        self.next_partition = free.unwrap_or(self.next_partition);
        free.is_some()
    }

    fn push(&mut self, due: Instant, now: Instant, queues: &mut [PartitionQueue]) {
        let partition = self.open.as_ref().map_or(self.next_partition, |open| open.partition);
        let sequence = self.next_sequences[partition];
        let open = self.open.get_or_insert_with(|| OpenBatch {
            partition,
            first_sequence: sequence,
            builder: BatchBuilder::with_capacity(self.batch_bytes),
            due: Vec::new(),
            opened_at: now,
        });
        let series = Series { run: self.run, producer: self.producer, partition: partition as i32 };
        let late = now.saturating_duration_since(due).as_micros() as i64;
        let sent_micros = clock::unix_micros() - late;
        open.builder.push(&Value { series, sequence, sent_micros }, self.record_bytes);
        open.due.push(due);
        self.next_sequences[partition] += 1;
        if open.builder.is_full(self.record_bytes, self.batch_bytes) {
            self.close(queues);
        }
    }

    /// Closes a batch that has lingered; else says when to come again.
    fn linger_or(&mut self, due: Instant, now: Instant, queues: &mut [PartitionQueue]) -> Instant {
        match self.open.as_ref().map(|open| open.opened_at + self.linger) {
            Some(lingered) if lingered <= now => {
                self.close(queues);
                due
            }
            Some(lingered) => due.min(lingered),
            None => due,
        }
    }

    fn close(&mut self, queues: &mut [PartitionQueue]) {
        let Some(OpenBatch { partition, first_sequence, builder, due, .. }) = self.open.take() else {
            return;
        };
        let count = due.len() as u64;
        let sequence =
            self.identity.map(|identity| (identity.id, identity.epoch, wire_sequence(first_sequence)));
        let bytes = builder.finish(sequence);
        self.unsettled_bytes += bytes.len();
        let series = Series { run: self.run, producer: self.producer, partition: partition as i32 };
        let records = SequenceRange { series, first_sequence, count };
        queues[partition].push(PendingBatch {
            records,
            bytes,
            due,
            queued_at: clock::now(),
            maybe_accepted: false,
        });
        self.next_partition = (partition + 1) % queues.len();
    }
}

/// Kafka's INT32 base sequence: it wraps from the largest number to 0, so it is the count modulo 2^31.
fn wire_sequence(sequence: u64) -> i32 {
    (sequence & 0x7fff_ffff) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacing::Load;

    fn settings(batch_bytes: usize) -> ProducerSettings {
        ProducerSettings {
            topic: "t".to_owned(),
            run: 1,
            producer: 0,
            record_bytes: 100,
            batch_bytes,
            linger: Duration::from_hours(1),
            idempotent: true,
            in_flight_max: 5,
            ignores_throttle: false,
            settle_time_max: Duration::from_secs(1),
        }
    }

    fn queues(count: usize) -> Vec<PartitionQueue> {
        (0..count).map(|_| PartitionQueue::default()).collect()
    }

    fn accumulator(batch_bytes: usize, partitions: i32) -> Accumulator {
        Accumulator::new(&settings(batch_bytes), Some(ProducerIdentity { id: 1, epoch: 0 }), partitions)
    }

    #[test]
    fn every_record_lands_in_one_batch_in_sequence() {
        let load = Load { producers: 1, records: Some(50), ..Load::default() };
        let mut schedule = load.schedule(0, clock::now());
        let mut queues = queues(3);
        let mut accumulator = accumulator(1000, 3);
        assert_eq!(accumulator.fill(&mut schedule, &mut queues, 5), None);
        assert!(accumulator.is_finished());
        let mut total = 0;
        for queue in &mut queues {
            let mut expected = 0;
            while let Some(batch) = queue.next_to_send().cloned() {
                assert_eq!(batch.records.first_sequence, expected);
                assert!(batch.bytes.len() <= 1000);
                expected += batch.records.count;
            }
            total += expected;
        }
        assert_eq!(total, 50);
    }

    #[test]
    fn unpaced_load_stops_one_batch_ahead_of_those_on_their_way() {
        let mut schedule = Load { producers: 1, ..Load::default() }.schedule(0, clock::now());
        let mut queues = queues(2);
        let mut accumulator = accumulator(1000, 2);
        assert_eq!(accumulator.fill(&mut schedule, &mut queues, 5), None);
        assert!(queues.iter().all(|queue| queue.len() == 6));
        assert!(!accumulator.is_finished());
    }

    #[test]
    fn memory_bounds_a_paced_load_until_batches_are_settled() {
        let start = clock::now();
        let load = Load { producers: 1, rate: Some(1e12), ..Load::default() };
        let long_ago = start.checked_sub(Duration::from_secs(1)).expect("the machine runs longer than that");
        let mut schedule = load.schedule(0, long_ago);
        let mut queues = queues(1);
        let mut accumulator = accumulator(8 << 20, 1);
        assert_eq!(accumulator.fill(&mut schedule, &mut queues, 5), None);
        assert_eq!(queues[0].len(), 4);
        let batch = queues[0].settle(0).expect("the first");
        accumulator.release(&batch);
        assert_eq!(accumulator.fill(&mut schedule, &mut queues, 5), None);
        assert_eq!(queues[0].len(), 4);
    }

    #[test]
    fn sequences_wrap_as_kafka_wraps_them() {
        assert_eq!(wire_sequence(i32::MAX as u64), i32::MAX);
        assert_eq!(wire_sequence(i32::MAX as u64 + 1), 0);
    }
}
