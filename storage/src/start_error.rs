//! Why a node did not start, in words an operator can act on.

use headgate_log::disk::DiskError;
use headgate_log::manifest::FoldError;
use headgate_log::object::ObjectError;
use headgate_log::wal::{WalReadError, WalWriteError};
use headgate_metadata::id::{NodeId, Offset, PartitionKey, Revision, SlotId, WalId, WalPosition};
use headgate_metadata::store::MetadataError;

use crate::config::ConfigError;

/// Why a node did not start. Nothing was lost by trying: every step of a start may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The metadata store did not answer.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The cell has no identity yet. Make it before nodes start.
    #[error("metadata store holds no cell")]
    NoCell,
    /// The metadata store is older than what this node has seen of it: it was restored from a backup. Rebuild it, or start with
    /// the store that belongs to this data directory.
    #[error(
        "metadata store stands at revision {found}, this node has seen {seen}: it was restored from a backup, or is not the one of this data directory. Stop all processes of the cell, keep their data directories, and run `headgate metadata rebuild`, or start them on the store that belongs to them"
    )]
    MetadataWentBack {
        /// What the node has seen.
        seen: Revision,
        /// Where the store stands.
        found: Revision,
    },
    /// The metadata store lives another life than the one this node knows: it was rebuilt without the WALs of this node, or
    /// restored to before its first start. If the rebuild reported no loss, the node's WAL directory can be moved away.
    #[error(
        "metadata store lives another life ({found}) than node {node} knows ({remembered}): run `headgate metadata rebuild` with the WALs of this node, or, if it was rebuilt without them and nothing was lost, move them away"
    )]
    AnotherLife {
        /// The node.
        node: NodeId,
        /// The life the node knows.
        remembered: String,
        /// The store's.
        found: String,
    },
    /// The newest WAL of this node's own is neither known nor retired: the metadata store was restored to before the node's last
    /// start, whatever its revision is by now, or the node was away for longer than retired WALs are remembered.
    #[error(
        "WAL {wal} lies on this disk and the cell does not know it: the metadata store was restored from a backup. Stop all processes of the cell, keep their data directories, and run `headgate metadata rebuild`, or start them on the store that belongs to them"
    )]
    WalForgotten {
        /// The log.
        wal: WalId,
    },
    /// A slot belongs to a WAL that is not sealed and not this node's: another node is alive, or the node number changed.
    #[error("slot {slot} belongs to WAL {owner}, which is not sealed")]
    SlotHeld {
        /// The slot.
        slot: SlotId,
        /// Its owner.
        owner: WalId,
    },
    /// A slot's history names a WAL that the metadata store does not know: metadata was lost.
    #[error("slot {slot} lived in WAL {wal}, which the cell does not know")]
    WalUnknown {
        /// The slot.
        slot: SlotId,
        /// The log.
        wal: WalId,
    },
    /// A key changed while this node took it: another process starts under the same node number. Stop one.
    #[error("another process changed `{key}` during the start")]
    Contended {
        /// The key.
        key: String,
    },
    /// A WAL of this node is shorter than what the metadata store knows of it: files are missing. Restore the data directory.
    #[error("WAL {wal} ends at {found} on this disk, the cell knows of bytes up to {expected}")]
    WalShort {
        /// The log.
        wal: WalId,
        /// What is there.
        found: WalPosition,
        /// What must be there.
        expected: WalPosition,
    },
    /// A WAL cannot be read; corruption names the position.
    #[error(transparent)]
    Wal(#[from] WalReadError),
    /// The new WAL cannot be made.
    #[error(transparent)]
    NewWal(#[from] WalWriteError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Flush indexes do not make a manifest: corruption.
    #[error("slot {slot}: {error}")]
    Fold {
        /// The slot.
        slot: SlotId,
        /// Why.
        error: FoldError,
    },
    /// The slot key says that something is applied but names no manifest.
    #[error("slot {0} has applied records but no manifest")]
    NoManifest(SlotId),
    /// A state record in a slot's manifest does not decode: corruption, or a newer release wrote it.
    #[error("slot {0}: state in the manifest does not decode")]
    ManifestState(SlotId),
    /// A partition's offsets do not follow in the log: corruption, not a skip (`storage/PROTOCOL.md` §7).
    #[error(
        "WAL {wal} at {position}: partition {partition} goes on at offset {found}, {expected} was expected"
    )]
    OffsetGap {
        /// The log.
        wal: WalId,
        /// The position of the record.
        position: WalPosition,
        /// The partition.
        partition: PartitionKey,
        /// The next offset.
        expected: Offset,
        /// What the record says.
        found: Offset,
    },
    /// A state record does not decode: corruption, or a newer release wrote it.
    #[error("WAL {wal} at {position}: state record does not decode")]
    State {
        /// The log.
        wal: WalId,
        /// The position of the record.
        position: WalPosition,
    },
    /// The operating system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The runtime is shutting down.
    #[error("interrupted by shutdown")]
    Interrupted,
}
