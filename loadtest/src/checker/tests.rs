use super::*;
use crate::journal::SequenceRange;

/// A history that is right, for a test to break: one producer, one partition, batches of ten records.
struct History {
    journal: Journal,
    log: PartitionScan,
}

fn series(producer: u32) -> Series {
    Series { run: 1, producer, partition: 0 }
}

fn range(producer: u32, first_sequence: u64, count: u64) -> SequenceRange {
    SequenceRange { series: series(producer), first_sequence, count }
}

impl History {
    fn empty() -> Self {
        Self { journal: Journal::default(), log: PartitionScan::starting_at(0, 0) }
    }

    fn of_batches(count: u64) -> Self {
        let mut history = Self::empty();
        for batch in 0..count {
            history = history.acknowledged(0, batch * 10, 10, batch as i64 * 10).stored(0, batch * 10, 10);
        }
        history
    }

    fn acknowledged(mut self, producer: u32, first: u64, count: u64, offset: i64) -> Self {
        let records = range(producer, first, count);
        self.journal.acknowledged.push(Acknowledgement { records, base_offset: Some(offset) });
        self
    }

    fn stored(mut self, producer: u32, first_sequence: u64, count: u64) -> Self {
        let first_offset = self.log.next_offset;
        self.log.spans.push(Span { series: series(producer), first_sequence, first_offset, count });
        self.log.next_offset += count as i64;
        self
    }

    fn skipping_offsets(mut self, count: i64) -> Self {
        self.log.next_offset += count;
        self
    }

    fn verdict(&self) -> Verdict {
        check(&self.journal, std::slice::from_ref(&self.log))
    }
}

/// The counts in the order of [`Findings::kinds`], the first five.
fn counts(findings: &Findings) -> [u64; 5] {
    [
        findings.lost.count,
        findings.duplicated.count,
        findings.reordered.count,
        findings.inconsistent_offsets.count,
        findings.refused_but_readable.count,
    ]
}

#[test]
fn a_right_history_has_no_findings() {
    let verdict = History::of_batches(5).verdict();
    assert!(verdict.findings.is_clean(), "{verdict:?}");
    assert_eq!(verdict.coverage.acknowledged, 50);
    assert_eq!(verdict.coverage.readable, 50);
}

#[test]
fn interleaved_producers_are_right() {
    let history = History::empty()
        .acknowledged(0, 0, 10, 0)
        .stored(0, 0, 10)
        .acknowledged(1, 0, 5, 10)
        .stored(1, 0, 5)
        .acknowledged(0, 10, 10, 15)
        .stored(0, 10, 10);
    assert!(history.verdict().findings.is_clean());
}

#[test]
fn an_acknowledged_batch_missing_at_the_end_is_lost() {
    let verdict = History::of_batches(3).acknowledged(0, 30, 10, 30).verdict();
    assert_eq!(counts(&verdict.findings), [10, 0, 0, 0, 0]);
}

#[test]
fn an_acknowledged_batch_missing_in_the_middle_is_lost_though_offsets_go_on() {
    let history = History::empty()
        .acknowledged(0, 0, 10, 0)
        .stored(0, 0, 10)
        .acknowledged(0, 10, 10, 10)
        .skipping_offsets(10)
        .acknowledged(0, 20, 10, 20)
        .stored(0, 20, 10);
    assert_eq!(counts(&history.verdict().findings), [10, 0, 0, 0, 0]);
}

#[test]
fn a_partition_that_cannot_be_read_at_all_has_lost_everything() {
    let history = History::of_batches(2);
    assert_eq!(check(&history.journal, &[]).findings.lost.count, 20);
}

#[test]
fn part_of_an_acknowledged_batch_is_counted_record_by_record() {
    let history = History::empty().acknowledged(0, 0, 10, 0).stored(0, 0, 7);
    assert_eq!(counts(&history.verdict().findings), [3, 0, 0, 0, 0]);
}

#[test]
fn a_value_at_two_offsets_is_duplicated_not_reordered() {
    let verdict = History::of_batches(3).stored(0, 20, 10).verdict();
    assert_eq!(counts(&verdict.findings), [0, 10, 0, 0, 0]);
    let verdict = History::of_batches(3).stored(0, 0, 4).verdict();
    assert_eq!(counts(&verdict.findings), [0, 4, 0, 0, 0]);
}

#[test]
fn a_batch_behind_a_later_one_is_reordered() {
    let history = History::empty()
        .acknowledged(0, 0, 10, 10)
        .acknowledged(0, 10, 10, 0)
        .stored(0, 10, 10)
        .stored(0, 0, 10);
    assert_eq!(counts(&history.verdict().findings), [0, 0, 10, 0, 0]);
}

#[test]
fn an_unacknowledged_batch_counts_for_order_too() {
    let verdict = History::empty().stored(0, 10, 10).stored(0, 0, 10).verdict();
    assert_eq!(counts(&verdict.findings), [0, 0, 10, 0, 0]);
}

#[test]
fn an_acknowledged_offset_that_holds_another_value_is_inconsistent() {
    let history = History::empty().acknowledged(0, 0, 10, 0).stored(1, 0, 10).stored(0, 0, 10);
    assert_eq!(counts(&history.verdict().findings), [0, 0, 0, 10, 0]);
}

#[test]
fn an_acknowledged_offset_that_holds_nothing_while_the_record_is_elsewhere_is_inconsistent() {
    let history = History::empty().acknowledged(0, 0, 10, 40).stored(0, 0, 10);
    assert_eq!(counts(&history.verdict().findings), [0, 0, 0, 10, 0]);
}

#[test]
fn one_offset_acknowledged_to_two_values_is_inconsistent_even_below_the_log_start() {
    let mut history = History::empty().acknowledged(0, 0, 10, 0).acknowledged(1, 0, 10, 5);
    history.log = PartitionScan::starting_at(0, 100);
    assert_eq!(counts(&history.verdict().findings), [0, 0, 0, 5, 0]);
}

#[test]
fn records_below_the_log_start_are_not_lost() {
    let mut history = History::of_batches(3);
    history.log.spans = vec![Span { series: series(0), first_sequence: 15, first_offset: 15, count: 15 }];
    history.log.log_start = 15;
    let verdict = history.verdict();
    assert!(verdict.findings.is_clean(), "{verdict:?}");
    assert_eq!(verdict.coverage.below_log_start, 15);
}

#[test]
fn a_refused_batch_that_is_readable_is_found() {
    let mut history = History::of_batches(2);
    history.journal.refused.push(range(0, 20, 3));
    assert!(history.verdict().findings.is_clean());
    assert_eq!(counts(&history.stored(0, 20, 3).verdict().findings), [0, 0, 0, 0, 3]);
}

#[test]
fn an_acknowledgement_without_an_offset_only_promises_readability() {
    let mut history = History::of_batches(2);
    let records = range(0, 20, 5);
    history.journal.acknowledged.push(Acknowledgement { records, base_offset: None });
    assert_eq!(history.verdict().findings.lost.count, 5);
    assert!(history.stored(0, 20, 5).verdict().findings.is_clean());
}

#[test]
fn readable_records_without_an_acknowledgement_are_allowed_and_counted() {
    let verdict = History::of_batches(2).stored(0, 20, 7).verdict();
    assert!(verdict.findings.is_clean());
    assert_eq!(verdict.coverage.readable_unacknowledged, 7);
}

#[test]
fn runs_are_kept_apart() {
    let mut history = History::of_batches(1);
    let other = Series { run: 2, ..series(0) };
    history.log.spans.push(Span { series: other, first_sequence: 0, first_offset: 10, count: 10 });
    let verdict = history.verdict();
    assert!(verdict.findings.is_clean(), "{verdict:?}");
    assert_eq!(verdict.coverage.readable_unacknowledged, 0);
}

#[test]
fn what_the_scan_found_is_passed_on() {
    let mut history = History::of_batches(1);
    history.log.gaps.add(4, || "gap".to_owned());
    history.log.bad_crc.add(1, || "sum".to_owned());
    let findings = history.verdict().findings;
    assert_eq!((findings.gaps.count, findings.bad_crc.count), (4, 1));
    assert!(!findings.is_clean());
}
