//! What can go wrong with a WAL, named by what the caller does next.

use headgate_metadata::id::{WalId, WalPosition};

use crate::codec::FormatError;
use crate::disk::DiskError;

/// A place in a WAL that is not what was written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("WAL {wal} is corrupt at position {position} (`{file}`): {what}")]
pub struct Corruption {
    /// The log.
    pub wal: WalId,
    /// The file.
    pub file: String,
    /// Where.
    pub position: WalPosition,
    /// What was found, in words.
    pub what: String,
}

impl From<Corruption> for WalReadError {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(Box::new(corruption))
    }
}

/// Why a WAL was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalWriteError {
    /// No room for a new chunk. Nothing of the group was written; the writer is usable when there is room again.
    #[error(transparent)]
    Full(DiskError),
    /// A write or a sync failed, now or earlier. The process stops (`storage/PROTOCOL.md` §14): nothing unsynced may
    /// be acknowledged, ever.
    #[error("the WAL cannot be written any more: {0}")]
    Failed(DiskError),
    /// The group was built for another WAL or another position. A bug of the caller; nothing was written.
    #[error("a group for position {group} was offered at position {writer}")]
    Misplaced {
        /// Where the group was to lie.
        group: WalPosition,
        /// Where the writer stands.
        writer: WalPosition,
    },
}

/// Why a WAL was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalReadError {
    /// The chunk that held the position is gone: it was flushed and trimmed. Look in the objects.
    #[error("position {position} of WAL {wal} is no longer on this disk")]
    Trimmed {
        /// The log.
        wal: WalId,
        /// The position.
        position: WalPosition,
    },
    /// Bytes that were synced are wrong or missing: heal from a member, or refuse and say where (`storage/PROTOCOL.md`
    /// §14).
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// A record is in order but not usable by this build: it is encrypted.
    #[error("WAL {wal}: {error}")]
    Format {
        /// The log.
        wal: WalId,
        /// Why.
        error: FormatError,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
