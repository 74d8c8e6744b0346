//! The server's certificate, replaceable while connections are served.

use std::fmt;
use std::sync::{Arc, RwLock};

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};

/// The certificate that new connections get. One wildcard certificate covers a cell, so every name gets the same.
pub struct CertificateSlot(RwLock<Arc<CertifiedKey>>);

impl CertificateSlot {
    /// Begins with this certificate.
    pub fn new(certificate: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(certificate))))
    }

    /// New connections get this one from now on.
    pub fn replace(&self, certificate: CertifiedKey) {
        *self.0.write().expect("nobody panics while holding the certificate") = Arc::new(certificate);
    }
}

impl fmt::Debug for CertificateSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CertificateSlot")
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("nobody panics while holding the certificate")))
    }
}

/// TLS 1.2 and 1.3 with the certificate of `slot`; clients prove themselves by SASL, not by certificates.
pub fn server_config(
    provider: Arc<CryptoProvider>,
    slot: Arc<CertificateSlot>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_no_client_auth().with_cert_resolver(slot)))
}
