//! What a client may do with a resource, as the bits its admin tools show (KIP-430).
//!
//! Bit `n` stands for the operation Kafka numbers `n` in `AclOperation`. Nothing is denied or audited here: it is a question.

use headgate_iam::KafkaAction;
use headgate_metadata::catalog::ClusterView;

use crate::session::Session;

/// What an answer says that was not asked.
pub(crate) const NOT_ASKED: i32 = i32::MIN;

const READ: u32 = 3;
const WRITE: u32 = 4;
const CREATE: u32 = 5;
const DELETE: u32 = 6;
const ALTER: u32 = 7;
const DESCRIBE: u32 = 8;
const DESCRIBE_CONFIGS: u32 = 10;
const ALTER_CONFIGS: u32 = 11;
const IDEMPOTENT_WRITE: u32 = 12;

/// The operations on a topic that have an action.
const TOPIC: [(u32, KafkaAction); 8] = [
    (READ, KafkaAction::ReadData),
    (WRITE, KafkaAction::WriteData),
    (CREATE, KafkaAction::CreateTopic),
    (DELETE, KafkaAction::DeleteTopic),
    (ALTER, KafkaAction::AlterTopic),
    (DESCRIBE, KafkaAction::DescribeTopic),
    (DESCRIBE_CONFIGS, KafkaAction::DescribeTopicDynamicConfiguration),
    (ALTER_CONFIGS, KafkaAction::AlterTopicDynamicConfiguration),
];

const GROUP: [(u32, KafkaAction); 3] = [
    (READ, KafkaAction::AlterGroup),
    (DELETE, KafkaAction::DeleteGroup),
    (DESCRIBE, KafkaAction::DescribeGroup),
];

const CLUSTER: [(u32, KafkaAction); 5] = [
    (ALTER, KafkaAction::AlterCluster),
    (DESCRIBE, KafkaAction::DescribeCluster),
    (DESCRIBE_CONFIGS, KafkaAction::DescribeClusterDynamicConfiguration),
    (ALTER_CONFIGS, KafkaAction::AlterClusterDynamicConfiguration),
    (IDEMPOTENT_WRITE, KafkaAction::WriteDataIdempotently),
];

/// The bits of a topic.
pub(crate) fn of_topic(session: &Session, view: &ClusterView, topic: &str) -> i32 {
    bits(&TOPIC, |action| session.sees_topic(view, action, topic))
}

/// The bits of a group.
pub(crate) fn of_group(session: &Session, view: &ClusterView, group: &str) -> i32 {
    bits(&GROUP, |action| session.sees_group(view, action, group))
}

/// The bits of the cluster.
pub(crate) fn of_cluster(session: &Session, view: &ClusterView) -> i32 {
    bits(&CLUSTER, |action| session.sees_cluster(view, action))
}

fn bits(operations: &[(u32, KafkaAction)], may: impl Fn(KafkaAction) -> bool) -> i32 {
    operations.iter().filter(|(_, action)| may(*action)).fold(0, |bits, (operation, _)| bits | 1 << operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_sets_the_bit_of_its_operation() {
        assert_eq!(bits(&GROUP, |_| true), 1 << 3 | 1 << 6 | 1 << 8);
        assert_eq!(bits(&TOPIC, |action| action == KafkaAction::WriteData), 1 << 4);
        assert_eq!(bits(&CLUSTER, |_| false), 0);
    }
}
