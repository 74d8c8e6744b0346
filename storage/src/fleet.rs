//! What a node of a fleet has beside its own log: the network to its peers, and the copies it keeps of their logs.

use std::fmt;
use std::sync::Arc;

use headgate_metadata::id::{Incarnation, NodeId};
use tokio::sync::watch;

use crate::clocks::Clocks;
use crate::mirrors::Mirrors;
use crate::peer::Network;

/// A holder of copies: a node and which start of its process. A restarted one is another (`storage/PROTOCOL.md` §3.3).
pub type Member = (NodeId, Incarnation);

/// This process's place in the fleet. It outlives the node's WAL: a node that is sealed by its peers starts a new WAL, and the
/// copies it keeps for others stay.
pub struct Fleet {
    /// This process.
    pub me: Member,
    /// Its zone; mirrors are chosen in other ones first.
    pub zone: Arc<str>,
    /// The way to the peers.
    pub network: Arc<dyn Network>,
    /// The copies kept for them.
    pub mirrors: Arc<Mirrors>,
    /// How its clock stands to theirs.
    pub clocks: Arc<Clocks>,
    /// Copies of each WAL, the owner's included; fewer while nodes are missing.
    pub replication: usize,
    /// Whether this node gives away what it has (`headgate storage --drain`).
    pub draining: watch::Sender<bool>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("me", &self.me).field("zone", &self.zone).finish_non_exhaustive()
    }
}
