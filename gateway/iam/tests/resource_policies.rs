//! Cluster policies: whom they name, how they combine with identity policies, and denials under a prefix.

use std::sync::Arc;

use headgate_iam::policy::{
    IDENTITY_POLICY_CHARACTERS_MAX, RESOURCE_POLICY_CHARACTERS_MAX, TRUST_POLICY_CHARACTERS_MAX,
};
use headgate_iam::{
    AccessRequest, AccountId, Effect, Policy, PolicyError, PolicyKind, PolicySources, Principal,
    RequestContext, UnixTime, deny_could_match, evaluate,
};

const OWNER: &str = "123456789012";
const ORDERS: &str = "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/orders";
const TOPICS: &str = "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/";
const WRITE: &str = "kafka-cluster:WriteData";
const ALLOW_ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;

fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

fn user(id: &str) -> Principal {
    Principal::user(account(id), format!("arn:aws:iam::{id}:user/alice"), "alice".into(), "AIDA".into())
}

fn role(id: &str) -> Principal {
    let (arn, role) =
        (format!("arn:aws:sts::{id}:assumed-role/app/s1"), format!("arn:aws:iam::{id}:role/app"));
    Principal::role_session(account(id), arn, role, "s1".into(), "AROA:s1".into())
}

fn identity(statements: &str) -> Vec<Arc<Policy>> {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
    vec![Arc::new(
        Policy::parse("id", PolicyKind::Identity, &document, IDENTITY_POLICY_CHARACTERS_MAX).unwrap(),
    )]
}

fn cluster_policy(statements: &str) -> Policy {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
    Policy::parse("cluster", PolicyKind::Resource, &document, RESOURCE_POLICY_CHARACTERS_MAX).unwrap()
}

fn decide(principal: &Principal, identity: &[Arc<Policy>], resource: Option<&Policy>) -> String {
    let context = RequestContext::new(principal, UnixTime::from_millis(0));
    let request = AccessRequest { action: WRITE, resource: ORDERS, context: &context };
    match evaluate(PolicySources { identity, resource, session: None }, &request).effect {
        Effect::Allow => "allow".to_owned(),
        Effect::ImplicitDeny => "none".to_owned(),
        Effect::ExplicitDeny(statement) => statement.to_string(),
    }
}

fn naming(effect: &str, element: &str) -> Policy {
    cluster_policy(&format!(
        r#"{{"Sid":"S","Effect":"{effect}",{element},"Action":"kafka-cluster:*","Resource":"arn:aws:kafka:*:*:topic/demo/*"}}"#
    ))
}

#[test]
fn within_one_account_either_policy_is_enough_if_it_names_the_principal() {
    let alice = user(OWNER);
    for (element, expected) in [
        (r#""Principal":"*""#, "allow"),
        (r#""Principal":{"AWS":"*"}"#, "allow"),
        (r#""Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"}"#, "allow"),
        (
            r#""Principal":{"AWS":["arn:aws:iam::123456789012:user/bob","arn:aws:iam::123456789012:user/alice"]}"#,
            "allow",
        ),
        (r#""Principal":{"AWS":"arn:aws:iam::123456789012:user/bob"}"#, "none"),
        (r#""Principal":{"AWS":"123456789012"}"#, "none"),
        (r#""Principal":{"AWS":"arn:aws:iam::123456789012:root"}"#, "none"),
        (r#""Principal":{"Service":"kafka.amazonaws.com"}"#, "none"),
        (r#""Principal":{"Federated":"arn:aws:iam::123456789012:user/alice"}"#, "none"),
        (r#""NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/bob"}"#, "allow"),
        (r#""NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/alice"}"#, "none"),
    ] {
        assert_eq!(decide(&alice, &[], Some(&naming("Allow", element))), expected, "{element}");
    }
    assert_eq!(decide(&alice, &identity(ALLOW_ALL), None), "allow");
    let account_only = naming("Allow", r#""Principal":{"AWS":"123456789012"}"#);
    assert_eq!(decide(&alice, &identity(ALLOW_ALL), Some(&account_only)), "allow");
}

#[test]
fn a_role_session_is_named_by_its_role_or_by_itself() {
    let session = role(OWNER);
    for (arn, expected) in [
        ("arn:aws:iam::123456789012:role/app", "allow"),
        ("arn:aws:sts::123456789012:assumed-role/app/s1", "allow"),
        ("arn:aws:sts::123456789012:assumed-role/app/s2", "none"),
        ("arn:aws:iam::123456789012:role/ap", "none"),
    ] {
        let policy = naming("Allow", &format!(r#""Principal":{{"AWS":"{arn}"}}"#));
        assert_eq!(decide(&session, &[], Some(&policy)), expected, "{arn}");
    }
}

#[test]
fn across_accounts_both_policies_must_allow() {
    let stranger = user("210987654321");
    let (by_account, by_name) = (
        naming("Allow", r#""Principal":{"AWS":"arn:aws:iam::210987654321:root"}"#),
        naming("Allow", r#""Principal":{"AWS":"arn:aws:iam::210987654321:user/alice"}"#),
    );
    let others = naming("Allow", r#""Principal":{"AWS":"333333333333"}"#);
    let allow = identity(ALLOW_ALL);
    assert_eq!(decide(&stranger, &allow, None), "none");
    assert_eq!(decide(&stranger, &[], Some(&by_name)), "none");
    assert_eq!(decide(&stranger, &allow, Some(&by_account)), "allow");
    assert_eq!(decide(&stranger, &allow, Some(&by_name)), "allow");
    assert_eq!(decide(&stranger, &allow, Some(&others)), "none");
}

#[test]
fn a_denial_in_either_policy_wins() {
    let allow = identity(ALLOW_ALL);
    let alice = user(OWNER);
    for element in [r#""Principal":"*""#, r#""Principal":{"AWS":"123456789012"}"#] {
        assert_eq!(decide(&alice, &allow, Some(&naming("Deny", element))), "cluster/S", "{element}");
    }
    let deny = identity(r#"{"Sid":"D","Effect":"Deny","Action":"*","Resource":"*"}"#);
    assert_eq!(decide(&alice, &deny, Some(&naming("Allow", r#""Principal":"*""#))), "id/D");
    let spared = naming("Deny", r#""NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/alice"}"#);
    assert_eq!(decide(&alice, &allow, Some(&spared)), "allow");
}

#[test]
fn a_resource_without_an_owner_belongs_to_the_asker() {
    let alice = user(OWNER);
    let context = RequestContext::new(&alice, UnixTime::from_millis(0));
    let identity = identity(ALLOW_ALL);
    let request = AccessRequest { action: "kafka:ListClustersV2", resource: "*", context: &context };
    assert!(
        evaluate(PolicySources { identity: &identity, ..PolicySources::default() }, &request).is_allowed()
    );
}

fn denied_under(statements: &str) -> Option<String> {
    let alice = user(OWNER);
    let context = RequestContext::new(&alice, UnixTime::from_millis(0));
    let identity = identity(statements);
    let sources = PolicySources { identity: &identity, ..PolicySources::default() };
    deny_could_match(sources, &context, WRITE, TOPICS)
        .statement
        .map(|statement| statement.statement().to_owned())
}

#[test]
fn a_denial_of_any_topic_of_the_cluster_is_found() {
    for (denial, expected) in [
        (r#""Action":"*","Resource":"*""#, true),
        (r#""Action":"kafka-cluster:Write*","Resource":"arn:aws:kafka:*:*:topic/demo/u-s2/secret""#, true),
        (r#""Action":"kafka-cluster:writedata","Resource":"arn:aws:kafka:*:*:topic/*/secret""#, true),
        (r#""Action":"*","Resource":"arn:aws:kafka:*:*:topic/${aws:username}/*""#, true),
        (r#""Action":"*","Resource":"arn:aws:kafka:*:*:topic/other/*""#, false),
        (r#""Action":"*","Resource":"arn:aws:kafka:*:*:group/demo/*""#, false),
        (r#""Action":"kafka-cluster:ReadData","Resource":"*""#, false),
        (r#""NotAction":"kafka-cluster:*","Resource":"*""#, false),
        (r#""Action":"*","NotResource":"arn:aws:kafka:*:*:topic/demo/*""#, false),
        (r#""Action":"*","NotResource":"arn:aws:kafka:*:*:topic/demo/u-s2/allowed-*""#, true),
        (r#""Action":"*","NotResource":"*""#, false),
        (r#""Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"alice"}}"#, true),
        (r#""Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"bob"}}"#, false),
    ] {
        let statements = format!(r#"[{ALLOW_ALL},{{"Sid":"D","Effect":"Deny",{denial}}}]"#);
        assert_eq!(denied_under(&statements).is_some(), expected, "{denial}");
    }
    assert_eq!(denied_under(ALLOW_ALL), None);
}

#[test]
fn a_denial_in_the_cluster_policy_is_found_for_those_it_names() {
    let alice = user(OWNER);
    let context = RequestContext::new(&alice, UnixTime::from_millis(0));
    let found = |element: &str| {
        let policy = naming("Deny", element);
        let sources = PolicySources { resource: Some(&policy), ..PolicySources::default() };
        deny_could_match(sources, &context, WRITE, TOPICS).statement.is_some()
    };
    assert!(found(r#""Principal":"*""#));
    assert!(!found(r#""Principal":{"AWS":"arn:aws:iam::123456789012:user/bob"}"#));
}

/// What a role session with a session policy may do.
fn decide_session(identity: &str, resource: Option<&Policy>, session: &str) -> String {
    let (principal, identity, session) = (role(OWNER), self::identity(identity), self::identity(session));
    let context = RequestContext::new(&principal, UnixTime::from_millis(0));
    let request = AccessRequest { action: WRITE, resource: ORDERS, context: &context };
    let sources = PolicySources { identity: &identity, resource, session: Some(&*session[0]) };
    match evaluate(sources, &request).effect {
        Effect::Allow => "allow".to_owned(),
        Effect::ImplicitDeny => "none".to_owned(),
        Effect::ExplicitDeny(statement) => statement.to_string(),
    }
}

#[test]
fn a_session_policy_narrows_and_never_widens() {
    let nothing = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let deny = r#"{"Sid":"No","Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"*"}"#;
    assert_eq!(decide_session(ALLOW_ALL, None, ALLOW_ALL), "allow");
    assert_eq!(decide_session(ALLOW_ALL, None, nothing), "none");
    assert_eq!(decide_session(nothing, None, ALLOW_ALL), "none");
    assert_eq!(decide_session(ALLOW_ALL, None, &format!("[{ALLOW_ALL},{deny}]")), "id/No");
    let granting = naming("Allow", r#""Principal":{"AWS":"arn:aws:iam::123456789012:role/app"}"#);
    assert_eq!(decide_session(nothing, Some(&granting), ALLOW_ALL), "allow");
    assert_eq!(decide_session(nothing, Some(&granting), nothing), "none");
}

#[test]
fn a_trust_policy_names_whom_it_trusts_and_no_resource() {
    let trust = |statement: &str| {
        let document = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        Policy::parse("trust", PolicyKind::Trust, &document, TRUST_POLICY_CHARACTERS_MAX)
    };
    let resource = r#"{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Resource":"*"}"#;
    assert_eq!(trust(resource), Err(PolicyError::ResourceProhibited));
    let nobody = r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#;
    assert_eq!(trust(nobody), Err(PolicyError::PrincipalMissing));
    let role_arn = "arn:aws:iam::123456789012:role/app";
    let assumed = |principal: &Principal, identity: &str, trusted: &str| {
        let statement =
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{trusted}"}},"Action":"sts:AssumeRole"}}"#);
        let (policy, identity) = (trust(&statement).unwrap(), self::identity(identity));
        let context = RequestContext::new(principal, UnixTime::from_millis(0));
        let request = AccessRequest { action: "sts:AssumeRole", resource: role_arn, context: &context };
        let sources = PolicySources { identity: &identity, resource: Some(&policy), session: None };
        evaluate(sources, &request).is_allowed()
    };
    let nothing = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let alice = "arn:aws:iam::123456789012:user/alice";
    assert!(assumed(&user(OWNER), nothing, alice), "named itself: nothing else is needed");
    assert!(
        !assumed(&user(OWNER), nothing, OWNER),
        "its account is named: that leaves it to its own policies"
    );
    assert!(assumed(&user(OWNER), ALLOW_ALL, OWNER));
    let bob = "arn:aws:iam::123456789012:user/bob";
    assert!(!assumed(&user(OWNER), ALLOW_ALL, bob), "not named: its own policies are not enough");
    let stranger = "arn:aws:iam::999999999999:user/alice";
    assert!(!assumed(&user("999999999999"), nothing, stranger), "across accounts both must allow");
    assert!(assumed(&user("999999999999"), ALLOW_ALL, stranger));
    assert!(!assumed(&user("999999999999"), ALLOW_ALL, alice));
}
