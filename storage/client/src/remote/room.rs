//! Room for unanswered appends at the gateway, per node and cluster. The owner has room of its own and takes it when the append
//! arrives; this one bounds what waits for that.

use std::sync::Arc;

use dashmap::DashMap;
use headgate_metadata::id::{ClusterId, NodeId};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::{Reservation, Unavailable};

/// The rooms of a gateway.
pub(super) struct Rooms {
    rooms: DashMap<(NodeId, ClusterId), Arc<Semaphore>>,
    bytes_max: u32,
}

impl Rooms {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { rooms: DashMap::new(), bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX) }
    }

    /// Waits for room until the deadline. A request larger than the whole room gets all of it. Cancel safe.
    pub(super) async fn reserve(
        &self,
        node: NodeId,
        cluster: ClusterId,
        bytes: u64,
        deadline: Instant,
    ) -> Result<Reservation, Unavailable> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.room(node, cluster);
        let permit = timeout_at(deadline, room.acquire_many_owned(permits)).await;
        permit
            .ok()
            .and_then(Result::ok)
            .map(|permit| Reservation::new(Some(permit)))
            .ok_or(Unavailable::Refused)
    }

    fn room(&self, node: NodeId, cluster: ClusterId) -> Arc<Semaphore> {
        if let Some(known) = self.rooms.get(&(node, cluster)) {
            return Arc::clone(&known);
        }
        let made = || Arc::new(Semaphore::new(self.bytes_max as usize));
        Arc::clone(&self.rooms.entry((node, cluster)).or_insert_with(made))
    }
}
