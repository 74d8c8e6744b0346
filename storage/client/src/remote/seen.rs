//! The bounds last seen of each partition: what a reader is told of one whose owner cannot be reached right now.

use dashmap::DashMap;
use headgate_metadata::id::{Offset, PartitionKey};

use crate::{PartitionRead, ReadSuccess};

/// Partitions remembered. Above it all are forgotten at once: what is lost is a figure that consumers show as their lag.
const PARTITIONS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct Bounds {
    high_watermark: Offset,
    last_stable_offset: Offset,
    log_start: Offset,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    bounds: DashMap<PartitionKey, Bounds>,
}

impl Seen {
    /// Remembers what an owner said.
    pub(super) fn note(&self, partition: PartitionKey, read: &ReadSuccess) {
        if self.bounds.len() >= PARTITIONS_MAX {
            self.bounds.clear();
        }
        let bounds = Bounds {
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start: read.log_start,
        };
        self.bounds.insert(partition, bounds);
    }

    /// A read that found nothing new. Of a partition never seen only this is known: its reader's place was readable.
    pub(super) fn nothing_new(&self, read: &PartitionRead) -> ReadSuccess {
        let place = Bounds {
            high_watermark: read.offset,
            last_stable_offset: read.offset,
            log_start: Offset::new(0),
        };
        let known = self.bounds.get(&read.partition.key).map_or(place, |bounds| *bounds);
        ReadSuccess {
            high_watermark: known.high_watermark,
            last_stable_offset: known.last_stable_offset,
            log_start: known.log_start,
            ..ReadSuccess::default()
        }
    }
}
