//! What calls promise, over an in-memory network with its own clock, and over TCP with mutual TLS.

mod calls;
mod endings;
pub(crate) mod memory;
mod mutual_tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{Message, PeerIdentity, Service};

pub(super) fn message(kind: u16, head: &str) -> Message {
    Message { kind, head: Bytes::copy_from_slice(head.as_bytes()), payload: Vec::new() }
}

/// Echoes; `wait` heads wait for the bell, `panic` heads panic, `sleep` heads take ten seconds, `grow` heads are
/// answered with 2,000 bytes. Notes what it was asked.
#[derive(Default)]
pub(super) struct Echo {
    pub(super) asked: Mutex<Vec<(PeerIdentity, Bytes)>>,
    pub(super) bell: Arc<Notify>,
    pub(super) dropped: Arc<Notify>,
}

struct TellWhenDropped(Arc<Notify>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service for Echo {
    fn call(&self, peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        self.asked.lock().expect("no test panics here").push((peer.clone(), message.head.clone()));
        let (bell, dropped) = (Arc::clone(&self.bell), TellWhenDropped(Arc::clone(&self.dropped)));
        let mut message = message;
        Box::pin(async move {
            match &message.head[..] {
                b"wait" => bell.notified().await,
                b"sleep" => tokio::time::sleep(Duration::from_secs(10)).await,
                b"grow" => message.payload.push(Bytes::from(vec![1; 2000])),
                b"panic" => panic!("as asked"),
                _ => {}
            }
            drop(dropped);
            message
        })
    }
}

impl Echo {
    pub(super) fn heads(&self) -> Vec<Bytes> {
        self.asked.lock().expect("no test panics here").iter().map(|(_, head)| head.clone()).collect()
    }
}
