//! Reading usage from what is stored: the figures are a simple sum of what went in, wherever it lies by now.

mod cell;
mod damage;
mod prices;

use std::collections::BTreeMap;

use headgate_log::usage::UsageCounters;
use headgate_metadata::id::{PartitionKey, SlotId};
use headgate_metadata::record::SlotRecord;
use headgate_metering::period::Hour;
use headgate_metering::read::slot_usage;
use headgate_metering::usage::{PartitionUsage, SlotUsage, StoredIntegral};

use crate::cell::{Cell, SLOT, START, after, hours, partition, wal};

/// Bytes in and out, bytes stored, and their integral up to a moment after all others.
type Figures = (PartitionKey, u64, u64, u64, u128);

fn figures(usage: &PartitionUsage) -> Figures {
    let StoredIntegral { byte_ms, current_bytes, since } = usage.stored;
    let elapsed = hours(100).get() - since.get();
    let integral = byte_ms + u128::from(current_bytes) * u128::from(elapsed);
    (usage.partition, usage.bytes_in, usage.bytes_out, current_bytes, integral)
}

fn expected(counted: &BTreeMap<PartitionKey, UsageCounters>) -> Vec<Figures> {
    let figures = |(partition, counters): (&PartitionKey, &UsageCounters)| {
        let UsageCounters { bytes_in, bytes_out, stored } = counters;
        let integral = stored.byte_ms_at(hours(100));
        (*partition, bytes_in.get(), bytes_out.get(), stored.current.get(), integral)
    };
    counted.iter().map(figures).collect()
}

/// Reads the only slot's usage, which must be what a simple sum says, all of it later than any mark.
async fn check_live(cell: &Cell, hour: Hour) -> SlotUsage {
    let usages = cell.usages().await.expect("what is stored is in order");
    let [usage] = &usages[..] else { panic!("one slot, {} found", usages.len()) };
    assert_eq!(usage.slot, SLOT);
    let live = usage.live.as_ref().expect("nothing is marked");
    assert_eq!(live.hour, hour);
    let found: Vec<_> = live.counters.iter().map(figures).collect();
    assert_eq!(found, expected(&cell.counted));
    usage.clone()
}

/// Appends of two partitions, a marker, bytes sent through two gateways, retention, foreign state: several chunks.
fn some_use(cell: &mut Cell, from_ms: u64) {
    for step in 0..8 {
        let at = |ms: u64| after(from_ms + step * 1000 + ms);
        cell.append(partition(1, 0), 700 + step, at(0));
        cell.append(partition(1, 1), 300, at(100));
        cell.append(partition(1, 0), 150, at(250));
        cell.append_marker(partition(1, 0), at(300));
        cell.sent(partition(1, 0), 1 + step % 2, 850, at(400));
        cell.foreign_state(at(500));
    }
    cell.trim(partition(1, 1), 600, after(from_ms + 9000));
    cell.append(partition(1, 1), 200, after(from_ms + 9100));
}

#[tokio::test]
async fn usage_is_the_same_simple_sum_before_the_flush_after_it_and_in_the_manifest() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    let unflushed = check_live(&cell, START).await;
    cell.flush(1).await;
    assert_eq!(check_live(&cell, START).await, unflushed);
    cell.write_manifest().await;
    assert_eq!(check_live(&cell, START).await, unflushed);
}

#[tokio::test]
async fn manifest_flush_objects_and_the_unflushed_rest_add_up() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.flush(1).await;
    cell.write_manifest().await;
    some_use(&mut cell, 10_000);
    cell.flush(1).await;
    some_use(&mut cell, 20_000);
    check_live(&cell, START).await;
}

#[tokio::test]
async fn spans_of_two_epochs_add_up_however_far_each_is_flushed() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.flush(1).await;
    some_use(&mut cell, 10_000);
    cell.restart().await;
    check_live(&cell, START).await;
    some_use(&mut cell, 20_000);
    check_live(&cell, START).await;
    cell.flush(1).await;
    check_live(&cell, START).await;
    cell.flush(2).await;
    some_use(&mut cell, 30_000);
    check_live(&cell, START).await;
    cell.write_manifest().await;
    check_live(&cell, START).await;
    cell.restart().await;
    some_use(&mut cell, 40_000);
    check_live(&cell, START).await;
}

#[tokio::test]
async fn an_heirs_flushes_may_come_before_those_of_what_it_inherited() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.restart().await;
    some_use(&mut cell, 10_000);
    cell.flush(2).await;
    check_live(&cell, START).await;
}

#[tokio::test]
async fn usage_after_the_last_mark_belongs_to_the_hour_of_the_slots_last_record() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    let later = Hour::new(START.get() + 5);
    cell.mark(partition(1, 0), START);
    cell.mark(partition(1, 1), START);
    let marked = expected(&cell.counted);
    cell.append(partition(1, 1), 500, hours(5));
    for flushed in [false, true] {
        if flushed {
            cell.flush(1).await;
            cell.write_manifest().await;
        }
        let usage = cell.usages().await.expect("what is stored is in order").remove(0);
        let [mark] = &usage.marks[..] else {
            panic!("marks of one hour are one, {} found", usage.marks.len())
        };
        assert_eq!(mark.hour, START);
        assert_eq!(mark.counters.iter().map(figures).collect::<Vec<_>>(), marked);
        let live = usage.live.expect("one partition changed since");
        assert_eq!(live.hour, later);
        assert_eq!(live.counters.iter().map(figures).collect::<Vec<_>>(), expected(&cell.counted)[1..]);
    }
}

#[tokio::test]
async fn a_slot_with_everything_marked_has_no_live_usage() {
    let mut cell = Cell::start().await;
    cell.append(partition(1, 0), 100, after(0));
    cell.mark(partition(1, 0), START);
    cell.foreign_state(hours(1));
    let usage = cell.usages().await.expect("what is stored is in order").remove(0);
    assert_eq!((usage.marks.len(), usage.live), (1, None));
}

#[tokio::test]
async fn a_removed_topic_keeps_its_marks_and_ends_in_the_hour_of_its_removal() {
    let mut cell = Cell::start().await;
    cell.append(partition(1, 0), 1000, after(0));
    cell.append(partition(2, 0), 1000, after(0));
    cell.mark(partition(1, 0), START);
    cell.mark(partition(2, 0), START);
    cell.append(partition(2, 0), 70, hours(2));
    cell.remove_topic(2, after(2 * 3_600_000 + 10));
    cell.append(partition(1, 0), 1000, hours(7));
    cell.flush(1).await;
    cell.write_manifest().await;
    let usage = cell.usages().await.expect("what is stored is in order").remove(0);
    let of_removed = |usage: &&PartitionUsage| usage.partition == partition(2, 0);
    let points: Vec<(u64, u64, u64)> = usage
        .marks
        .iter()
        .flat_map(|mark| mark.counters.iter().map(move |counters| (mark.hour, counters)))
        .filter(|(_, counters)| of_removed(counters))
        .map(|(hour, counters)| (hour.get() - START.get(), counters.bytes_in, counters.stored.current_bytes))
        .collect();
    assert_eq!(points, [(0, 1000, 1000), (2, 1070, 0)]);
    let live = usage.live.expect("the other topic goes on");
    assert_eq!((live.hour.get() - START.get(), live.counters.len()), (7, 1));
}

#[tokio::test]
async fn a_removed_topic_whose_last_hour_was_marked_afterwards_is_as_the_mark_says() {
    let mut cell = Cell::start().await;
    cell.append(partition(1, 0), 1000, after(0));
    cell.remove_topic(1, after(10));
    cell.mark(partition(1, 0), START);
    let usage = cell.usages().await.expect("what is stored is in order").remove(0);
    assert_eq!((usage.marks.len(), usage.marks[0].counters.len(), usage.live), (1, 1, None));
}

#[tokio::test]
async fn slots_without_records_are_empty() {
    let mut cell = Cell::start().await;
    let other = SlotId::new(9);
    let own = cell.slot().await;
    cell.put_slot(other, &SlotRecord { spans: Vec::new(), ..own }).await;
    let empty = |slot| SlotUsage { slot, marks: Vec::new(), live: None };
    assert_eq!(cell.usages().await.expect("nothing is in order"), [empty(SLOT), empty(other)]);
    cell.append(partition(1, 0), 100, after(0));
    let usages = cell.usages().await.expect("what is stored is in order");
    assert!(usages[0].live.is_some());
    assert_eq!(usages[1], empty(other));
}

#[tokio::test]
async fn a_wal_that_was_opened_and_never_written_reads_as_empty() {
    let mut cell = Cell::start().await;
    some_use(&mut cell, 0);
    cell.restart().await;
    cell.flush(1).await;
    headgate_log::wal::remove_wal(&*cell.disk, &cell.root(), wal(1)).expect("the disk works");
    headgate_log::wal::remove_wal(&*cell.disk, &cell.root(), wal(2)).expect("the disk works");
    check_live(&cell, START).await;
}

#[test]
fn live_counters_that_equal_the_last_mark_are_left_out() {
    let counters = |bytes: u64| UsageCounters {
        bytes_in: headgate_metadata::id::ByteCount::new(bytes),
        ..UsageCounters::default()
    };
    let (one, other, idle) = (partition(1, 0), partition(1, 1), partition(1, 2));
    let next = START.next();
    let marks = [(one, next, counters(9)), (other, START, counters(5)), (one, START, counters(7))];
    let live = [(one, counters(9)), (other, counters(6)), (idle, counters(0))];
    let usage = slot_usage(SLOT, hours(1), marks, live);
    let hours_marked: Vec<(Hour, usize)> =
        usage.marks.iter().map(|mark| (mark.hour, mark.counters.len())).collect();
    assert_eq!(hours_marked, [(START, 2), (next, 1)]);
    let live = usage.live.expect("one changed");
    assert_eq!((live.hour, live.counters.len(), live.counters[0].bytes_in), (next, 1, 6));
}
