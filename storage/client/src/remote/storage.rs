//! The storage interface over the network: each operation with its rule for asking twice.

use async_trait::async_trait;
use headgate_metadata::id::{ClusterId, Incarnation, LeaderEpoch, Offset, ProducerId, SlotId};
use headgate_metadata::slot_owners::SlotOwner;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

use super::RemoteStorage;
use super::ask::{Pause, Refusable, Retry, Unanswered, deadline_after, remaining};
use super::message::{
    AllocateProducerIdCall, ChargePartitionsCall, ChargeQuotaCall, CommitOffsetsCall, DeleteGroupCall,
    DescribeGroupCall, EpochEndCall, ExchangeQuotaCall, FetchOffsetsCall, HeartbeatCall, JoinGroupCall,
    LeaveGroupCall, ListGroupsCall, OffsetsAtCall, Operation, PartitionSizesCall, ReportSentCall,
    SyncGroupCall,
};
use crate::quota::{Charge, ChargeOutcome, PartitionCharge, QuotaGrant, QuotaReport};
use crate::{
    Append, AppendError, Appended, Caller, CommitOffsets, CommittedOffset, Completion, EpochEnd,
    FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing, Join, Joined, Leave,
    LeaveOutcome, MemberIdentity, OffsetAt, OffsetQuery, PartitionAddress, PartitionSize, ReadError,
    ReadOutcome, ReadRequest, Reservation, SentBytes, Storage, Sync, Synced, Unavailable,
};

/// How long questions wait that no client stands behind.
const UNATTENDED_PATIENCE: Duration = Duration::from_secs(5);

impl RemoteStorage {
    /// Asks a partition's owner. Reading twice is as good as once.
    async fn ask_reader<O, T>(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        question: impl Fn(Caller) -> O,
    ) -> Result<T, ReadError>
    where
        O: Operation<Answer = Result<T, ReadError>>,
    {
        let deadline = deadline_after(caller.patience);
        let question = |patience| question(Caller { patience, ..caller.clone() });
        let asked =
            self.routes.ask(partition.slot, caller.connection, deadline, Retry::Always, question).await;
        asked.unwrap_or_else(|unanswered| {
            Err(match unanswered {
                Unanswered::Refused => ReadError::NotOwner,
                Unanswered::Unknown => ReadError::Unreadable,
            })
        })
    }

    /// Asks the owner of a slot for what concerns the cluster's quotas.
    async fn ask_quota<O, T>(
        &self,
        caller: &Caller,
        slot: SlotId,
        retry: Retry,
        question: impl Fn(Caller) -> O,
    ) -> Result<T, Unavailable>
    where
        O: Operation<Answer = Result<T, Unavailable>>,
    {
        let deadline = deadline_after(caller.patience);
        let question = |patience| question(Caller { patience, ..caller.clone() });
        let asked = self.routes.ask(slot, caller.connection, deadline, retry, question).await;
        asked.unwrap_or_else(|unanswered| {
            Err(match unanswered {
                Unanswered::Refused => Unavailable::NotOwner,
                Unanswered::Unknown => Unavailable::Refused,
            })
        })
    }

    /// Asks a group's coordinator.
    async fn ask_coordinator<O, T>(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        retry: Retry,
        question: impl Fn(Caller) -> O,
    ) -> Result<T, GroupError>
    where
        O: Operation<Answer = Result<T, GroupError>>,
    {
        let deadline = deadline_after(caller.patience);
        let question = |patience| question(Caller { patience, ..caller.clone() });
        let asked = self.routes.ask(group.slot, caller.connection, deadline, retry, question).await;
        asked.unwrap_or_else(|unanswered| {
            Err(match unanswered {
                Unanswered::Refused => GroupError::NotOwner,
                Unanswered::Unknown => GroupError::Unconfirmed,
            })
        })
    }
}

#[async_trait]
impl Storage for RemoteStorage {
    async fn reserve(&self, caller: &Caller, slot: SlotId, bytes: u64) -> Result<Reservation, Unavailable> {
        let deadline = deadline_after(caller.patience);
        let node = self.routes.owner(slot, deadline).await.ok_or(Unavailable::NotOwner)?;
        self.rooms.reserve(node.node, caller.cluster, bytes, deadline).await
    }

    fn submit_append(&self, caller: &Caller, append: Append) -> Completion<Result<Appended, AppendError>> {
        self.lanes.submit(caller, append)
    }

    async fn read(&self, caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome> {
        self.read_all(caller, request).await
    }

    async fn await_data(&self, caller: &Caller, from: &[(PartitionAddress, Offset)], bytes_min: u64) {
        self.await_sum(caller, from, bytes_min).await;
    }

    async fn offsets_at(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError> {
        self.ask_reader(caller, partition, |caller| OffsetsAtCall { caller, partition, query }).await
    }

    async fn epoch_end(
        &self,
        caller: &Caller,
        partition: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        self.ask_reader(caller, partition, |caller| EpochEndCall { caller, partition, epoch }).await
    }

    /// From the routing table: an epoch is what the slot's record says, whoever owns it.
    fn owners(&self) -> Vec<(SlotId, SlotOwner)> {
        self.routes.owners.owners()
    }

    async fn leader_epoch(&self, slot: SlotId) -> Result<LeaderEpoch, Unavailable> {
        self.routes.owners.owner(slot).map(|owner| owner.epoch).ok_or(Unavailable::NotOwner)
    }

    /// Any node draws: the client's connection decides which is asked first, so that clients spread.
    async fn allocate_producer_id(&self, caller: &Caller) -> Result<ProducerId, Unavailable> {
        let deadline = deadline_after(caller.patience);
        let mut pause = Pause::new();
        loop {
            let nodes = self.routes.owners.nodes();
            let first = (caller.connection % nodes.len().max(1) as u64) as usize;
            for node in nodes[first..].iter().chain(&nodes[..first]) {
                let patience = remaining(deadline);
                let question = AllocateProducerIdCall { caller: Caller { patience, ..caller.clone() } };
                let asked = self.routes.ask_node(node, caller.connection, deadline, question).await;
                if let Ok(answer) = asked.as_ref()
                    && !answer.is_refusal()
                {
                    return *answer;
                }
            }
            if Instant::now() >= deadline {
                return Err(Unavailable::Refused);
            }
            sleep_until((Instant::now() + pause.next()).min(deadline)).await;
        }
    }

    async fn join_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError> {
        // A join without a member id makes a new member each time it is accepted.
        let retry = if join.identity.member.is_empty() { Retry::OnlyIfRefused } else { Retry::Always };
        let question = |caller| JoinGroupCall { caller, group: group.clone(), join: join.clone() };
        self.ask_coordinator(caller, group, retry, question).await
    }

    async fn sync_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        sync: Sync,
    ) -> Result<Synced, GroupError> {
        let question = |caller| SyncGroupCall { caller, group: group.clone(), sync: sync.clone() };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn heartbeat(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        identity: MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        let question =
            |caller| HeartbeatCall { caller, group: group.clone(), identity: identity.clone(), generation };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn leave_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError> {
        let question = |caller| LeaveGroupCall { caller, group: group.clone(), members: members.clone() };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn commit_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        commit: CommitOffsets,
    ) -> Result<(), GroupError> {
        let question = |caller| CommitOffsetsCall { caller, group: group.clone(), commit: commit.clone() };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn fetch_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        let question = |caller| FetchOffsetsCall { caller, group: group.clone(), fetch: fetch.clone() };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn describe_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
    ) -> Result<GroupDescription, GroupError> {
        let question = |caller| DescribeGroupCall { caller, group: group.clone() };
        self.ask_coordinator(caller, group, Retry::Always, question).await
    }

    async fn list_groups(&self, caller: &Caller, slots: &[SlotId]) -> Result<Vec<GroupListing>, GroupError> {
        let deadline = deadline_after(caller.patience);
        let question =
            |slots, patience| ListGroupsCall { caller: Caller { patience, ..caller.clone() }, slots };
        let asked = self.routes.ask_all(slots, caller.connection, deadline, question).await;
        whole(asked.ok_or(GroupError::NotOwner)?)
    }

    async fn delete_group(&self, caller: &Caller, group: &GroupAddress) -> Result<(), GroupError> {
        let question = |caller| DeleteGroupCall { caller, group: group.clone() };
        self.ask_coordinator(caller, group, Retry::OnlyIfRefused, question).await
    }

    async fn report_sent(&self, gateway: Incarnation, sent: &[SentBytes]) -> Result<(), Unavailable> {
        let mut slots: Vec<SlotId> = sent.iter().map(|sent| sent.partition.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let question = |slots: Vec<SlotId>, _| {
            let there = sent.iter().filter(|sent| slots.contains(&sent.partition.slot));
            ReportSentCall { gateway, sent: there.copied().collect() }
        };
        let asked = self.routes.ask_all(&slots, 0, deadline_after(UNATTENDED_PATIENCE), question).await;
        asked.ok_or(Unavailable::NotOwner)?.into_iter().collect()
    }

    async fn partition_sizes(
        &self,
        cluster: ClusterId,
        slots: &[SlotId],
    ) -> Result<Vec<PartitionSize>, Unavailable> {
        let question = |slots, _| PartitionSizesCall { cluster, slots };
        let asked = self.routes.ask_all(slots, 0, deadline_after(UNATTENDED_PATIENCE), question).await;
        whole(asked.ok_or(Unavailable::NotOwner)?)
    }

    async fn exchange_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        report: QuotaReport,
    ) -> Result<QuotaGrant, Unavailable> {
        let question = |caller| ExchangeQuotaCall { caller, slot, report: report.clone() };
        self.ask_quota(caller, slot, Retry::Always, question).await
    }

    async fn charge_quota(
        &self,
        caller: &Caller,
        slot: SlotId,
        charge: Charge,
    ) -> Result<ChargeOutcome, Unavailable> {
        let question = |caller| ChargeQuotaCall { caller, slot, charge: charge.clone() };
        self.ask_quota(caller, slot, Retry::OnlyIfRefused, question).await
    }

    async fn charge_partitions(
        &self,
        caller: &Caller,
        slot: SlotId,
        charges: Vec<PartitionCharge>,
    ) -> Result<Vec<Duration>, Unavailable> {
        let question = |caller| ChargePartitionsCall { caller, slot, charges: charges.clone() };
        self.ask_quota(caller, slot, Retry::OnlyIfRefused, question).await
    }
}

/// The lists of several owners as one; the first error stands for all.
fn whole<T, E>(answers: Vec<Result<Vec<T>, E>>) -> Result<Vec<T>, E> {
    let lists: Result<Vec<Vec<T>>, E> = answers.into_iter().collect();
    lists.map(|lists| lists.into_iter().flatten().collect())
}
