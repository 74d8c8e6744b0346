//! The network between storage nodes over sockets: mutual TLS, two connections to each node.
//!
//! One carries what must keep its order and must not wait (streams of groups, confirmations, fences); the other what is large
//! (reads, fetches), so that nobody takes a mirror for silent behind it. Both are opened on first use and again after they ended.
//!
//! Invariant: calls of one link reach its connection in the order of [`Network::call`], also those that waited for it to open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use headgate_metadata::id::NodeId;
use headgate_metadata::slot_owners::SlotOwners;
use headgate_storage_client::wire::{CallError, Connection, Dialer, Message, PeerRole};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::wire::{call_to_message, reply_from_message};
use super::{Network, NoAnswer, PeerCall, PeerReply, PeerRequest};
use crate::spawn;

#[cfg(test)]
mod tests;

/// Calls that wait for a connection at most; more are not sent. A stream has far fewer under way.
const WAITING_MAX: usize = 1_024;
/// After an attempt that failed, calls fail at once for this long.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// The peers of one process.
pub struct PeerLinks {
    nodes: Arc<SlotOwners>,
    dialer: Dialer,
    links: Mutex<HashMap<(NodeId, Lane), Arc<Link>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Ordered,
    Large,
}

impl Lane {
    fn of(request: &PeerRequest) -> Self {
        match request {
            PeerRequest::Read { .. } | PeerRequest::Fetch { .. } => Self::Large,
            _ => Self::Ordered,
        }
    }
}

type Answer = BoxFuture<'static, Result<Message, CallError>>;

#[derive(Default)]
struct Link(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where it leads to, and the connection.
    open: Option<(String, Connection)>,
    dialling: bool,
    /// In the order of their calls.
    waiting: Vec<(Message, oneshot::Sender<Answer>)>,
    failed: Option<Instant>,
}

impl PeerLinks {
    /// Reaches the nodes of `nodes` over streams of `dialer`. Must be used within a tokio runtime.
    pub fn new(nodes: Arc<SlotOwners>, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self { nodes, dialer, links: Mutex::default() })
    }

    fn link(&self, node: NodeId, lane: Lane) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry((node, lane)).or_default())
    }

    fn send(&self, node: NodeId, lane: Lane, message: Message) -> Result<Answer, NoAnswer> {
        let record = self.nodes.last_known(node).ok_or(NoAnswer)?;
        let link = self.link(node, lane);
        let mut state = link.lock();
        if let Some((address, connection)) = &state.open {
            if *address == record.address && !connection.is_closed() {
                return Ok(connection.call(message).boxed());
            }
            state.open = None;
        }
        if state.waiting.len() >= WAITING_MAX || state.failed.is_some_and(|at| at.elapsed() < DIAL_PAUSE) {
            return Err(NoAnswer);
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push((message, answer));
        if !state.dialling {
            state.dialling = true;
            let dial = dial(Arc::clone(&link), Arc::clone(&self.dialer), node, record.address.clone());
            // It ends by itself: the attempt is bounded, and whoever waits is told.
            drop(spawn::task(dial));
        }
        Ok(async move {
            match answered.await {
                Ok(answer) => answer.await,
                Err(_) => Err(CallError::NotSent),
            }
        }
        .boxed())
    }
}

async fn dial(link: Arc<Link>, dialer: Dialer, node: NodeId, address: String) {
    let opened = match Connection::open(&dialer, &address).await {
        Ok(connection) if connection.peer().role == PeerRole::Storage(node) => Some(connection),
        Ok(connection) => {
            warn!(%node, address, peer = %connection.peer(), "another process where a storage node should be");
            None
        }
        Err(error) => {
            debug!(%node, address, %error, "storage node not reached");
            None
        }
    };
    let mut state = link.lock();
    state.dialling = false;
    let waiting = std::mem::take(&mut state.waiting);
    let Some(connection) = opened else {
        state.failed = Some(Instant::now());
        // Dropping them tells that nothing was sent.
        return;
    };
    for (message, answer) in waiting {
        // Whoever has gone away meanwhile drops the call, which cancels it.
        drop(answer.send(connection.call(message).boxed()));
    }
    (state.failed, state.open) = (None, Some((address, connection)));
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for PeerLinks {
    fn call(&self, call: PeerCall) -> BoxFuture<'static, Result<PeerReply, NoAnswer>> {
        let (node, lane) = (call.to.0, Lane::of(&call.request));
        match self.send(node, lane, call_to_message(call)) {
            Err(none) => std::future::ready(Err(none)).boxed(),
            Ok(answer) => async move {
                let message = answer.await.map_err(|_| NoAnswer)?;
                reply_from_message(message).map_err(|malformed| {
                    warn!(%node, %malformed, "answer of a storage node not understood");
                    NoAnswer
                })
            }
            .boxed(),
        }
    }
}
