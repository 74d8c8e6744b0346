//! Roles and the sessions that are made of them.

use std::time::Duration;

use crate::support::{self, Draft, Reply, Running, Signer, start, start_with};

const ROLE: &str = "arn:aws:iam::123456789012:role/app";
const LISTS_USERS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}]}"#;
const ASSUMES: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;

/// A trust policy for a principal, with conditions behind it.
fn trust(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},
        "Action":"sts:AssumeRole"{condition}}}]}}"#
    )
}

async fn role(running: &Running, trust: &str) {
    let parameters = [("RoleName", "app"), ("AssumeRolePolicyDocument", trust)];
    let created = running.iam("CreateRole", &parameters).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let policy = [("RoleName", "app"), ("PolicyName", "p"), ("PolicyDocument", LISTS_USERS)];
    assert_eq!(running.iam("PutRolePolicy", &policy).await.status, 200);
}

async fn assume(running: &Running, signer: &Signer, more: &[(&str, &str)]) -> Reply {
    let mut parameters = vec![("Action", "AssumeRole"), ("RoleArn", ROLE), ("RoleSessionName", "s1")];
    parameters.extend_from_slice(more);
    running.call(signer, &Draft::query("sts", &parameters)).await
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

async fn status(running: &Running, signer: &Signer, action: &str) -> u16 {
    running.call(signer, &Draft::query("iam", &[("Action", action)])).await.status
}

#[tokio::test]
async fn a_session_acts_as_its_role_under_its_own_name() {
    let running = start().await;
    role(&running, &trust("123456789012", "")).await;
    let ann = running.user("ann", Some(ASSUMES)).await;
    let assumed = assume(&running, &ann, &[]).await;
    assert_eq!(assumed.xml("Arn"), "arn:aws:sts::123456789012:assumed-role/app/s1");
    assert_eq!(assumed.xml("Expiration"), "2026-11-21T10:06:40Z");
    let session = session(&assumed);
    let identity = running.call(&session, &Draft::query("sts", &[("Action", "GetCallerIdentity")])).await;
    assert_eq!(identity.xml("Arn"), "arn:aws:sts::123456789012:assumed-role/app/s1");
    assert_eq!(identity.xml("UserId"), assumed.xml("AssumedRoleId"));
    assert_eq!(status(&running, &session, "ListUsers").await, 200);
    assert_eq!(status(&running, &ann, "ListUsers").await, 403, "the user itself may not");
    assert_eq!(status(&running, &session, "ListGroups").await, 403);
    assert_eq!(status(&running, &session, "GetUser").await, 400, "a session is no user");
    running.advance(Duration::from_hours(1));
    let expired = running.call(&session, &Draft::query("iam", &[("Action", "ListUsers")])).await;
    assert_eq!(expired.refusal(), (403, "ExpiredToken".into()));
}

#[tokio::test]
async fn who_may_assume_is_for_the_trust_policy_and_the_callers_own() {
    let running = start().await;
    role(&running, &trust("arn:aws:iam::123456789012:user/ann", "")).await;
    let ann = running.user("ann", None).await;
    assert_eq!(assume(&running, &ann, &[]).await.status, 200, "it is named itself");
    let bob = running.user("bob", Some(ASSUMES)).await;
    let refused = assume(&running, &bob, &[]).await;
    assert_eq!(refused.refusal(), (403, "AccessDenied".into()), "its account is not named");
    let account = trust("123456789012", "");
    let update = [("RoleName", "app"), ("PolicyDocument", account.as_str())];
    assert_eq!(running.iam("UpdateAssumeRolePolicy", &update).await.status, 200);
    assert_eq!(assume(&running, &bob, &[]).await.status, 200);
    assert_eq!(assume(&running, &ann, &[]).await.status, 403, "its own policies do not allow it");
    let other = [("RoleArn", "arn:aws:iam::123456789012:role/none")];
    let mut parameters = vec![("Action", "AssumeRole"), ("RoleSessionName", "s1")];
    parameters.extend_from_slice(&other);
    for signer in [&ann, &bob] {
        let none = running.call(signer, &Draft::query("sts", &parameters)).await;
        assert_eq!(none.refusal(), (403, "AccessDenied".into()), "a role that is not there looks the same");
    }
}

#[tokio::test]
async fn an_external_id_is_asked_for_where_the_trust_policy_says_so() {
    let running = start().await;
    let condition = r#","Condition":{"StringEquals":{"sts:ExternalId":"x-1"}}"#;
    role(&running, &trust("arn:aws:iam::123456789012:user/ann", condition)).await;
    let ann = running.user("ann", None).await;
    assert_eq!(assume(&running, &ann, &[]).await.status, 403);
    assert_eq!(assume(&running, &ann, &[("ExternalId", "x-2")]).await.status, 403);
    assert_eq!(assume(&running, &ann, &[("ExternalId", "x-1")]).await.status, 200);
}

#[tokio::test]
async fn a_session_policy_narrows_the_role() {
    let running = start().await;
    role(&running, &trust("123456789012", "")).await;
    let put = [("RoleName", "app"), ("PolicyName", "all"), ("PolicyDocument", support::ADMINISTRATOR)];
    assert_eq!(running.iam("PutRolePolicy", &put).await.status, 200);
    let ann = running.user("ann", Some(ASSUMES)).await;
    let narrowed = session(&assume(&running, &ann, &[("Policy", LISTS_USERS)]).await);
    assert_eq!(status(&running, &narrowed, "ListUsers").await, 200);
    assert_eq!(status(&running, &narrowed, "ListGroups").await, 403);
    let whole = session(&assume(&running, &ann, &[]).await);
    assert_eq!(status(&running, &whole, "ListGroups").await, 200);
    let long = LISTS_USERS.replace("ListUsers", &"x".repeat(2_048));
    assert_eq!(assume(&running, &ann, &[("Policy", &long)]).await.refusal().1, "PackedPolicyTooLarge");
    assert_eq!(assume(&running, &ann, &[("Policy", "{}")]).await.refusal().1, "MalformedPolicyDocument");
}

#[tokio::test]
async fn a_session_ends_with_its_role_even_if_the_name_comes_back() {
    let running = start().await;
    role(&running, &trust("123456789012", "")).await;
    let ann = running.user("ann", Some(ASSUMES)).await;
    let session = session(&assume(&running, &ann, &[]).await);
    assert_eq!(running.iam("DeleteRole", &[("RoleName", "app")]).await.refusal().1, "DeleteConflict");
    running.iam("DeleteRolePolicy", &[("RoleName", "app"), ("PolicyName", "p")]).await;
    assert_eq!(status(&running, &session, "ListUsers").await, 403, "the policy is gone at once");
    assert_eq!(running.iam("DeleteRole", &[("RoleName", "app")]).await.status, 200);
    role(&running, &trust("123456789012", "")).await;
    let refused = running.call(&session, &Draft::query("iam", &[("Action", "ListUsers")])).await;
    assert_eq!(refused.refusal(), (403, "InvalidClientTokenId".into()));
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_role_and_the_cell_let() {
    let running = start_with(|config| config.role_session_max = Duration::from_mins(20)).await;
    role(&running, &trust("123456789012", "")).await;
    let ann = running.user("ann", Some(ASSUMES)).await;
    for seconds in ["899", "3601", "x"] {
        let refused = assume(&running, &ann, &[("DurationSeconds", seconds)]).await;
        assert_eq!(refused.refusal(), (400, "ValidationError".into()), "{seconds}");
    }
    let short = assume(&running, &ann, &[("DurationSeconds", "900")]).await;
    assert_eq!(short.xml("Expiration"), "2026-11-21T09:21:40Z");
    let capped = assume(&running, &ann, &[]).await;
    assert_eq!(capped.xml("Expiration"), "2026-11-21T09:26:40Z");
    let longer = [("RoleName", "app"), ("MaxSessionDuration", "43200"), ("Description", "for tests")];
    assert_eq!(running.iam("UpdateRole", &longer).await.status, 200);
    assert_eq!(running.iam("GetRole", &[("RoleName", "app")]).await.xml("Description"), "for tests");
    assert_eq!(assume(&running, &ann, &[("DurationSeconds", "43200")]).await.status, 200);
}

#[tokio::test]
async fn what_would_change_a_session_and_is_not_kept_is_refused() {
    let running = start().await;
    role(&running, &trust("123456789012", "")).await;
    for parameter in ["PolicyArns.member.1.arn", "Tags.member.1.Key", "SourceIdentity"] {
        let refused = assume(&running, &running.administrator, &[(parameter, "x")]).await;
        assert_eq!(refused.refusal(), (400, "ValidationError".into()), "{parameter}");
    }
    for name in ["a", "a b", &"a".repeat(65)] {
        let parameters = [("Action", "AssumeRole"), ("RoleArn", ROLE), ("RoleSessionName", name)];
        let refused = running.call(&running.administrator, &Draft::query("sts", &parameters)).await;
        assert_eq!(refused.refusal(), (400, "ValidationError".into()), "{name}");
    }
}

#[tokio::test]
async fn a_question_about_a_role_is_answered_with_the_statement_that_decides() {
    let running = start().await;
    role(&running, &trust("123456789012", "")).await;
    let ask = |action| {
        [("PolicySourceArn", ROLE), ("ActionNames.member.1", action), ("ResourceArns.member.1", "*")]
    };
    let allowed = running.iam("SimulatePrincipalPolicy", &ask("iam:ListUsers")).await;
    assert_eq!(allowed.xml("EvalDecision"), "allowed");
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Sid":"No","Effect":"Deny","Action":"iam:*","Resource":"*"}]}"#;
    let put = [("RoleName", "app"), ("PolicyName", "d"), ("PolicyDocument", deny)];
    running.iam("PutRolePolicy", &put).await;
    let denied = running.iam("SimulatePrincipalPolicy", &ask("iam:ListUsers")).await;
    assert_eq!(denied.xml("EvalDecision"), "explicitDeny");
    assert_eq!(
        (denied.xml("SourcePolicyId").as_str(), denied.xml("SourcePolicyType").as_str()),
        ("d/No", "role")
    );
    let custom = [("PolicyInputList.member.1", deny), ("ActionNames.member.1", "iam:ListUsers")];
    let denied = running.iam("SimulateCustomPolicy", &custom).await;
    assert_eq!(denied.xml("EvalDecision"), "explicitDeny");
}
