//! The answering side of one connection.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::frame::{Outgoing, Role, kind};
use super::outbox::{NotQueued, Outbox};
use super::pulse::Pulse;
use super::reader::{FrameReader, invalid};
use super::stream::Peer;
use super::writer::write_frames;
use super::{Message, PeerIdentity, Service, WireLimits};
use crate::spawn;

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) service: Arc<dyn Service>,
    pub(super) limits: WireLimits,
    /// One permit per byte of requests held.
    pub(super) in_flight: Arc<Semaphore>,
}

/// What runs for one connection.
struct Running {
    outbox: Outbox,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: HashMap<u64, AbortHandle>,
    /// The last request that reached the service.
    accepted: u64,
    going_away: bool,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request is to be given to the service.
    fn accept(&self, request: u64, calls_max: usize) -> bool {
        let mut state = self.lock();
        if state.going_away {
            return false;
        }
        state.accepted = request;
        let room = state.calls.len() < calls_max;
        if !room {
            self.refuse(request, "too many calls on this connection");
        }
        room
    }

    /// Says up to where requests were accepted, once; later ones are ignored.
    fn go_away(&self) {
        let mut state = self.lock();
        if !state.going_away {
            state.going_away = true;
            let _ = self.outbox.push(Outgoing::bare(Role::Notice, kind::GOING_AWAY, state.accepted));
        }
    }

    fn refuse(&self, request: u64, reason: &'static str) {
        let message =
            Message { kind: kind::REFUSED, head: Bytes::from_static(reason.as_bytes()), payload: Vec::new() };
        let _ = self.outbox.push(Outgoing { role: Role::Response, request, message });
    }
}

/// Returns when the server stops, with the time until which peers may leave. A server that is gone stops at once.
pub(super) async fn told(closing: &mut watch::Receiver<Option<Instant>>) -> Instant {
    let told = closing.wait_for(Option::is_some).await.map(|until| *until);
    told.ok().flatten().unwrap_or_else(Instant::now)
}

/// Serves a peer until it goes, falls silent, or has left after the server said that it stops.
pub(super) async fn serve(peer: Peer, shared: Arc<Shared>, mut closing: watch::Receiver<Option<Instant>>) {
    let Peer { stream, identity } = peer;
    let (reading, writing) = tokio::io::split(stream);
    let limits = &shared.limits;
    let running = Arc::new(Running {
        outbox: Outbox::new(limits.queued_bytes_max, limits.frame_bytes_max),
        state: Mutex::default(),
    });
    let pulse = Arc::new(Pulse::default());
    let reader = FrameReader::new(reading, Arc::clone(&pulse));
    let going_away = async {
        told(&mut closing).await;
        running.go_away();
        std::future::pending::<()>().await;
    };
    let ended = select! {
        biased;
        Err(error) = read_requests(reader, &identity, &shared, &running) => Err(error),
        ended = write_frames(writing, &running.outbox) => ended,
        () = pulse.lost() => Err(io::ErrorKind::TimedOut.into()),
        () = going_away => Ok(()),
    };
    match ended {
        Ok(()) => tracing::debug!(peer = %identity, "peer closed its connection"),
        Err(error) => tracing::info!(peer = %identity, %error, "connection lost"),
    }
}

/// Hands requests to the service in the order they came. The calls end with this future; then what is queued is written, and
/// the writer's end is the connection's.
async fn read_requests(
    mut reader: FrameReader<impl AsyncRead + Unpin>,
    peer: &PeerIdentity,
    shared: &Shared,
    running: &Arc<Running>,
) -> io::Result<()> {
    let mut calls = JoinSet::new();
    while let Some(header) = reader.header().await? {
        match header.role {
            Role::Request if header.body_bytes > shared.limits.frame_bytes_max => {
                reader.skip(&header).await?;
                running.refuse(header.request, "frame too large");
            }
            Role::Request => {
                running.outbox.has_room().await;
                // A frame larger than the whole budget has it for itself.
                let bytes = header.body_bytes.min(shared.limits.in_flight_bytes_max);
                let in_flight = Arc::clone(&shared.in_flight).acquire_many_owned(bytes).await;
                let body = reader.body(&header).await?;
                let message = header.take_apart(body).map_err(invalid)?;
                if !running.accept(header.request, shared.limits.calls_max) {
                    continue;
                }
                let call = shared.service.call(peer, message);
                let answer = Answer { running: Arc::clone(running), request: header.request };
                // Held until the call is listed, so that a call which ends at once finds itself there.
                let mut state = running.lock();
                let abort = spawn::member(&mut calls, async move {
                    answer.give(call.await);
                    drop(in_flight);
                });
                state.calls.insert(header.request, abort);
            }
            Role::Cancel => {
                reader.skip(&header).await?;
                if let Some(call) = running.lock().calls.remove(&header.request) {
                    call.abort();
                }
            }
            Role::Notice | Role::Response => reader.skip(&header).await?,
        }
        while calls.try_join_next().is_some() {}
    }
    running.outbox.finish();
    Ok(())
}

/// The duty to answer one request: a call that dies without an answer says so.
struct Answer {
    running: Arc<Running>,
    request: u64,
}

impl Answer {
    fn give(self, message: Message) {
        let queued =
            self.running.outbox.push(Outgoing { role: Role::Response, request: self.request, message });
        match queued {
            Ok(()) => drop(self.running.lock().calls.remove(&self.request)),
            // Dropping this tells the caller.
            Err(NotQueued::TooLarge) => {
                tracing::warn!(request = self.request, "answer too large for a frame");
            }
            Err(NotQueued::Closed | NotQueued::Full) => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.running.lock().calls.remove(&self.request).is_some() {
            let message = Message {
                kind: kind::FAILED,
                head: Bytes::from_static(b"the call ended without an answer"),
                payload: Vec::new(),
            };
            let _ =
                self.running.outbox.push(Outgoing { role: Role::Response, request: self.request, message });
        }
    }
}
