//! A few connections to each node, opened on first use and again after they ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use headgate_metadata::id::{Incarnation, NodeId};
use headgate_metadata::record::NodeRecord;
use tokio::time::Instant;

use crate::wire::{Connection, Dialer, PeerRole};

/// The connections of a gateway.
pub(super) struct Pool {
    dialer: Dialer,
    connections_per_node: u64,
    nodes: DashMap<NodeId, Arc<[Place]>>,
}

/// There is no connection now. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotConnected;

/// Where one connection stands.
#[derive(Default)]
struct Place {
    current: Mutex<Option<(Incarnation, Connection)>>,
    /// Held while dialling, so that those who want the same connection share one attempt; when the last one failed.
    dialling: tokio::sync::Mutex<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, connections_per_node: u32) -> Self {
        Self { dialer, connections_per_node: u64::from(connections_per_node), nodes: DashMap::new() }
    }

    /// The open connection for this client connection, if there is one.
    pub(super) fn ready(&self, node: &NodeRecord, client: u64) -> Option<Connection> {
        self.places(node.node)[self.index(client)].ready(node)
    }

    /// The connection for this client connection, dialled if there is none. Cancel safe. Those who waited while an attempt
    /// failed have failed with it.
    pub(super) async fn connection(
        &self,
        node: &NodeRecord,
        client: u64,
    ) -> Result<Connection, NotConnected> {
        let places = self.places(node.node);
        let place = &places[self.index(client)];
        if let Some(ready) = place.ready(node) {
            return Ok(ready);
        }
        let asked = Instant::now();
        let mut failed = place.dialling.lock().await;
        if let Some(ready) = place.ready(node) {
            return Ok(ready);
        }
        if failed.is_some_and(|failed| failed >= asked) {
            return Err(NotConnected);
        }
        match Connection::open(&self.dialer, &node.address).await {
            Ok(connection) if connection.peer().role == PeerRole::Storage(node.node) => {
                *place.lock() = Some((node.incarnation, connection.clone()));
                *failed = None;
                return Ok(connection);
            }
            Ok(connection) => {
                let peer = connection.peer();
                tracing::error!(node = %node.node, address = %node.address, %peer, "not the node that should be there");
            }
            // Said once, not for every attempt.
            Err(error) if failed.is_none() => {
                tracing::warn!(node = %node.node, %error, "storage node not reached");
            }
            Err(error) => tracing::debug!(node = %node.node, %error, "storage node not reached"),
        }
        *failed = Some(Instant::now());
        Err(NotConnected)
    }

    fn index(&self, client: u64) -> usize {
        (client % self.connections_per_node) as usize
    }

    fn places(&self, node: NodeId) -> Arc<[Place]> {
        if let Some(known) = self.nodes.get(&node) {
            return Arc::clone(&known);
        }
        let made = || (0..self.connections_per_node).map(|_| Place::default()).collect();
        Arc::clone(&self.nodes.entry(node).or_insert_with(made))
    }
}

impl Place {
    /// The open connection to this start of the node; one to an earlier start, which may still run elsewhere, is let go.
    fn ready(&self, node: &NodeRecord) -> Option<Connection> {
        let mut current = self.lock();
        let usable = |(incarnation, connection): &(Incarnation, Connection)| {
            *incarnation == node.incarnation && !connection.is_closed()
        };
        if !current.as_ref().is_some_and(usable) {
            *current = None;
        }
        current.as_ref().map(|(_, connection)| connection.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Incarnation, Connection)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
