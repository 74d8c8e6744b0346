//! The `kafka` service (rest-json), as Amazon MSK offers it for serverless clusters.

use headgate_iam::Arn;
use headgate_metadata::clusters;
use headgate_metadata::record::{ClusterRecord, ClusterState};

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

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
mod route;
mod tags;
mod topics;

/// The topic of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPath {
    /// The ARN of its cluster.
    cluster: String,
    topic: String,
}

/// The calls that are offered, with what their paths name.
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
    CreateTopic(String),
    ListTopics(String),
    DescribeTopic(TopicPath),
    DescribeTopicPartitions(TopicPath),
    UpdateTopic(TopicPath),
    DeleteTopic(TopicPath),
    /// A list of what does not exist here: the call, and the list's name.
    EmptyList(&'static str, &'static str),
    /// A call of provisioned clusters, by its name and the ARN it is about.
    Provisioned(&'static str, Option<String>),
}

impl Operation {
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
            Self::CreateTopic(_) => "CreateTopic",
            Self::ListTopics(_) => "ListTopics",
            Self::DescribeTopic(_) => "DescribeTopic",
            Self::DescribeTopicPartitions(_) => "DescribeTopicPartitions",
            Self::UpdateTopic(_) => "UpdateTopic",
            Self::DeleteTopic(_) => "DeleteTopic",
            Self::EmptyList(name, _) | Self::Provisioned(name, _) => name,
        }
    }

    /// The parameters that stand in the path, by the names they have in the service's model.
    pub(crate) fn path(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::CreateClusterV2
            | Self::ListClustersV2
            | Self::ListKafkaVersions
            | Self::GetCompatibleKafkaVersions
            | Self::EmptyList(..)
            | Self::Provisioned(_, None) => Vec::new(),
            Self::DescribeClusterV2(arn)
            | Self::DeleteCluster(arn)
            | Self::GetBootstrapBrokers(arn)
            | Self::ListClusterOperationsV2(arn)
            | Self::GetClusterPolicy(arn)
            | Self::PutClusterPolicy(arn)
            | Self::DeleteClusterPolicy(arn)
            | Self::CreateTopic(arn)
            | Self::ListTopics(arn) => vec![("clusterArn", arn.clone())],
            Self::ListTagsForResource(arn) | Self::TagResource(arn) | Self::UntagResource(arn) => {
                vec![("resourceArn", arn.clone())]
            }
            Self::DescribeClusterOperationV2(arn) => vec![("clusterOperationArn", arn.clone())],
            Self::Provisioned(_, Some(arn)) => vec![("arn", arn.clone())],
            Self::DescribeTopic(path)
            | Self::DescribeTopicPartitions(path)
            | Self::UpdateTopic(path)
            | Self::DeleteTopic(path) => {
                vec![("clusterArn", path.cluster.clone()), ("topicName", path.topic.clone())]
            }
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
            Self::GetClusterPolicy(arn) => policy::get(call, arn).await,
            Self::PutClusterPolicy(arn) => policy::put(call, arn).await,
            Self::DeleteClusterPolicy(arn) => policy::delete(call, arn).await,
            Self::ListKafkaVersions => kafka_versions::list(call),
            Self::GetCompatibleKafkaVersions => kafka_versions::compatible(call),
            Self::CreateTopic(arn) => topics::create(call, arn).await,
            Self::ListTopics(arn) => topics::list(call, arn).await,
            Self::DescribeTopic(path) => topics::describe(call, path).await,
            Self::DescribeTopicPartitions(path) => topics::partitions(call, path).await,
            Self::UpdateTopic(path) => topics::update(call, path).await,
            Self::DeleteTopic(path) => topics::delete(call, path).await,
            Self::EmptyList(_, list) => provisioned::list(call, list),
            Self::Provisioned(name, resource) => provisioned::run(call, name, resource.as_deref()).await,
        }
    }
}

/// Finds the cluster of an ARN and lets the call go on only if it is allowed on it. Who is not allowed does not learn
/// whether the cluster exists.
async fn authorized_cluster(
    call: &Call<'_>,
    arn: &str,
    circumstances: Circumstances<'_>,
) -> Result<ClusterRecord, ApiError> {
    let found = find_cluster(call, arn).await?;
    let resource_tags = found.as_ref().map(|cluster| &cluster.tags);
    call.authorize(arn, Circumstances { resource_tags, ..circumstances })?;
    found.ok_or_else(not_found)
}

/// The same for the calls that a cluster's own policy can open to other accounts: those of whoever connects. It has no say
/// in the others, so that an owner is never locked out by it.
async fn shared_cluster(call: &Call<'_>, arn: &str) -> Result<ClusterRecord, ApiError> {
    let found = find_cluster(call, arn).await?;
    let policy = policy::of(call, found.as_ref()).await?;
    let resource_tags = found.as_ref().map(|cluster| &cluster.tags);
    let policy = policy.as_ref();
    call.authorize(arn, Circumstances { resource_tags, policy, ..Circumstances::default() })?;
    found.ok_or_else(not_found)
}

/// The cluster of an ARN, if there is one. Nothing is authorized yet.
async fn find_cluster(call: &Call<'_>, arn: &str) -> Result<Option<ClusterRecord>, ApiError> {
    let invalid =
        || ApiError::parameter("clusterArn", "One or more of the parameters are not valid: clusterArn.");
    let parsed = Arn::parse(arn).filter(|arn| arn.service() == "kafka").ok_or_else(invalid)?;
    let (name, uuid) = parsed
        .resource()
        .strip_prefix("cluster/")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(invalid)?;
    let account = parsed.account().parse().map_err(|_| invalid())?;
    let found = clusters::by_name(&*call.api.components.store, account, name).await?;
    let found = found.filter(|cluster| cluster.arn_uuid == uuid && parsed.region() == call.api.config.region);
    if let Some(cluster) = &found {
        call.note_cluster(cluster.id);
    }
    Ok(found)
}

/// Lets the call go on only with a cluster that can be used.
fn active(cluster: ClusterRecord) -> Result<ClusterRecord, ApiError> {
    if cluster.state == ClusterState::Active {
        return Ok(cluster);
    }
    let state = cluster_info::state(cluster.state);
    let message = format!("The cluster is in the state {state}; it can be used when it is ACTIVE.");
    Err(ApiError::new(ApiError::CONFLICT, message))
}

fn not_found() -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, "The requested resource doesn't exist.")
}

/// Results on one page at most, and where the caller does not say.
const RESULTS_MAX: usize = 100;

/// Reads `maxResults`, 1 to 100.
fn max_results(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(RESULTS_MAX) };
    let results = text.parse().ok().filter(|results| (1..=RESULTS_MAX).contains(results));
    results.ok_or_else(|| {
        ApiError::parameter("maxResults", format!("maxResults must be from 1 to {RESULTS_MAX}."))
    })
}

fn invalid_token() -> ApiError {
    ApiError::parameter("nextToken", "The parameter nextToken is not valid.")
}
