//! Frames, byte for byte.
//!
//! Source of the layouts: Kafka's message definitions (ApiVersionsResponse.json, SaslHandshakeResponse.json) and KIP-511.

use crate::support::Harness;
use crate::support::client::raw_request;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Key, first and last version of every API advertised.
const APIS: &str = "0000 0000 000d 0001 0004 0012 0002 0001 000a 0003 0000 000d 0008 0002 0009 0009 0001 0009 \
                    000a 0000 0006 000b 0000 0009 000c 0000 0004 000d 0000 0005 000e 0000 0005 000f 0000 0006 \
                    0010 0000 0005 0011 0000 0001 0012 0000 0004 0013 0002 0007 0014 0001 0006 0016 0000 0005 \
                    0017 0002 0004 0020 0001 0004 0024 0000 0002 0025 0000 0003 002a 0000 0002 002c 0000 0001 \
                    0030 0000 0001 0031 0000 0001 \
                    003c 0000 0002";

fn apis() -> String {
    APIS.split_whitespace().collect()
}

#[tokio::test]
async fn api_versions_0_lists_every_api() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    client.send_frame(&raw_request(18, 0, 7, &[])).await;
    let frame = client.receive_frame().await.expect("an answer");
    assert_eq!(hex(&frame), format!("00000007{}{}{}", "0000", "0000001b", apis()));
}

#[tokio::test]
async fn api_versions_3_is_compact_under_a_header_of_version_0() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    // No tagged fields in the header; name `a`, version `1`, no tagged fields.
    client.send_frame(&raw_request(18, 3, 7, &[0, 2, b'a', 2, b'1', 0])).await;
    let frame = client.receive_frame().await.expect("an answer");
    let rows = apis()
        .as_bytes()
        .chunks(12)
        .fold(String::new(), |rows, row| rows + &String::from_utf8_lossy(row) + "00");
    assert_eq!(hex(&frame), format!("00000007{}{}{rows}{}{}", "0000", "1c", "00000000", "00"));
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_gets_the_oldest_body_with_error_35() {
    let harness = Harness::start().await;
    for mut client in [harness.client().await, harness.tls("localhost").await] {
        client.send_frame(&raw_request(18, 99, 7, b"no one knows this body")).await;
        let frame = client.receive_frame().await.expect("an answer");
        assert_eq!(hex(&frame), format!("00000007{}{}{}", "0023", "0000001b", apis()));
        client.send_frame(&raw_request(18, 0, 8, &[])).await;
        assert!(client.receive_frame().await.is_some(), "the connection goes on");
    }
}

#[tokio::test]
async fn a_sasl_handshake_lists_both_mechanisms() {
    let harness = Harness::start().await;
    let mut client = harness.tls("localhost").await;
    client.send_frame(&raw_request(17, 1, 7, &[&[0, 11][..], b"OAUTHBEARER"].concat())).await;
    let frame = client.receive_frame().await.expect("an answer");
    let names = format!("000b{}000b{}", hex(b"AWS_MSK_IAM"), hex(b"OAUTHBEARER"));
    assert_eq!(hex(&frame), format!("00000007{}{}{names}", "0000", "00000002"));
}

#[tokio::test]
async fn a_client_software_name_out_of_its_alphabet_is_an_invalid_request() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    client.send_frame(&raw_request(18, 3, 7, &[0, 2, b'-', 2, b'1', 0])).await;
    let frame = client.receive_frame().await.expect("an answer");
    assert_eq!(&frame[4..6], [0, 42]);
}
