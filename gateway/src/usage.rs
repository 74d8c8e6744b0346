//! Bytes of batches handed whole to the kernel, per partition, cumulative under this process's incarnation, and reported
//! to their owners about every second (`storage/PROTOCOL.md` §13).
//!
//! Invariant: a figure is counted before it is reported and never goes back, so a lost, late or repeated report changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use headgate_metadata::id::{ByteCount, Incarnation, SlotId};
use headgate_storage_client::{PartitionAddress, SentBytes, Storage};
use tokio::time::{MissedTickBehavior, interval};

/// How often owners are told.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What has been sent since the start.
#[derive(Debug, Default)]
pub(crate) struct SentCounters {
    totals: DashMap<PartitionAddress, Counter>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counter {
    total: u64,
    reported: u64,
}

impl SentCounters {
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

    /// Tells the owners what has grown. A report that fails is repeated with the next.
    pub(crate) async fn report(&self, storage: &dyn Storage, gateway: Incarnation) {
        let unreported = self.unreported();
        for of_slot in unreported.chunk_by(|left, right| left.partition.slot == right.partition.slot) {
            match storage.report_sent(gateway, of_slot).await {
                Ok(()) => self.mark_reported(of_slot),
                Err(error) => {
                    let slot: SlotId = of_slot[0].partition.slot;
                    tracing::debug!(%slot, %error, "bytes sent not reported");
                }
            }
        }
    }
}

/// Reports for ever; ends with its owner.
pub(crate) async fn report_for_ever(shared: Arc<crate::shared::Shared>) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.sent.report(&*shared.parts.storage, shared.parts.incarnation).await;
        shared.budget.forget_unused();
        shared.metrics.set_inflight_bytes(shared.budget.in_use_bytes());
    }
}
