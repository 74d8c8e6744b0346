//! The limits of single partitions, at the owner, which alone sees all of a partition.
//!
//! A bucket exists only while it is not full: partitions are charged while their cluster has nothing to lend, and few are then
//! over their limit.

use std::time::Duration;

use dashmap::DashMap;
use headgate_metadata::id::PartitionKey;
use headgate_storage_client::quota::{DebtBucket, Direction, PartitionCharge};

/// Full buckets are looked for whenever there are so many more.
const TIDY_EVERY: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PartitionQuotas {
    buckets: DashMap<(PartitionKey, Direction), DebtBucket>,
}

impl PartitionQuotas {
    /// Charges, and tells how long each partition is over its limit now.
    pub(crate) fn charge(&self, charges: &[PartitionCharge], now: Duration) -> Vec<Duration> {
        charges.iter().map(|charge| self.charge_one(charge, now)).collect()
    }

    fn charge_one(&self, charge: &PartitionCharge, now: Duration) -> Duration {
        // A second's worth at once.
        let rate = charge.limit as f64;
        let key = (charge.partition.key, charge.direction);
        let over = {
            let mut bucket = self.buckets.entry(key).or_insert_with(|| DebtBucket::full(rate, rate, now));
            bucket.resize(rate, rate, now);
            bucket.charge(charge.bytes as f64, now);
            bucket.debt_time(now)
        };
        if self.buckets.len().is_multiple_of(TIDY_EVERY) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{ClusterId, PartitionId, SlotId, TopicId};
    use headgate_storage_client::PartitionAddress;

    use super::*;

    fn charge(partition: u32, direction: Direction, bytes: u64) -> PartitionCharge {
        let key = PartitionKey {
            cluster: ClusterId::from_random(1),
            topic: TopicId::from_random(1),
            partition: PartitionId::new(partition),
        };
        let partition = PartitionAddress { key, slot: SlotId::new(0) };
        PartitionCharge { partition, direction, bytes, limit: 1_000 }
    }

    #[test]
    fn each_partition_and_direction_has_a_bucket_of_its_own() {
        let quotas = PartitionQuotas::default();
        let (now, second) = (Duration::from_secs(5), Duration::from_secs(1));
        let over = quotas.charge(
            &[
                charge(1, Direction::In, 2_000),
                charge(1, Direction::Out, 500),
                charge(2, Direction::In, 1_000),
                charge(1, Direction::In, 1_000),
            ],
            now,
        );
        assert_eq!(over, [second, Duration::ZERO, Duration::ZERO, 2 * second]);
        assert_eq!(quotas.charge(&[charge(1, Direction::In, 0)], now + 2 * second), [Duration::ZERO]);
    }

    #[test]
    fn full_buckets_are_not_kept() {
        let quotas = PartitionQuotas::default();
        let late = Duration::from_mins(1);
        for partition in 0..TIDY_EVERY as u32 {
            let now = if partition + 1 == TIDY_EVERY as u32 { late } else { Duration::ZERO };
            quotas.charge(&[charge(partition, Direction::In, 100)], now);
        }
        assert_eq!(quotas.buckets.len(), 1, "only the one charged last is not full");
    }
}
