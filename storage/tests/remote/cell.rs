//! A cell of owners that are doubles, and a gateway's storage in front of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{
    ClusterId, Incarnation, NodeId, PartitionId, PartitionKey, Revision, SlotEpoch, SlotId, TopicId, WalId,
    WalPosition,
};
use headgate_metadata::keys;
use headgate_metadata::record::{NodeRecord, Record, SlotRecord};
use headgate_metadata::slot_owners::SlotOwners;
use headgate_metadata::store::{Outcome, SharedStore, Transaction, Write};
use headgate_storage::clock::SystemClock;
use headgate_storage::{Metrics, StorageService};
use headgate_storage_client::remote::{RemoteConfig, RemoteStorage};
use headgate_storage_client::wire::{Listen, Peer, Server, TlsDialer, TlsListener, WireLimits};
use headgate_storage_client::{
    Append, AppendError, Appended, BATCH_HEADER_BYTES, Caller, Completion, PartitionAddress, RecordBatch,
    RequestId, Reservation, Storage,
};

use crate::authority::Authority;
use crate::owner::Owner;

pub(crate) struct Cell {
    pub(crate) authority: Authority,
    pub(crate) store: SharedStore,
}

/// An owner and the server in front of it.
pub(crate) struct Node {
    pub(crate) owner: Arc<Owner>,
    pub(crate) server: Server,
    pub(crate) number: u32,
}

impl Cell {
    /// Nodes 1, 2, …; slot s belongs to the node at s modulo their number.
    pub(crate) async fn new(nodes: u32, slots: u16) -> (Self, Vec<Node>) {
        Self::over(Arc::new(EmbeddedStore::in_memory()), nodes, slots).await
    }

    pub(crate) async fn over(store: SharedStore, nodes: u32, slots: u16) -> (Self, Vec<Node>) {
        let cell = Self { authority: Authority::new(), store };
        let mut started = Vec::new();
        for number in 1..=nodes {
            started.push(cell.start(number).await);
        }
        for slot in 0..slots {
            let node = &started[(u32::from(slot) % nodes) as usize];
            node.owner.own(slot);
            cell.give(slot, node.number, 1).await;
        }
        (cell, started)
    }

    pub(crate) async fn start(&self, number: u32) -> Node {
        self.start_with(number, WireLimits::default()).await
    }

    pub(crate) async fn start_with(&self, number: u32, limits: WireLimits) -> Node {
        let owner = Owner::new();
        let service =
            StorageService::new(Arc::clone(&owner) as _, SystemClock::shared(), Arc::new(Metrics::default()));
        let listener = self.listen(number).await;
        let address = listener.local_address().expect("bound").to_string();
        let server = Server::start(listener, Arc::new(service), limits);
        self.tell(number, address).await;
        Node { owner, server, number }
    }

    pub(crate) async fn listen(&self, number: u32) -> TlsListener {
        let credentials = self.authority.issue(&format!("storage/{number}"));
        TlsListener::bind(([127, 0, 0, 1], 0).into(), &credentials).await.expect("bound")
    }

    /// A node that shakes hands and then never says a word.
    pub(crate) async fn start_hung(&self, number: u32) -> tokio::task::JoinHandle<Vec<Peer>> {
        let mut listener = self.listen(number).await;
        self.tell(number, listener.local_address().expect("bound").to_string()).await;
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(handshake) = listener.accept().await {
                held.extend(handshake.await);
            }
            held
        })
    }

    /// Writes where a node is reached.
    pub(crate) async fn tell(&self, number: u32, address: String) {
        let record = NodeRecord {
            node: NodeId::new(number),
            incarnation: Incarnation::new(u64::from(number)),
            address,
            zone: "a".into(),
            draining: false,
        };
        self.put(keys::node(record.node), record.encode()).await;
    }

    /// Writes who owns a slot.
    pub(crate) async fn give(&self, slot: u16, node: u32, epoch: u32) {
        let record = SlotRecord {
            owner: WalId { node: NodeId::new(node), incarnation: Incarnation::new(u64::from(node)) },
            epoch: SlotEpoch::new(epoch),
            from: WalPosition::new(0),
            spans: Vec::new(),
            manifest: None,
            applied: None,
        };
        self.put(keys::slot(SlotId::new(slot)), record.encode()).await;
    }

    async fn put(&self, key: String, value: Bytes) {
        let outcome = self.store.commit(Transaction::new().then(Write::Put(key, value))).await;
        assert!(matches!(outcome, Ok(Outcome::Committed(_))));
    }

    pub(crate) async fn gateway(&self) -> Arc<RemoteStorage> {
        self.gateway_with(&RemoteConfig::default()).await
    }

    pub(crate) async fn gateway_with(&self, config: &RemoteConfig) -> Arc<RemoteStorage> {
        self.gateway_over(Arc::clone(&self.store), config).await
    }

    /// A gateway that reaches the metadata store by `store`.
    pub(crate) async fn gateway_over(&self, store: SharedStore, config: &RemoteConfig) -> Arc<RemoteStorage> {
        let owners = SlotOwners::start(store).await.expect("memory does not fail");
        let dialer = TlsDialer::new(&self.authority.issue("gateway/test")).expect("usable");
        RemoteStorage::new(owners, Arc::new(dialer), config).expect("valid settings")
    }
}

pub(crate) fn cluster() -> ClusterId {
    "abcd1234".parse().expect("a cluster id")
}

pub(crate) fn caller(connection: u64, patience: Duration) -> Caller {
    Caller {
        cluster: cluster(),
        principal: "arn:aws:iam::000000000001:user/test".into(),
        client_id: "test".into(),
        client_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        patience,
        request: RequestId(1),
        revision_seen: Revision::new(0),
        connection,
    }
}

/// A caller with more patience than any test needs.
pub(crate) fn patient(connection: u64) -> Caller {
    caller(connection, Duration::from_mins(1))
}

/// The one partition of a slot.
pub(crate) fn partition(slot: u16) -> PartitionAddress {
    let topic = TopicId::from_random(u128::from(slot) + 1);
    let key = PartitionKey { cluster: cluster(), topic, partition: PartitionId::new(0) };
    PartitionAddress { key, slot: SlotId::new(slot) }
}

/// A batch whose records are this number; with a producer id, idempotent.
pub(crate) fn batch(number: u32, producer: Option<u64>) -> RecordBatch {
    batch_of(&number.to_be_bytes(), producer, number)
}

pub(crate) fn batch_of(records: &[u8], producer: Option<u64>, sequence: u32) -> RecordBatch {
    let mut header = BytesMut::zeroed(BATCH_HEADER_BYTES);
    header[8..12].copy_from_slice(&((BATCH_HEADER_BYTES - 12 + records.len()) as i32).to_be_bytes());
    header[16] = 2;
    header[43..57].fill(0xff);
    if let Some(producer) = producer {
        header[43..51].copy_from_slice(&producer.to_be_bytes());
        header[51..53].copy_from_slice(&0_u16.to_be_bytes());
        header[53..57].copy_from_slice(&sequence.to_be_bytes());
    }
    header[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let header: [u8; BATCH_HEADER_BYTES] = header[..].try_into().expect("as long as a header");
    RecordBatch::from_parts(header, Bytes::copy_from_slice(records)).expect("a valid batch")
}

pub(crate) fn submit(
    storage: &RemoteStorage,
    caller: &Caller,
    slot: u16,
    batch: RecordBatch,
) -> Completion<Result<Appended, AppendError>> {
    let reservation = Reservation::new(None);
    storage.submit_append(caller, Append { partition: partition(slot), batch, reservation })
}

/// The answer of an append that must have one.
pub(crate) async fn outcome(
    completion: Completion<Result<Appended, AppendError>>,
) -> Result<Appended, AppendError> {
    completion.await.expect("a gateway's storage always answers")
}
