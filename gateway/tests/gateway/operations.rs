//! The operations a client is told it may do (KIP-430): exactly those its actions stand for.

use headgate_iam::KafkaAction;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeGroupsRequest, GroupId, MetadataRequest};
use kafka_protocol::protocol::StrBytes;

use crate::produce::topic;
use crate::support::harness::ALLOW_ALL;
use crate::support::{Client, Harness};

/// What an answer says that was not asked.
const NOT_ASKED: i32 = i32::MIN;

/// Kafka's number of the operation an action stands for (`AclOperation`), and where it is shown.
fn operation(action: KafkaAction) -> Option<(&'static str, u32)> {
    match action {
        KafkaAction::ReadData => Some(("topic", 3)),
        KafkaAction::WriteData => Some(("topic", 4)),
        KafkaAction::CreateTopic => Some(("topic", 5)),
        KafkaAction::DeleteTopic => Some(("topic", 6)),
        KafkaAction::AlterTopic => Some(("topic", 7)),
        KafkaAction::DescribeTopic => Some(("topic", 8)),
        KafkaAction::DescribeTopicDynamicConfiguration => Some(("topic", 10)),
        KafkaAction::AlterTopicDynamicConfiguration => Some(("topic", 11)),
        KafkaAction::AlterGroup => Some(("group", 3)),
        KafkaAction::DeleteGroup => Some(("group", 6)),
        KafkaAction::DescribeGroup => Some(("group", 8)),
        KafkaAction::AlterCluster => Some(("cluster", 7)),
        KafkaAction::DescribeCluster => Some(("cluster", 8)),
        KafkaAction::DescribeClusterDynamicConfiguration => Some(("cluster", 10)),
        KafkaAction::AlterClusterDynamicConfiguration => Some(("cluster", 11)),
        KafkaAction::WriteDataIdempotently => Some(("cluster", 12)),
        KafkaAction::Connect | KafkaAction::DescribeTransactionalId | KafkaAction::AlterTransactionalId => {
            None
        }
    }
}

/// The bits of the topic `t`, the group `g` and the cluster, at the versions that have them.
async fn shown(client: &mut Client) -> Vec<(&'static str, i16, i32)> {
    let mut shown = Vec::new();
    for version in 8..=13 {
        let mut request =
            MetadataRequest::default().with_topics(None).with_include_topic_authorized_operations(true);
        request.include_cluster_authorized_operations = version <= 10;
        let response = client.call(version, &request).await;
        shown.push(("topic", version, response.topics[0].topic_authorized_operations));
        if version <= 10 {
            shown.push(("cluster", version, response.cluster_authorized_operations));
        } else {
            assert_eq!(response.cluster_authorized_operations, NOT_ASKED);
        }
    }
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = client.call(version, &request).await;
        shown.push(("cluster", version, response.cluster_authorized_operations));
    }
    for version in 3..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(StrBytes::from_static_str("g"))])
            .with_include_authorized_operations(true);
        let response = client.call(version, &request).await;
        shown.push(("group", version, response.groups[0].authorized_operations));
    }
    shown
}

fn bits(actions: &[KafkaAction], of: &str) -> i32 {
    let operations = actions.iter().filter_map(|action| operation(*action));
    operations.filter(|(kind, _)| *kind == of).fold(0, |bits, (_, number)| bits | 1 << number)
}

async fn check(client: &mut Client, actions: &[KafkaAction]) {
    for (of, version, seen) in shown(client).await {
        assert_eq!(seen, bits(actions, of), "{of}, version {version}, {actions:?}");
    }
}

#[tokio::test]
async fn each_right_shows_its_own_operation_and_no_other() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    for (number, action) in KafkaAction::ALL.into_iter().enumerate() {
        // Without these nothing is shown at all.
        let mut actions = vec![KafkaAction::Connect, KafkaAction::DescribeTopic, KafkaAction::DescribeGroup];
        actions.push(action);
        let names: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":[{}],"Resource":"*"}}}}"#,
            names.join(",")
        );
        let login = harness.user(&format!("u{number}"), Some(&policy)).await;
        check(&mut harness.logged_in(&login).await, &actions).await;
    }
}

#[tokio::test]
async fn whoever_may_do_everything_is_shown_everything_and_nothing_that_it_does_not_ask_for() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let login = harness.user("all", Some(ALLOW_ALL)).await;
    let mut client = harness.logged_in(&login).await;
    check(&mut client, &KafkaAction::ALL).await;
    let response = client.call(10, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(response.topics[0].topic_authorized_operations, NOT_ASKED);
    assert_eq!(response.cluster_authorized_operations, NOT_ASKED);
}
