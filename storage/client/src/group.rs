//! Consumer groups of the classic protocol, as the coordinator offers them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{ClusterId, LeaderEpoch, Offset, PartitionId, SlotId, TopicId};

/// A group and the slot its coordinator lives in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupAddress {
    /// The tenant.
    pub cluster: ClusterId,
    /// The group's id.
    pub group: Arc<str>,
    /// Its slot.
    pub slot: SlotId,
}

/// Who a member says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberIdentity {
    /// The member id; empty before the coordinator has given one.
    pub member: Arc<str>,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<Arc<str>>,
}

/// Why a group call was refused, named by what the member does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The coordinator is elsewhere. Find it again, then retry.
    #[error("not the coordinator")]
    NotOwner,
    /// Retry here later.
    #[error("coordinator not ready")]
    Loading,
    /// The member is not in the group: join anew with an empty member id.
    #[error("unknown member")]
    UnknownMember,
    /// Join again with this member id (KIP-394).
    #[error("member id required")]
    MemberIdRequired {
        /// The id to use.
        member: Arc<str>,
    },
    /// The generation is over: join again.
    #[error("illegal generation")]
    IllegalGeneration,
    /// A rebalance is under way: join again.
    #[error("rebalance in progress")]
    RebalanceInProgress,
    /// No protocol in common with the group.
    #[error("inconsistent group protocol")]
    InconsistentProtocol,
    /// Outside `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    #[error("invalid session timeout")]
    InvalidSessionTimeout,
    /// Another member uses this `group.instance.id` now: stop.
    #[error("fenced instance id")]
    FencedInstance,
    /// The group, or the cluster's number of groups, is at its limit.
    #[error("group limit reached")]
    LimitReached,
    /// The group still has members.
    #[error("group not empty")]
    NotEmpty,
    /// There is no such group.
    #[error("no such group")]
    NotFound,
    /// The id is empty or otherwise not usable.
    #[error("invalid group id")]
    InvalidId,
    /// An offset's metadata text is longer than `offset.metadata.max.bytes`.
    #[error("offset metadata too large")]
    MetadataTooLarge,
    /// The change may or may not last. Retry.
    #[error("outcome unknown")]
    Unconfirmed,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct Join {
    /// Who.
    pub identity: MemberIdentity,
    /// `consumer`, `connect`, …
    pub protocol_type: Arc<str>,
    /// Assignment protocols in order of preference, with the member's metadata for each.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// How long the member may be silent.
    pub session_timeout: Duration,
    /// How long the member may take to rejoin.
    pub rebalance_timeout: Duration,
    /// Whether a first join is answered with [`GroupError::MemberIdRequired`] (version 4 and later).
    pub member_id_required: bool,
    /// Whether the client understands `skip_assignment` (version 9 and later).
    pub supports_skip_assignment: bool,
}

/// A completed join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol chosen.
    pub protocol: Arc<str>,
    /// The leader's member id.
    pub leader: Arc<str>,
    /// This member's id.
    pub member: Arc<str>,
    /// The leader need not assign: the assignment stands (static leader that came back, KIP-814).
    pub skip_assignment: bool,
    /// All members with their metadata; only for the leader.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Who.
    pub identity: MemberIdentity,
    /// Its metadata for the protocol chosen.
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Who.
    pub identity: MemberIdentity,
    /// Which generation.
    pub generation: i32,
    /// What the member believes the group uses (version 5 and later).
    pub protocol_type: Option<Arc<str>>,
    /// The same for the protocol.
    pub protocol: Option<Arc<str>>,
    /// The assignments, by member id; only from the leader.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A completed sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol chosen.
    pub protocol: Arc<str>,
    /// What this member is to do.
    pub assignment: Bytes,
}

/// LeaveGroup for one member.
#[derive(Debug, Clone)]
pub struct Leave {
    /// Who; a static member may be removed by its instance id with an empty member id.
    pub identity: MemberIdentity,
}

/// The answer for one member that left.
pub type LeaveOutcome = Result<(), GroupError>;

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitOffsets {
    /// Who; empty member and negative generation from a simple consumer.
    pub identity: MemberIdentity,
    /// Which generation; negative = outside any.
    pub generation: i32,
    /// What.
    pub offsets: Vec<OffsetToCommit>,
}

/// One offset of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic, by id: a topic made anew under the same name has no offsets.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the record before it, when known.
    pub epoch: Option<LeaderEpoch>,
    /// Free text of the consumer.
    pub metadata: Arc<str>,
}

/// OffsetFetch.
#[derive(Debug, Clone)]
pub struct FetchOffsets {
    /// Who, when the caller is a member (KIP-848 consumers; version 9 and later).
    pub identity: Option<(MemberIdentity, i32)>,
    /// Which; `None` = all.
    pub partitions: Option<Vec<(TopicId, PartitionId)>>,
}

/// One committed offset.
pub type CommittedOffset = OffsetToCommit;

/// A classic group's state, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; may have offsets.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// All members have their assignment.
    Stable,
    /// Removed, or never was.
    Dead,
}

/// One line of ListGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// The group's id.
    pub group: Arc<str>,
    /// Its protocol type; empty for a group of simple consumers.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: GroupState,
}

/// A group in full. An unknown group is described as `Dead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its state.
    pub state: GroupState,
    /// Its protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol chosen; empty outside `Stable`.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// Who.
    pub identity: MemberIdentity,
    /// `client.id`.
    pub client_id: Arc<str>,
    /// Where from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Its metadata for the protocol chosen.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}
