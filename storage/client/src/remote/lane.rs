//! The appends of one client connection to one slot, in their order.
//!
//! Invariants: numbers are given in the order of submission; what is in flight went by one connection, in order, under one round;
//! while anything is held, nothing behind it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::ask::{Pause, Tried, deadline_after, remaining};
use super::message::{AppendCall, Malformed, Operation};
use crate::wire::{CallError, Connection, Message};
use crate::{Append, AppendError, Appended, Caller};

/// What becomes of an append.
pub(super) type Outcome = Result<Appended, AppendError>;

/// An append that is not answered.
pub(super) struct Pending {
    caller: Caller,
    append: Append,
    answer: oneshot::Sender<Outcome>,
    deadline: Instant,
    /// The answer if the deadline passes while it is held.
    if_late: AppendError,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This is the answer.
    Final(Outcome),
    /// It may be sent again; if there is no time for that, this is the answer.
    Again(AppendError),
}

impl Pending {
    pub(super) fn new(caller: &Caller, append: Append, answer: oneshot::Sender<Outcome>) -> Self {
        let deadline = deadline_after(caller.patience);
        Self { caller: caller.clone(), append, answer, deadline, if_late: AppendError::NotOwner }
    }

    pub(super) fn call(&self, round: u64) -> Message {
        let caller = Caller { patience: remaining(self.deadline), ..self.caller.clone() };
        AppendCall::new(caller, self.append.partition, round, &self.append.batch).to_message()
    }

    pub(super) fn judge(&self, answer: Result<Message, CallError>) -> Verdict {
        let outcome = match answer.map(AppendCall::answer_from_message) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Malformed::Rejected(why))) => {
                tracing::error!(%why, "append not understood by its owner");
                return Verdict::Final(Err(AppendError::Refused));
            }
            Ok(Err(malformed)) => {
                tracing::error!(%malformed, "answer to an append not understood");
                Err(AppendError::Unconfirmed)
            }
            Err(CallError::NotSent) => Err(AppendError::NotOwner),
            Err(CallError::Lost) => Err(AppendError::Unconfirmed),
        };
        match outcome {
            Err(refused @ (AppendError::NotOwner | AppendError::Refused)) => Verdict::Again(refused),
            // The owner knows a batch with a sequence when it meets it again; any other would be written twice.
            Err(AppendError::Unconfirmed) if self.append.batch.producer().is_some() => {
                Verdict::Again(AppendError::Unconfirmed)
            }
            outcome => Verdict::Final(outcome),
        }
    }

    pub(super) fn finish(self, outcome: Outcome) {
        // Nobody waits when the request is over.
        let _ = self.answer.send(outcome);
    }

    /// Once the outcome of an attempt is unknown, no later refusal makes it known.
    fn attempted(&mut self, error: AppendError) {
        if self.if_late != AppendError::Unconfirmed {
            self.if_late = error;
        }
    }
}

/// A lane.
pub(super) struct Lane {
    pub(super) in_flight: usize,
    held: BTreeMap<u64, Pending>,
    next: u64,
    pub(super) round: u64,
    /// A task sends what is held.
    pub(super) driven: bool,
    /// What is in flight went by this.
    pub(super) connection: Option<Connection>,
    /// Where the last attempt failed; `None` = it did not.
    pub(super) failed: Option<Tried>,
    pub(super) pause: Pause,
    pub(super) settled: Arc<Notify>,
}

impl Lane {
    pub(super) fn new(round: u64) -> Self {
        Self {
            in_flight: 0,
            held: BTreeMap::new(),
            next: 0,
            round,
            driven: false,
            connection: None,
            failed: None,
            pause: Pause::new(),
            settled: Arc::default(),
        }
    }

    /// The number of the next append.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether an append may follow at once what is in flight, by this connection.
    pub(super) fn is_open_for(&self, connection: &Connection) -> bool {
        self.held.is_empty()
            && !self.driven
            && (self.in_flight == 0 || self.connection.as_ref() == Some(connection))
    }

    pub(super) fn hold(&mut self, number: u64, pending: Pending) {
        self.held.insert(number, pending);
    }

    /// Takes back an append whose attempt failed.
    pub(super) fn take_back(&mut self, number: u64, mut pending: Pending, error: AppendError, tried: Tried) {
        pending.attempted(error);
        self.held.insert(number, pending);
        self.failed = Some(tried);
    }

    /// Answers what is held for too long; tells until when the rest may be, or `None` if there is none.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let late: Vec<u64> =
            self.held.iter().filter(|(_, held)| held.deadline <= now).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(pending) = self.held.remove(&number) {
                let outcome = Err(pending.if_late);
                pending.finish(outcome);
            }
        }
        self.held.values().map(|held| held.deadline).min()
    }

    pub(super) fn take_held(&mut self) -> impl Iterator<Item = (u64, Pending)> + use<> {
        std::mem::take(&mut self.held).into_iter()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.held.is_empty() && !self.driven
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::message::tests::samples::{batch, caller, partition};
    use super::*;
    use crate::wire::tests::memory::raw_network;
    use crate::{Completion, Reservation};

    fn pending(patience: Duration) -> (Pending, Completion<Outcome>) {
        let (answer, completion) = Completion::channel();
        let append =
            Append { partition: partition(), batch: batch(b"x"), reservation: Reservation::new(None) };
        (Pending::new(&Caller { patience, ..caller() }, append, answer), completion)
    }

    #[tokio::test(start_paused = true)]
    async fn the_way_is_clear_only_behind_what_went_by_the_same_connection() {
        let (dialer, _peers) = raw_network();
        let first = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
        let second = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
        let mut lane = Lane::new(1);
        assert!(lane.is_open_for(&first));
        (lane.in_flight, lane.connection) = (1, Some(first.clone()));
        assert!(lane.is_open_for(&first) && !lane.is_open_for(&second));
        let (held, _completion) = pending(Duration::from_secs(1));
        lane.hold(2, held);
        assert!(!lane.is_open_for(&first), "something is held");
        lane.driven = true;
        assert_eq!(lane.take_held().map(|(number, _)| number).collect::<Vec<_>>(), [2]);
        assert!(!lane.is_open_for(&first), "something is about to be sent");
        lane.driven = false;
        assert!(lane.is_open_for(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_stands_in_its_place_and_late_is_told_what_is_known() {
        let mut lane = Lane::new(1);
        let (first, mut first_completion) = pending(Duration::from_secs(1));
        let (second, second_completion) = pending(Duration::from_secs(2));
        lane.take_back(2, second, AppendError::Refused, None);
        lane.take_back(1, first, AppendError::Unconfirmed, None);
        let held: Vec<_> = lane.take_held().collect();
        assert_eq!(held.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        for (number, pending) in held {
            lane.take_back(number, pending, AppendError::NotOwner, None);
        }
        assert!(lane.expire(Instant::now()).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(lane.expire(Instant::now()).is_some(), "the second still has time");
        // The first attempt may have been appended, whatever a later one said.
        assert_eq!((&mut first_completion).await, Some(Err(AppendError::Unconfirmed)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(lane.expire(Instant::now()).is_none() && lane.is_idle());
        assert_eq!(second_completion.await, Some(Err(AppendError::NotOwner)));
    }
}
