//! The calling side of one connection.
//!
//! Invariants: a request is pending from the moment it is queued until it is answered, given up or failed; the order of request
//! ids is the order of frames; what is still queued when the connection ends was not sent.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::frame::{Header, Outgoing, Role, kind};
use super::outbox::Outbox;
use super::pulse::Pulse;
use super::reader::{FrameReader, invalid};
use super::stream::{ByteStream, Dialer, Peer};
use super::writer::write_frames;
use super::{CallError, Message, PeerIdentity, WireLimits};
use crate::spawn;

/// How long dialling may take, handshake included: as long as a peer may be silent.
const DIAL_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there, or not in time. Retry later.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Who was dialled.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever answers is not part of the cell, does not believe that we are, or speaks another protocol. A human must look.
    #[error("{address} is not a peer of this cell: {source}")]
    Stranger {
        /// Who was dialled.
        address: String,
        /// What was wrong.
        source: io::Error,
    },
}

/// One connection to a server: many calls in flight, answered in any order. Clones share it; it ends with the last of them and of
/// its calls.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Handle>);

impl PartialEq for Connection {
    /// Whether both are the same connection.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
struct Handle {
    peer: PeerIdentity,
    calls: Arc<Calls>,
}

impl Drop for Handle {
    /// No call is left. The driver says goodbye and ends with the peer's, or with its silence.
    fn drop(&mut self) {
        self.calls.lock().closing = true;
        self.calls.outbox.finish();
    }
}

impl Connection {
    /// Dials and shakes hands. Cancel safe.
    pub async fn open(dialer: &Dialer, address: &str) -> Result<Self, ConnectError> {
        Self::open_with(dialer, address, WireLimits::default()).await
    }

    /// The same with other limits than the default ones.
    pub async fn open_with(dialer: &Dialer, address: &str, limits: WireLimits) -> Result<Self, ConnectError> {
        let dialled = timeout(DIAL_MAX, dialer.dial(address)).await;
        let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let Peer { stream, identity } = dialled.map_err(|source| {
            let address = address.to_owned();
            match source.kind() {
                io::ErrorKind::InvalidData => ConnectError::Stranger { address, source },
                _ => ConnectError::Unreachable { address, source },
            }
        })?;
        let outbox = Outbox::new(limits.queued_bytes_max, limits.frame_bytes_max);
        let calls = Arc::new(Calls { outbox, state: Mutex::default(), pending_max: limits.calls_max });
        // Ends with the stream: when the last handle has said goodbye, or the peer goes or falls silent.
        spawn::detached(drive(stream, identity.clone(), Arc::clone(&calls), limits));
        Ok(Self(Arc::new(Handle { peer: identity, calls })))
    }

    /// Who answers.
    pub fn peer(&self) -> &PeerIdentity {
        &self.0.peer
    }

    /// Takes its place in the order of the connection now (before the future is polled). Dropping the future sends a cancel.
    pub fn call(&self, message: Message) -> impl Future<Output = Result<Message, CallError>> + Send + use<> {
        let answer = self.0.calls.submit(message);
        Call { connection: self.clone(), answer }
    }

    /// Whether further calls are useless: the connection has ended or the peer is going away.
    pub fn is_closed(&self) -> bool {
        self.0.calls.lock().closing
    }
}

/// A call that took its place.
struct Call {
    connection: Connection,
    answer: Result<(u64, oneshot::Receiver<Result<Message, CallError>>), CallError>,
}

impl Future for Call {
    type Output = Result<Message, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.answer {
            Err(error) => Poll::Ready(Err(*error)),
            // The sender is dropped only with the whole connection.
            Ok((_, answer)) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(CallError::Lost)))
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Ok((request, _)) = &self.answer {
            self.connection.0.calls.give_up(*request);
        }
    }
}

/// The calls in flight, shared between callers and the driver.
#[derive(Debug)]
struct Calls {
    outbox: Outbox,
    state: Mutex<State>,
    pending_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their requests, so that those who wait are woken in that order.
    pending: BTreeMap<u64, oneshot::Sender<Result<Message, CallError>>>,
    last: u64,
    closing: bool,
}

impl Calls {
    fn submit(
        &self,
        message: Message,
    ) -> Result<(u64, oneshot::Receiver<Result<Message, CallError>>), CallError> {
        // Held while the frame is queued, so that ids and frames have one order.
        let mut state = self.lock();
        if state.closing || state.pending.len() >= self.pending_max {
            return Err(CallError::NotSent);
        }
        let request = state.last + 1;
        let queued = self.outbox.offer(Outgoing { role: Role::Request, request, message });
        if let Err(reason) = queued {
            tracing::debug!(?reason, "call not sent");
            return Err(CallError::NotSent);
        }
        state.last = request;
        let (sender, receiver) = oneshot::channel();
        state.pending.insert(request, sender);
        Ok((request, receiver))
    }

    /// The caller no longer waits.
    fn give_up(&self, request: u64) {
        let mut state = self.lock();
        if state.pending.remove(&request).is_some() {
            // A connection that has ended needs no cancel.
            let _ = self.outbox.push(Outgoing::bare(Role::Cancel, kind::HEARTBEAT, request));
            self.finish_if_idle(&state);
        }
    }

    fn answer(&self, request: u64, answer: Result<Message, CallError>) {
        let mut state = self.lock();
        // Nobody waits when the call was given up.
        if let Some(caller) = state.pending.remove(&request) {
            drop(caller.send(answer));
        }
        self.finish_if_idle(&state);
    }

    /// The peer answers nothing behind `accepted`.
    fn peer_goes_away(&self, accepted: u64) {
        let mut state = self.lock();
        state.closing = true;
        for caller in state.pending.split_off(&(accepted + 1)).into_values() {
            drop(caller.send(Err(CallError::NotSent)));
        }
        self.finish_if_idle(&state);
    }

    fn finish_if_idle(&self, state: &State) {
        if state.closing && state.pending.is_empty() {
            self.outbox.finish();
        }
    }

    /// The connection has ended.
    fn end(&self) {
        let unsent: HashSet<u64> = self.outbox.close().map(|frame| frame.request).collect();
        let mut state = self.lock();
        state.closing = true;
        for (request, caller) in std::mem::take(&mut state.pending) {
            let error = if unsent.contains(&request) { CallError::NotSent } else { CallError::Lost };
            drop(caller.send(Err(error)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the calls whichever way the driver ends, also when it is aborted.
struct EndCalls(Arc<Calls>);

impl Drop for EndCalls {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Moves frames until either side ends. One task for both directions: a TLS stream is one state machine.
async fn drive(stream: Box<dyn ByteStream>, peer: PeerIdentity, calls: Arc<Calls>, limits: WireLimits) {
    let ending = EndCalls(Arc::clone(&calls));
    let (reading, writing) = tokio::io::split(stream);
    let pulse = Arc::new(Pulse::default());
    let reader = FrameReader::new(reading, Arc::clone(&pulse));
    let ended = select! {
        biased;
        ended = read_answers(reader, &calls, limits.frame_bytes_max) => ended,
        Err(error) = write_frames(writing, &calls.outbox) => Err(error),
        () = pulse.lost() => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = ended {
        tracing::info!(%peer, %error, "connection lost");
    }
    drop(ending);
}

async fn read_answers(
    mut reader: FrameReader<impl tokio::io::AsyncRead + Unpin>,
    calls: &Calls,
    frame_bytes_max: u32,
) -> io::Result<()> {
    while let Some(header) = reader.header().await? {
        match header.role {
            Role::Response if header.body_bytes > frame_bytes_max => {
                tracing::warn!(bytes = header.body_bytes, frame_bytes_max, "answer too large");
                reader.skip(&header).await?;
                calls.answer(header.request, Err(CallError::Lost));
            }
            Role::Response => {
                let body = reader.body(&header).await?;
                let message = header.take_apart(body).map_err(invalid)?;
                calls.answer(header.request, outcome(&header, message));
            }
            Role::Notice if header.kind == kind::GOING_AWAY => {
                reader.skip(&header).await?;
                calls.peer_goes_away(header.request);
            }
            Role::Notice | Role::Request | Role::Cancel => reader.skip(&header).await?,
        }
    }
    Ok(())
}

fn outcome(header: &Header, message: Message) -> Result<Message, CallError> {
    let reason = || String::from_utf8_lossy(&message.head).into_owned();
    match header.kind {
        kind::REFUSED => {
            tracing::debug!(reason = reason(), "call refused by the peer");
            Err(CallError::NotSent)
        }
        kind::FAILED => {
            tracing::warn!(reason = reason(), "call failed at the peer");
            Err(CallError::Lost)
        }
        _ => Ok(message),
    }
}
