//! The double of an owner: it keeps what it is given in memory, and refuses, waits and forgets on command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headgate_metadata::id::{ByteCount, ClusterId, Incarnation, LeaderEpoch, Offset, ProducerId, SlotId};
use headgate_metadata::slot_owners::SlotOwner;
use headgate_storage_client::quota::{
    Charge, ChargeOutcome, FlowGrant, PartitionCharge, QuotaGrant, QuotaReport,
};
use headgate_storage_client::{
    Append, AppendError, Appended, Caller, CommitOffsets, CommittedOffset, Completion, EpochEnd,
    FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing, GroupState, Join, Joined, Leave,
    LeaveOutcome, MemberIdentity, OffsetAt, OffsetQuery, PartitionAddress, PartitionSize, ReadError,
    ReadOutcome, ReadRequest, ReadSuccess, Reservation, SentBytes, Storage, Sync, Synced, Unavailable,
};
use tokio::sync::{Semaphore, oneshot, watch};

type Answer = (oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>);

pub(crate) struct Owner {
    state: Mutex<State>,
    /// Grows with everything that happens.
    changes: watch::Sender<u64>,
    /// Room for so many bytes of appends; each takes and forgets its own.
    pub(crate) room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    slots: BTreeSet<SlotId>,
    log: BTreeMap<SlotId, Vec<Bytes>>,
    /// So many appends from now on are refused although the slot is owned.
    refuse_next: usize,
    /// Answers of appends are held back.
    holds: Option<Vec<Answer>>,
    asked: BTreeMap<&'static str, usize>,
    waiting: usize,
    group_calls_hang: bool,
    /// The metadata revision this owner has caught up with.
    seen: u64,
    next_producer_id: u64,
    sent: Vec<(Incarnation, SentBytes)>,
    last_caller: Option<Caller>,
    /// What it has seen of the owners of slots.
    told: Vec<(SlotId, SlotOwner)>,
}

/// Counts a wait until it is dropped.
struct Waiting<'a>(&'a Owner);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.waiting -= 1);
    }
}

impl Owner {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            room: Arc::new(Semaphore::new(1 << 20)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while holding it")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changes.send_modify(|changes| *changes += 1);
        changed
    }

    async fn until(&self, mut holds: impl FnMut(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !holds(&self.state()) {
            changes.changed().await.expect("the double lives");
        }
    }

    fn ask(&self, name: &'static str) {
        self.change(|state| *state.asked.entry(name).or_default() += 1);
    }

    pub(crate) fn own(&self, slot: u16) {
        self.change(|state| state.slots.insert(SlotId::new(slot)));
    }
    pub(crate) fn disown(&self, slot: u16) {
        self.change(|state| state.slots.remove(&SlotId::new(slot)));
    }
    /// The next appends are refused, the slot being owned all the time.
    pub(crate) fn refuse_next(&self, count: usize) {
        self.change(|state| state.refuse_next = count);
    }
    /// Appends are taken but not answered.
    pub(crate) fn hold_answers(&self) {
        self.change(|state| state.holds = Some(Vec::new()));
    }
    pub(crate) fn release_answers(&self) {
        for (sender, answer) in self.change(|state| state.holds.take()).into_iter().flatten() {
            let _ = sender.send(answer);
        }
    }
    /// Group calls are taken but not answered.
    pub(crate) fn hang_groups(&self) {
        self.change(|state| state.group_calls_hang = true);
    }

    /// The owner knows everything up to this metadata revision.
    pub(crate) fn see(&self, revision: u64) {
        self.change(|state| state.seen = revision);
    }

    /// The owner has seen in the metadata store who owns a slot.
    pub(crate) fn has_seen(&self, slot: u16, owner: SlotOwner) {
        self.change(|state| state.told.push((SlotId::new(slot), owner)));
    }

    /// The numbers of the batches in a slot's partition.
    pub(crate) fn numbers(&self, slot: u16) -> Vec<u32> {
        let state = self.state();
        let log = state.log.get(&SlotId::new(slot));
        log.into_iter()
            .flatten()
            .map(|records| u32::from_be_bytes(records[..4].try_into().expect("four bytes")))
            .collect()
    }
    pub(crate) fn asked(&self, name: &'static str) -> usize {
        self.state().asked.get(name).copied().unwrap_or(0)
    }
    pub(crate) async fn until_asked(&self, name: &'static str, times: usize) {
        self.until(|state| state.asked.get(name).copied().unwrap_or(0) >= times).await;
    }
    pub(crate) async fn until_holding(&self, slot: u16, batches: usize) {
        self.until(|state| state.log.get(&SlotId::new(slot)).map_or(0, Vec::len) >= batches).await;
    }
    pub(crate) async fn until_waiting(&self, waits: usize) {
        self.until(|state| state.waiting == waits).await;
    }
    pub(crate) fn sent(&self) -> Vec<(Incarnation, SentBytes)> {
        self.state().sent.clone()
    }
    pub(crate) fn last_caller(&self) -> Option<Caller> {
        self.state().last_caller.clone()
    }
    /// Puts records there as if they had been appended.
    pub(crate) fn put(&self, slot: u16, records: &[u8]) {
        self.change(|state| {
            state.log.entry(SlotId::new(slot)).or_default().push(Bytes::copy_from_slice(records));
        });
    }

    fn check(&self, slot: SlotId) -> Result<(), Unavailable> {
        self.state().slots.contains(&slot).then_some(()).ok_or(Unavailable::NotOwner)
    }

    async fn group_call(
        &self,
        name: &'static str,
        caller: &Caller,
        group: &GroupAddress,
    ) -> Result<(), GroupError> {
        self.change(|state| state.last_caller = Some(caller.clone()));
        self.ask(name);
        if self.state().group_calls_hang {
            self.change(|state| state.waiting += 1);
            let _waiting = Waiting(self);
            std::future::pending::<()>().await;
        }
        self.check(group.slot).map_err(|_| GroupError::NotOwner)
    }

    fn available(&self, from: &[(PartitionAddress, Offset)]) -> u64 {
        let state = self.state();
        let of = |(partition, offset): &(PartitionAddress, Offset)| -> u64 {
            let log = state.log.get(&partition.slot).map_or(&[][..], Vec::as_slice);
            log.iter().skip(offset.get() as usize).map(|records| records.len() as u64).sum()
        };
        from.iter().map(of).sum()
    }
}

#[async_trait]
impl Storage for Owner {
    async fn reserve(&self, caller: &Caller, slot: SlotId, bytes: u64) -> Result<Reservation, Unavailable> {
        self.check(slot)?;
        self.until(|state| state.seen >= caller.revision_seen.get()).await;
        let permit = Arc::clone(&self.room).acquire_many_owned(bytes as u32).await;
        permit.expect("never closed").forget();
        Ok(Reservation::new(None))
    }

    fn submit_append(&self, caller: &Caller, append: Append) -> Completion<Result<Appended, AppendError>> {
        let (sender, completion) = Completion::channel();
        let slot = append.partition.slot;
        self.change(|state| {
            state.last_caller = Some(caller.clone());
            *state.asked.entry("append").or_default() += 1;
            let answer = if state.refuse_next > 0 {
                state.refuse_next -= 1;
                Err(AppendError::NotOwner)
            } else if !state.slots.contains(&slot) {
                Err(AppendError::NotOwner)
            } else {
                let log = state.log.entry(slot).or_default();
                let base_offset = Offset::new(log.len() as u64);
                log.push(append.batch.records().clone());
                Ok(Appended { base_offset, log_start: Offset::new(0), log_append_time: None })
            };
            match &mut state.holds {
                Some(held) if answer.is_ok() => held.push((sender, answer)),
                _ => {
                    let _ = sender.send(answer);
                }
            }
        });
        completion
    }

    async fn read(&self, _caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome> {
        self.ask("read");
        let mut left = request.bytes_max;
        let mut first = true;
        let state = self.state();
        let reads = request.partitions.iter().map(|read| {
            if !state.slots.contains(&read.partition.slot) {
                return Err(ReadError::NotOwner);
            }
            let log = state.log.get(&read.partition.slot).map_or(&[][..], Vec::as_slice);
            let mut success = ReadSuccess {
                high_watermark: Offset::new(log.len() as u64),
                last_stable_offset: Offset::new(log.len() as u64),
                ..ReadSuccess::default()
            };
            for records in log.iter().skip(read.offset.get() as usize) {
                let bytes = records.len() as u64;
                if bytes > left && !first {
                    break;
                }
                first = false;
                left = left.saturating_sub(bytes);
                success.records_bytes += bytes;
                success.records.push(records.clone());
            }
            Ok(success)
        });
        reads.collect()
    }

    async fn await_data(&self, _caller: &Caller, from: &[(PartitionAddress, Offset)], bytes_min: u64) {
        self.change(|state| {
            state.waiting += 1;
            *state.asked.entry("await_data").or_default() += 1;
        });
        let _waiting = Waiting(self);
        let mut changes = self.changes.subscribe();
        while self.available(from) < bytes_min
            && from.iter().all(|(partition, _)| self.check(partition.slot).is_ok())
        {
            changes.changed().await.expect("the double lives");
        }
    }

    async fn offsets_at(
        &self,
        _caller: &Caller,
        partition: PartitionAddress,
        _query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError> {
        self.ask("offsets_at");
        self.check(partition.slot).map_err(|_| ReadError::NotOwner)?;
        Ok(OffsetAt {
            offset: Some(Offset::new(self.numbers(partition.slot.get()).len() as u64)),
            timestamp: -1,
            epoch: None,
        })
    }

    async fn epoch_end(
        &self,
        _caller: &Caller,
        partition: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        self.ask("epoch_end");
        self.check(partition.slot).map_err(|_| ReadError::NotOwner)?;
        Ok(EpochEnd { epoch: Some(epoch), end: Some(Offset::new(7)) })
    }

    fn owners(&self) -> Vec<(SlotId, SlotOwner)> {
        self.ask("owners");
        self.state().told.clone()
    }

    async fn leader_epoch(&self, _slot: SlotId) -> Result<LeaderEpoch, Unavailable> {
        unreachable!("a gateway reads epochs from the routing table")
    }

    async fn allocate_producer_id(&self, _caller: &Caller) -> Result<ProducerId, Unavailable> {
        self.ask("allocate_producer_id");
        Ok(ProducerId::new(self.change(|state| {
            state.next_producer_id += 1;
            state.next_producer_id
        })))
    }

    async fn join_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError> {
        self.group_call("join_group", caller, group).await?;
        let member = if join.identity.member.is_empty() { "new".into() } else { join.identity.member };
        Ok(Joined {
            generation: 1,
            protocol_type: join.protocol_type,
            protocol: "range".into(),
            leader: Arc::clone(&member),
            member,
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    async fn sync_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        sync: Sync,
    ) -> Result<Synced, GroupError> {
        self.group_call("sync_group", caller, group).await?;
        let assignment =
            sync.assignments.into_iter().next().map(|(_, assignment)| assignment).unwrap_or_default();
        Ok(Synced { protocol_type: "consumer".into(), protocol: "range".into(), assignment })
    }

    async fn heartbeat(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        _identity: MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.group_call("heartbeat", caller, group).await?;
        if generation == 1 { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    async fn leave_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError> {
        self.group_call("leave_group", caller, group).await?;
        Ok(members.into_iter().map(|_| Err(GroupError::UnknownMember)).collect())
    }

    async fn commit_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        _commit: CommitOffsets,
    ) -> Result<(), GroupError> {
        self.group_call("commit_offsets", caller, group).await
    }

    async fn fetch_offsets(
        &self,
        caller: &Caller,
        group: &GroupAddress,
        _fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        self.group_call("fetch_offsets", caller, group).await?;
        Ok(Vec::new())
    }

    async fn describe_group(
        &self,
        caller: &Caller,
        group: &GroupAddress,
    ) -> Result<GroupDescription, GroupError> {
        self.group_call("describe_group", caller, group).await?;
        Ok(GroupDescription {
            state: GroupState::Dead,
            protocol_type: "".into(),
            protocol: "".into(),
            members: Vec::new(),
        })
    }

    async fn list_groups(&self, _caller: &Caller, slots: &[SlotId]) -> Result<Vec<GroupListing>, GroupError> {
        self.ask("list_groups");
        for slot in slots {
            self.check(*slot).map_err(|_| GroupError::NotOwner)?;
        }
        let listing = |slot: &SlotId| GroupListing {
            group: slot.to_string().into(),
            protocol_type: "consumer".into(),
            state: GroupState::Stable,
        };
        Ok(slots.iter().map(listing).collect())
    }

    async fn delete_group(&self, caller: &Caller, group: &GroupAddress) -> Result<(), GroupError> {
        self.group_call("delete_group", caller, group).await
    }

    async fn report_sent(&self, gateway: Incarnation, sent: &[SentBytes]) -> Result<(), Unavailable> {
        for sent in sent {
            self.check(sent.partition.slot)?;
        }
        self.change(|state| state.sent.extend(sent.iter().map(|sent| (gateway, *sent))));
        Ok(())
    }

    async fn partition_sizes(
        &self,
        cluster: ClusterId,
        slots: &[SlotId],
    ) -> Result<Vec<PartitionSize>, Unavailable> {
        assert_eq!(cluster, crate::cell::cluster());
        for slot in slots {
            self.check(*slot)?;
        }
        let size = |slot: &SlotId| {
            let partition = crate::cell::partition(slot.get());
            PartitionSize { partition, size: ByteCount::new(u64::from(slot.get())) }
        };
        Ok(slots.iter().map(size).collect())
    }

    async fn exchange_quota(
        &self,
        _caller: &Caller,
        slot: SlotId,
        report: QuotaReport,
    ) -> Result<QuotaGrant, Unavailable> {
        self.ask("exchange_quota");
        self.check(slot)?;
        Ok(QuotaGrant {
            sequence: report.sequence,
            flows: report.flows.map(|flow| FlowGrant { counted: flow.used, ..FlowGrant::default() }),
            connections: report.connections,
            gateways: 1,
        })
    }

    async fn charge_quota(
        &self,
        _caller: &Caller,
        slot: SlotId,
        charge: Charge,
    ) -> Result<ChargeOutcome, Unavailable> {
        self.ask("charge_quota");
        self.check(slot)?;
        Ok(ChargeOutcome::Granted { wait: charge.wait_max, groups: Vec::new() })
    }

    async fn charge_partitions(
        &self,
        _caller: &Caller,
        slot: SlotId,
        charges: Vec<PartitionCharge>,
    ) -> Result<Vec<Duration>, Unavailable> {
        self.ask("charge_partitions");
        self.check(slot)?;
        Ok(charges.iter().map(|charge| Duration::from_millis(charge.bytes)).collect())
    }
}

/// Long enough for something that must not happen to happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(150);
