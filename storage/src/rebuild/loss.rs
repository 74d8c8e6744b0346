//! What may be missing: acknowledged records that nothing given to the rebuild holds. Each is said exactly.

use std::collections::BTreeSet;
use std::fmt;

use headgate_log::object::ObjectName;
use headgate_metadata::id::{NodeId, Offset, PartitionKey, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::record::Applied;

/// Something that was acknowledged and may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// No node's WALs were given.
    NoWals,
    /// More than one node's WALs were not given: what only they held is missing.
    Nodes(BTreeSet<NodeId>),
    /// Copies of a WAL are damaged, and no other stands in for them.
    Copies {
        /// The log.
        wal: WalId,
        /// What lies from here on is in no object and no other copy.
        from: WalPosition,
        /// What is wrong with each of them.
        reasons: Vec<String>,
    },
    /// The only copy of a WAL has no files, which a WAL in use always has.
    Files {
        /// The log.
        wal: WalId,
        /// What lies from here on is not in objects.
        from: WalPosition,
    },
    /// The manifest that a slot had is not there.
    Manifest {
        /// The slot.
        slot: SlotId,
        /// What a manifest contained.
        applied: Applied,
        /// What the best one contains that was found.
        found: Option<Applied>,
    },
    /// The first record of a slot's life is not there, and so it is not known what that life follows.
    Beginning {
        /// The slot.
        slot: SlotId,
        /// The epoch.
        epoch: SlotEpoch,
        /// Where the rest of it was found.
        wal: WalId,
    },
    /// Records of an earlier life are not there that a later one follows.
    Life {
        /// The slot.
        slot: SlotId,
        /// The epoch.
        epoch: SlotEpoch,
        /// Where it was lived.
        wal: WalId,
        /// The last record found of it.
        found: Option<WalPosition>,
        /// Its last record.
        last: WalPosition,
    },
    /// A slot lived under one epoch in two WALs: the store was written to between its restoration and the rebuild.
    Forked {
        /// The slot.
        slot: SlotId,
        /// The epoch.
        epoch: SlotEpoch,
        /// The logs.
        wals: Vec<WalId>,
    },
    /// Offsets of a partition are in no object and in no copy.
    Offsets {
        /// The slot.
        slot: SlotId,
        /// The partition.
        partition: PartitionKey,
        /// The first missing offset.
        from: Offset,
        /// The first one that is there again.
        to: Offset,
        /// Where that was found.
        found: String,
    },
    /// A flush object does not fit.
    Object {
        /// The slot.
        slot: SlotId,
        /// The object, if it is known which.
        object: Option<ObjectName>,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWals => {
                write!(f, "no node's WALs were given: everything that is not in objects is missing")
            }
            Self::Nodes(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                let nodes = nodes.join(", ");
                write!(f, "the WALs of nodes {nodes} were not given: what only they held is missing")
            }
            Self::Copies { wal, from, reasons } => {
                write!(
                    f,
                    "WAL {wal}: from {from} on it is in no object, and its copies are damaged: {}",
                    reasons.join("; ")
                )
            }
            Self::Files { wal, from } => {
                write!(f, "WAL {wal}: its files are missing, and from {from} on it is in no object")
            }
            Self::Manifest { slot, applied: Applied { epoch, position }, found } => {
                write!(f, "slot {slot}: its manifest of epoch {epoch} position {position} is not there; ")?;
                match found {
                    Some(Applied { epoch, position }) => {
                        write!(f, "the best one is of epoch {epoch} position {position}")
                    }
                    None => write!(f, "there is none"),
                }
            }
            Self::Beginning { slot, epoch, wal } => {
                write!(f, "slot {slot}: the beginning of epoch {epoch} in WAL {wal} is not there")
            }
            Self::Life { slot, epoch, wal, found, last } => {
                write!(f, "slot {slot}: records of epoch {epoch} in WAL {wal} are not there up to {last}; ")?;
                match found {
                    Some(found) => write!(f, "the last one found is at {found}"),
                    None => write!(f, "none was found"),
                }
            }
            Self::Forked { slot, epoch, wals } => {
                let wals: Vec<String> = wals.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "slot {slot}: epoch {epoch} stands in WALs {}: the store was written to after it was restored",
                    wals.join(" and ")
                )
            }
            Self::Offsets { slot, partition, from, to, found } => {
                write!(
                    f,
                    "slot {slot}: partition {partition} lacks offsets {from} to {to}, which {found} follows"
                )
            }
            Self::Object { slot, object: Some(object), reason } => {
                write!(f, "slot {slot}: {object}: {reason}")
            }
            Self::Object { slot, object: None, reason } => write!(f, "slot {slot}: {reason}"),
        }
    }
}
