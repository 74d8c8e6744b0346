//! What a storage process answers: peers by its copies; gateways, and whoever meters, by the node of its present WAL.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use headgate_storage_client::remote::message::rejected;
use headgate_storage_client::wire::{Message, PeerIdentity, PeerRole, Service, kind};
use tracing::warn;

use super::StorageService;
use crate::node::Node;
use crate::peer::{PEER, PeerService, call_from_message, reply_to_message};
use crate::usage::{USAGE, asked_cluster, usage_answer};

/// The services of one process. Between two WALs (see [`crate::Node::sealed`]) there is no node: gateways are refused, and
/// hold what they have; peers are answered all the time.
pub struct ProcessService {
    peers: PeerService,
    present: RwLock<Option<Present>>,
}

/// The node of the present WAL, and what answers for it.
#[derive(Clone)]
struct Present {
    node: Arc<Node>,
    storage: Arc<StorageService>,
}

impl ProcessService {
    /// Answers peers; no node yet.
    pub fn new(peers: PeerService) -> Arc<Self> {
        Arc::new(Self { peers, present: RwLock::default() })
    }

    /// Serves gateways by this node from now on.
    pub fn serve(&self, node: Arc<Node>, storage: StorageService) {
        self.replace(Some(Present { node, storage: Arc::new(storage) }));
    }

    /// Serves them by none.
    pub fn pause(&self) {
        self.replace(None);
    }

    fn replace(&self, present: Option<Present>) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = present;
    }

    fn answer_usage(peer: &PeerIdentity, node: &Node, message: &Message) -> Message {
        if !matches!(peer.role, PeerRole::Metering(_)) {
            return refused("only metering may ask this");
        }
        match asked_cluster(message) {
            Ok(cluster) => usage_answer(node.usage_snapshot(cluster)),
            Err(malformed) => rejected(&malformed),
        }
    }

    fn answer_peer(&self, peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        if !matches!(peer.role, PeerRole::Storage(_)) {
            return ready(refused("only storage nodes may ask this")).boxed();
        }
        match call_from_message(message) {
            Ok(call) => self.peers.answer(call).map(reply_to_message).boxed(),
            Err(malformed) => {
                warn!(%peer, %malformed, "call of a storage node not understood");
                ready(rejected(&malformed)).boxed()
            }
        }
    }
}

impl Service for ProcessService {
    fn call(&self, peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        if message.kind == PEER {
            return self.answer_peer(peer, message);
        }
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner).clone();
        match present {
            None => ready(refused("no WAL is open here")).boxed(),
            Some(Present { node, .. }) if message.kind == USAGE => {
                ready(Self::answer_usage(peer, &node, &message)).boxed()
            }
            Some(Present { storage, .. }) => storage.call(peer, message),
        }
    }
}

/// Nothing was done.
fn refused(why: &'static str) -> Message {
    Message { kind: kind::REFUSED, head: Bytes::from_static(why.as_bytes()), payload: Vec::new() }
}
