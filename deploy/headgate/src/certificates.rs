//! The certificate authority of a data directory and the server certificate it signed.
//!
//! Made at the first start and found again later. The server certificate is made anew when the names it must carry change;
//! the authority never is, so that clients keep trusting it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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
    let ca_pem_path = dir.join("ca.pem");
    let ca_key_path = dir.join("ca.key");
    if !ca_key_path.exists() || !ca_pem_path.exists() {
        let key = KeyPair::generate().context("cannot make the authority's key")?;
        let certificate = authority().self_signed(&key).context("cannot sign the authority's certificate")?;
        write_private(&ca_key_path, key.serialize_pem().as_bytes())?;
        write_private(&ca_pem_path, certificate.pem().as_bytes())?;
    }
    let (pem_path, key_path, names_path) =
        (dir.join("server.pem"), dir.join("server.key"), dir.join("server.names"));
    let wanted = names.join("\n");
    if std::fs::read_to_string(&names_path).ok().as_deref() != Some(&wanted) || !pem_path.exists() {
        let ca_key = KeyPair::from_pem(&std::fs::read_to_string(&ca_key_path)?)
            .with_context(|| format!("{} is not a private key", ca_key_path.display()))?;
        let key = KeyPair::generate().context("cannot make the server's key")?;
        let mut params = CertificateParams::new(names.to_vec()).context("a certificate name is not valid")?;
        params.distinguished_name = named("headgate");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(authority(), ca_key);
        let certificate = params.signed_by(&key, &issuer).context("cannot sign the server's certificate")?;
        write_private(&key_path, key.serialize_pem().as_bytes())?;
        write_private(&pem_path, certificate.pem().as_bytes())?;
        write_private(&names_path, wanted.as_bytes())?;
    }
    let chain = CertificateDer::pem_file_iter(&pem_path)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&key_path)?;
    let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    // Kafka clients open few, long connections; two tickets save a resumption's round trip and cost little.
    server.send_tls13_tickets = 2;
    Ok(Certificates { ca_pem_path, server: Arc::new(server) })
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Headgate development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
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
