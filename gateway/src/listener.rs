//! Listeners: bind, accept, hand over.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{AccountId, BrokerId, ClusterId};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tracing::Instrument;

use crate::admission::{Admission, Admitted, TURNED_AWAY_HOLD};
use crate::authorize::{Identity, Source};
use crate::brokers::{BrokerSource, ListedBroker};
use crate::connection::{Authenticated, ByteStream, Opened, Transport, Unauthenticated};
use crate::login::{LoginContext, actor_of, principal_of};
use crate::metrics::{ConnectionState, TurnedAway};
use crate::quota::ConnectionLease;
use crate::session::Session;
use crate::shared::{Phase, Shared};
use crate::which_cluster::{Dialled, DialledAs, Reached};

/// Connections the kernel keeps for us to accept.
const BACKLOG: i32 = 4096;
/// What accepting waits for after an error such as too many descriptors.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A listener to be opened.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    /// Where to listen; `localhost` means one address of each family.
    pub addresses: Vec<SocketAddr>,
    /// The host that Metadata tells clients to dial.
    pub advertised_host: String,
    /// The port that Metadata tells clients to dial; 0 = the one that was bound.
    pub advertised_port: u16,
    /// The cluster this listener is bound to, if it is.
    pub bound_cluster: Option<ClusterId>,
    /// The cluster of connections that name none.
    pub default_cluster: Option<ClusterId>,
    /// How clients prove who they are.
    pub security: ListenerSecurity,
}

/// How clients of a listener prove who they are.
#[derive(Debug, Clone)]
pub enum ListenerSecurity {
    /// TLS and SASL.
    Iam(Arc<ServerConfig>),
    /// Neither: everybody acts as this user, on the bound cluster. For loopback only.
    Plaintext {
        /// The user's account.
        account: AccountId,
        /// The user's name.
        user: String,
    },
}

/// Why a listener was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A plaintext listener on an address others can reach.
    #[error("a plaintext listener must be on a loopback address, {0} is not")]
    PlaintextBeyondLoopback(SocketAddr),
    /// A plaintext listener must name its cluster.
    #[error("a plaintext listener must be bound to a cluster")]
    PlaintextWithoutCluster,
}

/// A bound listener, ready to accept.
pub(crate) struct BoundListener {
    sockets: Vec<TcpListener>,
    spec: ListenerSpec,
    port: u16,
}

impl BoundListener {
    /// Binds all addresses. With port 0 the port of the first is used for the others too.
    pub(crate) fn bind(spec: ListenerSpec) -> Result<Self, ListenError> {
        if let ListenerSecurity::Plaintext { .. } = spec.security {
            if let Some(address) = spec.addresses.iter().find(|address| !address.ip().is_loopback()) {
                return Err(ListenError::PlaintextBeyondLoopback(*address));
            }
            if spec.bound_cluster.is_none() {
                return Err(ListenError::PlaintextWithoutCluster);
            }
        }
        let mut port = 0;
        let mut sockets = Vec::with_capacity(spec.addresses.len());
        for address in &spec.addresses {
            let mut address = *address;
            if address.port() == 0 {
                address.set_port(port);
            }
            let socket = bind(address).map_err(|source| ListenError::Bind { address, source })?;
            port = socket.local_addr().map_or(address.port(), |bound| bound.port());
            sockets.push(socket);
        }
        Ok(Self { sockets, spec, port })
    }

    /// The port bound.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Accepts until the process drains or `close` says so, then waits for the connections to end.
    pub(crate) async fn run(
        self,
        shared: Arc<Shared>,
        admission: Arc<Admission>,
        close: watch::Receiver<bool>,
    ) {
        let advertised_port =
            if self.spec.advertised_port == 0 { self.port } else { self.spec.advertised_port };
        let self_rack = shared.parts.zone.as_deref().map(Into::into);
        let own_address = ListedBroker {
            id: BrokerId::new(1),
            host: self.spec.advertised_host.as_str().into(),
            port: advertised_port,
            rack: self_rack,
            is_present: true,
        };
        let acceptor = Arc::new(Door { spec: self.spec, own_address, shared, admission });
        let mut accepting = JoinSet::new();
        for socket in self.sockets {
            accepting.spawn(accept(socket, Arc::clone(&acceptor), close.clone()));
        }
        while accepting.join_next().await.is_some() {}
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has a socket of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What every connection of a listener shares.
struct Door {
    spec: ListenerSpec,
    /// This listener as a broker.
    own_address: ListedBroker,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
}

async fn accept(socket: TcpListener, door: Arc<Door>, mut close: watch::Receiver<bool>) {
    let mut phase = door.shared.phase.subscribe();
    let mut connections = JoinSet::new();
    loop {
        select! {
            biased;
            () = told(&mut phase, |phase| matches!(phase, Phase::Draining(_))) => break,
            () = told(&mut close, |close| *close) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, source)) => {
                    // Boxed, so that a connection that is turned away costs little.
                    connections.spawn(Box::pin(enter(stream, source, Arc::clone(&door))));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_ERROR_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    let drained = *phase.borrow();
    let end = async {
        match drained {
            // The connections close themselves; this is for one that cannot.
            Phase::Draining(deadline) => sleep_until(deadline + Duration::from_secs(6)).await,
            Phase::Open => sleep_until(Instant::now() + Duration::from_secs(6)).await,
        }
    };
    select! {
        biased;
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = end => connections.shutdown().await,
    }
}

/// Returns when the value is what is waited for; never if nobody is left to say so.
async fn told<T>(value: &mut watch::Receiver<T>, is_it: impl FnMut(&T) -> bool) {
    if value.wait_for(is_it).await.is_err() {
        pending::<()>().await;
    }
}

async fn enter(stream: TcpStream, source: SocketAddr, door: Arc<Door>) {
    let admitted = match door.admission.admit(source.ip()) {
        Ok(admitted) => admitted,
        Err(reason) => {
            door.shared.metrics.observe_turned_away(reason);
            tracing::debug!(%source, ?reason, "connection turned away");
            let transport = Transport::new(stream);
            let Some(_place) = door.admission.hold_turned_away() else {
                return transport.close_at_once().await;
            };
            sleep(TURNED_AWAY_HOLD).await;
            return transport.close().await;
        }
    };
    // Answers are small and awaited; Nagle's algorithm would hold them back. A failure costs latency only.
    drop(stream.set_nodelay(true));
    match &door.spec.security {
        ListenerSecurity::Iam(config) => {
            let config = Arc::clone(config);
            Box::pin(serve_iam(stream, source, door, config, admitted)).await;
        }
        ListenerSecurity::Plaintext { account, user } => {
            let (account, user) = (*account, user.clone());
            drop(admitted);
            Box::pin(serve_plaintext(stream, source, door, account, user)).await;
        }
    }
}

async fn serve_iam(
    stream: TcpStream,
    source: SocketAddr,
    door: Arc<Door>,
    config: Arc<ServerConfig>,
    admitted: Admitted,
) {
    let counted = door.shared.metrics.connection(ConnectionState::Unauthenticated);
    let limit = door.shared.config.authentication_max();
    let (stream, sni) = match timeout(limit, shake_hands(stream, source, &door, config)).await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => return tracing::debug!(%source, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%source, "TLS handshake not finished in time"),
    };
    let dialled = Dialled { bound: door.spec.bound_cluster, sni, default: door.spec.default_cluster };
    let unauthenticated = Unauthenticated {
        transport: Transport::new(stream),
        shared: Arc::clone(&door.shared),
        context: LoginContext { dialled, source, secure: true },
        own_address: door.own_address.clone(),
    };
    let authenticated = Box::pin(unauthenticated.authenticate()).await;
    drop((counted, admitted));
    if let Some(authenticated) = authenticated {
        serve(authenticated, &door.shared).await;
    }
}

/// The ClientHello is read first; the key work waits its turn.
async fn shake_hands(
    stream: TcpStream,
    source: SocketAddr,
    door: &Door,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream<TcpStream>, Option<String>)> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let sni = hello.client_hello().server_name().map(str::to_owned);
    let _turn = door.admission.handshake_turn(sni.as_deref(), source.ip()).await;
    Ok((hello.into_stream(config).await?, sni))
}

async fn serve_plaintext(
    stream: TcpStream,
    source: SocketAddr,
    door: Arc<Door>,
    account: AccountId,
    user: String,
) {
    let parts = &door.shared.parts;
    let cluster = door.spec.bound_cluster.and_then(|cluster| parts.catalog.cluster(cluster));
    let principal = parts.principals.user(account, &user).and_then(|user| principal_of(&user));
    let actor = principal.as_ref().and_then(actor_of);
    let (Some(cluster), Some(principal), Some(actor)) = (cluster, principal, actor) else {
        tracing::warn!(%source, %user, "plaintext connection without a cluster or user to act as");
        return Transport::new(stream).close().await;
    };
    let identity = Identity {
        arn: principal.arn().into(),
        principal,
        access_key_id: None,
        temporary: false,
        actor: Arc::new(actor),
        session_policy: None,
        source: Source {
            address: source.ip().to_canonical(),
            secure: false,
            user_agent: None,
            token_issued_at: None,
        },
    };
    let connection = match ConnectionLease::take(&door.shared, &cluster).await {
        Ok(connection) => connection,
        Err(over) => {
            door.shared.metrics.observe_turned_away(TurnedAway::Quota);
            tracing::debug!(%source, quota = %over.quota, "connection over its cluster's quota");
            sleep(TURNED_AWAY_HOLD).await;
            return Transport::new(stream).close().await;
        }
    };
    let reached = Reached { cluster: cluster.id, dialled_as: DialledAs::Address };
    let brokers = BrokerSource::of(&parts.names, reached, door.own_address.clone(), parts.fleet.as_ref());
    let session = Session::new(Arc::clone(&door.shared), &cluster, brokers, source, identity, connection);
    let dialled = Dialled { bound: door.spec.bound_cluster, ..Dialled::default() };
    let opened = Opened {
        session: Arc::new(session),
        login: None,
        context: LoginContext { dialled, source, secure: false },
    };
    serve(Authenticated::new(Transport::new(stream), opened), &door.shared).await;
}

async fn serve<S: ByteStream>(authenticated: Authenticated<S>, shared: &Shared) {
    let _counted = shared.metrics.connection(ConnectionState::Authenticated);
    let span = authenticated.span();
    Box::pin(authenticated.serve().instrument(span)).await;
}
