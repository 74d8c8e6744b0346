//! The operations themselves.

use std::time::Duration;

use async_trait::async_trait;
use headgate_metadata::id::{ClusterId, Incarnation, LeaderEpoch, Offset, ProducerId, SlotId};
use headgate_metadata::slot_owners::SlotOwner;

use crate::append::{Append, AppendError, Appended, Completion, Reservation, Unavailable};
use crate::caller::Caller;
use crate::group::{
    CommitOffsets, CommittedOffset, FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing,
    Join, Joined, Leave, LeaveOutcome, MemberIdentity, Sync, Synced,
};
use crate::quota::{Charge, ChargeOutcome, PartitionCharge, QuotaGrant, QuotaReport};
use crate::read::{EpochEnd, OffsetAt, OffsetQuery, PartitionAddress, ReadError, ReadOutcome, ReadRequest};
use crate::usage::{PartitionSize, SentBytes};

/// What owners of slots do for a gateway. A node in the same process implements it directly, [`crate::remote`] over the network.
///
/// Every answer that depends on state leaves only when what it depends on is committed (`PROTOCOL.md` §2.4).
#[async_trait]
pub trait Storage: Send + std::marker::Sync + 'static {
    /// Waits for room for `bytes` in the cluster's queue at the owner. Cancel safe. *Always* safe to retry.
    async fn reserve(&self, caller: &Caller, slot: SlotId, bytes: u64) -> Result<Reservation, Unavailable>;

    /// Takes the append's place in its cluster's queue *now*, not when the completion is polled. Does not block; dropping
    /// the completion does not cancel. Safe to retry only after a refusal, unless the batch carries a producer id.
    fn submit_append(&self, caller: &Caller, append: Append) -> Completion<Result<Appended, AppendError>>;

    /// Reads batches; never waits for data that is not there. One outcome per partition asked, in that order.
    async fn read(&self, caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome>;

    /// Returns when the partitions together hold at least `bytes_min` readable bytes at or after the given offsets, when one
    /// of them cannot be read from there (error, moved), or when the caller's patience ends. Carries no bytes. Cancel safe:
    /// dropping the future takes back the registration.
    async fn await_data(&self, caller: &Caller, from: &[(PartitionAddress, Offset)], bytes_min: u64);

    /// Finds an offset (ListOffsets).
    async fn offsets_at(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError>;

    /// Finds the end of an epoch (OffsetForLeaderEpoch).
    async fn epoch_end(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError>;

    /// The current epoch of a slot, which clients see as the leader epoch of its partitions.
    async fn leader_epoch(&self, slot: SlotId) -> Result<LeaderEpoch, Unavailable>;

    /// Who owns the slots of the cell, as far as has been seen here. Safety does not depend on it.
    fn owners(&self) -> Vec<(SlotId, SlotOwner)>;

    /// Draws a producer id never used before. Safe to retry: an id lost is an id unused.
    async fn allocate_producer_id(&self, caller: &Caller) -> Result<ProducerId, Unavailable>;

    /// Joins; answers when the rebalance is over. Not safe to retry after a lost reply with an empty member id.
    async fn join_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError>;

    /// Syncs; answers when the leader has assigned. *Always* safe to retry.
    async fn sync_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        sync: Sync,
    ) -> Result<Synced, GroupError>;

    /// Keeps a member's session alive. *Always* safe to retry.
    async fn heartbeat(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        identity: MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError>;

    /// Removes members; one outcome each. *Always* safe to retry: a second time the member is unknown.
    async fn leave_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError>;

    /// Commits offsets, all or none. *Always* safe to retry.
    async fn commit_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        commit: CommitOffsets,
    ) -> Result<(), GroupError>;

    /// Reads committed offsets; partitions without one are absent from the answer. *Always* safe to retry.
    async fn fetch_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError>;

    /// Describes a group. *Always* safe to retry.
    async fn describe_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
    ) -> Result<GroupDescription, GroupError>;

    /// Lists the cluster's groups that live in these slots: all of them, or an error. *Always* safe to retry.
    async fn list_groups(&self, caller: &Caller, slots: &[SlotId]) -> Result<Vec<GroupListing>, GroupError>;

    /// Deletes an empty group with its offsets. Safe to retry only after a refusal: a second time it is not found.
    async fn delete_group(&self, caller: &Caller, group: &GroupAddress) -> Result<(), GroupError>;

    /// Tells owners what a gateway has sent to clients; see [`SentBytes`]. *Always* safe to retry: the figures are cumulative.
    async fn report_sent(&self, gateway: Incarnation, sent: &[SentBytes]) -> Result<(), Unavailable>;

    /// How much each partition of a cluster holds, for the slots given: all of them, or an error. *Always* safe to retry.
    async fn partition_sizes(
        &self,
        cluster: ClusterId,
        slots: &[SlotId],
    ) -> Result<Vec<PartitionSize>, Unavailable>;

    /// Tells the cluster's quota coordinator, which lives at `slot` ([`crate::routing::quota`]), what a gateway used, and
    /// learns what it may use. *Always* safe to retry: a report that was counted changes nothing a second time.
    async fn exchange_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        report: QuotaReport,
    ) -> Result<QuotaGrant, Unavailable>;

    /// Charges a rare operation at the cluster's quota coordinator. Not safe to retry after a lost reply: it may be charged
    /// twice, which costs the cluster a little of its quota.
    async fn charge_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        charge: Charge,
    ) -> Result<ChargeOutcome, Unavailable>;

    /// Charges partitions of one slot with what went into or out of them, at their owner, and learns how long each is over its
    /// limit now. Asked only while the cluster has nothing to lend. Not safe to retry after a lost reply: it may be charged
    /// twice, which slows the partition down a little more.
    async fn charge_partitions(
        &self,
        caller: &Caller,
        slot: SlotId,
        charges: Vec<PartitionCharge>,
    ) -> Result<Vec<Duration>, Unavailable>;
}
