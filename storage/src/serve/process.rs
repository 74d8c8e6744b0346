//! What a storage process answers: peers by its copies, gateways by the node of its present WAL.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use headgate_storage_client::remote::message::rejected;
use headgate_storage_client::wire::{Message, PeerIdentity, PeerRole, Service, kind};
use tracing::warn;

use super::StorageService;
use crate::peer::{PEER, PeerService, call_from_message, reply_to_message};

/// The services of one process. Between two WALs (see [`crate::Node::sealed`]) there is no node: gateways are refused, and
/// hold what they have; peers are answered all the time.
pub struct ProcessService {
    peers: PeerService,
    node: RwLock<Option<Arc<StorageService>>>,
}

impl ProcessService {
    /// Answers peers; no node yet.
    pub fn new(peers: PeerService) -> Arc<Self> {
        Arc::new(Self { peers, node: RwLock::default() })
    }

    /// Serves gateways by this node from now on, or by none.
    pub fn serve(&self, node: Option<Arc<StorageService>>) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = node;
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
        let node = self.node.read().unwrap_or_else(PoisonError::into_inner).clone();
        match node {
            Some(node) => node.call(peer, message),
            None => ready(refused("no WAL is open here")).boxed(),
        }
    }
}

/// Nothing was done.
fn refused(why: &'static str) -> Message {
    Message { kind: kind::REFUSED, head: Bytes::from_static(why.as_bytes()), payload: Vec::new() }
}
