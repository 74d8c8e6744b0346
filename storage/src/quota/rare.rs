//! What is charged at the coordinator itself: connections, topic operations, partition changes, new groups.
//!
//! Connections are counted leases: what each gateway last reported, and what it was granted since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::Incarnation;
use headgate_metadata::quota::{QuotaKey, QuotaLimits};
use headgate_storage_client::quota::{ChargeOutcome, Charged, DebtBucket};

/// A group that was granted is listed by its own coordinator within this time, or its creation failed.
const GROUP_PENDING: Duration = Duration::from_secs(10);
/// The time that the quota of partition changes is for.
const PARTITION_CHANGES_SECONDS: f64 = 300.0;
/// Groups that are granted and not listed yet, at most.
const GROUPS_PENDING_MAX: usize = 1_000;

/// The buckets and counts of one cluster. Time is counted from any fixed moment.
#[derive(Debug, Clone)]
pub(super) struct Rare {
    connections: BTreeMap<Incarnation, u32>,
    attempts: DebtBucket,
    topic_operations: DebtBucket,
    partition_changes: DebtBucket,
    groups: Vec<(Arc<str>, Duration)>,
}

impl Rare {
    pub(super) fn full(limits: &QuotaLimits, now: Duration) -> Self {
        let bucket = |(rate, burst)| DebtBucket::full(rate, burst, now);
        Self {
            connections: BTreeMap::new(),
            attempts: bucket(attempts_of(limits)),
            topic_operations: bucket(topic_operations_of(limits)),
            partition_changes: bucket(partition_changes_of(limits)),
            groups: Vec::new(),
        }
    }

    pub(super) fn set_limits(&mut self, limits: &QuotaLimits, now: Duration) {
        let (rate, burst) = attempts_of(limits);
        self.attempts.resize(rate, burst, now);
        let (rate, burst) = topic_operations_of(limits);
        self.topic_operations.resize(rate, burst, now);
        let (rate, burst) = partition_changes_of(limits);
        self.partition_changes.resize(rate, burst, now);
    }

    /// How many connections a gateway holds, as it says.
    pub(super) fn observe_connections(&mut self, gateway: Incarnation, connections: u32) {
        self.connections.insert(gateway, connections);
    }

    /// The connections of a gateway that is gone are gone.
    pub(super) fn forget(&mut self, gateway: Incarnation) {
        self.connections.remove(&gateway);
    }

    pub(super) fn connections(&self) -> u32 {
        self.connections.values().sum()
    }

    pub(super) fn charge(
        &mut self,
        gateway: Incarnation,
        what: &Charged,
        wait_max: Duration,
        limits: &QuotaLimits,
        now: Duration,
    ) -> ChargeOutcome {
        let over = |quota, retry_after| ChargeOutcome::Over { quota, retry_after };
        match what {
            Charged::Connection => {
                let max = limits.get(QuotaKey::ConnectionsMax);
                if u64::from(self.connections()) >= max {
                    return over(QuotaKey::ConnectionsMax, None);
                }
                let outcome =
                    draw(&mut self.attempts, 1, wait_max, QuotaKey::ConnectionAttemptsPerSecond, now);
                if matches!(outcome, ChargeOutcome::Granted { .. }) {
                    *self.connections.entry(gateway).or_default() += 1;
                }
                outcome
            }
            Charged::TopicOperation => {
                draw(&mut self.topic_operations, 1, wait_max, QuotaKey::TopicOperationsPerSecond, now)
            }
            Charged::PartitionChanges { partitions } => {
                let quota = QuotaKey::PartitionChangesPer5Minutes;
                draw(&mut self.partition_changes, *partitions, wait_max, quota, now)
            }
            Charged::Group { group } => self.charge_group(group, now),
        }
    }

    /// Whether there are too many, the gateway tells: it alone sees the list. What is granted here and not yet listed is told
    /// to it, so that two gateways that list at the same moment count each other's.
    fn charge_group(&mut self, group: &Arc<str>, now: Duration) -> ChargeOutcome {
        self.groups.retain(|(name, until)| *until > now && name != group);
        if self.groups.len() >= GROUPS_PENDING_MAX {
            let retry_after = self.groups.first().map(|(_, until)| until.saturating_sub(now));
            return ChargeOutcome::Over { quota: QuotaKey::GroupsMax, retry_after };
        }
        self.groups.push((Arc::clone(group), now + GROUP_PENDING));
        let groups = self.groups.iter().map(|(name, _)| Arc::clone(name)).collect();
        ChargeOutcome::Granted { wait: Duration::ZERO, groups }
    }
}

/// As Kafka does for controller mutations (KIP-599): what is not in debt may go, whatever its size, and the next one waits.
fn draw(
    bucket: &mut DebtBucket,
    amount: u32,
    wait_max: Duration,
    quota: QuotaKey,
    now: Duration,
) -> ChargeOutcome {
    let wait = bucket.debt_time(now);
    if wait > wait_max {
        return ChargeOutcome::Over { quota, retry_after: Some(wait) };
    }
    bucket.charge(f64::from(amount), now);
    ChargeOutcome::Granted { wait, groups: Vec::new() }
}

/// A second's worth at once.
fn attempts_of(limits: &QuotaLimits) -> (f64, f64) {
    let rate = limits.get(QuotaKey::ConnectionAttemptsPerSecond) as f64;
    (rate, rate)
}

fn topic_operations_of(limits: &QuotaLimits) -> (f64, f64) {
    let rate = limits.get(QuotaKey::TopicOperationsPerSecond) as f64;
    (rate, rate)
}

/// All of the five minutes' worth at once.
fn partition_changes_of(limits: &QuotaLimits) -> (f64, f64) {
    let changes = limits.get(QuotaKey::PartitionChangesPer5Minutes) as f64;
    (changes / PARTITION_CHANGES_SECONDS, changes)
}

#[cfg(test)]
mod tests;
