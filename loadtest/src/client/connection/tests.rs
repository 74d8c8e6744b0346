use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Request;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::sasl::Login;

/// How the server meets a token.
#[derive(Clone)]
struct Answers {
    authenticate: SaslAuthenticateResponse,
    versions: ApiVersionsResponse,
}

/// A TLS server that knows ApiVersions, the SASL requests and InitProducerId; stops when dropped.
struct LoginServer {
    address: HostPort,
    security: Security,
    logins: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

async fn start(mechanism: Mechanism, answers: Answers) -> LoginServer {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let logins = Arc::new(AtomicUsize::new(0));
    let counted = logins.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(server));
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let (reader, writer) = tokio::io::split(stream);
                // An error only ends the connection.
                let _ = serve(Box::new(reader), Box::new(writer), &answers, &counted).await;
            }
        }
    });
    LoginServer {
        address: HostPort { host: "localhost".to_owned(), port },
        security: iam(provider, cert.der(), mechanism),
        logins,
        _tasks: tasks,
    }
}

fn iam(
    provider: Arc<rustls::crypto::CryptoProvider>,
    ca: &CertificateDer<'static>,
    mechanism: Mechanism,
) -> Security {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).expect("a certificate");
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let login = Login {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
        region: "us-east-1".to_owned(),
        mechanism,
    };
    Security::Iam { tls: Arc::new(tls), login: Arc::new(login) }
}

async fn serve(
    mut reader: Reader,
    mut writer: Writer,
    answers: &Answers,
    logins: &AtomicUsize,
) -> anyhow::Result<()> {
    while let Some(mut frame) = read_frame(&mut reader).await? {
        let (api_key, _version, correlation_id) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
        let answer = match api_key {
            ApiVersionsRequest::KEY => encode::<ApiVersionsRequest>(correlation_id, &answers.versions)?,
            SaslHandshakeRequest::KEY => {
                encode::<SaslHandshakeRequest>(correlation_id, &SaslHandshakeResponse::default())?
            }
            SaslAuthenticateRequest::KEY => {
                logins.fetch_add(1, Ordering::Relaxed);
                encode::<SaslAuthenticateRequest>(correlation_id, &answers.authenticate)?
            }
            _ => encode::<InitProducerIdRequest>(correlation_id, &InitProducerIdResponse::default())?,
        };
        writer.write_all(&answer).await?;
        writer.flush().await?;
    }
    Ok(())
}

fn encode<R: PinnedApi>(correlation_id: i32, response: &R::Response) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::new();
    body.put_i32(correlation_id);
    if <R::Response as HeaderVersion>::header_version(R::VERSION) > 0 {
        body.put_u8(0);
    }
    response.encode(&mut body, R::VERSION)?;
    let mut frame = BytesMut::from(&(body.len() as i32).to_be_bytes()[..]);
    frame.put_slice(&body);
    Ok(frame.freeze())
}

fn all_versions() -> ApiVersionsResponse {
    let every =
        (0..100).map(|key| ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(20));
    ApiVersionsResponse::default().with_api_keys(every.collect())
}

fn accepting(session_lifetime_ms: i64) -> Answers {
    let authenticate = SaslAuthenticateResponse::default().with_session_lifetime_ms(session_lifetime_ms);
    Answers { authenticate, versions: all_versions() }
}

async fn open_error(mechanism: Mechanism, answers: Answers) -> anyhow::Error {
    let server = start(mechanism, answers).await;
    Connection::open(&server.address, &server.security).await.err().expect("refused")
}

#[tokio::test]
async fn a_login_over_tls_precedes_the_first_request() {
    for mechanism in [Mechanism::AwsMskIam, Mechanism::Oauthbearer] {
        let server = start(mechanism, accepting(0)).await;
        let mut connection = Connection::open(&server.address, &server.security).await.expect("opens");
        connection.call(&InitProducerIdRequest::default()).await.expect("answers");
        connection.call(&InitProducerIdRequest::default()).await.expect("answers");
        assert_eq!(server.logins.load(Ordering::Relaxed), 1);
        assert!(connection.reauthenticate_at().is_none());
    }
}

#[tokio::test]
async fn a_session_that_ends_is_renewed_before_the_next_request() {
    // 85 % of a lifetime of one millisecond is 0 ms: due at once.
    let server = start(Mechanism::AwsMskIam, accepting(1)).await;
    let mut connection = Connection::open(&server.address, &server.security).await.expect("opens");
    connection.call(&InitProducerIdRequest::default()).await.expect("answers");
    assert_eq!(server.logins.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refused_login_is_permanent_and_carries_the_reason() {
    let refused = SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(StrBytes::from_static_str("[id]: Access denied: signature does not match")));
    let error = open_error(Mechanism::AwsMskIam, Answers { authenticate: refused, ..accepting(0) }).await;
    assert!(Permanent::is_cause_of(&error));
    assert!(format!("{error:#}").contains("signature does not match"));
}

#[tokio::test]
async fn an_oauthbearer_challenge_is_a_refusal() {
    let challenge =
        SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from_static(b"{\"status\":\"invalid\"}"));
    let error = open_error(Mechanism::Oauthbearer, Answers { authenticate: challenge, ..accepting(0) }).await;
    assert!(Permanent::is_cause_of(&error));
    assert!(format!("{error:#}").contains("invalid"));
}

#[tokio::test]
async fn a_broker_without_the_versions_is_refused_by_name() {
    let answers = Answers { versions: ApiVersionsResponse::default(), ..accepting(0) };
    let error = open_error(Mechanism::AwsMskIam, answers).await;
    assert!(Permanent::is_cause_of(&error));
    assert!(format!("{error:#}").contains("Metadata"));
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_refused() {
    let server = start(Mechanism::AwsMskIam, accepting(0)).await;
    let other = start(Mechanism::AwsMskIam, accepting(0)).await;
    let error = Connection::open(&server.address, &other.security).await.err().expect("refused");
    assert!(format!("{error:#}").contains("TLS handshake"));
}

#[test]
fn requests_are_framed_with_their_length_key_version_and_correlation_id() {
    let frame = encode_request(7, &SaslHandshakeRequest::default()).expect("encodes");
    assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes());
    assert_eq!(frame[4..12], [0, 17, 0, 1, 0, 0, 0, 7]);
}

#[test]
fn an_answer_too_short_or_of_another_shape_is_an_error() {
    assert!(split_correlation_id(Bytes::from_static(&[0, 0, 1])).is_err());
    assert!(decode_response::<InitProducerIdRequest>(Bytes::from_static(&[0, 1, 2])).is_err());
    assert!(decode_response::<InitProducerIdRequest>(Bytes::new()).is_err());
}

#[tokio::test]
async fn frames_with_impossible_lengths_are_refused_without_reading_them() {
    for length in [-1, i32::MIN, i32::MAX] {
        let mut reader: Reader = Box::new(std::io::Cursor::new(length.to_be_bytes().to_vec()));
        assert!(read_frame(&mut reader).await.is_err(), "{length}");
    }
    let mut cut: Reader = Box::new(std::io::Cursor::new(vec![0, 0, 0, 9, 1, 2]));
    assert!(read_frame(&mut cut).await.is_err());
    let mut ended: Reader = Box::new(std::io::Cursor::new(Vec::new()));
    assert!(read_frame(&mut ended).await.expect("an orderly end").is_none());
}
