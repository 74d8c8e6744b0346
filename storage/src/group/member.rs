//! One member of a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_storage_client::{GroupError, Joined, JoinedMember, MemberDescription, MemberIdentity, Synced};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::state_log::Durable;

/// A result that may be answered only when `after` is committed.
#[derive(Debug)]
pub(super) struct Gated<T> {
    pub(super) value: T,
    pub(super) after: Durable,
}

/// Where a waiting call is answered.
pub(super) type Reply<T> = oneshot::Sender<Gated<Result<T, GroupError>>>;

/// A member, from its first join on.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    /// As Kafka writes it: `/127.0.0.1`.
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// In order of preference, with the member's metadata for each.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    pub(super) assignment: Bytes,
    pub(super) supports_skip_assignment: bool,
    /// When the session ends unless the member is heard of.
    pub(super) session_ends: Instant,
    /// The call that waits for the rebalance to complete.
    pub(super) joining: Option<Reply<Joined>>,
    /// The call that waits for the leader's assignment.
    pub(super) syncing: Option<Reply<Synced>>,
    /// Whether it has synced in this generation.
    pub(super) synced: bool,
}

impl Member {
    pub(super) fn identity(&self) -> MemberIdentity {
        MemberIdentity { member: Arc::clone(&self.id), instance: self.instance.clone() }
    }

    /// It was heard of: its session starts anew.
    pub(super) fn touch(&mut self, now: Instant) {
        self.session_ends = now + self.session_timeout;
    }

    /// A member that waits for an answer of ours cannot send heartbeats and is alive.
    pub(super) fn expired(&self, now: Instant) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.session_ends <= now
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| &**name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| &**name == protocol)
    }

    pub(super) fn as_joined(&self, protocol: &str) -> JoinedMember {
        JoinedMember { identity: self.identity(), metadata: self.metadata(protocol) }
    }

    pub(super) fn describe(&self, protocol: &str) -> MemberDescription {
        MemberDescription {
            identity: self.identity(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// Ends whatever call of this member is waiting.
    pub(super) fn fail_waiting(&mut self, error: &GroupError) {
        if let Some(reply) = self.joining.take() {
            drop(reply.send(Gated { value: Err(error.clone()), after: Durable::already() }));
        }
        if let Some(reply) = self.syncing.take() {
            drop(reply.send(Gated { value: Err(error.clone()), after: Durable::already() }));
        }
    }
}
