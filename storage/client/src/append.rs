//! Appending: take a place in the order, learn later whether it lasted.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use headgate_metadata::id::{Offset, TimestampMs};
use minicbor::{Decode, Encode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::batch::RecordBatch;
use crate::read::PartitionAddress;

/// Room in the owner's queue for a stated number of bytes. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation(Option<OwnedSemaphorePermit>);

impl Reservation {
    /// Wraps the owner's permit; `None` where the owner needs no room (tests, a remote owner that has answered).
    pub fn new(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(permit)
    }
    /// Splits off the room of one append, so that each gives its room back when it is done.
    #[must_use]
    pub fn take(&mut self, bytes: u64) -> Self {
        Self(self.0.as_mut().and_then(|permit| permit.split(bytes as usize)))
    }
}

/// One batch for one partition.
#[derive(Debug)]
pub struct Append {
    /// Where to.
    pub partition: PartitionAddress,
    /// What.
    pub batch: RecordBatch,
    /// Its room in the owner's queue, held until the append is answered.
    pub reservation: Reservation,
}

/// An append that is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Appended {
    /// The offset of the batch's first record; for a duplicate, the offset it was given the first time.
    #[n(0)]
    pub base_offset: Offset,
    /// The partition's log start offset.
    #[n(1)]
    pub log_start: Offset,
    /// The time the owner wrote, where the topic uses `LogAppendTime`.
    #[n(2)]
    pub log_append_time: Option<TimestampMs>,
}

/// Why an append was not acknowledged, named by what the caller can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[cbor(index_only)]
pub enum AppendError {
    /// Refused before it was accepted: another node owns the slot. Refresh routing, then retry there.
    #[error("not the owner of the slot")]
    #[n(0)]
    NotOwner,
    /// The cluster or topic was removed. Do not retry.
    #[error("partition removed")]
    #[n(1)]
    Removed,
    /// The producer's epoch is older than one already seen: the producer is fenced.
    #[error("producer fenced")]
    #[n(2)]
    ProducerFenced,
    /// The sequence does not follow the last one: earlier batches are missing. Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("sequence out of order")]
    #[n(3)]
    OutOfOrderSequence,
    /// A sequence other than 0 from a producer this partition does not know (expired or never seen).
    #[error("producer unknown")]
    #[n(4)]
    UnknownProducer,
    /// A duplicate that is older than the five batches remembered per producer. It was committed; its offset is forgotten.
    #[error("duplicate of a batch no longer remembered")]
    #[n(5)]
    OldDuplicate,
    /// The owner did not answer, or stopped; the batch may be durable. Retry with the same base sequence.
    #[error("append outcome unknown")]
    #[n(6)]
    Unconfirmed,
    /// The disk is nearly full or the owner is stopping. Nothing was written; retry later.
    #[error("storage not accepting appends")]
    #[n(7)]
    Refused,
}

/// The owner cannot take this call now. Nothing was done; retry later or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[cbor(index_only)]
pub enum Unavailable {
    /// Another node owns the slot.
    #[error("not the owner of the slot")]
    #[n(0)]
    NotOwner,
    /// No room, or stopping.
    #[error("storage not accepting requests")]
    #[n(1)]
    Refused,
}

/// The answer of an accepted operation, when it is committed. Dropping it does not cancel the operation.
#[derive(Debug)]
pub struct Completion<T>(oneshot::Receiver<T>);

impl<T> Completion<T> {
    /// A completion and the sender that completes it.
    pub fn channel() -> (oneshot::Sender<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
    /// A completion that is already there.
    pub fn ready(value: T) -> Self {
        let (sender, completion) = Self::channel();
        drop(sender.send(value));
        completion
    }
}

impl<T> Future for Completion<T> {
    /// `None` = the owner went away without an answer: the outcome is unknown.
    type Output = Option<T>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}
