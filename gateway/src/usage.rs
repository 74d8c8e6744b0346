//! Bytes of batches handed whole to the kernel, per partition, cumulative under this process's incarnation, and reported
//! to their owners about every second (`storage/PROTOCOL.md` §13).
//!
//! Invariant: under one incarnation a figure is counted before it is reported and never goes back, so a lost, late or repeated
//! report changes nothing. Owners forget an incarnation that was silent for 24 h, so a gateway counts under a new one long before:
//! only what no report has named goes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use headgate_metadata::counters;
use headgate_metadata::id::{ByteCount, Incarnation, SlotId};
use headgate_storage_client::{PartitionAddress, SentBytes, Storage};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often owners are told.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long one incarnation counts: half of what owners remember.
const COUNT_UNDER_ONE: Duration = Duration::from_hours(12);

/// What has been sent since the start.
#[derive(Debug)]
pub(crate) struct SentCounters {
    /// What the totals are counted under.
    incarnation: AtomicU64,
    totals: DashMap<PartitionAddress, Counter>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counter {
    total: u64,
    reported: u64,
}

impl SentCounters {
    /// Nothing sent yet, under this incarnation.
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { incarnation: AtomicU64::new(incarnation.get()), totals: DashMap::new() }
    }

    /// Counts what one response carried.
    pub(crate) fn add(&self, sent: &[(PartitionAddress, u64)]) {
        for (partition, bytes) in sent.iter().filter(|(_, bytes)| *bytes > 0) {
            self.totals.entry(*partition).or_default().total += bytes;
        }
    }

    /// The figures that have grown since they were last reported, by slot.
    fn unreported(&self) -> Vec<SentBytes> {
        let mut unreported: Vec<SentBytes> = self
            .totals
            .iter()
            .filter(|entry| entry.total > entry.reported)
            .map(|entry| SentBytes { partition: *entry.key(), total: ByteCount::new(entry.total) })
            .collect();
        unreported.sort_unstable_by_key(|sent| (sent.partition.slot, sent.partition.key));
        unreported
    }

    fn mark_reported(&self, sent: &[SentBytes]) {
        for sent in sent {
            if let Some(mut counter) = self.totals.get_mut(&sent.partition) {
                counter.reported = counter.reported.max(sent.total.get());
            }
        }
    }

    /// Begins at zero with what was never reported. Only after a report that succeeded whole: of another nobody knows what was
    /// taken.
    fn renew(&self, incarnation: Incarnation) {
        self.incarnation.store(incarnation.get(), Ordering::Release);
        for mut counter in self.totals.iter_mut() {
            *counter = Counter { total: counter.total - counter.reported, reported: 0 };
        }
        self.totals.retain(|_, counter| counter.total > 0);
    }

    /// Tells the owners what has grown; `false` = not all of them have it for certain. It is repeated with the next report.
    pub(crate) async fn report(&self, storage: &dyn Storage) -> bool {
        let gateway = Incarnation::new(self.incarnation.load(Ordering::Acquire));
        let mut is_whole = true;
        let unreported = self.unreported();
        for of_slot in unreported.chunk_by(|left, right| left.partition.slot == right.partition.slot) {
            match storage.report_sent(gateway, of_slot).await {
                Ok(()) => self.mark_reported(of_slot),
                Err(error) => {
                    is_whole = false;
                    let slot: SlotId = of_slot[0].partition.slot;
                    tracing::debug!(%slot, %error, "bytes sent not reported");
                }
            }
        }
        is_whole
    }
}

/// Reports for ever; ends with its owner.
pub(crate) async fn report_for_ever(shared: Arc<crate::shared::Shared>) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = Instant::now();
    loop {
        ticks.tick().await;
        let is_whole = shared.sent.report(&*shared.parts.storage).await;
        if is_whole
            && since.elapsed() >= COUNT_UNDER_ONE
            && let Ok(next) = counters::next_incarnation(&*shared.parts.metadata).await
        {
            shared.sent.renew(next);
            since = Instant::now();
        }
        shared.budget.forget_unused();
        shared.metrics.set_inflight_bytes(shared.budget.in_use_bytes());
    }
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{ClusterId, PartitionId, PartitionKey, TopicId};

    use super::*;

    fn partition(index: u32) -> PartitionAddress {
        let (cluster, topic) = (ClusterId::from_random(1), TopicId::from_random(1));
        let key = PartitionKey { cluster, topic, partition: PartitionId::new(index) };
        PartitionAddress { key, slot: SlotId::new(0) }
    }

    #[test]
    fn section_13_a_new_incarnation_counts_only_what_no_report_has_named() {
        let sent = SentCounters::new(Incarnation::new(1));
        sent.add(&[(partition(0), 100), (partition(1), 50)]);
        sent.mark_reported(&sent.unreported());
        sent.add(&[(partition(1), 7)]);
        sent.renew(Incarnation::new(2));
        let left = sent.unreported();
        assert_eq!(left, [SentBytes { partition: partition(1), total: ByteCount::new(7) }]);
        assert_eq!(sent.totals.len(), 1, "an idle partition costs nothing");
    }
}
