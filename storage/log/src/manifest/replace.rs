//! Compaction: other runs in the place of some (`storage/PROTOCOL.md` §8).

use headgate_metadata::id::PartitionKey;

use crate::manifest::fold::compacted_of;
use crate::manifest::{Manifest, RunRef};

/// Puts `by` in the place of the runs of `all` within its bounds. `all` are the partition's runs, those of its lists included.
pub(super) fn replace(manifest: &mut Manifest, key: &PartitionKey, mut all: Vec<RunRef>, by: Vec<RunRef>) {
    let Some(partition) = manifest.partitions.get_mut(key) else { return };
    let (Some(first), Some(last)) = (by.first(), by.last()) else { return };
    let begin = all.partition_point(|run| run.next_offset <= first.base_offset);
    let end = all.partition_point(|run| run.next_offset <= last.next_offset);
    let replaced: Vec<RunRef> = all.splice(begin..end, by).collect();
    let lists = std::mem::take(&mut partition.lists);
    manifest.garbage.extend(compacted_of(replaced, &all));
    manifest.garbage.extend(lists.into_iter().map(|list| list.object));
    partition.runs = all;
}
