//! Rendezvous hashing: which of some nodes comes first for a name. Every node computes the same, without asking.

use headgate_metadata::id::NodeId;
use xxhash_rust::xxh3::Xxh3;

/// The node's rank for the name; the highest comes first. XXH3-64 with seed 0; nothing persisted rests on it.
pub(crate) fn rank(name: &str, node: NodeId) -> u64 {
    let mut state = Xxh3::new();
    state.update(name.as_bytes());
    state.update(&[0]);
    state.update(&node.get().to_le_bytes());
    state.digest()
}

/// The node that comes first for the name.
pub(crate) fn first(name: &str, nodes: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    nodes.max_by_key(|node| (rank(name, *node), *node))
}
