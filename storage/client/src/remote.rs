//! The storage interface over the network: routing by slot, pooled connections, retries, and order kept through all of it.
//!
//! ```text
//! submit_append ─► lane (connection, slot) ─┐
//! read, await_data ─► one call per owner ───┼─► pool (node) ─► wire ─► owner
//! groups, offsets, … ─► ask ────────────────┘        ▲
//!                          slot owners (metadata watch, corrected by refusals)
//! ```
//!
//! Rules:
//! 1. A request whose owner has definitely refused it (not the owner, not sent, no room) is held until routing changes or a
//!    pause has passed, and sent again, within the caller's patience.
//! 2. A request whose answer was lost is sent again only if that is always safe; see each operation of [`crate::Storage`].
//! 3. Appends of one connection to one slot keep their order: while one is held, later ones wait behind it, and the owner
//!    refuses what was already sent behind it (`AppendCall::round`).
//! 4. An answer that needs several owners is whole or retriable, never shorter. Reads are the exception: an owner that cannot be
//!    reached contributes partitions without records (`gateway/PROTOCOL.md` §4).

mod ask;
mod config;
mod fan_out;
mod lane;
mod lanes;
mod learning;
pub mod message;
mod pool;
mod reading;
mod room;
mod seen;
mod storage;
mod waiting;

use std::sync::Arc;

use headgate_metadata::slot_owners::SlotOwners;

pub use config::{RemoteConfig, RemoteConfigError};

use crate::wire::Dialer;
use lanes::Lanes;
use learning::Learned;
use pool::Pool;
use room::Rooms;
use seen::Seen;

/// The owners of slots, wherever they are. It implements [`crate::Storage`]. Must be used within a tokio runtime.
pub struct RemoteStorage {
    routes: Routes,
    lanes: Arc<Lanes>,
    rooms: Rooms,
    seen: Seen,
}

/// Where slots are, and connections to there.
#[derive(Clone)]
struct Routes {
    owners: Arc<SlotOwners>,
    pool: Arc<Pool>,
    learned: Arc<Learned>,
}

impl RemoteStorage {
    /// Routes by `owners` over streams of `dialer`. Connections are opened on first use.
    pub fn new(
        owners: Arc<SlotOwners>,
        dialer: Dialer,
        config: &RemoteConfig,
    ) -> Result<Arc<Self>, RemoteConfigError> {
        config.validate()?;
        let pool = Arc::new(Pool::new(dialer, config.connections_per_node));
        let routes = Routes { owners, pool, learned: Arc::default() };
        Ok(Arc::new(Self {
            lanes: Lanes::new(routes.clone()),
            rooms: Rooms::new(config.unanswered_bytes_per_cluster_max),
            seen: Seen::default(),
            routes,
        }))
    }
}
