//! What storage nodes ask of each other: to keep copies, to confirm, to fence, to hand out what they hold.
//!
//! [`Network`] is the seam: sockets in production ([`PeerLinks`]), a simulated network in tests. [`PeerService`] answers.

mod fetch;
mod links;
mod message;
mod service;
mod wire;

use futures_util::future::BoxFuture;

pub(crate) use self::fetch::{FetchEnd, FetchError, fetch_copy};
pub use self::links::PeerLinks;
pub use self::message::{PeerCall, PeerReply, PeerRequest};
pub use self::service::PeerService;
pub(crate) use self::wire::{PEER, call_from_message, reply_to_message};

/// No answer came: the peer may have acted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer from the peer")]
pub struct NoAnswer;

/// The way to the other nodes of the cell.
pub trait Network: Send + Sync + 'static {
    /// Sends the call now, before the future is polled. Calls to one node arrive in the order they were sent as long as its
    /// connection lasts; after a lost one later calls may come through another. Every call ends, if only with [`NoAnswer`].
    fn call(&self, call: PeerCall) -> BoxFuture<'static, Result<PeerReply, NoAnswer>>;
}
