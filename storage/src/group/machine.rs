//! The state machine of one group: who is in it, in which generation, doing what.
//!
//! ```text
//!            first member joins             all have rejoined, or time is up
//!   Empty ─────────────────────► Preparing ─────────────────────► Completing
//!     ▲                          Rebalance ◄───────────────────── Rebalance
//!     │ last member left             ▲     joins anew, leaves,        │ the leader
//!     └──────────────────────────────┤     is silent                  │ has assigned
//!                                    └──────────────── Stable ◄───────┘
//! ```
//!
//! Calls that wait leave a reply with their member; the machine answers them when their phase ends. It has no clock: `now`
//! is an argument, and [`Group::next_deadline`] says when [`Group::on_time`] wants to be called.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_storage_client::{GroupDescription, GroupError, GroupListing, GroupState, Joined};
use tokio::time::Instant;

use super::member::{Gated, Member};
use super::offsets::Offsets;
use super::records::{StoredGroup, StoredMember};
use crate::state_log::Durable;

/// Where the group is in the drawing above, with what that phase needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Empty,
    Preparing {
        /// When the join phase ends, whoever is there.
        ends: Instant,
        /// A new group waits this out even when all have joined, so that members that start together are one generation
        /// (`group.initial.rebalance.delay.ms`).
        not_before: Instant,
    },
    Completing {
        /// Members that have not synced by then are removed.
        ends: Instant,
    },
    Stable,
    /// Removed from the coordinator: whoever holds it looks it up again.
    Dead,
}

/// A change that must be logged before an answer that shows it may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The generation is complete, or the group became empty.
    Generation(StoredGroup),
}

/// One group. See the module's drawing.
#[derive(Debug)]
pub struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: Arc<str>,
    pub(super) protocol: Arc<str>,
    pub(super) leader: Option<Arc<str>>,
    /// By member id, so that every walk has one order.
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Static members: instance id to member id.
    pub(super) instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Member ids given out (KIP-394) and not used yet, with the time they are forgotten.
    pub(super) pending: BTreeMap<Arc<str>, Instant>,
    pub(super) offsets: Offsets,
    /// Settled when the last logged change is committed; every answer waits for it.
    pub(super) last_change: Durable,
    /// Changes to be logged by the coordinator, in order.
    pub(super) changes: Vec<Change>,
    pub(super) initial_delay: Duration,
    /// The earliest time the coordinator has been asked to look at this group, and has not yet.
    pub(super) scheduled: Option<Instant>,
}

impl Group {
    pub(super) fn new(initial_delay: Duration) -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: Arc::from(""),
            protocol: Arc::from(""),
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            offsets: Offsets::default(),
            last_change: Durable::already(),
            changes: Vec::new(),
            initial_delay,
            scheduled: None,
        }
    }

    /// Restores a completed generation; every session starts anew.
    pub(super) fn restore(&mut self, stored: StoredGroup, now: Instant) {
        self.generation = stored.generation;
        self.protocol_type = stored.protocol_type;
        self.members.clear();
        self.instances.clear();
        for member in stored.members {
            if let Some(instance) = &member.instance {
                self.instances.insert(Arc::clone(instance), Arc::clone(&member.id));
            }
            self.members.insert(Arc::clone(&member.id), restored(member, &stored.protocol, now));
        }
        self.phase = if self.members.is_empty() { Phase::Empty } else { Phase::Stable };
        self.leader = (!self.members.is_empty()).then_some(stored.leader);
        self.protocol = stored.protocol;
    }

    pub(super) fn snapshot(&self) -> StoredGroup {
        let members = self.members.values().map(|member| StoredMember {
            id: Arc::clone(&member.id),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            metadata: member.metadata(&self.protocol),
            assignment: member.assignment.clone(),
        });
        StoredGroup {
            generation: self.generation,
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: Arc::clone(&self.protocol),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            members: members.collect(),
        }
    }

    pub(super) fn log_generation(&mut self) {
        let snapshot = self.snapshot();
        self.changes.push(Change::Generation(snapshot));
    }

    /// The member a call speaks for, or why it may not.
    pub(super) fn check_identity(
        &self,
        member: &Arc<str>,
        instance: Option<&Arc<str>>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            return match self.instances.get(instance) {
                None => Err(GroupError::UnknownMember),
                Some(current) if current != member => Err(GroupError::FencedInstance),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    /// Starts a rebalance. Waiting syncs end: their generation will not be assigned.
    pub(super) fn prepare_rebalance(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            if let Some(reply) = member.syncing.take() {
                let value = Err(GroupError::RebalanceInProgress);
                drop(reply.send(Gated { value, after: self.last_change.clone() }));
            }
        }
        let timeout = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        let not_before = if self.phase == Phase::Empty { now + self.initial_delay.min(timeout) } else { now };
        self.phase = Phase::Preparing { ends: now + timeout, not_before };
    }

    /// Ends the join phase when all have rejoined, or when its time is up.
    pub(super) fn maybe_complete_join(&mut self, now: Instant) {
        let Phase::Preparing { ends, not_before } = self.phase else { return };
        let all_joined =
            self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
        if now < ends && !(all_joined && now >= not_before) {
            return;
        }
        self.remove_absent();
        if self.members.is_empty() {
            return self.become_empty();
        }
        if self.members.values().all(|member| member.joining.is_none()) {
            // Only static members that are away: nobody to give a generation to, so wait for them or their sessions' end.
            let timeout =
                self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
            self.phase = Phase::Preparing { ends: now + timeout, not_before: now };
            return;
        }
        self.next_generation(now);
    }

    /// Dynamic members that did not rejoin are out; static ones keep their place until their session ends.
    fn remove_absent(&mut self) {
        self.members.retain(|_, member| member.joining.is_some() || member.instance.is_some());
        let gone = self.leader.as_ref().is_none_or(|leader| !self.members.contains_key(leader));
        let leader_away =
            |leader: &Arc<str>| self.members.get(leader).is_some_and(|member| member.joining.is_none());
        if gone || self.leader.as_ref().is_some_and(leader_away) {
            let joined = self.members.values().find(|member| member.joining.is_some());
            self.leader = joined.map(|member| Arc::clone(&member.id)).or_else(|| self.leader.take());
        }
    }

    fn become_empty(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = Arc::from("");
        self.leader = None;
        self.phase = Phase::Empty;
        self.log_generation();
    }

    fn next_generation(&mut self, now: Instant) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = self.elect_protocol();
        let timeout = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.phase = Phase::Completing { ends: now + timeout };
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            let member = self.members.get_mut(&id).expect("the id was just listed");
            member.touch(now);
            member.synced = false;
            if let Some(reply) = member.joining.take() {
                drop(reply.send(Gated { value: Ok(answer), after: self.last_change.clone() }));
            }
        }
    }

    /// What a member is told of the current generation; the leader gets all members.
    pub(super) fn joined(&self, id: &Arc<str>) -> Joined {
        let leads = self.leader.as_ref() == Some(id);
        let members = self.members.values().map(|member| member.as_joined(&self.protocol));
        Joined {
            generation: self.generation,
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: Arc::clone(&self.protocol),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            member: Arc::clone(id),
            skip_assignment: false,
            members: if leads { members.collect() } else { Vec::new() },
        }
    }

    /// Of the protocols all support, the one most members prefer; ties go to the first by name.
    pub(super) fn elect_protocol(&self) -> Arc<str> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let preferred = member.protocols.iter().map(|(name, _)| name).find(|name| self.all_support(name));
            if let Some(name) = preferred {
                *votes.entry(name).or_default() += 1;
            }
        }
        let winner = votes.iter().rev().max_by_key(|(_, votes)| **votes);
        winner.map_or_else(|| Arc::from(""), |(name, _)| Arc::clone(name))
    }

    pub(super) fn all_support(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.supports(protocol))
    }

    /// Removes a member and lets the others know.
    pub(super) fn remove_member(&mut self, id: &Arc<str>, now: Instant) {
        let Some(mut member) = self.members.remove(id) else { return };
        member.fail_waiting(&GroupError::UnknownMember);
        if let Some(instance) = &member.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        match self.phase {
            Phase::Stable | Phase::Completing { .. } => {
                self.prepare_rebalance(now);
                self.maybe_complete_join(now);
            }
            Phase::Preparing { .. } => self.maybe_complete_join(now),
            Phase::Empty | Phase::Dead => {}
        }
    }

    /// When [`Self::on_time`] wants to be called; `None` = nothing to wait for.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Preparing { ends, not_before } => {
                let all_joined =
                    self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
                Some(if all_joined { not_before.min(ends) } else { ends })
            }
            Phase::Completing { ends } => Some(ends),
            Phase::Empty | Phase::Stable | Phase::Dead => None,
        };
        let waiting = |member: &&Member| member.joining.is_none() && member.syncing.is_none();
        let session = self.members.values().filter(waiting).map(|member| member.session_ends).min();
        let pending = self.pending.values().min().copied();
        [phase, session, pending].into_iter().flatten().min()
    }

    /// Ends whatever is over: phases, sessions, ids given out and not used.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.pending.retain(|_, forgotten| *forgotten > now);
        if let Phase::Completing { ends } = self.phase
            && ends <= now
        {
            let late: Vec<Arc<str>> = self
                .members
                .values()
                .filter(|member| !member.synced)
                .map(|member| Arc::clone(&member.id))
                .collect();
            for id in late {
                self.remove_member(&id, now);
            }
        }
        let silent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.expired(now))
            .map(|member| Arc::clone(&member.id))
            .collect();
        for id in silent {
            self.remove_member(&id, now);
        }
        self.maybe_complete_join(now);
    }

    /// Ends every waiting call: the owner of the slot changes.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Dead;
        for member in self.members.values_mut() {
            member.fail_waiting(&GroupError::NotOwner);
        }
    }

    /// Nothing in it that anybody could ask for.
    pub(super) fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.offsets.is_empty() && self.generation == 0
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing { .. } => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
            Phase::Dead => GroupState::Dead,
        }
    }

    pub(super) fn describe(&self) -> GroupDescription {
        let stable = self.phase == Phase::Stable;
        let protocol = if stable { Arc::clone(&self.protocol) } else { Arc::from("") };
        let members = self.members.values().map(|member| {
            let mut description = member.describe(&protocol);
            if !stable {
                description.assignment.clear();
            }
            description
        });
        GroupDescription {
            state: self.state(),
            protocol_type: Arc::clone(&self.protocol_type),
            members: members.collect(),
            protocol,
        }
    }

    pub(super) fn list(&self, group: &Arc<str>) -> GroupListing {
        GroupListing {
            group: Arc::clone(group),
            protocol_type: Arc::clone(&self.protocol_type),
            state: self.state(),
        }
    }
}

fn restored(member: StoredMember, protocol: &Arc<str>, now: Instant) -> Member {
    Member {
        id: member.id,
        instance: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
        session_timeout: member.session_timeout,
        rebalance_timeout: member.rebalance_timeout,
        protocols: vec![(Arc::clone(protocol), member.metadata)],
        assignment: member.assignment,
        supports_skip_assignment: false,
        session_ends: now + member.session_timeout,
        joining: None,
        syncing: None,
        synced: true,
    }
}
