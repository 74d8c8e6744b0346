//! Who owns which slot, and where that node is reached: the routing table of a gateway, kept fresh by watches.
//!
//! It may lag behind the truth; a node that no longer owns a slot says so, and the asker waits here for news, or learns from
//! another node what that one has seen. Nothing depends on it for safety.
//!
//! Invariant: a slot's epoch never goes back here, whoever tells of it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

use crate::follow::{Following, News};
use crate::id::{NodeId, Revision, SlotEpoch, SlotId, WalId};
use crate::keys;
use crate::record::{NodeRecord, Record, SlotRecord};
use crate::store::{MetadataError, SharedStore};

#[cfg(test)]
mod tests;

/// The owner of a slot, as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotOwner {
    /// Its WAL; the owner is that node in that incarnation.
    pub wal: WalId,
    /// Its epoch.
    pub epoch: SlotEpoch,
}

/// The owners and nodes of a cell.
#[derive(Debug)]
pub struct SlotOwners {
    slots: Arc<DashMap<SlotId, SlotOwner>>,
    nodes: Arc<DashMap<NodeId, Arc<NodeRecord>>>,
    /// The last record of each node ever seen. A record goes with its node's lease, but a node without a lease may still own
    /// and answer; who owns is said by the slots alone.
    last_known: Arc<DashMap<NodeId, Arc<NodeRecord>>>,
    changes: watch::Sender<u64>,
    following_slots: Following,
    following_nodes: Following,
}

impl SlotOwners {
    /// Reads all slots and nodes and keeps them fresh from now on. Must be called in a tokio runtime. Dropping it ends its
    /// tasks.
    pub async fn start(store: SharedStore) -> Result<Arc<Self>, MetadataError> {
        let changes = watch::Sender::new(0);
        let (slots, nodes) = (Arc::new(DashMap::new()), Arc::new(DashMap::new()));
        let slot = |key: &str, record: SlotRecord| {
            let slot: SlotId = key.strip_prefix(keys::SLOTS)?.parse().ok()?;
            Some((slot, SlotOwner { wal: record.owner, epoch: record.epoch }))
        };
        let sink = keep(Arc::clone(&slots), changes.clone(), slot, is_behind);
        let following_slots = Following::start(Arc::clone(&store), keys::SLOTS.to_owned(), sink).await?;
        let last_known = Arc::new(DashMap::new());
        let remembered = Arc::clone(&last_known);
        let node = move |_: &str, record: NodeRecord| {
            let (node, record) = (record.node, Arc::new(record));
            remembered.insert(node, Arc::clone(&record));
            Some((node, record))
        };
        let sink = keep(Arc::clone(&nodes), changes.clone(), node, |_, _| false);
        let following_nodes = Following::start(store, keys::NODES.to_owned(), sink).await?;
        Ok(Arc::new(Self { slots, nodes, last_known, changes, following_slots, following_nodes }))
    }

    /// The owner of a slot; `None` = nobody yet.
    pub fn owner(&self, slot: SlotId) -> Option<SlotOwner> {
        self.slots.get(&slot).map(|owner| *owner)
    }

    /// The node that owns a slot and answers; `None` = nobody, or a node that has not come back since (its WAL is dead).
    pub fn node_of(&self, slot: SlotId) -> Option<Arc<NodeRecord>> {
        let owner = self.owner(slot)?;
        let node = self.last_known.get(&owner.wal.node)?;
        // A process draws its own incarnation first and then one for each of its WALs: a WAL that its peers sealed is followed
        // by another of the same process.
        (node.incarnation <= owner.wal.incarnation).then(|| Arc::clone(&node))
    }

    /// A node as it last told of itself, whether it lives or not.
    pub fn last_known(&self, node: NodeId) -> Option<Arc<NodeRecord>> {
        self.last_known.get(&node).map(|record| Arc::clone(&record))
    }

    /// All live nodes, in order of their numbers.
    pub fn nodes(&self) -> Vec<Arc<NodeRecord>> {
        let mut nodes: Vec<_> = self.nodes.iter().map(|node| Arc::clone(&node)).collect();
        nodes.sort_unstable_by_key(|node| node.node);
        nodes
    }

    /// Changes whenever a slot's owner or epoch or a node's record changed; not with a slot's manifest.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All owners, in order of the slots.
    pub fn owners(&self) -> Vec<(SlotId, SlotOwner)> {
        let mut owners: Vec<_> = self.slots.iter().map(|owner| (*owner.key(), *owner)).collect();
        owners.sort_unstable_by_key(|(slot, _)| *slot);
        owners
    }

    /// Takes in what another process has seen of the store, as far as it is newer.
    pub fn learn(&self, told: impl IntoIterator<Item = (SlotId, SlotOwner)>) {
        let mut changed = false;
        for (slot, owner) in told {
            changed |= put_unless_behind(&self.slots, slot, owner, is_behind);
        }
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Brings the table up to the store: for those who were told that it is wrong. Coalesced, at most ten times a second.
    pub async fn refresh(&self) -> Result<(), MetadataError> {
        self.following_slots.refresh().await?;
        self.catch_up(self.following_slots.revision()).await
    }

    /// Waits until every change up to `revision` is in here.
    pub async fn catch_up(&self, revision: Revision) -> Result<(), MetadataError> {
        self.following_slots.reach(revision).await?;
        self.following_nodes.reach(revision).await
    }
}

fn is_behind(told: &SlotOwner, known: &SlotOwner) -> bool {
    told.epoch < known.epoch
}

/// Whether that changed anything.
fn put_unless_behind<K: Hash + Eq, V: PartialEq>(
    kept: &DashMap<K, V>,
    key: K,
    value: V,
    is_behind: fn(&V, &V) -> bool,
) -> bool {
    match kept.entry(key) {
        Entry::Occupied(known) if *known.get() == value || is_behind(&value, known.get()) => false,
        entry => {
            entry.insert(value);
            true
        }
    }
}

/// A sink that keeps what it needs of a prefix's records, and tells when that changed.
fn keep<R: Record, K: Hash + Eq + Copy + Send + Sync + 'static, V: PartialEq + Send + Sync + 'static>(
    kept: Arc<DashMap<K, V>>,
    changes: watch::Sender<u64>,
    entry: impl Fn(&str, R) -> Option<(K, V)> + Send + 'static,
    is_behind: fn(&V, &V) -> bool,
) -> impl FnMut(News) + Send + 'static {
    let mut by_key = HashMap::<String, K>::new();
    move |news| {
        let mut changed = false;
        let events: Vec<_> = match news {
            News::All(entries, _) => {
                // What is not among everything there is, is gone.
                let present: HashSet<&String> = entries.iter().map(|entry| &entry.key).collect();
                by_key.retain(|key, held| {
                    let stays = present.contains(key);
                    changed |= !stays && kept.remove(held).is_some();
                    stays
                });
                entries.into_iter().map(|entry| (entry.key, Some(entry.value))).collect()
            }
            News::Some(changes) => changes.events.into_iter().map(|event| (event.key, event.value)).collect(),
        };
        for (key, value) in events {
            match value.as_deref().map(R::decode) {
                Some(Ok(record)) => {
                    let Some((held, value)) = entry(&key, record) else { continue };
                    by_key.insert(key, held);
                    changed |= put_unless_behind(&kept, held, value, is_behind);
                }
                Some(Err(error)) => tracing::error!(%key, %error, "record not readable; the last one stays"),
                None => changed |= by_key.remove(&key).and_then(|held| kept.remove(&held)).is_some(),
            }
        }
        if changed {
            changes.send_modify(|changes| *changes += 1);
        }
    }
}
