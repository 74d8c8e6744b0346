//! Cases around the login: requests that come too early, and logins that are no logins.

use bytes::Bytes;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{CORRELATION_ID, Case};
use crate::client::api::PinnedApi;
use crate::client::connection::encode_request;

/// Well-formed requests. On a listener without login they are ordinary and change nothing.
pub(super) fn add_premature(cases: &mut Vec<Case>) {
    add_one(cases, &MetadataRequest::default().with_topics(None));
    add_one(cases, &CreateTopicsRequest::default());
    add_one(
        cases,
        &InitProducerIdRequest::default().with_transactional_id(None).with_producer_id((-1).into()),
    );
    add_one(cases, &ListOffsetsRequest::default());
    add_one(cases, &ProduceRequest::default().with_transactional_id(None).with_acks(-1));
    add_one(cases, &FetchRequest::default().with_session_epoch(-1));
}

/// Handshakes and tokens that nobody may accept; JSON bombs among them.
pub(super) fn add_bad_logins(cases: &mut Vec<Case>) {
    for mechanism in ["PLAIN", "", "SCRAM-SHA-512", "AWS_MSK_IAM\u{0}"] {
        add(cases, format!("handshake for {mechanism:?}"), &[handshake(mechanism)]);
    }
    let deep = "[".repeat(50_000);
    let tokens: [(&str, &[u8]); 8] = [
        ("no bytes", b""),
        ("an open brace", b"{"),
        ("an empty object", b"{}"),
        ("not UTF-8", b"\xff\xfe\xfd"),
        ("50000 brackets", deep.as_bytes()),
        ("a bearer of nothing", b"n,,\x01auth=Bearer \x01\x01"),
        ("a bearer that is no base64", b"n,,\x01auth=Bearer %%%%\x01\x01"),
        ("70000 bytes", &vec![b'A'; 70_000]),
    ];
    for (what, token) in tokens {
        add(cases, format!("token without a handshake: {what}"), &[authenticate(token)]);
        for mechanism in ["AWS_MSK_IAM", "OAUTHBEARER"] {
            add(cases, format!("{mechanism} token: {what}"), &[handshake(mechanism), authenticate(token)]);
        }
    }
    let twice = [handshake("AWS_MSK_IAM"), handshake("OAUTHBEARER"), authenticate(b"{}")];
    add(cases, "two handshakes".to_owned(), &twice);
}

fn handshake(mechanism: &str) -> Bytes {
    frame(&SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned())))
}

fn authenticate(token: &[u8]) -> Bytes {
    frame(&SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(token)))
}

fn frame<R: PinnedApi>(request: &R) -> Bytes {
    encode_request(CORRELATION_ID, request)
        .expect("the request is small and has no field that its version lacks")
}

fn add_one<R: PinnedApi>(cases: &mut Vec<Case>, request: &R) {
    cases.push(Case::new("well-formed", format!("a well-formed {}", R::NAME), frame(request).to_vec()));
}

fn add(cases: &mut Vec<Case>, name: String, frames: &[Bytes]) {
    let (before_login, answers_max) = (true, frames.len());
    cases.push(Case { before_login, answers_max, ..Case::new("login", name, frames.concat()) });
}
