//! Sealing the WALs of this node's earlier starts (`storage/PROTOCOL.md` §4, §14): the end of a WAL is decided once.
//!
//! Every step may be repeated, by this start or the next: whoever finds a half-done sealing continues it, and everybody
//! uses the recorded end.

use std::path::Path;
use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::wal::{WalScan, is_poisoned, rewrite_poisoned};
use headgate_metadata::id::{Revision, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, WalRecord, WalState};
use headgate_metadata::store::{Compare, MetadataStore, Outcome, Transaction, Write};
use tracing::{info, warn};

use crate::chain::WalView;
use crate::config::WalSync;
use crate::spawn;
use crate::start_error::StartError;

/// Seals one WAL of this node and returns its end.
pub(crate) async fn seal(
    store: &dyn MetadataStore,
    disk: &Arc<dyn Disk>,
    root: &Path,
    view: &WalView,
    sync: WalSync,
) -> Result<WalPosition, StartError> {
    let wal = view.record.wal;
    let mut modified = view.modified;
    if view.record.state == WalState::Open {
        let sealing = WalRecord { state: WalState::Sealing, ..view.record.clone() };
        modified = swap(store, &sealing, modified).await?;
    }
    let (disk, root) = (Arc::clone(disk), root.to_owned());
    let found =
        spawn::blocking(move || find_end(&disk, &root, wal)).await.ok_or(StartError::Interrupted)??;
    let Found { mut end, has_chunks } = found;
    if end < view.flushed && has_chunks && sync == WalSync::Os {
        // A power cut may take what was never synced, also what is flushed by then: that part lies in objects.
        warn!(%wal, %end, flushed = %view.flushed, "the WAL ends below what is flushed");
        end = view.flushed;
    }
    if end < view.flushed {
        return Err(StartError::WalShort { wal, found: end, expected: view.flushed });
    }
    let sealed = WalRecord { state: WalState::Sealed { end }, ..view.record.clone() };
    swap(store, &sealed, modified).await?;
    info!(%wal, %end, "WAL sealed");
    Ok(end)
}

/// What the disk holds of a WAL.
pub(crate) struct Found {
    pub(crate) end: WalPosition,
    /// The last chunk of a WAL that is not sealed is never removed, so none at all means that files are missing.
    pub(crate) has_chunks: bool,
}

/// Reads the valid groups and makes them durable; what was read must be what the disk holds before the end is recorded.
pub(crate) fn find_end(disk: &Arc<dyn Disk>, root: &Path, wal: WalId) -> Result<Found, StartError> {
    if let Some(reason) = is_poisoned(&**disk, root, wal)? {
        warn!(%wal, reason, "a sync of this WAL failed, rewriting its chunks");
        rewrite_poisoned(&**disk, root, wal)?;
    }
    let scan = WalScan::open(Arc::clone(disk), root, wal, None)?;
    scan.sync()?;
    Ok(Found { end: scan.end(), has_chunks: !scan.chunks().is_empty() })
}

async fn swap(
    store: &dyn MetadataStore,
    record: &WalRecord,
    modified: Revision,
) -> Result<Revision, StartError> {
    let key = keys::wal(record.wal);
    let transaction = Transaction::new()
        .when(Compare::Unchanged(key.clone(), modified))
        .then(Write::Put(key.clone(), record.encode()));
    match store.commit(transaction).await? {
        Outcome::Committed(revision) => Ok(revision),
        Outcome::Refused(_) => Err(StartError::Contended { key }),
    }
}
