//! The seam below the wire: whatever yields a stream of bytes and the identity at its other end.
//!
//! Real ones are TCP with mutual TLS ([`super::tls`]); plain TCP ([`super::plain`]) serves tests and one machine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::PeerIdentity;

/// Bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// A stream and who is at its other end.
pub struct Peer {
    /// The bytes.
    pub stream: Box<dyn ByteStream>,
    /// Proven, as far as the transport proves anything.
    pub identity: PeerIdentity,
}

/// Opens streams.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Opens a stream to `address` (`host:port`). `InvalidData` = the peer is not part of the cell, or speaks another protocol.
    async fn dial(&self, address: &str) -> io::Result<Peer>;
}

/// How connections hold what opens their streams.
pub type Dialer = Arc<dyn Dial>;

/// The rest of accepting, which may wait for the peer: it runs beside the next accept.
pub type Handshake = BoxFuture<'static, io::Result<Peer>>;

/// Accepts streams.
#[async_trait]
pub trait Listen: Send + 'static {
    /// Waits for the next peer. Cancel safe.
    async fn accept(&mut self) -> io::Result<Handshake>;
}

/// Calls are small and awaited, so nothing is held back; a path that died silently is found by the kernel too.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
