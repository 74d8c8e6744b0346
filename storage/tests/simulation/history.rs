//! What clients did and were told.

use std::collections::BTreeMap;
use std::sync::Mutex;

use headgate_metadata::id::{PartitionKey, SlotId};
use headgate_storage_client::PartitionAddress;

/// One partition's history.
#[derive(Debug, Default, Clone)]
pub(crate) struct PartitionHistory {
    /// Values in the order in which their only producer sent them, each with the offset it was acknowledged at.
    pub(crate) sent: Vec<(String, Option<u64>)>,
    /// Whether a value may stand twice: its producer has no id and sent it once, but the answer may be lost.
    pub(crate) idempotent: bool,
    /// What readers saw: offset and value.
    pub(crate) seen: BTreeMap<u64, String>,
    /// The highest high watermark that anybody was told.
    pub(crate) high_watermark: u64,
    /// Violations noticed on the way.
    pub(crate) violations: Vec<String>,
}

/// One group's history.
#[derive(Debug, Default, Clone)]
pub(crate) struct GroupHistory {
    /// Commits in the order they were sent, and whether each was acknowledged.
    pub(crate) commits: Vec<(u64, bool)>,
    pub(crate) violations: Vec<String>,
}

/// All histories of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) partitions: Mutex<BTreeMap<PartitionKey, (SlotId, PartitionHistory)>>,
    pub(crate) groups: Mutex<BTreeMap<u32, GroupHistory>>,
}

impl History {
    pub(crate) fn with<T>(&self, at: PartitionAddress, act: impl FnOnce(&mut PartitionHistory) -> T) -> T {
        let mut partitions = self.partitions.lock().expect("no panic under the lock");
        let (_, history) = partitions.entry(at.key).or_insert_with(|| (at.slot, PartitionHistory::default()));
        act(history)
    }

    pub(crate) fn with_group<T>(&self, group: u32, act: impl FnOnce(&mut GroupHistory) -> T) -> T {
        act(self.groups.lock().expect("no panic under the lock").entry(group).or_default())
    }
}
