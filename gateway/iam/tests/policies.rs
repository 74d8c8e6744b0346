//! What policies mean: a table of cases, one line each, after the IAM User Guide's policy reference.

use std::sync::Arc;

use headgate_iam::policy::IDENTITY_POLICY_CHARACTERS_MAX;
use headgate_iam::{
    AccessRequest, AccountId, Effect, Policy, PolicyKind, PolicySources, Principal, RequestContext, UnixTime,
    evaluate,
};

const CLUSTER: &str = "arn:aws:kafka:us-east-1:123456789012:cluster/demo/u-s2";
const ORDERS: &str = "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/orders";
const READ: &str = "kafka-cluster:ReadData";

fn alice() -> Principal {
    let account = AccountId::parse("123456789012").unwrap();
    Principal::user(
        account,
        "arn:aws:iam::123456789012:user/app/alice".into(),
        "alice".into(),
        "AIDAALICE".into(),
    )
}

/// Alice at noon (nearly), from 10.1.2.3, over TLS.
fn with_alice<T>(
    change: impl FnOnce(&mut RequestContext<'_>),
    test: impl FnOnce(&RequestContext<'_>) -> T,
) -> T {
    let principal = alice();
    let tags = [("team".to_owned(), "blue".to_owned()), ("Path".to_owned(), "a*c".to_owned())];
    let resource_tags = [("env".to_owned(), "prod".to_owned())];
    let mut context = RequestContext::new(&principal, UnixTime::from_seconds(1_767_323_045));
    context.source_ip = Some("10.1.2.3".parse().unwrap());
    context.secure_transport = true;
    context.user_agent = Some("test/1");
    context.region = Some("us-east-1");
    context.principal_tags = &tags;
    context.resource_tags = &resource_tags;
    context.service_keys =
        &[("kafka:many", "a"), ("kafka:many", "b"), ("kafka:number", "7"), ("kafka:flag", "TRUE")];
    change(&mut context);
    test(&context)
}

fn policy(kind: PolicyKind, statements: &str) -> Policy {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
    Policy::parse("p", kind, &document, IDENTITY_POLICY_CHARACTERS_MAX).unwrap()
}

/// `allow`, `none` (implicit deny) or the statement that denies.
fn decide(statements: &str, action: &str, resource: &str) -> String {
    let policies = [Arc::new(policy(PolicyKind::Identity, statements))];
    let sources = PolicySources { identity: &policies, ..PolicySources::default() };
    with_alice(|_| (), |context| word(evaluate(sources, &AccessRequest { action, resource, context }).effect))
}

fn word(effect: Effect) -> String {
    match effect {
        Effect::Allow => "allow".to_owned(),
        Effect::ImplicitDeny => "none".to_owned(),
        Effect::ExplicitDeny(statement) => statement.statement().to_owned(),
    }
}

fn check_actions(cases: &[(&str, &str, &str)]) {
    for (pattern, action, expected) in cases {
        let statements = format!(r#"{{"Effect":"Allow",{pattern},"Resource":"*"}}"#);
        assert_eq!(decide(&statements, action, ORDERS), *expected, "{pattern} for {action}");
    }
}

fn check_resources(cases: &[(&str, &str, &str)]) {
    for (pattern, resource, expected) in cases {
        let statements = format!(r#"{{"Effect":"Allow","Action":"kafka-cluster:*",{pattern}}}"#);
        assert_eq!(decide(&statements, READ, resource), *expected, "{pattern} for {resource}");
    }
}

fn check_conditions(cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        let statements =
            format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{{condition}}}}}"#);
        assert_eq!(decide(&statements, READ, ORDERS) == "allow", *expected, "{condition}");
    }
}

#[test]
fn actions_match_without_regard_to_case_and_with_wildcards() {
    check_actions(&[
        (r#""Action":"kafka-cluster:ReadData""#, READ, "allow"),
        (r#""Action":"KAFKA-cluster:rEADdATA""#, READ, "allow"),
        (r#""Action":"kafka-cluster:*""#, READ, "allow"),
        (r#""Action":"*""#, READ, "allow"),
        (r#""Action":"kafka-cluster:Read????""#, READ, "allow"),
        (r#""Action":"kafka-cluster:Read?????""#, READ, "none"),
        (r#""Action":["iam:*","kafka-cluster:ReadData"]"#, READ, "allow"),
        (r#""Action":"kafka:*""#, READ, "none"),
        (r#""Action":"kafka-cluster:Read""#, READ, "none"),
        (r#""Action":"kafka-cluster:*Topic""#, "kafka-cluster:CreateTopic", "allow"),
        (r#""Action":"kafka-cluster:*Topic""#, "kafka-cluster:AlterTopicDynamicConfiguration", "none"),
        (r#""NotAction":"kafka-cluster:DeleteTopic""#, READ, "allow"),
        (r#""NotAction":"kafka-cluster:Read*""#, READ, "none"),
        (r#""NotAction":["iam:*","sts:*"]"#, READ, "allow"),
    ]);
}

#[test]
fn resources_match_with_regard_to_case_and_stars_span_slashes() {
    check_resources(&[
        (r#""Resource":"*""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/orders""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/ORDERS""#, ORDERS, "none"),
        (r#""Resource":"arn:aws:kafka:us-east-1:123456789012:topic/demo/*""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:us-east-1:123456789012:topic/*/orders""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:*:123456789012:topic/demo/*/ord?rs""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:eu-*:123456789012:topic/demo/*""#, ORDERS, "none"),
        (r#""Resource":"arn:aws:kafka:*""#, ORDERS, "allow"),
        (r#""Resource":"arn:aws:kafka:us-east-1:123456789012:cluster/demo/*""#, ORDERS, "none"),
        (r#""Resource":["arn:aws:s3:::b/*","arn:aws:kafka:*:*:topic/demo/*"]"#, ORDERS, "allow"),
        (r#""NotResource":"arn:aws:kafka:*:*:topic/demo/u-s2/secret*""#, ORDERS, "allow"),
        (r#""NotResource":"arn:aws:kafka:*:*:topic/demo/u-s2/ord*""#, ORDERS, "none"),
    ]);
}

#[test]
fn variables_are_filled_from_the_request_and_taken_literally() {
    let topic = |name: &str| format!("arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/{name}");
    for (pattern, name, expected) in [
        ("${aws:username}-*", "alice-1", "allow"),
        ("${aws:username}-*", "bob-1", "none"),
        ("${AWS:UserName}", "alice", "allow"),
        ("${aws:PrincipalTag/team}.x", "blue.x", "allow"),
        ("${aws:PrincipalTag/path}", "a*c", "allow"),
        ("${aws:PrincipalTag/path}", "abc", "none"),
        ("${aws:PrincipalTag/none}", "", "none"),
        ("${aws:PrincipalTag/none, 'dflt'}", "dflt", "allow"),
        ("${aws:userid}", "AIDAALICE", "allow"),
        ("${kafka:many}", "a", "none"),
        ("x${*}y", "x*y", "allow"),
        ("x${*}y", "xay", "none"),
        ("x${?}${$}", "x?$", "allow"),
    ] {
        let resource = format!(r#""Resource":"arn:aws:kafka:*:*:topic/demo/u-s2/{pattern}""#);
        check_resources(&[(&resource, &topic(name), expected)]);
    }
}

#[test]
fn an_unresolved_variable_in_not_resource_denies_but_never_allows() {
    let pattern = r#""NotResource":"arn:aws:kafka:*:*:topic/${aws:PrincipalTag/none}""#;
    check_resources(&[(pattern, ORDERS, "none")]);
    let statements = format!(
        r#"[{{"Effect":"Allow","Action":"*","Resource":"*"}},{{"Sid":"D","Effect":"Deny","Action":"*",{pattern}}}]"#
    );
    assert_eq!(decide(&statements, READ, ORDERS), "D");
}

#[test]
fn variables_mean_nothing_in_documents_of_2008() {
    let document =
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:x:::${aws:username}"}}"#;
    let policies = [Arc::new(Policy::parse("p", PolicyKind::Identity, document, 6144).unwrap())];
    let sources = PolicySources { identity: &policies, ..PolicySources::default() };
    let decide = |resource| {
        with_alice(
            |_| (),
            |context| word(evaluate(sources, &AccessRequest { action: READ, resource, context }).effect),
        )
    };
    assert_eq!(decide("arn:aws:x:::alice"), "none");
    assert_eq!(decide("arn:aws:x:::${aws:username}"), "allow");
}

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let allow = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let deny = r#"{"Sid":"NoRead","Effect":"Deny","Action":"kafka-cluster:ReadData","Resource":"*"}"#;
    assert_eq!(decide(&format!("[{allow},{deny}]"), READ, ORDERS), "NoRead");
    assert_eq!(decide(&format!("[{deny},{allow}]"), READ, ORDERS), "NoRead");
    assert_eq!(decide(&format!("[{deny},{allow}]"), "kafka-cluster:WriteData", ORDERS), "allow");
    assert_eq!(decide(deny, "kafka-cluster:WriteData", ORDERS), "none");
    assert_eq!(decide(&format!("[{allow},{}]", deny.replace(r#""Sid":"NoRead","#, "")), READ, ORDERS), "#2");
}

#[test]
fn a_deny_in_one_policy_overrides_an_allow_in_another() {
    let named = |name: &str, effect: &str| {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Action":"*","Resource":"*"}}}}"#
        );
        Arc::new(Policy::parse(name, PolicyKind::Identity, &document, 6144).unwrap())
    };
    let policies = [named("admin", "Allow"), named("freeze", "Deny")];
    let sources = PolicySources { identity: &policies, ..PolicySources::default() };
    with_alice(
        |_| (),
        |context| {
            let request = AccessRequest { action: "kafka-cluster:Connect", resource: CLUSTER, context };
            let denied = evaluate(sources, &request).into_result(&request).unwrap_err();
            assert_eq!(
                denied.to_string(),
                format!(
                    "kafka-cluster:Connect on {CLUSTER} denied for arn:aws:iam::123456789012:user/app/alice: \
                     explicit deny in freeze/#1"
                )
            );
            let denied = evaluate(PolicySources::default(), &request).into_result(&request).unwrap_err();
            assert!(denied.to_string().ends_with("app/alice: no statement allows it"));
        },
    );
}

#[test]
fn string_conditions() {
    check_conditions(&[
        (r#""StringEquals":{"aws:username":"alice"}"#, true),
        (r#""StringEquals":{"AWS:USERNAME":"alice"}"#, true),
        (r#""stringequals":{"aws:username":"alice"}"#, true),
        (r#""StringEquals":{"aws:username":"Alice"}"#, false),
        (r#""StringEquals":{"aws:username":["bob","alice"]}"#, true),
        (r#""StringEquals":{"aws:username":"al*"}"#, false),
        (r#""StringNotEquals":{"aws:username":"bob"}"#, true),
        (r#""StringNotEquals":{"aws:username":["bob","alice"]}"#, false),
        (r#""StringEqualsIgnoreCase":{"aws:username":"ALICE"}"#, true),
        (r#""StringNotEqualsIgnoreCase":{"aws:username":"ALICE"}"#, false),
        (r#""StringLike":{"aws:username":"al?c*"}"#, true),
        (r#""StringLike":{"aws:username":["b*","a*"]}"#, true),
        (r#""StringLike":{"aws:username":"AL*"}"#, false),
        (r#""StringNotLike":{"aws:username":"b*"}"#, true),
        (r#""StringEquals":{"aws:PrincipalTag/team":"blue"}"#, true),
        (r#""StringEquals":{"aws:ResourceTag/env":"prod"}"#, true),
        (r#""StringEquals":{"aws:ResourceTag/env":"${aws:PrincipalTag/team}"}"#, false),
        (r#""StringLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/app/${aws:username}"}"#, true),
        (r#""StringEquals":{"aws:PrincipalType":"User"}"#, true),
        (r#""StringEquals":{"aws:PrincipalAccount":"123456789012"}"#, true),
        (r#""StringEquals":{"aws:ResourceAccount":"123456789012"}"#, true),
        (r#""StringEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]}"#, true),
        (r#""StringLike":{"aws:UserAgent":"test/*"}"#, true),
        (r#""StringEquals":{"aws:username":[]}"#, false),
    ]);
}

#[test]
fn every_condition_of_a_block_must_hold() {
    check_conditions(&[
        (r#""StringEquals":{"aws:username":"alice","aws:PrincipalTag/team":"blue"}"#, true),
        (r#""StringEquals":{"aws:username":"alice","aws:PrincipalTag/team":"red"}"#, false),
        (r#""StringEquals":{"aws:username":"alice"},"Bool":{"aws:SecureTransport":"false"}"#, false),
        ("", true),
    ]);
}

#[test]
fn a_missing_key_fails_positive_operators_and_passes_negated_ones() {
    check_conditions(&[
        (r#""StringEquals":{"aws:PrincipalTag/none":"x"}"#, false),
        (r#""StringLike":{"aws:PrincipalTag/none":"*"}"#, false),
        (r#""StringNotEquals":{"aws:PrincipalTag/none":"x"}"#, true),
        (r#""StringNotLike":{"aws:PrincipalTag/none":"*"}"#, true),
        (r#""StringEqualsIfExists":{"aws:PrincipalTag/none":"x"}"#, true),
        (r#""StringEqualsIfExists":{"aws:PrincipalTag/team":"red"}"#, false),
        (r#""NumericLessThan":{"kafka:none":"1"}"#, false),
        (r#""NumericNotEquals":{"kafka:none":"1"}"#, true),
        (r#""DateLessThan":{"aws:TokenIssueTime":"2030-01-01"}"#, false),
        (r#""Bool":{"aws:MultiFactorAuthPresent":"false"}"#, false),
        (r#""BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}"#, true),
        (r#""IpAddress":{"aws:VpcSourceIp":"0.0.0.0/0"}"#, false),
        (r#""NotIpAddress":{"aws:VpcSourceIp":"0.0.0.0/0"}"#, true),
        (r#""ArnNotLike":{"aws:SourceArn":"*"}"#, true),
        (r#""Null":{"aws:PrincipalTag/none":"true"}"#, true),
        (r#""Null":{"aws:PrincipalTag/none":"false"}"#, false),
        (r#""Null":{"aws:username":false}"#, true),
        (r#""Null":{"aws:TokenIssueTime":true}"#, true),
    ]);
}

#[test]
fn numeric_conditions() {
    check_conditions(&[
        (r#""NumericEquals":{"kafka:number":"7"}"#, true),
        (r#""NumericEquals":{"kafka:number":7.0}"#, true),
        (r#""NumericNotEquals":{"kafka:number":7}"#, false),
        (r#""NumericLessThan":{"kafka:number":"7"}"#, false),
        (r#""NumericLessThanEquals":{"kafka:number":"7"}"#, true),
        (r#""NumericGreaterThan":{"kafka:number":"6.5"}"#, true),
        (r#""NumericGreaterThanEquals":{"kafka:number":"8"}"#, false),
        (r#""NumericEquals":{"aws:username":"7"}"#, false),
        (r#""NumericGreaterThan":{"aws:EpochTime":"1767323044"}"#, true),
    ]);
}

#[test]
fn date_conditions() {
    check_conditions(&[
        (r#""DateLessThan":{"aws:CurrentTime":"2026-01-02T03:04:06Z"}"#, true),
        (r#""DateLessThan":{"aws:CurrentTime":"2026-01-02T03:04:05Z"}"#, false),
        (r#""DateLessThanEquals":{"aws:CurrentTime":"2026-01-02T03:04:05Z"}"#, true),
        (r#""DateGreaterThan":{"aws:CurrentTime":"2026-01-02"}"#, true),
        (r#""DateGreaterThan":{"aws:CurrentTime":1767323044}"#, true),
        (r#""DateGreaterThanEquals":{"aws:EpochTime":"2026-01-02T04:04:05+01:00"}"#, true),
        (r#""DateEquals":{"aws:CurrentTime":"2026-01-02T03:04:05Z"}"#, true),
        (r#""DateNotEquals":{"aws:CurrentTime":"2026-01-02T03:04:05Z"}"#, false),
        (r#""DateGreaterThan":{"aws:username":"2020-01-01"}"#, false),
    ]);
}

#[test]
fn bool_binary_address_and_arn_conditions() {
    check_conditions(&[
        (r#""Bool":{"aws:SecureTransport":"true"}"#, true),
        (r#""Bool":{"aws:SecureTransport":false}"#, false),
        (r#""Bool":{"kafka:flag":"true"}"#, true),
        (r#""Bool":{"aws:username":"true"}"#, false),
        (r#""BinaryEquals":{"kafka:many":"YQ=="}"#, false),
        (r#""IpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#, true),
        (r#""IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.2.3"]}"#, true),
        (r#""IpAddress":{"aws:SourceIp":"10.1.2.4"}"#, false),
        (r#""NotIpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.2.3"]}"#, false),
        (r#""IpAddress":{"aws:SourceIp":"::/0"}"#, false),
        (r#""ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/app/alice"}"#, true),
        (r#""ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}"#, true),
        (r#""ArnLike":{"aws:PrincipalArn":"arn:*:user/*"}"#, true),
        (r#""ArnLike":{"aws:PrincipalArn":"arn:aws:*:user/app/alice:x:y"}"#, false),
        (r#""ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/app/${aws:username}"}"#, true),
        (r#""ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}"#, true),
        (r#""ArnLike":{"aws:username":"*"}"#, false),
    ]);
}

#[test]
fn set_operators_quantify_over_the_values_of_the_request() {
    check_conditions(&[
        (r#""ForAnyValue:StringEquals":{"kafka:many":["b","c"]}"#, true),
        (r#""ForAnyValue:StringEquals":{"kafka:many":"c"}"#, false),
        (r#""ForAllValues:StringEquals":{"kafka:many":["a","b","c"]}"#, true),
        (r#""ForAllValues:StringEquals":{"kafka:many":["a","c"]}"#, false),
        (r#""ForAllValues:StringLike":{"kafka:many":"?"}"#, true),
        (r#""ForAnyValue:StringNotEquals":{"kafka:many":"a"}"#, true),
        (r#""ForAllValues:StringNotEquals":{"kafka:many":"a"}"#, false),
        (r#""ForAllValues:StringEquals":{"kafka:none":"x"}"#, true),
        (r#""ForAnyValue:StringEquals":{"kafka:none":"x"}"#, false),
        (r#""ForAnyValue:StringNotEquals":{"kafka:none":"x"}"#, false),
        (r#""ForAnyValue:StringEqualsIfExists":{"kafka:none":"x"}"#, true),
        (r#""ForAllValues:StringEquals":{"aws:TagKeys":["a"]}"#, true),
        (r#""StringEquals":{"kafka:many":"b"}"#, true),
        (r#""StringNotEquals":{"kafka:many":"b"}"#, false),
    ]);
}

#[test]
fn the_context_decides_not_the_principal_alone() {
    let statements = r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
        "IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:MultiFactorAuthPresent":"false"},
        "ForAllValues:StringEquals":{"aws:TagKeys":["team"]},"StringEquals":{"aws:RequestTag/team":"x"}}}"#;
    let policies = [Arc::new(policy(PolicyKind::Identity, statements))];
    let sources = PolicySources { identity: &policies, ..PolicySources::default() };
    let tags = [("Team".to_owned(), "x".to_owned()), ("team".to_owned(), "x".to_owned())];
    let decide = |address: &str, tags: &[(String, String)]| {
        with_alice(
            |_| (),
            |context| {
                let context = RequestContext {
                    source_ip: Some(address.parse().unwrap()),
                    token_issued_at: Some(UnixTime::from_millis(0)),
                    request_tags: tags,
                    ..*context
                };
                word(
                    evaluate(sources, &AccessRequest { action: READ, resource: ORDERS, context: &context })
                        .effect,
                )
            },
        )
    };
    assert_eq!(decide("10.9.9.9", &tags[1..]), "allow");
    assert_eq!(decide("::ffff:10.9.9.9", &tags[1..]), "allow");
    assert_eq!(decide("11.9.9.9", &tags[1..]), "none");
    assert_eq!(decide("10.9.9.9", &tags), "none");
}

#[test]
fn a_decision_tells_what_it_read() {
    let reads = |statements: &str| {
        let policies = [Arc::new(policy(PolicyKind::Identity, statements))];
        let sources = PolicySources { identity: &policies, ..PolicySources::default() };
        with_alice(
            |_| (),
            |context| {
                let decision = evaluate(sources, &AccessRequest { action: READ, resource: ORDERS, context });
                (decision.reads_time, decision.reads_source)
            },
        )
    };
    let with = |action: &str, condition: &str| {
        format!(r#"{{"Effect":"Allow","Action":"{action}","Resource":"*","Condition":{{{condition}}}}}"#)
    };
    let time = r#""DateLessThan":{"aws:CurrentTime":"2030-01-01"}"#;
    let source = r#""IpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#;
    let name = r#""StringEquals":{"aws:username":"alice"}"#;
    assert_eq!(reads(&with("*", time)), (true, false));
    assert_eq!(reads(&with("*", source)), (false, true));
    let tag = r#""StringEquals":{"aws:ResourceTag/team":"a"}"#;
    assert_eq!(reads(&with("*", tag)), (false, true));
    assert_eq!(reads(&with("*", name)), (false, false));
    assert_eq!(reads(&with("iam:*", time)), (false, false));
    assert_eq!(reads(&with("*", &format!("{time},{source}"))), (true, true));
    let variable = r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:kafka:*:*:topic/${aws:SourceIp}"}"#;
    assert_eq!(reads(variable), (false, true));
}
