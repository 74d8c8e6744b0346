//! The `headgate` service and the unsigned paths, as their callers see them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Draft, Signer, start, start_with};

#[tokio::test]
async fn a_session_of_a_named_user_may_be_as_short_as_a_second() {
    let running = start().await;
    running.iam("CreateUser", &[("UserName", "ann")]).await;
    let reply =
        running.native("POST", "/headgate/v1/sessions", r#"{"userName":"ann","durationSeconds":1}"#).await;
    let json = reply.json();
    assert_eq!(json["expiration"], "2026-11-21T09:06:41Z");
    let text = |name: &str| json[name].as_str().expect("a text").to_owned();
    let ann = Signer {
        access_key_id: text("accessKeyId"),
        secret: text("secretAccessKey"),
        token: Some(text("sessionToken")),
        region: "eu-west-1".into(),
    };
    let identity = Draft::query("sts", &[("Action", "GetCallerIdentity")]);
    assert_eq!(running.call(&ann, &identity).await.xml("Arn"), "arn:aws:iam::123456789012:user/ann");
    running.advance(Duration::from_secs(1));
    assert_eq!(running.call(&ann, &identity).await.refusal(), (403, "ExpiredToken".into()));
    for body in [
        r#"{"userName":"ann","durationSeconds":0}"#,
        r#"{"userName":"ann","durationSeconds":-1}"#,
        r#"{"userName":"ann","durationSeconds":1,"more":1}"#,
        r#"{"userName":"a b","durationSeconds":1}"#,
        "",
    ] {
        let refused = running.native("POST", "/headgate/v1/sessions", body).await;
        assert_eq!(refused.refusal(), (400, "BadRequestException".into()), "{body}");
    }
    let unknown =
        running.native("POST", "/headgate/v1/sessions", r#"{"userName":"eve","durationSeconds":1}"#).await;
    assert_eq!(unknown.refusal(), (404, "NotFoundException".into()));
}

#[tokio::test]
async fn a_cluster_is_created_with_its_options_and_listed_with_its_way_in() {
    let running = start_with(|config| config.cluster_ports = Some(9100..=9199)).await;
    let body = r#"{"clusterName":"orders","autoCreateTopics":true,"tags":{"team":"a"}}"#;
    let created = running.native("POST", "/headgate/v1/clusters", body).await.json();
    assert_eq!((&created["autoCreateTopics"], &created["port"]), (&true.into(), &9100.into()));
    assert_eq!(created["bootstrapBrokers"], "localhost:9100");
    assert_eq!(created["clusterId"].as_str().map(str::len), Some(8));
    let listed = running.native("GET", "/headgate/v1/clusters", "").await.json();
    assert_eq!(listed["clusters"][0], created);
    let stored = headgate_metadata::clusters::list(&*running.store).await.expect("readable").remove(0);
    assert!(stored.auto_create_topics);
    assert_eq!(stored.slot_set.len(), 8);
}

#[tokio::test]
async fn a_key_is_deactivated_by_its_id_alone() {
    let running = start().await;
    let ann = running.user("ann", None).await;
    let path = format!("/headgate/v1/access-keys/{}", ann.access_key_id);
    let reply = running.native("POST", &format!("{path}/deactivate"), "").await;
    assert_eq!((&reply.json()["status"], &reply.json()["userName"]), (&"Inactive".into(), &"ann".into()));
    let identity = Draft::query("sts", &[("Action", "GetCallerIdentity")]);
    assert_eq!(running.call(&ann, &identity).await.refusal(), (403, "InvalidClientTokenId".into()));
    assert_eq!(running.native("POST", &format!("{path}/activate"), "").await.status, 200);
    assert_eq!(running.call(&ann, &identity).await.status, 200);
    let unknown = running.native("POST", "/headgate/v1/access-keys/AKIANONE/deactivate", "").await;
    assert_eq!(unknown.refusal(), (404, "NotFoundException".into()));
    let denied =
        running.call(&ann, &Draft::json("headgate", "POST", &format!("{path}/deactivate"), "")).await;
    assert_eq!(denied.refusal(), (403, "AccessDeniedException".into()));
}

#[tokio::test]
async fn a_bill_comes_as_json_table_or_csv() {
    let running = start().await;
    let json = running.native("GET", "/headgate/v1/bill?by=topic", "").await;
    assert_eq!((json.status, &json.json()["group_by"]), (200, &"topic".into()));
    for (format, kind) in [("table", "text/plain; charset=utf-8"), ("csv", "text/csv; charset=utf-8")] {
        let reply = running.native("GET", &format!("/headgate/v1/bill?format={format}"), "").await;
        assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, kind));
    }
    for query in ["by=x", "format=x", "from=yesterday", "from=2026-12-01&to=2026-11-01"] {
        let refused = running.native("GET", &format!("/headgate/v1/bill?{query}"), "").await;
        assert_eq!(refused.refusal(), (400, "BadRequestException".into()), "{query}");
    }
    let unknown = running.native("GET", "/headgate/v1/bill?cluster=none", "").await;
    assert_eq!(unknown.refusal(), (404, "NotFoundException".into()));
}

#[tokio::test]
async fn quotas_are_listed_set_and_put_back() {
    let running = start().await;
    running.native("POST", "/headgate/v1/clusters", r#"{"clusterName":"orders"}"#).await;
    let path = "/headgate/v1/clusters/orders/quotas";
    let of = |json: &serde_json::Value, name: &str| {
        let quotas = json["quotas"].as_array().expect("a list");
        let quota = quotas.iter().find(|quota| quota["name"] == name).expect("listed");
        (quota["value"].as_u64(), quota["isSet"] == true)
    };
    let listed = running.native("GET", path, "").await.json();
    assert_eq!(of(&listed, "requests_per_second"), (Some(15_000), false));
    let both = r#"{"quotas":{"requests_per_second":7,"groups_max":3}}"#;
    let set = running.native("POST", path, both).await.json();
    assert_eq!(of(&set, "requests_per_second"), (Some(7), true));
    let back = running.native("POST", path, r#"{"quotas":{"requests_per_second":null}}"#).await.json();
    assert_eq!(of(&back, "requests_per_second"), (Some(15_000), false));
    assert_eq!(of(&running.native("GET", path, "").await.json(), "groups_max"), (Some(3), true));
    for (body, text) in [
        (r#"{"quotas":{"speed":1}}"#, "There is no quota named `speed`."),
        (
            r#"{"quotas":{"requests_per_second":0}}"#,
            "Requests_per_second must be from 1 to 1073741824, not 0.",
        ),
        (r#"{"quotas":{}}"#, "The request must contain the parameter quotas."),
    ] {
        let refused = running.native("POST", path, body).await;
        assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(text)), "{body}");
    }
    let unknown = running.native("GET", "/headgate/v1/clusters/none/quotas", "").await;
    assert_eq!(unknown.refusal(), (404, "NotFoundException".into()));
}

#[tokio::test]
async fn a_tenant_sees_its_quotas_and_sets_none() {
    let running = start_with(|config| config.operator_account = None).await;
    running.native("POST", "/headgate/v1/clusters", r#"{"clusterName":"orders"}"#).await;
    let path = "/headgate/v1/clusters/orders/quotas";
    assert_eq!(running.native("GET", path, "").await.status, 200);
    let refused = running.native("POST", path, r#"{"quotas":{"requests_per_second":7}}"#).await;
    assert_eq!(refused.refusal(), (403, "AccessDeniedException".into()));
    let elsewhere = running.native("GET", &format!("{path}?account=111111111111"), "").await;
    assert_eq!(elsewhere.refusal(), (403, "AccessDeniedException".into()));
    let ann = running.user("ann", None).await;
    let denied = running.call(&ann, &Draft::json("headgate", "GET", path, "")).await;
    assert_eq!(denied.refusal(), (403, "AccessDeniedException".into()));
}

#[tokio::test]
async fn quotas_are_explained_also_when_nobody_is_connected() {
    let running = start().await;
    running.native("POST", "/headgate/v1/clusters", r#"{"clusterName":"orders"}"#).await;
    let explained = running.native("GET", "/headgate/v1/clusters/orders/quotas/explanation", "").await.json();
    assert_eq!(
        (&explained["clusterName"], &explained["flows"]),
        (&"orders".into(), &serde_json::Value::Null)
    );
    assert_eq!(explained["partitions"], serde_json::json!({"used": 0, "limit": 2_400}));
}

#[tokio::test]
async fn the_status_counts_what_the_account_has() {
    let running = start().await;
    let status = running.native("GET", "/headgate/v1/status", "").await.json();
    assert_eq!(
        (&status["ready"], &status["users"], &status["clusters"]),
        (&true.into(), &1.into(), &0.into())
    );
    assert_eq!(status["region"], "eu-west-1");
    let nothing = running.native("GET", "/headgate/v2/status", "").await;
    assert_eq!(nothing.refusal(), (404, "UnknownOperationException".into()));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_signature() {
    let running = start().await;
    let get = |path: &str| Draft::json("", "GET", path, "");
    assert_eq!(running.send(&get("/healthz"), &[]).await.body, "ok\n");
    assert_eq!(running.send(&get("/readyz"), &[]).await.status, 200);
    running.ready.store(false, Ordering::Release);
    assert_eq!(running.send(&get("/readyz"), &[]).await.status, 503);
    running.kafka("GET", "/v1/kafka-versions", "").await;
    let metrics = running.send(&get("/metrics"), &[]).await;
    let line = "headgate_control_requests_total{service=\"kafka\",ending=\"done\"} 1";
    assert!(metrics.body.contains(line), "{}", metrics.body);
    assert_eq!(running.audit.records().len(), 1, "probes are not audited");
}
