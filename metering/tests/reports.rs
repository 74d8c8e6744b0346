//! What a bill looks like: one small story, computed by hand, in each form.

use std::collections::BTreeMap;

use headgate_metadata::id::{AccountId, ClusterId, PartitionId, PartitionKey, SlotId, TimestampMs, TopicId};
use headgate_metadata::record::{JournalChange, JournalRecord};
use headgate_metering::bill::{Bill, BillInput, GroupBy, Owner};
use headgate_metering::hours::ClusterHistory;
use headgate_metering::period::{HOUR_MS, Hour, Period};
use headgate_metering::price::PriceBook;
use headgate_metering::render::{Format, csv, render};
use headgate_metering::usage::{PartitionUsage, SlotUsage, StoredIntegral, UsageMark};

/// 2026-11-01T00:00Z.
const START: Hour = Hour::new(498_192);

fn cluster() -> ClusterId {
    "demo0001".parse().expect("a cluster id")
}

fn topic() -> TopicId {
    "0b5ee0a4-6f0c-4b52-9a4f-6f2a2f0d0a01".parse().expect("a topic id")
}

fn after(ms: u64) -> TimestampMs {
    TimestampMs::new(START.start().get() + ms)
}

fn counters(index: u32, bytes_in: u64, bytes_out: u64, byte_ms: u128) -> PartitionUsage {
    let partition = PartitionKey { cluster: cluster(), topic: topic(), partition: PartitionId::new(index) };
    let stored = StoredIntegral { byte_ms, current_bytes: 0, since: after(0) };
    PartitionUsage { partition, bytes_in, bytes_out, stored }
}

/// A cluster of one and a half hours with a topic of two partitions for one hour, billed over two hours.
fn bill(owned: bool) -> Bill {
    let journal = [
        (after(0), JournalChange::ClusterCreated { name: "demo".to_owned() }),
        (
            after(HOUR_MS / 2),
            JournalChange::TopicPartitions { topic: topic(), name: "orders".to_owned(), partitions: 2 },
        ),
        (after(HOUR_MS + HOUR_MS / 2), JournalChange::ClusterDeleted),
    ]
    .map(|(at, change)| JournalRecord { at, change });
    let history =
        ClusterHistory::read(cluster(), &journal).expect("the journal fits").expect("it has records");
    // A GiB in and a GiB-hour stored on partition 0, a KiB in and two GiB out on partition 1.
    let used = vec![counters(0, 1 << 30, 0, u128::from(HOUR_MS) << 30), counters(1, 1 << 10, 2 << 30, 0)];
    let marks = vec![UsageMark { hour: START, counters: used }];
    let owner = Owner {
        account: AccountId::checked(42).expect("twelve digits"),
        arn: "arn:aws:kafka:us-east-1:000000000042:cluster/demo/813876e5-2023-4882-88c4-58ad8599da5a-s2"
            .to_owned(),
        region: "us-east-1".to_owned(),
    };
    let owners: BTreeMap<ClusterId, Owner> = owned.then_some((cluster(), owner)).into_iter().collect();
    let input = BillInput {
        period: Period::new(START, Hour::new(START.get() + 2)).expect("a period"),
        as_of: after(2 * HOUR_MS),
        prices: &PriceBook::default(),
        clusters: &[history],
        owners: &owners,
        slots: &[SlotUsage { slot: SlotId::new(7), marks, live: None }],
        only: None,
    };
    Bill::compute(&input).expect("the inputs agree")
}

fn rendered(by: GroupBy, format: Format) -> String {
    render(&bill(true), by, format).expect("small figures")
}

fn json(by: GroupBy) -> serde_json::Value {
    serde_json::from_str(&rendered(by, Format::Json)).expect("the report is JSON")
}

#[test]
fn the_table_is_drawn_with_lines_totals_prices_and_costs() {
    let expected = "\
Bill, 2026-11-01T00:00:00Z to 2026-11-01T02:00:00Z (UTC)
Usage as of 2026-11-01T02:00:00Z: all hours are over
Prices: msk-serverless us-east-1 list, edition 2026-11-21
┌──────────┬────────┬───────────────┬─────────────────┬─────────────┬─────────────┬─────────────────┬─────────────┐
│ cluster  │ topic  │ cluster-hours │ partition-hours │       GB in │      GB out │ GB-hours stored │    cost USD │
├──────────┼────────┼───────────────┼─────────────────┼─────────────┼─────────────┼─────────────────┼─────────────┤
│ demo     │        │      1.500000 │                 │             │             │                 │ 1.125000000 │
│ demo     │ orders │               │        2.000000 │ 1.000000954 │ 2.000000000 │     1.000000000 │ 0.203138984 │
├──────────┼────────┼───────────────┼─────────────────┼─────────────┼─────────────┼─────────────────┼─────────────┤
│ total    │        │      1.500000 │        2.000000 │ 1.000000954 │ 2.000000000 │     1.000000000 │ 1.328138984 │
│ price    │        │     0.75/hour │     0.0015/hour │     0.10/GB │     0.05/GB │   0.10/GB-month │             │
│ cost USD │        │   1.125000000 │     0.003000000 │ 0.100000095 │ 0.100000000 │     0.000138889 │ 1.328138984 │
└──────────┴────────┴───────────────┴─────────────────┴─────────────┴─────────────┴─────────────────┴─────────────┘
GB = 2^30 bytes. Time is billed to the millisecond. Each hourly line item is rounded half to even to
0.000000001 USD; all sums are exact. A GB-month is GB-hours divided by the hours of the calendar month.
";
    assert_eq!(rendered(GroupBy::Topic, Format::Table), expected);
}

#[test]
fn every_row_of_a_table_is_equally_wide() {
    for by in [GroupBy::Cluster, GroupBy::Topic, GroupBy::Partition] {
        let table = rendered(by, Format::Table);
        let drawn = table.lines().filter(|line| line.starts_with(['┌', '│', '├', '└']));
        let mut widths: Vec<usize> = drawn.map(|line| line.chars().count()).collect();
        assert!(widths.len() > 7);
        widths.dedup();
        assert_eq!(widths.len(), 1, "{table}");
    }
}

#[test]
fn json_carries_the_exact_counts_of_each_partition() {
    let bill = json(GroupBy::Partition);
    let items = bill["items"].as_array().expect("a list");
    assert_eq!(items.len(), 3);
    assert_eq!(items[0].get("topic"), None, "the cluster's own line");
    assert_eq!(items[0]["cluster_ms"], 5_400_000);
    let first = &items[1];
    assert_eq!((&first["topic"], &first["partition"]), (&"orders".into(), &0.into()));
    assert_eq!(first["topic_id"], topic().to_string());
    assert_eq!((&first["bytes_in"], &first["bytes_out"]), (&1_073_741_824.into(), &0.into()));
    assert_eq!(first["stored_byte_ms"], "3865470566400000");
    assert_eq!(first["stored_byte_hours"].as_f64(), Some(1_073_741_824.0));
    assert_eq!((first["gb_in"].as_f64(), first["stored_gb_hours"].as_f64()), (Some(1.0), Some(1.0)));
    assert_eq!(items[2]["bytes_in"], 1_024);
    assert_eq!(bill["total"]["bytes_in"], 1_073_742_848);
}

#[test]
fn json_costs_add_up_in_every_grouping() {
    for by in [GroupBy::Cluster, GroupBy::Topic, GroupBy::Partition] {
        let bill = json(by);
        assert_eq!(bill["group_by"], by.name());
        let cost = |item: &serde_json::Value| item["cost_nano_usd"]["total"].as_u64().expect("a number");
        let sum: u64 = bill["items"].as_array().expect("a list").iter().map(cost).sum();
        assert_eq!((sum, &bill["total"]["cost_usd"]), (1_328_138_984, &"1.328138984".into()));
        assert_eq!(cost(&bill["total"]), sum);
    }
}

#[test]
fn json_says_what_it_was_made_from() {
    let bill = json(GroupBy::Cluster);
    assert_eq!(bill["period"]["from"], "2026-11-01T00:00:00Z");
    assert_eq!(bill["as_of"], "2026-11-01T02:00:00Z");
    assert_eq!(bill["provisional"], false);
    assert_eq!(bill["gb_bytes"], 1_u64 << 30);
    let book = PriceBook::parse(&bill["prices"].to_string()).expect("the prices read back");
    assert_eq!(book, PriceBook::default());
}

/// Splits a CSV document into records of fields, quotes undone.
fn parse_csv(csv: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut rest = csv.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(field.trim_end_matches('\r').to_owned());
                field.clear();
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    records
}

#[test]
fn csv_has_one_row_per_line_and_dimension_in_focus_columns() {
    let records = parse_csv(&rendered(GroupBy::Partition, Format::Csv));
    assert_eq!(records[0], csv::COLUMNS);
    assert!(records.iter().all(|record| record.len() == csv::COLUMNS.len()));
    assert_eq!(records.len(), 1 + 7);
    let column = |name: &str| csv::COLUMNS.iter().position(|column| *column == name).expect("a column");
    let storage = records.iter().find(|record| record[column("SkuId")] == "storage").expect("a storage row");
    for (name, value) in [
        ("BilledCost", "0.000138889"),
        ("BillingAccountId", "000000000042"),
        ("BillingPeriodStart", "2026-11-01T00:00:00Z"),
        ("BillingPeriodEnd", "2026-12-01T00:00:00Z"),
        ("ChargePeriodStart", "2026-11-01T00:00:00Z"),
        ("ChargePeriodEnd", "2026-11-01T02:00:00Z"),
        ("ChargeCategory", "Usage"),
        ("ChargeClass", ""),
        ("ConsumedQuantity", "1073741824.000000"),
        ("ConsumedUnit", "B-Hours"),
        ("PricingQuantity", "0.001388889"),
        ("PricingUnit", "GiB-Months"),
        ("ListUnitPrice", "0.100000000"),
        ("RegionId", "us-east-1"),
        ("ResourceName", "orders-0"),
        ("SubAccountId", "demo0001"),
        ("Tags", r#"{"cluster":"demo","partition":"0","topic":"orders"}"#),
        ("x_QuantityExact", "3865470566400000"),
    ] {
        assert_eq!(storage[column(name)], value, "{name}");
    }
}

#[test]
fn a_cluster_without_a_known_owner_is_billed_under_its_id() {
    let csv = render(&bill(false), GroupBy::Cluster, Format::Csv).expect("small figures");
    let records = parse_csv(&csv);
    let column = |name: &str| csv::COLUMNS.iter().position(|column| *column == name).expect("a column");
    assert_eq!(records[1][column("ResourceId")], "demo0001");
    assert_eq!(records[1][column("BillingAccountId")], "");
    let json = render(&bill(false), GroupBy::Cluster, Format::Json).expect("small figures");
    assert!(!json.contains("account_id"));
}

#[test]
fn the_same_bill_renders_to_the_same_bytes() {
    for format in [Format::Table, Format::Json, Format::Csv] {
        assert_eq!(rendered(GroupBy::Partition, format), rendered(GroupBy::Partition, format));
    }
}
