//! Calls about what only provisioned clusters have, and about things that do not exist here: known by name, allowed or denied
//! by policy, and then answered as an account without such things is answered.

use headgate_iam::Arn;
use serde_json::json;

use super::authorized_cluster;
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

/// A list of which there is nothing in any account: the call's name, and the list's in its answer.
pub(super) fn empty_list(method: &str, path: &[&str]) -> Option<(&'static str, &'static str)> {
    Some(match (method, path) {
        ("GET", ["v1", "clusters"]) => ("ListClusters", "clusterInfoList"),
        ("GET", ["v1", "configurations"]) => ("ListConfigurations", "configurations"),
        ("GET", ["v1", "vpc-connections"]) => ("ListVpcConnections", "vpcConnections"),
        ("GET", ["replication", "v1", "replicators"]) => ("ListReplicators", "replicators"),
        _ => return None,
    })
}

pub(super) fn list(call: &Call<'_>, list: &str) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    Ok(Answer::json(&json!({ list: [] })))
}

/// The name of the call and the ARN it names, if any; `None` for paths that no call has.
pub(super) fn named<'p>(method: &str, path: &[&'p str]) -> Option<(&'static str, Option<&'p str>)> {
    match path {
        ["v1", "clusters"] if method == "POST" => Some(("CreateCluster", None)),
        ["v1", "clusters", cluster, rest @ ..] => of_cluster(method, rest).map(|name| (name, Some(*cluster))),
        _ => of_other(method, path),
    }
}

fn of_cluster(method: &str, rest: &[&str]) -> Option<&'static str> {
    Some(match (method, rest) {
        ("GET", []) => "DescribeCluster",
        ("GET", ["operations"]) => "ListClusterOperations",
        ("PUT", ["nodes", "count"]) => "UpdateBrokerCount",
        ("PUT", ["nodes", "type"]) => "UpdateBrokerType",
        ("PUT", ["nodes", "storage"]) => "UpdateBrokerStorage",
        ("GET", ["nodes"]) => "ListNodes",
        ("PUT", ["storage"]) => "UpdateStorage",
        ("PUT", ["monitoring"]) => "UpdateMonitoring",
        ("PUT", ["configuration"]) => "UpdateClusterConfiguration",
        ("PUT", ["version"]) => "UpdateClusterKafkaVersion",
        ("PATCH", ["security"]) => "UpdateSecurity",
        ("PUT", ["connectivity"]) => "UpdateConnectivity",
        ("PUT", ["rebalancing"]) => "UpdateRebalancing",
        ("PUT", ["reboot-broker"]) => "RebootBroker",
        ("POST", ["scram-secrets"]) => "BatchAssociateScramSecret",
        ("PATCH", ["scram-secrets"]) => "BatchDisassociateScramSecret",
        ("GET", ["scram-secrets"]) => "ListScramSecrets",
        ("GET", ["client-vpc-connections"]) => "ListClientVpcConnections",
        ("PUT", ["client-vpc-connection"]) => "RejectClientVpcConnection",
        ("POST", ["channels"]) => "CreateChannel",
        ("GET", ["channels"]) => "ListChannels",
        ("GET", ["channels", _]) => "DescribeChannel",
        ("PUT", ["channels", _]) => "UpdateChannel",
        ("DELETE", ["channels", _]) => "DeleteChannel",
        _ => return None,
    })
}

fn of_other<'p>(method: &str, path: &[&'p str]) -> Option<(&'static str, Option<&'p str>)> {
    Some(match (method, path) {
        ("GET", ["v1", "operations", arn]) => ("DescribeClusterOperation", Some(*arn)),
        ("POST", ["v1", "configurations"]) => ("CreateConfiguration", None),
        ("GET", ["v1", "configurations", arn]) => ("DescribeConfiguration", Some(*arn)),
        ("PUT", ["v1", "configurations", arn]) => ("UpdateConfiguration", Some(*arn)),
        ("DELETE", ["v1", "configurations", arn]) => ("DeleteConfiguration", Some(*arn)),
        ("GET", ["v1", "configurations", arn, "revisions"]) => ("ListConfigurationRevisions", Some(*arn)),
        ("GET", ["v1", "configurations", arn, "revisions", _]) => {
            ("DescribeConfigurationRevision", Some(*arn))
        }
        ("POST", ["v1", "vpc-connection"]) => ("CreateVpcConnection", None),
        ("GET", ["v1", "vpc-connection", arn]) => ("DescribeVpcConnection", Some(*arn)),
        ("DELETE", ["v1", "vpc-connection", arn]) => ("DeleteVpcConnection", Some(*arn)),
        ("POST", ["replication", "v1", "replicators"]) => ("CreateReplicator", None),
        ("GET", ["replication", "v1", "replicators", arn]) => ("DescribeReplicator", Some(*arn)),
        ("DELETE", ["replication", "v1", "replicators", arn]) => ("DeleteReplicator", Some(*arn)),
        ("PUT", ["replication", "v1", "replicators", arn, "replication-info"]) => {
            ("UpdateReplicationInfo", Some(*arn))
        }
        _ => return None,
    })
}

/// A cluster is there and refuses; anything else is not there; what would be new is not offered.
pub(super) async fn run(call: &Call<'_>, name: &str, resource: Option<&str>) -> Result<Answer, ApiError> {
    let unsupported = || ApiError::malformed(format!("{name} is not supported for serverless clusters."));
    let Some(resource) = resource else {
        call.authorize("*", Circumstances::default())?;
        return Err(unsupported());
    };
    if Arn::parse(resource).is_some_and(|arn| arn.resource().starts_with("cluster/")) {
        authorized_cluster(call, resource, Circumstances::default()).await?;
        return Err(unsupported());
    }
    call.authorize(resource, Circumstances::default())?;
    Err(super::not_found())
}
