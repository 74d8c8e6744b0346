//! What operators see of the node. Recorded through functions named after the event; labels come from enums.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The node's metrics.
#[derive(Debug)]
pub struct Metrics {
    groups: Counter,
    group_bytes: Histogram,
    group_seconds: Histogram,
    wal_bytes: Counter,
    appended_bytes: Counter,
    appended_records: Counter,
    tail_bytes: Gauge,
    read_bytes_tail: Counter,
    read_bytes_wal: Counter,
    read_bytes_object: Counter,
    flushes: Counter,
    flushed_bytes: Counter,
    flush_failures: Counter,
    manifests: Counter,
    unflushed_bytes: Gauge,
    disk_free_bytes: Gauge,
    objects_deleted: Counter,
    corruptions: Counter,
    runs_per_partition_max: Gauge,
    call_seconds: Family<CallLabel, Histogram>,
    calls_rejected: Counter,
}

/// Which operation a gateway called.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

/// Where a read was served from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Tail,
    Wal,
    Object,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            groups: Counter::default(),
            group_bytes: Histogram::new(exponential_buckets(1024.0, 4.0, 8)),
            group_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            wal_bytes: Counter::default(),
            appended_bytes: Counter::default(),
            appended_records: Counter::default(),
            tail_bytes: Gauge::default(),
            read_bytes_tail: Counter::default(),
            read_bytes_wal: Counter::default(),
            read_bytes_object: Counter::default(),
            flushes: Counter::default(),
            flushed_bytes: Counter::default(),
            flush_failures: Counter::default(),
            manifests: Counter::default(),
            unflushed_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            objects_deleted: Counter::default(),
            corruptions: Counter::default(),
            runs_per_partition_max: Gauge::default(),
            call_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 4.0, 10))
            }),
            calls_rejected: Counter::default(),
        }
    }
}

impl Metrics {
    /// Adds the metrics to a registry, under `headgate_storage_`.
    pub fn register(&self, registry: &mut Registry) {
        let node = registry.sub_registry_with_prefix("headgate_storage");
        node.register("write_groups", "Write groups committed", self.groups.clone());
        node.register("write_group_bytes", "Bytes of a write group", self.group_bytes.clone());
        node.register(
            "write_group_seconds",
            "Order, write and sync of a write group",
            self.group_seconds.clone(),
        );
        node.register("wal_bytes", "Bytes written to the WAL, headers included", self.wal_bytes.clone());
        node.register("appended_bytes", "Bytes of batches acknowledged", self.appended_bytes.clone());
        node.register("appended_records", "Records acknowledged", self.appended_records.clone());
        node.register("tail_bytes", "Memory held by the tail", self.tail_bytes.clone());
        node.register("read_tail_bytes", "Bytes read from memory", self.read_bytes_tail.clone());
        node.register("read_wal_bytes", "Bytes read from WAL chunks", self.read_bytes_wal.clone());
        node.register("read_object_bytes", "Bytes read from objects", self.read_bytes_object.clone());
        node.register("flushes", "Flush objects committed", self.flushes.clone());
        node.register("flushed_bytes", "WAL bytes flushed", self.flushed_bytes.clone());
        node.register(
            "flush_failures",
            "Attempts of a flush or manifest that failed",
            self.flush_failures.clone(),
        );
        node.register("manifests", "Manifests committed", self.manifests.clone());
        node.register(
            "unflushed_bytes",
            "Committed WAL bytes not yet in objects",
            self.unflushed_bytes.clone(),
        );
        node.register("disk_free_bytes", "Free space of the WAL's disk", self.disk_free_bytes.clone());
        node.register("objects_deleted", "Objects deleted", self.objects_deleted.clone());
        node.register("corruptions", "Wrong bytes found; a human must look", self.corruptions.clone());
        node.register(
            "partition_runs_max",
            "Runs of the partition that has most",
            self.runs_per_partition_max.clone(),
        );
        node.register("call_seconds", "Calls of gateways, from arrival to answer", self.call_seconds.clone());
        node.register(
            "calls_rejected",
            "Calls not understood; a human must look",
            self.calls_rejected.clone(),
        );
    }

    pub(crate) fn observe_group_committed(&self, bytes: u64, took: Duration) {
        self.groups.inc();
        self.wal_bytes.inc_by(bytes);
        self.group_bytes.observe(bytes as f64);
        self.group_seconds.observe(took.as_secs_f64());
    }
    pub(crate) fn observe_append_acknowledged(&self, bytes: u64, records: u64) {
        self.appended_bytes.inc_by(bytes);
        self.appended_records.inc_by(records);
    }
    pub(crate) fn observe_tail(&self, bytes: u64) {
        self.tail_bytes.set(bytes as i64);
    }
    pub(crate) fn observe_read(&self, from: Source, bytes: u64) {
        let counter = match from {
            Source::Tail => &self.read_bytes_tail,
            Source::Wal => &self.read_bytes_wal,
            Source::Object => &self.read_bytes_object,
        };
        counter.inc_by(bytes);
    }
    pub(crate) fn observe_flush_committed(&self, bytes: u64) {
        self.flushes.inc();
        self.flushed_bytes.inc_by(bytes);
    }
    pub(crate) fn observe_flush_failed(&self) {
        self.flush_failures.inc();
    }
    pub(crate) fn observe_manifest_committed(&self) {
        self.manifests.inc();
    }
    pub(crate) fn observe_unflushed(&self, bytes: u64) {
        self.unflushed_bytes.set(bytes as i64);
    }
    pub(crate) fn observe_disk_free(&self, bytes: u64) {
        self.disk_free_bytes.set(bytes as i64);
    }
    pub(crate) fn observe_object_deleted(&self) {
        self.objects_deleted.inc();
    }
    pub(crate) fn observe_corruption(&self) {
        self.corruptions.inc();
    }
    pub(crate) fn observe_runs_per_partition_max(&self, runs: usize) {
        self.runs_per_partition_max.set(runs as i64);
    }
    pub(crate) fn observe_call(&self, call: &'static str, took: Duration) {
        self.call_seconds.get_or_create(&CallLabel { call }).observe(took.as_secs_f64());
    }
    pub(crate) fn observe_call_rejected(&self) {
        self.calls_rejected.inc();
    }
}
