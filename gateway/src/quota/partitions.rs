//! The limits of single partitions, which their owners know. A partition may borrow what its cluster leaves unused, so its
//! owner is asked only while the cluster has nothing to lend; nobody then needs more partitions than the data do.

use futures_util::future::join_all;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::{ANSWER_MAX, Direction, Flow, PartitionCharge};
use headgate_storage_client::{Caller, PartitionAddress};
use tokio::time::timeout;

use super::{Limit, Throttle};
use crate::session::Session;

impl Session {
    /// Charges what went into or out of these partitions, and slows the client down if one of them is over its limit.
    pub(crate) async fn charge_partitions(
        &self,
        caller: &Caller,
        direction: Direction,
        bytes: impl Iterator<Item = (PartitionAddress, u64)> + Send,
    ) {
        let (flow, quota) = match direction {
            Direction::In => (Flow::BytesIn, QuotaKey::PartitionBytesInPerSecond),
            Direction::Out => (Flow::BytesOut, QuotaKey::PartitionBytesOutPerSecond),
        };
        if !self.quota().has_nothing_to_lend(flow) {
            return;
        }
        let limit = self.quota().limit(quota);
        let charge = |(partition, bytes)| PartitionCharge { partition, direction, bytes, limit };
        let mut charges: Vec<PartitionCharge> = bytes.map(charge).filter(|charge| charge.bytes > 0).collect();
        charges.sort_unstable_by_key(|charge| charge.partition.slot);
        let storage = &self.shared.parts.storage;
        let of_slots = charges.chunk_by(|left, right| left.partition.slot == right.partition.slot);
        let asked = of_slots.map(|charges| {
            let charged = storage.charge_partitions(caller, charges[0].partition.slot, charges.to_vec());
            timeout(ANSWER_MAX, charged)
        });
        // An owner that does not answer slows nobody down.
        let over = join_all(asked).await.into_iter().flatten().flatten().flatten().max();
        if let Some(time) = over.filter(|time| !time.is_zero()) {
            self.slow_down(Throttle { limit: Limit::Quota(quota), time });
        }
    }
}
