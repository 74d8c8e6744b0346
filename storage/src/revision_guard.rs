//! A metadata store that went back in time, restored from a backup, must not lose data (`storage/PROTOCOL.md` §6.6): the
//! node remembers the highest revision it has seen, beside its WALs, and does not start below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headgate_log::disk::{Disk, DiskError};
use headgate_metadata::id::Revision;

use crate::start_error::StartError;

const NAME: &str = "metadata-revision";

/// The remembered revision.
#[derive(Debug, Clone)]
pub(crate) struct RevisionGuard {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl RevisionGuard {
    pub(crate) fn new(disk: Arc<dyn Disk>, wal_dir: &Path) -> Self {
        Self { disk, path: wal_dir.join(NAME) }
    }

    /// Refuses a store that stands below what was seen before. Blocks.
    pub(crate) fn check(&self, found: Revision) -> Result<(), StartError> {
        let seen = match self.disk.read_file(&self.path) {
            Ok(text) => String::from_utf8_lossy(&text).trim().parse().unwrap_or_default(),
            Err(DiskError::NotFound { .. }) => Revision::new(0),
            Err(error) => return Err(error.into()),
        };
        if found < seen { Err(StartError::MetadataWentBack { seen, found }) } else { Ok(()) }
    }

    /// Remembers a revision, durably. Blocks.
    pub(crate) fn remember(&self, seen: Revision) -> Result<(), DiskError> {
        self.disk.write_atomic(&self.path, seen.to_string().as_bytes())
    }
}
