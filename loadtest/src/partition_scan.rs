//! What one partition's log holds, folded from its batches in the order of their offsets.
//!
//! Pure: the caller fetches. Records that follow each other both in offset and in sequence are kept as one
//! [`Span`], so that ten million records need little memory.

use serde::Serialize;

use crate::batch::{BatchDefect, RecordBatch};
use crate::value::{Series, Value};

/// How many examples of one defect are kept for the report.
pub(crate) const SAMPLES_MAX: usize = 10;

/// Consecutive records of a series at consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) series: Series,
    pub(crate) first_sequence: u64,
    pub(crate) first_offset: i64,
    pub(crate) count: u64,
}

impl Span {
    /// The offset after the last record.
    pub(crate) fn end_offset(&self) -> i64 {
        self.first_offset.saturating_add(self.count as i64)
    }

    /// The sequence after the last record.
    pub(crate) fn end_sequence(&self) -> u64 {
        self.first_sequence.saturating_add(self.count)
    }
}

/// A kind of finding: how often, and the first few in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) samples: Vec<String>,
}

impl Tally {
    /// Counts `count` records under one sample.
    pub(crate) fn add(&mut self, count: u64, sample: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        self.count += count;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample());
        }
    }
}

/// One partition as it was read from its log start to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionScan {
    pub(crate) partition: i32,
    pub(crate) log_start: i64,
    pub(crate) next_offset: i64,
    pub(crate) spans: Vec<Span>,
    /// Σ(12 + batchLength) over data batches: what the bill calls bytes in.
    pub(crate) bytes_in: u64,
    pub(crate) batches: u64,
    pub(crate) control_batches: u64,
    pub(crate) records: u64,
    /// Records that no load tester wrote; they are not checked against journals.
    pub(crate) foreign_records: u64,
    /// Batches that are compressed, so their values are not looked at.
    pub(crate) opaque_batches: u64,
    /// Set when bytes were no batch: what follows them cannot be reached.
    pub(crate) unreadable: bool,
    pub(crate) bad_crc: Tally,
    pub(crate) malformed: Tally,
    pub(crate) gaps: Tally,
    /// Records whose value says that they were sent to another partition.
    pub(crate) misplaced: Tally,
}

impl PartitionScan {
    /// Starts at the partition's log start offset.
    pub(crate) fn starting_at(partition: i32, log_start: i64) -> Self {
        Self { partition, log_start, next_offset: log_start, ..Self::default() }
    }

    /// Retention moved the log start past the reader: what lies below is out of reach, not lost.
    pub(crate) fn trimmed_to(&mut self, log_start: i64) {
        self.log_start = self.log_start.max(log_start);
        self.next_offset = self.next_offset.max(log_start);
    }

    /// Adds the next batch. Batches wholly below the reader's position are ignored: a broker may answer with the
    /// batch that holds the offset asked for.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) {
        let partition = self.partition;
        let (base, next) = (batch.base_offset, batch.next_offset());
        if batch.last_offset_delta < 0 {
            self.malformed
                .add(1, || format!("partition={partition} offset={base}: negative last offset delta"));
            return;
        }
        if next <= self.next_offset {
            return;
        }
        self.observe_position(base);
        self.next_offset = next;
        self.batches += 1;
        if !batch.crc_is_right() {
            self.bad_crc.add(1, || format!("partition={partition} base offset={base}"));
        }
        if batch.is_control() {
            self.control_batches += 1;
            return;
        }
        self.bytes_in += batch.stored_bytes();
        self.records += u64::try_from(batch.record_count).unwrap_or(0);
        if batch.is_compressed() {
            self.opaque_batches += 1;
            return;
        }
        self.observe_records(batch);
    }

    /// Notes bytes that cannot be read as a batch; the partition's rest is out of reach.
    pub(crate) fn observe_defect(&mut self, defect: &BatchDefect) {
        self.unreadable = true;
        let (partition, offset) = (self.partition, self.next_offset);
        self.malformed.add(1, || format!("partition={partition} offset={offset}: {defect}"));
    }

    fn observe_position(&mut self, base: i64) {
        let (partition, expected) = (self.partition, self.next_offset);
        // The batch that holds the log start may begin below it.
        let starts_below_log = base < expected && expected == self.log_start;
        if base > expected {
            let missing = (base - expected) as u64;
            self.gaps.add(missing, || format!("partition={partition}: no offsets {expected}..{base}"));
        } else if base < expected && !starts_below_log {
            let again = (expected - base) as u64;
            self.gaps
                .add(again, || format!("partition={partition}: offsets {base}..{expected} in two batches"));
        }
    }

    fn observe_records(&mut self, batch: &RecordBatch) {
        let mut expected = batch.base_offset;
        let mut out_of_place = None;
        let walked = batch.for_each_record(|offset, bytes| {
            if offset != expected {
                out_of_place.get_or_insert((expected, offset));
            }
            expected = offset.saturating_add(1);
            self.observe_value(offset, Value::parse(bytes));
        });
        let (partition, base) = (self.partition, batch.base_offset);
        if let Err(defect) = walked {
            self.malformed.add(1, || format!("partition={partition} base offset={base}: {defect}"));
        } else if expected != batch.next_offset() {
            out_of_place.get_or_insert((expected, batch.next_offset()));
        }
        if let Some((expected, found)) = out_of_place {
            self.gaps.add(1, || {
                format!("partition={partition} batch at {base}: offset {found} where {expected} was due")
            });
        }
    }

    fn observe_value(&mut self, offset: i64, value: Option<Value>) {
        let partition = self.partition;
        let Some(Value { series, sequence, .. }) = value else {
            self.foreign_records += 1;
            return;
        };
        if series.partition != partition {
            self.misplaced.add(1, || {
                format!("{series} sequence={sequence} found in partition={partition} offset={offset}")
            });
        }
        if let Some(last) = self.spans.last_mut()
            && last.series == series
            && last.end_sequence() == sequence
            && last.end_offset() == offset
        {
            last.count += 1;
            return;
        }
        self.spans.push(Span { series, first_sequence: sequence, first_offset: offset, count: 1 });
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::batch::BatchBuilder;

    fn series(partition: i32) -> Series {
        Series { run: 9, producer: 1, partition }
    }

    fn batch_at(
        base_offset: i64,
        sequences: std::ops::Range<u64>,
        damage: impl FnOnce(&mut BytesMut),
    ) -> RecordBatch {
        let mut builder = BatchBuilder::with_capacity(1024);
        for sequence in sequences {
            builder.push(&Value { series: series(0), sequence, sent_micros: 0 }, 40);
        }
        let mut bytes = BytesMut::from(&builder.finish(None)[..]);
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        damage(&mut bytes);
        RecordBatch::split_first(&mut Bytes::from(bytes)).expect("framed").expect("whole")
    }

    fn good(base_offset: i64, sequences: std::ops::Range<u64>) -> RecordBatch {
        batch_at(base_offset, sequences, |_| ())
    }

    #[test]
    fn records_in_order_become_one_span_and_their_bytes_are_summed() {
        let mut scan = PartitionScan::starting_at(0, 0);
        let batches = [good(0, 0..5), good(5, 5..9)];
        for batch in &batches {
            scan.observe(batch);
        }
        assert_eq!(scan.spans, [Span { series: series(0), first_sequence: 0, first_offset: 0, count: 9 }]);
        assert_eq!(scan.bytes_in, batches.iter().map(RecordBatch::stored_bytes).sum::<u64>());
        assert_eq!((scan.batches, scan.records, scan.next_offset), (2, 9, 9));
        assert_eq!((scan.gaps.count, scan.bad_crc.count, scan.malformed.count), (0, 0, 0));
    }

    #[test]
    fn a_hole_and_an_overlap_between_batches_are_both_gaps() {
        let mut scan = PartitionScan::starting_at(0, 0);
        scan.observe(&good(0, 0..5));
        scan.observe(&good(7, 5..9));
        assert_eq!(scan.gaps.count, 2);
        scan.observe(&good(10, 9..12));
        assert_eq!(scan.gaps.count, 3);
        assert_eq!(scan.gaps.samples.len(), 2);
    }

    #[test]
    fn a_hole_inside_a_batch_is_a_gap() {
        let mut scan = PartitionScan::starting_at(0, 0);
        // The last offset delta claims one record more than there is.
        scan.observe(&batch_at(0, 0..5, |bytes| bytes[26] = 5));
        assert_eq!(scan.gaps.count, 1);
        assert_eq!(scan.next_offset, 6);
    }

    #[test]
    fn a_batch_that_begins_below_the_log_start_is_no_overlap() {
        let mut scan = PartitionScan::starting_at(0, 3);
        scan.observe(&good(0, 0..5));
        assert_eq!(scan.gaps.count, 0);
        assert_eq!(scan.next_offset, 5);
    }

    #[test]
    fn batches_below_the_position_are_ignored() {
        let mut scan = PartitionScan::starting_at(0, 0);
        scan.observe(&good(0, 0..5));
        scan.observe(&good(0, 0..5));
        assert_eq!((scan.batches, scan.gaps.count), (1, 0));
    }

    #[test]
    fn control_batches_take_offsets_but_are_not_billed() {
        let mut scan = PartitionScan::starting_at(0, 0);
        scan.observe(&batch_at(0, 0..1, |bytes| bytes[22] |= 0x20));
        assert_eq!((scan.control_batches, scan.bytes_in, scan.records, scan.next_offset), (1, 0, 0, 1));
    }

    #[test]
    fn bad_checksums_and_misplaced_records_are_found() {
        let mut scan = PartitionScan::starting_at(0, 0);
        scan.observe(&batch_at(0, 0..1, |bytes| *bytes.last_mut().expect("bytes") ^= 1));
        assert_eq!(scan.bad_crc.count, 1);
        let mut elsewhere = PartitionScan::starting_at(4, 0);
        elsewhere.observe(&good(0, 0..2));
        assert_eq!(elsewhere.misplaced.count, 2);
    }

    #[test]
    fn records_of_other_programs_and_compressed_batches_are_counted_apart() {
        let mut scan = PartitionScan::starting_at(0, 0);
        scan.observe(&batch_at(0, 0..1, |bytes| {
            let start = bytes.windows(4).position(|window| window == b"HGLT").expect("a value");
            bytes[start] = b'X';
        }));
        scan.observe(&batch_at(1, 0..2, |bytes| bytes[22] |= 4));
        assert_eq!((scan.foreign_records, scan.opaque_batches, scan.records), (1, 1, 3));
        assert!(scan.spans.is_empty());
    }
}
