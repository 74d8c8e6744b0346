//! Cluster policies, as a signing client sees them.

use headgate_metadata::{cluster_policies, clusters};

use crate::support::{Draft, Running, Signer, escape, start};

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
    let identity = POLICY.replace("\"Principal\":{\"AWS\":\"999999999999\"},", "");
    for wrong in ["", "{", "[]", &long, &identity] {
        let refused = running.kafka("PUT", &path, &body(wrong, None)).await;
        assert_eq!(refused.refusal(), (400, "BadRequestException".into()), "{wrong:.40}");
        assert_eq!(refused.json()["invalidParameter"], "policy", "{wrong:.40}");
    }
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

const STRANGERS: &str = "999999999999";

/// What each call says to the stranger, by its path behind the cluster's ARN.
async fn tried(running: &Running, stranger: &Signer, arn: &str) -> Vec<u16> {
    let topic = r#"{"topicName":"orders","partitionCount":1,"replicationFactor":3}"#;
    let (v1, v2) = (format!("/v1/clusters/{}", escape(arn)), format!("/api/v2/clusters/{}", escape(arn)));
    let mut statuses = Vec::new();
    for (method, path, body) in [
        ("GET", v2, ""),
        ("GET", format!("{v1}/bootstrap-brokers"), ""),
        ("POST", format!("{v1}/topics"), topic),
        ("GET", format!("{v1}/topics/orders"), ""),
        ("GET", format!("{v1}/policy"), ""),
        ("DELETE", v1, ""),
    ] {
        statuses.push(running.call(stranger, &Draft::json("kafka", method, &path, body)).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_policy_opens_to_another_account_what_whoever_connects_needs_and_no_more() {
    let running = start().await;
    let stranger = running.stranger(STRANGERS).await;
    let path = policy_path(&running).await;
    let arn =
        running.kafka("GET", "/api/v2/clusters", "").await.json()["clusterInfoList"][0]["clusterArn"].clone();
    let arn = arn.as_str().expect("an ARN");
    assert_eq!(tried(&running, &stranger, arn).await, [403; 6], "without a policy");
    let everything = POLICY.replace("\"kafka-cluster:*\"", "[\"kafka:*\",\"kafka-cluster:*\"]");
    assert_eq!(running.kafka("PUT", &path, &body(&everything, None)).await.status, 200);
    assert_eq!(tried(&running, &stranger, arn).await, [200, 200, 200, 200, 403, 403]);
    let listed = Draft::json("kafka", "GET", &format!("/v1/clusters/{}/topics", escape(arn)), "");
    assert_eq!(running.call(&stranger, &listed).await.json()["topics"][0]["topicName"], "orders");
}

#[tokio::test]
async fn a_deny_in_the_policy_counts_for_the_owner_too_but_never_locks_it_out_of_the_policy() {
    let running = start().await;
    let path = policy_path(&running).await;
    let everybody = POLICY
        .replace("\"Allow\"", "\"Deny\"")
        .replace("{\"AWS\":\"999999999999\"}", "\"*\"")
        .replace("kafka-cluster:*", "*");
    assert_eq!(running.kafka("PUT", &path, &body(&everybody, None)).await.status, 200);
    let brokers = path.replace("/policy", "/bootstrap-brokers");
    assert_eq!(running.kafka("GET", &brokers, "").await.status, 403);
    assert_eq!(running.kafka("GET", &path, "").await.json()["policy"], everybody);
    assert_eq!(running.kafka("DELETE", &path, "").await.status, 200);
    assert_eq!(running.kafka("GET", &brokers, "").await.status, 200);
}
