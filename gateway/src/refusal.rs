//! What the gateway itself refuses, before any owner is asked.

use headgate_metadata::store::MetadataError;

/// Why a request, or one part of it, is refused, named by what the client can do next. Its wire code is in [`crate::error_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No topic or partition of that name. Refresh metadata.
    UnknownTopic,
    /// No topic of that id in this cluster. Refresh metadata.
    UnknownTopicId,
    /// A policy does not allow it on the topic.
    TopicDenied,
    /// A policy does not allow it on the group.
    GroupDenied,
    /// A policy does not allow it on the cluster.
    ClusterDenied,
    /// The request contradicts itself or asks for what is not offered. Do not retry.
    InvalidRequest,
    /// Not a topic name.
    InvalidTopicName,
    /// The name is taken.
    TopicExists,
    /// Not a possible number of partitions.
    InvalidPartitions,
    /// Not a possible replication factor.
    InvalidReplicationFactor,
    /// A config that does not exist, cannot be set here or has an impossible value.
    InvalidConfig,
    /// A rule of the operator forbids it.
    PolicyViolation,
    /// A quota of rare operations is used up. Retry after the throttle time.
    QuotaExceeded,
    /// A record's fields do not add up.
    InvalidRecord,
    /// The batch is longer than the topic's `max.message.bytes`.
    BatchTooLarge,
    /// A record's time is too far from the server's.
    InvalidTimestamp,
    /// `acks` other than 0, 1 and -1.
    InvalidRequiredAcks,
    /// The answer did not come within the client's time limit; what was asked may yet happen.
    TimedOut,
    /// The API version is not one of those advertised.
    UnsupportedVersion,
    /// The fetch session is gone or another connection's: begin a full one.
    FetchSessionUnknown,
    /// The fetch session's epoch is not the next one: begin a full one.
    FetchSessionEpoch,
    /// The session was begun with names and goes on with ids, or the other way round: begin a full one.
    FetchSessionTopicId,
    /// The process is going away: find the coordinator again.
    NotCoordinator,
    /// The mechanism is not offered.
    UnsupportedSaslMechanism,
    /// SASL was asked for out of its order.
    IllegalSaslState,
    /// Who logs in is not proven.
    AuthenticationFailed,
    /// The cluster's metadata cannot be had now. Retry.
    MetadataUnavailable,
    /// The same, for a call to a coordinator. Retry.
    CoordinatorUnavailable,
    /// A change of topics could not be made now; nothing was changed. Retry.
    ChangeUnavailable,
    /// Brokers were not what was asked for.
    MismatchedEndpoint,
    /// The group does not exist.
    UnknownGroup,
    /// The server is at fault.
    Fault,
}

impl From<&MetadataError> for Refusal {
    /// What a client is told of a change that the metadata store did not confirm.
    fn from(error: &MetadataError) -> Self {
        match error {
            MetadataError::Unavailable { .. }
            | MetadataError::Contended { .. }
            | MetadataError::WentBack { .. } => Self::ChangeUnavailable,
            MetadataError::OutcomeUnknown { .. } => Self::TimedOut,
            MetadataError::Invalid { .. } => Self::Fault,
        }
    }
}
