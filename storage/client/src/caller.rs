//! Who asks, and until when an answer is of use.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{ClusterId, Revision};

/// Names one client request in logs, traces and error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// Carried by every call: the tenant first of all. There is no default tenant.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant.
    pub cluster: ClusterId,
    /// The principal's ARN.
    pub principal: Arc<str>,
    /// Kafka's `client.id`; may be empty.
    pub client_id: Arc<str>,
    /// Where the client connects from.
    pub client_host: IpAddr,
    /// How long an answer is of use, counted from the call.
    pub patience: Duration,
    /// The client request this call serves.
    pub request: RequestId,
    /// The metadata revision the gateway has seen; the owner catches up to it before it answers "unknown".
    pub revision_seen: Revision,
}
