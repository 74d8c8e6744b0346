//! Storage in memory that can hold back, fail and tell what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, ClusterId, Incarnation, LeaderEpoch, Offset, PartitionKey, ProducerId, SlotId, TopicId,
};
use headgate_metadata::quota::QuotaKey;
use headgate_metadata::slot_owners::SlotOwner;
use headgate_storage_client::quota::{
    Charge, ChargeOutcome, Charged, Flow, FlowGrant, PartitionCharge, QuotaGrant, QuotaReport,
};
use headgate_storage_client::{
    Append, AppendError, Appended, Caller, CommitOffsets, CommittedOffset, Completion, EpochEnd,
    FetchOffsets, GroupAddress, GroupDescription, GroupError, GroupListing, GroupState, Join, Joined,
    JoinedMember, Leave, LeaveOutcome, MemberDescription, MemberIdentity, OffsetAt, OffsetQuery,
    PartitionAddress, PartitionSize, ReadError, ReadOutcome, ReadRequest, ReadSuccess, Reservation,
    SentBytes, Storage, Sync, Synced, Unavailable,
};
use tokio::sync::{oneshot, watch};

type Answer = Result<Appended, AppendError>;

/// The double.
pub(crate) struct FakeStorage {
    state: Mutex<State>,
    /// Grows with everything that happens, for those who wait.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    logs: HashMap<PartitionKey, Vec<(Offset, Bytes)>>,
    held: Option<Vec<(oneshot::Sender<Answer>, Answer)>>,
    submitted: usize,
    waiting: usize,
    waits_end: bool,
    append_error: Option<AppendError>,
    reserve_error: Option<Unavailable>,
    read_error: Option<ReadError>,
    group_error: Option<GroupError>,
    joins_hang: bool,
    joining: usize,
    offsets: HashMap<Arc<str>, Vec<CommittedOffset>>,
    sent: HashMap<PartitionKey, u64>,
    last_caller: Option<Caller>,
    scarce: HashMap<Flow, f64>,
    quota_silent: bool,
    over: Option<(QuotaKey, Option<Duration>)>,
    charges: Vec<Charged>,
    reported_connections: u32,
    partition_over: Duration,
    partition_charges: Vec<PartitionCharge>,
}

impl FakeStorage {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changes: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while holding it")
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    async fn until(&self, mut holds: impl FnMut(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !holds(&self.state()) {
            changes.changed().await.expect("the double lives");
        }
    }

    /// Answers of appends are held back from now on.
    pub(crate) fn hold_appends(&self) {
        self.state().held = Some(Vec::new());
    }

    /// Lets go of one held answer, by the order of submission among those still held.
    pub(crate) fn release(&self, index: usize) {
        let (sender, answer) = self.state().held.as_mut().expect("answers are held").remove(index);
        sender.send(answer).expect("the gateway waits for it");
    }

    /// Forgets one held answer without giving it: its owner has died.
    pub(crate) fn lose(&self, index: usize) {
        drop(self.state().held.as_mut().expect("answers are held").remove(index));
    }

    pub(crate) fn fail_appends(&self, error: AppendError) {
        self.state().append_error = Some(error);
    }
    pub(crate) fn fail_reservations(&self, error: Unavailable) {
        self.state().reserve_error = Some(error);
    }
    pub(crate) fn fail_reads(&self, error: ReadError) {
        self.state().read_error = Some(error);
    }
    pub(crate) fn fail_groups(&self, error: GroupError) {
        self.state().group_error = Some(error);
    }
    pub(crate) fn hang_joins(&self) {
        self.state().joins_hang = true;
    }

    /// From now on the cluster has no more of this flow than so much a second.
    pub(crate) fn make_scarce(&self, flow: Flow, rate: f64) {
        self.state().scarce.insert(flow, rate);
    }
    /// The quota coordinator answers no more.
    pub(crate) fn silence_quotas(&self) {
        self.state().quota_silent = true;
    }
    /// Charges for this quota are refused from now on.
    pub(crate) fn refuse_charges(&self, quota: QuotaKey, retry_after: Option<Duration>) {
        self.state().over = Some((quota, retry_after));
    }
    /// All charges are granted again.
    pub(crate) fn grant_charges(&self) {
        self.state().over = None;
    }
    /// Every partition is over its limit for so long.
    pub(crate) fn overload_partitions(&self, over: Duration) {
        self.state().partition_over = over;
    }
    pub(crate) fn partition_charges(&self) -> Vec<PartitionCharge> {
        self.state().partition_charges.clone()
    }
    pub(crate) fn charges(&self) -> Vec<Charged> {
        self.state().charges.clone()
    }
    /// Returns when the gateway has reported so many connections.
    pub(crate) async fn reported_connections(&self, connections: u32) {
        self.until(|state| state.reported_connections == connections).await;
    }

    /// Returns when so many appends have been submitted.
    pub(crate) async fn submitted(&self, count: usize) {
        self.until(|state| state.submitted >= count).await;
    }
    /// Returns when somebody waits for data.
    pub(crate) async fn awaited(&self) {
        self.until(|state| state.waiting > 0).await;
    }
    /// Nobody waits for data from now on, as if an owner had said that it cannot be had.
    pub(crate) fn end_waits(&self) {
        self.state().waits_end = true;
        self.changed();
    }
    /// Returns when nobody waits for data any longer.
    pub(crate) async fn no_longer_awaited(&self) {
        self.until(|state| state.waiting == 0).await;
    }
    /// Returns when somebody hangs in a join.
    pub(crate) async fn joining(&self) {
        self.until(|state| state.joining > 0).await;
    }
    /// Returns when so many bytes of the partition's cluster have been reported as sent.
    pub(crate) async fn reported(&self, bytes: u64) {
        self.until(|state| state.sent.values().sum::<u64>() >= bytes).await;
    }
    pub(crate) fn submitted_count(&self) -> usize {
        self.state().submitted
    }
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent.values().sum()
    }
    pub(crate) fn last_caller(&self) -> Option<Caller> {
        self.state().last_caller.clone()
    }
    /// Puts a group without members, with these offsets.
    pub(crate) fn put_group(&self, group: &str, offsets: Vec<CommittedOffset>) {
        self.state().offsets.insert(group.into(), offsets);
    }
    /// The offsets of a group; `None` if there is none of that name.
    pub(crate) fn offsets_of(&self, group: &str) -> Option<Vec<CommittedOffset>> {
        self.state().offsets.get(group).cloned()
    }
    /// Batches of a topic.
    pub(crate) fn batches_of(&self, topic: TopicId) -> usize {
        self.state().logs.iter().filter(|(key, _)| key.topic == topic).map(|(_, log)| log.len()).sum()
    }
    /// Batches of all partitions.
    pub(crate) fn batches(&self) -> usize {
        self.state().logs.values().map(Vec::len).sum()
    }

    fn group_error(&self) -> Result<(), GroupError> {
        self.state().group_error.clone().map_or(Ok(()), Err)
    }
}

fn end(log: &[(Offset, Bytes)]) -> Offset {
    log.last().map_or(Offset::new(0), |(base, bytes)| {
        let count = i32::from_be_bytes([bytes[57], bytes[58], bytes[59], bytes[60]]);
        base.plus(count as u64)
    })
}

impl State {
    fn append(&mut self, append: &Append) -> Answer {
        if let Some(error) = self.append_error {
            return Err(error);
        }
        let log = self.logs.entry(append.partition.key).or_default();
        let base_offset = end(log);
        let header = append.batch.placed_header(base_offset, LeaderEpoch::new(1));
        log.push((base_offset, Bytes::from([&header[..], append.batch.records()].concat())));
        Ok(Appended { base_offset, log_start: Offset::new(0), log_append_time: None })
    }

    fn read(&self, key: PartitionKey, from: Offset) -> ReadOutcome {
        if let Some(error) = self.read_error {
            return Err(error);
        }
        let log = self.logs.get(&key).map(Vec::as_slice).unwrap_or_default();
        let end = end(log);
        if from > end {
            return Err(ReadError::OutOfRange { log_start: Offset::new(0), high_watermark: end });
        }
        let records: Vec<Bytes> = log
            .iter()
            .enumerate()
            .filter(|(index, _)| log.get(index + 1).map_or(end, |(next, _)| *next) > from)
            .map(|(_, (_, bytes))| bytes.clone())
            .collect();
        Ok(ReadSuccess {
            records_bytes: records.iter().map(|slice| slice.len() as u64).sum(),
            records,
            high_watermark: end,
            last_stable_offset: end,
            log_start: Offset::new(0),
            aborted: Vec::new(),
        })
    }
}

#[async_trait]
impl Storage for FakeStorage {
    async fn reserve(&self, caller: &Caller, _slot: SlotId, _bytes: u64) -> Result<Reservation, Unavailable> {
        self.state().last_caller = Some(caller.clone());
        self.state().reserve_error.map_or(Ok(Reservation::new(None)), Err)
    }

    fn submit_append(&self, _caller: &Caller, append: Append) -> Completion<Answer> {
        let mut state = self.state();
        state.submitted += 1;
        let answer = state.append(&append);
        let (sender, completion) = Completion::channel();
        match &mut state.held {
            Some(held) => held.push((sender, answer)),
            None => sender.send(answer).expect("its completion is here"),
        }
        drop(state);
        self.changed();
        completion
    }

    async fn read(&self, _caller: &Caller, request: &ReadRequest) -> Vec<ReadOutcome> {
        let state = self.state();
        let mut left = request.bytes_max;
        let mut outcomes = Vec::new();
        for read in &request.partitions {
            let mut outcome = state.read(read.partition.key, read.offset);
            if let Ok(success) = &mut outcome {
                let first = outcomes.iter().flatten().all(|success: &ReadSuccess| success.records.is_empty());
                let mut kept = 0;
                success.records.retain(|slice| {
                    let fits = slice.len() as u64 <= left.min(read.bytes_max) || first && kept == 0;
                    kept += usize::from(fits);
                    left = left.saturating_sub(if fits { slice.len() as u64 } else { 0 });
                    fits
                });
                success.records_bytes = success.records.iter().map(|slice| slice.len() as u64).sum();
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn await_data(&self, _caller: &Caller, from: &[(PartitionAddress, Offset)], bytes_min: u64) {
        struct Waiting<'s>(&'s FakeStorage);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.state().waiting -= 1;
                self.0.changed();
            }
        }
        self.state().waiting += 1;
        let _waiting = Waiting(self);
        self.changed();
        self.until(|state| {
            let bytes = |(partition, offset): &(PartitionAddress, Offset)| {
                state.read(partition.key, *offset).map_or(u64::MAX / 2, |success| success.records_bytes)
            };
            state.waits_end || from.iter().map(bytes).sum::<u64>() >= bytes_min
        })
        .await;
    }

    async fn offsets_at(
        &self,
        _caller: &Caller,
        partition: PartitionAddress,
        query: OffsetQuery,
    ) -> Result<OffsetAt, ReadError> {
        let state = self.state();
        let success = state.read(partition.key, Offset::new(0))?;
        let offset = match query {
            OffsetQuery::Earliest => Some(Offset::new(0)),
            OffsetQuery::Latest(_) => Some(success.high_watermark),
            OffsetQuery::MaxTimestamp | OffsetQuery::AtLeast(_) => None,
        };
        Ok(OffsetAt { offset, timestamp: -1, epoch: Some(LeaderEpoch::new(1)) })
    }

    async fn epoch_end(
        &self,
        _caller: &Caller,
        partition: PartitionAddress,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        let success = self.state().read(partition.key, Offset::new(0))?;
        let known = epoch >= LeaderEpoch::new(1);
        Ok(EpochEnd {
            epoch: known.then_some(LeaderEpoch::new(1)),
            end: known.then_some(success.high_watermark),
        })
    }

    fn owners(&self) -> Vec<(SlotId, SlotOwner)> {
        unreachable!("gateways are not asked")
    }

    async fn leader_epoch(&self, _slot: SlotId) -> Result<LeaderEpoch, Unavailable> {
        Ok(LeaderEpoch::new(1))
    }

    async fn allocate_producer_id(&self, _caller: &Caller) -> Result<ProducerId, Unavailable> {
        self.state().reserve_error.map_or(Ok(ProducerId::new(4711)), Err)
    }

    async fn join_group(
        &self,
        _caller: &Caller,
        _group: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError> {
        self.group_error()?;
        if self.state().joins_hang {
            self.state().joining += 1;
            self.changed();
            std::future::pending::<()>().await;
        }
        if join.member_id_required && join.identity.member.is_empty() {
            return Err(GroupError::MemberIdRequired { member: "member-1".into() });
        }
        let (protocol, metadata) = join.protocols.first().cloned().ok_or(GroupError::InconsistentProtocol)?;
        let member: Arc<str> = if join.identity.member.is_empty() {
            "member-1".into()
        } else {
            Arc::clone(&join.identity.member)
        };
        let identity = MemberIdentity { member: Arc::clone(&member), instance: join.identity.instance };
        Ok(Joined {
            generation: 1,
            protocol_type: join.protocol_type,
            protocol,
            leader: Arc::clone(&member),
            member,
            skip_assignment: false,
            members: vec![JoinedMember { identity, metadata }],
        })
    }

    async fn sync_group(
        &self,
        _caller: &Caller,
        _group: &GroupAddress,
        sync: Sync,
    ) -> Result<Synced, GroupError> {
        self.group_error()?;
        let own = sync.assignments.iter().find(|(member, _)| *member == sync.identity.member);
        let assignment = own.map(|(_, assignment)| assignment.clone()).unwrap_or_default();
        Ok(Synced { protocol_type: "consumer".into(), protocol: "range".into(), assignment })
    }

    async fn heartbeat(
        &self,
        _caller: &Caller,
        _group: &GroupAddress,
        _identity: MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.group_error()?;
        if generation == 1 { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    async fn leave_group(
        &self,
        _caller: &Caller,
        _group: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError> {
        self.group_error()?;
        let outcome = |leave: &Leave| match &*leave.identity.member {
            "member-1" => Ok(()),
            _ => Err(GroupError::UnknownMember),
        };
        Ok(members.iter().map(outcome).collect())
    }

    async fn commit_offsets(
        &self,
        _caller: &Caller,
        group: &GroupAddress,
        commit: CommitOffsets,
    ) -> Result<(), GroupError> {
        self.group_error()?;
        let mut state = self.state();
        let offsets = state.offsets.entry(Arc::clone(&group.group)).or_default();
        for offset in commit.offsets {
            offsets.retain(|known| (known.topic, known.partition) != (offset.topic, offset.partition));
            offsets.push(offset);
        }
        Ok(())
    }

    async fn fetch_offsets(
        &self,
        _caller: &Caller,
        group: &GroupAddress,
        fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        self.group_error()?;
        let state = self.state();
        let known = state.offsets.get(&group.group).cloned().unwrap_or_default();
        Ok(match fetch.partitions {
            Some(wanted) => known
                .into_iter()
                .filter(|offset| wanted.contains(&(offset.topic, offset.partition)))
                .collect(),
            None => known,
        })
    }

    async fn describe_group(
        &self,
        _caller: &Caller,
        group: &GroupAddress,
    ) -> Result<GroupDescription, GroupError> {
        self.group_error()?;
        let known = self.state().offsets.contains_key(&group.group);
        Ok(GroupDescription {
            state: if known { GroupState::Empty } else { GroupState::Dead },
            protocol_type: "consumer".into(),
            protocol: "".into(),
            members: vec![MemberDescription {
                identity: MemberIdentity { member: "member-1".into(), instance: Some("instance".into()) },
                client_id: "client".into(),
                client_host: "127.0.0.1".into(),
                metadata: Bytes::from_static(b"meta"),
                assignment: Bytes::from_static(b"mine"),
            }],
        })
    }

    async fn list_groups(
        &self,
        _caller: &Caller,
        _slots: &[SlotId],
    ) -> Result<Vec<GroupListing>, GroupError> {
        self.group_error()?;
        let listing = |group: &Arc<str>| GroupListing {
            group: Arc::clone(group),
            protocol_type: "consumer".into(),
            state: GroupState::Empty,
        };
        Ok(self.state().offsets.keys().map(listing).collect())
    }

    async fn delete_group(&self, _caller: &Caller, group: &GroupAddress) -> Result<(), GroupError> {
        self.group_error()?;
        self.state().offsets.remove(&group.group).map(|_| ()).ok_or(GroupError::NotFound)
    }

    async fn report_sent(&self, _gateway: Incarnation, sent: &[SentBytes]) -> Result<(), Unavailable> {
        for sent in sent {
            self.state().sent.insert(sent.partition.key, sent.total.get());
        }
        self.changed();
        Ok(())
    }

    async fn exchange_quota(
        &self,
        caller: &Caller,
        _slot: SlotId,
        report: QuotaReport,
    ) -> Result<QuotaGrant, Unavailable> {
        if self.state().quota_silent {
            std::future::pending::<()>().await;
        }
        // One of the two clusters is never short of anything.
        let mut scarce = HashMap::new();
        if caller.cluster.as_str() == "aaaaaaaa" {
            let mut state = self.state();
            state.reported_connections = report.connections;
            scarce.clone_from(&state.scarce);
        }
        self.changed();
        let flows = std::array::from_fn(|index| {
            let flow = &report.flows[index];
            match scarce.get(&Flow::ALL[index]) {
                // What a gateway owes it pays; what it saves up is little.
                Some(rate) => FlowGrant {
                    allowed: flow
                        .allowed
                        .clamp(flow.used.saturating_sub(1 << 40), flow.used + *rate as u64 / 10),
                    rate: *rate,
                    counted: flow.used,
                    contended: true,
                    ..FlowGrant::default()
                },
                None => {
                    FlowGrant { allowed: flow.used + (1 << 40), counted: flow.used, ..FlowGrant::default() }
                }
            }
        });
        Ok(QuotaGrant { sequence: report.sequence, flows, connections: report.connections, gateways: 1 })
    }

    async fn charge_quota(
        &self,
        _caller: &Caller,
        _slot: SlotId,
        charge: Charge,
    ) -> Result<ChargeOutcome, Unavailable> {
        let quota = match charge.what {
            Charged::Connection => QuotaKey::ConnectionsMax,
            Charged::TopicOperation => QuotaKey::TopicOperationsPerSecond,
            Charged::PartitionChanges { .. } => QuotaKey::PartitionChangesPer5Minutes,
            Charged::Group { .. } => QuotaKey::GroupsMax,
        };
        self.state().charges.push(charge.what);
        Ok(match self.state().over.filter(|(refused, _)| *refused == quota) {
            Some((quota, retry_after)) => ChargeOutcome::Over { quota, retry_after },
            None => ChargeOutcome::Granted { wait: Duration::ZERO, groups: Vec::new() },
        })
    }

    async fn charge_partitions(
        &self,
        _caller: &Caller,
        _slot: SlotId,
        charges: Vec<PartitionCharge>,
    ) -> Result<Vec<Duration>, Unavailable> {
        let over = self.state().partition_over;
        self.state().partition_charges.extend(&charges);
        Ok(vec![over; charges.len()])
    }

    async fn partition_sizes(
        &self,
        cluster: ClusterId,
        slots: &[SlotId],
    ) -> Result<Vec<PartitionSize>, Unavailable> {
        let state = self.state();
        let of_cluster = state.logs.iter().filter(|(key, _)| key.cluster == cluster);
        let sizes = of_cluster.map(|(key, log)| PartitionSize {
            partition: PartitionAddress { key: *key, slot: slots[0] },
            size: ByteCount::new(log.iter().map(|(_, bytes)| bytes.len() as u64).sum()),
        });
        Ok(sizes.collect())
    }
}
