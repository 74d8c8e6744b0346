//! Sockets: accept, bound, receive whole requests, drain. The one module of this crate that starts connection tasks.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::Api;
use crate::components::Components;
use crate::config::{ControlConfig, InvalidControlConfig};
use crate::error::ApiError;
use crate::request::ApiRequest;

/// The head of a request at most; hyper closes beyond it. Signed headers with a session token are below 10 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a refused body that are read away at most.
const DISCARD_BYTES_MAX: usize = 16 << 20;
/// The pause after `accept` failed: mostly descriptors ran out, and only time brings them back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings do not fit the listener.
    #[error(transparent)]
    Config(#[from] InvalidControlConfig),
    /// The listener is unusable.
    #[error("control listener: {0}")]
    Listener(#[from] std::io::Error),
}

/// What became of the body of a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It was read to its end: the connection can go on.
    Read,
    /// Some of it may still be on its way.
    Unread,
}

/// The control API, ready to serve listeners.
#[derive(Clone)]
pub struct ControlServer {
    api: Arc<Api>,
    tls: Option<TlsAcceptor>,
    /// One permit for each KiB of request bodies that may be held at once.
    room: Arc<Semaphore>,
}

impl ControlServer {
    /// Checks the settings. `tls` is needed for listeners that are not on a loopback address.
    pub fn new(
        config: ControlConfig,
        components: Components,
        tls: Option<TlsAcceptor>,
    ) -> Result<Self, InvalidControlConfig> {
        config.validate()?;
        let room = Arc::new(Semaphore::new(kib(config.in_flight_bytes_max)));
        Ok(Self { api: Arc::new(Api::new(config, components)), tls, room })
    }

    /// Serves until `shutdown` completes, then lets requests under way finish within the drain limit. Several listeners may
    /// be served at once by clones of one server. Meanwhile clusters are created and removed behind their calls, those of an
    /// earlier process too.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?.ip();
        if self.tls.is_none() && !address.to_canonical().is_loopback() {
            return Err(InvalidControlConfig::PlaintextOffLoopback(address).into());
        }
        let mut behind = JoinSet::new();
        let api = Arc::clone(&self.api);
        behind.spawn(async move { api.lifecycle.run().await });
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let room = Arc::new(Semaphore::new(self.api.config.connections_max));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            // A place is taken before a socket is: beyond the limit strangers wait in the listener's own queue.
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accepted => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((socket, peer)) => {
                    let server = self.clone();
                    let stopping = stopping.clone();
                    connections.spawn(async move {
                        server.connection(socket, peer, stopping).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        stop.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.api.config.drain_max, drained).await.is_err() {
            connections.shutdown().await;
        }
        behind.shutdown().await;
        self.api.lifecycle.store_uses().await;
        Ok(())
    }

    async fn connection(&self, socket: TcpStream, peer: SocketAddr, stopping: watch::Receiver<bool>) {
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "no delay not set");
        }
        let Some(tls) = &self.tls else {
            return self.http(socket, peer, false, stopping).await;
        };
        match tokio::time::timeout(self.api.config.receive_max, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.http(stream, peer, true, stopping).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "control TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "control TLS handshake too slow"),
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        secure: bool,
        mut stopping: watch::Receiver<bool>,
    ) {
        let service = service_fn(|request| self.answer(request, peer, secure));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.api.config.receive_max)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // The sender lives as long as the server serves, so an error means the same: stop.
        let stopped = async { drop(stopping.wait_for(|stop| *stop).await) };
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "control connection ended");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        source: SocketAddr,
        secure: bool,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let mut id = [0; 16];
        (self.api.components.random)(&mut id);
        let id = uuid::Builder::from_random_bytes(id).into_uuid().to_string();
        let (head, body) = request.into_parts();
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut request = ApiRequest {
            id: id.clone(),
            method: head.method.as_str().to_owned(),
            raw_path: head.uri.path().to_owned(),
            raw_query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                .collect(),
            body: Bytes::new(),
            source,
            secure,
            now: (self.api.components.clock)(),
        };
        let received = match self.api.admit(&request) {
            Ok(()) => self.receive(body).await,
            Err(throttled) => Err((throttled, self.discard(body).await)),
        };
        let answer = match received {
            Ok((body, _room)) => {
                request.body = body;
                self.api.handle(request).await
            }
            Err((error, rest)) => {
                let mut answer = self.api.refuse(&request, &error);
                if rest == Rest::Unread {
                    // Nothing further on this connection can be understood.
                    answer.headers.push(("connection", "close".to_owned()));
                }
                answer
            }
        };
        Ok(answer.into_response(&id))
    }

    /// Reads the whole body, into room that is reserved first and held as long as the permit.
    async fn receive(&self, body: Incoming) -> Result<(Bytes, SemaphorePermit<'_>), (ApiError, Rest)> {
        let config = &self.api.config;
        let expected = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        if expected.is_some_and(|bytes| bytes > config.request_bytes_max) {
            return Err((self.too_large(), self.discard(body).await));
        }
        // A body of unknown length is read up to the limit, never beyond.
        let reserved = expected.unwrap_or(config.request_bytes_max);
        let received = async {
            let room = self.room.acquire_many(kib(reserved) as u32).await;
            (Limited::new(body, config.request_bytes_max).collect().await, room)
        };
        let error = match tokio::time::timeout(config.receive_max, received).await {
            Ok((Ok(whole), Ok(room))) => return Ok((whole.to_bytes(), room)),
            Ok((Err(error), _)) if error.is::<LengthLimitError>() => self.too_large(),
            Ok(_) => ApiError::malformed("The request body did not arrive whole."),
            Err(_) => ApiError::new(ApiError::RECEIVE_TIMEOUT, "The request body did not arrive in time."),
        };
        Err((error, Rest::Unread))
    }

    /// Reads a refused body away, within bounds: a client that is still sending when the socket closes would lose the answer.
    async fn discard(&self, mut body: Incoming) -> Rest {
        let discarded = async {
            let mut left = DISCARD_BYTES_MAX;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Rest::Unread };
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(fewer) = left.checked_sub(bytes) else { return Rest::Unread };
                left = fewer;
            }
            Rest::Read
        };
        tokio::time::timeout(self.api.config.receive_max, discarded).await.unwrap_or(Rest::Unread)
    }

    fn too_large(&self) -> ApiError {
        let bytes = self.api.config.request_bytes_max;
        ApiError::new(ApiError::TOO_LARGE, format!("The request body is larger than {bytes} bytes."))
    }
}

/// Permits for so many bytes, rounded up.
fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}
