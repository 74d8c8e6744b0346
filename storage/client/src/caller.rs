//! Who asks, and until when an answer is of use.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{ClusterId, Revision};
use minicbor::{Decode, Encode};

/// Names one client request in logs, traces and error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct RequestId(#[n(0)] pub u64);

/// Carried by every call: the tenant first of all. There is no default tenant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Caller {
    /// The tenant.
    #[n(0)]
    pub cluster: ClusterId,
    /// The principal's ARN.
    #[cbor(n(1), with = "crate::cbor::text")]
    pub principal: Arc<str>,
    /// Kafka's `client.id`; may be empty.
    #[cbor(n(2), with = "crate::cbor::text")]
    pub client_id: Arc<str>,
    /// Where the client connects from.
    #[n(3)]
    pub client_host: IpAddr,
    /// How long an answer is of use, counted from the call.
    #[n(4)]
    pub patience: Duration,
    /// The client request this call serves.
    #[n(5)]
    pub request: RequestId,
    /// The metadata revision the gateway has seen; the owner catches up to it before it answers "unknown".
    #[n(6)]
    pub revision_seen: Revision,
    /// The client's connection, unique within the cell: calls of one connection keep their order. 0 = none.
    #[n(7)]
    #[cbor(default)]
    pub connection: u64,
}
