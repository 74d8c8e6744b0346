//! What members ask of a group: join, sync, heartbeat, leave, commit.
//!
//! The order of checks in each is Apache Kafka's, because clients react to the first error they get.

use std::sync::Arc;

use headgate_storage_client::{
    Caller, CommitOffsets, GroupError, Join, Joined, LeaveOutcome, MemberIdentity, Sync, Synced,
};
use tokio::time::Instant;

use super::machine::{Group, Phase};
use super::member::{Gated, Member, Reply};
use super::offsets::OFFSET_METADATA_BYTES_MAX;
use super::records::too_long;

/// A new member id, drawn by the coordinator: `<client id>-<uuid>`, as Kafka makes them.
pub(super) type NewMemberId = Arc<str>;

impl Group {
    /// Handles a join. `reply` is answered now or when the rebalance is over.
    pub(super) fn join(
        &mut self,
        caller: &Caller,
        join: Join,
        new_id: NewMemberId,
        members_max: usize,
        now: Instant,
        reply: Reply<Joined>,
    ) {
        match self.admit(caller, join, new_id, members_max, now) {
            Admission::Answer(value) => {
                drop(reply.send(Gated { value, after: self.last_change.clone() }));
            }
            Admission::Wait(id) => {
                let member = self.members.get_mut(&id).expect("admitted members are in the group");
                if let Some(earlier) = member.joining.replace(reply) {
                    // The client gave up on its first attempt and asked again.
                    let value = Err(GroupError::RebalanceInProgress);
                    drop(earlier.send(Gated { value, after: self.last_change.clone() }));
                }
                self.maybe_complete_join(now);
            }
        }
    }

    /// Decides what becomes of a join.
    fn admit(
        &mut self,
        caller: &Caller,
        join: Join,
        new_id: NewMemberId,
        members_max: usize,
        now: Instant,
    ) -> Admission {
        if let Err(error) = self.check_protocols(&join) {
            return Admission::Answer(Err(error));
        }
        // Whoever has a place already, as a member or by an id given out, does not need another.
        let known = self.members.contains_key(&join.identity.member)
            || self.pending.contains_key(&join.identity.member)
            || join.identity.instance.as_ref().is_some_and(|instance| self.instances.contains_key(instance));
        if !known && self.members.len() + self.pending.len() >= members_max {
            return Admission::Answer(Err(GroupError::LimitReached));
        }
        match (&join.identity.instance, join.identity.member.is_empty()) {
            (Some(instance), true) => match self.instances.get(instance).cloned() {
                Some(old) => self.replace_static(caller, join, &old, new_id, now),
                None => self.add_member(caller, join, new_id, now),
            },
            (None, true) if join.member_id_required => {
                self.pending.insert(Arc::clone(&new_id), now + join.session_timeout);
                Admission::Answer(Err(GroupError::MemberIdRequired { member: new_id }))
            }
            (None, true) => self.add_member(caller, join, new_id, now),
            (_, false) => self.rejoin(caller, join, now),
        }
    }

    fn check_protocols(&self, join: &Join) -> Result<(), GroupError> {
        let names = join.protocols.iter().map(|(name, _)| name).chain([&join.protocol_type]);
        if join.protocols.is_empty()
            || join.protocol_type.is_empty()
            || names.clone().any(|name| too_long(name))
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.members.is_empty() {
            return Ok(());
        }
        let shared = join.protocols.iter().any(|(name, _)| self.all_support(name));
        if *join.protocol_type != *self.protocol_type || !shared {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    fn add_member(&mut self, caller: &Caller, join: Join, id: Arc<str>, now: Instant) -> Admission {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Arc::clone(&join.protocol_type);
            self.leader = Some(Arc::clone(&id));
        }
        if let Some(instance) = &join.identity.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.members.insert(Arc::clone(&id), new_member(caller, join, &id, now));
        match &mut self.phase {
            // Members keep arriving while a new group waits: give the next ones the same delay, up to the end.
            Phase::Preparing { ends, not_before } if *not_before > now => {
                *not_before = (now + self.initial_delay).min(*ends);
            }
            Phase::Preparing { .. } => {}
            _ => self.prepare_rebalance(now),
        }
        Admission::Wait(id)
    }

    fn rejoin(&mut self, caller: &Caller, join: Join, now: Instant) -> Admission {
        let id = Arc::clone(&join.identity.member);
        if self.pending.contains_key(&id) && join.identity.instance.is_none() {
            return self.add_member(caller, join, id, now);
        }
        if let Err(error) = self.check_identity(&id, join.identity.instance.as_ref()) {
            return Admission::Answer(Err(error));
        }
        let unchanged = self.members[&id].protocols == join.protocols;
        let leads = self.leader.as_ref() == Some(&id);
        self.update_member(&id, join, now);
        match self.phase {
            Phase::Preparing { .. } => Admission::Wait(id),
            // The answer to its join was lost: give it again.
            Phase::Completing { .. } if unchanged => Admission::Answer(Ok(self.joined(&id))),
            Phase::Stable if unchanged && !leads => Admission::Answer(Ok(self.joined(&id))),
            Phase::Completing { .. } | Phase::Stable => {
                self.prepare_rebalance(now);
                Admission::Wait(id)
            }
            Phase::Empty | Phase::Dead => Admission::Answer(Err(GroupError::UnknownMember)),
        }
    }

    /// A static member came back without its member id: it gets a new one, and whoever used the old one is fenced (KIP-345).
    fn replace_static(
        &mut self,
        caller: &Caller,
        join: Join,
        old: &Arc<str>,
        id: Arc<str>,
        now: Instant,
    ) -> Admission {
        let mut before = self.members.remove(old).expect("instances name members of the group");
        before.fail_waiting(&GroupError::FencedInstance);
        let led = self.leader.as_ref() == Some(old);
        let skip = join.supports_skip_assignment;
        let unchanged = before.protocols == join.protocols;
        if let Some(instance) = &join.identity.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        let mut member = new_member(caller, join, &id, now);
        member.assignment = before.assignment;
        member.synced = before.synced;
        self.members.insert(Arc::clone(&id), member);
        if led {
            self.leader = Some(Arc::clone(&id));
        }
        match self.phase {
            Phase::Stable if unchanged => {
                self.log_generation();
                Admission::Answer(Ok(self.joined_again(&id, old, led, skip)))
            }
            Phase::Stable | Phase::Completing { .. } => {
                self.prepare_rebalance(now);
                Admission::Wait(id)
            }
            Phase::Preparing { .. } => Admission::Wait(id),
            Phase::Empty | Phase::Dead => Admission::Answer(Err(GroupError::UnknownMember)),
        }
    }

    /// The generation as told to a static member that came back: nothing is assigned anew. A leader too old for
    /// `skip_assignment` is told that the member it was leads, so that it does not assign (KIP-814).
    fn joined_again(&self, id: &Arc<str>, old: &Arc<str>, led: bool, skip: bool) -> Joined {
        let mut joined = self.joined(id);
        if led && skip {
            joined.skip_assignment = true;
        } else if led {
            joined.leader = Arc::clone(old);
            joined.members.clear();
        }
        joined
    }

    fn update_member(&mut self, id: &Arc<str>, join: Join, now: Instant) {
        let member = self.members.get_mut(id).expect("the identity was checked");
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.protocols = kept(join.protocols);
        member.supports_skip_assignment = join.supports_skip_assignment;
        member.touch(now);
    }

    /// Handles a sync. `reply` is answered now or when the leader has assigned.
    pub(super) fn sync(&mut self, sync: Sync, now: Instant, reply: Reply<Synced>) {
        let id = Arc::clone(&sync.identity.member);
        match self.check_sync(&sync) {
            Err(error) => self.answer_sync(reply, Err(error)),
            Ok(Phase::Completing { .. }) => {
                let member = self.members.get_mut(&id).expect("the identity was checked");
                member.synced = true;
                member.touch(now);
                if let Some(earlier) = member.syncing.replace(reply) {
                    self.answer_sync(earlier, Err(GroupError::RebalanceInProgress));
                }
                if self.leader.as_ref() == Some(&id) {
                    self.assign(sync.assignments, now);
                }
            }
            Ok(_) => {
                self.members.get_mut(&id).expect("the identity was checked").touch(now);
                let synced = self.synced(&id);
                self.answer_sync(reply, Ok(synced));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<Phase, GroupError> {
        self.check_identity(&sync.identity.member, sync.identity.instance.as_ref())?;
        if sync.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<Arc<str>>, is: &Arc<str>| said.as_ref().is_some_and(|said| said != is);
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.phase {
            Phase::Empty | Phase::Dead => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            phase => Ok(phase),
        }
    }

    /// The leader has spoken: log the generation, then answer everybody. Members it forgot get an empty assignment.
    fn assign(&mut self, assignments: Vec<(Arc<str>, bytes::Bytes)>, now: Instant) {
        for member in self.members.values_mut() {
            member.assignment.clear();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                // Copied: a slice would keep the leader's whole request in memory.
                member.assignment = bytes::Bytes::copy_from_slice(&assignment);
            }
        }
        self.phase = Phase::Stable;
        self.log_generation();
        for member in self.members.values_mut() {
            member.touch(now);
        }
    }

    /// Answers all syncs that wait for the assignment; the coordinator calls it once the generation is submitted to the log.
    pub(super) fn answer_syncs(&mut self) {
        if self.phase != Phase::Stable {
            return;
        }
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            let member = self.members.get_mut(&id).expect("the id was just listed");
            if let Some(reply) = member.syncing.take() {
                self.answer_sync(reply, Ok(synced));
            }
        }
    }

    fn answer_sync(&self, reply: Reply<Synced>, value: Result<Synced, GroupError>) {
        drop(reply.send(Gated { value, after: self.last_change.clone() }));
    }

    fn synced(&self, id: &Arc<str>) -> Synced {
        Synced {
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: Arc::clone(&self.protocol),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Keeps the session alive and tells whether to join again.
    pub(super) fn heartbeat(
        &mut self,
        identity: &MemberIdentity,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        self.check_identity(&identity.member, identity.instance.as_ref())?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let member = self.members.get_mut(&identity.member).expect("the identity was checked");
        member.touch(now);
        match self.phase {
            Phase::Stable | Phase::Completing { .. } => Ok(()),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::Dead => Err(GroupError::UnknownMember),
        }
    }

    /// Removes one member, which may name itself by its instance id alone (KIP-345).
    pub(super) fn leave(&mut self, identity: &MemberIdentity, now: Instant) -> LeaveOutcome {
        let id = match &identity.instance {
            Some(instance) => {
                let current = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
                if !identity.member.is_empty() && identity.member != *current {
                    return Err(GroupError::FencedInstance);
                }
                Arc::clone(current)
            }
            None => Arc::clone(&identity.member),
        };
        if self.pending.remove(&id).is_some() {
            self.maybe_complete_join(now);
            return Ok(());
        }
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMember);
        }
        self.remove_member(&id, now);
        Ok(())
    }

    /// Whether a commit may happen; a commit of a member is a sign of life.
    pub(super) fn check_commit(&mut self, commit: &CommitOffsets, now: Instant) -> Result<(), GroupError> {
        if commit.offsets.iter().any(|offset| offset.metadata.len() > OFFSET_METADATA_BYTES_MAX) {
            return Err(GroupError::MetadataTooLarge);
        }
        let outside = commit.generation < 0;
        if outside && self.members.is_empty() {
            return Ok(());
        }
        if self.is_vacant() {
            return Err(GroupError::IllegalGeneration);
        }
        self.check_identity(&commit.identity.member, commit.identity.instance.as_ref())?;
        if commit.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Phase::Completing { .. } = self.phase {
            return Err(GroupError::RebalanceInProgress);
        }
        self.members.get_mut(&commit.identity.member).expect("the identity was checked").touch(now);
        Ok(())
    }
}

/// What becomes of a join.
enum Admission {
    /// It is answered at once.
    Answer(Result<Joined, GroupError>),
    /// This member waits for the rebalance.
    Wait(Arc<str>),
}

/// Metadata kept beyond the request is copied: a slice would keep the client's whole frame in memory.
fn kept(protocols: Vec<(Arc<str>, bytes::Bytes)>) -> Vec<(Arc<str>, bytes::Bytes)> {
    protocols.into_iter().map(|(name, metadata)| (name, bytes::Bytes::copy_from_slice(&metadata))).collect()
}

fn new_member(caller: &Caller, join: Join, id: &Arc<str>, now: Instant) -> Member {
    Member {
        id: Arc::clone(id),
        instance: join.identity.instance,
        client_id: Arc::clone(&caller.client_id),
        client_host: format!("/{}", caller.client_host).into(),
        session_timeout: join.session_timeout,
        rebalance_timeout: join.rebalance_timeout,
        protocols: kept(join.protocols),
        assignment: bytes::Bytes::new(),
        supports_skip_assignment: join.supports_skip_assignment,
        session_ends: now + join.session_timeout,
        joining: None,
        syncing: None,
        synced: false,
    }
}
