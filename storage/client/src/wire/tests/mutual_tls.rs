//! TCP on loopback with certificates made for the test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use super::super::{
    CallError, ConnectError, Connection, Credentials, CredentialsError, Dialer, Message, Server, TlsDialer,
    TlsListener, WireLimits,
};
use super::{Echo, message};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str]) -> Result<Credentials, CredentialsError> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let uri = |name: &&str| SanType::URI((*name).try_into().expect("ASCII"));
        params.subject_alt_names = names.iter().map(uri).collect();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Credentials::from_pem(self.pem.as_bytes(), chain.as_bytes(), key.as_bytes())
    }

    fn storage(&self) -> Credentials {
        self.issue(&["headgate://cell/storage/1"]).expect("usable")
    }
}

async fn serve(service: &Arc<Echo>, credentials: &Credentials) -> (String, Server) {
    let listener = TlsListener::bind(([127, 0, 0, 1], 0).into(), credentials).await.expect("bound");
    let address = listener.local_address().expect("bound").to_string();
    (address, Server::start(listener, Arc::clone(service) as _, WireLimits::default()))
}

fn dialer(credentials: &Credentials) -> Dialer {
    Arc::new(TlsDialer::new(credentials).expect("usable"))
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let (authority, service) = (Authority::new(), Arc::new(Echo::default()));
    let (address, server) = serve(&service, &authority.storage()).await;
    let gateway = authority.issue(&["headgate://cell/gateway/a"]).expect("usable");
    let connection = Connection::open(&dialer(&gateway), &address).await.expect("admitted");
    assert_eq!(connection.peer().to_string(), "headgate://cell/storage/1");
    let sent = Message { payload: vec![Bytes::from(vec![7; 3 << 20]); 2], ..message(16, "large") };
    assert_eq!(connection.call(sent.clone()).await, Ok(sent));
    assert_eq!(service.asked.lock().expect("no panic")[0].0, *gateway.identity());
    server.shutdown(Duration::from_secs(5)).await;
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_server_of_another_authority_is_a_stranger() {
    let (address, _server) = serve(&Arc::new(Echo::default()), &Authority::new().storage()).await;
    let refused = Connection::open(&dialer(&Authority::new().storage()), &address).await;
    assert!(matches!(refused, Err(ConnectError::Stranger { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_server_of_another_cell_is_a_stranger() {
    let authority = Authority::new();
    let (address, _server) = serve(&Arc::new(Echo::default()), &authority.storage()).await;
    let other = authority.issue(&["headgate://other/gateway/a"]).expect("usable");
    let refused = Connection::open(&dialer(&other), &address).await;
    assert!(matches!(refused, Err(ConnectError::Stranger { .. })), "{refused:?}");
}

/// With TLS 1.3 the client's side of the handshake is over before the server has judged its certificate.
#[tokio::test]
async fn a_client_whose_certificate_the_server_does_not_believe_gets_no_answer() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let service = Arc::new(Echo::default());
    let (address, _server) = serve(&service, &ours.storage()).await;
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("headgate://cell/gateway/a".try_into().expect("ASCII"))];
    let certificate = params.signed_by(&key, &theirs.issuer).expect("signed");
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    // It believes the server's authority, and shows a certificate of another one.
    let forged =
        Credentials::from_pem(ours.pem.as_bytes(), chain.as_bytes(), key.as_bytes()).expect("readable");
    match Connection::open(&dialer(&forged), &address).await {
        Ok(connection) => {
            let answer = connection.call(message(16, "let me in")).await;
            assert!(matches!(answer, Err(CallError::Lost | CallError::NotSent)), "{answer:?}");
        }
        Err(error) => assert!(matches!(error, ConnectError::Stranger { .. }), "{error}"),
    }
    assert!(service.heads().is_empty());
}

#[test]
fn a_certificate_names_exactly_one_role() {
    let authority = Authority::new();
    for names in
        [&[][..], &["headgate://cell/storage/1", "headgate://cell/storage/2"], &["https://example.org/"]]
    {
        assert!(matches!(authority.issue(names), Err(CredentialsError::Identity(_))), "{names:?}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let refused = Connection::open(&dialer(&Authority::new().storage()), &address).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable { .. })), "{refused:?}");
}
