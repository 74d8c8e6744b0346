//! Calls to whichever member answers: one connection at a time, the next member when it fails, and for every call that
//! fails the answer to the question whether anything can have happened.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::ClientConfig;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::id::Revision;
use crate::store::MetadataError;

use super::connection::{CallFailed, Connection, Endpoint};

/// A response at most. A page of [`super::reading::PAGE_KEYS`] keys is far below it.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// Why a call got no answer, named by what it may have done.
#[derive(Debug)]
pub(super) enum Failed {
    /// etcd has certainly not acted on it, and another member may.
    NotDone(String),
    /// etcd looked at it and will not do it.
    Refused(Status),
    /// It may have been done.
    Unknown(String),
    /// etcd stands below what it has answered before: it was restored from a backup. Nothing it says is believed.
    WentBack(WentBack),
}

/// Revisions are given a second time, to other changes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("etcd went back from revision {seen} to {found}, as one that was restored from a backup does")]
pub(super) struct WentBack {
    pub(super) seen: u64,
    pub(super) found: u64,
}

impl From<WentBack> for MetadataError {
    fn from(error: WentBack) -> Self {
        Self::WentBack { seen: Revision::new(error.seen), found: Revision::new(error.found) }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotDone(reason) | Self::Unknown(reason) => f.write_str(reason),
            Self::Refused(status) => f.write_str(status.message()),
            Self::WentBack(error) => error.fmt(f),
        }
    }
}

/// The members of one etcd, and the connection to one of them.
#[derive(Debug)]
pub(super) struct Members {
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    /// Where the next connection is tried first.
    endpoint: usize,
    opened: u64,
}

impl Members {
    pub(super) fn new(
        endpoints: Vec<Endpoint>,
        tls: Option<Arc<ClientConfig>>,
        connect_timeout: Duration,
    ) -> Self {
        Self { endpoints, tls, connect_timeout, current: Mutex::default() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// The connection, or a new one to the first member that can be reached. Callers of the same time share the attempt.
    async fn connection(&self) -> Result<Connection, Failed> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let mut reasons = Vec::new();
        for step in 0..self.endpoints.len() {
            let index = (current.endpoint + step) % self.endpoints.len();
            let endpoint = &self.endpoints[index];
            current.opened += 1;
            let opening = Connection::open(endpoint, self.tls.as_ref(), index, current.opened);
            match timeout(self.connect_timeout, opening).await {
                Ok(Ok(connection)) => {
                    current.endpoint = index;
                    current.connection = Some(connection.clone());
                    return Ok(connection);
                }
                Ok(Err(error)) => reasons.push(format!("{}: {error}", endpoint.uri)),
                Err(_) => reasons.push(format!("{}: no connection in time", endpoint.uri)),
            }
        }
        Err(Failed::NotDone(reasons.join("; ")))
    }

    /// Turns away from a connection that disappointed; whoever still uses it goes on.
    pub(super) async fn leave(&self, connection: &Connection) {
        let mut current = self.current.lock().await;
        if current.connection.as_ref().is_some_and(|held| held.number == connection.number) {
            current.connection = None;
            current.endpoint = (connection.endpoint + 1) % self.endpoints.len();
        }
    }

    /// One attempt: a request with one answer.
    pub(super) async fn call<Q, A>(&self, path: &'static str, message: Q, until: Instant) -> Result<A, Failed>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let (mut grpc, connection) = self.grpc(until).await?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(request(message), path, ProstCodec::default());
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(status, &connection).await),
            Err(_) => Err(self.silent(&connection).await),
        }
    }

    /// One attempt: opens a stream with one request. The stream of requests stays open as long as the answer's.
    pub(super) async fn stream<Q, A>(
        &self,
        path: &'static str,
        message: Q,
        until: Instant,
    ) -> Result<(Streaming<A>, Connection), Failed>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        use futures_util::stream::{StreamExt, once, pending};
        let (mut grpc, connection) = self.grpc(until).await?;
        let requests = once(std::future::ready(message)).chain(pending());
        let answer =
            grpc.streaming(request(requests), PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => Ok((answer.into_inner(), connection)),
            Ok(Err(status)) => Err(self.failed(status, &connection).await),
            Err(_) => Err(self.silent(&connection).await),
        }
    }

    async fn grpc(&self, until: Instant) -> Result<(Grpc<Connection>, Connection), Failed> {
        let in_time = |_| Failed::NotDone("no member could be reached in time".to_owned());
        let connection = timeout_at(until, self.connection()).await.map_err(in_time)??;
        let origin = self.endpoints[connection.endpoint].uri.clone();
        let grpc =
            Grpc::with_origin(connection.clone(), origin).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let mut ready = grpc.clone();
        match timeout_at(until, ready.ready()).await {
            Ok(Ok(())) => Ok((ready, connection)),
            Ok(Err(error)) => {
                self.leave(&connection).await;
                Err(Failed::NotDone(error.to_string()))
            }
            Err(_) => Err(Failed::NotDone("the connection took no request in time".to_owned())),
        }
    }

    /// What a status means, and whether its member is still worth asking.
    pub(super) async fn failed(&self, status: Status, connection: &Connection) -> Failed {
        let failed = classify(status);
        if !matches!(failed, Failed::Refused(_)) {
            self.leave(connection).await;
        }
        failed
    }

    /// The deadline passed without an answer.
    pub(super) async fn silent(&self, connection: &Connection) -> Failed {
        self.leave(connection).await;
        Failed::Unknown(format!("{}: no answer in time", self.endpoints[connection.endpoint].uri))
    }
}

/// A request that a member without a leader refuses at once, instead of keeping it (`rpctypes/metadatafields.go`).
fn request<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
    request
}

/// Refusals that etcd makes before it looks at a request (`etcdserver/api/v3rpc/interceptor.go`,
/// `etcdserver/v3_server.go`): nothing was proposed, and another member may accept.
const BEFORE_PROPOSAL: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
    "etcdserver: too many requests",
];

/// Sorts the statuses of `etcdserver/api/v3rpc/rpctypes/error.go` by what can have happened. What is not known to have
/// done nothing may have been done: time-outs, a stopping server, and `database space exceeded`, which etcd also answers
/// for the very transaction that it applied into the last of the space (`quotaApplierV3`).
fn classify(status: Status) -> Failed {
    if let Some(failed) = status.source().and_then(|source| source.downcast_ref::<CallFailed>()) {
        return match failed {
            CallFailed::NotSent(_) => Failed::NotDone(failed.to_string()),
            CallFailed::Lost(_) => Failed::Unknown(failed.to_string()),
        };
    }
    if BEFORE_PROPOSAL.contains(&status.message()) {
        return Failed::NotDone(status.message().to_owned());
    }
    match status.code() {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => Failed::Refused(status),
        _ => Failed::Unknown(format!("{:?}: {}", status.code(), status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Failed {
        classify(Status::new(code, message))
    }

    #[test]
    fn what_etcd_refuses_before_it_proposes_was_not_done() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: not capable"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
        ] {
            assert!(matches!(of(code, message), Failed::NotDone(_)), "{message}");
        }
    }

    #[test]
    fn what_etcd_finds_wrong_is_refused() {
        for (code, message) in [
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ] {
            assert!(matches!(of(code, message), Failed::Refused(_)), "{message}");
        }
    }

    #[test]
    fn what_may_have_been_proposed_is_unknown() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Internal, "h2 protocol error"),
            (Code::Unknown, "raft proposal dropped"),
        ] {
            assert!(matches!(of(code, message), Failed::Unknown(_)), "{message}");
        }
    }

    #[test]
    fn a_failure_of_the_connection_keeps_whether_it_was_sent() {
        let status = |failed| Status::from_error(Box::new(failed));
        assert!(matches!(classify(status(CallFailed::NotSent("x".into()))), Failed::NotDone(_)));
        assert!(matches!(classify(status(CallFailed::Lost("x".into()))), Failed::Unknown(_)));
    }
}
