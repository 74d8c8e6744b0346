//! Calls that act on what only provisioned clusters have: known by name, allowed or denied by policy, and then refused
//! with the error a serverless cluster gives.

use crate::answer::Answer;
use crate::call::{Call, TagContext};
use crate::error::ApiError;

/// The name of the call; `None` for paths that no call has.
pub(super) fn name(method: &str, path: &[&str]) -> Option<&'static str> {
    Some(match (method, path) {
        ("POST", ["v1", "clusters"]) => "CreateCluster",
        ("GET", ["v1", "clusters"]) => "ListClusters",
        ("GET", ["v1", "clusters", _]) => "DescribeCluster",
        ("PUT", ["v1", "clusters", _, "nodes", "count"]) => "UpdateBrokerCount",
        ("PUT", ["v1", "clusters", _, "nodes", "type"]) => "UpdateBrokerType",
        ("PUT", ["v1", "clusters", _, "nodes", "storage"]) => "UpdateBrokerStorage",
        ("GET", ["v1", "clusters", _, "nodes"]) => "ListNodes",
        ("PUT", ["v1", "clusters", _, "storage"]) => "UpdateStorage",
        ("PUT", ["v1", "clusters", _, "monitoring"]) => "UpdateMonitoring",
        ("PUT", ["v1", "clusters", _, "configuration"]) => "UpdateClusterConfiguration",
        ("PUT", ["v1", "clusters", _, "version"]) => "UpdateClusterKafkaVersion",
        ("PATCH", ["v1", "clusters", _, "security"]) => "UpdateSecurity",
        ("PUT", ["v1", "clusters", _, "connectivity"]) => "UpdateConnectivity",
        ("PUT", ["v1", "clusters", _, "rebalancing"]) => "UpdateRebalancing",
        ("PUT", ["v1", "clusters", _, "reboot-broker"]) => "RebootBroker",
        ("POST", ["v1", "clusters", _, "scram-secrets"]) => "BatchAssociateScramSecret",
        ("PATCH", ["v1", "clusters", _, "scram-secrets"]) => "BatchDisassociateScramSecret",
        ("GET", ["v1", "clusters", _, "scram-secrets"]) => "ListScramSecrets",
        ("POST", ["v1", "clusters", _, "topics"]) => "CreateTopic",
        ("GET", ["v1", "clusters", _, "topics"]) => "ListTopics",
        ("GET", ["v1", "clusters", _, "topics", _]) => "DescribeTopic",
        ("PUT", ["v1", "clusters", _, "topics", _]) => "UpdateTopic",
        ("DELETE", ["v1", "clusters", _, "topics", _]) => "DeleteTopic",
        ("GET", ["v1", "clusters", _, "topics", _, "partitions"]) => "DescribeTopicPartitions",
        ("POST", ["v1", "configurations"]) => "CreateConfiguration",
        ("GET", ["v1", "configurations"]) => "ListConfigurations",
        ("GET", ["v1", "configurations", _]) => "DescribeConfiguration",
        ("PUT", ["v1", "configurations", _]) => "UpdateConfiguration",
        ("DELETE", ["v1", "configurations", _]) => "DeleteConfiguration",
        _ => return None,
    })
}

pub(super) fn run(call: &Call<'_>, name: &str) -> Result<Answer, ApiError> {
    call.authorize("*", TagContext::default())?;
    Err(ApiError::malformed(format!("{name} is not supported for serverless clusters.")))
}
