//! A node without a fleet: it seals its own earlier WALs and takes every slot of the cell (`storage/PROTOCOL.md` §5).

use headgate_metadata::id::{SlotId, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::WalState;

use crate::cell_watch::CellWatch;
use crate::chain::CellView;
use crate::claim;
use crate::config::NodeConfig;
use crate::node::NodeParts;
use crate::opener::Opener;
use crate::seal::seal;
use crate::start_error::StartError;

/// Restart is failover of one's own WAL: the same steps, with nobody to ask.
pub(crate) async fn take_all(
    config: &NodeConfig,
    parts: &NodeParts,
    watch: &CellWatch,
    wal: WalId,
    opener: &Opener,
) -> Result<(), StartError> {
    let store = &*parts.store;
    let before = CellView::read(store).await?;
    let earlier =
        before.wals.values().filter(|view| view.record.wal.node == config.node && view.record.wal != wal);
    for view in earlier {
        if !matches!(view.record.state, WalState::Sealed { .. }) {
            seal(store, &parts.disk, &config.wal_dir, view, config.wal_sync).await?;
        }
    }
    let sealed = CellView::read(store).await?;
    let all: Vec<SlotId> = (0..opener.slots.count()).map(SlotId::new).collect();
    let taken = claim::take(store, &all, wal, &sealed).await?;
    if let Some(missed) = all.iter().find(|slot| !taken.contains_key(slot)) {
        return Err(StartError::Contended { key: keys::slot(*missed) });
    }
    let cell = CellView::read(store).await?;
    watch.learn(&cell);
    opener.open(&taken, &cell).await
}
