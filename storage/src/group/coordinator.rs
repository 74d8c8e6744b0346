//! The groups of a node: finds them, gives them time, takes their changes to the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use headgate_metadata::id::{ClusterId, SlotId};
use headgate_storage_client::{
    Caller, CommitOffsets, CommittedOffset, FetchOffsets, GroupAddress, GroupDescription, GroupError,
    GroupListing, GroupState, Join, Joined, Leave, LeaveOutcome, MemberIdentity, Sync, Synced,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::deadlines::Deadlines;
use super::machine::{Change, Group, Phase};
use super::member::Gated;
use super::records::{self, MalformedRecord};
use crate::state_log::{Durable, SharedStateLog, StateKind, StateRecord};

/// The tenant and the group's id; the tenant comes first.
pub(super) type GroupKey = (ClusterId, Arc<str>);

/// Bounds on groups. Everything that can grow has one.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Members of one group at most, as Kafka's `group.max.size`. Higher: one group can hold more memory; lower: large
    /// groups are refused.
    pub members_max: usize,
    /// Groups of one cluster at most, whatever its quota. Higher: a tenant can hold more memory; lower: new groups are
    /// refused sooner.
    pub groups_max: usize,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`: how long a new group waits for more members. Higher: fewer rebalances when many
    /// members start together; lower: the first member begins sooner.
    pub initial_rebalance_delay: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            members_max: 1000,
            groups_max: 10_000,
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_mins(30),
            initial_rebalance_delay: Duration::from_secs(3),
        }
    }
}

#[derive(Debug)]
struct Entry {
    slot: SlotId,
    group: Mutex<Group>,
}

/// All groups of the slots a node owns.
pub struct Coordinator {
    groups: DashMap<GroupKey, Arc<Entry>>,
    per_cluster: DashMap<ClusterId, usize>,
    deadlines: Arc<Deadlines>,
    log: SharedStateLog,
    limits: GroupLimits,
}

impl Coordinator {
    /// An empty coordinator; state comes by [`Self::replay`]. Run [`Self::run`] beside it.
    pub fn new(log: SharedStateLog, limits: GroupLimits) -> Self {
        Self {
            groups: DashMap::new(),
            per_cluster: DashMap::new(),
            deadlines: Arc::new(Deadlines::default()),
            log,
            limits,
        }
    }

    /// Gives groups their time, for ever. Cancel safe.
    pub async fn run(&self) {
        loop {
            let key = self.deadlines.next().await;
            let Some(entry) = self.find(&key) else { continue };
            let now = Instant::now();
            let mut group = lock(&entry);
            group.scheduled = None;
            group.on_time(now);
            self.settle(&key, &entry, &mut group);
        }
    }

    /// Puts a logged record back in place. Records come in log order, before the slot opens.
    pub fn replay(&self, slot: SlotId, record: &StateRecord) -> Result<(), MalformedRecord> {
        match record.kind {
            StateKind::GroupOffset => {
                let (id, topic, partition) = records::parse_offset_key(record.key.clone())?;
                let entry = self.obtain((record.cluster, id), slot);
                let mut group = lock(&entry);
                match &record.value {
                    Some(value) => {
                        group.offsets.insert((topic, partition), records::decode_offset(value.clone())?);
                    }
                    None => group.offsets.remove((topic, partition)),
                }
            }
            StateKind::GroupMetadata => {
                let id = std::str::from_utf8(&record.key).map_err(|_| MalformedRecord::GROUP_ID)?;
                let key: GroupKey = (record.cluster, id.into());
                match &record.value {
                    Some(value) => {
                        let stored = records::decode_group(value.clone())?;
                        let entry = self.obtain(key.clone(), slot);
                        let mut group = lock(&entry);
                        group.restore(stored, Instant::now());
                        self.schedule(&key, &mut group);
                    }
                    None => self.forget(&key),
                }
            }
            StateKind::UsageMark
            | StateKind::LogStart
            | StateKind::Removed
            | StateKind::SentBytes
            | StateKind::Inherited => {}
        }
        Ok(())
    }

    /// Drops every group of a slot that has another owner now; waiting calls end with [`GroupError::NotOwner`].
    pub fn clear_slot(&self, slot: SlotId) {
        self.abandon(|_, entry| entry.slot == slot);
    }

    /// Drops every group of a cluster that was removed; waiting calls end with [`GroupError::NotOwner`].
    pub fn remove_cluster(&self, cluster: ClusterId) {
        self.abandon(|key, _| key.0 == cluster);
    }

    fn abandon(&self, which: impl Fn(&GroupKey, &Entry) -> bool) {
        let chosen = self.groups.iter().filter(|entry| which(entry.key(), entry.value()));
        let keys: Vec<GroupKey> = chosen.map(|entry| entry.key().clone()).collect();
        for key in keys {
            if let Some(entry) = self.find(&key) {
                lock(&entry).abandon();
            }
            self.forget(&key);
        }
    }

    /// See [`headgate_storage_client::Storage::join_group`].
    pub async fn join(
        &self,
        caller: &Caller,
        address: &GroupAddress,
        join: Join,
    ) -> Result<Joined, GroupError> {
        let session = self.limits.session_timeout_min..=self.limits.session_timeout_max;
        if !session.contains(&join.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if !is_valid_id(&address.group) || join.identity.instance.as_deref().is_some_and(records::too_long) {
            return Err(GroupError::InvalidId);
        }
        let prefix = join.identity.instance.as_ref().unwrap_or(&caller.client_id);
        let new_id = format!("{prefix}-{}", uuid::Uuid::new_v4()).into();
        let may_create = join.identity.member.is_empty();
        let (reply, answer) = oneshot::channel();
        self.with(address, may_create, |group, now| {
            group.join(caller, join, new_id, self.limits.members_max, now, reply);
        })?
        .ok_or(GroupError::UnknownMember)?;
        gated(answer).await
    }

    /// See [`headgate_storage_client::Storage::sync_group`].
    pub async fn sync(&self, address: &GroupAddress, sync: Sync) -> Result<Synced, GroupError> {
        let (reply, answer) = oneshot::channel();
        self.with(address, false, |group, now| group.sync(sync, now, reply))?
            .ok_or(GroupError::UnknownMember)?;
        gated(answer).await
    }

    /// See [`headgate_storage_client::Storage::heartbeat`].
    pub async fn heartbeat(
        &self,
        address: &GroupAddress,
        identity: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        let answer = self.with(address, false, |group, now| {
            let value = group.heartbeat(identity, generation, now);
            Gated { value, after: group.last_change.clone() }
        })?;
        settled(answer.ok_or(GroupError::UnknownMember)?).await
    }

    /// See [`headgate_storage_client::Storage::leave_group`].
    pub async fn leave(
        &self,
        address: &GroupAddress,
        members: Vec<Leave>,
    ) -> Result<Vec<LeaveOutcome>, GroupError> {
        let answer = self.with(address, false, |group, now| {
            members.iter().map(|leave| group.leave(&leave.identity, now)).collect::<Vec<_>>()
        })?;
        let Some(outcomes) = answer else {
            return Ok(members.iter().map(|_| Err(GroupError::UnknownMember)).collect());
        };
        // The removal is logged by the generation that follows it; only becoming empty is logged at once.
        let after = self.with(address, false, |group, _| group.last_change.clone())?;
        match after {
            Some(after) => settled(Gated { value: Ok(outcomes), after }).await,
            None => Ok(outcomes),
        }
    }

    /// See [`headgate_storage_client::Storage::commit_offsets`].
    pub async fn commit(&self, address: &GroupAddress, commit: CommitOffsets) -> Result<(), GroupError> {
        if !is_valid_id(&address.group) {
            return Err(GroupError::InvalidId);
        }
        let may_create = commit.generation < 0;
        let answer = self.with(address, may_create, |group, now| {
            if let Err(error) = group.check_commit(&commit, now) {
                return Gated { value: Err(error), after: group.last_change.clone() };
            }
            let mut logged = Vec::with_capacity(commit.offsets.len());
            for offset in &commit.offsets {
                group.offsets.put(offset);
                logged.push(offset_record(address, offset));
            }
            if !logged.is_empty() {
                group.last_change = self.log.submit_state(address.slot, logged).and(&group.last_change);
            }
            Gated { value: Ok(()), after: group.last_change.clone() }
        })?;
        settled(answer.ok_or(GroupError::IllegalGeneration)?).await
    }

    /// See [`headgate_storage_client::Storage::fetch_offsets`].
    pub async fn fetch(
        &self,
        address: &GroupAddress,
        fetch: FetchOffsets,
    ) -> Result<Vec<CommittedOffset>, GroupError> {
        let answer = self.with(address, false, |group, _| {
            let value = match &fetch.identity {
                Some((identity, generation)) if *generation >= 0 => {
                    group.check_identity(&identity.member, identity.instance.as_ref()).and_then(|()| {
                        (*generation == group.generation).then_some(()).ok_or(GroupError::IllegalGeneration)
                    })
                }
                _ => Ok(()),
            };
            let value = value.map(|()| group.offsets.select(fetch.partitions.as_deref()));
            Gated { value, after: group.last_change.clone() }
        })?;
        match answer {
            Some(gated) => settled(gated).await,
            None => Ok(Vec::new()),
        }
    }

    /// See [`headgate_storage_client::Storage::describe_group`].
    pub async fn describe(&self, address: &GroupAddress) -> Result<GroupDescription, GroupError> {
        let answer = self.with(address, false, |group, _| Gated {
            value: Ok(group.describe()),
            after: group.last_change.clone(),
        })?;
        match answer {
            Some(gated) => settled(gated).await,
            None => Ok(GroupDescription {
                state: GroupState::Dead,
                protocol_type: Arc::from(""),
                protocol: Arc::from(""),
                members: Vec::new(),
            }),
        }
    }

    /// See [`headgate_storage_client::Storage::list_groups`].
    pub fn list(&self, cluster: ClusterId, slots: &[SlotId]) -> Vec<GroupListing> {
        let in_slots = |entry: &Arc<Entry>| slots.contains(&entry.slot);
        // Collected first: a group's lock is never taken while the map is held, because its holder may need the map.
        let found: Vec<(Arc<str>, Arc<Entry>)> = self
            .groups
            .iter()
            .filter(|entry| entry.key().0 == cluster && in_slots(entry.value()))
            .map(|entry| (Arc::clone(&entry.key().1), Arc::clone(entry.value())))
            .collect();
        let mut listed: Vec<GroupListing> = Vec::with_capacity(found.len());
        for (id, entry) in found {
            let group = lock(&entry);
            if !group.is_vacant() {
                listed.push(group.list(&id));
            }
        }
        listed.sort_unstable_by(|left, right| left.group.cmp(&right.group));
        listed
    }

    /// See [`headgate_storage_client::Storage::delete_group`].
    pub async fn delete(&self, address: &GroupAddress) -> Result<(), GroupError> {
        let key = (address.cluster, Arc::clone(&address.group));
        let entry = self.find(&key).ok_or(GroupError::NotFound)?;
        let after = {
            let mut group = lock(&entry);
            if group.phase == Phase::Dead || group.is_vacant() {
                return Err(GroupError::NotFound);
            }
            if !group.members.is_empty() || !group.pending.is_empty() {
                return Err(GroupError::NotEmpty);
            }
            let removed = group.offsets.partitions().map(|(topic, partition)| {
                let key = records::offset_key(&address.group, topic, partition);
                StateRecord { cluster: address.cluster, kind: StateKind::GroupOffset, key, value: None }
            });
            let mut logged: Vec<StateRecord> = removed.collect();
            logged.push(generation_record(address.cluster, &address.group, None));
            let after = self.log.submit_state(address.slot, logged);
            group.phase = Phase::Dead;
            self.forget(&key);
            after
        };
        settled(Gated { value: Ok(()), after }).await
    }

    /// Runs `act` on the group under its lock, then logs and schedules what it changed. `None` = there is no such group.
    fn with<R>(
        &self,
        address: &GroupAddress,
        may_create: bool,
        act: impl FnOnce(&mut Group, Instant) -> R,
    ) -> Result<Option<R>, GroupError> {
        let key: GroupKey = (address.cluster, Arc::clone(&address.group));
        loop {
            let entry = match self.find(&key) {
                Some(entry) => entry,
                None if may_create => {
                    let count = self.per_cluster.get(&address.cluster).map_or(0, |count| *count);
                    if count >= self.limits.groups_max {
                        return Err(GroupError::LimitReached);
                    }
                    self.obtain(key.clone(), address.slot)
                }
                None => return Ok(None),
            };
            let mut group = lock(&entry);
            if group.phase == Phase::Dead {
                // Removed between the look-up and the lock: look again. The remover takes it out of the map under the lock.
                continue;
            }
            if group.last_change.is_lost() {
                self.log_again(&key, &entry, &mut group);
            }
            let result = act(&mut group, Instant::now());
            self.settle(&key, &entry, &mut group);
            return Ok(Some(result));
        }
    }

    /// Logs the group's changes, answers the syncs that waited for them, and asks for its next deadline.
    fn settle(&self, key: &GroupKey, entry: &Entry, group: &mut Group) {
        for change in std::mem::take(&mut group.changes) {
            let Change::Generation(stored) = change;
            let record = generation_record(key.0, &key.1, Some(records::encode_group(&stored)));
            group.last_change = self.log.submit_state(entry.slot, vec![record]).and(&group.last_change);
        }
        group.answer_syncs();
        if group.is_vacant() {
            // Only ids that were given out and never used: as if nobody had asked.
            group.phase = Phase::Dead;
            self.forget(key);
        } else {
            self.schedule(key, group);
        }
    }

    /// A change was refused, by a full disk perhaps, and stands in memory only: everything is logged again, so that no answer
    /// ever shows what a restart would forget. A rebalance under way logs its own generation when it is complete.
    fn log_again(&self, key: &GroupKey, entry: &Entry, group: &mut Group) {
        let mut logged = group.offsets.records(key.0, &key.1);
        if matches!(group.phase, Phase::Stable | Phase::Empty) && group.generation > 0 {
            let stored = records::encode_group(&group.snapshot());
            logged.push(generation_record(key.0, &key.1, Some(stored)));
        }
        group.last_change =
            if logged.is_empty() { Durable::already() } else { self.log.submit_state(entry.slot, logged) };
    }

    /// One entry in the queue per group: a deadline that moved later is found when the earlier one is due.
    fn schedule(&self, key: &GroupKey, group: &mut Group) {
        if let Some(at) = group.next_deadline()
            && group.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            group.scheduled = Some(at);
            self.deadlines.put(at, key.clone());
        }
    }

    fn find(&self, key: &GroupKey) -> Option<Arc<Entry>> {
        self.groups.get(key).map(|entry| Arc::clone(&entry))
    }

    fn obtain(&self, key: GroupKey, slot: SlotId) -> Arc<Entry> {
        let cluster = key.0;
        let entry = self.groups.entry(key).or_insert_with(|| {
            *self.per_cluster.entry(cluster).or_default() += 1;
            Arc::new(Entry { slot, group: Mutex::new(Group::new(self.limits.initial_rebalance_delay)) })
        });
        Arc::clone(&entry)
    }

    fn forget(&self, key: &GroupKey) {
        if self.groups.remove(key).is_some()
            && let Some(mut count) = self.per_cluster.get_mut(&key.0)
        {
            *count = count.saturating_sub(1);
        }
    }
}

fn is_valid_id(group: &str) -> bool {
    !group.is_empty() && !records::too_long(group)
}

/// A panic while the lock was held poisons it; the group's fields are each consistent, and refusing all its members for
/// ever would be worse.
fn lock(entry: &Entry) -> MutexGuard<'_, Group> {
    entry.group.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn gated<T>(answer: oneshot::Receiver<Gated<Result<T, GroupError>>>) -> Result<T, GroupError> {
    match answer.await {
        Ok(gated) => settled(gated).await,
        // The group was dropped with its slot.
        Err(_) => Err(GroupError::NotOwner),
    }
}

async fn settled<T>(gated: Gated<Result<T, GroupError>>) -> Result<T, GroupError> {
    if gated.after.wait().await { gated.value } else { Err(GroupError::Unconfirmed) }
}

fn offset_record(address: &GroupAddress, offset: &headgate_storage_client::OffsetToCommit) -> StateRecord {
    let committed = super::offsets::Committed {
        offset: offset.offset,
        epoch: offset.epoch,
        metadata: Arc::clone(&offset.metadata),
    };
    StateRecord {
        cluster: address.cluster,
        kind: StateKind::GroupOffset,
        key: records::offset_key(&address.group, offset.topic, offset.partition),
        value: Some(records::encode_offset(&committed)),
    }
}

fn generation_record(cluster: ClusterId, group: &str, value: Option<Bytes>) -> StateRecord {
    let key = Bytes::copy_from_slice(group.as_bytes());
    StateRecord { cluster, kind: StateKind::GroupMetadata, key, value }
}
