use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{Incarnation, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{NodeRecord, Record as _};
use headgate_metadata::store::{Outcome, SharedStore, Transaction, Write};
use headgate_storage_client::wire::{
    Dial, Peer, PeerIdentity, PlainDialer, PlainListener, Server, Service, WireLimits,
};

use super::*;
use crate::peer::{call_from_message, reply_to_message};

fn identity(node: u32) -> PeerIdentity {
    PeerIdentity { cell: "cell".into(), role: PeerRole::Storage(NodeId::new(node)) }
}

fn wal(incarnation: u64) -> WalId {
    WalId { node: NodeId::new(1), incarnation: Incarnation::new(incarnation) }
}

fn call(to: u32, request: PeerRequest) -> PeerCall {
    PeerCall { to: (NodeId::new(to), Incarnation::new(1)), request }
}

fn confirm(to: u32, number: u64) -> PeerCall {
    call(to, PeerRequest::Confirm { wal: wal(number), still: None })
}

/// Writes down what it is asked and answers with how much that was.
#[derive(Default)]
struct Recorder(Mutex<Vec<PeerRequest>>);

impl Service for Recorder {
    fn call(&self, _peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        let mut heard = self.0.lock().expect("no panic under the lock");
        heard.push(call_from_message(message).expect("ours").request);
        let position = WalPosition::new(heard.len() as u64);
        std::future::ready(reply_to_message(PeerReply::Held { position, free_bytes: 0 })).boxed()
    }
}

/// Dials without TLS and knows who listens where.
#[derive(Default)]
struct Telephone(Mutex<HashMap<String, u32>>);

#[async_trait::async_trait]
impl Dial for Telephone {
    async fn dial(&self, address: &str) -> std::io::Result<Peer> {
        let node = self.0.lock().expect("no panic under the lock").get(address).copied().unwrap_or_default();
        PlainDialer { peer: identity(node) }.dial(address).await
    }
}

struct Cell {
    telephone: Arc<Telephone>,
    store: SharedStore,
    nodes: Arc<SlotOwners>,
    links: Arc<PeerLinks>,
}

impl Cell {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(EmbeddedStore::in_memory());
        let nodes = SlotOwners::start(Arc::clone(&store)).await.expect("the store answers");
        let telephone = Arc::new(Telephone::default());
        let links = PeerLinks::new(Arc::clone(&nodes), Arc::clone(&telephone) as _);
        Self { telephone, store, nodes, links }
    }

    /// A node that answers, told of in the metadata store.
    async fn start(&self, node: u32) -> (Arc<Recorder>, Server) {
        let listener = PlainListener::bind(([127, 0, 0, 1], 0).into(), identity(9)).await.expect("bound");
        let address = listener.local_address().expect("bound").to_string();
        self.telephone.0.lock().expect("no panic under the lock").insert(address.clone(), node);
        let recorder = Arc::new(Recorder::default());
        let server = Server::start(listener, Arc::clone(&recorder) as _, WireLimits::default());
        self.tell(node, address).await;
        (recorder, server)
    }

    async fn tell(&self, node: u32, address: String) {
        let (node, zone) = (NodeId::new(node), "a".to_owned());
        let record = NodeRecord { node, incarnation: Incarnation::new(1), address, zone, draining: false };
        let put = Transaction::new().then(Write::Put(keys::node(node), record.encode()));
        let Ok(Outcome::Committed(revision)) = self.store.commit(put).await else { panic!("memory fails") };
        self.nodes.catch_up(revision).await.expect("the watch runs");
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_connection_arrive_in_their_order_and_before_later_ones() {
    let cell = Cell::new().await;
    let (recorder, _server) = cell.start(1).await;
    let first: Vec<_> = (0..50).map(|number| cell.links.call(confirm(1, number))).collect();
    let first = futures_util::future::join_all(first).await;
    let later: Vec<_> = (50..100).map(|number| cell.links.call(confirm(1, number))).collect();
    let later = futures_util::future::join_all(later).await;
    for (index, reply) in first.into_iter().chain(later).enumerate() {
        let position = WalPosition::new(index as u64 + 1);
        assert_eq!(reply, Ok(PeerReply::Held { position, free_bytes: 0 }));
    }
    let expected: Vec<_> =
        (0..100).map(|number| PeerRequest::Confirm { wal: wal(number), still: None }).collect();
    assert_eq!(*recorder.0.lock().expect("no panic under the lock"), expected);
}

#[tokio::test]
async fn a_node_that_nobody_told_of_or_that_does_not_listen_gives_no_answer() {
    let cell = Cell::new().await;
    assert_eq!(cell.links.call(confirm(1, 1)).await, Err(NoAnswer));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = closed.local_addr().expect("bound").to_string();
    drop(closed);
    cell.tell(1, address).await;
    for number in 0..3 {
        assert_eq!(cell.links.call(confirm(1, number)).await, Err(NoAnswer));
    }
}

#[tokio::test]
async fn a_node_that_moved_is_reached_at_its_new_address() {
    let cell = Cell::new().await;
    let (_, server) = cell.start(1).await;
    assert!(cell.links.call(confirm(1, 1)).await.is_ok());
    drop(server);
    let (recorder, _server) = cell.start(1).await;
    assert!(cell.links.call(confirm(1, 2)).await.is_ok());
    assert_eq!(recorder.0.lock().expect("no panic under the lock").len(), 1);
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_the_right_one() {
    let cell = Cell::new().await;
    let (recorder, _server) = cell.start(2).await;
    let address = cell.nodes.last_known(NodeId::new(2)).expect("told of").address.clone();
    cell.tell(1, address).await;
    assert_eq!(cell.links.call(confirm(1, 1)).await, Err(NoAnswer));
    assert!(recorder.0.lock().expect("no panic under the lock").is_empty());
}

#[tokio::test]
async fn what_is_large_has_a_connection_of_its_own() {
    let cell = Cell::new().await;
    let (_, _server) = cell.start(1).await;
    let (from, end) = (WalPosition::new(0), WalPosition::new(9));
    let read = PeerRequest::Read { wal: wal(1), from, end, bytes_max: 1 };
    cell.links.call(call(1, read)).await.expect("answered");
    cell.links.call(confirm(1, 1)).await.expect("answered");
    assert_eq!(cell.links.links.lock().expect("no panic under the lock").len(), 2);
}
