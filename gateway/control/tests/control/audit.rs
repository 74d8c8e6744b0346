//! What the audit log says of calls, and what it never says.

use headgate_metadata::audit::AuditResult;
use serde_json::json;

use crate::support::{self, Draft, start, start_with};

#[tokio::test]
async fn a_change_is_told_with_its_parameters_and_its_answer() {
    let running = start().await;
    let body = r#"{"clusterName":"orders","serverless":{"vpcConfigs":[{"subnetIds":["subnet-1"]}]}}"#;
    let mut draft = Draft::json("kafka", "POST", "/api/v2/clusters", body);
    draft.headers.push(("user-agent".into(), "aws-cli/1".into()));
    let created = running.call(&running.administrator, &draft).await;
    let record = running.last_audit();
    assert_eq!((record.action.as_str(), record.result), ("kafka:CreateClusterV2", AuditResult::Allowed));
    let details = record.details;
    assert_eq!(details.request.expect("shown")["clusterName"], "orders");
    assert_eq!(details.response.expect("shown"), created.json());
    assert_eq!(details.request_id, created.headers.get("x-amzn-requestid").cloned());
    assert_eq!(details.user_agent.as_deref(), Some("aws-cli/1"));
    assert_eq!(details.access_key_id.as_deref(), Some("AKIAADMINISTRATOR000"));
    assert!(!details.read_only);
    let arn = created.json()["clusterArn"].as_str().expect("an ARN").to_owned();
    running.kafka("GET", &format!("/api/v2/clusters/{}", support::escape(&arn)), "").await;
    let details = running.last_audit().details;
    assert_eq!(details.request, Some(json!({"clusterArn": arn})));
    assert_eq!((details.response, details.read_only), (None, true), "what is only looked at is not repeated");
}

#[tokio::test]
async fn no_secret_is_ever_told() {
    let running = start().await;
    let ann = running.user("ann", Some(support::ADMINISTRATOR)).await;
    let created = running.last_audit().details.response.expect("shown");
    assert_eq!(created["accessKey"]["accessKeyId"], ann.access_key_id);
    let session = running.call(&ann, &Draft::query("sts", &[("Action", "GetSessionToken")])).await;
    let shown = running.last_audit().details.response;
    assert_eq!(
        shown,
        Some(
            json!({"credentials": {"accessKeyId": session.xml("AccessKeyId"), "expiration": session.xml("Expiration")}})
        )
    );
    let body = r#"{"userName":"ann","durationSeconds":60}"#;
    let native = running.native("POST", "/headgate/v1/sessions", body).await.json();
    let login = [("UserName", "ann"), ("Password", "correct horse")];
    assert_eq!(running.iam("CreateLoginProfile", &login).await.status, 400, "nobody has a password here");
    let request = running.last_audit().details.request.expect("shown");
    assert_eq!(request, json!({"userName": "ann", "password": "HIDDEN_DUE_TO_SECURITY_REASONS"}));
    let secrets = [
        "correct horse".to_owned(),
        ann.secret.clone(),
        session.xml("SecretAccessKey"),
        session.xml("SessionToken"),
        native["secretAccessKey"].as_str().expect("a secret").to_owned(),
        native["sessionToken"].as_str().expect("a token").to_owned(),
    ];
    for record in running.audit.records() {
        let told = format!("{record:?}");
        assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
    }
}

#[tokio::test]
async fn a_stranger_cannot_write_into_the_log() {
    let running = start().await;
    let body = format!(r#"{{"clusterName":"{}"}}"#, "x".repeat(1_000));
    let refused = running.send(&Draft::json("kafka", "POST", "/api/v2/clusters", &body), &[]).await;
    assert_eq!(refused.refusal().1, "MissingAuthenticationTokenException");
    let record = running.last_audit();
    assert_eq!((record.details.request, record.principal), (None, None));
    assert_eq!(record.details.error_code.as_deref(), Some("MissingAuthenticationTokenException"));
    let ann = running.user("ann", Some(support::ADMINISTRATOR)).await;
    let long = [("Action", "CreateUser"), ("UserName", &"y".repeat(100_000))];
    running.call(&ann, &Draft::query("iam", &long)).await;
    assert_eq!(running.last_audit().details.request, None, "what is too long is left out");
}

#[tokio::test]
async fn a_flood_is_counted_and_not_written_down_line_by_line() {
    let running = start_with(|config| config.principal_requests_per_second = std::num::NonZeroU32::MIN).await;
    let list = Draft::query("iam", &[("Action", "ListUsers")]);
    let mut throttled = 0;
    for _ in 0..100 {
        throttled += usize::from(running.call(&running.administrator, &list).await.status == 400);
    }
    let told = running.audit.records().iter().filter(|record| record.result == AuditResult::Denied).count();
    assert!(throttled > 50 && told >= 1 && told < throttled, "{told} of {throttled}");
}
