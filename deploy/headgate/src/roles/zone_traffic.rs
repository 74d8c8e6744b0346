//! Bytes to and from storage nodes, by whether they are in the own zone: those that are not are what clouds bill as cross-zone traffic.
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `headgate_storage_traffic_bytes_total` | `direction` = `sent`, `received`; `zone` = `same`, `other` | bytes on connections that this process opened, before TLS |
//!
//! Whoever opens a connection counts both directions, so that no byte is counted twice in a cell: a gateway those to the owners of
//! slots, a storage node those to its mirrors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use headgate_metadata::id::NodeId;
use headgate_metadata::slot_owners::SlotOwners;
use headgate_storage_client::wire::{ByteStream, Dial, Dialer, Peer, PeerRole};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    direction: &'static str,
    zone: &'static str,
}

/// Dials as `inner` does, and counts.
pub(super) struct ZoneCounting {
    inner: Dialer,
    own_zone: String,
    nodes: Arc<SlotOwners>,
    bytes: Family<Labels, Counter>,
}

impl ZoneCounting {
    /// Counts into `registry`; the zones of nodes are those they registered with.
    pub(super) fn new(
        inner: Dialer,
        own_zone: &str,
        nodes: Arc<SlotOwners>,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let bytes = Family::default();
        registry.register("headgate_storage_traffic_bytes", "Bytes to and from storage nodes", bytes.clone());
        Arc::new(Self { inner, own_zone: own_zone.to_owned(), nodes, bytes })
    }

    fn zone_of(&self, node: NodeId) -> &'static str {
        let other = self.nodes.last_known(node).is_some_and(|record| record.zone != self.own_zone);
        if other { "other" } else { "same" }
    }
}

#[async_trait]
impl Dial for ZoneCounting {
    async fn dial(&self, address: &str) -> io::Result<Peer> {
        let Peer { stream, identity } = self.inner.dial(address).await?;
        let PeerRole::Storage(node) = identity.role else { return Ok(Peer { stream, identity }) };
        let zone = self.zone_of(node);
        let counter = |direction| self.bytes.get_or_create_owned(&Labels { direction, zone });
        let counted = Counted { stream, sent: counter("sent"), received: counter("received") };
        Ok(Peer { stream: Box::new(counted), identity })
    }
}

struct Counted {
    stream: Box<dyn ByteStream>,
    sent: Counter,
    received: Counter,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.received.inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(read)
    }
}

impl Counted {
    fn wrote(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes) = written {
            self.sent.inc_by(bytes as u64);
        }
        Poll::Ready(written)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, buffer));
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, buffers));
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
