//! The accept loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::serving::{self, Shared};
use super::stream::{Handshake, Listen};
use super::{Service, WireLimits};
use crate::spawn;

/// How long a peer may take to prove who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// After an accept that failed (no file descriptors left) the loop does not spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A server that accepts connections and gives their requests to a service. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Server {
    /// Until when peers may leave, once the server stops.
    closing: watch::Sender<Option<Instant>>,
    hang_up: HangUp,
    accepting: JoinHandle<()>,
}

/// Ends all connections of a server when told to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HangUp(watch::Sender<()>);

impl HangUp {
    /// Ends every connection now; peers may connect again. What they have asked stays unanswered, which they notice at once: for
    /// answers that cannot come in any useful time.
    pub fn now(&self) {
        self.0.send_replace(());
    }
}

impl Server {
    /// Serves what `listener` accepts. Must be called in a tokio runtime.
    pub fn start(listener: impl Listen, service: Arc<dyn Service>, limits: WireLimits) -> Self {
        let (closing, told) = watch::channel(None);
        let hang_up = HangUp(watch::Sender::new(()));
        let shared = Arc::new(Shared {
            service,
            limits,
            in_flight: Arc::new(Semaphore::new(limits.in_flight_bytes_max as usize)),
        });
        let accepting = spawn::task(accept(listener, shared, told, hang_up.clone()));
        Self { closing, hang_up, accepting }
    }

    /// What ends its connections.
    pub fn hang_up(&self) -> HangUp {
        self.hang_up.clone()
    }

    /// Stops accepting, tells the peers that it goes away, answers what was accepted, and waits for the peers to leave, for at
    /// most `grace`. Then ends what is left.
    pub async fn shutdown(mut self, grace: Duration) {
        self.closing.send_replace(Some(Instant::now() + grace));
        // The loop ends by itself; a panic in it is nobody's answer any more.
        drop((&mut self.accepting).await);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    mut listener: impl Listen,
    shared: Arc<Shared>,
    mut closing: watch::Receiver<Option<Instant>>,
    hang_up: HangUp,
) {
    let told = closing.clone();
    let mut connections = JoinSet::new();
    let until = loop {
        select! {
            biased;
            until = serving::told(&mut closing) => break until,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < shared.limits.connections_max => match accepted {
                Ok(handshake) => {
                    let entered = enter(handshake, Arc::clone(&shared), told.clone());
                    let mut hung_up = hang_up.0.subscribe();
                    spawn::member(&mut connections, async move {
                        select! {
                            biased;
                            _ = hung_up.changed() => {}
                            () = entered => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_ERROR_PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    select! {
        biased;
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = sleep_until(until) => connections.shutdown().await,
    }
}

async fn enter(handshake: Handshake, shared: Arc<Shared>, closing: watch::Receiver<Option<Instant>>) {
    match timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(peer)) => serving::serve(peer, shared, closing).await,
        Ok(Err(error)) => tracing::info!(%error, "peer not admitted"),
        Err(_) => tracing::info!("peer did not finish its handshake in time"),
    }
}
