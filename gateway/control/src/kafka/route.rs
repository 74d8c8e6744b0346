//! Which call a path is: on raw segments, each decoded once, so that an encoded slash stays inside its segment.

use super::{Operation, TopicPath, provisioned};
use crate::error::ApiError;
use crate::percent;
use crate::request::ApiRequest;

impl Operation {
    pub(crate) fn route(request: &ApiRequest) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(ApiError::UNKNOWN_OPERATION, "There is no such operation.");
        let segments = percent::segments(&request.raw_path).ok_or_else(unknown)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        of_clusters(method, &segments)
            .or_else(|| of_topics(method, &segments))
            .or_else(|| of_nothing_here(method, &segments))
            .ok_or_else(unknown)
    }
}

fn of_clusters(method: &str, path: &[&str]) -> Option<Operation> {
    let text = |text: &str| text.to_owned();
    Some(match (method, path) {
        ("POST", ["api", "v2", "clusters"]) => Operation::CreateClusterV2,
        ("GET", ["api", "v2", "clusters"]) => Operation::ListClustersV2,
        ("GET", ["api", "v2", "clusters", cluster]) => Operation::DescribeClusterV2(text(cluster)),
        ("DELETE", ["v1", "clusters", cluster]) => Operation::DeleteCluster(text(cluster)),
        ("GET", ["v1", "clusters", cluster, "bootstrap-brokers"]) => {
            Operation::GetBootstrapBrokers(text(cluster))
        }
        ("GET", ["api", "v2", "clusters", cluster, "operations"]) => {
            Operation::ListClusterOperationsV2(text(cluster))
        }
        ("GET", ["api", "v2", "operations", operation]) => {
            Operation::DescribeClusterOperationV2(text(operation))
        }
        ("GET", ["v1", "clusters", cluster, "policy"]) => Operation::GetClusterPolicy(text(cluster)),
        ("PUT", ["v1", "clusters", cluster, "policy"]) => Operation::PutClusterPolicy(text(cluster)),
        ("DELETE", ["v1", "clusters", cluster, "policy"]) => Operation::DeleteClusterPolicy(text(cluster)),
        ("GET", ["v1", "tags", resource]) => Operation::ListTagsForResource(text(resource)),
        ("POST", ["v1", "tags", resource]) => Operation::TagResource(text(resource)),
        ("DELETE", ["v1", "tags", resource]) => Operation::UntagResource(text(resource)),
        ("GET", ["v1", "kafka-versions"]) => Operation::ListKafkaVersions,
        ("GET", ["v1", "compatible-kafka-versions"]) => Operation::GetCompatibleKafkaVersions,
        _ => return None,
    })
}

fn of_topics(method: &str, path: &[&str]) -> Option<Operation> {
    let ["v1", "clusters", cluster, "topics", rest @ ..] = path else { return None };
    let cluster = (*cluster).to_owned();
    let topic = |topic: &str| TopicPath { cluster: cluster.clone(), topic: topic.to_owned() };
    Some(match (method, rest) {
        ("POST", []) => Operation::CreateTopic(cluster),
        ("GET", []) => Operation::ListTopics(cluster),
        ("GET", [name]) => Operation::DescribeTopic(topic(name)),
        ("PUT", [name]) => Operation::UpdateTopic(topic(name)),
        ("DELETE", [name]) => Operation::DeleteTopic(topic(name)),
        ("GET", [name, "partitions"]) => Operation::DescribeTopicPartitions(topic(name)),
        _ => return None,
    })
}

fn of_nothing_here(method: &str, path: &[&str]) -> Option<Operation> {
    if let Some((name, list)) = provisioned::empty_list(method, path) {
        return Some(Operation::EmptyList(name, list));
    }
    let (name, resource) = provisioned::named(method, path)?;
    Some(Operation::Provisioned(name, resource.map(str::to_owned)))
}
