//! The `sts` service and temporary credentials, as a signing client sees them.

use std::time::Duration;

use crate::support::{self, Draft, Reply, Signer, start};

fn identity() -> Draft {
    Draft::query("sts", &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")])
}

fn session(reply: &Reply) -> Signer {
    assert_eq!(reply.status, 200, "{}", reply.body);
    Signer {
        access_key_id: reply.xml("AccessKeyId"),
        secret: reply.xml("SecretAccessKey"),
        token: Some(reply.xml("SessionToken")),
        region: "eu-west-1".into(),
    }
}

#[tokio::test]
async fn a_caller_learns_who_it_is_without_any_permission() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let reply = running.call(&ann, &identity()).await;
    assert_eq!(reply.xml("Arn"), "arn:aws:iam::123456789012:user/ann");
    assert_eq!(reply.xml("Account"), "123456789012");
    assert!(
        reply
            .body
            .starts_with("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">")
    );
}

#[tokio::test]
async fn the_identity_call_alone_may_be_signed_in_its_query() {
    let running = start().await;
    let target = running.presigned_identity(&running.administrator, Duration::from_mins(1));
    let draft = Draft { service: "sts", method: "GET", target, body: String::new(), headers: Vec::new() };
    let reply = running.send(&draft, &[]).await;
    assert_eq!(reply.xml("Arn"), "arn:aws:iam::123456789012:user/admin", "{}", reply.body);
    let mut other = draft.clone();
    other.target = other.target.replace("GetCallerIdentity", "GetSessionToken");
    assert_eq!(running.send(&other, &[]).await.status, 400);
    running.advance(Duration::from_secs(61));
    assert_eq!(running.send(&draft, &[]).await.refusal(), (403, "SignatureDoesNotMatch".into()));
}

#[tokio::test]
async fn global_services_are_signed_for_the_home_region_too() {
    let running = start().await;
    let mut signer = running.administrator.clone();
    signer.region = "us-east-1".into();
    assert_eq!(running.call(&signer, &identity()).await.status, 200);
    let listed = running.call(&signer, &Draft::query("iam", &[("Action", "ListUsers")])).await;
    assert_eq!(listed.status, 200);
    let kafka = running.call(&signer, &Draft::json("kafka", "GET", "/v1/kafka-versions", "")).await;
    assert_eq!(kafka.refusal(), (403, "InvalidSignatureException".into()));
}

#[tokio::test]
async fn a_session_acts_as_its_user_until_it_expires() {
    let running = start().await;
    let ann = running.user("ann", Some(support::ADMINISTRATOR)).await;
    let token = Draft::query("sts", &[("Action", "GetSessionToken"), ("DurationSeconds", "900")]);
    let reply = running.call(&ann, &token).await;
    assert_eq!(reply.xml("Expiration"), "2026-11-21T09:21:40Z");
    let temporary = session(&reply);
    assert!(temporary.access_key_id.starts_with("ASIA"));
    let list = Draft::query("iam", &[("Action", "ListUsers")]);
    assert_eq!(running.call(&temporary, &list).await.status, 200);
    let again = running.call(&temporary, &token).await;
    assert_eq!(again.refusal(), (403, "AccessDenied".into()), "a session does not prolong itself");
    running.advance(Duration::from_mins(15));
    assert_eq!(running.call(&temporary, &list).await.refusal(), (403, "ExpiredToken".into()));
    let kafka = running.call(&temporary, &Draft::json("kafka", "GET", "/v1/kafka-versions", "")).await;
    assert_eq!(kafka.refusal(), (403, "ExpiredTokenException".into()));
}

#[tokio::test]
async fn a_token_opens_its_own_key_alone() {
    let running = start().await;
    let token = Draft::query("sts", &[("Action", "GetSessionToken")]);
    let one = session(&running.call(&running.administrator, &token).await);
    let two = session(&running.call(&running.administrator, &token).await);
    let refused = |reply: Reply| assert_eq!(reply.refusal(), (403, "InvalidClientTokenId".into()));
    refused(running.call(&Signer { token: two.token.clone(), ..one.clone() }, &identity()).await);
    refused(running.call(&Signer { token: None, ..one.clone() }, &identity()).await);
    refused(running.call(&Signer { token: Some("garbage".into()), ..one.clone() }, &identity()).await);
    refused(
        running
            .call(&Signer { token: one.token.clone(), ..running.administrator.clone() }, &identity())
            .await,
    );
}

#[tokio::test]
async fn a_session_ends_with_its_user_even_if_the_name_comes_back() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let temporary =
        session(&running.call(&ann, &Draft::query("sts", &[("Action", "GetSessionToken")])).await);
    assert_eq!(running.call(&temporary, &identity()).await.status, 200);
    running.iam("DeleteAccessKey", &[("UserName", "ann"), ("AccessKeyId", &ann.access_key_id)]).await;
    running.iam("DeleteUser", &[("UserName", "ann")]).await;
    running.iam("CreateUser", &[("UserName", "ann")]).await;
    assert_eq!(running.call(&temporary, &identity()).await.refusal(), (403, "InvalidClientTokenId".into()));
}

#[tokio::test]
async fn a_session_lasts_between_a_quarter_of_an_hour_and_a_day_and_a_half() {
    let running = start().await;
    for seconds in ["899", "129601", "x", ""] {
        let draft = Draft::query("sts", &[("Action", "GetSessionToken"), ("DurationSeconds", seconds)]);
        let refused = running.call(&running.administrator, &draft).await;
        assert_eq!(refused.refusal(), (400, "ValidationError".into()), "{seconds}");
    }
}

#[tokio::test]
async fn a_deny_stops_sessions_although_nothing_need_allow_them() {
    let running = start().await;
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"sts:*","Resource":"*"}]}"#;
    let ann = running.user("ann", Some(deny)).await;
    let refused = running.call(&ann, &Draft::query("sts", &[("Action", "GetSessionToken")])).await;
    assert_eq!(refused.refusal(), (403, "AccessDenied".into()));
    let token = running.call(&ann, &Draft::query("sts", &[("Action", "GetFederationToken")])).await;
    assert_eq!(token.refusal(), (400, "InvalidAction".into()));
}
