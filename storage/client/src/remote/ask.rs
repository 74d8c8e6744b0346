//! One question to the owner of one slot, asked until it is answered or the time is up.

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{Incarnation, NodeId, SlotEpoch, SlotId};
use headgate_metadata::record::NodeRecord;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Routes;
use super::message::{Malformed, Operation};
use crate::wire::CallError;
use crate::{GroupError, ReadError, Unavailable};

/// The first pause before a refused question is asked again, if routing does not change earlier.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long the metadata store may take to say who owns a slot before the nodes are asked.
const STORE_PATIENCE: Duration = Duration::from_millis(250);

/// When a question may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Also when the answer was lost: asking twice is as good as once.
    Always,
    /// Only when it was definitely not accepted.
    OnlyIfRefused,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nobody accepted it within the caller's patience; nothing was done.
    Refused,
    /// An owner may have acted on it.
    Unknown,
}

/// Tells an answer that says "not here" or "not now", nothing having been done.
pub(super) trait Refusable {
    fn is_refusal(&self) -> bool;
}

impl<T> Refusable for Result<T, ReadError> {
    fn is_refusal(&self) -> bool {
        // The second waits for the owner to know what the client knows (`gateway/PROTOCOL.md` §4).
        matches!(self, Err(ReadError::NotOwner | ReadError::EpochAhead))
    }
}

impl<T> Refusable for Result<T, GroupError> {
    fn is_refusal(&self) -> bool {
        matches!(self, Err(GroupError::NotOwner | GroupError::Loading))
    }
}

impl<T> Refusable for Result<T, Unavailable> {
    fn is_refusal(&self) -> bool {
        matches!(self, Err(Unavailable::NotOwner | Unavailable::Refused))
    }
}

/// Growing pauses between attempts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self(PAUSE_MIN)
    }
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// Where a question went.
pub(super) type Tried = Option<(NodeId, Incarnation, SlotEpoch)>;

/// The moment `patience` from now; a patience beyond all bounds is a month.
pub(super) fn deadline_after(patience: Duration) -> Instant {
    Instant::now() + patience.min(Duration::from_hours(720))
}

/// What remains until a deadline.
pub(super) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl Routes {
    /// Asks the owner of `slot` until there is an answer. `question` is built anew for each attempt, with the patience left.
    pub(super) async fn ask<O: Operation<Answer: Refusable>>(
        &self,
        slot: SlotId,
        client: u64,
        deadline: Instant,
        retry: Retry,
        question: impl Fn(Duration) -> O,
    ) -> Result<O::Answer, Unanswered> {
        let (mut pause, mut refusal, mut lost) = (Pause::new(), None, false);
        loop {
            let tried = self.owner_tried(slot);
            if let Some(node) = self.owners.node_of(slot) {
                match self.ask_node(&node, client, deadline, question(remaining(deadline))).await {
                    Ok(answer) if !answer.is_refusal() => return Ok(answer),
                    Ok(answer) => refusal = Some(answer),
                    Err(Unanswered::Refused) => {}
                    Err(Unanswered::Unknown) if retry == Retry::OnlyIfRefused => {
                        return Err(Unanswered::Unknown);
                    }
                    Err(Unanswered::Unknown) => lost = true,
                }
            }
            self.news(slot, tried, (Instant::now() + pause.next()).min(deadline)).await;
            if Instant::now() >= deadline {
                return match refusal {
                    // An earlier attempt may have been acted on.
                    _ if lost => Err(Unanswered::Unknown),
                    Some(answer) => Ok(answer),
                    None => Err(Unanswered::Refused),
                };
            }
        }
    }

    /// Asks a node once.
    pub(super) async fn ask_node<O: Operation>(
        &self,
        node: &NodeRecord,
        client: u64,
        deadline: Instant,
        question: O,
    ) -> Result<O::Answer, Unanswered> {
        let connected = timeout_at(deadline, self.pool.connection(node, client)).await;
        let Ok(Ok(connection)) = connected else { return Err(Unanswered::Refused) };
        let answer = match timeout_at(deadline, connection.call(question.to_message())).await {
            Ok(Ok(message)) => O::answer_from_message(message),
            Ok(Err(CallError::NotSent)) => return Err(Unanswered::Refused),
            Ok(Err(CallError::Lost)) | Err(_) => return Err(Unanswered::Unknown),
        };
        answer.map_err(|malformed| {
            tracing::error!(node = %node.node, kind = O::KIND, %malformed, "answer not understood");
            match malformed {
                Malformed::Rejected(_) => Unanswered::Refused,
                _ => Unanswered::Unknown,
            }
        })
    }

    /// Whom a question about this slot goes to now.
    pub(super) fn owner_tried(&self, slot: SlotId) -> Tried {
        let node = self.owners.node_of(slot)?;
        let owner = self.owners.owner(slot)?;
        Some((node.node, node.incarnation, owner.epoch))
    }

    /// Waits until the slot's owner is another than the one tried, or until the given moment. The table is brought up to the
    /// store meanwhile, or to what other nodes have seen: whoever waits here was told, or believes, that it is wrong.
    pub(super) async fn news(&self, slot: SlotId, tried: Tried, until: Instant) {
        let mut changes = self.owners.changes();
        let changed = async {
            while self.owner_tried(slot) == tried {
                // The sender is held by the table itself.
                drop(changes.changed().await);
            }
        };
        let refreshed = async {
            if !matches!(timeout(STORE_PATIENCE, self.owners.refresh()).await, Ok(Ok(()))) {
                self.learn_from_nodes().await;
            }
            // A store that does not answer is no reason to hurry.
            std::future::pending::<()>().await;
        };
        select! {
            biased;
            () = changed => {}
            () = sleep_until(until) => {}
            () = refreshed => {}
        }
    }

    /// The node that owns a slot, as soon as there is one.
    pub(super) async fn owner(&self, slot: SlotId, deadline: Instant) -> Option<Arc<NodeRecord>> {
        if let Some(node) = self.owners.node_of(slot) {
            return Some(node);
        }
        self.news(slot, None, deadline).await;
        self.owners.node_of(slot)
    }
}
