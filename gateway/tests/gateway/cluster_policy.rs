//! Policies of clusters beside those of principals, and conditions: `gateway/PROTOCOL.md` §8.

use headgate_gateway::WallClock;
use headgate_metadata::audit::AuditResult;

use headgate_metadata::record::{ClusterRecord, Record};
use headgate_metadata::store::Write;
use headgate_metadata::{clusters, keys, users};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{InitProducerIdRequest, JoinGroupRequest, MetadataRequest};

use crate::authentication::{msk_iam, reason};
use crate::fetch::fetch;
use crate::groups::join;
use crate::produce::{code, name, produce, topic};
use crate::support::harness::{ALLOW_ALL, REGION, account, boot, neighbours_account};
use crate::support::signer::Login;
use crate::support::{Client, Harness};

/// Statement of a policy; `principal` is the whole element or empty.
fn allow(principal: &str, actions: &str, resource: &str) -> String {
    statement("Allow", principal, actions, resource, "")
}

fn statement(effect: &str, principal: &str, actions: &str, resource: &str, rest: &str) -> String {
    format!(r#"{{"Effect":"{effect}",{principal}"Action":[{actions}],"Resource":"{resource}"{rest}}}"#)
}

fn identity_policy(statements: &[String]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn neighbours() -> String {
    format!(r#""Principal":{{"AWS":"{}"}},"#, neighbours_account())
}

/// How a login that should not be let in is refused.
async fn refused(harness: &Harness, login: &Login) -> String {
    let mut client = harness.tls(&login.host).await;
    reason(&msk_iam(&mut client, login).await)
}

async fn describe(client: &mut Client, text: &str) -> i16 {
    let topic = MetadataRequestTopic::default().with_name(Some(name(text)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    client.call(9, &request.with_allow_auto_topic_creation(false)).await.topics[0].error_code
}

async fn read(client: &mut Client, text: &str) -> i16 {
    client.call(12, &fetch(text, 0, 0, 0)).await.responses[0].partitions[0].error_code
}

#[tokio::test]
async fn across_accounts_the_cluster_and_the_principals_account_must_both_allow() {
    let harness = Harness::start().await;
    let mut owner = harness.client().await;
    for text in ["shared", "private"] {
        topic(&mut owner, text, 1).await;
    }
    let stranger = Login { host: boot(&harness.cluster), ..harness.neighbours_login() };
    let closed = refused(&harness, &stranger).await;

    let shared = harness.arn("topic", Some("shared"));
    let statements = [
        allow(&neighbours(), r#""kafka-cluster:Connect""#, &harness.arn("cluster", None)),
        allow(&neighbours(), r#""kafka-cluster:DescribeTopic","kafka-cluster:ReadData""#, &shared),
    ];
    harness.put_cluster_policy(&harness.cluster, &format!("[{}]", statements.join(","))).await;
    let mut client = harness.logged_in(&stranger).await;
    assert_eq!((describe(&mut client, "shared").await, read(&mut client, "shared").await), (0, 0));
    assert_eq!((describe(&mut client, "private").await, read(&mut client, "private").await), (29, 29));
    assert_eq!(code(&client.call(9, &produce("shared", 0, 1)).await), 29, "the cluster does not allow it");
    assert_eq!(client.call(9, &join("m") as &JoinGroupRequest).await.error_code, 30);

    let half = identity_policy(&[allow("", r#""kafka-cluster:Connect""#, "*")]);
    let half = harness.user_in(neighbours_account(), "half", Some(&half)).await;
    let mut client = harness.logged_in(&Login { host: boot(&harness.cluster), ..half }).await;
    assert_eq!(read(&mut client, "shared").await, 29, "its own account does not allow it");
    let none = harness.user_in(neighbours_account(), "none", None).await;
    let none = Login { host: boot(&harness.cluster), ..none };
    assert_eq!(refused(&harness, &none).await, closed.replace("user/admin", "user/none"));
}

#[tokio::test]
async fn a_cluster_of_another_account_that_is_closed_looks_like_none() {
    let harness = Harness::start().await;
    let mut absent = harness.cluster.clone();
    absent.id = "zzzzzzzz".parse().expect("a cluster id");
    let of = |cluster: &ClusterRecord| Login { host: boot(cluster), ..harness.neighbours_login() };
    let closed = refused(&harness, &of(&harness.cluster)).await;
    let missing = refused(&harness, &of(&absent)).await;
    assert_eq!(closed.replace("aaaaaaaa", "zzzzzzzz"), missing);
    let told = format!(
        "Access denied: there is no cluster {} that arn:aws:iam::{}:user/admin may connect to",
        boot(&harness.cluster),
        neighbours_account()
    );
    assert_eq!(closed, told);
    let audited = harness.audit();
    let line = &audited[audited.len() - 2];
    assert_eq!(line.result, AuditResult::Denied);
    let reason = line.reason.as_deref().expect("a reason");
    assert!(reason.contains("no statement allows it"), "the operator is told the truth: {reason}");
    assert_eq!(line.resource, Some(harness.arn("cluster", None)));

    // With a cluster policy that is for others, nothing changes.
    let other = r#""Principal":{"AWS":"333333333333"},"#;
    let statements = allow(other, r#""kafka-cluster:*""#, "*");
    harness.put_cluster_policy(&harness.cluster, &statements).await;
    assert_eq!(refused(&harness, &of(&harness.cluster)).await, closed);
}

#[tokio::test]
async fn within_the_account_either_policy_is_enough() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let login = harness.user("plain", None).await;
    let by_name = format!(r#""Principal":{{"AWS":"arn:aws:iam::{}:user/plain"}},"#, account());
    let statements = allow(&by_name, r#""kafka-cluster:Connect","kafka-cluster:WriteData""#, "*");
    harness.put_cluster_policy(&harness.cluster, &statements).await;
    let mut client = harness.logged_in(&login).await;
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
    assert_eq!(read(&mut client, "t").await, 29);
    let of_account = format!(r#""Principal":{{"AWS":"{}"}},"#, account());
    harness.put_cluster_policy(&harness.cluster, &allow(&of_account, r#""kafka-cluster:*""#, "*")).await;
    assert!(
        refused(&harness, &login).await.contains("no statement allows it"),
        "an account's name delegates"
    );
}

#[tokio::test]
async fn a_denial_in_the_clusters_policy_wins_and_is_named() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let deny = |resource: &str| {
        let sid = r#","Sid":"NobodyWrites""#;
        statement("Deny", r#""Principal":"*","#, r#""kafka-cluster:WriteData""#, resource, sid)
    };
    harness.put_cluster_policy(&harness.cluster, &deny(&harness.arn("topic", Some("t")))).await;
    let mut client = harness.client().await;
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 29);
    let line = harness.audit().pop().expect("a line");
    assert_eq!(line.reason.as_deref(), Some("explicit deny in cluster-policy/NobodyWrites"));

    let by_data = identity_policy(&[
        allow("", r#""kafka-cluster:Connect""#, "*"),
        allow("", r#""kafka-cluster:WriteData""#, &harness.arn("topic", Some("*"))),
    ]);
    let login = harness.user("writer", Some(&by_data)).await;
    let mut client = harness.logged_in(&login).await;
    let init = InitProducerIdRequest::default().with_transactional_id(None);
    assert_eq!(client.call(4, &init).await.error_code, 31, "one topic is denied, so not all are allowed");
    harness.put_cluster_policy(&harness.cluster, &deny("arn:aws:kafka:*:*:topic/other/*")).await;
    assert_eq!(client.call(4, &init).await.error_code, 0, "another cluster's topic is not its concern");
}

#[tokio::test]
async fn a_cluster_policy_that_cannot_be_understood_allows_nothing() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for value in [r#"{"v":1,"policy":"{}","version":"1"}"#, "not a record"] {
        let put = Write::Put(keys::cluster_policy(harness.cluster.id), value.into());
        harness.write(put).await;
        assert_eq!(describe(&mut client, "t").await, 29, "{value}");
    }
    let delete = Write::Delete(keys::cluster_policy(harness.cluster.id));
    harness.write(delete).await;
    assert_eq!(describe(&mut client, "t").await, 0);
}

/// A user who may connect, and describe topics where the condition holds; its connection.
async fn conditional(harness: &Harness, name: &str, condition: &str) -> Client {
    let rest = format!(r#","Condition":{{{condition}}}"#);
    let policy = identity_policy(&[
        allow("", r#""kafka-cluster:Connect""#, "*"),
        statement("Allow", "", r#""kafka-cluster:DescribeTopic""#, "*", &rest),
    ]);
    let login = harness.user(name, Some(&policy)).await;
    harness.logged_in(&login).await
}

#[tokio::test]
async fn conditions_read_the_connection_and_the_principal() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let arn = |user: &str| format!("arn:aws:iam::{}:user/{user}", account());
    for (user, condition, expected) in [
        ("a", r#""IpAddress":{"aws:SourceIp":"127.0.0.0/8"}"#.to_owned(), 0),
        ("b", r#""IpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#.to_owned(), 29),
        ("c", r#""NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.1"]}"#.to_owned(), 29),
        ("d", format!(r#""ArnEquals":{{"aws:PrincipalArn":"{}"}}"#, arn("d")), 0),
        ("e", format!(r#""ArnLike":{{"aws:PrincipalArn":"{}"}}"#, arn("x*")), 29),
        ("f", r#""Bool":{"aws:SecureTransport":"true"}"#.to_owned(), 0),
        ("g", r#""Bool":{"aws:SecureTransport":"false"}"#.to_owned(), 29),
        ("h", r#""StringEquals":{"aws:UserAgent":"test"}"#.to_owned(), 0),
        ("i", format!(r#""StringEquals":{{"aws:RequestedRegion":"{REGION}"}}"#), 0),
    ] {
        let mut client = conditional(&harness, user, &condition).await;
        assert_eq!(describe(&mut client, "t").await, expected, "{condition}");
    }
}

#[tokio::test]
async fn insecure_transport_can_be_denied() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let condition = r#","Condition":{"Bool":{"aws:SecureTransport":"false"}}"#;
    let deny = statement("Deny", r#""Principal":"*","#, r#""kafka-cluster:*""#, "*", condition);
    harness.put_cluster_policy(&harness.cluster, &deny).await;
    assert_eq!(describe(&mut harness.client().await, "t").await, 29);
    assert_eq!(describe(&mut harness.logged_in(&harness.login()).await, "t").await, 0);
}

#[tokio::test]
async fn a_decision_that_read_the_clock_is_made_anew_each_time() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let until = harness.clock.now().plus(std::time::Duration::from_mins(5));
    let condition = format!(r#""DateLessThan":{{"aws:CurrentTime":"{until}"}}"#);
    let mut before = conditional(&harness, "before", &condition).await;
    let condition = format!(r#""DateGreaterThanEquals":{{"aws:CurrentTime":"{until}"}}"#);
    let mut after = conditional(&harness, "after", &condition).await;
    for _ in 0..2 {
        assert_eq!((describe(&mut before, "t").await, describe(&mut after, "t").await), (0, 29));
    }
    harness.clock.advance(300);
    for _ in 0..2 {
        assert_eq!((describe(&mut before, "t").await, describe(&mut after, "t").await), (29, 0));
    }
}

#[tokio::test]
async fn conditions_read_the_tags_of_the_cluster_as_they_are_now() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let mut client = conditional(&harness, "a", r#""StringEquals":{"aws:ResourceTag/stage":"test"}"#).await;
    assert_eq!(describe(&mut client, "t").await, 29);
    for (stage, expected) in [("test", 0), ("production", 29), ("test", 0)] {
        let tag = |cluster: &mut ClusterRecord| drop(cluster.tags.insert("stage".into(), stage.into()));
        let updated = clusters::update(&*harness.store, harness.cluster.id, tag).await;
        harness.seen(updated.expect("the cluster exists").1).await;
        assert_eq!(describe(&mut client, "t").await, expected, "{stage}");
    }
}

#[tokio::test]
async fn conditions_read_the_tags_of_the_principal_as_they_are_now() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let mut client = conditional(&harness, "a", r#""StringEquals":{"aws:PrincipalTag/team":"blue"}"#).await;
    assert_eq!(describe(&mut client, "t").await, 29);
    for (team, expected) in [("blue", 0), ("red", 29), ("blue", 0)] {
        let mut user = users::load(&*harness.store, account(), "a").await.expect("readable").expect("there");
        user.tags = [("team".to_owned(), team.to_owned())].into();
        let value = user.encode();
        harness.write(Write::Put(keys::user(account(), "a"), value)).await;
        assert_eq!(describe(&mut client, "t").await, expected, "{team}");
    }
}

#[tokio::test]
async fn the_policy_of_one_cluster_says_nothing_of_another() {
    let harness = Harness::start().await;
    harness.put_cluster_policy(&harness.cluster, &allow(&neighbours(), r#""kafka-cluster:*""#, "*")).await;
    let stranger = |cluster: &ClusterRecord| Login { host: boot(cluster), ..harness.neighbours_login() };
    harness.logged_in(&stranger(&harness.cluster)).await;
    assert!(refused(&harness, &stranger(&harness.other)).await.contains("there is no cluster"));
    let own = harness.user_in(neighbours_account(), "own", Some(ALLOW_ALL)).await;
    harness.logged_in(&Login { host: boot(&harness.neighbour), ..own }).await;
}
