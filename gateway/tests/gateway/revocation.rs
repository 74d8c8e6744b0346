//! Rights that are withdrawn while a connection is open, and given back: `gateway/PROTOCOL.md` §8.

use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::AccessKeyStatus;
use headgate_metadata::store::Write;
use headgate_metadata::{clusters, keys, users};
use kafka_protocol::messages::{DescribeClusterRequest, FetchRequest};

use crate::authentication::{msk_iam, reason};
use crate::fetch::fetch;
use crate::produce::{code, name, produce, topic};
use crate::support::harness::{ALLOW_ALL, account, boot, neighbours_account};
use crate::support::signer::Login;
use crate::support::{Client, Harness};

const DENY_DATA: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["kafka-cluster:ReadData",
    "kafka-cluster:WriteData"],"Resource":"*"}]}"#;
const DENY_CONNECT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kafka-cluster:Connect","Resource":"*"}]}"#;

async fn put(harness: &Harness, user: &str, policy: &str) {
    let put = users::put_policy(&*harness.store, account(), user, "deny", policy).await;
    harness.seen(put.expect("the user exists")).await;
}

async fn withdraw(harness: &Harness, user: &str) {
    let deleted = users::delete_policy(&*harness.store, account(), user, "deny").await;
    harness.seen(deleted.expect("the policy exists")).await;
}

async fn is_served(client: &mut Client) {
    assert_eq!(client.call(0, &DescribeClusterRequest::default()).await.error_code, 0);
}

#[tokio::test]
async fn a_right_goes_and_comes_back_on_the_same_connection_as_often_as_the_policy_changes() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let mut client = harness.logged_in(&harness.user("member", Some(ALLOW_ALL)).await).await;
    for _ in 0..3 {
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
        put(&harness, "member", DENY_DATA).await;
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 29);
        let denied = client.call(12, &fetch("t", 0, 0, 0)).await;
        assert_eq!(denied.responses[0].partitions[0].error_code, 29);
        withdraw(&harness, "member").await;
    }
    assert_eq!(harness.storage.batches(), 3);
}

#[tokio::test]
async fn a_right_of_the_cluster_policy_goes_and_comes_back_too() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let mut client = harness.client().await;
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"kafka-cluster:WriteData","Resource":"*"}"#;
    for _ in 0..3 {
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
        harness.put_cluster_policy(&harness.cluster, deny).await;
        assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 29);
        harness.write(Write::Delete(keys::cluster_policy(harness.cluster.id))).await;
    }
}

#[tokio::test]
async fn a_fetch_that_waits_brings_nothing_once_the_right_is_gone() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let mut client = harness.logged_in(&harness.user("reader", Some(ALLOW_ALL)).await).await;
    let waiting = client.send(12, &fetch("t", 0, 0, 60_000)).await;
    harness.storage.awaited().await;
    put(&harness, "reader", DENY_DATA).await;
    harness.client().await.call(9, &produce("t", 0, 1)).await;
    let response = client.receive::<FetchRequest>(12, waiting).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 29);
    assert!(partition.records.as_ref().is_none_or(bytes::Bytes::is_empty));
}

#[tokio::test]
async fn a_fetch_that_waits_for_a_topic_made_anew_brings_nothing_of_the_new_one() {
    let harness = Harness::start().await;
    let mut owner = harness.client().await;
    let id = topic(&mut owner, "t", 1).await;
    let mut client = harness.client().await;
    let mut request = fetch("t", 0, 0, 60_000);
    request.topics[0].topic_id = id;
    let waiting = client.send(13, &request).await;
    harness.storage.awaited().await;
    let delete = kafka_protocol::messages::DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    owner.call(5, &delete).await;
    topic(&mut owner, "t", 1).await;
    harness.storage.end_waits();
    let response = client.receive::<FetchRequest>(13, waiting).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 100);
}

#[tokio::test]
async fn a_connection_ends_with_the_right_to_connect_and_the_next_login_says_why() {
    let harness = Harness::start().await;
    let login = harness.user("member", Some(ALLOW_ALL)).await;
    let mut bystander = harness.logged_in(&harness.login()).await;
    let client = harness.logged_in(&login).await;
    put(&harness, "member", DENY_CONNECT).await;
    client.expect_end().await;
    let refused = reason(&msk_iam(&mut harness.tls("localhost").await, &login).await);
    assert!(
        refused.contains("kafka-cluster:Connect") && refused.contains("explicit deny in deny/#1"),
        "{refused}"
    );
    withdraw(&harness, "member").await;
    is_served(&mut harness.logged_in(&login).await).await;
    is_served(&mut bystander).await;
}

#[tokio::test]
async fn the_connections_of_another_account_end_with_the_cluster_policy_that_let_them_in() {
    let harness = Harness::start().await;
    let account = neighbours_account();
    let allow = format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{account}"}},"Action":"kafka-cluster:*","Resource":"*"}}"#
    );
    harness.put_cluster_policy(&harness.cluster, &allow).await;
    let mut owner = harness.logged_in(&harness.login()).await;
    let guest =
        harness.logged_in(&Login { host: boot(&harness.cluster), ..harness.neighbours_login() }).await;
    harness.write(Write::Delete(keys::cluster_policy(harness.cluster.id))).await;
    guest.expect_end().await;
    is_served(&mut owner).await;
}

#[tokio::test]
async fn a_key_that_is_deactivated_or_deleted_ends_its_connections_alone() {
    let harness = Harness::start().await;
    let login = harness.user("member", Some(ALLOW_ALL)).await;
    let mut bystander = harness.logged_in(&harness.login()).await;
    let client = harness.logged_in(&login).await;
    let set = |status| users::set_key_status(&*harness.store, account(), &login.access_key_id, status);
    harness.seen(set(AccessKeyStatus::Inactive).await.expect("the key exists")).await;
    client.expect_end().await;
    harness.seen(set(AccessKeyStatus::Active).await.expect("the key exists")).await;
    let client = harness.logged_in(&login).await;
    let deleted = users::delete_key(&*harness.store, account(), &login.access_key_id).await;
    harness.seen(deleted.expect("the key exists")).await;
    client.expect_end().await;
    is_served(&mut bystander).await;
}

#[tokio::test]
async fn the_connections_to_a_cluster_end_when_its_deletion_begins_and_no_others() {
    let harness = Harness::start().await;
    let to_other = Login { host: boot(&harness.other), ..harness.login() };
    let client = harness.logged_in(&to_other).await;
    let mut bystander = harness.logged_in(&harness.login()).await;
    let begun = clusters::begin_delete(&*harness.store, harness.other.id, TimestampMs::new(1)).await;
    harness.seen(begun.expect("the cluster exists").1).await;
    client.expect_end().await;
    let refused = reason(&msk_iam(&mut harness.tls(&to_other.host).await, &to_other).await);
    assert!(refused.contains("there is no cluster"), "{refused}");
    is_served(&mut bystander).await;
}
