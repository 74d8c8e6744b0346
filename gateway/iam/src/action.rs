//! The nineteen `kafka-cluster:` actions and the kind of resource each is checked on.
//!
//! Source: Amazon MSK Developer Guide, "Authorization policy resources and actions".

use std::fmt;

/// The kind of resource an action is checked on; the word is also the first part of the ARN's resource field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceType {
    /// `cluster/<name>/<uuid>`.
    Cluster,
    /// `topic/<cluster name>/<cluster uuid>/<topic name>`.
    Topic,
    /// `group/<cluster name>/<cluster uuid>/<group id>`.
    Group,
    /// `transactional-id/<cluster name>/<cluster uuid>/<transactional id>`.
    TransactionalId,
}

impl ResourceType {
    /// The word used in ARNs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalId => "transactional-id",
        }
    }
}

/// Declares the enum and its tables from one list, so that no action can be in one and missing in another.
macro_rules! kafka_actions {
    ($($name:ident on $resource:ident, $doc:literal;)+) => {
        /// An action of the data plane, as it appears in policies behind `kafka-cluster:`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum KafkaAction {
            $(#[doc = $doc] $name,)+
        }

        impl KafkaAction {
            /// All actions.
            pub const ALL: [Self; 19] = [$(Self::$name,)+];

            /// The full name, such as `kafka-cluster:Connect`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("kafka-cluster:", stringify!($name)),)+
                }
            }

            /// The kind of resource the action is checked on.
            pub const fn resource_type(self) -> ResourceType {
                match self {
                    $(Self::$name => ResourceType::$resource,)+
                }
            }
        }
    };
}

kafka_actions! {
    Connect on Cluster, "Open a connection: checked once per authentication.";
    DescribeCluster on Cluster, "See the cluster: Kafka's DESCRIBE CLUSTER.";
    AlterCluster on Cluster, "Change the cluster: Kafka's ALTER CLUSTER. Nothing on a serverless cluster needs it.";
    DescribeClusterDynamicConfiguration on Cluster, "See broker configuration: DESCRIBE_CONFIGS CLUSTER.";
    AlterClusterDynamicConfiguration on Cluster, "Change broker configuration: ALTER_CONFIGS CLUSTER.";
    WriteDataIdempotently on Cluster, "Use an idempotent producer: IDEMPOTENT_WRITE CLUSTER.";
    CreateTopic on Topic, "Create a topic: CREATE TOPIC.";
    DescribeTopic on Topic, "See a topic: DESCRIBE TOPIC.";
    AlterTopic on Topic, "Change a topic, such as its partition count: ALTER TOPIC.";
    DeleteTopic on Topic, "Delete a topic: DELETE TOPIC.";
    DescribeTopicDynamicConfiguration on Topic, "See a topic's configuration: DESCRIBE_CONFIGS TOPIC.";
    AlterTopicDynamicConfiguration on Topic, "Change a topic's configuration: ALTER_CONFIGS TOPIC.";
    ReadData on Topic, "Read records: READ TOPIC.";
    WriteData on Topic, "Write records: WRITE TOPIC.";
    DescribeGroup on Group, "See a group: DESCRIBE GROUP.";
    AlterGroup on Group, "Join a group and commit offsets: READ GROUP.";
    DeleteGroup on Group, "Delete a group: DELETE GROUP.";
    DescribeTransactionalId on TransactionalId, "See a transaction: DESCRIBE TRANSACTIONAL_ID.";
    AlterTransactionalId on TransactionalId, "Use a transactional id: WRITE TRANSACTIONAL_ID.";
}

impl fmt::Display for KafkaAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_nineteen_actions_six_of_them_on_the_cluster() {
        let on = |kind| KafkaAction::ALL.iter().filter(|action| action.resource_type() == kind).count();
        assert_eq!(
            (
                on(ResourceType::Cluster),
                on(ResourceType::Topic),
                on(ResourceType::Group),
                on(ResourceType::TransactionalId)
            ),
            (6, 8, 3, 2)
        );
    }

    #[test]
    fn an_action_is_named_as_policies_name_it() {
        assert_eq!(KafkaAction::WriteDataIdempotently.to_string(), "kafka-cluster:WriteDataIdempotently");
    }
}
