//! A cluster, as DescribeClusterV2 and ListClustersV2 show it.

use std::collections::BTreeMap;

use headgate_iam::UnixTime;
use headgate_metadata::record::{ClusterNetworkRecord, ClusterRecord, ClusterState, VpcRecord};
use serde::{Deserialize, Serialize};

/// The only type of cluster here.
pub(crate) const CLUSTER_TYPE: &str = "SERVERLESS";

/// `ClusterInfo` of the service's model.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterInfo<'a> {
    cluster_type: &'static str,
    cluster_arn: String,
    cluster_name: &'a str,
    creation_time: String,
    current_version: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_info: Option<StateInfo<'a>>,
    tags: &'a BTreeMap<String, String>,
    serverless: Serverless,
}

/// `StateInfo` of the service's model.
#[derive(Debug, Serialize)]
struct StateInfo<'a> {
    code: &'static str,
    message: &'a str,
}

/// `Serverless` of the service's model, in requests and answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Serverless {
    pub(crate) vpc_configs: Vec<VpcConfig>,
    pub(crate) client_authentication: Option<ClientAuthentication>,
}

/// `VpcConfig` of the service's model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VpcConfig {
    pub(crate) subnet_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) security_group_ids: Vec<String>,
}

/// `ServerlessClientAuthentication` of the service's model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuthentication {
    pub(crate) sasl: Option<Sasl>,
}

/// `ServerlessSasl` of the service's model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sasl {
    pub(crate) iam: Option<Iam>,
}

/// `Iam` of the service's model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Iam {
    pub(crate) enabled: Option<bool>,
}

impl<'a> ClusterInfo<'a> {
    pub(crate) fn new(
        cluster: &'a ClusterRecord,
        network: Option<ClusterNetworkRecord>,
        region: &str,
    ) -> Self {
        let iam = Sasl { iam: Some(Iam { enabled: Some(true) }) };
        let vpc_config = |vpc: VpcRecord| VpcConfig {
            subnet_ids: vpc.subnet_ids,
            security_group_ids: vpc.security_group_ids,
        };
        let vpcs = network.map(|network| network.vpcs).unwrap_or_default();
        Self {
            cluster_type: CLUSTER_TYPE,
            cluster_arn: cluster.arn(region),
            cluster_name: &cluster.name,
            creation_time: UnixTime::from_millis(cluster.created.get() as i64).to_string(),
            current_version: current_version(cluster),
            state: state(cluster.state),
            state_info: cluster
                .life
                .failure
                .as_deref()
                .map(|message| StateInfo { code: "CreationFailed", message }),
            tags: &cluster.tags,
            serverless: Serverless {
                vpc_configs: vpcs.into_iter().map(vpc_config).collect(),
                client_authentication: Some(ClientAuthentication { sasl: Some(iam) }),
            },
        }
    }
}

/// The version that updates name. Nothing that carries a version can be updated yet, so it stays that of the creation.
pub(crate) fn current_version(cluster: &ClusterRecord) -> String {
    format!("K{}00001", cluster.id.as_str().to_ascii_uppercase())
}

/// The state in AWS's words.
pub(crate) fn state(state: ClusterState) -> &'static str {
    match state {
        ClusterState::Creating => "CREATING",
        ClusterState::Active => "ACTIVE",
        ClusterState::Deleting => "DELETING",
        ClusterState::Failed => "FAILED",
    }
}
