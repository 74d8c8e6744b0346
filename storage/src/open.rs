//! A start, step by step (`storage/PROTOCOL.md` §5 "First start"): incarnation, own WAL registered, the parts that slots are
//! opened with. Each step may be repeated from the keys alone.

use std::sync::Arc;

use headgate_log::wal::{WalReader, WalWriter, WalWriterConfig};
use headgate_metadata::counters;
use headgate_metadata::id::{Revision, WalId};

use crate::cell_watch::CellWatch;
use crate::chain::CellView;
use crate::claim;
use crate::config::NodeConfig;
use crate::node::NodeParts;
use crate::objects::Objects;
use crate::revision_guard::RevisionGuard;
use crate::slots::Slots;
use crate::spawn;
use crate::start_error::StartError;
use crate::topics::Topics;

/// An opened node that owns nothing yet.
pub(crate) struct Opened {
    pub(crate) wal: WalId,
    pub(crate) writer: WalWriter,
    pub(crate) slots: Arc<Slots>,
    pub(crate) topics: Arc<Topics>,
    /// Up to where `topics` has read the store.
    pub(crate) topics_seen: Revision,
    pub(crate) objects: Objects,
    pub(crate) wal_reader: Arc<WalReader>,
    pub(crate) cell: Arc<CellWatch>,
}

pub(crate) async fn open(config: &NodeConfig, parts: &NodeParts) -> Result<Opened, StartError> {
    let store = &*parts.store;
    let disk = Arc::clone(&parts.disk);
    let dir = config.wal_dir.clone();
    let made = spawn::blocking(move || disk.create_dir(&dir)).await.ok_or(StartError::Interrupted)?;
    made?;
    let guard = RevisionGuard::new(Arc::clone(&parts.disk), &config.wal_dir);
    let (found, checked) = (store.revision().await?, guard.clone());
    spawn::blocking(move || checked.check(found)).await.ok_or(StartError::Interrupted)??;
    let identity = claim::cell(store).await?;
    let incarnation = counters::next_incarnation(store).await?;
    let wal = WalId { node: config.node, incarnation };
    if let Some(fleet) = &parts.fleet {
        fleet.mirrors.begins(wal);
    }
    claim::register(store, wal).await?;
    let topics = Arc::new(Topics::new());
    let topics_seen = topics.load(store).await?;
    let slots = Arc::new(Slots::new(identity.slots, Arc::clone(&topics)));
    let (given, cache) = (parts.objects.clone(), config.block_cache());
    let (disk, dir) = (Arc::clone(&parts.disk), config.wal_dir.clone());
    let opened = spawn::blocking(move || Objects::open(given, cache, disk, &dir)).await;
    let objects = opened.ok_or(StartError::Interrupted)??;
    let wal_reader = Arc::new(WalReader::new(Arc::clone(&parts.disk), &config.wal_dir, config.wal_reader()));
    let cell = CellView::read(store).await?;
    let (seen, remembering) = (cell.revision, guard.clone());
    spawn::blocking(move || remembering.remember(seen)).await.ok_or(StartError::Interrupted)??;
    let (disk, dir, chunk_bytes) = (Arc::clone(&parts.disk), config.wal_dir.clone(), config.chunk_bytes);
    let create = move || WalWriter::create(disk, &dir, wal, WalWriterConfig { chunk_bytes });
    let writer = spawn::blocking(create).await.ok_or(StartError::Interrupted)??;
    let cell = Arc::new(CellWatch::new(cell));
    Ok(Opened { wal, writer, slots, topics, topics_seen, objects, wal_reader, cell })
}
