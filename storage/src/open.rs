//! A start, step by step (`storage/PROTOCOL.md` §5 "First start"): the metadata store checked, incarnation, own WAL registered, the
//! parts that slots are opened with. Each step may be repeated from the keys alone.

use std::sync::Arc;

use headgate_log::wal::{WalReader, WalWriter, WalWriterConfig, list_wals};
use headgate_metadata::guarded::GuardedStore;
use headgate_metadata::id::{Revision, WalId};
use headgate_metadata::store::{Select, SharedStore};
use headgate_metadata::{counters, keys};

use crate::cell_watch::CellWatch;
use crate::chain::CellView;
use crate::claim;
use crate::config::NodeConfig;
use crate::node::NodeParts;
use crate::objects::Objects;
use crate::planted::{Bug, is_planted};
use crate::revision_guard::{Remembered, RevisionGuard, StoreStanding};
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

/// Refuses a metadata store that went back in time, and begins to remember what is seen of it (`storage/PROTOCOL.md` §6.6).
pub(crate) async fn check_store(config: &NodeConfig, parts: &NodeParts) -> Result<RevisionGuard, StartError> {
    let store = &*parts.store;
    let (disk, dir, node) = (Arc::clone(&parts.disk), config.wal_dir.clone(), config.node);
    let look = move || {
        disk.create_dir(&dir)?;
        let own = list_wals(&*disk, &dir)?.into_iter().filter(|wal| wal.node == node).max();
        Ok::<_, StartError>((Remembered::load(&*disk, &dir, node)?, own))
    };
    let (remembered, newest) = spawn::blocking(look).await.ok_or(StartError::Interrupted)??;
    let standing = StoreStanding::read(store).await?;
    if let Some(remembered) = &remembered {
        standing.check(remembered)?;
    }
    if let Some(wal) = newest.filter(|_| !is_planted(Bug::WayBackUnnoticed)) {
        // A WAL is registered before its directory is made.
        let known = store.read(&[Select::Key(keys::wal(wal)), Select::Key(keys::retired(wal))]).await?;
        if known.results.iter().all(Vec::is_empty) {
            return Err(StartError::WalForgotten { wal });
        }
    }
    let life = standing.life_or(store, parts.random.bits()).await?;
    Ok(RevisionGuard::new(Arc::clone(&parts.disk), &config.wal_dir, config.node, &life))
}

/// The store as the node uses it from now on: when it goes back in time, what was seen is remembered and the process is stopped.
pub(crate) fn guarded(parts: &NodeParts, guard: &RevisionGuard) -> SharedStore {
    if is_planted(Bug::WayBackUnnoticed) {
        return Arc::clone(&parts.store);
    }
    let (guard, fatal) = (guard.clone(), parts.fatal.clone());
    Arc::new(GuardedStore::over(Arc::clone(&parts.store), move |went_back| {
        // Best effort: the process stops either way, and a start may then not know better.
        drop(guard.remember(went_back.seen));
        fatal.stop(&went_back.to_string());
    }))
}

pub(crate) async fn open(
    config: &NodeConfig,
    parts: &NodeParts,
    guard: &RevisionGuard,
) -> Result<Opened, StartError> {
    let store = &*parts.store;
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
    let cell = Arc::new(CellWatch::new(cell, guard.clone(), parts.fatal.clone()));
    Ok(Opened { wal, writer, slots, topics, topics_seen, objects, wal_reader, cell })
}
