//! What a storage node is made of, as `dev` and `headgate storage` put it together.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use headgate_log::disk::LocalDisk;
use headgate_log::store::Store;
use headgate_metadata::store::SharedStore;
use headgate_storage::clock::SystemClock;
use headgate_storage::config::NodeConfig;
use headgate_storage::group::GroupLimits;
use headgate_storage::{Fatal, Metrics, NodeParts, Random, system_free_space};
use prometheus_client::registry::Registry;

/// The exit status after a failed sync; `EX_SOFTWARE` of sysexits.h.
const STORAGE_STOPPED: i32 = 70;

/// Reads `[storage]` of the configuration; WALs lie in `wal_dir` unless it says otherwise. Makes that directory.
pub(crate) fn config(table: &toml::Table, wal_dir: PathBuf) -> Result<NodeConfig> {
    let mut config: NodeConfig =
        table.clone().try_into().context("section [storage] of the configuration")?;
    if !table.contains_key("wal_dir") {
        config.wal_dir = wal_dir;
    }
    std::fs::create_dir_all(&config.wal_dir)
        .with_context(|| format!("cannot create {}", config.wal_dir.display()))?;
    Ok(config)
}

/// The parts of a node that is alone, with its metrics registered.
pub(crate) fn parts(store: &SharedStore, objects: Store, registry: &mut Registry) -> NodeParts {
    let metrics = Arc::new(Metrics::default());
    metrics.register(registry);
    NodeParts {
        store: Arc::clone(store),
        objects,
        disk: Arc::new(LocalDisk),
        free_space: system_free_space(),
        clock: SystemClock::shared(),
        random: Random::from_os(),
        fatal: Fatal::new(|reason| {
            // What the disk holds is unknown: nothing may be acknowledged any more, not even on the way out.
            eprintln!("headgate: storage stopped: {reason}");
            std::process::exit(STORAGE_STOPPED);
        }),
        metrics,
        group_limits: GroupLimits::default(),
        fleet: None,
    }
}
