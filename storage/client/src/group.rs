//! Consumer groups of the classic protocol, as the coordinator offers them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{ClusterId, LeaderEpoch, Offset, PartitionId, SlotId, TopicId};
use minicbor::{Decode, Encode};

/// A group and the slot its coordinator lives in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct GroupAddress {
    /// The tenant.
    #[n(0)]
    pub cluster: ClusterId,
    /// The group's id.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub group: Arc<str>,
    /// Its slot.
    #[n(2)]
    pub slot: SlotId,
}

/// Who a member says it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MemberIdentity {
    /// The member id; empty before the coordinator has given one.
    #[cbor(n(0), with = "crate::cbor::text")]
    pub member: Arc<str>,
    /// `group.instance.id` of a static member (KIP-345).
    #[cbor(n(1), with = "crate::cbor::optional_text", has_nil)]
    pub instance: Option<Arc<str>>,
}

/// Why a group call was refused, named by what the member does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum GroupError {
    /// The coordinator is elsewhere. Find it again, then retry.
    #[error("not the coordinator")]
    #[n(0)]
    NotOwner,
    /// Retry here later.
    #[error("coordinator not ready")]
    #[n(1)]
    Loading,
    /// The member is not in the group: join anew with an empty member id.
    #[error("unknown member")]
    #[n(2)]
    UnknownMember,
    /// Join again with this member id (KIP-394).
    #[error("member id required")]
    #[n(3)]
    MemberIdRequired {
        /// The id to use.
        #[cbor(n(0), with = "crate::cbor::text")]
        member: Arc<str>,
    },
    /// The generation is over: join again.
    #[error("illegal generation")]
    #[n(4)]
    IllegalGeneration,
    /// A rebalance is under way: join again.
    #[error("rebalance in progress")]
    #[n(5)]
    RebalanceInProgress,
    /// No protocol in common with the group.
    #[error("inconsistent group protocol")]
    #[n(6)]
    InconsistentProtocol,
    /// Outside `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    #[error("invalid session timeout")]
    #[n(7)]
    InvalidSessionTimeout,
    /// Another member uses this `group.instance.id` now: stop.
    #[error("fenced instance id")]
    #[n(8)]
    FencedInstance,
    /// The group, or the cluster's number of groups, is at its limit.
    #[error("group limit reached")]
    #[n(9)]
    LimitReached,
    /// The group still has members.
    #[error("group not empty")]
    #[n(10)]
    NotEmpty,
    /// There is no such group.
    #[error("no such group")]
    #[n(11)]
    NotFound,
    /// The id is empty or otherwise not usable.
    #[error("invalid group id")]
    #[n(12)]
    InvalidId,
    /// An offset's metadata text is longer than `offset.metadata.max.bytes`.
    #[error("offset metadata too large")]
    #[n(13)]
    MetadataTooLarge,
    /// The change may or may not last. Retry.
    #[error("outcome unknown")]
    #[n(14)]
    Unconfirmed,
}

/// JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    /// Who.
    #[n(0)]
    pub identity: MemberIdentity,
    /// `consumer`, `connect`, …
    #[cbor(n(1), with = "crate::cbor::text")]
    pub protocol_type: Arc<str>,
    /// Assignment protocols in order of preference, with the member's metadata for each.
    #[cbor(n(2), with = "crate::cbor::named_blobs")]
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// How long the member may be silent.
    #[n(3)]
    pub session_timeout: Duration,
    /// How long the member may take to rejoin.
    #[n(4)]
    pub rebalance_timeout: Duration,
    /// Whether a first join is answered with [`GroupError::MemberIdRequired`] (version 4 and later).
    #[n(5)]
    pub member_id_required: bool,
    /// Whether the client understands `skip_assignment` (version 9 and later).
    #[n(6)]
    pub supports_skip_assignment: bool,
}

/// A completed join.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Joined {
    /// The generation.
    #[n(0)]
    pub generation: i32,
    /// The group's protocol type.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub protocol_type: Arc<str>,
    /// The protocol chosen.
    #[cbor(n(2), with = "crate::cbor::text")]
    pub protocol: Arc<str>,
    /// The leader's member id.
    #[cbor(n(3), with = "crate::cbor::text")]
    pub leader: Arc<str>,
    /// This member's id.
    #[cbor(n(4), with = "crate::cbor::text")]
    pub member: Arc<str>,
    /// The leader need not assign: the assignment stands (static leader that came back, KIP-814).
    #[n(5)]
    pub skip_assignment: bool,
    /// All members with their metadata; only for the leader.
    #[n(6)]
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinedMember {
    /// Who.
    #[n(0)]
    pub identity: MemberIdentity,
    /// Its metadata for the protocol chosen.
    #[cbor(n(1), with = "crate::cbor::blob")]
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Sync {
    /// Who.
    #[n(0)]
    pub identity: MemberIdentity,
    /// Which generation.
    #[n(1)]
    pub generation: i32,
    /// What the member believes the group uses (version 5 and later).
    #[cbor(n(2), with = "crate::cbor::optional_text", has_nil)]
    pub protocol_type: Option<Arc<str>>,
    /// The same for the protocol.
    #[cbor(n(3), with = "crate::cbor::optional_text", has_nil)]
    pub protocol: Option<Arc<str>>,
    /// The assignments, by member id; only from the leader.
    #[cbor(n(4), with = "crate::cbor::named_blobs")]
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A completed sync.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Synced {
    /// The group's protocol type.
    #[cbor(n(0), with = "crate::cbor::text")]
    pub protocol_type: Arc<str>,
    /// The protocol chosen.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub protocol: Arc<str>,
    /// What this member is to do.
    #[cbor(n(2), with = "crate::cbor::blob")]
    pub assignment: Bytes,
}

/// LeaveGroup for one member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Leave {
    /// Who; a static member may be removed by its instance id with an empty member id.
    #[n(0)]
    pub identity: MemberIdentity,
}

/// The answer for one member that left.
pub type LeaveOutcome = Result<(), GroupError>;

/// OffsetCommit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitOffsets {
    /// Who; empty member and negative generation from a simple consumer.
    #[n(0)]
    pub identity: MemberIdentity,
    /// Which generation; negative = outside any.
    #[n(1)]
    pub generation: i32,
    /// What.
    #[n(2)]
    pub offsets: Vec<OffsetToCommit>,
}

/// One offset of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OffsetToCommit {
    /// The topic, by id: a topic made anew under the same name has no offsets.
    #[n(0)]
    pub topic: TopicId,
    /// The partition.
    #[n(1)]
    pub partition: PartitionId,
    /// The next offset to read.
    #[n(2)]
    pub offset: Offset,
    /// The epoch of the record before it, when known.
    #[n(3)]
    pub epoch: Option<LeaderEpoch>,
    /// Free text of the consumer.
    #[cbor(n(4), with = "crate::cbor::text")]
    pub metadata: Arc<str>,
}

/// OffsetFetch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FetchOffsets {
    /// Who, when the caller is a member (KIP-848 consumers; version 9 and later).
    #[n(0)]
    pub identity: Option<(MemberIdentity, i32)>,
    /// Which; `None` = all.
    #[n(1)]
    pub partitions: Option<Vec<(TopicId, PartitionId)>>,
}

/// One committed offset.
pub type CommittedOffset = OffsetToCommit;

/// A classic group's state, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum GroupState {
    /// No members; may have offsets.
    #[n(0)]
    Empty,
    /// Members are joining.
    #[n(1)]
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    #[n(2)]
    CompletingRebalance,
    /// All members have their assignment.
    #[n(3)]
    Stable,
    /// Removed, or never was.
    #[n(4)]
    Dead,
}

/// One line of ListGroups.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupListing {
    /// The group's id.
    #[cbor(n(0), with = "crate::cbor::text")]
    pub group: Arc<str>,
    /// Its protocol type; empty for a group of simple consumers.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub protocol_type: Arc<str>,
    /// Its state.
    #[n(2)]
    pub state: GroupState,
}

/// A group in full. An unknown group is described as `Dead`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupDescription {
    /// Its state.
    #[n(0)]
    pub state: GroupState,
    /// Its protocol type.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub protocol_type: Arc<str>,
    /// The protocol chosen; empty outside `Stable`.
    #[cbor(n(2), with = "crate::cbor::text")]
    pub protocol: Arc<str>,
    /// Its members.
    #[n(3)]
    pub members: Vec<MemberDescription>,
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MemberDescription {
    /// Who.
    #[n(0)]
    pub identity: MemberIdentity,
    /// `client.id`.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub client_id: Arc<str>,
    /// Where from, as Kafka writes it: `/127.0.0.1`.
    #[cbor(n(2), with = "crate::cbor::text")]
    pub client_host: Arc<str>,
    /// Its metadata for the protocol chosen.
    #[cbor(n(3), with = "crate::cbor::blob")]
    pub metadata: Bytes,
    /// Its assignment.
    #[cbor(n(4), with = "crate::cbor::blob")]
    pub assignment: Bytes,
}
