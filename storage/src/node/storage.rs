//! The storage interface on a node in the same process: each operation goes straight to its part.

use std::time::Duration;

use async_trait::async_trait;
use headgate_metadata::id::{
    ByteCount, ClusterId, Incarnation, LeaderEpoch, Offset, ProducerId, SlotId, TimestampMs,
};
use headgate_metadata::slot_owners::SlotOwner;
use headgate_storage_client::quota::{Charge, ChargeOutcome, PartitionCharge, QuotaGrant, QuotaReport};
use headgate_storage_client::{
    Append, AppendError, Appended, Caller, CommitOffsets, CommittedOffset, Completion, EpochEnd,
    FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing, Join, Joined, Leave,
    LeaveOutcome, MemberIdentity, OffsetAt, OffsetQuery, PartitionAddress, PartitionRead, PartitionSize,
    ReadError, ReadOutcome, ReadRequest, Reservation, SentBytes, Storage, Sync, Synced, Unavailable,
};
use tracing::warn;

use super::Node;
use crate::chain::SlotView;
use crate::operation::Operation;
use crate::planted::{Bug, is_planted};
use crate::usage;

impl Node {
    fn check_slot(&self, slot: SlotId) -> Result<LeaderEpoch, Unavailable> {
        // An owner that nobody confirms may be dead without knowing it (`storage/PROTOCOL.md` §9).
        let is_unconfirmed = self.standing.as_ref().is_some_and(|standing| !standing.is_good());
        if is_unconfirmed && !is_planted(Bug::AnswerUnconfirmed) {
            return Err(Unavailable::NotOwner);
        }
        self.slots.slot(slot).map(|slot| slot.epoch).ok_or(Unavailable::NotOwner)
    }

    /// Waits for a confirmation that began after this call: what a stale owner could get wrong is answered only then. `false` =
    /// there was none within the caller's patience.
    async fn confirm(&self, caller: &Caller) -> bool {
        match &self.standing {
            None => true,
            Some(_) if is_planted(Bug::AnswerUnconfirmed) => true,
            Some(standing) => tokio::time::timeout(caller.patience, standing.confirm()).await.is_ok(),
        }
    }

    /// The answer, if this node was the owner after the question came.
    async fn if_owned<T>(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        answer: Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let owned = self.confirm(caller).await && self.check_slot(partition.slot).is_ok();
        if owned { answer } else { Err(ReadError::NotOwner) }
    }

    /// As [`Node::check_slot`], and confirmed: every answer of a coordinator says what it holds.
    async fn confirm_group(&self, caller: &Caller, address: &GroupAddress) -> Result<(), GroupError> {
        self.check_group(address)?;
        if self.confirm(caller).await { self.check_group(address) } else { Err(GroupError::NotOwner) }
    }

    /// Lets the topic watch come to what the gateway has seen, within the caller's patience (`storage/PROTOCOL.md` §9).
    async fn catch_up(&self, caller: &Caller) {
        if !self.topics.has_seen(caller.revision_seen) {
            drop(tokio::time::timeout(caller.patience, self.topics.caught_up(caller.revision_seen)).await);
        }
    }

    fn check_group(&self, address: &GroupAddress) -> Result<(), GroupError> {
        self.check_slot(address.slot).map(drop).map_err(|_| GroupError::NotOwner)
    }
}

#[async_trait]
impl Storage for Node {
    async fn reserve(&self, caller: &Caller, slot: SlotId, bytes: u64) -> Result<Reservation, Unavailable> {
        self.check_slot(slot)?;
        if !self.sequencer.is_open() {
            return Err(Unavailable::Refused);
        }
        // A topic made a moment ago is known here before its first batch is judged (`storage/PROTOCOL.md` §9).
        self.catch_up(caller).await;
        self.room.reserve(caller.cluster, bytes).await
    }

    fn submit_append(&self, caller: &Caller, append: Append) -> Completion<Result<Appended, AppendError>> {
        let Append { partition, batch, reservation } = append;
        debug_assert_eq!(caller.cluster, partition.key.cluster, "a caller appends to its own cluster only");
        let term = self.check_slot(partition.slot).ok().and_then(|_| self.slots.term(partition.slot));
        let Some(term) = term else {
            return Completion::ready(Err(AppendError::NotOwner));
        };
        let Some(partition) = self.slots.open_partition(partition) else {
            return Completion::ready(Err(AppendError::Removed));
        };
        let (batch, log_append_time) = if partition.topic.log_append_time() {
            // Written here, on the caller's thread: the checksum made anew costs a pass over the batch.
            let slot_time = self.slots.slot(partition.address.slot).map(|slot| slot.state().time());
            let now = self.clock.wall().max(slot_time.unwrap_or(TimestampMs::new(0)));
            (batch.with_log_append_time(now.get() as i64), Some(now))
        } else {
            (batch, None)
        };
        let (answer, completion) = Completion::channel();
        let cluster = partition.address.key.cluster;
        self.sequencer.submit(
            cluster,
            Operation::Append { partition, term, batch, log_append_time, reservation, answer },
        );
        completion
    }

    async fn read(&self, caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome> {
        self.catch_up(caller).await;
        let outcomes = self.reader.read(request).await;
        let is_beyond = |outcome: &ReadOutcome| matches!(outcome, Err(ReadError::OutOfRange { .. }));
        if outcomes.iter().any(is_beyond) && !self.confirm(caller).await {
            return outcomes.iter().map(|_| Err(ReadError::NotOwner)).collect();
        }
        let still = |at: &PartitionRead| self.check_slot(at.partition.slot).is_ok();
        let owned = request.partitions.iter().map(still);
        outcomes
            .into_iter()
            .zip(owned)
            .map(|(outcome, is)| if is { outcome } else { Err(ReadError::NotOwner) })
            .collect()
    }

    async fn await_data(&self, caller: &Caller, from: &[(PartitionAddress, Offset)], bytes_min: u64) {
        if !self.sequencer.is_open() || bytes_min == 0 {
            return;
        }
        drop(tokio::time::timeout(caller.patience, self.reader.await_data(from, bytes_min)).await);
    }

    async fn offsets_at(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError> {
        self.catch_up(caller).await;
        let found = self.reader.offsets_at(partition, query).await;
        self.if_owned(caller, partition, found).await
    }

    async fn epoch_end(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        self.catch_up(caller).await;
        let found = self.reader.epoch_end(partition, epoch);
        self.if_owned(caller, partition, found).await
    }

    fn owners(&self) -> Vec<(SlotId, SlotOwner)> {
        let told = |view: &SlotView| SlotOwner { wal: view.record.owner, epoch: view.record.epoch };
        self.cell.with(|cell| cell.slots.iter().map(|(slot, view)| (*slot, told(view))).collect())
    }

    async fn leader_epoch(&self, slot: SlotId) -> Result<LeaderEpoch, Unavailable> {
        self.check_slot(slot)
    }

    async fn allocate_producer_id(&self, _caller: &Caller) -> Result<ProducerId, Unavailable> {
        self.producer_ids.next().await.map_err(|error| {
            warn!(%error, "no producer id");
            Unavailable::Refused
        })
    }

    async fn join_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.join(caller, group, join).await
    }

    async fn sync_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        sync: Sync,
    ) -> Result<Synced, GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.sync(group, sync).await
    }

    async fn heartbeat(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        identity: MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.heartbeat(group, &identity, generation).await
    }

    async fn leave_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.leave(group, members).await
    }

    async fn commit_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        commit: CommitOffsets,
    ) -> Result<(), GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.commit(group, commit).await
    }

    async fn fetch_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.fetch(group, fetch).await
    }

    async fn describe_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
    ) -> Result<GroupDescription, GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.describe(group).await
    }

    async fn list_groups(&self, caller: &Caller, slots: &[SlotId]) -> Result<Vec<GroupListing>, GroupError> {
        if !self.confirm(caller).await || slots.iter().any(|slot| self.check_slot(*slot).is_err()) {
            return Err(GroupError::NotOwner);
        }
        Ok(self.groups.list(caller.cluster, slots))
    }

    async fn delete_group(&self, caller: &Caller, group: &GroupAddress) -> Result<(), GroupError> {
        self.confirm_group(caller, group).await?;
        self.groups.delete(group).await
    }

    async fn report_sent(&self, gateway: Incarnation, sent: &[SentBytes]) -> Result<(), Unavailable> {
        usage::report_sent(&self.slots, &self.sequencer, gateway, sent).await
    }

    async fn partition_sizes(
        &self,
        cluster: ClusterId,
        slots: &[SlotId],
    ) -> Result<Vec<PartitionSize>, Unavailable> {
        for slot in slots {
            self.check_slot(*slot)?;
        }
        let all = self.slots.partitions().into_iter();
        let wanted = all.filter(|partition| {
            partition.address.key.cluster == cluster
                && slots.contains(&partition.address.slot)
                && !partition.topic.removed()
        });
        Ok(wanted
            .map(|partition| PartitionSize {
                partition: partition.address,
                size: ByteCount::new(partition.log().size()),
            })
            .collect())
    }

    async fn exchange_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        report: QuotaReport,
    ) -> Result<QuotaGrant, Unavailable> {
        self.check_slot(slot)?;
        Ok(self.quotas.exchange(caller.cluster, &report, self.clock.monotonic()))
    }

    async fn charge_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        charge: Charge,
    ) -> Result<ChargeOutcome, Unavailable> {
        self.check_slot(slot)?;
        Ok(self.quotas.charge(caller.cluster, &charge, self.clock.monotonic()))
    }

    async fn charge_partitions(
        &self,
        _caller: &Caller,
        slot: SlotId,
        charges: Vec<PartitionCharge>,
    ) -> Result<Vec<Duration>, Unavailable> {
        self.check_slot(slot)?;
        Ok(self.partition_quotas.charge(&charges, self.clock.monotonic()))
    }
}
