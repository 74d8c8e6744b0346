//! The `iam` service, as a signing client sees it.

use crate::support::{self, Draft, start};

#[tokio::test]
async fn a_user_is_created_found_listed_and_deleted_in_the_shapes_of_the_service() {
    let running = start().await;
    let created = running.iam("CreateUser", &[("UserName", "ann")]).await;
    assert_eq!(created.status, 200);
    assert_eq!(created.headers["content-type"], "text/xml");
    let id = created.xml("UserId");
    assert!(id.starts_with("AIDA"));
    let request_id = &created.headers["x-amzn-requestid"];
    assert_eq!(
        created.body,
        format!(
            "<CreateUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><CreateUserResult><User>\
             <Path>/</Path><UserName>ann</UserName><UserId>{id}</UserId>\
             <Arn>arn:aws:iam::123456789012:user/ann</Arn><CreateDate>2026-11-21T09:06:40Z</CreateDate></User>\
             </CreateUserResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
             </CreateUserResponse>\n"
        )
    );
    assert_eq!(running.iam("GetUser", &[("UserName", "ann")]).await.xml("UserId"), id);
    assert_eq!(running.iam("GetUser", &[]).await.xml("UserName"), "admin", "without a name it is the caller");
    let listed = running.iam("ListUsers", &[]).await;
    assert!(
        listed.body.contains("<UserName>ann</UserName>")
            && listed.body.contains("<UserName>admin</UserName>")
    );
    assert_eq!(listed.xml("IsTruncated"), "false");
    let deleted = running.iam("DeleteUser", &[("UserName", "ann")]).await;
    assert_eq!(deleted.status, 200);
    assert!(!deleted.body.contains("DeleteUserResult"));
    assert_eq!(running.iam("GetUser", &[("UserName", "ann")]).await.refusal(), (404, "NoSuchEntity".into()));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let running = start().await;
    for name in ["a", "b"] {
        running.iam("CreateUser", &[("UserName", name)]).await;
    }
    let first = running.iam("ListUsers", &[("MaxItems", "2")]).await;
    assert_eq!(first.xml("IsTruncated"), "true");
    let second = running.iam("ListUsers", &[("MaxItems", "2"), ("Marker", &first.xml("Marker"))]).await;
    assert_eq!((second.xml("UserName"), second.xml("IsTruncated")), ("b".into(), "false".into()));
    for (name, value) in [("MaxItems", "0"), ("MaxItems", "1001"), ("Marker", "***")] {
        assert_eq!(
            running.iam("ListUsers", &[(name, value)]).await.refusal(),
            (400, "ValidationError".into())
        );
    }
}

/// An action, its parameters, and the status and code it is refused with.
type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], (u16, &'a str));

#[tokio::test]
async fn what_cannot_be_done_has_the_services_own_code() {
    let running = start().await;
    running.user("ann", Some(support::ADMINISTRATOR)).await;
    let long = "a".repeat(65);
    let cases: [Refused<'_>; 13] = [
        ("CreateUser", &[("UserName", "ann")], (409, "EntityAlreadyExists")),
        ("CreateUser", &[("UserName", "a b")], (400, "ValidationError")),
        ("CreateUser", &[("UserName", &long)], (400, "ValidationError")),
        ("CreateUser", &[], (400, "ValidationError")),
        ("CreateUser", &[("UserName", "x"), ("Path", "/team/")], (400, "InvalidInput")),
        ("CreateUser", &[("UserName", "x"), ("PermissionsBoundary", "p")], (400, "InvalidInput")),
        ("DeleteUser", &[("UserName", "ann")], (409, "DeleteConflict")),
        ("DeleteUser", &[("UserName", "eve")], (404, "NoSuchEntity")),
        ("GetUserPolicy", &[("UserName", "ann"), ("PolicyName", "none")], (404, "NoSuchEntity")),
        ("DeleteUserPolicy", &[("UserName", "ann"), ("PolicyName", "none")], (404, "NoSuchEntity")),
        ("DeleteAccessKey", &[("UserName", "ann"), ("AccessKeyId", "AKIANONE")], (404, "NoSuchEntity")),
        ("CreateAccessKey", &[("UserName", "eve")], (404, "NoSuchEntity")),
        ("CreateSAMLProvider", &[("Name", "s")], (400, "InvalidAction")),
    ];
    for (action, parameters, (status, code)) in cases {
        let refused = running.iam(action, parameters).await;
        assert_eq!(refused.refusal(), (status, code.to_owned()), "{action} {parameters:?}");
        assert_eq!(refused.xml("RequestId"), refused.headers["x-amzn-requestid"]);
    }
}

#[tokio::test]
async fn an_action_of_another_version_is_unknown() {
    let running = start().await;
    let draft = Draft::query("iam", &[("Action", "ListUsers"), ("Version", "2011-01-01")]);
    let refused = running.call(&running.administrator, &draft).await;
    assert_eq!(refused.refusal(), (400, "InvalidAction".into()));
    let missing =
        running.call(&running.administrator, &Draft::query("iam", &[("Version", "2010-05-08")])).await;
    assert_eq!(missing.refusal(), (400, "InvalidAction".into()));
}

#[tokio::test]
async fn policies_are_put_read_back_encoded_listed_and_deleted() {
    let running = start().await;
    running.iam("CreateUser", &[("UserName", "ann")]).await;
    let policy = ("PolicyDocument", support::ADMINISTRATOR);
    assert_eq!(
        running.iam("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), policy]).await.status,
        200
    );
    let read = running.iam("GetUserPolicy", &[("UserName", "ann"), ("PolicyName", "p")]).await;
    assert_eq!(read.xml("PolicyDocument"), support::escape(support::ADMINISTRATOR));
    let listed = running.iam("ListUserPolicies", &[("UserName", "ann")]).await;
    assert!(listed.body.contains("<PolicyNames><member>p</member></PolicyNames>"), "{}", listed.body);
    assert_eq!(
        running.iam("DeleteUserPolicy", &[("UserName", "ann"), ("PolicyName", "p")]).await.status,
        200
    );
    for (document, code) in [
        ("{}".to_owned(), "MalformedPolicyDocument"),
        ("not json".to_owned(), "MalformedPolicyDocument"),
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"x","Resource":"*"}]}"#
                .to_owned(),
            "MalformedPolicyDocument",
        ),
        (
            support::ADMINISTRATOR.replace("\"*\"}", &format!("\"arn:aws:kafka:::{}\"}}", "x".repeat(7_000))),
            "LimitExceeded",
        ),
    ] {
        let put = [("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", document.as_str())];
        assert_eq!(running.iam("PutUserPolicy", &put).await.refusal().1, code, "{document}");
    }
}

#[tokio::test]
async fn a_new_key_signs_at_once_and_its_secret_is_never_shown_again() {
    let running = start().await;
    let ann = running.user("ann", Some(support::ADMINISTRATOR)).await;
    let listed = running.call(&ann, &Draft::query("iam", &[("Action", "ListAccessKeys")])).await;
    assert_eq!(listed.xml("AccessKeyId"), ann.access_key_id);
    assert_eq!(listed.xml("Status"), "Active");
    assert!(!listed.body.contains(&ann.secret));
    running.iam("CreateAccessKey", &[("UserName", "ann")]).await;
    let third = running.iam("CreateAccessKey", &[("UserName", "ann")]).await;
    assert_eq!(third.refusal(), (409, "LimitExceeded".into()));
    for record in running.audit.records() {
        assert!(!format!("{record:?}").contains(&ann.secret));
    }
}

#[tokio::test]
async fn a_deactivated_key_is_refused_at_once_and_works_when_activated_again() {
    let running = start().await;
    let ann = running.user("ann", Some(support::ADMINISTRATOR)).await;
    let list = Draft::query("iam", &[("Action", "ListUsers")]);
    let set = |status: &'static str| {
        [("UserName", "ann"), ("AccessKeyId", ann.access_key_id.as_str()), ("Status", status)]
    };
    assert_eq!(running.iam("UpdateAccessKey", &set("Inactive")).await.status, 200);
    let refused = running.call(&ann, &list).await;
    assert_eq!(refused.refusal(), (403, "InvalidClientTokenId".into()));
    assert!(refused.xml("Message").contains("inactive"));
    assert_eq!(running.iam("UpdateAccessKey", &set("Active")).await.status, 200);
    assert_eq!(running.call(&ann, &list).await.status, 200);
    assert_eq!(running.iam("UpdateAccessKey", &set("Gone")).await.refusal(), (400, "ValidationError".into()));
    let delete = [("UserName", "ann"), ("AccessKeyId", ann.access_key_id.as_str())];
    assert_eq!(running.iam("DeleteAccessKey", &delete).await.status, 200);
    assert_eq!(running.call(&ann, &list).await.refusal(), (403, "InvalidClientTokenId".into()));
}

#[tokio::test]
async fn a_changed_policy_holds_for_the_next_call() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let list = Draft::query("iam", &[("Action", "ListUsers")]);
    let denied = running.call(&ann, &list).await;
    assert_eq!(denied.refusal(), (403, "AccessDenied".into()));
    assert!(denied.xml("Message").contains("iam:ListUsers"));
    let put = |document| [("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", document)];
    running.iam("PutUserPolicy", &put(support::ADMINISTRATOR)).await;
    assert_eq!(running.call(&ann, &list).await.status, 200);
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Sid":"No","Effect":"Deny","Action":"iam:List*","Resource":"*"}]}"#;
    let put = [("UserName", "ann"), ("PolicyName", "q"), ("PolicyDocument", deny)];
    running.iam("PutUserPolicy", &put).await;
    let denied = running.call(&ann, &list).await;
    assert_eq!(denied.refusal(), (403, "AccessDenied".into()));
    assert!(denied.xml("Message").contains("explicit deny"), "{}", denied.body);
    assert!(running.last_audit().reason.expect("a reason").contains("explicit deny"));
}

#[tokio::test]
async fn a_simulation_says_what_a_user_may_do_and_which_statement_forbids_it() {
    let running = start().await;
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"kafka:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}},
        {"Sid":"Keep","Effect":"Deny","Action":"kafka:Delete*","Resource":"*"}]}"#;
    running.user("ann", Some(policy)).await;
    let ann = ("PolicySourceArn", "arn:aws:iam::123456789012:user/ann");
    let ask = [
        ann,
        ("ActionNames.member.1", "kafka:ListClustersV2"),
        ("ActionNames.member.2", "kafka:DeleteCluster"),
        ("ActionNames.member.3", "iam:GetUser"),
        ("ContextEntries.member.1.ContextKeyName", "aws:SourceIp"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "10.1.2.3"),
        ("ContextEntries.member.1.ContextKeyType", "ip"),
    ];
    let decisions = |body: &str| -> Vec<String> {
        let parts = body.split("<EvalDecision>").skip(1);
        parts.filter_map(|part| part.split_once('<')).map(|(word, _)| word.to_owned()).collect()
    };
    let reply = running.iam("SimulatePrincipalPolicy", &ask).await;
    assert_eq!(decisions(&reply.body), ["allowed", "explicitDeny", "implicitDeny"], "{}", reply.body);
    assert_eq!(reply.xml("SourcePolicyId"), "p/Keep");
    let elsewhere = running.iam("SimulatePrincipalPolicy", &ask[..2]).await;
    assert_eq!(decisions(&elsewhere.body), ["implicitDeny"]);
    let with_more =
        [ann, ("ActionNames.member.1", "iam:GetUser"), ("PolicyInputList.member.1", support::ADMINISTRATOR)];
    let tried = running.iam("SimulatePrincipalPolicy", &with_more).await;
    assert_eq!(decisions(&tried.body), ["allowed"]);
    assert_eq!(
        running.iam("SimulatePrincipalPolicy", &[ann]).await.refusal(),
        (400, "ValidationError".into())
    );
    let foreign = [("PolicySourceArn", "arn:aws:iam::999999999999:user/ann"), ask[1]];
    assert_eq!(
        running.iam("SimulatePrincipalPolicy", &foreign).await.refusal(),
        (403, "AccessDenied".into())
    );
    let wrong = [ann, ask[1], ask[4], ("ContextEntries.member.1.ContextKeyValues.member.1", "x")];
    assert_eq!(
        running.iam("SimulatePrincipalPolicy", &wrong).await.refusal(),
        (400, "ValidationError".into())
    );
}

#[tokio::test]
async fn a_user_is_in_no_group_and_has_no_managed_policy() {
    let running = start().await;
    let admin = [("UserName", "admin")];
    assert!(running.iam("ListGroupsForUser", &admin).await.body.contains("<Groups></Groups>"));
    let attached = running.iam("ListAttachedUserPolicies", &admin).await;
    assert!(attached.body.contains("<AttachedPolicies></AttachedPolicies>"));
    let unknown = running.iam("ListGroupsForUser", &[("UserName", "eve")]).await;
    assert_eq!(unknown.refusal(), (404, "NoSuchEntity".into()));
}
