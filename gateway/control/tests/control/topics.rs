//! The topic calls of the `kafka` service, as a signing client sees them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Draft, RULED_OUT, Running, escape, start};

async fn cluster(running: &Running) -> String {
    let body = r#"{"clusterName":"orders","serverless":{"vpcConfigs":[{"subnetIds":["subnet-1"]}]}}"#;
    let arn = running.kafka("POST", "/api/v2/clusters", body).await.json()["clusterArn"].clone();
    let arn = arn.as_str().expect("an ARN").to_owned();
    running.active(&arn).await;
    arn
}

fn topics_of(arn: &str) -> String {
    format!("/v1/clusters/{}/topics", escape(arn))
}

fn new(name: &str, partitions: u32) -> String {
    format!(r#"{{"topicName":"{name}","partitionCount":{partitions},"replicationFactor":3}}"#)
}

#[tokio::test]
async fn a_topic_is_created_described_updated_and_deleted() {
    let running = start().await;
    let arn = cluster(&running).await;
    let path = topics_of(&arn);
    let configs = STANDARD.encode(r#"{"retention.ms":"60000"}"#);
    let body =
        format!(r#"{{"topicName":"clicks","partitionCount":2,"replicationFactor":3,"configs":"{configs}"}}"#);
    let created = running.kafka("POST", &path, &body).await.json();
    let topic_arn = format!("{}/clicks", arn.replace(":cluster/", ":topic/"));
    assert_eq!(
        created,
        serde_json::json!({"topicArn": topic_arn, "topicName": "clicks", "status": "ACTIVE"})
    );
    let described = running.kafka("GET", &format!("{path}/clicks"), "").await.json();
    assert_eq!((&described["partitionCount"], &described["replicationFactor"]), (&2.into(), &3.into()));
    assert_eq!(described["configs"], configs);
    let grow = r#"{"partitionCount":3}"#;
    assert_eq!(running.kafka("PUT", &format!("{path}/clicks"), grow).await.json()["status"], "ACTIVE");
    let partitions = running.kafka("GET", &format!("{path}/clicks/partitions?maxResults=2"), "").await.json();
    assert_eq!(
        partitions["partitions"][1],
        serde_json::json!({"partition": 1, "leader": 1, "replicas": [1, 2, 3], "isr": [1, 2, 3]})
    );
    let token = partitions["nextToken"].as_str().expect("one more");
    let rest =
        running.kafka("GET", &format!("{path}/clicks/partitions?maxResults=2&nextToken={token}"), "").await;
    assert_eq!(rest.json()["partitions"][0]["partition"], 2);
    let deleted = running.kafka("DELETE", &format!("{path}/clicks"), "").await.json();
    assert_eq!(deleted["status"], "DELETING");
    let gone = running.kafka("GET", &format!("{path}/clicks"), "").await;
    assert_eq!(gone.refusal(), (404, "NotFoundException".into()));
}

#[tokio::test]
async fn topics_are_listed_in_pages_by_prefix_and_as_far_as_they_may_be_described() {
    let running = start().await;
    let arn = cluster(&running).await;
    let path = topics_of(&arn);
    for name in ["b-2", "a", "b-1"] {
        assert_eq!(running.kafka("POST", &path, &new(name, 1)).await.status, 200);
    }
    let names = |reply: &crate::support::Reply| -> Vec<String> {
        let json = reply.json();
        let list = json["topics"].as_array().expect("a list");
        list.iter().map(|topic| topic["topicName"].as_str().expect("a name").to_owned()).collect()
    };
    let first = running.kafka("GET", &format!("{path}?maxResults=2"), "").await;
    assert_eq!(names(&first), ["a", "b-1"]);
    let token = first.json()["nextToken"].as_str().expect("more").to_owned();
    let second = running.kafka("GET", &format!("{path}?nextToken={token}"), "").await;
    assert_eq!(names(&second), ["b-2"]);
    assert_eq!(names(&running.kafka("GET", &format!("{path}?topicNameFilter=b"), "").await), ["b-1", "b-2"]);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kafka-cluster:Connect","Resource":"*"},
        {"Effect":"Allow","Action":"kafka-cluster:DescribeTopic","Resource":"arn:aws:kafka:*:*:topic/*/b-2"}]}"#;
    let ann = running.user("ann", Some(policy)).await;
    assert_eq!(names(&running.call(&ann, &Draft::json("kafka", "GET", &path, "")).await), ["b-2"]);
}

#[tokio::test]
async fn a_topic_call_needs_the_rights_of_the_kafka_request() {
    let running = start().await;
    let arn = cluster(&running).await;
    let path = topics_of(&arn);
    let kafka_only =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kafka:*","Resource":"*"}]}"#;
    let ann = running.user("ann", Some(kafka_only)).await;
    let create = Draft::json("kafka", "POST", &path, &new("clicks", 1));
    let refused = running.call(&ann, &create).await;
    assert_eq!(refused.refusal(), (403, "AccessDeniedException".into()));
    assert!(refused.body.contains("kafka-cluster:Connect"), "{}", refused.body);
    let rights = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kafka-cluster:Connect",
        "kafka-cluster:CreateTopic"],"Resource":"*"}]}"#;
    let bob = running.user("bob", Some(rights)).await;
    assert_eq!(running.call(&bob, &create).await.status, 200);
    let delete = Draft::json("kafka", "DELETE", &format!("{path}/clicks"), "");
    let refused = running.call(&bob, &delete).await;
    assert!(refused.body.contains("kafka-cluster:DescribeTopic"), "{}", refused.body);
}

#[tokio::test]
async fn what_cannot_be_done_is_told_in_the_services_words() {
    let running = start().await;
    let arn = cluster(&running).await;
    let path = topics_of(&arn);
    assert_eq!(running.kafka("POST", &path, &new("clicks", 1)).await.status, 200);
    let exists = running.kafka("POST", &path, &new("clicks", 1)).await;
    assert_eq!(exists.refusal(), (409, "TopicExistsException".into()));
    let ruled_out = running.kafka("POST", &path, &new(RULED_OUT, 1)).await;
    assert_eq!(ruled_out.refusal(), (400, "BadRequestException".into()));
    assert!(ruled_out.body.contains("against a rule"), "{}", ruled_out.body);
    for (body, parameter) in [
        (r#"{"partitionCount":1,"replicationFactor":3}"#, "topicName"),
        (r#"{"topicName":"a","replicationFactor":3}"#, "partitionCount"),
        (r#"{"topicName":"a","partitionCount":1}"#, "replicationFactor"),
        (r#"{"topicName":"a","partitionCount":1,"replicationFactor":3,"configs":"{}"}"#, "configs"),
    ] {
        let refused = running.kafka("POST", &path, body).await;
        assert_eq!(refused.json()["invalidParameter"], parameter, "{body}");
    }
    let unknown = running.kafka("DELETE", &format!("{path}/none"), "").await;
    assert_eq!(unknown.refusal(), (404, "NotFoundException".into()));
    assert_eq!(running.kafka("PUT", &format!("{path}/clicks"), "{}").await.status, 400);
    let nowhere = topics_of(&arn.replace("/orders/", "/nowhere/"));
    assert_eq!(running.kafka("GET", &nowhere, "").await.refusal(), (404, "NotFoundException".into()));
}
