//! Clusters reached by their names on one listener: `gateway/PROTOCOL.md` §1 and §2.

use kafka_protocol::messages::{
    DescribeClusterRequest, FindCoordinatorRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest,
};
use kafka_protocol::messages::{GroupId, MetadataResponse};
use kafka_protocol::protocol::StrBytes;

use crate::authentication::{msk_iam, oauth_bearer};
use crate::groups::commit;
use crate::produce::topic;
use crate::support::harness::{SUFFIX, boot};
use crate::support::signer::Login;
use crate::support::{Client, Harness};

fn broker(number: u32) -> String {
    format!("b{number}-aaaaaaaa.{SUFFIX}")
}

fn hosts(response: &MetadataResponse) -> Vec<(i32, String)> {
    response.brokers.iter().map(|broker| (broker.node_id.0, broker.host.to_string())).collect()
}

/// The administrator, having dialled this host.
async fn dialled(harness: &Harness, host: &str) -> Client {
    harness.logged_in(&Login { host: host.to_owned(), ..harness.login() }).await
}

#[tokio::test]
async fn whoever_dials_a_name_is_told_three_names_on_the_port_it_dialled() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 6).await;
    let names: Vec<_> = (1..=3).map(|number| (number as i32, broker(number))).collect();
    for (host, controller) in [(boot(&harness.cluster), 1), (broker(1), 1), (broker(2), 2), (broker(3), 3)] {
        let mut client = dialled(&harness, &host).await;
        for version in 1..=13 {
            let response = client.call(version, &MetadataRequest::default().with_topics(None)).await;
            assert_eq!(hosts(&response), names, "{host}, version {version}");
            assert!(response.brokers.iter().all(|broker| broker.port == i32::from(harness.iam_port())));
            assert_eq!(response.controller_id.0, controller, "the broker that was dialled");
            let mut leaders: Vec<i32> =
                response.topics[0].partitions.iter().map(|partition| partition.leader_id.0).collect();
            leaders.sort_unstable();
            assert_eq!(leaders, [1, 1, 2, 2, 3, 3], "partitions go round the brokers listed");
        }
        let described = client.call(0, &DescribeClusterRequest::default()).await;
        assert_eq!((described.brokers.len(), described.controller_id.0), (3, controller));
    }
}

#[tokio::test]
async fn whoever_dials_an_address_is_told_the_address() {
    let harness = Harness::start().await;
    let mut client = dialled(&harness, "localhost").await;
    let response = client.call(1, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(hosts(&response), [(1, "localhost".to_owned())]);
}

#[tokio::test]
async fn a_name_leads_to_its_cluster_whichever_is_the_listeners_default() {
    let harness = Harness::start().await;
    for cluster in [&harness.cluster, &harness.other] {
        let by_name = Login { host: boot(cluster), ..harness.login() };
        let mut client = harness.tls(&by_name.host).await;
        assert_eq!(
            oauth_bearer(&mut client, &by_name).await.error_code,
            0,
            "a token names no cluster, SNI does"
        );
        let described = client.call(0, &DescribeClusterRequest::default()).await;
        assert_eq!(&*described.cluster_id, cluster.id.as_str());
    }
}

#[tokio::test]
async fn without_sni_the_signed_name_is_what_was_dialled() {
    let harness = Harness::start().await;
    let mut client = harness.tls("127.0.0.1").await;
    let login = Login { host: format!("b2-bbbbbbbb.{SUFFIX}"), ..harness.login() };
    assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);
    let response = client.call(1, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!((response.brokers.len(), response.controller_id.0), (3, 2));
    assert_eq!(&*response.brokers[0].host, format!("b1-bbbbbbbb.{SUFFIX}"));
}

#[tokio::test]
async fn the_brokers_lists_of_groups_together_have_every_group_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let groups: Vec<String> = (0..30).map(|number| format!("g{number:02}")).collect();
    for group in &groups {
        let group = GroupId(StrBytes::from_string(group.clone()));
        let request: OffsetCommitRequest = commit("t", 0, 1).with_group_id(group);
        assert_eq!(client.call(8, &request).await.topics[0].partitions[0].error_code, 0);
    }
    let mut appended = Vec::new();
    for number in 1..=3 {
        let mut client = dialled(&harness, &broker(number)).await;
        let listed = client.call(4, &ListGroupsRequest::default()).await;
        for group in &listed.groups {
            let key = group.group_id.0.clone();
            let request = FindCoordinatorRequest::default().with_key(key);
            let coordinator = client.call(2, &request).await;
            assert_eq!(coordinator.node_id.0, number as i32, "a group is listed by its coordinator");
            assert_eq!(&*coordinator.host, broker(number));
        }
        assert!(!listed.groups.is_empty(), "thirty groups spread over three brokers");
        appended.extend(listed.groups.iter().map(|group| group.group_id.to_string()));
    }
    appended.sort();
    assert_eq!(appended, groups);
    let mut client = dialled(&harness, &boot(&harness.cluster)).await;
    assert_eq!(client.call(4, &ListGroupsRequest::default()).await.groups.len(), groups.len());
}
