//! The `kafka` service (rest-json), as Amazon MSK offers it for serverless clusters.

use headgate_iam::Arn;
use headgate_metadata::clusters;
use headgate_metadata::record::ClusterRecord;

use crate::answer::Answer;
use crate::call::{Call, TagContext};
use crate::error::ApiError;
use crate::percent;
use crate::request::ApiRequest;

mod bootstrap_brokers;
pub(crate) mod cluster_info;
pub(crate) mod create_cluster;
mod delete_cluster;
mod describe_cluster;
mod kafka_versions;
mod list_clusters;
mod operations;
mod policy;
mod provisioned;
mod tags;

/// The calls that are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateClusterV2,
    ListClustersV2,
    DescribeClusterV2(String),
    DeleteCluster(String),
    GetBootstrapBrokers(String),
    ListTagsForResource(String),
    TagResource(String),
    UntagResource(String),
    ListClusterOperationsV2(String),
    DescribeClusterOperationV2(String),
    GetClusterPolicy(String),
    PutClusterPolicy(String),
    DeleteClusterPolicy(String),
    ListKafkaVersions,
    GetCompatibleKafkaVersions,
    /// A call of provisioned clusters, by its name.
    Provisioned(&'static str),
}

impl Operation {
    pub(crate) fn route(request: &ApiRequest) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(ApiError::UNKNOWN_OPERATION, "There is no such operation.");
        let segments = percent::segments(&request.raw_path).ok_or_else(unknown)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let arn = |arn: &str| arn.to_owned();
        Ok(match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["api", "v2", "clusters"]) => Self::CreateClusterV2,
            ("GET", ["api", "v2", "clusters"]) => Self::ListClustersV2,
            ("GET", ["api", "v2", "clusters", cluster]) => Self::DescribeClusterV2(arn(cluster)),
            ("DELETE", ["v1", "clusters", cluster]) => Self::DeleteCluster(arn(cluster)),
            ("GET", ["v1", "clusters", cluster, "bootstrap-brokers"]) => {
                Self::GetBootstrapBrokers(arn(cluster))
            }
            ("GET", ["api", "v2", "clusters", cluster, "operations"]) => {
                Self::ListClusterOperationsV2(arn(cluster))
            }
            ("GET", ["api", "v2", "operations", operation]) => {
                Self::DescribeClusterOperationV2(arn(operation))
            }
            ("GET", ["v1", "clusters", cluster, "policy"]) => Self::GetClusterPolicy(arn(cluster)),
            ("PUT", ["v1", "clusters", cluster, "policy"]) => Self::PutClusterPolicy(arn(cluster)),
            ("DELETE", ["v1", "clusters", cluster, "policy"]) => Self::DeleteClusterPolicy(arn(cluster)),
            ("GET", ["v1", "tags", resource]) => Self::ListTagsForResource(arn(resource)),
            ("POST", ["v1", "tags", resource]) => Self::TagResource(arn(resource)),
            ("DELETE", ["v1", "tags", resource]) => Self::UntagResource(arn(resource)),
            ("GET", ["v1", "kafka-versions"]) => Self::ListKafkaVersions,
            ("GET", ["v1", "compatible-kafka-versions"]) => Self::GetCompatibleKafkaVersions,
            (method, path) => Self::Provisioned(provisioned::name(method, path).ok_or_else(unknown)?),
        })
    }

    /// The name in policies.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CreateClusterV2 => "CreateClusterV2",
            Self::ListClustersV2 => "ListClustersV2",
            Self::DescribeClusterV2(_) => "DescribeClusterV2",
            Self::DeleteCluster(_) => "DeleteCluster",
            Self::GetBootstrapBrokers(_) => "GetBootstrapBrokers",
            Self::ListTagsForResource(_) => "ListTagsForResource",
            Self::TagResource(_) => "TagResource",
            Self::UntagResource(_) => "UntagResource",
            Self::ListClusterOperationsV2(_) => "ListClusterOperationsV2",
            Self::DescribeClusterOperationV2(_) => "DescribeClusterOperationV2",
            Self::GetClusterPolicy(_) => "GetClusterPolicy",
            Self::PutClusterPolicy(_) => "PutClusterPolicy",
            Self::DeleteClusterPolicy(_) => "DeleteClusterPolicy",
            Self::ListKafkaVersions => "ListKafkaVersions",
            Self::GetCompatibleKafkaVersions => "GetCompatibleKafkaVersions",
            Self::Provisioned(name) => name,
        }
    }

    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        match self {
            Self::CreateClusterV2 => create_cluster::run(call).await,
            Self::ListClustersV2 => list_clusters::run(call).await,
            Self::DescribeClusterV2(arn) => describe_cluster::run(call, arn).await,
            Self::DeleteCluster(arn) => delete_cluster::run(call, arn).await,
            Self::GetBootstrapBrokers(arn) => bootstrap_brokers::run(call, arn).await,
            Self::ListTagsForResource(arn) => tags::list(call, arn).await,
            Self::TagResource(arn) => tags::add(call, arn).await,
            Self::UntagResource(arn) => tags::remove(call, arn).await,
            Self::ListClusterOperationsV2(arn) => operations::list(call, arn).await,
            Self::DescribeClusterOperationV2(arn) => operations::describe(call, arn),
            Self::GetClusterPolicy(arn) | Self::DeleteClusterPolicy(arn) => policy::absent(call, arn).await,
            Self::PutClusterPolicy(arn) => policy::put(call, arn).await,
            Self::ListKafkaVersions => kafka_versions::list(call),
            Self::GetCompatibleKafkaVersions => kafka_versions::compatible(call),
            Self::Provisioned(name) => provisioned::run(call, name),
        }
    }
}

/// Finds the cluster of an ARN and lets the call go on only if it is allowed on it. Who is not allowed does not learn
/// whether the cluster exists.
async fn authorized_cluster(
    call: &Call<'_>,
    arn: &str,
    request: TagContext<'_>,
) -> Result<ClusterRecord, ApiError> {
    let invalid =
        || ApiError::parameter("clusterArn", "One or more of the parameters are not valid: clusterArn.");
    let parsed = Arn::parse(arn).filter(|arn| arn.service() == "kafka").ok_or_else(invalid)?;
    let (name, uuid) = parsed
        .resource()
        .strip_prefix("cluster/")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(invalid)?;
    let account = parsed.account().parse().map_err(|_| invalid())?;
    let store = &*call.api.components.store;
    let found = clusters::by_name(store, account, name).await?;
    let found = found.filter(|cluster| cluster.arn_uuid == uuid && parsed.region() == call.api.config.region);
    if let Some(cluster) = &found {
        call.note_cluster(cluster.id);
    }
    let resource = found.as_ref().map(|cluster| &cluster.tags);
    call.authorize(arn, TagContext { resource, ..request })?;
    found.ok_or_else(|| ApiError::new(ApiError::NOT_FOUND, "The requested resource doesn't exist."))
}
