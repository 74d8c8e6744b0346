//! How clusters come, fail and go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headgate_metadata::clusters;
use headgate_metadata::record::JournalChange;

use crate::support::{Draft, Reply, Running, escape, start, start_on, start_with};

const BODY: &str = r#"{"clusterName":"orders","serverless":{"vpcConfigs":[{"subnetIds":["subnet-1"]}]}}"#;

async fn state(running: &Running, arn: &str) -> String {
    // Asked at a person's pace: whoever asks without a pause is throttled.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let described = running.kafka("GET", &format!("/api/v2/clusters/{}", escape(arn)), "").await;
    if described.status == 404 {
        return "gone".to_owned();
    }
    described.json()["clusterInfo"]["state"].as_str().expect("a state").to_owned()
}

fn arn_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["clusterArn"].as_str().expect("an ARN").to_owned()
}

#[tokio::test]
async fn a_cluster_is_active_once_it_can_be_reached_and_not_before() {
    let running = start().await;
    running.reachable.store(false, Ordering::Release);
    let arn = arn_of(&running.kafka("POST", "/api/v2/clusters", BODY).await);
    let brokers = format!("/v1/clusters/{}/bootstrap-brokers", escape(&arn));
    assert_eq!(running.kafka("GET", &brokers, "").await.refusal(), (409, "ConflictException".into()));
    assert_eq!(state(&running, &arn).await, "CREATING");
    running.reachable.store(true, Ordering::Release);
    running.active(&arn).await;
    assert_eq!(running.kafka("GET", &brokers, "").await.status, 200);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_fails_and_can_be_deleted() {
    let running = start().await;
    running.reachable.store(false, Ordering::Release);
    let arn = arn_of(&running.kafka("POST", "/api/v2/clusters", BODY).await);
    running.advance(Duration::from_mins(2));
    while state(&running, &arn).await == "CREATING" {}
    let described = running.kafka("GET", &format!("/api/v2/clusters/{}", escape(&arn)), "").await;
    let info = &described.json()["clusterInfo"];
    assert_eq!((&info["state"], &info["stateInfo"]["code"]), (&"FAILED".into(), &"CreationFailed".into()));
    assert_eq!(running.kafka("DELETE", &format!("/v1/clusters/{}", escape(&arn)), "").await.status, 200);
    while state(&running, &arn).await != "gone" {}
}

#[tokio::test]
async fn creation_goes_on_in_the_process_that_comes_next() {
    let running = start().await;
    running.reachable.store(false, Ordering::Release);
    let arn = arn_of(&running.kafka("POST", "/api/v2/clusters", BODY).await);
    let store = running.store.clone();
    running.stop().await;
    start_on(store, |_| ()).await.active(&arn).await;
}

#[tokio::test]
async fn a_deleted_cluster_is_billed_no_more_and_removed_after_its_delay() {
    let running = start_with(|config| config.cluster_removal_delay = Duration::from_mins(1)).await;
    let arn = arn_of(&running.kafka("POST", "/api/v2/clusters", BODY).await);
    running.active(&arn).await;
    let cluster = clusters::list(&*running.store).await.expect("readable").remove(0).id;
    running.kafka("DELETE", &format!("/v1/clusters/{}", escape(&arn)), "").await;
    let journal = headgate_metadata::journal::read(&*running.store, cluster).await.expect("readable");
    assert_eq!(journal.last().expect("an end").record.change, JournalChange::ClusterDeleted);
    assert_eq!(state(&running, &arn).await, "DELETING");
    let again = running.kafka("DELETE", &format!("/v1/clusters/{}", escape(&arn)), "").await;
    assert_eq!(again.json()["state"], "DELETING", "asking twice is asking once");
    let taken = running.kafka("POST", "/api/v2/clusters", BODY).await;
    assert_eq!(taken.refusal(), (409, "ConflictException".into()), "the name is held until it is removed");
    running.advance(Duration::from_secs(61));
    while state(&running, &arn).await != "gone" {}
    arn_of(&running.kafka("POST", "/api/v2/clusters", BODY).await);
}

#[tokio::test]
async fn attempts_of_one_call_make_one_cluster() {
    let running = start().await;
    let attempt = |id: &str, body: &str| {
        let mut draft = Draft::json("kafka", "POST", "/api/v2/clusters", body);
        draft.headers.push(("amz-sdk-invocation-id".into(), id.into()));
        draft
    };
    let first = arn_of(&running.call(&running.administrator, &attempt("call-1", BODY)).await);
    running.active(&first).await;
    let second = running.call(&running.administrator, &attempt("call-1", BODY)).await;
    assert_eq!(arn_of(&second), first);
    let other_call = running.call(&running.administrator, &attempt("call-2", BODY)).await;
    assert_eq!(other_call.refusal(), (409, "ConflictException".into()));
    let other_body = BODY.replace("\"serverless\"", "\"tags\":{\"a\":\"b\"},\"serverless\"");
    let changed = running.call(&running.administrator, &attempt("call-1", &other_body)).await;
    assert_eq!(changed.refusal(), (409, "ConflictException".into()), "it asks for something else");
    assert_eq!(clusters::list(&*running.store).await.expect("readable").len(), 1);
}
