//! What each API needs: the one table of actions (`gateway/PROTOCOL.md` §8). No action implies another.
//!
//! Source: Kafka's table of operations and ACLs, composed with the actions Amazon MSK documents for each ACL.
//!
//! | API | needs | on |
//! |---|---|---|
//! | SaslAuthenticate | Connect | cluster |
//! | Produce | WriteData | each topic |
//! | Fetch | ReadData | each topic |
//! | ListOffsets, OffsetForLeaderEpoch, Metadata | DescribeTopic | each topic |
//! | Metadata that creates | CreateTopic | each topic |
//! | OffsetCommit | AlterGroup, ReadData | group, each topic |
//! | OffsetFetch | DescribeGroup, DescribeTopic | group, each topic |
//! | FindCoordinator, DescribeGroups | DescribeGroup | each group |
//! | JoinGroup, SyncGroup, Heartbeat, LeaveGroup | AlterGroup | group |
//! | ListGroups | DescribeCluster, or DescribeGroup | cluster, or each group |
//! | DeleteGroups | DeleteGroup | each group |
//! | CreateTopics | CreateTopic | each topic |
//! | DeleteTopics | DeleteTopic; by id also DescribeTopic, which tells the name | each topic |
//! | CreatePartitions | AlterTopic | each topic |
//! | DescribeConfigs | DescribeTopicDynamicConfiguration | each topic |
//! | DescribeConfigs of a broker | DescribeClusterDynamicConfiguration | cluster |
//! | IncrementalAlterConfigs | AlterTopicDynamicConfiguration | each topic |
//! | IncrementalAlterConfigs of a broker | AlterClusterDynamicConfiguration | cluster |
//! | DescribeClientQuotas | DescribeClusterDynamicConfiguration | cluster |
//! | AlterClientQuotas | AlterClusterDynamicConfiguration | cluster |
//! | InitProducerId | WriteDataIdempotently, or WriteData everywhere | cluster, or all topics |
//! | DescribeCluster | nothing beyond Connect | – |

use headgate_iam::KafkaAction;

pub(crate) const SASL_AUTHENTICATE: KafkaAction = KafkaAction::Connect;
pub(crate) const PRODUCE: KafkaAction = KafkaAction::WriteData;
pub(crate) const FETCH: KafkaAction = KafkaAction::ReadData;
pub(crate) const LIST_OFFSETS: KafkaAction = KafkaAction::DescribeTopic;
pub(crate) const OFFSET_FOR_LEADER_EPOCH: KafkaAction = KafkaAction::DescribeTopic;
pub(crate) const METADATA: KafkaAction = KafkaAction::DescribeTopic;
pub(crate) const METADATA_CREATES: KafkaAction = KafkaAction::CreateTopic;
pub(crate) const OFFSET_COMMIT_GROUP: KafkaAction = KafkaAction::AlterGroup;
pub(crate) const OFFSET_COMMIT_TOPIC: KafkaAction = KafkaAction::ReadData;
pub(crate) const OFFSET_FETCH_GROUP: KafkaAction = KafkaAction::DescribeGroup;
pub(crate) const OFFSET_FETCH_TOPIC: KafkaAction = KafkaAction::DescribeTopic;
pub(crate) const FIND_COORDINATOR: KafkaAction = KafkaAction::DescribeGroup;
pub(crate) const JOIN_GROUP: KafkaAction = KafkaAction::AlterGroup;
pub(crate) const SYNC_GROUP: KafkaAction = KafkaAction::AlterGroup;
pub(crate) const HEARTBEAT: KafkaAction = KafkaAction::AlterGroup;
pub(crate) const LEAVE_GROUP: KafkaAction = KafkaAction::AlterGroup;
pub(crate) const DESCRIBE_GROUPS: KafkaAction = KafkaAction::DescribeGroup;
pub(crate) const LIST_GROUPS_ALL: KafkaAction = KafkaAction::DescribeCluster;
pub(crate) const LIST_GROUPS_ONE: KafkaAction = KafkaAction::DescribeGroup;
pub(crate) const DELETE_GROUPS: KafkaAction = KafkaAction::DeleteGroup;
pub(crate) const CREATE_TOPICS: KafkaAction = KafkaAction::CreateTopic;
pub(crate) const DELETE_TOPICS: KafkaAction = KafkaAction::DeleteTopic;
pub(crate) const DELETE_TOPICS_BY_ID: KafkaAction = KafkaAction::DescribeTopic;
pub(crate) const CREATE_PARTITIONS: KafkaAction = KafkaAction::AlterTopic;
pub(crate) const DESCRIBE_CONFIGS: KafkaAction = KafkaAction::DescribeTopicDynamicConfiguration;
pub(crate) const DESCRIBE_BROKER_CONFIGS: KafkaAction = KafkaAction::DescribeClusterDynamicConfiguration;
pub(crate) const INCREMENTAL_ALTER_CONFIGS: KafkaAction = KafkaAction::AlterTopicDynamicConfiguration;
pub(crate) const ALTER_BROKER_CONFIGS: KafkaAction = KafkaAction::AlterClusterDynamicConfiguration;
pub(crate) const DESCRIBE_CLIENT_QUOTAS: KafkaAction = KafkaAction::DescribeClusterDynamicConfiguration;
pub(crate) const ALTER_CLIENT_QUOTAS: KafkaAction = KafkaAction::AlterClusterDynamicConfiguration;
