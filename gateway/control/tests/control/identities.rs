//! Groups and managed policies, as a signing client sees them.

use crate::support::{self, Draft, Reply, Running, start};

const LISTS_USERS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}]}"#;
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Sid":"No","Effect":"Deny","Action":"*","Resource":"*"}]}"#;

async fn done(running: &Running, action: &str, parameters: &[(&str, &str)]) -> Reply {
    let reply = running.iam(action, parameters).await;
    assert_eq!(reply.status, 200, "{action}: {}", reply.body);
    reply
}

async fn refused(running: &Running, action: &str, parameters: &[(&str, &str)]) -> String {
    running.iam(action, parameters).await.refusal().1
}

fn list_users() -> Draft {
    Draft::query("iam", &[("Action", "ListUsers")])
}

#[tokio::test]
async fn a_group_gives_its_policies_to_its_members_for_as_long_as_they_are_in_it() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let created = done(&running, "CreateGroup", &[("GroupName", "team")]).await;
    assert_eq!(created.xml("Arn"), "arn:aws:iam::123456789012:group/team");
    assert!(created.xml("GroupId").starts_with("AGPA"));
    let policy = [("GroupName", "team"), ("PolicyName", "p"), ("PolicyDocument", LISTS_USERS)];
    done(&running, "PutGroupPolicy", &policy).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 403);
    let member = [("GroupName", "team"), ("UserName", "ann")];
    done(&running, "AddUserToGroup", &member).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 200);
    assert_eq!(done(&running, "GetGroup", &[("GroupName", "team")]).await.xml("UserName"), "ann");
    assert_eq!(done(&running, "ListGroupsForUser", &[("UserName", "ann")]).await.xml("GroupName"), "team");
    assert_eq!(refused(&running, "DeleteGroup", &[("GroupName", "team")]).await, "DeleteConflict");
    done(&running, "RemoveUserFromGroup", &member).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 403);
    assert_eq!(refused(&running, "RemoveUserFromGroup", &member).await, "NoSuchEntity");
    done(&running, "DeleteGroupPolicy", &policy[..2]).await;
    done(&running, "DeleteGroup", &[("GroupName", "team")]).await;
    assert_eq!(refused(&running, "GetGroup", &[("GroupName", "team")]).await, "NoSuchEntity");
}

#[tokio::test]
async fn a_managed_policy_counts_for_whom_it_is_attached_in_the_version_in_force() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let created =
        done(&running, "CreatePolicy", &[("PolicyName", "lists"), ("PolicyDocument", LISTS_USERS)]).await;
    let arn = created.xml("Arn");
    assert_eq!(
        (arn.as_str(), created.xml("DefaultVersionId").as_str()),
        ("arn:aws:iam::123456789012:policy/lists", "v1")
    );
    let attachment = [("UserName", "ann"), ("PolicyArn", arn.as_str())];
    done(&running, "AttachUserPolicy", &attachment).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 200);
    let attached = done(&running, "ListAttachedUserPolicies", &[("UserName", "ann")]).await;
    assert_eq!((attached.xml("PolicyName").as_str(), attached.xml("PolicyArn")), ("lists", arn.clone()));
    let entities = done(&running, "ListEntitiesForPolicy", &[("PolicyArn", &arn)]).await;
    assert_eq!(entities.xml("UserName"), "ann");
    let second = [("PolicyArn", arn.as_str()), ("PolicyDocument", NOTHING), ("SetAsDefault", "true")];
    assert_eq!(done(&running, "CreatePolicyVersion", &second).await.xml("VersionId"), "v2");
    assert_eq!(running.call(&ann, &list_users()).await.status, 403);
    done(&running, "SetDefaultPolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v1")]).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 200);
    let version = done(&running, "GetPolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v2")]).await;
    assert_eq!(version.xml("IsDefaultVersion"), "false");
    assert!(version.xml("Document").starts_with("%7B%22Version%22"));
    for (action, code) in [("DeletePolicy", "DeleteConflict"), ("DeletePolicyVersion", "DeleteConflict")] {
        assert_eq!(refused(&running, action, &[("PolicyArn", &arn), ("VersionId", "v1")]).await, code);
    }
    done(&running, "DetachUserPolicy", &attachment).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 403);
    done(&running, "DeletePolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v2")]).await;
    done(&running, "DeletePolicy", &[("PolicyArn", &arn)]).await;
    assert_eq!(refused(&running, "GetPolicy", &[("PolicyArn", &arn)]).await, "NoSuchEntity");
}

#[tokio::test]
async fn policies_of_others_and_what_is_no_policy_are_refused() {
    let running = start().await;
    running.user("ann", None).await;
    for (arn, code) in [
        ("arn:aws:iam::aws:policy/AdministratorAccess", "NoSuchEntity"),
        ("arn:aws:iam::999999999999:policy/lists", "NoSuchEntity"),
        ("arn:aws:iam::123456789012:policy/none", "NoSuchEntity"),
        ("arn:aws:iam::123456789012:user/ann", "InvalidInput"),
        ("lists", "InvalidInput"),
    ] {
        let attachment = [("UserName", "ann"), ("PolicyArn", arn)];
        assert_eq!(refused(&running, "AttachUserPolicy", &attachment).await, code, "{arn}");
    }
    let broken = [("PolicyName", "p"), ("PolicyDocument", "{}")];
    assert_eq!(refused(&running, "CreatePolicy", &broken).await, "MalformedPolicyDocument");
}

#[tokio::test]
async fn who_may_attach_one_policy_may_attach_no_other() {
    let running = start().await;
    for name in ["lists", "other"] {
        done(&running, "CreatePolicy", &[("PolicyName", name), ("PolicyDocument", LISTS_USERS)]).await;
    }
    let only = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AttachUserPolicy","Resource":"*",
        "Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::123456789012:policy/lists"}}}]}"#;
    let ann = running.user("ann", Some(only)).await;
    for (name, status) in [("lists", 200), ("other", 403)] {
        let arn = format!("arn:aws:iam::123456789012:policy/{name}");
        let attach = [("Action", "AttachUserPolicy"), ("UserName", "ann"), ("PolicyArn", &arn)];
        assert_eq!(running.call(&ann, &Draft::query("iam", &attach)).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn tags_of_a_user_are_kept_shown_and_asked_for_by_policies() {
    let running = start().await;
    let tagged = [("UserName", "ann"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "a")];
    assert_eq!(done(&running, "CreateUser", &tagged).await.xml("Value"), "a");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",
        "Condition":{"StringEquals":{"aws:PrincipalTag/team":"a"}}}]}"#;
    let put = [("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", policy)];
    done(&running, "PutUserPolicy", &put).await;
    let ann = running.key("ann").await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 200);
    done(&running, "UntagUser", &[("UserName", "ann"), ("TagKeys.member.1", "team")]).await;
    assert_eq!(running.call(&ann, &list_users()).await.status, 403);
    done(&running, "TagUser", &tagged).await;
    assert_eq!(done(&running, "ListUserTags", &[("UserName", "ann")]).await.xml("Key"), "team");
    let reserved = [("UserName", "ann"), ("Tags.member.1.Key", "aws:x")];
    assert_eq!(refused(&running, "TagUser", &reserved).await, "InvalidInput");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_told_to_who_may_ask() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let asked = [("AccessKeyId", ann.access_key_id.as_str())];
    let unused = done(&running, "GetAccessKeyLastUsed", &asked).await;
    assert_eq!((unused.xml("UserName").as_str(), unused.xml("ServiceName").as_str()), ("ann", "N/A"));
    running.call(&ann, &Draft::json("kafka", "GET", "/v1/kafka-versions", "")).await;
    let used = done(&running, "GetAccessKeyLastUsed", &asked).await;
    assert_eq!(used.xml("ServiceName"), "kafka");
    assert_eq!(
        (used.xml("Region").as_str(), used.xml("LastUsedDate").as_str()),
        ("eu-west-1", "2026-11-21T09:06:40Z")
    );
    let store = running.store.clone();
    running.stop().await;
    let again = support::start_on(store, |_| ()).await;
    let used = done(&again, "GetAccessKeyLastUsed", &asked).await;
    assert_eq!(used.xml("ServiceName"), "kafka", "it outlives the process");
    let ann_asks = [("Action", "GetAccessKeyLastUsed"), ("AccessKeyId", "AKIANONE")];
    assert_eq!(again.call(&ann, &Draft::query("iam", &ann_asks)).await.status, 403);
    assert_eq!(refused(&again, "GetAccessKeyLastUsed", &[("AccessKeyId", "AKIANONE")]).await, "NoSuchEntity");
}
