//! `gateway/PROTOCOL.md` §6: bytes from strangers, and from friends who went wrong.

use headgate_gateway::GatewayConfig;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Harness;
use crate::support::client::{raw_request, request_frame};

#[tokio::test]
async fn before_authentication_only_three_requests_are_legal() {
    let harness = Harness::start().await;
    for (key, version) in [(3, 1), (0, 9), (1, 12), (12, 0), (22, 0), (60, 0)] {
        let mut client = harness.tls("localhost").await;
        client.send_frame(&raw_request(key, version, 1, &[0; 40])).await;
        client.expect_end().await;
    }
    let mut client = harness.tls("localhost").await;
    client.send_frame(&request_frame(1, 1, &MetadataRequest::default())).await;
    client.expect_end().await;
}

#[tokio::test]
async fn before_authentication_a_frame_is_at_most_64_kib() {
    let harness = Harness::start().await;
    for length in [64 * 1024 + 1, i32::MAX, -1] {
        let mut client = harness.tls("localhost").await;
        client.send_raw(&length.to_be_bytes()).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_login_without_a_handshake_is_out_of_order() {
    let harness = Harness::start().await;
    let mut client = harness.tls("localhost").await;
    client.send_frame(&raw_request(36, 1, 5, &[0, 0, 0, 1, b'x'])).await;
    let frame = client.receive_frame().await.expect("an answer");
    assert_eq!(&frame[4..6], [0, 34]);
    client.expect_end().await;
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_answered_and_the_connection_ended() {
    let harness = Harness::start().await;
    let mut client = harness.tls("localhost").await;
    client.send_frame(&raw_request(17, 1, 5, &[0, 5, b'P', b'L', b'A', b'I', b'N'])).await;
    let frame = client.receive_frame().await.expect("an answer");
    assert_eq!(&frame[4..6], [0, 33]);
    client.expect_end().await;
}

#[tokio::test]
async fn silence_before_authentication_is_ended_by_the_time_limit() {
    let harness =
        Harness::with(GatewayConfig { authentication_ms_max: 50, ..GatewayConfig::default() }).await;
    let mut client = harness.tls("localhost").await;
    client.send_raw(&[0, 0]).await;
    client.expect_end().await;
    // The same for somebody who never says hello.
    let mut tcp = harness.tcp_iam().await;
    assert_eq!(tcp.read(&mut [0; 16]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_length_out_of_bounds_ends_the_connection() {
    let harness = Harness::start().await;
    for length in [-1, i32::MIN, i32::MAX, 102 * 1024 * 1024] {
        let mut client = harness.client().await;
        client.send_raw(&length.to_be_bytes()).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn apis_and_versions_that_are_not_served_end_the_connection() {
    let harness = Harness::start().await;
    for (key, version) in [(4, 0), (28, 0), (68, 0), (999, 0), (-7, 0), (3, 14), (0, 2), (0, 0), (1, 3)] {
        let mut client = harness.client().await;
        client.send_frame(&raw_request(key, version, 1, &[])).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn huge_and_negative_counts_are_answered_or_end_the_connection_at_every_api_and_version() {
    let harness = Harness::start().await;
    for (key, first, last) in [
        (0, 3, 13),
        (1, 4, 18),
        (2, 1, 10),
        (3, 0, 13),
        (8, 2, 9),
        (9, 1, 9),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (19, 2, 7),
        (20, 1, 6),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (37, 0, 3),
        (42, 0, 2),
        (44, 0, 1),
    ] {
        for version in first..=last {
            for filler in [0x7f, 0xff, 0x80] {
                let mut client = harness.client().await;
                client.send_frame(&raw_request(key, version, 1, &[filler; 64])).await;
                client.send_end().await;
                client.expect_at_most_one_frame().await;
            }
        }
    }
    let mut client = harness.client().await;
    client.call(0, &ApiVersionsRequest::default()).await;
}

#[tokio::test]
async fn sasl_on_the_plaintext_listener_ends_the_connection() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    client.send_frame(&raw_request(17, 1, 5, &[&[0, 11][..], b"AWS_MSK_IAM"].concat())).await;
    client.expect_end().await;
}

#[tokio::test]
async fn plaintext_on_the_tls_listener_gets_no_kafka_answer() {
    let harness = Harness::start().await;
    let mut tcp = harness.tcp_iam().await;
    tcp.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).await.expect("the gateway reads");
    let mut rest = Vec::new();
    // A TLS alert at most.
    drop(tcp.read_to_end(&mut rest).await);
    assert!(rest.first().is_none_or(|byte| *byte == 21), "{rest:?}");
}

#[tokio::test]
async fn too_many_strangers_from_one_source_are_turned_away_and_others_served_on() {
    let config = GatewayConfig { unauthenticated_connections_per_source_max: 2, ..GatewayConfig::default() };
    let harness = Harness::with(config).await;
    let mut served = harness.client().await;
    let _held = (harness.tls("localhost").await, harness.tls("localhost").await);
    let mut turned_away = harness.tcp_iam().await;
    assert_eq!(turned_away.read(&mut [0; 16]).await.expect("an orderly end"), 0);
    served.call(0, &ApiVersionsRequest::default()).await;
}
