//! The rows: what each API needs, and what is seen where it is missing.
//!
//! Source: Kafka's table of operations and ACLs (Apache Kafka documentation, "Authorization and ACLs"), composed with the
//! actions that Amazon MSK documents for each ACL. The gateway's own table is `gateway/src/authorize/rights.rs`; this one is
//! written a second time on purpose.

use headgate_iam::KafkaAction as Action;
use kafka_protocol::messages::ApiKey;

use super::calls;
use super::row::{Before, Call, Effect, Need, On, Row, Seen};

const TOPIC_DENIED: Seen = Seen::Code(29);
const GROUP_DENIED: Seen = Seen::Code(30);
const CLUSTER_DENIED: Seen = Seen::Code(31);
/// What is not served is refused to everybody alike.
const NOT_SERVED: Seen = Seen::Code(42);

macro_rules! needs {
    ($($($action:ident on $on:ident)or+ else $missing:expr),* $(,)?) => {
        &[$(Need { any_of: &[$((Action::$action, On::$on)),+], missing: $missing }),*]
    };
}

/// `Connect` stands before everything that follows a login.
macro_rules! after_login {
    ($($needs:tt)*) => { needs![Connect on Cluster else Seen::Code(58), $($needs)*] };
}

macro_rules! rows {
    ($($api:ident $way:literal $first:literal ..= $last:literal $things:literal $before:ident $effect:ident
        $done:expr, $needs:expr, $stage:ident $call:ident;)+) => {
        pub(crate) const ROWS: &[Row] = &[$(Row {
            api: ApiKey::$api,
            way: $way,
            versions: ($first, $last),
            things: $things,
            before: Before::$before,
            needs: $needs,
            done: $done,
            effect: Effect::$effect,
            call: Call::$stage(|client, version, with| Box::pin(calls::$call(client, version, with))),
        }),+];
    };
}

rows! {
    Produce "" 3..=13 2 Topics Appended Seen::Done,
        after_login![WriteData on Each else TOPIC_DENIED], LoggedIn produce;
    Produce "in a transaction" 3..=13 2 Topics None NOT_SERVED,
        after_login![], LoggedIn produce_in_transaction;
    Fetch "" 4..=18 2 Topics None Seen::Done,
        after_login![ReadData on Each else TOPIC_DENIED], LoggedIn fetch;
    ListOffsets "" 1..=10 2 Topics None Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED], LoggedIn list_offsets;
    OffsetForLeaderEpoch "" 2..=4 2 Topics None Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED], LoggedIn offset_for_leader_epoch;
    Metadata "by name" 0..=13 2 Topics None Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED], LoggedIn topics_by_name;
    Metadata "by id" 10..=13 2 Topics None Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED], LoggedIn topics_by_id;
    Metadata "of all topics" 0..=13 2 Topics None Seen::Done,
        after_login![DescribeTopic on Each else Seen::LeftOut], LoggedIn all_topics;
    Metadata "that creates" 0..=13 2 Nothing TopicMade Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED, CreateTopic on Each else TOPIC_DENIED],
        LoggedIn create_by_asking;
    CreateTopics "" 2..=7 2 Nothing TopicMade Seen::Done,
        after_login![CreateTopic on Each else TOPIC_DENIED], LoggedIn create_topics;
    CreateTopics "with a description" 5..=7 2 Nothing None Seen::Done,
        after_login![CreateTopic on Each else TOPIC_DENIED,
            DescribeTopicDynamicConfiguration on Each else Seen::LeftOut],
        LoggedIn create_and_describe_topics;
    DeleteTopics "by name" 1..=6 2 Topics TopicGone Seen::Done,
        after_login![DeleteTopic on Each else TOPIC_DENIED], LoggedIn delete_topics;
    DeleteTopics "by id" 6..=6 2 Topics TopicGone Seen::Done,
        after_login![DescribeTopic on Each else TOPIC_DENIED, DeleteTopic on Each else TOPIC_DENIED],
        LoggedIn delete_topics_by_id;
    CreatePartitions "" 0..=3 2 Topics TopicGrown Seen::Done,
        after_login![AlterTopic on Each else TOPIC_DENIED], LoggedIn create_partitions;
    DescribeConfigs "of topics" 1..=4 2 Topics None Seen::Done,
        after_login![DescribeTopicDynamicConfiguration on Each else TOPIC_DENIED], LoggedIn describe_configs;
    DescribeConfigs "of a broker" 1..=4 1 Nothing None NOT_SERVED,
        after_login![DescribeClusterDynamicConfiguration on Cluster else CLUSTER_DENIED],
        LoggedIn describe_broker_configs;
    IncrementalAlterConfigs "of topics" 0..=1 2 Topics ConfigSet Seen::Done,
        after_login![AlterTopicDynamicConfiguration on Each else TOPIC_DENIED], LoggedIn alter_configs;
    IncrementalAlterConfigs "of a broker" 0..=1 1 Nothing None NOT_SERVED,
        after_login![AlterClusterDynamicConfiguration on Cluster else CLUSTER_DENIED],
        LoggedIn alter_broker_configs;
    DescribeClientQuotas "" 0..=1 1 Nothing None Seen::Done,
        after_login![DescribeClusterDynamicConfiguration on Cluster else CLUSTER_DENIED],
        LoggedIn describe_client_quotas;
    AlterClientQuotas "" 0..=1 1 Nothing None Seen::Done,
        after_login![AlterClusterDynamicConfiguration on Cluster else CLUSTER_DENIED],
        LoggedIn alter_client_quotas;
    FindCoordinator "of a group" 0..=3 1 Nothing None Seen::Done,
        after_login![DescribeGroup on One else GROUP_DENIED], LoggedIn find_coordinator;
    FindCoordinator "of groups" 4..=6 2 Nothing None Seen::Done,
        after_login![DescribeGroup on Each else GROUP_DENIED], LoggedIn find_coordinator;
    FindCoordinator "of a transaction" 1..=6 1 Nothing None NOT_SERVED,
        after_login![], LoggedIn find_transaction_coordinator;
    JoinGroup "" 0..=9 1 Nothing None Seen::Done,
        after_login![AlterGroup on One else GROUP_DENIED], LoggedIn join;
    SyncGroup "" 0..=5 1 Nothing None Seen::Done,
        after_login![AlterGroup on One else GROUP_DENIED], LoggedIn sync;
    Heartbeat "" 0..=4 1 Nothing None Seen::Done,
        after_login![AlterGroup on One else GROUP_DENIED], LoggedIn heartbeat;
    LeaveGroup "" 0..=5 1 Nothing None Seen::Done,
        after_login![AlterGroup on One else GROUP_DENIED], LoggedIn leave;
    OffsetCommit "" 2..=9 2 Topics Committed Seen::Done,
        after_login![AlterGroup on One else GROUP_DENIED, ReadData on Each else TOPIC_DENIED], LoggedIn commit;
    OffsetFetch "of topics" 1..=9 2 TopicsAndGroups None Seen::Done,
        after_login![DescribeGroup on One else GROUP_DENIED, DescribeTopic on Each else TOPIC_DENIED],
        LoggedIn fetch_offsets;
    OffsetFetch "of all topics" 2..=9 2 TopicsAndGroups None Seen::Done,
        after_login![DescribeGroup on One else GROUP_DENIED, DescribeTopic on Each else Seen::LeftOut],
        LoggedIn fetch_all_offsets;
    DescribeGroups "" 0..=6 2 TopicsAndGroups None Seen::Done,
        after_login![DescribeGroup on Each else GROUP_DENIED], LoggedIn describe_groups;
    ListGroups "" 0..=5 2 TopicsAndGroups None Seen::Done,
        after_login![DescribeCluster on Cluster or DescribeGroup on Each else Seen::LeftOut],
        LoggedIn list_groups;
    DeleteGroups "" 0..=2 2 TopicsAndGroups GroupGone Seen::Done,
        after_login![DeleteGroup on Each else GROUP_DENIED], LoggedIn delete_groups;
    InitProducerId "" 0..=5 1 Nothing None Seen::Done,
        after_login![WriteDataIdempotently on Cluster or WriteData on AllTopics else CLUSTER_DENIED],
        LoggedIn init_producer_id;
    InitProducerId "in a transaction" 0..=5 1 Nothing None NOT_SERVED,
        after_login![], LoggedIn init_transactional_producer_id;
    DescribeCluster "" 0..=2 1 Nothing None Seen::Done,
        after_login![], LoggedIn describe_cluster;
    ApiVersions "" 0..=4 1 Nothing None Seen::Done, &[], Stranger api_versions;
    SaslHandshake "" 0..=1 1 Nothing None Seen::Done, &[], Stranger sasl_handshake;
    SaslAuthenticate "" 0..=2 1 Nothing None Seen::Done,
        needs![Connect on Cluster else Seen::Code(58)], Stranger sasl_authenticate;
}
