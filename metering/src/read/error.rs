//! Why usage was not read or no bill was made. Nothing was changed in any case.

use headgate_log::codec::FormatError;
use headgate_log::manifest::FoldError;
use headgate_log::object::{FlushError, ObjectError};
use headgate_log::wal::WalReadError;
use headgate_metadata::id::{SlotId, WalId, WalPosition};
use headgate_metadata::store::MetadataError;

use crate::bill::BillError;
use crate::hours::JournalError;

/// Why the usage was not read, named by what the caller can do next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadUsageError {
    /// The metadata store did not answer. Retry where it says so.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An object was not read. Missing ones were replaced while they were read: read again, with no process running.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The WAL was not read, or is not what was written. A trimmed one was flushed meanwhile: read again.
    #[error(transparent)]
    Wal(#[from] WalReadError),
    /// The unflushed part of a WAL was not read.
    #[error(transparent)]
    Unflushed(#[from] FlushError),
    /// The WAL on this disk ends before a position that is recorded as held. Look for the right directory or disk.
    #[error("WAL {wal} on this disk lacks what follows position {found}; it is recorded up to {expected}")]
    WalShort {
        /// The log.
        wal: WalId,
        /// Where the bytes end, or begin.
        found: WalPosition,
        /// What is recorded.
        expected: WalPosition,
    },
    /// A slot names a WAL that the metadata store does not know. A human must look.
    #[error("slot {slot} names WAL {wal}, which is not known")]
    WalUnknown {
        /// The slot.
        slot: SlotId,
        /// The log.
        wal: WalId,
    },
    /// A slot's record names no manifest, or none that could be an object, though there must be one. A human must look.
    #[error("slot {0} has no manifest, though part of its log is in one")]
    NoManifest(SlotId),
    /// The log does not fold. Corruption; a human must look.
    #[error("slot {slot}: {error}")]
    Fold {
        /// The slot.
        slot: SlotId,
        /// What does not fit.
        error: FoldError,
    },
    /// A usage mark in a slot's state does not decode. Corruption; a human must look.
    #[error("a usage mark of slot {slot}: {error}")]
    Mark {
        /// The slot.
        slot: SlotId,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// Why no bill was made, named by what the caller can do next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadBillError {
    /// The usage was not read.
    #[error(transparent)]
    Usage(#[from] ReadUsageError),
    /// The metadata store did not answer, or holds what this version does not read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The metadata store is not that of a cell: nothing was ever started on it.
    #[error("the metadata store holds no cell")]
    NoCell,
    /// A journal tells no possible story. A human must look.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The figures contradict each other. A human must look.
    #[error(transparent)]
    Bill(#[from] BillError),
}
