//! A real node behind the service: what a gateway sees of it when it crashes and comes back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headgate_metadata::id::Offset;
use headgate_metadata::keys;
use headgate_metadata::record::{NodeRecord, Record};
use headgate_metadata::slot_owners::SlotOwners;
use headgate_storage::clock::SystemClock;
use headgate_storage::{Metrics, Node, StorageService};
use headgate_storage_client::remote::{RemoteConfig, RemoteStorage};
use headgate_storage_client::wire::{Server, TlsDialer, TlsListener, WireLimits};
use headgate_storage_client::{Append, Isolation, PartitionRead, ReadRequest, Reservation, Storage};

use crate::authority::Authority;
use crate::support::{self, Batch, Cell, decode, partition, put};

const BATCHES: u32 = 60;
/// A partition remembers as many batches of a producer (Kafka's own limit).
const IN_FLIGHT: u32 = 5;

async fn serve(cell: &Cell, authority: &Authority, node: &Arc<Node>) -> Server {
    let number = node.wal().node;
    let credentials = authority.issue(&format!("storage/{number}"));
    let listener = TlsListener::bind(([127, 0, 0, 1], 0).into(), &credentials).await.expect("bound");
    let record = NodeRecord {
        node: number,
        incarnation: node.wal().incarnation,
        address: listener.local_address().expect("bound").to_string(),
        zone: "a".into(),
        draining: false,
    };
    put(&cell.store, keys::node(number), record.encode()).await;
    let metrics = Arc::new(Metrics::default());
    let service = StorageService::new(Arc::clone(node) as _, SystemClock::shared(), metrics);
    Server::start(listener, Arc::new(service), WireLimits::default())
}

async fn append(gateway: &RemoteStorage, number: u32) -> u64 {
    let caller = support::caller(partition(1, 0).key.cluster);
    let batch = Batch::of(&[&number.to_string()]).by(9, 0, number).parse();
    let append = Append { partition: partition(1, 0), batch, reservation: Reservation::new(None) };
    let answer = gateway.submit_append(&caller, append).await.expect("a gateway's storage always answers");
    answer.expect("it is appended, before the crash or after").base_offset.get()
}

/// Every record from the first on, over as many reads as it takes.
async fn values(gateway: &RemoteStorage) -> Vec<String> {
    let caller = support::caller(partition(1, 0).key.cluster);
    let mut values = Vec::new();
    loop {
        let read = PartitionRead {
            partition: partition(1, 0),
            offset: Offset::new(values.len() as u64),
            bytes_max: 1 << 20,
            current_epoch: None,
        };
        let request =
            ReadRequest { partitions: vec![read], bytes_max: 1 << 20, isolation: Isolation::ReadUncommitted };
        let outcome = gateway.read(&caller, &request).await.remove(0).expect("readable");
        let records = decode(&outcome.records.concat());
        if records.is_empty() {
            return values;
        }
        for (offset, value) in records {
            assert_eq!(offset, values.len() as u64, "offsets have no gaps and no repetitions");
            values.push(value);
        }
    }
}

#[tokio::test]
async fn an_idempotent_producer_does_not_notice_that_a_node_crashed_and_came_back() {
    let (cell, authority) = (Cell::new().await, Authority::new());
    let revision = cell.put_topic(partition(1, 0), &[]).await;
    let mut node = cell.start().await;
    let mut server = serve(&cell, &authority, &node).await;
    let owners = SlotOwners::start(Arc::clone(&cell.store)).await.expect("memory does not fail");
    owners.catch_up(revision).await.expect("the watch runs");
    let dialer = TlsDialer::new(&authority.issue("gateway/test")).expect("usable");
    let gateway =
        RemoteStorage::new(owners, Arc::new(dialer), &RemoteConfig::default()).expect("valid settings");

    let mut in_flight = FuturesUnordered::new();
    for number in 0..BATCHES {
        if number % 20 == 10 {
            // Some are sent, some are on their way back.
            tokio::time::sleep(Duration::from_millis(3)).await;
            drop(server);
            node.halt().await;
            cell.disk.crash(u64::from(number));
            node = cell.start().await;
            server = serve(&cell, &authority, &node).await;
        }
        in_flight.push(append(&gateway, number));
        if in_flight.len() == IN_FLIGHT as usize {
            in_flight.next().await;
        }
    }
    while in_flight.next().await.is_some() {}
    let expected: Vec<String> = (0..BATCHES).map(|number| number.to_string()).collect();
    assert_eq!(values(&gateway).await, expected);
    server.shutdown(Duration::from_secs(1)).await;
    node.shutdown().await;
}
