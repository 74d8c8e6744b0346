//! Cluster policies, as a signing client sees them.

use headgate_metadata::{cluster_policies, clusters};

use crate::support::{Draft, Running, escape, start};

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"999999999999"},
    "Action":"kafka-cluster:*","Resource":"*"}]}"#;

async fn policy_path(running: &Running) -> String {
    let body = r#"{"clusterName":"orders","serverless":{"vpcConfigs":[{"subnetIds":["subnet-1"]}]}}"#;
    let arn = running.kafka("POST", "/api/v2/clusters", body).await.json()["clusterArn"].clone();
    let arn = arn.as_str().expect("an ARN").to_owned();
    running.active(&arn).await;
    format!("/v1/clusters/{}/policy", escape(&arn))
}

fn body(policy: &str, current: Option<&str>) -> String {
    serde_json::json!({ "policy": policy, "currentVersion": current }).to_string()
}

#[tokio::test]
async fn a_policy_is_put_read_replaced_by_its_version_and_deleted() {
    let running = start().await;
    let path = policy_path(&running).await;
    assert_eq!(running.kafka("GET", &path, "").await.refusal(), (404, "NotFoundException".into()));
    let put = running.kafka("PUT", &path, &body(POLICY, None)).await;
    let first = put.json()["currentVersion"].as_str().expect("a version").to_owned();
    let got = running.kafka("GET", &path, "").await.json();
    assert_eq!((&got["policy"], &got["currentVersion"]), (&POLICY.into(), &first.as_str().into()));
    let cluster = clusters::list(&*running.store).await.expect("readable").remove(0).id;
    let stored = cluster_policies::load(&*running.store, cluster).await.expect("readable").expect("there");
    assert_eq!((stored.policy.as_str(), stored.version.as_str()), (POLICY, first.as_str()));
    let replaced = running.kafka("PUT", &path, &body(POLICY, Some(&first))).await.json();
    assert_ne!(replaced["currentVersion"], first);
    let late = running.kafka("PUT", &path, &body(POLICY, Some(&first))).await;
    assert_eq!(late.refusal(), (400, "BadRequestException".into()));
    assert_eq!(late.json()["invalidParameter"], "currentVersion");
    assert_eq!(running.kafka("DELETE", &path, "").await.body, "{}");
    assert_eq!(running.kafka("DELETE", &path, "").await.refusal(), (404, "NotFoundException".into()));
}

#[tokio::test]
async fn a_policy_that_is_none_or_too_long_is_refused_by_its_name() {
    let running = start().await;
    let path = policy_path(&running).await;
    let long = POLICY.replace("999999999999", &"9".repeat(21_000));
    let resourceless = POLICY.replace(",\"Resource\":\"*\"", "");
    let identity = POLICY.replace("\"Principal\":{\"AWS\":\"999999999999\"},", "");
    for wrong in ["", "{", "[]", &long, &identity] {
        let refused = running.kafka("PUT", &path, &body(wrong, None)).await;
        assert_eq!(refused.refusal(), (400, "BadRequestException".into()), "{wrong:.40}");
        assert_eq!(refused.json()["invalidParameter"], "policy", "{wrong:.40}");
    }
    drop(resourceless);
    let none = running.kafka("PUT", &path, "{}").await;
    assert_eq!(none.json()["invalidParameter"], "policy");
    assert_eq!(running.kafka("GET", &path, "").await.status, 404, "nothing was kept");
}

#[tokio::test]
async fn who_may_not_put_a_policy_changes_nothing() {
    let running = start().await;
    let path = policy_path(&running).await;
    let ann = running.user("ann", None).await;
    let refused = running.call(&ann, &Draft::json("kafka", "PUT", &path, &body(POLICY, None))).await;
    assert_eq!(refused.refusal(), (403, "AccessDeniedException".into()));
    assert_eq!(running.kafka("GET", &path, "").await.status, 404);
}
