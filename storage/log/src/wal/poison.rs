//! The poison file: this copy of a WAL saw a failed sync and is not to be trusted (`storage/PROTOCOL.md` §14).
//!
//! After a failed sync the page cache may show bytes that the disk does not hold. A mirror's copy takes over; with a
//! single copy, [`rewrite_poisoned`] reads what is there, writes it to new files and syncs them.

use std::path::Path;

use headgate_metadata::id::WalId;

use crate::disk::{Disk, DiskError};
use crate::wal::{list_chunks, wal_dir};

const NAME: &str = "poison";

/// Marks the copy, durably if the disk still can. `reason` is for people.
pub fn poison(disk: &dyn Disk, root: &Path, wal: WalId, reason: &str) -> Result<(), DiskError> {
    disk.write_atomic(&wal_dir(root, wal).join(NAME), reason.as_bytes())
}

/// Whether the copy is marked, and why.
pub fn is_poisoned(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<Option<String>, DiskError> {
    match disk.read_file(&wal_dir(root, wal).join(NAME)) {
        Ok(reason) => Ok(Some(String::from_utf8_lossy(&reason).into_owned())),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Rewrites every chunk of a marked single copy into a new file, synced, and removes the mark. To be followed by a
/// scan: what the failed sync lost is found there as a torn end or as corruption. Repeating it after a crash is fine.
/// Holds one chunk in memory.
pub fn rewrite_poisoned(disk: &dyn Disk, root: &Path, wal: WalId) -> Result<(), DiskError> {
    for chunk in list_chunks(disk, root, wal)? {
        let content = disk.read_file(&chunk.path)?;
        disk.write_atomic(&chunk.path, &content)?;
    }
    disk.remove(&wal_dir(root, wal).join(NAME))
}
