//! Dials an address, in plain TCP or TLS, and hands out the two directions.

use std::time::Duration;

use anyhow::Context;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::endpoint::{HostPort, Security};

/// How long a dial with its TLS handshake may take.
pub(crate) const DIAL_TIME_MAX: Duration = Duration::from_secs(10);

/// The receiving direction.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// The sending direction.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// Connects; nobody is logged in yet.
pub(crate) async fn dial(address: &HostPort, security: &Security) -> anyhow::Result<(Reader, Writer)> {
    timeout(DIAL_TIME_MAX, dial_unbounded(address, security))
        .await
        .with_context(|| format!("dialling {address} took longer than {DIAL_TIME_MAX:?}"))?
}

async fn dial_unbounded(address: &HostPort, security: &Security) -> anyhow::Result<(Reader, Writer)> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    match security {
        Security::Plaintext => {
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Security::Iam { tls, .. } => {
            let name = ServerName::try_from(address.host.clone()).context("the host cannot be a TLS name")?;
            let stream = TlsConnector::from(tls.clone())
                .connect(name, stream)
                .await
                .with_context(|| format!("TLS handshake with {address} failed"))?;
            let (reader, writer) = tokio::io::split(stream);
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}
