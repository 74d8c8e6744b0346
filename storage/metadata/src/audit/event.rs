//! An audit record in the shape of a CloudTrail event, so that the tools people have for those read it.
//!
//! Source: AWS CloudTrail User Guide, "CloudTrail record contents" and "userIdentity element"; events of Kafka actions as
//! the Amazon MSK Developer Guide shows them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{AuditDetails, AuditRecord, AuditResult};

/// The version of the shape.
const VERSION: &str = "1.08";
/// What CloudTrail says of an attempt that policies refused.
const DENIED: &str = "AccessDenied";
/// What is said of an attempt that failed without a code of its own.
const FAILED: &str = "InternalFailure";
/// Of what clients say of themselves this much is told; CloudTrail cuts it there too.
const USER_AGENT_BYTES_MAX: usize = 1_024;
/// The longest id of an access key (AWS IAM API Reference, "AccessKey").
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;

/// The event of a record.
pub(super) fn of(record: &AuditRecord, region: &str, id: Uuid) -> Value {
    let AuditRecord { details, .. } = record;
    let (service, name) = record.action.split_once(':').unwrap_or(("control", &record.action));
    let (address, port) = record.source.rsplit_once(':').unwrap_or((&record.source, ""));
    let mut event = Map::new();
    let mut put = |key: &str, value: Value| drop(event.insert(key.to_owned(), value));
    put("eventVersion", VERSION.into());
    put("userIdentity", identity(record.principal.as_deref(), details));
    put("eventTime", seconds(&record.time).into());
    put("eventSource", format!("{service}.amazonaws.com").into());
    put("eventName", name.into());
    put("awsRegion", region.into());
    put("sourceIPAddress", address.trim_matches(['[', ']']).into());
    put("userAgent", details.user_agent.as_deref().map(|said| clipped(said, USER_AGENT_BYTES_MAX)).into());
    if record.result != AuditResult::Allowed {
        let code = details.error_code.as_deref();
        let unnamed = if record.result == AuditResult::Denied { DENIED } else { FAILED };
        put("errorCode", code.unwrap_or(unnamed).into());
        put("errorMessage", record.reason.clone().into());
    }
    put("requestParameters", details.request.clone().unwrap_or_else(|| kafka_parameters(service, record)));
    put("responseElements", details.response.clone().into());
    put("additionalEventData", additional(record, port));
    put("requestID", details.request_id.clone().into());
    put("eventID", id.to_string().into());
    put("readOnly", details.read_only.into());
    put("resources", resources(record.resource.as_deref()));
    put("eventType", "AwsApiCall".into());
    put("managementEvent", true.into());
    put("recipientAccountId", recipient(record).into());
    put("eventCategory", "Management".into());
    Value::Object(event)
}

fn identity(principal: Option<&str>, details: &AuditDetails) -> Value {
    let Some(arn) = principal else {
        let mut unknown = json!({ "type": "Unknown" });
        if let Some(key) = &details.access_key_id {
            unknown["accessKeyId"] = clipped(key, ACCESS_KEY_ID_BYTES_MAX).into();
        }
        return unknown;
    };
    let (account, resource) = (account_of(arn), arn.splitn(6, ':').nth(5).unwrap_or_default());
    let mut identity = json!({ "arn": arn, "accountId": account });
    let mut put = |key: &str, value: Value| identity[key] = value;
    if let Some(id) = &details.principal_id {
        put("principalId", id.as_str().into());
    }
    if let Some(key) = &details.access_key_id {
        put("accessKeyId", clipped(key, ACCESS_KEY_ID_BYTES_MAX).into());
    }
    let issued =
        details.session_issued.as_ref().map(|at| json!({ "creationDate": at, "mfaAuthenticated": "false" }));
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["user", .., name] => {
            put("type", "IAMUser".into());
            put("userName", (*name).into());
            if let Some(attributes) = issued {
                put("sessionContext", json!({ "attributes": attributes }));
            }
        }
        ["assumed-role", role, ..] => {
            put("type", "AssumedRole".into());
            let id = details.principal_id.as_deref().and_then(|id| id.split(':').next());
            let issuer = json!({
                "type": "Role", "principalId": id, "arn": format!("arn:aws:iam::{account}:role/{role}"),
                "accountId": account, "userName": role,
            });
            put("sessionContext", json!({ "sessionIssuer": issuer, "attributes": issued }));
        }
        _ => put("type", "Root".into()),
    }
    identity
}

/// The text, or its beginning: a stranger must not fill the log with one line.
fn clipped(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// What MSK says of a Kafka action: the resource. Calls that nobody was proven for say nothing.
fn kafka_parameters(service: &str, record: &AuditRecord) -> Value {
    match &record.resource {
        Some(resource) if service == "kafka-cluster" => json!({ "resourceARN": resource }),
        _ => Value::Null,
    }
}

fn additional(record: &AuditRecord, port: &str) -> Value {
    let mut additional = Map::new();
    if let Some(cluster) = &record.cluster {
        additional.insert("clusterId".to_owned(), cluster.as_str().into());
    }
    if let Ok(port) = port.parse::<u16>() {
        additional.insert("sourcePort".to_owned(), port.into());
    }
    // For what went well there is no error message to say it in.
    if let (AuditResult::Allowed, Some(reason)) = (record.result, &record.reason) {
        additional.insert("note".to_owned(), reason.as_str().into());
    }
    Value::Object(additional)
}

fn resources(resource: Option<&str>) -> Value {
    match resource.filter(|resource| resource.starts_with("arn:")) {
        Some(arn) => json!([{ "ARN": arn, "accountId": account_of(arn) }]),
        None => Value::Null,
    }
}

/// The account that the event is for: the owner of the resource, else the account of who asked.
fn recipient(record: &AuditRecord) -> Option<&str> {
    let arns = [record.resource.as_deref(), record.principal.as_deref()];
    arns.into_iter().flatten().map(account_of).find(|account| !account.is_empty())
}

fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// CloudTrail's times have no fractions.
fn seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            time: "2026-11-21T09:00:00.123Z".into(),
            source: "[::1]:40000".into(),
            principal: Some("arn:aws:sts::123456789012:assumed-role/app/s1".into()),
            cluster: Some("abcdefgh".into()),
            action: "kafka-cluster:WriteData".into(),
            resource: Some("arn:aws:kafka:eu-west-1:999999999999:topic/demo/u-s1/orders".into()),
            result: AuditResult::Denied,
            reason: Some("no statement allows it".into()),
            details: AuditDetails {
                principal_id: Some("AROAX:s1".into()),
                access_key_id: Some("ASIA1".into()),
                session_issued: Some("2026-11-21T08:00:00Z".into()),
                ..AuditDetails::default()
            },
        }
    }

    #[test]
    fn a_denied_kafka_action_is_told_as_cloudtrail_tells_it() {
        let event = of(&record(), "eu-west-1", Uuid::nil());
        let expected = json!({
            "eventVersion": "1.08",
            "userIdentity": {
                "type": "AssumedRole", "principalId": "AROAX:s1", "accessKeyId": "ASIA1",
                "arn": "arn:aws:sts::123456789012:assumed-role/app/s1", "accountId": "123456789012",
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role", "principalId": "AROAX", "arn": "arn:aws:iam::123456789012:role/app",
                        "accountId": "123456789012", "userName": "app",
                    },
                    "attributes": {"creationDate": "2026-11-21T08:00:00Z", "mfaAuthenticated": "false"},
                },
            },
            "eventTime": "2026-11-21T09:00:00Z", "eventSource": "kafka-cluster.amazonaws.com",
            "eventName": "WriteData", "awsRegion": "eu-west-1", "sourceIPAddress": "::1", "userAgent": null,
            "errorCode": "AccessDenied", "errorMessage": "no statement allows it",
            "requestParameters": {"resourceARN": "arn:aws:kafka:eu-west-1:999999999999:topic/demo/u-s1/orders"},
            "responseElements": null,
            "additionalEventData": {"clusterId": "abcdefgh", "sourcePort": 40000},
            "requestID": null, "eventID": "00000000-0000-0000-0000-000000000000", "readOnly": false,
            "resources": [{
                "ARN": "arn:aws:kafka:eu-west-1:999999999999:topic/demo/u-s1/orders", "accountId": "999999999999",
            }],
            "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "999999999999",
            "eventCategory": "Management",
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn who_is_not_proven_is_unknown_and_a_user_has_its_name() {
        let stranger = AuditRecord { principal: None, ..record() };
        let event = of(&stranger, "eu-west-1", Uuid::nil());
        assert_eq!(event["userIdentity"], json!({"type": "Unknown", "accessKeyId": "ASIA1"}));
        let user = AuditRecord {
            principal: Some("arn:aws:iam::123456789012:user/ann".into()),
            result: AuditResult::Allowed,
            details: AuditDetails::default(),
            ..record()
        };
        let event = of(&user, "eu-west-1", Uuid::nil());
        assert_eq!(
            event["userIdentity"],
            json!({
                "type": "IAMUser", "userName": "ann", "arn": "arn:aws:iam::123456789012:user/ann",
                "accountId": "123456789012",
            })
        );
        assert!(event.get("errorCode").is_none());
        assert_eq!(event["additionalEventData"]["note"], "no statement allows it");
    }

    #[test]
    fn what_strangers_say_of_themselves_is_cut() {
        let said = "é".repeat(1_000);
        let details = AuditDetails {
            access_key_id: Some(said.clone()),
            user_agent: Some(said),
            ..AuditDetails::default()
        };
        let event = of(&AuditRecord { principal: None, details, ..record() }, "eu-west-1", Uuid::nil());
        assert_eq!(event["userAgent"].as_str().map(str::len), Some(1_024));
        assert_eq!(event["userIdentity"]["accessKeyId"].as_str().map(str::len), Some(128));
    }
}
