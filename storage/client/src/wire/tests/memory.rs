//! A network in memory: the seam's double, so that time can be paused and a peer can fall silent.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::super::{
    Dial, Dialer, Handshake, Listen, Peer, PeerIdentity, PeerRole, Server, Service, WireLimits,
};

/// What a socket of the network buffers.
const BUFFER_BYTES: usize = 64 << 10;

pub(crate) fn gateway() -> PeerIdentity {
    PeerIdentity { cell: "cell".into(), role: PeerRole::Gateway("test".into()) }
}

/// Dials by handing the other end of a pipe to whoever listens.
struct MemoryDialer(mpsc::Sender<DuplexStream>);

#[async_trait]
impl Dial for MemoryDialer {
    async fn dial(&self, _address: &str) -> io::Result<Peer> {
        let (ours, theirs) = duplex(BUFFER_BYTES);
        self.0.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Peer { stream: Box::new(ours), identity: gateway() })
    }
}

pub(crate) struct MemoryListener(mpsc::Receiver<DuplexStream>);

#[async_trait]
impl Listen for MemoryListener {
    async fn accept(&mut self) -> io::Result<Handshake> {
        let stream = self.0.recv().await;
        let Some(stream) = stream else { return std::future::pending().await };
        Ok(Box::pin(async move { Ok(Peer { stream: Box::new(stream), identity: gateway() }) }))
    }
}

/// A dialer and the listener it reaches.
pub(crate) fn network() -> (Dialer, MemoryListener) {
    let (sender, receiver) = mpsc::channel(8);
    (Arc::new(MemoryDialer(sender)), MemoryListener(receiver))
}

/// A dialer and the raw ends it reaches: whoever holds one is the peer.
pub(crate) fn raw_network() -> (Dialer, mpsc::Receiver<DuplexStream>) {
    let (dialer, listener) = network();
    (dialer, listener.0)
}

/// A dialer and the server behind it.
pub(crate) fn serve(service: &Arc<impl Service>, limits: WireLimits) -> (Dialer, Server) {
    let (dialer, listener) = network();
    (dialer, Server::start(listener, Arc::clone(service) as _, limits))
}
