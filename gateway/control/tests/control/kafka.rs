//! The `kafka` service, as a signing client sees it.

use crate::support::{self, Draft, escape, start, start_with};

const SERVERLESS: &str = r#""serverless":{"vpcConfigs":[{"subnetIds":["subnet-1","subnet-2"],
    "securityGroupIds":["sg-1"]}],"clientAuthentication":{"sasl":{"iam":{"enabled":true}}}}"#;

async fn create(running: &support::Running, name: &str) -> support::Reply {
    let body = format!(r#"{{"clusterName":"{name}","tags":{{"team":"a"}},{SERVERLESS}}}"#);
    running.kafka("POST", "/api/v2/clusters", &body).await
}

async fn created(running: &support::Running, name: &str) -> String {
    let reply = create(running, name).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let arn = reply.json()["clusterArn"].as_str().expect("an ARN").to_owned();
    running.active(&arn).await;
    arn
}

#[tokio::test]
async fn a_created_cluster_is_described_with_everything_that_was_told() {
    let running = start_with(|config| config.cluster_ports = Some(9100..=9199)).await;
    let reply = create(&running, "orders").await;
    let json = reply.json();
    assert_eq!((&json["clusterName"], &json["clusterType"]), (&"orders".into(), &"SERVERLESS".into()));
    assert_eq!(json["state"], "CREATING");
    let arn = json["clusterArn"].as_str().expect("an ARN");
    assert!(arn.starts_with("arn:aws:kafka:eu-west-1:123456789012:cluster/orders/"), "{arn}");
    let described = running.kafka("GET", &format!("/api/v2/clusters/{}", escape(arn)), "").await;
    let info = &described.json()["clusterInfo"];
    assert_eq!(info["clusterArn"], arn);
    assert_eq!(info["tags"]["team"], "a");
    assert_eq!(info["creationTime"], "2026-11-21T09:06:40Z");
    assert_eq!(info["serverless"]["vpcConfigs"][0]["subnetIds"][1], "subnet-2");
    assert_eq!(info["serverless"]["clientAuthentication"]["sasl"]["iam"]["enabled"], true);
    running.active(arn).await;
    let brokers = running.kafka("GET", &format!("/v1/clusters/{}/bootstrap-brokers", escape(arn)), "").await;
    assert_eq!(brokers.body, r#"{"bootstrapBrokerStringSaslIam":"localhost:9100"}"#);
    let audited = running.last_audit();
    assert_eq!(
        (audited.action.as_str(), audited.resource.as_deref()),
        ("kafka:GetBootstrapBrokers", Some(arn))
    );
    assert!(audited.cluster.is_some());
}

#[tokio::test]
async fn a_deleted_cluster_is_deleting_and_then_unknown_and_its_name_is_free() {
    let running = start().await;
    let arn = created(&running, "orders").await;
    let path = format!("/v1/clusters/{}", escape(&arn));
    let wrong = running.kafka("DELETE", &format!("{path}?currentVersion=K0"), "").await;
    assert_eq!(wrong.refusal(), (400, "BadRequestException".into()));
    let deleted = running.kafka("DELETE", &path, "").await;
    assert_eq!((deleted.status, &deleted.json()["state"]), (200, &"DELETING".into()));
    let describe = format!("/api/v2/clusters/{}", escape(&arn));
    loop {
        let described = running.kafka("GET", &describe, "").await;
        if described.status == 404 {
            assert_eq!(described.refusal().1, "NotFoundException");
            break;
        }
        assert_eq!(described.json()["clusterInfo"]["state"], "DELETING");
    }
    created(&running, "orders").await;
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_taken_up_by_the_next_start() {
    let running = start().await;
    let arn = created(&running, "orders").await;
    let store = running.store.clone();
    let cluster = headgate_metadata::clusters::list(&*store).await.expect("readable").remove(0);
    let now = headgate_metadata::id::TimestampMs::new(1);
    headgate_metadata::clusters::begin_delete(&*store, cluster.id, now).await.expect("marked");
    running.stop().await;
    let again = support::start_on(store, |_| ()).await;
    let describe = format!("/api/v2/clusters/{}", escape(&arn));
    while again.kafka("GET", &describe, "").await.status != 404 {}
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let running = start().await;
    created(&running, "orders").await;
    assert_eq!(create(&running, "orders").await.refusal(), (409, "ConflictException".into()));
}

#[tokio::test]
async fn where_the_ports_are_used_up_a_cluster_has_none_of_its_own() {
    let running = start_with(|config| config.cluster_ports = Some(9100..=9100)).await;
    created(&running, "a").await;
    let arn = created(&running, "b").await;
    let path = format!("/v1/clusters/{}/bootstrap-brokers", escape(&arn));
    let brokers = running.kafka("GET", &path, "").await.json();
    assert_eq!(brokers["bootstrapBrokerStringSaslIam"], "localhost:9098", "the port all clusters share");
}

#[tokio::test]
async fn lists_come_in_pages_by_name_and_filter_by_prefix_and_type() {
    let running = start().await;
    for name in ["b", "a", "c", "xa"] {
        created(&running, name).await;
    }
    let names = |reply: &support::Reply| -> Vec<String> {
        let json = reply.json();
        let list = json["clusterInfoList"].as_array().expect("a list");
        list.iter().map(|info| info["clusterName"].as_str().expect("a name").to_owned()).collect()
    };
    let first = running.kafka("GET", "/api/v2/clusters?maxResults=3", "").await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    let token = first.json()["nextToken"].as_str().expect("more").to_owned();
    let second = running.kafka("GET", &format!("/api/v2/clusters?maxResults=3&nextToken={token}"), "").await;
    assert_eq!(names(&second), ["xa"]);
    assert!(second.json().get("nextToken").is_none());
    assert_eq!(names(&running.kafka("GET", "/api/v2/clusters?clusterNameFilter=x", "").await), ["xa"]);
    let provisioned = running.kafka("GET", "/api/v2/clusters?clusterTypeFilter=PROVISIONED", "").await;
    assert_eq!(names(&provisioned), [""; 0]);
    for query in ["maxResults=0", "maxResults=101", "maxResults=x", "nextToken=***"] {
        let refused = running.kafka("GET", &format!("/api/v2/clusters?{query}"), "").await;
        assert_eq!(refused.refusal(), (400, "BadRequestException".into()), "{query}");
    }
}

#[tokio::test]
async fn tags_are_added_listed_and_removed() {
    let running = start().await;
    let arn = created(&running, "orders").await;
    let path = format!("/v1/tags/{}", escape(&arn));
    let added = running.kafka("POST", &path, r#"{"tags":{"env":"test","team":"b"}}"#).await;
    assert_eq!((added.status, added.body.as_str()), (204, ""));
    let listed = running.kafka("GET", &path, "").await;
    assert_eq!(listed.json()["tags"], serde_json::json!({"env": "test", "team": "b"}));
    let removed = running.kafka("DELETE", &format!("{path}?tagKeys=env&tagKeys=none"), "").await;
    assert_eq!(removed.status, 204);
    assert_eq!(running.kafka("GET", &path, "").await.json()["tags"], serde_json::json!({"team": "b"}));
    let reserved = running.kafka("POST", &path, r#"{"tags":{"aws:x":"y"}}"#).await;
    assert_eq!(reserved.refusal(), (400, "BadRequestException".into()));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_a_bad_request_naming_the_parameter() {
    let running = start().await;
    let cases = [
        (format!(r#"{{"clusterName":"a_b",{SERVERLESS}}}"#), Some("clusterName")),
        (format!("{{{SERVERLESS}}}"), Some("clusterName")),
        (r#"{"clusterName":"a"}"#.to_owned(), Some("serverless")),
        (r#"{"clusterName":"a","serverless":{"vpcConfigs":[]}}"#.to_owned(), Some("vpcConfigs")),
        (
            r#"{"clusterName":"a","serverless":{"vpcConfigs":[{"subnetIds":[]}]}}"#.to_owned(),
            Some("vpcConfigs"),
        ),
        (r#"{"clusterName":"a","provisioned":{}}"#.to_owned(), Some("provisioned")),
        ("{".to_owned(), None),
        (r#"{"clusterName":7}"#.to_owned(), None),
    ];
    for (body, parameter) in cases {
        let reply = running.kafka("POST", "/api/v2/clusters", &body).await;
        assert_eq!(reply.refusal(), (400, "BadRequestException".into()), "{body}");
        assert_eq!(reply.json()["invalidParameter"].as_str(), parameter, "{body}");
        assert!(!reply.json()["message"].as_str().expect("a text").is_empty());
    }
    for arn in
        ["demo", "arn:aws:kafka:eu-west-1:123456789012:topic/a/b/c", "arn:aws:sqs:eu-west-1:1:cluster/a/b"]
    {
        let reply = running.kafka("GET", &format!("/api/v2/clusters/{}", escape(arn)), "").await;
        assert_eq!(reply.refusal(), (400, "BadRequestException".into()), "{arn}");
    }
}

#[tokio::test]
async fn calls_of_provisioned_clusters_and_paths_of_nothing_have_their_own_errors() {
    let running = start().await;
    let arn = created(&running, "orders").await;
    let nodes = running.kafka("GET", &format!("/v1/clusters/{}/nodes", escape(&arn)), "").await;
    assert_eq!(nodes.refusal(), (400, "BadRequestException".into()));
    assert!(nodes.body.contains("ListNodes"), "{}", nodes.body);
    for path in
        ["/api/v2/nothing", "/v1/clusters/a/b/c/d", "/", "/api/v2/clusters/arn:x/y", "/api%2Fv2/clusters"]
    {
        let reply = running.kafka("GET", path, "").await;
        assert_eq!(reply.refusal(), (404, "UnknownOperationException".into()), "{path}");
    }
    let versions = running.kafka("GET", "/v1/kafka-versions", "").await;
    assert_eq!(versions.json()["kafkaVersions"][0]["status"], "ACTIVE");
}

#[tokio::test]
async fn another_accounts_cluster_is_denied_whether_it_exists_or_not() {
    let running = start().await;
    let arn = created(&running, "orders").await.replace(support::ACCOUNT, "999999999999");
    let reply = running.kafka("GET", &format!("/api/v2/clusters/{}", escape(&arn)), "").await;
    assert_eq!(reply.refusal(), (403, "AccessDeniedException".into()));
}

#[tokio::test]
async fn a_policy_can_allow_by_arn_and_by_tag() {
    let running = start().await;
    let (a, b) = (created(&running, "a").await, created(&running, "b").await);
    let untag = running.kafka("DELETE", &format!("/v1/tags/{}?tagKeys=team", escape(&b)), "").await;
    assert_eq!(untag.status, 204);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kafka:Describe*","Resource":"*",
        "Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}}]}"#;
    let ann = running.user("ann", Some(policy)).await;
    let describe = |arn: &str| Draft::json("kafka", "GET", &format!("/api/v2/clusters/{}", escape(arn)), "");
    assert_eq!(running.call(&ann, &describe(&a)).await.status, 200);
    let denied = running.call(&ann, &describe(&b)).await;
    assert_eq!(denied.refusal(), (403, "AccessDeniedException".into()));
    let message = denied.json()["message"].as_str().expect("a text").to_owned();
    assert_eq!(
        message,
        format!(
            "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: kafka:DescribeClusterV2 on \
             resource: {b} because no identity-based policy allows the kafka:DescribeClusterV2 action"
        )
    );
    let audited = running.last_audit();
    assert_eq!(audited.principal.as_deref(), Some("arn:aws:iam::123456789012:user/ann"));
    assert_eq!(audited.reason.as_deref(), Some("no statement allows it"));
    let delete = Draft::json("kafka", "DELETE", &format!("/v1/clusters/{}", escape(&a)), "");
    assert_eq!(running.call(&ann, &delete).await.status, 403, "one action does not imply another");
}

#[tokio::test]
async fn there_is_never_an_operation_under_way() {
    let running = start().await;
    let arn = created(&running, "orders").await;
    let listed = running.kafka("GET", &format!("/api/v2/clusters/{}/operations", escape(&arn)), "").await;
    assert_eq!(listed.body, r#"{"clusterOperationInfoList":[]}"#);
    let operation = escape("arn:aws:kafka:eu-west-1:123456789012:cluster-operation/orders/u/o");
    let described = running.kafka("GET", &format!("/api/v2/operations/{operation}"), "").await;
    assert_eq!(described.refusal(), (404, "NotFoundException".into()));
}
