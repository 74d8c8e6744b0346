//! The ARNs of one cluster: of itself and of everything in it.

use crate::action::ResourceType;
use crate::arn::{AccountId, Arn};

/// Builds the resource names that policies of one cluster are checked against.
///
/// `arn:{partition}:kafka:{region}:{account}:{type}/{cluster name}/{cluster uuid}[/{name}]`. The prefixes are
/// built once, so that naming a resource is one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterArns {
    cluster: Box<str>,
    topic_prefix: Box<str>,
    group_prefix: Box<str>,
    transactional_id_prefix: Box<str>,
}

impl ClusterArns {
    /// `uuid` is the cluster's UUID with its suffix, as in `…-s2`.
    pub fn new(partition: &str, region: &str, account: &AccountId, name: &str, uuid: &str) -> Self {
        let of = |kind: ResourceType, end: &str| {
            format!("arn:{partition}:kafka:{region}:{account}:{}/{name}/{uuid}{end}", kind.as_str())
                .into_boxed_str()
        };
        Self {
            cluster: of(ResourceType::Cluster, ""),
            topic_prefix: of(ResourceType::Topic, "/"),
            group_prefix: of(ResourceType::Group, "/"),
            transactional_id_prefix: of(ResourceType::TransactionalId, "/"),
        }
    }

    /// Derives all names from the cluster's own ARN; `None` if it is not a Kafka cluster's.
    pub fn from_cluster_arn(arn: &Arn) -> Option<Self> {
        let account = AccountId::parse(arn.account())?;
        let (name, uuid) = arn.resource().strip_prefix("cluster/")?.split_once('/')?;
        let named = arn.service() == "kafka" && !name.is_empty() && !uuid.is_empty() && !uuid.contains('/');
        named.then(|| Self::new(arn.partition(), arn.region(), &account, name, uuid))
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// A topic, by name.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// A group, by id.
    pub fn group(&self, id: &str) -> String {
        format!("{}{id}", self.group_prefix)
    }

    /// A transactional id.
    pub fn transactional_id(&self, id: &str) -> String {
        format!("{}{id}", self.transactional_id_prefix)
    }

    /// What every topic's ARN begins with, the slash before the name included.
    pub fn topic_prefix(&self) -> &str {
        &self.topic_prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_cluster_follow_from_its_own() {
        let arn = Arn::parse("arn:aws:kafka:us-east-1:123456789012:cluster/demo/u-s2").unwrap();
        let arns = ClusterArns::from_cluster_arn(&arn).unwrap();
        assert_eq!(arns.cluster(), arn.as_str());
        assert_eq!(arns.topic("orders"), "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/orders");
        assert_eq!(arns.group("g/1"), "arn:aws:kafka:us-east-1:123456789012:group/demo/u-s2/g/1");
        assert_eq!(
            arns.transactional_id("t"),
            "arn:aws:kafka:us-east-1:123456789012:transactional-id/demo/u-s2/t"
        );
        assert_eq!(arns.topic_prefix(), "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/");
    }

    #[test]
    fn only_a_cluster_arn_names_a_cluster() {
        for text in [
            "arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/orders",
            "arn:aws:kafka:us-east-1:123456789012:cluster/demo",
            "arn:aws:kafka:us-east-1:123456789012:cluster/demo/u/x",
            "arn:aws:sqs:us-east-1:123456789012:cluster/demo/u",
            "arn:aws:kafka:us-east-1::cluster/demo/u",
        ] {
            assert_eq!(ClusterArns::from_cluster_arn(&Arn::parse(text).unwrap()), None, "{text}");
        }
    }
}
