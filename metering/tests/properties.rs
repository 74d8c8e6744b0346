//! Properties of bills over random stories: usage is counted event by event, marked as a slot would, and billed.

use std::collections::BTreeMap;

use headgate_metadata::id::{ClusterId, PartitionId, PartitionKey, SlotId, TimestampMs, TopicId};
use headgate_metadata::record::{JournalChange, JournalRecord};
use headgate_metering::amount::{Amounts, Dimension};
use headgate_metering::bill::{Bill, BillInput, GroupBy, Place};
use headgate_metering::hours::ClusterHistory;
use headgate_metering::money::divide_half_even;
use headgate_metering::period::{HOUR_MS, Hour, Period};
use headgate_metering::price::PriceBook;
use headgate_metering::usage::{LiveUsage, PartitionUsage, SlotUsage, StoredIntegral, UsageMark};
use proptest::prelude::*;

/// 2026-10-31T12:00Z: stories cross from a month of 744 hours into one of 720.
const START: Hour = Hour::new(498_180);
/// How many hours a story lasts.
const HOURS: u64 = 24;
const PARTITIONS: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Bytes committed, and stored from then on.
    In(u32),
    /// Bytes handed to a client.
    Out(u32),
    /// All stored bytes dropped, as retention does.
    Drop,
}

#[derive(Clone, Debug)]
struct Story {
    /// When (milliseconds after the start), on which partition, what. In order of time.
    events: Vec<(u64, u32, Event)>,
    /// When the topic was created, and deleted.
    created: u64,
    deleted: Option<u64>,
    as_of: u64,
    /// An order to read marks in.
    shuffle: Vec<usize>,
}

prop_compose! {
    fn story()(
        mut events in proptest::collection::vec((0..HOURS * HOUR_MS, 0..PARTITIONS, event()), 0..60),
        created in 0..HOUR_MS,
        deleted in proptest::option::of(HOURS * HOUR_MS..(HOURS + 2) * HOUR_MS),
        as_of in HOURS * HOUR_MS..(HOURS + 3) * HOUR_MS,
        shuffle in proptest::collection::vec(0usize..1_000, 80),
    ) -> Story {
        events.sort_by_key(|(at, ..)| *at);
        Story { events, created, deleted, as_of, shuffle }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..u32::MAX).prop_map(Event::In),
        3 => (1..u32::MAX).prop_map(Event::Out),
        1 => Just(Event::Drop),
    ]
}

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}

fn topic() -> TopicId {
    TopicId::from_random(2)
}

fn at(ms: u64) -> TimestampMs {
    TimestampMs::new(START.start().get() + ms)
}

fn hour_of(ms: u64) -> Hour {
    Hour::of(at(ms))
}

/// A slot as it counts: cumulative counters, a mark of what changed before the first event of a new hour.
fn counted(story: &Story) -> SlotUsage {
    let mut counters: BTreeMap<u32, PartitionUsage> = BTreeMap::new();
    let mut changed: BTreeMap<u32, PartitionUsage> = BTreeMap::new();
    let mut marks = Vec::new();
    let mut now = START;
    for &(ms, index, event) in &story.events {
        let hour = hour_of(ms);
        if hour != now {
            let counters = std::mem::take(&mut changed).into_values().collect();
            marks.push(UsageMark { hour: now, counters });
            now = hour;
        }
        let usage = counters.entry(index).or_insert_with(|| nothing(index, ms));
        apply(usage, ms, event);
        changed.insert(index, *usage);
    }
    let live = Some(LiveUsage { hour: now, counters: changed.into_values().collect() });
    SlotUsage { slot: SlotId::new(1), marks, live }
}

fn nothing(index: u32, ms: u64) -> PartitionUsage {
    let partition = PartitionKey { cluster: cluster(), topic: topic(), partition: PartitionId::new(index) };
    let stored = StoredIntegral { byte_ms: 0, current_bytes: 0, since: at(ms) };
    PartitionUsage { partition, bytes_in: 0, bytes_out: 0, stored }
}

fn apply(usage: &mut PartitionUsage, ms: u64, event: Event) {
    match event {
        Event::In(bytes) => {
            usage.bytes_in += u64::from(bytes);
            let stored = usage.stored.current_bytes + u64::from(bytes);
            store(&mut usage.stored, ms, stored);
        }
        Event::Out(bytes) => usage.bytes_out += u64::from(bytes),
        Event::Drop => store(&mut usage.stored, ms, 0),
    }
}

fn store(stored: &mut StoredIntegral, ms: u64, bytes: u64) {
    let elapsed = at(ms).get() - stored.since.get();
    stored.byte_ms += u128::from(stored.current_bytes) * u128::from(elapsed);
    (stored.current_bytes, stored.since) = (bytes, at(ms));
}

fn history(story: &Story) -> ClusterHistory {
    let name = "demo".to_owned();
    let grown =
        JournalChange::TopicPartitions { topic: topic(), name: "t".to_owned(), partitions: PARTITIONS };
    let mut journal = vec![
        JournalRecord { at: at(0), change: JournalChange::ClusterCreated { name } },
        JournalRecord { at: at(story.created), change: grown },
    ];
    let deletion = |ms| JournalRecord { at: at(ms), change: JournalChange::TopicDeleted { topic: topic() } };
    journal.extend(story.deleted.map(deletion));
    ClusterHistory::read(cluster(), &journal).expect("the journal fits").expect("it has records")
}

fn bill(story: &Story, slot: SlotUsage, from: u64, to: u64) -> Bill {
    let hour = |after| Hour::new(START.get() + after);
    Bill::compute(&BillInput {
        period: Period::new(hour(from), hour(to)).expect("a period"),
        as_of: at(story.as_of),
        prices: &PriceBook::default(),
        clusters: &[history(story)],
        owners: &BTreeMap::new(),
        slots: &[slot],
        only: None,
    })
    .expect("the story is consistent")
}

fn by_place(bill: &Bill, by: GroupBy) -> BTreeMap<Place, Amounts> {
    bill.lines(by).expect("small figures").into_iter().map(|line| (line.place, line.amounts)).collect()
}

/// What `dimension` of a partition must be in `[from, to)` hours, by going through the events one by one.
fn expected(story: &Story, index: u32, dimension: Dimension, from: u64, to: u64) -> u128 {
    let (begin, end) = (from * HOUR_MS, to * HOUR_MS);
    let mine = || story.events.iter().filter(|(_, partition, _)| *partition == index);
    let within = || mine().filter(|(ms, ..)| (begin..end).contains(ms));
    let alive_until = story.deleted.unwrap_or(u64::MAX).min(story.as_of).min(end);
    match dimension {
        Dimension::ClusterHours => 0,
        Dimension::PartitionHours => u128::from(alive_until.saturating_sub(begin.max(story.created))),
        Dimension::DataIn => {
            within().map(|(.., event)| if let Event::In(n) = event { u128::from(*n) } else { 0 }).sum()
        }
        Dimension::DataOut => {
            within().map(|(.., event)| if let Event::Out(n) = event { u128::from(*n) } else { 0 }).sum()
        }
        Dimension::Storage => {
            let changes: Vec<(u64, u64)> = mine()
                .scan(0, |stored, (ms, _, event)| {
                    match event {
                        Event::In(bytes) => *stored += u64::from(*bytes),
                        Event::Out(_) => {}
                        Event::Drop => *stored = 0,
                    }
                    Some((*ms, *stored))
                })
                .collect();
            let ends = changes.iter().skip(1).map(|(ms, _)| *ms).chain([u64::MAX]);
            let lasted = |since: u64, until: u64| until.min(alive_until).saturating_sub(since.max(begin));
            changes
                .iter()
                .zip(ends)
                .map(|((since, bytes), until)| u128::from(*bytes) * u128::from(lasted(*since, until)))
                .sum()
        }
    }
}

proptest! {
    #[test]
    fn a_bill_counts_exactly_what_happened(story in story(), from in 0..HOURS, length in 1..HOURS + 4) {
        let to = from + length;
        let lines = by_place(&bill(&story, counted(&story), from, to), GroupBy::Partition);
        for index in 0..PARTITIONS {
            let partition = Some(PartitionId::new(index));
            let place = Place { cluster: cluster(), topic: Some(topic()), partition };
            let billed = lines.get(&place).copied().unwrap_or_default();
            for dimension in Dimension::ALL {
                let expected = expected(&story, index, dimension, from, to);
                prop_assert_eq!(billed.of(dimension).quantity, expected, "{:?} of {}", dimension, index);
            }
        }
    }

    #[test]
    fn the_bills_of_two_periods_that_touch_add_up_to_the_bill_of_both(
        story in story(), from in 0..HOURS, first in 1..HOURS, second in 1..HOURS,
    ) {
        let slot = counted(&story);
        let (middle, to) = (from + first, from + first + second);
        let whole = bill(&story, slot.clone(), from, to);
        let mut sum = by_place(&bill(&story, slot.clone(), from, middle), GroupBy::Partition);
        for (place, amounts) in by_place(&bill(&story, slot, middle, to), GroupBy::Partition) {
            sum.entry(place).or_default().add_all(&amounts).expect("small figures");
        }
        prop_assert_eq!(sum, by_place(&whole, GroupBy::Partition));
    }

    #[test]
    fn the_total_is_the_sum_of_its_lines_however_they_are_grouped(story in story(), to in 1..HOURS + 4) {
        let bill = bill(&story, counted(&story), 0, to);
        for by in [GroupBy::Cluster, GroupBy::Topic, GroupBy::Partition] {
            let mut sum = Amounts::default();
            for amounts in by_place(&bill, by).values() {
                sum.add_all(amounts).expect("small figures");
            }
            prop_assert_eq!(sum, bill.total().expect("small figures"));
        }
    }

    #[test]
    fn marks_read_again_and_in_any_order_change_nothing(story in story()) {
        let slot = counted(&story);
        let mut again = slot.clone();
        again.marks.extend(slot.marks.clone());
        let order = |index: usize| story.shuffle[index % story.shuffle.len()];
        let mut indexed: Vec<_> = again.marks.into_iter().enumerate().collect();
        indexed.sort_by_key(|(index, _)| order(*index));
        again.marks = indexed.into_iter().map(|(_, mark)| mark).collect();
        prop_assert_eq!(bill(&story, again, 0, HOURS + 4), bill(&story, slot, 0, HOURS + 4));
    }

    #[test]
    fn a_bill_read_later_agrees_about_hours_that_were_marked(story in story(), later in 1..HOURS * HOUR_MS) {
        // Nothing more happens, the slot marks its last hour, and more time passes before the deletion.
        let story = Story { deleted: None, ..story };
        let slot = counted(&story);
        let live = slot.live.clone().expect("a live reading");
        let mut closed = SlotUsage { live: None, ..slot.clone() };
        closed.marks.push(UsageMark { hour: live.hour, counters: live.counters });
        let after = Story { as_of: story.as_of + later, ..story.clone() };
        let lines = by_place(&bill(&story, slot, 0, HOURS), GroupBy::Partition);
        prop_assert_eq!(lines, by_place(&bill(&after, closed, 0, HOURS), GroupBy::Partition));
    }

    #[test]
    fn a_bill_of_one_hour_can_be_recomputed_from_its_quantities_by_the_published_formula(
        story in story(), from in 0..HOURS,
    ) {
        let prices = PriceBook::default();
        let bill = bill(&story, counted(&story), from, from + 1);
        let hours_of_month = if from < 12 { 744 } else { 720 };
        let gb = 1_u128 << 30;
        let unit = |dimension| match dimension {
            Dimension::ClusterHours | Dimension::PartitionHours => 3_600_000,
            Dimension::DataIn | Dimension::DataOut => gb,
            Dimension::Storage => gb * 3_600_000 * hours_of_month,
        };
        for amounts in by_place(&bill, GroupBy::Partition).values() {
            for dimension in Dimension::ALL {
                let amount = amounts.of(dimension);
                let cost = divide_half_even(amount.quantity * prices.price(dimension).get(), unit(dimension));
                prop_assert_eq!(amount.cost.get(), cost);
            }
        }
    }

    #[test]
    fn half_even_is_the_nearest_whole_and_even_between_two(numerator: u64, denominator in 1..u64::MAX) {
        let (numerator, denominator) = (u128::from(numerator), u128::from(denominator));
        let rounded = divide_half_even(numerator, denominator);
        let error = (rounded * denominator).abs_diff(numerator);
        prop_assert!(2 * error <= denominator);
        prop_assert!(2 * error < denominator || rounded.is_multiple_of(2));
    }
}
