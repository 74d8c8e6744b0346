//! Whether this owner may still speak for its slots (`storage/PROTOCOL.md` §9): an owner that does not know that it is dead
//! must not answer what only a living one knows.
//!
//! A *confirmation* is an answer of every mirror of the ensemble, to a question that was asked after some moment, that nobody has
//! fenced it. Streams ask all the time; an answer that needs a fresh one asks for a round of its own, shared with others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::id::WalId;
use tokio::sync::Notify;

use crate::bell::Bell;
use crate::clock::SharedClock;
use crate::fleet::Member;
use crate::peer::{Network, PeerCall, PeerReply, PeerRequest};

/// Without any confirmation for this long an owner serves nothing.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(1);
/// How long one round waits for its answers.
const ROUND_WAIT: Duration = Duration::from_millis(500);
/// How long a failed round rests.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// The standing of one WAL's owner.
pub(crate) struct Standing {
    wal: WalId,
    clock: SharedClock,
    network: Arc<dyn Network>,
    members: Mutex<Members>,
    wanted: Notify,
    /// The round that was last begun.
    begun: Bell<u64>,
    /// The latest round that every mirror confirmed.
    confirmed: Bell<u64>,
}

#[derive(Debug, Default)]
struct Members {
    /// When each mirror was last asked something that it answered.
    confirmed: BTreeMap<Member, Duration>,
    /// The free space that each mirror's disk had at its last answer.
    free_bytes: BTreeMap<Member, u64>,
    /// Whether there are as many members as copies are demanded.
    is_enough: bool,
}

impl Standing {
    pub(crate) fn new(wal: WalId, clock: SharedClock, network: Arc<dyn Network>) -> Self {
        Self {
            wal,
            clock,
            network,
            members: Mutex::default(),
            wanted: Notify::new(),
            begun: Bell::new(0),
            confirmed: Bell::new(0),
        }
    }

    /// The mirrors of the ensemble are these.
    pub(super) fn set(&self, mirrors: impl Iterator<Item = Member>, is_enough: bool) {
        let now = self.clock.monotonic();
        let mut members = self.members();
        let before = std::mem::take(&mut members.confirmed);
        members.confirmed =
            mirrors.map(|member| (member, before.get(&member).copied().unwrap_or(now))).collect();
        members.is_enough = is_enough;
        let Members { confirmed, free_bytes, .. } = &mut *members;
        free_bytes.retain(|member, _| confirmed.contains_key(member));
    }

    /// The WAL is sealed: nothing is confirmed any more.
    pub(super) fn end(&self) {
        *self.members() = Members::default();
    }

    /// A mirror answered what it was asked at `asked`.
    pub(super) fn confirmed_by(&self, member: Member, asked: Duration) {
        if let Some(confirmed) = self.members().confirmed.get_mut(&member) {
            *confirmed = asked.max(*confirmed);
        }
    }

    /// A mirror's disk has this much free space.
    pub(super) fn has_free(&self, member: Member, bytes: u64) {
        self.members().free_bytes.insert(member, bytes);
    }

    /// The free space of the fullest disk among the mirrors; it slows producers as the own one does
    /// (`storage/PROTOCOL.md` §2.2). `None` = there are no mirrors.
    pub(crate) fn free_bytes_min(&self) -> Option<u64> {
        let members = self.members();
        let of_mirrors =
            members.free_bytes.iter().filter(|(member, _)| members.confirmed.contains_key(member));
        of_mirrors.map(|(_, bytes)| *bytes).min()
    }

    /// Whether the owner may serve at all: enough members, and each has confirmed within the last second.
    pub(crate) fn is_good(&self) -> bool {
        let now = self.clock.monotonic();
        let members = self.members();
        members.is_enough && members.confirmed.values().all(|at| now.saturating_sub(*at) < UNCONFIRMED_MAX)
    }

    /// Waits for a confirmation that began after this call. Ends only with one; callers bring their own patience. Cancel safe.
    pub(crate) async fn confirm(&self) {
        let wanted = self.begun.get() + 1;
        self.wanted.notify_one();
        self.confirmed.wait_for(|round| round >= wanted).await;
    }

    /// Asks rounds for as long as somebody wants one.
    pub(crate) async fn run(&self) {
        loop {
            if self.confirmed.get() == self.begun.get() {
                self.wanted.notified().await;
            }
            let round = self.begun.get() + 1;
            self.begun.set(round);
            if self.ask_all().await {
                self.confirmed.set(round);
            } else {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
    }

    async fn ask_all(&self) -> bool {
        let asked = self.clock.monotonic();
        let mirrors: Vec<Member> = {
            let members = self.members();
            if !members.is_enough {
                return false;
            }
            members.confirmed.keys().copied().collect()
        };
        let calls = mirrors.iter().map(|to| {
            let request = PeerRequest::Confirm { wal: self.wal, still: None };
            tokio::time::timeout(ROUND_WAIT, self.network.call(PeerCall { to: *to, request }))
        });
        let mut all = true;
        for (member, answer) in mirrors.iter().zip(join_all(calls).await) {
            let confirmed = matches!(answer, Ok(Ok(PeerReply::Confirmed { .. })));
            if confirmed {
                self.confirmed_by(*member, asked);
            }
            all &= confirmed;
        }
        // A member that came meanwhile was not asked.
        all && mirrors.iter().eq(self.members().confirmed.keys())
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
