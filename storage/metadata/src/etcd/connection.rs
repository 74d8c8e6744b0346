//! One HTTP/2 connection to one member of etcd, over TCP or TLS, as tonic wants it.
//!
//! It is not tonic's own channel because a channel does not say whether a request that failed has left this process, and
//! that is what decides between [`Unavailable`](crate::store::MetadataError::Unavailable) and
//! [`OutcomeUnknown`](crate::store::MetadataError::OutcomeUnknown).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::body::Body;
use tonic::client::GrpcService;

use crate::spawn;

/// How often a connection with requests under way asks whether the other side lives. etcd closes connections that ask
/// more often than every 5 s (`--grpc-keepalive-min-time`).
const PING_PERIOD: Duration = Duration::from_secs(6);
/// How long it waits for the answer.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// What a stream may receive before it is read: a slow watch holds back only itself.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What all streams together may receive before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Where a member listens.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// `http://host:port` or `https://host:port`.
    pub(super) uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

impl Endpoint {
    /// Reads etcd's own form of an endpoint; the error says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("etcd endpoint `{text}`: {what}");
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("begin with http:// or https://")),
        };
        if uri.path() != "/" && !uri.path().is_empty() {
            return Err(wrong("leave out the path"));
        }
        let host = uri.host().ok_or_else(|| wrong("name a host"))?;
        let port = uri.port_u16().ok_or_else(|| wrong("name a port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { uri, host, port, tls })
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFailed {
    /// It has not left this process.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    sender: http2::SendRequest<Body>,
    /// Which endpoint it leads to.
    pub(super) endpoint: usize,
    /// Tells it from its successors.
    pub(super) number: u64,
}

impl Connection {
    /// Connects. Bounded by the caller.
    pub(super) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<tokio_rustls::rustls::ClientConfig>>,
        index: usize,
        number: u64,
    ) -> std::io::Result<Self> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let sender = match (endpoint.tls, tls) {
            (false, _) => handshake(stream).await?,
            (true, None) => return Err(std::io::Error::other("https needs the certificate of its CA")),
            (true, Some(config)) => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(std::io::Error::other)?;
                handshake(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?).await?
            }
        };
        Ok(Self { sender, endpoint: index, number })
    }

    /// Whether nothing can be sent on it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

async fn handshake<S>(stream: S) -> std::io::Result<http2::SendRequest<Body>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // It ends by itself when the last sender and the last stream are gone.
    spawn::detached(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "etcd connection ended");
        }
    });
    Ok(sender)
}

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = CallFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, CallFailed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallFailed>> {
        self.sender.poll_ready(context).map_err(|error| CallFailed::NotSent(error.to_string()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.sender.try_send_request(request);
        Box::pin(async move {
            answer.await.map_err(|mut error| {
                // The request comes back only when nothing of it was written.
                let kept = error.take_message().is_some();
                let reason = error.into_error().to_string();
                if kept { CallFailed::NotSent(reason) } else { CallFailed::Lost(reason) }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_etcd_writes_it() {
        let plain = Endpoint::parse("http://10.0.0.1:2379").expect("valid");
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("10.0.0.1", 2379, false));
        let secure = Endpoint::parse("https://[::1]:2379").expect("valid");
        assert_eq!((secure.host.as_str(), secure.port, secure.tls), ("::1", 2379, true));
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_with_what_would_be_one() {
        for (text, hint) in [
            ("10.0.0.1:2379", "http"),
            ("ftp://h:1", "http"),
            ("http://h", "port"),
            ("http://h:1/v3", "path"),
        ] {
            let refused = Endpoint::parse(text).expect_err(text);
            assert!(refused.contains(text) && refused.contains(hint), "{refused}");
        }
    }
}
