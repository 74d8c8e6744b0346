//! Every request served, field by field, from the oldest to the newest version.
//!
//! Source: the message definitions of Apache Kafka 4.1 (`clients/src/main/resources/common/message`).

use super::notation::{Field, Kind, Shape, Tagged, each, field};

/// A shape without known tagged fields.
const fn shape(flexible_from: i16, fields: &'static [Field]) -> Shape {
    Shape { flexible_from, fields, tagged: &[] }
}

/// A request that never became flexible.
const NEVER: i16 = i16::MAX;

/// The header in front of every request, up to its tagged fields. The client id keeps its two-byte length in header
/// version 2 (KIP-482).
pub(crate) static HEADER: Shape = shape(
    NEVER,
    &[
        field("request_api_key", Kind::INT16),
        field("request_api_version", Kind::INT16),
        field("correlation_id", Kind::INT32),
        field("client_id", Kind::Text),
    ],
);

pub(crate) static PRODUCE: Shape = shape(
    9,
    &[
        field("transactional_id", Kind::Text),
        field("acks", Kind::INT16),
        field("timeout_ms", Kind::INT32),
        field(
            "topic_data",
            each(&[
                field("name", Kind::Text).until(12),
                field("topic_id", Kind::UUID).since(13),
                field("partition_data", each(&[field("index", Kind::INT32), field("records", Kind::Bytes)])),
            ]),
        ),
    ],
);

pub(crate) static FETCH: Shape = Shape {
    flexible_from: 12,
    fields: &[
        field("replica_id", Kind::INT32).until(14),
        field("max_wait_ms", Kind::INT32),
        field("min_bytes", Kind::INT32),
        field("max_bytes", Kind::INT32),
        field("isolation_level", Kind::INT8),
        field("session_id", Kind::INT32).since(7),
        field("session_epoch", Kind::INT32).since(7),
        field(
            "topics",
            each(&[
                field("topic", Kind::Text).until(12),
                field("topic_id", Kind::UUID).since(13),
                field(
                    "partitions",
                    Kind::Each(
                        &[
                            field("partition", Kind::INT32),
                            field("current_leader_epoch", Kind::INT32).since(9),
                            field("fetch_offset", Kind::INT64),
                            field("last_fetched_epoch", Kind::INT32).since(12),
                            field("log_start_offset", Kind::INT64).since(5),
                            field("partition_max_bytes", Kind::INT32),
                        ],
                        &[
                            Tagged { tag: 0, field: field("replica_directory_id", Kind::UUID).since(17) },
                            Tagged { tag: 1, field: field("high_watermark", Kind::INT64).since(18) },
                        ],
                    ),
                ),
            ]),
        ),
        field(
            "forgotten_topics_data",
            each(&[
                field("topic", Kind::Text).until(12),
                field("topic_id", Kind::UUID).since(13),
                field("partitions", Kind::INT32S),
            ]),
        )
        .since(7),
        field("rack_id", Kind::Text).since(11),
    ],
    tagged: &[
        Tagged { tag: 0, field: field("cluster_id", Kind::Text) },
        Tagged {
            tag: 1,
            field: field(
                "replica_state",
                Kind::Struct(&[field("replica_id", Kind::INT32), field("replica_epoch", Kind::INT64)]),
            )
            .since(15),
        },
    ],
};

pub(crate) static LIST_OFFSETS: Shape = shape(
    6,
    &[
        field("replica_id", Kind::INT32),
        field("isolation_level", Kind::INT8).since(2),
        field(
            "topics",
            each(&[
                field("name", Kind::Text),
                field(
                    "partitions",
                    each(&[
                        field("partition_index", Kind::INT32),
                        field("current_leader_epoch", Kind::INT32).since(4),
                        field("timestamp", Kind::INT64),
                    ]),
                ),
            ]),
        ),
        field("timeout_ms", Kind::INT32).since(10),
    ],
);

pub(crate) static METADATA: Shape = shape(
    9,
    &[
        field("topics", each(&[field("topic_id", Kind::UUID).since(10), field("name", Kind::Text)])),
        field("allow_auto_topic_creation", Kind::BOOLEAN).since(4),
        field("include_cluster_authorized_operations", Kind::BOOLEAN).since(8).until(10),
        field("include_topic_authorized_operations", Kind::BOOLEAN).since(8),
    ],
);

pub(crate) static OFFSET_COMMIT: Shape = shape(
    8,
    &[
        field("group_id", Kind::Text),
        field("generation_id_or_member_epoch", Kind::INT32),
        field("member_id", Kind::Text),
        field("group_instance_id", Kind::Text).since(7),
        field("retention_time_ms", Kind::INT64).until(4),
        field(
            "topics",
            each(&[
                field("name", Kind::Text),
                field(
                    "partitions",
                    each(&[
                        field("partition_index", Kind::INT32),
                        field("committed_offset", Kind::INT64),
                        field("committed_leader_epoch", Kind::INT32).since(6),
                        field("committed_metadata", Kind::Text),
                    ]),
                ),
            ]),
        ),
    ],
);

pub(crate) static OFFSET_FETCH: Shape = shape(
    6,
    &[
        field("group_id", Kind::Text).until(7),
        field("topics", each(&[field("name", Kind::Text), field("partition_indexes", Kind::INT32S)]))
            .until(7),
        field(
            "groups",
            each(&[
                field("group_id", Kind::Text),
                field("member_id", Kind::Text).since(9),
                field("member_epoch", Kind::INT32).since(9),
                field("topics", each(&[field("name", Kind::Text), field("partition_indexes", Kind::INT32S)])),
            ]),
        )
        .since(8),
        field("require_stable", Kind::BOOLEAN).since(7),
    ],
);

pub(crate) static FIND_COORDINATOR: Shape = shape(
    3,
    &[
        field("key", Kind::Text).until(3),
        field("key_type", Kind::INT8).since(1),
        field("coordinator_keys", Kind::TEXTS).since(4),
    ],
);

pub(crate) static JOIN_GROUP: Shape = shape(
    6,
    &[
        field("group_id", Kind::Text),
        field("session_timeout_ms", Kind::INT32),
        field("rebalance_timeout_ms", Kind::INT32).since(1),
        field("member_id", Kind::Text),
        field("group_instance_id", Kind::Text).since(5),
        field("protocol_type", Kind::Text),
        field("protocols", each(&[field("name", Kind::Text), field("metadata", Kind::Bytes)])),
        field("reason", Kind::Text).since(8),
    ],
);

pub(crate) static HEARTBEAT: Shape = shape(
    4,
    &[
        field("group_id", Kind::Text),
        field("generation_id", Kind::INT32),
        field("member_id", Kind::Text),
        field("group_instance_id", Kind::Text).since(3),
    ],
);

pub(crate) static LEAVE_GROUP: Shape = shape(
    4,
    &[
        field("group_id", Kind::Text),
        field("member_id", Kind::Text).until(2),
        field(
            "members",
            each(&[
                field("member_id", Kind::Text),
                field("group_instance_id", Kind::Text),
                field("reason", Kind::Text).since(5),
            ]),
        )
        .since(3),
    ],
);

pub(crate) static SYNC_GROUP: Shape = shape(
    4,
    &[
        field("group_id", Kind::Text),
        field("generation_id", Kind::INT32),
        field("member_id", Kind::Text),
        field("group_instance_id", Kind::Text).since(3),
        field("protocol_type", Kind::Text).since(5),
        field("protocol_name", Kind::Text).since(5),
        field("assignments", each(&[field("member_id", Kind::Text), field("assignment", Kind::Bytes)])),
    ],
);

pub(crate) static DESCRIBE_GROUPS: Shape =
    shape(5, &[field("groups", Kind::TEXTS), field("include_authorized_operations", Kind::BOOLEAN).since(3)]);

pub(crate) static LIST_GROUPS: Shape =
    shape(3, &[field("states_filter", Kind::TEXTS).since(4), field("types_filter", Kind::TEXTS).since(5)]);

pub(crate) static SASL_HANDSHAKE: Shape = shape(NEVER, &[field("mechanism", Kind::Text)]);

pub(crate) static API_VERSIONS: Shape = shape(
    3,
    &[
        field("client_software_name", Kind::Text).since(3),
        field("client_software_version", Kind::Text).since(3),
    ],
);

pub(crate) static CREATE_TOPICS: Shape = shape(
    5,
    &[
        field(
            "topics",
            each(&[
                field("name", Kind::Text),
                field("num_partitions", Kind::INT32),
                field("replication_factor", Kind::INT16),
                field(
                    "assignments",
                    each(&[field("partition_index", Kind::INT32), field("broker_ids", Kind::INT32S)]),
                ),
                field("configs", each(&[field("name", Kind::Text), field("value", Kind::Text)])),
            ]),
        ),
        field("timeout_ms", Kind::INT32),
        field("validate_only", Kind::BOOLEAN),
    ],
);

pub(crate) static DELETE_TOPICS: Shape = shape(
    4,
    &[
        field("topics", each(&[field("name", Kind::Text), field("topic_id", Kind::UUID)])).since(6),
        field("topic_names", Kind::TEXTS).until(5),
        field("timeout_ms", Kind::INT32),
    ],
);

pub(crate) static INIT_PRODUCER_ID: Shape = shape(
    2,
    &[
        field("transactional_id", Kind::Text),
        field("transaction_timeout_ms", Kind::INT32),
        field("producer_id", Kind::INT64).since(3),
        field("producer_epoch", Kind::INT16).since(3),
    ],
);

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Shape = shape(
    4,
    &[
        field("replica_id", Kind::INT32).since(3),
        field(
            "topics",
            each(&[
                field("topic", Kind::Text),
                field(
                    "partitions",
                    each(&[
                        field("partition", Kind::INT32),
                        field("current_leader_epoch", Kind::INT32),
                        field("leader_epoch", Kind::INT32),
                    ]),
                ),
            ]),
        ),
    ],
);

pub(crate) static DESCRIBE_CONFIGS: Shape = shape(
    4,
    &[
        field(
            "resources",
            each(&[
                field("resource_type", Kind::INT8),
                field("resource_name", Kind::Text),
                field("configuration_keys", Kind::TEXTS),
            ]),
        ),
        field("include_synonyms", Kind::BOOLEAN),
        field("include_documentation", Kind::BOOLEAN).since(3),
    ],
);

pub(crate) static SASL_AUTHENTICATE: Shape = shape(2, &[field("auth_bytes", Kind::Bytes)]);

pub(crate) static CREATE_PARTITIONS: Shape = shape(
    2,
    &[
        field(
            "topics",
            each(&[
                field("name", Kind::Text),
                field("count", Kind::INT32),
                field("assignments", each(&[field("broker_ids", Kind::INT32S)])),
            ]),
        ),
        field("timeout_ms", Kind::INT32),
        field("validate_only", Kind::BOOLEAN),
    ],
);

pub(crate) static DELETE_GROUPS: Shape = shape(2, &[field("groups_names", Kind::TEXTS)]);

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Shape = shape(
    1,
    &[
        field(
            "resources",
            each(&[
                field("resource_type", Kind::INT8),
                field("resource_name", Kind::Text),
                field(
                    "configs",
                    each(&[
                        field("name", Kind::Text),
                        field("config_operation", Kind::INT8),
                        field("value", Kind::Text),
                    ]),
                ),
            ]),
        ),
        field("validate_only", Kind::BOOLEAN),
    ],
);

pub(crate) static DESCRIBE_CLIENT_QUOTAS: Shape = shape(
    1,
    &[
        field(
            "components",
            each(&[
                field("entity_type", Kind::Text),
                field("match_type", Kind::INT8),
                field("match", Kind::Text),
            ]),
        ),
        field("strict", Kind::BOOLEAN),
    ],
);

pub(crate) static ALTER_CLIENT_QUOTAS: Shape = shape(
    1,
    &[
        field(
            "entries",
            each(&[
                field("entity", each(&[field("entity_type", Kind::Text), field("entity_name", Kind::Text)])),
                field(
                    "ops",
                    each(&[
                        field("key", Kind::Text),
                        field("value", Kind::FLOAT64),
                        field("remove", Kind::BOOLEAN),
                    ]),
                ),
            ]),
        ),
        field("validate_only", Kind::BOOLEAN),
    ],
);

pub(crate) static DESCRIBE_CLUSTER: Shape = shape(
    0,
    &[
        field("include_cluster_authorized_operations", Kind::BOOLEAN),
        field("endpoint_type", Kind::INT8).since(1),
        field("include_fenced_brokers", Kind::BOOLEAN).since(2),
    ],
);
