//! The process's own requests for topics: the rules and rights of clients hold for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use headgate_gateway::{OnBehalf, OwnRefusal, OwnRequestRefused};
use headgate_iam::{AccountId, Principal};
use headgate_metadata::record::TopicRecord;
use headgate_metadata::topics;

use crate::support::Harness;

fn on_behalf(user: &str) -> OnBehalf {
    let account = AccountId::parse("123456789012").expect("twelve digits");
    let arn = format!("arn:aws:iam::{account}:user/{user}");
    OnBehalf {
        principal: Principal::user(account, arn, user.to_owned(), format!("AIDA{user}")),
        session_policy: None,
        token_issued_at: None,
        source: SocketAddr::from(([192, 0, 2, 1], 4711)),
        secure: true,
        user_agent: Some("test".to_owned()),
    }
}

async fn stored(harness: &Harness, name: &str) -> Option<TopicRecord> {
    topics::load(&*harness.store, harness.cluster.id, name).await.expect("the store is in memory")
}

async fn create(harness: &Harness, who: OnBehalf, name: &str) -> Result<(), OwnRequestRefused> {
    let configs = BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]);
    harness.gateway.create_topic(&harness.cluster, who, name, 2, &configs).await
}

fn kind(outcome: Result<(), OwnRequestRefused>) -> Option<OwnRefusal> {
    outcome.err().map(|refused| refused.kind)
}

#[tokio::test]
async fn a_topic_is_made_changed_and_deleted() {
    let harness = Harness::start().await;
    let (gateway, cluster, admin) = (&harness.gateway, &harness.cluster, on_behalf("admin"));
    create(&harness, admin.clone(), "t").await.expect("created");
    let made = stored(&harness, "t").await.expect("stored");
    assert_eq!((made.partitions, made.configs["retention.ms"].as_str()), (2, "60000"));
    gateway.grow_topic(cluster, admin.clone(), "t", 5).await.expect("grown");
    let configs = BTreeMap::from([("retention.ms".to_owned(), "70000".to_owned())]);
    gateway.configure_topic(cluster, admin.clone(), "t", &configs).await.expect("configured");
    let changed = stored(&harness, "t").await.expect("stored");
    assert_eq!((changed.partitions, changed.configs["retention.ms"].as_str()), (5, "70000"));
    gateway.delete_topic(cluster, admin, "t").await.expect("deleted");
    assert!(stored(&harness, "t").await.is_none());
}

#[tokio::test]
async fn what_kafka_refuses_is_refused_with_its_words() {
    let harness = Harness::start().await;
    let (gateway, cluster, admin) = (&harness.gateway, &harness.cluster, on_behalf("admin"));
    create(&harness, admin.clone(), "t").await.expect("created");
    assert_eq!(kind(create(&harness, admin.clone(), "t").await), Some(OwnRefusal::Exists));
    let invalid = create(&harness, admin.clone(), "a/b").await.expect_err("no name of a topic");
    assert_eq!(invalid.kind, OwnRefusal::Invalid);
    assert!(invalid.text.contains("a/b"), "{}", invalid.text);
    let fewer = gateway.grow_topic(cluster, admin.clone(), "t", 1).await;
    assert_eq!(kind(fewer), Some(OwnRefusal::Invalid));
    let unknown = BTreeMap::from([("no.such.config".to_owned(), "1".to_owned())]);
    let refused = gateway.configure_topic(cluster, admin.clone(), "t", &unknown).await;
    assert_eq!(kind(refused), Some(OwnRefusal::Invalid));
    assert_eq!(kind(gateway.delete_topic(cluster, admin, "none").await), Some(OwnRefusal::Unknown));
}

#[tokio::test]
async fn the_policies_of_whoever_asked_decide() {
    let harness = Harness::start().await;
    let reads = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Action":["kafka-cluster:Connect","kafka-cluster:DescribeTopic"],"Resource":"*"}]}"#;
    harness.user("reader", Some(reads)).await;
    assert_eq!(kind(create(&harness, on_behalf("reader"), "t").await), Some(OwnRefusal::Denied));
    assert_eq!(kind(create(&harness, on_behalf("nobody"), "t").await), Some(OwnRefusal::Denied));
    let narrowed = OnBehalf { session_policy: Some(reads.to_owned()), ..on_behalf("admin") };
    assert_eq!(kind(create(&harness, narrowed, "t").await), Some(OwnRefusal::Denied));
    assert!(stored(&harness, "t").await.is_none());
}

#[tokio::test]
async fn a_cluster_that_nobody_uses_is_not_loaded_for_longer_than_the_request() {
    let harness = Harness::start().await;
    create(&harness, on_behalf("admin"), "t").await.expect("created");
    assert!(harness.catalog.loaded(harness.cluster.id).is_none());
    harness.catalog.view(harness.cluster.id).await.expect("loaded");
    create(&harness, on_behalf("admin"), "u").await.expect("created");
    let view = harness.catalog.loaded(harness.cluster.id).expect("whoever uses it keeps it");
    assert!(view.topic("u").is_some());
}
