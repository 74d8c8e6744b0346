//! The messages between storage nodes, in domain types.

use std::time::Duration;

use headgate_log::wal::CopiedGroup;
use headgate_metadata::id::{TimestampMs, WalId, WalPosition};

use crate::fleet::Member;

/// A question to one start of one node: a restarted node does not answer for the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCall {
    /// Who is asked.
    pub to: Member,
    /// What.
    pub request: PeerRequest,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRequest {
    /// Keep a copy of this WAL from `from` on, or go on with it. Answered [`PeerReply::Held`]: the stream goes on from there.
    Join {
        /// The log.
        wal: WalId,
        /// Where the copy must begin at the latest: everything below is in objects.
        from: WalPosition,
    },
    /// The next group. Answered [`PeerReply::Held`] when it is as durable as `wal.sync` demands.
    Append {
        /// The log.
        wal: WalId,
        /// Its next group.
        group: CopiedGroup,
    },
    /// The copy is complete, and about to count as a member's. Answered [`PeerReply::Held`].
    Finish {
        /// The log.
        wal: WalId,
    },
    /// Do you still follow this WAL's owner? Answered [`PeerReply::Confirmed`]; costs no sync (`storage/PROTOCOL.md` §9).
    Confirm {
        /// The log.
        wal: WalId,
        /// For how long the owner has had work and done none of it; `None` where it does not say (§10, gray relief).
        still: Option<Duration>,
    },
    /// Promise to take nothing more of this WAL, ever (§4). Answered [`PeerReply::Held`] with the durable end of the copy.
    Fence {
        /// The log.
        wal: WalId,
        /// Whether a copy that an earlier process left may answer: only when no incarnation of the ensemble survives.
        restarted: bool,
    },
    /// Hand out groups. Answered [`PeerReply::Groups`], none if there is none.
    Read {
        /// The log.
        wal: WalId,
        /// Where the first group begins.
        from: WalPosition,
        /// Nothing at or above.
        end: WalPosition,
        /// About how many bytes.
        bytes_max: u64,
    },
    /// Fetch a copy of `[from, end)` of a sealed WAL from `source` and keep it. Answered [`PeerReply::Held`] when it is durable.
    Fetch {
        /// The log.
        wal: WalId,
        /// Where the copy begins.
        from: WalPosition,
        /// Its end.
        end: WalPosition,
        /// Who has it.
        source: Member,
    },
}

impl PeerRequest {
    /// The log it is about.
    pub fn wal(&self) -> WalId {
        match self {
            Self::Join { wal, .. }
            | Self::Append { wal, .. }
            | Self::Finish { wal }
            | Self::Confirm { wal, .. }
            | Self::Fence { wal, .. }
            | Self::Read { wal, .. }
            | Self::Fetch { wal, .. } => *wal,
        }
    }
}

/// The answer, named by what the asker does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerReply {
    /// The copy is held up to here.
    Held {
        /// The first position that is not held.
        position: WalPosition,
        /// Free space of the disk it lies on: the fullest disk of an ensemble slows producers (`storage/PROTOCOL.md` §2.2).
        free_bytes: u64,
    },
    /// Nobody else has asked this member to leave.
    Confirmed {
        /// Its wall clock; `None` from an earlier release (`storage/PROTOCOL.md` §13).
        wall: Option<TimestampMs>,
    },
    /// Whole groups, contiguous.
    Groups(Vec<CopiedGroup>),
    /// The copy has promised a seal: whoever asks is not the owner any more.
    Promised,
    /// The group does not follow what is held. Join again.
    Gap,
    /// There is no such copy here, or another start of the node was meant.
    NotHere,
    /// The disk refused.
    Failed,
}
