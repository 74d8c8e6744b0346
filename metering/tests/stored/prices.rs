//! Bills of what is stored.

use std::collections::BTreeMap;

use headgate_metadata::clusters;
use headgate_metadata::id::{AccountId, ClusterId, TimestampMs};
use headgate_metadata::keys;
use headgate_metadata::record::{
    CellRecord, ClusterLife, ClusterRecord, ClusterState, JournalChange, JournalRecord, Record as _,
};
use headgate_metering::amount::Dimension;
use headgate_metering::bill::{Bill, GroupBy};
use headgate_metering::period::{HOUR_MS, Hour, Period};
use headgate_metering::price::PriceBook;
use headgate_metering::read::{BillRequest, ReadBillError, bill, bill_from, find_cluster};
use headgate_metering::render::{Format, render};

use crate::cell::{Cell, START, after, cluster, hours, partition, topic};

fn account(raw: u64) -> AccountId {
    AccountId::checked(raw).expect("twelve digits")
}

fn record(id: &str, name: &str, owner: AccountId) -> ClusterRecord {
    ClusterRecord {
        id: id.parse().expect("a cluster id"),
        name: name.to_owned(),
        arn_uuid: "813876e5-2023-4882-88c4-58ad8599da5a-s2".to_owned(),
        account: owner,
        created: after(0),
        state: ClusterState::Active,
        slot_set: Vec::new(),
        auto_create_topics: false,
        port: None,
        tags: BTreeMap::new(),
        life: ClusterLife::default(),
    }
}

/// A cell of account 1 with cluster `demo` and its topics 1 and 2.
async fn founded() -> Cell {
    let cell = Cell::start().await;
    let identity = CellRecord {
        cell: "cell0001".to_owned(),
        slots: 64,
        hash: "xxh3-64".to_owned(),
        account: account(1),
        region: "eu-central-1".to_owned(),
    };
    cell.put(keys::CELL.to_owned(), identity.encode()).await;
    open(&cell, record("demo0001", "demo", account(1))).await;
    for bits in [1, 2] {
        let name = format!("topic-{bits}");
        let change = JournalChange::TopicPartitions { topic: topic(bits), name, partitions: 2 };
        let key = keys::journal_entry(cluster(), after(0), 0, &topic(bits).to_string());
        cell.put(key, JournalRecord { at: after(0), change }.encode()).await;
    }
    cell
}

async fn open(cell: &Cell, cluster: ClusterRecord) -> ClusterId {
    clusters::create(&cell.store, cluster, None).await.expect("the name is free").0.id
}

fn request(prices: &PriceBook, hours_billed: u64, as_of: TimestampMs) -> BillRequest<'_> {
    let period = Period::new(START, Hour::new(START.get() + hours_billed)).expect("a period");
    BillRequest { period, as_of, prices, account: None, cluster: None }
}

async fn bill_of(cell: &Cell, request: BillRequest<'_>) -> Result<Bill, ReadBillError> {
    bill(&cell.store, &cell.objects, &cell.disk, &cell.root(), request).await
}

fn quantity(bill: &Bill, dimension: Dimension) -> u128 {
    bill.total().expect("small figures").of(dimension).quantity
}

#[tokio::test]
async fn a_bill_of_what_is_stored_has_all_dimensions_and_the_clusters_names() {
    let mut cell = founded().await;
    cell.append(partition(1, 0), 1000, after(0));
    cell.sent(partition(1, 0), 1, 3000, after(500));
    let prices = PriceBook::default();
    let bill = bill_of(&cell, request(&prices, 1, hours(2))).await.expect("everything is in order");
    assert_eq!(quantity(&bill, Dimension::ClusterHours), u128::from(HOUR_MS));
    assert_eq!(quantity(&bill, Dimension::PartitionHours), 4 * u128::from(HOUR_MS));
    assert_eq!(quantity(&bill, Dimension::DataIn), 1000);
    assert_eq!(quantity(&bill, Dimension::DataOut), 3000);
    assert_eq!(quantity(&bill, Dimension::Storage), 1000 * u128::from(HOUR_MS));
    let json = render(&bill, GroupBy::Topic, Format::Json).expect("small figures");
    for expected in ["\"demo\"", "\"topic-1\"", "arn:aws:kafka:eu-central-1:000000000001:cluster/demo/"] {
        assert!(json.contains(expected), "{json}");
    }
}

#[tokio::test]
async fn usage_read_elsewhere_gives_the_same_bytes() {
    let mut cell = founded().await;
    crate::some_use(&mut cell, 0);
    let prices = PriceBook::default();
    let request = request(&prices, 1, hours(2));
    let usages = cell.usages().await.expect("what is stored is in order");
    let live = bill_from(&cell.store, usages, request).await.expect("everything is in order");
    let stored = bill_of(&cell, request).await.expect("everything is in order");
    assert_eq!(live, stored);
}

#[tokio::test]
async fn a_removed_topic_is_billed_to_its_end_while_its_slot_goes_on() {
    let mut cell = founded().await;
    cell.append(partition(1, 0), 1000, after(0));
    cell.append(partition(2, 0), 1000, after(0));
    cell.mark(partition(1, 0), START);
    cell.mark(partition(2, 0), START);
    let end = after(2 * HOUR_MS + HOUR_MS / 2);
    let key = keys::journal_entry(cluster(), end, 0, &topic(2).to_string());
    let gone = JournalRecord { at: end, change: JournalChange::TopicDeleted { topic: topic(2) } };
    cell.put(key, gone.encode()).await;
    cell.remove_topic(2, end);
    cell.append(partition(1, 0), 1000, hours(7));
    let prices = PriceBook::default();
    let bill = bill_of(&cell, request(&prices, 8, hours(8))).await.expect("the figures agree");
    let lines = bill.lines(GroupBy::Topic).expect("small figures");
    let line = lines.iter().find(|line| line.topic_name.as_deref() == Some("topic-2")).expect("it is billed");
    assert_eq!(line.amounts.of(Dimension::DataIn).quantity, 1000);
    assert_eq!(line.amounts.of(Dimension::Storage).quantity, 2500 * u128::from(HOUR_MS));
}

#[tokio::test]
async fn another_accounts_clusters_are_not_on_the_bill() {
    let mut cell = founded().await;
    cell.append(partition(1, 0), 1000, after(0));
    let other = open(&cell, record("other001", "demo", account(2))).await;
    let prices = PriceBook::default();
    let all = request(&prices, 1, hours(1));
    let clusters = |bill: &Bill| -> Vec<ClusterId> {
        bill.lines(GroupBy::Cluster).expect("small figures").iter().map(|line| line.place.cluster).collect()
    };
    let bill = bill_of(&cell, all).await.expect("everything is in order");
    assert_eq!(clusters(&bill), [cluster(), other]);
    let of_other = BillRequest { account: Some(account(2)), ..all };
    let bill = bill_of(&cell, of_other).await.expect("everything is in order");
    assert_eq!((clusters(&bill), quantity(&bill, Dimension::DataIn)), (vec![other], 0));
    let of_one = BillRequest { cluster: Some(cluster()), ..all };
    let bill = bill_of(&cell, of_one).await.expect("everything is in order");
    assert_eq!((clusters(&bill), quantity(&bill, Dimension::DataIn)), (vec![cluster()], 1000));
}

#[tokio::test]
async fn a_cluster_is_found_by_its_name_also_after_it_is_gone() {
    let cell = founded().await;
    let other = open(&cell, record("other001", "demo", account(2))).await;
    let find = async |owner, name| find_cluster(&cell.store, owner, name).await.expect("the store answers");
    assert_eq!(find(None, "demo").await, Some(cluster()));
    assert_eq!(find(Some(account(2)), "demo").await, Some(other));
    assert_eq!(find(None, "nobody").await, None);
    clusters::delete(&cell.store, cluster(), hours(1)).await.expect("it exists");
    assert_eq!(find(None, "demo").await, Some(cluster()));
    let again = open(&cell, record("demo0002", "demo", account(1))).await;
    assert_eq!(find(None, "demo").await, Some(again));
    clusters::delete(&cell.store, again, hours(2)).await.expect("it exists");
    assert_eq!(find(None, "demo").await, Some(again));
}

#[tokio::test]
async fn a_store_that_holds_no_cell_is_not_billed() {
    let cell = Cell::start().await;
    let prices = PriceBook::default();
    let refused = bill_of(&cell, request(&prices, 1, hours(1))).await;
    assert!(matches!(refused, Err(ReadBillError::NoCell)));
}

#[test]
fn bills_can_be_made_by_a_task_that_moves_between_threads() {
    fn check<T: Send>(_: impl FnOnce(&'static Cell, BillRequest<'static>) -> T) {}
    check(|cell, request| bill_of(cell, request));
    check(|cell, request| bill_from(&cell.store, Vec::new(), request));
}
