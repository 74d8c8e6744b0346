//! What must happen although nobody asks: retention, removals, usage marks of quiet slots, a look at the disk.
//!
//! One loop for the whole node, so that an idle partition or cluster costs no timer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headgate_metadata::id::{SlotId, TimestampMs};
use headgate_metadata::keys;
use headgate_metadata::store::{Compare, MetadataError, Outcome, SharedStore, Transaction, Write};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::NodeConfig;
use crate::ensemble::Standing;
use crate::group::Coordinator;
use crate::metrics::Metrics;
use crate::node::NodeParts;
use crate::operation::Operation;
use crate::partition::{Partition, Trim};
use crate::room::{FreeSpace, Room};
use crate::sequencer::Sequencer;
use crate::slot_time::SteadyTime;
use crate::slots::Slots;
use crate::topics::{Tombstone, Topics};

/// How often the disk, due marks and tombstones are looked at.
const TICK: Duration = Duration::from_secs(1);

/// The node's housekeeper.
pub(crate) struct Housekeeping {
    store: SharedStore,
    slots: Arc<Slots>,
    topics: Arc<Topics>,
    sequencer: Arc<Sequencer>,
    room: Arc<Room>,
    groups: Arc<Coordinator>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    free_space: FreeSpace,
    standing: Option<Arc<Standing>>,
    wal_dir: PathBuf,
    retention_interval: Duration,
    time: Mutex<SteadyTime>,
}

impl Housekeeping {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the node that it looks after")]
    pub(crate) fn new(
        config: &NodeConfig,
        parts: &NodeParts,
        slots: &Arc<Slots>,
        topics: &Arc<Topics>,
        sequencer: &Arc<Sequencer>,
        room: &Arc<Room>,
        groups: &Arc<Coordinator>,
        standing: Option<Arc<Standing>>,
    ) -> Self {
        let housekeeping = Self {
            store: Arc::clone(&parts.store),
            slots: Arc::clone(slots),
            topics: Arc::clone(topics),
            sequencer: Arc::clone(sequencer),
            room: Arc::clone(room),
            groups: Arc::clone(groups),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
            free_space: Arc::clone(&parts.free_space),
            standing,
            wal_dir: config.wal_dir.clone(),
            retention_interval: Duration::from_millis(config.retention_interval_ms),
            time: Mutex::new(SteadyTime::start(&*parts.clock)),
        };
        housekeeping.look_at_disk();
        housekeeping
    }

    /// Keeps house for ever. Cancel safe: what is cut off is seen again.
    pub(crate) async fn run(&self) {
        let mut retained = self.clock.monotonic();
        loop {
            tokio::time::sleep(TICK).await;
            self.look_at_disk();
            self.write_due_marks().await;
            self.remove_what_was_deleted().await;
            let now = self.clock.monotonic();
            if now.saturating_sub(retained) >= self.retention_interval {
                retained = now;
                self.retain().await;
            }
        }
    }

    /// One pass of everything.
    pub(crate) async fn pass(&self) {
        self.look_at_disk();
        self.write_due_marks().await;
        self.remove_what_was_deleted().await;
        self.retain().await;
    }

    fn look_at_disk(&self) {
        if let Some(free) = (self.free_space)(&self.wal_dir) {
            let of_mirrors = self.standing.as_ref().and_then(|standing| standing.free_bytes_min());
            self.room.observe_free(of_mirrors.map_or(free, |other| other.min(free)));
            self.metrics.observe_disk_free(free);
        }
    }

    /// The time that ages are measured by: a wall clock that jumps must not delete data.
    fn now(&self) -> TimestampMs {
        self.time.lock().unwrap_or_else(PoisonError::into_inner).read(&*self.clock).0
    }

    /// The mark of an hour is written by whoever comes first: the next record, or this timer (`storage/PROTOCOL.md` §13).
    async fn write_due_marks(&self) {
        let now = self.now();
        let mut written = Vec::new();
        for slot in self.slots.owned() {
            let due = slot.state().mark_due(now);
            if let Some(cluster) = due {
                let (done, committed) = oneshot::channel();
                self.sequencer.submit(cluster, Operation::Mark { slot: slot.id, done });
                written.push(committed);
            }
        }
        for committed in written {
            // Not committed = stopping; the next owner marks missed hours first.
            drop(committed.await);
        }
    }

    /// Moves log starts that time or size ask for, and counts what compaction took.
    async fn retain(&self) {
        let now = self.now();
        let mut runs_max = 0;
        for partition in self.slots.partitions() {
            let due = {
                let mut log = partition.log();
                log.producers.expire(now);
                runs_max = runs_max.max(log.runs().len());
                let due = log.trim_due(partition.topic.keep(), now).filter(|_| !partition.topic.removed());
                due.inspect(|trim| log.trim_is_asked(trim.to))
            };
            if let Some(trim) = due
                && self.trim(&partition, trim).await
            {
                info!(partition = %partition.address.key, log_start = %trim.to, bytes = trim.bytes, "log start moved");
            }
            // Afterwards: what retention took is counted, and compaction adds nothing below.
            let freed = {
                let mut log = partition.log();
                Trim { to: log.log_start(), bytes: log.take_freed() }
            };
            if freed.bytes > 0 {
                self.trim(&partition, freed).await;
            }
        }
        self.metrics.observe_runs_per_partition_max(runs_max);
    }

    /// Whether it was committed.
    async fn trim(&self, partition: &Arc<Partition>, trim: Trim) -> bool {
        let (done, committed) = oneshot::channel();
        let cluster = partition.address.key.cluster;
        self.sequencer.submit(cluster, Operation::Trim { partition: Arc::clone(partition), trim, done });
        committed.await.is_ok()
    }

    /// Records removals in the slots, then takes away tombstones that all their slots remember (§8).
    async fn remove_what_was_deleted(&self) {
        for (tombstone, slots) in self.topics.standing() {
            let mut everywhere = true;
            for slot in slots {
                everywhere &= self.record_removal(slot, tombstone).await;
            }
            if everywhere && let Err(error) = self.take_away(tombstone).await {
                warn!(?tombstone, %error, "tombstone stays for now");
            }
        }
    }

    async fn record_removal(&self, slot: SlotId, tombstone: Tombstone) -> bool {
        let Some(owned) = self.slots.slot(slot) else { return false };
        if owned.state().remembers(&tombstone) {
            return true;
        }
        let Tombstone { cluster, topic } = tombstone;
        if topic.is_none() {
            self.groups.remove_cluster(cluster);
        }
        let (done, committed) = oneshot::channel();
        self.sequencer.submit(cluster, Operation::Remove { slot, cluster, topic, done });
        committed.await.is_ok()
    }

    async fn take_away(&self, tombstone: Tombstone) -> Result<(), MetadataError> {
        let key = match tombstone.topic {
            Some(topic) => keys::removed_topic(tombstone.cluster, topic),
            None => keys::removed_cluster(tombstone.cluster),
        };
        let transaction = Transaction::new().when(Compare::Present(key.clone())).then(Write::Delete(key));
        let _: Outcome = self.store.commit(transaction).await?;
        Ok(())
    }
}
