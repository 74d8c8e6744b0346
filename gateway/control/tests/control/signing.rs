//! What is refused before any operation sees it.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::support::{self, Draft, Signer, start, start_with};

fn kafka() -> Draft {
    Draft::json("kafka", "GET", "/v1/kafka-versions", "")
}

fn sts() -> Draft {
    Draft::query("sts", &[("Action", "GetCallerIdentity")])
}

#[tokio::test]
async fn an_unsigned_request_is_refused_in_the_dialect_of_its_path() {
    let running = start().await;
    let json = running.send(&kafka(), &[]).await;
    assert_eq!(json.refusal(), (403, "MissingAuthenticationTokenException".into()));
    assert_eq!(running.send(&sts(), &[]).await.refusal(), (403, "MissingAuthenticationToken".into()));
    let audited = running.last_audit();
    assert_eq!((audited.action.as_str(), audited.principal), ("control:unknown", None));
}

#[tokio::test]
async fn every_answer_has_a_date_and_a_request_id() {
    let running = start().await;
    for reply in [running.send(&kafka(), &[]).await, running.kafka("GET", "/v1/kafka-versions", "").await] {
        assert!(reply.headers.contains_key("date") && reply.headers.contains_key("x-amzn-requestid"));
    }
}

#[tokio::test]
async fn a_wrong_key_or_secret_is_told_apart_from_nothing_but_itself() {
    let running = start().await;
    let administrator = &running.administrator;
    let unknown = Signer { access_key_id: "AKIAUNKNOWN000000000".into(), ..administrator.clone() };
    let refused = running.call(&unknown, &kafka()).await;
    assert_eq!(refused.refusal(), (403, "UnrecognizedClientException".into()));
    assert_eq!(running.call(&unknown, &sts()).await.refusal(), (403, "InvalidClientTokenId".into()));
    let wrong = Signer { secret: "wrong".into(), ..administrator.clone() };
    assert_eq!(running.call(&wrong, &kafka()).await.refusal(), (403, "InvalidSignatureException".into()));
    assert_eq!(running.call(&wrong, &sts()).await.refusal(), (403, "SignatureDoesNotMatch".into()));
    assert_eq!(running.last_audit().action, "sts:GetCallerIdentity");
}

#[tokio::test]
async fn a_clock_more_than_five_minutes_off_is_told_both_times() {
    let running = start().await;
    let at = |offset: i64| {
        let offset_size = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { running.now() - offset_size } else { running.now() + offset_size }
    };
    for (offset, status) in [(-301, 403), (-299, 200), (299, 200), (301, 403)] {
        let headers = running.signed_headers(&running.administrator, &kafka(), at(offset));
        let reply = running.send(&kafka(), &headers).await;
        assert_eq!(reply.status, status, "{offset}: {}", reply.body);
        if status == 403 {
            assert_eq!(reply.refusal().1, "InvalidSignatureException");
            assert!(reply.body.contains("20261121T090640Z"), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn what_was_changed_after_signing_does_not_verify() {
    let running = start().await;
    let draft = Draft::json("kafka", "POST", "/api/v2/clusters?a=b", r#"{"clusterName":"a"}"#);
    let headers = running.signed_headers(&running.administrator, &draft, running.now());
    let changed = [
        Draft { body: r#"{"clusterName":"b"}"#.into(), ..draft.clone() },
        Draft { target: "/api/v2/clusters?a=c".into(), ..draft.clone() },
        Draft { target: "/api/v2/cluster?a=b".into(), ..draft.clone() },
        Draft { method: "PUT", ..draft.clone() },
    ];
    for other in changed {
        let refused = running.send(&other, &headers).await;
        assert_eq!(refused.refusal(), (403, "InvalidSignatureException".into()), "{other:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_signed_whole_is_refused() {
    let running = start().await;
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "00"] {
        let mut draft = kafka();
        draft.headers.push(("x-amz-content-sha256".into(), payload.into()));
        let refused = running.call(&running.administrator, &draft).await;
        assert_eq!(refused.refusal(), (403, "InvalidSignatureException".into()), "{payload}");
    }
}

#[tokio::test]
async fn a_service_or_region_that_is_not_ours_is_refused() {
    let running = start().await;
    let s3 = Draft::json("s3", "GET", "/bucket", "");
    let refused = running.call(&running.administrator, &s3).await;
    assert_eq!(refused.refusal(), (403, "InvalidSignatureException".into()));
    let elsewhere = Signer { region: "ap-south-1".into(), ..running.administrator.clone() };
    assert_eq!(running.call(&elsewhere, &kafka()).await.refusal(), (403, "InvalidSignatureException".into()));
    assert_eq!(running.call(&elsewhere, &sts()).await.refusal(), (403, "SignatureDoesNotMatch".into()));
}

#[tokio::test]
async fn a_malformed_authorization_is_incomplete() {
    let running = start().await;
    for value in [
        "Basic abc",
        "AWS4-HMAC-SHA256 nothing",
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x",
    ] {
        let refused = running.send(&kafka(), &[("authorization".into(), value.into())]).await;
        assert_eq!(refused.refusal(), (400, "IncompleteSignatureException".into()), "{value}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_at_the_limit_it_is_read() {
    let running = start_with(|config| config.request_bytes_max = 1_000).await;
    let body = |bytes: usize| Draft::json("kafka", "POST", "/api/v2/clusters", &" ".repeat(bytes));
    let large = running.call(&running.administrator, &body(1_001)).await;
    assert_eq!(large.refusal(), (413, "RequestEntityTooLargeException".into()));
    let read = running.call(&running.administrator, &body(1_000)).await;
    assert_eq!(read.refusal(), (400, "BadRequestException".into()));
}

#[tokio::test]
async fn a_principal_over_its_rate_is_throttled_in_either_dialect_and_others_are_not() {
    let running = start_with(|config| config.principal_requests_per_second = NonZeroU32::MIN).await;
    let kafka_refused = async || loop {
        let reply = running.call(&running.administrator, &kafka()).await;
        if reply.status != 200 {
            return reply;
        }
    };
    let refused = kafka_refused().await;
    assert_eq!(refused.refusal(), (429, "TooManyRequestsException".into()));
    assert_eq!(refused.headers["retry-after"], "1");
    let audited = running.last_audit();
    assert_eq!(audited.reason.as_deref(), Some("too many requests of this principal"));
    loop {
        let reply = running.call(&running.administrator, &sts()).await;
        if reply.status != 200 {
            assert_eq!(reply.refusal(), (400, "Throttling".into()));
            break;
        }
    }
}

#[tokio::test]
async fn a_source_over_its_rate_is_throttled_before_anything_is_verified() {
    let running = start_with(|config| config.source_requests_per_second = NonZeroU32::MIN).await;
    loop {
        let reply = running.send(&kafka(), &[]).await;
        if reply.status != 403 {
            assert_eq!(reply.refusal(), (429, "TooManyRequestsException".into()));
            break;
        }
    }
}

#[tokio::test]
async fn a_listener_off_loopback_is_refused_without_tls() {
    let refused = support::serve_on("0.0.0.0:0").await;
    assert!(refused.contains("without TLS"), "{refused}");
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_ends() {
    let running = start().await;
    assert_eq!(running.kafka("GET", "/v1/kafka-versions", "").await.status, 200);
    running.stop().await;
}
