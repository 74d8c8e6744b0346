//! TCP with mutual TLS 1.3: both ends prove by a certificate of the cell's authority which role and node they are.
//!
//! Host names take no part: nodes move between addresses, their identity does not. Tickets are off, so that every connection
//! proves a certificate that is valid now.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::reader::invalid;
use super::stream::{Dial, Handshake, Listen, Peer, tune};
use super::{InvalidIdentity, PeerIdentity};

/// The frame versions this release speaks, best first.
const ALPN: &[u8] = b"headgate/1";
/// What TLS gathers before it writes: larger than its default, so that large frames take few system calls.
const TLS_BUFFER_BYTES: usize = 256 << 10;
/// TLS wants a name for its extension; it is neither sent nor checked.
const UNUSED_NAME: &str = "headgate";

/// What a process proves itself with, and whom it believes.
pub struct Credentials {
    identity: PeerIdentity,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why credentials cannot be used. Only another file helps.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A text is not PEM, or holds nothing of the kind.
    #[error("{what} cannot be read: {source}")]
    Pem {
        /// Which of the three.
        what: &'static str,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate names no role of a cell.
    #[error("the certificate names no role: {0}")]
    Identity(#[from] InvalidIdentity),
    /// Certificate, key and authority do not fit together.
    #[error("certificate, key or authority is not usable: {0}")]
    Tls(#[from] Error),
    /// The authority's certificates cannot verify anybody.
    #[error("the authority is not usable: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

impl Credentials {
    /// Reads the authority's certificates, the own certificate chain and its key, all PEM.
    pub fn from_pem(authority: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let certificates = |what, pem| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match read {
                Ok(read) if read.is_empty() => Err(rustls_pki_types::pem::Error::NoItemsFound),
                read => read,
            }
            .map_err(|source| CredentialsError::Pem { what, source })
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the authority's certificate", authority)? {
            roots.add(certificate)?;
        }
        let chain = certificates("the certificate", chain)?;
        let identity = identity_of(&chain[0])?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| CredentialsError::Pem { what: "the private key", source })?;
        Ok(Self { identity, roots: Arc::new(roots), chain, key })
    }

    /// Who the certificate says this process is.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }
}

/// The one URI of ours among the certificate's names.
fn identity_of(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, InvalidIdentity> {
    let unreadable = |_| InvalidIdentity("an unreadable certificate".to_owned());
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(unreadable)?;
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => name.parse(),
        (None, _) => Err(InvalidIdentity(String::new())),
        (Some(_), Some(_)) => Err(InvalidIdentity("several URIs".to_owned())),
    }
}

/// AES-128 first: it is a third cheaper than AES-256 where most CPU goes, and as good as unbreakable.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

/// Checks that the peer presented an identity of our cell. The chain was verified in the handshake.
fn admit(own: &PeerIdentity, chain: Option<&[CertificateDer<'_>]>) -> io::Result<PeerIdentity> {
    let leaf = chain.and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(|| invalid(InvalidIdentity("no certificate".to_owned())))?;
    let identity = identity_of(leaf).map_err(invalid)?;
    if identity.cell != own.cell {
        return Err(invalid(InvalidIdentity(format!("{identity}, of another cell than {}", own.cell))));
    }
    Ok(identity)
}

/// Dials with mutual TLS.
#[derive(Clone)]
pub struct TlsDialer {
    identity: PeerIdentity,
    connector: TlsConnector,
}

impl TlsDialer {
    /// A dialer that proves itself with `credentials`.
    pub fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let provider = provider();
        let verifier = CellVerifier {
            roots: Arc::clone(&credentials.roots),
            algorithms: provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self { identity: credentials.identity.clone(), connector: TlsConnector::from(Arc::new(config)) })
    }
}

#[async_trait]
impl Dial for TlsDialer {
    async fn dial(&self, address: &str) -> io::Result<Peer> {
        let stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        let name = ServerName::try_from(UNUSED_NAME).expect("a constant that is a DNS name");
        let enlarge = |tls: &mut rustls::ClientConnection| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let stream = self.connector.connect_with(name, stream, enlarge).await?;
        let identity = admit(&self.identity, stream.get_ref().1.peer_certificates())?;
        Ok(Peer { stream: Box::new(stream), identity })
    }
}

/// Accepts with mutual TLS.
pub struct TlsListener {
    socket: TcpListener,
    identity: PeerIdentity,
    acceptor: TlsAcceptor,
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
    /// See [`CredentialsError`].
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl TlsListener {
    /// Binds and proves itself with `credentials`.
    pub async fn bind(address: SocketAddr, credentials: &Credentials) -> Result<Self, ListenError> {
        let config = server_config(credentials)?;
        let socket =
            TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })?;
        let identity = credentials.identity.clone();
        Ok(Self { socket, identity, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
    /// The address bound.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn server_config(credentials: &Credentials) -> Result<ServerConfig, CredentialsError> {
    let provider = provider();
    let roots = Arc::clone(&credentials.roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[async_trait]
impl Listen for TlsListener {
    async fn accept(&mut self) -> io::Result<Handshake> {
        let (stream, _) = self.socket.accept().await?;
        let (acceptor, own) = (self.acceptor.clone(), self.identity.clone());
        Ok(Box::pin(async move {
            tune(&stream)?;
            let enlarge = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
            let stream = acceptor.accept_with(stream, enlarge).await?;
            let identity = admit(&own, stream.get_ref().1.peer_certificates())?;
            Ok(Peer { stream: Box::new(stream), identity })
        }))
    }
}

/// Believes a server whose certificate chains up to the cell's authority; which node it is, is read from the certificate later.
#[derive(Debug)]
struct CellVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for CellVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Not reached: only TLS 1.3 is offered.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
