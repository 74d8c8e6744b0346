//! `gateway/PROTOCOL.md` §2, §7, §8: who gets in, to which cluster, and what they may do there.

use headgate_gateway::GatewayConfig;
use headgate_iam::{SecretKey, SessionClaims, UnixTime, session_token};
use headgate_metadata::audit::AuditResult;
use headgate_metadata::id::TimestampMs;
use headgate_metadata::record::{AccessKeyStatus, UserRecord};
use headgate_metadata::users;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, FindCoordinatorRequest, InitProducerIdRequest, MetadataRequest,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::fetch::fetch;
use crate::produce::{code, name, produce, topic};
use crate::support::harness::{ALLOW_ALL, SUFFIX, account};
use crate::support::signer::Login;
use crate::support::{Client, Harness};

async fn handshake(client: &mut Client, mechanism: &'static str) -> i16 {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    client.call(1, &request).await.error_code
}

async fn authenticate(client: &mut Client, message: Vec<u8>) -> SaslAuthenticateResponse {
    client.call(2, &SaslAuthenticateRequest::default().with_auth_bytes(message.into())).await
}

pub(crate) async fn msk_iam(client: &mut Client, login: &Login) -> SaslAuthenticateResponse {
    handshake(client, "AWS_MSK_IAM").await;
    authenticate(client, login.msk_iam()).await
}

/// The same, without waiting for the last answer.
pub(crate) async fn begin_msk_iam(client: &mut Client, login: &Login) {
    handshake(client, "AWS_MSK_IAM").await;
    client.send(2, &SaslAuthenticateRequest::default().with_auth_bytes(login.msk_iam().into())).await;
}

pub(crate) async fn oauth_bearer(client: &mut Client, login: &Login) -> SaslAuthenticateResponse {
    handshake(client, "OAUTHBEARER").await;
    authenticate(client, login.oauth_bearer()).await
}

/// The reason behind `[<request id>]: `.
pub(crate) fn reason(response: &SaslAuthenticateResponse) -> String {
    assert_eq!(response.error_code, 58, "{response:?}");
    let text = response.error_message.as_deref().expect("a text").to_owned();
    let (id, reason) = text.split_once("]: ").expect("a request id first");
    assert_eq!(id.len(), 37, "a UUID in brackets: {text}");
    reason.to_owned()
}

/// Logs in with what a test has spoilt; the reason, after which the connection ends.
async fn refused(harness: &Harness, login: &Login) -> String {
    let mut client = harness.tls("localhost").await;
    let response = msk_iam(&mut client, login).await;
    client.expect_end().await;
    reason(&response)
}

async fn cluster_id(client: &mut Client) -> String {
    client.call(0, &DescribeClusterRequest::default()).await.cluster_id.to_string()
}

#[tokio::test]
async fn both_mechanisms_open_the_cluster_with_their_own_answers() {
    let harness = Harness::start().await;
    let mut client = harness.tls("localhost").await;
    let response = msk_iam(&mut client, &harness.login()).await;
    assert_eq!(response.error_code, 0, "{response:?}");
    let answer = String::from_utf8(response.auth_bytes.to_vec()).expect("JSON");
    assert!(answer.starts_with(r#"{"version":"2020_10_22","request-id":""#), "{answer}");
    assert_eq!(response.session_lifetime_ms, 900_000);
    assert_eq!(cluster_id(&mut client).await, "aaaaaaaa");

    let mut client = harness.tls("localhost").await;
    let response = oauth_bearer(&mut client, &harness.login()).await;
    assert_eq!((response.error_code, response.auth_bytes.len()), (0, 0), "{response:?}");
    assert_eq!(cluster_id(&mut client).await, "aaaaaaaa");
    let allowed: Vec<_> =
        harness.audit().into_iter().filter(|line| line.result == AuditResult::Allowed).collect();
    assert_eq!(allowed.len(), 2);
    assert_eq!(allowed[0].action, "kafka-cluster:Connect");
    assert_eq!(allowed[0].principal.as_deref(), Some("arn:aws:iam::123456789012:user/admin"));
    for line in allowed {
        let details = line.details;
        assert_eq!(details.access_key_id, Some(harness.login().access_key_id));
        assert_eq!(details.principal_id.as_deref(), Some("AIDAadmin"));
        assert_eq!(details.user_agent.as_deref(), Some("test"));
        assert!(details.request_id.is_some());
    }
}

#[tokio::test]
async fn every_version_of_sasl_authenticate_logs_in() {
    let harness = Harness::start().await;
    for version in 0..=2 {
        let mut client = harness.tls("localhost").await;
        handshake(&mut client, "AWS_MSK_IAM").await;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(harness.login().msk_iam().into());
        assert_eq!(client.call(version, &request).await.error_code, 0, "version {version}");
    }
}

#[tokio::test]
async fn after_handshake_version_0_the_login_is_a_bare_frame() {
    let harness = Harness::start().await;
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("AWS_MSK_IAM"));
    let mut client = harness.tls("localhost").await;
    client.call(0, &request).await;
    client.send_frame(&harness.login().msk_iam()).await;
    let answer = client.receive_frame().await.expect("an answer");
    assert!(answer.starts_with(b"{\"version\""));
    cluster_id(&mut client).await;
    let mut client = harness.tls("localhost").await;
    client.call(0, &request).await;
    client.send_frame(&Login { secret: "wrong".into(), ..harness.login() }.msk_iam()).await;
    client.expect_end().await;
}

#[tokio::test]
async fn every_refusal_says_its_reason_once_and_writes_one_audit_line() {
    let harness = Harness::start().await;
    let good = harness.login();
    let cases = [
        (
            Login { access_key_id: "AKIANOBODY0000000000".into(), ..good.clone() },
            "Access denied: unknown access key AKIANOBODY0000000000",
        ),
        (Login { secret: "wrong".into(), ..good.clone() }, "Access denied: signature does not match"),
        (
            Login { host: "example.com".into(), ..good.clone() },
            "Access denied: host example.com is not a name of this cluster",
        ),
        (
            Login { at: good.at.minus(std::time::Duration::from_secs(901)), ..good.clone() },
            "Access denied: signature expired at",
        ),
        (
            Login { at: good.at.plus(std::time::Duration::from_secs(301)), ..good.clone() },
            "Access denied: signed in the future; check the clock",
        ),
        (
            Login { security_token: Some("made-up".into()), ..good.clone() },
            "Access denied: security token is invalid or belongs to another key",
        ),
        (
            Login { at: good.at.minus(std::time::Duration::from_secs(896)), ..good.clone() },
            "Session too short",
        ),
        (Login { expires: "-1".into(), ..good.clone() }, "Invalid authentication payload"),
    ];
    for (seen, (login, expected)) in cases.into_iter().enumerate() {
        let reason = refused(&harness, &login).await;
        assert!(reason.starts_with(expected), "{reason}");
        let audit = harness.audit();
        assert_eq!(audit.len(), seen + 1, "one line each");
        assert_eq!(audit[seen].result, AuditResult::Denied);
        let details = &audit[seen].details;
        let claimed = (expected != "Invalid authentication payload").then_some(login.access_key_id);
        assert_eq!(details.access_key_id, claimed, "{reason}");
        assert!(details.request_id.is_some());
    }
}

#[tokio::test]
async fn a_payload_that_is_none_is_invalid() {
    let harness = Harness::start().await;
    for mechanism in ["AWS_MSK_IAM", "OAUTHBEARER"] {
        let mut client = harness.tls("localhost").await;
        handshake(&mut client, mechanism).await;
        let response = authenticate(&mut client, b"nonsense".to_vec()).await;
        assert_eq!(reason(&response), "Invalid authentication payload");
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_user_without_connect_is_told_so_by_name() {
    let harness = Harness::start().await;
    let login = harness.user("nothing", None).await;
    let expected = format!(
        "Access denied: kafka-cluster:Connect on {} denied for arn:aws:iam::123456789012:user/nothing: \
         no statement allows it",
        harness.arn("cluster", None)
    );
    assert_eq!(refused(&harness, &login).await, expected);
}

#[tokio::test]
async fn the_listener_the_name_dialled_and_the_host_signed_choose_the_cluster_together() {
    let harness = Harness::start().await;
    let (boot_a, boot_b) = (format!("boot-aaaaaaaa.{SUFFIX}"), format!("b2-bbbbbbbb.{SUFFIX}"));
    let at = |host: &str| Login { host: host.to_owned(), ..harness.login() };
    // By SNI, by the host signed, by the listener.
    for (mut client, login, expected) in [
        (harness.tls(&boot_b).await, at(&boot_b), "bbbbbbbb"),
        (harness.tls("localhost").await, at(&boot_b), "bbbbbbbb"),
        (harness.tls_bound("localhost").await, at("localhost"), "bbbbbbbb"),
        (harness.tls(&boot_a).await, at("localhost"), "aaaaaaaa"),
    ] {
        assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);
        assert_eq!(cluster_id(&mut client).await, expected);
    }
    // Two of them that disagree.
    for (mut client, login, host) in [
        (harness.tls(&boot_a).await, at(&boot_b), &boot_b),
        (harness.tls_bound("localhost").await, at(&boot_a), &boot_a),
    ] {
        let response = msk_iam(&mut client, &login).await;
        assert_eq!(reason(&response), format!("Access denied: host {host} belongs to another cluster"));
    }
    // An OAUTHBEARER token names no cluster: SNI alone speaks.
    let mut client = harness.tls(&boot_b).await;
    assert_eq!(oauth_bearer(&mut client, &harness.login()).await.error_code, 0);
    assert_eq!(cluster_id(&mut client).await, "bbbbbbbb");
}

fn session(harness: &Harness, user: &str, ends: UnixTime) -> Login {
    let principal = headgate_iam::Principal::user(
        headgate_iam::AccountId::parse(&account().to_string()).expect("twelve digits"),
        format!("arn:aws:iam::{}:user/{user}", account()),
        user.into(),
        format!("AIDA{user}"),
    );
    let claims = SessionClaims {
        access_key_id: "ASIATEMPORARY0000001".into(),
        secret: SecretKey::new("temporary"),
        principal,
        issued_at: harness.clock_now(),
        expires_at: ends,
        policy: None,
    };
    let token = session_token::seal(&harness.master_key, &claims, &mut |bytes| bytes.fill(1));
    Login {
        access_key_id: claims.access_key_id,
        secret: "temporary".into(),
        security_token: Some(token),
        ..harness.login()
    }
}

impl Harness {
    fn clock_now(&self) -> UnixTime {
        self.login().at
    }
}

#[tokio::test]
async fn a_session_token_opens_the_cluster_until_it_ends() {
    let harness = Harness::start().await;
    let login = session(&harness, "admin", harness.clock_now().plus(std::time::Duration::from_mins(1)));
    let mut client = harness.tls("localhost").await;
    let response = msk_iam(&mut client, &login).await;
    assert_eq!((response.error_code, response.session_lifetime_ms), (0, 60_000), "{response:?}");
    let expired = session(&harness, "admin", harness.clock_now());
    assert_eq!(refused(&harness, &expired).await, "Access denied: security token expired");
    let stripped = Login { security_token: None, ..login };
    let reason = refused(&harness, &stripped).await;
    assert_eq!(reason, "Access denied: security token is invalid or belongs to another key");
}

#[tokio::test]
async fn a_session_ends_unless_the_client_logs_in_again() {
    let harness = Harness::start().await;
    let mut client = harness.tls("localhost").await;
    msk_iam(&mut client, &harness.login()).await;
    harness.clock.advance(899);
    cluster_id(&mut client).await;
    let again = msk_iam(&mut client, &harness.login()).await;
    assert_eq!((again.error_code, again.session_lifetime_ms), (0, 900_000), "{again:?}");
    harness.clock.advance(899);
    cluster_id(&mut client).await;
    harness.clock.advance(2);
    client.send(0, &DescribeClusterRequest::default()).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_session_is_bounded_by_the_servers_own_limit() {
    let config = GatewayConfig { session_ms_max: 60_000, ..GatewayConfig::default() };
    let harness = Harness::with(config).await;
    let mut client = harness.tls("localhost").await;
    assert_eq!(msk_iam(&mut client, &harness.login()).await.session_lifetime_ms, 60_000);
}

#[tokio::test]
async fn logging_in_again_as_another_or_by_another_mechanism_is_refused_in_kafkas_words() {
    let harness = Harness::start().await;
    let other = harness.user("other", Some(ALLOW_ALL)).await;
    let mut client = harness.tls("localhost").await;
    msk_iam(&mut client, &harness.login()).await;
    let response = msk_iam(&mut client, &other).await;
    assert_eq!(response.error_code, 58);
    assert_eq!(
        response.error_message.as_deref(),
        Some(
            "Cannot change principals during re-authentication from IAM.arn:aws:iam::123456789012:user/admin: \
             IAM.arn:aws:iam::123456789012:user/other"
        )
    );
    client.expect_end().await;

    let mut client = harness.tls("localhost").await;
    msk_iam(&mut client, &harness.login()).await;
    let response = oauth_bearer(&mut client, &harness.login()).await;
    assert_eq!(
        response.error_message.as_deref(),
        Some(
            "SASL mechanism 'OAUTHBEARER' requested by client is not supported for re-authentication of mechanism \
             'AWS_MSK_IAM'"
        )
    );
    client.expect_end().await;
}

#[tokio::test]
async fn a_key_that_is_deactivated_closes_its_open_connections_and_opens_no_new_ones() {
    let harness = Harness::start().await;
    let login = harness.user("leaver", Some(ALLOW_ALL)).await;
    let mut client = harness.tls("localhost").await;
    msk_iam(&mut client, &login).await;
    let key = &login.access_key_id;
    users::set_key_status(&*harness.store, account(), key, AccessKeyStatus::Inactive)
        .await
        .expect("the key exists");
    client.expect_end().await;
    assert_eq!(refused(&harness, &login).await, "Access denied: access key is inactive");
}

#[tokio::test]
async fn a_denied_topic_and_group_get_their_codes_and_an_audit_line_each() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"kafka-cluster:Connect","Resource":"{}"}}]}}"#,
        harness.arn("cluster", None)
    );
    let login = harness.user("stranger", Some(&policy)).await;
    let mut client = harness.tls("localhost").await;
    assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);
    let before = harness.audit().len();
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 29);
    assert_eq!(client.call(12, &fetch("t", 0, 0, 60_000)).await.responses[0].partitions[0].error_code, 29);
    let named = MetadataRequestTopic::default().with_name(Some(name("t")));
    let metadata = client.call(12, &MetadataRequest::default().with_topics(Some(vec![named]))).await;
    assert_eq!(metadata.topics[0].error_code, 29);
    let group = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
    assert_eq!(client.call(3, &group).await.error_code, 30);
    assert_eq!(
        client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).await.error_code,
        31
    );
    assert_eq!(client.call(9, &crate::groups::join("m")).await.error_code, 30);
    let all = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    assert!(all.topics.is_empty(), "what may not be seen is left out, and not denied");
    let lines = &harness.audit()[before..];
    let actions: Vec<&str> =
        lines.iter().map(|line| line.action.trim_start_matches("kafka-cluster:")).collect();
    assert_eq!(
        actions,
        ["WriteData", "ReadData", "DescribeTopic", "DescribeGroup", "WriteDataIdempotently", "AlterGroup"]
    );
    assert!(lines.iter().all(|line| line.result == AuditResult::Denied));
    assert_eq!(lines[0].resource.as_deref(), Some(&*harness.arn("topic", Some("t"))));
    assert_eq!(harness.storage.batches(), 0);
}

#[tokio::test]
async fn idempotence_needs_the_cluster_right_or_writing_everywhere_without_any_deny() {
    let harness = Harness::start().await;
    let allow = |action: &str, resource: &str| {
        format!(r#"{{"Effect":"Allow","Action":"kafka-cluster:{action}","Resource":"{resource}"}}"#)
    };
    let (cluster, everywhere) = (harness.arn("cluster", None), harness.arn("topic", Some("*")));
    let one = harness.arn("topic", Some("t"));
    let deny = format!(r#"{{"Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"{one}"}}"#);
    for (user, statements, expected) in [
        ("a", vec![allow("WriteDataIdempotently", &cluster)], 0),
        ("b", vec![allow("WriteData", &everywhere)], 0),
        ("c", vec![allow("WriteData", &one)], 31),
        ("d", vec![allow("WriteData", &everywhere), deny], 31),
    ] {
        let statements = [vec![allow("Connect", &cluster)], statements].concat().join(",");
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let login = harness.user(user, Some(&policy)).await;
        let mut client = harness.tls("localhost").await;
        assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);
        let init = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).await;
        assert_eq!(init.error_code, expected, "user {user}");
    }
}

#[tokio::test]
async fn an_open_connection_sees_a_changed_policy() {
    let harness = Harness::start().await;
    topic(&mut harness.client().await, "t", 1).await;
    let login = harness.user("changing", Some(ALLOW_ALL)).await;
    let mut client = harness.tls("localhost").await;
    msk_iam(&mut client, &login).await;
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 0);
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;
    let mut changes = harness.principals.changes();
    changes.mark_unchanged();
    users::put_policy(&*harness.store, account(), "changing", "deny", deny).await.expect("the user exists");
    changes.changed().await.expect("the principals live");
    assert_eq!(code(&client.call(9, &produce("t", 0, 1)).await), 29);
}

#[tokio::test]
async fn a_session_does_not_outlive_its_user_even_if_another_takes_the_name() {
    let harness = Harness::start().await;
    harness.user("leaver", Some(ALLOW_ALL)).await;
    let ends = harness.clock_now().plus(std::time::Duration::from_mins(10));
    let login = session(&harness, "leaver", ends);
    let mut client = harness.tls("localhost").await;
    assert_eq!(msk_iam(&mut client, &login).await.error_code, 0);

    let namesake = UserRecord {
        name: "leaver".into(),
        user_id: "AIDAnamesake".into(),
        account: account(),
        created: TimestampMs::new(1),
        policies: [("inline".to_owned(), ALLOW_ALL.to_owned())].into(),
        attached: [].into(),
        groups: [].into(),
        access_keys: Vec::new(),
        tags: [].into(),
    };
    let key = format!("AKIA{:0>16}", "LEAVER");
    users::delete_key(&*harness.store, account(), &key).await.expect("it exists");
    users::delete_policy(&*harness.store, account(), "leaver", "inline").await.expect("it exists");
    users::delete(&*harness.store, account(), "leaver").await.expect("nothing is left of it");
    let revision = users::create(&*harness.store, &namesake).await.expect("the name is free");
    harness.principals.catch_up(revision).await.expect("the store is in memory");

    client.expect_end().await;
    let reason = refused(&harness, &login).await;
    assert_eq!(reason, "Access denied: security token is invalid or belongs to another key");
}
