//! Slow, many and encrypted connections.

use std::sync::Arc;
use std::time::Duration;

use headgate_control::{ControlConfig, ControlServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{self, Draft, Running, start_with};

async fn impatient() -> Running {
    start_with(|config| config.receive_max = Duration::from_millis(50)).await
}

async fn rest(mut socket: TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an orderly close");
    answer
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let running = impatient().await;
    let mut socket = TcpStream::connect(running.address).await.expect("the server listens");
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.expect("sent");
    assert!(!rest(socket).await.contains("200 OK"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_request_timeout() {
    let running = impatient().await;
    let mut socket = TcpStream::connect(running.address).await.expect("the server listens");
    let head = b"POST /api/v2/clusters HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    socket.write_all(head).await.expect("sent");
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("RequestTimeoutException") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_gets_its_answer() {
    let running = start_with(|_| ()).await;
    let draft = Draft::json("kafka", "POST", "/api/v2/clusters", &" ".repeat(8 << 20));
    let refused = running.call(&running.administrator, &draft).await;
    assert_eq!(refused.refusal(), (413, "RequestEntityTooLargeException".into()));
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_a_place() {
    let running = start_with(|config| {
        config.connections_max = 1;
        config.receive_max = Duration::from_millis(50);
    })
    .await;
    let idle = TcpStream::connect(running.address).await.expect("the server listens");
    let reply = running.send(&Draft::json("", "GET", "/healthz", ""), &[]).await;
    assert_eq!(reply.status, 200, "the idle one was ended to make room");
    drop(idle);
}

#[tokio::test]
async fn bodies_beyond_the_bytes_in_flight_wait_and_do_not_fail_others() {
    let running = start_with(|config| {
        config.request_bytes_max = 1_024;
        config.in_flight_bytes_max = 1_024;
        config.receive_max = Duration::from_millis(50);
    })
    .await;
    let mut slow = TcpStream::connect(running.address).await.expect("the server listens");
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    slow.write_all(head).await.expect("sent");
    let health = running.send(&Draft::json("", "GET", "/healthz", ""), &[]).await;
    assert_eq!(health.status, 200, "requests without a body need no room");
    assert!(rest(slow).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(running.kafka("POST", "/api/v2/clusters", "{").await.status, 400, "the room came back");
}

#[tokio::test]
async fn over_tls_the_same_api_is_served() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let certificate = certified.cert.der().clone();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("the key fits");
    let components = support::fresh_components().await;
    let control = ControlServer::new(
        ControlConfig::new("eu-west-1", 64),
        components,
        Some(TlsAcceptor::from(Arc::new(server))),
    )
    .expect("valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let served = tokio::spawn(async move { control.serve(listener, std::future::pending()).await });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(address).await.expect("the server listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, socket).await.expect("trusted");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    // The server need not say goodbye on the TLS layer after its last answer.
    drop(stream.read_to_string(&mut answer).await);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    served.abort();
}
