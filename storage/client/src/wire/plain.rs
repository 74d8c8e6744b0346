//! Plain TCP, for tests and benchmarks: nothing is proven, the identities are what the caller says.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};

use super::PeerIdentity;
use super::stream::{Dial, Handshake, Listen, Peer, tune};

/// Dials without TLS.
#[derive(Debug, Clone)]
pub struct PlainDialer {
    /// Who is assumed to answer.
    pub peer: PeerIdentity,
}

#[async_trait]
impl Dial for PlainDialer {
    async fn dial(&self, address: &str) -> io::Result<Peer> {
        let stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        Ok(Peer { stream: Box::new(stream), identity: self.peer.clone() })
    }
}

/// Accepts without TLS.
#[derive(Debug)]
pub struct PlainListener {
    socket: TcpListener,
    peer: PeerIdentity,
}

impl PlainListener {
    /// Binds; `peer` is who is assumed to dial.
    pub async fn bind(address: SocketAddr, peer: PeerIdentity) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, peer })
    }
    /// The address bound.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[async_trait]
impl Listen for PlainListener {
    async fn accept(&mut self) -> io::Result<Handshake> {
        let (stream, _) = self.socket.accept().await?;
        let identity = self.peer.clone();
        Ok(Box::pin(async move {
            tune(&stream)?;
            Ok(Peer { stream: Box::new(stream), identity })
        }))
    }
}
