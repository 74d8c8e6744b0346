//! The certificate authority of a data directory and the server certificate it signed.
//!
//! Made at the first start and found again later. The server certificate is made anew when the names it must carry change;
//! the authority never is, so that clients keep trusting it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::Authority;
use crate::data_dir::{DataDir, create_private_dir, write_private};

/// What the TLS listener and clients need.
pub(crate) struct Certificates {
    /// The authority's certificate, for clients to trust.
    pub(crate) ca_pem_path: PathBuf,
    /// The server's certificate and key.
    pub(crate) server: Arc<ServerConfig>,
}

/// Loads the certificates of the data directory, making what is missing. `names` are host names and IP addresses.
pub(crate) fn load_or_create(data: &DataDir, names: &[String]) -> Result<Certificates> {
    let dir = data.join("tls");
    create_private_dir(&dir)?;
    let authority = Authority::load_or_create(&dir, "ca", "Headgate development CA")?;
    let names_path = dir.join("server.names");
    let wanted = names.join("\n");
    if std::fs::read_to_string(&names_path).ok().as_deref() != Some(&wanted)
        || !dir.join("server.pem").exists()
    {
        authority.issue_server(&dir, "server", names)?;
        write_private(&names_path, wanted.as_bytes())?;
    }
    let server = load_server(&dir, "server")?;
    Ok(Certificates { ca_pem_path: authority.pem_path, server })
}

/// Loads `<stem>.pem` and `<stem>.key` for a listener that Kafka clients connect to.
pub(crate) fn load_server(dir: &Path, stem: &str) -> Result<Arc<ServerConfig>> {
    let (pem_path, key_path) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
    let unreadable = |path: &Path| format!("cannot read the certificate or key {}", path.display());
    let chain = CertificateDer::pem_file_iter(&pem_path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unreadable(&pem_path))?;
    let key = PrivateKeyDer::from_pem_file(&key_path).with_context(|| unreadable(&key_path))?;
    let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    // Kafka clients open few, long connections; two tickets save a resumption's round trip and cost little.
    server.send_tls13_tickets = 2;
    Ok(Arc::new(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_and_the_server_certificate_follows_its_names() {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::hold(dir.path()).expect("held");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let first = load_or_create(&data, &names).expect("made");
        let ca = std::fs::read(&first.ca_pem_path).expect("readable");
        let server = std::fs::read(data.join("tls/server.pem")).expect("readable");
        load_or_create(&data, &names).expect("found again");
        assert_eq!(std::fs::read(data.join("tls/server.pem")).expect("readable"), server);
        let more = [names, vec!["broker.example".to_owned()]].concat();
        let again = load_or_create(&data, &more).expect("made anew");
        assert_ne!(std::fs::read(data.join("tls/server.pem")).expect("readable"), server);
        assert_eq!(std::fs::read(again.ca_pem_path).expect("readable"), ca);
    }
}
