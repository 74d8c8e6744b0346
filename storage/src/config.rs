//! The node's settings. Each names its unit, its default, and what gets worse when it is raised or lowered.

use std::path::PathBuf;

use headgate_log::block_cache::BlockCacheConfig;
use headgate_log::wal::WalReaderConfig;
use headgate_metadata::id::NodeId;
use serde::Deserialize;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// When an acknowledged record is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalSync {
    /// It survives loss of power: every write group is synced before it is answered.
    #[default]
    Fsync,
    /// It survives the end of the process, not of the machine; Kafka's own default promise.
    Os,
}

/// Settings of a storage node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's number; it names its WALs. Two nodes of a cell never share one.
    pub node: NodeId,
    /// Where the WALs lie; below it one directory per process start.
    pub wal_dir: PathBuf,
    /// When an acknowledged record is safe. Default `fsync`; `os`: less latency, and a power cut may lose the last records.
    pub wal_sync: WalSync,
    /// The size of a WAL chunk, 64 MiB. Higher: fewer, larger objects and longer replays. Lower: more requests to the store.
    pub chunk_bytes: u64,
    /// How old unflushed bytes may become, 2 min. Higher: longer replays. Lower: small objects, more requests.
    pub chunk_age_ms: u64,
    /// Memory for the newest batches, 256 MiB. Higher: more memory. Lower: consumers that lag a little read from disk.
    pub tail_bytes_max: u64,
    /// What one cluster may have queued and unanswered, 64 MiB. Higher: one tenant holds more memory. Lower: its producers
    /// wait sooner.
    pub queued_bytes_per_cluster_max: u64,
    /// Memory for blocks of objects, 256 MiB. Higher: more memory. Lower: more requests to the store.
    pub block_cache_bytes_max: u64,
    /// Memory for indexes of objects, 32 MiB. Higher: more memory. Lower: one more request per cold read.
    pub index_cache_bytes_max: u64,
    /// Chunk files kept open for reading, 64. Higher: more descriptors. Lower: more opens.
    pub open_chunks_max: usize,
    /// A slot's manifest is written after this many flushes that touched it, 32. Higher: longer replays. Lower: more requests.
    pub manifest_flushes_max: u32,
    /// … or when its oldest unapplied flush is this old, 1 h. Higher: longer chains. Lower: more requests.
    pub manifest_age_ms: u64,
    /// How often retention looks at every partition, 5 min as Kafka's `log.retention.check.interval.ms`. Higher: data stays
    /// longer. Lower: more passes.
    pub retention_interval_ms: u64,
    /// How long an object that nothing names is kept for slow readers, 1 h. Higher: more space. Lower: a slow reader meets
    /// "not found" and retries.
    pub garbage_grace_ms: u64,
    /// Free disk space below which producers are slowed, more and more, 8 GiB. Higher: they are slowed sooner. Lower: less
    /// time for an operator to act.
    pub disk_free_slow_bytes: u64,
    /// Free disk space below which appends are refused, 1 GiB. Lower: the flusher itself may not find room.
    pub disk_free_refuse_bytes: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node: NodeId::new(1),
            wal_dir: PathBuf::from("headgate-data/wal"),
            wal_sync: WalSync::Fsync,
            chunk_bytes: 64 * MIB,
            chunk_age_ms: 120_000,
            tail_bytes_max: 256 * MIB,
            queued_bytes_per_cluster_max: 64 * MIB,
            block_cache_bytes_max: 256 * MIB,
            index_cache_bytes_max: 32 * MIB,
            open_chunks_max: 64,
            manifest_flushes_max: 32,
            manifest_age_ms: 3_600_000,
            retention_interval_ms: 300_000,
            garbage_grace_ms: 3_600_000,
            disk_free_slow_bytes: 8 * GIB,
            disk_free_refuse_bytes: GIB,
        }
    }
}

/// A combination of settings that would hang or harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is zero that must not be.
    #[error("`{0}` must be greater than zero")]
    Zero(&'static str),
    /// Permits of a cluster's queue are counted in 32 bits.
    #[error("`queued_bytes_per_cluster_max` must be at most 1 GiB")]
    QueueTooLarge,
    /// Producers must be slowed before they are refused.
    #[error("`disk_free_slow_bytes` must not be below `disk_free_refuse_bytes`")]
    DiskThresholds,
}

impl NodeConfig {
    /// Rejects what would hang or harm.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("chunk_bytes", self.chunk_bytes),
            ("chunk_age_ms", self.chunk_age_ms),
            ("queued_bytes_per_cluster_max", self.queued_bytes_per_cluster_max),
            ("manifest_flushes_max", u64::from(self.manifest_flushes_max)),
            ("manifest_age_ms", self.manifest_age_ms),
            ("retention_interval_ms", self.retention_interval_ms),
            ("open_chunks_max", self.open_chunks_max as u64),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.queued_bytes_per_cluster_max > GIB {
            return Err(ConfigError::QueueTooLarge);
        }
        if self.disk_free_slow_bytes < self.disk_free_refuse_bytes {
            return Err(ConfigError::DiskThresholds);
        }
        Ok(())
    }

    pub(crate) fn block_cache(&self) -> BlockCacheConfig {
        BlockCacheConfig {
            blocks_bytes_max: self.block_cache_bytes_max,
            indexes_bytes_max: self.index_cache_bytes_max,
            ..BlockCacheConfig::default()
        }
    }

    pub(crate) fn wal_reader(&self) -> WalReaderConfig {
        WalReaderConfig { open_files_max: self.open_chunks_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(NodeConfig::default().validate(), Ok(()));
    }

    #[test]
    fn combinations_that_would_hang_are_refused() {
        let check = |change: fn(&mut NodeConfig), expected| {
            let mut config = NodeConfig::default();
            change(&mut config);
            assert_eq!(config.validate(), Err(expected));
        };
        check(|config| config.chunk_bytes = 0, ConfigError::Zero("chunk_bytes"));
        check(
            |config| config.queued_bytes_per_cluster_max = 0,
            ConfigError::Zero("queued_bytes_per_cluster_max"),
        );
        check(|config| config.queued_bytes_per_cluster_max = GIB + 1, ConfigError::QueueTooLarge);
        check(|config| config.disk_free_slow_bytes = 0, ConfigError::DiskThresholds);
    }
}
