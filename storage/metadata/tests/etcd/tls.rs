//! TLS with certificates on both sides.

use std::path::Path;
use std::sync::Arc;

use headgate_metadata::etcd::{EtcdConfig, EtcdStore};
use headgate_metadata::store::{MetadataError, SharedStore};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::conformance::{put, write};
use crate::server::{Etcd, ServerTls};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, as PEM.
    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    /// Trusts this authority; shows a certificate where one is given.
    fn client(&self, identity: Option<&(String, String)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a CA");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let Some((certificate, key)) = identity else { return builder.with_no_client_auth() };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        builder.with_client_auth_cert(chain, key).expect("they belong together")
    }
}

fn secure_etcd(authority: &Authority, directory: &Path) -> Etcd {
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    Etcd::start_secure(ServerTls {
        certificate: write("server.pem", &certificate),
        key: write("server.key", &key),
        ca: write("ca.pem", &authority.pem),
    })
}

#[tokio::test]
async fn etcd_with_certificates_serves_who_shows_one_and_nobody_else() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().expect("a directory");
    let etcd = secure_etcd(&authority, directory.path());
    let endpoint = format!("https://127.0.0.1:{}", etcd.members[0].port);
    let store = |tls: ClientConfig| -> SharedStore {
        let config = EtcdConfig::new([endpoint.clone()], "main");
        Arc::new(EtcdStore::new(&config, Some(tls)).expect("a valid configuration"))
    };
    let identity = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let known = store(authority.client(Some(&identity)));
    while known.revision().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let start = write(&*known, [put("k", "1")]).await;
    let mut watch = known.watch("k", start).await.expect("watchable");
    write(&*known, [put("k", "2")]).await;
    assert_eq!(watch.next().await.expect("the watch is healthy").events.len(), 1);

    let unknown = store(authority.client(None)).get("k").await;
    assert!(matches!(unknown, Err(MetadataError::Unavailable { .. })), "{unknown:?}");
    let distrustful = store(stranger.client(Some(&identity))).get("k").await;
    assert!(matches!(distrustful, Err(MetadataError::Unavailable { .. })), "{distrustful:?}");
}
