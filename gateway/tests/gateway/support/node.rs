//! A storage node in memory, for tests in which the double would prove nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headgate_log::disk::ForgetfulDisk;
use headgate_log::store::FaultyObjects;
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Record};
use headgate_metadata::store::{SharedStore, Transaction, Write};
use headgate_storage::clock::SystemClock;
use headgate_storage::config::NodeConfig;
use headgate_storage::group::GroupLimits;
use headgate_storage::{Fatal, Metrics, Node, NodeParts, Random};

use super::harness::{REGION, account};

/// Starts the only node of a cell of eight slots. No fault is switched on.
pub(crate) async fn start(store: &SharedStore) -> Arc<Node> {
    let cell = CellRecord {
        cell: "testcell".into(),
        slots: 8,
        hash: "xxh3-64".into(),
        account: account(),
        region: REGION.into(),
    };
    let put = Write::Put(keys::CELL.to_owned(), cell.encode());
    store.commit(Transaction::new().then(put)).await.expect("the store is in memory");
    let parts = NodeParts {
        store: Arc::clone(store),
        objects: FaultyObjects::new().store(),
        disk: Arc::new(ForgetfulDisk::new()),
        free_space: Arc::new(|_| Some(u64::MAX)),
        clock: SystemClock::shared(),
        random: Random::seeded(1),
        fatal: Fatal::new(|reason| panic!("storage stopped: {reason}")),
        metrics: Arc::new(Metrics::default()),
        group_limits: GroupLimits { initial_rebalance_delay: Duration::ZERO, ..GroupLimits::default() },
        fleet: None,
    };
    let wal_dir = PathBuf::from("/wal");
    let config =
        NodeConfig { wal_dir, chunk_bytes: 1 << 20, tail_bytes_max: 1 << 20, ..NodeConfig::default() };
    Node::start(config, parts).await.expect("the node starts")
}
