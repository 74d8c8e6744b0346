use headgate_metadata::record::{JournalChange, JournalRecord};

use super::*;
use crate::money::NanoUsd;
use crate::period::HOUR_MS;
use crate::usage::{LiveUsage, PartitionUsage, StoredIntegral, UsageMark};

/// 2026-11-01T00:00Z.
const START: Hour = Hour::new(498_192);

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}

fn topic() -> TopicId {
    TopicId::from_random(2)
}

fn hour(after: u64) -> Hour {
    Hour::new(START.get() + after)
}

fn period(from: u64, to: u64) -> Period {
    Period::new(hour(from), hour(to)).expect("a period")
}

/// A cluster `demo` from the start, with a topic `orders` of two partitions one hour later.
fn history() -> ClusterHistory {
    let journal = [
        (START.start(), JournalChange::ClusterCreated { name: "demo".to_owned() }),
        (
            hour(1).start(),
            JournalChange::TopicPartitions { topic: topic(), name: "orders".to_owned(), partitions: 2 },
        ),
    ]
    .map(|(at, change)| JournalRecord { at, change });
    ClusterHistory::read(cluster(), &journal).expect("the journal fits").expect("it has records")
}

fn counters(index: u32, bytes_in: u64, bytes_out: u64, byte_ms: u128) -> PartitionUsage {
    let partition = PartitionKey { cluster: cluster(), topic: topic(), partition: PartitionId::new(index) };
    let stored = StoredIntegral { byte_ms, current_bytes: 0, since: START.start() };
    PartitionUsage { partition, bytes_in, bytes_out, stored }
}

fn slot(number: u16, counters: Vec<PartitionUsage>) -> SlotUsage {
    let marks = vec![UsageMark { hour: hour(1), counters }];
    SlotUsage { slot: SlotId::new(number), marks, live: None }
}

fn compute(slots: &[SlotUsage], period: Period, as_of: TimestampMs) -> Result<Bill, BillError> {
    Bill::compute(&BillInput {
        period,
        as_of,
        prices: &PriceBook::default(),
        clusters: &[history()],
        owners: &BTreeMap::new(),
        slots,
        only: None,
    })
}

fn bill(slots: &[SlotUsage], period: Period) -> Bill {
    compute(slots, period, hour(100).start()).expect("the inputs agree")
}

fn cost(amounts: &Amounts) -> u128 {
    amounts.cost().expect("small").get()
}

#[test]
fn an_idle_cluster_costs_its_hours_alone() {
    let total = bill(&[], period(0, 10)).total().expect("small");
    assert_eq!(total.hours(Dimension::ClusterHours), "10.000000");
    assert_eq!(total.hours(Dimension::PartitionHours), "18.000000");
    assert_eq!(cost(&total), 10 * 750_000_000 + 18 * 1_500_000);
}

#[test]
fn each_dimension_is_billed_at_its_price() {
    let gb = 1 << 30;
    let gb_hours = u128::from(HOUR_MS) * 720 * gb;
    let slots = [slot(1, vec![counters(0, gb as u64, 2 * gb as u64, gb_hours)])];
    let total = bill(&slots, period(1, 2)).total().expect("small");
    let costs = Dimension::ALL.map(|dimension| total.of(dimension).cost.get());
    assert_eq!(costs, [750_000_000, 3_000_000, 100_000_000, 100_000_000, 100_000_000]);
}

#[test]
fn lines_are_grouped_and_still_add_up() {
    let slots = [slot(1, vec![counters(0, 1_000, 10, 5)]), slot(2, vec![counters(1, 3_000, 20, 7)])];
    let bill = bill(&slots, period(0, 3));
    let total = bill.total().expect("small");
    for (by, expected) in [(GroupBy::Cluster, 1), (GroupBy::Topic, 2), (GroupBy::Partition, 3)] {
        let lines = bill.lines(by).expect("small");
        assert_eq!(lines.len(), expected, "{by:?}");
        let mut sum = Amounts::default();
        lines.iter().try_for_each(|line| sum.add_all(&line.amounts)).expect("small");
        assert_eq!(sum, total, "{by:?}");
    }
    let lines = bill.lines(GroupBy::Partition).expect("small");
    let bytes_in: Vec<u128> = lines.iter().map(|line| line.amounts.of(Dimension::DataIn).quantity).collect();
    assert_eq!(bytes_in, [0, 1_000, 3_000], "the cluster's own line first, then the partitions in order");
    assert_eq!(lines[1].topic_name.as_deref(), Some("orders"));
}

#[test]
fn usage_of_a_topic_the_journal_does_not_know_is_billed_under_its_id() {
    let mut stranger = counters(0, 500, 0, 0);
    stranger.partition.topic = TopicId::from_random(99);
    let bill = bill(&[slot(1, vec![stranger])], period(0, 3));
    let lines = bill.lines(GroupBy::Topic).expect("small");
    let named: Vec<_> = lines.iter().filter_map(|line| line.topic_name.clone()).collect();
    assert!(named.contains(&TopicId::from_random(99).to_string()), "{named:?}");
}

#[test]
fn one_cluster_can_be_billed_alone() {
    let other = ClusterId::from_random(50);
    let mut elsewhere = counters(0, 500, 0, 0);
    elsewhere.partition.cluster = other;
    let slots = [slot(1, vec![counters(0, 1_000, 0, 0), elsewhere])];
    let input = BillInput {
        period: period(0, 3),
        as_of: hour(100).start(),
        prices: &PriceBook::default(),
        clusters: &[history()],
        owners: &BTreeMap::new(),
        slots: &slots,
        only: Some(other),
    };
    let total = Bill::compute(&input).expect("the inputs agree").total().expect("small");
    assert_eq!(total.of(Dimension::DataIn).quantity, 500);
    assert_eq!(total.of(Dimension::ClusterHours).quantity, 0);
}

#[test]
fn a_bill_is_provisional_until_its_hours_are_over_and_marked() {
    let over = hour(100).start();
    assert!(!compute(&[], period(0, 3), over).expect("fits").provisional);
    assert!(compute(&[], period(0, 101), over).expect("fits").provisional);
    let live = Some(LiveUsage { hour: hour(2), counters: Vec::new() });
    let unmarked = SlotUsage { live, ..slot(1, Vec::new()) };
    assert!(compute(&[unmarked], period(0, 3), over).expect("fits").provisional);
}

#[test]
fn nothing_is_billed_beyond_the_moment_of_reading() {
    let as_of = TimestampMs::new(START.start().get() + 90_000);
    let total = compute(&[], period(0, 10), as_of).expect("fits").total().expect("small");
    assert_eq!(total.hours(Dimension::ClusterHours), "0.025000");
}

#[test]
fn a_partition_in_two_slots_is_refused() {
    let slots = [slot(1, vec![counters(0, 1, 0, 0)]), slot(2, vec![counters(0, 1, 0, 0)])];
    let error = compute(&slots, period(0, 3), hour(100).start()).expect_err("billed twice");
    assert!(matches!(error, BillError::Usage(UsageError::TwoSlots { one, other, .. })
        if one == SlotId::new(1) && other == SlotId::new(2)));
}

#[test]
fn contradicting_counters_stop_the_bill() {
    let mut broken = slot(1, vec![counters(0, 10, 0, 0)]);
    broken.marks.push(UsageMark { hour: hour(2), counters: vec![counters(0, 9, 0, 0)] });
    let error = compute(&[broken], period(0, 3), hour(100).start()).expect_err("it went back");
    assert!(matches!(error, BillError::Usage(UsageError::WentBack { .. })));
}

#[test]
fn prices_are_data() {
    let prices = PriceBook::default().with_price(Dimension::DataIn, NanoUsd::new(1 << 30));
    let slots = [slot(1, vec![counters(0, 12_345, 0, 0)])];
    let input = BillInput {
        period: period(0, 3),
        as_of: hour(100).start(),
        prices: &prices,
        clusters: &[],
        owners: &BTreeMap::new(),
        slots: &slots,
        only: None,
    };
    let total = Bill::compute(&input).expect("fits").total().expect("small");
    assert_eq!(cost(&total), 12_345);
}
