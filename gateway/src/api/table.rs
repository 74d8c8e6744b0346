//! Which APIs are served, at which versions, by which handler: one row per API (`gateway/PROTOCOL.md` §5).
//!
//! The greatest version of a row is what request *and* response of the codec support; the smallest is Apache Kafka 4's.
//! Produce is advertised from 0, as Kafka itself does: librdkafka silently stops compressing otherwise. A request of
//! version 0–2 closes the connection.

use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kafka_protocol::messages::ApiKey;

use super::{Call, Malformed, WalkedBody};
use crate::connection::Answer;
use crate::session::Session;
use crate::shape::{Shape, table as shapes};

/// One API.
pub(crate) struct Api {
    /// Its key.
    pub(crate) key: ApiKey,
    /// Kafka's name for it.
    pub(crate) name: &'static str,
    /// The versions ApiVersions tells.
    pub(crate) advertised: RangeInclusive<i16>,
    /// The versions that are served.
    pub(crate) served: RangeInclusive<i16>,
    /// Its requests' fields.
    pub(crate) shape: &'static Shape,
    /// Who serves it.
    pub(crate) handler: Handler,
}

/// A request on its way to its answer.
pub(crate) type Answering = BoxFuture<'static, Result<Answer, Malformed>>;
/// A request on its way to its place in the order.
pub(crate) type Starting = BoxFuture<'static, Result<Started, Malformed>>;

/// How a request is served.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// By the connection itself: these drive the authentication.
    Connection,
    /// By a handler that answers; nothing else of the connection runs meanwhile.
    Alone(fn(Arc<Session>, Call, WalkedBody) -> Answering),
    /// By a handler that first takes its place in the order and answers later (Produce).
    Pipelined(fn(Arc<Session>, Call, WalkedBody) -> Starting),
}

/// A pipelined request that has taken its place in the order.
pub(crate) enum Started {
    /// It is answered already.
    Answered(Answer),
    /// Its answer comes when what it waits for is durable.
    Pending(Answering),
}

/// One row per API: key, the first and last version, shape, how it is handled and by which module.
macro_rules! apis {
    ($($key:ident $first:literal ..= $last:literal $shape:ident $how:tt $(by $module:ident)?;)+) => {
        /// All APIs, in the order of their keys.
        pub(crate) static APIS: &[Api] = &[$(
            Api {
                key: ApiKey::$key,
                name: stringify!($key),
                advertised: $first..=$last,
                served: apis!(@served $how $first $last),
                shape: &shapes::$shape,
                handler: apis!(@handler $how $($module)?),
            },
        )+];
    };
    (@served pipelined $first:literal $last:literal) => { 3..=$last };
    (@served $how:ident $first:literal $last:literal) => { $first..=$last };
    (@handler connection) => { Handler::Connection };
    // A handler of the form `async fn handle(&Session, &Call, Request) -> Response`.
    (@handler alone $module:ident) => {
        Handler::Alone(|session, call, body| Box::pin(async move {
            let request = super::decode(body)?;
            let response = super::$module::handle(&session, &call, request).await;
            Ok(Answer::Respond(super::respond(&call, &response)?))
        }))
    };
    // A handler that builds its response frame itself: `async fn handle(&Session, &Call, Request) -> Result<Answer, Malformed>`.
    (@handler direct $module:ident) => {
        Handler::Alone(|session, call, body| Box::pin(async move {
            let request = super::decode(body)?;
            super::$module::handle(&session, &call, request).await
        }))
    };
    // A handler in two steps: `async fn start(Arc<Session>, Call, Request) -> Result<Started, Malformed>`.
    (@handler pipelined $module:ident) => {
        Handler::Pipelined(|session, call, body| Box::pin(async move {
            let request = super::decode(body)?;
            super::$module::start(session, call, request).await
        }))
    };
}

apis! {
    Produce               0..=13 PRODUCE                   pipelined by produce;
    Fetch                 4..=18 FETCH                     direct by fetch;
    ListOffsets           1..=10 LIST_OFFSETS              alone by list_offsets;
    Metadata              0..=13 METADATA                  direct by metadata;
    OffsetCommit          2..=9  OFFSET_COMMIT             alone by offset_commit;
    OffsetFetch           1..=9  OFFSET_FETCH              alone by offset_fetch;
    FindCoordinator       0..=6  FIND_COORDINATOR          alone by find_coordinator;
    JoinGroup             0..=9  JOIN_GROUP                alone by join_group;
    Heartbeat             0..=4  HEARTBEAT                 alone by heartbeat;
    LeaveGroup            0..=5  LEAVE_GROUP               alone by leave_group;
    SyncGroup             0..=5  SYNC_GROUP                alone by sync_group;
    DescribeGroups        0..=6  DESCRIBE_GROUPS           alone by describe_groups;
    ListGroups            0..=5  LIST_GROUPS               alone by list_groups;
    SaslHandshake         0..=1  SASL_HANDSHAKE            connection;
    ApiVersions           0..=4  API_VERSIONS              connection;
    CreateTopics          2..=7  CREATE_TOPICS             alone by create_topics;
    DeleteTopics          1..=6  DELETE_TOPICS             alone by delete_topics;
    InitProducerId        0..=5  INIT_PRODUCER_ID          alone by init_producer_id;
    OffsetForLeaderEpoch  2..=4  OFFSET_FOR_LEADER_EPOCH   alone by offset_for_leader_epoch;
    DescribeConfigs       1..=4  DESCRIBE_CONFIGS          alone by describe_configs;
    SaslAuthenticate      0..=2  SASL_AUTHENTICATE         connection;
    CreatePartitions      0..=3  CREATE_PARTITIONS         alone by create_partitions;
    DeleteGroups          0..=2  DELETE_GROUPS             alone by delete_groups;
    IncrementalAlterConfigs 0..=1 INCREMENTAL_ALTER_CONFIGS alone by incremental_alter_configs;
    DescribeClientQuotas  0..=1  DESCRIBE_CLIENT_QUOTAS    alone by describe_client_quotas;
    AlterClientQuotas     0..=1  ALTER_CLIENT_QUOTAS       alone by alter_client_quotas;
    DescribeCluster       0..=2  DESCRIBE_CLUSTER          alone by describe_cluster;
}

/// The API with this key.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}
