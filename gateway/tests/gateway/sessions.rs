//! Sessions of roles, and policies that narrow sessions: `gateway/PROTOCOL.md` §8.

use std::time::Duration;

use headgate_iam::{AccountId, Principal, SecretKey, SessionClaims, UnixTime, session_token};
use headgate_metadata::id::TimestampMs;
use headgate_metadata::identities;
use headgate_metadata::record::RoleRecord;

use crate::authentication::{msk_iam, reason};
use crate::produce::{code, produce, topic};
use crate::support::Harness;
use crate::support::harness::{ALLOW_ALL, account};
use crate::support::signer::Login;

const NO_WRITES: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kafka-cluster:Connect",
    "kafka-cluster:DescribeTopic"],"Resource":"*"}]}"#;

async fn put_role(harness: &Harness, name: &str, id: &str) {
    let role = RoleRecord {
        name: name.into(),
        role_id: id.into(),
        account: account(),
        created: TimestampMs::new(0),
        description: String::new(),
        session_seconds_max: 3_600,
        trust_policy: "{}".into(),
        policies: [("all".to_owned(), ALLOW_ALL.to_owned())].into(),
        attached: [].into(),
        tags: [].into(),
    };
    harness.seen(identities::create(&*harness.store, &role).await.expect("a new role")).await;
}

async fn delete_role(harness: &Harness, name: &str) {
    let none = identities::delete_policy::<RoleRecord>(&*harness.store, account(), name, "all").await;
    none.expect("the role has it");
    let deleted = identities::delete::<RoleRecord>(&*harness.store, account(), name).await;
    harness.seen(deleted.expect("nothing belongs to it")).await;
}

/// The session `s` of a role, as AssumeRole seals it.
fn assumed(harness: &Harness, role: &str, id: &str, policy: Option<&str>) -> Login {
    let (account, at): (_, UnixTime) = (account(), harness.login().at);
    let principal = Principal::role_session(
        AccountId::parse(&account.to_string()).expect("twelve digits"),
        format!("arn:aws:sts::{account}:assumed-role/{role}/s"),
        format!("arn:aws:iam::{account}:role/{role}"),
        "s".into(),
        format!("{id}:s"),
    );
    let claims = SessionClaims {
        access_key_id: "ASIAROLE000000000001".into(),
        secret: SecretKey::new("temporary"),
        principal,
        issued_at: at,
        policy: policy.map(str::to_owned),
        expires_at: at.plus(Duration::from_mins(10)),
    };
    let token = session_token::seal(&harness.master_key, &claims, &mut |bytes| bytes.fill(1));
    Login {
        access_key_id: claims.access_key_id,
        secret: "temporary".into(),
        security_token: Some(token),
        ..harness.login()
    }
}

#[tokio::test]
async fn sessions_of_one_name_that_are_narrowed_differently_share_no_decision() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    put_role(&harness, "writer", "AROA1").await;
    let mut wide = harness.logged_in(&assumed(&harness, "writer", "AROA1", None)).await;
    let mut narrow = harness.logged_in(&assumed(&harness, "writer", "AROA1", Some(NO_WRITES))).await;
    for _ in 0..2 {
        assert_eq!(code(&wide.call(9, &produce("t", 0, 1)).await), 0);
        assert_eq!(code(&narrow.call(9, &produce("t", 0, 1)).await), 29);
    }
}

#[tokio::test]
async fn a_session_policy_narrows_what_the_clusters_policy_allows_too() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    put_role(&harness, "writer", "AROA1").await;
    let allow = r#"{"Effect":"Allow","Principal":"*","Action":"kafka-cluster:*","Resource":"*"}"#;
    harness.put_cluster_policy(&harness.cluster, allow).await;
    let mut narrow = harness.logged_in(&assumed(&harness, "writer", "AROA1", Some(NO_WRITES))).await;
    assert_eq!(code(&narrow.call(9, &produce("t", 0, 1)).await), 29);
}

#[tokio::test]
async fn a_session_policy_that_does_not_parse_denies_everything() {
    let harness = Harness::start().await;
    put_role(&harness, "writer", "AROA1").await;
    let mut client = harness.tls("localhost").await;
    let response = msk_iam(&mut client, &assumed(&harness, "writer", "AROA1", Some("{"))).await;
    assert!(reason(&response).contains("no statement allows it"), "{response:?}");
}

#[tokio::test]
async fn a_session_ends_with_its_role_even_if_another_takes_the_name() {
    let harness = Harness::start().await;
    put_role(&harness, "writer", "AROA1").await;
    let login = assumed(&harness, "writer", "AROA1", None);
    let client = harness.logged_in(&login).await;
    delete_role(&harness, "writer").await;
    put_role(&harness, "writer", "AROA2").await;
    client.expect_end().await;
    let mut again = harness.tls("localhost").await;
    let refused = reason(&msk_iam(&mut again, &login).await);
    assert_eq!(refused, "Access denied: security token is invalid or belongs to another key");
}
