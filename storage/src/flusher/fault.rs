//! Why a step of the flusher did not succeed.

use headgate_log::disk::DiskError;
use headgate_log::object::{FlushError, ObjectError, ObjectName};
use headgate_log::store::StoreError;
use headgate_log::wal::WalReadError;
use headgate_metadata::id::{WalId, WalPosition};
use headgate_metadata::store::MetadataError;

use crate::compaction::BrokenRun;
use crate::start_error::StartError;

/// Why a step of the flusher did not succeed. All may be tried again; corruption stays until a human has looked.
#[derive(Debug, thiserror::Error)]
pub enum FlushFault {
    /// The WAL bytes cannot be read or are wrong.
    #[error(transparent)]
    Build(#[from] FlushError),
    /// The object store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The object that was just put reads back as something else.
    #[error("object `{object}` does not read back as it was written")]
    ReadBack {
        /// The object.
        object: ObjectName,
    },
    /// The metadata store did not do it.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The chain went on past this position without an entry that begins at it: another version of the history.
    #[error("WAL {wal} is flushed to {flushed}, but no chain entry begins at {start}")]
    ChainBroken {
        /// The log.
        wal: WalId,
        /// Where this flusher stood.
        start: WalPosition,
        /// Where the store stands.
        flushed: WalPosition,
    },
    /// A slot's manifest cannot be made.
    #[error(transparent)]
    Slot(#[from] Box<StartError>),
    /// A run that is to be compacted is not what its index says.
    #[error(transparent)]
    Broken(#[from] BrokenRun),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The runtime is shutting down.
    #[error("interrupted by shutdown")]
    Interrupted,
}

impl FlushFault {
    /// Whether stored bytes are wrong, so that trying again will not help.
    pub(super) fn is_corruption(&self) -> bool {
        match self {
            Self::Build(FlushError::Wal(error)) => {
                matches!(error, WalReadError::Corrupt(_) | WalReadError::Format { .. })
            }
            Self::Build(FlushError::NotABoundary { .. })
            | Self::ChainBroken { .. }
            | Self::ReadBack { .. }
            | Self::Broken(_)
            | Self::Object(ObjectError::Corrupt { .. })
            | Self::Store(StoreError::Short { .. }) => true,
            Self::Slot(error) => matches!(**error, StartError::Fold { .. } | StartError::NoManifest(_)),
            Self::Object(ObjectError::Store(_))
            | Self::Store(_)
            | Self::Metadata(_)
            | Self::Disk(_)
            | Self::Interrupted => false,
        }
    }
}

impl From<StartError> for FlushFault {
    fn from(error: StartError) -> Self {
        Self::Slot(Box::new(error))
    }
}
