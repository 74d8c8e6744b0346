//! What one node holds: the WALs and copies in its directory, described small enough to be carried to where the rebuild runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headgate_log::disk::{Disk, DiskError};
use headgate_log::wal::{
    RecordHeader, RecordKind, WalReadError, WalReader, WalReaderConfig, WalScan, is_whole, list_wals,
};
use headgate_metadata::id::{NodeId, WalId, WalPosition};
use serde::{Deserialize, Serialize};

use super::life::{Life, Lives, Seen, is_telling};
use crate::revision_guard::Remembered;
use crate::seal::{Found, find_end};
use crate::start_error::StartError;

/// Stands where a file from before nodes wrote their number says nothing.
const NOBODY: NodeId = NodeId::new(0);
/// The number of the description's present form.
const FORMAT: u32 = 1;

/// Why a directory cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum HoldingsError {
    /// It is not a storage node's, or none has come through a start on it. Say which node's it is, if it is one.
    #[error("`{}` does not say of which storage node it is", dir.display())]
    NoNode {
        /// The directory.
        dir: PathBuf,
    },
    /// It is another node's.
    #[error("`{}` is of node {found}, not of node {expected}", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it was said to be.
        expected: NodeId,
    },
    /// It cannot be read.
    #[error("`{}`: {error}", dir.display())]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        error: StartError,
    },
    /// The description was written by another release, or is none.
    #[error("not a description of WALs that this release reads: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

/// The description of one node's WAL directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    format: u32,
    pub(super) node: NodeId,
    /// The life of the metadata store that the node knows.
    pub(super) life: Option<String>,
    pub(super) wals: Vec<HeldWal>,
}

/// A WAL, or a complete copy of one, on the node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldWal {
    pub(super) wal: WalId,
    pub(super) copy: HeldCopy,
    pub(super) lives: Vec<Life>,
    pub(super) seen: Seen,
}

/// How the bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HeldCopy {
    /// Everything in `[start, end)` is as it was written, and durable.
    Sound { start: WalPosition, end: WalPosition },
    /// It cannot be used.
    Damaged { reason: String },
}

impl Holdings {
    /// Reads a WAL directory on which no process runs: every WAL to its end, as a start does before it seals it. What was read is
    /// durable on return; nothing is changed. Whose it is stands in it, unless no start of the node has come to its end: then
    /// `node` says it. Blocks.
    pub fn read(disk: &Arc<dyn Disk>, wal_dir: &Path, node: Option<NodeId>) -> Result<Self, HoldingsError> {
        let unreadable = |error: StartError| HoldingsError::Unreadable { dir: wal_dir.to_owned(), error };
        let disk_failed = |error: DiskError| unreadable(error.into());
        let remembered = Remembered::load(&**disk, wal_dir, node.unwrap_or(NOBODY)).map_err(disk_failed)?;
        let found = remembered.as_ref().map(|remembered| remembered.node).filter(|node| *node != NOBODY);
        let dir = || wal_dir.to_owned();
        let node = match (found, node) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(HoldingsError::OtherNode { dir: dir(), found, expected });
            }
            _ => found.or(node).ok_or_else(|| HoldingsError::NoNode { dir: dir() })?,
        };
        let life = remembered.and_then(|remembered| remembered.life);
        let mut wals = Vec::new();
        for wal in list_wals(&**disk, wal_dir).map_err(disk_failed)? {
            // A copy that was still catching up has never counted.
            if is_whole(&**disk, wal_dir, wal).map_err(disk_failed)? {
                wals.push(HeldWal::read(disk, wal_dir, wal).map_err(unreadable)?);
            }
        }
        Ok(Self { format: FORMAT, node, life, wals })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// How many WALs and copies of WALs it has.
    pub fn count(&self) -> usize {
        self.wals.len()
    }

    /// The description as a text to be carried.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a description holds nothing that JSON cannot express")
    }

    /// Reads [`Holdings::to_json`].
    pub fn from_json(text: &str) -> Result<Self, HoldingsError> {
        let malformed = |reason: String| HoldingsError::Malformed { reason };
        let holdings: Self = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if holdings.format == FORMAT {
            return Ok(holdings);
        }
        Err(malformed(format!("format {} found, {FORMAT} supported", holdings.format)))
    }
}

impl HeldWal {
    /// The stretch that can be used.
    pub(super) fn sound(&self) -> Option<(WalPosition, WalPosition)> {
        match self.copy {
            HeldCopy::Sound { start, end } => Some((start, end)),
            HeldCopy::Damaged { .. } => None,
        }
    }

    fn read(disk: &Arc<dyn Disk>, wal_dir: &Path, wal: WalId) -> Result<Self, StartError> {
        match read_wal(disk, wal_dir, wal) {
            Ok(held) => Ok(held),
            Err(StartError::Wal(error @ (WalReadError::Corrupt(_) | WalReadError::Format { .. }))) => {
                let copy = HeldCopy::Damaged { reason: error.to_string() };
                Ok(Self { wal, copy, lives: Vec::new(), seen: Seen::default() })
            }
            Err(error) => Err(error),
        }
    }
}

fn read_wal(disk: &Arc<dyn Disk>, wal_dir: &Path, wal: WalId) -> Result<HeldWal, StartError> {
    let Found { end, .. } = find_end(disk, wal_dir, wal)?;
    let scan = WalScan::open(Arc::clone(disk), wal_dir, wal, None)?;
    let reader = WalReader::new(Arc::clone(disk), wal_dir, WalReaderConfig::default());
    let mut lives = Lives::default();
    for header in scan.records(scan.start())? {
        take(&mut lives, &reader, wal, &header?)?;
    }
    let seen = std::mem::take(&mut lives.seen);
    let copy = HeldCopy::Sound { start: scan.start(), end };
    Ok(HeldWal { wal, copy, lives: lives.into_lives(), seen })
}

fn take(
    lives: &mut Lives,
    reader: &WalReader,
    wal: WalId,
    header: &RecordHeader,
) -> Result<(), WalReadError> {
    let (slot, epoch) = (header.stamp.slot, header.stamp.slot_epoch);
    lives.record(slot, epoch, header.place.header_position);
    match &header.kind {
        RecordKind::Batch(meta) => lives.batch(slot, epoch, meta),
        RecordKind::State { kind, .. } if is_telling(*kind) => {
            let length = header.place.payload_bytes as usize;
            let payload = reader.read(wal, header.place.payload_position, length)?;
            if let Some(meta) = header.state(&payload).filter(|_| header.payload_holds(&payload)) {
                lives.state(slot, epoch, &meta);
            }
        }
        RecordKind::State { .. } => {}
    }
    Ok(())
}
