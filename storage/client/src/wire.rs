//! Calls between processes of a cell: frames over one TCP connection, many calls in flight, answers in any order.
//!
//! ```text
//!  0        4       5       6      8         16       20            20+h    22+h
//!  | length | frame | flags | kind | request | head   | head        | piece | length   | payload
//!  | u32    | version       | u16  | u64     | length | (h bytes,   | count | of each  | pieces, one
//!  |        | u8    | u8    |      |         | u32    | minicbor)   | u16   | u32 × n  | after another
//! ```
//!
//! All integers are big-endian; `length` counts what follows it. The head is a message of its kind, encoded with minicbor:
//! its fields are numbered, unknown ones are skipped, so two releases next to each other understand one another. Payload
//! pieces are bytes no codec touches (record batches): written as they lie in memory, read into one buffer and sliced. There
//! is no checksum: TLS authenticates every byte, and record batches carry Kafka's own.
//!
//! Flags: 1 = request, 2 = response, 4 = cancel (of the request with that id), 0 = notice, which concerns the connection.
//! Kinds below 16 belong to this module, see [`kind`]; the frame version is agreed in the TLS handshake (ALPN).
//!
//! Rules:
//! 1. Requests of a connection reach the [`Service`] in the order in which [`Connection::call`] was called.
//! 2. A side that has nothing to say sends a heartbeat every half second. A side that waits for bytes and sees none for two
//!    seconds closes: a peer that is stopped or cut off is told from one that is busy, and its calls end as [`CallError::Lost`].
//! 3. What is still queued when a connection ends was never sent, and is reported as such ([`CallError::NotSent`]).
//! 4. A server that stops says up to which request it has accepted; what came behind was never acted on.
//! 5. A side at one of its limits leaves its socket unread; nothing is buffered without bound.

mod connection;
mod frame;
mod identity;
mod limits;
mod outbox;
mod plain;
mod pulse;
mod reader;
mod server;
mod serving;
mod stream;
mod tls;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use connection::{ConnectError, Connection};
pub use frame::kind;
pub use identity::{InvalidIdentity, PeerIdentity, PeerRole};
pub use limits::WireLimits;
pub use plain::{PlainDialer, PlainListener};
pub use server::{HangUp, Server};
pub use stream::{ByteStream, Dial, Dialer, Handshake, Listen, Peer};
pub use tls::{Credentials, CredentialsError, ListenError, TlsDialer, TlsListener};

/// What a call carries, there and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is; the kinds of a service are its own.
    pub kind: u16,
    /// Its fields, encoded.
    pub head: Bytes,
    /// Bytes that no codec touches.
    pub payload: Vec<Bytes>,
}

/// Answers the calls of peers.
pub trait Service: Send + Sync + 'static {
    /// Called in arrival order on each connection and must not block; the returned future runs beside others. It is dropped
    /// when the caller cancels or goes away.
    fn call(&self, peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message>;
}

/// Why a call has no answer, named by what the caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It definitely never reached the peer's service: safe to send again, anywhere.
    #[error("call not sent")]
    NotSent,
    /// The peer may have acted on it.
    #[error("call lost: the peer may have acted on it")]
    Lost,
}
