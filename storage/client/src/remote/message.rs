//! The operations of the interface as messages: one file per family, what goes and what comes beside each other.
//!
//! A message's fields are its head (see [`crate::cbor`] for how they may change), record data its payload. The kind of an
//! answer is its question's. Kinds are never reused.

mod append;
mod await_data;
mod group;
mod offsets;
mod owners;
mod producer_id;
mod quota;
mod read;
mod usage;

#[cfg(test)]
pub(crate) mod tests;
use bytes::Bytes;
use minicbor::{Decode, Encode};

pub use append::AppendCall;
pub use await_data::{AwaitDataCall, DataAwaited};
pub use group::{
    CommitOffsetsCall, DeleteGroupCall, DescribeGroupCall, FetchOffsetsCall, HeartbeatCall, JoinGroupCall,
    LeaveGroupCall, ListGroupsCall, SyncGroupCall,
};
pub use offsets::{EpochEndCall, OffsetsAtCall};
pub use owners::{OwnerTold, OwnersCall, OwnersTold};
pub use producer_id::AllocateProducerIdCall;
pub use quota::{ChargePartitionsCall, ChargeQuotaCall, ExchangeQuotaCall};
pub use read::{ReadAnswer, ReadCall};
pub use usage::{PartitionSizesCall, ReportSentCall};

use crate::wire::Message;
use crate::wire::kind::SERVICE_MIN;

/// The numbers of the operations.
pub mod kind {
    use super::SERVICE_MIN;

    /// Answer: the question was not understood, nothing was done. The head says why, as text. Asking again does not help.
    pub const REJECTED: u16 = SERVICE_MIN;
    /// `submit_append`.
    pub const APPEND: u16 = SERVICE_MIN + 1;
    /// `read`.
    pub const READ: u16 = SERVICE_MIN + 2;
    /// `await_data`.
    pub const AWAIT_DATA: u16 = SERVICE_MIN + 3;
    /// `offsets_at`.
    pub const OFFSETS_AT: u16 = SERVICE_MIN + 4;
    /// `epoch_end`.
    pub const EPOCH_END: u16 = SERVICE_MIN + 5;
    /// `allocate_producer_id`.
    pub const ALLOCATE_PRODUCER_ID: u16 = SERVICE_MIN + 6;
    /// `join_group`.
    pub const JOIN_GROUP: u16 = SERVICE_MIN + 7;
    /// `sync_group`.
    pub const SYNC_GROUP: u16 = SERVICE_MIN + 8;
    /// `heartbeat`.
    pub const HEARTBEAT: u16 = SERVICE_MIN + 9;
    /// `leave_group`.
    pub const LEAVE_GROUP: u16 = SERVICE_MIN + 10;
    /// `commit_offsets`.
    pub const COMMIT_OFFSETS: u16 = SERVICE_MIN + 11;
    /// `fetch_offsets`.
    pub const FETCH_OFFSETS: u16 = SERVICE_MIN + 12;
    /// `describe_group`.
    pub const DESCRIBE_GROUP: u16 = SERVICE_MIN + 13;
    /// `list_groups`.
    pub const LIST_GROUPS: u16 = SERVICE_MIN + 14;
    /// `delete_group`.
    pub const DELETE_GROUP: u16 = SERVICE_MIN + 15;
    /// `report_sent`.
    pub const REPORT_SENT: u16 = SERVICE_MIN + 16;
    /// `partition_sizes`.
    pub const PARTITION_SIZES: u16 = SERVICE_MIN + 17;
    /// `exchange_quota`.
    pub const EXCHANGE_QUOTA: u16 = SERVICE_MIN + 18;
    /// `charge_quota`.
    pub const CHARGE_QUOTA: u16 = SERVICE_MIN + 19;
    /// `charge_partitions`.
    pub const CHARGE_PARTITIONS: u16 = SERVICE_MIN + 20;
    /// `owners`.
    pub const OWNERS: u16 = SERVICE_MIN + 21;
}

/// A message that says something else than its kind promises.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is of another kind.
    #[error("message of kind {found}, expected {expected}")]
    Kind {
        /// The kind expected.
        expected: u16,
        /// The kind found.
        found: u16,
    },
    /// Nobody knows its kind.
    #[error("kind {0} is not known")]
    Unknown(u16),
    /// It names another cluster than its caller's.
    #[error("it concerns another cluster than its caller's")]
    OtherCluster,
    /// The peer did not understand the question.
    #[error("rejected by the peer: {0}")]
    Rejected(String),
    /// The head does not decode.
    #[error("head not readable: {0}")]
    Head(#[from] minicbor::decode::Error),
    /// The payload does not fit the head.
    #[error("payload does not fit the head")]
    Payload,
}

/// What fits into a message: fields, and bytes that no codec touches.
pub trait Body: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static {
    /// Moves the payload out, before the fields are encoded.
    fn take_payload(&mut self) -> Vec<Bytes> {
        Vec::new()
    }
    /// Puts the payload back, after the fields were decoded.
    fn put_payload(&mut self, payload: Vec<Bytes>) -> Result<(), Malformed> {
        if payload.is_empty() { Ok(()) } else { Err(Malformed::Payload) }
    }
}

impl<T, E> Body for Result<T, E>
where
    T: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static,
    E: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static,
{
}

/// One operation as a call.
pub trait Operation: Body {
    /// Its number.
    const KIND: u16;
    /// What comes back.
    type Answer: Body;

    /// Whether everything it names belongs to its caller's cluster.
    fn is_of_one_cluster(&self) -> bool;

    /// The question as a message.
    fn to_message(self) -> Message
    where
        Self: Sized,
    {
        encode(Self::KIND, self)
    }
    /// Reads a question; one that mixes clusters is refused.
    fn from_message(message: Message) -> Result<Self, Malformed>
    where
        Self: Sized,
    {
        let question: Self = decode(Self::KIND, message)?;
        if question.is_of_one_cluster() { Ok(question) } else { Err(Malformed::OtherCluster) }
    }
    /// An answer as a message.
    fn answer_to_message(answer: Self::Answer) -> Message {
        encode(Self::KIND, answer)
    }
    /// Reads an answer.
    fn answer_from_message(message: Message) -> Result<Self::Answer, Malformed> {
        decode(Self::KIND, message)
    }
}

/// The answer to a question that was not understood.
pub fn rejected(why: &Malformed) -> Message {
    Message { kind: kind::REJECTED, head: Bytes::from(why.to_string()), payload: Vec::new() }
}

fn encode(kind: u16, mut body: impl Body) -> Message {
    let payload = body.take_payload();
    let head = minicbor::to_vec(body).expect("memory does not fail, and every value has a form");
    Message { kind, head: head.into(), payload }
}

fn decode<B: Body>(kind: u16, message: Message) -> Result<B, Malformed> {
    let Message { kind: found, head, payload } = message;
    if found == kind::REJECTED {
        return Err(Malformed::Rejected(String::from_utf8_lossy(&head).into_owned()));
    }
    if found != kind {
        return Err(Malformed::Kind { expected: kind, found });
    }
    let mut body: B = minicbor::decode(&head)?;
    body.put_payload(payload)?;
    Ok(body)
}
