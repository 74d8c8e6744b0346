use headgate_metadata::id::{ClusterId, PartitionId, TopicId};

use super::*;

const SLOT: SlotId = SlotId::new(7);

fn partition(index: u32) -> PartitionKey {
    PartitionKey {
        cluster: ClusterId::from_random(1),
        topic: TopicId::from_random(2),
        partition: PartitionId::new(index),
    }
}

/// Counters of partition 0: bytes in and out, and bytes stored since the start of hour `since`.
fn counters(
    bytes_in: u64,
    bytes_out: u64,
    byte_ms: u128,
    current_bytes: u64,
    since: TimestampMs,
) -> PartitionUsage {
    let stored = StoredIntegral { byte_ms, current_bytes, since };
    PartitionUsage { partition: partition(0), bytes_in, bytes_out, stored }
}

fn nothing_stored(bytes_in: u64, bytes_out: u64) -> PartitionUsage {
    counters(bytes_in, bytes_out, 0, 0, TimestampMs::new(0))
}

fn mark(hour: u64, usage: PartitionUsage) -> UsageMark {
    UsageMark { hour: Hour::new(hour), counters: vec![usage] }
}

fn slot(marks: Vec<UsageMark>, live: Option<(u64, PartitionUsage)>) -> SlotUsage {
    let live = live.map(|(hour, usage)| LiveUsage { hour: Hour::new(hour), counters: vec![usage] });
    SlotUsage { slot: SLOT, marks, live }
}

fn period(from: u64, to: u64) -> Period {
    Period::new(Hour::new(from), Hour::new(to)).expect("a period")
}

fn as_of(at: TimestampMs) -> Horizon {
    Horizon { as_of: at, removed: None }
}

/// Hours with their (bytes in, bytes out, byte-milliseconds).
fn hours(usage: &SlotUsage, within: Period, horizon: Horizon) -> Vec<(u64, u64, u64, u128)> {
    let folded = FoldedSlot::fold(usage).expect("the counters agree");
    let used = folded.hours(partition(0), within, horizon).expect("the counters agree");
    used.iter().map(|used| (used.hour.get(), used.bytes_in, used.bytes_out, used.stored_byte_ms)).collect()
}

#[test]
fn an_hours_usage_is_the_difference_of_two_marks() {
    let usage = slot(vec![mark(10, nothing_stored(100, 5)), mark(11, nothing_stored(130, 25))], None);
    let used = hours(&usage, period(0, 100), as_of(Hour::new(12).start()));
    assert_eq!(used, [(10, 100, 5, 0), (11, 30, 20, 0)]);
}

#[test]
fn an_hour_without_a_mark_changed_nothing() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0)), mark(15, nothing_stored(101, 0))], None);
    assert_eq!(hours(&usage, period(0, 100), as_of(Hour::new(16).start())), [(10, 100, 0, 0), (15, 1, 0, 0)]);
}

#[test]
fn marks_may_come_in_any_order_and_more_than_once() {
    let ordered = vec![
        mark(10, nothing_stored(100, 0)),
        mark(11, nothing_stored(130, 0)),
        mark(12, nothing_stored(131, 7)),
    ];
    let mut shuffled = vec![ordered[2].clone(), ordered[0].clone(), ordered[2].clone()];
    shuffled.extend(ordered.clone());
    let fold = |marks| FoldedSlot::fold(&slot(marks, None)).expect("the counters agree");
    assert_eq!(fold(shuffled), fold(ordered));
}

#[test]
fn live_counters_belong_to_the_hour_the_slot_is_in() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0))], Some((12, nothing_stored(150, 9))));
    let used = hours(&usage, period(0, 100), as_of(Hour::new(14).start()));
    assert_eq!(used, [(10, 100, 0, 0), (12, 50, 9, 0)]);
}

#[test]
fn live_counters_of_an_idle_slot_add_nothing_to_its_last_mark() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0))], Some((10, nothing_stored(100, 0))));
    assert_eq!(hours(&usage, period(0, 100), as_of(Hour::new(14).start())), [(10, 100, 0, 0)]);
}

#[test]
fn live_counters_that_are_late_are_read_as_of_the_last_mark() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0))], Some((8, nothing_stored(101, 0))));
    assert_eq!(hours(&usage, period(0, 100), as_of(Hour::new(14).start())), [(10, 101, 0, 0)]);
}

#[test]
fn stored_bytes_run_on_until_they_were_read() {
    let half_past_ten = TimestampMs::new(10 * HOUR_MS + HOUR_MS / 2);
    let usage = slot(vec![mark(10, counters(0, 0, 0, 1_000, half_past_ten))], None);
    let quarter_past_twelve = TimestampMs::new(12 * HOUR_MS + HOUR_MS / 4);
    let used = hours(&usage, period(0, 100), as_of(quarter_past_twelve));
    let hour = u128::from(HOUR_MS);
    assert_eq!(used, [(10, 0, 0, 500 * hour), (11, 0, 0, 1_000 * hour), (12, 0, 0, 250 * hour)]);
}

#[test]
fn deleting_just_before_the_mark_does_not_dodge_the_integral() {
    let five_to = TimestampMs::new(11 * HOUR_MS - 300_000);
    let usage = slot(vec![mark(10, counters(0, 0, 55 * 60_000 * 1_000, 0, five_to))], None);
    let used = hours(&usage, period(0, 100), as_of(Hour::new(20).start()));
    assert_eq!(used, [(10, 0, 0, 55 * 60_000 * 1_000)]);
}

#[test]
fn stored_bytes_of_a_removed_partition_stop_with_it() {
    let usage = slot(vec![mark(10, counters(0, 0, 0, 1_000, Hour::new(10).start()))], None);
    let removed = Some(TimestampMs::new(12 * HOUR_MS + 60_000));
    let used = hours(&usage, period(0, 100), Horizon { as_of: Hour::new(20).start(), removed });
    let hour = u128::from(HOUR_MS) * 1_000;
    assert_eq!(used, [(10, 0, 0, hour), (11, 0, 0, hour), (12, 0, 0, 60_000 * 1_000)]);
}

#[test]
fn what_is_counted_in_hours_after_the_removal_is_not_billed() {
    let late = counters(5, 5, u128::from(HOUR_MS) * 2_100, 0, TimestampMs::new(12 * HOUR_MS + 360_000));
    let usage = slot(vec![mark(10, counters(5, 0, 0, 1_000, Hour::new(10).start())), mark(12, late)], None);
    let used = hours(
        &usage,
        period(0, 100),
        Horizon { as_of: Hour::new(20).start(), removed: Some(Hour::new(12).start()) },
    );
    let hour = u128::from(HOUR_MS) * 1_000;
    assert_eq!(used, [(10, 5, 0, hour), (11, 0, 0, hour)]);
}

#[test]
fn a_period_takes_its_hours_and_no_others() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0)), mark(11, nothing_stored(130, 0))], None);
    let now = as_of(Hour::new(12).start());
    assert_eq!(hours(&usage, period(11, 12), now), [(11, 30, 0, 0)]);
    assert_eq!(hours(&usage, period(12, 13), now), []);
    assert_eq!(hours(&usage, period(0, 11), now), [(10, 100, 0, 0)]);
}

#[test]
fn a_partition_without_counters_used_nothing() {
    let folded = FoldedSlot::fold(&slot(Vec::new(), None)).expect("nothing contradicts nothing");
    assert_eq!(folded.hours(partition(3), period(0, 9), as_of(Hour::new(9).start())), Ok(Vec::new()));
}

#[test]
fn a_counter_that_goes_back_is_named() {
    let half_past_ten = TimestampMs::new(10 * HOUR_MS + HOUR_MS / 2);
    let first = counters(100, 50, 0, 10, half_past_ten);
    for (later, expected, was, is) in [
        (counters(99, 50, 0, 10, half_past_ten), Counter::BytesIn, 100, 99),
        (counters(100, 49, 0, 10, half_past_ten), Counter::BytesOut, 50, 49),
        // Until 12:00 the first point alone gives 10 bytes × 1.5 h.
        (counters(100, 50, 7, 0, Hour::new(12).start()), Counter::Stored, 54_000_000, 7),
    ] {
        let error =
            FoldedSlot::fold(&slot(vec![mark(10, first), mark(12, later)], None)).expect_err("it went back");
        let hour = Hour::new(12);
        let named =
            UsageError::WentBack { slot: SLOT, partition: partition(0), counter: expected, hour, was, is };
        assert_eq!(error, named);
    }
}

#[test]
fn live_counters_below_the_mark_of_their_hour_are_refused() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0))], Some((10, nothing_stored(99, 0))));
    let error = FoldedSlot::fold(&usage).expect_err("it went back");
    assert!(error.to_string().starts_with("slot 7: bytes_in of "), "{error}");
    assert!(error.to_string().ends_with("went back in hour 10: from 100 to 99"), "{error}");
}

#[test]
fn two_marks_of_one_hour_that_disagree_are_refused() {
    let usage = slot(vec![mark(10, nothing_stored(100, 0)), mark(10, nothing_stored(101, 0))], None);
    let hour = Hour::new(10);
    let conflict = UsageError::Conflict { slot: SLOT, partition: partition(0), hour };
    assert_eq!(FoldedSlot::fold(&usage), Err(conflict));
}

#[test]
fn an_integral_beyond_measure_is_refused() {
    let point = counters(0, 0, u128::MAX, 1, Hour::new(10).start());
    let folded =
        FoldedSlot::fold(&slot(vec![mark(10, point)], None)).expect("a single point contradicts nothing");
    let error = folded.hours(partition(0), period(0, 20), as_of(Hour::new(12).start()));
    assert_eq!(error, Err(UsageError::Overflow { slot: SLOT, partition: partition(0) }));
}
