//! Intermediate values of SigV4 against published and captured ones: where a signature differs, these tell where.

use super::*;
use crate::access_key::SecretKey;
use crate::json::Json;
use crate::login::{ClaimedLogin, Mechanism};
use crate::unix_time::UnixTime;

const SECRET: &str = "secretEXAMPLEkey/0001+abc";
const SECURITY_TOKEN: &str = "FwoGtoken/with+chars==";
const BROKER: &str = "boot-abcd1234.c1.kafka-serverless.us-east-1.amazonaws.com";
const REGIONAL: &str = "kafka.us-east-1.amazonaws.com";

/// A payload of the four vectors that were cross-checked against botocore's SigV4QueryAuth.
fn payload(host: &str, token: Option<&str>, signature: &str) -> String {
    let token = token.map_or(String::new(), |token| format!(r#""x-amz-security-token":"{token}","#));
    format!(
        r#"{{"version":"2020_10_22","host":"{host}","user-agent":"x","action":"kafka-cluster:Connect",{token}
        "x-amz-algorithm":"AWS4-HMAC-SHA256","x-amz-date":"20260102T030405Z","x-amz-expires":"900",
        "x-amz-credential":"AKIDEXAMPLE00000001/20260102/us-east-1/kafka-cluster/aws4_request",
        "x-amz-signedheaders":"host","x-amz-signature":"{signature}"}}"#
    )
}

#[test]
fn a_signing_key_is_the_published_one() {
    let day = UnixTime::parse_amz_date("20260102T030405Z").unwrap();
    let key = SigningKey::derive(&SecretKey::new(SECRET), day, "us-east-1", "kafka-cluster");
    assert_eq!(key.to_hex(), "c0f04723934b56f58e5f013c523d07b3e4e5972782a7779d1578345278f46c08");
    assert!(!format!("{key:?}").contains("c0f0"));
    // AWS General Reference, "Examples of how to derive a signing key".
    let day = UnixTime::parse_amz_date("20150830T123600Z").unwrap();
    let secret = SecretKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let key = SigningKey::derive(&secret, day, "us-east-1", "iam");
    assert_eq!(key.to_hex(), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

#[test]
fn the_four_login_vectors_verify() {
    for (host, token, request_hash, signature) in [
        (
            BROKER,
            Some(SECURITY_TOKEN),
            Some("d6bd3980bfeae84055ad61624874ec6d5245c6f040a8a54f080662daeb438927"),
            "fe2d17fc1a841581544e511c8065b94345c74da8e8976815b119b122b040fbfb",
        ),
        (BROKER, None, None, "bacc8e12b7f8a1ddfc9847ba45c009759bf7fdadbed91251767b637674f2f1bc"),
        (
            REGIONAL,
            Some(SECURITY_TOKEN),
            Some("a8d278967181ec7df99b1a6c4fb0ede56a0bb031176d12107fabc880fb955163"),
            "3fa6f2d625f02754bd67db347a35e64d87d85aa446227014fc037dc8dda9290a",
        ),
        (REGIONAL, None, None, "42d136fd80caf9670e60c7528eb9cf37f014e691574ad732b954fa8825ce6e8a"),
    ] {
        let message = payload(host, token, signature);
        let claimed = ClaimedLogin::parse(Mechanism::AwsMskIam, message.as_bytes()).unwrap();
        let claim = claimed.claim_for_tests();
        if let Some(expected) = request_hash {
            assert_eq!(BodyHash::of(claim.canonical_request().as_bytes()).to_hex(), expected);
        }
        assert!(claim.is_signed_with(&SecretKey::new(SECRET)));
        assert!(!claim.is_signed_with(&SecretKey::new("another")));
    }
}

#[test]
fn captured_logins_have_the_canonical_request_and_string_to_sign_their_signers_made() {
    for line in include_str!("../../tests/captured_logins.jsonl").lines() {
        let captured: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| captured[key].as_str().unwrap().to_owned();
        let mechanism = Mechanism::from_name(&text("mechanism")).unwrap();
        let claimed = match mechanism {
            Mechanism::AwsMskIam => {
                ClaimedLogin::parse(mechanism, captured["raw"].to_string().as_bytes()).unwrap()
            }
            Mechanism::OauthBearer => {
                crate::oauthbearer::parse_url(captured["raw"]["url"].as_str().unwrap()).unwrap()
            }
        };
        let claim = claimed.claim_for_tests();
        assert_eq!(claim.canonical_request(), text("canonical_request"));
        assert_eq!(claim.string_to_sign_for_tests(), text("string_to_sign"));
        assert_eq!(
            claim.is_signed_with(&SecretKey::new(text("secret_key"))),
            captured["ok"].as_bool().unwrap()
        );
    }
}

#[test]
fn a_scope_of_another_day_than_the_date_is_refused() {
    let message = payload(BROKER, None, &"0".repeat(64)).replace("20260102T030405Z", "20260103T030405Z");
    assert!(Json::parse(message.as_bytes()).is_some());
    assert!(ClaimedLogin::parse(Mechanism::AwsMskIam, message.as_bytes()).is_err());
}
